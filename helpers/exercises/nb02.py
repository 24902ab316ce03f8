"""Checks of the exercises of notebook 02 (sinusoidal encodings)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import corpus, race
from ..encodings import NoEncoding
from ..encodings.sinusoidal import sinusoidal_table
from . import Check, todo, untouched


def find_base(answer: Callable) -> str | None:
    """2.1: the base of an interleaved table from the rows of p and p + 1, signature (row, next_row)."""
    cases = [(64, 10_000.0, 2), (4, 10_000.0, 314), (128, 500.0, 12_345), (32, 2.5, 6), (16, 900_000.0, 250)]
    for i, (d, base, p) in enumerate(cases):
        rows = sinusoidal_table(torch.tensor([p, p + 1]), d, base, dtype=torch.float64)
        found = answer(*rows.clone())
        if untouched(found):
            return todo
        found = float(found)
        speed = base ** (-2 / d)
        if abs(found / base - 1) < 1e-3:
            continue
        if i == 2 and math.isclose(found, 10_000, rel_tol=1e-3):
            return "10,000 is the usual base, not every table's: read it off the rows."
        if abs(found - 1) < 1e-6:
            return "this reads the first clock, whose speed is 1 at every base: take the second."
        if math.isclose(found * base, 1, rel_tol=1e-3):
            return "upside down: frequencies fall, so the exponent of the base is -2/d and you solve with -d/2."
        if math.isclose(found, base**2, rel_tol=1e-3) or math.isclose(found, math.sqrt(base), rel_tol=1e-3):
            return "off by a factor of two in the exponent: the second frequency is base^(-2/d)."
        if math.isclose(found, speed, rel_tol=1e-3):
            return "this is the speed of the second clock; solve speed = base^(-2/d) for the base."
        if math.isclose(found, 1 / speed, rel_tol=1e-3):
            return "this is the base for d = 2: the exponent of the second frequency is -2/d, and d is len(row)."
        if i == 0 and math.isclose(found, (2 * math.pi - speed) ** (-d / 2), rel_tol=1e-3):
            return "the hand runs backwards: atan2 takes the sine first, and the angle before goes off the one after."
        if base % 1 and found in (math.floor(base), math.ceil(base)):
            return "rounded: a base need not be a whole number."
        if i > 0 and not math.isfinite(found):
            return "not a number here: p may be large, so that hands have made many turns; take angles with atan2."
        if i > 0:
            return "right where p is small only: the hand may pass twelve; bring the difference into 0 to 2 pi."
        return "solve for the base: the second clock turns by base^(-2/d) from one row to the next."
    return None


def first_rise(answer: object) -> str | None:
    """2.2: the first k with g(k + 1) > g(k) at d = 16 in the convention tensor2tensor."""
    if isinstance(answer, str | bytes | Mapping | bool):
        return "give one whole number: the k after which g rises."
    if isinstance(answer, np.ndarray | Tensor):
        answer = answer.tolist()
    if isinstance(answer, list | tuple) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, list | tuple):  # "from 3 to 4"
        right = [float(x) for x in answer] == [3, 4]
        return None if right else "give one whole number: the k after which g rises."
    k = float(answer)
    if not math.isfinite(k) or k != int(k):
        return "distances are whole numbers of positions; pi lies between two of them."
    named = {
        3: None,
        0: "from 0 to 1 every cosine falls.",
        4: "4 is where g has risen to; the question is after which distance, so that g(k + 1) > g(k).",
        5: "that is the answer for d = 64, where more clocks are still falling; at d = 16 the clocks are fewer.",
        6: "6 is where the fastest clock is at its top again; its cosine turns up at pi already.",
        7: "one turn of the fastest clock is over near 6; its cosine turns up at pi already.",
        11: "that is the answer for d = 128.",
        43: "that is the answer for d = 512.",
    }
    if int(k) in named:
        return named[int(k)]
    if k < 0:
        return "g is symmetric; count distances from 0."
    if k < 3:
        return "before pi every clock falls, the fastest one too."
    return "it rises earlier: where does the cosine of the fastest clock turn up?"


def design(answer: object) -> str | None:
    """2.3: frequencies of 32 clocks whose dot product falls up to distance 64, with rows 0 to 511 apart by 0.12."""
    w = torch.as_tensor(answer, dtype=torch.float64).flatten()
    if len(w) != 32:
        return f"32 clocks have 32 frequencies, these are {len(w)}."
    if not bool((w.isfinite() & (w >= 0)).all()):
        return "frequencies are positive numbers, in radians per position."
    p = torch.arange(512, dtype=torch.float64)[:, None] * w
    rows = torch.cat([p.sin(), p.cos()], -1)
    if not w.any():
        return "all clocks stand still, and every position has the same row."
    rising = torch.nonzero(p[:65].cos().sum(-1).diff() >= 0)
    closest = torch.pdist(rows).min().item()
    if len(rising):
        k = int(rising[0])
        same = w[1:] / w[:-1].clamp(min=1e-12)
        if w.max() > 0.9 and k <= 5 and len(same) and (same - same.mean()).abs().max() < 0.02:
            return f"these are clocks as fast as the paper's, and g does not fall from {k} to {k + 1}."
        return f"g does not fall from distance {k} to {k + 1}: the fastest clocks are too fast."
    if closest < 0.12:
        i, j = divmod(int(torch.cdist(rows, rows).fill_diagonal_(9).argmin()), 512)
        if abs(i - j) > 1:
            same = "have the same row" if closest < 0.01 else f"have rows only {closest:.3f} apart"
            return f"positions {abs(i - j)} apart {same}: all clocks are back at once; vary their speeds."
        return f"g falls, but two positions are {closest:.3f} apart: too many clocks stand nearly still."
    return None


def outside(answer: object) -> str | None:
    """2.4: shares of the squared norm of W outside the seen directions, by optimizer."""
    shares = {str(name).strip().lower(): share for name, share in answer.items()} if hasattr(answer, "items") else {}
    if set(shares) != {"sgd", "adamw"}:
        return 'give a dictionary with the keys "sgd" and "adamw".'
    if any(untouched(share) for share in shares.values()):
        return todo
    sgd, adamw = (float(shares[name]) for name in ("sgd", "adamw"))
    if sgd > 0.9 and 0.5 < adamw < 0.85:
        return "this is the share inside the seen directions; what lies outside is 1 minus it."
    if sgd > adamw:
        return "the two are swapped."
    if adamw > 1:
        return "a share lies between 0 and 1; this looks like percent."
    if -0.001 < sgd < 0.02 and 0.2 < adamw < 0.46:
        return None  # 0.27 after 300 steps, 0.42 after 3,000
    if abs(sgd - adamw) < 0.02:
        return "both the same? Give each optimizer a W of its own, from zero."
    if 0.02 <= sgd < 0.12 and 0.46 <= adamw < 0.65:
        return "this looks like norms: the share is of the squared norm."
    if sgd < 0.02 and adamw < 0.2:
        return "AdamW's is too small: S projects on both sides, S @ W @ S, and 300 steps at 0.02 are asked."
    return "unlike what comes of 300 steps from zero with SGD at 0.2 and AdamW at 0.02: check rates and start."


def _damage(table: Tensor, targets: Tensor | None = None) -> Tensor:
    """Losses by position (96, 64) of the recorded model on the excerpt, with this table added."""
    text, model = corpus.excerpt(), _model()
    with torch.no_grad():
        logits = model(model.token_embedding(text[:, :-1]) + table.float())
    goal = text[:, 1:] if targets is None else targets
    return F.cross_entropy(logits.transpose(1, 2), goal, reduction="none")


@functools.cache
def _model():
    model = race.load_model("sinusoidal", 0)
    model.encoding = NoEncoding()
    return model


def wrong_table(answer: Callable) -> str | None:
    """2.5: loss of the recorded model on the excerpt with another table added, signature (table)."""
    p = torch.arange(64)
    tables = {c: sinusoidal_table(p, 64, convention=c) for c in ("paper", "halves")}
    tables |= {"zeros": torch.zeros(64, 64), "later": sinusoidal_table(p + 64, 64)}
    found = {}
    for name, rows in tables.items():
        found[name] = answer(rows.clone())
        if untouched(found[name]):
            return todo
        found[name] = float(found[name].detach() if isinstance(found[name], Tensor) else found[name])
    losses = {name: _damage(rows) for name, rows in tables.items()}

    def are(wanted: Mapping[str, float], tolerance: float = 0.01) -> bool:
        return all(abs(found[name] - wanted[name]) < tolerance for name in wanted)

    text = corpus.excerpt()
    if are({name: loss.mean().item() for name, loss in losses.items()}):
        return None
    if max(found.values()) - min(found.values()) < 1e-6:
        return "the same whatever the table: it does not reach the model."
    twice = {name: _damage(rows + tables["paper"]).mean().item() for name, rows in tables.items()}
    if are(twice):
        return "your table is added on top of the model's own: switch that off with model.encoding = NoEncoding()."
    unshifted = {name: _damage(rows, text[:, :-1]).mean().item() for name, rows in tables.items()}
    if are(unshifted, 0.05):
        return "the targets are the characters read; the model predicts the next ones, text[:, 1:]."
    if are({name: loss.mean().exp().item() for name, loss in losses.items()}, 0.2):
        return "this is a perplexity; the loss in nats is its logarithm."
    if are({name: loss.mean().item() / math.log(2) for name, loss in losses.items()}, 0.02):
        return "this is in bits; nats are bits times ln 2."
    if are({name: loss[:, -1].mean().item() for name, loss in losses.items()}):
        return "this is the loss of the last character only; take the mean over all 64."
    if are({name: loss.sum().item() for name, loss in losses.items()}, 5):
        return "this is a sum; the loss per character is a mean."
    return "another number than the mean loss of the recorded model on all 96 windows: seed 0, 64 characters read."


CHECKS: dict[str, Check] = {
    "2.1": find_base,
    "2.2": first_rise,
    "2.3": design,
    "2.4": outside,
    "2.5": wrong_table,
}

_BASE = """
def find_base(row, next_row):
    before = math.atan2(row[{0}], row[{0} + 1])
    after = math.atan2(next_row[{0}], next_row[{0} + 1])
    speed = (after - before){1}
    return {2}
