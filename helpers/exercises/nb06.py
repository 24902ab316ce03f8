"""Checks of the exercises of notebook 06 (context extension)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..encodings.extension import ntk_by_parts, rotations
from ..encodings.rope import rope_frequencies
from . import Check, todo, untouched


def _same(found: float, wanted: float, tolerance: float = 1e-4) -> bool:
    return abs(float(found) - wanted) <= tolerance * max(1.0, abs(wanted))


def unfinished(answer: Callable) -> str | None:
    """6.1: number of pairs that make less than one turn, signature (head_dim, base, length)."""
    found = answer(128, 10_000.0, 4096)
    if untouched(found):
        return todo
    if isinstance(found, Tensor) and found.numel() > 1:
        return "return how many there are, one number: sum over the pairs."
    freq = rope_frequencies(128)
    right = int((rotations(freq, 4096) < 1).sum())
    mistakes = {
        "one turn is 2 pi radians, not 1: compare length * theta with 2 pi.": int((4096 * freq < 1).sum()),
        "these are pairs that *do* finish a turn; count the others.": 64 - right,
        "count pairs, not channels: two channels share a frequency.": 2 * right,
        "that is a count in degrees: theta is in radians.": int((4096 * freq < 360).sum()),
    }
    if float(found) != right:
        for message, wrong in mistakes.items():
            if float(found) == wrong:
                return message
        if int(found) == right:
            return "a count is a whole number: count the pairs themselves."
        return "a pair finishes a turn if length * theta reaches 2 pi, with theta = base^(-2i/head_dim)."
    if int(answer(128, 500_000.0, 8192)) != 29 or int(answer(128, 10_000.0, 2048)) != 23:
        return "right for base 10000 and length 4096 only: use the arguments."
    if int(answer(64, 100_000.0, 8192)) != 12:
        return "right for heads of width 128 only: a narrower head has other frequencies, so use head_dim."
    return None


def ntk_base(answer: Callable) -> str | None:
    """6.2: base that slows the slowest pair by exactly s, signature (base, s, head_dim)."""
    found = answer(10_000.0, 16.0, 128)
    if untouched(found):
        return todo
    if isinstance(found, Tensor) and found.numel() > 1:
        return "return one number, the new base; dividing the frequencies is position interpolation."
    right = 10_000.0 * 16.0 ** (128 / 126)
    mistakes = {
        "base * s slows the last pair by less than s, since its exponent is (d-2)/d: use s^(d/(d-2)).": 160_000.0,
        "the exponent is upside down: d/(d-2), above 1.": 10_000.0 * 16.0 ** (126 / 128),
        "d counts channels, 128, not pairs: d/(d-2) = 128/126.": 10_000.0 * 16.0 ** (64 / 62),
        "a larger base slows pairs down; dividing the base speeds them up.": 10_000.0 / 16.0 ** (128 / 126),
        "that raises the base itself to the power; only s is raised.": (10_000.0 * 16.0) ** (128 / 126),
    }
    if not _same(found, right):
        for message, wrong in mistakes.items():
            if _same(found, wrong):
                return message
        return "solve base'^(-(d-2)/d) = base^(-(d-2)/d) / s for base'."
    if not _same(answer(500_000.0, 4.0, 64), 500_000.0 * 4.0 ** (64 / 62)):
        return "right for one model only: use the arguments."
    return None


def by_parts(answer: Callable) -> str | None:
    """6.3: NTK-by-parts, signature (inv_freq, s, length, alpha, beta)."""
    freq, s, length = rope_frequencies(128), 16.0, 4096
    found = answer(freq.clone(), s, length, 1.0, 32.0)  # a copy: an answer may work in place
    if untouched(found):
        return todo
    if not isinstance(found, Tensor) or found.shape != freq.shape:
        return f"return one frequency a pair, shape {tuple(freq.shape)}."
    turns = rotations(freq, length)
    raw = (turns - 1) / 31
    keep = raw.clamp(0, 1)
    radians = ((length * freq - 1) / 31).clamp(0, 1)
    waves = ((2 * math.pi / freq - 1) / 31).clamp(0, 1)
    longer = ((s * turns - 1) / 31).clamp(0, 1)
    index = torch.arange(64, dtype=torch.float64)
    low, high = (
        64 * math.log(length / (2 * math.pi * 32)) / math.log(1e4),
        64 * math.log(length / (2 * math.pi)) / math.log(1e4),
    )
    code = 1 - ((index - low) / (high - low)).clamp(0, 1)
    code_truncated = 1 - ((index - math.floor(low)) / (math.ceil(high) - math.floor(low))).clamp(0, 1)

    def blended(k: Tensor) -> Tensor:
        return k * freq + (1 - k) * freq / s

    mistakes = {
        "the ramp is upside down: pairs with many turns are kept, pairs with few are divided.": blended(1 - keep),
        "clip the ramp to 0 .. 1, or fast pairs speed up and slow ones turn backwards.": blended(raw),
        "a turn is 2 pi radians: r = length * theta / (2 pi).": blended(radians),
        "that ramp runs over wavelengths; the paper's runs over turns, r = length / wavelength.": blended(waves),
        "that is the ramp of the released code, linear in the index of the pair; the paper's is linear in turns.": (
            blended(code)
        ),
        "the released code's ramp, ends rounded: linear in the index; the paper's is linear in turns.": (
            blended(code_truncated)
        ),
        "count the turns over the trained length, not over the longer one.": blended(longer),
        "blend the frequencies; blended wavelengths are another rule.": 1 / (keep / freq + (1 - keep) * s / freq),
        "that divides every pair: position interpolation.": freq / s,
    }
    right = ntk_by_parts(128, 1e4, s, length).inv_freq
    if not torch.allclose(found.double(), right, rtol=1e-4):
        for message, wrong in mistakes.items():
            if torch.allclose(found.double(), wrong, rtol=1e-4):
                return message
        return "gamma = clip((r - alpha) / (beta - alpha), 0, 1); theta' = gamma theta + (1 - gamma) theta / s."
    second = answer(freq.clone(), 4.0, 512, 2.0, 4.0)
    if not torch.allclose(
        second.double(), ntk_by_parts(128, 1e4, 4.0, 512, beta_fast=4.0, beta_slow=2.0).inv_freq, rtol=1e-4
    ):
        return "right for one setting only: use s, length, alpha and beta."
    other = answer(rope_frequencies(64, 500_000.0), s, length, 1.0, 32.0)
    wanted = ntk_by_parts(64, 500_000.0, s, length).inv_freq
    if other.shape != wanted.shape or not torch.allclose(other.double(), wanted, rtol=1e-4):
        return "right for one model only: use the frequencies that are handed in, whatever their base and number."
    return None


def logit_scale(answer: Callable) -> str | None:
    """6.4: what YaRN's temperature multiplies a logit by, signature (s)."""
    found = answer(16.0)
    if untouched(found):
        return todo
    f = 0.1 * math.log(16) + 1
    mistakes = {
        "that is the factor on cos and sin; query and key both carry it, so logits get its square.": f,
        "it makes the softmax sharper: multiply logits by the square, do not divide.": 1 / f**2,
        "the logarithm is the natural one, not base 10.": (0.1 * math.log10(16) + 1) ** 2,
        "the logarithm is the natural one, not base 2.": (0.1 * math.log2(16) + 1) ** 2,
        "squared twice: cos and sin carry the factor once, so query times key carries it twice.": f**4,
        "0.1 ln s + 1 is already the square root of 1/t; no further root.": math.sqrt(f),
    }
    if not _same(found, f * f):
        for message, wrong in mistakes.items():
            if _same(found, wrong):
                return message
        return "cos and sin of query and of key are each multiplied by 0.1 ln s + 1."
    return None if _same(answer(4.0), (0.1 * math.log(4) + 1) ** 2) else "right for s = 16 only: use the argument."


