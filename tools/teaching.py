"""What `tasks.py stamp` writes into teaching/: the plans of a class, in minutes of the notebooks' own meter.

teaching/plans.json says what a class does, row by row; the minutes, links and pictures come from the notebook. A row is
one of

    {"at": a heading, "wall": [pictures], "vote": [guesses], "play": [pictures that move], "say": words}
    {"exercise": "1.2", "say": words}          its own minutes, or "minutes" of them in class
    {"do": words, "minutes": 5, "say": words}

A section takes its minutes by :mod:`tools.minutes`, a vote one more, a picture that the class moves two more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import exercises, minutes
from .common import Stop
from .project import Project, read_json

VOTE, PLAY = 1, 2  # minutes
OPENING = "First picture"  # the cells between the setup and the first heading, in a plan's words
Row = dict[str, Any]


@dataclass
class Section:
    """A section of a notebook, from its heading to the next of level 2 or 3.

    Attributes:
        minutes: by the formula of :mod:`tools.minutes`.
        main: whether it belongs to the main path.
        pictures, guesses, cells: names of what stands in it.
    """

    minutes: float = 0.0
    main: bool = True
    pictures: list[str] = field(default_factory=list)
    guesses: list[str] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)

    @property
    def shown(self) -> int:
        return max(1, round(self.minutes))


def sections(cells: list[dict[str, Any]]) -> dict[str, Section]:
    """Heading -> section, in order, for the cells of a notebook; what precedes the first heading is :data:`OPENING`."""
    found = {OPENING: Section()}
    here, main, begun = found[OPENING], True, False
    for cell in cells:
        source = "".join(cell["source"])
        if begun and cell["cell_type"] == "markdown":
            parts = re.split(r"(?m)^(?=#{2,3} )", source)
            for part in parts:
                heading = re.match(r"(#{2,3}) (.+)", part)
                if heading:
                    if heading[1] == "##":
                        main = not heading[2].strip().lower().startswith((*minutes.AFTER, "deeper"))
                    here = found.setdefault(heading[2].strip(), Section(main=main))
                here.minutes += minutes.words(part) / 150
        elif begun:
            shown = [o for o in cell["outputs"] if "image/png" in o.get("data", {})]
            lines = sum(bool(line.strip()) for line in source.splitlines())
            here.minutes += lines / 10 + len(shown) / 2
            here.pictures += [o["metadata"]["figure"] for o in shown if "figure" in o["metadata"]]
            if "guess" in cell["metadata"].get("tags", []):
                here.guesses += re.findall(r"\bguess_\w+", source)
        if begun:
            here.cells.append(cell["id"])
        begun |= cell["id"] == "start"
    return found


def link(file: str, heading: str) -> str:
    """A heading as a link into its notebook."""
    anchor = re.sub(r"[`*$]", "", heading).replace(" ", "-")
    there = f"../notebooks/{file}" + ("" if heading == OPENING else f"#{quote(anchor, safe=',:')}")
    return f"[{heading}]({there})"


def picture(name: str) -> str:
    return f"[{name[3:]}](../figures/{name}.png)"


def known(what: str, name: str, there: list[str], where: str) -> None:
    if name not in there:
        raise Stop(f"teaching/plans.json, {where}: no {what} {name!r}. There are: {', '.join(there) or 'none'}.")


def lesson(rows: list[Row], number: str, file: str, cells: list[dict[str, Any]], most: int) -> str:
    """One class as a table: the clock, what, what hangs on the wall, what is voted on, what to say and do.

    Raises:
        Stop: if a row names a section, a picture, a guess, a cell or an exercise that is not there, or if the rows take
            more than ``most`` minutes.
    """
    found = sections(cells)
    tasks = exercises.read([{**cell, "source": "".join(cell["source"])} for cell in cells])
    lines, clock = ["| minutes | what | on the wall | vote | say and do |", "|---|---|---|---|---|"], 0
    for row in rows:
        wall, votes, took = [*row.get("wall", []), *row.get("play", [])], row.get("vote", []), row.get("minutes")
        if "at" in row:
            known("section", row["at"], list(found), number)
            section, what = found[row["at"]], link(file, row["at"])
            for name in wall:
                known("picture", name, section.pictures, f"{number}, {row['at']}")
            for name in votes:
                known("guess", name, section.guesses, f"{number}, {row['at']}")
            for name in row.get("live", []):
                known("cell", name, section.cells, f"{number}, {row['at']}")
            took = section.shown + VOTE * len(votes) + PLAY * len(row.get("play", []))
        elif "exercise" in row:
            known("exercise", row["exercise"], list(tasks), number)
            what, took = f"Exercise {row['exercise']}", took or tasks[row["exercise"]].minutes
        else:
            what = row["do"]
        say = row.get("say", "") + "".join(f" Run the cell `{name}` live." for name in row.get("live", []))
        fields = [
            f"{clock} to {clock + took}", what, ", ".join(map(picture, wall)),
            ", ".join(f"`{name}`" for name in votes), say.strip(),
        ]  # fmt: skip
        lines.append("|" + "|".join(f" {field} " if field else " " for field in fields) + "|")
        clock += took
    if clock > most:
        raise Stop(f"teaching/plans.json, {number}: this class takes {clock} minutes of {most}; leave something out.")
    return "\n".join(lines) + f"\n\nTogether {clock} minutes; {most - clock} are left for questions."


def left_out(plan: list[Row], cells: list[dict[str, Any]], file: str) -> str:
    """The sections of the main path that a plan does not name, with their minutes."""
    named = {row.get("at") for row in plan}
    rest = [
        f"{link(file, name)} ({section.shown})"
        for name, section in sections(cells).items()
        if section.main and name not in named and section.minutes > 0.05
    ]
    return f"For reading at home: {', '.join(rest)}." if rest else "The whole main path is in it."


def blocks(project: Project, number: str, file: str, cells: list[dict[str, Any]]) -> dict[str, str]:
    """The stamped parts of a notebook's page: name of the comment around it -> text."""
    plans = read_json(project.root / "teaching" / "plans.json").get(number)
    if plans is None:
        return {}
    one = lesson(plans["75"], number, file, cells, 75)
    three = [lesson(rows, number, file, cells, 50) for rows in plans["50"]]
    every = [row for rows in plans["50"] for row in rows]
    return {
        "plan 75": f"{one} {left_out(plans['75'], cells, file)}",
        "plan 50": "\n\n".join(f"**Class {n}.**\n\n{text}" for n, text in enumerate(three, 1))
        + f" {left_out(every, cells, file)}",
    }


