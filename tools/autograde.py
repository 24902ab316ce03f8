"""The step of nbgrader that grades: answers alone, by ``tools.grade``, instead of the whole notebook in one kernel.

Loaded by the nbgrader_config.py of a course folder (``tasks.py course --nbgrader``); needs nbgrader.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nbformat.v4 import new_output
from nbgrader.converters.autograde import Autograde
from nbgrader.preprocessors import Execute, NbGraderPreprocessor

from .common import Stop
from .grade import answer_in, exercise_of, judge
from .project import Project, cores


class Judge(NbGraderPreprocessor):
    """Fills in the outputs of every check cell: what the check says, as an error unless it is OK."""

    def preprocess(self, notebook: Any, resources: Any) -> tuple[Any, Any]:
        """Raises RuntimeError if the course's own helpers do not work: then nobody is graded."""
        checks = {}
        for cell in notebook.cells:
            name = cell.metadata.get("nbgrader", {})
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
            if name.get("grade"):
                checks[name["grade_id"].removeprefix("check-").replace("-", ".")] = cell
        with ThreadPoolExecutor(max(1, cores())) as pool:
            said = dict(zip(checks, pool.map(lambda number: self.say(notebook, number), checks), strict=True))
        for number, cell in checks.items():
            cell.outputs = [new_output("stream", name="stdout", text=said[number] + "\n")]
            if said[number] != f"{number} OK":
                cell.outputs.append(new_output("error", ename="NotYet", evalue=said[number], traceback=[said[number]]))
        return notebook, resources

    def say(self, notebook: Any, number: str) -> str:
        project = Project()
        exercise = exercise_of(number, project)[1]
        try:
            source = answer_in(notebook.cells, exercise)
        except Stop as lost:
            return f"{number} not yet: the notebook has {lost}"
        try:
            return judge(source, number, project)
        except Stop as ours:
            raise RuntimeError(str(ours)) from None


def steps() -> list[Any]:
    """nbgrader's own steps of autograding, the execution replaced."""
    usual = Autograde.class_traits()["autograde_preprocessors"].default_args[0]
    return [Judge if step is Execute else step for step in usual]
