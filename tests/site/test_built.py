"""The pages as they lie on disk: every link and picture, alternative texts, headings, what is folded. Nightly."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from tools.project import Project

pytestmark = pytest.mark.nightly
ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = [Path(entry["file"]).stem for entry in Project(ROOT).table["notebooks"]]


@functools.cache
def read(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def pages(built: Path) -> list[Path]:
    return sorted(built.rglob("*.html"))


def test_every_text_and_notebook_has_its_page(built):
    texts = ["README", "GLOSSARY", *(f"teaching/{path.stem}" for path in (ROOT / "teaching").glob("*.md"))]
    wanted = {f"{name}.html" for name in (*texts, *(f"notebooks/{stem}" for stem in NOTEBOOKS), "index", "search")}
    assert {page.relative_to(built).as_posix() for page in pages(built)} >= wanted


def test_every_link_picture_script_and_style_is_there(built):
    wrong = []
    for page in pages(built):
        for node in read(page).find_all(["a", "img", "link", "script", "source", "iframe"]):
            target = node.get("href") or node.get("src") or ""
            where = urlsplit(target)
            if where.scheme or where.netloc:
                if node.name != "a":
                    wrong.append((page.name, f"loads {target}"))
                continue
            path = (page.parent / unquote(where.path)).resolve() if where.path else page
            if not path.is_file():
                wrong.append((page.name, target))
            elif where.fragment and path.suffix == ".html" and unquote(where.fragment) not in anchors(path):
                wrong.append((page.name, f"{target}: no such place"))
    assert not wrong, wrong[:20]


@functools.cache
def anchors(path: Path) -> set[str]:
    return {node["id"] for node in read(path).find_all(id=True)} | {node.get("name") for node in read(path)("a")}


def test_style_sheets_load_only_what_is_there(built):
    for sheet in built.rglob("*.css"):
        for target in re.findall(r"url\(\s*[\"']?(?!data:)([^)\"']+)", sheet.read_text(encoding="utf-8")):
            assert (sheet.parent / urlsplit(target).path).is_file(), f"{sheet.name}: {target}"


def test_every_picture_says_what_it_shows(built):
    for page in pages(built):
        for image in read(page).find_all("img"):
            assert len(image.get("alt", "")) > 20, f"{page.name}: {image['src']}"
            assert image.get("loading") == "lazy"


def test_every_figure_of_the_notebooks_has_its_place(built):
    manifest = json.loads((ROOT / "figures" / "manifest.json").read_text(encoding="utf-8"))
    for stem in NOTEBOOKS:
        page = read(built / "notebooks" / f"{stem}.html")
        places = {node["id"].removeprefix("fig-") for node in page.select(".picture[id]")}
        assert places == {name for name in manifest if name[:2] == stem[:2]}
        assert len(page.select("[data-explorable]")) >= 2


def test_headings_begin_with_the_title_and_leave_out_no_level(built):
    for page in pages(built):
        article = read(page).find("article") or read(page)
        levels = [int(node.name[1]) for node in article.find_all(re.compile(r"^h[1-6]$"))]
        assert levels[0] == 1 and levels.count(1) == 1, page.name
        assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False)), (page.name, levels)


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_a_notebook_is_folded_where_it_should_be_and_leads_on(stem, built):
    page = read(built / "notebooks" / f"{stem}.html")
    assert len(page.select("details.hide.above-input")) == 3, "setup, parameters, start"
    summaries = [node.get_text(strip=True) for node in page.select("article summary")]
    assert {"Hint", "Solution"} <= set(summaries)
    assert not page.select("details[open]")
    number = NOTEBOOKS.index(stem)
    leads = [node["href"] for node in page.select(".prev-next-area a")]
    around = [f"{name}.html" for name in NOTEBOOKS[max(0, number - 1) : number + 2] if name != stem]
    assert set(around) <= set(leads)


def test_there_is_nothing_that_no_page_needs(built):
    assert (
        not list(built.rglob("*.map")) and not list(built.rglob("*fontawesome*")) and not (built / "_sources").exists()
    )
    assert (built / ".nojekyll").is_file(), "GitHub Pages would leave out _static"
    assert sum(path.stat().st_size for path in built.rglob("*") if path.is_file()) < 30e6
