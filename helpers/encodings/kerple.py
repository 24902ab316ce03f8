r"""KERPLE: kernels of the distance with learned shape (Chi et al. 2022, arXiv 2205.09921). Door 3: the logits.

.. math::

    \text{log:}\quad b_{ij} = -r_1 \log\big(1 + r_2\,|i - j|\big) \qquad
    \text{power:}\quad b_{ij} = -r_1\,|i - j|^{r_2}, \quad 0 < r_2 \le 2

Both r_1 and r_2 are above 0 and learned, one pair per head. ALiBi is the power kernel with r_2 = 1 and r_1 fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..validate import one_of, positive_int
from .base import Encoding

VARIANTS = ("log", "power")


def kerple_log(distance: Tensor, r1: Tensor, r2: Tensor) -> Tensor:
    """-r1 log(1 + r2 |distance|): distance (..., T, S), r1 and r2 (H, 1, 1), to (..., H, T, S)."""
    return -r1 * torch.log1p(r2 * distance.abs().unsqueeze(-3))


def kerple_power(distance: Tensor, r1: Tensor, r2: Tensor) -> Tensor:
    """-r1 |distance|^r2: distance (..., T, S), r1 and r2 (H, 1, 1), to (..., H, T, S)."""
    return -r1 * distance.abs().unsqueeze(-3).to(r2.dtype) ** r2


class Kerple(Encoding):
    """Adds a learned kernel of the distance to the logits. Two numbers per head, any length.

    The authors' code (their fork of gpt-neox, ParallelKerpleLog and ParallelKerplePower) starts r1 from a uniform draw
    on (0, 2), r2 on (0, 1), and clamps both at 0.01. Here they start, without chance, at the midpoints of ``n_heads``
    equal parts of those ranges (the last head decays fastest), and are kept positive by softplus, r2 of the power
    kernel inside (0, 2) by a sigmoid. All layers share them.
    """

    def __init__(self, n_heads: int, variant: str = "log"):
        """n_heads: number of heads. variant: one of :data:`VARIANTS`. ValueError otherwise."""
        super().__init__()
        self.n_heads = positive_int("n_heads", n_heads)
        middle = (torch.arange(n_heads, dtype=torch.float32) + 0.5) / n_heads  # inside (0, 1)
        self.variant = one_of("variant", variant, VARIANTS)
        self.raw_r1 = nn.Parameter(inverse_softplus(2 * middle))
        self.raw_r2 = nn.Parameter(inverse_softplus(middle) if variant == "log" else torch.logit(middle / 2))

    @property
    def r1(self) -> Tensor:
        """(n_heads,), above 0; float32 at least, as r2: distances in bfloat16 would collide from 257."""
        return nn.functional.softplus(_at_least_float32(self.raw_r1))

    @property
    def r2(self) -> Tensor:
        """(n_heads,), above 0; below 2 for the power kernel."""
        raw = _at_least_float32(self.raw_r2)
        return nn.functional.softplus(raw) if self.variant == "log" else 2 * torch.sigmoid(raw)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        kernel = kerple_log if self.variant == "log" else kerple_power
        return kernel(self.distance(q_pos, k_pos), self.r1[:, None, None], self.r2[:, None, None])

    def bias(self, q: Tensor, k: Tensor, state: Tensor, layer: int) -> Tensor:
        return state


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def inverse_softplus(y: Tensor) -> Tensor:
    """x with softplus(x) = y, for y > 0."""
    return y + torch.log(-torch.expm1(-y))
