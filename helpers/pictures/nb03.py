"""The pictures of notebook 03: plumbing only. Every function takes numbers and returns a figure."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from .. import plotting
from ..plotting import ACCENT, INK, MUTED, Picture

LEARNED, GIVEN, NOTHING = plotting.color("learned"), plotting.color("sinusoidal"), plotting.color("none")


TEXTS: dict[str, tuple[str, str]] = {
    "03_hero": (
        "Ten small curves along 256 positions: for a trained table smooth waves with periods near 6, 18, 55 and 164 "
        "and a slow drift, for a random one noise.",
        "No formula was given for these waves. The model learned to imitate the attention of a larger one.",
    ),
    "03_visits": (
        "Two bar charts by row of the table: the number of texts that reach a row falls quickly, and so "
        "does its gradient.",
        "Late rows are trained by the few long texts; rows past the longest text are trained by nobody.",
    ),
    "03_rows": (
        "Three annotated grids of words with the table row each one reads, under the conventions of "
        "BERT, OPT and RoBERTa.",
        "The number under each word is the row it reads. With slots, padding on the left moves every word.",
    ),
    "03_emergence": (
        "Four similarity matrices of a position table in training: noise at first, at the end early rows "
        "oppose late rows.",
        "Cosine between the rows of the table at four moments of training. Red: alike; blue: opposite.",
    ),
    "03_scale": (
        "Dots of loss for no position, sinusoidal and learned table, at unit and at small initial scale;"
        " the ranking flips.",
        "Recorded seeds, last 32 positions at the training length. Open: started at scale 1; filled: at 0.02.",
    ),
    "03_norms": (
        "Norm of each row of the position table of MiniLM: flat, a spike at 127, a step up at 128 and a "
        "rise at 509 to 511.",
        "A spike at row 127, a step at 128, a rise at the very end: traces that fit the lengths of its training.",
    ),
    "03_ladder": (
        "Left: power against period with peaks near 164, 55, 18 and 6 and a slow bump that a straight line has too. "
        "Right: ten components hold the trained table.",
        "Four waves a factor of three apart, beside a drift too slow to have a period here: a straight line (dotted) "
        "gives the same bump.",
    ),
    "03_cosine": (
        "Similarity matrix of rows 128 to 255, striped along diagonals, and mean cosine by offset, which rises "
        "again near 6, 12 and 17.",
        "The most similar row is nearly always a neighbor, and yet the cosine rises and falls with distance.",
    ),
    "03_readout": (
        "Position read back against true position: a tight line for the trained table, a shapeless cloud"
        " for the random one.",
        "A linear reader knows where in the text it is, to 14 positions on average; from noise it knows nothing.",
    ),
    "03_order": (
        "Cosines with and without the position table of four reordered pairs, all above 0.95, and of two reworded "
        "ones, below 0.6; and of eight sentences with themselves at later rows: moving [CLS] by one row costs most of "
        "what moving everything costs.",
        "Recorded from the real model: zeroed, order is lost exactly; intact, it hardly counts. Right: mean and range "
        "over eight sentences.",
    ),
    "03_stretch": (
        "Loss before and after fine-tuning, at 128 and at 64 characters, with untrained rows and with an"
        " interpolated table.",
        "Lines: recorded seeds and their mean; large open markers: trained here. Stretching beats "
        "untrained rows at once.",
    ),
    "03_shaw_index": (
        "Seven by seven grid of table rows: constant along diagonals, 0 in the lower left, 2 on the "
        "diagonal, 4 in the upper right.",
        "Five vectors serve every pair: two or more back, one back, here, one ahead, two or more ahead.",
    ),
    "03_shaw_bleu": (
        "BLEU against clipping distance: 12.5 at zero, 25.5 at one, flat from two on; and BLEU by keys, "
        "values, both, neither.",
        "Shaw et al. 2018, Tables 2 and 3 (published numbers, WMT 2014 English-German, development set).",
    ),
    "03_t5_buckets": (
        "Two staircases of bucket against distance: causal with 32 buckets, bidirectional with 16 on "
        "each side and one unused.",
        "Every bucket of T5, in both modes. Hover: the causal staircase under other values of max_distance.",
    ),
    "03_cost": (
        "Trained numbers against longest input on logarithmic axes: a table grows with length, Shaw and "
        "T5 are flat, T5 tiny.",
        "A table pays for every position it may ever meet; distances are paid once. A sinusoid costs nothing.",
    ),
    "03_reach": (
        "Loss against context length: T5 with ten times the reach is lowest and flat, the small-start table is low at "
        "64 and high beyond.",
        "Recorded means, last 32 positions. Pale: as in the race. Bold: the same schemes with room for the optimizer.",
    ),
    "03_deberta": (
        "Four matrices: DeBERTa's terms vary by row or by column within diagonals, T5's bias is constant"
        " along every diagonal.",
        "T5's bias is constant along diagonals. DeBERTa's terms are not: each row (or column) has its own opinion.",
    ),
    "03_race": (
        "Loss against context length for no encoding, sinusoidal, learned table and T5 bias; the table "
        "jumps past its length.",
        "Shaded: recorded seeds; large open markers: trained here. The dashed line is the training length.",
    ),
    "03_t5_heads": (
        "Trained T5 bias of four heads by steps back: within a narrow band in the race, sharp peaks of "
        "four logits with more reach.",
        "What four heads learned about distance. Gray: about as far as Adam can move a bias in the race. Right: ten "
        "times as far.",
    ),
}
"""name -> what is to be seen, for whoever cannot see it; and the visible sentence under the picture."""


def titled(fig: plt.Figure, name: str, interactive=None) -> Picture:
    """A figure of this notebook with its texts."""
    return Picture(fig, name, *TEXTS[name], interactive=interactive)


def waves(real: np.ndarray, noise: np.ndarray, first: int, periods: Sequence[str]) -> plt.Figure:
    """Columns of two arrays (positions, components) as small multiples: a trained table left, a random one right."""
    fig, axes = plt.subplots(real.shape[1], 2, figsize=(7.6, 4.4), sharex=True, sharey="row")
    x = np.arange(len(real)) + first
    for row, pair in enumerate(axes):
        for ax, values, color in zip(pair, (real[:, row], noise[:, row]), (LEARNED, MUTED), strict=True):
            ax.plot(x, values, color=color, linewidth=1.1)
            ax.set(yticks=[], xlim=(x[0], x[-1]))
            ax.spines["left"].set_visible(False)
    for ax, period in zip(axes[:, 0], periods, strict=True):
        ax.set_ylabel(
            f"period\n{period}" if period.isdigit() else period, rotation=0, ha="right", va="center", labelpad=8
        )
    axes[0, 0].set_title("A trained table (MiniLM)")
    axes[0, 1].set_title("A random table")
    for ax in axes[-1]:
        ax.set_xlabel("position")
    return fig


def visits(counts: np.ndarray, gradient: np.ndarray) -> plt.Figure:
    """How often each row is read, and how strongly it is pulled."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 2.9), sharex=True)
    left.bar(np.arange(len(counts)), counts, width=1.0, color=MUTED)
    left.set(title="Texts that reach the row", xlabel="row of the table", ylabel="texts")
    right.bar(np.arange(len(gradient)), gradient, width=1.0, color=LEARNED)
    right.set(title="Gradient the row receives", xlabel="row of the table", ylabel="norm")
    return fig


