"""The toy tasks, the counting model, the scorecard and the drawings of notebook 01."""

from __future__ import annotations

import dataclasses

import matplotlib.pyplot as plt
import pytest
import torch

from helpers import corpus, pictures, race, scorecard
from helpers.encodings import ALiBi, Encoding
from helpers.studies import first_token, no_encoding, order_tasks
from helpers.studies.no_encoding import BOS
from helpers.studies.order_tasks import A, B, Settings

FAST = Settings(steps=150, test=1024)


@pytest.mark.parametrize("task", order_tasks.TASKS)
def test_a_sample_has_the_stated_shape_is_balanced_and_repeats(task):
    ids, labels = order_tasks.sample(task, 4000, seed=3)
    assert ids.shape == (4000, 16) and 0 <= ids.min() and ids.max() == 7
    assert 0.46 < labels.float().mean() < 0.54
    again, _ = order_tasks.sample(task, 4000, seed=3)
    assert torch.equal(ids, again)


def test_an_order_sequence_has_one_a_and_one_b_and_the_right_answer():
    ids, labels = order_tasks.sample("order", 500)
    assert ((ids == A).sum(1) == 1).all() and ((ids == B).sum(1) == 1).all()
    first_a, first_b = (ids == A).int().argmax(1), (ids == B).int().argmax(1)
    assert torch.equal(labels, (first_a < first_b).long())


def test_a_bag_sequence_never_ties():
    ids, labels = order_tasks.sample("bag", 2000)
    more = (ids == A).sum(1) - (ids == B).sum(1)
    assert (more % 2 == 1).all() and torch.equal(labels, (more > 0).long())
    assert ((ids == A).sum(1) + (ids == B).sum(1)).max() <= 15


def test_order_needs_positions_and_a_bag_does_not():
    assert 0.45 < order_tasks.train_and_score("order", "none", settings=FAST) < 0.55
    assert order_tasks.train_and_score("bag", "none", settings=FAST) > 0.9
    assert order_tasks.train_and_score("order", "learned", settings=FAST) > 0.9


def test_a_contender_is_trained_like_its_scheme_with_its_arguments():
    small = dataclasses.replace(FAST, steps=5)
    plain, shifted = (
        order_tasks.make_encoder(race.Contender.of(key), 1, small) for key in ("learned", "learned[std=0.5]")
    )
    torch.testing.assert_close(plain.encoding.table.weight * 0.5, shifted.encoding.table.weight)
    assert order_tasks.train_and_score("order", race.Contender("learned"), settings=small) == (
        order_tasks.train_and_score("order", "learned", settings=small)
    )


def test_a_symmetric_bias_cannot_solve_the_order_task():
    assert 0.45 < order_tasks.train_and_score("order", ALiBi(4), settings=FAST) < 0.55


@pytest.mark.parametrize("task", order_tasks.TASKS)
@pytest.mark.parametrize(("frame", "before", "behind"), [("first", 1, 0), ("both ends", 1, 1)])
def test_a_frame_adds_one_token_that_is_nowhere_else(task, frame, before, behind):
    plain, labels = order_tasks.sample(task, 200, seed=1)
    framed, same = order_tasks.sample(task, 200, seed=1, settings=Settings(frame=frame))
    assert torch.equal(labels, same) and framed.shape[1] == 16 + before + behind == Settings(frame=frame).train_len
    assert torch.equal(framed[:, before : 16 + before], plain)
    assert (framed == 8).sum(1).unique().tolist() == [before + behind] and (framed[:, 0] == 8).all()
    assert not behind or (framed[:, -1] == 8).all()


def test_a_frame_is_what_decides_whether_mirror_images_are_told_apart():
    """The proof that the symmetric encoder fails needs inputs whose mirror images are inputs."""
    for frame, alike in (("none", True), ("both ends", True), ("first", False)):
        settings = Settings(frame=frame)
        ids, _ = order_tasks.sample("order", 50, settings=settings)
        before, behind = order_tasks.FRAMES[frame]
        noise = ids[:, before : ids.shape[1] - behind]
        model = order_tasks.make_encoder(ALiBi(4), 0, settings).double()
        with torch.no_grad():
            answers, mirrored = (model.pooled(x) for x in (ids, order_tasks.framed(noise.flip(1), settings)))
        assert torch.allclose(answers, mirrored, atol=1e-10) == alike


def test_a_first_token_was_enough_in_every_recorded_run():
    found = {frame: first_token.recorded(first_token.SYMMETRIC, frame) for frame in order_tasks.FRAMES}
    assert {frame: len(right) for frame, right in found.items()} == {"none": 6, "first": 12, "both ends": 5}
    assert all(abs(right - 0.5) < 0.04 for frame in ("none", "both ends") for right in found[frame])
    assert min(found["first"]) > 0.8
    assert first_token.study().missing(first_token.keys()) == []


