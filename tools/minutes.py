"""How long a notebook takes: one formula for all six, from what stands in it.

words / 150 + lines of code / 10 + pictures / 2, for the main path (the sections before "Claims, checked" that are not
"Deeper") and for the Deeper sections. Exercises take what their headings declare.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

AFTER = ("claims, checked", "exercises", "from memory", "summary", "references")
NOT_PROSE = (
    r"<!-- minutes -->.*?<!-- /minutes -->", r"```.*?```", r"\$\$.*?\$\$", r"\$[^$\n]*\$", r"<details>.*?</details>",
    r"<[^>]+>", r"https?://\S+", r"!?\[[^\]]*\]\([^)]*\)",
)  # fmt: skip
EXERCISE = re.compile(r"(?m)^\*\*\d\.\d[^\n]*?\b(\d+) minutes")


def words(markdown: str) -> int:
    """Words of prose: not the minutes themselves, no code, formulas, folded answers, tags, addresses or links."""
    for pattern in NOT_PROSE:
        markdown = re.sub(pattern, " ", markdown, flags=re.S)
    return len(re.findall(r"[A-Za-z][\w'-]*", markdown))


def minutes(cells: list[dict[str, Any]]) -> dict[str, int]:
    """Minutes of a notebook's parts: "main", "exercises", "deeper".

    Args:
        cells: of the notebook, as nbformat 4 has them.
    """
    total, declared, where = {"main": 0.0, "deeper": 0.0, "after": 0.0}, 0, "main"
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            for heading in re.findall(r"(?m)^## (.+)$", source):
                low = heading.strip().lower()
                where = "deeper" if low.startswith("deeper") else "after" if low.startswith(AFTER) else "main"
            total[where] += words(source) / 150
            declared += sum(map(int, EXERCISE.findall(source)))
        else:
            pictures = sum("image/png" in output.get("data", {}) for output in cell["outputs"])
            total[where] += sum(bool(line.strip()) for line in source.splitlines()) / 10 + pictures / 2
    return {"main": round(total["main"]), "exercises": declared, "deeper": round(total["deeper"])}


def of(path: Path) -> dict[str, int]:
    """:func:`minutes` of a notebook's file."""
    return minutes(json.loads(path.read_text(encoding="utf-8"))["cells"])


def sentence(found: dict[str, int]) -> str:
    """What a notebook's opening says of its length."""
    parts = [f"Main path: {found['main']} minutes", f"exercises: {found['exercises']}"]
    parts += [f"Deeper: {found['deeper']}"] if found["deeper"] else []
    return "; ".join(parts) + "."
