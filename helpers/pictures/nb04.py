"""The pictures of notebook 04. Numbers come in, pictures go out, with name, alternative text and caption; what these
state of the data is read from the data. Nothing is computed here that the notebook teaches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import seaborn as sns
import torch
from matplotlib.patches import Arc, Circle
from torch import Tensor

from .. import plotting
from ..plotting import ACCENT, INK, MUTED, Picture, color, line, matrix, signed

if TYPE_CHECKING:
    from ..race import Band, Result

QUERY, KEY = "#d55e00", "#0173b2"


def rotating_pair(q: complex, k: complex, theta: float, m: int, n: int, shifts: Sequence[int] = (0, 6, 12)) -> Picture:
    """A query at m and a key at n, then both moved by each shift: two arrows, and the angle between them.

    Args:
        q, k: one pair of channels each, as complex numbers, before rotation.
        theta: radians per position.
        m, n: positions.
        shifts: how far both are moved, one panel each; the interactive version has a slider for it.
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
        ax.text(0, 1.2 * reach, f"logit {signed(dot)}", ha="center", fontweight="bold")
        ax.grid(False)
        for side in ax.spines.values():
            side.set_visible(False)
        ax.legend(loc="lower center", handlelength=1.2, borderaxespad=0)
    return Picture(
        fig,
        "04_rotating_pair",
        alt=f"{len(shifts)} panels: a query arrow at {m} and a key arrow at {n}, both moved by {_listed(shifts)}, turn "
        f"together; the angle between them stays at {(high - low) % 360:.0f} degrees and the logit at {signed(dot)}.",
        caption="Query and key turn with their positions; moved together, they keep their angle and their logit.",
        interactive=_rotating_pair_slider(q, k, theta, m, n),
    )


def _rotating_pair_slider(q: complex, k: complex, theta: float, m: int, n: int, last: int = 24) -> go.Figure:
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
        return f"both moved by {shift}: logit {signed(dot)}"

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


def dials(angles: Tensor, position_ids: Sequence[int]) -> Picture:
    """One clock per pair and position. angles: (positions, pairs) radians, the second position being 1."""
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
    pairs, places = rows.shape
    return Picture(
        fig,
        "04_dials",
        alt=f"{pairs * places} clocks, {pairs} pairs in rows, {places} positions up to {position_ids[-1]} in columns: "
        "the top hands race round, the last hardly move.",
        caption=f"The hands of a head with {2 * pairs} channels: per token, pair 0 turns by {rows[0, 1]:g} radian, "
        f"pair {pairs - 1} by {rows[-1, 1]:g}.",
    )


def layouts(head_dim: int = 8) -> Picture:
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
    return Picture(
        fig,
        "04_layouts",
        alt=f"{head_dim} numbered channels twice: arcs join neighbors (interleaved), or channels {half} apart "
        "(half-split).",
        caption=f"The two layouts of a head with {head_dim} channels; channels of one color turn together.",
    )


