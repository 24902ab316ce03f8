"""The pictures of notebook 04 that take more than a few lines. Numbers come in, figures go out; nothing is computed
here that the notebook teaches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import seaborn as sns
import torch
from matplotlib.patches import Arc, Circle
from torch import Tensor

from ..plotting import ACCENT, INK, MUTED, color, line, matrix

QUERY, KEY = "#d55e00", "#0173b2"


def rotating_pair(q: complex, k: complex, theta: float, m: int, n: int, shifts: Sequence[int]) -> plt.Figure:
    """A query at m and a key at n, then both moved by each shift: two arrows, and the angle between them.

    Args:
        q, k: one pair of channels each, as complex numbers, before rotation.
        theta: radians per position.
        m, n: positions.
        shifts: how far both are moved, one panel each.
    """
    fig, axes = plt.subplots(1, len(shifts), figsize=(7.6, 3.5))
    reach = 1.12 * max(abs(q), abs(k))
    for ax, shift in zip(axes, shifts, strict=True):
        zq, zk = q * np.exp(1j * theta * (m + shift)), k * np.exp(1j * theta * (n + shift))
        ax.add_patch(Circle((0, 0), 1, fill=False, color="#e6e6e6"))
        for z, shade, name in ((zq, QUERY, f"query at {m + shift}"), (zk, KEY, f"key at {n + shift}")):
            ax.annotate("", (z.real, z.imag), (0, 0), arrowprops={"arrowstyle": "-|>", "color": shade, "lw": 2.2})
            ax.plot([], [], color=shade, lw=2.2, label=name)
        low, high = np.degrees(np.angle(zk)), np.degrees(np.angle(zq))
        ax.add_patch(Arc((0, 0), 0.9, 0.9, theta1=low, theta2=high, color=INK, lw=1.4))
        dot = (zq * zk.conjugate()).real
        ax.set(xlim=(-reach, reach), ylim=(-1.75 * reach, 1.4 * reach), aspect="equal", xticks=[], yticks=[])
        ax.text(0, 1.2 * reach, f"logit {dot:+.2f}", ha="center", fontweight="bold")
        ax.grid(False)
        for side in ax.spines.values():
            side.set_visible(False)
        ax.legend(loc="lower center", handlelength=1.2, borderaxespad=0)
    return fig


def rotating_pair_slider(q: complex, k: complex, theta: float, m: int, n: int, last: int = 24) -> go.Figure:
    """The same with a slider over the common shift, 0 .. last."""

    def arrows(shift: int) -> list[go.Scatter]:
        made = []
        for z, place, shade, name in ((q, m, QUERY, "query"), (k, n, KEY, "key")):
            tip = z * np.exp(1j * theta * (place + shift))
            made.append(
                go.Scatter(
                    x=[0, tip.real], y=[0, tip.imag], mode="lines+markers", name=f"{name} at {place + shift}",
                    line={"color": shade, "width": 4}, marker={"size": [1, 11], "color": shade},
                )
            )  # fmt: skip
        return made

    def title(shift: int) -> str:
        dot = (q * np.exp(1j * theta * (m + shift)) * np.conj(k * np.exp(1j * theta * (n + shift)))).real
        return f"both moved by {shift}: logit {dot:+.2f}"

    frames = [go.Frame(name=str(s), data=arrows(s), layout={"title": {"text": title(s)}}) for s in range(last + 1)]
    steps = [
        {"label": f.name, "method": "animate", "args": [[f.name], {"mode": "immediate", "frame": {"duration": 0}}]}
        for f in frames
    ]
    reach = 1.2 * max(abs(q), abs(k))
    axis = {"range": [-reach, reach], "zeroline": True, "showgrid": False}
    layout = {
        "title": {"text": title(0)}, "width": 480, "height": 520, "xaxis": axis,
        "yaxis": {**axis, "scaleanchor": "x"},
        "sliders": [{"steps": steps, "currentvalue": {"prefix": "move both by "}}],
    }  # fmt: skip
    return go.Figure(data=arrows(0), frames=frames, layout=layout)


def dials(angles: Tensor, position_ids: Sequence[int]) -> plt.Figure:
    """One clock a pair and position. angles: (positions, pairs) radians."""
    rows = angles.T.numpy()
    fig, axes = plt.subplots(*rows.shape, figsize=(7.4, 0.78 * len(rows) + 0.35))
    for i, row in enumerate(rows):
        for j, angle in enumerate(row):
            ax = axes[i, j]
            ax.add_patch(Circle((0, 0), 1, fill=False, color=MUTED, lw=0.9))
            ax.plot([0, np.cos(angle)], [0, np.sin(angle)], color=color("rope"), lw=2.2, solid_capstyle="round")
            ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
            ax.axis("off")
            if i == 0:
                ax.set_title(f"{position_ids[j]}", fontsize=9, fontweight="normal", loc="center", pad=3)
        axes[i, 0].text(-1.5, 0, f"pair {i}", ha="right", va="center", fontsize=9, color=INK)
    fig.suptitle("position", x=0.54, fontsize=9, fontweight="normal")
    return fig


def pairings(head_dim: int = 8) -> plt.Figure:
    """Which two channels form a pair, in both layouts: arcs over the channels of one head."""
    fig, axes = plt.subplots(1, 2, figsize=(7.6, 2.3))
    shades = ["#0173b2", "#de8f05", "#029e73", "#cc78bc", "#56b4e9", "#949494", "#ca9161", "#d55e00"]
    half = head_dim // 2
    for ax, name in zip(axes, ("interleaved: (0,1), (2,3), ...", f"half-split: (i, i + {half})"), strict=True):
        for i in range(half):
            a, b = (2 * i, 2 * i + 1) if name.startswith("inter") else (i, i + half)
            shade = shades[i % len(shades)]
            ax.add_patch(Arc(((a + b) / 2, 0.42), b - a, (b - a) * 0.42 + 0.5, theta1=0, theta2=180, color=shade, lw=2))
            for c in (a, b):
                ax.add_patch(plt.Rectangle((c - 0.38, -0.38), 0.76, 0.76, color=shade, alpha=0.85, lw=0))
                ax.text(c, 0, str(c), ha="center", va="center", color="white", fontweight="bold", fontsize=10)
        ax.set(xlim=(-0.6, head_dim - 0.4), ylim=(-0.5, 1.9), title=name)
        ax.axis("off")
    return fig


def logit_by_distance(
    curve: Callable[[Tensor, int, float], Tensor], longest: int, bases: Sequence[float], dims: Sequence[int]
) -> tuple[plt.Figure, go.Figure]:
    """A curve over distance, averaged over neighboring distances: panels for some bases, and a slider over all.

    Args:
        curve: (distance, head_dim, base) -> the curve.
        longest: largest distance, in tokens.
        bases: slider stops; three of them become panels.
        dims: two values of head_dim, one line each.
    """
    distance = torch.arange(1, longest + 1)
    edges = np.unique(np.geomspace(1, longest + 1, 45).astype(int))
    x = np.sqrt(edges[:-1] * (edges[1:] - 1.0))

    @functools.cache
    def binned(dim: int, base: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = curve(distance, dim, base).numpy()
        parts = [y[low - 1 : high - 1] for low, high in zip(edges, edges[1:], strict=False)]
        return tuple(np.array([f(part) for part in parts]) for f in (np.mean, np.min, np.max))

    shades, styles, dashes = ("#0173b2", "#d55e00"), ("--", "-"), ("dash", "solid")
    shown = list(bases)[:: max(1, (len(bases) - 1) // 2)][:3]
    fig, axes = plt.subplots(1, len(shown), figsize=(7.6, 3.0), sharey=True)
    for ax, base in zip(axes, shown, strict=True):
        for dim, shade, style in zip(dims, shades, styles, strict=True):
            mean, low, high = binned(dim, base)
            ax.fill_between(x, low, high, color=shade, alpha=0.2, lw=0)
            ax.plot(x, mean, color=shade, ls=style, label=f"head_dim {dim}")
        ax.axhline(0, color=MUTED, lw=0.8)
        ax.set(title=f"base {base:,.0f}", xscale="log", xlabel="distance (tokens)", ylim=(-0.65, 1.05))
        ax.minorticks_off()
    axes[0].set_ylabel("logit of q = k = 1, over its maximum")
    axes[-1].legend(loc="lower left")

    def lines(base: float) -> list[go.Scatter]:
        made = []
        for dim, shade, dash in zip(dims, shades, dashes, strict=True):
            for y, name in zip(binned(dim, base), (f"head_dim {dim}", "lowest", "highest"), strict=True):
                main = name.startswith("head")
                style = {"color": shade, "dash": dash if main else "dot", "width": 3 if main else 1}
                made.append(go.Scatter(x=x, y=np.round(y, 3), mode="lines", name=name, line=style, showlegend=main))
        return made

    frames = [go.Frame(name=f"{base:,.0f}", data=lines(base)) for base in bases]
    steps = [
        {"label": f.name, "method": "animate", "args": [[f.name], {"mode": "immediate", "frame": {"duration": 0}}]}
        for f in frames
    ]
    layout = {
        "title": {"text": "logit of q = k = 1 by distance: mean, lowest and highest of nearby distances"},
        "width": 760, "height": 430,
        "xaxis": {"type": "log", "title": {"text": "distance (tokens)"}},
        "yaxis": {"range": [-0.7, 1.05], "title": {"text": "logit over its maximum"}},
        "sliders": [{"steps": steps, "currentvalue": {"prefix": "base "}}],
    }  # fmt: skip
    return fig, go.Figure(data=lines(bases[0]), frames=frames, layout=layout)


def by_arm(results: Mapping[str, Mapping[str, dict]], chance: float) -> plt.Figure:
    """Accuracy by training step: one color an arm, thin lines for seeds, a thick line for their mean."""
    styles = {
        "rope": line("rope", marker="none"),
        "pope": line("pope", marker="none", label="PoPE, phases start at 0"),
        "pope, uniform start": {"color": "#8c613c", "linestyle": "-.", "label": "PoPE, phases start anywhere"},
        "pope, unbounded phase": {"color": "#0173b2", "linestyle": (0, (1, 1)), "label": "PoPE, phases not bounded"},
    }
    fig, ax = plt.subplots(figsize=(7.2, 3.5))
    for arm, seeds in results.items():
        curves = np.array([run["accuracy"] for run in seeds.values()])
        steps = next(iter(seeds.values()))["step"]
        for curve in curves:
            ax.plot(steps, 100 * curve, **{**styles[arm], "label": None, "linewidth": 0.8, "alpha": 0.55})
        ax.plot(steps, 100 * curves.mean(0), **styles[arm])
    ax.axhline(100 * chance, color=MUTED, lw=0.9, zorder=0)
    ax.text(steps[-1], 100 * chance - 1.5, "chance, within the list", fontsize=8, color="#666666", ha="right", va="top")
    ax.set(xlabel="training step", ylabel="answers right (%)", ylim=(0, 104), xlim=(0, None))
    ax.legend(loc="center right", bbox_to_anchor=(1.0, 0.36))
    return fig


def freezing(short: Mapping[str, float], long: Mapping[str, float], labels: tuple[str, str]) -> plt.Figure:
    """Perplexity with four pairs standing still, for a short and a long window, on a log axis."""
    fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.3), sharey=True)
    for ax, found, name in zip(axes, (short, long), labels, strict=True):
        groups = [key for key in found if key != "intact"]
        hurt = [found[key] > 2 * found["intact"] for key in groups]
        ax.bar(range(len(groups)), [found[key] for key in groups], color=[ACCENT if h else "#bbbbbb" for h in hurt])
        ax.axhline(found["intact"], color=INK, lw=1.2)
        ax.text(len(groups) - 0.5, found["intact"] * 0.93, "intact", ha="right", va="top", fontsize=8, color=INK)
        ax.set_yscale("log")
        ax.set_yticks([15, 20, 30, 50, 80, 120], ["15", "20", "30", "50", "80", "120"])
        ax.minorticks_off()
        ax.set_xticks(range(len(groups)), groups, rotation=45)
        ax.set(title=name, xlabel="pairs standing still (fast to slow)", ylim=(14, 150))
        for i, key in enumerate(groups):
            ax.text(i, found[key] * 1.03, f"{found[key]:.0f}", ha="center", fontsize=8, color=INK)
    axes[0].set_ylabel("perplexity")
    note = {"xycoords": "axes fraction", "ha": "right", "va": "top", "fontsize": 9, "color": ACCENT}
    axes[0].annotate("orange: perplexity more than doubled", (0.98, 0.97), **note)
    return fig


def losses(found: Mapping[str, Tensor]) -> plt.Figure:
    """Loss by position of the right layout, of mixed layouts, without rotation, and after sorting the rows."""
    styles = {"right": ("-", color("rope")), "mixed layouts": ("--", INK), "no rotation": (":", MUTED)}
    fig, ax = plt.subplots(figsize=(7.2, 3.2))
    x = np.arange(1, len(found["right"]) + 1)
    for name, (style, shade) in styles.items():
        ax.plot(x, found[name], ls=style, color=shade, label=f"{name}: {found[name].mean():.1f}")
    repaired = found["mixed, then rows sorted"]
    ax.plot(x[::4], repaired[::4], "o", mfc="none", color=color("rope"), label="mixed, then rows sorted")
    ax.set(xlabel="position in the window", ylabel="loss (nats a character)", xlim=(0, len(x) + 1), ylim=(1.2, 4.3))
    ax.legend(ncols=2, loc="upper right")
    return fig


def two_matrices(left: Tensor, right: Tensor, titles: tuple[str, str]) -> plt.Figure:
    """Two matrices of logits side by side, each on its own scale."""
    fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.5))
    for ax, values, title in zip(axes, (left, right), titles, strict=True):
        matrix(ax, values, title=title, signed=True, colorbar="logit")
    return fig


def periods(by_base: Mapping[float, Tensor], contexts: Sequence[int]) -> plt.Figure:
    """Tokens for one turn by pair, one line a base, with horizontal lines at context lengths."""
    fig, ax = plt.subplots(figsize=(7.2, 3.6))
    looks = (("#d55e00", "-"), ("#0173b2", "--"), ("#949494", "-."))
    for (base, tokens), (shade, style) in zip(by_base.items(), looks, strict=True):
        ax.plot(tokens, color=shade, ls=style, label=f"base {base:,.0f}")
    for length in contexts:
        ax.axhline(length, color=INK, lw=0.9)
        ax.text(0.5, length * 1.15, f"a context of {length:,} tokens", fontsize=8)
    last = len(tokens) - 1
    ax.set(yscale="log", xlabel="pair, fast to slow", ylabel="tokens for one full turn", xlim=(0, last))
    ax.minorticks_off()
    ax.legend(loc="lower right")
    return fig


def decay_limits(curve: Tensor, rises: Tensor, distances: Tensor, random: Tensor, peaked: Tensor) -> plt.Figure:
    """Three panels: equal vectors with every rise marked, random vectors (mean and spread), a chosen key."""
    fig, axes = plt.subplots(1, 3, figsize=(7.8, 3.0))
    axes[0].plot(curve[:80], color=color("rope"))
    up = np.arange(1, 80)[rises[:79]]
    axes[0].plot(up, curve[up], ".", color=INK, ms=4, label="higher than before")
    axes[0].legend(loc="upper right", fontsize=8)
    mean, spread, x = random.mean(0), random.std(0), np.arange(len(distances))
    axes[1].fill_between(x, mean - spread, mean + spread, color=color("rope"), alpha=0.25, lw=0)
    axes[1].plot(x, mean, color=color("rope"))
    axes[1].set_xticks(x[::3], [f"{n:,}" for n in distances[::3].tolist()])
    axes[2].plot(peaked, color=color("rope"))
    axes[2].axvline(int(peaked.argmax()), color=INK, lw=0.9)
    for ax, title in zip(axes, ("q = k = 1", "random q and k", "k chosen for 40"), strict=True):
        ax.set(title=title, xlabel="distance (tokens)")
    axes[0].set_ylabel("logit, over its maximum")
    axes[1].set_ylabel("logit")
    return fig


def rounded_positions(shifts: Sequence[int], exact: list[float], rounded: list[float], blind: float) -> plt.Figure:
    """What bfloat16 stores near 256, and the loss of one window at growing positions."""
    fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.2))
    near = torch.arange(244, 277)
    axes[0].plot(near, near, color=MUTED, lw=1.2, label="exact")
    axes[0].plot(near, near.bfloat16().float(), ".", color=color("rope"), label="bfloat16")
    axes[0].set(title="What is stored", xlabel="position", ylabel="stored as")
    x = np.arange(len(shifts))
    axes[1].plot(x, rounded, "o-", color=color("rope"), label="positions in bfloat16")
    axes[1].plot(x, exact, "s-", color=MUTED, label="integers")
    axes[1].axhline(blind, color=INK, lw=0.9, ls=":", label="no rotation at all")
    axes[1].set_xticks(x, [f"{s:,}" if s < 1000 else f"{s // 1024}k" for s in shifts])
    label = "the same 64 characters, starting at position"
    axes[1].set(title="What it costs", xlabel=label, ylabel="loss (nats)", ylim=(1.6, 3.2))
    axes[0].legend(loc="upper left")
    axes[1].legend(loc="center left", bbox_to_anchor=(0.0, 0.62), fontsize=8)
    return fig


def bug_costs(cost: pd.DataFrame) -> plt.Figure:
    """Annotated heat map: loss added by each bug (rows) in each scheme (columns)."""
    fig, ax = plt.subplots(figsize=(7.6, 3.7))
    look = {"cmap": "cividis", "vmin": 0, "vmax": cost.max().max(), "linewidths": 1}  # every cost is on the scale
    sns.heatmap(cost, annot=True, fmt="+.2f", ax=ax, cbar_kws={"label": "nats a character"}, **look)
    ax.set(title="What each bug adds to the loss")
    ax.tick_params(length=0)
    return fig


def waves(distance: Tensor, rope: Mapping[float, Tensor], pope: Mapping[float, Tensor]) -> plt.Figure:
    """One term of the logit against distance for several contents: RoPE on the left, PoPE on the right."""
    fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.1))
    shades = plt.get_cmap("cividis")(np.linspace(0.05, 0.85, len(rope)))
    for ax, curves, title in zip(
        axes, (rope, pope), ("RoPE: content shifts the wave", "PoPE: content scales it"), strict=True
    ):
        for (content, curve), shade in zip(curves.items(), shades, strict=True):
            ax.plot(distance, curve, color=shade, label=f"{content:+.1f}" if ax is axes[0] else None)
        ax.set(title=title, xlabel="distance (tokens)")
    axes[0].set_ylabel("part of the logit")
    fig.legend(title="content", loc="outside right center")
    return fig


def real_heads(share: Tensor, slow: Tensor, fast_share: Tensor, previous: Tensor) -> plt.Figure:
    """Length by pair averaged over heads, and attention to the token before against the share of fast pairs."""
    fig, axes = plt.subplots(1, 2, figsize=(7.8, 3.3))
    mean, pairs = share.mean((0, 1)), share.shape[-1]
    axes[0].bar(range(pairs), 100 * mean, color=np.where(slow, color("rope"), "#bbbbbb"))
    axes[0].axhline(100 / pairs, color=INK, lw=0.9, ls=":")
    axes[0].set(title="Where the length sits", xlabel="pair (fast to slow)", ylabel="part of |q||k| (%)")
    axes[0].text(19.5, 12.5, "never finish\na turn", ha="right", color=color("rope"), fontsize=9)
    axes[0].text(0, 100 / pairs + 0.3, "even", fontsize=8, color=INK)
    x, y = 100 * fast_share.flatten(), 100 * previous.flatten()
    axes[1].scatter(x, y, s=14, color=color("sinusoidal"), alpha=0.6)
    axes[1].set(title=f"{len(x)} heads", xlabel="part in the 8 fastest pairs (%)")
    axes[1].set_ylabel("attention on the token before (%)")
    top = int(y.argmax())
    label = f"layer {top // previous.shape[1]}, head {top % previous.shape[1]}"
    place = {"xytext": (-6, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
    axes[1].annotate(label, (x[top], y[top]), fontsize=8, **place)
    return fig


def maps(seen: Mapping[tuple[int, int], Tensor]) -> plt.Figure:
    """Logits over an image from several query patches, on one scale; the query is marked."""
    fig, axes = plt.subplots(1, len(seen), figsize=(7.8, 2.9))
    top = max(values.max().item() for values in seen.values())
    for ax, ((row, column), values) in zip(axes, seen.items(), strict=True):
        matrix(ax, values, title=f"from ({row}, {column})", xlabel="column", ylabel="row", limit=top)
        ax.plot(column, row, "s", mfc="none", mec="white", mew=2, ms=10)
        ax.set_aspect("equal")
    return fig


def sections(period: Tensor, edges: Sequence[int], names: Sequence[str]) -> plt.Figure:
    """Periods of the pairs, one marker an axis."""
    fig, ax = plt.subplots(figsize=(7.2, 3.0))
    looks = (("#0173b2", "o"), ("#de8f05", "s"), ("#029e73", "^"))
    for name, (shade, marker), low, high in zip(names, looks, edges, edges[1:], strict=False):
        label = f"{name}: {period[low]:,.0f} to {period[high - 1]:,.0f}"
        ax.plot(range(low, high), period[low:high], marker, color=shade, ms=4, label=label)
    ax.set(yscale="log", xlabel="pair", ylabel="steps for one turn")
    ax.minorticks_off()
    ax.legend(title="follows, with periods")
    return fig


def fading(distance: Tensor, curves: Mapping[str, Tensor]) -> plt.Figure:
    """Factors by distance, one line a pair."""
    fig, ax = plt.subplots(figsize=(7.2, 3.0))
    looks = (("#d55e00", "-"), ("#0173b2", "--"), (INK, ":"))
    for (name, curve), (shade, style) in zip(curves.items(), looks, strict=True):
        ax.plot(distance, curve, color=shade, ls=style, label=name)
    ax.set(xlabel="distance (tokens)", ylabel="factor on the pair", ylim=(0, 1.05))
    ax.legend()
    return fig
