"""Rules that every committed notebook keeps, checked without running it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import nbformat
import pytest

from tools import stamp
from tools.notebook import KERNELSPEC, canonical
from tools.parameters import declared as declared_parameters
from tools.project import Project, tags

ROOT = Path(__file__).resolve().parents[2]
PROJECT = Project(ROOT)
TABLE = PROJECT.table
FILES = PROJECT.all()
TAGS = {
    *("parameters", "setup", "exercise", "check", "guess", "hide-input"),
    *("nbval-ignore-output", "nbval-check-output", "nbval-skip"),
}
PARAMETERS = {
    "preset": ("str", "quick"),
    "seed": ("int", 0),
    "device": ("str", "cpu"),
    "figures_dir": ("str", None),
}
PLOTLY = "application/vnd.plotly.v1+json"
MACHINE = re.compile(
    r"/(?:home|root|tmp|work|Users|content)/\w|[A-Z]:\\Users|\b0x[0-9a-f]{6,}|localhost|\b127\.0\.0\.1"
)
CLAIMS = json.loads((ROOT / "helpers" / "data" / "claims.json").read_text(encoding="utf-8"))

one_each = pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)


# ----------------------------------------------------------------------------------------------------- reading


def join(value) -> str:
    return "".join(value) if isinstance(value, list) else value or ""


def read(path: Path) -> SimpleNamespace:
    """The notebook, its code cells that are not empty, and its Markdown cells."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = join(cell["source"])
    code = [c for c in notebook["cells"] if c["cell_type"] == "code" and c["source"].strip()]
    return SimpleNamespace(
        raw=notebook, cells=notebook["cells"], code=code, markdown=[c for c in notebook["cells"] if c not in code]
    )


def parse(cell: dict) -> ast.Module:
    return ast.parse(re.sub(r"(?m)^\s*[%!].*$", "pass", cell["source"]))


def outputs(nb: SimpleNamespace):
    for cell in nb.code:
        for output in cell["outputs"]:
            yield cell, output


def without_code(markdown: str) -> str:
    return re.sub(r"(?ms)^ *```.*?^ *```|`[^`\n]*`", "", markdown)


def headings(nb: SimpleNamespace) -> list[tuple[int, str]]:
    found = []
    for cell in nb.markdown:
        for marks, text in re.findall(
            r"(?m)^(#{1,6}) +(.+?) *#*$", re.sub(r"(?ms)^ *```.*?^ *```", "", cell["source"])
        ):
            found.append((len(marks), text))
    return found


# ------------------------------------------------------------------------------------------------- the saved file


