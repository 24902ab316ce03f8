"""A guess beside the measurement: every form in which a reader may write one."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.guess import compare, verdict


def test_no_guess_gives_nothing_away(capsys):
    compare(None, 42)
    compare(..., "rope", among=("rope", "alibi"))
    assert capsys.readouterr().out == "Your guess: none yet.\n" * 2


@pytest.mark.parametrize(
    ("guess", "measured", "said"),
    [
        (2, 1.944, "Your guess: 2. Measured: 1.94. It was 0.06 too high."),
        ("1.5", 1.944, "Your guess: 1.5. Measured: 1.94. It was 0.44 too low."),
        (1.94, np.float32(1.944), "Your guess: 1.94. Measured: 1.94. You had it."),
        (True, 3, "is no number"),
        ("many", 3, "is no number"),
        (np.int64(1000), 1250, "Your guess: 1,000. Measured: 1,250. It was 250 too low."),
    ],
)
def test_numbers(guess, measured, said):
    assert said in verdict(guess, measured)


@pytest.mark.parametrize(
    ("guess", "measured", "said"),
    [
        ("set", "set", "You had it."),
        ("Set ", "set", "You had it."),
        (["set", "mean"], {"mean", "set"}, "Your guess: mean, set. Measured: mean, set. You had it."),
        (["set"], {"mean", "set"}, "Your guess: set. Measured: mean, set."),
        ([], ["mean"], "Your guess: none. Measured: mean."),
        ("sett", "set", "is none of 'set', 'mean', 'each'. Did you mean 'set'?"),
        (7, "set", "'7', is none of"),
    ],
)
def test_words(guess, measured, said):
    assert said in verdict(guess, measured, among=("set", "mean", "each"))


@pytest.mark.parametrize(("guess", "right"), [("yes", "yes"), (True, True), ("true", True), (False, False)])
def test_yes_and_no(guess, right):
    assert "You had it." in verdict(guess, right)
    assert "You had it." not in verdict("something else", right)


def test_a_measurement_outside_the_choices_is_an_error_of_the_notebook():
    with pytest.raises(ValueError, match="measured"):
        verdict("a", "c", among=("a", "b"))
