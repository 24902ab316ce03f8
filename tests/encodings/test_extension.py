"""The extension rules against transformers' own functions, and against plausible wrong versions of them."""

import itertools
import math

import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from helpers.encodings import AxialRoPE, MRoPE, NoEncoding, PoPE, RoPE, XPos
from helpers.encodings.extension import (
    RULES,
    DynamicNTK,
    Extension,
    abf,
    correction_dim,
    dynamic_ntk,
    extend,
    llama3,
    longrope,
    longrope_example,
    ntk_aware,
    ntk_by_parts,
    p_rope,
    position_interpolation,
    rotations,
    temperature_factor,
    yarn,
)
from helpers.encodings.rope import rope_frequencies
from helpers.model import CausalLM, KVCache
from helpers.studies import context_extension

DIMS, BASES, FACTORS, LENGTHS = (16, 64, 128), (10_000.0, 500_000.0), (1.0, 2.0, 8.0, 16.0), (64, 4096)
GRID = list(itertools.product(DIMS, BASES, FACTORS, LENGTHS))


def oracle(kind: str, head_dim: int, base: float, factor: float, length: int, seq_len: int | None = None, **extra):
    """inv_freq and attention factor from transformers."""
    rope = {"rope_type": kind, "rope_theta": base, "factor": factor, **extra}
    if kind in ("yarn", "longrope", "llama3"):
        rope["original_max_position_embeddings"] = length
    config = transformers.LlamaConfig(
        hidden_size=head_dim, num_attention_heads=1, head_dim=head_dim, max_position_embeddings=length,
        rope_parameters=rope,
    )  # fmt: skip
    return ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=seq_len)


def agrees(ours, theirs) -> bool:
    """Frequencies to 1e-6 absolutely and relatively (theirs are float32), the factor to 1e-6."""
    freq, factor = theirs
    close = torch.allclose(ours.inv_freq, freq.double(), rtol=3e-6, atol=1e-12)
    return close and (ours.inv_freq - freq.double()).abs().max() < 1e-6 and abs(ours.attention_factor - factor) < 1e-6