def rows_by_convention(rows: dict[str, np.ndarray], real: np.ndarray, words: list[list[str]]) -> plt.Figure:
    """The row of the table under each token, one panel a convention; padding is pale."""
    fig, axes = plt.subplots(1, len(rows), figsize=(7.8, 2.5))
    for ax, (name, table) in zip(axes, rows.items(), strict=True):
        labels = np.array(
            [[f"{w}\n{r}" for w, r in zip(*pair, strict=True)] for pair in zip(words, table, strict=True)]
        )
        plotting.heatmap(
            table, mask=~real, annot=labels, fmt="", cmap="cividis", vmin=0, vmax=9, cbar=False, linewidths=1.5,
            linecolor="white", ax=ax, annot_kws={"fontsize": 8},
        )  # fmt: skip
        for i, j in zip(*np.nonzero(~real), strict=True):
            ax.text(j + 0.5, i + 0.5, labels[i, j], ha="center", va="center", fontsize=8, color=MUTED)
        ax.set(title=name, xticks=[], yticks=[])
        ax.grid(False)
    axes[0].set_yticks([0.5, 1.5, 2.5], ["full", "padded left", "padded right"], rotation=0)
    return fig


def similarity(tables: dict[int, np.ndarray]) -> plt.Figure:
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
    return fig


