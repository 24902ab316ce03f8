"""The module that the six notebooks share. Floors, each knowing only those above it in this list:

* ``validate``: one way to refuse bad input; ``progress``: what a person sees while waiting.
* ``encodings``: one file a family; the contract in ``base``, the registry in ``__init__``.
* ``model``: attention, block, causal language model, encoder, cache. Knows the contract, not the schemes.
* ``corpus``, ``race``: text, training, read-out, recorded results. ``record`` runs the race in several processes or on
  a cluster. ``studies``: one file a recorded experiment.
* ``pretrained``: real weights, found, verified, read and measured.
* ``display`` (``start``, ``show``), ``plotting`` (the look, shared pictures), ``pictures`` (those of one notebook a
  file): plumbing, nothing that is taught.
* ``exercises``, ``scorecard``, ``sources`` with ``data/``: checks, and what they check against.
"""

from .display import show, start

__all__ = ["show", "start"]
