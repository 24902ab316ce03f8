"""helpers/model.py against PyTorch's own attention, against its definition, and against itself by another route.

Tolerances: float64 models must agree to 1e-9 (rounding stays below 1e-12); schemes that keep float32 tables of cos, sin
or biases, as they should, are compared at 1e-5. A real error of any kind tested here shows above 1e-3.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.encodings import SCHEMES, ALiBi, Encoding, Kerple, MRoPE, RoPE, SlidingWindow, build
from helpers.encodings.extension import DynamicNTK
from helpers.model import Attention, AttentionMask, CausalLM, Context, Encoder, KVCache, causal_mask
from tests import direct
from tests.encodings.kept import KEPT

D_MODEL, HEADS, VOCAB = 32, 4, 13
EXACT = {"rtol": 0, "atol": 1e-9}
TABLES = {"rtol": 0, "atol": 1e-5}


def scheme(name: str, n_heads: int = HEADS, n_kv_heads: int | None = None) -> Encoding:
    """A registered scheme for the small model below, moved away from any start that would hide an error."""
    kwargs = {"n_heads": n_kv_heads} if name == "pope" and n_kv_heads else {}
    torch.manual_seed(5)
    if kwargs:  # PoPE's phases belong to key heads
        from helpers.encodings import PoPE

        encoding = PoPE(D_MODEL // n_heads, n_kv_heads)
    else:
        encoding = build(name, d_model=D_MODEL, n_heads=n_heads, train_len=16, max_len=64)
    with torch.no_grad():
        for parameter in encoding.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3 - 0.3)  # below 0, where PoPE's phases are not clamped
    return encoding


def make(encoding: Encoding | None = None, kind=CausalLM, n_layers: int = 2, **kwargs):
    """A float64 model with weights large enough that attention is far from uniform."""
    torch.manual_seed(0)
    model = kind(VOCAB, D_MODEL, HEADS, n_layers, encoding, **kwargs)
    for name, p in model.named_parameters():
        if not name.startswith("encoding"):
            nn.init.normal_(p, std=0.3)
    return model.double().eval()


def some_ids(batch: int = 2, t: int = 12, seed: int = 1):
    return torch.randint(VOCAB, (batch, t), generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------- against PyTorch's attention


def plain_context(allowed, is_causal=False, is_full=False, encoding=None):
    return Context(encoding or Encoding(), None, None, AttentionMask(allowed, is_causal, is_full))


@pytest.mark.oracle("model.Attention", "model.causal_mask", against="torch: MultiheadAttention")
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(("d_model", "n_heads", "t"), [(8, 1, 5), (32, 4, 12), (48, 6, 1), (30, 3, 17)])
def test_attention_equals_torchs_multihead_attention(causal, need_weights, d_model, n_heads, t):
    torch.manual_seed(0)
    ours = Attention(d_model, n_heads).double()
    theirs = nn.MultiheadAttention(d_model, n_heads, bias=False, batch_first=True).double()
    theirs.in_proj_weight.data = ours.qkv.weight.data
    theirs.out_proj.weight.data = ours.out_proj.weight.data
    x = torch.randn(3, t, d_model, dtype=torch.float64)
    allowed = causal_mask(t, t) if causal else torch.ones(1, 1, t, t, dtype=torch.bool)
    out, weights = ours(x, plain_context(allowed, causal, not causal), need_weights=need_weights)
    expected, expected_weights = theirs(x, x, x, attn_mask=~allowed[0, 0], average_attn_weights=False)
    torch.testing.assert_close(out, expected, **EXACT)
    if need_weights:
        torch.testing.assert_close(weights, expected_weights, **EXACT)


@pytest.mark.oracle("model.Attention", "model.AttentionMask", against="torch: multi_head_attention_forward")
def test_attention_equals_the_functional_form_with_a_float_mask():
    torch.manual_seed(0)
    t, bias = 9, torch.randn(1, HEADS, 9, 9, dtype=torch.float64)

    class Random(Encoding):
        def bias(self, q, k, state, layer):
            return bias

    ours = Attention(D_MODEL, HEADS).double()
    x = torch.randn(2, t, D_MODEL, dtype=torch.float64)
    out, _ = ours(x, plain_context(causal_mask(t, t), True, encoding=Random()))
    mask = bias.masked_fill(~causal_mask(t, t), -math.inf).expand(2, -1, -1, -1).flatten(0, 1)
    expected, _ = F.multi_head_attention_forward(
        *[x.transpose(0, 1)] * 3, D_MODEL, HEADS, ours.qkv.weight, None, None, None, False, 0.0, ours.out_proj.weight,
        None, attn_mask=mask, need_weights=False,
    )  # fmt: skip
    torch.testing.assert_close(out, expected.transpose(0, 1), **EXACT)


@pytest.mark.parametrize("kind", [CausalLM, Encoder])
def test_the_whole_model_equals_its_definition(kind):
    model, ids = make(kind=kind), some_ids()
    torch.testing.assert_close(model.hidden(ids)[0], direct.forward(model, ids), **EXACT)
    torch.testing.assert_close(model(ids), direct.forward(model, ids) @ model.lm_head.weight.T, **EXACT)


@pytest.mark.oracle("model.Block", against="torch: TransformerEncoderLayer")
def test_a_block_equals_torchs_encoder_layer():
    model = make(kind=Encoder, n_layers=1)
    block = model.blocks[0]
    theirs = nn.TransformerEncoderLayer(
        D_MODEL, HEADS, 4 * D_MODEL, 0.0, F.gelu, batch_first=True, norm_first=True, dtype=torch.float64
    ).eval()
    with torch.no_grad():
        for mine, other in (
            (block.attention.qkv.weight, theirs.self_attn.in_proj_weight),
            (block.attention.out_proj.weight, theirs.self_attn.out_proj.weight),
            (block.norm1.weight, theirs.norm1.weight), (block.norm1.bias, theirs.norm1.bias),
            (block.norm2.weight, theirs.norm2.weight), (block.norm2.bias, theirs.norm2.bias),
            (block.mlp[0].weight, theirs.linear1.weight), (block.mlp[0].bias, theirs.linear1.bias),
            (block.mlp[2].weight, theirs.linear2.weight), (block.mlp[2].bias, theirs.linear2.bias),
        ):  # fmt: skip
            other.copy_(mine)
        theirs.self_attn.in_proj_bias.zero_()
        theirs.self_attn.out_proj.bias.zero_()
        x = torch.randn(2, 7, D_MODEL, dtype=torch.float64)
        allowed = torch.ones(1, 1, 7, 7, dtype=torch.bool)
        torch.testing.assert_close(block(x, plain_context(allowed, is_full=True))[0], theirs(x), **EXACT)


# ---------------------------------------------------------------------------------------- weights and the mask


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("kind", [CausalLM, Encoder])
def test_explicit_softmax_equals_the_fused_path(name, kind):
    model, ids = make(scheme(name), kind), some_ids()
    fused, explicit = model.hidden(ids)[0], model.hidden(ids, need_weights=True)[0]
    torch.testing.assert_close(fused, explicit, **TABLES)


@pytest.mark.parametrize("name", SCHEMES)
def test_weights_sum_to_one_and_never_look_ahead(name):
    model, ids = make(scheme(name)), some_ids()
    weights = model.attention_weights(ids)
    assert weights.shape == (2, 2, HEADS, 12, 12) and weights.min() >= 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, HEADS, 12, dtype=torch.float64), rtol=0, atol=1e-6)
    assert weights.triu(1).abs().max() == 0
    changed = ids.clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % VOCAB
    torch.testing.assert_close(model(changed)[:, :8], model(ids)[:, :8], **EXACT)


@pytest.mark.parametrize("name", SCHEMES)
def test_an_encoder_looks_both_ways(name):
    model, ids = make(scheme(name), Encoder), some_ids()
    weights = model.attention_weights(ids)
    assert weights.triu(1).sum() > 0.5
    changed = ids.clone()
    changed[:, -1] = (changed[:, -1] + 1) % VOCAB
    assert (model(changed)[:, 0] - model(ids)[:, 0]).abs().max() > 1e-6


@pytest.mark.parametrize("need_weights", [False, True])
def test_a_query_that_sees_nothing_takes_nothing(need_weights):
    """A window of 2 and a mask that leaves only a key 3 tokens back: no key at all. Zeros, not NaN, on both paths."""
    attention, x = (
        Attention(D_MODEL, HEADS).double(),
        torch.randn(1, 4, D_MODEL, dtype=torch.float64, requires_grad=True),
    )
    encoding, allowed = SlidingWindow(2), causal_mask(4, 4).clone()
    allowed[..., 3, 1:] = False
    state = encoding.prepare(torch.arange(4)[None], torch.arange(4)[None], allowed)
    out, weights = attention(x, Context(encoding, state, None, AttentionMask(allowed)), need_weights=need_weights)
    assert (out[0, 3] == 0).all() and (out[0, :3] != 0).any(-1).all()
    if need_weights:
        assert (weights[0, :, 3] == 0).all()
    out.sum().backward()
    assert x.grad.isfinite().all() and (x.grad != 0).any()


def test_not_a_number_is_not_taken_for_a_query_that_sees_nothing():
    attention, x = Attention(D_MODEL, HEADS), torch.full((1, 2, D_MODEL), math.nan)
    for need_weights in (False, True):
        assert attention(x, plain_context(causal_mask(2, 2)), need_weights=need_weights)[0].isnan().all()


def test_causal_mask_counts_queries_from_the_end():
    assert causal_mask(2, 5)[0, 0].tolist() == [[True] * 4 + [False], [True] * 5]
    assert causal_mask(1, 1).all() and causal_mask(3, 3)[0, 0].sum() == 6


# ------------------------------------------------------------------------------------------------- the caches


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("after_rotation", [False, True])
@pytest.mark.parametrize("chunks", [[1] * 12, [5, 1, 1, 5], [11, 1], [12]])
def test_reading_with_a_cache_equals_recomputing(name, after_rotation, chunks):
    model, ids = make(scheme(name)), some_ids()
    cache, parts, done = KVCache(after_rotation), [], 0
    for n in chunks:
        parts.append(model(ids[:, done : done + n], cache=cache))
        done += n
        assert len(cache) == done
    torch.testing.assert_close(torch.cat(parts, 1), model(ids), **TABLES)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("after_rotation", [False, True])
def test_a_cache_with_left_padding_equals_recomputing(name, after_rotation):
    model, ids = make(scheme(name)), some_ids()
    real = torch.ones(2, 12, dtype=torch.bool)
    real[1, :4] = False
    pos = (real.long().cumsum(1) - 1).clamp(min=0)
    full = model(ids, attention_mask=real, position_ids=pos)
    cache, parts = KVCache(after_rotation), []
    for a, b in ((0, 6), (6, 7), (7, 12)):
        parts.append(model(ids[:, a:b], attention_mask=real[:, a:b], position_ids=pos[:, a:b], cache=cache))
    torch.testing.assert_close(torch.cat(parts, 1)[real], full[real], **TABLES)
    # Without a mask for the new tokens they count as real, and the padding stays hidden.
    again = KVCache(after_rotation)
    model(ids[:, :6], attention_mask=real[:, :6], position_ids=pos[:, :6], cache=again)
    rest = model(ids[:, 6:], position_ids=pos[:, 6:], cache=again)
    torch.testing.assert_close(rest, full[:, 6:], **TABLES)


@pytest.mark.parametrize("name", SCHEMES)
def test_generation_with_and_without_a_cache(name):
    model, ids = make(scheme(name)), some_ids(t=5)
    without = model.generate(ids, 20)
    assert without.shape == (2, 25) and (without[:, :5] == ids).all()
    for after_rotation in (False, True):
        assert (model.generate(ids, 20, cache=KVCache(after_rotation)) == without).all()
    expected = ids
    for _ in range(20):
        expected = torch.cat([expected, model(expected)[:, -1:].argmax(-1)], 1)
    assert (without == expected).all()


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("cache", [lambda: None, KVCache, lambda: KVCache(after_rotation=True)])
def test_a_left_padded_batch_generates_as_each_row_alone(name, cache):
    model, ids = make(scheme(name)), some_ids(t=6)
    real = torch.ones(2, 6, dtype=torch.bool)
    real[1, :3] = False
    both = model.generate(ids, 6, cache(), attention_mask=real)
    assert torch.equal(both[0], model.generate(ids[:1], 6)[0])
    assert torch.equal(both[1, 3:], model.generate(ids[1:, 3:], 6)[0])


def seen_positions(model) -> list[list]:
    """Fills with the query positions of every forward pass to come, as lists."""
    seen = []
    inner = model.encoding.prepare
    model.encoding.prepare = lambda q_pos, k_pos, allowed: (seen.append(q_pos.tolist()), inner(q_pos, k_pos, allowed))[
        1
    ]
    return seen


@pytest.mark.parametrize("new_cache", [lambda: None, KVCache])
def test_after_a_picture_and_four_words_the_next_position_is_eight(new_cache):
    """A grid of 4 x 4 patches takes the ids 0 to 3 on each axis, the words 4 to 7: 20 tokens, but the next id is 8."""
    model, ids = make(MRoPE(D_MODEL // HEADS, (1, 2, 1))), some_ids(1, 20)
    picture = torch.cartesian_prod(torch.arange(1), torch.arange(4), torch.arange(4))
    words = torch.arange(4, 8)[:, None].expand(-1, 3)
    where = torch.cat([picture, words])[None]
    seen = seen_positions(model)
    out = model.generate(ids, 3, new_cache(), position_ids=where)
    assert [passed[0][-1] for passed in seen] == [[7] * 3, [8] * 3, [9] * 3]
    expected = ids
    for n in range(3):  # the same, each step spelled out
        position_ids = torch.cat([where, torch.arange(8, 8 + n)[None, :, None].expand(1, n, 3)], 1)
        expected = torch.cat([expected, model(expected, position_ids=position_ids)[:, -1:].argmax(-1)], 1)
    assert torch.equal(out, expected)


def test_positions_go_on_from_the_largest_id_of_a_real_token():
    model, ids = make(scheme("rope")), some_ids(t=4)
    cache, real = KVCache(), torch.tensor([[False, True, True, True], [True, True, False, False]])
    model(ids, position_ids=torch.tensor([[9, 0, 1, 2], [5, 6, 7, 8]]), attention_mask=real, cache=cache)
    seen = seen_positions(model)
    model(ids[:, :2], cache=cache)
    assert seen == [[[3, 4], [7, 8]]]
    empty, seen[:] = KVCache(), []
    model(ids, attention_mask=torch.zeros(2, 4), cache=empty)
    model(ids[:, :1], cache=empty)
    assert seen[1:] == [[[0], [0]]], "nothing real so far: text begins"


def test_generation_goes_on_where_a_cache_ends():
    model, ids = make(scheme("sinusoidal")), some_ids(t=6)
    real = torch.ones(2, 6, dtype=torch.bool)
    real[1, :2] = False
    whole = model.generate(ids, 4, attention_mask=real)
    for held in (3, 5):
        cache = KVCache()
        where = (real.long().cumsum(1) - 1).clamp(min=0)
        model(ids[:, :held], where[:, :held], real[:, :held], cache)
        assert torch.equal(model.generate(ids, 4, cache), whole), "the cache knows what is padding"
    with pytest.raises(ValueError, match="cache='9 tokens': must hold fewer than ids"):
        model.generate(ids, 1, cache)
    with pytest.raises(ValueError, match="attention_mask='padding on the right': pad on the left"):
        model.generate(ids, 1, attention_mask=real.flip(1))
    with pytest.raises(ValueError, match=r"attention_mask=\(2, 5\): must be \(batch, seq_len\) = \(2, 6\)"):
        model.generate(ids, 1, attention_mask=real[:, :5])


def test_a_call_that_fails_leaves_the_cache_as_it_was():
    model = make(build("learned", d_model=D_MODEL, n_heads=HEADS, max_len=8))
    ids, cache = some_ids(t=9), KVCache()
    model(ids[:, :7], cache=cache)
    with pytest.raises(ValueError, match="position=8"):
        model(ids[:, 7:], cache=cache)
    assert len(cache) == 7
    torch.testing.assert_close(model(ids[:, 7:8], cache=cache), model(ids[:, :8])[:, 7:], **EXACT)


# -------------------------------------------------------------------------------------- padding and documents


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("kind", [CausalLM, Encoder])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_row_equals_the_row_alone(name, kind, side):
    model, ids = make(scheme(name), kind), some_ids()
    real = torch.ones(2, 12, dtype=torch.bool)
    keep = slice(5, 12) if side == "left" else slice(0, 7)
    real[1] = False
    real[1, keep] = True
    pos = (real.long().cumsum(1) - 1).clamp(min=0)
    out = model(ids, attention_mask=real, position_ids=pos)
    torch.testing.assert_close(out[1, keep], model(ids[1:, keep])[0], **TABLES)
    torch.testing.assert_close(out[0], model(ids[:1])[0], **TABLES)
    assert out.isfinite().all(), "a padding query has nothing to look at"
    weights = model.attention_weights(ids, attention_mask=real, position_ids=pos)
    rows = weights[:, 1, :, keep]
    assert rows[..., ~real[1]].abs().max() == 0


@pytest.mark.parametrize("name", SCHEMES)
def test_what_else_is_in_the_batch_does_not_matter(name):
    """Right padding changes nothing, with the positions it has by default."""
    model, ids = make(scheme(name)), some_ids()
    real = torch.ones(2, 12, dtype=torch.bool)
    real[1, 5:] = False
    torch.testing.assert_close(model(ids, attention_mask=real)[1, :5], model(ids[1:, :5])[0], **TABLES)


def test_with_dynamic_ntk_it_does():
    """One set of frequencies per forward pass, made for the longest row: a short row beside a long one changes."""
    model, ids = make(DynamicNTK(D_MODEL // HEADS, original_max_position_embeddings=8, factor=8.0)), some_ids()
    real = torch.ones(2, 12, dtype=torch.bool)
    real[1, 5:] = False
    beside, alone = model(ids, attention_mask=real)[1, :5], model(ids[1:, :5])[0]
    assert (beside - alone).abs().max() > 1e-3  # every other scheme: below 1e-5
    torch.testing.assert_close(model(ids[:, :8], attention_mask=real[:, :8])[1, :5], alone, **TABLES)  # all short
    assert "other rows of a batch" in " ".join(DynamicNTK.__doc__.split())


@pytest.mark.parametrize("name", ["rope", "alibi", "none"])
def test_relative_schemes_do_not_need_the_positions_of_a_padded_row_reset(name):
    model, ids = make(scheme(name)), some_ids(1)
    real = torch.ones(1, 12, dtype=torch.bool)
    real[0, :5] = False
    torch.testing.assert_close(model(ids, attention_mask=real)[:, 5:], model(ids[:, 5:]), **TABLES)


@pytest.mark.parametrize("name", ["sinusoidal", "learned"])
def test_absolute_schemes_do(name):
    model, ids = make(scheme(name)), some_ids(1)
    real = torch.ones(1, 12, dtype=torch.bool)
    real[0, :5] = False
    assert (model(ids, attention_mask=real)[:, 5:] - model(ids[:, 5:])).abs().max() > 1e-2


@pytest.mark.parametrize("name", SCHEMES)
def test_packed_documents_equal_separate_runs(name):
    model, ids = make(scheme(name)), some_ids(1)
    doc = torch.tensor([0] * 5 + [1] * 4 + [2] * 3)
    pos = torch.tensor([[*range(5), *range(4), *range(3)]])
    packed = model(ids, position_ids=pos, attention_mask=(doc[:, None] == doc)[None, None])
    alone = torch.cat([model(part) for part in ids.split([5, 4, 3], 1)], 1)
    torch.testing.assert_close(packed, alone, **TABLES)


# ----------------------------------------------------------------------------------------- grouped-query heads


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("n_kv_heads", [1, 2])
def test_grouped_queries_equal_repeated_key_heads(name, n_kv_heads):
    small, ids = make(scheme(name, n_kv_heads=n_kv_heads), n_kv_heads=n_kv_heads), some_ids()
    full_encoding = scheme(name)
    if name == "pope":
        full_encoding.delta.data = small.encoding.delta.data.repeat_interleave(HEADS // n_kv_heads, 0).float()
    full = make(full_encoding)
    d, group = D_MODEL // HEADS, HEADS // n_kv_heads
    state = small.state_dict()
    for i in range(2):
        key = f"blocks.{i}.attention.qkv.weight"
        q, k, v = state[key].split([HEADS * d, n_kv_heads * d, n_kv_heads * d])
        wide = [w.view(n_kv_heads, d, -1).repeat_interleave(group, 0).flatten(0, 1) for w in (k, v)]
        state[key] = torch.cat([q, *wide])
    full.load_state_dict({k: v for k, v in state.items() if not k.startswith("encoding")}, strict=False)
    torch.testing.assert_close(small(ids), full(ids), **TABLES)
    torch.testing.assert_close(small.generate(ids, 5, KVCache()), full.generate(ids, 5))


# ------------------------------------------------------------------------------------------ encoder and pooling


def test_pooling_is_the_mean_over_real_tokens():
    model, ids = make(kind=Encoder, out_dim=3), some_ids()
    assert model.pooled(ids).shape == (2, 3)
    torch.testing.assert_close(model.pooled(ids), model.lm_head(model.hidden(ids)[0].mean(1)), **EXACT)
    real = torch.ones(2, 12, dtype=torch.bool)
    real[1, 6:] = False
    padded = model.pooled(ids, attention_mask=real)
    torch.testing.assert_close(padded[1], model.pooled(ids[1:, :6])[0], **EXACT)
    torch.testing.assert_close(padded[0], model.pooled(ids[:1])[0], **EXACT)


def test_embeddings_may_be_passed_instead_of_ids():
    model, ids = make(scheme("rope")), some_ids()
    torch.testing.assert_close(model(model.token_embedding(ids)), model(ids), **EXACT)


def test_position_ids_are_counted_from_zero_by_default():
    for name in SCHEMES:
        model, ids = make(scheme(name)), some_ids()
        torch.testing.assert_close(model(ids, position_ids=torch.arange(12)[None]), model(ids), **EXACT)


@pytest.mark.parametrize("name", SCHEMES)
def test_positions_of_their_own_for_every_sequence(name):
    model, ids = make(scheme(name)), some_ids()
    pos = torch.stack([torch.arange(12), torch.arange(12) * 2 + 3])
    both = model(ids, position_ids=pos)
    for i in range(2):
        torch.testing.assert_close(both[i], model(ids[i : i + 1], position_ids=pos[i : i + 1])[0], **EXACT)


def test_a_mask_of_ones_and_zeros_is_read_whatever_its_dtype():
    model, ids = make(), some_ids()
    real = torch.ones(2, 12, dtype=torch.bool)
    real[1, 9:] = False
    for dtype in (torch.uint8, torch.int64, torch.float32):
        torch.testing.assert_close(model(ids, attention_mask=real.to(dtype)), model(ids, attention_mask=real), **EXACT)


def test_text_may_follow_an_image_in_one_cache():
    """M-RoPE takes one number for text and three for an image; a cache holds both."""
    model, ids = make(MRoPE(D_MODEL // HEADS, (1, D_MODEL // HEADS // 2 - 2, 1))), some_ids(t=7)
    image = torch.tensor([[0, i // 3, i % 3] for i in range(6)])
    whole = torch.cat([image, torch.full((1, 3), 3)])[None]
    cache = KVCache()
    model(ids[:, :6], position_ids=image[None], cache=cache)
    last = model(ids[:, 6:], position_ids=torch.tensor([[3]]), cache=cache)
    torch.testing.assert_close(last, model(ids, position_ids=whole)[:, 6:], **EXACT)
    cache = KVCache()
    model(ids[:, :1], position_ids=torch.tensor([[3]]), cache=cache)
    last = model(ids[:, 1:], position_ids=image[None], cache=cache)
    torch.testing.assert_close(last, model(ids, position_ids=whole.roll(1, 1))[:, 1:], **EXACT)


# -------------------------------------------------------------------------------- other dtypes, compile, training


@pytest.mark.parametrize("name", SCHEMES)
def test_float32_and_bfloat16_autocast_stay_near_float64(name):
    model, ids = make(scheme(name)), some_ids(t=16)
    exact = model(ids)
    single = model.float()
    torch.testing.assert_close(single(ids).double(), exact, rtol=0, atol=2e-4)  # 2 layers, logits of order 1 to 10
    with torch.autocast("cpu", torch.bfloat16):
        half = single(ids)
    # bfloat16 keeps 8 bits: 0.4% a rounding, some 30 roundings on the way.
    assert (half.double() - exact).abs().max() < 0.1 * exact.abs().max()
    scale = exact.flatten(0, 1).softmax(-1)
    assert (half.double().flatten(0, 1).softmax(-1) - scale).abs().mean() < 0.02


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("encoding", [ALiBi(HEADS), Kerple(HEADS, "power")], ids=["alibi", "kerple"])
def test_half_precision_does_not_round_a_bias(encoding, need_weights):
    """Keys 3,900 to 4,000 tokens away: neighbors differ by 1/4 in ALiBi's first head, bfloat16 has steps of 4 there."""
    torch.manual_seed(0)
    attention = Attention(D_MODEL, HEADS)
    q_pos, k_pos = torch.full((1, 101), 4000), torch.arange(101)[None]
    mask = torch.ones(1, 1, 101, 101, dtype=torch.bool)
    state = encoding.prepare(q_pos, k_pos, mask).detach()
    x = torch.randn(1, 101, D_MODEL)
    out = {}
    for dtype in (torch.float64, torch.bfloat16):
        layer = attention.bfloat16().to(dtype)  # the same rounded weights
        ctx = Context(encoding, state, None, AttentionMask(mask))
        out[dtype] = layer(x.bfloat16().to(dtype), ctx, need_weights=need_weights)[0].double()
    error = (out[torch.bfloat16] - out[torch.float64]).abs().max() / out[torch.float64].abs().max()
    assert error < 0.03, "half a dozen roundings to 8 bits are allowed, a rounded bias is not"


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("kind", [CausalLM, Encoder])
def test_a_model_built_without_memory_is_whole_once_loaded(name, kind):
    model, ids = make(scheme(name), kind).float(), some_ids()
    with torch.device("meta"):
        empty = kind(VOCAB, D_MODEL, HEADS, 2, scheme(name))
    assert {p.device.type for p in empty.parameters()} == {"meta"}
    empty.to_empty(device="cpu").load_state_dict(model.state_dict())
    assert torch.equal(empty(ids), model(ids))


