"""show() and start(): what a notebook stores for GitHub, JupyterLab and screen readers, and what is written to disk."""

from __future__ import annotations

import ast
import io
import json
import multiprocessing
import re
import warnings

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from PIL import Image

from helpers import display, knobs, plotting, race
from helpers.plotting import Picture
from tests.encodings.kept import KEPT
from tests.notebook_code import FILES, code, tree

ALT = "A line that rises from zero to three in four steps"


@pytest.fixture
def shown(monkeypatch):
    """Everything that reaches IPython's display, and a fresh course afterwards."""
    calls = []
    monkeypatch.setattr(display, "display", lambda *args, **kwargs: calls.append((args, kwargs)))
    monkeypatch.setattr(display, "_course", display.Course())
    yield calls
    plt.close("all")
    plt.style.use("default")


def figure(values=(0, 1, 2, 3)):
    fig, ax = plt.subplots(figsize=(2, 1.5))
    ax.plot(values)
    return fig


def test_one_picture_is_one_bundle_and_one_caption(shown):
    fig = figure()
    display.show(Picture(fig, "01_line", ALT, "A line."))
    (bundle, kwargs), (caption, _) = shown
    assert set(bundle[0]) == {"image/png", "text/plain"} and bundle[0]["text/plain"] == ALT
    assert kwargs == {"raw": True, "metadata": {"image/png": {"alt": ALT}, "figure": "01_line"}}
    assert Image.open(io.BytesIO(bundle[0]["image/png"])).format == "PNG"
    assert caption[0].data == "*A line.*"
    assert not plt.fignum_exists(fig.number), "the figure stays open: IPython would show it a second time"


def test_a_picture_brings_its_words_along(shown):
    picture = Picture(figure(), "01_line", ALT, "A line.", go.Figure(go.Scatter(y=[0, 1])))
    display.show(picture)
    (bundle, kwargs), (caption, _) = shown
    assert set(bundle[0]) == {"image/png", "text/plain", "application/vnd.plotly.v1+json"}
    json.dumps(bundle[0]["application/vnd.plotly.v1+json"])
    assert bundle[0]["text/plain"] == ALT and kwargs["metadata"]["figure"] == "01_line"
    assert caption[0].data == "*A line.*"


def test_plotly_numbers_are_rounded_and_no_template_travels_along(shown):
    y = np.array([np.pi, -1e-9, 1 / 3], dtype=np.float64)
    fig = go.Figure(go.Scatter(y=y, x=np.arange(3), marker={"size": np.float32(1.23456789)}))
    plain = display.plotly_json(fig)
    assert plain["data"][0]["y"] == [3.1416, 0.0, 0.3333]
    assert str(plain["data"][0]["y"][1]) == "0.0", "-0.0 differs from 0.0 in the saved file"
    assert plain["data"][0]["x"] == [0, 1, 2]
    assert plain["data"][0]["marker"]["size"] == 1.2346
    assert "template" not in plain["layout"] or not plain["layout"]["template"]
    assert len(json.dumps(plain)) < 2000
    grid = display.plotly_json(go.Figure(go.Heatmap(z=np.eye(2, 3, dtype=np.float32) / 3)))
    assert grid["data"][0]["z"] == [[0.3333, 0.0, 0.0], [0.0, 0.3333, 0.0]]
    frames = go.Figure(go.Scatter(y=[1.23456]), frames=[go.Frame(data=[go.Scatter(y=np.array([2 / 3]))], name="a")])
    assert display.plotly_json(frames)["frames"][0]["data"][0]["y"] == [0.6667]
    assert json.loads(json.dumps(plain)) == plain, "not plain JSON"


