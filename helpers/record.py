"""Recording: run what is missing, one unit after another or side by side, and add each to its study as it comes.

The unit of work is one run of a :class:`helpers.store.Study`. It returns plain data, and only the process that was
started writes: so the units can run in this process, in several (``--jobs``), or on the workers of a Dask cluster
(``--cluster``), which need not share a disk with it. Stop it at any time and start it again: what is recorded is not
run again, and an unfinished training goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import itertools
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from . import corpus, race, store
from .validate import one_of, positive_int

CACHE = store.ROOT / ".cache"
"""Unfinished runs; git ignores it."""

Work = Callable[..., store.Run]
"""Does one run: called with the run's columns by name and ``device``."""


def record(
    study: store.Study,
    runs: Iterable[tuple[Any, ...]],
    work: Work,
    *,
    device: str = "cpu",
    jobs: int = 1,
    cluster: str | None = None,
) -> None:
    """Run what is missing of a study and add each run as it comes.

    Args:
        study: where the runs go.
        runs: their keys, in the order wanted.
        work: what a run does; a function that another process can import.
        device: "cpu" or "cuda".
        jobs: processes on this machine.
        cluster: address of a Dask scheduler, as in "tcp://10.0.0.1:8786"; jobs then go to its workers.

    Raises:
        ValueError: on a number of jobs below 1.
        store.OtherSettings: if the study was recorded with other settings.
    """
    positive_int("jobs", jobs)
    todo = study.missing(runs)
    print(f"{study.name}: {len(todo)} runs missing", flush=True)
    units = [functools.partial(_unit, work, dict(zip(study.run, run, strict=True)), device) for run in todo]
    for done, run in enumerate(_results(units, jobs, cluster), 1):
        study.add(run)
        where = " ".join(v if isinstance(v, str) else f"{column} {v}" for column, v in run.key.items())
        values = " ".join(f"{row['value']:.4g}" for row in run.rows[:4])
        print(f"{done}/{len(todo)}  {where}:  {values}  ({run.seconds:.0f} s)", flush=True)


def _unit(work: Work, key: dict[str, Any], device: str, worker: bool = False) -> store.Run:
    """One run, timed, on one thread."""
    if worker:  # Ctrl-C is for the process that was started; it ends the others
        with contextlib.suppress(ValueError):  # not the main thread of a cluster's worker
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    start = time.perf_counter()
    run = work(**key, device=device)
    return dataclasses.replace(run, key=key, seconds=round(time.perf_counter() - start, 1))


def _results(units: list[Callable[..., store.Run]], jobs: int, cluster: str | None) -> Iterator[store.Run]:
    """What the units give, in the order in which they finish (SystemExit if ``cluster`` is given without Dask)."""
    if jobs == 1 and cluster is None:
        yield from (unit() for unit in units)
        return
    import joblib

    with contextlib.ExitStack() as stack:
        if cluster is not None:
            try:
                from distributed import Client
            except ImportError:
                raise SystemExit("--cluster needs Dask: run `pip install distributed`.") from None
            stack.enter_context(Client(cluster))
            stack.enter_context(joblib.parallel_config("dask"))
            jobs = -1
        pool = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="all")
        yield from pool(joblib.delayed(unit)(worker=True) for unit in units)


# ------------------------------------------------------------------------------------------------- the command line


