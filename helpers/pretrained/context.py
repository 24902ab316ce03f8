"""A real model beyond its 8,192 tokens: perplexity by block, and whether it can still copy. Recorded, or run.

``python3 tasks.py record context`` recomputes a part of the recorded numbers on the real weights and fails if
they differ. Without the weights, :func:`recorded` hands out what was measured.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
from typing import Any

import torch
from torch import Tensor

from ..encodings.extension import extend
from ..encodings.rope import RoPE
from ..validate import one_of, positive_int, require
from .llama import Llama
from .rotation import RESULTS, load, message

RULES = {
    "none": ("none", 1),
    "pi2": ("pi", 2),
    "ntk2": ("ntk", 2),
    "yarn2": ("yarn", 2),
    "pi4": ("pi", 4),
    "ntk4": ("ntk", 4),
    "yarn4": ("yarn", 4),
}
"""Recorded method -> rule of helpers.encodings.extension and factor. "win8192" and so on are plain truncation."""

PAIRS = (("1907-Roosevelt-1", "1862-Lincoln-1"), ("1946-Truman-1", "1823-Monroe-1"))
"""Copy test: (message that fills, message that the needle comes from)."""


@functools.cache
def recorded() -> dict[str, Any]:
    """``results/pretrained/smollm2_context.json``: blocks, copy, settings, provenance."""
    return json.loads((RESULTS / "smollm2_context.json").read_text(encoding="utf-8"))


def perplexity(method: str, start: int, end: int) -> float:
    """exp of the mean loss over tokens start .. end of every document that has the method, documents weighing alike.

    Raises:
        ValueError: if no document has the method, or start and end are not multiples of the block.
    """
    record = recorded()
    width = record["settings"]["block"]
    rows = [doc[method] for doc in record["blocks"].values() if method in doc]
    require(bool(rows), "method", method, "not recorded.")
    for name, value in (("start", start), ("end", end)):
        require(value % width == 0, name, value, f"must be a multiple of {width}.")
    return math.exp(statistics.fmean(statistics.fmean(row[start // width : end // width]) for row in rows))


def copies(method: str) -> dict[int, list[float]]:
    """Recorded perplexity of the second copy: {distance in tokens: [one a pair]} (ValueError on an unknown method)."""
    one_of("method", method, RULES)
    found: dict[int, list[float]] = {}
    for pair in recorded()["copy"].values():
        for distance, (_, second) in pair.get(method, {}).items():
            found.setdefault(int(distance), []).append(second)
    return dict(sorted(found.items()))


def first_copies() -> list[float]:
    """Perplexity of the first copy without extension, one number a pair: what "cannot see the first copy" costs."""
    return [next(iter(pair["none"].values()))[0] for pair in recorded()["copy"].values()]


# ---------------------------------------------------------------------------------------- on the real weights


def extended(model: Llama, method: str) -> Llama:
    """Give the model one method's frequencies, in place; returns it (ValueError on an unknown method)."""
    rule, factor = RULES[one_of("method", method, RULES)]
    ext = extend(rule, model.head_dim, model.base, factor, model.context_length)
    model.encoding = RoPE(model.head_dim, model.base, inv_freq=ext.inv_freq, attention_factor=ext.attention_factor)
    return model


def copy_test(model: Llama, filler: str, needle: str, distance: int) -> float:
    """Perplexity of the second of two copies of 256 tokens that start ``distance`` tokens apart.

    The first copy follows 64 tokens of filler; the first 16 tokens of the second are not scored, since nothing
    announces it.

    Raises:
        ValueError: on a distance below the 256 tokens of a copy, or messages that are too short.
    """
    settings = recorded()["settings"]
    n, before = settings["needle_tokens"], settings["needle_starts_at"]
    positive_int("distance", distance, at_least=n)
    start = settings["needle_from_token"]
    planted = message(model, needle, start + n)[start:]
    fill = message(model, filler, before + distance - n)
    ids = torch.cat([fill[:before], planted, fill[before:], planted])
    return model.token_losses(ids)[-(n - settings["scored_from"]) :].mean().exp().item()


def block_losses(model: Llama, document: str, tokens: int) -> Tensor:
    """Mean loss of each block of the first ``tokens`` targets of a document, (tokens / block,)."""
    width = recorded()["settings"]["block"]
    return model.token_losses(message(model, document, tokens + 1)).view(-1, width).mean(1)


def main(argv: list[str] | None = None) -> None:
    """Recompute a part of what is recorded, on the real weights, and compare."""
    argparse.ArgumentParser(prog="python3 tasks.py record context", description=main.__doc__).parse_args(argv)
    torch.set_num_threads(1)
    model = load(torch.bfloat16)
    for method in ("none", "pi2", "yarn4"):
        found = block_losses(extended(model, method), "1910-Taft-1", 2048).tolist()
        stored = recorded()["blocks"]["1910-Taft-1"][method][: len(found)]
        worst = max(abs(a - b) for a, b in zip(found, stored, strict=True))
        print(f"blocks {method}: largest difference {worst:.4f} nats", flush=True)
        assert worst < 0.02
    for method, distance in (("none", 1792), ("yarn2", 1792), ("none", 3840), ("yarn2", 7680), ("none", 7680)):
        filler, needle = PAIRS[0]
        found = copy_test(extended(model, method), filler, needle, distance)
        stored = recorded()["copy"][f"{filler} / {needle}"][method][str(distance)][1]
        print(f"copy {method} at {distance}: {found:.2f}, recorded {stored:.2f}", flush=True)
        assert abs(math.log(found / stored)) < 0.1
