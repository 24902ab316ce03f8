"""What readers see is what is tested: definitions of the notebooks against helpers, over grids and bad corners.

The functions are taken out of the notebooks' cells (nothing is trained or drawn) and called with many more arguments
than the notebook itself uses. helpers, in turn, is compared with independent packages elsewhere in this folder.
"""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch

from helpers.encodings import ALiBi, RoPE, extension, positions
from helpers.encodings.alibi import alibi_bias, alibi_slopes
from helpers.encodings.axial import AxialRoPE, MRoPE
from helpers.encodings.cope import cope_positions
from helpers.encodings.fire import fire_input
from helpers.encodings.kerple import kerple_log, kerple_power
from helpers.encodings.learned import interpolate_table
from helpers.encodings.pope import PoPE, pope_frequencies, to_polar
from helpers.encodings.rope import rope_angles, rope_frequencies, rotate_pairs
from helpers.encodings.shaw import clipped_index, relative_logits, relative_values
from helpers.encodings.sinusoidal import (
    CONVENTIONS,
    Sinusoidal,
    dot_product_by_distance,
    shift_matrix,
    sinusoidal_frequencies,
    sinusoidal_table,
)
from helpers.encodings.t5 import t5_buckets
from helpers.encodings.xpos import XPos
from tests.notebook_code import FILES, definitions

WIDTHS, BASES = (2, 4, 6, 16, 64, 128), (10.0, 500.0, 10_000.0, 5e5)
POSITIONS = torch.tensor([0, 1, 2, 5, 63, 64, 511, 4096, 100_000])
same = functools.partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


@functools.cache
def notebook(number: str) -> dict:
    return definitions(number)


def get(number: str, name: str):
    """A function of a notebook; the test is skipped while the notebook is missing, and fails if the name is gone."""
    if number not in FILES:
        pytest.skip(f"notebook {number} is not there")
    space = notebook(number)
    assert name in space, f"notebook {number} defines no {name}; if it was renamed, rename it here"
    return space[name]


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------------- 02


@pytest.mark.parametrize(("d", "base"), list(itertools.product(WIDTHS, BASES)))
def test_sinusoidal_functions(d, base):
    same(get("02", "frequencies")(d, base), sinusoidal_frequencies(d, base))
    same(get("02", "table")(POSITIONS, d, base), sinusoidal_table(POSITIONS, d, base, dtype=torch.float64))
    same(get("02", "g")(POSITIONS, d, base), dot_product_by_distance(POSITIONS, d, base))
    for offset in (0, 1, -5, 37, 1000):
        same(get("02", "shift")(offset, d, base), shift_matrix(offset, d, base))


@pytest.mark.parametrize("d", [4, 16, 64])
def test_the_three_tables(d):
    tables = get("02", "three_tables")(POSITIONS, d)
    assert set(tables) == set(CONVENTIONS)
    for convention, found in tables.items():
        same(found, sinusoidal_table(POSITIONS, d, convention=convention, dtype=torch.float64))


@pytest.mark.parametrize(("d", "t"), [(8, 1), (32, 17), (64, 512)])
def test_the_sinusoidal_module(d, t):
    module, scheme = get("02", "PositionalEncoding")(d), Sinusoidal(d)
    x = torch.randn(3, t, d)
    pos = positions(t)
    torch.testing.assert_close(module.eval()(x), scheme.embed(x, scheme.prepare(pos, pos, None)))
    assert not list(module.parameters()) and not module.state_dict()


# ------------------------------------------------------------------------------------------------------- 03


@pytest.mark.parametrize(("rows", "length"), list(itertools.product((2, 3, 8, 64), (2, 3, 7, 64, 200))))
def test_interpolating_a_table(rows, length):
    table = vectors(rows, 5)
    found = get("03", "interpolate")(table, length)  # whose places come from a float32 linspace
    torch.testing.assert_close(found, interpolate_table(table, length), rtol=0, atol=1e-4)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (32, 48), (16, 64), (64, 1000), (8, 20)])
def test_t5_buckets_one_by_one(both, buckets, farthest):
    distance = torch.arange(-2 * farthest, 2 * farthest + 1)
    found = [get("03", "t5_bucket")(d, buckets, farthest, both) for d in distance.tolist()]
    assert found == t5_buckets(distance, buckets, farthest, both).tolist()


