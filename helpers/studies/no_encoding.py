"""Counting without an encoding: a causal language model whose hidden states are probed for the position (notebook 01).

``python3 tasks.py record no_encoding`` trains it on text in which every window starts with BOS.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import torch
from torch import Tensor

from .. import corpus, race, record, store, training
from ..model import CausalLM

BOS = len(corpus.ALPHABET)
"""Id of the beginning-of-sequence token, one past the characters."""


def untrained_lm(seed: int = 0, n_layers: int = 2, d_model: int = 64) -> CausalLM:
    """A causal language model with no encoding, characters and BOS as vocabulary, and random weights."""
    torch.manual_seed(seed)
    return CausalLM(BOS + 1, d_model, n_heads=4, n_layers=n_layers).eval()


def windows(data: Tensor, n: int, length: int = 64, bos: bool = True, seed: int = 0) -> Tensor:
    """``n`` random windows of ``length`` ids out of ``data``; with ``bos`` the first id is BOS. (n, length) int64."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randint(len(data) - length, (n, 1), generator=generator)
    ids = data[start + torch.arange(length)]
    if bos:
        ids = torch.cat([torch.full((n, 1), BOS), ids[:, :-1]], dim=1)
    return ids


def train_lm(model: CausalLM, settings: race.Settings, seed: int = 0, device: str = "cpu") -> list[float]:
    """Train in place on the text of the race, every window behind a BOS; the loss of every step in nats.

    Raises:
        corpus.MissingText: if the text is not installed.
    """
    data, s = corpus.load().train, settings
    chunks = (windows(data, s.batch, s.train_len + 1, seed=1000 * seed + step) for step in range(s.steps))
    losses = training.fit(
        model,
        ((ids[:, :-1], ids[:, 1:]) for ids in chunks),
        race.next_character,
        steps=s.steps,
        lr=s.lr,
        schedule=training.cosine(s.warmup, s.steps),
        weight_decay=s.weight_decay,
        device=device,
        label=f"no encoding, with BOS, seed {seed}",
    )
    model.eval()
    return losses


@torch.no_grad()
def layer_states(model: CausalLM, ids: Tensor) -> list[Tensor]:
    """The residual stream after every block: one (B, T, d_model) a layer, for ids (B, T)."""
    states: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda _, __, out: states.append(out[0])) for block in model.blocks]
    try:
        model.hidden(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return states


# ---------------------------------------------------------------------------------------------- recorded results

SETTINGS = race.PRESETS["quick"]
"""Trained as in the race, so that the models without and with BOS compare."""

COMMAND = "python3 tasks.py record no_encoding"


def study() -> store.Study:
    """Where it is recorded: results/no_encoding."""
    settings = {"bos": True, **dataclasses.asdict(SETTINGS)}
    return store.Study("no_encoding", ("seed",), (), settings, COMMAND)


def lm_file(seed: int) -> Path:
    """Where the weights of the recorded model are kept."""
    return study().folder / f"with_bos-seed{seed}.safetensors"


def recorded_lm(seed: int = 0) -> CausalLM:
    """The recorded model without encoding, trained with BOS, in eval mode.

    Raises:
        FileNotFoundError: naming the command that records it.
    """
    model = untrained_lm(seed)
    model.load_state_dict(store.load_weights(lm_file(seed), COMMAND))
    return model.eval()


def record_run(seed: int, device: str, settings: race.Settings) -> store.Run:
    """Train the model with BOS at one seed; its weights, and the training loss."""
    model = untrained_lm(seed)
    losses = train_lm(model, settings, seed, device)
    return store.Run(
        rows=[],
        curves=[{"score": "train", "values": record.rounded(losses, 3)}],
        weights={lm_file(seed).name: store.weights(model.state_dict())},
        made=store.provenance(device, **corpus.SOURCE),
    )


def main(argv: list[str] | None = None) -> None:
    """Train the model that starts every window with BOS, once."""
    args = record.parser(COMMAND, main.__doc__, 1).parse_args(argv)
    work = functools.partial(record_run, settings=SETTINGS)
    record.record(study(), [(seed,) for seed in range(args.seeds)], work, **record.spread(args))
