"""Two toy tasks of notebook 01: what order costs, and what costs nothing without it.

* *order*: one A and one B among noise; does A come before B? Only positions decide.
* *bag*: an odd number of As and Bs among noise; are there more As? Only counts decide.

Both are scored by the mean over tokens of a small bidirectional encoder. A fixed token that stands nowhere else may
open every sequence, or open and close it, as an encoder's [CLS] does (:data:`FRAMES`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import race, record, store, training
from ..encodings import Encoding
from ..model import Encoder
from ..validate import one_of, positive_int, require

A, B = 0, 1
"""Ids of the two tokens that matter; every other id is noise."""

SYMBOLS = "AB·:-+~="
"""One printable symbol a token id."""

FRAMES = {"none": (0, 0), "first": (1, 0), "both ends": (1, 1)}
"""Name -> how many fixed tokens stand before and behind the noise. All have one id, ``vocab_size``."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that defines an order or bag experiment but the scheme and the seed. Stated before any result."""

    seq_len: int = 16
    vocab_size: int = 8
    d_model: int = 32
    n_heads: int = 4
    n_layers: int = 1
    batch: int = 64
    steps: int = 300
    lr: float = 3e-3
    warmup: int = 30
    test: int = 4096  # fresh sequences that accuracy is measured on
    frame: str = "none"  # a key of FRAMES: fixed tokens around the seq_len others

    def __post_init__(self) -> None:
        one_of("frame", self.frame, FRAMES)

    @property
    def train_len(self) -> int:
        """Tokens of a sequence, fixed ones included."""
        return self.seq_len + sum(FRAMES[self.frame])

    @property
    def lengths(self) -> tuple[int, ...]:
        """Read-out lengths: the one it is trained on."""
        return (self.train_len,)


def framed(ids: Tensor, settings: Settings) -> Tensor:
    """``ids`` (n, seq_len) with the fixed tokens of ``settings.frame`` around them, (n, train_len)."""
    return F.pad(ids, FRAMES[settings.frame], value=settings.vocab_size)


