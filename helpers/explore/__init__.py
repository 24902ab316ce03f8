"""The explorables: what a still picture cannot show. One pair of files each, ``NAME.py`` and ``NAME.js``.

``NAME.py`` lists the dials (:class:`Slider`, :class:`Choice`, :class:`Text`) and defines the function ``NAME``, which
draws the still twin from :mod:`helpers.encodings` and returns it as a :class:`~helpers.plotting.Picture`. A notebook
says ``show(explore.NAME(...))``. The saved notebook keeps the twin; whoever sits in front of JupyterLab gets the live
version in its place.

``NAME.js`` is a plain ES module that exports its pure functions and, as default, ``{render({model, el})}``. It computes
in the browser, needs no kernel, and gets every label and range from the Python file. A test evaluates its functions
against :mod:`helpers.encodings`. What several modules need (dials, axes, styles) stands in ``kit.js``. Data that a
module carries with it stand in ``NAME.data.json`` (made by ``tools/explore_data.py``): its constant ``DATA``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
import re
import sys
import types
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from ..plotting import Explorable, Picture
from ..validate import one_of, require

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Slider:
    """A number from ``low`` to ``high`` in steps; ``log`` moves in equal ratios. ``unit`` is written behind it."""

    key: str
    label: str
    low: float
    high: float
    step: float = 1
    log: bool = False
    unit: str = ""

    def check(self, value: Any) -> None:
        """ValueError if the dial cannot stand there."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        require(number and self.low <= value <= self.high, self.key, value, f"use {self.low} to {self.high}.")


@dataclass(frozen=True)
class Choice:
    """One of several named options."""

    key: str
    label: str
    options: tuple[str, ...]

    def check(self, value: Any) -> None:
        """ValueError if it is none of the options."""
        one_of(self.key, value, self.options)


@dataclass(frozen=True)
class Text:
    """A line that the reader writes."""

    key: str
    label: str
    longest: int = 80

    def check(self, value: Any) -> None:
        """ValueError if it is no text, or too long to draw."""
        short = isinstance(value, str) and len(value) <= self.longest
        require(short, self.key, value, f"write at most {self.longest} characters.")


Dial = Slider | Choice | Text


def checked(dials: Sequence[Dial], **state: Any) -> dict[str, Any]:
    """The state, or a ValueError on a dial without a value or a value that its dial cannot take.

    The first line of every NAME: nothing is computed from a value that is no number.
    """
    for dial in dials:
        require(dial.key in state, "state", sorted(state), f"there is a dial {dial.key!r}: give its value.")
        dial.check(state[dial.key])
    return state


def explorable(
    name: str, dials: Sequence[Dial], state: dict[str, Any], fig: plt.Figure, picture: str, alt: str, caption: str
) -> Picture:
    """The still twin, with all that the live version needs.

    Args:
        name: of the module, "two_arrows".
        dials: in the order in which they stand.
        state: key of a dial -> where it stands. Keys without a dial are what is dragged in the drawing.
        fig, picture, alt, caption: the still twin at this state: ``Picture``'s fig, name, alt, caption.

    Raises:
        ValueError: as :func:`checked`.
    """
    checked(dials, **state)
    live = Explorable(name, dict(state), [{"kind": type(d).__name__.lower(), **asdict(d)} for d in dials])
    return Picture(fig, picture, alt, caption, explorable=live)


def names() -> list[str]:
    """All explorables."""
    return sorted(path.stem for path in FOLDER.glob("*.js") if path.stem != "kit")


def __getattr__(name: str) -> Callable[..., Picture]:
    """``explore.NAME`` is the function NAME of the file NAME.py (PEP 562)."""
    if name.startswith("_") or not (FOLDER / f"{name}.js").is_file():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module(name), name)


def module(name: str) -> types.ModuleType:
    """The file NAME.py, with its DIALS and its numbers."""
    return importlib.import_module(f"{__name__}.{name}")


