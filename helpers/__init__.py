"""The module that the six notebooks share. Floors, each knowing only those above it in this list:

* ``validate``: one way to refuse bad input; ``progress``: what a person sees while waiting; ``lazy``: packages whose
  modules are imported on first use.
* ``encodings``: one file per family; the contract in ``base``, the registry in ``__init__``.
* ``model``: attention, block, causal language model, encoder, cache. Knows the contract, not the schemes.
* ``corpus``, ``race``: text, training, read-out, recorded results. ``record`` runs the race in several processes or on
  a cluster. ``studies``: one file per recorded experiment.
* ``pretrained``: real weights, found, verified, read and measured. ``explain``: what a config.json says of positions.
* ``display`` (``start``, ``show``), ``knobs`` (what each parameter of a notebook may be), ``plotting`` (the look,
  shared pictures), ``pictures`` (those of one notebook per file), ``facts`` (what a picture shows, kept inside its
  PNG), ``guess`` (what the reader wrote down, beside the measurement): plumbing, nothing that is taught.
* ``explore``: the pictures that move, one Python and one JavaScript file each. ``check_encoding``: a file to copy.
* ``exercises``, ``scorecard``, ``sources`` with ``data/``: checks, and what they check against. ``dials``: what the
  verdicts of claims were tried on, from the recorded tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .display import show, start

__all__ = ["show", "start"]


def __getattr__(name: str) -> Any:
    """``show`` and ``start`` on first use (PEP 562): who imports only an encoding does not wait for matplotlib."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import display

    return getattr(display, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
