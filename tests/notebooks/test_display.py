"""show() and start(): what a notebook stores for GitHub, JupyterLab and screen readers, and what is written to disk."""

from __future__ import annotations

import io
import json
import warnings

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from PIL import Image

from helpers import display, plotting
from helpers.encodings import SCHEMES

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
    display.show(fig, "01_line", alt=ALT, caption="A line.")
    (bundle, kwargs), (caption, _) = shown
    assert set(bundle[0]) == {"image/png", "text/plain"} and bundle[0]["text/plain"] == ALT
    assert kwargs == {"raw": True, "metadata": {"image/png": {"alt": ALT}, "figure": "01_line"}}
    assert Image.open(io.BytesIO(bundle[0]["image/png"])).format == "PNG"
    assert caption[0].data == "*A line.*"
    assert not plt.fignum_exists(fig.number), "the figure stays open: IPython would show it a second time"


def test_an_interactive_figure_rides_in_the_same_bundle(shown):
    display.show(figure(), "02_line", alt=ALT, caption="A line.", interactive=go.Figure(go.Scatter(y=[0, 1])))
    bundle = shown[0][0][0]
    assert set(bundle) == {"image/png", "text/plain", "application/vnd.plotly.v1+json"}
    json.dumps(bundle["application/vnd.plotly.v1+json"])


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
        display.show(fig, **({"name": "01_hero", "alt": ALT, "caption": "A line."} | change))
    assert shown == []


def test_nothing_is_written_without_a_folder(shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    display.start("01")
    display.show(figure(), "01_line", alt=ALT, caption="A line.")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_gets_the_picture_and_its_line_in_the_manifest(shown, tmp_path):
    folder = tmp_path / "deep" / "figures"
    display.start("01", figures_dir=str(folder), seed=3, base=500.0)
    display.show(figure(), "01_zeta", alt=ALT, caption="A line.")
    display.show(figure([3, 1, 2]), "01_alpha", alt=ALT + ".", caption="Another.")
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


def test_the_same_figure_gives_the_same_bytes(shown):
    display.start("01")
    assert display.render(figure()) == display.render(figure())
    image = Image.open(io.BytesIO(display.render(figure())))
    assert "Software" not in image.info and "Creation Time" not in image.info


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
    course = display.start("03", preset="full", width=3)
    assert course.parameters == {"preset": "full", "seed": 0, "width": 3}


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        (("1",), {}, 'notebook=\'1\': pass "01" to "06"'),
        ((1,), {}, "notebook=1"),
        (("01",), {"preset": "slow"}, "preset='slow': choose one of 'quick', 'full'"),
        (("01",), {"device": "tpu"}, "device='tpu'"),
        (("01",), {"seed": -1}, "seed=-1"),
        (("01",), {"seed": "0"}, "seed='0'"),
    ],
)
def test_what_start_refuses(args, kwargs, words):
    with pytest.raises(ValueError, match=words):
        display.start(*args, **kwargs)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device='cuda': no GPU"):
        display.start("01", device="cuda")


# ------------------------------------------------------------------------------------------- colors of the schemes


def test_every_registered_scheme_has_a_look_of_its_own():
    looks = {name: plotting.line(name) for name in SCHEMES}
    for key in ("label", "color"):
        assert len({str(look[key]) for look in looks.values()}) == len(looks), f"two schemes share a {key}"
    assert len({(str(v["linestyle"]), v["marker"]) for v in looks.values()}) == len(looks)
    with pytest.raises(ValueError, match="scheme='rpoe'"):
        plotting.color("rpoe")
    assert plotting.line("rope", label="mine", lw=3)["label"] == "mine"


def deutan(rgb: np.ndarray) -> np.ndarray:
    """A color as seen without green cones (linear RGB, Vienot, Brettel and Mollon 1999)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    return matrix @ linear


def test_race_contenders_can_be_told_apart_without_green_cones():
    """By color alone for most pairs; line style and marker differ for all (tested above)."""
    from helpers.race import CONTENDERS

    seen = {name: deutan(np.array(matplotlib.colors.to_rgb(plotting.color(name)))) for name in CONTENDERS}
    pairs = [(a, b) for i, a in enumerate(CONTENDERS) for b in CONTENDERS[i + 1 :]]
    near = [(a, b) for a, b in pairs if np.linalg.norm(seen[a] - seen[b]) < 0.08]
    assert len(near) <= len(pairs) // 5, near


def test_no_warning_when_drawing(shown):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        display.start("01")
        fig, ax = plt.subplots()
        plotting.matrix(ax, torch.randn(4, 5), signed=True, colorbar="value")
        plotting.matrix(ax, np.full((2, 2), 0.5), limit=1.0)
        display.show(fig, "01_matrix", alt=ALT, caption="A matrix.")