@pytest.mark.parametrize(("t", "k", "d"), [(1, 1, 4), (5, 2, 4), (9, 16, 6), (20, 3, 8)])
def test_shaw_functions(t, k, d):
    pos = torch.arange(t)
    index = clipped_index(pos[None] - pos[:, None], k)
    q, table, weights = vectors(t, d), vectors(2 * k + 1, d, seed=1), vectors(t, t, seed=2).softmax(-1)
    q, table, weights = q.float(), table.float(), weights.float()  # the notebook's own dtype
    same = functools.partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    logits = relative_logits(q[None, None], table[None], index[None])[0, 0]
    same(get("03", "shaw_logits")(q, table, index), logits)
    same(get("03", "shaw_logits")(q, table, index), torch.einsum("id,ijd->ij", q, table[index]))
    values = relative_values(weights[None, None], table[None], index[None])[0, 0]
    same(get("03", "shaw_values")(weights, table, index), values)
    same(get("03", "shaw_values")(weights, table, index), torch.einsum("ij,ijd->id", weights, table[index]))


# ------------------------------------------------------------------------------------------------------- 04


def angles(position_ids, d, base):
    angle = rope_angles(position_ids, rope_frequencies(d, base))
    return angle.cos(), angle.sin()


@pytest.mark.parametrize(("d", "base"), list(itertools.product(WIDTHS, BASES)))
def test_rope_in_both_layouts(d, base):
    x = vectors(len(POSITIONS), d)
    same(get("04", "frequencies")(d, base), rope_frequencies(d, base))
    for name, layout in (("rope", "interleaved"), ("rope_half", "half")):
        same(get("04", name)(x, POSITIONS, base), rotate_pairs(x, *angles(POSITIONS, d, base), layout))


@pytest.mark.parametrize("m", [0, 1, -3, 77])
def test_the_rotation_matrix(m):
    R, rope = get("04", "R"), get("04", "rope")
    x = vectors(1, 8)
    base = get("04", "base")
    same(x @ R(m, 8).T, rope(x, torch.tensor([m]), base))
    same(R(m, 8) @ R(-m, 8), torch.eye(8, dtype=torch.float64))


@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
def test_partial_rotation(fraction):
    x = vectors(1, 1, len(POSITIONS), 16)
    scheme = RoPE(16, base=get("04", "base"), rotary_fraction=fraction)
    pos = POSITIONS[None]
    expected, _ = scheme.rotate(x, x, scheme.prepare(pos, pos, None), 0)
    found = get("04", "partial_rope")(x[0, 0], POSITIONS, fraction)
    torch.testing.assert_close(found, expected[0, 0], rtol=0, atol=1e-6)  # helpers keep cos and sin in float32


