"""The glossary: one meaning a term, every term in use, and a link to it in every opening."""

from __future__ import annotations

import functools
import re

import pytest

from tests.notebook_code import FILES, ROOT, cells


@functools.cache
def rows() -> list[tuple[str, str]]:
    """(term, meaning) of the glossary; several terms of one row share its meaning."""
    page = (ROOT / "GLOSSARY.md").read_text(encoding="utf-8")
    table = re.findall(r"(?m)^\| (?!term)([^|-][^|]*?) \| (.+?) \|$", page)
    return [(term, meaning) for terms, meaning in table for term in terms.split(", ")]


def used(term: str, text: str) -> bool:
    """True if a term, or its plural, stands in a text."""
    return bool(re.search(rf"(?<![\w-]){re.escape(term)}(?:s|es|ly)?(?![\w-])", text, re.I))


def test_the_glossary_gives_each_term_one_meaning():
    terms = [term.lower() for term, _ in rows()]
    assert terms and len(terms) == len(set(terms))


@pytest.mark.parametrize("term", [term for term, _ in rows()])
def test_every_entry_of_the_glossary_is_used(term):
    """In the text or the code of some notebook, whatever it is."""
    text = " ".join(cell["source"] for n in FILES for cell in cells(n))
    assert used(term, text.replace("_", " ") if "_" not in term else text)


@pytest.mark.parametrize("number", FILES)
def test_the_opening_links_to_the_glossary(number):
    opening = next(c["source"] for c in cells(number)[1:] if c["type"] == "markdown")
    links = re.search(r"\[[^\]]*glossary[^\]]*\]\(\.\./GLOSSARY\.md\)", opening, re.I)
    assert links, "say where the words are explained"


def test_use_is_of_whole_words():
    assert used("logit", "two logits") and used("query", "a query")
    assert not used("head", "ahead") and not used("nat", "nature")
