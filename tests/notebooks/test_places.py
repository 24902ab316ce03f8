"""The notebooks where people open them: Binder's memory, VS Code's renderers, papermill with every knob turned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import explore
from tests.notebook_code import FILES
from tools import execution, packages, parameters
from tools.project import Project, load

ROOT = Path(__file__).resolve().parents[2]
PATHS = Project(ROOT).all()
GIB = 1024**3

# What Visual Studio Code's core draws, and what Microsoft's Jupyter extensions add (their documentation, 2026).
CORE = {"text/plain", "text/markdown", "text/html", "text/latex", "image/png", "application/json"}
EXTENSIONS = {"application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json"}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_stored_output_is_of_a_type_that_vs_code_draws(path):
    for cell in load(path)["cells"]:
        for output in cell.get("outputs", []):
            kinds = set(output.get("data", {}))
            assert kinds <= CORE | EXTENSIONS, cell["id"]
            assert output["output_type"] == "stream" or kinds & CORE, f"{cell['id']}: nothing without extensions"


def test_the_live_explorable_is_of_a_type_that_vs_code_draws(monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.setenv("COURSE_STATIC", "0")
    live = explore.two_arrows().explorable
    plt.close("all")
    assert set(explore.live_view(live)[0]) <= EXTENSIONS


# ------------------------------------------------------------------------------------------------------- papermill

# Every knob of the notebooks' own at another value (preset, device and weights need another machine or minutes).
TURNED = {
    "01": {"sentence": "a dog saw a bird"},
    "02": {"base": 500.0, "d_model": 32},
    "03": {},
    "04": {"base": 500.0, "head_dim": 32},
    "05": {"n_heads": 12},
    "06": {"factor": 4.0},
}
ELSEWHERE = {"preset", "device", "pretrained", "figures_dir", "seed"}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_knob_is_turned_below(path):
    assert set(parameters.declared(path)) - ELSEWHERE == set(TURNED[path.name[:2]])


@pytest.mark.nightly
@pytest.mark.parametrize("number", FILES)
def test_a_notebook_runs_with_all_its_knobs_at_other_values(number, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("COURSE_STATIC", "1")
    turned = TURNED[number] | {"seed": 3, "figures_dir": str(tmp_path / "figures")}
    path = FILES[number]
    assert all(parameters.declared(path)[name][0] != value for name, value in turned.items())
    with execution.progress_of(path) as progress:
        execution.run(path, turned, progress)
    assert len(list((tmp_path / "figures").glob(f"{number}_*.png"))) > 5


# ---------------------------------------------------------------------------------------------------------- Binder

RUN = """
import sys, nbformat
from nbclient import NotebookClient
folder, name = sys.argv[1:]
notebook = nbformat.read(f"{folder}/{name}", as_version=4)
NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The Python of an environment with Binder's requirements and what its image brings along to run notebooks."""
    if sys.version_info[:2] != tuple(map(int, (ROOT / "binder" / "runtime.txt").read_text().strip()[7:].split("."))):
        pytest.skip("another Python than Binder's")
    folder = tmp_path_factory.mktemp("binder")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    packages.install_torch(python, ROOT, False)
    wanted = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in wanted if line and not line.startswith(("#", "-", "torch=="))]
    packages.install(python, ROOT, [*wanted, "nbclient", "ipykernel"], "Binder's packages")
    return python


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="limits a process as only Linux does")
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_binder(path, image):
    """On one processor, and with 2 GiB for all that a kernel writes to memory; its peak stays below 1 GiB."""
    import resource

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (2 * GIB, 2 * GIB))
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])

    command = [str(image), "-c", RUN, str(path.parent), path.name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COURSE_STATIC": "1"}
    environment = {name: value for name, value in environment.items() if name not in ("VIRTUAL_ENV", "MPLBACKEND")}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, preexec_fn=limited)
    error = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, error[-3000:]
    assert usage.ru_maxrss * 1024 < 1 * GIB, "teaching/classroom.md counts on less than 1 GiB"
