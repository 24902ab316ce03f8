"""The module that the six notebooks share. Floors, each knowing only those above it in this list:

* ``validate``: one way to refuse bad input; ``progress``: what a person sees while waiting.
* ``encodings``: one file a family; the contract in ``base``, the registry in ``__init__``.
* ``model``: attention, block, causal language model, encoder, cache. Knows the contract, not the schemes.
* ``corpus``, ``order_tasks``, ``race``, ``retrieval``, ``extend``: text and toy tasks, training, read-out, recorded
  results. ``record`` runs the race in several processes or on a cluster. ``variants``, ``scale_study``, ``indexing``
  and ``attention_bench`` hold one recorded study each.
* ``weights`` finds and verifies real weights; ``pretrained_*`` measure one real model each.
* ``display`` (``start``, ``show``), ``plotting`` (the look, shared pictures), ``pictures_NN`` and ``diagrams`` (the
  longer pictures of one notebook): plumbing, nothing that is taught.
* ``exercises``, ``scorecard``, ``sources`` with ``claims.json``: checks, and what they check against.
"""

from .display import show, start

__all__ = ["show", "start"]
