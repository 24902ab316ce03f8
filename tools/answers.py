"""What an answer that is handed in may contain: read as text, before any of it runs.

An answer may use torch, NumPy, what the notebook defines, what it imports by name, and what stub and solution use, but
not the course's modules, which hold what is asked for. This stops what a class tries: taking the answer from there,
reaching for files or processes, replacing what the check compares with, an object that equals everything. It is no
sandbox: answers of strangers belong in a container.
"""

from __future__ import annotations

import ast
import re
from types import ModuleType
from typing import Any

FREE = ("math", "numpy", "torch", "itertools", "functools", "collections", "dataclasses", "typing", "__future__")
"""Packages that any answer may import from."""

REACHING = ("__import__ breakpoint compile delattr eval exec exit getattr globals input locals memoryview open quit"
            " setattr vars get_ipython __builtins__").split()  # fmt: skip
"""Built-in names that no answer needs, and that lead out of it."""

OUTSIDE = re.compile(
    r"os|sys|io|gc|subprocess|builtins|importlib|inspect|ctypes|modules|shutil|pathlib|hub|multiprocessing|testing|"
    r"load|loadtxt|save|savez\w*|savetxt|tofile|fromfile|memmap|open|dumps?|system|popen|kill|unlink|"
    r"to_(?:csv|pickle|json|html|excel|parquet)|read_\w+|write_\w+|[ft]b?_(?:frame|back|globals|locals|builtins|code)|"
    r"gi_\w+|cr_\w+|ag_\w+"
)
SPECIAL = ("__init__", "__call__", "__name__", "__doc__", "__repr__", "__len__", "__getitem__", "__post_init__")
"""Special names that an answer may define or use; every other one changes what a comparison means."""


def refused(answer: str, own: str, scope: dict[str, Any]) -> str | None:
    """Why an answer is not run, as a sentence; None if it may run.

    Args:
        answer: the source that was handed in.
        own: sources of the exercise's stub and solution; what they use is allowed.
        scope: names that the notebook has given its reader.

    Raises:
        SyntaxError: if the answer is no Python.
    """
    tree, given = ast.parse(answer), ast.parse(own)
    allowed = {node.id for node in ast.walk(given) if isinstance(node, ast.Name)}
    imports = {pair for node in ast.walk(given) for pair in imported(node)}
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if found := _of(node, allowed, imports, bound - {*scope}, scope):
            return found
    return None


def imported(node: ast.AST) -> list[tuple[str, str]]:
    """(module, name) of an import statement; the name is "" for a module itself."""
    if isinstance(node, ast.Import):
        return [(alias.name, "") for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [("." * node.level + (node.module or ""), alias.name) for alias in node.names]
    return []


def _of(node: ast.AST, allowed: set, imports: set, bound: set, scope: dict[str, Any]) -> str | None:
    for module, name in imported(node):
        outside = any(OUTSIDE.fullmatch(word) for word in (*module.split("."), name))
        if (module, name) in imports or (module.startswith("helpers.") and name in allowed):
            continue
        if module.split(".")[0] not in FREE or outside:
            return f"it imports {name or module}; write it with torch, NumPy and what the notebook defines."
    if isinstance(node, ast.Name) and node.id not in allowed:
        if node.id in REACHING:
            return f"it uses {node.id}, which no answer needs."
        value = scope.get(node.id)
        hidden = isinstance(value, ModuleType) or _home(value, 2) == "helpers.exercises"
        if node.id not in bound and hidden and _home(value) == "helpers":
            return f"it uses {node.id} of the course's helpers; write it with what the notebook defines."
    names = [node.attr] if isinstance(node, ast.Attribute) else []
    names += [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
    names += [node.id] if isinstance(node, ast.Name) else []
    names += [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
    for name in names:
        if re.fullmatch(r"__\w+__", name) and name not in SPECIAL:
            return f"it uses {name}, which no answer needs."
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\.__\w", node.value):
        return "it formats special attributes, which no answer needs."
    if isinstance(node, ast.Attribute) and (OUTSIDE.fullmatch(node.attr) or re.match(r"_[^_]", node.attr)):
        return f"it uses .{node.attr}, which leads out of the exercise."
    if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
        root = node.value
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        if isinstance(root, ast.Name) and root.id != "self" and root.id not in bound:
            return f"it changes {ast.unparse(node)}, which is not its own."
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "type" and len(node.args) > 1:
        return "it makes a class with type(...); write class."
    return None


def _home(value: Any, parts: int = 1) -> str:
    """The package that a value comes from, "" if it tells none; ``parts`` of its dotted name."""
    home = getattr(value, "__module__", None) or getattr(value, "__name__", "")
    return ".".join(str(home).split(".")[:parts])
