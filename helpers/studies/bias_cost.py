"""What a bias costs on a CPU: seconds and bytes of causal attention with ALiBi, computed four ways, over the length.

Nothing here says how the four compare on a GPU, where other kernels run.

``python3 tasks.py record bias_cost`` measures what is missing of the table from which notebook 05 draws.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import record, store
from ..encodings.alibi import alibi_bias, alibi_slopes
from ..encodings.base import positions
from ..model import causal_mask
from ..validate import positive_int

COMMAND = "python3 tasks.py record bias_cost"
BATCH, HEADS, HEAD_DIM = 2, 8, 64
LENGTHS = (256, 512, 1024, 2048, 4096)
REPEATS = 5


def additive_mask(seq_len: int, n_heads: int = HEADS) -> Tensor:
    """ALiBi and the causal mask as one tensor for ``scaled_dot_product_attention``, (1, H, T, T) float32."""
    pos = positions(seq_len)
    return alibi_bias(pos, pos, alibi_slopes(n_heads)).masked_fill(~causal_mask(seq_len, seq_len), -math.inf)


def no_bias(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The kernel's own causal mask and no bias: the price of attention alone."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def fused_mask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One (1, H, T, T) mask, made once for all layers and the whole batch, handed to the fused kernel."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_mask(q.shape[1], q.shape[2]))


def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Logits, softmax and weights formed one after another, each (B, H, T, T)."""
    logits = q @ k.mT / q.shape[-1] ** 0.5 + _mask(q.shape[1], q.shape[2])
    return logits.softmax(-1) @ v


def extra_channel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The key-only row m_h j as one more channel of q and k (padded to a multiple of 8): no mask at all."""
    batch, heads, seq_len, dim = q.shape
    row = alibi_slopes(heads).float()[:, None] * (torch.arange(seq_len) - seq_len + 1)  # (H, T), 0 at the last key
    pad = (0, 7)
    q = F.pad(torch.cat([q, torch.full_like(q[..., :1], dim**0.5)], -1), pad)
    k = F.pad(torch.cat([k, row.expand(batch, -1, -1)[..., None]], -1), pad)
    return F.scaled_dot_product_attention(q, k, F.pad(v, (0, 8)), is_causal=True, scale=dim**-0.5)[..., :dim]


PATHS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "no bias": no_bias,
    "extra channel": extra_channel,
    "fused, additive mask": fused_mask,
    "explicit softmax": explicit,
}

_masks: dict[tuple[int, int], Tensor] = {}


def _mask(heads: int, seq_len: int) -> Tensor:
    if (heads, seq_len) not in _masks:
        _masks.clear()
        _masks[heads, seq_len] = additive_mask(seq_len, heads)
    return _masks[heads, seq_len]


def inputs(seq_len: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Random q, k, v of shape (BATCH, HEADS, seq_len, HEAD_DIM); ValueError on a seq_len below 1."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, BATCH, HEADS, positive_int("seq_len", seq_len), HEAD_DIM, generator=generator)
    return q, k, v


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes that were allocated at once during ``run()``, beyond what was there before, by PyTorch's profiler."""
    run()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    now = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def cpu_seconds(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Least processor seconds of this thread over a few calls; other programs disturb it little."""
    run()
    best = math.inf
    for _ in range(repeats):
        start = time.thread_time()
        run()
        best = min(best, time.thread_time() - start)
    return best


MASK = "additive mask alone"
"""Name in the table of the tensor itself: how many bytes :func:`additive_mask` holds."""


def study() -> store.Study:
    """Where it is recorded: results/bias_cost, one run a way to compute."""
    settings = {"batch": BATCH, "heads": HEADS, "head_dim": HEAD_DIM, "lengths": LENGTHS}
    clock = f"processor seconds of one thread, least of {REPEATS} calls"
    return store.Study("bias_cost", ("path",), ("length",), {**settings, "clock": clock}, COMMAND)


def recorded() -> dict[str, Any]:
    """The recorded table: batch, heads, head_dim, lengths, "seconds" and "bytes" as {path: [...]}, and "mask_bytes".

    Raises:
        FileNotFoundError: naming the command that records it.
    """
    runs, settings = {run.key["path"]: run for run in study().load()}, study().stored_settings()

    def by_length(path: str, score: str) -> list[float]:
        return [runs[path].value(score, length=n) for n in settings["lengths"]]

    table = {score: {path: by_length(path, score) for path in PATHS} for score in ("seconds", "bytes")}
    return {**settings, **table, "mask_bytes": by_length(MASK, "bytes")}


@torch.no_grad()
def record_run(path: str, device: str) -> store.Run:
    """Measure one way to compute at every length."""
    rows = []
    for seq_len in LENGTHS:
        if path == MASK:
            rows.append({"length": seq_len, "score": "bytes", "value": additive_mask(seq_len).nbytes})
            continue
        q, k, v = inputs(seq_len)
        compute = functools.partial(PATHS[path], q, k, v)
        rows.append({"length": seq_len, "score": "seconds", "value": round(cpu_seconds(compute), 5)})
        rows.append({"length": seq_len, "score": "bytes", "value": peak_bytes(compute)})
    return store.Run(rows, made=store.provenance(device))


def main(argv: list[str] | None = None) -> None:
    """Measure what is missing of the cost of a bias. One at a time: what runs beside it would be measured too."""
    args = record.parser(COMMAND, main.__doc__, None, (*PATHS, MASK)).parse_args(argv)
    record.record(study(), [(path,) for path in args.only], record_run)
