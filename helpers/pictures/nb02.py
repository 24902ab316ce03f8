"""The longer pictures of notebook 02: clock faces, and the interactive twins of four figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from .. import corpus, plotting
from ..encodings.sinusoidal import dot_product_by_distance, shift_matrix, sinusoidal_frequencies, sinusoidal_table

_SIGNED = [[0.0, "#2166ac"], [0.5, "#f7f7f7"], [1.0, "#b2182b"]]


def clock_faces(frequencies: Tensor, positions: Sequence[int]) -> plt.Figure:
    """One dial a clock and position: the hand points along (cos, sin) of position * frequency, 0 to the right.

    Args:
        frequencies: radians per position, (clocks,), fast to slow.
        positions: one column each.
    """
    rows, columns = len(frequencies), len(positions)
    fig, axes = plt.subplots(rows, columns, figsize=(0.94 * columns + 1.3, 0.92 * rows + 0.3))
    turn = np.linspace(0, 2 * np.pi, 90)
    for i, w in enumerate(frequencies.tolist()):
        for j, p in enumerate(positions):
            ax = axes[i, j]
            ax.plot(np.cos(turn), np.sin(turn), color="#bbbbbb", linewidth=1)
            swept = np.linspace(0, min(p * w, 2 * np.pi), 60)
            ax.fill(np.r_[0, np.cos(swept)], np.r_[0, np.sin(swept)], color=plotting.color("sinusoidal"), alpha=0.18)
            hand = (np.cos(p * w), np.sin(p * w))
            ax.plot([0, hand[0]], [0, hand[1]], color=plotting.color("sinusoidal"), linewidth=2.4)
            ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", xticks=[], yticks=[])
            for side in ax.spines.values():
                side.set_visible(False)
            ax.grid(False)
            if i == 0:
                ax.set_title(f"p = {p}", loc="center", fontsize=10)
            if j == 0:
                ax.set_ylabel(f"clock {i}\n{w:.3g} rad", fontsize=9, rotation=0, labelpad=28, va="center")
    return fig


def _slider(steps: list[dict], prefix: str, active: int) -> dict:
    return {"steps": steps, "active": active, "currentvalue": {"prefix": prefix}, "pad": {"t": 40}}


def base_slider(base: float, d_model: int = 24, length: int = 32) -> go.Figure:
    """Heat map of a small table with a slider for the base (small, because each step carries its own numbers)."""
    bases = sorted({10.0, 100.0, 500.0, 1e4, 1e6, float(base)})
    tables = [sinusoidal_table(torch.arange(length), d_model, b).numpy().round(2) for b in bases]
    fig = go.Figure(go.Heatmap(z=tables[bases.index(base)], zmin=-1, zmax=1, colorscale=_SIGNED))
    steps = [{"label": f"{b:g}", "method": "restyle", "args": [{"z": [z]}]} for b, z in zip(bases, tables, strict=True)]
    fig.update_layout(
        sliders=[_slider(steps, "base ", bases.index(base))],
        xaxis_title=f"dimension of {d_model}",
        yaxis_title="position",
        yaxis_autorange="reversed",
        height=480,
        margin={"t": 20, "b": 20},
    )
    return fig


def offset_slider(base: float, d_model: int = 12, offsets: Sequence[int] = tuple(range(-4, 13))) -> go.Figure:
    """Heat map of the shift matrix with a slider for the offset k."""
    matrices = [shift_matrix(k, d_model, base).numpy().round(2) for k in offsets]
    start = list(offsets).index(1)
    fig = go.Figure(go.Heatmap(z=matrices[start], zmin=-1, zmax=1, colorscale=_SIGNED))
    steps = [
        {"label": str(k), "method": "restyle", "args": [{"z": [z]}]} for k, z in zip(offsets, matrices, strict=True)
    ]
    fig.update_layout(
        sliders=[_slider(steps, "offset k = ", start)],
        xaxis_title="dimension in",
        yaxis_title="dimension out",
        yaxis_autorange="reversed",
        width=520,
        height=560,
        margin={"t": 20, "b": 20},
    )
    return fig


def dimension_slider(base: float, length: int = 129) -> go.Figure:
    """g(k) / g(0) against k, with a slider for d_model."""
    k = torch.arange(length)
    widths = [4, 8, 16, 32, 64, 128, 256, 512]
    curves = [(dot_product_by_distance(k, d, base) / (d / 2)).numpy().round(3) for d in widths]
    start = widths.index(64)
    fig = go.Figure(go.Scatter(x=k.numpy(), y=curves[start], mode="lines+markers", marker_size=4))
    steps = [{"label": str(d), "method": "restyle", "args": [{"y": [y]}]} for d, y in zip(widths, curves, strict=True)]
    fig.update_layout(
        sliders=[_slider(steps, "d_model ", start)],
        xaxis_title="distance k",
        yaxis_title="g(k) / g(0)",
        yaxis_range=[-1.05, 1.05],
        height=440,
        margin={"t": 20, "b": 20},
    )
    return fig


def path(d_model: int, base: float, length: int = 256) -> np.ndarray:
    """Three channels of a table, (length, 3): the hand of a middle clock (cos, sin) and the sine of a slow clock."""
    frequencies = sinusoidal_frequencies(d_model, base)
    turns = length * frequencies / (2 * np.pi)
    middle = int((turns - 6).abs().argmin())  # about six turns along the path
    slow = int((turns - 0.25).abs().argmin())  # a quarter turn: rises all along
    angles = torch.arange(length)[:, None] * frequencies[[middle, slow]]
    return torch.stack([angles[:, 0].cos(), angles[:, 0].sin(), angles[:, 1].sin()], -1).numpy()


def path_figures(d_model: int, base: float, length: int = 256) -> tuple[plt.Figure, go.Figure]:
    """The path of a position vector through three of its channels: a matplotlib figure and its plotly twin."""
    points = path(d_model, base, length)
    fig = plt.figure(figsize=(5.6, 4.6))
    ax = fig.add_subplot(projection="3d")
    ax.plot(*points.T, color="#bbbbbb", linewidth=0.9)
    dots = ax.scatter(*points.T, c=np.arange(length), s=14, cmap="cividis", depthshade=False)
    ax.set_ylabel("sin, middle clock", labelpad=9)
    ax.set(xlabel="cos, middle clock", zticks=[0, 0.5, 1])
    ax.zaxis.set_rotate_label(False)
    ax.set_zlabel("sin, slow clock", rotation=90)
    ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    ax.view_init(elev=18, azim=-58)
    ax.set_box_aspect((1, 1, 1), zoom=0.9)
    fig.colorbar(dots, ax=ax, shrink=0.6, label="position", pad=0.12)
    x, y, z = points.round(3).T
    marker = {"size": 3, "color": np.arange(length), "colorscale": "Cividis", "colorbar": {"title": "position"}}
    twin = go.Figure(go.Scatter3d(x=x, y=y, z=z, mode="lines+markers", marker=marker, line={"color": "#bbbbbb"}))
    axes = {"xaxis_title": "cos, middle clock", "yaxis_title": "sin, middle clock", "zaxis_title": "sin, slow clock"}
    twin.update_layout(scene=axes, height=520, margin={"t": 10, "b": 10, "l": 10, "r": 10})
    return fig, twin


def windows(count: int, length: int) -> Tensor:
    """Character ids (count, length) of validation text; of one repeated sentence if the text is not installed."""
    try:
        text = corpus.load().valid
    except corpus.MissingText:
        text = corpus.encode("The Congress shall have power to declare war, and to raise and support armies. " * 200)
    starts = torch.linspace(0, len(text) - length, count).long()
    return text[starts[:, None] + torch.arange(length)]


def heads(shown: Mapping[str, Sequence[tuple[float, float]]], by_hand: tuple[float, float]) -> plt.Figure:
    """Heads as points: mean weight on the previous position just after the trained range, and far beyond it.

    Args:
        shown: name of an optimizer -> (weight over the next 20 positions, weight over all positions after) per head.
        by_hand: the same of the matrix made by hand.
    """
    fig, ax = plt.subplots(figsize=(6.2, 4.2))
    looks = zip(shown.items(), "osD^P", ["#0173b2", "#029e73", "#de8f05", "#cc78bc", "#949494"], strict=False)
    for (name, points), marker, shade in looks:
        ax.plot(*zip(*points, strict=True), marker, color=shade, alpha=0.8, markersize=7, linestyle="none", label=name)
    ax.plot(*by_hand, "*", color=plotting.INK, markersize=14, linestyle="none", label="made by hand")
    ax.set(xlabel="mean weight on the previous position, 64 to 83", ylabel="the same, 64 to 511")
    ax.set(xlim=(-0.03, 1.05), ylim=(-0.03, 1.05))
    fig.legend(loc="outside right upper", fontsize=9)
    return fig


def attention(maps: dict[str, Tensor], profiles: dict[str, Tensor], head: int, size: int = 64) -> plt.Figure:
    """Average attention maps of one head, and the weight by distance of every head, relative to equal weights.

    Args:
        maps: name -> (heads, T, T); two of them.
        profiles: name -> (heads, reach), weight k steps back over that of blind averaging, so that queries with many
            and with few keys can be compared; drawn dotted, solid and dashed in this order.
        head: which head of the maps to draw.
        size: rows and columns of the maps to draw.
    """
    fig, axes = plt.subplots(1, 3, figsize=(7.8, 2.9), width_ratios=(1, 1, 1.25))
    for ax, (name, weights) in zip(axes, maps.items(), strict=False):
        corner = weights[head, :size, :size]
        plotting.matrix(ax, corner, limit=0.3, title=name.capitalize(), xlabel="key", ylabel="query")
    for (name, values), style in zip(profiles.items(), (":", "-", "--"), strict=True):
        color = plotting.color("sinusoidal") if style == "-" else plotting.INK
        axes[2].plot(values.T, style, color=color, linewidth=1, alpha=0.7, label=[name] + ["_"] * (len(values) - 1))
    axes[2].set(title="All eight heads", xlabel="characters back", ylabel="weight / blind averaging", yscale="log")
    axes[2].set(ylim=(0.04, 60), yticks=[0.1, 1, 10], yticklabels=["0.1", "1", "10"])
    axes[2].minorticks_off()
    axes[2].legend(fontsize=8, loc="upper right")
    return fig
