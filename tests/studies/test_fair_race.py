"""The fair race: its rule, and that what is recorded is what its protocol says."""

from __future__ import annotations

import csv
import re
from collections import defaultdict

import pytest

from helpers import race, store
from helpers.race import Contender
from helpers.studies import fair_race

FOLDER = store.RESULTS / "race_fair"


def trial(key, rate):
    return Contender.of(key), rate


# ------------------------------------------------------------------------------------------------------- the rule


@pytest.mark.parametrize("scheme", fair_race.SCHEMES)
def test_every_scheme_has_six_trials_and_the_published_setting_is_one(scheme):
    trials = fair_race.grid(scheme)
    assert len(set(trials)) == len(trials) == 6
    assert {contender.scheme for contender, _ in trials} == {scheme}
    published = fair_race.SETTINGS[scheme][0]
    assert published == Contender(scheme) and (published, 3e-3) in trials and (published, 9e-3) in trials


@pytest.mark.parametrize(
    ("costs", "wanted"),
    [
        ({("rope", 3e-3): 1.70, ("rope", 9e-3): 1.60, ("rope[base=100]", 9e-3): 1.50}, ("rope[base=100]", 9e-3)),
        ({("rope", 3e-3): 1.70, ("rope", 9e-3): 1.52, ("rope[base=100]", 9e-3): 1.50}, ("rope", 9e-3)),  # a tie
        ({("rope", 3e-3): 1.52, ("rope", 9e-3): 1.50, ("rope[base=100]", 9e-3): 1.60}, ("rope", 3e-3)),  # lower rate
        ({("rope[base=100]", 3e-3): 1.51, ("rope[base=1000]", 3e-3): 1.50}, ("rope[base=1000]", 3e-3)),  # lower cost
        ({("rope", 3e-3): 1.54, ("rope[base=100]", 3e-3): 1.50}, ("rope[base=100]", 3e-3)),  # 0.04 is no tie
    ],
)
def test_the_choice(costs, wanted):
    costs = {trial(*key): cost for key, cost in costs.items()}
    assert fair_race.best("rope", costs) == trial(*wanted)


def test_the_seventh_trial_lies_beyond_the_edge_of_the_grid():
    def after(scheme, key, rate):
        costs = dict.fromkeys(fair_race.grid(scheme), 2.0) | {trial(key, rate): 1.0}
        return fair_race.seventh(scheme, costs)

    assert after("rope", "rope[base=100]", 9e-3) == trial("rope[base=100]", 2.7e-2)
    assert after("rope", "rope", 3e-3) == trial("rope", 1e-3)
    assert after("none", "none", 2.7e-2) is None


def test_an_unknown_scheme_is_refused():
    for call in (fair_race.grid, fair_race.chosen):
        with pytest.raises(ValueError, match="scheme='shaw': choose one of"):
            call("shaw")


# ------------------------------------------------------------------------------------------------- what is recorded


def table():
    """{(contender, rate, steps, seed): {(score, length, depth): value}}, read without the course's reader."""
    found = defaultdict(dict)
    with open(FOLDER / "table.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = row["contender"], float(row["lr"]), int(row["steps"]), int(row["seed"])
            found[key][row["score"], row["length"], row["depth"]] = float(row["value"])
    return found


@pytest.mark.parametrize("scheme", fair_race.SCHEMES)
def test_the_recorded_choice_is_the_one_that_the_protocol_names(scheme):
    """Recomputed from the file: the lowest sum of the two costs on the text that is not reported, and the ties."""
    costs = {
        (key, rate): scores["choice: last", "", ""] + scores["choice: not recalled", "", ""]
        for (key, rate, steps, seed), scores in table().items()
        if key.partition("[")[0] == scheme and (steps, seed) == (400, 0)
    }
    grid = {(contender.key, rate) for contender, rate in fair_race.grid(scheme)}
    assert grid <= set(costs) and len(costs) - len(grid) <= 1
    low = min(costs.values())
    tied = {trial: cost for trial, cost in costs.items() if cost <= low + 0.03}
    published = [(rate, cost) for (key, rate), cost in tied.items() if key == scheme]
    rate, cost = min(published or [(rate, cost) for (_, rate), cost in tied.items()])
    contender, chosen_rate = fair_race.chosen(scheme)
    assert (chosen_rate, costs[contender.key, chosen_rate]) == (rate, cost)


@pytest.mark.parametrize("scheme", fair_race.SCHEMES)
def test_the_choice_ran_with_fresh_seeds_at_both_budgets(scheme):
    short, longer = fair_race.band(scheme), fair_race.band(scheme, longer=True)
    assert [r.seed for r in short.results] == [1, 2, 3] and [r.seed for r in longer.results] == [1, 2]
    assert (short.settings.steps, longer.settings.steps) == (400, 1600)
    for result in short.results + longer.results:
        assert set(result.loss) == set(result.last) == set(result.recall) == {64, 128, 256, 512}


def test_the_protocol_is_that_of_the_recorded_settings():
    text = (FOLDER / "PROTOCOL.md").read_text(encoding="utf-8")
    settings = race.study("fair").stored_settings()
    for words, name in (
        (r"Windows of (\d+) characters", "train_len"), (r"characters, (\d+) per step", "batch"),
        (r"one of (\d+) markers", "markers"), (r"1 to (\d+) questions", "max_asks"),
        (r"share of (\d+) markers", "segments"),
    ):  # fmt: skip
        assert int(re.search(words, text)[1]) == settings[name], name
    tie = float(re.search(r"Differences below ([\d.]+) are ties", text)[1])
    assert tie == fair_race.TIE


def test_the_recorded_weights_give_the_recorded_scores():
    contender, _ = fair_race.chosen("rope")
    model, settings = race.load_model(contender, 1, "fair"), race.PRESETS["fair"]
    result = fair_race.band("rope").results[0]
    last = race.last_loss(model, settings, lengths=(64, 256))
    for n in (64, 256):
        assert last[n] == pytest.approx(result.last[n], abs=2e-3)
    shares = race.recall(model, settings, lengths=(64,))[64]
    assert (shares - result.recall[64]).abs().max() < 0.03
