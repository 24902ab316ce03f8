"""ALiBi's slopes (notebook 05): a ladder of them, and how far each head can see."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from ..encodings.alibi import alibi_slopes
from ..plotting import ACCENT, MUTED, Picture, color
from . import Choice, Slider, checked, explorable

LADDERS = ("the authors'", "my own")
PERCENT = 0.01

DIALS = (
    Slider("heads", "heads", 1, 64),
    Choice("ladder", "slopes", LADDERS),
    Slider("steepest", "steepest slope (my own)", 0.001, 4, step=0.001, log=True),
    Slider("ratio", "ratio of neighbors (my own)", 0.3, 1, step=0.01),
    Slider("length", "text", 64, 16384, log=True, unit="tokens"),
)


def ladder_of(heads: int, ladder: str, steepest: float, ratio: float) -> Tensor:
    """Slopes (heads,): the authors' for this number of heads, or ``steepest * ratio^h``."""
    if ladder == LADDERS[0]:
        return alibi_slopes(heads)
    return steepest * ratio ** torch.arange(heads, dtype=torch.float64)


def one_percent(slopes: Tensor) -> Tensor:
    """Distance in tokens at which a head's weight has fallen to 1% of that at distance 0, contents being equal."""
    return -math.log(PERCENT) / slopes


def _draw(ax: plt.Axes, slopes: Tensor, length: int, distance: int) -> None:
    """Weight against distance, a line per head, a dot where it has fallen to 1%."""
    far = torch.logspace(-0.5, 5.2, 300, dtype=torch.float64)
    for h, slope in enumerate(slopes):
        shade = plt.get_cmap("viridis")(0.85 * h / max(1, len(slopes) - 1))
        ax.plot(far, torch.exp(-slope * far), color=shade, lw=1.6)
        ax.plot(one_percent(slope), PERCENT, "o", color=shade, ms=4)
    ax.axhline(PERCENT, color=MUTED, lw=0.9, ls="--")
    ax.text(1.1, PERCENT * 1.2, "1%", fontsize=9, color="#666666")
    ax.axvspan(length, 2e5, color=MUTED, alpha=0.15, lw=0)
    ax.text(length * 1.15, 0.97, "beyond\nthe text", fontsize=8, color="#555555", va="top")
    ax.axvline(distance, color=ACCENT, lw=1.4)
    ax.set(xscale="log", yscale="log", xlim=(1, 1e5), ylim=(1e-3, 1.3), xlabel="distance (tokens)")


def slopes(
    heads: int = 8,
    steepest: float = 0.5,
    ratio: float = 0.5,
    length: int = 2048,
    ladder: str = "the authors'",
    distance: int = 512,
) -> Picture:
    """What the heads of a ladder still weigh at each distance, and how far each of them sees.

    Args:
        heads: 1 to 64. Where it is no power of two the authors' order is not monotone.
        steepest, ratio: of a ladder of one's own: first slope (per token), and the quotient of neighbors.
        length: of the text, in tokens, 64 to 16,384.
        ladder: one of :data:`LADDERS`; only "my own" uses ``steepest`` and ``ratio``.
        distance: of the marker, in tokens, 1 to 16,384.

    Raises:
        ValueError: on anything else.
    """
    state = checked(DIALS, heads=heads, steepest=steepest, ratio=ratio, length=length, ladder=ladder, distance=distance)
    Slider("distance", "", 1, 16384).check(distance)
    mine = ladder_of(heads, ladder, steepest, ratio)
    see = int((one_percent(mine) >= distance).sum())
    within = int((one_percent(mine) <= length).sum())
    fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.5), width_ratios=(1.7, 1))
    _draw(left, mine, length, distance)
    left.set(ylabel="weight / weight at distance 0", title=f"{heads} heads")
    at = one_percent(mine).tolist()
    right.barh(range(1, heads + 1), at, color=[color("alibi") if d >= distance else MUTED for d in at], height=0.7)
    right.axvline(distance, color=ACCENT, lw=1.4)
    right.set(xscale="log", xlim=(1, 1e5), ylim=(heads + 0.6, 0.4), xlabel="tokens to 1%", ylabel="head")
    right.yaxis.get_major_locator().set_params(integer=True)
    right.set_title("How far each sees")
    alt = (
        f"Weight against distance for {heads} heads of ALiBi, and the distance at which each has fallen to 1%, from "
        f"{min(at):,.0f} to {max(at):,.0f} tokens; a marker at {distance:,} tokens"
    )
    caption = (
        f"Contents equal, {see} of {heads} heads still give a token {distance:,} back more than 1% of their largest "
        f"weight; {within} of them reach 1% within the text of {length:,} tokens."
    )
    return explorable("slopes", DIALS, state, fig, "05_explore_slopes", alt, caption)