def test_tables_that_no_state_dict_holds_are_made_again():
    class Buffered(Encoding):
        """A scheme that keeps its slopes as a buffer that is not saved, also when another scheme holds it."""

        def __init__(self):
            super().__init__()
            self.register_buffer("slope", torch.empty(()), persistent=False)
            self.reset_tables()

        def reset_tables(self):
            self.slope.fill_(-0.3)

        def prepare(self, q_pos, k_pos, allowed):
            return self.slope * self.distance(q_pos, k_pos).abs()[:, None]

        def bias(self, q, k, state, layer):
            return state

    class Holder(Encoding):
        def __init__(self):
            super().__init__()
            self.inner = Buffered()
            self.prepare, self.bias = self.inner.prepare, self.inner.bias

    for encoding in (Buffered, Holder):
        model, ids = make(encoding()).float(), some_ids()
        with torch.device("meta"):
            empty = CausalLM(VOCAB, D_MODEL, HEADS, 2, encoding())
        empty.to_empty(device="cpu").load_state_dict(model.state_dict())
        assert torch.equal(empty(ids), model(ids))


def compiled(model, ids, backend="eager", **kwargs):
    """Logits of the compiled model; ``fullgraph`` raises on whatever Python the graph would have to stop for."""
    torch.compiler.reset()
    return torch.compile(model, backend=backend, fullgraph=True)(ids, **kwargs)


