"""Three toy experiments of notebook 01: what order costs, what it does not, and where a causal mask leaks it.

* *order*: one A and one B among noise; does A come before B? Only positions decide.
* *bag*: an odd number of As and Bs among noise; are there more As? Only counts decide.
* *counting without an encoding*: a causal language model with no encoding, whose hidden states are probed for the
  position of their token.

The order and bag tasks are scored by the mean over tokens of a small bidirectional encoder.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import corpus, race, training
from ..encodings import Encoding, build
from ..model import CausalLM, Encoder
from ..validate import one_of, positive_int, require

A, B = 0, 1
"""Ids of the two tokens that matter; every other id is noise."""

SYMBOLS = "AB·:-+~="
"""One printable symbol a token id."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that defines an order or bag experiment but the scheme and the seed. Stated before any result."""

    seq_len: int = 16
    vocab_size: int = 8
    d_model: int = 32
    n_heads: int = 4
    n_layers: int = 1
    batch: int = 64
    steps: int = 300
    lr: float = 3e-3
    warmup: int = 30
    test: int = 4096  # fresh sequences that accuracy is measured on


def order_batch(n: int, settings: Settings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``n`` sequences with one A and one B: ids (n, seq_len) int64, and 1 where A stands before B, (n,) int64."""
    ids = torch.randint(2, settings.vocab_size, (n, settings.seq_len), generator=generator)
    seats = torch.rand(n, settings.seq_len, generator=generator).argsort(1)[:, :2]  # two different seats a row
    ids.scatter_(1, seats, torch.tensor([[A, B]]).expand(n, 2))
    return ids, (seats[:, 0] < seats[:, 1]).long()


def bag_batch(n: int, settings: Settings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``n`` sequences with an odd number of As and Bs (no ties): ids (n, seq_len), and 1 where As are more, (n,)."""
    ids = torch.randint(2, settings.vocab_size, (n, settings.seq_len), generator=generator)
    rank = torch.rand(n, settings.seq_len, generator=generator).argsort(1).argsort(1)
    voters = rank < 2 * torch.randint(1, settings.seq_len // 2, (n, 1), generator=generator) - 1
    ids[voters] = torch.randint(2, (int(voters.sum()),), generator=generator)
    return ids, ((ids == A).sum(1) > (ids == B).sum(1)).long()


TASKS: dict[str, Callable[[int, Settings, torch.Generator], tuple[Tensor, Tensor]]] = {
    "order": order_batch,
    "bag": bag_batch,
}


def sample(task: str, n: int, seed: int = 0, settings: Settings | None = None) -> tuple[Tensor, Tensor]:
    """``n`` sequences of a task and their labels: ids (n, seq_len), labels (n,). ValueError on an unknown task."""
    one_of("task", task, TASKS)
    positive_int("n", n)
    return TASKS[task](n, settings or Settings(), torch.Generator().manual_seed(seed))


def accuracy(
    task: str, encoding: str | Encoding, seed: int = 0, settings: Settings | None = None, device: str = "cpu"
) -> float:
    """Train an encoder on fresh sequences of a task and test it on others.

    Args:
        task: "order" or "bag".
        encoding: a registered scheme, or an :class:`~helpers.encodings.Encoding` of your own.
        seed: of the weights and the training sequences. The test sequences are the same for all.
        settings: an experiment of your own.
        device: "cpu" or "cuda".

    Returns:
        The share of test sequences answered correctly, 0 to 1; chance is 0.5.

    Raises:
        ValueError: on an unknown task or scheme, or a negative seed.
    """
    one_of("task", task, TASKS)
    positive_int("seed", seed, at_least=0)
    s = settings or Settings()
    model = make_encoder(encoding, seed, s)
    generator = torch.Generator().manual_seed(seed)
    name = encoding if isinstance(encoding, str) else type(encoding).__name__
    training.fit(
        model,
        (TASKS[task](s.batch, s, generator) for _ in range(s.steps)),
        lambda model, ids, labels: F.cross_entropy(model.pooled(ids), labels),
        steps=s.steps,
        lr=s.lr,
        schedule=training.warm_up(s.warmup),
        betas=(0.9, 0.999),
        weight_decay=0.01,
        clip=None,
        device=device,
        label=f"{task}, {name}, seed {seed}",
    )
    ids, labels = sample(task, s.test, seed=10**6, settings=s)
    with torch.no_grad():
        return (model.eval().pooled(ids.to(device)).argmax(-1).cpu() == labels).float().mean().item()


def make_encoder(encoding: str | Encoding, seed: int, settings: Settings) -> Encoder:
    """A fresh encoder with two outputs. At one seed all schemes share the initial values of the common weights.

    Raises:
        ValueError: if ``encoding`` is neither the name of a scheme nor an Encoding.
    """
    if isinstance(encoding, str):
        torch.manual_seed(seed + 1_000_000)  # the encoding draws apart, as in the race
        encoding = build(
            encoding,
            d_model=settings.d_model,
            n_heads=settings.n_heads,
            train_len=settings.seq_len,
            max_len=settings.seq_len,
        )
    require(isinstance(encoding, Encoding), "encoding", encoding, "pass the name of a scheme, or an Encoding.")
    torch.manual_seed(seed)
    return Encoder(settings.vocab_size, settings.d_model, settings.n_heads, settings.n_layers, encoding, out_dim=2)


# ------------------------------------------------------------------------------------ a causal model that may count

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


def train_lm(model: CausalLM, steps: int = 300, length: int = 64, batch: int = 32, seed: int = 0) -> CausalLM:
    """Train on the text of the race, every window behind a BOS; AdamW, the race's rate and clipping.

    Raises:
        corpus.MissingText: if the text is not installed.
    """
    data = corpus.load().train
    settings = dataclasses.replace(race.PRESETS["quick"], steps=steps)
    chunks = (windows(data, batch, length + 1, seed=1000 * seed + step) for step in range(steps))
    training.fit(
        model,
        ((ids[:, :-1], ids[:, 1:]) for ids in chunks),
        race.next_character,
        steps=steps,
        lr=settings.lr,
        schedule=training.cosine(settings.warmup, steps),
        weight_decay=settings.weight_decay,
        label="no encoding, with BOS",
    )
    return model.eval()


LM_STEPS = race.PRESETS["quick"].steps
"""Training steps of the recorded language model that starts every window with BOS: as many as in the race, so that
the models without and with BOS compare."""


def recorded_lm(seed: int = 0) -> CausalLM:
    """The recorded model without encoding, trained for :data:`LM_STEPS` steps with BOS, in eval mode.

    Raises:
        FileNotFoundError: naming the command that records it.
    """
    from safetensors.torch import load_file

    path = lm_file(seed)
    if not path.exists():
        raise FileNotFoundError(
            f"no {path.name}: run `python -m helpers.studies.order_tasks` from the repository's root."
        )
    model = untrained_lm(seed)
    model.load_state_dict(load_file(path))
    return model.eval()


def lm_file(seed: int) -> Path:
    """Where the weights of the recorded model are kept; a .json beside it says what made them."""
    return race.RESULTS / "no_encoding" / f"with_bos-seed{seed}.safetensors"


def validation_text() -> Tensor:
    """The validation text of the race as ids; random characters, and one printed line, if it is not installed."""
    try:
        return corpus.load().valid
    except corpus.MissingText as missing:
        print(missing)
        return torch.randint(BOS, (50_000,), generator=torch.Generator().manual_seed(0))


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


def main() -> None:
    """Train the model with BOS once and keep its weights, settings and provenance in ``results/no_encoding``."""
    from safetensors.torch import save

    from ..store import provenance, write_whole

    torch.set_num_threads(1)
    seed, path = 0, lm_file(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    model = train_lm(untrained_lm(seed), steps=LM_STEPS, seed=seed)
    write_whole(path, save(model.state_dict()))
    note = {
        "steps": LM_STEPS,
        "length": 64,
        "batch": 32,
        "seed": seed,
        "provenance": provenance("cpu", **corpus.SOURCE),
    }
    write_whole(path.with_suffix(".json"), (json.dumps(note, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
