"""figures/, its manifest and the pictures saved in the notebooks are the same pictures.

That a fresh run draws them again is checked while nbval executes the notebooks (conftest.py), in the same execution.
"""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image, ImageOps

from helpers import facts
from helpers.display import STYLE, pixel_sha256, render
from helpers.plotting import INK_LIMIT, PAPER_LIMIT, color, luminance
from tools import sameness
from tools.parameters import declared as declared_parameters
from tools.project import Project, code_cells, load, read_json

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "figures"
MANIFEST = read_json(FIGURES / "manifest.json")
NOTEBOOKS = Project(ROOT).all()
FILES = sorted(FIGURES.glob("*.png"))


def saved(path: Path) -> list[tuple[str, bytes, str]]:
    """(name, PNG bytes, alternative text) of every picture saved in a notebook."""
    found = []
    for cell in code_cells(load(path)):
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
        file = (FIGURES / f"{name}.png").read_bytes()
        assert not sameness.difference(file, png), f"{name}: run tasks.py execute --only {number}"
        entry = MANIFEST[name]
        assert entry["notebook"] == number and entry["alt"] == alt
        assert entry["sha256_pixels"] == pixel_sha256(file)
        # committed figures come from the notebook as it stands, in the quick preset
        declared = {key: default for key, (_, default) in declared_parameters(path).items()}
        assert entry["parameters"]["preset"] == "quick"
        for key, value in entry["parameters"].items():
            assert key not in declared or declared[key] == value, f"{name}: drawn with {key}={value}"


def test_no_orphans():
    numbers = {path.name[:2] for path in NOTEBOOKS}
    assert {path.stem for path in FILES} == set(MANIFEST)
    assert {name[:2] for name in MANIFEST} <= numbers, "figures of a notebook that is not there"
    there = {p.name for p in FIGURES.iterdir() if p.name != ".manifest.json.lock"}  # left by a run; git ignores it
    strays = there - {p.name for p in FILES} - {"manifest.json"}
    assert not strays, f"neither a figure nor the manifest: {strays}"
    assert list(MANIFEST) == sorted(MANIFEST)


