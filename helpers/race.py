"""The race: one tiny causal language model, one text, one training budget. Only the encoding changes.

Trained on windows of ``train_len`` characters, read out at 1, 2, 4 and 8 times that. Every context length is scored
on the *same* target characters: the validation segments are cut into windows of the length in question, so that each
character is a target once at every length, and the last 32 characters of each segment are the last 32 of a full
window at every length.

``python tasks.py race`` records five seeds of every contender into ``results/`` (:mod:`helpers.record`).
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from . import corpus, training
from .encodings import SCHEMES, build
from .model import CausalLM
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

CONTENDERS = ("none", "sinusoidal", "learned", "t5", "rope", "pope", "alibi", "kerple")
"""The schemes whose five seeds are recorded, each with its own defaults. Any registered scheme can be raced."""


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
        """One number a seed at this length; ``score`` is "last" (last 32 positions) or "mean" (window).

        Raises:
            ValueError: on another score.
        """
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
        kwargs: scheme arguments.
    """
    torch.manual_seed(seed + 1_000_000)  # the encoding draws apart, so that it does not shift the model's draws
    encoding = build(
        name,
        d_model=settings.d_model,
        n_heads=settings.n_heads,
        train_len=settings.train_len,
        max_len=max_len or settings.lengths[-1],
        **kwargs,
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
    return training.cosine_factor(step, settings.warmup, settings.steps)


def next_character(model: CausalLM, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean loss of every next character in nats; inputs and targets (B, T)."""
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def train(
    model: CausalLM,
    settings: Settings,
    seed: int,
    device: str = "cpu",
    label: str = "training",
    checkpoint: Path | None = None,
    every: int = 500,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> list[float]:
    """Train in place on the text, with AdamW and gradient clipping.

    Args:
        model: trained in place, and moved to ``device``.
        settings: of the race.
        seed: of the batches.
        device: "cpu" or "cuda".
        label: what is trained: shown with the progress, and compared when a checkpoint is taken up.
        checkpoint: a file that keeps the state of an unfinished run; see :func:`helpers.training.fit`.
        every: steps between two checkpoints.
        on_step: called after every step with the number of steps done and the loss; see there.

    Returns:
        The loss of every step in nats a character.

    Raises:
        corpus.MissingText: if the text is not installed.
        store.OtherSettings: if the checkpoint was begun with other settings.
    """
    return training.fit(
        model,
        batches(corpus.load().train, settings.train_len, settings.batch, settings.steps, seed),
        next_character,
        steps=settings.steps,
        lr=settings.lr,
        schedule=training.cosine(settings.warmup, settings.steps),
        weight_decay=settings.weight_decay,
        device=device,
        label=label,
        on_step=on_step,
        checkpoint=checkpoint,
        settings={"run": label, "seed": seed, **dataclasses.asdict(settings), **corpus.SOURCE},
        every=every,
    )


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
    name: str,
    seed: int = 0,
    preset: str = "quick",
    device: str = "cpu",
    settings: Settings | None = None,
    checkpoint: Path | None = None,
    **kwargs,
) -> Result:
    """Train and read out one contender.

    Args:
        name: a key of :data:`helpers.encodings.SCHEMES`.
        seed: of the weights and of the batches.
        preset: a key of :data:`PRESETS`; ignored if ``settings`` is given.
        device: "cpu" or "cuda".
        settings: a race of your own.
        checkpoint: see :func:`train`.
        kwargs: scheme arguments.

    Raises:
        ValueError: on an unknown name or preset. corpus.MissingText: if the text is not installed.
    """
    one_of("name", name, SCHEMES)
    positive_int("seed", seed, at_least=0)
    settings = settings or PRESETS[one_of("preset", preset, PRESETS)]
    start = time.perf_counter()
    model = make_model(name, settings, seed, **kwargs)
    losses = train(model, settings, seed, device, f"{name}, seed {seed}", checkpoint)
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


def recorded(name: str, preset: str = "quick") -> Band:
    """The recorded seeds of a contender (FileNotFoundError, naming the command that records it, if there are none)."""
    path = result_file(one_of("name", name, SCHEMES), preset)
    if not path.exists():
        raise FileNotFoundError(
            f"no recorded results for {name!r}: run `python tasks.py race --preset {preset} --only {name}`."
        )
    stored = json.loads(path.read_text(encoding="utf-8"))
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


def bands(names: Sequence[str], preset: str = "quick", live: Sequence[Result] = ()) -> dict[str, Band]:
    """What there is to draw of each contender: its recorded seeds, or else the runs trained here.

    Args:
        names: contenders, in the order wanted.
        preset: a key of :data:`PRESETS`.
        live: results trained here; they stand in where this preset was never recorded.

    Returns:
        {name: band}; a contender with neither is left out.

    Raises:
        FileNotFoundError: if there is nothing at all, naming the command that records the preset.
    """
    found = {}
    for name in names:
        here = [result for result in live if result.name == name]
        if result_file(one_of("name", name, SCHEMES), preset).exists():
            found[name] = recorded(name, preset)
        elif here:
            found[name] = Band(name, here[0].settings, here)
    return found or {names[0]: recorded(names[0], preset)}


def load_model(name: str, seed: int, preset: str = "quick", **kwargs) -> CausalLM:
    """A recorded model with its weights, in eval mode. ``kwargs`` reach the scheme (another base, say).

    Raises:
        FileNotFoundError: naming the command that records it.
    """
    from safetensors.torch import load_file

    path = checkpoint_file(name, seed, preset)
    if not path.exists():
        raise FileNotFoundError(
            f"no checkpoint {path.name}: run `python tasks.py race --preset {preset} --only {name}`."
        )
    model = make_model(name, PRESETS[preset], seed, **kwargs)
    model.load_state_dict(load_file(path))
    return model.eval()
