"""The look of the series: one color, line and marker a scheme, and the pictures that several notebooks draw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from torch import Tensor

from .encodings import SCHEMES
from .validate import one_of, require

if TYPE_CHECKING:
    from .race import Band, Result


@dataclass(frozen=True)
class Explorable:
    """The live version of a picture (``helpers/explore``).

    Attributes:
        module: its name.
        state: key -> value, where the dials and what is dragged stand at first. Plain JSON.
        dials: labels and ranges, as ``helpers.explore.explorable`` writes them. Plain JSON.
    """

    module: str
    state: dict[str, Any]
    dials: list[dict[str, Any]]


@dataclass(frozen=True)
class Picture:
    """A figure with everything that is shown beside it, made where it is drawn: words and drawing share their data.

    Attributes:
        fig: a matplotlib figure. It must carry the message alone: it is what GitHub shows.
        name: "NN_slug", NN the notebook: also the file's name.
        alt: what is to be seen, in eight words or more, for whoever cannot see it.
        caption: one visible sentence.
        interactive: a plotly figure to go with it. JupyterLab shows it when the mouse enters the picture.
        explorable: the live version, which JupyterLab shows in place of the picture.

    Raises:
        ValueError: on a name of another form, a short alternative text, or no caption.
    """

    fig: plt.Figure
    name: str
    alt: str
    caption: str
    interactive: Any = None
    explorable: Explorable | None = None

    def __post_init__(self) -> None:
        form = bool(re.fullmatch(r"0[1-6]_[a-z0-9_]+", self.name))
        require(form, "name", self.name, 'use "NN_slug" in lower case, as in "01_hero".')
        require(len(self.alt.split()) >= 8, "alt", self.alt, "say in eight words or more what is to be seen.")
        require(bool(self.caption.strip()), "caption", self.caption, "write one sentence.")


DIVERGING = "RdBu_r"
"""Color map for signed values; ``cividis`` (the default) for the rest."""

INK, MUTED, ACCENT = "#333333", "#949494", "#d55e00"

# Seaborn's colorblind palette, one entry a scheme; line style and marker tell them apart without color.
_SCHEMES: dict[str, tuple[str, str, str, str]] = {
    "none": ("#949494", ":", "o", "no encoding"),
    "sinusoidal": ("#0173b2", "-", "s", "sinusoidal"),
    "learned": ("#de8f05", "--", "D", "learned table"),
    "t5": ("#ca9161", "-.", "^", "T5 bias"),
    "shaw": ("#8c613c", (0, (1, 1)), "<", "Shaw"),
    "deberta": ("#b8850a", (0, (4, 1, 1, 1)), ">", "DeBERTa"),
    "transformer_xl": ("#00656b", (0, (3, 1, 1, 1, 1, 1)), "8", "Transformer-XL"),
    "rope": ("#d55e00", "-", "o", "RoPE"),
    "pope": ("#cc78bc", "--", "v", "PoPE"),
    "xpos": ("#a34700", (0, (5, 1, 1, 1)), "d", "xPos"),
    "alibi": ("#029e73", "-", "P", "ALiBi"),
    "kerple": ("#56b4e9", "-.", "X", "KERPLE"),
    "fire": ("#b03060", (0, (5, 1)), "*", "FIRE"),
    "sandwich": ("#5d6d7e", (0, (3, 1, 1, 1)), "h", "Sandwich"),
    "cope": ("#7f3c8d", (0, (2, 1)), "p", "CoPE"),
    "window": ("#4d4d4d", (0, (1, 2)), "d", "sliding window"),
}


def _look(scheme: str) -> tuple[str, str, str, str]:
    """The entry of a scheme; a scheme that a reader has registered gets a plain look of its own name."""
    if scheme in SCHEMES and scheme not in _SCHEMES:
        return INK, "-", ".", scheme
    return _SCHEMES[one_of("scheme", scheme, _SCHEMES)]


def color(scheme: str) -> str:
    """The fixed color of a scheme (ValueError on an unknown one)."""
    return _look(scheme)[0]


def label(scheme: str) -> str:
    """The name of a scheme as it is printed in figures and tables."""
    return _look(scheme)[3]


def line(scheme: str, **kwargs) -> dict:
    """Keyword arguments of ``ax.plot`` for a scheme: color, line style, marker and label; ``kwargs`` win."""
    c, style, marker, name = _look(scheme)
    return {"color": c, "linestyle": style, "marker": marker, "label": name, **kwargs}


INK_LIMIT, PAPER_LIMIT = 0.183, 0.5
"""Relative luminance: a text up to the first has a contrast of 4.5 to 1 on white; one from the second on is taken to be
light on purpose, on a dark ground."""


def linear(color: Any) -> np.ndarray:
    """A color as amounts of light, red, green and blue from 0 to 1, (3,): sRGB without its gamma."""
    srgb = np.array(to_rgb(color))
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def luminance(color: Any) -> float:
    """Relative luminance of a color, 0 (black) to 1 (white), as the Web Content Accessibility Guidelines define it."""
    return float(linear(color) @ [0.2126, 0.7152, 0.0722])


def darken_texts(fig: plt.Figure) -> None:
    """Give texts of a middling color the same hue, dark enough to be read on white: lines may be pale, words not."""
    for text in fig.findobj(Text):
        level = luminance(text.get_color())
        if INK_LIMIT < level < PAPER_LIMIT:
            light = linear(text.get_color()) * INK_LIMIT / level
            srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
            text.set_color(tuple(np.floor(255 * srgb) / 255))


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, as it is written into pictures; what rounds to zero has none, "0.00".

    A difference that is zero up to rounding errors would read "+0.00" on one processor and "-0.00" on another.
    """
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def race(
    bands: Sequence[Band], live: Sequence[Result] = (), title: str = "", axes: Sequence[plt.Axes] | None = None
) -> plt.Figure:
    """Loss against context length: the last 32 positions on the left, the window mean on the right.

    Args:
        bands: recorded contenders; the shade spans the lowest and the highest seed, the line is the mean.
        live: results trained here, drawn as larger open markers.
        title: of the figure.
        axes: two axes to draw into; by default a new figure.
    """
    lengths = bands[0].settings.lengths
    own = axes is None
    if own:
        fig, axes = plt.subplots(1, 2, figsize=(8, 3.5), sharey=True)
    else:
        fig = axes[0].figure
    for ax, score, name in zip(axes, ("last", "mean"), ("Last 32 positions", "Whole window"), strict=True):
        for band in bands:
            seeds = np.array([band.values(n, score) for n in lengths])  # (lengths, seeds)
            ax.fill_between(lengths, seeds.min(1), seeds.max(1), color=color(band.name), alpha=0.22, linewidth=0)
            ax.plot(lengths, seeds.mean(1), **line(band.name, markersize=4))
        for result in live:
            y = [result.last[n] if score == "last" else result.mean(n) for n in lengths]
            style = line(result.name, linestyle="none", markersize=9, markerfacecolor="none", label=None)
            ax.plot(lengths, y, **style)
        ax.axvline(bands[0].settings.train_len, color=MUTED, linewidth=0.9, linestyle="--", zorder=0)
        ax.set_xscale("log", base=2)
        ax.set_xticks(lengths, [str(n) for n in lengths])
        ax.minorticks_off()
        ax.set(title=name, xlabel="context length at read-out (characters)")
    axes[0].set_ylabel("loss (nats per character)")
    axes[0].annotate(
        "trained length", (bands[0].settings.train_len, 1), xycoords=("data", "axes fraction"), xytext=(4, -9),
        textcoords="offset points", fontsize=8, color="#777777",
    )  # fmt: skip
    if own:
        fig.legend(*axes[1].get_legend_handles_labels(), loc="outside right center")
    else:
        axes[1].legend(loc="upper left")
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


