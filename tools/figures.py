"""`tasks.py figures`: run notebooks through papermill and install the pictures that changed."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import tempfile
import time
import uuid
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from helpers import store

from .common import Stop, many, positive, say
from .execution import jobs, progress_of, run
from .parameters import parse as parse_parameters
from .processes import side_by_side
from .project import Project, read_json

PIXELS = ("matplotlib", "size", "sha256_pixels")
"""What the manifest says about a picture's file; the rest is about the notebook."""


def parse(argv: list[str], project: Project | None = None) -> argparse.Namespace:
    """The options; Stop where the notebooks or the folder cannot be."""
    parser = argparse.ArgumentParser(
        prog="tasks.py figures",
        description="Run the notebooks (papermill) and write figures/. A picture that shows the same as the one there"
        " is left as it is, so that a run on another processor changes nothing.",
    )
    parser.add_argument("--only", metavar="NN", help="some notebooks, e.g. 02 or 2,4")
    parser.add_argument("-p", "--parameter", action="append", nargs="+", metavar="NAME=VALUE", help="a parameter")
    parser.add_argument("--out", metavar="DIR", help="write there instead of figures/")
    parser.add_argument("--jobs", type=positive, metavar="N", help="notebooks at a time (as cores and memory allow)")
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
    numbers = [path.name[:2] for path in args.paths]
    target = args.target
    others = drawn_by_another_matplotlib(target, numbers)
    if others and target == args.project.figures:
        target = args.project.root / ".cache" / "figures"
        say(
            f"figures/ was drawn by matplotlib {others}; {here()}, that of this Python, draws letters differently."
            f"\nfigures/ stays as it is. This run's go to {args.project.shown(target)}; --out DIR is another choice."
        )
    read_manifest(target)
    check_writable(target, "choose a folder with --out DIR.")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="figures-") as folder:

        def work(path: Path) -> Path:
            fresh = Path(folder) / path.stem
            fresh.mkdir()
            with progress_of(path) as progress:
                run(path, {**parameters, "figures_dir": str(fresh)}, progress)
            return fresh

        made = side_by_side(work, args.paths, jobs(args.jobs, len(args.paths)))
        number, changed = install(made, target, numbers)
    report(changed)
    seconds = time.perf_counter() - started
    say(
        f"{many(number, 'figure')} of {many(len(args.paths), 'notebook')} in {args.project.shown(target)},"
        f" {len(changed) or 'none'} changed, {seconds:.0f} s."
    )
    return 0


def report(changed: list[str], before: str = "") -> None:
    """Print what changed in figures, the new ones in one line."""
    new = [line.partition(":")[0] for line in changed if line.endswith(": new")]
    lines = [line for line in changed if not line.endswith(": new")]
    for line in lines + ([f"new: {', '.join(new)}"] if new else []):
        say(f"{before}{line}")


# -------------------------------------------------------------------------------------------------- before the run


def here() -> str:
    """The version of matplotlib that would draw."""
    return version("matplotlib")


def drawn_by_another_matplotlib(folder: Path, numbers: list[str]) -> str:
    """The versions of matplotlib, other than the one here, that drew the figures of ``numbers`` in ``folder``."""
    entries = [entry for name, entry in read_manifest(folder).items() if name[:2] in numbers]
    return ", ".join(sorted({entry["matplotlib"] for entry in entries} - {here()}))


def check_writable(folder: Path, remedy: str) -> None:
    """Stop, with the remedy, unless ``folder`` can be written to (and made, if need be)."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise Stop(f"{folder} cannot be written to ({error.strerror}): {remedy}") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder of figures, empty where there is none; Stop if it is not one of this course."""
    path = folder / "manifest.json"
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or not all(is_entry(name, entry) for name, entry in content.items()):
        raise Stop(f"{path} was not written by this course: choose another folder with --out DIR.")
    return content


def is_entry(name: str, entry: Any) -> bool:
    """Whether this is a line of a manifest as ``helpers.show`` writes it."""
    named = re.fullmatch(r"\d\d_[a-z0-9_]+", name) and isinstance(entry, dict)
    return bool(named and entry.get("notebook") == name[:2] and set(PIXELS) <= set(entry))


# ---------------------------------------------------------------------------------------------------- installation


def install(
    folders: list[Path], target: Path, numbers: list[str], compare: Callable[[bytes, bytes], str] | None = None
) -> tuple[int, list[str]]:
    """Put the figures that notebooks wrote into ``target``; return how many there are, and what changed, in lines.

    A picture that shows the same as the file there leaves it untouched. Files go only if the manifest names them as
    figures of the notebooks ``numbers`` and those no longer make them. All new files are complete before the first
    old one goes.

    Args:
        folders: what notebooks wrote: pictures and a manifest each.
        target: the folder of figures.
        numbers: the notebooks that ran, as in "02".
        compare: what differs between a saved and a fresh PNG file, "" if nothing; by default
            ``tools.sameness.difference``.

    Raises:
        Stop: if ``target`` holds a file of a figure's name that no manifest names: it is somebody else's.
    """
    if compare is None:
        from .sameness import difference as compare
    made = {name: entry for folder in folders for name, entry in read_manifest(folder).items()}
    pictures = {name: (folder / f"{name}.png") for folder in folders for name in read_manifest(folder)}
    changed, files = [], {}
    with store.locked(target / "manifest.json"):
        before = read_manifest(target)
        after = {name: entry for name, entry in before.items() if name[:2] not in numbers}
        for name, entry in made.items():
            file, fresh = target / f"{name}.png", pictures[name].read_bytes()
            if file.exists() and name not in before:
                raise Stop(f"{file} is there already and is not a figure of this course: move it, or use --out DIR.")
            what = compare(file.read_bytes(), fresh) if file.exists() else "new"
            if what:
                files[file] = fresh
                changed.append(f"{name}: {what}")
            else:
                entry = {**entry, **{key: before[name][key] for key in PIXELS}}
                changed += [f"{name}: its line in the manifest"] if entry != before[name] else []
            after[name] = entry
        gone = [name for name in before if name not in after]
        changed += [f"{name}: gone" for name in gone]
        if after != before:
            text = json.dumps(dict(sorted(after.items())), indent=1, ensure_ascii=False) + "\n"
            files = {target / "manifest.json": text.encode(), **files}  # first: it says whose files the others are
        write_together(files)
        for name in gone:
            (target / f"{name}.png").unlink(missing_ok=True)
    return len(made), changed


def write_together(files: dict[Path, bytes]) -> None:
    """Write several files of one folder: none takes its place before all are complete; a full disk changes nothing."""
    parts = {path: path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part") for path in files}
    try:
        for path, part in parts.items():
            part.write_bytes(files[path])
        for path, part in parts.items():
            part.replace(path)
    finally:
        for part in parts.values():
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
