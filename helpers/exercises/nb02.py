"""Checks of the exercises of notebook 02 (sinusoidal encodings)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..encodings.sinusoidal import sinusoidal_table
from . import Check, todo, untouched


def _close(found: Tensor, wanted: Tensor, tolerance: float = 1e-4) -> bool:
    return found.shape == wanted.shape and bool((found.double() - wanted.double()).abs().max() < tolerance)


def by_hand(answer: object) -> str | None:
    """2.1: the row of position 1 at d_model = 4, four numbers correct to five decimals."""
    row = torch.as_tensor(answer, dtype=torch.float64).flatten().tolist()  # a list, or one row of a table
    if len(row) != 4:
        return f"a row of width 4 has 4 numbers, this has {len(row)}."
    wanted = [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)]
    if all(abs(a - b) < 6e-6 for a, b in zip(row, wanted, strict=True)):
        return None
    if abs(row[0] - math.cos(1)) < 1e-3:
        return "the order is sine first, then cosine."
    if abs(row[0] - math.sin(math.radians(1))) < 1e-3:
        return "the calculator is in degrees; angles are in radians."
    if abs(row[2] - math.sin(1e-4)) < 1e-4:
        return "the second frequency is 10000^(-2/4) = 0.01; the exponent is 2i/d with i = 1, not 4/4."
    if abs(row[2] - math.sin(0.1)) < 1e-3:
        return "the second frequency is 10000^(-2/4) = 0.01; 10000^(-1/4) forgets the 2 in 2i/d."
    if abs(row[3] - 0.999) < 5e-4:
        return "cos(0.01) is 0.99995, since 1 - 0.01^2 / 2 = 1 - 0.00005; 0.999 is twenty times as far from 1."
    if all(abs(a - b) < 6e-3 for a, b in zip(row, wanted, strict=True)):
        return "close: give five decimals."
    return "the angles are 1 and 0.01; the row is sin, cos of the first, then sin, cos of the second."


def table(answer: Callable) -> str | None:
    """2.2: sinusoidal table, signature (positions, d_model, base)."""
    positions, d = torch.tensor([0, 1, 5, 40, 300]), 8
    found = answer(positions, d, 10_000.0)
    if untouched(found):
        return todo
    found = torch.as_tensor(found)
    if tuple(found.shape) != (5, d):
        return f"the table of 5 positions and width {d} has shape (5, {d}), yours {tuple(found.shape)}."
    wanted = sinusoidal_table(positions, d, dtype=torch.float64)
    if not _close(found, wanted):
        swapped = wanted.view(5, -1, 2).flip(-1).flatten(1)
        i = torch.arange(d // 2)

        def variant(frequency: Tensor) -> Tensor:
            angles = positions[:, None] * frequency
            return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)

        exponents = torch.arange(d)
        angles = positions[:, None] * 10_000.0 ** (-exponents / d)
        stepped = torch.where(exponents % 2 == 0, angles.sin(), angles.cos())
        mistakes = {
            "cosine and sine are swapped: even channels hold the sine.": swapped,
            "these are [sin | cos] halves; the paper interleaves them: sin, cos, sin, cos.": sinusoidal_table(
                positions, d, convention="halves"
            ),
            "halves with the denominator d/2 - 1: that is the tensor2tensor table, not the paper's.": sinusoidal_table(
                positions, d, convention="tensor2tensor"
            ),
            "natural denominator d/2 - 1: the paper divides by d/2, so the last frequency is not 1/base.": variant(
                10_000.0 ** (-i / (d / 2 - 1))
            ),
            "the exponent lacks its 2: it is 2i/d, so that the frequencies span the base.": variant(
                10_000.0 ** (-i / d)
            ),
            "the exponent must be negative: frequencies fall, wavelengths grow.": variant(10_000.0 ** (2 * i / d)),
            "every channel has its own frequency: a sine and its cosine must share one.": stepped,
        }
        for message, wrong in mistakes.items():
            if _close(found, wrong, 1e-3):
                return message
        return "the numbers differ from sin and cos of position * base^(-2i/d)."
    if not _close(torch.as_tensor(answer(positions, d, 100.0)), sinusoidal_table(positions, d, 100.0)):
        return "right for base 10000 only: use the argument base."
    if not _close(torch.as_tensor(answer(positions[:3], 128, 10_000.0)), sinusoidal_table(positions[:3], 128)):
        return "right for width 8 only: use the argument d_model."
    return None


def add(answer: Callable) -> str | None:
    """2.3: add the first rows of a table to a batch, signature (x, table) with x (batch, seq_len, d_model)."""
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    rows = sinusoidal_table(torch.arange(16), 4)
    given = x.clone()
    try:
        found = answer(x, rows)
    except RuntimeError:  # shapes that do not broadcast
        return "the shapes do not meet: take x.size(1) rows, one a token (x.size(0) counts the sequences of the batch)."
    if untouched(found):
        return todo
    if not torch.equal(x, given):
        return "x was changed in place: the caller may still need it."
    if found.shape != x.shape:
        return f"the shape must stay {tuple(x.shape)}, yours is {tuple(found.shape)}."
    if _close(found, x + rows[:3, None]):
        return "this indexes the batch axis: every token of a sequence gets the same vector; use x.size(1)."
    if not _close(found, x + rows[:5]):
        return "row p of the table belongs to token p of every sequence."
    one = torch.zeros(1, 16, 4)
    return None if _close(answer(one, rows), rows[None]) else "it must also work at the full length of the table."


def rotation(answer: Callable) -> str | None:
    """2.4: the 2x2 matrix that moves (sin(pw), cos(pw)) on by k positions, signature (k, w)."""
    k, w, places = 3.0, 0.7, (0.5, 2.0, 9.0)
    found = answer(k, w)
    if untouched(found):
        return todo
    matrix = torch.as_tensor(found, dtype=torch.float64)
    if matrix.shape != (2, 2):
        return f"two numbers in, two out: shape (2, 2), yours {tuple(matrix.shape)}."

    def moves(m: Tensor, k: float = k, w: float = w) -> list[bool]:
        def pair(q: float) -> Tensor:
            return torch.tensor([math.sin(q * w), math.cos(q * w)], dtype=torch.float64)

        return [_close(m @ pair(p), pair(p + k), 1e-6) for p in places]

    if all(moves(matrix)):
        other = torch.as_tensor(answer(-5.0, 0.2), dtype=torch.float64)
        return None if all(moves(other, -5.0, 0.2)) else "right for one k and w only: use the arguments."
    if any(moves(matrix)):
        return "it moves one position rightly, not every p: the matrix may depend on k and w only."
    if all(moves(matrix.T)):
        return "this turns backward, by -k: the minus sign belongs to the lower left corner for (sin, cos)."
    if matrix.det() > 0 and _close(matrix.T @ matrix, torch.eye(2, dtype=torch.float64), 1e-6):
        return "a rotation, but by another angle than k * w."
    return "it is no rotation: expand sin((p + k)w) and cos((p + k)w) with the angle sums."


def detective(answer: Callable) -> str | None:
    """2.5: the true width of an interleaved table from its row of position 1, signature (row, base)."""
    first = answer(sinusoidal_table(torch.tensor(1), 4, dtype=torch.float64), 10_000.0)
    if untouched(first):
        return todo
    for d, base in ((4, 10_000.0), (64, 10_000.0), (128, 500.0)):
        row = sinusoidal_table(torch.tensor(1), d, base, dtype=torch.float64)
        shown = torch.cat([row[:4], torch.zeros(124, dtype=torch.float64)])  # a page that prints four of "128" numbers
        found = float(answer(shown, base))
        if not abs(found - d) <= 0.01:  # nan too
            if abs(found - len(shown)) < 0.01:
                return "this counts the channels; the question is which width the numbers were computed with."
            if abs(found - 2 * d) < 0.01 or abs(found - d / 2) < 0.01:
                return "off by a factor of two: the second frequency is base^(-2/d)."
            if base != 10_000.0:
                return "right for base 10000 only: use the argument base."
            return "solve row[2] = sin(w) with w = base^(-2/d) for d."
    return None


CHECKS: dict[str, Check] = {"2.1": by_hand, "2.2": table, "2.3": add, "2.4": rotation, "2.5": detective}

MISTAKES: dict[str, dict[str, str]] = {
    "2.1": {
        "0.99995": "row_one = [0.84147, 0.54030, 0.01000, 0.999]",
        "sine first": "row_one = [0.54030, 0.84147, 0.99995, 0.01000]",
        "degrees": "row_one = [0.01745, 0.99985, 0.00017, 1.0]",
        "forgets the 2": "row_one = [0.84147, 0.54030, 0.09983, 0.99500]",
        "five decimals": "row_one = [0.841, 0.540, 0.010, 1.000]",
        "4 numbers": "row_one = [0.84147, 0.54030]",
    },
    "2.2": {
        "natural denominator": """
