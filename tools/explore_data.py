"""``python3 -m tools.explore_data``: the data that explorables carry with them, made from the course's own.

Each becomes ``helpers/explore/NAME.data.json``, and in the browser the constant ``DATA`` of the module NAME
(:func:`helpers.explore.source`). A test holds the files to what they are made from.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from helpers import explore, race
from helpers.encodings import RotaryParameters, from_config
from helpers.encodings.config import NAMES, language_model, rotary_sets
from helpers.sources import DATA
from helpers.studies import initial_scale

RANK = 96
SHAPE_KEYS = (
    "model_type", "head_dim", "hidden_size", "num_attention_heads", "partial_rotary_factor", "rotary_dim",
    "qk_rope_head_dim", "qk_nope_head_dim", "rope_theta", "max_position_embeddings", "original_max_position_embeddings",
    "rope_scaling", "rope_parameters",
)  # fmt: skip
"""What decides a model's frequencies, under any of its spellings."""


def table_similarity() -> dict[str, Any]:
    """MiniLM's table for cosines: its rows at norm 1, as the best factor of rank 96, in 8 bits.

    Rows' products differ from the true cosines by less than 0.02 (without the 8 bits by 0.011).
    """
    with np.load(DATA / "minilm_positions.npz") as file:
        rows = file["position_embeddings"].astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    left, size, _ = np.linalg.svd(rows, full_matrices=False)
    factor = left[:, :RANK] * size[:RANK]
    scale = np.abs(factor).max(0) / 127
    small = np.round(factor / scale).astype(np.int8)
    packed = base64.b64encode(small.tobytes()).decode()
    return {"rows": len(rows), "rank": RANK, "scale": [float(f"{s:.6g}") for s in scale], "int8": packed}


def bias_kernels() -> dict[str, Any]:
    """What training makes: one head of T5's table and of FIRE's network, from recorded races (seed 0)."""

    def short(tensor) -> list[float]:
        return [round(x, 4) for x in tensor.flatten().tolist()]

    fire = race.load_model("fire", 0).encoding.double()
    hidden, out = fire.network[0], fire.network[2]
    t5 = race.load_model("t5", 0).encoding
    bias = initial_scale.recorded_bias()[:, 0]
    return {
        "t5": {"max_distance": t5.max_distance, "bias": short(bias - bias.max())},
        "fire": {
            "c": round(fire.c.item(), 4),
            "threshold": round((fire.multiplier * fire.threshold).item(), 4),
            "hidden": [short(hidden.weight), short(hidden.bias)],
            "out": [short(out.weight[0]), short(out.bias[0])],
        },
    }


def extend_your_model() -> dict[str, Any]:
    """Published configurations whose layers all turn alike: name -> the keys that decide its frequencies."""
    addresses = json.loads((DATA / "configs" / "sources.json").read_text(encoding="utf-8"))
    found = {}
    for path in sorted((DATA / "configs").glob("*.json")):
        if path.name == "sources.json":
            continue
        text = language_model(json.loads(path.read_text(encoding="utf-8")))
        try:
            parameters = from_config(text)
        except ValueError:  # its layers differ, or are T5's
            continue
        if not isinstance(parameters, RotaryParameters) or parameters.max_position_embeddings is None:
            continue
        if len(rotary_sets(text)) > 1 or parameters.sections is not None:
            continue
        spellings = {each for key in SHAPE_KEYS for each in NAMES.get(key, (key,))}
        kept = {key: each for key, each in text.items() if key in spellings and each is not None}
        found[path.stem] = {"model": addresses[path.stem]["model"], "config": kept}
    return found


MAKERS = {"table_similarity": table_similarity, "bias_kernels": bias_kernels, "extend_your_model": extend_your_model}


def path_of(name: str) -> Path:
    """Where the data of an explorable stand."""
    return explore.FOLDER / f"{name}.data.json"


def main() -> int:
    """Write all of them."""
    for name, make in MAKERS.items():
        path_of(name).write_text(json.dumps(make(), separators=(",", ":")) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
