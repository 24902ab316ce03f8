"""How much of the order of its context does a model of the race read, and does the budget decide (notebook 01)?

The loss of the 65th character of a window, when all but the last ``kept`` of the 64 before it are shuffled. A model
that uses the order of n characters loses little down to kept = n, and more below.

Settings, stated on 2026-11-30 before any run: the race without encoding, and with the sinusoidal table to compare;
both rates 3e-3 and 9e-3 at 400 and 1600 steps with seeds 0 to 2, and 3e-3 at 4000 steps with seeds 0 and 1 (the
sinusoidal table with two seeds from 1600 steps on, and not at 3e-3 and 400). 1,024 validation windows, the same and
shuffled in the same way for every run.

Recorded of it, when processor time ran out: seed 0 of no encoding at 3e-3 (all three budgets) and at 9e-3 (400 steps),
and seed 0 of the sinusoidal table at 400 steps.

``python3 tasks.py record order_use --lr 3e-3 9e-3 --steps 400 1600`` records a part of it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import corpus, race, record, store
from ..model import CausalLM
from . import no_encoding

COMMAND = "python3 tasks.py record order_use"
KEPT = (64, 32, 16, 8, 4, 2, 1, 0)
"""Characters at the end of the window that keep their places; 0 shuffles the last one, too."""
WINDOWS = 1024


def shuffled(context: Tensor, kept: int, dice: Tensor) -> Tensor:
    """``context`` (n, T) with all but the last ``kept`` characters of each row in the order of ``dice`` (n, T)."""
    length = context.shape[1]
    head = dice[:, : length - kept].argsort(1)
    tail = torch.arange(length - kept, length).expand(len(context), kept)
    return context.gather(1, torch.cat([head, tail], 1))


@torch.no_grad()
def loss_by_kept(model: CausalLM, data: Tensor, n: int = WINDOWS, length: int = 64) -> dict[int, float]:
    """{kept: loss of the character after a window, in nats}, over ``n`` windows of ``data`` (ids, from 0)."""
    sample = no_encoding.windows(data, n, length + 1, bos=False, seed=0)
    context, target = sample[:, :-1], sample[:, -1]
    dice = torch.rand(n, length, generator=torch.Generator().manual_seed(0))
    losses = {}
    for kept in KEPT:
        logits = [model(part)[:, -1] for part in shuffled(context, kept, dice).split(128)]  # to spare memory
        losses[kept] = F.cross_entropy(torch.cat(logits), target).item()
    return losses


def study() -> store.Study:
    """Where it is recorded: results/order_use."""
    shared = dataclasses.asdict(race.PRESETS["quick"])
    settings = {name: value for name, value in shared.items() if name not in ("lr", "steps")}
    run = ("contender", "lr", "steps", "seed")
    return store.Study("order_use", run, ("kept",), {**settings, "windows": WINDOWS}, COMMAND)


def recorded(contender: str, lr: float, steps: int) -> list[list[float]]:
    """One list a seed: the loss at each of :data:`KEPT` (FileNotFoundError if the study was never recorded)."""
    wanted = {"contender": contender, "lr": lr, "steps": steps}
    runs = [run for run in study().load() if wanted.items() <= run.key.items()]
    return [[run.value("loss", kept=kept) for kept in KEPT] for run in runs]


def record_run(contender: str, lr: float, steps: int, seed: int, device: str) -> store.Run:
    """Train a contender of the race at one rate, budget and seed; its loss under every shuffle."""
    settings = dataclasses.replace(race.PRESETS["quick"], lr=lr, steps=steps)
    model = race.run(contender, seed, device=device, settings=settings).model
    losses = loss_by_kept(model.cpu(), corpus.load().valid)
    rows = [{"kept": kept, "score": "loss", "value": round(loss, 4)} for kept, loss in losses.items()]
    return store.Run(rows, made=store.provenance(device, **corpus.SOURCE))


def main(argv: list[str] | None = None) -> None:
    """Record what is missing of the shuffled contexts."""
    made = record.parser(COMMAND, main.__doc__, 3, ("none", "sinusoidal"), race.Contender.of)
    made.add_argument("--lr", nargs="+", type=float, default=(3e-3,), help="learning rates (default: the race's)")
    made.add_argument("--steps", nargs="+", type=int, default=(400,), help="training steps (default: the race's)")
    args = made.parse_args(argv)
    runs = [
        (name, lr, steps, seed)
        for seed, lr, steps, name in itertools.product(range(args.seeds), args.lr, args.steps, args.only)
    ]
    record.record(study(), runs, functools.partial(record_run), **record.spread(args))
