"""Real trained weights: found and verified (``weights``), read, run and measured, one model each."""

from __future__ import annotations

from ..lazy import modules

__getattr__ = modules(__name__)
