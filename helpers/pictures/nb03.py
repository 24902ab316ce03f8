"""The pictures of notebook 03: plumbing only. Every function takes numbers and returns a picture with its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from .. import plotting
from ..plotting import ACCENT, INK, MUTED, Picture

LEARNED, GIVEN, NOTHING = plotting.color("learned"), plotting.color("sinusoidal"), plotting.color("none")


def waves(real: np.ndarray, noise: np.ndarray, first: int, directions: Mapping[str, int]) -> Picture:
    """Principal coordinates along the positions: a trained table left, a random one right.

    Args:
        real, noise: (positions, components), strongest component first.
        first: position of the first row.
        directions: period, as it is written -> which component.
    """
    fig, axes = plt.subplots(len(directions), 2, figsize=(7.6, 4.2), sharex=True, sharey="row")
    x = np.arange(len(real)) + first
    for pair, (period, j) in zip(axes, directions.items(), strict=True):
        for ax, values, color in zip(pair, (real[:, j], noise[:, j]), (LEARNED, MUTED), strict=True):
            ax.plot(x, values, color=color, linewidth=1.1)
            ax.set(yticks=[], xlim=(x[0], x[-1]))
            ax.spines["left"].set_visible(False)
        name = f"period\n{period}" if period.isdigit() else period
        pair[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
    axes[0, 0].set_title("A trained table (MiniLM)")
    axes[0, 1].set_title("A table of noise")
    for ax in axes[-1]:
        ax.set_xlabel("position")
    known = [period for period in directions if period.isdigit()]
    return Picture(
        fig,
        "03_hero",
        alt=f"{2 * len(directions)} small curves along {len(real)} positions: for a trained table smooth waves with "
        f"periods near {', '.join(known[:-1])} and {known[-1]} and a slow drift, for a random one noise.",
        caption="No formula was given for these waves. The model learned to imitate the attention of a larger one.",
    )


def five_rows(
    words: Sequence[str],
    tokens: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
) -> Picture:
    """Token vectors, rows of the table, their sum, and the attention weights that follow, with every number.

    Args:
        words: T of them.
        tokens, rows: (T, d).
        weights: (T, T), query down, key across.
    """
    fig, axes = plt.subplots(1, 4, figsize=(8, 2.5), width_ratios=(1, 1, 1, 1.45))
    numbers = {"fmt": ".1f", "annot_kws": {"fontsize": 8}, "linewidths": 1, "cbar": False, "annot": True}
    top = np.abs(tokens + rows).max()
    parts = {"token": tokens, "+  its row": rows, "=  sum": tokens + rows}
    for ax, (title, values) in zip(axes, parts.items(), strict=False):
        plotting.heatmap(values + 0.0, ax, cmap=plotting.DIVERGING, vmin=-top, vmax=top, **numbers)
        ax.set_title(title, fontsize=9)
        ax.set(xticks=[], yticks=[])
    plotting.heatmap(weights, axes[3], cmap="cividis", vmin=0, vmax=1, **{**numbers, "fmt": ".2f"})
    axes[3].set_title("attention weights", fontsize=9)
    axes[3].set(xticks=np.arange(len(words)) + 0.5, yticks=[])
    axes[3].set_xticklabels(words, rotation=35, ha="right", fontsize=8)
    for ax, labels in ((axes[0], words), (axes[1], [f"row {i}" for i in range(len(words))])):
        ax.set_yticks(np.arange(len(words)) + 0.5, labels, rotation=0, fontsize=8)
    twice = [i for i, word in enumerate(words) if words.count(word) > 1]
    favorites = [words[weights[i].argmax()] for i in twice]
    return Picture(
        fig,
        "03_five_rows",
        alt=f"Four small annotated grids for {' '.join(words)}: token vectors, rows of the table, their sums, and "
        f"attention weights; the first {words[twice[0]]!r} attends most to {favorites[0]!r}, the last to "
        f"{favorites[-1]!r}.",
        caption=f"Both {words[twice[0]]!r} have one token vector, two rows, and so two rows of attention weights.",
    )


def similarity(tables: Mapping[int, np.ndarray]) -> Picture:
    """Similarity matrices of one table at several steps of training."""
    fig, axes = plt.subplots(1, len(tables), figsize=(7.8, 2.4), sharey=True)
    for ax, (step, matrix) in zip(axes, tables.items(), strict=True):
        image = plotting.matrix(ax, matrix, title=f"step {step}", xlabel="row", ylabel="", signed=True, limit=1)
        ax.set_box_aspect(1)
        ax.set(xticks=[0, len(matrix) - 1], yticks=[0, len(matrix) - 1])
    axes[0].set_ylabel("row")
    bar = fig.colorbar(image, ax=axes, shrink=0.75, pad=0.01)
    bar.set_label("cosine")
    bar.outline.set_visible(False)
    return Picture(
        fig,
        "03_emergence",
        alt=f"{len(tables)} similarity matrices of a position table in training: noise at step {min(tables)}, at step "
        f"{max(tables)} early rows oppose late rows (cosine of the first and the last: {matrix[0, -1]:.1f}).",
        caption="Cosine between the rows of the table at moments of training. Red: alike; blue: opposite.",
    )


def norms(values: np.ndarray, marks: Sequence[int]) -> Picture:
    """Norm of every row, with names at the rows that stand out; the scale leaves out row 0."""
    fig, ax = plt.subplots(figsize=(7.4, 2.8))
    ax.plot(np.arange(1, len(values)), values[1:], color=LEARNED, linewidth=1.2)
    ax.annotate(
        f"row 0: {values[0]:.1f},\nfar off the scale", (0, 1.03), (14, 0.88), fontsize=9,
        arrowprops={"arrowstyle": "->", "color": INK},
    )  # fmt: skip
    for row in marks:
        ax.plot(row, values[row], "o", color=ACCENT, markersize=5)
        right = row > 0.8 * len(values)
        ax.annotate(
            str(row), (row, values[row]), (-9 if right else 9, 2), textcoords="offset points", fontsize=9,
            ha="right" if right else "left", va="center",
        )  # fmt: skip
    ax.axvline(128, color=MUTED, linestyle="--", linewidth=0.9)
    ax.set(xlabel="row (position)", ylabel="norm of the row", ylim=(0.33, 1.06), xlim=(-6, len(values) + 6))
    return Picture(
        fig,
        "03_norms",
        alt=f"Norm of each row of the position table of MiniLM: {values[0]:.1f} at row 0, else near "
        f"{np.median(values):.1f}, with a spike at 127, a step up at 128 and a rise at 509 to 511.",
        caption="A spike at row 127, a step at 128, a rise at the very end: traces that fit the lengths of its "
        "training.",
    )


def ladder(periods: np.ndarray, power: np.ndarray, line: np.ndarray, peaks: Sequence[float]) -> Picture:
    """Power against period, of a table and of a straight line."""
    fig, ax = plt.subplots(figsize=(6.6, 3.0))
    ax.plot(periods, power / power.max(), color=LEARNED, linewidth=1.4, label="trained table")
    ax.plot(periods, line / line.max(), color=INK, linewidth=1.4, linestyle=":", label="a straight line")
    for peak in peaks:
        near = power[np.abs(np.log(periods / peak)) < 0.12].max() / power.max()
        ax.annotate(f"{peak:.0f}", (peak, near), (0, 3), textcoords="offset points", ha="center", fontsize=10)
    ax.set_xscale("log")
    ax.set_xticks([3, 10, 30, 100, 300, 1000], ["3", "10", "30", "100", "300", "1,000"])
    ax.minorticks_off()
    ax.set(xlabel="period (positions)", ylabel="power", xlim=(2, 1500), ylim=(0, 1.14))
    ax.legend(loc="upper left")
    return Picture(
        fig,
        "03_ladder",
        alt=f"Power against period of the trained table, with peaks near {', '.join(f'{p:.0f}' for p in peaks[:-1])} "
        f"and {peaks[-1]:.0f} and a slow bump that a straight line has too.",
        caption="Four waves a factor of three apart, beside a drift too slow to have a period here: a straight line "
        "(dotted) has its bump there too.",
    )


def directions(shares: Mapping[str, np.ndarray]) -> Picture:
    """Variance held by the first components of three tables, and how many hold nine tenths."""
    fig, ax = plt.subplots(figsize=(5.6, 2.9))
    styles = {
        "trained": {"color": LEARNED, "linestyle": "-"},
        "sinusoidal": {"color": GIVEN, "linestyle": "--"},
        "random": {"color": MUTED, "linestyle": ":"},
    }
    needed = {}
    for name, share in shares.items():
        held = 100 * np.cumsum(share)
        needed[name] = int(np.argmax(held >= 90)) + 1
        ax.plot(np.arange(1, len(share) + 1), held, label=name, **styles[name])
        ax.plot(needed[name], held[needed[name] - 1], "o", color=styles[name]["color"], markersize=5)
        ax.annotate(f"{needed[name]}", (needed[name], held[needed[name] - 1]), (7, -16), textcoords="offset points")
    ax.axhline(90, color=MUTED, linewidth=0.9, linestyle="--", zorder=0)
    ax.set(xlabel="directions kept, strongest first", ylabel="variance held, %", ylim=(0, 103))
    ax.set_xlim(0, 1.1 * max(needed.values()))
    ax.legend(loc="lower right")
    return Picture(
        fig,
        "03_directions",
        alt=f"Variance against directions kept: {needed['trained']} directions hold 90% of the trained table's "
        f"variance, {needed['sinusoidal']} of a sinusoidal one's, {needed['random']} of noise.",
        caption="How many directions hold nine tenths of the variance (dashed line), for three tables of one size.",
    )


def order(
    pairs: Mapping[str, Sequence[float]],
    yardsticks: Mapping[str, Sequence[float]],
    shifted: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> Picture:
    """Cosine of sentence pairs with and without the position table, and of sentences with themselves, moved.

    Args:
        pairs, yardsticks: {"a / b": [with positions, table zeroed]}.
        shifted: {sentence: {which tokens moved: {rows later: cosine}}}; drawn are means and ranges.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(8.0, 3.9), width_ratios=(1.25, 1))
    for i, (with_, without) in enumerate([*pairs.values(), *yardsticks.values()]):
        left.plot(without, i - 0.14, "D", color=NOTHING, mfc="white", label=None if i else "table zeroed")
        left.plot(with_, i + 0.14, "o", color=LEARNED, label=None if i else "with its table")
        for value, y, color in ((without, i - 0.14, INK), (with_, i + 0.14, LEARNED)):
            left.annotate(f"{value:.3f}", (value, y), (-8, 0), textcoords="offset points", fontsize=8, va="center",
                          ha="right", color=color)  # fmt: skip
    names = [name.replace(" / ", "\n") for name in (*pairs, *yardsticks)]
    left.set_yticks(range(len(names)), names, fontsize=8)
    left.axhline(len(pairs) - 0.5, color=MUTED, linewidth=0.9)
    left.set(title="Two sentences", xlabel="cosine", xlim=(-0.15, 1.06), ylim=(len(names) - 0.4, -0.6))
    left.grid(axis="y", visible=False)
    left.legend(loc="lower right", fontsize=8)
    looks = {"all": (LEARNED, "-", "o"), "words": (INK, "--", "s"), "[CLS]": (MUTED, ":", "^")}
    said = {"all": "all tokens", "words": "all but [CLS]", "[CLS]": "[CLS] alone"}
    later = list(next(iter(shifted.values()))["all"])
    for moved, (color, style, marker) in looks.items():
        values = np.array([[ways[moved][by] for ways in shifted.values()] for by in later])  # (rows later, sentences)
        x = np.arange(len(later))
        right.fill_between(x, values.min(1), values.max(1), color=color, alpha=0.15, linewidth=0)
        right.plot(x, values.mean(1), color=color, linestyle=style, marker=marker, markersize=4, label=said[moved])
    right.set_xticks(x, later)
    right.set(title="Read at later rows", xlabel="rows later", ylabel="cosine with itself at row 0")
    right.set(ylim=(0.6, 1.01))
    right.legend(loc="lower left", fontsize=8, title="moved")
    low = min(with_ for with_, _ in pairs.values())
    high = max(with_ for with_, _ in yardsticks.values())
    return Picture(
        fig,
        "03_order",
        alt=f"Cosines of {len(pairs)} reordered pairs, 1.000 with the table zeroed and {low:.3f} or more with it, and "
        f"of {len(yardsticks)} reworded ones, at most {high:.2f} with it; and of sentences with themselves at later "
        f"rows: moving [CLS] by one row costs most of what moving everything costs.",
        caption=f"Recorded from the real model: zeroed, order is lost exactly; intact, it counts for little. Right: "
        f"mean and range over {values.shape[1]} sentences.",
    )