def parser(
    command: str,
    text: str | None,
    seeds: int | None = 5,
    only: Iterable[str] = (),
    check: Callable[[str], Any] | None = None,
) -> argparse.ArgumentParser:
    """What the recorders have in common: --seeds, --only, --device, --jobs and --cluster.

    Args:
        command: from a fresh shell, as in "python3 tasks.py record race".
        text: what it does.
        seeds: default of --seeds; None for a study without.
        only: names that --only picks from, and its default; empty for a study without.
        check: raises ValueError on a name that --only may not have; by default it must be one of ``only``.
    """
    made = argparse.ArgumentParser(prog=command, description=text)
    names = list(only)

    def known(name: str) -> str:
        try:
            check(name) if check else one_of("NAME", name, names)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return name

    if seeds is not None:
        made.add_argument("--seeds", type=_count, default=seeds, help=f"seeds 0 .. SEEDS-1 (default {seeds})")
    if names:
        made.add_argument("--only", nargs="+", type=known, default=names, metavar="NAME", help=f"of {', '.join(names)}")
    made.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    made.add_argument("--jobs", type=_count, default=1, help="processes on this machine")
    made.add_argument(
        "--cluster", metavar="ADDRESS", help="address of a Dask scheduler; needs `pip install distributed`"
    )
    return made


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def spread(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of :func:`record` that come from the command line."""
    return {"device": args.device, "jobs": args.jobs, "cluster": args.cluster}


def rounded(values: Iterable[float] | torch.Tensor, digits: int = 4) -> list[float]:
    """Numbers as they are stored."""
    return [round(v, digits) for v in (values.tolist() if isinstance(values, torch.Tensor) else values)]


# --------------------------------------------------------------------------------------------------------- the race


def keep_weights(contender: str, seed: int, preset: str) -> bool:
    """Which weights are kept: all seeds of RoPE (notebook 06 extends them), and seed 0 of every other contender."""
    return preset == "quick" and (contender == "rope" or seed == 0)


def race_run(
    contender: str,
    lr: float,
    steps: int,
    seed: int,
    device: str,
    preset: str,
    settings: race.Settings,
    keep: bool | None = None,
) -> store.Run:
    """One contender of the race at one rate, budget and seed. ``keep`` says whether its weights are kept; by default
    :func:`keep_weights` decides, for runs at the preset's own rate and budget."""
    own = settings
    settings = dataclasses.replace(own, lr=lr, steps=steps)
    unfinished = CACHE / f"race_{preset}" / f"{contender}-{lr}-{steps}-seed{seed}.pt"
    result = race.run(contender, seed, device=device, settings=settings, checkpoint=unfinished)
    kept = settings == own and keep_weights(contender, seed, preset) if keep is None else keep
    file = race.checkpoint_file(contender, seed, preset).name if kept else ""
    return store.Run(
        rows=[
            *({"length": n, "score": "last", "value": round(v, 4)} for n, v in result.last.items()),
            *(
                {"length": n, "depth": depth, "score": "recall", "value": round(share, 4)}
                for n, shares in result.recall.items()
                for depth, share in zip(settings.depths, shares.tolist(), strict=True)
            ),
            *({"score": f"choice: {name}", "value": round(value, 4)} for name, value in result.choice.items()),
        ],
        curves=[
            {"score": "train", "values": rounded(result.train, 3)},
            *({"length": n, "score": "loss", "values": rounded(curve)} for n, curve in result.loss.items()),
        ],
        weights={file: store.weights(result.model.state_dict())} if kept else {},
        made=store.provenance(device, **corpus.SOURCE),
    )


def record_race(
    contenders: Iterable[str | race.Contender],
    seeds: int = 5,
    preset: str = "quick",
    lr: Iterable[float] = (),
    steps: Iterable[int] = (),
    **spread: Any,
) -> None:
    """Record what is missing of the race: every contender at every rate, budget and seed.

    Args:
        contenders: schemes, keys or contenders.
        seeds: seeds 0 .. seeds - 1.
        preset: a key of ``race.PRESETS``.
        lr: learning rates; the preset's own by default.
        steps: numbers of training steps; the preset's own by default.
        spread: device, jobs and cluster, see :func:`record`.

    Raises:
        ValueError: on an unknown contender or preset, or a number of seeds below 1.
        store.OtherSettings: if the preset was recorded with other settings.
    """
    study, settings = race.study(preset), race.PRESETS[preset]
    names = [race.Contender.of(contender).key for contender in contenders]
    runs = [
        (name, rate, budget, seed)
        for seed, rate, budget, name in itertools.product(
            range(positive_int("seeds", seeds)), lr or (settings.lr,), steps or (settings.steps,), names
        )
    ]
    record(study, runs, functools.partial(race_run, preset=preset, settings=settings), **spread)


def main(argv: list[str] | None = None) -> None:
    """Record what is missing of the race. --only takes any contender, as "rope[base=500]"."""
    made = parser("python3 tasks.py record race", main.__doc__, 5, race.CONTENDERS, race.Contender.of)
    made.add_argument("--preset", default="quick", choices=race.PRESETS)
    made.add_argument("--lr", nargs="+", type=float, default=(), help="learning rates (default: the preset's)")
    made.add_argument("--steps", nargs="+", type=_count, default=(), help="training steps (default: the preset's)")
    args = made.parse_args(argv)
    record_race(args.only, args.seeds, args.preset, args.lr, args.steps, **spread(args))
