"""Layers that differ and schemes that combine, against whole models of transformers, layer by layer.

A tiny model with random weights is run as it is; hooks take its queries and keys before any position enters, and its
attention weights. Our mixture, given the same queries and keys, must come to the same weights in every layer: that is
rotation, which channels, softmax scale, bias, window and temperature at once.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import transformers
from torch import Tensor
from transformers.models.gemma3 import modeling_gemma3
from transformers.models.llama4 import modeling_llama4
from transformers.models.ministral3 import modeling_ministral3
from transformers.models.mpt import modeling_mpt
from transformers.models.qwen2_vl import modeling_qwen2_vl
from transformers.models.qwen3_vl import modeling_qwen3_vl

from helpers.encodings import (
    T5,
    ALiBi,
    AxialRoPE,
    Combined,
    CoPE,
    Encoding,
    Learned,
    MixedRoPE,
    MRoPE,
    NoEncoding,
    PerLayer,
    PoPE,
    PositionTemperature,
    RoPE,
    Shaw,
    Sinusoidal,
    SlidingWindow,
    extension,
    positions,
)
from helpers.encodings.axial import multimodal_positions
from helpers.encodings.extension import temperature_factor
from helpers.encodings.temperature import position_temperature
from helpers.model import CausalLM, KVCache, causal_mask
from tests import direct

D, T, VOCAB = 16, 14, 23
SMALL = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 16, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": D, "attn_implementation": "eager", "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
DEFAULT = {"rope_type": "default", "rope_theta": 1e4}
WINDOW = 5
YARN = {"rope_type": "yarn", "rope_theta": 1.5e5, "factor": 32.0, "original_max_position_embeddings": 16}
SECTIONS = (3, 3, 2)


def layers(n: int, *kinds: str) -> dict:
    """num_hidden_layers and layer_types, the kinds in turn: "sliding" and "full"."""
    return {"num_hidden_layers": n, "layer_types": [f"{kinds[i % len(kinds)]}_attention" for i in range(n)]}


class Case(NamedTuple):
    """A model of transformers, the encoding that should be its own, and where its queries and keys are found."""

    model: Callable[[], torch.nn.Module]
    encoding: Callable[[], Encoding]
    taps: tuple[str, str] = ("q_proj", "k_proj")
    causal: bool = True
    position_ids: Tensor | None = None  # (1, T, 3) for pictures and text


def gemma3():
    rope = {"full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}, "sliding_attention": DEFAULT}
    config = modeling_gemma3.Gemma3TextConfig(
        **SMALL, **layers(6, *["sliding"] * 5, "full"), sliding_window=WINDOW, rope_parameters=rope,
        query_pre_attn_scalar=24,
    )  # fmt: skip
    return modeling_gemma3.Gemma3ForCausalLM(config)


def two_bases_and_a_window():
    local = Combined([RoPE(D, scale=24**-0.5), SlidingWindow(WINDOW)])
    whole = RoPE(D, inv_freq=extension.extend("pi", D, 1e6, 8.0).inv_freq, scale=24**-0.5)
    return PerLayer([whole if layer % 6 == 5 else local for layer in range(6)])


def llama4():
    config = modeling_llama4.Llama4TextConfig(
        **SMALL, num_hidden_layers=4, no_rope_layers=[1, 1, 1, 0], rope_parameters=DEFAULT, use_qk_norm=False,
        floor_scale=4, attn_scale=0.3, attn_temperature_tuning=True, num_local_experts=1, moe_layers=[],
        intermediate_size_mlp=16,
    )  # fmt: skip
    return modeling_llama4.Llama4ForCausalLM(config)


def ministral3():
    rope = YARN | {"llama_4_scaling_beta": 0.2}
    return modeling_ministral3.Ministral3ForCausalLM(
        modeling_ministral3.Ministral3Config(**SMALL, num_hidden_layers=2, rope_parameters=rope, sliding_window=None)
    )


def long(**options) -> dict:
    """What YARN's dictionary gives a RoPE of D channels."""
    return extension.extend("yarn", D, 1.5e5, 32.0, 16, **options)._asdict()


def gpt_oss():
    config = transformers.GptOssConfig(
        **SMALL, **layers(4, "sliding", "full"), sliding_window=WINDOW, rope_parameters=YARN | {"truncate": False},
        num_local_experts=2, num_experts_per_tok=1,
    )  # fmt: skip
    return transformers.GptOssForCausalLM(config)


