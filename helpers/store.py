"""Everything that is recorded goes through here: whole writes, locks, settings that must agree, and what made it.

A recorder works in this order, so that two of them can run at once and either can be stopped: see what is missing,
train without holding any file, then ``with locked(path):`` read, add, write whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
import uuid
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
WINDOWS = os.name == "nt"
PATIENCE = 60.0
"""Seconds to wait for a lock. It is held while a small file is read and written, never while something trains."""


class OtherSettings(RuntimeError):
    """A file was recorded with other settings than those asked for; the message names both and the remedy."""


class BrokenFile(RuntimeError):
    """A recorded file cannot be read; the message names it and says how to get it back."""


# ------------------------------------------------------------------------------------------------ writing, reading


def write_whole(path: Path | str, data: bytes) -> None:
    """Write a file so that a reader finds the old one or the new one, never half of it, whoever else writes it.

    The bytes go to a name of their own beside the file, which then takes the file's place. If anything goes wrong,
    the old file stays and nothing is left behind. Folders are made. Two writers do not disturb each other, but the
    later one wins: whoever adds to a file holds :func:`locked` from reading to writing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _replace(part: Path, path: Path) -> None:
    """``part`` becomes ``path``. Windows refuses while somebody reads the old file: that passes."""
    for attempt in range(50):
        try:
            return os.replace(part, path)
        except PermissionError:
            if not WINDOWS or attempt == 49:
                raise
            time.sleep(0.02)


def write_json(path: Path | str, content: Any) -> None:
    """Write JSON whole: UTF-8, one space of indentation, a newline at the end."""
    write_whole(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path | str, command: str = "") -> Any:
    """Read a recorded JSON file.

    Args:
        path: of the file.
        command: what records it, named in the errors.

    Raises:
        FileNotFoundError: if it was never recorded, naming ``command``.
        BrokenFile: if it is not JSON (cut short, say): how to get it back.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{name(path)} is not there{_remedy(path, command)}") from None
    except ValueError as error:  # JSON and UTF-8 alike
        raise broken(path, error, command) from None


def broken(path: Path, error: Exception | str, command: str = "") -> BrokenFile:
    """The error for a file that cannot be read: its name, what is wrong, and how to get it back."""
    return BrokenFile(f"{name(path)} cannot be read ({error}){_remedy(path, command)}")


def _remedy(path: Path, command: str) -> str:
    inside = path.resolve().is_relative_to(ROOT) and not path.resolve().is_relative_to(ROOT / ".cache")
    restore = f": restore it with `git checkout -- {name(path)}`" if inside else ": delete it"
    return f"{restore}, or record it again with `{command}`." if command else f"{restore}."


def name(path: Path) -> str:
    """A path as a message names it: relative to the repository where it lies inside."""
    path = Path(path).resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


@contextlib.contextmanager
def locked(path: Path | str) -> Iterator[None]:
    """Hold a file against every other process (and thread) that asks for it, from reading it to writing it.

    The lock is a hidden empty file beside it, which stays; a process that dies lets go of it.

    Raises:
        RuntimeError: if another process does not let go within :data:`PATIENCE` seconds.
    """
    from filelock import FileLock, Timeout

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=PATIENCE, poll_interval=0.01)
    try:
        lock.acquire()
    except Timeout:
        raise RuntimeError(
            f"another process has held {name(path)} for {PATIENCE:.0f} s: end it and try again."
        ) from None
    try:
        yield
    finally:
        lock.release()


# -------------------------------------------------------------------------------------------- settings, provenance


def plain(value: Any) -> Any:
    """``value`` as JSON gives it back: tuples become lists, keys text."""
    return json.loads(json.dumps(value))


def check_settings(path: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any], remedy: str) -> None:
    """Refuse to go on with a file that was made with other settings.

    Args:
        path: the file, for the message.
        stored: its settings.
        wanted: those of now.
        remedy: what to do, a clause that ends the message.

    Raises:
        OtherSettings: naming the file, the first setting that differs, both values and the remedy.
    """
    found = difference(plain(stored), plain(wanted))
    if found:
        key, old, new = found
        raise OtherSettings(f"{name(path)} was recorded with other settings: {key} was {old}, now {new}; {remedy}.")


def difference(stored: Any, wanted: Any, key: str = "") -> tuple[str, str, str] | None:
    """The first place where two JSON values differ, as (key, stored, wanted), or None."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for part in [*stored, *(k for k in wanted if k not in stored)]:
            inner = f"{key}.{part}" if key else part
            if part not in stored or part not in wanted:
                return inner, _shown(stored.get(part, "not there")), _shown(wanted.get(part, "not there"))
            found = difference(stored[part], wanted[part], inner)
            if found:
                return found
        return None
    return None if stored == wanted else (key, _shown(stored), _shown(wanted))


def _shown(value: Any) -> str:
    text = value if value == "not there" else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def provenance(device: str = "cpu", **more: Any) -> dict[str, Any]:
    """What produced a result, without naming the machine.

    Args:
        device: as in torch: "cpu", "cuda", "cuda:1".
        more: what else it rests on, as in ``**corpus.SOURCE``.
    """
    card = device
    if device.startswith("cuda"):
        import torch

        card = torch.cuda.get_device_name(device)
    made = {"torch": metadata.version("torch").split("+")[0], "python": platform.python_version(), "device": card}
    return {**made, **more}
