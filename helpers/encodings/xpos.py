r"""xPos (Sun et al. 2022, arXiv 2212.10554): RoPE whose pairs also fade with distance. Door 2: queries and keys.

.. math::

    \tilde q_m = \zeta_i^{m/B} R_m q, \quad \tilde k_n = \zeta_i^{-n/B} R_n k, \qquad
    \text{logit} = \sum_i \zeta_i^{(m-n)/B}\, \mathrm{Re}\big[q_i \bar k_i\, e^{\mathrm{i}(m-n)\theta_i}\big],
    \quad \zeta_i = \frac{2i/d + \gamma}{1 + \gamma}

with gamma = 0.4 and B = 512. Fast pairs (small i, small zeta) fade first. For a key ahead of its query the factor
grows instead, so this is for causal models.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..validate import number, positive_number, readable, require
from .base import in_float64
from .rope import CosSin, RoPE, Rotation, rope_exponents


def xpos_decay(head_dim: int, gamma: float = 0.4) -> Tensor:
    """zeta_i = (2i/head_dim + gamma) / (1 + gamma), i = 0 .. head_dim/2 - 1: float64, (head_dim / 2,)."""
    return (gamma - rope_exponents(head_dim)) / (1 + gamma)


class XPos(RoPE):
    """RoPE with a decay for every pair. No parameters.

    Exponents are measured from a fixed ``center``. rotary-embedding-torch centers them on the middle of each sequence:
    rotated vectors then differ from these, and change with length (which breaks a cache of rotated keys); the logits
    are the same. The factors of keys grow by a power of 1 / zeta_0 = 3.5 every 512 positions: float32 tables hold out
    to about 35,000 positions from the center (farther ones are a ValueError, unless compiled), and rotated vectors in
    float16 to about 4,500.
    """

    def __init__(
        self,
        head_dim: int,
        base: float = 10_000.0,
        layout: str = "half",
        gamma: float = 0.4,
        scale_base: float = 512.0,
        center: float = 0.0,
    ):
        """head_dim, base, layout: as in RoPE. gamma, scale_base (positions): above 0. ValueError otherwise."""
        super().__init__(head_dim, base, layout)
        self.zeta = xpos_decay(head_dim, positive_number("gamma", gamma))
        self.scale_base, self.center = positive_number("scale_base", scale_base), number("center", center)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Rotation:
        """cos and sin times the decay: of queries by +m/B, of keys by -n/B; each (B or 1, 1, T or S, pairs)."""
        return Rotation(self._faded(q_pos, +1), self._faded(k_pos, -1))

    @property
    def reach(self) -> float:
        """Positions from the center to either side at which the largest factor still fits into float32."""
        decay = -math.log(self.zeta[0].item())  # the fastest pair's
        return -math.log(torch.finfo(torch.float32).tiny) / decay * self.scale_base if decay else math.inf

    def _faded(self, position_ids: Tensor, sign: int) -> CosSin:
        if readable(position_ids) and position_ids.numel():
            for end in (position_ids.min(), position_ids.max()):
                remedy = f"must lie within {self.reach:.0f} positions of center={self.center:g}; move the center."
                require(abs(end.item() - self.center) <= self.reach, "position_ids", end.item(), remedy)
        exponent = sign * (in_float64(position_ids) - self.center)[:, None, :, None] / self.scale_base
        fade = (self.zeta.to(exponent.device) ** exponent).float().to(position_ids.device)
        return CosSin(*(table * fade for table in self._tables(position_ids)))
