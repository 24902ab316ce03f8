"""The exercises as they stand in the notebooks: one source for the tests, the sets for a class, and the grader."""

from __future__ import annotations

import ast
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


def borrowed(answer: str, own: str, scope: dict[str, Any]) -> str | None:
    """What of the course's helpers an answer uses although stub and solution do not, as a sentence; None if nothing.

    Args:
        answer: the source that a student handed in.
        own: sources of the stub and of the solution: what they use is allowed.
        scope: names that the notebook has given its reader.
    """
    allowed = {node.id for node in ast.walk(ast.parse(own)) if isinstance(node, ast.Name)}
    for node in ast.walk(ast.parse(answer)):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or "." * node.level]
        for module in modules:
            if module.split(".")[0] not in ("math", "numpy", "torch", "itertools", "functools", "collections"):
                return f"it imports {module}; write it with torch, numpy and what the notebook defines."
        if isinstance(node, ast.Name) and node.id not in allowed:
            value = scope.get(node.id)
            home = getattr(value, "__module__", None) or getattr(value, "__name__", "")
            if str(home).split(".")[0] == "helpers":
                return f"it uses {node.id} of the course's helpers, which the exercise does not give you."
            if node.id in ("__import__", "eval", "exec", "open", "globals", "compile"):
                return f"it uses {node.id}; write the answer itself."
    return None
