"""The pictures of notebook 01. Numbers come in, pictures go out, with name, alternative text and caption; what these
state of the data is read from the data. Nothing is computed here that the notebook teaches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from torch import Tensor

from .. import plotting
from ..plotting import ACCENT, INK, MUTED, Picture, signed
from . import doors as diagram

BLUE, ORANGE, SAND, PALE = "#0173b2", "#de8f05", "#f3d9b8", "#d9e4ec"
ZERO = 1e-9  # what counts as equal in the words of a picture


def same_vectors(left: np.ndarray, right: np.ndarray, order: Sequence[int], words: Sequence[str]) -> Picture:
    """Output vectors of a sentence and of its reordering, number by number; equal ones are joined by a line.

    Args:
        left, right: (T, d), of the sentence and of the reordered one.
        order: which word of the sentence stands at each place of the other.
        words: of the sentence.
    """
    fig, ax = plt.subplots(figsize=(8, 3.4))
    n, d = left.shape
    names = [words[i] for i in order]
    wide, limit = 0.55, np.abs(left).max()
    colors = plt.get_cmap(plotting.DIVERGING)
    for x, rows, labels, outside in ((0.0, left, words, -0.1), (2 * d * wide, right, names, d * wide + 0.1)):
        for place, (row, word) in enumerate(zip(rows, labels, strict=True)):
            for channel, value in enumerate(row):
                corner, shade = (x + channel * wide, place - 0.4), colors(0.5 + value / (2.6 * limit))
                ax.add_patch(plt.Rectangle(corner, wide, 0.8, color=shade, lw=0))
                text = signed(value, 1).replace("-", "−")
                ax.text(corner[0] + wide / 2, place, text, ha="center", va="center", fontsize=9)
            align = "right" if outside < 0 else "left"
            ax.text(x + outside, place, f"{word}", ha=align, va="center", fontsize=11)
    equal = [np.allclose(left[old], right[place], atol=ZERO) for place, old in enumerate(order)]
    for place, old in enumerate(order):
        if equal[place]:
            shade = ACCENT if place != old else MUTED
            ax.plot([d * wide + 0.08, 2 * d * wide - 0.08], [old, place], color=shade, lw=1.6)
    ax.text(0, -0.75, " ".join(words), fontsize=11, fontweight="bold")
    ax.text(2 * d * wide, -0.75, " ".join(names), fontsize=11, fontweight="bold")
    ax.set(xlim=(-0.8, 3 * d * wide + 0.95), ylim=(n - 0.5, -1.15))
    ax.axis("off")
    return Picture(
        fig,
        "01_same_vectors",
        alt=f"Output vectors of {d} numbers for each word of two sentences; lines join {sum(equal)} of the {n} rows "
        f"on the right to an equal row on the left.",
        caption="What attention computes for each word. A line joins two vectors that are equal, number for number.",
    )


def permuted(left: np.ndarray, right: np.ndarray, names: Sequence[Sequence[str]], word: str) -> Picture:
    """Logits (T, T) of two sentences above, their softmax below, the row of one word framed.

    Args:
        left, right: logits of the sentence and of the reordered one.
        names: words of both, in their orders.
        word: whose row is framed.
    """
    fig, axes = plt.subplots(2, 2, figsize=(7.6, 6.6), layout="constrained")
    titles = (("logits $L$", "logits $PLP^T$"), ("weights softmax($L$)", "weights softmax($PLP^T$)"))
    weights = [np.exp(m) / np.exp(m).sum(1, keepdims=True) for m in (left, right)]
    for row, pair in enumerate(((left, right), weights)):
        for column, matrix in enumerate(pair):
            ax, here = axes[row, column], names[column]
            look = {"cmap": "cividis", "cbar": False, "square": True, "annot_kws": {"fontsize": 9}}
            look |= {"fmt": ".1f", "vmin": -4, "vmax": 4} if row == 0 else {"fmt": ".2f", "vmin": 0, "vmax": 0.7}
            plotting.heatmap(matrix, ax=ax, annot=True, xticklabels=here, yticklabels=here, **look)
            ax.add_patch(plt.Rectangle((0.03, here.index(word) + 0.03), 4.94, 0.94, fill=False, ec=ACCENT, lw=2.2))
            ax.set_title(titles[row][column])
            ax.tick_params(length=0, labelrotation=0, labelsize=8.5)
    axes[0, 0].set_ylabel("query")
    axes[1, 0].set_ylabel("query")
    for ax in axes[1]:
        ax.set_xlabel("key")
    first, second = (m[list(here).index(word)] for m, here in zip(weights, names, strict=True))
    same = np.allclose(np.sort(first), np.sort(second))
    return Picture(
        fig,
        "01_permuted_weights",
        alt=f"Four tables of five by five numbers: logits and attention weights of both sentences. The framed row of "
        f"{word} holds the {'same' if same else 'not the same'} five numbers in each pair, at other places.",
        caption=f"Reordering the words moves rows and columns together. The framed row of {word} keeps its numbers, "
        f"before and after the softmax.",
    )


def symmetry(cases: Mapping[str, tuple[float | None, float]], verdicts: Sequence[str]) -> Picture:
    """Case -> (violation of equivariance or None, violation of invariance), and the word that each deserves."""
    fig, axes = plt.subplots(1, 3, figsize=(8, 3.5), width_ratios=(1, 1, 0.5), sharey=True, layout="constrained")
    rows = range(len(cases))
    far = max(gap for pair in cases.values() for gap in pair if gap is not None)
    titles = ("f(PX) − P f(X)\n0 if equivariant", "f(PX) − f(X)\n0 if invariant")
    for ax, which, title in zip(axes, (0, 1), titles, strict=False):
        for row, pair in enumerate(cases.values()):
            if pair[which] is None:
                ax.text(0.02 * far, row, "one vector: no positions", va="center", fontsize=8.5, color=MUTED)
                continue
            zero = pair[which] < ZERO
            ax.barh(row, 0 if zero else pair[which], height=0.55, color=ORANGE)
            ax.text(
                (0 if zero else pair[which]) + 0.03 * far, row, "0" if zero else f"{pair[which]:.1f}", va="center",
                weight="bold" if zero else "normal", color=BLUE if zero else INK,
            )  # fmt: skip
        ax.set_title(title, fontsize=10)
        ax.set(xlim=(0, 1.25 * far), xticks=[])
        ax.spines["bottom"].set_visible(False)
        ax.grid(False)
    axes[0].set_yticks(rows, list(cases))
    axes[0].set_ylim(len(cases) - 0.5, -0.5)
    for ax in axes[:2]:
        ax.tick_params(axis="y", length=0)
    axes[2].axis("off")
    for row, verdict in enumerate(verdicts):
        shade = INK if verdict == "neither" else BLUE
        axes[2].text(0, row, verdict, va="center", fontsize=11, fontweight="bold", color=shade)
    said = "; ".join(f"{name.replace(chr(10), ' ')}: {v}" for name, v in zip(cases, verdicts, strict=True))
    return Picture(
        fig,
        "01_invariant_equivariant",
        alt=f"Bars of the largest violation of each definition in five cases. {said}.",
        caption="Largest entry of each difference over all shuffles (last word: of its past). 0: up to rounding.",
    )


def told_apart(counts: Mapping[str, int]) -> Picture:
    """Architecture -> number of orders of one sentence to which it gives a summary of their own."""
    top = max(counts.values())
    fig, ax = plt.subplots(figsize=(7.6, 2.8), layout="constrained")
    ax.barh(list(counts), counts.values(), color=[MUTED if n < top else BLUE for n in counts.values()], height=0.62)
    for row, n in enumerate(counts.values()):
        ax.text(n + 0.8, row, str(n), va="center", weight="bold", color=INK)
    ax.invert_yaxis()
    ax.grid(False)
    ax.spines["bottom"].set_visible(False)
    ax.set(xlim=(0, 1.1 * top), xticks=[], title=f"Orders of one sentence told apart, of {top}")
    ax.tick_params(axis="y", length=0)
    return Picture(
        fig,
        "01_orders_told_apart",
        alt=f"Bars of the orders told apart, of {top}: " + ", ".join(f"{name} {n}" for name, n in counts.items()) + ".",
        caption="Random weights, nothing trained: how many different summaries the orders of one sentence get.",
    )


def task_scores(live: Mapping[tuple[str, str], float], recorded: Mapping[tuple[str, str], Sequence[float]]) -> Picture:
    """(task, scheme) -> accuracy from 0 to 1: trained here, and recorded at other rates, budgets and seeds."""
    fig, ax = plt.subplots(figsize=(7.4, 3), layout="constrained")
    for place, ((_, scheme), values) in enumerate(recorded.items()):
        spread = place + 0.25 + np.linspace(-0.1, 0.1, len(values))
        ax.plot(spread, 100 * np.array(values), **plotting.line(scheme, linestyle="none", markersize=5, alpha=0.7))
    for place, ((_, scheme), value) in enumerate(live.items()):
        style = plotting.line(scheme, linestyle="none", markersize=11, markerfacecolor="none", markeredgewidth=2)
        ax.plot(place - 0.1, 100 * value, **style)
        at = {"xytext": (0, 9), "textcoords": "offset points", "ha": "center"}
        ax.annotate(f"{100 * value:.0f}%", (place - 0.1, 100 * value), **at)
    ax.axhline(50, color=INK, lw=1, ls="--")
    ax.text(len(live) - 0.52, 51.5, "chance", fontsize=9, color=INK, ha="right")
    ax.set_xticks(range(len(live)), [f"{task} task\n{plotting.label(scheme)}" for task, scheme in live])
    ax.set(xlim=(-0.5, len(live) - 0.5), ylim=(42, 112), ylabel="accuracy (%)", yticks=range(50, 101, 10))
    ax.grid(axis="x", visible=False)
    said = ", ".join(f"{task} task with {plotting.label(s)} {100 * v:.0f}" for (task, s), v in live.items())
    runs = len(next(iter(recorded.values())))
    return Picture(
        fig,
        "01_order_and_bag",
        alt=f"Accuracy in percent: {said}; the recorded runs lie beside them.",
        caption=f"Large: trained here. Small: {runs} recorded runs each, two seeds, three settings (rate and steps).",
    )


def identical_tokens(states: Mapping[str, Tensor]) -> Picture:
    """Name -> hidden states (T, d) along tokens that are all the same from the second on: how far each position's
    state is from the last one's, from the second position on."""
    fig, ax = plt.subplots(figsize=(7.2, 2.9), layout="constrained")
    looks = ({"color": MUTED, "ls": "--"}, {"color": ACCENT})
    far = {name: (h[1:] - h[-1]).norm(dim=-1).numpy() for name, h in states.items()}
    for (name, values), look in zip(far.items(), looks, strict=True):
        ax.plot(np.arange(1, len(values) + 1), values, label=name, **look)
    ax.set(
        xlabel="position", ylabel="distance from the\nlast position's state", ylim=(-0.06 * max(far["with BOS"]), None)
    )
    ax.legend()
    said = "; ".join(
        f"{name}, {values[0]:.1f} at position 1 and {values[20]:.2f} at 21" for name, values in far.items()
    )
    return Picture(
        fig,
        "01_identical_tokens",
        alt=f"How far each position's hidden state is from the last one's along identical tokens: {said}.",
        caption="A causal model with two layers and random weights on identical tokens, with and without BOS in front.",
    )


