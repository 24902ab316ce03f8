"""What verdicts survived: every claim that rests on an experiment points to its runs, and the line under it is true."""

from __future__ import annotations

import csv
import json
import math
import re

import pytest

from helpers import dials, store
from tests.notebook_code import FILES

LEDGER = dials.claims()
COMPARED = [claim for claim in LEDGER if "dials" in claim]
each = pytest.mark.parametrize("claim", COMPARED, ids=lambda c: c["id"])


def entries(claim) -> list[dict]:
    return claim["dials"] if isinstance(claim["dials"], list) else [claim["dials"]]


# --------------------------------------------------------------------------------------------------- the ledger


def unsupported(ledger) -> list[str]:
    """Claims that rest on an experiment and name none."""
    return [claim["id"] for claim in ledger if claim["kind"] == "experiment" and not claim.get("dials")]


def test_an_experimental_claim_names_its_runs():
    assert unsupported(LEDGER) == [], "give the claim its dials (helpers/dials.py says how)"


def test_a_claim_without_runs_is_noticed():
    assert unsupported([{"id": "a", "kind": "experiment"}, {"id": "b", "kind": "proof"}]) == ["a"]
    assert unsupported([{"id": "a", "kind": "experiment", "dials": []}]) == ["a"]


@each
def test_a_verdict_without_an_if_held_everywhere(claim):
    """What fell somewhere depends: on the dial that turned it."""
    for outcome in dials.outcomes(claim):
        assert claim["verdict"] == "depends" or not outcome.fell, f"{outcome.what}: {outcome.line()}"


# --------------------------------------------------------------- computed again, from the tables, in another way


