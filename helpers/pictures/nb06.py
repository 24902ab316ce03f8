"""The drawings of notebook 06 that need more lines than a reader of the notebook wants to scroll past."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.patches import FancyBboxPatch, Wedge
from torch import Tensor

from .. import plotting
from ..encodings.extension import RULES, extend, longrope_example, rotations
from ..encodings.rope import rope_frequencies
from ..explain import TICKS
from ..plotting import ACCENT, INK, MUTED

if TYPE_CHECKING:
    from ..studies.context_extension import Recorded

# One color, line and marker a rule, through the whole notebook.
STYLES: dict[str, dict] = {
    "none": {"color": "#d55e00", "linestyle": "-", "marker": "o", "label": "as trained"},
    "pi": {"color": "#0173b2", "linestyle": "--", "marker": "s", "label": "PI"},
    "ntk": {"color": "#de8f05", "linestyle": "-.", "marker": "^", "label": "NTK-aware"},
    "dynamic_ntk": {"color": "#ca9161", "linestyle": ":", "marker": "v", "label": "dynamic NTK"},
    "ntk_by_parts": {"color": "#56b4e9", "linestyle": "--", "marker": "D", "label": "NTK-by-parts"},
    "yarn": {"color": "#029e73", "linestyle": "-", "marker": "P", "label": "YaRN, code ramp"},
    "yarn_paper": {"color": "#029e73", "linestyle": ":", "marker": "X", "label": "YaRN, paper ramp"},
    "longrope": {"color": "#8c613c", "linestyle": "-.", "marker": "<", "label": "LongRoPE (synthetic list)"},
    "llama3": {"color": "#cc78bc", "linestyle": "-", "marker": "*", "label": "Llama 3"},
    "abf": {"color": "#5d6d7e", "linestyle": "--", "marker": "h", "label": "larger base (x50)"},
    "p_rope": {"color": "#949494", "linestyle": ":", "marker": ">", "label": "p-RoPE 0.75"},
}
STYLES["parts32"] = {**STYLES["ntk_by_parts"], "label": "NTK-by-parts, beta 32"}


def style(rule: str, **kwargs) -> dict:
    """Keyword arguments of ``ax.plot`` for a rule; ``kwargs`` win."""
    return {**STYLES[rule], "markersize": 5, **kwargs}


def slow_downs(factor: float, head_dim: int, base: float, length: int) -> dict[str, np.ndarray]:
    """theta / theta' of every rule at this factor, inf where a pair stands still: {rule: (pairs,)}."""
    freq = rope_frequencies(head_dim, base)
    own = {
        "yarn_paper": {"ramp": "paper"},
        "longrope": {"short_factor": [1.0] * len(freq), "long_factor": longrope_example(head_dim, factor)},
        "abf": {"new_base": 50 * base},
        "p_rope": {"keep": 0.75},
    }
    found = {}
    for rule in (*RULES, "yarn_paper"):
        options = own.get(rule, {})
        scale = 1 if rule == "dynamic_ntk" else factor  # factor 1 is the paper's scale, max(1, l/L)
        ext = extend(rule.replace("_paper", ""), head_dim, base, scale, length, int(length * factor), **options)
        found[rule] = (freq / ext.inv_freq).numpy()
    return found


ROWS = (
    "none", "pi", "ntk", "dynamic_ntk", "ntk_by_parts", "yarn_paper", "yarn", "llama3", "longrope", "abf", "p_rope",
)  # fmt: skip


def turns_axis(ax: plt.Axes, turns: np.ndarray, length: int) -> dict[float, float]:
    """Mark an axis of pairs with their full turns over ``length``, (pairs,) falling. Returns {turns marked: where}."""
    ticks = [t for t in TICKS if turns.min() <= t <= turns.max()]
    where = {t: np.interp(-math.log(t), -np.log(turns), np.arange(len(turns))) for t in ticks}
    ax.set_xticks(list(where.values()), [f"{t:g}" for t in where])
    ax.set_xlabel(f"full turns of the pair over the trained length of {length:,} (fast pairs left, slow right)")
    return where


