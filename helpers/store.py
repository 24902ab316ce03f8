"""Everything that is recorded goes through here: whole writes, locks, settings that must agree, and what made it.

A recorder works in this order, so that two of them can run at once and either can be stopped: see what is missing,
train without holding any file, then ``with locked(path):`` read, add, write whole.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import platform
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
WINDOWS = os.name == "nt"
PATIENCE = 60.0
"""Seconds to wait for a lock. It is held while a small file is read and written, never while something trains."""


def _require(*words: Any) -> None:
    """validate.require. Its module needs torch, and tasks.py reads this one before there is an environment."""
    from .validate import require

    require(*words)


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
        replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def replace(part: Path, path: Path) -> Path:
    """``part`` becomes ``path``, which is returned. Windows refuses while somebody reads the old file: that passes."""
    for attempt in range(50):
        try:
            os.replace(part, path)
            break
        except PermissionError:
            if not WINDOWS or attempt == 49:
                raise
            time.sleep(0.02)
    return path


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


def load_weights(path: Path | str, command: str) -> dict[str, Tensor]:
    """The tensors of a recorded safetensors file; ``command`` records it.

    Raises:
        FileNotFoundError: if there is no such file, naming ``command``.
        BrokenFile: if it is cut short or something else: how to get it back.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no weights {name(path)}: run `{command}`.")
    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise broken(path, error, command) from None


