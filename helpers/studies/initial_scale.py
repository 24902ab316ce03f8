"""Notebook 03's recorded study: the same race, with tokens and positions started at other scales.

``python3 tasks.py record initial_scale`` records three seeds of every condition.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import corpus, race, record, store
from ..encodings.learned import interpolate_table
from ..model import CausalLM
from ..race import Contender
from ..validate import one_of

SMALL = 0.02
"""BERT starts both tables with this standard deviation; in the race both have 1."""

CONDITIONS: dict[str, tuple[Contender, float]] = {
    "none, small tokens": (Contender("none"), SMALL),
    "learned, small table": (Contender("learned", {"std": SMALL}), 1.0),
    "learned, both small": (Contender("learned", {"std": SMALL}), SMALL),
    "sinusoidal, both small": (Contender("sinusoidal", {"gain": SMALL * math.sqrt(2)}), SMALL),
    "learned, gain 10": (Contender("learned", {"gain": 10}), 1.0),
    "T5, gain 10": (Contender("t5", {"gain": 10}), 1.0),
}
"""Name -> contender, and standard deviation of the token embeddings. The sinusoidal table's entries have a mean square
of one half, so this gain gives them the root mean square of the small tables. Fixed before any of it was run, except
for the last two, which were added to test the explanation of what the others showed: they start from exactly the
race's model, but what is trained is a tenth of the table, multiplied by ten, so that a step of the optimizer carries
ten times as far."""

COMMAND = "python3 tasks.py record initial_scale"


def study() -> store.Study:
    """Where it is recorded: results/initial_scale, under the race's quick settings.

    Rows with a ``way`` and a ``when`` are of the trained small table, stretched to twice its length.
    """
    settings = dataclasses.asdict(race.PRESETS["quick"])
    return store.Study(
        "initial_scale", ("contender", "token_std", "seed"), ("way", "when", "length"), settings, COMMAND
    )


def make(condition: str, seed: int, settings: race.Settings) -> CausalLM:
    """The race's model, started as :data:`CONDITIONS` says (ValueError on an unknown condition)."""
    contender, token_std = CONDITIONS[one_of("condition", condition, CONDITIONS)]
    model = race.make_model(contender, settings, seed)
    with torch.no_grad():
        model.token_embedding.weight.mul_(token_std)
    return model


class Snapshots:
    """Keeps copies of a parameter while a model trains: ``train(..., on_step=kept)``.

    Attributes:
        tables: {steps done: the parameter as it was then}, from 0.
    """

    def __init__(self, parameter: nn.Parameter, steps: tuple[int, ...]):
        """parameter: what is copied. steps: when, as numbers of steps done; 0 is now."""
        self.parameter, self.steps, self.tables = parameter, steps, {}
        self(0)

    def __call__(self, step: int, loss: torch.Tensor | None = None) -> None:
        """Called after every step."""
        if step in self.steps:
            self.tables[step] = self.parameter.detach().cpu().clone()


def fine_tuning(settings: race.Settings) -> race.Settings:
    """A short training at twice the length: the same number of characters a step, a third of the learning rate."""
    return dataclasses.replace(
        settings, train_len=2 * settings.train_len, batch=settings.batch // 2, steps=60, lr=settings.lr / 3, warmup=6
    )