def every_rule(factor: float, head_dim: int = 128, base: float = 10_000.0, length: int = 4096) -> plt.Figure:
    """What every rule does to every frequency: one row a rule, one column a pair, color the slow-down."""
    rows = slow_downs(factor, head_dim, base, length)
    turns = rotations(rope_frequencies(head_dim, base), length).numpy()
    fig, ax = plt.subplots(figsize=(8, 5.2))
    image = np.stack([np.where(np.isfinite(rows[r]), rows[r], np.nan) for r in ROWS])
    cmap = plt.get_cmap("cividis").with_extremes(bad="#f2d5c4", over="#ffffff")
    top = max(factor, 2)
    shown = ax.imshow(image, cmap=cmap, norm=LogNorm(1, top), aspect="auto", interpolation="nearest")
    ax.grid(False)
    ax.set_yticks(range(len(ROWS)), [STYLES[r]["label"] for r in ROWS])
    for edge in range(1, len(ROWS)):
        ax.axhline(edge - 0.5, color="white", linewidth=3)
    where = turns_axis(ax, turns, length)
    for t, text in ((32, "beta 32"), (1, "one turn")):
        if t in where:
            ax.axvline(where[t], color="white", linewidth=1.2, linestyle="--")
            ax.text(where[t], -0.62, text, ha="center", va="bottom", fontsize=8, color=INK)
    stopped = np.flatnonzero(~np.isfinite(rows["p_rope"]))
    if len(stopped):
        ax.text(stopped.mean(), len(ROWS) - 1, "stopped", ha="center", va="center", fontsize=8, color=INK)
    fast = np.flatnonzero(rows["abf"] > top * 1.0001)
    if len(fast):
        ax.text(fast.mean(), ROWS.index("abf"), f"up to {rows['abf'].max():.0f}", ha="center", va="center", fontsize=8)
    bar = fig.colorbar(shown, ax=ax, pad=0.02, extend="max")
    marks = [2**k for k in range(int(math.log2(top)) + 1)]
    bar.set_ticks(marks, labels=[f"{m}" for m in marks])
    bar.minorticks_off()
    bar.set_label("slowed down by")
    bar.outline.set_visible(False)
    ax.set_title(f"What each rule does to each pair, factor {factor:g}", pad=22)
    return fig


def every_rule_interactive(factors: Sequence[float], head_dim: int = 128, base: float = 10_000.0, length: int = 4096):
    """The same as lines under a slider: slow-down against turns, one frame a factor (plotly)."""
    import plotly.graph_objects as go

    turns = rotations(rope_frequencies(head_dim, base), length).numpy()[::2]
    dashes = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}

    def traces(factor: float) -> list:
        rows = slow_downs(factor, head_dim, base, length)
        return [
            go.Scatter(
                x=np.round(turns, 3), y=np.round(np.where(np.isfinite(rows[r][::2]), rows[r][::2], 128), 2),
                mode="lines", name=STYLES[r]["label"],
                line={"color": STYLES[r]["color"], "dash": dashes[STYLES[r]["linestyle"]]},
            )
            for r in ROWS
        ]  # fmt: skip

    fig = go.Figure(traces(factors[0]), frames=[go.Frame(data=traces(f), name=f"{f:g}") for f in factors])
    steps = [
        {"label": f"{f:g}", "method": "animate", "args": [[f"{f:g}"], {"mode": "immediate", "frame": {"duration": 0}}]}
        for f in factors
    ]
    fig.update_layout(
        title="Slow-down of each pair; drag the factor, click a name to hide it",
        xaxis={"title": "full turns over the trained length", "type": "log", "autorange": "reversed"},
        yaxis={"title": "slowed down by (128: stopped)", "type": "log", "range": [-0.05, 2.15]},
        sliders=[{"steps": steps, "currentvalue": {"prefix": "factor "}}], height=480, width=820,
    )  # fmt: skip
    return fig


