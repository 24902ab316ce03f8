r"""FIRE: functional interpolation for relative positions (Li et al. 2023, arXiv 2310.04418). Door 3: the logits.

.. math::

    b_{ij} = f_\theta\!\left(\frac{\psi(|i - j|)}{\psi(\max(L, i))}\right), \qquad \psi(x) = \log(c\,x + 1)

f is a small network with one output per head; c and the threshold L are learned. Distance is measured as a share of the
query's own position, so the network's input stays in [0, 1] at any length, and the bias depends on i as well as i - j.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..validate import number, positive_int, positive_number
from .base import Encoding


def fire_input(q_pos: Tensor, k_pos: Tensor, c: Tensor | float, threshold: Tensor | float) -> Tensor:
    """psi(|i - j|) / psi(max(threshold, i)): positions (B, T) and (B, S) to (B, T, S), in [0, 1] for keys of the past.

    c and threshold are above 0; the threshold is in tokens.
    """
    c = torch.as_tensor(c, device=q_pos.device)
    c = c.to(torch.promote_types(c.dtype, torch.float32))  # positions in bfloat16 would collide from 257
    far = torch.maximum(q_pos.to(c.dtype), torch.as_tensor(threshold, dtype=c.dtype, device=q_pos.device))
    whole = torch.log1p(c * far).clamp(min=torch.finfo(c.dtype).tiny)  # at position 0, a learned threshold of 0: 0 / 0
    return torch.log1p(c * Encoding.distance(q_pos, k_pos).abs()) / whole[:, :, None]


class FIRE(Encoding):
    """Adds a learned function of relative distance to the logits. Any length; all layers share it.

    Initial values as in the third-party code of DAPE (models/positional_embeddings.py): c = 0.1, threshold as given,
    network 1 -> width -> heads with PyTorch's default initial weights.
    """

    def __init__(self, n_heads: int, threshold: float = 32.0, width: int = 32, c: float = 0.1):
        """n_heads: outputs. threshold: initial L in tokens. width: hidden units. c: above 0. ValueError otherwise."""
        super().__init__()
        self.threshold = positive_number("threshold", threshold)
        self.c = nn.Parameter(torch.tensor(number("c", c, above=0, at_most=1e20)))
        self.multiplier = nn.Parameter(torch.tensor(1.0))
        self.n_heads = positive_int("n_heads", n_heads)
        positive_int("width", width)
        self.network = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, n_heads))

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        share = fire_input(q_pos, k_pos, self.c.abs(), (self.multiplier * self.threshold).abs())
        # In bfloat16 a share has 8 bits: distances 4,000 and 4,010 would be one. The network runs as wide as the share.
        wide = {name: weight.to(share.dtype) for name, weight in self.network.named_parameters()}
        return functional_call(self.network, wide, share[..., None]).permute(0, 3, 1, 2)  # (B, T, S, H) -> (B, H, T, S)

    def bias(self, q: Tensor, k: Tensor, state: Tensor, layer: int) -> Tensor:
        return state
