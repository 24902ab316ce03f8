"""Context extension measured on the race's RoPE model: zero-shot, and after a few dozen steps on longer windows.

The settings below were fixed before any result was seen. ``python -m helpers.extend`` records five seeds into
``results/extension_quick/``, one file a seed; a seed already there is not run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F

from . import corpus, race
from .encodings.extension import Extension, extend, temperature_factor
from .model import CausalLM
from .progress import track
from .validate import one_of, positive_int, require


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
    "yarn-t": Method("yarn", "YaRN code ramp, no temperature", (("temperature", False),)),
    "yarn": Method("yarn", "YaRN, code ramp"),
    "yarn_paper": Method("yarn", "YaRN, paper ramp", (("ramp", "paper"),)),
    "llama3": Method("llama3", "Llama 3"),
    "llama3+t": Method("llama3", "Llama 3 + temperature", add_temperature=True),
    "abf": Method("abf", "larger base (x50)"),
    "p_rope": Method("p_rope", "p-RoPE 0.75"),
}
"""What is compared, with each rule's published constants. "+t" adds YaRN's temperature, "-t" leaves it out."""

FACTORS = (2, 4, 8)
TUNED = ("none", "pi", "ntk", "yarn", "llama3", "abf")


@dataclasses.dataclass(frozen=True)
class TuneSettings:
    """Fine-tuning after extension: 2,048 characters a step, the count of the race's own step."""

    factor: int = 4
    batch: int = 8
    lr: float = 1e-3
    warmup: int = 10
    read_at: tuple[int, ...] = (0, 20, 60, 240)


TUNE = TuneSettings()


def frequencies(method: str, factor: float, settings: race.Settings, base: float = 10_000.0) -> Extension:
    """The extension of one method for the race's model (ValueError on an unknown method or a factor below 1)."""
    m = METHODS[one_of("method", method, METHODS)]
    length = settings.train_len
    ext = extend(m.rule, settings.head_dim, base, factor, length, int(length * factor), **dict(m.options))
    return ext._replace(attention_factor=temperature_factor(factor)) if m.add_temperature else ext


def apply(model: CausalLM, extension: Extension) -> CausalLM:
    """Give a trained RoPE model other frequencies and another attention factor, in place; returns it."""
    inv_freq, attention_factor = extension
    old = getattr(model.encoding, "inv_freq", None)
    require(old is not None, "model", type(model.encoding).__name__, "only a model with RoPE can be extended.")
    require(inv_freq.shape == old.shape, "inv_freq", tuple(inv_freq.shape), f"the model has {tuple(old.shape)}.")
    model.encoding.inv_freq, model.encoding.attention_factor = inv_freq.double(), float(attention_factor)
    return model


def zero_shot(
    model: CausalLM, method: str, factor: float, settings: race.Settings, lengths: Iterable[int], device: str = "cpu"
) -> tuple[dict[int, torch.Tensor], dict[int, float]]:
    """Loss of an extended model without training, as :func:`helpers.race.evaluate` gives it. Changes the model."""
    return race.evaluate(
        apply(model, frequencies(method, factor, settings)),
        settings,
        device,
        tuple(positive_int("length", n) for n in lengths),
    )


def fine_tune(
    model: CausalLM, length: int, steps: int, seed: int, tune: TuneSettings = TUNE, device: str = "cpu"
) -> list[float]:
    """Train in place on random windows of ``length`` characters; returns the loss of every step.

    Warm-up, then a constant learning rate, so that stopping early means the same at every number of steps.
    """
    return list(_steps(model, length, steps, seed, tune, device))