def clocks(inv_freq: Tensor, trained: int, asked: int) -> plt.Figure:
    """One clock a pair: the angles seen in training, and those that a longer context adds."""
    pairs = len(inv_freq)
    fig, axes = plt.subplots(2, pairs // 2, figsize=(8, 4.3))
    for pair, (ax, theta) in enumerate(zip(axes.flat, inv_freq.tolist(), strict=True)):
        seen, reached = math.degrees(trained * theta), math.degrees(asked * theta)
        ax.add_patch(plt.Circle((0, 0), 1, facecolor="white", edgecolor="#bbbbbb"))
        if seen < 360:
            ax.add_patch(Wedge((0, 0), 1, 90 - min(reached, 360), 90 - seen, facecolor=ACCENT, alpha=0.75, linewidth=0))
        ax.add_patch(Wedge((0, 0), 1, 90 - min(seen, 360), 90, facecolor="#0173b2", alpha=0.75, linewidth=0))
        ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)
        n = trained * theta / (2 * math.pi)
        ax.set_title(f"pair {pair}", fontsize=10, loc="center", pad=2)
        ax.set_xlabel(f"{n:.1f} turns" if n >= 0.1 else f"{n:.3f} turns", fontsize=9)
    handles = [plt.Rectangle((0, 0), 1, 1, color=c, alpha=0.75) for c in ("#0173b2", ACCENT)]
    names = [f"angles met in {trained} positions", f"new angles at {asked} positions"]
    fig.legend(handles, names, loc="outside lower center", ncols=2)
    return fig


def by_position(ax: plt.Axes, curves: Sequence[Sequence[float]], width: int = 8, merge: int = 2, **line) -> None:
    """Loss by position: mean over seeds as a line, lowest to highest seed as a band.

    Args:
        ax: where to draw.
        curves: one list a seed, the loss of consecutive blocks of ``width`` positions.
        merge: blocks averaged into one point.
        line: keyword arguments of ``ax.plot``.
    """
    seeds = np.array(curves)
    seeds = seeds.reshape(len(seeds), -1, merge).mean(2)
    x = (np.arange(seeds.shape[1]) + 0.5) * width * merge
    ax.fill_between(x, seeds.min(0), seeds.max(0), color=line["color"], alpha=0.18, linewidth=0)
    ax.plot(x, seeds.mean(0), **{**line, "marker": "none"})


def spread(ax: plt.Axes, x: float, values: Sequence[float], **marker) -> None:
    """Mean of the seeds as a marker, lowest to highest as a bar."""
    ax.plot([x, x], [min(values), max(values)], color=marker["color"], linewidth=4, alpha=0.3, solid_capstyle="butt")
    ax.plot([x], [float(np.mean(values))], **{**marker, "linestyle": "none"})


def rows_of_methods(
    ax: plt.Axes,
    rows: Mapping[str, Sequence[float]],
    colors: Mapping[str, str] | None = None,
    reference: float | None = None,
) -> None:
    """One horizontal row a method: every seed a dot, the mean a bar line, and an optional reference line."""
    for y, (name, values) in enumerate(rows.items()):
        color = (colors or {}).get(name, "#0173b2")
        ax.plot([min(values), max(values)], [y, y], color=color, linewidth=4, alpha=0.3, solid_capstyle="butt")
        ax.plot(values, [y] * len(values), "o", color=color, markersize=4, alpha=0.8)
        ax.plot([np.mean(values)] * 2, [y - 0.3, y + 0.3], color=color, linewidth=2)
    if reference is not None:
        ax.axvline(reference, color=MUTED, linestyle="--", linewidth=1, zorder=0)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)


