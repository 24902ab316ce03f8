"""What every notebook is made of, and in which order: the main path first, everything else behind the exercises."""

from __future__ import annotations

import ast
import json
import re

import pytest

from tests.notebook_code import FILES, tree
from tools import minutes

LAST = ["Claims, checked", "Exercises", "From memory", "Summary"]
MAIN, DEEPER = 50, 30  # minutes at most
NO_RESULT = {"parameters", "setup", "exercise", "guess"}


def cells(number: str) -> list[dict]:
    """All cells of a notebook, each with its "source" as one string and its "part" ("main", "deeper", "after")."""
    part, out = "main", json.loads(FILES[number].read_text(encoding="utf-8"))["cells"]
    for cell in out:
        cell["source"] = "".join(cell["source"])
        cell["tags"] = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "markdown":
            for heading in re.findall(r"(?m)^## (.+)$", cell["source"]):
                low = heading.lower()
                part = "deeper" if low.startswith("deeper") else "after" if low.startswith(minutes.AFTER) else "main"
        cell["part"] = part
    return out


def code(number: str, part: str | None = None) -> list[dict]:
    return [c for c in cells(number) if c["cell_type"] == "code" and part in (None, c["part"])]


def calls(cell: dict, name: str) -> list[ast.Call]:
    """Calls of a function, or of an attribute of a module (``explore.``), in a cell."""
    found = [node for node in ast.walk(tree(cell)) if isinstance(node, ast.Call)]
    return [call for call in found if (ast.unparse(call.func) + ".").startswith(name)]


@pytest.mark.parametrize("number", FILES)
def test_the_main_path_comes_first_and_what_is_deeper_behind_the_exercises(number):
    text = "\n".join(c["source"] for c in cells(number) if c["cell_type"] == "markdown")
    titles = re.findall(r"(?m)^## (.+)$", text)
    after = titles[titles.index(LAST[0]) :]
    deeper = after[len(LAST) : -1]
    assert after == [*LAST, *deeper, "References"], "in this order: claims, exercises, recall, summary, Deeper, sources"
    assert all(title.startswith("Deeper: ") for title in deeper), deeper


@pytest.mark.parametrize("number", FILES)
def test_the_lengths_are_bearable_and_said(number):
    found = minutes.of(FILES[number])
    assert found["main"] <= MAIN and found["deeper"] <= DEEPER, found
    (promise,) = (c["source"] for c in cells(number) if c["id"] == "promise")
    assert f"<!-- minutes -->{minutes.sentence(found)}<!-- /minutes -->" in promise, "run: python3 tasks.py stamp"


@pytest.mark.parametrize("number", FILES)
def test_every_cell_of_the_main_path_shows_something(number):
    defines = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    silent = [
        cell["id"] for cell in code(number, "main")
        if not cell["outputs"] and not NO_RESULT & set(cell["tags"])
        and not all(isinstance(node, defines) for node in tree(cell).body)
    ]  # fmt: skip
    assert silent in ([], ["start"]), "a number, a table or a picture; then the next words read it"


@pytest.mark.parametrize("number", FILES)
def test_a_picture_is_one_line(number):
    for cell in code(number):
        for call in calls(cell, "show."):
            shown = ast.unparse(call.args[0])
            assert len(call.args) == 1 and not call.keywords and call.lineno == call.end_lineno, cell["id"]
            assert shown.startswith((f"pictures.nb{number}.", "pictures.", "explore.")), f"{cell['id']}: {shown}"


@pytest.mark.parametrize("number", FILES)
def test_there_is_something_to_commit_to_and_something_to_play_with(number):
    here = code(number)
    guesses = [i for i, cell in enumerate(here) if "guess" in cell["tags"]]
    assert len(guesses) >= 3, "a prediction is written down before it is measured"
    for i in guesses:
        names = {n.id for n in ast.walk(tree(here[i])) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        used = {
            ast.unparse(call.args[0]) for cell in here[i + 1 : i + 4] for call in calls(cell, "compare.") if call.args
        }
        assert names and names <= used, f"{here[i]['id']}: {names - used} is compared with nothing"
        assert "None" in here[i]["source"], f"{here[i]['id']}: the guess is the reader's"
    assert sum(bool(calls(cell, "explore.")) for cell in here) >= 2, "two explorables"


@pytest.mark.parametrize("number", FILES)
def test_exercises_say_how_long_they_take(number):
    text = "\n".join(c["source"] for c in cells(number) if c["cell_type"] == "markdown")
    titles = re.findall(r"(?m)^### (\d\.\d) ", text)
    took = dict(re.findall(r"(?m)^\*\*(\d\.\d)\*\*[^\n]*?\b(\d+) minutes", text))
    assert list(took) == titles and 4 <= len(took) <= 5, "### 1.1 Title, then: **1.1** Difficulty 1 of 3, 5 minutes."
    assert max(map(int, took.values())) >= 25, "one is a piece of half an hour"


@pytest.mark.parametrize("number", FILES)
def test_a_claim_is_decided_by_an_assertion(number):
    for cell in code(number):
        if any(tag.startswith("claim-") for tag in cell["tags"]):
            decided = [n for n in ast.walk(tree(cell)) if isinstance(n, ast.Assert)]
            assert len(decided) == 1, f"{cell['id']}: one assertion, readable, that decides the claim"
