"""What each scheme promises, for widths, bases, positions and shifts that hypothesis draws.

(Relative logits and norms of RoPE, PoPE and axial RoPE, and the algebra of sinusoids, stand with their families.)
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.encodings import ALiBi, AxialRoPE, CoPE, Kerple, MRoPE, PoPE, RoPE, XPos, build, extension, positions
from helpers.encodings.alibi import alibi_slopes
from helpers.encodings.cope import cope_positions
from helpers.encodings.fire import fire_input
from helpers.encodings.rope import LAYOUTS, rope_frequencies
from helpers.encodings.sinusoidal import dot_product_by_distance, sinusoidal_frequencies
from helpers.encodings.t5 import t5_buckets
from helpers.model import CausalLM, Encoder, causal_mask
from tests.encodings.test_extension import options

quick = settings(max_examples=40, deadline=None)
slow = settings(max_examples=12, deadline=None)
seeds, layouts = st.integers(0, 10_000), st.sampled_from(LAYOUTS)
bases = st.floats(1.5, 1e7)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rotated(enc, q, k, pos):
    return enc.rotate(q, k, enc.prepare(pos, pos, None), 0)


# -------------------------------------------------------------------------------------------------- relative schemes


@quick
@given(
    pairs=st.integers(1, 24), base=bases, layout=layouts, gamma=st.floats(0.1, 4), scale_base=st.floats(64, 2048),
    shift=st.integers(-300, 300), center=st.floats(-300, 300), seed=seeds,
)  # fmt: skip
def test_xpos_logits_are_relative_and_do_not_know_the_center(
    pairs, base, layout, gamma, scale_base, shift, center, seed
):
    q, k = draw(1, 1, 6, 2 * pairs, seed=seed), draw(1, 1, 6, 2 * pairs, seed=seed + 1)
    pos = positions(6, 300)
    a, b = rotated(XPos(2 * pairs, base, layout, gamma, scale_base), q, k, pos)
    c, d = rotated(XPos(2 * pairs, base, layout, gamma, scale_base, center), q, k, pos + shift)
    size = (a.abs() @ b.abs().mT).clamp(min=1)
    assert ((a @ b.mT - c @ d.mT).abs() < 1e-5 * size).all()


RELATIVE = ["rope", "pope", "xpos", "alibi", "kerple", "sandwich", "window", "t5", "shaw", "deberta", "transformer_xl",
            "cope", "none"]  # fmt: skip


@pytest.mark.parametrize("name", RELATIVE)
@slow
@given(shift=st.integers(1, 3000), seed=seeds)
@torch.no_grad()
def test_a_relative_scheme_does_not_feel_a_shift_of_all_positions(name, shift, seed):
    torch.manual_seed(seed)
    model = CausalLM(9, 16, 2, 2, build(name, d_model=16, n_heads=2, train_len=24)).double()
    ids = torch.randint(9, (1, 10))
    torch.testing.assert_close(model(ids, position_ids=positions(10, shift)), model(ids), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["sinusoidal", "learned", "fire"])
@torch.no_grad()
def test_an_absolute_scheme_does(name):
    torch.manual_seed(0)
    model = CausalLM(9, 16, 2, 2, build(name, d_model=16, n_heads=2, train_len=8, max_len=64)).double()
    ids = torch.randint(9, (1, 10))
    assert (model(ids, position_ids=positions(10, 40)) - model(ids)).abs().max() > 1e-3


# ---------------------------------------------------------------------------------------------- order and the mask


@slow
@given(order=st.permutations(range(7)), heads=st.sampled_from([1, 2, 4]), layers=st.integers(1, 3), seed=seeds)
@torch.no_grad()
def test_without_position_an_encoder_is_equivariant(order, heads, layers, seed):
    torch.manual_seed(seed)
    model = Encoder(50, 16, heads, layers).double()
    ids, order = torch.randperm(50)[None, :7], torch.tensor(order)
    torch.testing.assert_close(model.hidden(ids[:, order])[0], model.hidden(ids)[0][:, order], rtol=0, atol=1e-10)
    torch.testing.assert_close(model.pooled(ids[:, order]), model.pooled(ids), rtol=0, atol=1e-10)


@quick
@given(t=st.integers(2, 20), heads=st.integers(1, 24), offset=st.integers(0, 500), scale=st.floats(0.1, 10), seed=seeds)
def test_the_key_only_row_is_alibi_under_the_causal_mask_only(t, heads, offset, scale, seed):
    logits = scale * draw(heads, t, t, seed=seed)
    pos, slopes = positions(t, offset), alibi_slopes(heads)[:, None, None]
    full, row = ALiBi(heads).prepare(pos, pos, None)[0].double(), slopes * pos
    hidden = ~causal_mask(t, t)[0, 0]
    a, b = ((logits + bias).masked_fill(hidden, -math.inf).softmax(-1) for bias in (full, row))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    ahead = (full - row).diff(dim=-1).abs().amax()  # without the mask the two differ by more than a constant a row
    assert ahead > slopes.max()


# ----------------------------------------------------------------------------------------------- monotone, or not


@quick
@given(r1=st.floats(1e-3, 10), r2=st.floats(1e-3, 10), variant=st.sampled_from(["log", "power"]))
def test_kerple_and_alibi_never_rise_with_distance(r1, r2, variant):
    enc = Kerple(2, variant).double()
    enc.raw_r1.data, enc.raw_r2.data = (torch.tensor([math.log(x), -math.log(x)]).double() for x in (r1, r2))
    far = torch.tensor([[5000]])
    for scheme in (enc, ALiBi(2)):
        toward_the_query = scheme.prepare(far, positions(5001), None)[0, :, 0].detach().double()
        assert (toward_the_query.diff(dim=-1) > 0).all()


@quick
@given(query=st.integers(1, 5000), c=st.floats(1e-3, 10), threshold=st.floats(0.5, 4000))
def test_fire_s_share_rises_with_distance_from_0_to_at_most_1(query, c, threshold):
    share = fire_input(torch.tensor([[query]]), positions(query + 1), torch.tensor(c).double(), threshold)[0, 0]
    assert (share.diff() < 0).all() and share[-1] == 0 and share[0] <= 1 + 1e-12
    if query >= threshold:
        assert share[0] == pytest.approx(1)


@quick
@given(quarter=st.integers(1, 32), ratio=st.floats(1.2, 200), both=st.booleans())
def test_buckets_of_t5_never_go_back_and_end_at_the_last(quarter, ratio, both):
    buckets = 4 * quarter
    farthest = max(buckets, math.ceil(buckets * ratio))
    back = t5_buckets(-torch.arange(4 * farthest), buckets, farthest, both)
    side = buckets // 2 if both else buckets
    assert (back.diff() >= 0).all() and back[0] == 0 and back[-1] == side - 1
    assert torch.equal(back[: side // 2], torch.arange(side // 2))  # one distance a bucket near the query
    ahead = t5_buckets(torch.arange(1, 4 * farthest), buckets, farthest, both)
    assert torch.equal(ahead, back[1:] + side if both else torch.zeros_like(ahead))


@quick
@given(d=st.integers(1, 200).map(lambda n: 2 * n), base=st.floats(50, 1e6))
def test_the_dot_product_of_sinusoids_is_not_monotone(d, base):
    """It is largest at distance 0, and it rises somewhere within d / 2 + 8 steps."""
    g = dot_product_by_distance(torch.arange(d // 2 + 9), d, base)
    assert (g.diff() > 0).any() and (g[1:] < g[0]).all()


@quick
@given(d=st.integers(2, 300).map(lambda n: 2 * n), base=st.floats(1.1, 1e7))
def test_the_longest_wavelength_of_the_paper_stops_short_of_two_pi_base(d, base):
    assert 1 / sinusoidal_frequencies(d, base)[-1] < base
    assert 1 / sinusoidal_frequencies(d, base, "tensor2tensor")[-1].item() == pytest.approx(base)


@quick
@given(t=st.integers(1, 40), max_pos=st.integers(2, 30), seed=seeds)
def test_cope_s_counts_fall_toward_the_query_and_stay_on_the_table(t, max_pos, seed):
    counts = cope_positions(3 * draw(1, 2, t, t, seed=seed), causal_mask(t, t), max_pos)
    assert 0 <= counts.min() and counts.max() <= max_pos - 1
    assert (counts.diff(dim=-1) <= 0).all()
    one = CoPE(4, max_pos).prepare(positions(t), positions(t), causal_mask(t, t))
    assert torch.equal(
        cope_positions(torch.full((1, 1, t, t), 50.0), one, 10**6)[0, 0, -1].flip(0), torch.arange(1.0, t + 1)
    )


# ------------------------------------------------------------------------------------------------------- rotations


@quick
@given(d=st.integers(1, 40), offset=st.integers(0, 50_000), base=bases, seed=seeds)
def test_pope_turns_lengths_and_keeps_them(d, offset, base, seed):
    q, k = draw(1, 2, 5, d, seed=seed), draw(1, 2, 5, d, seed=seed + 1)
    for x, turned in zip((q, k), rotated(PoPE(d, 2, base, "uniform"), q, k, positions(5, offset)), strict=True):
        lengths = torch.nn.functional.softplus(x)
        torch.testing.assert_close(torch.hypot(*turned.chunk(2, -1)), lengths, rtol=1e-5, atol=0)


@quick
@given(quarter=st.integers(1, 10), width=st.integers(1, 12), base=bases, along=st.sampled_from([0, 1]), seed=seeds)
def test_axial_on_one_line_is_rope_of_half_the_width_and_the_identity(quarter, width, base, along, seed):
    d = 4 * quarter
    q, k = draw(1, 2, width, d, seed=seed), draw(1, 2, width, d, seed=seed + 1)
    line = torch.zeros(1, width, 2, dtype=torch.long)
    line[..., along] = torch.arange(width)
    turned, still = (slice(d // 2, None), slice(d // 2)) if along == 1 else (slice(d // 2), slice(d // 2, None))
    alone = rotated(RoPE(d // 2, base, "interleaved"), q[..., turned], k[..., turned], positions(width))
    for x, found, expected in zip((q, k), rotated(AxialRoPE(d, base=base), q, k, line), alone, strict=True):
        assert torch.equal(found[..., still], x[..., still])
        torch.testing.assert_close(found[..., turned], expected, rtol=0, atol=1e-12)


@quick
@given(sections=st.lists(st.integers(1, 6), min_size=1, max_size=4), base=bases, layout=layouts, seed=seeds)
def test_mrope_with_equal_coordinates_is_rope(sections, base, layout, seed):
    d = 2 * sum(sections)
    q, k = draw(1, 1, 5, d, seed=seed), draw(1, 1, 5, d, seed=seed + 1)
    ids = positions(5, seed)
    for a, b in zip(rotated(MRoPE(d, sections, base, layout), q, k, ids), rotated(RoPE(d, base, layout), q, k, ids),
                    strict=True):  # fmt: skip
        assert torch.equal(a, b)


# ----------------------------------------------------------------------------------------------- context extension

shapes = {"d": st.integers(2, 64).map(lambda n: 2 * n), "base": bases, "length": st.integers(2, 100_000)}


@pytest.mark.parametrize("rule", [r for r in extension.RULES if r not in ("abf", "p_rope")])
@quick
@given(**shapes)
def test_at_factor_one_nothing_changes(rule, d, base, length):
    """By definition of each rule; ABF and p-RoPE have no factor, and change the model at any length."""
    found = extension.extend(rule, d, base, 1.0, length, **options(rule, d // 2))
    torch.testing.assert_close(found.inv_freq, rope_frequencies(d, base), rtol=1e-12, atol=0)
    assert found.attention_factor == 1.0


@pytest.mark.parametrize("rule", ["pi", "ntk", "ntk_by_parts", "yarn", "llama3"])
@quick
@given(**shapes, factor=st.floats(1, 128))
def test_no_pair_is_sped_up_or_slowed_by_more_than_the_factor(rule, d, base, length, factor):
    slow_down = rope_frequencies(d, base) / extension.extend(rule, d, base, factor, length).inv_freq
    assert (slow_down >= 1 - 1e-9).all() and (slow_down <= factor * (1 + 1e-9)).all()
    assert (slow_down.diff() >= -1e-9 * factor).all()  # the slower the pair, the more it is slowed


@quick
@given(d=st.integers(2, 64).map(lambda n: 2 * n), base=bases, factor=st.floats(1, 128), length=st.integers(2, 100_000))
def test_what_the_two_ntk_rules_promise(d, base, factor, length):
    theta = rope_frequencies(d, base)
    new = extension.extend("ntk", d, base, factor, length).inv_freq
    assert new[0] == theta[0] and (theta[-1] / new[-1]).item() == pytest.approx(factor, rel=1e-9)
    grown = extension.extend("dynamic_ntk", d, base, 1.0, length, math.ceil(length * factor)).inv_freq
    now = extension.extend("ntk", d, base, math.ceil(length * factor) / length, length).inv_freq
    torch.testing.assert_close(grown, now, rtol=1e-9, atol=0)
    short = extension.extend("dynamic_ntk", d, base, factor, length, max(1, length // 2)).inv_freq
    assert torch.equal(short, theta)
