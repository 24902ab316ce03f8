"""`tasks.py course`: the notebooks as a class gets them, and as its instructor does; for nbgrader on request.

DIR/student has no solutions and no outputs; hints and instant checks stay, and so does everything that a notebook
needs. What it cannot keep secret: a check that answers at once on the student's own machine must know what is right,
and helpers/exercises is Python that can be read (the lists of classic mistakes, which only tests read, are taken out).
Use it for practice. For marks use --nbgrader: there our copy of the checks decides, nothing that a student changed
counts, and an answer may not call the course's helpers. Solutions are also public where the course is: whoever
publishes marks should change numbers, or ask for an explanation (the exam questions of teaching/ are written for that).
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .common import Stop, many, say
from .exercises import SOLUTION, Exercise
from .exercises import exercises as exercises_of
from .project import Project

COMMANDS = ("lab", "figures", "record", "explain", "pretrained", "drill")
"""What a class can do with its copy; the other commands say that they are not there."""

KEPT = ("helpers/", "results/", "notebooks/", "tasks.py", "project.json", "constraints.txt", "requirements.txt",
        "requirements-pretrained.txt", "GLOSSARY.md", "LICENSE", "LICENSE-TEXT", "NOTICE", "CITATION.cff",
        ".gitignore")  # fmt: skip
INSTRUCTORS = ("teaching/", "figures/")  # what they have besides
NOT_OURS = ("__pycache__", ".cache", ".venv", ".ipynb_checkpoints")

Exercises = dict[str, Exercise]


def parse(argv: list[str], project: Project | None = None) -> argparse.Namespace:
    """The options; Stop where DIR cannot be written, before anything runs."""
    parser = argparse.ArgumentParser(
        prog="tasks.py course",
        description="Write DIR/student (no solutions, no outputs) and DIR/instructor (solutions in place, executed).",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a folder that is empty or not there")
    parser.add_argument("--only", metavar="NN", help="some notebooks, e.g. 02,04")
    parser.add_argument("--nbgrader", action="store_true", help="DIR/nbgrader instead of DIR/instructor")
    parser.add_argument("--no-execute", action="store_true", help="leave the instructor's notebooks without outputs")
    args = parser.parse_args(argv)
    args.project = project or Project()
    args.paths = args.project.select(args.only)
    args.out = args.out.expanduser().resolve()
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise Stop(f"--out {args.out} is there and not empty, and nothing is overwritten. Name a new folder.")
    root = args.project.root.resolve()
    if args.out == root or (root in args.out.parents and root / ".cache" not in args.out.parents):
        raise Stop(f"--out {args.out} is inside the course. Name a folder outside, for example ../class.")
    return args


def main(argv: list[str], project: Project | None = None) -> int:
    args = parse(argv, project)
    found = {path: exercises_of(path) for path in args.paths}
    for path, exercises in found.items():
        lost = [number for number, one in exercises.items() if not (one.solution and one.hint and one.minutes)]
        if lost:
            raise Stop(f"{path.name}: exercise {', '.join(lost)} has no minutes, no hint or no solution.")
    with written_whole(args.out) as folder:
        student = folder / "student"
        copy_course(args.project, student)
        write_notebooks(args.project, found, student, for_students)
        (student / "README.md").write_text(readme(args.project, found, STUDENT), encoding="utf-8")
        if args.nbgrader:
            from . import nbgrader

            nbgrader.write(args.project, found, folder / "nbgrader")
        else:
            instructor = folder / "instructor"
            copy_course(args.project, instructor, instructor=True)
            write_notebooks(args.project, found, instructor, for_instructors)
            (instructor / "README.md").write_text(readme(args.project, found, INSTRUCTOR), encoding="utf-8")
            (instructor / "points.csv").write_text(table(found), encoding="utf-8")
            for path, exercises in found.items() if not args.no_execute else ():
                run_solutions(instructor / "notebooks" / path.name, exercises)
        made = [f"{args.out.name}/{part.name}" for part in sorted(folder.iterdir())]
    points = sum(worth(one) for exercises in found.values() for one in exercises.values())
    say(f"{many(len(found), 'notebook')}, {many(points, 'point')}: {', '.join(made)}.")
    return 0


@contextlib.contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``out`` at the end; if anything fails, ``out`` is as it was."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", suffix=".part", dir=out.parent))
    try:
        yield part
        for name in NOT_OURS:
            for left in [*part.rglob(name)]:
                shutil.rmtree(left)
        part.chmod(0o755)
        if out.exists():
            out.rmdir()  # empty, or somebody else was faster: then this fails
        part.rename(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


# ------------------------------------------------------------------------------------------------------------- points


def worth(exercise: Exercise) -> int:
    """Points of an exercise: one for every five minutes that it takes."""
    return max(1, round(exercise.minutes / 5))


def table(found: dict[Path, Exercises]) -> str:
    """Every exercise with its difficulty, minutes and points, as comma-separated values."""
    lines = ["exercise,title,difficulty,minutes,points"]
    for path, exercises in found.items():
        titles = titles_of(path)
        for number, one in exercises.items():
            title = '"' + titles[number].replace('"', '""') + '"'
            lines.append(f"{number},{title},{one.difficulty},{one.minutes},{worth(one)}")
    return "\n".join(lines) + "\n"


def titles_of(path: Path) -> dict[str, str]:
    return dict(re.findall(r"(?m)^### (\d\.\d) (.+?)\s*$", "\n\n".join(c["source"] for c in _cells(path))))


def readme(project: Project, found: dict[Path, Exercises], text: str) -> str:
    """The page of a folder: what it is, its notebooks, and the points of every exercise."""
    titles = {entry["file"]: entry["title"] for entry in project.table["notebooks"]}
    numbers = ",".join(path.name[:2] for path in found)
    only = "" if len(found) == len(titles) else f" --only {numbers}"
    books = [f"- [{titles[path.name]}](notebooks/{path.name})" for path in found]
    rows = ["| exercise | difficulty (of 3) | minutes | points |", "| --- | ---: | ---: | ---: |"]
    for path, exercises in found.items():
        names = titles_of(path)
        rows += [f"| {n} {names[n]} | {e.difficulty} | {e.minutes} | {worth(e)} |" for n, e in exercises.items()]
    points = sum(worth(one) for exercises in found.values() for one in exercises.values())
    rows.append(f"| all | | {sum(e.minutes for es in found.values() for e in es.values())} | {points} |")
    kept = {"title": project.table["title"], "only": only, "first": numbers[:2]}
    return text.format(books="\n".join(books), points="\n".join(rows), **kept)


STUDENT = """\
# {title}

