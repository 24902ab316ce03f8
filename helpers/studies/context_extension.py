"""Context extension measured on the race's RoPE model: zero-shot, and after a few dozen steps on longer windows.

The settings below were fixed before any result was seen. ``python3 tasks.py record context_extension`` records every
stage at five seeds; what is already there is not run again.

Two trainings: ``quick``, the first race (text alone), and with ``--preset fair`` the RoPE of the fair race (text and
recall in one model), at the setting and the fresh seeds that were chosen there. Stated on 2026-11-30, before either was
run: on the second everything is read as loss of the last 32 characters of text, and the methods of ``RECALL`` as recall
too; fine-tuning is 60 steps. On the first, the stage ``rates`` repeats the fine-tuning of three methods at a third and
at three times the learning rate.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Iterable
from typing import Any

import torch

from .. import corpus, race, record, store, task, training
from ..encodings.extension import Extension, extend, temperature_factor
from ..encodings.rope import RoPE
from ..model import CausalLM
from ..validate import one_of, positive_int, require
from . import fair_race, retrieval


@dataclasses.dataclass(frozen=True)
class Method:
    """One row of the comparison: a rule, its options, and whether YaRN's temperature is added to it."""

    rule: str
    label: str
    options: tuple[tuple[str, object], ...] = ()
    add_temperature: bool = False


METHODS: dict[str, Method] = {
    "none": Method("none", "as trained"),
    "none+t": Method("none", "as trained + temperature", add_temperature=True),
    "pi": Method("pi", "PI"),
    "pi+t": Method("pi", "PI + temperature", add_temperature=True),
    "ntk": Method("ntk", "NTK-aware"),
    "ntk+t": Method("ntk", "NTK-aware + temperature", add_temperature=True),
    "parts32": Method("ntk_by_parts", "NTK-by-parts, beta 32"),
    "parts8": Method("ntk_by_parts", "NTK-by-parts, beta 8", (("beta_fast", 8.0),)),
    "yarn-t": Method("yarn", "YaRN code ramp, no temperature", (("attention_factor", 1.0),)),
    "yarn": Method("yarn", "YaRN, code ramp"),
    "yarn_paper": Method("yarn", "YaRN, paper ramp", (("ramp", "paper"),)),
    "llama3": Method("llama3", "Llama 3"),
    "llama3+t": Method("llama3", "Llama 3 + temperature", add_temperature=True),
    "abf": Method("abf", "larger base (x50)", (("new_base", 50),)),  # times the old base
    "p_rope": Method("p_rope", "p-RoPE 0.75", (("keep", 0.75),)),
}
"""What is compared, with each rule's published constants. "+t" adds YaRN's temperature, "-t" leaves it out."""

FACTORS = (2, 4, 8)
LEADING = ("none", "pi", "ntk", "parts32", "yarn", "yarn_paper", "llama3", "abf")
"""Read out at every factor, and at every shorter length under the largest; the rest at 4 and 8 times only."""
TUNED = ("none", "pi", "ntk", "yarn", "llama3", "abf")
RECALL = ("none", "none+t", "pi", "ntk", "ntk+t", "yarn-t", "yarn", "llama3")
RECALL_TUNED = ("none", "pi", "ntk", "yarn")
SWEEP = (2, 4, 8, 16, 32, 64)
"""Factors given to NTK-aware at a fixed length: does it need more than the length asks for?"""
LONGER = ("none", "pi")
"""Fine-tuned four times as long: does position interpolation catch up?"""
RATED = ("none", "pi", "yarn")
"""Fine-tuned at other learning rates too."""
RATES = (3e-4, 3e-3)
"""Those rates; the one of :data:`TUNE` lies between them."""


@dataclasses.dataclass(frozen=True)
class TuneSettings:
    """Fine-tuning after extension: 2,048 characters a step, the count of the race's own step."""

    factor: int = 4
    batch: int = 8
    lr: float = 1e-3
    warmup: int = 10
    read_at: tuple[int, ...] = (20, 60)
    longer: int = 240


