"""Notebook 03's recorded study: the same race, with tokens and positions started at other scales.

``python -m helpers.studies.initial_scale`` records seeds that are missing from ``results/learned_scale.json``.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import math

import torch
from torch import nn

from .. import race
from ..encodings import Learned, Sinusoidal
from ..encodings.learned import interpolate_table
from ..model import CausalLM
from ..store import write_whole
from ..validate import one_of

FILE = race.RESULTS / "learned_scale.json"
ARRAYS = FILE.with_suffix(".safetensors")
"""From seed 0: the small table during training (its first rows, float16), and T5's trained bias with gain 10."""

CONDITIONS: dict[str, tuple[str, float, float]] = {
    "none, small tokens": ("none", 0.02, 1.0),
    "learned, small table": ("learned", 1.0, 0.02),
    "learned, both small": ("learned", 0.02, 0.02),
    "sinusoidal, both small": ("sinusoidal", 0.02, 0.02),
    "learned, gain 10": ("learned", 1.0, 1.0),
    "T5, gain 10": ("t5", 1.0, 1.0),
}
"""name -> (scheme, std of the token embeddings, std of the position vectors). In the race both are 1; BERT
starts both tables at 0.02. Fixed before any of it was run, except for the last two, which were added to test the
explanation of what the others showed: they start from exactly the race's model, but what is trained is a tenth of the
table, multiplied by ten, so that a step of the optimizer carries ten times as far."""

GAIN = 10.0


class ScaledSinusoidal(Sinusoidal):
    """The sinusoidal table, scaled so that the root mean square of its entries is ``std``."""

    def __init__(self, d_model: int, std: float):
        super().__init__(d_model)
        self.gain = std * math.sqrt(2)  # sines and cosines have a mean square of one half

    def embed(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        return x + self.gain * state.to(x.dtype)


class FasterTable(Learned):
    """A learned table that stores a tenth of every row: the same function, ten times the optimizer's reach."""

    def __init__(self, start: Learned):
        super().__init__(start.table.embedding_dim, start.max_len)
        with torch.no_grad():
            self.table.weight.copy_(start.table.weight / GAIN)

    def embed(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        return x + GAIN * state.to(x.dtype)


def make(condition: str, seed: int, settings: race.Settings) -> CausalLM:
    """The race's model, started as :data:`CONDITIONS` says (ValueError on an unknown condition)."""
    scheme, token_std, position = CONDITIONS[one_of("condition", condition, CONDITIONS)]
    knob = {"learned": {"std": position}, "t5": {"gain": GAIN}}.get(scheme, {})
    model = race.make_model(scheme, settings, seed, **knob)
    if scheme == "sinusoidal":
        model.encoding = ScaledSinusoidal(settings.d_model, position)
    if condition == "learned, gain 10":
        model.encoding = FasterTable(model.encoding)
    with torch.no_grad():
        model.token_embedding.weight.mul_(token_std)
    return model


class Snapshots:
    """Keeps copies of a parameter while a model trains: ``with Snapshots(model, weight, steps) as kept: train(...)``.

    ``kept`` maps a step to the parameter as it was before that step. The last entry is added on leaving.
    """

    def __init__(self, model: nn.Module, parameter: nn.Parameter, steps: tuple[int, ...]):
        self.model, self.parameter, self.steps, self.kept, self.step = model, parameter, set(steps), {}, 0

    def _look(self, *_) -> None:
        if self.step in self.steps:
            self.kept[self.step] = self.parameter.detach().cpu().clone()
        self.step += 1

    def __enter__(self) -> dict[int, torch.Tensor]:
        self.hook = self.model.register_forward_pre_hook(self._look)
        return self.kept

    def __exit__(self, *_) -> None:
        self.hook.remove()
        self.steps.add(self.step)
        self._look()


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
    return race.evaluate(model, settings, device, lengths=(settings.train_len, 2 * settings.train_len))[1]


def stretch(model: CausalLM, seed: int, settings: race.Settings, device: str = "cpu") -> dict[str, dict]:
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


def rounded(value: dict | float) -> dict | float:
    """The same nested dict with text for keys and four decimals, as it is stored."""
    return {str(k): rounded(v) for k, v in value.items()} if isinstance(value, dict) else round(value, 4)


def run(condition: str, seed: int, settings: race.Settings = race.PRESETS["quick"]) -> dict:
    """Train one condition at one seed.

    Returns:
        {"last": {length: loss of the last 32}, "mean": {length: loss}}, and "stretch" for the trained small table.
    """
    model = make(condition, seed, settings)
    race.train(model, settings, seed, label=f"{condition}, seed {seed}")
    loss, last = race.evaluate(model, settings)
    result = {"last": last, "mean": {n: v.mean().item() for n, v in loss.items()}}
    if condition == "learned, both small":
        result["stretch"] = stretch(model, seed, settings)
    return rounded(result)


def recorded() -> dict[str, list[dict]]:
    """condition -> what :func:`run` returned at each recorded seed (lengths are text)."""
    stored = json.loads(FILE.read_text(encoding="utf-8"))["conditions"]
    return {name: list(seeds.values()) for name, seeds in stored.items()}


def snapshot_steps(settings: race.Settings) -> tuple[int, ...]:
    """Steps at which the notebook looks at the table while it trains; the end comes on top."""
    return tuple(settings.steps * eighths // 8 for eighths in (0, 1, 2, 4, 6))


def record_arrays(seed: int = 0, settings: race.Settings = race.PRESETS["quick"]) -> None:
    """Train two conditions once more and keep what the notebook draws of them in :data:`ARRAYS`."""
    from safetensors.torch import save

    model = make("learned, both small", seed, settings)
    with Snapshots(model, model.encoding.table.weight, snapshot_steps(settings)) as kept:
        race.train(model, settings, seed)
    arrays = {f"step {step}": table[: 2 * settings.train_len].half().contiguous() for step, table in kept.items()}
    model = make("T5, gain 10", seed, settings)
    race.train(model, settings, seed)
    arrays["T5 bias"] = (model.encoding.gain * model.encoding.table.weight).detach().clone()
    write_whole(ARRAYS, save(arrays))


def recorded_snapshots() -> dict[int, torch.Tensor]:
    """step -> the first rows of the small table, recorded in the quick preset at seed 0."""
    from safetensors.torch import load_file

    tables = {int(k.split()[1]): v.float() for k, v in load_file(ARRAYS).items() if k.startswith("step")}
    return dict(sorted(tables.items()))


def recorded_bias() -> torch.Tensor:
    """(buckets, heads): T5's bias in logits, trained with gain 10 in the quick preset at seed 0."""
    from safetensors.torch import load_file

    return load_file(ARRAYS)["T5 bias"]


def main() -> None:
    """Record what is missing. Stop it at any time; start it again."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    stored = {
        "conditions": {},
        "torch": torch.__version__.split("+")[0],
        "command": "python -m helpers.studies.initial_scale",
    }
    if FILE.exists():
        stored = json.loads(FILE.read_text(encoding="utf-8"))
    for name in CONDITIONS:
        stored["conditions"].setdefault(name, {})
    for seed in map(str, range(args.seeds)):
        for condition in CONDITIONS:
            if seed not in stored["conditions"][condition]:
                stored["conditions"][condition][seed] = result = run(condition, int(seed))
                FILE.parent.mkdir(exist_ok=True)
                write_whole(FILE, (json.dumps(stored, indent=1) + "\n").encode())
                print(condition, seed, result["last"], flush=True)
    if not ARRAYS.exists():
        record_arrays()


if __name__ == "__main__":
    main()
