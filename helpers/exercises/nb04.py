"""Checks of notebook 04, RoPE."""

from __future__ import annotations

import functools
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encodings import build
from ..encodings.rope import interleaved_to_half, layout_permutation, rope_frequencies, rotate_pairs
from ..model import CausalLM, KVCache
from . import todo, untouched


def _close(a: Tensor, b: Tensor, atol: float = 1e-4) -> bool:
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), atol=atol)


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------ 4.1 a cached table, positions by row


def _halves(x: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([-b, a], -1)


def cached_table(answer: Callable) -> str | None:
    """``answer(x, position_ids, cos, sin)`` rotates (batch, heads, seq_len, d) by rows of a table (max_len, d)."""
    return _by_table(answer, 2, 3, 5, 8) or _by_table(answer, 3, 3, 4, 12) or _in_half(answer)


def _table(length: int, d: int) -> tuple[Tensor, Tensor]:
    angle = torch.arange(length).double()[:, None] * rope_frequencies(d, 100.0)
    angle = torch.cat([angle, angle], -1)
    return angle.cos(), angle.sin()


def _by_table(answer: Callable, batch: int, heads: int, t: int, d: int) -> str | None:
    x, (cos, sin) = _draw(batch, heads, t, d, seed=4), _table(40, d)
    ids = torch.randint(0, 40, (batch, t), generator=torch.Generator().manual_seed(1))
    got = answer(x.clone(), ids.clone(), cos.clone(), sin.clone())  # copies: an answer may write into them
    if untouched(got):
        return todo
    got = torch.as_tensor(got)
    c, s = cos[ids][:, None], sin[ids][:, None]
    if got.shape != x.shape:
        return f"the result must have the shape of x, {tuple(x.shape)}; yours has {tuple(got.shape)}."
    if _close(got, x * c + _halves(x) * s):
        return None
    a, b = x.chunk(2, -1)
    pairs = torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)
    first = ids[:1]
    named = {
        "rows 0, 1, 2, ... of the table whatever the positions are: look up position_ids.": (
            x * cos[:t] + _halves(x) * sin[:t]
        ),
        "every sequence got the positions of the first: position_ids differ by row.": (
            x * cos[first][:, None] + _halves(x) * sin[first][:, None]
        ),
        "the other direction: rotate_half puts the minus on the second half, and moves it to the front.": (
            x * c - _halves(x) * s
        ),
        "the minus went to the first half, which stayed in front: rotate_half puts minus the second half in front.": (
            x * c + torch.cat([-a, b], -1) * s
        ),
        "the halves are swapped without a minus: this is no rotation.": x * c + torch.cat([b, a], -1) * s,
        "pairs of neighbors with a table for halves: the mix-up of layouts.": x * c + pairs * s,
        "sine and cosine have changed places.": x * s + _halves(x) * c,
    }
    if batch == heads:
        named["the batch axis of the table met the axis of heads: insert an axis of 1 for the heads."] = (
            x * cos[ids] + _halves(x) * sin[ids]
        )
    for words, wrong in named.items():
        if _close(got, wrong):
            return words
    return "not x cos + rotate_half(x) sin at position_ids: compare one sequence with rope_half."


def _in_half(answer: Callable) -> str | None:
    x, (cos, sin) = _draw(1, 2, 6, 8, seed=5).bfloat16(), _table(300, 8)
    ids = torch.arange(290, 296)[None]
    got = torch.as_tensor(answer(x.clone(), ids, cos.float(), sin.float()))
    if got.dtype != x.dtype:
        return f"queries in bfloat16 came back as {str(got.dtype)[6:]}: compute in the table's dtype, then cast back."
    right = x.float() * cos.float()[ids][:, None] + _halves(x.float()) * sin.float()[ids][:, None]
    if torch.equal(got, right.bfloat16()):
        return None
    return "right in double precision; in bfloat16 the table or a product was cast down first: cast only the result."


# ------------------------------------------------------------------------------- 4.2 positions, padded and packed


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
    if isinstance(got, list | tuple) and any(isinstance(row, Tensor) for row in got):
        got = torch.stack([torch.as_tensor(row) for row in got])  # one row per sequence
    got = torch.as_tensor(got).expand(mask.shape)
    got = got.real if got.is_complex() else got
    if got.is_floating_point() and not torch.equal(got, got.round()):
        return "positions are whole numbers: they count tokens."
    got = got.long()
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


