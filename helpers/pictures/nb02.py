"""The pictures of notebook 02. Each brings its name, caption and alternative text, filled from what it draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from torch import Tensor

from .. import corpus, plotting
from ..encodings.sinusoidal import sinusoidal_frequencies
from ..plotting import ACCENT, INK, MUTED, Picture

if TYPE_CHECKING:
    from ..race import Band

GREEN = "#029e73"


def hero(rows: Tensor, bands: Sequence[Band], length: int) -> Picture:
    """A table, and the loss by position of models without it and with it.

    Args:
        rows: the table, (positions, width).
        bands: recorded contenders, without and with it.
        length: of the window that is read.
    """
    trained = bands[0].settings.train_len
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.8, 3.4), width_ratios=(1, 1.3))
    plotting.matrix(left, rows, signed=True, title="The table", xlabel="dimension", ylabel="position")
    plotting.loss_by_position(bands, length, ax=right)
    right.set(title="What it does to a language model")
    without, with_it = (np.mean([run.loss[length].numpy() for run in band.results], axis=0) for band in bands)
    gap = with_it - without
    return Picture(
        fig,
        "02_hero",
        alt="Left: heat map of the sinusoidal table, fast stripes on the left fading into constant columns. Right: "
        f"loss by position in windows of {length}: with the table {-gap[:trained].mean():.1f} lower up to position "
        f"{trained} and {gap[trained : 2 * trained].mean():.1f} higher over the next {trained}.",
        caption=f"The table, and two tiny language models that read {length} characters after training on windows of "
        f"{trained} (dashed); mean of {len(bands[0].results)} recorded seeds each.",
    )


def counter(bits: Tensor, cosines: Tensor, steps: Mapping[str, Tensor]) -> Picture:
    """Binary digits, cosines with the same periods, and how even the steps from row to row are.

    Args:
        bits: (positions, digits), the fastest first.
        cosines: (positions, digits), the same periods.
        steps: label -> distance from row p to row p + 1, (positions - 1,); each is divided by its mean.
    """
    even = {label: (values / values.mean()).numpy() for label, values in steps.items()}
    fig, axes = plt.subplots(3, 1, figsize=(7.4, 5.0), sharex=True, height_ratios=(1, 1, 1.1))
    plotting.matrix(axes[0], bits.T, title="Binary counter", xlabel="", ylabel="bit")
    plotting.matrix(axes[1], cosines.T, signed=True, title="The same periods as cosines", xlabel="", ylabel="wave")
    looks = ({"color": MUTED, "drawstyle": "steps-mid"}, {"color": plotting.color("sinusoidal")})
    for (label, values), look in zip(even.items(), looks, strict=True):
        axes[2].plot(values, label=label, **look)
    axes[2].set(title="Step from p to p + 1, over the mean step", xlabel="position p", ylabel="ratio", ylim=(0, 2.2))
    axes[2].legend(loc="upper right", ncols=2)
    ranges = "; ".join(f"{label}: {v.min():.1f} to {v.max():.1f} times the mean" for label, v in even.items())
    return Picture(
        fig,
        "02_counter",
        alt=f"{bits.shape[1]} rows of binary digits over {len(bits)} positions, the same rows as smooth cosine waves, "
        f"and below them the size of each step. {ranges}.",
        caption="Bounded digits, the same periods as waves, and how even the steps are.",
    )


def _annotated(ax: plt.Axes, values: np.ndarray, digits: int, **kwargs) -> None:
    """A small heat map with its numbers written in."""
    top = kwargs.get("limit") or np.abs(values).max()
    plotting.matrix(ax, values, **kwargs)
    for (row, column), value in np.ndenumerate(values):
        shade = "white" if abs(value) > 0.62 * top else INK
        text = plotting.signed(value, digits).replace("+", "")
        ax.text(column, row, text, ha="center", va="center", fontsize=8.5, color=shade)
    ax.tick_params(length=0)


def by_hand(rows: Tensor, words: Sequence[str]) -> Picture:
    """The rows of a table of width 4 with five decimals, beside the words that stand there."""
    fig, ax = plt.subplots(figsize=(6.4, 2.9))
    _annotated(ax, rows.numpy(), 5, signed=True, limit=1.0, xlabel="", ylabel="")
    ax.set_xticks(range(4), ["sin(p)", "cos(p)", "sin(p / 100)", "cos(p / 100)"])
    ax.set_yticks(range(len(words)), [f"{word}  p = {p}" for p, word in enumerate(words)])
    last = ", ".join(f"{value:.5f}" for value in rows[:, 3])
    return Picture(
        fig,
        "02_by_hand",
        alt=f"Annotated heat map of {len(words)} positions and four dimensions with five decimals; the last column "
        f"reads {last}.",
        caption="The whole table for five words: d = 4, base 10,000.",
    )


def whole_table(rows: Tensor, trained: int) -> Picture:
    """A table as a heat map, still and to be read entry by entry, with a line under the positions of training."""
    fig, ax = plt.subplots(figsize=(7.4, 4.0))
    plotting.matrix(ax, rows, signed=True, xlabel="dimension", ylabel="position", colorbar="value")
    ax.axhline(trained - 0.5, color=INK, linewidth=0.9, linestyle="--")
    read = "position %{y}, dimension %{x}: %{z:.3f}<extra></extra>"
    values = rows.numpy().round(3)
    twin = go.Figure(go.Heatmap(z=values, zmin=-1, zmax=1, colorscale="RdBu_r", hovertemplate=read))
    twin.add_hline(trained - 0.5, line={"color": INK, "width": 1, "dash": "dash"})
    twin.update_layout(
        xaxis={"title": "dimension"}, yaxis={"title": "position", "autorange": "reversed"}, height=520, width=820
    )
    return Picture(
        fig,
        "02_table",
        alt=f"Heat map of {len(rows)} positions by {rows.shape[1]} dimensions: rapid vertical alternation on the left, "
        "slower waves in the middle, constant columns on the right.",
        caption=f"Even columns are sines, odd ones cosines. Dashed: the {trained} positions that the models of this "
        "course are trained on. In JupyterLab every entry can be read: point at it.",
        interactive=twin,
    )


def waves(columns: Mapping[int, Tensor], wavelengths: Mapping[int, float], trained: int) -> Picture:
    """Some columns of a table against position.

    Args:
        columns: dimension -> its values, (positions,).
        wavelengths: dimension -> positions per turn.
        trained: positions of training, shaded.
    """
    fig, axes = plt.subplots(len(columns), 1, figsize=(7.2, 4.2), sharex=True, sharey=True)
    for ax, (j, values) in zip(axes, columns.items(), strict=True):
        ax.plot(values, color=plotting.color("sinusoidal"), marker=".", markersize=4, linewidth=1.2)
        ax.axvspan(0, trained - 1, color=MUTED, alpha=0.12, linewidth=0)
        ax.set(xlim=(0, len(values) - 1), ylim=(-1.2, 1.2), yticks=[-1, 0, 1])
        ax.set_title(f"dimension {j}: one turn in {wavelengths[j]:,.1f} positions", fontsize=10)
    axes[-1].set_xlabel("position")
    turns = ", ".join(f"{j}: {wavelengths[j]:,.1f}" for j in columns)
    return Picture(
        fig,
        "02_waves",
        alt=f"{len(columns)} dimensions of the table as waves over positions, from a jagged fast one to one that does "
        f"not finish its turn. Positions per turn by dimension: {turns}.",
        caption=f"Columns of the table as waves; shaded: the {trained} positions of training.",
    )


def three_tables(tables: Mapping[str, Tensor]) -> Picture:
    """Three tables side by side, and the difference of the last two."""
    names = list(tables)
    difference = (tables[names[1]] - tables[names[2]]).numpy()
    fig, axes = plt.subplots(1, 4, figsize=(8, 3.2), sharey=True)
    for ax, name in zip(axes, names, strict=False):
        plotting.matrix(ax, tables[name], signed=True, limit=1, title=name, xlabel="dimension", ylabel="")
    plotting.matrix(axes[3], difference, signed=True, limit=1, title="difference", xlabel="dimension", ylabel="")
    axes[0].set_ylabel("position")
    return Picture(
        fig,
        "02_three_tables",
        alt=f"Three heat maps of width {difference.shape[1]}: interleaved stripes, and two versions with sines on the "
        "left half and cosines on the right half that look nearly alike. The fourth, their difference, is not empty: "
        f"it reaches {np.abs(difference).max():.1f}.",
        caption=f"The same name on three tables. Right: {names[1]} minus {names[2]}.",
    )


def whisper(
    candidates: Mapping[str, Tensor], rows: Tensor, channels: Sequence[int], positions: Sequence[int]
) -> Picture:
    """A stretch of the last row of Whisper's table on the same stretch of three candidates.

    Args:
        candidates: name -> the rows by that formula.
        rows: the rows of the model.
        channels: the dimensions drawn.
        positions: of the rows.
    """
    at = list(channels)
    fig, axes = plt.subplots(len(candidates), 1, figsize=(7.4, 4.4), sharex=True, sharey=True)
    errors = {name: (values - rows).abs().max().item() for name, values in candidates.items()}
    for ax, (name, values) in zip(axes, candidates.items(), strict=True):
        ax.plot(at, values[-1, at], color=plotting.color("sinusoidal"), linewidth=1.2)
        ax.plot(at, rows[-1, at], ".", color=ACCENT, markersize=6)
        ax.set_title(f"{name}: largest error {errors[name]:.2f}", fontsize=10)
        ax.set(xlim=(at[0] - 1, at[-1] + 1), ylim=(-1.25, 1.25), yticks=[-1, 0, 1])
    axes[-1].set_xlabel("dimension (line: formula, dots: Whisper)")
    through = [name for name, error in errors.items() if error < 0.01]
    return Picture(
        fig,
        "02_whisper",
        alt=f"One row of Whisper's table as dots over {len(candidates)} candidate curves; the curve that runs through "
        f"all dots is that of {' and '.join(through) or 'none'}.",
        caption=f"Position {int(positions[-1])} of Whisper's encoder table, dimensions {at[0]} to {at[-1]}; the error "
        f"is that of all {len(rows)} rows.",
    )


def dot_product(similarity: Tensor, curves: Mapping[int, Tensor]) -> Picture:
    """Dot products of a table's rows, and their course by distance.

    Args:
        similarity: (positions, positions).
        curves: width -> g(k) / g(0) for k = 0, 1, ...; the first is also enlarged, with its rises marked.
    """
    (width, curve), *_ = curves.items()
    near, up = curve[:13].numpy(), np.flatnonzero(np.diff(curve.numpy()) > 0)
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(8, 3.2), width_ratios=(1, 1.05, 1.35))
    plotting.matrix(left, similarity, title="Dot products", xlabel="position", ylabel="position")
    middle.plot(near, "o-", color=plotting.color("sinusoidal"), markersize=4)
    for k in up[up < len(near) - 1]:
        middle.plot([k, k + 1], near[[k, k + 1]], color=ACCENT, linewidth=3)
    middle.set(title=f"d = {width}, near", xlabel="distance k", ylabel="g(k) / g(0)")
    for (d, values), shade, thick in zip(curves.items(), (plotting.color("sinusoidal"), INK), (1.0, 1.8), strict=True):
        right.plot(values, color=shade, linewidth=thick, label=f"d = {d}")
    right.set(title="Far", xlabel="distance k", xscale="log", xlim=(1, None), ylim=(0, 1.03))
    right.set_xticks([1, 10, 100], ["1", "10", "100"])
    right.legend(loc="lower left")
    return Picture(
        fig,
        "02_dot_product",
        alt=f"Left: matrix of dot products with constant diagonals. Middle: g at d = {width} by distance, falling, "
        f"with the steps that rise marked, the first after distance {up[0]}. Right: both widths far out; the narrow "
        "table swings widely, the wide one much less.",
        caption="Dot products of rows. Orange: steps at which the dot product rises.",
    )


def four_terms(terms: Mapping[str, Tensor], words: Sequence[str]) -> Picture:
    """The four terms of the logits of one sentence, their sum, and the attention: six small matrices with numbers.

    Args:
        terms: name -> (words, words), queries in rows.
        words: of the sentence.
    """
    logits = sum(terms.values())
    attention = (logits / 2).softmax(-1)  # the square root of four dimensions
    names = list(terms)
    panels = {
        names[0]: terms[names[0]], names[1]: terms[names[1]], "sum: the logit": logits,
        names[2]: terms[names[2]], names[3]: terms[names[3]], "softmax(sum / 2)": attention,
    }  # fmt: skip
    fig, axes = plt.subplots(2, 3, figsize=(8, 5.2), sharex=True, sharey=True)
    for ax, (name, values) in zip(axes.flat, panels.items(), strict=True):
        if name.startswith("softmax"):
            shown = 100 * values.numpy()
            _annotated(ax, shown, 0, signed=True, limit=100.0, title="attention, %", xlabel="", ylabel="")
        else:
            _annotated(ax, values.numpy(), 1, signed=True, limit=4.0, title=name, xlabel="", ylabel="")
        ax.set_xticks(range(len(words)), words, rotation=45, fontsize=8)
        ax.set_yticks(range(len(words)), words, fontsize=8)
    fig.supxlabel("key", fontsize=9)
    fig.supylabel("query", fontsize=9)
    repeated = [i for i, word in enumerate(words) if list(words).count(word) > 1]
    same = [name for name, values in terms.items() if torch.allclose(values[repeated[0]], values[repeated[-1]])]
    return Picture(
        fig,
        "02_four_terms",
        alt=f"Five by five matrices of {', '.join(names)}, of their sum and of the attention. The rows of the two "
        f"queries “{words[repeated[0]]}” are equal in {' and '.join(same)}, and differ in the others.",
        caption="The logits of one sentence, term by term (d = 4, both weight matrices the identity).",
    )


def term_sizes(sizes: pd.DataFrame, term: Tensor, name: str) -> Picture:
    """How much each term varies in a trained model, and one of them as a map.

    Args:
        sizes: one row per head, one column per term.
        term: (positions, positions) of one head, queries in rows; drawn less the mean of each row, to which the softmax
            is blind, and blank where the mask hides.
        name: of that term.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.2), width_ratios=(1.2, 1))
    for y, column in enumerate(sizes.columns):
        left.plot(sizes[column], [y] * len(sizes), "o", color=plotting.color("sinusoidal"), alpha=0.7, markersize=7)
    left.set_yticks(range(len(sizes.columns)), sizes.columns)
    left.invert_yaxis()
    left.set(title="Spread over the keys", xlabel="standard deviation of the term", xlim=(0, None))
    seen = torch.ones_like(term).tril()
    mean = (term * seen).sum(-1, keepdim=True) / seen.sum(-1, keepdim=True)
    shown = (term - mean).masked_fill(seen == 0, float("nan"))
    plotting.matrix(
        right, shown, signed=True, title=f"{name}, one head", xlabel="key", ylabel="query", colorbar="logit"
    )
    ranges = "; ".join(f"{c} {sizes[c].min():.1f} to {sizes[c].max():.1f}" for c in sizes.columns)
    return Picture(
        fig,
        "02_term_sizes",
        alt=f"Left: spread of the four terms in {len(sizes)} heads: {ranges}. Right: the {name} term of one head, high "
        "along the diagonal and falling away from it.",
        caption="First layer of a recorded model of the race; each dot is a head, and each row of the map is less its "
        "mean, to which the softmax is blind.",
    )


