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
    rotation: Any  # the state for door 2: another one only while reading a cache of keys already rotated
    k_pos: Tensor  # (B or 1, S) or (B or 1, S, axes)
    allowed: Tensor  # bool (B or 1, 1, T, S)
    is_causal: bool  # allowed is the plain causal square, so the kernel can make it itself
    is_full: bool  # allowed is True everywhere, so no mask is needed
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
        positive_int("d_model", d_model)
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
        q_rot, k_rot = enc.rotate(q, k, ctx.rotation, layer)  # door 2
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
            mask = None if bias is None and (ctx.is_causal or ctx.is_full) else merge(ctx, bias, q_rot.dtype)
            causal = mask is None and ctx.is_causal
            mixed = F.scaled_dot_product_attention(q_rot, k_rot, v, attn_mask=mask, is_causal=causal, scale=scale)
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

        Raises:
            ValueError: on a bad argument, or an encoding built for another shape (as far as it states its shape).
        """
        super().__init__()
        out_dim = vocab_size if out_dim is None else out_dim
        sizes = {"vocab_size": vocab_size, "d_model": d_model, "n_layers": n_layers, "out_dim": out_dim}
        for name, value in sizes.items():
            positive_int(name, value)
        self.encoding = NoEncoding() if encoding is None else encoding
        require(
            isinstance(self.encoding, Encoding), "encoding", encoding, "pass an Encoding (see helpers.encodings.build)."
        )
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, n_kv_heads, i) for i in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, out_dim, bias=False)
        shape = {"d_model": d_model, "n_heads": n_heads, "head_dim": d_model // n_heads}
        for name, value in shape.items():  # broadcasting would hide most misfits
            stated = getattr(self.encoding, name, value)
            require(stated == value, f"encoding.{name}", stated, f"this model has {name}={value}; build it for that.")

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

        Raises:
            ValueError: on ids, positions, a mask or a cache that do not fit, or whatever the encoding refuses.
        """
        self._check_ids(ids)
        batch, t = ids.shape[:2]
        past = 0 if cache is None else len(cache)
        if past:
            kept = cache.layers[0][0].shape[0]
            require(kept == batch, "cache", f"{kept} sequences", f"ids have {batch}; start a new KVCache().")
        q_pos = positions(t, past, ids.device) if position_ids is None else position_ids.to(ids.device)
        axes = self.encoding.axes
        fits = q_pos.ndim in (2, 3) and q_pos.shape[0] in (1, batch) and q_pos.shape[1] == t
        fits = fits and (q_pos.ndim == 2 or (axes > 1 and q_pos.shape[2] == axes))
        remedy = f"must be (1 or {batch}, {t}{f', {axes}' * (axes > 1)}) for this encoding."
        require(fits, "position_ids", tuple(q_pos.shape), remedy)
        wide = q_pos.is_floating_point() or q_pos.dtype in (torch.int32, torch.int64)
        require(wide, "position_ids", q_pos.dtype, "distances would wrap around: use position_ids.long().")
        k_pos = q_pos if past == 0 else _cat(cache.k_pos, q_pos)
        allowed, real, plain = self._who_sees_whom(batch, t, past, attention_mask, cache, ids.device)
        state = rotation = self.encoding.prepare(q_pos, k_pos, allowed)
        if past and cache.after_rotation:  # door 2 turns the new keys only: the old ones were turned on their way in
            rotation = self.encoding.prepare(q_pos, q_pos, allowed[..., past:])
        is_causal, is_full = plain and self.causal and past == 0, plain and (not self.causal or t == 1)
        ctx = Context(self.encoding, state, rotation, k_pos, allowed, is_causal, is_full, {})
        if cache is not None:
            cache.k_pos, cache.allowed = k_pos, real

        x = self.tokens(ids) if ids.ndim == 2 else ids
        x = self.encoding.embed(x, state)  # door 1
        weights = []
        for block in self.blocks:
            x, w = block(x, ctx, cache, need_weights)
            weights.append(w)
        return self.norm(x), weights if need_weights else []

    def _check_ids(self, ids: Tensor) -> None:
        """ValueError unless ids are (B, T) token ids of the vocabulary, or (B, T, d_model) embeddings."""
        vocab_size, d_model = self.tokens.weight.shape
        require(ids.ndim in (2, 3), "ids", tuple(ids.shape), "pass token ids (batch, seq_len).")
        require(0 not in ids.shape[:2], "ids", tuple(ids.shape), "pass at least one token.")
        if ids.ndim == 3:
            require(ids.shape[2] == d_model, "ids", tuple(ids.shape), f"embeddings must be {d_model} wide.")
            return
        require(ids.dtype in (torch.int64, torch.int32), "ids", ids.dtype, "token ids are integers: use ids.long().")
        if ids.device.type == "cpu" and not torch.compiler.is_compiling():  # elsewhere it would wait for the device
            low, high = (bound.item() for bound in torch.aminmax(ids))
            require(0 <= low and high < vocab_size, "ids", (low, high), f"must lie in 0 .. {vocab_size - 1}.")

    def _who_sees_whom(
        self,
        batch: int,
        t: int,
        past: int,
        attention_mask: Tensor | None,
        cache: KVCache | None,
        device: torch.device,
    ) -> tuple[Tensor, Tensor | None, bool]:
        """The mask (B or 1, 1, T, S), the real slots (B, S) or None, and whether nothing but causality forbids."""
        if self.causal:
            allowed = causal_mask(t, past + t, device)
        else:
            allowed = torch.ones(1, 1, t, past + t, dtype=torch.bool, device=device)
        new, old = None, None if cache is None else cache.allowed
        if attention_mask is not None:
            if attention_mask.is_floating_point():  # of 0 and -inf, to be added to logits, it would be read backwards
                zero_or_one = ((attention_mask == 0) | (attention_mask == 1)).all().item()
                remedy = "must be True or 1 where a token is real; an additive mask says the opposite: pass mask == 0."
                require(zero_or_one, "attention_mask", attention_mask.dtype, remedy)
            mask = attention_mask.bool().to(device)
            shape = tuple(mask.shape)
            if mask.ndim == 2:
                require(shape == (batch, t), "attention_mask", shape, f"must be (batch, seq_len) = {(batch, t)}.")
                new = mask
            else:
                fits = mask.ndim == 4 and shape[0] in (1, batch) and shape[1:] == (1, t, past + t)
                remedy = f"must be {(batch, t)} for padding, or (1 or {batch}, 1, {t}, {past + t}) for any pattern."
                require(fits, "attention_mask", shape, remedy)
                allowed = allowed & mask
                sees = allowed.any(-1).all().item()
                require(sees, "attention_mask", shape, "every query must see at least one key: let it see itself.")
        if new is None and old is None:
            return allowed, None, attention_mask is None
        ones = torch.ones(batch, past + t, dtype=torch.bool, device=device)
        real = torch.cat([ones[:, :past] if old is None else old, ones[:, past:] if new is None else new], 1)
        # A padding query may look at itself, so that its softmax has something to sum over; nobody reads it.
        itself = torch.eye(t, past + t, dtype=torch.bool, device=device).roll(past, 1)
        return allowed & (real[:, None, None] | itself), real, False

    def forward(self, ids: Tensor, **kwargs: Any) -> Tensor:
        """Logits (B, T, out_dim). Keyword arguments as in :meth:`hidden`."""
        return self.head(self.hidden(ids, **kwargs)[0])

    @torch.no_grad()
    def attention_weights(self, ids: Tensor, **kwargs: Any) -> Tensor:
        """Attention weights of every layer, (layers, B, H, T, S). Keyword arguments as in :meth:`hidden`."""
        return torch.stack(self.hidden(ids, need_weights=True, **kwargs)[1])


