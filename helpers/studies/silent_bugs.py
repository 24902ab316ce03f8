"""What silent bugs of a caller cost a trained model: a mask or ``position_ids`` forgotten, with padding, with packed
documents, in decoding (notebook 04). Nothing is raised by any of them; each is given as loss added to the right way.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model import CausalLM, KVCache


@torch.no_grad()
def _loss(model: CausalLM, ids: Tensor, targets: Tensor, start: int = 0, **kwargs: Tensor) -> float:
    """Mean loss from position ``start`` on."""
    logits = model(ids, **kwargs)[:, start:]
    return F.cross_entropy(logits.transpose(1, 2), targets[:, start:]).item()


def left_padding(model: CausalLM, inputs: Tensor, targets: Tensor, pad: int = 24) -> dict[str, float]:
    """Prompts of 40 tokens behind ``pad`` slots of padding.

    Args:
        model: a trained language model.
        inputs, targets: (batch, 64) token ids.
        pad: slots of padding.

    Returns:
        bug -> loss added.
    """
    empty = torch.zeros(len(inputs), pad, dtype=torch.long)
    x, y = torch.cat([empty, inputs[:, :40]], 1), torch.cat([empty, targets[:, :40]], 1)
    mask = (torch.arange(pad + 40) >= pad).expand(len(x), -1)
    ids = (mask.long().cumsum(1) - 1).clamp(min=0)  # 0 at the first real token
    right = _loss(model, x, y, pad, attention_mask=mask, position_ids=ids)
    return {
        "left padding: no position_ids": _loss(model, x, y, pad, attention_mask=mask) - right,
        "left padding: no mask": _loss(model, x, y, pad, position_ids=ids) - right,
    }


def packing(model: CausalLM, inputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Two documents of 32 tokens in one row; the loss is that of the second. Arguments and result as above."""
    half = len(inputs) // 2
    x = torch.cat([inputs[:half, :32], inputs[half:, :32]], 1)
    y = torch.cat([targets[:half, :32], targets[half:, :32]], 1)
    document = torch.arange(64) // 32
    mask, ids = (document[:, None] == document)[None, None], (torch.arange(64) % 32)[None]
    right = _loss(model, x, y, 32, attention_mask=mask, position_ids=ids)
    return {
        "packed: no position_ids": _loss(model, x, y, 32, attention_mask=mask) - right,
        "packed: no mask": _loss(model, x, y, 32, position_ids=ids) - right,
        "packed: neither": _loss(model, x, y, 32) - right,
    }


@torch.no_grad()
def decoding(model: CausalLM, inputs: Tensor, targets: Tensor, start: int = 32) -> dict[str, float]:
    """Token by token with a cache from ``start`` on, at wrong positions. Arguments and result as above."""

    def loss(place: Callable[[int], int] | None) -> float:  # the position given to token i; None counts on
        cache = KVCache(after_rotation=True)
        model(inputs[:, :start], cache=cache)
        steps = [
            model(inputs[:, i : i + 1], cache=cache, position_ids=place and torch.tensor([[place(i)]]))
            for i in range(start, inputs.shape[1])
        ]
        return F.cross_entropy(torch.cat(steps, 1).transpose(1, 2), targets[:, start:]).item()

    right = loss(None)
    return {
        "decoding: every new token at 0": loss(lambda i: 0) - right,
        "decoding: a gap of 24": loss(lambda i: i + 24) - right,
    }


def costs(model: CausalLM, inputs: Tensor, targets: Tensor) -> dict[str, float]:
    """All seven bugs. Arguments and result as of :func:`left_padding`."""
    return {
        name: cost for bug in (left_padding, packing, decoding) for name, cost in bug(model, inputs, targets).items()
    }
