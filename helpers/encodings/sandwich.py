r"""Sandwich: a bias made of two sinusoidal rows (Chi et al. 2022, arXiv 2212.10356). Door 3: the logits.

.. math:: b_{ij} = \frac{H}{8h} \Big(\sum_{c=1}^{d/2} \cos\big((i - j)\,\mathrm{base}^{-2c/d}\big) - \frac{d}{2}\Big),
    \quad h = 1, \dots, H

The frequencies are counted from 1, not from 0: the fastest wave of the sinusoidal table is left out. The constant d/2
only moves the value at distance 0 to 0, as in ALiBi; softmax does not see it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..validate import even_int, positive_int, positive_number
from .base import Encoding, in_float64


def sandwich_rows(positions: Tensor, dim: int, base: float = 10_000.0) -> Tensor:
    """Sinusoidal rows at the frequencies base^(-2c/dim), c = 1 .. dim/2: positions (...) to (..., dim) float64.

    The product of two rows is the sum of cosines above: cos(a) cos(b) + sin(a) sin(b) = cos(a - b).
    """
    wide = in_float64(positions)
    index = torch.arange(1, dim // 2 + 1, dtype=torch.float64, device="cpu")
    angles = wide[..., None] * (base ** (-2 * index / dim)).to(wide.device)
    return torch.cat([angles.cos(), angles.sin()], -1)


def sandwich_strengths(n_heads: int) -> Tensor:
    """What the kernel of each head is multiplied by, (n_heads,) float64: n_heads / (8 h) for h = 1 .. n_heads.

    Four heads: 1/2, 1/4, 1/6, 1/8. Source: the code in the paper's appendix, and NVIDIA NeMo's module of that name.
    """
    return n_heads / (8.0 * torch.arange(1, n_heads + 1, dtype=torch.float64, device="cpu"))


class Sandwich(Encoding):
    """Adds a fixed wave-made kernel of the distance to the logits. No parameters, any length."""

    def __init__(self, n_heads: int, dim: int = 128, base: float = 10_000.0, gain: float = 1.0):
        """Fix the kernel.

        Args:
            n_heads: number of heads.
            dim: even width of the sinusoids; 128 in the paper's code, whatever the width of a head.
            base: at least 1, of their frequencies.
            gain: the strengths are ``gain`` times the published ones (:func:`sandwich_strengths`).

        Raises:
            ValueError: on a bad argument.
        """
        super().__init__()
        self.n_heads = positive_int("n_heads", n_heads)
        self.dim = even_int("dim", dim, "each frequency has a sine and a cosine")
        self.base = positive_number("base", base, at_least=1.0)
        self.gain = positive_number("gain", gain)
        self.strengths = self.gain * sandwich_strengths(self.n_heads)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        # As a product of rows, the sum over frequencies never stands in memory for every pair of positions.
        rows = [sandwich_rows(p, self.dim, self.base) for p in (q_pos, k_pos)]
        kernel = (rows[0] @ rows[1].mT - self.dim / 2)[:, None]
        return (self.strengths.to(kernel.device)[:, None, None] * kernel).float().to(q_pos.device)

    def bias(self, q: Tensor, k: Tensor, state: Tensor, layer: int) -> Tensor:
        return state
