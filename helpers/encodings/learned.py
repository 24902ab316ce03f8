r"""A learned table of positions (Gehring et al. 2017; BERT 1810.04805; GPT-2). Door 1: added to the embeddings.

.. math:: h_p = E_{tok}[x_p] + P[p], \qquad P \in \mathbb{R}^{L_{max} \times d} \text{ trained}
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..validate import positive_int, positive_number, require
from .base import Encoding


class Learned(Encoding):
    """Adds row p of a trained table. Rows that training never visited stay what they were initialised to: noise."""

    def __init__(self, d_model: int, max_len: int, std: float = 1.0, offset: int = 0):
        """Create the table of shape (max_len + offset, d_model).

        Args:
            d_model: width.
            max_len: number of positions that can be asked for; position ``max_len`` is an error.
            std: standard deviation of the initial rows. The default is that of ``nn.Embedding``, and so of the model's
                token embeddings; BERT and GPT-2 start both at 0.02. What matters is the ratio of the two.
            offset: rows skipped at the front (OPT: 2).

        Raises:
            ValueError: on a bad argument, and at run time on a position outside 0 .. max_len - 1.
        """
        super().__init__()
        self.max_len = positive_int("max_len", max_len)
        self.offset = positive_int("offset", offset, at_least=0)
        self.table = nn.Embedding(self.max_len + self.offset, positive_int("d_model", d_model))
        nn.init.normal_(self.table.weight, std=positive_number("std", std))

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        low, high = torch.aminmax(q_pos)
        remedy = (
            f"the table has positions 0 .. {self.max_len - 1}; shorten the input or build it with a larger max_len."
        )
        require(high < self.max_len, "position", high.item(), remedy)
        require(low >= 0, "position", low.item(), remedy)
        return self.table(q_pos + self.offset)

    def embed(self, x: Tensor, state: Tensor) -> Tensor:
        return x + state.to(x.dtype)


def interpolate_table(table: Tensor, length: int) -> Tensor:
    """Stretch a table (L, d_model) to (length, d_model) by linear interpolation between its rows, ends kept in place.

    The one-dimensional form of what a vision transformer does to its grid when the image grows
    (Dosovitskiy et al. 2020, arXiv 2010.11929, section 3.2).
    """
    positive_int("length", length, at_least=2)
    columns = table.T[None]  # (1, d_model, L): interpolate treats the last axis as space
    return nn.functional.interpolate(columns, size=length, mode="linear", align_corners=True)[0].T
