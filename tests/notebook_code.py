"""Reading the notebooks as data: their cells, and their definitions without running them from top to bottom."""

from __future__ import annotations

import ast
import functools
import json
import re
from pathlib import Path

import tools.definitions
from tools.project import Project

ROOT = Path(__file__).resolve().parents[1]
FILES = {path.name[:2]: path for path in Project(ROOT).all()}


@functools.cache
def cells(number: str) -> list[dict]:
    """Cells of a notebook, each with "type", "id", "tags", "source", and "ran" (True if it has been executed)."""
    content = json.loads(FILES[number].read_text(encoding="utf-8"))["cells"]
    return [
        {
            "type": cell["cell_type"],
            "id": cell["id"],
            "tags": cell["metadata"].get("tags", []),
            "source": "".join(cell["source"]),
            "ran": cell.get("execution_count") is not None,
        }
        for cell in content
    ]


def code(number: str) -> list[dict]:
    return [cell for cell in cells(number) if cell["type"] == "code" and cell["source"].strip()]


def tree(cell: dict) -> ast.Module:
    return ast.parse(re.sub(r"(?m)^\s*[%!].*$", "pass", cell["source"]))


def inventory(number: str) -> dict[str, str]:
    """Name -> id of its cell, of every function and class that a notebook gives its reader, wherever it stands.

    Cells tagged ``setup`` (plumbing) and ``exercise`` (stubs) are left out. Methods and functions inside functions
    belong to the definition around them. ValueError on a name defined twice: only the last one could be tested.
    """
    found: dict[str, str] = {}
    for cell in code(number):
        if {"setup", "exercise"} & set(cell["tags"]):
            continue
        todo: list[ast.AST] = [tree(cell)]
        while todo:
            node = todo.pop()
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                todo += ast.iter_child_nodes(node)
            elif node.name in found:
                raise ValueError(f"notebook {number} defines {node.name} in {found[node.name]} and in {cell['id']}")
            else:
                found[node.name] = cell["id"]
    return found


def definitions(number: str, **known) -> dict:
    """:func:`tools.definitions.definitions` of a notebook by its number."""
    return tools.definitions.definitions(FILES[number], **known)


def section(number: str, title: str) -> str:
    """The Markdown of one level-2 section, up to the next, in one string."""
    text = "\n\n".join(cell["source"] for cell in cells(number) if cell["type"] == "markdown")
    found = re.search(rf"(?ms)^## {re.escape(title)}\s*$(.*?)(?=^## |\Z)", text)
    return found.group(1) if found else ""
