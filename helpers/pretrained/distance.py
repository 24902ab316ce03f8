"""How attention falls with distance in a trained RoPE model, SmolLM2-135M-Instruct in 4 bits, averaged over text.

``python3 tasks.py record distance`` measures it on the real weights (a few minutes on one core). The curves are means
of the softmax of content *and* position, not a bias. Notebook 05 holds them against ALiBi's straight lines.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import record, store
from . import smollm2
from .llama import Llama
from .rotation import SETTINGS, Settings
from .smollm2 import message, significant

OFFSETS = 64
"""Largest distance of the curves and of the fits."""

SKIP = 128
"""First queries left out, so that every distance is available to every query."""


def curves(model: Llama, settings: Settings = SETTINGS) -> Tensor:
    """Mean attention weight on the key 0 .. 64 tokens back, (layers, heads, 65), over ``head_texts``."""
    n = settings.head_tokens
    total = torch.zeros(model.n_layers, model.n_heads, OFFSETS + 1)
    causal = torch.ones(n, n, dtype=torch.bool).tril()

    def probe(layer: int, q: Tensor, k: Tensor, q_rot: Tensor, k_rot: Tensor) -> None:
        group = model.n_heads // model.n_kv_heads
        logits = q_rot[0] @ k_rot[0].repeat_interleave(group, dim=0).mT / model.head_dim**0.5
        weights = logits.masked_fill(~causal, -torch.inf).softmax(-1)
        for back in range(OFFSETS + 1):
            total[layer, :, back] += weights.diagonal(-back, 1, 2)[:, SKIP - back :].mean(1)

    for text in settings.head_texts:
        model.hidden(message(model, text, n), probe=probe)
    return total / len(settings.head_texts)


def fit(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares line through (x, y): slope (...,) and R squared (...,), for x (n,) and y (..., n)."""
    x = x - x.mean()
    y = y - y.mean(-1, keepdim=True)
    slope = (y * x).sum(-1) / (x * x).sum()
    rest = y - slope[..., None] * x
    return slope, 1 - (rest**2).sum(-1) / (y**2).sum(-1)


def summary(profile: Tensor) -> dict[str, Any]:
    """Fits of every head over the distances 1 .. 64, and quantiles of the curves.

    Returns:
        "exponential" and "power": {"slope", "r2"}, each (layers x heads,): straight lines of the log weight against
        distance (ALiBi's shape, slope is minus m) and against the log of distance (KERPLE's far shape);
        "mean" and "quantiles" (10, 50, 90 percent) of the curves by distance 0 .. 64.
    """
    flat = profile.double().flatten(0, 1)  # (layers x heads, 65)
    d = torch.arange(1, OFFSETS + 1, dtype=torch.float64)
    log = flat[:, 1:].clamp(min=1e-12).log()
    found: dict[str, Any] = {}
    for name, x in (("exponential", d), ("power", d.log())):
        slope, r2 = fit(x, log)
        found[name] = {"slope": slope, "r2": r2}
    share = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    return {**found, "mean": flat.mean(0), "quantiles": flat.quantile(share, dim=0)}


COMMAND = "python3 tasks.py record distance"
QUANTILES = (10, 50, 90)


def study() -> store.Study:
    """Where it is recorded: results/smollm2_distance."""
    settings = {"texts": SETTINGS.head_texts, "tokens": SETTINGS.head_tokens, "offsets": OFFSETS, "skip": SKIP}
    return store.Study("smollm2_distance", ("measurement",), ("shape", "head", "percent"), settings, COMMAND)


def recorded() -> dict[str, Any]:
    """The recorded :func:`summary`, as lists, under "values"; with "settings" and "provenance".

    Raises:
        FileNotFoundError: if it was never recorded, naming the command.
    """
    (run,) = study().load()
    heads = range(1 + max(row["head"] for row in run.rows))
    values: dict[str, Any] = {
        shape: {score: [run.value(score, shape=shape, head=head) for head in heads] for score in ("slope", "r2")}
        for shape in ("exponential", "power")
    }
    values |= {"mean": run.curve("mean"), "quantiles": [run.curve("quantile", percent=p) for p in QUANTILES]}
    return {"values": values, "settings": study().stored_settings(), "provenance": run.made}


def record_run(measurement: str, device: str) -> store.Run:
    """Measure on the real weights (weights.MissingWeights, corpus.MissingText without them or the text)."""
    found = summary(curves(smollm2.load()))
    rows = [
        {"shape": shape, "head": head, "score": score, "value": significant(value)}
        for shape in ("exponential", "power")
        for head in range(len(found[shape]["slope"]))
        for score, value in ((score, found[shape][score][head].item()) for score in ("slope", "r2"))
    ]
    lines = [{"score": "mean", "values": [significant(v) for v in found["mean"].tolist()]}]
    for percent, row in zip(QUANTILES, found["quantiles"].tolist(), strict=True):
        lines.append({"percent": percent, "score": "quantile", "values": [significant(v) for v in row]})
    return store.Run(rows, lines, made=smollm2.provenance("float32", *SETTINGS.head_texts))


def main(argv: list[str] | None = None) -> None:
    """Measure on the real weights how attention falls with distance, if that is missing."""
    record.parser(COMMAND, main.__doc__, None).parse_args(argv)
    record.record(study(), [("attention",)], record_run)
