"""The sets for a class and its instructor, and the grader of answers that were handed in."""

from __future__ import annotations

import csv
import functools
import importlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

import tasks
from helpers.exercises import feedback, nb04
from tools import course, grade
from tools.answers import refused
from tools.common import Stop, child_environment
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


def mistakes(number: str) -> dict[str, str]:
    """What the feedback names -> source of a wrong answer, without a shortcut that the list itself takes."""
    listed = importlib.import_module(f"helpers.exercises.nb0{number[0]}").MISTAKES[number]
    return {words: source.replace("__import__('torch')", "torch") for words, source in listed.items()}


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
    for words, source in mistakes(number).items():
        names = re.findall(r"\w+", EXERCISES[number].expression)
        source += f"\n{names[0]} = answer" if re.search(r"\banswer\b", source) and len(names) == 1 else ""
        said = verdict(number, source)
        assert said.startswith(f"{number} not yet: ") and (words in said or len(names) > 1), said


@pytest.mark.parametrize("number", EXERCISES)
def test_honest_answers_are_not_suspected(number):
    """Wrong ones, too, are told what is wrong with them, not that they are forbidden."""
    for source in mistakes(number).values():
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
    """As the forked copy is: a worker takes its patience from its own module."""
    monkeypatch.setattr(grade, "PATIENCE", 0.2)
    started = time.monotonic()
    grade.in_a_fork(lambda: time.sleep(60))
    assert time.monotonic() - started < 20


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


