"""One shared way to refuse bad input: a ValueError that names the argument, the value and the remedy."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def require(condition: bool, argument: str, value: Any, remedy: str) -> None:
    """Raise ``ValueError`` unless ``condition`` holds.

    Args:
        condition: what must be true.
        argument: the name of the offending argument, as the caller wrote it.
        value: the value received.
        remedy: what to pass instead, as the end of the sentence "<argument>=<value>: ...".

    Raises:
        ValueError: if ``condition`` is false.
    """
    if not condition:
        raise ValueError(f"{argument}={value!r}: {remedy}")


def readable(value: Tensor) -> bool:
    """Whether the numbers of a tensor can be looked at: not on the meta device, and not while a model is compiled."""
    return not (value.is_meta or torch.compiler.is_compiling())


def positive_int(argument: str, value: Any, at_least: int = 1) -> int:
    """Return ``value`` as an int, or raise ``ValueError`` if it is not an integer >= ``at_least``."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    require(whole and value >= at_least, argument, value, f"must be an integer of at least {at_least}.")
    return int(value)


def positive_number(argument: str, value: Any, at_least: float | None = None) -> float:
    """Return ``value`` as a float, or raise ``ValueError`` if it is not finite and > 0 (or >= ``at_least``).

    Finite means: in float32, where models compute. 1e39 is infinite there, and 1e-46 is 0.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    finite = real and math.isfinite(value)
    if at_least is None:
        require(finite and value > 0, argument, value, "must be a finite number above 0.")
    else:
        require(finite and value >= at_least, argument, value, f"must be a finite number of at least {at_least}.")
    return _in_float32(argument, value, may_vanish=at_least is not None)


def number(argument: str, value: Any, above: float = -math.inf, at_most: float = math.inf) -> float:
    """Return ``value`` as a float, or raise ``ValueError`` if it is not finite, > ``above`` and <= ``at_most``.

    Finite as in :func:`positive_number`.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    limits = [f"above {above:g}"] * (above > -math.inf) + [f"at most {at_most:g}"] * (at_most < math.inf)
    remedy = f"must be a finite number{' ' * bool(limits)}{' and '.join(limits)}."
    require(real and math.isfinite(value) and above < value <= at_most, argument, value, remedy)
    return _in_float32(argument, value, may_vanish=above < 0)


def _in_float32(argument: str, value: Any, may_vanish: bool) -> float:
    """Return ``value`` as a float; ``ValueError`` if float32 has it as infinite, or as 0 where 0 is not meant."""
    limits = torch.finfo(torch.float32)
    fits = abs(value) <= limits.max and (may_vanish or abs(value) >= limits.tiny)
    require(fits, argument, value, "is outside the range of float32, 1.2e-38 to 3.4e38, in which models compute.")
    return float(value)


def vector(argument: str, value: Any, length: int) -> Tensor:
    """Return ``value`` as a float64 tensor (length,), or raise ``ValueError`` if it is not that many finite numbers.

    It is a copy and no part of a graph: what the caller does to ``value`` later does not reach the encoding. It is on
    the CPU, whatever the default device is: not every device has float64, and "meta" has no numbers.
    """
    try:
        out = torch.as_tensor(value.cpu() if isinstance(value, Tensor) else value, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        out = None
    remedy = f"must have shape ({length},): that many numbers."
    require(out is not None, argument, value, remedy)
    require(out.shape == (length,), argument, tuple(out.shape), remedy)
    finite = bool(out.float().isfinite().all())  # also in float32, where models compute
    require(finite, argument, out.tolist(), "must be finite numbers, below 3.4e38.")
    return out.detach().clone()


def integers(argument: str, value: Tensor) -> Tensor:
    """Return ``value``, or raise ``ValueError`` if its dtype is not an integer one: its numbers are rows of a table."""
    whole = not value.is_floating_point()
    require(whole, argument, value.dtype, "a table has a row for whole numbers only; use integers.")
    return value


def flag(argument: str, value: Any) -> bool:
    """Return ``value``, or raise ``ValueError`` if it is neither True nor False."""
    require(isinstance(value, bool), argument, value, "must be True or False.")
    return value


def even_int(argument: str, value: Any, why: str, at_least: int = 2) -> int:
    """Return ``value`` as an int, or raise ``ValueError`` if it is odd or below ``at_least`` (``why`` says why)."""
    positive_int(argument, value, at_least)
    require(value % 2 == 0, argument, value, f"must be even, because {why}; use {value - 1} or {value + 1}.")
    return int(value)


def one_of(argument: str, value: Any, choices: Iterable[Any]) -> Any:
    """Return ``value``, or raise ``ValueError`` listing ``choices`` if it is not among them."""
    choices = list(choices)
    known = any(isinstance(value, type(choice)) and value == choice for choice in choices)
    require(known, argument, value, f"choose one of {', '.join(map(repr, choices))}.")
    return value
