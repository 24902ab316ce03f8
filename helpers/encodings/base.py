"""The contract between a positional encoding and a transformer.

Position can enter a transformer at three main doors and two side entrances. The model knows only this
interface; an encoding knows nothing about the model.

=============  ==================================================================================
``prepare``    once a forward pass: turn positions into angles, buckets or biases (the *state*)
``embed``      door 1, the embeddings:        x -> x
``rotate``     door 2, queries and keys:      q, k -> q, k
``bias``       door 3, the attention logits:  logits + bias, after scaling
``values``     side entrance, the values:     an extra term of the attention output
``allowed``    side entrance, the mask:       given to ``prepare``; True where attention is allowed
=============  ==================================================================================

Shapes: B batch, T queries, S keys, H heads, H_kv key heads, D head_dim.
"""

from __future__ import annotations

import numbers
from typing import Any

import torch
from torch import Tensor, nn

from ..validate import positive_int, require


class Encoding(nn.Module):
    """No position at all: every hook is the identity. Every scheme overrides the doors it uses.

    Attributes:
        scale: softmax scale of the attention logits. None means 1/sqrt(head_dim).
        needs_weights: True if ``values`` is used. The model must then form the attention weights explicitly.
        axes: coordinates of a position: 1 takes positions (B or 1, T), n > 1 takes (B or 1, T, n) as well or instead.
        d_model, n_heads, head_dim, n_layers: what a scheme was built for, as far as it has them; a model of another
            shape refuses the scheme, because broadcasting would hide the misfit.
    """

    scale: float | None = None
    needs_weights: bool = False
    axes: int = 1

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Any:
        """Compute, once a forward pass, whatever the other hooks need.

        Args:
            q_pos: positions of the queries, integers (B or 1, T), or (B or 1, T, axes) for several axes.
            k_pos: positions of the keys, integers (B or 1, S), or (B or 1, S, axes).
            allowed: bool (B or 1, 1, T, S), True where a query may attend to a key.

        Returns:
            The state handed to every other hook of the same forward pass.
        """
        return None

    def embed(self, x: Tensor, state: Any) -> Tensor:
        """Door 1. x: (B, T, d_model) token embeddings; returns the same shape."""
        return x

    def rotate(self, q: Tensor, k: Tensor, state: Any, layer: int) -> tuple[Tensor, Tensor]:
        """Door 2. q: (B, H, T, D), k: (B, H_kv, S, D); returns both, of one common last width."""
        return q, k

    def bias(self, q: Tensor, k: Tensor, state: Any, layer: int) -> Tensor | None:
        """Door 3. q: (B, H, T, D) and k: (B, H, S, D), both before door 2.

        Returns None, or a tensor broadcastable to (B, H, T, S), added to the logits after scaling.
        """
        return None

    def values(self, weights: Tensor, state: Any, layer: int) -> Tensor | None:
        """Side entrance. weights: (B, H, T, S); returns None or a term (B, H, T, D) of the attention output."""
        return None

    def reset_tables(self) -> None:
        """Make again what no state dict holds. A model calls it after ``to_empty``, which leaves memory unset.

        The schemes of this folder have nothing to make again: their constants are float64 on the CPU, neither
        parameters nor buffers, whatever the default device is. No ``to_empty`` and no change of dtype or device
        reaches them.
        A scheme with non-persistent buffers fills them here.
        """

    @staticmethod
    def distance(q_pos: Tensor, k_pos: Tensor) -> Tensor:
        """Signed distance key minus query, (B or 1, T, S): negative where the key lies in the past."""
        return k_pos[:, None, :] - q_pos[:, :, None]


class NoEncoding(Encoding):
    """Nothing at any door ("NoPE"). With a causal mask a model can still find out where it is: see notebook 01."""


LARGEST = 1000.0
"""What logits may be multiplied by. No published model comes near; far beyond it they overflow and give NaN."""

FLOAT64_DEVICES = ("cpu", "cuda", "meta")
"""Types of devices known to compute in float64. Apple's GPUs ("mps") do not, nor does every accelerator."""


def in_float64(position_ids: Tensor) -> Tensor:
    """position_ids as float64, on their own device if it computes in float64, else on the CPU: the same shape.

    Angles need it: at position 100,000 float32 is off by 4e-3 radians. Hand the result back as ``.float().to(device)``,
    in this order, so that no float64 number arrives at a device without.
    """
    here = position_ids.device.type in FLOAT64_DEVICES
    return (position_ids if here else position_ids.cpu()).double()


def positions(seq_len: int, offset: int = 0, device: torch.device | str | None = None) -> Tensor:
    """Integer positions offset .. offset + seq_len - 1, shape (1, seq_len).

    Integers, never floats in the dtype of the input: in bfloat16 the positions 256 and 257 are the same number.
    ValueError on a negative length or an offset that is no integer.
    """
    positive_int("seq_len", seq_len, at_least=0)
    whole = isinstance(offset, numbers.Integral) and not isinstance(offset, bool)
    require(whole, "offset", offset, "must be an integer.")
    return torch.arange(offset, offset + seq_len, device=device)[None]
