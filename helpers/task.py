"""What a model of the race is trained on and asked for: text, and a fact to keep.

Half of the windows of a batch carry one *marker*, one of ``markers`` tokens outside the alphabet, at a random place. At
up to ``max_asks`` places behind it the input is the token "?", and there the target is the marker. Everywhere else the
target is the next character of the text:

    s e n d _ M t _ t h e _ ? o n g r ? s s        half of the windows; targets at both "?": M
    t h e _ s t a t e _ o f _ t h e _ u n i        the other half

So one model has both needs: characters near by for the text, and one token from anywhere behind.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from . import corpus
from .validate import one_of, require

PARTS = ("report", "choice")
"""The two halves of the validation text: settings are chosen on one and reported on the other."""


def windows(data: Tensor, length: int, batch: int, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Random windows, ``steps`` times (inputs, targets), each (batch, length): the same for every scheme at a seed."""
    generator = torch.Generator().manual_seed(seed)
    window = torch.arange(length + 1)
    for _ in range(steps):
        start = torch.randint(len(data) - length - 1, (batch, 1), generator=generator)
        chunk = data[start + window]
        yield chunk[:, :-1], chunk[:, 1:]


def with_facts(
    batches: Iterator[tuple[Tensor, Tensor]], markers: int, max_asks: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of :func:`windows` with a marker and its questions in the first half of the rows.

    Args:
        batches: inputs and targets, each (batch, length), of characters.
        markers: number of marker tokens; their ids follow the alphabet, and "?" follows them.
        max_asks: most questions in a window; each window draws 1 .. max_asks and asks at that many random places
            behind its marker, or at all of them if there are fewer.
        seed: of markers, places and questions.
    """
    generator = torch.Generator().manual_seed(seed)
    for inputs, targets in batches:
        inputs, targets = inputs.clone(), targets.clone()
        rows, length = len(inputs) // 2, inputs.shape[1]
        marker = len(corpus.ALPHABET) + torch.randint(markers, (rows, 1), generator=generator)
        slot = torch.randint(length - 1, (rows, 1), generator=generator)
        asks = torch.randint(1, max_asks + 1, (rows, 1), generator=generator)
        chance = torch.rand(rows, length, generator=generator)
        behind = torch.arange(length) > slot
        rank = chance.masked_fill(~behind, 2.0).argsort(1).argsort(1)  # of each place in a random order, behind first
        ask = behind & (rank < asks)
        inputs[:rows].scatter_(1, slot, marker)
        inputs[:rows][ask] = question_id(markers)
        targets[:rows][ask] = marker.expand(-1, length)[ask]
        yield inputs, targets


def question_id(markers: int) -> int:
    """Token id of "?"."""
    return len(corpus.ALPHABET) + markers


def segments(n: int, longest: int, part: str | None = None) -> Tensor:
    """Validation text as (n, longest + 1) ids, evenly spaced over all of it, or over one of its halves.

    Raises:
        ValueError: on another part than None or one of :data:`PARTS`. corpus.MissingText: if the text is not installed.
    """
    data = corpus.load().valid
    if part is not None:
        half = len(data) // 2
        data = data[half:] if one_of("part", part, PARTS) == "report" else data[:half]
    starts = torch.linspace(0, len(data) - longest - 1, n).long()
    return data[starts[:, None] + torch.arange(longest + 1)]


def questions(text: Tensor, markers: int, depth: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Windows that end in "?" behind one marker at a depth: ids (n, length), and the marker of each, (n,).

    Args:
        text: (n, length) characters, changed at two places.
        markers: number of marker tokens.
        depth: share of the window in [0, 1]: 0 is its far end, 1 the token before "?".
        seed: of the markers.

    Raises:
        ValueError: on a depth outside [0, 1].
    """
    require(0 <= depth <= 1, "depth", depth, "must lie between 0 (far end) and 1 (near end).")
    n, length = text.shape
    generator = torch.Generator().manual_seed(seed)
    marker = len(corpus.ALPHABET) + torch.randint(markers, (n,), generator=generator)
    ids = text.clone()
    ids[:, slot(length, depth)] = marker
    ids[:, -1] = question_id(markers)
    return ids, marker


def slot(length: int, depth: float) -> int:
    """Index of the marker in a window of ``length`` whose last token asks."""
    return int(depth * (length - 2))
