"""KERPLE, FIRE, Sandwich, CoPE and the sliding window against their papers' formulas in float64, and wrong versions."""

from __future__ import annotations

import math

import pytest
import torch

from helpers.encodings import FIRE, CoPE, Kerple, Sandwich, SlidingWindow, build, positions
from helpers.encodings.cope import cope_positions, interpolate_positions
from helpers.encodings.fire import fire_input
from helpers.encodings.kerple import kerple_power
from helpers.model import CausalLM, KVCache, causal_mask

T = 9
FAMILY = ("kerple", "fire", "sandwich", "cope", "window")


def loop(f, n: int = T) -> torch.Tensor:
    """(n, n) float64 of f(i, j)."""
    return torch.tensor([[f(i, j) for j in range(n)] for i in range(n)], dtype=torch.float64)


def state(encoding, n: int = T) -> torch.Tensor:
    """The bias (H, n, n) in float64."""
    return encoding.prepare(positions(n), positions(n), causal_mask(n, n))[0].detach().double()


# ------------------------------------------------------------------------------------------------------- KERPLE


@pytest.mark.parametrize("variant", ["log", "power"])
def test_kerple_is_the_formula(variant):
    encoding = Kerple(4, variant)
    torch.nn.init.normal_(encoding.raw_r1)
    torch.nn.init.normal_(encoding.raw_r2)
    got = state(encoding)
    for h in range(4):
        r1, r2 = encoding.r1[h].item(), encoding.r2[h].item()
        kernel = {
            "log": lambda i, j, r1=r1, r2=r2: -r1 * math.log(1 + r2 * abs(i - j)),
            "power": lambda i, j, r1=r1, r2=r2: -r1 * abs(i - j) ** r2,
        }
        torch.testing.assert_close(got[h], loop(kernel[variant]), rtol=1e-5, atol=1e-6)
        without_one = loop(lambda i, j, r1=r1, r2=r2: -r1 * math.log(max(r2 * abs(i - j), 1e-9)))
        assert (got[h] - without_one).abs().max() > 0.1  # log(r2 d) without the 1


def test_kerple_power_one_is_alibi():
    alibi = build("alibi").prepare(positions(T), positions(T), None)[0]
    distance = positions(T)[:, None, :] - positions(T)[:, :, None]
    ours = kerple_power(distance, torch.tensor([1 / 4, 1 / 16, 1 / 64, 1 / 256])[:, None, None], torch.ones(4, 1, 1))[0]
    torch.testing.assert_close(ours, alibi)


@pytest.mark.parametrize("variant", ["log", "power"])
def test_kerple_stays_positive_and_has_finite_gradients(variant):
    encoding = Kerple(4, variant)
    with torch.no_grad():
        encoding.raw_r1.fill_(-20)
        encoding.raw_r2.copy_(torch.tensor([-20.0, 20.0, 0.0, 3.0]))
    assert (encoding.r1 > 0).all() and (encoding.r2 > 0).all()
    assert variant == "log" or (encoding.r2 <= 2).all()
    encoding.prepare(positions(T), positions(T), None).sum().backward()
    assert torch.isfinite(encoding.raw_r2.grad).all()  # 0^r2 on the diagonal


def test_kerple_starts_without_chance_at_the_midpoints():
    for variant in ("log", "power"):
        encoding = Kerple(4, variant)
        torch.testing.assert_close(encoding.r1.detach(), torch.tensor([0.25, 0.75, 1.25, 1.75]))
        torch.testing.assert_close(encoding.r2.detach(), torch.tensor([0.125, 0.375, 0.625, 0.875]))
    encoding.raw_r2.data.fill_(20.0)
    torch.testing.assert_close(encoding.r2.detach(), torch.full((4,), 2.0))  # a power kernel may go up to 2, not beyond


# --------------------------------------------------------------------------------------------------------- FIRE