def deepseek(version: str):
    rope = YARN | {"rope_theta": 1e4, "mscale": 0.707, "mscale_all_dim": 0.707}
    common = {
        "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "q_lora_rank": None, "kv_lora_rank": 8,
        "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 12, "first_k_dense_replace": 2,
        "rope_parameters": rope, "max_position_embeddings": 512, "attn_implementation": "eager",
    }  # fmt: skip
    if version == "V2":
        return transformers.DeepseekV2ForCausalLM(transformers.DeepseekV2Config(**common))
    return transformers.DeepseekV3ForCausalLM(transformers.DeepseekV3Config(**common))


def last_channels_and_the_softmax_scale():
    rule = extension.extend("yarn", 8, 1e4, 32.0, 16, attention_factor=1.0)  # mscale / mscale_all_dim is 1
    scale = 24**-0.5 * temperature_factor(32.0, 0.707) ** 2
    return RoPE(24, layout="interleaved", rotary_dim=8, rotated="last", inv_freq=rule.inv_freq, scale=scale)


def umt5():
    config = transformers.UMT5Config(
        vocab_size=VOCAB, d_model=32, d_kv=D, d_ff=16, num_layers=3, num_heads=4, relative_attention_num_buckets=8,
        relative_attention_max_distance=20,
    )  # fmt: skip
    return transformers.UMT5EncoderModel._from_config(config, attn_implementation="eager")


def mpt():
    config = modeling_mpt.MptConfig(
        d_model=64, n_heads=4, n_layers=2, max_seq_len=64, vocab_size=VOCAB, expansion_ratio=1,
        attn_config={"alibi": True, "alibi_bias_max": 16, "attn_type": "multihead_attention"},
    )  # fmt: skip
    return modeling_mpt.MptForCausalLM._from_config(config, attn_implementation="eager")


def modernbert():
    rope = {"full_attention": {"rope_type": "default", "rope_theta": 1.6e5}, "sliding_attention": DEFAULT}
    small = {key: value for key, value in SMALL.items() if key not in ("head_dim", "num_key_value_heads")}
    config = transformers.ModernBertConfig(
        **small | {"hidden_size": 64},
        **layers(3, "full", "sliding", "sliding"),
        local_attention=8,
        rope_parameters=rope,
    )
    return transformers.ModernBertModel(config)


PICTURE = multimodal_positions([3, (1, 2, 3), 5])


def vision(kind: str):
    rope = DEFAULT | {"mrope_section": list(SECTIONS)}
    if kind == "qwen2":
        config = modeling_qwen2_vl.Qwen2VLTextConfig(
            **SMALL | {"hidden_size": 64}, num_hidden_layers=2, rope_parameters=rope, use_sliding_window=False
        )
        return modeling_qwen2_vl.Qwen2VLTextModel(config)
    return modeling_qwen3_vl.Qwen3VLTextModel(
        modeling_qwen3_vl.Qwen3VLTextConfig(**SMALL, num_hidden_layers=2, rope_parameters=rope)
    )


