"""Instant checks of the exercises: they print one line, name the classic mistake, and never raise.

Each notebook's checks live in one module (nb01.py ... nb06.py) that defines

* ``CHECKS``: number of the exercise -> function of the reader's answer that returns None if it is right, or one
  sentence that says what is wrong;
* ``MISTAKES``: number -> {words the feedback must contain: source of a wrong answer}, used by the tests.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

Check = Callable[[Any], "str | None"]


def feedback(number: str, answer: Any) -> str:
    """One line on an answer: "1.1 TODO", "1.1 OK", or "1.1 not yet: <what is wrong>".

    Args:
        number: of the exercise, as in "1.1".
        answer: what the reader wrote: a function, a value, or ``...`` if untouched.
    """
    module = importlib.import_module(f"{__name__}.nb{int(number.split('.')[0]):02d}")
    if answer is ... or answer is None:
        return f"{number} TODO"
    try:
        problem = module.CHECKS[number](answer)
    except Exception as error:  # the reader's code may do anything; the notebook must run on
        problem = f"your code raised {type(error).__name__}: {error}"
    if problem is todo:
        return f"{number} TODO"
    return f"{number} OK" if problem is None else f"{number} not yet: {problem}"


def check(number: str, answer: Any) -> None:
    """Print :func:`feedback`."""
    print(feedback(number, answer))


todo = "TODO"
"""A check returns this very object when the reader's function still returns ``...`` or None."""


def untouched(value: Any) -> bool:
    """True for the placeholders a stub returns: ``...`` or None."""
    return value is ... or value is None
