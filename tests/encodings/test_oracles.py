"""Every function of helpers that computes an encoding, a bias or a frequency rule, against closed forms of the papers.

The closed forms (tests/papers) are written from the papers, one scalar at a time with 30 digits, without a look at the
code that they check. Outside packages vouch for the same functions in the tests of each family; tests marked ``oracle``
say for which, and tests/README.md lists them all. Where packages disagree, the test says which convention is asked for.

Tolerances are counted, not tuned. A number kept in a format of p bits is off by at most a relative u = 2^-p: 2^-53 in
float64, 2^-24 in float32, 2^-8 in bfloat16. A bound is the number of such roundings on the way, rounded up, times u of
the format, times the size of what is rounded. Tables of cos, sin and biases are float32 by design, whatever the model.
"""

from __future__ import annotations

import itertools
import math
import types

import pytest
import torch
from torch import Tensor, nn

from helpers import pictures, race
from helpers.encodings import (
    FIRE,
    T5,
    ALiBi,
    AxialRoPE,
    Combined,
    CoPE,
    DeBERTa,
    Kerple,
    Learned,
    MixedRoPE,
    MRoPE,
    NoEncoding,
    PerLayer,
    PoPE,
    PositionTemperature,
    RoPE,
    Sandwich,
    Shaw,
    Sinusoidal,
    SlidingWindow,
    TransformerXL,
    XPos,
    extension,
    positions,
)
from helpers.encodings.alibi import alibi_bias, alibi_slopes
from helpers.encodings.axial import (
    axial_frequencies,
    axis_angles,
    grid_positions,
    mrope_frequencies,
    multimodal_positions,
)
from helpers.encodings.cope import cope_positions, interpolate_positions
from helpers.encodings.deberta import deberta_index, disentangled_terms, log_buckets
from helpers.encodings.fire import fire_input
from helpers.encodings.kerple import inverse_softplus, kerple_log, kerple_power
from helpers.encodings.learned import interpolate_table, padded_positions
from helpers.encodings.mixed import mixed_angles, mixed_frequencies
from helpers.encodings.pope import pope_frequencies, to_polar
from helpers.encodings.rope import (
    LAYOUTS,
    ROTATED,
    interleaved_to_half,
    layout_permutation,
    rope_angles,
    rope_exponents,
    rope_frequencies,
    rotary_width,
    rotate_pairs,
)
from helpers.encodings.sandwich import sandwich_rows, sandwich_strengths
from helpers.encodings.shaw import clipped_index, relative_logits, relative_values
from helpers.encodings.sinusoidal import (
    CONVENTIONS,
    dot_product_by_distance,
    shift_matrix,
    sinusoidal_frequencies,
    sinusoidal_grid,
    sinusoidal_table,
)
from helpers.encodings.t5 import t5_buckets
from helpers.encodings.temperature import position_temperature
from helpers.encodings.transformer_xl import wave_logits
from helpers.encodings.window import window_bias
from helpers.encodings.xpos import xpos_decay
from helpers.model import CausalLM, Encoder, causal_mask
from helpers.pretrained import context
from helpers.studies import bias_cost, context_extension, door1_variants
from tests.papers import biases, rotations
from tools.evidence import PAPERS

DTYPES = (torch.float64, torch.float32, torch.bfloat16)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32", "bfloat16"])
TABLE = 2.0**-24  # u of the float32 tables
POSITIONS = [0, 1, 2, 63, 257, 511, 4096, 100_000]
BASES = (2.0, 500.0, 1e4, 1e6)


def u(dtype: torch.dtype) -> float:
    """Largest relative error of rounding to ``dtype``."""
    return torch.finfo(dtype).eps / 2


def exact(nested) -> Tensor:
    """Nested lists of mpmath's numbers as a float64 tensor."""

    def plain(x):
        return [plain(y) for y in x] if isinstance(x, list | tuple) else float(x)

    return torch.tensor(plain(nested), dtype=torch.float64)


