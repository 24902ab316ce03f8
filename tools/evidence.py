"""`tasks.py evidence`: what vouches for what. Reads the marks of the tests and writes tests/README.md.

A test marked ``@pytest.mark.oracle("rope.RoPE", against="transformers: Llama")`` compares a function of helpers with an
implementation that is not ours. Every public function of the rooms COMPUTING needs such a test, or stands in ELSEWHERE
with the reason why it needs none. Functions of other rooms may have one, and are listed on the page too.
"""

from __future__ import annotations

import argparse
import ast
import collections
import functools
import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path
from typing import NamedTuple

import helpers
from helpers.store import write_whole

from .common import say

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "tests" / "README.md"
MUTANTS = ROOT / "tests" / "mutants.json"
PAPERS = "closed form of the paper"

# The rooms whose public functions compute encodings, and what in them needs no oracle, and why.
COMPUTING = ("helpers.encodings", "helpers.model")
ELSEWHERE = {
    "base.Encoding": "the contract: every hook is the identity",
    "base.in_float64": "chooses a device: what passes through it is compared",
    "base.positions": "counts: compared with torch.arange in test_model",
    "config.RotaryParameters": "holds what a configuration says, and hands it to RoPE",
    "config.alike": "compares dictionaries",
    "config.language_model": "finds the part of a file that from_config reads",
    "config.layer_types": "lists the sets that from_config reads",
    "config.model_family": "finds the model's type",
    "config.read_config": "reads the file",
    "config.rotary_sets": "sorts the dictionaries that from_config reads",
    "config.value": "one key of a file, or a refusal",
    "encodings.build": "chooses among the schemes",
    "extension.Extension": "holds what a rule returns",
    "extension.extend": "chooses among the rules",
    "extension.longrope_example": "a synthetic list for pictures, checked in test_extension",
    "model.CausalLM": "the model around the layers, compared with its definition in test_model",
    "model.Context": "holds what the layers of one pass share",
    "model.Encoder": "the model around the layers, compared with its definition in test_model",
    "model.KVCache": "holds keys and values: compared with recomputing in test_model",
    "model.Transformer": "the model around the layers, compared with its definition in test_model",
    "rope.CosSin": "holds a table",
    "rope.Rotation": "holds the tables of one pass",
}


def public(*rooms: str) -> list[str]:
    """Every public function and class of helpers, or of some of its rooms, as module.name."""
    modules = [module.name for module in pkgutil.walk_packages(helpers.__path__, "helpers.")]
    modules = [name for name in modules if not rooms or name.startswith(rooms)]
    found = []
    for name in modules:
        if "exercises" in name:
            continue
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            kind = inspect.isclass(value) or inspect.isfunction(inspect.unwrap(value) if callable(value) else None)
            if kind and value.__module__ == name and not key.startswith("_"):
                found.append(f"{name.rsplit('.', 1)[-1]}.{key}")
    return sorted(found)


def needing_an_oracle() -> list[str]:
    """What computes an encoding that is kept."""
    from tests.encodings.kept import experiments

    tried = experiments()
    return [name for name in public(*COMPUTING) if name not in ELSEWHERE and name.split(".")[0] not in tried]


class Oracle(NamedTuple):
    functions: tuple[str, ...]
    against: str
    test: str
    cases: int


@functools.cache
def oracles() -> list[Oracle]:
    """Every marked test: what it compares with what, and how many cases its parameters make."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if "mark.oracle(" not in path.read_text(encoding="utf-8"):
            continue
        module = importlib.import_module(f"tests.{path.parent.name}.{path.stem}")
        for name, test in vars(module).items():
            marks = getattr(test, "pytestmark", []) if name.startswith("test_") else []
            cases = 1
            for mark in marks:
                cases *= len(list(mark.args[1])) if mark.name == "parametrize" else 1
            for mark in marks:
                if mark.name == "oracle":
                    found.append(
                        Oracle(mark.args, mark.kwargs["against"], f"{path.parent.name}/{path.name}::{name}", cases)
                    )
    return found


def versions() -> dict[str, str]:
    """Pinned versions of the packages that serve as oracles (of the newest Python, where they differ)."""
    text = (ROOT / "requirements-test.txt").read_text(encoding="utf-8") + (ROOT / "requirements.txt").read_text(
        encoding="utf-8"
    )
    pins = re.findall(r"(?m)^([\w.-]+)==([\w.]+)(?: ; python_version >= \S+)?$", text)
    return {name.lower(): version for name, version in pins}


def package(against: str) -> str:
    return against.split(":")[0]


def mutants() -> dict:
    """What tools/mutate.py recorded: date, code and counts by file, and the survivors with the reason for each."""
    return json.loads(MUTANTS.read_text(encoding="utf-8"))


def mistakes() -> list[str]:
    """Names of the wrong implementations that the tests catch."""
    from tests.encodings.test_mistakes import MISTAKES

    names = [name for name, *_ in MISTAKES]
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        family = path.stem.removeprefix("test_")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and re.fullmatch(r"wrong_\w*versions|wrong_t5_buckets", node.name):
                (last,) = [n.value for n in node.body if isinstance(n, ast.Return)]
                keys = last.keys if isinstance(last, ast.Dict) else last.elts
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "WRONG":
                keys = node.value.keys if isinstance(node.value, ast.Dict) else []
            else:
                continue
            for key in keys:
                name = key.value if isinstance(key, ast.Constant) else ast.unparse(key).replace("_", " ")
                names.append(f"{family}: {name}")
    return names


TEMPLATE = """# What the tests vouch for

