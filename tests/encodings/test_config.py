"""Configurations as published, read as transformers reads them; and files that lack, contradict or misname, refused."""

from __future__ import annotations

import copy
import importlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.encodings import T5, ALiBi, Combined, MRoPE, NoEncoding, PerLayer, PositionTemperature, RoPE
from helpers.encodings.alibi import alibi_slopes
from helpers.encodings.config import (
    HALF,
    INTERLEAVED,
    KEYS,
    NO_KEYS,
    RotaryParameters,
    from_config,
    language_model,
    layer_types,
    read_config,
    rotary_sets,
)
from helpers.encodings.extension import RULES, ntk_aware, rotations, temperature_factor, yarn
from helpers.encodings.rope import rope_frequencies
from tests.papers import rotations as closed_forms
from tools.evidence import PAPERS

CONFIGS = Path(__file__).resolve().parents[2] / "helpers" / "data" / "configs"
SOURCES = json.loads((CONFIGS / "sources.json").read_text(encoding="utf-8"))
BIASES = {"bloom-3b", "mpt-7b-storywriter", "replit-code-v1-3b", "walter-falcon-1b", "flan-t5-base", "umt5-small"}
ROTARY = sorted(set(SOURCES) - BIASES)
# transformers has the code under another name, or has no class of this name; the keys are the same.
STAND_IN = {
    "internlm2": "llama", "minicpm": "llama", "kimi_k2": "deepseek_v3", "phi3_v": "phi3",
    "qwen2_5_vl": "qwen2_5_vl_text", "glm4v": "glm4v_text",
}  # fmt: skip


def published(name: str) -> dict:
    return read_config(CONFIGS / f"{name}.json")


def kinds_of_layers(name: str) -> list[str | None]:
    """The layer types to ask for: [None] where all layers are alike, else those that are rotated."""
    sets = rotary_sets(language_model(published(name)))
    try:
        from_config(published(name))
    except ValueError:
        return [t for t, each in sets.items() if each is not None]
    return [None]


A_FEW = torch.tensor([[3, 70]])
CASES = [(name, layer_type) for name in ROTARY for layer_type in kinds_of_layers(name)]


def in_transformers(config: dict):
    """A configuration as transformers' class reads it."""
    transformers = pytest.importorskip("transformers")
    text = copy.deepcopy(language_model(config))
    kind = text.pop("model_type")
    if kind == "phi3_v":  # "su" is no longer known there
        text["rope_scaling"]["type"] = "longrope"
    return transformers.CONFIG_MAPPING[STAND_IN.get(kind, kind)](**text)


def by_transformers(config: dict, layer_type: str | None, seq_len: int | None = None) -> tuple[torch.Tensor, float]:
    """inv_freq (float32) and attention factor of transformers' own function for the kind."""
    utils = pytest.importorskip("transformers.modeling_rope_utils")
    config = in_transformers(config)
    if not getattr(config, "rope_parameters", None):  # GPT-J and RoFormer: a constant of their code
        dim = {"gptj": "rotary_dim"}.get(config.model_type)
        dim = getattr(config, dim) if dim else config.hidden_size // config.num_attention_heads
        return 10_000.0 ** (-torch.arange(0, dim, 2).float() / dim), 1.0
    nested = layer_type in config.rope_parameters
    rope = config.rope_parameters[layer_type] if nested else config.rope_parameters
    if rope["rope_type"] == "default":  # has no function of its own; linear with factor 1 reads the same keys
        rope.update(rope_type="linear", factor=1.0)
    function = utils.ROPE_INIT_FUNCTIONS[rope["rope_type"]]
    return function(config, torch.device("cpu"), seq_len=seq_len, layer_type=layer_type if nested else None)