def guaranteed(weights: Mapping[str, Tensor], trained: int, smooth: int = 9) -> Picture:
    """Weight on the previous position by query position, averaged over ``smooth`` neighbors.

    Args:
        weights: label -> (positions,); drawn in this order, the first dashed.
        trained: positions that training showed.
        smooth: odd number of neighbors.
    """
    fig, ax = plt.subplots(figsize=(7.4, 3.5))
    shades = (INK, plotting.color("sinusoidal"), GREEN, ACCENT)
    for (label, values), shade in zip(weights.items(), shades, strict=True):
        dash = "--" if shade == INK else "-"
        for part, start in ((values[: trained - 1], 1), (values[trained - 1 :], trained)):  # not across the line
            even = part.unfold(0, smooth, 1).mean(-1)
            x = start + smooth // 2 + np.arange(len(even))
            ax.plot(x, even, dash, color=shade, linewidth=1.6, label=label if start == 1 else None)
    ax.axvline(trained - 0.5, color=MUTED, linewidth=0.9, linestyle="--", zorder=0)
    ax.set(xlabel="position of the query", ylabel="weight on the previous", ylim=(-0.03, 1.35), yticks=[0, 0.5, 1])
    ax.legend(loc="upper right", ncols=2, fontsize=8)
    order = sorted(weights, key=lambda label: -weights[label][trained - 1 :].mean())
    return Picture(
        fig,
        "02_guaranteed_not_learned",
        alt=f"Weight on the previous position for four matrices, all near one up to {trained - 1}. "
        f"After it, from high to low: {'; '.join(order)}.",
        caption=f"The same head with four matrices (means of {smooth} positions); dashed: where its training ended.",
    )


