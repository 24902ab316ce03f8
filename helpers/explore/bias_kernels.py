"""Biases by distance (notebook 05), and the attention that they leave where contents are equal."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from ..encodings.alibi import alibi_bias
from ..encodings.fire import FIRE
from ..encodings.kerple import kerple_log, kerple_power
from ..encodings.sandwich import sandwich_rows
from ..encodings.t5 import t5_buckets
from ..plotting import ACCENT, MUTED, Picture, line
from . import Choice, Slider, checked, data, explorable

SCHEMES = {
    "ALiBi": "alibi",
    "KERPLE log": "kerple",
    "KERPLE power": "kerple",
    "Sandwich": "sandwich",
    "T5": "t5",
    "FIRE": "fire",
}
KERNELS = tuple(SCHEMES)

DIALS = (
    Choice("kernel", "kernel", KERNELS),
    Slider("strength", "strength (slope, r1)", 0.01, 4, step=0.01, log=True),
    Slider("power", "r2 (KERPLE only)", 0.05, 2, step=0.05),
    Slider("window", "window", 32, 4096, log=True, unit="tokens"),
)


def recorded_fire() -> FIRE:
    """FIRE with the network of one head, as a race trained it (``tools/explore_data.py``)."""
    recorded = data("bias_kernels")["fire"]
    (w1, b1), (w2, b2) = recorded["hidden"], recorded["out"]
    fire = FIRE(1, threshold=recorded["threshold"], width=len(w1), c=recorded["c"]).double()
    wide = {"0.weight": [[w] for w in w1], "0.bias": b1, "2.weight": [w2], "2.bias": b2}
    fire.network.load_state_dict({name: torch.tensor(each, dtype=torch.float64) for name, each in wide.items()})
    return fire


@torch.no_grad()
def bias_of(kernel: str, strength: float, power: float, window: int) -> Tensor:
    """Bias in logits at distance 0 .. window - 1 from the window's last query: (window,) float64.

    ``strength`` is ALiBi's slope, KERPLE's r1, Sandwich's H/(8h), or multiplies the recorded bias (T5, FIRE); ``power``
    is KERPLE's r2.
    """
    distance = torch.arange(window)
    wide = distance.double()[None]
    r1, r2 = (torch.tensor([[[x]]], dtype=torch.float64) for x in (strength, power))
    if kernel == "ALiBi":
        return alibi_bias(torch.zeros(1, 1), wide, r1.flatten()).flatten().double()
    if kernel == "KERPLE log":
        return kerple_log(wide, r1, r2).flatten()
    if kernel == "KERPLE power":
        return kerple_power(wide, r1, r2).flatten()
    if kernel == "Sandwich":  # as published: 128 wide, the constant d/2 taken off
        rows = sandwich_rows(distance, 128)
        return strength * (rows @ rows[0] - 64)
    if kernel == "T5":
        recorded = data("bias_kernels")["t5"]
        buckets = t5_buckets(-distance, len(recorded["bias"]), recorded["max_distance"])
        return strength * torch.tensor(recorded["bias"], dtype=torch.float64)[buckets]
    query = torch.tensor([[window - 1]])
    return strength * recorded_fire().prepare(query, query - distance, torch.ones(1)).flatten()


def style(kernel: str, **kwargs) -> dict:
    """Color and line of a kernel; KERPLE's two differ in their line."""
    own = {"linestyle": (0, (1, 1))} if kernel == "KERPLE power" else {}
    return line(SCHEMES[kernel], marker="none", label=kernel, **own | kwargs)


def bias_kernels(
    kernel: str = "ALiBi", strength: float = 0.25, power: float = 0.5, window: int = 512, distance: int = 8
) -> Picture:
    """The bias of every kernel at one strength, and the attention it leaves; one kernel is drawn bold.

    Args:
        kernel: one of :data:`KERNELS`.
        strength, power, window: as in :func:`bias_of`: 0.01 to 4, 0.05 to 2, 32 to 4,096 tokens.
        distance: of the marker, in tokens, from 0 to the end of the window.

    Raises:
        ValueError: on anything else.
    """
    state = checked(DIALS, kernel=kernel, strength=strength, power=power, window=window, distance=distance)
    Slider("distance", "", 0, window - 1).check(distance)
    fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6))
    for name in KERNELS:
        bias = bias_of(name, strength, power, window)
        weight = torch.softmax(bias, 0)
        look = style(name, lw=2.8 if name == kernel else 1.2, alpha=1 if name == kernel else 0.75)
        left.plot(range(window), bias - bias.max(), **look)
        right.plot(range(window), weight, **look)
    mine = torch.softmax(bias_of(kernel, strength, power, window), 0)
    beyond = float(mine[distance + 1 :].sum())
    for ax in (left, right):
        ax.axvline(distance, color=ACCENT, lw=1.2)
        ax.set_xscale("symlog", linthresh=1, linscale=0.4)
        ax.set(xlim=(0, window), xlabel="distance (tokens)")
        ticks = [0, *(x for x in (1, 4, 16, 64, 256, 1024, 4096) if x <= window)]
        ax.set_xticks(ticks, [str(x) for x in ticks])
        ax.minorticks_off()
    left.set(ylabel="bias, largest set to 0", ylim=(-12, 0.6), title="What is added")
    right.axhline(1 / window, color=MUTED, ls="--", lw=0.9)
    right.text(0.1, 1.15 / window, "all alike", fontsize=8, color="#666666")
    right.set(yscale="log", ylim=(1e-6, 1.5), ylabel="attention weight", title="What is left, contents equal")
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8)
    alt = (
        f"Bias against distance and the attention weight it leaves in a window of {window} tokens, for six kernels at "
        f"strength {strength:g}; {kernel} is bold, a marker stands at distance {distance}"
    )
    caption = (
        f"Six kernels at strength {strength:g} (KERPLE's r2 is {power:g}; T5 and FIRE as a race trained one head, "
        f"times {strength:g}), window {window}. {kernel} leaves {beyond:.1%} of the attention to keys beyond distance "
        f"{distance}."
    )
    return explorable("bias_kernels", DIALS, state, fig, "05_explore_bias_kernels", alt, caption)
