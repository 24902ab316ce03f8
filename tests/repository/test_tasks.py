"""tasks.py: which Python it takes, what it does to an environment, and how a word finds its tool.

Nothing here creates an environment. What the tools do is in the other files of this folder.
"""

from __future__ import annotations

import argparse
import ast
import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tasks
from tools import common, packages

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A folder that tasks.py takes for the course: it has requirements and no environment yet."""
    monkeypatch.delenv("COURSE_READY", raising=False)
    for name in (*tasks.LEVELS.values(), tasks.LOCK):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(tasks, "ROOT", tmp_path)
    monkeypatch.setattr(tasks, "VENV", tmp_path / ".venv")
    return tmp_path


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
    for name in ("tasks.py", "tools/__init__.py", "tools/common.py", "tools/packages.py"):
        ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))
    source = (ROOT / "tasks.py").read_text(encoding="utf-8")
    assert source.index("from __future__ import annotations") < source.index("import argparse")


# -------------------------------------------------------------------------------------------------- environment


class FakePip:
    """Stands in for the environment: notes what would be installed."""

    def __init__(self, monkeypatch, course, torch="", index=True, plain=("torch",)):
        self.calls: list[list[str]] = []
        self.python = course / ".venv" / "bin" / "python"
        monkeypatch.setattr(tasks, "venv_python", lambda: self.python)
        monkeypatch.setattr(tasks, "works", lambda python: python.exists())
        monkeypatch.setattr(packages, "installed", lambda python, package: torch)
        monkeypatch.setattr(packages, "reachable", lambda url, seconds=3.0: index)
        for module in (tasks, packages):
            monkeypatch.setattr(module, "install", lambda python, root, words, what: self.calls.append(words))
        monkeypatch.setattr(packages.platform, "system", lambda: "Linux")
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


def test_set_up_installs_cpu_torch_first_and_only_once(course, monkeypatch):
    pip = FakePip(monkeypatch, course)
    tasks.set_up("read")
    pin = packages.torch_pin(ROOT)
    assert pip.calls[0][-1] == f"torch=={pin}+cpu" and packages.CPU_INDEX in pip.calls[0]
    assert pip.calls[1][-1].endswith("requirements.txt") and packages.CPU_INDEX not in pip.calls[1]
    tasks.set_up("read")
    assert len(pip.calls) == 2, "a second run reuses the environment"


def test_set_up_is_renewed_when_the_requirements_change(course, monkeypatch):
    pip = FakePip(monkeypatch, course, torch=packages.torch_pin(ROOT) + "+cpu")
    tasks.set_up("test")
    tasks.set_up("read")
    assert [words[-1][-21:] for words in pip.calls] == ["requirements-test.txt"], "the test level contains the other"
    file = course / "requirements.txt"
    file.write_text("# a comment changes nothing\n" + file.read_text())
    tasks.set_up("test")
    assert len(pip.calls) == 1
    file.write_text(file.read_text() + "extra==1.0\n")
    tasks.set_up("read")
    assert len(pip.calls) == 2 and set(stamp_of(course)) == {"read"}, "the test tools are stale too"


def test_no_cuda_by_surprise(course, monkeypatch):
    pip = FakePip(monkeypatch, course, index=False, plain=("torch", "nvidia-cudnn-cu13", "triton"))
    with pytest.raises(tasks.Stop, match="setup --cuda"):
        tasks.set_up("read")
    assert pip.calls == [] and stamp_of(course) == {}
    tasks.set_up("read", cuda=True)
    assert pip.calls[0] == [f"torch=={packages.torch_pin(ROOT)}"]


def test_without_the_cpu_index_the_plain_pin_is_taken_if_it_is_small(course, monkeypatch):
    pip = FakePip(monkeypatch, course, index=False)
    tasks.set_up("read")
    assert pip.calls[0] == [f"torch=={packages.torch_pin(ROOT)}"]


def test_a_cpu_index_that_fails_half_way_is_survived(course, monkeypatch):
    pip = FakePip(monkeypatch, course)

    def install(python, root, words, what):
        pip.calls.append(words)
        if packages.CPU_INDEX in words:
            raise tasks.Stop("broken off")

    monkeypatch.setattr(packages, "install", install)
    tasks.set_up("read")
    assert pip.calls[1] == [f"torch=={packages.torch_pin(ROOT)}"]


def test_interrupted_set_up_is_taken_up_again(course, monkeypatch):
    pip = FakePip(monkeypatch, course)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(packages, "install", interrupt)
        assert tasks.main(["setup"]) == 130
    assert not tasks.up_to_date("read")
    tasks.set_up("read")
    assert pip.calls and tasks.up_to_date("read")


@pytest.mark.parametrize("command", ["setup", "figures", "stamp"])
@pytest.mark.parametrize("pip", [True, False], ids=["with pip", "without pip"])
def test_a_strangers_environment_is_neither_emptied_nor_installed_into(course, monkeypatch, capsys, pip, command):
    fake = FakePip(monkeypatch, course)
    monkeypatch.setattr(tasks, "works", lambda python: pip)
    fake.python.parent.mkdir(parents=True)
    fake.python.touch()
    (course / ".venv" / "pyvenv.cfg").write_text("home = somewhere")
    assert tasks.main([command]) == 1
    assert "was not made by this script" in capsys.readouterr().err
    assert {path.name for path in (course / ".venv").iterdir()} == {"bin", "pyvenv.cfg"} and not fake.calls


def test_a_file_where_the_environment_would_stand_is_left_alone(course, monkeypatch, capsys):
    fake = FakePip(monkeypatch, course)
    fake.python = course / "python"
    (course / ".venv").write_text("mine")
    assert tasks.main(["setup"]) == 1
    assert ".venv is a file" in capsys.readouterr().err and not fake.calls
    assert (course / ".venv").read_text() == "mine"


def test_an_environment_of_ours_that_no_longer_works_is_made_anew(course, monkeypatch):
    fake = FakePip(monkeypatch, course)
    tasks.set_up("read")
    (course / ".venv" / "pyvenv.cfg").write_text("home = a Python that is gone")
    fake.python.unlink()
    tasks.set_up("read")
    assert fake.python.exists() and not (course / ".venv" / "pyvenv.cfg").exists()
    assert tasks.up_to_date("read")


def test_pip_without_a_network_is_explained(course, monkeypatch):
    answer = argparse.Namespace(returncode=1, stderr="ERROR: No matching distribution (from versions: none)")
    monkeypatch.setattr(tasks.subprocess, "run", lambda *_, **__: answer)
    with pytest.raises(tasks.Stop, match="(?s)could not install the packages.*Without a network"):
        packages.install(Path(sys.executable), ROOT, ["x"], "the packages")
    with pytest.raises(tasks.Stop, match="no package index can be reached: .*No matching"):
        packages.refuse_cuda(Path(sys.executable), ["torch"])


def test_reachable_gives_up_quickly():
    started = time.perf_counter()
    assert not packages.reachable("http://127.0.0.1:9/simple", seconds=1.0)
    assert time.perf_counter() - started < 5


def test_child_environment(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    env = common.child_environment()
    assert "MPLBACKEND" not in env and env["OMP_NUM_THREADS"] == "1"


# ------------------------------------------------------------------------------------------------------ dispatch


def test_helps_say_what_there_is(capsys):
    assert tasks.main(["-h"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in tasks.COMMANDS)


@pytest.mark.parametrize("name", tasks.COMMANDS)
def test_every_command_is_there_and_runs_in_an_environment(name):
    command = tasks.COMMANDS[name]
    assert command.environment in ("", *tasks.LEVELS)
    if command.module and importlib.util.find_spec(command.module):
        source = Path(importlib.util.find_spec(command.module).origin).read_text(encoding="utf-8")
        assert "def main(argv" in source and command.early == ("\ndef parse(argv" in source)


def test_a_mistyped_command_is_pointed_to(capsys):
    assert tasks.main(["figure"]) == 1
    assert "Did you mean figures?" in capsys.readouterr().err


def test_a_tool_that_is_not_there_is_named(course, monkeypatch, capsys):
    monkeypatch.setitem(tasks.COMMANDS, "dance", tasks.Command("tools.dance", "read", ""))
    assert tasks.main(["dance"]) == 1
    assert "tools/dance.py is not there" in capsys.readouterr().err
    assert not (course / ".venv").exists()


EARLY = [name for name, command in tasks.COMMANDS.items() if command.early]


@pytest.mark.parametrize("name", EARLY)
def test_help_needs_only_the_standard_library(name):
    """-S: no site-packages at all, as before the first set-up."""
    command = [sys.executable, "-S", str(ROOT / "tasks.py"), name, "-h"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and f"tasks.py {name}" in done.stdout, done.stderr


def test_the_list_of_studies_needs_no_set_up():
    done = subprocess.run([sys.executable, "-S", str(ROOT / "tasks.py"), "record"], capture_output=True, text=True)
    assert done.returncode == 0 and "retrieval" in done.stdout, done.stderr


@pytest.mark.parametrize("name", ["lab", "figures", "execute", "test"])
def test_a_mistyped_notebook_costs_no_set_up(course, monkeypatch, name, capsys):
    monkeypatch.setattr(tasks, "set_up", lambda *_: pytest.fail("an environment was made"))
    assert tasks.main([name, "--only", "9"]) == 1
    assert "no notebook '9'" in capsys.readouterr().err


@pytest.mark.parametrize("before", [[], ["--current-env"]])
def test_options_behind_a_command_belong_to_its_tool(monkeypatch, before):
    seen = []
    tool = type(sys)("tools.dance")
    tool.main = lambda argv: seen.append(argv)
    monkeypatch.setitem(tasks.COMMANDS, "dance", tasks.Command("tools.common", "read", ""))
    monkeypatch.setattr(tasks.importlib, "import_module", lambda name: tool)
    monkeypatch.setattr(tasks, "set_up", lambda *_, **__: Path(sys.executable))
    monkeypatch.setattr(tasks, "inside", lambda: True)
    assert tasks.main([*before, "dance", "--only", "rope", "--help"]) == 0
    assert seen == [["--only", "rope", "--help"]]


def test_outside_the_environment_the_script_starts_again_in_it(monkeypatch):
    started = []
    monkeypatch.setattr(tasks, "set_up", lambda level: Path(f"{level}/python"))
    monkeypatch.setattr(tasks, "inside", lambda: False)
    monkeypatch.setattr(tasks, "restart", lambda *words: started.append(words) or 0)
    assert tasks.main(["execute", "--only", "2"]) == 0
    assert started == [(Path("test/python"), ["execute", "--only", "2"])]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=["full", "read-only", "not allowed"])
def test_what_the_disk_refuses_is_one_line(monkeypatch, capsys, number):
    def refuse(argv):
        raise OSError(number, os.strerror(number), "figures/x.part")

    monkeypatch.setattr(tasks, "dispatch", refuse)
    assert tasks.main(["figures"]) == 1
    assert f"{os.strerror(number)}: figures/x.part. Nothing is left half written." in capsys.readouterr().err


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(tasks, "dispatch", lambda argv: Path("/no/such/file").read_text())
    with pytest.raises(FileNotFoundError):
        tasks.main(["figures"])


def test_a_damaged_table_is_named_with_the_way_back(tmp_path):
    """In a copy, as a user would meet it: one line, no traceback, and no environment was made."""
    shutil.copy(ROOT / "tasks.py", tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "helpers").mkdir()
    for name in ("__init__.py", "store.py"):
        shutil.copy(ROOT / "helpers" / name, tmp_path / "helpers")
    (tmp_path / "project.json").write_text('{"title": "Posi', encoding="utf-8")
    done = subprocess.run([sys.executable, "tasks.py", "figures"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "project.json is damaged" in done.stderr and "checkout -- project.json" in done.stderr
    assert not (tmp_path / ".venv").exists()
