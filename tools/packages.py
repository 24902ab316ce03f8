"""Packages for an environment, through pip: the CPU build of PyTorch first, everything at the versions of the lock.

Used by tasks.py before there is an environment: standard library only, and readable by old Pythons.
"""

from __future__ import annotations

import contextlib
import json
import platform
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from .common import Stop, child_environment, say

LOCK = "constraints.txt"  # every package at one version
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
OFFLINE = (
    "Without a network the first set-up cannot work (pip then speaks of connections, or of versions: none).\n"
    "Nothing else was changed, and the same command takes up where this one stopped."
)


def install(python: Path, root: Path, arguments: list, what: str) -> None:
    """pip install, held to the lock; Stop if it fails."""
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-c", str(root / LOCK), *arguments]
    if not sys.stdout.isatty():
        command.insert(4, "-q")
    if subprocess.run(command, env=child_environment()).returncode:
        raise Stop(f"could not install {what}: pip says why above.\n{OFFLINE}")


def torch_pin(root: Path) -> str:
    return re.search(r"(?m)^torch==(\S+)", (root / "requirements.txt").read_text(encoding="utf-8")).group(1)


def installed(python: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def reachable(url: str, seconds: float = 3.0) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=seconds):
            return True
    except (OSError, ValueError):
        return False


def install_torch(python: Path, root: Path, cuda: bool) -> None:
    """The CPU build where it can be had; several gigabytes of CUDA only for whoever asked."""
    pin = torch_pin(root)
    have = installed(python, "torch")
    if have.split("+")[0] == pin and not (cuda and have.endswith("+cpu")):
        return
    plain = [f"torch=={pin}"]
    if cuda:
        say(f"Installing PyTorch {pin} with CUDA (several gigabytes) ...")
        install(python, root, ["--force-reinstall", *plain] if have else plain, "PyTorch")
        return
    if platform.system() == "Linux":  # elsewhere the plain package is the CPU build
        if reachable(f"{CPU_INDEX}/torch/"):
            say(f"Installing PyTorch {pin}, the CPU build (about 200 MB) ...")
            with contextlib.suppress(Stop):
                there = ["--retries", "1", "--extra-index-url", CPU_INDEX]
                install(python, root, [*there, f"torch=={pin}+cpu"], "PyTorch")
                return
        say("PyTorch's own package index does not answer; looking at the plain package ...")
        refuse_cuda(python, plain)
    say(f"Installing PyTorch {pin} ...")
    install(python, root, plain, "PyTorch")


def refuse_cuda(python: Path, requirement: list) -> None:
    """Ask pip what it would install, and stop if that is CUDA."""
    command = [str(python), "-m", "pip", "install", "-q", "--dry-run", "--report", "-", "--retries", "1", *requirement]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment())
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        what = "no package index can be reached" if "versions: none" in done.stderr else "pip cannot install PyTorch"
        raise Stop(f"{what}: {''.join(last)}\n{OFFLINE}")
    names = [item["metadata"]["name"].lower() for item in json.loads(done.stdout)["install"]]
    cuda = [name for name in names if name.startswith("nvidia-") or name == "triton"]
    if cuda:
        raise Stop(
            f"{CPU_INDEX} cannot be reached, and the plain package would bring {len(cuda)} CUDA packages\n"
            "(several gigabytes). Try again later, or accept them: python3 tasks.py setup --cuda"
        )
