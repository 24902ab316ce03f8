"""`format`: saved in the course's form without a run."""

from __future__ import annotations

import base64
import io
import json

import nbformat
import pytest

from tests.repository.miniature import outputs, picture, run_of, the_notebook
from tools import format, parameters
from tools.common import Stop
from tools.notebook import doubtful
from tools.project import load


def test_doubtful_outputs_are_named():
    def cell(**output):
        return {"cell_type": "code", "source": "x", "id": "a", "outputs": [output]}

    address = cell(output_type="execute_result", metadata={}, data={"text/plain": ["<object at 0x7fdb50252c10>"]})
    stderr = cell(output_type="stream", name="stderr", text=["careful"])
    picture = cell(output_type="display_data", metadata={}, data={"image/png": "", "text/plain": "<Figure>"})
    fine = cell(output_type="stream", name="stdout", text=["0x1"])
    words = [" ".join(doubtful({"cells": [one]})) for one in (address, stderr, picture, fine)]
    assert "address" in words[0] and "careful" in words[1] and "helpers.show" in words[2] and not words[3]


def test_format_saves_what_an_editor_changed_without_running_it(course, capsys):
    path = the_notebook(course)
    assert format.main([], course) == 0
    formatted = path.read_bytes()
    assert format.main(["--check"], course) == 0
    edited = json.loads(formatted)
    edited["cells"][0]["source"] = ["A typo, corrected"]
    edited["cells"][2]["metadata"]["collapsed"] = False
    edited["metadata"] = {}
    path.write_text(json.dumps(edited, indent=2), encoding="utf-8")
    with pytest.raises(Stop, match="python3 tasks.py format"):
        format.main(["--check"], course)
    with pytest.raises(Stop, match="python3 tasks.py format"):
        parameters.declared(path)
    assert format.main([], course) == 0
    assert path.read_bytes() == formatted.replace(b'"source": []', b'"source": [\n    "A typo, corrected"\n   ]', 1)
    assert "02_sinusoidal.ipynb" in capsys.readouterr().out


def test_format_puts_back_the_picture_that_jupyterlab_drew_over(course):
    """It draws its own as soon as the mouse enters an interactive figure, and saves it with the notebook."""
    from PIL import Image

    path, saved, buffer = the_notebook(course), picture(), io.BytesIO()
    Image.new("RGB", (30, 20), "white").save(buffer, "png")
    (course.figures / "02_loss.png").write_bytes(saved)
    for drawn, kept in ((buffer.getvalue(), saved), (picture("another"), picture("another")), (saved, saved)):
        notebook = run_of(outputs("a", drawn))
        path.write_text(nbformat.writes(notebook), encoding="utf-8")
        assert format.main([], course) == 0
        shown = load(path)["cells"][0]["outputs"][1]["data"]["image/png"]
        assert base64.b64decode("".join(shown)) == kept
