"""The transformer of helpers.model once more, slowly and from its definition, as an oracle for it and for schemes.

Everything is explicit: no fused kernel, no cache, no contract. A scheme enters as three plain functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.model import Transformer


def forward(
    model: Transformer,
    ids: Tensor,
    *,
    logits: Callable[[Tensor, Tensor, int], Tensor] | None = None,
    values: Callable[[Tensor, int], Tensor] | None = None,
    added: Tensor | float = 0.0,
    allowed: Tensor | None = None,
) -> Tensor:
    """Hidden states (B, T, d_model) of ``model`` with its weights, layer by layer.

    Args:
        logits: (q, k, layer) with q, k (B, H, T, D) to finished logits (B, H, T, T); scaled dot product by default.
        values: (weights, layer) to an extra term (B, H, T, D) of the output.
        added: what door 1 adds to the token embeddings.
        allowed: (B or 1, 1, T, T); causal by default if the model is causal.
    """
    x = F.embedding(ids, model.token_embedding.weight) + added
    t = ids.shape[1]
    if allowed is None:
        allowed = torch.ones(t, t, dtype=torch.bool)
        allowed = allowed.tril() if model.causal else allowed
    for layer, block in enumerate(model.blocks):
        attention = block.attention
        d, heads, kv_heads = attention.head_dim, attention.n_heads, attention.n_kv_heads
        h = norm(x, block.norm1)
        w_q, w_k, w_v = attention.qkv.weight.split([heads * d, kv_heads * d, kv_heads * d])
        q, k, v = ((h @ w.T).unflatten(-1, (-1, d)).transpose(1, 2) for w in (w_q, w_k, w_v))
        owner = torch.arange(heads) // (heads // kv_heads)  # query head -> the key head it shares
        k, v = k[:, owner], v[:, owner]
        score = torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(d) if logits is None else logits(q, k, layer)
        score = torch.where(allowed, score, torch.full_like(score, -math.inf))
        score = (score - score.amax(-1, keepdim=True)).exp()
        weights = score / score.sum(-1, keepdim=True)
        mixed = torch.einsum("bhij,bhjd->bhid", weights, v)
        if values is not None:
            mixed = mixed + values(weights, layer)
        x = x + mixed.transpose(1, 2).flatten(2) @ attention.out_proj.weight.T
        up, _, down = block.mlp
        h = norm(x, block.norm2) @ up.weight.T + up.bias
        x = x + (h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))) @ down.weight.T + down.bias
    return norm(x, model.norm)


def norm(x: Tensor, layer: torch.nn.LayerNorm) -> Tensor:
    """Layer normalization from its definition."""
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.pow(2).mean(-1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias
