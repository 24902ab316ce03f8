"""A row of the sinusoidal table as clocks: each pair (sin, cos) is the tip of a hand that starts at twelve."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import torch

from ..encodings.sinusoidal import dot_product_by_distance, sinusoidal_frequencies, sinusoidal_table
from ..plotting import INK, MUTED, Picture, color
from . import Slider, checked, explorable

FARTHEST = 1000  # the last position
DIALS = (
    Slider("position", "position", 0, FARTHEST),
    Slider("width", "width d", 4, 16, 2),
    Slider("base", "base", 2, 1_000_000, log=True),
)


def hands(position: float, width: int, base: float) -> list[list[float]]:
    """[sin, cos] of every pair, which are x and y of a hand's tip: twelve is (0, 1), and time runs clockwise."""
    row = sinusoidal_table(torch.tensor(float(position)), width, base, dtype=torch.float64)
    return row.view(-1, 2).tolist()


def periods(width: int, base: float) -> list[float]:
    """Positions that each hand needs for a full turn."""
    return (2 * math.pi / sinusoidal_frequencies(width, base)).tolist()


def nearest(position: int, width: int, base: float) -> tuple[int, float]:
    """The other position up to 1000 whose row is nearest to this one's, and the norm of the difference of the rows."""
    offsets = torch.arange(1, FARTHEST + 1)
    squares = width - 2 * dot_product_by_distance(offsets, width, base)
    possible = (position + offsets <= FARTHEST) | (position - offsets >= 0)
    best = int(squares.masked_fill(~possible, math.inf).argmin()) + 1
    return position + best if position + best <= FARTHEST else position - best, squares[best - 1].clamp(0).sqrt().item()


def spoken(period: float) -> str:
    """A period as it is written under its clock."""
    return f"{period:.1f}" if period < 100 else f"{period:,.0f}"


def clocks(position: int = 50, width: int = 8, base: float = 10_000) -> Picture:
    """Draw the hands at position 0, at position 1 and at ``position``.

    Args:
        position: 0 to 1000.
        width: of the table, even, 4 to 16: two channels for each hand.
        base: of the frequencies, 2 to a million.

    Raises:
        ValueError: if a dial cannot stand there, or on an odd width.
    """
    state = checked(DIALS, position=position, width=width, base=base)
    rows, turns = sorted({0, 1, position}), periods(width, base)
    fig, axes = plt.subplots(
        len(rows), len(turns), figsize=(min(8.0, 1.6 * len(turns)), 0.5 + 1.45 * len(rows)), squeeze=False
    )
    for at, line in zip(rows, axes, strict=True):
        for i, (ax, (x, y)) in enumerate(zip(line, hands(at, width, base), strict=True)):
            ax.add_patch(plt.Circle((0, 0), 1, fill=False, color=MUTED, linewidth=1))
            for hour in range(12):
                tick = math.sin(hour * math.pi / 6), math.cos(hour * math.pi / 6)
                ax.plot([0.9 * tick[0], tick[0]], [0.9 * tick[1], tick[1]], color=MUTED, linewidth=0.8)
            ax.plot([0, x], [0, y], color=color("sinusoidal"), linewidth=2.2)
            ax.plot(x, y, "o", color=color("sinusoidal"), markersize=5)
            ax.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), aspect="equal", xticks=[], yticks=[])
            ax.grid(False)
            ax.spines[:].set_visible(False)
            if at == rows[0]:
                ax.set_title(spoken(turns[i]), loc="center", fontsize=9, weight="normal", color=INK)
        line[0].set_ylabel(f"position {at}", fontsize=9)
    fig.suptitle("Positions for a full turn", x=0.5, fontsize=10)
    numbers = ", ".join(f"{value:.2f}" for value in sum(hands(position, width, base), []))
    other, apart = nearest(position, width, base)
    alt = (
        f"{len(turns)} clocks for base {base:g}, whose hands start at twelve and run clockwise; a full turn takes from "
        f"{spoken(turns[0])} to {spoken(turns[-1])} positions. At position {position} the tips are at {numbers}. "
        f"Of all positions to {FARTHEST:,}, {other} has the nearest row, {apart:.2f} away."
    )
    caption = "The tip of hand i stands at (sin, cos): across and up. Those two numbers are channels 2i and 2i + 1."
    return explorable("clocks", DIALS, state, fig, "02_explore_clocks", alt, caption)
