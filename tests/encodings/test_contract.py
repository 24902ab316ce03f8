"""The contract of helpers/encodings/base.py carries every kind of scheme: a miniature of each, in about ten lines.

Each miniature runs through the model and is compared with :mod:`tests.direct`, where the same scheme is written as the
paper has it, with loops over i and j, in float64. A difference above 1e-9 means that a door is hung wrong: float64
rounding over two layers stays below 1e-12.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from helpers.encodings import ALiBi, Encoding, NoEncoding, RoPE, Sinusoidal, build
from helpers.encodings.alibi import alibi_slopes
from helpers.encodings.sinusoidal import sinusoidal_table
from helpers.model import CausalLM, Encoder, KVCache
from tests import direct

T, D_MODEL, HEADS, D = 7, 24, 4, 6
CLOSE = {"rtol": 0, "atol": 1e-9}


def small(encoding: Encoding, kind=CausalLM, seed: int = 0, **kwargs):
    """A two-layer float64 model around an encoding, and two sequences of ids."""
    torch.manual_seed(seed)
    shape = {"d_model": D_MODEL, "n_heads": HEADS, "n_layers": 2} | kwargs
    model = kind(11, encoding=encoding, **shape).double()
    for p in model.parameters():  # larger weights than the defaults, so that attention is far from uniform
        nn.init.normal_(p, std=0.4)
    return model, torch.randint(11, (2, T))


def pairwise(q: Tensor, k: Tensor, term) -> Tensor:
    """(B, H, T, T) of term(q_i, k_j, i, j), with q_i and k_j of shape (B, H, D): the double loop of a formula."""
    rows = [torch.stack([term(q[:, :, i], k[:, :, j], i, j) for j in range(k.shape[2])], -1) for i in range(q.shape[2])]
    return torch.stack(rows, -2)


def dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


# ------------------------------------------------------------------------------------------------------- Shaw


class MiniShaw(Encoding):
    needs_weights = True

    def __init__(self, k: int = 2):
        super().__init__()
        self.k, self.a_k, self.a_v = k, nn.Parameter(torch.zeros(2 * k + 1, D)), nn.Parameter(torch.zeros(2 * k + 1, D))

    def prepare(self, q_pos, k_pos, allowed):
        return self.distance(q_pos, k_pos).clamp(-self.k, self.k) + self.k  # (B, T, S)

    def bias(self, q, k, state, layer):
        return torch.einsum("bhid,bijd->bhij", q, self.a_k[state].expand(len(q), -1, -1, -1)) / math.sqrt(D)

    def values(self, weights, state, layer):
        return torch.einsum("bhij,bijd->bhid", weights, self.a_v[state].expand(len(weights), -1, -1, -1))


@pytest.mark.parametrize("kind", [CausalLM, Encoder])
def test_shaw_enters_at_logits_and_values(kind):
    model, ids = small(MiniShaw(), kind)
    enc = model.encoding

    def row(i, j):
        return max(-enc.k, min(enc.k, j - i)) + enc.k  # clip(j - i): the paper's sign

    def logits(q, k, layer):
        return pairwise(q, k, lambda qi, kj, i, j: dot(qi, kj + enc.a_k[row(i, j)]) / math.sqrt(D))

    def values(weights, layer):
        out = [sum(weights[:, :, i, j, None] * enc.a_v[row(i, j)] for j in range(T)) for i in range(T)]
        return torch.stack(out, 2)

    torch.testing.assert_close(model.hidden(ids)[0], direct.forward(model, ids, logits=logits, values=values), **CLOSE)
    without = direct.forward(model, ids, logits=logits)
    assert (model.hidden(ids)[0] - without).abs().max() > 1e-2, "the value term does nothing: this test is blind"


# ---------------------------------------------------------------------------------------------------- DeBERTa


class MiniDeBERTa(Encoding):
    scale = (3 * D) ** -0.5

    def __init__(self, k: int = 3):
        super().__init__()
        self.k = k
        self.q_r, self.k_r = (nn.Parameter(torch.zeros(HEADS, 2 * k, D)) for _ in range(2))

    def prepare(self, q_pos, k_pos, allowed):
        return (-self.distance(q_pos, k_pos) + self.k).clamp(0, 2 * self.k - 1)  # delta(i, j), query minus key

    def bias(self, q, k, state, layer):
        index = state[:, None].expand(len(q), HEADS, -1, -1)
        content_to_position = (q @ self.k_r.mT).gather(-1, index)
        position_to_content = (k @ self.q_r.mT).gather(-1, index.mT).mT
        return (content_to_position + position_to_content) * self.scale


@pytest.mark.parametrize("kind", [CausalLM, Encoder])
def test_deberta_enters_at_the_logits_with_its_own_scale(kind):
    model, ids = small(MiniDeBERTa(), kind)
    enc = model.encoding

    def logits(q, k, layer):
        def term(qi, kj, i, j):
            delta = max(0, min(2 * enc.k - 1, i - j + enc.k))
            return (dot(qi, kj) + dot(qi, enc.k_r[:, delta]) + dot(kj, enc.q_r[:, delta])) / math.sqrt(3 * D)

        return pairwise(q, k, term)

    torch.testing.assert_close(model.hidden(ids)[0], direct.forward(model, ids, logits=logits), **CLOSE)


# ------------------------------------------------------------------------------------------------------- CoPE


class MiniCoPE(Encoding):
    def __init__(self, p_max: int = 4):
        super().__init__()
        self.p_max, self.e = p_max, nn.Parameter(torch.zeros(p_max + 1, D))

    def prepare(self, q_pos, k_pos, allowed):
        return allowed

    def bias(self, q, k, state, layer):
        gates = torch.sigmoid(q @ k.mT) * state
        p = gates.flip(-1).cumsum(-1).flip(-1).clamp(max=self.p_max)  # sum over t from j to i
        at = q @ self.e.T
        low, high = at.gather(-1, p.floor().long()), at.gather(-1, p.ceil().long())
        return low + (p - p.floor()) * (high - low)


def test_cope_counts_with_the_mask_and_sees_queries_and_keys():
    model, ids = small(MiniCoPE())
    e, p_max = model.encoding.e, model.encoding.p_max

    def logits(q, k, layer):
        def term(qi, kj, i, j):
            count = sum((torch.sigmoid(dot(qi, k[:, :, t])) for t in range(j, i + 1)), torch.zeros(qi.shape[:2]))
            p = count.clamp(max=p_max).double()
            share = (p - p.floor())[..., None]
            vector = (1 - share) * e[p.floor().long()] + share * e[p.ceil().long()]
            return dot(qi, kj) / math.sqrt(D) + dot(qi, vector)

        return pairwise(q, k, term)

    torch.testing.assert_close(model.hidden(ids)[0], direct.forward(model, ids, logits=logits), **CLOSE)


# ------------------------------------------------------------------------------------------------------- PoPE


class MiniPoPE(Encoding):
    def __init__(self):
        super().__init__()
        self.theta = 10_000.0 ** (-torch.arange(D).double() / D)

    def prepare(self, q_pos, k_pos, allowed):
        return tuple(p[:, None, :, None].double() * self.theta for p in (q_pos, k_pos))

    def rotate(self, q, k, state, layer):
        length = nn.functional.softplus
        q, k = (torch.cat([length(x) * a.cos(), length(x) * a.sin()], -1) for x, a in zip((q, k), state, strict=True))
        return q, k


def test_pope_doubles_the_width_and_keeps_the_scale():
    model, ids = small(MiniPoPE())
    theta = model.encoding.theta

    def logits(q, k, layer):
        def term(qi, kj, i, j):
            return dot(nn.functional.softplus(qi) * nn.functional.softplus(kj), ((j - i) * theta).cos()) / math.sqrt(D)

        return pairwise(q, k, term)

    torch.testing.assert_close(model.hidden(ids)[0], direct.forward(model, ids, logits=logits), **CLOSE)


# ----------------------------------------------------------------------------------------------- several axes


class MiniAxial(Encoding):
    """The first channels of a head rotate with the row, the last with the column (pairs of neighbors)."""

    axes, theta = 2, torch.tensor([1.0, 0.05], dtype=torch.float64)

    def prepare(self, q_pos, k_pos, allowed):
        return tuple((p[..., None].double() * self.theta).flatten(-2)[:, None] for p in (q_pos, k_pos))  # (B,1,T,4)

    def rotate(self, q, k, state, layer):
        def turn(x, angle):
            z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(
                torch.ones_like(angle), angle
            )
            return torch.view_as_real(z).flatten(-2)

        return turn(q, state[0]), turn(k, state[1])


def test_axial_positions_reach_the_scheme_with_their_axes():
    torch.manual_seed(0)
    model = Encoder(11, 16, 2, 2, MiniAxial()).double()
    ids = torch.randint(11, (2, 6))
    grid = torch.cartesian_prod(torch.arange(2), torch.arange(3))  # (6, 2): row, column

    def logits(q, k, layer):
        def term(qi, kj, i, j):
            delta = ((grid[i] - grid[j])[:, None] * model.encoding.theta).flatten()
            a, b = (torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) for x in (qi, kj))
            return (a * b.conj() * torch.exp(1j * delta)).real.sum(-1) / math.sqrt(8)

        return pairwise(q, k, term)

    found = model.hidden(ids, position_ids=grid[None])[0]
    torch.testing.assert_close(found, direct.forward(model, ids, logits=logits), **CLOSE)
    shifted = model.hidden(ids, position_ids=grid[None] + torch.tensor([5, -2]))[0]
    torch.testing.assert_close(found, shifted, **CLOSE)  # relative in both axes
    each = torch.stack([grid, grid.flip(1)])  # other coordinates in the second sequence
    assert (model.hidden(ids, position_ids=each)[0] - found).abs().amax((1, 2)).tolist()[0] < 1e-12


# -------------------------------------------------------------------------------------------- per-layer mixes


class PerLayer(Encoding):
    """A wrapper: one scheme a layer. Nothing in the model knows."""

    def __init__(self, *schemes: Encoding):
        super().__init__()
        self.schemes = nn.ModuleList(schemes)

    def prepare(self, *args):
        return [scheme.prepare(*args) for scheme in self.schemes]

    def rotate(self, q, k, state, layer):
        return self.schemes[layer].rotate(q, k, state[layer], layer)

    def bias(self, q, k, state, layer):
        return self.schemes[layer].bias(q, k, state[layer], layer)


def test_a_wrapper_gives_every_layer_its_own_scheme():
    model, ids = small(PerLayer(RoPE(D), ALiBi(HEADS)))
    theta = 10_000.0 ** (-torch.arange(0, D, 2).double() / D)

    def logits(q, k, layer):
        def rope(qi, kj, i, j):
            a, b = (torch.complex(x[..., : D // 2], x[..., D // 2 :]) for x in (qi, kj))
            return (a * b.conj() * torch.exp(1j * (i - j) * theta)).real.sum(-1) / math.sqrt(D)

        def alibi(qi, kj, i, j):
            return dot(qi, kj) / math.sqrt(D) - alibi_slopes(HEADS) * abs(i - j)

        return pairwise(q, k, (rope, alibi)[layer])

    found = model.hidden(ids)[0]
    torch.testing.assert_close(found, direct.forward(model, ids, logits=logits), rtol=0, atol=1e-5)  # float32 tables


def test_every_fourth_layer_without_position():
    """The interleaving of Llama 4 and SmolLM3, as a mix of RoPE and nothing."""
    torch.manual_seed(0)
    mix = PerLayer(*[NoEncoding() if layer % 4 == 3 else RoPE(D) for layer in range(4)])
    model = CausalLM(11, D_MODEL, HEADS, 4, mix).double()
    ids = torch.randint(11, (1, T))
    rope, none = CausalLM(11, D_MODEL, HEADS, 4, RoPE(D)).double(), CausalLM(11, D_MODEL, HEADS, 4).double()
    for other in (rope, none):
        other.load_state_dict(model.state_dict())
    a, b, c = (m.attention_weights(ids) for m in (model, rope, none))
    torch.testing.assert_close(a[:3], b[:3])
    assert (a[3] - b[3]).abs().max() > 1e-4
    torch.testing.assert_close(a[0, :, :, 0], c[0, :, :, 0])  # the first token has nobody else to look at


# ----------------------------------------------------------------------------------- T5: scalars, and scale 1


class MiniT5(Encoding):
    scale = 1.0

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(4, HEADS))

    def prepare(self, q_pos, k_pos, allowed):
        return self.table[(-self.distance(q_pos, k_pos)).clamp(0, 3)].permute(0, 3, 1, 2)

    def bias(self, q, k, state, layer):
        return state


def test_t5_has_scalars_and_no_scaling():
    model, ids = small(MiniT5())
    table = model.encoding.table

    def logits(q, k, layer):
        return pairwise(q, k, lambda qi, kj, i, j: dot(qi, kj) + table[min(max(i - j, 0), 3)])

    torch.testing.assert_close(model.hidden(ids)[0], direct.forward(model, ids, logits=logits), **CLOSE)


def test_a_bias_is_merged_with_the_mask_once_for_all_layers():
    """Schemes that return one tensor pay once; a scheme that returns a new tensor a layer still gets each of them."""

    class Different(MiniT5):
        def bias(self, q, k, state, layer):
            return state * (layer + 1)

    for scheme, factor in ((MiniT5(), (1, 1)), (Different(), (1, 2))):
        model, ids = small(scheme)

        def logits(q, k, layer, table=model.encoding.table, factor=factor):
            return pairwise(q, k, lambda a, b, i, j: dot(a, b) + factor[layer] * table[min(max(i - j, 0), 3)])

        torch.testing.assert_close(model.hidden(ids)[0], direct.forward(model, ids, logits=logits), **CLOSE)


# ------------------------------------------------------------------------------------------- door 1, the mask


def test_embeddings_are_door_one_and_the_residual_carries_them():
    model, ids = small(Sinusoidal(D_MODEL))
    table = sinusoidal_table(torch.arange(T), D_MODEL, dtype=torch.float64)
    torch.testing.assert_close(model.hidden(ids)[0], direct.forward(model, ids, added=table), rtol=0, atol=1e-5)


def test_a_sliding_window_is_a_bias_made_from_positions():
    class Window(Encoding):
        def prepare(self, q_pos, k_pos, allowed):
            far = self.distance(q_pos, k_pos).abs() > 2
            return torch.zeros(far.shape, dtype=torch.float64).masked_fill(far, -math.inf)[:, None]

        def bias(self, q, k, state, layer):
            return state

    model, ids = small(Window())
    near = (torch.arange(T)[:, None] - torch.arange(T)).abs() <= 2
    allowed = near & torch.ones(T, T, dtype=torch.bool).tril()
    torch.testing.assert_close(model.hidden(ids)[0], direct.forward(model, ids, allowed=allowed), **CLOSE)


class Spy(Encoding):
    """Writes down what every hook is given."""

    needs_weights = True

    def __init__(self):
        super().__init__()
        self.calls = []

    def prepare(self, q_pos, k_pos, allowed):
        self.calls.append(("prepare", tuple(q_pos.shape), tuple(k_pos.shape), tuple(allowed.shape), allowed.dtype))
        return "state"

    def embed(self, x, state):
        self.calls.append(("embed", tuple(x.shape), state))
        return x

    def rotate(self, q, k, state, layer):
        self.calls.append(("rotate", tuple(q.shape), tuple(k.shape), state, layer))
        return q, k

    def bias(self, q, k, state, layer):
        self.calls.append(("bias", tuple(q.shape), tuple(k.shape), state, layer))

    def values(self, weights, state, layer):
        self.calls.append(("values", tuple(weights.shape), state, layer))


def test_hooks_are_called_once_a_forward_or_once_a_layer_with_the_promised_shapes():
    model, ids = small(Spy(), n_kv_heads=2)
    model.hidden(ids)
    one_layer = [
        [("rotate", (2, 4, T, D), (2, 2, T, D), "state", i), ("bias", (2, 4, T, D), (2, 4, T, D), "state", i),
         ("values", (2, 4, T, T), "state", i)]
        for i in range(2)
    ]  # fmt: skip
    first = [("prepare", (1, T), (1, T), (1, 1, T, T), torch.bool), ("embed", (2, T, D_MODEL), "state")]
    assert model.encoding.calls == first + one_layer[0] + one_layer[1]


def test_with_a_cache_keys_have_more_positions_than_queries():
    model, ids = small(Spy())
    cache = KVCache()
    model.hidden(ids[:, :5], cache=cache)
    model.encoding.calls.clear()
    model.hidden(ids[:, 5:], cache=cache)
    calls = model.encoding.calls
    assert calls[0] == ("prepare", (1, 2), (1, 7), (1, 1, 2, 7), torch.bool)
    assert calls[2][:3] == ("rotate", (2, 4, 2, D), (2, 4, 7, D))


# ---------------------------------------------------------------------------- a cache of keys before rotation


class Dynamic(Encoding):
    """RoPE whose frequencies shrink with the length seen so far: what makes cached, rotated keys stale."""

    def prepare(self, q_pos, k_pos, allowed):
        theta = torch.tensor([1.0, 0.3, 0.1], dtype=torch.float64) / (1 + k_pos.max())
        return tuple(p[:, None, :, None].double() * theta for p in (q_pos, k_pos))

    def rotate(self, q, k, state, layer):
        def turn(x, angle):
            a, b = x.chunk(2, -1)
            return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

        return turn(q, state[0]), turn(k, state[1])


def one_by_one(model, ids, cache):
    return torch.cat([model.hidden(ids[:, i : i + 1], cache=cache)[0] for i in range(ids.shape[1])], 1)


def test_the_cache_keeps_keys_before_door_two():
    model, ids = small(Dynamic(), n_layers=1)
    full = model.hidden(ids)[0][:, -1]
    fresh = one_by_one(model, ids, KVCache())[:, -1]
    torch.testing.assert_close(fresh, full, **CLOSE)
    stale = one_by_one(model, ids, KVCache(after_rotation=True))[:, -1]
    assert (stale - full).abs().max() > 1e-3, "rotated keys should have gone stale"


def test_in_deeper_models_no_cache_can_cure_a_scheme_that_changes_with_length():
    """Earlier hidden states were computed under other frequencies, whatever is done to the keys."""
    model, ids = small(Dynamic(), n_layers=2)
    full = model.hidden(ids)[0][:, -1]
    assert (one_by_one(model, ids, KVCache())[:, -1] - full).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["rope", "none"])
def test_registered_schemes_keep_door_one_shut_unless_it_is_theirs(name):
    x = torch.randn(2, T, D_MODEL)
    assert build(name, d_model=D_MODEL, n_heads=HEADS).embed(x, None) is x


def test_what_a_scheme_that_says_nothing_is_taken_for():
    """One coordinate, the usual scale, no claim on the attention weights: the fast path."""
    assert (Encoding.scale, Encoding.needs_weights, Encoding.axes) == (None, False, 1)
