"""Checks of notebook 01, the position problem."""

from __future__ import annotations

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
        back = np.asarray(back)
        if back.shape != (n,):
            return f"an order of {n} seats needs {n} entries; yours has shape {back.shape}."
        if (order[back] == np.arange(n)).all():
            continue
        if (back == order).all():
            return "this is the shuffle itself. Shuffling twice restores the seats only if the shuffle swaps pairs."
        if (back == order[::-1]).all():
            return "this reads the shuffle backwards. Undoing it means asking where each word went."
        return "x[order][back] is not x. For each old seat, find where its word sits now."
    return None


# ------------------------------------------------------------------------------------------- 1.2 the right word

RIGHT_WORD = {
    "self-attention": "equivariant",
    "self-attention, then the mean over tokens": "invariant",
    "an MLP on every token": "equivariant",
    "causal self-attention": "neither",
    "one fixed query attending over the tokens": "invariant",
    "a convolution over three neighbors": "neither",
}
_NAMED = {
    ("self-attention", "invariant"): "its outputs move with their words, so it is not invariant.",
    ("self-attention, then the mean over tokens", "equivariant"): "the mean has no seats left that could move.",
    ("causal self-attention", "equivariant"): "the mask belongs to the seats, not to the words: a word that moves "
    "sees other words.",
    ("an MLP on every token", "invariant"): "an MLP on every token moves each output with its word.",
    ("a convolution over three neighbors", "equivariant"): "a convolution is equivariant to shifts; a permutation "
    "gives a word other neighbors.",
}


def right_word(answer: dict[str, str]) -> str | None:
    """A dict from the names of :data:`RIGHT_WORD` to "invariant", "equivariant" or "neither"."""
    given = {name: answer.get(name, ...) for name in RIGHT_WORD}
    if all(untouched(word) for word in given.values()):
        return todo
    for name, word in given.items():
        if untouched(word):
            return f"still to answer: {name}."
        if word not in ("invariant", "equivariant", "neither"):
            return f"{word!r} is none of the three words (invariant, equivariant, neither)."
        if word != RIGHT_WORD[name]:
            return f"{name}: {_NAMED.get((name, word), f'{word} is not right; shuffle the input in your mind.')}"
    return None


# --------------------------------------------------------------------------------------- 1.3 read the seat off BOS


def seat(answer) -> str | None:
    """``answer(share)`` gives the seat, counted from 0 at BOS, whose uniform causal attention gives BOS this weight."""
    shares = [1 / (i + 1) for i in range(64)]
    found = [answer(share) for share in shares]
    if any(untouched(i) for i in found):
        return todo
    found = np.array([float(i) for i in found])
    seats = np.arange(64)
    if np.allclose(found, seats, atol=1e-6):
        return None
    if np.allclose(found, seats + 1, atol=1e-6):
        return "off by one: seat i sees i + 1 tokens, because it sees itself."
    if (found == seats).mean() > 0.5:
        return "right at most seats: 1 / share can fall just short of a whole number, so do not round down."
    if np.ptp(found) < 1e-9:
        return "this gives every seat the same number: the share must enter."
    if np.allclose(found, 1 - np.array(shares)):
        return "1 - share is the weight on everything that is not BOS; ask how many tokens share the attention."
    return "solve share = 1 / (i + 1) for i."


# ------------------------------------------------------------------------------------- 1.4 an encoding of your own


def _blind_to_mirrors(model: Encoder) -> bool:
    """Whether every order gets the output of its mirror image."""
    with torch.no_grad():
        orders = scorecard.all_orders()
        return torch.allclose(model.pooled(orders), model.pooled(orders.flip(1)), atol=1e-6)


def _sees_distances_only(encoding: Encoding, state) -> bool:
    """Whether the bias of five seats that hold one word is the same at equal distances, up to a number a query."""
    q = torch.linspace(-1, 1, 8, dtype=torch.float64).expand(1, 4, 5, 8)
    bias = torch.as_tensor(encoding.bias(q, q, state, 0)).double().expand(1, 4, 5, 5).clamp(min=-1e4)  # -inf may mask
    bias = bias - bias.diagonal(dim1=2, dim2=3)[..., None]  # the softmax ignores a number added to a whole row
    return torch.allclose(bias[..., 1:, 1:], bias[..., :-1, :-1], atol=1e-5)