CHECKS: dict[str, Check] = {
    "6.1": unfinished,
    "6.2": ntk_base,
    "6.3": by_parts,
    "6.4": logit_scale,
}

_PARTS = """
def my_by_parts(inv_freq, s, length, alpha, beta):
    turns = {turns}
    keep = {keep}
    return keep * inv_freq + (1 - keep) * inv_freq / s
"""
_COUNT = """
def unfinished(head_dim, base, length):
    turned = length * frequencies(head_dim, base)
    return {}
"""
_TURNS, _KEEP = "length * inv_freq / (2 * math.pi)", "((turns - alpha) / (beta - alpha)).clamp(0, 1)"

MISTAKES: dict[str, dict[str, str]] = {
    "6.1": {
        "2 pi": _COUNT.format("int((turned < 1).sum())"),
        "*do* finish": _COUNT.format("int((turned >= 2 * math.pi).sum())"),
        "not channels": _COUNT.format("2 * int((turned < 2 * math.pi).sum())"),
        "degrees": _COUNT.format("int((turned < 360).sum())"),
        "use the arguments": _COUNT.format("18"),
        "one number": _COUNT.format("turned < 2 * math.pi"),
        "whole number": """
def unfinished(head_dim, base, length):
    return head_dim / 2 * (1 - math.log(length / (2 * math.pi)) / math.log(base))
""",
        "use head_dim": """
def unfinished(head_dim, base, length):
    return int((length * frequencies(128, base) < 2 * math.pi).sum())
""",
    },
    "6.2": {
        "less than s": "def ntk_base(base, s, head_dim):\n    return base * s",
        "upside down": "def ntk_base(base, s, head_dim):\n    return base * s ** ((head_dim - 2) / head_dim)",
        "channels": "def ntk_base(base, s, head_dim):\n    return base * s ** (head_dim / 2 / (head_dim / 2 - 2))",
        "speeds them up": "def ntk_base(base, s, head_dim):\n    return base / s ** (head_dim / (head_dim - 2))",
        "only s is raised": "def ntk_base(base, s, head_dim):\n    return (base * s) ** (head_dim / (head_dim - 2))",
        "position interpolation": "def ntk_base(base, s, head_dim):\n    return frequencies(head_dim, base) / s",
        "use the arguments": "def ntk_base(base, s, head_dim):\n    return 10_000.0 * 16.0 ** (128 / 126)",
    },
    "6.3": {
        "upside down": _PARTS.format(turns=_TURNS, keep=f"1 - {_KEEP}"),
        "clip": _PARTS.format(turns=_TURNS, keep="(turns - alpha) / (beta - alpha)"),
        "2 pi": _PARTS.format(turns="length * inv_freq", keep=_KEEP),
        "wavelengths": _PARTS.format(turns="2 * math.pi / inv_freq", keep=_KEEP),
        "index of the pair": """
def my_by_parts(inv_freq, s, length, alpha, beta):
    pairs = len(inv_freq)
    low, high = (pairs * math.log(length / (2 * math.pi * b)) / math.log(1e4) for b in (beta, alpha))
    keep = 1 - ((torch.arange(pairs).double() - low) / (high - low)).clamp(0, 1)
    return keep * inv_freq + (1 - keep) * inv_freq / s
""",
        "not over the longer one": _PARTS.format(turns="s * length * inv_freq / (2 * math.pi)", keep=_KEEP),
        "blend the frequencies": """
def my_by_parts(inv_freq, s, length, alpha, beta):
    keep = ((length * inv_freq / (2 * math.pi) - alpha) / (beta - alpha)).clamp(0, 1)
    return 1 / (keep / inv_freq + (1 - keep) * s / inv_freq)
""",
        "position interpolation": "def my_by_parts(inv_freq, s, length, alpha, beta):\n    return inv_freq / s",
        "frequencies that are handed in": _PARTS.format(
            turns="length * (inv_freq := frequencies(128)) / 6.2831853", keep=_KEEP
        ),
        "use s, length, alpha and beta": _PARTS.format(turns=_TURNS, keep="((turns - 1) / (beta - 1)).clamp(0, 1)"),
    },
    "6.4": {
        "its square": "def logit_scale(s):\n    return 0.1 * math.log(s) + 1",
        "sharper": "def logit_scale(s):\n    return 1 / (0.1 * math.log(s) + 1) ** 2",
        "base 10": "def logit_scale(s):\n    return (0.1 * math.log10(s) + 1) ** 2",
        "base 2": "def logit_scale(s):\n    return (0.1 * math.log2(s) + 1) ** 2",
        "squared twice": "def logit_scale(s):\n    return (0.1 * math.log(s) + 1) ** 4",
        "no further root": "def logit_scale(s):\n    return (0.1 * math.log(s) + 1) ** 0.5",
        "s = 16 only": "def logit_scale(s):\n    return (0.1 * math.log(16) + 1) ** 2",
    },
}
