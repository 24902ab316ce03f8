"""The sets for a class and its instructor, and the grader of answers that were handed in."""

from __future__ import annotations

import functools
import importlib
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

import tasks
from helpers.exercises import feedback
from tools import course, grade
from tools.answers import refused
from tools.common import Stop
from tools.definitions import definitions
from tools.exercises import SOLUTION, Exercise
from tools.exercises import exercises as exercises_of
from tools.project import HERE, Project, load

PATHS = {path.name[:2]: path for path in Project().all()}
EXERCISES = {number: one for path in PATHS.values() for number, one in exercises_of(path).items()}


@functools.cache
def scope(number: str) -> dict[str, Any]:
    return definitions(PATHS[f"0{number[0]}"])


def own(exercise: Exercise) -> str:
    return f"{exercise.stub}\n{exercise.solution}"


def verdict(number: str, source: str) -> str:
    """What the grader says of an answer, in this process."""
    return grade.verdict(source, PATHS[f"0{number[0]}"], EXERCISES[number], dict(scope(number)), feedback)


# ---------------------------------------------------------------------------------------------------------- the grader


SLOW = ("2.4",)  # trains


@pytest.mark.parametrize("number", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in EXERCISES])
def test_a_solution_gets_its_points_and_a_stub_none(number):
    assert verdict(number, EXERCISES[number].solution) == f"{number} OK"
    assert verdict(number, course.solved(EXERCISES[number])) == f"{number} OK"
    assert verdict(number, EXERCISES[number].stub) == f"{number} TODO"


@pytest.mark.nightly
@pytest.mark.parametrize("number", EXERCISES)
def test_every_classic_mistake_gets_none(number):
    wrong = importlib.import_module(f"helpers.exercises.nb0{number[0]}").MISTAKES[number]
    for words, source in wrong.items():
        names = re.findall(r"\w+", EXERCISES[number].expression)
        source += f"\n{names[0]} = answer" if re.search(r"\banswer\b", source) and len(names) == 1 else ""
        said = verdict(number, source)
        assert said.startswith(f"{number} not yet: ") and (words in said or len(names) > 1), said


@pytest.mark.parametrize("number", EXERCISES)
def test_honest_answers_are_not_suspected(number):
    """Wrong ones, too, are told what is wrong with them, not that they are forbidden."""
    wrong = importlib.import_module(f"helpers.exercises.nb0{number[0]}").MISTAKES[number].values()
    for source in wrong:
        source = source.replace("__import__('torch')", "torch")  # a shortcut of the list itself
        assert refused(source, own(EXERCISES[number]), scope(number)) is None, source


