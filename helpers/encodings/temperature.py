r"""A temperature that follows the position (Llama 4; Ministral 3). Door 2: queries only.

.. math:: \tilde q_m = \Big(1 + a \ln\big(1 + \lfloor (m + s)/L \rfloor\big)\Big)\, q_m

A query at a late position has more keys to choose from. This rule makes its logits larger: by nothing in the first L
positions, by 1.2565 at position 100,000 with Llama 4's numbers. No order comes of it; it goes beside a scheme that has
one, or into the layers that have none (iRoPE): ``Combined([RoPE(128), PositionTemperature(...)])``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..validate import number, positive_int
from .base import LARGEST, Encoding, in_float64


def position_temperature(position_ids: Tensor, attn_scale: float, floor_scale: int, shift: int = 0) -> Tensor:
    """What queries are multiplied by: 1 + attn_scale ln(1 + floor((position + shift) / floor_scale)).

    Args:
        position_ids: any shape (...,), in tokens. Positions below 0 count as 0.
        attn_scale: a, how much a factor of e in length adds.
        floor_scale: L, tokens in a step.
        shift: added to the position first.

    Returns:
        The shape of position_ids, float32.

    Source: ``attn_temperature_tuning`` in transformers' modeling_llama4: a = 0.1, L = 8192, shift 1. And
    modeling_ministral3: a is ``llama_4_scaling_beta``, L the original length, no shift.
    """
    steps = torch.floor((in_float64(position_ids) + shift).clamp(min=0) / floor_scale)
    return (1 + attn_scale * torch.log1p(steps)).float().to(position_ids.device)


class PositionTemperature(Encoding):
    """Multiplies every query by :func:`position_temperature`. No parameters, any length."""

    def __init__(self, attn_scale: float, floor_scale: int, shift: int = 0):
        """As in :func:`position_temperature`. ValueError unless attn_scale > 0, floor_scale >= 1 and shift >= 0."""
        super().__init__()
        self.attn_scale = number("attn_scale", attn_scale, above=0, at_most=LARGEST)
        self.floor_scale = positive_int("floor_scale", floor_scale)
        self.shift = positive_int("shift", shift, at_least=0)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        return position_temperature(q_pos, self.attn_scale, self.floor_scale, self.shift)[:, None, :, None]

    def rotate(self, q: Tensor, k: Tensor, state: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        return (q * state).to(q.dtype), k
