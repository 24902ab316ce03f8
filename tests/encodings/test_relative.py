"""T5, Shaw and DeBERTa against transformers and against their papers' formulas; wrong versions must fail."""

import itertools
import math

import pytest
import torch

from helpers.encodings import build
from helpers.encodings.base import Encoding, positions
from helpers.encodings.deberta import DeBERTa, deberta_index, disentangled_terms, log_buckets
from helpers.encodings.shaw import Shaw, clipped_index, relative_logits, relative_values
from helpers.encodings.t5 import T5, t5_buckets
from helpers.model import CausalLM, Encoder

transformers = pytest.importorskip("transformers")


def distance(t: int, s: int | None = None, offset: int = 0) -> torch.Tensor:
    return Encoding.distance(positions(t, offset), positions(s or t))


# ---------------------------------------------------------------------------------------------------------- T5


@pytest.mark.oracle("t5.t5_buckets", against="transformers: T5")
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_buckets", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("max_distance", [48, 64, 100, 128, 256, 1000, 4096])
def test_t5_buckets_equal_transformers(bidirectional, num_buckets, max_distance):
    from transformers.models.t5.modeling_t5 import T5Attention

    if max_distance <= num_buckets // (4 if bidirectional else 2):
        pytest.skip("no room for far buckets")
    d = torch.arange(-5000, 5001)
    theirs = T5Attention._relative_position_bucket(d, bidirectional, num_buckets, max_distance)
    assert torch.equal(t5_buckets(d, num_buckets, max_distance, bidirectional), theirs)


