r"""Sinusoidal positions (Vaswani et al. 2017, arXiv 1706.03762, section 3.5). Door 1: added to the embeddings.

.. math::

    PE_{p,2i} = \sin(p\,\omega_i), \quad PE_{p,2i+1} = \cos(p\,\omega_i), \quad
    \omega_i = b^{-2i/d}, \quad i = 0, \dots, d/2 - 1, \quad b = 10\,000

Three incompatible tables are called "sinusoidal". They differ in the order of the channels and in the spacing of
the frequencies; :data:`CONVENTIONS` names them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..validate import even_int, one_of, positive_int, positive_number, require
from .base import Encoding, in_float64

CONVENTIONS = ("paper", "halves", "tensor2tensor")
"""``paper``: interleaved sin, cos. ``halves``: the paper's frequencies as [sin | cos] (RoFormer, Marian).
``tensor2tensor``: [sin | cos] with denominator d/2 - 1 (original code, fairseq, Whisper's encoder)."""


def sinusoidal_frequencies(d_model: int, base: float = 10_000.0, convention: str = "paper") -> Tensor:
    """Angular frequencies w_i in radians per position, from fast to slow: float64, (d_model / 2,).

    Args:
        d_model: even width of the table (at least 4 for ``tensor2tensor``, whose denominator is d_model/2 - 1).
        base: ratio that spans the frequencies, above 0.
        convention: one of :data:`CONVENTIONS`.

    Raises:
        ValueError: on another convention, or an odd width.
    """
    one_of("convention", convention, CONVENTIONS)
    even_int("d_model", d_model, "a sine and a cosine share each frequency", 4 if convention == "tensor2tensor" else 2)
    i = torch.arange(d_model // 2, dtype=torch.float64, device="cpu")
    steps = d_model / 2 - 1 if convention == "tensor2tensor" else d_model / 2
    return base ** (-i / steps)


def sinusoidal_table(
    positions: Tensor,
    d_model: int,
    base: float = 10_000.0,
    convention: str = "paper",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Sinusoidal position vectors. Angles are computed in float64 whatever ``dtype`` is.

    Args:
        positions: any shape (...,), integers or floats, in positions.
        d_model: even width.
        base: see :func:`sinusoidal_frequencies`.
        convention: one of :data:`CONVENTIONS`.
        dtype: of the result.

    Returns:
        (..., d_model). Every row has norm sqrt(d_model / 2).

    Raises:
        ValueError: as :func:`sinusoidal_frequencies`.

    Source: Vaswani et al. 2017, section 3.5; ``tensor2tensor``: common_attention.get_timing_signal_1d.
    """
    frequencies, wide = sinusoidal_frequencies(d_model, base, convention), in_float64(positions)
    angles = wide[..., None] * frequencies.to(wide.device)
    pair = torch.stack([angles.sin(), angles.cos()], dim=-1)  # (..., d_model/2, 2)
    if convention != "paper":
        pair = pair.transpose(-1, -2)  # all sines, then all cosines
    return pair.reshape(*positions.shape, d_model).to(dtype).to(positions.device)


def sinusoidal_grid(
    position_ids: Tensor,
    d_model: int,
    base: float = 10_000.0,
    convention: str = "paper",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Sinusoidal vectors of several coordinates: each axis has an equal share of the channels, the first axis first.

    Args:
        position_ids: (..., axes), as (row, column) from :func:`~.axial.grid_positions`.
        d_model: divisible by 2 * axes.
        base, convention, dtype: as in :func:`sinusoidal_table`.

    Returns:
        (..., d_model).

    Raises:
        ValueError: if the axes do not share d_model evenly, and as :func:`sinusoidal_table`.

    Source: the sine-cosine positions of He et al. 2021 (MAE, arXiv 2111.06377, appendix A.1) and of transformers'
    modeling_omdet_turbo, in halves; the latter has the column first.
    """
    axes = position_ids.shape[-1]
    require(d_model % (2 * axes) == 0, "d_model", d_model, f"must be divisible by 2 * axes = {2 * axes}.")
    share = d_model // axes
    return torch.cat([sinusoidal_table(p, share, base, convention, dtype) for p in position_ids.unbind(-1)], dim=-1)


def shift_matrix(offset: float, d_model: int, base: float = 10_000.0) -> Tensor:
    """M_k with PE(p + k) = M_k PE(p) for every p: block-diagonal 2x2 rotations by k w_i, (d_model, d_model) float64.

    Interleaved ("paper") layout. ``offset`` k is in positions and may be negative. Source: section 3.5, one remark.
    """
    angle = offset * sinusoidal_frequencies(d_model, base)
    cos, sin = angle.cos(), angle.sin()
    blocks = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)  # (d_model/2, 2, 2)
    return torch.block_diag(*blocks)


def dot_product_by_distance(distance: Tensor, d_model: int, base: float = 10_000.0) -> Tensor:
    """g(k) = PE(p) . PE(p + k) = sum_i cos(k w_i), independent of p: float64, the shape of ``distance``.

    It is g(0) = d_model / 2 at its largest, and it is not monotone.
    """
    wide = in_float64(distance)
    angles = wide[..., None] * sinusoidal_frequencies(d_model, base).to(wide.device)
    return angles.cos().sum(-1)


class Sinusoidal(Encoding):
    """Adds :func:`sinusoidal_table` to the embeddings, or :func:`sinusoidal_grid`. No parameters, any position."""

    def __init__(
        self, d_model: int, base: float = 10_000.0, convention: str = "paper", gain: float = 1.0, axes: int = 1
    ):
        """Keep what makes the table.

        Args:
            d_model: even width; divisible by 2 * axes.
            base: at least 1, or the frequencies do not fall.
            convention: one of :data:`CONVENTIONS`.
            gain: what is added is ``gain`` times the table, whose entries have a root mean square of 0.71: the weight
                of position against token.
            axes: coordinates of a position: 1 for text, 2 for a picture, whose positions are (B or 1, T, 2).

        Raises:
            ValueError: on a bad argument, and at run time on positions of another number of axes.
        """
        super().__init__()
        self.axes = positive_int("axes", axes)
        self.d_model = even_int("d_model", d_model, "a sine and a cosine share each frequency")
        self.base = positive_number("base", base, at_least=1.0)
        self.convention = one_of("convention", convention, CONVENTIONS)
        self.gain = positive_number("gain", gain)
        sinusoidal_grid(torch.zeros(1, axes), d_model, base, convention)  # refuses what does not divide

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        position_ids = q_pos[..., None] if self.axes == 1 else q_pos
        shape, remedy = tuple(q_pos.shape), f"must be (batch or 1, seq_len, axes={self.axes}); see grid_positions."
        require(position_ids.ndim == 3 and position_ids.shape[-1] == self.axes, "position_ids", shape, remedy)
        return self.gain * sinusoidal_grid(position_ids, self.d_model, self.base, self.convention)

    def embed(self, x: Tensor, state: Tensor) -> Tensor:
        return x + state.to(x.dtype)