# ------------------------------------------------------------------------------- 4.3 which one is converted wrongly


def _logits(pair: tuple[Tensor, Tensor], n_heads: int, layout: str, ids: tuple[int, ...] = (0, 1, 4, 9)) -> Tensor:
    """Logits of some vectors at some positions, head by head: (heads, T, T)."""
    x = _draw(len(ids), pair[0].shape[1], seed=8)
    at = torch.tensor(ids).double()[:, None]

    def heads(w: Tensor) -> Tensor:
        made = (x @ w.double().T).unflatten(-1, (n_heads, -1)).transpose(0, 1)
        angle = at * rope_frequencies(made.shape[-1])
        return rotate_pairs(made, angle.cos(), angle.sin(), layout)

    return heads(pair[0]) @ heads(pair[1]).mT


def _family(kind: str, seed: int) -> tuple[tuple[Tensor, Tensor], dict[str, tuple[Tensor, Tensor]], str]:
    """An interleaved original with two heads, four half-split copies, and the name of the wrong one."""
    n, d, width = 2, 8, 12
    q, k = _draw(2, n * d, width, seed=seed)
    order = layout_permutation(d)
    sort = functools.partial(interleaved_to_half, n_heads=n)

    def within(w: Tensor, index: Tensor) -> Tensor:
        return w.view(n, d, width)[:, index].reshape_as(w)

    def turned(w: Tensor) -> Tensor:  # every pair by one constant angle, the same for queries and keys
        rows = w.view(n, d, width).mT
        angle = torch.tensor(0.6, dtype=torch.float64)
        return rotate_pairs(rows, angle.cos(), angle.sin(), "half").mT.reshape_as(w)

    wrong = {
        "keys as they were": (sort(q), k),
        "sorted twice": (within(q, order[order]), within(k, order[order])),
        "sorted across heads": (q[layout_permutation(n * d)], k[layout_permutation(n * d)]),
        "not sorted": (q, k),
        "sorted in the first head only": tuple(torch.cat([sort(w)[:d], w[d:]]) for w in (q, k)),
    }[kind]
    good = [(2 * sort(q), sort(k) / 2), (sort(q), sort(k)), (turned(sort(q)), turned(sort(k)))]
    at = 1 + seed % 3
    made = dict(zip("ABCD", [*good[:at], wrong, *good[at:]], strict=True))
    return (q, k), made, "ABCD"[at]


CASES = {
    "keys as they were": 1,
    "sorted twice": 2,
    "sorted across heads": 3,
    "not sorted": 5,
    "sorted in the first head only": 6,
}


def four_checkpoints() -> tuple[tuple[Tensor, Tensor], dict[str, tuple[Tensor, Tensor]]]:
    """What exercise 4.3 is about: (query, key) projections of an interleaved model, two heads of 8 channels, and four
    copies that are said to be sorted for half-split rotation."""
    original, made, _ = _family("sorted twice", 7)
    return original, made


def _largest(read: Callable, original: tuple[Tensor, Tensor], made: Mapping[str, tuple[Tensor, Tensor]]) -> str:
    right = read(original, "interleaved")
    return max(made, key=lambda name: (read(made[name], "half") - right).abs().max().item())


def misconverted(answer: Callable) -> str | None:
    """``answer(original, checkpoints, n_heads)`` names the copy whose logits differ."""
    families = [_family(kind, seed) for kind, seed in CASES.items()]
    said = []
    for original, made, _ in families:
        got = answer(tuple(w.clone() for w in original), {n: tuple(w.clone() for w in p) for n, p in made.items()}, 2)
        if untouched(got):
            return todo
        said.append(_one_name(got))
    if said == [right for *_, right in families]:
        return None
    unknown = [name for name in said if name not in ("A", "B", "C", "D")]
    if unknown:
        return f"return one name, such as 'A'; yours gave {reprlib.repr(unknown[0])}."

    def by(read: Callable) -> list[str]:
        return [_largest(read, original, made) for original, made, _ in families]

    other = {"interleaved": "interleaved", "half": "interleaved"}
    first = [
        next(name for name, pair in made.items() if not _close(pair[0], interleaved_to_half(original[0], 2)))
        for original, made, _ in families
    ]
    named = {
        "rows that differ from the sorted ones can still give the same logits: compare logits.": first,
        "you read the copies interleaved; they are said to be half-split.": by(
            lambda pair, layout: _logits(pair, 2, other[layout])
        ),
        "you took both heads for one of 16 channels: rotate head by head.": by(
            lambda pair, layout: _logits(pair, 1, layout)
        ),
    }
    for words, wrong in named.items():
        if said == wrong:
            return words
    seen = ("keys as they were", "sorted across heads")  # at equal positions too; the others are not
    if said[1] != families[1][2] and all(said[i] == families[i][2] for i, kind in enumerate(CASES) if kind in seen):
        return (
            "one copy is not found: its dot products at *equal* positions are right. Put query and key at different "
            "positions."
        )
    missed = next(kind for kind, name, family in zip(CASES, said, families, strict=True) if name != family[2])
    return f"right on some families of copies, wrong where the rows are {missed}: compare every head's logits."