def doors() -> Picture:
    """The map of the course: where position can enter."""
    return Picture(
        diagram.doors(),
        "01_doors",
        alt="An attention layer with doors at embeddings, queries and keys, and logits, and two dashed side entrances",
        caption="Where position can enter a transformer, and who uses it.",
    )


# ----------------------------------------------------------------------------------------------------------- Deeper


def shuffled_context(kept: Sequence[int], runs: Mapping[str, Sequence[float]]) -> Picture:
    """Loss against the number of last characters left in place: budget -> one loss for each of ``kept``."""
    fig, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
    looks = zip(runs.items(), (INK, BLUE, ORANGE), ("-", "--", ":"), strict=False)
    for row, ((name, losses), shade, style) in enumerate(looks):
        ax.plot(losses, color=shade, ls=style, marker="o", markersize=4, lw=1.3, label=name)
        for place in (0, len(kept) - 2, len(kept) - 1):
            offset = (0, (8, -14, -14)[row] if place == 0 else 8 if row else -14)
            offset = (20, -4) if row == 0 and place == len(kept) - 1 else offset
            offset = (-18, (-14, 2, 5)[row]) if place == len(kept) - 2 and row else offset
            text = {"xytext": offset, "textcoords": "offset points", "ha": "center", "fontsize": 8.5, "color": shade}
            ax.annotate(f"{losses[place]:.2f}", (place, losses[place]), **text)
    ax.set_xticks(range(len(kept)), [str(k) for k in kept])
    ax.set(xlabel="characters at the end that stay in place (the others are shuffled)")
    ax.set(ylabel="loss (nats per character)", xlim=(-0.4, len(kept) - 0.45))
    ax.margins(y=0.14)
    ax.legend(loc="upper left")
    said = "; ".join(f"{name}, {losses[0]:.2f} in order and {losses[-2]:.2f}" for name, losses in runs.items())
    return Picture(
        fig,
        "01_shuffled_context",
        alt=f"Loss of the next character against how many last characters keep their place: {said} with one kept.",
        caption="The same model without encoding, trained for longer and longer; one recorded seed per budget.",
    )


