r"""Schemes put together: another one in every layer, or several in one layer. Whatever doors their parts use.

Published models mix. Gemma 3 has a base of 10,000 and a window in five of six layers, a base of a million in the sixth;
Cohere2 and Llama 4 rotate in three of four layers and leave the fourth without position; Mistral 7B as first published
has rotation and a window; UMT5 has a table like T5's for each layer. None of it needs a word in the model: a mixture
meets the same contract.

    local = Combined([RoPE(64), SlidingWindow(1024)])
    gemma3 = PerLayer([RoPE(64, 1e6) if layer % 6 == 5 else local for layer in range(26)])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..validate import require
from .base import Encoding, NoEncoding


class _Parts(Encoding):
    """What both mixtures share: the parts, once each, and what a model asks a scheme for."""

    def __init__(self, schemes: Sequence[Encoding]):
        super().__init__()
        listed = isinstance(schemes, Sequence) and not isinstance(schemes, str | bytes) and len(schemes) > 0
        require(listed, "schemes", schemes, "pass a list of encodings.")
        for scheme in schemes:
            require(isinstance(scheme, Encoding), "schemes", scheme, "pass encodings (see helpers.encodings.build).")
        self.parts = nn.ModuleList(dict.fromkeys(schemes))  # one that is listed twice is one part
        self.needs_weights = any(part.needs_weights for part in self.parts)
        self.axes = max(part.axes for part in self.parts)
        for name in ("d_model", "n_heads", "head_dim", "n_layers"):
            stated = {getattr(part, name) for part in self.parts if hasattr(part, name)}
            require(len(stated) < 2, "schemes", sorted(stated), f"are built for more than one {name}.")
            if stated:
                setattr(self, name, stated.pop())

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> tuple[Any, ...]:
        """One state per part."""
        for part in self.parts:
            one = q_pos.ndim == 2 or part.axes > 1 or isinstance(part, NoEncoding)
            remedy = f"{type(part).__name__} counts along one axis; pass (batch or 1, seq_len), as for text."
            require(one, "position_ids", tuple(q_pos.shape), remedy)
        return tuple(part.prepare(q_pos, k_pos, allowed) for part in self.parts)


def _enters_at_door_one(scheme: Encoding) -> bool:
    if isinstance(scheme, Combined):
        return any(_enters_at_door_one(part) for part in scheme.parts)
    return type(scheme).embed is not Encoding.embed


class PerLayer(_Parts):
    """One scheme per layer. A scheme that serves several layers is listed several times and prepared once.

    The model knows one softmax scale. Where the parts differ in theirs, each layer's queries make up for it.
    """

    def __init__(self, schemes: Sequence[Encoding]):
        """schemes: the first layer's first, as many as the model has layers.

        ValueError on anything else, on parts for different shapes, and on a scheme that enters at the embeddings: door
        1 is before all layers (:class:`Combined` takes it beside this one).
        """
        super().__init__(schemes)
        for part in self.parts:
            remedy = "adds to the embeddings, which are before all layers: Combined([it, PerLayer([...])])."
            require(not _enters_at_door_one(part), "schemes", type(part).__name__, remedy)
        order = list(self.parts)
        self.which = tuple(next(i for i, part in enumerate(order) if part is scheme) for scheme in schemes)
        self.n_layers = len(schemes)
        scales = {part.scale for part in self.parts}
        self.scale = scales.pop() if len(scales) == 1 else None

    def _part(self, layer: int) -> tuple[int, Encoding]:
        remedy = f"this encoding has {self.n_layers} layers; list one scheme for each of the model's."
        require(layer < self.n_layers, "layer", layer, remedy)
        return self.which[layer], self.parts[self.which[layer]]

    def rotate(self, q: Tensor, k: Tensor, state: tuple, layer: int) -> tuple[Tensor, Tensor]:
        i, part = self._part(layer)
        if part.scale != self.scale:  # then self.scale is None: the model will divide by sqrt(head_dim)
            q = q * (part.scale * q.shape[-1] ** 0.5)
        return part.rotate(q, k, state[i], layer)

    def bias(self, q: Tensor, k: Tensor, state: tuple, layer: int) -> Tensor | None:
        i, part = self._part(layer)
        return part.bias(q, k, state[i], layer)

    def values(self, weights: Tensor, state: tuple, layer: int) -> Tensor | None:
        i, part = self._part(layer)
        return part.values(weights, state[i], layer)


class Combined(_Parts):
    """Several schemes in the same layer: each door gets them in the order listed, and biases add up.

    A part that states a softmax scale states it for all. The model merges a bias with its mask once for all layers
    where one part has a bias; a sum of several is a new tensor in each layer.
    """

    def __init__(self, schemes: Sequence[Encoding]):
        """schemes: the parts. ValueError on anything else, parts for different shapes, or with different scales."""
        super().__init__(schemes)
        require(len(self.parts) == len(schemes), "schemes", len(schemes), "one scheme stands in the list twice.")
        scales = {part.scale for part in self.parts} - {None}
        require(len(scales) < 2, "schemes", sorted(scales), "state more than one softmax scale; a layer has one.")
        self.scale = scales.pop() if scales else None

    def embed(self, x: Tensor, state: tuple) -> Tensor:
        for part, own in zip(self.parts, state, strict=True):
            x = part.embed(x, own)
        return x

    def rotate(self, q: Tensor, k: Tensor, state: tuple, layer: int) -> tuple[Tensor, Tensor]:
        for part, own in zip(self.parts, state, strict=True):
            q, k = part.rotate(q, k, own, layer)
        return q, k

    def bias(self, q: Tensor, k: Tensor, state: tuple, layer: int) -> Tensor | None:
        return _sum(part.bias(q, k, own, layer) for part, own in zip(self.parts, state, strict=True))

    def values(self, weights: Tensor, state: tuple, layer: int) -> Tensor | None:
        return _sum(part.values(weights, own, layer) for part, own in zip(self.parts, state, strict=True))


def _sum(terms) -> Tensor | None:
    """The terms that are there added up: None without any, and a single one as it is."""
    found = [term for term in terms if term is not None]
    return sum(found[1:], start=found[0]) if found else None
