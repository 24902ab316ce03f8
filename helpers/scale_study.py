"""Notebook 03's recorded study: the same race, with tokens and positions started at other scales.

``python -m helpers.scale_study`` records seeds that are missing from ``results/learned_scale.json``.
"""

from __future__ import annotations

import argparse
import json
import math

import torch
from torch import nn

from . import race
from .encodings import Sinusoidal
from .model import CausalLM
from .validate import one_of

FILE = race.RESULTS / "learned_scale.json"

CONDITIONS: dict[str, tuple[str, float, float | None]] = {
    "none, small tokens": ("none", 0.02, None),
    "learned, small table": ("learned", 1.0, 0.02),
    "learned, both small": ("learned", 0.02, 0.02),
    "sinusoidal, both small": ("sinusoidal", 0.02, 0.02),
}
"""name -> (scheme, std of the token embeddings, std of the position vectors). The race itself is (1, 1); BERT and
GPT-2 start both tables at 0.02. Fixed before any of it was run."""


class ScaledSinusoidal(Sinusoidal):
    """The sinusoidal table, scaled so that the root mean square of its entries is ``std``."""

    def __init__(self, d_model: int, std: float):
        super().__init__(d_model)
        self.gain = std * math.sqrt(2)  # sines and cosines have a mean square of one half

    def embed(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        return x + self.gain * state.to(x.dtype)


def make(scheme: str, token_std: float, position_std: float | None, seed: int, settings: race.Settings) -> CausalLM:
    """The race's model with token embeddings of standard deviation ``token_std``, positions of ``position_std``."""
    model = race.make_model(scheme, settings, seed, **({"std": position_std} if scheme == "learned" else {}))
    if scheme == "sinusoidal":
        model.encoding = ScaledSinusoidal(settings.d_model, position_std)
    with torch.no_grad():
        model.tokens.weight.mul_(token_std)
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
        self._look()


def run(condition: str, seed: int, settings: race.Settings = race.PRESETS["quick"]) -> dict:
    """Train one condition at one seed: {"last": {length: loss of the last 32}, "mean": {length: loss}}."""
    model = make(*CONDITIONS[one_of("condition", condition, CONDITIONS)], seed, settings)
    race.train(model, settings, seed, label=f"{condition}, seed {seed}")
    loss, last = race.evaluate(model, settings)
    return {
        "last": {str(n): round(v, 4) for n, v in last.items()},
        "mean": {str(n): round(v.mean().item(), 4) for n, v in loss.items()},
    }


def recorded() -> dict[str, dict[int, dict]]:
    """condition -> seed -> what :func:`run` returned when it was recorded, lengths as integers."""
    stored = json.loads(FILE.read_text(encoding="utf-8"))["conditions"]
    return {
        name: {
            int(seed): {score: {int(n): v for n, v in values.items()} for score, values in entry.items()}
            for seed, entry in seeds.items()
        }
        for name, seeds in stored.items()
    }


def main() -> None:
    """Record what is missing. Stop it at any time; start it again."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    stored = {"conditions": {name: {} for name in CONDITIONS}, "torch": torch.__version__.split("+")[0]}
    if FILE.exists():
        stored = json.loads(FILE.read_text(encoding="utf-8"))
    for seed in map(str, range(args.seeds)):
        for condition in CONDITIONS:
            if seed not in stored["conditions"][condition]:
                stored["conditions"][condition][seed] = result = run(condition, int(seed))
                FILE.parent.mkdir(exist_ok=True)
                FILE.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
                print(condition, seed, result["last"], flush=True)


if __name__ == "__main__":
    main()
