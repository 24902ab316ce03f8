"""The pictures of notebook 06. Each brings its name, its words and its drawing, filled from the same data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.patches import Wedge
from torch import Tensor

from ..encodings.extension import RULES, extend, longrope_example, rotations
from ..encodings.rope import rope_frequencies
from ..explain import TICKS
from ..plotting import ACCENT, INK, MUTED, Picture

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


def every_rule(factor: float, head_dim: int = 128, base: float = 10_000.0, length: int = 4096) -> Picture:
    """What every rule does to every frequency: one row a rule, one column a pair, color the slow-down.

    JupyterLab shows the same as lines, under a slider for the factor.
    """
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
    return Picture(
        fig,
        "06_rules",
        alt=f"{len(ROWS)} rules, one row each, over {len(turns)} pairs: PI slows all, NTK gradually, YaRN and Llama 3 "
        "switch near a turn",
        caption=f"{len(turns)} pairs, fast ones left. Dark: left alone. Bright: slowed by the full factor {factor:g}.",
        interactive=every_rule_interactive((1, 2, 4, 8, 16, 32), head_dim, base, length),
    )


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


def clocks(inv_freq: Tensor, trained: int, asked: int) -> Picture:
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
    turns = rotations(inv_freq, trained)
    partly = int((turns < 1).nonzero()[0])
    return Picture(
        fig,
        "06_clocks",
        alt=f"{pairs} clock faces: pairs 0 to {partly - 1} fully covered in training, pair {partly} to "
        f"{turns[partly]:.0%}, the rest slivers",
        caption=f"What each pair has seen in {trained} positions (blue) and what {asked} positions add (orange).",
    )


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


def hero(recorded: Recorded, text: Tensor, factor: int = 8) -> Picture:
    """Loss by position of one model under four sets of frequencies, and the loss of a table of letter frequencies.

    The table is counted on the character ids ``text``, and its loss is their entropy.
    """
    trained = recorded.settings.train_len
    letters = torch.special.entr(torch.bincount(text.flatten()).double() / text.numel()).sum().item()
    fig, ax = plt.subplots(figsize=(7.6, 3.6))
    last = {}
    for method in ("none", "pi", "ntk", "yarn"):
        blocks = recorded.blocks(method, factor)
        look = style(method, label=STYLES[method]["label"].split(",")[0])  # the ramps are told apart later
        by_position(ax, blocks, **look)
        last[look["label"]] = float(np.mean(blocks, axis=0)[-8:].mean())
    ax.axhline(letters, color=INK, lw=1, ls=":", label="letter frequencies")
    ax.axvline(trained, color=INK, lw=1, ls="--")
    ax.text(trained - 4, 3.4, "trained\nlength", fontsize=9, ha="right")
    ax.set(xlabel=f"position in a window of {factor * trained}", ylabel="loss (nats per character)")
    ax.set_xlim(0, factor * trained)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    ends = ", ".join(f"{name} {value:.1f}" for name, value in last.items())
    return Picture(
        fig,
        "06_hero",
        alt=f"Loss by position to {factor * trained}. In the last 64 positions: {ends}; letter frequencies "
        f"{letters:.1f}",
        caption=f"One model, four sets of frequencies, no training: RoPE at {factor} times its length (mean and range "
        f"of {len(recorded.blocks('none', factor))} seeds).",
    )


def one_pair(recorded: Recorded, lengths: Sequence[int] = (64, 256)) -> Picture:
    """The loss with one pair slowed, inside and beyond the trained length."""
    pairs, slowed = recorded.settings.head_dim // 2, lengths[1] // lengths[0]
    fig, axes = plt.subplots(1, 2, figsize=(7.8, 3.1), sharey=True)
    best = {}
    for ax, n, state in zip(axes, lengths, ("nothing to repair", "broken"), strict=True):
        means = [float(np.mean(recorded.pair(pair, n))) for pair in range(pairs)]
        for pair in range(pairs):
            spread(ax, pair, recorded.pair(pair, n), color="#0173b2", marker="o")
        best[n] = int(np.argmax(means)), int(np.argmin(means))
        ax.axhline(recorded.center("none", 8, n), color=STYLES["none"]["color"], lw=1.4, label="no pair slowed")
        ax.set(title=f"read out at {n}: {state}", xlabel=f"the one pair slowed by {slowed}", xticks=range(pairs))
    axes[0].set_ylabel("loss, last 32 positions")
    axes[0].legend(loc="upper right")
    return Picture(
        fig,
        "06_one_pair",
        alt=f"At {lengths[0]} slowing pair {best[lengths[0]][0]} costs most, slow pairs nothing; at {lengths[1]} "
        f"slowing pair {best[lengths[1]][1]} repairs most of the damage",
        caption=f"Each dot slows a single pair by {slowed} and touches nothing else (mean and range of the seeds).",
    )


def unmasked(slowed: Mapping[str, np.ndarray], unfinished: int) -> Picture:
    """Slow-down by pair of the snippet called YaRN ("ntk"), and of YaRN's code and paper ("yarn", "yarn_paper").

    ``unfinished``: the first pair that makes less than a turn.
    """
    names = {"ntk": "the snippet", "yarn": "YaRN, as released", "yarn_paper": "YaRN, as in its paper"}
    top = slowed["yarn"].max()
    fig, ax = plt.subplots(figsize=(7.2, 3))
    for rule, name in names.items():
        ax.plot(slowed[rule], **style(rule, marker="none", label=name))
    ax.axvline(unfinished, color=MUTED, lw=1, ls="--")
    ax.text(unfinished + 0.5, 1.15, "less than a turn", fontsize=9, color=INK)
    ax.set_yscale("log", base=2)
    ax.set_yticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    ax.set(xlabel="pair (0 is the fastest)", ylabel="slowed down by", xlim=(0, len(slowed["yarn"]) - 1))
    ax.legend(loc="upper left")
    return Picture(
        fig,
        "06_unmasked",
        alt=f"Slow-down by pair at factor {top:.0f}: the snippet a straight line, YaRN stays at 1 and reaches "
        f"{top:.0f} at pair {unfinished}",
        caption=f"Factor {top:.0f} on Llama 2: the snippet is a straight line, YaRN a switch, in two versions.",
    )


def stale_keys(drifts: Mapping[tuple[int, bool], Mapping[int, float]], trained: int) -> Picture:
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
    longest = max(drifts[1, True])
    axes[0].text(longest, 7e-8, "equal up to rounding", fontsize=9, ha="right")
    axes[0].set_ylabel("divergence (nats)")
    axes[0].legend(loc="center right", bbox_to_anchor=(1.0, 0.4))
    both, left = (
        [words for n, words in ((1, "one layer"), (2, "two layers")) if drifts[n, after][longest] > 1e-6] or ["neither"]
        for after in (True, False)
    )
    return Picture(
        fig,
        "06_stale_keys",
        alt=f"Divergence from recomputation at length {longest}: rotated keys drift with {' and '.join(both)}, "
        f"unrotated keys with {' and '.join(left)}",
        caption="Dynamic NTK with a cache against full recomputation. Up to the trained length (dashed): no change.",
    )


SHOWN = ("none", "pi", "ntk", "yarn", "yarn_paper", "llama3", "abf")
"""The rules of the measured pictures."""


def _apart(heights: Sequence[float], least: float) -> list[float]:
    """The same heights, moved as little as it takes to keep them ``least`` apart."""
    order = np.argsort(heights)
    out = np.array(heights, dtype=float)
    for _ in range(100):
        for a, b in zip(order[:-1], order[1:], strict=True):
            lack = least - (out[b] - out[a])
            if lack > 1e-9:
                out[a], out[b] = out[a] - lack / 2, out[b] + lack / 2
    return out.tolist()


def zero_shot(
    recorded: Recorded, live: Mapping[str, float], asked: int, methods: Sequence[str] = SHOWN,
    factors: Sequence[int] = (2, 4, 8),
) -> Picture:  # fmt: skip
    """Loss of every method at every factor: mean and range of the seeds; ``live`` as open circles at ``asked``."""
    trained, own = recorded.settings.train_len, recorded.center("none", 8, recorded.settings.train_len)
    fig, ax = plt.subplots(figsize=(7.8, 3.9))
    rows = {m: np.array([recorded.values(m, s) for s in factors]) for m in methods}  # (factors, seeds)
    places = _apart([row[-1].mean() for row in rows.values()], 0.13)
    for (m, row), y in zip(rows.items(), places, strict=True):
        look = style(m)
        ax.fill_between(factors, row.min(1), row.max(1), color=look["color"], alpha=0.15, lw=0)
        ax.plot(factors, row.mean(1), **look)
        ax.annotate(
            look["label"], (factors[-1], row[-1].mean()), xytext=(factors[-1] * 1.06, y), color=look["color"],
            fontsize=9, va="center", annotation_clip=False,
        )  # fmt: skip
        if m in live:
            ax.plot(asked, live[m], "o", ms=11, mfc="none", color=look["color"])
    ax.axhline(own, color=INK, lw=1, ls="--")
    ax.text(factors[0], own - 0.03, f"the same model at {trained}", fontsize=9, va="top", color=INK)
    ax.set_xscale("log", base=2)
    ax.minorticks_off()
    ax.set_xticks(factors, [f"{s}x ({s * trained})" for s in factors])
    ax.set(ylabel="loss, last 32 positions", ylim=(own - 0.2, 3.6), xlim=(factors[0] * 0.97, factors[-1] * 1.03))
    ax.set_xlabel("read out at")
    ends = ", ".join(f"{STYLES[m]['label']} {row[-1].mean():.1f}" for m, row in rows.items())
    return Picture(
        fig,
        "06_zero_shot",
        alt=f"Loss at {', '.join(map(str, factors))} times the trained length. At {factors[-1]}x: {ends}",
        caption="RoPE of the first race extended without training (mean and range of seeds). Open circles: just now.",
    )


def fine_tuned(recorded: Recorded, methods: Sequence[str], longer: Sequence[str], length: int = 256) -> Picture:
    """Loss at the new length against fine-tuning steps; ``longer``: methods that were trained four times as long."""
    fig, ax = plt.subplots(figsize=(7.6, 3.5))
    own = recorded.center("none", 8, recorded.settings.train_len)
    after = {}
    for m in methods:
        steps = (0, 20, 60, 240) if m in longer else (0, 20, 60)
        rows = np.array([recorded.values(m, 4), *(recorded.tuned(m, k, length) for k in steps[1:])])  # (steps, seeds)
        look = style(m)
        ax.fill_between(steps, rows.min(1), rows.max(1), color=look["color"], alpha=0.15, lw=0)
        ax.plot(steps, rows.mean(1), **look)
        after[look["label"]] = rows[2].mean()
    ax.axhline(own, color=INK, lw=1, ls="--", label=f"as trained, at {recorded.settings.train_len}")
    ax.set(xlabel=f"fine-tuning steps on windows of {length}", ylabel=f"loss at {length}, last 32 positions")
    ax.set_xticks((0, 20, 60, 120, 180, 240))
    ax.legend(loc="upper right")
    ends = ", ".join(f"{name} {value:.2f}" for name, value in after.items())
    return Picture(
        fig,
        "06_fine_tuned",
        alt=f"Loss at {length} against fine-tuning steps. After 60 steps: {ends}; at its own length {own:.2f}",
        caption=f"A few steps at {length // recorded.settings.train_len} times the length (mean, range of the seeds).",
    )


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
    perplexity: Callable[[str, int, int], float], methods: Sequence[str], control: str, width: int = 2048
) -> Picture:
    """Perplexity by block over that of ``control`` in the same block; ``perplexity(method, start, end)`` gives it."""
    starts = range(0, 16384, width)
    fig, ax = plt.subplots(figsize=(7.6, 3.4))
    last = {}
    for method in methods:
        ratio = [perplexity(method, a, a + width) / perplexity(control, a, a + width) for a in starts]
        ax.plot([a + width / 2 for a in starts], ratio, **REAL[method])
        last[REAL[method]["label"]] = ratio[-1]
    ax.axhline(1, color=INK, lw=1.2, ls=":", label="the last 4,096 to\n8,192 tokens only")
    ax.axvline(8192, color=INK, lw=1, ls="--")
    ax.text(8192, 14, " trained length", fontsize=9, color=INK)
    ax.set(
        yscale="log", xlabel=f"tokens read (blocks of {width:,})", ylabel="perplexity over\nthat of the cut text",
        title=FILE,
    )  # fmt: skip
    ax.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    ax.minorticks_off()
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    ends = ", ".join(f"{name} {value:.3g}" for name, value in last.items())
    return Picture(
        fig,
        "06_real_perplexity",
        alt=f"4-bit SmolLM2-135M-Instruct: perplexity by block over that of a cut text. In the last block: {ends}",
        caption="Recorded, four texts, no training. 1 means: as good as forgetting the beginning.",
    )


def real_copies(
    copies: Callable[[str], Mapping[int, Sequence[float]]], methods: Sequence[str], first: Sequence[float]
) -> Picture:
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
    fails = {}
    for method in methods:
        lost = [n for n, v in copies(method).items() if min(v) > 20]
        fails[REAL[method]["label"]] = f"from {min(lost):,}" if lost else "nowhere"
    words = ", ".join(f"{name} {where}" for name, where in fails.items())
    return Picture(
        fig,
        "06_real_copy",
        alt=f"4-bit SmolLM2-135M-Instruct, second copy by distance. Above a perplexity of 20: {words}",
        caption="Recorded: two texts (dots), their mean. Gray: the first copy, which nothing announces.",
    )


def feasible_bases(feasible: Mapping[int, Mapping[float, bool]], published: Mapping[str, float]) -> Picture:
    """Which bases satisfy the criterion, one panel a length: {length: {base: satisfied}}."""
    ticks = (3000, 4000, 5000, 6000, 8000, 10_000, 15_000, 20_000, 30_000)
    fig, axes = plt.subplots(1, len(feasible), figsize=(7.8, 2))
    smallest = {}
    for ax, (n, found) in zip(axes, feasible.items(), strict=True):
        bases = list(found)
        smallest[n] = min(b for b, satisfied in found.items() if satisfied)
        half = math.sqrt(bases[1] / bases[0])  # the bases tried are a geometric grid: each stands for its own cell
        for base in (b for b, satisfied in found.items() if satisfied):
            ax.axvspan(base / half, base * half, color="#029e73", alpha=0.8, lw=0)
        ax.plot(published[str(n)], 1.06, "v", color=ACCENT, ms=7, clip_on=False)  # above: a line would hide a sliver
        ax.text(published[str(n)], 1.14, "published bound", ha="center", fontsize=9, color=ACCENT)
        ax.set(xscale="log", xlabel=f"base, length {n:,}", yticks=[], xlim=(bases[0], bases[-1]), ylim=(0, 1))
        ax.minorticks_off()
        marks = [b for b in ticks if bases[0] <= b <= bases[-1]]
        ax.set_xticks(marks, [f"{b:,}" for b in marks])
    first = ", ".join(f"{b:,.0f} at length {n:,}" for n, b in smallest.items())
    return Picture(
        fig,
        "06_base_bound",
        alt=f"Bases that satisfy the criterion: slivers, then stretches with gaps. Smallest found: {first}",
        caption="Green: bases for which no sum up to this length is negative. The set has holes.",
    )


def recall(grids: Mapping[str, Tensor], lengths: Sequence[int], depths: Sequence[float]) -> Picture:
    """Recall by length at the far and at the near end of the window, one panel a method.

    Args:
        grids: {method: (seeds, depths, lengths) percent}.
        lengths, depths: of the axes; depth 0 is the far end.
    """
    fig, axes = plt.subplots(1, len(grids), figsize=(8, 2.9), sharey=True)
    ends = (
        (0, f"far: depth {depths[0]:g}", "#0173b2", "-", "o"),
        (-1, f"near: depth {depths[-1]:g}", "#de8f05", "--", "s"),
    )
    words = []
    for ax, (method, grid) in zip(axes, grids.items(), strict=True):
        for at, name, color, line, marker in ends:
            seeds = grid[:, at].numpy()  # (seeds, lengths)
            ax.fill_between(lengths, seeds.min(0), seeds.max(0), color=color, alpha=0.18, lw=0)
            ax.plot(lengths, seeds.mean(0), color=color, ls=line, marker=marker, ms=5, label=name)
        far, near = (grid[:, at, -1].mean().item() for at in (0, -1))
        words.append(f"{STYLES[method]['label']} {far:.0f}% far and {near:.0f}% near")
        ax.set(title=STYLES[method]["label"], xscale="log", ylim=(0, 104))
        ax.title.set_fontsize(10.5)
        ax.minorticks_off()
        ax.set_xticks(lengths, [str(n) for n in lengths])
    axes[0].set_ylabel("recalled, %")
    fig.supxlabel("length of the window", fontsize=10)
    axes[-1].legend(loc="lower left", fontsize=8)
    return Picture(
        fig,
        "06_recall",
        alt=f"Recall at {', '.join(map(str, lengths))}. At {lengths[-1]}: {'; '.join(words)}",
        caption="Recall without training, each length with its own factor (mean and range of the seeds). Chance is 3%.",
    )
