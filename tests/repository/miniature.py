"""A miniature of the course, whose tiny notebooks the tests of the tools execute, and what one run of it leaves."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import nbformat
import numpy as np

from tools import figures, sameness
from tools.notebook import KERNELSPEC
from tools.project import Project

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
    import matplotlib
    folder = pathlib.Path(figures_dir)
    line = {"notebook": "02", "parameters": {"base": base}, "alt": "a", "size": [1, 1], "sha256_pixels": ""}
    (folder / "02_dot.png").write_bytes(png)
    (folder / "manifest.json").write_text(json.dumps({"02_dot": {**line, "matplotlib": matplotlib.__version__}}))"""


def notebook(*cells: str) -> str:
    """The text of a notebook with the generated cells, a parameters cell and ``cells``."""
    made = nbformat.v4.new_notebook(metadata={"kernelspec": KERNELSPEC})
    made.cells = [
        nbformat.v4.new_markdown_cell("", id="nav-top"),
        nbformat.v4.new_code_cell("", id="setup", metadata={"tags": ["setup"]}),
        nbformat.v4.new_code_cell(PARAMETERS, id="parameters", metadata={"tags": ["parameters"]}),
        *(nbformat.v4.new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(cells, 1)),
        nbformat.v4.new_markdown_cell("", id="nav-bottom"),
    ]
    return nbformat.writes(made)


def entry(number: str, **more: object) -> dict:
    """A line of the manifest."""
    line = {"notebook": number, "parameters": {}, "alt": "a", "matplotlib": figures.here(), "size": [1, 1]}
    return {**line, "sha256_pixels": "", **more}


def course(folder: Path) -> Project:
    """A miniature of the course with one notebook, 02, and figures of an earlier run."""
    for name in ("notebooks", "figures", "helpers/data"):
        (folder / name).mkdir(parents=True)
    for name in ("requirements.txt", "LICENSE", "LICENSE-TEXT", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    table = Project(ROOT).table
    table = {**table, "notebooks": [entry for entry in table["notebooks"] if entry["number"] == "02"]}
    (folder / "project.json").write_text(json.dumps(table), encoding="utf-8")
    (folder / "helpers" / "data" / "claims.json").write_text("[]", encoding="utf-8")
    path = folder / "notebooks" / "02_sinusoidal.ipynb"
    path.write_text(notebook(FIGURE, "print('a', end='')\nprint('b')"), encoding="utf-8")
    (folder / "figures" / "01_old.png").write_bytes(b"old")
    (folder / "figures" / "02_gone.png").write_bytes(b"old")
    manifest = {"01_old": entry("01"), "02_gone": entry("02")}
    (folder / "figures" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return Project(folder)


def the_notebook(course: Project) -> Path:
    return course.notebooks / "02_sinusoidal.ipynb"


def add_notebook(course: Project, file: str, text: str) -> Project:
    """The course with one more notebook in its table."""
    entry = next(entry for entry in Project(ROOT).table["notebooks"] if entry["file"] == file)
    table = {**course.table, "notebooks": sorted([*course.table["notebooks"], entry], key=lambda e: e["number"])}
    (course.root / "project.json").write_text(json.dumps(table), encoding="utf-8")
    (course.notebooks / file).write_text(text, encoding="utf-8")
    return Project(course.root)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def picture(title: str = "loss +0.12", noise: float = 0.0) -> bytes:
    """A figure as the notebooks draw them; ``noise`` moves its curve as another processor does."""
    from matplotlib.figure import Figure

    from helpers.display import render

    fig = Figure(figsize=(3, 2))
    axes = fig.subplots()
    x = np.linspace(0, 600, 100)
    axes.plot(x, (1.6 + 2 * np.exp(-x / 90)) * (1 + noise * np.random.default_rng(0).standard_normal(100)))
    axes.set(title=title, xlabel="step")
    return render(fig)


def fresh_folder(folder: Path, **pictures: bytes) -> Path:
    """What one notebook's run wrote: name -> PNG."""
    folder.mkdir()
    for name, png in pictures.items():
        (folder / f"{name}.png").write_bytes(png)
    manifest = {name: entry(name[:2], sha256_pixels=str(hash(png))) for name, png in pictures.items()}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def outputs(text: str, png: bytes, y: float = 1.0) -> list:
    shown = {"image/png": base64.b64encode(png).decode(), "text/plain": "alt", sameness.PLOTLY: {"y": [y]}}
    return [
        nbformat.v4.new_output("stream", text=text),
        nbformat.v4.new_output("display_data", shown, metadata={"figure": "02_loss"}),
    ]


def run_of(*outputs_of_cells: list) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell("x", id=f"c{n}", outputs=out) for n, out in enumerate(outputs_of_cells)]
    return nbformat.v4.new_notebook(cells=cells)