@pytest.mark.parametrize("name", KEPT)
def test_the_model_compiles_to_one_graph(name):
    model, ids = make(scheme(name)).float(), some_ids()
    doc = torch.tensor([0] * 5 + [1] * 7)
    packed = {"attention_mask": (doc[:, None] == doc)[None, None], "position_ids": torch.arange(12)[None] % 5}
    torch.testing.assert_close(compiled(model, ids, **packed), model(ids, **packed), rtol=0, atol=1e-5)


def test_padding_and_default_positions_compile_to_one_graph():
    model, ids = make(scheme("rope")).float(), some_ids()
    real = torch.ones(2, 12, dtype=torch.bool)
    real[1, :3] = False
    for kwargs in ({}, {"attention_mask": real}):
        torch.testing.assert_close(compiled(model, ids, **kwargs), model(ids, **kwargs), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rope", "alibi", "shaw"])
def test_a_compiler_gives_the_same_numbers(name):
    model, ids = make(scheme(name)).float(), some_ids()
    try:
        found = compiled(model, ids, "inductor")
    except Exception as error:
        if "compiler" in str(error).lower() and (
            "not found" in str(error).lower() or "no working" in str(error).lower()
        ):
            pytest.skip("no compiler on this machine")
        raise
    torch.testing.assert_close(found, model(ids), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", SCHEMES)
def test_every_learned_part_of_a_scheme_gets_a_gradient(name):
    model, ids = make(scheme(name)), some_ids()
    F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    for key, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), key
        assert p.grad.abs().max() > 0, f"{key} has no influence"


@pytest.mark.parametrize("name", SCHEMES)
def test_gradients_through_the_scheme_match_finite_differences(name):
    """gradcheck of the model as a function of the embeddings, and of the scheme's own parameters.

    Tables of cos, sin and distance are constants, so their float32 does not disturb the difference quotient; PoPE's
    phases pass through such a table and are left to the tests of PoPE.
    """
    model, ids = make(scheme(name), n_layers=1), some_ids(1, 5)
    x = model.token_embedding(ids).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model.hidden(x)[0].square().mean(), (x,), atol=1e-6, fast_mode=True)
    parameters = tuple(model.encoding.parameters())
    if parameters and name != "pope":
        assert torch.autograd.gradcheck(
            lambda *_: model.hidden(ids)[0].square().mean(), parameters, atol=1e-6, fast_mode=True
        )


