"""Checks of notebook 05, ALiBi."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..encodings.alibi import alibi_slopes
from . import todo, untouched

# ----------------------------------------------------------------------------------------------------- 5.1 slopes


def _geometric(n: int, exponent: float = 8.0) -> list[float]:
    return [2 ** (-exponent * h / n) for h in range(1, n + 1)]


def slopes_for(answer: Callable) -> str | None:
    """``answer(n)`` gives the authors' slopes for n heads."""
    for n in (8, 4, 12, 20, 1, 6, 64, 48):
        got = answer(n)
        if untouched(got):
            return todo
        got = np.asarray(got, dtype=float)
        right = alibi_slopes(n).numpy()
        if got.shape != (n,):
            return f"{n} heads need {n} slopes; yours has shape {got.shape}."
        if np.allclose(got, right):
            continue
        power = 2 ** int(math.log2(n))
        named = {
            "this is 2^(-8/n) for every head: the exponent must grow with the head, 8 h / n.": [2 ** (-8 / n)] * n,
            "heads count from 1: with h = 0 the first head has slope 1.": [2 ** (-8 * h / n) for h in range(n)],
            "slopes are positive here; the minus sign belongs to the bias.": -right,
            "the paper's formula, right for powers of two only: the code fills the gaps differently.": _geometric(n),
            "the right numbers, but sorted: the code appends the extra slopes at the end.": sorted(right, reverse=True),
            "the extra slopes start with the first of the finer set, so take 0::2, not 1::2.": (
                _geometric(power) + _geometric(2 * power)[1::2]
            )[:n],
            "take every other slope of the finer set: its even ones are there already.": (
                _geometric(power) + _geometric(2 * power)
            )[:n],
            "start from the power of two at or below n, not above it.": _geometric(2 * power)[:n],
        }
        for words, wrong in named.items():
            if np.shape(wrong) == (n,) and np.allclose(got, wrong):
                return words
        return f"not the slopes of {n} heads: the first should be {right[0]:.4g}, the last {right[-1]:.4g}."
    return None


# ---------------------------------------------------------------------------------------------- 5.2 a step of cache


def step_bias(answer: Callable) -> str | None:
    """``answer(slopes, n_keys)`` gives (H, 1, n_keys) for the last query."""
    for slopes, n in ((torch.tensor([0.5, 0.125]), 5), (torch.tensor([0.25, 0.0625, 0.5]), 9)):
        got = answer(slopes, n)
        if untouched(got):
            return todo
        if not isinstance(got, Tensor):
            return f"a tensor is needed, not {type(got).__name__}."
        got = got.double()
        if got.shape != (len(slopes), 1, n):
            return f"the shape should be (heads, 1, n_keys) = {(len(slopes), 1, n)}, yours is {tuple(got.shape)}."
        m, j = slopes.double()[:, None, None], torch.arange(n)
        right = -m * (n - 1 - j)
        if torch.allclose(got, right):
            continue
        named = {
            "the query is not at position 0: it comes after all cached keys, at n_keys - 1.": -m * j,
            "the sign: distance must lower the logit, never raise it.": -right,
            "the new token's own key is in the row already: the last entry should be 0, not minus one slope.": (
                -m * (n - j)
            ),
            "no slope: every head pays the same.": (-(n - 1 - j).double()).expand_as(right),
        }
        for words, wrong in named.items():
            if torch.allclose(got, wrong.double()):
                return words
        if torch.allclose(got - got[..., -1:], right):
            return (
                "the softmax would forgive this constant in each row, but the task asks for the distance: last entry 0."
            )
        return "not the distances of the last query: they count down to 0 at its own key."
    return None


# --------------------------------------------------------------------------------------------- 5.3 how far it sees