def weights(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors, as ``model.state_dict()`` gives them, as the bytes of a safetensors file."""
    from safetensors.torch import save

    return save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})


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


# --------------------------------------------------------------------------------------------- one study, one table


@dataclasses.dataclass
class Run:
    """One unit of work of a recorder: what it measured.

    Attributes:
        rows: one dict a number: some of the study's ``at`` columns, "score" and "value".
        curves: one dict a curve: the same with "values", a list, in place of "value".
        weights: {file name: bytes}, kept beside the table; empty if read from disk.
        key: {column: value}, the run's place in the study.
        seconds: wall time, or None where it was not noted.
        made: what produced it, see :func:`provenance`.
    """

    rows: list[dict[str, Any]]
    curves: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    weights: dict[str, bytes] = dataclasses.field(default_factory=dict)
    key: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float | None = None
    made: dict[str, Any] = dataclasses.field(default_factory=dict)
    _index: dict[int, dict] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def value(self, score: str, **at: Any) -> Any:
        """The number with this score at exactly this place (ValueError, listing places, if there is none)."""
        return self._find(self.rows, score, at)["value"]

    def curve(self, score: str, **at: Any) -> list[float]:
        """The curve with this score at exactly this place (ValueError, listing places, if there is none)."""
        return self._find(self.curves, score, at)["values"]

    def _find(self, entries: list[dict[str, Any]], score: str, at: dict[str, Any]) -> dict[str, Any]:
        index = self._index.get(id(entries))
        if index is None or len(index) != len(entries):
            index = self._index[id(entries)] = {_place(entry): entry for entry in entries}
        found = index.get(_place({"score": score, **at}))
        if found is None:
            there = [{k: v for k, v in e.items() if k not in ("value", "values")} for e in entries]
            near = [str(place) for place in there if place["score"] == score] or sorted({p["score"] for p in there})
            raise ValueError(f"{self.key} has no {score!r} at {at}; it has {', '.join(near[:12])}.")
        return found


def _place(entry: Mapping[str, Any]) -> frozenset:
    """Where an entry was read, whatever the order of its columns."""
    return frozenset((k, v) for k, v in entry.items() if k not in ("value", "values") and v is not None)


@dataclasses.dataclass(frozen=True)
class Study:
    """A recorded study: a folder of results/ with one long table, and what made it.

    * ``table.csv``: one number a line, in the columns ``run``, ``at``, score, value; readable by anything.
    * ``curves.jsonl``: one curve a line (loss by position, training loss), where a line a number would be absurd.
    * ``about.json``: command, settings, versions and devices, and the list of runs with their seconds.
    * weights as safetensors, where they are kept.

    Attributes:
        name: of the folder.
        run: columns that name one run, the unit that is recorded, resumed and replaced, as ("contender", "seed").
        at: columns that say where in a run a number was read, as ("length",).
        settings: what all runs share. Recording on with others is refused.
        command: what records it, from a fresh shell.
    """

    name: str
    run: tuple[str, ...]
    at: tuple[str, ...]
    settings: Mapping[str, Any]
    command: str

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return RESULTS / self.name

    @property
    def about(self) -> Path:
        """The file that says what was recorded; it is written last, and locked while the others are."""
        return self.folder / "about.json"

    def key(self, **columns: Any) -> tuple[Any, ...]:
        """The run of these columns (ValueError if they are not the study's)."""
        _require(set(columns) == set(self.run), "columns", sorted(columns), f"a run of {self.name} has {self.run}.")
        return tuple(columns[c] for c in self.run)

    def recorded(self) -> list[tuple[Any, ...]]:
        """The runs that are recorded (none if there is no file).

        Raises:
            OtherSettings: if they were made with other settings.
            BrokenFile: if the file cannot be read.
        """
        if not self.about.exists():
            return []
        about = read_json(self.about, self.command)
        check_settings(
            self.about, about["settings"], self.settings, f"move the folder away and run `{self.command}` anew"
        )
        return [tuple(run[c] for c in self.run) for run in about["runs"]]

    def missing(self, runs: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Those of ``runs`` that are not recorded yet, in the order given; errors as :meth:`recorded`."""
        have = set(self.recorded())
        return [run for run in runs if run not in have]

    def add(self, run: Run) -> None:
        """Add one run to the files, or put it in place of an earlier one with the same key. Locked, and written whole.

        Raises:
            ValueError: if the run's columns are not the study's.
            OtherSettings, BrokenFile: as :meth:`recorded`.
        """
        self.key(**run.key)
        for entry in (*run.rows, *run.curves):
            extra = set(entry) - {*self.at, "score", "value", "values"}
            _require(not extra, "rows", sorted(extra), f"columns of {self.name} are {self.at}, score, value.")
        for part in (run.rows, run.curves):
            twice = len(part) - len({_place(entry) for entry in part})
            _require(not twice, "rows", f"{twice} twice", "one number a place and score.")
        with locked(self.about):
            self.recorded()  # refuses other settings
            runs = self._load() if self.about.exists() else {}
            runs[self.key(**run.key)] = run
            for file, data in run.weights.items():
                write_whole(self.folder / file, data)
            self._write(runs)

    def load(self) -> list[Run]:
        """Every recorded run, sorted by its key.

        Raises:
            FileNotFoundError: naming the command that records it.
            BrokenFile: if a file is cut short or not readable: how to get it back.
        """
        if not self.about.exists():
            raise FileNotFoundError(f"nothing is recorded in {name(self.folder)}: run `{self.command}`.")
        files = [self.about, self._table, self._curves]
        stamp = [(f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.exists()]
        if _cache.get(self.folder, (None,))[0] != stamp:
            _cache[self.folder] = stamp, list(self._load().values())
        return list(_cache[self.folder][1])

    def stored_settings(self) -> dict[str, Any]:
        """The settings it was recorded with (errors as :meth:`load`)."""
        return read_json(self.about, self.command)["settings"]

    @property
    def _table(self) -> Path:
        return self.folder / "table.csv"

    @property
    def _curves(self) -> Path:
        return self.folder / "curves.jsonl"

    def _load(self) -> dict[tuple[Any, ...], Run]:
        about = read_json(self.about, self.command)
        runs, counts = {}, {}
        for entry in about["runs"]:
            key = {c: entry[c] for c in self.run}
            made = about["made"][entry["made"]]
            runs[self.key(**key)] = Run([], [], key=key, seconds=entry["seconds"], made=made)
            counts[self.key(**key)] = entry["rows"], entry["curves"]
        for file, read, part in ((self._table, _read_csv, "rows"), (self._curves, _read_lines, "curves")):
            for entry in read(file, self.command) if file.exists() else ():
                key = tuple(entry.pop(c, None) for c in self.run)
                if key in runs:  # others were being added when the recorder was stopped: about.json is written last
                    getattr(runs[key], part).append({c: v for c, v in entry.items() if v is not None})
            for key, run in runs.items():
                want, have = counts[key][part == "curves"], len(getattr(run, part))
                if want != have:
                    raise broken(file, f"{key} has {have} entries of {want}", self.command)
        return runs

    def _write(self, runs: dict[tuple[Any, ...], Run]) -> None:
        order = sorted(runs, key=lambda key: [(isinstance(v, str), v) for v in key])
        columns = (*self.run, *self.at, "score", "value")
        table = io.StringIO()
        writer = csv.DictWriter(table, columns, restval="", lineterminator="\n")
        writer.writeheader()
        lines, made, entries = [], [], []
        for key in order:
            run = runs[key]
            writer.writerows({**run.key, **row} for row in run.rows)
            lines += [json.dumps({**run.key, **curve}, separators=(",", ":")) + "\n" for curve in run.curves]
            if run.made not in made:
                made.append(run.made)
            counts = {"rows": len(run.rows), "curves": len(run.curves)}
            entries.append({**run.key, **counts, "seconds": run.seconds, "made": made.index(run.made)})
        for file, text in ((self._table, table.getvalue()), (self._curves, "".join(lines))):
            if file.exists() or text not in ("", ",".join(columns) + "\n"):  # a study without curves has no such file
                write_whole(file, text.encode())
        about = {"command": self.command, "settings": plain(self.settings), "made": made}
        text = json.dumps(about, indent=1)[:-2] + ',\n "runs": [\n  '  # one line a run
        text += ",\n  ".join(json.dumps(entry) for entry in entries) + "\n ]\n}\n"
        write_whole(self.about, text.encode())


def recorded_study(folder: str) -> Study:
    """Any study of results/ to read from, in the columns and with the settings that its own files have.

    Raises:
        FileNotFoundError, BrokenFile: as :func:`read_json`.
    """
    about = read_json(RESULTS / folder / "about.json")
    run = tuple(c for c in about["runs"][0] if c not in ("rows", "curves", "seconds", "made"))
    table = RESULTS / folder / "table.csv"
    columns = next(csv.reader(table.read_text(encoding="utf-8").splitlines()[:1])) if table.exists() else []
    at = tuple(c for c in columns if c not in (*run, "score", "value"))
    return Study(folder, run, at, about["settings"], about["command"])


_cache: dict[Path, tuple[list, list[Run]]] = {}
"""Folder -> times and sizes of its files, and what they hold: a notebook asks for the same study many times."""


def _read_csv(path: Path, command: str) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if None in row or None in row.values():
                raise broken(path, "a line has too many or too few fields", command)
            yield {column: _number(text) for column, text in row.items()}


def _number(text: str) -> Any:
    """A field of a table: nothing, a whole number, a number, or text."""
    if not text:
        return None
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _read_lines(path: Path, command: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise broken(path, f"line {number}: {error}", command) from None
