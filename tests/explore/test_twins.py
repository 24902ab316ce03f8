"""The still twin of every explorable: it draws wherever its dials can stand, and says so in words."""

from __future__ import annotations

import inspect
import itertools
import re

import matplotlib.pyplot as plt
import pytest

from helpers import display, explore

NAMES = explore.names()


@pytest.fixture(autouse=True)
def style():
    with plt.style.context(["default", display.STYLE]):
        yield
    plt.close("all")


def states(name: str) -> list[dict]:
    """Every slider at its low end, every slider at its high end, and each option and text in turn."""
    dials = explore.module(name).DIALS
    sliders = [dial for dial in dials if isinstance(dial, explore.Slider)]
    ends = [{dial.key: dial.low for dial in sliders}, {dial.key: dial.high for dial in sliders}] if sliders else []
    options = [{d.key: option} for d in dials if isinstance(d, explore.Choice) for option in d.options]
    texts = [{d.key: text} for d in dials if isinstance(d, explore.Text) for text in ("a", "ä " * (d.longest // 2))]
    return ends + options + texts


@pytest.mark.parametrize(("name", "state"), [(name, state) for name in NAMES for state in states(name)])
def test_it_draws_at_both_ends_of_its_dials(name, state):
    picture = getattr(explore, name)(**state)
    assert picture.explorable.module == name and picture.explorable.state.items() >= state.items()
    assert picture.fig.get_size_inches()[0] <= 8
    picture.fig.set_dpi(30)
    picture.fig.canvas.draw()


@pytest.mark.parametrize("name", NAMES)
def test_a_value_outside_its_dial_is_refused_by_name(name):
    for dial in explore.module(name).DIALS:
        wrong = {"Slider": [dial_end(dial, 1), dial_end(dial, -1), "3"], "Choice": ["?"], "Text": ["x" * 500, 3]}
        for value in wrong[type(dial).__name__]:
            with pytest.raises(ValueError, match=f"^{dial.key}="):
                getattr(explore, name)(**{dial.key: value})


def dial_end(dial, side: int) -> float:
    return (dial.high if side > 0 else dial.low) + side * dial.step if isinstance(dial, explore.Slider) else 0


@pytest.mark.parametrize("name", NAMES)
def test_the_function_has_every_dial_as_an_argument_with_a_default(name):
    parameters = inspect.signature(getattr(explore, name)).parameters
    picture = getattr(explore, name)()
    assert all(p.default is not inspect.Parameter.empty for p in parameters.values())
    assert set(parameters) >= {dial.key for dial in explore.module(name).DIALS}
    assert set(picture.explorable.state) == set(parameters), "what is dragged can be passed too"


@pytest.mark.parametrize("name", NAMES)
def test_the_alternative_text_says_the_numbers_of_the_state(name):
    picture = getattr(explore, name)()
    assert len(display.render(picture.fig)) < 300_000
    assert len(re.findall(r"\d", picture.alt)) >= 4 and len(picture.alt.split()) >= 20
    assert re.fullmatch(rf"0[1-6]_explore_{name}", picture.name)


def test_the_function_is_found_in_whatever_order_modules_are_imported():
    for name, _ in itertools.product(NAMES, range(2)):
        assert callable(getattr(explore, name)) and explore.module(name).DIALS
