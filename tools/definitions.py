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


def results(path: Path) -> set[str]:
    """Every name that some cell of a notebook binds."""
    trees = [ast.parse(re.sub(r"(?m)^\s*[%!].*$", "pass", cell["source"])) for cell in code_cells(load(path))]
    names = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {node.id for node in names if isinstance(node.ctx, ast.Store)}


def everything(path: Path, before: str) -> dict[str, Any]:
    """The names that a notebook has above the cell with the id ``before``: all its cells run, without race or pictures.

    A race that is run live counts as one whose text is missing: empty, which a notebook can take.
    """
    space = definitions(path)
    space["show"] = lambda *args, **kwargs: None
    for cell in code_cells(load(path)):
        if cell["id"] == before:
            return space
        if {"setup", "exercise", "check"} & set(tags(cell)):
            continue
        for statement in ast.parse(re.sub(r"(?m)^\s*[%!].*$", "pass", cell["source"])).body:
            lap = isinstance(statement, ast.Assign) and ".lap(" in ast.unparse(statement.value)
            code = f"{ast.unparse(statement.targets[0])} = {{}}" if lap else ast.unparse(statement)
            try:
                exec(compile(code, f"{path.name}:{cell['id']}", "exec"), space)
            except Exception:  # a picture of what was left out
                continue
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