Readers copy this code into their models, so it is held to the standard of a numerics library. This page is written by
`python3 tasks.py evidence` from the tests themselves; a test fails when it is not current.

- **Oracles** (below): every function that computes an encoding, a bias or a frequency rule is compared with an
  implementation that is not ours.
- **Properties**: {properties} tests let hypothesis draw widths, bases, positions and shifts, and check what a scheme
  promises: relative logits, kept norms, linear shifts, equivariance, rules that change nothing at factor 1.
- **Training**: gradients against finite differences, a tiny overfit of every scheme, saving and loading, compiled and
  bfloat16 runs, a trained model moved between layouts (`test_model.py`, `test_race.py`, `test_rope.py`).
- **Mistakes** (below): wrong versions that must fail.
- **Mutants** (below): one operator or number changed at a time; some test must turn red.
- **Notebooks**: their definitions go through the same checks (`test_notebook_code.py`), every claim has its cell
  (`test_claims.py`) and, if it rests on experiments, its recorded runs (`test_dials.py`), every number quoted from a
  paper is the one in `helpers/data/published.json` (`test_quotes.py`, `test_sources.py`), links lead somewhere,
  formulas parse, words are spelled (`test_prose.py`). No test pins a phrase.

## Oracles

{comparisons:,} comparisons in {tests} tests. The numbers in the table are cases: combinations of shape, dtype, base,
offset, heads and factor. The closed forms in `papers/` were written from the papers, without a look at the code that
they check, one scalar at a time with 30 digits. Tolerances are counted roundings; `test_oracles.py` explains them.
Packages: {packages}.

| function | closed form | outside packages |
|---|---:|---|
{oracles}

## Mistakes that must fail

Each is run next to the right version, which passes the same check.

{mistakes}

## Mutants

`python3 tasks.py mutate`: of {mutants} mutants of `helpers/encodings`, {killed} are killed ({share:.1f}%). The other
{left} change no value that anyone computes with, or only a message; each is argued below. What is said of a file is
true of the code that was run; where it changed since, the table says so.

| file | mutants | killed | run | since then |
|---|---:|---:|---|---|
{counts}

| file | line | mutant | why nothing turns red |
|---|---|---|---|
{survivors}
"""


def properties() -> int:
    """Number of tests driven by hypothesis."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return sum(len(re.findall(r"(?m)^@given\(", path.read_text(encoding="utf-8"))) for path in files)


def page() -> str:
    """The Markdown of tests/README.md."""
    by_function: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for entry in oracles():
        for function in entry.functions:
            by_function[function][entry.against] += entry.cases
    rows = []
    for function, found in sorted(by_function.items()):
        others = [f"{against} ({n})" for against, n in sorted(found.items()) if against != PAPERS]
        rows.append(f"| `{function}` | {found[PAPERS] or ''} | {'; '.join(others)} |")
    study = mutants()
    files = study["files"]
    killed, total = (sum(f[key] for f in files.values()) for key in ("killed", "mutants"))
    used = sorted({package(entry.against) for entry in oracles()} - {PAPERS}, key=str.lower)

    def code(line: str) -> str:
        return "`" + line.replace("|", "\\|") + "`"

    return TEMPLATE.format(
        properties=properties(),
        comparisons=sum(entry.cases for entry in oracles()),
        tests=len(oracles()),
        packages=", ".join(f"{name} {versions()[name.lower()]}" for name in used),
        oracles="\n".join(rows),
        mistakes="\n".join(f"- {name}" for name in mistakes()),
        mutants=total,
        killed=killed,
        share=100 * killed / total,
        left=len(study["survivors"]),
        counts="\n".join(
            f"| `{name}` | {f['mutants']} | {f['killed']} | {f['run'] or 'never'} | {'changed' * f['stale']} |"
            for name, f in sorted(files.items())
        ),
        survivors="\n".join(
            f"| `{s['file']}` | {code(s['from'])} | {code(s['to'])} | {s['why']} |" for s in study["survivors"]
        ),
    )


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tasks.py evidence", description="Write tests/README.md from the tests.")
    parser.parse_args(argv)
    write_whole(PAGE, page().encode())
    comparisons = sum(entry.cases for entry in oracles())
    say(f"{PAGE.relative_to(ROOT).as_posix()}: {comparisons:,} comparisons in {len(oracles())} tests")
    return 0
