"""Reads GGUF, the file format of llama.cpp: metadata and tensors, with four of its number formats. No package needed.

Nothing in a file is trusted: every count and length is held against what is left of the file before it is used, so
that a damaged or hostile file costs memory in proportion to its size at most, and ends in a ValueError.

Source: the format's specification in ggml/docs/gguf.md.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..validate import require

_SCALARS = {
    kind: np.dtype(code)
    for kind, code in {
        0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8",
    }.items()
}  # fmt: skip
_U32, _U64 = 4, 10
_STRING, _ARRAY = 8, 9
_DEPTH = 4  # arrays inside arrays; no model needs more than one
_DIMENSIONS = 4  # the format's own limit
_Q4_1 = np.dtype([("scale", "<f2"), ("low", "<f2"), ("nibbles", "u1", 16)])
_Q8_0 = np.dtype([("scale", "<f2"), ("values", "i1", 32)])
_TYPES = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 3: _Q4_1, 8: _Q8_0}
_BLOCK = {0: 1, 1: 1, 3: 32, 8: 32}  # numbers that one item of the type holds


class _Info(NamedTuple):
    name: str
    shape: list[int]  # as PyTorch has it: the format lists the fastest dimension first
    kind: int
    offset: int


def read_gguf(path: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors of a GGUF file (version 2 or 3, tensor types F32, F16, Q4_1 and Q8_0).

    Returns:
        {key: value}, arrays of numbers as NumPy arrays and of text as lists; and {name: float32 tensor}. Weights are
        stored as (out, in).

    Raises:
        ValueError: if the file is not GGUF, is cut short, contradicts itself, or uses another type.
    """
    with open(path, "rb") as file:
        reader = _Reader(file)
        require(file.read(4) == b"GGUF", "path", str(path), "is not a GGUF file.")
        version, n_tensors, n_keys = reader.number(_U32), reader.number(_U64), reader.number(_U64)
        require(version in (2, 3), "version", version, "only GGUF versions 2 and 3 are known.")
        metadata: dict[str, Any] = {}
        for _ in range(n_keys):
            key = reader.string()
            require(key not in metadata, "key", key, "stands twice in the file.")
            metadata[key] = reader.value(reader.number(_U32))
        infos: dict[str, _Info] = {}
        for _ in range(n_tensors):
            info = reader.info()
            require(info.name not in infos, "tensor", info.name, "stands twice in the file.")
            infos[info.name] = info
        align = metadata.get("general.alignment", 32)
        valid = isinstance(align, int) and not isinstance(align, bool) and 8 <= align <= 1 << 20 and align % 8 == 0
        require(valid, "general.alignment", align, "must be a multiple of 8.")
        start = -(-file.tell() // align) * align
    data = np.memmap(path, mode="r")
    return metadata, {info.name: _tensor(data, start, info) for info in infos.values()}


class _Reader:
    """Reads the header from the front, never more than the file still holds."""

    def __init__(self, file: BinaryIO):
        self.file, self.size = file, os.fstat(file.fileno()).st_size

    def need(self, size: int) -> None:
        left = self.size - self.file.tell()
        require(
            size <= left, "path", self.file.name, f"is cut short; delete it and install it again ({left} bytes left)."
        )

    def bytes(self, size: int) -> bytes:
        self.need(size)
        return self.file.read(size)

    def numbers(self, kind: int, count: int) -> np.ndarray:
        return np.frombuffer(self.bytes(count * _SCALARS[kind].itemsize), _SCALARS[kind])

    def number(self, kind: int) -> Any:
        return self.numbers(kind, 1)[0].item()

    def string(self) -> str:
        return self.bytes(self.number(_U64)).decode("utf-8", errors="replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            require(depth < _DEPTH, "array", f"{depth} deep", f"arrays may stand {_DEPTH} deep.")
            inner, count = self.number(_U32), self.number(_U64)
            if inner in _SCALARS:
                return self.numbers(inner, count)
            self.need(count)  # a string takes 8 bytes, an array 12: at least one each
            return [self.value(inner, depth + 1) for _ in range(count)]
        require(kind in _SCALARS, "value type", kind, "is unknown to GGUF.")
        return self.number(kind)

    def info(self) -> _Info:
        name, dimensions = self.string(), self.number(_U32)
        require(1 <= dimensions <= _DIMENSIONS, "dimensions", dimensions, f"{name} must have 1 to {_DIMENSIONS}.")
        shape = [self.number(_U64) for _ in range(dimensions)][::-1]
        require(all(shape), "shape", shape, f"{name} must have no dimension of 0.")
        return _Info(name, shape, self.number(_U32), self.number(_U64))


def _tensor(data: np.ndarray, start: int, info: _Info) -> Tensor:
    """Undo the quantization: blocks of 32 numbers share a scale (and, in Q4_1, a lowest value)."""
    kind = info.kind
    require(kind in _TYPES, "tensor type", kind, f"{info.name}: only F32, F16, Q4_1 and Q8_0 can be read.")
    remedy = f"{info.name}: rows of this type come in blocks of {_BLOCK[kind]}."
    require(info.shape[-1] % _BLOCK[kind] == 0, "shape", info.shape, remedy)
    first = start + info.offset
    end = first + math.prod(info.shape) // _BLOCK[kind] * _TYPES[kind].itemsize
    require(end <= len(data), "path", info.name, "is cut short; delete the file and install it again.")
    raw = np.frombuffer(data[first:end].tobytes(), _TYPES[kind])
    if kind == 3:
        nibbles = np.concatenate([raw["nibbles"] & 15, raw["nibbles"] >> 4], axis=1)  # low halves come first
        values = raw["scale"][:, None].astype("f4") * nibbles + raw["low"][:, None].astype("f4")
    elif kind == 8:
        values = raw["scale"][:, None].astype("f4") * raw["values"]
    else:
        values = raw.astype("f4")
    return torch.from_numpy(values.reshape(info.shape))