def hero(recorded: Recorded, text: Tensor, factor: int = 8) -> plt.Figure:
    """Loss by position of one model under four sets of frequencies, and the loss of a table of letter frequencies.

    The table is counted on the character ids ``text``, and its loss is their entropy.
    """
    trained = recorded.settings.train_len
    letters = torch.special.entr(torch.bincount(text.flatten()).double() / text.numel()).sum().item()
    fig, ax = plt.subplots(figsize=(7.6, 3.6))
    for method in ("none", "pi", "ntk", "yarn"):
        by_position(ax, recorded.blocks(method, factor), **style(method))
    ax.axhline(letters, color=INK, lw=1, ls=":", label="letter frequencies")
    ax.axvline(trained, color=INK, lw=1, ls="--")
    ax.text(trained - 4, 3.4, "trained\nlength", fontsize=9, ha="right")
    ax.set(xlabel=f"position in a window of {factor * trained}", ylabel="loss (nats a character)")
    ax.set_xlim(0, factor * trained)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def one_pair(recorded: Recorded, lengths: Sequence[int] = (64, 256)) -> plt.Figure:
    """The loss with one pair slowed, inside and beyond the trained length."""
    pairs = recorded.settings.head_dim // 2
    fig, axes = plt.subplots(1, 2, figsize=(7.8, 3.1), sharey=True)
    for ax, n, state in zip(axes, lengths, ("nothing to repair", "broken"), strict=True):
        for pair in range(pairs):
            spread(ax, pair, recorded.pair(pair, n), color="#0173b2", marker="o")
        ax.axhline(recorded.center("none", 8, n), color=STYLES["none"]["color"], lw=1.4, label="no pair slowed")
        ax.set(title=f"read out at {n}: {state}", xlabel="the one pair slowed by 4", xticks=range(pairs))
    axes[0].set_ylabel("loss, last 32 positions")
    axes[0].legend(loc="upper right")
    return fig


def unmasked(slowed: Mapping[str, np.ndarray], unfinished: int) -> plt.Figure:
    """Slow-down by pair of the snippet called YaRN ("ntk"), and of YaRN's code and paper ("yarn", "yarn_paper")."""
    names = {"ntk": "the snippet", "yarn": "YaRN, as released", "yarn_paper": "YaRN, as in its paper"}
    fig, ax = plt.subplots(figsize=(7.2, 3))
    for rule, name in names.items():
        ax.plot(slowed[rule], **style(rule, marker="none", label=name))
    ax.axvline(unfinished, color=MUTED, lw=1, ls="--")
    ax.text(unfinished + 0.5, 1.15, "less than a turn", fontsize=9, color=INK)
    ax.set_yscale("log", base=2)
    ax.set_yticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    ax.set(xlabel="pair (0 is the fastest)", ylabel="slowed down by", xlim=(0, 63))
    ax.legend(loc="upper left")
    return fig


def ramps(panels: Mapping[str, Mapping[str, Tensor]]) -> plt.Figure:
    """Share kept by pair, one panel a model: {title: {rule: (pairs,)}} with the rules yarn, yarn_paper and llama3."""
    names = {
        "yarn": "code ramp, beta 32",
        "yarn_paper": "paper ramp, beta 32",
        "llama3": "paper ramp, beta 4 (Llama 3)",
    }
    fig, axes = plt.subplots(1, len(panels), figsize=(7.8, 3.2), sharey=True)
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        for rule, curve in curves.items():
            ax.plot(curve, **style(rule, label=names[rule], marker="o" if len(curve) < 20 else "none"))
        ax.set(title=title, xlabel="pair (0 is the fastest)")
    axes[0].set_ylabel("share kept as trained")
    axes[-1].legend(loc="upper right")
    return fig


def temperatures() -> plt.Figure:
    """What YaRN's temperature multiplies logits by, and three wrong readings of it."""
    s = np.linspace(1, 32, 100)
    f = 0.1 * np.log(s) + 1
    fig, ax = plt.subplots(figsize=(7.2, 3))
    ax.plot(s, f**2, color="#029e73", lw=2.6, label="right: factor squared")
    ax.plot(s, f, color="#0173b2", ls="--", label="factor on the logits once")
    ax.plot(s, f**4, color="#d55e00", ls="-.", label="squared on cos and sin")
    ax.plot(s, (0.1 * np.log10(s) + 1) ** 2, color="#949494", ls=":", label="logarithm to base 10")
    ax.set(xlabel="factor s", ylabel="logits are multiplied by", xlim=(1, 32), ylim=(0.95, 3.3))
    ax.legend(loc="upper left")
    return fig


