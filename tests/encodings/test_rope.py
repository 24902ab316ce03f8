"""RoPE against independent packages, against its own definition, and against plausible wrong versions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rotary_embedding_torch import RotaryEmbedding
from transformers import CohereConfig, GPTNeoXConfig, LlamaConfig
from transformers.models.cohere import modeling_cohere
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.gptj import modeling_gptj
from transformers.models.llama import modeling_llama
from x_transformers.x_transformers import RotaryEmbedding as XRotary
from x_transformers.x_transformers import apply_rotary_pos_emb as x_apply

from helpers.encodings import RoPE, XPos, build, positions
from helpers.encodings.axial import axial_frequencies
from helpers.encodings.rope import LAYOUTS, layout_permutation, rope_frequencies, rotate_pairs
from helpers.encodings.xpos import xpos_decay
from helpers.model import CausalLM, KVCache

SHAPES = [(1, 1, 1, 4), (2, 3, 17, 16), (1, 2, 64, 64), (1, 1, 33, 128)]
OFFSETS = [0, 5, 1000]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
offsets = pytest.mark.parametrize("offset", OFFSETS)
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-5, torch.bfloat16: 0.05}
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def draw(shape, seed: int = 0, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=generator, dtype=torch.float64).to(dtype)


def ours(q, k, offset: int = 0, **kwargs):
    enc = RoPE(q.shape[-1], **kwargs)
    pos = positions(q.shape[-2], offset)
    return enc.rotate(q, k, enc.prepare(pos, pos, None), 0)


def by_definition(x, offset: int, layout: str, base: float = 1e4):
    """Complex multiplication, pair by pair, in float64."""
    d, t = x.shape[-1], x.shape[-2]
    x = x.double()
    angle = (torch.arange(t) + offset).double()[:, None] * base ** (-torch.arange(0, d, 2).double() / d)
    turn = torch.polar(torch.ones_like(angle), angle)
    first, second = (x[..., 0::2], x[..., 1::2]) if layout == "interleaved" else x.chunk(2, -1)
    z = torch.complex(first, second) * turn
    if layout == "interleaved":
        return torch.stack([z.real, z.imag], -1).flatten(-2)
    return torch.cat([z.real, z.imag], -1)


# ------------------------------------------------------------------------------------------------- the definition


@shapes
@offsets
@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
def test_is_complex_multiplication(shape, offset, dtype, layout):
    q, k = draw(shape, dtype=dtype)
    for x, got in zip((q, k), ours(q, k, offset, layout=layout), strict=True):
        assert got.dtype == dtype and got.shape == x.shape
        torch.testing.assert_close(
            got.double(), by_definition(x, offset, layout), atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
        )


def test_angles_stay_exact_in_a_bfloat16_model():
    enc = RoPE(64).bfloat16()
    assert enc.inv_freq.dtype == torch.float64
    x = draw((1, 1, 4, 64), dtype=torch.bfloat16)[0]
    pos = positions(4, 100_000)
    near = enc.rotate(x, x, enc.prepare(pos, pos, None), 0)[0]
    torch.testing.assert_close(near.double(), by_definition(x, 100_000, "half"), atol=0.05, rtol=0.02)


# ------------------------------------------------------------------------------------------------------- oracles


@pytest.mark.oracle(
    "rope.RoPE", "rope.rotate_pairs", "rope.rope_frequencies", "rope.rope_angles", against="transformers: Llama"
)
@shapes
@offsets
@dtypes
def test_half_is_llama(shape, offset, dtype):
    q, k = draw(shape, dtype=dtype)
    config = LlamaConfig(
        hidden_size=shape[-1], num_attention_heads=1, rope_parameters={"rope_type": "default", "rope_theta": 1e4}
    )
    cos, sin = modeling_llama.LlamaRotaryEmbedding(config)(q, positions(shape[2], offset))
    for got, expected in zip(ours(q, k, offset), modeling_llama.apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        # Llama casts cos and sin to bfloat16 first: coarser than ours, and the reason for the wider margin
        margin = max(TOLERANCE[dtype], 1e-3 if offset else 1e-5)
        torch.testing.assert_close(got, expected, atol=margin, rtol=margin)


@pytest.mark.oracle("rope.RoPE", "rope.rotate_pairs", against="transformers: GPT-J")
@shapes
@offsets
def test_interleaved_is_gpt_j(shape, offset):
    q, k = draw(shape)
    d, t = shape[-1], shape[2]
    table = modeling_gptj.create_sinusoidal_positions(t + offset, d)[offset:][None]
    sin, cos = table.chunk(2, dim=-1)
    for x, got in zip((q, k), ours(q, k, offset, layout="interleaved"), strict=True):
        expected = modeling_gptj.apply_rotary_pos_emb(x.transpose(1, 2), sin, cos).transpose(1, 2)
        torch.testing.assert_close(got, expected, atol=1e-3 if offset else 1e-5, rtol=1e-3)


@pytest.mark.oracle("rope.RoPE", "rope.rotate_pairs", against="transformers: Cohere")
@shapes
@offsets
def test_interleaved_is_cohere(shape, offset):
    q, k = draw(shape)
    config = CohereConfig(
        hidden_size=shape[-1], num_attention_heads=1, rope_parameters={"rope_type": "default", "rope_theta": 1e4}
    )
    cos, sin = modeling_cohere.CohereRotaryEmbedding(config)(q, positions(shape[2], offset))
    expected = modeling_cohere.apply_rotary_pos_emb(q, k, cos, sin)
    for got, want in zip(ours(q, k, offset, layout="interleaved"), expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-3 if offset else 1e-5, rtol=1e-3)


@pytest.mark.oracle("rope.RoPE", "rope.rotate_pairs", against="rotary-embedding-torch")
@shapes
@offsets
def test_interleaved_is_rotary_embedding_torch(shape, offset):
    q, k = draw(shape)
    rotary = RotaryEmbedding(dim=shape[-1], cache_if_possible=False)
    for x, got in zip((q, k), ours(q, k, offset, layout="interleaved"), strict=True):
        expected = rotary.rotate_queries_or_keys(x, offset=offset)
        torch.testing.assert_close(got, expected, atol=1e-3 if offset else 1e-5, rtol=1e-3)


@pytest.mark.oracle("rope.RoPE", "rope.rotate_pairs", against="x-transformers")
@shapes
def test_interleaved_is_x_transformers(shape):
    q, k = draw(shape)
    freqs, _ = XRotary(shape[-1])(torch.arange(shape[2]))
    for x, got in zip((q, k), ours(q, k, layout="interleaved"), strict=True):
        torch.testing.assert_close(got, x_apply(x, freqs), atol=1e-4, rtol=1e-4)


@pytest.mark.oracle("rope.RoPE", against="transformers: GPT-NeoX")
@pytest.mark.parametrize("fraction, head_dim", [(0.25, 64), (0.25, 96), (0.5, 80), (1.0, 32)])
def test_partial_is_gpt_neox(fraction, head_dim):
    q, k = draw((1, 2, 20, head_dim))
    config = GPTNeoXConfig(
        hidden_size=head_dim,
        num_attention_heads=1,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": fraction},
    )
    cos, sin = modeling_gpt_neox.GPTNeoXRotaryEmbedding(config)(q, positions(20))
    expected = modeling_gpt_neox.apply_rotary_pos_emb(q, k, cos, sin)
    for got, want in zip(ours(q, k, rotary_fraction=fraction), expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.oracle("xpos.XPos", "xpos.xpos_decay", against="rotary-embedding-torch")
@pytest.mark.parametrize("length", [8, 31])
@pytest.mark.parametrize("head_dim", [16, 64])
def test_xpos_logits_are_rotary_embedding_torch(length, head_dim):
    q, k = draw((1, 2, length, head_dim), dtype=torch.float64)
    rotary = RotaryEmbedding(dim=head_dim, use_xpos=True, cache_if_possible=False)
    a, b = rotary.rotate_queries_and_keys(q.float(), k.float())
    enc = XPos(head_dim, layout="interleaved")
    c, d = enc.rotate(q, k, enc.prepare(positions(length), positions(length), None), 0)
    torch.testing.assert_close((c @ d.mT).float(), a @ b.mT, atol=1e-3, rtol=1e-3)


def logits(enc, q, k, t: int = 0) -> torch.Tensor:
    """Scaled logits of keys at position 0 for queries at t, as the model computes them."""
    a, b = enc.rotate(q, k, enc.prepare(torch.tensor([[t]]), torch.tensor([[0]]), None), 0)
    return a @ b.mT * (q.shape[-1] ** -0.5 if enc.scale is None else enc.scale)


def test_the_two_places_of_a_temperature_on_a_part_of_a_head():
    """DeepSeek-V3: 192 channels, the last 64 rotated, s = 40. On the softmax scale logits grow by f^2 = 1.8739; on cos
    and sin only the rotated third of a logit does: 1.2913 for channels that are all 1."""
    f, part = 0.1 * math.log(40) + 1, {"rotary_dim": 64, "rotated": "last"}
    ones = torch.ones(1, 1, 1, 192, dtype=torch.float64)
    plain = logits(RoPE(192, **part), ones, ones).item()
    on_scale = logits(RoPE(192, **part, scale=192**-0.5 * f**2), ones, ones).item()
    on_tables = logits(RoPE(192, **part, attention_factor=f), ones, ones).item()
    assert plain == pytest.approx(192**0.5)
    assert on_scale / plain == pytest.approx(1.8739, abs=5e-5)
    assert on_tables / plain == pytest.approx(1.2913, abs=5e-5)
    whole = logits(RoPE(192, attention_factor=f), ones, ones).item()
    assert whole / plain == pytest.approx(1.8739, abs=5e-5)  # the places agree where the whole head is rotated
    assert (0.1 * 0.707 * math.log(40) + 1) ** 2 == pytest.approx(1.5896, abs=5e-5)  # V2-Lite's mscale_all_dim


def test_which_channels_turn():
    q, k = draw((1, 2, 9, 24), dtype=torch.float64)
    alone = ours(q[..., :8], k[..., :8])
    for x, first, last, a in zip(
        (q, k),
        ours(q, k, rotary_dim=8),
        ours(q.roll(-8, -1), k.roll(-8, -1), rotary_dim=8, rotated="last"),
        alone,
        strict=True,
    ):
        torch.testing.assert_close(first, torch.cat([a, x[..., 8:]], -1))
        torch.testing.assert_close(last, torch.cat([x[..., 8:], a], -1))
    assert all(torch.equal(*pair) for pair in zip(ours(q, k, rotary_dim=24), ours(q, k), strict=True))  # all of them


# ------------------------------------------------------------------------------------------------------ properties


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.integers(1, 40),
    m=st.integers(0, 50_000),
    n=st.integers(0, 50_000),
    shift=st.integers(0, 50_000),
    base=st.sampled_from([10.0, 500.0, 1e4, 1e6]),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 1000),
)
def test_relative_and_norm_kept(pairs, m, n, shift, base, layout, seed):
    q, k = draw((1, 1, 1, 2 * pairs), seed, torch.float64)
    enc = RoPE(2 * pairs, base, layout)

    def logit(a, b):
        state = enc.prepare(torch.tensor([[a]]), torch.tensor([[b]]), None)
        turned = enc.rotate(q, k, state, 0)
        for x, y in zip((q, k), turned, strict=True):
            torch.testing.assert_close(x.norm(), y.norm(), atol=1e-5, rtol=1e-5)
        return (turned[0] * turned[1]).sum()

    scale = q.norm() * k.norm()
    assert (logit(m, n) - logit(m + shift, n + shift)).abs() < 1e-5 * scale


@settings(max_examples=30, deadline=None)
@given(pairs=st.integers(1, 32), offset=st.integers(0, 5000), seed=st.integers(0, 1000))
def test_layouts_are_related_by_the_permutation(pairs, offset, seed):
    q, k = draw((1, 2, 5, 2 * pairs), seed, torch.float64)
    order = layout_permutation(2 * pairs)
    half, inter = ours(q[..., order], k[..., order], offset), ours(q, k, offset, layout="interleaved")
    for a, b in zip(half, inter, strict=True):
        torch.testing.assert_close(a, b[..., order], rtol=1e-14, atol=1e-14)  # one computes in complex numbers


def test_values_are_never_rotated():
    """The output moves with the content only: shifting every position changes nothing."""
    torch.manual_seed(0)
    model = CausalLM(20, 32, 4, 2, RoPE(8)).double()
    ids = torch.randint(20, (2, 12))
    moved = model(ids, position_ids=positions(12, 777))
    torch.testing.assert_close(model(ids), moved, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("after_rotation", [False, True])
@pytest.mark.parametrize("name", ["rope", "pope", "xpos"])
@pytest.mark.parametrize("kv", [4, 1])
def test_cache_equals_no_cache(name, after_rotation, kv):
    torch.manual_seed(0)
    enc = build(name, d_model=32, n_heads=kv) if name == "pope" else build(name, d_model=32, n_heads=4)
    if name == "pope":
        enc = type(enc)(8, kv, delta="uniform")
    model = CausalLM(20, 32, 4, 2, enc, n_kv_heads=kv).double()
    ids, cache = torch.randint(20, (2, 12)), KVCache(after_rotation)
    parts = torch.cat([model(part, cache=cache) for part in ids.split([5, 1, 6], dim=1)], 1)
    torch.testing.assert_close(parts, model(ids), atol=1e-6, rtol=1e-6)


# --------------------------------------------------------------------------------------------------- must not pass


def wrong_versions():
    d = 16
    freq = rope_frequencies(d)

    def turned(x, angle, layout="half"):
        return rotate_pairs(x, angle.cos(), angle.sin(), layout)

    def rotate_half_with_repeated_angles(x):
        a, b = x.chunk(2, -1)
        angle = angles(x.shape[-2]).repeat_interleave(2, -1)
        return x * angle.cos() + torch.cat([-b, a], -1) * angle.sin()

    def angles(t, f=freq, dtype=torch.float64):
        return torch.arange(t).to(dtype).double()[:, None] * f

    return {
        "positive exponent": lambda x: turned(x, angles(x.shape[-2], 1 / freq)),
        "opposite direction": lambda x: turned(x, -angles(x.shape[-2])),
        "mixed layout": lambda x: turned(x, angles(x.shape[-2]), "interleaved"),
        "one frequency a channel": lambda x: turned(x, angles(x.shape[-2], 1e4 ** (-torch.arange(8).double() / d))),
        "bfloat16 positions": lambda x: turned(x, angles(x.shape[-2], dtype=torch.bfloat16)),
        "bfloat16 frequencies": lambda x: turned(x, angles(x.shape[-2], freq.bfloat16().double())),
        "interleaved angles with rotate-half": rotate_half_with_repeated_angles,
    }


@pytest.mark.parametrize("name", wrong_versions())
def test_wrong_versions_differ(name):
    q, k = draw((1, 1, 300, 16), dtype=torch.float64)
    right = by_definition(q, 0, "half")
    assert (wrong_versions()[name](q) - right).abs().max() > 0.05
    torch.testing.assert_close(ours(q, k)[0], right, atol=1e-5, rtol=1e-5)


def test_opposite_directions_for_query_and_key_are_not_relative():
    q, k = draw((1, 1, 40, 16), dtype=torch.float64)
    a, b = ours(q, k)
    backward = by_definition(k.flip(-2), 0, "half").flip(-2)  # a key turned by another position
    logits = a @ backward.mT
    assert not torch.allclose(logits, a @ b.mT, atol=1e-3)


def test_partial_with_head_dim_in_the_denominator_differs():
    right = RoPE(64, rotary_fraction=0.25).inv_freq
    wrong = rope_frequencies(64)[:8]
    assert right.shape == wrong.shape and (right - wrong).abs().max() > 0.1


def test_rotated_values_break_the_relative_property():
    q, k = draw((1, 1, 12, 16), dtype=torch.float64)
    out = []
    for offset in (0, 7):
        a, b = ours(q, k, offset)
        out.append((a @ b.mT / 4).softmax(-1) @ by_definition(k, offset, "half"))
    assert (out[0] - out[1]).abs().max() > 0.05


@pytest.mark.parametrize("grouped", [None, 1])
def test_a_trained_model_moves_between_layouts_by_sorting_rows(grouped):
    """Train a few steps half-split, sort the rows of the query and key projections, read interleaved: one model."""
    torch.manual_seed(0)
    model = CausalLM(11, 32, 2, 2, RoPE(16, layout="half"), n_kv_heads=grouped)
    optimizer, ids = torch.optim.AdamW(model.parameters(), lr=1e-2), torch.randint(11, (4, 20))
    for _ in range(10):
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        expected = model(ids)
        model.encoding = RoPE(16, layout="interleaved")
        assert (model(ids) - expected).abs().max() > 0.01  # mixed layouts: another model
        back = layout_permutation(16).argsort()
        for block in model.blocks:
            rows = block.attention.qkv.weight.view(-1, 16, 32)  # (heads of q, k and v, head_dim, d_model)
            turned = block.attention.n_heads + block.attention.n_kv_heads
            rows[:turned] = rows[:turned, back]
        torch.testing.assert_close(model(ids), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: rope_frequencies(29),  # 15 frequencies came of it, without a word
        lambda: layout_permutation(29),
        lambda: rotate_pairs(torch.zeros(3, 29), torch.zeros(14), torch.zeros(14), "half"),
        lambda: rotate_pairs(torch.zeros(3, 29), torch.zeros(14), torch.zeros(14), "interleaved"),
        lambda: xpos_decay(29),
        lambda: axial_frequencies(58),
        lambda: axial_frequencies(31, (2, 29)),
    ],
)
def test_an_odd_width_is_named(call):
    with pytest.raises(ValueError, match="head_dim=29: must be even, because channels are rotated in pairs; use 28"):
        call()


@pytest.mark.parametrize(
    "kwargs, words",
    [
        ({"head_dim": 7}, "head_dim=7"),
        ({"head_dim": 0}, "head_dim=0"),
        ({"head_dim": 16, "base": -1.0}, "base=-1.0"),
        ({"head_dim": 16, "layout": "neox"}, "layout='neox'"),
        ({"head_dim": 16, "rotary_fraction": 0.2}, "rotary_dim=3"),
        ({"head_dim": 16, "rotary_fraction": 1.5}, "rotary_fraction=1.5"),
        ({"head_dim": 16, "rotary_fraction": 0.0}, "rotary_fraction=0.0"),
        ({"head_dim": 16, "rotary_fraction": -0.5}, "rotary_fraction=-0.5"),
        ({"head_dim": 16, "inv_freq": torch.ones(5)}, "inv_freq=(5,)"),
        ({"head_dim": 16, "attention_factor": math.nan}, "attention_factor"),
        ({"head_dim": 16, "attention_factor": 0.0}, "attention_factor=0.0"),
        ({"head_dim": 16, "attention_factor": -0.5}, "attention_factor=-0.5"),
        ({"head_dim": 16, "rotary_dim": 5}, "rotary_dim=5"),
        ({"head_dim": 16, "rotary_dim": 18}, "rotary_dim=18: must be at most head_dim=16"),
        ({"head_dim": 16, "rotary_dim": 8, "rotary_fraction": 0.5}, "rotary_fraction=0.5: leave it out"),
        ({"head_dim": 16, "rotated": "middle"}, "rotated='middle'"),
        ({"head_dim": 16, "scale": 0.0}, "scale=0.0"),
    ],
)
def test_bad_input(kwargs, words):
    with pytest.raises(ValueError, match="=") as error:
        RoPE(**kwargs)
    assert words in str(error.value)


def test_other_frequencies_in_place():
    enc = RoPE(16, attention_factor=1000.0)
    enc.set_frequencies(rope_frequencies(16, 500.0), 1.5)
    assert enc.attention_factor == 1.5 and torch.equal(enc.inv_freq, rope_frequencies(16, 500.0))
    enc.set_frequencies(rope_frequencies(16))
    assert enc.attention_factor == 1.0, "a set of frequencies without a factor has none"