CASES = {
    "Gemma 3": Case(gemma3, two_bases_and_a_window, ("q_norm", "k_norm")),
    "Llama 4": Case(
        llama4,
        lambda: PerLayer([RoPE(D, layout="interleaved")] * 3 + [PositionTemperature(0.3, 4, shift=1)]),
    ),
    "Ministral 3": Case(ministral3, lambda: Combined([RoPE(D, **long()), PositionTemperature(0.2, 16)])),
    "SmolLM3": Case(
        lambda: transformers.SmolLM3ForCausalLM(
            transformers.SmolLM3Config(
                **SMALL, num_hidden_layers=4, no_rope_layers=[1, 1, 1, 0], rope_parameters=DEFAULT  # 1: with rotation
            )
        ),
        lambda: PerLayer([RoPE(D)] * 3 + [NoEncoding()]),
    ),
    "Mistral": Case(
        lambda: transformers.MistralForCausalLM(
            transformers.MistralConfig(**SMALL, num_hidden_layers=2, sliding_window=WINDOW, rope_parameters=DEFAULT)
        ),
        lambda: Combined([RoPE(D), SlidingWindow(WINDOW)]),
    ),
    "Cohere2": Case(
        lambda: transformers.Cohere2ForCausalLM(
            transformers.Cohere2Config(
                **{key: value for key, value in SMALL.items() if key != "head_dim"} | {"hidden_size": 64},
                **layers(4, "sliding", "sliding", "sliding", "full"), sliding_window=WINDOW, rope_parameters=DEFAULT,
            )
        ),
        lambda: PerLayer(
            [Combined([RoPE(D, layout="interleaved"), SlidingWindow(WINDOW)])] * 3 + [NoEncoding()]
        ),
    ),
    "gpt-oss": Case(
        gpt_oss,
        lambda: PerLayer(
            [Combined([RoPE(D, **long(truncate=False)), SlidingWindow(WINDOW)]), RoPE(D, **long(truncate=False))] * 2
        ),
    ),
    "DeepSeek-V2": Case(lambda: deepseek("V2"), last_channels_and_the_softmax_scale, ("q_proj", "latent")),
    "DeepSeek-V3": Case(lambda: deepseek("V3"), last_channels_and_the_softmax_scale, ("q_proj", "latent")),
    "UMT5": Case(
        umt5, lambda: PerLayer([T5(4, 8, 20, bidirectional=True, std=1.0) for _ in range(3)]), ("q", "k"), False
    ),
    # transformers 5.23 reads alibi_bias_max and does not use it: a model that says 16 is run with 8.
    "MPT": Case(mpt, lambda: ALiBi(4, max_bias=8), ("Wqkv", "Wqkv")),
    "ModernBERT": Case(
        modernbert,
        lambda: PerLayer([RoPE(D, 1.6e5)] + [Combined([RoPE(D), SlidingWindow(5)])] * 2),  # 4 to each side, and itself
        ("Wqkv", "Wqkv"),
        False,
    ),
    "Qwen2-VL": Case(
        lambda: vision("qwen2"), lambda: MRoPE(D, SECTIONS, 1e4), position_ids=PICTURE,
    ),
    "Qwen3-VL": Case(
        lambda: vision("qwen3"), lambda: MRoPE(D, SECTIONS, 1e4, mrope_interleaved=True), ("q_norm", "k_norm"),
        position_ids=PICTURE,
    ),
}  # fmt: skip


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """What a module gave out, (B, T, H D), (B, T, H, D) or (B, H, T, D), as (B, H, T, D)."""
    if x.ndim == 3:
        x = x.unflatten(-1, (n_heads, -1))
    return x if x.shape[1] == n_heads and x.shape[2] == T else x.transpose(1, 2)


def queries_and_keys(found: dict[str, list[Tensor]], case: Case, layer: int, config) -> tuple[Tensor, Tensor]:
    """Of one layer, before any position: (B, H, T, D) and (B, H_kv, T, D)."""
    heads = getattr(config, "num_attention_heads", None) or config.n_heads
    if case.taps[0] == "Wqkv":
        q, k, _ = (split_heads(x, heads) for x in found["Wqkv"][layer].chunk(3, dim=-1))
        return q, k
    q = split_heads(found[case.taps[0]][layer], heads)
    if case.taps[1] == "latent":  # keys without position come from the latent, the shared rotary key beside it
        nope, rope = config.qk_nope_head_dim, config.qk_rope_head_dim
        bare = found["kv_b_proj"][layer].reshape(*q.shape[:1], T, heads, -1).transpose(1, 2)[..., :nope]
        shared = found["kv_a_proj_with_mqa"][layer][:, None, :, -rope:].expand(-1, heads, -1, -1)
        return q, torch.cat([bare, shared], -1)
    return q, split_heads(found[case.taps[1]][layer], getattr(config, "num_key_value_heads", heads))


@torch.no_grad()
def run_theirs(case: Case) -> tuple[torch.nn.Module, list[tuple[Tensor, Tensor]], list[Tensor]]:
    """The model, its queries and keys before position, and its attention weights, one entry a layer."""
    torch.manual_seed(0)
    model = case.model().eval().float()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    wanted = {*case.taps, "kv_b_proj", "kv_a_proj_with_mqa"} if case.taps[1] == "latent" else {*case.taps}
    found: dict[str, list[Tensor]] = {name: [] for name in wanted}
    for path, module in model.named_modules():
        name = path.rsplit(".", 1)[-1]
        if name in wanted:
            module.register_forward_hook(lambda m, inputs, output, name=name: found[name].append(output))
    ids = torch.randint(3, VOCAB, (2, T))
    where = {} if case.position_ids is None else {"position_ids": case.position_ids.expand(2, T, 3).permute(2, 0, 1)}
    weights = model(input_ids=ids, output_attentions=True, **where).attentions
    return model, [queries_and_keys(found, case, i, model.config) for i in range(len(weights))], list(weights)