def base_ticks(wavelengths: Mapping[str, Tensor]) -> plt.Figure:
    """One row of ticks a base, one tick a pair, at the number of positions of one turn: {text: (pairs,)}."""
    fig, ax = plt.subplots(figsize=(7.6, 2.1))
    for row, (text, values) in enumerate(wavelengths.items()):
        ax.vlines(values, 0.62 - row, 1.12 - row, color=("#0173b2", "#5d6d7e")[row], lw=1.3)
        ax.text(3.6, 1.2 - row, text, fontsize=9.5, color=INK)
    ax.set_xscale("log")
    ax.set(xlabel="positions a pair needs for one turn", yticks=[], ylim=(-0.5, 1.5))
    ax.grid(axis="y", visible=False)
    return fig


def stale_keys(drifts: Mapping[tuple[int, bool], Mapping[int, float]], trained: int) -> plt.Figure:
    """Divergence from recomputation by length: {(layers, keys cached rotated): {length: nats}}."""
    looks = ((True, "keys cached rotated", "#d55e00", "-"), (False, "keys cached unrotated", "#0173b2", "--"))
    fig, axes = plt.subplots(1, 2, figsize=(7.8, 3.1), sharey=True)
    for ax, n, title in ((axes[0], 1, "one layer (random weights)"), (axes[1], 2, "two layers (the race)")):
        for after, name, color, line in looks:
            ax.plot(
                list(drifts[n, after]), list(drifts[n, after].values()), color=color, ls=line, marker="o", label=name
            )
        ax.axvline(trained, color=INK, lw=1, ls="--")
        ax.axhspan(1e-8, 1e-6, color=MUTED, alpha=0.2, lw=0)
        ax.set(title=title, xlabel="current length", yscale="log", ylim=(5e-8, 1))
    axes[0].text(255, 7e-8, "equal up to rounding", fontsize=9, ha="right")
    axes[0].set_ylabel("divergence (nats)")
    axes[0].legend(loc="center right", bbox_to_anchor=(1.0, 0.4))
    return fig


def zero_shot(
    recorded: Recorded,
    methods: Sequence[str],
    live: Mapping[str, float],
    asked: int,
    factors: Sequence[int] = (2, 4, 8),
) -> plt.Figure:
    """Loss of every method at every factor: mean and range of the seeds; live values as open circles at ``asked``."""
    trained, own = recorded.settings.train_len, recorded.center("none", 8, recorded.settings.train_len)
    fig, ax = plt.subplots(figsize=(7.6, 3.7))
    for i, m in enumerate(methods):
        for x, s in enumerate(factors):
            place = x + (i - (len(methods) - 1) / 2) * 0.085
            spread(ax, place, recorded.values(m, s), **style(m, label=STYLES[m]["label"] if x == 0 else None))
            if m in live and s == asked:
                ax.plot(place, live[m], "o", ms=11, mfc="none", color=STYLES[m]["color"])
    ax.axhline(own, color=INK, lw=1, ls="--")
    ax.text(len(factors) - 0.58, own - 0.09, "at its own length", fontsize=9, ha="right")
    ax.set_xticks(range(len(factors)), [f"{s}x ({s * trained})" for s in factors])
    ax.set(ylabel="loss, last 32 positions", ylim=(1.6, 3.6))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def temperature_credit(gains: Mapping[int, Mapping[str, Sequence[float]]]) -> plt.Figure:
    """Change of the loss by the temperature, one panel a factor: {factor: {name: one number a seed}}."""
    fig, axes = plt.subplots(1, len(gains), figsize=(7.8, 2.8), sharey=True, sharex=True)
    for ax, (s, rows) in zip(axes, gains.items(), strict=True):
        rows_of_methods(ax, rows, reference=0)
        ax.set(title=f"{s}x", xlabel="change of the loss by the temperature")
    return fig


