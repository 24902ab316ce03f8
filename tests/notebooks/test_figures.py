"""figures/, its manifest and the pictures saved in the notebooks are the same pictures.

That a fresh run draws them again is checked while nbval executes the notebooks (conftest.py), in the same execution.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

import conftest
import tasks
from helpers.display import STYLE, pixel_sha256, render

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "figures"
MANIFEST = tasks.read_json(FIGURES / "manifest.json")
NOTEBOOKS = tasks.select(None, ROOT)
FILES = sorted(FIGURES.glob("*.png"))


def saved(path: Path) -> list[tuple[str, bytes, str]]:
    """(name, PNG bytes, alternative text) of every picture saved in a notebook."""
    found = []
    for cell in tasks.code_cells(tasks.load(path)):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                png = base64.b64decode("".join(output["data"]["image/png"]))
                found.append((output["metadata"].get("figure"), png, "".join(output["data"]["text/plain"])))
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_figures_of_a_notebook_are_the_files_and_the_manifest_lines(path):
    number, pictures = path.name[:2], saved(path)
    names = [name for name, *_ in pictures]
    assert len(names) == len(set(names)), "a figure is shown twice"
    assert set(names) == {p.stem for p in FILES if p.name[:2] == number}, "figures/ has other files than the notebook"
    assert set(names) == {name for name in MANIFEST if name[:2] == number}, "the manifest has other figures"
    for name, png, alt in pictures:
        assert (FIGURES / f"{name}.png").read_bytes() == png, f"{name}: run tasks.py execute --only {number}"
        entry = MANIFEST[name]
        assert entry["notebook"] == number and entry["alt"] == alt
        assert entry["sha256_pixels"] == pixel_sha256(png)
        # committed figures come from the notebook as it stands, in the quick preset
        declared = {key: default for key, (_, default) in tasks.declared(path).items()}
        assert entry["parameters"]["preset"] == "quick"
        for key, value in entry["parameters"].items():
            assert key not in declared or declared[key] == value, f"{name}: drawn with {key}={value}"


def test_no_orphans():
    numbers = {path.name[:2] for path in NOTEBOOKS}
    assert {path.stem for path in FILES} == set(MANIFEST)
    assert {name[:2] for name in MANIFEST} <= numbers, "figures of a notebook that is not there"
    strays = {p.name for p in FIGURES.glob("*")} - {p.name for p in FILES} - {"manifest.json", ".gitkeep"}
    assert not strays, f"neither a figure nor the manifest: {strays}"
    assert list(MANIFEST) == sorted(MANIFEST)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_picture_is_readable_and_not_blank(path):
    image = Image.open(path)
    assert list(image.size) == MANIFEST[path.stem]["size"]
    assert image.size[0] <= 960, "8 inches at 120 dots: wider is shrunk by GitHub until the letters are too small"
    pixels = np.asarray(image.convert("RGB"), dtype=float)
    assert pixels.std() > 5, "blank"
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.min() > 240, "a white background reads on light and dark pages"


# ------------------------------------------------------------------------------- the comparison that conftest.py makes


@pytest.fixture(autouse=True)
def own_counts(monkeypatch):
    monkeypatch.setattr(conftest, "_seen", conftest.Counter())


def png(noise: float = 0.0, lines: int = 3, title: str = "loss") -> bytes:
    """A figure like those of the race: ``noise`` moves the curves, ``lines`` is how many there are."""
    with plt.style.context(["default", STYLE]):
        fig, ax = plt.subplots()
        x = np.linspace(0, 600, 200)
        wobble = np.random.default_rng(0).standard_normal((3, 200))
        for k in range(lines):
            ax.plot(x, (1.6 + 0.2 * k + 2 * np.exp(-x / 90)) * (1 + noise * wobble[k]))
        ax.set_title(title)
        data = render(fig)
        plt.close(fig)
    return data


def cell_outputs(name: str, data: bytes, graph: dict | None = None) -> list[dict]:
    bundle = {"image/png": base64.b64encode(data).decode(), "text/plain": "alt"}
    if graph is not None:
        bundle[conftest.PLOTLY] = graph
    return [{"output_type": "display_data", "data": bundle, "metadata": {"figure": name}}]


def compare(before: list, after: list, **options) -> str:
    return conftest.compare_pictures(before, after, {"01_a": "3.1", "02_b": "3.1"}, here="3.1", **options)


def test_drawing_twice_gives_the_same_bytes():
    assert png() == png()


def test_tolerance_lies_between_another_processor_and_another_picture():
    reference = png()
    assert conftest.rms(reference, reference) == 0
    assert conftest.rms(reference, png(noise=1e-3)) < 0.7 * conftest.TOLERANCE  # more than float32 training differs by
    for other in (png(lines=2), png(noise=0.1), png(title="loss by position")):
        assert conftest.rms(reference, other) > 1.4 * conftest.TOLERANCE


def test_comparison_names_the_figure():
    same = cell_outputs("01_a", png())
    assert compare(same, same) == ""
    changed = compare(same, cell_outputs("01_a", png(lines=1)))
    assert "01_a" in changed and "execute --only 01" in changed
    assert "02_b" in compare(same, cell_outputs("02_b", png()))
    assert "this run made []" in compare(same, [])
    assert "this run made" in compare(same, same + same)
    assert compare(same, cell_outputs("01_a", png(lines=1)), pixels=False) == ""


def test_comparison_waits_for_the_same_matplotlib():
    before, after = cell_outputs("01_a", png()), cell_outputs("01_a", png(lines=1))
    assert conftest.compare_pictures(before, after, {"01_a": "3.1"}, here="3.2") == ""
    assert list(conftest._seen) == ["not compared: saved with matplotlib 3.1, here 3.2"]


def test_interactive_twin_is_compared_within_a_tolerance():
    graph = {"data": [{"y": [1.0, 2.0, None], "name": "rope"}]}
    before = cell_outputs("01_a", png(), graph)
    near = json.loads(json.dumps(graph))
    near["data"][0]["y"][1] = 2.01
    far = json.loads(json.dumps(graph))
    far["data"][0]["y"][1] = 2.5
    assert compare(before, cell_outputs("01_a", png(), near)) == ""
    assert "/data/0/y/1" in compare(before, cell_outputs("01_a", png(), far))
    assert "interactive" in compare(before, cell_outputs("01_a", png()))
    assert conftest.json_difference({"a": [1]}, {"a": [1, 2]}) and conftest.json_difference({"a": 1}, {"b": 1})
    assert conftest.json_difference("x", "y") and not conftest.json_difference(None, None)


def test_size_of_a_picture_counts():
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png())).resize((10, 10)).save(buffer, "png")
    assert conftest.rms(png(), buffer.getvalue()) == float("inf")
