"""Where the browser's functions are compared with Python's: one function per explorable, which gets its Python module.

It returns: name of an exported JavaScript function -> (its Python twin, the lists of arguments to compare at).
"""

from __future__ import annotations

import itertools
import math


def grid(**values: list) -> list[list]:
    """Every combination, as lists of arguments."""
    return [list(chosen) for chosen in itertools.product(*values.values())]


# ---------------------------------------------------------------------------------------------------------------- 04


def two_arrows(m):
    return {
        "turned": (m.turned, grid(norm=[1, 0.8], angle=[-3, 0, 0.6], position=[0, 7, 20], theta=[0, 0.3, 1.5])),
        "logit": (m.logit, grid(m=[0, 5, 20], n=[0, 2], theta=[0, 0.35, 1.5], q_angle=[0.6, -2], k_angle=[0.1, 3])),
        "principal": (lambda angle: math.remainder(angle, 2 * math.pi), grid(angle=[-9, -3, 0, 1.5, 40])),
    }


# ---------------------------------------------------------------------------------------------------------------- 03


# ---------------------------------------------------------------------------------------------------------------- 05


# ---------------------------------------------------------------------------------------------------------------- 06
