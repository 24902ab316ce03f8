"""The pictures of each notebook (``nb01`` .. ``nb06``) and the diagram that they share (``doors``)."""

from __future__ import annotations

from ..lazy import modules

__getattr__ = modules(__name__)