def sees(answer: Callable) -> str | None:
    """``answer(m, share, lead)`` gives the largest whole distance with exp(lead - m k) >= share."""
    for m, share, lead in ((0.4, 0.01, 0.0), (1 / 256, 0.01, 0.0), (0.25, 0.1, 0.0), (0.5, 0.01, 5.0)):
        got = answer(m, share, lead)
        if untouched(got):
            return todo
        if isinstance(got, Tensor) and got.numel() == 1:
            got = got.item()
        if not isinstance(got, int | float | np.number) or isinstance(got, bool) or not math.isfinite(got):
            return f"one number is needed; yours is {got!r}."
        exact = (lead - math.log(share)) / m
        right = math.floor(exact + 1e-9)
        if got == right:
            continue
        if abs(got - exact) < 1e-6:
            return f"a whole number, please: {exact:.2f} rounds down, because one token further is below the share."
        if got == math.ceil(exact):
            return "rounded up: one token too far, there the weight is already below the share."
        named = {
            "a base-10 logarithm: softmax works with e, so use the natural one.": -math.log10(share) / m,
            "a base-2 logarithm: softmax works with e, so use the natural one.": -math.log2(share) / m,
            "the sign: log(share) is negative, and the distance is positive.": math.log(share) / m,
            "multiplied by the slope: a steeper head sees less far, so divide.": -math.log(share) * m,
            "your answer ignores the share: 0.01 is only its default.": -math.log(0.01) / m,
        }
        if lead:  # what is right without a lead can only be wrong about the lead
            named = {
                "your answer ignores the content lead: it buys lead / m tokens.": -math.log(share) / m,
                "the lead is in logits, not in tokens: it buys lead / m of them.": -math.log(share) / m + lead,
                "the sign of the lead: a key that content wants more is seen from further away.": (
                    -(math.log(share) + lead) / m
                ),
            }
        for words, wrong in named.items():
            if math.isclose(got, wrong) or got == math.floor(wrong + 1e-9):
                return words
        return f"for m = {m:.4g}, share {share} and lead {lead} the distance is not {got}."
    return None


# ---------------------------------------------------------------------------------------------- 5.4 the fused mask


def sdpa_mask(answer: Callable) -> str | None:
    """``answer(slopes, T)`` gives a float mask (1, H, T, T) under which the fused kernel computes causal ALiBi.

    What is checked is the attention, so a shift of a row, or a huge negative number for a hidden key, is as good.
    """
    slopes, t = torch.tensor([0.5, 0.0625, 0.25]), 6
    got = answer(slopes, t)
    if untouched(got):
        return todo
    if not isinstance(got, Tensor):
        return f"a tensor is needed, not {type(got).__name__}."
    if got.dtype == torch.bool:
        return "a bool mask can only hide keys: the bias needs a float mask."
    if got.shape != (1, len(slopes), t, t):
        return f"the shape should be (1, heads, T, T) = {(1, len(slopes), t, t)}, yours is {tuple(got.shape)}."
    got = got.double()
    distance = torch.arange(t)[:, None] - torch.arange(t)
    future = distance < 0
    right = -slopes.double()[:, None, None] * distance
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, len(slopes), t, 8, dtype=torch.float64, generator=generator)
    masks = (got, right.masked_fill(future, -math.inf)[None])
    yours, wanted = (F.scaled_dot_product_attention(q, k, v, attn_mask=mask) for mask in masks)
    if torch.allclose(yours, wanted, atol=1e-4):
        return None
    got, seen = got[0], ~future.expand_as(right)
    if _weight(got)[~seen].max() > 1e-4:
        hidden = got[~seen]
        if _weight(got.mT)[~seen].max() < 1e-4:
            return "transposed: rows are queries, columns keys; yours hides the past."
        if (hidden == 0).all():
            return "the future is not hidden but free: a 0 in a float mask means no change. Put minus infinity there."
        if torch.allclose(hidden, -right[~seen].abs()) or torch.allclose(hidden, right[~seen]):
            return "the future is only priced, not hidden: put minus infinity above the diagonal."
        return "a query still sees the future: its weight there should be 0, so put minus infinity above the diagonal."
    if not torch.isfinite(got[seen]).all():
        return "a visible key is hidden: the diagonal and everything below it must be finite."
    got = got - got.diagonal(dim1=1, dim2=2)[..., None]  # softmax does not see what is added to a whole row
    if torch.allclose(got[seen], -right[seen]):
        return "the sign: distance must lower the logit."
    if (got[seen] == 0).all():
        return "causal, but no bias: every visible key should pay slope times distance."
    if torch.allclose(got[seen], -distance.expand_as(right)[seen].double()):
        return "no slope: every head pays the same."
    ratio = (got[seen & (right != 0)] / right[seen & (right != 0)]).unique()
    if torch.allclose(ratio, ratio[0].expand_as(ratio), atol=1e-4):
        wrong = "divide" if ratio[0].abs() < 1 else "multiply"
        return f"every bias is {ratio[0]:.3g} times the right one: only q k is scaled, so do not {wrong} by sqrt(d)."
    return "below the diagonal the entry should be minus slope times distance."


