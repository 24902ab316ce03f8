"""GPT-2's byte-level BPE with single digits, as SmolLM2 uses it: the tokenizer of :mod:`.llama`."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

import torch
from torch import Tensor


def _byte_letters() -> dict[int, str]:
    """The printable letter that stands for each byte in GPT-2's vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + n) for n, b in enumerate(rest)}


class ByteBPE:
    """Text to token ids and back: bytes become letters, and letters are merged in the order of a list."""

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
