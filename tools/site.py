"""`tasks.py site`: the course as web pages, made from the notebooks as they stand. Nothing is executed."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import npm
from .common import Stop, child_environment, many, say
from .project import Project
from .stamp import address

PYTHON = (3, 11)  # of the theme
MARK = ".course-site"  # in a folder that this command made: it may be made anew
TEXTS = ("README.md", "GLOSSARY.md", "teaching/*.md")
PACKAGES = {
    "mathjax@4.1.3": {
        "tex-chtml.js": "mathjax/tex-chtml.js",
        "a11y/assistive-mml.js": "mathjax/a11y/assistive-mml.js",
        "LICENSE": "mathjax/LICENSE",
    },
    "@mathjax/mathjax-newcm-font@4.1.3": {
        "chtml/": "mathjax-newcm-font/chtml",
        "chtml.js": "mathjax-newcm-font/chtml.js",
    },
}
FRONT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="refresh" content="0; url=README.html"><link rel="icon" href="_static/favicon.svg">
<main><h1>{title}</h1><p><a href="README.html">To the course</a></p></main></html>
"""


def parse(argv: list[str], project: Project | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tasks.py site",
        description="Make web pages from the notebooks, without running them. MathJax is fetched with npm, once.",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("_site"), help="default: _site")
    args = parser.parse_args(argv)
    args.project = project or Project()
    check_python(sys.version_info[:2])
    if args.out.exists() and not args.out.is_dir():
        raise Stop(f"--out {args.out} is a file; name a folder.")
    if args.out.is_dir() and any(args.out.iterdir()) and not (args.out / MARK).exists():
        raise Stop(f"--out {args.out} has files that are not a site of this command; name another folder.")
    return args


def check_python(version: tuple[int, int]) -> None:
    if version < PYTHON:
        raise Stop(
            f"this is Python {version[0]}.{version[1]}; the maker of the pages needs {PYTHON[0]}.{PYTHON[1]} or newer. "
            "Run it with one, in a copy of the course of its own or with .venv moved away."
        )


def main(argv: list[str], project: Project | None = None) -> int:
    args = parse(argv, project)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / "site"
        gather(args.project, Path(temporary) / "source")
        build(args.project, Path(temporary) / "source", made)
        finish(args.project, made)
        if args.out.exists():
            shutil.rmtree(args.out)
        shutil.copytree(made, args.out)
    pages = len(list(args.out.rglob("*.html")))
    say(f"{many(pages, 'page')} in {args.out} ({time.perf_counter() - started:.0f} s). Look at them:")
    say(f"python3 -m http.server --directory {args.out}")
    return 0


def gather(project: Project, source: Path) -> None:
    """Copy what the pages are made of into one folder: texts, notebooks, pictures, explorables, MathJax."""
    from helpers import explore

    root = project.root
    shutil.copytree(root / "web", source / "web", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "figures", source / "figures", ignore=shutil.ignore_patterns(".*"))
    for path in (*(path for text in TEXTS for path in root.glob(text)), *project.all()):
        to = source / path.relative_to(root)
        to.parent.mkdir(exist_ok=True)
        shutil.copy(path, to)
    static = source / "web" / "static"
    (static / "explore").mkdir()
    for name in explore.names():
        (static / "explore" / f"{name}.js").write_text(explore.source(name), encoding="utf-8")
    for package, wanted in PACKAGES.items():
        npm.unpack(package, root / ".cache" / "npm", {start: static / target for start, target in wanted.items()})


def build(project: Project, source: Path, made: Path) -> None:
    """Sphinx; whatever it warns of is an error."""
    say("Building the pages ...")
    words = ["-q", "-b", "html", "-W", "--keep-going", "-c", str(source / "web"), str(source), str(made)]
    url = address(project.table)
    files = f"{url}/blob/{project.table['branch']}" if url else ""
    environment = child_environment(PYTHONPATH=str(source), COURSE_ADDRESS=files)
    if subprocess.run([sys.executable, "-m", "sphinx", *words], cwd=source, env=environment).returncode:
        raise Stop("Sphinx found something wrong (above); no pages were written.")


def finish(project: Project, made: Path) -> None:
    """What Sphinx does not do: lighter pages, a front door, and nothing that no page uses."""
    from web import pages

    for page in made.rglob("*.html"):
        page.write_text(pages.finished(page.read_text(encoding="utf-8")), encoding="utf-8")
    static = made / "_static"
    for sheet in (static / "styles").glob("*.css"):
        sheet.write_text(pages.without_icons(sheet.read_text(encoding="utf-8")), encoding="utf-8")
    search = static / "searchtools.js"  # quotes the article, not the buttons above it
    search.write_text(search.read_text(encoding="utf-8").replace("'[role=\"main\"]'", '"article"'), encoding="utf-8")
    own = ("_sources", "objects.inv", ".buildinfo", ".doctrees")  # Sphinx's
    for unused in {
        *static.rglob("*.map"),
        *static.rglob("fontawesome*"),
        *static.glob("*macros.html"),
        *(made / name for name in own),
    }:
        shutil.rmtree(unused) if unused.is_dir() else unused.unlink(missing_ok=True)
    (made / "index.html").write_text(FRONT.format(title=project.table["title"]), encoding="utf-8")
    (made / ".nojekyll").touch()  # or GitHub Pages leaves out _static
    (made / MARK).touch()
