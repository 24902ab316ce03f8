r"""RoPE-Mixed: rotation by learned directions in the plane (Heo et al. 2024, arXiv 2403.13298). Door 2.

.. math::

    \tilde q^\top \tilde k = \mathrm{Re} \sum_i q_i \bar k_i\,
    e^{\mathrm{i}\,(\theta^x_i\,\Delta x + \theta^y_i\,\Delta y)}

Axial RoPE gives a pair of channels to rows or to columns, so no pair sees a diagonal. Here every pair turns by both
coordinates, each with a frequency of its own, and the frequencies are trained, per head and per layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..validate import one_of, positive_int, positive_number, require
from .base import Encoding, in_float64
from .rope import LAYOUTS, CosSin, Rotation, rotate_pairs


def mixed_frequencies(head_dim: int, n_heads: int, base: float = 10.0) -> Tensor:
    """Initial frequencies in radians per step: (2, n_heads, head_dim / 2) float64, one row per axis.

    Lengths base^(-4i/head_dim), i = 0 .. head_dim/4 - 1, once along a direction of the plane and once across it. The
    authors draw the direction of each head by chance; here the heads share out a quarter turn evenly, without chance.

    Source: ``init_random_2d_freqs`` in the authors' rope-vit (base 10).
    """
    length = base ** (-4 * torch.arange(head_dim // 4, dtype=torch.float64, device="cpu") / head_dim)
    angle = (torch.arange(n_heads, dtype=torch.float64, device="cpu") + 0.5) / n_heads * (math.pi / 2)
    along, across = angle[:, None], angle[:, None] + math.pi / 2
    directions = [torch.cat([length * turn(along), length * turn(across)], -1) for turn in (torch.cos, torch.sin)]
    return torch.stack(directions)


def mixed_angles(position_ids: Tensor, inv_freq: Tensor) -> Tensor:
    """Angles in radians, x theta^x + y theta^y: (B or 1, T, 2) and (2, H, pairs) to (B or 1, H, T, pairs), float64."""
    ids = in_float64(position_ids)
    return torch.einsum("bta,ahp->bhtp", ids, inv_freq.to(ids.device).double())


class MixedRoPE(Encoding):
    """Turns each pair of channels by a learned mix of both coordinates. Positions are (B or 1, T, 2).

    The frequencies are parameters: train them in float32 (bfloat16 would round them), and without weight decay, which
    pulls them towards no position at all.
    """

    axes = 2

    def __init__(self, head_dim: int, n_heads: int, base: float = 10.0, n_layers: int = 1, layout: str = "interleaved"):
        """Create the frequencies (n_layers, 2, n_heads, head_dim / 2).

        Args:
            head_dim: divisible by 4.
            n_heads: number of query heads and of key heads: a key shared by heads of other frequencies has no angle.
            base: at least 1; spans the lengths of the initial frequencies.
            n_layers: layers with frequencies of their own (the paper: all); 1: all layers share one set.
            layout: one of :data:`~.rope.LAYOUTS`.

        Raises:
            ValueError: on a bad argument.
        """
        super().__init__()
        self.head_dim, self.n_heads = positive_int("head_dim", head_dim), positive_int("n_heads", n_heads)
        require(head_dim % 4 == 0, "head_dim", head_dim, "must be divisible by 4: pairs, along and across a direction.")
        self.layout = one_of("layout", layout, LAYOUTS)
        start = mixed_frequencies(head_dim, n_heads, positive_number("base", base, at_least=1.0)).float()
        self.inv_freq = nn.Parameter(start.expand(positive_int("n_layers", n_layers), -1, -1, -1).clone())

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> tuple[Rotation, ...]:
        """One entry per set of frequencies: cos and sin (B or 1, H, T or S, pairs), float32."""
        for position_ids in (q_pos, k_pos):
            fits = position_ids.ndim == 3 and position_ids.shape[-1] == 2
            shape = tuple(position_ids.shape)
            require(fits, "position_ids", shape, "must be (batch or 1, seq_len, 2); see grid_positions.")
        return tuple(Rotation(*(_cos_sin(p, inv_freq) for p in (q_pos, k_pos))) for inv_freq in self.inv_freq)

    def rotate(self, q: Tensor, k: Tensor, state: tuple[Rotation, ...], layer: int) -> tuple[Tensor, Tensor]:
        require(k.shape[1] == self.n_heads, "n_heads", self.n_heads, f"the keys have {k.shape[1]} heads.")
        turns = state[layer % len(state)]
        return tuple(rotate_pairs(x, *by, self.layout).to(x.dtype) for x, by in zip((q, k), turns, strict=True))


def _cos_sin(position_ids: Tensor, inv_freq: Tensor) -> CosSin:
    angles = mixed_angles(position_ids, inv_freq)
    return CosSin(*(f.float().to(position_ids.device) for f in (angles.cos(), angles.sin())))
