"""PoPE against PoPE-pytorch, x-transformers and the closed form, its properties, and wrong versions that must fail."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PoPE_pytorch import PoPE as Reference
from x_transformers.x_transformers import PolarEmbedding, apply_polar_pos_emb

from helpers.encodings import PoPE, build, positions
from helpers.encodings.pope import pope_frequencies
from helpers.model import CausalLM

SHAPES = [(1, 1, 1, 8), (2, 3, 17, 16), (1, 2, 40, 64), (1, 1, 9, 5)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
offsets = pytest.mark.parametrize("offset", [0, 7, 500])


def draw(shape, dtype: torch.dtype = torch.float64, seed: int = 0):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def module(shape, seed: int = 1) -> PoPE:
    torch.manual_seed(seed)
    return PoPE(shape[-1], shape[1], delta="uniform")


def logits(enc: PoPE, q, k, offset: int = 0):
    pos = positions(q.shape[-2], offset)
    a, b = enc.rotate(q, k, enc.prepare(pos, pos, None), 0)
    assert a.shape[-1] == 2 * q.shape[-1]
    return (a @ b.mT).detach()


def closed_form(q, k, delta, base: float = 1e4, sign: float = -1.0, length=F.softplus):
    """The paper's equation 6, term by term."""
    d, t = q.shape[-1], q.shape[-2]
    theta = base ** (sign * torch.arange(d).double() / d)
    gap = (torch.arange(t)[None, :] - torch.arange(t)[:, None])[..., None]  # s - t
    wave = (gap * theta + delta.double()[:, None, None]).cos()  # (heads, t, s, d)
    return torch.einsum("bhtc,bhsc,htsc->bhts", length(q.double()), length(k.double()), wave)


