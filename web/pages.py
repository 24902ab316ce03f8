"""What a page says otherwise than the text or the notebook it is made from. No Sphinx here, so that tests are quick."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection
from urllib.parse import unquote

LINK = re.compile(r"(?<!!)\[([^\[\]]{1,200})\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
FIGURE = re.compile(r"figures/((\d\d)_\w+)\.png")
PLAIN = re.compile(r"%(?!20|28|29)[0-9A-F]{2}", re.I)  # what Markdown's links can have as it is
BADGE = re.compile(r"\[!\[(Open in \w+)\]\(https://[^)\s]+\)\]\((https://[^)\s]+)\)")
TASK = re.compile(r"(?m)^(\s*[-*] )\[ \] ")  # a box that nobody could tick
FOLDED = {"setup", "parameters"}  # tags of cells whose code a reader of the page does not need
CONTENTS = """

```{toctree}
:hidden:
:glob:
notebooks/*
GLOSSARY
```

```{toctree}
:hidden:
:glob:
:caption: For instructors
teaching/README
teaching/0*
teaching/*
```
"""


def slug(title: str) -> str:
    """The anchor of a heading as JupyterLab and GitHub's notebook page make it: "The race" -> "The-race"."""
    return title.strip().replace(" ", "-")


def text(markdown: str, name: str, known: Collection[str], address: str = "") -> str:
    """Markdown as its page needs it.

    A link to the file of a figure leads to its place in its notebook, which shows it full screen. Links to files that
    are no page lead to the repository, or to nothing while it has no address. A badge is a picture from elsewhere: it
    becomes a link in words. Boxes to tick are left out.

    Args:
        name: of the page, "notebooks/01_position_problem".
        known: files that are pages, "README.md".
        address: of the files, "https://github.com/.../blob/main".
    """

    def link(match: re.Match) -> str:
        words, target, anchor = match.groups()
        folder, anchor = posixpath.dirname(name), anchor or ""
        path = posixpath.normpath(posixpath.join(folder, target))
        if path in known:
            return f"[{words}]({target}{PLAIN.sub(lambda m: unquote(m[0]), anchor)})"
        if figure := FIGURE.fullmatch(path):
            (page,) = (page for page in known if page.startswith(f"notebooks/{figure[2]}"))
            there = posixpath.relpath(page.replace(".ipynb", ".html"), folder or ".")
            return f'<a href="{there}#fig-{figure[1]}">{words}</a>'
        return f"[{words}]({address}/{path}{anchor})" if address else words

    return LINK.sub(link, BADGE.sub(r"[\1](\2)", TASK.sub(r"\1", markdown)))


def notebook(source: str, name: str, known: Collection[str], address: str = "") -> str:
    """A notebook as its page needs it; the cells that only prepare are folded."""
    content = json.loads(source)
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = text("".join(cell["source"]), name, known, address)
        elif FOLDED & set(cell["metadata"].get("tags", [])) or cell.get("id") == "start":
            cell["metadata"]["tags"] = ["hide-input"]
    return json.dumps(content)


def without_icons(css: str) -> str:
    """The theme's style sheet without the fonts that hold its icons."""
    return re.sub(r"@font-face\{[^}]*fontawesome[^}]*\}", "", css)


def finished(html: str) -> str:
    """A page of the theme without its 1.5 MB of icons (site.css draws the few that show); pictures load when seen.

    Buttons are called what is written on them.
    """
    html = re.sub(r"<script[^>]*fontawesome[^>]*></script>\s*", "", html)
    html = html.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    html = re.sub(r'(<button class="btn search-button-field[^>]*) aria-label="Search"', r"\1", html)
    return re.sub(r"<img (?![^>]*\bloading=)", '<img loading="lazy" ', html)
