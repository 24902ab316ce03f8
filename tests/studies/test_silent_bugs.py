"""Who is hurt by which silent bug, on sharp random models; and that the right way costs nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import corpus
from helpers.encodings import build
from helpers.model import CausalLM
from helpers.studies import silent_bugs

TEXT = corpus.excerpt()
RELATIVE = ("rope", "pope", "alibi", "t5", "shaw")


def sharp(name: str) -> CausalLM:
    model = CausalLM(len(corpus.ALPHABET), 32, 2, 2, build(name, d_model=32, n_heads=2))
    torch.manual_seed(0)
    for p in model.parameters():
        nn.init.normal_(p, std=0.4)
    return model.eval()


@torch.no_grad()
def loss(model, ids, targets, **kwargs):
    return F.cross_entropy(model(ids, **kwargs)[:, -32:].transpose(1, 2), targets[:, -32:]).item()


@pytest.mark.parametrize("name", [*RELATIVE, "sinusoidal", "learned"])
def test_silent_bugs_cost_what_the_scheme_says(name):
    model, (inputs, targets) = sharp(name), (TEXT[:, :-1], TEXT[:, 1:])
    cost = silent_bugs.costs(model, inputs, targets)
    shifted = ("left padding: no position_ids", "packed: no position_ids")  # all positions move together
    for bug, value in cost.items():
        free = bug in shifted and name in RELATIVE
        assert (abs(value) < 1e-5) if free else (abs(value) > 2e-4), f"{bug}: {value}"
    assert len(cost) == 7

    half = torch.arange(32)  # the same bugs in one forward pass, without a cache
    right = loss(model, inputs, targets)
    for bug, new in (("every new token at 0", 0 * half), ("a gap of 24", half + 32 + 24)):
        wrong = loss(model, inputs, targets, position_ids=torch.cat([half, new])[None])
        assert cost[f"decoding: {bug}"] == pytest.approx(wrong - right, abs=1e-5)
    first, second = TEXT[:48], TEXT[48:]
    together = loss(model, torch.cat([first[:, :32], second[:, :32]], 1), second[:, 1:33])
    alone = loss(model, second[:, :32], second[:, 1:33])
    assert cost["packed: neither"] == pytest.approx(together - alone, abs=1e-5)  # and the right way is the text alone
