"""The race: one tiny causal language model, one text, one training budget. Only the encoding changes.

Trained on windows of ``train_len`` characters, read out at 1, 2, 4 and 8 times that. Every context length is scored
on the *same* target characters: the validation segments are cut into windows of the length in question, so that each
character is a target once at every length, and the last 32 characters of each segment are the last 32 of a full
window at every length.

``python -m helpers.race --preset quick`` records five seeds of every contender into ``results/``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import platform
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from . import corpus
from .encodings import SCHEMES, build
from .model import CausalLM
from .progress import track
from .validate import one_of, positive_int

RESULTS = Path(__file__).resolve().parent.parent / "results"
LAST = 32
"""Number of final positions of a window that are reported beside the window mean."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that defines a race but the scheme and the seed. Stated once, before any result was seen."""

    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 2
    train_len: int = 64
    batch: int = 32
    steps: int = 400
    lr: float = 3e-3
    warmup: int = 40
    weight_decay: float = 0.1
    lengths: tuple[int, ...] = (64, 128, 256, 512)
    segments: int = 128  # validation segments of lengths[-1] characters

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads


PRESETS = {
    "quick": Settings(),
    "full": Settings(
        d_model=256, n_heads=8, n_layers=6, train_len=256, batch=64, steps=6000, lr=1e-3, warmup=300,
        lengths=(256, 512, 1024, 2048, 4096), segments=64,
    ),
}  # fmt: skip

CONTENDERS: dict[str, dict] = {name: {} for name in SCHEMES}
"""Scheme arguments in the race where they differ from the scheme's own defaults: name -> keyword arguments."""


@dataclasses.dataclass
class Result:
    """One trained contender.

    Attributes:
        loss: nats a character by context length and position, {length: (length,)}.
        last: mean loss of the last 32 positions, {length: float}, on the same characters at every length.
        train: training loss, one number a step.
        model: the trained model, or None if the result was read from a file.
    """

    name: str
    seed: int
    settings: Settings
    loss: dict[int, Tensor]
    last: dict[int, float]
    train: list[float]
    seconds: float = 0.0
    model: CausalLM | None = None

    def mean(self, length: int) -> float:
        """Mean loss over a whole window of this length, in nats a character."""
        return self.loss[length].mean().item()


@dataclasses.dataclass
class Band:
    """The recorded seeds of one contender."""

    name: str
    settings: Settings
    results: list[Result]

    def values(self, length: int, score: str = "last") -> list[float]:
        """One number a seed at this length; ``score`` is "last" (last 32 positions) or "mean" (window)."""
        one_of("score", score, ("last", "mean"))
        return [r.last[length] if score == "last" else r.mean(length) for r in self.results]

    def center(self, length: int, score: str = "last") -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values(length, score))


# ---------------------------------------------------------------------------------------------------- training


def make_model(name: str, settings: Settings, seed: int, max_len: int | None = None, **kwargs) -> CausalLM:
    """A fresh model. At one seed all schemes share the initial values of every weight they have in common.

    Args:
        name: a key of :data:`helpers.encodings.SCHEMES`.
        settings: shape of the model.
        seed: of the initial weights.
        max_len: longest input that will be asked for; the longest read-out length by default.
        kwargs: scheme arguments, over those of :data:`CONTENDERS`.
    """
    torch.manual_seed(seed + 1_000_000)  # the encoding draws apart, so that it does not shift the model's draws
    encoding = build(
        name,
        d_model=settings.d_model,
        n_heads=settings.n_heads,
        train_len=settings.train_len,
        max_len=max_len or settings.lengths[-1],
        **{**CONTENDERS.get(name, {}), **kwargs},
    )
    torch.manual_seed(seed)
    return CausalLM(len(corpus.ALPHABET), settings.d_model, settings.n_heads, settings.n_layers, encoding)


def batches(data: Tensor, length: int, batch: int, steps: int, seed: int):
    """Random windows, ``steps`` times (inputs, targets), each (batch, length): the same for every scheme at a seed."""
    generator = torch.Generator().manual_seed(seed)
    window = torch.arange(length + 1)
    for _ in range(steps):
        start = torch.randint(len(data) - length - 1, (batch, 1), generator=generator)
        chunk = data[start + window]
        yield chunk[:, :-1], chunk[:, 1:]