def probe_scores(r2: Mapping[str, Sequence[float]], example: Tensor, title: str) -> Picture:
    """Case -> R squared after each layer as bars; positions read out, (windows, T), against the true ones."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.4), width_ratios=(1, 1.1), layout="constrained")
    for place, values in enumerate(r2.values()):
        for layer, (value, shade) in enumerate(zip(values, (BLUE, ORANGE), strict=True)):
            y, width = place + 0.2 * (2 * layer - 1), max(value, 0.004)
            axes[0].barh(y, width, 0.36, color=shade, label=None if place else f"after layer {layer + 1}")
            axes[0].text(width + 0.02, y, f"{max(value, 0):.2f}", va="center", fontsize=9)
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
    said = "; ".join(f"{name} {max(0, *values):.1f}" for name, values in r2.items())
    return Picture(
        fig,
        "01_position_probe",
        alt=f"Scores of a linear probe for the position, the better layer of each reader: {said}. Beside it, positions "
        f"read out against true ones.",
        caption="How well a straight formula reads the position from hidden states; 1 is perfect, 0 is a guess.",
    )


def length_generalization(rank: Mapping[str, float], perplexity: Mapping[str, Mapping[str, float]]) -> Picture:
    """Scheme -> mean reciprocal rank, as bars; scheme -> length -> perplexity, as lines."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.3), width_ratios=(1, 1.4), layout="constrained")
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
    best = max(rank, key=rank.get)
    ends = ", ".join(f"{plotting.label(s)} {row['1800']:,.0f}" for s, row in perplexity.items())
    return Picture(
        fig,
        "01_nope_length",
        alt=f"Left: of five schemes, {names[best]} has the best mean rank on ten tasks. Right: perplexity of a "
        f"language model past its trained length of 1,024; at 1,800 tokens: {ends}.",
        caption="Kazemnejad et al. 2023: small tasks of reasoning and copying, and a language model for code.",
    )
