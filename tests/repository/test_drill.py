"""The drill: what it asks, what it remembers, and how it ends."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys

import pytest
import torch

import tasks
from helpers.encodings import alibi, extension
from helpers.encodings.rope import rope_frequencies
from helpers.encodings.t5 import t5_buckets
from tools import drill
from tools.common import Stop
from tools.project import HERE, Project, load

ALL = drill.questions(Project(), Project().all())
INTERVIEW = [one for one in ALL if one.section != "From memory"]


@pytest.fixture
def own(tmp_path) -> Project:
    """A copy of the course with its questions and nothing else."""
    for name in ("project.json", "notebooks", "helpers"):
        (tmp_path / name).symlink_to(HERE / name)
    return Project(tmp_path)


class Reader:
    """Answers from a script: Enter at every question, then the next of ``says``; at its end the input ends."""

    def __init__(self, *says: str, end: type[BaseException] = EOFError) -> None:
        self.says, self.end = list(says), end

    def __call__(self, prompt: str) -> str:
        if not self.says:
            raise self.end
        return "" if "Enter" in prompt and self.says[0] != "q" else self.says.pop(0)


def missed(project: Project) -> list[str]:
    return json.loads((project.root / ".cache" / "drill.json").read_text(encoding="utf-8"))["missed"]


# ------------------------------------------------------------------------------------------------------ what it asks


def test_every_notebook_s_recall_questions_are_found():
    for path in Project().all():
        text = "\n".join(cell["source"] for cell in load(path)["cells"])
        section = text[text.index("## From memory") : text.index("## Summary")]
        own = [one for one in ALL if one.notebook == path.name[:2] and one.section == "From memory"]
        assert len(own) == section.count("<summary>") >= 5
        assert all(one.answer and "<" not in one.answer and not re.match(r"\d", one.question) for one in own)


def test_interview_questions_are_many_short_and_point_to_a_section():
    assert len(INTERVIEW) >= 30 and len({one.question for one in ALL}) == len(ALL)
    headings = {
        path.name[:2]: re.findall(r"(?m)^##+ (.+)$", "\n".join(cell["source"] for cell in load(path)["cells"]))
        for path in Project().all()
    }
    for one in INTERVIEW:
        assert one.section in headings[one.notebook], one
        assert one.question.endswith(("?", ".")) and 2 <= len(re.findall(r"[.?](?=\s|$)", one.answer)) <= 4, one
    assert {one.notebook for one in INTERVIEW} == set(headings)


def test_everything_is_readable_without_marks():
    for one in ALL:
        shown = drill.wrapped(one.question) + drill.wrapped(one.answer)
        assert not re.search(r"[\\$`{}<]|\*\*[a-z]|\]\(", shown), shown
    assert drill.readable(r"$\sum_i \cos(k\omega_i)$, *m* and `a ** b`") == "sum_i cos(kω_i), m and a ** b"
    assert drill.readable(r"$\frac{L\,\theta}{2\pi}$ [x](y.ipynb) $\sqrt{d}$<!-- ours -->") == "(Lθ)/(2π) x √d"


def test_numbers_of_the_answers():
    """Those that can be computed; the others are quoted from the notebooks, which check them."""

    def said(words: str) -> str:
        (one,) = [one for one in INTERVIEW if words in one.question]
        return one.answer

    slopes = alibi.alibi_slopes(12)
    assert [round(x, 3) for x in slopes[8:].tolist()] == [0.707, 0.354, 0.177, 0.088]
    assert "0.707, 0.354, 0.177 and 0.088" in said("12 heads") and slopes[7] == 1 / 256
    assert not torch.isclose(slopes, torch.tensor([2 ** (-8 * h / 12) for h in range(1, 13)]).to(slopes)).any()
    back = -torch.arange(200)
    for both, first in ((False, 113), (True, 91)):
        buckets = t5_buckets(back, bidirectional=both)
        assert int((buckets == buckets.max()).nonzero()[0]) == first and str(first) in said("How many buckets")
    assert len(torch.arange(4096).bfloat16().unique()) == 769 and "769" in said("bfloat16")
    turns = 4096 * rope_frequencies(128, 1e4) / (2 * math.pi)
    assert int((turns < 1).sum()) == 18 and "18 such pairs of 64" in said("larger base change")
    turns = 4096 * rope_frequencies(128, 5e5) / (2 * math.pi)
    assert int((turns < 1).sum()) == 32 and "with base 500,000 it would have 32" in said("larger base change")
    sines = rope_frequencies(64, 1e4)
    assert int((64 * sines / (2 * math.pi) < 1).sum()) == 23 and "23 of the 32" in said("base 10,000")
    assert round(2 * math.pi / sines[-1].item(), -3) == 47_000 and "47,000" in said("base 10,000")
    assert round((0.1 * math.log(16) + 1) ** 2, 2) == 1.63 and "1.63" in said("temperature")
    yarn, ntk = (extension.extend(rule, 128, 1e4, 16, 4096).inv_freq for rule in ("yarn", "ntk"))
    assert ((yarn / ntk - 1).abs() < 0.01).nonzero().flatten().tolist() == [0, 63]


# --------------------------------------------------------------------------------------------------------- a session


def test_what_is_missed_comes_again_until_it_is_known_and_first_next_time(own, capsys):
    assert drill.main(["--only", "04", "--count", "3"], own, Reader("n", "y", "n", "n", "y", "y")) == 0
    printed = capsys.readouterr().out
    assert len(re.findall(r"(?m)^\d of 3, notebook 04: ", printed)) == 3
    assert len(re.findall(r"(?m)^again, notebook 04: ", printed)) == 3
    assert "1 known at once, 2 missed; they come first next time." in printed
    first = missed(own)
    assert len(first) == 2
    drill.main(["--only", "4", "--count", "2"], own, Reader("y", "n", "y"))
    printed = capsys.readouterr().out
    assert "2 questions, 2 of them missed before" in printed
    assert missed(own) == [first[1]]


@pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
def test_it_ends_politely_and_keeps_what_was_answered(own, capsys, end):
    assert drill.main([], own, Reader("n", "y", end=end)) == 0
    assert capsys.readouterr().out.endswith("1 known at once, 1 missed; it comes first next time.\n")
    assert len(missed(own)) == 1
    assert drill.main([], own, Reader("maybe", "q")) == 0
    assert capsys.readouterr().out.endswith("0 known at once, 0 missed.\n")


def test_a_damaged_memory_is_named_and_written_anew(own, capsys):
    state = own.root / ".cache" / "drill.json"
    state.parent.mkdir()
    for text in ("{", "[]", '{"missed": 3}', '{"missed": "abc"}', "\udcff"):
        state.write_bytes(text.encode("utf-8", "surrogateescape"))
        drill.main(["--count", "1"], own, Reader("n", "y"))
        assert "drill.json cannot be read, so nothing counts as missed before" in capsys.readouterr().out
        assert len(missed(own)) == 1


def test_a_memory_that_cannot_be_written_promises_nothing(own, capsys):
    (own.root / ".cache" / "drill.json").mkdir(parents=True)
    drill.main(["--count", "1"], own, Reader("n", "y"))
    printed = capsys.readouterr().out
    assert "0 known at once, 1 missed.\n" in printed and "drill.json cannot be written" in printed
    assert [path.name for path in (own.root / ".cache").iterdir()] == ["drill.json"]


def test_a_question_that_is_gone_does_no_harm(own, capsys):
    memory = drill.Memory(own.root / ".cache" / "drill.json")
    memory.note("A question of an older course?", known=False)
    drill.main(["--count", "1"], own, Reader("y"))
    assert "missed before" not in capsys.readouterr().out


def test_options(own, capsys):
    assert drill.main(["--list", "--only", "02,03"], own) == 0
    printed = capsys.readouterr().out
    listed = [one for one in ALL if one.notebook in ("02", "03")]
    assert printed.endswith(f"{len(listed)} questions.\n") and printed.count("(notebook 0") == len(listed)
    for words in (["--count", "0"], ["--count", "x"]):
        with pytest.raises(SystemExit):
            drill.parse(words, own)
    with pytest.raises(Stop, match="no notebook '9'"):
        drill.parse(["--only", "9"], own)


def test_it_needs_python_alone_and_no_terminal():
    assert tasks.COMMANDS["drill"].environment == ""
    code = "import sys, tasks; code = tasks.main(['drill', '--list']); print(*sys.modules); sys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=HERE, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert not {"torch", "numpy", "nbformat"} & {name.split(".")[0] for name in done.stdout.split("\n")[-2].split()}


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} tasks.py drill --list | head -1"
    done = subprocess.run(command, shell=True, cwd=HERE, capture_output=True, text=True)
    assert not done.stderr, done.stderr