def test_fire_is_the_formula():
    c, threshold = 0.3, 4.0
    expected = loop(lambda i, j: math.log(c * abs(i - j) + 1) / math.log(c * max(threshold, i) + 1))
    got = fire_input(positions(T), positions(T), c, threshold)[0].double()
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    by_key = loop(lambda i, j: math.log(c * abs(i - j) + 1) / math.log(c * max(threshold, j) + 1))
    assert (got - by_key).abs().max() > 0.1  # normalized by the key's position: wrong


def test_fire_network_sees_the_share():
    torch.manual_seed(0)
    encoding = FIRE(3, threshold=4.0)
    share = fire_input(positions(T), positions(T), 0.1, 4.0)[0]
    hidden = torch.relu(share[..., None] @ encoding.network[0].weight.T + encoding.network[0].bias)
    expected = hidden @ encoding.network[2].weight.T + encoding.network[2].bias  # (T, T, 3)
    torch.testing.assert_close(state(encoding), expected.permute(2, 0, 1).detach().double(), rtol=1e-4, atol=1e-5)


def test_fire_never_leaves_its_trained_range_and_is_not_shift_invariant():
    far = fire_input(torch.tensor([[10**6]]), positions(10**4), 0.1, 32.0)
    assert 0 <= far.min() and far.max() <= 1
    bias = state(build("fire"), 80)
    assert (bias[:, 40, 20] - bias[:, 79, 59]).abs().max() > 1e-4  # the same distance, 20


# ----------------------------------------------------------------------------------------------------- Sandwich