def test_every_picture_carries_what_it_shows():
    assert not [path.stem for path in FILES if facts.read(path.read_bytes()) is None]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_zero_is_drawn_without_a_sign(path):
    """What is zero up to rounding errors is +0.00 on one processor and -0.00 on the next: ``plotting.signed``."""
    shown = facts.read(path.read_bytes())
    assert not [t for t in (*shown["texts"], *shown["ticks"]) if re.search(r"(?<![\w.^{])[-+]0(\.0+)?(?![\d.])", t)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_picture_is_readable_and_not_blank(path):
    image = Image.open(path)
    assert list(image.size) == MANIFEST[path.stem]["size"]
    assert image.size[0] <= 960, "8 inches at 120 dots: wider is shrunk by GitHub until the letters are too small"
    pixels = np.asarray(image.convert("RGB"), dtype=float)
    assert pixels.std() > 5, "blank"
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.min() > 240, "a white background reads on light and dark pages"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_words_in_a_picture_are_dark_enough_to_be_read(path):
    """A contrast of 4.5 to 1 on white, which WCAG asks of text; words on a dark ground are nearly white."""
    pale = [ink for ink in facts.read(path.read_bytes())["inks"] if INK_LIMIT < luminance(ink) < PAPER_LIMIT]
    assert not pale, "drawn before texts were darkened: run tasks.py execute and figures"


def test_only_pale_words_are_darkened():
    fig, ax = plt.subplots()
    shades = ["#de8f05", "#949494", "white", "#333333", color("alibi")]
    texts = [ax.text(0, i, "word", color=shade) for i, shade in enumerate(shades)]
    line = ax.plot([0, 1], color="#de8f05")[0]
    before = facts.read(render(fig))["inks"]
    assert line.get_color() == "#de8f05" and texts[2].get_color() == "white" and texts[3].get_color() == "#333333"
    for text in (texts[0], texts[1], texts[4]):
        assert 0.17 < luminance(text.get_color()) <= INK_LIMIT
    assert 1.05 / (INK_LIMIT + 0.05) > 4.5 and luminance("white") == pytest.approx(1)
    texts[3].set_color("#550000")
    assert "color of a text" in sameness.fact_difference(
        {**facts.read(render(fig)), "inks": before}, facts.read(render(fig))
    )
    plt.close(fig)


# ------------------------------------------------------------------------------------ when is a picture the same?


def curves(noise: float = 0.0, lines: int = 3, title: str = "loss", shade: str = "#0173b2", xlabel: str = "RoPE"):
    """A figure like those of the race: ``noise`` moves the curves, ``lines`` is how many there are."""
    with plt.style.context(["default", STYLE]):
        fig, ax = plt.subplots()
        x = np.linspace(0, 600, 200)
        wobble = np.random.default_rng(0).standard_normal((3, 200))
        for k in range(lines):
            curve = (1.6 + 0.2 * k + 2 * np.exp(-x / 90)) * (1 + noise * wobble[k])
            ax.plot(x, curve, color=shade if k == 1 else None)
        ax.set(title=title, xlabel=xlabel, xlim=(0, 600), ylim=(1.5, 4.1))
        return fig


def cells(label: str = "+0.12", value: float = 0.12, noise: float = 0.0):
    """An annotated heat map like the costs of notebook 04."""
    with plt.style.context(["default", STYLE]):
        fig, ax = plt.subplots(figsize=(7.6, 3.7))
        grid = np.linspace(0, 1, 30).reshape(5, 6)
        grid[1, 2] = value
        grid = grid + noise * np.random.default_rng(0).standard_normal(grid.shape)
        ax.imshow(grid, vmin=0, vmax=1)
        for row, column in np.ndindex(5, 6):
            text = label if (row, column) == (1, 2) else f"{grid[row, column]:+.1f}"
            ax.text(column, row, text, ha="center", va="center", color="w", fontsize=9)
        return fig


def bars(heights=(3.0, 1.0, 2.0), dots=(0.5, 1.5), arrow=(0.3, 0.7)):
    with plt.style.context(["default", STYLE]):
        fig, axes = plt.subplots(1, 4, figsize=(7.6, 2.5))
        axes[0].bar(range(3), heights)
        axes[0].set_ylim(0, 5)
        axes[1].scatter(dots, (1, 1))
        axes[1].set_xlim(0, 2)
        axes[2].annotate("", arrow, (0, 0), arrowprops={"arrowstyle": "-|>"})
        axes[3].fill_between([0, 1], [0, heights[0] / 4], [1, 2])
        axes[3].set_ylim(0, 5)
        return fig


@pytest.fixture(autouse=True)
def close_all():
    yield
    plt.close("all")


REFERENCE = {"curves": curves, "cells": cells, "bars": bars}


@pytest.mark.parametrize("draw", REFERENCE.values(), ids=REFERENCE)
def test_drawing_twice_gives_the_same_bytes(draw):
    assert render(draw()) == render(draw())


def test_a_picture_drawn_on_another_processor_is_the_same():
    """A thousandth is more than float32 training differs by; the bytes differ, the picture does not."""
    for draw in (curves, cells):
        before, after = render(draw()), render(draw(noise=1e-3))
        assert before != after and sameness.difference(before, after) == ""
    assert sameness.rms(render(curves()), render(curves(noise=1e-3))) < 0.7 * sameness.PIXELS
    assert sameness.difference(render(bars()), render(bars(heights=(3.003, 0.999, 2.0), dots=(0.501, 1.5)))) == ""


CHANGED = [
    (cells, {"label": "+9.87"}, r"the text '\+0.12' became '\+9.87'"),
    (cells, {"label": "+0.13"}, r"the text '\+0.12' became '\+0.13'"),
    (cells, {"value": 0.15}, "AxesImage.*values moved by 3.0%"),
    (curves, {"xlabel": "ALiBi"}, "the text 'RoPE' became 'ALiBi'"),
    (curves, {"title": "loss by position"}, "the text 'loss' became"),
    (curves, {"noise": 0.1}, r"artist 1 \(Line2D\): its y moved by"),
    (curves, {"lines": 2}, "it shows 2 Line2D, before 3 Line2D"),
    (curves, {"shade": "#de8f05"}, "artist 2.*color was .*0173b2.*de8f05"),
    (bars, {"heights": (3.0, 1.2, 2.0)}, r"artist 2 \(Rectangle\): its y moved by 4.0%"),
    (bars, {"heights": (3.4, 1.0, 2.0)}, r"artist 1 \(Rectangle\)"),
    (bars, {"dots": (0.5, 1.6)}, r"axes 2: artist 1 \(PathCollection\): its x moved by 5.0%"),
    (bars, {"arrow": (0.7, 0.3)}, r"axes 3: artist 1 \(FancyArrowPatch\)"),
]


@pytest.mark.parametrize(("draw", "change", "words"), CHANGED, ids=[f"{d.__name__}-{c}" for d, c, _ in CHANGED])
def test_another_picture_is_seen(draw, change, words):
    found = sameness.difference(render(draw()), render(draw(**change)))
    assert re.search(words, found), found


def test_pixels_alone_do_not_see_a_digit_or_a_label():
    """Why texts are compared: both changes stay below the tolerance for pixels."""
    assert sameness.rms(render(cells()), render(cells(label="+9.87"))) < sameness.PIXELS
    assert sameness.rms(render(curves()), render(curves(xlabel="ALiBi"))) < sameness.PIXELS


def test_pixels_are_compared_last_and_only_within_one_version_of_matplotlib():
    image = Image.open(io.BytesIO(render(curves()))).convert("RGB")
    shown = facts.read(render(curves()))
    same, inverted = facts.embed(image, shown), facts.embed(ImageOps.invert(image), shown)
    assert "pixels differ" in sameness.difference(same, inverted)
    other = facts.embed(ImageOps.invert(image), {**shown, "matplotlib": "3.1"})
    assert sameness.difference(same, other) == ""
    fewer = facts.embed(image, {**shown, "matplotlib": "3.1", "ticks": shown["ticks"][::2]})
    assert sameness.difference(same, fewer) == ""
    assert "texts changed" in sameness.difference(same, facts.embed(image, {**shown, "ticks": shown["ticks"][::2]}))
    relabelled = {**shown, "matplotlib": "3.1", "texts": [*shown["texts"], "new"]}
    assert "new: ['new']" in sameness.difference(same, facts.embed(image, relabelled))


def test_a_picture_without_facts_is_not_the_same_unless_both_have_none():
    image = Image.open(io.BytesIO(render(curves()))).convert("RGB")
    bare, again, bent = io.BytesIO(), io.BytesIO(), io.BytesIO()
    image.save(bare, "png")
    image.save(again, "png", compress_level=0)
    ImageOps.invert(image).save(bent, "png")
    assert "saved picture does not carry" in sameness.difference(bare.getvalue(), render(curves()))
    assert "fresh picture does not carry" in sameness.difference(render(curves()), bare.getvalue())
    assert sameness.difference(bare.getvalue(), again.getvalue()) == ""
    assert "pixels differ" in sameness.difference(bare.getvalue(), bent.getvalue())


def test_size_of_a_picture_counts():
    buffer = io.BytesIO()
    Image.open(io.BytesIO(render(curves()))).resize((10, 10)).save(buffer, "png")
    assert sameness.rms(render(curves()), buffer.getvalue()) == float("inf")


def test_facts_name_what_is_seen_and_nothing_else():
    fig = curves(lines=1)
    fig.axes[0].plot([0, 600], [2, 3], visible=False)
    fig.axes[0].text(300, 3, "gone", visible=False)
    fig.axes[0].text(300, 3, " \N{MINUS SIGN}1  nat ")
    shown = facts.read(render(fig))
    assert set(shown["texts"]) == {"-1 nat", "loss", "RoPE"}
    assert {"0", "600", "2.0"} < set(shown["ticks"]) and "gone" not in shown["ticks"]
    (part,) = shown["axes"]
    assert part["view"] == [0, 600, 1.5, 4.1]
    (line,) = part["drawn"]
    assert line["kind"] == "Line2D" and line["n"] == 200 and line["color"] == ["0173b2ff"]
    x, y = line["at"]
    assert len(x) == len(y) == facts.MOST and x == sorted(x) and y == sorted(y, reverse=True) and 0 <= y[-1] <= 1000


def test_a_value_missing_from_a_curve_is_a_gap_not_a_number():
    fig, ax = plt.subplots()
    ax.plot([0, 1, 2], [0, np.nan, 2])
    (line,) = facts.read(render(fig))["axes"][0]["drawn"]
    assert line["at"][1][1] is None


def test_an_artist_that_nobody_can_describe_is_refused():
    fig, ax = plt.subplots()
    ax.table([["1"]])
    with pytest.raises(TypeError, match="Table"):
        render(fig)


# ------------------------------------------------------------------------------------ the comparison that nbval makes


def cell_outputs(name: str, data: bytes, graph: dict | None = None) -> list[dict]:
    bundle = {"image/png": base64.b64encode(data).decode(), "text/plain": "alt"}
    if graph is not None:
        bundle[sameness.PLOTLY] = graph
    return [{"output_type": "display_data", "data": bundle, "metadata": {"figure": name}}]


def test_comparison_names_the_figure():
    same, other = cell_outputs("01_a", render(curves())), cell_outputs("01_a", render(curves(lines=1)))
    assert sameness.output_difference(same, same) == ""
    changed = sameness.output_difference(same, other)
    assert "01_a" in changed and "3 Line2D" in changed
    assert "02_b" in sameness.output_difference(same, cell_outputs("02_b", render(curves())))
    assert "this run made []" in sameness.output_difference(same, [])
    assert "this run made" in sameness.output_difference([], same)
    assert sameness.output_difference(same, other, contents=False) == ""
    assert "this run made []" in sameness.output_difference(same, [], contents=False)


def test_interactive_twin_is_compared_within_a_tolerance():
    graph = {"data": [{"y": [1.0, 2.0, None], "name": "rope"}]}
    png = render(curves())
    before = cell_outputs("01_a", png, graph)
    near, far = (json.loads(json.dumps(graph)) for _ in range(2))
    near["data"][0]["y"][1] = 2.01
    far["data"][0]["y"][1] = 2.5
    assert sameness.output_difference(before, cell_outputs("01_a", png, near)) == ""
    assert "/data/0/y/1" in sameness.output_difference(before, cell_outputs("01_a", png, far))
    assert "interactive" in sameness.output_difference(before, cell_outputs("01_a", png))
    assert sameness.json_difference({"a": [1]}, {"a": [1, 2]}) and sameness.json_difference({"a": 1}, {"b": 1})
    assert sameness.json_difference("x", "y") and not sameness.json_difference(None, None)
