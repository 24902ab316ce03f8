"""The pictures of notebook 04. Numbers come in, pictures go out, with name, alternative text and caption; what these
state of the data is read from the data. Nothing is computed here that the notebook teaches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.patches import Arc, Circle
from torch import Tensor

from ..plotting import ACCENT, INK, MUTED, Picture, color, line, matrix, signed

if TYPE_CHECKING:
    pass

QUERY, KEY = "#0173b2", "#d55e00"


def rotating_pair(q: complex, k: complex, theta: float, m: int, n: int, shift: int = 6) -> Picture:
    """A query and a key at position 0, turned to m and n, and turned on by a common shift.

    Args:
        q, k: one pair of channels each, as complex numbers, before rotation.
        theta: radians per position.
        m, n: positions of query and key.
        shift: how far both are moved in the last panel.
    """
    panels = ((0, 0, "position 0"), (m, n, "in the sentence"), (m + shift, n + shift, f"both {shift} further on"))
    fig, axes = plt.subplots(1, len(panels), figsize=(8, 3.5), layout="constrained")
    size = max(abs(q), abs(k))
    content = np.degrees(np.angle(q * np.conj(k)))
    for ax, (at_q, at_k, title) in zip(axes, panels, strict=True):
        radii = {"query": 0.72 * size, "key": 0.5 * size}
        for z, at, shade, name in ((q, at_q, QUERY, "query"), (k, at_k, KEY, "key")):
            tip = z * np.exp(1j * theta * at)
            if at:
                _arrow(ax, z, shade, lw=1.2, ls=(0, (3, 2)), alpha=0.55)
                _sweep(ax, radii[name], np.angle(z), theta * at, shade, rf"${at}\,\theta$")
            _arrow(ax, tip, shade, lw=2.4)
            label = f"{name}\nat {at}" if at else name
            ax.text(*_beyond(tip, 0.36 * size), label, color=shade, ha="center", va="center", fontsize=9)
        zq, zk = q * np.exp(1j * theta * at_q), k * np.exp(1j * theta * at_k)
        between = np.degrees(np.angle(zq * zk.conjugate()))
        _sweep(ax, 0.27 * size, np.angle(zk), np.radians(between), INK, "")
        turned = rf" $+\,{m - n}\,\theta$ = {between:.0f}" + "\u00b0" if at_q else ""
        ax.text(0, -1.66 * size, f"angle between: {content:.0f}\u00b0{turned}", ha="center", fontsize=9)
        ax.text(0, -1.92 * size, f"logit {signed((zq * zk.conjugate()).real)}", ha="center", fontweight="bold")
        ax.set(xlim=(-1.4 * size, 1.4 * size), ylim=(-1.98 * size, 1.22 * size), aspect="equal", title=title)
        ax.axis("off")
    return Picture(
        fig,
        "04_rotating_pair",
        alt=f"A query and a key arrow at position 0; turned to {m} and {n} by {m} theta and {n} theta; both moved by "
        f"{shift}: the angle between them stays at {between:.0f} degrees and the logit at "
        f"{signed((zq * zk.conjugate()).real)}.",
        caption=f"Query and key turn by their own positions (dashed: position 0). What is added to the angle between "
        f"them is {m - n} theta, the distance, wherever the two stand.",
    )


def _arrow(ax: plt.Axes, z: complex, shade: str, alpha: float = 1.0, **look: object) -> None:
    """An arrow from the origin."""
    style = {"arrowstyle": "-|>", "color": shade, "shrinkA": 0, "shrinkB": 0, "alpha": alpha, **look}
    ax.annotate("", (z.real, z.imag), (0, 0), arrowprops=style)


def _beyond(tip: complex, gap: float) -> tuple[float, float]:
    """A point that far behind the tip of an arrow."""
    far = tip * (1 + gap / abs(tip))
    return far.real, far.imag


def _sweep(ax: plt.Axes, radius: float, start: float, angle: float, shade: str, text: str) -> None:
    """An arc from one direction through an angle, more than a full turn drawn as a spiral, with its label."""
    along = np.linspace(0, 1, 120)
    r = radius * (1 + 0.12 * along * abs(angle) / (2 * np.pi))
    ax.plot(r * np.cos(start + angle * along), r * np.sin(start + angle * along), color=shade, lw=1.3)
    if text:
        middle, out = start + 0.3 * angle, 1.17 * radius
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        ax.text(
            out * np.cos(middle), out * np.sin(middle), text, color=shade, fontsize=9, ha="center", va="center",
            bbox=box,
        )  # fmt: skip


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


def mixed_layout(loss: pd.DataFrame) -> Picture:
    """Mean loss of several checkpoints (rows), read in several ways (columns), as bars."""
    looks = {
        "right": {"color": color("rope")},
        "mixed layouts": {"color": INK},
        "no rotation": {"color": MUTED},
        "mixed, then sorted": {"color": "white", "edgecolor": color("rope"), "hatch": "///"},
    }
    fig, ax = plt.subplots(figsize=(7.6, 3.2))
    width = 0.8 / len(loss.columns)
    for i, name in enumerate(loss.columns):
        x = np.arange(len(loss)) + (i - (len(loss.columns) - 1) / 2) * width
        ax.bar(x, loss[name], 0.92 * width, label=f"{name}: {loss[name].mean():.1f}", **looks[name])
    ax.set_xticks(range(len(loss)), [f"model {i}" for i in loss.index])
    ax.set(ylabel="loss (nats per character)", ylim=(0, 1.32 * loss.max().max()))
    ax.grid(False, axis="x")
    ax.legend(ncols=2, loc="upper left", title="read as, and the mean of the models", title_fontsize=8)
    mean = {name: f"{loss[name].mean():.1f}" for name in loss.columns}
    return Picture(
        fig,
        "04_mixed_layout",
        alt=f"Bars of the loss of {len(loss)} checkpoints: right layout {mean['right']} on average, mixed layouts "
        f"{mean['mixed layouts']}, no rotation {mean['no rotation']}; with sorted rows as in the right layout.",
        caption="One checkpoint per group: mixed layouts cost about as much as no rotation; sorting the rows cures it.",
    )


def toeplitz(added: Tensor, rotated: Tensor) -> Picture:
    """Logits (seq_len, seq_len) of one repeated word, by a table added and by rotation, each on its own scale.

    What a causal model masks is left out.
    """
    fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.3), layout="constrained")
    n = len(added)
    ahead = torch.ones(n, n, dtype=torch.bool).triu(1)
    for ax, values, title in zip(axes, (added, rotated), ("Door 1: table added", "Door 2: rotated"), strict=True):
        matrix(ax, values.masked_fill(ahead, torch.nan), title=title, signed=True, colorbar="logit")
        ax.set_aspect("equal")
    return Picture(
        fig,
        "04_toeplitz",
        alt=f"Two {n} by {n} causal logit matrices of one repeated word: irregular with a table, diagonal stripes with "
        "rotation.",
        caption=f"One word at {n} positions, what lies ahead left out: rotation makes each diagonal constant, an added "
        "table does not.",
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
        distances, random: some distances from 1 on, and the logits (draws, distances) of random vectors there.
        peaked: logit by distance of a key that asks for one distance.
    """
    fig, axes = plt.subplots(1, 3, figsize=(8, 2.9), layout="constrained")
    axes[0].plot(curve[:80], color=color("rope"))
    up = np.arange(1, 80)[rises[:79]]
    axes[0].plot(up, curve[up], ".", color=INK, ms=4, label="higher than\nthe step before")
    axes[0].legend(loc="upper right", fontsize=8)
    mean, spread = random.mean(0), random.std(0)
    band = {"color": color("rope"), "alpha": 0.25, "lw": 0}
    axes[1].fill_between(distances, mean - spread, mean + spread, label="two thirds of draws", **band)
    axes[1].plot(distances, mean, color=color("rope"), label="mean")
    axes[1].set(xscale="log", ylim=(-2.2 * float(spread.max()), 2.2 * float(spread.max())))
    axes[1].minorticks_off()
    axes[1].legend(loc="upper center", fontsize=8, ncols=2, columnspacing=0.8, handlelength=1.2)
    axes[2].plot(peaked, color=color("rope"))
    wanted = int(peaked.argmax())
    titles = ("q = k = 1", "random q and k", f"k asks for {wanted}")
    for ax, title in zip(axes, titles, strict=True):
        ax.set(title=title, xlabel="distance (tokens)")
    axes[0].set_ylabel("logit, over its maximum")
    axes[1].set_ylabel("logit")
    axes[2].set_ylabel("logit")
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