def plainly(entry) -> list[float]:
    """The margins of one comparison, from table.csv as text alone, the slow way."""
    with (store.RESULTS / entry["study"] / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    def fits(text: str, wanted) -> bool:
        if isinstance(wanted, list):
            return any(fits(text, one) for one in wanted)
        if wanted is None:
            return text == ""
        if isinstance(wanted, str):
            return bool(re.fullmatch(re.escape(wanted).replace(r"\*", ".*"), text))
        return text != "" and float(text) == wanted

    margins = []
    for row in rows:
        if not all(fits(row[column], wanted) for column, wanted in entry["left"].items()):
            continue
        if isinstance(entry["right"], int | float):
            others = [entry["right"]]
        else:
            must = {**entry["left"], **entry["right"]}
            kept = [column for column in row if column not in entry["right"] and column != "value"]
            others = [
                float(other["value"])
                for other in rows
                if all(fits(other[column], wanted) for column, wanted in must.items())
                and all(other[column] == row[column] for column in kept)
            ]
        signed = [float(row["value"]) - other for other in others]
        margins += [(s if entry["relation"] == ">" else -s) - entry.get("by", 0) for s in signed]
    return margins


@each
def test_margins_are_those_of_the_table(claim):
    for entry, outcome in zip(entries(claim), dials.outcomes(claim), strict=True):
        margins = plainly(entry)
        assert len(margins) == len(outcome.pairs) + outcome.diverged
        assert sorted(m for m in margins if math.isfinite(m)) == pytest.approx(sorted(p.margin for p in outcome.pairs))
        assert ("held" in outcome.line()) == all(m > 0 for m in margins if math.isfinite(m))


@each
def test_a_flipped_relation_is_noticed(claim):
    for entry, outcome in zip(entries(claim), dials.outcomes(claim), strict=True):
        flipped = {**entry, "relation": "<" if entry["relation"] == ">" else ">", "by": -entry.get("by", 0)}
        (other,) = dials.outcomes({"id": claim["id"], "dials": flipped})
        assert len(other.fell) == sum(pair.margin >= 0 for pair in outcome.pairs)
        assert "held" not in other.line() or len(outcome.fell) == len(outcome.pairs)


# ------------------------------------------------------------------------------------------ on a small made-up study

ENTRY = {
    "study": "small",
    "left": {"contender": "rope", "score": "loss", "length": 64},
    "relation": "<",
    "right": {"contender": "none"},
}
RUNS = {  # (contender, lr, steps, seed) -> loss at 64
    ("none", 0.003, 400, 0): 2.3, ("none", 0.003, 400, 1): 2.4, ("none", 0.003, 4000, 0): 1.7,
    ("none", 0.003, 4000, 1): 1.8, ("rope", 0.003, 400, 0): 1.8, ("rope", 0.003, 400, 1): 1.9,
    ("rope", 0.003, 4000, 0): 1.5, ("rope", 0.003, 4000, 1): 1.75, ("rope[base=500]", 0.003, 400, 0): 1.7,
}  # fmt: skip


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Writes a study of these runs and gives the outcome of a comparison on it."""
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    made = iter(range(100))

    def compare(changed=None, without=(), **entry) -> dials.Outcome:
        name = f"small{next(made)}"
        study = store.Study(name, ("contender", "lr", "steps", "seed"), ("length",), {}, "python3 tasks.py record x")
        for key, value in {**RUNS, **(changed or {})}.items():
            if key not in without:
                rows = [] if value is None else [{"length": n, "score": "loss", "value": value + n} for n in (64, 512)]
                study.add(store.Run(rows, key=dict(zip(study.run, key, strict=True))))
        (outcome,) = dials.outcomes({"id": "x", "dials": {**ENTRY, **entry, "study": name}})
        return outcome

    return compare


def test_the_line_counts_the_dials_and_names_the_closest_by_them(small):
    assert small().line() == "1 learning rate, 2 budgets, 2 seeds: held; closest: steps 4,000, seed 1 (margin 0.05)"
    assert small().what == "loss, length 64: rope < none (small1)"


def test_a_comparison_that_fell_says_where(small):
    found = small({("rope", 0.003, 4000, 1): 1.9, ("rope", 0.003, 4000, 0): 1.71})
    assert found.line() == (
        "1 learning rate, 2 budgets, 2 seeds: fell in 2 of 4, all at steps 4,000; "
        "furthest: steps 4,000, seed 1 (margin -0.1)"
    )
    assert "fell in 4 of 4; furthest" in small(relation=">").line()
    assert (
        "fell in 3 of 4; furthest" in small({("none", 0.003, 400, 0): 2.0}, by=0.3).line()
    )  # no dial has all three and not the fourth


def test_equal_is_not_above(small):
    assert len(small({("rope", 0.003, 400, 0): 2.3}).fell) == 1


def test_an_argument_of_a_contender_is_a_dial(small):
    line = small(left={**ENTRY["left"], "contender": "rope*"}).line()
    assert line.startswith("1 learning rate, 2 budgets, 2 seeds, 2 values of base: held")
    turned = small(left={**ENTRY["left"], "contender": "rope*"}, changed={("rope[base=500]", 0.003, 400, 0): 2.5})
    assert "fell in 1 of 5, all at steps 400, seed 0, base 500; furthest" in turned.line()


def test_a_setting_that_never_changes_is_counted_only_where_its_number_says_how_far_the_claim_reaches():
    pair = dials.Pair({"learning rate": 0.003, "scheme": "rope", "measurement": "layouts"}, 1.0)
    assert dials.Outcome("", (pair,)).line() == "1 learning rate: held; closest: margin 1"
    assert dials.Outcome("", (dials.Pair({"measurement": "layouts"}, 1.0),)).line().startswith("1 pair: held")


def test_columns_that_the_right_side_names_differ_and_no_others(small):
    assert small(right={"length": 512}).line().startswith("1 learning rate, 2 budgets, 2 seeds: held")
    assert small(right={"length": 512}).what.startswith("rope, loss: length 64 < length 512 (small")
    assert "all at partner's scheme rope" in small(right={"contender": "*"}).line()
    assert small(right=66, relation="<").closest.margin == pytest.approx(0.1)
    assert small(right=66).what.startswith("rope, length 64: loss < 66 (small")
    assert small(right=66, by=0.1).what.startswith("rope, length 64: loss < 66 by more than 0.1 (")
    assert small(by=-0.1).what.startswith("loss, length 64: rope < none, give or take 0.1 (")


def test_an_empty_field_is_asked_for_by_null():
    entry = {"study": "initial_scale", "left": {"contender": "learned[std=0.02]", "way": None, "score": "last"}}
    (found,) = dials.outcomes({"id": "x", "dials": {**entry, "relation": ">", "right": 0}})
    assert found.what == "learned[std=0.02], without way: last > 0 (initial_scale)" and "when" not in found.line()


def test_a_dropped_run_is_reported_on_either_side(small):
    assert "; 1 without a partner" in small(without=[("none", 0.003, 400, 1)]).line()
    assert "; 1 without a partner" in small(without=[("rope", 0.003, 4000, 1)]).line()
    assert "1 without" not in small().line()


def test_a_run_that_diverged_or_has_no_such_number_is_reported(small):
    line = small({("rope", 0.003, 400, 1): math.nan, ("rope", 0.003, 4000, 1): math.inf}).line()
    assert "; 2 diverged" in line and line.startswith("1 learning rate, 2 budgets, 1 seed: held")
    assert "; 1 without this number" in small({("rope", 0.003, 4000, 2): None}).line()


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"relation": ">="}, "relation='>='.*write '>' or '<'"),
        ({"study": "none"}, "study='none'.*folder of results"),
        ({"by": "0.1"}, "by='0.1'.*number"),
        (
            {"left": {"contender": "rope", "scor": "last"}},
            r"left\.scor='last'.*contender, lr, steps, seed, length, score",
        ),
        ({"left": {"contender": "rope"}}, "left=.*name the score"),
        ({"left": {}}, r"left=\{\}.*column"),
        ({"left": {"contender": "gru", "score": "last"}}, "left=.*nothing recorded matches.*record race"),
        ({"right": {"size": 64}}, r"right\.size=64.*length"),
        ({"right": {"contender": "gru"}}, "right=.*no recorded run"),
        ({"right": True}, "right=True.*number"),
        ({"more": 1}, "entry=.*fields"),
    ],
)
def test_a_malformed_entry_names_claim_field_and_remedy(changed, words):
    entry = {"study": "race_quick", "left": {"contender": "rope", "score": "last"}, "relation": "<", "right": 2}
    with pytest.raises(ValueError, match=f"claim 'x', dials: (?s:{words})"):
        dials.outcomes({"id": "x", "dials": {**entry, **changed}})


# ----------------------------------------------------------------------------------------------------------- shown


def test_the_table_shows_every_line_as_text_and_as_html():
    for number in sorted({claim["notebook"] for claim in COMPARED}):
        shown = dials.table(number)
        text, page = repr(shown), shown._repr_html_()
        for claim in (c for c in COMPARED if c["notebook"] == number):
            assert claim["statement"] in text
            for outcome in dials.outcomes(claim):
                assert outcome.line() in text and outcome.line() in page.replace("&#x27;", "'")
    with pytest.raises(ValueError, match="notebook='7'"):
        dials.table("7")


def test_an_html_page_shows_relations_as_such(small):
    small()
    claim = {"statement": "a <b> c", "verdict": "true", "id": "x", "dials": {**ENTRY, "study": "small0"}}
    page = dials.Table([claim])._repr_html_()
    assert "a &lt;b&gt; c" in page and "rope &lt; none" in page


@pytest.mark.parametrize("number", FILES)
def test_the_notebook_shows_what_the_tables_say_now(number):
    """As text and as HTML, in the cell below its claims."""
    notebook = json.loads(FILES[number].read_text(encoding="utf-8"))
    (cell,) = [cell for cell in notebook["cells"] if cell["id"] == "claims-dials"]
    (output,) = cell["outputs"]
    shown, remedy = dials.table(number), f"run: python3 tasks.py execute --only {number}"
    assert "".join(output["data"]["text/plain"]) == repr(shown), remedy
    assert "".join(output["data"]["text/html"]) == shown._repr_html_(), remedy
