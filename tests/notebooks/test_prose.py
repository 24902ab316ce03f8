"""What readers read: spelling with a project word list, doubled words, formulas that a converter can parse, addresses.

The dictionary is that of pyspellchecker (American and British); names and terms it does not know stand in
tests/words.txt, one a line.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import unicodedata

import latex2mathml.converter
import pytest
from spellchecker import SpellChecker

from helpers import sources
from tests.notebook_code import FILES, ROOT, cells, code
from tests.notebooks.test_notebooks import broken_links, pages

WORDS = ROOT / "tests" / "words.txt"
MATH = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$(?!\s)([^$\n]+?)(?<!\s)\$(?!\d)", re.S)


@functools.cache
def documents() -> dict[str, str]:
    """Name -> Markdown of everything that is read: notebooks (cells joined by blank lines), README and notices."""
    out = {
        path.stem: "\n\n".join(cell["source"] for cell in cells(number) if cell["type"] == "markdown")
        for number, path in FILES.items()
    }
    for path in pages():
        out[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
    return out


def strip_code(text: str) -> str:
    text = re.sub(r"(?ms)^ *(```|~~~).*?^ *\1", " ", text)
    return re.sub(r"``.+?``|`[^`\n]*`", " x ", text)


def prose(text: str) -> str:
    """Markdown without code, formulas, links' targets, HTML, and references (names of authors)."""
    text = re.sub(r"(?ms)^## References\s*$.*?(?=^## |\Z)", " ", strip_code(text))
    text = MATH.sub(" x ", text)
    text = re.sub(r"<!--.*?-->|<[^>]+>", " ", text, flags=re.S)
    text = re.sub(r"\]\([^)\s]*(?:\s\"[^\"]*\")?\)", "] ", text)
    return re.sub(r"https?://\S+|arXiv:?\s?\d{4}\.\d{4,5}|\S+\.(?:py|md|json|npz|ipynb|png|toml|txt)\b", " ", text)


def words(text: str) -> set[str]:
    """Words of a text in lower case; names with digits or inner capitals (RoPE, d_model) are not words."""
    text = unicodedata.normalize("NFC", text).replace("\u2019", "'")
    found = re.findall(r"(?<![\w/\\.-])[A-Za-z][a-z']+(?![\w/\\])", text.replace("_", " ").replace("*", " "))
    return {re.sub(r"'s$", "", word).strip("'").lower() for word in found} - {""}


def project_words() -> list[str]:
    return [w for w in WORDS.read_text(encoding="utf-8").split("\n") if w and not w.startswith("#")]


@functools.cache
def speller() -> SpellChecker:
    checker = SpellChecker(language="en", distance=1)
    authors = " ".join(name for work in sources.references().values() for name in work["authors"])
    checker.word_frequency.load_words([*project_words(), *re.findall(r"[a-z]+", authors.lower())])
    return checker


@pytest.mark.parametrize("name", documents())
def test_spelling(name):
    unknown = {w for w in speller().unknown(words(prose(documents()[name]))) if len(w) > 2}
    stems = {w for w in unknown if re.sub(r"(ed|ing|ly|er|able|ness|d|s|es)$", "", w) in speller()}
    left = sorted(unknown - stems)
    assert not left, f"unknown words: {', '.join(left)} (correct them, or add them to {WORDS.name})"


def test_the_word_list_is_sorted():
    mine = project_words()
    assert mine == sorted(set(mine), key=str.lower)


def test_no_common_misspelling_in_code_or_text():
    """codespell knows the typos that people make; it also reads comments and docstrings."""
    folders = [str(ROOT / name) for name in ("helpers", "tests", "tools")]
    files = [str(path) for path in (*pages(), *ROOT.glob("*.py"), *FILES.values())]
    command = [sys.executable, "-m", "codespell_lib", "--toml", str(ROOT / "pyproject.toml"), *folders, *files]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


BRITISH = re.compile(
    r"\b\w*(?:colour|behaviour|neighbour|favour|generalis|normalis|visualis|initialis|optimis(?!t|m)|summaris|recognis|"
    r"centre|analys(?:e|ing)\b|labell|modell|travell|grey\b|artefact|licence)\w*", re.I
)  # fmt: skip


@pytest.mark.parametrize("name", documents())
def test_american_spelling_throughout(name):
    assert not sorted(set(BRITISH.findall(prose(documents()[name]))))


@pytest.mark.parametrize("name", documents())
def test_no_doubled_words(name):
    text = prose(documents()[name])
    doubled = [
        m for m in re.finditer(r"\b([A-Za-z]+)\s+\1\b", text) if len(m[1]) > 1 and m[1].lower() not in ("had", "that")
    ]
    assert not [m[0] for m in doubled]


