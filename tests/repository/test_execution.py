"""`figures` and `execute`: notebooks are run, what failed or was stopped leaves everything as it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.repository.miniature import (
    FIGURE,
    PARAMETERS,
    add_notebook,
    contents,
    fresh_folder,
    notebook,
    outputs,
    picture,
    run_of,
    the_notebook,
)
from tools import execute, figures
from tools.common import Stop

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_execute_saves_the_same_bytes_twice_and_its_figures(course):
    path = the_notebook(course)
    assert execute.main([], course) == 0
    first, pictures = path.read_bytes(), contents(course.figures)
    assert execute.main(["--only", "02"], course) == 0
    assert path.read_bytes() == first and contents(course.figures) == pictures
    saved = json.loads(first)
    assert set(saved["metadata"]) == {"kernelspec", "language_info"}
    code = [cell for cell in saved["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [None, 1, 2, 3], "the injected parameters do not count"
    assert all(set(cell["metadata"]) <= {"tags"} for cell in saved["cells"])
    assert "".join(code[3]["outputs"][0]["text"]) == "ab\n", "one stream, merged"
    assert "".join(code[1]["source"]) == PARAMETERS and len(code) == 4, "papermill's own cell is not saved"
    # this notebook's old figure is gone, the other notebook's is kept
    assert set(pictures) - {".manifest.json.lock"} == {"01_old.png", "02_dot.png", "manifest.json"}
    assert set(json.loads(pictures["manifest.json"])) == {"01_old", "02_dot"}


@pytest.mark.slow
def test_figures_goes_through_papermill_with_parameters(course, capsys):
    before, source = contents(course.figures), contents(course.notebooks)
    out = course.root / "out"
    assert figures.main(["--only", "2", "-p", "base", "500", "--out", str(out)], course) == 0
    assert set(contents(out)) - {".manifest.json.lock"} == {"02_dot.png", "manifest.json"}
    assert json.loads((out / "manifest.json").read_text())["02_dot"]["parameters"] == {"base": 500}
    assert contents(course.figures) == before and contents(course.notebooks) == source
    shown = capsys.readouterr().out
    assert "02  done: 3 of 3 cells" in shown and "1 figure of 1 notebook" in shown


@pytest.mark.slow
def test_notebooks_run_side_by_side(course, capsys):
    """Each of two notebooks waits for a file that the other writes: one after the other they would not end."""
    wait = """\
import pathlib, time
pathlib.Path({mine!r}).touch()
for _ in range(600):
    if pathlib.Path({other!r}).exists():
        break
    time.sleep(0.1)
else:
    raise TimeoutError"""
    first, second = str(course.root / "first"), str(course.root / "second")
    course = add_notebook(course, "03_learned.ipynb", notebook(wait.format(mine=first, other=second)))
    the_notebook(course).write_text(notebook(wait.format(mine=second, other=first), FIGURE), encoding="utf-8")
    assert figures.main(["--jobs", "2", "--out", str(course.root / "out")], course) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if " cell" in line]
    assert len(lines) >= 4 and {line[:2] for line in lines} == {"02", "03"}, "every line says which notebook"


@pytest.mark.slow
@pytest.mark.parametrize("tool", [figures, execute], ids=["figures", "execute"])
def test_a_failing_cell_is_named_and_nothing_is_lost(course, tool):
    path = the_notebook(course)
    path.write_text(notebook(FIGURE, "value = 3\nassert value == 4, 'three is not four'"), encoding="utf-8")
    before, source = contents(course.figures), path.read_bytes()
    with pytest.raises(Stop) as stopped:
        tool.main([], course)
    message = str(stopped.value)
    assert "02_sinusoidal.ipynb failed in code cell 3 (id cell-2)" in message
    assert "assert value == 4" in message and "AssertionError: three is not four" in message
    assert contents(course.figures) == before and path.read_bytes() == source
    assert set(contents(course.notebooks)) == {path.name}


@pytest.mark.slow
@pytest.mark.parametrize("tool", [figures, execute], ids=["figures", "execute"])
def test_a_killed_kernel_is_explained(course, tool):
    path = the_notebook(course)
    path.write_text(notebook(FIGURE, "import os\nos._exit(9)"), encoding="utf-8")
    before, source = contents(course.figures), path.read_bytes()
    with pytest.raises(Stop, match=r"(?s)failed in code cell 3 \(id cell-2\).*memory ran out.*--jobs 1"):
        tool.main([], course)
    assert contents(course.figures) == before and path.read_bytes() == source


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
@pytest.mark.parametrize("command, number", [("figures", "SIGINT"), ("execute", "SIGTERM"), ("test", "SIGTERM")])
def test_interruption_leaves_everything_as_it_was_and_nothing_running(course, command, number):
    root = course.root
    shutil.copy(ROOT / "tasks.py", root)
    shutil.copytree(ROOT / "tools", root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "store.py"):
        shutil.copy(ROOT / "helpers" / name, root / "helpers")
    flag = root / "running"
    wait = f"import os, pathlib, time\npathlib.Path({str(flag)!r}).write_text(str(os.getpid()))\ntime.sleep(60)"
    path = the_notebook(course)
    path.write_text(notebook(FIGURE, wait), encoding="utf-8")
    before, pictures = path.read_bytes(), contents(course.figures)
    words = [sys.executable, str(root / "tasks.py"), "--current-env", command, "--only", "02"]
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    started = time.perf_counter()
    while not (flag.exists() and flag.read_text()) and process.poll() is None and time.perf_counter() - started < 120:
        time.sleep(0.1)
    process.send_signal(getattr(signal, number))  # to this process alone, as `kill` does
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in error and "Traceback" not in error
    assert path.read_bytes() == before and contents(course.figures) == pictures
    assert not alive(int(flag.read_text())), "the kernel is still running"


@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
@pytest.mark.parametrize("start", ["tee", "call"], ids=["test", "lab"])
def test_what_a_command_started_ends_with_it(start):
    """`test` asked to end while pytest runs, which has started something of its own; `lab`, and its server."""
    inner = "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']);"
    inner += "print(p.pid, flush=True); time.sleep(99)"
    if start == "call":  # a command that cleans up by itself when it is asked to end, as a server does, not on Ctrl-C
        inner = "import os, signal, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        inner += "print(os.getpid(), flush=True); time.sleep(99)"
    outer = f"""\