def _weight(mask: Tensor) -> Tensor:
    """Attention weights under this mask for equal contents; a row that sees nothing has none."""
    return mask.softmax(-1).nan_to_num(0.0)


# -------------------------------------------------------------------------------------------------- 5.5 both sides


def both_sides(answer: Sequence) -> str | None:
    """``answer`` is (past, future), two lists of 4 positive numbers, equal as sets and not as lists."""
    past, future = answer
    if any(untouched(x) for side in (past, future) for x in side):
        return todo
    past, future = np.asarray(past, dtype=float), np.asarray(future, dtype=float)
    if past.shape != (4,) or future.shape != (4,):
        return "each side needs four slopes."
    if not (np.isfinite(past).all() and np.isfinite(future).all()):
        return "slopes are finite numbers."
    if (past <= 0).any() or (future <= 0).any():
        return "a slope at or below 0 rewards distance or ignores it: slopes are positive."
    if np.allclose(past, future, atol=0):
        return "both sides are the same, head by head: this is the symmetric bias, whose output mirrors with the input."
    if not np.allclose(np.sort(past), np.sort(future), atol=0):
        return "the two lists must hold the same numbers, in another order."
    return None


CHECKS = {"5.1": slopes_for, "5.2": step_bias, "5.3": sees, "5.4": sdpa_mask, "5.5": both_sides}