"""
_LOSS = """
from helpers.encodings import NoEncoding

def loss_with(table):
    model, text = race.load_model("sinusoidal", seed=0), corpus.excerpt()
    {0}
    with torch.no_grad():
        logits = model(model.token_embedding(text[:, :-1]){1})
    loss = nn.functional.cross_entropy(logits.transpose(1, 2), text[:, {2}], reduction="none")
    return {3}
"""
_TURN, _SOLVE = " % (2 * math.pi)", "speed ** (-len(row) / 2)"
_OFF = "model.encoding = NoEncoding()"

MISTAKES: dict[str, dict[str, str]] = {
    "2.1": {
        "the first clock": _BASE.format(0, _TURN, _SOLVE),
        "upside down": _BASE.format(2, _TURN, "speed ** (len(row) / 2)"),
        "factor of two": _BASE.format(2, _TURN, "speed ** (-len(row) / 4)"),
        "the speed of the second clock": _BASE.format(2, _TURN, "speed"),
        "base for d = 2": _BASE.format(2, _TURN, "1 / speed"),
        "bring the difference into 0 to 2 pi": _BASE.format(2, "", "abs(speed) ** (-len(row) / 2)"),
        "rounded": _BASE.format(2, _TURN, "round(speed ** (-len(row) / 2))"),
        "runs backwards": _BASE.format(2, _TURN, _SOLVE).replace("(after - before)", "(before - after)"),
        "the sine first": """
