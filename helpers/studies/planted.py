"""Bugs planted in the race's model, one per check of ``helpers.check_encoding``, and three models that are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import race
from ..encodings import Encoding, NoEncoding, RoPE, extension
from ..encodings.rope import rotate_pairs


class BatchAxis(RoPE):
    """Position taken from the batch axis: ``x + pe[: x.size(0)]`` and its relatives."""

    def embed(self, x: Tensor, state: Any) -> Tensor:
        return x + torch.arange(len(x))[:, None, None] * torch.linspace(0, 1, x.shape[-1])


class Mixed(RoPE):
    """Queries in one layout, keys in the other."""

    def rotate(self, q: Tensor, k: Tensor, state: Any, layer: int) -> tuple[Tensor, Tensor]:
        return rotate_pairs(q, *state[0], "half"), rotate_pairs(k, *state[1], "interleaved")


class LowPrecision(RoPE):
    """Positions made in the dtype of a bfloat16 model."""

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Any:
        return super().prepare(q_pos.bfloat16(), k_pos.bfloat16(), allowed)


def runner(encoding: Encoding | None = None, seed: int = 0, forget: str = "") -> Callable[..., Tensor]:
    """``run`` of ``check_encoding`` on the race's model with another encoding; ``forget``: "cache" or "mask"."""
    lm = race.load_model("rope", seed)
    lm.encoding = encoding or lm.encoding

    def run(ids: Tensor, position_ids=None, attention_mask=None, cache=None) -> Tensor:
        if forget == "cache" and cache is not None:  # positions restart with every call
            position_ids = torch.arange(ids.shape[1])[None]
        mask = None if forget == "mask" else attention_mask
        return lm(ids, position_ids=position_ids, attention_mask=mask, cache=cache)

    return run


def logit_of(encoding: Encoding) -> Callable[[Tensor, Tensor, int, int], Tensor]:
    """``logit`` of ``check_rule``, from an encoding of this course."""

    def logit(q: Tensor, k: Tensor, m: int, n: int) -> Tensor:
        at = [torch.full((1, len(rows)), p) for rows, p in ((q, m), (k, n))]
        state = encoding.prepare(*at, torch.ones(1, 1, 1, 1, dtype=torch.bool))
        q, k = encoding.rotate(q[None, None], k[None, None], state, 0)
        return (q @ k.mT)[0, 0] * (encoding.scale or q.shape[-1] ** -0.5)

    return logit


def suspects(seed: int = 0) -> dict[str, tuple[Callable, Callable, dict[str, Any]]]:
    """{name: (run, logit, the rotary dictionary that it claims to follow)}, the right ones first."""
    plain = {"rope_type": "default", "rope_theta": 10_000.0, "original_max_position_embeddings": 64}
    dynamic, yarn = {**plain, "rope_type": "dynamic", "factor": 2.0}, {**plain, "rope_type": "yarn", "factor": 4.0}
    right, f = extension.extend("yarn", 16, 10_000.0, 4, 64)
    snippet = extension.extend("ntk", 16, 10_000.0, 4).inv_freq
    forget = {"positions restart with a cache": "cache", "padding mask forgotten": "mask"}
    schemes: dict[str, tuple[Encoding, dict[str, Any]]] = {
        "as it should be": (RoPE(16), plain),
        "YaRN, as it should be": (RoPE(16, inv_freq=right, attention_factor=f), yarn),
        "dynamic NTK, as it should be": (extension.DynamicNTK(16, 64, 2.0), dynamic),
        "positions never used": (NoEncoding(), plain),
        "batch axis for position": (BatchAxis(16), plain),
        "two layouts mixed": (Mixed(16), plain),
        "positions restart with a cache": (RoPE(16), plain),
        "padding mask forgotten": (RoPE(16), plain),
        "positions in bfloat16": (LowPrecision(16), plain),
        "NTK-aware called YaRN": (RoPE(16, inv_freq=snippet, attention_factor=f), yarn),
        "temperature squared": (RoPE(16, inv_freq=right, attention_factor=f**2), yarn),
        "temperature in two places": (RoPE(16, inv_freq=right, attention_factor=f, scale=f**2 / 4), yarn),
    }
    return {
        name: (runner(scheme, seed, forget.get(name, "")), logit_of(scheme), rope)
        for name, (scheme, rope) in schemes.items()
    }