TUNE = TuneSettings()


def frequencies(method: str, factor: float, settings: race.Settings, base: float = 10_000.0) -> Extension:
    """The extension of one method for the race's model (ValueError on an unknown method or a factor below 1)."""
    m = METHODS[one_of("method", method, METHODS)]
    length, options = settings.train_len, dict(m.options)
    if "new_base" in options:
        options["new_base"] *= base
    ext = extend(m.rule, settings.head_dim, base, factor, length, int(length * factor), **options)
    return ext._replace(attention_factor=temperature_factor(factor)) if m.add_temperature else ext


def apply(model: CausalLM, extension: Extension) -> CausalLM:
    """Give a trained RoPE model other frequencies and another attention factor, in place; returns it.

    Raises:
        ValueError: if the model has no RoPE, or another number of frequencies, or one that would not use them: axial
            RoPE has a set for each axis, dynamic NTK computes its own at every pass.
    """
    encoding = model.encoding
    require(isinstance(encoding, RoPE), "model", type(encoding).__name__, "only a model with RoPE can be extended.")
    encoding.set_frequencies(*extension)
    return model


def zero_shot(
    model: CausalLM, method: str, factor: float, settings: race.Settings, lengths: Iterable[int], device: str = "cpu"
) -> tuple[dict[int, torch.Tensor], dict[int, float]]:
    """Loss of an extended model without training, as :func:`helpers.race.evaluate` gives it. Changes the model.

    Raises:
        ValueError: on an unknown method, a factor or length below 1, or a model without RoPE.
    """
    return race.evaluate(
        apply(model, frequencies(method, factor, settings, model.encoding.base)),
        settings,
        device,
        tuple(positive_int("length", n) for n in lengths),
    )


def fine_tune(
    model: CausalLM,
    length: int,
    steps: int,
    seed: int,
    tune: TuneSettings = TUNE,
    device: str = "cpu",
    on_step: Callable[[int, torch.Tensor], None] | None = None,
    settings: race.Settings | None = None,
) -> list[float]:
    """Train in place on random windows of ``length`` characters; returns the loss of every step.

    ``settings``: of the race that the model was trained in, if that was another than text alone.

    Warm-up, then a constant learning rate, so that stopping early means the same at every number of steps.
    ``on_step`` is called with the number of steps done and the loss.
    """
    positive_int("length", length)
    # Another stream of windows than the race drew at this seed.
    data = task.windows(corpus.load().train, length, tune.batch, steps, seed + 500_000)
    if isinstance(settings, race.TextAndRecall):
        data = task.with_facts(data, settings.markers, settings.max_asks, seed + 500_000)
    return training.fit(
        model,
        data,
        race.next_character,
        steps=steps,
        lr=tune.lr,
        schedule=training.warm_up(tune.warmup),
        device=device,
        label="fine-tuning",
        on_step=on_step,
    )


# ------------------------------------------------------------------------------------------- recorded results


COMMAND = "python3 tasks.py record context_extension"
STAGES = ("zero_shot", "pairs", "tuned", "sweep", "retrieval", "controls", "rates")
FAIR_STAGES = ("zero_shot", "pairs", "tuned")
"""Of the fair race, whose model is asked for recall itself."""
FAIR_WINDOWS = 64
"""Windows of each depth and length there, half of the race's own number."""
SEEDS_OF_RATES = 3
Row = dict[str, Any]


def study(preset: str = "quick") -> store.Study:
    """Where it is recorded: results/context_extension_PRESET, one run a stage and seed.

    Every row says all that was done: method and factor, the number of fine-tuning ``steps`` (none: no training) and,
    where it varies, their ``lr``, the one ``pair`` that was slowed, and where it was read: ``length``, and ``depth``
    for recall.
    """
    settings = race.PRESETS[one_of("preset", preset, race.PRESETS)]
    chosen = {}
    if preset == "fair":
        settings, chosen = fair_race.settings("rope"), {"contender": fair_race.chosen("rope")[0].key}
    return store.Study(
        f"context_extension_{preset}",
        run=("stage", "seed"),
        at=("method", "factor", "steps", "lr", "pair", "length", "depth"),
        settings={
            "race": dataclasses.asdict(settings),
            **chosen,
            "tune": dataclasses.asdict(TUNE),
            "recall": dataclasses.asdict(retrieval.QUICK),
        },
        command=f"{COMMAND} --preset {preset}",
    )


