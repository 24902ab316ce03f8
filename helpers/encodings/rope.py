r"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864). Door 2: queries and keys.

Each pair of channels is a complex number; position m turns it by the angle m theta_i:

.. math::

    \tilde q_m = R_m q, \quad \tilde k_n = R_n k, \quad
    \tilde q_m^\top \tilde k_n = \mathrm{Re} \sum_i q_i \bar k_i\, e^{\mathrm{i}(m-n)\theta_i},
    \quad \theta_i = b^{-2i/d}

Two layouts pair the channels differently. ``interleaved``: (0,1), (2,3), ... as in the paper. ``half``: (i, i + d/2),
the "rotate_half" of Llama and many others. They are the same model up to a permutation, and mixing them is a bug.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..validate import even_int, number, one_of, positive_number, require, vector
from .base import LARGEST, Encoding, in_float64

LAYOUTS = ("half", "interleaved")
ROTATED = ("first", "last")
PAIRS = "channels are rotated in pairs"


class CosSin(NamedTuple):
    """cos and sin of the angles by which channels turn: float32, each broadcastable to (B, H, T, pairs)."""

    cos: Tensor
    sin: Tensor


class Rotation(NamedTuple):
    """What one forward pass turns queries (T of them) and keys (S) by."""

    queries: CosSin
    keys: CosSin


def rope_exponents(head_dim: int) -> Tensor:
    """-2i/head_dim, i = 0 .. head_dim/2 - 1, the exponents of the base: float64, (head_dim / 2,), on the CPU.

    ValueError on an odd width.
    """
    even_int("head_dim", head_dim, PAIRS)
    return -torch.arange(0, head_dim, 2, dtype=torch.float64, device="cpu") / head_dim


def rope_frequencies(head_dim: int, base: float = 10_000.0) -> Tensor:
    """theta_i = base^(-2i/head_dim), i = 0 .. head_dim/2 - 1, radians per position: float64, (head_dim / 2,)."""
    return base ** rope_exponents(head_dim)


def rope_angles(position_ids: Tensor, inv_freq: Tensor) -> Tensor:
    """Angles position * theta_i in radians: (...,) and (pairs,) to (..., pairs), float64 whatever comes in.

    On the device of the positions, or on the CPU if that device has no float64 (:func:`~.base.in_float64`).
    """
    ids = in_float64(position_ids)
    return ids[..., None] * inv_freq.double().to(ids.device)


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor, layout: str = "half") -> Tensor:
    """Turn each pair of channels of x by its angle.

    Args:
        x: (..., head_dim).
        cos, sin: of the angles, broadcastable to (..., head_dim / 2).
        layout: ``half`` pairs channel i with i + head_dim/2; ``interleaved`` pairs 2i with 2i + 1.

    Returns:
        The shape of x, in the wider dtype of x and the tables. The norm of every pair is kept.

    Raises:
        ValueError: on another layout, or an odd width.
    """
    even_int("head_dim", x.shape[-1], PAIRS)
    if layout == "half":
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
    one_of("layout", layout, LAYOUTS)
    if torch.compiler.is_compiling():  # the compiler makes one kernel of this, and has none for complex numbers
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)
    wider = torch.promote_types(x.dtype, cos.dtype)
    x, cos, sin = (a.to(torch.promote_types(wider, torch.float32)) for a in (x, cos, sin))  # complex starts at float32
    turned = torch.complex(x[..., 0::2], x[..., 1::2]) * torch.complex(cos, sin)  # the same, as one product
    return torch.view_as_real(turned).flatten(-2).to(wider)


def layout_permutation(head_dim: int) -> Tensor:
    """Index p with half(x[p]) == interleaved(x)[p]: 0, 2, 4, ..., 1, 3, 5, ... (head_dim,). Odd width: ValueError."""
    even_int("head_dim", head_dim, PAIRS)
    return torch.arange(head_dim).view(-1, 2).T.reshape(-1)


