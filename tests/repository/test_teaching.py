"""The instructor's pages: what they name is there, the plans keep to the meter, and exam answers are computed here.

A number in a model answer carries its name in a comment that no reader sees, ``0.451<!-- exam: weight at 9 -->``, and
:data:`ANSWERS` computes it: change a question's numbers here, run this file, and it prints the new answer.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import math
import re
import textwrap
from collections.abc import Callable

import pytest
import torch

from helpers import corpus, encodings, race
from helpers.encodings import Encoding, alibi, extension, rope, sinusoidal, t5
from helpers.model import Encoder, KVCache
from helpers.studies import broken
from tests.notebook_code import FILES, ROOT, cells
from tools import stamp, teaching
from tools.common import Stop
from tools.exercises import exercises as exercises_of
from tools.project import Project, load

FOLDER = ROOT / "teaching"
PAGES = {path.stem: path for path in sorted(FOLDER.glob("0?.md"))}
PLANS = json.loads((FOLDER / "plans.json").read_text(encoding="utf-8"))
HEADINGS = [
    "Goals", "Before the class: a self-test", "A class of 75 minutes", "Three classes of 50 minutes",
    "What students get wrong", "To discuss", "Exam",
]  # fmt: skip


@functools.cache
def text(number: str) -> str:
    return PAGES[number].read_text(encoding="utf-8")


def part(number: str, heading: str) -> str:
    """What stands under a heading of level 2."""
    return re.split(r"(?m)^## ", text(number).split(f"\n## {heading}\n", 1)[1])[0]


def exam(number: str) -> dict[str, tuple[int, str]]:
    """Question -> its marks and its text with the model answer."""
    parts = re.split(r"(?m)^### (E\d\.\d) .+ \((\d+) marks\)$", part(number, "Exam"))[1:]
    return {name: (int(marks), body) for name, marks, body in zip(*[iter(parts)] * 3, strict=True)}


# ------------------------------------------------------------------------------------------------------- the pages


def test_every_notebook_has_its_page_and_every_page_is_linked():
    assert list(PAGES) == list(FILES)
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    for page in FOLDER.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index
    assert "](teaching/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", PAGES)
def test_a_page_has_its_parts_in_order(number):
    assert re.findall(r"(?m)^## (.+)$", text(number)) == HEADINGS


def recalls(number: str) -> int:
    """Questions that the notebook asks from memory."""
    memory = next(c["source"] for c in cells(number) if "## From memory" in c["source"])
    return len(re.findall(r"<summary>\d+\. ", memory.split("## From memory")[1].split("\n## ")[0]))


@pytest.mark.parametrize("number", PAGES)
def test_every_goal_is_checked_by_something_that_is_there(number):
    exercises, questions, n_recall = exercises_of(FILES[number]), exam(number), recalls(number)
    goals = re.findall(r"(?ms)^- (.+?)(?=^- |\Z)", part(number, "Goals"))
    assert 4 <= len(goals) <= 6
    checked = set()
    for goal in goals:
        by = re.search(r"Checked\s+by:(.+?)\.\s*$", goal, re.S)
        assert by, f"no check: {goal}"
        for name in map(str.strip, by[1].split(",")):
            kind, _, which = " ".join(name.split()).rpartition(" ")
            there = {"exercise": exercises, "exam": questions, "recall": [str(i + 1) for i in range(n_recall)]}
            assert which in there[kind], f"{name} is not there"
            checked.add(name)
    assert {f"exam {question}" for question in questions} <= checked, "a question that checks no goal"


@pytest.mark.parametrize("number", PAGES)
def test_the_self_test_has_five_questions_with_folded_answers(number):
    test = part(number, "Before the class: a self-test")
    assert re.findall(r"(?m)^(\d)\. ", test) == list("12345")
    assert test.count("<summary>Answer</summary>\n\n") == test.count("</details>") == 5


@pytest.mark.parametrize("number", PAGES)
def test_mistakes_are_those_that_the_checks_name(number):
    known = importlib.import_module(f"helpers.exercises.nb{number}").MISTAKES
    named = re.findall(r'[Cc]heck (\d\.\d): "([^"]+)"', " ".join(text(number).replace("\\*", "*").split()))
    assert len(named) >= 5
    for exercise, words in named:
        words = next((w for w in known[exercise] if w.lower() == words.lower()), None)
        assert words, f"check {exercise} does not name this mistake; it names {', '.join(known[exercise])}"


@pytest.mark.parametrize("number", PAGES)
def test_discussions_say_what_to_listen_for(number):
    questions = re.findall(r"(?m)^\d\. ", part(number, "To discuss"))
    assert 3 <= len(questions) <= 4 and part(number, "To discuss").count("*Listen for:*") == len(questions)


def test_pictures_that_pages_name_are_there():
    figures = json.loads((ROOT / "figures" / "manifest.json").read_text(encoding="utf-8"))
    for page in FOLDER.glob("*.md"):
        words = re.findall(r"\b0[1-6]_\w+\b(?!\.ipynb)", page.read_text(encoding="utf-8"))
        assert not [w for w in words if w not in figures and w not in {f.stem for f in FILES.values()}], page.name


# ------------------------------------------------------------------------------------------------------- the plans


def test_the_plans_are_current():
    """Sections, pictures, guesses, cells and exercises are there, no class takes too long; else this raises Stop."""
    for path, wanted in stamp.stamped(Project(ROOT)).items():
        if FOLDER in path.parents:
            assert path.read_text(encoding="utf-8") == wanted, f"{path.name} is not current: python3 tasks.py stamp"


def minute(number: str, heading: str) -> float:
    return teaching.sections(load(FILES[number])["cells"])[heading].minutes


@pytest.mark.parametrize("number", PAGES)
def test_a_section_takes_what_the_meter_says(number):
    """Together with the cells up to the setup the sections are the main path of tools/minutes.py."""
    from tools import minutes

    notebook = load(FILES[number])["cells"]
    start = next(i for i, cell in enumerate(notebook) if cell["id"] == "start")
    before = minutes.minutes(notebook[: start + 1])["main"]
    main = sum(section.minutes for section in teaching.sections(notebook).values() if section.main)
    assert abs(before + main - minutes.of(FILES[number])["main"]) < 1.5


@pytest.mark.parametrize("number", PAGES)
def test_classes_are_neither_too_long_nor_too_short(number):
    shown = re.findall(r"Together (\d+) minutes", text(number))
    assert len(shown) == 4 and 55 <= int(shown[0]) <= 75 and all(38 <= int(n) <= 50 for n in shown[1:])
    for classes in (PLANS[number]["75"], [row for rows in PLANS[number]["50"] for row in rows]):
        assert (
            sum(bool(row.get("wall")) for row in classes) >= 5 and sum(len(row.get("vote", [])) for row in classes) >= 6
        )
        assert any(row.get("live") for row in classes) and any("exercise" in row for row in classes)
    questions = re.findall(r"(?m)^\d\. ", part(number, "To discuss"))
    for row in [*PLANS[number]["75"], *(row for rows in PLANS[number]["50"] for row in rows)]:
        if found := re.fullmatch(r"Discussion, question (\d)", row.get("do", "")):
            assert int(found[1]) <= len(questions)
        if row.get("do") == "From memory":
            assert all(1 <= int(n) <= recalls(number) for n in re.findall(r"\d", row["say"])), row


def test_a_plan_that_names_what_is_not_there_is_refused():
    notebook = load(FILES["01"])["cells"]

    def refused(row: dict, most: int = 75) -> str:
        with pytest.raises(Stop) as stop:
            teaching.lesson([row], "01", FILES["01"].name, notebook, most)
        return str(stop.value)

    assert "no section 'The end'" in refused({"at": "The end"})
    assert "no picture '01_none'" in refused({"at": "The race", "wall": ["01_none"]})
    assert "no guess 'guess_x'" in refused({"at": "The race", "vote": ["guess_x"]})
    assert "no cell 'hero'" in refused({"at": "The race", "live": ["hero"]})
    assert "no exercise '2.1'" in refused({"exercise": "2.1"})
    assert "takes 9 minutes of 8" in refused({"do": "Talk", "minutes": 9}, most=8)


# ---------------------------------------------------------------------------------------- projects and the classroom


def test_points_of_a_project_add_up_and_its_faults_are_those_that_are_planted():
    projects = (FOLDER / "projects.md").read_text(encoding="utf-8")
    for body in re.split(r"(?m)^## ", projects)[1:]:
        points = [int(n) for n in re.findall(r"(?m)^\| [^|]+ \| (\d+) \|", body)]
        assert len(points) == 5 and sum(points) == 100
        assert "*A good report*" in body and "*A poor report*" in body
    table = projects.split("| fault | ")[1].split("\n\n")[0]
    assert set(re.findall(r"(?m)^\| ([^|]+?) \|", table)) - {"---"} == set(broken.FAULTS)
    assert all(f'"{fault}"' in projects for fault in broken.FAULTS)


def test_the_lines_that_read_a_race_work_on_a_recorded_one():
    projects = (FOLDER / "projects.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"(?s)```python\n(   from helpers import race\n.*?)```", projects)
    scope: dict = {}
    exec(textwrap.dedent(lines).replace("my_bias", "rope"), scope)
    assert scope["found"] and all(cost > 1 and gap > 1 for _, cost, gap in scope["found"])


def test_memory_is_said_of_every_notebook():
    found = json.loads((FOLDER / "measured.json").read_text(encoding="utf-8"))
    assert list(found["notebooks"]) == list(FILES) and all(row["MiB"] < 1200 for row in found["notebooks"].values())
    shown = teaching.measured(found, 100)
    assert f"{max(row['MiB'] for row in found['notebooks'].values())}: " in shown["hub"]


# -------------------------------------------------------------------------------------------------------- the exam


@pytest.mark.parametrize("number", PAGES)
def test_marks_add_up_and_questions_are_new(number):
    questions = exam(number)
    assert list(questions) == [f"E{int(number)}.{i + 1}" for i in range(len(questions))] and 4 <= len(questions) <= 5
    notebook = " ".join(" ".join(c["source"] for c in cells(number)).split())
    for name, (marks, body) in questions.items():
        question, answer = body.split("<details><summary>Model answer</summary>\n\n")
        given = re.findall(r"(?m)^- (\d) marks?: ", answer)
        assert sum(map(int, given)) == marks, f"{name}: {given} of {marks}"
        for sentence in re.split(r"(?<=[.?:]) ", " ".join(question.split())):
            assert len(sentence) < 30 or sentence not in notebook, f"{name} repeats the notebook: {sentence}"


class _Mirror(Encoding):
    """-|i - j| on the logits."""

    def prepare(self, q_pos, k_pos, allowed):
        return -self.distance(q_pos, k_pos).abs()[:, None].double()

    def bias(self, q, k, state, layer):
        return state


def _orders() -> list[tuple[str, ...]]:
    return sorted(set(itertools.permutations("the dog saw the dog".split())))


def _told(encoding: Encoding | None) -> int:
    """Different means that a random encoder gives to the orders of E1.4."""
    torch.manual_seed(0)
    model = Encoder(vocab_size=3, d_model=32, n_heads=4, n_layers=2, encoding=encoding).double()
    words = sorted({word for order in _orders() for word in order})
    with torch.no_grad():
        means = model.hidden(torch.tensor([[words.index(w) for w in order] for order in _orders()]))[0].mean(1)
    return len({tuple(mean) for mean in (means.numpy().round(9) + 0.0).tolist()})


def _bos(i: int, logit: float = 2.0) -> float:
    return math.exp(logit) / (math.exp(logit) + i)


def _halves(base: float = 10_000.0, convention: str = "halves") -> torch.Tensor:
    return sinusoidal.sinusoidal_table(torch.arange(7), 8, base, convention=convention, dtype=torch.float64)


def _clock(position: float) -> tuple[float, float]:
    """The tip (sin, cos) of E2.2's clock."""
    return math.sin(0.3 * position), math.cos(0.3 * position)


