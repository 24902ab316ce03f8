"""Indirect indexing in small: find a symbol in a list and name the one a few places away (notebook 04).

After Gopalakrishnan et al. 2025 (arXiv 2509.10534, section 4.1), who report RoPE 11% and PoPE 95%. This is not
their setting but a small form of the task, which still asks for *what* and *where* at once.

``python3 tasks.py record indexing`` trains every arm at three seeds.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import race, record, store, training
from ..encodings import PoPE
from ..model import CausalLM
from ..race import Contender


@dataclasses.dataclass(frozen=True)
class Task:
    """Stated before any result was seen. Steps: twice those of a first trial, in which PoPE was still improving."""

    symbols: int = 16
    list_len: int = 8
    shifts: tuple[int, ...] = (-2, -1, 1, 2)
    queries: int = 16
    batch: int = 64
    steps: int = 1600
    lr: float = 3e-3
    warmup: int = 160
    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 2
    every: int = 100  # steps between two read-outs
    test: int = 1024  # sequences in a read-out, never trained on

    @property
    def train_len(self) -> int:
        """Tokens of a sequence."""
        return self.list_len + self.queries

    @property
    def lengths(self) -> tuple[int, ...]:
        """Read-out lengths: the one it is trained on."""
        return (self.train_len,)


TASK = Task()
ARMS: dict[str, Contender] = {
    "rope": Contender("rope"),
    "pope": Contender("pope"),
    "pope, uniform start": Contender("pope", {"delta": "uniform"}),
    "pope, unbounded phase": Contender("pope", {"bounded": False}),
}
"""Name -> contender; all share head_dim and base."""

COMMAND = "python3 tasks.py record indexing"


def study() -> store.Study:
    """Where it is recorded: results/indexing."""
    return store.Study("indexing", ("contender", "seed"), ("step",), dataclasses.asdict(TASK), COMMAND)


def batch(n: int, generator: torch.Generator, task: Task = TASK) -> tuple[Tensor, Tensor]:
    """Sequences [list | queries] and the answers to the queries.

    The list holds distinct symbols 0 .. symbols - 1. A query is one token that names a symbol of the list and a shift,
    chosen evenly among those whose answer lies in the list.

    Returns:
        ids (n, list_len + queries) and answers (n, queries).
    """
    symbols = torch.rand(n, task.symbols, generator=generator).argsort(-1)[:, : task.list_len]
    pairs = [
        (place, s) for place in range(task.list_len) for s in range(len(task.shifts))
        if 0 <= place + task.shifts[s] < task.list_len
    ]  # fmt: skip
    pick = torch.tensor(pairs)[torch.randint(len(pairs), (n, task.queries), generator=generator)]
    place, which = pick.unbind(-1)
    source = symbols.gather(1, place)
    answer = symbols.gather(1, place + torch.tensor(task.shifts)[which])
    query = task.symbols + source * len(task.shifts) + which
    return torch.cat([symbols, query], dim=1), answer


def train(
    contender: str | Contender, seed: int, task: Task = TASK, device: str = "cpu"
) -> tuple[CausalLM, dict[int, float]]:
    """Train one contender at one seed: the model, and the share answered right every ``task.every`` steps."""
    model = race.make_model(contender, task, seed, vocab_size=task.symbols * (1 + len(task.shifts)))
    draw = torch.Generator().manual_seed(seed)
    held_out = batch(task.test, torch.Generator().manual_seed(10_000 + seed), task)
    accuracy: dict[int, float] = {}

    def look(step: int, _) -> None:
        if step % task.every == 0:
            accuracy[step] = score(model, *held_out, task)

    training.fit(
        model,
        (batch(task.batch, draw, task) for _ in range(task.steps)),
        lambda model, ids, answer: F.cross_entropy(model(ids)[:, task.list_len :].flatten(0, 1), answer.flatten()),
        steps=task.steps,
        lr=task.lr,
        schedule=training.cosine(task.warmup, task.steps),
        device=device,
        label=f"{contender}, seed {seed}",
        on_step=look,
    )
    return model, accuracy


@torch.no_grad()
def score(model: CausalLM, ids: Tensor, answer: Tensor, task: Task = TASK) -> float:
    """Share of the queries answered right; ids and answer on any device."""
    device = next(model.parameters()).device
    return (model(ids.to(device))[:, task.list_len :].argmax(-1).cpu() == answer).float().mean().item()


def recorded() -> dict[str, Any]:
    """What is recorded: {"task": settings, "arms": {arm: {seed: {"step", "accuracy", maybe "phases_above_zero"}}}}.

    Raises:
        FileNotFoundError: if there is nothing, naming the command that records it.
    """
    names = {contender.key: arm for arm, contender in ARMS.items()}
    arms: dict[str, dict[int, Any]] = {arm: {} for arm in ARMS}
    for run in study().load():
        curve = {row["step"]: row["value"] for row in run.rows if row["score"] == "accuracy"}
        found: dict[str, Any] = {"step": list(curve), "accuracy": list(curve.values())}
        found |= {row["score"]: row["value"] for row in run.rows if row["score"] != "accuracy"}
        arms[names[run.key["contender"]]][run.key["seed"]] = found
    return {"task": study().stored_settings(), "arms": arms}


def record_run(contender: str, seed: int, device: str, task: Task) -> store.Run:
    """One arm at one seed: accuracy by step, and for PoPE the share of its phases that ended above zero."""
    model, accuracy = train(contender, seed, task, device)
    rows = [{"step": step, "score": "accuracy", "value": round(value, 4)} for step, value in accuracy.items()]
    if isinstance(model.encoding, PoPE):
        share = (model.encoding.delta > 0).float().mean().item()
        rows.append({"step": task.steps, "score": "phases_above_zero", "value": share})
    return store.Run(rows, made=store.provenance(device))


def main(argv: list[str] | None = None) -> None:
    """Train what is missing of the indirect indexing task."""
    args = record.parser(COMMAND, main.__doc__, 3, ARMS).parse_args(argv)
    runs = [(ARMS[arm].key, seed) for arm, seed in itertools.product(args.only, range(args.seeds))]
    record.record(study(), runs, functools.partial(record_run, task=TASK), **record.spread(args))
