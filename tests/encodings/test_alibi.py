"""ALiBi against three outside implementations, its closed forms, and the plausible wrong versions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.encodings import ALiBi, build, positions
from helpers.encodings.alibi import alibi_bias, alibi_slopes
from helpers.model import CausalLM, Encoder, KVCache, causal_mask
from helpers.studies import bias_cost

HEADS = range(1, 65)


def naive(n: int) -> torch.Tensor:
    """The formula of the paper's text, for any n."""
    return 2.0 ** (-8.0 * torch.arange(1, n + 1, dtype=torch.float64) / n)


# ------------------------------------------------------------------------------------------------------- slopes


@pytest.mark.oracle("alibi.alibi_slopes", against="transformers: BLOOM")
@pytest.mark.parametrize("n", HEADS)
def test_slopes_equal_bloom(n):
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    row = build_alibi_tensor(torch.ones(1, 3, dtype=torch.long), n, torch.float32)  # (n, 1, 3): slope times 0, 1, 2
    torch.testing.assert_close(row[:, 0, 1].double(), alibi_slopes(n), rtol=1e-5, atol=0)


@pytest.mark.oracle("alibi.alibi_slopes", against="transformers: MPT")
@pytest.mark.parametrize("max_bias", [8, 16])  # configurations of MPT-7B-storywriter say 16
@pytest.mark.parametrize("n", HEADS)
def test_slopes_equal_mpt(n, max_bias):
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    bias = build_mpt_alibi_tensor(n, 4, max_bias).reshape(n, 4).double()  # slope times -3 .. 0
    torch.testing.assert_close(-bias[:, 2], alibi_slopes(n, max_bias), rtol=1e-5, atol=0)


def test_another_maximal_bias_is_for_slopes_of_the_rule_only():
    assert ALiBi(2, max_bias=16).slopes.tolist() == [2.0**-8, 2.0**-16]
    with pytest.raises(ValueError, match="max_bias=16: leave it out"):
        ALiBi(2, slopes=[1.0, 0.5], max_bias=16)


@pytest.mark.oracle("alibi.alibi_bias", against="x-transformers")
@pytest.mark.parametrize("n", HEADS)
def test_bias_equals_x_transformers(n):
    from x_transformers.x_transformers import AlibiPositionalBias

    theirs = AlibiPositionalBias(n)(5, 5)  # (n, 5, 5)
    ours = alibi_bias(positions(5), positions(5), alibi_slopes(n))[0]
    torch.testing.assert_close(ours, theirs.float(), rtol=1e-4, atol=1e-6)


def test_the_formula_of_the_text_differs_for_57_of_64():
    differs = [n for n in HEADS if not torch.allclose(naive(n), alibi_slopes(n))]
    assert len(differs) == 57 and not {1, 2, 4, 8, 16, 32, 64} & set(differs)


def test_wrong_slopes_are_told_apart():
    n = 12
    same_for_all = torch.full((n,), 2 ** (-8 / n), dtype=torch.float64)
    from_zero = 2.0 ** (-8.0 * torch.arange(n, dtype=torch.float64) / n)
    for wrong in (naive(n), same_for_all, from_zero, alibi_slopes(n).sort(descending=True).values):
        assert not torch.allclose(wrong, alibi_slopes(n))
    assert torch.allclose(alibi_slopes(8), torch.tensor([2.0**-h for h in range(1, 9)], dtype=torch.float64))
    assert not torch.equal(alibi_slopes(12)[:6], alibi_slopes(6))  # slopes of a shard are not those of its own size


# --------------------------------------------------------------------------------------------------------- bias


def test_bias_is_outside_the_square_root():
    """The model attends by softmax(q k / sqrt(d) - m |i - j|), and not by the version that divides the bias too."""
    torch.manual_seed(0)
    model = CausalLM(7, 32, 4, 1, ALiBi(4)).double()
    ids = torch.randint(7, (2, 9))
    weights = model.attention_weights(ids)[0]  # (B, H, T, T)
    attention = model.blocks[0].attention
    x = model.blocks[0].norm1(model.token_embedding(ids))
    q, k, _ = attention.qkv(x).view(2, 9, 12, 8).transpose(1, 2).split(4, dim=1)
    distance = torch.arange(9)[:, None] - torch.arange(9)
    bias = -alibi_slopes(4)[:, None, None] * distance
    future = distance < 0

    def by_hand(b, scale):
        return (
            ((q @ k.mT + b) * scale if scale else q @ k.mT / math.sqrt(8) + b)
            .masked_fill(future, -math.inf)
            .softmax(-1)
        )

    torch.testing.assert_close(weights, by_hand(bias, None), rtol=0, atol=1e-6)
    assert (weights - by_hand(bias, 8**-0.5)).abs().max() > 1e-2
    assert (weights - by_hand(-bias, None)).abs().max() > 1e-2  # the sign


