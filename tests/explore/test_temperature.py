"""What ``temperature`` says of a logit is what a rotation does to one, and what helpers read from DeepSeek's files."""

from __future__ import annotations

import pytest
import torch

from helpers import explore
from helpers.encodings import RoPE, from_config
from helpers.encodings.extension import temperature_factor
from helpers.sources import DATA

MODULE = explore.module("temperature")


@pytest.mark.parametrize("convention", MODULE.CONVENTIONS)
@pytest.mark.parametrize(("width", "rotated"), [(192, 64), (64, 64), (80, 20)])
def test_the_multiplier_is_that_of_a_logit_of_equal_channels(convention, width, rotated):
    on_cos_sin, on_scale = MODULE.multipliers(40, convention, 0.7, 1.2)
    position, ones = torch.zeros(1, 1), torch.ones(1, 1, 1, width)

    def logit(**settings) -> float:
        rope = RoPE(width, rotary_dim=rotated, **settings)
        q, k = rope.rotate(ones, ones, rope.prepare(position, position, torch.ones(1)), 0)
        return (q * k).sum().item() * (rope.scale or width**-0.5)

    measured = logit(attention_factor=on_cos_sin, scale=on_scale * width**-0.5) / logit()
    assert measured == pytest.approx(MODULE.of_logit(on_cos_sin, on_scale, rotated / width)[2], rel=1e-5)


@pytest.mark.parametrize(("name", "mscale"), [("deepseek-v3", 1.0), ("deepseek-v2-lite", 0.707)])
def test_the_pair_is_read_as_in_the_files_of_deepseek(name, mscale):
    found = from_config(DATA / "configs" / f"{name}.json")
    on_cos_sin, on_scale = MODULE.multipliers(40, "mscale pair", mscale, mscale)
    assert found.attention_factor == pytest.approx(on_cos_sin)
    assert found.scale * found.head_dim**0.5 == pytest.approx(on_scale)


def test_conventions_agree_where_the_whole_head_turns_and_only_there():
    def whole(share: float) -> list[float]:
        return [MODULE.of_logit(*MODULE.multipliers(16, name), share)[2] for name in MODULE.CONVENTIONS]

    assert whole(1) == pytest.approx([temperature_factor(16) ** 2] * 3)
    for share in (0.05, 1 / 3, 0.95):
        cos_sin, logits, pair = whole(share)
        assert logits == pytest.approx(pair) and cos_sin < logits - 0.01
