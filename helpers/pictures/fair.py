"""The fair race in three panels: every trial of every scheme. Notebooks 05 and 06 show it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from ..plotting import INK, MUTED, Picture, color, label, line

if TYPE_CHECKING:
    from ..race import Band, Result

FLAT = 0.05
"""A rise of the loss, in nats per character, that the text of the picture calls flat."""

SMALL = {"fontsize": 8, "ha": "center", "va": "top"}
LINES = ("-", "--", ":", "-.", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1)))


def lap(
    name: str,
    bands: Sequence[Band],
    live: Sequence[Result],
    distances: Sequence[int],
    marks: Mapping[str, float] | None = None,
    threads: bool = False,
) -> Picture:
    """One lap of the race: loss by length of context, and recall by distance.

    Args:
        name: of the picture, "04_race".
        bands: recorded contenders: the shade spans the seeds, the line is their mean.
        live: what was trained here: large open markers.
        distances: tokens from the marker to the question, one per depth, in windows of the longest length.
        marks: losses to compare with, as words -> nats per character: thin lines, which the axis takes in.
        threads: recall with a thin line per seed in place of the shade: where many shades would overlap.
    """
    own = bands[0].settings
    short, far = own.lengths[0], own.lengths[-1]
    fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), width_ratios=(1.15, 1), layout="constrained")
    for ax, x in ((left, own.lengths), (right, distances)):
        for band in bands:
            scheme = band.name.partition("[")[0]
            if ax is left:
                seeds = np.array([band.values(n) for n in own.lengths])  # (lengths, seeds)
            else:
                seeds = 100 * np.array([run.recall[far].numpy() for run in band.results]).T  # (depths, seeds)
            if threads and ax is right:
                ax.plot(x, seeds, color=color(scheme), lw=1.0, alpha=0.8)
            else:
                ax.fill_between(x, seeds.min(1), seeds.max(1), color=color(scheme), alpha=0.22, lw=0)
            ax.plot(x, seeds.mean(1), **line(scheme, markersize=4, label=label(scheme)))
        for run in live:
            scheme = run.name.partition("[")[0]
            y = [run.last[n] for n in own.lengths] if ax is left else 100 * run.recall[far].numpy()
            ax.plot(x, y, **line(scheme, linestyle="none", markersize=9, markerfacecolor="none", label="trained here"))
        ax.axvline(short, color=MUTED, lw=0.9, ls="--", zorder=0)
        ax.set_xscale("log", base=2)
        ax.minorticks_off()
    for words, loss in (marks or {}).items():
        left.axhline(loss, color=MUTED, lw=0.9, ls=":", zorder=0)
        left.annotate(words, (far, loss), (0, 3), textcoords="offset points", ha="right", fontsize=8.5, color=INK)
    if marks:
        left.margins(y=0.12)
    left.set_xticks(own.lengths, [str(n) for n in own.lengths])
    right.set_xticks(ticks := [2**n for n in range(5, 10)], [str(t) for t in ticks])
    right.axhline(100 / own.markers, color=MUTED, lw=0.9, ls="--", zorder=0)
    left.set(xlabel="context length (tokens)", ylabel="nats per character", title="Loss on text")
    right.set(xlabel="tokens from marker to question", ylabel="recalled, %", ylim=(0, 104), title=f"Recall at {far}")
    fig.legend(*left.get_legend_handles_labels(), loc="outside right center")
    losses = "; ".join(
        f"{label(band.name.partition('[')[0])} {band.center(short):.1f} and {band.center(far):.1f}" for band in bands
    )
    compared = "".join(f"To compare, {words}: {loss:.2f}. " for words, loss in (marks or {}).items())
    spread = f"{len(bands[0].results)} recorded seeds of the chosen setting, {own.steps:,} steps"
    spread = (
        f"Thick: the mean of {spread}; shades span the seeds, thin lines are single ones"
        if threads
        else f"Shades span {spread}"
    )
    return Picture(
        fig,
        name,
        alt=f"Loss in windows of {short} and of {far}: {losses}. {compared}Beside it, recall at {far} by distance.",
        caption=f"{spread}; large markers: trained here. Dashed: the trained length, and chance.",
    )


def cloud(
    name: str,
    trials: Mapping[str, Sequence[Result]],
    chosen: Mapping[str, Sequence[Result]],
    longer: Mapping[str, Sequence[Result]],
    published: Collection[str],
    recall: Mapping[str, Sequence[Result]],
    distances: Sequence[int],
) -> Picture:
    """Loss at the trained length, its rise at eight times that, and recall by distance.

    Args:
        name: of the picture, "05_cloud".
        trials: every trial of the search, by scheme.
        chosen: fresh seeds of the setting that was chosen, by scheme.
        longer: the same at a longer budget.
        published: keys of the contenders whose setting is that of their authors: drawn hollow.
        recall: for the last panel, label -> runs; their mean is drawn, with the range of the runs.
        distances: tokens from the marker to the question, one per depth, in windows of the longest length.
    """
    some, some_longer = next(iter(trials.values()))[0], next(iter(longer.values()))[0]
    lengths, budgets = some.settings.lengths, (some.settings.steps, some_longer.settings.steps)
    short, far = lengths[0], lengths[-1]
    rises = {s: [r.last[far] - r.last[short] for r in runs] for s, runs in trials.items()}
    fig, (left, middle, right) = plt.subplots(
        1, 3, figsize=(8, 2.2 + 0.34 * len(trials)), width_ratios=(1.2, 1.2, 1), layout="constrained"
    )
    for ax, start in ((left, 0.0), (middle, 1.0)):  # the loss itself, then less the loss at the trained length
        for row, (scheme, runs) in enumerate(trials.items()):
            for result in runs:
                face = "none" if result.name in published else color(scheme)
                x = result.last[far] - result.last[short] if start else result.last[short]
                ax.plot(x, row, "o", color=color(scheme), ms=5.5, mfc=face, alpha=0.8, mew=1.2)
            marks = ((chosen, 0.3, {"marker": "|", "ms": 9, "mew": 2}), (longer, -0.3, {"marker": "D", "ms": 4}))
            for seeds, below, style in marks:
                x = [r.last[far] - r.last[short] if start else r.last[short] for r in seeds[scheme]]
                ax.plot(x, [row + below] * len(x), ls="", color=color(scheme), **style)
        names = [label(s) for s in trials] if ax is left else [""] * len(trials)
        for tick, scheme in zip(ax.set_yticks(range(len(trials)), names), trials, strict=True):
            tick.label1.set_color(color(scheme))
        ax.set(ylim=(len(trials) - 0.4, -0.6), xlabel="nats per character")
    middle.axvline(0, color=INK, lw=0.9, zorder=0)
    left.set_title(f"Loss at {short} (trained)", fontsize=11)
    middle.set_title(f"Its rise up to {far}", fontsize=11)
    keys = {
        "trial, published setting": {"marker": "o", "mfc": "none", "ms": 6},
        "trial, another setting": {"marker": "o", "ms": 6},
        f"chosen setting, fresh seeds, {budgets[0]} steps": {"marker": "|", "ms": 11, "mew": 2},
        f"the same, {budgets[1]:,} steps": {"marker": "D", "ms": 4.5},
    }
    handles = [plt.Line2D([], [], color=INK, ls="", label=text, **style) for text, style in keys.items()]
    left.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.0, -0.16), fontsize=8)

    drawn: dict[str, int] = {}
    for text, runs in recall.items():
        shares = 100 * np.array([run.recall[far].numpy() for run in runs])
        scheme = runs[0].name.partition("[")[0]
        dashes = line(scheme)["linestyle"] if text == label(scheme) else LINES[drawn.get(scheme, 0)]
        style = {"color": color(scheme), "ls": dashes, "marker": "o", "ms": 4}
        drawn[scheme] = drawn.get(scheme, 0) + 1
        right.fill_between(distances, shares.min(0), shares.max(0), color=color(scheme), alpha=0.15, lw=0)
        right.plot(distances, shares.mean(0), label=text, **style)
    right.axhline(100 / some.settings.markers, color=MUTED, lw=0.9, ls="--", zorder=0)
    right.axvline(short, color=MUTED, lw=0.9, ls="--", zorder=0)
    right.set_xscale("log", base=2)
    ticks = [2**n for n in range(5, 10)]
    right.set_xticks(ticks, [str(t) for t in ticks])
    right.minorticks_off()
    steps = next(iter(recall.values()))[0].settings.steps
    right.set(xlabel="tokens back", ylabel="recalled, %", ylim=(0, 104))
    right.set_title(f"Recall at {far}", fontsize=11)
    if set(recall) <= {label(s) for s in trials}:  # the rows on the left are the legend
        right.text(0.5, -0.24, f"after {steps:,} steps,\ncolors as on the left", transform=right.transAxes, **SMALL)
    else:
        right.legend(
            fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.16), title=f"after {steps:,} steps",
            title_fontsize=8, handlelength=3,
        )  # fmt: skip
    flat = [label(s) for s in trials if max(rises[s]) < FLAT]
    breaks = [label(s) for s in trials if min(rises[s]) > FLAT]
    return Picture(
        fig,
        name,
        alt=f"Three panels. Loss at {short} of every trial of {len(trials)} schemes. Its rise from {short} to {far}: "
        f"below {FLAT} in every trial of {', '.join(flat)}; above it in every trial of {', '.join(breaks)}. "
        f"Recall by distance: {', '.join(recall)}.",
        caption=f"{sum(map(len, trials.values()))} trials at one seed, and fresh seeds of what each scheme chose. "
        f"Dashed: the trained length, and chance.",
    )