def _rows_apart(k: int) -> float:
    rows = sinusoidal.sinusoidal_table(torch.arange(k + 1), 4, dtype=torch.float64)
    return (rows[k] - rows[0]).norm().item()


def _ported() -> tuple[torch.Tensor, torch.Tensor]:
    """E2.4: the speeds of the port and of the original, fast to slow."""
    i = torch.arange(192, dtype=torch.float64)
    return 1e4 ** (-i / 192), 1e4 ** (-i / 191)


def _off() -> torch.Tensor:
    return 1499 * (_ported()[0] - _ported()[1])


def _bucket(distance: int) -> int:
    return int(t5.t5_buckets(-torch.tensor([distance]))[0])


def _untrained(bias: float) -> torch.Tensor:
    """E3.3: attention by distance of the 512th token, the buckets that training did not reach at ``bias``."""
    buckets = t5.t5_buckets(-torch.arange(512))
    of_head = torch.where(torch.arange(512) == 0, 0.0, torch.where(torch.arange(512) == 1, 3.5, -3.0)).double()
    return torch.where(buckets > _bucket(63), bias, of_head).softmax(0)


def _turns(channels: int, base: float, length: int) -> torch.Tensor:
    """Turns of each pair over a length."""
    return length * rope.rope_frequencies(channels, base) / (2 * math.pi)


