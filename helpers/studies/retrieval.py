"""The second tiny model, one that has learned to recall: a low loss on text does not show that a context is *used*.

A sequence is noise, but for one ``SET v`` at a random even slot. Wherever ``GET`` stands later, the next token is v:

    noise noise SET v noise GET(v) noise noise GET(v) ... GET(v)

Trained on ``train_len`` tokens, loss on the answers alone. Read out as a grid: ``SET v`` planted at a depth (a share of
the window, 0 is the far end) of windows up to eight times as long, one ``GET`` as the very last token; accuracy is the
share answered right. Chance is one in ``n_symbols``.

``python3 tasks.py record retrieval`` records five seeds of every contender, with weights.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import race, record, store, training
from ..model import CausalLM
from ..race import Contender
from ..validate import positive_int, require

IGNORE = -100
"""Target of the positions that are not asked."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that defines the task, the model and its training but the scheme and the seed.

    Batch and steps were chosen so that RoPE recalls at its training length; all schemes get the same.
    """

    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 2
    train_len: int = 64
    batch: int = 64
    steps: int = 500
    lr: float = 3e-3
    weight_decay: float = 0.01
    n_symbols: int = 32
    max_ask_share: float = 0.4  # of the tokens after SET v that are GET in training: each sequence draws 0 .. this
    lengths: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 0.95)
    samples: int = 128  # sequences a cell of the grid

    @property
    def set_id(self) -> int:
        """Token id of SET."""
        return self.n_symbols

    @property
    def get_id(self) -> int:
        """Token id of GET."""
        return self.n_symbols + 1

    @property
    def vocab_size(self) -> int:
        """Symbols, SET and GET."""
        return self.n_symbols + 2


QUICK = Settings()

CONTENDERS: dict[str, Contender] = {
    "none": Contender("none"),
    "rope": Contender("rope"),
    "alibi": Contender("alibi"),
    "alibi_steep": Contender("alibi", {"slopes": [1 / 2, 1 / 4, 1 / 8, 1 / 16]}),
}
"""Short name -> contender. Any other contender can be run and recorded too, by its key."""


def contender(name: str | Contender) -> Contender:
    """The contender of a short name or a key (ValueError on an unknown one)."""
    return CONTENDERS[name] if name in CONTENDERS else Contender.of(name)


@dataclasses.dataclass
class Result:
    """One trained contender.

    Attributes:
        name: the contender's key.
        accuracy: share answered right, {length: (depths,)}.
        train: training loss of the answers, one number a step.
        model: the trained model, or None if the result was read from a file.
    """

    name: str
    seed: int
    settings: Settings
    accuracy: dict[int, Tensor]
    train: list[float]
    seconds: float = 0.0
    model: CausalLM | None = None


@dataclasses.dataclass
class Band:
    """The recorded seeds of one contender."""

    name: str
    settings: Settings
    results: list[Result]

    def grid(self) -> Tensor:
        """Share answered right, (seeds, depths, lengths)."""
        return torch.stack([torch.stack([r.accuracy[n] for n in self.settings.lengths], dim=1) for r in self.results])

    def converged(self, at_least: float = 0.9) -> list[int]:
        """Seeds whose mean accuracy at the training length is at least this share."""
        return [r.seed for r in self.results if r.accuracy[self.settings.train_len].mean() >= at_least]


# -------------------------------------------------------------------------------------------------------- task


def make_batch(
    settings: Settings, n: int, length: int, generator: torch.Generator, depth: float | None = None
) -> tuple[Tensor, Tensor]:
    """Sequences and targets, both (n, length) int64; targets are IGNORE where nothing is asked.

    Args:
        settings: of the task.
        n: number of sequences.
        length: tokens in each, at least 4.
        generator: source of all chance.
        depth: None for training (SET anywhere, GETs sprinkled over the rest); a share of the window in [0, 1] for the
            grid (SET there, one GET at the very end).

    Raises:
        ValueError: on a length below 4 or a depth outside [0, 1].
    """
    positive_int("length", length, at_least=4)
    require(depth is None or 0 <= depth <= 1, "depth", depth, "must lie between 0 (far end) and 1 (near end).")
    ids = torch.randint(settings.n_symbols, (n, length), generator=generator)
    value = torch.randint(settings.n_symbols, (n, 1), generator=generator)
    ask = torch.zeros(n, length, dtype=torch.bool)
    if depth is None:
        slot = 2 * torch.randint(length // 2 - 1, (n, 1), generator=generator)
        later = torch.arange(length) > slot + 1
        share = settings.max_ask_share * torch.rand(n, 1, generator=generator)  # some sequences ask only once
        ask = later & (torch.rand(n, length, generator=generator) < share)
    else:
        slot = torch.full((n, 1), 2 * int(depth * (length // 2 - 2)))
    ask[:, -1] = True
    ids[ask] = settings.get_id
    ids.scatter_(1, slot, settings.set_id).scatter_(1, slot + 1, value)
    return ids, value.expand(n, length).masked_fill(~ask, IGNORE)


def make_model(name: str | Contender, settings: Settings = QUICK, seed: int = 0, **kwargs: Any) -> CausalLM:
    """A fresh model of a contender; ``kwargs`` are scheme arguments, over its own (``inv_freq`` for RoPE, say)."""
    return race.make_model(contender(name), settings, seed, vocab_size=settings.vocab_size, **kwargs)


# -------------------------------------------------------------------------------------------- train and read out


def answers(model: CausalLM, ids: Tensor, targets: Tensor) -> Tensor:
    """Mean loss of the answers alone in nats; ids and targets (B, T)."""
    return F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), ignore_index=IGNORE)


def train(model: CausalLM, settings: Settings, seed: int, device: str = "cpu", label: str = "recall") -> list[float]:
    """Train in place: AdamW, one cycle of the learning rate, clipping; returns the loss of every step in nats.

    To fine-tune at another length pass ``dataclasses.replace(settings, train_len=256, batch=8, steps=60, lr=1e-3)``.
    """
    generator = torch.Generator().manual_seed(seed)
    data = (make_batch(settings, settings.batch, settings.train_len, generator) for _ in range(settings.steps))
    return training.fit(
        model,
        data,
        answers,
        steps=settings.steps,
        lr=settings.lr,
        schedule=training.one_cycle(settings.lr, settings.steps),
        weight_decay=settings.weight_decay,
        device=device,
        label=label,
    )


@torch.no_grad()
def evaluate(
    model: CausalLM,
    settings: Settings = QUICK,
    device: str = "cpu",
    lengths: tuple[int, ...] | None = None,
    depths: tuple[float, ...] | None = None,
) -> dict[int, Tensor]:
    """Share answered right, {length: (depths,)}: the same sequences for every scheme and every seed."""
    model.to(device).eval()
    grid = {}
    for length in lengths or settings.lengths:
        row = []
        for depth in depths or settings.depths:
            generator = torch.Generator().manual_seed(10_000 + length)
            ids, targets = make_batch(settings, settings.samples, length, generator, depth)
            right = 0
            for x, y in zip(ids.split(32), targets[:, -1].split(32), strict=True):
                logits = model.lm_head(model.hidden(x.to(device))[0][:, -1])
                right += (logits.argmax(-1).cpu() == y).sum().item()
            row.append(right / settings.samples)
        grid[length] = torch.tensor(row)
    return grid


def run(
    name: str | Contender, seed: int = 0, settings: Settings | None = None, device: str = "cpu", **kwargs: Any
) -> Result:
    """Train and read out one contender.

    Args:
        name: of :data:`CONTENDERS`, or the key of any contender.
        seed: of the weights and of the sequences.
        settings: of the task, the model and its training; :data:`QUICK` by default.
        device: "cpu" or "cuda".
        kwargs: scheme arguments, over the contender's own; its name stays.

    Raises:
        ValueError: on an unknown name or a negative seed.
    """
    key, settings = contender(name).key, settings or QUICK
    positive_int("seed", seed, at_least=0)
    start = time.perf_counter()
    model = make_model(name, settings, seed, **kwargs)
    losses = train(model, settings, seed, device, f"recall, {key}, seed {seed}")
    accuracy = evaluate(model, settings, device)
    return Result(key, seed, settings, accuracy, losses, time.perf_counter() - start, model)


# ---------------------------------------------------------------------------------------------- recorded results


COMMAND = "python3 tasks.py record retrieval"


def study() -> store.Study:
    """Where it is recorded: results/retrieval."""
    return store.Study("retrieval", ("contender", "seed"), ("length", "depth"), dataclasses.asdict(QUICK), COMMAND)


def checkpoint_file(name: str | Contender, seed: int) -> Path:
    """Where the weights of one recorded seed are kept."""
    return study().folder / f"{contender(name)}-seed{seed}.safetensors"


def recorded(name: str | Contender) -> Band:
    """The recorded seeds of a contender (FileNotFoundError, naming the command that records it, if there are none)."""
    key = contender(name).key
    runs = [run for run in study().load() if run.key["contender"] == key]
    if not runs:
        raise FileNotFoundError(f"no recorded results for {name!r}: run `{COMMAND} --only {name}`.")
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in study().stored_settings().items()}
    settings = Settings(**fields)

    def accuracy(run: store.Run, length: int) -> Tensor:
        return torch.tensor([run.value("accuracy", length=length, depth=depth) for depth in settings.depths])

    results = [
        Result(
            key,
            run.key["seed"],
            settings,
            {n: accuracy(run, n) for n in settings.lengths},
            run.curve("train"),
            run.seconds,
        )
        for run in runs
    ]
    return Band(key, settings, results)


def load_model(name: str | Contender, seed: int, **kwargs: Any) -> CausalLM:
    """A recorded model with its weights, in eval mode. ``kwargs`` reach the scheme (stretched frequencies, say).

    Raises:
        ValueError: on an unknown name. FileNotFoundError: naming the command that records it.
    """
    model = make_model(name, QUICK, seed, **kwargs)
    model.load_state_dict(store.load_weights(checkpoint_file(name, seed), f"{COMMAND} --only {name}"))
    return model.eval()


def record_run(contender: str, seed: int, device: str, settings: Settings) -> store.Run:
    """One contender at one seed."""
    result = run(contender, seed, settings, device)
    return store.Run(
        rows=[
            {"length": n, "depth": depth, "score": "accuracy", "value": round(value, 4)}
            for n, row in result.accuracy.items()
            for depth, value in zip(settings.depths, row.tolist(), strict=True)
        ],
        curves=[{"score": "train", "values": record.rounded(result.train, 3)}],
        weights={checkpoint_file(contender, seed).name: store.weights(result.model.state_dict())},
        made=store.provenance(device),
    )


def main(argv: list[str] | None = None) -> None:
    """Record what is missing of the recall task. --only takes any contender, as "rope[base=500]"."""
    args = record.parser(COMMAND, main.__doc__, 5, CONTENDERS, contender).parse_args(argv)
    runs = [(contender(name).key, seed) for name, seed in itertools.product(args.only, range(args.seeds))]
    record.record(study(), runs, functools.partial(record_run, settings=QUICK), **record.spread(args))
