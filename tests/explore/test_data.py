"""The data that explorables carry with them are what ``tools/explore_data.py`` makes of the course's own."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from helpers import explore
from helpers.sources import DATA
from tools import explore_data


@pytest.mark.parametrize("name", explore_data.MAKERS)
def test_the_file_is_what_the_tool_makes(name):
    made, kept = (json.loads(json.dumps(each)) for each in (explore_data.MAKERS[name](), explore.data(name)))
    if name == "table_similarity":  # a decomposition: its signs and last bits depend on the processor
        assert (made["rows"], made["rank"], len(made["scale"])) == (kept["rows"], kept["rank"], len(kept["scale"]))
        assert np.abs(_cosines(made) - _cosines(kept)).max() < 0.01
    else:
        assert made == kept, "run python3 -m tools.explore_data"
    assert explore_data.path_of(name).stat().st_size < 120_000


def _cosines(recorded) -> np.ndarray:
    factor = np.frombuffer(base64.b64decode(recorded["int8"]), np.int8).reshape(recorded["rows"], recorded["rank"])
    factor = factor * np.array(recorded["scale"])
    return factor @ factor.T


def test_the_small_table_has_the_cosines_of_the_large_one():
    error = np.abs(
        _cosines(explore.data("table_similarity")) - explore.module("table_similarity").cosines("MiniLM (trained)")
    )
    assert error.max() < 0.02 and error.mean() < 0.002


def test_the_rows_of_whisper_that_are_shipped_are_those_of_the_formula():
    with np.load(DATA / "whisper_encoder_positions.npz") as file:
        positions, rows = file["positions"], file["table"]
    made = explore.module("table_similarity").table_of("Whisper's encoder")
    assert np.abs(made[positions] - rows).max() < 1e-3  # shipped in 16 bits


def test_the_list_holds_published_files_of_many_shapes():
    found = [explore.module("extend_your_model").parameters_of(name) for name in explore.data("extend_your_model")]
    assert len(found) >= 25 and len({(p.base, p.rotary_dim) for p in found}) >= 12
    assert {p.kind for p in found} == {"default", "linear", "dynamic", "yarn", "longrope", "llama3"}


def test_other_modules_carry_nothing():
    assert {name for name in explore.names() if explore.data(name) is not None} == set(explore_data.MAKERS)
    assert "const DATA" not in explore.source("slopes") and "const DATA" in explore.source("bias_kernels")