{books}

You need Python 3.10 to 3.14 and nothing else (on Windows write `py` instead of `python3`):

```sh
python3 tasks.py lab --only {first}     # the notebook in JupyterLab; the first time installs about 1.5 GB
python3 tasks.py figures{only}     # runs the notebooks and writes figures/
```

Words: [GLOSSARY](GLOSSARY.md). Recorded experiments: [results/](results/README.md).

## Exercises

An exercise is a cell to fill in, a cell that checks it at once, and a folded hint. Write the whole answer into its
cell: where answers are graded, that cell is graded alone, with what the notebook above it defines and imports by name,
torch and NumPy. One point is for five minutes.

{points}

Code: [BSD-3-Clause](LICENSE). Text and figures: [CC BY 4.0](LICENSE-TEXT). Files made by others: [NOTICE](NOTICE).
"""

INSTRUCTOR = """\
# {title}: the instructor's copy

The solutions stand in the cells of the exercises, and every check accepts them. The students' copy stands beside this
folder. [teaching/](teaching/README.md) has goals, plans and exam questions.

{books}

## Points

One point is for five minutes; [points.csv](points.csv) has the same table.

{points}

Code: [BSD-3-Clause](LICENSE). Text and figures: [CC BY 4.0](LICENSE-TEXT). Files made by others: [NOTICE](NOTICE).
"""


# -------------------------------------------------------------------------------------------------------------- files


def copy_course(project: Project, to: Path, instructor: bool = False) -> None:
    """What a class needs, or its instructor, without the notebooks."""
    kept = KEPT + (INSTRUCTORS if instructor else ())
    tools = tools_of(project.root, COMMANDS)
    for name in files(project.root):
        if name.startswith("notebooks/") or not (name.startswith(kept) or name in tools):
            continue
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project.root / name, to / name)
        if re.match(r"helpers/exercises/nb\d\d\.py", name) and not instructor:
            source = (to / name).read_text(encoding="utf-8")
            (to / name).write_text(without_mistakes(source), encoding="utf-8")


def files(root: Path) -> list[str]:
    """The files of a copy of the course, as paths from its root: those that git follows, where there is git."""
    git = ["git", "-C", str(root), "ls-files", "-z"]
    with contextlib.suppress(FileNotFoundError):
        listed = subprocess.run(git, capture_output=True, encoding="utf-8")
        if not listed.returncode and listed.stdout:
            return [name for name in sorted(set(listed.stdout.split("\0"))) if (root / name).is_file()]
    names = (path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file())
    return [name.as_posix() for name in names if not {*NOT_OURS, ".git"} & {*name.parts}]


def tools_of(root: Path, commands: tuple[str, ...]) -> set[str]:
    """The files of tools/ that these commands need: their modules, and what those import from tools."""
    todo = {"__init__", "common", "packages", *(command.replace("-", "_") for command in commands)}
    done: set[str] = set()
    while todo:
        name = todo.pop()
        path = root / "tools" / f"{name}.py"
        if name in done or not path.is_file():
            continue
        done.add(name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                todo |= {node.module} if node.module else {alias.name for alias in node.names}
    return {f"tools/{name}.py" for name in done}


def without_mistakes(source: str) -> str:
    """A module of checks without its list of wrong answers, which only tests read."""
    lines = source.splitlines(keepends=True)
    for node in reversed(ast.parse(source).body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "MISTAKES" for target in targets):
            del lines[node.lineno - 1 : node.end_lineno]
    return "".join(lines).rstrip() + "\n"


# ------------------------------------------------------------------------------------------- the two kinds of notebook


def write_notebooks(
    project: Project, found: dict[Path, Exercises], to: Path, change: Callable[[Any, Exercises], Any]
) -> None:
    """The chosen notebooks, changed, and a project.json that names no others."""
    from .notebook import canonical, read

    chosen = [entry for entry in project.table["notebooks"] if project.notebooks / entry["file"] in found]
    text = json.dumps({**project.table, "notebooks": chosen}, indent=1, ensure_ascii=False)
    (to / "project.json").write_text(text + "\n", encoding="utf-8")
    (to / "notebooks").mkdir(parents=True)
    for path, exercises in found.items():
        (to / "notebooks" / path.name).write_text(canonical(change(read(path), exercises)), encoding="utf-8")


def for_students(notebook: Any, exercises: Exercises) -> Any:
    """Without folded solutions and without outputs; stubs, checks and hints stay."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = SOLUTION.sub("", cell.source).rstrip()
        else:
            cell.outputs, cell.execution_count = [], None
    return notebook


