"""The task of the fair race: text with a fact to keep, and the windows that ask for it."""

import dataclasses

import pytest
import torch

from helpers import corpus, race, task
from helpers.model import CausalLM

N = len(corpus.ALPHABET)
SMALL = dataclasses.replace(
    race.PRESETS["fair"], d_model=16, n_heads=2, n_layers=1, train_len=32, batch=8, steps=6, lengths=(32, 64),
    segments=6, depths=(0.0, 0.5),
)  # fmt: skip


def test_half_of_the_rows_hold_one_marker_and_ask_for_it_behind():
    plain = list(task.windows(corpus.load().train, 32, 8, 40, seed=5))
    mixed = list(task.with_facts(iter(plain), markers=16, max_asks=16, seed=5))
    assert len(mixed) == 40
    asked = []
    for (text, after), (inputs, targets) in zip(plain, mixed, strict=True):
        assert torch.equal(text[4:], inputs[4:]) and torch.equal(after[4:], targets[4:])
        marker, ask = (inputs >= N) & (inputs < N + 16), inputs == task.question_id(16)
        assert marker[:4].sum(1).tolist() == [1] * 4
        slot = marker[:4].int().argmax(1)
        for row in range(4):
            places = ask[row].nonzero().flatten()
            assert 1 <= len(places) <= 16 and places.min() > slot[row]
            assert (targets[row][places] == inputs[row, slot[row]]).all()
            asked.append(len(places))
        text_still = ~ask
        assert torch.equal(targets[text_still], after[text_still])
        assert torch.equal(inputs[text_still & ~marker], text[text_still & ~marker])
    assert len(set(asked)) > 8  # each window draws its own number of questions


def test_the_batches_are_the_same_for_every_scheme_and_differ_by_seed():
    first, again, other = (next(race.batches(SMALL, seed)) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_settings_are_chosen_on_text_that_is_not_reported():
    valid, longest = corpus.load().valid, SMALL.lengths[-1]
    choice, report = (race.segments(SMALL, part) for part in ("choice", "report"))
    half = len(valid) // 2
    starts = torch.linspace(0, half - longest - 1, SMALL.segments).long()
    assert torch.equal(choice[-1], valid[starts[-1] : starts[-1] + longest + 1]) and starts[-1] + longest < half
    starts = half + torch.linspace(0, len(valid) - half - longest - 1, SMALL.segments).long()
    assert torch.equal(report[0], valid[half : half + longest + 1])
    assert torch.equal(report[-1], valid[starts[-1] : starts[-1] + longest + 1])


class Recalls(torch.nn.Module):
    """A reader that finds the marker if it stands within ``reach`` tokens of the question."""

    def __init__(self, reach):
        super().__init__()
        self.reach, self.lm_head = reach, torch.nn.Identity()

    def hidden(self, ids):
        near = ids.clone()
        near[:, : max(0, ids.shape[1] - 1 - self.reach)] = 0
        markers = torch.where((near >= N) & (near < N + 16), near, 0).amax(1)
        logits = torch.nn.functional.one_hot(markers, N + 17).float()
        return logits[:, None].expand(-1, ids.shape[1], -1), []


def test_recall_counts_the_markers_found():
    shares = race.recall(Recalls(40), SMALL)
    assert {n: share.tolist() for n, share in shares.items()} == {32: [1, 1], 64: [0, 1]}
    assert task.slot(64, 0.5) == 31  # 32 tokens before the question
    assert race.recall(Recalls(31), SMALL)[64].tolist() == [0, 0]
    assert {n: share.tolist() for n, share in race.recall(Recalls(32), SMALL).items()}[64] == [0, 1]


def test_questions_change_two_tokens_and_nothing_else():
    text = race.segments(SMALL)[:, :64]
    ids, marker = task.questions(text, 16, 0.5, seed=2)
    changed = ids != text
    assert (changed.sum(1) == 2).all() and (ids[:, 31] == marker).all() and (ids[:, -1] == N + 16).all()
    assert len(marker.unique()) > 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: task.questions(torch.zeros(1, 4, dtype=torch.long), 16, 1.5), "depth=1.5"),
        (lambda: task.segments(2, 8, "train"), "part='train'"),
        (lambda: race.segments(SMALL, "valid"), "part='valid'"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_run_reports_both_needs_and_what_it_is_chosen_by():
    result = race.run("alibi", settings=SMALL)
    assert isinstance(result.model, CausalLM) and result.model.lm_head.out_features == N + 17
    assert set(result.last) == {32, 64} and {n: len(share) for n, share in result.recall.items()} == {32: 2, 64: 2}
    assert set(result.choice) == {"last", "not recalled"}
    assert result.choice["last"] == pytest.approx(race.last_loss(result.model, SMALL, part="choice")[32])
    assert result.choice["last"] != pytest.approx(result.last[32], abs=1e-4)
    plain = race.run("alibi", settings=race.Settings(d_model=16, n_heads=2, n_layers=1, train_len=32, batch=4, steps=2))
    assert plain.recall == {} and plain.choice == {}
