"""What tasks.py and its tools share. Standard library only, and readable by old Pythons: it is imported first."""

from __future__ import annotations

import argparse
import os
import re


class Stop(Exception):
    """An error the user can act on: printed without a traceback, exit code 1."""


def say(text: str = "") -> None:
    print(text, flush=True)


def many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def positive(text: str) -> int:
    """A number from the command line that must be at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def plain(text: str) -> str:
    """Text without the colors of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def child_environment(**more: str) -> dict:
    """The environment of every process started here: one thread, and a backend that shows figures."""
    env = dict(os.environ, PYDEVD_DISABLE_FILE_VALIDATION="1", JUPYTER_PREFER_ENV_PATH="1", **more)
    env.setdefault("OMP_NUM_THREADS", "1")  # two threads on a busy two-core machine can be ten times slower
    env.pop("MPLBACKEND", None)  # with Agg forced from outside, kernels show no figure at all
    return env