def my_table(positions, d_model, base):
    i = torch.arange(d_model // 2)
    angles = positions[:, None] * base ** (-i / (d_model / 2 - 1))
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
""",
        "tensor2tensor": """
def my_table(positions, d_model, base):
    i = torch.arange(d_model // 2)
    angles = positions[:, None] * base ** (-i / (d_model / 2 - 1))
    return torch.cat([angles.sin(), angles.cos()], -1)
""",
        "swapped": """
def my_table(positions, d_model, base):
    angles = positions[:, None] * base ** (-torch.arange(0, d_model, 2) / d_model)
    return torch.stack([angles.cos(), angles.sin()], -1).flatten(1)
""",
        "halves": """
def my_table(positions, d_model, base):
    angles = positions[:, None] * base ** (-torch.arange(0, d_model, 2) / d_model)
    return torch.cat([angles.sin(), angles.cos()], -1)
""",
        "lacks its 2": """
def my_table(positions, d_model, base):
    angles = positions[:, None] * base ** (-torch.arange(d_model // 2) / d_model)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
""",
        "negative": """
def my_table(positions, d_model, base):
    angles = positions[:, None] * base ** (torch.arange(0, d_model, 2) / d_model)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
""",
        "share one": """
def my_table(positions, d_model, base):
    channel = torch.arange(d_model)
    angles = positions[:, None] * base ** (-channel / d_model)
    return torch.where(channel % 2 == 0, angles.sin(), angles.cos())
""",
        "argument base": """
def my_table(positions, d_model, base):
    angles = positions[:, None] * 10_000.0 ** (-torch.arange(0, d_model, 2) / d_model)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
""",
        "argument d_model": """
def my_table(positions, d_model, base):
    angles = positions[:, None] * base ** (-torch.arange(0, d_model, 2) / 8)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
""",
        "shape": """
def my_table(positions, d_model, base):
    return torch.sin(positions[:, None] * base ** (-torch.arange(0, d_model, 2) / d_model))
""",
    },
    "2.3": {
        "batch axis": """
def add_positions(x, table):
    return x + table[: x.size(0), None]
""",
        "do not meet": """
def add_positions(x, table):
    return x + table[: x.size(0)]
""",
        "in place": """
def add_positions(x, table):
    x += table[: x.size(1)]
    return x
""",
        "row p": """
def add_positions(x, table):
    return x + table[1 : x.size(1) + 1]
""",
    },
    "2.4": {
        "backward": """
def rotation(k, w):
    return [[math.cos(k * w), -math.sin(k * w)], [math.sin(k * w), math.cos(k * w)]]
""",
        "another angle": """
def rotation(k, w):
    return [[math.cos(w), math.sin(w)], [-math.sin(w), math.cos(w)]]
""",
        "not every p": """
def rotation(k, w):
    p = 2.0
    return [
        [math.sin((p + k) * w) / math.sin(p * w), 0.0],
        [0.0, math.cos((p + k) * w) / math.cos(p * w)],
    ]
""",
        "use the arguments": """
def rotation(k, w):
    c, s = math.cos(3.0 * 0.7), math.sin(3.0 * 0.7)
    return [[c, s], [-s, c]]
""",
        "no rotation": """
def rotation(k, w):
    return [[-math.cos(k * w), math.sin(k * w)], [math.sin(k * w), math.cos(k * w)]]
""",
    },
    "2.5": {
        "counts the channels": """
def true_width(row, base):
    return len(row)
""",
        "factor of two": """
def true_width(row, base):
    return -math.log(base) / math.log(math.asin(row[2]))
""",
        "argument base": """
def true_width(row, base):
    return -2 * math.log(10_000.0) / math.log(math.asin(row[2]))
""",
    },
}
