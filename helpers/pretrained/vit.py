"""The position grid of a small vision transformer, read from an ONNX file without any ONNX package. Opt-in.

``python3 tasks.py record vit`` records what it measures. The package that carries the file does not name the backbone;
its sizes (patches of 14, a grid of 37 x 37, width 384) are those of DINOv2-S.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import record, store
from . import weights

COMMAND = "python3 tasks.py record vit"
SIDE, WIDTH = 37, 384


def fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(number, value) of every field of a protobuf message: bytes for length-delimited ones, integers otherwise.

    Raises:
        ValueError: if the message is cut short.
    """
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}[kind] if kind in (1, 5) else varint()
        if at + size > len(message):
            raise ValueError("message is cut short: fetch the file again.")
        yield key >> 3, message[at : at + size]
        at += size


def tensors(model: bytes) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """(shape, float32 values) of the initializers and constants of an ONNX model.

    Field numbers from onnx.proto: ModelProto.graph 7, GraphProto.initializer 5 and .node 1, NodeProto.attribute 5,
    AttributeProto.t 5, TensorProto.dims 1, .data_type 2 (1 is float32), .raw_data 9.
    """

    def inside(message: memoryview, number: int) -> Iterator[memoryview]:
        return (value for n, value in fields(message) if n == number and not isinstance(value, int))

    for graph in inside(memoryview(model), 7):
        found = list(inside(graph, 5))
        found += [t for node in inside(graph, 1) for attribute in inside(node, 5) for t in inside(attribute, 5)]
        for tensor in found:
            dims, kind, raw = [], None, None
            for number, value in fields(tensor):
                if number == 1:
                    dims.append(value)
                elif number == 2:
                    kind = value
                elif number == 9:
                    raw = value
            if kind == 1 and raw is not None:
                yield tuple(dims), np.frombuffer(raw, "<f4")


def load() -> Tensor:
    """The grid, (37, 37, 384) float32 (weights.MissingWeights if the file is not installed)."""
    for shape, values in tensors(weights.locate("vit-grid").read_bytes()):
        if shape == (1, SIDE * SIDE, WIDTH):
            return torch.from_numpy(values.copy()).view(SIDE, SIDE, WIDTH)
    raise ValueError("the file holds no position grid of the expected shape.")


def additive_share(grid: Tensor, rows: bool = True, columns: bool = True) -> float:
    """Share of the variance of a grid (rows, columns, d) that one vector a row plus one a column explains."""
    centered = (grid - grid.mean((0, 1))).double()
    fitted = rows * centered.mean(1, keepdim=True) + columns * centered.mean(0, keepdim=True)
    return 1 - ((centered - fitted) ** 2).sum().item() / (centered**2).sum().item()


def measure() -> dict[str, float]:
    """Percentages of variance, and of places whose most similar place is one of the four beside it."""
    grid = load()
    unit = torch.nn.functional.normalize((grid - grid.mean((0, 1))).flatten(0, 1), dim=1)
    nearest = (unit @ unit.T - 9 * torch.eye(SIDE * SIDE)).argmax(1)
    place = torch.arange(SIDE * SIDE)
    steps = (nearest // SIDE - place // SIDE).abs() + (nearest % SIDE - place % SIDE).abs()
    return {
        "row and column": round(100 * additive_share(grid), 1),
        "row only": round(100 * additive_share(grid, columns=False), 1),
        "column only": round(100 * additive_share(grid, rows=False), 1),
        "nearest is beside": round(100 * (steps == 1).double().mean().item(), 1),
    }


def study() -> store.Study:
    """Where it is recorded: results/vit_grid."""
    return store.Study("vit_grid", ("measurement",), (), {"side": SIDE, "width": WIDTH}, COMMAND)


def recorded() -> dict[str, Any]:
    """What :func:`measure` returned when it was recorded, and "provenance".

    Raises:
        FileNotFoundError: if it was never recorded, naming the command.
    """
    (run,) = study().load()
    return {**{row["score"]: row["value"] for row in run.rows}, "provenance": run.made}


def record_run(measurement: str, device: str) -> store.Run:
    """Measure on the real file (weights.MissingWeights if it is absent)."""
    asset = weights.ASSETS["vit-grid"]
    made = store.provenance(
        "cpu",
        model="vision transformer, patches of 14, grid 37 x 37, width 384; backbone not named by its package",
        package=asset.requirement,
        file_sha256=asset.sha256,
    )
    return store.Run([{"score": score, "value": value} for score, value in measure().items()], made=made)


def results(pretrained: bool = False) -> dict[str, Any]:
    """The recorded numbers; with ``pretrained`` they are first recomputed (RuntimeError if they differ)."""
    stored = recorded()
    if pretrained and weights.locate_if_possible("vit-grid"):
        fresh = measure()
        if any(abs(fresh[key] - stored[key]) > 0.2 for key in fresh):
            raise RuntimeError(f"recomputed {fresh}, recorded {stored}.")
    return stored


def main(argv: list[str] | None = None) -> None:
    """Measure the grid of the real file, if that is missing."""
    record.parser(COMMAND, main.__doc__, None).parse_args(argv)
    record.record(study(), [("grid",)], record_run)
