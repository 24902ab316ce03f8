"""References and published numbers, each in one place, so that no cell or table can quote them differently."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from .store import read_json
from .validate import one_of

DATA = Path(__file__).with_name("data")


@functools.cache
def references() -> dict[str, dict]:
    """Every work cited: key -> {"authors" (last names), "title", "year" (first public), and "arxiv" or "url"}."""
    return read_json(DATA / "references.json")


@functools.cache
def _published() -> dict[str, dict]:
    return read_json(DATA / "published.json")


def published(key: str) -> Any:
    """The published value(s) under ``key``: a number, or a dict of numbers (ValueError on an unknown key)."""
    return _published()[one_of("key", key, _published())]["value"]


def source(key: str) -> str:
    """Where a published value stands, as in "Shaw et al. 2018, Table 3" (ValueError on an unknown key)."""
    entry = _published()[one_of("key", key, _published())]
    return f"{cite(entry['source'])}, {entry['where']}"


def cite(key: str) -> str:
    """Short form of a reference: "Shaw et al. 2018" (ValueError on an unknown key)."""
    work = references()[one_of("key", key, references())]
    return f"{names(work['authors'], at_most=2)} {work['year']}"


def names(authors: list[str], at_most: int = 8) -> str:
    """Last names as a sentence has them: "Press, Smith and Lewis"; with "et al." if there are more than ``at_most``.

    A list that ends in "others" is one whose first author only is kept: it reads "Wang et al.".
    """
    if authors[-1] == "others" or len(authors) > at_most:
        return f"{authors[0]} et al."
    return " and ".join(filter(None, [", ".join(authors[:-1]), authors[-1]]))


def reference_list(*keys: str) -> str:
    """The references as Markdown list items with links, in the order given (ValueError on an unknown key)."""
    lines = []
    for key in keys:
        work = references()[one_of("key", key, references())]
        link = (
            f"[arXiv:{work['arxiv']}](https://arxiv.org/abs/{work['arxiv']})" if "arxiv" in work else f"<{work['url']}>"
        )
        lines.append(f"- {names(work['authors'])} ({work['year']}). *{work['title']}*. {link}")
    return "\n".join(lines)
