"""`tasks.py format`: save notebooks in the course's form, without running them."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path
from typing import Any

from helpers.store import write_whole

from .common import Stop, many, say
from .notebook import canonical, read
from .project import Project


def parse(argv: list[str], project: Project | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tasks.py format",
        description="Save notebooks in the course's form: what an editor adds to a file goes, text and outputs stay."
        " Nothing is run.",
    )
    parser.add_argument("--only", metavar="NN", help="some notebooks, e.g. 02 or 2,4")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a notebook has another form")
    args = parser.parse_args(argv)
    args.project = project or Project()
    args.paths = args.project.select(args.only)
    return args


def unformatted(project: Project, paths: list[Path]) -> dict[Path, str]:
    """The notebooks that are not in canonical form -> the text that they should have."""
    wanted = {}
    for path in paths:
        notebook = read(path)
        put_back(notebook, project.figures)
        text = canonical(notebook)
        if path.read_bytes() != text.encode():
            wanted[path] = text
    return wanted


def put_back(notebook: Any, figures: Path) -> None:
    """Pictures that JupyterLab drew over those of the course become the ones in figures/ again.

    As soon as the mouse enters an interactive figure, JupyterLab puts a picture of its own in place of the saved one.
    It is known by what it lacks: every picture of the course carries what it shows.
    """
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        data, name = output.get("data", {}), output.get("metadata", {}).get("figure")
        file = figures / f"{name}.png"
        if not name or "image/png" not in data or not file.exists():
            continue
        saved, here = file.read_bytes(), base64.b64decode(data["image/png"])
        if here != saved:
            from helpers import facts  # loads matplotlib: only if there is something to look at

            if facts.read(here) is None and facts.read(saved) is not None:
                data["image/png"] = base64.b64encode(saved).decode()


def main(argv: list[str], project: Project | None = None) -> int:
    args = parse(argv, project)
    stale = unformatted(args.project, args.paths)
    names = ", ".join(path.name for path in stale)
    if args.check and stale:
        raise Stop(f"not in the course's form: {names}. Run: python3 tasks.py format")
    for path, text in stale.items():
        write_whole(path, text.encode())
    say(f"saved in the course's form: {names}" if stale else f"{many(len(args.paths), 'notebook')}: nothing to change")
    return 0
