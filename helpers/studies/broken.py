"""A recorded model with one fault, for a class to diagnose (teaching/projects.md). Which fault, a word decides.

An instructor gives each team a word and calls :func:`fault_of`; the team calls :func:`suspect` and gets a model that
runs. No fault raises, and each is found from a loss or by a probe (tests/studies/test_broken.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from .. import race
from ..encodings import RoPE


class HalfPrecision(RoPE):
    """Positions rounded to float16."""

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> tuple:
        return super().prepare(q_pos.half(), k_pos.half(), allowed)


FAULTS = ("none", "wrong layout", "wrong base", "off by one with a cache", "positions in float16")


def fault_of(word: str) -> str:
    """The fault behind a word, one of :data:`FAULTS`."""
    return FAULTS[int(hashlib.sha256(word.encode()).hexdigest(), 16) % len(FAULTS)]


def suspect(word: str, fault: str | None = None) -> Callable[..., Tensor]:
    """``run(ids, position_ids=None, attention_mask=None, cache=None)``: logits of a model that is said to rotate
    half-split with base 10,000, trained on windows of 64 characters.

    ids: (B, T); logits: (B, T, vocabulary); the other arguments as in :meth:`helpers.model.Transformer.hidden`.

    Args:
        word: decides the fault and which of the five recorded seeds is loaded.
        fault: this one of :data:`FAULTS` instead, for tests.
    """
    lm, fault = race.load_model("rope", len(word) % 5), fault or fault_of(word)
    faulty = {
        "wrong layout": RoPE(16, layout="interleaved"),
        "wrong base": RoPE(16, base=1_000.0),
        "positions in float16": HalfPrecision(16),
    }
    lm.encoding = faulty.get(fault, lm.encoding)

    def run(ids: Tensor, position_ids: Tensor | None = None, attention_mask=None, cache=None) -> Tensor:
        if fault == "off by one with a cache" and cache and position_ids is None:  # an empty cache is false
            position_ids = len(cache) + 1 + torch.arange(ids.shape[1])[None]
        return lm(ids, position_ids=position_ids, attention_mask=attention_mask, cache=cache)

    return run
