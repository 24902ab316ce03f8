"""A real model beyond its 8,192 tokens: perplexity by block, and whether it can still copy. Recorded, or run.

``python3 tasks.py record context`` measures what is missing, on the real weights (hours); :func:`compare` recomputes a
part. Without the weights, :func:`recorded` hands out what was measured.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import Any

import torch
from torch import Tensor

from .. import record, store
from ..encodings.extension import extend
from ..encodings.rope import RoPE
from ..validate import one_of, positive_int, require
from . import smollm2
from .llama import Llama
from .smollm2 import message

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

WINDOWS = {"win8192": 8192, "win4096": 4096, "win2048": 2048}
"""Plain truncation -> tokens read at once: as trained, and every token sees at least half as many before it."""

PAIRS = (("1907-Roosevelt-1", "1862-Lincoln-1"), ("1946-Truman-1", "1823-Monroe-1"))
"""Copy test: (message that fills, message that the needle comes from)."""

DISTANCES = {
    "none": (1792, 3840, 5120, 6144, 7680, 9984, 12032, 15872),
    "yarn2": (1792, 3840, 5120, 6144, 7680, 9984, 12032, 15872),
    "ntk2": (7680, 12032, 15872),
    "pi2": (7680, 12032, 15872),
    "yarn4": (5120, 6144, 7680, 9984, 12032, 15872),
}
"""Copy test: method -> tokens between the starts of the two copies."""

DOCUMENTS = {
    "1910-Taft-1": (*RULES, *WINDOWS),
    "1981-Carter-1": (*RULES, "win8192"),
    "1946-Truman-1": ("none", "yarn2", "ntk2", "pi2", "win8192"),
    "1907-Roosevelt-1": ("none", "yarn2", "ntk2", "pi2", "win8192"),
}
"""Blocks: message -> methods."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of both tests, in tokens. The first copy follows ``needle_starts_at`` tokens of filler."""

    tokens: int = 16_384
    block: int = 512
    needle_tokens: int = 256
    needle_starts_at: int = 64
    needle_from_token: int = 500
    scored_from: int = 16  # of the second copy: nothing announces it


SETTINGS = Settings()
COMMAND = "python3 tasks.py record context"


def study() -> store.Study:
    """Where it is recorded: results/smollm2_context, one run a measurement, text (or pair of texts) and method."""
    settings = dataclasses.asdict(SETTINGS)
    return store.Study("smollm2_context", ("measurement", "text", "method"), ("distance",), settings, COMMAND)


def recorded() -> dict[str, dict[str, Any]]:
    """{"blocks": {message: {method: loss of each block}}, "copy": {pair: {method: {distance: (first, second)}}}}.

    Losses in nats; of a copy the perplexity of the first and of the second.

    Raises:
        FileNotFoundError: if nothing was recorded, naming the command.
    """
    found: dict[str, dict[str, Any]] = {"blocks": {}, "copy": {}}
    for run in study().load():
        place = found[run.key["measurement"]].setdefault(run.key["text"], {})
        if run.key["measurement"] == "blocks":
            place[run.key["method"]] = run.curve("loss")
        else:
            distances = dict.fromkeys(row["distance"] for row in run.rows)
            place[run.key["method"]] = {
                n: tuple(run.value(score, distance=n) for score in ("first copy", "second copy")) for n in distances
            }
    return found


def perplexity(method: str, start: int, end: int) -> float:
    """exp of the mean loss over tokens start .. end of every document that has the method, documents weighing alike.

    Raises:
        ValueError: if no document has the method, or start and end are not multiples of the block.
    """
    width = SETTINGS.block
    rows = [doc[method] for doc in recorded()["blocks"].values() if method in doc]
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
            found.setdefault(distance, []).append(second)
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