def _blocks(curve: torch.Tensor, width: int = 8) -> list[float]:
    return record.rounded(curve.view(-1, width).mean(1), 3)


def _read(run: store.Run, loss: dict[int, torch.Tensor], last: dict[int, float], **at: Any) -> None:
    """Add a reading at every length: loss of the last 32, mean of the window, and loss by block of 8 positions."""
    for n in loss:
        run.rows += [
            {**at, "length": n, "score": "last", "value": round(last[n], 4)},
            {**at, "length": n, "score": "mean", "value": round(loss[n].mean().item(), 4)},
        ]
        run.curves.append({**at, "length": n, "score": "blocks", "values": _blocks(loss[n])})


def _recall(run: store.Run, grid: dict[int, torch.Tensor], **at: Any) -> None:
    """Add the share recalled at every length and depth."""
    run.rows += [
        {**at, "length": n, "depth": depth, "score": "accuracy", "value": round(value, 4)}
        for n, row in grid.items()
        for depth, value in zip(retrieval.QUICK.depths, row.tolist(), strict=True)
    ]


def record_stage(stage: str, seed: int, device: str, preset: str, settings: race.Settings) -> store.Run:
    """Measure one stage at one seed (ValueError on an unknown stage)."""
    work = {
        "zero_shot": record_zero_shot,
        "pairs": record_pairs,
        "tuned": record_tuned,
        "sweep": record_sweep,
        "retrieval": record_retrieval,
        "controls": record_controls,
        "rates": record_rates,
    }
    run = store.Run([], made=store.provenance(device, **corpus.SOURCE))
    work[one_of("stage", stage, STAGES)](run, seed, preset, settings, device)
    return run


def load_model(seed: int, preset: str = "quick") -> CausalLM:
    """The RoPE model that is extended: of the race, or of the fair race at the setting that was chosen there."""
    return race.load_model(fair_race.chosen("rope")[0] if preset == "fair" else "rope", seed, preset)


def _read_briefly(
    run: store.Run, model: CausalLM, settings: race.Settings, lengths: Iterable[int], device: str, **at: Any
) -> None:
    """Add the loss of the last 32 characters at every length; of a model that was trained to recall, some recall."""
    lengths = tuple(lengths)
    for n, value in race.last_loss(model, settings, device, lengths).items():
        run.rows.append({**at, "length": n, "score": "last", "value": round(value, 4)})
    if isinstance(settings, race.TextAndRecall) and at["method"] in RECALL:
        fewer = dataclasses.replace(settings, segments=FAIR_WINDOWS)
        for n, shares in race.recall(model, fewer, device, lengths).items():
            for depth, share in zip(settings.depths, shares.tolist(), strict=True):
                run.rows.append({**at, "length": n, "depth": depth, "score": "recall", "value": round(share, 4)})


def record_zero_shot(run: store.Run, seed: int, preset: str, settings: race.Settings, device: str = "cpu") -> None:
    """Every method at every factor, without training."""
    model = load_model(seed, preset)
    if preset == "fair":
        for name in METHODS:
            for factor in FACTORS:
                apply(model, frequencies(name, factor, settings, model.encoding.base))
                lengths = {factor * settings.train_len} | ({settings.train_len} if factor == FACTORS[-1] else set())
                _read_briefly(run, model, settings, sorted(lengths), device, method=name, factor=factor)
        return
    for name in METHODS:
        for factor in FACTORS if name in LEADING else FACTORS[1:]:
            lengths = [factor * settings.train_len]
            if factor == FACTORS[-1] and name in LEADING:
                lengths = list(settings.lengths[:4])
            _read(run, *zero_shot(model, name, factor, settings, lengths, device), method=name, factor=factor)


