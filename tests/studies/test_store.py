"""The store: whole writes and locks under two processes, settings that must agree, files that cannot be read."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pandas
import pytest
import torch

from helpers import store

ROOT = Path(__file__).resolve().parents[2]


def two_processes(program: str, *arguments) -> None:
    """Run a program twice at once, with 0 and 1 as its first argument; both must end well."""
    start = "import json\nimport sys\nfrom pathlib import Path\nfrom helpers import store\n"
    command = [sys.executable, "-c", start + program]
    running = [
        subprocess.Popen([*command, str(n), *map(str, arguments)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for n in range(2)
    ]
    errors = [process.communicate()[1] for process in running]
    assert [p.returncode for p in running] == [0, 0], "\n".join(errors)


def test_two_writers_and_a_reader_see_only_whole_files(tmp_path):
    file = tmp_path / "result.json"
    store.write_whole(file, json.dumps(["start"] * 2000).encode())
    seen, over = set(), threading.Event()

    def read():
        while not over.is_set():
            seen.add(tuple(set(json.loads(file.read_text(encoding="utf-8")))))

    reader = threading.Thread(target=lambda: seen.add(failure(read)))
    reader.start()
    try:
        two_processes(
            "for turn in range(200):\n"
            "    content = [f'{sys.argv[1]} {turn}'] * (500 + 7 * turn)\n"
            "    store.write_whole(sys.argv[2], json.dumps(content).encode())\n",
            file,
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
        "        store.write_whole(path, json.dumps(content).encode())\n"
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


# ------------------------------------------------------------------------------------------------ a study's folder


@pytest.fixture
def study(tmp_path, monkeypatch) -> store.Study:
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    return store.Study("toy", ("contender", "seed"), ("length", "depth"), {"lengths": (64, 128)}, "python3 tasks.py x")


def run(contender: str, seed: int, base: float = 1.0, device: str = "cpu") -> store.Run:
    return store.Run(
        rows=[
            {"length": 64, "score": "last", "value": base},
            {"length": 64, "depth": 0.5, "score": "recall", "value": 1},
            {"length": 128, "depth": 0.5, "score": "recall", "value": 0.25},
        ],
        curves=[{"length": 64, "score": "loss", "values": [base, 2.5]}, {"score": "train", "values": [None, 3.0]}],
        key={"contender": contender, "seed": seed},
        seconds=1.5,
        made={"device": device},
    )


def test_what_is_added_is_what_is_loaded_whatever_the_order(study):
    for key in (("rope[base=500]", 1), ("none", 10), ("rope[base=500]", 0), ("none", 2)):
        study.add(run(*key))
    runs = study.load()
    assert [tuple(r.key.values()) for r in runs] == sorted(study.recorded())
    assert [r.key["seed"] for r in runs] == [2, 10, 0, 1]  # numbers as numbers
    for loaded in runs:
        fresh = run(**loaded.key)
        assert (loaded.rows, loaded.curves, loaded.seconds, loaded.made) == (
            fresh.rows, fresh.curves, fresh.seconds, fresh.made
        )  # fmt: skip
    assert runs[0].value("last", length=64) == 1.0 and runs[0].value("recall", depth=0.5, length=128) == 0.25
    assert runs[0].curve("loss", length=64) == [1.0, 2.5] and runs[0].curve("train") == [None, 3.0]
    files = {file.name: file.read_bytes() for file in study.folder.iterdir()}
    other = dataclasses.replace(study, name="again")
    for loaded in reversed(runs):
        other.add(loaded)
    assert {file.name: file.read_bytes() for file in other.folder.iterdir()} == files  # no order, no date, no machine
    assert files["table.csv"].startswith(b"contender,seed,length,depth,score,value\nnone,2,64,,last,1.0\n")


def test_a_table_is_one_that_pandas_reads(study):
    study.add(run("none", 0, 0.1 + 0.2))
    table = pandas.read_csv(study.folder / "table.csv", keep_default_na=False, na_values=[""])
    assert list(table.columns) == ["contender", "seed", "length", "depth", "score", "value"]
    assert table.contender.tolist() == ["none"] * 3 and table.value[0] == pytest.approx(0.3, rel=1e-15)


def test_missing_keeps_the_order_asked_for(study):
    assert study.missing([("b", 0), ("a", 0)]) == [("b", 0), ("a", 0)]
    study.add(run("a", 0))
    assert study.missing([("b", 0), ("a", 0), ("a", 1)]) == [("b", 0), ("a", 1)]


def test_a_run_recorded_again_takes_the_place_of_the_old_one(study):
    study.add(run("a", 0, 1.0))
    study.add(run("a", 0, 2.0))
    (only,) = study.load()
    assert only.value("last", length=64) == 2.0


def test_every_run_keeps_what_made_it(study):
    for n, device in enumerate(("cpu", "a card", "cpu")):
        study.add(run("a", n, device=device))
    assert [r.made["device"] for r in study.load()] == ["cpu", "a card", "cpu"]
    assert len(store.read_json(study.about)["made"]) == 2  # each set once


def test_other_settings_are_refused_when_reading_on_and_when_adding(study):
    study.add(run("a", 0))
    other = dataclasses.replace(study, settings={"lengths": (64, 256)})
    for call in (other.recorded, lambda: other.missing([("a", 1)]), lambda: other.add(run("a", 1))):
        with pytest.raises(store.OtherSettings, match=r"lengths was \[64, 128\], now \[64, 256\]; move the folder"):
            call()
    assert len(study.load()) == 1 and study.stored_settings() == {"lengths": [64, 128]}


def test_what_does_not_fit_the_table_is_refused(study):
    good = run("a", 0)
    with pytest.raises(ValueError, match=r"columns=\['contender'\]: a run of toy has"):
        study.add(dataclasses.replace(good, key={"contender": "a"}))
    with pytest.raises(ValueError, match=r"rows=\['size'\]"):
        study.add(dataclasses.replace(good, rows=[{"size": 64, "score": "last", "value": 1}]))
    with pytest.raises(ValueError, match="one number a place and score"):
        study.add(dataclasses.replace(good, rows=2 * good.rows))
    with pytest.raises(ValueError, match=r"has no 'recall' at \{'length': 64\}; it has .*'depth': 0.5"):
        good.value("recall", length=64)
    with pytest.raises(ValueError, match="has no 'loss' at .*; it has last, recall"):
        good.value("loss", length=64)
    assert not study.folder.exists()


def test_nothing_recorded_names_the_command(study):
    with pytest.raises(FileNotFoundError, match=r"nothing is recorded in .*toy: run `python3 tasks.py x`\."):
        study.load()


@pytest.mark.parametrize("file", ["about.json", "table.csv", "curves.jsonl"])
@pytest.mark.parametrize("keep", [0.0, 0.4, 0.9])
def test_a_file_cut_short_is_named(study, file, keep):
    for seed in range(3):
        study.add(run("a", seed))
    path = study.folder / file
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(store.BrokenFile, match=rf"toy/{file} cannot be read .*`python3 tasks.py x`"):
        study.load()


def test_a_file_cut_short_between_lines_or_gone_is_named(study):
    study.add(run("a", 0))
    path = study.folder / "table.csv"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    with pytest.raises(store.BrokenFile, match=r"table\.csv cannot be read \(.* has 2 entries of 3\)"):
        study.load()
    path.unlink()
    with pytest.raises(store.BrokenFile, match=r"table\.csv cannot be read \(.* has 0 entries of 3\)"):
        study.load()


def test_a_recorder_killed_between_two_files_loses_one_run(study, monkeypatch):
    study.add(run("a", 0))
    real = store.write_whole

    def killed(path, data):
        if path.name == "about.json":
            raise KeyboardInterrupt
        real(path, data)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "write_whole", killed)
        study.add(run("a", 1))
    assert [r.key["seed"] for r in study.load()] == [0] and study.missing([("a", 0), ("a", 1)]) == [("a", 1)]
    study.add(run("a", 1))
    assert len(study.load()) == 2


def test_two_recorders_of_one_study_lose_nothing(tmp_path):
    program = (
        "store.RESULTS = Path(sys.argv[2])\n"
        "study = store.Study('toy', ('contender', 'seed'), ('length',), {}, 'python3 tasks.py x')\n"
        "for seed in range(20):\n"
        "    rows = [{'length': n, 'score': 'last', 'value': seed + n} for n in range(50)]\n"
        "    study.add(store.Run(rows, [{'score': 'train', 'values': [1.0] * 100}],\n"
        "                        key={'contender': 'ab'[int(sys.argv[1])], 'seed': seed}))\n"
    )
    two_processes(program, tmp_path)
    study = store.Study("toy", ("contender", "seed"), ("length",), {}, "python3 tasks.py x")
    store.RESULTS, kept = tmp_path, store.RESULTS
    try:
        assert len(study.load()) == 40
    finally:
        store.RESULTS = kept


@pytest.mark.parametrize("folder", sorted(p.parent.name for p in store.RESULTS.glob("*/about.json")))
def test_every_recorded_study_is_whole(folder):
    """Counts agree, every run has a maker, and the files are as the store itself would write them."""
    about = store.read_json(store.RESULTS / folder / "about.json")
    run_columns = [c for c in about["runs"][0] if c not in ("rows", "curves", "seconds", "made")]
    table = store.RESULTS / folder / "table.csv"
    columns = table.read_text(encoding="utf-8").split("\n")[0].split(",")[:-2] if table.exists() else []
    at = [c for c in columns if c not in run_columns]
    study = store.Study(folder, tuple(run_columns), tuple(at), about["settings"], about["command"])
    runs = study.load()
    assert runs and all(r.made and r.rows or r.curves or folder == "no_encoding" for r in runs)
    files = {f: f.read_bytes() for f in study.folder.glob("*") if f.suffix in (".csv", ".json", ".jsonl")}
    with pytest.MonkeyPatch.context() as patch:
        written = {}
        patch.setattr(store, "write_whole", lambda path, data: written.update({path: data}))
        study._write({study.key(**r.key): r for r in runs})
    assert written == files


def test_the_table_of_results_names_every_folder_its_command_and_its_fields():
    lines = (store.RESULTS / "README.md").read_text(encoding="utf-8").splitlines()
    rows = {cells[1].strip("` "): cells for cells in (line.split("|") for line in lines) if len(cells) == 8}
    folders = {path.parent.name for path in store.RESULTS.glob("*/about.json")}
    assert {
        name for name in rows if name not in ("folder", "---", "")
    } == folders  # "": a second command of the folder above
    for folder in folders:
        _, _, _, command, fields, _, minutes, _ = rows[folder]
        about = store.read_json(store.RESULTS / folder / "about.json")
        assert about["command"].startswith(command.strip(" `")) and int(minutes) > 0
        run, _, at = fields.partition(";")
        listed = [[name.strip() for name in part.split(",") if name.strip()] for part in (run, at)]
        assert listed[0] == [c for c in about["runs"][0] if c not in ("rows", "curves", "seconds", "made")]
        table = store.RESULTS / folder / "table.csv"
        if table.exists():
            columns = table.read_text(encoding="utf-8").split("\n")[0].split(",")
            assert set(listed[1]) <= set(columns) and set(columns) - {*listed[0], *listed[1]} <= {
                "pair",
                "score",
                "value",
            }
