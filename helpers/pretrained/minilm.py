"""A real BERT-family encoder in thirty lines, from its safetensors file: all-MiniLM-L6-v2 (6 layers, width 384).

Used for one question: what does its learned position table do? The numbers shown in notebook 03 by default were
recorded with :func:`measure`; with the weights installed, the same function recomputes them.

``python3 tasks.py record minilm`` records them; ``--table`` writes the shipped position table too.
"""

from __future__ import annotations

import functools
import io
import re
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import record, store
from ..validate import one_of
from . import weights

COMMAND = "python3 tasks.py record minilm"
POSITIONS = "embeddings.position_embeddings.weight"

REORDERED = [
    ("the dog bit the man", "the man bit the dog"),
    ("the cat chased the mouse", "the mouse chased the cat"),
    ("only she said that he lied", "she said that only he lied"),
    ("flights from London to Paris", "flights from Paris to London"),
]
"""Pairs made of the same words in another order."""

REWORDED = [
    ("the dog bit the man", "a puppy attacked a person"),
    ("the dog bit the man", "interest rates fell sharply"),
]
"""Two yardsticks: a paraphrase, and a sentence about something else."""

SHIFTS = (1, 5, 50, 100, 200, 400)

MOVED = ("all", "words", "[CLS]")
"""Which tokens of a text read later rows: all of them, all but the first ([CLS] stays at row 0), or the first alone."""


@functools.cache
def load() -> tuple[dict[str, Tensor], dict[str, int]]:
    """The weights by name, and the vocabulary (weights.MissingWeights if they are not installed)."""
    from safetensors.torch import load_file

    words = weights.locate("minilm-vocabulary").read_text(encoding="utf-8").splitlines()
    return load_file(weights.locate("minilm")), {word: i for i, word in enumerate(words)}


def tokenize(text: str, vocabulary: dict[str, int]) -> list[int]:
    """Ids of [CLS] text [SEP] by WordPiece: the longest known piece first. For plain English text, lower-cased."""
    ids = [vocabulary["[CLS]"]]
    for word in re.findall(r"\w+|[^\w\s]", text.lower()):
        pieces, start = [], 0
        while start < len(word):
            ends = range(len(word), start, -1)
            known = (e for e in ends if ("##" if start else "") + word[start:e] in vocabulary)
            end = next(known, None)
            if end is None:
                pieces = [vocabulary["[UNK]"]]
                break
            pieces.append(vocabulary[("##" if start else "") + word[start:end]])
            start = end
        ids += pieces
    return [*ids, vocabulary["[SEP]"]]


