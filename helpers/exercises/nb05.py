"""Checks of notebook 05, ALiBi."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import todo, untouched


def _tensor(got: object) -> object:
    """An array, or nested lists of numbers, as a tensor; anything else as it is."""
    if isinstance(got, list | tuple):
        try:
            return torch.tensor(got)
        except (TypeError, ValueError):  # ragged, or no numbers
            return got
    return torch.from_numpy(got) if isinstance(got, np.ndarray) else got


# --------------------------------------------------------------------------------------------- 5.1 slopes for a length

LENGTH, HEADS, MOST, NEAR, APART = 16_384, 8, 8.0, 16.0, 3.0


def long_slopes(answer: Sequence[float]) -> str | None:
    """Eight slopes, in any order, that meet the three conditions for a length of 16,384 tokens."""
    if untouched(answer):
        return todo
    if isinstance(answer, list | tuple) and any(untouched(x) for x in answer):
        return todo
    got = np.asarray(answer.detach().cpu().double() if isinstance(answer, Tensor) else answer, dtype=float)
    if max(got.shape, default=0) == got.size:  # (8, 1, 1), as for a bias, is a list of eight too
        got = got.reshape(-1)
    if got.shape != (HEADS,):
        return f"eight heads need eight slopes; yours has shape {got.shape}."
    if not np.isfinite(got).all() or (got < 0).any():
        return "slopes are positive, finite numbers; the minus sign belongs to the bias."
    got = np.sort(got)[::-1]
    if got[-1] == 0:
        return "a head without any bias sees without end: more than 3 times as far as the next steeper one."
    logits, sight = got[-1] * LENGTH, math.log(100) / got
    if logits > MOST * (1 + 1e-6):
        return f"across 16,384 tokens the gentlest head subtracts {logits:.0f} logits, and 8 are allowed."
    if sight[0] > NEAR * (1 + 1e-6):
        return f"the steepest head sees {sight[0]:.1f} tokens; it should see at most 16, so ln(100) / m <= 16."
    apart = sight[1:] / sight[:-1]
    if apart.max() > APART * (1 + 1e-6):
        return f"head {apart.argmax() + 2} sees {apart.max():.1f} times as far as the next steeper one: at most 3."
    return None


# ------------------------------------------------------------------------------------- 5.2 one token, but not in front


def one_token(answer: Callable) -> str | None:
    """``answer(ids, token)`` puts the token at one inner place of every sequence that is not the middle."""
    generator = torch.Generator().manual_seed(0)
    for n, t, token in ((5, 16, 8), *((4, t, 11) for t in range(3, 13))):
        ids = torch.randint(7, (n, t), generator=generator)
        got = answer(ids.clone(), token)
        if untouched(got):
            return todo
        got = _tensor(got)
        if not isinstance(got, Tensor):
            return f"a tensor is needed, not {type(got).__name__}."
        if got.shape != (n, t + 1):
            return f"one token makes (n, T + 1) = {(n, t + 1)}; yours is {tuple(got.shape)}."
        where = got == token
        if not (where.sum(1) == 1).all():
            return "every sequence needs the fixed token once."
        places = where.int().argmax(1)
        if not (got[~where].view(n, t) == ids).all():
            return "the other tokens have to stay as they are, in their order."
        if (places != places[0]).any():
            return "one fixed place: yours differs between sequences, so the distance to it says nothing."
        place = int(places[0])
        if place == 0:
            return "this is in front; the tokenizer of this exercise cannot do that."
        if place == t:
            return "this is last; the tokenizer of this exercise cannot do that."
        if 2 * place == t:
            return "the token is in the middle: turn the sequence around, and it is an input again."
    return None


# ---------------------------------------------------------------------------------------------- 5.3 which curve slides


def which_slides(answer: Sequence[str]) -> str | None:
    """``answer`` is (sliding, hurt), two letters."""
    sliding, hurt = answer
    if untouched(sliding) or untouched(hurt):
        return todo
    if not all(isinstance(x, str) and x.strip().upper() in ("A", "B", "C") for x in (sliding, hurt)):
        return 'two letters are needed, as in sliding, hurt = "A", "A".'
    sliding, hurt = sliding.strip().upper(), hurt.strip().upper()
    wrong = {
        "A": "sliding: A ends lowest, but it falls up to 64 like any curve with early tokens; levels do not count.",
        "C": "sliding: C falls up to 64 before it rises; a sliding window has no early tokens to lose.",
    }
    if sliding in wrong:
        return wrong[sliding]
    if hurt == "A":
        return "hurt: A never rises; read on to 512."
    if hurt == "B":
        return "hurt: B is above A, but it is another model; from 64 to 512 it moves by next to nothing."
    return None


# ------------------------------------------------------------------------------------- 5.4 a mask for a piece of text


def chunk_mask(answer: Callable) -> str | None:
    """``answer(slopes, n_queries, n_keys)`` gives a float mask (1, H, n_queries, n_keys) for the last queries.

    What is checked is the attention, so a shift of a row, or a huge negative number for a hidden key, is as good.
    """
    slopes = torch.tensor([0.5, 0.0625, 0.25])
    for n, t in ((6, 6), (1, 5), (3, 8)):
        problem = _one_mask(answer(slopes, n, t), slopes, n, t)
        if problem:
            return problem
    return None


def _one_mask(got: Tensor | np.ndarray, slopes: Tensor, n: int, t: int) -> str | None:
    if untouched(got):
        return todo
    got = _tensor(got)
    if not isinstance(got, Tensor):
        return f"a tensor is needed, not {type(got).__name__}."
    if got.dtype == torch.bool:
        return "a bool mask can only hide keys: the bias needs a float mask."
    if got.shape != (1, len(slopes), n, t):
        return (
            f"the shape should be (1, heads, n_queries, n_keys) = {(1, len(slopes), n, t)}, yours: {tuple(got.shape)}."
        )
    got = got.double()
    distance = torch.arange(t - n, t)[:, None] - torch.arange(t)
    future = distance < 0
    right = -slopes.double()[:, None, None] * distance
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(1, len(slopes), n, 8, dtype=torch.float64, generator=generator)
    k, v = torch.randn(2, 1, len(slopes), t, 8, dtype=torch.float64, generator=generator)
    yours, wanted = (
        F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        for mask in (got, right.masked_fill(future, -math.inf)[None])
    )
    if torch.allclose(yours, wanted, atol=1e-4):
        return None
    if got.isnan().any():
        return "some entries are NaN, as 0 times infinity is: put minus infinity there with masked_fill or where."
    if (got == math.inf).any():
        return "plus infinity takes all of the weight: a hidden key needs minus infinity."
    got, seen = got[0], ~future.expand_as(right)
    if n < t:
        first = torch.arange(n)[:, None] - torch.arange(t)  # as if the queries came first
        hides = _weight(got) < 1e-6
        if torch.equal(hides, (first < 0).expand_as(hides)):
            return "the queries are the last tokens: the first of them is at position n_keys - n_queries, not at 0."
    if n > 1 and _weight(got)[~seen].max() > 1e-6:
        hidden = got[~seen]
        if n == t and _weight(got.mT)[~seen].max() < 1e-6:
            return "transposed: rows are queries, columns keys; yours hides the past."
        if (hidden == 0).all():
            return "the future is not hidden but free: a 0 in a float mask means no change. Put minus infinity there."
        if torch.allclose(hidden, -right[~seen].abs()) or torch.allclose(hidden, right[~seen]):
            return "the future only has a bias and is not hidden: put minus infinity above the diagonal."
        return "a query still sees the future: its weight there should be 0, so put minus infinity above the diagonal."
    if not torch.isfinite(got[seen]).all():
        return "a visible key is hidden: every key up to the query itself must be finite."
    own = (distance == 0).expand_as(right)
    got = got - got[own].view(len(slopes), n, 1)  # softmax does not see what is added to a whole row
    if torch.allclose(got[seen], -right[seen]):
        return "the sign: distance must lower the logit."
    if (got[seen] == 0).all():
        return "causal, but no bias: from every visible key subtract slope times distance."
    if torch.allclose(got[seen], -distance.expand_as(right)[seen].double()):
        return "no slope: every head has the same bias."
    ratio = (got[seen & (right != 0)] / right[seen & (right != 0)]).unique()
    if torch.allclose(ratio, ratio[0].expand_as(ratio), atol=1e-4):
        wrong = "divide" if ratio[0].abs() < 1 else "multiply"
        return f"every bias is {ratio[0]:.3g} times the right one: only q k is scaled, so do not {wrong} by sqrt(d)."
    return "up to the query itself the entry should be minus slope times distance."


def _weight(mask: Tensor) -> Tensor:
    """Attention weights under this mask for equal contents; a row that sees nothing has none."""
    return mask.softmax(-1).nan_to_num(0.0)


# --------------------------------------------------------------------------------------------------- 5.5 no mask at all


def fold(answer: Callable) -> str | None:
    """``answer(q, k, slopes)`` gives wider queries and keys under which plain causal attention computes ALiBi."""
    width, slopes = 64, 2.0 ** -torch.arange(1.0, 9.0)
    for t, rounded in ((40, False), (1000, True)):
        generator = torch.Generator().manual_seed(t)
        q, k, v = torch.randn(3, 2, len(slopes), t, width, generator=generator)
        got = answer(q.clone(), k.clone(), slopes.clone())
        if untouched(got) or (isinstance(got, tuple | list) and any(untouched(x) for x in got)):
            return todo
        if isinstance(got, tuple | list):
            got = [_tensor(x) for x in got]
        if not (isinstance(got, list) and len(got) == 2 and all(isinstance(x, Tensor) for x in got)):
            return "return two tensors, the wider queries and the wider keys."
        wide = [x.float() for x in got]
        shape = tuple(q.shape[:-1])
        if any(x.dim() != 4 or tuple(x.shape[:-1]) != shape for x in wide) or wide[0].shape != wide[1].shape:
            return (
                f"both should be (B, H, T, D') = {(*shape, 'more than 64')}; yours: {[tuple(x.shape) for x in wide]}."
            )
        if wide[0].shape[-1] == width:
            return "as wide as before: the bias needs a channel of its own."
        if not (torch.equal(wide[0][..., :width], q) and torch.equal(wide[1][..., :width], k)):
            return "the first 64 channels have to stay the queries and keys as they are."
        distance = torch.arange(t)[:, None] - torch.arange(t)
        right = -slopes[:, None, None] * distance
        logits = (wide[0] @ wide[1].mT - q @ k.mT) / width**0.5
        if not torch.isfinite(logits).all():
            return "a channel is not finite: causality is the kernel's work, so no minus infinity is needed."
        problem = _folded(logits, right, "")
        if problem is None and rounded:
            extra = [x[..., width:].bfloat16().float() for x in wide]
            logits = extra[0] @ extra[1].mT / width**0.5
            problem = _folded(logits, right, "after rounding to bfloat16: ")
        if problem:
            return problem
    return None


def _folded(logits: Tensor, right: Tensor, when: str) -> str | None:
    """What is wrong with biases (B, H, T, T), up to a constant in each row and within the causal triangle."""
    own = logits.diagonal(dim1=-2, dim2=-1)[..., None]
    bias = (logits - own).tril()
    if torch.allclose(bias, right.tril().expand_as(bias), atol=2e-3):
        return None
    exact = "a position above 256 needs two channels that are both exact."
    if when:
        return f"{when}some distances are wrong: {exact}"
    if torch.allclose(bias[..., :256, :256], right.tril().expand_as(bias)[..., :256, :256], atol=2e-3):
        return f"right up to position 255, and not beyond: {exact}"
    if torch.allclose(bias, -right.tril().expand_as(bias), atol=2e-3):
        return "the sign: a later key must get the larger number."
    if bias.abs().max() < 1e-4:
        return "no bias arrives: with a causal mask only what differs between keys counts."
    ratio = (bias[..., 1:, 0] / right[..., 1:, 0]).flatten()
    if torch.allclose(ratio, ratio[0].expand_as(ratio), atol=1e-3):
        return f"every bias is {ratio[0]:.3g} times the right one: the kernel divides your channel by sqrt(64), too."
    per_head = ratio.view(bias.shape[0], len(right), -1)
    if torch.allclose(per_head, per_head[..., :1].expand_as(per_head), atol=1e-3):
        return "the distances are right, but not the slope of every head."
    return "the new channels should add slope times the position of the key to every logit."


CHECKS = {"5.1": long_slopes, "5.2": one_token, "5.3": which_slides, "5.4": chunk_mask, "5.5": fold}

MISTAKES = {
    "5.1": {
        "64 logits": "answer = [2 ** -h for h in range(1, 9)]",
        "4.0 times as far": "answer = [0.3 / 4**h for h in range(8)]",
        "without end": "answer = [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 0]",
        "positive": "answer = [-(2.0 ** -h) for h in range(1, 9)]",
        "eight slopes": "answer = [0.3 / 3**h for h in range(7)]",
        "at most 16": "answer = [8 / 16384 * 2**h for h in range(8)]",
        "sees 16.4 tokens": "answer = [0.28 / 2.4**h for h in range(7)] + [8 / 16384]",
        "head 8 sees": "import numpy as np\nanswer = np.linspace(0.3, 8 / 16384, 8)",
    },
    "5.2": {
        "in front": "import torch\nanswer = lambda ids, token: torch.nn.functional.pad(ids, (1, 0), value=token)",
        "is last": "import torch\nanswer = lambda ids, token: torch.nn.functional.pad(ids, (0, 1), value=token)",
        "in the middle": """
