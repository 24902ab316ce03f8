"""Figures of notebook 05: drawing only. What is drawn is computed in the notebook."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from .. import plotting
from ..plotting import ACCENT, INK, MUTED, color, label, line

if TYPE_CHECKING:
    from ..race import Band


def _lengths(ax: plt.Axes, lengths: Sequence[int]) -> None:
    """A base-2 axis of lengths with every length named."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(lengths, [str(n) for n in lengths])
    ax.minorticks_off()


def _heads(ax: plt.Axes, x: np.ndarray, curves: Tensor, scheme: str = "alibi") -> None:
    """One line a head, paler and thinner from head to head."""
    for h, curve in enumerate(curves):
        ax.plot(x, curve, color=color(scheme), alpha=1 - 0.2 * h, lw=2.4 - 0.4 * h)


def hero(slopes: Tensor, bands: Mapping[str, Band]) -> plt.Figure:
    """The four lines of the encoding, and the loss of the last 32 characters over the length."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.4))
    x = np.array([0, 512])
    _heads(axes[0], x, -slopes[:, None] * x)
    for h, slope in enumerate(slopes.tolist()):
        at = min(440, 15 / slope)
        text = f"head {h + 1}: 1/{1 / slope:.0f}"
        axes[0].annotate(text, (at, -at * slope), (6, 3), textcoords="offset points", fontsize=9)
    axes[0].set(title="The whole encoding", xlabel="distance to the key", ylabel="added to the logit", ylim=(-17, 1.5))
    for name, band in bands.items():
        lengths = band.settings.lengths
        seeds = np.array([band.values(n) for n in lengths])  # (lengths, seeds)
        axes[1].fill_between(lengths, seeds.min(1), seeds.max(1), color=color(name), alpha=0.25, lw=0)
        axes[1].plot(lengths, seeds.mean(1), **line(name))
    _lengths(axes[1], lengths)
    axes[1].set(title="Loss of the last 32 characters", xlabel="characters read at once", ylabel="nats per character")
    axes[1].legend()
    return fig


def by_hand(panels: Mapping[str, Tensor], hidden: Tensor) -> plt.Figure:
    """Annotated triangles: the bias (signed) and the weights it makes."""
    fig, axes = plt.subplots(1, len(panels), figsize=(8, 2.9), sharey=True)
    for ax, (title, values) in zip(axes, panels.items(), strict=True):
        style = {"cmap": "cividis", "fmt": ".1f"} if title.startswith("bias") else {"cmap": "Greens", "fmt": ".2f"}
        values = values + 0.0  # no "-0.0"
        plotting.heatmap(values, mask=hidden.numpy(), annot=True, cbar=False, ax=ax, annot_kws={"fontsize": 8}, **style)
        ax.set(title=title, xlabel="key")
        ax.tick_params(length=0, labelrotation=0)
        ax.grid(False)
    axes[0].set_ylabel("query")
    return fig


def reach(slopes: Tensor, tokens: Tensor, trained: int = 64) -> plt.Figure:
    """Weight against distance for every head, and the distance to 1% as bars."""
    n_heads, far = len(slopes), torch.cat([torch.zeros(1), torch.logspace(-1, 3.4, 400)]).double()
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.85, n_heads))
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.3), width_ratios=(1.5, 1))
    for h, shade in enumerate(shades):
        axes[0].plot(far, torch.exp(-slopes[h] * far), color=shade)
        axes[0].plot(tokens[h], 0.01, "o", color=shade, ms=5)
    axes[0].axhline(0.01, color=MUTED, lw=0.9, ls="--")
    axes[0].set_xscale("asinh", linear_width=1)  # logarithmic far out, and yet distance 0 has a place
    axes[0].set(xlim=(0, 2000), xlabel="distance (tokens)", ylabel="weight / own weight")
    axes[0].set_xticks([0, 1, 10, 100, 1000], ["0", "1", "10", "100", "1,000"])
    axes[0].set_title("How weight falls")
    axes[0].text(0.1, 0.03, "1%", color="#666666", fontsize=9)
    axes[1].barh(range(1, n_heads + 1), tokens, color=shades, height=0.7)
    axes[1].axvline(trained, color=MUTED, lw=0.9, ls="--")
    for h, k in enumerate(tokens.tolist()):
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes[1].text(k * 1.2, h + 1, f"{k:,.0f}", va="center", fontsize=9, bbox=paper)
    axes[1].set(xscale="log", xlim=(4, 9000), ylim=(n_heads + 0.6, 0.4), xlabel="tokens", ylabel="head")
    axes[1].set_title("Reach (to 1%)")
    axes[1].set_yticks(range(1, n_heads + 1))
    return fig


def slopes(rules: Mapping[str, object], up_to: int = 64) -> plt.Figure:
    """Every slope for every number of heads by each rule (a function of n); slopes past the power of two in orange."""
    powers = [2**a for a in range(int(math.log2(up_to)) + 1)]
    fig, axes = plt.subplots(1, len(rules), figsize=(8, 3.6), sharey=True)
    for k, (ax, (title, rule)) in enumerate(zip(axes, rules.items(), strict=True)):
        n = np.concatenate([[n] * n for n in range(1, up_to + 1)])
        m = np.log2(np.concatenate([rule(n) for n in range(1, up_to + 1)]))
        extra = np.concatenate([np.arange(n) >= 2 ** int(math.log2(n)) for n in range(1, up_to + 1)]) & (k > 0)
        ax.plot(n[~extra], m[~extra], ".", ms=2.6, color=color("alibi"))
        ax.plot(n[extra], m[extra], ".", ms=2.6, color=ACCENT)
        for power in powers:
            ax.axvline(power, color=MUTED, lw=0.7, zorder=0)
        ax.set(title=title, xlabel="number of heads n", ylim=(-8.4, 0.3))
        ax.set_xticks(powers[2:], powers[2:])
    axes[0].set_ylabel("log2 of the slope")
    axes[0].set_yticks(range(-8, 1, 2))
    return fig


def scale(factors: np.ndarray, losses: Mapping[str, Sequence[float]], divided: float, no_position: float) -> plt.Figure:
    """Loss of trained models, {slopes: losses}, over a common factor on their slopes; ``divided`` is 1/sqrt(d)."""
    fig, ax = plt.subplots(figsize=(6.8, 3.4))
    for k, (name, row) in enumerate(losses.items()):
        ax.plot(factors, row, color=color("alibi"), marker="os^D"[k], ms=5, alpha=1 - 0.2 * k, label=f"slopes {name}")
    ax.axhline(no_position, color=MUTED, ls=":", label="trained without encoding")
    for factor, words in ((1.0, "as trained"), (divided, f"divided by sqrt({1 / divided**2:.0f})")):
        ax.axvline(factor, color=MUTED, lw=0.8, zorder=0)
        ax.text(factor * 1.06, 0.98, words, transform=ax.get_xaxis_transform(), va="top", fontsize=9)
    ax.set_xscale("log", base=2)
    ax.set_xticks(factors, [f"1/{1 / f:.0f}" if f < 1 else f"{f:.0f}" for f in factors])
    ax.set(xlabel="all slopes multiplied by", ylabel="loss (nats per character)")
    ax.legend(fontsize=8, loc="lower left")
    return fig


def maps(panels: Mapping[str, Tensor], limit: float) -> plt.Figure:
    """Attention maps side by side on one scale that ends at ``limit``; NaN is left white."""
    fig, axes = plt.subplots(1, len(panels), figsize=(8, 2.7), sharey=True)
    for ax, (title, values) in zip(axes, panels.items(), strict=True):
        image = plotting.matrix(ax, values, title=title, xlabel="key", ylabel="", limit=limit)
    axes[0].set_ylabel("query")
    fig.colorbar(image, ax=axes, shrink=0.9, label=f"weight (yellow: {limit} or more)")
    return fig


def mirror(offsets: Tensor, biases: Mapping[str, Tensor], answers: Mapping[str, Sequence[float]]) -> plt.Figure:
    """Bias over signed distance, four heads, for each encoder; and the share of right answers, a dot per run."""
    fig, axes = plt.subplots(1, 3, figsize=(8, 3.2), width_ratios=(1, 1, 1.15))
    for ax, (title, curves) in zip(axes, biases.items(), strict=False):
        _heads(ax, offsets.numpy(), curves)
        ax.axvline(0, color=MUTED, lw=0.8, zorder=0)
        ax.set(title=title, xlabel="key minus query", ylim=(-6.5, 0.4))
    axes[0].set_ylabel("bias, four heads")
    for row, right in enumerate(answers.values()):
        share = 100 * np.array(right)
        spread = np.linspace(-0.18, 0.18, len(share)) if len(share) > 1 else 0
        axes[2].plot(share, row + spread, "o", ms=4.5, alpha=0.75, color=color("alibi"))
    axes[2].set_yticks(range(len(answers)), list(answers), fontsize=8.5)
    axes[2].axvline(50, color=INK, lw=0.9, ls="--")
    axes[2].set(title="A before B?", xlabel="right answers (%)", xlim=(42, 103), ylim=(len(answers) - 0.5, -0.5))
    return fig


def cost(table: Mapping) -> plt.Figure:
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
    return fig


def gallery(wall: Mapping[str, Tensor], allowed: Tensor, floor: float = -8.0) -> plt.Figure:
    """Bias matrices (T, T) on one scale from ``floor`` to 0; gray above the diagonal."""
    fig, axes = plt.subplots(2, 4, figsize=(8, 4.2), sharex=True, sharey=True)
    for ax, (name, bias) in zip(axes.flat, wall.items(), strict=True):
        ax.set_facecolor("#dddddd")
        shown = bias.clamp(min=floor).masked_fill(~allowed, math.nan)
        image = ax.imshow(shown, cmap="cividis", vmin=floor, vmax=0, interpolation="nearest", aspect="equal")
        ax.grid(False)
        ax.set_title(name, fontsize=9.5)
        ax.set_xticks([0, 64, 127])
        ax.set_yticks([0, 64, 127])
    fig.supxlabel("key", fontsize=10)
    fig.supylabel("query", fontsize=10)
    fig.colorbar(image, ax=axes, shrink=0.8, label="bias (logits; -8 and below alike)")
    return fig


def gallery_curves(curves: Mapping[str, np.ndarray]) -> tuple[plt.Figure, go.Figure]:
    """Bias over distance, scheme -> (heads, T) sorted steepest first: a figure and its interactive twin."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.5), sharey=True)
    moving, n_heads = go.Figure(), len(next(iter(curves.values())))
    for rank in range(n_heads):
        for scheme, heads in curves.items():
            distance = np.arange(heads.shape[1])
            if rank in (0, n_heads - 1):
                axes[int(rank > 0)].plot(distance, heads[rank], **line(scheme, marker="none"))
            look = {"color": color(scheme)}
            moving.add_scatter(x=distance, y=heads[rank], name=label(scheme), line=look, visible=rank == 0)
    for ax, title in zip(axes, ("steepest head of each", "gentlest head of each"), strict=True):
        ax.set(title=title, xlabel="distance to the key", ylim=(-12.5, 0.6))
    axes[0].set_ylabel("bias (logits)")
    fig.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8)

    def only(rank: int) -> list[dict]:
        return [{"visible": [r == rank for r in range(n_heads) for _ in curves]}]

    steps = [{"label": f"{rank + 1}", "method": "update", "args": only(rank)} for rank in range(n_heads)]
    moving.update_layout(
        sliders=[{"steps": steps, "currentvalue": {"prefix": "head, steepest first: "}}],
        height=430,
        xaxis_title="distance to the key",
        yaxis={"title": "bias (logits)", "range": [-12.5, 0.6]},
    )
    return fig, moving


