"""The pictures of notebook 01: plumbing only. What is drawn is computed in the notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import seaborn as sns
import torch
from torch import Tensor

from .. import plotting
from ..plotting import ACCENT, INK, MUTED

if TYPE_CHECKING:
    from ..race import Band, Result

BLUE, ORANGE, SAND = "#0173b2", "#de8f05", "#f3d9b8"


def same_vectors(left: np.ndarray, right: np.ndarray, order: Sequence[int], words: Sequence[str]) -> plt.Figure:
    """Output vectors (T, d) of a sentence and of its shuffle as colored strips, equal ones joined by a line."""
    fig, ax = plt.subplots(figsize=(7.6, 3.7))
    n = len(words)
    for x, rows, names in ((0, left, words), (2.2, right, [words[i] for i in order])):
        ax.imshow(rows, extent=(x, x + 1, n - 0.5, -0.5), cmap=plotting.DIVERGING, vmin=-1.6, vmax=1.6, zorder=2)
        ax.hlines(np.arange(n - 1) + 0.5, x, x + 1, color="white", lw=4, zorder=3)
        for seat, word in enumerate(names):
            ax.text(x - 0.04 if x == 0 else x + 1.04, seat, word, ha="right" if x == 0 else "left", va="center")
    for seat, old in enumerate(order):
        ax.plot([1.03, 2.17], [old, seat], color=INK if seat != old else MUTED, lw=1.6)
    ax.set(xlim=(-0.45, 3.65), ylim=(n - 0.4, -0.6), aspect="auto")
    ax.axis("off")
    ax.set_title("What attention computes for each word of the two sentences")
    return fig


def attention_maps(maps: Sequence[np.ndarray], names: Sequence[Sequence[str]], titles: Sequence[str]) -> plt.Figure:
    """Two annotated attention maps (T, T), query by key."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.6))
    look = {"annot": True, "fmt": ".2f", "vmin": 0, "vmax": 0.7, "cmap": "cividis", "cbar": False, "square": True}
    for ax, matrix, words, title in zip(axes, maps, names, titles, strict=True):
        sns.heatmap(matrix, ax=ax, xticklabels=words, yticklabels=words, **look)
        ax.set(title=title, xlabel="key")
        ax.tick_params(length=0, labelrotation=0)
    axes[0].set_ylabel("query")
    return fig


def shuffled_maps(matrix: np.ndarray, words: Sequence[str], orders: Mapping[str, Sequence[int]]) -> go.Figure:
    """One attention map (T, T) under several shuffles, with a slider: name -> order."""
    figure = go.Figure()
    for n, order in enumerate(orders.values()):
        names = [f"{words[i]} ({seat})" for seat, i in enumerate(order)]
        figure.add_heatmap(
            z=matrix[np.ix_(order, order)], x=names, y=names, visible=n == 0, zmin=0, zmax=0.7,
            colorscale="Cividis", texttemplate="%{z:.2f}",
        )  # fmt: skip
    steps = [
        {"label": name, "method": "update", "args": [{"visible": [n == m for m in range(len(orders))]}]}
        for n, name in enumerate(orders)
    ]
    figure.update_layout(
        sliders=[{"steps": steps, "currentvalue": {"prefix": "order: "}, "pad": {"t": 40}}],
        yaxis={"autorange": "reversed", "title": "query"}, xaxis_title="key (seat)", width=600, height=540,
        title="attention weights", margin={"l": 90, "t": 50},
    )  # fmt: skip
    return figure


def violations(cases: Mapping[str, tuple[float | None, float]]) -> plt.Figure:
    """Case -> (violation of equivariance or None, violation of invariance), on a log axis with a place for zero."""
    fig, ax = plt.subplots(figsize=(7.8, 3.3))
    for row, (moved, still) in enumerate(cases.values()):
        for gap, marker, shade in ((moved, "o", BLUE), (still, "D", ACCENT)):
            if gap is not None:
                face = shade if gap < 1e-9 else "none"
                ax.plot(max(gap, 1e-5), row, marker, color=shade, markersize=9, markerfacecolor=face)
    ax.plot([], [], "o", color=BLUE, label="equivariant:  f(PX) = P f(X)")
    ax.plot([], [], "D", color=ACCENT, label="invariant:  f(PX) = f(X)")
    ax.axvspan(2e-6, 5e-5, color="#eef5ee", zorder=0)
    ax.set_xscale("log")
    ax.set(xlim=(2e-6, 20), ylim=(len(cases) - 0.4, -0.6))
    ax.set_xlabel("largest violation over all shuffles (filled: the property holds)")
    ax.set_xticks([1e-5, 1e-3, 1e-2, 0.1, 1, 10], ["0", "0.001", "0.01", "0.1", "1", "10"])
    ax.set_yticks(range(len(cases)), list(cases))
    ax.minorticks_off()
    fig.legend(loc="outside upper right", ncols=2)
    return fig