def logit_by_distance(
    curve: Callable[[Tensor, int, float], Tensor], longest: int, bases: Sequence[float], dims: Sequence[int]
) -> Picture:
    """A curve over distance, averaged over neighboring distances: panels for some bases, and a slider over all.

    Args:
        curve: (distance, head_dim, base) -> the curve.
        longest: largest distance, in tokens.
        bases: slider stops; three of them become panels.
        dims: two values of head_dim, one line each.

    Returns:
        The picture; its interactive version has the slider.
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
    return Picture(
        fig,
        "04_logit_by_distance",
        alt=f"Panels for bases {_listed(f'{base:,.0f}' for base in shown)}: the mean logit falls with distance, later "
        "for a larger base, in wide bands.",
        caption="q = k = 1: mean (line), lowest and highest (shade) logit of nearby distances, "
        f"head_dim {_listed(dims)}.",
        interactive=go.Figure(data=lines(bases[0]), frames=frames, layout=layout),
    )


def indexing(results: Mapping[str, Mapping[str, dict]], chance: float) -> Picture:
    """Accuracy by training step: one color per arm, thin lines for seeds, a thick line for their mean.

    Args:
        results: arm -> seed -> {"step": [...], "accuracy": [...]}, shares of 1.
        chance: share of answers right by guessing within the list.
    """
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
    ends = {arm: 100 * np.mean([run["accuracy"][-1] for run in seeds.values()]) for arm, seeds in results.items()}
    return Picture(
        fig,
        "04_indexing",
        alt=f"Accuracy by step, up to {steps[-1]:,}: RoPE ends at {ends['rope']:.0f}%, PoPE with phases started "
        f"anywhere at {ends['pope, uniform start']:.0f}%, PoPE from 0 at {ends['pope']:.0f}%.",
        caption="Indirect indexing in small, recorded: thin lines are single seeds, thick lines their means.",
    )


def freezing(
    short: Mapping[str, Mapping[str, float]], slow: Mapping[tuple[str, str], Mapping[int, Sequence[float]]]
) -> Picture:
    """Perplexity without some pairs, over that of the intact model: all groups frozen, and the slow ones by window.

    Args:
        short: text -> "intact" and "first-last" pair frozen -> perplexity, over 1,024 tokens.
        slow: ("frozen" or "zeroed", "first-last" pair) -> window -> the ratio to intact, one per text.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.8, 3.5), sharey=True, width_ratios=(1, 1.15))
    groups = [key for key in next(iter(short.values())) if key != "intact"]
    for found in short.values():
        left.plot(range(len(groups)), [found[key] / found["intact"] for key in groups], "o", color=INK, alpha=0.7)
    left.set_xticks(range(len(groups)), groups, rotation=45)
    left.set(title="1,024 tokens, frozen", xlabel="pairs (fast to slow)", ylabel="perplexity over intact")
    windows = sorted({window for by_window in slow.values() for window in by_window})
    looks = {"frozen": {"marker": "o"}, "zeroed": {"marker": "D", "markerfacecolor": "white"}}
    slow_groups = list(dict.fromkeys(pairs for _, pairs in slow))
    shades = (MUTED, color("rope"), ACCENT)
    for (how, pairs), by_window in slow.items():
        for window, ratios in by_window.items():
            at = windows.index(window)
            x = slow_groups.index(pairs) + 0.24 * (at - (len(windows) - 1) / 2) + (0.05 if how == "zeroed" else -0.05)
            right.plot([x] * len(ratios), ratios, linestyle="none", color=shades[at], markersize=6, **looks[how])
    for at, window in enumerate(windows):
        right.plot([], [], "s", color=shades[at], label=f"{window:,} tokens")
    for how, look in looks.items():
        right.plot([], [], linestyle="none", color=INK, label=how, **look)
    right.set_xticks(range(len(slow_groups)), slow_groups)
    right.set(title="The slow pairs, same 512 targets", xlabel="pairs")
    right.legend(fontsize=8, loc="upper right")
    for ax in (left, right):
        ax.axhline(1, color=INK, lw=0.9, zorder=0)
        ax.set_yscale("log")
        ax.set_yticks([1, 1.5, 2, 3, 5], ["1", "1.5", "2", "3", "5"])
        ax.minorticks_off()
    spans = [
        f"pairs {pairs} {how} at {window:,} tokens {min(r):.2f} to {max(r):.2f}"
        for (how, pairs), by_window in slow.items()
        for window, r in by_window.items()
    ]
    return Picture(
        fig,
        "04_freezing",
        alt="Perplexity without four pairs, over that of the intact model. Left: frozen over 1,024 tokens, "
        f"{groups[0]} cost most, the slow ones nearly nothing. Right, by window: {'; '.join(spans)}.",
        caption="SmolLM2-135M-Instruct in 4 bits, recorded, one dot per text: four pairs that stand still (frozen), or "
        "add nothing to any logit (zeroed).",
    )