def with_rows(model: CausalLM, rows: torch.Tensor) -> CausalLM:
    """A copy of a model whose position table begins with ``rows`` (n, d_model)."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.encoding.table.weight[: len(rows)] = rows
    return other


def last_loss(model: CausalLM, settings: race.Settings, device: str = "cpu") -> dict[int, float]:
    """Loss of the last 32 positions at the training length and at twice that."""
    return race.last_loss(model, settings, device, (settings.train_len, 2 * settings.train_len))


def stretch(
    model: CausalLM, seed: int, settings: race.Settings, device: str = "cpu"
) -> dict[str, dict[str, dict[int, float]]]:
    """Twice the length, with untrained rows and with interpolated ones: {way: {"before" and "after": losses}}."""
    table, n = model.encoding.table.weight.detach(), settings.train_len
    ways = {"untrained rows": table[: 2 * n], "interpolated": interpolate_table(table[:n], 2 * n)}
    found = {}
    for way, rows in ways.items():
        other = with_rows(model, rows)
        before = last_loss(other, settings, device)
        race.train(other, fine_tuning(settings), seed + 1, device, way)
        found[way] = {"before": before, "after": last_loss(other, settings, device)}
    return found


def run(
    condition: str, seed: int, settings: race.Settings, device: str = "cpu"
) -> tuple[CausalLM, list[dict[str, Any]], Snapshots | None]:
    """Train one condition at one seed.

    Returns:
        The model; rows of the table: the loss of the last 32 and of the window at every length, and for the small
        table what :func:`stretch` gives; and the small table's snapshots.
    """
    model, table = make(condition, seed, settings), condition == "learned, both small"
    kept = Snapshots(model.encoding.table.weight, snapshot_steps(settings)) if table else None
    race.train(model, settings, seed, device, f"{condition}, seed {seed}", on_step=kept)
    loss, last = race.evaluate(model, settings, device)
    rows = []
    for n in loss:
        rows.append({"length": n, "score": "last", "value": round(last[n], 4)})
        rows.append({"length": n, "score": "mean", "value": round(loss[n].mean().item(), 4)})
    if table:
        for way, times in stretch(model, seed, settings, device).items():
            for when, losses in times.items():
                at = {"way": way, "when": when}
                rows += [{**at, "length": n, "score": "last", "value": round(v, 4)} for n, v in losses.items()]
    return model, rows, kept


def snapshot_steps(settings: race.Settings) -> tuple[int, ...]:
    """Numbers of steps after which the notebook looks at the table while it trains, the end among them."""
    return tuple(settings.steps * eighths // 8 for eighths in (0, 1, 2, 4, 6, 8))


def recorded() -> dict[str, list[dict[str, Any]]]:
    """{condition: [one dict a seed]}: "last" and "mean" {length: loss}; "stretch" {way: {when: {length: loss}}}.

    Raises:
        FileNotFoundError: if there is nothing, naming the command that records it.
    """
    found: dict[str, list[dict[str, Any]]] = {condition: [] for condition in CONDITIONS}
    names = {(contender.key, std): condition for condition, (contender, std) in CONDITIONS.items()}
    for run in study().load():
        entry: dict[str, Any] = {"last": {}, "mean": {}}
        for row in run.rows:
            place = entry[row["score"]]
            if "way" in row:
                place = entry.setdefault("stretch", {}).setdefault(row["way"], {}).setdefault(row["when"], {})
            place[row["length"]] = row["value"]
        found[names[run.key["contender"], run.key["token_std"]]].append(entry)
    return found


def arrays_file(condition: str, seed: int = 0) -> Path:
    """Where the arrays are kept that the notebook draws of a condition: of seed 0 of the small table and of T5."""
    return study().folder / f"{CONDITIONS[condition][0]}-seed{seed}.safetensors"


def recorded_snapshots() -> dict[int, torch.Tensor]:
    """step -> the first rows of the small table (float16 on disk), recorded in the quick preset at seed 0."""
    arrays = store.load_weights(arrays_file("learned, both small"), COMMAND)
    return dict(sorted((int(step), table.float()) for step, table in arrays.items()))


def recorded_bias() -> torch.Tensor:
    """(buckets, heads): T5's bias in logits, trained with gain 10 in the quick preset at seed 0."""
    return store.load_weights(arrays_file("T5, gain 10"), COMMAND)["bias"]


def record_run(contender: str, token_std: float, seed: int, device: str, settings: race.Settings) -> store.Run:
    """One condition at one seed; at seed 0 also what the notebook draws of it."""
    names = {(contender.key, std): condition for condition, (contender, std) in CONDITIONS.items()}
    condition = names[contender, token_std]
    model, rows, kept = run(condition, seed, settings, device)
    arrays = {}
    if kept is not None:
        rows_shown = 2 * settings.train_len
        arrays = {str(step): table[:rows_shown].half() for step, table in kept.tables.items()}
    elif condition == "T5, gain 10":
        arrays = {"bias": model.encoding.gain * model.encoding.table.weight}
    weights = {arrays_file(condition, seed).name: store.weights(arrays)} if arrays and seed == 0 else {}
    return store.Run(rows, weights=weights, made=store.provenance(device, **corpus.SOURCE))


def main(argv: list[str] | None = None) -> None:
    """Record what is missing of the race started at other scales."""
    args = record.parser(COMMAND, main.__doc__, 3, CONDITIONS).parse_args(argv)
    chosen = [CONDITIONS[condition] for condition in args.only]
    runs = [(contender.key, std, seed) for seed in range(args.seeds) for contender, std in chosen]
    work = functools.partial(record_run, settings=race.PRESETS["quick"])
    record.record(study(), runs, work, **record.spread(args))
