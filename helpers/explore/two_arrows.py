"""One pair of channels under RoPE: a query and a key turn with their positions, and the angle between them decides."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import torch

from ..encodings.rope import rotate_pairs
from ..plotting import INK, MUTED, Picture, color, signed
from . import Slider, checked, explorable

DIALS = (
    Slider("m", "query position m", 0, 20),
    Slider("n", "key position n", 0, 20),
    Slider("theta", "turn per position θ", 0, 1.5, 0.05, unit="rad"),
)
NORMS = {"q": 1.0, "k": 0.8}
COLORS = {"q": color("sinusoidal"), "k": color("rope")}


def turned(norm: float, angle: float, position: float, theta: float) -> list[float]:
    """The vector of this norm and content angle (radians) after its position has turned it: [x, y]."""
    x = norm * torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    turn = torch.tensor([position * theta], dtype=torch.float64)
    return rotate_pairs(x, turn.cos(), turn.sin(), "interleaved").tolist()


def logit(m: float, n: float, theta: float, q_angle: float, k_angle: float) -> float:
    """Dot product of the turned query (norm 1) and the turned key (norm 0.8). Angles in radians."""
    q, k = turned(NORMS["q"], q_angle, m, theta), turned(NORMS["k"], k_angle, n, theta)
    return q[0] * k[0] + q[1] * k[1]


def two_arrows(m: int = 5, n: int = 2, theta: float = 0.3, q_angle: float = 0.6, k_angle: float = 0.1) -> Picture:
    """Draw query and key at positions (m, n), both three positions later, and with the query alone moved.

    Args:
        m, n: positions of query and key, 0 to 20.
        theta: turn per position in radians, 0 to 1.5.
        q_angle, k_angle: content angles in radians, from the x axis against the clock; dragged in the live version.

    Raises:
        ValueError: if a dial cannot stand there.
    """
    state = checked(DIALS, m=m, n=n, theta=theta, q_angle=q_angle, k_angle=k_angle)
    fig, axes = plt.subplots(1, 3, figsize=(8, 3.1), sharey=True)
    places = ((m, n), (m + 3, n + 3), (m + 3, n))
    logits = [logit(*place, theta, q_angle, k_angle) for place in places]
    for ax, place, value in zip(axes, places, logits, strict=True):
        _arrows(ax, dict(zip("qk", place, strict=True)), theta, {"q": q_angle, "k": k_angle})
        ax.set_title(f"m = {place[0]}, n = {place[1]}: logit {signed(value)}")
        ax.set_xlabel(f"distance m − n = {place[0] - place[1]}")
    alt = (
        f"A query and a key arrow turned by {theta:g} radians per position, in three panels. At positions {m} and {n} "
        f"their dot product is {logits[0]:.2f}; both three positions later {logits[1]:.2f}; "
        f"with the query alone moved {logits[2]:.2f}."
    )
    caption = "Dashed: the vectors before their positions turn them. Solid: what attention compares."
    return explorable("two_arrows", DIALS, state, fig, "04_explore_two_arrows", alt, caption)


def _arrows(ax: plt.Axes, position: dict[str, int], theta: float, angle: dict[str, float]) -> None:
    ax.add_patch(plt.Circle((0, 0), 1, fill=False, color="#cccccc", linewidth=0.8))
    for who in ("k", "q"):
        for turn, style in ((0, (0, (3, 2))), (position[who], "-")):
            x, y = turned(NORMS[who], angle[who], turn, theta)
            tip = {"arrowstyle": "-|>", "color": COLORS[who], "linewidth": 2 if turn else 1.2, "linestyle": style}
            ax.annotate("", (x, y), (0, 0), arrowprops={**tip, "shrinkA": 0, "shrinkB": 0})
        ax.text(
            1.2 * x / NORMS[who], 1.2 * y / NORMS[who], who, color=COLORS[who], ha="center", va="center", weight="bold"
        )
    start = math.atan2(*turned(1, angle["k"], position["k"], theta)[::-1])
    end = math.atan2(*turned(1, angle["q"], position["q"], theta)[::-1])
    between = math.remainder(end - start, 2 * math.pi)
    arc = torch.linspace(start, start + between, 40)
    ax.plot(0.3 * arc.cos().numpy(), 0.3 * arc.sin().numpy(), color=INK, linewidth=1.2)
    middle = start + between / 2
    ax.text(
        0.5 * math.cos(middle), 0.5 * math.sin(middle), f"{math.degrees(between):.0f}°",
        ha="center", va="center", color=INK, fontsize=9, bbox={"color": "white", "alpha": 0.7, "pad": 0.5},
    )  # fmt: skip
    ax.axhline(0, color=MUTED, linewidth=0.5, zorder=0)
    ax.axvline(0, color=MUTED, linewidth=0.5, zorder=0)
    ax.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)
