"""`tasks.py figures`: run notebooks through papermill and install the pictures they write."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from .common import Stop, many, say, write_whole
from .execution import jobs, progress_of, run
from .parameters import parse as parse_parameters
from .processes import side_by_side
from .project import Project, read_json


def parse(argv: list[str], project: Project | None = None) -> argparse.Namespace:
    """The options; Stop where the notebooks or the folder cannot be."""
    parser = argparse.ArgumentParser(
        prog="tasks.py figures", description="Run the notebooks (papermill) and write figures/."
    )
    parser.add_argument("--only", metavar="NN", help="some notebooks, e.g. 02 or 2,4")
    parser.add_argument("-p", "--parameter", action="append", nargs="+", metavar="NAME=VALUE", help="a parameter")
    parser.add_argument("--out", metavar="DIR", help="write there instead of figures/")
    parser.add_argument("--jobs", type=int, metavar="N", help="notebooks at a time (as many as cores and memory allow)")
    args = parser.parse_args(argv)
    args.project = project or Project()
    args.paths = args.project.select(args.only)
    args.target = Path(args.out).expanduser().resolve() if args.out else args.project.figures
    if args.parameter and args.target == args.project.figures:
        raise Stop("with -p, add --out DIR: figures/ holds the figures of the notebooks as they are.")
    return args


def main(argv: list[str], project: Project | None = None) -> int:
    args = parse(argv, project)
    parameters = parse_parameters(args.parameter, args.paths, args.project)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="figures-") as folder:

        def work(path: Path) -> Path:
            fresh = Path(folder) / path.stem
            fresh.mkdir()
            with progress_of(path) as progress:
                run(path, {**parameters, "figures_dir": str(fresh)}, progress)
            return fresh

        made = side_by_side(work, args.paths, jobs(args.jobs, len(args.paths)))
        number = install(made, args.target, [path.name[:2] for path in args.paths])
    shown = args.project.shown(args.target)
    say(f"{many(number, 'figure')} of {many(len(args.paths), 'notebook')} in {shown}, {seconds_since(started)}.")
    return 0


def seconds_since(started: float) -> str:
    return f"{time.perf_counter() - started:.0f} s"


def install(folders: list[Path], target: Path, numbers: list[str]) -> int:
    """Move the figures of ``numbers`` to ``target``; those notebooks' older figures go, the manifest is merged."""
    target.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(target)
    made = {name: entry for folder in folders for name, entry in read_manifest(folder).items()}
    kept = {name: entry for name, entry in manifest.items() if name[:2] not in numbers}
    for picture in sorted(file for folder in folders for file in folder.glob("*.png")):
        temporary = target / f".{picture.name}.new"
        shutil.copyfile(picture, temporary)
        os.replace(temporary, target / picture.name)
    for old in target.glob("[0-9][0-9]_*.png"):
        if old.stem[:2] in numbers and old.stem not in made:
            old.unlink()
    merged = dict(sorted({**kept, **made}.items()))
    write_whole(target / "manifest.json", json.dumps(merged, indent=1) + "\n")
    return len(made)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder of figures; empty where there is none."""
    path = folder / "manifest.json"
    return read_json(path) if path.exists() else {}