def path(d_model: int, base: float, length: int = 256) -> np.ndarray:
    """Three channels of a table, (length, 3): the hand of a middle clock (sin, cos) and the sine of a slow clock."""
    frequencies = sinusoidal_frequencies(d_model, base)
    turns = length * frequencies / (2 * np.pi)
    middle = int((turns - 6).abs().argmin())  # about six turns along the path
    slow = int((turns - 0.25).abs().argmin())  # a quarter turn: rises all along
    angles = torch.arange(length)[:, None] * frequencies[[middle, slow]]
    return torch.stack([angles[:, 0].sin(), angles[:, 0].cos(), angles[:, 1].sin()], -1).numpy()


def staircase(d_model: int, base: float, length: int = 256) -> Picture:
    """The path of a position vector through three of its channels, still and to be turned."""
    points = path(d_model, base, length)
    fig = plt.figure(figsize=(5.6, 4.6))
    ax = fig.add_subplot(projection="3d")
    ax.plot(*points.T, color="#bbbbbb", linewidth=0.9)
    dots = ax.scatter(*points.T, c=np.arange(length), s=14, cmap="cividis", depthshade=False)
    ax.set_ylabel("cos, middle clock", labelpad=9)
    ax.set(xlabel="sin, middle clock", zticks=[0, 0.5, 1])
    ax.zaxis.set_rotate_label(False)
    ax.set_zlabel("sin, slow clock", rotation=90)
    ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    ax.view_init(elev=18, azim=-58)
    ax.set_box_aspect((1, 1, 1), zoom=0.9)
    fig.colorbar(dots, ax=ax, shrink=0.6, label="position", pad=0.12)
    x, y, z = points.round(3).T
    marker = {"size": 3, "color": np.arange(length), "colorscale": "Cividis", "colorbar": {"title": "position"}}
    twin = go.Figure(go.Scatter3d(x=x, y=y, z=z, mode="lines+markers", marker=marker, line={"color": "#bbbbbb"}))
    axes = {"xaxis_title": "sin, middle clock", "yaxis_title": "cos, middle clock", "zaxis_title": "sin, slow clock"}
    twin.update_layout(scene=axes, height=520, margin={"t": 10, "b": 10, "l": 10, "r": 10})
    return Picture(
        fig,
        "02_path",
        alt=f"A helix of {length} dots, circling evenly with a middle clock and climbing with a slow one, less and "
        "less toward the top.",
        caption=f"{length} positions in three of the table's dimensions. In JupyterLab it can be turned.",
        interactive=twin,
    )


