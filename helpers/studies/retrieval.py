"""The second tiny model, one that has learned to recall: a low loss on text does not show that a context is *used*.

A sequence is noise, but for one ``SET v`` at a random even slot. Wherever ``GET`` stands later, the next token is v:

    noise noise SET v noise GET(v) noise noise GET(v) ... GET(v)

Trained on ``train_len`` tokens, loss on the answers alone. Read out as a grid: ``SET v`` planted at a depth (a share of
the window, 0 is the far end) of windows up to eight times as long, one ``GET`` as the very last token, accuracy in
percent. Chance is one in ``n_symbols``.

``python -m helpers.studies.retrieval`` records five seeds of every contender, with weights, into
``results/retrieval_quick``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor

from .. import race, training
from ..encodings import build
from ..model import CausalLM
from ..store import provenance, write_whole
from ..validate import one_of, positive_int, require

IGNORE = -100
"""Target of the positions that are not asked."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that defines the task, the model and its training but the scheme and the seed.

    Batch and steps are what RoPE needs to recall at its training length; all schemes get the same.
    """

    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 2
    train_len: int = 64
    batch: int = 64
    steps: int = 500
    lr: float = 3e-3
    weight_decay: float = 0.01
    n_symbols: int = 32
    max_ask_share: float = 0.4  # of the tokens after SET v that are GET in training: each sequence draws 0 .. this
    lengths: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 0.95)
    samples: int = 128  # sequences a cell of the grid

    @property
    def set_id(self) -> int:
        """Token id of SET."""
        return self.n_symbols

    @property
    def get_id(self) -> int:
        """Token id of GET."""
        return self.n_symbols + 1

    @property
    def vocab_size(self) -> int:
        """Symbols, SET and GET."""
        return self.n_symbols + 2


QUICK = Settings()

CONTENDERS: dict[str, tuple[str, dict]] = {
    "none": ("none", {}),
    "rope": ("rope", {}),
    "alibi": ("alibi", {}),
    "alibi_steep": ("alibi", {"slopes": [1 / 2, 1 / 4, 1 / 8, 1 / 16]}),
}
"""Name -> scheme and its arguments."""


@dataclasses.dataclass
class Result:
    """One trained contender.

    Attributes:
        accuracy: percent, {length: (depths,)}.
        train: training loss of the answers, one number a step.
        model: the trained model, or None if the result was read from a file.
    """

    name: str
    seed: int
    settings: Settings
    accuracy: dict[int, Tensor]
    train: list[float]
    seconds: float = 0.0
    model: CausalLM | None = None


@dataclasses.dataclass
class Band:
    """The recorded seeds of one contender."""

    name: str
    settings: Settings
    results: list[Result]

    def grid(self) -> Tensor:
        """Accuracy in percent, (seeds, depths, lengths)."""
        return torch.stack([torch.stack([r.accuracy[n] for n in self.settings.lengths], dim=1) for r in self.results])

    def converged(self, at_least: float = 90.0) -> list[int]:
        """Seeds whose mean accuracy at the training length is at least this many percent."""
        return [r.seed for r in self.results if r.accuracy[self.settings.train_len].mean() >= at_least]


# -------------------------------------------------------------------------------------------------------- task


def make_batch(
    settings: Settings, n: int, length: int, generator: torch.Generator, depth: float | None = None
) -> tuple[Tensor, Tensor]:
    """Sequences and targets, both (n, length) int64; targets are IGNORE where nothing is asked.

    Args:
        settings: of the task.
        n: number of sequences.
        length: tokens in each, at least 4.
        generator: source of all chance.
        depth: None for training (SET anywhere, GETs sprinkled over the rest); a share of the window in [0, 1] for the
            grid (SET there, one GET at the very end).

    Raises:
        ValueError: on a length below 4 or a depth outside [0, 1].
    """
    positive_int("length", length, at_least=4)
    require(depth is None or 0 <= depth <= 1, "depth", depth, "must lie between 0 (far end) and 1 (near end).")
    ids = torch.randint(settings.n_symbols, (n, length), generator=generator)
    value = torch.randint(settings.n_symbols, (n, 1), generator=generator)
    ask = torch.zeros(n, length, dtype=torch.bool)
    if depth is None:
        slot = 2 * torch.randint(length // 2 - 1, (n, 1), generator=generator)
        later = torch.arange(length) > slot + 1
        share = settings.max_ask_share * torch.rand(n, 1, generator=generator)  # some sequences ask only once
        ask = later & (torch.rand(n, length, generator=generator) < share)
    else:
        slot = torch.full((n, 1), 2 * int(depth * (length // 2 - 2)))
    ask[:, -1] = True
    ids[ask] = settings.get_id
    ids.scatter_(1, slot, settings.set_id).scatter_(1, slot + 1, value)
    return ids, value.expand(n, length).masked_fill(~ask, IGNORE)


def make_model(name: str, settings: Settings = QUICK, seed: int = 0, **kwargs) -> CausalLM:
    """A fresh model of a contender. At one seed all schemes share the initial weights they have in common.

    Args:
        name: a key of :data:`CONTENDERS`.
        settings: shape of the model.
        seed: of the initial weights.
        kwargs: scheme arguments, over those of :data:`CONTENDERS` (for RoPE: ``inv_freq``, ``attention_factor``).

    Raises:
        ValueError: on an unknown name.
    """
    scheme, arguments = CONTENDERS[one_of("name", name, CONTENDERS)]
    torch.manual_seed(seed + 1_000_000)  # the encoding draws apart, so that it does not shift the model's draws
    encoding = build(
        scheme,
        d_model=settings.d_model,
        n_heads=settings.n_heads,
        train_len=settings.train_len,
        max_len=settings.lengths[-1],
        **{**arguments, **kwargs},
    )
    torch.manual_seed(seed)
    return CausalLM(settings.vocab_size, settings.d_model, settings.n_heads, settings.n_layers, encoding)


# -------------------------------------------------------------------------------------------- train and read out


def answers(model: CausalLM, ids: Tensor, targets: Tensor) -> Tensor:
    """Mean loss of the answers alone in nats; ids and targets (B, T)."""
    return F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), ignore_index=IGNORE)


def train(model: CausalLM, settings: Settings, seed: int, device: str = "cpu", label: str = "recall") -> list[float]:
    """Train in place: AdamW, one cycle of the learning rate, clipping; returns the loss of every step in nats.

    To fine-tune at another length pass ``dataclasses.replace(settings, train_len=256, batch=8, steps=60, lr=1e-3)``.
    """
    generator = torch.Generator().manual_seed(seed)
    data = (make_batch(settings, settings.batch, settings.train_len, generator) for _ in range(settings.steps))
    return training.fit(
        model,
        data,
        answers,
        steps=settings.steps,
        lr=settings.lr,
        schedule=training.one_cycle(settings.lr, settings.steps),
        weight_decay=settings.weight_decay,
        device=device,
        label=label,
    )


@torch.no_grad()
def evaluate(
    model: CausalLM,
    settings: Settings = QUICK,
    device: str = "cpu",
    lengths: tuple[int, ...] | None = None,
    depths: tuple[float, ...] | None = None,
) -> dict[int, Tensor]:
    """Accuracy in percent, {length: (depths,)}: the same sequences for every scheme and every seed."""
    model.to(device).eval()
    grid = {}
    for length in lengths or settings.lengths:
        row = []
        for depth in depths or settings.depths:
            generator = torch.Generator().manual_seed(10_000 + length)
            ids, targets = make_batch(settings, settings.samples, length, generator, depth)
            right = 0
            for x, y in zip(ids.split(32), targets[:, -1].split(32), strict=True):
                logits = model.lm_head(model.hidden(x.to(device))[0][:, -1])
                right += (logits.argmax(-1).cpu() == y).sum().item()
            row.append(100 * right / settings.samples)
        grid[length] = torch.tensor(row)
    return grid


def run(name: str, seed: int = 0, settings: Settings = QUICK, device: str = "cpu", **kwargs) -> Result:
    """Train and read out one contender.

    Args:
        name: a key of :data:`CONTENDERS`.
        seed: of the weights and of the sequences.
        settings: of the task, the model and its training.
        device: "cpu" or "cuda".
        kwargs: scheme arguments.

    Raises:
        ValueError: on an unknown name or a negative seed.
    """
    one_of("name", name, CONTENDERS)
    positive_int("seed", seed, at_least=0)
    start = time.perf_counter()
    model = make_model(name, settings, seed, **kwargs)
    losses = train(model, settings, seed, device, f"recall, {name}, seed {seed}")
    accuracy = evaluate(model, settings, device)
    return Result(name, seed, settings, accuracy, losses, time.perf_counter() - start, model)


# ---------------------------------------------------------------------------------------------- recorded results


def result_file(name: str) -> Path:
    """Where the recorded seeds of a contender are kept."""
    return race.RESULTS / "retrieval_quick" / f"{name}.json"


def checkpoint_file(name: str, seed: int) -> Path:
    """Where the weights of one recorded seed are kept."""
    return race.RESULTS / "retrieval_quick" / f"{name}-seed{seed}.safetensors"


def record(name: str, seed: int, device: str = "cpu") -> None:
    """Run one contender at one seed and add it to its result file; a seed already there is not run again.

    Raises:
        RuntimeError: if the file was recorded with other settings.
    """
    path = result_file(name)
    scheme, arguments = CONTENDERS[name]
    stored = {
        "name": name,
        "scheme": scheme,
        "settings": dataclasses.asdict(QUICK),
        "arguments": arguments,
        "seeds": {},
    }
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        same = all(old[key] == json.loads(json.dumps(stored[key])) for key in ("scheme", "settings", "arguments"))
        if not same:
            raise RuntimeError(f"{path.name} was recorded with other settings; move it away to record it again.")
        stored = old
    if str(seed) in stored["seeds"]:
        return
    result = run(name, seed, QUICK, device)
    path.parent.mkdir(parents=True, exist_ok=True)
    made_by = provenance(device)
    stored["seeds"][str(seed)] = {
        "accuracy": {str(n): [round(v, 1) for v in result.accuracy[n].tolist()] for n in result.accuracy},
        "train": [round(v, 3) for v in result.train],
        "seconds": round(result.seconds, 1),
        "provenance": made_by,
    }
    stored["seeds"] = dict(sorted(stored["seeds"].items(), key=lambda item: int(item[0])))
    weights = {key: value.detach().cpu().contiguous() for key, value in result.model.state_dict().items()}
    write_whole(checkpoint_file(name, seed), save(weights))
    write_whole(path, (json.dumps(stored, separators=(",", ":")) + "\n").encode())


def recorded(name: str) -> Band:
    """The recorded seeds of a contender (FileNotFoundError, naming the command that records it, if there are none)."""
    path = result_file(one_of("name", name, CONTENDERS))
    if not path.exists():
        raise FileNotFoundError(
            f"no recorded results for {name!r}: run `python -m helpers.studies.retrieval --only {name}`."
        )
    stored = json.loads(path.read_text(encoding="utf-8"))
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in stored["settings"].items()}
    settings = Settings(**fields)
    results = [
        Result(
            name,
            int(seed),
            settings,
            {int(n): torch.tensor(v) for n, v in entry["accuracy"].items()},
            entry["train"],
            entry["seconds"],
        )
        for seed, entry in stored["seeds"].items()
    ]
    return Band(name, settings, results)


def load_model(name: str, seed: int, **kwargs) -> CausalLM:
    """A recorded model with its weights, in eval mode. ``kwargs`` reach the scheme (stretched frequencies, say).

    Raises:
        ValueError: on an unknown name. FileNotFoundError: naming the command that records it.
    """
    path = checkpoint_file(one_of("name", name, CONTENDERS), seed)
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint {path.name}: run `python -m helpers.studies.retrieval --only {name}`.")
    model = make_model(name, QUICK, seed, **kwargs)
    model.load_state_dict(load_file(path))
    return model.eval()


def main() -> None:
    """Command line: record contenders that are missing from ``results/``. Stop it at any time; start it again."""
    parser = argparse.ArgumentParser(prog="python -m helpers.studies.retrieval", description=main.__doc__)
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.only:
        for seed in range(args.seeds):
            record(name, seed, args.device)
            last = next(r for r in recorded(name).results if r.seed == seed)
            cells = {n: [round(v) for v in row.tolist()] for n, row in last.accuracy.items()}
            print(name, "seed", seed, cells, f"{last.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
