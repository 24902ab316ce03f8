"""What two rows of the sinusoidal table have in common: waves at two positions, and the dot product by distance."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from ..encodings.sinusoidal import dot_product_by_distance, sinusoidal_frequencies
from ..plotting import ACCENT, INK, MUTED, Picture, color
from . import Slider, checked, explorable

DIALS = (
    Slider("width", "width d", 4, 256, 2),
    Slider("base", "base", 2, 1_000_000, log=True),
    Slider("position", "position p", 0, 100),
    Slider("offset", "distance k", 0, 100),
)
FARTHEST = 100  # distances are drawn from 0 to here


def kernel(distances: list[float], width: int, base: float) -> list[float]:
    """PE(p) . PE(p + k) over its value at k = 0, for every distance k."""
    return (dot_product_by_distance(torch.tensor(distances), width, base) / (width / 2)).tolist()


def agreements(offset: float, width: int, base: float) -> list[float]:
    """cos(k w_i): what each pair adds to the dot product of two rows k positions apart, from fast to slow."""
    return (offset * sinusoidal_frequencies(width, base)).cos().tolist()


def first_rise(width: int, base: float, farthest: int = FARTHEST) -> int | None:
    """The first distance k with g(k + 1) > g(k), up to ``farthest``; None if it only falls."""
    g = kernel(list(range(farthest + 1)), width, base)
    return next((k for k in range(farthest) if g[k + 1] > g[k] + 1e-12), None)


def sinusoid_kernel(width: int = 64, base: float = 10_000, position: int = 20, offset: int = 12) -> Picture:
    """Draw a few pairs' sine waves with two positions marked, and the dot product against the distance.

    Args:
        width: of the table, even, 4 to 256.
        base: of the frequencies, 2 to a million.
        position: of the first row, 0 to 100; dragged in the live version too.
        offset: distance of the second row, 0 to 100.

    Raises:
        ValueError: if a dial cannot stand there, or on an odd width.
    """
    state = checked(DIALS, width=width, base=base, position=position, offset=offset)
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.3))
    x = torch.linspace(0, 2 * FARTHEST, 801, dtype=torch.float64)
    frequencies = sinusoidal_frequencies(width, base)
    shown = drawn(width)
    for lane, i in enumerate(shown):
        wave = (x * frequencies[i]).sin()
        axes[0].plot(x.numpy(), -2.4 * lane + wave.numpy(), color=color("sinusoidal"), linewidth=1.2)
        for at, shade in ((position, INK), (position + offset, ACCENT)):
            axes[0].plot(at, -2.4 * lane + float((at * frequencies[i]).sin()), "o", color=shade, markersize=4)
    for at, shade, words in (
        (position, INK, f"p = {position}"),
        (position + offset, ACCENT, f"p + k = {position + offset}"),
    ):
        axes[0].axvline(at, color=shade, linewidth=1, linestyle="--", label=words)
    axes[0].set_yticks([-2.4 * lane for lane in range(len(shown))], [f"{i}" for i in shown])
    axes[0].set(title="Waves of some pairs", xlabel="position", ylabel="pair i", xlim=(0, 2 * FARTHEST))
    axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    distances = list(range(FARTHEST + 1))
    g = kernel(distances, width, base)
    axes[1].plot(distances, g, color=color("sinusoidal"), linewidth=1.6, marker=".", markersize=3)
    axes[1].axhline(0, color=MUTED, linewidth=0.8)
    axes[1].plot(offset, g[offset], "o", color=ACCENT, markersize=7, label=f"k = {offset}: {g[offset]:.2f}")
    rise = first_rise(width, base)
    if rise is not None:
        axes[1].plot(
            rise, g[rise], "^", color=INK, markerfacecolor="white", markersize=8, label=f"rises first after k = {rise}"
        )
    axes[1].set(title="Dot product by distance", xlabel="distance k (positions)", ylabel="PE(p) · PE(p + k) / (d/2)")
    axes[1].legend(loc="upper right")
    where = "It only falls" if rise is None else f"It rises for the first time after distance {rise}"
    alt = (
        f"Left: sine waves of {len(shown)} pairs, from fast to slow, with positions {position} and {position + offset} "
        f"marked. Right: the dot product of two rows of width {width}, base {base:g}, against their distance: "
        f"{g[offset]:.2f} of its largest value at distance {offset}. {where}."
    )
    caption = (
        "Each pair adds cos(k ω) to the dot product of the two rows. Triangle: the last distance before it first rises."
    )
    return explorable("sinusoid_kernel", DIALS, state, fig, "02_explore_sinusoid_kernel", alt, caption)


def drawn(width: int) -> list[int]:
    """The pairs whose waves are drawn: at most five, evenly from the fastest to the slowest."""
    pairs, lanes = width // 2, min(5, width // 2)
    return [(2 * lane * (pairs - 1) + lanes - 1) // (2 * (lanes - 1)) for lane in range(lanes)]
