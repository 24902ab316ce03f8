"""The module that the six notebooks share. Encodings, a small transformer, the race, pictures and checks."""

from .display import show, start

__all__ = ["show", "start"]