def similarity_slider(tables: dict[int, np.ndarray]):
    """The same as one plotly heat map with a slider over the steps."""
    import plotly.graph_objects as go

    def heat(matrix):
        half = len(matrix) // 2
        matrix = matrix[: 2 * half, : 2 * half].reshape(half, 2, half, 2).mean((1, 3))  # a quarter of the numbers
        return go.Heatmap(
            x0=0.5, dx=2, y0=0.5, dy=2, z=np.round(matrix, 2), zmin=-1, zmax=1, colorscale="RdBu", reversescale=True
        )

    steps = list(tables)
    figure = go.Figure(
        heat(tables[steps[0]]), frames=[go.Frame(data=[heat(m)], name=str(step)) for step, m in tables.items()]
    )
    moves = [
        {"label": str(s), "method": "animate", "args": [[str(s)], {"mode": "immediate", "frame": {"duration": 0}}]}
        for s in steps
    ]
    figure.update_layout(
        width=520, height=520, title_text="Cosine between rows of the table",
        sliders=[{"steps": moves, "currentvalue": {"prefix": "step "}}],
        xaxis_title="row", yaxis={"title": "row", "autorange": "reversed", "scaleanchor": "x"},
    )  # fmt: skip
    return figure


def starts(losses: dict[str, tuple[list[float], list[float]]]) -> plt.Figure:
    """Dots, one a seed: loss with unit-scale tokens (left of each pair) and with everything started small (right)."""
    fig, ax = plt.subplots(figsize=(7.2, 3.0))
    colors = (NOTHING, GIVEN, LEARNED)
    for i, (pair, color) in enumerate(zip(losses.values(), colors, strict=True)):
        for side, values in enumerate(pair):
            x = np.full(len(values), i + (side - 0.5) * 0.34) + np.linspace(-0.05, 0.05, len(values))
            ax.plot(x, values, "os"[side], color=color, markerfacecolor="white" if side == 0 else color, markersize=6)
            where = (i + (side - 0.5) * 0.34, max(values))
            ax.annotate(("unit", "small")[side], where, (0, 7), textcoords="offset points", ha="center", fontsize=9)
    ax.set_xticks(range(len(losses)), list(losses))
    ax.set(ylabel="loss (nats a character)", xlim=(-0.6, len(losses) - 0.4))
    ax.margins(y=0.18)
    ax.grid(axis="x", visible=False)
    return fig


def norms(values: np.ndarray, marks: dict[int, str]) -> plt.Figure:
    """Norm of every row, with names at the rows that stand out; the scale leaves out row 0."""
    fig, ax = plt.subplots(figsize=(7.4, 3.1))
    ax.plot(np.arange(1, len(values)), values[1:], color=LEARNED, linewidth=1.2)
    ax.annotate(
        f"row 0: {values[0]:.1f},\nfar off the scale", (0, 1.03), (14, 0.9), fontsize=9,
        arrowprops={"arrowstyle": "->", "color": INK},
    )  # fmt: skip
    for row, text in marks.items():
        ax.plot(row, values[row], "o", color=ACCENT, markersize=5)
        right = row > 0.8 * len(values)
        ax.annotate(
            text, (row, values[row]), (-9 if right else 9, 2), textcoords="offset points", fontsize=9,
            ha="right" if right else "left", va="center",
        )  # fmt: skip
    ax.axvline(128, color=MUTED, linestyle="--", linewidth=0.9)
    ax.set(xlabel="row (position)", ylabel="norm of the row", ylim=(0.33, 1.06), xlim=(-6, len(values) + 6))
    return fig


