"""Checks of notebook 04, RoPE."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..encodings.rope import interleaved_to_half, layout_permutation, rope_frequencies, rotate_pairs
from . import todo, untouched


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), atol=1e-4)


def _turned(x: Tensor, ids: Tensor, layout: str = "half", sign: float = 1.0, freq: Tensor | None = None) -> Tensor:
    angle = sign * ids.double()[:, None] * (rope_frequencies(x.shape[-1]) if freq is None else freq)
    return rotate_pairs(x, angle.cos(), angle.sin(), layout)


# ------------------------------------------------------------------------------------------- 4.1 half-split RoPE


def half_split(answer: Callable) -> str | None:
    """``answer(x, position_ids, base)`` rotates (seq_len, d) in the half-split layout."""
    x = torch.randn(12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    ids = torch.arange(3, 15)
    got = answer(x.clone(), ids.clone(), 10_000.0)  # a copy: an answer may write into x
    if untouched(got):
        return todo
    if not isinstance(got, Tensor) or got.shape != x.shape:
        return f"the result must be a tensor of the shape of x, {tuple(x.shape)}."
    if _close(got, _turned(x, ids)):
        return _elsewhere(answer, x, ids)
    freq = rope_frequencies(16)
    a, b = x.chunk(2, -1)
    repeated = (ids.double()[:, None] * freq).repeat_interleave(2, -1)
    named = {
        "this is the interleaved layout: pairs (2i, 2i + 1) instead of (i, i + d/2).": _turned(x, ids, "interleaved"),
        "the pairs turn in the opposite direction: check which term carries the minus sign.": _turned(x, ids, sign=-1),
        "the exponent is negative: base^(-2i/d), not base^(+2i/d).": _turned(x, ids, freq=1 / freq),
        "the exponent's denominator is d: yours gives -i/d instead of -2i/d.": _turned(x, ids, freq=freq**0.5),
        "interleaved angles with rotate-half: each angle is repeated for neighbors, but the pairs are (i, i + d/2).": (
            x * repeated.cos() + torch.cat([-b, a], -1) * repeated.sin()
        ),
        "positions count from 0 here; use the position_ids you were given.": _turned(x, torch.arange(12)),
    }
    for words, wrong in named.items():
        if _close(got, wrong):
            return words
    if _close(got, x):
        return "nothing turned: this is x itself."
    if _close(got, _turned(x, ids, freq=freq**2)):
        return "the exponent is -2i/d with i = 0, 1, 2, ...: yours runs twice as fast."
    if not torch.allclose(got.double().norm(dim=-1), x.norm(dim=-1), atol=1e-4):
        return "the norms changed, so this is no rotation: check signs, and that sine and cosine belong together."
    return "not the half-split rotation: compare position by position with the notebook's rope_half."


def _elsewhere(answer: Callable, x: Tensor, ids: Tensor) -> str | None:
    """An answer that is right once may have fixed what it should take from its arguments: vary them one by one."""
    got = answer(x.clone(), ids, 100.0)
    if _close(got, _turned(x, ids)):
        return "right at base 10,000, but your function ignores `base`."
    if not _close(got, _turned(x, ids, freq=rope_frequencies(16, 100.0))):
        return "right at base 10,000 and wrong at base 100: `base` enters as base^(-2i/d) and nowhere else."
    scattered = torch.tensor([7, 0, 3, 3, 90])
    if not _close(answer(x[:5].clone(), scattered, 10_000.0), _turned(x[:5], scattered)):
        return "right for positions in a row, wrong for 7, 0, 3, 3, 90: row t turns by position_ids[t]."
    wide = torch.cat([x, x[:, :8]], -1)
    places = scattered.repeat(3)[:12]
    try:
        right = _close(answer(wide.clone(), places, 10_000.0), _turned(wide, places))
    except Exception:  # a width that is written down often fails by its shape
        right = False
    return None if right else "right for 16 channels, wrong for 24: d is the last dimension of x."


# ----------------------------------------------------------------------------------- 4.2 frequencies, partial head


def partial(answer: Callable) -> str | None:
    """``answer(head_dim, fraction, base)`` gives one frequency a rotated pair."""
    for head_dim, fraction, base in ((96, 0.25, 1e4), (64, 0.5, 1e4), (80, 0.45, 500.0), (80, 0.335, 500.0)):
        got = answer(head_dim, fraction, base)
        if untouched(got):
            return todo
        got = torch.as_tensor(got).double()
        width = int(head_dim * fraction)
        right = rope_frequencies(width, base)
        if _close(got, right):
            continue
        if got.shape == (width,):
            return "that is one frequency a rotated channel; a pair shares one, so there are half as many."
        if got.shape == (head_dim // 2,):
            return "those are the frequencies of the whole head; only the rotated channels have any."
        if got.shape != right.shape:
            return f"{head_dim} channels times {fraction} is {width} rotated ones (cut off): {width // 2} frequencies."
        if _close(got, base ** (-torch.arange(0, width, 2).double() / head_dim)):
            return "denominator head_dim: the exponent divides by the number of *rotated* channels."
        if _close(got, 1 / right):
            return "the exponent is negative."
        if _close(got, right.flip(0)):
            return "right, but fastest first."
        return "not base^(-2i/rotary_dim), i = 0, 1, 2, ..."
    return None


# ------------------------------------------------------------------------------- 4.3 positions, padded and packed


def _positions(mask: Tensor, document: Tensor) -> Tensor:
    same = (document[:, :, None] == document[:, None, :]) & mask[:, None, :]
    return same.long().tril(-1).sum(-1) * mask


def where_tokens_stand(answer: Callable) -> str | None:
    """``answer(mask, document)`` gives position ids (batch, seq_len), from 0 in every document, 0 for padding."""
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1]]).bool()
    document = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1, 1, 2], [0, 0, 0, 0, 0, 0, 0, 0]])
    got = answer(mask.clone(), document.clone())
    if untouched(got):
        return todo
    got = torch.as_tensor(got).expand(mask.shape).long()
    right = _positions(mask, document)
    if torch.equal(got, right):
        return None
    if torch.equal(got, torch.arange(8).expand(3, -1)):
        return "that counts slots: padding is counted, and documents run on."
    if torch.equal(got * mask, _positions(torch.ones_like(mask), document) * mask):
        return "documents restart, but padding is counted: the first real token must be 0."
    if torch.equal(got * mask, (mask.long().cumsum(1) - 1) * mask):
        return "padding is handled, but documents run on: every document starts at 0."
    if torch.equal(got * mask, (right + 1) * mask):
        return "one too many: a cumulative sum counts the token itself, so subtract 1."
    if torch.equal(got * mask, right * mask):
        return "real tokens are right; padding must be 0 (a learned table has no row for a negative position)."
    return "count the earlier real tokens of the same document."


# ----------------------------------------------------------------------------------------- 4.4 convert a checkpoint


def convert(answer: Callable) -> str | None:
    """``answer(weight, n_heads)`` sorts rows from interleaved to half-split."""
    return _converted(answer, 3, 8) or _converted(answer, 5, 4)


def _converted(answer: Callable, n_heads: int, d: int) -> str | None:
    width = 10
    weight = torch.randn(n_heads * d, width, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    got = answer(weight.clone(), n_heads)
    if untouched(got):
        return todo
    if not isinstance(got, Tensor) or got.shape != weight.shape:
        return f"the result must have the shape of the weight, {tuple(weight.shape)}."
    if _close(got, interleaved_to_half(weight, n_heads)):
        return None
    order = layout_permutation(d)
    heads = weight.view(n_heads, d, width)
    if _close(got, heads[:, order.argsort()].reshape_as(weight)):
        return "that is the inverse: it turns half-split rows into interleaved ones."
    if _close(got, weight[layout_permutation(n_heads * d)]):
        return "that sorts all rows at once and mixes the heads: sort inside every head."
    if _close(got, weight):
        return "nothing moved: the rows are still interleaved."
    if not torch.allclose(got.sort(0).values, weight.sort(0).values):
        return "rows must move as they are; yours were changed, or columns were sorted instead of rows."
    return "rows 0, 2, 4, ... of a head come first, then rows 1, 3, 5, ..."


# --------------------------------------------------------------------------------------------- 4.5 a chosen distance


def chosen_distance(answer: Callable) -> str | None:
    """``answer(q, distance)`` gives a key whose logit peaks ``distance`` tokens back."""
    q = torch.randn(64, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    ids = torch.arange(-320, 321)
    for distance in (3, 17, 300, 0):
        key = answer(q.clone(), distance)
        if untouched(key):
            return todo
        key = torch.as_tensor(key).double()
        if key.shape != q.shape:
            return f"the key must have the shape of the query, {tuple(q.shape)}."
        query = _turned(q[None], torch.tensor([0]), "interleaved")[0]
        found = -int(ids[(_turned(key.expand(len(ids), -1), ids, "interleaved") @ query).argmax()])
        if found == distance:
            continue
        if found == -distance:
            return "opposite direction: this key is best that far *ahead*; turn the query the other way."
        if found == 0:
            return "this key is best at distance 0: it was not turned at all, or the turn cancels."
        if _close(key, _turned(q[None], torch.tensor([distance]), "half")[0]):
            return "you turned half-split pairs; the head of this exercise is interleaved."
        return f"best at distance {found} instead of {distance}."
    return None


CHECKS = {"4.1": half_split, "4.2": partial, "4.3": where_tokens_stand, "4.4": convert, "4.5": chosen_distance}

_FREQ = "inv_freq = base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)"
_ROPE = """
def my_rope(x, position_ids, base=10_000.0):
    d = x.shape[-1]
    {freq}
    angle = {ids}.double()[:, None] * inv_freq
    {body}