def within(found: Tensor, expected: Tensor, bound: Tensor | float) -> None:
    """Same shape, same infinities, and nowhere further apart than ``bound``."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    found, hidden = found.detach().double(), expected.isinf()
    assert torch.equal(found[hidden], expected[hidden])
    excess = (found - expected).abs() - bound
    assert not found.isnan().any() and (excess[~hidden] <= 0).all(), f"off by {(found - expected).abs().max():.3g}"


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def each_vector(x: Tensor, f) -> Tensor:
    """f(list, batch, token) of every vector of x (B, H, T, D), as a float64 tensor."""
    b, h, t, _ = x.shape
    rows = x.double().tolist()
    return exact([[[f(rows[i][j][k], i, k) for k in range(t)] for j in range(h)] for i in range(b)])


def each_pair(q: Tensor, k: Tensor, f) -> Tensor:
    """f(q row, k row, batch, head, i, j) of every query and key, (B, H, T, S) float64."""
    a, b = q.double().tolist(), k.double().tolist()
    batch, heads, t, s = *q.shape[:3], k.shape[2]
    return exact(
        [
            [[[f(a[n][h][i], b[n][h][j], n, h, i, j) for j in range(s)] for i in range(t)] for h in range(heads)]
            for n in range(batch)
        ]
    )


def largest(x: Tensor) -> Tensor:
    """Length of each vector, kept as a last axis of one: the size of what a rotation rounds."""
    return x.double().norm(dim=-1, keepdim=True)


def oracle(*functions: str):
    return pytest.mark.oracle(*functions, against=PAPERS)


# ---------------------------------------------------------------------------------------------------- sinusoidal


@oracle("sinusoidal.sinusoidal_frequencies")
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("d", [4, 6, 64, 512])
def test_sinusoidal_frequencies(d, base, convention):
    expected = exact(rotations.sinusoidal_frequencies(d, base, convention))
    # The exponent's rounding is multiplied by ln(base) < 14.
    within(sinusoidal_frequencies(d, base, convention), expected, 20 * u(torch.float64) * expected)


@oracle("sinusoidal.sinusoidal_table")
@dtypes
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("d, base", [(4, 1e4), (16, 500.0), (64, 1e4), (64, 1e6)])
def test_sinusoidal_table(d, base, convention, dtype):
    places = [*POSITIONS, -3, 0.5]
    found = sinusoidal_table(torch.tensor(places, dtype=torch.float64), d, base, convention, dtype)
    assert found.dtype == dtype
    expected = exact([rotations.sinusoidal_row(p, d, base, convention) for p in places])
    angle = torch.tensor(places).abs()[:, None] * 25 * u(torch.float64)  # the frequency's error times the position
    within(found, expected, 2 * u(dtype) + angle)
    whole = sinusoidal_table(torch.tensor([POSITIONS]), d, base, convention, dtype)  # integers, with a batch axis
    assert torch.equal(whole[0], found[: len(POSITIONS)])


@oracle("sinusoidal.sinusoidal_grid", "sinusoidal.Sinusoidal")
@dtypes
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("d, axes", [(8, 2), (24, 3), (8, 1)])
def test_sinusoids_of_several_axes(d, axes, convention, dtype):
    if convention == "tensor2tensor" and d // axes < 4:
        pytest.skip("no such table")
    ids = torch.randint(600, (2, 3, axes), generator=torch.Generator().manual_seed(0))
    expected = exact([[rotations.sinusoidal_grid_row(p, d, 500.0, convention) for p in row] for row in ids.tolist()])
    found = sinusoidal_grid(ids, d, 500.0, convention, dtype)
    within(found, expected, 2 * u(dtype) + 600 * 25 * u(torch.float64))
    module, x = Sinusoidal(d, 500.0, convention, axes=axes).to(dtype), draw(2, 3, d, dtype=dtype)
    pos = ids[..., 0] if axes == 1 else ids
    added = module.embed(x, module.prepare(pos, pos, None))
    within(added, x.double() + expected, 2 * TABLE + 3 * u(dtype) * (x.double().abs() + 1))


@oracle("sinusoidal.shift_matrix", "sinusoidal.dot_product_by_distance")
@pytest.mark.parametrize("k", [0, 1, -1, 37, -500, 4096, 0.5])
@pytest.mark.parametrize("d, base", [(2, 1e4), (8, 500.0), (32, 1e4), (32, 1e6)])
def test_shift_and_dot_product(d, base, k):
    bound = (2 + 25 * abs(k)) * u(torch.float64)
    within(shift_matrix(k, d, base), exact(rotations.shift_matrix(k, d, base)), bound)
    found = dot_product_by_distance(torch.tensor([[k]], dtype=torch.float64), d, base)
    within(found, exact([[rotations.sinusoidal_dot(k, d, base)]]), d * bound)


@oracle("sinusoidal.Sinusoidal")
@dtypes
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("d, base", [(4, 1e4), (16, 500.0)])
def test_sinusoidal_module(d, base, convention, dtype):
    module, x = Sinusoidal(d, base, convention).to(dtype), draw(2, 3, d, dtype=dtype)
    pos = torch.tensor([[0, 257, 100_000], [5, 6, 4096]])
    rows = exact([[rotations.sinusoidal_row(p, d, base, convention) for p in row] for row in pos.tolist()])
    found = module.embed(x, module.prepare(pos, pos, None))
    assert found.dtype == dtype
    within(found, x.double() + rows, 2 * TABLE + 3 * u(dtype) * (x.double().abs() + 1))


# ---------------------------------------------------------------------------------------------------------- RoPE


@oracle("rope.rope_frequencies", "rope.rope_exponents", "pope.pope_frequencies")
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("d", [2, 6, 16, 64, 128])
def test_rotary_frequencies(d, base):
    assert rope_exponents(d).tolist() == [-(2 * i) / d for i in range(d // 2)]
    for found, expected in (
        (rope_frequencies(d, base), exact(rotations.rope_frequencies(d, base))),
        (pope_frequencies(d, base), exact(rotations.pope_frequencies(d, base))),
        (pope_frequencies(d - 1, base), exact(rotations.pope_frequencies(d - 1, base))),  # odd widths too
    ):
        within(found, expected, 20 * u(torch.float64) * expected)


@oracle("rope.rope_angles", "axial.axis_angles")
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, *DTYPES], ids=str)
def test_angles_are_float64_whatever_comes_in(dtype):
    theta = draw(3).abs().to(dtype if dtype.is_floating_point else torch.float32)
    ids = torch.tensor([[0, 3, 256], [1, 2, 100]]).to(dtype)  # whole numbers that every one of these formats holds
    expected = exact([[[rotations.rope_angle(m, f) for f in theta.tolist()] for m in row] for row in ids.tolist()])
    found = rope_angles(ids, theta)
    assert found.dtype == torch.float64
    within(found, expected, u(torch.float64) * expected.abs())
    axis = torch.tensor([2, 0, 2])
    turned = axis_angles(ids, theta, axis)
    assert turned.dtype == torch.float64
    pairs = [
        [rotations.rope_angle(row[a], f) for f, a in zip(theta.tolist(), axis, strict=True)] for row in ids.tolist()
    ]
    within(turned, exact(pairs), u(torch.float64) * exact(pairs).abs())


@oracle("rope.rotate_pairs")
@pytest.mark.parametrize("tables", DTYPES, ids=str)
@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (2, 3, 5, 16)], ids=str)
def test_rotate_pairs(shape, layout, dtype, tables):
    x, angle = draw(*shape, dtype=dtype), 3 * draw(shape[-2], shape[-1] // 2, seed=1)
    found = rotate_pairs(x, angle.cos().to(tables), angle.sin().to(tables), layout)
    assert found.dtype == torch.promote_types(dtype, tables)
    expected = each_vector(x, lambda row, b, t: rotations.rotate(row, angle[t].tolist(), layout))
    within(found, expected, (4 * u(found.dtype) + 2 * u(tables)) * largest(x))


@oracle("rope.layout_permutation")
@pytest.mark.parametrize("d", [2, 4, 16, 128])
def test_layout_permutation(d):
    assert layout_permutation(d).tolist() == rotations.layout_permutation(d)


@oracle("rope.interleaved_to_half")
@pytest.mark.parametrize(("heads", "d"), [(1, 2), (3, 4), (2, 16)])
def test_interleaved_to_half(heads, d):
    weight = draw(heads * d, 5, dtype=torch.float64)
    rows = [weight[head * d + i].tolist() for head in range(heads) for i in rotations.layout_permutation(d)]
    assert interleaved_to_half(weight, heads).tolist() == rows


# (batch, query heads, key heads, tokens, head_dim)
ROPE_SHAPES = [(1, 1, 1, 1, 4), (2, 3, 1, 3, 16), (1, 4, 2, 2, 64)]
ROPE_PLACES = [(1e4, 0), (1e4, 4096), (100.0, 257), (5e5, 100_000)]  # base and first position


def places(shape: tuple, offset: int) -> Tensor:
    """Positions (B, T) that differ between the sequences of a batch."""
    return positions(shape[3], offset) + 7 * torch.arange(shape[0])[:, None]


def queries_and_keys(shape: tuple, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    batch, heads, kv_heads, t, d = shape
    return draw(batch, heads, t, d, dtype=dtype), draw(batch, kv_heads, t, d, seed=1, dtype=dtype)


@oracle("rope.RoPE")
@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("base, offset", ROPE_PLACES)
@pytest.mark.parametrize("fraction", [1.0, 0.5])
@pytest.mark.parametrize("shape", ROPE_SHAPES, ids=str)
def test_rope(shape, fraction, base, offset, layout, dtype):
    enc, pos = RoPE(shape[-1], base, layout, fraction).to(dtype), places(shape, offset)
    q, k = queries_and_keys(shape, dtype)
    for x, found in zip((q, k), enc.rotate(q, k, enc.prepare(pos, pos, None), 0), strict=True):
        expected = each_vector(
            x, lambda row, b, t: rotations.rope(row, pos[b, t].item(), base, layout, int(shape[-1] * fraction))
        )
        assert found.dtype == dtype
        within(found, expected, (6 * TABLE + 2 * u(dtype)) * largest(x))


@oracle("rope.RoPE", "rope.rotary_width")
@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part", [{"rotary_dim": 6}, {"rotary_fraction": 0.4}], ids=str)
@pytest.mark.parametrize("rotated", ROTATED)
def test_rope_on_a_part_of_the_head(rotated, part, layout, dtype):
    enc, pos, shape = RoPE(16, 1e4, layout, **part, rotated=rotated), places((2, 3, 1, 3, 16), 257), (2, 3, 1, 3, 16)
    assert enc.rotary_dim == rotary_width(16, **part) == 6
    q, k = queries_and_keys(shape, dtype)
    for x, found in zip((q, k), enc.rotate(q, k, enc.prepare(pos, pos, None), 0), strict=True):
        expected = each_vector(
            x, lambda row, b, t: rotations.rope(row, pos[b, t].item(), 1e4, layout, 6, last=rotated == "last")
        )
        within(found, expected, (6 * TABLE + 2 * u(dtype)) * largest(x))


@oracle("rope.RoPE")
@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("factor", [0.5, 1.2773])
def test_rope_with_other_frequencies_and_a_factor(factor, layout, dtype):
    """What context extension hands to RoPE: frequencies of its own, and a factor on cos *and* sin."""
    theta, shape = [1.0, 0.37, 0.0, 2e-5], (2, 2, 1, 3, 8)
    enc, pos = (
        RoPE(8, layout=layout, inv_freq=torch.tensor(theta, dtype=torch.float64), attention_factor=factor),
        places(shape, 900),
    )
    q, k = queries_and_keys(shape, dtype)
    for x, found in zip((q, k), enc.rotate(q, k, enc.prepare(pos, pos, None), 0), strict=True):
        expected = factor * each_vector(
            x, lambda row, b, t: rotations.rope(row, pos[b, t].item(), 1e4, layout, frequencies=theta)
        )
        within(found, expected, factor * (7 * TABLE + 2 * u(dtype)) * largest(x))


@oracle("axial.axial_frequencies", "axial.mrope_frequencies")
@pytest.mark.parametrize("base", [100.0, 1e4, 1e6])
def test_frequencies_of_several_axes(base):
    cases = [(axial_frequencies(d, axes, base), rotations.axial_pairs(d, axes, base))
             for d, axes in ((8, 1), (8, 2), (24, 2), (24, 3), (64, 2))]  # fmt: skip
    cases += [(mrope_frequencies(2 * sum(s), s, base), rotations.mrope_pairs(2 * sum(s), s, base))
              for s in ([16, 24, 24], [2, 1], [5], [1, 2, 3, 4])]  # fmt: skip
    cases += [(axial_frequencies(sum(w), w, base), rotations.axial_pairs(sum(w), w, base))
              for w in ((16, 56, 56), (4, 2), (6,))]  # fmt: skip
    cases += [(mrope_frequencies(2 * sum(s), s, base, True), rotations.mrope_interleaved_pairs(2 * sum(s), s, base))
              for s in ([24, 20, 20], [11, 11, 10], [3, 1], [5])]  # fmt: skip
    for (freq, axis), pairs in cases:
        expected = exact([f for f, _ in pairs])
        within(freq, expected, 20 * u(torch.float64) * expected)
        assert axis.tolist() == [a for _, a in pairs]


@oracle("axial.grid_positions")
@pytest.mark.parametrize("height, width", [(1, 1), (1, 5), (4, 1), (3, 7)])
def test_grid_positions(height, width):
    assert grid_positions(height, width)[0].tolist() == [list(cell) for cell in rotations.grid_positions(height, width)]


@oracle("axial.multimodal_positions")
@pytest.mark.parametrize(
    "segments", [[3], [(1, 4, 4), 4], [2, (1, 3, 5), 4, (7, 2, 3), 1, (1, 1, 1)], [(2, 2, 2), (1, 2, 2)]], ids=str
)
def test_positions_of_text_and_pictures(segments):
    expected = rotations.multimodal_positions(segments)
    found = multimodal_positions(segments)
    assert found[0].tolist() == [list(ids) for ids in expected]
    assert torch.equal(multimodal_positions(segments, start=9), found + 9)


@oracle("axial.AxialRoPE", "axial.MRoPE")
@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("base, farthest", [(100.0, 14), (1e4, 600), (1e6, 100_000)])
@pytest.mark.parametrize(
    "kind, d, how",
    [
        ("axial", 8, 2),
        ("axial", 24, 3),
        ("axial", 16, (4, 6, 6)),
        ("mrope", 16, (2, 3, 3)),
        ("mrope", 6, (1, 2)),
        ("mrope", 4, (2,)),
        ("in turn", 16, (4, 2, 2)),
    ],
)
def test_rotation_by_several_coordinates(kind, d, how, base, farthest, layout, dtype):
    if kind == "axial":
        enc, pairs = AxialRoPE(d, how, base, layout), rotations.axial_pairs(d, how, base)
        axes = how if isinstance(how, int) else len(how)
    elif kind == "in turn":
        enc, axes = MRoPE(d, how, base, layout, mrope_interleaved=True), len(how)
        pairs = rotations.mrope_interleaved_pairs(d, list(how), base)
    else:
        enc, pairs, axes = MRoPE(d, how, base, layout), rotations.mrope_pairs(d, list(how), base), len(how)
    shape = (2, 2, 1, 3, d)
    pos = torch.randint(farthest, (2, 3, axes), generator=torch.Generator().manual_seed(5))
    q, k = queries_and_keys(shape, dtype)
    for x, found in zip((q, k), enc.to(dtype).rotate(q, k, enc.prepare(pos, pos, None), 0), strict=True):
        expected = each_vector(
            x, lambda row, b, t: rotations.rotate_by_coordinates(row, pos[b, t].tolist(), pairs, layout)
        )
        assert found.dtype == dtype
        within(found, expected, (6 * TABLE + 2 * u(dtype)) * largest(x))


@oracle("mixed.MixedRoPE", "mixed.mixed_frequencies", "mixed.mixed_angles")
@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("d, heads, base", [(4, 1, 10.0), (16, 3, 100.0)])
def test_mixed_rotation(d, heads, base, layout, dtype):
    expected = exact(rotations.mixed_frequencies(d, heads, base))
    within(mixed_frequencies(d, heads, base), expected, 30 * u(torch.float64))
    enc, shape = MixedRoPE(d, heads, base, 2, layout), (2, heads, heads, 3, d)
    within(enc.inv_freq, expected.expand(2, -1, -1, -1), 2 * TABLE)
    enc.inv_freq.data = draw(2, 2, heads, d // 2, seed=4, dtype=torch.float32)
    pos = torch.randint(50, (2, 3, 2), generator=torch.Generator().manual_seed(5))
    q, k = queries_and_keys(shape, dtype)
    for layer in (0, 1, 2):  # the third layer has the frequencies of the first
        theta = enc.inv_freq.detach().double()[layer % 2]
        angles = exact(
            [[[[rotations.mixed_angle(p, f) for f in zip(*theta[:, h].tolist(), strict=True)] for p in row]
              for h in range(heads)] for row in pos.tolist()]
        )  # fmt: skip
        within(mixed_angles(pos, theta), angles, 300 * u(torch.float64))
        for x, found in zip((q, k), enc.rotate(q, k, enc.prepare(pos, pos, None), layer), strict=True):
            rows = x.double().tolist()
            turned = exact(
                [[[rotations.rotate(rows[b][h][t], angles[b, h, t].tolist(), layout) for t in range(3)]
                  for h in range(heads)] for b in range(2)]
            )  # fmt: skip
            assert found.dtype == dtype
            within(found, turned, (6 * TABLE + 2 * u(dtype)) * largest(x))


def pairs_of(x: Tensor, layout: str) -> Tensor:
    """Lengths of the pairs of channels: (..., D) to (..., D / 2)."""
    parts = x.double().chunk(2, -1) if layout == "half" else (x.double()[..., 0::2], x.double()[..., 1::2])
    return torch.hypot(*parts)


@oracle("xpos.xpos_decay", "xpos.XPos")
@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("base, gamma, scale_base", [(1e4, 0.4, 512.0), (500.0, 1.0, 64.0)])
@pytest.mark.parametrize("offset, center", [(0, 0.0), (700, 0.0), (100_000, 100_002.0)])
def test_xpos_logits(offset, center, base, gamma, scale_base, layout, dtype):
    """Only logits: packages center the exponents on the middle of each sequence, so their vectors differ."""
    d, shape = 8, (2, 2, 2, 4, 8)
    decay = exact(rotations.xpos_decay(d, gamma))
    within(xpos_decay(d, gamma), decay, 4 * u(torch.float64) * decay)
    enc, pos = XPos(d, base, layout, gamma, scale_base, center).to(dtype), places(shape, offset)
    q, k = queries_and_keys(shape, dtype)
    a, b = enc.rotate(q, k, enc.prepare(pos, pos, None), 0)
    assert a.dtype == b.dtype == dtype
    expected = each_pair(
        q, k, lambda x, y, n, h, i, j: rotations.xpos_logit(
            x, y, pos[n, i].item(), pos[n, j].item(), base, gamma, scale_base, layout)
    )  # fmt: skip
    fade = decay ** ((pos[:, None, :, None, None] - pos[:, None, None, :, None]) / scale_base)
    size = (pairs_of(q, layout)[:, :, :, None] * pairs_of(k, layout)[:, :, None] * fade).sum(-1)
    within(a.double() @ b.double().mT, expected, 2 * (8 * TABLE + 2 * u(dtype)) * size)


@oracle("pope.PoPE", "pope.to_polar")
@dtypes
@pytest.mark.parametrize("base, offset", ROPE_PLACES)
@pytest.mark.parametrize("delta, bounded", [("zero", True), ("uniform", True), ("outside", True), ("outside", False)])
@pytest.mark.parametrize("shape", [(1, 1, 1, 3, 5), (2, 2, 2, 3, 8)], ids=str)
def test_pope_logits(shape, delta, bounded, base, offset, dtype):
    """Logits: PoPE-pytorch interleaves cos and sin, x-transformers and we concatenate them."""
    torch.manual_seed(0)
    enc = PoPE(shape[-1], shape[2], base, "uniform" if delta == "uniform" else "zero", bounded)
    if delta == "outside":
        enc.delta.data = 9 * draw(*enc.delta.shape, seed=3, dtype=torch.float32)
    enc, pos = enc.to(dtype), places(shape, offset)
    phase = enc.delta.detach().double()
    phase = phase.clamp(-2 * math.pi, 0) if bounded else phase
    q, k = queries_and_keys(shape, dtype)
    a, b = enc.rotate(q, k, enc.prepare(pos, pos, None), 0)
    assert a.dtype == b.dtype == dtype and a.shape[-1] == 2 * shape[-1]
    expected = each_pair(
        q, k, lambda x, y, n, h, i, j: rotations.pope_logit(
            x, y, pos[n, i].item(), pos[n, j].item(), base, phase[h].tolist())
    )  # fmt: skip
    length = [nn.functional.softplus(x.double()) for x in (q, k)]
    size = length[0] @ length[1].mT
    # Two vectors, each: softplus (torch's own is good to a few u), product and storage; cos and sin from a table.
    within(a.double() @ b.double().mT, expected, 2 * (5 * u(dtype) + 4 * TABLE) * size + 2 * u(dtype) * size)
    angle = draw(3, shape[-1], seed=4)
    polar = to_polar(q, angle.cos(), angle.sin())
    flat = exact(
        [[[[rotations.softplus(c) for c in row] for row in head] for head in batch] for batch in q.double().tolist()]
    )
    within(polar, torch.cat([flat * angle.cos(), flat * angle.sin()], -1), 5 * u(dtype) * torch.cat([flat, flat], -1))


# ----------------------------------------------------------------------------------------------- context extension

EXTENSIONS = list(itertools.product((4, 16, 128), (1e4, 5e5), (1.0, 1.5, 8.0, 32.0), (64, 4096)))
extensions = pytest.mark.parametrize("d, base, s, length", EXTENSIONS)


def same_rule(found: extension.Extension, expected: tuple) -> None:
    """Frequencies to 1e-13: up to a hundred roundings, most of them multiplied by ln(base) in the power."""
    inv_freq, factor = exact(expected[0]), float(expected[1])
    assert found.inv_freq.dtype == torch.float64
    within(found.inv_freq, inv_freq, 1e-13 * inv_freq)
    assert found.attention_factor == pytest.approx(factor, rel=1e-15)


@oracle(*(f"extension.{name}" for name in ("plain", "position_interpolation", "ntk_aware", "dynamic_ntk", "abf")))
@extensions
def test_rules_that_change_the_base_or_divide(d, base, s, length):
    for seq_len in (None, 1, length, length + 1, 3 * length):
        args = (d, base, s, length, seq_len)
        same_rule(extension.plain(*args), rotations.plain(*args))
        same_rule(extension.position_interpolation(*args), rotations.position_interpolation(*args))
        same_rule(extension.ntk_aware(*args), rotations.ntk_aware(*args))
        same_rule(extension.dynamic_ntk(*args), rotations.dynamic_ntk(*args))  # the released rule, not the paper's
        for new_base in (50 * base, 2 * base):
            same_rule(extension.abf(*args, new_base=new_base), rotations.abf(*args, new_base))


@oracle(*(f"extension.{name}" for name in ("ntk_by_parts", "yarn", "llama3", "blend", "rotations", "correction_dim")))
@pytest.mark.parametrize("fast, slow", [(32.0, 1.0), (4.0, 1.0), (8.0, 2.5)])
@extensions
def test_rules_with_a_ramp(d, base, s, length, fast, slow):
    args = (d, base, s, length, None)
    ends = {"beta_fast": fast, "beta_slow": slow}
    same_rule(extension.ntk_by_parts(*args, **ends), rotations.ntk_by_parts(*args, fast, slow))
    factors = {"low_freq_factor": slow, "high_freq_factor": fast}
    same_rule(extension.llama3(*args, **factors), rotations.llama3(*args, slow, fast))
    same_rule(extension.llama3(*args, low_freq_factor=fast, high_freq_factor=fast), rotations.llama3(*args, fast, fast))
    for ramp, truncate, temperature in itertools.product(("code", "paper"), (True, False), (True, False)):
        # The released code limits the ramp's lower end from below and its upper end from above; the closed form limits
        # both on both sides, which is the same while the ends lie in the right order around the pairs.
        low, high = (float(rotations.correction_dim(turns, d, base, length)) for turns in (fast, slow))
        assert low <= d - 1 and high >= 0
        options = ends | {"ramp": ramp, "truncate": truncate, "attention_factor": None if temperature else 1.0}
        expected = rotations.yarn(*args, fast, slow, ramp, truncate, temperature)
        same_rule(extension.yarn(*args, **options), expected)
    theta = rope_frequencies(d, base)
    turns = exact([rotations.rotations(f, length) for f in theta.tolist()])
    within(extension.rotations(theta, length), turns, 4 * u(torch.float64) * turns)
    keep = torch.linspace(0, 1, d // 2, dtype=torch.float64)
    blended = exact([rotations.blend(f, s, g) for f, g in zip(theta.tolist(), keep.tolist(), strict=True)])
    within(extension.blend(theta, s, keep), blended, 6 * u(torch.float64) * blended)
    index = float(rotations.correction_dim(fast, d, base, length))
    assert extension.correction_dim(fast, d, base, length) == pytest.approx(index, abs=1e-13 * d)


@oracle("extension.longrope", "extension.p_rope", "extension.temperature_factor")
@extensions
def test_rules_with_lists_and_with_stopped_pairs(d, base, s, length):
    short = [1 + 0.01 * i for i in range(d // 2)]
    long = [1 + 0.3 * i for i in range(d // 2)]
    for seq_len in (None, length, length + 1):
        args = (d, base, s, length, seq_len)
        lists = {"short_factor": short, "long_factor": long}
        same_rule(extension.longrope(*args, **lists), rotations.longrope(*args, short, long))
        for keep, interpolate in itertools.product((0.0, 0.25, 0.5, 0.75, 1.0), (False, True)):
            stopped = extension.p_rope(*args, keep=keep, interpolate=interpolate)
            same_rule(stopped, rotations.p_rope(*args, keep, interpolate))
    for mscale in (1.0, 0.707, 0.0):
        expected = 1 + mscale * (float(rotations.temperature_factor(s)) - 1)
        assert extension.temperature_factor(s, mscale) == pytest.approx(expected, rel=1e-15)


@oracle("extension.DynamicNTK")
@dtypes
@pytest.mark.parametrize("s", [1.0, 2.0])
@pytest.mark.parametrize("last", [7, 15, 16, 63])
def test_dynamic_ntk_module(last, s, dtype):
    enc, shape = extension.DynamicNTK(8, 16, s, 1e4).to(dtype), (1, 2, 1, 4, 8)
    pos = torch.tensor([[0, 3, 6, last]])
    theta = rotations.dynamic_ntk(8, 1e4, s, 16, last + 1)[0]
    q, k = queries_and_keys(shape, dtype)
    for x, found in zip((q, k), enc.rotate(q, k, enc.prepare(pos, pos, None), 0), strict=True):
        expected = each_vector(
            x, lambda row, b, t: rotations.rope(row, pos[b, t].item(), 1e4, "half", frequencies=theta)
        )
        within(found, expected, (6 * TABLE + 2 * u(dtype)) * largest(x))


# -------------------------------------------------------------------------------------------------- fixed biases

Q_POS, K_POS = torch.tensor([[0, 5, 300], [7, 8, 100_000]]), torch.tensor([[0, 4, 5, 299], [9, 8, 3, 99_999]])


def each_distance(f, q_pos: Tensor = Q_POS, k_pos: Tensor = K_POS) -> Tensor:
    """f(i, j) of every pair of positions, (B, T, S) float64."""
    return exact([[[f(i, j) for j in ks] for i in qs] for qs, ks in zip(q_pos.tolist(), k_pos.tolist(), strict=True)])


@oracle("alibi.alibi_slopes")
@pytest.mark.parametrize("n", range(1, 65))
def test_alibi_slopes(n):
    for max_bias in (8, 16, 5.5):
        expected = exact(biases.alibi_slopes(n, max_bias))
        within(alibi_slopes(n, max_bias), expected, 16 * u(torch.float64) * expected)
        assert torch.equal(ALiBi(n, max_bias=max_bias).slopes, alibi_slopes(n, max_bias))
    assert torch.equal(alibi_slopes(n), alibi_slopes(n, 8))


@oracle("alibi.alibi_bias", "alibi.ALiBi")
@dtypes
@pytest.mark.parametrize("future", [False, True])
@pytest.mark.parametrize("n", [1, 3, 8, 12])
def test_alibi_bias(n, future, dtype):
    slopes = [float(m) for m in biases.alibi_slopes(n)]
    ahead = [0.1 * (h + 1) for h in range(n)] if future else None
    expected = torch.stack(
        [each_distance(lambda i, j, h=h: biases.alibi(i, j, slopes[h], ahead and ahead[h])) for h in range(n)], 1
    )
    bound = 3 * TABLE * expected.abs()  # the bias is float32 also in a bfloat16 model: slope, distance, product
    within(ALiBi(n, future_slopes=ahead).to(dtype).prepare(Q_POS, K_POS, None), expected, bound)
    tensors = [None if x is None else torch.tensor(x).double() for x in (slopes, ahead)]
    within(alibi_bias(Q_POS, K_POS, *tensors), expected, bound)


@oracle("sandwich.sandwich_rows", "sandwich.sandwich_strengths", "sandwich.Sandwich")
@dtypes
@pytest.mark.parametrize("dim, base", [(2, 1e4), (16, 500.0), (64, 1e4)])
@pytest.mark.parametrize("n", [1, 3, 8])
def test_sandwich(n, dim, base, dtype):
    kernel = each_distance(lambda i, j: biases.sandwich_kernel(i - j, dim, base))
    rounding = dim * u(torch.float64) * (4 + 25 * (K_POS[:, None].abs() + Q_POS[:, :, None].abs()))
    rows = [sandwich_rows(p, dim, base) for p in (Q_POS, K_POS)]
    within(rows[0] @ rows[1].mT - dim / 2, kernel, rounding)
    strengths = 1 / exact(biases.sandwich_divisors(n))
    within(sandwich_strengths(n), strengths, 4 * u(torch.float64) * strengths)
    strengths = strengths[:, None, None]
    bound = strengths * (rounding[:, None] + 2 * TABLE * kernel.abs()[:, None])
    within(Sandwich(n, dim, base).to(dtype).prepare(Q_POS, K_POS, None), strengths * kernel[:, None], bound)


@oracle("window.window_bias", "window.SlidingWindow")
@dtypes
@pytest.mark.parametrize("width", [1, 2, 6, 1000])
def test_window(width, dtype):
    expected = each_distance(lambda i, j: biases.window(i, j, width))[:, None]
    within(window_bias(Q_POS, K_POS, width), expected, 0.0)
    within(SlidingWindow(width).to(dtype).prepare(Q_POS, K_POS, None), expected, 0.0)


# ------------------------------------------------------------------------------------------------ learned biases


@oracle("kerple.kerple_log", "kerple.kerple_power", "kerple.inverse_softplus", "kerple.Kerple")
@dtypes
@pytest.mark.parametrize("variant", ["log", "power"])
@pytest.mark.parametrize("n", [1, 3, 8])
def test_kerple(n, variant, dtype):
    torch.manual_seed(n)
    enc = Kerple(n, variant)
    with torch.no_grad():
        for raw in (enc.raw_r1, enc.raw_r2):
            raw.add_(torch.randn(n))
    enc = enc.to(dtype)
    r1, r2 = enc.r1.detach(), enc.r2.detach()
    form = biases.kerple_log if variant == "log" else biases.kerple_power
    expected = torch.stack(
        [each_distance(lambda i, j, h=h: form(i - j, r1[h].item(), r2[h].item())) for h in range(n)], 1
    )
    # Distance and product inside the kernel are rounded, then the kernel and its product with r1.
    size = expected.abs() + (r1.double()[:, None, None] if variant == "log" else 0)
    bound = 8 * u(dtype) * size
    within(enc.prepare(Q_POS, K_POS, None), expected, bound)
    function = kerple_log if variant == "log" else kerple_power
    within(function(K_POS[:, None] - Q_POS[:, :, None], r1[:, None, None], r2[:, None, None]), expected, bound)


@oracle("kerple.inverse_softplus")
@dtypes
@pytest.mark.parametrize("y", [1e-3, 0.125, math.log(2), 1.0, 7.5, 30.0])
def test_inverse_softplus(y, dtype):
    y = torch.tensor([y]).to(dtype)
    expected = exact([biases.inverse_softplus(y.item())])
    within(inverse_softplus(y), expected, 6 * u(dtype) * (y.double() + expected.abs() + 1))


@oracle("fire.fire_input", "fire.FIRE")
@dtypes
@pytest.mark.parametrize("c, threshold, multiplier", [(0.1, 32.0, 1.0), (2.0, 3.0, -0.5), (1e-3, 500.0, 2.0)])
@pytest.mark.parametrize("n, width", [(1, 4), (3, 32)])
def test_fire(n, width, c, threshold, multiplier, dtype):
    torch.manual_seed(n)
    enc = FIRE(n, threshold, width, c)
    enc.multiplier.data.fill_(multiplier)
    enc = enc.to(dtype)
    c, far = enc.c.item(), abs(enc.multiplier.item() * threshold)  # as the dtype holds them
    w1, b1, w2, b2 = (p.detach().double().tolist() for p in enc.network.parameters())
    w1 = [row[0] for row in w1]
    share = each_distance(lambda i, j: biases.fire_share(i, j, c, far))
    # Never in bfloat16, where positions collide. c a product, a logarithm a quotient: at most 2 u each.
    compute = torch.promote_types(dtype, torch.float32)
    within(fire_input(Q_POS, K_POS, enc.c.detach().abs(), far), share, 12 * u(compute) * share)
    expected = each_distance(lambda i, j: biases.fire(i, j, c, far, w1, b1, w2, b2)).permute(0, 3, 1, 2)
    strength = torch.tensor(w2).double().abs() @ (
        torch.tensor(w1).double().abs()[:, None] * share.flatten() + torch.tensor(b1).double().abs()[:, None]
    )
    size = strength.view(n, *share.shape).transpose(0, 1) + torch.tensor(b2).double().abs()[:, None, None]
    within(enc.prepare(Q_POS, K_POS, None), expected, (width + 20) * u(dtype) * size)


@oracle("t5.t5_buckets")
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(
    "buckets, farthest", [(8, 20), (16, 64), (32, 48), (32, 128), (32, 1000), (64, 256), (128, 4096)]
)
def test_t5_buckets(buckets, farthest, both):
    """All distances, against whole-number arithmetic. The released code takes a float32 logarithm; so do we."""
    distance = torch.cat([torch.arange(-2 * farthest, 2 * farthest + 1), torch.tensor([-100_000, 100_000])])
    expected = torch.tensor([biases.t5_bucket(n, buckets, farthest, both) for n in distance.tolist()])
    assert torch.equal(t5_buckets(distance, buckets, farthest, both), expected)


@oracle("t5.T5")
@dtypes
@pytest.mark.parametrize("both, gain", [(False, 1.0), (True, 1.0), (False, 10.0)])
@pytest.mark.parametrize("n, buckets, farthest", [(1, 8, 20), (3, 32, 128)])
def test_t5_bias(n, buckets, farthest, both, gain, dtype):
    torch.manual_seed(n)
    enc = T5(n, buckets, farthest, both, std=1.0, gain=gain).to(dtype)
    table = enc.table.weight.detach().double()
    expected = torch.stack(
        [
            each_distance(lambda i, j, h=h: gain * table[biases.t5_bucket(j - i, buckets, farthest, both), h].item())
            for h in range(n)
        ], 1,
    )  # fmt: skip
    within(enc.prepare(Q_POS, K_POS, None), expected, u(dtype) * expected.abs())
    assert enc.scale == 1.0  # T5's logits are not divided by sqrt(d)


# ---------------------------------------------------------------------------------------------- relative vectors


@oracle("deberta.log_buckets")
@pytest.mark.parametrize("k, farthest", [(256, 512), (32, 512), (8, 20), (7, 30)])
def test_log_buckets(k, farthest):
    distance = torch.arange(-2 * farthest, 2 * farthest + 1)
    assert log_buckets(distance, k, farthest).tolist() == [
        biases.deberta_bucket(n, k, farthest) for n in distance.tolist()
    ]


@oracle("shaw.clipped_index", "deberta.deberta_index")
@pytest.mark.parametrize("k", [1, 2, 16])
def test_rows_of_relative_tables(k):
    distance = torch.arange(-40, 41)
    assert clipped_index(distance, k).tolist() == [biases.clip_row(n, k) for n in range(-40, 41)]
    assert deberta_index(distance, k).tolist() == [biases.deberta_row(0, n, k) for n in range(-40, 41)]


SMALL_POS = torch.tensor([[3, 9, 1], [100, 101, 260]])
SMALL_KEYS = torch.tensor([[0, 3, 4, 5, 8], [99, 100, 103, 260, 259]])


@oracle("shaw.relative_logits", "shaw.relative_values", "shaw.Shaw")
@dtypes
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("heads, d, k", [(1, 4, 1), (3, 8, 4)])
def test_shaw(heads, d, k, layer, dtype):
    torch.manual_seed(k)
    enc = Shaw(heads, d, k, n_layers=2, std=1.0).to(dtype)
    q, keys = draw(2, heads, 3, d, dtype=dtype), draw(2, heads, 5, d, seed=1, dtype=dtype)
    weights = draw(2, heads, 3, 5, seed=2).softmax(-1).to(dtype)
    state = enc.prepare(SMALL_POS, SMALL_KEYS, None)
    a_key, a_value = (t[layer].detach().double().tolist() for t in (enc.key_table, enc.value_table))

    def place(n, i, j):
        return SMALL_POS[n, i].item(), SMALL_KEYS[n, j].item()

    term = each_pair(q, keys, lambda x, y, n, h, i, j: biases.shaw_logit_term(x, *place(n, i, j), a_key[h], k))
    size = (
        q.double().norm(dim=-1)[..., None] * enc.key_table[layer].detach().double().norm(dim=-1).amax(-1)[:, None, None]
    )
    bound = (d + 2) * u(dtype) * size
    within(relative_logits(q, enc.key_table[layer], state), term, bound)
    within(enc.bias(q, keys, state, layer), term / math.sqrt(d), 1.1 * bound / math.sqrt(d))
    whole = each_pair(q, keys, lambda x, y, n, h, i, j: biases.shaw_logit(x, y, *place(n, i, j), a_key[h], k))
    within(term / math.sqrt(d) + q.double() @ keys.double().mT / math.sqrt(d), whole, 1e-12)  # two ways to write eq. 4

    rows = weights.double().tolist()
    values = exact(
        [
            [
                [
                    [
                        sum(rows[n][h][i][j] * a_value[h][biases.clip_row(place(n, i, j)[1] - place(n, i, j)[0], k)][c]
                            for j in range(5))
                        for c in range(d)
                    ]
                    for i in range(3)
                ]
                for h in range(heads)
            ]
            for n in range(2)
        ]
    )  # fmt: skip
    bound = (5 + 2 * k + 3) * u(dtype) * enc.value_table[layer].detach().double().abs().amax()
    within(relative_values(weights, enc.value_table[layer], state), values, bound)
    within(enc.values(weights, state, layer), values, bound)


@oracle("shaw.relative_values", "shaw.Shaw")
@pytest.mark.parametrize("k", [1, 3])
def test_shaw_s_values_are_equation_3(k):
    """With keys at 0, 1, ... as the closed form has them: values and their vectors together."""
    enc, v = Shaw(2, 4, k, std=1.0).double(), draw(1, 2, 6, 4)
    weights, state = draw(1, 2, 6, 6, seed=1).softmax(-1), enc.prepare(positions(6), positions(6), None)
    table = enc.value_table[0].detach().tolist()
    expected = exact(
        [[[biases.shaw_output(weights[0, h, i].tolist(), v[0, h].tolist(), i, table[h], k) for i in range(6)]
          for h in range(2)]]
    )  # fmt: skip
    term = exact([[[biases.shaw_value_term(weights[0, h, i].tolist(), i, table[h], k) for i in range(6)]
                   for h in range(2)]])  # fmt: skip
    within(enc.values(weights, state, 0), term, 1e-14 * 20)
    within(weights @ v + enc.values(weights, state, 0), expected, 1e-14 * 20)


@oracle("deberta.disentangled_terms", "deberta.DeBERTa")
@dtypes
@pytest.mark.parametrize("convention", ["code", "paper"])
@pytest.mark.parametrize("heads, d, k", [(1, 4, 1), (2, 6, 5)])
def test_deberta(heads, d, k, convention, dtype):
    """Paper: delta(j, i) in the last term. Released code: delta(i, j) in both. The argument chooses."""
    torch.manual_seed(k)
    enc = DeBERTa(heads * d, heads, k, n_layers=2, convention=convention)
    nn.init.normal_(enc.table.weight)
    enc = enc.to(dtype)
    q, keys = draw(2, heads, 3, d, dtype=dtype), draw(2, heads, 5, d, seed=1, dtype=dtype)
    rows = [
        (p[1].weight.double() @ enc.table.weight.double().T + (0 if p[1].bias is None else p[1].bias.double()[:, None]))
        .detach().T.unflatten(-1, (heads, d)).transpose(0, 1)
        for p in (enc.key_projections, enc.query_projections)
    ]  # fmt: skip
    tables = [r.tolist() for r in rows]

    def term(which):
        return each_pair(
            q, keys, lambda x, y, n, h, i, j: biases.deberta_terms(
                x, y, SMALL_POS[n, i].item(), SMALL_KEYS[n, j].item(), tables[0][h], tables[1][h], k, convention)[which]
        )  # fmt: skip

    expected = [term(0), term(1)]
    size = [x.double().norm(dim=-1).amax() * r.norm(dim=-1).amax() for x, r in zip((q, keys), rows, strict=True)]
    distance = SMALL_KEYS[:, None] - SMALL_POS[:, :, None]
    cast = [r.to(dtype) for r in rows]
    for found, wanted, s in zip(disentangled_terms(q, keys, *cast, distance, convention), expected, size, strict=True):
        within(found, wanted, (d + 3) * u(dtype) * s)
    bias = enc.bias(q, keys, enc.prepare(SMALL_POS, SMALL_KEYS, None), 1)
    weight = max(p[1].weight.double().norm(dim=1).amax() for p in (enc.key_projections, enc.query_projections))
    projected = (heads * d + 3) * u(dtype) * weight * enc.table.weight.double().norm(dim=1).amax() * d**0.5
    bound = sum((d + 4) * u(dtype) * s for s in size) + projected * (largest(q).amax() + largest(keys).amax())
    within(bias, (expected[0] + expected[1]) / math.sqrt(3 * d), (bound / math.sqrt(3 * d)).item())
    logit = each_pair(
        q, keys, lambda x, y, n, h, i, j: biases.deberta_logit(
            x, y, SMALL_POS[n, i].item(), SMALL_KEYS[n, j].item(), tables[0][h], tables[1][h], k, convention)
    )  # fmt: skip
    within(q.double() @ keys.double().mT * enc.scale + sum(expected) / math.sqrt(3 * d), logit, 1e-12)


@oracle("transformer_xl.TransformerXL", "transformer_xl.wave_logits")
@dtypes
@pytest.mark.parametrize("farthest", [None, 2, 300])
@pytest.mark.parametrize("heads, d", [(1, 2), (3, 4)])
def test_transformer_xl(heads, d, farthest, dtype):
    torch.manual_seed(d)
    enc = TransformerXL(heads * d, heads, n_layers=2, std=1.0, max_distance=farthest).to(dtype)
    q, keys = draw(2, heads, 3, d, dtype=dtype), draw(2, heads, 5, d, seed=1, dtype=dtype)
    state = enc.prepare(SMALL_POS, SMALL_KEYS, None)
    u_rows, v_rows, w_r = (p.detach().double() for p in (enc.u, enc.v, enc.projections[1]))

    def form(f):
        return each_pair(
            q, keys, lambda x, y, n, h, i, j: f(
                x, y, SMALL_POS[n, i].item(), SMALL_KEYS[n, j].item(),
                u_rows[h].tolist(), v_rows[h].tolist(), w_r[h].tolist(), farthest)
        )  # fmt: skip

    # q + v once, d products for each of the heads * d sinusoids; those are tables: i, -j and two products of them.
    seeking = largest(q) + largest(v_rows[:, None])
    rounds = (2 * d + heads * d + 8) * u(dtype) + 8 * TABLE
    bound = rounds * 2**0.5 * seeking * w_r.norm(dim=1).sum(-1)[:, None, None]
    if farthest is None:
        alone = form(lambda *args: biases.transformer_xl_terms(*args)[1])
        within(wave_logits(q @ enc.projections[1], *state), alone, bound)
    bound = bound + (d + 4) * u(dtype) * largest(u_rows[:, None]) * largest(keys).mT
    by_position = form(lambda *args: sum(biases.transformer_xl_terms(*args)[1:]))
    within(enc.bias(q, keys, state, 1), by_position / math.sqrt(d), 1.1 * bound / math.sqrt(d))
    logit = form(biases.transformer_xl_logit)
    within(q.double() @ keys.double().mT / math.sqrt(d) + by_position / math.sqrt(d), logit, 1e-12)


# ---------------------------------------------------------------------------------------------------------- CoPE


@oracle("cope.cope_positions", "cope.interpolate_positions")
@dtypes
@pytest.mark.parametrize("max_pos", [2, 5, 64])
def test_cope_counts_and_reading(max_pos, dtype):
    t = 80
    logits, allowed = 2 * draw(1, 2, 3, t, dtype=dtype), causal_mask(3, t)
    counts = exact(
        [[[biases.cope_counts(row, allowed[0, 0, i].tolist(), max_pos) for i, row in enumerate(head)]
          for head in batch] for batch in logits.double().tolist()]
    )  # fmt: skip
    # A count is a position: it is summed in float32 at least, or neighbors would collide in bfloat16.
    compute = torch.promote_types(dtype, torch.float32)
    found = cope_positions(logits, allowed, max_pos)
    within(found, counts, 2 * t * u(compute) * (1 + counts))
    table = draw(1, 2, 3, max_pos, seed=1, dtype=dtype)
    places = counts.to(compute)
    rows, at = table.double().tolist(), places.double().tolist()
    read = exact(
        [[[[biases.read_between(rows[b][h][i], p) for p in at[b][h][i]] for i in range(3)] for h in range(2)]
         for b in range(1)]
    )  # fmt: skip
    within(interpolate_positions(table, places), read, 6 * u(compute) * table.double().abs().amax())


@oracle("cope.CoPE")
@dtypes
@pytest.mark.parametrize("d, t, max_pos", [(4, 1, 2), (4, 7, 3), (8, 12, 16)])
def test_cope_bias(d, t, max_pos, dtype):
    torch.manual_seed(0)
    enc, allowed = CoPE(d, max_pos, std=1.0).to(dtype), causal_mask(t, t)
    q, k = draw(2, 2, t, d, dtype=dtype), draw(2, 2, t, d, seed=1, dtype=dtype)
    table, keys = enc.table.detach().double(), k.double().tolist()
    rows = q.double().tolist()
    expected = torch.zeros(2, 2, t, t).double()
    for b, h, i in itertools.product(range(2), range(2), range(t)):
        expected[b, h, i, : i + 1] = exact(biases.cope(rows[b][h][i], keys[b][h], i, table.tolist(), max_pos))
    found = enc.bias(q, k, enc.prepare(positions(t), positions(t), allowed), 0).detach().double() * allowed
    # A logit is rounded d + 2 times; a gate moves by a quarter of that; a count is a sum of up to t gates.
    logit = (d + 2) * u(dtype) * (largest(q).amax() * largest(k).amax()) / math.sqrt(d)
    step = (q.double() @ table.diff(dim=0).T).abs().amax()
    bound = step * t * (logit / 4 + 2 * u(dtype)) + (d + 6) * u(dtype) * (largest(q).amax() * largest(table).amax())
    within(found, expected, bound.item())


# ------------------------------------------------------------------------------------- mixtures, and a temperature


@oracle("temperature.position_temperature", "temperature.PositionTemperature")
@dtypes
@pytest.mark.parametrize("a, length, shift", [(0.1, 8192, 1), (0.7, 3, 0), (0.1, 1, 5)])
def test_temperature_by_position(a, length, shift, dtype):
    pos = torch.tensor([[0, 1, 2, 3, 8190, 8191, 100_000, -4]])
    expected = exact([[biases.position_temperature(p, a, length, shift) for p in pos[0].tolist()]])
    within(position_temperature(pos, a, length, shift), expected, 2 * TABLE * expected)
    enc = PositionTemperature(a, length, shift).to(dtype)
    q, k = draw(1, 2, 8, 3, dtype=dtype), draw(1, 1, 8, 3, seed=1, dtype=dtype)
    turned, same = enc.rotate(q, k, enc.prepare(pos, pos, None), 0)
    assert same is k and turned.dtype == dtype
    grown = q.double() * expected[:, None, :, None]
    within(turned, grown, (2 * TABLE + 2 * u(dtype)) * grown.abs())


@oracle("combine.PerLayer", "combine.Combined")
@dtypes
def test_logits_of_a_mixture(dtype):
    """Rotation and window in layer 0 and 2, T5 with its own scale in layer 1; ALiBi beside the window in layer 3."""
    torch.manual_seed(0)
    d, t, heads = 8, 5, 2
    near, table = Combined([RoPE(d), SlidingWindow(3)]), T5(heads, 8, 20, std=1.0)
    slopes = biases.alibi_slopes(heads)
    mix = PerLayer([near, table, near, Combined([ALiBi(heads), SlidingWindow(3)])]).to(dtype)
    pos, (q, k) = places((1, heads, heads, t, d), 40), queries_and_keys((1, heads, heads, t, d), dtype)
    rows = table.table.weight.detach().double()

    def rope(x, y, n, h, i, j):
        a, b = (rotations.rope(v, 40 + m, 1e4, "half") for v, m in ((x, i), (y, j)))
        return sum(c * e for c, e in zip(a, b, strict=True)) / math.sqrt(d) + biases.window(i, j, 3)

    def t5(x, y, n, h, i, j):
        return sum(c * e for c, e in zip(x, y, strict=True)) + rows[biases.t5_bucket(j - i, 8, 20, False), h].item()

    def alibi(x, y, n, h, i, j):
        plain = sum(c * e for c, e in zip(x, y, strict=True)) / math.sqrt(d)
        return plain + biases.alibi(i, j, slopes[h]) + biases.window(i, j, 3)

    state, scale = mix.prepare(pos, pos, None), d**-0.5 if mix.scale is None else mix.scale
    size = largest(q).amax() * largest(k).amax() + t
    for layer, form in enumerate((rope, t5, rope, alibi)):
        a, b = mix.rotate(q, k, state, layer)
        found = a.double() @ b.double().mT * scale + mix.bias(q, k, state, layer)
        within(found, each_pair(q, k, form), (16 * TABLE + 8 * u(dtype)) * size)


# ------------------------------------------------------------------------------------------------ learned tables


@oracle("learned.Learned")
@dtypes
@pytest.mark.parametrize("offset", [0, 2])
@pytest.mark.parametrize("d, max_len", [(3, 4), (16, 300)])
def test_learned_rows(d, max_len, offset, dtype):
    torch.manual_seed(0)
    enc, x = Learned(d, max_len, offset=offset).to(dtype), draw(2, 3, d, dtype=dtype)
    pos = torch.tensor([[0, 1, 2], [max_len - 1, 0, max_len // 2]])
    table = enc.table.weight.detach().double().tolist()
    rows = exact([[biases.learned_row(table, p, offset) for p in row] for row in pos.tolist()])
    found = enc.embed(x, enc.prepare(pos, pos, None))
    assert found.dtype == dtype
    within(found, x.double() + rows, u(dtype) * (x.double() + rows).abs())


@oracle("learned.padded_positions")
def test_padded_positions():
    real = torch.tensor(list(itertools.product([False, True], repeat=5)))
    assert padded_positions(real).tolist() == [biases.padded_positions(row) for row in real.tolist()]


@oracle("learned.interpolate_table")
@dtypes
@pytest.mark.parametrize("rows, length", [(2, 2), (2, 9), (8, 64), (64, 8), (16, 17), (3, 1000)])
def test_interpolate_table(rows, length, dtype):
    table = draw(rows, 3, dtype=dtype)
    expected = exact(biases.stretch_table(table.double().tolist(), length))
    # The place between two rows is computed in float32 at least: its error is multiplied by the step between them.
    compute = torch.promote_types(dtype, torch.float32)
    step = table.double().diff(dim=0).abs().amax()
    within(
        interpolate_table(table, length),
        expected,
        4 * u(dtype) * table.double().abs().amax() + 4 * rows * u(compute) * step,
    )


# ----------------------------------------------------------------------------------------------------- attention


@oracle("model.Attention", "model.causal_mask", "model.AttentionMask", "base.NoEncoding")
@dtypes
@pytest.mark.parametrize("explicit", [False, True], ids=["fused", "explicit"])
@pytest.mark.parametrize("kind", [CausalLM, Encoder])
@pytest.mark.parametrize("name", ["none", "alibi", "window", "t5"])
@pytest.mark.parametrize("heads, kv_heads", [(1, 1), (4, 2)])
@torch.no_grad()
def test_one_attention_layer(heads, kv_heads, name, kind, explicit, dtype):
    """Scale, bias after the scale, mask, grouped keys: one layer in isolation, both ways to compute it."""
    torch.manual_seed(0)
    d, t = 4, 5
    enc = {"none": NoEncoding, "alibi": lambda: ALiBi(heads), "window": lambda: SlidingWindow(2),
           "t5": lambda: T5(heads, 8, 20, std=1.0)}[name]()  # fmt: skip
    model = kind(7, heads * d, heads, 1, enc, n_kv_heads=kv_heads).to(dtype)
    attention, x = model.blocks[0].attention, draw(1, t, heads * d, dtype=dtype)
    seen = {}

    def watch(module, arguments, keywords):
        context = keywords.get("ctx", arguments[1] if len(arguments) > 1 else None)
        seen["out"] = type(attention).forward(attention, x, context, need_weights=explicit)[0]

    handle = attention.register_forward_pre_hook(watch, with_kwargs=True)
    model.hidden(torch.randint(7, (1, t)))
    handle.remove()
    projected = (x.double() @ attention.qkv.weight.double().T).view(t, -1, d).transpose(0, 1)
    q, k, v = projected.split([heads, kv_heads, kv_heads])
    table = enc.table.weight.double() if name == "t5" else None
    slopes = biases.alibi_slopes(heads)
    form = {
        "none": lambda h, i, j: 0,
        "alibi": lambda h, i, j: biases.alibi(i, j, slopes[h]),
        "window": lambda h, i, j: biases.window(i, j, 2),
        "t5": lambda h, i, j: table[biases.t5_bucket(j - i, 8, 20, False), h].item(),
    }[name]
    mixed = []
    for h in range(heads):
        owner = h // (heads // kv_heads)  # consecutive query heads share a key head
        bias = [[form(h, i, j) for j in range(t)] for i in range(t)]
        allowed = [[j <= i or kind is Encoder for j in range(t)] for i in range(t)]
        scale = 1.0 if name == "t5" else d**-0.5
        mixed.append(exact(biases.attention(q[h].tolist(), k[owner].tolist(), v[owner].tolist(), scale, bias, allowed)))
    expected = torch.cat(mixed, -1) @ attention.out_proj.weight.double().T
    # A relative error e in logits of size L moves weights by 2 e L: rounding of q, k, logits and bias, then of v, out.
    logit = (q.norm(dim=-1).amax() * k.norm(dim=-1).amax() + 8).item()
    width = attention.out_proj.weight.double().abs().sum(1).amax().item() * v.abs().amax().item()
    roundings = 2 * logit * (2 * heads * d + 6) + heads * d + 12
    within(seen["out"][0], expected, roundings * u(dtype) * width)


# ------------------------------------------------------------------------- where the series applies what it computes

METHODS = {
    "none": lambda *a: rotations.plain(*a),
    "pi": lambda *a: rotations.position_interpolation(*a),
    "ntk": lambda *a: rotations.ntk_aware(*a),
    "parts32": lambda *a: rotations.ntk_by_parts(*a, 32, 1),
    "parts8": lambda *a: rotations.ntk_by_parts(*a, 8, 1),
    "yarn-t": lambda *a: rotations.yarn(*a, 32, 1, "code", True, False),
    "yarn": lambda *a: rotations.yarn(*a, 32, 1, "code", True, True),
    "yarn_paper": lambda *a: rotations.yarn(*a, 32, 1, "paper", True, True),
    "llama3": lambda *a: rotations.llama3(*a, 1, 4),
    "abf": lambda *a: rotations.abf(*a, 50 * a[1]),
    "p_rope": lambda *a: rotations.p_rope(*a, 0.75, False),
}
"""The rows of notebook 06's comparison, with the constants that their papers or released code have."""


