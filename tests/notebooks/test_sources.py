"""References and published numbers: complete in form, each number with a known source and the table it stands in."""

from __future__ import annotations

import re
from numbers import Real

import pytest

from helpers import sources, store

WORKS = sources.references()
NUMBERS = sources._published()


@pytest.mark.parametrize("key", WORKS)
def test_every_reference_is_complete(key):
    work = WORKS[key]
    assert set(work) in ({"authors", "title", "year", "arxiv"}, {"authors", "title", "year", "url"}), work
    assert work["authors"] and all(isinstance(a, str) and a.strip() == a and a for a in work["authors"])
    assert "others" not in work["authors"][:-1] and len(work["authors"]) == len([a for a in work["authors"] if a])
    assert work["title"].strip() == work["title"] and not work["title"].endswith(".")
    assert 1900 < work["year"] <= 2026 and str(work["year"]) in key
    if "arxiv" in work:
        assert re.fullmatch(r"\d{4}\.\d{4,5}", work["arxiv"])
        # An identifier starts with year and month: the year given is that of the first public version.
        assert 2000 + int(work["arxiv"][:2]) == work["year"], "year and arXiv id disagree"
        assert 1 <= int(work["arxiv"][2:4]) <= 12
        assert len(work["arxiv"].split(".")[1]) == (4 if work["arxiv"] < "1501" else 5)
    else:
        assert re.fullmatch(r"https://[^\s<>\"]+", work["url"])


def test_no_two_references_are_the_same_work():
    for what in ("arxiv", "url", "title"):
        values = [w[what] for w in WORKS.values() if what in w]
        assert len(values) == len(set(values))


def leaves(value):
    return [leaf for v in value.values() for leaf in leaves(v)] if isinstance(value, dict) else [value]


@pytest.mark.parametrize("key", NUMBERS)
def test_every_published_number_has_a_source_and_a_place(key):
    entry = NUMBERS[key]
    assert set(entry) - {"note"} == {"value", "source", "where"}
    assert entry["source"] in WORKS, f"{entry['source']} is not in references.json"
    assert entry["source"].startswith(key.split(".")[0]), "the key starts with its source"
    assert entry["where"].strip()
    assert leaves(entry["value"]) and all(isinstance(v, Real | str | list) and v == v for v in leaves(entry["value"]))
    assert sources.source(key).startswith(sources.cite(entry["source"]))


def test_citation_forms():
    assert sources.cite("press2021") == "Press et al. 2021"
    assert sources.cite("elman1990") == "Elman 1990"
    assert sources.names(["Su", "others"]) == "Su et al."
    assert sources.names(["Ke", "He"]) == "Ke and He"
    assert sources.names(["Ke", "He", "Liu"]) == "Ke, He and Liu"
    assert sources.names(["Ke", "He", "Liu"], at_most=2) == "Ke et al."
    line = sources.reference_list("press2021")
    assert line == (
        "- Press, Smith and Lewis (2021). *Train Short, Test Long: Attention with Linear Biases Enables Input Length "
        "Extrapolation*. [arXiv:2108.12409](https://arxiv.org/abs/2108.12409)"
    )
    assert sources.reference_list("elman1990", "press2021").count("\n") == 1
    assert "<https://" in sources.reference_list("elman1990")


@pytest.mark.parametrize("ask", [sources.cite, sources.published, sources.source, sources.reference_list])
def test_unknown_keys_are_refused_with_the_choices(ask):
    with pytest.raises(ValueError, match="key='nobody1999'.*choose one of"):
        ask("nobody1999")


def test_numbers_that_the_series_leans_on():
    """A second copy, on purpose: a slip of the keyboard in the data file must not pass unseen."""
    get = sources.published
    assert get("shaw2018.position_ablation_bleu") == {
        "keys and values": 25.8, "keys only": 25.8, "values only": 25.3, "neither": 12.5
    }  # fmt: skip
    assert get("shaw2018.clip_distance_bleu")["0"] == get("shaw2018.position_ablation_bleu")["neither"]
    assert get("shaw2018.lost_without_positions") == round(25.8 - 12.5, 1)
    masked = get("haviv2022.masked_lm")
    assert masked["none"] == 147.18 and masked["learned"] == 4.06
    assert get("press2021.train512")["sinusoidal"]["1012"] == 43.54
    assert get("press2021.train512")["alibi"]["3512"] == 18.40
    best = get("press2021.train512")["rope"]
    assert min(best, key=best.get) == "712"
    both = get("vaswani2017.sinusoidal_or_learned")
    assert both["sinusoidal"]["perplexity"] == both["learned"]["perplexity"]
    glue = get("su2021.glue").values()
    better = sum(t["roformer"] > t["bert"] for t in glue)
    assert (better, len(glue) - better) == (3, 4)  # MNLI counts twice: matched and mismatched
    indexing = get("gopalakrishnan2025.indirect_indexing")
    assert indexing["rope"]["mean"] == 11.16 and indexing["pope"]["mean"] == 94.82
    # What a causal language model loses without positions, against a learned table, in perplexity (Haviv, tables 1-3).
    tables = [get(f"haviv2022.{t}") for t in ("wikitext103", "pile_1.3b")]
    tables += [*get("haviv2022.by_size").values(), *get("haviv2022.by_length").values()]
    lost = [round(t["none"] - t["learned"], 2) for t in tables]
    assert get("haviv2022.lost_without_positions")["learned"] == {"least": min(lost), "most": max(lost)}
    assert (min(lost), max(lost)) == (0.03, 0.55)
    most = max(round(t["none"] - t["alibi"], 2) for t in tables)
    assert get("haviv2022.lost_without_positions")["alibi"] == {"most": most} and most == 2.21
    lost = [t["none"] - t["sinusoidal"] for t in tables]
    assert round(min(lost), 2) == 0.14 and round(max(lost), 2) == 0.81


@pytest.mark.parametrize(
    "name, read", [("references.json", sources.references), ("published.json", sources._published)]
)
def test_a_damaged_file_is_named_with_the_way_back(tmp_path, monkeypatch, name, read):
    (tmp_path / name).write_text('{"vaswani2017": {', encoding="utf-8")
    monkeypatch.setattr(sources, "DATA", tmp_path)
    monkeypatch.setattr(store, "ROOT", tmp_path)
    with pytest.raises(store.BrokenFile, match=f"{name} cannot be read.*git checkout -- {name}"):
        read.__wrapped__()
