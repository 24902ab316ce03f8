"""The recorded studies, one file an experiment."""

from __future__ import annotations

import importlib
import types


def __getattr__(name: str) -> types.ModuleType:
    """Import a module of this folder when it is first asked for (AttributeError if there is none of that name)."""
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"{__name__} has no module {name!r}") from None
