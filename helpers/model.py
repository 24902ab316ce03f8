"""A small transformer that knows the contract of :mod:`helpers.encodings` and none of the schemes.

One attention layer, one block, and from them a causal language model and an encoder. Shapes: B batch, T queries,
S keys, H heads, H_kv key heads, D head_dim.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .encodings.base import Encoding, NoEncoding, positions
from .validate import positive_int, require


class Context(NamedTuple):
    """What one forward pass shares between its layers."""

    encoding: Encoding
    state: Any
    k_pos: Tensor  # (B or 1, S) or (B or 1, S, axes)
    allowed: Tensor  # bool (B or 1, 1, T, S)
    is_causal: bool  # allowed is the plain causal square, so the kernel can make it itself
    merged: dict  # the last bias added to the mask: schemes that return one tensor for all layers pay once


def causal_mask(q_len: int, k_len: int, device: torch.device | str | None = None) -> Tensor:
    """True where query i may see key j; the queries are the last ``q_len`` of ``k_len`` slots. (1, 1, T, S) bool."""
    mask = torch.ones(q_len, k_len, dtype=torch.bool, device=device)
    return mask.tril(k_len - q_len)[None, None]


class KVCache:
    """Keys *before* door 2, values and positions, one entry a layer: each read applies door 2 to all keys afresh.

    Args:
        after_rotation: store keys *after* door 2 instead, as most inference engines do. Cheaper, and wrong as soon
            as a scheme's frequencies change with length (dynamic NTK): notebook 06 shows it.
    """

    def __init__(self, after_rotation: bool = False):
        self.after_rotation = after_rotation
        self.k_pos: Tensor | None = None
        self.allowed: Tensor | None = None  # (B, S) bool: slots that hold a real token
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values (B, H_kv, T, ...) of new tokens; return all of them so far."""
        if layer in self.layers:
            old_k, old_v = self.layers[layer]
            k, v = torch.cat([old_k, k], 2), torch.cat([old_v, v], 2)
        self.layers[layer] = (k, v)
        return k, v

    def __len__(self) -> int:
        """Number of cached tokens."""
        return 0 if self.k_pos is None else self.k_pos.shape[1]


