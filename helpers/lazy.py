"""A package whose modules are imported when they are first asked for: who wants one does not wait for all."""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable


def modules(package: str) -> Callable[[str], types.ModuleType]:
    """The ``__getattr__`` of a package, by its ``__name__`` (PEP 562).

    It imports the module of that name, and raises AttributeError if the package has none.
    """

    def module(name: str) -> types.ModuleType:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return importlib.import_module(f"{package}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{package}.{name}":  # the module is there, and misses something itself
                raise
            raise AttributeError(f"{package} has no module {name!r}") from None

    return module
