r"""PoPE, polar position embedding (Gopalakrishnan et al. 2025, arXiv 2509.10534). Door 2: queries and keys.

In RoPE a pair of channels has a length and an angle, both from content, and position is added to the angle. In PoPE
each channel is a length, from content alone, and the angle belongs to position and a learned phase:

.. math::

    a_{ts} = \sum_{c=1}^{d} \mathrm{softplus}(q_{tc})\,\mathrm{softplus}(k_{sc})\,
    \cos\big((s - t)\,\theta_c + \delta_c\big), \qquad \theta_c = b^{-(c-1)/d}

Every channel is a length, so there are d frequencies where RoPE has d/2. The paper prints the exponent of theta_c
without its minus sign; both public implementations have it. One phase delta_c per head and frequency is learned.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..validate import flag, one_of, positive_int, positive_number, require
from .base import Encoding
from .rope import CosSin, Rotation, rope_angles


def pope_frequencies(head_dim: int, base: float = 10_000.0) -> Tensor:
    """theta_c = base^(-c/head_dim), c = 0 .. head_dim - 1, radians per position: float64, (head_dim,)."""
    return base ** (-torch.arange(head_dim, dtype=torch.float64, device="cpu") / head_dim)


def to_polar(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Channels as lengths, angles from position: [softplus(x) cos | softplus(x) sin].

    Args:
        x: (..., head_dim).
        cos, sin: of the angles, broadcastable to (..., head_dim).

    Returns:
        (..., 2 head_dim). The dot product of two such vectors is the paper's equation 6 (as equation 10 writes it).
    """
    length = F.softplus(x)
    return torch.cat([length * cos, length * sin], dim=-1)


class PoPE(Encoding):
    """Queries and keys become lengths with an angle of position alone. Rotated vectors are 2 head_dim wide.

    The softmax scale stays 1/sqrt(head_dim), from the width before rotation, as PoPE-pytorch has it; the paper's
    formula prints none. The learned phases are shared by all layers, as x-transformers has them.
    """

    def __init__(self, head_dim: int, n_heads: int, base: float = 10_000.0, delta: str = "zero", bounded: bool = True):
        """Build the encoding.

        Args:
            head_dim: width of a head, odd or even.
            n_heads: number of *key* heads: each has its own phase a frequency.
            base: at least 1, or the frequencies do not fall.
            delta: how the phases start. ``zero`` (better beyond the training length, says the paper) or ``uniform``
                in [-2 pi, 0] (slightly better within it).
            bounded: clamp the phases to [-2 pi, 0], as the paper and both packages do. A phase outside gets no
                gradient.

        Raises:
            ValueError: on a bad argument.
        """
        super().__init__()
        self.head_dim, self.base = positive_int("head_dim", head_dim), positive_number("base", base, at_least=1.0)
        shape = (positive_int("n_heads", n_heads), self.head_dim)
        one_of("delta", delta, ("zero", "uniform"))
        self.delta = nn.Parameter(torch.zeros(shape) if delta == "zero" else -2 * math.pi * torch.rand(shape))
        self.bounded = flag("bounded", bounded)
        self.inv_freq = pope_frequencies(self.head_dim, base)  # float64 and not a buffer, as in RoPE

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Rotation:
        """cos, sin for queries (B or 1, 1, T, D) and for keys, whose angles carry delta, (B or 1, H_kv, S, D)."""
        delta = self.delta.clamp(-2 * math.pi, 0) if self.bounded else self.delta
        q_angle = rope_angles(q_pos, self.inv_freq)[:, None]
        k_angle = rope_angles(k_pos, self.inv_freq)[:, None]
        k_angle = k_angle + delta[:, None].to(k_angle.device)
        return Rotation(
            *(CosSin(*(f.float().to(q_pos.device) for f in (a.cos(), a.sin()))) for a in (q_angle, k_angle))
        )

    def rotate(self, q: Tensor, k: Tensor, state: Rotation, layer: int) -> tuple[Tensor, Tensor]:
        heads = len(self.delta)  # broadcasting would hide a misfit; the model knows its query heads only
        require(k.shape[1] == heads, "n_heads", heads, f"the keys have {k.shape[1]} heads; build PoPE for those.")
        return to_polar(q, *state.queries).to(q.dtype), to_polar(k, *state.keys).to(k.dtype)