@torch.no_grad()
def our_weights(encoding: Encoding, q: Tensor, k: Tensor, layer: int, causal: bool, pos: Tensor) -> Tensor:
    """Attention weights (B, H, T, T) by the contract: door 2, scale, door 3, mask, softmax."""
    allowed = causal_mask(T, T) if causal else torch.ones(1, 1, T, T, dtype=torch.bool)
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    state = encoding.prepare(pos, pos, allowed)
    a, b = encoding.rotate(q, k, state, layer)
    logits = a @ b.mT * (q.shape[-1] ** -0.5 if encoding.scale is None else encoding.scale)
    bias = encoding.bias(q, k, state, layer)
    logits = logits if bias is None else logits + bias
    return logits.masked_fill(~allowed, -torch.inf).softmax(-1)


@pytest.mark.oracle(
    "combine.PerLayer", "combine.Combined", "temperature.PositionTemperature", "temperature.position_temperature",
    "rope.RoPE", "rope.rotary_width", "axial.MRoPE", "window.SlidingWindow", "t5.T5", "alibi.ALiBi",
    against="transformers: fourteen models",
)  # fmt: skip
@pytest.mark.parametrize("name", CASES)
def test_every_layer_has_the_weights_of_the_model(name):
    case = CASES[name]
    model, vectors, weights = run_theirs(case)
    encoding = case.encoding().eval()
    if name == "UMT5":
        for part, block in zip(encoding.parts, model.encoder.block, strict=True):
            part.table.weight.data = block.layer[0].SelfAttention.relative_attention_bias.weight.data
    pos = positions(T) if case.position_ids is None else case.position_ids
    differ = 0.0
    for layer, ((q, k), expected) in enumerate(zip(vectors, weights, strict=True)):
        expected = expected / expected.sum(-1, keepdim=True)  # gpt-oss keeps a share for its sink
        found = our_weights(encoding, q, k, layer, case.causal, pos)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-4, msg=lambda m, i=layer: f"layer {i}: {m}")
        bare = our_weights(NoEncoding(), q, k, layer, case.causal, positions(T))
        differ = max(differ, (bare - expected).abs().max().item())
        if name in ("DeepSeek-V2", "DeepSeek-V3"):
            first = RoPE(24, layout="interleaved", rotary_dim=8, inv_freq=encoding.inv_freq, scale=encoding.scale)
            assert (our_weights(first, q, k, layer, True, pos) - expected).abs().max() > 0.05
    assert differ > 0.05, "position changes nothing here: a blind test"


# ----------------------------------------------------------------------------------------------- in our own model

HEADS, D_MODEL = 4, 32
SHAPE = {"d_model": D_MODEL, "n_heads": HEADS}


def ours(encoding: Encoding, n_layers: int = 3) -> tuple[CausalLM, Tensor]:
    torch.manual_seed(0)
    model = CausalLM(VOCAB, **SHAPE, n_layers=n_layers, encoding=encoding).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model, torch.randint(VOCAB, (2, T))


def mixtures() -> dict[str, Encoding]:
    """One of each kind, three layers each, for our model: every door, scales that differ, parameters of their own."""
    near = Combined([RoPE(8), SlidingWindow(WINDOW)])
    return {
        "windows": PerLayer([near, near, RoPE(8, 1e6)]),
        "no position": PerLayer([RoPE(8), NoEncoding(), RoPE(8)]),
        "tables": PerLayer([T5(HEADS, std=1.0) for _ in range(3)]),
        "scales": PerLayer([T5(HEADS, std=1.0), RoPE(8), RoPE(8, scale=0.5)]),
        "wider": PerLayer([RoPE(8), PoPE(8, HEADS), ALiBi(HEADS)]),
        "values": PerLayer([Shaw(HEADS, 8, 3, std=0.5), RoPE(8), CoPE(8, std=0.5)]),
        "embeddings": Combined([Sinusoidal(D_MODEL), PerLayer([RoPE(8), near, NoEncoding()])]),
        "biases": Combined([ALiBi(HEADS), SlidingWindow(WINDOW), PositionTemperature(0.3, 4, shift=1)]),
    }


