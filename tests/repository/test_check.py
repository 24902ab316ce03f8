"""`test`: its stages, its parts and its closing line."""

from __future__ import annotations

import pytest

from tools import check, execute, figures
from tools.common import Stop
from tools.project import Project


@pytest.mark.parametrize("number", ["0", "-1", "two"])
@pytest.mark.parametrize("tool", [figures, execute, check], ids=["figures", "execute", "test"])
def test_a_number_of_jobs_starts_at_one(course, tool, number, capsys):
    with pytest.raises(SystemExit):
        tool.main(["--jobs", number], course)
    assert f"'{number}' is not a number from 1 up" in capsys.readouterr().err


def test_closing_lines_are_added_up():
    first = check.closing("noise\n==== 3 passed, 1 skipped in 2.31s ====\n")
    second = check.closing("==== 1 failed, 2 passed, 1 error in 61.02s (0:01:01) ====\n")
    assert check.count([first, second]) == {"passed": 5, "skipped": 1, "failed": 1, "errors": 1}
    assert check.closing("killed") == "no closing line"


def room_of_tests(course: Project, name: str) -> None:
    (course.root / "tests" / name).mkdir(parents=True)
    (course.root / "tests" / name / "test_it.py").write_text("", encoding="utf-8")


def test_every_stage_runs_and_a_failure_counts(course, monkeypatch, capsys):
    codes = {"ruff": 0, "tests/encodings": 0, "tests/studies": 0, "--nbval": 0}
    started = []

    def run(command, _):
        started.append(command[6])
        return codes[command[6]], "=== 2 passed in 0.10s ===", 700.0

    for name in ("encodings", "studies"):
        room_of_tests(course, name)
    monkeypatch.setattr(check, "tee", lambda command, _: (codes[command[2]], ""))
    monkeypatch.setattr(check, "recorded", run)
    assert check.main(["--jobs", "1"], course) == 0
    shown = capsys.readouterr().out
    assert started == ["tests/encodings", "tests/studies", "--nbval"]
    assert "lint       passed" in shown and "2 of 2 parts" in shown and "1 of 1 notebook" in shown
    assert "===== 6 passed in" in shown and "02  ok: 2 passed, 0 s, peak 700 MiB" in shown
    for name, line in (
        ("ruff", "lint       FAILED"), ("tests/studies", "tests      FAILED"), ("--nbval", "notebooks  FAILED"),
    ):  # fmt: skip
        codes[name] = 1
        assert check.main([], course) == 1
        assert line in capsys.readouterr().out
        codes[name] = 0


def test_some_tests_alone(course, monkeypatch):
    started = []
    answer = (0, "== 1 passed in 0.1s ==", None)
    monkeypatch.setattr(check, "recorded", lambda command, _: started.append(command[6:]) or answer)
    room_of_tests(course, "notebooks")
    assert check.main(["tests/notebooks"], course) == 0
    assert len(started) == 1 and started[0][0] == "tests/notebooks"
    assert check.parse(["tests/notebooks", "--only", "2"], course).stages == ["unit", "notebooks"]
    with pytest.raises(Stop, match="'tests/nothing' is not there"):
        check.parse(["tests/nothing"], course)
