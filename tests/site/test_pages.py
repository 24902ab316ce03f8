"""What goes into the pages, and what the command refuses. Nothing is built here: test_site does that, nightly."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import pytest

from tools import npm, site, stamp
from tools.common import Stop
from tools.project import Project
from web import pages

ROOT = Path(__file__).resolve().parents[2]
KNOWN = {"README.md", "GLOSSARY.md", "notebooks/04_rope.ipynb", "teaching/01.md"}
ADDRESS = "https://github.com/someone/course/blob/main"


def test_a_link_to_a_page_stays_and_one_to_a_file_needs_an_address():
    for link in ("[four](04_rope.ipynb)", "[glossary](../GLOSSARY.md#norm)", "[out](https://arxiv.org)", "[up](#Top)"):
        assert pages.text(link, "notebooks/01_x", KNOWN, ADDRESS) == link
    link = "see [the code](../helpers/model.py#L3)."
    assert pages.text(link, "notebooks/01_x", KNOWN) == "see the code."
    assert pages.text(link, "notebooks/01_x", KNOWN, ADDRESS) == f"see [the code]({ADDRESS}/helpers/model.py#L3)."


def test_an_anchor_is_written_as_the_page_has_it():
    assert pages.slug(" What is it? ") == "What-is-it?"
    assert pages.text("[a](04_rope.ipynb#Is-it%3F)", "notebooks/1", KNOWN) == "[a](04_rope.ipynb#Is-it?)"
    assert pages.text("[a](04_rope.ipynb#f%28x%29)", "notebooks/1", KNOWN) == "[a](04_rope.ipynb#f%28x%29)"


def test_a_picture_stays_and_a_link_to_its_file_leads_to_its_place():
    assert pages.text("![alt](figures/04_doors.png)", "README", KNOWN) == "![alt](figures/04_doors.png)"
    there = '<a href="../notebooks/04_rope.html#fig-04_doors">doors</a>'
    assert pages.text("[doors](../figures/04_doors.png)", "teaching/01", KNOWN) == there
    assert 'href="notebooks/04' in pages.text("[doors](figures/04_doors.png)", "README", KNOWN)


def test_a_badge_becomes_words():
    badge = "[![Open in Colab](https://colab.example/badge.svg)](https://colab.example/github/a/b.ipynb)"
    assert pages.text(badge, "README", KNOWN) == "[Open in Colab](https://colab.example/github/a/b.ipynb)"


def test_a_notebook_with_an_address_opens_in_binder_and_colab_and_loads_no_picture_from_there():
    table = {**Project(ROOT).table, "owner": "some-body", "repository": "the.course"}
    made = pages.text(stamp.nav_top(table, 3), "notebooks/04_rope", KNOWN)
    assert "[Open in Binder](https://mybinder.org/v2/gh/some-body/the.course/" in made
    assert "[Open in Colab](https://colab.research.google.com/github/some-body/the.course/" in made
    assert "![" not in made and "badge" not in made
    assert "mybinder" not in pages.text(stamp.nav_top({**table, "owner": None, "repository": None}, 3), "a", KNOWN)


def test_cells_that_only_prepare_are_folded():
    def cell(name, *tags):
        return {"cell_type": "code", "id": name, "metadata": {"tags": [*tags]}, "source": "1"}

    words = {"cell_type": "markdown", "id": "words", "metadata": {}, "source": ["[a](../b.py)\n", "c"]}
    content = {"cells": [cell("s", "setup"), cell("p", "parameters"), cell("start"), cell("more", "guess"), words]}
    made = json.loads(pages.notebook(json.dumps(content), "notebooks/04_rope", KNOWN))["cells"]
    assert [c["metadata"].get("tags") for c in made] == [["hide-input"]] * 3 + [["guess"], None]
    assert made[-1]["source"] == "a\nc"


def test_a_page_loads_no_icons_and_pictures_only_when_they_are_seen():
    html = '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>\n<img src="a" alt="b>c" />'
    assert pages.finished(html) == '<img loading="lazy" src="a" alt="b>c" />'
    assert pages.finished(pages.finished(html)) == pages.finished(html)


def test_only_a_folder_of_its_own_is_made_anew(course, tmp_path):
    out = tmp_path / "mine"
    assert site.parse(["--out", str(out)], course).out == out
    out.mkdir()
    site.parse(["--out", str(out)], course)
    (out / "thesis.tex").touch()
    with pytest.raises(Stop, match="name another folder"):
        site.parse(["--out", str(out)], course)
    with pytest.raises(Stop, match="is a file"):
        site.parse(["--out", str(out / "thesis.tex")], course)
    (out / site.MARK).touch()
    site.parse(["--out", str(out)], course)


def test_an_old_python_is_told_which_one_is_needed():
    with pytest.raises(Stop, match=r"this is Python 3\.10; .* needs 3\.11 or newer"):
        site.check_python((3, 10))


def test_boxes_that_nobody_could_tick_are_left_out():
    assert pages.text("- [ ] say it\n  * [ ] so\n- a [ ] b", "README", KNOWN) == "- say it\n  * so\n- a [ ] b"


def test_icons_and_labels_of_the_theme_are_mended():
    css = "a{b:c}@font-face{font-family:F;src:url(../vendor/fontawesome/x.woff2)}d{e:f}"
    assert pages.without_icons(css) == "a{b:c}d{e:f}"
    button = '<button class="btn search-button-field x" title="Search" aria-label="Search" data-a="b">'
    assert pages.finished(button) == button.replace(' aria-label="Search"', "")


def test_what_is_gathered(course, tmp_path, monkeypatch):
    monkeypatch.setattr(npm, "unpack", lambda package, cache, wanted: None)
    for name in ("web", "GLOSSARY.md"):
        (course.root / name).symlink_to(ROOT / name)
    site.gather(course, tmp_path / "source")
    found = {path.relative_to(tmp_path / "source").as_posix() for path in (tmp_path / "source").rglob("*")}
    assert found >= {"README.md", "GLOSSARY.md", "notebooks/02_sinusoidal.ipynb", "figures/01_old.png"}
    assert found >= {"web/conf.py", "web/static/site.js", "web/static/explore/clocks.js"}
    clocks = (tmp_path / "source" / "web" / "static" / "explore" / "clocks.js").read_text(encoding="utf-8")
    assert "import" not in clocks.split("export default")[0], "a module that needs another one"


# --------------------------------------------------------------------------------------------------------------- npm


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A cache with one package, a@1, whose hash is known."""
    (tmp_path / "made" / "package" / "in").mkdir(parents=True)
    for name in ("one.js", "in/two.js", "in/three.js"):
        (tmp_path / "made" / "package" / name).write_text(name)
    kept = tmp_path / "cache" / "a@1.tgz"
    kept.parent.mkdir()
    with tarfile.open(kept, "w:gz") as archive:
        archive.add(tmp_path / "made" / "package", "package")
    monkeypatch.setattr(npm, "HASHES", {"a@1": npm.digest(kept)})
    return kept