"""
_HALF = """a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)"""
_BACKWARD = """a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angle.cos() + b * angle.sin(), b * angle.cos() - a * angle.sin()], dim=-1)"""
_INTERLEAVED = """a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1).flatten(-2)"""
_MIXED = """angle = angle.repeat_interleave(2, dim=-1)
    a, b = x.chunk(2, dim=-1)
    return x * angle.cos() + torch.cat([-b, a], dim=-1) * angle.sin()"""
_STRETCHED = """a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angle.cos() + b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)"""


def _rope(body: str = _HALF, freq: str = _FREQ, ids: str = "position_ids") -> str:
    return _ROPE.format(body=body, freq=freq, ids=ids)


_PARTIAL = """
def partial_frequencies(head_dim, fraction, base=10_000.0):
    r = int(head_dim * fraction)
    return {}
"""
_RIGHT = "base ** (-torch.arange(0, r, 2).double() / r)"  # what is wrong is r
_WHERE = "def position_ids_of(mask, document):\n    {}\n"
_SAME = "same = (document[:, :, None] == document[:, None, :]) & mask[:, None, :]"
_CONVERT = "def to_half(weight, n_heads):\n    rows, width = weight.shape\n    return {}\n"
_KEY = """
def key_for(q, distance):
    inv_freq = 10_000.0 ** (-torch.arange(0, q.shape[-1], 2, dtype=torch.float64) / q.shape[-1])
    angle = {sign}distance * inv_freq
    a, b = {pairs}
    return {join}
