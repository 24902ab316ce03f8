"""What one fixed token does for an encoder with symmetric ALiBi: the order task with and without it.

The bias of a reversed text is the reversed bias, so the encoder answers a text and its mirror image alike. That makes
the order task unlearnable only where the mirror image is itself an input. A fixed token in front takes that away; the
same token at both ends gives it back.

Settings, stated on 2026-11-30 before any of these runs was recorded: the order task as notebook 01 has it. Symmetric
slopes behind a fixed token with one layer and two, 300 steps and 800, three seeds. Where the proof says one half,
without the token and with it at both ends, one seed or two, and two layers get 300 steps only. Controls with one
layer and one seed: slopes that differ between past and future without a fixed token, and no encoding at all behind a
fixed token. (Three seeds were planned throughout; those of the controls were struck to save time while the first runs
came in.)

``python3 tasks.py record first_token`` records it.
"""

from __future__ import annotations

from .. import record, store
from ..encodings.alibi import alibi_slopes
from ..race import Contender
from .order_tasks import Settings, train_and_score

SYMMETRIC = Contender("alibi")
ASYMMETRIC = Contender("alibi", {"future_slopes": alibi_slopes(Settings().n_heads).flip(0).tolist()})
"""The same slopes for keys ahead, in reverse order of heads."""

RUNS = (
    *((SYMMETRIC, "first", layers, steps, 3) for layers in (1, 2) for steps in (300, 800)),
    *((SYMMETRIC, frame, 1, steps, 2) for frame in ("none", "both ends") for steps in (300, 800)),
    (SYMMETRIC, "none", 2, 300, 2),
    (SYMMETRIC, "both ends", 2, 300, 1),
    (ASYMMETRIC, "none", 1, 300, 2),
    (Contender("none"), "first", 1, 300, 1),
    (Contender("none"), "first", 1, 800, 1),
)
"""Contender, frame (a key of :data:`helpers.studies.order_tasks.FRAMES`), layers, steps, and number of seeds."""


def keys() -> list[tuple[str, str, int, int, int]]:
    """The keys of all runs."""
    return [(contender.key, *rest, seed) for contender, *rest, seeds in RUNS for seed in range(seeds)]


COMMAND = "python3 tasks.py record first_token"


def study() -> store.Study:
    """Where it is recorded: results/first_token."""
    shared = {
        name: getattr(Settings(), name) for name in ("seq_len", "vocab_size", "d_model", "n_heads", "batch", "lr")
    }
    run = ("contender", "frame", "layers", "steps", "seed")
    return store.Study("first_token", run, (), shared, COMMAND)


def recorded(contender: Contender, frame: str, **where: int) -> list[float]:
    """Share of order questions answered right, 0 to 1, one number a run; ``where`` picks layers, steps or seeds.

    Raises:
        FileNotFoundError: naming the command that records it.
    """
    wanted = {"contender": contender.key, "frame": frame, **where}
    return [run.value("accuracy") for run in study().load() if wanted.items() <= run.key.items()]


def record_run(contender: str, frame: str, layers: int, steps: int, seed: int, device: str) -> store.Run:
    """One condition at one depth, budget and seed."""
    settings = Settings(n_layers=layers, steps=steps, frame=frame)
    right = train_and_score("order", Contender.of(contender), seed, settings, device)
    return store.Run([{"score": "accuracy", "value": round(right, 4)}], made=store.provenance(device))


def main(argv: list[str] | None = None) -> None:
    """Record what is missing of the order task behind a fixed token."""
    args = record.parser(COMMAND, main.__doc__, None).parse_args(argv)
    record.record(study(), keys(), record_run, **record.spread(args))