def stretched(recorded: Sequence[Mapping], short: int) -> Picture:
    """Loss at twice the length before and after a short fine-tuning, for two ways to fill the table."""
    fig, axes = plt.subplots(1, 2, figsize=(7.4, 2.9), sharey=True)
    looks = {"untrained rows": (MUTED, ":", "o"), "interpolated": (LEARNED, "-", "D")}
    before = {}
    for ax, length in zip(axes, (2 * short, short), strict=True):
        for way, (color, style, marker) in looks.items():
            lines = np.array([[run[way][when][length] for when in ("before", "after")] for run in recorded])
            ax.plot([0, 1], lines.T, color=color, linewidth=0.9, alpha=0.6)
            ax.plot([0, 1], lines.mean(0), color=color, linestyle=style, marker=marker, label=way)
            before.setdefault(way, lines.mean(0)[0])
        ax.set_xticks([0, 1], ["before", "after 60 steps"])
        ax.set(title=f"Read at {length}", xlim=(-0.25, 1.25))
    axes[0].set_ylabel("loss (nats per character)")
    axes[1].legend(loc="upper right")
    return Picture(
        fig,
        "03_stretch",
        alt=f"Loss before and after fine-tuning. At {2 * short}, before: {before['untrained rows']:.2f} with untrained "
        f"rows, {before['interpolated']:.2f} with an interpolated table; at {short} the stretched table is worse.",
        caption=f"{len(recorded)} recorded seeds and their mean, last 32 characters. Stretching beats untrained rows "
        "at once.",
    )


