"""The fair race: every scheme over its own dials, chosen by one rule, on a task with two needs.

The protocol was written before the first run: results/race_fair/PROTOCOL.md. This module holds what of it is code: the
settings tried, the rule that chooses, and the recorder. All runs stand in one table, that of ``race.study("fair")``.

``python3 tasks.py record fair_race`` records what is missing of it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from .. import corpus, race, record, store, task
from ..race import Contender, Result, TextAndRecall
from ..validate import one_of

RATES: dict[str, tuple[float, ...]] = {
    "none": (1e-3, 3e-3, 5e-3, 9e-3, 1.5e-2, 2.7e-2),  # no dial of its own: six rates
}
"""Learning rates of the grid, where they are not 3e-3 and 9e-3."""

NEXT = {3e-3: 1e-3, 9e-3: 2.7e-2}
"""The rate beyond each edge of the grid: the seventh trial of a scheme is its best setting at the rate beyond."""

SETTINGS: dict[str, tuple[Contender, ...]] = {
    "none": (Contender("none"),),
    "sinusoidal": (
        Contender("sinusoidal"),
        Contender("sinusoidal", {"gain": 0.3}),
        Contender("sinusoidal", {"gain": 3}),
    ),
    "learned": (Contender("learned"), Contender("learned", {"std": 0.3}), Contender("learned", {"std": 3})),
    "t5": (Contender("t5"), Contender("t5", {"gain": 3}), Contender("t5", {"gain": 10})),
    "rope": (Contender("rope"), Contender("rope", {"base": 1_000}), Contender("rope", {"base": 100})),
    "pope": (Contender("pope"), Contender("pope", {"base": 1_000}), Contender("pope", {"delta": "uniform"})),
    "alibi": (
        Contender("alibi"),
        Contender("alibi", {"slopes": (1, 1 / 2, 1 / 4, 1 / 8)}),
        Contender("alibi", {"slopes": (1, 1 / 2, 1 / 4, 0)}),
    ),
    "sandwich": (Contender("sandwich"), Contender("sandwich", {"gain": 0.5}), Contender("sandwich", {"gain": 2})),
}
"""Settings of each scheme's own dial; the first is that of its authors (of the learned table: rows that start as large
as the tokens, as BERT's do). The ladder of ALiBi that ends in 0 has one head without any bias: our change."""

SCHEMES = tuple(SETTINGS)
SEARCH_SEED, SEEDS, LONG_SEEDS, LONGER = 0, (1, 2, 3), (1, 2), 4
TIE = 0.03

Trial = tuple[Contender, float]
"""A setting and a learning rate."""


def grid(scheme: str) -> list[Trial]:
    """The six trials of a scheme (ValueError on another than those of :data:`SCHEMES`)."""
    one_of("scheme", scheme, SCHEMES)
    return [(setting, rate) for setting in SETTINGS[scheme] for rate in RATES.get(scheme, (3e-3, 9e-3))]


def cost(result: Result) -> float:
    """What is chosen by: loss of text in nats per character plus the share of markers not recalled."""
    return result.choice["last"] + result.choice["not recalled"]


def best(scheme: str, costs: Mapping[Trial, float]) -> Trial:
    """The trial that is chosen: among all within :data:`TIE` of the lowest cost, first the published setting, then the
    lower rate, then the lower cost."""
    published = SETTINGS[one_of("scheme", scheme, SCHEMES)][0]
    tied = [trial for trial in costs if costs[trial] <= min(costs.values()) + TIE]
    return min(tied, key=lambda trial: (trial[0] != published, trial[1], costs[trial]))


def seventh(scheme: str, costs: Mapping[Trial, float]) -> Trial | None:
    """The trial beyond the edge of the grid: the best setting of the six at the next rate. None for no encoding, whose
    grid is of rates alone."""
    setting, rate = best(scheme, costs)
    return None if scheme == "none" else (setting, NEXT[rate])


# -------------------------------------------------------------------------------------------------- what is recorded


def trials(scheme: str) -> dict[Trial, Result]:
    """The recorded trials of the search, by setting and rate (FileNotFoundError if there are none)."""
    own = race.PRESETS["fair"]
    runs = (
        run
        for run in race.study("fair").load()
        if run.key["seed"] == SEARCH_SEED and run.key["steps"] == own.steps
    )  # fmt: skip
    found = {(Contender.of(run.key["contender"]), run.key["lr"]): run for run in runs}
    return {trial: race.result(run, own) for trial, run in found.items() if trial[0].scheme == scheme}


@functools.cache
def chosen(scheme: str) -> Trial:
    """The setting and rate that the recorded search chose (ValueError on a scheme that was not searched)."""
    one_of("scheme", scheme, SCHEMES)
    return best(scheme, {trial: cost(result) for trial, result in trials(scheme).items()})


def settings(scheme: str) -> TextAndRecall:
    """The race at the rate chosen for a scheme: what a live run is trained with."""
    return dataclasses.replace(race.PRESETS["fair"], lr=chosen(scheme)[1])