def what_where(distance: Tensor, rope: Mapping[str, Tensor], pope: Mapping[str, Tensor]) -> Picture:
    """A part of the logit against distance, one curve per content of the query; the first peak of each is marked.

    Args:
        distance: tokens from the key to the query.
        rope, pope: what is said of the content -> the curve; the same contents, in the same order.
    """
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.0), layout="constrained")
    shades = plt.get_cmap("cividis")(np.linspace(0.05, 0.85, len(rope)))
    titles = ("RoPE: one pair of channels", "PoPE: its first channel")
    for ax, curves, title in zip(axes, (rope, pope), titles, strict=True):
        for (content, curve), shade in zip(curves.items(), shades, strict=True):
            ax.plot(distance, curve, color=shade, label=content if ax is axes[0] else None)
            ax.plot(distance[curve.argmax()], curve.max(), "o", color=shade, mec="white", ms=7)
        ax.set(title=title, xlabel="distance (tokens)")
    axes[0].set_ylabel("part of the logit")
    fig.legend(title="query channels", loc="outside right center")
    return Picture(
        fig,
        "04_what_where",
        alt=f"Left: {len(rope)} waves of RoPE that differ in height and in the distance where they peak. Right: "
        f"{len(pope)} waves of PoPE that differ in height only and all peak at distance {int(pope_peak(pope))}.",
        caption="The same queries, key (1, 0). In RoPE the content sets height and peak (dots); in PoPE, without a "
        "phase, only height.",
    )