def rows_figure(
    rows: Mapping[str, Sequence[float]],
    xlabel: str,
    reference: float | None = None,
    colors: Mapping[str, str] | None = None,
) -> plt.Figure:
    """:func:`rows_of_methods` alone in a figure."""
    fig, ax = plt.subplots(figsize=(7.2, 0.75 + 0.3 * len(rows)))
    rows_of_methods(ax, rows, colors, reference)
    ax.set_xlabel(xlabel)
    return fig


def fine_tuned(recorded: Recorded, methods: Sequence[str], longer: Sequence[str]) -> plt.Figure:
    """Loss against fine-tuning steps at the new length and at the old one."""
    fig, axes = plt.subplots(1, 2, figsize=(7.8, 3.3), sharey=True)
    panels = (
        (axes[0], 256, "at 256, the new length", (0, 20, 60, 240)),
        (axes[1], 64, "at 64, the old length", (0, 20, 60, 240)),
    )
    for ax, n, title, steps in panels:
        for i, m in enumerate(methods):
            untrained = recorded.values(m, 4) if n == 256 else recorded.control_loss(m)
            rows = [untrained, *(recorded.tuned(m, k, n) for k in (steps if m in longer else steps[:-1])[1:])]
            at = [x + (i - (len(methods) - 1) / 2) * 0.05 for x in range(len(rows))]
            for x, values in zip(at, rows, strict=True):
                spread(ax, x, values, **style(m, label=STYLES[m]["label"] if x == at[0] else None))
            ax.plot(at, np.mean(rows, axis=1), color=STYLES[m]["color"], lw=0.8, alpha=0.6)
        ax.axhline(recorded.center("none", 8, 64), color=INK, lw=1, ls="--")
        ax.set(title=title, xlabel="fine-tuning steps at 256")
        ax.set_xticks(range(len(steps)), [str(k) for k in steps])
    axes[0].set_ylabel("loss, last 32 positions")
    axes[0].legend(loc="upper right")
    return fig


REAL = {
    "none": style("none"),
    "pi2": style("pi", label="PI, factor 2"),
    "ntk2": style("ntk", label="NTK-aware, factor 2"),
    "yarn2": style("yarn", label="YaRN, factor 2"),
    "yarn4": style("yarn_paper", label="YaRN, factor 4"),
    "win8192": {"color": INK, "linestyle": ":", "marker": "s", "markersize": 5, "label": "as trained, text cut"},
}
"""The recorded methods of the real model."""

FILE = "SmolLM2-135M-Instruct, 4 bits (Q4_1)"
"""What the real model is, on every picture that shows it."""