def test_what_is_not_finite_becomes_null_because_json_has_no_nan():
    fig = go.Figure(go.Scatter(y=np.array([1.0, np.nan, np.inf]), x=[0.5, -float("inf"), 2]))
    trace = display.plotly_json(fig)["data"][0]
    assert trace["y"] == [1.0, None, None] and trace["x"] == [0.5, None, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alt": "Too short to say anything useful"}, "alt='Too short.*eight words"),
        ({"caption": "  "}, "caption='  '"),
        ({"name": "hero"}, "name='hero': use \"NN_slug\""),
        ({"name": "07_hero"}, "name='07_hero'"),
        ({"name": "01_Hero"}, "name='01_Hero'"),
        ({"name": "02_hero"}, "name='02_hero': must start with 01_"),
    ],
)
def test_what_show_refuses(shown, change, words):
    display.start("01")
    fig = figure()
    with pytest.raises(ValueError, match=words):
        display.show(Picture(fig, **({"name": "01_hero", "alt": ALT, "caption": "A line."} | change)))
    assert shown == []


def test_nothing_is_written_without_a_folder(shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    display.start("01")
    display.show(Picture(figure(), "01_line", ALT, "A line."))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_gets_the_picture_and_its_line_in_the_manifest(shown, tmp_path):
    folder = tmp_path / "deep" / "figures"
    display.start("01", figures_dir=str(folder), seed=3, base=500.0)
    display.show(Picture(figure(), "01_zeta", ALT, "A line."))
    display.show(Picture(figure([3, 1, 2]), "01_alpha", ALT + ".", "Another."))
    assert (folder / "01_zeta.png").read_bytes() == shown[0][0][0]["image/png"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(manifest) == ["01_alpha", "01_zeta"], "sorted, so that the file does not depend on the order of running"
    size = Image.open(folder / "01_zeta.png").size
    entry = manifest["01_zeta"]
    assert entry == {
        "notebook": "01",
        "parameters": {"preset": "quick", "seed": 3, "base": 500.0},
        "alt": ALT,
        "matplotlib": matplotlib.__version__,
        "size": list(size),
        "sha256_pixels": display.pixel_sha256((folder / "01_zeta.png").read_bytes()),
    }
    assert manifest["01_alpha"]["sha256_pixels"] != entry["sha256_pixels"]


def shows(number: str, folder: str, pictures: int) -> None:
    """What one notebook does in its own process: start, and show pictures into a folder."""
    display.display = lambda *args, **kwargs: None
    display.start(number, figures_dir=folder)
    for k in range(pictures):
        display.show(Picture(figure(), f"{number}_line{k}", ALT, "A line."))


def test_two_notebooks_share_a_folder_and_lose_nothing(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=shows, args=(number, str(tmp_path), 12)) for number in ("01", "02")]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    pictures = {path.stem: display.pixel_sha256(path.read_bytes()) for path in tmp_path.glob("*.png")}
    manifest = display.read_manifest(tmp_path)
    assert len(pictures) == 24 and {name: entry["sha256_pixels"] for name, entry in manifest.items()} == pictures
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".png"} <= {"manifest.json", LOCK}


LOCK = ".manifest.json.lock"


@pytest.mark.parametrize("content", ['{"name": "my web app"}', "[1, 2]", "not JSON", '{"icons": {"src": "a.png"}}'])
def test_a_manifest_that_is_not_ours_is_refused_and_stays(shown, tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="figures_dir=.*manifest.json is not one of this course's.*another folder"):
        display.start("01", figures_dir=str(tmp_path))
    assert (tmp_path / "manifest.json").read_text() == content