@oracle("context_extension.frequencies", "context_extension.apply")
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("method", context_extension.METHODS)
def test_methods_of_the_comparison(method, factor):
    settings = race.Settings()
    args = (settings.head_dim, 1e4, factor, settings.train_len, settings.train_len * factor)
    inv_freq, attention_factor = METHODS[method.removesuffix("+t")](*args)
    if method.endswith("+t"):
        attention_factor = rotations.temperature_factor(factor)
    found = context_extension.frequencies(method, factor, settings)
    same_rule(found, (inv_freq, attention_factor))
    model = context_extension.apply(CausalLM(7, 2 * settings.head_dim, 2, 1, RoPE(settings.head_dim)), found)
    q, k = queries_and_keys((1, 2, 2, 3, settings.head_dim), torch.float64)
    pos = torch.tensor([[0, 70, 511]])
    turned = model.encoding.rotate(q, k, model.encoding.prepare(pos, pos, None), 0)
    for x, y in zip((q, k), turned, strict=True):
        expected = each_vector(
            x, lambda row, b, t: rotations.rope(row, pos[b, t].item(), 1e4, "half", frequencies=inv_freq)
        )
        factor_ = float(attention_factor)
        within(y, factor_ * expected, factor_ * 8 * TABLE * largest(x))


@oracle("context.extended")
@pytest.mark.parametrize("method", context.RULES)
def test_methods_on_the_real_model(method):
    model = types.SimpleNamespace(head_dim=64, base=1e5, context_length=8192)
    name, factor = method.rstrip("24"), int(method[-1]) if method[-1] in "24" else 1
    inv_freq, attention_factor = METHODS[name](64, 1e5, factor, 8192, None)
    enc = context.extended(model, method).encoding
    same_rule(extension.Extension(enc.inv_freq, enc.attention_factor), (inv_freq, attention_factor))


