"""Record the race: every contender, several seeds, into one result file a contender. Stop it and start it again.

The unit of work is one contender at one seed. It returns plain data, and only the process that was started writes:
so the units can run in this process, in several (``--jobs``), or on the workers of a Dask cluster (``--cluster``),
which need not share a disk with it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import torch
from safetensors.torch import save

from . import corpus, race, store
from .encodings import SCHEMES
from .validate import positive_int

CACHE = race.RESULTS.parent / ".cache"
"""Unfinished runs; git ignores it."""


def unit(
    name: str, seed: int, preset: str, settings: race.Settings, device: str
) -> tuple[str, int, dict[str, Any], bytes]:
    """Run one contender at one seed: its name, seed, entry of the result file, and weights as safetensors bytes."""
    torch.set_num_threads(1)
    result = race.run(
        name, seed, device=device, settings=settings, checkpoint=CACHE / f"race_{preset}" / f"{name}-seed{seed}.pt"
    )
    entry = {
        "loss": {str(n): [round(v, 4) for v in loss.tolist()] for n, loss in result.loss.items()},
        "last": {str(n): round(v, 4) for n, v in result.last.items()},
        "train": [round(v, 3) for v in result.train],
        "seconds": round(result.seconds, 1),
        "provenance": store.provenance(device, **corpus.SOURCE),
    }
    weights = {key: value.detach().cpu().contiguous() for key, value in result.model.state_dict().items()}
    return name, seed, entry, save(weights)


def stored(name: str, preset: str) -> dict[str, Any]:
    """The result file of a contender, or an empty one; RuntimeError if it was recorded with other settings."""
    fresh = {
        "name": name,
        "settings": dataclasses.asdict(race.PRESETS[preset]),
        "seeds": {},
    }
    path = race.result_file(name, preset)
    if not path.exists():
        return fresh
    old = json.loads(path.read_text(encoding="utf-8"))
    if old["settings"] != json.loads(json.dumps(fresh["settings"])):
        raise RuntimeError(f"{path.name} was recorded with other settings; move it away to record it again.")
    return old


def add(name: str, seed: int, preset: str, entry: dict[str, Any]) -> None:
    """Add one seed to a result file. A run stopped here leaves the old file whole."""
    content = stored(name, preset)
    content["seeds"][str(seed)] = entry
    content["seeds"] = dict(sorted(content["seeds"].items(), key=lambda item: int(item[0])))
    path = race.result_file(name, preset)
    path.parent.mkdir(parents=True, exist_ok=True)
    store.write_whole(path, (json.dumps(content, separators=(",", ":")) + "\n").encode())


def keep_weights(name: str, seed: int, preset: str) -> bool:
    """Which weights are kept: all seeds of RoPE (notebook 06 extends them), and seed 0 of every other contender."""
    return preset == "quick" and (name == "rope" or seed == 0)


def missing(names: list[str], seeds: int, preset: str) -> list[tuple[str, int]]:
    """Contenders and seeds that no result file holds yet, seed by seed."""
    have = {name: stored(name, preset)["seeds"] for name in names}
    return [(name, seed) for seed in range(seeds) for name in names if str(seed) not in have[name]]


def record(
    names: list[str],
    seeds: int = 5,
    preset: str = "quick",
    device: str = "cpu",
    jobs: int = 1,
    cluster: str | None = None,
) -> None:
    """Run what is missing and write each result as it comes.

    Args:
        names: schemes, keys of ``helpers.encodings.SCHEMES``.
        seeds: seeds 0 .. seeds - 1.
        preset: a key of ``race.PRESETS``.
        device: "cpu" or "cuda".
        jobs: processes on this machine.
        cluster: address of a Dask scheduler, as in "tcp://10.0.0.1:8786"; jobs then go to its workers.

    Raises:
        ValueError: on a number of seeds or jobs below 1.
        RuntimeError: if a contender was recorded with other settings.
    """
    positive_int("seeds", seeds)
    positive_int("jobs", jobs)
    todo = missing(names, seeds, preset)
    print(f"{len(todo)} runs missing", flush=True)
    for done, (name, seed, entry, weights) in enumerate(results(todo, preset, device, jobs, cluster), 1):
        if keep_weights(name, seed, preset):
            race.result_file(name, preset).parent.mkdir(parents=True, exist_ok=True)
            store.write_whole(race.checkpoint_file(name, seed, preset), weights)
        add(name, seed, preset, entry)
        losses = " ".join(f"{n}: {v:.2f}" for n, v in entry["last"].items())
        print(f"{done}/{len(todo)}  {name:12s} seed {seed}  {losses}  ({entry['seconds']:.0f} s)", flush=True)


def results(
    todo: list[tuple[str, int]], preset: str, device: str, jobs: int, cluster: str | None
) -> Iterator[tuple[str, int, dict[str, Any], bytes]]:
    """The units of ``todo`` in the order in which they finish (SystemExit if ``cluster`` is given without Dask)."""
    settings = race.PRESETS[preset]
    if jobs == 1 and cluster is None:
        yield from (unit(name, seed, preset, settings, device) for name, seed in todo)
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
        yield from pool(joblib.delayed(unit)(name, seed, preset, settings, device) for name, seed in todo)


def main(argv: list[str] | None = None) -> None:
    """Record the contenders of the race that are missing from results/. Stop it at any time and start it again."""
    parser = argparse.ArgumentParser(prog="tasks.py race", description=main.__doc__)
    parser.add_argument("--preset", default="quick", choices=race.PRESETS)
    parser.add_argument("--only", nargs="+", default=list(race.CONTENDERS), choices=list(SCHEMES), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 .. SEEDS-1 (default 5)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--jobs", type=int, default=1, help="processes on this machine")
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="address of a Dask scheduler; needs `pip install distributed`"
    )
    args = parser.parse_args(argv)
    record(args.only, args.seeds, args.preset, args.device, args.jobs, args.cluster)


if __name__ == "__main__":
    main()