def lap(scheme: str, seed: int = 0, device: str = "cpu", preset: str = "quick") -> list[Result]:
    """A notebook's lap: the chosen setting of a scheme, trained here and read out as its picture shows it.

    One result, without losses by position; none, and a line that says what to install, if the text is missing.

    Args:
        scheme: a key of :data:`SETTINGS`.
        seed: of weights and batches.
        device: "cpu" or "cuda".
        preset: "quick" trains as the search did, "full" four times as long.
    """
    contender, own = chosen(scheme)[0], settings(scheme)
    if one_of("preset", preset, ("quick", "full")) == "full":
        own = dataclasses.replace(own, steps=own.steps * LONGER)
    model = race.make_model(contender, own, seed)
    try:
        losses = race.train(model, own, seed, device, f"{contender}, seed {seed}")
        last, recall = race.last_loss(model, own, device), race.recall(model, own, device, own.lengths[-1:])
    except corpus.MissingText as missing:
        print(missing)
        return []
    return [Result(contender.key, seed, own, {}, last, losses, model=model, recall=recall)]


def band(scheme: str, longer: bool = False) -> race.Band:
    """The fresh seeds of a scheme at its chosen setting, at the budget of the search or at four times that."""
    contender, rate = chosen(scheme)
    steps = race.PRESETS["fair"].steps * (LONGER if longer else 1)
    found = race.recorded(contender, "fair", rate, steps)
    fresh = [result for result in found.results if result.seed != SEARCH_SEED]
    return dataclasses.replace(found, results=fresh)


def ladders() -> dict[Contender, list[Result]]:
    """ALiBi's three ladders of slopes at the longer budget: what each recalls, and from how far."""
    rate, steps = chosen("alibi")[1], race.PRESETS["fair"].steps * LONGER
    return {ladder: race.recorded(ladder, "fair", rate, steps).results for ladder in SETTINGS["alibi"]}


def everything() -> dict[str, Any]:
    """All that is recorded, as ``pictures.fair.cloud`` draws it: trials, chosen and longer by scheme; the keys of the
    published settings; the distances at which recall is read."""
    return {
        "trials": {scheme: list(trials(scheme).values()) for scheme in SCHEMES},
        "chosen": {scheme: band(scheme).results for scheme in SCHEMES},
        "longer": {scheme: band(scheme, longer=True).results for scheme in SCHEMES},
        "published": {settings[0].key for settings in SETTINGS.values()},
        "distances": distances(),
    }


def distances() -> list[int]:
    """Tokens from the marker to the question in windows of the longest length, one per depth."""
    own = race.PRESETS["fair"]
    return [own.lengths[-1] - 1 - task.slot(own.lengths[-1], depth) for depth in own.depths]


def gap(result: Result) -> float:
    """How much the loss rises from the trained length to eight times that, on the same characters."""
    first, *_, last = result.settings.lengths
    return result.last[last] - result.last[first]


# ---------------------------------------------------------------------------------------------------- the recorder


def run(contender: str, lr: float, steps: int, seed: int, device: str) -> store.Run:
    """One run of the table. Trials of the search keep no curve by position; weights are kept of RoPE's chosen setting,
    which notebook 06 extends."""
    own = race.PRESETS["fair"]
    search = seed == SEARCH_SEED
    keep = not search and steps == own.steps and Contender.of(contender).scheme == "rope"
    made = record.race_run(contender, lr, steps, seed, device, "fair", own, keep=keep)
    curves = [curve for curve in made.curves if not search or curve["score"] != "loss"]
    return dataclasses.replace(made, curves=curves)


def record_stages(schemes: Sequence[str], stages: Sequence[str], **spread: object) -> None:
    """Record what is missing: the six trials of every scheme, the seventh, the chosen settings over fresh seeds, those
    at four times the steps, and at that budget ALiBi's three ladders."""
    own, study = race.PRESETS["fair"], race.study("fair")

    def row(trial: Trial, steps: int, seed: int) -> tuple[str, float, int, int]:
        return trial[0].key, trial[1], steps, seed

    for stage in stages:
        if stage == "search":
            runs = [row(trial, own.steps, SEARCH_SEED) for scheme in schemes for trial in grid(scheme)]
        elif stage == "seventh":
            costs = {s: {t: cost(r) for t, r in trials(s).items() if t in grid(s)} for s in schemes}
            extra = [seventh(s, costs[s]) for s in schemes]
            runs = [row(trial, own.steps, SEARCH_SEED) for trial in extra if trial is not None]
        elif stage == "seeds":
            runs = [row(chosen(s), own.steps, seed) for seed in SEEDS for s in schemes]
        elif stage == "longer":
            runs = [row(chosen(s), own.steps * LONGER, seed) for seed in LONG_SEEDS for s in schemes]
        else:
            ladders = [(ladder, chosen("alibi")[1]) for ladder in SETTINGS["alibi"]]
            runs = [row(trial, own.steps * LONGER, seed) for seed in LONG_SEEDS for trial in ladders]
        record.record(study, runs, run, **spread)


STAGES = ("search", "seventh", "seeds", "longer", "ladders")


def main(argv: list[str] | None = None) -> None:
    """Record what is missing of the fair race, stage by stage."""
    made = record.parser("python3 tasks.py record fair_race", main.__doc__, None, SCHEMES)
    made.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="in this order")
    args = made.parse_args(argv)
    record_stages(args.only, args.stages, **record.spread(args))
