"""Each fault of a project's checkpoint runs without an error, and is found from a loss or by a probe: one sign each."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers import corpus
from helpers.check_encoding import check_encoding
from helpers.model import KVCache
from helpers.studies import broken

INPUTS, TARGETS = corpus.excerpt()[:, :-1], corpus.excerpt()[:, 1:]


@torch.no_grad()
def signs(fault: str, word: str) -> dict[str, float]:
    """Loss of short texts; what it gains when they stand 5,000 positions later, and when they are read with a cache."""
    run, cache = broken.suspect(word, fault), KVCache()

    def loss(logits: torch.Tensor, start: int = 0) -> float:
        return F.cross_entropy(logits.transpose(1, 2), TARGETS[:, start:]).item()

    plain = run(INPUTS)
    run(INPUTS[:, :32], cache=cache)
    steps = torch.cat([run(INPUTS[:, t : t + 1], cache=cache) for t in range(32, 64)], 1)
    return {
        "short": loss(plain),
        "far": loss(run(INPUTS, position_ids=torch.arange(64)[None] + 5000)) - loss(plain),
        "cached": loss(steps, 32) - loss(plain[:, 32:], 32),
        "failed": {check for check, passed in check_encoding(run, len(corpus.ALPHABET), KVCache).items() if not passed},
    }


@pytest.mark.parametrize("word", ["a", "bb", "ccc", "dddd", ""])
def test_each_fault_has_its_sign_in_each_model(word):
    healthy, found = signs("none", word), {fault: signs(fault, word) for fault in broken.FAULTS}
    assert healthy["short"] < 1.9 and abs(healthy["far"]) < 1e-3 and abs(healthy["cached"]) < 1e-3
    assert found["wrong layout"]["short"] > healthy["short"] + 0.8
    assert 0.05 < found["wrong base"]["short"] - healthy["short"] < 0.3
    assert found["off by one with a cache"]["cached"] > 0.01 and found["positions in float16"]["far"] > 0.4
    for fault in ("off by one with a cache", "positions in float16"):
        assert abs(found[fault]["short"] - healthy["short"]) < 1e-4, "a short text does not show it"
    assert {fault: signs["failed"] for fault, signs in found.items()} == {
        "none": set(), "wrong layout": set(), "wrong base": set(),
        "off by one with a cache": {"cache equals recomputation"}, "positions in float16": {"far away is exact"},
    }  # fmt: skip


def test_a_word_decides_and_thirty_teams_get_all_of_them():
    words = [f"team {i}" for i in range(30)]
    assert {broken.fault_of(word) for word in words} == set(broken.FAULTS)
    assert [broken.fault_of(word) for word in words] == [broken.fault_of(word) for word in words]
    with torch.no_grad():
        assert torch.equal(
            broken.suspect("team 1")(INPUTS), broken.suspect("team 1", broken.fault_of("team 1"))(INPUTS)
        )
