"""What random weights do before any training (notebook 02): where they look, and gradients behind a large table.

``python3 tasks.py record fresh_model`` measures five seeds of every shape. Settings stated on 2026-11-30, before the
first run: the bounds of the notebook, 0.8 to 1.2 times blind averaging, were those of one seed and one shape.
"""

from __future__ import annotations

import dataclasses
import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import corpus, race, record, store
from ..encodings.sinusoidal import sinusoidal_table
from ..model import CausalLM

CONTENDERS = ("none", "sinusoidal", "learned", "rope", "alibi")
WIDTHS, DEPTHS = (64, 128), (2, 6)
GAINS = (1, 10, 100, 1_000)
LENGTH, TEXTS = 64, 32
COMMAND = "python3 tasks.py record fresh_model"


def study() -> store.Study:
    """Where it is recorded: results/fresh_model, one run per contender, shape and seed."""
    settings = {"length": LENGTH, "texts": TEXTS, "gains": GAINS, "n_heads": race.PRESETS["quick"].n_heads}
    return store.Study("fresh_model", ("contender", "d_model", "n_layers", "seed"), ("norm", "gain"), settings, COMMAND)


def make_model(contender: str, d_model: int, n_layers: int, seed: int) -> CausalLM:
    """A fresh model of the race in this shape, in eval mode."""
    settings = dataclasses.replace(race.PRESETS["quick"], d_model=d_model, n_layers=n_layers)
    return race.make_model(contender, settings, seed).eval()


def without_norms(model: CausalLM) -> CausalLM:
    """The model with every norm taken out, in place."""
    model.norm = nn.Identity()
    for block in model.blocks:
        block.norm1, block.norm2 = nn.Identity(), nn.Identity()
    return model


@torch.no_grad()
def preference(model: CausalLM, ids: Tensor) -> Tensor:
    """Mean weight k = 0 .. T/2 - 1 steps back over that of blind averaging, from queries T/2 .. T - 1: (heads, T/2).

    Args:
        model: a fresh one.
        ids: (B, T) characters; attention is averaged over the B texts. 1.0 everywhere means: no distance is preferred.
    """
    weights = model.attention_weights(ids).mean(1).flatten(0, 1)  # (layers * heads, T, T)
    queries = torch.arange(ids.shape[1] // 2, ids.shape[1])
    blind = (1 / (1 + queries)).mean()
    return torch.stack([weights[:, queries, queries - k].mean(-1) for k in range(len(queries))], dim=-1) / blind


def gradients(model: CausalLM, ids: Tensor, gain: float) -> tuple[float, float]:
    """Norm of the gradient at the tokens, and of that of all other weights, with ``gain`` times the table added."""
    x = model.token_embedding(ids).detach().requires_grad_()  # (B, T, d_model)
    logits = model(x + gain * sinusoidal_table(torch.arange(ids.shape[1]), x.shape[-1]))
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    weights = [w for name, w in model.named_parameters() if name != "token_embedding.weight"]
    at_tokens, *at_weights = torch.autograd.grad(loss, [x, *weights])
    return at_tokens.norm().item(), torch.cat([part.flatten() for part in at_weights]).norm().item()


def record_run(contender: str, d_model: int, n_layers: int, seed: int, device: str) -> store.Run:
    """Least and most of :func:`preference`; without encoding also the gradients, as multiples of those at gain 1."""
    ids = corpus.excerpt()[:TEXTS, :LENGTH]
    ratios = preference(make_model(contender, d_model, n_layers, seed), ids)
    rows = [
        {"score": "least", "value": round(ratios.min().item(), 4)},
        {"score": "most", "value": round(ratios.max().item(), 4)},
    ]
    for norm in ("before each part", "nowhere") if contender == "none" else ():
        model = make_model(contender, d_model, n_layers, seed)
        model = model if norm == "before each part" else without_norms(model)
        first, *others = (gradients(model, ids[:8], gain) for gain in GAINS)
        for gain, found in zip(GAINS[1:], others, strict=True):
            for score, value, at_one in zip(("at tokens", "at weights"), found, first, strict=True):
                rows.append({"norm": norm, "gain": gain, "score": score, "value": float(f"{value / at_one:.4g}")})
    return store.Run(rows, made=store.provenance(device))


def main(argv: list[str] | None = None) -> None:
    """Measure what is missing of models before training."""
    args = record.parser(COMMAND, main.__doc__, only=CONTENDERS).parse_args(argv)
    runs = itertools.product(args.only, WIDTHS, DEPTHS, range(args.seeds))
    record.record(study(), runs, record_run, **record.spread(args))