import torch
def answer(ids, token):
    half = ids.shape[1] // 2
    return torch.cat([ids[:, :half], torch.full_like(ids[:, :1], token), ids[:, half:]], 1)
""",
        "turn the sequence around": """
import torch
def answer(ids, token):  # behind three tokens: the middle where there are six, as it happens
    place = min(3, ids.shape[1] - 1)
    return torch.cat([ids[:, :place], torch.full_like(ids[:, :1], token), ids[:, place:]], 1)
""",
        "(n, T + 1)": "import torch\nanswer = lambda ids, token: torch.nn.functional.pad(ids, (1, 1), value=token)",
        "once": "import torch\nanswer = lambda ids, token: torch.cat([ids[:, :1], ids[:, :1], ids[:, 1:]], 1)",
        "in their order": """
import torch
def answer(ids, token):
    return torch.cat([ids[:, -1:], torch.full_like(ids[:, :1], token), ids[:, :-1]], 1)
""",
        "one fixed place": """
import torch
def answer(ids, token):
    rows = [row.tolist() for row in ids]
    return torch.tensor([row[: 1 + i % 2] + [token] + row[1 + i % 2 :] for i, row in enumerate(rows)])
""",
    },
    "5.3": {
        "levels do not count": 'answer = ("A", "C")',
        "no early tokens to lose": 'answer = ("C", "A")',
        "A never rises": 'answer = ("B", "A")',
        "another model": 'answer = ("b", "b")',
        "two letters": 'answer = ("sliding", "hurt")',
    },
    "5.4": {
        "float mask": "import torch\n"
        "answer = lambda s, n, T: torch.ones(T, T, dtype=torch.bool).tril()[T - n :].expand(1, len(s), n, T)",
        "not at 0": """
