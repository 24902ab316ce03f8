"""Pictures of notebook 05: drawing and words. What is drawn is computed in the notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from .. import plotting
from ..plotting import INK, MUTED, Picture, color, label, line

if TYPE_CHECKING:
    from ..race import Band


def _lengths(ax: plt.Axes, lengths: Sequence[int]) -> None:
    """A base-2 axis of lengths with every length named."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(lengths, [f"{n:,}" for n in lengths])
    ax.minorticks_off()


def _fraction(slope: float) -> str:
    """1/8 for 0.125."""
    return f"{slope:.0f}" if slope >= 1 else f"1/{1 / slope:.0f}"


def hero(slopes: Sequence[float], bands: Sequence[Band]) -> Picture:
    """The lines of the encoding, and the loss of two recorded contenders over the length."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    x = np.array([0, 128])
    for h, slope in enumerate(slopes):
        left.plot(x, -slope * x, color=color("alibi"), alpha=1 - 0.18 * h, lw=2.4 - 0.4 * h)
        at = min(100, 21 / slope)
        left.annotate(_fraction(slope), (at, -at * slope), (5, 3), textcoords="offset points", fontsize=10)
    left.set(title="One line per head", xlabel="tokens back", ylabel="added to the logit", ylim=(-24, 1.5))
    for band in bands:
        scheme, lengths = band.name.partition("[")[0], band.settings.lengths
        seeds = np.array([band.values(n) for n in lengths])  # (lengths, seeds)
        right.fill_between(lengths, seeds.min(1), seeds.max(1), color=color(scheme), alpha=0.25, lw=0)
        right.plot(lengths, seeds.mean(1), **line(scheme))
    _lengths(right, lengths)
    right.set(title="Loss on text", xlabel="characters read at once (trained: 64)", ylabel="nats per character")
    right.legend()
    ends = [f"{label(b.name.partition('[')[0])} from {b.center(64):.1f} to {b.center(512):.1f}" for b in bands]
    return Picture(
        fig,
        "05_hero",
        alt=f"Left: {len(slopes)} falling straight lines, slopes {', '.join(map(_fraction, slopes))}. Right: loss in "
        f"windows of 64 to 512 characters: {'; '.join(ends)}.",
        caption=f"Two models, trained alike. Lines: means of {len(bands[0].results)} recorded seeds, which the shades "
        "span.",
    )


def by_hand(words: Sequence[str], panels: Mapping[str, Tensor]) -> Picture:
    """Annotated triangles over a sentence: a bias, and the weights without and with it."""
    fig, axes = plt.subplots(1, len(panels), figsize=(8, 3.1), sharey=True, layout="constrained")
    hidden = np.triu(np.ones((len(words), len(words)), dtype=bool), 1)
    for ax, (title, values) in zip(axes, panels.items(), strict=True):
        style = {"cmap": "cividis", "fmt": ".1f"} if title.startswith("bias") else {"cmap": "Greens", "fmt": ".2f"}
        plotting.heatmap(
            values + 0.0, mask=hidden, annot=True, cbar=False, ax=ax, annot_kws={"fontsize": 9},
            xticklabels=list(words), yticklabels=list(words), **style,
        )  # fmt: skip
        ax.set_title(title, fontsize=11)
        ax.set_xlabel("key")
        ax.tick_params(length=0)
        ax.tick_params(axis="x", labelrotation=40)
        ax.tick_params(axis="y", labelrotation=0)
        ax.grid(False)
    axes[0].set_ylabel("query")
    last = "; ".join(f"{title}: " + ", ".join(f"{x:.2g}" for x in v[-1].tolist()) for title, v in panels.items())
    return Picture(
        fig,
        "05_by_hand",
        alt=f"Three triangles of numbers over the words of a sentence. Their last rows: {last}.",
        caption="One head on five words: the bias, and the attention weights without and with it.",
    )


def mirror(answers: Mapping[str, Mapping[int, Sequence[float]]]) -> Picture:
    """The share of right answers to "does A come before B?": encoder -> steps -> a share per run."""
    fig, ax = plt.subplots(figsize=(7.6, 3.4), layout="constrained")
    budgets = next(iter(answers.values()))
    for row, by_steps in enumerate(answers.values()):
        runs = [(100 * share, steps) for steps, shares in by_steps.items() for share in shares]
        places = row + (np.linspace(-0.27, 0.27, len(runs)) if len(runs) > 1 else np.zeros(1))
        for (share, steps), place in zip(runs, places, strict=True):
            face = "white" if steps == min(budgets) else color("alibi")
            ax.plot(share, place, "o", ms=5, mew=1.3, mfc=face, mec=color("alibi"))
    ax.set_yticks(range(len(answers)), list(answers))
    ax.axvline(50, color=INK, lw=0.9, ls="--", zorder=0)
    ax.set(title="Does A come before B?", xlabel="right answers (%)", xlim=(42, 103), ylim=(len(answers) - 0.5, -0.5))
    faces = {steps: "white" if steps == min(budgets) else color("alibi") for steps in budgets}
    style = {"color": color("alibi"), "marker": "o", "ls": "", "ms": 5, "mew": 1.3}
    keys = [plt.Line2D([], [], mfc=face, label=f"after {steps} steps", **style) for steps, face in faces.items()]
    ax.legend(handles=keys, loc="center", bbox_to_anchor=(0.45, 0.5))
    spans = [
        f"{name} {100 * min(right):.0f} to {100 * max(right):.0f} after {steps} steps"
        for name, by_steps in answers.items()
        for steps, right in by_steps.items()
        if right
    ]
    return Picture(
        fig,
        "05_mirror",
        alt=f"Share of order questions answered right, in percent: {'; '.join(spans)}.",
        caption="A dot per recorded run: one or two layers, up to three seeds. Dashed: chance.",
    )


def gallery(biases: Mapping[str, Tensor], floor: float = -8.0) -> Picture:
    """Causal bias matrices on one scale: of each scheme, (H, T, T), the head with the second lowest bias far away.

    Each row is shifted so that its largest value is 0.
    """
    fig, axes = plt.subplots(2, 3, figsize=(8, 5.2), sharex=True, sharey=True, layout="constrained")
    for ax, (name, heads) in zip(axes.flat, biases.items(), strict=True):
        heads = heads - heads.amax(-1, keepdim=True)  # softmax cannot tell
        far = heads[:, -1, -32:].clamp(min=-50).mean(-1)
        shown = heads[far.argsort()[1]]
        n = len(shown)
        hidden = torch.ones(n, n, dtype=torch.bool).triu(1)
        ax.set_facecolor("#dddddd")
        shown = shown.clamp(min=floor).masked_fill(hidden, float("nan"))
        image = ax.imshow(shown, cmap="cividis", vmin=floor, vmax=0, interpolation="nearest", aspect="equal")
        ax.grid(False)
        ax.set_title(name, fontsize=11)
        ax.set_xticks([0, 64, 127])
        ax.set_yticks([0, 64, 127])
    fig.supxlabel("key", fontsize=11)
    fig.supylabel("query", fontsize=11)
    fig.colorbar(image, ax=axes, shrink=0.8, label=f"bias in logits ({floor:.0f} and below alike)")
    return Picture(
        fig,
        "05_gallery",
        alt=f"Six causal bias matrices on one color scale: {', '.join(biases)}. Stripes along the diagonal for all but "
        "FIRE, whose stripes fan out.",
        caption=f"One of four heads of each bias, 128 tokens, from 0 (yellow) to {floor:.0f} (blue).",
    )


def early(lengths: Sequence[int], ways: Mapping[str, Sequence[float]], trained: int) -> Picture:
    """Loss over the length of the window, for two ways to cut a text into windows."""
    fig, ax = plt.subplots(figsize=(7.4, 3.2), layout="constrained")
    looks = ({"color": color("alibi"), "marker": "s"}, {"color": color("sinusoidal"), "marker": "o", "ls": "--"})
    for (name, losses), look in zip(ways.items(), looks, strict=True):
        ax.plot(lengths, losses, label=f"{name} windows", **look)
    ax.axvline(trained, color=MUTED, lw=0.9, ls="--", zorder=0)
    _lengths(ax, lengths)
    ax.set(xlabel="window length T", ylabel="nats per character")
    ax.legend()
    ends = [f"{name} from {row[0]:.2f} to {row[-1]:.2f}" for name, row in ways.items()]
    return Picture(
        fig,
        "05_early_tokens",
        alt=f"Loss in windows of {lengths[0]} to {lengths[-1]} characters, cut in two ways: {'; '.join(ends)}.",
        caption="One recorded ALiBi model, the same characters, cut in two ways. Dashed: the trained length.",
    )


def recall(found: Mapping[str, tuple[str, Tensor]], away: Sequence[int], trained: int, chance: float) -> Picture:
    """Recall over the distance to the answer: name -> (scheme, (seeds, distances) in percent)."""
    fig, ax = plt.subplots(figsize=(7.4, 3.5), layout="constrained")
    drawn: dict[str, int] = {}
    for name, (scheme, seeds) in found.items():
        dashes = ("-", "--")[drawn.get(scheme, 0)] if scheme == "alibi" else line(scheme)["linestyle"]
        drawn[scheme] = drawn.get(scheme, 0) + 1
        ax.fill_between(away, seeds.amin(0), seeds.amax(0), color=color(scheme), alpha=0.15, lw=0)
        ax.plot(away, seeds.mean(0), **line(scheme, label=name, linestyle=dashes, markersize=5))
    ax.axvline(trained, color=MUTED, lw=0.9, ls="--", zorder=0)
    ax.axhline(100 * chance, color=MUTED, lw=0.9, ls="--", zorder=0)
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks := [32, 64, 128, 256, 512], [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set(xlabel="tokens from the value to the question", ylabel="recalled (%)", ylim=(-3, 106))
    fig.legend(*ax.get_legend_handles_labels(), loc="outside right center")
    far = [f"{name} {seeds[:, 0].mean():.0f}" for name, (_, seeds) in found.items()]
    return Picture(
        fig,
        "05_retrieval",
        alt=f"Recall in windows of 512 tokens by distance. At the far end, in percent: {', '.join(far)}.",
        caption=f"Windows of 512 tokens, trained with {trained}. Means of five seeds; shades: lowest to highest seed. "
        "Dashed: the trained length, and chance.",
    )


def ladders(kinds: Mapping[str, Mapping[str, Band]], names: Mapping[str, str]) -> Picture:
    """Loss at the trained length, and what reading further adds to it: a dot per seed, a row per contender.

    ``kinds``: name of a setting -> {contender's key: band}, two of them; ``names``: key -> how its row is called.
    """
    fig, axes = plt.subplots(1, 2, figsize=(8, 4), sharey=True, layout="constrained")
    rows = list(names)
    for which, (bands, marker) in enumerate(zip(kinds.values(), "oD", strict=True)):
        for key in (key for key in rows if key in bands):
            runs, scheme = bands[key].results, key.partition("[")[0]
            near, far = (np.array([run.last[n] for run in runs]) for n in (64, 512))
            y = np.full(len(near), rows.index(key) + 0.24 * (which - 0.5))
            axes[0].plot(near, y, color=color(scheme), ls="none", ms=5, marker=marker)
            axes[1].plot(far - near, y, color=color(scheme), ls="none", ms=5, marker=marker)
    for kind, marker in zip(kinds, "oD", strict=True):
        axes[0].plot([], [], color=INK, ls="none", ms=5, label=kind, marker=marker)
    axes[0].set_yticks(range(len(rows)), list(names.values()))
    axes[0].set(ylim=(len(rows) - 0.5, -0.5), title="Loss at the trained 64", xlabel="nats per character")
    axes[1].set(title="Its rise up to 512", xlabel="nats per character")
    axes[1].axvline(0, color=MUTED, lw=0.9, zorder=0)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    first = next(iter(kinds.values()))
    at = [f"{names[key]} {first[key].center(64):.2f}" for key in rows if key in first]
    return Picture(
        fig,
        "05_ladders",
        alt=f"Dots per contender and learning rate. Left, mean loss at 64 at the first rate: {', '.join(at)}. Right: "
        "what 512 characters add.",
        caption="The first race, text alone: a dot per recorded seed; some schemes at two learning rates.",
    )


def cost(table: Mapping) -> Picture:
    """Processor time and memory of the recorded attention paths over the length."""
    styles = {
        "no bias": ("#949494", ":"),
        "extra channel": ("#0173b2", "-"),
        "fused, additive mask": ("#029e73", "-"),
        "explicit softmax": ("#d55e00", "--"),
    }
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.5))
    for name, (shade, dashes) in styles.items():
        needs_mask = name in ("fused, additive mask", "explicit softmax")
        total = np.array(table["bytes"][name]) + needs_mask * np.array(table["mask_bytes"])
        style = {"color": shade, "ls": dashes, "marker": "o", "ms": 4, "label": name}
        axes[0].plot(table["lengths"], 1000 * np.array(table["seconds"][name]), **style)
        axes[1].plot(table["lengths"], total / 2**20, **style)
    for ax, title in ((axes[0], "processor time (ms)"), (axes[1], "memory, mask included (MiB)")):
        ax.set(xscale="log", yscale="log", title=title, xlabel="tokens")
        ax.set_xticks(table["lengths"], table["lengths"])
        ax.minorticks_off()
    axes[0].legend()
    far = {name: row[-1] for name, row in table["seconds"].items()}
    slowest, fastest = max(far, key=far.get), min(far, key=far.get)
    return Picture(
        fig,
        "05_cost",
        alt=f"Time and memory of attention against length, four ways. At {table['lengths'][-1]:,} tokens {slowest} "
        f"takes longest and {fastest} least.",
        caption=f"Recorded on one CPU thread ({table['batch']} sequences, {table['heads']} heads of width 64): four "
        "ways to compute attention, three of them with ALiBi.",
    )


def counted(phrase: str, counts: Tensor) -> Picture:
    """Distance back from the last letter: as a query counts it, and in characters below."""
    n = len(phrase)
    fig, (above, below) = plt.subplots(2, 1, figsize=(7.4, 3.6), sharex=True, layout="constrained")
    above.step(range(n), counts, where="mid", color=color("cope"), lw=2)
    below.plot(range(n), n - 1 - np.arange(n), color=INK, ls=":")
    above.set(ylabel="words", ylim=(-0.08 * counts.max(), 1.12 * counts.max()))
    below.set(ylabel="characters", ylim=(-0.08 * n, 1.12 * n))
    above.set_title("Distance from the last letter, as this query counts it")
    below.set_xticks(range(n), phrase.replace(" ", "\u2423"), family="DejaVu Sans Mono")
    return Picture(
        fig,
        "05_cope",
        alt=f"Two panels over the characters of a phrase. A staircase counts {counts.max():.0f} words back; below it a "
        f"straight line counts {n - 1} characters.",
        caption="With gates that open at spaces, distance is counted in words. Below: in characters, to compare.",
    )


def real_distance(found: Mapping) -> Picture:
    """SmolLM2: quantiles of the attention curves, and the fitted slopes inside ALiBi's range."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.3))
    low, middle, high = (np.array(q) for q in found["quantiles"])
    x = np.arange(1, len(middle))
    axes[0].fill_between(x, low[1:], high[1:], color=color("rope"), alpha=0.2, lw=0, label="10 to 90% of heads")
    axes[0].plot(x, middle[1:], color=color("rope"), label="median head")
    axes[0].set(
        xscale="log", yscale="log", title="attention by distance", xlabel="distance (tokens)", ylabel="mean weight"
    )
    axes[0].legend(loc="lower left")
    m = -np.array(found["exponential"]["slope"])
    axes[1].hist(np.log2(m[m > 0]), bins=np.arange(-11, 0.01, 0.5), color=color("rope"), alpha=0.85)
    for h in range(1, 9):
        axes[1].axvline(-h, color=color("alibi"), lw=1.2, ls="--", label="ALiBi's slopes" if h == 1 else None)
    axes[1].set(title="fitted slopes of its heads", xlabel="log2 of the slope", ylabel="heads")
    axes[1].legend(loc="upper left", fontsize=8, frameon=True, facecolor="white", edgecolor="none", framealpha=1)
    inside = np.mean((m > 1 / 256) & (m < 1 / 2))
    return Picture(
        fig,
        "05_real_distance",
        alt="Left: attention weight of SmolLM2's heads falls with distance on log-log axes. Right: fitted slopes, "
        f"{100 * inside:.0f}% of them between 1/256 and 1/2.",
        caption=f"SmolLM2, {len(m)} heads, distances 1 to 64. Left: quantiles over heads. Right: fitted exponential "
        f"slopes (without {np.sum(m <= 0)} heads whose weight rises) and ALiBi's eight.",
    )
