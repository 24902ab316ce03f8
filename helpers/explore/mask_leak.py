"""Identical words under a causal mask, one layer, no encoding: what each position sees of the first word."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from ..plotting import ACCENT, INK, Picture
from . import Choice, Slider, checked, explorable

FIRSTS, MASKS = ("the same word", "another word"), ("causal", "none")
DIALS = (
    Slider("words", "words", 2, 16),
    Choice("first", "the first is", FIRSTS),
    Choice("causal", "mask", MASKS),
    Slider("pull", "extra logit of the first", -3, 3, 0.25),
)


def weights(words: int, first: str, causal: str, pull: float) -> Tensor:
    """Attention weights (words, words), float64: row by row what each position sees.

    All logits are equal, except that a first word which is another one has ``pull`` more.
    """
    logits = torch.zeros(words, words, dtype=torch.float64)
    if first == "another word":
        logits[:, 0] = pull
    if causal == "causal":
        logits = logits.masked_fill(torch.ones(words, words, dtype=torch.bool).triu(1), -math.inf)
    return logits.softmax(-1)


def shares(words: int, first: str, causal: str, pull: float) -> list[float]:
    """Share of the other word's value in each position's output: 0 everywhere if all words are the same."""
    return weights(words, first, causal, pull)[:, 0].tolist() if first == "another word" else [0.0] * words


def distinct(values: list[float]) -> int:
    """How many different outputs there are: two positions with the same share have the same output."""
    return len({round(value, 9) for value in values})


def mask_leak(
    words: int = 8, first: str = "another word", causal: str = "causal", pull: float = 0.0, position: int = 5
) -> Picture:
    """Draw who sees whom, and what each position's output is mixed from.

    Args:
        words: 2 to 16.
        first: "the same word" or "another word".
        causal: the mask, "causal" or "none".
        pull: logit of the first word above all others, if it is another one, -3 to 3.
        position: the row that is read out, from 0; beyond the last word, the last. Dragged in the live version.

    Raises:
        ValueError: if a dial cannot stand there, or ``position`` is not among 16 words.
    """
    state = checked(DIALS, words=words, first=first, causal=causal, pull=pull, position=position)
    Slider("position", "position", 0, DIALS[0].high - 1).check(position)
    state["position"] = position = min(position, words - 1)
    seen, share = weights(words, first, causal, pull).numpy(), shares(words, first, causal, pull)
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(8, 1.3 + 0.24 * words), sharey=True, width_ratios=(1, 1.2), layout="constrained"
    )
    hidden = np.where(seen > 0, seen, np.nan)
    image = left.imshow(
        hidden, cmap="cividis", vmin=0, vmax=1, aspect="auto", extent=(-0.5, words - 0.5, words - 0.5, -0.5)
    )
    left.set(xlabel="key position", ylabel="query position", title="Attention weights")
    left.set_xticks(range(0, words, 1 + words // 10))
    left.grid(False)
    fig.colorbar(image, ax=left, shrink=0.9).outline.set_visible(False)
    rows = np.arange(words)
    right.barh(rows, share, color=ACCENT, label="first word")
    right.barh(rows, 1 - np.array(share), left=share, color="#d9e4ec", label="all other words")
    for row, value in zip(rows, share, strict=True):
        right.text(
            1.02, row, f"{value:.3f}", va="center", fontsize=8, color=INK, weight="bold" if row == position else None
        )
    right.set(xlim=(0, 1.15), xticks=(0, 0.5, 1), xlabel="share in the output", title="What the output is mixed from")
    right.set_yticks(rows[:: 1 + words // 10])
    right.grid(False)
    fig.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2)
    count = distinct(share)
    alt = (
        f"{words} words, the first is {first}, mask {causal}. Left the attention weights, right the share of the first "
        f"word in each position's output: {', '.join(f'{value:.3f}' for value in share)}. "
        f"{count} different output{'s' * (count != 1)}."
    )
    caption = (
        f"One layer without position. The first is {first}; mask: {causal}. "
        f"Different outputs at the {words} positions: {count}."
    )
    return explorable("mask_leak", DIALS, state, fig, "01_explore_mask_leak", alt, caption)