def _pair(distance: int) -> float:
    """E4.2: what the pair adds, query ``distance`` after the key at position 20."""
    encoding = encodings.RoPE(2, inv_freq=torch.tensor([math.pi / 6]))
    q, k = torch.tensor([[[[3.0, 0.0]]], [[[0.0, 2.0]]]])
    q, k = encoding.rotate(q, k, encoding.prepare(torch.tensor([[20 + distance]]), torch.tensor([[20]]), None), 0)
    return (q * k).sum().item()


def _weights() -> torch.Tensor:
    """E5.2: weight by distance, the query's own token at 1."""
    return torch.exp(-torch.arange(5000, dtype=torch.float64) / 32)


def _needle(distance: int) -> float:
    own = math.exp(6) * _weights()[distance]
    return (own / (_weights().sum() - _weights()[distance] + own)).item()


def _early(length: int) -> torch.Tensor:
    """E5.3: loss by characters of context."""
    return 2 + 0.2 * (8 - torch.arange(length, dtype=torch.float64)).clamp(min=0)


def _slowed(rule: str) -> float:
    """E6.1: by how much a rule slows pair 32."""
    return (rope.rope_frequencies(128, 1e4) / extension.extend(rule, 128, 1e4, 4, 4096).inv_freq)[32].item()