@oracle("nb06.slow_downs")
@pytest.mark.parametrize("factor", [2.0, 16.0])
def test_slow_downs_that_are_drawn(factor):
    args = (128, 1e4, factor, 4096, int(4096 * factor))
    forms = {rule: METHODS[rule] for rule in ("none", "pi", "ntk", "yarn", "yarn_paper", "llama3", "abf", "p_rope")}
    forms["ntk_by_parts"] = METHODS["parts32"]
    forms["dynamic_ntk"] = METHODS["ntk"]  # drawn with the paper's scale, at the length asked for
    drawn = pictures.nb06.slow_downs(factor, 128, 1e4, 4096)
    assert set(drawn) - set(forms) == {"longrope"}  # a synthetic list, said so under the figure
    for rule, form in forms.items():
        new = exact(form(*args)[0])
        expected = exact(rotations.rope_frequencies(128, 1e4)) / new  # infinite where a pair stands still
        found = torch.from_numpy(drawn[rule])
        within(found, expected, 1e-13 * expected.nan_to_num(posinf=0))


@oracle("door1_variants.Concatenated", "door1_variants.Anywhere", "sinusoidal.Sinusoidal", "learned.Learned")
@dtypes
def test_variants_of_door_one(dtype):
    pos, x = torch.tensor([[0, 5, 257]]), draw(2, 3, 8, dtype=dtype)
    rows = {d: exact([rotations.sinusoidal_row(p, d, 1e4, "paper") for p in (0, 5, 257)]) for d in (4, 8)}
    wide = x.double()
    bound = 3 * u(dtype) * (wide.abs() + 4) + 2 * TABLE

    def embedded(enc):
        return enc.to(dtype).eval().embed(x, enc.prepare(pos, pos, None))

    within(embedded(door1_variants.Concatenated(8, 4)), torch.cat([wide[..., :4], rows[4].expand(2, 3, 4)], -1), bound)
    overlapping = embedded(door1_variants.Concatenated(8, 4, overlap=True))
    within(overlapping, torch.cat([wide[..., :4], wide[..., 4:] + rows[4]], -1), bound)
    within(embedded(door1_variants.Anywhere(8, 100)), wide + rows[8], bound)
    within(embedded(Sinusoidal(8, gain=0.3)), wide + 0.3 * rows[8], bound)
    table = Learned(8, 300, gain=10)
    added = 10 * table.table.weight[pos].detach().double()
    within(embedded(table), wide + added, 2 * bound + 2 * u(dtype) * added.abs())