def wrong_t5_buckets():
    """Plausible mistakes, each a function of (distance, bidirectional) at 32 buckets and 128."""

    def other_sign(d, b):
        return t5_buckets(-d, bidirectional=b)

    def no_halving(d, b):
        return t5_buckets(-d.abs()) if b else t5_buckets(d, bidirectional=True)

    def rounded(d, b):
        side = 16 if b else 32
        n = d.abs() if b else (-d).clamp(min=0)
        growth = (n.clamp(min=side // 2).float() / (side // 2)).log() / math.log(128 / (side // 2))
        far = (side // 2 + (growth * (side - side // 2)).round().long()).clamp(max=side - 1)
        return torch.where(n < side // 2, n, far) + (16 * (d > 0) if b else 0)

    def linear(d, b):
        side = 16 if b else 32
        n = d.abs() if b else (-d).clamp(min=0)
        return (n * side // 128).clamp(max=side - 1) + (16 * (d > 0) if b else 0)

    def zero_is_future(d, b):
        return t5_buckets(d, bidirectional=b) + 16 * (d == 0) if b else t5_buckets(d - 1)

    return [other_sign, no_halving, rounded, linear, zero_is_future]


@pytest.mark.parametrize("wrong", wrong_t5_buckets(), ids=lambda f: f.__name__)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_wrong_t5_buckets_fail(wrong, bidirectional):
    d = torch.arange(-200, 201)
    assert not torch.equal(wrong(d, bidirectional), t5_buckets(d, bidirectional=bidirectional))


def test_t5_bucket_facts():
    back = t5_buckets(-torch.arange(1000))
    assert back.unique().tolist() == list(range(32)) and (back == 31).nonzero()[0].item() == 113
    both = t5_buckets(torch.arange(-1000, 1001), bidirectional=True)
    assert sorted(set(range(32)) - set(both.tolist())) == [16]
    assert t5_buckets(torch.tensor([-90, -91, 90, 91]), bidirectional=True).tolist() == [14, 15, 30, 31]
    assert t5_buckets(torch.arange(1, 50)).eq(0).all()  # causal: the future shares bucket 0 with the query itself


@pytest.mark.oracle("t5.T5", against="transformers: T5")
@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("t, s, past", [(7, 7, 0), (1, 30, 29), (5, 200, 195), (64, 64, 0)])
def test_t5_bias_equals_transformers(decoder, t, s, past):
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    config = T5Config(d_model=32, d_kv=8, num_heads=4, is_decoder=decoder)
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    ours = T5(4, bidirectional=not decoder)
    with torch.no_grad():
        ours.table.weight.copy_(theirs.relative_attention_bias.weight)
    q_pos, k_pos = positions(t, past), positions(s)
    assert torch.equal(ours.prepare(q_pos, k_pos, None), theirs.compute_bias(t, s, past_seen_tokens=past))
    assert ours.scale == theirs.scaling == 1.0  # no 1/sqrt(d)


@pytest.mark.oracle("t5.T5", against="transformers: T5")
@pytest.mark.parametrize("decoder", [False, True])
def test_t5_attention_equals_transformers(decoder):
    """Logits, bias and scale together: the output of a whole attention layer."""
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    torch.manual_seed(0)
    config = T5Config(d_model=32, d_kv=8, num_heads=4, is_decoder=decoder, dropout_rate=0.0)
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).eval()
    ours = T5(4, bidirectional=not decoder)
    with torch.no_grad():
        ours.table.weight.copy_(theirs.relative_attention_bias.weight)
    x = torch.randn(2, 11, 32)
    mask = torch.full((11, 11), -torch.inf).triu(1)[None, None] if decoder else torch.zeros(1, 1, 11, 11)
    expected = theirs(x, mask=mask)[0]
    q, k, v = (layer(x).view(2, 11, 4, 8).transpose(1, 2) for layer in (theirs.q, theirs.k, theirs.v))
    state = ours.prepare(positions(11), positions(11), None)

    def attention(scale):
        weights = (q @ k.transpose(-1, -2) * scale + ours.bias(q, k, state, 0) + mask).softmax(-1)
        return theirs.o((weights @ v).transpose(1, 2).reshape(2, 11, 32))

    torch.testing.assert_close(attention(ours.scale), expected, atol=1e-5, rtol=1e-5)
    assert (attention(8**-0.5) - expected).abs().max() > 1e-2  # the common mistake: 1/sqrt(d)


@pytest.mark.parametrize(
    "kwargs", [{"num_buckets": 31}, {"num_buckets": 0}, {"max_distance": 16}, {"n_heads": 0}, {"std": -1.0}]
)
def test_t5_refuses(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        T5(**{"n_heads": 4, **kwargs})
    with pytest.raises(ValueError, match="num_buckets"):
        T5(4, num_buckets=18, bidirectional=True)


def test_t5_in_the_race_trains_every_bucket():
    encoding = build("t5", train_len=64)
    used = t5_buckets(distance(64), 32, encoding.max_distance).unique()
    assert encoding.max_distance == 48 and used.tolist() == list(range(32))
    assert t5_buckets(distance(64), 32, 128).max() < 31  # with the paper's 128, some rows would stay untrained


# --------------------------------------------------------------------------------------------------------- Shaw


@pytest.mark.oracle("shaw.Shaw", "shaw.relative_logits", "shaw.clipped_index", against="transformers: Wav2Vec2-BERT")
@pytest.mark.parametrize("seq_len, left, right", [(6, 3, 3), (12, 4, 4), (20, 8, 8)])
def test_shaw_keys_equal_wav2vec2_bert(seq_len, left, right):
    from transformers import Wav2Vec2BertConfig
    from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import Wav2Vec2BertSelfAttention

    torch.manual_seed(0)
    config = Wav2Vec2BertConfig(
        hidden_size=32,
        num_attention_heads=4,
        position_embeddings_type="relative_key",
        left_max_position_embeddings=left,
        right_max_position_embeddings=right,
        attention_dropout=0.0,
    )
    config._attn_implementation = "eager"
    theirs = Wav2Vec2BertSelfAttention(config).eval()
    x = torch.randn(2, seq_len, 32)
    out, weights = theirs(x, output_attentions=True)
    q, k, v = (
        layer(x).view(2, seq_len, 4, 8).transpose(1, 2) for layer in (theirs.linear_q, theirs.linear_k, theirs.linear_v)
    )
    ours = Shaw(4, 8, max_distance=left, values=False)
    with torch.no_grad():
        ours.key_table.copy_(theirs.distance_embedding.weight[None, None].expand_as(ours.key_table))
    state = ours.prepare(positions(seq_len), positions(seq_len), None)
    logits = q @ k.transpose(-1, -2) * 8**-0.5 + ours.bias(q, k, state, 0)
    expected = theirs.linear_out((logits.softmax(-1) @ v).transpose(1, 2).reshape(2, seq_len, 32))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    flipped = Shaw.distance(positions(seq_len), positions(seq_len)).neg()  # query - key: the other sign
    wrong = q @ k.transpose(-1, -2) * 8**-0.5
    wrong = wrong + relative_logits(q, ours.key_table[0], clipped_index(flipped, left)) * 8**-0.5
    assert (wrong - logits).abs().max() > 1e-2


@pytest.mark.parametrize("t, s, offset, k", [(5, 5, 0, 2), (1, 9, 8, 3), (7, 7, 0, 16), (4, 6, 2, 1)])
def test_shaw_is_equations_3_and_4(t, s, offset, k):
    """Equations 3 and 4 with loops, in float64."""
    torch.manual_seed(0)
    heads, dim = 3, 4
    q, keys, v = (torch.randn(2, heads, n, dim, dtype=torch.float64) for n in (t, s, s))
    a_key, a_value = (torch.randn(heads, 2 * k + 1, dim, dtype=torch.float64) for _ in range(2))
    logits = torch.zeros(2, heads, t, s, dtype=torch.float64)
    z = torch.zeros(2, heads, t, dim, dtype=torch.float64)
    for h, i, j in itertools.product(range(heads), range(t), range(s)):
        row = max(-k, min(k, j - (i + offset))) + k
        logits[:, h, i, j] = (q[:, h, i] * (keys[:, h, j] + a_key[h, row])).sum(-1) / math.sqrt(dim)
    weights = logits.softmax(-1)
    for h, i, j in itertools.product(range(heads), range(t), range(s)):
        row = max(-k, min(k, j - (i + offset))) + k
        z[:, h, i] += weights[:, h, i, j, None] * (v[:, h, j] + a_value[h, row])
    index = clipped_index(distance(t, s, offset), k)
    ours = (q @ keys.transpose(-1, -2) + relative_logits(q, a_key, index)) / math.sqrt(dim)
    torch.testing.assert_close(ours, logits)
    torch.testing.assert_close(weights @ v + relative_values(weights, a_value, index), z)
    unclipped_table = index.clamp(0, 2 * k - 1)  # a table of 2k rows instead of 2k + 1
    if index.max() == 2 * k:
        assert not torch.allclose(relative_logits(q, a_key, unclipped_table), relative_logits(q, a_key, index))


def test_shaw_in_the_model_uses_the_values():
    torch.manual_seed(0)
    ids = torch.randint(10, (2, 20))
    model = CausalLM(10, 32, 4, 2, Shaw(4, 8, max_distance=4, n_layers=2, std=0.5)).eval()
    out = model(ids)
    with torch.no_grad():
        model.encoding.value_table.zero_()
    assert (model(ids) - out).abs().max() > 1e-3
    assert model.encoding.key_table.shape == (2, 4, 9, 8)  # 2k + 1 rows
    torch.testing.assert_close(model(ids), model(ids, position_ids=torch.arange(20)[None] + 1000))


# ------------------------------------------------------------------------------------------------------ DeBERTa


def deberta_pair(seq_len: int, span: int):
    """transformers' attention and ours with the same weights; inputs and both outputs' logits."""
    from transformers import DebertaConfig
    from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention, build_relative_position

    torch.manual_seed(0)
    config = DebertaConfig(
        hidden_size=32,
        num_attention_heads=4,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        max_relative_positions=span,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    theirs = DisentangledSelfAttention(config).eval()
    x = torch.randn(2, seq_len, 32)
    rel = torch.randn(2 * span, 32)
    qkv = theirs.transpose_for_scores(theirs.in_proj(x)).chunk(3, dim=-1)
    mask = torch.ones(2, 1, seq_len, seq_len)
    _, weights = theirs(
        x, mask, output_attentions=True, relative_pos=build_relative_position(qkv[0], qkv[1]), rel_embeddings=rel
    )
    ours = DeBERTa(32, 4, max_distance=span)
    with torch.no_grad():
        ours.table.weight.copy_(rel)
        ours.key_projections[0].weight.copy_(theirs.pos_proj.weight)
        ours.query_projections[0].weight.copy_(theirs.pos_q_proj.weight)
        ours.query_projections[0].bias.copy_(theirs.pos_q_proj.bias)
    return ours, qkv[0], qkv[1], weights


@pytest.mark.oracle(
    "deberta.DeBERTa", "deberta.disentangled_terms", "deberta.deberta_index", against="transformers: DeBERTa"
)
@pytest.mark.parametrize("seq_len, span", [(6, 8), (8, 8), (5, 12)])
def test_deberta_equals_transformers_in_the_codes_convention(seq_len, span):
    ours, q, k, weights = deberta_pair(seq_len, span)
    state = ours.prepare(positions(seq_len), positions(seq_len), None)

    def attention():
        # transformers reads only the middle of the table when the input is shorter than it: same rows as ours
        return (q @ k.transpose(-1, -2) * ours.scale + ours.bias(q, k, state, 0)).softmax(-1)

    torch.testing.assert_close(attention(), weights, atol=1e-5, rtol=1e-5)
    ours.convention = "paper"
    assert (attention() - weights).abs().max() > 1e-2
    ours.convention, ours.scale = "code", 8**-0.5  # the common mistake: 1/sqrt(d) instead of 1/sqrt(3d)
    assert (attention() - weights).abs().max() > 1e-2


@pytest.mark.parametrize("convention", ["code", "paper"])
def test_disentangled_terms_are_equation_4(convention):
    torch.manual_seed(0)
    heads, dim, t, span = 2, 4, 7, 3
    q, k = (torch.randn(1, heads, t, dim, dtype=torch.float64) for _ in range(2))
    kr, qr = (torch.randn(heads, 2 * span, dim, dtype=torch.float64) for _ in range(2))

    def delta(i, j):
        return max(0, min(2 * span - 1, i - j + span))

    expected = torch.zeros(1, heads, t, t, dtype=torch.float64)
    for h, i, j in itertools.product(range(heads), range(t), range(t)):
        row = delta(j, i) if convention == "paper" else delta(i, j)
        expected[0, h, i, j] = q[0, h, i] @ kr[h, delta(i, j)] + k[0, h, j] @ qr[h, row]
    torch.testing.assert_close(sum(disentangled_terms(q, k, kr, qr, distance(t), convention)), expected)


def test_deberta_projects_keys_without_a_bias_and_queries_with_one():
    """As released. A bias of the keys would add one number to all logits of a query, which softmax does not see."""
    from transformers import DebertaConfig
    from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention

    theirs = DisentangledSelfAttention(
        DebertaConfig(hidden_size=32, num_attention_heads=4, relative_attention=True, pos_att_type=["c2p", "p2c"])
    )
    ours = DeBERTa(32, 4)
    for mine, other in ((ours.key_projections, theirs.pos_proj), (ours.query_projections, theirs.pos_q_proj)):
        assert (mine[0].bias is None) == (other.bias is None)


@pytest.mark.oracle("deberta.log_buckets", against="transformers: DeBERTa-v2")
@pytest.mark.parametrize("buckets, farthest", [(256, 512), (32, 512), (8, 20), (7, 30), (2, 3)])
def test_log_buckets_equal_transformers(buckets, farthest):
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    d = torch.arange(-3 * farthest, 3 * farthest + 1)
    assert torch.equal(log_buckets(d, buckets, farthest), make_log_bucket_position(d, buckets, farthest).long())


def test_published_buckets_of_deberta_v3():
    """A key 200 or 300 steps back: rows 425 and 463 of 512; without buckets it would be 456 and the last."""
    back = torch.tensor([-200, -300])
    assert deberta_index(log_buckets(back, 256, 512), 256).tolist() == [425, 463]
    assert deberta_index(back, 256).tolist() == [456, 511]
    scheme = DeBERTa(8, 2, max_distance=256, max_position=512)
    state = scheme.prepare(torch.tensor([[400]]), torch.tensor([[200, 100, 400, 500]]), None)
    assert deberta_index(state, 256).tolist() == [[[425, 463, 256, 156]]]


@pytest.mark.oracle("deberta.DeBERTa", "deberta.log_buckets", against="transformers: DeBERTa-v2")
@pytest.mark.parametrize("seq_len", [6, 30])
def test_deberta_with_buckets_equals_transformers(seq_len):
    from transformers import DebertaV2Config
    from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention, build_relative_position

    torch.manual_seed(0)
    config = DebertaV2Config(
        hidden_size=32, num_attention_heads=4, relative_attention=True, pos_att_type=["c2p", "p2c"],
        position_buckets=8, max_relative_positions=20, share_att_key=False, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    theirs, x, rows = DisentangledSelfAttention(config).eval(), torch.randn(1, seq_len, 32), torch.randn(16, 32)
    rel = build_relative_position(x, x, bucket_size=8, max_position=20)
    mask = torch.ones(1, 1, seq_len, seq_len)
    _, weights = theirs(x, mask, output_attentions=True, relative_pos=rel, rel_embeddings=rows)
    q, k = (project(x).unflatten(-1, (4, 8)).transpose(1, 2) for project in (theirs.query_proj, theirs.key_proj))
    ours = DeBERTa(32, 4, max_distance=8, max_position=20)
    with torch.no_grad():
        ours.table.weight.copy_(rows)
        ours.key_projections[0].weight.copy_(theirs.pos_key_proj.weight)  # its bias moves all logits of a query alike
        ours.query_projections[0].weight.copy_(theirs.pos_query_proj.weight)
        ours.query_projections[0].bias.copy_(theirs.pos_query_proj.bias)

    def attention(scheme):
        state = scheme.prepare(positions(seq_len), positions(seq_len), None)
        return (q @ k.mT * scheme.scale + scheme.bias(q, k, state, 0)).softmax(-1)

    torch.testing.assert_close(attention(ours), weights, atol=1e-5, rtol=1e-5)
    ours.max_position = None  # clipped at 8 instead
    assert seq_len == 6 or (attention(ours) - weights).abs().max() > 1e-2


def test_buckets_need_room():
    with pytest.raises(ValueError, match="max_position=256: must be above max_distance=256"):
        DeBERTa(8, 2, max_distance=256, max_position=256)
    with pytest.raises(ValueError, match="max_distance=1: must be an integer of at least 2"):
        DeBERTa(8, 2, max_distance=1, max_position=9)


def test_deberta_index_has_the_opposite_sign():
    d = torch.arange(-10, 11)
    assert deberta_index(d, 4).max() == 7 and deberta_index(d, 4).min() == 0
    assert (deberta_index(d, 4).diff() <= 0).all() and (clipped_index(d, 4).diff() >= 0).all()


@pytest.mark.parametrize("name", ["t5", "shaw", "deberta"])
def test_relative_schemes_see_distance_only(name):
    """Shifting every position changes nothing; swapping two tokens does."""
    torch.manual_seed(0)
    model = CausalLM(10, 64, 4, 2, build(name)).eval()
    ids = torch.randint(10, (1, 12))
    out = model(ids)
    torch.testing.assert_close(model(ids, position_ids=torch.arange(12)[None] + 77), out, atol=1e-5, rtol=1e-5)
    encoder = Encoder(10, 64, 4, 1, build(name, bidirectional=True) if name == "t5" else build(name)).eval()
    if name == "shaw":
        with torch.no_grad():
            encoder.encoding.key_table.mul_(50)
    swapped = ids.clone()
    swapped[0, [0, -1]] = ids[0, [-1, 0]]
    swapped[0, 0] = (ids[0, -1] + 1) % 10
    assert (encoder.pooled(ids) - encoder.pooled(swapped)).abs().max() > 1e-4


@pytest.mark.parametrize(
    "kwargs", [{"std": -0.5}, {"max_distance": 0}, {"n_layers": 0}, {"head_dim": 2.5}, {"values": 1}]
)
def test_shaw_refuses(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        Shaw(**{"n_heads": 4, "head_dim": 8, **kwargs})


def test_tables_start_with_the_spread_asked_for():
    torch.manual_seed(0)
    assert DeBERTa(64, 4, max_distance=64).table.weight.std().item() == pytest.approx(0.02, rel=0.05)
    shaw = Shaw(4, 32, max_distance=16, std=0.5)
    assert shaw.key_table.std().item() == pytest.approx(0.5, rel=0.05)
    assert shaw.value_table.std().item() == pytest.approx(0.5, rel=0.05)
    for gain in (1.0, 10.0):  # a larger gain, a smaller table: the biases start the same
        table = T5(64, num_buckets=64, std=0.5, gain=gain).table.weight
        assert gain * table.std().item() == pytest.approx(0.5, rel=0.05)
