r"""Context extension of RoPE: what each published rule does to each frequency. Door 2, after training.

Every rule has one signature and one kind of answer:

.. math:: (d,\ b,\ s,\ L,\ \text{current length}) \mapsto (\theta'_0 \dots \theta'_{d/2-1},\ \text{attention factor})

with d the head_dim, b the base, and factor s = wanted length / original length L. Hand both to
:class:`~helpers.encodings.RoPE`. The attention factor multiplies cos and sin, and so by its square what a logit gets
from rotated channels: the whole logit if the whole head is rotated.

A rule is one function below and one line in :data:`RULES`; its own options are keyword-only.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..validate import even_int, flag, number, one_of, positive_int, positive_number, require
from .base import LARGEST, in_float64
from .rope import RoPE, Rotation, rope_angles, rope_exponents, rope_frequencies


class Extension(NamedTuple):
    """What a rule returns.

    Attributes:
        inv_freq: radians a position, one a pair of channels: (head_dim / 2,) float64.
        attention_factor: multiplies cos and sin of queries and keys (1.0: the logits keep their size).
    """

    inv_freq: Tensor
    attention_factor: float = 1.0


REMEDIES = {
    "factor": "this rule needs it: wanted length / original length, at least 1. Where a configuration has none, as for"
    " LongRoPE, it is max_position_embeddings / original_max_position_embeddings.",
    "original_max_position_embeddings": "this rule needs it: the length in tokens that the model was trained on, before"
    " any extension.",
}


def _frequencies(
    head_dim: int,
    base: float,
    factor: float | None,
    original_max_position_embeddings: int | None,
    seq_len: int | None,
    needs: Sequence[str] = ("factor", "original_max_position_embeddings"),
) -> Tensor:
    """The unscaled frequencies, after checking what every rule takes (ValueError naming the argument).

    ``needs``: what may not be None.
    """
    even_int("head_dim", head_dim, "channels are rotated in pairs", at_least=4)  # NTK divides by head_dim - 2
    positive_number("base", base)
    require(base > 1, "base", base, "must be above 1, or the frequencies do not fall.")
    given = {"factor": factor, "original_max_position_embeddings": original_max_position_embeddings}
    for argument in needs:
        require(given[argument] is not None, argument, None, REMEDIES[argument])
    if factor is not None:
        positive_number("factor", factor)
        require(factor >= 1, "factor", factor, "must be at least 1: wanted length / original length.")
    if original_max_position_embeddings is not None:
        positive_int("original_max_position_embeddings", original_max_position_embeddings)
    if seq_len is not None:
        positive_int("seq_len", seq_len)
    return rope_frequencies(head_dim, base)


def _check_ramp(beta_fast: float, beta_slow: float, may_be_equal: bool = False) -> None:
    positive_number("beta_slow", beta_slow)
    positive_number("beta_fast", beta_fast)
    if may_be_equal:
        require(beta_fast >= beta_slow, "beta_fast", beta_fast, f"must be at least beta_slow={beta_slow!r}.")
    else:
        require(beta_fast > beta_slow, "beta_fast", beta_fast, f"must be above beta_slow={beta_slow!r}.")


def rotations(inv_freq: Tensor, length: int) -> Tensor:
    """Full turns a pair makes over ``length`` positions, r = L theta / 2 pi: the shape of inv_freq."""
    return length * inv_freq / (2 * math.pi)


def blend(inv_freq: Tensor, factor: float, keep: Tensor) -> Tensor:
    """keep * theta + (1 - keep) * theta / s: 1 leaves a pair alone, 0 interpolates it fully (YaRN, eq. 20)."""
    return keep * inv_freq + (1 - keep) * inv_freq / factor


def temperature_factor(factor: float, mscale: float = 1.0) -> float:
    """YaRN's sqrt(1/t) = 0.1 mscale ln s + 1 (natural logarithm), on queries and on keys (Peng et al., eq. 22).

    ``mscale`` is DeepSeek-V2's; the paper has 1. Its square, with mscale_all_dim, goes on the softmax scale there:
    :class:`~helpers.encodings.RoPE` says why that is another place. Source: yarn_get_mscale in the authors' code.
    """
    return 0.1 * mscale * math.log(factor) + 1.0


# --------------------------------------------------------------------------------------------------- the rules


def plain(
    head_dim: int,
    base: float,
    factor: float | None = None,
    original_max_position_embeddings: int | None = None,
    seq_len: int | None = None,
) -> Extension:
    """RoPE as trained.

    Args (the same for every rule):
        head_dim: even width of the rotated part of a head, at least 4.
        base: b of theta_i = b^(-2i/head_dim), above 1.
        factor: s, wanted length / original length, at least 1. None only where a rule does not use it.
        original_max_position_embeddings: L, the length trained on, in tokens. None only where a rule does not use it.
        seq_len: current length in tokens, for the rules that depend on it; None means L.

    Raises:
        ValueError: naming the argument, on anything else.
    """
    return Extension(_frequencies(head_dim, base, factor, original_max_position_embeddings, seq_len, needs=()))


def position_interpolation(
    head_dim: int,
    base: float,
    factor: float,
    original_max_position_embeddings: int | None = None,
    seq_len: int | None = None,
) -> Extension:
    """theta / s: every pair slowed alike, so that position sL turns as far as L did (Chen et al. 2306.15595)."""
    freq = _frequencies(head_dim, base, factor, original_max_position_embeddings, seq_len, needs=("factor",))
    return Extension(freq / factor)


def ntk_aware(
    head_dim: int,
    base: float,
    factor: float,
    original_max_position_embeddings: int | None = None,
    seq_len: int | None = None,
) -> Extension:
    """Base b s^(d/(d-2)): the fastest pair untouched, the slowest slowed by exactly s (YaRN paper, Definition 1)."""
    _frequencies(head_dim, base, factor, original_max_position_embeddings, seq_len, needs=("factor",))
    return Extension(rope_frequencies(head_dim, base * factor ** (head_dim / (head_dim - 2))))


def dynamic_ntk(
    head_dim: int, base: float, factor: float, original_max_position_embeddings: int, seq_len: int | None = None
) -> Extension:
    """NTK-aware with a scale that follows the current length l: s l/L - (s - 1), once l > L (the released code).

    Only factor 1 gives the s = max(1, l/L) of the YaRN paper, section 3.3. At l = 2L, factor 2 gives 3.
    """
    _frequencies(head_dim, base, factor, original_max_position_embeddings, seq_len)
    length = max(seq_len or 0, original_max_position_embeddings)
    scale = _dynamic_scale(factor, length / original_max_position_embeddings, head_dim)
    return Extension(rope_frequencies(head_dim, base * scale))


def _dynamic_scale(factor: float, growth: float | Tensor, head_dim: int) -> float | Tensor:
    """What dynamic NTK multiplies the base by at l/L = growth: s l/L - (s - 1), written without cancellation."""
    return (1 + factor * (growth - 1)) ** (head_dim / (head_dim - 2))


def ntk_by_parts(
    head_dim: int,
    base: float,
    factor: float,
    original_max_position_embeddings: int,
    seq_len: int | None = None,
    *,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
) -> Extension:
    """The YaRN paper's ramp, linear in the number of turns r = L theta / 2 pi, and no temperature (eqs. 17-20).

    Pairs above ``beta_fast`` turns are kept, pairs below ``beta_slow`` (alpha in the paper) are interpolated.
    """
    freq = _frequencies(head_dim, base, factor, original_max_position_embeddings, seq_len)
    _check_ramp(beta_fast, beta_slow)
    turns = rotations(freq, original_max_position_embeddings)
    keep = ((turns - beta_slow) / (beta_fast - beta_slow)).clamp(0, 1)
    return Extension(blend(freq, factor, keep))


def correction_dim(turns: float, head_dim: int, base: float, length: int) -> float:
    """The (fractional) pair index that makes this many turns over ``length``: the inverse of :func:`rotations`."""
    return head_dim * math.log(length / (2 * math.pi * turns)) / (2 * math.log(base))


def yarn(
    head_dim: int,
    base: float,
    factor: float,
    original_max_position_embeddings: int,
    seq_len: int | None = None,
    *,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    ramp: str = "code",
    truncate: bool = True,
    attention_factor: float | None = None,
) -> Extension:
    """NTK-by-parts plus a temperature before the softmax (Peng et al. 2309.00071).

    Args (beyond the common ones):
        beta_fast, beta_slow: turns over L above which a pair is kept, below which it is interpolated. Equal ones
            (Kimi K2 has 1 and 1) leave the code's ramp one pair wide, or a hard switch without ``truncate``.
        ramp: "code", linear in the *index* of the pair, as the authors' code and transformers have it; or "paper",
            linear in the number of turns (:func:`ntk_by_parts`).
        truncate: round the ends of the code's ramp outwards to whole indices (the default of the released code;
            gpt-oss sets False). Either way they are clamped to the head. Without effect on the paper's ramp.
        attention_factor: to use instead of :func:`temperature_factor`, as some configurations state it; 1 for none.

    Raises:
        ValueError: on a bad argument.
    """
    one_of("ramp", ramp, ("code", "paper"))
    common = (head_dim, base, factor, original_max_position_embeddings, seq_len)
    freq = _frequencies(*common)
    _check_ramp(beta_fast, beta_slow, may_be_equal=ramp == "code")
    own = temperature_factor(factor) if attention_factor is None else attention_factor
    attention_factor = number("attention_factor", own, above=0, at_most=LARGEST)
    if ramp == "paper":
        paper = ntk_by_parts(*common, beta_fast=beta_fast, beta_slow=beta_slow)
        return Extension(paper.inv_freq, attention_factor)
    low = correction_dim(beta_fast, head_dim, base, original_max_position_embeddings)
    high = correction_dim(beta_slow, head_dim, base, original_max_position_embeddings)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)  # head_dim - 1, not head_dim / 2 - 1: so in the released code
    high = high + 0.001 if high == low else high
    interpolate = ((torch.arange(head_dim // 2, dtype=torch.float64, device="cpu") - low) / (high - low)).clamp(0, 1)
    return Extension(blend(freq, factor, 1 - interpolate), attention_factor)


def longrope(
    head_dim: int,
    base: float,
    factor: float,
    original_max_position_embeddings: int,
    seq_len: int | None = None,
    *,
    short_factor: Sequence[float],
    long_factor: Sequence[float],
    attention_factor: float | None = None,
) -> Extension:
    """theta_i / lambda_i with searched lambdas: one list up to L, another beyond (Ding et al. 2402.13753).

    Args (beyond the common ones):
        short_factor, long_factor: head_dim / 2 divisors each, found by search: no formula gives them. For pictures
            there is :func:`longrope_example`.
        attention_factor: to use instead of sqrt(1 + ln s / ln L), which holds at every length. Phi-3's configuration
            has no factor: there s = max_position_embeddings / L = 131072 / 4096 = 32, which gives 1.1902.

    Raises:
        ValueError: on a bad argument.
    """
    freq = _frequencies(head_dim, base, factor, original_max_position_embeddings, seq_len)
    lists = {"short_factor": list(short_factor), "long_factor": list(long_factor)}
    for name, values in lists.items():
        require(len(values) == head_dim // 2, name, f"{len(values)} numbers", f"must have head_dim/2={head_dim // 2}.")
        for value in values:
            positive_number(name, value)
    require(original_max_position_embeddings > 1, "original_max_position_embeddings", 1, "must be above 1: ln 1 is 0.")
    beyond = seq_len is not None and seq_len > original_max_position_embeddings
    divisors = torch.tensor(lists["long_factor" if beyond else "short_factor"], dtype=torch.float64, device="cpu")
    if attention_factor is None:
        attention_factor = math.sqrt(1 + math.log(factor) / math.log(original_max_position_embeddings))
    return Extension(freq / divisors, number("attention_factor", attention_factor, above=0, at_most=LARGEST))


def longrope_example(head_dim: int, factor: float) -> list[float]:
    """A synthetic long list, 1 for the fastest pair to ``factor`` for the slowest on an S-curve: for pictures only."""
    x = torch.linspace(0, 1, head_dim // 2, dtype=torch.float64, device="cpu")
    return (factor ** (x * x * (3 - 2 * x))).tolist()


def llama3(
    head_dim: int,
    base: float,
    factor: float,
    original_max_position_embeddings: int,
    seq_len: int | None = None,
    *,
    low_freq_factor: float = 1.0,
    high_freq_factor: float = 4.0,
) -> Extension:
    """Llama 3.1's rule, as its code states it in wavelengths: it is the YaRN paper's ramp with 1 and 4 turns.

    Wavelengths below L / high_freq_factor are kept, above L / low_freq_factor divided by s, between them blended.
    Equal factors give a hard switch (Llama 4 Scout). ValueError on a bad argument.
    """
    freq = _frequencies(head_dim, base, factor, original_max_position_embeddings, seq_len)
    positive_number("low_freq_factor", low_freq_factor)
    require(
        high_freq_factor >= low_freq_factor, "high_freq_factor", high_freq_factor, "must be at least low_freq_factor."
    )
    wavelength = 2 * math.pi / freq
    if high_freq_factor == low_freq_factor:
        keep = (wavelength <= original_max_position_embeddings / low_freq_factor).double()
    else:
        u = (original_max_position_embeddings / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor)
        keep = u.clamp(0, 1)
    return Extension(blend(freq, factor, keep))


def abf(
    head_dim: int,
    base: float,
    factor: float | None = None,
    original_max_position_embeddings: int | None = None,
    seq_len: int | None = None,
    *,
    new_base: float,
) -> Extension:
    """Adjusted base frequency: a larger base, then training on long text (Xiong et al. 2309.16039).

    ``new_base`` is chosen by hand; the paper takes 50 times the old one, 500,000 for 10,000. ValueError on a smaller
    one than ``base``, and on a bad argument.
    """
    _frequencies(head_dim, base, factor, original_max_position_embeddings, seq_len, needs=())
    positive_number("new_base", new_base)
    require(new_base >= base, "new_base", new_base, f"must be at least base={base}: a smaller one speeds pairs up.")
    return Extension(rope_frequencies(head_dim, new_base))


def p_rope(
    head_dim: int,
    base: float,
    factor: float | None = None,
    original_max_position_embeddings: int | None = None,
    seq_len: int | None = None,
    *,
    keep: float,
    interpolate: bool = False,
) -> Extension:
    """Stop the slowest pairs: keep the fastest fraction p, set the rest to 0 (Barbero et al. 2410.06205).

    Args (beyond the common ones):
        keep: p in [0, 1]; int(p * head_dim // 2) pairs still turn, at their usual frequencies (the paper's best: 0.75).
        interpolate: also divide by factor, as the "proportional" rule of transformers does.

    Raises:
        ValueError: on a bad argument.
    """
    needs = ("factor",) if flag("interpolate", interpolate) else ()
    freq = _frequencies(head_dim, base, factor, original_max_position_embeddings, seq_len, needs)
    require(0 <= number("keep", keep) <= 1, "keep", keep, "must be a fraction of the pairs, from 0 to 1.")
    turning = torch.arange(head_dim // 2, device="cpu") < int(keep * head_dim // 2)
    return Extension(torch.where(turning, freq, 0.0) / (factor if interpolate else 1.0))


Rule = Callable[..., Extension]

RULES: dict[str, Rule] = {
    "none": plain,
    "pi": position_interpolation,
    "ntk": ntk_aware,
    "dynamic_ntk": dynamic_ntk,
    "ntk_by_parts": ntk_by_parts,
    "yarn": yarn,
    "longrope": longrope,
    "llama3": llama3,
    "abf": abf,
    "p_rope": p_rope,
}
"""Every rule by name. ``extend`` looks them up."""


def extend(
    rule: str,
    head_dim: int,
    base: float,
    factor: float | None = None,
    original_max_position_embeddings: int | None = None,
    seq_len: int | None = None,
    **options,
) -> Extension:
    """Look a rule up by name and apply it; arguments as in :func:`plain`, ``options`` are the rule's own.

    What a rule demands is demanded here too: nothing of a configuration has a default that would suit another model.

    Raises:
        ValueError: on an unknown rule or option, a missing one, or whatever the rule refuses.
    """
    function = RULES[one_of("rule", rule, RULES)]
    parameters = inspect.signature(function).parameters.values()
    known = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    for option in options:
        require(option in known, "option", option, f"{rule} takes {', '.join(known) or 'none'}.")
    for option, default in known.items():
        missing = default is inspect.Parameter.empty and option not in options
        require(not missing, option, None, f"{rule} needs it, and no default would suit every model.")
    return function(head_dim, base, factor, original_max_position_embeddings, seq_len, **options)


class DynamicNTK(RoPE):
    """RoPE whose frequencies are those of :func:`dynamic_ntk` at the current length (longest position + 1).

    Recomputed at every forward pass, so two things that hold for every other scheme here do not:

    * Rotated keys in a cache are stale as soon as the length has grown.
    * Logits depend on the other rows of a batch. The length is that of the longest row, padding included: a short text
      gets other frequencies next to a long one than alone. Generate one by one, or group by length.
    """

    def __init__(
        self,
        head_dim: int,
        original_max_position_embeddings: int,
        factor: float,
        base: float = 10_000.0,
        layout: str = "half",
        rotary_fraction: float = 1.0,
        *,
        rotary_dim: int | None = None,
        rotated: str = "first",
        scale: float | None = None,
    ):
        """Arguments as in :func:`plain` and :class:`RoPE`. Factor 1 is the paper's rule, see :func:`dynamic_ntk`."""
        super().__init__(head_dim, base, layout, rotary_fraction, rotary_dim=rotary_dim, rotated=rotated, scale=scale)
        _frequencies(self.rotary_dim, base, factor, original_max_position_embeddings, None)
        self.factor, self.original_max_position_embeddings = factor, original_max_position_embeddings

    def set_frequencies(self, inv_freq: Tensor, attention_factor: float = 1.0) -> None:
        """Refused (ValueError): the next forward pass would compute others."""
        require(False, "encoding", "DynamicNTK", "its frequencies follow the length; build a RoPE for fixed ones.")

    def frequencies(self, length: Tensor) -> Tensor:
        """Radians per position at this length in tokens (a scalar tensor): float64, (pairs,).

        No number leaves the graph for it, so the compiler can take it whole.
        """
        length = in_float64(length).clamp(min=self.original_max_position_embeddings)
        base = self.base * _dynamic_scale(self.factor, length / self.original_max_position_embeddings, self.rotary_dim)
        return base ** rope_exponents(self.rotary_dim).to(length.device)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Rotation:
        longest = torch.cat([q_pos.flatten(), k_pos.flatten(), q_pos.new_zeros(1)]).max()  # 0: for no positions at all
        inv_freq = self.frequencies(longest + 1)
        return Rotation(*(self._cos_sin(rope_angles(p, inv_freq), p.device) for p in (q_pos, k_pos)))
