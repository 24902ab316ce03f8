r"""CoPE: contextual position encoding (Golovneva et al. 2024, arXiv 2405.18719). Door 3: the logits.

.. math::

    g_{ij} = \sigma\big(q_i^\top k_j / \sqrt{d}\big), \quad
    p_{ij} = \min\Big(\sum_{t=j}^{i} g_{it},\ P - 1\Big), \quad
    b_{ij} = q_i^\top e[p_{ij}]

The distance is *counted by the query itself*: each token between j and i counts as much as its gate is open. It is a
fraction, so the position vector e[p] is interpolated between its two neighbors. Causal attention only.

The gate takes the scaled logit, as in the authors' code (facebookresearch/RAM, projects/cope) and in x-transformers;
the formula in print has no scale. That code also divides b by sqrt(d), since it adds b before it divides, unless it is
run with ``--cope-nodiv``. Here b is added after the division: to carry a table e over from there, divide it by sqrt(d).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..validate import positive_int, positive_number
from .base import Encoding


def cope_positions(logits: Tensor, allowed: Tensor, max_pos: int) -> Tensor:
    """p_ij: logits (B, H, T, S) and allowed (bool, broadcastable) to counts (B, H, T, S) in [0, max_pos - 1].

    Counts are positions, so they are float32 at least: from 32 on, bfloat16 has them in steps of a quarter.
    """
    gates = logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid() * allowed
    return gates.flip(-1).cumsum(-1).flip(-1).clamp(max=max_pos - 1)  # sum from key j up to the query


def interpolate_positions(table: Tensor, counts: Tensor) -> Tensor:
    """table (B, H, T, P) of numbers at whole positions, read at counts (B, H, T, S) by linear interpolation."""
    low, high = counts.floor(), counts.ceil()
    share = counts - low
    return table.gather(-1, high.long()) * share + table.gather(-1, low.long()) * (1 - share)


class CoPE(Encoding):
    """Adds q_i . e[p_ij] to the logits, with a distance p_ij that depends on content. All heads and layers share e."""

    def __init__(self, head_dim: int, max_pos: int = 64, std: float = 0.0):
        """head_dim: width of a head. max_pos: rows of e. std: of their initial values (the code starts at zero).

        Raises:
            ValueError: on a bad argument.
        """
        super().__init__()
        self.max_pos = positive_int("max_pos", max_pos, at_least=2)
        self.head_dim = positive_int("head_dim", head_dim)
        self.table = nn.Parameter(torch.empty(self.max_pos, head_dim))
        nn.init.normal_(self.table, std=positive_number("std", std, at_least=0.0))

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        """Who counts: allowed keys that are not ahead of the query, bool (B or 1, 1, T, S)."""
        return allowed & (self.distance(q_pos, k_pos) <= 0)[:, None]

    def bias(self, q: Tensor, k: Tensor, state: Tensor, layer: int) -> Tensor:
        counts = cope_positions(q @ k.mT * q.shape[-1] ** -0.5, state, self.max_pos)
        return interpolate_positions(q @ self.table.T, counts)
