"""Instant checks of the exercises: they print one line, name the classic mistake, and never raise.

Each notebook's checks live in one module (nb01.py ... nb06.py) that defines

* ``CHECKS``: number of the exercise -> function of the reader's answer that returns None if it is right, or one
  sentence that says what is wrong;
* ``MISTAKES``: number -> {words the feedback must contain: source of a wrong answer}, used by the tests.
"""

from __future__ import annotations

import functools
import importlib
import reprlib
from collections.abc import Callable
from typing import Any

Check = Callable[[Any], "str | None"]

todo = "TODO"
"""What a check returns when the reader's function still returns ``...`` or None."""


def feedback(number: str, answer: Any) -> str:
    """One line on an answer: "1.1 TODO", "1.1 OK", or "1.1 not yet: <what is wrong>".

    Args:
        number: of the exercise, as in "1.1".
        answer: what the reader wrote: a function, a value, or ``...`` if untouched. Whatever it is, there is an answer.
    """
    module = importlib.import_module(f"{__name__}.nb{int(number.split('.')[0]):02d}")
    if untouched(answer):
        return f"{number} TODO"
    theirs = _Watched(answer) if callable(answer) and not isinstance(answer, type) else None
    try:
        problem = module.CHECKS[number](theirs or answer)
    except (Exception, SystemExit) as error:  # the reader's code may do anything; the notebook must run on
        problem = _misread(error, answer, theirs)
    if problem == todo:
        return f"{number} TODO"
    return f"{number} OK" if problem is None else f"{number} not yet: {problem}"


def check(number: str, answer: Any) -> None:
    """Print :func:`feedback`."""
    print(feedback(number, answer))


def untouched(value: Any) -> bool:
    """True for the placeholders a stub returns: ``...`` or None."""
    return value is ... or value is None


class _Watched:
    """The reader's function, with its last result and its last error: whose fault is an exception in a check?"""

    def __init__(self, function: Callable):
        functools.update_wrapper(self, function)
        self.function, self.result, self.error = function, None, None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            self.result = self.function(*args, **kwargs)
        except BaseException as error:
            self.error = error
            raise
        return self.result


def _misread(error: BaseException, answer: Any, theirs: _Watched | None) -> str:
    """What to say of an exception: the reader's code raised it, or the check could not read what it was given."""
    if isinstance(answer, type) or (theirs and theirs.error is error):
        said = (str(error).splitlines() or [""])[0]
        return f"your code raised {type(error).__name__}: {said}"
    value, what = (theirs.result, "your function returned") if theirs else (answer, "your answer is")
    shown = reprlib.repr(value).replace("\n", " ")
    return f"{what} {shown} ({type(value).__name__}), which cannot be read here: see the stub for what is asked."
