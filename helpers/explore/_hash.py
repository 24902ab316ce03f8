"""Numbers that Python and JavaScript draw alike: a text's hash. ``hashed`` in ``kit.js`` is the same function."""

from __future__ import annotations

import torch
from torch import Tensor

_BITS = 0xFFFFFFFF


def hashed(text: str) -> float:
    """A number in [-1, 1) that depends on the text alone: FNV-1a over its UTF-8 bytes, mixed as in MurmurHash3."""
    h = 0x811C9DC5
    for byte in text.encode():
        h = (h ^ byte) * 0x01000193 & _BITS
    h = (h ^ h >> 16) * 0x85EBCA6B & _BITS
    h = (h ^ h >> 13) * 0xC2B2AE35 & _BITS
    return (h ^ h >> 16) / 2**31 - 1


def hashed_vector(text: str, width: int) -> Tensor:
    """``hashed("text 0")``, ``hashed("text 1")``, ...: float64, (width,)."""
    return torch.tensor([hashed(f"{text} {i}") for i in range(width)], dtype=torch.float64)
