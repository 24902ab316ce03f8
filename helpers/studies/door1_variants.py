"""Five other ways to let a sinusoidal table in at door 1, trained under the race's settings (notebook 02).

``concatenate``  the last 16 of 64 channels hold a table of width 16; tokens keep 48
``narrow``       the same narrow table added to the last 16 channels; tokens keep all 64
``every``        the table of width 64 is added again in front of every block, and the residual carries it
``lost``         every block computes attention from x + table but adds the result to x: the residual forgets it
``lost_once``    the same mistake in the first block only, and no table after it

``Anywhere`` adds the plain table, but training windows start at a random position: is it the angles never seen that
break a sinusoidal model beyond its length?

``python3 tasks.py record door1_variants`` records five seeds of each at the race's rate and budget. Two seeds at three
times the rate and, apart from it, at four times the budget tell whether the order of the variants is one of 400 steps
(``concatenate``, ``lost`` and ``anywhere``; chosen on 2026-11-30, before these runs): ``--lr`` and ``--steps``.
"""

from __future__ import annotations

import dataclasses
import itertools

import torch
from torch import Tensor

from .. import corpus, race, record, store
from ..encodings import Sinusoidal
from ..encodings.sinusoidal import sinusoidal_table
from ..model import Block, CausalLM, Context, KVCache
from ..validate import even_int, one_of, positive_int, require

COMMAND = "python3 tasks.py record door1_variants"
VARIANTS = ("concatenate", "lost", "lost_once", "narrow", "every")


class Concatenated(Sinusoidal):
    """Overwrites the last ``width`` channels of the embedding with a table of that width: concatenation at equal cost.

    With ``overlap`` the narrow table is added to those channels instead, and tokens keep them too.
    """

    def __init__(self, d_model: int, width: int = 16, base: float = 10_000.0, overlap: bool = False):
        """d_model: even width of the model. width: even number of channels for position, below d_model (ValueError)."""
        super().__init__(d_model, base)
        self.width = even_int("width", width, "a sine and a cosine share each frequency")
        require(width < d_model, "width", width, f"must leave channels for the tokens: below d_model={d_model}.")
        self.overlap = overlap

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        return sinusoidal_table(q_pos, self.width, self.base)

    def embed(self, x: Tensor, state: Tensor) -> Tensor:
        tokens, last = x[..., : -self.width], x[..., -self.width :]
        return torch.cat([tokens, (last if self.overlap else 0 * last) + state.to(x.dtype)], dim=-1)


class Anywhere(Sinusoidal):
    """While training, a window starts at a random position in 0 .. ``spread``; in eval mode at 0 like any other."""

    def __init__(self, d_model: int, spread: int, base: float = 10_000.0):
        """d_model: even width. spread: largest first position of a training window, from 1. ValueError otherwise."""
        super().__init__(d_model, base)
        self.spread = positive_int("spread", spread)

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        start = torch.randint(self.spread + 1, ()) if self.training else 0
        return super().prepare(q_pos + start, k_pos, allowed)


class Withheld(Sinusoidal):
    """Makes the table but does not add it: :class:`AddsInside` does."""

    def embed(self, x: Tensor, state: Tensor) -> Tensor:
        return x