def _steps(model: CausalLM, length: int, steps: int, seed: int, tune: TuneSettings, device: str):
    positive_int("length", length)
    positive_int("steps", steps)
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=tune.lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / tune.warmup))
    # Another stream of windows than the race drew at this seed.
    data = race.batches(corpus.load().train, length, tune.batch, steps, seed + 500_000)
    for inputs, targets in track(data, steps, "fine-tuning"):
        model.train()
        loss = F.cross_entropy(model(inputs.to(device)).flatten(0, 1), targets.to(device).flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield loss.item()


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


def record(seed: int, preset: str = "quick", device: str = "cpu") -> None:
    """Measure one seed and write its file. A seed already there is not run again."""
    path = result_file(seed, preset)
    if path.exists():
        return
    settings = race.PRESETS[one_of("preset", preset, race.PRESETS)]
    start = time.perf_counter()
    model = race.load_model("rope", seed, preset)
    zero: dict[str, dict] = {}
    for name in METHODS:
        zero[name] = {}
        for factor in FACTORS:
            lengths = (
                settings.lengths[:4] if factor == FACTORS[-1] else (settings.train_len, factor * settings.train_len)
            )
            zero[name][str(factor)] = _reading(*zero_shot(model, name, factor, settings, lengths, device))
    pairs = record_pairs(model, settings, device)
    tuned = {name: record_tuned(name, seed, preset, settings, device) for name in TUNED}
    stored = {
        "seed": seed,
        "settings": dataclasses.asdict(settings),
        "tune": dataclasses.asdict(TUNE),
        "zero_shot": zero,
        "pairs": pairs,
        "tuned": tuned,
        "seconds": round(time.perf_counter() - start, 1),
        "provenance": race.provenance(device),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(stored, separators=(",", ":")) + "\n")
    fresh.replace(path)


def record_pairs(model: CausalLM, settings: race.Settings, device: str = "cpu", factor: int = TUNE.factor) -> dict:
    """Slow one pair at a time by ``factor``, the others as trained: last-32 loss inside and beyond the length."""
    plain = frequencies("none", factor, settings)
    rows = {}
    for pair in range(len(plain.inv_freq)):
        slowed = plain.inv_freq.clone()
        slowed[pair] /= factor
        lengths = (settings.train_len, factor * settings.train_len)
        last = race.evaluate(apply(model, Extension(slowed)), settings, device, lengths)[1]
        rows[str(pair)] = {str(n): round(v, 4) for n, v in last.items()}
    return rows


def record_tuned(name: str, seed: int, preset: str, settings: race.Settings, device: str = "cpu") -> dict:
    """Fine-tune one method at ``TUNE.factor`` times the length; read out at the step counts of ``TUNE.read_at``."""
    model = apply(race.load_model("rope", seed, preset), frequencies(name, TUNE.factor, settings))
    length, readings, losses = TUNE.factor * settings.train_len, {}, []
    lengths = (settings.train_len, length, 2 * length)
    if 0 in TUNE.read_at:
        readings["0"] = _reading(*race.evaluate(model, settings, device, lengths))
    for step, loss in enumerate(_steps(model, length, TUNE.read_at[-1], seed, TUNE, device), 1):
        losses.append(round(loss, 3))
        if step in TUNE.read_at:
            readings[str(step)] = _reading(*race.evaluate(model, settings, device, lengths))
    return {"read": readings, "train": losses}


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

    def tuned(self, method: str, steps: int, length: int, score: str = "last") -> list[float]:
        """Loss after ``steps`` of fine-tuning, one number a seed."""
        return [s["tuned"][method]["read"][str(steps)][str(length)][score] for s in self.seeds.values()]


def recorded(preset: str = "quick") -> Recorded:
    """All recorded seeds (FileNotFoundError naming the command that makes them, if there are none)."""
    files = sorted((race.RESULTS / f"extension_{preset}").glob("seed*.json"))
    if not files:
        raise FileNotFoundError(f"no recorded extensions: run `python -m helpers.extend --preset {preset}`.")
    return Recorded({(s := json.loads(f.read_text()))["seed"]: s for f in files})


def main() -> None:
    """Record the seeds that are missing. Stop it at any time; start it again."""
    parser = argparse.ArgumentParser(prog="python -m helpers.extend", description=main.__doc__)
    parser.add_argument("--preset", default="quick", choices=race.PRESETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(args.seeds):
        record(seed, args.preset, args.device)
        print("seed", seed, "recorded", flush=True)


if __name__ == "__main__":
    main()
