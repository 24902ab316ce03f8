"""The picture of the course: a transformer layer with three doors and two side entrances for position."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.patches import Circle, FancyBboxPatch, Polygon

from ..plotting import INK, MUTED, color
from ..validate import one_of

DOORS: dict[str, dict[str, str]] = {
    "embeddings": {
        "color": color("sinusoidal"),
        "title": "Door 1: embeddings",
        "what": "x + position vector",
        "who": "sinusoidal, learned table",
    },
    "queries and keys": {
        "color": color("rope"),
        "title": "Door 2: queries and keys",
        "what": "turn q and k by their positions",
        "who": "RoPE, PoPE, xPos",
    },
    "logits": {
        "color": color("alibi"),
        "title": "Door 3: logits",
        "what": "logit + bias(i, j)",
        "who": "T5, ALiBi, KERPLE, FIRE,\nDeBERTa, CoPE, Shaw's keys",
    },
    "mask": {
        "color": "#5d6d7e",
        "title": "Side entrance: the causal mask",
        "what": "who may see whom, by accident",
        "who": "no encoding (NoPE)",
    },
    "values": {
        "color": "#8c613c",
        "title": "Side entrance: values",
        "what": "weights times a vector of j − i",
        "who": "Shaw's values",
    },
}
"""Where position can enter: name -> color, title, what goes through, and which schemes use it."""

_FAINT = "#c9c9c9"


def doors(highlight: str | None = None) -> plt.Figure:
    """Draw one attention layer from tokens to output with every place where position can enter.

    Args:
        highlight: a key of :data:`DOORS` to color alone; None colors all five.

    Raises:
        ValueError: if ``highlight`` is not a door.
    """
    if highlight is not None:
        one_of("highlight", highlight, DOORS)
    fig, ax = plt.subplots(figsize=(8, 4.7), layout="constrained")
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    ax.set(xlim=(0, 16), ylim=(-0.15, 9.2), aspect="equal")
    ax.axis("off")

    ax.add_patch(
        FancyBboxPatch((5.0, 1.75), 10.0, 4.85, boxstyle="round,pad=0,rounding_size=0.35", fc="#f6f6f3", ec="#dcdcd6")
    )
    ax.text(5.25, 1.92, "repeated in every layer and head", fontsize=7.5, color=MUTED, va="bottom")
    for y, word in zip((5.35, 4.3, 3.25), ("the", "cat", "chased"), strict=True):
        _box(ax, 0.85, y, 1.3, 0.7, word)
        _arrow(ax, (1.5, y), (2.05, 4.3 + (y - 4.3) * 0.35))
    _box(ax, 2.65, 4.3, 1.1, 1.5, "embed")
    _path(ax, [(3.2, 4.3), (5.35, 4.3)], arrow=False)
    for y, name in ((5.75, "$q$"), (4.6, "$k$"), (2.85, "$v$")):
        _path(ax, [(5.35, 4.3), (5.35, y), (5.85, y)])
        _box(ax, 6.2, y, 0.7, 0.7, name, size=11)
    _path(ax, [(6.55, 5.75), (9.15, 5.75), (9.15, 5.2), (9.4, 5.2)])
    _path(ax, [(6.55, 4.6), (9.15, 4.6), (9.15, 5.15), (9.4, 5.15)])
    _box(ax, 10.05, 5.175, 1.3, 0.95, r"$q\cdot k/\sqrt{d}$", size=9)
    _path(ax, [(10.7, 5.175), (13.45, 5.175)])
    _box(ax, 14.1, 5.175, 1.3, 0.8, "softmax")
    _path(ax, [(14.1, 4.775), (14.1, 3.17)])
    _path(ax, [(6.55, 2.85), (13.78, 2.85)])
    ax.add_patch(Circle((14.1, 2.85), 0.32, fc="white", ec=INK, lw=1.1, zorder=3))
    ax.text(14.1, 2.83, "×", ha="center", va="center", fontsize=12, zorder=4, color=INK)
    _path(ax, [(14.42, 2.85), (15.75, 2.85)])
    ax.text(15.4, 3.05, "out", fontsize=9, color=INK, ha="center", va="bottom")

    # name: (door x, door y, door height, text x, text above the layer)
    places = {
        "embeddings": (4.1, 4.3, 1.5, 3.4, True),
        "queries and keys": (7.9, 5.175, 2.0, 7.9, True),
        "logits": (11.55, 5.175, 1.25, 12.6, True),
        "mask": (12.7, 5.175, 0.95, 12.7, False),
        "values": (10.05, 2.85, 0.95, 7.7, False),
    }
    for name, (x, y, height, tx, above) in places.items():
        door = DOORS[name]
        on = highlight in (None, name)
        shade, ink = (door["color"], INK) if on else (_FAINT, _FAINT)
        who = door["who"].split("\n")
        top = 8.7 if above else 1.0  # baseline of the title
        edge, turn, end = (y + height / 2, 6.85, top - 1.0 - 0.42 * len(who)) if above else (y - height / 2, 1.5, 1.4)
        ax.plot([x, x, tx, tx], [edge, turn, turn, end], color=shade, lw=1)
        _door(ax, x, y, height, shade, side=not above)
        ax.text(tx, top, door["title"], ha="center", fontsize=9.5, weight="bold", color=shade)
        ax.text(tx, top - 0.52, door["what"], ha="center", fontsize=8.5, color=ink)
        for row, names in enumerate(who):
            ax.text(tx, top - 0.98 - 0.42 * row, names, ha="center", fontsize=8.5, color=shade, style="italic")
    return fig


def _box(ax: plt.Axes, x: float, y: float, width: float, height: float, text: str, size: float = 9) -> None:
    """A rounded white box centered at (x, y)."""
    shape = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.15", fc="white", ec=INK
    )
    ax.add_patch(shape)
    shape.set(linewidth=1.1, zorder=3)
    ax.text(x, y - 0.02, text, ha="center", va="center", fontsize=size, zorder=4, color=INK)


def _arrow(ax: plt.Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A thin arrow."""
    style = {"arrowstyle": "-|>", "color": INK, "lw": 1.1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
    ax.annotate("", end, start, arrowprops=style, zorder=2)


def _path(ax: plt.Axes, points: list[tuple[float, float]], arrow: bool = True) -> None:
    """A line through ``points``, with an arrow head at its end."""
    xs, ys = zip(*points, strict=True)
    ax.plot(xs, ys, color=INK, lw=1.1, zorder=1, solid_joinstyle="round")
    if arrow:
        _arrow(ax, points[-2], points[-1])


def _door(ax: plt.Axes, x: float, y: float, height: float, shade: str, side: bool) -> None:
    """A door ajar, centered at (x, y); a side entrance is smaller and has a dashed frame."""
    width = 0.62 if side else 0.78
    left, bottom = x - width / 2, y - height / 2
    frame = FancyBboxPatch(
        (left, bottom), width, height, boxstyle="round,pad=0,rounding_size=0.06", fc="white", ec=shade, zorder=5
    )
    frame.set(linewidth=2, linestyle=(0, (3, 1.5)) if side else "-")
    ax.add_patch(frame)
    right, top = left + 0.62 * width, bottom + height
    panel = [(left, bottom), (right, bottom - 0.13), (right, top - 0.13), (left, top)]
    ax.add_patch(Polygon(panel, closed=True, fc=shade, ec=shade, lw=1, alpha=0.92, zorder=6))
    ax.add_patch(Circle((right - 0.12, y - 0.1), 0.055, fc="white", ec="none", zorder=7))