def parts_of(encoding: Encoding, layer: int) -> list[Encoding]:
    """The schemes that are at work in one layer, written out."""
    if isinstance(encoding, PerLayer):
        return parts_of(encoding.parts[encoding.which[layer]], layer)
    if isinstance(encoding, Combined):
        return [part for each in encoding.parts for part in parts_of(each, layer)]
    return [encoding]


@pytest.mark.parametrize("name", mixtures())
@torch.no_grad()
def test_a_mixture_is_its_parts_one_after_the_other(name):
    """The whole model against its definition, where each layer has the doors and the scale of its own parts."""
    model, ids = ours(mixtures()[name])
    pos, allowed = positions(T), causal_mask(T, T)
    state = {id(part): part.prepare(pos, pos, allowed) for i in range(3) for part in parts_of(model.encoding, i)}

    def logits(q, k, layer):
        here = parts_of(model.encoding, layer)
        (scale,) = {part.scale for part in here if part.scale is not None} or {8**-0.5}
        a, b = q, k
        for part in here:
            a, b = part.rotate(a, b, state[id(part)], layer)
        biases = [part.bias(q, k, state[id(part)], layer) for part in here]
        return a @ b.mT * scale + sum(bias for bias in biases if bias is not None)

    def values(weights, layer):
        terms = [part.values(weights, state[id(part)], layer) for part in parts_of(model.encoding, layer)]
        return sum((term for term in terms if term is not None), start=torch.zeros(()))

    added = 0.0
    for part in parts_of(model.encoding, 0):
        if isinstance(part, Sinusoidal):
            added = part.embed(torch.zeros(1, T, D_MODEL), state[id(part)])
    expected = direct.forward(model, ids, logits=logits, values=values, added=added)
    torch.testing.assert_close(model.hidden(ids)[0], expected, rtol=0, atol=1e-6)
    assert (model.hidden(ids)[0] - direct.forward(model, ids)).abs().max() > 1e-2, "a blind test"


@pytest.mark.parametrize("after_rotation", [False, True])
@pytest.mark.parametrize("name", mixtures())
@torch.no_grad()
def test_a_cache_gives_what_one_pass_gives(name, after_rotation):
    model, ids = ours(mixtures()[name])
    cache = KVCache(after_rotation)
    parts = torch.cat([model(part, cache=cache) for part in ids.split([6, 1, 1, T - 8], 1)], 1)
    torch.testing.assert_close(parts, model(ids), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", mixtures())
@torch.no_grad()
def test_mixtures_are_copied_loaded_and_sent_elsewhere_like_any_scheme(name):
    model, ids = ours(mixtures()[name])
    with torch.device("meta"):
        empty = CausalLM(VOCAB, **SHAPE, n_layers=3, encoding=mixtures()[name])
    empty.to_empty(device="cpu").double().load_state_dict(model.state_dict())
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), empty):
        assert torch.equal(again.eval()(ids), model(ids))
    assert model.to("meta")(ids.to("meta")).shape == (2, T, VOCAB)


def test_a_scheme_of_several_layers_is_one_part_and_prepared_once():
    class Counting(RoPE):
        calls = 0

        def prepare(self, *args):
            self.calls += 1
            return super().prepare(*args)

    shared, other = Counting(8), Counting(8, 1e6)
    model, ids = ours(PerLayer([shared, other, shared]))
    model(ids)
    assert (shared.calls, other.calls, len(model.encoding.parts), model.encoding.which) == (1, 1, 2, (0, 1, 0))
    tables = PerLayer([T5(HEADS), T5(HEADS)])
    assert sorted(tables.state_dict()) == ["parts.0.table.weight", "parts.1.table.weight"]


