r"""T5's relative bias (Raffel et al. 2019, arXiv 1910.10683, section 2.1). Door 3: the attention logits.

.. math:: e_{ij} = q_i^\top k_j + b_{h,\,\beta(j - i)}, \qquad b \text{ trained: heads} \times \text{buckets}

One learned number per head and bucket, added to logits that are *not* divided by sqrt(d). Buckets are one distance
wide near the query and grow geometrically further out. One table serves all layers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..validate import flag, integers, positive_int, positive_number, require
from .base import Encoding


def t5_buckets(distance: Tensor, num_buckets: int = 32, max_distance: int = 128, bidirectional: bool = False) -> Tensor:
    """Bucket of every signed distance key minus query: integers of the same shape, 0 .. num_buckets - 1.

    Args:
        distance: integers, any shape, in positions; negative where the key lies in the past.
        num_buckets: in all. Half of a side's buckets hold one distance each, the other half grow geometrically.
        max_distance: sets the growth. From somewhat *below* it on everything shares the last bucket (113 for 32
            causal buckets and 128; 91 for 16 a side), because the logarithm is floored.
        bidirectional: give the past and the future a half of the buckets each. Then bucket num_buckets / 2 stays
            empty: it would be "0 steps into the future". Otherwise every future distance falls into bucket 0.

    Source: section 2.1, and mesh_tensorflow's ``_relative_position_bucket`` (logarithm in float32, as there).
    """
    side = num_buckets // 2 if bidirectional else num_buckets
    n = distance.abs() if bidirectional else (-distance).clamp(min=0)
    exact = side // 2
    growth = (n.clamp(min=exact).float() / exact).log() / math.log(max_distance / exact)
    far = (exact + (growth * (side - exact)).long()).clamp(max=side - 1)
    bucket = torch.where(n < exact, n, far)
    return bucket + side * (distance > 0) if bidirectional else bucket


class T5(Encoding):
    """Adds a learned number for each head and bucket of distance. Any length: far distances share a bucket."""

    scale = 1.0  # the logits are q.k, not q.k / sqrt(d): T5 absorbs the factor into its initial weights

    def __init__(
        self,
        n_heads: int,
        num_buckets: int = 32,
        max_distance: int = 128,
        bidirectional: bool = False,
        std: float = 0.0,
        gain: float = 1.0,
    ):
        """Create the table (num_buckets, n_heads).

        Args:
            n_heads: number of heads.
            num_buckets: rows; even, and a multiple of 4 if ``bidirectional``.
            max_distance: see :func:`t5_buckets`. Well above the training length, the last buckets are never trained:
                longer inputs meet their initial values.
            bidirectional: False for a decoder, True for an encoder.
            std: of the initial biases (T5: d_model^-1/2); 0 starts without any preference.
            gain: the biases are ``gain`` times the table. The initial biases are larger by it, and so is a step: Adam
                moves an entry of the table by about the learning rate, however far the bias has to go.

        Raises:
            ValueError: on a bad argument.
        """
        super().__init__()
        self.n_heads = positive_int("n_heads", n_heads)
        group = 4 if flag("bidirectional", bidirectional) else 2
        require(
            positive_int("num_buckets", num_buckets, group) % group == 0,
            "num_buckets",
            num_buckets,
            f"must be a multiple of {group}, so that each side splits into a near and a far half.",
        )
        exact = num_buckets // group
        positive_int("max_distance", max_distance)
        require(max_distance > exact, "max_distance", max_distance, f"must exceed the {exact} single-distance buckets.")
        self.num_buckets, self.max_distance, self.bidirectional = num_buckets, max_distance, bidirectional
        self.table = nn.Embedding(num_buckets, n_heads)
        self.gain = positive_number("gain", gain)
        nn.init.normal_(self.table.weight, std=positive_number("std", std, at_least=0.0) / self.gain)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        distance = self.distance(integers("position_ids", q_pos), integers("position_ids", k_pos))
        buckets = t5_buckets(distance, self.num_buckets, self.max_distance, self.bidirectional)
        return self.gain * self.table(buckets).permute(0, 3, 1, 2)  # (B or 1, T, S, H) -> (B or 1, H, T, S)

    def bias(self, q: Tensor, k: Tensor, state: Tensor, layer: int) -> Tensor:
        return state
