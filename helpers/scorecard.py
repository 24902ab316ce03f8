"""The scorecard of notebook 01: what a good encoding should offer, as measurements of any encoding.

Every number is taken through the contract of :mod:`helpers.encodings.base`, in float64, on one small encoder with
random weights. It says what an encoding does as it starts. Training may add to that: PoPE's phases start at zero, where
a sentence and its mirror image look alike, and need not stay there. ALiBi's symmetric bias stays as it is.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from .encodings import Encoding, build
from .model import Encoder
from .validate import require

SENTENCE = "the cat chased the mouse"
WORDS = sorted(set(SENTENCE.split()))


def encoder(encoding: str | Encoding, vocab_size: int = len(WORDS), seed: int = 0) -> Encoder:
    """A one-layer encoder with random float64 weights, the same for every encoding at one seed.

    Args:
        encoding: the name of a registered scheme, or an Encoding for d_model 32 and 4 heads.
        vocab_size: number of token ids.
        seed: of the weights.

    Raises:
        ValueError: on an unknown scheme, or an encoding for another shape.
    """
    if isinstance(encoding, str):
        torch.manual_seed(seed + 1_000_000)
        encoding = build(encoding, d_model=32, n_heads=4, train_len=64, max_len=64)
    require(isinstance(encoding, Encoding), "encoding", encoding, "pass the name of a scheme, or an Encoding.")
    torch.manual_seed(seed)
    return Encoder(vocab_size, d_model=32, n_heads=4, n_layers=1, encoding=encoding).double().eval()


def all_orders(sentence: str = SENTENCE) -> Tensor:
    """Every different order of the words of a sentence, as ids (orders, words); 60 for the default."""
    words = sentence.split()
    ids = {word: i for i, word in enumerate(sorted(set(words)))}
    return torch.tensor(sorted(set(itertools.permutations([ids[word] for word in words]))))


@torch.no_grad()
def orders_told_apart(encoding: str | Encoding) -> int:
    """How many of the 60 orders of :data:`SENTENCE` get an output of their own from the mean-pooled encoder.

    Outputs count as equal below a distance of 1e-6: encodings compute their angles and biases in float32.
    """
    outputs = encoder(encoding).pooled(all_orders())
    equal = torch.cdist(outputs, outputs, compute_mode="donot_use_mm_for_euclid_dist") < 1e-6
    return int((~equal.tril(-1).any(1)).sum())  # orders that no earlier order equals


@torch.no_grad()
def change_when_moved(encoding: str | Encoding, by: int = 1000) -> float:
    """Largest change of any hidden state when the same text starts ``by`` positions later; 0: no such shift shows.

    NaN if the encoding has no such positions (a learned table).
    """
    model = encoder(encoding)
    ids, seats = all_orders()[:1], torch.arange(len(SENTENCE.split()))[None]
    try:
        moved = model.hidden(ids, position_ids=seats + by)[0]
    except (ValueError, IndexError):
        return float("nan")
    return (moved - model.hidden(ids, position_ids=seats)[0]).abs().max().item()


def n_parameters(encoding: str | Encoding) -> int:
    """Trained numbers that belong to the encoding itself."""
    return sum(p.numel() for p in encoder(encoding).encoding.parameters())
