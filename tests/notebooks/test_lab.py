"""Every notebook in JupyterLab, opened as `tasks.py lab` opens it, in a real browser: run, exercises, explorables.

Nightly. Needs a Chromium; without one it fails.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.explore import browser
from tools.exercises import exercises
from tools.project import Project

pytestmark = pytest.mark.nightly
ROOT = Path(__file__).resolve().parents[2]

# One exercise of each notebook with an answer that is wrong, as somebody would write it.
WRONG = {
    "1.1": "def undo(order):\n    return order[::-1]",
    "2.2": "first_k = 2",
    "3.4": "def kept(period):\n    return 1.0",
    "4.4": "def fulfils(M):\n    return abs(M).sum() == 2",
    "5.3": 'sliding, hurt = "A", "C"',
    "6.2": "def wrongly_fast(inv_freq, s, length):\n    return len(inv_freq)",
}

CELLS = """
window.cells = () => book().content.widgets;
window.find = (id) => cells().findIndex((cell) => cell.model.id === id);
window.said = (i) => cells()[i].model.sharedModel.getOutputs().map((o) => [o.text ?? o.evalue ?? ''].flat().join(''))
  .join('');
window.failed = () => cells().filter((cell) => cell.model.type === 'code')
  .filter((cell) => cell.model.sharedModel.getOutputs().some((o) => o.output_type === 'error')).map((c) => c.model.id);
window.silent = () => cells().filter((cell) => cell.model.type === 'code' && !cell.model.executionCount)
  .map((cell) => cell.model.id);
window.index = (cell) => cells().indexOf(cell);
window.idle = () => book().sessionContext.session?.kernel?.status === 'idle';
window.runCell = async (i) => {
  book().content.deselectAll();
  book().content.activeCellIndex = i;
  await window.jupyterapp.commands.execute('notebook:run-cell');
};
"""

SLIDE = """
(async () => {
  const sliders = [...one().querySelectorAll('input[type=range]')];
  for (const input of sliders) if (await slide(input.dataset.key)) return true;
  return false;
})()
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A JupyterLab that `tasks.py lab` started in a copy of the course."""
    folder = tmp_path_factory.mktemp("lab")
    left_out = shutil.ignore_patterns(".git", ".venv", ".cache", "__pycache__", ".*_cache", ".ipynb_checkpoints")
    shutil.copytree(ROOT, folder / "course", ignore=left_out)
    (folder / "private").mkdir()
    command = [sys.executable, "tasks.py", "--current-env", "lab", "--no-browser"]
    with browser.jupyterlab(command, folder / "course", folder / "private") as server:
        yield server


@pytest.mark.parametrize("path", Project(ROOT).all(), ids=lambda path: path.stem)
def test_run_all_then_an_exercise_wrong_and_right_then_a_dial(path, address):
    number, wrong = next((n, answer) for n, answer in WRONG.items() if path.name[:2] == f"0{n[0]}")
    exercise = exercises(path)[number]
    page = browser.Page(browser.found() or pytest.fail("no Chromium: install one, or name it in CHROMIUM"), 1200, 1000)
    try:
        browser.open_notebook(
            page, f"{address}/lab/tree/notebooks/{path.name}?reset&token=t"
        )  # not what another test left open
        page.js(CELLS)
        page.js("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
        page.until("silent().length > 10")
        page.js("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.until("silent().length === 0 && idle()", 300)
        assert page.js("failed()") == []

        stub = page.js(f"find({json.dumps(exercise.cell)})")
        check = page.js(f"cells().findIndex((cell, i) => i > {stub} && cell.model.type === 'code')")
        assert page.js(f"said({check})").strip() == f"{number} TODO"
        for source, told in ((wrong, f"{number} not yet"), (exercise.solution, f"{number} OK")):
            page.js(f"cells()[{stub}].model.sharedModel.setSource({json.dumps(source)})")
            page.js(f"runCell({stub}).then(() => runCell({check}))")
            page.until("idle()", 120)
            assert page.js(f"said({check})").startswith(told)

        for cell in page.js("cells().filter((c) => c.model.sharedModel.source.includes('show(explore.')).map(index)"):
            page.js(f"book().content.scrollToItem({cell}, 'center')")
            page.until(f"cells()[{cell}].node.querySelector('.explore .say')?.textContent", 30)
            page.js(browser.TOOLS + f"window.all = () => [...cells()[{cell}].node.querySelectorAll('.explore')];")
            before = page.js("drawing()")
            if not page.js(SLIDE):  # nothing but words and handles
                page.js("handles()[0].focus()")
                page.key("End")
                page.js("settled()")
            assert page.js("drawing()") != before, f"cell {cell} does not move"
        assert page.problems == []
        assert page.outside() == []
        page.js("book().sessionContext.shutdown()")  # or six kernels share the memory
    finally:
        page.close()