def _grown(share: float) -> float:
    """E6.2: by how much a logit grows if the number reaches this share of the channels."""
    return share * extension.extend("yarn", 32, 1e4, 16, 4096).attention_factor ** 2 + 1 - share


ANSWERS: dict[str, dict[str, Callable[[], float]]] = {
    "01": {
        "which is first": lambda: 100 / 3,
        "in order": lambda: 100 * 5 / 6,
        "weight at 9": lambda: _bos(9),
        "below a tenth": lambda: next(i for i in range(999) if _bos(i) < 0.1),
        "step plain at 9": lambda: _bos(9, 0) - _bos(10, 0),
        "step loud at 9": lambda: _bos(9) - _bos(10),
        "orders": lambda: len(_orders()),
        "last words": lambda: len({order[-1] for order in _orders()}),
        "up to mirrors": lambda: _told(_Mirror()),
    },
    "02": {
        "position of the row": lambda: math.atan2(0.909, -0.416),
        "second frequency": lambda: math.atan2(0.199, 0.980) / 2,
        "base, paper": lambda: round(math.atan2(0.199, 0.980) / 2, 2) ** -4,
        "base, original code": lambda: round(math.atan2(0.199, 0.980) / 2, 2) ** -3,
        "cos 0.9": lambda: _clock(3)[1],
        "sin 0.9": lambda: _clock(3)[0],
        "sine at 8": lambda: _clock(8)[0],
        "cosine at 8": lambda: _clock(8)[1],
        "distance to 3": lambda: _rows_apart(3),
        "distance to 6": lambda: _rows_apart(6),
        "slowest too fast": lambda: 100 * (_ported()[0][-1] / _ported()[1][-1] - 1).item(),
        "slowest off": lambda: _off()[-1].item(),
        "worst clock": lambda: int(_off().argmax()),
        "worst error": lambda: _off().max().item(),
    },
    "03": {
        "longest text": lambda: 1026 - 2,
        "numbers of the table": lambda: 1026 * 1024,
        "new rows": lambda: 2 + 2048,
        "part of the way": lambda: torch.linspace(0, 1023, 2048, dtype=torch.float64)[1].item(),
        "bucket of 10": lambda: _bucket(10),
        "bucket of 20": lambda: _bucket(20),
        "bucket of 60": lambda: _bucket(60),
        "bucket of 100": lambda: _bucket(100),
        "first untrained": lambda: next(n for n in range(512) if _bucket(n) > _bucket(63)),
        "untrained keys": lambda: sum(_bucket(n) > _bucket(63) for n in range(512)),
        "share untrained": lambda: 100 * _untrained(0.0)[t5.t5_buckets(-torch.arange(512)) > 26].sum().item(),
        "previous if trained": lambda: 100 * _untrained(-3.0)[1].item(),
        "previous now": lambda: 100 * _untrained(0.0)[1].item(),
        "numbers of Shaw": lambda: (2 * 16 + 1) * 64 * 12 * 12,
        "numbers of T5": lambda: 32 * 12,
    },
    "04": {
        "turning channels": lambda: 2048 // 16 // 2,
        "turns of pair 16": lambda: _turns(64, 1e4, 4096)[16].item(),
        "unfinished of 32": lambda: int((_turns(64, 1e4, 4096) < 1).sum()),
        "unfinished of 64": lambda: int((_turns(128, 1e4, 4096) < 1).sum()),
        "pair at 0": lambda: round(_pair(0), 9) + 0.0,
        "pair at 3": lambda: _pair(3),
        "pair at -3": lambda: _pair(-3),
        "pair is largest at": lambda: max(range(13), key=_pair),
        "last row of the first head": lambda: rope.layout_permutation(64)[7].item(),
        "first collision": lambda: next(i for i in range(8192) if int(torch.tensor(i).half()) != i),
        "different numbers": lambda: torch.arange(8192, dtype=torch.float16).unique().numel(),
    },
    "05": {
        "gentlest head": lambda: int(alibi.alibi_slopes(20).argmin()) + 1,
        "steepest head": lambda: int(alibi.alibi_slopes(20).argmax()) + 1,
        "steepest slope": lambda: alibi.alibi_slopes(20).max().item(),
        "by the formula": lambda: 2 ** (-8 * 17 / 20),
        "too far by": lambda: alibi.alibi_slopes(20).max().item() / 2 ** (-8 * 17 / 20),
        "all keys": lambda: _weights().sum().item(),
        "half of the attention": lambda: max(d for d in range(1000) if _needle(d) >= 0.5),
        "as one token": lambda: max(d for d in range(1000) if math.exp(6) * _weights()[d] >= 1 - 1e-9),
        "loss at 16": lambda: _early(16).mean().item(),
        "loss at 64": lambda: _early(64).mean().item(),
        "loss at 512": lambda: _early(512).mean().item(),
        "loss sliding": lambda: max(_early(n)[-(n // 8) :].mean().item() for n in (16, 64, 512)),
    },
    "06": {
        "new base": lambda: 1e4 * 4 ** (128 / 126),
        "slowed, NTK": lambda: _slowed("ntk"),
        "turns of pair 32": lambda: _turns(128, 1e4, 4096)[32].item(),
        "gamma": lambda: (_turns(128, 1e4, 4096)[32].item() - 1) / 31,
        "slowed, by parts": lambda: _slowed("ntk_by_parts"),
        "number": lambda: extension.extend("yarn", 32, 1e4, 16, 4096).attention_factor,
        "a quarter grows": lambda: _grown(0.25),
        "all grows": lambda: _grown(1.0),
        "KiB per token": lambda: 2 * 32 * 8 * 128 * 2 / 2**10,
        "GiB": lambda: 2 * 32 * 8 * 128 * 2 * 1e5 / 2**30,
        "GiB without groups": lambda: 2 * 32 * 32 * 128 * 2 * 1e5 / 2**30,
        "dynamic scale": lambda: 2 * 12288 / 4096 - 1,
        "dynamic base": lambda: 1e4 * 5 ** (128 / 126),
        "found at, in thousands": lambda: 0.2 * 32.768,
        "lost at, in thousands": lambda: 0.5 * 32.768,
    },
}
MARK = re.compile(r"(-?\d[\d,]*(?:\.\d+)?)(?:%|\$)?(?: [a-zA-Z]+)?\s?<!-- exam: (.+?) -->")


@pytest.mark.parametrize("number", PAGES)
def test_numbers_of_model_answers_are_computed(number):
    found = [(name, value) for value, name in MARK.findall(text(number))]
    assert text(number).count("<!-- exam: ") == len(found), "a comment without a number before it"
    assert {name for name, _ in found} == set(ANSWERS[number])
    for name, shown in found:
        digits = len(shown.partition(".")[2])
        computed = ANSWERS[number][name]()
        assert f"{computed:,.{digits}f}" in (shown, f"{float(shown.replace(',', '')):,.{digits}f}"), (name, computed)


def test_what_the_answers_say_without_a_number():
    """E1.4: a bag. E1.2: the louder BOS. E2.1: two conventions, one table. E3.2: which distances share a bucket."""
    assert _told(None) == 1
    assert _bos(1, 0) - _bos(2, 0) > _bos(1) - _bos(2) and _bos(500) - _bos(501) > _bos(500, 0) - _bos(501, 0)
    shown = torch.tensor([0.909, 0.199, 0.020, 0.002, -0.416, 0.980, 1.000, 1.000], dtype=torch.float64)
    assert (_halves()[2] - shown).abs().max() < 6e-4
    assert torch.allclose(_halves(), _halves(1000.0, "tensor2tensor"))
    a, b = _clock(5)
    s, c = _clock(3)
    assert abs(c * a + s * b - _clock(8)[0]) < 1e-12 and abs(-s * a + c * b - _clock(8)[1]) < 1e-12
    assert _bucket(60) == _bucket(62) and _bucket(300) == _bucket(3000) == 31 == _bucket(113) > _bucket(112)


def test_one_permutation_for_all_heads():
    """E4.3: dot products at equal positions change, and the output still depends on distances only."""
    x = torch.randn(6, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    query, key = torch.randn(80, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64).split([64, 16])

    def logits(query: torch.Tensor, key: torch.Tensor, layout: str, positions: torch.Tensor) -> torch.Tensor:
        q, k = ((x @ w.T).unflatten(-1, (-1, 8)).transpose(0, 1)[None] for w in (query, key))
        encoding = encodings.RoPE(8, layout=layout)
        q, k = encoding.rotate(q, k, encoding.prepare(positions, positions, None), 0)
        return q @ k.repeat_interleave(4, 1).mT

    together, apart = torch.zeros(1, 6, dtype=torch.long), torch.arange(6)[None]
    wrong = [w[rope.layout_permutation(len(w))] for w in (query, key)]
    right = [rope.interleaved_to_half(w, len(w) // 8) for w in (query, key)]
    original = [logits(query, key, "interleaved", at) for at in (together, apart)]
    assert all(torch.allclose(logits(*right, "half", at), z) for at, z in zip((together, apart), original, strict=True))
    assert (logits(*wrong, "half", together) - original[0]).abs().max() > 1
    assert torch.allclose(logits(*wrong, "half", apart), logits(*wrong, "half", apart + 50), atol=1e-3)


@torch.no_grad()
def test_right_at_first_then_not():
    """E4.5: prompts by tokens, new tokens by slots: only the row without padding is right. Slots throughout do."""
    model, text = race.load_model("rope", 0), corpus.excerpt()
    prompts, new = [text[0, :12], text[1, :20]], text[:2, 20:24]
    ids = torch.stack([torch.cat([torch.zeros(20 - len(p), dtype=torch.long), p]) for p in prompts])
    mask = torch.arange(20) >= 20 - torch.tensor([[12], [20]])
    tokens, slots = (mask.long().cumsum(1) - 1).clamp(min=0), torch.arange(20).expand(2, -1)

    def continued(first: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the prompts' last tokens and of the new ones, which count slots."""
        cache = KVCache(after_rotation=True)
        before = model(ids, position_ids=first, attention_mask=mask, cache=cache)[:, -1]
        return before, model(new, position_ids=torch.arange(20, 24).expand(2, -1), cache=cache)

    alone = [model(torch.cat([p, n])[None])[0, len(p) - 1 :] for p, n in zip(prompts, new, strict=True)]
    for first, padded_is_right in ((tokens, False), (slots, True)):
        before, after = continued(first)
        for row, right in enumerate(alone):
            assert torch.allclose(before[row], right[0], atol=1e-4)
            same = torch.allclose(after[row], right[1:], atol=1e-4)
            assert same == (padded_is_right or row == 1)
