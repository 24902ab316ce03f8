"""What a figure shows, as text and numbers: it travels inside the PNG, so that two pictures can be compared by content.

Pixels alone cannot say whether a picture changed. Another processor moves a curve by less than a line's width and
changes hundreds of pixels; a label that turns from +0.12 into +9.87 changes fewer. So :func:`draw` notes, while the
figure is drawn, every text, and :func:`read` finds it again: texts to be compared exactly, numbers with a tolerance
(``tools/sameness.py``).
"""

from __future__ import annotations

import io
import json
import re
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import Collection
from matplotlib.colors import to_hex, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.quiver import Quiver
from matplotlib.spines import Spine
from matplotlib.text import Annotation, Text
from PIL import Image

KEY = "shows"
"""Keyword of the PNG's text chunk that holds the facts, as JSON."""

UNIT = 1000
"""Places and heights are noted in thousandths of their axis, values on a color scale in thousandths of the scale."""

FURNITURE = (Axes, Axis, Spine, Legend, Text)  # their texts are noted; their lines follow from them
MOST = 64  # numbers kept of a curve
MOST_ROWS = 16  # rows and columns kept of an image


def draw(fig: Figure) -> tuple[np.ndarray, dict[str, Any]]:
    """Draw a figure once: its pixels, uint8 (height, width, 3), and its facts.

    Returns:
        pixels, and ``{"matplotlib": version, "texts": [...], "ticks": [...], "inks": [...], "axes": [{"view": [...],
        "drawn": [...]}, ...]}``: every visible text in drawing order, labels of ticks apart (how many there are depends
        on the room that letters take); the colors of texts; of each axes the limits (after its scale, so logarithms on
        a log axis) and what is drawn in it, lowest layer first: kind, number of points, colors, places in thousandths
        of the axes.

    Raises:
        TypeError: on an artist of a kind that this module cannot describe.
    """
    canvas = FigureCanvasAgg(fig)
    renderer = canvas.get_renderer()  # canvas.draw() uses this one as long as the size stays
    words: dict[str, list[str]] = {"texts": [], "ticks": []}
    groups: list[str] = []  # what is being drawn, outermost first
    draw_text = renderer.draw_text

    inks: set[str] = set()

    def note(gc, x, y, s, *args, **kwargs):
        inks.add(to_hex(gc.get_rgb()))
        words["ticks" if {"xtick", "ytick"} & set(groups) else "texts"].append(normal(s))
        draw_text(gc, x, y, s, *args, **kwargs)

    renderer.draw_text = note
    renderer.open_group = lambda name, gid=None: groups.append(name)
    renderer.close_group = lambda name: groups.pop()
    canvas.draw()
    axes = [inner for ax in fig.axes for inner in (ax, *ax.child_axes)]
    loose = [_artist(a, fig.transFigure) for a in (*fig.lines, *fig.patches, *fig.images) if a.get_visible()]
    facts = {"matplotlib": matplotlib.__version__, **words, "inks": sorted(inks), "axes": [_axes(ax) for ax in axes]}
    return np.asarray(canvas.buffer_rgba())[..., :3], facts | ({"loose": loose} if loose else {})


def embed(image: Image.Image, facts: dict[str, Any]) -> bytes:
    """PNG file of an image that carries the facts in a compressed text chunk."""
    from PIL.PngImagePlugin import PngInfo

    info, file = PngInfo(), io.BytesIO()
    info.add_itxt(KEY, json.dumps(facts, ensure_ascii=False, separators=(",", ":")), zip=True)
    image.save(file, "png", optimize=True, pnginfo=info)
    return file.getvalue()


def read(png: bytes) -> dict[str, Any] | None:
    """The facts in a PNG file; None if it carries none."""
    with Image.open(io.BytesIO(png)) as image:
        text = image.text.get(KEY)
    return None if text is None else json.loads(text)


def normal(text: str) -> str:
    """A text as it is compared: the long minus of axis labels becomes a hyphen, white space one blank."""
    return re.sub(r"\s+", " ", text.replace("\N{MINUS SIGN}", "-")).strip()