def lengths(name: str, layer_type: str | None) -> list[int | None]:
    """None, and where the kind depends on it, lengths on both sides of every edge."""
    read = from_config(published(name), layer_type=layer_type)
    if read.kind not in ("dynamic", "longrope"):
        return [None, 1_000_000]
    trained = read.original_max_position_embeddings
    return [None, 1, trained // 2, trained, trained + 1, 2 * trained, 8 * trained + 3, 1_000_000]


# ------------------------------------------------------------------------------------------- the files themselves


def test_every_configuration_names_the_published_file_it_was_read_from():
    files = {path.stem for path in CONFIGS.glob("*.json")} - {"sources"}
    assert files == set(SOURCES) and len(files) >= 25
    for name, source in SOURCES.items():
        assert re.fullmatch(r"https://(github\.com|huggingface\.co)/[^ ]+", source["address"]), name
        assert re.fullmatch(r"[0-9a-f]{7,40}", source["commit"]), name
        assert len(source["commit"]) == 7 or source["commit"] in source["address"], name
        assert source["address"].endswith(".json") or source["note"].startswith("entry "), name
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", source["model"]), name
    assert {from_config(published(name), layer_type=t).kind for name, t in CASES} == set(KEYS)


@pytest.mark.oracle(
    "config.from_config",
    "extension.yarn",
    "extension.longrope",
    "extension.llama3",
    "extension.dynamic_ntk",
    "extension.p_rope",
    "extension.position_interpolation",
    against="transformers: ROPE_INIT_FUNCTIONS",
)
@pytest.mark.parametrize(("name", "layer_type"), CASES)
def test_published_configurations_are_read_as_transformers_reads_them(name, layer_type):
    for seq_len in lengths(name, layer_type):
        ours = from_config(published(name), seq_len=seq_len, layer_type=layer_type)
        freq, factor = by_transformers(published(name), layer_type, seq_len)
        assert ours.inv_freq.dtype == torch.float64 and ours.inv_freq.shape == freq.shape
        assert torch.allclose(ours.inv_freq, freq.double(), rtol=3e-6, atol=1e-12), seq_len
        assert ours.attention_factor == factor, seq_len


@pytest.mark.oracle("config.from_config", against=PAPERS)
@pytest.mark.parametrize(
    ("name", "seq_len", "form"),
    [
        ("llama-2-7b-chat", None, lambda: closed_forms.rope_frequencies(128, 10_000)),
        ("phi-1", None, lambda: closed_forms.rope_frequencies(32, 10_000)),
        ("vicuna-7b-v1.5-16k", None, lambda: closed_forms.position_interpolation(128, 10_000, 4, 4096, None)[0]),
        ("internlm2.5-7b-chat", 90_000, lambda: closed_forms.dynamic_ntk(128, 10**6, 2, 32_768, 90_000)[0]),
        ("llama-3.1-8b-instruct", None, lambda: closed_forms.llama3(128, 500_000, 8, 8192, None, 1, 4)[0]),
    ],
)
def test_published_configurations_give_the_frequencies_of_the_papers(name, seq_len, form):
    found, exact = read(name, seq_len=seq_len), torch.tensor([float(theta) for theta in form()], dtype=torch.float64)
    assert torch.allclose(found.inv_freq, exact, rtol=1e-13, atol=0) and found.attention_factor == 1


def test_a_file_and_its_content_are_read_alike_and_nothing_is_changed():
    for name, layer_type in CASES:
        content = published(name)
        before = copy.deepcopy(content)
        one = from_config(content, layer_type=layer_type)
        for path in (CONFIGS / f"{name}.json", str(CONFIGS / f"{name}.json")):
            two = from_config(path, layer_type=layer_type)
            assert torch.equal(one.inv_freq, two.inv_freq) and one.scale == two.scale
        assert content == before


# ------------------------------------------------------------------------------------- what else the files say


def read(name: str, layer_type: str | None = None, seq_len: int | None = None) -> RotaryParameters:
    return from_config(published(name), layer_type=layer_type, seq_len=seq_len)


@pytest.mark.parametrize(
    ("name", "layer_type", "head_dim", "rotary_dim", "rotated", "layout"),
    [
        ("llama-3.1-8b-instruct", None, 128, 128, "first", "half"),
        ("qwen3-0.6b", None, 128, 128, "first", "half"),  # not hidden_size / heads = 64
        ("phi-1", None, 64, 32, "first", "half"),
        ("dolly-v2-3b", None, 80, 20, "first", "half"),
        ("phi-4-mini-instruct", None, 128, 96, "first", "half"),
        ("minimax-m2", None, 128, 64, "first", "half"),
        ("glm-4.1v-9b", None, 128, 64, "first", "interleaved"),
        ("gpt-j-6b", None, 256, 64, "first", "interleaved"),
        ("command-r-v01", None, 128, 128, "first", "interleaved"),
        ("deepseek-v3", None, 192, 64, "last", "interleaved"),
        ("kimi-k2", None, 192, 64, "last", "interleaved"),
        ("qwen3.5-9b", None, 256, 64, "first", "half"),
        ("gemma-4-e2b-it", "full_attention", 512, 512, "first", "half"),
        ("gemma-4-e2b-it", "sliding_attention", 256, 256, "first", "half"),
        ("internlm2.5-7b-chat", None, 128, 128, "first", None),  # its code is not in transformers
    ],
)
def test_width_place_and_layout_of_the_rotated_channels(name, layer_type, head_dim, rotary_dim, rotated, layout):
    found = read(name, layer_type)
    assert (found.head_dim, found.rotary_dim, found.rotated, found.layout) == (head_dim, rotary_dim, rotated, layout)
    assert found.inv_freq.shape == (rotary_dim // 2,)


@pytest.mark.oracle("config.from_config", against="transformers: DeepSeek")
@pytest.mark.parametrize(
    ("name", "module"),
    [("deepseek-v2-lite", "deepseek_v2"), ("deepseek-v3", "deepseek_v3"), ("kimi-k2", "deepseek_v3")],
)
def test_deepseeks_temperature_is_in_the_softmax_scale_and_not_in_cos_and_sin(name, module):
    modeling = pytest.importorskip(f"transformers.models.{module}.modeling_{module}")
    config, found = in_transformers(published(name)), read(name)
    theirs = modeling.yarn_apply_mscale(config.rope_parameters, config.qk_head_dim**-0.5)
    assert math.isclose(found.scale, theirs, rel_tol=1e-15)  # they square in another order
    assert found.attention_factor == 1.0


def test_the_numbers_of_public_reports():
    """Each a value that a published file gives and a plausible wrong reading does not."""
    assert round(read("phi-3.5-mini-instruct").attention_factor, 4) == 1.1902 == round(math.sqrt(17 / 12), 4)
    assert round(read("phi-3.5-mini-instruct").attention_factor ** 2, 3) == 1.417
    lite, v3 = read("deepseek-v2-lite"), read("deepseek-v3")
    assert round(lite.scale * 192**0.5, 4) == 1.5896 and round(v3.scale * 192**0.5, 4) == 1.8739
    assert round(read("yarn-llama-2-7b-64k").attention_factor, 4) == 1.2773
    assert round(read("gpt-oss-120b").attention_factor, 4) == 1.3466
    llama = read("llama-3.1-8b-instruct")
    slow = rope_frequencies(128, 5e5) / llama.inv_freq
    kept, divided = int((slow == 1).sum()), int((slow > 8 - 1e-9).sum())
    assert (kept, 64 - kept - divided, divided) == (29, 6, 29)


def test_scales_sections_temperatures_and_lengths():
    assert read("gemma-2-2b").scale == 1 / 16
    assert read("gemma-3-27b-it", "full_attention").scale == 168**-0.5
    assert read("gemma-4-e2b-it", "full_attention").scale == 1.0
    assert read("llama-3.1-8b-instruct").scale is None
    granite = {**LLAMA, "model_type": "granite", "attention_multiplier": 0.015625}
    assert from_config(granite).scale == 0.015625
    vl, text = read("qwen2.5-vl-7b-instruct"), read("qwen2.5-7b-instruct")
    assert vl.sections == (16, 24, 24) and vl.axes == 3 and not vl.mrope_interleaved
    assert text.sections is None and text.axes == 1
    assert read("qwen3.5-9b").sections == (11, 11, 10) and read("qwen3.5-9b").mrope_interleaved
    sections = {"mrope_section": [24, 20, 20], "rope_type": "default", "type": "mrope"}
    qwen3_vl = {**LLAMA, "model_type": "qwen3_vl_text", "rope_scaling": sections}
    assert from_config(qwen3_vl).mrope_interleaved  # its code deals them in turn, with or without the key
    assert read("ministral-3-3b-reasoning").temperature == (0.1, 16384)
    assert read("devstral-2-123b-instruct").temperature is None  # beta 0
    for name, trained, declared in (
        ("llama-3.1-8b-instruct", 8192, 131072), ("phi-3.5-mini-instruct", 4096, 131072),
        ("vicuna-7b-v1.5-16k", 4096, 4096), ("falcon-7b-instruct", None, None),
    ):  # fmt: skip
        assert read(name).original_max_position_embeddings == trained and read(name).max_position_embeddings == declared
    assert read("phi-3.5-mini-instruct").factor == 32 and read("qwen3-0.6b").factor is None


def test_layer_types_of_published_files():
    def counts(name: str) -> dict[str, int]:
        found = layer_types(CONFIGS / f"{name}.json")
        return {t: found.count(t) for t in dict.fromkeys(found)}

    assert counts("llama-3.1-8b-instruct") == {"full_attention": 32}
    assert counts("gemma-3-1b-it") == {"sliding_attention": 22, "full_attention": 4}  # from sliding_window_pattern
    assert counts("gemma-3-27b-it") == {"sliding_attention": 52, "full_attention": 10}
    assert counts("gemma-2-2b") == {"sliding_attention": 13, "full_attention": 13}
    assert counts("phi-3.5-mini-instruct") == {"sliding_attention": 32}
    assert counts("qwen3.5-9b") == {"linear_attention": 24, "full_attention": 8}
    assert counts("modernbert-base") == {"full_attention": 8, "sliding_attention": 14}
    assert counts("qwen2.5-7b-instruct") == {"full_attention": 28}  # a window that is switched off
    assert "linear_attention" in NO_KEYS


def test_patterns_of_windows_that_no_published_file_here_has():
    """EXAONE 4's text, and Qwen's windows, which begin at a layer (models/qwen2/configuration_qwen2.py)."""
    window = {**SMOLLM3, "sliding_window": 4096}
    local, everything = "sliding_attention", "full_attention"
    assert layer_types({**window, "sliding_window_pattern": "LLLG"}) == (local, local, local, everything) * 2
    qwen = {**window, "model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 3}
    assert layer_types(qwen) == (*[everything] * 3, *[local] * 5)
    assert list(layer_types(qwen)) == in_transformers(qwen).layer_types
    with pytest.raises(ValueError, match="max_window_layers=None: use_sliding_window=True needs it"):
        layer_types({**qwen, "max_window_layers": None})
    assert layer_types({**qwen, "use_sliding_window": False}) == (everything,) * 8


def test_a_set_may_say_that_its_layers_are_not_rotated():
    """One set per layer type, null for the layers without rotation; a known key that is null is no set."""
    types = ["sliding_attention", "full_attention"] * 4
    sets = {"sliding_attention": {"rope_type": "default", "rope_theta": 1e4}, "full_attention": None}
    text = {**LLAMA, "num_hidden_layers": 8, "layer_types": types, "rope_parameters": sets}
    assert rotary_sets(text) == sets
    assert isinstance(from_config(text, layer_type="full_attention"), NoEncoding)
    plain = {**LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "factor": None}}
    assert from_config(plain).base == 1e6


def test_a_share_of_one_and_a_layout_that_the_file_turns_off():
    assert from_config({**LLAMA, "partial_rotary_factor": 1.0}).rotary_dim == from_config(LLAMA).rotary_dim
    deepseek = published("deepseek-v3")
    assert from_config(deepseek).layout == "interleaved"
    assert from_config({**deepseek, "rope_interleave": False}).layout == "half"
    cohere = {**LLAMA, "model_type": "cohere", "rope_interleave": False}  # its code knows no such key
    assert from_config(cohere).layout == "interleaved"


def test_a_proportional_file_with_a_factor_is_also_slowed_by_it():
    rope = {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25}
    plain, slowed = (from_config({**LLAMA, "rope_parameters": rope | more}) for more in ({}, {"factor": 4.0}))
    assert torch.allclose(slowed.inv_freq, plain.inv_freq / 4) and plain.inv_freq[0] == 1


def test_sets_that_no_layer_uses_are_left_out():
    sets = {t: {"rope_type": "default", "rope_theta": 1e4} for t in ("sliding_attention", "full_attention")}
    text = {**LLAMA, "rope_parameters": sets}
    assert list(rotary_sets({**text, "layer_types": ["full_attention"] * 2})) == ["full_attention"]
    with pytest.raises(ValueError, match="full_attention=3: no key of kind"):
        from_config({**LLAMA, "rope_theta": None, "rope_parameters": {**sets["full_attention"], "full_attention": 3}})


def test_layers_are_alike_whatever_the_order_of_their_keys():
    one = {"rope_type": "default", "rope_theta": 1e4}
    sets = {"sliding_attention": one, "full_attention": dict(reversed(one.items()))}
    text = {
        **LLAMA,
        "rope_theta": None,
        "rope_parameters": sets,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    assert from_config(text).base == 1e4  # no layer_type asked for


def test_the_outer_part_may_say_what_the_inner_one_leaves_out():
    inner = {key: each for key, each in LLAMA.items() if key != "rope_theta"}
    with pytest.raises(ValueError, match="rope_theta"):  # of another model, the tower of pictures: not taken over
        from_config({"rope_theta": 5e5, "text_config": {**inner, "model_type": "qwen2"}})
    for outer in (None, 1e6):  # said once, or twice the same
        assert from_config({"rope_theta": outer, "text_config": LLAMA}).base == 1e6


def test_scales_are_those_of_the_family_that_has_the_key():
    assert from_config({**LLAMA, "model_type": "granite"}).scale is None
    assert from_config({**LLAMA, "attention_multiplier": 0.5}).scale is None
    latent = {**published("deepseek-v3"), "rope_scaling": None, "rope_parameters": None}
    assert from_config(latent).scale is None
    both = {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}
    assert from_config({**LLAMA, "rope_scaling": both}).scale is None  # the whole head turns: cos and sin have it


def test_the_edges_of_what_is_accepted():
    assert from_config({**LLAMA, "rope_theta": 1.5}).base == 1.5
    narrow = {**LLAMA, "head_dim": 16, "partial_rotary_factor": 0.25}
    assert from_config(narrow).rotary_dim == 4
    with pytest.raises(ValueError, match="rotary_dim=2"):
        from_config({**narrow, "partial_rotary_factor": 0.125})
    codegen = {"model_type": "codegen", "n_embd": 1024, "n_head": 16, "rotary_dim": 32}
    assert from_config(codegen).base == 10_000 and from_config(codegen).layout == "interleaved"


def test_what_was_read_is_not_changed_by_accident():
    with pytest.raises(AttributeError):
        from_config(LLAMA).base = 5.0
    with pytest.raises(TypeError):
        from_config(LLAMA, 4096)  # a length is named


@pytest.mark.parametrize("name", ["gemma-2-2b", "gemma-3-1b-it", "exaone-4.0-32b", "modernbert-base", "gpt-oss-120b"])
def test_layer_types_are_those_of_transformers_also_where_the_file_does_not_list_them(name):
    text = language_model(published(name))
    text.pop("layer_types", None)
    if isinstance(text.get("sliding_window_pattern"), str):
        text["sliding_window_pattern"] = 4
    assert list(layer_types(text)) == in_transformers(published(name)).layer_types


SMOLLM3 = {
    "model_type": "smollm3", "hidden_size": 2048, "num_attention_heads": 16, "num_hidden_layers": 8, "rope_theta": 5e6,
    "max_position_embeddings": 65536,
}  # fmt: skip
LLAMA4 = {**SMOLLM3, "model_type": "llama4_text", "head_dim": 128, "rope_theta": 5e5}
ONES = [1, 1, 1, 0, 1, 1, 1, 0]  # in no_rope_layers 1 means *with* rotation


@pytest.mark.parametrize("keys", [{"no_rope_layers": ONES}, {"no_rope_layer_interval": 4}])
def test_layers_without_rotation(keys):
    assert layer_types({**SMOLLM3, **keys}) == (*["full_attention"] * 3, "no_rope") * 2
    with pytest.raises(ValueError, match="'full_attention', 'no_rope'"):
        from_config({**SMOLLM3, **keys})
    assert from_config({**SMOLLM3, **keys}, layer_type="full_attention").base == 5e6
    assert isinstance(from_config({**SMOLLM3, **keys}, layer_type="no_rope"), NoEncoding)
    for more in (keys, {}):  # Llama 4's code has the interval of 4
        assert layer_types({**LLAMA4, **more})[2:4] == ("chunked_attention", "full_attention")
        plain = from_config({**LLAMA4, **more}, layer_type="chunked_attention")
        assert plain.base == 5e5 and plain.layout == "interleaved"
    plain = {**LLAMA4, **keys, "attn_temperature_tuning": False}
    assert isinstance(from_config(plain, layer_type="full_attention"), NoEncoding)
    with pytest.raises(ValueError, match="attn_scale=None: queries of these layers are scaled by position"):
        from_config({**LLAMA4, **keys}, layer_type="full_attention")
    with pytest.raises(ValueError, match="floor_scale=None: queries of these layers are scaled by position"):
        from_config({**LLAMA4, **keys, "attn_scale": 0.1}, layer_type="full_attention")


@pytest.mark.oracle("config.from_config", against="transformers: Llama 4")
def test_llama_4_scales_the_queries_that_it_does_not_rotate():
    modeling = pytest.importorskip("transformers.models.llama4.modeling_llama4")
    scheme = from_config({**LLAMA4, "attn_scale": 0.1, "floor_scale": 4}, layer_type="full_attention")
    config = modeling.Llama4TextConfig(
        hidden_size=8, num_attention_heads=1, num_key_value_heads=1, head_dim=8, num_hidden_layers=4, attn_scale=0.1,
        floor_scale=4, no_rope_layers=[0] * 4,
    )  # fmt: skip
    layer, seen = modeling.Llama4TextAttention(config, 3), []
    x, ids = torch.randn(1, 20, 8), torch.arange(20)[None]
    layer.q_proj.register_forward_hook(lambda module, inputs, output: seen.append(output))
    config._attn_implementation = "spy"
    modeling.ALL_ATTENTION_FUNCTIONS["spy"] = lambda module, q, k, v, *_, **__: (seen.append(q) or v, None)
    layer(x, (None, None), None)
    q, turned = seen[0].view(1, 20, 1, 8).transpose(1, 2), seen[1]
    state = scheme.prepare(ids, ids, None)
    assert torch.allclose(scheme.rotate(q, q, state, 0)[0], turned, rtol=1e-6) and not torch.allclose(q, turned)


def test_exaones_global_layers_are_not_rotated_and_olmos_local_ones_not_scaled():
    assert isinstance(read("exaone-4.0-32b", "full_attention"), NoEncoding)
    assert read("exaone-4.0-32b", "sliding_attention").kind == "llama3"
    assert read("olmo-3.1-32b-instruct", "sliding_attention").kind == "default"
    assert read("olmo-3.1-32b-instruct", "full_attention").attention_factor == 1.2079441541679836


def test_bases_of_gemma_and_modernbert_in_both_spellings():
    assert [read("gemma-3-27b-it", t).base for t in ("sliding_attention", "full_attention")] == [1e4, 1e6]
    assert read("gemma-3-27b-it", "sliding_attention").kind == "default"
    old = {k: v for k, v in published("modernbert-base").items() if k not in ("rope_parameters", "layer_types")}
    old |= {"global_rope_theta": 160_000.0, "local_rope_theta": 10_000.0}
    for layer_type, base in (("full_attention", 160_000.0), ("sliding_attention", 10_000.0)):
        assert from_config(old, layer_type=layer_type).base == base == read("modernbert-base", layer_type).base


# --------------------------------------------------------------------------------------------------- the rotation built


@pytest.mark.parametrize(("name", "layer_type"), CASES)
def test_the_rotation_built_has_everything_that_the_file_says(name, layer_type):
    found = replace(read(name, layer_type), temperature=None)
    scheme = found.build() if found.layout else found.build("half")
    assert type(scheme) is (RoPE if found.sections is None else MRoPE)
    assert scheme.layout == found.layout or (found.layout is None and scheme.layout == "half")
    assert torch.equal(scheme.inv_freq, found.inv_freq)
    for key in ("attention_factor", "head_dim", "rotary_dim", "rotated", "base", "scale"):
        assert getattr(scheme, key) == getattr(found, key), key
    if found.sections is not None:
        dealt = MRoPE(2 * sum(found.sections), found.sections, mrope_interleaved=found.mrope_interleaved)
        assert torch.equal(scheme.axis, dealt.axis)


def test_a_head_of_deepseek_v3_turns_in_its_last_channels_and_its_logits_grow_by_the_temperature():
    scheme = read("deepseek-v3").build()
    q = k = torch.ones(1, 1, 2, 192)
    (q, k), (bare, _) = (scheme.rotate(q, k, scheme.prepare(ids, ids, None), 0) for ids in (A_FEW, 0 * A_FEW))
    assert torch.equal(q[..., :128], torch.ones(1, 1, 2, 128)) and not torch.allclose(q[..., 128:], bare[..., 128:])
    assert torch.allclose(bare, torch.ones(1, 1, 2, 192))  # position 0: nothing on cos and sin
    assert scheme.scale * 192**0.5 == pytest.approx(1.8739, abs=5e-5)


def test_a_rotation_is_not_built_from_what_the_file_does_not_say():
    with pytest.raises(ValueError, match="layout=None: this model type does not decide it"):
        read("internlm2.5-7b-chat").build()
    assert read("internlm2.5-7b-chat").build("half").layout == "half"
    assert read("command-r-v01").build("interleaved").layout == "interleaved"
    with pytest.raises(ValueError, match="layout='half': the model's code has 'interleaved'"):
        read("command-r-v01").build("half")


def test_a_rotation_with_a_temperature_by_position_is_built_of_both():
    found = read("ministral-3-3b-reasoning")
    built = found.build()
    rotation, temperature = built.parts
    assert isinstance(built, Combined) and isinstance(rotation, RoPE) and torch.equal(rotation.inv_freq, found.inv_freq)
    assert isinstance(temperature, PositionTemperature)
    assert (temperature.attn_scale, temperature.floor_scale, temperature.shift) == (0.1, 16384, 0)


# --------------------------------------------------------------------------------------------------------- the biases


@pytest.mark.oracle("config.from_config", "alibi.alibi_slopes", against="transformers: BLOOM, MPT, Falcon")
@pytest.mark.parametrize("heads", [8, 12, 32, 112])
def test_alibi_from_the_files_of_bloom_mpt_and_falcon(heads):
    bloom = from_config({**published("bloom-3b"), "n_head": heads})
    modeling = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    theirs = modeling.build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1]
    assert torch.allclose(bloom.slopes.float(), theirs, rtol=1e-6) and bloom.n_heads == heads
    modeling = pytest.importorskip("transformers.models.mpt.modeling_mpt")
    for largest in (8, 16):
        file = published("mpt-7b-storywriter")
        file["attn_config"] |= {"alibi_bias_max": largest}
        mpt = from_config({**file, "n_heads": heads})
        theirs = -modeling.build_mpt_alibi_tensor(heads, 2, alibi_bias_max=largest).flatten(1)[:, 0]
        assert torch.allclose(mpt.slopes.float(), theirs, rtol=1e-6)
    falcon = from_config({**published("walter-falcon-1b"), "num_attention_heads": heads, "hidden_size": 64 * heads})
    modeling = pytest.importorskip("transformers.models.falcon.modeling_falcon")
    theirs = modeling.build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1]
    assert torch.allclose(falcon.slopes.float() * 8, theirs, rtol=2**-8)  # over sqrt(64); rounded to bfloat16


def test_published_biases():
    storywriter, replit = (from_config(published(n)) for n in ("mpt-7b-storywriter", "replit-code-v1-3b"))
    assert torch.allclose(storywriter.slopes, replit.slopes**2) and torch.equal(replit.slopes, alibi_slopes(32))
    assert all(isinstance(s, ALiBi) and s.scale is None for s in (storywriter, replit))
    scaled = published("mpt-7b-storywriter")
    scaled["attn_config"] |= {"softmax_scale": 0.5}
    assert from_config(scaled).scale == 0.5
    for name, heads in (("flan-t5-base", 12), ("umt5-small", 6)):
        for stack, both in (("encoder", True), ("decoder", False)):
            scheme = from_config(published(name), layer_type=stack)
            if name == "umt5-small":  # a table of its own in each of 8 layers
                assert isinstance(scheme, PerLayer) and scheme.n_layers == len(scheme.parts) == 8
                scheme = scheme.parts[3]
            assert isinstance(scheme, T5) and scheme.bidirectional is both and scheme.n_heads == heads
            assert (scheme.num_buckets, scheme.max_distance) == (32, 128)
    encoder = {**published("umt5-small"), "architectures": ["UMT5EncoderModel"]}
    assert all(part.bidirectional for part in from_config(encoder).parts)
    uneven = {**published("umt5-small"), "num_decoder_layers": 3}
    assert [from_config(uneven, layer_type=stack).n_layers for stack in ("encoder", "decoder")] == [8, 3]
    del uneven["num_decoder_layers"]
    assert from_config(uneven, layer_type="decoder").n_layers == 8
    with pytest.raises(ValueError, match="num_hidden_layers=None: UMT5 has a table in each layer"):
        from_config({**uneven, "num_layers": None}, layer_type="decoder")


# ----------------------------------------------------------------------------------------------- spellings of one thing

LLAMA = {
    "model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 2, "rope_theta": 1e6,
    "max_position_embeddings": 32768,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


def with_yarn(**keys) -> dict:
    return {**LLAMA, "rope_scaling": {**YARN, **keys}}


SAME = {
    "old": {**LLAMA, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
    "new": {k: v for k, v in LLAMA.items() if k != "rope_theta"} | {"rope_parameters": {**YARN, "rope_theta": 1e6}},
    "both": {**with_yarn(), "rope_parameters": YARN},
    "outside": {
        **LLAMA, "rope_scaling": {"type": "yarn", "factor": 4.0}, "original_max_position_embeddings": 32768,
    },
    "float length": with_yarn(original_max_position_embeddings=32768.0),
    "both names": with_yarn(type="yarn"),
    "nulls": with_yarn(beta_fast=None, attention_factor=None, truncate=None),
    "nested": {"model_type": "some_vl", "text_config": with_yarn(), "vision_config": {"hidden_size": 7}},
    "sets alike": {
        **LLAMA, "layer_types": ["full_attention", "sliding_attention"],
        "rope_parameters": {"full_attention": YARN, "sliding_attention": YARN},
    },
}  # fmt: skip


@pytest.mark.parametrize("spelling", SAME)
def test_every_spelling_of_one_configuration_gives_the_same(spelling):
    found, expected = from_config(SAME[spelling]), yarn(128, 1e6, 4.0, 32768)
    assert torch.equal(found.inv_freq, expected.inv_freq) and found.attention_factor == expected.attention_factor
    assert (found.kind, found.factor, found.original_max_position_embeddings) == ("yarn", 4.0, 32768)


@pytest.mark.parametrize(
    "keys",
    [
        {"rotary_pct": 0.25}, {"partial_rotary_factor": 0.25}, {"rotary_dim": 32},
        {"rotary_dim": 32, "partial_rotary_factor": 0.25}, {"rope_parameters": {"partial_rotary_factor": 0.25}},
    ],
)  # fmt: skip
def test_every_spelling_of_a_partial_rotation(keys):
    found = from_config({**LLAMA, **keys})
    assert torch.equal(found.inv_freq, rope_frequencies(32, 1e6)) and found.head_dim == 128


@pytest.mark.parametrize(
    ("keys", "factor"),
    [
        ({"attention_factor": 0.5}, 0.5),
        ({}, temperature_factor(4.0)),
        ({"mscale": 0.707}, temperature_factor(4.0)),  # alone it is not read, as in transformers
        ({"mscale": 1.0, "mscale_all_dim": 1.0}, 1.0),
        ({"mscale": 1.0, "mscale_all_dim": 0.5}, temperature_factor(4.0) / temperature_factor(4.0, 0.5)),
        ({"mscale": 1.0, "mscale_all_dim": 0.0}, temperature_factor(4.0)),
    ],
)
def test_attention_factor_of_yarn(keys, factor):
    assert from_config(with_yarn(**keys)).attention_factor == factor


def test_options_of_yarn_reach_the_rule():
    found = from_config(with_yarn(beta_fast=16, beta_slow=2.0, truncate=False))
    expected = yarn(128, 1e6, 4.0, 32768, beta_fast=16.0, beta_slow=2.0, truncate=False)
    assert torch.equal(found.inv_freq, expected.inv_freq)


def test_longrope_takes_its_own_factor_and_attention_factor():
    phi = published("phi-3.5-mini-instruct")
    phi["rope_scaling"] |= {"factor": 16.0}
    assert from_config(phi).attention_factor == math.sqrt(1 + math.log(16) / math.log(4096))
    phi["rope_scaling"] |= {"attention_factor": 1.25}
    assert from_config(phi).attention_factor == 1.25


# -------------------------------------------------------------------------------------------- wrong versions must fail


def apart(wrong: torch.Tensor, right: torch.Tensor) -> tuple[int, float]:
    """Frequencies that differ by more than 1%, and the largest quotient."""
    ratio = torch.maximum(wrong / right, right / wrong)
    return int((ratio > 1.01).sum()), ratio.max().item()


def test_a_missing_original_length_is_not_2048():
    right = from_config(with_yarn()).inv_freq
    wrong = yarn(128, 1e6, 4.0, 2048).inv_freq
    count, worst = apart(wrong, right)
    assert count == 29 and round(worst, 2) == 3.29
    lacking = {"rope_type": "yarn", "factor": 4.0}
    with pytest.raises(ValueError, match="original_max_position_embeddings=None"):
        from_config({**LLAMA, "rope_scaling": lacking})


def test_longropes_factor_is_not_1():
    phi = published("phi-3.5-mini-instruct")
    lists = {"short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
    assert RULES["longrope"](96, 1e4, 1.0, 4096, **lists).attention_factor == 1.0 != from_config(phi).attention_factor
    del phi["max_position_embeddings"]
    with pytest.raises(ValueError, match="factor=None"):
        from_config(phi)


def test_ntk_is_not_yarn():
    count, worst = apart(ntk_aware(128, 1e6, 4.0, 32768).inv_freq, from_config(with_yarn()).inv_freq)
    assert count > 50 and worst > 1.5


def test_head_dim_is_not_hidden_size_over_heads_where_the_file_gives_it():
    qwen = published("qwen3-0.6b")
    assert qwen["hidden_size"] // qwen["num_attention_heads"] == 64
    assert not torch.equal(rope_frequencies(64, 1e6), from_config(qwen).inv_freq[:32])
    assert torch.equal(rope_frequencies(128, 1e6), from_config(qwen).inv_freq)


def test_a_partial_rotation_does_not_take_the_exponents_of_the_whole_head():
    phi = from_config(published("phi-1"))
    assert torch.equal(phi.inv_freq, rope_frequencies(32, 1e4))
    count, worst = apart(rope_frequencies(64, 1e4)[:16], phi.inv_freq)
    assert count == 15 and worst > 50


def test_the_proportional_kind_keeps_the_exponents_of_the_whole_head():
    gemma = read("gemma-4-e2b-it", "full_attention")
    assert torch.equal(gemma.inv_freq[:64], rope_frequencies(512, 1e6)[:64]) and not gemma.inv_freq[64:].any()
    assert gemma.inv_freq.shape == (256,)


def test_dynamic_ntk_counts_from_the_declared_length_and_starts_unscaled():
    internlm = published("internlm2.5-7b-chat")
    assert torch.equal(from_config(internlm).inv_freq, rope_frequencies(128, 1e6))
    beyond = from_config(internlm, seq_len=65536).inv_freq
    assert torch.allclose(beyond, ntk_aware(128, 1e6, 3.0, 32768).inv_freq, rtol=1e-12)  # 3 at twice the length, not 2


def test_turns_of_a_scaled_file_count_from_the_original_length():
    llama = read("llama-3.1-8b-instruct")
    plain = rope_frequencies(128, llama.base)
    assert int((rotations(plain, llama.original_max_position_embeddings) < 1).sum()) == 29
    assert int((rotations(plain, llama.max_position_embeddings) < 1).sum()) < 29


# ------------------------------------------------------------------------------------------------------------ refusals

SETS = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
LAYERS = {**LLAMA, "layer_types": ["full_attention", "sliding_attention"]}
MLA = {
    **LLAMA, "model_type": "deepseek_v3", "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
}  # fmt: skip
PHI = published("phi-3.5-mini-instruct")
T5_FILE, MPT, BLOOM = published("flan-t5-base"), published("mpt-7b-storywriter"), published("bloom-3b")


def without(config: dict, *keys: str) -> dict:
    return {k: v for k, v in config.items() if k not in keys}


def scaled(**rope) -> dict:
    return {**LLAMA, "rope_scaling": rope}


def phi3(**rope) -> dict:
    return {**PHI, "rope_scaling": without({**PHI["rope_scaling"], **rope}, *[k for k, v in rope.items() if v is None])}


REFUSED = {
    # missing
    "no base": (without(LLAMA, "rope_theta") | {"model_type": "qwen3"}, "rope_theta=None"),
    "no base, no type": ({"hidden_size": 64, "num_attention_heads": 1}, "rope_theta=None"),
    "no width": (without(LLAMA, "hidden_size"), "hidden_size=None"),
    "no heads": (without(LLAMA, "num_attention_heads"), "num_attention_heads=None"),
    "no factor, linear": (scaled(type="linear"), "factor=None: kind 'linear' needs it"),
    "no factor, yarn": (
        scaled(type="yarn", original_max_position_embeddings=4096), "factor=None: kind 'yarn' needs it",
    ),
    "no factor, dynamic": (scaled(type="dynamic"), "factor=None: kind 'dynamic' needs it"),
    "no factor, llama3": (
        scaled(rope_type="llama3", original_max_position_embeddings=8192, low_freq_factor=1, high_freq_factor=4),
        "factor=None",
    ),
    "no length, yarn": (scaled(type="yarn", factor=2.0), "original_max_position_embeddings=None: kind 'yarn'"),
    "no length, llama3": (
        scaled(rope_type="llama3", factor=8.0, low_freq_factor=1, high_freq_factor=4),
        "original_max_position_embeddings=None",
    ),
    "no length, longrope": (without(PHI, "original_max_position_embeddings"), "original_max_position_embeddings=None"),
    "no length, dynamic": (
        without(scaled(type="dynamic", factor=2.0), "max_position_embeddings"), "max_position_embeddings=None",
    ),
    "no low_freq_factor": (
        scaled(rope_type="llama3", factor=8.0, original_max_position_embeddings=8192, high_freq_factor=4),
        "low_freq_factor=None",
    ),
    "no high_freq_factor": (
        scaled(rope_type="llama3", factor=8.0, original_max_position_embeddings=8192, low_freq_factor=1),
        "high_freq_factor=None",
    ),
    "no short list": (phi3(short_factor=None), "short_factor=None"),
    "no long list": (phi3(long_factor=None), "long_factor=None"),
    "no share, proportional": (scaled(rope_type="proportional"), "partial_rotary_factor=None"),
    "no local base": (without(published("gemma-3-1b-it"), "rope_local_base_freq"), "rope_local_base_freq=None"),
    "no nope width": (without(MLA, "qk_nope_head_dim"), "qk_nope_head_dim=None"),
    "no alibi maximum": ({**MPT, "attn_config": {"alibi": True}}, "alibi_bias_max=None"),
    "no alibi heads": (without(BLOOM, "n_head"), "num_attention_heads=None"),
    "no window start": (
        {**LLAMA, "sliding_window": 128, "use_sliding_window": True}, "max_window_layers=None",
    ),
    # unknown
    "unknown kind": (scaled(type="ntk", factor=2.0), "rope_type='ntk': choose one of 'default', 'linear'"),
    "unknown key": (with_yarn(beta_fsat=16), "beta_fsat=16: no key of kind 'yarn', which reads attention_factor"),
    "a key of another kind": (scaled(rope_type="default", factor=2.0), "factor=2.0: no key of kind 'default'"),
    "learned positions": ({"model_type": "gpt2", "n_embd": 768, "n_head": 12}, "model_type='gpt2': has no rotation"),
    "learned positions, MPT": ({**MPT, "attn_config": {"alibi": False}}, "alibi=False: this model has learned"),
    # contradictions
    "two kinds": (scaled(rope_type="yarn", type="linear", factor=2.0), r"rope_type=\['yarn'\]: type says \['linear'\]"),
    "two dictionaries": (
        {**with_yarn(), "rope_parameters": {**YARN, "factor": 2.0}}, "rope_scaling=.*: rope_parameters says",
    ),
    "two bases": ({**LLAMA, "rope_parameters": {"rope_theta": 5e5}}, "rope_theta=1000000.0: the rotary dictionary"),
    "two spellings": ({**LLAMA, "rotary_emb_base": 5e5}, "rotary_emb_base=500000.0: rope_theta says 1000000.0"),
    "two shares": ({**LLAMA, "partial_rotary_factor": 0.5, "rotary_pct": 0.25}, "rotary_pct=0.25"),
    "two shares, in and out": (
        {**LLAMA, "partial_rotary_factor": 0.5, "rope_parameters": {"partial_rotary_factor": 0.25}},
        "partial_rotary_factor=0.5: the rotary dictionary says 0.25",
    ),
    "share and channels": ({**LLAMA, "partial_rotary_factor": 0.5, "rotary_dim": 32}, "rotary_dim=32: partial"),
    "two lengths": (
        {**with_yarn(), "original_max_position_embeddings": 4096}, "original_max_position_embeddings=4096: the rotary",
    ),
    "two lengths, dynamic": (
        scaled(type="dynamic", factor=2.0, original_max_position_embeddings=4096),
        "original_max_position_embeddings=4096: kind 'dynamic' counts from max_position_embeddings=32768",
    ),
    "trained beyond declared": (
        with_yarn(original_max_position_embeddings=65536), "is more than max_position_embeddings=32768",
    ),
    "hidden size": ({**LLAMA, "hidden_size": 4100}, "hidden_size=4100: must be a multiple of the 32 heads"),
    "inner and outer": (
        {"rope_theta": 1e4, "text_config": LLAMA}, "rope_theta=10000.0: text_config has 1000000.0",
    ),
    "sections": (
        scaled(type="mrope", mrope_section=[16, 24, 20]), r"mrope_section=\[16, 24, 20\]: must sum to the 64",
    ),
    "sections of the proportional kind": (
        scaled(rope_type="proportional", partial_rotary_factor=0.5, mrope_section=[32, 32]), "has one axis",
    ),
    "short list's length": (phi3(short_factor=[1.0] * 47), "short_factor='47 numbers'"),
    "number of layers": ({**LAYERS, "num_hidden_layers": 3}, "layer_types='2 entries': must have num_hidden_layers=3"),
    "number of flags": ({**SMOLLM3, "no_rope_layers": [1, 0]}, r"no_rope_layers=\[1, 0\]: must have num_hidden"),
    "a set is lacking": (
        {**LAYERS, "rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, r"layer_types=\['sliding_attention'\]",
    ),
    "a loose key": ({**LAYERS, "rope_parameters": {**SETS, "factor": 2.0}}, r"rope_parameters=\['factor'\]"),
    # values
    "text for a number": ({**LLAMA, "rope_theta": "1e6"}, "rope_theta='1e6': must be a finite number"),
    "base 1": ({**LLAMA, "rope_theta": 1}, "rope_theta=1: must be above 1"),
    "factor below 1": (scaled(type="linear", factor=0.5), "factor=0.5"),
    "attention factor 0": (with_yarn(attention_factor=0.0), "attention_factor=0.0"),
    "negative mscale": (with_yarn(mscale=-1.0, mscale_all_dim=1.0), "mscale=-1.0"),
    "betas swapped": (with_yarn(beta_fast=1, beta_slow=32), "beta_fast=1"),
    "odd width": ({**LLAMA, "rotary_dim": 33}, "rotary_dim=33: must be even"),
    "width above the head": ({**LLAMA, "rotary_dim": 130}, "rotary_dim=130: is more than the 128 channels"),
    "share above 1": ({**LLAMA, "partial_rotary_factor": 1.5}, "partial_rotary_factor=1.5"),
    "length that is no whole number": (with_yarn(original_max_position_embeddings=0.5), "=0.5"),
    "dictionary that is none": ({**LLAMA, "rope_scaling": "yarn"}, "rope_parameters='yarn': must be a dictionary"),
    "list that is none": (phi3(long_factor="64"), "long_factor='64': must be a list of numbers"),
    "declared length": ({**LLAMA, "max_position_embeddings": -1}, "max_position_embeddings=-1"),
    # layers that differ
    "layers that differ": ({**LAYERS, "rope_parameters": SETS}, "choose one of 'full_attention', 'sliding_attention'"),
    "two stacks": (T5_FILE, "choose one of 'encoder', 'decoder'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_key_value_and_remedy(case):
    config, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as raised:
        from_config(config)
    assert re.match(r"\w+=", str(raised.value)) and str(raised.value).endswith(".")


@pytest.mark.parametrize(
    ("config", "layer_type", "message"),
    [
        (LLAMA, "sliding_attention", "layer_type='sliding_attention': choose one of 'full_attention'"),
        ({**LAYERS, "rope_parameters": SETS}, "global", "choose one of 'full_attention', 'sliding_attention'"),
        (T5_FILE, "full_attention", "choose one of 'encoder', 'decoder'"),
        (BLOOM, "encoder", "choose one of 'full_attention'"),
    ],
)
def test_a_layer_type_that_the_file_does_not_have(config, layer_type, message):
    with pytest.raises(ValueError, match=message):
        from_config(config, layer_type=layer_type)


def test_what_is_no_configuration(tmp_path):
    for bad in (3, None, ["rope_theta"]):
        with pytest.raises(ValueError, match=r"config='\w+': pass the content of a config.json as a mapping"):
            from_config(bad)
    with pytest.raises(ValueError, match="config='meta-llama/Llama-3.1-8B': is no file. Names on a hub"):
        from_config("meta-llama/Llama-3.1-8B")
    with pytest.raises(ValueError, match="is a folder; pass .*config.json"):
        from_config(tmp_path)
    for content, message in ((b"{", "is not JSON"), (b"[1]", "must hold one JSON object"), (b"\xff{}", "is not JSON")):
        path = tmp_path / "config.json"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            from_config(path)
    with pytest.raises(ValueError, match="seq_len=0"):
        from_config(LLAMA, seq_len=0)
    with pytest.raises(ValueError, match="num_hidden_layers=None"):
        layer_types(without(LLAMA, "num_hidden_layers"))


# ----------------------------------------------------------------------------------------- the tables, against the code


def turned(function) -> str:
    """The layout of a rotate_half: where it puts the partner of channel 0 of eight."""
    partner = function(torch.arange(8.0).view(1, 1, 1, 8)).flatten().abs().long().tolist()
    return {4: "half", 1: "interleaved"}[partner[0]]


@pytest.mark.oracle("config.from_config", against="transformers: rotate_half of each family")
def test_the_layout_of_every_family_is_that_of_its_code():
    pytest.importorskip("transformers")
    for family in (*HALF, *INTERLEAVED):
        module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
        names = [n for n in ("rotate_half_llm", "rotate_half", "rotate_every_two") if hasattr(module, n)]
        if family == "deepseek_v3":  # reorders, then turns halves: the same logits
            assert hasattr(module, "apply_rotary_pos_emb_interleave")
            layout = "interleaved" if in_transformers(published("deepseek-v3")).rope_interleave else "half"
        elif family == "gpt_oss":
            layout = turned(lambda v: module._apply_rotary_emb(v, torch.zeros(4), torch.ones(4)))  # noqa: B023
        elif names:
            layout = turned(getattr(module, names[0]))
        elif family == "roformer":
            turn = module.RoFormerSelfAttention.apply_rotary_position_embeddings
            table = torch.cat([torch.ones(4), torch.zeros(4)]).view(1, 1, 1, 8)  # sin 1, cos 0
            layout = turned(lambda v: turn(table, v, v)[0])  # noqa: B023
        else:  # complex numbers of neighbors: Llama 4, DeepSeek-V2
            quarter = torch.full((1, 1, 4), 1j)
            layout = turned(lambda v: module.apply_rotary_emb(v, v, quarter)[0])  # noqa: B023
        assert layout == ("half" if family in HALF else "interleaved"), family
