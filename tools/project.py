"""The course as its tools see it: where things are, and the table of notebooks in project.json."""

from __future__ import annotations

import difflib
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .common import Stop

HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Project:
    """One copy of the course. Tests make small ones in a folder of their own."""

    root: Path = HERE

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @cached_property
    def table(self) -> dict[str, Any]:
        """project.json: title, owner, version, and one entry for each notebook."""
        return read_json(self.root / "project.json")

    def all(self) -> list[Path]:
        """Every notebook of the table, in order."""
        return [self.notebooks / entry["file"] for entry in self.table["notebooks"]]

    def select(self, only: str | None) -> list[Path]:
        """The notebooks, in order; ``only`` picks some ("02", "2", "2,04" or a file name).

        Raises:
            Stop: if ``only`` names a notebook that is not there, or none at all.
        """
        if only is None:
            return self.all()
        names = {path.stem: path for path in self.all()}
        chosen = []
        for word in filter(None, re.split(r"[,\s]+", only)):
            stem = Path(word).name.removesuffix(".ipynb")
            match = [name for name in names if stem == name or stem.zfill(2) == name[:2]]
            if not match:
                close = difflib.get_close_matches(stem, names, 1, 0.5)
                hint = f" Did you mean {close[0]}?" if close else ""
                raise Stop(f"no notebook {word!r}.{hint} There are: {', '.join(names)}.")
            chosen += match
        if not chosen:
            raise Stop(f"--only {only!r} names no notebook. There are: {', '.join(names)}.")
        return [path for name, path in names.items() if name in chosen]

    def shown(self, path: Path) -> str:
        """A path as the user would write it: relative to the course where it lies inside."""
        return path.relative_to(self.root).as_posix() if self.root in path.parents else str(path)


def read_json(path: Path) -> Any:
    """The content of a JSON file that belongs to the course; Stop, with the way to get it back, if it is damaged."""
    remedy = f"To get it back: git -C {path.parent} checkout -- {path.name}"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Stop(f"{path} is missing. {remedy}") from None
    except ValueError as error:
        raise Stop(f"{path} is damaged ({error}). {remedy}") from None


def load(path: Path) -> dict[str, Any]:
    """A notebook as plain JSON with every source joined to one string."""
    notebook = read_json(path)
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    return notebook


def tags(cell: dict[str, Any]) -> list[str]:
    return cell.get("metadata", {}).get("tags", [])


def code_cells(notebook: dict[str, Any]) -> list:
    """The cells that are run: code, and not empty."""
    return [c for c in notebook["cells"] if c["cell_type"] == "code" and "".join(c["source"]).strip()]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
