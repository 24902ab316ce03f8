"""Four position tables (notebook 03): the cosine of one row with every other."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from ..encodings.sinusoidal import sinusoidal_table
from ..plotting import ACCENT, DIVERGING, MUTED, Picture, color
from . import Choice, Slider, checked, explorable

TABLES = ("MiniLM (trained)", "Whisper's encoder", "sinusoidal", "random")
SHADES = (color("learned"), color("transformer_xl"), color("sinusoidal"), MUTED)
WIDTH = 384
LENGTH = {"Whisper's encoder": 1500}
"""Rows of a table; 512 for the others."""

DIALS = (
    Choice("table", "table", TABLES),
    Slider("row", "row", 0, 1499),
)


def hashed(index: np.ndarray) -> np.ndarray:
    """A number in [-1, 1) for each index: MurmurHash3's finalizer, so that Python and JavaScript draw the same."""
    with np.errstate(over="ignore"):
        x = index.astype(np.uint32) * np.uint32(0x9E3779B1)
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
        x ^= x >> np.uint32(16)
    return x / 2.0**31 - 1


def table_of(name: str) -> np.ndarray:
    """(rows, 384) float64.

    MiniLM's is the shipped file. Whisper's follows from its convention: the eight rows shipped agree with it.
    """
    if name == TABLES[0]:
        with np.load(Path(__file__).parents[1] / "data" / "minilm_positions.npz") as file:
            return file["position_embeddings"].astype(np.float64)
    if name == TABLES[3]:
        return hashed(np.arange(512 * WIDTH)).reshape(512, WIDTH)
    convention = "tensor2tensor" if name == TABLES[1] else "paper"
    rows = torch.arange(LENGTH.get(name, 512))
    return sinusoidal_table(rows, WIDTH, convention=convention, dtype=torch.float64).numpy()


def cosines(name: str) -> np.ndarray:
    """Cosine of every row of a table with every other: (rows, rows)."""
    table = table_of(name)
    table = table / np.linalg.norm(table, axis=1, keepdims=True)
    return table @ table.T


def table_similarity(table: str = "MiniLM (trained)", row: int = 200) -> Picture:
    """The cosines of one row in all four tables, and the whole map of the chosen one.

    Args:
        table: one of :data:`TABLES`.
        row: a position, 0 to 1499; in tables of 512 rows the last counts from 511 on.

    Raises:
        ValueError: on anything else.
    """
    state = checked(DIALS, table=table, row=row)
    row = min(row, LENGTH.get(table, 512) - 1)
    shown = {name: cosines(name) for name in TABLES}
    fig = plt.figure(figsize=(8, 4.8))
    grid = fig.add_gridspec(4, 2, width_ratios=(1, 1.15))
    left = fig.add_subplot(grid[:, 0])
    size = len(shown[table])
    image = left.imshow(shown[table], cmap=DIVERGING, vmin=-1, vmax=1, interpolation="nearest", aspect="equal")
    left.axhline(row, color=ACCENT, lw=1.4)
    left.set(title=table, xlabel="position", ylabel="row")
    left.grid(False)
    fig.colorbar(image, ax=left, shrink=0.6, location="bottom", label="cosine")
    for k, (name, values) in enumerate(shown.items()):
        ax = fig.add_subplot(grid[k, 1])
        here = min(row, len(values) - 1)
        ax.plot(values[here], color=SHADES[k], lw=1.6 if name == table else 1.2)
        ax.axvline(here, color=ACCENT, lw=1)
        ax.axhline(0, color=MUTED, lw=0.8)
        ax.set(ylim=(-0.8, 1.15), xlim=(0, len(values)), ylabel="cosine")
        ax.set_title(f"{name}: row {here}", fontsize=9, fontweight="normal", pad=3)
    ax.set_xlabel("position")
    own = shown[table][row]
    far = np.delete(own, np.arange(max(0, row - 5), min(size, row + 6)))
    alt = (
        f"Map of cosines between all rows of the table {table}, and, for {', '.join(TABLES)}, the cosine of row {row} "
        f"with every position as a curve; more than five rows from row {row} it spans {far.min():.2f} to "
        f"{far.max():.2f}"
    )
    caption = (
        f"Cosine of row {row} with every row. In {table}, more than five positions away, it lies between "
        f"{far.min():.2f} and {far.max():.2f}."
    )
    return explorable("table_similarity", DIALS, state, fig, "03_explore_table_similarity", alt, caption)
