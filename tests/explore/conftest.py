"""Node, which evaluates what the browser computes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from helpers import explore

RUN = """
import * as module from "./module.mjs";
let text = "";
for await (const part of process.stdin) text += part;
const value = ([name, args]) => (typeof module[name] === "function" ? module[name](...args) : module[name]);
process.stdout.write(JSON.stringify(JSON.parse(text).map(value)));
"""


@pytest.fixture(scope="session")
def node() -> str:
    path = shutil.which("node")
    if path is None and os.environ.get("CI") == "true":
        pytest.fail("node is not installed: the formulas of helpers/explore cannot be compared")
    return path or pytest.skip("node is not installed")


@pytest.fixture
def evaluate(node, tmp_path):
    """evaluate(name, [(function, arguments), ...]) -> values: of an explorable as it reaches the browser, or of kit."""

    def run(name: str, calls: list[tuple[str, list]]) -> list:
        kit = (explore.FOLDER / "kit.js").read_text(encoding="utf-8")
        (tmp_path / "module.mjs").write_text(kit if name == "kit" else explore.source(name), encoding="utf-8")
        (tmp_path / "run.mjs").write_text(RUN, encoding="utf-8")
        command = [node, str(tmp_path / "run.mjs")]
        done = subprocess.run(command, input=json.dumps(calls), capture_output=True, encoding="utf-8", timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
