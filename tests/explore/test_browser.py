"""The explorables in a real browser: every dial, everything that is dragged, the keyboard, two widths, JupyterLab.

Nightly. Needs a Chromium (Debian's, Google's, or the one that the variable CHROMIUM names); without one it fails.
"""

from __future__ import annotations

import functools
import http.server
import sys
import threading
import time
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest

from helpers import explore
from tests.explore import browser

pytestmark = pytest.mark.nightly
ROOT = Path(__file__).resolve().parents[2]

# A dial that shows only beside another one's value: (explorable, key) -> sliders that are moved before it is tried.
BESIDE = {("slopes", "ladder"): {"heads": 12}}  # with 8 heads the authors' ladder is where one's own starts

FRAME = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><title>explorable</title><body style="margin: 0">{}</body></html>"""


@pytest.fixture(scope="module")
def program() -> str:
    return browser.found() or pytest.fail("no Chromium: install one, or name it in the variable CHROMIUM")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A server with a page for every explorable, twice on it."""
    folder = tmp_path_factory.mktemp("site")
    for name in explore.names():
        live = getattr(explore, name)().explorable
        (folder / f"{name}.html").write_text(FRAME.format(explore.page(live) + explore.page(live)), encoding="utf-8")
    plt.close("all")
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *args: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def tab(program):
    page = browser.Page(program)
    yield page
    page.close()


@pytest.fixture
def opened(site, tab):
    """opened(name, width) -> the tab with both instances drawn. At the end nothing may have gone wrong."""
    tab.problems.clear()
    tab.requests.clear()

    def open_page(name: str, width: int = 776) -> browser.Page:
        tab.resize(width, 1600)
        tab.open(f"{site}/{name}.html")
        tab.until("document.querySelectorAll('.explore .say').length === 2", 10)
        tab.js(browser.TOOLS)
        return tab

    yield open_page
    assert tab.problems == []
    assert tab.outside() == []


def dials(name: str) -> list:
    return [pytest.param(name, dial, id=f"{name}-{dial.key}") for dial in explore.module(name).DIALS]


@pytest.mark.parametrize(("name", "dial"), [row for name in explore.names() for row in dials(name)])
def test_every_dial_changes_the_drawing_of_its_own_instance(name, dial, opened):
    page = opened(name)
    for key, value in BESIDE.get((name, dial.key), {}).items():
        page.js(f"(dial('{key}')[0].value = {value}, tell(dial('{key}')[0], 'input'), settled())")
    other = page.js("drawing(1)")
    if isinstance(dial, explore.Slider):
        assert page.js(f"slide('{dial.key}')"), "moving the slider changes nothing"
        assert page.js(f"dial('{dial.key}')[0].getAttribute('aria-valuetext')")
    elif isinstance(dial, explore.Choice):
        assert page.js(f"choose('{dial.key}')"), "all options draw the same"
    else:
        before = page.js("drawing()")
        page.js(f"dial('{dial.key}')[0].focus()")
        page.key("x")
        page.js("settled()")
        assert page.js("drawing()") != before
        assert page.js(f"dial('{dial.key}')[0].value").endswith("x")
    assert page.js("drawing(1)") == other, "the second instance on the page moved too"


@pytest.mark.parametrize("name", explore.names())
def test_whatever_is_dragged_follows_the_mouse_and_the_keyboard(name, opened):
    page = opened(name)
    count = page.js("handles().length")
    assert count >= 1, "nothing to drag"
    for i in range(count):
        names = "'role', 'tabindex', 'aria-label', 'aria-valuenow', 'aria-valuetext'"
        about = page.js(f"attributes(handles()[{i}], {names})")
        assert about[:2] == ["slider", "0"] and all(about), about
        start = page.js(f"middle(handles()[{i}])")
        before = page.js("drawing()")
        ways = [(37, 0), (-37, 0), (0, 37), (0, -37), (120, 0), (-120, 0)]
        for dx, dy in ways:
            page.drag(tuple(start), (start[0] + dx, start[1] + dy))
            page.js("settled()")
            if page.js("drawing()") != before:
                break
        else:
            pytest.fail(f"dragging {about[2]!r} changes nothing")
        found = set()
        for key in ("Home", "ArrowRight", "ArrowUp", "End", "ArrowLeft", "ArrowDown"):
            page.js(f"handles()[{i}].focus()")
            page.key(key)
            page.js("settled()")
            found.add(page.js(f"handles()[{i}].getAttribute('aria-valuetext')"))
            assert page.js(f"document.activeElement === handles()[{i}]"), f"{key} takes the focus away"
        assert len(found) >= 3, f"keys move {about[2]!r} only to {found}"