@oracle("door1_variants.AddsInside")
@pytest.mark.parametrize("keep", [True, False])
@torch.no_grad()
def test_a_block_that_adds_the_table_itself(keep):
    """x + attention(norm(x + table)), the table inside the residual stream or, the bug, not."""
    torch.manual_seed(0)
    model = CausalLM(7, 8, 2, 1, door1_variants.Withheld(8))
    block = model.blocks[0] = door1_variants.AddsInside(8, 2, layer=0)
    block.keep = keep
    model, ids = model.double(), torch.randint(7, (1, 4))
    found, x = model.hidden(ids)[0], model.token_embedding(ids)
    h = x + exact([rotations.sinusoidal_row(p, 8, 1e4, "paper") for p in range(4)])
    q, k, v = (block.norm1(h) @ block.attention.qkv.weight.T)[0].view(4, 6, 4).transpose(0, 1).split(2)
    below = [[j <= i for j in range(4)] for i in range(4)]
    mixed = [exact(biases.attention(*(a[n].tolist() for a in (q, k, v)), 0.5, None, below)) for n in range(2)]
    out = (h if keep else x) + torch.cat(mixed, -1) @ block.attention.out_proj.weight.T
    within(found, model.norm(out + block.mlp(block.norm2(out))), 20 * TABLE)