def clipped(index: np.ndarray, k: int, words: Sequence[str]) -> Picture:
    """The row of Shaw's table for every pair, annotated."""
    fig, ax = plt.subplots(figsize=(4.8, 3.2))
    sns.heatmap(
        index, annot=True, fmt="d", cmap=sns.color_palette(plotting.DIVERGING, 2 * k + 1), linewidths=1.2, ax=ax,
        cbar=False, square=True, annot_kws={"fontsize": 9}, xticklabels=words, yticklabels=words,
    )  # fmt: skip
    ax.tick_params(axis="y", rotation=0)
    ax.tick_params(axis="x", rotation=0)
    ax.set(xlabel="key", ylabel="query")
    ax.grid(False)
    return Picture(
        fig,
        "03_shaw_index",
        alt=f"{len(words)} by {len(words)} grid of table rows for {' '.join(words)}: constant along diagonals, 0 in "
        f"the lower left, {k} on the diagonal, {2 * k} in the upper right.",
        caption=f"Which of the {2 * k + 1} vectors serves which pair: {k} or more back, ..., here, ..., {k} or more "
        "ahead.",
    )


def buckets(distance: np.ndarray, both: np.ndarray, causal: np.ndarray) -> Picture:
    """Bucket against distance in both modes, every bucket a step."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.8, 3.2))
    color, past = plotting.color("t5"), distance <= 0
    last, last_both = (int(min(-distance[past & (b == b[past].max())])) for b in (causal, both))
    missing = sorted(set(range(both.max() + 1)) - set(both))
    left.step(-distance[past], causal[past], where="mid", color=color)
    left.set(title="Causal: 32 buckets for the past", xlabel="steps back", ylabel="bucket")
    arrow = {"arrowprops": {"arrowstyle": "->"}, "fontsize": 9}
    left.annotate(f"last bucket\nfrom {last} on", (last, 31), (70, 17), **arrow)
    left.annotate("one distance each,\nup to 15", (15, 15), (32, 5), **arrow)
    left.set(xlim=(0, 140), ylim=(-1, 33))
    right.step(distance, both, where="mid", color=color)
    for empty in missing:
        right.axhline(empty, color=ACCENT, linewidth=1, linestyle="--")
        right.text(-136, empty + 0.7, f"bucket {empty}: never used", color=ACCENT, fontsize=9)
    right.annotate(f"from {last_both} on", (-last_both, 15), (-125, 6.5), **arrow)
    right.set(title="Both directions: 16 each", xlabel="key minus query", xlim=(-140, 140), ylim=(-1, 33))
    return Picture(
        fig,
        "03_t5_buckets",
        alt=f"Two staircases of bucket against distance: causal with 32 buckets, the last from {last} on; both "
        f"directions with 16 on each side, the last from {last_both} on, and bucket {missing[0]} never used.",
        caption="Every bucket of T5, in both modes.",
    )


def biases(heads: np.ndarray) -> Picture:
    """Trained T5 bias of every head against distance.

    Args:
        heads: (heads, steps back), in logits.
    """
    fig, ax = plt.subplots(figsize=(6.4, 2.9))
    for head, row in enumerate(heads):
        ax.plot(row, color=sns.color_palette("colorblind")[head % 8], linestyle=("-", "--", "-.", ":")[head % 4],
                marker="o", markersize=3, linewidth=1.3, label=f"head {head + 1}")  # fmt: skip
    ax.axhline(0, color=MUTED, linewidth=0.9, zorder=0)
    ax.set(xlabel="steps back", ylabel="bias (logits)")
    ax.legend(loc="upper right")
    return Picture(
        fig,
        "03_t5_heads",
        alt=f"Trained T5 bias of {len(heads)} heads by steps back: {heads[:, 1].min():.1f} to {heads[:, 1].max():.1f} "
        f"logits at one step back, {heads[:, -1].mean():.1f} on average at {heads.shape[1] - 1}.",
        caption="What four heads learned about distance, each in its own way (recorded).",
    )


def starts(losses: Mapping[str, Sequence[float]]) -> Picture:
    """Dots, one per seed: loss of every way to start, one row each; the first word of a name is its scheme."""
    fig, ax = plt.subplots(figsize=(7.4, 0.34 * len(losses) + 0.8))
    for i, (name, values) in enumerate(losses.items()):
        scheme = name.partition(":")[0]
        ax.plot(values, np.full(len(values), i), **plotting.line(scheme, linestyle="none", markersize=6, alpha=0.8))
        ax.annotate(f"{np.mean(values):.2f}", (max(values), i), (9, 0), textcoords="offset points", va="center",
                    fontsize=9)  # fmt: skip
    ax.set_yticks(range(len(losses)), list(losses))
    ax.set(xlabel="loss (nats per character)", ylim=(len(losses) - 0.5, -0.5))
    ax.margins(x=0.12)
    ax.grid(axis="y", visible=False)
    said = "; ".join(f"{name.replace(':', ',')} {np.mean(values):.2f}" for name, values in losses.items())
    return Picture(
        fig,
        "03_scale",
        alt=f"Dots of loss at the trained length by scheme and initial scale, means: {said}.",
        caption="Recorded seeds of the first race, last 32 characters at the trained length; their mean beside them.",
    )