def state_paths(paths: Mapping[str, np.ndarray]) -> plt.Figure:
    """Sentence -> states (T + 1, 2) of a recurrent network, drawn as walks in the plane."""
    offsets = [(8, -4), (-8, 4), (-8, -4), (7, -14), (-4, 8), (11, -4)]  # of the labels, in points
    fig, axes = plt.subplots(1, 2, figsize=(7.8, 3.6), sharex=True, sharey=True)
    for ax, (sentence, path) in zip(axes, paths.items(), strict=True):
        ax.plot(*path.T, color=MUTED, lw=1.2, zorder=1)
        ax.scatter(*path.T, c=np.arange(len(path)), cmap="cividis", s=45, zorder=2)
        for point, word, (x, y) in zip(path, ["start", *sentence.split()], offsets, strict=False):
            align = "left" if x > 0 else "right"
            ax.annotate(word, point, xytext=(x, y), textcoords="offset points", fontsize=9, ha=align)
        ax.plot(*path[-1], "o", markersize=14, markerfacecolor="none", color=ACCENT)
        ax.set(title=sentence, xlabel="first number of the state")
        ax.margins(0.3, 0.15)
    axes[0].set_ylabel("second number")
    return fig


def told_apart(counts: Mapping[str, int]) -> plt.Figure:
    """Architecture -> number of orders of one sentence that it gives a summary of their own."""
    top = max(counts.values())
    fig, ax = plt.subplots(figsize=(7.6, 3.1))
    ax.barh(list(counts), counts.values(), color=[MUTED if n < top else BLUE for n in counts.values()], height=0.62)
    for row, n in enumerate(counts.values()):
        ax.text(n + 0.8, row, str(n), va="center", weight="bold", color=INK)
    ax.invert_yaxis()
    ax.grid(False)
    ax.spines["bottom"].set_visible(False)
    ax.set(xlim=(0, 1.1 * top), xticks=[], title=f"Orders of one sentence told apart, of {top}")
    ax.tick_params(axis="y", length=0)
    return fig


def schemes_told_apart(counts: Mapping[str, int]) -> plt.Figure:
    """Scheme -> number of orders told apart, as bars in the colors of the schemes."""
    fig, ax = plt.subplots(figsize=(7.6, 3.4))
    rows = range(len(counts))
    ax.barh(rows, counts.values(), color=[plotting.color(name) for name in counts], height=0.66)
    for row, n in enumerate(counts.values()):
        ax.text(n + 0.8, row, str(n), va="center", weight="bold", color=INK)
    ax.set_yticks(rows, [plotting.label(name) for name in counts])
    ax.invert_yaxis()
    ax.grid(False)
    ax.spines["bottom"].set_visible(False)
    ax.set(xlim=(0, 66), xticks=[])
    ax.tick_params(axis="y", length=0)
    return fig


def task_scores(scores: Mapping[tuple[str, str], Sequence[float]]) -> plt.Figure:
    """(task, scheme) -> one accuracy a seed, 0 to 1, as points."""
    fig, ax = plt.subplots(figsize=(7.4, 3))
    for place, ((_, scheme), values) in enumerate(scores.items()):
        spread = place + np.linspace(-0.12, 0.12, len(values))
        style = plotting.line(scheme, linestyle="none", markersize=9, alpha=0.85)
        ax.plot(spread, 100 * np.array(values), **style)
    ax.axhline(50, color=INK, lw=1, ls="--")
    ax.axvline(2.5, color="white", lw=6)
    ax.text(1.5, 52, "chance", fontsize=9, color=INK, ha="center")
    ax.set_xticks(range(len(scores)), [f"{task} task\n{plotting.label(scheme)}" for task, scheme in scores])
    ax.set(xlim=(-0.5, len(scores) - 0.5), ylim=(42, 104), ylabel="accuracy (%)")
    return fig