def _one_name(got: Any) -> str:
    while isinstance(got, list | tuple | set) and len(got) == 1:
        (got,) = got
    return str(got).strip().upper()


# --------------------------------------------------------------------------------------------- 4.4 real 2 x 2 matrices


def _plane() -> dict[str, tuple[list[list[float]], bool]]:
    c, s = 0.8, 0.6
    return {
        "a rotation": ([[c, -s], [s, c]], True),
        "the identity": ([[1.0, 0.0], [0.0, 1.0]], True),
        "half a turn": ([[-1.0, 0.0], [0.0, -1.0]], True),
        "a shear": ([[1.0, 0.7], [0.0, 1.0]], False),
        "a rotation that also stretches": ([[1.5 * c, -1.5 * s], [1.5 * s, 1.5 * c]], False),
        "a rotation in a skewed basis": ([[c, -2 * s], [s / 2, c]], False),
        "a stretch along one axis": ([[2.0, 0.0], [0.0, 0.5]], False),
        "two columns of norm 1 that are not orthogonal": ([[1.0, c], [0.0, s]], False),
        "two rows of norm 1 that are not orthogonal": ([[1.0, 0.0], [c, s]], False),
        "rows and columns of norm 1 that are not orthogonal": ([[c, s], [s, c]], False),
        "a projection": ([[1.0, 0.0], [0.0, 0.0]], False),
        "a reflection in a skewed basis": ([[1.0, 0.7], [0.0, -1.0]], False),
        "a reflection": ([[c, s], [s, -c]], True),
    }


def real_case(answer: Callable) -> str | None:
    """``answer(M)`` says whether the powers of a real 2 x 2 matrix fulfil the wish."""
    for words, (matrix, right) in _plane().items():
        got = answer(torch.tensor(matrix, dtype=torch.float64))
        if untouched(got):
            return todo
        if isinstance(got, str):
            return f"return True or False, not the word {reprlib.repr(got)}."
        if bool(got) == right:
            continue
        if words == "a reflection":
            return "you refuse a reflection. Try M = diag(1, -1): M^m is 1 or -1 in one channel, and the wish holds."
        return f"you {'refuse' if right else 'allow'} {words}: compare (M^m)^T M^n at (m, n) and at (m + 1, n + 1)."
    return None


# ---------------------------------------------------------------------------------------------- 4.5 a batched generate


@functools.cache
def _model(name: str) -> CausalLM:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = CausalLM(13, 32, 2, 2, build(name, d_model=32, n_heads=2))
        for p in model.parameters():
            nn.init.normal_(p, std=0.5)
    return model.eval()


def _prompts() -> list[Tensor]:
    drawn = torch.randint(1, 13, (4, 12), generator=torch.Generator().manual_seed(3))
    return [row[:n] for row, n in zip(drawn, (12, 5, 9, 7), strict=True)]


@torch.no_grad()
def _generate(
    model: CausalLM, prompts: list[Tensor], n: int, left: bool = True, mask: bool = True, ids: bool = True,
    new: str = "each its own",
) -> Tensor:  # fmt: skip
    """Right by default; every argument is one thing to get wrong."""
    longest, lengths = max(map(len, prompts)), torch.tensor([len(p) for p in prompts])[:, None]
    x = torch.stack([F.pad(p, (longest - len(p), 0) if left else (0, longest - len(p))) for p in prompts])
    slot = torch.arange(longest)
    real = slot >= longest - lengths if left else slot < lengths
    where = (real.long().cumsum(1) - 1).clamp(min=0) if ids else slot.expand(len(x), -1)
    cache, out = KVCache(after_rotation=True), []
    logits = model(x, position_ids=where, attention_mask=real if mask else None, cache=cache)
    for step in range(n):
        out.append(logits[:, -1].argmax(-1))
        at = {"each its own": lengths + step, "by slot": torch.full_like(lengths, longest + step), "stuck": lengths}
        at["one too far"] = lengths + step + 1
        logits = model(out[-1][:, None], position_ids=at[new], cache=cache)
    return torch.stack(out, 1)