@pytest.fixture(scope="module")
def nbgrader() -> Path:
    """nbgrader's program, in an environment of its own (.cache, kept) that sees the packages of this one."""
    home = HERE / ".cache" / "nbgrader-0.9.6"
    if not (home / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip()
        (Path(site) / "course.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        subprocess.run([python, "-m", "pip", "install", "-q", "nbgrader==0.9.6"], check=True)
        (home / "done").touch()
    return home / ("Scripts" if os.name == "nt" else "bin") / "nbgrader"


SAY_OK = "lambda number, answer=None: number + ' OK'"
PATCHES = f"""
import subprocess, builtins, helpers.exercises
helpers.exercises.feedback = {SAY_OK}
check = exercises = print
subprocess.run = lambda *a, **k: type('Done', (), dict(returncode=0, stdout='', stderr=''))()
subprocess.Popen = builtins.exec = None
get_ipython().showtraceback = print
"""
WRITES = """
from pathlib import Path
for path in [p for up in Path.cwd().parents for p in up.glob("helpers/exercises/*.py")]:
    path.write_text("feedback = lambda number, answer: number + ' OK'")
"""


def hand_in(home: Path, name: str, change: Callable[[dict[str, Any]], dict[str, str] | None]) -> None:
    """A submission: the released notebook 04, whose cells ``change`` edits, or returns new sources of answers for."""
    notebook = json.loads((home / "release" / "04" / PATHS["04"].name).read_text(encoding="utf-8"))
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    for number, source in (change(notebook) or {}).items():
        cells[EXERCISES[number].cell]["source"] = source
    folder = home / "submitted" / name / "04"
    folder.mkdir(parents=True)
    (folder / PATHS["04"].name).write_text(json.dumps(notebook), encoding="utf-8")


def submissions(home: Path) -> dict[str, float]:
    """Hands in notebook 04 in many ways; name -> the points that it deserves, of 17."""
    numbers = [number for number in EXERCISES if number[0] == "4"]
    right = {number: course.solved(EXERCISES[number]) for number in numbers}
    wrong = {number: list(mistakes.values())[0] for number, mistakes in nb04.MISTAKES.items()}
    wrong = {
        n: f"{source}\n{EXERCISES[n].expression} = answer" if "answer" in source else source
        for n, source in wrong.items()
    }
    points = {number: course.worth(EXERCISES[number]) for number in numbers}
    copied = "from helpers.exercises import nb04\n" + right["4.1"]

    def first_cell(source: str) -> Callable[[dict[str, Any]], dict[str, str]]:
        def change(notebook: dict[str, Any]) -> dict[str, str]:
            cell = next(cell for cell in notebook["cells"] if "start" in cell["id"])
            cell["source"] = "".join(cell["source"]) + source
            return wrong

        return change

    def edit_checks(notebook: dict[str, Any]) -> dict[str, str]:
        for cell in notebook["cells"]:
            if "check" in cell["metadata"].get("tags", []):
                cell["source"], cell["metadata"]["nbgrader"]["points"] = "print('OK')", 100
        return wrong

    def switch_off(notebook: dict[str, Any]) -> dict[str, str]:
        for cell in notebook["cells"]:
            cell["metadata"].get("nbgrader", {})["grade"] = False
        return wrong

    def drop(tag: str) -> Callable[[dict[str, Any]], dict[str, str] | None]:
        def change(notebook: dict[str, Any]) -> None:
            for cell in notebook["cells"]:
                cell["source"] = right.get(at.get(cell["id"], ""), cell["source"])
            notebook["cells"] = [c for c in notebook["cells"] if tag not in "".join(c["metadata"].get("tags", []))]

        return change

    def twice(notebook: dict[str, Any]) -> None:
        cell = next(cell for cell in notebook["cells"] if cell["id"] == EXERCISES["4.2"].cell)
        cell["source"] = right["4.2"]
        notebook["cells"].append({**json.loads(json.dumps(cell)), "id": "again"})

    def rename(notebook: dict[str, Any]) -> dict[str, str]:
        for cell in notebook["cells"]:
            if "nbgrader" in cell["metadata"]:
                cell["metadata"]["nbgrader"]["grade_id"] += "-mine"
        return right

    at = {EXERCISES[number].cell: number for number in numbers}
    one_less = {n: sum(points.values()) - points[n] for n in numbers}
    ends = {"4.1": "import os\nos._exit(0)", "4.2": "import sys\nsys.exit(0)", "4.4": "raise SystemExit(0)"}
    cases: dict[str, tuple[Callable[[dict[str, Any]], dict[str, str] | None], float]] = {
        "perfect": (lambda nb: right, sum(points.values())),
        "empty": (lambda nb: None, 0),
        "wrong": (lambda nb: wrong, 0),
        "half": (lambda nb: {**wrong, "4.2": right["4.2"], "4.4": right["4.4"]}, points["4.2"] + points["4.4"]),
        "patches-everything": (first_cell(PATCHES), 0),
        "writes-the-graders-files": (first_cell(WRITES), 0),
        "answer-writes-files": (lambda nb: {**right, "4.1": WRITES + right["4.1"]}, one_less["4.1"]),
        "answer-patches": (lambda nb: {**right, "4.3": PATCHES + right["4.3"]}, one_less["4.3"]),
        "imports-the-solution": (lambda nb: {**right, "4.1": copied}, one_less["4.1"]),
        "checks-edited": (edit_checks, 0),
        "checks-switched-off": (switch_off, 0),
        "checks-deleted": (drop("check"), sum(points.values())),
        "exercises-deleted": (drop("e"), 0),
        "answers-deleted": (drop("exercise"), 0),
        "prints-ok": (lambda nb: {n: f"print('{n} OK')\n{wrong[n]}" for n in numbers}, 0),
        "ends-the-process": (lambda nb: {**right, **ends}, points["4.3"] + points["4.5"]),
        "answers-twice": (twice, points["4.2"]),
        "cells-renamed": (rename, sum(points.values())),
        "never-ends": (lambda nb: {**right, "4.4": "while True:\n    pass"}, one_less["4.4"]),
        "brings-its-own-helpers": (lambda nb: wrong, 0),
    }
    for name, (change, _) in cases.items():
        hand_in(home, name, change)
    own_helpers = home / "submitted" / "brings-its-own-helpers" / "04" / "helpers" / "exercises"
    own_helpers.mkdir(parents=True)
    (own_helpers.parent / "__init__.py").touch()
    (own_helpers / "__init__.py").write_text(f"feedback = {SAY_OK}\ncheck = print\n", encoding="utf-8")
    return {name: deserved for name, (_, deserved) in cases.items()}


@pytest.mark.nightly
def test_nbgrader_gives_every_submission_what_it_deserves(nbgrader, tmp_path, capsys):
    assert course.main(["--out", str(tmp_path / "class"), "--only", "04", "--nbgrader"]) == 0
    home = tmp_path / "class" / "nbgrader"
    path = os.pathsep.join([str(nbgrader.parent), os.environ.get("PATH", "")])  # nbgrader calls alembic by its name

    def call(*words: str, code: int = 0) -> str:
        env = child_environment(PATH=path, JUPYTER_PATH=str(Path(sys.prefix) / "share" / "jupyter"))
        done = subprocess.run([nbgrader, *words], cwd=home, env=env, capture_output=True, encoding="utf-8")
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    call("generate_assignment", "04", "--create")
    deserved = submissions(home)
    before = (home / "helpers" / "exercises" / "nb04.py").read_bytes()
    started = time.perf_counter()
    call("autograde", "04", "--create")
    seconds = (time.perf_counter() - started) / len(deserved)
    call("generate_feedback", "04")
    call("export")
    with (home / "grades.csv").open(encoding="utf-8") as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    with capsys.disabled():
        print(f"\n{seconds:.1f} s per submission", scores)
    assert scores == deserved
    assert (home / "helpers" / "exercises" / "nb04.py").read_bytes() == before
    shown = (home / "feedback" / "imports-the-solution" / "04" / "04_rope.html").read_text(encoding="utf-8")
    assert "it imports nb04" in shown
    for broken, words in (  # no zero for a mistake of the grader's
        ("helpers/exercises/nb04.py", "the course's own helpers failed"),
        ("tools/answers.py", "cannot grade (ModuleNotFoundError"),
        ("helpers", "lacks helpers"),
    ):
        (home / broken).rename(tmp_path / Path(broken).name)
        assert words in call("autograde", "04", "--create", "--force", "--student", "perfect", code=1)
