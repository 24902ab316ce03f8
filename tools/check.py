"""`tasks.py test`: lint, tests, and every notebook against its saved outputs."""

from __future__ import annotations

import argparse
import re
import sys
import threading
import time
from pathlib import Path

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
    parser.add_argument("--jobs", type=positive, metavar="N", help="notebooks at a time (as cores and memory allow)")
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


def check_notebook(path: Path, root: Path, lock: threading.Lock) -> tuple[int, str]:
    """Run one notebook under nbval in a process of its own; exit code and closing line."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "--color=no", str(path)]
    code, output, peak = recorded(command, root)
    memory = f", peak {peak:.0f} MiB" if peak else ""
    with lock:
        if code:
            say(output)
        word = "ok" if code == 0 else f"FAILED ({code})"
        say(f"{path.name[:2]}  {word}: {closing(output)}, {time.perf_counter() - started:.0f} s{memory}")
    return code, closing(output)


def main(argv: list[str], project: Project | None = None) -> int:
    args = parse(argv, project)
    root = args.project.root
    results: dict[str, tuple[bool, float, str]] = {}
    closings = []
    started = time.perf_counter()

    def stage(name: str) -> float:
        say(f"\n=== {name} ===")
        return time.perf_counter()

    if "lint" in args.stages:
        begun = stage("lint: ruff check, ruff format --check")
        commands = [[sys.executable, "-m", "ruff", *words, "."] for words in (["check"], ["format", "--check"])]
        codes = [tee(command, root)[0] for command in commands]
        results["lint"] = (any(codes), time.perf_counter() - begun, "")
    if "unit" in args.stages:
        begun = stage(f"tests: pytest {' '.join(args.tests or ['tests'])}")
        options = ["--color=no", "--continue-on-collection-errors", "--durations=10"]
        options += ["-m", "not slow"] if args.fast else []
        options += ["--nightly"] if args.nightly else []
        code, output = tee([sys.executable, "-m", "pytest", *(args.tests or ["tests"]), *options], root)
        closings.append(closing(output))
        results["tests"] = (code != 0, time.perf_counter() - begun, closing(output))
    if "notebooks" in args.stages:
        at_once = jobs(args.jobs, len(args.paths))
        begun = stage(f"notebooks: pytest --nbval, {many(len(args.paths), 'notebook')}, {at_once} at a time")
        lock = threading.Lock()
        done = side_by_side(lambda path: check_notebook(path, root, lock), args.paths, at_once)
        closings += [text for _, text in done]
        bad = sum(code != 0 for code, _ in done)
        counted = f"{len(done) - bad} of {many(len(done), 'notebook')}"
        results["notebooks"] = (bad > 0, time.perf_counter() - begun, counted)
    say("\n=== summary ===")
    for name, (failed, seconds, detail) in results.items():
        say(f"{name:<10} {'FAILED' if failed else 'passed'}  {seconds:6.1f} s  {detail}")
    total = ", ".join(f"{number} {word}" for word, number in count(closings).items())
    if total:
        say(f"===== {total} in {time.perf_counter() - started:.2f}s =====")
    return int(any(failed for failed, _, _ in results.values()))