def mixed_layout(found: Mapping[str, Tensor]) -> Picture:
    """Loss by position of the right layout, of mixed layouts, without rotation, and after sorting the rows."""
    styles = {"right": ("-", color("rope")), "mixed layouts": ("--", INK), "no rotation": (":", MUTED)}
    fig, ax = plt.subplots(figsize=(7.2, 3.2))
    x = np.arange(1, len(found["right"]) + 1)
    for name, (style, shade) in styles.items():
        ax.plot(x, found[name], ls=style, color=shade, label=f"{name}: {found[name].mean():.1f}")
    repaired = found["mixed, then rows sorted"]
    ax.plot(x[::4], repaired[::4], "o", mfc="none", color=color("rope"), label="mixed, then rows sorted")
    ax.set(xlabel="position in the window", ylabel="loss (nats per character)", xlim=(0, len(x) + 1), ylim=(1.2, 4.3))
    ax.legend(ncols=2, loc="upper right")
    mean = {name: f"{loss.mean():.1f}" for name, loss in found.items()}
    return Picture(
        fig,
        "04_mixed_layout",
        alt=f"Loss by position: right layout {mean['right']} on average, mixed layouts {mean['mixed layouts']}, close "
        f"to no rotation ({mean['no rotation']}); sorted rows lie on the curve of the right layout.",
        caption="One checkpoint: mixed layouts cost about as much as no rotation; sorting the rows cures it.",
    )


def toeplitz(added: Tensor, rotated: Tensor) -> Picture:
    """Logits (seq_len, seq_len) of one repeated word, by a table added and by rotation, each on its own scale."""
    fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.5))
    for ax, values, title in zip(axes, (added, rotated), ("Door 1: table added", "Door 2: rotated"), strict=True):
        matrix(ax, values, title=title, signed=True, colorbar="logit")
    n = len(added)
    return Picture(
        fig,
        "04_toeplitz",
        alt=f"Two {n} by {n} logit matrices of one repeated word: irregular with a table, diagonal stripes with "
        "rotation.",
        caption="One word in every seat: rotation makes each diagonal constant, an added table does not.",
    )


def periods(by_base: Mapping[float, Tensor], contexts: Sequence[int]) -> Picture:
    """Tokens for one turn by pair, one line per base, with horizontal lines at context lengths."""
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
    slowest = [tokens[-1].item() for tokens in by_base.values()]
    slowest = [f"{turn / 1e6:.1f} million" if turn > 1e6 else f"{turn:,.0f}" for turn in slowest]
    return Picture(
        fig,
        "04_periods",
        alt=f"Tokens for one turn by pair, log scale: straight lines from {tokens[0]:.0f} up to {_listed(slowest)}, "
        f"for bases {_listed(f'{base:,.0f}' for base in by_base)}.",
        caption=f"Periods, head_dim {2 * len(tokens)}: a pair above a horizontal line never finishes a turn in that "
        "context.",
    )


def decay_limits(curve: Tensor, rises: Tensor, distances: Tensor, random: Tensor, peaked: Tensor) -> Picture:
    """Three panels: equal vectors with every rise marked, random vectors (mean and spread), a chosen key.

    Args:
        curve, rises: logit of q = k = 1 by distance, and whether each step goes up.
        distances, random: some distances, and the logits (draws, distances) of random vectors there.
        peaked: logit by distance of a key that asks for one distance.
    """
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
    wanted = int(peaked.argmax())
    for ax, title in zip(axes, ("q = k = 1", "random q and k", f"k chosen for {wanted}"), strict=True):
        ax.set(title=title, xlabel="distance (tokens)")
    axes[0].set_ylabel("logit, over its maximum")
    axes[1].set_ylabel("logit")
    axes[2].axvline(wanted, color=INK, lw=0.9)
    return Picture(
        fig,
        "04_decay_limits",
        alt="Left: a falling curve with many rises. Middle: a flat band around zero at all distances. "
        f"Right: a peak at {wanted}.",
        caption="Limits of the decay: it is not monotone, random content shows none, and a key can ask for any "
        "distance.",
    )


