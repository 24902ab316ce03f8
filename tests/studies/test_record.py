"""Recording: nothing is lost, nothing is run twice, and processes or cluster workers give what one process gives."""

from __future__ import annotations

import ast
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import distributed
import pytest

from helpers import race, record, store

ROOT = Path(__file__).resolve().parents[2]
TINY = race.Settings(d_model=16, n_heads=2, n_layers=1, train_len=16, batch=4, steps=12, lengths=(16, 32), segments=4)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A preset of a second, recorded into a temporary folder."""
    monkeypatch.setitem(race.PRESETS, "tiny", TINY)
    monkeypatch.setattr(store, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(record, "CACHE", tmp_path / "cache")
    return tmp_path


def losses(name: str) -> list[tuple]:
    """What was recorded of a contender, without the seconds."""
    return [(run.rows, run.curves) for run in race.study("tiny").load() if run.key["contender"] == name]


def test_recorded_seeds_are_not_run_again(tiny, monkeypatch):
    record.record_race(["none"], seeds=2, preset="tiny")
    monkeypatch.setattr(record, "race_run", lambda **_: pytest.fail("a recorded seed was run again"))
    record.record_race(["none"], seeds=2, preset="tiny")
    assert [r.seed for r in race.recorded("none", "tiny").results] == [0, 1]


def test_a_sweep_over_arguments_rates_and_budgets(tiny, capsys):
    """What a search needs: contenders with arguments, several rates and budgets, all in one table."""
    steep = race.Contender("alibi", {"slopes": [1, 0.5]})
    record.record_race(["alibi", steep], seeds=2, preset="tiny", lr=[3e-3, 9e-3], steps=[2, 12])
    assert "race_tiny: 16 runs missing" in capsys.readouterr().out
    assert len(race.study("tiny").recorded()) == 16
    band = race.recorded(steep, "tiny", lr=9e-3, steps=2)
    assert band.name == "alibi[slopes=1_0.5]" and [r.seed for r in band.results] == [0, 1]
    assert (band.settings.lr, band.settings.steps) == (9e-3, 2) and len(band.results[0].train) == 2
    own = race.recorded(steep, "tiny")
    assert own.settings == TINY and own.values(16) != race.recorded("alibi", "tiny").values(16)
    assert own.values(16) == race.recorded("alibi[slopes=1_0.5]", "tiny").values(16)
    with pytest.raises(FileNotFoundError, match=r'record race --preset tiny --only "rope\[base=500\]"`'):
        race.recorded("rope[base=500]", "tiny")


def test_a_stopped_recording_goes_on(tiny, monkeypatch):
    real = record.race_run

    def stop_at_seed_1(seed, **rest):
        if seed == 1:
            raise KeyboardInterrupt
        return real(seed=seed, **rest)

    monkeypatch.setattr(record, "race_run", stop_at_seed_1)
    with pytest.raises(KeyboardInterrupt):
        record.record_race(["none"], seeds=3, preset="tiny")
    assert len(losses("none")) == 1
    monkeypatch.setattr(record, "race_run", real)
    record.record_race(["none"], seeds=3, preset="tiny")
    assert len(losses("none")) == 3


def test_other_settings_are_refused(tiny, monkeypatch):
    record.record_race(["none"], seeds=1, preset="tiny")
    monkeypatch.setitem(race.PRESETS, "tiny", dataclasses.replace(TINY, batch=8))
    with pytest.raises(store.OtherSettings, match="batch was 4, now 8; move the folder away and run `python3 tasks.py"):
        record.record_race(["none"], seeds=2, preset="tiny")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs process groups")
def test_ctrl_c_reaches_the_recorder_and_not_its_workers(tmp_path):
    """No worker prints a traceback, and what was done stays. (What the command line prints: test_record_command.)"""
    program = f"""
from pathlib import Path
from helpers import race, record, store
store.RESULTS, record.CACHE = Path({str(tmp_path)!r}) / "results", Path({str(tmp_path)!r}) / "cache"
race.PRESETS["tiny"] = race.Settings(d_model=16, n_heads=2, n_layers=1, train_len=16, batch=4, lengths=(16, 32),
                                     segments=4)
try:
    record.record_race(["none"], 1, "tiny", steps=[2, 90_000, 90_001], jobs=2)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    for line in process.stdout:
        if "steps 2 " in line:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
            break
    rest, errors = process.communicate(timeout=120)
    assert "stopped" in rest and "Traceback" not in errors, errors
    assert "none,0.003,2,0,16,last," in (tmp_path / "results" / "race_tiny" / "table.csv").read_text()


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tiny):
    record.record_race(["none", "rope"], seeds=1, preset="tiny")
    one = {name: losses(name) for name in ("none", "rope")}
    race.study("tiny").about.unlink()
    record.record_race(["none", "rope"], seeds=1, preset="tiny", jobs=2)
    for name, ((rows, _),) in one.items():
        ((again, _),) = losses(name)
        assert [row["value"] for row in again] == pytest.approx([row["value"] for row in rows], abs=2e-3)


@pytest.mark.slow
def test_a_cluster_survives_the_loss_of_a_worker(tiny, monkeypatch):
    monkeypatch.setitem(race.PRESETS, "tiny", dataclasses.replace(TINY, steps=150))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        victim = list(cluster.workers.values())[0]

        def kill_when_first_result_is_in():
            while not race.study("tiny").about.exists():
                time.sleep(0.05)
            victim.process.process._process.kill()  # the worker's own process, as if the machine had gone

        thread = threading.Thread(target=kill_when_first_result_is_in, daemon=True)
        thread.start()
        record.record_race(["none"], seeds=6, preset="tiny", cluster=cluster.scheduler_address)
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert len(losses("none")) == 6


def calls(path: Path) -> list[ast.Call]:
    return [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]


def test_text_files_are_read_and_written_as_utf_8():
    """Without the name of an encoding Windows takes another one, and a result of this repository does not load."""
    sources = [*ROOT.glob("*.py"), *(ROOT / "helpers").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]
    text = [(p, c) for p in sources for c in calls(p) if getattr(c.func, "attr", "") in ("read_text", "write_text")]
    assert len(text) > 30
    assert [f"{p.name}:{c.lineno}" for p, c in text if "encoding" not in {k.arg for k in c.keywords}] == []


def test_recordings_are_written_whole():
    """A file that a next start takes up, or takes for finished, must never be half a file: only the store writes."""
    files = [p for p in (ROOT / "helpers").rglob("*.py") if p.name != "store.py" and "pretrained" not in p.parts]
    assert len(files) > 40
    for path in files:
        for call in calls(path):
            called = getattr(call.func, "attr", "") or getattr(call.func, "id", "")
            assert called not in ("write_text", "write_bytes", "save_file"), f"{path.name}:{call.lineno}"
