"""`tasks.py lab`: JupyterLab on a notebook."""

from __future__ import annotations

import argparse
import sys

from .processes import call
from .project import Project


def parse(argv: list[str], project: Project | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tasks.py lab",
        description="Open JupyterLab on notebook 01. Other options go to JupyterLab, for example --no-browser.",
    )
    parser.add_argument("--only", metavar="NN", default="01", help="another notebook, e.g. 04")
    args, args.rest = parser.parse_known_args(argv)
    args.project = project or Project()
    args.path = args.project.select(args.only)[0]
    return args


def main(argv: list[str], project: Project | None = None) -> int:
    args = parse(argv, project)
    return call([sys.executable, "-m", "jupyterlab", args.path, *args.rest], args.project.root)
