"""What the verdict of a claim survived: the comparisons under its ``dials``, made on the recorded tables at run time.

A claim of ``data/claims.json`` whose ``kind`` is "experiment" names what it rests on, one comparison or a list::

    "dials": {"study": "race_quick",
              "left": {"contender": "sinusoidal", "score": "last", "length": 512},
              "relation": ">",
              "right": {"contender": "none"}}

Read: in every recorded run that matches ``left`` the value is above that of the run which matches ``right``.

* ``study``: a folder of results/.
* ``left``: {column: value}, the columns of its ``table.csv``; a text may have ``*`` for any letters, a list means any
  of its values, null an empty field.
* ``relation``: ">" or "<".
* ``right``: a number, or {column: value}, the columns in which the partner is another. In every other column (learning
  rate, steps, seed, length ...) the partner has the value of ``left``.
* ``by``: how far apart they must be, 0 by default; a negative number is what the relation may be missed by.

The *margin* of a pair is left minus right in the direction of the relation, less ``by``. The comparison *held* if
every margin is above 0; the pair with the smallest came *closest* to reversing it. A *dial* is a column in which the
pairs may differ; a contender as ``alibi[slopes=1_0.5]`` has its scheme and its arguments for dials.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from . import store
from .validate import one_of

LEDGER = Path(__file__).with_name("data") / "claims.json"
FIELDS = {"study", "left", "relation", "right"}
NAMES = {"lr": "learning rate"}
"""Column of a table -> the word for it in a sentence, where they differ."""

REACH = {"learning rate": "learning rate", "steps": "budget", "seed": "seed", "optimizer": "optimizer", "text": "text"}
"""Dial -> what is counted of it, "3 budgets", even if there was only one: a reader would turn it."""

NOUNS = REACH | {name: name for name in ("depth", "factor", "head", "layer", "length", "method", "scheme", "task")}
"""The same for dials that count only if they were turned. Of any other it says "3 values of slopes"."""


def claims(notebook: str | None = None) -> list[dict[str, Any]]:
    """The ledger of claims, of one notebook ("01" to "06") or of all."""
    return [claim for claim in store.read_json(LEDGER) if notebook in (None, claim["notebook"])]


@dataclass(frozen=True)
class Pair:
    """Two recorded numbers that are compared.

    Attributes:
        dials: {name: value}, where in the study the pair stands.
        margin: how far the relation is from being reversed, in the unit of the score; negative if it is reversed.
    """

    dials: Mapping[str, Any]
    margin: float


@dataclass(frozen=True)
class Outcome:
    """One comparison on everything that is recorded.

    Attributes:
        what: the comparison in short, as in "last, length 512: sinusoidal > none (race_quick)".
        pairs: at least one, in the order of the table.
        diverged: pairs left out since a number in them is not finite.
        alone: rows of either side for which the other side has no partner.
        silent: runs that match the left side and have no such number.
    """

    what: str
    pairs: tuple[Pair, ...]
    diverged: int = 0
    alone: int = 0
    silent: int = 0

    @property
    def fell(self) -> list[Pair]:
        """The pairs in which the relation does not stand."""
        return [pair for pair in self.pairs if not pair.margin > 0]

    @property
    def closest(self) -> Pair:
        """The pair that came nearest to reversing the relation, or reversed it most."""
        return min(self.pairs, key=lambda pair: pair.margin)

    def line(self) -> str:
        """What the comparison was tried on and what came of it: "5 seeds, 3 budgets: held; closest: ...".

        Of one that fell it says in how many pairs, and which settings all of these have in common, if any.
        """
        names = dict.fromkeys(name for pair in self.pairs for name in pair.dials)
        values = {name: _values(self.pairs, name) for name in names}
        values = {name: found for name, found in values.items() if len(found) > 1 or name in REACH}
        turned = {name: found for name, found in values.items() if len(found) > 1}
        tried = ", ".join(_count(name, len(found)) for name, found in values.items()) or "1 pair"
        where = ", ".join(f"{name} {_shown(_setting(self.closest, name))}" for name in turned)
        margin = f"margin {_rounded(self.closest.margin)}"
        margin = f"{where} ({margin})" if where else margin
        if self.fell:
            inside = {name: _values(self.fell, name) for name in turned}
            ranges = [f"{n} {_either(inside[n])}" for n in turned if len(inside[n]) < len(turned[n])]
            at = f", all at {', '.join(ranges)}" if ranges else ""
            parts = [f"{tried}: fell in {len(self.fell)} of {len(self.pairs)}{at}", f"furthest: {margin}"]
        else:
            parts = [f"{tried}: held", f"closest: {margin}"]
        left_out = {"diverged": self.diverged, "without a partner": self.alone, "without this number": self.silent}
        return "; ".join(parts + [f"{n} {what}" for what, n in left_out.items() if n])


def outcomes(claim: Mapping[str, Any]) -> list[Outcome]:
    """The comparisons of a claim on what is recorded now; none if it has no ``dials``.

    Raises:
        ValueError: on an entry that is not of the form above, or matches nothing: names claim, field and remedy.
    """
    entries = claim.get("dials", [])
    return [_compare(claim["id"], entry) for entry in ([entries] if isinstance(entries, Mapping) else entries)]


# ---------------------------------------------------------------------------------------------------- comparing


def _compare(claim: str, entry: Any) -> Outcome:
    study = _study(claim, entry)
    columns, left, right = (*study.run, *study.at, "score"), entry["left"], entry["right"]
    runs = study.load()
    rows = [{**run.key, **row} for run in runs for row in run.rows]
    lefts = [row for row in rows if _matches(row, left)]
    if not lefts:
        _refuse(claim, "left", left, f"nothing recorded matches; see {study.name}/table.csv, or run `{study.command}`.")
    having = {study.key(**{c: row[c] for c in study.run}) for row in lefts}
    asked = [run for run in runs if _matches(run.key, {c: v for c, v in left.items() if c in study.run})]
    silent = sum(study.key(**run.key) not in having for run in asked)

    other: Mapping[str, Any] = {} if _is_number(right) else right
    shared = [c for c in columns if c not in other]
    partners: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in [] if _is_number(right) else rows:
        if _matches(row, {**left, **other}):
            partners.setdefault(tuple(row.get(c) for c in shared), []).append(row)
    places = [tuple(row.get(c) for c in shared) for row in lefts]
    if _is_number(right):
        met, alone = [(row, {"value": right}) for row in lefts], 0
    else:
        met = [(row, partner) for row, at in zip(lefts, places, strict=True) for partner in partners.get(at, ())]
        alone = sum(at not in partners for at in places) + sum(
            len(rows) for at, rows in partners.items() if at not in places
        )
    if not met:
        _refuse(claim, "right", right, f"no recorded run matches that equals one of the left side in {shared}.")

    sign, by = (1 if entry["relation"] == ">" else -1), entry.get("by", 0)
    pairs = [
        Pair(
            _dials(row, [c for c in columns if not _is_fixed(left.get(c, "*"))])
            | {
                f"partner's {name}": v
                for name, v in _dials(partner, [c for c in other if not _is_fixed(other[c])]).items()
            },
            sign * (row["value"] - partner["value"]) - by,
        )
        for row, partner in met
    ]
    finite = tuple(pair for pair in pairs if math.isfinite(pair.margin))
    if not finite:
        _refuse(claim, "left", left, "every run that matches has diverged: compare others.")
    return Outcome(_what(entry), finite, len(pairs) - len(finite), alone, silent)


def _study(claim: str, entry: Any) -> store.Study:
    """The study of an entry (ValueError, naming the claim, if a field of the entry is not as it must be)."""
    if not isinstance(entry, Mapping) or not FIELDS <= set(entry) <= FIELDS | {"by"}:
        _refuse(claim, "entry", entry, f"a comparison has the fields {sorted(FIELDS)}, and may have 'by'.")
    if entry["relation"] not in (">", "<"):
        _refuse(claim, "relation", entry["relation"], "write '>' or '<'.")
    if not _is_number(entry.get("by", 0)):
        _refuse(claim, "by", entry["by"], "write a number.")
    if not (store.RESULTS / str(entry["study"]) / "about.json").is_file():
        _refuse(claim, "study", entry["study"], "name a recorded folder of results/.")
    study = store.recorded_study(entry["study"])
    columns = (*study.run, *study.at, "score")
    for side in ("left", "right"):
        wanted = entry[side]
        if side == "right" and _is_number(wanted):
            continue
        if not isinstance(wanted, Mapping) or not wanted:
            _refuse(claim, side, wanted, f"write {{column: value}}{' or a number' * (side == 'right')}.")
        for column in wanted:
            if column not in columns:
                _refuse(claim, f"{side}.{column}", wanted[column], f"{study.name} has {', '.join(columns)}.")
    if "score" not in entry["left"]:
        _refuse(claim, "left", entry["left"], "name the score: numbers of two kinds are not compared.")
    return study


def _refuse(claim: str, field: str, value: Any, remedy: str) -> NoReturn:
    raise ValueError(f"claim {claim!r}, dials: {field}={value!r}: {remedy}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_fixed(wanted: Any) -> bool:
    """Whether a column can have one value only: then it is no dial."""
    return not isinstance(wanted, list) and not (isinstance(wanted, str) and "*" in wanted)


def _matches(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(_fits(row.get(column), value) for column, value in wanted.items())


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return any(_fits(value, one) for one in wanted)
    if isinstance(wanted, str):  # not fnmatch, to which the brackets of a contender mean something
        return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), str(value)) is not None
    return value == wanted


def _dials(row: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """The dials of some fields of a row: empty ones have none, a contender has its scheme and each argument."""
    found: dict[str, Any] = {}
    for column in columns:
        value = row.get(column)
        if column == "contender":
            scheme, _, arguments = value.removesuffix("]").partition("[")
            found |= {"scheme": scheme} | dict(part.split("=") for part in arguments.split(",") if part)
        elif value is not None:
            found[NAMES.get(column, column)] = value
    return found


# ------------------------------------------------------------------------------------------------------- in words


def _setting(pair: Pair, name: str) -> Any:
    return pair.dials.get(name, "default")  # an argument that the contender's key does not name


def _values(pairs: Iterable[Pair], name: str) -> list[Any]:
    """The different settings of a dial, sorted."""
    return sorted({_setting(pair, name) for pair in pairs}, key=lambda value: (isinstance(value, str), value))


def _count(name: str, n: int) -> str:
    noun = NOUNS.get(name)
    return f"{n} {noun or 'value'}{'s' * (n != 1)}{'' if noun else f' of {name}'}"


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value).replace("_", " ")


def _either(values: list[Any]) -> str:
    *first, last = map(_shown, values)
    return f"{', '.join(first)} or {last}" if first else last


def _rounded(margin: float) -> str:
    """Two digits, without an exponent: 0.00012, -3.4, 1200."""
    return f"{float(f'{margin:.2g}') + 0.0:.12f}".rstrip("0").rstrip(".")  # + 0.0 turns -0.0 into 0.0


def _what(entry: Mapping[str, Any]) -> str:
    """The comparison in short: what both sides share, the two sides and their relation, and the study."""
    left, right = entry["left"], entry["right"]
    other = {"score": right} if _is_number(right) else right
    both = [_asked(column, value) for column, value in left.items() if column not in other]
    sides = [" ".join(_asked(c, side[c]) if c in side else f"any {c}" for c in other) for side in (left, other)]
    by = entry.get("by", 0)
    by = f" by more than {_rounded(by)}" if by > 0 else f", give or take {_rounded(-by)}" if by < 0 else ""
    return f"{', '.join(both)}: {sides[0]} {entry['relation']} {sides[1]}{by} ({entry['study']})"


def _asked(column: str, wanted: Any) -> str:
    name = "" if column in ("score", "contender") else f"{NAMES.get(column, column)} "
    if wanted is None:
        return f"without {name.strip()}"
    return name + (_either(wanted) if isinstance(wanted, list) else _shown(wanted))


# -------------------------------------------------------------------------------------------------------- a table


class Table:
    """The claims of a notebook that rest on experiments, each verdict with its lines, as text and as HTML."""

    def __init__(self, ledger: Iterable[Mapping[str, Any]]):
        self.rows = [(claim, outcomes(claim)) for claim in ledger if "dials" in claim]

    def __repr__(self) -> str:
        blocks = []
        for claim, found in self.rows:
            lines = [f"{outcome.what}\n    {outcome.line()}" for outcome in found]
            blocks.append("\n  ".join([claim["statement"], claim["verdict"], *lines]))
        return "\n\n".join(blocks)

    def _repr_html_(self) -> str:
        rows = []
        for claim, found in self.rows:
            lines = "".join(f"<br>{html.escape(o.what)}<br><i>{html.escape(o.line())}</i>" for o in found)
            statement = html.escape(claim["statement"])
            rows.append(f"<tr><td>{statement}</td><td><b>{claim['verdict']}</b>{lines}</td></tr>")
        head = "<tr><th>claim</th><th>verdict, and what it was tried on</th></tr>"
        return f'<table style="text-align: left"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def table(notebook: str) -> Table:
    """What those verdicts of a notebook were tried on that rest on experiments.

    Raises:
        ValueError: on a number that no claim has; and as :func:`outcomes`.
    """
    return Table(claims(one_of("notebook", notebook, sorted({claim["notebook"] for claim in claims()}))))