def windows(count: int, length: int) -> Tensor:
    """Character ids (count, length) of validation text; of one repeated sentence if the text is not installed."""
    try:
        text = corpus.load().valid
    except corpus.MissingText:
        text = corpus.encode("The Congress shall have power to declare war, and to raise and support armies. " * 200)
    starts = torch.linspace(0, len(text) - length, count).long()
    return text[starts[:, None] + torch.arange(length)]


def contamination(
    ratios: Sequence[float], readers: Mapping[str, Sequence[float]], marks: Mapping[str, float]
) -> Picture:
    """Share of words recovered from word + position, against how large a word is beside a position.

    Args:
        ratios: norm of a word over norm of a position.
        readers: label -> share recovered, 0 to 1, one per ratio.
        marks: label -> ratio of a common initialization.
    """
    fig, ax = plt.subplots(figsize=(7.2, 3.3))
    for (name, y), style in zip(readers.items(), ("o-", "s--"), strict=True):
        ax.plot(ratios, 100 * np.array(y), style, label=name)
    for text, x in marks.items():
        ax.axvline(x, color=MUTED, linewidth=0.9, linestyle=":", zorder=0)
        ax.text(x * 0.96, 45, text, fontsize=9, color=INK, ha="right")
    ax.set(xscale="log", xlabel="norm of a word / norm of a position", ylabel="words recovered (%)", ylim=(-3, 108))
    ax.set_xticks([0.05, 0.1, 0.2, 0.5, 1, 2], ["0.05", "0.1", "0.2", "0.5", "1", "2"])
    ax.minorticks_off()
    ax.legend(loc="lower left", bbox_to_anchor=(0.02, 0.62))
    ends = "; ".join(f"{name}: {100 * y[0]:.0f}% to {100 * y[-1]:.0f}%" for name, y in readers.items())
    return Picture(
        fig,
        "02_contamination",
        alt=f"Share of words recovered against the relative size of words, {ratios[0]:g} to {ratios[-1]:g}. {ends}.",
        caption="Two readers of the same sum of a random word and a position.",
    )


