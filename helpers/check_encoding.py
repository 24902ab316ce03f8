"""Eight checks of a model's positions. Copy this file into your own repository: it needs PyTorch and nothing else.

:func:`check_encoding` runs the model and asks whether it is consistent: positions arrive, only distances count, a cache
changes nothing. :func:`check_rule` asks whether the rotation is the one that the configuration names, which no test of
consistency can see: NTK-aware frequencies under the name of YaRN are a perfectly consistent model.
:func:`from_transformers` supplies what both need, for models of transformers whose attention is built like Llama's.
"""

from __future__ import annotations

import inspect
import math

import torch


@torch.no_grad()
def check_encoding(run, vocab_size, new_cache, length=48, tolerance=1e-2):
    """Six checks of a causal model with relative positions: {check: passed}.

    Where positions are moved, a last token far away pins the length of the text: a rule whose frequencies follow the
    length then has the same ones in all runs. Absolute encodings fail the two checks of distance by nature; dynamic NTK
    fails that of the cache beyond its trained length.

    Args:
        run: ``run(ids, position_ids=None, attention_mask=None, cache=None)`` returns logits (batch, tokens, ids).
        vocab_size: number of token ids.
        new_cache: makes an empty cache.
        length: in tokens, within the trained length.
        tolerance: largest difference, in standard deviations of the logits.
    """
    ids = torch.randint(vocab_size, (2, length), generator=torch.Generator().manual_seed(0))
    positions = torch.arange(length)[None]
    pad = torch.zeros(2, 5, dtype=torch.long)
    padded, mask = torch.cat([pad, ids], 1), torch.cat([pad, torch.ones_like(ids)], 1).bool()
    padded_positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    whole, cache = run(ids), new_cache()
    steps = torch.cat([run(ids[:, t : t + 1], cache=cache) for t in range(length)], 1)
    far = 5000

    def moved(by):  # the last token pins the length; no other can see it
        at = torch.cat([positions + by, torch.tensor([[far + length]])], 1)
        return run(torch.cat([ids, ids[:, :1]], 1), position_ids=at)[:, :-1]

    def same(a, b):
        return bool((a - b).abs().max() < tolerance * whole.std())

    return {
        "positions arrive": not same(run(ids, position_ids=3 * positions), whole),
        "rows of a batch are alike": same(run(ids[:1].expand(3, -1)), whole[:1]),
        "only distances count": same(moved(7), moved(0)),
        "cache equals recomputation": same(steps, whole),
        "left padding changes nothing": same(run(padded, padded_positions, mask)[:, 5:], whole),
        "far away is exact": same(moved(far), moved(0)),
    }


def expected(rope, width, length):
    """What ``rope_parameters`` ask for: frequencies, factor on cos and sin, factor on every logit.

    width: rotated channels of a head. length: current length in tokens, for the dynamic kind.
    """
    kind, base, s = rope["rope_type"], rope["rope_theta"], rope.get("factor") or 1.0
    trained, pair = rope["original_max_position_embeddings"], torch.arange(width // 2).double()
    if kind == "dynamic":
        base *= (s * max(length / trained, 1) - (s - 1)) ** (width / (width - 2))
    theta = base ** (-2 * pair / width)
    turns = trained * theta / (2 * math.pi)
    if kind == "linear":
        return theta / s, 1.0, 1.0
    if kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        keep = ((turns - low) / (high - low)).clamp(0, 1)
        return keep * theta + (1 - keep) * theta / s, 1.0, 1.0
    if kind == "yarn":
        betas = rope.get("beta_fast") or 32, rope.get("beta_slow") or 1
        low, high = (width * math.log(trained / (2 * math.pi * r)) / (2 * math.log(base)) for r in betas)
        if rope.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, width - 1)
        keep = 1 - ((pair - low) / max(high - low, 0.001)).clamp(0, 1)
        m, m_all = (0.1 * (rope.get(key) or 0) * math.log(s) + 1 for key in ("mscale", "mscale_all_dim"))
        both = rope.get("mscale") and rope.get("mscale_all_dim")  # DeepSeek's two
        factor = rope.get("attention_factor") or (m / m_all if both else 0.1 * math.log(s) + 1)
        return keep * theta + (1 - keep) * theta / s, factor, m_all**2
    if kind in ("default", "dynamic"):
        return theta, 1.0, 1.0
    raise ValueError(f"rope_type={kind!r}: write down what it asks for, here.")


@torch.no_grad()
def check_rule(logit, head_dim, rope, rotated=slice(None), tolerance=1e-2):
    """Two checks of the rotation against its configuration: {check: passed}.

    With one channel set in ``q`` and the same in ``k``, a logit is a factor times a cosine: frequencies and temperature
    can be read off, wherever the code puts them.

    Args:
        logit: ``logit(q, k, m, n)`` returns the logits of rows ``q`` at position ``m`` against rows ``k`` at position
            ``n``, softmax scale included.
        head_dim: width of a head.
        rope: the rotary dictionary, with ``original_max_position_embeddings``.
        rotated: the channels that turn.
        tolerance: largest difference of a cosine, and of a temperature from 1.
    """
    eye, turns = torch.eye(head_dim), torch.zeros(head_dim, dtype=torch.bool)
    turns[rotated] = True
    width, start = int(turns.sum()), logit(eye, eye, 0, 0).diagonal()
    longest = int((rope.get("factor") or 1) * rope["original_max_position_embeddings"]) - 1
    right = True
    for distance in (2**n for n in range(longest.bit_length())):
        theta, on_turning, on_all = expected(rope, width, distance + 1)
        cos = (logit(eye, eye, distance, 0).diagonal() / start)[turns].double()
        wanted = (distance * theta).cos()
        layouts = wanted.repeat(2), wanted.repeat_interleave(2)  # half, interleaved
        right &= any(bool((cos - w).abs().max() < tolerance) for w in layouts)
    gain = on_all * torch.where(turns, on_turning**2, 1.0)
    return {
        "frequencies as configured": right,
        "temperature as configured": bool((start * head_dim**0.5 / gain - 1).abs().max() < tolerance),
    }


def from_transformers(lm):
    """(run, logit, head_dim, rope) of a model of transformers; ``DynamicCache`` makes its empty caches."""
    attention, rotary = lm.model.layers[0].self_attn, lm.model.rotary_emb
    rotate = inspect.getmodule(type(attention)).apply_rotary_pos_emb

    def run(ids, position_ids=None, attention_mask=None, cache=None):
        if position_ids is not None:
            position_ids = position_ids.expand(len(ids), -1)
        given = {"position_ids": position_ids, "attention_mask": attention_mask, "past_key_values": cache}
        return lm(ids, **given, use_cache=cache is not None).logits

    def logit(q, k, m, n):
        cos, sin = rotary(q, position_ids=torch.tensor([[m, n]]))
        q, _ = rotate(q[None, None], q[None, None], cos[:, :1], sin[:, :1])
        _, k = rotate(k[None, None], k[None, None], cos[:, 1:], sin[:, 1:])
        return (q @ k.mT)[0, 0] * attention.scaling

    trained = {"original_max_position_embeddings": lm.config.max_position_embeddings}
    return run, logit, attention.head_dim, {**trained, **lm.config.rope_parameters}