@torch.no_grad()
def encode(text: str, rows: Tensor | None = None, positions: bool = True) -> Tensor:
    """The unit vector (384,) of a text: mean over the final hidden states.

    Args:
        text: plain English.
        rows: the row of the position table for every token; 0, 1, 2 ... by default.
        positions: False replaces the whole table by zeros.

    Raises:
        RuntimeError: on a text of more than 512 tokens, from the addition of two tensors that do not fit.
    """
    w, vocabulary = load()
    ids = torch.tensor(tokenize(text, vocabulary))

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)

    table = w[POSITIONS] if positions else torch.zeros_like(w[POSITIONS])
    place = table[: len(ids)] if rows is None else table[rows]
    x = w["embeddings.word_embeddings.weight"][ids] + place + w["embeddings.token_type_embeddings.weight"][0]
    x = norm("embeddings.LayerNorm", x)  # (T, 384)
    for layer in range(6):
        at = f"encoder.layer.{layer}"
        q, k, v = (
            linear(f"{at}.attention.self.{part}", x).view(len(ids), 12, 32).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(len(ids), 384)
        x = norm(f"{at}.attention.output.LayerNorm", x + linear(f"{at}.attention.output.dense", mixed))
        inner = F.gelu(linear(f"{at}.intermediate.dense", x))
        x = norm(f"{at}.output.LayerNorm", x + linear(f"{at}.output.dense", inner))
    return F.normalize(x.mean(0), dim=0)


def shifted_rows(tokens: int, by: int, moved: str) -> Tensor:
    """The row that each of ``tokens`` tokens reads if those of :data:`MOVED` read ``by`` rows later: (tokens,)."""
    first = torch.arange(tokens) == 0
    later = {"all": torch.ones_like(first), "words": ~first, "[CLS]": first}[one_of("moved", moved, MOVED)]
    return torch.arange(tokens) + by * later


def shifted(text: str) -> dict[str, dict[str, float]]:
    """Cosine of a text with itself, some of its tokens moved to later rows: {moved: {rows later: cosine}}."""
    at_home, tokens = encode(text), len(tokenize(text, load()[1]))
    return {
        moved: {str(by): round((at_home @ encode(text, shifted_rows(tokens, by, moved))).item(), 4) for by in SHIFTS}
        for moved in MOVED
    }


def measure() -> dict[str, Any]:
    """Recompute everything that is recorded, from the real weights (weights.MissingWeights if they are absent)."""

    def similarity(a: str, b: str, positions: bool = True) -> float:
        return round((encode(a, positions=positions) @ encode(b, positions=positions)).item(), 5)

    try:
        encode("word " * 600)
        wall = "no error"
    except RuntimeError as error:
        wall = f"{type(error).__name__}: {error}"
    return {
        "reordered": {f"{a} / {b}": [similarity(a, b), similarity(a, b, False)] for a, b in REORDERED},
        "reworded": {f"{a} / {b}": [similarity(a, b), similarity(a, b, False)] for a, b in REWORDED},
        "shifted": {text: shifted(text) for pair in REORDERED for text in pair},
        "median_word_norm": round(load()[0]["embeddings.word_embeddings.weight"].norm(dim=1).median().item(), 2),
        "wall": wall,
    }


def study() -> store.Study:
    """Where it is recorded: results/minilm."""
    settings = {"reordered": REORDERED, "reworded": REWORDED, "shifts": SHIFTS, "moved": MOVED}
    return store.Study("minilm", ("measurement",), ("pair", "table", "text", "moved", "rows_later"), settings, COMMAND)


def recorded() -> dict[str, Any]:
    """What :func:`measure` returned when it was recorded, and "provenance".

    Raises:
        FileNotFoundError: if it was never recorded, naming the command.
    """
    (run,) = study().load()
    found: dict[str, Any] = {"reordered": {}, "reworded": {}, "shifted": {}}
    for row in run.rows:
        if "pair" in row:
            found[row["score"]].setdefault(row["pair"], []).append(row["value"])
        elif "rows_later" in row:
            text = found["shifted"].setdefault(row["text"], {})
            text.setdefault(row["moved"], {})[str(row["rows_later"])] = row["value"]
        else:
            found[row["score"]] = row["value"]
    return {**found, "provenance": run.made}


def record_run(measurement: str, device: str) -> store.Run:
    """Measure on the real weights (weights.MissingWeights if they are absent)."""
    found = measure()
    rows: list[dict[str, Any]] = [
        {"pair": pair, "table": table, "score": score, "value": value}
        for score in ("reordered", "reworded")
        for pair, values in found[score].items()
        for table, value in zip(("trained", "zeroed"), values, strict=True)
    ]
    rows += [
        {"text": text, "moved": moved, "rows_later": int(by), "score": "shifted", "value": value}
        for text, ways in found["shifted"].items()
        for moved, values in ways.items()
        for by, value in values.items()
    ]
    rows += [{"score": score, "value": found[score]} for score in ("median_word_norm", "wall")]
    asset = weights.ASSETS["minilm"]
    made = store.provenance(
        "cpu",
        model="sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0)",
        package=asset.requirement,
        file_sha256=asset.sha256,
    )
    return store.Run(rows, made=made)


def results(pretrained: bool = False) -> dict[str, Any]:
    """The recorded numbers; with ``pretrained`` they are first recomputed and compared.

    If the weights are not installed, one line says what to install.

    Raises:
        RuntimeError: if a recomputed number differs from the recorded one by more than 0.001.
    """
    stored = recorded()
    if pretrained and weights.locate_if_possible("minilm"):
        fresh = measure()
        for part in ("reordered", "reworded", "shifted"):
            if not np.allclose(_numbers(fresh[part]), _numbers(stored[part]), atol=1e-3):
                raise RuntimeError(f"{part}: recomputed {fresh[part]}, recorded {stored[part]}.")
    return stored


def _numbers(found: Any) -> list[float]:
    """The numbers of nested dicts and lists, by sorted key."""
    parts = [found[key] for key in sorted(found)] if isinstance(found, dict) else found
    return [n for part in parts for n in _numbers(part)] if isinstance(parts, list) else [parts]


def position_table() -> Tensor:
    """The trained position table as shipped with the repository, (512, 384); float16 on disk, float32 here."""
    return torch.from_numpy(weights.load_arrays("minilm-positions")["position_embeddings"]).float()


def main(argv: list[str] | None = None) -> None:
    """Measure on the real weights what their position table does, if that is missing."""
    made = record.parser(COMMAND, main.__doc__, None)
    made.add_argument("--table", action="store_true", help="write helpers/data/minilm_positions.npz as well")
    args = made.parse_args(argv)
    record.record(study(), [("order",)], record_run)
    if args.table:
        data = io.BytesIO()
        np.savez_compressed(data, position_embeddings=load()[0][POSITIONS].numpy().astype(np.float16))
        store.write_whole(weights.DATA / "minilm_positions.npz", data.getvalue())