def order_batch(n: int, settings: Settings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``n`` sequences with one A and one B: ids (n, train_len) int64, and 1 where A stands before B, (n,) int64."""
    ids = torch.randint(2, settings.vocab_size, (n, settings.seq_len), generator=generator)
    seats = torch.rand(n, settings.seq_len, generator=generator).argsort(1)[:, :2]  # two different seats a row
    ids.scatter_(1, seats, torch.tensor([[A, B]]).expand(n, 2))
    return framed(ids, settings), (seats[:, 0] < seats[:, 1]).long()


def bag_batch(n: int, settings: Settings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``n`` sequences with an odd number of As and Bs (no ties): ids (n, train_len), and 1 where As are more, (n,)."""
    ids = torch.randint(2, settings.vocab_size, (n, settings.seq_len), generator=generator)
    rank = torch.rand(n, settings.seq_len, generator=generator).argsort(1).argsort(1)
    voters = rank < 2 * torch.randint(1, settings.seq_len // 2, (n, 1), generator=generator) - 1
    ids[voters] = torch.randint(2, (int(voters.sum()),), generator=generator)
    return framed(ids, settings), ((ids == A).sum(1) > (ids == B).sum(1)).long()


TASKS: dict[str, Callable[[int, Settings, torch.Generator], tuple[Tensor, Tensor]]] = {
    "order": order_batch,
    "bag": bag_batch,
}


def sample(task: str, n: int, seed: int = 0, settings: Settings | None = None) -> tuple[Tensor, Tensor]:
    """``n`` sequences of a task and their labels: ids (n, train_len), labels (n,). ValueError on an unknown task."""
    one_of("task", task, TASKS)
    positive_int("n", n)
    return TASKS[task](n, settings or Settings(), torch.Generator().manual_seed(seed))


def train_and_score(
    task: str,
    encoding: str | race.Contender | Encoding,
    seed: int = 0,
    settings: Settings | None = None,
    device: str = "cpu",
) -> float:
    """Train an encoder on fresh sequences of a task and test it on others.

    Args:
        task: "order" or "bag".
        encoding: a registered scheme, a contender, or an :class:`~helpers.encodings.Encoding` of your own.
        seed: of the weights and the training sequences. The test sequences are the same for all.
        settings: an experiment of your own.
        device: "cpu" or "cuda".

    Returns:
        The share of test sequences answered correctly, 0 to 1; chance is 0.5.

    Raises:
        ValueError: on an unknown task or scheme, or a negative seed.
    """
    one_of("task", task, TASKS)
    positive_int("seed", seed, at_least=0)
    s = settings or Settings()
    model = make_encoder(encoding, seed, s)
    generator = torch.Generator().manual_seed(seed)
    name = type(encoding).__name__ if isinstance(encoding, Encoding) else str(encoding)
    training.fit(
        model,
        (TASKS[task](s.batch, s, generator) for _ in range(s.steps)),
        lambda model, ids, labels: F.cross_entropy(model.pooled(ids), labels),
        steps=s.steps,
        lr=s.lr,
        schedule=training.warm_up(s.warmup),
        betas=(0.9, 0.999),
        weight_decay=0.01,
        clip=None,
        device=device,
        label=f"{task}, {name}, seed {seed}",
    )
    ids, labels = sample(task, s.test, seed=10**6, settings=s)
    with torch.no_grad():
        return (model.eval().pooled(ids.to(device)).argmax(-1).cpu() == labels).float().mean().item()


def make_encoder(encoding: str | race.Contender | Encoding, seed: int, settings: Settings) -> Encoder:
    """A fresh encoder with two outputs. At one seed all schemes share the initial values of the common weights.

    Raises:
        ValueError: if ``encoding`` is neither the name of a scheme, nor a contender, nor an Encoding.
    """
    if isinstance(encoding, str | race.Contender):
        encoding = race.make_encoding(encoding, settings, seed)
    require(
        isinstance(encoding, Encoding), "encoding", encoding, "pass the name of a scheme, a contender or an Encoding."
    )
    torch.manual_seed(seed)
    vocab_size = settings.vocab_size + (settings.frame != "none")
    return Encoder(vocab_size, settings.d_model, settings.n_heads, settings.n_layers, encoding, out_dim=2)


# ---------------------------------------------------------------------------------------------- recorded results

COMMAND = "python3 tasks.py record order_tasks"
PAIRS = (("order", "none"), ("order", "sinusoidal"), ("order", "learned"), ("bag", "none"))
DIALS = ((3e-3, 300), (1e-2, 300), (3e-3, 800))
"""Rates and steps that are recorded, with two seeds: those of notebook 01, about three times its rate, and more steps.
Stated on 2026-11-30, before any of these runs."""


def study() -> store.Study:
    """Where it is recorded: results/order_tasks."""
    names = ("seq_len", "vocab_size", "d_model", "n_heads", "n_layers", "batch", "warmup", "test")
    shared = {name: getattr(Settings(), name) for name in names}
    return store.Study("order_tasks", ("task", "contender", "lr", "steps", "seed"), (), shared, COMMAND)


def record_run(task: str, contender: str, lr: float, steps: int, seed: int, device: str) -> store.Run:
    """One encoder on one task at one rate, budget and seed: its accuracy."""
    accuracy = train_and_score(task, contender, seed, Settings(lr=lr, steps=steps), device)
    return store.Run([{"score": "accuracy", "value": round(accuracy, 4)}], made=store.provenance(device))


def main(argv: list[str] | None = None) -> None:
    """Record what is missing of the two tasks."""
    args = record.parser(COMMAND, main.__doc__, 2).parse_args(argv)
    runs = [(*pair, *dial, seed) for pair, dial, seed in itertools.product(PAIRS, DIALS, range(args.seeds))]
    record.record(study(), runs, record_run, **record.spread(args))