def test_a_folder_that_cannot_be_used_is_noticed_at_the_start(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="figures_dir=.*cannot be written to.*another folder"):
        display.start("01", figures_dir=str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"


def test_the_same_figure_gives_the_same_bytes(shown):
    display.start("01")
    assert display.render(figure()) == display.render(figure())
    image = Image.open(io.BytesIO(display.render(figure())))
    assert "Software" not in image.info and "Creation Time" not in image.info


def pixels_of(fig) -> np.ndarray:
    fig.canvas.draw()
    return np.asarray(fig.canvas.buffer_rgba())[..., :3].copy()


def off_by(pixels: np.ndarray, image: Image.Image, at_least: int) -> int:
    """By how much the colors that fill ``at_least`` pixels have moved, of 255."""
    moved = np.abs(np.asarray(image.convert("RGB")).astype(int) - pixels).max(-1)
    _, place, count = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    return int(moved.ravel()[count[place.ravel()] >= at_least].max())


def test_a_color_map_keeps_its_colors_and_lines_theirs():
    plt.style.use(["default", display.STYLE])
    fig, axes = plt.subplots(1, 2)
    for ax, signed in zip(axes, (True, False), strict=True):
        values = np.sin(np.arange(64)[:, None] * 10_000.0 ** (-np.arange(64) / 64))
        plotting.matrix(ax, values, signed=signed, colorbar="value")
    pixels = pixels_of(fig)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000, "no work for a palette"
    assert off_by(pixels, display.palette_image(pixels), 20) <= 6
    averaged = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    assert off_by(pixels, averaged, 20) > 10, "Pillow's own reduction has become as good: use it"
    pixels = pixels_of(figure())
    assert off_by(pixels, display.palette_image(pixels), 1) <= 3


def test_the_pixel_hash_sees_pixels_not_compression():
    png = display.render(figure())
    image, again = Image.open(io.BytesIO(png)), io.BytesIO()
    image.save(again, format="PNG", compress_level=0)
    assert again.getvalue() != png
    assert display.pixel_sha256(again.getvalue()) == display.pixel_sha256(png)


def test_start_sets_style_seed_and_threads(shown):
    torch.set_num_threads(2)
    display.start("03", seed=7)
    a = torch.rand(1)
    display.start("03", seed=7)
    assert torch.rand(1) == a and torch.get_num_threads() == 1
    assert plt.rcParams["figure.constrained_layout.use"] and plt.rcParams["image.cmap"] == "cividis"
    course = display.start("02", preset="full", d_model=32)
    assert course.parameters == {"preset": "full", "seed": 0, "d_model": 32}


@pytest.mark.parametrize("notebook", ["1", 1, "07"])
def test_start_knows_six_notebooks(notebook):
    with pytest.raises(ValueError, match=f"notebook={notebook!r}: choose one of '01'"):
        display.start(notebook)


@pytest.mark.parametrize(
    ("knob", "value", "words"),
    [
        ("preset", "slow", 'choose one of "quick", "full"'),
        ("device", "tpu", 'choose one of "cpu", "cuda"'),
        ("seed", -1, "whole number from 0"),
        ("seed", "0", "whole number.*It is text: leave out the quotes"),
        ("seed", 1.0, "whole number"),
        ("seed", 2**32, "whole number"),
        ("seed", True, "whole number"),
        ("figures_dir", "", "name a folder"),
        ("figures_dir", 3, "name a folder"),
        ("pretrained", "False", "True or False.*It is text"),
        ("pretrained", 1, "True or False"),
        ("sentence", "a b c", "five words, the first and the fourth the same"),
        ("sentence", "a b c d e", "five words"),
        ("sentence", "a a b a c", "five words"),
        ("base", 0, "above 1"),
        ("base", float("nan"), "above 1"),
        ("base", float("inf"), "above 1"),
        ("base", "500", "above 1.*It is text"),
        ("d_model", 30, "multiple of 4 from 32 on"),
        ("d_model", 64.0, "multiple of 4"),
        ("head_dim", 7, "multiple of 8"),
        ("head_dim", 0, "multiple of 8"),
        ("head_dim", 8, "multiple of 8 from 16 on"),
        ("n_heads", 0, "at least 2"),
        ("n_heads", 1, "at least 2"),
        ("factor", 0.5, "above 1"),
        ("factor", "8", "above 1.*It is text"),
        ("width", 3, "no notebook has it; choose from preset, seed"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_before_any_work(knob, value, words, tmp_path):
    name = "parameter='width'" if knob == "width" else f"{knob}={value!r}"
    with pytest.raises(ValueError) as caught:
        display.start("04", **({"figures_dir": str(tmp_path / "new")} | {knob: value}))
    assert str(caught.value).startswith(f"{name}: ") and re.search(words, str(caught.value))
    assert not (tmp_path / "new").exists()


def declared(number: str) -> dict[str, ast.expr]:
    """Name -> default, of what a notebook's parameters cell declares."""
    (cell,) = [cell for cell in code(number) if "parameters" in cell["tags"]]
    return {node.target.id: node.value for node in tree(cell).body if isinstance(node, ast.AnnAssign)}


@pytest.mark.parametrize("number", FILES)
def test_every_knob_of_a_notebook_is_checked_and_its_default_fits(number):
    (call,) = [
        node for cell in code(number) for node in ast.walk(tree(cell))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "helpers.start"
    ]  # fmt: skip
    passed = {keyword.arg for keyword in call.keywords} - {None}
    passed |= {key.value for cell in code(number) for node in ast.walk(tree(cell)) for key in knobs_of(node)}
    assert passed == set(declared(number)), "hand every knob to helpers.start, which checks it"
    for name, default in declared(number).items():
        knobs.check(name, ast.literal_eval(default))


def knobs_of(node: ast.AST) -> list[ast.Constant]:
    """Keys of ``knobs = {"base": base}``, which a notebook hands on as ``**knobs``."""
    named = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "knobs"
    return node.value.keys if named else []


def test_every_knob_is_one_of_a_notebook_and_the_presets_are_those_of_the_race():
    assert set(knobs.KNOBS) == {name for number in FILES for name in declared(number)}
    for preset in set(race.PRESETS) - {"fair"}:  # of that race the notebooks show what is recorded
        knobs.check("preset", preset)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device='cuda': no GPU"):
        display.start("01", device="cuda")


# ------------------------------------------------------------------------------------------- colors of the schemes


def test_every_scheme_that_is_kept_has_a_look_of_its_own():
    looks = {name: plotting.line(name) for name in KEPT}
    for key in ("label", "color"):
        same = f"two schemes share a {key}: give the new one a line in _SCHEMES of helpers/plotting.py"
        assert len({str(look[key]) for look in looks.values()}) == len(looks), same
    assert len({(str(v["linestyle"]), v["marker"]) for v in looks.values()}) == len(looks)
    with pytest.raises(ValueError, match="scheme='rpoe'"):
        plotting.color("rpoe")
    assert plotting.line("rope", label="mine", lw=3)["label"] == "mine"


# Linear RGB as seen without red, green or blue cones (Machado, Oliveira and Fernandes 2009, table 1, severity 1).
CONES = {
    "red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
without = pytest.mark.parametrize("missing", CONES)


def seen(color, missing: str) -> np.ndarray:
    """A color in linear RGB as it is seen without one kind of cones."""
    return np.array(CONES[missing]) @ plotting.linear(color)


@without
def test_white_stays_white(missing):
    assert seen("white", missing) == pytest.approx(1, abs=1e-3)


@without
def test_race_contenders_can_be_told_apart_without_one_kind_of_cones(missing):
    """By color alone for most pairs; line style and marker differ for all (tested above)."""
    from helpers.race import CONTENDERS

    colors = {name: seen(plotting.color(name), missing) for name in CONTENDERS}
    pairs = [(a, b) for i, a in enumerate(CONTENDERS) for b in CONTENDERS[i + 1 :]]
    near = [(a, b) for a, b in pairs if np.linalg.norm(colors[a] - colors[b]) < 0.08]
    assert len(near) <= len(pairs) // 5, near


@without
def test_color_maps_keep_their_order_without_one_kind_of_cones(missing):
    """cividis gets lighter all the way; the two ends of the diverging map stay apart from each other and the middle."""
    brightness = [0.2126, 0.7152, 0.0722] @ np.array([seen(c, missing) for c in plt.get_cmap("cividis").colors]).T
    assert (np.diff(brightness[::8]) > 0).all()
    low, middle, high = (seen(plt.get_cmap(plotting.DIVERGING)(x), missing) for x in (0.1, 0.5, 0.9))
    assert min(np.linalg.norm(low - middle), np.linalg.norm(high - middle), np.linalg.norm(low - high)) > 0.2


def test_no_warning_when_drawing(shown):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        display.start("01")
        fig, ax = plt.subplots()
        plotting.matrix(ax, torch.randn(4, 5), signed=True, colorbar="value")
        plotting.matrix(ax, np.full((2, 2), 0.5), limit=1.0)
        display.show(Picture(fig, "01_matrix", ALT, "A matrix."))
