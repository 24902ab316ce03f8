"""Transformer-XL's relative attention against transformers' XLNet with the same weights; wrong versions must fail."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.encodings import TransformerXL, build, positions
from helpers.encodings.sinusoidal import sinusoidal_table
from helpers.encodings.transformer_xl import wave_logits
from helpers.model import CausalLM, Encoder, causal_mask

D_MODEL, HEADS, D, T = 24, 3, 8, 7


def xlnet(past: int = 0, causal: bool = False, clamp: int | None = None):
    """Ours with XLNet's weights, its queries and keys (B, H, T or S, D), and the attention weights that XLNet finds.

    ``past`` keys lie before the first query, in XLNet's memory.
    """
    transformers = pytest.importorskip("transformers")

    torch.manual_seed(0)
    config = transformers.XLNetConfig(
        vocab_size=5, d_model=D_MODEL, n_head=HEADS, n_layer=1, d_inner=8, dropout=0.0, clamp_len=clamp or -1,
        attn_type="uni" if causal else "bi",
    )  # fmt: skip
    model = transformers.XLNetModel(config).eval()
    theirs = model.layer[0].rel_attn
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    x, memory = torch.randn(T, 2, D_MODEL), torch.randn(past, 2, D_MODEL)
    hidden = ~causal_mask(T, past + T)[0, 0, :, :, None, None] if causal else None
    r = model.relative_positional_encoding(T, past + T, bsz=2)
    weights = theirs(
        x, None, None if hidden is None else hidden.float(), None, r, None, mems=memory, output_attentions=True
    )[-1]
    ours = TransformerXL(D_MODEL, HEADS, max_distance=clamp)
    ours.u.data, ours.v.data = theirs.r_w_bias.data, theirs.r_r_bias.data
    ours.projections.data = theirs.r.data.permute(1, 2, 0)[None]
    seen = torch.cat([memory, x])
    q, k = torch.einsum("ibc,chd->bhid", x, theirs.q), torch.einsum("ibc,chd->bhid", seen, theirs.k)
    return ours, q, k, weights.permute(2, 3, 0, 1)


def attention(logits: torch.Tensor, causal: bool) -> torch.Tensor:
    t, s = logits.shape[-2:]
    return (logits.masked_fill(~causal_mask(t, s), -math.inf) if causal else logits).softmax(-1)


@pytest.mark.oracle("transformer_xl.TransformerXL", "transformer_xl.wave_logits", against="transformers: XLNet")
@pytest.mark.parametrize("clamp", [None, 3, 50])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("past", [0, 4])
@torch.no_grad()
def test_it_equals_xlnet(past, causal, clamp):
    ours, q, k, weights = xlnet(past, causal, clamp)
    state = ours.prepare(positions(T, past), positions(past + T), None)
    found = attention(q @ k.mT * D**-0.5 + ours.bias(q, k, state, 0), causal)
    torch.testing.assert_close(found, weights, rtol=0, atol=1e-5)


def logits(enc, q, k, distance=None, u=None, v=None, rows=None, scale=D**-0.5):
    """(q + u) . k + (q + v) . W r of every pair, scaled, its T x S rows written out; what is passed may be wrong."""
    i, j = torch.arange(q.shape[2])[:, None] + k.shape[2] - q.shape[2], torch.arange(k.shape[2])
    r = sinusoidal_table(i - j if distance is None else distance(i, j), D_MODEL, convention="halves")
    keys = torch.einsum("ijc,hdc->hijd", r if rows is None else rows(r), enc.projections[0])
    u, v = enc.u if u is None else u, enc.v if v is None else v
    content, place = (q + u[:, None]) @ k.mT, torch.einsum("bhid,hijd->bhij", q + v[:, None], keys)
    return (content + place) * scale


WRONG = {
    "the distance of key and query has the other sign": lambda e, q, k: logits(e, q, k, lambda i, j: j - i),
    "the relative shift is off by one": lambda e, q, k: logits(e, q, k, lambda i, j: i - j + 1),
    "no relative shift: a row per key, as if all queries stood last": lambda e, q, k: logits(
        e, q, k, lambda i, j: (k.shape[2] - 1 - j).expand(len(i), -1)
    ),
    "queries counted from 0 although keys lie before them": lambda e, q, k: logits(
        e, q, k, lambda i, j: i - (k.shape[2] - q.shape[2]) - j
    ),
    "v left out": lambda e, q, k: logits(e, q, k, v=torch.zeros_like(e.v)),
    "u left out": lambda e, q, k: logits(e, q, k, u=torch.zeros_like(e.u)),
    "u and v exchanged": lambda e, q, k: logits(e, q, k, u=e.v, v=e.u),
    "sines and cosines interleaved for a projection of halves": lambda e, q, k: logits(
        e, q, k, rows=lambda r: r.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)
    ),
    "added after scaling, itself unscaled": lambda e, q, k: q @ k.mT * D**-0.5 + logits(e, q, k, scale=1.0) - q @ k.mT,
}


@pytest.mark.parametrize("wrong", WRONG)
@torch.no_grad()
def test_wrong_versions_fail(wrong):
    ours, q, k, weights = xlnet(past=4)
    torch.testing.assert_close(attention(logits(ours, q, k), causal=False), weights, rtol=0, atol=1e-5)
    assert (attention(WRONG[wrong](ours, q, k), causal=False) - weights).abs().max() > 1e-2


# ------------------------------------------------------------------------------------------------------ properties


@settings(max_examples=40, deadline=None)
@given(
    half=st.integers(1, 16), shift=st.integers(-100_000, 100_000), seed=st.integers(0, 10_000),
    places=st.lists(st.integers(-300, 300), min_size=1, max_size=8),
)  # fmt: skip
def test_waves_know_the_distance_and_nothing_else(half, shift, seed, places):
    """At any positions, in any order, repeated or with gaps: the rows of the distances, written out."""
    i, j = torch.tensor(places)[None], torch.tensor(places[::2])[None]
    x = torch.randn(1, 2, len(places), 2 * half, generator=torch.Generator().manual_seed(seed)).double()

    def rows(p):
        return sinusoidal_table(p, 2 * half, convention="halves", dtype=torch.float64)

    expected = torch.einsum("bhiw,bijw->bhij", x, rows(i[:, :, None] - j[:, None]))
    found = wave_logits(x, rows(i + shift)[:, None], rows(-j - shift)[:, None])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(reach=st.integers(1, 12), past=st.integers(0, 5), seed=st.integers(0, 1000))
@torch.no_grad()
def test_a_clamp_changes_nothing_up_to_its_distance_and_all_beyond_are_one(reach, past, seed):
    torch.manual_seed(seed)
    free = TransformerXL(D_MODEL, HEADS, std=0.5).double()
    cut = TransformerXL(D_MODEL, HEADS, std=0.5, max_distance=reach).double()
    cut.load_state_dict(free.state_dict())
    q, k = torch.randn(1, HEADS, T, D).double(), torch.zeros(1, HEADS, past + T, D).double()
    q_pos, k_pos = positions(T, past), positions(past + T)
    a, b = (enc.bias(q, k, enc.prepare(q_pos, k_pos, None), 0) for enc in (free, cut))
    distance = q_pos[0, :, None] - k_pos[0]
    torch.testing.assert_close(b[..., distance.abs() <= reach], a[..., distance.abs() <= reach], rtol=0, atol=1e-5)
    for i in range(T):
        for side in (1, -1):
            beyond = b[:, :, i, side * distance[i] >= reach]
            assert beyond.numel() == 0 or torch.equal(beyond, beyond[..., :1].expand_as(beyond))


@torch.no_grad()
def test_order_is_seen_without_a_mask_and_the_distance_decides():
    """Not symmetric: a sine changes its sign with the distance. With u, v and W_R at zero it is no encoding at all."""
    torch.manual_seed(0)
    model = Encoder(11, D_MODEL, HEADS, 1, TransformerXL(D_MODEL, HEADS, std=0.5)).double()
    ids = torch.randint(11, (1, T))
    assert (model.hidden(ids)[0] - model.hidden(ids.flip(1))[0].flip(1)).abs().max() > 1e-3
    for parameter in model.encoding.parameters():
        parameter.zero_()
    order = torch.randperm(T)
    torch.testing.assert_close(model.hidden(ids[:, order])[0], model.hidden(ids)[0][:, order], rtol=0, atol=1e-12)


# -------------------------------------------------------------------------------------------------- layers, sizes


@torch.no_grad()
def test_layers_share_u_and_v_and_may_have_projections_of_their_own():
    torch.manual_seed(0)
    enc = TransformerXL(D_MODEL, HEADS, n_layers=2, std=0.5)
    assert {name: tuple(p.shape) for name, p in enc.named_parameters()} == {
        "u": (HEADS, D), "v": (HEADS, D), "projections": (2, HEADS, D, D_MODEL),
    }  # fmt: skip
    q, k = torch.randn(2, 1, HEADS, T, D)
    state = enc.prepare(positions(T), positions(T), None)
    first, second = (enc.bias(q, k, state, layer) for layer in (0, 1))
    assert (first - second).abs().max() > 0.1
    enc.projections[1] = enc.projections[0]
    assert torch.equal(enc.bias(q, k, state, 1), first)
    assert (
        CausalLM(5, D_MODEL, HEADS, 3, build("transformer_xl", d_model=D_MODEL, n_heads=HEADS))(
            torch.zeros(1, 4, dtype=torch.long)
        )
        .isfinite()
        .all()
    )  # one projection serves three layers


def test_it_starts_with_the_spread_asked_for():
    torch.manual_seed(0)
    for std in (0.02, 0.5):
        enc = TransformerXL(256, 4, std=std)
        for parameter in enc.parameters():
            assert parameter.std().item() == pytest.approx(std, rel=0.15)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"d_model": 9, "n_heads": 3}, "d_model=9: must be even"),
        ({"n_heads": 5}, "n_heads=5: must divide d_model=24"),
        ({"n_layers": 0}, "n_layers=0"),
        ({"std": 0.0}, "std=0.0: must be a finite number above 0 and at most 1"),
        ({"std": 1.5}, "std=1.5"),
        ({"max_distance": 0}, "max_distance=0"),
    ],
)
def test_it_refuses(change, words):
    with pytest.raises(ValueError, match=words):
        TransformerXL(**{"d_model": D_MODEL, "n_heads": HEADS, **change})


def test_a_clamp_takes_whole_positions_only():
    enc = TransformerXL(D_MODEL, HEADS, max_distance=3)
    with pytest.raises(ValueError, match="position_ids=torch.float32: .*use integers"):
        enc.prepare(positions(3).float(), positions(3), None)