@oracle(*(f"bias_cost.{name}" for name in ("additive_mask", "no_bias", "fused_mask", "explicit", "extra_channel")))
@pytest.mark.parametrize("heads, t, d", [(1, 1, 8), (3, 9, 8), (8, 5, 16)])
def test_every_way_to_compute_alibi(heads, t, d):
    q, k, v = (draw(2, heads, t, d, seed=s, dtype=torch.float32) for s in range(3))
    slopes = biases.alibi_slopes(heads)
    below = [[j <= i for j in range(t)] for i in range(t)]
    bias = [[[biases.alibi(i, j, m) for j in range(t)] for i in range(t)] for m in slopes]
    mask = exact(bias).masked_fill(~torch.tensor(below), -math.inf)
    within(bias_cost.additive_mask(t, heads)[0], mask, 3 * TABLE * mask.abs().nan_to_num(posinf=0))
    plain, biased = (
        exact(
            [
                [
                    biases.attention(*(a[b, h].tolist() for a in (q, k, v)), d**-0.5, bias[h] if how else None, below)
                    for h in range(heads)
                ]
                for b in range(2)
            ]
        )
        for how in (False, True)
    )
    size = (q.norm(dim=-1).amax() * k.norm(dim=-1).amax() / d**0.5 + t).item()  # of a logit: its error moves weights
    bound = (2 * (d + 4) * size + t + 4) * TABLE * v.abs().amax().item()
    within(bias_cost.no_bias(q, k, v), plain, bound)
    for path in (bias_cost.fused_mask, bias_cost.explicit, bias_cost.extra_channel):
        within(path(q, k, v), biased, bound)
