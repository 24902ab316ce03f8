"""The pages in a real browser: no errors, nothing from elsewhere, light, moved and read by keyboard, open to everybody.

Nightly. Needs a Chromium, or the one that the variable CHROMIUM names, and npm for the accessibility engine axe;
without them it fails.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.explore import browser
from tools import npm
from tools.project import Project

pytestmark = pytest.mark.nightly
ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = [f"notebooks/{Path(entry['file']).stem}" for entry in Project(ROOT).table["notebooks"]]
TEACHING = [f"teaching/{path.stem}" for path in sorted((ROOT / "teaching").glob("*.md"))]
PAGES = ["README", "GLOSSARY", "search", *NOTEBOOKS, *TEACHING]
HEAVIEST = 3e6  # bytes of a page as it opens, unpacked
WIDTHS = {"desktop": 1400, "phone": 390}

TOOLS = """
window.frames_ = () => [...document.querySelectorAll('[data-explorable]')];
window.drawing = (i) => [...frames_()[i].querySelector('.explore').children]
  .map((part) => (part.matches('.dials') ? '' : part.outerHTML)).join('');
window.sliders = (i) => [...frames_()[i].querySelectorAll('input[type=range]')]
  .filter((input) => input.getBoundingClientRect().width > 0);
window.settled = () => new Promise((done) => setTimeout(done, 60));
window.stage = () => document.querySelector('dialog.stage[open]');
window.pictures = () => [...document.querySelectorAll('article img[role=button]')];
window.name_ = (url) => url.split('/').at(-1);
"""


@pytest.fixture(scope="module")
def tab():
    page = browser.Page(browser.found() or pytest.fail("no Chromium: install one, or name it in the variable CHROMIUM"))
    page.send("Network.setCacheDisabled", cacheDisabled=True)
    yield page
    page.close()


@pytest.fixture
def opened(address, tab):
    """opened(page, width) -> the tab, with formulas and explorables drawn. In the end nothing may have gone wrong."""
    tab.problems.clear()
    tab.requests.clear()

    def open_page(name: str, width: int = 1400) -> browser.Page:
        tab.resize(width, 900)
        tab.send("Page.navigate", url="about:blank")  # or only the place would change
        page, _, place = name.partition("#")
        tab.open(f"{address}/{page}.html{'#' if place else ''}{place}")
        tab.until("[...document.querySelectorAll('[data-explorable]')].every((one) => one.querySelector('.say'))")
        tab.js("window.MathJax?.startup?.promise?.then(() => true)")
        tab.js(TOOLS)
        return tab

    yield open_page
    assert tab.problems == []
    assert tab.outside() == []


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility engine, as text to run in a page."""
    (package,) = (name for name in npm.HASHES if name.startswith("axe-core@"))
    with tarfile.open(npm.archive(package, ROOT / ".cache" / "npm")) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_errors_fits_and_shuts_nobody_out(name, width, opened, axe):
    page = opened(name, WIDTHS[width])
    assert page.js("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    page.js(f"{axe}; true")
    found = page.js(
        "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] }).then((all) => all.violations.map("
        "(one) => [one.impact, one.id, ...one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200))]))"
    )
    assert [one for one in found if one[0] in ("serious", "critical")] == []


@pytest.mark.parametrize("name", [*NOTEBOOKS, "README"])
def test_a_page_in_the_dark_can_be_read(name, opened, axe):
    page = opened(name)
    page.js("document.documentElement.dataset.theme = document.documentElement.dataset.mode = 'dark'")
    page.js(f"{axe}; true")
    found = page.js("axe.run(document, { runOnly: ['color-contrast'] }).then((all) => all.violations)")
    assert [node["html"][:200] for one in found for node in one["nodes"]] == []


@pytest.mark.parametrize("name", ["README", *NOTEBOOKS])
def test_a_page_is_light_even_with_all_its_pictures(name, opened, built):
    page = opened(name)
    page.js("Promise.all([...document.images].map((one) => ((one.loading = 'eager'), one.decode())))")
    loaded = page.js(
        "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
        ".map((entry) => [entry.name, entry.decodedBodySize])"
    )
    assert sum(size for _, size in loaded) < HEAVIEST, sorted(loaded, key=lambda entry: -entry[1])[:8]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_slider_of_every_explorable_moves_by_keyboard(name, opened):
    page = opened(name)
    for i in range(page.js("frames_().length")):
        for j in range(page.js(f"sliders({i}).length")):
            before = page.js(f"drawing({i})")
            page.js(f"sliders({i})[{j}].focus()")
            for key in ["ArrowRight"] * 3 + ["ArrowLeft"] * 7:
                page.key(key)
                page.js("settled()")
                if page.js(f"drawing({i})") != before:
                    break
            else:
                pytest.fail(f"explorable {i}: slider {j} changes nothing")
    assert page.js("frames_().length") >= 2


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_an_explorable_fills_the_screen_and_comes_back(name, opened):
    page = opened(name)
    for i in range(page.js("frames_().length")):
        page.js(f"frames_()[{i}].querySelector('.full-screen').scrollIntoView({{ block: 'center' }})")
        box = page.js(f"(({{ x, y }}) => [x, y])(frames_()[{i}].querySelector('.full-screen').getBoundingClientRect())")
        page.click(box[0] + 10, box[1] + 10)
        page.until(f"document.fullscreenElement === frames_()[{i}]", 5)
        page.js("settled()")
        wide = page.js(f"frames_()[{i}].querySelector('.explore').getBoundingClientRect().width / innerWidth")
        tall = page.js(f"frames_()[{i}].querySelector('.explore').getBoundingClientRect().height / innerHeight")
        assert 0.75 < max(wide, tall) <= 1.01, (wide, tall)
        page.js("document.exitFullscreen().then(settled)")
        assert page.js(f"getComputedStyle(frames_()[{i}].firstChild).zoom") == "1"


def test_a_picture_opens_full_screen_and_turns_by_keyboard(opened):
    page = opened(NOTEBOOKS[3])
    first, second = page.js("pictures().slice(0, 2).map((one) => name_(one.src))")
    page.js("pictures()[0].focus()")
    page.key("Enter")
    assert page.js("name_(stage().querySelector('img').src)") == first
    page.until("stage().querySelector('img').complete")
    width, height = page.js(
        "(({ width, height }) => [width, height])(stage().querySelector('img').getBoundingClientRect())"
    )
    assert width == page.js("document.documentElement.clientWidth") and height > 850
    page.key("ArrowRight")
    assert page.js("name_(stage().querySelector('img').src)") == second
    assert page.js("stage().querySelector('img').alt.length > 20 && location.hash.startsWith('#fig-')")
    page.key("ArrowLeft")
    page.key("ArrowLeft")  # there is none before the first
    assert page.js("name_(stage().querySelector('img').src)") == first
    page.key("ArrowRight")
    page.key("Escape")
    page.until("!stage()", 5)
    page.until("document.activeElement === pictures()[1]", 5)


def test_a_picture_has_an_address(opened):
    place = json.loads((ROOT / "figures" / "manifest.json").read_text(encoding="utf-8"))
    name = next(name for name in place if name.startswith("04") and "explore" not in name)
    page = opened(f"{NOTEBOOKS[3]}#fig-{name}")
    assert page.js(f"document.getElementById('fig-{name}').contains(pictures().find("
                   "(one) => one.src === stage().querySelector('img').src))")  # fmt: skip
    page.key("Escape")
    page.until("!stage()", 5)


def test_search_finds_the_pages_of_a_word(opened, address):
    page = opened("README")
    page.open(f"{address}/search.html?q=ALiBi")
    page.until("document.querySelectorAll('ul.search li a').length > 2")
    found = page.js("[...document.querySelectorAll('ul.search li a')].map((link) => link.textContent)")
    assert any("ALiBi" in text for text in found), found
    page.until("document.querySelector('ul.search li p.context')")
    quotes = page.js("[...document.querySelectorAll('ul.search li p.context')].map((quote) => quote.textContent)")
    assert not any("System Settings" in text for text in quotes), quotes


def test_folded_answers_open_by_keyboard(opened):
    page = opened(NOTEBOOKS[0])
    page.js("document.querySelector('article details:not(.hide) summary').focus()")
    page.key("Enter")
    page.until("document.querySelector('article details:not(.hide)').open", 5)