def ladder(
    periods: np.ndarray, power: np.ndarray, line: np.ndarray, peaks: dict[str, float], shares: dict[str, np.ndarray]
) -> plt.Figure:
    """Power against period of a table and of a straight line, left; variance held by the first components, right."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.8, 3.1), width_ratios=(1.35, 1))
    left.plot(periods, power / power.max(), color=LEARNED, linewidth=1.3, label="trained")
    left.plot(periods, line / line.max(), color=INK, linewidth=1.3, linestyle=":", label="a straight line")
    for name, peak in peaks.items():
        near = power[np.abs(np.log(periods / peak)) < 0.12].max() / power.max()
        left.annotate(name, (peak, near), (0, 3), textcoords="offset points", ha="center", fontsize=9)
    left.set_xscale("log")
    left.set_xticks([3, 10, 30, 100, 300, 1000], ["3", "10", "30", "100", "300", "1,000"])
    left.minorticks_off()
    left.set(title="Power by period", xlabel="period (positions)", ylabel="power", xlim=(2, 1500), ylim=(0, 1.14))
    left.legend(loc="upper left")
    styles = {
        "trained": {"color": LEARNED, "linestyle": "-"},
        "sinusoidal": {"color": GIVEN, "linestyle": "--"},
        "random": {"color": MUTED, "linestyle": ":"},
    }
    for name, share in shares.items():
        right.plot(np.arange(1, len(share) + 1), 100 * np.cumsum(share), label=name, **styles[name])
    right.set(title="Variance held", xlabel="components kept", ylabel="percent", xlim=(0, 120), ylim=(0, 103))
    right.legend(loc="lower right")
    return fig


def neighbors(matrix: np.ndarray, first: int, offsets: np.ndarray, cosine: np.ndarray) -> plt.Figure:
    """Similarity of some rows, from ``first`` on, on the left; mean cosine by offset on the right."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.8, 3.2), width_ratios=(1.2, 1.25))
    last = first + len(matrix) - 1
    plotting.matrix(
        left,
        matrix,
        title=f"Rows {first} to {last}",
        xlabel="row",
        ylabel="row",
        signed=True,
        limit=1,
        colorbar="cosine",
    )
    ticks = np.arange(0, len(matrix), 32)
    left.set_xticks(ticks, ticks + first)
    left.set_yticks(ticks, ticks + first)
    left.set_box_aspect(1)
    right.plot(offsets, cosine, color=LEARNED, marker="o", markersize=3.5)
    right.set(title="Mean cosine by offset", xlabel="offset between two rows", ylabel="cosine", ylim=(-0.05, 1))
    return fig


def readout(position: np.ndarray, read: dict[str, np.ndarray]) -> plt.Figure:
    """Position read back against the true one, one panel a table."""
    fig, axes = plt.subplots(1, len(read), figsize=(7.4, 3.2), sharey=True)
    for ax, (name, values), color in zip(axes, read.items(), (LEARNED, MUTED), strict=True):
        ax.plot([0, 512], [0, 512], color=INK, linewidth=0.8)
        ax.plot(position, values, ".", color=color, markersize=3)
        ax.set(title=name, xlabel="true position", xlim=(0, 512), ylim=(-120, 640))
    axes[0].set_ylabel("position read back")
    return fig


def order(
    pairs: dict[str, list[float]], yardsticks: dict[str, list[float]], shifted: dict[str, dict[str, list[float]]]
) -> plt.Figure:
    """Cosine of sentence pairs with and without the position table, and of sentences with themselves, moved.

    Args:
        pairs, yardsticks: {"a / b": [with positions, table zeroed]}.
        shifted: {which tokens moved: {rows later: one cosine per sentence}}; drawn are means and ranges.
    """
    fig = plt.figure(figsize=(8.0, 4.2))
    grid = fig.add_gridspec(2, 2, width_ratios=(1.5, 1), height_ratios=(len(pairs), len(yardsticks)))
    right = fig.add_subplot(grid[:, 1])
    groups = (pairs, "Same words, other order", (0.95, 1.003)), (yardsticks, "Other words (whole scale)", (0, 1.05))
    for row, (group, title, limits) in enumerate(groups):  # two scales: on one, four pairs would be a single point
        ax = fig.add_subplot(grid[row, 0])
        for i, (with_, without) in enumerate(group.values()):
            ax.plot([with_, without], [i, i], color="#cccccc", linewidth=1.2, zorder=1)
            ax.plot(with_, i, "o", color=LEARNED, label="with positions" if i == 0 else None)
            ax.plot(without, i, "D", color=NOTHING, markerfacecolor="white", label="table zeroed" if i == 0 else None)
        ax.set_yticks(range(len(group)), [name.replace(" / ", "\n") for name in group], fontsize=8)
        ax.set(title=title, xlabel="cosine", xlim=limits, ylim=(len(group) - 0.4, -0.6))
    fig.axes[1].legend(loc="lower left", fontsize=8)
    looks = {"all": (LEARNED, "-", "o"), "words": (INK, "--", "s"), "[CLS]": (MUTED, ":", "^")}
    names = {"all": "all tokens", "words": "all but [CLS]", "[CLS]": "[CLS] alone"}
    for moved, by_rows in shifted.items():
        color, style, marker = looks[moved]
        values, x = np.array(list(by_rows.values())), np.arange(len(by_rows))
        right.fill_between(x, values.min(1), values.max(1), color=color, alpha=0.15, linewidth=0)
        right.plot(x, values.mean(1), color=color, linestyle=style, marker=marker, markersize=4, label=names[moved])
    right.set_xticks(x, list(by_rows))
    right.set(title=f"{values.shape[1]} sentences, moved", xlabel="rows later", ylim=(0.6, 1.01))
    right.set_ylabel("cosine with itself at row 0")
    right.legend(loc="lower left", fontsize=8, title="moved")
    return fig