def sandwich_of_rows(n: int, first: int, dim: int = 128) -> torch.Tensor:
    """The product of sinusoidal rows whose waves are counted from ``first``, less its diagonal."""
    waves = torch.arange(n).double()[:, None] * 10_000.0 ** (-2 * (torch.arange(dim // 2).double() + first) / dim)
    table = torch.cat([waves.sin(), waves.cos()], 1)
    return table @ table.T - dim / 2


def test_sandwich_is_the_product_of_sinusoidal_rows():
    got, wrong = state(Sandwich(4), 50), sandwich_of_rows(50, first=0)
    for h, divisor in enumerate((2, 4, 6, 8)):
        torch.testing.assert_close(got[h], sandwich_of_rows(50, first=1) / divisor, rtol=1e-4, atol=1e-4)
        assert (got[h] - wrong / divisor).abs().max() > 0.05  # waves counted from 0, as in the sinusoidal table
    assert got.diagonal(dim1=1, dim2=2).abs().max() < 1e-6 and got.max() < 1e-6
    torch.testing.assert_close(state(Sandwich(4, gain=2), 50), 2 * got)


def test_sandwich_is_not_monotone():
    falls = state(Sandwich(4), 2_000)[0, -1].flip(-1).diff()
    assert 0.2 < (falls > 0).double().mean() < 0.8
    assert falls[:13].max() < 0 < falls[13]  # it falls for thirteen steps, then rises for the first time


# ------------------------------------------------------------------------------------------------------- window


def test_window_is_a_cliff():
    got = state(SlidingWindow(3))[0]
    assert torch.equal(got, loop(lambda i, j: 0.0 if abs(i - j) < 3 else -math.inf))


def test_window_of_one_sees_itself_only():
    torch.manual_seed(0)
    model = CausalLM(7, 32, 4, 2, SlidingWindow(1))
    weights = model.attention_weights(torch.randint(7, (1, 6)))
    torch.testing.assert_close(weights, torch.eye(6).expand_as(weights))


# --------------------------------------------------------------------------------------------------------- CoPE


@pytest.mark.oracle("cope.CoPE", "cope.cope_positions", "cope.interpolate_positions", against="x-transformers")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("heads, d, t, max_pos", [(1, 4, 1, 2), (2, 8, T, 5), (3, 16, 40, 64), (4, 8, 64, 16)])
def test_cope_equals_x_transformers(heads, d, t, max_pos, dtype):
    from x_transformers.x_transformers import CoPE as Theirs

    torch.manual_seed(0)
    ours, theirs = CoPE(d, max_pos=max_pos, std=1.0).to(dtype), Theirs(d, heads, max_pos).to(dtype)
    theirs.pos_emb.data.copy_(ours.table.data)
    q, k = torch.randn(2, 3, heads, t, d, dtype=dtype)
    allowed = causal_mask(t, t)
    logits = (q @ k.mT * d**-0.5).masked_fill(~allowed, -1e30)  # what x-transformers hands to its CoPE
    got = ours.bias(q, k, ours.prepare(positions(t), positions(t), allowed), 0)
    torch.testing.assert_close(
        got.masked_fill(~allowed, 0), theirs(q, logits).masked_fill(~allowed, 0), rtol=1e-5, atol=1e-4
    )


def test_cope_counts_and_interpolates_as_the_paper_says():
    torch.manual_seed(0)
    logits = torch.randn(1, 1, T, T, dtype=torch.float64)
    got = cope_positions(logits, causal_mask(T, T), 4)[0, 0]
    gate = logits[0, 0].sigmoid()
    expected = loop(lambda i, j: min(sum(gate[i, t].item() for t in range(j, i + 1)), 3.0))
    torch.testing.assert_close(got, expected)
    table = torch.randn(1, 1, 1, 4, dtype=torch.float64)
    read = interpolate_positions(table, torch.tensor([[[[0.0, 1.25, 3.0]]]], dtype=torch.float64))[0, 0, 0]
    e = table[0, 0, 0]
    torch.testing.assert_close(read, torch.stack([e[0], 0.75 * e[1] + 0.25 * e[2], e[3]]))


def test_cope_counts_only_backwards_whatever_the_mask_allows():
    everything = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    assert torch.equal(CoPE(8).prepare(positions(4), positions(4), everything)[0, 0], everything[0, 0].tril())


def test_cope_ignores_the_future():
    torch.manual_seed(0)
    model = CausalLM(7, 32, 4, 1, CoPE(8, std=1.0)).double()
    ids = torch.randint(7, (1, 12))
    torch.testing.assert_close(model(ids)[:, :7], model(ids[:, :7]), rtol=0, atol=1e-9)


# ---------------------------------------------------------------------------------------------------------- all


@pytest.mark.parametrize("name", FAMILY)
def test_cache_equals_no_cache(name):
    torch.manual_seed(0)
    model = CausalLM(7, 32, 4, 2, build(name, d_model=32, train_len=8)).double()
    ids = torch.randint(7, (1, 6))
    cache = KVCache()
    pieces = torch.cat([model(ids[:, :4], cache=cache), model(ids[:, 4:], cache=cache)], 1)
    torch.testing.assert_close(pieces, model(ids), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Kerple(0), "n_heads"),
        (lambda: Kerple(4, "cubic"), "variant"),
        (lambda: FIRE(4, threshold=0), "threshold"),
        (lambda: FIRE(4, c=-1.0), "c="),
        (lambda: FIRE(4, c=0.0), "c="),
        (lambda: FIRE(4, width=0), "width"),
        (lambda: Sandwich(4, dim=7), "dim"),
        (lambda: Sandwich(4, gain=0), "gain"),
        (lambda: SlidingWindow(0), "window"),
        (lambda: CoPE(8, max_pos=1), "max_pos"),
    ],
)
def test_bad_input_is_refused_by_name(make, name):
    with pytest.raises(ValueError, match=name):
        make()


def test_the_power_kernel_has_a_gradient_at_distance_zero():
    r1, r2 = (torch.full((1, 1, 1), value, dtype=torch.float64, requires_grad=True) for value in (0.7, 0.5))
    kerple_power(torch.tensor([[0.0, -1.0, -4.0]], dtype=torch.float64), r1, r2).sum().backward()
    assert r1.grad.item() == pytest.approx(-(0 + 1 + 2))
    assert r2.grad.item() == pytest.approx(-0.7 * 2 * math.log(4))  # 0^r2 and 1^r2 do not depend on r2
