r"""Rotary positions with several coordinates: axial RoPE for images and M-RoPE for video. Door 2: queries and keys.

One rule covers both. Every pair of channels is given one axis a(i) and one frequency, and turns by that coordinate:

.. math::

    \tilde q^\top \tilde k = \mathrm{Re} \sum_i q_i \bar k_i\, e^{\mathrm{i}(m_{a(i)} - n_{a(i)})\,\theta_i}

so that logits depend on the content and on the *offset along each axis*. The two differ in how frequencies are dealt:

* **axial** (EleutherAI 2021; timm, DINOv3): pairs are split between the axes, and every axis gets a full set, fast to
  slow. The shares may differ: HunyuanVideo gives 16 channels of 128 to time and 56 to each side of the picture;
* **M-RoPE** (Wang et al. 2024, Qwen2-VL, arXiv 2409.12191): one set of frequencies is cut into sections, so the first
  axis (time) gets the fast pairs and the last one the slow pairs. Qwen3-VL deals the pairs out in turn instead, so
  that every axis has fast and slow ones. Text uses equal ids, which is plain RoPE.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from ..validate import even_int, flag, positive_int, require
from .base import in_float64
from .rope import RoPE, rope_frequencies


def axis_angles(position_ids: Tensor, inv_freq: Tensor, axis: Tensor) -> Tensor:
    """Angles in radians, coordinate axis[i] times inv_freq[i]: (..., axes), (pairs,), (pairs,) to (..., pairs).

    float64, on the device of the positions or, if that has no float64, on the CPU.
    """
    ids = in_float64(position_ids)
    return ids[..., axis.to(ids.device)] * inv_freq.double().to(ids.device)


def axial_frequencies(head_dim: int, axes: int | Sequence[int] = 2, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Frequencies and axes of the pairs, both (head_dim / 2,): an axis with w channels gets rope_frequencies(w).

    ``axes``: their number, for equal shares of head_dim; or the channels of each, even numbers that sum to head_dim.
    """
    widths = [head_dim // axes] * axes if isinstance(axes, Integral) else axes
    sets = [rope_frequencies(width, base) for width in widths]
    return torch.cat(sets), torch.cat([torch.full((len(s),), a, device="cpu") for a, s in enumerate(sets)])


def mrope_frequencies(
    head_dim: int, sections: Sequence[int], base: float = 10_000.0, mrope_interleaved: bool = False
) -> tuple[Tensor, Tensor]:
    """Frequencies and axes of the pairs, both (head_dim / 2,): rope_frequencies(head_dim), dealt to the axes.

    Args:
        head_dim: twice the sum of ``sections``.
        sections: pairs of each axis.
        base: at least 1, or the frequencies do not fall.
        mrope_interleaved: False: the first pairs to the first axis, and so on (Qwen2-VL). True: the pairs in turn, pair
            i to axis i modulo the number of axes, until that axis has its share; what is left to the first (Qwen3-VL).

    Source: Wang et al. 2024 (arXiv 2409.12191), section 2.1; interleaved: apply_interleaved_mrope in transformers'
    modeling_qwen3_vl.
    """
    n = len(sections)
    axis = torch.arange(n, device="cpu").repeat_interleave(torch.tensor(sections, device="cpu"))
    if mrope_interleaved:
        axis = torch.zeros_like(axis)
        for a in range(1, n):
            axis[a : n * sections[a] : n] = a
    return rope_frequencies(head_dim, base), axis


def grid_positions(height: int, width: int) -> Tensor:
    """(row, column) of every cell of an image, rows first: int64, (1, height * width, 2). Sides below 1: ValueError."""
    positive_int("height", height)
    positive_int("width", width)
    return torch.cartesian_prod(torch.arange(height), torch.arange(width))[None]


def multimodal_positions(segments: Sequence[int | tuple[int, int, int]], start: int = 0, time_step: int = 1) -> Tensor:
    """(time, row, column) of every token of a sequence of texts, pictures and videos: int64, (1, T, 3).

    Each segment begins one after the largest id so far, on all three axes. A text counts on, alike on the three; a
    grid counts from there along each axis on its own, so 16 patches in a square take four ids, not 16.

    Args:
        segments: in the order of the sequence, an int for that many tokens of text, or (frames, rows, columns) of a
            picture (one frame) or a video, as many tokens as it has cells *after* the model merged patches
            (Qwen2-VL: 2 x 2 into one).
        start: id of the first token. After a prefix: its largest id plus 1, which is less than its length if it held a
            picture.
        time_step: ids from one frame to the next (Qwen2.5-VL: seconds between frames times tokens_per_second).

    Raises:
        ValueError: on a segment of another form, or a number below 1 (``start``: 0).

    Source: Qwen2-VL (Wang et al. 2024, arXiv 2409.12191, section 2.1), get_rope_index in the authors' code. In
    transformers 5.23 what follows a video with more frames than rows and columns begins at a smaller id: its
    get_rope_index leaves the time axis out of the largest id.
    """
    at, out = positive_int("start", start, at_least=0), []
    positive_int("time_step", time_step)
    listed = isinstance(segments, Sequence) and not isinstance(segments, str | bytes) and len(segments) > 0
    require(listed, "segments", segments, "pass a list of texts and grids, as in [5, (1, 4, 4), 7].")
    for segment in segments:
        if isinstance(segment, Sequence) and not isinstance(segment, str | bytes):
            require(len(segment) == 3, "segments", segment, "a grid is (frames, rows, columns).")
            frames, rows, columns = (torch.arange(positive_int("segments", n)) for n in segment)
            ids = at + torch.cartesian_prod(time_step * frames, rows, columns)
        else:
            ids = (at + torch.arange(positive_int("segments", segment)))[:, None].expand(-1, 3)
        out.append(ids)
        at = int(ids.max()) + 1
    return torch.cat(out)[None]


class _ManyAxes(RoPE):
    """RoPE whose pairs turn by different coordinates: pair i by coordinate ``axis[i]``, with ``inv_freq[i]``."""

    axis: Tensor

    def _angles(self, position_ids: Tensor) -> Tensor:
        fits = position_ids.ndim == 3 and position_ids.shape[-1] == self.axes
        shape = tuple(position_ids.shape)
        require(fits, "position_ids", shape, f"must be (batch or 1, seq_len, axes={self.axes}); see grid_positions.")
        return axis_angles(position_ids, self.inv_freq, self.axis)


class AxialRoPE(_ManyAxes):
    """Each axis turns its own pairs. Positions are (B or 1, T, axes).

    Axis 0 (rows) has the first pairs. Which channels those are is the layout's matter: in ``interleaved`` they are the
    first of the rotated channels (rotary-embedding-torch, timm), in ``half`` the front of both halves (DINOv3).
    """

    def __init__(
        self,
        head_dim: int,
        axes: int | Sequence[int] = 2,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotary_fraction: float = 1.0,
        attention_factor: float = 1.0,
        *,
        rotary_dim: int | None = None,
        rotated: str = "first",
        scale: float | None = None,
    ):
        """Deal the pairs to the axes.

        Args:
            head_dim: even width of a head.
            axes: number of coordinates, each with an equal, even share of the rotated channels; or the channels of
                each, as in (16, 56, 56): even numbers that sum to the rotated channels.
            base: at least 1, or the frequencies do not fall.
            layout, rotary_fraction, attention_factor, rotary_dim, rotated, scale: as in :class:`RoPE`.

        Raises:
            ValueError: on a bad argument.
        """
        part = {"rotary_dim": rotary_dim, "rotated": rotated, "scale": scale}
        super().__init__(head_dim, base, layout, rotary_fraction, None, attention_factor, **part)
        if isinstance(axes, Sequence) and not isinstance(axes, str | bytes):
            for width in axes:
                even_int("axes", width, "channels are rotated in pairs")
            remedy = f"must sum to the {self.rotary_dim} rotated channels."
            require(sum(axes) == self.rotary_dim, "axes", tuple(axes), remedy)
            self.axes = len(axes)
        else:
            self.axes = positive_int("axes", axes)
            remedy = f"{self.rotary_dim} rotated channels must be divisible by 2 * axes = {2 * axes}."
            require(self.rotary_dim % (2 * axes) == 0, "head_dim", head_dim, remedy)
        self.inv_freq, self.axis = axial_frequencies(self.rotary_dim, axes, base)

    def set_frequencies(self, inv_freq: Tensor, attention_factor: float = 1.0) -> None:
        """Refused (ValueError): a rule gives one falling set of frequencies, and here every axis has its own."""
        require(False, "encoding", "AxialRoPE", "give it another base, or other position_ids, for a larger picture.")


class MRoPE(_ManyAxes):
    """Multimodal RoPE: sections of one set of frequencies follow time, height and width.

    Positions are (B or 1, T, len(sections)), or (B or 1, T) for text, where all coordinates are equal and the result
    is plain RoPE. :func:`multimodal_positions` builds them.
    """

    def __init__(
        self,
        head_dim: int,
        sections: Sequence[int] = (16, 24, 24),
        base: float = 1e6,
        layout: str = "half",
        rotary_fraction: float = 1.0,
        inv_freq: Tensor | None = None,
        attention_factor: float = 1.0,
        *,
        mrope_interleaved: bool = False,
        rotary_dim: int | None = None,
        rotated: str = "first",
        scale: float | None = None,
    ):
        """Deal the pairs to the axes. The defaults are Qwen2-VL's.

        Args:
            head_dim: even width of a head.
            sections: pairs of each axis. They must sum to half of the rotated channels.
            base: at least 1, or the frequencies do not fall.
            mrope_interleaved: deal the pairs out in turn, see :func:`mrope_frequencies` (Qwen3-VL: (24, 20, 20)).
            layout, rotary_fraction, inv_freq, attention_factor, rotary_dim, rotated, scale: as in :class:`RoPE`
                (Qwen3.5: sections (11, 11, 10) on a quarter of 256 channels).

        Raises:
            ValueError: on a bad argument.
        """
        part = {"rotary_dim": rotary_dim, "rotated": rotated, "scale": scale}
        super().__init__(head_dim, base, layout, rotary_fraction, inv_freq, attention_factor, **part)
        listed = isinstance(sections, Sequence) and not isinstance(sections, str | bytes) and len(sections) > 0
        require(listed, "sections", sections, "pass the pairs of each axis, as in (16, 24, 24).")
        for pairs in sections:
            positive_int("sections", pairs)
        remedy = f"must sum to half of the rotated channels, {self.rotary_dim // 2}."
        require(2 * sum(sections) == self.rotary_dim, "sections", tuple(sections), remedy)
        self.axes = len(sections)
        interleaved = flag("mrope_interleaved", mrope_interleaved)
        self.axis = mrope_frequencies(self.rotary_dim, sections, base, interleaved)[1]
        fits = self.axis.bincount(minlength=self.axes).tolist() == list(sections)
        require(fits, "sections", tuple(sections), "cannot be dealt out in turn: no axis may have more than the first.")

    def _angles(self, position_ids: Tensor) -> Tensor:
        if position_ids.ndim == 2:
            position_ids = position_ids[..., None].expand(*position_ids.shape, self.axes)
        return super()._angles(position_ids)