@pytest.mark.parametrize("name", documents())
def test_formulas_can_be_parsed(name):
    text = strip_code(documents()[name])
    for match in MATH.finditer(text):
        formula = (match[1] or match[2]).strip()
        shown = f"{formula!r}"
        assert formula.count("{") - formula.count("\\{") == formula.count("}") - formula.count("\\}"), shown
        assert formula.count("\\left") - formula.count("\\leftarrow") == formula.count("\\right") - formula.count(
            "\\rightarrow"
        ), shown
        assert formula.count("\\begin") == formula.count("\\end"), shown
        mathml = latex2mathml.converter.convert(formula)
        unknown = re.findall(r"\\[A-Za-z]+", mathml)
        assert not unknown, f"{shown}: the converter does not know {unknown}"


@pytest.mark.parametrize("name", documents())
def test_dollar_signs_come_in_pairs(name):
    text = strip_code(documents()[name])
    rest = MATH.sub("", text).replace("\\$", "")
    assert "$" not in rest, rest[max(0, rest.index("$") - 60) : rest.index("$") + 60]


# --------------------------------------------------------------------------------------------------- addresses

ADDRESS = re.compile(r"https?://[^\s\"'`<>\\)]+")
FORM = r"https://[\w-]+(\.[\w-]+)*\.[a-z]{2,}(/[\w./~%?=&#@:+,-]*)?"
ARXIV = re.compile(r"arXiv:?\s?(\d{4}\.\d{4,5})", re.I)


@functools.cache
def other_texts() -> dict[str, str]:
    """Name -> text of what holds addresses besides Markdown: code with its docstrings, claims, notices, data files."""
    files = [*(ROOT / "helpers").rglob("*.py"), *(ROOT / "helpers").rglob("*.json"), *(ROOT / "helpers").rglob("*.md")]
    files += [ROOT / "tasks.py", ROOT / "NOTICE", ROOT / "CITATION.cff", ROOT / "LICENSE-TEXT"]
    out = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted(files)}
    return out | {f"code of {number}": "\n\n".join(cell["source"] for cell in code(number)) for number in FILES}


def malformed(text: str) -> list[str]:
    """Addresses that are not https, have no host with a domain, or hold a stray sign. Nothing is fetched."""
    found = [re.sub(r"\{[^{}]*\}?|\[$", "x", address) for address in ADDRESS.findall(text)]  # {name} of an f-string
    return [a for a in found if not re.fullmatch(FORM, a.rstrip(".,;:"))]  # the sentence's own sign at the end


@pytest.mark.parametrize("name", other_texts())
def test_addresses_in_code_and_data_are_well_formed(name):
    assert not malformed(other_texts()[name])


@pytest.mark.parametrize("name", other_texts())
def test_an_arxiv_id_belongs_to_the_work_named_beside_it(name):
    """A docstring that says "Press et al. 2021, arXiv 2108.12409" gives first author, year and id of one reference."""
    text = other_texts()[name]
    works = {work["arxiv"]: work for work in sources.references().values() if "arxiv" in work}
    for match in ARXIV.finditer(text) if not name.endswith("references.json") else ():
        assert match[1] in works, f"arXiv {match[1]} is not in references.json"
        work, before = works[match[1]], text[max(0, match.start() - 120) : match.start()]
        assert work["authors"][0] in before and str(work["year"]) in before, f"arXiv {match[1]} is {work}"


@pytest.mark.parametrize("number", FILES)
def test_links_in_captions_lead_somewhere(number):
    """What a code cell shows as Markdown, and the Markdown that a cell writes itself."""
    content = json.loads(FILES[number].read_text(encoding="utf-8"))["cells"]
    shown = [o.get("data", {}).get("text/markdown", "") for cell in content for o in cell.get("outputs", [])]
    text = "\n\n".join("".join(part) for part in shown)
    assert text.strip() and broken_links(FILES[number], text) == []


def test_the_tests_of_addresses_notice_errors():
    assert malformed("see http://arxiv.org/abs/1706.03762") and malformed("https://localhost/x")
    assert malformed("https://arxiv.org/abs/1706|03762") and malformed("https://arxiv/abs/1706.03762")
    assert not malformed("(https://arxiv.org/abs/1706.03762).") and not malformed("(https://arxiv.org/abs/1706.03762)")
    assert not malformed("https://github.com/{where}/blob/x.py") and not malformed("https://huggingface.co/")


def test_the_tests_of_prose_notice_errors():
    assert words("The recieve of *teh* RoPE's d_model, don't") >= {"recieve", "teh", "don't"}
    assert {"recieve", "teh"} <= set(speller().unknown({"recieve", "teh", "receive"}))
    assert BRITISH.findall("the neighbours behave") and not BRITISH.findall("optimism and optimistic")
    assert len(MATH.findall("$a$ and $$b$$ cost \\$5")) == 2
