"""Where the browser's functions are compared with Python's: one function per explorable, which gets its Python module.

It returns: name of an exported JavaScript function -> (its Python twin, the lists of arguments to compare at).
"""

from __future__ import annotations

import base64
import itertools
import json
import math

import numpy as np
import torch

from helpers.encodings import from_config
from helpers.encodings.alibi import alibi_slopes
from helpers.encodings.config import language_model, model_family, rotary_sets
from helpers.encodings.extension import temperature_factor
from helpers.explore import data

ELSEWHERE = {"extend_your_model": {"read", "edit"}}
"""Exported functions that are tested against something else: test_configurations.py."""


def read(config: dict) -> dict:
    """What JavaScript reads from a configuration, as Python reads it."""
    text = language_model(config)
    sets = rotary_sets(text)
    turning = [name for name, each in sets.items() if each is not None]
    layer_type = "full_attention" if "full_attention" in turning else turning[0]  # the layers that see furthest
    found = from_config(config, layer_type=layer_type)
    rope = sets[layer_type]
    return {
        "family": model_family(text),
        "kind": found.kind,
        "rope": rope,
        "width": found.rotary_dim,
        "headDim": found.head_dim,
        "last": found.rotated == "last",
        "base": found.base,
        "declared": found.max_position_embeddings,
        "original": found.original_max_position_embeddings or found.max_position_embeddings,
        "factor": found.factor,
    }


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


# ---------------------------------------------------------------------------------------------------------------- 03


def t5_buckets(m):
    def spans(buckets, max_distance, direction):
        every = torch.arange(-m.FAR, m.FAR + 1)
        bucket = m.bucket_of(every, buckets, max_distance, direction)
        held = [every[bucket == b].tolist() for b in range(buckets)]
        return [[each[0], each[-1]] if each else None for each in held]

    settings = {
        "buckets": list(range(8, 65, 4)),
        "max_distance": [40, 48, 64, 120, 128, 256, 504, 512],
        "direction": m.DIRECTIONS,
    }
    some = grid(distance=[-600, -128, -33, -1, 0, 1, 20, 600], buckets=[8, 32], max_distance=[48, 128], d=m.DIRECTIONS)
    return {
        "bucketOf": (lambda distance, *rest: int(m.bucket_of(torch.tensor(distance), *rest)), some),
        "spans": (spans, grid(**settings)),
    }


def table_similarity(m):
    def cosines(name, row):
        if name != m.TABLES[0]:
            return m.cosines(name)[row].tolist()
        recorded = data("table_similarity")  # how far it is from the table: test_data.py
        factor = np.frombuffer(base64.b64decode(recorded["int8"]), np.int8).reshape(-1, recorded["rank"])
        factor = factor * np.array(recorded["scale"])
        return (factor @ factor[row]).tolist()

    return {
        "noise": (lambda index: float(m.hashed(np.array([index]))[0]), grid(index=[0, 1, 2, 77, 512 * 384 - 1])),
        "rowsOf": (lambda name: m.LENGTH.get(name, 512), grid(name=m.TABLES)),
        "cosines": (cosines, grid(name=m.TABLES, row=[0, 200, 511]) + [[m.TABLES[1], 1499]]),
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


# ---------------------------------------------------------------------------------------------------------------- 05


def slopes(m):
    ladders = grid(heads=[1, 8, 12, 64], ladder=m.LADDERS, steepest=[0.001, 0.5, 4], ratio=[0.3, 0.84, 1])
    return {
        "alibiSlopes": (alibi_slopes, grid(heads=list(range(1, 65)))),
        "ladderOf": (m.ladder_of, ladders),
        "onePercent": (m.one_percent, grid(slope=[0.001, 0.5, 4])),
    }


def bias_kernels(m):
    settings = {"kernel": m.KERNELS, "strength": [0.01, 0.25, 4], "power": [0.05, 1, 1.95], "window": [32, 137, 1024]}
    return {"biasOf": (m.bias_of, grid(**settings) + [["T5", 1, 1, 4096], ["FIRE", 1, 1, 4096]])}


# ---------------------------------------------------------------------------------------------------------------- 06


def extend_your_model(m):
    found = {model: read(m.data("extend_your_model")[model]["config"]) for model in m.MODELS}
    model_of = {json.dumps(each): model for model, each in found.items()}

    def extended(each, *rest):
        model = model_of[json.dumps(each)]
        made = m.extended(m.parameters_of(model), model, *rest)
        return None if made is None else {"inverse": made.inv_freq.tolist(), "attention": made.attention_factor}

    own = [
        [each, rule, factor, each["original"], 50] for each in found.values() for rule in m.RULES for factor in (1, 6.5)
    ]
    other = grid(found=[found["phi-1"]], rule=list(m.RULES), factor=[1, 2, 64], original=[256, 30_000], times=[1, 700])
    return {"extended": (extended, own + other)}


def temperature(m):
    settings = {"factor": [1, 2.5, 40, 64], "convention": m.CONVENTIONS}
    pairs = {"mscale": [0, 0.7, 1, 1.5], "mscale_all_dim": [0, 0.7, 1]}
    return {
        "temperatureFactor": (temperature_factor, grid(factor=[1, 4, 64], mscale=[0, 0.7, 1])),
        "multipliers": (m.multipliers, grid(**settings, **pairs)),
        "ofLogit": (
            lambda on, share: m.of_logit(*on, share),
            grid(on=[[1.3, 1], [1, 1.7], [1.2, 1.1]], share=[0.05, 1]),
        ),
    }