import torch
def answer(s, n, T):
    d = torch.arange(n)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d).masked_fill(d < 0, float("-inf"))[None]
""",
        "not hidden but free": """
import torch
def answer(s, n, T):
    d = torch.arange(T - n, T)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d.clamp(min=0))[None]
""",
        "is not hidden": """
import torch
def answer(s, n, T):
    d = torch.arange(T - n, T)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d.abs())[None]
""",
        "the sign": """
import torch
def answer(s, n, T):
    d = torch.arange(T - n, T)[:, None] - torch.arange(T)
    return (s[:, None, None] * d).masked_fill(d < 0, float("-inf"))[None]
""",
        "do not divide by sqrt(d)": """
import torch
def answer(s, n, T):
    d = torch.arange(T - n, T)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d / 8).masked_fill(d < 0, float("-inf"))[None]
""",
        "no bias": "import torch\n"
        "answer = lambda s, n, T: torch.full((T, T), float('-inf')).triu(1)[T - n :].expand(1, len(s), n, T)",
        "no slope": """
import torch
def answer(s, n, T):
    d = torch.arange(T - n, T)[:, None] - torch.arange(T)
    return (-d.float()).masked_fill(d < 0, float("-inf")).expand(1, len(s), n, T)
""",
        "transposed": """
import torch
def answer(s, n, T):
    d = torch.arange(T) - torch.arange(T - n, T)[:, None]
    return (-s[:, None, None] * d).masked_fill(d < 0, float("-inf"))[None]
