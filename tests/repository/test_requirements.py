"""What is installed: the packages of the course, each level on top of the one before, and all of them locked."""

from __future__ import annotations

import platform
import re
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.utils import canonicalize_name

import tasks

ROOT = Path(__file__).resolve().parents[2]
CARD = {"numpy", "torch", "matplotlib", "seaborn", "plotly", "anywidget", "jupyter", "nbval", "papermill"}
PYTHONS = [f"3.{minor}.9" for minor in range(tasks.PYTHONS[0][1], tasks.PYTHONS[1][1] + 1)]
SYSTEMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    "macos": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    "windows": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
}


def pins(file: str, python: str, system: str = "linux") -> dict[str, str]:
    """name -> version of the lines of a requirements file or the lock that hold there; ValueError on two for one."""
    minor = ".".join(python.split(".")[:2])
    where = {"python_version": minor, "python_full_version": python, **SYSTEMS[system]}
    found: dict[str, str] = {}
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"([\w.-]+)==([\w.+!]+)(?:\s*;\s*(.+))?", re.sub(r" (#|--hash).*", "", line).strip())
        if match and (not match[3] or Marker(match[3]).evaluate(where)):
            name = canonicalize_name(match[1])
            if name in found:
                raise ValueError(f"{file} has two versions of {name} for Python {python} on {system}")
            found[name] = match[2]
    return found


@pytest.mark.parametrize("python", PYTHONS)
def test_a_reader_gets_the_packages_that_the_course_promises(python):
    assert set(pins("requirements.txt", python)) >= CARD
    assert pins("requirements.txt", python)["torch"] == "2.13.0", "any other build brings gigabytes"


def test_every_level_contains_the_one_before():
    files = list(tasks.LEVELS.values())
    for before, file in zip(files, files[1:], strict=False):
        assert f"-r {before}" in (ROOT / file).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_agrees_with_the_requirements(python, system):
    lock = pins(tasks.LOCK, python, system)
    for file in tasks.LEVELS.values():
        for name, version in pins(file, python, system).items():
            assert lock.get(name) == version, f"{file}: {name}. The head of {tasks.LOCK} says how to make it again"


def test_the_lock_names_no_place():
    text = (ROOT / tasks.LOCK).read_text(encoding="utf-8")
    assert "://" not in text and "--" not in text.split("\n", 2)[2]


def test_everything_installed_is_locked():
    """In the course's own environment; whoever runs in another one (--current-env) has what they have."""
    if not tasks.inside() or not tasks.read_stamp():
        pytest.skip("not the course's own environment")
    python = platform.python_version()
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}[sys.platform]
    lock = pins(tasks.LOCK, python, system)
    lock |= pins("requirements-pretrained.txt", python)  # installed without what they ask for, locked by hash
    here = {
        canonicalize_name(found.metadata["Name"]): found.version.split("+")[0]
        for found in distributions(path=[sysconfig.get_path("purelib")])
    }
    other = {name: version for name, version in here.items() if lock.get(name) != version}
    assert set(other) <= {"pip", "setuptools", "wheel"}, other