def test_reach_and_geometric_weights():
    m = alibi_slopes(8)
    assert [round(math.log(100) / s) for s in m.tolist()] == [9, 18, 37, 74, 147, 295, 589, 1179]
    weights = alibi_bias(torch.tensor([[4000]]), positions(4001), m)[0, :, 0].double().softmax(-1).flip(-1)
    torch.testing.assert_close(weights[:, 1:50] / weights[:, :49], torch.exp(-m)[:, None].expand(-1, 49))


def test_key_only_row_needs_the_causal_mask():
    m = alibi_slopes(4)[:, None, None]
    logits = torch.randn(4, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    full = alibi_bias(positions(9), positions(9), alibi_slopes(4))[0].double()
    row = m * torch.arange(9)
    hidden = ~causal_mask(9, 9)[0, 0]
    causal = [(logits + b).masked_fill(hidden, -math.inf).softmax(-1) for b in (full, row)]
    torch.testing.assert_close(*causal, rtol=0, atol=1e-7)
    assert ((logits + full).softmax(-1) - (logits + row).softmax(-1)).abs().max() > 0.1


def test_only_distance_counts_and_any_length_is_allowed():
    torch.manual_seed(0)
    model = CausalLM(7, 32, 4, 2, build("alibi", d_model=32)).double()
    ids = torch.randint(7, (1, 40))
    moved = model.hidden(ids, position_ids=positions(40, offset=100_000))[0]
    torch.testing.assert_close(model.hidden(ids)[0], moved, rtol=0, atol=1e-6)


def test_cache_equals_no_cache():
    torch.manual_seed(0)
    model = CausalLM(7, 32, 4, 2, ALiBi(4)).double()
    ids = torch.randint(7, (1, 5))
    assert torch.equal(model.generate(ids, 12), model.generate(ids, 12, cache=KVCache()))


# ------------------------------------------------------------------------------------------------- left and right


def test_symmetric_encoder_is_blind_to_mirrors_and_future_slopes_cure_it():
    ids = torch.randint(8, (2, 11), generator=torch.Generator().manual_seed(0))

    def gap(encoding):
        torch.manual_seed(0)
        model = Encoder(8, 32, 4, 3, encoding).double()
        return (model.hidden(ids.flip(1))[0] - model.hidden(ids)[0].flip(1)).abs().max()

    assert gap(ALiBi(4)) < 1e-10
    assert gap(ALiBi(4, future_slopes=alibi_slopes(4).flip(0))) > 1e-2


def test_future_slopes_leave_the_past_alone():
    both = alibi_bias(positions(6), positions(6), alibi_slopes(4), alibi_slopes(4) * 3)[0]
    plain = alibi_bias(positions(6), positions(6), alibi_slopes(4))[0]
    assert torch.equal(both.tril(), plain.tril())
    torch.testing.assert_close(both.triu(1), 3 * plain.triu(1))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"n_heads": 0}, "n_heads"),
        ({"n_heads": 2.5}, "n_heads"),
        ({"n_heads": 4, "slopes": [0.5]}, "slopes"),
        ({"n_heads": 4, "future_slopes": [0.5, 0.25]}, "future_slopes"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, name):
    with pytest.raises(ValueError, match=name):
        ALiBi(**arguments)


# ---------------------------------------------------------------------------------------------------- fast paths


@pytest.mark.parametrize("path", bias_cost.PATHS)
def test_every_path_computes_the_same_attention(path):
    q, k, v = bias_cost.inputs(96)
    if path == "no bias":
        expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        distance = torch.arange(96)[:, None] - torch.arange(96)
        logits = q.double() @ k.double().mT / 8 - alibi_slopes(8)[:, None, None] * distance
        expected = (logits.masked_fill(distance < 0, -math.inf).softmax(-1) @ v.double()).float()
    torch.testing.assert_close(bias_cost.PATHS[path](q, k, v), expected, rtol=0, atol=1e-4)


def test_recorded_bytes_are_those_of_this_machine():
    """Memory by the profiler: renewed at one length, equal to the recording within a tenth."""
    table = bias_cost.recorded()
    at = table["lengths"].index(512)
    q, k, v = bias_cost.inputs(512)
    for name in ("extra channel", "explicit softmax"):
        fresh = bias_cost.peak_bytes(lambda name=name: bias_cost.PATHS[name](q, k, v))
        assert fresh == pytest.approx(table["bytes"][name][at], rel=0.1)
    assert table["mask_bytes"][at] == 4 * 8 * 512 * 512


@pytest.mark.oracle("bias_cost.explicit", against="torch: flex_attention")
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_agrees():
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    q, k, v = bias_cost.inputs(64)
    slope = alibi_slopes(8).float()
    causal = create_block_mask(lambda b, h, i, j: i >= j, None, None, 64, 64, device="cpu")
    flexed = flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: s - slope[h] * (i - j), block_mask=causal)
    torch.testing.assert_close(flexed, bias_cost.explicit(q, k, v), rtol=0, atol=1e-4)