""",
        "0 times infinity": """
import torch
def answer(s, n, T):
    d = torch.arange(T - n, T)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d.clamp(min=0) + (d < 0) * float("-inf"))[None]
""",
        "plus infinity": """
import torch
def answer(s, n, T):
    d = torch.arange(T - n, T)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d).masked_fill(d < 0, float("inf"))[None]
""",
        "a visible key is hidden": """
import torch
def answer(s, n, T):
    d = torch.arange(T - n, T)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d).masked_fill(d <= 0, float("-inf"))[None]
""",
        "the shape should be": """
import torch
def answer(s, n, T):
    d = torch.arange(T - n, T)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d).masked_fill(d < 0, float("-inf"))
""",
        "do not multiply": """
import torch
def answer(s, n, T):
    d = torch.arange(T - n, T)[:, None] - torch.arange(T)
    return (-8 * s[:, None, None] * d).masked_fill(d < 0, float("-inf"))[None]
""",
        "still sees the future": """
import torch
def answer(s, n, T):
    d = torch.arange(T - n, T)[:, None] - torch.arange(T)
    return (-s[:, None, None] * d).masked_fill(d < 0, -10.0)[None]
""",
        "minus slope times distance": """
import torch
def answer(s, n, T):
    d = torch.arange(T - n, T)[:, None] - torch.arange(T)
    own = 2.0 ** (-8 * torch.arange(1, len(s) + 1) / len(s))  # the formula, not the argument
    return (-own[:, None, None] * d).masked_fill(d < 0, float("-inf"))[None]
