"""Who imports whom in helpers/, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What pictures, tables, real weights and oracles need. numpy is not here: torch itself loads it.
HEAVY = {"matplotlib", "IPython", "PIL", "pandas", "plotly", "seaborn", "safetensors", "transformers", "joblib"}

# Room of helpers/ (a file or a folder) -> the rooms it may import. A room knows only rooms that stand above it here.
MAY_IMPORT = {
    "validate": "",
    "progress": "",
    "lazy": "",
    "check_encoding": "",
    "encodings": "validate",
    "model": "validate encodings",
    "store": "validate",
    "sources": "validate store",
    "dials": "validate store",
    "corpus": "validate store",
    "task": "validate store corpus",
    "training": "validate progress encodings model store corpus",
    "race": "validate progress encodings model store corpus task training",
    "record": "validate progress encodings model store corpus task training race",
    "studies": "lazy validate progress encodings model store corpus task training race record",
    "pretrained": "lazy validate progress encodings model store corpus record",
    "plotting": "validate encodings",
    "explain": "validate encodings",
    "facts": "",
    "knobs": "validate",
    "guess": "validate",
    "explore": "validate encodings plotting explain",
    "display": "validate store plotting facts knobs explore",
    "pictures": "lazy validate encodings corpus plotting explain",
    "scorecard": "validate encodings model",
    "exercises": "validate encodings model corpus race pretrained scorecard",
}


def imported(path: Path) -> set[str]:
    """What a file of helpers/ imports: rooms of helpers as "helpers.ROOM", everything else by its top-level name.

    Imports inside functions count. Imports under ``if TYPE_CHECKING`` name the shape of data and do not.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unread = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    skipped = {id(n) for branch in unread for n in ast.walk(branch)}
    package = ("helpers", *path.relative_to(ROOT / "helpers").with_suffix("").parts)[:-1]
    names = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            names += [".".join([*base, alias.name]) for alias in node.names]
    return {".".join(name.split(".")[: 2 if name.startswith("helpers.") else 1]) for name in names}


def test_every_room_imports_only_what_stands_below_it():
    arrows = {}  # (from, to): a file that has it
    for path in sorted((ROOT / "helpers").rglob("*.py")):
        room = path.relative_to(ROOT / "helpers").with_suffix("").parts[0]
        if room == "__init__":  # loads display on first use, nothing else
            continue
        assert room in MAY_IMPORT, f"{path.name}: give the new room helpers/{room} a line in MAY_IMPORT of this test"
        names = imported(path)
        outside = sorted(names & {"tests", "tools", "tasks", "conftest", "notebooks", "helpers"})
        assert not outside, f"{path} imports {outside}: helpers stands alone"
        found = {name.split(".")[1] for name in names if name.startswith("helpers.")} - {room}
        arrows |= {(room, other): path.name for other in found}
    allowed = {(room, other) for room, others in MAY_IMPORT.items() for other in others.split()}
    more = {arrow: file for arrow, file in arrows.items() if arrow not in allowed}
    assert not more, f"{more}: move what both need to a room below them, or hand it over as an argument"


def test_the_table_has_no_circle():
    rooms = list(MAY_IMPORT)
    for room, others in MAY_IMPORT.items():
        later = [other for other in others.split() if rooms.index(other) >= rooms.index(room)]
        assert not later, f"{room} may not know {later}: they stand at or below it in MAY_IMPORT"


def test_how_imports_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "helpers" / "studies" / "some.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import os.path\nfrom .. import race, corpus\nfrom ..encodings.rope import RoPE\nfrom . import other\n"
        "from helpers.model import CausalLM\nimport helpers.store\nimport tests\n"
        "if TYPE_CHECKING:\n    from ..display import show\ndef f():\n    from ..record import run\n",
        encoding="utf-8",
    )
    rooms = {f"helpers.{room}" for room in ("race", "corpus", "encodings", "studies", "model", "store", "record")}
    assert imported(file) == rooms | {"os", "tests"}


def loaded_by(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after ``code``."""
    code += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import helpers",
        "from helpers.encodings import RoPE; RoPE(8)",
        "from helpers.model import CausalLM; CausalLM(5)",
        "from tools.explain import main; main(['helpers/data/configs/qwen2.5-7b-instruct.json', '--target', '131072'])",
    ],
)
def test_an_encoding_and_the_model_need_torch_and_nothing_else_of_weight(code):
    assert loaded_by(code).isdisjoint(HEAVY)


def test_show_and_start_are_there_when_asked_for():
    code = "import helpers; assert callable(helpers.start) and 'show' in dir(helpers); from helpers import show"
    assert "matplotlib" in loaded_by(code)
    with pytest.raises(AssertionError, match="has no attribute 'stop'"):
        loaded_by("import helpers; helpers.stop")