def early(by_position: Tensor, level: float, lengths: Sequence[int], ways: Mapping[str, Sequence[float]]) -> plt.Figure:
    """Loss by position in a window of the trained length, and two ways to cut a text into windows."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.4))
    axes[0].plot(range(1, len(by_position) + 1), by_position, color=color("alibi"))
    axes[0].axhline(level, color=MUTED, ls="--", lw=1)
    axes[0].set(title="Who pays: the first few", xlabel="position in the window", ylabel="loss (nats per character)")
    looks = ({"color": color("alibi"), "marker": "s"}, {"color": color("sinusoidal"), "marker": "o", "ls": "--"})
    for (name, losses), look in zip(ways.items(), looks, strict=True):
        axes[1].plot(lengths, losses, label=name, **look)
    axes[1].axvline(len(by_position), color=MUTED, lw=0.9, ls=":")
    _lengths(axes[1], lengths)
    axes[1].set(title="Same targets, two ways to cut", xlabel="window length T")
    axes[1].legend()
    return fig


def context_used(lengths: Sequence[int], used: Mapping[str, Sequence[float]]) -> plt.Figure:
    """Loss over characters of context, one line a scheme."""
    fig, ax = plt.subplots(figsize=(6.8, 3.2))
    for name, losses in used.items():
        ax.plot(lengths, losses, **line(name))
    _lengths(ax, lengths)
    ax.set(xlabel="characters of context (sliding window)", ylabel="loss (nats per character)", ylim=(1.6, 2.2))
    ax.legend()
    return fig


def published(ways: Mapping[str, Mapping[str, float]], table: Mapping, bands: Mapping[str, Band]) -> plt.Figure:
    """The authors' two ways to cut, their table of four schemes, and our race, as perplexities."""
    fig, axes = plt.subplots(1, 3, figsize=(8, 3.3), width_ratios=(1, 1.25, 1.25))
    looks = ({"color": color("alibi"), "marker": "s"}, {"color": color("sinusoidal"), "marker": "o", "ls": "--"})
    for (name, row), look in zip(ways.items(), looks, strict=True):
        axes[0].plot([int(n) for n in row], list(row.values()), label=name, **look)
    axes[0].set(title="ALiBi, two ways", xlabel="tokens read", ylabel="perplexity", ylim=(17.5, 20.6))
    axes[0].set_xticks([512, 1536, 3072])
    axes[0].legend(fontsize=8)
    for scheme, row in table.items():
        near = {int(n) / 512: v for n, v in row.items() if int(n) <= 4096}
        axes[1].plot(list(near), list(near.values()), **line(scheme, markersize=4))
        settings = bands[scheme].settings
        ours = [math.exp(bands[scheme].center(n, "mean")) for n in settings.lengths]
        axes[2].plot(np.array(settings.lengths) / settings.train_len, ours, **line(scheme, markersize=4))
    for ax, title, ticks in ((axes[1], "published, 247M", (20, 50, 100, 200)), (axes[2], "ours, 0.1M", (6, 8, 10, 15))):
        ax.set(yscale="log", title=title, xlabel="length / trained length")
        ax.set_yticks(ticks, [str(t) for t in ticks])
        ax.minorticks_off()
    axes[1].legend(fontsize=8)
    return fig


