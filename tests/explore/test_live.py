"""Who gets the live version, in which form, and that no program ever does."""

from __future__ import annotations

import importlib.util
import re
import sys
import types

import anywidget
import matplotlib.pyplot as plt
import nbclient
import nbformat
import pytest

from helpers import explore

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def what():
    made = explore.own_sentence("a </script> b").explorable
    plt.close("all")
    return made


def test_programs_get_no_live_version(what, monkeypatch):
    monkeypatch.setenv("COURSE_STATIC", "1")
    assert explore.live_view(what) == ({}, {})
    monkeypatch.delenv("COURSE_STATIC")
    assert explore.live_view(what) == ({}, {}), "there is no kernel here, so nobody looks"


def test_a_reader_gets_a_widget_with_the_state(what, monkeypatch):
    monkeypatch.setenv("COURSE_STATIC", "0")
    data, _ = explore.live_view(what)
    assert list(data) == [VIEW] and data[VIEW]["model_id"]


def test_without_anywidget_a_reader_gets_one_piece_of_html(what, monkeypatch):
    monkeypatch.setenv("COURSE_STATIC", "0")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "anywidget" else find(name))
    (kind, text), *more = explore.live_view(what)[0].items()
    assert kind == "text/html" and not more
    assert text.count("</script>") == 1, "what is typed cannot end the script"
    places = re.findall(r"explore-[0-9a-f]{32}", text)
    assert len(places) == 2 and len(set(places)) == 1
    assert places[0] not in explore.live_view(what)[0]["text/html"], "two instances have two places"


def test_colab_gets_html(what, monkeypatch):
    monkeypatch.delenv("COURSE_STATIC", raising=False)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    assert list(explore.live_view(what)[0]) == ["text/html"]


@pytest.mark.parametrize("name", explore.names())
def test_no_part_of_a_state_has_the_name_of_something_in_a_widget(name):
    taken = set(dir(anywidget.AnyWidget))
    state = getattr(explore, name)().explorable.state
    plt.close("all")
    assert not taken & {*state, "dials"}


def test_a_notebook_executed_by_a_program_holds_the_still_twin_and_no_widget(monkeypatch):
    monkeypatch.delenv("COURSE_STATIC", raising=False)
    code = f"import sys; sys.path.insert(0, {str(explore.FOLDER.parents[1])!r})\nfrom helpers import display, explore\n"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code + "display.show(explore.two_arrows())")])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    shown = notebook.cells[0].outputs[0]
    assert set(shown.data) == {"image/png", "text/plain"} and "widgets" not in notebook.metadata
    assert shown.metadata["explorable"]["module"] == "two_arrows"
