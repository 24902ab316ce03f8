"""The recall task: what a sequence looks like, who can solve it, and that recordings reload exactly."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from helpers import store
from helpers.studies import retrieval
from helpers.studies.retrieval import IGNORE, QUICK, make_batch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_training_sequence_holds_one_set_and_asks_behind_it():
    ids, targets = make_batch(QUICK, 200, 64, generator())
    assert ((ids == QUICK.set_id).sum(1) == 1).all()
    slot = (ids == QUICK.set_id).long().argmax(1)
    assert (slot % 2 == 0).all() and slot.min() == 0 and slot.max() == 60
    value = ids.gather(1, slot[:, None] + 1)
    asked = ids == QUICK.get_id
    assert asked[:, -1].all() and (asked.long().argmax(1) > slot + 1).all()
    assert torch.equal(targets != IGNORE, asked) and (targets[asked] == value.expand_as(ids)[asked]).all()
    assert (asked.sum(1) == 1).any() and (asked.sum(1) > 5).any()  # some sequences ask once, some often


@pytest.mark.parametrize(("depth", "slot"), [(0.0, 0), (0.5, 30), (0.95, 56), (1.0, 60)])
def test_a_test_sequence_plants_at_its_depth_and_asks_once(depth, slot):
    ids, targets = make_batch(QUICK, 20, 64, generator(), depth)
    assert (ids[:, slot] == QUICK.set_id).all() and (ids == QUICK.set_id).sum() == 20
    assert (ids == QUICK.get_id).sum() == 20 and (targets != IGNORE).sum() == 20
    assert torch.equal(targets[:, -1], ids[:, slot + 1])


def test_an_oracle_scores_1_and_a_guess_about_a_thirtieth():
    class Oracle(torch.nn.Module):
        def hidden(self, x):
            slot = (x == QUICK.set_id).long().argmax(1, keepdim=True)
            return torch.nn.functional.one_hot(x.gather(1, slot + 1), QUICK.vocab_size).float(), []

        def lm_head(self, h):
            return h

    small = dataclasses.replace(QUICK, lengths=(64, 128), samples=64)
    assert all((row == 1).all() for row in retrieval.evaluate(Oracle(), small).values())
    blank = retrieval.make_model("none", small)
    assert retrieval.evaluate(blank, small)[64].mean() < 0.15


def test_batches_repeat_with_their_seed_and_test_sequences_never_change():
    assert torch.equal(make_batch(QUICK, 8, 64, generator(3))[0], make_batch(QUICK, 8, 64, generator(3))[0])
    assert not torch.equal(make_batch(QUICK, 8, 64, generator(3))[0], make_batch(QUICK, 8, 64, generator(4))[0])


def test_contenders_share_their_common_initial_weights():
    a, b = (retrieval.make_model(name, seed=2).blocks[1].attention.qkv.weight for name in ("rope", "alibi_steep"))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    "call",
    [
        lambda: make_batch(QUICK, 1, 3, generator()),
        lambda: make_batch(QUICK, 1, 64, generator(), depth=1.5),
        lambda: retrieval.run("rotary"),
        lambda: retrieval.run("rope", seed=-1),
        lambda: retrieval.load_model("rotary", 0),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError, match="length|depth|contender|seed"):
        call()


def test_record_and_reload(tmp_path, monkeypatch):
    tiny = dataclasses.replace(QUICK, d_model=16, n_layers=1, steps=4, batch=4, samples=32, lengths=(64, 128))
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    monkeypatch.setattr(retrieval, "QUICK", tiny)
    for only in ("alibi", "rope[base=500]"):
        retrieval.main(["--only", only, "--seeds", "2"])
    monkeypatch.setattr(retrieval, "run", lambda *args: pytest.fail("a recorded seed was run again"))
    retrieval.main(["--only", "alibi", "--seeds", "2"])
    band = retrieval.recorded("alibi")
    assert band.settings == tiny and [r.seed for r in band.results] == [0, 1] and band.grid().shape == (2, 5, 2)
    model = retrieval.load_model("alibi", 1)
    for n, row in retrieval.evaluate(model, tiny).items():
        torch.testing.assert_close(row, band.results[1].accuracy[n], atol=1e-4, rtol=0)
    assert retrieval.load_model("rope[base=500]", 0).encoding.base == 500
    monkeypatch.setattr(retrieval, "QUICK", dataclasses.replace(tiny, steps=5))
    with pytest.raises(store.OtherSettings, match="steps was 4, now 5; move the folder away"):
        retrieval.main(["--only", "alibi", "--seeds", "3"])


def test_missing_records_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    with pytest.raises(FileNotFoundError, match="run `python3 tasks.py record retrieval`"):
        retrieval.recorded("rope")
    with pytest.raises(FileNotFoundError, match="run `python3 tasks.py record retrieval --only rope`"):
        retrieval.load_model("rope", 0)


@pytest.mark.parametrize("name", ["rope", "alibi", "alibi_steep"])
def test_a_recorded_checkpoint_gives_the_recorded_accuracy(name):
    """Read out again on this machine: within two sequences of 128 a cell at the trained length."""
    band = retrieval.recorded(name)
    assert band.settings == QUICK
    fresh = retrieval.evaluate(retrieval.load_model(name, 0), lengths=(64,))[64]
    assert (fresh - band.results[0].accuracy[64]).abs().max() <= 0.016


def test_the_finding_stands_in_the_records():
    usual, steep = (retrieval.recorded(name).grid() for name in ("alibi", "alibi_steep"))
    assert usual.min() > 0.75 and usual[:, :, -1].mean() > 0.95
    assert steep[:, 0, -1].max() < 0.5 and steep[:, -1].min() > 0.85
