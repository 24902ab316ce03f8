r"""Sandwich: a bias made of two sinusoidal rows (Chi et al. 2022, arXiv 2212.10356). Door 3: the logits.

.. math:: b_{ij} = \lambda_h \big(p_i^\top p_j - p_i^\top p_i\big)
    = \lambda_h \Big(\sum_{c} \cos\big((i - j)\,\omega_c\big) - \tfrac{d}{2}\Big)

The constant d/2 only moves the value at distance 0 to 0, as in ALiBi; softmax does not see it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..validate import even_int, positive_int, positive_number, vector
from .alibi import alibi_slopes
from .base import Encoding, in_float64
from .rope import rope_frequencies


def sandwich_kernel(distance: Tensor, dim: int, base: float = 10_000.0) -> Tensor:
    """sum_c cos(distance * omega_c) - dim/2 over the dim/2 sinusoidal frequencies: the shape of ``distance``, <= 0."""
    wide = in_float64(distance)
    angles = wide[..., None] * rope_frequencies(dim, base).to(wide.device)
    return angles.cos().sum(-1) - dim / 2


class Sandwich(Encoding):
    """Adds a fixed wave-made kernel of the distance to the logits. No parameters, any length.

    The schedule of lambda over heads is **our choice**, not the paper's: ALiBi's slopes, at ``dim`` = 64. It puts the
    steepest head near ALiBi's for the first ten tokens.
    """

    def __init__(
        self, n_heads: int, dim: int = 64, base: float = 10_000.0, strengths: Tensor | Sequence[float] | None = None
    ):
        """n_heads: number of heads. dim: even width of the sinusoids. strengths: n_heads numbers lambda_h.

        Raises:
            ValueError: on a bad argument.
        """
        super().__init__()
        self.n_heads = positive_int("n_heads", n_heads)
        self.dim = even_int("dim", dim, "each frequency has a sine and a cosine")
        self.base = positive_number("base", base, at_least=1.0)
        self.strengths = alibi_slopes(n_heads) if strengths is None else vector("strengths", strengths, n_heads)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        kernel = sandwich_kernel(self.distance(q_pos, k_pos), self.dim, self.base)[:, None]
        return (self.strengths.to(kernel.device)[:, None, None] * kernel).float().to(q_pos.device)

    def bias(self, q: Tensor, k: Tensor, state: Tensor, layer: int) -> Tensor:
        return state