def real_perplexity(
    perplexity: Callable[[str, int, int], float], methods: Sequence[str], width: int = 2048
) -> plt.Figure:
    """Perplexity by block; ``perplexity(method, start, end)`` gives it."""
    starts = range(0, 16384, width)
    fig, ax = plt.subplots(figsize=(7.6, 3.4))
    for method in methods:
        ax.plot([a + width / 2 for a in starts], [perplexity(method, a, a + width) for a in starts], **REAL[method])
    ax.axvline(8192, color=INK, lw=1, ls="--")
    ax.set(yscale="log", xlabel=f"tokens read (blocks of {width:,})", ylabel="perplexity of the block", title=FILE)
    ax.set_yticks([20, 50, 100, 200, 500], ["20", "50", "100", "200", "500"])
    ax.minorticks_off()
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def real_copies(
    copies: Callable[[str], Mapping[int, Sequence[float]]], methods: Sequence[str], first: Sequence[float]
) -> plt.Figure:
    """Perplexity of the second copy by distance: every pair of texts a dot, lines through their geometric means."""
    fig, ax = plt.subplots(figsize=(7.6, 3.5))
    for method in methods:
        found = copies(method)
        ax.plot(list(found), [math.exp(np.mean(np.log(v))) for v in found.values()], **REAL[method])
        dots = [(n, p) for n, v in found.items() for p in v]
        ax.plot(*zip(*dots, strict=True), ".", color=REAL[method]["color"], ms=4)
    ax.axhspan(min(first), max(first), color=MUTED, alpha=0.25, lw=0)
    ax.text(16200, 40, "cannot see\nthe first copy", fontsize=8.5, va="center", color=INK)
    ax.axvline(8192, color=INK, lw=1, ls="--")
    ax.set(
        yscale="log", xlabel="distance between the copies (tokens)", ylabel="perplexity of the second copy", title=FILE
    )  # fmt: skip
    ax.set_xlim(1000, 18900)
    ax.set_yticks([1, 3, 10, 30, 100, 300, 1000], ["1", "3", "10", "30", "100", "300", "1000"])
    ax.minorticks_off()
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def feasible_bases(feasible: Mapping[int, Mapping[float, bool]], published: Mapping[str, float]) -> plt.Figure:
    """Which bases satisfy the criterion, one panel a length: {length: {base: satisfied}}."""
    ticks = (3000, 4000, 5000, 6000, 8000, 10_000, 15_000, 20_000, 30_000)
    fig, axes = plt.subplots(1, len(feasible), figsize=(7.8, 2))
    for ax, (n, found) in zip(axes, feasible.items(), strict=True):
        bases = list(found)
        half = math.sqrt(bases[1] / bases[0])  # the bases tried are a geometric grid: each stands for its own cell
        for base in (b for b, satisfied in found.items() if satisfied):
            ax.axvspan(base / half, base * half, color="#029e73", alpha=0.8, lw=0)
        ax.plot(published[str(n)], 1.06, "v", color=ACCENT, ms=7, clip_on=False)  # above: a line would hide a sliver
        ax.text(published[str(n)], 1.14, "published bound", ha="center", fontsize=9, color=ACCENT)
        ax.set(xscale="log", xlabel=f"base, length {n:,}", yticks=[], xlim=(bases[0], bases[-1]), ylim=(0, 1))
        ax.minorticks_off()
        marks = [b for b in ticks if bases[0] <= b <= bases[-1]]
        ax.set_xticks(marks, [f"{b:,}" for b in marks])
    return fig


def ntk_sweep(recorded: Recorded, factors: Sequence[int], lengths: Sequence[int] = (256, 512)) -> plt.Figure:
    """Loss against the factor given to NTK-aware, one line a length."""
    fig, ax = plt.subplots(figsize=(7.2, 3))
    for n, color, line, mark in zip(lengths, ("#0173b2", "#de8f05"), ("-", "--"), ("o", "s"), strict=True):
        rows = np.array([recorded.sweep(s, n) for s in factors])
        ax.fill_between(factors, rows.min(1), rows.max(1), color=color, alpha=0.2, lw=0)
        name = f"read out at {n} ({n // recorded.settings.train_len}x)"
        ax.plot(factors, rows.mean(1), color=color, ls=line, marker=mark, label=name)
    ax.set_xscale("log", base=2)
    ax.set_xticks(factors, [str(s) for s in factors])
    ax.minorticks_off()
    ax.set(xlabel="factor given to NTK-aware", ylabel="loss, last 32 positions")
    ax.legend()
    return fig


GUIDE = (
    (
        "The text fits the\ntrained length",
        "Change nothing",
        "every static rule costs\nsomething on short text",
        "#56b4e9",
    ),
    (
        "A little longer,\nno training",
        "YaRN or NTK-aware; count\nfrom the length that works",
        "dynamic scaling: cached is\nnot recomputed, either way",
        "#de8f05",
    ),
    (
        "Several times longer,\nno training",
        "YaRN; or cut the text,\nif the loss allows it",
        "test recall by depth;\nperplexity did not show it",
        "#ca9161",
    ),
    (
        "Longer, with\nsome training",
        "YaRN or Llama 3's rule,\nthen train at length",
        "the factor sets the reach,\nnot the length trained at",
        "#029e73",
    ),
    (
        "You still pretrain",
        "A larger base, and\nlong text at the end",
        "measure the length that\nworks: it is not the base",
        "#cc78bc",
    ),
)
"""You have / do / watch / color."""


