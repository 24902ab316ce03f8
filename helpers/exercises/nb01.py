"""Checks of notebook 01, the position problem."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch

from .. import scorecard
from ..encodings import Encoding
from ..model import Encoder
from . import todo, untouched

# ------------------------------------------------------------------------------------------- 1.1 undo a shuffle


def undo(answer) -> str | None:
    """``answer(order)`` gives ``back`` with ``x[order][back] == x``."""
    rng = np.random.default_rng(11)
    for n in (5, 6, 9):
        order = rng.permutation(n)
        while (np.argsort(order) == order).all() or (order[::-1] == np.argsort(order)).all():
            order = rng.permutation(n)
        back = answer(order.tolist())
        if untouched(back):
            return todo
        if isinstance(back, tuple):
            return "x[order][back] reads a tuple as one index per axis: return a list or an array."
        if isinstance(back, Mapping) or not hasattr(back, "__len__"):
            return "return a list or an array: x[order][back] takes one."
        back = np.asarray(back)
        if back.shape != (n,):
            return f"an order of {n} positions needs {n} entries; yours has shape {back.shape}."
        if back.dtype.kind not in "iu":
            return "positions are whole numbers: x[order][back] takes no others."
        if back.max() >= n or back.min() < -n:
            return f"positions are counted from 0, so {n} of them end at {n - 1}."
        if (order[back] == np.arange(n)).all():
            continue
        if (back == order).all():
            return "this is the shuffle itself. Shuffling twice restores the order only if the shuffle swaps pairs."
        if (back == order[::-1]).all():
            return "this reads the shuffle backwards. Undoing it means asking where each word went."
        return "x[order][back] is not x. For each old position, find where its word stands now."
    return None


# ----------------------------------------------------------------------------------------- 1.2 which tasks are bags

BAGS = {"a", "c", "f"}
_ORDER = {
    "b": "b asks what stands before what: shuffle 'AB' to 'BA', and the answer flips.",
    "e": "e asks for order: 'ABA' is a palindrome, and its shuffle 'AAB' is none.",
    "g": "g asks who stands side by side: 'AAB' has two As together, its shuffle 'ABA' has not.",
}
_MISSED = {
    "a": "a is missing: a shuffle keeps the shares of A and B, and writing every letter twice does, too.",
    "c": "c is missing: any C has a share of the mean, however small, and no C has none.",
    "f": "f is missing: one letter has all of the share, or another letter has some.",
}


def _is_no(said) -> bool:
    """Whether one entry of a table of questions says that it is no bag: False, 0, "no"."""
    return said.strip().lower() in ("", "0", "n", "no", "false") if isinstance(said, str) else not said


def bags(answer) -> str | None:
    """The letters of the questions that shares of letters decide: one text, several, or a table of True and False."""
    if not isinstance(answer, (str, Mapping)) and not hasattr(answer, "keys"):
        answer = answer.tolist() if isinstance(answer, torch.Tensor) else list(answer)
        if len(answer) == 7 and all(yes in (0, 1) for yes in answer):
            answer = dict(zip("abcdefg", answer, strict=True))
    if hasattr(answer, "keys") and all(isinstance(letter, str) for letter in answer.keys()):
        answer = [letter if yes is not ... else yes for letter, yes in answer.items() if not _is_no(yes)]
    if not isinstance(answer, str) and any(untouched(letter) for letter in answer):
        return todo
    said = answer if isinstance(answer, str) else " ".join(map(str, answer))
    given = re.findall(r"\w", re.sub(r"\band\b", " ", said.lower()))
    if not given:
        return "write the letters of the questions, as in {'b', 'e'}."
    unknown = sorted(set(given) - set("abcdefg"))
    if unknown:
        return f"{unknown[0]!r} is none of the letters a to g."
    for letter, why in _ORDER.items():
        if letter in given:
            return why
    if "d" in given:
        return "d survives every shuffle, but a mean sees shares, not counts: 'AAAB' and 'AAAAAABB' get one output."
    for letter, why in _MISSED.items():
        if letter not in given:
            return why
    return None


# ------------------------------------------------------------------------------------------- 1.3 the cheapest mask


def _told_apart(allowed: np.ndarray) -> int:
    """Orders of the sentence whose mean over one attention layer under this mask is their own."""
    rng = np.random.default_rng(3)
    (query, key, value), vectors = rng.normal(size=(3, 8, 8)) / 8**0.5, rng.normal(size=(4, 8))
    x = vectors[scorecard.all_orders().numpy()]  # (60, 5, 8)
    logits = np.where(allowed, (x @ query) @ (x @ key).transpose(0, 2, 1) / 8**0.5, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    means = (weights / weights.sum(-1, keepdims=True) @ (x @ value)).mean(1)
    return len(np.unique(means.round(7) + 0.0, axis=0))


def cheapest(answer) -> str | None:
    """A mask (5, 5) of six look-ups that tells all 60 orders apart: boolean, of 0 and 1, or of 0 and minus a lot."""
    mask = np.array(answer.tolist() if isinstance(answer, torch.Tensor) else answer, dtype=float)
    mask = mask[(0,) * max(mask.ndim - 2, 0)] if mask.shape[:-2] in ((1,), (1, 1)) else mask
    if mask.shape != (5, 5):
        return f"the mask has one row per query and one column per key, (5, 5); yours has the shape {mask.shape}."
    mask = mask > -1e4 if (mask <= -1e4).any() else mask  # what is added to logits: 0 where a query may look
    if not np.isin(mask, (0, 1)).all():
        return "a mask holds True and False, or 1 and 0."
    allowed = mask.astype(bool)
    blind = np.flatnonzero(~allowed.any(1))
    if len(blind):
        return f"query {blind[0]} looks at nothing, so its softmax has no weights: one look-up per query at least."
    told, used = _told_apart(allowed), int(allowed.sum())
    if told == 60 and used <= 6:
        return None
    if allowed.all():
        return "every word sees every other: this is plain self-attention, 1 of 60."
    if (allowed == np.tri(5, dtype=bool)).all():
        return "this is the causal mask: all 60, for 15 look-ups. Far fewer will do."
    if told == 60:
        return f"all 60 orders, with {used} look-ups. Fewer will do."
    if (allowed == np.eye(5, dtype=bool)).all():
        return "every word sees itself alone, and the mean is that of a bag: 1 of 60."
    if used == 5:
        return f"{told} of 60. One look-up per word cannot do: how many look at each position? Two numbers must agree."
    if (allowed == allowed.T).all() and (allowed == allowed[::-1, ::-1]).all():
        return f"{told} of 60: this mask is its own mirror image, so a sentence and its mirror image get one mean."
    return f"{told} of the 60 orders are told apart, with {used} look-ups."


# ------------------------------------------------------------------------------------- 1.4 an encoding of your own


def _blind_to_mirrors(model: Encoder) -> bool:
    """Whether every order gets the output of its mirror image."""
    with torch.no_grad():
        orders = scorecard.all_orders()
        return torch.allclose(model.pooled(orders), model.pooled(orders.flip(1)), atol=1e-6)


def _sees_distances_only(encoding: Encoding, state) -> bool:
    """Whether the bias of five positions that hold one word is the same at equal distances, up to a number a query."""
    q = torch.linspace(-1, 1, 8, dtype=torch.float64).expand(1, 4, 5, 8)
    bias = torch.as_tensor(encoding.bias(q, q, state, 0)).double().expand(1, 4, 5, 5).clamp(min=-1e4)  # -inf may mask
    bias = bias - bias.diagonal(dim1=2, dim2=3)[..., None]  # the softmax ignores a number added to a whole row
    return torch.allclose(bias[..., 1:, 1:], bias[..., :-1, :-1], atol=1e-5)


def _hidden(encoding: Encoding, state) -> np.ndarray:
    """Which of five keys the bias hides from which query, in any head: boolean (5, 5)."""
    q = torch.linspace(-1, 1, 8, dtype=torch.float64).expand(1, 4, 5, 8)
    bias = encoding.bias(q, q, state, 0)
    if bias is None:
        return np.zeros((5, 5), dtype=bool)
    bias = torch.as_tensor(bias).double().expand(1, 4, 5, 5)
    return (bias < bias.amax(-1, keepdim=True) - 100).any(1)[0].numpy()  # e to the -100: no weight in single precision


def _widest(encoding: Encoding, state) -> float:
    """By how much the bias of five positions that hold one word differs between two keys of a query at most."""
    q = torch.linspace(-1, 1, 8, dtype=torch.float64).expand(1, 4, 5, 8)
    bias = encoding.bias(q, q, state, 0)
    if bias is None:
        return 0.0
    bias = torch.as_tensor(bias).double().expand(1, 4, 5, 5)
    return (bias.amax(-1) - bias.amin(-1)).max().item()


def own_encoding(answer: type[Encoding]) -> str | None:
    """A class of an encoding at door 3 that tells all 60 orders apart and sees only relative positions."""
    if not (isinstance(answer, type) and issubclass(answer, Encoding)):
        return "pass the class itself, a subclass of Encoding."
    encoding = answer()
    places = torch.arange(5)[None]
    everyone = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    others = [hook for hook in ("embed", "rotate", "values") if getattr(answer, hook) is not getattr(Encoding, hook)]
    state = encoding.prepare(places, places, everyone)
    if untouched(state) and not others:
        q = torch.zeros(1, 4, 5, 8, dtype=torch.float64)
        if state is ... or untouched(encoding.bias(q, q, state, 0)):  # a bias may do without `prepare`
            return todo
    for hook, name in (("rotate", "door 2"), ("values", "the side entrance of the values")):
        if hook in others:
            return f"this uses {name}; the exercise asks for door 3, so override `bias` and leave `{hook}` alone."
    model = scorecard.encoder(encoding)
    with torch.no_grad():
        ids = scorecard.all_orders()[:2]
        try:
            twice = model.pooled(ids[:1].expand(3, -1))
        except RuntimeError as error:
            return f"a shape does not fit ({error}); a bias has the shape (1, 1, queries, keys)."
        if not torch.isfinite(twice).all():
            return "outputs are not numbers: does the bias take a logarithm or a root of a negative distance?"
        if (twice - twice[0]).abs().max() > 1e-9:
            return "copies of one sentence get different outputs: this indexes the batch axis, not the sequence."
    if "embed" in others:
        x = torch.randn(2, 5, 32, dtype=torch.float64)
        added = encoding.embed(x, state) - x
        if (added - added[..., :1]).abs().max() < 1e-6:
            return (
                "you add the same number to every channel, and LayerNorm subtracts exactly that: nothing gets through."
            )
        return "this uses door 1; the exercise asks for door 3, so override `bias` and leave `embed` alone."
    hidden = _hidden(encoding, state)
    if (hidden == ~np.tri(5, dtype=bool)).all():
        return "this is the causal mask, and the encoder is to stay bidirectional: leave every word in sight."
    if (hidden & ~np.eye(5, dtype=bool)).any():
        return "this hides words from each other, and the encoder is to stay bidirectional: leave every word in sight."
    told = scorecard.orders_told_apart(encoding)
    widest = _widest(encoding, state)
    if told < 60 and 0 < widest < 1e-3:
        return (
            f"this bias changes a logit by {widest:.0e} at most, so outputs differ by less than single precision keeps "
            "apart. Larger numbers, please."
        )
    if told == 1:
        return (
            "the model still sees a bag: does `bias` return what `prepare` made, and do two words *beside* the "
            "query get different numbers?"
        )
    if told == 30 and _blind_to_mirrors(model):
        return (
            "it is symmetric: a sentence and its mirror image get the same output. Let the sign of the distance matter."
        )
    if told < 60 and widest > 15:  # the softmax leaves e to the -15 to all but one, and less than 1e-6 in the output
        return (
            f"only {told} of 60: numbers this far apart leave one word nearly all the weight, and the rest is lost in "
            "rounding. Smaller ones, please."
        )
    if told < 60:
        return f"only {told} of the 60 orders get an output of their own. Does every distance have its own number?"
    for by in (1000, 7):  # 7 for what repeats after 2, 4, 5, 8 or 10 positions, as 1,000 does
        if not scorecard.change_when_moved(encoding, by) < 1e-4:  # single precision of 0.2 * 1,000 is not finer
            return f"outputs change when the text moves by {by:,} positions: use the distance, not the position."
    if not _sees_distances_only(encoding, state):
        return "two pairs of positions at one distance get different numbers: let the distance alone decide."
    return None


# ------------------------------------------------------------------------------------------------ 1.5 find the twin


class _Symmetric(Encoding):
    """-|i - j| / 2 on the logits: near is better, left and right are the same."""

    def prepare(self, q_pos, k_pos, allowed):
        return -0.5 * self.distance(q_pos, k_pos).abs()[:, None]

    def bias(self, q, k, state, layer):
        return state


def twin(answer) -> str | None:
    """An order of the five positions of the sentence that the symmetric bias cannot tell from the original."""
    if isinstance(answer, (Mapping, set, frozenset)):
        return "a set or a table has no order of its own: write a list, as in [0, 4, 2, 3, 1]."
    order = [int(digit) for digit in re.findall(r"\d", answer)] if isinstance(answer, str) else list(answer)
    order = [int(place) if isinstance(place, str) and place.strip().isdecimal() else place for place in order]
    if any(untouched(place) for place in order):
        return todo
    if any(isinstance(place, str) for place in order) or not order:
        return "write the positions as numbers, as in [0, 4, 2, 3, 1]."
    order = [int(place) if place == int(place) else place for place in order]
    order = [place + 5 if place in range(-5, 0) else place for place in order]  # as Python counts from the end
    if sorted(order) == [1, 2, 3, 4, 5]:
        return "positions are counted from 0: an order names each of the positions 0 to 4 once."
    if sorted(order) != [0, 1, 2, 3, 4]:
        return "an order names each of the positions 0 to 4 once."
    words = scorecard.SENTENCE.split()
    shuffled = [words[i] for i in order]
    if order == [0, 1, 2, 3, 4]:
        return "this is the sentence itself."
    if shuffled == words:
        return "this swaps the two 'the': the same sentence, so every model must agree."
    model = scorecard.encoder(_Symmetric())
    ids = torch.tensor([[scorecard.WORDS.index(word) for word in line] for line in (words, shuffled)])
    with torch.no_grad():
        first, second = model.pooled(ids)
    if (first - second).abs().max() > 1e-9:
        return f"the model tells '{' '.join(shuffled)}' apart. Which shuffle keeps every distance between two words?"
    return None


CHECKS = {"1.1": undo, "1.2": bags, "1.3": cheapest, "1.4": own_encoding, "1.5": twin}

_CLASS = "from helpers.encodings import Encoding\nclass Answer(Encoding):\n"

MISTAKES = {
    "1.1": {
        "the shuffle itself": "def answer(order):\n    return order",
        "backwards": "def answer(order):\n    return order[::-1]",
        "needs 5 entries": "def answer(order):\n    return order[:2]",
        "For each old position": "def answer(order):\n    return list(range(len(order)))",
        "counted from 0": "def answer(order):\n    return [order.index(i) + 1 for i in range(len(order))]",
        "whole numbers": "def answer(order):\n    return np.argsort(order) / 1",
        "a list or an array": "def answer(order):\n    return {place: i for i, place in enumerate(order)}",
        "one index per axis": "def answer(order):\n    return tuple(np.argsort(order))",
        "needs 6 entries": "def answer(order):\n    return [order.index(i) for i in range(5)]",
    },
    "1.2": {
        "a shuffle keeps the shares": "answer = {'c', 'f'}",
        "asks what stands before": "answer = ['A', 'b', 'c', 'f']",
        "shares, not counts": "answer = 'acdf'",
        "is a palindrome": "answer = ('a', 'c', 'e', 'f')",
        "side by side": "answer = {'a', 'c', 'f', 'g'}",
        "'1' is none": "answer = [1, 3, 6]",
        "flips": "answer = {'a': True, 'b': True, 'c': True, 'f': True}",
        "any C has a share": "answer = {'a', 'f'}",
        "all of the share": "answer = {'a', 'c'}",
        "none of the letters": "answer = {'a', 'c', 'h'}",
        "the answer flips": "answer = {'a': 'yes', 'b': 'yes', 'c': 'yes', 'd': 'no', 'f': 'yes'}",
        "no C has none": "answer = [True, False, False, False, False, True, False]",
    },
    "1.3": {
        "15 look-ups": "answer = np.tri(5)",
        "plain self-attention": "answer = np.ones((5, 5))",
        "looks at nothing": "answer = np.eye(5, k=-1)",
        "a bag": "answer = np.eye(5)",
        "its own mirror image": "answer = [[abs(i - j) < 2 for i in range(5)] for j in range(5)]",
        "Two numbers must agree": "answer = np.eye(5)[[0, 0, 0, 1, 2]]",
        "with 9 look-ups": "answer = np.eye(5) + np.eye(5, k=-1)",
        "with 19 look-ups": "answer = 1 - np.eye(5)[[0, 0, 2, 0, 1]] - np.eye(5)[[3]] * np.eye(5)[:, [2]]",
        "told apart, with 10": "answer = np.eye(5) + np.roll(np.eye(5), 1, 0)",
        "one row per query": "answer = [1, 1, 1, 1, 2]",
    },
    "1.4": {
        "symmetric": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -0.5 * self.distance(q_pos, k_pos).abs()[:, None]\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "the causal mask": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -1e9 * (self.distance(q_pos, k_pos) > 0).double()[:, None]\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "hides words": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -1e9 * (self.distance(q_pos, k_pos) < 0).double()[:, None]\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "stay bidirectional": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -1000.0 * self.distance(q_pos, k_pos).clamp(min=0)[:, None]\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "LayerNorm": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return q_pos[..., None] / 16\n"
        "    def embed(self, x, state):\n        return x + state\nanswer = Answer",
        "batch axis": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n        return q_pos[0]\n"
        "    def embed(self, x, state):\n"
        "        return x + state[: len(x), None, None] * x\nanswer = Answer",
        "single precision": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -1e-6 * self.distance(q_pos, k_pos)[:, None]\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "changes a logit by 4e-05": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -1e-5 * self.distance(q_pos, k_pos)[:, None]\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "Smaller ones": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -5.0 * self.distance(q_pos, k_pos)[:, None]\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "*beside* the query": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return (self.distance(q_pos, k_pos) == 0)[:, None].double()\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "only 12 of the 60": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -0.1 * (self.distance(q_pos, k_pos) % 5)[:, None]\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "sees a bag": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -1.0 * self.distance(q_pos, k_pos)[:, None]\nanswer = Answer",
        "not the position": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -0.1 * (q_pos[:, None, :, None] * k_pos[:, None, None, :]).double()\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "door 2": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return (1 + 0.1 * q_pos)[:, None, :, None]\n"
        "    def rotate(self, q, k, state, layer):\n        return q * state, k * state\nanswer = Answer",
        "side entrance": _CLASS + "    needs_weights = True\n"
        "    def values(self, weights, state, layer):\n"
        "        return weights.cumsum(-1).sum(-1, keepdim=True)\nanswer = Answer",
        "distance alone": _CLASS + "    def bias(self, q, k, state, layer):\n"
        "        row, column = (__import__('torch').arange(x.shape[-2]) for x in (q, k))\n"
        "        return -0.3 * (row[:, None] * column)\nanswer = Answer",
        "a negative distance": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -(1 + self.distance(q_pos, k_pos)).log()[:, None]\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "by 7 positions": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -0.3 * (k_pos % 5)[:, None, None]\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "only 13 of the 60": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return (self.distance(q_pos, k_pos) == 4)[:, None].double()\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "door 1": _CLASS + "    def embed(self, x, state):\n"
        "        return x * (1 + 0.1 * __import__('torch').arange(x.shape[1])[:, None])\nanswer = Answer",
    },
    "1.5": {
        "the sentence itself": "answer = [0, 1, 2, 3, 4]",
        "same sentence": "answer = [3, 1, 2, 0, 4]",
        "keeps every distance": "answer = [0, 4, 2, 3, 1]",
        "each of the positions": "answer = [4, 3, 2, 1, 1]",
        "counted from 0": "answer = [5, 4, 3, 2, 1]",
        "no order of its own": "answer = {4, 3, 2, 1, 0}",
        "once": "answer = [4, 3, 2, 1]",
        "apart": "answer = [1, 0, 2, 3, 4]",
        "as numbers": "answer = 'mouse the chased cat the'.split()",
    },
}