import signal, sys
from pathlib import Path
from tools.processes import {start}
signal.signal(signal.SIGTERM, signal.default_int_handler)
sys.exit({start}([sys.executable, "-c", {inner!r}], Path(".")))"""
    process = subprocess.Popen([sys.executable, "-c", outer], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    number = int(process.stdout.readline())
    assert alive(number)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode and not alive(number)


def alive(number: int) -> bool:
    import psutil

    return psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE


def test_execute_keeps_the_outputs_in_which_nothing_changed(tmp_path):
    """One changed word replaces a cell's output, and even then the picture that is the same keeps its bytes."""
    saved, elsewhere = picture(), picture(noise=1e-3)
    figures.install([fresh_folder(tmp_path / "a", **{"02_loss": saved})], tmp_path / "figures", ["02"])
    fresh = fresh_folder(tmp_path / "b", **{"02_loss": elsewhere})
    before = run_of(outputs("same", saved), outputs("before", saved), outputs("same", saved))
    after = run_of(outputs("same", elsewhere, 1.001), outputs("now", elsewhere, 1.001), outputs("same", elsewhere, 2))
    execute.keep_pictures(after, fresh, tmp_path / "figures")
    execute.keep_outputs(before, after)
    assert after.cells[0].outputs == outputs("same", saved, 1.0)
    assert after.cells[1].outputs == outputs("now", saved, 1.001)
    assert after.cells[2].outputs == outputs("same", saved, 2)
    assert (fresh / "02_loss.png").read_bytes() == saved


@pytest.mark.slow
def test_an_edit_during_the_run_is_kept(course):
    path = the_notebook(course)
    text = notebook(FIGURE, f"import pathlib\npathlib.Path({str(path)!r}).write_text('edited')")
    path.write_text(text, encoding="utf-8")
    before = contents(course.figures)
    with pytest.raises(Stop, match="was saved by somebody else while it ran"):
        execute.main([], course)
    assert path.read_text(encoding="utf-8") == "edited" and contents(course.figures) == before


@pytest.mark.slow
def test_another_matplotlib_leaves_figures_alone(course, monkeypatch, capsys):
    before = contents(course.figures)
    monkeypatch.setattr(figures, "here", lambda: "2.0.0")
    assert figures.main([], course) == 0
    shown = capsys.readouterr().out
    assert "figures/ stays as it is" in shown and "--out" in shown and ".cache/figures" in shown
    assert contents(course.figures) == before
    assert set(contents(course.root / ".cache" / "figures")) >= {"02_dot.png", "manifest.json"}
    with pytest.raises(Stop, match="--redraw"):
        execute.main([], course)
    assert execute.main(["--redraw"], course) == 0
    assert "02_dot.png" in contents(course.figures)
