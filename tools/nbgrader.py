"""A course folder for nbgrader 0.9: assignments, and the grader's own copy of the course beside them.

nbgrader runs a whole notebook that was handed in and believes its outputs: it takes minutes, trains models, and a
notebook that patches the checks gets every point. So the folder's configuration puts :class:`tools.autograde.Judge` in
the place of that step, which runs the answers alone. Without it the check cells still raise: they ask the same grader.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .common import say
from .course import NOT_OURS, Exercises, files, for_students, worth
from .exercises import Exercise
from .grade import answer_name, check_name
from .project import Project, tags

CONFIG = '''\
"""nbgrader for the course on positional encodings. The grader's own helpers/ and tools/ stand beside this file.

Whatever is wrong here ends nbgrader: of an ordinary exception it would only take note, go on with its own settings, and
grade what it should not.
"""

import importlib.util
import sys
from pathlib import Path

home = Path(__file__).resolve().parent
missing = [name for name in ("helpers", "tools", "notebooks", "results") if not (home / name).is_dir()]
if missing:  # every answer would fail, and every grade would be 0 without a word
    raise SystemExit(f"{home} lacks {', '.join(missing)}: make the course folder again (tasks.py course --nbgrader)")
if not all(importlib.util.find_spec(name) for name in ("torch", "numpy", "pandas", "matplotlib")):
    raise SystemExit(f"{sys.prefix}, where nbgrader runs, lacks the course's packages: pip install -r requirements.txt")
sys.path.insert(0, str(home))
c = get_config()  # noqa: F821
try:
    from tools.autograde import configure

    configure(c)
except Exception as error:
    raise SystemExit(f"{home} cannot grade ({type(error).__name__}: {error}): make the course folder again")
c.CourseDirectory.course_id = "positional-encodings"
c.CourseDirectory.root = str(home)
'''

GRADED = """\
### BEGIN HIDDEN TESTS
# The grader's own copy of the course decides, in a process of its own.
import subprocess
import sys
from pathlib import Path

home = [p for p in Path.cwd().parents if (p / "nbgrader_config.py").is_file()][-1]
command = [sys.executable, "-m", "tools.grade", str(Path.cwd() / "{file}"), "{number}"]
done = subprocess.run(command, cwd=home, capture_output=True, text=True)
assert done.returncode == 0, done.stdout + done.stderr
### END HIDDEN TESTS"""

README = """\
# Grading with nbgrader

nbgrader 0.9 with the course's packages: `pip install -r requirements.txt nbgrader==0.9.6`. In this folder:

```sh
nbgrader generate_assignment {first} --create        # release/{first}/
nbgrader autograde {first} --create                  # submitted/NAME/{first}/ to autograded/
nbgrader generate_feedback {first}                   # feedback/
nbgrader export                                   # grades.csv
```

Students get the folder `student` beside this one and put a released notebook into its `notebooks/`. They hand in the
notebook, nothing else.

- Autograding does not run the notebook. It takes the cell of each answer and runs it alone, in a process of its own,
  with the names that the course's own copy of the notebook defines and with the helpers of this folder. So it takes
  seconds, and whatever a notebook does to checks, helpers or processes has no effect.
- An answer may use torch, NumPy, what the notebook defines and imports by name. It may not import anything else, call
  the course's modules, or reach for files; then it gets no points and the feedback names why.
- If the helpers of this folder do not work, autograding stops with an error; nobody gets a zero for it.
- This stops what a class tries. It is no sandbox: grade what strangers hand in inside a container.
- Points: one for five minutes of an exercise; `points.csv` of the instructor's copy lists them.
"""


def write(project: Project, found: dict[Path, Exercises], to: Path) -> None:
    """The folder: source/NN/NN_name.ipynb, nbgrader_config.py, and a copy of the course with its solutions."""
    import shutil

    from .notebook import canonical, read

    kept = ("helpers/", "tools/", "notebooks/", "results/", "project.json", "requirements.txt", "constraints.txt",
            "LICENSE", "NOTICE")  # fmt: skip
    for name in files(project.root):
        if name.startswith(kept) and not {*NOT_OURS} & {*Path(name).parts}:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project.root / name, to / name)
    (to / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    first = next(iter(found)).name[:2]
    (to / "README.md").write_text(README.format(first=first), encoding="utf-8")
    for path, exercises in found.items():
        folder = to / "source" / path.name[:2]
        folder.mkdir(parents=True)
        text = canonical(for_students(read(path), exercises))  # canonical() drops metadata, so nbgrader's come after
        import nbformat

        made = gradable(nbformat.reads(text, as_version=4), exercises, path.name)
        nbformat.write(made, folder / path.name)
    say(f"Next, in {to.name}/: nbgrader generate_assignment {first} --create")


def gradable(notebook: Any, exercises: Exercises, file: str) -> Any:
    """Cells of exercises with nbgrader's metadata: the stub with its solution, and a check that raises."""
    by_cell = {exercise.cell: exercise for exercise in exercises.values()}
    current: Exercise | None = None
    for cell in notebook.cells:
        if cell.id in by_cell:
            current = by_cell[cell.id]
            cell.source = f"{current.stub.rstrip()}\n### BEGIN SOLUTION\n{current.solution.rstrip()}\n### END SOLUTION"
            cell.metadata["nbgrader"] = answer_marks(current.number)
        elif "check" in tags(cell) and current is not None:
            cell.source = f"{current.check.rstrip()}\n{GRADED.format(file=file, number=current.number)}"
            cell.metadata["nbgrader"] = check_marks(current)
            current = None
    return notebook


def answer_marks(number: str) -> dict[str, Any]:
    """nbgrader's metadata of the cell that a student fills in."""
    return _marks(answer_name(number), solution=True)


def check_marks(exercise: Exercise) -> dict[str, Any]:
    """nbgrader's metadata of the cell that is graded."""
    return {**_marks(check_name(exercise.number), grade=True, locked=True), "points": worth(exercise)}


def _marks(name: str, grade: bool = False, solution: bool = False, locked: bool = False) -> dict[str, Any]:
    flags = {"grade": grade, "solution": solution, "locked": locked, "task": False}
    return {"schema_version": 3, "grade_id": name, "cell_type": "code", **flags}
