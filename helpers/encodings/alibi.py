r"""ALiBi: attention with linear biases (Press et al. 2021, arXiv 2108.12409). Door 3: the attention logits.

.. math:: \mathrm{softmax}_j\big(q_i^\top k_j / \sqrt{d} - m_h\,|i - j|\big)

The bias is *not* divided by sqrt(d) (the paper's footnote 10). Slopes m_h are fixed, one per head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..validate import positive_int, positive_number, require, vector
from .base import Encoding


def alibi_slopes(n_heads: int, max_bias: float = 8.0) -> Tensor:
    """Slopes as the authors' code gives them, (n_heads,) float64, positive.

    A power of two n: 2^(-8h/n), h = 1 .. n. Any other n: the slopes of the next lower power of two, followed by
    every other slope of twice that power. The order is then not monotone. ``max_bias`` is the 8: MPT's configurations
    state it (alibi_bias_max, 16 for MPT-7B-StoryWriter), and so do GGUF files (max_alibi_bias).

    Source: Press et al., section 3, and fairseq/models/transformer.py in the authors' repository.
    """
    power = 2 ** math.floor(math.log2(n_heads))

    def geometric(n: int) -> Tensor:
        return 2.0 ** (-max_bias * torch.arange(1, n + 1, dtype=torch.float64, device="cpu") / n)

    return torch.cat([geometric(power), geometric(2 * power)[0::2][: n_heads - power]])


def alibi_bias(q_pos: Tensor, k_pos: Tensor, slopes: Tensor, future_slopes: Tensor | None = None) -> Tensor:
    """-m_h |i - j|: positions (B, T) and (B, S), slopes (H,), to (B, H, T, S) float32. In logits, after scaling.

    ``future_slopes`` (H,) replace the slopes for keys that lie ahead of the query; no causal model sees those.
    """
    distance = Encoding.distance(q_pos, k_pos)[:, None]  # key minus query
    past = -slopes.float().to(distance.device)[:, None, None] * distance.abs()
    if future_slopes is None:
        return past
    future = -future_slopes.float().to(distance.device)[:, None, None] * distance.abs()
    return torch.where(distance > 0, future, past)


class ALiBi(Encoding):
    """Adds -m_h |i - j| to the logits. No parameters, any length.

    In an encoder the symmetric bias itself does not tell left from right: mirrored input gives mirrored output. What
    breaks the mirror is in the input (a fixed first token) or in ``future_slopes`` different from ``slopes``.
    """

    def __init__(
        self,
        n_heads: int,
        slopes: Tensor | Sequence[float] | None = None,
        future_slopes: Tensor | Sequence[float] | None = None,
        max_bias: float = 8.0,
    ):
        """Choose the slopes.

        Args:
            n_heads: number of heads.
            slopes: n_heads numbers to use instead of the authors'.
            future_slopes: n_heads numbers for keys ahead of the query (encoders); ``slopes`` by default.
            max_bias: see :func:`alibi_slopes`; not together with ``slopes``.

        Raises:
            ValueError: on a bad number of heads, or of slopes.
        """
        super().__init__()
        self.n_heads = positive_int("n_heads", n_heads)
        positive_number("max_bias", max_bias)
        remedy = "leave it out: the slopes are given."
        require(slopes is None or max_bias == 8, "max_bias", max_bias, remedy)
        self.slopes = alibi_slopes(n_heads, max_bias) if slopes is None else vector("slopes", slopes, n_heads)
        self.future_slopes = None if future_slopes is None else vector("future_slopes", future_slopes, n_heads)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        return alibi_bias(q_pos, k_pos, self.slopes, self.future_slopes)

    def bias(self, q: Tensor, k: Tensor, state: Tensor, layer: int) -> Tensor:
        return state