def recall(grids: Mapping[str, Tensor], lengths: Sequence[int], depths: Sequence[float]) -> plt.Figure:
    """Depth by length, one map a contender: color is the mean over seeds, text lowest to highest seed, percent."""
    fig, axes = plt.subplots(1, len(grids), figsize=(8, 3.1), sharey=True)
    for ax, (title, grid) in zip(axes, grids.items(), strict=True):
        low, high = grid.amin(0).round().int().tolist(), grid.amax(0).round().int().tolist()
        text = [
            [f"{a}" if a == b else f"{a}-{b}" for a, b in zip(*r, strict=True)] for r in zip(low, high, strict=True)
        ]
        plotting.heatmap(
            grid.mean(0), annot=np.array(text), fmt="", vmin=0, vmax=100, cmap="cividis", cbar=False, ax=ax,
            xticklabels=lengths, yticklabels=[f"{d:.2f}" for d in depths], annot_kws={"fontsize": 7},
        )  # fmt: skip
        ax.set_title(title, fontsize=9.5)
        ax.tick_params(length=0, labelrotation=0)
    axes[0].set_ylabel("depth of SET (0: far end)")
    fig.supxlabel("tokens read (trained with 64)", fontsize=10)
    return fig


def recall_by_distance(
    grids: Mapping[str, Tensor], away: Tensor, lengths: Sequence[int], same: tuple[int, Mapping[int, Tensor]]
) -> plt.Figure:
    """Mean recall over the distance to the answer, a panel a contender, and one distance in several windows.

    ``away`` (depths, lengths) in tokens; ``same``: the distance, and {window: (seeds,)} of the last contender.
    """
    fig, axes = plt.subplots(1, 3, figsize=(8, 3.3), sharey=True, width_ratios=(1.15, 1.15, 1))
    for ax, (name, grid), shade in zip(axes, grids.items(), (color("alibi"), ACCENT), strict=False):
        for j, (n, marker) in enumerate(zip(lengths, "osDv", strict=True)):
            look = {"color": shade, "marker": marker, "s": 34, "alpha": 0.85}
            ax.scatter(away[:, j], grid[:, :, j].mean(0), label=f"{n} tokens", **look)
        ax.axvline(64, color=MUTED, lw=0.9, ls=":")
        ax.set(title=name, xscale="log", xlabel="distance from v to GET", ylim=(-3, 106))
        ax.set_xticks([4, 16, 64, 256], [4, 16, 64, 256])
        ax.minorticks_off()
        ax.legend(title="window", fontsize=8, title_fontsize=8, loc="lower left")
    axes[0].set_ylabel("recalled (%)")
    distance, windows = same
    axes[2].plot(range(len(windows)), torch.stack(list(windows.values())), color=ACCENT, marker="o", ms=4, lw=1.2)
    first = f"{next(iter(windows))}\n(start)"  # the distance fills the first window: SET opens the text
    axes[2].set_xticks(range(len(windows)), [first, *list(windows)[1:]])
    axes[2].set(title=f"1/2 to 1/16, {distance} away", xlabel="window (one line a seed)")
    return fig