def stamped(project: Project, notebooks: dict[str, list[dict[str, Any]]]) -> dict[Path, str]:
    """The pages of teaching/ -> the text that they should have; empty where there is no such folder.

    Args:
        notebooks: file name -> its cells, as they are stamped.
    """
    folder = project.root / "teaching"
    wanted = {}
    for entry in project.table["notebooks"] if folder.is_dir() else ():
        number, page = entry["number"], folder / f"{entry['number']}.md"
        if page.exists():
            text = page.read_text(encoding="utf-8")
            made = blocks(project, number, entry["file"], notebooks[entry["file"]])
            wanted[page] = filled(text, made)
    room = folder / "classroom.md"
    if room.exists():
        wanted[room] = filled(room.read_text(encoding="utf-8"), measured(read_json(folder / "measured.json"), 100))
    return wanted


def measured(found: dict[str, Any], users: int) -> dict[str, str]:
    """The stamped parts of classroom.md, from teaching/measured.json (numbers of `tasks.py bench --only notebooks`)."""
    rows = [
        f'Measured on {found["machine"]}, one thread, preset "quick":\n',
        "| notebook | peak memory of its kernel, MiB | processor seconds | in training | first picture after, s |",
        "|---|---:|---:|---:|---:|",
    ]
    for number, row in found["notebooks"].items():
        rows.append(f"| {number} | {row['MiB']} | {row['processor']} | {row['training']} | {row['picture']} |")
    server, kernels = found["server_MiB"], [row["MiB"] for row in found["notebooks"].values()]
    one, two = server + max(kernels), server + sum(sorted(kernels)[-2:])
    slowest = max(row["processor"] for row in found["notebooks"].values())
    hub = (
        f"A server takes {server} MiB, the largest kernel {max(kernels)}: {one / 1024:.1f} GiB per user at the worst "
        f"moment, {two / 1024:.1f} with the two largest open. For n users with one notebook each the machine needs "
        f"n times {one / 1024:.2f} GiB, besides its system and the hub: {users * one / 1024:.0f} GiB for {users}. "
        "(Each process counted alone. Pages that kernels share count every time, so the true need is lower.) "
        f"On one core all of a notebook takes at most {slowest} processor seconds."
    )
    return {"measured": "\n".join(rows), "hub": hub}


def filled(text: str, made: dict[str, str]) -> str:
    """A page with what is generated between its comments."""
    for name, block in made.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text = re.sub(pattern, lambda m, block=block: f"{m[1]}\n{block}\n\n{m[2]}", text, flags=re.S)
    return text
