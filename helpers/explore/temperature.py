"""YaRN's temperature (notebook 06): what each convention multiplies a logit by, when only a part of a head turns."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from ..encodings.extension import temperature_factor
from ..plotting import ACCENT, Picture
from . import Choice, Slider, checked, explorable

CONVENTIONS = ("cos and sin", "logits", "mscale pair")
LOOK = {"cos and sin": ("#d55e00", "-"), "logits": ("#0173b2", "--"), "mscale pair": ("#029e73", "-.")}

DIALS = (
    Slider("factor", "factor s", 1, 64, step=0.5, log=True),
    Slider("rotated_share", "rotated share of the head", 0.05, 1, step=0.01),
    Choice("convention", "temperature on", CONVENTIONS),
    Slider("mscale", "mscale (of the pair)", 0, 1.5, step=0.05),
    Slider("mscale_all_dim", "mscale_all_dim (of the pair)", 0, 1.5, step=0.05),
)


def multipliers(
    factor: float, convention: str, mscale: float = 1.0, mscale_all_dim: float = 1.0
) -> tuple[float, float]:
    """(on cos and sin, on the softmax scale) as code has them.

    "cos and sin": transformers and the authors' code. "logits": the paper's division by t. "mscale pair": DeepSeek,
    the quotient of two factors on cos and sin, the square of the second on the softmax scale; a number of 0 counts as
    absent, as in :mod:`helpers.encodings.config`.
    """
    f = temperature_factor(factor)
    if convention == "cos and sin":
        return f, 1.0
    if convention == "logits":
        return 1.0, f**2
    below = temperature_factor(factor, mscale_all_dim)
    return temperature_factor(factor, mscale) / below if mscale and mscale_all_dim else f, below**2


def of_logit(on_cos_sin: float, on_scale: float, rotated_share: float) -> tuple[float, float, float]:
    """What multiplies a logit: its rotated part, the rest, and the whole where each channel brings an equal part."""
    rotated, rest = on_scale * on_cos_sin**2, on_scale
    return rotated, rest, rotated_share * rotated + (1 - rotated_share) * rest


def _whole(factor: float, share: float, convention: str, mscale: float, mscale_all_dim: float) -> float:
    return of_logit(*multipliers(factor, convention, mscale, mscale_all_dim), share)[2]


def temperature(
    factor: float = 40.0,
    rotated_share: float = 1 / 3,
    convention: str = "cos and sin",
    mscale: float = 1.0,
    mscale_all_dim: float = 1.0,
) -> Picture:
    """The multiplier of a logit against the factor, and the bar of one head.

    Args:
        factor: s, wanted length over original length, 1 to 64.
        rotated_share: of the head's channels, 0.05 to 1 (DeepSeek-V3: 64 of 192 channels).
        convention: one of :data:`CONVENTIONS`.
        mscale, mscale_all_dim: DeepSeek's two numbers, 0 to 1.5; 0 counts as absent. Only for "mscale pair".

    Raises:
        ValueError: on anything else.
    """
    state = checked(
        DIALS,
        factor=factor,
        rotated_share=rotated_share,
        convention=convention,
        mscale=mscale,
        mscale_all_dim=mscale_all_dim,
    )
    on_cos_sin, on_scale = multipliers(factor, convention, mscale, mscale_all_dim)
    rotated, rest, whole = of_logit(on_cos_sin, on_scale, rotated_share)
    fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.3), width_ratios=(1.5, 1))
    s = np.geomspace(1, 64, 80)
    for name, (shade, style) in LOOK.items():
        curve = [_whole(x, rotated_share, name, mscale, mscale_all_dim) for x in s]
        left.plot(s, curve, color=shade, ls=style, lw=2.6 if name == convention else 1.6, label=name)
    left.plot(factor, whole, "o", color=ACCENT if convention == "cos and sin" else LOOK[convention][0], ms=7)
    left.set(xscale="log", xlabel="factor s", ylabel="the logit is multiplied by", xlim=(1, 64))
    left.set_xticks([1, 2, 4, 8, 16, 32, 64], [1, 2, 4, 8, 16, 32, 64])
    left.minorticks_off()
    left.set_title(f"{rotated_share:.1%} of the head turns".replace(".0%", "%"))
    left.legend(loc="upper left")
    parts = [(name, of_logit(*multipliers(factor, name, mscale, mscale_all_dim), rotated_share)) for name in LOOK]
    for row, (name, (turned, kept, _)) in enumerate(parts):
        right.barh(row, rotated_share, color=LOOK[name][0], height=0.6)
        right.barh(row, 1 - rotated_share, left=rotated_share, color=LOOK[name][0], alpha=0.35, height=0.6)
        right.text(rotated_share / 2, row, f"{turned:.2f}", ha="center", va="center", fontsize=9, color="white")
        if rotated_share < 1:
            right.text((1 + rotated_share) / 2, row, f"{kept:.2f}", ha="center", va="center", fontsize=9)
    right.set_yticks(range(len(parts)), [name for name, _ in parts])
    right.invert_yaxis()
    right.set(xlim=(0, 1), xlabel="share of the head: turning | not", title=f"Each part times, s = {factor:g}")
    right.grid(False)
    alt = (
        f"Multiplier of a logit against the factor s for three conventions, {rotated_share:.1%} of the head rotated; "
        f"at s = {factor:g} {convention} gives {rotated:.3f} on the rotated part and {rest:.3f} on the rest"
    )
    caption = (
        f"s = {factor:g}, temperature on {convention}: the rotated {rotated_share:.1%} of a logit is multiplied by "
        f"{rotated:.3f}, the rest by {rest:.3f}; the whole by {whole:.3f} if all channels bring the same."
    )
    return explorable("temperature", DIALS, state, fig, "06_explore_temperature", alt, caption)