WRONG_WAYS = {
    "this is still the code as it was: nothing that it gets wrong has changed.": {
        "left": False, "mask": False, "ids": False, "new": "by slot",
    },
    "padding stands on the right, and logits[:, -1] is read at a padding slot: pad on the left.": {"left": False},
    "padding takes part: give the first pass an attention_mask.": {"mask": False},
    "padding takes part, and positions count it: mask and position_ids of the first pass are both missing.": {
        "mask": False, "ids": False, "new": "by slot",
    },
    "the first pass is right, and new tokens are counted by slot: each row goes on from its own last position.": {
        "new": "by slot",
    },
    "every new token stands one too far: the first new one of a row stands where its prompt ends, at its length.": {
        "new": "one too far",
    },
    "every new token of a row stands at the same position: count on with each step.": {"new": "stuck"},
    "new tokens count real tokens and the prompt counts slots: position_ids of the first pass are missing.": {
        "ids": False,
    },
}  # fmt: skip


def batched_generate(answer: Callable) -> str | None:
    """``answer(model, prompts, n_tokens)`` continues each prompt as if it were alone."""
    prompts, n, given, alone, reads = _prompts(), 10, {}, {}, []
    for name in ("rope", "sinusoidal"):
        model = _model(name)
        watch = model.blocks[0].register_forward_pre_hook(lambda _, args: reads.append(tuple(args[0].shape[:2])))
        try:
            got = answer(model, [p.clone() for p in prompts], n)
        finally:
            watch.remove()
        if untouched(got):
            return todo
        given[name] = [torch.as_tensor(row).flatten().tolist() for row in got]
        alone[name] = [model.generate(p[None], n)[0, -n:].tolist() for p in prompts]
        if len(given[name]) != len(prompts):
            return f"one row of new tokens per prompt, {len(prompts)} of them; yours gave {len(given[name])}."
        sizes = {len(row) for row in given[name]} - {n}
        if sizes and min(sizes) > n:
            return f"rows of {max(sizes)} tokens where {n} were asked for: return the new tokens, without the prompt."
        if sizes:
            return f"rows of {min(sizes)} tokens where {n} were asked for: the first new one follows from the prompt."
    if given == alone:
        if any(batch != len(prompts) for batch, _ in reads):
            return "right tokens, but the prompts were continued one by one: keep the batch."
        if sum(length for _, length in reads) > 2 * (max(map(len, prompts)) + n):
            return "right tokens, but every step read all tokens again: keep the cache."
        return None
    for words, how in WRONG_WAYS.items():
        if all(rows == _generate(_model(name), prompts, n, **how).tolist() for name, rows in given.items()):
            return words
    if given["rope"] == alone["rope"]:
        return "right for RoPE, wrong for a model that adds a table: positions must count real tokens only, from 0."
    return "rows differ from the prompts continued alone: print the position of every token, in both passes."


CHECKS = {
    "4.1": cached_table, "4.2": where_tokens_stand, "4.3": misconverted, "4.4": real_case, "4.5": batched_generate,
}  # fmt: skip

_TABLE = """
def apply_rotary(x, position_ids, cos, sin):
    a, b = x.chunk(2, dim=-1)
    half = torch.cat([-b, a], dim=-1)
    {}
"""
_WHERE = "def position_ids_of(mask, document):\n    {}\n"
_SAME = "same = (document[:, :, None] == document[:, None, :]) & mask[:, None, :]"
_FIND = """
def logits_of(pair, layout, heads, at=(0, 2, 5)):
    x = torch.randn(len(at), pair[0].shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    out = []
    for w in pair:
        rows = (x @ w.T).unflatten(-1, (heads, -1)).transpose(0, 1)
        out.append((rope if layout == "neighbors" else rope_half)(rows, torch.tensor(at), base=1e4))
    return out[0] @ out[1].mT


def misconverted(original, checkpoints, n_heads):
    {}
"""
_MAX = """right = logits_of(original, "neighbors", {heads}{more})
    def off(name):
        return (logits_of(checkpoints[name], "{layout}", {heads}{more}) - right).abs().max().item() > 1e-6
    wrong = [name for name in checkpoints if off(name)]
    return wrong[{which}] if wrong else "B\""""