def _cat(old: Tensor, new: Tensor) -> Tensor:
    """Concatenate positions along the sequence, broadcasting a batch axis of 1; one number stands for all axes."""
    if old.ndim != new.ndim:  # text after an image: M-RoPE takes both kinds
        axes = max(old, new, key=lambda p: p.ndim).shape[-1]
        old, new = (p if p.ndim == 3 else p[..., None].expand(*p.shape, axes) for p in (old, new))
    batch = max(old.shape[0], new.shape[0])
    return torch.cat([p.expand(batch, *p.shape[1:]) for p in (old, new)], dim=1)


class CausalLM(Transformer):
    """Next-token language model: logits (B, T, vocab_size)."""

    @torch.no_grad()
    def generate(self, ids: Tensor, n_tokens: int, cache: KVCache | None = None) -> Tensor:
        """Greedy continuation of ``ids`` (B, T) by ``n_tokens``: (B, T + n_tokens). With or without a cache.

        Raises:
            ValueError: on embeddings instead of ids, or ``n_tokens`` below 1.
        """
        positive_int("n_tokens", n_tokens)
        require(ids.ndim == 2, "ids", tuple(ids.shape), "pass token ids (batch, seq_len).")
        out = ids
        for _ in range(n_tokens):
            logits = self(out if cache is None else out[:, len(cache) :], cache=cache)
            out = torch.cat([out, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        return out


class Encoder(Transformer):
    """Bidirectional encoder. ``pooled`` gives one prediction a sequence: the mean over tokens, then the head."""

    causal = False

    def pooled(self, ids: Tensor, **kwargs: Any) -> Tensor:
        """Logits of the whole sequence, (B, out_dim). With a mask (B, T) the mean runs over real tokens only.

        A mask (B or 1, 1, T, S) does not say which tokens are real: the mean then runs over all.

        Raises:
            ValueError: on a sequence without a real token, and as in :meth:`hidden`.
        """
        x = self.hidden(ids, **kwargs)[0]
        real = kwargs.get("attention_mask")
        if real is None or real.ndim != 2:
            return self.head(x.mean(1))
        real = real[..., None].to(x.dtype)
        count = real.sum(1)
        require(bool(count.all()), "attention_mask", tuple(real.shape[:2]), "every sequence needs a real token.")
        return self.head((x * real).sum(1) / count)