@torch.no_grad()
def test_a_scheme_for_more_layers_than_the_model_has_is_refused():
    with pytest.raises(ValueError, match=r"encoding.n_layers=2: this model has n_layers=3"):
        ours(PerLayer([RoPE(8), NoEncoding()]))
    with pytest.raises(ValueError, match="encoding.n_layers=2"):  # also when it is a part
        ours(Combined([Sinusoidal(D_MODEL), PerLayer([RoPE(8), NoEncoding()])]))
    pos = positions(3)
    mixture, q = PerLayer([RoPE(8)]), torch.zeros(1, 1, 3, 8)
    with pytest.raises(ValueError, match="layer=1: this encoding has 1 layers"):
        mixture.rotate(q, q, mixture.prepare(pos, pos, None), 1)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: PerLayer([]), r"schemes=\[\]"),
        (lambda: PerLayer("rope"), "schemes='rope'"),
        (lambda: Combined([RoPE(8), "alibi"]), "schemes='alibi'"),
        (lambda: PerLayer([RoPE(8), RoPE(16)]), r"schemes=\[8, 16\]: are built for more than one head_dim"),
        (lambda: Combined([ALiBi(4), T5(8)]), r"schemes=\[4, 8\]: are built for more than one n_heads"),
        (lambda: PerLayer([Sinusoidal(32), RoPE(8)]), "schemes='Sinusoidal': adds to the embeddings"),
        (lambda: PerLayer([Combined([Learned(32, 9), RoPE(8)])]), "schemes='Combined': adds to the embeddings"),
        (lambda: Combined([T5(4), RoPE(8, scale=0.5)]), r"schemes=\[0.5, 1.0\]: state more than one softmax scale"),
        (lambda: Combined([shared := RoPE(8), shared]), "schemes=2: one scheme stands in the list twice"),
        (lambda: PositionTemperature(0.1, 0), "floor_scale=0"),
        (lambda: PositionTemperature(0.0, 8), "attn_scale=0.0"),
        (lambda: PositionTemperature(0.1, 8, shift=-1), "shift=-1"),
    ],
)
def test_bad_mixtures(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_parts_that_count_along_one_axis_take_text_only():
    mixture = Combined([MRoPE(8, (2, 1, 1)), SlidingWindow(3)])
    text, picture = positions(6), multimodal_positions([(1, 2, 3)])
    assert mixture.axes == 3 and len(mixture.prepare(text, text, None)) == 2
    with pytest.raises(ValueError, match=r"position_ids=\(1, 6, 3\): SlidingWindow counts along one axis"):
        mixture.prepare(picture, picture, None)
    without = PerLayer([MRoPE(8, (2, 1, 1)), NoEncoding()])
    assert len(without.prepare(picture, picture, None)) == 2


def test_parts_of_two_axes_take_places_in_a_grid():
    mixture, grid = Combined([MixedRoPE(8, HEADS), AxialRoPE(8)]), torch.zeros(1, 6, 2)
    assert mixture.axes == 2 and len(mixture.prepare(grid, grid, None)) == 2


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(
    "door",
    [
        lambda mixture, q, state: mixture.embed(q, state),
        lambda mixture, q, state: mixture.rotate(q, q, state, 0),
        lambda mixture, q, state: mixture.bias(q, q, state, 0),
        lambda mixture, q, state: mixture.values(q @ q.mT, state, 0),
    ],
    ids=["embed", "rotate", "bias", "values"],
)
def test_a_state_that_is_not_the_mixtures_own_is_refused(door, parts):
    mixture, pos, q = Combined([ALiBi(HEADS), SlidingWindow(3)]), positions(6), torch.zeros(1, HEADS, 6, 8)
    own = mixture.prepare(pos, pos, None)
    door(mixture, q, own)
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is (shorter|longer)"):
        door(mixture, q, (own * 2)[:parts])


# ------------------------------------------------------------------------------------------- temperature by position


def test_temperature_of_llama_4_at_position_100000():
    at = position_temperature(torch.tensor([0, 8190, 8191, 100_000]), 0.1, 8192, shift=1)
    assert at.dtype == torch.float32
    torch.testing.assert_close(at, torch.tensor([1.0, 1.0, 1 + 0.1 * math.log(2), 1.2565]), rtol=0, atol=5e-5)
    assert position_temperature(torch.tensor([-7, -1]), 0.1, 2).tolist() == [1.0, 1.0]
    far = torch.tensor([2**24 + 1, 2**24 + 2])  # float32 takes the two for one position
    assert position_temperature(far, 1.0, 2**24 + 2).diff().item() == pytest.approx(math.log(2))


def test_scales_of_the_parts_of_a_mixture():
    """One that all parts state is the mixture's; with several, or none, the model divides by the root of head_dim."""
    alike = [RoPE(8, scale=0.5), RoPE(8, 500.0, scale=0.5)]
    assert PerLayer(alike).scale == 0.5 and PerLayer([RoPE(8), RoPE(8, 500.0)]).scale is None
    assert PerLayer([RoPE(8, scale=0.5), RoPE(8, scale=0.25)]).scale is None


def test_a_temperature_that_steps_at_every_token_starts_at_one():
    assert position_temperature(torch.tensor([[0, 1]]), 1.0, 1).tolist()[0] == pytest.approx([1, 1 + math.log(2)])