""",
    },
    "5.5": {
        "the sign": """
import torch
def answer(q, k, s):
    row = -s[:, None] * torch.arange(k.shape[-2])
    return (torch.cat([q, torch.full_like(q[..., :1], 8.0)], -1),
            torch.cat([k, row[None, :, :, None].expand(len(k), -1, -1, -1)], -1))
""",
        "divides your channel": """
import torch
def answer(q, k, s):
    row = s[:, None] * torch.arange(k.shape[-2])
    return (torch.cat([q, torch.ones_like(q[..., :1])], -1),
            torch.cat([k, row[None, :, :, None].expand(len(k), -1, -1, -1)], -1))
""",
        "bfloat16": """
import torch
def answer(q, k, s):
    row = s[:, None] * torch.arange(k.shape[-2])
    return (torch.cat([q, torch.full_like(q[..., :1], 8.0)], -1),
            torch.cat([k, row[None, :, :, None].expand(len(k), -1, -1, -1)], -1))
""",
        "no bias arrives": """
import torch
def answer(q, k, s):
    row = -s[:, None] * torch.arange(k.shape[-2])
    return (torch.cat([q, row[None, :, :, None].expand(len(k), -1, -1, -1)], -1),
            torch.cat([k, torch.full_like(k[..., :1], 8.0)], -1))