def find_base(row, next_row):
    before, after = math.atan2(row[3], row[2]), math.atan2(next_row[3], next_row[2])
    return ((after - before) % (2 * math.pi)) ** (-len(row) / 2)
""",
        "the usual base": """
def find_base(row, next_row):
    return 10_000
""",
        "solve for the base": """
def find_base(row, next_row):
    return 10_000.5 - float(row[2]) * 100
""",
    },
    "2.2": {
        "risen to": "first_k = 4",
        "d = 64": "first_k = 5",
        "top again": "first_k = 6",
        "d = 128": "first_k = 11",
        "d = 512": "first_k = 43",
        "before pi": "first_k = 2",
        "whole numbers": "first_k = 3.14",
        "it rises earlier": "first_k = 24",
        "where g has risen": "first_k = [4]",
        "count distances from 0": "first_k = -3",
    },
    "2.3": {
        "as fast as the paper's": "my_frequencies = frequencies(64, 10_000.0)",
        "too fast": "my_frequencies = torch.linspace(0.01, 1, 32)",
        "the same row": "my_frequencies = torch.full((32,), math.pi / 64)",
        "stand nearly still": "my_frequencies = frequencies(64, 10_000.0) / 21",
        "stand still, and": "my_frequencies = torch.zeros(32)",
        "have rows only": "my_frequencies = torch.full((32,), 1 / 64)",
        "too many clocks": "my_frequencies = np.geomspace(math.pi / 6400, math.pi / 64, 32)",
        "fastest clocks": "my_frequencies = torch.linspace(math.pi / 640, math.pi / 32, 32)",
        "32 clocks": "my_frequencies = torch.linspace(math.pi / 640, math.pi / 64, 64)",
        "positive": "my_frequencies = -torch.linspace(math.pi / 640, math.pi / 64, 32)",
    },
    "2.4": {
        "swapped": 'outside = {"sgd": 0.27, "adamw": 0.003}',
        "share inside": 'outside = {"sgd": 0.998, "adamw": 0.73}',
        "percent": 'outside = {"sgd": 0.2, "adamw": 27.0}',
        "squared norm": 'outside = {"sgd": 0.05, "adamw": 0.52}',
        "of its own": 'outside = {"sgd": 0.30, "adamw": 0.31}',
        "the keys": "outside = [0.0, 0.27]",
        "too small": 'outside = {"sgd": 0.0, "adamw": 0.1}',
    },
    "2.5": {
        "on top": _LOSS.format("", " + table", "1:", "loss.mean().item()"),
        "does not reach": _LOSS.format(_OFF, "", "1:", "loss.mean().item()"),
        "the characters read": _LOSS.format(_OFF, " + table", ":-1", "loss.mean().item()"),
        "perplexity": _LOSS.format(_OFF, " + table", "1:", "loss.mean().exp().item()"),
        "bits": _LOSS.format(_OFF, " + table", "1:", "loss.mean().item() / math.log(2)"),
        "last character only": _LOSS.format(_OFF, " + table", "1:", "loss[:, -1].mean().item()"),
        "a sum": _LOSS.format(_OFF, " + table", "1:", "loss.sum().item()"),
    },
}
