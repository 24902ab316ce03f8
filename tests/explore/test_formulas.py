"""What the browser computes is what helpers computes: node evaluates the modules' functions on a grid of states.

Functions, their twins and where they are compared: ``rows.py``. Every exported function has a row there.
"""

from __future__ import annotations

import re
import subprocess

import matplotlib
import numpy as np
import pytest
import torch

from helpers import explore, plotting
from helpers.explore._hash import hashed
from tests.explore import rows

NAMES = [name for name in explore.names() if hasattr(rows, name)]


def plain(value):
    """A result of the Python side as plain lists and numbers; minus infinity is null, as in JSON."""
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def same(found, expected) -> bool:
    if isinstance(expected, dict):
        return found is not None and found.keys() == expected.keys() and all(same(found[k], expected[k]) for k in found)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, float | int) and not isinstance(expected, bool):
        return found is not None and abs(found - expected) <= 1e-6 * max(1, abs(expected))
    return found == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_browser_computes_what_python_computes(name, evaluate):
    functions = getattr(rows, name)(explore.module(name))
    calls = [(function, list(args)) for function, (_, arguments) in functions.items() for args in arguments]
    expected = [plain(twin(*args)) for twin, arguments in functions.values() for args in arguments]
    found = evaluate(name, calls)
    for (function, args), ours, theirs in zip(calls, expected, found, strict=True):
        assert same(theirs, ours), f"{function}({args}): JavaScript {theirs}, Python {ours}"


@pytest.mark.parametrize("name", NAMES)
def test_every_exported_function_is_compared(name):
    text = (explore.FOLDER / f"{name}.js").read_text(encoding="utf-8")
    exported = set(re.findall(r"(?m)^export (?:async )?function (\w+)", text))
    exported |= set(re.findall(r"(?m)^export const (\w+) = \(", text))
    missing = exported - set(getattr(rows, name)(explore.module(name))) - rows.ELSEWHERE.get(name, set())
    assert exported and not missing, f"{name}: no rows for {missing}"


@pytest.mark.parametrize("name", NAMES)
def test_the_bundle_is_one_module_that_fetches_nothing(name, node, tmp_path):
    text = explore.source(name)
    (tmp_path / "bundle.mjs").write_text(text, encoding="utf-8")
    done = subprocess.run([node, "--check", str(tmp_path / "bundle.mjs")], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"(?m)^export default \{ render \};$", text)) == 1
    assert not re.search(r"(?m)^import\b|\bimport\(|\bfetch\(|XMLHttpRequest", text)
    assert set(re.findall(r"https?://[^\s\"'`]+", text)) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("name", NAMES)
def test_a_module_imports_from_the_kit_what_it_uses_and_nothing_else(name):
    text = (explore.FOLDER / f"{name}.js").read_text(encoding="utf-8")
    imports = re.findall(r'(?ms)^import \{([^}]*)\} from "\./kit\.js";\n', text)
    assert len(imports) == 1, "one import statement: Python cuts it out"
    body = text.split('from "./kit.js";')[1]
    body = re.sub(r"(?m)//.*$|/\*.*?\*/", "", body)
    unused = [word for word in re.findall(r"\w+", imports[0]) if not re.search(rf"\b{word}\b", body)]
    assert not unused, f"{name} imports {unused} and uses none of it"


# ------------------------------------------------------------------------------------------------------------- the kit


def test_a_text_has_the_same_hash_in_both_languages(evaluate):
    words = ["", "the", "cat 0", "cat 1", "Straße 3", "猫 7", "🐈", "x" * 80]
    assert np.allclose(evaluate("kit", [("hashed", [word]) for word in words]), [hashed(word) for word in words])


def test_hashes_are_spread_evenly():
    values = np.array([hashed(f"word {i}") for i in range(4000)])
    assert abs(values.mean()) < 0.03 and abs(values.std() - 3**-0.5) < 0.01
    assert values.min() >= -1 and values.max() < 1
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.05


def test_colors_are_those_of_the_pictures(evaluate):
    schemes, ink, muted, accent = evaluate("kit", [(name, []) for name in ("SCHEMES", "INK", "MUTED", "ACCENT")])
    assert {name: look[0] for name, look in schemes.items()} == {n: plotting.color(n) for n in plotting._SCHEMES}
    solid = {name for name, look in schemes.items() if not look[1]}
    assert solid == {name for name in schemes if plotting.line(name)["linestyle"] == "-"}
    assert (ink, muted, accent) == (plotting.INK, plotting.MUTED, plotting.ACCENT)


@pytest.mark.parametrize(("function", "name", "low"), [("cividis", "cividis", 0), ("diverging", "RdBu_r", -1)])
def test_color_maps_are_those_of_the_pictures(function, name, low, evaluate):
    values = np.linspace(low, 1, 41)
    found = evaluate("kit", [(function, [value]) for value in values])
    ours = np.array([[int(part) for part in re.findall(r"\d+", text)] for text in found])
    theirs = 255 * matplotlib.colormaps[name]((values - low) / (1 - low))[:, :3]
    assert np.abs(ours - theirs).max() <= 12, "of 255"


@pytest.mark.parametrize(
    ("call", "value"),
    [
        (("fixed", [-0.001, 2]), "0.00"),
        (("fixed", [-1234.5, 1]), "−1,234.5"),
        (("fixed", [2 / 3, 3]), "0.667"),
        (("short", [0]), "0"),
        (("short", [0.25]), "0.25"),
        (("short", [-20]), "−20"),
        (("short", [10_000]), "10,000"),
        (("short", [1_000_000]), "10⁶"),
        (("short", [200_000]), "2·10⁵"),
        (("short", [1e-5]), "10⁻⁵"),
        (("ticks", [0, 1, 5]), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (("ticks", [-20, 20, 5]), [-20, -10, 0, 10, 20]),
        (("ticks", [1, 5000, 5, True]), [1, 10, 100, 1000]),
        (("ticks", [20, 300, 5, True]), [20, 50, 100, 200]),
        (("softmax", [[0, None, 0]]), [1 / 3, 1 / 3, 1 / 3]),
        (("clamp", [7, 0, 5]), 5),
        (("significant", [10_132]), 10_000),
        (("readable", ["rgb(0,34,78)"]), "#ffffff"),
        (("readable", ["rgb(247,247,247)"]), "#1a1a1a"),
    ],
)
def test_small_functions_of_the_kit(call, value, evaluate):
    found = evaluate("kit", [call])[0]
    assert same(found, value), found
