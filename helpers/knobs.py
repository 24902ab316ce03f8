"""What each parameter of a notebook may be: one table, checked by ``start`` before any work is done.

A value that does not fit would otherwise fail far below, after half a minute, in the words of whatever it broke.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .validate import require


class Knob(NamedTuple):
    """One parameter: its kind, the range within that kind, and what to pass instead of a value that does not fit."""

    kind: type
    fits: Callable[[Any], bool]
    remedy: str


def _five_words(text: str) -> bool:
    words = text.split()
    return len(words) == 5 and words[0] == words[3] and len(set(words)) == 4


KNOBS: dict[str, Knob] = {
    "preset": Knob(str, lambda v: v in ("quick", "full"), 'choose one of "quick", "full".'),
    "seed": Knob(int, lambda v: 0 <= v < 2**32, "must be a whole number from 0 to 4,294,967,295."),
    "device": Knob(str, lambda v: v in ("cpu", "cuda"), 'choose one of "cpu", "cuda".'),
    "figures_dir": Knob(str, lambda v: bool(v.strip()), "name a folder, or pass None to write nothing."),
    "pretrained": Knob(bool, lambda v: True, "must be True or False."),
    "sentence": Knob(
        str, _five_words, 'must be five words, the first and the fourth the same, as in "the cat chased the mouse".'
    ),
    "base": Knob(float, lambda v: 1 < v < math.inf, "must be a finite number above 1, such as 10000."),
    "d_model": Knob(int, lambda v: v >= 32 and v % 4 == 0, "must be a multiple of 4 from 32 on."),
    "head_dim": Knob(int, lambda v: v >= 16 and v % 8 == 0, "must be a multiple of 8 from 16 on, such as 64."),
    "n_heads": Knob(int, lambda v: v >= 2, "must be a whole number of at least 2: one head is compared with another."),
    "factor": Knob(float, lambda v: 1 < v < math.inf, "must be a finite number above 1: how many times longer."),
}
"""Parameter of a notebook -> what it may be. ``figures_dir`` may also be None."""


def check(name: str, value: Any) -> None:
    """Raise ``ValueError`` naming parameter, value and remedy unless ``value`` fits the parameter ``name``."""
    require(name in KNOBS, "parameter", name, f"no notebook has it; choose from {', '.join(KNOBS)}.")
    knob = KNOBS[name]
    if value is None and name == "figures_dir":
        return
    kinds = (int, float) if knob.kind is float else knob.kind
    right = isinstance(value, kinds) and (knob.kind is bool or not isinstance(value, bool))
    text = " It is text: leave out the quotes, and pass it to papermill with -p, not with -r."
    quoted = isinstance(value, str) and knob.kind is not str
    require(right and knob.fits(value), name, value, knob.remedy + quoted * text)