_PLANE = "def fulfils(M):\n    return {}\n"
_GENERATE = """
@torch.no_grad()
def generate(model, prompts, n_tokens):
    longest = max(len(p) for p in prompts)
    lengths = torch.tensor([len(p) for p in prompts])[:, None]
    ids = torch.stack([F.pad(p, {pad}) for p in prompts])
    mask = {real}
    where = (mask.long().cumsum(1) - 1).clamp(min=0)
    cache = KVCache(after_rotation=True)
    logits = model(ids, cache=cache{first})
    new = []
    for step in range(n_tokens):
        new.append(logits[:, -1].argmax(-1))
        logits = model(new[-1][:, None], position_ids={at}, cache=cache)
    return torch.stack(new, 1)
"""


def _made(
    pad: str = "(longest - len(p), 0)", real: str = "torch.arange(longest) >= longest - lengths",
    first: str = ", attention_mask=mask, position_ids=where", at: str = "lengths + step",
) -> str:  # fmt: skip
    return _GENERATE.format(pad=pad, real=real, first=first, at=at)


_SLOT = "torch.full_like(lengths, longest + step)"
_RIGHT = {"pad": "(0, longest - len(p))", "real": "torch.arange(longest) < lengths"}

MISTAKES = {
    "4.1": {
        "look up position_ids": _TABLE.format("return x * cos[: x.shape[2]] + half * sin[: x.shape[2]]"),
        "positions of the first": _TABLE.format("return x * cos[position_ids[0]] + half * sin[position_ids[0]]"),
        "the other direction": _TABLE.format(
            "return x * cos[position_ids][:, None] - half * sin[position_ids][:, None]"
        ),
        "the minus went to the first half": _TABLE.format(
            "half = torch.cat([-a, b], -1)\n"
            "    return x * cos[position_ids][:, None] + half * sin[position_ids][:, None]"
        ),
        "without a minus": _TABLE.format(
            "return x * cos[position_ids][:, None] + torch.cat([b, a], -1) * sin[position_ids][:, None]"
        ),
        "mix-up of layouts": _TABLE.format(
            "half = torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)\n"
            "    return x * cos[position_ids][:, None] + half * sin[position_ids][:, None]"
        ),
        "insert an axis of 1": _TABLE.format(
            "c, s = (t[position_ids] for t in (cos, sin))\n"
            "    c, s = (c, s) if len(x) == x.shape[1] else (c[:, None], s[:, None])\n"
            "    return x * c + half * s"
        ),
        "changed places": _TABLE.format("return x * sin[position_ids][:, None] + half * cos[position_ids][:, None]"),
        "then cast back": _TABLE.format("return x * cos[position_ids][:, None] + half * sin[position_ids][:, None]"),
        "cast only the result": _TABLE.format(
            "c, s = (t[position_ids][:, None].to(x.dtype) for t in (cos, sin))\n    return x * c + half * s"
        ),
    },
    "4.2": {
        "counts slots": _WHERE.format("return torch.arange(mask.shape[1]).expand(mask.shape)"),
        "documents run on": _WHERE.format("return (mask.long().cumsum(1) - 1).clamp(min=0)"),
        "subtract 1": _WHERE.format(f"{_SAME}\n    return same.long().tril().sum(-1) * mask"),
        "padding is counted": _WHERE.format(
            "same = document[:, :, None] == document[:, None, :]\n    return same.long().tril(-1).sum(-1) * mask"
        ),
        "positions are whole numbers": _WHERE.format(f"{_SAME}\n    return (same.long().tril().sum(-1) - 0.5) * mask"),
        "padding must be 0": _WHERE.format(f"{_SAME}\n    return same.long().tril(-1).sum(-1) * mask - (~mask).long()"),
    },
    "4.3": {
        "can still give the same logits": _FIND.format(
            "order = layout_permutation(8)\n"
            "    right = original[0].view(2, 8, -1)[:, order].reshape_as(original[0])\n"
            "    return next(n for n, pair in checkpoints.items() if not torch.allclose(pair[0], right))"
        ),
        "at *equal* positions": _FIND.format(
            _MAX.format(heads="n_heads", layout="halves", more=", at=(0, 0, 0)", which=0)
        ),
        "read the copies interleaved": _FIND.format(
            "right = logits_of(original, 'neighbors', n_heads, at=(0, 1, 4, 9))\n    return max(checkpoints, key="
            "lambda n: (logits_of(checkpoints[n], 'neighbors', n_heads, at=(0, 1, 4, 9)) - right).abs().max().item())"
        ).replace("manual_seed(0)", "manual_seed(8)"),
        "rotate head by head": _FIND.format(
            "right = logits_of(original, 'neighbors', 1, at=(0, 1, 4, 9))\n    return max(checkpoints, key="
            "lambda n: (logits_of(checkpoints[n], 'halves', 1, at=(0, 1, 4, 9)) - right).abs().max().item())"
        ).replace("manual_seed(0)", "manual_seed(8)"),
        "sorted in the first head only": _FIND.format(
            "right = logits_of(original, 'neighbors', n_heads, at=(0, 1, 4, 9))[0]\n    return max(checkpoints, key="
            "lambda n: (logits_of(checkpoints[n], 'halves', n_heads, at=(0, 1, 4, 9))[0] - right).abs().max().item())"
        ),
        "return one name": _FIND.format("return [n for n in checkpoints]"),
    },
    "4.4": {
        "allow a shear": _PLANE.format("abs(torch.linalg.det(M) - 1) < 1e-6"),
        "refuse a reflection": _PLANE.format(
            "torch.allclose(M.T @ M, torch.eye(2, dtype=M.dtype)) and torch.linalg.det(M) > 0"
        ),
        "allow a rotation in a skewed basis": _PLANE.format(
            "torch.allclose(torch.linalg.eigvals(M).abs(), torch.ones(2, dtype=M.dtype)) and not M[1, 0] == 0 or "
            "abs(M[0, 1]) == 0 and abs(abs(M[0, 0]) - 1) < 1e-6 and abs(abs(M[1, 1]) - 1) < 1e-6"
        ),
        "allow two columns": _PLANE.format(
            "torch.allclose(M.norm(dim=0), torch.ones(2, dtype=M.dtype)) and abs(M[0, 0]) <= 1"
        ),
        "allow rows and columns of norm 1": _PLANE.format(
            "all(torch.allclose(M.norm(dim=i), torch.ones(2, dtype=M.dtype)) for i in (0, 1))"
        ),
        "allow two rows": _PLANE.format("torch.allclose(M.norm(dim=1), torch.ones(2, dtype=M.dtype))"),
        "allow a reflection in a skewed basis": _PLANE.format(
            "torch.allclose(M.T @ M, torch.eye(2).to(M)) or torch.allclose(M @ M, torch.eye(2).to(M))"
        ),
        "return True or False": _PLANE.format("'yes' if torch.allclose(M.T @ M, torch.eye(2).to(M)) else 'no'"),
        "allow a rotation that also stretches": _PLANE.format("torch.allclose(M.T @ M, M @ M.T)"),
    },
    "4.5": {
        "the code as it was": _made(pad=_RIGHT["pad"], first="", at=_SLOT),
        "padding stands on the right": _made(**_RIGHT),
        "give the first pass an attention_mask": _made(first=", position_ids=where"),
        "are both missing": _made(first="", at=_SLOT),
        "new tokens are counted by slot": _made(at=_SLOT),
        "count on with each step": _made(at="lengths"),
        "stands one too far": _made(at="lengths + step + 1"),
        "keep the batch": """
def generate(model, prompts, n_tokens):
    return [model.generate(p[None], n_tokens)[0, -n_tokens:] for p in prompts]
""",
        "keep the cache": """
def generate(model, prompts, n_tokens):
    longest = max(len(p) for p in prompts)
    ids = torch.stack([F.pad(p, (longest - len(p), 0)) for p in prompts])
    mask = torch.stack([F.pad(torch.ones(len(p)).bool(), (longest - len(p), 0)) for p in prompts])
    return model.generate(ids, n_tokens, attention_mask=mask)[:, longest:]
""",
        "the prompt counts slots": _made(first=", attention_mask=mask"),
        "wrong for a model that adds a table": _made(first=", attention_mask=mask", at=_SLOT),
        "without the prompt": _made().replace("torch.stack(new, 1)", "torch.cat([ids, torch.stack(new, 1)], 1)"),
        "follows from the prompt": _made().replace("torch.stack(new, 1)", "torch.stack(new[1:], 1)"),
    },
}