def record_pairs(run: store.Run, seed: int, preset: str, settings: race.Settings, device: str = "cpu") -> None:
    """Slow one pair at a time, the others as trained: last-32 loss inside and beyond the length."""
    model = load_model(seed, preset)
    for pair in range(settings.head_dim // 2):
        for n, value in slow_one_pair(model, pair, settings, device).items():
            run.rows.append({"factor": TUNE.factor, "pair": pair, "length": n, "score": "last", "value": value})


def record_sweep(run: store.Run, seed: int, preset: str, settings: race.Settings, device: str = "cpu") -> None:
    """NTK-aware with other factors than the length asks for: last-32 loss."""
    model = load_model(seed, preset)
    lengths = [n * settings.train_len for n in FACTORS[1:]]
    for factor in SWEEP:
        for n, value in zero_shot(model, "ntk", factor, settings, lengths, device)[1].items():
            at = {"method": "ntk", "factor": factor, "length": n}
            run.rows.append({**at, "score": "last", "value": round(value, 4)})


def slow_one_pair(
    model: CausalLM, pair: int, settings: race.Settings, device: str = "cpu", factor: int = TUNE.factor
) -> dict[int, float]:
    """Divide one frequency by ``factor``: last-32 loss at the trained length and at factor times it."""
    slowed = frequencies("none", factor, settings, model.encoding.base).inv_freq.clone()
    slowed[pair] /= factor
    lengths = (settings.train_len, factor * settings.train_len)
    last = race.last_loss(apply(model, Extension(slowed)), settings, device, lengths)
    return {n: round(v, 4) for n, v in last.items()}


def record_tuned(run: store.Run, seed: int, preset: str, settings: race.Settings, device: str = "cpu") -> None:
    """Fine-tune each method of TUNED at ``TUNE.factor`` times the length; read out at several step counts."""
    length = TUNE.factor * settings.train_len
    for name in TUNED:
        at = {"method": name, "factor": TUNE.factor}
        model = load_model(seed, preset)
        apply(model, frequencies(name, TUNE.factor, settings, model.encoding.base))
        read_at = (*TUNE.read_at, TUNE.longer) if name in LONGER else TUNE.read_at
        read_at = TUNE.read_at[-1:] if preset == "fair" else read_at

        def look(step: int, _: torch.Tensor, model: CausalLM = model, at: Row = at, read_at: tuple = read_at) -> None:
            if step in read_at and preset == "fair":
                _read_briefly(run, model, settings, (settings.train_len, length), device, **at, steps=step)
            elif step in read_at:
                lengths = (settings.train_len, length)
                _read(run, *race.evaluate(model, settings, device, lengths), **at, steps=step)

        losses = fine_tune(model, length, read_at[-1], seed, TUNE, device, look, settings)
        run.curves.append({**at, "score": "train", "values": record.rounded(losses, 3)})


def record_rates(run: store.Run, seed: int, preset: str, settings: race.Settings, device: str = "cpu") -> None:
    """Fine-tune three methods at other learning rates than that of TUNE."""
    length, steps = TUNE.factor * settings.train_len, TUNE.read_at[-1]
    for name in RATED:
        for lr in RATES:
            model = load_model(seed, preset)
            apply(model, frequencies(name, TUNE.factor, settings, model.encoding.base))
            fine_tune(model, length, steps, seed, dataclasses.replace(TUNE, lr=lr), device, settings=settings)
            at = {"method": name, "factor": TUNE.factor, "steps": steps, "lr": lr}
            _read_briefly(run, model, settings, (settings.train_len, length), device, **at)


def record_retrieval(run: store.Run, seed: int, preset: str, settings: race.Settings, device: str = "cpu") -> None:
    """Recall of the second tiny model by length and depth: each length with its own factor, no training.

    And, for a few methods, after 60 steps at ``TUNE.factor`` times the length.
    """
    task = retrieval.QUICK
    for name in RECALL:
        for length in task.lengths[1:]:
            factor = length // task.train_len
            grid = retrieval.evaluate(recall_model(name, factor, seed), task, device, (length,))
            _recall(run, grid, method=name, factor=factor)
    for name in RECALL_TUNED:
        _tuned_recall(run, name, TUNE.factor, seed, device)


def _tuned_recall(run: store.Run, name: str, factor: int, seed: int, device: str) -> None:
    task, model = retrieval.QUICK, recall_model(name, factor, seed)
    steps = TUNE.read_at[-1]
    longer = dataclasses.replace(
        task, train_len=TUNE.factor * task.train_len, batch=TUNE.batch, steps=steps, lr=TUNE.lr
    )
    retrieval.train(model, longer, seed + 500_000, device)
    _recall(run, retrieval.evaluate(model, task, device), method=name, factor=factor, steps=steps)


def record_controls(run: store.Run, seed: int, preset: str, settings: race.Settings, device: str = "cpu") -> None:
    """What the tuned models are compared with, so that a change of factor is not taken for an effect of training.

    Methods with the factor of the tuned models but no training: last-32 loss at the trained length, and recall at the
    longest length. And the other way round, YaRN with the factor of the longest length, trained like the others at a
    shorter one: recall.
    """
    longest, n = retrieval.QUICK.lengths[-1], settings.train_len
    for name in TUNED:
        model = load_model(seed, preset)
        value = zero_shot(model, name, TUNE.factor, settings, (n,), device)[1][n]
        at = {"method": name, "factor": TUNE.factor, "length": n}
        run.rows.append({**at, "score": "last", "value": round(value, 4)})
    for name in RECALL_TUNED:
        grid = retrieval.evaluate(recall_model(name, TUNE.factor, seed), retrieval.QUICK, device, (longest,))
        _recall(run, grid, method=name, factor=TUNE.factor)
    _tuned_recall(run, "yarn", longest // retrieval.QUICK.train_len, seed, device)


def recall_model(method: str, factor: float, seed: int) -> CausalLM:
    """The recorded retrieval model with RoPE at one seed, its frequencies extended (same head width and length)."""
    inv_freq, attention_factor = frequencies(method, factor, race.PRESETS["quick"])
    return retrieval.load_model("rope", seed, inv_freq=inv_freq, attention_factor=attention_factor)


class Recorded:
    """The recorded seeds of the comparison."""

    def __init__(self, runs: list[store.Run], settings: race.Settings):
        """runs: as :meth:`helpers.store.Study.load` gives them. settings: of the race that was extended."""
        self.settings = settings
        self.stages = {stage: [run for run in runs if run.key["stage"] == stage] for stage in STAGES}

    def _values(self, stage: str, score: str, **at: Any) -> list[float]:
        return [run.value(score, **at) for run in self.stages[stage]]

    def _recall(self, stage: str, **at: Any) -> torch.Tensor:
        depths = retrieval.QUICK.depths
        return torch.tensor(
            [[run.value("accuracy", **at, depth=depth) for depth in depths] for run in self.stages[stage]]
        )

    def _length(self, factor: int, length: int | None) -> int:
        return length or factor * self.settings.train_len

    def values(self, method: str, factor: int, length: int | None = None, score: str = "last") -> list[float]:
        """Zero-shot loss, one number a seed, at ``length`` (factor times the trained length by default)."""
        return self._values("zero_shot", score, method=method, factor=factor, length=self._length(factor, length))

    def recalled(self, method: str, factor: int, length: int | None = None) -> torch.Tensor:
        """Zero-shot recall of the race's own model (the fair race's), (seeds, depths), at ``length`` as in values."""
        at = {"method": method, "factor": factor, "length": self._length(factor, length)}
        return torch.tensor(
            [[run.value("recall", **at, depth=d) for d in self.settings.depths] for run in self.stages["zero_shot"]]
        )

    def center(self, method: str, factor: int, length: int | None = None, score: str = "last") -> float:
        """Mean over the seeds of :meth:`values`."""
        return statistics.fmean(self.values(method, factor, length, score))

    def blocks(self, method: str, factor: int, length: int | None = None) -> list[list[float]]:
        """Zero-shot loss by block of 8 positions, one list a seed."""
        at = {"method": method, "factor": factor, "length": self._length(factor, length)}
        return [run.curve("blocks", **at) for run in self.stages["zero_shot"]]

    def pair(self, pair: int, length: int) -> list[float]:
        """Last-32 loss with one pair slowed, one number a seed."""
        return self._values("pairs", "last", factor=TUNE.factor, pair=pair, length=length)

    def sweep(self, factor: int, length: int) -> list[float]:
        """Last-32 loss of NTK-aware with this factor, one number a seed."""
        return self._values("sweep", "last", method="ntk", factor=factor, length=length)

    def recall(self, method: str, length: int, tuned: bool = False) -> torch.Tensor:
        """Share recalled, (seeds, depths): without training each length has its own factor."""
        if tuned:
            at = {"method": method, "factor": TUNE.factor, "steps": TUNE.read_at[-1], "length": length}
            return self._recall("retrieval", **at)
        return self._recall("retrieval", method=method, factor=length // self.settings.train_len, length=length)

    def control_loss(self, method: str) -> list[float]:
        """Last-32 loss at the trained length with the factor of the tuned models but no training, one a seed."""
        return self._values("controls", "last", method=method, factor=TUNE.factor, length=self.settings.train_len)

    def control_recall(self, method: str) -> torch.Tensor:
        """Share recalled at the longest length with the factor of the tuned models but no training, (seeds, depths)."""
        return self._recall("controls", method=method, factor=TUNE.factor, length=self.settings.lengths[-1])

    def control_tuned(self, length: int) -> torch.Tensor:
        """Share recalled by YaRN with the factor of the longest length, trained at a shorter one, (seeds, depths)."""
        factor = self.settings.lengths[-1] // self.settings.train_len
        return self._recall("controls", method="yarn", factor=factor, steps=TUNE.read_at[-1], length=length)

    def tuned(self, method: str, steps: int, length: int, score: str = "last") -> list[float]:
        """Loss after ``steps`` of fine-tuning, one number a seed."""
        return self._values("tuned", score, method=method, factor=TUNE.factor, steps=steps, length=length)

    def rated(self, method: str, lr: float, length: int) -> list[float]:
        """Last-32 loss after the same number of steps at another learning rate, one number a seed."""
        at = {"method": method, "factor": TUNE.factor, "steps": TUNE.read_at[-1], "lr": lr, "length": length}
        return self._values("rates", "last", **at)


def recorded(preset: str = "quick") -> Recorded:
    """All recorded seeds (FileNotFoundError naming the command that makes them, if there are none)."""
    here = study(preset)
    runs, stored = here.load(), here.stored_settings()["race"]
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
    return Recorded(runs, dataclasses.replace(race.PRESETS[preset], **settings))


def main(argv: list[str] | None = None) -> None:
    """Record what is missing of the extensions of a race's RoPE model, stage by stage."""
    made = record.parser(COMMAND, main.__doc__, 5, STAGES)
    made.add_argument("--preset", default="quick", choices=race.PRESETS)
    args = made.parse_args(argv)
    work = functools.partial(record_stage, preset=args.preset, settings=race.PRESETS[args.preset])
    if args.preset == "fair":
        stages, seeds = [stage for stage in args.only if stage in FAIR_STAGES], fair_race.SEEDS[: args.seeds]
    else:
        stages, seeds = args.only, tuple(range(args.seeds))
    runs = [(stage, seed) for stage in stages for seed in (seeds[:SEEDS_OF_RATES] if stage == "rates" else seeds)]
    record.record(study(args.preset), runs, work, **record.spread(args))