def bos_share(weights: np.ndarray) -> plt.Figure:
    """Uniform causal attention (T, T), and its first column."""
    fig, axes = plt.subplots(1, 2, figsize=(7.8, 3.3))
    image = plotting.matrix(axes[0], weights, title="uniform causal attention", limit=0.5)
    bar = fig.colorbar(image, ax=axes[0], shrink=0.9, extend="max", label="weight")  # seat 0 gives BOS the weight 1
    bar.outline.set_visible(False)
    axes[0].add_patch(plt.Rectangle((-0.5, -0.5), 1, len(weights), fill=False, ec=ACCENT, lw=2))
    axes[1].plot(weights[:, 0], "o-", color=ACCENT)
    for ax in axes:
        ax.set_xticks(range(0, len(weights), 5))
    for i in (1, 5, 11):
        axes[1].annotate(f"1/{i + 1}", (i, weights[i, 0]), xytext=(5, 6), textcoords="offset points")
    axes[1].set(title="share of BOS (framed column)", xlabel="seat", ylabel="weight on BOS", ylim=(0, 1.08))
    return fig


def identical_tokens(states: Mapping[str, Tensor], change: Mapping[str, Tensor]) -> plt.Figure:
    """States (T, d) over identical tokens without and with BOS, and the change from seat to seat (T - 2,)."""
    fig, axes = plt.subplots(1, 2, figsize=(7.8, 3.2), width_ratios=(1.25, 1))
    n = len(states["no BOS"]) - 1
    both = torch.cat([states["no BOS"][1:, :24].T, torch.full((2, n), torch.nan), states["with BOS"][1:, :24].T])
    image = plotting.matrix(axes[0], both, signed=True, xlabel="seat", ylabel="")
    axes[0].set_title("24 channels of the final state")
    image.set_extent((0.5, n + 0.5, len(both) - 0.5, -0.5))  # seats 1 to n, as on the right
    axes[0].set_yticks([12, 38], ["no BOS", "with BOS"], rotation=90, va="center")
    axes[0].tick_params(axis="y", length=0)
    seats = np.arange(1, n)
    axes[1].plot(seats, change["with BOS"], color=ACCENT, label="with BOS")
    axes[1].plot(seats, np.full(n - 1, 1e-5), color=MUTED, ls=":", label="no BOS: 0")
    axes[1].set_yscale("log")
    axes[1].set(title="change to the next seat", xlabel="seat", ylim=(5e-6, 1))
    axes[1].set_yticks([1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1], ["0", "0.0001", "0.001", "0.01", "0.1", "1"])
    axes[1].minorticks_off()
    axes[1].legend()
    return fig


def probe_scores(r2: Mapping[str, Sequence[float]], example: Tensor, title: str) -> plt.Figure:
    """Case -> R squared after each layer as bars; positions read out, (windows, T), against the true ones."""
    fig, axes = plt.subplots(1, 2, figsize=(7.8, 3.4), width_ratios=(1, 1.1))
    for place, values in enumerate(r2.values()):
        for layer, (value, shade) in enumerate(zip(values, (BLUE, ORANGE), strict=True)):
            y, width = place + 0.2 * (2 * layer - 1), max(value, 0.004)
            axes[0].barh(y, width, 0.36, color=shade, label=None if place else f"after layer {layer + 1}")
            axes[0].text(width + 0.02, y, f"{max(value, 0):.1f}", va="center", fontsize=9)
    axes[0].set_yticks(range(len(r2)), list(r2))
    axes[0].set(title="position read from real text", xlabel="R² of the linear probe", xlim=(0, 1.05))
    axes[0].invert_yaxis()
    axes[0].legend(loc="upper right")
    length = example.shape[1]
    low, middle, high = np.quantile(example, [0.1, 0.5, 0.9], axis=0)
    axes[1].fill_between(range(length), low, high, color=BLUE, alpha=0.25, lw=0, label="8 in 10 windows")
    axes[1].plot(middle, color=BLUE, label="median")
    axes[1].plot([0, length - 1], [0, length - 1], color=INK, lw=1, ls="--", label="truth")
    axes[1].set(title=title, xlabel="true position", ylabel="position read out")
    axes[1].legend(loc="upper left")
    return fig


