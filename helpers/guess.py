"""Commit, then see: what the reader wrote down before the measurement, beside the measurement."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Sequence
from typing import Any

from .validate import require


def compare(guess: Any, measured: Any, among: Sequence[str] | None = None, digits: int = 2) -> None:
    """Print a guess beside what was measured; nothing but an invitation where the guess is still ``None``.

    Args:
        guess: what the reader wrote: None, a number, a word, or several words in a list or set.
        measured: a number, a word, or several.
        among: the words to choose from, where the guess is one of them.
        digits: of numbers, behind the point.
    """
    if guess is None or guess is ...:
        print("Your guess: none yet.")
        return
    print(verdict(guess, measured, among, digits))


def verdict(guess: Any, measured: Any, among: Sequence[str] | None = None, digits: int = 2) -> str:
    """The line that :func:`compare` prints (arguments as there). It never raises because of a guess."""
    require(among is None or set(_several(measured)) <= set(among), "measured", measured, f"must be among {among}.")
    if isinstance(measured, numbers.Real) and not isinstance(measured, bool):
        number = _number(guess)
        if number is None:
            return f"Your guess, {guess!r}, is no number. Write one, as in: guess = {measured * 0 + 1}"
        off = number - float(measured)
        if round(abs(off), digits) == 0:
            return f"Your guess: {_short(number, digits)}. Measured: {_short(measured, digits)}. You had it."
        side = "too high" if off > 0 else "too low"
        return (
            f"Your guess: {_short(number, digits)}. Measured: {_short(measured, digits)}. "
            f"It was {_short(abs(off), digits)} {side}."
        )
    mine, right = _several(guess), _several(measured)
    unknown = [word for word in mine if among is not None and word not in among]
    if unknown:
        near = difflib.get_close_matches(unknown[0], list(among), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"Your guess, {unknown[0]!r}, is none of {', '.join(map(repr, among))}.{hint}"
    shown = [", ".join(sorted(words)) or "none" for words in (mine, right)]
    same = set(mine) == set(right)
    return f"Your guess: {shown[0]}. Measured: {shown[1]}." + (" You had it." if same else "")


def _number(guess: Any) -> float | None:
    try:
        return None if isinstance(guess, bool) else float(guess)
    except (TypeError, ValueError):
        return None


def _short(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:,.0f}"


def _several(value: Any) -> list[str]:
    """Words in small letters, from one word or several."""
    many = value if isinstance(value, list | tuple | set | frozenset) else [value]
    return [str(word).strip().lower() for word in many]
