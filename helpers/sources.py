"""References and published numbers, each in one place, so that no cell or table can quote them differently."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from .validate import one_of

DATA = Path(__file__).with_name("data")


@functools.cache
def references() -> dict[str, dict]:
    """Every work cited: key -> {"authors", "title", "year", and "arxiv" or "url"}."""
    return json.loads((DATA / "references.json").read_text(encoding="utf-8"))


@functools.cache
def _published() -> dict[str, dict]:
    return json.loads((DATA / "published.json").read_text(encoding="utf-8"))


def published(key: str) -> Any:
    """The published value(s) under ``key``: a number, or a dict of numbers (ValueError on an unknown key)."""
    return _published()[one_of("key", key, _published())]["value"]


def source(key: str) -> str:
    """Where a published value stands, as in "Shaw et al. 2018, Table 3" (ValueError on an unknown key)."""
    entry = _published()[one_of("key", key, _published())]
    work = references()[entry["source"]]
    return f"{cite(entry['source'])}, {entry['where']}" if work else entry["where"]


def cite(key: str) -> str:
    """Short form of a reference: "Shaw et al. 2018" (ValueError on an unknown key)."""
    work = references()[one_of("key", key, references())]
    authors = work["authors"]
    names = (
        authors[0]
        if len(authors) == 1
        else f"{authors[0]} and {authors[1]}"
        if len(authors) == 2
        else f"{authors[0]} et al."
    )
    return f"{names} {work['year']}"


def reference_list(*keys: str) -> str:
    """The references as Markdown list items with links, in the order given (ValueError on an unknown key)."""
    lines = []
    for key in keys:
        work = references()[one_of("key", key, references())]
        link = (
            f"[arXiv:{work['arxiv']}](https://arxiv.org/abs/{work['arxiv']})" if "arxiv" in work else f"<{work['url']}>"
        )
        lines.append(f"- {', '.join(work['authors'])} ({work['year']}). *{work['title']}*. {link}")
    return "\n".join(lines)