def published_cost(
    rise: Mapping[str, np.ndarray], masked: Mapping[str, float], bleu: Mapping[str, float]
) -> plt.Figure:
    """Published cost of having no position: causal perplexity rises by scheme, masked perplexity, and BLEU."""
    fig, axes = plt.subplots(3, 1, figsize=(7.8, 4.6), height_ratios=(1.7, 1, 1))
    folk = {"color": SAND, "lw": 0, "zorder": 0}
    for row, (scheme, values) in enumerate(rise.items()):
        style = plotting.line(scheme, linestyle="none", markersize=7, alpha=0.8)
        axes[0].plot(values, np.full(len(values), row), **style)
    span = axes[0].axvspan(0.5, 1.0, **folk, label="the range without a source")
    axes[0].legend(handles=[span], loc="upper right")
    axes[0].set(title="causal language models: rise of perplexity without positions", xlim=(0, 2.4), ylim=(2.5, -0.5))
    axes[0].set_yticks(range(len(rise)), [f"against {plotting.label(s).removesuffix(' table')}" for s in rise])
    ends = ((masked["learned"], masked["none"]), (bleu["keys and values"], bleu["neither"]))
    for ax, (with_, without) in zip(axes[1:], ends, strict=True):
        ax.plot([with_, without], [0, 0], "o-", color=INK, markersize=7)
        for end, name in ((with_, "with positions"), (without, "without")):
            ax.annotate(name, (end, 0), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9)
        ax.set_yticks([])
    axes[1].axvspan(masked["learned"] + 0.5, masked["learned"] + 1.0, **folk)
    axes[1].set_xscale("log")
    axes[1].set_xticks([masked["learned"], 10, 30, masked["none"]])
    axes[1].set_xticklabels([str(masked["learned"]), "10", "30", str(masked["none"])])
    axes[1].set(title="masked language model: perplexity", xlim=(2.9, 210))
    axes[1].minorticks_off()
    axes[2].axvspan(bleu["keys and values"] - 10, bleu["keys and values"] - 5, **folk)
    axes[2].set_xticks([bleu["neither"], 15, 20, bleu["keys and values"]])
    axes[2].set(title="translation: BLEU", xlim=(27.3, 11.2))
    return fig


def shuffled_context(kept: Sequence[int], runs: Mapping[str, Sequence[Sequence[float]]]) -> plt.Figure:
    """Loss against the number of last characters left in place: name -> one list a seed, the first name solid."""
    fig, ax = plt.subplots(figsize=(7, 3.4))
    looks = zip(runs.items(), (INK, BLUE, ORANGE), ("-", "--", ":"), strict=False)
    for row, ((name, seeds), shade, style) in enumerate(looks):
        for n, losses in enumerate(seeds):
            ax.plot(losses, color=shade, ls=style, marker="o", markersize=4, lw=1.3, label=name if n == 0 else "_")
        middle = np.mean(seeds, axis=0)
        for place in (0, len(kept) - 2, len(kept) - 1):
            offset = (0, (8, -14, -14)[row] if place == 0 else 8 if row else -14)
            text = {"xytext": offset, "textcoords": "offset points", "ha": "center", "fontsize": 8.5, "color": shade}
            ax.annotate(f"{middle[place]:.2f}", (place, middle[place]), **text)
    ax.set_xticks(range(len(kept)), [str(k) for k in kept])
    ax.set(xlabel="characters at the end that stay in place (the others are shuffled)")
    ax.set(ylabel="loss (nats per character)", xlim=(-0.4, len(kept) - 0.6))
    ax.margins(y=0.14)
    ax.legend(loc="upper left")
    return fig


