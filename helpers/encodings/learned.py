r"""A learned table of positions (Gehring et al. 2017; BERT 1810.04805; GPT-2). Door 1: added to the embeddings.

.. math:: h_p = E_{tok}[x_p] + P[p], \qquad P \in \mathbb{R}^{L_{max} \times d} \text{ trained}
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..validate import integers, one_of, positive_int, positive_number, readable, require
from .base import Encoding


class Learned(Encoding):
    """Adds row p of a trained table. Rows that training never visited stay what they were initialised to: noise."""

    def __init__(self, d_model: int, max_len: int, std: float = 1.0, offset: int = 0, gain: float = 1.0):
        """Create the table of shape (max_len + offset, d_model).

        Args:
            d_model: width.
            max_len: number of positions that can be asked for; position ``max_len`` is an error.
            std: standard deviation of the initial rows. The default is that of ``nn.Embedding``, and so of the model's
                token embeddings. BERT starts both at 0.02; GPT-2's authors tokens at 0.02 and positions at 0.01. What
                matters is the ratio of the two.
            offset: rows skipped at the front (OPT: 2).
            gain: what is added is ``gain`` times the table. It changes nothing but the speed of learning: Adam moves
                every entry of the table by about the learning rate a step, however far it has to go.

        Raises:
            ValueError: on a bad argument, and at run time on a position outside 0 .. max_len - 1 (PyTorch's own error
                in a compiled model).
        """
        super().__init__()
        self.d_model = positive_int("d_model", d_model)
        self.max_len = positive_int("max_len", max_len)
        self.offset = positive_int("offset", offset, at_least=0)
        self.table = nn.Embedding(self.max_len + self.offset, d_model)
        self.gain = positive_number("gain", gain)
        nn.init.normal_(self.table.weight, std=positive_number("std", std) / self.gain)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        if readable(integers("position_ids", q_pos)):
            low, high = torch.aminmax(q_pos)
            remedy = (
                f"the table has positions 0 .. {self.max_len - 1}; shorten the input or build it with a larger max_len."
            )
            require(high < self.max_len, "position", high.item(), remedy)
            require(low >= 0, "position", low.item(), remedy)
        return self.gain * self.table(q_pos + self.offset)

    def embed(self, x: Tensor, state: Tensor) -> Tensor:
        return x + state.to(x.dtype)


def table_rows(real: Tensor, convention: str, padding_idx: int = 1) -> Tensor:
    """The row of the table that each token of a padded batch reads.

    Args:
        real: bool (B, T), False for padding.
        convention: "slot": 0, 1, 2 ... by slot, whatever is padding (BERT, and GPT-2 unless told otherwise);
            "opt": real tokens are counted from 2, padding reads row 1;
            "roberta": real tokens are counted from padding_idx + 1, padding reads row padding_idx.
        padding_idx: id of RoBERTa's padding token, which is also the row that padding reads.

    Returns:
        (B, T) rows.

    Raises:
        ValueError: on another convention.

    Source: modeling_gpt2, modeling_opt and modeling_roberta in transformers.
    """
    one_of("convention", convention, ("slot", "opt", "roberta"))
    if convention == "slot":
        return torch.arange(real.shape[1], device=real.device).expand(real.shape)
    counted = real.long().cumsum(1) * real  # 1, 2, 3 ... over real tokens, 0 on padding
    return counted + (1 if convention == "opt" else padding_idx)


def bert_input(
    ids: Tensor, segments: Tensor, words: Tensor, positions: Tensor, segment_table: Tensor, norm: nn.LayerNorm
) -> Tensor:
    """BERT's input layer without its dropout: three tables added, then normalized.

    Args:
        ids: (B, T) token ids.
        segments: (B, T), 0 for the first sentence, 1 for the second.
        words, positions, segment_table: tables (vocabulary, d), (max_len, d), (2, d).
        norm: LayerNorm over d.

    Returns:
        (B, T, d). GPT-2's input layer is the same without segments and without the norm.
    """
    return norm(words[ids] + positions[: ids.shape[1]] + segment_table[segments])


def interpolate_table(table: Tensor, length: int) -> Tensor:
    """Stretch a table (L, d_model) to (length, d_model) by linear interpolation between its rows, ends kept in place.

    The one-dimensional form of what a vision transformer does to its grid when the image grows
    (Dosovitskiy et al. 2020, arXiv 2010.11929, section 3.2). ValueError on a length below 2.
    """
    positive_int("length", length, at_least=2)
    columns = table.T[None]  # (1, d_model, L): interpolate treats the last axis as space
    return nn.functional.interpolate(columns, size=length, mode="linear", align_corners=True)[0].T
