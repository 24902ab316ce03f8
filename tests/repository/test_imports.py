"""Who imports whom in helpers/, and what an import costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What pictures, tables, real weights and oracles need. numpy is not here: torch itself loads it.
HEAVY = {"matplotlib", "IPython", "PIL", "pandas", "plotly", "seaborn", "safetensors", "transformers", "joblib"}


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
    ],
)
def test_an_encoding_and_the_model_need_torch_and_nothing_else_of_weight(code):
    assert loaded_by(code).isdisjoint(HEAVY)


def test_show_and_start_are_there_when_asked_for():
    code = "import helpers; assert callable(helpers.start) and 'show' in dir(helpers); from helpers import show"
    assert "matplotlib" in loaded_by(code)
    with pytest.raises(AssertionError, match="has no attribute 'stop'"):
        loaded_by("import helpers; helpers.stop")
