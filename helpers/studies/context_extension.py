"""Context extension measured on the race's RoPE model: zero-shot, and after a few dozen steps on longer windows.

The settings below were fixed before any result was seen. ``python -m helpers.studies.context_extension`` records
five seeds into ``results/extension_quick/``, one file a seed; what is already there is not run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from .. import corpus, race, training
from ..encodings.extension import Extension, extend, temperature_factor
from ..encodings.rope import RoPE
from ..model import CausalLM
from ..store import provenance, write_whole
from ..validate import one_of, positive_int, require
from . import retrieval


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
    "abf": Method("abf", "larger base (x50)", (("new_base", 500_000.0),)),
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
    length = settings.train_len
    ext = extend(m.rule, settings.head_dim, base, factor, length, int(length * factor), **dict(m.options))
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
        apply(model, frequencies(method, factor, settings)),
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
) -> list[float]:
    """Train in place on random windows of ``length`` characters; returns the loss of every step.

    Warm-up, then a constant learning rate, so that stopping early means the same at every number of steps.
    ``on_step`` is called with the number of steps done and the loss.
    """
    positive_int("length", length)
    # Another stream of windows than the race drew at this seed.
    data = race.batches(corpus.load().train, length, tune.batch, steps, seed + 500_000)
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


def result_file(seed: int, preset: str = "quick") -> Path:
    """Where one recorded seed is kept."""
    return race.RESULTS / f"extension_{preset}" / f"seed{seed}.json"


def _blocks(curve: torch.Tensor, width: int = 8) -> list[float]:
    return [round(v, 3) for v in curve.view(-1, width).mean(1).tolist()]


def _reading(loss: dict[int, torch.Tensor], last: dict[int, float]) -> dict:
    return {
        str(n): {"last": round(last[n], 4), "mean": round(loss[n].mean().item(), 4), "blocks": _blocks(loss[n])}
        for n in loss
    }


STAGES = ("zero_shot", "pairs", "tuned", "sweep", "retrieval", "controls")


def record(seed: int, stage: str, preset: str = "quick", device: str = "cpu") -> None:
    """Measure one stage of one seed and add it to the seed's file. A stage already there is not run again.

    Raises:
        ValueError: on an unknown preset or stage.
    """
    path = result_file(seed, preset)
    settings = race.PRESETS[one_of("preset", preset, race.PRESETS)]
    stored = {"seed": seed, "settings": dataclasses.asdict(settings), "tune": dataclasses.asdict(TUNE), "seconds": {}}
    stored |= {"provenance": provenance(device, **corpus.SOURCE)}
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
    if stage in stored:
        return
    start = time.perf_counter()
    work = {
        "zero_shot": record_zero_shot,
        "pairs": record_pairs,
        "tuned": record_tuned,
        "sweep": record_sweep,
        "retrieval": record_retrieval,
        "controls": record_controls,
    }
    stored[stage] = work[one_of("stage", stage, STAGES)](seed, preset, device)
    stored["seconds"][stage] = round(time.perf_counter() - start, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(stored, separators=(",", ":")) + "\n").encode())  # stopped here, the old file stays


def record_zero_shot(seed: int, preset: str, device: str = "cpu") -> dict:
    """Every method at every factor, without training: {method: {factor: {length: reading}}}."""
    settings, model = race.PRESETS[preset], race.load_model("rope", seed, preset)
    rows: dict[str, dict] = {}
    for name in METHODS:
        rows[name] = {}
        for factor in FACTORS if name in LEADING else FACTORS[1:]:
            lengths = [factor * settings.train_len]
            if factor == FACTORS[-1] and name in LEADING:
                lengths = list(settings.lengths[:4])
            rows[name][str(factor)] = _reading(*zero_shot(model, name, factor, settings, lengths, device))
    return rows


def record_pairs(seed: int, preset: str, device: str = "cpu") -> dict:
    """Slow one pair at a time, the others as trained: last-32 loss inside and beyond the length."""
    settings, model = race.PRESETS[preset], race.load_model("rope", seed, preset)
    return {str(pair): slow_one_pair(model, pair, settings, device) for pair in range(settings.head_dim // 2)}


def record_sweep(seed: int, preset: str, device: str = "cpu") -> dict:
    """NTK-aware with other factors than the length asks for: {factor: {length: last-32 loss}}."""
    settings, model = race.PRESETS[preset], race.load_model("rope", seed, preset)
    lengths = [n * settings.train_len for n in FACTORS[1:]]
    rows = {f: zero_shot(model, "ntk", f, settings, lengths, device)[1] for f in SWEEP}
    return {str(f): {str(n): round(v, 4) for n, v in row.items()} for f, row in rows.items()}


def slow_one_pair(
    model: CausalLM, pair: int, settings: race.Settings, device: str = "cpu", factor: int = TUNE.factor
) -> dict[str, float]:
    """Divide one frequency by ``factor``: last-32 loss at the trained length and at factor times it."""
    slowed = frequencies("none", factor, settings).inv_freq.clone()
    slowed[pair] /= factor
    lengths = (settings.train_len, factor * settings.train_len)
    last = race.evaluate(apply(model, Extension(slowed)), settings, device, lengths)[1]
    return {str(n): round(v, 4) for n, v in last.items()}


def record_tuned(seed: int, preset: str, device: str = "cpu") -> dict:
    """Fine-tune each method of TUNED at ``TUNE.factor`` times the length; read out at several step counts."""
    settings, rows = race.PRESETS[preset], {}
    length = TUNE.factor * settings.train_len
    for name in TUNED:
        model = apply(race.load_model("rope", seed, preset), frequencies(name, TUNE.factor, settings))
        read_at = (*TUNE.read_at, TUNE.longer) if name in LONGER else TUNE.read_at
        readings: dict[str, dict] = {}

        def look(step: int, _, model=model, read_at=read_at, readings=readings) -> None:
            if step in read_at:
                lengths = (settings.train_len, length)
                readings[str(step)] = _reading(*race.evaluate(model, settings, device, lengths))

        losses = fine_tune(model, length, read_at[-1], seed, TUNE, device, look)
        rows[name] = {"read": readings, "train": [round(v, 3) for v in losses]}
    return rows


def record_retrieval(seed: int, preset: str, device: str = "cpu") -> dict:
    """Recall of the second tiny model in percent by length and depth: each length with its own factor, no training.

    And, for a few methods, after 60 steps at ``TUNE.factor`` times the length: {"zero_shot", "tuned": {method:
    {length: [one number a depth]}}}.
    """
    settings = retrieval.QUICK
    rows: dict[str, dict] = {"zero_shot": {}, "tuned": {}}
    for name in RECALL:
        rows["zero_shot"][name] = {}
        for length in settings.lengths[1:]:
            model = recall_model(name, length // settings.train_len, seed)
            grid = retrieval.evaluate(model, settings, device, (length,))
            rows["zero_shot"][name][str(length)] = grid[length].round(decimals=1).tolist()
    for name in RECALL_TUNED:
        rows["tuned"][name] = _tuned_recall(name, TUNE.factor, seed, device)
    return rows


def _tuned_recall(name: str, factor: float, seed: int, device: str) -> dict[str, list[float]]:
    settings, model = retrieval.QUICK, recall_model(name, factor, seed)
    longer = dataclasses.replace(
        settings, train_len=TUNE.factor * settings.train_len, batch=TUNE.batch, steps=TUNE.read_at[-1], lr=TUNE.lr
    )
    retrieval.train(model, longer, seed + 500_000, device)
    return {str(n): v.round(decimals=1).tolist() for n, v in retrieval.evaluate(model, settings, device).items()}


def record_controls(seed: int, preset: str, device: str = "cpu") -> dict:
    """What the tuned models are compared with, so that a change of factor is not taken for an effect of training.

    Methods with the factor of the tuned models but no training: "loss" {method: last-32 loss at the trained length}
    and "recall" {method: [one number a depth]} at the longest length. And the other way round, YaRN with the factor of
    the longest length, trained like the others at a shorter one: "recall_tuned" {length: [one number a depth]}.
    """
    settings, longest = race.PRESETS[preset], retrieval.QUICK.lengths[-1]
    rows: dict[str, dict] = {"loss": {}, "recall": {}}
    for name in TUNED:
        model, n = race.load_model("rope", seed, preset), settings.train_len
        rows["loss"][name] = round(zero_shot(model, name, TUNE.factor, settings, (n,), device)[1][n], 4)
    for name in RECALL_TUNED:
        grid = retrieval.evaluate(recall_model(name, TUNE.factor, seed), retrieval.QUICK, device, (longest,))
        rows["recall"][name] = grid[longest].round(decimals=1).tolist()
    rows["recall_tuned"] = _tuned_recall("yarn", longest // retrieval.QUICK.train_len, seed, device)
    return rows


def recall_model(method: str, factor: float, seed: int) -> CausalLM:
    """The recorded retrieval model with RoPE at one seed, its frequencies extended (same head width and length)."""
    inv_freq, attention_factor = frequencies(method, factor, race.PRESETS["quick"])
    return retrieval.load_model("rope", seed, inv_freq=inv_freq, attention_factor=attention_factor)


class Recorded:
    """The recorded seeds of the comparison."""

    def __init__(self, seeds: dict[int, dict]):
        self.seeds = seeds
        first = next(iter(seeds.values()))
        self.settings = race.Settings(**{**first["settings"], "lengths": tuple(first["settings"]["lengths"])})

    def values(self, method: str, factor: int, length: int | None = None, score: str = "last") -> list[float]:
        """Zero-shot loss, one number a seed, at ``length`` (factor times the trained length by default)."""
        n = str(length or factor * self.settings.train_len)
        return [s["zero_shot"][method][str(factor)][n][score] for s in self.seeds.values()]

    def center(self, method: str, factor: int, length: int | None = None, score: str = "last") -> float:
        """Mean over the seeds of :meth:`values`."""
        return statistics.fmean(self.values(method, factor, length, score))

    def blocks(self, method: str, factor: int, length: int | None = None) -> list[list[float]]:
        """Zero-shot loss by block of 8 positions, one list a seed."""
        n = str(length or factor * self.settings.train_len)
        return [s["zero_shot"][method][str(factor)][n]["blocks"] for s in self.seeds.values()]

    def pair(self, pair: int, length: int) -> list[float]:
        """Last-32 loss with one pair slowed, one number a seed."""
        return [s["pairs"][str(pair)][str(length)] for s in self.seeds.values()]

    def sweep(self, factor: int, length: int) -> list[float]:
        """Last-32 loss of NTK-aware with this factor, one number a seed."""
        return [s["sweep"][str(factor)][str(length)] for s in self.seeds.values()]

    def recall(self, method: str, length: int, tuned: bool = False) -> torch.Tensor:
        """Recall in percent, (seeds, depths)."""
        stage = "tuned" if tuned else "zero_shot"
        return torch.tensor([s["retrieval"][stage][method][str(length)] for s in self.seeds.values()])

    def control(self, kind: str, key: str) -> torch.Tensor:
        """One row of :func:`record_controls`: (seeds,) for the loss, (seeds, depths) percent for recall."""
        return torch.tensor([s["controls"][kind][key] for s in self.seeds.values()])

    def tuned(self, method: str, steps: int, length: int, score: str = "last") -> list[float]:
        """Loss after ``steps`` of fine-tuning, one number a seed."""
        return [s["tuned"][method]["read"][str(steps)][str(length)][score] for s in self.seeds.values()]


def recorded(preset: str = "quick") -> Recorded:
    """All recorded seeds (FileNotFoundError naming the command that makes them, if there are none)."""
    files = sorted((race.RESULTS / f"extension_{preset}").glob("seed*.json"))
    if not files:
        raise FileNotFoundError(
            f"no recorded extensions: run `python -m helpers.studies.context_extension --preset {preset}`."
        )
    return Recorded({(s := json.loads(f.read_text(encoding="utf-8")))["seed"]: s for f in files})


def main() -> None:
    """Record the seeds that are missing. Stop it at any time; start it again."""
    parser = argparse.ArgumentParser(prog="python -m helpers.studies.context_extension", description=main.__doc__)
    parser.add_argument("--preset", default="quick", choices=race.PRESETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES, metavar="STAGE")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for stage in args.stages:
        for seed in range(args.seeds):
            record(seed, stage, args.preset, args.device)
            print("seed", seed, stage, "recorded", flush=True)


if __name__ == "__main__":
    main()