def test_what_is_wanted_is_taken_out_of_a_package(package, tmp_path):
    out = tmp_path / "out"
    npm.unpack("a@1", package.parent, {"one.js": out / "1.js", "in/": out / "more"})
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.js")) == ["1.js", "more/three.js", "more/two.js"]
    with pytest.raises(Stop, match="does not contain four.js"):
        npm.unpack("a@1", package.parent, {"four.js": out})


def test_without_npm_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(npm.shutil, "which", lambda name: None)
    with pytest.raises(Stop, match="install Node.js"):
        npm.archive("mathjax@4.1.3", tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a script of a Unix shell")
def test_what_arrives_with_another_hash_is_not_used(package, tmp_path, monkeypatch):
    stand_in = tmp_path / "npm"
    stand_in.write_text('#!/bin/sh\necho other > a.tgz\necho \'[{"filename": "a.tgz"}]\'\n')
    stand_in.chmod(0o755)
    monkeypatch.setattr(npm.shutil, "which", lambda name: str(stand_in))
    assert npm.archive("a@1", package.parent) == package
    package.write_bytes(b"damaged")
    with pytest.raises(Stop, match="another hash"):
        npm.archive("a@1", package.parent)
    assert package.read_bytes() == b"damaged" and len(list(package.parent.iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a script of a Unix shell")
def test_npm_s_own_words_are_passed_on(package, tmp_path, monkeypatch):
    stand_in = tmp_path / "npm"
    stand_in.write_text("#!/bin/sh\necho 'no such package' >&2\nexit 1\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(npm.shutil, "which", lambda name: str(stand_in))
    package.unlink()
    with pytest.raises(Stop, match="could not fetch a@1:\nno such package"):
        npm.archive("a@1", package.parent)
