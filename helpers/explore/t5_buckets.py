"""T5's buckets (notebook 03): which distances share one learned number."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from .. import plotting
from ..encodings.t5 import t5_buckets as buckets_of
from ..plotting import ACCENT, MUTED, Picture
from ..validate import require
from . import Choice, Slider, checked, explorable

DIRECTIONS = ("causal decoder", "bidirectional encoder")
FAR = 600
"""The drawing shows distances from -FAR to FAR."""

DIALS = (
    Slider("buckets", "number of buckets", 8, 64, step=4),
    Slider("max_distance", "max_distance", 40, 512, step=8, unit="tokens"),
    Choice("direction", "used in", DIRECTIONS),
)


def bucket_of(distance: Tensor, buckets: int, max_distance: int, direction: str) -> Tensor:
    """Bucket of each signed distance, key minus query."""
    return buckets_of(distance, buckets, max_distance, bidirectional=direction == DIRECTIONS[1])


def _span(distances: Tensor) -> str:
    """ "-3", "-12 to -10"; open where the drawing ends."""
    low, high = int(distances.min()), int(distances.max())
    if low == high:
        return f"{low}"
    return f"{'everything to' if low == -FAR else f'{low} to'} {high}" if high < FAR else f"{low} and beyond"


def _draw(ax: plt.Axes, buckets: int, max_distance: int, direction: str, distance: int) -> tuple[int, Tensor]:
    """Bucket against distance, the bucket of ``distance`` marked; that bucket and its distances."""
    every = torch.arange(-FAR, FAR + 1)
    bucket = bucket_of(every, buckets, max_distance, direction)
    mine = int(bucket[distance + FAR])
    sharing = every[bucket == mine]
    ax.step(every, bucket, where="mid", color=plotting.color("t5"))
    ax.axvspan(int(sharing.min()) - 0.5, int(sharing.max()) + 0.5, color=ACCENT, alpha=0.18, lw=0)
    ax.plot(distance, mine, "o", color=ACCENT, ms=7)
    for unused in sorted(set(range(buckets)) - set(bucket.tolist())):
        ax.axhline(unused, color=MUTED, ls=":", lw=1.2)
        ax.text(-158, unused, f"{unused}: no distance", fontsize=8, va="bottom", color="#666666")
    ax.set(xlim=(-160, 160), ylim=(-1, buckets), xlabel="key minus query (tokens)", title=direction.capitalize())
    return mine, sharing


def t5_buckets(
    buckets: int = 32, max_distance: int = 128, direction: str = "causal decoder", distance: int = -20
) -> Picture:
    """Both modes side by side, the bucket of one distance marked.

    Args:
        buckets: a multiple of 4 from 8 to 64, as both modes need it.
        max_distance: of T5's formula, in tokens, 40 to 512: it must exceed the single-distance buckets.
        direction: one of :data:`DIRECTIONS`; which one the words are about.
        distance: the marked one, key minus query in tokens, -600 to 600.

    Raises:
        ValueError: on anything else.
    """
    state = checked(DIALS, buckets=buckets, max_distance=max_distance, direction=direction, distance=distance)
    require(buckets % 4 == 0, "buckets", buckets, "use a multiple of 4.")
    Slider("distance", "", -FAR, FAR).check(distance)
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True)
    said = {}
    for ax, mode in zip(axes, DIRECTIONS, strict=True):
        said[mode] = _draw(ax, buckets, max_distance, mode, distance)
    axes[0].set_ylabel("bucket")
    mine, sharing = said[direction]
    alt = (
        f"T5's bucket against distance, as stairs, for a causal decoder and for an encoder that looks both ways, "
        f"{buckets} buckets, max_distance {max_distance}. Marked: distance {distance}, bucket {mine}"
    )
    caption = (
        f"{buckets} buckets, max_distance {max_distance}. In the {direction} distance {distance} falls into bucket "
        f"{mine}; it holds {_span(sharing)} (shaded)."
    )
    return explorable("t5_buckets", DIALS, state, fig, "03_explore_t5_buckets", alt, caption)