def own_encoding(answer: type[Encoding]) -> str | None:
    """A class of an encoding at door 3 that tells all 60 orders apart and sees only relative positions."""
    if not (isinstance(answer, type) and issubclass(answer, Encoding)):
        return "pass the class itself, a subclass of Encoding."
    encoding = answer()
    seats = torch.arange(5)[None]
    everyone = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    others = [hook for hook in ("embed", "rotate", "values") if getattr(answer, hook) is not getattr(Encoding, hook)]
    state = encoding.prepare(seats, seats, everyone)
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
    told = scorecard.orders_told_apart(encoding)
    if told == 1:
        return "the model still sees a bag: does `bias` return what `prepare` made, and does it depend on the seats?"
    if told == 30 and _blind_to_mirrors(model):
        return (
            "it is symmetric: a sentence and its mirror image get the same output. Let the sign of the distance matter."
        )
    if told < 60:
        return f"only {told} of the 60 orders get an output of their own. Does every distance have its own number?"
    for by in (1000, 7):  # 7 for what repeats after 2, 4, 5, 8 or 10 seats, as 1,000 does
        if not scorecard.change_when_moved(encoding, by) < 1e-9:
            return f"outputs change when the text moves by {by:,} seats: use the distance, not the seat."
    if not _sees_distances_only(encoding, state):
        return "two pairs of seats at one distance get different numbers: let the distance alone decide."
    return None


# ------------------------------------------------------------------------------------------------ 1.5 find the twin


class _Symmetric(Encoding):
    """-|i - j| / 2 on the logits: near is better, left and right are the same."""

    def prepare(self, q_pos, k_pos, allowed):
        return -0.5 * self.distance(q_pos, k_pos).abs()[:, None]

    def bias(self, q, k, state, layer):
        return state


def twin(answer) -> str | None:
    """An order of the five seats of the sentence that the symmetric bias cannot tell from the original."""
    order = list(answer)
    if any(untouched(seat) for seat in order):
        return todo
    if sorted(order) != [0, 1, 2, 3, 4]:
        return "an order names each of the seats 0 to 4 once."
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


CHECKS = {"1.1": undo, "1.2": right_word, "1.3": seat, "1.4": own_encoding, "1.5": twin}

_CLASS = "from helpers.encodings import Encoding\nclass Answer(Encoding):\n"

MISTAKES = {
    "1.1": {
        "the shuffle itself": "def answer(order):\n    return order",
        "backwards": "def answer(order):\n    return order[::-1]",
        "needs 5 entries": "def answer(order):\n    return order[:2]",
    },
    "1.2": {
        "move with their words": f"answer = {RIGHT_WORD | {'self-attention': 'invariant'}}",
        "belongs to the seats": f"answer = {RIGHT_WORD | {'causal self-attention': 'equivariant'}}",
        "no seats left": f"answer = {RIGHT_WORD | {'self-attention, then the mean over tokens': 'equivariant'}}",
        "equivariant to shifts": f"answer = {RIGHT_WORD | {'a convolution over three neighbors': 'equivariant'}}",
        "none of the three words": f"answer = {RIGHT_WORD | {'self-attention': 'symmetric'}}",
    },
    "1.3": {
        "off by one": "def answer(share):\n    return 1 / share",
        "same number": "def answer(share):\n    return 64",
        "not BOS": "def answer(share):\n    return 1 - share",
        "do not round down": "def answer(share):\n    return 1 // share - 1",
    },
    "1.4": {
        "symmetric": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -0.5 * self.distance(q_pos, k_pos).abs()[:, None]\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer",
        "LayerNorm": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return q_pos[..., None] / 16\n"
        "    def embed(self, x, state):\n        return x + state\nanswer = Answer",
        "batch axis": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n        return q_pos[0]\n"
        "    def embed(self, x, state):\n"
        "        return x + state[: len(x), None, None] * x\nanswer = Answer",
        "sees a bag": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
        "        return -1.0 * self.distance(q_pos, k_pos)[:, None]\nanswer = Answer",
        "not the seat": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
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
        "by 7 seats": _CLASS + "    def prepare(self, q_pos, k_pos, allowed):\n"
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
        "each of the seats": "answer = [4, 3, 2, 1, 1]",
    },
}
