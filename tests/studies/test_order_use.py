"""Shuffled contexts, and the head that looks one back: what the two studies of 01 and 02 compute."""

from __future__ import annotations

import math

import pytest
import torch

from helpers import race
from helpers.encodings.sinusoidal import shift_matrix, sinusoidal_table
from helpers.studies import order_use, previous_head


@pytest.mark.parametrize("kept", [0, 1, 3, 8])
def test_a_shuffle_keeps_the_last_characters_and_loses_none(kept):
    context = torch.arange(80).view(10, 8)
    mixed = order_use.shuffled(context, kept, torch.rand(10, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(mixed.sort(1).values, context)
    assert torch.equal(mixed[:, 8 - kept :], context[:, 8 - kept :])
    assert torch.equal(mixed, context) == (kept == 8)


def test_only_what_reads_order_pays_for_a_shuffle():
    data = torch.randint(79, (2_000,), generator=torch.Generator().manual_seed(1))
    settings = race.Settings(d_model=16, n_heads=2, n_layers=1)
    blind, reads = (race.make_model(name, settings, 0).double().eval() for name in ("none", "sinusoidal"))
    losses = order_use.loss_by_kept(blind, data, n=32, length=16 + 48)
    bag = [losses[kept] for kept in order_use.KEPT if kept >= 1]  # one causal layer: the last one, and a bag
    assert max(bag) - min(bag) < 1e-9 < abs(losses[0] - losses[1])
    losses = order_use.loss_by_kept(reads, data, n=32)
    assert abs(losses[1] - losses[64]) > 1e-6


def test_the_gradient_of_the_head_is_that_of_autograd():
    P, W = sinusoidal_table(torch.arange(20), 8).double(), torch.randn(8, 8, dtype=torch.float64, requires_grad=True)
    loss = -previous_head.log_previous(W, P).mean()
    loss.backward()
    ours, gradient = previous_head.loss_and_gradient(W.detach(), P)
    assert torch.allclose(ours, loss) and torch.allclose(gradient, W.grad)


def test_the_matrix_by_hand_leaves_the_seen_directions_and_needs_to():
    rows = sinusoidal_table(torch.arange(512), 64)
    found = previous_head.measure(4 * shift_matrix(1, 64).float(), rows, 64)
    assert (
        min(found["inside"], found["next20"], found["beyond"], found["inside_cut"]) > 0.8 > 0.05 > found["beyond_cut"]
    )
    assert found["outside"] == pytest.approx(1 - 16 / 64, abs=0.03)
    S = previous_head.seen_directions(rows[:64], 0.999)
    assert torch.allclose(S @ S, S, atol=1e-5) and round(S.trace().item()) == 16
    assert previous_head.measure(S, rows, 64)["outside"] == pytest.approx(0, abs=1e-5)


def test_weights_of_the_head_are_those_of_a_causal_softmax():
    P, W = torch.randn(6, 3), torch.randn(3, 3)
    logits = P @ W @ P.T
    for i in range(1, 6):
        assert math.isclose(
            previous_head.log_previous(W, P)[i - 1].exp(), logits[i, : i + 1].softmax(0)[i - 1], rel_tol=1e-4
        )


@pytest.mark.parametrize("name", previous_head.RATES)
def test_every_optimizer_takes_a_step_downhill(name):
    P, W = sinusoidal_table(torch.arange(16), 8), torch.zeros(8, 8)
    before, W.grad = previous_head.loss_and_gradient(W, P)
    previous_head.make_optimizer(name, W, 0.01).step()
    assert previous_head.loss_and_gradient(W, P)[0] < before
