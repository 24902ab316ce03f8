"""One's own words through one attention head, in two orders: does each word's output move along with the word?

The words' vectors and the head's three matrices are hashes of their names: nothing is trained, nothing is random,
and the browser has the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from ..encodings.sinusoidal import sinusoidal_table
from ..plotting import ACCENT, DIVERGING, INK, MUTED, Picture
from ..validate import require
from . import Choice, Text, checked, explorable
from ._hash import hashed_vector

POSITIONS, MASKS = ("none", "sinusoidal"), ("none", "causal")
DIALS = (
    Text("sentence", "your words", 60),
    Choice("positions", "positions", POSITIONS),
    Choice("mask", "mask", MASKS),
)
WIDTH, MOST = 8, 8  # channels of a vector; words that are drawn
SAME = 1e-9


def words_of(sentence: str) -> list[str]:
    """The first eight words, as they stand between blanks."""
    return sentence.split()[:MOST]


def swapped(count: int) -> list[int]:
    """The order to begin with: second and last word change places (the cat and the mouse)."""
    order = list(range(count))
    if count > 2:
        order[1], order[-1] = order[-1], order[1]
    return order


def matrix(name: str) -> Tensor:
    """A projection of the head, (8, 8): entries of variance 1/8; query's and key's 2/8, for clear attention."""
    gain = math.sqrt((1 if name == "value" else 2) * 3 / WIDTH)
    return gain * hashed_vector(name, WIDTH * WIDTH).view(WIDTH, WIDTH)


def attend(words: Sequence[str], positions: str, mask: str) -> tuple[Tensor, Tensor]:
    """One head: attention weights (words, words), and outputs (words, 8), float64.

    ``sinusoidal`` adds the table's rows to the words' vectors; ``causal`` hides later words.
    """
    x = torch.stack([hashed_vector(word, WIDTH) for word in words])
    if positions == "sinusoidal":
        x = x + sinusoidal_table(torch.arange(len(words)), WIDTH, dtype=torch.float64)
    q, k, v = (x @ matrix(name).T for name in ("query", "key", "value"))
    logits = q @ k.T / math.sqrt(WIDTH)
    if mask == "causal":
        later = torch.ones(len(words), len(words), dtype=torch.bool).triu(1)
        logits = logits.masked_fill(later, -math.inf)
    weights = logits.softmax(-1)
    return weights, weights @ v


def changes(words: Sequence[str], order: Sequence[int], positions: str, mask: str) -> tuple[list[float], float]:
    """How far each word's output moves when the words change places, and how far the mean of all outputs does.

    Args:
        words: as typed.
        order: which word stands at each place of the other order.
        positions, mask: as in :func:`attend`.

    Returns:
        Norm of the difference for every word, in the order typed; the same for the mean.
    """
    before = attend(words, positions, mask)[1]
    after = attend([words[i] for i in order], positions, mask)[1]
    moved = torch.empty_like(before)
    moved[list(order)] = after
    return (moved - before).norm(dim=-1).tolist(), (after.mean(0) - before.mean(0)).norm().item()


def own_sentence(
    sentence: str = "the cat chased the mouse",
    positions: str = "none",
    mask: str = "none",
    order: Sequence[int] | None = None,
) -> Picture:
    """Draw the output vectors of a sentence in two orders, and how far each word's vector has changed.

    Args:
        sentence: words between blanks, at most 60 characters; the first eight are used.
        positions: "none", or "sinusoidal" rows added to the words' vectors.
        mask: "none", or "causal": a word sees itself and earlier ones.
        order: which word stands at each place of the second order; by default the second and the last change places.

    Raises:
        ValueError: if a dial cannot stand there, without any word, or if ``order`` is no order of the words.
    """
    state = checked(DIALS, sentence=sentence, positions=positions, mask=mask)
    words = words_of(sentence)
    require(bool(words), "sentence", sentence, "write at least one word.")
    order = state["order"] = swapped(len(words)) if order is None else list(order)
    remedy = f"must name each of 0 to {len(words) - 1} once."
    require(sorted(order) == list(range(len(words))), "order", order, remedy)
    other = [words[i] for i in order]
    moved, mean_moved = changes(words, order, positions, mask)
    fig, axes = plt.subplots(
        3, 1, figsize=(min(8.0, 3.6 + 0.7 * len(words)), 4.2), sharex=True, height_ratios=(5, 2, 5)
    )
    top, between, bottom = axes
    for ax, line, name in ((top, words, "as typed"), (bottom, other, "reordered")):
        image = _strips(ax, line, attend(line, positions, mask)[1])
        ax.set_ylabel(f"output, {name}")
    for place, i in enumerate(order):
        between.plot([i, place], [1, 0], color=MUTED if place == i else ACCENT, linewidth=1.4)
    top.tick_params(labelbottom=False)
    between.set(ylim=(0, 1))
    between.axis("off")
    below = [f"{moved[i]:.2f}" for i in order] + [f"{mean_moved:.2f}"]
    bottom.set_xticks([*range(len(words)), len(words) + 1], below)
    bottom.set_xlabel("change of the word's output vector (norm of the difference)")
    bar = fig.colorbar(image, ax=axes, shrink=0.6, label="entry of the output vector")
    bar.outline.set_visible(False)
    count = sum(value > SAME for value in moved)
    per_word = ", ".join(f"{words[i]} {moved[i]:.2f}" for i in order)
    alt = (
        f"Output vectors of one attention head for “{' '.join(words)}” and “{' '.join(other)}” as columns of eight "
        f"cells, positions {positions}, mask {mask}. Change of each word's vector: {per_word}; of the mean of all: "
        f"{mean_moved:.2f}."
    )
    caption = (
        f"Positions: {positions}. Mask: {mask}. Lines follow each word to its new place; {count} of {len(words)} "
        "output vectors changed on the way."
    )
    return explorable("own_sentence", DIALS, state, fig, "01_explore_own_sentence", alt, caption)


def _strips(ax: plt.Axes, words: Sequence[str], outputs: Tensor):
    """Each word with its output as a column, then the mean of all."""
    gap = torch.full((1, WIDTH), math.nan, dtype=torch.float64)
    columns = torch.cat([outputs, gap, outputs.mean(0, keepdim=True)]).T.numpy()
    image = ax.imshow(columns, cmap=DIVERGING, vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    for place, word in enumerate([*words, "", "mean"]):
        ax.text(place, -0.9, word if len(word) < 11 else f"{word[:9]}…", ha="center", va="bottom", color=INK)
    ax.tick_params(axis="x", length=0)
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return image
