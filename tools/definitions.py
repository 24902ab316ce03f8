"""What a notebook defines for its reader, without running it from top to bottom."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from .project import code_cells, load, tags


def definitions(path: Path, **known: Any) -> dict[str, Any]:
    """The names a notebook imports and defines (functions, classes, parameters, constants), nothing trained or drawn.

    Statements that only import, define, or bind a name to something cheap are executed in order; a statement that
    needs a result of a cell left out is left out too. ``known`` are such results, there from the start.
    """
    space: dict = {"__name__": "notebook", "display": lambda *args, **kwargs: None, **known}
    for cell in code_cells(load(path)):
        if {"setup", "exercise", "check"} & set(tags(cell)):
            continue
        for statement in ast.parse(re.sub(r"(?m)^\s*[%!].*$", "pass", cell["source"])).body:
            if isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef) or cheap(statement):
                try:
                    exec(compile(ast.Module([statement], []), f"{path.name}:{cell['id']}", "exec"), space)
                except Exception:  # it needs something that was left out
                    if isinstance(statement, ast.Import | ast.ImportFrom):
                        raise
    return space


def cheap(statement: ast.stmt) -> bool:
    """A binding made of literals, tensors of literals, arithmetic, and look-ups: no training, no figure, no file."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return False
    calls = {ast.unparse(node.func) for node in ast.walk(statement) if isinstance(node, ast.Call)}
    allowed = (
        r"(torch|np|math|dict|list|tuple|range|len|int|float|set|zip|enumerate|sorted|sum|min|max|str)\b.*|.*split"
    )
    return all(re.fullmatch(allowed, call) for call in calls)
