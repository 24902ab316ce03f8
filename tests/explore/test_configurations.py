"""``extend_your_model`` reads configurations as helpers do, names what is missing, and its edits do what is drawn."""

from __future__ import annotations

import copy
import json

import pytest

from helpers import explore
from helpers.encodings import from_config
from helpers.sources import DATA
from tests.explore.rows import read

FILES = {
    path.stem: json.loads(path.read_text()) for path in (DATA / "configs").glob("*.json") if path.stem != "sources"
}
PLAIN = {"model_type": "some", "head_dim": 64, "rope_theta": 500_000, "max_position_embeddings": 8192}


def ours(config) -> dict | None:
    """What Python reads, or None if it refuses the file or finds no rotation."""
    try:
        found = read(config)
    except (ValueError, AttributeError, StopIteration):
        return None
    return found if found["kind"] != "proportional" and found["original"] is not None else None


def test_every_published_file_is_read_as_helpers_read_it(evaluate):
    found = evaluate("extend_your_model", [("read", [json.dumps(config)]) for config in FILES.values()])
    agreed = 0
    for (name, config), theirs in zip(FILES.items(), found, strict=True):
        expected = ours(config)
        if expected is None:
            assert theirs["found"] is None and theirs["problem"], name
            continue
        agreed += 1
        for key, value in expected.items():
            if key == "rope":  # helpers complete it by what other keys say
                continue
            assert theirs["found"][key] == value, f"{name}, {key}: {theirs['found'][key]}, not {value}"
    assert agreed >= 38


def changed(**keys) -> dict:
    return {key: value for key, value in {**PLAIN, **keys}.items() if value != "absent"}


YARN = {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 8192}
LONG = {
    "rope_type": "longrope",
    "short_factor": [1] * 32,
    "long_factor": [2] * 32,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (changed(rope_theta="absent"), '"rope_theta" is missing'),
        (changed(max_position_embeddings="absent"), '"max_position_embeddings" is missing'),
        (changed(head_dim="absent"), '"hidden_size" is missing'),
        (changed(head_dim="absent", hidden_size=4096), '"num_attention_heads" is missing'),
        (changed(rope_scaling={"rope_type": "linear"}), '"factor" is missing'),
        (changed(rope_scaling={**YARN, "factor": None}), '"factor" is missing'),
        (changed(rope_scaling={"rope_type": "yarn", "factor": 4}), '"original_max_position_embeddings" is missing'),
        (changed(rope_parameters={**LONG, "long_factor": None}), '"long_factor" is missing'),
        (changed(rope_parameters={**LONG, "long_factor": [1]}), '"long_factor" has 1'),
        (changed(rope_parameters={"rope_type": "llama3", "factor": 8}), '"low_freq_factor" is missing'),
        (changed(rope_scaling={"type": "newest", "factor": 2}), '"newest"'),
        (changed(rope_theta="10000"), '"rope_theta" is "10000"'),
        (changed(rope_theta=0), '"rope_theta" is 0'),
        (changed(head_dim=64.5), '"head_dim"'),
        (changed(head_dim=7), "must be even"),
        (changed(partial_rotary_factor=0.01), "must be even"),
        (changed(rotary_emb_base=10_000), "different things"),
        (changed(model_type="bert"), "do not rotate"),
        (changed(model_type="t5"), "do not rotate"),
        (changed(alibi=True), "do not rotate"),
        (changed(qk_rope_head_dim=64), '"qk_nope_head_dim" is missing'),
        ([1, 2], "one JSON object"),
        (None, "one JSON object"),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_named_and_nothing_is_guessed(config, words, evaluate):
    (found,) = evaluate("extend_your_model", [("read", [json.dumps(config)])])
    assert found["found"] is None and words in found["problem"]
    assert not isinstance(config, dict) or ours(config) is None, "helpers refuse it too"


def test_half_a_file_is_no_json_yet(evaluate):
    (found,) = evaluate("extend_your_model", [("read", ['{"head_dim": 64,'])])
    assert found["found"] is None and found["problem"].startswith("This is not JSON yet")


MODULE = explore.module("extend_your_model")
WRITTEN = [rule for rule in MODULE.RULES if rule not in (MODULE.AS_PUBLISHED, "LongRoPE")]


@pytest.mark.parametrize("spelling", MODULE.SPELLINGS)
@pytest.mark.parametrize("rule", WRITTEN)
def test_the_edit_makes_the_frequencies_that_are_drawn(rule, spelling, evaluate):
    factor, models = 6.5, list(explore.data("extend_your_model"))
    shapes = [read(explore.data("extend_your_model")[model]["config"]) for model in models]
    calls = [("edit", [shape, rule, factor, shape["original"], 50, spelling]) for shape in shapes]
    calls += [("extended", [shape, rule, factor, shape["original"], 50]) for shape in shapes]
    found = evaluate("extend_your_model", calls)
    for model, shape, written, drawn in zip(models, shapes, found, found[len(models) :], strict=False):
        config = copy.deepcopy(explore.data("extend_your_model")[model]["config"])
        for key in ("rope_scaling", "rope_parameters", "rope_theta", "rotary_emb_base", "partial_rotary_factor"):
            config.pop(key, None)
        for key in ("rotary_pct", "rotary_dim", "original_max_position_embeddings", "n_positions"):
            config.pop(key, None)
        config |= {key: value for key, value in written["keys"].items() if value is not None}
        after = from_config(config, seq_len=round(factor * shape["original"]))
        assert after.inv_freq.tolist() == pytest.approx(drawn["inverse"], rel=1e-9), (model, written)
        assert after.attention_factor == pytest.approx(drawn["attention"])


def test_where_there_is_no_edit_the_reason_is_said(evaluate):
    phi, llama = (
        read(explore.data("extend_your_model")[n]["config"]) for n in ("phi-3.5-mini-instruct", "llama-2-7b-chat")
    )
    calls = [("edit", [shape, "LongRoPE", 8, 4096, 50, "rope_parameters"]) for shape in (phi, llama)]
    calls += [("extended", [llama, "LongRoPE", 8, 4096, 50])]
    with_lists, without, drawn = evaluate("extend_your_model", calls)
    assert with_lists["keys"] is None and "search" in with_lists["note"]
    assert without["keys"] is None and "no lists" in without["note"] and drawn is None
