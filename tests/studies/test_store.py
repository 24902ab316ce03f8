"""The store: whole writes and locks under two processes, settings that must agree, files that cannot be read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from helpers import store

ROOT = Path(__file__).resolve().parents[2]


def two_processes(program: str, *arguments) -> None:
    """Run a program twice at once, with 0 and 1 as its first argument; both must end well."""
    start = "import sys\nfrom pathlib import Path\nfrom helpers import store\n"
    command = [sys.executable, "-c", start + program]
    running = [
        subprocess.Popen([*command, str(n), *map(str, arguments)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for n in range(2)
    ]
    errors = [process.communicate()[1] for process in running]
    assert [p.returncode for p in running] == [0, 0], "\n".join(errors)


def test_two_writers_and_a_reader_see_only_whole_files(tmp_path):
    file = tmp_path / "result.json"
    store.write_json(file, ["start"] * 2000)
    seen, over = set(), threading.Event()

    def read():
        while not over.is_set():
            seen.add(tuple(set(json.loads(file.read_text(encoding="utf-8")))))

    reader = threading.Thread(target=lambda: seen.add(failure(read)))
    reader.start()
    try:
        two_processes(
            "for turn in range(200): store.write_json(sys.argv[2], [f'{sys.argv[1]} {turn}'] * (500 + 7 * turn))", file
        )
    finally:
        over.set()
        reader.join()
    assert None in seen and len(seen) > 2  # the reader ended well, and saw more than the first file
    assert all(content is None or len(content) == 1 for content in seen)
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]  # no temporary file is left


def failure(call) -> str | None:
    try:
        return call()
    except Exception as error:
        return repr(error)


def test_two_processes_that_add_under_the_lock_lose_nothing(tmp_path):
    file = tmp_path / "folder" / "table.json"
    program = (
        "path = Path(sys.argv[2])\n"
        "for turn in range(60):\n"
        "    with store.locked(path):\n"
        "        content = store.read_json(path) if path.exists() else {}\n"
        "        content[f'{sys.argv[1]} {turn}'] = turn\n"
        "        store.write_json(path, content)\n"
    )
    two_processes(program, file)
    assert len(store.read_json(file)) == 120


def test_a_lock_that_is_not_let_go_of_ends_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    with store.locked(tmp_path / "a.json"):
        with store.locked(tmp_path / "b.json"):  # another file is free
            pass
        with pytest.raises(RuntimeError, match=r"held .*a\.json for 0 s: end it"), store.locked(tmp_path / "a.json"):
            pytest.fail("two held one file")
    with store.locked(tmp_path / "a.json"):
        pass


def test_a_broken_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "result.json"
    store.write_whole(file, b"old")

    def full(*_):
        raise OSError("the disk is full")

    for broken in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, broken, full)
            with pytest.raises(OSError, match="full"):
                store.write_whole(file, b"new")
        assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]


def test_windows_is_asked_again_while_somebody_reads(tmp_path, monkeypatch):
    real, refusals = os.replace, iter([PermissionError("in use"), PermissionError("in use")])

    def busy(*paths):
        for refusal in refusals:
            raise refusal
        real(*paths)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(store, "WINDOWS", True)
    store.write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(PermissionError("read-only")))
    monkeypatch.setattr(store, "WINDOWS", False)  # elsewhere it means what it says
    with pytest.raises(PermissionError, match="read-only"):
        store.write_whole(tmp_path / "a", b"newer")


def test_text_is_utf_8_with_plain_line_ends(tmp_path):
    store.write_json(tmp_path / "a.json", {"é": [1, 2]})
    assert (tmp_path / "a.json").read_bytes() == '{\n "é": [\n  1,\n  2\n ]\n}\n'.encode()


@pytest.mark.parametrize("content", ['{"a": [1, 2', "", "\xff"])
def test_a_file_that_cannot_be_read_is_named_with_the_way_back(tmp_path, monkeypatch, content):
    monkeypatch.setattr(store, "ROOT", tmp_path)
    for path, way in (("results/a.json", "git checkout -- results/a.json"), (".cache/a.json", "delete it")):
        file = tmp_path / path
        file.parent.mkdir()
        file.write_text(content, encoding="latin-1")
        with pytest.raises(store.BrokenFile, match=rf"^{path} cannot be read \(.*\): .*{way}.*`python3 x`\.$"):
            store.read_json(file, "python3 x")


def test_a_file_that_is_not_there_names_its_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="a.json is not there.*record it again with `python3 x`"):
        store.read_json(tmp_path / "a.json", "python3 x")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"lr": 1e-5, "task": {"lengths": (64, 128)}}, r"lr was 0\.003, now 1e-05"),
        ({"lr": 3e-3, "task": {"lengths": (64, 256)}}, r"task\.lengths was \[64, 128\], now \[64, 256\]"),
        ({"lr": 3e-3, "task": {}}, r"task\.lengths was \[64, 128\], now not there"),
        ({"lr": 3e-3, "task": {"lengths": (64, 128)}, "new": None}, r"new was not there, now null"),
    ],
)
def test_other_settings_are_refused_by_name_and_value(wanted, words):
    stored = {"lr": 0.003, "task": {"lengths": [64, 128]}}
    store.check_settings(ROOT / "results" / "x.json", stored, stored, "move it")
    store.check_settings(ROOT / "results" / "x.json", stored, {"lr": 3e-3, "task": {"lengths": (64, 128)}}, "move it")
    with pytest.raises(store.OtherSettings, match=rf"^results/x\.json was .*{words}; move it\.$"):
        store.check_settings(ROOT / "results" / "x.json", stored, wanted, "move it")


def test_provenance_names_the_processor_that_ran(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the card of {device}")
    assert store.provenance("cpu", text="t") == {**store.provenance(), "text": "t"}
    assert store.provenance()["device"] == "cpu" and store.provenance()["torch"] == torch.__version__.split("+")[0]
    assert store.provenance("cuda:1")["device"] == "the card of cuda:1"
    assert store.provenance("mps")["device"] == "mps"
