"""`tasks.py test`: lint, tests, and every notebook against its saved outputs."""

from __future__ import annotations

import argparse
import re
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from .common import Stop, many, plain, positive, say
from .execution import jobs
from .processes import recorded, side_by_side, tee
from .project import Project

STAGES = ("lint", "unit", "notebooks")


def parse(argv: list[str], project: Project | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tasks.py test", description="Lint, tests, and the notebooks against their saved outputs."
    )
    parser.add_argument("tests", nargs="*", metavar="PATH", help="only these files or folders of tests/")
    parser.add_argument("--only", metavar="NN", help="only these notebooks")
    parser.add_argument("--lint", action="store_true", help="only ruff")
    parser.add_argument("--unit", action="store_true", help="only tests/")
    parser.add_argument("--notebooks", action="store_true", help="only the notebooks")
    parser.add_argument("--fast", action="store_true", help="leave out the tests marked slow")
    parser.add_argument("--nightly", action="store_true", help="also the tests marked nightly")
    parser.add_argument("--jobs", type=positive, metavar="N", help="processes at a time (as cores and memory allow)")
    args = parser.parse_args(argv)
    args.project = project or Project()
    args.paths = args.project.select(args.only)
    for test in args.tests:
        if not (args.project.root / test.partition("::")[0]).exists():
            raise Stop(f"{test!r} is not there. Name a file or folder as from the course's folder: tests/notebooks")
    chosen = [stage for stage in STAGES if getattr(args, stage)]
    some = (["unit"] if args.tests else []) + (["notebooks"] if args.only else [])
    args.stages = list(dict.fromkeys(chosen + some)) or list(STAGES)
    return args


WORDS = r"\b(?:passed|failed|errors?|skipped|deselected|no tests ran)\b"
CLOSING = re.compile(rf"(?m)^=+ ([^=\n]*{WORDS}[^=\n]*) in [\d.]+s")
KINDS = re.compile(r"(\d+) (failed|passed|skipped|deselected|xfailed|xpassed|warnings?|errors?)")


def closing(output: str) -> str:
    """What pytest's last line counts."""
    found = CLOSING.findall(plain(output))
    return found[-1] if found else "no closing line"


def count(closings: list[str]) -> dict[str, int]:
    """The sum of several closing lines: kind -> number."""
    total: dict[str, int] = {}
    for text in closings:
        for number, word in KINDS.findall(text):
            word = {"error": "errors", "warning": "warnings"}.get(word, word)
            total[word] = total.get(word, 0) + int(number)
    return total


class Part(NamedTuple):
    """What one process checks: a folder of tests, or a notebook."""

    stage: str
    name: str
    options: list[str]


def parts(args: argparse.Namespace) -> list[Part]:
    """What there is to run: the folders of tests/, and each notebook against its saved outputs."""
    found = []
    if "unit" in args.stages:
        options = ["--continue-on-collection-errors", "--durations=5"]
        options += ["-m", "not slow"] if args.fast else []
        options += ["--nightly"] if args.nightly else []
        rooms = sorted({f"tests/{path.parent.name}" for path in args.project.root.glob("tests/*/test_*.py")})
        found += [Part("tests", room, [room, *options]) for room in args.tests or rooms]
    if "notebooks" in args.stages:
        found += [Part("notebooks", path.name[:2], ["--nbval", str(path)]) for path in args.paths]
    return found


def check(part: Part, root: Path, lock: threading.Lock) -> tuple[int, str, float]:
    """Run one part in a process of its own: exit code, closing line and seconds. What failed is printed whole."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *part.options]
    code, output, peak = recorded(command, root)
    seconds = time.perf_counter() - started
    memory = f", peak {peak:.0f} MiB" if peak else ""
    with lock:
        if code:
            say(output)
        word = "ok" if code == 0 else f"FAILED ({code})"
        say(f"{part.name}  {word}: {closing(output)}, {seconds:.0f} s{memory}")
    return code, closing(output), seconds


def main(argv: list[str], project: Project | None = None) -> int:
    args = parse(argv, project)
    root = args.project.root
    results: dict[str, tuple[bool, float, str]] = {}
    started = time.perf_counter()
    if "lint" in args.stages:
        say("\n=== lint: ruff check, ruff format --check ===")
        commands = [[sys.executable, "-m", "ruff", *words, "."] for words in (["check"], ["format", "--check"])]
        codes = [tee(command, root)[0] for command in commands]
        results["lint"] = (any(codes), time.perf_counter() - started, "")
    todo = parts(args)
    at_once = jobs(args.jobs, max(1, len(todo)))
    if todo:
        say(f"\n=== pytest: {', '.join(part.name for part in todo)}; {at_once} at a time ===")
    lock = threading.Lock()
    done = side_by_side(lambda part: check(part, root, lock), todo, at_once)
    for stage in dict.fromkeys(part.stage for part in todo):
        own = [result for part, result in zip(todo, done, strict=True) if part.stage == stage]
        passed = sum(code == 0 for code, _, _ in own)
        counted = f"{passed} of {many(len(own), 'notebook' if stage == 'notebooks' else 'part')}"
        results[stage] = (passed < len(own), sum(seconds for *_, seconds in own), counted)
    say("\n=== summary (seconds of all processes together) ===")
    for name, (failed, seconds, detail) in results.items():
        say(f"{name:<10} {'FAILED' if failed else 'passed'}  {seconds:6.1f} s  {detail}")
    total = ", ".join(f"{number} {word}" for word, number in count([text for _, text, _ in done]).items())
    if total:
        say(f"===== {total} in {time.perf_counter() - started:.2f}s =====")
    return int(any(failed for failed, _, _ in results.values()))
