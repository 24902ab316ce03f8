r"""Relative attention of Transformer-XL (Dai et al. 2019, arXiv 1901.02860, section 3.3). Door 3: the attention logits.

.. math::

    A_{ij} = \frac{(q_i + u)^\top k_j + (q_i + v)^\top W_R\, r_{i-j}}{\sqrt{d}}

r_{i-j} is the sinusoidal row of a signed distance, the query's position less the key's. A query looks for a content
and for a distance; u and v, two vectors per head, are what every query looks for, whatever it is.

The paper's u and v carry no index of the layer, and the authors' PyTorch code has one of each for all layers; so has
this. Their TensorFlow code can untie them (``untie_r``, as for WikiText-103 and in XLNet). W_R belongs to a layer.
1/sqrt(d) stands in the code, not in the paper's equation. The memory of earlier segments is no part of the encoding: it
hands the attention more keys.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..validate import even_int, integers, number, positive_int, require
from .base import Encoding
from .rope import rotate_pairs
from .shaw import clipped_index, relative_logits
from .sinusoidal import sinusoidal_table


def wave_logits(x: Tensor, query_rows: Tensor, key_rows: Tensor) -> Tensor:
    """x_i . r_{i-j} of every pair, r the sinusoidal row [sin | cos] of a distance, without building the T x S rows.

    r_{i-j} is r_{-j} moved on by i, which turns each pair of a sine and a cosine (section 3.5 of Vaswani et al. 2017;
    :func:`~.sinusoidal.shift_matrix`). It is the same to turn x_i back, once per query, and to leave r_{-j} alone. So
    any positions will do, and no list of the distances among them is needed.

    Args:
        x: (B, H, T, W), W even.
        query_rows: sinusoidal rows of i in halves, (B or 1, 1, T, W).
        key_rows: those of -j, (B or 1, 1, S, W).

    Returns:
        (B, H, T, S), in the wider dtype of x and the rows.
    """
    sin, cos = query_rows.chunk(2, dim=-1)
    turned = rotate_pairs(x, cos, sin, "half")
    return turned @ key_rows.to(turned.dtype).transpose(-1, -2)


class TransformerXL(Encoding):
    """Every query meets a projection of the sinusoids of the distance, beside two learned vectors. Any length."""

    def __init__(
        self, d_model: int, n_heads: int, n_layers: int = 1, std: float = 0.02, max_distance: int | None = None
    ):
        """Create u and v (n_heads, head_dim) and the projections W_R (n_layers, n_heads, head_dim, d_model).

        Args:
            d_model, n_heads: of the model; d_model is even, it is the width of the sinusoidal rows too.
            n_layers: projections of its own for each of this many layers (the paper); 1: all layers share one.
            std: of the initial u, v and W_R (0.02 in the authors' code, 0.005 for their large model of WikiText-103).
            max_distance: further distances count as this one, on either side; None: every distance has its own row.
                The authors' ``clamp_len``: none while they train, one when they evaluate with longer contexts.

        Raises:
            ValueError: on a bad argument, and with ``max_distance`` at run time on positions that are no integers.
        """
        super().__init__()
        self.d_model = even_int("d_model", d_model, "a sine and a cosine share each frequency")
        require(d_model % positive_int("n_heads", n_heads) == 0, "n_heads", n_heads, f"must divide d_model={d_model}.")
        self.n_heads, self.head_dim = n_heads, d_model // n_heads
        self.max_distance = None if max_distance is None else positive_int("max_distance", max_distance)
        std = number("std", std, above=0, at_most=1)
        self.u = nn.Parameter(std * torch.randn(n_heads, self.head_dim))
        self.v = nn.Parameter(std * torch.randn(n_heads, self.head_dim))
        shape = (positive_int("n_layers", n_layers), n_heads, self.head_dim, d_model)
        self.projections = nn.Parameter(std * torch.randn(shape))

    def _rows(self, distance: Tensor) -> Tensor:
        """Sinusoidal rows in halves: (...,) to (..., d_model), float32."""
        return sinusoidal_table(distance, self.d_model, convention="halves")

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> tuple[Tensor, ...]:
        """What :func:`wave_logits` needs; with ``max_distance`` the row of each pair in a table of all distances."""
        if self.max_distance is None:
            return self._rows(q_pos)[:, None], self._rows(-k_pos)[:, None]
        distance = self.distance(integers("position_ids", q_pos), integers("position_ids", k_pos))
        return (clipped_index(distance, self.max_distance),)

    def bias(self, q: Tensor, k: Tensor, state: tuple[Tensor, ...], layer: int) -> Tensor:
        projection = self.projections[layer % len(self.projections)]
        any_content = self.u[:, None] @ k.transpose(-1, -2)  # (B, H, 1, S)
        seeking = q + self.v[:, None]
        if self.max_distance is None:
            by_distance = wave_logits(seeking @ projection, *state)
        else:  # clipped_index counts from the furthest key in the past
            back = torch.arange(self.max_distance, -self.max_distance - 1, -1, device=q.device)
            keys = self._rows(back).to(projection.dtype) @ projection.transpose(-1, -2)  # (H, rows, D)
            by_distance = relative_logits(seeking, keys, *state)
        return (any_content + by_distance) * self.head_dim**-0.5
