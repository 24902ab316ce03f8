"""Adding an encoding as the README says leaves everything green; `new-encoding` writes what a kept one needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tools import new_encoding
from tools.common import Stop
from tools.project import Project

ROOT = Path(__file__).resolve().parents[2]
RECIPE = (
    (ROOT / "README.md").read_text(encoding="utf-8").split("## Add an encoding in five minutes")[1].split("\n## ")[0]
)


def copy(to: Path) -> Path:
    """The course without notebooks' environment, caches and history."""
    left_out = shutil.ignore_patterns(".git", ".venv", ".cache", "__pycache__", ".ipynb_checkpoints", ".*_cache")
    shutil.copytree(ROOT, to, ignore=left_out)
    return to


def add_the_readme_s_example(root: Path) -> None:
    """Steps 1 and 2 of the recipe, with the README's own code."""
    source = textwrap.dedent(re.search(r"```python\n(.*?)```", RECIPE, re.S)[1])
    file = re.search(r"`helpers/encodings/(\w+)\.py`", RECIPE)[1]
    entry = re.search(r"`(\"\w+\": lambda.*?)`", RECIPE)[1]
    name = re.search(r"^class (\w+)", source, re.M)[1]
    (root / "helpers" / "encodings" / f"{file}.py").write_text(source, encoding="utf-8")
    registry = root / "helpers" / "encodings" / "__init__.py"
    text = registry.read_text(encoding="utf-8")
    line = "SCHEMES: dict[str, Callable[..., Encoding]] = {\n"
    assert text.count(line) == 1
    text = text.replace("from .learned import", f"from .{file} import {name}\nfrom .learned import", 1)
    registry.write_text(text.replace(line, f"{line}    {entry},\n"), encoding="utf-8")


def run(root: Path, *arguments: str, **kwargs) -> subprocess.CompletedProcess:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", errors="replace", **kwargs)


def test_the_readme_s_example_races_and_is_recorded(tmp_path):
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    add_the_readme_s_example(tmp_path)
    program = (
        "from helpers import race, record\n"
        "tiny = dict(d_model=8, n_heads=2, n_layers=1, train_len=16, batch=4, steps=30, lengths=(16, 64), segments=2)\n"
        "race.PRESETS['quick'] = race.Settings(**tiny)\n"
        "record.main(['--only', 'mine', '--seeds', '2'])\n"
        "band = race.recorded('mine')\n"
        "print([r.seed for r in band.results], band.results[0].train[-1] < band.results[0].train[0])"
    )
    done = run(tmp_path, "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[0, 1] True"
    assert "mine,0.003,30,1,64,last," in (tmp_path / "results" / "race_quick" / "table.csv").read_text(encoding="utf-8")


SELECT = '''
def pytest_collection_modifyitems(items):
    """A case that the parameters of a test make for another scheme runs the same code as before."""
    items[:] = [item for item in items if "[" not in item.nodeid or "mine" in item.nodeid.lower()]
'''


def suite(root: Path, *options: str) -> None:
    """The tests of a copy but slow ones and this file, in one process; fails with the end of what they print."""
    done = run(root, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *options)
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.slow
def test_the_readme_s_example_leaves_the_suite_green(tmp_path):
    """Every test of the rooms that know the registry, with every case of the example's own."""
    root = copy(tmp_path / "course")
    add_the_readme_s_example(root)
    (root / "select_cases.py").write_text(SELECT, encoding="utf-8")
    rooms = ["tests/encodings", "tests/repository", "tests/studies/test_race.py", "tests/notebooks/test_display.py"]
    suite(root, "-p", "select_cases", *rooms, "--ignore", "tests/repository/test_recipe.py")


@pytest.mark.nightly
def test_the_readme_s_example_leaves_the_whole_suite_green(tmp_path):
    root = copy(tmp_path / "course")
    add_the_readme_s_example(root)
    suite(root, "tests", "--ignore", "tests/repository/test_recipe.py")


@pytest.mark.slow
def test_stubs_of_a_scheme_that_is_kept(tmp_path):
    """It runs at once, every place that owes it something knows its name, and its tests fail until they are written."""
    root = copy(tmp_path / "course")
    new_encoding.main(["a_bias"], Project(root))
    assert run(root, "-m", "ruff", "check", "helpers", "tests").returncode == 0
    assert run(root, "-m", "ruff", "format", "--check", "helpers", "tests").returncode == 0
    families = [f"tests/encodings/test_{name}.py" for name in ("a_bias", "closed_forms", "callers", "validate")]
    guards = [f"tests/repository/test_{name}.py" for name in ("evidence", "mutate")]
    chosen = "a_bias or ABias or kept or kinds or page or record"
    done = run(root, "-m", "pytest", *families, *guards, "-q", "-rf", "-p", "no:cacheprovider", "-k", chosen)
    failed = set(re.findall(r"(?m)^FAILED tests/\w+/(\w+)\.py::(\w+)", done.stdout))
    assert failed == {
        ("test_a_bias", "test_in_a_model_it_is_its_formula"),
        ("test_a_bias", "test_it_equals_an_implementation_that_is_not_ours"),
        ("test_evidence", "test_schemes_and_rules_have_both_kinds_of_oracle_where_a_package_exists"),
        ("test_evidence", "test_the_page_is_current"),
        ("test_mutate", "test_the_record_says_which_files_changed_since_their_mutants_ran"),
    }, done.stdout[-6000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 5, "what every scheme gets, it gets"


@pytest.mark.parametrize("name", ["Mine", "my-bias", "2d", "class", "_x", "x_", "a__b", "café", "a.b", ""])
def test_a_name_that_is_none_is_refused(name, tmp_path):
    with pytest.raises(Stop, match="NAME=.*: use lower-case letters"):
        new_encoding.main([name], Project(tmp_path))


@pytest.mark.parametrize(
    "name", ["rope", "alibi", "base", "extension", "window", "model", "biases", "encoding", "fire"]
)
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(Stop, match=f"NAME='{name}': .* is there already; .*nothing was written"):
        new_encoding.main([name], Project(ROOT))
