"""Notebook 03: right answers in other forms than the solution's are right, too."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from helpers.exercises import feedback
from helpers.exercises.nb03 import t5_buckets


def by_counting(real, padding_idx, table_rows):
    rows = []
    for text in real.tolist():
        count = [sum(text[: i + 1]) for i in range(len(text))]
        rows.append([padding_idx + n if token else padding_idx for n, token in zip(count, text, strict=True)])
    return rows, np.int64(table_rows - 1 - padding_idx)


def by_trying(num_buckets, max_distance, both_directions):
    last = (num_buckets // 2 if both_directions else num_buckets) - 1
    buckets = t5_buckets(-torch.arange(3000), num_buckets, max_distance, both_directions)
    return (buckets == last).nonzero()[0, 0]


def without_window(table):
    norms = np.linalg.norm(table, axis=1)
    scars = np.flatnonzero(norms > 2 * np.median(norms))
    unit = table / norms[:, None]
    trained = np.flatnonzero((unit[1:] * unit[:-1]).sum(1) > 0.5)[-1] + 2
    rows = table[:trained].copy()
    rows[scars] = 0
    power = (abs(np.fft.rfft(rows - rows.mean(0), axis=0)) ** 2).sum(1)
    tops = [
        i for i in range(2, len(power) - 1)
        if power[i - 1] < power[i] > power[i + 1] and power[i] > 0.3 * power[2:].max()
    ]  # fmt: skip
    return [[trained / i for i in tops], set(scars.tolist()), trained]


def without_lists(table):
    periods, scars, trained = without_window(table)
    return (value for value in periods), dict.fromkeys(scars).keys(), [trained]


@pytest.mark.parametrize(
    ("number", "answer"),
    [
        ("3.1", by_counting),
        (
            "3.1",
            lambda real, padding_idx, rows: [real.cumsum(1) * real + padding_idx, np.array([rows - padding_idx - 1])],
        ),
        ("3.2", by_trying),
        ("3.2", lambda *setting: [by_trying(*setting)]),
        ("3.3", without_window),
        ("3.3", without_lists),
        ("3.4", lambda period: math.sqrt((1 + math.cos(2 * math.pi / period)) / 2)),
        ("3.4", lambda period: torch.cos(torch.tensor(math.pi / period))),
        ("3.4", lambda period: np.array([math.cos(math.pi / period)])),
        ("3.4", lambda period: round(math.cos(math.pi / period), 3)),
        ("3.5", lambda d, n: n[0] * d + n[1] * d**2),
        ("3.5", lambda d, n: [n[0] * one + n[1] * one**2 for one in d]),
        ("3.5", lambda d, n: n[torch.where(d.abs() <= 1, d + 1, 3)]),
        ("3.5", lambda d, n: -n[0].abs() * (d - n[1]).abs()),
    ],
)
def test_other_right_forms(number, answer):
    assert feedback(number, answer) == f"{number} OK"
