"""Assertions on a notebook's own values run after its last cell, in its kernel, and can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import nbformat.v4 as v4
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("line", "code"), [("assert x == 3", 0), ("assert x == 4, 'x is no four'", 1)])
def test_values_see_the_names_of_the_notebook(tmp_path, line, code):
    for folder in ("notebooks", "tests/notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    saved = v4.new_notebook(cells=[v4.new_code_cell("x = 3", execution_count=1)])
    nbformat.write(saved, tmp_path / "notebooks" / "01_small.ipynb")
    values = "y = [x for _ in range(2)]\ndef f():\n    return x\nassert f() == 3\n" + line
    (tmp_path / "tests" / "notebooks" / "values_01.py").write_text(values, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider"]
    options = ["--nbval", "--nbval-current-env", "--rootdir", str(tmp_path), "-c", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, *options, str(tmp_path / "notebooks")], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("2 passed" in done.stdout) == (code == 0)
    assert code == 0 or ("x is no four" in done.stdout and "values_01.py" in done.stdout)
