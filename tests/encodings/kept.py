"""Which schemes the course keeps, and so which files of helpers/encodings are experiments.

Every scheme of the registry gets, for nothing, the tests that run over ``SCHEMES``: the contract, shapes, caches,
padding, positions, gradients, saving, a tiny overfit, the race. A scheme that is kept owes more: a closed form and an
implementation that is not ours, arguments and positions that refuse nonsense, constants that survive the meta device
(made with ``device="cpu"``), one graph when compiled, a run of its mutants.
``python3 tasks.py new-encoding NAME`` writes the stubs of all that and adds the name here.
"""

from __future__ import annotations

from collections.abc import Iterable

from helpers.encodings import SCHEMES, build

KEPT = (
    "none",
    "sinusoidal",
    "learned",
    "shaw",
    "deberta",
    "transformer_xl",
    "t5",
    "rope",
    "pope",
    "xpos",
    "alibi",
    "kerple",
    "fire",
    "sandwich",
    "cope",
    "window",
)


def files(names: Iterable[str]) -> set[str]:
    """The files of helpers/encodings, without .py, in which these registered schemes are defined."""
    return {type(build(name)).__module__.rsplit(".", 1)[-1] for name in names}


def experiments() -> set[str]:
    """Files that define registered schemes, but none that is kept. Every other file of the folder is kept."""
    return files(SCHEMES.keys() - set(KEPT)) - files(KEPT)
