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
from .validate import positive_int, readable, require


def causal_mask(q_len: int, k_len: int, device: torch.device | str | None = None) -> Tensor:
    """True where query i may see key j; the queries are the last ``q_len`` of ``k_len`` slots. (1, 1, T, S) bool."""
    mask = torch.ones(q_len, k_len, dtype=torch.bool, device=device)
    return mask.tril(k_len - q_len)[None, None]


class AttentionMask:
    """Who may see whom in one forward pass, and what the fused kernel takes for it.

    It keeps the last bias that a layer handed in, merged with the mask: a scheme that returns one tensor for all layers
    pays for one merge.

    Attributes:
        allowed: bool (B or 1, 1, T, S).
        is_causal: ``allowed`` is the plain causal square, so the kernel can make it itself.
        is_full: ``allowed`` is True everywhere, so no mask is needed.
    """

    def __init__(self, allowed: Tensor, is_causal: bool = False, is_full: bool = False):
        self.allowed, self.is_causal, self.is_full = allowed, is_causal, is_full
        self._bias: Tensor | None = None
        self._merged: Tensor | None = None

    def merge(self, bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """The ``attn_mask`` of ``scaled_dot_product_attention``: None, ``allowed``, or the bias with -inf elsewhere."""
        if bias is None:
            return None if self.is_causal or self.is_full else self.allowed
        if self._bias is not bias:
            self._bias, self._merged = bias, bias.to(dtype).masked_fill(~self.allowed, -math.inf)
        return self._merged


class Context(NamedTuple):
    """What one forward pass shares between its layers. Only the encoding looks into the two states."""

    encoding: Encoding
    state: Any  # what its ``prepare`` returned
    rotation: Any  # the same, or for door 2 alone another: while reading a cache of keys already rotated
    mask: AttentionMask


class KVCache:
    """Keys *before* door 2, values and positions, one entry per layer: each read applies door 2 to all keys afresh.

    Args:
        after_rotation: store keys *after* door 2 instead, as transformers does. Cheaper, and wrong as soon
            as a scheme's frequencies change with length (dynamic NTK): notebook 06 shows it.
    """

    def __init__(self, after_rotation: bool = False):
        self.after_rotation = after_rotation
        self.k_pos: Tensor | None = None  # (B or 1, S) or (B or 1, S, axes)
        self.real: Tensor | None = None  # (B, S) bool: slots that hold a real token; None: all of them
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
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

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
        # Logits are float32 at least, so that a bias is never rounded: in bfloat16, 4,000 and 4,001 are one number.
        # (A float32 mask for half-precision queries would do on a CPU; some kernels of GPUs refuse or misread it.)
        wide = torch.promote_types(v.dtype, torch.float32)

        if need_weights or enc.needs_weights:
            logits = q_rot.to(wide) @ k_rot.to(wide).transpose(-1, -2) * scale  # (B, H, T, S)
            if bias is not None:
                logits = logits + bias
            logits = logits.masked_fill(~ctx.mask.allowed, -math.inf)
            blind = (logits == -math.inf).all(-1, keepdim=True)  # sees no key at all: no weight, as in the fused kernel
            weights = logits.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)
            mixed = weights.to(v.dtype) @ v
            extra = enc.values(weights, state, layer)  # side entrance
            mixed = mixed if extra is None else mixed + extra.to(v.dtype)
        else:
            weights, dtype = None, v.dtype if bias is None else wide
            mask = ctx.mask.merge(bias, dtype)
            # Fused kernels want one width for keys and values; PoPE's keys are twice as wide. Zeros change no sum.
            padded = F.pad(v, (0, q_rot.shape[-1] - v.shape[-1]))
            mixed = F.scaled_dot_product_attention(
                q_rot.to(dtype), k_rot.to(dtype), padded.to(dtype), mask, is_causal=mask is None and ctx.mask.is_causal,
                scale=scale,
            )[..., : v.shape[-1]].to(v.dtype)  # fmt: skip
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, t, -1)), weights if need_weights else None


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

    Token embeddings start with unit variance (the default of ``nn.Embedding``). The code of Vaswani et al.
    (tensor2tensor) starts them at variance 1/d_model and multiplies by sqrt(d_model): the same scale relative to a
    sinusoidal table.
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
        self.token_embedding = nn.Embedding(vocab_size, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, n_kv_heads, i) for i in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.lm_head = nn.Linear(d_model, out_dim, bias=False)
        shape = {"d_model": d_model, "n_heads": n_heads, "head_dim": d_model // n_heads, "n_layers": n_layers}
        for name, value in shape.items():  # broadcasting would hide most misfits
            stated = getattr(self.encoding, name, value)
            require(stated == value, f"encoding.{name}", stated, f"this model has {name}={value}; build it for that.")

    def to_empty(self, *, device: torch.device | str | None, recurse: bool = True) -> Transformer:
        """As for any module; then encodings make again what no state dict holds (:meth:`Encoding.reset_tables`).

        Build the model under ``torch.device("meta")``, call this, then ``load_state_dict``.
        """
        super().to_empty(device=device, recurse=recurse)
        for module in self.modules():
            if isinstance(module, Encoding):
                module.reset_tables()
        return self

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
            position_ids: (B or 1, T), or (B or 1, T, axes). By default 0 .. T-1; after a cache they go on from its
                largest id of a real token, which is not its length if a picture or padding came before.
            attention_mask: bool (B, T), True for real tokens (padding), or (B or 1, 1, T, S) for any pattern
                (packed documents). The causal mask is applied on top, by slot, never by position id.
            cache: keys and values of earlier tokens; new ones are added to it.
            need_weights: also return the attention weights of every layer.

        Returns:
            (B, T, d_model), and a list of (B, H, T, S), empty unless ``need_weights``.

        Raises:
            ValueError: on ids, positions, a mask or a cache that do not fit, or whatever the encoding refuses. What can
                be known only by reading numbers (ids outside the vocabulary, positions that are not finite, a query
                that sees nothing) goes unnoticed on the meta device and in a compiled model.
        """
        self._check_ids(ids)
        past = 0 if cache is None else len(cache)
        if past:
            kept, batch = cache.layers[0][0].shape[0], ids.shape[0]
            require(kept == batch, "cache", f"{kept} sequences", f"ids have {batch}; start a new KVCache().")
        q_pos = self._positions(ids, position_ids, cache)
        k_pos = _cat(cache.k_pos, q_pos) if past else q_pos
        mask, real = self._mask(ids, attention_mask, cache)
        state = rotation = self.encoding.prepare(q_pos, k_pos, mask.allowed)
        if past and cache.after_rotation:  # door 2 turns the new keys only: the old ones were turned on their way in
            rotation = self.encoding.prepare(q_pos, q_pos, mask.allowed[..., past:])
        ctx = Context(self.encoding, state, rotation, mask)
        if cache is not None:
            cache.k_pos, cache.real = k_pos, real

        x = self.token_embedding(ids) if ids.ndim == 2 else ids
        x = self.encoding.embed(x, state)  # door 1
        weights = []
        for block in self.blocks:
            x, w = block(x, ctx, cache, need_weights)
            weights.append(w)
        return self.norm(x), weights if need_weights else []

    def _check_ids(self, ids: Tensor) -> None:
        """ValueError unless ids are (B, T) token ids of the vocabulary, or (B, T, d_model) embeddings."""
        vocab_size, d_model = self.token_embedding.weight.shape
        require(ids.ndim in (2, 3), "ids", tuple(ids.shape), "pass token ids (batch, seq_len).")
        require(0 not in ids.shape[:2], "ids", tuple(ids.shape), "pass at least one token.")
        if ids.ndim == 3:
            require(ids.shape[2] == d_model, "ids", tuple(ids.shape), f"embeddings must be {d_model} wide.")
            return
        require(ids.dtype in (torch.int64, torch.int32), "ids", ids.dtype, "token ids are integers: use ids.long().")
        if ids.device.type == "cpu" and readable(ids):  # elsewhere it would wait for the device
            low, high = (bound.item() for bound in torch.aminmax(ids))
            require(0 <= low and high < vocab_size, "ids", (low, high), f"must lie in 0 .. {vocab_size - 1}.")

    def _positions(self, ids: Tensor, position_ids: Tensor | None, cache: KVCache | None) -> Tensor:
        """Positions of the queries on the device of ids, checked: (B or 1, T), or (B or 1, T, axes)."""
        (batch, t), axes = ids.shape[:2], self.encoding.axes
        if position_ids is None:
            new = positions(t, device=ids.device)
            return new if not cache else _continue(cache.k_pos, cache.real, new)
        shape, remedy = tuple(position_ids.shape), f"must be (1 or {batch}, {t}{f', {axes}' * (axes > 1)})"
        fits = len(shape) in (2, 3) and shape[0] in (1, batch) and shape[1] == t
        fits = fits and (len(shape) == 2 or (axes > 1 and shape[2] == axes))
        require(fits, "position_ids", shape, f"{remedy} for this encoding.")
        real_numbers = position_ids.is_floating_point()
        wide = real_numbers or position_ids.dtype in (torch.int32, torch.int64)
        require(wide, "position_ids", position_ids.dtype, "distances would wrap around: use position_ids.long().")
        if real_numbers and readable(position_ids):
            finite = bool(position_ids.isfinite().all())
            require(finite, "position_ids", "inf or nan", "every position is a finite number.")
        return position_ids.to(ids.device)

    def _mask(
        self, ids: Tensor, attention_mask: Tensor | None, cache: KVCache | None
    ) -> tuple[AttentionMask, Tensor | None]:
        """Who sees whom, and which slots hold a real token, bool (B, S), or None if all do."""
        (batch, t), device = ids.shape[:2], ids.device
        past, real = (0, None) if cache is None else (len(cache), cache.real)
        slots = past + t
        padding, pattern = _padding_or_pattern(attention_mask, batch, t, slots, device)
        allowed = torch.ones(1, 1, t, slots, dtype=torch.bool, device=device)
        if self.causal:
            allowed = causal_mask(t, slots, device)
        if pattern is not None:
            allowed = allowed & pattern
            sees = not readable(allowed) or bool(allowed.any(-1).all())
            remedy = "every query must see at least one key: let it see itself."
            require(sees, "attention_mask", tuple(pattern.shape), remedy)
        if padding is not None or real is not None:
            ones = torch.ones(batch, slots, dtype=torch.bool, device=device)
            old, new = ones[:, :past] if real is None else real, ones[:, past:] if padding is None else padding
            real = torch.cat([old, new], 1)
            # A padding query may look at itself, so that its softmax has something to sum over; nobody reads it.
            itself = torch.eye(t, slots, dtype=torch.bool, device=device).roll(past, 1)
            allowed = allowed & (real[:, None, None] | itself)
        plain = pattern is None and real is None
        return AttentionMask(allowed, plain and self.causal and not past, plain and (not self.causal or t == 1)), real

    def forward(
        self,
        ids: Tensor,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Logits (B, T, out_dim). Arguments as in :meth:`hidden`."""
        return self.lm_head(self.hidden(ids, position_ids, attention_mask, cache)[0])

    @torch.no_grad()
    def attention_weights(
        self,
        ids: Tensor,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Attention weights of every layer, (layers, B, H, T, S). Arguments as in :meth:`hidden`."""
        return torch.stack(self.hidden(ids, position_ids, attention_mask, cache, need_weights=True)[1])


def _as_bool(attention_mask: Tensor) -> Tensor:
    """The mask as bool; ValueError on an additive one, of 0 and -inf, which would be read backwards."""
    if attention_mask.is_floating_point() and readable(attention_mask):
        zero_or_one = bool(((attention_mask == 0) | (attention_mask == 1)).all())
        remedy = "must be True or 1 where a token is real; an additive mask says the opposite: pass mask == 0."
        require(zero_or_one, "attention_mask", attention_mask.dtype, remedy)
    return attention_mask.bool()


def _padding_or_pattern(
    attention_mask: Tensor | None, batch: int, t: int, slots: int, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """The mask as bool in one of two places: real tokens (B, T), or a pattern (B or 1, 1, T, S). ValueError else."""
    if attention_mask is None:
        return None, None
    mask = _as_bool(attention_mask).to(device)
    shape, padding = tuple(mask.shape), (batch, t)
    fits = shape == padding or (mask.ndim == 4 and shape[0] in (1, batch) and shape[1:] == (1, t, slots))
    remedy = f"must be (batch, seq_len) = {padding}, or (1 or {batch}, 1, {t}, {slots}) for any pattern."
    require(fits, "attention_mask", shape, remedy)
    return (mask, None) if mask.ndim == 2 else (None, mask)


def _continue(before: Tensor, real: Tensor | None, steps: Tensor) -> Tensor:
    """Positions that go on after ``before``: largest id of a real token + 1 + ``steps``.

    Args:
        before: (B or 1, S) or (B or 1, S, axes).
        real: bool (B, S), or None if all are; a sequence without a real token goes on at 0.
        steps: (1, T), 0 .. T - 1.

    Returns:
        (B or 1, T), or (B or 1, T, axes) with equal coordinates.
    """
    ids = before if before.ndim == 2 else before.amax(-1)
    last = ids.amax(1)
    if real is not None:
        last = torch.where(real, ids, ids.amin()).amax(1)  # padding never has the largest id
        last = torch.where(real.any(1), last, -1)
    after = last[:, None] + 1 + steps
    return after if before.ndim == 2 else after[..., None].expand(*after.shape, before.shape[-1])


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
    def generate(
        self,
        ids: Tensor,
        n_tokens: int,
        cache: KVCache | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Greedy continuation of ``ids`` by ``n_tokens``: (B, T + n_tokens). With or without a cache.

        Args:
            ids: (B, T) token ids. A cache may hold the first of them already.
            n_tokens: at least 1.
            cache: read and filled; without one every step computes all tokens afresh.
            attention_mask: bool (B, T), True for real tokens. Pad on the left: the last token is what is continued.
            position_ids: of ``ids``, as in :meth:`hidden`. By default real tokens count from 0, padding not. New tokens
                go on from the largest id of a real token.

        Raises:
            ValueError: on embeddings instead of ids, ``n_tokens`` below 1, padding on the right, a cache that holds all
                of ``ids``, and as in :meth:`hidden`.
        """
        positive_int("n_tokens", n_tokens)
        require(ids.ndim == 2, "ids", tuple(ids.shape), "pass token ids (batch, seq_len).")
        (batch, t), past = ids.shape, 0 if cache is None else len(cache)
        require(past < t, "cache", f"{past} tokens", f"must hold fewer than ids ({t}): the last is read to go on.")
        real = None if attention_mask is None else _as_bool(attention_mask).to(ids.device)
        if real is not None:
            shape = tuple(real.shape)
            require(shape == (batch, t), "attention_mask", shape, f"must be (batch, seq_len) = {(batch, t)}.")
            ends = not readable(real) or bool(real[:, -1].all())
            require(ends, "attention_mask", "padding on the right", "pad on the left: the last token is continued.")
        elif past and cache.real is not None:
            real = torch.cat([cache.real, cache.real.new_ones(batch, t - past)], 1)
        if position_ids is not None:
            where = position_ids.to(ids.device)
        elif past:
            where = _cat(cache.k_pos, _continue(cache.k_pos, cache.real, positions(t - past, device=ids.device)))
        else:
            where = positions(t, device=ids.device) if real is None else (real.long().cumsum(1) - 1).clamp(min=0)
        one = positions(1, device=ids.device)
        for _ in range(n_tokens):
            start = 0 if cache is None else len(cache)
            seen = None if real is None else real[:, start:]
            logits = self(ids[:, start:], where[:, start:], seen, cache)
            ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], 1)
            where = _cat(where, _continue(where, real, one))
            real = None if real is None else torch.cat([real, real.new_ones(batch, 1)], 1)
        return ids


class Encoder(Transformer):
    """Bidirectional encoder. ``pooled`` gives one prediction per sequence: the mean over tokens, then the head."""

    causal = False

    def pooled(self, ids: Tensor, position_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        """Logits of the whole sequence, (B, out_dim). With a mask (B, T) the mean runs over real tokens only.

        A mask (B or 1, 1, T, S) does not say which tokens are real: the mean then runs over all.

        Raises:
            ValueError: on a sequence without a real token, and as in :meth:`hidden`.
        """
        x = self.hidden(ids, position_ids, attention_mask)[0]
        if attention_mask is None or attention_mask.ndim != 2:
            return self.lm_head(x.mean(1))
        real = attention_mask[..., None].to(x.dtype)
        count = real.sum(1)
        present = not readable(count) or bool(count.all())
        require(present, "attention_mask", tuple(real.shape[:2]), "every sequence needs a real token.")
        return self.lm_head((x * real).sum(1) / count)
