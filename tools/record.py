"""`tasks.py record`: the one list of everything under results/, and what records it again."""

from __future__ import annotations

import difflib
import importlib
import sys
from typing import NamedTuple

from .common import Stop, say


class Recorder(NamedTuple):
    """One study: the module whose ``main(argv)`` records it, what it measures, minutes on one thread, what it needs."""

    module: str
    measures: str
    minutes: int
    needs: str = ""


TEXT, MODELS = "the text", "tasks.py pretrained"
STUDIES = {
    "race": Recorder("helpers.record", "the race: loss by length of every contender", 45, TEXT),
    "fair_race": Recorder(
        "helpers.studies.fair_race", "the fair race: text and recall, every scheme over its dials", 90, TEXT
    ),
    "slope_ladders": Recorder(
        "helpers.studies.slope_ladders", "the race with other slopes of ALiBi, at two rates", 15, TEXT
    ),
    "retrieval": Recorder("helpers.studies.retrieval", "recall by depth and length of a second tiny model", 80),
    "context_extension": Recorder(
        "helpers.studies.context_extension", "the race's RoPE model extended, without training and with a little", 140,
        "race, retrieval, the text",
    ),
    "initial_scale": Recorder(
        "helpers.studies.initial_scale", "the race with tokens and positions started at other scales", 15, TEXT
    ),
    "door1_variants": Recorder("helpers.studies.door1_variants", "five other ways in at door 1", 20, TEXT),
    "indexing": Recorder("helpers.studies.indexing", "indirect indexing: what and where at once", 65),
    "order_tasks": Recorder("helpers.studies.order_tasks", "what order costs: two toy tasks of notebook 01", 2),
    "order_use": Recorder("helpers.studies.order_use", "how much order a model without encoding reads", 20, TEXT),
    "previous_head": Recorder("helpers.studies.previous_head", "a head that looks one back, by optimizer", 4),
    "no_encoding": Recorder("helpers.studies.no_encoding", "a model without encoding, text behind BOS", 1, TEXT),
    "first_token": Recorder("helpers.studies.first_token", "symmetric ALiBi and order, behind a fixed token", 3),
    "fresh_model": Recorder("helpers.studies.fresh_model", "where fresh models look, and their gradients", 1),
    "bias_cost": Recorder("helpers.studies.bias_cost", "seconds and bytes of attention with ALiBi, four ways", 2),
    "rotation": Recorder("helpers.pretrained.rotation", "what rotation does in SmolLM2, 4 bits", 4, MODELS),
    "slow_pairs": Recorder("helpers.pretrained.slow_pairs", "SmolLM2, 4 bits, without its slow pairs", 5, MODELS),
    "distance": Recorder("helpers.pretrained.distance", "attention by distance in SmolLM2, 4 bits", 4, MODELS),
    "context": Recorder("helpers.pretrained.context", "SmolLM2, 4 bits, beyond its length", 300, MODELS),
    "needles": Recorder("helpers.pretrained.needles", "SmolLM2, 4 bits: many needles, copied from afar", 25, MODELS),
    "minilm": Recorder("helpers.pretrained.minilm", "what MiniLM's position table does", 1, MODELS),
    "vit": Recorder("helpers.pretrained.vit", "a vision transformer's grid of positions", 1, MODELS),
}  # fmt: skip


def listing() -> str:
    """The studies as a table."""
    rows = [("STUDY", "MEASURES", "MINUTES", "NEEDS")]
    rows += [(name, r.measures, str(r.minutes), r.needs or "nothing") for name, r in STUDIES.items()]
    width = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{n:{width[0]}}  {what:{width[1]}}  {m:>{width[2]}}  {needs}" for n, what, m, needs in rows]
    return "\n".join(
        [
            *lines,
            "",
            "python3 tasks.py record STUDY runs what is missing from results/; record STUDY -h lists its options.",
            "Minutes are for one thread of two cores, from an empty folder. To record anew, move the folder away.",
        ]
    )


def parse(argv: list[str]) -> tuple[str, list[str]]:
    """The study to record and its options. Where none is named the list of studies is printed and nothing else done.

    Raises:
        SystemExit: after the list.
        Stop: on an unknown study.
    """
    if not argv or argv[0] in ("-h", "--help", "--list"):
        say(listing())
        raise SystemExit(0)
    study, *options = argv
    if study not in STUDIES:
        close = difflib.get_close_matches(study, STUDIES, 1, 0.5)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise Stop(f"no study {study!r}.{hint} There are: {', '.join(STUDIES)}.")
    return study, options


def main(argv: list[str]) -> int:
    """List the studies, or record one: what is missing is run, what is there stays.

    Raises:
        Stop: on an unknown study, and with one line for whatever a user can mend: something that is not installed,
            settings that differ, a file that cannot be read.
    """
    study, options = parse(argv)
    from helpers import corpus, store
    from helpers.pretrained import weights

    mendable = (
        corpus.MissingText, weights.MissingWeights, weights.AlteredWeights, store.OtherSettings, store.BrokenFile,
        FileNotFoundError, PermissionError,
    )  # fmt: skip
    try:
        importlib.import_module(STUDIES[study].module).main(options)
    except mendable as error:
        raise Stop(str(error)) from None
    except KeyboardInterrupt:
        print(
            "\nstopped; what was recorded is kept, the same command goes on from there.",
            file=sys.stderr,
            flush=True,
        )
        return 130
    return 0
