"""The checks that readers copy: right schemes and models of transformers pass, and every planted bug is found."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers import check_encoding, corpus, race
from helpers.encodings import NoEncoding, RoPE, build, extension
from helpers.model import CausalLM, KVCache
from helpers.studies import planted


def integers(high: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def text_model(name: str, **kwargs) -> CausalLM:
    """A random language model with large weights, so that its attention is far from uniform."""
    model = CausalLM(len(corpus.ALPHABET), 32, 2, 2, build(name, d_model=32, n_heads=2, **kwargs))
    torch.manual_seed(0)
    for p in model.parameters():
        nn.init.normal_(p, std=0.4)
    return model.eval()


RELATIVE_AND_CAUSAL = ("rope", "pope", "xpos", "alibi", "t5", "shaw", "kerple", "cope", "sandwich", "deberta",
                       "transformer_xl")  # fmt: skip


@pytest.mark.parametrize("name", [*RELATIVE_AND_CAUSAL, "sinusoidal", "learned", "fire", "none"])
def test_the_checks_pass_right_schemes_of_helpers(name):
    kwargs = {"max_len": 5100} if name == "learned" else {}
    model = text_model(name, **kwargs)
    if name == "cope":
        nn.init.normal_(model.encoding.table, std=0.4)

    def run(ids, position_ids=None, attention_mask=None, cache=None):
        return model(ids, position_ids=position_ids, attention_mask=attention_mask, cache=cache)

    found = check_encoding.check_encoding(run, len(corpus.ALPHABET), KVCache)
    failed = {check for check, passed in found.items() if not passed}
    moved = {"only distances count", "far away is exact"}  # absolute positions cannot pass these two
    expected = {"none": {"positions arrive"}, "cope": {"positions arrive"}}
    expected |= dict.fromkeys(("sinusoidal", "learned", "fire"), moved)
    assert failed == expected.get(name, set())


@pytest.mark.parametrize("seed", [0, 4])
def test_the_checks_find_every_bug(seed):
    runner = functools.partial(planted.runner, seed=seed)
    suspects = {
        "positions arrive": runner(NoEncoding()),
        "rows of a batch are alike": runner(planted.BatchAxis(16)),
        "only distances count": runner(planted.Mixed(16)),
        "cache equals recomputation": runner(forget="cache"),
        "left padding changes nothing": runner(forget="mask"),
        "far away is exact": runner(planted.LowPrecision(16)),
    }
    check = functools.partial(check_encoding.check_encoding, vocab_size=len(corpus.ALPHABET), new_cache=KVCache)
    assert all(check(runner()).values())
    assert all(check(runner(extension.DynamicNTK(16, 64, 2.0))).values())
    for name, suspect in suspects.items():
        assert not check(suspect)[name], name
    ids, model = integers(20, 2, 9), race.load_model("rope", seed)
    with torch.no_grad():
        assert torch.equal(runner()(ids), model(ids))  # nothing forgotten: the recorded model itself


def test_the_checks_need_nothing_of_this_course():
    """The file is copied: it must run where helpers is not, and import what it uses."""
    source = Path(check_encoding.__file__).read_text(encoding="utf-8")
    names = {alias.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for alias in node.names}
    assert names == {"inspect", "math", "torch"} and "helpers" not in source
    assert not [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom) and n.module != "__future__"]


def test_what_is_planted_is_found():
    """Every suspect through all eight checks: what is right passes, each bug fails the one that it is planted for."""
    found = {
        name: check_encoding.check_encoding(run, len(corpus.ALPHABET), KVCache)
        | check_encoding.check_rule(logit, 16, rope)
        for name, (run, logit, rope) in planted.suspects(1).items()
    }
    rows = list(found.values())
    checks = list(rows[0])
    assert all(all(row.values()) for row in rows[:3])
    for row, check in zip(rows[3:], (0, 1, 2, 3, 4, 5, 6, 7, 7), strict=True):
        assert not row[checks[check]]
    assert all(row[check] for row in rows[9:] for check in checks[:6])


EXTENDED = {
    "default": {},
    "linear": {"factor": 8.0},
    "dynamic": {"factor": 2.0},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "yarn": {"factor": 16.0},
}


def rope_parameters(kind: str, length: int = 4096, **more) -> dict:
    own = {} if kind == "default" else {"original_max_position_embeddings": length}
    return {"rope_type": kind, "rope_theta": 10_000.0, **own, **EXTENDED[kind], **more}


def frequencies_of(kind: str, width: int, length: int = 4096, **options) -> torch.Tensor:
    return extension.extend(kind, width, 10_000.0, EXTENDED["yarn"]["factor"], length, **options).inv_freq


def test_the_checks_of_the_rule_pass_what_is_configured_and_find_what_is_not():
    def check(encoding, kind, rotated=slice(None), **more):
        rope = {"original_max_position_embeddings": 4096, **rope_parameters(kind, **more)}
        width = encoding.head_dim
        return tuple(check_encoding.check_rule(planted.logit_of(encoding), width, rope, rotated).values())

    own = {"llama3": {"low_freq_factor": 1.0, "high_freq_factor": 4.0}}
    for kind, rule in (("default", "none"), ("linear", "pi"), ("llama3", "llama3"), ("yarn", "yarn")):
        s = EXTENDED[kind].get("factor", 1.0)
        ext = extension.extend(rule, 64, 10_000.0, s, 4096, **own.get(kind, {}))
        for layout in ("half", "interleaved"):
            encoding = RoPE(64, inv_freq=ext.inv_freq, attention_factor=ext.attention_factor, layout=layout)
            assert check(encoding, kind) == (True, True), kind
    assert check(extension.DynamicNTK(64, 4096, 2.0), "dynamic") == (True, True)
    assert check(extension.DynamicNTK(64, 4096, 1.0), "dynamic") == (False, True)

    f, right = extension.temperature_factor(16.0), frequencies_of("yarn", 64)
    wrong_frequencies = (
        frequencies_of("ntk", 64), frequencies_of("pi", 64), frequencies_of("none", 64),
        frequencies_of("yarn", 64, ramp="paper"), frequencies_of("yarn", 64, truncate=False),
    )  # fmt: skip
    for inv_freq in wrong_frequencies:
        assert check(RoPE(64, inv_freq=inv_freq, attention_factor=f), "yarn") == (False, True)
    assert check(RoPE(64, inv_freq=wrong_frequencies[-1], attention_factor=f), "yarn", truncate=False) == (True, True)
    for factor, scale in ((f**2, None), (1.0, None), (f, f**2 / 8), (f**0.5, None)):
        assert check(RoPE(64, inv_freq=right, attention_factor=factor, scale=scale), "yarn") == (True, False)
    assert check(RoPE(64, inv_freq=right, scale=f**2 / 8), "yarn") == (True, True)  # all of the head turns: the same
    assert check(RoPE(64, inv_freq=right, attention_factor=1.1), "yarn", attention_factor=1.1) == (True, True)

    # DeepSeek's heads: 64 of 192 channels turn, and its factor belongs on the whole logit, not on cos and sin.
    part = {"rotary_dim": 64, "rotated": "last", "inv_freq": right}
    both = {"rotated": slice(128, None), "mscale": 1.0, "mscale_all_dim": 1.0}
    assert check(RoPE(192, **part, scale=f**2 / 192**0.5), "yarn", **both) == (True, True)
    assert check(RoPE(192, **part, attention_factor=f), "yarn", **both) == (True, False)
    small = extension.temperature_factor(16.0, 0.707)
    lite = {"rotated": slice(128, None), "mscale": 0.707, "mscale_all_dim": 0.707}
    assert check(RoPE(192, **part, scale=small**2 / 192**0.5), "yarn", **lite) == (True, True)
    assert check(RoPE(192, **part, scale=f**2 / 192**0.5), "yarn", **lite) == (True, False)
    with pytest.raises(ValueError, match="rope_type='longrope'"):
        check_encoding.expected(
            {**rope_parameters("default", original_max_position_embeddings=64), "rope_type": "longrope"}, 64, 64
        )


def small_model(family: str, rope: dict, **more):
    """A model of transformers with random weights, large enough ones for its logits to depend on what it reads."""
    transformers = pytest.importorskip("transformers")
    sizes = {
        "vocab_size": 67, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256, "pad_token_id": 0,
    }  # fmt: skip
    config = getattr(transformers, f"{family}Config")(**sizes, initializer_range=0.3, rope_parameters=rope, **more)
    torch.manual_seed(0)
    return getattr(transformers, f"{family}ForCausalLM")(config).eval()


FAMILIES = ("Mistral", "Qwen2", "Qwen3", "Gemma", "Olmo2", "SmolLM3", "GptOss")


@pytest.mark.parametrize(
    ("family", "kind"), [("Llama", kind) for kind in EXTENDED] + [(family, "yarn") for family in FAMILIES]
)
def test_the_checks_pass_models_of_transformers(family, kind):
    from transformers import DynamicCache

    lm = small_model(family, rope_parameters(kind, 256))
    run, logit, head_dim, rope = check_encoding.from_transformers(lm)
    found = check_encoding.check_encoding(run, 67, DynamicCache) | check_encoding.check_rule(logit, head_dim, rope)
    assert all(found.values()), found


def test_the_checks_find_bugs_planted_in_transformers():
    from transformers import DynamicCache

    f, kinds = extension.temperature_factor(16.0), ("frequencies as configured", "temperature as configured")

    def failed(change) -> set[str]:
        lm = small_model("Llama", rope_parameters("yarn", 256))
        change(lm)
        run, logit, head_dim, rope = check_encoding.from_transformers(lm)
        found = check_encoding.check_encoding(run, 67, DynamicCache) | check_encoding.check_rule(logit, head_dim, rope)
        return {name for name, passed in found.items() if not passed}

    def ntk(lm):
        lm.model.rotary_emb.inv_freq = frequencies_of("ntk", 16, 256).float()

    def squared(lm):
        lm.model.rotary_emb.attention_scaling = f**2

    def twice(lm):
        for layer in lm.model.layers:
            layer.self_attn.scaling *= f**2

    def low_precision(lm):
        inside = lm.model.rotary_emb.forward
        lm.model.rotary_emb.forward = lambda x, position_ids: inside(x, position_ids.bfloat16())

    assert failed(lambda lm: None) == set()
    assert failed(ntk) == {kinds[0]} and failed(squared) == failed(twice) == {kinds[1]}
    assert "far away is exact" in failed(low_precision)