MISTAKES = {
    "5.1": {
        "2^(-8/n) for every head": "answer = lambda n: [2 ** (-8 / n)] * n",
        "powers of two only": "answer = lambda n: [2 ** (-8 * h / n) for h in range(1, n + 1)]",
        "heads count from 1": "answer = lambda n: [2 ** (-8 * h / n) for h in range(n)]",
        "slopes are positive": "answer = lambda n: [-(2 ** (-8 * h / n)) for h in range(1, n + 1)]",
        "sorted": """
import math
def answer(n):
    p = 2 ** int(math.log2(n))
    g = lambda k: [2 ** (-8 * h / k) for h in range(1, k + 1)]
    return sorted(g(p) + g(2 * p)[0::2][: n - p], reverse=True)
""",
        "0::2, not 1::2": """
import math
def answer(n):
    p = 2 ** int(math.log2(n))
    g = lambda k: [2 ** (-8 * h / k) for h in range(1, k + 1)]
    return g(p) + g(2 * p)[1::2][: n - p]
""",
        "at or below n": """
import math
def answer(n):
    p = 2 ** math.ceil(math.log2(n))
    return [2 ** (-8 * h / p) for h in range(1, n + 1)]
""",
        "every other slope": """
import math
def answer(n):
    p = 2 ** int(math.log2(n))
    g = lambda k: [2 ** (-8 * h / k) for h in range(1, k + 1)]
    return g(p) + g(2 * p)[: n - p]
""",
    },
    "5.2": {
        "not at position 0": "import torch\nanswer = lambda s, n: -s[:, None, None] * torch.arange(n)[None, None]",
        "the sign": "import torch\nanswer = lambda s, n: s[:, None, None] * (n - 1 - torch.arange(n))[None, None]",
        "in the row already": "import torch\nanswer = lambda s, n: -s[:, None, None] * (n - torch.arange(n))[None]",
        "(heads, 1, n_keys)": "import torch\nanswer = lambda s, n: -s[:, None] * (n - 1 - torch.arange(n))",
        "no slope": "import torch\nanswer = lambda s, n: -(n - 1 - torch.arange(n)).expand(len(s), 1, n)",
        "not list": "answer = lambda s, n: [[[-m * (n - 1 - j) for j in range(n)]] for m in s.tolist()]",
    },
    "5.3": {
        "base-10": "import math\nanswer = lambda m, share=0.01, lead=0.0: math.floor((lead - math.log10(share)) / m)",
        "base-2": "import math\nanswer = lambda m, share=0.01, lead=0.0: math.floor((lead - math.log2(share)) / m)",
        "the sign": "import math\nanswer = lambda m, share=0.01, lead=0.0: math.floor((lead + math.log(share)) / m)",
        "rounded up": "import math\nanswer = lambda m, share=0.01, lead=0.0: math.ceil((lead - math.log(share)) / m)",
        "whole number": "import math\nanswer = lambda m, share=0.01, lead=0.0: (lead - math.log(share)) / m",
        "so divide": "import math\nanswer = lambda m, share=0.01, lead=0.0: math.floor(-math.log(share) * m)",
        "content lead": "import math\nanswer = lambda m, share=0.01, lead=0.0: math.floor(-math.log(share) / m)",
        "in logits": "import math\nanswer = lambda m, share=0.01, lead=0.0: math.floor(-math.log(share) / m + lead)",
        "sign of the lead": (
            "import math\nanswer = lambda m, share=0.01, lead=0.0: math.floor((-lead - math.log(share)) / m)"
        ),
        "ignores the share": (
            "import math\nanswer = lambda m, share=0.01, lead=0.0: math.floor((lead - math.log(0.01)) / m)"
        ),
    },
    "5.4": {
        "float mask": "import torch\n"
        "answer = lambda s, T: torch.ones(T, T, dtype=torch.bool).tril().expand(1, len(s), T, T)",
        "not hidden but free": """
import torch
def answer(s, T):
    d = torch.arange(T)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d.clamp(min=0))[None]
""",
        "only priced": """
import torch
def answer(s, T):
    d = torch.arange(T)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d.abs())[None]
""",
        "the sign": """
import torch
def answer(s, T):
    d = torch.arange(T)[:, None] - torch.arange(T)
    return (s[:, None, None] * d).masked_fill(d < 0, float("-inf"))[None]
""",
        "do not divide by sqrt(d)": """
import torch
def answer(s, T):
    d = torch.arange(T)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d / 8).masked_fill(d < 0, float("-inf"))[None]
""",
        "no bias": "import torch\n"
        "answer = lambda s, T: torch.full((T, T), float('-inf')).triu(1).expand(1, len(s), T, T)",
        "no slope": """
import torch
def answer(s, T):
    d = torch.arange(T)[:, None] - torch.arange(T)
    return (-d.float()).masked_fill(d < 0, float("-inf")).expand(1, len(s), T, T)
""",
        "do not multiply by sqrt(d)": """
import torch
def answer(s, T):
    d = torch.arange(T)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d * 8).masked_fill(d < 0, float("-inf"))[None]
""",
        "transposed": """
import torch
def answer(s, T):
    d = torch.arange(T) - torch.arange(T)[:, None]
    return (-s[:, None, None] * d).masked_fill(d < 0, float("-inf"))[None]
""",
        "still sees the future": """
import torch
def answer(s, T):
    d = torch.arange(T)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d).masked_fill(d < 0, -1.0)[None]
""",
    },
    "5.5": {
        "symmetric": "answer = ([1 / 2, 1 / 4, 1 / 8, 1 / 16], [1 / 2, 1 / 4, 1 / 8, 1 / 16])",
        "same numbers": "answer = ([1 / 2, 1 / 4, 1 / 8, 1 / 16], [1, 1, 1, 1])",
        "positive": "answer = ([1 / 2, 1 / 4, 1 / 8, 1 / 16], [-1 / 2, -1 / 4, -1 / 8, -1 / 16])",
    },
}
