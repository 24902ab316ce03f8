"""`tasks.py execute`: run notebooks in place, so that their saved outputs and figures/ are those of this run."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from .common import many, say, write_whole
from .execution import jobs, progress_of, run
from .figures import install
from .notebook import canonical, doubtful
from .processes import side_by_side
from .project import Project


def parse(argv: list[str], project: Project | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tasks.py execute", description="Run the notebooks in place: their outputs and figures/."
    )
    parser.add_argument("--only", metavar="NN", help="some notebooks, e.g. 02 or 2,4")
    parser.add_argument("--jobs", type=int, metavar="N", help="notebooks at a time (as many as cores and memory allow)")
    args = parser.parse_args(argv)
    args.project = project or Project()
    args.paths = args.project.select(args.only)
    return args


def main(argv: list[str], project: Project | None = None) -> int:
    args = parse(argv, project)
    with tempfile.TemporaryDirectory(prefix="execute-") as folder:

        def work(path: Path) -> None:
            fresh = Path(folder) / path.stem
            fresh.mkdir()
            with progress_of(path) as progress:
                text = canonical(run(path, {"figures_dir": str(fresh)}, progress))
            save(path, text, fresh, args.project)

        side_by_side(work, args.paths, jobs(args.jobs, len(args.paths)))
    return 0


def save(path: Path, text: str, fresh: Path, project: Project) -> None:
    """Write a notebook as it was run, and its figures."""
    number = path.name[:2]
    for warning in doubtful(json.loads(text)):
        say(f"{number}  warning: {warning}")
    same = path.read_bytes() == text.encode()
    if not same:
        write_whole(path, text)
    made = install([fresh], project.figures, [number])
    say(f"{number}  {'unchanged' if same else 'saved'}: {many(made, 'figure')}, {len(text) / 1024:.0f} KB")
