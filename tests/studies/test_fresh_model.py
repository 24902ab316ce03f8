"""Models before training: what the recorded study measures, and that it measures it again."""

from __future__ import annotations

import pytest
import torch

from helpers import corpus
from helpers.studies import fresh_model as study

IDS = corpus.excerpt()[:4, : study.LENGTH]


def test_blind_attention_prefers_no_distance_and_a_bias_does():
    blind = study.make_model("none", 64, 2, seed=0)
    for block in blind.blocks:
        torch.nn.init.zeros_(block.attention.qkv.weight)  # every logit is 0: the causal mask is all that is left
    assert study.preference(blind, IDS) == pytest.approx(torch.ones(8, study.LENGTH // 2), abs=1e-5)
    steep = study.preference(study.make_model("alibi", 64, 2, seed=0), IDS)
    assert (steep[0].diff() < 0).all() and steep[0, 0] > 5 > 0.1 > steep[0, -1]


def test_behind_norms_ten_times_the_table_is_a_tenth_of_the_gradient():
    model = study.make_model("none", 64, 2, seed=0)
    small, large = (study.gradients(model, IDS, gain) for gain in (1_000, 10_000))
    assert large[0] == pytest.approx(small[0] / 10, rel=0.02) and large[1] == pytest.approx(small[1], rel=0.02)
    assert all(weight.grad is None for weight in model.parameters())
    bare = study.without_norms(model)
    assert study.gradients(bare, IDS, 100)[1] > 50 * study.gradients(bare, IDS, 1)[1]


def test_the_recorded_ratios_are_measured_again():
    recorded = {tuple(run.key.values()): run for run in study.study().load()}
    assert len(recorded) == len(study.CONTENDERS) * len(study.WIDTHS) * len(study.DEPTHS) * 5
    for contender in ("none", "sinusoidal"):
        fresh = study.record_run(contender, 64, 2, 1, "cpu")
        for row in fresh.rows:
            at = {column: row[column] for column in ("norm", "gain") if column in row}
            assert row["value"] == pytest.approx(recorded[contender, 64, 2, 1].value(row["score"], **at), rel=0.1)
