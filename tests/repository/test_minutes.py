"""The minutes that a notebook states: from its content, by one formula."""

from __future__ import annotations

import nbformat.v4 as v4

from tools import minutes
from tools.stamp import with_minutes


def notebook(*cells: tuple[str, str]) -> list[dict]:
    made = [v4.new_markdown_cell(text) if kind == "text" else v4.new_code_cell(text) for kind, text in cells]
    for cell in made:
        if "show" in cell["source"]:
            cell["outputs"] = [v4.new_output("display_data", data={"image/png": "", "text/plain": "a picture"})]
    return made


def test_each_part_counts_its_own():
    """150 words, ten lines, two pictures are a minute each; links, formulas and folded answers are free."""
    hidden = "[a link](there.md) $x + y$ <details><summary>Answer</summary>\n\nmany words here\n</details>\n"
    found = minutes.minutes(
        notebook(
            ("text", "# Title\n\n" + "word " * 329 + hidden), ("code", "x = 1\n\n" * 10), ("code", "show(x)\n" * 10),
            ("text", "## Claims, checked\n\n" + "word " * 600), ("text", "## Exercises\n\n### 1.1 One"),
            ("text", "**1.1** Difficulty 1 of 3, 8 minutes."), ("text", "**1.2** Difficulty 3 of 3, 30 minutes."),
            ("text", "## Deeper: more\n\n" + "word " * 449), ("text", "## References\n\n" + "word " * 900),
        )
    )  # fmt: skip
    assert found == {"main": 5, "exercises": 38, "deeper": 3}  # 2.2 + 2 + 0.5, rounded


def test_stating_the_minutes_does_not_change_them():
    opening = "One promise. <!-- minutes --><!-- /minutes --> You need time."
    before = minutes.minutes(notebook(("text", opening)))
    said = with_minutes(opening, {"main": 45, "exercises": 60, "deeper": 0})
    assert said == "One promise. <!-- minutes -->Main path: 45 minutes; exercises: 60.<!-- /minutes --> You need time."
    assert minutes.words(said) == minutes.words(opening) and before["main"] == 0
