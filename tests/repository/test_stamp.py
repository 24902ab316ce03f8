"""stamp prints an address or a name only where there is one, and takes owner and repository from git's remote."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.repository.miniature import add_notebook, notebook, the_notebook
from tools import format, stamp
from tools.common import Stop
from tools.notebook import KERNELSPEC, canonical
from tools.project import Project, load

ROOT = Path(__file__).resolve().parents[2]
UNKNOWN = {"owner": None, "repository": None, "authors": []}
KNOWN = {"owner": "some-body", "repository": "the.course", "authors": ["A. Author", 'B. "Bee" Writer']}
SHOWN = ("README.md", "LICENSE", "LICENSE-TEXT", "CITATION.cff")
NOWHERE = re.compile(r"\b(?:OWNER|REPOSITORY|AUTHORS)\b|github\.com/(?:None|null|[\s)\"])|/gh/(?:None|null)")


def copy(folder: Path, **table) -> Project:
    """The course with empty notebooks and these entries in its table."""
    for name in ("requirements.txt", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "helpers" / "data", folder / "helpers" / "data")
    (folder / "notebooks").mkdir()
    here = Project(ROOT).table
    for entry in here["notebooks"]:
        made = nbformat.v4.new_notebook(metadata={"kernelspec": KERNELSPEC})
        made.cells = [nbformat.v4.new_markdown_cell(id=name) for name in ("nav-top", "setup", "nav-bottom")]
        (folder / "notebooks" / entry["file"]).write_text(canonical(made), encoding="utf-8")
    (folder / "project.json").write_text(json.dumps({**here, **table}), encoding="utf-8")
    return Project(folder)


def printed(project: Project) -> dict[str, str]:
    """Everything that stamp writes."""
    return {path.name: text for path, text in stamp.stamped(project).items()}


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


# ---------------------------------------------------------------------------------------------- nothing leads nowhere


def test_without_names_nothing_that_needs_one_is_printed(tmp_path):
    texts = printed(copy(tmp_path, **UNKNOWN))
    assert set(SHOWN) < set(texts) and len(texts) == len(SHOWN) + 6
    for name, text in texts.items():
        assert not NOWHERE.search(text), f"{name}: {NOWHERE.search(text)[0]}"
        assert "mybinder.org" not in text and "colab.research" not in text and "git clone" not in text, name
    assert texts["README.md"].count("once\n  `project.json` names owner and repository") == 1
    assert "Copyright (c) 2026 the authors of Positional encodings, measured\n" in texts["LICENSE"]
    assert "repository-code" not in texts["CITATION.cff"]


def test_with_names_badges_address_holder_and_citation_appear(tmp_path):
    texts = printed(copy(tmp_path, **KNOWN))
    for name in ("README.md", "01_position_problem.ipynb", "06_context_extension.ipynb"):
        assert "https://mybinder.org/v2/gh/some-body/the.course/main" in texts[name], name
        assert "colab.research.google.com/github/some-body/the.course/blob/main" in texts[name], name
        assert "https://github.com/some-body/the.course" in texts[name], name
    assert 'Copyright (c) 2026 A. Author, B. "Bee" Writer\n' in texts["LICENSE"]
    assert texts["CITATION.cff"].count("  - name: ") == 2
    assert 'repository-code: "https://github.com/some-body/the.course"\n' in texts["CITATION.cff"]
    assert "once\n  `project.json`" not in texts["README.md"]
    assert "(https://some-body.github.io/the.course/)" in texts["README.md"]


def test_what_is_committed_leads_somewhere():
    for path in (*(ROOT / name for name in SHOWN), ROOT / "CONTRIBUTING.md", *Project(ROOT).all()):
        text = path.read_text(encoding="utf-8")
        assert not NOWHERE.search(text), f"{path.name}: {NOWHERE.search(text)[0]}"


@pytest.mark.parametrize("names", [UNKNOWN, KNOWN], ids=["unknown", "known"])
def test_the_citation_is_valid(names, tmp_path):
    """By the schema of the Citation File Format."""
    pytest.importorskip("check_jsonschema")
    file = tmp_path / "CITATION.cff"
    file.write_text(stamp.citation({**Project(ROOT).table, **names}), encoding="utf-8")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.citation-file-format", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# --------------------------------------------------------------------------------------------------- git's remote


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/some-body/the.course",
        "https://github.com/some-body/the.course.git",
        "https://github.com/some-body/the.course/",
        "https://somebody@github.com/some-body/the.course.git",
        "https://name:word@github.com/some-body/the.course.git",
        "git@github.com:some-body/the.course.git",
        "git@github.com:some-body/the.course",
        "ssh://git@github.com/some-body/the.course.git",
        "ssh://git@github.com:22/some-body/the.course.git",
        "ssh://git@ssh.github.com:443/some-body/the.course.git\n",
    ],
)
def test_addresses_of_github_are_read(url):
    assert stamp.parse_remote(url) == ("some-body", "the.course")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/home/me/course",
        "../course.git",
        "file:///srv/github.com/some-body/course.git",
        "https://gitlab.com/some-body/course.git",
        "https://github.com.example.org/some-body/course.git",
        "https://example.org/github.com/some-body/course",
        "https://notgithub.com/some-body/course",
        "git@example.org:some-body/course.git",
        "http://github.com/some-body/course",
        "https://github.com/some-body",
        "https://github.com/some-body/course/tree/main",
        "https://github.com/some body/course",
        "https://github.com/-body/course",
        "https://github.com/some-body/..",
        "https://github.com/some-body/.git",
        "https://evil@example.org@github.com/a/b\nhttps://github.com/c/d",
    ],
)
def test_other_addresses_are_not_taken_for_github(url):
    assert stamp.parse_remote(url) is None


def test_stamp_takes_owner_and_repository_from_the_remote(tmp_path, capsys):
    course = copy(tmp_path, **UNKNOWN)
    git(tmp_path, "init", "-q")
    assert stamp.main([], course) == 0 and not Project(tmp_path).table["owner"], "there is no remote yet"
    git(tmp_path, "remote", "add", "origin", "git@github.com:some-body/the.course.git")
    stamp.main(["--check"], Project(tmp_path))  # changes nothing, and does not look: a fork's tests stay green
    assert not Project(tmp_path).table["owner"]
    assert stamp.main([], Project(tmp_path)) == 0
    table = Project(tmp_path).table
    assert (table["owner"], table["repository"], table["authors"]) == ("some-body", "the.course", [])
    assert "https://github.com/some-body/the.course" in capsys.readouterr().out
    assert "https://github.com/some-body/the.course" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert stamp.main(["--check"], Project(tmp_path)) == 0


def test_project_json_wins_over_the_remote(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "https://github.com/a-fork/copy.git")
    stamp.main([], copy(tmp_path, **KNOWN))
    assert Project(tmp_path).table["owner"] == "some-body"
    assert "a-fork" not in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_the_remote_of_a_repository_around_the_course_is_not_taken(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "https://github.com/some-body/everything.git")
    (tmp_path / "course").mkdir()
    assert stamp.origin(tmp_path) == ("some-body", "everything") and stamp.origin(tmp_path / "course") is None


def test_without_git_there_is_no_remote(tmp_path, monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(stamp.subprocess, "run", missing)
    assert stamp.origin(tmp_path) is None


def test_an_owner_without_a_repository_is_refused(tmp_path):
    with pytest.raises(Stop, match="owner='some-body', repository=None; give both, or null for both"):
        stamp.main([], copy(tmp_path, **UNKNOWN | {"owner": "some-body"}))


# -------------------------------------------------------------------- in a miniature of the course


def test_stamp_names_the_command_that_helps(course):
    assert stamp.main([], course) == 0
    with pytest.raises(Stop, match=r"^not in the course's form: .*tasks.py format$"):
        stamp.main(["--check"], course)
    format.main([], course)
    assert stamp.main(["--check"], course) == 0


def test_pictures_in_the_readme_have_the_alternative_text_of_the_figure(tmp_path):
    """It stands in a table, whose cells end at a bar."""
    (tmp_path / "figures").mkdir()
    manifest = {"02_a": {"alt": "|x| over [0, 1]: $a$"}}
    (tmp_path / "figures" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    (tmp_path / "helpers" / "data").mkdir(parents=True)
    for name in ("project.json", "helpers/data/claims.json"):
        shutil.copy(ROOT / name, tmp_path / name)
    text = "| ![old](figures/02_a.png)<br>A | ![kept](figures/02_b.png) |"
    once = stamp.stamped_readme(text, Project(tmp_path))
    assert once == r"| ![\|x\| over \[0, 1\]: $a$](figures/02_a.png)<br>A | ![kept](figures/02_b.png) |"
    assert stamp.stamped_readme(once, Project(tmp_path)) == once


def test_everything_generated_is_current():
    assert stamp.main(["--check"], Project(ROOT)) == 0


def test_stamp_writes_once_and_check_notices(course):
    format.main([], course)
    with pytest.raises(Stop, match=r"not current: .*tasks.py stamp"):
        stamp.main(["--check"], course)
    assert stamp.main([], course) == 0
    assert stamp.main(["--check"], course) == 0
    cells = {cell["id"]: cell["source"] for cell in load(the_notebook(course))["cells"]}
    assert list(cells) == ["nav-top", "setup", "parameters", "cell-1", "cell-2", "nav-bottom"]
    assert cells["nav-top"].startswith("<!-- nav -->\n# 2. Sinusoidal encoding\n")
    assert cells["setup"] == stamp.setup_source(course)
    both = add_notebook(course, "01_position_problem.ipynb", notebook())
    with pytest.raises(Stop, match="not current"):
        stamp.main(["--check"], both)
    assert stamp.main([], both) == 0
    top = load(the_notebook(both))["cells"][0]["source"]
    assert "Previous: [1. The position problem](01_position_problem.ipynb)" in top


def test_a_notebook_without_a_generated_cell_is_named(course):
    path = the_notebook(course)
    path.write_text(path.read_text(encoding="utf-8").replace('"nav-bottom"', '"other"'), encoding="utf-8")
    with pytest.raises(Stop, match="02_sinusoidal.ipynb has no cell with the id 'nav-bottom'"):
        stamp.main([], course)


def test_a_stamp_that_is_stopped_leaves_whole_files(course, monkeypatch):
    path = the_notebook(course)
    before = path.read_bytes()

    def stop(source, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tools.common.os.replace", stop)
        with pytest.raises(KeyboardInterrupt):
            stamp.main([], course)
    assert path.read_bytes() == before and not (course.root / "CITATION.cff").exists()


def test_the_readme_has_the_generated_blocks():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in stamp.readme_blocks(Project(ROOT)):
        assert readme.count(f"<!-- {name} -->") == readme.count(f"<!-- /{name} -->") == 1
