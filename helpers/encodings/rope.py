r"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864). Door 2: queries and keys.

Each pair of channels is a complex number; position m turns it by the angle m theta_i:

.. math::

    \tilde q_m = R_m q, \quad \tilde k_n = R_n k, \quad
    \tilde q_m^\top \tilde k_n = \mathrm{Re} \sum_i q_i \bar k_i\, e^{\mathrm{i}(m-n)\theta_i},
    \quad \theta_i = b^{-2i/d}

Two layouts pair the channels differently. ``interleaved``: (0,1), (2,3), ... as in the paper. ``half``: (i, i + d/2),
the "rotate_half" of Llama and most models. They are the same model up to a permutation, and mixing them is a bug.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..validate import even_int, number, one_of, positive_number, require, vector
from .base import Encoding

LAYOUTS = ("half", "interleaved")


def rope_frequencies(head_dim: int, base: float = 10_000.0) -> Tensor:
    """theta_i = base^(-2i/head_dim), i = 0 .. head_dim/2 - 1, radians per position: float64, (head_dim / 2,)."""
    return base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)


def rope_angles(position_ids: Tensor, inv_freq: Tensor) -> Tensor:
    """Angles position * theta_i in radians: (...,) and (pairs,) to (..., pairs), float64 whatever comes in."""
    return position_ids.double()[..., None] * inv_freq.double().to(position_ids.device)


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor, layout: str = "half") -> Tensor:
    """Turn each pair of channels of x by its angle.

    Args:
        x: (..., head_dim).
        cos, sin: of the angles, broadcastable to (..., head_dim / 2).
        layout: ``half`` pairs channel i with i + head_dim/2; ``interleaved`` pairs 2i with 2i + 1.

    Returns:
        The shape of x, in the wider dtype of x and the tables. The norm of every pair is kept.

    Raises:
        ValueError: on another layout.
    """
    if layout == "half":  # (a, b) -> (a cos - b sin, b cos + a sin), where rolling by half the width swaps a and b
        return x * torch.cat([cos, cos], dim=-1) + x.roll(x.shape[-1] // 2, -1) * torch.cat([-sin, sin], dim=-1)
    one_of("layout", layout, LAYOUTS)
    wider = torch.promote_types(x.dtype, cos.dtype)
    x, cos, sin = (a.to(torch.promote_types(wider, torch.float32)) for a in (x, cos, sin))  # complex starts at float32
    turned = torch.complex(x[..., 0::2], x[..., 1::2]) * torch.complex(cos, sin)  # the same, as one product
    return torch.view_as_real(turned).flatten(-2).to(wider)


def layout_permutation(head_dim: int) -> Tensor:
    """Index p with half(x[p]) == interleaved(x)[p]: 0, 2, 4, ..., 1, 3, 5, ... (head_dim,)."""
    return torch.arange(head_dim).view(-1, 2).T.reshape(-1)


class RoPE(Encoding):
    """Rotates queries and keys, never values. Logits depend on content and on m - n only.

    ``rotary_fraction`` < 1 rotates only the first int(head_dim * fraction) channels (GPT-NeoX 0.25, Phi 0.5); the
    exponent's denominator is then that number of channels, not head_dim.
    """

    def __init__(
        self,
        head_dim: int,
        base: float = 10_000.0,
        layout: str = "half",
        rotary_fraction: float = 1.0,
        inv_freq: Tensor | None = None,
        attention_factor: float = 1.0,
    ):
        """Build the rotation.

        Args:
            head_dim: even width of a head.
            base: above 0.
            layout: one of :data:`LAYOUTS`.
            rotary_fraction: in (0, 1], giving an even number of rotated channels.
            inv_freq: frequencies (pairs,) to use instead of base^(-2i/d), for context extension.
            attention_factor: multiplies cos and sin, so logits by its square (YaRN's temperature).

        Raises:
            ValueError: on a bad argument.
        """
        super().__init__()
        even_int("head_dim", head_dim, "channels are rotated in pairs")
        number("rotary_fraction", rotary_fraction, above=0, at_most=1)
        self.rotary_dim = int(head_dim * rotary_fraction)
        remedy = f"leaves rotary_dim={self.rotary_dim}: must be even and above 0, channels are rotated in pairs."
        require(self.rotary_dim > 0 and self.rotary_dim % 2 == 0, "rotary_fraction", rotary_fraction, remedy)
        self.head_dim, self.base = head_dim, positive_number("base", base)
        self.layout = one_of("layout", layout, LAYOUTS)
        self.attention_factor = positive_number("attention_factor", attention_factor)
        # Frequencies are float64 and not a buffer: model.bfloat16() must not touch them.
        pairs = self.rotary_dim // 2
        own = rope_frequencies(self.rotary_dim, base)
        self.inv_freq = own if inv_freq is None else vector("inv_freq", inv_freq, pairs)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """cos and sin for queries and for keys, each (B or 1, 1, T or S, pairs), float32."""
        return self._tables(q_pos), self._tables(k_pos)

    def _tables(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        angles = rope_angles(position_ids, self.inv_freq)[:, None]  # (B, 1, T, pairs): the same for every head
        return (angles.cos() * self.attention_factor).float(), (angles.sin() * self.attention_factor).float()

    def rotate(self, q: Tensor, k: Tensor, state: tuple, layer: int) -> tuple[Tensor, Tensor]:
        return self._turn(q, *state[0]), self._turn(k, *state[1])

    def _turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        if self.rotary_dim == self.head_dim:
            return rotate_pairs(x, cos, sin, self.layout).to(x.dtype)
        turned, kept = x[..., : self.rotary_dim], x[..., self.rotary_dim :]
        return torch.cat([rotate_pairs(turned, cos, sin, self.layout).to(x.dtype), kept], dim=-1)
