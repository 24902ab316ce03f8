"""The text race with ALiBi's slopes turned, beside the other biases and RoPE: does a ranking survive?

Settings, stated on 2026-11-30 before any of these runs was recorded. Four heads, so an ALiBi ladder is four slopes with
ratios of 4 (the authors' for four heads) or of 2. Four ladders at two learning rates, two seeds at least, the race
otherwise as it is. Nothing is tuned: every ladder and rate that was tried is in the table. (A third seed, 1,600 steps
and the higher rate for Sandwich, FIRE and CoPE were planned and struck for want of time; other budgets and Sandwich at
both rates are in the fair race.)

``python3 tasks.py record slope_ladders`` adds what is missing to results/race_quick.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from .. import race, record
from ..race import Contender

LADDERS: dict[str, Contender] = {
    "1/4 to 1/256": Contender("alibi"),
    "1/2 to 1/16": Contender("alibi", {"slopes": [1 / 2, 1 / 4, 1 / 8, 1 / 16]}),
    "1 to 1/8": Contender("alibi", {"slopes": [1, 1 / 2, 1 / 4, 1 / 8]}),
    "2 to 1/4": Contender("alibi", {"slopes": [2, 1, 1 / 2, 1 / 4]}),
}
"""Name -> ALiBi with these four slopes; the first is the authors' ladder for four heads."""

RATES = (race.PRESETS["quick"].lr, 9e-3)


@dataclasses.dataclass(frozen=True)
class Part:
    """Contenders that share rates and a number of seeds."""

    contenders: Sequence[Contender]
    rates: Sequence[float]
    seeds: int


PARTS = (
    Part(tuple(LADDERS.values()), RATES, 2),
    Part((Contender("kerple"), Contender("rope")), RATES, 1),
    Part((Contender("sandwich"), Contender("fire"), Contender("cope")), RATES[:1], 3),
)
"""All that is recorded for this study, or shown beside it."""

COMMAND = "python3 tasks.py record slope_ladders"


def bands(rate: float) -> dict[str, race.Band]:
    """The ladders and what stands beside them at one learning rate: {contender's key: band}.

    Raises:
        FileNotFoundError: if there is nothing at this rate, naming the command that records it.
    """
    shown = [contender for part in PARTS if rate in part.rates or rate not in RATES for contender in part.contenders]
    return {contender.key: race.recorded(contender, lr=rate) for contender in shown}


def main(argv: list[str] | None = None) -> None:
    """Record what is missing of the text race with other slopes of ALiBi, at two rates."""
    args = record.parser(COMMAND, main.__doc__, None).parse_args(argv)
    for part in PARTS:
        record.record_race(part.contenders, part.seeds, lr=part.rates, **record.spread(args))
