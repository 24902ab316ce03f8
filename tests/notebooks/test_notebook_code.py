"""What readers see is what is tested: every definition of the notebooks, over grids and bad corners.

The functions are taken out of the notebooks' cells (nothing is trained or drawn) and called with many more arguments
than the notebook itself uses. They are compared with helpers or with PyTorch, NumPy and transformers, and those that a
published mistake concerns run through the very checks of test_mistakes.py. helpers, in turn, is compared with
independent packages in tests/encodings; the folded solutions of the exercises run in test_exercises.py.

``covers`` declares which definitions a test is about, and fails a test that never runs one of them. What no test covers
stands in ``EXEMPT`` with its reason: nothing a notebook defines is forgotten.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import corpus, race
from helpers.encodings import ALiBi, RoPE, build, extension, positions
from helpers.encodings.alibi import alibi_bias, alibi_slopes
from helpers.encodings.axial import AxialRoPE, MRoPE
from helpers.encodings.cope import cope_positions
from helpers.encodings.fire import fire_input
from helpers.encodings.kerple import kerple_log
from helpers.encodings.learned import interpolate_table
from helpers.encodings.pope import PoPE, pope_frequencies, to_polar
from helpers.encodings.rope import layout_permutation, rope_angles, rope_frequencies, rotate_pairs
from helpers.encodings.sinusoidal import (
    Sinusoidal,
    dot_product_by_distance,
    shift_matrix,
    sinusoidal_frequencies,
    sinusoidal_table,
)
from helpers.encodings.t5 import t5_buckets
from helpers.encodings.xpos import XPos
from helpers.model import CausalLM, KVCache, causal_mask
from helpers.pretrained import vit
from tests.encodings.test_mistakes import MISTAKES
from tests.notebook_code import FILES, code, definitions, inventory

WIDTHS, BASES = (2, 4, 6, 16, 64, 128), (10.0, 500.0, 10_000.0, 5e5)
POSITIONS = torch.tensor([0, 1, 2, 5, 63, 64, 511, 4096, 100_000])
same = functools.partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)
close = functools.partial(torch.testing.assert_close, rtol=0, atol=1e-5)  # where one side computes in float32

COVERED: set[tuple[str, str]] = set()  # (notebook, name) of what tests run
RAN: set[tuple[str, str]] = set()  # what the test of this moment has run

MEASURES = "it measures or trains, and computes no encoding"
READS = "it reads recorded results, and computes no encoding"
EXEMPT = {  # (notebook, name) -> why no test runs it, and the cell whose assertion depends on it
    ("02", "average_attention"): (MEASURES, "attention-compute"),
    ("02", "where_am_i"): (MEASURES, "where-am-i"),
    ("03", "at_64"): (READS, "fits-better"),
    ("03", "complaint"): ("it shows an error message, and computes no encoding", "wall"),
}


@functools.cache
def notebook(number: str) -> dict:
    known = {"text": corpus.excerpt()} if number == "04" else {}  # the default arguments of loss_at
    return definitions(number, **known)


def covers(number: str, *names: str):
    """Declare which definitions of a notebook a test is about; the test fails if it leaves one of them idle."""

    def register(test):
        COVERED.update((number, name) for name in names)

        @functools.wraps(test)
        def run(*args, **kwargs):
            RAN.clear()
            test(*args, **kwargs)
            idle = {(number, name) for name in names} - RAN
            assert not idle, f"declared, and never run: {sorted(idle)}"

        return run

    return register


def get(number: str, name: str):
    """A function or class of a notebook, which notes that it is run; the test fails if the name is gone."""
    space = notebook(number)
    assert name in space, f"notebook {number} defines no {name}; if it was renamed, rename it here"
    found = space[name]
    assert callable(found), f"notebook {number} has rebound {name} to {found!r}"
    assert (number, name) in COVERED, f"declare it: @covers({number!r}, {name!r})"
    if inspect.isclass(found):
        RAN.add((number, name))
        return found

    @functools.wraps(found)
    def run(*args, **kwargs):
        RAN.add((number, name))
        return found(*args, **kwargs)

    return run


@pytest.fixture
def bind(monkeypatch):
    """Give names that a notebook's functions read from its cells: bind("04", q=..., k=...)."""

    def give(number: str, **names):
        for name, value in names.items():
            monkeypatch.setitem(notebook(number), name, value)

    return give


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def integers(high: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def sdpa(q, k, v, mask=None, scale=None) -> torch.Tensor:
    """PyTorch's attention of (T, d) matrices, NumPy's or its own."""
    q, k, v = (torch.as_tensor(x)[None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)[0]


def sharp(model, seed: int = 0):
    """The model with larger random weights than the defaults, so that its attention is far from uniform."""
    torch.manual_seed(seed)
    for p in model.parameters():
        nn.init.normal_(p, std=0.4)
    return model.eval()


# ------------------------------------------------------------------------------------------------ nothing is left out


@pytest.mark.parametrize("number", FILES)
def test_every_definition_is_tested_or_has_its_reason(number):
    defined = {(number, name) for name in inventory(number)}
    declared, exempt = ({pair for pair in table if pair[0] == number} for table in (COVERED, EXEMPT))
    assert not defined - declared - exempt, "new in the notebook: test it here, or put it into EXEMPT"
    assert not (declared | exempt) - defined, "gone from the notebook"
    assert not declared & exempt, "tested, so it needs no exemption"


@pytest.mark.parametrize(("number", "name"), EXEMPT)
def test_what_is_exempt_stands_behind_an_assertion(number, name):
    _, where = EXEMPT[number, name]
    source = next((cell["source"] for cell in code(number) if cell["id"] == where), "")
    assert f"{name}(" in source.replace(f"def {name}(", "") or f"({name})" in source, f"{where} does not use {name}"
    assert "assert " in source


def test_a_test_that_runs_nothing_is_caught():
    with pytest.raises(AssertionError, match="never run"):
        covers("04", "rope")(lambda: get("04", "rope"))()  # looked up, and not called
    covers("04", "rope")(lambda: get("04", "rope")(vectors(1, 2), torch.tensor([3])))()


# ------------------------------------------------------------------------------------------------------- 01


@covers("01", "softmax")
def test_softmax():
    z = vectors(3, 4, 7).numpy()
    z[0, 0, :3], z[1, 1, :] = -np.inf, 1e4
    same(torch.from_numpy(get("01", "softmax")(z)), torch.from_numpy(z).softmax(-1))


@covers("01", "logits", "attention", "one_causal", "two_causal")
@pytest.mark.parametrize(("t", "width"), [(1, 4), (5, 8), (9, 3)])
def test_attention_is_pytorch_s(t, width, bind):
    first, second = ([w.numpy() for w in vectors(3, width, width, seed=seed)] for seed in (1, 2))
    X = vectors(t, width).numpy()
    mask = torch.ones(t, t, dtype=torch.bool).tril()
    bind("01", W=first, W_next=second)

    def theirs(x, w, mask=None):
        return sdpa(x @ w[0], x @ w[1], x @ w[2], mask).numpy()

    attention = get("01", "attention")
    np.testing.assert_allclose(attention(X, first), theirs(X, first), atol=1e-12)
    np.testing.assert_allclose(attention(X, first, mask.numpy()), theirs(X, first, mask), atol=1e-12)
    weights = sdpa(X @ first[0], X @ first[1], np.eye(t)).numpy()
    ours = torch.from_numpy(get("01", "logits")(X, first)).softmax(-1).numpy()
    np.testing.assert_allclose(ours, weights, atol=1e-12)
    one = theirs(X, first, mask)
    np.testing.assert_allclose(get("01", "one_causal")(X), one, atol=1e-12)
    np.testing.assert_allclose(get("01", "two_causal")(X), theirs(X + one, second, mask), atol=1e-12)


@covers("01", "gaps", "verdict")
@pytest.mark.parametrize(
    ("f", "equivariant", "invariant"),
    [
        (np.tanh, True, False),
        (lambda x: x.mean(0), None, True),
        (lambda x: x.sum(0) + 0 * x, True, True),
        (lambda x: x.cumsum(0), False, False),
        (lambda x: x[0], None, False),
        (lambda x: np.tanh(x) + np.eye(5)[:, :1], False, False),
    ],
    ids=["each row alone", "mean", "sum in every row", "running sum", "first row", "a mark on one row"],
)
def test_gaps_of_functions_whose_symmetry_is_known(f, equivariant, invariant):
    moved, still = get("01", "gaps")(f, vectors(5, 3).numpy(), [[1, 0, 2, 3, 4], [4, 3, 2, 1, 0]])
    word = "invariant" if invariant else "equivariant" if equivariant else "neither"
    assert get("01", "verdict")(moved, still) == word
    assert (None if moved is None else moved < 1e-12) == equivariant
    assert (still < 1e-12) == invariant


@covers("01", "rnn")
@pytest.mark.parametrize("t", [1, 2, 9])
def test_rnn_is_pytorch_s(t):
    U, V, X = vectors(2, 6), vectors(2, 2, seed=1), vectors(t, 6, seed=2)
    theirs = nn.RNN(6, 2, bias=False, batch_first=True, dtype=torch.float64)
    theirs.weight_ih_l0.data, theirs.weight_hh_l0.data = U, V
    state = torch.from_numpy(get("01", "rnn")(X.numpy(), U.numpy(), V.numpy()))
    same(state, theirs(X[None])[0][0, -1].detach())


@covers("01", "probe", "r_squared")
def test_the_probe_is_least_squares():
    n, t, d = 10, 7, 3
    states = vectors(n, t, d).float() + 0.2 * torch.arange(t)[None, :, None]  # some position, and noise
    rows = np.concatenate([states.double().numpy(), np.ones((n, t, 1))], -1)
    fit, test = rows[: n // 2].reshape(-1, d + 1), rows[n // 2 :]
    solution, *_ = np.linalg.lstsq(fit, np.tile(np.arange(t), n // 2), rcond=None)
    predicted = get("01", "probe")(states)
    np.testing.assert_allclose(predicted, test @ solution, atol=1e-8)
    wrong, total = (np.square(np.asarray(p) - np.arange(t)).mean() for p in (predicted, np.full(t, (t - 1) / 2)))
    assert get("01", "r_squared")(predicted) == pytest.approx(1 - wrong / total, rel=1e-9)


@covers("01", "Ramp", "Everywhere")
@pytest.mark.parametrize(("batch", "t", "offset"), [(1, 1, 0), (3, 7, 0), (2, 5, 1000)])
def test_encodings_of_five_lines(batch, t, offset):
    x, pos = vectors(batch, t, 6), positions(t, offset)
    ramp = torch.arange(offset, offset + t) / 16
    for name, channels in (("Ramp", 1), ("Everywhere", 6)):
        scheme = get("01", name)()
        found = scheme.embed(x, scheme.prepare(pos, pos, None))
        for b, i in itertools.product(range(batch), range(t)):
            kept = x[b, i, :channels] if name == "Everywhere" else 0  # Ramp takes a channel, Everywhere adds to all
            same(found[b, i, :channels], (ramp[i] + kept + torch.zeros(channels)).double())
            same(found[b, i, channels:], x[b, i, channels:])


# ------------------------------------------------------------------------------------------------------- 02


@covers("02", "frequencies", "table", "g", "shift")
@pytest.mark.parametrize(("d", "base"), list(itertools.product(WIDTHS, BASES)))
def test_sinusoidal_functions(d, base):
    same(get("02", "frequencies")(d, base), sinusoidal_frequencies(d, base))
    same(get("02", "table")(POSITIONS, d, base), sinusoidal_table(POSITIONS, d, base, dtype=torch.float64))
    for k in (POSITIONS, POSITIONS.view(3, 3), POSITIONS[3]):  # any shape
        same(get("02", "g")(k, d, base), dot_product_by_distance(k, d, base))
    for offset in (0, 1, -5, 37, 1000):
        same(get("02", "shift")(offset, d, base), shift_matrix(offset, d, base))


@covers("02", "PositionalEncoding")
@pytest.mark.parametrize(("d", "t"), [(8, 1), (32, 17), (64, 512)])
def test_the_sinusoidal_module(d, t):
    module, scheme = get("02", "PositionalEncoding")(d), Sinusoidal(d)
    x = torch.randn(3, t, d)
    pos = positions(t)
    torch.testing.assert_close(module.eval()(x), scheme.embed(x, scheme.prepare(pos, pos, None)))
    assert not list(module.parameters()) and not module.state_dict()
    with pytest.raises(RuntimeError):  # its buffer ends
        module(torch.randn(3, 513, d))


@covers("02", "first_rise")
@pytest.mark.parametrize("d", [8, 32, 64, 96, 128])
def test_first_rise(d):
    values = dot_product_by_distance(torch.arange(513), d).tolist()
    assert get("02", "first_rise")(d) == next(k for k in range(512) if values[k + 1] > values[k])


@covers("02", "four_terms")
@pytest.mark.parametrize("shape", [(5, 4), (2, 7, 6)])
def test_four_terms_add_up_to_the_logits(shape):
    x, p, W_Q, W_K = vectors(*shape), vectors(*shape, seed=1), vectors(3, shape[-1], seed=2), vectors(3, shape[-1])
    terms = get("02", "four_terms")(x, p, W_Q, W_K)
    queries, keys = (x + p) @ W_Q.T, (x + p) @ W_K.T
    same(sum(terms.values()), torch.einsum("...id,...jd->...ij", queries, keys))
    assert list(terms) == ["word-word", "word-position", "position-word", "position-position"]
    same(terms["word-position"], torch.einsum("...id,...jd->...ij", x @ W_Q.T, p @ W_K.T))
    assert not get("02", "four_terms")(x, 0 * p, W_Q, W_K)["position-word"].any()


@covers("02", "split_norm")
def test_a_norm_of_a_sum_in_two_parts():
    norm = sharp(nn.LayerNorm(6))
    x, p = vectors(2, 5, 6).float(), vectors(5, 6, seed=1).float()
    of_x, of_p = get("02", "split_norm")(norm, x, p)
    close(of_x + of_p, norm(x + p))
    close(get("02", "split_norm")(norm, x, 0 * p)[0], norm(x))
    assert not get("02", "split_norm")(norm, x, 0 * p)[1].any()


@covers("02", "learn")
@pytest.mark.parametrize("steps", [1, 3])
def test_the_head_learns_by_gradient_descent(steps, bind):
    bind("02", d_model=64)
    rows, W = sinusoidal_table(torch.arange(20), 64), torch.zeros(64, 64, requires_grad=True)
    future = torch.ones(20, 20, dtype=torch.bool).triu(1)
    for _ in range(steps):
        weights = (rows @ W @ rows.T).masked_fill(future, -math.inf).softmax(-1)
        (gradient,) = torch.autograd.grad(-weights.diagonal(-1).log().mean(), W)
        W = (W - 0.2 * gradient).detach().requires_grad_()
    close(get("02", "learn")(lambda: rows, steps, "sgd", 0.2), W.detach())


@covers("02", "by_distance")
@pytest.mark.parametrize("queries", [slice(32, 64), slice(192, 256)])
def test_weight_by_distance(queries):
    weights = vectors(3, 256, 256)
    found = get("02", "by_distance")(weights, queries)
    assert found.shape == (3, 32)
    equal = sum(1 / (i + 1) for i in range(queries.start, queries.stop)) / (queries.stop - queries.start)
    for head, k in itertools.product(range(3), range(32)):
        here = [weights[head, i, i - k] for i in range(queries.start, queries.stop)]
        torch.testing.assert_close(found[head, k], torch.stack(here).mean() / equal, rtol=1e-5, atol=1e-6)


@covers("02", "read_back")
@pytest.mark.parametrize("scale", [0.1, 0.7, 3.0])
def test_reading_words_back(scale, bind):
    vocabulary, rows, reader = vectors(40, 8), vectors(12, 8, seed=1), vectors(8, 8, seed=2)
    said, places = integers(40, 60), integers(12, 60, seed=1)
    bind("02", vocabulary=vocabulary, all_rows=rows, said=said, places=places)
    right = 0
    for word, place in zip(said.tolist(), places.tolist(), strict=True):
        h = (scale * vocabulary[word] + rows[place]) @ reader
        right += int((h - scale * vocabulary @ reader).square().sum(1).argmin()) == word
    assert get("02", "read_back")(scale, reader) == pytest.approx(right / 60)
    assert get("02", "read_back")(1e6, torch.eye(8).double()) == 1  # positions too small to matter


@covers("02", "Layer")
@pytest.mark.parametrize(("d", "n_heads", "t"), [(8, 1, 1), (16, 4, 9), (64, 4, 33)])
def test_the_layer_with_positions_is_pytorch_s(d, n_heads, t):
    torch.manual_seed(0)
    x = torch.randn(2, t, d)
    h = x + sinusoidal_table(torch.arange(t), d)
    for keep in (True, False):
        layer = sharp(get("02", "Layer")(d, n_heads, keep=keep))
        theirs = nn.TransformerEncoderLayer(d, n_heads, 4 * d, dropout=0.0, activation="gelu", batch_first=True)
        for mine, part in (
            (layer.norm1, theirs.norm1), (layer.norm2, theirs.norm2),
            (layer.mlp[0], theirs.linear1), (layer.mlp[2], theirs.linear2),
        ):  # fmt: skip
            part.load_state_dict(mine.state_dict())
        theirs.self_attn.in_proj_weight, theirs.self_attn.in_proj_bias = layer.attention.in_proj_weight, None
        theirs.self_attn.out_proj.weight, theirs.self_attn.out_proj.bias = layer.attention.out_proj.weight, None
        if keep:
            close(layer(x), theirs(h))
        else:  # the bug: attention reads h, and the residual carries x
            middle = theirs.norm1(x + theirs.self_attn(h, h, h)[0])
            close(layer(x), theirs.norm2(middle + theirs.linear2(F.gelu(theirs.linear1(middle)))))
            assert (layer(x) - theirs(h)).abs().max() > 0.1


# ------------------------------------------------------------------------------------------------------- 03


@covers("03", "interpolate")
@pytest.mark.parametrize(("rows", "length"), list(itertools.product((2, 3, 8, 64), (2, 3, 7, 64, 200))))
def test_interpolating_a_table(rows, length):
    table = vectors(rows, 5)
    found = get("03", "interpolate")(table, length)  # whose places come from a float32 linspace
    torch.testing.assert_close(found, interpolate_table(table, length), rtol=0, atol=1e-4)


@covers("03", "t5_bucket")
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (32, 48), (16, 64), (64, 1000), (8, 20)])
def test_t5_buckets_one_by_one(both, buckets, farthest):
    distance = torch.arange(-2 * farthest, 2 * farthest + 1)
    found = [get("03", "t5_bucket")(d, buckets, farthest, both) for d in distance.tolist()]
    assert found == t5_buckets(distance, buckets, farthest, both).tolist()
    if (buckets, farthest) == (32, 128):  # what T5 has, and both sides' default
        assert [get("03", "t5_bucket")(d, both_directions=both) for d in distance.tolist()] == found


@covers("03", "components")
@pytest.mark.parametrize(("n", "d"), [(20, 5), (6, 6), (100, 12)])
def test_principal_components(n, d):
    rows = (vectors(n, d) @ vectors(d, d, seed=1) + 7).numpy()
    values, directions = np.linalg.eigh(np.cov(rows.T))
    values, directions = values[::-1], directions[:, ::-1]
    found = get("03", "components")(rows)
    expected = (rows - rows.mean(0)) @ directions
    k = min(n - 1, d)  # n centered rows span n - 1 directions
    np.testing.assert_allclose(np.abs(found[:, :k]), np.abs(expected[:, :k]), atol=1e-8)


@covers("03", "spectrum")
@pytest.mark.parametrize(("n", "period"), [(508, 16), (508, 64), (300, 8)])
def test_power_by_period(n, period):
    at, rows = np.arange(n), np.zeros((n, 3))
    rows[:, 1], rows[:, 2] = np.cos(2 * np.pi * at / period) + 5, 2 * np.sin(2 * np.pi * at / period)
    found = get("03", "spectrum")(rows)
    assert found.shape == (2048,) and found.argmax() + 1 == 4096 // period  # entry f - 1 is frequency f / 4096
    faded = (rows - rows.mean(0)) * (np.sin(np.pi * at / (n - 1)) ** 2)[:, None]  # a Hann window
    turns = np.exp(-2j * np.pi * np.outer(np.arange(1, 2049), at) / 4096)
    np.testing.assert_allclose(found, np.square(np.abs(turns @ faded)).sum(1), rtol=1e-6, atol=1e-6)


@covers("03", "similarity")
def test_similarity_of_rows():
    rows = vectors(9, 5) + 3
    centered = rows - rows.mean(0)
    same(get("03", "similarity")(rows), F.cosine_similarity(centered[:, None], centered[None], dim=-1))


@covers("03", "additive_share")
@pytest.mark.parametrize(("r", "c", "d"), [(2, 3, 4), (7, 5, 9), (20, 20, 3)])
def test_additive_share_is_two_way_least_squares(r, c, d):
    grid = vectors(r, c, d) + vectors(r, 1, d, seed=1) + vectors(1, c, d, seed=2)
    dummies = np.concatenate([np.repeat(np.eye(r), c, 0), np.tile(np.eye(c), (r, 1))], 1)  # who is in which row, column
    flat = grid.flatten(0, 1).numpy()
    fitted = dummies @ np.linalg.lstsq(dummies, flat, rcond=None)[0]
    expected = 1 - np.square(flat - fitted).sum() / np.square(flat - flat.mean(0)).sum()
    assert get("03", "additive_share")(grid) == pytest.approx(expected, rel=1e-9)
    assert get("03", "additive_share")(grid) == pytest.approx(vit.additive_share(grid), rel=1e-6)


@covers("03", "position_part")
@pytest.mark.parametrize("t", [1, 6])
def test_what_a_scheme_adds(t):
    q, k, pos = vectors(1, 4, t, 16).float(), vectors(1, 4, t, 16, seed=1).float(), positions(t)
    part = get("03", "position_part")
    torch.testing.assert_close(part("alibi", q, k), alibi_bias(pos, pos, alibi_slopes(4)))
    t5 = part("t5", q, k)
    assert t == 1 or torch.equal(t5[..., 1:, 1:], t5[..., :-1, :-1]) and t5.std() > 0  # a number a distance
    torch.testing.assert_close(part("deberta", 2 * q, 2 * k), 2 * part("deberta", q, k))  # linear in the words,
    assert part("deberta", q, k).abs().max() > 0  # and not nothing


# ------------------------------------------------------------------------------------------------------- 04


def angles(position_ids, d, base):
    angle = rope_angles(position_ids, rope_frequencies(d, base))
    return angle.cos(), angle.sin()


@covers("04", "frequencies", "rope", "rope_half", "rope_complex", "rotate_half")
@pytest.mark.parametrize(("d", "base"), list(itertools.product(WIDTHS, BASES)))
def test_rope_in_both_layouts(d, base):
    x = vectors(len(POSITIONS), d)
    same(get("04", "frequencies")(d, base), rope_frequencies(d, base))
    first, second = x.chunk(2, -1)
    same(get("04", "rotate_half")(x), torch.cat([-second, first], -1))
    for name, layout in (("rope", "interleaved"), ("rope_half", "half"), ("rope_complex", "interleaved")):
        same(get("04", name)(x, POSITIONS, base), rotate_pairs(x, *angles(POSITIONS, d, base), layout))


@covers("04", "R")
@pytest.mark.parametrize("m", [0, 1, -3, 77])
def test_the_rotation_matrix(m):
    R, rope = get("04", "R"), get("04", "rope")
    x = vectors(1, 8)
    base = notebook("04")["base"]
    same(x @ R(m, 8).T, rope(x, torch.tensor([m]), base))
    same(R(m, 8) @ R(-m, 8), torch.eye(8, dtype=torch.float64))


@covers("04", "axial_rope")
def test_axial_rotation():
    rows, columns = torch.tensor([0, 0, 1, 3]), torch.tensor([0, 2, 1, 5])
    x = vectors(1, 1, 4, 16)
    scheme, pos = AxialRoPE(16, base=100.0), torch.stack([rows, columns], -1)[None]
    expected, _ = scheme.rotate(x, x, scheme.prepare(pos, pos, None), 0)
    torch.testing.assert_close(get("04", "axial_rope")(x[0, 0], rows, columns), expected[0, 0], rtol=0, atol=1e-6)


@covers("04", "mrope")
@pytest.mark.parametrize("sections", [(16, 24, 24), (2, 3, 3), (1, 1, 2)])
def test_sections_for_three_axes(sections):
    d = 2 * sum(sections)
    ids = torch.tensor([[0, 0, 0], [1, 4, 2], [7, 0, 300]])
    x = vectors(1, 1, 3, d)
    scheme = MRoPE(d, sections)
    expected, _ = scheme.rotate(x, x, scheme.prepare(ids[None], ids[None], None), 0)
    given = () if sections == (16, 24, 24) else (sections,)  # Qwen2-VL's are the default
    torch.testing.assert_close(get("04", "mrope")(x[0, 0], ids, *given), expected[0, 0], rtol=0, atol=1e-5)


@covers("04", "xpos")
def test_xpos_logits():
    d, pos = 16, torch.arange(20)
    q, k = vectors(20, d), vectors(20, d, seed=1)
    mine = get("04", "xpos")(q, pos, 1) @ get("04", "xpos")(k, pos, -1).T
    scheme = XPos(d, layout="interleaved")
    a, b = scheme.rotate(q[None, None], k[None, None], scheme.prepare(pos[None], pos[None], None), 0)
    torch.testing.assert_close(mine, (a @ b.mT)[0, 0], rtol=0, atol=1e-5)


@covers("04", "pope")
@pytest.mark.parametrize("d", [1, 3, 16])
def test_polar_vectors(d):
    x, phase, base = vectors(len(POSITIONS), d), -1.3, notebook("04")["base"]
    angle = POSITIONS.double()[:, None] * pope_frequencies(d, base)
    same(get("04", "pope")(x, POSITIONS), to_polar(x, angle.cos(), angle.sin()))
    same(get("04", "pope")(x, POSITIONS, phase), to_polar(x, (angle + phase).cos(), (angle + phase).sin()))
    scheme = PoPE(d, 1, base=base)
    q, _ = scheme.rotate(*[x[None, None]] * 2, scheme.prepare(POSITIONS[None], POSITIONS[None], None), 0)
    torch.testing.assert_close(q[0, 0], get("04", "pope")(x, POSITIONS), rtol=0, atol=1e-6)


@covers("04", "turn", "logit")
def test_one_pair_as_a_complex_number(bind):
    q, k, theta = 1.3 - 0.4j, -0.2 + 0.9j, 0.37
    bind("04", q=q, k=k, theta=theta)

    def pair(z, m):
        return rotate_pairs(torch.tensor([z.real, z.imag]).double(), *polar(m), "interleaved")

    def polar(m):
        return torch.tensor([m * theta]).double().cos(), torch.tensor([m * theta]).double().sin()

    for m, n in itertools.product((0, 1, -4, 200), (0, 3, 77)):
        turned = complex(get("04", "turn")(q, m))
        same(torch.tensor([turned.real, turned.imag]).double(), pair(q, m), rtol=0, atol=1e-6)
        assert get("04", "logit")(m, n) == pytest.approx(float(pair(q, m) @ pair(k, n)), abs=1e-6)


@covers("04", "last_token_looks")
@pytest.mark.parametrize("at", [None, 0, 1000])
def test_what_the_last_token_looks_at(at, bind):
    words, d = ["a", "b", "a", "c"], 8
    known, Wq, Wk = dict(zip("abc", vectors(3, d), strict=True)), vectors(d, d, seed=1), vectors(d, d, seed=2)
    bind("04", vectors=known, Wq=Wq, Wk=Wk, head_dim=d)
    x = torch.stack([known[word] for word in words])
    q, k, ids = x @ Wq.T, x @ Wk.T, None
    if at is not None:
        ids = torch.arange(4) + at
        q, k = (rotate_pairs(z, *angles(ids, d, notebook("04")["base"]), "interleaved") for z in (q, k))
    same(get("04", "last_token_looks")(words, ids), sdpa(q, k, torch.eye(4).double())[-1])


@covers("04", "attend")
@pytest.mark.parametrize("values_too", [False, True])
@pytest.mark.parametrize(("t", "d"), [(1, 2), (9, 16)])
def test_attention_with_rotation(t, d, values_too, bind):
    pos = torch.arange(t) + 5
    bind("04", head_dim=d)
    q, k, v = (vectors(t, d, seed=seed) for seed in range(3))
    a, b, c = (rotate_pairs(x, *angles(pos, d, notebook("04")["base"]), "interleaved") for x in (q, k, v))
    same(get("04", "attend")(q, k, v, pos, values_too), sdpa(a, b, c if values_too else v))


def text_model(name: str = "rope", seed: int = 0, **kwargs) -> CausalLM:
    """A sharp random language model over the characters of the course, for 64 of them."""
    encoding = build(name, d_model=32, n_heads=2, **kwargs)
    return sharp(CausalLM(len(corpus.ALPHABET), 32, 2, 2, encoding), seed)


@covers("04", "loss_at")
def test_loss_by_position():
    model, ids = text_model(), integers(9, 5, 8)
    inputs, targets = ids[:, :-1], ids[:, 1:]
    found = get("04", "loss_at")(model, inputs, targets, position_ids=3 * torch.arange(7)[None])
    with torch.no_grad():
        p = model(inputs, position_ids=3 * torch.arange(7)[None]).softmax(-1)
    expected = [-torch.stack([p[b, t, targets[b, t]].log() for b in range(5)]).mean() for t in range(7)]
    close(found, torch.stack(expected))
    known = corpus.excerpt()  # and without arguments the held-out characters: seat t predicts character t + 1
    torch.testing.assert_close(get("04", "loss_at")(model), get("04", "loss_at")(model, known[:, :-1], known[:, 1:]))


@covers("04", "sort_rows")
@pytest.mark.parametrize("kv", [None, 2, 1])
def test_sorting_rows_moves_a_model_between_layouts(kv):
    order, ids = layout_permutation(8), integers(11, 2, 20)
    for before, after, p in (("interleaved", "half", order), ("half", "interleaved", order.argsort())):
        model = sharp(CausalLM(11, 32, 4, 2, RoPE(8, layout=before), n_kv_heads=kv))
        with torch.no_grad():
            right = model(ids)
            model.encoding = RoPE(8, layout=after)
            assert (model(ids) - right).abs().max() > 0.1
            get("04", "sort_rows")(model, p)
            torch.testing.assert_close(model(ids), right, rtol=0, atol=1e-3)


@covers("04", "never_finish")
@pytest.mark.parametrize(("d", "base", "length"), [(16, 1e4, 64), (64, 500.0, 100), (128, 5e5, 8192), (8, 1e4, 6)])
def test_pairs_that_never_finish_a_turn(d, base, length):
    periods = 2 * math.pi / rope_frequencies(d, base)
    assert get("04", "never_finish")(d, base, length) == sum(period > length for period in periods.tolist())


@covers("04", "decay")
@pytest.mark.parametrize(("d", "base"), [(2, 10.0), (16, 1e4), (128, 5e5)])
def test_decay_is_the_logit_of_ones(d, base):
    ones = torch.ones(len(POSITIONS), d).double()
    logits = (rotate_pairs(ones, *angles(POSITIONS, d, base)) * ones).sum(-1)
    same(get("04", "decay")(POSITIONS, d, base), logits / d)


@covers("04", "distinct")
@pytest.mark.parametrize(("dtype", "bits"), [(torch.bfloat16, 8), (torch.float16, 11)])
@pytest.mark.parametrize("length", [1, 256, 257, 512, 4096])
def test_distinct_positions(length, dtype, bits):
    def rounded(n):  # to so many binary digits, ties to even
        step = 2 ** max(0, n.bit_length() - bits)
        return round(n / step) * step

    assert get("04", "distinct")(length, dtype) == len({rounded(n) for n in range(length)})


@covers("04", "Rotary", "error")
@pytest.mark.parametrize("position", [1, 4096])
def test_the_buffer_that_loses_its_digits(position):
    rotary, theta = get("04", "Rotary"), rope_frequencies(128)
    for module, dtype in ((rotary(128), torch.float32), (rotary(128).bfloat16(), torch.bfloat16)):
        assert torch.equal(module.inv_freq, theta.to(torch.float32).to(dtype))
        off = max(abs(position * (a - b)) for a, b in zip(module.inv_freq.tolist(), theta.tolist(), strict=True))
        assert get("04", "error")(module, position) == pytest.approx(off, rel=1e-9)


@covers("04", "change_when_moved", "turned")
def test_rounded_positions_break_the_relative_property_and_rounded_frequencies_do_not(bind):
    x, theta = vectors(5, 128), rope_frequencies(128)
    angle = 77 * theta
    expected = torch.view_as_complex(rotate_pairs(x, angle.cos(), angle.sin(), "interleaved").view(5, 64, 2))
    same(get("04", "turned")(x, torch.tensor(77.0), theta), expected)
    bind("04", pairs=torch.randn(2, 50, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    change = get("04", "change_when_moved")
    assert change(theta, torch.int64) < 1e-6 and change(theta.bfloat16().double(), torch.int64) < 1e-6
    assert change(theta, torch.bfloat16) > 1
    assert change(theta, torch.bfloat16, moves=(0,)) == 0 == change(0 * theta, torch.bfloat16)


@covers("04", "batch_matters")
@pytest.mark.parametrize("name", ["rope", "alibi", "sinusoidal"])
def test_batch_matters_if_the_mask_or_the_positions_are_wrong(name):
    model, ids, other = text_model(name), integers(20, 3, 9), integers(20, 3, 4, seed=1)
    batch = torch.cat([other, ids], 1)
    mask = torch.arange(13).expand(3, -1) >= 4
    right = (torch.arange(13) - 4).clamp(min=0)[None]
    matters = functools.partial(get("04", "batch_matters"), model, ids, batch, 4)
    assert not matters(attention_mask=mask, position_ids=right)
    assert matters(position_ids=right)  # no mask
    assert matters(attention_mask=mask) == (name == "sinusoidal")  # no positions: only an absolute scheme minds


@covers("04", "preferred_distance")
@pytest.mark.parametrize("back", [0, 1, 4, 19])
def test_a_phase_asks_for_a_distance(back, bind):
    bind("04", rng=torch.Generator().manual_seed(0))
    phase = back * pope_frequencies(16, notebook("04")["base"])
    assert [get("04", "preferred_distance")(phase) for _ in range(20)] == [back] * 20


@covers("04", "seen_from")
@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 1), (4, 3)])
def test_a_map_of_logits_is_that_of_helpers(row, column, bind):
    side, d = 5, 8
    q, keys = vectors(1, d), vectors(side * side, d, seed=1)
    grid = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    bind("04", patch=q, same_key=keys, side=side, rows=grid[:, 0], columns=grid[:, 1])
    scheme, here = AxialRoPE(d, base=100.0), torch.tensor([[[row, column]]])
    state = scheme.prepare(here, grid[None], None)
    a, b = scheme.rotate(q[None, None], keys[None, None], state, 0)
    close(get("04", "seen_from")(row, column), (a @ b.mT)[0, 0].view(side, side))


@covers("04", "xpos_logits")
@pytest.mark.parametrize("shift", [0, 900])
def test_logits_of_xpos_at_any_start(shift, bind):
    x = vectors(12, 16)
    bind("04", x=x)
    scheme, pos = XPos(16, layout="interleaved"), positions(12)
    a, b = scheme.rotate(x[None, None], x[None, None], scheme.prepare(pos, pos, None), 0)
    close(get("04", "xpos_logits")(shift), (a @ b.mT)[0, 0])


# ------------------------------------------------------------------------------------------------------- 05


@covers("05", "authors", "formula")
@pytest.mark.parametrize("n", range(1, 65))
def test_slopes_of_every_number_of_heads(n):
    assert get("05", "authors")(n) == pytest.approx(alibi_slopes(n).tolist(), rel=1e-12)
    if n & (n - 1) == 0:
        assert get("05", "formula")(n) == pytest.approx(alibi_slopes(n).tolist(), rel=1e-12)
    else:
        assert get("05", "formula")(n) != pytest.approx(alibi_slopes(n).tolist(), rel=1e-3)


@covers("05", "alibi_bias")
@pytest.mark.parametrize(("t", "n"), [(1, 1), (7, 3), (65, 8)])
def test_the_bias_matrix(t, n):
    mine = get("05", "alibi_bias")(t, alibi_slopes(n))
    pos = positions(t)
    torch.testing.assert_close(mine.float(), alibi_bias(pos, pos, alibi_slopes(n))[0])
    torch.testing.assert_close(mine.float(), ALiBi(n).prepare(pos, pos, None)[0])


@covers("05", "kerple_log")
@pytest.mark.parametrize(("r1", "r2"), [(0.5, 0.1), (1.9, 0.9), (0.01, 2.0)])
def test_kerple_s_logarithm(r1, r2):
    distance = torch.arange(1, 300).double()[None]
    a, b = (torch.tensor(r, dtype=torch.float64).view(1, 1, 1) for r in (r1, r2))
    same(get("05", "kerple_log")(distance, r1, r2), kerple_log(distance, a, b)[0])


@covers("05", "psi", "fire_share")
@pytest.mark.parametrize(("c", "threshold"), [(0.1, 16.0), (2.5, 1.0), (0.01, 100.0)])
def test_fire_s_share(c, threshold):
    i, j = torch.arange(40)[:, None], torch.arange(40)[None]
    past = j <= i
    ours = fire_input(positions(40), positions(40), c, threshold)[0]
    close(get("05", "fire_share")(i, j, c, threshold)[past], ours[past])
    same(get("05", "psi")(vectors(50).abs(), c), torch.log1p(c * vectors(50).abs()))


@covers("05", "count_back")
@pytest.mark.parametrize("n", [1, 2, 30])
def test_cope_s_counts(n, bind):
    allowed = torch.ones(1, 1, n, n, dtype=torch.bool).tril()
    bind("05", lower=allowed[0, 0].double())
    logits = 3 * vectors(n, n)
    # helpers clamp the count at the last row of their table: give it more rows than there are tokens
    same(get("05", "count_back")(logits), cope_positions(logits[None, None], allowed, n + 2)[0, 0])


@covers("05", "read")
@pytest.mark.parametrize(("length", "count"), [(8, None), (64, None), (64, 8), (64, 1), (4, 2)])
def test_reading_scores_the_same_targets_at_any_length(length, count, bind):
    """A model that knows the last character only has one loss, whatever the windows, if every target counts once."""
    text, table = integers(9, 400), vectors(9, 9).float()
    bind("05", text=text)
    logits, targets = table[text[128 : 128 + 192]], text[129 : 129 + 192]
    found = get("05", "read")(lambda ids: table[ids], length, count, first=128, n_targets=192)
    assert found == pytest.approx(F.cross_entropy(logits, targets).item(), abs=1e-5)

    windows = []

    def counting(ids):  # surer of character 0 the more it has seen: the score tells which seats of a window count
        windows.append(ids)
        return torch.arange(1.0, length + 1)[:, None] * F.one_hot(torch.tensor(0), 9).expand(*ids.shape, 9)

    bind("05", text=torch.zeros(400, dtype=torch.long))
    seen = range(length - (count or length) + 1, length + 1)
    expected = sum(math.log(math.exp(n) + 8) - n for n in seen) / len(seen)
    assert get("05", "read")(counting, length, count, first=128, n_targets=192) == pytest.approx(expected, abs=1e-6)
    assert {ids.shape[1] for ids in windows} == {length}


@covers("05", "attention_weights")
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("t", [1, 9])
def test_weights_with_a_bias_are_pytorch_s(t, causal):
    heads = 3
    q, k = vectors(1, heads, t, 16), vectors(1, heads, t, 16, seed=1)
    bias = vectors(heads, t, t, seed=2)
    mask = bias.masked_fill(~causal_mask(t, t)[0], -math.inf) if causal else bias
    theirs = F.scaled_dot_product_attention(q, k, torch.eye(t).double().expand(1, heads, t, t), attn_mask=mask)
    same(get("05", "attention_weights")(q, k, bias, causal), theirs)


@covers("05", "bias_of")
@pytest.mark.parametrize("scheme", ["alibi", "sandwich", "window", "kerple", "t5", "fire"])
def test_the_bias_in_the_gallery_is_what_a_layer_adds(scheme):
    t = 96
    learned = scheme in ("kerple", "t5", "fire")
    model = race.load_model(scheme, 0) if learned else CausalLM(9, encoding=build(scheme, train_len=64))
    bias, seen = model.encoding.bias, []
    model.encoding.bias = lambda *args: seen.append(bias(*args)) or seen[-1]  # listen at door 3
    with torch.no_grad():
        model(integers(9, 1, t))
    expected = seen[0].expand(1, 4, t, t)[0].masked_fill(~causal_mask(t, t)[0], -math.inf)
    torch.testing.assert_close(get("05", "bias_of")(scheme, t), expected, rtol=0, atol=1e-5)


@covers("05", "felt")
@pytest.mark.parametrize(("layers", "window"), [(1, 4), (3, 4), (2, 1), (2, 6)])
def test_how_far_a_stack_of_windows_feels(layers, window, bind):
    model = sharp(CausalLM(11, n_layers=layers, encoding=build("window", window=window))).double()
    bind("05", stack=model, ids=integers(11, 1, 24))
    assert [get("05", "felt")(back) for back in range(24)] == [back <= layers * (window - 1) for back in range(24)]


# ------------------------------------------------------------------------------------------------------- 06


@covers("06", "frequencies", "position_interpolation", "ntk_aware", "by_parts")
@covers("06", "yarn_according_to_many_pages")
@pytest.mark.parametrize(
    ("d", "base", "s"), list(itertools.product((4, 16, 64, 128), (1e4, 5e5), (1.0, 2.0, 8.0, 16.0)))
)
def test_rules_of_extension(d, base, s):
    length = 4096
    theta = rope_frequencies(d, base)
    same(get("06", "frequencies")(d, base), theta)
    same(get("06", "frequencies")(d), rope_frequencies(d))
    rule = functools.partial(extension.extend, head_dim=d, base=base, factor=s, original_max_position_embeddings=length)
    same(get("06", "position_interpolation")(theta, s), rule("pi").inv_freq)
    same(get("06", "ntk_aware")(d, base, s), rule("ntk").inv_freq)
    same(get("06", "by_parts")(theta, s, length), rule("ntk_by_parts").inv_freq)
    same(get("06", "yarn_according_to_many_pages")(base, s, d), base * s ** (d / (d - 2)))
    for n in (64, 2048, 4096, 8192):
        same(get("06", "by_parts")(theta, s, n), extension.extend("yarn", d, base, s, n, ramp="paper").inv_freq)


@covers("06", "between")
def test_a_range_is_lowest_to_highest():
    between = get("06", "between")
    assert between([0.456, -0.001, 0.2]) == "0.00 to 0.46" and between([0.52, 0.853], 0, 100) == "52 to 85"


@covers("06", "released")
@pytest.mark.parametrize(("s", "length"), list(itertools.product((1.0, 2.0, 8.0), (64, 65, 128, 512))))
def test_the_released_dynamic_rule(s, length):
    scale = get("06", "released")(s, length, 64)
    expected = rope_frequencies(16, 1e4 * scale ** (16 / 14))
    found = extension.extend("dynamic_ntk", 16, 1e4, s, 64, length).inv_freq
    same(found, expected)
    assert math.isclose(get("06", "released")(2, 128, 64), 3)


@covers("06", "at_length", "rotated")
@pytest.mark.parametrize("length", [1, 64, 65, 256, 1000])
def test_dynamic_frequencies_as_the_paper_has_them(length, bind):
    bind("06", trained=64)
    theta = extension.extend("dynamic_ntk", 16, 1e4, 1.0, 64, length).inv_freq
    same(get("06", "at_length")(length), theta)
    x = vectors(16)
    angle = rope_angles(torch.tensor(37), theta)
    same(get("06", "rotated")(x, 37, theta), rotate_pairs(x, angle.cos(), angle.sin(), "half"))


@covers("06", "turn")
@pytest.mark.parametrize("by", [1.0, 1.2773])
def test_the_temperature_in_cosine_and_sine(by, bind):
    rule = extension.extend("yarn", 16, 1e4, 16.0, 64)
    x, pos = vectors(1, 1, 9, 16), positions(9)
    bind("06", angles=rope_angles(pos[0], rule.inv_freq))
    scheme = RoPE(16, inv_freq=rule.inv_freq, attention_factor=by)
    given = () if by == 1 else (by,)
    close(get("06", "turn")(x, *given)[0, 0], scheme.rotate(x, x, scheme.prepare(pos, pos, None), 0)[0][0, 0])


@covers("06", "drift", "with_dynamic_ntk")
@pytest.mark.parametrize("after_rotation", [True, False])
def test_drift_of_a_stale_cache(after_rotation):
    ids, floor = integers(11, 2, 128), pytest.approx(3e-7)
    model = sharp(CausalLM(11, 32, 2, 1, RoPE(16)))
    drift = functools.partial(get("06", "drift"), ids=ids, after_rotation=after_rotation)
    assert drift(model) == dict.fromkeys((64, 128), floor)  # fixed frequencies: no cache is stale
    changing = get("06", "with_dynamic_ntk")(model)
    assert changing.encoding.original_max_position_embeddings == 64 and not changing.training
    found = drift(changing)
    assert found[64] == floor
    if after_rotation:
        with torch.no_grad():  # step by step by hand, at the last token
            cache = KVCache(after_rotation=True)
            for t in range(128):
                step = changing(ids[:, t : t + 1], cache=cache)[:, -1]
            whole = changing(ids)[:, -1]
        divergence = F.kl_div(step.log_softmax(-1), whole.log_softmax(-1), log_target=True, reduction="batchmean")
        assert found[128] == pytest.approx(divergence.item(), rel=1e-3) and found[128] > 1e-3
    else:
        assert found[128] == floor  # one layer: keys before rotation are never stale


@covers("06", "holds")
@pytest.mark.parametrize(("head_dim", "base"), [(16, 1e4), (16, 50.0), (128, 500.0), (128, 3e3), (128, 1e4)])
def test_the_bound_on_the_base(head_dim, base):
    sums = dot_product_by_distance(torch.arange(8000), head_dim, base)  # the same sum of cosines
    first = int((sums < 0).int().argmax())
    assert first > 0 > sums[first], "choose a base whose sum turns negative in here"
    holds = get("06", "holds")
    assert holds(base, first - 1, head_dim) and not holds(base, first, head_dim) and not holds(base, 8000, head_dim)
    assert head_dim != 128 or holds(base, first - 1) and not holds(base, first)


# ------------------------------------------------------------------------------------- the checks of known mistakes

D = 16  # the width that the checks use
CHECKS = {name: check for name, _, _, check in MISTAKES}


def slowed(keep: torch.Tensor, theta: torch.Tensor, factor: float) -> SimpleNamespace:
    """A rule as the checks of extension take it, from the share that each pair keeps."""
    return SimpleNamespace(inv_freq=keep * theta + (1 - keep) * theta / factor, attention_factor=1.0)


def at(rope):
    """The notebook's rope takes a tensor of positions and a base, the checks give a list of positions."""
    return lambda x, m: rope(x, torch.as_tensor(m), 10_000.0)


def polar_frequencies(pope):
    def read(d):
        x, y = pope(torch.zeros(1, d), torch.tensor([1]))[0].chunk(2)
        return torch.atan2(y, x)

    return read


def key_only(attention_weights) -> torch.Tensor:
    t, m = 12, 0.3
    q, k, i = vectors(1, 1, t, 16), vectors(1, 1, t, 16, seed=1), torch.arange(t).double()
    return attention_weights(q, k, m * i[None]) - attention_weights(q, k, -m * (i[:, None] - i).abs())


def logits_of_zeros(attention_weights, bind):
    def logits(q, k, bias):  # up to a constant, the logarithm of the weights; the first bias is 0
        logs = attention_weights(q, k, bias.double(), False).log()
        return logs - logs[:, :1]

    return logits


def logits_of_turned(turn, bind):
    def logits(q, k, f):
        bind("06", angles=torch.zeros(len(q), q.shape[-1] // 2).double())  # one position for all
        return turn(q, f) @ turn(k, f).T

    return logits


def once_or_twice(turn, bind, twice: bool = False):
    bind("06", angles=rope_angles(torch.tensor([5]), rope_frequencies(D)))
    f, q, k = extension.temperature_factor(16.0), vectors(4, D), vectors(4, D, seed=1)
    return turn(q, f) @ turn(k, f).T / math.sqrt(D) * (f**2 if twice else 1)


def keys_of_now(rotated, bind, stale: bool = False):
    bind("06", trained=16)
    k, pos, at_length = vectors(1, 1, 64, D), torch.arange(64)[:, None], get("06", "at_length")
    late = rotated(k, pos, at_length(64))
    return torch.cat([rotated(k, pos, at_length(16))[:, :, :16], late[:, :, 16:]], 2) if stale else late


def bucket_of(t5_bucket, both: bool):
    return lambda distance: torch.tensor([t5_bucket(d, 32, 128, both) for d in distance.tolist()])


def slowest_of_dynamic_ntk(released):
    return lambda length: get("06", "ntk_aware")(128, 10_000.0, released(2.0, length, 4096))[-1]


# mistake of tests/encodings/test_mistakes.py, notebook, name, how its check is given the notebook's function
RIGHT = [
    ("x + pe[:x.size(0)] with batch first", "02", "PositionalEncoding", lambda f, bind: f(D).eval()),
    ("natural denominator d/2 - 1", "02", "frequencies", lambda f, bind: lambda d: f(d, 10_000.0)),
    ("natural denominator d/2 - 1", "04", "frequencies", lambda f, bind: lambda d: f(d, 10_000.0)),
    ("natural denominator d/2 - 1", "06", "frequencies", lambda f, bind: f),
    ("PE[0][127] = 0.71 at d = 128", "02", "table", lambda f, bind: lambda: f(torch.arange(1), 128, 10_000.0)),
    ("PE[1] at d = 4 ends in 0.999", "02", "table", lambda f, bind: lambda: f(torch.tensor([1]), 4, 10_000.0)[0]),
    ("sine and cosine swapped", "02", "table", lambda f, bind: lambda p, d: f(p, d, 10_000.0)),
    ("theta with a positive exponent", "02", "frequencies", lambda f, bind: lambda d: f(d, 10_000.0)),
    ("theta with a positive exponent", "04", "frequencies", lambda f, bind: lambda d: f(d, 10_000.0)),
    ("theta with a positive exponent", "06", "frequencies", lambda f, bind: f),
    ("matrix and elementwise formula turn in opposite directions", "04", "R", lambda f, bind: lambda m: f(m, D)),
    ("queries and keys turned in opposite directions", "04", "rope", lambda f, bind: at(f)),
    ("queries and keys turned in opposite directions", "04", "rope_half", lambda f, bind: at(f)),
    ("interleaved angles with rotate-half", "04", "rope", lambda f, bind: at(f)),
    ("interleaved angles with rotate-half", "04", "rope_half", lambda f, bind: at(f)),
    ("queries in one layout, keys in the other", "04", "rope", lambda f, bind: at(f)),
    ("queries in one layout, keys in the other", "04", "rope_half", lambda f, bind: at(f)),
    (
        "RoPE rotates key and value", "04", "attend",
        lambda f, bind: lambda shift: f(*(vectors(12, D, seed=n) for n in range(3)), torch.arange(12) + shift),
    ),
    ("positions made in bfloat16", "04", "rope", lambda f, bind: at(f)),
    ("positions made in bfloat16", "04", "rope_half", lambda f, bind: at(f)),
    ("frequencies kept in bfloat16", "02", "frequencies", lambda f, bind: lambda d: f(d, 10_000.0)),
    ("frequencies kept in bfloat16", "04", "Rotary", lambda f, bind: lambda d: f(d).inv_freq.double()),
    ("PoPE with the exponent that the paper prints", "04", "pope", lambda f, bind: polar_frequencies(f)),
    ("slope 2^(-8/n) for every head", "05", "authors", lambda f, bind: lambda n: torch.tensor(f(n))),
    ("slope 2^(-8/n) for every head", "05", "formula", lambda f, bind: lambda n: torch.tensor(f(n))),
    ("2^(-8h/n) for any n", "05", "authors", lambda f, bind: lambda n: torch.tensor(f(n))),
    ("the key-only row without a causal mask", "05", "attention_weights", lambda f, bind: lambda: key_only(f)),
    ("ALiBi divided by sqrt(d) with the logits", "05", "attention_weights", logits_of_zeros),
    ("T5's last bucket from 128", "03", "t5_bucket", lambda f, bind: bucket_of(f, False)),
    ("forward and backward share T5's buckets", "03", "t5_bucket", lambda f, bind: bucket_of(f, True)),
    (
        "Llama 3.1 uses YaRN", "06", "by_parts",
        lambda f, bind: lambda: slowed(torch.ones(64), f(rope_frequencies(128, 5e5), 8, 8192, alpha=1, beta=4), 8),
    ),
    (
        "the temperature applied twice: on cos and sin, and in the softmax scale", "06", "turn",
        lambda f, bind: lambda: once_or_twice(f, bind),
    ),
    (
        "keys cached after a rotation that changes with length", "06", "rotated",
        lambda f, bind: lambda: keys_of_now(f, bind),
    ),
    (
        "xPos centered on the middle of each call, with a cache of rotated keys", "04", "xpos",
        lambda f, bind: lambda length: f(vectors(1, 1, 12, D)[:, :, :length], torch.arange(length), -1),
    ),
    ("a larger base compresses the frequencies", "02", "frequencies", lambda f, bind: lambda base: f(128, base)),
    ("a larger base compresses the frequencies", "04", "frequencies", lambda f, bind: lambda base: f(128, base)),
    ("a larger base compresses the frequencies", "06", "frequencies", lambda f, bind: lambda base: f(128, base)),
    ("the temperature's factor applied once to the logits", "06", "turn", logits_of_turned),
    ("dynamic NTK with s = l / L whatever the factor", "06", "released", lambda f, bind: slowest_of_dynamic_ntk(f)),
    (
        "PI multiplies the frequencies", "06", "position_interpolation",
        lambda f, bind: lambda: f(rope_frequencies(128), 16.0),
    ),
]  # fmt: skip
# and the same for what a notebook shows to be wrong, or for a right function put to a wrong use: the check must fail
WRONG = [
    ("2^(-8h/n) for any n", "05", "formula", lambda f, bind: lambda n: torch.tensor(f(n))),
    ("frequencies kept in bfloat16", "04", "Rotary", lambda f, bind: lambda d: f(d).bfloat16().inv_freq.double()),
    (
        "RoPE rotates key and value", "04", "attend",
        lambda f, bind: lambda shift: f(*(vectors(12, D, seed=n) for n in range(3)), torch.arange(12) + shift, True),
    ),
    (
        "the temperature applied twice: on cos and sin, and in the softmax scale", "06", "turn",
        lambda f, bind: lambda: once_or_twice(f, bind, twice=True),
    ),
    (
        "keys cached after a rotation that changes with length", "06", "rotated",
        lambda f, bind: lambda: keys_of_now(f, bind, stale=True),
    ),
    (
        "the paper's ramp where released models use the code's", "06", "by_parts",
        lambda f, bind: lambda: slowed(torch.ones(64), f(rope_frequencies(128), 16, 4096), 16),
    ),
    (
        "the paper's ramp where released models use the code's", "06", "yarn_according_to_many_pages",
        lambda f, bind: lambda: slowed(torch.ones(64), rope_frequencies(128, f(10_000.0, 16, 128)), 16),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("right", "row"),
    [(right, row) for right, table in ((True, RIGHT), (False, WRONG)) for row in table],
    ids=lambda value: f"{value[1]} {value[2]}: {value[0]}" if isinstance(value, tuple) else str(value),
)
def test_the_notebook_s_own_function_in_the_check_of_a_mistake(right, row, bind):
    mistake, number, name, hand_over = row
    RAN.clear()
    assert CHECKS[mistake](hand_over(get(number, name), bind)) == right
    assert (number, name) in RAN