def _axes(ax: Axes) -> dict[str, Any]:
    view = []
    for axis in (ax.xaxis, ax.yaxis):
        view += axis.get_transform().transform(np.array(axis.get_view_interval(), dtype=float)).tolist()
    drawn = sorted((a for a in ax.get_children() if a.get_visible()), key=lambda artist: artist.zorder)
    found = []
    for artist in drawn:
        if isinstance(artist, Annotation) and artist.arrow_patch is not None:
            found.append(_artist(artist.arrow_patch, ax.transAxes))
        elif artist is not ax.patch and not isinstance(artist, FURNITURE):
            found.append(_artist(artist, ax.transAxes))
    return {"view": [float(f"{v:.5g}") for v in view], "drawn": [f for f in found if f["n"] != 0]}


def _artist(artist: Artist, frame: Any) -> dict[str, Any]:
    """One artist: kind, number of points, colors, places (or values) in thousandths of the frame (or color scale)."""
    fact: dict[str, Any] = {"kind": type(artist).__name__}
    mapped = isinstance(artist, ScalarMappable) and artist.get_array() is not None
    if isinstance(artist, AxesImage):
        points = np.zeros((0, 2))
    elif isinstance(artist, Line2D):
        points = artist.get_transform().transform(artist.get_xydata())
        fact["look"] = f"{artist.get_linestyle()}{artist.get_marker()}"
        fact["color"] = _colors(artist.get_color())
    elif isinstance(artist, Patch):
        points = artist.get_transform().transform_path(artist.get_path()).vertices
        fact["color"] = _colors(artist.get_facecolor()) + _colors(artist.get_edgecolor())
    elif isinstance(artist, Collection):
        paths = [path.vertices for path in artist.get_paths()]
        if len(artist.get_offsets()) > 1 or not paths:
            points = artist.get_offset_transform().transform(artist.get_offsets())
        else:
            points = artist.get_transform().transform(np.concatenate(paths))
        if not mapped:
            fact["color"] = _colors(artist.get_facecolor()) + _colors(artist.get_edgecolor())
    else:
        raise TypeError(f"a figure with a {type(artist).__name__}: helpers/facts.py cannot describe it yet.")
    if mapped:
        values = np.ma.filled(np.ma.asarray(artist.get_array(), dtype=float), np.nan)
        rgb = artist.get_cmap() is None or values.ndim == 3
        scaled = values if rgb else np.ma.filled(artist.norm(values), np.nan)
        fact["shape"] = list(values.shape)
        fact["values"] = _thousandths(_blocks(scaled, MOST_ROWS if scaled.ndim > 1 else MOST))
        if not rgb:
            fact["scale"] = [float(f"{v:.5g}") for v in (artist.norm.vmin, artist.norm.vmax)]
    if isinstance(artist, Quiver):
        reach = float(np.hypot(artist.U, artist.V).max()) or 1.0
        fact["arrows"] = [_thousandths(_blocks(np.asarray(part) / reach, MOST)) for part in (artist.U, artist.V)]
    fact["n"] = len(points) if len(points) else int(np.prod(fact.get("shape", [0])))
    if len(points):
        places = np.clip(frame.inverted().transform(np.ma.filled(points, np.nan)), -10, 10)  # far outside is outside
        fact["at"] = [_thousandths(_blocks(column, MOST)) for column in places.T]
    return fact


def _blocks(values: np.ndarray, most: int) -> np.ndarray:
    """Means over blocks, at most ``most`` of them along each axis; a block without a number stays without."""
    for axis in range(min(values.ndim, 2)):
        if values.shape[axis] > most:
            edges = np.linspace(0, values.shape[axis], most + 1).astype(int)[:-1]
            known = np.isfinite(values)
            total = np.add.reduceat(np.where(known, values, 0.0), edges, axis=axis)
            count = np.add.reduceat(known.astype(float), edges, axis=axis)
            values = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return values


def _thousandths(values: np.ndarray) -> list:
    flat = np.asarray(values, dtype=float).ravel()
    return [round(UNIT * v) if np.isfinite(v) else None for v in flat.tolist()]


def _colors(colors: Any) -> list[str]:
    """Different colors in order of appearance, at most eight, as RRGGBBAA."""
    rgba = (255 * to_rgba_array(colors)).round().astype(int).tolist()
    return list(dict.fromkeys("".join(f"{c:02x}" for c in row) for row in rgba))[:8]
