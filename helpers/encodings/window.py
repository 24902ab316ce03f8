r"""Sliding window: a query sees the last ``window`` tokens, itself included. Door 3, or the mask.

.. math:: b_{ij} = 0 \text{ if } |i - j| < w, \quad -\infty \text{ otherwise}

ALiBi with a cliff in place of the slope. Inside the window it says nothing about order: all it knows of position is
near or not. L layers reach L (w - 1) tokens back.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..validate import positive_int
from .base import Encoding


def window_bias(q_pos: Tensor, k_pos: Tensor, window: int) -> Tensor:
    """0 where |i - j| < window, -inf elsewhere: positions (B, T) and (B, S) to (B, 1, T, S) float32."""
    far = Encoding.distance(q_pos, k_pos).abs() >= window
    return torch.zeros(far.shape, device=far.device).masked_fill(far, -math.inf)[:, None]


class SlidingWindow(Encoding):
    """Hides keys ``window`` or more tokens away. No parameters, any length. All heads alike."""

    def __init__(self, window: int):
        """window: tokens seen, at least 1 (the query itself). ValueError otherwise."""
        super().__init__()
        self.window = positive_int("window", window)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        return window_bias(q_pos, k_pos, self.window)

    def bias(self, q: Tensor, k: Tensor, state: Tensor, layer: int) -> Tensor:
        return state
