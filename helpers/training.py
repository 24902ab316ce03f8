"""The one training loop: AdamW, a schedule, clipping, and a checkpoint that refuses to go on with other settings."""

from __future__ import annotations

import io
import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from . import store
from .progress import track
from .validate import positive_int, require

Schedule = Callable[[Optimizer], LRScheduler]
SECONDS = "COURSE_TRAINING_SECONDS"
"""Name of the environment variable in which the benchmark names a file: every training run adds its processor time."""


def warm_up(warmup: int) -> Schedule:
    """A rate that rises linearly over ``warmup`` steps and then stays, so that stopping early means the same."""
    return lambda optimizer: LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup))


def cosine_factor(step: int, warmup: int, steps: int) -> float:
    """Factor on the rate: linear warm-up, then cosine to a tenth at the last of ``steps``."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.55 + 0.45 * math.cos(math.pi * done)


def cosine(warmup: int, steps: int) -> Schedule:
    """The schedule of :func:`cosine_factor`."""
    return lambda optimizer: LambdaLR(optimizer, lambda step: cosine_factor(step, warmup, steps))


def one_cycle(lr: float, steps: int) -> Schedule:
    """One rise and one fall of the rate, with its maximum at ``lr``."""
    return lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)


def fit(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, ...]],
    loss: Callable[..., Tensor],
    *,
    steps: int,
    lr: float,
    schedule: Schedule,
    betas: tuple[float, float] = (0.9, 0.95),
    weight_decay: float = 0.1,
    clip: float | None = 1.0,
    device: str = "cpu",
    label: str = "training",
    on_step: Callable[[int, Tensor], None] | None = None,
    checkpoint: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    every: int = 500,
) -> list[float]:
    """Train in place with AdamW.

    Args:
        model: trained in place, moved to ``device``, left in training mode.
        batches: tuples of tensors, ``steps`` of them or more; the same from the start at every call, since a resumed
            run draws those that it has seen again and skips them.
        loss: called with the model and the tensors of one batch on ``device``; returns a number in nats.
        steps: optimizer steps.
        lr: learning rate, times what ``schedule`` makes of it.
        schedule: makes the scheduler of an optimizer, as :func:`cosine` does.
        betas: of AdamW.
        weight_decay: of AdamW.
        clip: largest norm of all gradients together; None does not clip.
        device: as in torch.
        label: shown with the progress.
        on_step: called after every step with the number of steps done and the loss of the last, a detached scalar. It
            may read the model, in eval mode too.
        checkpoint: a file that keeps the state of an unfinished run; if it exists, training goes on from there, and
            it is removed at the end. None keeps nothing.
        settings: everything else that the run depends on (data, seed, shape, scheme), stored in the checkpoint and
            compared; needed with ``checkpoint``.
        every: steps between two checkpoints.

    Returns:
        The loss of every step, (steps,).

    Raises:
        ValueError: on a number of steps below 1, or a checkpoint without settings.
        store.OtherSettings: if the checkpoint was begun with other settings.
        store.BrokenFile: if the checkpoint cannot be read.
    """
    positive_int("steps", steps)
    positive_int("every", every)
    require(checkpoint is None or settings is not None, "settings", None, "a checkpoint needs what the run depends on.")
    began = time.process_time()
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule(optimizer)}
    own = {"steps": steps, "lr": lr, "betas": betas, "weight_decay": weight_decay, "clip": clip}
    wanted = store.plain({"optimizer": own, **(settings or {})})
    losses: list[Tensor] = []
    if checkpoint is not None and checkpoint.exists():
        losses = _resume(checkpoint, parts, wanted, device)
    rest = itertools.islice(batches, len(losses), steps)
    for batch in track(rest, steps - len(losses), label):
        value = loss(model, *(part.to(device) for part in batch))
        optimizer.zero_grad()
        value.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        parts["schedule"].step()
        losses.append(value.detach())
        if on_step is not None:
            on_step(len(losses), losses[-1])
            model.train()
        if checkpoint is not None and len(losses) % every == 0:
            _keep(checkpoint, parts, wanted, losses)
    require(len(losses) == steps, "batches", f"{len(losses)} of them", f"there must be steps={steps}.")
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    if SECONDS in os.environ:
        with open(os.environ[SECONDS], "a", encoding="utf-8") as file:
            file.write(f"{time.process_time() - began}\n")
    return torch.stack(losses).tolist()


def _keep(checkpoint: Path, parts: dict[str, Any], settings: dict[str, Any], losses: list[Tensor]) -> None:
    state = {key: part.state_dict() for key, part in parts.items()}
    state |= {"settings": settings, "losses": torch.stack(losses), "random": torch.get_rng_state()}
    data = io.BytesIO()
    torch.save(state, data)
    store.write_whole(checkpoint, data.getvalue())


def _resume(checkpoint: Path, parts: dict[str, Any], settings: dict[str, Any], device: str) -> list[Tensor]:
    """Load an unfinished run into ``parts``; the losses so far."""
    try:
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        stored = saved["settings"]
    except Exception as error:  # whatever a damaged or foreign file makes the reader raise
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        raise store.broken(checkpoint, reason) from None
    store.check_settings(checkpoint, stored, settings, "delete it to train from the start")
    for key, part in parts.items():
        part.load_state_dict(saved[key])
    torch.set_rng_state(saved["random"].cpu())
    return list(saved["losses"])
