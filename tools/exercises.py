"""The exercises as they stand in the notebooks: one source for the tests, the sets for a class, and the grader."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .project import load, tags

CHECK = re.compile(r'check\(\s*"(\d\.\d)"\s*,\s*(.+?)\s*\)\s*$', re.S)
SOLUTION = re.compile(
    r"<details>\s*<summary>Solution</summary>\s*\n\n(?P<before>.*?)```python\n(?P<code>.*?)```.*?</details>\n?", re.S
)
EFFORT = re.compile(r"(?m)^\*\*(\d\.\d)\*\* Difficulty (\d) of 3, (\d+) minutes")


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes:
        number: "4.1".
        difficulty, minutes: as its heading says; 0 where it does not.
        stub: source of the cell that the reader fills in, with its id ``cell``.
        check: source of the check's cell; ``expression`` is what it hands to the check.
        hint, solution: what is folded behind it; None if it is not there.
    """

    number: str
    difficulty: int
    minutes: int
    cell: str
    stub: str
    check: str
    expression: str
    hint: bool
    solution: str | None


def exercises(path: Path) -> dict[str, Exercise]:
    """Number -> exercise, of one notebook's file."""
    return read(load(path)["cells"])


def read(cells: list[dict[str, Any]]) -> dict[str, Exercise]:
    """Number -> exercise, of cells whose sources are single strings."""
    effort = {n: (int(d), int(m)) for c in cells for n, d, m in EFFORT.findall(c["source"])}
    found: dict[str, Exercise] = {}
    stub = None
    for cell, following in zip(cells, [*cells[1:], {"source": ""}], strict=True):
        if "exercise" in tags(cell):
            stub = cell
        elif "check" in tags(cell) and stub is not None and (match := CHECK.search(cell["source"])):
            folded = SOLUTION.search(following["source"])
            found[match[1]] = Exercise(
                match[1], *effort.get(match[1], (0, 0)), stub["id"], stub["source"], cell["source"], match[2],
                "<summary>Hint</summary>" in following["source"], folded and folded["code"],
            )  # fmt: skip
            stub = None
    return found
