"""Where the browser's functions are compared with Python's: one function per explorable, which gets its Python module.

It returns: name of an exported JavaScript function -> (its Python twin, the lists of arguments to compare at).
"""

from __future__ import annotations

import itertools
import math

import torch


def grid(**values: list) -> list[list]:
    """Every combination, as lists of arguments."""
    return [list(chosen) for chosen in itertools.product(*values.values())]


# ---------------------------------------------------------------------------------------------------------------- 01


WORDS = ["the", "cat", "chased", "the", "mouse", "Straße", "猫", "end."]


def own_sentence(m):
    orders = [[0, 4, 2, 3, 1], [4, 3, 2, 1, 0], [1, 2, 3, 4, 0]]
    settings = grid(positions=m.POSITIONS, mask=m.MASKS)
    return {
        "words_of": (m.words_of, [["the cat"], ["  a  b\tc "], [""], ["1 2 3 4 5 6 7 8 9 10"]]),
        "swapped": (m.swapped, grid(count=[0, 1, 2, 3, 8])),
        "matrix": (m.matrix, grid(name=["query", "key", "value"])),
        "sinusoidal_row": (lambda place: m.sinusoidal_table(torch.tensor([place]), 8)[0], grid(place=[0, 1, 7])),
        "attend": (m.attend, [[words, *rest] for words in (WORDS[:1], WORDS[:5], WORDS) for rest in settings]),
        "changes": (m.changes, [[WORDS[:5], order, *rest] for order in orders for rest in settings]),
        "order_for": (
            lambda count, order: order if sorted(order) == list(range(count)) else m.swapped(count),
            [[3, [2, 0, 1]], [3, [2, 2, 1]], [4, [0, 1, 2]], [2, [1, 0]], [0, []]],
        ),
        "moved_to": (_moved_to, [[[0, 1, 2, 3], word, place] for word in range(4) for place in range(4)]),
    }


def _moved_to(order, word, place):
    others = [other for other in order if other != word]
    others.insert(place, word)
    return others


def mask_leak(m):
    states = grid(words=[2, 7, 16], first=m.FIRSTS, causal=m.MASKS, pull=[-3, 0, 1.25])
    return {
        "weights": (m.weights, states),
        "shares": (m.shares, states),
        "distinct": (m.distinct, [[m.shares(*state)] for state in states]),
    }


# ---------------------------------------------------------------------------------------------------------------- 02


def clocks(m):
    where = grid(width=[4, 10, 16], base=[2, 300, 1e6])
    at = [[position, *dials] for position in (0, 3, 500, 1000) for dials in where]
    return {
        "frequencies": (m.sinusoidal_frequencies, where),
        "periods": (m.periods, where),
        "hands": (m.hands, at),
        "nearest": (m.nearest, at),
    }


def sinusoid_kernel(m):
    where = grid(width=[4, 64, 256], base=[2, 300, 10_000, 1e6])
    return {
        "frequencies": (m.sinusoidal_frequencies, where),
        "agreements": (m.agreements, [[offset, *dials] for offset in (0, 7, 100) for dials in where]),
        "kernel": (m.kernel, [[[0, 1, 12, 100], *dials] for dials in where]),
        "first_rise": (m.first_rise, where),
        "drawn": (m.drawn, grid(width=[4, 6, 10, 16, 22, 64, 256])),
    }


# ---------------------------------------------------------------------------------------------------------------- 04


def rope_logit(m):
    where = grid(head_dim=[8, 64, 256], base=[10, 10_000, 1e7])
    return {
        "frequencies": (m.rope_frequencies, where),
        "phases": (m.phases, grid(content=m.CONTENTS, head_dim=[8, 64], base=[500, 10_000], aim=[1, 900])),
        "logits": (
            lambda distances, *rest: m.logits(torch.tensor(distances, dtype=torch.float64), *rest),
            grid(distances=[[1, 17, 4096]], content=m.CONTENTS, head_dim=[8, 128], base=[10_000, 5e5], aim=[100]),
        ),
        "unfinished": (m.unfinished, [[*dials, length] for dials in where for length in (128, 4096, 131_072)]),
        "grid": (m.grid, grid(length=[128, 4096, 131_072])),
    }


def two_arrows(m):
    return {
        "turned": (m.turned, grid(norm=[1, 0.8], angle=[-3, 0, 0.6], position=[0, 7, 20], theta=[0, 0.3, 1.5])),
        "logit": (m.logit, grid(m=[0, 5, 20], n=[0, 2], theta=[0, 0.35, 1.5], q_angle=[0.6, -2], k_angle=[0.1, 3])),
        "principal": (lambda angle: math.remainder(angle, 2 * math.pi), grid(angle=[-9, -3, 0, 1.5, 40])),
    }


# ---------------------------------------------------------------------------------------------------------------- 03


# ---------------------------------------------------------------------------------------------------------------- 05


# ---------------------------------------------------------------------------------------------------------------- 06