def test_bad_input_names_the_argument():
    with pytest.raises(ValueError, match="task='sort'"):
        order_tasks.train_and_score("sort", "none")
    with pytest.raises(ValueError, match="encoding"):
        order_tasks.train_and_score("order", torch.nn.Identity())
    with pytest.raises(ValueError, match="frame='last'"):
        Settings(frame="last")
    with pytest.raises(ValueError, match="seed=-1"):
        order_tasks.train_and_score("order", "none", seed=-1)
    with pytest.raises(ValueError, match="n=0"):
        order_tasks.sample("bag", 0)
    with pytest.raises(ValueError, match="highlight='window'"):
        pictures.doors.doors("window")


def test_windows_are_slices_of_the_data_behind_a_bos():
    data = torch.arange(1000) % 80
    ids = no_encoding.windows(data, 50, 20, bos=True, seed=1)
    plain = no_encoding.windows(data, 50, 20, bos=False, seed=1)
    assert (ids[:, 0] == BOS).all() and torch.equal(ids[:, 1:], plain[:, :-1])
    assert ((plain[:, 1:] - plain[:, :-1]) % 80 == 1).all()


def test_layer_states_are_the_residual_stream_and_leave_no_hook_behind():
    model = no_encoding.untrained_lm()
    ids = no_encoding.windows(torch.arange(500) % 80, 4, 16)
    states = no_encoding.layer_states(model, ids)
    assert [s.shape for s in states] == [(4, 16, 64)] * 2
    with torch.no_grad():
        assert torch.allclose(model.norm(states[-1]), model.hidden(ids)[0])
    assert not any(block._forward_hooks for block in model.blocks)


def test_the_recorded_model_knows_more_than_an_untrained_one():
    recorded, fresh = no_encoding.recorded_lm(), no_encoding.untrained_lm()
    assert dict(recorded.named_parameters()).keys() == dict(fresh.named_parameters()).keys()
    ids = no_encoding.windows(corpus.validation_text(), 64, 65)
    with torch.no_grad():
        losses = [
            torch.nn.functional.cross_entropy(m(ids[:, :-1]).transpose(1, 2), ids[:, 1:]) for m in (recorded, fresh)
        ]
    assert losses[0] < 2.5 < 4 < losses[1]


def test_training_starts_where_the_recording_did():
    settings = dataclasses.replace(no_encoding.SETTINGS, steps=2, batch=4)
    model, fresh = no_encoding.untrained_lm(), no_encoding.untrained_lm()
    assert len(no_encoding.train_lm(model, settings)) == 2 and not model.training
    assert any((p - q).abs().max() > 0 for p, q in zip(model.parameters(), fresh.parameters(), strict=True))


@pytest.mark.parametrize(("scheme", "orders"), [("none", 1), ("sinusoidal", 60), ("rope", 60), ("alibi", 30)])
def test_orders_told_apart(scheme, orders):
    assert scorecard.orders_told_apart(scheme) == orders


def test_the_scorecard_sees_relative_absolute_and_undefined():
    assert scorecard.change_when_moved("none") == scorecard.change_when_moved("alibi") == 0
    assert scorecard.change_when_moved("rope") < 1e-3 < 0.1 < scorecard.change_when_moved("sinusoidal")
    assert scorecard.change_when_moved("learned") != scorecard.change_when_moved("learned")  # NaN: no such row
    assert scorecard.n_parameters("learned") == 64 * 32 and scorecard.n_parameters("alibi") == 0


def test_all_orders_are_different_and_complete():
    orders = scorecard.all_orders()
    assert orders.shape == (60, 5) and len(torch.unique(orders, dim=0)) == 60
    assert (orders.sort(1).values == orders[0].sort().values).all()


@pytest.mark.parametrize("highlight", [None, *pictures.doors.DOORS])
def test_the_doors_are_drawn(highlight):
    fig = pictures.doors.doors(highlight)
    texts = {text.get_text() for text in fig.axes[0].texts}
    assert {door["title"] for door in pictures.doors.DOORS.values()} <= texts
    plt.close(fig)


def test_settings_are_the_stated_ones():
    stated = {"seq_len": 16, "d_model": 32, "n_heads": 4, "n_layers": 1, "steps": 300, "batch": 64, "lr": 3e-3}
    assert stated.items() <= dataclasses.asdict(Settings()).items()


def test_an_encoding_of_the_readers_own_plugs_in():
    class Ramp(Encoding):
        def prepare(self, q_pos, k_pos, allowed):
            return q_pos[..., None] / 16

        def embed(self, x, state):
            return torch.cat([state.expand(len(x), -1, -1), x[..., 1:]], dim=-1)

    assert scorecard.orders_told_apart(Ramp()) == 60
