"""Numbers quoted from other works are those of published.json, and the text says in which table they are found.

Code takes a published number through ``sources.published``. Prose carries its key right behind the number, in a
comment that no reader sees:

    BLEU fell from 25.8<!-- shaw2018.position_ablation_bleu/keys and values --> to 12.5<!-- ... -->

Behind the key come the steps into its value, separated by "/". The number has to be that value at the precision
printed. A number of our own in a sentence that names a work says so: ``1.6<!-- ours -->``. The words around the
numbers are free.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from typing import Any, NamedTuple

import pytest

from helpers import sources
from tests.notebook_code import FILES, ROOT, code, tree
from tests.notebooks.test_notebooks import pages
from tests.notebooks.test_prose import MATH, strip_code

NUMBER = r"(?<![\w.])\d+(?:(?:,|\\,)\d{3})*(?:\.\d+)?"
SCALES = {"": 1.0, "thousand": 1e3, "million": 1e6, "billion": 1e9}
MARK = re.compile(
    rf"(?:(?P<number>{NUMBER})(?:%|\*+|\$)*(?: (?P<scale>thousand|million|billion))?\s?)?"
    r"<!-- (?P<path>ours|(?:[a-z]+\d{4}|transformers)\.[^>]*?) -->"
)


class Passage(NamedTuple):
    """A paragraph with its comments, and what a reader knows by then: the section up to here, captions, sources."""

    document: str
    text: str
    known: str


# ------------------------------------------------------------------------------------------------------- reading


def paragraphs(markdown: str) -> list[str]:
    """Paragraphs, list items and rows of tables; a displayed formula belongs to the text that leads to it."""
    markdown = re.sub(r"\n\n+(?=\$\$)", " ", markdown)
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:[-*|>]|\d+\.) )", markdown)
    return [" ".join(part.split()) for part in parts if part.strip()]


def shown(cell: dict) -> str:
    """The source of a code cell, with captions and printed lines under it."""
    kinds = ("text/markdown", "text/plain")
    parts = [cell["source"], *(o.get("text", "") for o in cell["outputs"])]
    parts += [o.get("data", {}).get(kind, "") for o in cell["outputs"] for kind in kinds]
    return " ".join("".join(part) for part in parts)


def notebook_passages(number: str) -> list[Passage]:
    content = json.loads(FILES[number].read_text(encoding="utf-8"))["cells"]
    found, section = [], ""
    for i, cell in enumerate(content):
        if cell["cell_type"] == "markdown":
            beside = " ".join(shown(c) for c in content[max(0, i - 1) : i + 2] if c["cell_type"] == "code")
            for text in paragraphs(strip_code("".join(cell["source"]))):
                section = text if text.startswith("## ") else f"{section} {text}"
                if not section.startswith("## References"):
                    found.append(Passage(number, text, f"{section} {beside}"))
    return found


@functools.cache
def passages() -> list[Passage]:
    found = [passage for number in FILES for passage in notebook_passages(number)]
    for claim in json.loads((ROOT / "helpers" / "data" / "claims.json").read_text(encoding="utf-8")):
        found.append(Passage("claims.json", claim["evidence"], f"{claim['evidence']} {claim['source']}"))
    for page in pages():
        texts = paragraphs(strip_code(page.read_text(encoding="utf-8")))
        found += [Passage(page.relative_to(ROOT).as_posix(), text, text) for text in texts]
    return found


def sentences(text: str) -> list[str]:
    text = text.replace("et al.", "et al").replace("<!-- ", "<!--").replace(" -->", "-->")
    parts = re.split(r"(?<=[.!?>])[*)\"]*\s+(?=[A-Z*(\"\[$0-9])", text)
    return [part.replace("<!--", "<!-- ").replace("-->", " -->") for part in parts]


# --------------------------------------------------------------------------------------------------------- values


def look_up(path: str) -> float:
    """The published value at "key/step/step" (ValueError or KeyError where there is none, TypeError on a table)."""
    key, *steps = path.split("/")
    return float(functools.reduce(lambda value, step: value[step], steps, sources.published(key)))


def wrong_quotes(text: str) -> list[str]:
    """What is wrong with the marked numbers of a text: no number before the mark, no such key, another value."""
    found = []
    for mark in MARK.finditer(text):
        number, path = mark["number"], mark["path"]
        if number is None:
            found.append(f"no number stands before <!-- {path} -->")
        elif path != "ours":
            try:
                value = look_up(path)
            except (ValueError, KeyError, TypeError):
                found.append(f"{number}: published.json has no number at {path}")
                continue
            printed, scale = re.sub(r"[,\\]", "", number), SCALES[mark["scale"] or ""]
            decimals = len(printed.partition(".")[2])
            if not abs(float(printed) * scale - value) <= 0.5 * scale * 10**-decimals * (1 + 1e-9):
                found.append(f"{number} is {value:g} in published.json ({path})")
    return found


def digits(value: float) -> int:
    """Significant digits of a number."""
    return len(f"{abs(value):.12g}".replace(".", "").strip("0"))


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        return [leaf for v in (value.values() if isinstance(value, dict) else value) for leaf in leaves(v)]
    return [] if isinstance(value, bool | str) else [float(value)]


@functools.cache
def telling() -> dict[float, list[str]]:
    """Published values with a decimal point and four digits or more, which stand nowhere by chance, and their keys."""
    found: dict[float, list[str]] = {}
    for key, entry in sources._published().items():
        for value in leaves(entry["value"]):
            if digits(value) >= 4 and not value.is_integer():
                found.setdefault(value, []).append(key)
    return found


NAMED = re.compile(r"\bet al\b|\((?:[A-Z][\w-]+(?: and [A-Z][\w-]+)? )?(?:19|20)\d\d\)")


def unmarked(text: str) -> list[str]:
    """Numbers without a mark that have to have one.

    That is a published value of four digits, wherever it stands; and every number with a decimal point in a sentence
    that names a work or quotes another number.
    """
    found = []
    for sentence in sentences(text):
        quotes = NAMED.search(sentence) or MARK.search(sentence)
        rest = re.sub(r"\]\([^)\s]*\)|https?://\S+|<!--.*?-->", " ", MARK.sub(" ", sentence))
        rest = re.sub(r"(?i)\b(?:sections?|tables?|figures?|Llama|transformers) [A-Z]?[\d.]+", " ", MATH.sub(" ", rest))
        rest = re.sub(r"\b\d+\.\d+\.\d+\b|\barXiv[: ][\d.]+|\b[A-Za-z]\w*-\d[\w.-]*", " ", rest)  # versions, models
        for number in re.findall(rf"{NUMBER}(?![\w])", rest):
            value = float(re.sub(r"[,\\]", "", number))
            if "." in number and (quotes or value in telling()):
                found.append(f"{number} in {sentence!r}")
    return found


# -------------------------------------------------------------------------------------------------------- places

PLACE = re.compile(
    r"\b(table|figure|section|appendix|theorem|equation|eq)s?\.? ((?:[A-Z]\b|[A-Z]?\d[\d.]*)"
    r"(?:(?:,| and| to|-|,? and) ?(?:[A-Z]?\d[\d.]*))*)|\b(abstract|model card|released code)\b", re.I
)  # fmt: skip


def places(text: str) -> set[str]:
    """Places named in a text, one by one: "Tables 2 to 4" gives three."""
    found = set()
    for kind, which, word in PLACE.findall(text):
        if word:
            found.add(word.lower())
            continue
        kind = "equation" if kind.lower() == "eq" else kind.lower()
        for first, last in re.findall(r"([A-Z]?\d[\d.]*\d|[A-Z]?\d|[A-Z]\b)(?:(?: to |-)(\d+))?", which):
            last = last or first
            span = range(int(first), int(last) + 1) if first.isdigit() and last.isdigit() else [first]
            found |= {f"{kind} {n}" for n in span}
    return found


# --------------------------------------------------------------------------------------------------------- tests

DOCUMENTS = list(dict.fromkeys(p.document for p in passages()))
each = pytest.mark.parametrize("document", DOCUMENTS)


def of(document: str) -> list[Passage]:
    return [p for p in passages() if p.document == document]


@each
def test_a_quoted_number_is_the_published_one_at_the_precision_printed(document):
    wrong = [line for p in of(document) for line in wrong_quotes(p.text)]
    assert not wrong, "; ".join(wrong)


@each
def test_a_quoted_number_carries_its_key(document):
    missing = [line for p in of(document) for line in unmarked(p.text)]
    assert not missing, "put <!-- key of published.json/step --> or <!-- ours --> behind " + "; ".join(missing)


@each
def test_a_quoted_number_says_where_it_is_found(document):
    """A notebook names table, section or figure in the section that first quotes a number; each claim names its own.

    Facts about transformers are tested against its code.
    """
    known: set[tuple[str, str]] = set()
    for passage in of(document):
        for path in (mark["path"] for mark in MARK.finditer(passage.text)):
            key = path.partition("/")[0]
            if path == "ours" or key.startswith("transformers."):
                continue
            entry = sources._published()[key]
            here = {(entry["source"], place) for place in places(entry["where"])}
            named = places(passage.known) & places(entry["where"])
            assert named or (here & known and document != "claims.json"), f"{key}: say {entry['where']!r}"
            known |= here


def test_notebooks_and_claims_quote():
    """Something is read at all."""
    assert sum(1 for p in passages() for _ in MARK.finditer(p.text)) >= 20


# --------------------------------------------------------------------------------------------------------- code


def disguised(node: ast.AST) -> list[str]:
    """Published values of four digits that code or a text in code writes out."""
    found = []
    for n in ast.walk(node):
        if isinstance(n, ast.Constant) and isinstance(n.value, int | float):
            found += [n.value] if float(n.value) in telling() else []
        elif isinstance(n, ast.Constant) and isinstance(n.value, str):
            found += [
                x for x in re.findall(rf"{NUMBER}(?![\w.])", n.value) if float(re.sub(r"[,\\]", "", x)) in telling()
            ]
    return [f"{value} ({', '.join(telling()[float(value)])})" for value in found]


@pytest.mark.parametrize("number", FILES)
def test_no_cell_holds_a_published_number_in_disguise(number):
    assert not [line for cell in code(number) for line in disguised(tree(cell))], "take it through sources.published"


@pytest.mark.parametrize("path", sorted((ROOT / "helpers" / "pictures").glob("*.py")), ids=lambda p: p.name)
def test_no_picture_holds_a_published_number_in_disguise(path):
    assert not disguised(ast.parse(path.read_text(encoding="utf-8"))), "take it through sources.published"


# -------------------------------------------------------------------------------------------- the tests themselves


@pytest.mark.parametrize(
    "text",
    [
        "from 25.8<!-- shaw2018.position_ablation_bleu/keys and values --> on",
        "from **25.8**<!-- shaw2018.position_ablation_bleu/keys and values --> on",
        "about 26<!-- shaw2018.position_ablation_bleu/keys and values -->",
        "247 million<!-- press2021.setup/parameters --> parameters",
        r"with $b = 10\,000$ <!-- vaswani2017.wavelengths/to --> (section 3.5)",
        "11%<!-- gopalakrishnan2025.indirect_indexing/rope/mean --> and 1.6<!-- ours -->",
        "a table of 2,048<!-- transformers.gpt_neo/rows --> rows <!-- with a remark -->",
    ],
)  # fmt: skip
def test_a_right_quote_passes(text):
    assert not wrong_quotes(text) and not unmarked(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("from 25.9<!-- shaw2018.position_ablation_bleu/keys and values --> on", "25.9 is 25.8"),
        ("25.80<!-- shaw2018.position_ablation_bleu/neither -->", "is 12.5"),
        ("246 million<!-- press2021.setup/parameters -->", "246 is 2.47e+08"),
        (r"$10\,001$ <!-- vaswani2017.wavelengths/to -->", "is 10000"),
        ("12.5<!-- shaw2018.nothing -->", "no number at shaw2018.nothing"),
        ("12.5<!-- shaw2018.position_ablation_bleu/none -->", "no number at shaw2018"),
        ("12.5<!-- shaw2018.position_ablation_bleu -->", "no number at shaw2018.position_ablation_bleu"),
        ("12.5 of BLEU<!-- shaw2018.position_ablation_bleu/neither -->", "no number stands before"),
    ],
)
def test_a_wrong_quote_is_noticed(text, words):
    assert words in "; ".join(wrong_quotes(text))


def test_the_reading_notices_what_it_should():
    assert unmarked("Nobody et al. (2020) report 17.2 for it.") and unmarked("A perplexity of 147.18 without a name.")
    assert unmarked("It fell to 12.5<!-- shaw2018.position_ablation_bleu/neither --> from 25.8.")
    assert not unmarked("Nobody et al. (2020) report the same. Ours is 2.45, Llama 3.1 too.")
    assert not unmarked("see [Vaswani et al. 2017](https://arxiv.org/abs/1706.03762), section 3.5")
    assert places("Tables 5 and 13, Tables 1-4; appendix B, eqs. 21-22") >= {
        "table 5", "table 13", "table 2", "table 4", "appendix B", "equation 22"
    }  # fmt: skip
    assert not places("the table 4 ways") - {"table 4"} and not places("a table, section by section")
    assert disguised(ast.parse("x = [406.01, 4096, 20]")) and disguised(ast.parse("f'falls to {x} from 147.18'"))
    assert not disguised(ast.parse("x = [2.45, 2560]"))
    assert all("/" not in step for entry in sources._published().values() for step in steps(entry["value"]))


def steps(value: Any) -> list[str]:
    """Every name on the way into a value; "/" separates them, so none may hold one."""
    return [s for key, v in value.items() for s in (key, *steps(v))] if isinstance(value, dict) else []