def for_instructors(notebook: Any, exercises: Exercises) -> Any:
    """Every stub followed, in its own cell, by the solution that stands folded behind it; no outputs of other runs."""
    solutions = {exercise.cell: solved(exercise) for exercise in exercises.values()}
    for cell in notebook.cells:
        cell.source = solutions.get(cell.id, cell.source)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def solved(exercise: Exercise) -> str:
    """What of the stub the solution does not write anew, then the solution."""
    new = {name for statement in ast.parse(exercise.solution).body for name in bound(statement)}
    lines = exercise.stub.splitlines()
    kept = [s for s in ast.parse(exercise.stub).body if isinstance(s, ast.ImportFrom) or not new & bound(s)]
    return "\n\n".join(["\n".join(lines[s.lineno - 1 : s.end_lineno]) for s in kept] + [exercise.solution.rstrip()])


def bound(statement: ast.stmt) -> set[str]:
    """The names that a statement gives a value to."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in statement.names}
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def run_solutions(path: Path, exercises: Exercises) -> None:
    """Execute an instructor's notebook in place; Stop unless every check says OK."""
    from . import execution
    from .notebook import canonical

    with execution.progress_of(path) as progress:
        executed = execution.run(path, {}, progress)
    printed = "".join(o.get("text", "") for cell in executed.cells for o in cell.get("outputs", []))
    wrong = [number for number in exercises if f"{number} OK\n" not in printed]
    if wrong:
        raise Stop(f"{path.name}: the checks of {', '.join(wrong)} do not accept their solutions.")
    path.write_text(canonical(executed), encoding="utf-8")


def _cells(path: Path) -> list[Any]:
    return json.loads(path.read_text(encoding="utf-8"), object_hook=_joined)["cells"]


def _joined(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "source": "".join(entry["source"])} if "source" in entry else entry
