"""Indirect indexing in small: find a symbol in a list and name the one a few places away (notebook 04).

After Gopalakrishnan et al. 2025 (arXiv 2509.10534, section 4.1), who report RoPE 11% and PoPE 95%. This is not
their setting but the easiest form of the task that needs *what* and *where* at once.

``python -m helpers.studies.indexing`` trains every arm at every seed and writes ``results/indexing.json``.
"""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import training
from ..encodings import Encoding, PoPE, RoPE
from ..model import CausalLM
from ..race import RESULTS
from ..store import provenance, write_whole
from ..validate import one_of

FILE = RESULTS / "indexing.json"


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
    seeds: int = 3
    every: int = 100  # steps between two read-outs
    test: int = 1024  # sequences in a read-out, never trained on


TASK = Task()
ARMS = ("rope", "pope", "pope, uniform start", "pope, unbounded phase")


def encoding(arm: str, task: Task = TASK) -> Encoding:
    """The encoding of an arm; all arms share head_dim and base (ValueError on an unknown arm)."""
    head_dim = task.d_model // task.n_heads
    match one_of("arm", arm, ARMS):
        case "rope":
            return RoPE(head_dim)
        case "pope":
            return PoPE(head_dim, task.n_heads)
        case "pope, uniform start":
            return PoPE(head_dim, task.n_heads, delta="uniform")
        case _:
            return PoPE(head_dim, task.n_heads, bounded=False)


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


def train(arm: str, seed: int, task: Task = TASK) -> dict[str, Any]:
    """Train one arm at one seed: {"step", "accuracy", "seconds"}, accuracy read out every ``task.every`` steps."""
    torch.manual_seed(seed + 1_000_000)
    enc = encoding(arm, task)
    torch.manual_seed(seed)
    vocabulary = task.symbols * (1 + len(task.shifts))
    model = CausalLM(vocabulary, task.d_model, task.n_heads, task.n_layers, enc)
    draw, start = torch.Generator().manual_seed(seed), time.perf_counter()
    held_out = batch(task.test, torch.Generator().manual_seed(10_000 + seed), task)
    steps: list[int] = []
    accuracy: list[float] = []

    def look(step: int, _) -> None:
        if step % task.every == 0:
            steps.append(step)
            accuracy.append(score(model, *held_out, task))

    training.fit(
        model,
        (batch(task.batch, draw, task) for _ in range(task.steps)),
        lambda model, ids, answer: F.cross_entropy(model(ids)[:, task.list_len :].flatten(0, 1), answer.flatten()),
        steps=task.steps,
        lr=task.lr,
        schedule=training.cosine(task.warmup, task.steps),
        label=f"{arm}, seed {seed}",
        on_step=look,
    )
    found = {"step": steps, "accuracy": accuracy, "seconds": round(time.perf_counter() - start, 1)}
    if isinstance(enc, PoPE):
        found["phases_above_zero"] = (enc.delta > 0).float().mean().item()
    return found


@torch.no_grad()
def score(model: CausalLM, ids: Tensor, answer: Tensor, task: Task = TASK) -> float:
    """Part of the queries answered right."""
    return (model(ids)[:, task.list_len :].argmax(-1) == answer).float().mean().item()


def recorded() -> dict[str, Any]:
    """What :func:`main` wrote: {"task", "arms": {arm: {seed: ...}}, "provenance"}."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def main() -> None:
    """Train every arm at every seed, once."""
    torch.set_num_threads(1)
    arms: dict[str, dict[str, Any]] = {}
    for arm in ARMS:
        arms[arm] = {}
        for seed in range(TASK.seeds):
            run = train(arm, seed)
            run["accuracy"] = [round(a, 4) for a in run["accuracy"]]
            arms[arm][str(seed)] = run
            print(arm, seed, run["accuracy"][-1], run.get("phases_above_zero"), run["seconds"], flush=True)
    stored = {"task": dataclasses.asdict(TASK), "arms": arms, "provenance": provenance()}
    write_whole(FILE, (json.dumps(stored) + "\n").encode())


if __name__ == "__main__":
    main()
