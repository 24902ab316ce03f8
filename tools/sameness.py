"""When is a picture the same? Its texts exactly, its values within a tolerance, its pixels last.

One answer for whoever asks: the notebooks' check (conftest.py), the test of figures/ and the command that installs new
pictures. Another processor than the one that saved a picture moves curves by about a thousandth and so some pixels by
a lot; that is the same picture. One digit more or less in a label moves hardly a pixel; that is another one.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from helpers import facts

PLOTLY = "application/vnd.plotly.v1+json"
VALUES = 20
"""How far a value may move, in thousandths of its axis or color scale. Other code paths of PyTorch, MKL, oneDNN and
NumPy move what is trained live by up to 9, and nearly everything else by none (test_processors.py)."""
PIXELS = 5.0
"""Root mean square difference allowed, of 255, over blocks of ``BLOCK`` x ``BLOCK`` pixels (a curve that moves by a
fraction of a pixel should weigh little). What another processor does gives less than 3; a missing line 7 and more."""
BLOCK = 4
COLOR = 3  # of 255


def difference(saved: bytes, fresh: bytes) -> str:
    """What changed from one PNG file to another, as one sentence without a full stop; "" for the same picture.

    Pictures drawn by different versions of matplotlib are compared by what they show, without the labels of ticks:
    each version draws letters differently, and the room that they take decides how many ticks there are. A saved
    picture that does not carry its facts (``helpers/facts.py``) counts as changed.
    """
    if saved == fresh:
        return ""
    before, after = facts.read(saved), facts.read(fresh)
    if after is None:
        return "the fresh picture does not carry what it shows" if before else pixel_difference(saved, fresh)
    if before is None:
        return "the saved picture does not carry what it shows"
    found = fact_difference(before, after)
    if found or before["matplotlib"] != after["matplotlib"]:
        return found
    return pixel_difference(saved, fresh)


def fact_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The first text, artist, limit, color or value in which two pictures differ; "" if there is none."""
    words = ["texts"] if before["matplotlib"] != after["matplotlib"] else ["texts", "ticks"]
    for kind in words:
        if before[kind] != after[kind]:
            return _text_difference(before[kind], after[kind])
    if before.get("inks") != after["inks"]:
        return "the color of a text changed"
    pairs = [(before["axes"], after["axes"], "axes"), (before.get("loose", []), after.get("loose", []), "artist")]
    for old, new, what in pairs:
        if len(old) != len(new):
            return f"{len(old)} {what} before, {len(new)} now"
        for number, (one, other) in enumerate(zip(old, new, strict=True), 1):
            found = (_axes_difference if what == "axes" else _artist_difference)(one, other)
            if found:
                return f"{what} {number}: {found}"
    return ""


def pixel_difference(saved: bytes, fresh: bytes) -> str:
    """How far two PNG files differ as images; "" within the tolerance."""
    moved = rms(saved, fresh)
    return "" if moved <= PIXELS else f"its pixels differ (root mean square {moved:.1f} of 255, allowed {PIXELS})"


def rms(before: bytes, after: bytes) -> float:
    """Root mean square difference of two PNG files, 0 to 255, over blocks of pixels; infinite if the sizes differ."""
    images = [Image.open(io.BytesIO(png)).convert("RGB") for png in (before, after)]
    if images[0].size != images[1].size:
        return float("inf")
    first, second = (np.asarray(image.reduce(BLOCK), dtype=np.float64) for image in images)
    return float(np.sqrt(np.mean((first - second) ** 2)))


def json_difference(before: Any, after: Any, where: str = "", tolerance: float = 0.02) -> str:
    """Path of the first difference between two JSON values; numbers may differ by 2% (or 0.005 near zero)."""
    numbers = (int, float)
    if isinstance(before, numbers) and isinstance(after, numbers) and not isinstance(before, bool):
        close = abs(before - after) <= max(0.005, tolerance * abs(before))
        return "" if close else f"{where or 'the top'} ({before} before, {after} now)"
    if isinstance(before, dict) and isinstance(after, dict):
        if set(before) != set(after):
            return f"{where or 'the top'} (keys {sorted(set(before) ^ set(after))})"
        keys = list(before)
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            return f"{where or 'the top'} ({len(before)} items before, {len(after)} now)"
        keys = list(range(len(before)))
    else:
        return "" if before == after else f"{where or 'the top'} ({before!r} before, {after!r} now)"
    found = (json_difference(before[key], after[key], f"{where}/{key}", tolerance) for key in keys)
    return next(filter(None, found), "")


# ------------------------------------------------------------------------------------------- pictures in a notebook


