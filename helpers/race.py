"""The race: one tiny causal language model, one text, one training budget; the encoding and its settings change.

Trained on windows of ``train_len`` characters, read out at 1, 2, 4 and 8 times that. Every context length is scored
on the *same* target characters: the validation segments are cut into windows of the length in question, so that each
character is a target once at every length, and the last 32 characters of each segment are the last 32 of a full
window at every length.

The presets ``quick`` and ``full`` train on text alone. ``fair`` trains on text and a fact to keep
(:mod:`helpers.task`), so that what serves the one and costs the other shows in one model; which settings of each scheme
are compared is decided by :mod:`helpers.studies.fair_race`.

``python3 tasks.py record race`` records five seeds of every contender (:mod:`helpers.record`).
"""

from __future__ import annotations

import dataclasses
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import corpus, store, task, training
from .encodings import SCHEMES, Encoding, build
from .model import CausalLM
from .validate import one_of, positive_int, require

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

    @property
    def vocab_size(self) -> int:
        """The alphabet."""
        return len(corpus.ALPHABET)


@dataclasses.dataclass(frozen=True)
class TextAndRecall(Settings):
    """A race with both needs: text, and recall of one marker (:mod:`helpers.task`).

    Settings are chosen on one half of the validation text, at ``train_len`` alone, and reported on the other.
    """

    segments: int = 128  # of text, and windows for each depth and length of recall
    markers: int = 16
    max_asks: int = 16
    depths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 0.95)  # of the marker, in shares of the window; 0 is the far end

    @property
    def vocab_size(self) -> int:
        """The alphabet, the markers and "?"."""
        return len(corpus.ALPHABET) + self.markers + 1


PRESETS = {
    "quick": Settings(),
    "fair": TextAndRecall(),
    "full": Settings(
        d_model=256, n_heads=8, n_layers=6, train_len=256, batch=64, steps=6000, lr=1e-3, warmup=300,
        lengths=(256, 512, 1024, 2048, 4096), segments=64,
    ),
}  # fmt: skip