@shapes
@offsets
@pytest.mark.parametrize("dtype, margin", [(torch.float64, 1e-4), (torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_is_the_closed_form(shape, offset, dtype, margin):
    enc, (q, k) = module(shape), draw(shape, dtype)
    expected = closed_form(q, k, enc.delta.detach())
    got = logits(enc, q, k, offset).double()
    assert (got - expected).abs().max() < margin * expected.abs().max()


@pytest.mark.oracle("pope.PoPE", "pope.to_polar", "pope.pope_frequencies", against="PoPE-pytorch")
@shapes
@offsets
def test_is_pope_pytorch(shape, offset):
    enc, (q, k) = module(shape), draw(shape, torch.float32)
    reference = Reference(shape[-1], heads=shape[1])
    reference.bias.data.copy_(enc.delta)
    a, b = reference.apply_pope_to_qk(reference(shape[2], offset=offset), q, k)
    expected = a @ b.mT
    assert (logits(enc, q, k, offset) - expected).abs().max() < 2e-3 * expected.abs().max()


@pytest.mark.oracle("pope.PoPE", "pope.to_polar", "pope.pope_frequencies", against="x-transformers")
@shapes
def test_is_x_transformers(shape):
    enc, (q, k) = module(shape), draw(shape, torch.float32)
    reference = PolarEmbedding(shape[-1], shape[1])
    reference.learned_bias.data.copy_(enc.delta[:, None])
    freqs, bias = reference(torch.arange(shape[2]))
    expected = apply_polar_pos_emb(q, freqs) @ apply_polar_pos_emb(k, freqs + bias).mT
    assert (logits(enc, q, k) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_phases_out_of_bounds_are_clamped_as_in_the_packages():
    shape = (1, 2, 6, 8)
    enc, (q, k) = module(shape), draw(shape)
    enc.delta.data = torch.linspace(-9, 3, 16).view(2, 8)
    torch.testing.assert_close(
        logits(enc, q, k), closed_form(q, k, enc.delta.clamp(-2 * math.pi, 0)), atol=1e-4, rtol=1e-4
    )
    enc.bounded = False
    torch.testing.assert_close(logits(enc, q, k), closed_form(q, k, enc.delta), atol=1e-4, rtol=1e-4)


def test_phases_start_at_zero_or_anywhere_in_the_turn_before_it():
    assert not PoPE(64, 8).delta.any()
    torch.manual_seed(0)
    delta = PoPE(64, 8, delta="uniform").delta.detach() / (-2 * math.pi)
    assert 0 <= delta.min() < 0.02 and 0.98 < delta.max() < 1
    assert delta.mean().item() == pytest.approx(0.5, abs=0.05)


def test_a_phase_above_zero_gets_no_gradient():
    shape = (1, 1, 6, 8)
    q, k = draw(shape)
    for bounded in (True, False):
        enc = PoPE(8, 1, bounded=bounded)
        enc.delta.data.fill_(0.01)
        pos = positions(6)
        a, b = enc.rotate(q, k, enc.prepare(pos, pos, None), 0)
        (a @ b.mT).softmax(-1)[..., 0].sum().backward()
        assert (enc.delta.grad.abs().max() > 0) == (not bounded)


@settings(max_examples=40, deadline=None)
@given(d=st.integers(1, 48), shift=st.integers(0, 20_000), seed=st.integers(0, 1000))
def test_relative(d, shift, seed):
    q, k = draw((1, 2, 6, d), seed=seed)
    enc = module((1, 2, 6, d), seed)
    a, b = logits(enc, q, k), logits(enc, q, k, shift)
    assert (a - b).abs().max() < 1e-5 * a.abs().max().clamp(min=1)


@settings(max_examples=40, deadline=None)
@given(d=st.integers(1, 32), seed=st.integers(0, 1000))
def test_without_phases_the_nearest_of_equal_keys_wins(d, seed):
    q, k = draw((1, 1, 24, d), seed=seed)
    enc = PoPE(d, 1)
    row = logits(enc, q, k[..., :1, :].expand_as(k))[0, 0, -1]
    assert row.argmax() == 23


def test_a_phase_of_theta_minus_a_turn_looks_one_back():
    enc = PoPE(16, 1)
    enc.delta.data = (pope_frequencies(16) - 2 * math.pi).float()[None]
    q, k = draw((1, 1, 24, 16))
    assert logits(enc, q, k[..., :1, :].expand_as(k))[0, 0, -1].argmax() == 22


def wrong_versions():
    return {
        "positive exponent": lambda q, k, delta: closed_form(q, k, delta, sign=+1.0),
        "no softplus": lambda q, k, delta: closed_form(q, k, delta, length=lambda x: x),
        "relu": lambda q, k, delta: closed_form(q, k, delta, length=F.relu),
        "no phase": lambda q, k, delta: closed_form(q, k, 0 * delta),
        "phase on the query": lambda q, k, delta: closed_form(q, k, -delta),
    }


@pytest.mark.parametrize("name", wrong_versions())
def test_wrong_versions_differ(name):
    shape = (1, 2, 12, 16)
    enc, (q, k) = module(shape), draw(shape)
    right, wrong = logits(enc, q, k), wrong_versions()[name](q, k, enc.delta.detach())
    assert (right - wrong).abs().max() > 0.3


def test_scale_comes_from_the_width_before_rotation():
    """Weights of the explicit and of the fused path agree, and 1/sqrt(head_dim) is what both use."""
    torch.manual_seed(0)
    model = CausalLM(20, 32, 4, 1, build("pope", d_model=32, n_heads=4)).double()
    ids = torch.randint(20, (1, 8))
    x, attention = model.token_embedding(ids), model.blocks[0].attention
    q, k, _ = attention.qkv(model.blocks[0].norm1(x)).view(1, 8, 12, 8).transpose(1, 2).split([4, 4, 4], 1)
    causal = torch.ones(8, 8).tril().bool()
    expected = (logits(model.encoding, q, k) / 8**0.5).masked_fill(~causal, -math.inf).softmax(-1)
    torch.testing.assert_close(model.attention_weights(ids)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "args, words",
    [
        ((0, 4), "head_dim=0"),
        ((16, 0), "n_heads=0"),
        ((16, 4, -1.0), "base=-1.0"),
        ((16, 4, 1e4, "ones"), "delta='ones'"),
    ],
)
def test_bad_input(args, words):
    with pytest.raises(ValueError, match="=") as error:
        PoPE(*args)
    assert words in str(error.value)
