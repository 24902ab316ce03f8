r"""A learned table of positions (Gehring et al. 2017; BERT 1810.04805; GPT-2). Door 1: added to the embeddings.

.. math:: h_p = E_{tok}[x_p] + P[p], \qquad P \in \mathbb{R}^{L_{max} \times d} \text{ trained}
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..validate import integers, positive_int, positive_number, readable, require
from .base import Encoding


class Learned(Encoding):
    """Adds row p of a trained table. Rows that training never visited keep their noise, but for weight decay."""

    def __init__(self, d_model: int, max_len: int, std: float = 1.0, offset: int = 0, gain: float = 1.0):
        """Create the table of shape (max_len + offset, d_model).

        Args:
            d_model: width.
            max_len: number of positions that can be asked for, from 0; position ``max_len`` is an error.
            std: standard deviation of the initial rows. The default is that of ``nn.Embedding``, and so of the model's
                token embeddings. BERT starts both at 0.02; GPT-2's authors tokens at 0.02 and positions at 0.01.
            offset: rows in front of position 0 (OPT: 2), for positions below 0: padding has one at -1.
            gain: what is added is ``gain`` times the table. The initial rows are larger by it, and so is a step: Adam
                moves an entry of the table by about the learning rate, however far it has to go.

        Raises:
            ValueError: on a bad argument, and at run time on a position outside -offset .. max_len - 1 (PyTorch's own
                error in a compiled model).
        """
        super().__init__()
        self.d_model = positive_int("d_model", d_model)
        self.max_len = positive_int("max_len", max_len)
        self.offset = positive_int("offset", offset, at_least=0)
        self.table = nn.Embedding(self.max_len + self.offset, d_model)
        self.gain = positive_number("gain", gain)
        nn.init.normal_(self.table.weight, std=positive_number("std", std) / self.gain)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        if readable(integers("position_ids", q_pos)) and q_pos.numel():
            low, high = torch.aminmax(q_pos)
            rows = f"the table has positions {-self.offset} .. {self.max_len - 1}"
            remedy = f"{rows}; shorten the input or build it with a larger max_len."
            require(high < self.max_len, "position", high.item(), remedy)
            require(low >= -self.offset, "position", low.item(), remedy)
        return self.gain * self.table(q_pos + self.offset)

    def embed(self, x: Tensor, state: Tensor) -> Tensor:
        return x + state.to(x.dtype)


def padded_positions(real: Tensor) -> Tensor:
    """The position of every token of a padded batch, counted over real tokens: 0, 1, 2, ..., and -1 on padding.

    These are positions, for :class:`Learned` to add its offset to: row = position + offset. ``Learned(offset=2)`` then
    reads the rows that OPT reads, ``Learned(offset=padding_idx + 1)`` those of RoBERTa, where padding has row
    padding_idx. Without offset there is no row for padding: clamp -1 to 0, nobody reads what comes of it. BERT and
    GPT-2 count slots instead, unless told otherwise: :func:`~.base.positions`.

    Args:
        real: bool (B, T), False for padding.

    Returns:
        (B, T), int64.

    Source: modeling_opt and modeling_roberta in transformers.
    """
    return real.long().cumsum(1) * real - 1


def interpolate_table(table: Tensor, length: int) -> Tensor:
    """Stretch a table (L, d_model) to (length, d_model) by linear interpolation between its rows, ends kept in place.

    The one-dimensional form of what a vision transformer does to its grid when the image grows
    (Dosovitskiy et al. 2020, arXiv 2010.11929, section 3.2). ValueError on a length below 2.
    """
    positive_int("length", length, at_least=2)
    columns = table.T[None]  # (1, d_model, L): interpolate treats the last axis as space
    return nn.functional.interpolate(columns, size=length, mode="linear", align_corners=True)[0].T