COPY = "def apply_rotary(x, position_ids, cos, sin):\n    return x"
CHEATS = {
    "the solution imported from helpers": ("4.1", "from helpers.encodings.rope import rope as answer", "imports rope"),
    "a check's own function": ("4.1", f"from helpers.exercises.nb04 import _halves\n{COPY}", "imports _halves"),
    "the checks patched": ("2.1", "exercises.feedback = max\nfind_base = 1", "changes exercises.feedback"),
    "a scheme of the course": ("5.4", "chunk_mask = encodings.build('alibi', 4)", "uses encodings"),
    "torch patched": ("4.1", f"torch.allclose = lambda *a, **k: True\n{COPY}", "changes torch.allclose"),
    "torch patched by an alias": ("4.1", f"t = torch\nt.allclose = lambda *a, **k: 1\n{COPY}", "replaces torch."),
    "a tensor's method patched": ("4.1", f"torch.Tensor.double = lambda s: 0\n{COPY}", "changes torch.Tensor.double"),
    "setattr": ("4.1", f"setattr(torch, 'allclose', max)\n{COPY}", "uses setattr"),
    "an object that equals everything": ("2.2", "class K:\n    def __eq__(s, o): return 1\nfirst_k = K()", "__eq__"),
    "the same, made by type": ("2.2", "first_k = type('K', (int,), {'__eq' + '__': max})(9)", "type"),
    "prints the verdict": ("2.2", "print('2.2 OK')\nfirst_k = 9", "not yet"),
    "ends the process": ("2.2", "import sys\nsys.exit(0)", "imports sys"),
    "ends it through torch": ("2.2", "torch.os.abort()", ".os"),
    "ends it politely": ("2.2", "first_k = 3\nraise SystemExit(0)", "SystemExit"),
    "writes a file": ("2.2", "open('helpers/exercises/nb02.py', 'w').write('')\nfirst_k = 9", "uses open"),
    "writes a file through NumPy": ("2.2", "np.zeros(1).tofile('helpers/exercises/nb02.py')\nfirst_k = 9", "tofile"),
    "writes a file through pandas": ("2.2", "pd.DataFrame().to_csv('x.csv')\nfirst_k = 9", "to_csv"),
    "looks at the frames": ("2.2", "def f():\n    yield\nfirst_k = f().gi_frame.f_back", "f_back"),
    "looks around": ("2.2", "first_k = (3).__class__.__base__.__subclasses__()", "__subclasses__"),
    "no Python": ("2.2", "first_k = = 3", "SyntaxError"),
    "nothing": ("2.2", "", "NameError"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_gets_no_points_and_is_told_why(name):
    number, source, words = CHEATS[name]
    import torch

    before = torch.allclose
    try:
        said = verdict(number, source)
    finally:
        torch.allclose = before
    assert said.startswith(f"{number} not yet: ") and words in said and "\n" not in said, said


def test_an_answer_may_use_what_the_notebook_computes():
    """The mask of 1.3 found by trying: `means` of its stub reads the 60 sentences of the main path."""
    one = EXERCISES["1.3"]
    source = f"{one.stub}\nassert means(np.ones((5, 5), dtype=bool)) == 1\n{one.solution}"
    assert verdict("1.3", source) == "1.3 OK"
    said = verdict("1.3", "cheapest = my_own_helper()")
    assert "my_own_helper" in said and said.endswith("with what the notebook above it defines.")


@pytest.fixture
def handed_in(tmp_path) -> Any:
    """A function that hands in notebook 04 with other sources: cell id -> source, None for a cell that is gone."""

    def write(**sources: str | None) -> Path:
        notebook = load(PATHS["04"])
        sources = {name.replace("_", "-"): source for name, source in sources.items()}
        notebook["cells"] = [cell for cell in notebook["cells"] if sources.get(cell["id"], "") is not None]
        for cell in notebook["cells"]:
            cell["source"] = sources.get(cell["id"], cell["source"])
        path = tmp_path / "handed_in.ipynb"
        path.write_text(json.dumps(notebook), encoding="utf-8")
        return path

    return write


def test_only_the_answer_s_cell_counts_and_in_a_process_of_its_own(handed_in, capsys):
    patched = "import helpers.exercises\nhelpers.exercises.feedback = lambda number, answer: number + ' OK'"
    path = handed_in(setup=patched, check_1="print('4.1 OK')", ex_1=COPY)
    assert grade.main([str(path), "4.1"]) == 1
    assert capsys.readouterr().out.startswith("4.1 not yet: ")
    path = handed_in(setup="raise SystemExit", ex_1=EXERCISES["4.1"].solution)
    assert grade.main([str(path), "4.1"]) == 0
    assert capsys.readouterr().out == "4.1 OK\n"


def test_a_lost_cell_cannot_be_graded(handed_in, capsys):
    assert grade.main([str(handed_in(ex_1=None)), "4.1"]) == 2
    assert "no code cells with the id 'ex-1'" in capsys.readouterr().out
    assert grade.main([str(handed_in()), "4.9"]) == 2
    assert "there is no exercise 4.9" in capsys.readouterr().out


def test_broken_helpers_are_an_error_and_no_grade(tmp_path):
    """A grader's copy without helpers: nobody may get a zero for it."""
    for name in ("notebooks", "tools"):
        (tmp_path / name).symlink_to(HERE / name)
    (tmp_path / "project.json").symlink_to(HERE / "project.json")
    with pytest.raises(Stop, match="own helpers failed"):
        grade.judge(EXERCISES["4.1"].solution, "4.1", Project(tmp_path))


def test_an_answer_that_never_ends_is_ended(monkeypatch):
    monkeypatch.setattr(grade, "PATIENCE", 0.2)
    assert "not done within" in grade.judge("first_k = 3", "2.2")


# ------------------------------------------------------------------------------------------------------------ the sets


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "class"
    assert course.main(["--out", str(folder), "--no-execute"]) == 0
    return folder


def flat(text: str) -> str:
    return re.sub(r"\s+", "", text)


def test_the_students_notebooks_have_hints_but_no_solutions_and_no_outputs(sets):
    for number, path in PATHS.items():
        student = sets / "student" / "notebooks" / path.name
        nbformat.validate(nbformat.read(student, as_version=4))
        notebook = load(student)
        text = "\n".join(cell["source"] for cell in notebook["cells"])
        assert "Solution</summary>" not in text
        assert text.count("<summary>Hint</summary>") == len(exercises_of(path))
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook["cells"])
        before = load(path)["cells"]
        assert [cell["id"] for cell in notebook["cells"]] == [cell["id"] for cell in before]
        kept = {cell["id"]: SOLUTION.sub("", cell["source"]).rstrip() for cell in before}
        assert all(cell["source"].rstrip() == kept[cell["id"]] for cell in notebook["cells"]), number


def test_no_file_of_the_students_holds_a_solution_or_the_list_of_mistakes(sets):
    solutions = {number: flat(one.solution) for number, one in EXERCISES.items() if len(flat(one.solution)) > 40}
    assert len(solutions) > 20
    files = [path for path in (sets / "student").rglob("*") if path.suffix in (".py", ".ipynb", ".md", ".json")]
    assert len(files) > 150
    for path in files:
        text = path.read_text(encoding="utf-8")
        text = "\n".join(c["source"] for c in load(path)["cells"]) if path.suffix == ".ipynb" else text
        assert not [number for number, solution in solutions.items() if solution in flat(text)], path
        assert "MISTAKES" not in text or path.name == "__init__.py", path
    assert not [name for name in ("tests", "teaching", "figures", ".git") if (sets / "student" / name).exists()]


def test_links_in_the_sets_lead_somewhere(sets):
    for folder in ("student", "instructor"):
        pages = [*(sets / folder / "notebooks").glob("*.ipynb"), *(sets / folder).glob("*.md")]
        for page in pages:
            text = page.read_text(encoding="utf-8")
            for target in re.findall(r"\]\((?!https?:|#|attachment:)([^)#\s\"\\]+)", text):
                assert (page.parent / target).exists(), f"{folder}/{page.name}: {target}"


def test_the_instructor_s_notebooks_have_the_solutions_in_place(sets):
    for path in PATHS.values():
        cells = {cell["id"]: cell["source"] for cell in load(sets / "instructor" / "notebooks" / path.name)["cells"]}
        for one in exercises_of(path).values():
            assert cells[one.cell].endswith(one.solution.rstrip())


def test_points_come_from_the_notebooks(sets):
    rows = (sets / "instructor" / "points.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(rows) == len(EXERCISES)
    for row, (number, one) in zip(rows, EXERCISES.items(), strict=True):
        first, *_, difficulty, minutes, points = row.split(",")
        assert (first, int(difficulty), int(minutes)) == (number, one.difficulty, one.minutes)
        assert int(points) == round(one.minutes / 5) > 0
        assert f"| {number} " in (sets / "student" / "README.md").read_text(encoding="utf-8")


def test_the_students_commands_are_there_and_the_others_say_what_is_missing(sets):
    tools = {path.stem for path in (sets / "student" / "tools").glob("*.py")}
    for name, command in tasks.COMMANDS.items():
        module = command.module.removeprefix("tools.")
        assert not module or (module in tools) == (name in course.COMMANDS), name


@pytest.mark.slow
def test_an_executed_set_of_one_notebook_has_every_check_say_ok(tmp_path):
    assert course.main(["--out", str(tmp_path / "class"), "--only", "01"]) == 0
    (made,) = (tmp_path / "class" / "instructor" / "notebooks").iterdir()
    cells = load(made)["cells"]
    printed = "".join("".join(o.get("text", "")) for cell in cells for o in cell.get("outputs", []))
    assert all(f"{number} OK" in printed for number in EXERCISES if number[0] == "1")
    assert not [path for path in (tmp_path / "class").rglob("*") if path.name in course.NOT_OURS]
    (entry,) = json.loads((tmp_path / "class" / "student" / "project.json").read_text())["notebooks"]
    assert entry["number"] == "01"


def test_nothing_is_overwritten_and_nothing_is_left_of_a_run_that_failed(tmp_path, monkeypatch):
    with pytest.raises(Stop, match="inside the course"):
        course.parse(["--out", str(HERE / "class")])
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a").touch()
    with pytest.raises(Stop, match="not empty"):
        course.parse(["--out", str(tmp_path / "there")])
    with pytest.raises(Stop, match="not empty"):
        course.parse(["--out", str(tmp_path / "there" / "a")])
    monkeypatch.setattr(course, "for_instructors", lambda notebook, exercises: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        course.main(["--out", str(tmp_path / "new"), "--only", "01"])
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_solution_that_its_check_refuses_stops_the_set(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.execution.run", lambda *args: nbformat.v4.new_notebook())
    with pytest.raises(Stop, match="the checks of 1.1, 1.2, 1.3, 1.4, 1.5 do not accept"):
        course.main(["--out", str(tmp_path / "new"), "--only", "01"])
    assert not (tmp_path / "new").exists()


def test_mistakes_are_cut_out_whole():
    for path in (HERE / "helpers" / "exercises").glob("nb*.py"):
        space: dict[str, Any] = {"__package__": "helpers.exercises", "__name__": "helpers.exercises.copy"}
        exec(compile(course.without_mistakes(path.read_text(encoding="utf-8")), str(path), "exec"), space)
        assert space["CHECKS"] and "MISTAKES" not in space


# ------------------------------------------------------------------------------------------------------------ nbgrader


def test_the_assignments_of_nbgrader(tmp_path):
    """Every answer has its check, with points; no cell's name twice; the hidden part names notebook and exercise."""
    assert course.main(["--out", str(tmp_path / "class"), "--nbgrader"]) == 0
    home = tmp_path / "class" / "nbgrader"
    total = 0
    for number, path in PATHS.items():
        notebook = load(home / "source" / number / path.name)
        named = [cell for cell in notebook["cells"] if "nbgrader" in cell["metadata"]]
        names = [cell["metadata"]["nbgrader"]["grade_id"] for cell in named]
        exercises = exercises_of(path)
        assert names == [f"{kind}-{n.replace('.', '-')}" for n in exercises for kind in ("answer", "check")]
        assert not any("Solution</summary>" in cell["source"] for cell in notebook["cells"])
        for check in named[1::2]:
            total += check["metadata"]["nbgrader"]["points"]
            assert "### BEGIN HIDDEN TESTS" in check["source"] and path.name in check["source"]
    assert total == sum(map(course.worth, EXERCISES.values()))
    assert (home / "helpers" / "exercises" / "nb01.py").is_file() and (home / "tools" / "autograde.py").is_file()
    compile((home / "nbgrader_config.py").read_text(encoding="utf-8"), "config", "exec")
