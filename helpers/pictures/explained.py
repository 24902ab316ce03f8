"""The picture of an explained configuration: what its rule does to every pair, and what an edit would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from ..plotting import ACCENT, INK, MUTED, Picture
from .nb06 import turns_axis

if TYPE_CHECKING:
    from ..explain import Explanation


def explained(found: Explanation) -> Picture:
    """Slow-down of every pair, fast pairs left, on the axis of figure 06_rules."""
    turns, slowed = found.turns.numpy(), found.slowed.numpy()
    pairs = np.arange(len(turns))
    fig, ax = plt.subplots(figsize=(8, 3.8))
    where = turns_axis(ax, turns, found.trained)
    lines = [(slowed, "as the file has it", {"color": INK, "linestyle": "-", "marker": "o"})]
    if found.after is not None:
        lines.append((found.slowed_after.numpy(), "with the edit", {"color": ACCENT, "linestyle": "--", "marker": "s"}))
    for values, label, look in lines:
        ax.plot(pairs, np.where(np.isfinite(values), values, np.nan), label=label, markersize=3, linewidth=1.4, **look)
    needed = found.reach / found.trained
    unfinished = np.flatnonzero(found.unfinished.numpy())
    if needed > 1 and len(unfinished):
        label = f"keeps {found.reach:,} tokens within the angles of {found.trained:,}"
        ax.plot(unfinished[[0, -1]], [needed] * 2, color=MUTED, linewidth=5, alpha=0.5, zorder=1, label=label)
    top = max(needed, 2, *(values[np.isfinite(values)].max() for values, _, _ in lines))
    ax.set_yscale("log", base=2)
    ax.set_ylim(0.9, top * 1.25)
    marks = [2**k for k in range(int(np.log2(top)) + 1)]
    ax.set_yticks(marks, [f"{mark}" for mark in marks])
    ax.set_xlim(-0.5, len(turns) - 0.5)
    ax.set_ylabel("slowed down by")
    if 1 in where:
        ax.axvline(where[1], color=MUTED, linewidth=1, linestyle=":")
        ax.text(where[1], top * 1.25, "one turn", ha="center", va="bottom", fontsize=8, color=INK)
    stopped = np.flatnonzero(~np.isfinite(slowed))
    if len(stopped):
        ax.axvspan(stopped[0] - 0.5, stopped[-1] + 0.5, color="#f2d5c4", linewidth=0)
        ax.text(stopped.mean(), top**0.5, "stopped", ha="center", va="center", fontsize=8, color=INK)
    ax.legend(loc="best", fontsize=8)
    ax.set_title(f"What happens to each pair for {found.target:,} tokens", pad=16)
    count = len(unfinished)
    edit = "" if found.after is None else f", with the edit by up to {np.nanmax(lines[1][0]):.3g}"
    caption = (
        f"{count} of {len(turns) - len(stopped)} turning pairs do not finish a turn within {found.trained:,} tokens; "
        f"the file slows pairs by up to {slowed[np.isfinite(slowed)].max():.3g}{edit}."
    )
    alt = f"Lines over the pairs of channels, fast ones left: how much each is slowed down. {caption}"
    return Picture(fig, "06_explained", alt, caption)