@pytest.mark.oracle(
    "extension.position_interpolation",
    "extension.llama3",
    "extension.dynamic_ntk",
    "extension.longrope",
    "extension.p_rope",
    against="transformers: ROPE_INIT_FUNCTIONS",
)
@pytest.mark.parametrize(("head_dim", "base", "factor", "length"), GRID)
def test_rules_equal_transformers(head_dim, base, factor, length):
    args = (head_dim, base, factor, length)
    assert agrees(position_interpolation(*args), oracle("linear", *args))
    assert agrees(llama3(*args), oracle("llama3", *args, low_freq_factor=1.0, high_freq_factor=4.0))
    for seq_len in (None, length // 2, length, length + 1, 2 * length, 8 * length):
        assert agrees(dynamic_ntk(*args, seq_len), oracle("dynamic", *args, seq_len=seq_len))
    lists = {"short_factor": [1.0 + 0.01 * i for i in range(head_dim // 2)]}
    lists["long_factor"] = longrope_example(head_dim, factor)
    for seq_len in (None, length, length + 1):
        assert agrees(longrope(*args, seq_len, **lists), oracle("longrope", *args, seq_len=seq_len, **lists))
    for keep in (0.25, 0.75, 1.0):
        theirs = oracle("proportional", *args, partial_rotary_factor=keep)
        assert agrees(p_rope(*args, keep=keep, interpolate=True), theirs)


# Lengths at which an end of the ramp leaves the pairs: the slow end beyond the last, both ends before the first, equal.
CORNERS = [(16, 10.0, 4.0, 4096), (16, 1e4, 4.0, 3), (16, 1e4, 4.0, 6), (64, 1e4, 8.0, 6)]


@pytest.mark.oracle(
    "extension.yarn",
    "extension.temperature_factor",
    "extension.correction_dim",
    against="transformers: ROPE_INIT_FUNCTIONS",
)
@pytest.mark.parametrize(("head_dim", "base", "factor", "length"), [*GRID, *CORNERS])
@pytest.mark.parametrize(("fast", "slow"), [(32.0, 1.0), (4.0, 1.0), (8.0, 2.0), (1.0, 1.0)])
@pytest.mark.parametrize("truncate", [True, False])
def test_yarn_equals_transformers(head_dim, base, factor, length, fast, slow, truncate):
    theirs = oracle("yarn", head_dim, base, factor, length, beta_fast=fast, beta_slow=slow, truncate=truncate)
    assert agrees(yarn(head_dim, base, factor, length, beta_fast=fast, beta_slow=slow, truncate=truncate), theirs)


@pytest.mark.oracle("extension.ntk_aware", against="transformers: ROPE_INIT_FUNCTIONS")
def test_ntk_aware_equals_dynamic_at_the_papers_scale():
    """The released dynamic rule with factor 1 at length sL is NTK-aware with factor s; with factor s it is not."""
    for s in (2, 4, 8):
        assert torch.allclose(
            ntk_aware(64, 1e4, s, 512).inv_freq, dynamic_ntk(64, 1e4, 1, 512, 512 * s).inv_freq, rtol=1e-12
        )
        assert agrees(ntk_aware(64, 1e4, s, 512), oracle("dynamic", 64, 1e4, 1.0, 512, seq_len=512 * s))
    doubled = 2 * 2 - (2 - 1)
    assert doubled == 3
    assert torch.allclose(dynamic_ntk(64, 1e4, 2, 512, 1024).inv_freq, ntk_aware(64, 1e4, 3, 512).inv_freq, rtol=1e-12)


@pytest.mark.parametrize("head_dim", DIMS)
@pytest.mark.parametrize("factor", [2.0, 8.0])
def test_ntk_keeps_the_fastest_and_slows_the_slowest_by_exactly_the_factor(head_dim, factor):
    old, new = rope_frequencies(head_dim), ntk_aware(head_dim, 1e4, factor, 64).inv_freq
    assert new[0] == old[0] == 1.0
    assert math.isclose(old[-1] / new[-1], factor, rel_tol=1e-12)
    assert (torch.diff(old / new) > 0).all()


@pytest.mark.parametrize(("head_dim", "base", "factor", "length"), GRID)
def test_llama3_is_yarns_paper_ramp_with_one_and_four_turns_and_no_temperature(head_dim, base, factor, length):
    ours = llama3(head_dim, base, factor, length)
    paper = yarn(head_dim, base, factor, length, beta_fast=4.0, beta_slow=1.0, ramp="paper", attention_factor=1.0)
    assert torch.allclose(ours.inv_freq, paper.inv_freq, rtol=1e-12, atol=0)
    assert ours.attention_factor == paper.attention_factor == 1.0


def test_llama31_as_published_keeps_29_blends_6_divides_29():
    freq, new = rope_frequencies(128, 5e5), llama3(128, 5e5, 8, 8192).inv_freq
    ratio = freq / new
    counts = ((ratio == 1).sum(), ((ratio > 1) & (ratio < 8 - 1e-9)).sum(), (ratio > 8 - 1e-9).sum())
    assert [int(c) for c in counts] == [29, 6, 29]


def test_llama4_scout_is_a_hard_switch():
    new = llama3(128, 5e5, 16, 8192, low_freq_factor=1.0, high_freq_factor=1.0).inv_freq
    ratio = rope_frequencies(128, 5e5) / new
    assert set(ratio.round().int().tolist()) == {1, 16}


def test_published_slow_downs_of_llama2_at_sixteen():
    """Slow-down factors of single pairs, as computed independently for base 10,000, d = 128, L = 4096, s = 16."""
    args, freq = (128, 1e4, 16, 4096), rope_frequencies(128)
    table = {20: (2.41, 1.00, 1.00), 28: (3.43, 1.41, 2.61), 36: (4.88, 2.36, 6.99), 44: (6.93, 7.43, 14.86)}
    for pair, (ntk, code, paper) in table.items():
        found = [(freq / e.inv_freq)[pair].item() for e in (ntk_aware(*args), yarn(*args), ntk_by_parts(*args))]
        assert [round(v, 2) for v in found] == [ntk, code, paper]
    ratio = (yarn(*args).inv_freq / ntk_by_parts(*args).inv_freq).max().item()
    assert round(ratio, 2) == 3.04


def test_temperature_of_yarn():
    for s, wanted in {2: 1.0693, 4: 1.1386, 8: 1.2079, 16: 1.2773, 32: 1.3466}.items():
        assert round(temperature_factor(s), 4) == wanted
        assert yarn(64, 1e4, s, 512).attention_factor == temperature_factor(s)
    assert yarn(64, 1e4, 8, 512, attention_factor=1.0).attention_factor == 1.0


@pytest.mark.parametrize("rule", [r for r in RULES if r not in ("abf", "p_rope")])
def test_factor_one_changes_nothing(rule):
    """At factor 1 (and the original length) every rule that uses the factor is RoPE as trained."""
    ext = extend(rule, 64, 1e4, 1.0, 512, **options(rule, 32))
    assert torch.allclose(ext.inv_freq, rope_frequencies(64), rtol=1e-12, atol=0)
    assert ext.attention_factor == 1.0


def test_rules_without_a_factor():
    assert torch.equal(abf(64, 1e4, new_base=5e5).inv_freq, rope_frequencies(64, 5e5))
    assert torch.equal(p_rope(64, 1e4, keep=1.0).inv_freq, rope_frequencies(64))
    assert int((p_rope(64, 1e4, keep=0.75).inv_freq == 0).sum()) == 8


def test_slowing_never_speeds_a_pair_up():
    for rule in RULES:
        ext = extend(rule, 128, 1e4, 8.0, 4096, 32_768, **options(rule, 64))
        assert (ext.inv_freq <= rope_frequencies(128) * (1 + 1e-12)).all(), rule
        assert ext.inv_freq.dtype == torch.float64 and ext.attention_factor >= 1


def test_correction_dim_inverts_rotations():
    freq = rope_frequencies(128)
    for pair in (0, 20, 46, 63):
        turns = rotations(freq, 4096)[pair].item()
        assert math.isclose(correction_dim(turns, 128, 1e4, 4096), pair, abs_tol=1e-9)


# ---------------------------------------------------------------------------------- plausible wrong versions fail


def wrong_versions():
    freq, s, d, length = rope_frequencies(128), 16.0, 128, 4096
    turns = length * freq / (2 * math.pi)
    ramp = ((turns - 1) / 31).clamp(0, 1)
    natural = lambda n: d * math.log10(length / (2 * math.pi * n)) / (2 * math.log(1e4))  # noqa: E731
    low, high = math.floor(natural(32)), math.ceil(natural(1))
    mixed_logs = ((torch.arange(64) - low) / (high - low)).clamp(0, 1).double()
    return {
        "NTK-aware called YaRN": rope_frequencies(d, 1e4 * s ** (d / (d - 2))),
        "PI called YaRN": freq / s,
        "ramp upside down": ramp * freq / s + (1 - ramp) * freq,
        "exponent sign": 1e4 ** (torch.arange(0, d, 2).double() / d),
        "paper ramp called code ramp": ramp * freq + (1 - ramp) * freq / s,
        "turns without 2 pi": ntk_by_parts(d, 1e4, s, int(length * 2 * math.pi)).inv_freq,
        "two kinds of logarithm": freq * (1 - mixed_logs) + freq / s * mixed_logs,
    }


@pytest.mark.parametrize("name", wrong_versions())
def test_wrong_yarn_is_told_from_yarn(name):
    theirs = oracle("yarn", 128, 1e4, 16.0, 4096)[0].double()
    assert not torch.allclose(wrong_versions()[name], theirs, rtol=1e-2)


def test_wrong_temperatures_are_told_from_yarns():
    right = oracle("yarn", 128, 1e4, 16.0, 4096)[1]
    assert abs(right - temperature_factor(16)) < 1e-9
    for wrong in (0.1 * math.log10(16) + 1, 0.1 * math.log2(16) + 1, right**2, math.sqrt(right), 1 / right):
        assert abs(wrong - right) > 0.05


def test_temperature_acts_before_the_softmax():
    """Scaling q and k by the factor is softmax(f^2 logits); scaling the weights after it is something else."""
    torch.manual_seed(0)
    logits, f = torch.randn(4, 8, dtype=torch.float64), temperature_factor(16)
    q, k = torch.randn(1, 4, 8, dtype=torch.float64), torch.randn(1, 8, 8, dtype=torch.float64)
    assert torch.allclose((f * q) @ (f * k).mT, f**2 * (q @ k.mT), rtol=1e-12)
    before, after = (f**2 * logits).softmax(-1), f**2 * logits.softmax(-1)
    assert torch.allclose(before.sum(-1), torch.ones(4, dtype=torch.float64))
    assert (after.sum(-1) > 1.5).all() and not torch.allclose(before, after, atol=0.05)


# ------------------------------------------------------------------------------------------------- refusals


def options(rule: str, pairs: int) -> dict:
    """The options that a rule cannot do without."""
    return {
        "longrope": {"short_factor": [1.0] * pairs, "long_factor": longrope_example(2 * pairs, 2.0)},
        "abf": {"new_base": 5e5},
        "p_rope": {"keep": 0.75},
    }.get(rule, {})


GOOD = {"head_dim": 64, "base": 1e4, "factor": 2.0, "original_max_position_embeddings": 512, "seq_len": 1024}
BAD = [
    ("head_dim", 63), ("head_dim", 2), ("head_dim", 64.0), ("head_dim", -4),
    ("base", 0), ("base", -10), ("base", 0.5), ("base", float("nan")),
    ("factor", 0.5), ("factor", 0), ("factor", -2), ("factor", float("inf")), ("factor", "8"),
    ("original_max_position_embeddings", 0), ("original_max_position_embeddings", -1),
    ("original_max_position_embeddings", 512.5), ("seq_len", 0), ("seq_len", -3),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("argument", "value"), BAD)
def test_every_rule_refuses_nonsense(rule, argument, value):
    with pytest.raises(ValueError, match=argument):
        RULES[rule](**{**GOOD, **options(rule, 32), argument: value})


@pytest.mark.parametrize(
    ("rule", "bad", "named"),
    [
        ("longrope", {"short_factor": [1.0] * 31}, "short_factor"),
        ("longrope", {"long_factor": [1.0] * 64}, "long_factor"),
        ("longrope", {"long_factor": [0.0] * 32}, "long_factor"),
        ("longrope", {"original_max_position_embeddings": 1}, "original_max_position_embeddings"),
        ("yarn", {"ramp": "paper", "beta_fast": 1.0, "beta_slow": 1.0}, "beta_fast"),
        ("yarn", {"beta_fast": 1.0, "beta_slow": 32.0}, "beta_fast"),
        ("yarn", {"beta_slow": -1.0}, "beta_slow"),
        ("yarn", {"ramp": "log"}, "ramp"),
        ("ntk_by_parts", {"beta_fast": 1.0, "beta_slow": 32.0}, "beta_fast"),
        ("llama3", {"low_freq_factor": 4.0, "high_freq_factor": 1.0}, "high_freq_factor"),
        ("llama3", {"low_freq_factor": 0.0}, "low_freq_factor"),
        ("abf", {"new_base": 100.0}, "new_base"),
        ("p_rope", {"keep": 1.5}, "keep"),
    ],
)
def test_rules_refuse_bad_options(rule, bad, named):
    with pytest.raises(ValueError, match=named):
        RULES[rule](**{**GOOD, **options(rule, 32), **bad})


@pytest.mark.parametrize("rule", RULES)
def test_the_base_must_exceed_one(rule):
    with pytest.raises(ValueError, match=r"base=1\.0: must be above 1"):
        RULES[rule](**{**GOOD, **options(rule, 32), "base": 1.0})
    assert RULES[rule](**{**GOOD, **options(rule, 32), "base": 1.25}).inv_freq.isfinite().all()


def test_the_ends_of_a_range_are_part_of_it():
    assert torch.equal(abf(64, 1e4, 8, 512, new_base=1e4).inv_freq, rope_frequencies(64))
    assert longrope(64, 1e4, 4, 2, **options("longrope", 32)).attention_factor == pytest.approx(math.sqrt(3))
    with pytest.raises(ValueError, match="original_max_position_embeddings=1: must be above 1"):
        longrope(64, 1e4, 4, 1, **options("longrope", 32))
    assert int((p_rope(64, 1e4, 8, 512, keep=0.0).inv_freq == 0).sum()) == 32
    with pytest.raises(ValueError, match=r"keep=-0\.5"):
        p_rope(64, 1e4, 8, 512, keep=-0.5)


def test_a_hard_switch_keeps_the_pair_at_the_edge():
    """One wavelength equal to L / low, the fastest pair's 2 pi: kept, as "wavelengths above it are divided" says."""
    low = 64 / (2 * math.pi)
    assert 64 / low == 2 * math.pi  # exactly, or this test would say nothing
    found = llama3(64, 1e4, 8, 64, low_freq_factor=low, high_freq_factor=low).inv_freq / rope_frequencies(64)
    assert found[0] == 1 and (found[1:] == 1 / 8).all()


def test_extend_refuses_unknown_names():
    with pytest.raises(ValueError, match="rule='yam'"):
        extend("yam", 64, 1e4)
    with pytest.raises(ValueError, match="option='beta'"):
        extend("yarn", 64, 1e4, 2.0, 512, beta=3)
    with pytest.raises(ValueError, match="pi takes none"):
        extend("pi", 64, 1e4, 2.0, beta_fast=3)


# What each rule cannot do without, besides head_dim and base. A missing one is refused, never filled in.
NEEDS = {
    "none": (), "pi": ("factor",), "ntk": ("factor",), "abf": ("new_base",), "p_rope": ("keep",),
    "dynamic_ntk": ("factor", "original_max_position_embeddings"),
    "ntk_by_parts": ("factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "original_max_position_embeddings"),
    "longrope": ("factor", "original_max_position_embeddings", "short_factor", "long_factor"),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_what_a_rule_demands_the_entry_point_demands(rule):
    everything = GOOD | options(rule, 32)
    whole = extend(rule, **everything)
    for argument in everything:
        fewer = {key: value for key, value in everything.items() if key != argument}
        if argument in NEEDS[rule]:
            with pytest.raises(ValueError, match=f"^{argument}=None: .*needs it"):
                extend(rule, **fewer)
        elif argument in ("factor", "original_max_position_embeddings"):
            assert torch.equal(extend(rule, **fewer).inv_freq, whole.inv_freq)  # not used: nothing changes
    with pytest.raises(ValueError, match="factor=None: .*needs it"):
        extend("p_rope", 64, 1e4, keep=0.5, interpolate=True)


def test_phi3_has_no_factor_and_is_not_given_one():
    """The content of Phi-3's dictionary with 131,072 over 4,096 positions: 1.1902, where a factor of 1 gave 1.0."""
    lists = {"short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
    with pytest.raises(ValueError, match="factor=None: .*max_position_embeddings / original_max_position_embeddings"):
        extend("longrope", 96, 1e4, original_max_position_embeddings=4096, seq_len=8000, **lists)
    found = extend("longrope", 96, 1e4, 131_072 / 4096, 4096, seq_len=8000, **lists)
    assert found.attention_factor == pytest.approx(math.sqrt(17 / 12)) == pytest.approx(1.1902, abs=5e-5)
    assert torch.equal(found.inv_freq, rope_frequencies(96) / 2)
    assert extend("longrope", 96, 1e4, 32, 4096, **lists, attention_factor=1.25).attention_factor == 1.25
    theirs = oracle("longrope", 96, 1e4, 32.0, 4096, seq_len=8000, attention_factor=1.25, **lists)
    assert agrees(extend("longrope", 96, 1e4, 32, 4096, 8000, **lists, attention_factor=1.25), theirs)


def test_a_wrong_original_length_is_a_wrong_rule():
    """A model trained at 32,768: with another model's 2,048 29 of 64 frequencies are off, the worst by 3.29 times."""
    with pytest.raises(ValueError, match="original_max_position_embeddings=None: .*needs it"):
        extend("yarn", 128, 1e6, 4.0)
    right, wrong = (extend("yarn", 128, 1e6, 4.0, length).inv_freq for length in (32_768, 2048))
    assert int(((right / wrong - 1).abs() > 0.01).sum()) == 29 and round((right / wrong).max().item(), 2) == 3.29


def test_another_attention_factor_replaces_the_formula():
    args = (64, 1e4, 40.0, 4096)
    assert agrees(yarn(*args, attention_factor=0.9), oracle("yarn", *args, attention_factor=0.9))
    assert temperature_factor(40) ** 2 == pytest.approx(1.8739, abs=5e-5)  # DeepSeek-V3, on the softmax scale
    assert temperature_factor(40, 0.707) ** 2 == pytest.approx(1.5896, abs=5e-5)  # V2-Lite
    with pytest.raises(ValueError, match="attention_factor=0"):
        yarn(*args, attention_factor=0)


# ---------------------------------------------------------------------------------------------- dynamic NTK


def tiny(n_layers: int, encoding) -> CausalLM:
    torch.manual_seed(0)
    return CausalLM(17, 32, 2, n_layers, encoding).double().eval()


@torch.no_grad()
@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_dynamic_ntk_follows_the_length_and_equals_rope_below_it(factor):
    enc = DynamicNTK(16, original_max_position_embeddings=16, factor=factor)
    ids = torch.randint(17, (1, 40), generator=torch.Generator().manual_seed(1))
    model, rope = tiny(1, enc), tiny(1, RoPE(16))
    assert torch.equal(model(ids[:, :16]), rope(ids[:, :16]))
    rope.encoding.set_frequencies(dynamic_ntk(16, 1e4, factor, 16, 40).inv_freq)
    torch.testing.assert_close(model(ids), rope(ids), rtol=0, atol=1e-12)
    rope.encoding.set_frequencies(rope_frequencies(16))
    assert torch.equal(model(ids[:, :12]), rope(ids[:, :12]))  # and back again
    assert torch.equal(enc.inv_freq, rope_frequencies(16))  # nothing is left behind for the next pass
    for length in (1, 16, 17, 40, 4096):
        expected = dynamic_ntk(16, 1e4, factor, 16, length).inv_freq
        torch.testing.assert_close(enc.frequencies(torch.tensor(length)), expected, rtol=1e-13, atol=0)


@pytest.mark.oracle("extension.DynamicNTK", against="transformers: Llama")
@pytest.mark.parametrize("part", [{}, {"rotary_dim": 8}, {"rotary_dim": 8, "rotated": "last"}], ids=str)
@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_dynamic_ntk_is_transformers_at_every_length(factor, part):
    width = part.get("rotary_dim", 16)
    config = transformers.LlamaConfig(
        hidden_size=16, num_attention_heads=1, head_dim=width, max_position_embeddings=32,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": factor},
    )  # fmt: skip
    enc = DynamicNTK(16, 32, factor, **part)
    x = torch.randn(1, 1, 100, 16, generator=torch.Generator().manual_seed(1))
    for length in (8, 32, 33, 100, 40):
        pos = torch.arange(length)[None]
        cos, sin = LlamaRotaryEmbedding(config)(x, pos)
        at = slice(16 - width, 16) if part.get("rotated") == "last" else slice(0, width)
        expected = x[:, :, :length].clone()
        expected[..., at] = apply_rotary_pos_emb(expected[..., at], expected[..., at], cos, sin)[0]
        found = enc.rotate(x[:, :, :length], x[:, :, :length], enc.prepare(pos, pos, None), 0)[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize(("layers", "unrotated_is_exact"), [(1, True), (3, False)])
def test_stale_keys(layers, unrotated_is_exact):
    """Caching rotated keys is wrong; unrotated ones cure one layer exactly, deeper models only in part."""
    ids = torch.randint(17, (1, 48), generator=torch.Generator().manual_seed(1))
    model = tiny(layers, DynamicNTK(16, original_max_position_embeddings=16, factor=1.0))
    fresh = model(ids)[:, -1]

    def cached(after_rotation: bool):
        cache = KVCache(after_rotation=after_rotation)
        for t in range(ids.shape[1]):
            last = model(ids[:, t : t + 1], cache=cache)
        return (last[:, -1] - fresh).abs().max().item()

    stale, unrotated = cached(True), cached(False)
    assert stale > 1e-3
    assert (unrotated < 1e-6) is unrotated_is_exact
    assert unrotated < stale


@pytest.mark.parametrize("argument", [{"head_dim": 15}, {"factor": 0.5}, {"original_max_position_embeddings": 0}])
def test_dynamic_ntk_module_refuses_nonsense(argument):
    with pytest.raises(ValueError, match=next(iter(argument))):
        DynamicNTK(**{"head_dim": 16, "original_max_position_embeddings": 64, "factor": 2.0, **argument})


@pytest.mark.parametrize("factor", [2.0, 8.0])
def test_the_synthetic_longrope_list_rises_from_one_to_the_factor(factor):
    example = longrope_example(16, factor)
    assert example[0] == 1 and example[-1] == pytest.approx(factor) and example == sorted(example)
    x = 3 / 7  # the fourth of eight pairs on the S-curve
    assert example[3] == pytest.approx(factor ** (3 * x**2 - 2 * x**3))


# ------------------------------------------------------------------------------- frequencies given to a trained model


@torch.no_grad()
def test_a_rule_is_used_by_what_takes_it_and_refused_by_the_rest():
    """A factor or frequencies that are stored and then not used would be a silent no."""
    ids = torch.randint(17, (1, 12), generator=torch.Generator().manual_seed(1))
    found = extend("yarn", 16, 1e4, 4.0, 16)
    for encoding in (RoPE(16), XPos(16), MRoPE(16, (2, 3, 3), base=1e4)):
        model = tiny(1, encoding)
        before = model(ids)
        with_factor = context_extension.apply(model, Extension(encoding.inv_freq, found.attention_factor))(ids)
        assert (with_factor - before).abs().max() > 1e-2, type(encoding).__name__
        assert (context_extension.apply(model, found)(ids) - with_factor).abs().max() > 1e-2, type(encoding).__name__
    for encoding, words in (
        (AxialRoPE(16), "encoding='AxialRoPE': "), (DynamicNTK(16, 16, 1.0), "encoding='DynamicNTK': "),
        (PoPE(16, 2), "model='PoPE': only a model with RoPE"), (NoEncoding(), "model='NoEncoding': "),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            context_extension.apply(tiny(1, encoding), found)
    with pytest.raises(ValueError, match=r"inv_freq=\(8,\)"):
        context_extension.apply(CausalLM(17, 32, 4, 1, RoPE(8)), found)
