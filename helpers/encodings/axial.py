r"""Rotary positions with several coordinates: axial RoPE for images and M-RoPE for video. Door 2: queries and keys.

One rule covers both. Every pair of channels is given one axis a(i) and one frequency, and turns by that coordinate:

.. math::

    \tilde q^\top \tilde k = \mathrm{Re} \sum_i q_i \bar k_i\, e^{\mathrm{i}(m_{a(i)} - n_{a(i)})\,\theta_i}

so that logits depend on the content and on the *offset along each axis*. The two differ in how frequencies are dealt:

* **axial** (EleutherAI 2021; timm, DINOv3): pairs are split evenly, and every axis gets a full set, fast to slow;
* **M-RoPE** (Wang et al. 2024, Qwen2-VL, arXiv 2409.12191): one set of frequencies is cut into sections, so the first
  axis (time) gets the fast pairs and the last one the slow pairs. Text uses equal ids, which is plain RoPE.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..validate import even_int, one_of, positive_int, positive_number, require
from .base import Encoding
from .rope import LAYOUTS, rope_frequencies, rotate_pairs


def axis_angles(position_ids: Tensor, inv_freq: Tensor, axis: Tensor) -> Tensor:
    """Angles in radians, coordinate axis[i] times inv_freq[i]: (..., axes), (pairs,), (pairs,) to (..., pairs)."""
    device = position_ids.device
    return position_ids.double()[..., axis.to(device)] * inv_freq.double().to(device)


def axial_frequencies(head_dim: int, axes: int = 2, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Frequencies and axes of the pairs, both (head_dim / 2,): every axis gets rope_frequencies(head_dim / axes)."""
    freq = rope_frequencies(head_dim // axes, base)
    return freq.repeat(axes), torch.arange(axes).repeat_interleave(len(freq))


def mrope_frequencies(head_dim: int, sections: Sequence[int], base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Frequencies and axes of the pairs, both (head_dim / 2,): rope_frequencies(head_dim) cut into ``sections``."""
    return rope_frequencies(head_dim, base), torch.arange(len(sections)).repeat_interleave(torch.tensor(sections))


def grid_positions(height: int, width: int) -> Tensor:
    """(row, column) of every cell of an image, rows first: int64, (1, height * width, 2). Sides below 1: ValueError."""
    positive_int("height", height)
    positive_int("width", width)
    return torch.cartesian_prod(torch.arange(height), torch.arange(width))[None]


class AxialRoPE(Encoding):
    """Each axis turns its own pairs. Positions are (B or 1, T, axes).

    Axis 0 (rows) has the first pairs. Which channels those are is the layout's matter: in ``interleaved`` they are the
    first head_dim / axes channels (rotary-embedding-torch, timm), in ``half`` the front of both halves (DINOv3).
    """

    def __init__(self, head_dim: int, axes: int = 2, base: float = 10_000.0, layout: str = "interleaved"):
        """head_dim: divisible by 2 * axes. axes: coordinates of a position. base: above 0. ValueError otherwise."""
        super().__init__()
        self.axes = positive_int("axes", axes)
        even_int("head_dim", head_dim, "channels are rotated in pairs")
        require(head_dim % (2 * axes) == 0, "head_dim", head_dim, f"must be divisible by 2 * axes = {2 * axes}.")
        self.layout = one_of("layout", layout, LAYOUTS)
        self.inv_freq, self.axis = axial_frequencies(head_dim, axes, positive_number("base", base))

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """cos and sin for queries and for keys, each (B or 1, 1, T or S, pairs), float32."""
        return self._tables(self._ids(q_pos)), self._tables(self._ids(k_pos))

    def _ids(self, position_ids: Tensor) -> Tensor:
        fits = position_ids.ndim == 3 and position_ids.shape[-1] == self.axes
        shape = tuple(position_ids.shape)
        require(fits, "position_ids", shape, f"must be (batch or 1, seq_len, axes={self.axes}); see grid_positions.")
        return position_ids

    def _tables(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        angles = axis_angles(position_ids, self.inv_freq, self.axis)[:, None]
        return angles.cos().float(), angles.sin().float()

    def rotate(self, q: Tensor, k: Tensor, state: tuple, layer: int) -> tuple[Tensor, Tensor]:
        return tuple(rotate_pairs(x, *table, self.layout).to(x.dtype) for x, table in zip((q, k), state, strict=True))


class MRoPE(AxialRoPE):
    """Multimodal RoPE: sections of one set of frequencies follow time, height and width.

    Positions are (B or 1, T, len(sections)), or (B or 1, T) for text, where all coordinates are equal and the result
    is plain RoPE.
    """

    def __init__(self, head_dim: int, sections: Sequence[int] = (16, 24, 24), base: float = 1e6, layout: str = "half"):
        """head_dim: twice the sum of ``sections`` (pairs an axis). Defaults: Qwen2-VL's. ValueError otherwise."""
        Encoding.__init__(self)
        listed = isinstance(sections, Sequence) and len(sections) > 0
        require(listed, "sections", sections, "pass the pairs of each axis, as in (16, 24, 24).")
        for pairs in sections:
            positive_int("sections", pairs)
        even_int("head_dim", head_dim, "channels are rotated in pairs")
        total = sum(sections)
        require(head_dim == 2 * total, "sections", tuple(sections), f"must sum to head_dim / 2 = {head_dim // 2}.")
        self.axes, self.layout = len(sections), one_of("layout", layout, LAYOUTS)
        self.inv_freq, self.axis = mrope_frequencies(head_dim, sections, positive_number("base", base))

    def _ids(self, position_ids: Tensor) -> Tensor:
        if position_ids.ndim == 2:
            position_ids = position_ids[..., None].expand(*position_ids.shape, self.axes)
        return super()._ids(position_ids)
