"""Starting processes, and ending them with all that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import child_environment

if TYPE_CHECKING:
    import psutil


def call(command: list[Any], folder: Path, **more: str) -> int:
    """Run a command in ``folder``, its output straight to the user. On Ctrl-C the command itself cleans up.

    Being asked to end by a signal is handed on: unlike Ctrl-C in a terminal, only this process got it.
    """
    process = subprocess.Popen([str(word) for word in command], cwd=folder, env=child_environment(**more))
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the command got it too; a second one is for a command that does not listen
                try:
                    return process.wait(timeout=30)
                except (KeyboardInterrupt, subprocess.TimeoutExpired):
                    process.kill()
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def ended_together() -> Iterator[None]:
    """If what stands inside is interrupted or fails, every process started there ends, with its descendants."""
    import psutil

    me = psutil.Process()
    before = set(me.children(recursive=True))
    try:
        yield
    except BaseException:
        end([process for process in me.children(recursive=True) if process not in before])
        raise


def end(processes: list[psutil.Process], patience: float = 5.0) -> None:
    """End processes: politely, and by force those that are still there after ``patience`` seconds."""
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs(processes, timeout=patience)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def tee(command: list[str], folder: Path) -> tuple[int, str]:
    """Run a command, pass its output on line by line, and return its exit code and output."""
    lines = []
    with ended_together():
        process = subprocess.Popen(
            command, cwd=folder, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
        for line in process.stdout:
            lines.append(line)
            print(line, end="", flush=True)
        return process.wait(), "".join(lines)


def recorded(command: list[str], folder: Path) -> tuple[int, str, float | None]:
    """Run a command silently: its exit code, its output, and the peak memory in MiB of its largest process.

    The memory is None where the system does not tell (Windows).
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=folder, env=child_environment(), stdout=log, stderr=subprocess.STDOUT)
        code, peak = wait_with_memory(process)
        log.seek(0)
        return code, log.read().decode("utf-8", "replace"), peak


def wait_with_memory(process: subprocess.Popen) -> tuple[int, float | None]:
    """Exit code, and the peak memory in MiB of the largest process in the tree where the system tells."""
    if not hasattr(os, "wait4"):
        return process.wait(), None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1024 if sys.platform != "darwin" else 1024**2
    return process.returncode, usage.ru_maxrss / unit


def side_by_side(work: Callable[[Any], Any], items: list[Any], jobs: int) -> list[Any]:
    """``work(item)`` for every item, ``jobs`` at a time in threads; results in order.

    For work that waits for a process. The first that fails, and Ctrl-C, end the others with their processes.
    """
    with ThreadPoolExecutor(jobs) as pool:
        with ended_together():
            running = [pool.submit(work, item) for item in items]
            try:
                waiting = set(running)
                while waiting:  # in turns: on Windows Ctrl-C does not wake one long wait
                    done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_EXCEPTION)
                    for one in done:
                        one.result()
                return [one.result() for one in running]
            finally:
                for one in running:
                    one.cancel()
