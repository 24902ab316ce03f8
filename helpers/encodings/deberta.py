r"""Disentangled attention (DeBERTa, He et al. 2020, arXiv 2006.03654, equation 4). Door 3: the attention logits.

.. math::

    A_{ij} = \frac{Q^c_i K^{c\top}_j + Q^c_i K^{r\top}_{\delta(i,j)} + K^c_j Q^{r\top}_{\delta(j,i)}}{\sqrt{3d}},
    \qquad \delta(i, j) = \mathrm{clip}(i - j + k,\ 0,\ 2k - 1)

Content c and relative position r keep vectors of their own; they only meet inside the logits. The equation is the
paper's. The released code, that of the authors and that of transformers, uses delta(i, j) in the last term too.

Versions 2 and 3 (He et al. 2021, arXiv 2111.09543) count distances in buckets first: one wide up to half of k,
growing beyond.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..validate import integers, one_of, positive_int, require
from .base import Encoding
from .shaw import relative_logits

CONVENTIONS = ("code", "paper")


def deberta_index(distance: Tensor, max_distance: int) -> Tensor:
    """delta(i, j), 0 .. 2k - 1, from signed distances key minus query (j - i); k = max_distance.

    The sign is the opposite of Shaw's and T5's: row 0 is for keys k or more steps in the *future*.
    """
    return (max_distance - distance).clamp(0, 2 * max_distance - 1)


def log_buckets(distance: Tensor, bucket_size: int, max_position: int) -> Tensor:
    """Signed distances in buckets, as versions 2 and 3 of DeBERTa count them: integers, the shape of ``distance``.

    Args:
        distance: integers, any shape, either sign (the result has the same).
        bucket_size: k (256 as published). Distances up to k/2 keep their value.
        max_position: distance (512 as published) from which on the bucket is k - 1 or more; between them the logarithm
            counts. What lies beyond is cut by :func:`deberta_index`.

    Source: ``make_log_bucket_position`` in the authors' da_utils.py (logarithm in float32, rounded up, as there), and
    modeling_deberta_v2 in transformers. They differ beyond max_position only, where the index is cut anyway.
    """
    half = bucket_size // 2
    far = distance.abs().clamp(min=half)  # what is nearer keeps its value
    share = (far / half).log() / torch.tensor((max_position - 1) / half, device=distance.device).log()
    bucket = (share * (half - 1)).ceil().long() + half
    return torch.where(distance.abs() <= half, distance, bucket * distance.sign())


def disentangled_terms(
    q: Tensor, k: Tensor, position_keys: Tensor, position_queries: Tensor, distance: Tensor, convention: str = "code"
) -> tuple[Tensor, Tensor]:
    """The two terms that know about position, before scaling: each (B, H, T, S).

    Args:
        q, k: content queries and keys, (B, H, T, D) and (B, H, S, D).
        position_keys, position_queries: K^r and Q^r, (H, 2 max_distance, D).
        distance: key minus query, (B or 1, T, S).
        convention: "code": delta(i, j) in both terms; "paper": delta(j, i) in the second, as equation 4 has it.

    Returns:
        content-to-position Q^c_i . K^r, and position-to-content K^c_j . Q^r.

    Raises:
        ValueError: on another convention.
    """
    one_of("convention", convention, CONVENTIONS)
    max_distance = position_keys.shape[-2] // 2
    forward = deberta_index(distance, max_distance)
    content_to_position = relative_logits(q, position_keys, forward)
    index = forward if convention == "code" else deberta_index(-distance, max_distance)
    position_to_content = relative_logits(k, position_queries, index.transpose(-1, -2)).transpose(-1, -2)
    return content_to_position, position_to_content


class DeBERTa(Encoding):
    """Disentangled attention: a table of relative positions with query and key projections of its own."""

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        max_distance: int = 512,
        n_layers: int = 1,
        convention: str = "code",
        max_position: int | None = None,
    ):
        """Create the table (2 max_distance, d_model), and one pair of projections for each of ``n_layers``.

        Args:
            d_model, n_heads: of the model.
            max_distance: k; further distances share a row.
            n_layers: layers with projections of their own (DeBERTa: all); 1: all layers share one pair.
            convention: "code" or "paper", see :func:`disentangled_terms`.
            max_position: count distances in :func:`log_buckets` up to this one, max_distance of them to a side
                (versions 2 and 3: max_distance=256, max_position=512); None: no buckets (version 1).

        Raises:
            ValueError: on a bad argument.
        """
        super().__init__()
        positive_int("d_model", d_model)
        require(d_model % positive_int("n_heads", n_heads) == 0, "n_heads", n_heads, f"must divide d_model={d_model}.")
        self.n_heads = n_heads
        self.convention = one_of("convention", convention, CONVENTIONS)
        self.scale = (3 * d_model // n_heads) ** -0.5  # three terms, each of the size of q.k
        self.table = nn.Embedding(2 * positive_int("max_distance", max_distance), d_model)
        nn.init.normal_(self.table.weight, std=0.02)
        self.max_position = max_position
        if max_position is not None:
            positive_int("max_distance", max_distance, at_least=2)  # half of it is one bucket per distance
            remedy = f"must be above max_distance={max_distance}, or there is nothing to put into buckets."
            require(positive_int("max_position", max_position) > max_distance, "max_position", max_position, remedy)
        layers = range(positive_int("n_layers", n_layers))
        self.key_projections = nn.ModuleList(nn.Linear(d_model, d_model, bias=False) for _ in layers)
        self.query_projections = nn.ModuleList(nn.Linear(d_model, d_model) for _ in layers)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        distance = self.distance(integers("position_ids", q_pos), integers("position_ids", k_pos))
        if self.max_position is None:
            return distance
        return log_buckets(distance, len(self.table.weight) // 2, self.max_position)

    def bias(self, q: Tensor, k: Tensor, state: Tensor, layer: int) -> Tensor:
        which = layer % len(self.key_projections)
        position_keys, position_queries = (
            project[which](self.table.weight).unflatten(-1, (self.n_heads, -1)).transpose(0, 1).to(q.dtype)
            for project in (self.key_projections, self.query_projections)
        )
        terms = disentangled_terms(q, k, position_keys, position_queries, state, self.convention)
        return torch.add(*terms) * self.scale