def learning_rate(step: int, settings: Settings) -> float:
    """Factor on ``lr``: linear warm-up, then cosine to a tenth."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.55 + 0.45 * math.cos(math.pi * done)


def train(model: CausalLM, settings: Settings, seed: int, device: str = "cpu", label: str = "training") -> list[float]:
    """Train in place with AdamW and gradient clipping; returns the loss of every step in nats a character."""
    model.to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, betas=(0.9, 0.95), weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, settings))
    losses = []
    data = batches(corpus.load().train, settings.train_len, settings.batch, settings.steps, seed)
    for inputs, targets in track(data, settings.steps, label):
        loss = F.cross_entropy(model(inputs.to(device)).flatten(0, 1), targets.to(device).flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()


# -------------------------------------------------------------------------------------------------- evaluation


def segments(settings: Settings) -> Tensor:
    """Validation text as (segments, longest length + 1) ids, evenly spaced over the validation messages."""
    data = corpus.load().valid
    longest = settings.lengths[-1] + 1
    starts = torch.linspace(0, len(data) - longest, settings.segments).long()
    return data[starts[:, None] + torch.arange(longest)]


@torch.no_grad()
def evaluate(
    model: CausalLM, settings: Settings, device: str = "cpu", lengths: tuple[int, ...] | None = None
) -> tuple[dict[int, Tensor], dict[int, float]]:
    """Loss by position at every context length, on the same target characters.

    Returns:
        {length: (length,) mean loss at each position of a window}, and {length: mean loss of the last 32
        characters of every segment, read with exactly this much context before the end}.
    """
    model.to(device).eval()
    text = segments(settings)
    loss, last = {}, {}
    for length in lengths or settings.lengths:
        inputs = text[:, :-1].reshape(-1, length)
        targets = text[:, 1:].reshape(-1, length)
        rows = max(1, 16_384 // length)  # characters at once: keeps memory flat in the length
        parts = []
        for x, y in zip(inputs.split(rows), targets.split(rows), strict=True):
            logits = model(x.to(device))
            parts.append(F.cross_entropy(logits.transpose(1, 2), y.to(device), reduction="none").cpu())
        grid = torch.cat(parts).view(len(text), -1, length)  # (segments, windows a segment, length)
        loss[length] = grid.mean((0, 1))
        last[length] = grid[:, -1, -LAST:].mean().item()
    return loss, last


def run(
    name: str, seed: int = 0, preset: str = "quick", device: str = "cpu", settings: Settings | None = None, **kwargs
) -> Result:
    """Train and read out one contender.

    Args:
        name: a key of :data:`helpers.encodings.SCHEMES`.
        seed: of the weights and of the batches.
        preset: a key of :data:`PRESETS`; ignored if ``settings`` is given.
        device: "cpu" or "cuda".
        settings: a race of your own.
        kwargs: scheme arguments.

    Raises:
        ValueError: on an unknown name or preset. corpus.MissingText: if the text is not installed.
    """
    one_of("name", name, SCHEMES)
    positive_int("seed", seed, at_least=0)
    settings = settings or PRESETS[one_of("preset", preset, PRESETS)]
    start = time.perf_counter()
    model = make_model(name, settings, seed, **kwargs)
    losses = train(model, settings, seed, device, f"{name}, seed {seed}")
    loss, last = evaluate(model, settings, device)
    return Result(name, seed, settings, loss, last, losses, time.perf_counter() - start, model)


def run_if_possible(name: str, **kwargs) -> list[Result]:
    """[:func:`run`(name, ...)], or an empty list and one printed line saying what to install if the text is missing."""
    try:
        return [run(name, **kwargs)]
    except corpus.MissingText as missing:
        print(missing)
        return []


# ---------------------------------------------------------------------------------------------- recorded results


def result_file(name: str, preset: str) -> Path:
    """Where the recorded seeds of a contender are kept."""
    return RESULTS / f"race_{preset}" / f"{name}.json"


def checkpoint_file(name: str, seed: int, preset: str) -> Path:
    """Where the weights of one recorded seed are kept, if they are."""
    return RESULTS / f"race_{preset}" / f"{name}-seed{seed}.safetensors"


def provenance(device: str) -> dict:
    """What produced a result, without naming the machine."""
    return {
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "text": corpus.PACKAGE,
        "text_sha256": corpus.SHA256,
    }


def record(name: str, seed: int, preset: str, device: str = "cpu", keep_weights: bool = False) -> None:
    """Run one contender at one seed and add it to its result file; a seed already there is not run again."""
    path = result_file(name, preset)
    settings = PRESETS[preset]
    stored = {
        "name": name,
        "settings": dataclasses.asdict(settings),
        "arguments": CONTENDERS.get(name, {}),
        "seeds": {},
    }
    if path.exists():
        old = json.loads(path.read_text())
        same = all(old[key] == json.loads(json.dumps(stored[key])) for key in ("settings", "arguments"))
        if not same:
            raise RuntimeError(f"{path.name} was recorded with other settings; move it away to record it again.")
        stored = old
    if str(seed) in stored["seeds"]:
        return
    result = run(name, seed, preset, device)
    stored["seeds"][str(seed)] = {
        "loss": {str(n): [round(v, 4) for v in result.loss[n].tolist()] for n in result.loss},
        "last": {str(n): round(v, 4) for n, v in result.last.items()},
        "train": [round(v, 3) for v in result.train],
        "seconds": round(result.seconds, 1),
        "provenance": provenance(device),
    }
    stored["seeds"] = dict(sorted(stored["seeds"].items(), key=lambda item: int(item[0])))
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")  # a run stopped here leaves the old file whole
    fresh.write_text(json.dumps(stored, separators=(",", ":")) + "\n")
    fresh.replace(path)
    if keep_weights:
        save_weights(result.model, checkpoint_file(name, seed, preset))


def recorded(name: str, preset: str = "quick") -> Band:
    """The recorded seeds of a contender (FileNotFoundError, naming the command that records it, if there are none)."""
    path = result_file(one_of("name", name, SCHEMES), preset)
    if not path.exists():
        raise FileNotFoundError(
            f"no recorded results for {name!r}: run `python tasks.py race --preset {preset} --only {name}`."
        )
    stored = json.loads(path.read_text())
    settings = Settings(**{**stored["settings"], "lengths": tuple(stored["settings"]["lengths"])})
    results = [
        Result(
            name,
            int(seed),
            settings,
            {int(n): torch.tensor(v) for n, v in entry["loss"].items()},
            {int(n): v for n, v in entry["last"].items()},
            entry["train"],
            entry["seconds"],
        )
        for seed, entry in stored["seeds"].items()
    ]
    return Band(name, settings, results)


def save_weights(model: CausalLM, path: Path) -> None:
    """Write the parameters as safetensors (data only: nothing is executed on loading)."""
    from safetensors.torch import save_file

    save_file({key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}, path)


def load_model(name: str, seed: int, preset: str = "quick", **kwargs) -> CausalLM:
    """A recorded model with its weights, in eval mode. ``kwargs`` reach the scheme (another base, say)."""
    from safetensors.torch import load_file

    path = checkpoint_file(name, seed, preset)
    if not path.exists():
        raise FileNotFoundError(
            f"no checkpoint {path.name}: run `python tasks.py race --preset {preset} --only {name}`."
        )
    model = make_model(name, PRESETS[preset], seed, **kwargs)
    model.load_state_dict(load_file(path))
    return model.eval()


def main() -> None:
    """Command line: record contenders that are missing from ``results/``. Stop it at any time; start it again."""
    parser = argparse.ArgumentParser(prog="tasks.py race", description=main.__doc__)
    parser.add_argument("--preset", default="quick", choices=PRESETS)
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one contender each")
    args = parser.parse_args()
    jobs = [(name, args.seeds, args.preset, args.device) for name in args.only]
    if args.jobs == 1:
        for job in jobs:
            record_contender(*job)
    else:
        import joblib

        joblib.Parallel(n_jobs=args.jobs)(joblib.delayed(record_contender)(*job) for job in jobs)


def record_contender(name: str, seeds: int, preset: str, device: str) -> None:
    """Record the seeds 0 .. seeds - 1 of one contender. Weights are kept for RoPE, and for seed 0 of every other."""
    torch.set_num_threads(1)
    for seed in range(seeds):
        record(name, seed, preset, device, keep_weights=preset == "quick" and (name == "rope" or seed == 0))
        band = recorded(name, preset)
        last = band.results[-1]
        print(name, "seed", seed, {n: round(v, 2) for n, v in last.last.items()}, f"{last.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
