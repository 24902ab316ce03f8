"""Checks of the exercises of notebook 06 (context extension)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..encodings.extension import extend, rotations
from ..encodings.rope import RoPE, rope_frequencies
from . import Check, todo, untouched

SHAPE = (128, 10_000.0, 4096)  # of the line-up: head_dim, base, trained length
RULES = {  # without blanks, hyphens and underscores
    "pi": "PI", "linear": "PI", "positioninterpolation": "PI", "ntk": "NTK-aware", "ntkaware": "NTK-aware",
    "yarn": "YaRN", "llama3": "Llama 3", "llama3.1": "Llama 3",
}  # fmt: skip
BUGS = ("none", "another rule", "applied twice", "wrong length")
RIGHT = {
    "A": ("NTK-aware", 8, "another rule"),
    "B": ("YaRN", 64, "applied twice"),
    "C": ("YaRN", 8, "wrong length"),
    "D": ("PI", 8, "none"),
}


def lineup() -> dict[str, tuple[str, Tensor]]:
    """Four files for a model trained on 4,096 tokens: {name: (what it claims, its 64 frequencies)}."""
    d, base, length = SHAPE
    return {
        "A": ("YaRN, factor 8", extend("ntk", d, base, 8, length).inv_freq),
        "B": ("YaRN, factor 8", extend("yarn", d, base, 64, length).inv_freq),
        "C": ("YaRN, factor 8", extend("yarn", d, base, 8, 8 * length).inv_freq),
        "D": ("PI, factor 8", extend("pi", d, base, 8, length).inv_freq),
    }


HINTS = {  # (file, what is wrong of it) -> what to look at
    ("A", 0): "draw its slow-down on a log axis: a straight line is a change of base, and no switch.",
    ("B", 0): "fast pairs are left alone and slow ones all divided by one number: which rule is a switch?",
    ("C", 0): "it has the shape of YaRN, a switch, at another place.",
    ("D", 0): "every pair is slowed by the same number.",
    ("A", 1): "the slowest pair is slowed by the factor.",
    ("B", 1): "believe the frequencies, not the label: the slowest pair is slowed by the factor.",
    ("C", 1): "the slowest pair is slowed by the factor.",
    ("D", 1): "every pair is slowed by the factor.",
    ("A", 2): "its frequencies are right for their rule; it is the name that is wrong.",
    ("B", 2): "8 times 8 is 64.",
    ("C", 2): "count the turns, over 4,096, of the first pair that is slowed by the full factor.",
    ("D", 2): "it is what it claims to be.",
}


def diagnosis(answer: dict) -> str | None:
    """6.1: {file: (rule, factor, bug)}."""
    if not isinstance(answer, dict):
        return 'write a dictionary, as in the stub: {"A": ("YaRN", 8, "none"), ...}.'
    answer = {str(name).strip().upper(): given for name, given in answer.items()}
    unknown = sorted(answer.keys() - RIGHT.keys())
    if unknown:
        return f"{unknown[0]!r} is none of the files A, B, C, D."
    if all(untouched(answer.get(name)) for name in RIGHT):
        return todo
    for name, right in RIGHT.items():
        given = answer.get(name)
        if untouched(given) or isinstance(given, str | dict) or len(given) != 3:
            return f'{name}: write three things, as in ("YaRN", 8, "none").'
        if untouched(given[1]) or (isinstance(given[1], str) and not given[1].strip().isdecimal()):
            return f"{name}: the factor is a number, as in 8."
        rule = RULES.get(re.sub(r"[\s_-]|\(.*\)", "", str(given[0]).lower()))
        if rule is None:
            return f"{name}: {given[0]!r} is none of PI, NTK-aware, YaRN, Llama 3."
        bug = str(given[2]).strip(" .").lower()
        if bug not in BUGS:
            return f"{name}: {given[2]!r} is none of {', '.join(BUGS)}."
        same = rule == right[0], abs(float(given[1]) / right[1] - 1) < 0.02, bug == right[2]
        if not all(same):
            return f"{name}: {HINTS[name, same.index(False)]}"
    return None


def wrongly_fast(answer: Callable) -> str | None:
    """6.2: pairs that a by-parts rule with a wrong length slows by too little, signature (inv_freq, s, length)."""
    s, length = 8.0, 4096
    freq = rope_frequencies(128)
    found = answer(freq.clone(), s, length)
    if untouched(found):
        return todo
    if torch.as_tensor(found).numel() != 1:
        return "return how many there are, one number: sum over the pairs."
    found = float(torch.as_tensor(found))
    turns = rotations(freq, length)

    def count(pairs: Tensor) -> int:
        return int(pairs.sum())

    right = count((turns < 1) & (s * turns > 1))
    mistakes = {
        "that is all pairs without a turn; those with the fewest are slowed by s even so.": count(turns < 1),
        "these are slowed by s even with the wrong length: the others are meant.": count(s * turns < 1),
        "pairs that finish a turn over the trained length are no mistake: leave them out.": count(s * turns > 1),
        "the wrong length is s times the trained one, not the trained one over s.": count((turns > 1) & (turns < s)),
        "a turn is 2 pi radians: r = length * theta / (2 pi).": count((length * freq < 1) & (s * length * freq > 1)),
        "none is kept whole, but slowed by less than s is wrong enough: count those.": count(
            (turns < 1) & (s * turns > 32)
        ),
    }
    if found != right:
        for message, wrong in mistakes.items():
            if found == wrong:
                return message
        return "by-parts slows by s where the turns it counts are at most 1: count them over both lengths."
    for d, base, s, length in (
        (128, 1e6, 4.0, 32_768),
        (128, 1e4, 16.0, 4096),
        (64, 1e5, 2.0, 2048),
        (16, 1e4, 8.0, 64),
    ):
        freq = rope_frequencies(d, base)
        turns, radians = rotations(freq, length), length * freq
        found = float(torch.as_tensor(answer(freq.clone(), s, length)))
        if found == count((turns < 1) & (s * turns > 1)):
            continue
        if found == count((radians < math.pi) & (s * radians > math.pi)):
            return "half a circle is no turn: a turn is 2 pi radians, r = length * theta / (2 pi)."
        return "right for one model and factor only: use the arguments."
    return None


TARGET, TRAINED = 100_000, 32_768


def edit_for_mistral(answer: tuple) -> str | None:
    """6.3: (rotary dictionary, least depth that the unedited model recalls from) for 100,000 tokens."""
    edit, depth = answer
    for name in ("rope_parameters", "rope_scaling"):  # a base beside the dictionary, as transformers 4 has it, is right
        edit = {k: v for k, v in edit.items() if k != name} | (edit.get(name) or {})
    if untouched(depth) and all(map(untouched, edit.values())):
        return todo
    return _wrong_edit(edit) or _wrong_depth(depth)


def _wrong_edit(edit: dict[str, Any]) -> str | None:
    kind = edit.get("rope_type", edit.get("type"))
    if untouched(kind):
        return "rope_type has to stand in the dictionary: without it nothing is slowed."
    kind = str(kind).strip().lower()
    factor, original = edit.get("factor"), edit.get("original_max_position_embeddings")
    if kind == "linear":
        return "position interpolation slows the fast pairs too, and was bad in every table above: take another kind."
    if kind != "yarn":
        return f'rope_type={kind!r}: the rule for several times the length without training is written "yarn".'
    if untouched(factor) or untouched(original):
        return "factor and original_max_position_embeddings have to stand in the dictionary."
    if float(original) == TARGET:
        return "original_max_position_embeddings is the length trained on: turns are counted over it."
    if float(original) != TRAINED:
        return f"original_max_position_embeddings={original}: take the length that the file declares."
    if not float(factor) * TRAINED >= 0.999 * TARGET:  # 3.05 is rounded, not wrong
        return f"factor {float(factor):g} covers {float(factor) * TRAINED:,.0f} tokens, less than {TARGET:,}."
    if float(factor) > 4.05:
        return f"factor {float(factor):g} is more than the length asks for, and every bit of it costs on short text."
    if float(edit.get("rope_theta") or 0) != 1e6:
        return "rope_theta is the base that the model was trained with: copy it from the file."
    return _wrong_option({k: float(v) for k, v in edit.items() if k in OPTIONAL and not untouched(v)}, float(factor))


OPTIONAL = ("attention_factor", "mscale", "mscale_all_dim", "beta_fast", "beta_slow", "partial_rotary_factor")


def _wrong_option(given: dict[str, float], factor: float) -> str | None:
    """What may be left out of a YaRN dictionary, as transformers reads it."""
    yarn = 0.1 * math.log(factor) + 1
    heat = given.get("attention_factor")
    if heat is None and given.get("mscale") and given.get("mscale_all_dim"):
        heat = (0.1 * given["mscale"] * math.log(factor) + 1) / (0.1 * given["mscale_all_dim"] * math.log(factor) + 1)
        if abs(heat - yarn) > 0.01:
            return "mscale and mscale_all_dim cancel on cos and sin, and only DeepSeek's code puts them elsewhere: out."
    if heat is not None and abs(heat - 1) < 0.01:
        return "attention_factor 1 turns YaRN's temperature off, which is another rule: left out, it is 0.1 ln s + 1."
    if heat is not None and abs(heat - yarn) > 0.01:
        return f"attention_factor {heat:g} is not YaRN's 0.1 ln s + 1 = {yarn:.2f} (cos and sin carry it unsquared)."
    if given.get("beta_fast", 32) <= given.get("beta_slow", 1):
        return "beta_fast is the larger number of turns: pairs with more are kept, those below beta_slow are divided."
    if given.get("partial_rotary_factor", 1) != 1:
        return "this model turns its heads as a whole: no partial_rotary_factor."
    return None


def _wrong_depth(depth: Any) -> str | None:
    if untouched(depth):
        return "the edit is right; now the depth from which the unedited model still recalls."
    right, depth = 1 - TRAINED / TARGET, float(torch.as_tensor(depth)) if hasattr(depth, "shape") else float(depth)
    if depth > 1:
        return "a depth is a share of the window, from 0 (far) to 1 (near)."
    if abs(depth - right) < 0.02:
        return None
    if abs(depth - (1 - right)) < 0.02:
        return "depth counts from the far end, and the question stands at the near end: 1 minus that."
    return "a needle at depth x stands (1 - x) * 100,000 tokens before the question; when is that within 32,768?"


def _logit(inv_freq: Tensor, cos_and_sin: float, scale: float = 1.0, layout: str = "half") -> Callable[..., Tensor]:
    """``logit(q, k, m, n)`` of a head that turns with these frequencies; ``scale`` multiplies 1/sqrt(head_dim)."""
    head_dim = 2 * len(inv_freq)
    rope = RoPE(head_dim, inv_freq=inv_freq, attention_factor=cos_and_sin, layout=layout)

    def logit(q: Tensor, k: Tensor, m: int, n: int) -> Tensor:
        at = [torch.full((1, len(rows)), p) for rows, p in ((q, m), (k, n))]
        q, k = rope.rotate(q[None, None].float(), k[None, None].float(), rope.prepare(*at, None), 0)
        return (q @ k.mT)[0, 0] * scale * head_dim**-0.5

    return logit


def as_configured(answer: Callable) -> str | None:
    """6.4: whether a rotation is the YaRN of its dictionary, signature (logit, head_dim, rope)."""
    d, base, length = 64, 10_000.0, 512

    def judge(logit: Callable, s: float, d: int = d, base: float = base, length: int = length) -> Any:
        rope = {"rope_type": "yarn", "rope_theta": base, "factor": s, "original_max_position_embeddings": length}
        found = answer(logit, d, rope)
        if isinstance(found, tuple | list | str):
            return "return one truth value: True or False."
        if isinstance(found, dict):
            return all(bool(v) for v in found.values())
        return found if untouched(found) else bool(found)

    for s in (4.0, 16.0):
        right, f = extend("yarn", d, base, s, length)
        found = judge(_logit(right, f), s)
        if untouched(found):
            return todo
        if isinstance(found, str):
            return found
        if not found:
            return f"it refuses YaRN as transformers has it, at factor {s:g}."
        if not judge(_logit(right, f, layout="interleaved"), s):
            return "it refuses YaRN in the interleaved layout: pairs (0, 1), (2, 3), ..."
        if not judge(_logit(right, 1.0, scale=f**2), s):
            return "it refuses the temperature on the softmax scale: on a head that turns as a whole that is the same."
        wrong = {
            "NTK-aware frequencies under the name of YaRN": _logit(extend("ntk", d, base, s, length).inv_freq, f),
            "a temperature that is squared once too often": _logit(right, f**2),
            "a temperature that is used once, not squared": _logit(right, 1.0, scale=f),
            "position interpolation": _logit(extend("pi", d, base, s, length).inv_freq, f),
            "frequencies without a temperature": _logit(right, 1.0),
            "the ramp of the paper in place of the released one": _logit(
                extend("yarn", d, base, s, length, ramp="paper").inv_freq, f
            ),
            "frequencies as trained": _logit(rope_frequencies(d), f),
            "a factor that is applied twice": _logit(extend("yarn", d, base, s * s, length).inv_freq, f),
            "turns counted over the wrong length": _logit(extend("yarn", d, base, s, int(s * length)).inv_freq, f),
        }
        for what, logit in wrong.items():
            if judge(logit, s):
                return f"it passes {what}, at factor {s:g}."
    right, f = extend("yarn", 32, 1e5, 8.0, 1024)
    if not judge(_logit(right, f), 8.0, 32, 1e5, 1024):
        return "right for one model only: use head_dim and everything in the dictionary."
    return None


CHECKS: dict[str, Check] = {"6.1": diagnosis, "6.2": wrongly_fast, "6.3": edit_for_mistral, "6.4": as_configured}


def _files(**changed: tuple) -> str:
    return f"diagnosis = {RIGHT | changed!r}"


_COUNT = """
def wrongly_fast(inv_freq, s, length):
    turns = length * inv_freq / (2 * math.pi)
    return int(({}).sum())
