"""Learned tables against the position handling of BERT, GPT-2, OPT and RoBERTa in transformers."""

import math

import pytest
import torch
from torch import nn

from helpers import race
from helpers.encodings import build
from helpers.encodings.base import positions
from helpers.encodings.learned import Learned, interpolate_table, padded_positions
from helpers.model import CausalLM
from helpers.sources import published
from helpers.studies import initial_scale

transformers = pytest.importorskip("transformers")


def test_table_is_a_lookup_and_a_product_with_one_hot_rows():
    encoding = Learned(8, 16, std=0.5)
    x = torch.randn(2, 5, 8)
    q_pos = torch.tensor([[3, 0, 3, 15, 7]])
    rows = nn.functional.one_hot(q_pos, 16).float() @ encoding.table.weight
    torch.testing.assert_close(encoding.embed(x, encoding.prepare(q_pos, q_pos, None)), x + rows)


@pytest.mark.oracle("learned.Learned", against="transformers: GPT-2")
def test_gpt2_input_equals_transformers():
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=50, n_embd=24, n_head=2, n_layer=1, n_positions=16, embd_pdrop=0.0)
    theirs = GPT2Model(config).eval()
    ids = torch.randint(50, (2, 9))
    hidden = theirs(ids, output_hidden_states=True).hidden_states[0]
    ours = Learned(24, 16)
    with torch.no_grad():
        ours.table.weight.copy_(theirs.wpe.weight)
    torch.testing.assert_close(ours.embed(theirs.wte(ids), ours.prepare(positions(9), positions(9), None)), hidden)


def test_the_wall_in_transformers():
    """The two errors that the notebook shows, from the models themselves."""
    from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

    gpt2 = GPT2Model(GPT2Config(vocab_size=50, n_embd=24, n_head=2, n_layer=1, n_positions=16)).eval()
    with pytest.raises(IndexError, match="index out of range"):
        gpt2(torch.randint(50, (1, 17)))
    config = BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_attention_heads=2,
        num_hidden_layers=1,
        intermediate_size=24,
        max_position_embeddings=16,
    )
    with pytest.raises(RuntimeError, match="expanded size|size of tensor"):
        BertModel(config)(torch.randint(50, (1, 17)))


PADDED = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 1, 1]]).bool()


@pytest.mark.oracle("learned.padded_positions", "learned.Learned", against="transformers: OPT")
@pytest.mark.parametrize("real", [PADDED, torch.ones(2, 7).bool()])
def test_rows_of_a_padded_batch_equal_opt(real):
    """Positions go in, the table adds its offset: 2, 3, 4, and 1 on padding. Rows going in would read 4, 5, 6."""
    from transformers.models.opt.modeling_opt import OPTLearnedPositionalEmbedding

    theirs, ours, x = OPTLearnedPositionalEmbedding(20, 6), Learned(6, 20, offset=2), torch.zeros(*real.shape, 6)
    assert theirs.weight.shape == ours.table.weight.shape == (22, 6)  # two rows more than positions
    ours.table.weight = theirs.weight
    pos = padded_positions(real)
    torch.testing.assert_close(ours.embed(x, ours.prepare(pos, pos, None)), theirs(real.long()))
    if not real.all():
        with pytest.raises(ValueError, match="position=-1: the table has positions 0"):
            Learned(6, 20).prepare(pos, pos, None)
    with pytest.raises(ValueError, match="position=-3: the table has positions -2 .. 19"):
        ours.prepare(pos - pos.min() - 3, pos, None)
    twice = ours.embed(x, ours.prepare(pos + 2, pos, None))  # the old mistake: rows given for positions
    assert not torch.allclose(twice, theirs(real.long()))


@pytest.mark.oracle("learned.padded_positions", against="transformers: RoBERTa")
@pytest.mark.parametrize("padding_idx", [0, 1, 3])
def test_rows_of_a_padded_batch_equal_roberta(padding_idx):
    from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

    ids = torch.where(PADDED, 7, padding_idx)
    theirs = RobertaEmbeddings.create_position_ids_from_input_ids(ids, padding_idx)
    assert torch.equal(padded_positions(PADDED) + padding_idx + 1, theirs)


def test_who_uses_a_learned_table():
    """Claim viii: GPT-Neo's released architecture has a learned table, and no rotation; and the published sizes."""
    import transformers as tf

    rows = published("transformers.table_rows")
    assert tf.BertConfig().max_position_embeddings == rows["BERT"]
    assert tf.GPT2Config().n_positions == rows["GPT-2"]
    assert tf.OPTConfig().max_position_embeddings + 2 == rows["OPT"]
    config = tf.GPTNeoConfig(
        vocab_size=50,
        hidden_size=16,
        num_layers=1,
        num_heads=2,
        attention_types=[[["global"], 1]],
        intermediate_size=16,
    )
    model = tf.GPTNeoModel(config)
    table = getattr(model, published("transformers.gpt_neo")["module"])
    assert isinstance(table, nn.Embedding)
    assert table.num_embeddings == published("transformers.gpt_neo")["rows"] == rows["GPT-Neo"]
    assert not any("rotary" in name for name, _ in model.named_modules())


def test_deberta_has_no_scalar_biases():
    """Claim ix: relative positions are vectors with query and key projections, in three terms."""
    from transformers import DebertaConfig
    from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention

    terms = published("transformers.deberta")["terms"]
    config = DebertaConfig(
        hidden_size=32, num_attention_heads=4, relative_attention=True, pos_att_type=terms, max_relative_positions=8
    )
    layer = DisentangledSelfAttention(config)
    assert layer.pos_proj.weight.shape == layer.pos_q_proj.weight.shape == (32, 32)
    assert not any(isinstance(m, nn.Embedding) for m in layer.modules())
    assert 1 + len(terms) == published("transformers.deberta")["logit_scale_terms"]


