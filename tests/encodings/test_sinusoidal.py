"""Sinusoidal tables against transformers, against a closed form written from the papers, and by their properties."""

from __future__ import annotations

import dataclasses
import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import race, sources
from helpers.encodings import Sinusoidal, build, positions
from helpers.encodings.axial import grid_positions
from helpers.encodings.sinusoidal import (
    CONVENTIONS,
    dot_product_by_distance,
    shift_matrix,
    sinusoidal_frequencies,
    sinusoidal_grid,
    sinusoidal_table,
)
from helpers.model import Encoder
from helpers.studies import door1_variants

widths = st.integers(2, 80).map(lambda n: 2 * n)
bases = st.floats(2.0, 1e6)


def from_the_papers(convention: str, p: int, d: int, base: float = 10_000.0) -> np.ndarray:
    """One row, one scalar at a time, as the texts write it (float64)."""
    row = np.zeros(d)
    for i in range(d // 2):
        if convention == "tensor2tensor":  # log_timescale_increment = log(base) / (num_timescales - 1)
            angle = p * math.exp(-i * math.log(base) / (d // 2 - 1))
        else:
            angle = p / base ** (2 * i / d)
        sine, cosine = (2 * i, 2 * i + 1) if convention == "paper" else (i, d // 2 + i)
        row[sine], row[cosine] = math.sin(angle), math.cos(angle)
    return row


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("d", [4, 6, 64])
def test_table_is_the_closed_form(convention, d):
    p = [0, 1, 2, 63, 500, 100_000]
    wanted = np.stack([from_the_papers(convention, q, d) for q in p])
    found = sinusoidal_table(torch.tensor(p), d, convention=convention, dtype=torch.float64).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.oracle(
    "sinusoidal.sinusoidal_table", "sinusoidal.sinusoidal_frequencies", against="transformers: RoFormer, Marian"
)
@pytest.mark.parametrize("package", ["roformer", "marian"])
@pytest.mark.parametrize("d", [8, 64])
def test_halves_equal_transformers(package, d):
    if package == "roformer":
        from transformers.models.roformer.modeling_roformer import RoFormerSinusoidalPositionalEmbedding as Table
    else:
        from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding as Table
    oracle = Table(200, d)
    weight = oracle.create_weight() if hasattr(oracle, "create_weight") else oracle.weight
    weight = oracle.weight if weight is None else weight
    found = sinusoidal_table(torch.arange(200), d, convention="halves")
    torch.testing.assert_close(found, weight.detach().float(), atol=1e-5, rtol=0)
    for other in ("paper", "tensor2tensor"):
        assert (sinusoidal_table(torch.arange(200), d, convention=other) - weight).abs().max() > 0.5


def test_whisper_is_tensor2tensor():
    with np.load(sources.DATA / "whisper_encoder_positions.npz") as file:
        rows, table = torch.from_numpy(file["positions"]), torch.from_numpy(file["table"]).double()
    found = sinusoidal_table(rows, 384, convention="tensor2tensor", dtype=torch.float64)
    assert (found - table).abs().max() < 3e-4  # float16
    assert (sinusoidal_table(rows, 384, dtype=torch.float64) - table).abs().max() > 1.5


WRONG = {
    "natural denominator": lambda p, d: _interleave(p, 10_000.0 ** (-torch.arange(d // 2) / (d / 2 - 1))),
    "cosine first": lambda p, d: sinusoidal_table(p, d).view(len(p), -1, 2).flip(-1).flatten(1),
    "exponent without its 2": lambda p, d: _interleave(p, 10_000.0 ** (-torch.arange(d // 2) / d)),
    "positive exponent": lambda p, d: _interleave(p, 10_000.0 ** (2 * torch.arange(d // 2) / d)),
    "positions from 1": lambda p, d: sinusoidal_table(p + 1, d),
    "a frequency a channel": lambda p, d: torch.where(
        torch.arange(d) % 2 == 0,
        (p[:, None] * 10_000.0 ** (-torch.arange(d) / d)).sin(),
        (p[:, None] * 10_000.0 ** (-torch.arange(d) / d)).cos(),
    ),
}


def _interleave(p: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
    angles = p.double()[:, None] * frequencies.double()
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


@pytest.mark.parametrize("mistake", WRONG)
def test_plausible_mistakes_are_told_apart(mistake):
    p = torch.arange(64)
    wanted = torch.from_numpy(np.stack([from_the_papers("paper", q, 32) for q in range(64)]))
    assert (sinusoidal_table(p, 32).double() - wanted).abs().max() < 1e-6
    assert (WRONG[mistake](p, 32).double() - wanted).abs().max() > 0.1


@settings(deadline=None, max_examples=40)
@given(d=widths, base=bases, p=st.integers(-1000, 100_000), k=st.integers(-500, 500))
def test_shift_is_one_matrix_for_all_positions(d, base, p, k):
    here, there = sinusoidal_table(torch.tensor([p, p + k]), d, base, dtype=torch.float64)
    assert (shift_matrix(k, d, base) @ here - there).abs().max() < 1e-8


@settings(deadline=None, max_examples=40)
@given(d=widths, base=bases, j=st.integers(-200, 200), k=st.integers(-200, 200))
def test_shifts_compose_and_invert(d, base, j, k):
    together = shift_matrix(j + k, d, base)
    assert torch.allclose(shift_matrix(j, d, base) @ shift_matrix(k, d, base), together, atol=1e-9)
    assert torch.allclose(shift_matrix(-k, d, base), shift_matrix(k, d, base).T, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(d=widths, base=bases, p=st.integers(0, 5000), k=st.integers(0, 5000), convention=st.sampled_from(CONVENTIONS))
def test_norm_and_dot_product(d, base, p, k, convention):
    rows = sinusoidal_table(torch.tensor([p, p + k]), d, base, convention, dtype=torch.float64)
    assert torch.allclose(rows.norm(dim=1), torch.tensor(math.sqrt(d / 2), dtype=torch.float64))
    if convention != "tensor2tensor":
        g = dot_product_by_distance(torch.tensor(k), d, base)
        assert torch.allclose(rows[0] @ rows[1], g, atol=1e-8)
        assert g <= dot_product_by_distance(torch.tensor(0), d, base) + 1e-9


@pytest.mark.parametrize(("d", "k"), [(64, 5), (128, 11), (256, 24), (512, 43)])
def test_first_rise_of_the_dot_product(d, k):
    g = dot_product_by_distance(torch.arange(k + 2), d)
    assert (g.diff()[:k] < 0).all() and g[k + 1] > g[k]


def test_the_longest_wavelength():
    """2 pi base^((d - 2) / d): below 2 pi base for the paper's formula, exactly that for the original code's."""
    assert 2 * math.pi / sinusoidal_frequencies(64)[-1] == pytest.approx(4.712e4, rel=1e-3)
    assert 2 * math.pi / sinusoidal_frequencies(512)[-1] == pytest.approx(6.061e4, rel=1e-3)
    assert 1 / sinusoidal_frequencies(64, convention="tensor2tensor")[-1] == pytest.approx(1e4)


def test_bfloat16_input_does_not_touch_the_angles():
    encoding, p = Sinusoidal(16), positions(600)
    state = encoding.prepare(p, p, None)
    out = encoding.embed(torch.zeros(1, 600, 16, dtype=torch.bfloat16), state)
    assert out.dtype == torch.bfloat16
    assert (out.double() - sinusoidal_table(p, 16, dtype=torch.float64)).abs().max() < 4e-3  # storage, not angles
    assert not torch.equal(out[0, 256], out[0, 257])


def test_module_adds_by_token_and_not_by_batch():
    encoding, x = build("sinusoidal", d_model=8, n_heads=2), torch.zeros(3, 5, 8)
    p = positions(5)
    added = encoding.embed(x, encoding.prepare(p, p, None))
    table = sinusoidal_table(torch.arange(5), 8)
    assert torch.equal(added, table.expand(3, 5, 8))
    wrong = x + table[: x.size(0), None]  # the batch-first bug: row = index in the batch
    assert not torch.allclose(added, wrong) and torch.equal(wrong[1, 0], wrong[1, 4])
    shifted = encoding.embed(x, encoding.prepare(p + 7, p + 7, None))
    assert torch.equal(shifted[0], sinusoidal_table(torch.arange(7, 12), 8))
    assert not list(encoding.parameters()) and not encoding.state_dict()


def test_any_shape_of_positions():
    p = torch.arange(12).view(2, 3, 2)
    assert torch.equal(sinusoidal_table(p, 6)[1, 2, 1], sinusoidal_table(torch.tensor(11), 6))
    assert torch.allclose(sinusoidal_table(torch.tensor(0.5), 6)[0], torch.tensor(0.5).sin())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"d_model": 7}, "d_model"),
        ({"d_model": 0}, "d_model"),
        ({"d_model": "64"}, "d_model"),
        ({"d_model": 8, "base": 0}, "base"),
        ({"d_model": 8, "base": float("nan")}, "base"),
        ({"d_model": 8, "convention": "interleaved"}, "convention"),
        ({"d_model": 2, "convention": "tensor2tensor"}, "d_model"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=f"^{named}="):
        Sinusoidal(**arguments)


def test_frequencies_fall_from_one():
    for convention in CONVENTIONS:
        w = sinusoidal_frequencies(32, convention=convention)
        assert w.dtype == torch.float64 and w[0] == 1 and (w.diff() < 0).all()
        ratio = w[1:] / w[:-1]
        assert torch.allclose(ratio, ratio[:1].expand_as(ratio))


def test_whisper_rows_are_the_ones_described():
    note = (sources.DATA / "whisper_encoder_positions.md").read_text(encoding="utf-8")
    data = (sources.DATA / "whisper_encoder_positions.npz").read_bytes()
    assert hashlib.sha256(data).hexdigest() in note


# ------------------------------------------------------------------------------------- variants of door 1


SMALL = dataclasses.replace(race.Settings(), d_model=16, n_heads=2, n_layers=2)


def test_concatenation_keeps_words_and_positions_apart():
    encoding, x, p = door1_variants.Concatenated(16, width=4), torch.randn(2, 5, 16), positions(5)
    out = encoding.embed(x, encoding.prepare(p, p, None))
    assert torch.equal(out[..., :12], x[..., :12])
    assert torch.equal(out[..., 12:], sinusoidal_table(p, 4).expand(2, 5, 4))
    narrow = door1_variants.Concatenated(16, width=4, overlap=True)
    shared = narrow.embed(x, narrow.prepare(p, p, None)) - out
    assert not shared[..., :12].any() and torch.allclose(shared[..., 12:], x[..., 12:], atol=1e-6)


@pytest.mark.parametrize("variant", door1_variants.VARIANTS)
def test_variants_share_the_weights_and_differ_in_what_they_do(variant):
    ids = torch.arange(12)[None]
    none, model = race.make_model("none", SMALL, 3), door1_variants.make_model(variant, SMALL, 3)
    assert all(torch.equal(a, b) for a, b in zip(none.parameters(), model.parameters(), strict=True))
    assert not torch.allclose(model(ids), none(ids), atol=1e-3)


def test_the_lost_residual_forgets_and_the_kept_one_does_not():
    same = torch.zeros(1, 6, dtype=torch.long)
    for variant, forgets in (("every", False), ("lost", True), ("lost_once", True)):
        model = door1_variants.make_model(variant, SMALL, 0)
        for block in model.blocks:
            torch.nn.init.zeros_(block.attention.out_proj.weight)
        out = model(same)
        assert torch.allclose(out, out[:, :1], atol=1e-5) == forgets, variant


def test_every_with_one_block_is_the_plain_model():
    settings_ = dataclasses.replace(SMALL, n_layers=1)
    ids = torch.arange(9)[None]
    plain, every = race.make_model("sinusoidal", settings_, 1), door1_variants.make_model("every", settings_, 1)
    assert torch.allclose(plain(ids), every(ids), atol=1e-5)


def test_windows_start_anywhere_only_in_training():
    encoding, p = door1_variants.Anywhere(8, spread=100), positions(4)
    table = sinusoidal_table(torch.arange(104), 8)
    starts = set()
    for _ in range(20):
        rows = encoding.train().prepare(p, p, None)[0]
        start = int((table - rows[0]).abs().sum(1).argmin())
        assert torch.allclose(rows, table[start : start + 4])
        starts.add(start)
    assert len(starts) > 5
    assert torch.equal(encoding.eval().prepare(p, p, None)[0], table[:4])


def test_variants_name_bad_arguments_and_recorded_seeds_are_five():
    with pytest.raises(ValueError, match="^width="):
        door1_variants.Concatenated(16, width=16)
    with pytest.raises(ValueError, match="^width="):
        door1_variants.Concatenated(16, width=3)
    with pytest.raises(ValueError, match="^variant="):
        door1_variants.make_model("concat", SMALL, 0)
    recorded = door1_variants.recorded()
    assert set(recorded) == set(door1_variants.VARIANTS) and all(len(v) == 5 for v in recorded.values())
    assert all(len(v) == 5 for v in door1_variants.recorded_anywhere().values())


# ------------------------------------------------------------------------------------------- odd widths, two axes


@pytest.mark.parametrize(
    "call",
    [
        lambda: sinusoidal_table(torch.arange(3), 29),
        lambda: sinusoidal_table(torch.arange(3), 29, convention="halves"),
        lambda: sinusoidal_frequencies(29),
        lambda: shift_matrix(1, 29),
        lambda: dot_product_by_distance(torch.arange(3), 29),
    ],
)
def test_an_odd_width_is_named(call):
    with pytest.raises(ValueError, match="d_model=29: must be even, because a sine and a cosine share each frequency"):
        call()


@pytest.mark.oracle("sinusoidal.sinusoidal_grid", "sinusoidal.Sinusoidal", against="transformers: OmDet-Turbo")
@pytest.mark.parametrize("height, width, d", [(3, 5, 8), (1, 4, 32), (6, 2, 12)])
def test_two_axes_are_omdet_turbo(height, width, d):
    from transformers.models.omdet_turbo.modeling_omdet_turbo import OmDetTurboHybridEncoder

    theirs = OmDetTurboHybridEncoder.build_2d_sincos_position_embedding(width, height, d)  # columns are its first axis
    ids = grid_positions(width, height)
    torch.testing.assert_close(sinusoidal_grid(ids, d, convention="halves"), theirs, atol=1e-5, rtol=1e-5)
    scheme = Sinusoidal(d, convention="halves", axes=2)
    found = scheme.embed(torch.zeros(1, len(ids[0]), d), scheme.prepare(ids, ids, None))
    torch.testing.assert_close(found, theirs, atol=1e-5, rtol=1e-5)
    if height != width:
        assert (sinusoidal_grid(ids.flip(-1), d, convention="halves") - theirs).abs().max() > 0.1


def test_two_axes_in_a_model():
    torch.manual_seed(0)
    model = Encoder(10, 32, 4, 1, Sinusoidal(32, axes=2))
    ids, grid = torch.randint(10, (2, 12)), grid_positions(3, 4)
    assert (model(ids, position_ids=grid) - model(ids, position_ids=grid.flip(-1))).abs().max() > 1e-3
    with pytest.raises(ValueError, match=r"position_ids=\(1, 12\): must be .*axes=2.*grid_positions"):
        model(ids)
    for shape in ((1, 12, 3), (12, 2)):
        with pytest.raises(ValueError, match="position_ids="):
            Sinusoidal(32, axes=2).prepare(torch.zeros(shape), torch.zeros(shape), None)
    with pytest.raises(ValueError, match="d_model=6: must be divisible by 2 . axes = 4"):
        Sinusoidal(6, axes=2)
    with pytest.raises(ValueError, match="axes=0"):
        Sinusoidal(6, axes=0)
