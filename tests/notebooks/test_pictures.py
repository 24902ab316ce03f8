"""Pictures bring their words along, and the words say what is drawn: other data, other numbers."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from helpers import display, facts
from helpers.pictures import fair, nb04, nb06
from helpers.plotting import heatmap, signed
from helpers.studies import fair_race


@pytest.fixture(autouse=True)
def style():
    with plt.style.context(["default", display.STYLE]):
        yield
    plt.close("all")


def texts(picture) -> list[str]:
    return facts.read(display.render(picture.fig))["texts"]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.123, 2, "+0.12"), (-0.126, 2, "-0.13"), (1e-9, 2, "0.00"), (-1e-9, 2, "0.00"), (0, 1, "0.0"), (-0.0, 0, "0")],
)
def test_what_rounds_to_zero_has_no_sign(value, digits, text):
    assert signed(value, digits) == text and signed(np.float32(value), digits) == text


def test_a_heat_map_is_seaborns_without_its_drawings(monkeypatch):
    """Two panels: the same pixels, and the figure is drawn once, by whoever shows it."""
    import seaborn as sns

    drawn, draw = [], plt.Figure.draw

    def counted(fig, renderer):
        drawn.append(fig)
        return draw(fig, renderer)

    def pixels(heat_map):
        fig, axes = plt.subplots(1, 2, figsize=(5, 2.5), sharey=True)
        for ax in axes:
            heat_map(np.arange(6).reshape(2, 3), ax=ax, annot=True, cbar=False, xticklabels=["one", "two", "three"])
        return facts.draw(fig)[0]

    expected = pixels(sns.heatmap)
    monkeypatch.setattr(plt.Figure, "draw", counted)
    assert np.array_equal(pixels(heatmap), expected) and len(drawn) == 1


@pytest.mark.parametrize(("theta", "q", "k"), [(0.4, np.exp(-0.3j), 0.8 * np.exp(0.2j)), (0.1, 1j, -1 + 0.2j)])
def test_the_rotating_pair_states_its_own_angle_and_logit(theta, q, k):
    product = q * np.conj(k) * np.exp(3j * theta)  # the two stand three positions apart
    picture = nb04.rotating_pair(q, k, theta, m=5, n=2, shift=3)
    between = np.degrees(np.angle(product))
    assert f"at {between:.0f} degrees" in picture.alt
    assert "moved by 3" in picture.alt and f"logit at {product.real:+.2f}." in picture.alt
    assert texts(picture).count(f"logit {product.real:+.2f}") == 2
    assert {r"$5\,\theta$", r"$2\,\theta$", r"$8\,\theta$"} <= set(texts(picture))


def test_a_lap_draws_the_recall_of_every_seed_as_a_shade_or_as_threads():
    """Seeds that split into 9 and 98% have a mean where none of them is: threads show it, a shade does not."""
    bands = [fair_race.band(scheme) for scheme in ("learned", "rope")]
    seeds = sum(len(band.results) for band in bands)
    shaded, threaded = (fair.lap("04_race", bands, [], fair_race.distances(), threads=t) for t in (False, True))
    for picture, shades, thin in ((shaded, len(bands), []), (threaded, 0, [run for b in bands for run in b.results])):
        left, right = picture.fig.axes
        assert len(left.collections) == len(bands) and len(right.collections) == shades
        curves = [curve for curve in right.lines if len(curve.get_xdata()) == len(fair_race.distances())]
        assert len(curves) == len(bands) + len(thin)
        drawn = [curve.get_ydata() for curve in curves]
        assert all(any(np.allclose(y, 100 * run.recall[512]) for y in drawn) for run in thin)
        assert len(left.get_legend_handles_labels()[1]) == len(bands)
    assert seeds == 6 and shaded.caption.startswith("Shades span 3 recorded seeds of the chosen setting, 400 steps;")
    assert threaded.caption.startswith("Thick: the mean of 3 recorded seeds of the chosen setting, 400 steps; shades")


def costs(noise: float) -> pd.DataFrame:
    rows = ["left padding: no position_ids", "left padding: no mask", "packed: no position_ids"]
    return pd.DataFrame({"learned table": [0.07, 0.11, 0.07], "RoPE": [noise, 0.13, -noise]}, index=rows)


def test_a_cost_of_zero_reads_the_same_on_every_processor():
    above, below = nb04.silent_bugs(costs(3e-7)), nb04.silent_bugs(costs(-2e-7))
    assert texts(above) == texts(below) and texts(above).count("0.00") == 2
    assert above.alt == below.alt and "3 bugs in 2 schemes" in above.alt and "zero for RoPE if only" in above.alt
    hurt = nb04.silent_bugs(costs(0.2))
    assert "zero for no scheme" in hurt.alt


def test_freezing_says_how_far_texts_are_apart():
    short = {"a": {"intact": 25.0, "0-3": 70.0, "20-23": 25.1}, "b": {"intact": 30.0, "0-3": 80.0, "20-23": 30.0}}
    slow = {("frozen", "20-23"): {1024: [1.0, 1.02], 4096: [1.5, 2.25]}, ("zeroed", "20-23"): {1024: [3.0, 4.0]}}
    picture = nb04.freezing(short, slow)
    assert "pairs 20-23 frozen at 4,096 tokens 1.50 to 2.25; pairs 20-23 zeroed at 1,024 tokens 3.00 to" in picture.alt
    assert "4 bits" in picture.caption and {"1,024 tokens", "4,096 tokens", "frozen", "zeroed"} <= set(texts(picture))


def test_the_peak_and_the_collision_are_read_from_the_data():
    curve, distances = torch.linspace(1, 0.5, 80), torch.arange(1, 11)
    peaked = torch.zeros(60)
    peaked[23] = 1
    picture = nb04.decay_limits(curve, torch.diff(curve) > 0, distances, torch.randn(50, 10), peaked)
    assert "a peak at 23" in picture.alt and "k asks for 23" in texts(picture)
    assert "diagonal at 257" in nb04.rounded_positions([0, 64], [1.8, 1.8], [1.8, 2.4], 2.4).alt


def test_pictures_of_extension_say_what_they_were_given():
    grid = torch.full((2, 5, 3), 40.0)
    grid[:, 0, -1] = torch.tensor([10.0, 20.0])
    said = nb06.recall({"none": grid, "yarn": 2 * grid}, (128, 256, 512), (0.0, 0.25, 0.5, 0.75, 0.95)).alt
    assert "At 512: as trained 15% far and 40% near; YaRN, code ramp 30% far and 80% near" in said
    picture = nb06.real_perplexity(
        lambda method, start, end: {"none": 60.0, "win8192": 20.0}[method], ["none"], "win8192"
    )
    assert "In the last block: as trained 3" in picture.alt
    copies = {"none": {2000: [2.0, 3.0], 4000: [25.0, 30.0]}, "yarn2": {2000: [2.0, 2.0], 4000: [3.0, 3.0]}}
    words = nb06.real_copies(copies.__getitem__, list(copies), [34.0, 48.0]).alt
    assert "as trained from 4,000, YaRN, factor 2 nowhere" in words
    turning = nb06.clocks(torch.tensor([1.0, 0.2, 0.05, 0.001]), 64, 512)
    assert "pairs 0 to 1 fully covered in training, pair 2 to 51%" in turning.alt
    assert nb06._apart([1.0, 1.05, 2.0], 0.1) == pytest.approx([0.975, 1.075, 2.0])