def copy_test(model: Llama, filler: str, needle: str, distance: int) -> tuple[float, float]:
    """Perplexity of the first and of the second of two copies of 256 tokens that start ``distance`` tokens apart.

    The first copy follows 64 tokens of filler; the first 16 tokens of either are not scored, since nothing announces
    them.

    Raises:
        ValueError: on a distance below the 256 tokens of a copy, or messages that are too short.
    """
    s = SETTINGS
    n, before = s.needle_tokens, s.needle_starts_at
    positive_int("distance", distance, at_least=n)
    planted = message(model, needle, s.needle_from_token + n)[s.needle_from_token :]
    fill = message(model, filler, before + distance - n)
    losses = model.token_losses(torch.cat([fill[:before], planted, fill[before:], planted]))
    first = losses[before + s.scored_from - 1 : before + n - 1]  # the loss at i is that of token i + 1
    second = losses[-(n - s.scored_from) :]
    return first.mean().exp().item(), second.mean().exp().item()


def block_losses(model: Llama, document: str, tokens: int, window: int | None = None) -> Tensor:
    """Mean loss of each block of the first ``tokens`` targets of a document, (tokens / block,).

    Args:
        model: extended or not.
        document: name of a message.
        tokens: a multiple of the block.
        window: read no more than so many tokens at once, moving on by half of it; everything by default.
    """
    ids = message(model, document, tokens + 1)
    if window is None:
        losses = model.token_losses(ids)
    else:
        half = window // 2
        parts = [model.token_losses(ids[: window + 1])]
        parts += [model.token_losses(ids[at : at + window + 1])[half:] for at in range(half, tokens - half, half)]
        losses = torch.cat(parts)[:tokens]
    return losses.view(-1, SETTINGS.block).mean(1)


def compare() -> dict[str, float]:
    """Recompute a part of what is recorded, on the real weights: {measurement: largest difference in nats}."""
    model, stored, found = smollm2.load(torch.bfloat16), recorded(), {}
    for method in ("none", "pi2", "yarn4", "win2048"):
        window = WINDOWS.get(method)
        model, tokens = extended(model, "none" if window else method), 3072 if window else 2048
        fresh = block_losses(model, "1910-Taft-1", tokens, window)
        old = stored["blocks"]["1910-Taft-1"][method]
        found[f"blocks {method}"] = max(abs(a - b) for a, b in zip(fresh.tolist(), old, strict=False))
    for method, distance in (("none", 1792), ("yarn2", 1792), ("none", 3840)):
        filler, needle = PAIRS[0]
        fresh = copy_test(extended(model, method), filler, needle, distance)
        old = stored["copy"][f"{filler} / {needle}"][method][distance]
        found[f"copy {method} {distance}"] = max(abs(math.log(a / b)) for a, b in zip(fresh, old, strict=True))
    return found


def record_run(measurement: str, text: str, method: str, device: str) -> store.Run:
    """Measure on the real weights (weights.MissingWeights, corpus.MissingText without them or the text)."""
    model, texts = extended(smollm2.load(torch.bfloat16), "none" if method in WINDOWS else method), text.split(" / ")
    run = store.Run([], made=smollm2.provenance("bfloat16 weights and activations, float32 angles", *texts))
    if measurement == "blocks":
        losses = block_losses(model, text, SETTINGS.tokens, WINDOWS.get(method))
        run.curves.append({"score": "loss", "values": record.rounded(losses, 4)})
    else:
        for distance in DISTANCES[method]:
            for score, value in zip(("first copy", "second copy"), copy_test(model, *texts, distance), strict=True):
                run.rows.append({"distance": distance, "score": score, "value": round(value, 2)})
    return run


def main(argv: list[str] | None = None) -> None:
    """Measure on the real weights what is missing of the context study: hours for all of it."""
    args = record.parser(COMMAND, main.__doc__, None, ("blocks", "copy")).parse_args(argv)
    runs = [("blocks", text, method) for text, methods in DOCUMENTS.items() for method in methods]
    runs += [("copy", " / ".join(pair), method) for pair in PAIRS for method in DISTANCES]
    record.record(study(), [run for run in runs if run[0] in args.only], record_run)
