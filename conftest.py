"""What pytest does on top: notebooks checked by nbval also have their pictures compared with the saved ones.

One execution serves both. nbval compares what a cell prints and the alternative texts; it skips pictures. Here every
PNG is decoded and compared with the committed output, and the numbers in interactive figures within a tolerance.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported here or in a kernel

ROOT = Path(__file__).resolve().parent
PLOTLY = "application/vnd.plotly.v1+json"
# Root mean square difference of two pictures, of 255, after averaging blocks of 4 x 4 pixels (a curve that moves by a
# fraction of a pixel should weigh little). Curves that move by a thousandth of their value, more than training on
# another processor does, give less than 3; a missing line or another title 7 and more
# (tests/notebooks/test_figures.py measures).
TOLERANCE = 5.0
BLOCK = 4
_seen: Counter = Counter()


def pytest_addoption(parser):
    parser.addoption("--nightly", action="store_true", help="also run the tests marked nightly")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--nightly"):
        left_out = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]


def pytest_configure(config):
    import hypothesis

    # The same examples on every run, and no deadline on a machine that others use too.
    hypothesis.settings.register_profile("course", derandomize=True, deadline=None)
    hypothesis.settings.load_profile("course")


def pytest_collectstart(collector):
    if type(collector).__name__ == "IPyNbFile":  # dictionaries of floats: compared below instead
        collector.skip_compare += (PLOTLY,)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    result = yield
    if type(item).__name__ == "IPyNbCell" and item.test_outputs is not None and not item.options["skip"]:
        problem = compare_pictures(item.cell.outputs, item.test_outputs, saved_with(), pixels=item.options["check"])
        if problem:
            item.raise_cell_error(problem)
    return result


def saved_with() -> dict[str, str]:
    """Figure name -> version of matplotlib that drew the committed picture."""
    path = ROOT / "figures" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {name: entry["matplotlib"] for name, entry in manifest.items()}


def pictures(outputs) -> list[tuple[str, bytes, dict | None]]:
    """(figure name, PNG bytes, plotly JSON or None) of every picture among a cell's outputs."""
    found = []
    for output in outputs:
        data = output.get("data", {})
        if "image/png" in data:
            name = output.get("metadata", {}).get("figure", "a picture without a name")
            found.append((name, base64.b64decode("".join(data["image/png"])), data.get(PLOTLY)))
    return found


def compare_pictures(saved, fresh, versions: dict[str, str], pixels: bool = True, here: str | None = None) -> str:
    """What differs between a cell's saved and fresh pictures, as one sentence; empty if nothing does.

    Pixels are compared only for figures drawn by the same version of matplotlib (``versions``; ``here`` is the one
    installed): another version draws every letter differently.
    """
    old, new = pictures(saved), pictures(fresh)
    if [name for name, *_ in old] != [name for name, *_ in new]:
        return f"the saved figures are {[n for n, *_ in old]}, this run made {[n for n, *_ in new]}"
    here = here or version("matplotlib")
    for (name, before, plotly_before), (_, after, plotly_after) in zip(old, new, strict=True):
        if (plotly_before is None) != (plotly_after is None):
            return f"figure {name}: its interactive version is there only in the saved or only in the fresh output"
        if not pixels:
            _seen["not compared: output ignored by its tag"] += 1
            continue
        if plotly_before is not None:
            where = json_difference(plotly_before, plotly_after)
            if where:
                return f"figure {name}: the interactive version differs from the saved one at {where}"
        if versions.get(name, here) != here:
            _seen[f"not compared: saved with matplotlib {versions[name]}, here {here}"] += 1
            continue
        difference = rms(before, after)
        if difference > TOLERANCE:
            return (
                f"figure {name}: the picture differs from the saved one (RMS {difference:.1f} of 255, allowed"
                f" {TOLERANCE}); if that is meant, run: python3 tasks.py execute --only {name[:2]}"
            )
        _seen["compared"] += 1
    return ""


def rms(before: bytes, after: bytes) -> float:
    """Root mean square difference of two PNG files, 0 to 255, over blocks of pixels; infinite if the sizes differ."""
    import numpy as np
    from PIL import Image

    images = [Image.open(io.BytesIO(png)).convert("RGB") for png in (before, after)]
    if images[0].size != images[1].size:
        return float("inf")
    first, second = (np.asarray(image.reduce(BLOCK), dtype=np.float64) for image in images)
    return float(np.sqrt(np.mean((first - second) ** 2)))


def json_difference(before, after, where: str = "", tolerance: float = 0.02) -> str:
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


def pytest_terminal_summary(terminalreporter):
    for what, number in sorted(_seen.items()):
        terminalreporter.write_line(f"figures {what}: {number}")
