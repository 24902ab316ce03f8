"""The extension rules against transformers' own functions, and against plausible wrong versions of them."""

import itertools
import math

import pytest
import torch

from helpers.encodings.extension import (
    LABELS,
    RULES,
    DynamicNTK,
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
    plain,
    position_interpolation,
    rotations,
    temperature_factor,
    yarn,
)
from helpers.encodings.rope import rope_frequencies
from helpers.model import CausalLM, KVCache

DIMS, BASES, FACTORS, LENGTHS = (16, 64, 128), (10_000.0, 500_000.0), (1.0, 2.0, 8.0, 16.0), (64, 4096)
GRID = list(itertools.product(DIMS, BASES, FACTORS, LENGTHS))


def oracle(kind: str, head_dim: int, base: float, factor: float, length: int, seq_len: int | None = None, **extra):
    """inv_freq and attention factor from transformers."""
    transformers = pytest.importorskip("transformers")
    utils = pytest.importorskip("transformers.modeling_rope_utils")
    rope = {"rope_type": kind, "rope_theta": base, "factor": factor, **extra}
    if kind in ("yarn", "longrope", "llama3"):
        rope["original_max_position_embeddings"] = length
    config = transformers.LlamaConfig(
        hidden_size=head_dim, num_attention_heads=1, head_dim=head_dim, max_position_embeddings=length,
        rope_parameters=rope,
    )  # fmt: skip
    return utils.ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=seq_len)


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
    assert agrees(yarn(head_dim, base, factor, length, None, fast, slow, "code", truncate), theirs)


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
    paper = yarn(head_dim, base, factor, length, None, 4.0, 1.0, ramp="paper", temperature=False)
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
    assert yarn(64, 1e4, 8, 512, temperature=False).attention_factor == 1.0


@pytest.mark.parametrize("rule", [r for r in RULES if r not in ("abf", "p_rope")])
def test_factor_one_changes_nothing(rule):
    """At factor 1 (and the original length) every rule that uses the factor is RoPE as trained."""
    ext = extend(rule, 64, 1e4, 1.0, 512)
    assert torch.allclose(ext.inv_freq, rope_frequencies(64), rtol=1e-12, atol=0)
    assert ext.attention_factor == 1.0


def test_rules_without_a_factor():
    assert torch.equal(abf(64, 1e4, 8, 512).inv_freq, rope_frequencies(64, 5e5))
    assert torch.equal(p_rope(64, 1e4, 8, 512, keep=1.0).inv_freq, rope_frequencies(64))
    assert int((p_rope(64, 1e4, 8, 512, keep=0.75).inv_freq == 0).sum()) == 8


def test_slowing_never_speeds_a_pair_up():
    for rule in RULES:
        ext = extend(rule, 128, 1e4, 8.0, 4096, 32_768)
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
        RULES[rule](**{**GOOD, argument: value})


@pytest.mark.parametrize(
    ("rule", "options", "named"),
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
def test_rules_refuse_bad_options(rule, options, named):
    with pytest.raises(ValueError, match=named):
        RULES[rule](**{**GOOD, **options})


@pytest.mark.parametrize("rule", RULES)
def test_the_base_must_exceed_one(rule):
    with pytest.raises(ValueError, match=r"base=1\.0: must be above 1"):
        RULES[rule](**{**GOOD, "base": 1.0})
    assert RULES[rule](**{**GOOD, "base": 1.25}).inv_freq.isfinite().all()


def test_the_ends_of_a_range_are_part_of_it():
    assert torch.equal(abf(64, 1e4, 8, 512, new_base=1e4).inv_freq, rope_frequencies(64))
    assert longrope(64, 1e4, 4, 2).attention_factor == pytest.approx(math.sqrt(3))
    with pytest.raises(ValueError, match="original_max_position_embeddings=1: must be above 1"):
        longrope(64, 1e4, 4, 1)
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
        extend("yam", 64)
    with pytest.raises(ValueError, match="option='beta'"):
        extend("yarn", 64, beta=3)
    with pytest.raises(ValueError, match="pi takes none"):
        extend("pi", 64, beta_fast=3)
    assert set(LABELS) == set(RULES)


# ---------------------------------------------------------------------------------------------- dynamic NTK


def tiny(n_layers: int, encoding) -> CausalLM:
    torch.manual_seed(0)
    return CausalLM(17, 32, 2, n_layers, encoding).double().eval()


@torch.no_grad()
def test_dynamic_ntk_follows_the_length_and_equals_rope_below_it():
    enc = DynamicNTK(16, original_max_position_embeddings=16)
    ids = torch.randint(17, (1, 40), generator=torch.Generator().manual_seed(1))
    model = tiny(1, enc)
    model(ids[:, :12])
    assert torch.equal(enc.inv_freq, plain(16, 1e4, 1, 16).inv_freq)
    model(ids)
    assert torch.allclose(enc.inv_freq, ntk_aware(16, 1e4, 40 / 16, 16).inv_freq, rtol=1e-12)
    model(ids[:, :12])  # and back again
    assert torch.equal(enc.inv_freq, plain(16, 1e4, 1, 16).inv_freq)


@torch.no_grad()
@pytest.mark.parametrize(("layers", "unrotated_is_exact"), [(1, True), (3, False)])
def test_stale_keys(layers, unrotated_is_exact):
    """Caching rotated keys is wrong; unrotated ones cure one layer exactly, deeper models only in part."""
    ids = torch.randint(17, (1, 48), generator=torch.Generator().manual_seed(1))
    model = tiny(layers, DynamicNTK(16, original_max_position_embeddings=16))
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
        DynamicNTK(**{"head_dim": 16, "original_max_position_embeddings": 64, **argument})


@pytest.mark.parametrize("factor", [2.0, 8.0])
def test_the_synthetic_longrope_list_rises_from_one_to_the_factor(factor):
    example = longrope_example(16, factor)
    assert example[0] == 1 and example[-1] == pytest.approx(factor) and example == sorted(example)
    x = 3 / 7  # the fourth of eight pairs on the S-curve
    assert example[3] == pytest.approx(factor ** (3 * x**2 - 2 * x**3))


def test_dynamic_ntk_rotates_whole_heads_only():
    with pytest.raises(ValueError, match="^rotary_fraction=0.5: .*whole head"):
        DynamicNTK(16, original_max_position_embeddings=64, rotary_fraction=0.5)
    whole = DynamicNTK(16, original_max_position_embeddings=64, rotary_fraction=1.0)
    assert len(whole.inv_freq) == 8
