"""Progress that a person sees while waiting and that no saved notebook, test or papermill run ever contains."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def someone_is_watching() -> bool:
    """True in a notebook front end or a terminal with a person behind it.

    nbval, papermill and nbconvert all execute with ``allow_stdin=False``; JupyterLab, VS Code and Colab do not.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return sys.stderr.isatty()
    return bool(getattr(kernel, "_allow_stdin", False))


def track(items: Iterable[T], total: int, label: str, every: float = 0.5) -> Iterator[T]:
    """Yield ``items``, showing "label: done/total, seconds" about twice a second if someone is watching.

    Args:
        items: anything iterable.
        total: how many there are.
        label: shown in front.
        every: seconds between two updates.
    """
    if not someone_is_watching():
        yield from items
        return
    start = last = time.perf_counter()
    show = _Line()
    for done, item in enumerate(items):
        now = time.perf_counter()
        if now - last >= every or done == 0:
            show.write(f"{label}: {done}/{total}, {now - start:.0f} s")
            last = now
        yield item
    show.clear()


class _Line:
    """One line that is rewritten and finally vanishes: a display handle in a notebook, stderr in a terminal."""

    def __init__(self) -> None:
        self.handle = None
        self.notebook = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)() is not None

    def write(self, text: str) -> None:
        if not self.notebook:
            print(f"\r{text:<70}", end="", file=sys.stderr, flush=True)
            return
        from IPython.display import display

        bundle = {"text/plain": text}
        if self.handle is None:
            self.handle = display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)

    def clear(self) -> None:
        if not self.notebook:
            print(f"\r{'':<70}\r", end="", file=sys.stderr, flush=True)
        elif self.handle is not None:
            self.handle.update({"text/plain": ""}, raw=True)