def rounded_positions(shifts: Sequence[int], exact: list[float], rounded: list[float], blind: float) -> Picture:
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
    collision = next(n for n in range(1000) if int(torch.tensor(n).bfloat16()) != n)
    return Picture(
        fig,
        "04_bfloat16",
        alt=f"Left: stored positions leave the diagonal at {collision}. Right: the bfloat16 loss climbs from "
        f"{rounded[0]:.1f} to {rounded[-1]:.1f}, that of no rotation; with integers it stays at {exact[-1]:.1f}.",
        caption=f"From position {collision} on neighbors share a number in bfloat16; far out, a window has no "
        "positions left.",
    )


def silent_bugs(cost: pd.DataFrame) -> Picture:
    """Annotated heat map: loss added by each bug (rows) in each scheme (columns)."""
    fig, ax = plt.subplots(figsize=(7.6, 3.7))
    look = {"cmap": "cividis", "vmin": 0, "vmax": cost.max().max(), "linewidths": 1}  # every cost is on the scale
    sns.heatmap(cost, annot=cost.map(signed), fmt="", ax=ax, cbar_kws={"label": "nats per character"}, **look)
    ax.set(title="What each bug adds to the loss")
    ax.tick_params(length=0)
    ids = [bug for bug in cost.index if bug.endswith("no position_ids")]
    unhurt = [scheme for scheme in cost if cost.loc[ids, scheme].abs().max() < 1e-3] or ["no scheme"]
    return Picture(
        fig,
        "04_silent_bugs",
        alt=f"Heat map, loss added by {len(cost)} bugs in {len(cost.columns)} schemes: up to "
        f"{signed(cost.max().max())} nats; zero for {_listed(unhurt)} if only position_ids are missing.",
        caption=f"{len(cost)} silent bugs in {len(cost.columns)} trained models; none of them raises an error.",
    )


def what_where(distance: Tensor, rope: Mapping[float, Tensor], pope: Mapping[float, Tensor]) -> Picture:
    """One term of the logit against distance: for several phases of RoPE left, channel values of PoPE right."""
    fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.1))
    shades = plt.get_cmap("cividis")(np.linspace(0.05, 0.85, len(rope)))
    for ax, curves, title in zip(
        axes, (rope, pope), ("RoPE: phase shifts the wave", "PoPE: size scales it"), strict=True
    ):
        for (content, curve), shade in zip(curves.items(), shades, strict=True):
            ax.plot(distance, curve, color=shade, label=signed(content, 1) if ax is axes[0] else None)
        ax.set(title=title, xlabel="distance (tokens)")
    axes[0].set_ylabel("part of the logit")
    fig.legend(title="phase (left),\nchannel (right)", loc="outside right center")
    return Picture(
        fig,
        "04_what_where",
        alt=f"Left: {len(rope)} equal waves shifted sideways by the phase of the content. Right: {len(pope)} waves "
        "with the same peaks, scaled.",
        caption=f"One pair of RoPE, its length held, for {len(rope)} phases; one channel of PoPE for as many values. "
        "RoPE scales as well; PoPE has no phase to shift with.",
    )


def real_heads(share: Tensor, slow: Tensor, fast_share: Tensor, previous: Tensor) -> Picture:
    """Length by pair averaged over heads, and attention to the token before against the share of fast pairs.

    Args:
        share: (layers, heads, pairs), part of |q||k| in each pair; slow: (pairs,), which never finish a turn.
        fast_share, previous: (layers, heads), part in the eight fastest pairs, attention on the token before.
    """
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
    return Picture(
        fig,
        "04_real_heads",
        alt=f"Left: bars of length by pair in SmolLM2-135M-Instruct; the {int(slow.sum())} slow ones of {pairs} hold "
        f"{100 * mean[slow].sum():.0f}%. Right: {len(x)} heads; those that look one back use the fast pairs more.",
        caption="SmolLM2-135M-Instruct in 4 bits, recorded: most length sits in slow pairs; the heads that look one "
        "back most use fast ones.",
    )


