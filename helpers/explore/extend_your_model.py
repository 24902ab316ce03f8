"""A published configuration under every rule of context extension (notebook 06): each pair's slowing and turns."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from ..encodings import RotaryParameters, from_config
from ..encodings.extension import Extension, extend, rotations
from ..encodings.rope import rope_frequencies
from ..plotting import ACCENT, MUTED, Picture
from ..validate import require
from . import Choice, Slider, checked, data, explorable

AS_PUBLISHED = "as the file says"
RULES = {
    AS_PUBLISHED: "",
    "position interpolation": "pi",
    "NTK-aware": "ntk",
    "dynamic NTK": "dynamic_ntk",
    "NTK by parts": "ntk_by_parts",
    "YaRN": "yarn",
    "LongRoPE": "longrope",
    "Llama 3": "llama3",
    "larger base": "abf",
}
SPELLINGS = ("rope_parameters", "rope_scaling")
MODELS = tuple(data("extend_your_model"))

DIALS = (
    Choice("model", "configuration", MODELS),
    Choice("rule", "rule", tuple(RULES)),
    Slider("factor", "factor", 1, 64, step=0.5, log=True),
    Slider("original", "original length", 256, 262144, log=True, unit="tokens"),
    Slider("base_times", "base multiplied by (larger base)", 1, 1000, log=True),
    Choice("spelling", "written as", SPELLINGS),
)


def parameters_of(model: str) -> RotaryParameters:
    """What the published file of a model says."""
    return from_config(data("extend_your_model")[model]["config"])


def original_length(parameters: RotaryParameters) -> int:
    """The length in tokens from which a rule counts, as the file has it."""
    return parameters.original_max_position_embeddings or parameters.max_position_embeddings


def extended(
    parameters: RotaryParameters, model: str, rule: str, factor: float, original: int, base_times: float = 50
) -> Extension | None:
    """What a rule makes of a text of ``factor`` x ``original`` tokens; None for LongRoPE where the file has no lists.

    A published list holds for the factor that it was searched for: LongRoPE keeps the file's factor and length.
    """
    width, base, name = parameters.rotary_dim, parameters.base, RULES[rule]
    target = round(factor * original)
    if rule == AS_PUBLISHED:
        own = from_config(data("extend_your_model")[model]["config"], seq_len=target)
        return Extension(own.inv_freq, own.attention_factor)
    if name == "abf":
        return extend(name, width, base, new_base=base * base_times)
    if name != "longrope":
        return extend(name, width, base, factor, original, target)
    scaling = data("extend_your_model")[model]["config"].get("rope_scaling") or {}
    if "long_factor" not in scaling:
        return None
    lists = {key: scaling[key] for key in ("short_factor", "long_factor")}
    own = original_length(parameters)
    return extend(name, width, base, parameters.factor, own, round(parameters.factor * own), **lists)


def _slowing(parameters: RotaryParameters, inv_freq: Tensor) -> Tensor:
    return rope_frequencies(parameters.rotary_dim, parameters.base) / inv_freq


def extend_your_model(
    model: str = "llama-2-7b-chat",
    rule: str = "YaRN",
    factor: float = 8.0,
    original: int | None = None,
    base_times: float = 50.0,
    spelling: str = "rope_parameters",
    pair: int = 40,
) -> Picture:
    """By how much a rule slows each pair, among all rules, and the turns that the pairs complete.

    Args:
        model: one of :data:`MODELS`, a published configuration.
        rule: one of :data:`RULES`.
        factor: wanted length over original length, 1 to 64.
        original: length trained on, in tokens, 256 to 262,144; None for the file's.
        base_times: by what "larger base" multiplies the base, 1 to 1,000 (Xiong et al.: 50).
        spelling: of the edit, one of :data:`SPELLINGS`: transformers 5 or 4.
        pair: the one that the live version marks, from 0, the fastest; where a head has fewer, its slowest.

    Raises:
        ValueError: on anything else.
    """
    Choice("model", "", MODELS).check(model)
    parameters = parameters_of(model)
    length = original_length(parameters) if original is None else original
    state = checked(
        DIALS,
        model=model,
        rule=rule,
        factor=factor,
        original=length,
        base_times=base_times,
        spelling=spelling,
        pair=pair,
    )
    Slider("pair", "", 0, 127).check(pair)
    require(isinstance(length, int), "original", length, "use a whole number of tokens.")
    turns = rotations(rope_frequencies(parameters.rotary_dim, parameters.base), length)
    pairs = torch.arange(len(turns))
    fig, (top, below) = plt.subplots(2, 1, figsize=(8, 5.2), sharex=True, height_ratios=(1.4, 1))
    for name in (*(n for n in RULES if n not in (rule, AS_PUBLISHED)), rule):
        found = extended(parameters, model, name, factor, length, base_times)
        if found is None:
            continue
        slowing = _slowing(parameters, found.inv_freq)
        mine = name == rule
        label = name if mine else "_" if top.lines else "the other rules"
        top.plot(pairs, slowing, color=ACCENT if mine else MUTED, lw=2.8 if mine else 1.1, label=label)
    chosen = extended(parameters, model, rule, factor, length, base_times)
    top.set(yscale="log", ylabel="slowed by", title=f"{model}: {length:,} to {round(factor * length):,} tokens")
    ticks = [t for t in (1, 2, 4, 8, 16, 32, 64, 128, 256) if t <= top.get_ylim()[1]]
    top.set_yticks(ticks, [str(t) for t in ticks])
    top.minorticks_off()
    if chosen is not None:
        top.legend(loc="upper left")
    unfinished = int((turns < 1).sum())
    below.axvspan(len(turns) - unfinished - 0.5, len(turns) - 0.5, color=MUTED, alpha=0.18, lw=0)
    below.plot(pairs, turns, color="#333333", lw=1.6, label=f"as trained, in {length:,} tokens")
    if chosen is not None:
        after = rotations(chosen.inv_freq, round(factor * length))
        label = f"{rule}, in {round(factor * length):,} tokens"
        below.plot(pairs, after, color=ACCENT, lw=1.6, ls="--", label=label)
    below.axhline(1, color=MUTED, lw=0.9, ls="--")
    below.set(yscale="log", ylabel="turns", xlabel="pair of channels, fast to slow", xlim=(-0.5, len(turns) - 0.5))
    below.legend(loc="lower left")
    if chosen is None:
        said = "The file has no lists for LongRoPE, and no formula gives them."
    else:
        slowing = _slowing(parameters, chosen.inv_freq)
        kept, full = int((slowing < 1.0005).sum()), int((slowing > factor * 0.9995).sum())
        alone = f"{kept} pair" if kept == 1 else f"{kept} pairs"
        said = f"{rule} with factor {factor:g} leaves {alone} alone and slows {full} by {factor:g} or more."
        if not math.isclose(chosen.attention_factor, 1):
            said += f" cos and sin are multiplied by {chosen.attention_factor:.4f}."
    finish = "does not finish" if unfinished == 1 else "do not finish"
    alt = (
        f"Slowing of each of {len(turns)} pairs of {model} under every rule, {rule} bold, and the turns of each pair "
        f"in {length:,} tokens; {unfinished} of them {finish} one there"
    )
    caption = f"{unfinished} of {len(turns)} pairs {finish} a turn in {length:,} tokens (shaded). {said}"
    return explorable("extend_your_model", DIALS, state, fig, "06_explore_extend_your_model", alt, caption)
