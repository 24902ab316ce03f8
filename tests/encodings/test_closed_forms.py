"""Every registered scheme inside a whole model against its formula, written from the paper as a double loop in float64.

Independent packages check the functions one by one elsewhere; here the formula, the scale, the sign of the distance and
the place where the term enters are checked together, causal and bidirectional, with positions that start anywhere.
Where no installable package exists (KERPLE, FIRE, Sandwich, Shaw's values) this is the oracle. Tolerance 1e-5: schemes
keep float32 tables of cos, sin and distances, as they should.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.encodings import SCHEMES, build
from helpers.model import CausalLM, Encoder
from tests import direct
from tests.encodings.kept import KEPT
from tests.encodings.test_contract import dot, pairwise

T, D_MODEL, HEADS, D = 9, 32, 4, 8


def half(x):
    return torch.complex(x[..., : D // 2], x[..., D // 2 :])


def theta(n):
    return 10_000.0 ** (-torch.arange(n).double() / n)


def none(enc, qi, kj, i, j):
    return dot(qi, kj) / math.sqrt(D)


def rope(enc, qi, kj, i, j):
    turned = half(qi) * half(kj).conj() * torch.exp(1j * (i - j) * theta(D // 2))
    return turned.real.sum(-1) / math.sqrt(D)


def xpos(enc, qi, kj, i, j):
    zeta = (2 * torch.arange(D // 2).double() / D + 0.4) / 1.4
    turned = zeta ** ((i - j) / 512) * half(qi) * half(kj).conj() * torch.exp(1j * (i - j) * theta(D // 2))
    return turned.real.sum(-1) / math.sqrt(D)


def pope(enc, qi, kj, i, j):
    phase = enc.delta.double().clamp(-2 * math.pi, 0) if enc.bounded else enc.delta.double()
    return (F.softplus(qi) * F.softplus(kj) * ((j - i) * theta(D) + phase).cos()).sum(-1) / math.sqrt(D)


def alibi(enc, qi, kj, i, j):
    slopes = torch.tensor([2.0 ** (-8 * h / HEADS) for h in range(1, HEADS + 1)]).double()
    return none(enc, qi, kj, i, j) - slopes * abs(i - j)


def kerple(enc, qi, kj, i, j):
    r1, r2 = (torch.log1p(raw.double().exp()) for raw in (enc.raw_r1, enc.raw_r2))
    return none(enc, qi, kj, i, j) - r1 * torch.log(1 + r2 * abs(i - j))


def fire(enc, qi, kj, i, j):
    def psi(x):
        return torch.log(enc.c.double().abs() * x + 1)

    longest = torch.maximum(torch.tensor(float(i)).double(), (enc.multiplier * enc.threshold).double().abs())
    share = psi(torch.tensor(float(abs(i - j))).double()) / psi(longest)
    return none(enc, qi, kj, i, j) + enc.network.double()(share[None])


def sandwich(enc, qi, kj, i, j):
    divisors = torch.tensor([8 * h / HEADS for h in range(1, HEADS + 1)]).double()
    kernel = ((i - j) * 10_000.0 ** (-torch.arange(2, 130, 2).double() / 128)).cos().sum()  # less a constant per row
    return none(enc, qi, kj, i, j) + kernel / divisors


def t5(enc, qi, kj, i, j):
    n, exact, rows, farthest = max(i - j, 0), 16, 32, enc.max_distance
    if n >= exact:
        n = min(rows - 1, exact + int(math.log(n / exact) / math.log(farthest / exact) * (rows - exact) + 1e-9))
    return dot(qi, kj) * (enc.scale or D**-0.5) + enc.gain * enc.table.weight[n]


def shaw(enc, qi, kj, i, j):
    row = max(-enc.max_distance, min(enc.max_distance, j - i)) + enc.max_distance
    return dot(qi, kj + enc.key_table[0, :, row].double()) / math.sqrt(D)


def deberta(enc, qi, kj, i, j):
    k = len(enc.table.weight) // 2
    row = enc.table.weight[max(0, min(2 * k - 1, i - j + k))].double()
    key = enc.key_projections[0].double()(row).view(HEADS, D)
    query = enc.query_projections[0].double()(row).view(HEADS, D)
    return (dot(qi, kj) + dot(qi, key) + dot(kj, query)) / math.sqrt(3 * D)


def transformer_xl(enc, qi, kj, i, j):
    angle = (i - j) * theta(D_MODEL // 2)
    far = enc.projections[0].double() @ torch.cat([angle.sin(), angle.cos()])
    return (dot(qi + enc.u, kj) + dot(qi + enc.v, far)) / math.sqrt(D)


def window(enc, qi, kj, i, j):
    return none(enc, qi, kj, i, j) - (math.inf if abs(i - j) >= enc.window else 0)


FORMULAS = (none, rope, xpos, pope, alibi, kerple, fire, sandwich, t5, shaw, deberta, transformer_xl, window)
FORMULAS = {f.__name__: f for f in FORMULAS}
# Schemes whose formula in a model has a test of its own: door 1, counts over a whole row, files with their own tests.
ELSEWHERE = {
    "sinusoidal",
    "learned",
    "cope",
}
CAUSAL_ONLY = {"t5", "xpos"}  # as registered; the other mode has tests of its own


def small(name, kind):
    torch.manual_seed(3)
    kwargs = {"max_distance": 20} if name == "t5" else {"max_distance": 3} if name in ("shaw", "deberta") else {}
    kwargs = {"window": 4} if name == "window" else kwargs
    encoding = build(name, d_model=D_MODEL, n_heads=HEADS, train_len=12, max_len=64, **kwargs)
    with torch.no_grad():
        for parameter in encoding.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.4 - 0.3)
    model = kind(11, D_MODEL, HEADS, 2, encoding)
    for key, parameter in model.named_parameters():
        if not key.startswith("encoding"):
            torch.nn.init.normal_(parameter, std=0.35)
    return model.double(), torch.randint(11, (2, T))


def test_no_scheme_that_is_kept_is_left_out():
    missing = set(KEPT) - set(FORMULAS) - ELSEWHERE
    assert not missing, f"{missing}: add the logit of a query and a key to FORMULAS here, or a test to ELSEWHERE"
    assert set(FORMULAS) | ELSEWHERE <= set(KEPT) <= set(SCHEMES)


@pytest.mark.parametrize("start", [0, 40])
@pytest.mark.parametrize("kind", [CausalLM, Encoder])
@pytest.mark.parametrize("name", FORMULAS)
@torch.no_grad()
def test_a_scheme_in_a_model_is_its_formula(name, kind, start):
    if kind is Encoder and name in CAUSAL_ONLY:
        pytest.skip("causal as registered")
    model, ids = small(name, kind)
    enc, formula = model.encoding, FORMULAS[name]

    def logits(q, k, layer):
        return pairwise(q, k, lambda qi, kj, i, j: formula(enc, qi, kj, i + start, j + start).expand(qi.shape[:2]))

    def values(weights, layer):
        if name != "shaw":
            return 0
        rows = [[max(-3, min(3, j - i)) + 3 for j in range(T)] for i in range(T)]
        out = [sum(weights[:, :, i, j, None] * enc.value_table[0, :, rows[i][j]] for j in range(T)) for i in range(T)]
        return torch.stack(out, 2)

    found = model.hidden(ids, position_ids=torch.arange(start, start + T)[None])[0]
    expected = direct.forward(model, ids, logits=logits, values=values)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    if name != "none":
        assert (found - direct.forward(model, ids)).abs().max() > 1e-3, "the scheme does nothing here: a blind test"


@torch.no_grad()
def test_cope_in_a_model_is_its_formula():
    model, ids = small("cope", CausalLM)
    e, last = model.encoding.table.double(), model.encoding.max_pos - 1

    def logits(q, k, layer):
        def term(qi, kj, i, j):
            score = [dot(qi, k[:, :, t]) / math.sqrt(D) for t in range(i + 1)]
            count = sum((torch.sigmoid(s) for s in score[j:]), torch.zeros(qi.shape[:2]).double()).clamp(max=last)
            share = (count - count.floor())[..., None]
            vector = (1 - share) * e[count.floor().long()] + share * e[count.ceil().long()]
            return dot(qi, kj) / math.sqrt(D) + dot(qi, vector)

        return pairwise(q, k, term)

    torch.testing.assert_close(model.hidden(ids)[0], direct.forward(model, ids, logits=logits), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [CausalLM, Encoder])
@torch.no_grad()
def test_tables_are_added_at_door_one(kind):
    model, ids = small("learned", kind)
    added = model.encoding.table.weight[7 : 7 + T]
    found = model.hidden(ids, position_ids=torch.arange(7, 7 + T)[None])[0]
    torch.testing.assert_close(found, direct.forward(model, ids, added=added), rtol=0, atol=1e-9)
    model, ids = small("sinusoidal", kind)
    angle = torch.arange(7, 7 + T).double()[:, None] * theta(D_MODEL // 2)
    added = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)
    found = model.hidden(ids, position_ids=torch.arange(7, 7 + T)[None])[0]
    torch.testing.assert_close(found, direct.forward(model, ids, added=added), rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", ["log", "power"])
@torch.no_grad()
def test_both_kernels_of_kerple_with_positions_of_their_own(variant):
    scheme = build("kerple", d_model=D_MODEL, n_heads=HEADS, variant=variant).double()
    pos = torch.stack([torch.arange(T), 3 * torch.arange(T) + 1])
    bias = scheme.prepare(pos, pos, None)
    for b in range(2):
        for h in range(HEADS):
            r1, r2 = scheme.r1[h].item(), scheme.r2[h].item()
            for i, j in ((0, 0), (5, 2), (2, 5), (8, 0)):
                n = abs(pos[b, i] - pos[b, j]).item()
                expected = -r1 * (math.log(1 + r2 * n) if variant == "log" else n**r2)
                assert bias[b, h, i, j].item() == pytest.approx(expected, abs=1e-9)
