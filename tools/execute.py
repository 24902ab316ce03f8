"""`tasks.py execute`: run notebooks in place, so that their saved outputs and figures/ are those of this run."""

from __future__ import annotations

import argparse
import base64
import json
import tempfile
from pathlib import Path
from typing import Any

from helpers.store import write_whole

from .common import Stop, many, positive, say
from .execution import jobs, progress_of, run
from .figures import check_writable, drawn_by_another_matplotlib, here, install, report
from .notebook import canonical, doubtful, read
from .processes import side_by_side
from .project import Project


def parse(argv: list[str], project: Project | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tasks.py execute",
        description="Run the notebooks in place: their outputs and figures/. An output that is the same as the saved"
        " one, pictures within the tolerance of another processor, is left as it is.",
    )
    parser.add_argument("--only", metavar="NN", help="some notebooks, e.g. 02 or 2,4")
    parser.add_argument("--jobs", type=positive, metavar="N", help="notebooks at a time (as cores and memory allow)")
    parser.add_argument("--redraw", action="store_true", help="replace every picture, as for a new matplotlib")
    args = parser.parse_args(argv)
    args.project = project or Project()
    args.paths = args.project.select(args.only)
    return args


def main(argv: list[str], project: Project | None = None) -> int:
    args = parse(argv, project)
    course = args.project
    others = drawn_by_another_matplotlib(course.figures, [path.name[:2] for path in args.paths])
    if others and not args.redraw:
        raise Stop(
            f"the saved pictures were drawn by matplotlib {others}, here is {here()}, which draws every letter\n"
            "differently. Use a Python that gets the other one (requirements.txt), or replace them all: --redraw."
        )
    for folder in (course.figures, course.notebooks):
        check_writable(folder, "execute saves there; work in a copy of the course.")
    compare = (lambda saved, fresh: "" if saved == fresh else "redrawn") if args.redraw else None
    with tempfile.TemporaryDirectory(prefix="execute-") as folder:

        def work(path: Path) -> None:
            fresh = Path(folder) / path.stem
            fresh.mkdir()
            before, saved = path.read_bytes(), read(path)
            with progress_of(path) as progress:
                notebook = run(path, {"figures_dir": str(fresh)}, progress)
            if not args.redraw:
                keep_pictures(notebook, fresh, course.figures)
                keep_outputs(saved, notebook)
            save(path, before, canonical(notebook), fresh, course, compare)

        side_by_side(work, args.paths, jobs(args.jobs, len(args.paths)))
    return 0


def keep_pictures(notebook: Any, fresh: Path, figures: Path) -> None:
    """Where figures/ has the same picture, its bytes replace the fresh ones, in the notebook and its folder."""
    from . import sameness

    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        name = output.get("metadata", {}).get("figure")
        file = figures / f"{name}.png"
        if name and file.exists() and (fresh / file.name).exists():
            saved = file.read_bytes()
            if not sameness.difference(saved, base64.b64decode(output.data["image/png"])):
                output.data["image/png"] = base64.b64encode(saved).decode()
                (fresh / file.name).write_bytes(saved)


def keep_outputs(saved: Any, notebook: Any) -> None:
    """A cell of ``notebook`` in whose outputs nothing changed gets its saved ones back, but for the pictures' bytes."""
    before = {cell.id: cell for cell in saved.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.id in before and same_outputs(before[cell.id].outputs, cell.outputs):
            for old, new in zip(before[cell.id].outputs, cell.outputs, strict=True):
                if "image/png" in new.get("data", {}):
                    old.data["image/png"] = new.data["image/png"]
                if "execution_count" in new:
                    old.execution_count = new.execution_count
            cell.outputs = before[cell.id].outputs


def same_outputs(saved: list[Any], fresh: list[Any]) -> bool:
    """Whether a cell's outputs are the same: texts and metadata exactly, pictures as ``tools.sameness`` says."""
    from . import sameness

    def rest(output: Any) -> dict[str, Any]:
        left = {key: value for key, value in output.items() if key not in ("data", "execution_count")}
        data = output.get("data", {})
        return {**left, "data": {kind: data[kind] for kind in data if kind not in ("image/png", sameness.PLOTLY)}}

    if [rest(output) for output in saved] != [rest(output) for output in fresh]:
        return False
    return not sameness.output_difference(saved, fresh)


def save(path: Path, before: bytes, text: str, fresh: Path, project: Project, compare: Any) -> None:
    """Write a notebook as it was run, and its figures.

    Raises:
        Stop: if the notebook is no longer the one that was read (``before``): somebody saved it meanwhile.
    """
    number = path.name[:2]
    if path.read_bytes() != before:
        raise Stop(
            f"{path.name} was saved by somebody else while it ran. That version is kept, nothing of this run is;\n"
            f"run it again: python3 tasks.py execute --only {number}"
        )
    for warning in doubtful(json.loads(text)):
        say(f"{number}  warning: {warning}")
    same = before == text.encode()
    made, changed = install([fresh], project.figures, [number], compare)
    if not same:
        write_whole(path, text.encode())
    report(changed, f"{number}  ")
    pictures = f"{many(made, 'figure')}, {len(changed) or 'none'} changed"
    say(f"{number}  {'unchanged' if same else 'saved'}: {pictures}, {len(text) / 1024:.0f} KB")
