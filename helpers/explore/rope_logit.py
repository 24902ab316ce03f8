"""RoPE's logit against distance, for a query and a key whose angles are equal, random, or aimed at one distance."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from ..encodings.rope import rope_angles, rope_frequencies
from ..plotting import ACCENT, INK, MUTED, Picture, color
from . import Choice, Slider, checked, explorable
from ._hash import hashed_vector

CONTENTS = ("equal", "random", "aimed")
DIALS = (
    Slider("base", "base", 10, 10_000_000, log=True),
    Slider("head_dim", "head_dim", 8, 256, 2),
    Choice("content", "angles of q against k", CONTENTS),
    Slider("length", "context", 128, 131_072, log=True, unit="positions"),
)


def phases(content: str, head_dim: int, base: float, aim: float) -> Tensor:
    """Angle of the query against the key in every pair, before positions turn them: float64 (head_dim / 2,), radians.

    ``equal``: 0. ``random``: anywhere, drawn once. ``aimed``: what the turns over ``aim`` positions make up for.
    """
    frequencies = rope_frequencies(head_dim, base)
    if content == "random":
        return math.pi * hashed_vector("phase", head_dim // 2)
    return -aim * frequencies if content == "aimed" else torch.zeros_like(frequencies)


def logits(distances: Tensor, content: str, head_dim: int, base: float, aim: float) -> Tensor:
    """Logit at each distance m - n, divided by the largest that these norms allow: float64, the shape of distances.

    Every pair has the same norm in query and key: mean over pairs of cos(distance * theta_i + phase_i).
    """
    turns = rope_angles(distances, rope_frequencies(head_dim, base))
    return (turns + phases(content, head_dim, base, aim)).cos().mean(-1)


def unfinished(head_dim: int, base: float, length: float) -> int:
    """Pairs that turn by less than a full circle over ``length`` positions."""
    return int((length * rope_frequencies(head_dim, base) < 2 * math.pi).sum())


def grid(length: float, most: int = 400) -> Tensor:
    """About ``most`` whole distances from 1 to ``length``, evenly on a log scale, none twice: float64."""
    steps = torch.linspace(0, 1, most, dtype=torch.float64)
    return (length**steps).round().unique()


def rope_logit(
    base: float = 10_000, head_dim: int = 64, content: str = "equal", length: int = 4096, aim: int = 100
) -> Picture:
    """Draw the logit against the distance, and how far each pair turns within the context.

    Args:
        base: of the frequencies, 10 to ten million.
        head_dim: even, 8 to 256.
        content: one of :data:`CONTENTS`, drawn strong; the other two stand behind it.
        length: context in positions, 128 to 131,072.
        aim: distance at which ``aimed`` angles agree; dragged in the live version.

    Raises:
        ValueError: if a dial cannot stand there, or on an odd head_dim.
    """
    state = checked(DIALS, base=base, head_dim=head_dim, content=content, length=length, aim=aim)
    fig, (ax, turns) = plt.subplots(1, 2, figsize=(8, 3.2), width_ratios=(2, 1))
    x = grid(length)
    looks = {"equal": (color("rope"), "-"), "random": (MUTED, ":"), "aimed": (color("sinusoidal"), "--")}
    for name in sorted(CONTENTS, key=lambda name: name == content):
        y = logits(x, name, head_dim, base, aim)
        shade, style = looks[name]
        strong = name == content
        words = f"{name} at {aim:,}" if name == "aimed" else name
        ax.plot(x.numpy(), y.numpy(), color=shade, linestyle=style, linewidth=2 if strong else 1, label=words)
    ax.axhline(0, color=INK, linewidth=0.7, zorder=0)
    ax.set(xscale="log", ylim=(-1, 1.1), xlabel="distance m − n (positions)", ylabel="logit / largest possible")
    ax.set_title("Logit by distance")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3)
    full = (length * rope_frequencies(head_dim, base) / (2 * math.pi)).numpy()
    pairs = np.arange(len(full))
    slow = full < 1
    turns.plot(pairs[~slow], full[~slow], "o", color=color("rope"), markersize=3)
    turns.plot(pairs[slow], full[slow], "o", color=ACCENT, markerfacecolor="white", markersize=4)
    turns.axhline(1, color=INK, linewidth=0.9, linestyle="--")
    turns.set(yscale="log", xlabel="pair i", ylabel=f"turns in {length:,} positions", title="Turns of each pair")
    count, now = int(slow.sum()), logits(torch.tensor([1.0, length]), content, head_dim, base, aim)
    alt = (
        f"RoPE's logit against distances up to {length:,} for base {base:g} and head_dim {head_dim}, angles {content}: "
        f"{now[0]:.2f} of the largest possible at distance 1, {now[1]:.2f} at the end. {count} of {len(full)} pairs "
        f"never finish a turn."
    )
    caption = (
        f"Left: the same norms in every pair, three choices of the angle between query and key. "
        f"Right: open circles, {count} of {len(full)} pairs, stay below one turn."
    )
    return explorable("rope_logit", DIALS, state, fig, "04_explore_rope_logit", alt, caption)