def pope_peak(curves: Mapping[str, Tensor]) -> int:
    """The distance at which all curves peak (ValueError if they do not agree)."""
    (where,) = {int(curve.argmax()) for curve in curves.values()}
    return where


def real_heads(share: Tensor, slow: Tensor, fast_share: Tensor, previous: Tensor) -> Picture:
    """Norm by pair averaged over heads, and attention to the token before against the share of fast pairs.

    Args:
        share: (layers, heads, pairs), part of |q||k| in each pair; slow: (pairs,), which never finish a turn.
        fast_share, previous: (layers, heads), part in the eight fastest pairs, attention on the token before.
    """
    fig, axes = plt.subplots(1, 2, figsize=(7.8, 3.3))
    mean, pairs = share.mean((0, 1)), share.shape[-1]
    axes[0].bar(range(pairs), 100 * mean, color=np.where(slow, color("rope"), "#bbbbbb"))
    axes[0].axhline(100 / pairs, color=INK, lw=0.9, ls=":")
    axes[0].set(title="Where the norm sits", xlabel="pair (fast to slow)", ylabel="part of |q||k| (%)")
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
        alt=f"Left: bars of norm by pair in SmolLM2-135M-Instruct; the {int(slow.sum())} slow ones of {pairs} hold "
        f"{100 * mean[slow].sum():.0f}%. Right: {len(x)} heads; those that look one back use the fast pairs more.",
        caption="SmolLM2-135M-Instruct in 4 bits, recorded: most of the norm sits in slow pairs; heads that look one "
        "back most use fast ones.",
    )


def axial(seen: Mapping[tuple[int, int], Tensor]) -> Picture:
    """Logits over an image from several query patches, on one scale; the query is marked."""
    fig, axes = plt.subplots(1, len(seen), figsize=(8, 2.8), layout="constrained")
    top = max(values.abs().max().item() for values in seen.values())
    for ax, ((row, column), values) in zip(axes, seen.items(), strict=True):
        title = f"query at row {row}, column {column}"
        image = matrix(ax, values, xlabel="column", ylabel="row", limit=top)
        ax.set_title(title, fontsize=9)
        ax.plot(column, row, "s", mfc="none", mec="white", mew=2, ms=9)
        ax.set_aspect("equal")
    fig.colorbar(image, ax=axes, shrink=0.85, label="logit")
    side = len(values)
    return Picture(
        fig,
        "04_axial",
        alt=f"{len(seen)} {side} by {side} maps of logits; the same pattern of rows and columns moves with the query "
        "patch (square).",
        caption="One query, the same key in every patch: the pattern follows the query (square) in both axes.",
    )


def _listed(items: Iterable) -> str:
    """ "a, b and c"."""
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last
