"""Which matrix does a head find that learns to look one position back from positions 0 to 63 only (notebook 02)?

A head without words: causal logits P W P^T over the rows P of the sinusoidal table, cross entropy for the previous
position. Whatever W does to directions that positions 0 to 63 do not fill, the loss does not see. So the question is
whether the data decide what happens from position 64 on, or the optimizer does.

Settings, stated on 2026-11-30 before any run. Width 64, base 10,000, all 63 queries in every step, constant rates,
clipping and schedules none. Four optimizers with three rates each (steps of a factor of 4): SGD 0.05, 0.2, 0.8; SGD
with momentum 0.9 at a tenth of these rates; AdamW without decay and with 0.1, both at 0.005, 0.02, 0.08. Read out
after 300, 3,000 and 15,000 steps. W starts at zero (as in the notebook), or, at the middle rate, with two seeds and up
to 3,000 steps, as ``nn.Linear`` starts it. As a control the latter with windows of 64 positions that start anywhere up
to 448, from zero.

``python3 tasks.py record previous_head`` records it.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from .. import record, store
from ..encodings.sinusoidal import sinusoidal_table

COMMAND = "python3 tasks.py record previous_head"
SETTINGS = {"d_model": 64, "base": 10_000.0, "trained": 64, "read": 512, "share": 0.999, "momentum": 0.9, "decay": 0.1}
RATES = {
    "sgd": (0.05, 0.2, 0.8),
    "momentum": (0.005, 0.02, 0.08),
    "adamw": (0.005, 0.02, 0.08),
    "adamw_decay": (0.005, 0.02, 0.08),
}
"""Optimizer -> learning rates."""
STEPS = (300, 3_000, 15_000)
STARTS = {"first, from zero": (0,), "first, from random": (0, 1), "anywhere, from zero": (0, 1)}
"""Positions shown and how W starts -> seeds."""


def log_previous(W: Tensor, P: Tensor) -> Tensor:
    """Logarithm of the weight that a causal head with logits P W P^T puts on the previous position: (len(P) - 1,)."""
    future = torch.ones(len(P), len(P), dtype=torch.bool).triu(1)
    return (P @ W @ P.T).masked_fill(future, -math.inf).log_softmax(-1).diagonal(-1)


def loss_and_gradient(W: Tensor, P: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of minus :func:`log_previous`, and its gradient by W, (d, d).

    The gradient is P^T (A - T) P / n, with A the attention and T the target of the n queries after the first; without
    autograd a step takes half the time.
    """
    n = len(P) - 1
    future = torch.ones(n + 1, n + 1, dtype=torch.bool).triu(1)[1:]
    log_weight = (P[1:] @ W @ P.T).masked_fill_(future, -math.inf).log_softmax(-1)  # (n, n + 1)
    off = log_weight.exp()
    off.diagonal().sub_(1)  # query i + 1 is to look at key i
    return -log_weight.diagonal().mean(), P[1:].T @ (off @ P) / n


def seen_directions(rows: Tensor, share: float) -> Tensor:
    """Projection (d, d) on the fewest directions that hold this share of the squared length of ``rows`` (n, d)."""
    _, size, directions = torch.linalg.svd(rows.double())
    n = int(((size**2).cumsum(0) / (size**2).sum() < share).sum()) + 1
    return (directions[:n].T @ directions[:n]).float()


def make_optimizer(name: str, W: Tensor, lr: float) -> torch.optim.Optimizer:
    """One of the keys of :data:`RATES` (KeyError on another name)."""
    makers = {
        "sgd": lambda: torch.optim.SGD([W], lr=lr),
        "momentum": lambda: torch.optim.SGD([W], lr=lr, momentum=SETTINGS["momentum"]),
        "adamw": lambda: torch.optim.AdamW([W], lr=lr, weight_decay=0.0),
        "adamw_decay": lambda: torch.optim.AdamW([W], lr=lr, weight_decay=SETTINGS["decay"]),
    }
    return makers[name]()


def measure(W: Tensor, rows: Tensor, trained: int) -> dict[str, float]:
    """Mean weight on the previous position, of W and of W cut to the seen directions, and what W has outside them.

    Returns:
        ``inside`` (queries of the trained positions), ``next20`` (the 20 queries after them) and ``beyond`` (all after
        them), the same with ``_cut``, and ``outside``: the share of the squared norm of W that the cut removes.
    """
    S = seen_directions(rows[:trained], SETTINGS["share"])
    parts = {"inside": slice(0, trained - 1), "next20": slice(trained - 1, trained + 19)}
    parts["beyond"] = slice(trained - 1, None)
    found = {}
    for suffix, matrix in (("", W), ("_cut", S @ W @ S)):
        weight = log_previous(matrix, rows).exp()
        found |= {name + suffix: weight[part].mean().item() for name, part in parts.items()}
    found["outside"] = 1 - ((S @ W @ S).square().sum() / W.square().sum()).item()
    return found


def study() -> store.Study:
    """Where it is recorded: results/previous_head."""
    return store.Study("previous_head", ("start", "optimizer", "lr", "seed"), ("steps",), SETTINGS, COMMAND)


def recorded() -> list[dict[str, Any]]:
    """Every head at every number of steps: start, optimizer, lr, seed, steps, and its scores by name.

    Raises:
        FileNotFoundError: if the study was never recorded, naming the command.
    """
    return [
        {**run.key, "steps": steps} | {row["score"]: row["value"] for row in run.rows if row["steps"] == steps}
        for run in study().load()
        for steps in sorted({row["steps"] for row in run.rows})
    ]


def record_run(start: str, optimizer: str, lr: float, seed: int, device: str) -> store.Run:
    """Train one head; what it does after each number of :data:`STEPS`."""
    d, n = SETTINGS["d_model"], SETTINGS["trained"]
    rows = sinusoidal_table(torch.arange(SETTINGS["read"]), d, SETTINGS["base"])  # (512, 64)
    torch.manual_seed(seed)
    W = torch.zeros(d, d) if "zero" in start else torch.nn.Linear(d, d, bias=False).weight.detach()
    walker = make_optimizer(optimizer, W, lr)
    last = STEPS[-1] if start == "first, from zero" else STEPS[1]
    numbers = []
    for step in range(1, last + 1):
        first = int(torch.randint(len(rows) - n + 1, ())) if "anywhere" in start else 0
        loss, W.grad = loss_and_gradient(W, rows[first : first + n])
        walker.step()
        if step in STEPS:
            found = {"loss": loss.item(), **measure(W, rows, n)}
            numbers += [{"steps": step, "score": name, "value": round(v, 4)} for name, v in found.items()]
    return store.Run(numbers, made=store.provenance(device))


def planned() -> list[tuple[str, str, float, int]]:
    """All runs: start, optimizer, rate and seed."""
    return [
        (start, name, lr, seed)
        for (start, seeds), (name, rates) in itertools.product(STARTS.items(), RATES.items())
        for lr, seed in itertools.product(rates if start == "first, from zero" else rates[1:2], seeds)
    ]


def main(argv: list[str] | None = None) -> None:
    """Record what is missing of the heads that look one back."""
    args = record.parser(COMMAND, main.__doc__, None).parse_args(argv)
    record.record(study(), planned(), record_run, **record.spread(args))