class _Functions(types.ModuleType):
    """Importing the file NAME puts its function here. Python by itself would put the module in the function's place."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, getattr(value, name, value) if isinstance(value, types.ModuleType) else value)


sys.modules[__name__].__class__ = _Functions


# --------------------------------------------------------------------------------------------------- the live version


def somebody_looks() -> bool:
    """True in a notebook that a person runs. Programs (papermill, nbval, nbconvert) get the still twin.

    ``COURSE_STATIC`` set to 1 or 0 decides; else a person's front end is one that may ask for input.
    """
    if "COURSE_STATIC" in os.environ:
        return os.environ["COURSE_STATIC"] != "1"
    if "google.colab" in sys.modules:
        return True
    from IPython import get_ipython

    try:
        return bool(get_ipython().kernel.get_parent("shell")["content"].get("allow_stdin"))
    except (AttributeError, KeyError, TypeError):
        return False


@functools.cache
def data(name: str) -> Any:
    """What ``NAME.data.json`` holds; None without such a file."""
    path = FOLDER / f"{name}.data.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


@functools.cache
def source(name: str) -> str:
    """The JavaScript of an explorable as one module: kit.js and its data are written in front of it."""
    own = (FOLDER / f"{name}.js").read_text(encoding="utf-8")
    kit = (FOLDER / "kit.js").read_text(encoding="utf-8")
    own = re.sub(r'(?ms)^import \{[^}]*\} from "\./kit\.js";\n', "", own)
    carried = "" if data(name) is None else f"const DATA = {json.dumps(data(name), separators=(',', ':'))};\n"
    return re.sub(r"(?m)^export (?!default)", "", kit) + carried + own


@functools.cache
def _widget_class(name: str, keys: tuple[str, ...]) -> type:
    import anywidget
    import traitlets

    traits = {key: traitlets.Any().tag(sync=True) for key in (*keys, "dials")}
    return type(name, (anywidget.AnyWidget,), {"_esm": source(name), **traits})


_MODEL = """class Model {
  constructor(state) { [this.state, this.listeners] = [state, new Map()]; }
  get(key) { return this.state[key]; }
  set(key, value) {
    if (this.state[key] === value) return;
    this.state[key] = value;
    for (const listener of [...(this.listeners.get(`change:${key}`) ?? [])]) listener();
  }
  on(event, listener) { this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]); }
  off(event, gone) { this.listeners.set(event, (this.listeners.get(event) ?? []).filter((one) => one !== gone)); }
  save_changes() {}
}"""


def page(what: Explorable) -> str:
    """The live version as a piece of HTML that needs neither a widget nor a kernel: module, state and place in one."""
    place = f"explore-{uuid.uuid4().hex}"
    state = json.dumps({**what.state, "dials": what.dials}, ensure_ascii=False).replace("<", "\\u003c")
    start = f'render({{ model: new Model({state}), el: document.getElementById("{place}") }});'
    return (
        f'<div id="{place}" data-explorable="{what.module}"></div>\n<script type="module">\n'
        f"{source(what.module)}\n{_MODEL}\n{start}\n</script>"
    )


def live_view(what: Explorable) -> tuple[dict[str, Any], dict[str, Any]]:
    """Data and metadata of the output that shows the live version; both empty where nobody looks.

    A widget where there is anywidget, else a piece of HTML. Colab gets the HTML too: widgets that do not come with
    it work there only after a setting of its own.
    """
    if not somebody_looks():
        return {}, {}
    if "google.colab" in sys.modules or importlib.util.find_spec("anywidget") is None:
        return {"text/html": page(what)}, {}
    widget = _widget_class(what.module, tuple(what.state))(**what.state, dials=what.dials)
    made = widget._repr_mimebundle_()
    data, metadata = made if isinstance(made, tuple) else (made, {})
    view = "application/vnd.jupyter.widget-view+json"
    return {view: data[view]}, metadata