def attention(maps: Mapping[str, Tensor], profiles: Mapping[str, Tensor], head: int, size: int = 64) -> Picture:
    """Average attention maps of one head, and the weight by distance of every head, relative to equal weights.

    Args:
        maps: name -> (heads, T, T); two of them.
        profiles: name -> (heads, distances), weight k steps back over that of equal weights, so that queries with many
            and with few keys can be compared; drawn dotted, solid and dashed in this order.
        head: which head of the maps to draw.
        size: rows and columns of the maps to draw.
    """
    fig, axes = plt.subplots(1, 3, figsize=(7.8, 2.9), width_ratios=(1, 1, 1.25))
    for ax, (name, weights) in zip(axes, maps.items(), strict=False):
        corner = weights[head, :size, :size]
        plotting.matrix(ax, corner, limit=0.3, title=name.capitalize(), xlabel="key", ylabel="query")
    shades = (INK, plotting.color("sinusoidal"), ACCENT)
    for (name, values), style, shade in zip(profiles.items(), (":", "-", "--"), shades, strict=True):
        mean, low, high = values.mean(0), values.min(0).values, values.max(0).values
        axes[2].plot(mean, style, color=shade, linewidth=1.6, label=name)
        axes[2].fill_between(range(len(mean)), low, high, color=shade, alpha=0.15, linewidth=0)
    axes[2].set(title="All eight heads", xlabel="characters back", ylabel="weight / equal weight", yscale="log")
    axes[2].set(ylim=(0.04, 60), yticks=[0.1, 1, 10], yticklabels=["0.1", "1", "10"])
    axes[2].minorticks_off()
    axes[2].legend(fontsize=8, loc="upper right")
    near = "; ".join(f"{name} {values[:, :4].mean():.1f}" for name, values in profiles.items())
    return Picture(
        fig,
        "02_attention",
        alt="Average attention of one head: a smooth fan before training, a band along the diagonal after it. Right: "
        f"weight over equal weight by distance; mean over the last four characters: {near}.",
        caption="One head before and after training; right: mean and range of all heads, over what equal weights give.",
    )
