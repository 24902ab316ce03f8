"""The recorded studies, one file per experiment."""

from __future__ import annotations

from ..lazy import modules

__getattr__ = modules(__name__)
