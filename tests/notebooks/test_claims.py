"""The ledger of claims: every claim has its cell, every cell its claim, every verdict its assertion and its source."""

from __future__ import annotations

import ast
import collections
import json
import re

import pytest

from helpers import sources
from tests.notebook_code import FILES, ROOT, cells, code, section, tree

LEDGER = json.loads((ROOT / "helpers" / "data" / "claims.json").read_text(encoding="utf-8"))
each = pytest.mark.parametrize("claim", LEDGER, ids=lambda c: c["id"])


def test_the_ledger_is_in_order():
    ids = [claim["id"] for claim in LEDGER]
    assert len(ids) == len(set(ids))
    statements = [claim["statement"].lower() for claim in LEDGER]
    assert len(statements) == len(set(statements))
    assert [c["notebook"] for c in LEDGER] == sorted(c["notebook"] for c in LEDGER)


@each
def test_a_claim_is_complete(claim):
    assert set(claim) - {"dials"} == {"id", "statement", "verdict", "kind", "notebook", "evidence", "source"}
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", claim["id"])
    assert claim["verdict"] in ("true", "false", "depends")
    assert claim["kind"] in ("proof", "computed exactly", "experiment", "published")
    assert re.fullmatch(r"0[1-6]", claim["notebook"])
    assert claim["statement"].strip() and claim["evidence"].strip()


CITED = {sources.cite(key): key for key in sources.references()}


@each
def test_a_claim_names_sources_that_are_listed(claim):
    """ "computed", a key of references.json or published.json, a short citation, or an address, separated by ";"."""
    for part in re.split(r";\s*", claim["source"]):
        known = (
            re.search(r"\b(computed|measured|recorded)\b", part)
            or re.split(r"[\s,.:(]", part)[0] in sources.references()
            or any(part.startswith(cite) for cite in CITED)
            or part.startswith("https://")
            or re.match(r"transformers \d", part)
        )
        assert known, f"{part!r} is neither 'computed' nor a listed reference"


@each
def test_a_claim_is_decided_by_a_cell_that_ran_and_asserts(claim):
    tag = f"claim-{claim['id']}"
    for number in FILES:
        tagged = [cell for cell in cells(number) if tag in cell["tags"]]
        if number != claim["notebook"]:
            assert not tagged, f"{tag} also stands in notebook {number}"
            continue
        assert tagged, f"no cell of notebook {number} is tagged {tag}"
        assert all(cell["type"] == "code" and cell["ran"] for cell in tagged)
        assert not any("nbval-skip" in cell["tags"] for cell in tagged)
        asserts = [n for cell in tagged for n in ast.walk(tree(cell)) if isinstance(n, ast.Assert)]
        assert asserts, f"{tag}: the deciding cell asserts nothing"
        # A comparison of constants would hold whatever was computed.
        assert any(isinstance(n, ast.Name) for a in asserts for n in ast.walk(a.test)), f"{tag}: asserts a constant"


def test_every_tag_belongs_to_a_claim_of_its_notebook():
    known = {(claim["notebook"], claim["id"]) for claim in LEDGER}
    for number in FILES:
        for cell in cells(number):
            for tag in cell["tags"]:
                if tag.startswith("claim-"):
                    assert (number, tag[6:]) in known, f"{tag} of notebook {number} is not in the ledger"


@pytest.mark.parametrize("number", FILES)
def test_the_notebook_s_own_table_agrees_with_the_ledger(number):
    text = section(number, "Claims, checked")
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    shown = collections.Counter(re.findall(r"\*\*(true|false|depends)\*\*", "\n".join(rows), re.I))
    mine = collections.Counter(claim["verdict"] for claim in LEDGER if claim["notebook"] == number)
    assert shown == mine, f"the table shows {dict(shown)}, the ledger has {dict(mine)}"
    assert len(rows) == sum(mine.values()) > 0


def test_the_readme_lists_every_claim_with_its_verdict():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- claims -->(.*?)<!-- /claims -->", readme, re.S)
    assert block, "README.md has no generated list of claims"
    for claim in LEDGER:
        (row,) = [r for r in block[1].splitlines() if claim["statement"].replace("|", "\\|") in r] or [""]
        assert f"| {claim['verdict']} |" in row, f"README.md is not current for {claim['id']}: run tasks.py stamp"


@pytest.mark.parametrize("number", FILES)
def test_quoted_numbers_come_from_the_data_file(number):
    """A cell that quotes a paper's table takes it from published.json: every key asked for exists."""
    keys = set(sources._published())
    for cell in code(number):
        for node in ast.walk(tree(cell)):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("published", "source")):
                continue
            if node.args and isinstance(node.args[0], ast.Constant):
                assert node.args[0].value in keys, f"{cell['id']}: {node.args[0].value} is not in published.json"


@pytest.mark.parametrize("number", FILES)
def test_references_section_is_that_of_the_data_file(number):
    """Every arXiv id named in a notebook is in references.json, and listed with the title given there."""
    by_id = {work["arxiv"]: (key, work) for key, work in sources.references().items() if "arxiv" in work}
    text = section(number, "References")
    listed = set(re.findall(r"arXiv:(\d{4}\.\d{4,5})", text))
    assert listed
    for arxiv in listed:
        assert arxiv in by_id, f"arXiv:{arxiv} is not in references.json"
        key, _ = by_id[arxiv]
        assert sources.reference_list(key) in text, f"{key} is not listed as sources.reference_list gives it"
    everywhere = "\n".join(cell["source"] for cell in cells(number))
    for arxiv in set(re.findall(r"(?<![\d.])(\d{4}\.\d{5})(?![\d.])", everywhere)):
        if 1501 <= int(arxiv[:4]) <= 2612 and f"arXiv {arxiv}" in everywhere or f"arXiv:{arxiv}" in everywhere:
            assert arxiv in listed, f"arXiv:{arxiv} is cited but not under References"
