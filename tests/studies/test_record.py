"""Recording: nothing is lost, nothing is run twice, and processes or cluster workers give what one process gives."""

from __future__ import annotations

import ast
import json
import threading
import time
from pathlib import Path

import distributed
import pytest
import torch

from helpers import race, record

ROOT = Path(__file__).resolve().parents[2]
TINY = race.Settings(d_model=16, n_heads=2, n_layers=1, train_len=16, batch=4, steps=12, lengths=(16, 32), segments=4)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A preset of a second, recorded into a temporary folder."""
    monkeypatch.setitem(race.PRESETS, "tiny", TINY)
    monkeypatch.setattr(race, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(record, "CACHE", tmp_path / "cache")
    return tmp_path


def losses(name: str) -> list[dict]:
    """What was recorded, without the seconds."""
    stored = json.loads(race.result_file(name, "tiny").read_text())
    return [{key: entry[key] for key in ("loss", "last", "train")} for entry in stored["seeds"].values()]


def test_recorded_seeds_are_not_run_again(tiny, monkeypatch):
    record.record(["none"], seeds=2, preset="tiny")
    monkeypatch.setattr(record, "unit", lambda *args: pytest.fail("a recorded seed was run again"))
    record.record(["none"], seeds=2, preset="tiny")
    assert [r.seed for r in race.recorded("none", "tiny").results] == [0, 1]


def test_a_stopped_recording_goes_on(tiny, monkeypatch):
    real = record.unit

    def stop_at_seed_1(name, seed, *rest):
        if seed == 1:
            raise KeyboardInterrupt
        return real(name, seed, *rest)

    monkeypatch.setattr(record, "unit", stop_at_seed_1)
    with pytest.raises(KeyboardInterrupt):
        record.record(["none"], seeds=3, preset="tiny")
    assert len(losses("none")) == 1
    monkeypatch.setattr(record, "unit", real)
    record.record(["none"], seeds=3, preset="tiny")
    assert len(losses("none")) == 3


def test_other_settings_are_refused(tiny, monkeypatch):
    record.record(["none"], seeds=1, preset="tiny")
    monkeypatch.setitem(race.PRESETS, "tiny", race.Settings(steps=3))
    with pytest.raises(RuntimeError, match="other settings"):
        record.record(["none"], seeds=2, preset="tiny")


def test_an_interrupted_training_run_ends_as_if_it_had_not_been(tmp_path):
    whole = race.make_model("rope", TINY, seed=0)
    expected = race.train(whole, TINY, seed=0)

    class Stopped(Exception):
        pass

    def stop_before_step_7(model, args):
        model.calls = getattr(model, "calls", 0) + 1
        if model.calls > 7:
            raise Stopped

    model = race.make_model("rope", TINY, seed=0)
    hook = model.register_forward_pre_hook(stop_before_step_7)
    file = tmp_path / "unfinished.pt"
    with pytest.raises(Stopped):
        race.train(model, TINY, seed=0, checkpoint=file, every=5)
    hook.remove()
    assert file.exists()
    fresh = race.make_model("rope", TINY, seed=123)  # other weights: those of the checkpoint must win
    assert race.train(fresh, TINY, seed=0, checkpoint=file, every=5) == expected
    assert not file.exists()
    for a, b in zip(whole.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tiny):
    record.record(["none", "rope"], seeds=1, preset="tiny")
    one = {name: losses(name) for name in ("none", "rope")}
    for name in one:
        race.result_file(name, "tiny").unlink()
    record.record(["none", "rope"], seeds=1, preset="tiny", jobs=2)
    for name in one:
        assert losses(name)[0]["last"] == pytest.approx(one[name][0]["last"], abs=2e-3)


@pytest.mark.slow
def test_a_cluster_survives_the_loss_of_a_worker(tiny, monkeypatch):
    slow = race.Settings(**{**TINY.__dict__, "steps": 150})
    monkeypatch.setitem(race.PRESETS, "tiny", slow)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        victim = list(cluster.workers.values())[0]

        def kill_when_first_result_is_in():
            file = race.result_file("none", "tiny")
            while not file.exists():
                time.sleep(0.05)
            victim.process.process._process.kill()  # the worker's own process, as if the machine had gone

        thread = threading.Thread(target=kill_when_first_result_is_in, daemon=True)
        thread.start()
        record.record(["none"], seeds=6, preset="tiny", cluster=cluster.scheduler_address)
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert len(losses("none")) == 6


def calls(path: Path) -> list[ast.Call]:
    return [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]


def test_text_files_are_read_and_written_as_utf_8():
    """Without the name of an encoding Windows takes another one, and a result of this repository does not load."""
    sources = [ROOT / "tasks.py", ROOT / "conftest.py", *(ROOT / "helpers").rglob("*.py")]
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