@pytest.mark.parametrize("kwargs", [{"max_len": 0}, {"d_model": -1}, {"std": 0.0}, {"offset": -1}, {"max_len": 2.5}])
def test_learned_refuses(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        Learned(**{"d_model": 8, "max_len": 16, **kwargs})


@pytest.mark.parametrize("offset", [0, 2])
def test_the_wall(offset):
    model = CausalLM(10, 16, 2, 1, Learned(16, 8, offset=offset))
    assert model(torch.zeros(1, 8, dtype=torch.long)).shape == (1, 8, 10)
    with pytest.raises(ValueError, match="larger max_len"):
        model(torch.zeros(1, 9, dtype=torch.long))
    with pytest.raises(ValueError, match="position"):
        model(torch.zeros(1, 1, dtype=torch.long), position_ids=torch.tensor([[-1 - offset]]))


@pytest.mark.parametrize("rows, length", [(5, 9), (8, 8), (16, 7), (3, 100)])
def test_interpolation_keeps_the_ends_and_is_linear(rows, length):
    table = torch.randn(rows, 6, dtype=torch.float64)
    stretched = interpolate_table(table, length)
    assert stretched.shape == (length, 6)
    torch.testing.assert_close(stretched[[0, -1]], table[[0, -1]])
    straight = torch.arange(rows, dtype=torch.float64)[:, None].expand(-1, 6)
    expected = torch.linspace(0, rows - 1, length, dtype=torch.float64)
    torch.testing.assert_close(interpolate_table(straight, length)[:, 0], expected)
    if length > rows:
        assert not torch.allclose(stretched, table.repeat(length // rows + 1, 1)[:length])  # tiling is not stretching


def test_rows_that_no_input_visits_only_shrink():
    """No gradient reaches them; AdamW's weight decay multiplies them by prod(1 - lr * weight_decay)."""
    torch.manual_seed(0)
    settings = race.Settings(d_model=16, n_heads=2, n_layers=1, train_len=8, batch=4, steps=20, warmup=5, lengths=(8,))
    model = CausalLM(10, 16, 2, 1, build("learned", d_model=16, n_heads=2, max_len=12))
    table = model.encoding.table.weight
    before = table.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=0.1)
    for _ in range(settings.steps):
        optimizer.zero_grad()
        model(torch.randint(10, (4, 8))).logsumexp(-1).mean().backward()
        assert table.grad[8:].eq(0).all() and table.grad[:8].ne(0).any(1).all()
        optimizer.step()
    factor = math.prod([1 - settings.lr * 0.1] * settings.steps)
    torch.testing.assert_close(table[8:].detach(), factor * before[8:])
    assert (table[:8].detach() - factor * before[:8]).abs().max() > 1e-3


def test_size_of_bert_base():
    """The notebook counts BERT-base by hand: 109,482,240."""
    with torch.device("meta"):
        model = transformers.BertModel(transformers.BertConfig())
    assert sum(p.numel() for p in model.parameters()) == 109_482_240


# ------------------------------------------------------------------------------------------------ the scale study


def test_scale_study_starts_as_it_says():
    settings = race.Settings(d_model=32, n_heads=4, n_layers=1, train_len=16, lengths=(16, 32))
    plain = race.make_model("learned", settings, 0)
    for condition, (contender, token_std) in initial_scale.CONDITIONS.items():
        model = initial_scale.make(condition, 0, settings)
        assert model.token_embedding.weight.std().item() == pytest.approx(token_std, rel=0.1)
        added = torch.zeros(1, 16, 32)
        if contender.scheme in ("learned", "sinusoidal"):
            added = model.encoding.embed(added, model.encoding.prepare(positions(16), None, None))
            size = 1.0 if condition == "learned, gain 10" else 0.02
            assert added.square().mean().sqrt().item() == pytest.approx(size, rel=0.1)
    ids = torch.randint(70, (2, 16))
    torch.testing.assert_close(initial_scale.make("learned, gain 10", 0, settings)(ids), plain(ids))
    torch.testing.assert_close(
        initial_scale.make("T5, gain 10", 0, settings)(ids), race.make_model("t5", settings, 0)(ids)
    )


def test_snapshots_see_the_beginning_and_the_end():
    layer = nn.Linear(2, 2)
    kept = initial_scale.Snapshots(layer.weight, (0, 2, 5))
    for step in range(1, 7):
        with torch.no_grad():
            layer.weight.add_(1)
        kept(step)
    assert list(kept.tables) == [0, 2, 5]
    torch.testing.assert_close(kept.tables[5], kept.tables[0] + 5)


def test_scale_study_is_recorded():
    study = initial_scale.recorded()
    assert set(study) == set(initial_scale.CONDITIONS) and all(len(runs) >= 3 for runs in study.values())
    snapshots = initial_scale.recorded_snapshots()
    assert list(snapshots)[0] == 0 and len(snapshots) == 6 and initial_scale.recorded_bias().shape == (32, 4)


def test_a_table_is_not_stretched_to_fewer_than_two_rows():
    with pytest.raises(ValueError, match="length=1: must be an integer of at least 2"):
        interpolate_table(torch.ones(4, 3), 1)
    assert interpolate_table(torch.arange(4.0)[:, None], 2).tolist() == [[0.0], [3.0]]