def decision_guide() -> plt.Figure:
    """A model, a target length, what to do, what to watch: one row a situation."""
    fig, ax = plt.subplots(figsize=(8, 5.4), layout="none")
    ax.set(xlim=(0, 10), ylim=(-0.2, len(GUIDE) + 0.55))
    ax.axis("off")
    for x, head in ((0.1, "You have"), (3.65, "Do"), (7.0, "Watch")):
        ax.text(x, len(GUIDE) + 0.3, head, weight="bold", fontsize=11, va="center", color=INK)
    for i, (have, do, watch, color) in enumerate(GUIDE):
        y = len(GUIDE) - 1 - i
        for x, width, text, alpha in ((0.0, 2.9, have, 0.16), (3.5, 2.85, do, 0.4), (6.95, 3.05, watch, 0.16)):
            box = FancyBboxPatch(
                (x + 0.06, y + 0.12), width - 0.12, 0.74, boxstyle="round,pad=0.05", facecolor=color, alpha=alpha,
                edgecolor="none",
            )  # fmt: skip
            ax.add_patch(box)
            ax.text(x + width / 2, y + 0.49, text, ha="center", va="center", fontsize=9.5, color=INK, linespacing=1.3)
        for x in (2.98, 6.43):
            ax.annotate("", (x + 0.47, y + 0.49), (x, y + 0.49), arrowprops={"arrowstyle": "->", "color": MUTED})
    fig.subplots_adjust(left=0.01, right=0.99, top=0.99, bottom=0.01)
    return fig


def _range(low: float, high: float) -> str:
    return f"{low:.0f}" if round(float(low)) == round(float(high)) else f"{low:.0f}-{high:.0f}"


RECALL_LABELS = {
    "none": "as trained",
    "none+t": "as trained + temp.",
    "pi": "PI",
    "ntk": "NTK-aware",
    "ntk+t": "NTK-aware + temp.",
    "yarn-t": "YaRN - temp.",
    "yarn": "YaRN",
    "llama3": "Llama 3",
}
"""Short names for narrow panels."""


def recall_grids(grids: Mapping[str, Tensor], lengths: Sequence[int], depths: Sequence[float]) -> plt.Figure:
    """Heat maps depth x length, one a method: mean over seeds in color, lowest to highest seed in the cell.

    Args:
        grids: {method: (seeds, depths, lengths) percent}, methods as in RECALL_LABELS.
        lengths, depths: of the axes.
    """
    columns = min(4, len(grids))
    rows = math.ceil(len(grids) / columns)
    fig, axes = plt.subplots(rows, columns, figsize=(8, 2.45 * rows + 0.5), sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(grids) :]:
        ax.axis("off")
    names = [f"{d:g}" for d in depths]
    names[0], names[-1] = f"far {names[0]}", f"near {names[-1]}"
    for i, (ax, (method, grid)) in enumerate(zip(axes.flat, grids.items(), strict=False)):
        low, high = grid.amin(0), grid.amax(0)
        text = np.array([[_range(a, b) for a, b in zip(*r, strict=True)] for r in zip(low, high, strict=True)])
        plotting.heatmap(
            grid.mean(0).numpy(), ax=ax, annot=text, fmt="", vmin=0, vmax=100, cmap="cividis", cbar=False,
            annot_kws={"fontsize": 7.5}, xticklabels=list(lengths), yticklabels=names,
            linewidths=0.8, linecolor="white",
        )  # fmt: skip
        ax.set_title(RECALL_LABELS[method], fontsize=9.5)
        ax.tick_params(axis="y", rotation=0)
        ax.set_xlabel("length" if i // columns == rows - 1 else "")
        ax.set_ylabel("depth" if i % columns == 0 else "")
    return fig