CONTENDERS = ("none", "sinusoidal", "learned", "t5", "rope", "pope", "alibi", "kerple")
"""The schemes whose five seeds are recorded, each with its own defaults. Any registered scheme can be raced."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """A scheme with its arguments: what is trained, recorded and compared.

    ``Contender("alibi", {"slopes": [1, 0.5, 0.25, 0.125]})``; its :attr:`key` is its name in tables, files and on the
    command line, and ``Contender.of(key)`` gives it back.

    Attributes:
        scheme: a key of :data:`helpers.encodings.SCHEMES`.
        arguments: for its constructor: numbers, names, True, False, None, or lists of numbers.

    Raises:
        ValueError: on an unknown scheme, or an argument that has no short name.
    """

    scheme: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("contender", self.scheme, SCHEMES)
        arguments = {name: _plain(value) for name, value in sorted(self.arguments.items())}
        object.__setattr__(self, "arguments", arguments)
        for name, value in arguments.items():
            named = re.fullmatch(r"[\w.+-]+", _written(value)) and _read(_written(value)) == value
            require(bool(named), name, value, "what is recorded has numbers, names or lists of numbers for arguments.")

    @classmethod
    def of(cls, contender: str | Contender) -> Contender:
        """The contender of a key, as "rope" or "rope[base=500]"; a contender is given back as it is.

        Raises:
            ValueError: on an unknown scheme, or arguments that are not written like this.
        """
        if isinstance(contender, Contender):
            return contender
        match = re.fullmatch(r"(\w+)\[(\w+=[^,=]+(?:,\w+=[^,=]+)*)\]", str(contender))
        if match is None:
            return cls(contender)
        return cls(match[1], {name: _read(text) for name, text in (part.split("=") for part in match[2].split(","))})

    @property
    def key(self) -> str:
        """Its name in tables, file names and on the command line: "alibi", "alibi[slopes=1_0.5_0.25_0.125]"."""
        arguments = ",".join(f"{name}={_written(value)}" for name, value in self.arguments.items())
        return f"{self.scheme}[{arguments}]" if arguments else self.scheme

    def __str__(self) -> str:
        return self.key

    def __hash__(self) -> int:
        return hash(self.key)


def _plain(value: Any) -> Any:
    """Lists become tuples, whole floats integers: 500.0 and 500 are one setting and have one name."""
    if isinstance(value, list | tuple):
        return tuple(_plain(v) for v in value)
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def _written(value: Any) -> str:
    """An argument as a key has it: 500, 0.25, 1_0.5_0.25, uniform, true, none."""
    if isinstance(value, tuple):
        return "_".join(map(_written, value)) + ("_" if len(value) == 1 else "")
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _read(text: str) -> Any:
    """The inverse of :func:`_written`."""
    words = {"true": True, "false": False, "none": None}
    if text in words:
        return words[text]
    try:
        if "_" in text:
            return tuple(_plain(float(part)) for part in text.removesuffix("_").split("_"))
        return _plain(float(text))
    except ValueError:
        return text


@dataclasses.dataclass
class Result:
    """One trained contender.

    Attributes:
        name: the contender's key.
        loss: nats per character by context length and position, {length: (length,)}.
        last: mean loss of the last 32 positions, {length: float}, on the same characters at every length.
        train: training loss, one number per step.
        model: the trained model, or None if the result was read from a file.
        recall: share of markers recalled by length and depth, {length: (depths,)}; empty if the race is text alone.
        choice: what a setting is chosen by: loss of the ``last`` 32 characters and share not ``recalled`` on the other
            half of the validation text, at the training length. Empty if the race is text alone.
    """

    name: str
    seed: int
    settings: Settings
    loss: dict[int, Tensor]
    last: dict[int, float]
    train: list[float]
    seconds: float = 0.0
    model: CausalLM | None = None
    recall: dict[int, Tensor] = dataclasses.field(default_factory=dict)
    choice: dict[str, float] = dataclasses.field(default_factory=dict)

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


def make_encoding(
    contender: str | Contender, settings: Any, seed: int, max_len: int | None = None, **kwargs: Any
) -> Encoding:
    """A contender's encoding, drawn apart so that it does not shift the draws of the model around it.

    Args:
        contender: a scheme, the key of a contender, or a :class:`Contender`.
        settings: anything with d_model, n_heads, train_len and lengths.
        seed: of its initial weights.
        max_len: longest input that will be asked for; the longest read-out length by default.
        kwargs: scheme arguments, over the contender's own.

    Raises:
        ValueError: on an unknown scheme, or arguments that do not fit it.
    """
    contender = Contender.of(contender)
    torch.manual_seed(seed + 1_000_000)
    return build(
        contender.scheme,
        d_model=settings.d_model,
        n_heads=settings.n_heads,
        train_len=settings.train_len,
        max_len=max_len or settings.lengths[-1],
        **{**contender.arguments, **kwargs},
    )


def make_model(
    contender: str | Contender,
    settings: Any,
    seed: int,
    max_len: int | None = None,
    vocab_size: int | None = None,
    **kwargs: Any,
) -> CausalLM:
    """A fresh model. At one seed all contenders share the initial values of every weight they have in common.

    Args:
        contender: as in :func:`make_encoding`.
        settings: shape of the model: d_model, n_heads, n_layers, train_len and lengths.
        seed: of the initial weights.
        max_len: longest input that will be asked for; the longest read-out length by default.
        vocab_size: number of tokens; that of the settings by default.
        kwargs: scheme arguments, over the contender's own.

    Raises:
        ValueError: on an unknown scheme, or arguments that do not fit it.
    """
    encoding = make_encoding(contender, settings, seed, max_len, **kwargs)
    torch.manual_seed(seed)
    vocab_size = settings.vocab_size if vocab_size is None else vocab_size
    return CausalLM(vocab_size, settings.d_model, settings.n_heads, settings.n_layers, encoding)


def batches(settings: Settings, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """What is trained on, (inputs, targets) for every step, each (batch, train_len): the same for every scheme."""
    pairs = task.windows(corpus.load().train, settings.train_len, settings.batch, settings.steps, seed)
    if isinstance(settings, TextAndRecall):
        return task.with_facts(pairs, settings.markers, settings.max_asks, seed)
    return pairs


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
        batches(settings, seed),
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


def segments(settings: Settings, part: str = "report") -> Tensor:
    """Validation text as (segments, longest length + 1) ids, evenly spaced.

    Args:
        settings: of the race. Where settings are chosen (:class:`TextAndRecall`), each half of the text has its use.
        part: "report" or "choice".
    """
    halves = isinstance(settings, TextAndRecall)
    return task.segments(settings.segments, settings.lengths[-1], part if halves else None)


@torch.no_grad()
def _losses(model: CausalLM, text: Tensor, length: int, device: str) -> Tensor:
    """Loss at every position of the windows of ``length`` into which text (n, k length + 1) is cut: (n, k, length)."""
    model.to(device).eval()
    inputs, targets = text[:, :-1].reshape(-1, length), text[:, 1:].reshape(-1, length)
    rows = max(1, 8_192 // length)  # windows at once: keeps memory flat in the length
    parts = []
    for x, y in zip(inputs.split(rows), targets.split(rows), strict=True):
        logits = model(x.to(device))
        parts.append(F.cross_entropy(logits.transpose(1, 2), y.to(device), reduction="none").cpu())
    return torch.cat(parts).view(len(text), -1, length)


def evaluate(
    model: CausalLM, settings: Settings, device: str = "cpu", lengths: tuple[int, ...] | None = None
) -> tuple[dict[int, Tensor], dict[int, float]]:
    """Loss by position at every context length, on the same target characters.

    Returns:
        {length: (length,) mean loss at each position of a window}, and {length: mean loss of the last 32
        characters of every segment, read with exactly this much context before the end}.
    """
    text = segments(settings)
    grids = {length: _losses(model, text, length, device) for length in lengths or settings.lengths}
    loss = {length: grid.mean((0, 1)) for length, grid in grids.items()}
    return loss, {length: grid[:, -1, -LAST:].mean().item() for length, grid in grids.items()}


def last_loss(
    model: CausalLM,
    settings: Settings,
    device: str = "cpu",
    lengths: tuple[int, ...] | None = None,
    part: str = "report",
) -> dict[int, float]:
    """The second part of :func:`evaluate` alone, which needs only the last window of every segment."""
    text = segments(settings, part)
    grids = {length: _losses(model, text[:, -length - 1 :], length, device) for length in lengths or settings.lengths}
    return {length: grid[..., -LAST:].mean().item() for length, grid in grids.items()}


@torch.no_grad()
def recall(
    model: CausalLM,
    settings: TextAndRecall,
    device: str = "cpu",
    lengths: tuple[int, ...] | None = None,
    part: str = "report",
) -> dict[int, Tensor]:
    """Share of the markers recalled, {length: (depths,)}: one window per segment of text, asked at its last token.

    The answer counts as right if its marker is the likeliest of all tokens; chance is one in ``markers`` at best.
    """
    model.to(device).eval()
    text, found = segments(settings, part), {}
    for length in lengths or settings.lengths:
        shares = []
        for depth in settings.depths:
            ids, marker = task.questions(text[:, -length:], settings.markers, depth, seed=length)
            rows = max(1, 8_192 // length)
            states = (model.hidden(x.to(device))[0][:, -1] for x in ids.split(rows))
            answers = torch.cat([model.lm_head(state).argmax(-1).cpu() for state in states])
            shares.append((answers == marker).float().mean())
        found[length] = torch.stack(shares)
    return found


def _chosen_by(model: CausalLM, settings: TextAndRecall, device: str) -> dict[str, float]:
    """Loss and share not recalled at the training length, on the half of the text that is not reported."""
    at = (settings.train_len,)
    missed = 1 - recall(model, settings, device, at, "choice")[settings.train_len].mean().item()
    return {"last": last_loss(model, settings, device, at, "choice")[settings.train_len], "not recalled": missed}


def run(
    contender: str | Contender,
    seed: int = 0,
    preset: str = "quick",
    device: str = "cpu",
    settings: Settings | None = None,
    checkpoint: Path | None = None,
    **kwargs: Any,
) -> Result:
    """Train and read out one contender.

    Args:
        contender: a scheme, the key of a contender, or a :class:`Contender`.
        seed: of the weights and of the batches.
        preset: a key of :data:`PRESETS`; ignored if ``settings`` is given.
        device: "cpu" or "cuda".
        settings: a race of your own.
        checkpoint: see :func:`train`.
        kwargs: scheme arguments, over the contender's own; its name stays.

    Raises:
        ValueError: on an unknown scheme or preset. corpus.MissingText: if the text is not installed.
    """
    contender = Contender.of(contender)
    positive_int("seed", seed, at_least=0)
    settings = settings or PRESETS[one_of("preset", preset, PRESETS)]
    start = time.perf_counter()
    model = make_model(contender, settings, seed, **kwargs)
    losses = train(model, settings, seed, device, f"{contender}{kwargs or ''}, seed {seed}", checkpoint)
    loss, last = evaluate(model, settings, device)
    result = Result(contender.key, seed, settings, loss, last, losses, model=model)
    if isinstance(settings, TextAndRecall):
        result.recall, result.choice = recall(model, settings, device), _chosen_by(model, settings, device)
    result.seconds = time.perf_counter() - start
    return result


# ---------------------------------------------------------------------------------------------- recorded results


def study(preset: str = "quick") -> store.Study:
    """The recorded race of one preset: results/race_PRESET, any number of contenders, rates, budgets and seeds."""
    own = PRESETS[one_of("preset", preset, PRESETS)]
    shared = dataclasses.asdict(own)
    return store.Study(
        f"race_{preset}",
        run=("contender", "lr", "steps", "seed"),
        at=("length", "depth") if isinstance(own, TextAndRecall) else ("length",),
        settings={name: value for name, value in shared.items() if name not in ("lr", "steps")},
        command="python3 tasks.py record fair_race" if preset == "fair" else _recorder(preset),
    )


def _recorder(preset: str) -> str:
    return f"python3 tasks.py record race --preset {preset}"


def _found(
    contender: str | Contender, preset: str, lr: float | None = None, steps: int | None = None
) -> list[store.Run]:
    """The recorded runs of a contender at one rate and budget (the preset's own by default), by seed."""
    key, own = Contender.of(contender).key, PRESETS[one_of("preset", preset, PRESETS)]
    wanted = {"contender": key, "lr": own.lr if lr is None else lr, "steps": steps or own.steps}
    here = study(preset)
    runs = here.load() if here.about.exists() else []
    return [run for run in runs if wanted.items() <= run.key.items()]


def is_recorded(contender: str | Contender, preset: str = "quick") -> bool:
    """Whether any seed of a contender is recorded (ValueError on an unknown scheme)."""
    return bool(_found(contender, preset))


def recorded(
    contender: str | Contender, preset: str = "quick", lr: float | None = None, steps: int | None = None
) -> Band:
    """The recorded seeds of a contender, at the preset's own learning rate and steps unless others are asked for.

    Raises:
        FileNotFoundError: if there are none, naming the command that records them.
    """
    contender = Contender.of(contender)
    runs = _found(contender, preset, lr, steps)
    if not runs:
        raise FileNotFoundError(f"no recorded results for {str(contender)!r}: run `{command(contender, preset)}`.")
    stored = {k: tuple(v) if isinstance(v, list) else v for k, v in study(preset).stored_settings().items()}
    settings = dataclasses.replace(PRESETS[preset], **stored, **{name: runs[0].key[name] for name in ("lr", "steps")})
    return Band(contender.key, settings, [result(run, settings) for run in runs])


def result(run: store.Run, settings: Settings) -> Result:
    """A recorded run as :func:`run` returned it, without its model."""
    found = Result(
        run.key["contender"],
        run.key["seed"],
        settings,
        {c["length"]: torch.tensor(c["values"]) for c in run.curves if c["score"] == "loss"},
        {n: run.value("last", length=n) for n in settings.lengths},
        run.curve("train"),
        run.seconds,
    )
    if isinstance(settings, TextAndRecall):
        found.recall = {
            n: torch.tensor([run.value("recall", length=n, depth=depth) for depth in settings.depths])
            for n in settings.lengths
        }
        found.choice = {name: run.value(f"choice: {name}") for name in ("last", "not recalled")}
    return found


def command(contender: str | Contender, preset: str) -> str:
    """What records a contender, from a fresh shell."""
    key = Contender.of(contender).key
    return f"{_recorder(preset)} --only {key if key.isidentifier() else chr(34) + key + chr(34)}"


def checkpoint_file(contender: str | Contender, seed: int, preset: str = "quick") -> Path:
    """Where the weights of one recorded seed are kept, if they are."""
    return study(preset).folder / f"{Contender.of(contender)}-seed{seed}.safetensors"


def load_model(contender: str | Contender, seed: int, preset: str = "quick", **kwargs: Any) -> CausalLM:
    """A recorded model with its weights, in eval mode. ``kwargs`` reach the scheme (another base, say).

    Raises:
        FileNotFoundError: naming the command that records it. store.BrokenFile: if the weights cannot be read.
    """
    model = make_model(contender, PRESETS[preset], seed, **kwargs)
    model.load_state_dict(store.load_weights(checkpoint_file(contender, seed, preset), command(contender, preset)))
    return model.eval()