def length_generalization(rank: Mapping[str, float], perplexity: Mapping[str, Mapping[str, float]]) -> plt.Figure:
    """Scheme -> mean reciprocal rank, as bars; scheme -> length -> perplexity, as lines."""
    fig, axes = plt.subplots(1, 2, figsize=(7.8, 3.3), width_ratios=(1, 1.4))
    names = {"none": "none", "t5": "T5 bias", "alibi": "ALiBi", "rope": "RoPE", "absolute": "absolute"}
    shades = [SAND if key == "absolute" else plotting.color(key) for key in rank]
    axes[0].barh([names[key] for key in rank], rank.values(), color=shades, height=0.6)
    axes[0].invert_yaxis()
    axes[0].set(title="10 small tasks", xlabel="mean reciprocal rank (higher is better)", xlim=(0, 0.8))
    for scheme, row in perplexity.items():
        axes[1].plot([int(n) for n in row], row.values(), **plotting.line(scheme))
    axes[1].axvline(1024, color=MUTED, lw=0.9, ls="--")
    axes[1].set_yscale("log")
    axes[1].set_yticks([3, 10, 100, 1000], ["3", "10", "100", "1,000"])
    axes[1].set_xticks([1024, 1400, 1800, 2560])
    axes[1].minorticks_off()
    axes[1].set(title="a 1.3B language model", xlabel="input length (trained at 1,024)", ylabel="perplexity")
    axes[1].legend()
    return fig


def race_with_tables(band: Band, live: Sequence[Result], tables: Mapping[str, Sequence[float]]) -> plt.Figure:
    """The race's figure, and count tables as horizontal lines: name -> loss of the last positions, of the window."""
    fig = plotting.race([band], live, title="The race, lap 1: no encoding")
    for name, losses in tables.items():
        for ax, loss in zip(fig.axes, losses, strict=True):
            ax.axhline(loss, color=ACCENT, lw=1.2, ls=(0, (4, 2)))
        end = band.settings.lengths[-1]
        fig.axes[0].text(end, losses[0] + 0.015, name, color=ACCENT, ha="right", fontsize=8.5)
    every = [loss for losses in tables.values() for loss in losses]
    fig.axes[0].set_ylim(min(every) - 0.1, max(every) + 0.13)
    return fig


def race_by_budget(bands: Sequence[Band], tables: Mapping[str, float]) -> plt.Figure:
    """Loss of the last positions by context length, one band per budget; name -> loss of a table of counts."""
    fig, ax = plt.subplots(figsize=(6.8, 3.5))
    lengths = bands[0].settings.lengths
    for band, style, shade in zip(bands, ("-", "--", ":"), (INK, BLUE, ORANGE), strict=False):
        for n, run in enumerate(band.results):
            label = f"{band.settings.steps:,} steps" if n == 0 else "_"
            look = {"ls": style, "color": shade, "marker": "o", "markersize": 5, "lw": 1.4}
            ax.plot(lengths, [run.last[length] for length in lengths], label=label, **look)
    for name, loss in tables.items():
        ax.axhline(loss, color=ACCENT, lw=1.1, ls=(0, (4, 2)))
        ax.text((lengths[1] * lengths[2]) ** 0.5, loss + 0.015, name, color=ACCENT, ha="center", fontsize=8.5)
    ax.axvline(lengths[0], color=MUTED, lw=0.9, ls="--")
    ax.set_xscale("log", base=2)
    ax.set_xticks(lengths, [str(n) for n in lengths])
    ax.minorticks_off()
    ax.set(xlabel="context length (trained at the first)", ylabel="loss, last 32 positions (nats)")
    ax.legend(loc="lower right")
    return fig


def gap_by_position(curve: Tensor, table: Tensor | None, train_len: int, smooth: int = 16) -> plt.Figure:
    """Loss by position (T,) of the model and of a count table on the same characters, their gap shaded."""
    fig, ax = plt.subplots(figsize=(7.4, 3.2))
    bins = len(curve) // smooth
    x = np.arange(bins) * smooth + (smooth + 1) / 2
    ours = curve[: bins * smooth].view(bins, smooth).mean(1)
    ax.plot(x, ours, **plotting.line("none", marker="none"))
    if table is not None:
        theirs = table[: bins * smooth].view(bins, smooth).mean(1)
        ax.plot(x, theirs, color=ACCENT, ls=(0, (4, 2)), label="table: the last character")
        ax.fill_between(x, ours, theirs, where=(ours < theirs).numpy(), color=MUTED, alpha=0.2, lw=0)
    ax.axvline(train_len, color=MUTED, lw=0.9, ls="--")
    ax.set(xlabel=f"position in a window of {len(curve)} characters", ylabel="loss (nats a character)")
    ax.set_xlim(0, len(curve))
    ax.legend(loc="lower right")
    return fig