# ------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: CausalLM(0), "vocab_size=0"),
        (lambda: CausalLM(10, d_model=2.5), "d_model=2.5"),
        (lambda: CausalLM(10, d_model=30, n_heads=4), "n_heads=4: must divide d_model=30"),
        (lambda: CausalLM(10, n_heads=True), "n_heads=True"),
        (lambda: CausalLM(10, n_heads=4, n_kv_heads=3), "n_kv_heads=3: must divide n_heads=4"),
        (lambda: CausalLM(10, n_layers=-1), "n_layers=-1"),
        (lambda: CausalLM(10, out_dim="x"), "out_dim='x'"),
        (lambda: CausalLM(10, encoding="rope"), "encoding='rope'.*helpers.encodings.build"),
        (lambda: CausalLM(10, 64, 4, encoding=RoPE(8)), "encoding.head_dim=8: this model has head_dim=16"),
        (lambda: Attention(64, 0), "n_heads=0"),
        (lambda: Attention("64", 4), "d_model='64'"),
    ],
)
def test_bad_shapes_are_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"ids": torch.zeros(3, dtype=torch.long)}, r"ids=\(3,\)"),
        ({"ids": torch.zeros(1, 0, dtype=torch.long)}, r"ids=\(1, 0\): pass at least one token"),
        ({"ids": torch.zeros(1, 3)}, "ids=torch.float32: token ids are integers"),
        ({"ids": torch.full((1, 3), VOCAB)}, rf"ids=\({VOCAB}, {VOCAB}\): must lie in 0 .. {VOCAB - 1}"),
        ({"ids": torch.full((1, 3), -1)}, r"ids=\(-1, -1\)"),
        ({"ids": torch.zeros(2, 0, D_MODEL)}, rf"ids=\(2, 0, {D_MODEL}\): pass at least one token"),
        ({"ids": torch.zeros(0, 3, D_MODEL)}, rf"ids=\(0, 3, {D_MODEL}\): pass at least one token"),
        ({"ids": torch.zeros(1, 3, 5)}, rf"ids=\(1, 3, 5\): embeddings must be {D_MODEL} wide"),
        ({"position_ids": torch.arange(4)}, r"position_ids=\(4,\)"),
        ({"position_ids": torch.arange(4)[None]}, r"position_ids=\(1, 4\): must be \(1 or 2, 12\)"),
        ({"position_ids": torch.zeros(3, 12, dtype=torch.long)}, r"position_ids=\(3, 12\)"),
        ({"position_ids": torch.arange(12, dtype=torch.uint8)[None]}, r"position_ids=torch.uint8: .*use position_ids"),
        ({"position_ids": torch.arange(12, dtype=torch.int16)[None]}, r"position_ids=torch.int16: .*use position_ids"),
        ({"position_ids": torch.full((1, 12), math.inf)}, "position_ids='inf or nan': every position is a finite"),
        ({"position_ids": torch.full((1, 12), math.nan)}, "position_ids='inf or nan'"),
        ({"attention_mask": torch.zeros(2, 12).log()}, r"attention_mask=torch.float32: .*pass mask == 0"),
        ({"attention_mask": torch.ones(2, 5)}, r"attention_mask=\(2, 5\): must be \(batch, seq_len\) = \(2, 12\)"),
        ({"attention_mask": torch.ones(2, 12, 12)}, r"attention_mask=\(2, 12, 12\)"),
        ({"attention_mask": torch.ones(1, 1, 12, 5)}, r"attention_mask=\(1, 1, 12, 5\)"),
        ({"attention_mask": torch.zeros(1, 1, 12, 12)}, "every query must see at least one key"),
    ],
)
def test_bad_calls_are_refused_by_name(kwargs, words):
    model = make()
    with pytest.raises(ValueError, match=words):
        model(**({"ids": some_ids()} | kwargs))


def test_more_refusals():
    model, ids = make(), some_ids()
    for n in (0, -1, 2.0):
        with pytest.raises(ValueError, match="n_tokens"):
            model.generate(ids, n)
    cache = KVCache()
    model(ids, cache=cache)
    with pytest.raises(ValueError, match="cache='2 sequences': ids have 1"):
        model(ids[:1], cache=cache)
    with pytest.raises(ValueError, match="every sequence needs a real token"):
        make(kind=Encoder).pooled(ids, attention_mask=torch.zeros(2, 12, dtype=torch.bool))
