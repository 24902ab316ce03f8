"""The race with ALiBi's slopes turned: what the study states is what is recorded, and what its names say is true."""

from __future__ import annotations

from fractions import Fraction

import pytest

from helpers import race
from helpers.studies import slope_ladders


def test_all_that_the_study_states_is_recorded():
    stated = [
        (contender.key, rate, race.PRESETS["quick"].steps, seed)
        for part in slope_ladders.PARTS
        for contender in part.contenders
        for rate in part.rates
        for seed in range(part.seeds)
    ]
    assert len(stated) == len(set(stated)) and race.study().missing(stated) == []


@pytest.mark.parametrize("name", slope_ladders.LADDERS)
def test_a_ladder_has_the_slopes_of_its_name(name):
    slopes = race.make_encoding(slope_ladders.LADDERS[name], race.PRESETS["quick"], 0).slopes.tolist()
    assert [slopes[0], slopes[-1]] == [float(Fraction(part)) for part in name.split(" to ")]
    assert (
        slopes == sorted(slopes, reverse=True) and len({a / b for a, b in zip(slopes, slopes[1:], strict=False)}) == 1
    )


def test_bands_are_those_of_the_rate():
    for rate in slope_ladders.RATES:
        found = slope_ladders.bands(rate)
        assert {contender.key for contender in slope_ladders.LADDERS.values()} <= set(found)
        assert {band.settings.lr for band in found.values()} == {rate}
    with pytest.raises(FileNotFoundError, match="record"):
        slope_ladders.bands(1.0)