class AddsInside(Block):
    """A block that adds the table itself. ``keep=False`` is the common bug: the residual carries x without it."""

    keep = True

    def forward(
        self, x: Tensor, ctx: Context, cache: KVCache | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """x: (B, T, d_model). Returns the same shape, and the attention weights if asked for."""
        h = x + ctx.state.to(x.dtype)
        mixed, weights = self.attention(self.norm1(h), ctx, cache, need_weights)
        x = (h if self.keep else x) + mixed
        return x + self.mlp(self.norm2(x)), weights


def make_model(variant: str, settings: race.Settings, seed: int) -> CausalLM:
    """A fresh model with one of :data:`VARIANTS`; at one seed all share the initial weights of :func:`race.make_model`.

    Raises:
        ValueError: on an unknown variant.
    """
    one_of("variant", variant, VARIANTS)
    model = race.make_model("none", settings, seed)
    if variant in ("concatenate", "narrow"):
        model.encoding = Concatenated(settings.d_model, settings.d_model // 4, overlap=variant == "narrow")
        return model
    model.encoding = Withheld(settings.d_model)
    for i, block in enumerate(model.blocks):
        if variant != "lost_once" or i == 0:
            other = AddsInside(settings.d_model, settings.n_heads, layer=i)
            other.keep = variant == "every"
            other.load_state_dict(block.state_dict())
            model.blocks[i] = other
    return model


def run(variant: str, settings: race.Settings, seed: int, device: str = "cpu") -> float:
    """Train one variant; returns its mean loss over a window of the training length, in nats a character."""
    model = make_model(variant, settings, seed)
    race.train(model, settings, seed, device, f"{variant}, seed {seed}")
    loss, _ = race.evaluate(model, settings, device, lengths=(settings.train_len,))
    return loss[settings.train_len].mean().item()


def run_anywhere(settings: race.Settings, seed: int, device: str = "cpu") -> dict[int, float]:
    """Train with windows that start anywhere up to the longest read-out; {length: loss of the last 32 positions}."""
    model = race.make_model("none", settings, seed)
    model.encoding = Anywhere(settings.d_model, settings.lengths[-1] - settings.train_len)
    torch.manual_seed(seed)  # of the starts
    race.train(model, settings, seed, device, f"anywhere, seed {seed}")
    return race.last_loss(model, settings, device)


def study() -> store.Study:
    """Where it is recorded: results/door1_variants, under the race's quick settings but for rate and budget."""
    shared = dataclasses.asdict(race.PRESETS["quick"])
    settings = {name: value for name, value in shared.items() if name not in ("lr", "steps")}
    return store.Study("door1_variants", ("variant", "lr", "steps", "seed"), ("length",), settings, COMMAND)


def _runs(variant: str, lr: float | None, steps: int | None) -> list[store.Run]:
    own = race.PRESETS["quick"]
    wanted = {"variant": variant, "lr": own.lr if lr is None else lr, "steps": steps or own.steps}
    return [run for run in study().load() if wanted.items() <= run.key.items()]


def recorded(lr: float | None = None, steps: int | None = None) -> dict[str, list[float]]:
    """{variant: one window mean a seed}, at the race's rate and steps unless others are asked for.

    A variant without a run there has an empty list. FileNotFoundError if the study was never recorded.
    """
    length = race.PRESETS["quick"].train_len
    return {variant: [run.value("mean", length=length) for run in _runs(variant, lr, steps)] for variant in VARIANTS}


def recorded_anywhere(lr: float | None = None, steps: int | None = None) -> dict[int, list[float]]:
    """{context length: loss of the last 32 positions, one a seed} of :func:`run_anywhere`; see :func:`recorded`."""
    runs = _runs("anywhere", lr, steps)
    return {n: [run.value("last", length=n) for run in runs] for n in race.PRESETS["quick"].lengths}


def record_run(variant: str, lr: float, steps: int, seed: int, device: str) -> store.Run:
    """One variant at one rate, budget and seed: its window mean; "anywhere" is read out at every length."""
    settings = dataclasses.replace(race.PRESETS["quick"], lr=lr, steps=steps)
    if variant == "anywhere":
        losses = run_anywhere(settings, seed, device)
        rows = [{"length": n, "score": "last", "value": round(v, 4)} for n, v in losses.items()]
    else:
        loss = run(variant, settings, seed, device)
        rows = [{"length": settings.train_len, "score": "mean", "value": round(loss, 4)}]
    return store.Run(rows, made=store.provenance(device, **corpus.SOURCE))


def main(argv: list[str] | None = None) -> None:
    """Record what is missing of the variants of door 1."""
    own = race.PRESETS["quick"]
    made = record.parser(COMMAND, main.__doc__, 5, (*VARIANTS, "anywhere"))
    made.add_argument("--lr", nargs="+", type=float, default=(own.lr,), help="learning rates (default: the race's)")
    made.add_argument("--steps", nargs="+", type=int, default=(own.steps,), help="training steps (default: the race's)")
    args = made.parse_args(argv)
    runs = itertools.product(args.only, args.lr, args.steps, range(args.seeds))
    record.record(study(), runs, record_run, **record.spread(args))
