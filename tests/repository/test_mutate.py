"""The record of the mutation run goes stale with the files it is about."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.encodings.kept import experiments
from tools import evidence, mutate

SOURCE = '''"""A page."""

# why
def f(x: int) -> int:
    """Words."""
    return x + 1  # one more
'''


def test_the_record_says_which_files_changed_since_their_mutants_ran():
    record = evidence.mutants()
    changed = {name: why for name, why in mutate.stale(record).items() if Path(name).stem not in experiments()}
    marked = {name for name, entry in record["files"].items() if entry["stale"]}
    unsaid = {name: why for name, why in changed.items() if name not in marked}
    remedy = "run `python3 tasks.py mutate --only NAME` (minutes), or say so: `python3 tasks.py mutate --mark-stale`"
    assert not unsaid, f"{unsaid}: {remedy}; then python3 tasks.py evidence"
    assert marked <= set(changed), f"{sorted(marked - set(changed))} are marked and current: mutate --mark-stale"
    if changed:
        warnings.warn(f"mutants to be run again: {changed}", stacklevel=1)


def test_survivors_are_lines_of_the_files_that_were_run():
    record = evidence.mutants()
    for survivor in record["survivors"]:
        entry = record["files"][survivor["file"]]
        text = (mutate.FOLDER / survivor["file"]).read_text(encoding="utf-8")
        here = survivor["from"] in [line.strip() for line in text.splitlines()]
        assert here or entry["stale"], f"{survivor['file']} has no line {survivor['from']!r}"


@pytest.mark.parametrize("change", [("A page.", "Pages."), ("# why\n", "# because\n\n"), ('    """Words."""\n', "")])
def test_words_do_not_make_a_file_stale(change):
    assert mutate.code_hash(SOURCE) == mutate.code_hash(SOURCE.replace(*change))


@pytest.mark.parametrize("change", [("x + 1", "x + 2"), ("f(x", "f(y"), ("return x", "return -x"), ("# one", "# two")])
def test_code_does(tmp_path, change):
    record = {"files": {"some.py": {"run": "2026-01-01", "code": mutate.code_hash(SOURCE)}}}
    file = tmp_path / "some.py"
    file.write_text(SOURCE, encoding="utf-8")
    assert mutate.stale(record, tmp_path) == {}
    file.write_text(SOURCE.replace(*change), encoding="utf-8")
    assert mutate.stale(record, tmp_path) == {"some.py": "changed since its run on 2026-01-01"}
    (tmp_path / "new.py").write_text(SOURCE, encoding="utf-8")
    assert mutate.stale(record, tmp_path)["new.py"] == "never run"