"""

MISTAKES = {
    "4.1": {
        "interleaved layout": _rope(_INTERLEAVED),
        "opposite direction": _rope(_BACKWARD),
        "exponent is negative": _rope(freq=_FREQ.replace("(-torch", "(torch")),
        "interleaved angles with rotate-half": _rope(_MIXED),
        "ignores `base`": _rope(freq=_FREQ.replace("base **", "10_000.0 **")),
        "positions count from 0": _rope(ids="torch.arange(len(x))"),
        "positions in a row": _rope(ids="(position_ids[0] + torch.arange(len(x)))"),
        "wrong at base 100": _rope(freq=_FREQ + " * (10_000.0 / base)"),
        "wrong for 24": _rope(freq=_FREQ.replace("(0, d, 2", "(0, 16, 2").replace("/ d)", "/ 16)")),
        "d is the last dimension of x": _rope(freq=_FREQ.replace("/ d)", "/ 16)")),
        "exponent's denominator": _rope(freq=_FREQ.replace("/ d)", "/ (2 * d))")),
        "norms changed": _rope(_STRETCHED),
        "nothing turned": "def my_rope(x, position_ids, base=10_000.0):\n    return x\n",
    },
    "4.2": {
        "denominator head_dim": _PARTIAL.format("base ** (-torch.arange(0, r, 2).double() / head_dim)"),
        "exponent is negative": _PARTIAL.format("base ** (torch.arange(0, r, 2).double() / r)"),
        "whole head": _PARTIAL.format("base ** (-torch.arange(0, head_dim, 2).double() / head_dim)"),
        "a rotated channel": _PARTIAL.format("base ** (-torch.arange(r).double() / r)"),
        "fastest first": _PARTIAL.format("(base ** (-torch.arange(0, r, 2).double() / r)).flip(0)"),
        "(cut off)": _PARTIAL.replace("int(", "round(").format(_RIGHT),
        "is 26 rotated ones": _PARTIAL.replace("int(", "math.ceil(").format(_RIGHT),
    },
    "4.3": {
        "counts slots": _WHERE.format("return torch.arange(mask.shape[1]).expand(mask.shape)"),
        "documents run on": _WHERE.format("return (mask.long().cumsum(1) - 1).clamp(min=0)"),
        "subtract 1": _WHERE.format(f"{_SAME}\n    return same.long().tril().sum(-1) * mask"),
        "padding is counted": _WHERE.format(
            "same = document[:, :, None] == document[:, None, :]\n    return same.long().tril(-1).sum(-1) * mask"
        ),
        "padding must be 0": _WHERE.format(f"{_SAME}\n    return same.long().tril(-1).sum(-1) * mask - (~mask).long()"),
    },
    "4.4": {
        "the inverse": _CONVERT.format("weight.view(n_heads, 2, -1, width).transpose(1, 2).reshape(rows, width)"),
        "mixes the heads": _CONVERT.format("torch.cat([weight[0::2], weight[1::2]])"),
        "rows 0, 2, 4, ... of a head": _CONVERT.format(
            "torch.cat([part for head in weight.split(8) for part in (head[0::2], head[1::2])])"
        ),
        "nothing moved": _CONVERT.format("weight"),
        "columns were sorted": _CONVERT.format("torch.cat([weight[:, 0::2], weight[:, 1::2]], dim=1)"),
    },
    "4.5": {
        "opposite direction": _KEY.format(
            sign="-",
            pairs="q[0::2], q[1::2]",
            join="torch.stack([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1).flatten()",
        ),
        "distance 0": "def key_for(q, distance):\n    return q\n",
        "instead of 300": "def key_for(q, distance):\n    return rope(q[None], torch.tensor([distance]), 2e4)[0]\n",
        "interleaved": _KEY.format(
            sign="",
            pairs="q.chunk(2)",
            join="torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()])",
        ),
    },
}