def stretched(recorded: list[dict], live: dict | None, short: int) -> plt.Figure:
    """Loss at twice the length before and after a short fine-tuning, for two ways to fill the table."""
    fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.0), sharey=True)
    looks = {"untrained rows": (MUTED, ":", "o"), "interpolated": (LEARNED, "-", "D")}
    for ax, length in zip(axes, (2 * short, short), strict=True):
        for way, (color, style, marker) in looks.items():
            lines = np.array([[run[way][when][length] for when in ("before", "after")] for run in recorded])
            ax.plot([0, 1], lines.T, color=color, linewidth=0.9, alpha=0.6)
            ax.plot([0, 1], lines.mean(0), color=color, linestyle=style, marker=marker, label=way)
            if live is not None:
                here = [live[way][when][length] for when in ("before", "after")]
                ax.plot([0, 1], here, marker, color=color, markersize=10, markerfacecolor="none")
        ax.set_xticks([0, 1], ["before", "after 60 steps"])
        ax.set(title=f"Read at {length}", xlim=(-0.25, 1.25))
    axes[0].set_ylabel("loss, last 32 (nats a character)")
    axes[1].legend(loc="upper right")
    return fig


def clipped(index: np.ndarray, k: int) -> plt.Figure:
    """The row of Shaw's table for every pair, annotated."""
    fig, ax = plt.subplots(figsize=(4.6, 3.7))
    sns.heatmap(
        index, annot=True, fmt="d", cmap=sns.color_palette(plotting.DIVERGING, 2 * k + 1), linewidths=1.2, ax=ax,
        cbar=False, square=True, annot_kws={"fontsize": 9},
    )  # fmt: skip
    ax.set(xlabel="key position j", ylabel="query position i", title=f"Row of the table, k = {k}")
    ax.grid(False)
    return fig


def bleu(by_k: dict[str, float], by_place: dict[str, float]) -> plt.Figure:
    """Two published tables: BLEU by clipping distance, and by where the vectors enter."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 2.9), sharey=True)
    color = plotting.color("shaw")
    left.plot(range(len(by_k)), list(by_k.values()), color=color, marker="<")
    left.set_xticks(range(len(by_k)), list(by_k))
    left.set(title="How far to tell apart", xlabel="clipping distance k", ylabel="BLEU", ylim=(10, 28))
    bars = right.bar(range(len(by_place)), list(by_place.values()), color=color, width=0.6)
    right.bar_label(bars, padding=2, fontsize=9)
    right.set_xticks(range(len(by_place)), [name.replace(" ", "\n", 1) for name in by_place])
    right.set(title="Where they enter")
    right.grid(axis="x", visible=False)
    return fig


def buckets(distance: np.ndarray, both: np.ndarray, causal: np.ndarray) -> plt.Figure:
    """Bucket against distance in both modes, every bucket a step."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.8, 3.3))
    color = plotting.color("t5")
    past = distance <= 0
    left.step(-distance[past], causal[past], where="mid", color=color)
    left.set(title="Causal: 32 buckets for the past", xlabel="steps back", ylabel="bucket")
    left.annotate("last bucket\nfrom 113 on", (113, 31), (70, 17), arrowprops={"arrowstyle": "->"}, fontsize=9)
    left.annotate("one distance each,\nup to 15", (15, 15), (32, 5), arrowprops={"arrowstyle": "->"}, fontsize=9)
    left.set(xlim=(0, 140), ylim=(-1, 33))
    right.step(distance, both, where="mid", color=color)
    right.axhline(16, color=ACCENT, linewidth=1, linestyle="--")
    right.text(-136, 16.7, "bucket 16: never used", color=ACCENT, fontsize=9)
    right.annotate("from 91 on", (-91, 15), (-125, 6.5), arrowprops={"arrowstyle": "->"}, fontsize=9)
    right.set(title="Both directions: 16 each", xlabel="key minus query", xlim=(-140, 140), ylim=(-1, 33))
    return fig


