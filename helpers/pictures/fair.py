"""The fair race in three panels: every trial of every scheme. Notebooks 05 and 06 show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from ..plotting import INK, MUTED, Picture, color, label

if TYPE_CHECKING:
    from ..race import Result


FLAT = 0.05
"""A rise of the loss, in nats per character, that the text of the picture calls flat."""


def cloud(
    name: str,
    trials: Mapping[str, Sequence[Result]],
    chosen: Mapping[str, Sequence[Result]],
    longer: Mapping[str, Sequence[Result]],
    ladders: Mapping[str, Sequence[Result]],
) -> Picture:
    """Loss at the trained length, its rise at eight times that, and recall by distance.

    Args:
        name: of the picture, "05_cloud".
        trials: every trial of the search, by scheme.
        chosen: fresh seeds of the setting that was chosen, by scheme.
        longer: the same at a longer budget.
        ladders: for the panel of recall, label -> runs; their mean is drawn, with the range of the runs.
    """
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 4.2), width_ratios=(1.25, 1.25, 1))
    schemes = list(trials)
    lengths = next(iter(trials.values()))[0].settings.lengths
    short, far = lengths[0], lengths[-1]

    def loss(result: Result) -> float:
        return result.last[short]

    def rise(result: Result) -> float:
        return result.last[far] - result.last[short]

    for ax, score in ((left, loss), (middle, rise)):
        for row, scheme in enumerate(schemes):
            shade = color(scheme)
            for result in trials[scheme]:
                published = result.name == scheme
                face = "none" if published else shade
                ax.plot(score(result), row, "o", color=shade, ms=6, mfc=face, alpha=0.75, mew=1.2)
            fresh = [(chosen, 0.27, {"marker": "|", "ms": 11, "mew": 2}), (longer, -0.27, {"marker": "D", "ms": 4.5})]
            for runs, below, style in fresh:
                x = [score(result) for result in runs[scheme]]
                ax.plot(x, [row + below] * len(x), ls="", color=shade, **style)
        ax.set_yticks(range(len(schemes)), [label(scheme) for scheme in schemes])
        ax.invert_yaxis()
        ax.grid(True, axis="x")
    middle.set_yticks(range(len(schemes)), [""] * len(schemes))
    middle.axvline(0, color=INK, lw=0.9, zorder=0)
    left.set(title=f"Loss at {short}, the trained length", xlabel="nats per character")
    middle.set(title=f"Its rise from {short} to {far}", xlabel="nats per character")
    steps = next(iter(longer.values()))[0].settings.steps
    own = next(iter(trials.values()))[0].settings.steps
    marks = {
        "a trial, published setting": {"marker": "o", "mfc": "none", "ls": "", "ms": 6},
        "a trial, another setting": {"marker": "o", "ls": "", "ms": 6},
        f"chosen setting, fresh seeds, {own} steps": {"marker": "|", "ls": "", "ms": 11, "mew": 2},
        f"the same after {steps:,} steps": {"marker": "D", "ls": "", "ms": 4.5},
    }
    handles = [plt.Line2D([], [], color=INK, label=text, **style) for text, style in marks.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=4)

    styles = ("-", "--", "-.", ":", (0, (1, 1)), (0, (5, 1)))
    for (text, runs), style in zip(ladders.items(), styles, strict=False):
        depths = runs[0].settings.depths
        at = [far - 1 - int(depth * (far - 2)) for depth in depths]
        shares = 100 * np.array([run.recall[far].numpy() for run in runs])
        shade = color(runs[0].name.partition("[")[0])
        right.fill_between(at, shares.min(0), shares.max(0), color=shade, alpha=0.15, lw=0)
        right.plot(at, shares.mean(0), color=shade, ls=style, marker="o", ms=4, label=text)
    right.axhline(100 / runs[0].settings.markers, color=MUTED, lw=0.9, ls="--", zorder=0)
    right.annotate(
        "chance", (0.02, 100 / runs[0].settings.markers), xycoords=("axes fraction", "data"), va="bottom", fontsize=8
    )
    right.axvline(short, color=MUTED, lw=0.9, ls="--", zorder=0)
    right.annotate(
        "trained length",
        (short, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -9),
        textcoords="offset points",
        fontsize=8,
    )
    right.set_xscale("log", base=2)
    ticks = [32, 64, 128, 256, 512]
    right.set_xticks(ticks, [str(t) for t in ticks])
    right.minorticks_off()
    right.set(
        title=f"Recall in windows of {far}", xlabel="tokens back to the marker", ylabel="recalled, %", ylim=(0, 104)
    )
    right.legend(fontsize=8)
    rises = {scheme: [rise(result) for result in trials[scheme]] for scheme in schemes}
    flat = [label(s) for s in schemes if max(rises[s]) < FLAT]
    breaks = [label(s) for s in schemes if min(rises[s]) > FLAT]
    return Picture(
        fig,
        name,
        alt=f"Three panels. Loss at {short} of every trial of {len(schemes)} schemes. Its rise from {short} "
        f"to {far}: below {FLAT} in every trial of {', '.join(flat)}; above it in every trial of "
        f"{', '.join(breaks)}. Recall by distance: {', '.join(ladders)}.",
        caption=f"{sum(map(len, trials.values()))} trials at one seed, and fresh seeds of what each scheme chose.",
    )
