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
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .answers import refused
from .common import Stop, child_environment
from .definitions import definitions, everything, results
from .exercises import Exercise
from .exercises import exercises as exercises_of
from .project import Project, load

PATIENCE = 120  # seconds for one answer
LOADING = 120  # seconds until the course's own part is there
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


def check_name(number: str) -> str:
    """What nbgrader calls the cell that checks it."""
    return f"check-{number.replace('.', '-')}"


def grade(handed_in: Path, number: str, project: Project | None = None) -> str:
    """The feedback on the answer in a notebook's file; :func:`judge` has the forms."""
    project = project or Project()
    return judge(answer_in(load(handed_in)["cells"], exercise_of(number, project)[1]), number, project)


def judge(source: str, number: str, project: Project | None = None) -> str:
    """The feedback on an answer: "4.1 OK", "4.1 TODO", or "4.1 not yet: ..." with what is wrong; see :func:`judge_all`.

    Args:
        source: of the cell that answers it.
        number: of the exercise.
        project: our own copy of the course.
    """
    return judge_all({number: source}, project)[number]


def judge_all(answers: dict[str, str], project: Project | None = None) -> dict[str, str]:
    """Number -> feedback of :func:`judge`, for the answers of one notebook, each in a process of its own.

    Where the system can, one process loads the course and a copy of it (a fork) runs each answer.

    Raises:
        Stop: if there is no such exercise, or our own helpers do not work: nobody's fault but ours, and no grade.
    """
    project = project or Project()
    for number in answers:
        exercise_of(number, project)
    tasks = [{"number": n, "source": s, "token": secrets.token_hex(16)} for n, s in answers.items()]
    parts = [tasks] if hasattr(os, "fork") else [[task] for task in tasks]
    return {number: said for part in parts for number, said in _together(part, project).items()}


def _together(tasks: list[dict[str, str]], project: Project) -> dict[str, str]:
    command = [sys.executable, "-m", "tools.grade", "--worker"]
    process = subprocess.Popen(
        command, cwd=project.root, env=child_environment(PYTHONPATH=str(project.root)), encoding="utf-8",
        errors="replace", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate(json.dumps(tasks), timeout=LOADING + PATIENCE * len(tasks))
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    lines = out.splitlines()
    if "ready" not in lines[:1]:
        raise Stop(f"nothing could be graded: the course's own helpers failed.\n{err.strip()[-2000:]}")
    found = {}
    for task in tasks:
        said = [line.removeprefix(task["token"]) for line in lines if line.startswith(task["token"])]
        ended = f"your code was not done within {PATIENCE} s, or ended the process that it ran in."
        found[task["number"]] = said[0] if len(said) == 1 else f"{task['number']} not yet: {ended}"
    return found


# --------------------------------------------------------------------------------------------- in a process of its own


def worker() -> None:
    """Read tasks from standard input; print "ready" once the course's own part is loaded, then tokens and verdicts."""
    tasks = json.load(sys.stdin)
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "w") as nothing:  # an answer's own words are not the verdict
        os.dup2(nothing.fileno(), 1)
    from helpers import exercises

    path, _ = exercise_of(tasks[0]["number"], Project())
    with contextlib.redirect_stdout(io.StringIO()):
        exercises.feedback(tasks[0]["number"], 0)  # loads the checks
        scope = definitions(path)
    print("ready", file=ours, flush=True)

    def answer(task: dict[str, str]) -> None:
        exercise = exercise_of(task["number"], Project())[1]
        said = verdict(task["source"], path, exercise, scope, exercises.feedback)
        print(task["token"] + said, file=ours, flush=True)

    for task in tasks:
        if hasattr(os, "fork"):
            in_a_fork(lambda task=task: answer(task))
        else:
            answer(task)


def in_a_fork(work: Callable[[], None]) -> None:
    """Do something in a copy of this process, and end that copy after PATIENCE seconds."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    until = time.monotonic() + PATIENCE
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return
        time.sleep(0.01)


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