def bucket_slider(curves: dict[int, np.ndarray]):
    """Bucket against steps back as plotly lines, a slider over max_distance."""
    import plotly.graph_objects as go

    shapes = {"mode": "lines", "line": {"shape": "hvh", "color": plotting.color("t5")}}
    names = list(curves)
    figure = go.Figure(
        go.Scatter(y=curves[names[0]], **shapes),
        frames=[go.Frame(data=[go.Scatter(y=c, **shapes)], name=str(n)) for n, c in curves.items()],
    )
    moves = [
        {"label": str(n), "method": "animate", "args": [[str(n)], {"mode": "immediate", "frame": {"duration": 0}}]}
        for n in names
    ]
    figure.update_layout(
        width=640, height=420, xaxis_title="steps back", yaxis_title="bucket",
        sliders=[{"steps": moves, "currentvalue": {"prefix": "max_distance "}}],
    )  # fmt: skip
    return figure


def cost(lengths: np.ndarray, parameters: dict[str, np.ndarray]) -> plt.Figure:
    """Parameters spent on position against the longest input."""
    fig, ax = plt.subplots(figsize=(7.2, 3.2))
    for name, values in parameters.items():
        ax.plot(lengths, values, **plotting.line(name, markevery=2, markersize=4))
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(lengths[::2], [f"{n:,}" for n in lengths[::2]])
    ax.minorticks_off()
    ax.set(xlabel="longest input (tokens)", ylabel="trained numbers", xlim=(lengths[0], lengths[-1] * 1.1))
    ax.legend(loc="upper left")
    return fig


def biases(by_gain: dict[str, np.ndarray], reach: float) -> plt.Figure:
    """Trained T5 bias of every head against distance, the first so far, with what Adam could reach."""
    fig, axes = plt.subplots(1, len(by_gain), figsize=(7.6, 3.1), sharey=True)
    for ax, (name, values) in zip(axes, by_gain.items(), strict=True):
        for head, row in enumerate(values):
            ax.plot(row, color=sns.color_palette("colorblind")[head % 8], linestyle=("-", "--", "-.", ":")[head % 4],
                    marker="o", markersize=3, linewidth=1.3, label=f"head {head + 1}")  # fmt: skip
        ax.set(title=name, xlabel="steps back")
    axes[0].axhspan(-reach, reach, color=MUTED, alpha=0.18, linewidth=0)
    axes[0].text(0.98, reach, "as far as Adam can go", ha="right", va="bottom", fontsize=9, color=INK,
                 transform=axes[0].get_yaxis_transform())  # fmt: skip
    axes[0].set_ylabel("bias (logits)")
    axes[-1].legend(loc="upper right")
    return fig


def freed(lengths: Sequence[int], in_race: dict[str, list[float]], after: dict[str, list[float]]) -> plt.Figure:
    """Loss by length of two schemes, as they enter the race (pale) and with the optimizer's limit removed (bold)."""
    fig, ax = plt.subplots(figsize=(7.2, 3.3))
    ways = {"learned": "started at 0.02", "t5": "ten times the reach"}
    for scheme, values in in_race.items():
        name = plotting.label(scheme)
        ax.plot(lengths, values, **plotting.line(scheme, alpha=0.5, linewidth=1.2, label=f"{name}, as in the race"))
        ax.plot(lengths, after[scheme], **plotting.line(scheme, linewidth=2.6, label=f"{name}, {ways[scheme]}"))
    ax.axvline(lengths[0], color=MUTED, linewidth=0.9, linestyle="--", zorder=0)
    ax.set_xscale("log", base=2)
    ax.set_xticks(lengths, [str(n) for n in lengths])
    ax.minorticks_off()
    ax.set(
        xlabel="context length at read-out (characters)", ylabel="loss, last 32 (nats a character)", ylim=(1.55, 3.1)
    )
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def terms(panels: dict[str, np.ndarray]) -> plt.Figure:
    """Square matrices side by side on one signed scale."""
    fig, axes = plt.subplots(1, len(panels), figsize=(7.8, 2.7), sharey=True)
    top = max(np.abs(m).max() for m in panels.values())
    for ax, (name, matrix) in zip(axes, panels.items(), strict=True):
        image = plotting.matrix(ax, matrix, title=name, xlabel="key", ylabel="", signed=True, limit=top)
        ax.set_box_aspect(1)
        ax.title.set_fontsize(9.5)
    axes[0].set_ylabel("query")
    bar = fig.colorbar(image, ax=axes, shrink=0.8, pad=0.01)
    bar.set_label("logit")
    bar.outline.set_visible(False)
    return fig
