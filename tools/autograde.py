"""The step of nbgrader that grades: answers alone, by ``tools.grade``, instead of the whole notebook in one kernel.

Loaded by the nbgrader_config.py of a course folder (``tasks.py course --nbgrader``); needs nbgrader.
"""

from __future__ import annotations

from typing import Any

from nbformat.v4 import new_code_cell, new_output
from nbgrader.converters.autograde import Autograde
from nbgrader.preprocessors import Execute, NbGraderPreprocessor, OverwriteCells

from .common import Stop
from .exercises import exercises
from .grade import answer_in, answer_name, check_name, exercise_of, judge_all
from .nbgrader import answer_marks, check_marks
from .project import Project


class Judge(NbGraderPreprocessor):
    """Fills in the outputs of every check cell: what the check says, as an error unless it is OK."""

    def preprocess(self, notebook: Any, resources: Any) -> tuple[Any, Any]:
        """Raises RuntimeError if the course's own helpers do not work: then nobody is graded."""
        checks = {}
        for cell in notebook.cells:
            name = cell.metadata.get("nbgrader", {})
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
            if name.get("grade_id", "").startswith("check-"):
                checks[name["grade_id"].removeprefix("check-").replace("-", ".")] = cell
        said = self.verdicts(notebook, list(checks))
        for number, cell in checks.items():
            cell.outputs = [new_output("stream", name="stdout", text=said[number] + "\n")]
            if said[number] != f"{number} OK":
                cell.outputs.append(new_output("error", ename="NotYet", evalue=said[number], traceback=[said[number]]))
        return notebook, resources

    def verdicts(self, notebook: Any, numbers: list[str]) -> dict[str, str]:
        project = Project()
        answers, said = {}, {}
        for number in numbers:
            try:
                answers[number] = answer_in(notebook.cells, exercise_of(number, project)[1])
            except Stop as lost:
                said[number] = f"{number} not yet: the notebook has {lost}"
        try:
            return said | (judge_all(answers, project) if answers else {})
        except Stop as ours:
            raise RuntimeError(str(ours)) from None


class Tidy(NbGraderPreprocessor):
    """Gives every cell nbgrader's marks as they were handed out, and to no cell others.

    What a student deleted, copied, renamed or switched off would end nbgrader's next steps with an error. An answer is
    found by its mark or by the id of its cell; of two copies the last one counts. What is gone is added, empty.
    """

    def preprocess(self, notebook: Any, resources: Any) -> tuple[Any, Any]:
        name = resources["nbgrader"]["notebook"]
        (path,) = [path for path in Project().all() if path.stem == name]
        marked = {
            cell.metadata["nbgrader"].get("grade_id"): cell for cell in notebook.cells if "nbgrader" in cell.metadata
        }
        by_id = {cell.get("id"): cell for cell in notebook.cells}
        for cell in notebook.cells:
            cell.metadata.pop("nbgrader", None)
        for number, exercise in exercises(path).items():
            answer = marked.get(answer_name(number)) or by_id.get(exercise.cell)
            check = marked.get(check_name(number))
            for found, marks in ((answer, answer_marks(number)), (check, check_marks(exercise))):
                if found is None:
                    found = new_code_cell(f"# this cell of {number} was missing")
                    notebook.cells.append(found)
                found.metadata["nbgrader"] = marks
        return notebook, resources


def configure(settings: Any) -> None:
    """Put these steps among nbgrader's own: Tidy where a notebook is made safe, Judge in the place of its execution."""
    traits = Autograde.class_traits()
    safe = traits["sanitize_preprocessors"].default_args[0]
    graded = traits["autograde_preprocessors"].default_args[0]
    at = safe.index(OverwriteCells)
    settings.Autograde.sanitize_preprocessors = [*safe[:at], Tidy, *safe[at:]]
    settings.Autograde.autograde_preprocessors = [Judge if step is Execute else step for step in graded]
    settings.ClearSolutions.code_stub = {"python": ""}  # the stub of the exercise stands above it
