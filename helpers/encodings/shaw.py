r"""Relative position vectors (Shaw et al. 2018, arXiv 1803.02155, equations 3 and 4). Door 3, and the values.

.. math::

    e_{ij} = \frac{q_i^\top (k_j + a^K_{ij})}{\sqrt{d}}, \qquad
    z_i = \sum_j \alpha_{ij} (v_j + a^V_{ij}), \qquad a_{ij} = w_{\mathrm{clip}(j - i,\, k)}

Two tables of 2k + 1 vectors: distances -k .. k, everything further away sharing the vector at the edge.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..validate import flag, integers, positive_int, positive_number
from .base import Encoding


def clipped_index(distance: Tensor, max_distance: int) -> Tensor:
    """Row of the table, 0 .. 2k, for a signed distance key minus query (integers, any shape); k = max_distance."""
    return distance.clamp(-max_distance, max_distance) + max_distance


def relative_logits(q: Tensor, table: Tensor, index: Tensor) -> Tensor:
    """q_i . a_ij for every pair, without ever building the T x S vectors a_ij.

    Args:
        q: (B, H, T, D).
        table: (H, R, D), or (1, R, D) if the heads share it.
        index: (B or 1, T, S) rows, 0 .. R - 1.

    Returns:
        (B, H, T, S): each query meets the R rows once, then every pair looks its row up.
    """
    against_rows = q @ table.transpose(-1, -2)  # (B, H, T, R)
    return against_rows.gather(-1, index[:, None].expand(*against_rows.shape[:3], -1))


def relative_values(weights: Tensor, table: Tensor, index: Tensor) -> Tensor:
    """sum_j alpha_ij a_ij: the attention weights of a row of the table are added up first, then multiply it.

    Args:
        weights: (B, H, T, S) attention weights.
        table: (H or 1, R, D).
        index: (B or 1, T, S).

    Returns:
        (B, H, T, D).
    """
    by_row = weights.new_zeros(*weights.shape[:3], table.shape[1])
    by_row = by_row.scatter_add(-1, index[:, None].expand_as(weights), weights)  # (B, H, T, R)
    return by_row.to(table.dtype) @ table


class Shaw(Encoding):
    """Adds a learned vector of the clipped distance to every key and, as seen by every query, to every value."""

    def __init__(
        self,
        n_heads: int,
        head_dim: int,
        max_distance: int = 16,
        n_layers: int = 1,
        values: bool = True,
        std: float = 0.02,
    ):
        """Create tables of shape (n_layers, n_heads, 2 max_distance + 1, head_dim).

        Args:
            n_heads, head_dim: of the attention.
            max_distance: k, from which on distances are not told apart (16 in the paper's base model, 8 in the big).
            n_layers: tables of its own for each of this many layers (the paper); 1: all layers share one.
            values: also add vectors to the values. Needs explicit attention weights, and gains little in the paper.
            std: of the initial rows.

        Raises:
            ValueError: on a bad argument.
        """
        super().__init__()
        self.max_distance = positive_int("max_distance", max_distance)
        self.n_heads, self.head_dim = positive_int("n_heads", n_heads), positive_int("head_dim", head_dim)
        shape = (positive_int("n_layers", n_layers), n_heads, 2 * max_distance + 1, head_dim)
        std = positive_number("std", std, at_least=0.0)
        self.key_table = nn.Parameter(std * torch.randn(shape))
        self.needs_weights = flag("values", values)
        self.value_table = nn.Parameter(std * torch.randn(shape)) if values else None

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        distance = self.distance(integers("position_ids", q_pos), integers("position_ids", k_pos))
        return clipped_index(distance, self.max_distance)

    def bias(self, q: Tensor, k: Tensor, state: Tensor, layer: int) -> Tensor:
        table = self.key_table[layer % len(self.key_table)]
        return relative_logits(q, table.to(q.dtype), state) * q.shape[-1] ** -0.5

    def values(self, weights: Tensor, state: Any, layer: int) -> Tensor | None:
        if self.value_table is None:
            return None
        return relative_values(weights, self.value_table[layer % len(self.value_table)].to(weights.dtype), state)
