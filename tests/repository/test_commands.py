"""`lab`, `pretrained`, `bench` and `mutate`: what they are handed, and what they say when something is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository.miniature import the_notebook
from tools import lab, pretrained
from tools.common import Stop

ROOT = Path(__file__).resolve().parents[2]


def test_lab_opens_one_notebook_and_passes_options_on(course, monkeypatch):
    started = []
    monkeypatch.setattr(lab, "call", lambda command, folder: started.append((command[3:], folder)) or 0)
    assert lab.main(["--only", "2", "--no-browser"], course) == 0
    assert started == [([the_notebook(course), "--no-browser"], course.root)]


def test_a_missing_file_is_named(course):
    with pytest.raises(Stop, match="requirements-pretrained.txt is missing.*git -C"):
        pretrained.main([], course)


def test_bench_and_mutate_can_be_imported_on_windows():
    """Windows has neither the module ``resource`` nor fork."""
    code = """\
import os, sys
sys.modules["resource"] = None
from tools import bench, mutate, processes
del os.fork, os.wait4
assert processes.recorded([sys.executable, "-c", "print(1)"], ".")[::2] == (0, None)
mutate.main(["--only", "rope", "--sample", "1"])"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "use Linux, macOS or WSL" in done.stderr.splitlines()[-1], done.stderr