class Attention(nn.Module):
    """Multi-head attention with the three doors marked. Grouped-query attention if n_kv_heads < n_heads."""

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int | None = None, layer: int = 0):
        """ValueError unless n_heads divides d_model and n_kv_heads divides n_heads."""
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        positive_int("n_heads", n_heads)
        positive_int("n_kv_heads", n_kv_heads)
        require(d_model % n_heads == 0, "n_heads", n_heads, f"must divide d_model={d_model}.")
        require(n_heads % n_kv_heads == 0, "n_kv_heads", n_kv_heads, f"must divide n_heads={n_heads}.")
        self.n_heads, self.n_kv_heads, self.head_dim, self.layer = n_heads, n_kv_heads, d_model // n_heads, layer
        self.qkv = nn.Linear(d_model, (n_heads + 2 * n_kv_heads) * self.head_dim, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, x: Tensor, ctx: Context, cache: KVCache | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """x: (B, T, d_model). Returns the same shape, and the attention weights (B, H, T, S) if asked for."""
        batch, t, _ = x.shape
        heads = self.qkv(x).view(batch, t, -1, self.head_dim).transpose(1, 2)  # (B, H + 2 H_kv, T, D)
        q, k, v = heads.split([self.n_heads, self.n_kv_heads, self.n_kv_heads], dim=1)
        enc, state, layer = ctx.encoding, ctx.state, self.layer

        if cache is not None and not cache.after_rotation:
            k, v = cache.append(layer, k, v)
        q_rot, k_rot = enc.rotate(q, k, state, layer)  # door 2
        if cache is not None and cache.after_rotation:
            k_rot, v = cache.append(layer, k_rot, v)
            k = k_rot
        group = self.n_heads // self.n_kv_heads
        if group > 1:
            k, k_rot, v = (a.repeat_interleave(group, dim=1) for a in (k, k_rot, v))
        bias = enc.bias(q, k, state, layer)  # door 3
        scale = self.head_dim**-0.5 if enc.scale is None else enc.scale

        if need_weights or enc.needs_weights:
            logits = q_rot @ k_rot.transpose(-1, -2) * scale  # (B, H, T, S)
            if bias is not None:
                logits = logits + bias
            weights = logits.masked_fill(~ctx.allowed, -math.inf).softmax(-1)
            mixed = weights.to(v.dtype) @ v
            extra = enc.values(weights, state, layer)  # side entrance
            mixed = mixed if extra is None else mixed + extra
        else:
            weights = None
            mask = None if bias is None and ctx.is_causal else merge(ctx, bias, q.dtype)
            mixed = F.scaled_dot_product_attention(q_rot, k_rot, v, attn_mask=mask, is_causal=mask is None, scale=scale)
        return self.out(mixed.transpose(1, 2).reshape(batch, t, -1)), weights if need_weights else None


def merge(ctx: Context, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The additive mask of ``scaled_dot_product_attention``; kept while layers return the very same bias tensor."""
    if bias is None:
        return ctx.allowed
    if ctx.merged.get("bias") is not bias:
        ctx.merged["bias"] = bias
        ctx.merged["mask"] = bias.to(dtype).masked_fill(~ctx.allowed, -math.inf)
    return ctx.merged["mask"]


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int | None = None, layer: int = 0):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attention = Attention(d_model, n_heads, n_kv_heads, layer)
        self.mlp = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))

    def forward(
        self, x: Tensor, ctx: Context, cache: KVCache | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """x: (B, T, d_model). Returns the same shape, and the attention weights if asked for."""
        mixed, weights = self.attention(self.norm1(x), ctx, cache, need_weights)
        x = x + mixed  # the residual carries whatever door 1 added
        return x + self.mlp(self.norm2(x)), weights


class Transformer(nn.Module):
    """Token embedding, blocks, final norm. ``causal`` decides who may see whom; the encoding decides what it means.

    Token embeddings start with unit variance (the default of ``nn.Embedding``). Vaswani et al. start them at
    variance 1/d_model and multiply by sqrt(d_model): the same scale relative to a sinusoidal table.
    """

    causal = True

    def __init__(
        self,
        vocab_size: int,
        d_model: int = 64,
        n_heads: int = 4,
        n_layers: int = 2,
        encoding: Encoding | None = None,
        n_kv_heads: int | None = None,
        out_dim: int | None = None,
    ):
        """Build the model.

        Args:
            vocab_size: number of token ids.
            d_model, n_heads, n_layers, n_kv_heads: the usual shape; n_heads divides d_model.
            encoding: any :class:`~helpers.encodings.Encoding`; None for no position.
            out_dim: width of the output; vocab_size by default.
        """
        super().__init__()
        for name, value in (("vocab_size", vocab_size), ("d_model", d_model), ("n_layers", n_layers)):
            positive_int(name, value)
        self.encoding = NoEncoding() if encoding is None else encoding
        require(
            isinstance(self.encoding, Encoding), "encoding", encoding, "pass an Encoding (see helpers.encodings.build)."
        )
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, n_kv_heads, i) for i in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size if out_dim is None else out_dim, bias=False)

    def hidden(
        self,
        ids: Tensor,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, list[Tensor]]:
        """Final hidden states.

        Args:
            ids: (B, T) token ids, or (B, T, d_model) embeddings already made.
            position_ids: (B or 1, T), or (B or 1, T, axes); by default 0 .. T-1, counted on from a cache.
            attention_mask: bool (B, T), True for real tokens (padding), or (B or 1, 1, T, S) for any pattern
                (packed documents). The causal mask is applied on top, by slot, never by position id.
            cache: keys and values of earlier tokens; new ones are added to it.
            need_weights: also return the attention weights of every layer.

        Returns:
            (B, T, d_model), and a list of (B, H, T, S), empty unless ``need_weights``.
        """
        require(ids.ndim in (2, 3), "ids", tuple(ids.shape), "pass token ids (batch, seq_len).")
        batch, t = ids.shape[:2]
        past = 0 if cache is None else len(cache)
        q_pos = positions(t, past, ids.device) if position_ids is None else position_ids.to(ids.device)
        require(q_pos.shape[1] == t, "position_ids", tuple(q_pos.shape), f"the second axis must be seq_len={t}.")
        require(
            q_pos.shape[0] in (1, batch), "position_ids", tuple(q_pos.shape), f"the first axis must be 1 or {batch}."
        )
        k_pos, allowed, plain = self._who_sees_whom(q_pos, attention_mask, cache, batch)
        plain = plain and t == k_pos.shape[1]
        state = self.encoding.prepare(q_pos, k_pos if cache is None or not cache.after_rotation else q_pos, allowed)
        ctx = Context(self.encoding, state, k_pos, allowed, plain, {})

        x = self.tokens(ids) if ids.ndim == 2 else ids
        x = self.encoding.embed(x, state)  # door 1
        weights = []
        for block in self.blocks:
            x, w = block(x, ctx, cache, need_weights)
            weights.append(w)
        return self.norm(x), weights if need_weights else []

    def _who_sees_whom(
        self, q_pos: Tensor, attention_mask: Tensor | None, cache: KVCache | None, batch: int
    ) -> tuple[Tensor, Tensor, bool]:
        """Key positions, the mask (B or 1, 1, T, S), and whether the mask is the plain causal one."""
        t, past = q_pos.shape[1], 0 if cache is None else len(cache)
        if cache is not None:
            k_pos = q_pos if cache.k_pos is None else _cat(cache.k_pos, q_pos)
        else:
            k_pos = q_pos
        if self.causal:
            allowed = causal_mask(t, past + t, q_pos.device)
        else:
            allowed = torch.ones(1, 1, t, past + t, dtype=torch.bool, device=q_pos.device)
        real = None
        if attention_mask is not None:
            mask = attention_mask.bool().to(q_pos.device)
            if mask.ndim == 2:
                require(
                    mask.shape == (batch, t),
                    "attention_mask",
                    tuple(mask.shape),
                    f"must be (batch, seq_len) = {(batch, t)}.",
                )
                real = mask
            else:
                require(
                    mask.ndim == 4,
                    "attention_mask",
                    tuple(mask.shape),
                    "must have 2 axes (padding) or 4 (any pattern).",
                )
                allowed = allowed & mask
        if cache is not None:
            if real is not None or cache.allowed is not None:
                new = torch.ones(batch, t, dtype=torch.bool, device=q_pos.device) if real is None else real
                old = (
                    torch.ones(batch, past, dtype=torch.bool, device=q_pos.device)
                    if cache.allowed is None
                    else cache.allowed
                )
                real = cache.allowed = torch.cat([old, new], 1)
            cache.k_pos = k_pos
        if real is not None:
            # A padding query may look at itself, so that its softmax has something to sum over; nobody reads it.
            itself = torch.eye(t, past + t, dtype=torch.bool, device=q_pos.device).roll(past, 1)
            allowed = allowed & (real[:, None, None] | itself)
        plain = self.causal and attention_mask is None and real is None
        return k_pos, allowed, plain

    def forward(self, ids: Tensor, **kwargs: Any) -> Tensor:
        """Logits (B, T, out_dim). Keyword arguments as in :meth:`hidden`."""
        return self.head(self.hidden(ids, **kwargs)[0])

    @torch.no_grad()
    def attention_weights(self, ids: Tensor, **kwargs: Any) -> Tensor:
        """Attention weights of every layer, (layers, B, H, T, S). Keyword arguments as in :meth:`hidden`."""
        return torch.stack(self.hidden(ids, need_weights=True, **kwargs)[1])


def _cat(old: Tensor, new: Tensor) -> Tensor:
    """Concatenate positions along the sequence, broadcasting a batch axis of 1."""
    batch = max(old.shape[0], new.shape[0])
    return torch.cat([p.expand(batch, *p.shape[1:]) for p in (old, new)], dim=1)


class CausalLM(Transformer):
    """Next-token language model: logits (B, T, vocab_size)."""

    @torch.no_grad()
    def generate(self, ids: Tensor, n_tokens: int, cache: KVCache | None = None) -> Tensor:
        """Greedy continuation of ``ids`` (B, T) by ``n_tokens``: (B, T + n_tokens). With or without a cache."""
        positive_int("n_tokens", n_tokens)
        out = ids
        for _ in range(n_tokens):
            logits = self(out if cache is None else out[:, len(cache) :], cache=cache)
            out = torch.cat([out, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        return out


class Encoder(Transformer):
    """Bidirectional encoder. ``pooled`` gives one prediction a sequence: the mean over tokens, then the head."""

    causal = False

    def pooled(self, ids: Tensor, **kwargs: Any) -> Tensor:
        """Logits of the whole sequence, (B, out_dim); the mean runs over real tokens only."""
        x = self.hidden(ids, **kwargs)[0]
        real = kwargs.get("attention_mask")
        if real is None or real.ndim != 2:
            return self.head(x.mean(1))
        real = real[..., None].to(x.dtype)
        return self.head((x * real).sum(1) / real.sum(1))