""",
        "slope of every head": """
import torch
def answer(q, k, s):
    j = torch.arange(k.shape[-2], dtype=k.dtype)
    return (torch.cat([q, torch.full_like(q[..., :1], 8.0)], -1),
            torch.cat([k, 0.5 * j[None, None, :, None].expand(*k.shape[:-1], 1)], -1))
""",
        "as wide as before": "answer = lambda q, k, s: (q, k)",
        "and not beyond": """
import torch
def answer(q, k, s):
    j = torch.arange(k.shape[-2])
    parts = torch.stack([j // 256, j % 256], -1)
    own = (s[:, None, None] * parts).expand(*k.shape[:-1], 2)
    return torch.cat([q, torch.full_like(q[..., :2], 8.0)], -1), torch.cat([k, own], -1)
""",
        "8 times the right one": """
import torch
def answer(q, k, s):
    j = torch.arange(k.shape[-2])
    parts = 8 * torch.stack([j - j % 256, j % 256], -1)
    own = (s[:, None, None] * parts).expand(*k.shape[:-1], 2)
    return torch.cat([q, torch.full_like(q[..., :2], 8.0)], -1), torch.cat([k, own], -1)
""",
        "after rounding": """
import torch
def answer(q, k, s):
    j = torch.arange(k.shape[-2])
    parts = torch.stack([j - j % 512, j % 512], -1)
    own = (s[:, None, None] * parts).expand(*k.shape[:-1], 2)
    return torch.cat([q, torch.full_like(q[..., :2], 8.0)], -1), torch.cat([k, own], -1)
""",
        "right up to position 255": """
import torch
def answer(q, k, s):
    j = torch.arange(k.shape[-2])
    own = (s[:, None, None] * j[:, None]).bfloat16().float().expand(*k.shape[:-1], 1)
    return torch.cat([q, torch.full_like(q[..., :1], 8.0)], -1), torch.cat([k, own], -1)
""",
        "the distances are right": """
import torch
def answer(q, k, s):
    j = torch.arange(k.shape[-2])
    parts = torch.stack([j - j % 256, j % 256], -1)
    own = (s.flip(0)[:, None, None] * parts).expand(*k.shape[:-1], 2)
    return torch.cat([q, torch.full_like(q[..., :2], 8.0)], -1), torch.cat([k, own], -1)
""",
        "should add slope times": """
import torch
def answer(q, k, s):  # query times key position, not their difference
    j = torch.arange(k.shape[-2])
    place = (j[:, None] + 0.0).expand(*k.shape[:-1], 1)
    return torch.cat([q, 8 * s[:, None, None] * place], -1), torch.cat([k, place], -1)
""",
        "both should be": """
import torch
def answer(q, k, s):
    j = torch.arange(k.shape[-2])
    own = (8 * s[:, None, None] * j[:, None]).expand(*k.shape[:-1], 1)
    return q, torch.cat([k, own], -1)
""",
        "return two tensors": """
import torch
def answer(q, k, s):
    j = torch.arange(k.shape[-2])
    own = (s[:, None, None] * j[:, None]).expand(*k.shape[:-1], 1)
    return q @ k.mT / 8 + own.mT
""",
        "stay the queries and keys": """
import torch
def answer(q, k, s):
    row = s[:, None] * torch.arange(k.shape[-2])
    return (torch.cat([8 * q, torch.full_like(q[..., :1], 8.0)], -1),
            torch.cat([k, row[None, :, :, None].expand(len(k), -1, -1, -1)], -1))
""",
    },
}