def pictures(outputs: Sequence[Mapping[str, Any]]) -> list[tuple[str, bytes, dict | None]]:
    """(figure name, PNG bytes, plotly JSON or None) of every picture among a cell's outputs."""
    found = []
    for output in outputs:
        data = output.get("data", {})
        if "image/png" in data:
            name = output.get("metadata", {}).get("figure", "a picture without a name")
            found.append((name, base64.b64decode("".join(data["image/png"])), data.get(PLOTLY)))
    return found


def output_difference(
    saved: Sequence[Mapping[str, Any]], fresh: Sequence[Mapping[str, Any]], contents: bool = True
) -> str:
    """What differs between a cell's saved and fresh pictures, still or interactive, as one sentence; "" if nothing.

    Args:
        saved, fresh: outputs of one cell.
        contents: False asks only which pictures there are (a cell whose output is ignored by its tag).
    """
    old, new = pictures(saved), pictures(fresh)
    if [name for name, *_ in old] != [name for name, *_ in new]:
        return f"the saved figures are {[n for n, *_ in old]}, this run made {[n for n, *_ in new]}"
    for (name, before, graph_before), (_, after, graph_after) in zip(old, new, strict=True) if contents else ():
        if (graph_before is None) != (graph_after is None):
            return f"figure {name}: its interactive version is there only in the saved or only in the fresh output"
        where = json_difference(graph_before, graph_after)
        if where:
            return f"figure {name}: the interactive version differs from the saved one at {where}"
        found = difference(before, after)
        if found:
            return f"figure {name}: {found}"
    return ""


# ---------------------------------------------------------------------------------------------------- facts in pieces


def _text_difference(before: Sequence[str], after: Sequence[str]) -> str:
    for old, new in zip(before, after, strict=False):
        if old != new and len(before) == len(after):
            return f"the text {old!r} became {new!r}"
    gone, come = list(before), []
    for text in after:
        if text in gone:
            gone.remove(text)
        else:
            come.append(text)
    return f"the texts changed (gone: {gone[:5]}, new: {come[:5]})"


def _axes_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    for side, (old, new) in enumerate(zip(before["view"], after["view"], strict=True)):
        low, high = before["view"][side // 2 * 2 : side // 2 * 2 + 2]
        if abs(old - new) * 1000 > VALUES * abs(high - low):
            return f"the limit {old:g} of its {'xy'[side // 2]} axis became {new:g}"
    kinds = [[artist["kind"] for artist in part["drawn"]] for part in (before, after)]
    if kinds[0] != kinds[1]:
        return f"it shows {_count(kinds[1])}, before {_count(kinds[0])}"
    for number, (old, new) in enumerate(zip(before["drawn"], after["drawn"], strict=True), 1):
        found = _artist_difference(old, new)
        if found:
            return f"artist {number} ({old['kind']}): {found}"
    return ""


def _artist_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    for key in ("kind", "n", "shape", "look"):
        if before.get(key) != after.get(key):
            return f"its {key} was {before.get(key)} and is {after.get(key)}"
    if not _same_colors(before.get("color", []), after.get("color", [])):
        return f"its color was {before['color']} and is {after['color']}"
    if "scale" in before:
        (low, high), (new_low, new_high) = before["scale"], after["scale"]
        if max(abs(low - new_low), abs(high - new_high)) * 1000 > VALUES * abs(high - low):
            return f"its color scale was {low:g} to {high:g} and is {new_low:g} to {new_high:g}"
    for old, new, what in _numbers(before, after):
        if (old is None) != (new is None):
            return f"a gap in its {what} came or went"
        if old is not None and abs(old - new) > VALUES:
            return f"its {what} moved by {abs(old - new) / 10:.1f}% of the scale (allowed {VALUES / 10:g}%)"
    return ""


def _numbers(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[int | None, int | None, str]]:
    for key, names in (("at", ("x", "y")), ("arrows", ("arrows", "arrows")), ("values", None)):
        if key not in before:
            continue
        columns = zip(before[key], after[key], names, strict=True) if names else [(before[key], after[key], "values")]
        for old, new, what in columns:
            yield from ((a, b, what) for a, b in zip(old, new, strict=True))


def _same_colors(before: Sequence[str], after: Sequence[str]) -> bool:
    if len(before) != len(after):
        return False
    old, new = (bytes.fromhex("".join(colors)) for colors in (before, after))
    return all(abs(a - b) <= COLOR for a, b in zip(old, new, strict=True))


def _count(kinds: Sequence[str]) -> str:
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "nothing"
