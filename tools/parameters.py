"""Parameters given on the command line, checked against the notebooks before anything runs (papermill would not)."""

from __future__ import annotations

import ast
import difflib
import re
from pathlib import Path
from typing import Any

from .common import Stop
from .project import Project

WORDS = {"true": True, "false": False, "none": None, "null": None}
TYPES = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}


def declared(path: Path) -> dict[str, tuple[str, Any]]:
    """Parameters of a notebook: name -> (type as annotated, default), from the cell tagged ``parameters``."""
    import papermill

    try:
        found = papermill.inspect_notebook(str(path))
    except ValueError as error:  # an editor left out which language it is
        raise Stop(f"{path.name}: {error} Run: python3 tasks.py format") from None
    return {name: (one["inferred_type_name"], literal(one["default"])) for name, one in found.items()}


def literal(text: str) -> Any:
    """The Python value that ``text`` writes, or ``text`` itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def fits(value: Any, kind: str) -> bool:
    """Whether ``value`` is of a type as notebooks annotate it: bool, int, float, str, or list[one of them]."""
    outer, _, inner = kind.rstrip("]").partition("[")
    if outer == "list":
        return isinstance(value, list | tuple) and all(fits(item, inner) for item in value)
    return isinstance(value, TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))


def convert(name: str, text: str, kind: str, default: Any = None) -> Any:
    """``text`` from the command line as a value of type ``kind``; Stop if it is none."""
    value = WORDS.get(text.lower(), literal(text))
    if kind == "str":
        return value if text[:1] in "'\"" and isinstance(value, str) else text
    if not fits(value, kind):
        raise Stop(f"parameter {name}={text}: {kind} is expected (the notebook has {name}={default!r}).")
    return float(value) if kind == "float" else list(value) if kind.startswith("list") else value


def parse(pairs: list[list[str]] | None, paths: list[Path], project: Project) -> dict[str, Any]:
    """The values of NAME=VALUE pairs; Stop if one does not fit the parameters of every notebook in ``paths``."""
    values: dict[str, Any] = {}
    for words in pairs or []:  # "-p base=500", or as papermill has it "-p base 500"
        name, equals, text = "=".join(words).partition("=")
        if not equals or len(words) > 2:
            raise Stop(f"-p {' '.join(words)}: write it as NAME=VALUE, for example -p base=500.")
        if name == "figures_dir":
            raise Stop("-p figures_dir: use --out DIR.")
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise Stop(f"-p {' '.join(words)}: {name!r} is not the name of a parameter.")
        for path in paths:
            known = declared(path)
            if name not in known:
                close = difflib.get_close_matches(name, known, 1, 0.5)
                hint = f" Did you mean {close[0]}?" if close else ""
                others = [p.name[:2] for p in project.all() if name in declared(p)]
                where = f" It is one of notebook {', '.join(others)}: add --only {','.join(others)}." if others else ""
                raise Stop(f"{path.name} has no parameter {name!r}.{hint}{where} It has: {', '.join(known) or 'none'}.")
            values[name] = convert(name, text, *known[name])
    return values