def interleaved_to_half(weight: Tensor, n_heads: int) -> Tensor:
    """Reorder the rows of a query or key projection (n_heads * head_dim, d_model) from interleaved pairs to halves.

    Row 2i of a head goes to i and row 2i + 1 to i + head_dim/2 (:func:`layout_permutation` in every head), so that the
    half-split rotation of the new rows gives the logits that the interleaved rotation gave of the old. GGUF files of
    the Llama family store them interleaved.
    """
    rows, width = weight.shape
    return weight.view(n_heads, rows // n_heads // 2, 2, width).transpose(1, 2).reshape(rows, width)


def rotary_width(head_dim: int, rotary_fraction: float = 1.0, rotary_dim: int | None = None) -> int:
    """Number of rotated channels of a head: ``rotary_dim``, or int(head_dim * rotary_fraction); even.

    ValueError on a width that is odd, 0 or above head_dim, or given in both ways.
    """
    even_int("head_dim", head_dim, PAIRS)
    number("rotary_fraction", rotary_fraction, above=0, at_most=1)
    if rotary_dim is None:
        width = int(head_dim * rotary_fraction)
        remedy = f"leaves rotary_dim={width}: must be even and above 0, channels are rotated in pairs."
        require(width > 0 and width % 2 == 0, "rotary_fraction", rotary_fraction, remedy)
        return width
    require(rotary_fraction == 1, "rotary_fraction", rotary_fraction, f"leave it out, rotary_dim={rotary_dim} says it.")
    even_int("rotary_dim", rotary_dim, PAIRS)
    require(rotary_dim <= head_dim, "rotary_dim", rotary_dim, f"must be at most head_dim={head_dim}.")
    return int(rotary_dim)


class RoPE(Encoding):
    """Rotates queries and keys, never values. Logits depend on content and on m - n only.

    A part of the head may be rotated: the first channels (GPT-NeoX a quarter, Phi-1 half), or the last (DeepSeek 64 of
    192). The exponent's denominator is then the number of rotated channels, not head_dim.

    YaRN's temperature f has two places, and on a part of a head they are not the same. As ``attention_factor`` it
    multiplies cos and sin, and so by f^2 the part of a logit that comes from rotated channels, nothing else. In
    ``scale`` = f^2 / sqrt(head_dim) it multiplies the whole logit. DeepSeek-V3 uses the second: with all 192 channels
    1 and s = 40, logits grow by 1.8739 there and by 1.2913 if the factor is put on cos and sin.
    """

    def __init__(
        self,
        head_dim: int,
        base: float = 10_000.0,
        layout: str = "half",
        rotary_fraction: float = 1.0,
        inv_freq: Tensor | None = None,
        attention_factor: float = 1.0,
        *,
        rotary_dim: int | None = None,
        rotated: str = "first",
        scale: float | None = None,
    ):
        """Build the rotation.

        Args:
            head_dim: even width of a head.
            base: at least 1, or the frequencies do not fall.
            layout: one of :data:`LAYOUTS`.
            rotary_fraction: in (0, 1], giving an even number of rotated channels.
            inv_freq: frequencies (pairs,) to use instead of base^(-2i/d), for context extension.
            attention_factor: multiplies cos and sin: the rotated channels' part of a logit by its square.
            rotary_dim: number of rotated channels, in place of ``rotary_fraction``.
            rotated: which channels of a partly rotated head turn, one of :data:`ROTATED`.
            scale: softmax scale of the logits; None for 1/sqrt(head_dim).

        Raises:
            ValueError: on a bad argument.
        """
        super().__init__()
        self.rotary_dim = rotary_width(head_dim, rotary_fraction, rotary_dim)
        self.head_dim, self.base = head_dim, positive_number("base", base, at_least=1.0)
        self.layout = one_of("layout", layout, LAYOUTS)
        self.rotated = one_of("rotated", rotated, ROTATED)
        self.scale = None if scale is None else number("scale", scale, above=0, at_most=LARGEST)
        # Frequencies are float64 and not a buffer: model.bfloat16() must not touch them.
        self.inv_freq = rope_frequencies(self.rotary_dim, base)
        RoPE.set_frequencies(self, self.inv_freq if inv_freq is None else inv_freq, attention_factor)

    def set_frequencies(self, inv_freq: Tensor, attention_factor: float = 1.0) -> None:
        """Other frequencies (pairs,) and another attention factor, in place: context extension of a trained model.

        ValueError on other than that many finite numbers, or a factor outside (0, 1000].
        """
        self.inv_freq = vector("inv_freq", inv_freq, self.rotary_dim // 2)
        self.attention_factor = number("attention_factor", attention_factor, above=0, at_most=LARGEST)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Rotation:
        """cos and sin for queries and for keys, each (B or 1, 1, T or S, pairs), float32."""
        return Rotation(self._tables(q_pos), self._tables(k_pos))

    def _angles(self, position_ids: Tensor) -> Tensor:
        """(B or 1, T, pairs), float64."""
        return rope_angles(position_ids, self.inv_freq)

    def _tables(self, position_ids: Tensor) -> CosSin:
        return self._cos_sin(self._angles(position_ids), position_ids.device)

    def _cos_sin(self, angles: Tensor, device: torch.device) -> CosSin:
        angles = angles[:, None]  # (B, 1, T, pairs): the same for every head
        return CosSin(*((f * self.attention_factor).float().to(device) for f in (angles.cos(), angles.sin())))

    def rotate(self, q: Tensor, k: Tensor, state: Rotation, layer: int) -> tuple[Tensor, Tensor]:
        return self._turn(q, *state.queries), self._turn(k, *state.keys)

    def _turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        if self.rotary_dim == self.head_dim:
            return rotate_pairs(x, cos, sin, self.layout).to(x.dtype)
        if self.rotated == "first":
            turning, kept = x[..., : self.rotary_dim], x[..., self.rotary_dim :]
            return torch.cat([rotate_pairs(turning, cos, sin, self.layout).to(x.dtype), kept], dim=-1)
        kept, turning = x[..., : -self.rotary_dim], x[..., -self.rotary_dim :]
        return torch.cat([kept, rotate_pairs(turning, cos, sin, self.layout).to(x.dtype)], dim=-1)
