"""How a notebook is named on the command line, and which parameters are taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.repository.miniature import add_notebook, contents, notebook
from tools import figures, parameters
from tools.common import Stop
from tools.project import Project, load

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("only", ["02", "2", "02_sinusoidal", "notebooks/02_sinusoidal.ipynb", "2,02"])
def test_a_notebook_can_be_named_in_several_ways(course, only):
    assert [path.name for path in course.select(only)] == ["02_sinusoidal.ipynb"]


@pytest.mark.parametrize(
    "only, hint",
    [
        ("7", "There are: 02_sinusoidal"),
        ("sinusoidal", "Did you mean 02_sinusoidal"),
        (",", "names no notebook"),
        ("", "names no notebook"),
    ],
)
def test_unknown_notebook(course, only, hint):
    with pytest.raises(Stop, match=hint):
        figures.main(["--only", only], course)


@pytest.mark.parametrize(
    "words, message",
    [
        (["bsae=500"], "Did you mean base?"),
        (["nothing=1"], "has no parameter 'nothing'"),
        (["base"], "NAME=VALUE"),
        (["base=fast"], "base=fast: float is expected"),
        (["d_model=16.5"], "d_model=16.5: int is expected"),
        (["seed=true"], "seed=true: int is expected"),
        (["pretrained=1"], "pretrained=1: bool is expected"),
        (["lengths=3"], "lengths=3: list[int] is expected"),
        (["lengths=[1, 'a']"], "list[int] is expected"),
        (["figures_dir=x"], "use --out DIR"),
    ],
)
def test_bad_parameters_are_refused_before_anything_runs(course, words, message):
    before = contents(course.figures)
    with pytest.raises(Stop, match=re.escape(message)):
        figures.main(["--out", str(course.root / "out"), "-p", *words], course)
    assert contents(course.figures) == before and not (course.root / "out").exists()


@pytest.mark.parametrize(
    "text, kind, value",
    [
        ("500", "float", 500.0),
        ("1e4", "float", 10000.0),
        ("7", "int", 7),
        ("true", "bool", True),
        ("False", "bool", False),
        ("full", "str", "full"),
        ("12", "str", "12"),
        ("'a b'", "str", "a b"),
        ("[1, 2]", "list[int]", [1, 2]),
        ("(1, 2.5)", "list[float]", [1, 2.5]),
    ],
)
def test_values_take_the_annotated_type(text, kind, value):
    made = parameters.convert("name", text, kind)
    assert made == value and type(made) is type(value)


def test_every_parameter_of_the_notebooks_is_known():
    """papermill reads the parameters cell line by line: no annotation may be beyond it."""
    for path in Project(ROOT).all():
        cell = next(cell for cell in load(path)["cells"] if "parameters" in cell["metadata"].get("tags", []))
        names = re.findall(r"(?m)^(\w+):", cell["source"])
        found = parameters.declared(path)
        assert list(found) == names
        assert all(parameters.fits(default, kind) or default is None for kind, default in found.values())


def test_parameters_of_the_committed_figures_cannot_be_changed_by_accident(course):
    with pytest.raises(Stop, match="add --out DIR"):
        figures.main(["-p", "base=500"], course)


def test_a_parameter_of_another_notebook_is_pointed_to(course):
    course = add_notebook(course, "03_learned.ipynb", notebook().replace("base: float", "theta: float"))
    with pytest.raises(Stop, match="add --only 02"):
        figures.main(["--out", str(course.root / "out"), "-p", "base=5"], course)