@one_each
def test_is_a_valid_notebook_in_canonical_form(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert canonical(notebook) == path.read_text(encoding="utf-8"), "run: python3 tasks.py format"


@one_each
def test_was_run_from_top_to_bottom(path):
    counts = [cell["execution_count"] for cell in read(path).code]
    assert counts == list(range(1, len(counts) + 1))


@one_each
def test_metadata_are_the_few_that_are_the_same_everywhere(path):
    nb = read(path)
    assert nb.raw["metadata"] == {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
    assert (nb.raw["nbformat"], nb.raw["nbformat_minor"]) == (4, 5)
    assert all(set(cell["metadata"]) <= {"tags", "jupyter"} for cell in nb.cells)


@one_each
def test_tags_are_known_and_cell_ids_readable(path):
    nb = read(path)
    claims = {claim["id"] for claim in CLAIMS}
    for cell in nb.cells:
        for tag in tags(cell):
            assert tag in TAGS or tag.startswith("claim-"), f"cell {cell['id']}: unknown tag {tag!r}"
            assert not tag.startswith("claim-") or tag[6:] in claims, f"cell {cell['id']}: {tag[6:]} not in claims.json"
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", cell["id"]), f"cell id {cell['id']!r}"
        assert not re.fullmatch(r"(?=.*\d)[0-9a-f]{8}(-[0-9a-f-]+)?", cell["id"]), (
            f"cell id {cell['id']!r} says nothing"
        )
    ignored = [c for c in nb.code if {"nbval-ignore-output", "nbval-skip"} & set(tags(c))]
    assert len(ignored) * 5 <= len(nb.code), f"{len(ignored)} of {len(nb.code)} cells are not checked"


@one_each
def test_no_error_no_warning_no_widget_is_stored(path):
    for cell, output in outputs(read(path)):
        assert output["output_type"] != "error", cell["id"]
        assert output.get("name") != "stderr", f"cell {cell['id']}: {join(output['text'])[:200]}"
        data = output.get("data", {})
        assert not any("widget" in kind or "javascript" in kind for kind in data), cell["id"]
        if PLOTLY in data:
            assert "image/png" in data, f"cell {cell['id']}: nothing that GitHub would show"
        assert "image/svg+xml" not in data, cell["id"]
        assert not (PLOTLY in data and "text/html" in data), cell["id"]


@one_each
def test_names_no_machine(path):
    nb = read(path)
    for cell in nb.cells:
        found = MACHINE.search(cell["source"])
        assert not found, f"cell {cell['id']}: {found.group(0)}"
    for cell, output in outputs(nb):
        data = output.get("data", {})
        for text in (join(output.get("text")), *(join(data.get(kind)) for kind in ("text/plain", "text/html"))):
            found = MACHINE.search(text)
            assert not found, f"output of cell {cell['id']}: {found.group(0)}"


@one_each
def test_printed_numbers_are_stable(path):
    for cell, output in outputs(read(path)):
        if "nbval-ignore-output" in tags(cell):
            continue
        text = join(output.get("text")) + join(output.get("data", {}).get("text/plain"))
        found = re.search(r"tensor\([^)]*\d\.\d{4,}[^)]*\)|\d(?:\.\d+)?e-\d\d\b", text)
        assert not found, f"output of cell {cell['id']}: {found.group(0)[:80]} will differ on another processor"


@one_each
def test_is_small(path):
    assert path.stat().st_size < 1024 * 1024


# ----------------------------------------------------------------------------------------------------- figures


@one_each
def test_every_picture_can_be_read_without_seeing_it(path):
    for cell, output in outputs(read(path)):
        data, metadata = output.get("data", {}), output.get("metadata", {})
        if "image/png" not in data:
            continue
        alt = join(data.get("text/plain"))
        assert len(alt.split()) >= 8 and not alt.startswith("<"), f"cell {cell['id']}: alternative text {alt!r}"
        assert metadata.get("image/png", {}).get("alt") == alt, cell["id"]
        assert re.fullmatch(path.name[:2] + r"_[a-z0-9_]+", metadata.get("figure", "")), cell["id"]
        following = cell["outputs"][cell["outputs"].index(output) + 1 :][:1]
        caption = join(following[0].get("data", {}).get("text/markdown")) if following else ""
        assert re.fullmatch(r"\*.+\*", caption, re.S), f"cell {cell['id']}: no caption under {metadata['figure']}"


@one_each
def test_markdown_pictures_have_alternative_text(path):
    for cell in read(path).markdown:
        for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", without_code(cell["source"])):
            assert len(alt.split()) >= (2 if "badge" in target else 8), f"cell {cell['id']}: {target}"
        for tag in re.findall(r"<img[^>]*>", without_code(cell["source"])):
            assert re.search(r'alt="[^"]{20,}"', tag), f"cell {cell['id']}: {tag}"


# ------------------------------------------------------------------------------------------------ generated parts


@one_each
def test_navigation_and_setup_are_current(path):
    current = stamp.stamped_notebook(path, PROJECT)
    assert current == path.read_text(encoding="utf-8"), "run: python3 tasks.py stamp"
    nb = read(path)
    index = next(i for i, entry in enumerate(TABLE["notebooks"]) if entry["file"] == path.name)
    assert nb.cells[0]["source"] == stamp.nav_top(TABLE, index)
    assert nb.cells[-1]["source"] == stamp.nav_bottom(TABLE, index)
    setup = [cell for cell in nb.code if "setup" in tags(cell)]
    assert [cell["source"] for cell in setup] == [stamp.setup_source(PROJECT)]
    assert nb.code[0] is setup[0], "the setup cell is the first code cell"


@one_each
def test_parameters_cell_has_the_common_names(path):
    cells = [cell for cell in read(path).code if "parameters" in tags(cell)]
    assert len(cells) == 1
    declared = declared_parameters(path)
    for name, expected in PARAMETERS.items():
        assert declared.get(name) == expected, f"{name}: {declared.get(name)}, not {expected}"
    assert all(kind for kind, _ in declared.values()), "every parameter has a type"
    for node in ast.parse(cells[0]["source"]).body:
        line = cells[0]["source"].splitlines()[node.lineno - 1]
        assert isinstance(node, ast.AnnAssign), f"not a parameter: {line}"
        assert "#" in line or "#" in cells[0]["source"].splitlines()[node.end_lineno - 1], f"say what it is: {line}"


# ----------------------------------------------------------------------------------------------------------- text


@one_each
def test_headings_are_in_order(path):
    found = headings(read(path))
    assert [level for level, _ in found].count(1) == 1 and found[0][0] == 1
    for (before, _), (after, text) in zip(found, found[1:], strict=False):
        assert after <= before + 1, f"{text!r} skips a level"
    texts = [text for _, text in found]
    assert len(texts) == len(set(texts)), "two headings with the same text, so links to the second lead to the first"


@one_each
def test_markdown_survives_github(path):
    for cell in read(path).markdown:
        text = cell["source"]
        assert not re.search(r"\\begin\{align\*?\}", text), f"cell {cell['id']}: use aligned"
        for body in re.findall(r"(?s)\\begin\{aligned\}(.*?)\\end\{aligned\}", text):
            assert all(not re.search(r"\\\\(?!\[)[^\n]*\S", row) for row in body.splitlines()), (
                f"cell {cell['id']}: one row of aligned a line"
            )
        prose = re.sub(r"(?ms)^ *```.*?^ *```", "", text)
        for line in re.findall(r"(?m)^ *<!--.*$", prose):
            assert re.fullmatch(r" *<!-- /?nav -->", line), f"cell {cell['id']}: Markdown behind <!-- is not rendered"
        assert prose.count("<details>") == prose.count("</details>") == prose.count("</summary>"), cell["id"]
        assert not re.search(r"</summary>(?!\n[ \t]*\n)", prose), f"cell {cell['id']}: blank line after </summary>"
        assert prose.replace(r"\$", "").count("$$") % 2 == 0, f"cell {cell['id']}: an open $$"


@one_each
def test_code_is_readable(path):
    nb = read(path)
    for cell in nb.code:
        for line in cell["source"].splitlines():
            assert len(line) <= 88, f"cell {cell['id']}: {line[:60]}..."
        assert "Out[" not in cell["source"] and "tqdm" not in cell["source"], cell["id"]
        assert not re.search(r"(?m)^\s*%(?:time|timeit|matplotlib|config)", cell["source"]), cell["id"]


# ---------------------------------------------------------------------------------------------------------- links


def pages() -> list[Path]:
    """Every Markdown page of the repository, wherever it stands."""
    folders = [path for path in sorted(ROOT.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return [*sorted(ROOT.glob("*.md")), *(page for folder in folders for page in sorted(folder.rglob("*.md")))]


def markdown_texts() -> list[tuple[Path, str]]:
    found = [(path, "\n\n".join(c["source"] for c in read(path).markdown)) for path in FILES]
    return found + [(path, path.read_text(encoding="utf-8")) for path in pages()]


def anchors(path: Path) -> set[str]:
    """Anchors of a file: GitHub's slugs for .md; for a notebook those of JupyterLab and of GitHub's notebook page."""
    if path.suffix == ".ipynb":
        return {re.sub(r"[`*$]", "", text).replace(" ", "-") for _, text in headings(read(path))}
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for title in re.findall(r"(?m)^#{1,6} +(.+?) *#*$", text):
        title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        found.add(next(s for s in (slug, *(f"{slug}-{n}" for n in range(1, 99))) if s not in found))
    return found | set(re.findall(r'<a (?:name|id)="([^"]+)"', text))


def broken_links(path: Path, text: str) -> list[str]:
    """Links of ``text`` (which stands in ``path``) that lead nowhere. Nothing is fetched."""
    text, broken = without_code(text), []
    targets = re.findall(r"\[(?:[^\[\]]|\[[^\]]*\]\([^)]*\))*\]\(\s*<?([^)\s>]+)>?[^)]*\)", text)
    targets += re.findall(r'(?:href|src)="([^"]+)"', text) + re.findall(r"!\[[^\]]*\]\(([^)\s]+)[^)]*\)", text)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            if not re.fullmatch(r"https://[\w.-]+\.[a-z]{2,}(?:/[^\s<>\"]*)?", target):
                broken.append(f"{target}: not a well-formed https address")
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / unquote(file)).resolve() if file else path
        if not there.exists() or ROOT not in (there, *there.parents):
            broken.append(f"{target}: no such file")
        elif anchor and unquote(anchor) not in anchors(there):
            broken.append(f"{target}: no such heading; there are {sorted(anchors(there))[:30]}")
    return broken


@pytest.mark.parametrize(
    "path, text", [pytest.param(*item, id=item[0].relative_to(ROOT).as_posix()) for item in markdown_texts()]
)
def test_links_lead_somewhere(path, text):
    assert broken_links(path, text) == []


# ------------------------------------------------------------------------------------------- the rules themselves


def test_notebooks_folder_holds_only_the_notebooks_of_the_table():
    names = {entry["file"] for entry in TABLE["notebooks"]}
    found = {p.name for p in (ROOT / "notebooks").glob("*") if p.name != ".ipynb_checkpoints"}
    assert found <= names, "a stray file beside a notebook can shadow a module"


def test_broken_links_are_noticed(tmp_path):
    page = ROOT / "page.md"
    assert broken_links(page, "[a](https://arxiv.org/abs/1706.03762) [b](tasks.py) ![c](LICENSE)") == []
    assert broken_links(page, "[a](http://arxiv.org)") and broken_links(page, "[a](https://nowhere)")
    assert broken_links(page, "[a](notebooks/07_none.ipynb)") and broken_links(page, '<img src="none.png">')
    assert broken_links(page, "[![b](https://mybinder.org/b.svg)](nowhere.md)")
    assert broken_links(page, "`[a](nowhere)`") == []


def test_anchors_are_those_that_github_makes(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One: two\n\n## What's `new`?\n\n## One: two\n\n```\n# not this\n```\n", encoding="utf-8")
    assert anchors(page) == {"one-two", "whats-new", "one-two-1"}