def axial(seen: Mapping[tuple[int, int], Tensor]) -> Picture:
    """Logits over an image from several query patches, on one scale; the query is marked."""
    fig, axes = plt.subplots(1, len(seen), figsize=(7.8, 2.9))
    top = max(values.max().item() for values in seen.values())
    for ax, ((row, column), values) in zip(axes, seen.items(), strict=True):
        matrix(ax, values, title=f"from ({row}, {column})", xlabel="column", ylabel="row", limit=top)
        ax.plot(column, row, "s", mfc="none", mec="white", mew=2, ms=10)
        ax.set_aspect("equal")
    side = len(values)
    return Picture(
        fig,
        "04_axial",
        alt=f"{len(seen)} {side} by {side} maps of logits; the same pattern of rows and columns moves with the query "
        "patch (square).",
        caption="One query, the same key in every patch: the pattern follows the query (square) in both axes.",
    )


def sections(period: Tensor, edges: Sequence[int], names: Sequence[str]) -> Picture:
    """Periods of the pairs, one marker per axis. edges: first pair of each section, and the number of pairs."""
    fig, ax = plt.subplots(figsize=(7.2, 3.0))
    looks = (("#0173b2", "o"), ("#de8f05", "s"), ("#029e73", "^"))
    for name, (shade, marker), low, high in zip(names, looks, edges, edges[1:], strict=False):
        label = f"{name}: {period[low]:,.0f} to {period[high - 1]:,.0f}"
        ax.plot(range(low, high), period[low:high], marker, color=shade, ms=4, label=label)
    ax.set(yscale="log", xlabel="pair", ylabel="steps for one turn")
    ax.minorticks_off()
    ax.legend(title="follows, with periods")
    spans = [
        f"{name} {period[low]:,.0f} to {period[high - 1]:,.0f}"
        for name, low, high in zip(names, edges, edges[1:], strict=False)
    ]
    return Picture(
        fig,
        "04_mrope",
        alt=f"Periods of {len(period)} pairs on a log axis in {len(names)} groups, in steps for one turn: "
        f"{_listed(spans)}.",
        caption=f"M-RoPE's sections: {names[0]} gets the fast pairs, {names[-1]}s the slow ones.",
    )


def fading(distance: Tensor, curves: Mapping[str, Tensor], head_dim: int) -> Picture:
    """Factors by distance, one line per pair, fast pairs first."""
    fig, ax = plt.subplots(figsize=(7.2, 3.0))
    looks = (("#d55e00", "-"), ("#0173b2", "--"), (INK, ":"))
    for (name, curve), (shade, style) in zip(curves.items(), looks, strict=True):
        ax.plot(distance, curve, color=shade, ls=style, label=name)
    ax.set(xlabel="distance (tokens)", ylabel="factor on the pair", ylim=(0, 1.05))
    ax.legend()
    fast, *_, slow = curves.values()
    return Picture(
        fig,
        "04_xpos",
        alt=f"Factor by distance: over {int(distance[-1]):,} tokens the fastest pair falls to {fast[-1]:.2f}, "
        f"the slowest to {slow[-1]:.2f}.",
        caption=f"xPos with head_dim {head_dim}: fast pairs fade with distance, slow pairs stay.",
    )


def race(bands: Mapping[str, Band], live: Sequence[Result]) -> Picture:
    """Loss against context length: the recorded bands by scheme, and what was trained here."""
    settings = next(iter(bands.values())).settings
    short, long = settings.train_len, settings.lengths[-1]
    ends = {
        scheme: f"{np.mean(bands[scheme].values(short)):.1f} to {np.mean(bands[scheme].values(long)):.1f}"
        for scheme in ("rope", "pope")
    }
    return Picture(
        plotting.race(list(bands.values()), live),
        "04_race",
        alt=f"Loss by context length, from {short} to {long} characters: RoPE rises from "
        f"{ends['rope']}, PoPE from {ends['pope']}.",
        caption="RoPE and PoPE train alike and part beyond the trained length (dashed)."
        + " Open markers: trained here." * bool(live),
    )


def _listed(items: Iterable) -> str:
    """ "a, b and c"."""
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last
