"""`tasks.py format`: save notebooks in the course's form, without running them."""

from __future__ import annotations

import argparse
from pathlib import Path

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


def unformatted(paths: list[Path]) -> dict[Path, str]:
    """The notebooks that are not in canonical form -> the text that they should have."""
    wanted = {path: canonical(read(path)) for path in paths}
    return {path: text for path, text in wanted.items() if path.read_bytes() != text.encode()}


def main(argv: list[str], project: Project | None = None) -> int:
    args = parse(argv, project)
    stale = unformatted(args.paths)
    names = ", ".join(path.name for path in stale)
    if args.check and stale:
        raise Stop(f"not in the course's form: {names}. Run: python3 tasks.py format")
    for path, text in stale.items():
        write_whole(path, text.encode())
    say(f"saved in the course's form: {names}" if stale else f"{many(len(args.paths), 'notebook')}: nothing to change")
    return 0
