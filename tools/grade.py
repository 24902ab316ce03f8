"""Grade exercises of a notebook that was handed in: the answer alone, in a process of its own, with our helpers.

    python -m tools.grade NOTEBOOK.ipynb 4.1

Of the notebook only the source of the exercise's cell counts. What its other cells do to checks, helpers or processes
is never run; the names that an answer may use are those that our own copy of the notebook gives its reader. One line is
printed; the exit code is 0 if the answer is right, 1 if it is not, 2 if it could not be graded.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from .answers import refused
from .common import Stop, child_environment
from .definitions import definitions, everything, results
from .exercises import Exercise
from .exercises import exercises as exercises_of
from .project import Project, load

PATIENCE = 120  # seconds for one answer
WATCHED = ("builtins", "math", "torch", "torch.nn.functional", "torch.linalg", "numpy", "numpy.linalg")
"""Modules in which an answer may replace nothing, beside all of helpers."""


def exercise_of(number: str, project: Project) -> tuple[Path, Exercise]:
    """Our own notebook that has this exercise, and the exercise.

    Raises:
        Stop: if there is none of that number.
    """
    (path,) = project.select(number.split(".")[0])
    own = exercises_of(path)
    if number not in own:
        raise Stop(f"there is no exercise {number}; {path.name} has {', '.join(own)}.")
    return path, own[number]


def answer_in(cells: list[Any], exercise: Exercise) -> str:
    """The source of the one cell that answers an exercise: by the id of nbgrader, or of the cell.

    Raises:
        Stop: if it is gone, or there twice.
    """
    name = answer_name(exercise.number)
    by_name = [cell for cell in cells if cell.get("metadata", {}).get("nbgrader", {}).get("grade_id") == name]
    found = by_name or [cell for cell in cells if cell.get("id") == exercise.cell]
    if len(found) != 1 or found[0]["cell_type"] != "code":
        raise Stop(
            f"{len(found) or 'no'} code cells with the id {exercise.cell!r}, where {exercise.number} is answered."
        )
    return "".join(found[0]["source"])


def answer_name(number: str) -> str:
    """What nbgrader calls the cell that answers an exercise."""
    return f"answer-{number.replace('.', '-')}"


def grade(handed_in: Path, number: str, project: Project | None = None) -> str:
    """The feedback on the answer in a notebook's file; :func:`judge` has the forms."""
    project = project or Project()
    return judge(answer_in(load(handed_in)["cells"], exercise_of(number, project)[1]), number, project)


def judge(source: str, number: str, project: Project | None = None) -> str:
    """The feedback on an answer: "4.1 OK", "4.1 TODO", or "4.1 not yet: ..." with what is wrong.

    Args:
        source: of the cell that answers it.
        number: of the exercise.
        project: our own copy of the course.

    Raises:
        Stop: if there is no such exercise, or our own helpers do not work: nobody's fault but ours, and no grade.
    """
    project = project or Project()
    exercise_of(number, project)
    token = secrets.token_hex(16)
    task = json.dumps({"number": number, "source": source, "token": token})
    command = [sys.executable, "-m", "tools.grade", "--worker"]
    try:
        done = subprocess.run(
            command, input=task, cwd=project.root, env=child_environment(PYTHONPATH=str(project.root)),
            capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{number} not yet: your code was not done within {PATIENCE} s."
    lines = done.stdout.splitlines()
    if "ready" not in lines[:1]:
        raise Stop(f"{number} could not be graded: the course's own helpers failed.\n{done.stderr.strip()[-2000:]}")
    said = [line.removeprefix(token) for line in lines if line.startswith(token)]
    return said[0] if len(said) == 1 else f"{number} not yet: your code ended the process that it ran in."


# --------------------------------------------------------------------------------------------- in a process of its own


def worker() -> None:
    """Read a task from standard input; print "ready" once the course's own part is loaded, then token and verdict."""
    task = json.load(sys.stdin)
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "w") as nothing:  # an answer's own words are not the verdict
        os.dup2(nothing.fileno(), 1)
    from helpers import exercises

    path, exercise = exercise_of(task["number"], Project())
    with contextlib.redirect_stdout(io.StringIO()):
        exercises.feedback(task["number"], 0)  # loads the checks
        scope = definitions(path)
    print("ready", file=ours, flush=True)
    said = verdict(task["source"], path, exercise, scope, exercises.feedback)
    print(task["token"] + said, file=ours, flush=True)


def verdict(source: str, path: Path, exercise: Exercise, scope: dict[str, Any], feedback: Any) -> str:
    """Run an answer among the notebook's names, and say what the check says of it."""
    number = exercise.number
    before = functions()
    try:
        problem = refused(source, f"{exercise.stub}\n{exercise.solution}", scope)
        said = f"{number} not yet: {problem}" if problem else attempt(source, exercise, dict(scope), feedback)
        missing = re.search(r"your code raised NameError: name '(\w+)'", said)
        if missing and missing[1] in results(path):  # computed in the main path: run that too
            said = attempt(source, exercise, everything(path, exercise.cell), feedback)
    except SyntaxError as error:
        return f"{number} not yet: your code raised SyntaxError: {error.msg}, line {error.lineno}"
    if "your code raised NameError" in said:
        said += ". Only this cell is graded, with what the notebook above it defines."
    replaced = [name for name, value in functions().items() if foreign(value, name, before)]
    return f"{number} not yet: it replaces {replaced[0]}." if replaced else said


def attempt(source: str, exercise: Exercise, scope: dict[str, Any], feedback: Any) -> str:
    number = exercise.number
    try:
        exec(compile(source, number, "exec"), scope)
        return feedback(number, eval(exercise.expression, scope))
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return f"{number} not yet: your code raised {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def functions() -> dict[str, Any]:
    """What a check relies on: name -> function, of helpers, torch, NumPy and Python itself."""
    import torch

    rooms = {name: vars(sys.modules[name]) for name in [*sys.modules] if name in WATCHED or name.startswith("helpers")}
    rooms["torch.Tensor"] = vars(torch.Tensor)
    return {
        f"{room}.{name}": value for room, names in rooms.items() for name, value in [*names.items()] if callable(value)
    }


def foreign(value: Any, name: str, before: dict[str, Any]) -> bool:
    """Whether another function stands under a name than before; packages also replace their own, on first use."""
    home = str(getattr(value, "__module__", "")).split(".")[0]
    return before.get(name, value) is not value and home != name.split(".")[0]


def main(argv: list[str]) -> int:
    if argv == ["--worker"]:
        worker()
        return 0
    if len(argv) != 2:
        print(f"{__doc__}\ncannot be graded: a notebook and the number of an exercise are needed.")
        return 2
    try:
        said = grade(Path(argv[0]), argv[1])
    except Stop as stop:
        print(f"cannot be graded: {stop}")
        return 2
    print(said)
    return 0 if said == f"{argv[1]} OK" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