def loss_by_position(bands: Sequence[Band], length: int, smooth: int = 8, ax: plt.Axes | None = None) -> plt.Figure:
    """Loss at every position of a window of ``length``, averaged over seeds and over ``smooth`` neighbors."""
    fig, ax = (None, ax) if ax is not None else plt.subplots(figsize=(7.2, 3.2))
    for band in bands:
        curve = np.mean([r.loss[length].numpy() for r in band.results], axis=0)
        usable = len(curve) // smooth * smooth
        y = curve[:usable].reshape(-1, smooth).mean(1)
        x = np.arange(len(y)) * smooth + (smooth + 1) / 2
        ax.plot(x, y, **line(band.name, marker="none"))
    ax.axvline(bands[0].settings.train_len, color=MUTED, linewidth=0.9, linestyle="--", zorder=0)
    ax.set(xlabel="position in the window", ylabel="loss (nats per character)", xlim=(0, length))
    ax.legend()
    return ax.figure


def heatmap(values: Any, ax: plt.Axes, **kwargs: Any) -> plt.Axes:
    """``seaborn.heatmap``, without drawing the whole figure after every panel.

    Seaborn does that to see whether labels overlap, once for each panel.
    Square cells and color bars need these drawings to find their place: for them use seaborn's own.
    """
    import seaborn as sns

    fig = ax.figure
    fig.draw = lambda renderer: None
    try:
        return sns.heatmap(values, ax=ax, **kwargs)
    finally:
        del fig.draw  # the method of its class again


def matrix(
    ax: plt.Axes,
    values: Tensor | np.ndarray,
    *,
    title: str = "",
    xlabel: str = "key position",
    ylabel: str = "query position",
    signed: bool = False,
    colorbar: str | None = None,
    limit: float | None = None,
):
    """An image of a matrix, origin at the top left, square cells, no grid.

    Args:
        ax: where to draw.
        values: (rows, columns).
        title, xlabel, ylabel: texts.
        signed: use the diverging map, centered at zero.
        colorbar: its label; None draws none.
        limit: largest absolute value of the color scale (largest value, if not signed); the data's by default.

    Returns:
        The image, for a shared colorbar.
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    finite = array[np.isfinite(array)]
    top = limit if limit is not None else (np.abs(finite).max() if signed else finite.max())
    low = -top if signed else min(finite.min(), 0 if limit is not None else finite.min())
    image = ax.imshow(
        array, cmap=DIVERGING if signed else "cividis", vmin=low, vmax=top, aspect="auto", interpolation="nearest"
    )
    ax.grid(False)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    if colorbar is not None:
        bar = ax.figure.colorbar(image, ax=ax, shrink=0.9)
        bar.set_label(colorbar)
        bar.outline.set_visible(False)
    return image