@pytest.mark.parametrize("width", [776, 390])
@pytest.mark.parametrize("name", explore.names())
def test_nothing_is_cut_off(name, width, opened):
    page = opened(name, width)
    assert page.js("document.documentElement.scrollWidth") <= width
    assert page.js("clipped()") == []
    assert page.js("one().getBoundingClientRect().width") <= 760
    assert page.js("getComputedStyle(one()).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("name", explore.names())
def test_it_answers_within_a_frame(name, opened):
    page = opened(name)
    slider = next((dial for dial in explore.module(name).DIALS if isinstance(dial, explore.Slider)), None)
    if slider is None:  # own_sentence: reordering is what has to be quick
        page.js("handles()[0].focus()")
        assert page.js(
            "new Promise(async (done) => { const start = performance.now(); for (let i = 0; i < 20; i++) { "
            "handles()[0].dispatchEvent(new KeyboardEvent('keydown', { key: i % 2 ? 'Home' : 'End', bubbles: true })); "
            "await Promise.resolve(); } done((performance.now() - start) / 20); })"
        ) < 16  # fmt: skip
    else:
        assert page.js(f"fastest('{slider.key}')") < 16, "milliseconds"


def test_words_can_be_typed_and_dragged_and_the_line_says_what_changed(opened):
    page = opened("own_sentence")
    assert "equivariant" in page.js("one().querySelector('.say').textContent")
    page.js("dial('mask').find((input) => input.value === 'causal').click()")
    page.js("settled()")
    assert page.js("one().querySelector('.say').textContent").startswith("Vectors that changed: 4 of 5")
    page.js("(dial('sentence')[0].value = 'dog bites man', dial('sentence')[0].dispatchEvent(new Event('input')))")
    page.js("settled()")
    assert page.js("handles().length") == 3
    time.sleep(0.4)  # words glide to their places
    page.js("[...one().querySelectorAll('button')].find((button) => button.textContent === 'as typed').click()")
    page.js("settled()")
    assert page.js("one().querySelector('.say').textContent") == "Drag a word to another place."
    time.sleep(0.4)
    page.drag(tuple(page.js("middle(handles()[0])")), tuple(page.js("middle(handles()[2])")))
    page.js("settled()")
    assert page.js("handles()[0].getAttribute('aria-valuenow')") == "3"
    page.js("(dial('sentence')[0].value = '', dial('sentence')[0].dispatchEvent(new Event('input')))")
    page.js("settled()")
    assert page.js("one().querySelector('.say').textContent") == "Write at least one word."


# ------------------------------------------------------------------------------------------------------- JupyterLab


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on a folder with one notebook, which shows an explorable in its second cell: (address, notebook)."""
    path = tmp_path / "small.ipynb"
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom helpers import explore\nfrom helpers.display import show"
    )
    cells = [nbformat.v4.new_code_cell(text) for text in (code, "show(explore.two_arrows())", "1 + 1")]
    kernel = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    }  # or Lab asks for one
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    with browser.jupyterlab([sys.executable, "-m", "jupyterlab"], tmp_path, tmp_path) as address:
        yield f"{address}/lab/tree/small.ipynb?token=t", path


def test_jupyterlab_shows_the_live_version_and_saves_no_widget_state(lab, program):
    address, path = lab
    page = browser.Page(program, 1200, 1000)
    try:
        browser.open_notebook(page, address)
        assert page.js("book().content.widgets.length") == 3
        page.js("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.until("document.querySelector('.explore .say')?.textContent", 120)
        page.js(browser.TOOLS)
        page.js("one().scrollIntoView()")
        assert page.js("getComputedStyle(one()).backgroundColor") == "rgb(255, 255, 255)"
        assert page.js("slide('m')")
        before = page.js("drawing()")
        page.js("handles()[0].focus()")
        for _ in range(3):
            page.key("ArrowUp")
        page.js("settled()")
        assert page.js("drawing()") != before
        assert page.js("document.activeElement === handles()[0]"), "JupyterLab took the arrow key"
        assert page.js("book().content.activeCellIndex") == 1, "an arrow key led to another cell"
        start = page.js("middle(handles()[1])")
        before = page.js("drawing()")
        page.drag(tuple(start), (start[0] - 60, start[1] + 50))
        page.js("settled()")
        assert page.js("drawing()") != before
        page.js("window.jupyterapp.commands.execute('docmanager:save')")
        page.until("!book().context.model.dirty")
        assert page.problems == []
    finally:
        page.close()
    saved = nbformat.read(path, as_version=4)
    assert "widgets" not in saved.metadata
    assert "image/png" in saved.cells[1].outputs[0].data, "without a kernel the picture is there"