"""
_EDIT = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768, "rope_theta": 1e6}


def _edit(depth: float = 0.672, **changed: Any) -> str:
    return f"edit, depth = {_EDIT | changed!r}, {depth}"


_CHECKED = """
def as_configured(logit, head_dim, rope):
    s, length = rope["factor"], rope["original_max_position_embeddings"]
    want = extension.extend("{rule}", head_dim, rope["rope_theta"], s, length)
    one = torch.eye(head_dim)
    start = logit(one, one, 0, 0).diagonal()
    gain = start * head_dim**0.5 / ({gain})
    right = bool((gain - 1).abs().max() < {tolerance})
    for distance in {distances}:
        cos = logit(one, one, distance, 0).diagonal() / start
        wanted = (distance * want.inv_freq).cos()
        layouts = {layouts}
        right &= any(bool((cos - w).abs().max() < 0.01) for w in layouts)
    return right
"""
_PLAIN = {
    "rule": "yarn", "gain": "want.attention_factor**2", "tolerance": "0.01",
    "distances": "[2**n for n in range(int(s * length).bit_length())]",
    "layouts": "(wanted.repeat(2), wanted.repeat_interleave(2))",
}  # fmt: skip

MISTAKES: dict[str, dict[str, str]] = {
    "6.1": {
        "a straight line": _files(A=("YaRN", 8, "none")),
        "it is the name that is wrong": _files(A=("NTK-aware", 8, "none")),
        "not the label": _files(B=("YaRN", 8, "none")),
        "8 times 8": _files(B=("YaRN", 64, "none")),
        "count the turns": _files(C=("YaRN", 8, "none")),
        "at another place": _files(C=("Llama 3", 8, "another rule")),
        "what it claims to be": _files(D=("PI", 8, "wrong length")),
        "three things": _files(D=("PI", 8)),
        "is none of PI": _files(A=("NTK by parts", 8, "another rule")),
        "none of the files": "diagnosis = {1: ('NTK-aware', 8, 'another rule')}",
        "the factor is a number": _files(A=("NTK-aware", "x8", "another rule")),
        "write a dictionary": f"diagnosis = {list(RIGHT.values())!r}",
    },
    "6.2": {
        "all pairs without a turn": _COUNT.format("turns < 1"),
        "even with the wrong length": _COUNT.format("s * turns < 1"),
        "leave them out": _COUNT.format("s * turns > 1"),
        "not the trained one over s": _COUNT.format("(turns > 1) & (turns < s)"),
        "2 pi radians": _COUNT.format("(length * inv_freq < 1) & (s * length * inv_freq > 1)"),
        "less than s is wrong enough": _COUNT.format("(turns < 1) & (s * turns > 32)"),
        "half a circle": _COUNT.format("(turns < 0.5) & (s * turns > 0.5)"),
        "one number": "def wrongly_fast(inv_freq, s, length):\n    return inv_freq < 1",
        "use the arguments": "def wrongly_fast(inv_freq, s, length):\n    return "
        + str(int(((t := rotations(rope_frequencies(128), 4096)) < 1).logical_and(8 * t > 1).sum())),
    },
    "6.3": {
        "length trained on": _edit(original_max_position_embeddings=100_000),
        "covers 98,304": _edit(factor=3.0),
        "more than the length asks for": _edit(factor=8.0),
        "slows the fast pairs too": _edit(rope_type="linear"),
        'written "yarn"': _edit(rope_type="ntk"),
        "copy it from the file": _edit(rope_theta=10_000.0),
        "length that the file declares": _edit(original_max_position_embeddings=8192),
        "temperature off": _edit(attention_factor=1.0),
        "cancel on cos and sin": _edit(mscale=1.0, mscale_all_dim=1.0),
        "not YaRN's 0.1 ln s + 1": _edit(attention_factor=1.2964),
        "the larger number of turns": _edit(beta_fast=1, beta_slow=32),
        "heads as a whole": _edit(partial_rotary_factor=0.5),
        "1 minus that": _edit(0.328),
        "from 0 (far) to 1": _edit(67_232),
        "before the question": _edit(0.5),
    },
    "6.4": {
        "passes the ramp of the paper": _CHECKED.format(**_PLAIN | {"distances": "(1,)"}),
        "squared once too often": _CHECKED.format(**_PLAIN | {"tolerance": "9"}),
        "used once, not squared": _CHECKED.format(**_PLAIN | {"tolerance": "0.15"}),
        "refuses YaRN as transformers has it": _CHECKED.format(**_PLAIN | {"gain": "want.attention_factor"}),
        "interleaved layout": _CHECKED.format(**_PLAIN | {"layouts": "(wanted.repeat(2),)"}),
        "refuses YaRN as": _CHECKED.format(**_PLAIN | {"rule": "ntk"}),
        "right for one model only": _CHECKED.format(**_PLAIN).replace('rope["rope_theta"]', "10_000.0"),
        "one truth value": "def as_configured(logit, head_dim, rope):\n    return True, 'cosines'",
        "passes NTK": "def as_configured(logit, head_dim, rope):\n    return True",
    },
}