def test_axial_rotation():
    rows, columns = torch.tensor([0, 0, 1, 3]), torch.tensor([0, 2, 1, 5])
    x = vectors(1, 1, 4, 16)
    scheme, pos = AxialRoPE(16, base=100.0), torch.stack([rows, columns], -1)[None]
    expected, _ = scheme.rotate(x, x, scheme.prepare(pos, pos, None), 0)
    torch.testing.assert_close(get("04", "axial_rope")(x[0, 0], rows, columns), expected[0, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("sections", [(16, 24, 24), (2, 3, 3), (1, 1, 2)])
def test_sections_for_three_axes(sections):
    d = 2 * sum(sections)
    ids = torch.tensor([[0, 0, 0], [1, 4, 2], [7, 0, 300]])
    x = vectors(1, 1, 3, d)
    scheme = MRoPE(d, sections)
    expected, _ = scheme.rotate(x, x, scheme.prepare(ids[None], ids[None], None), 0)
    torch.testing.assert_close(get("04", "mrope")(x[0, 0], ids, sections), expected[0, 0], rtol=0, atol=1e-5)


def test_xpos_logits():
    d, pos = 16, torch.arange(20)
    q, k = vectors(20, d), vectors(20, d, seed=1)
    mine = get("04", "xpos")(q, pos, 1) @ get("04", "xpos")(k, pos, -1).T
    scheme = XPos(d, layout="interleaved")
    a, b = scheme.rotate(q[None, None], k[None, None], scheme.prepare(pos[None], pos[None], None), 0)
    torch.testing.assert_close(mine, (a @ b.mT)[0, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("d", [1, 3, 16])
def test_polar_vectors(d):
    x, phase, base = vectors(len(POSITIONS), d), -1.3, get("04", "base")
    angle = POSITIONS.double()[:, None] * pope_frequencies(d, base)
    same(get("04", "pope")(x, POSITIONS), to_polar(x, angle.cos(), angle.sin()))
    same(get("04", "pope")(x, POSITIONS, phase), to_polar(x, (angle + phase).cos(), (angle + phase).sin()))
    scheme = PoPE(d, 1, base=base)
    q, _ = scheme.rotate(*[x[None, None]] * 2, scheme.prepare(POSITIONS[None], POSITIONS[None], None), 0)
    torch.testing.assert_close(q[0, 0], get("04", "pope")(x, POSITIONS), rtol=0, atol=1e-6)


# ------------------------------------------------------------------------------------------------------- 05


@pytest.mark.parametrize("n", range(1, 65))
def test_slopes_of_every_number_of_heads(n):
    assert get("05", "authors")(n) == pytest.approx(alibi_slopes(n).tolist(), rel=1e-12)
    if n & (n - 1) == 0:
        assert get("05", "formula")(n) == pytest.approx(alibi_slopes(n).tolist(), rel=1e-12)
    else:
        assert get("05", "formula")(n) != pytest.approx(alibi_slopes(n).tolist(), rel=1e-3)


@pytest.mark.parametrize(("t", "n"), [(1, 1), (7, 3), (65, 8)])
def test_the_bias_matrix(t, n):
    mine = get("05", "alibi_bias")(t, alibi_slopes(n))
    pos = positions(t)
    torch.testing.assert_close(mine.float(), alibi_bias(pos, pos, alibi_slopes(n))[0])
    torch.testing.assert_close(mine.float(), ALiBi(n).prepare(pos, pos, None)[0])


@pytest.mark.parametrize(("r1", "r2"), [(0.5, 0.1), (1.9, 0.9), (0.01, 2.0)])
def test_kernels(r1, r2):
    distance = torch.arange(1, 300).double()[None]
    a, b = (torch.tensor(r, dtype=torch.float64).view(1, 1, 1) for r in (r1, r2))
    for name, ours in (("kerple_log", kerple_log), ("kerple_power", kerple_power)):
        same(get("05", name)(distance, r1, r2), ours(distance, a, b)[0])


def test_fire_s_share_and_cope_s_counts():
    i, j = torch.arange(40)[:, None], torch.arange(40)[None]
    share = get("05", "fire_share")(i, j, 0.1, 16.0)
    ours = fire_input(positions(40), positions(40), 0.1, 16.0)[0]
    past = j <= i
    torch.testing.assert_close(share[past], ours[past], rtol=0, atol=1e-6)
    space = notebook("05")
    if "lower" in space:  # the mask of the notebook's own length
        n = space["lower"].shape[-1]
        logits = vectors(n, n)
        allowed = torch.ones(1, 1, n, n, dtype=torch.bool).tril()
        counts = get("05", "count_back")(logits)
        # helpers clamp the count at the last row of their table
        expected = cope_positions(logits[None, None], allowed, n + 2)[0, 0]
        torch.testing.assert_close(counts.tril(), expected.tril().to(counts.dtype), rtol=0, atol=1e-6)


# ------------------------------------------------------------------------------------------------------- 06


@pytest.mark.parametrize(
    ("d", "base", "s"), list(itertools.product((4, 16, 64, 128), (1e4, 5e5), (1.0, 2.0, 8.0, 16.0)))
)
def test_rules_of_extension(d, base, s):
    length = 4096
    theta = rope_frequencies(d, base)
    same(get("06", "frequencies")(d, base), theta)
    rule = functools.partial(extension.extend, head_dim=d, base=base, factor=s, original_max_position_embeddings=length)
    same(get("06", "position_interpolation")(theta, s), rule("pi").inv_freq)
    same(get("06", "ntk_aware")(d, base, s), rule("ntk").inv_freq)
    same(get("06", "by_parts")(theta, s, length), rule("ntk_by_parts").inv_freq)
    same(get("06", "yarn_according_to_many_pages")(base, s, d), base * s ** (d / (d - 2)))
    for ramp in ("code", "paper"):
        keep = get("06", f"{ramp}_ramp")(d, base, length)
        blended = keep * theta + (1 - keep) * theta / s
        same(blended, rule("yarn", ramp=ramp).inv_freq)


@pytest.mark.parametrize(("s", "length"), list(itertools.product((1.0, 2.0, 8.0), (64, 65, 128, 512))))
def test_the_released_dynamic_rule(s, length):
    scale = get("06", "released")(s, length, 64)
    expected = rope_frequencies(16, 1e4 * scale ** (16 / 14))
    found = extension.extend("dynamic_ntk", 16, 1e4, s, 64, length).inv_freq
    same(found, expected)
    assert math.isclose(get("06", "released")(2, 128, 64), 3)
