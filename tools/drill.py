"""`tasks.py drill`: the recall questions of the notebooks and those of interviews, missed ones again.

Two sources, each in one place: the sections "From memory" of the notebooks, and helpers/data/interview.json. What was
missed is kept in .cache/drill.json, which git ignores. Standard library only: it starts at once, on any Python 3.10.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import sys
import textwrap
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .common import Stop, many, positive, say
from .project import Project, load, read_json

DETAILS = re.compile(r"<details>\s*<summary>(?:\d+\. )?(?P<question>.*?)</summary>(?P<answer>.*?)</details>", re.S)


@dataclass(frozen=True)
class Question:
    """One question with its answer, as Markdown; ``where`` says what to read again."""

    notebook: str
    section: str
    question: str
    answer: str

    @property
    def where(self) -> str:
        return f"notebook {self.notebook}, {readable(self.section)}"


def parse(argv: list[str], project: Project | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tasks.py drill",
        description="Questions from memory: those of the notebooks and those of interviews. What you miss comes again,"
        " in this session until you know it and first in the next.",
    )
    parser.add_argument("--only", metavar="NN", help="questions of some notebooks, e.g. 02 or 4,6")
    parser.add_argument("--count", metavar="N", type=positive, default=10, help="how many in this session (10)")
    parser.add_argument("--list", action="store_true", help="print all of them with their answers, and ask nothing")
    args = parser.parse_args(argv)
    args.project = project or Project()
    args.paths = args.project.select(args.only)
    return args


def main(argv: list[str], project: Project | None = None, ask: Callable[[str], str] = input) -> int:
    args = parse(argv, project)
    found = questions(args.project, args.paths)
    if args.list:
        try:
            for one in found:
                say(f"{wrapped(one.question)}\n\n{wrapped(one.answer, '    ')}\n    ({one.where})\n")
            say(f"{many(len(found), 'question')}.")
        except BrokenPipeError:  # the reader of a pipe has seen enough, as in `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if not found:
        raise Stop(f"--only {args.only}: no question is about it. Leave --only out.")
    memory = Memory(args.project.root / ".cache" / "drill.json")
    session(chosen(found, memory.missed, args.count), memory, ask)
    return 0


# -------------------------------------------------------------------------------------------------------- the questions


def questions(project: Project, paths: list[Path]) -> list[Question]:
    """Those of the notebooks and of interviews, by notebook."""
    asked = [Question(**entry) for entry in read_json(project.root / "helpers" / "data" / "interview.json")]
    found = []
    for path in paths:
        found += from_memory(path) + [one for one in asked if one.notebook == path.name[:2]]
    return found


def from_memory(path: Path) -> list[Question]:
    """The recall questions of one notebook."""
    text = "\n\n".join(cell["source"] for cell in load(path)["cells"] if cell["cell_type"] == "markdown")
    section = re.search(r"(?ms)^## From memory$(.*?)(?=^## |\Z)", text)
    pairs = [(one["question"], one["answer"].strip()) for one in DETAILS.finditer(section[1] if section else "")]
    return [Question(path.name[:2], "From memory", *pair) for pair in pairs]


def chosen(found: list[Question], missed: list[str], count: int, seed: int | None = None) -> list[Question]:
    """The questions of a session: those missed before come first, the others in a new order."""
    again = sorted((one for one in found if one.question in missed), key=lambda one: missed.index(one.question))
    others = [one for one in found if one.question not in missed]
    random.Random(seed).shuffle(others)
    return (again + others)[:count]


GREEK = ("alpha α beta β gamma γ delta δ theta θ lambda λ omega ω pi π sigma σ zeta ζ Delta Δ "
         "cdot · times × top ᵀ le ≤ ge ≥ ne ≠ infty ∞ approx ≈ dots ... ldots ... quad").split()  # fmt: skip
WORDS = dict(zip(GREEK[::2], [*GREEK[1::2], " "], strict=True))
"""Commands of LaTeX and how one types them; every other one is its own name, as in cos."""


def readable(markdown: str) -> str:
    """Markdown as plain text: no marks, and formulas as one would type them."""
    text = re.sub(r"<!--.*?-->", "", markdown, flags=re.S)
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\$\$?(.+?)\$\$?", lambda formula: typed(formula[1]), text, flags=re.S)
    parts = text.split("`")  # every other one is code, where a star is a star
    parts[::2] = [re.sub(r"\*\*|(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w)", "", part) for part in parts[::2]]
    return "".join(parts)


def typed(formula: str) -> str:
    """A formula of LaTeX in one line of plain text."""
    text = re.sub(r"\\(?:left|right|big|Big|mathrm|text|,|;|!|\s)", "", formula)
    text = re.sub(r"\\t?frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1)/(\2)", text)
    text = re.sub(r"\\sqrt\{?(\w+)\}?", r"√\1", text)
    text = re.sub(r"\\([A-Za-z]+)", lambda word: WORDS.get(word[1], word[1]), text)
    text = re.sub(r"_\{(\w+)\}", r"_\1", text).replace("^ᵀ", "ᵀ")
    return re.sub(r"[{}]", "", text).strip()


def wrapped(markdown: str, indent: str = "") -> str:
    paragraphs = re.split(r"\n\s*\n", readable(markdown).strip())
    return "\n\n".join(textwrap.fill(" ".join(p.split()), 88, initial_indent=indent, subsequent_indent=indent,
                                     break_on_hyphens=False) for p in paragraphs)  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- a session


class Memory:
    """The questions that were missed when last asked, in a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.missed, self.kept = path, [], True
        try:
            missed = json.loads(path.read_text(encoding="utf-8"))["missed"]
            if not isinstance(missed, list):
                raise TypeError
            self.missed = [str(one) for one in missed]
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError):
            say(f"{path} cannot be read, so nothing counts as missed before.\n")

    def note(self, question: str, known: bool) -> None:
        """Keep the outcome of a question's first answer in a session."""
        self.missed = [one for one in self.missed if one != question] + ([] if known else [question])
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps({"missed": self.missed}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            part.replace(self.path)
        except OSError:
            self.kept = False
            with contextlib.suppress(OSError):
                part.unlink()


def session(asked: list[Question], memory: Memory, ask: Callable[[str], str]) -> None:
    """Ask until every question is known, or until the reader ends it (q, Ctrl-C, or no more input)."""
    todo = deque((one, True) for one in asked)
    right = seen = 0
    again = sum(one.question in memory.missed for one in asked)
    before = f", {again} of them missed before" if again else ""
    say(f"{many(len(asked), 'question')}{before}. Say the answer aloud, then press Enter; q ends.")
    try:
        while todo:
            one, first = todo.popleft()
            of = f"{seen + 1} of {len(asked)}" if first else "again"
            say("\n" + wrapped(f"{of}, notebook {one.notebook}: {one.question}"))
            if ask("    Enter shows the answer. ").strip().lower() == "q":
                break
            say(f"\n{wrapped(one.answer, '    ')}\n    ({one.where})\n")
            known = decided(ask)
            if first:
                memory.note(one.question, known)
                seen, right = seen + 1, right + known
            if not known:
                todo.append((one, False))
    except (EOFError, KeyboardInterrupt, Quit):
        say()
    missed = seen - right
    later = f"; {'it comes' if missed == 1 else 'they come'} first next time" if missed and memory.kept else ""
    say(f"\n{right} known at once, {missed} missed{later}.")
    if not memory.kept:
        say(f"{memory.path} cannot be written, so this session is not remembered.")


class Quit(Exception):
    """The reader wants to stop."""


def decided(ask: Callable[[str], str]) -> bool:
    while True:
        said = ask("    Did you know it? y or n: ").strip().lower()
        if said in ("y", "yes", "n", "no"):
            return said.startswith("y")
        if said == "q":
            raise Quit