def fire(rows: Mapping[int, tuple[Tensor, Tensor]]) -> plt.Figure:
    """Bias and network input over distance, query position -> (bias, share)."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.2))
    for (query, (bias, share)), alpha in zip(rows.items(), (1.0, 0.7, 0.45), strict=True):
        axes[0].plot(bias - bias[0], color=color("fire"), alpha=alpha, label=f"query at {query}")
        axes[1].plot(share, color=color("fire"), alpha=alpha)
    axes[0].set(title="bias of one trained head", xlabel="distance", ylabel="bias (logits)")
    axes[1].set(title="what the network receives", xlabel="distance", ylabel="share of own position", ylim=(0, 1.05))
    axes[0].legend()
    return fig


def counted(phrase: str, counts: Tensor) -> plt.Figure:
    """Distance back from the last letter as a query counts it, against characters."""
    n = len(phrase)
    fig, ax = plt.subplots(figsize=(7.4, 2.6))
    ax.step(range(n), counts, where="mid", color=color("cope"), lw=2)
    ax.plot(range(n), n - 1 - np.arange(n), color=MUTED, ls=":")
    ax.text(2, 7.3, "in words", color=color("cope"))
    ax.text(n - 10.5, 7.3, "in characters", color="#777777", ha="right")
    ax.set_xticks(range(n), phrase.replace(" ", "\u2423"), family="DejaVu Sans Mono")
    ax.set(ylabel="distance back", ylim=(-0.4, 9), title="Distance from the last letter, as this query counts it")
    return fig


def real_distance(found: Mapping) -> plt.Figure:
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
    return fig


def ladders(rows: Mapping[str, tuple[str, Mapping[str, Sequence[tuple[float, float]]]]]) -> plt.Figure:
    """Loss at the trained length, and what reading further adds to it: a dot per seed, a row per contender.

    ``rows``: name -> (scheme, {settings: [(loss at 64, loss at 512), ...]}), at most two settings in all.
    """
    fig, axes = plt.subplots(1, 2, figsize=(8, 4), sharey=True)
    looks = ({"marker": "o"}, {"marker": "D"})
    kinds = list(dict.fromkeys(kind for _, runs in rows.values() for kind in runs))
    for row, (scheme, runs) in enumerate(rows.values()):
        for kind, seeds in runs.items():
            which = kinds.index(kind)
            near, far = np.array(seeds).T
            y = np.full(len(near), row + 0.24 * (which - 0.5))
            style = {"color": color(scheme), "ls": "none", "ms": 5, **looks[which]}
            axes[0].plot(near, y, **style)
            axes[1].plot(far - near, y, **style)
    for kind, look in zip(kinds, looks, strict=True):
        axes[0].plot([], [], color=INK, ls="none", ms=5, label=kind, **look)
    axes[0].set_yticks(range(len(rows)), list(rows))
    axes[0].set(ylim=(len(rows) - 0.5, -0.5), title="Loss at the trained 64", xlabel="nats per character")
    axes[1].set(title="What 512 characters add", xlabel="loss at 512 minus loss at 64")
    axes[1].axvline(0, color=MUTED, lw=0.9, zorder=0)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return fig
