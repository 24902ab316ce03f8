"""Mutation testing of helpers/encodings: change one operator or number at a time; some test must turn red.

    python3 tasks.py mutate                       every mutant of every file: about two hours on two cores
    python3 tasks.py mutate --only rope alibi     every mutant of two files
    python3 tasks.py mutate --sample 20           at most 20 mutants per file, drawn with a fixed seed
    python3 tasks.py mutate --survivors           only those that survived last time
    python3 tasks.py mutate --mark-stale          run nothing; say in the record which files changed since they were run

The mutants are cosmic-ray's. Each is tested in a forked process that has PyTorch and the oracles loaded but no module
of the course, so that a mutant costs seconds; nothing is written to the sources. Mutants that cannot change a computed
value (annotations, docstrings, messages of errors) are left out. Linux and macOS: Windows has no fork.

Counts and survivors are kept in tests/mutants.json, where each survivor has a reason ("why") written by hand, and each
file the date of its run and a hash of the code that was mutated. A test fails when a file's code is another and the
record does not say so. A file that was sampled is not recorded. The command fails if a survivor has no reason.
Then: python3 tasks.py evidence.
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import hashlib
import importlib.abc
import importlib.util
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .common import Stop

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "helpers" / "encodings"
RECORD = ROOT / "tests" / "mutants.json"

# The tests that guard a file after its oracles (tools/evidence.py). All run before a mutant counts as a survivor.
GUARDS = {
    "alibi": ["alibi", "biases"], "axial": ["axial"], "base": [], "combine": ["layers"],
    "config": ["config"],
    "cope": ["biases", "alibi"], "deberta": ["relative"],
    "extension": ["extension"], "fire": ["biases", "alibi"], "kerple": ["biases", "alibi"], "learned": ["learned"],
    "mixed": ["axial"],
    "pope": ["pope"], "rope": ["rope"], "sandwich": ["biases", "alibi"], "shaw": ["relative"],
    "sinusoidal": ["sinusoidal"], "t5": ["relative"], "temperature": ["layers"],
    "window": ["biases", "alibi"], "xpos": ["axial", "rope", "pope"],
}  # fmt: skip
# A file that is not listed here is guarded by the tests of its name.
COMMON = ["callers", "contract", "validate", "model", "runtime"]
FIRST = ["defaults", "closed_forms"]  # quick, and about every scheme

OPPOSITE = {"Add": ("Sub", "Mul"), "Sub": ("Add", "Mul"), "Mul": ("Div", "Add"), "Div": ("Mul", "Sub"), "Pow": ("Mul",),
            "FloorDiv": ("Div", "Mul"), "Mod": ("Mul",), "BitAnd": ("BitOr",), "BitOr": ("BitAnd",)}  # fmt: skip
COMPARE = {"Eq": ("NotEq",), "NotEq": ("Eq",), "Lt": ("LtE", "GtE"), "LtE": ("Lt", "Gt"), "Gt": ("GtE", "LtE"),
           "GtE": ("Gt", "Lt"), "Is": ("IsNot",), "IsNot": ("Is",)}  # fmt: skip
OPERATORS = [
    *(f"core/ReplaceBinaryOperator_{a}_{b}" for a, others in OPPOSITE.items() for b in others),
    *(f"core/ReplaceComparisonOperator_{a}_{b}" for a, others in COMPARE.items() for b in others),
    "core/ReplaceUnaryOperator_Delete_USub", "core/ReplaceUnaryOperator_Delete_Not", "core/ReplaceTrueWithFalse",
    "core/ReplaceUnaryOperator_Delete_Invert", "core/ReplaceFalseWithTrue", "core/ReplaceAndWithOr",
    "core/ReplaceOrWithAnd", "core/NumberReplacer", "core/RemoveDecorator", "core/AddNot",
]  # fmt: skip


def code_hash(source: str) -> str:
    """Hash of what a module computes: of its lines without docstrings, comment lines and blank lines."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if text and not lines[node.lineno - 1][: node.col_offset].strip():  # it has its lines to itself
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    kept = [line.rstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16]


def stale(record: dict, folder: Path = FOLDER) -> dict[str, str]:
    """Files whose recorded run is of other code, or that were never run -> which of the two, in words."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        entry = record["files"].get(path.name, {"run": None})
        if path.stem == "__init__":
            continue
        if entry["run"] is None:
            found[path.name] = "never run"
        elif entry["code"] != code_hash(path.read_text(encoding="utf-8")):
            found[path.name] = f"changed since its run on {entry['run']}"
    return found


def save(record: dict) -> None:
    """Write the record whole, or not at all."""
    fresh = RECORD.with_suffix(".new")
    fresh.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8", newline="\n")
    fresh.replace(RECORD)


def mark_stale(record: dict) -> int:
    """Say in the record which files (but experiments) changed since they were run; returns how many are marked."""
    from tests.encodings.kept import experiments

    states = {name: why for name, why in stale(record).items() if Path(name).stem not in experiments()}
    for name in states:
        record["files"].setdefault(name, {"mutants": 0, "killed": 0, "run": None, "code": ""})
    for name, entry in record["files"].items():
        entry["stale"] = name in states
    save(record)
    for name, why in states.items():
        print(f"{name}: {why}. Run: python3 tasks.py mutate --only {Path(name).stem}")
    return len(states)


class Computed(ast.NodeTransformer):
    """What is left of a module when everything that computes nothing is taken out."""

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        return ast.Assign([node.target], node.value) if node.value else None

    def visit_FunctionDef(self, node):
        node.returns = None
        if ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    def visit_JoinedStr(self, node):
        return ast.Constant("message")

    def visit_Assign(self, node):
        names = [t.id for t in node.targets if isinstance(t, ast.Name)]
        return None if "__all__" in names or "remedy" in names else self.generic_visit(node)


def fingerprint(source: str) -> str:
    tree = ast.parse(source)
    tree.body = [n for n in tree.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    return ast.dump(Computed().visit(tree))


def mutants(path: Path) -> list[tuple[tuple[str, str], str]]:
    """((line, mutated line), mutated source) of every mutant that changes something computed."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = path.read_text(encoding="utf-8")
    seen, out = {fingerprint(source)}, []
    for name in OPERATORS:
        for occurrence in range(10_000):
            mutated = mutate_code(source, get_operator(name)(), occurrence)
            if mutated is None:
                break
            try:
                mark = fingerprint(mutated)
            except SyntaxError:
                continue
            if mark in seen:
                continue
            seen.add(mark)
            lines = zip(source.splitlines(), mutated.splitlines(), strict=False)
            changed = next(((a.strip(), b.strip()) for a, b in lines if a != b), ("", name))
            out.append((changed, mutated))
    return out


class Mutant(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Imports one module from a string and everything else as usual."""

    def __init__(self, name: str, path: Path, source: str):
        self.name, self.path, self.source = name, path, source

    def find_spec(self, fullname, path=None, target=None):
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def get_filename(self, fullname):
        return str(self.path)

    def get_data(self, path):
        return self.source.encode()


def preload() -> None:
    """What the tests import, without the course itself."""
    import hypothesis  # noqa: F401
    import pandas  # noqa: F401
    import pytest  # noqa: F401
    import torch

    torch.set_num_threads(1)
    for name in (
        "matplotlib.pyplot", "rotary_embedding_torch", "x_transformers", "PoPE_pytorch", "transformers",
        "transformers.modeling_rope_utils", "transformers.models.llama.modeling_llama", "torch._dynamo",
        "transformers.models.t5.modeling_t5", "transformers.models.bloom.modeling_bloom", "IPython",
        "transformers.models.deberta.modeling_deberta", "transformers.models.gptj.modeling_gptj", "seaborn",
        "nbval.plugin", "coverage", "plotly.graph_objects", "joblib", "safetensors.torch", "mpmath", "PIL.Image",
        "transformers.models.roformer.modeling_roformer", "transformers.models.marian.modeling_marian",
        "transformers.models.cohere.modeling_cohere", "transformers.models.gpt_neox.modeling_gpt_neox",
        "transformers.models.dinov3_vit.modeling_dinov3_vit", "transformers.models.qwen2_vl.modeling_qwen2_vl",
        "transformers.models.mpt.modeling_mpt", "transformers.models.wav2vec2_bert.modeling_wav2vec2_bert",
        "transformers.models.bert.modeling_bert", "transformers.models.gpt2.modeling_gpt2",
        "transformers.models.opt.modeling_opt", "transformers.models.roberta.modeling_roberta",
    ):  # fmt: skip
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def guards(stem: str) -> list[str]:
    """The tests of a file, in the order in which they run."""
    own = [name for name in GUARDS.get(stem, [stem]) if (ROOT / "tests" / "encodings" / f"test_{name}.py").exists()]
    return list(dict.fromkeys([*FIRST, *own, *COMMON]))


def oracle_tests() -> dict[str, list[str]]:
    """Tests marked as oracles, by the file whose functions they compare. (In a process of its own: it imports all.)"""
    script = (
        "import json; from tools import evidence; "
        "print(json.dumps([[f.split('.')[0], o.test] for o in evidence.oracles() for f in o.functions]))"
    )
    out = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    for stem, test in json.loads(out.splitlines()[-1]):
        found.setdefault(stem, []).append(str(ROOT / "tests" / test))
    return found


def start(stem: str, source: str, limit: int, oracles: list[str]) -> int:
    """Fork a process that runs every guarding test and exits with 0 if all stay green; returns its number.

    A run that takes more than ``limit`` seconds of the processor counts as red: the mutant does not come to an end.
    """
    child = os.fork()
    if child:
        return child
    import resource  # not on Windows, like fork

    import pytest

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))  # not of the clock: the machine may be busy
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    sys.meta_path.insert(0, Mutant(f"helpers.encodings.{stem}", FOLDER / f"{stem}.py", source))
    options = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
    runs = [[*options, *dict.fromkeys(oracles)]] if oracles else []
    for guard in guards(stem):
        # A mutant of one scheme cannot show in the tests of another.
        only = ["-k", stem] if guard in ("model", *FIRST) and stem != "base" else []
        runs.append([*options, *only, str(ROOT / "tests" / "encodings" / f"test_{guard}.py")])
    for run in runs:
        if int(pytest.main(run)) not in (0, 5):  # 5: no test selected
            os._exit(1)
    os._exit(0)


def study(jobs: list[tuple[str, str, str]], limit: int, at_once: int) -> Iterator[tuple[int, bool]]:
    """(index of the job, survived) of every (file, what, source), as they end."""
    oracles = oracle_tests()
    running: dict[int, int] = {}
    for index, (stem, _, source) in enumerate(jobs):
        if len(running) == at_once:
            child, status = os.wait()
            yield running.pop(child), os.waitstatus_to_exitcode(status) == 0
        running[start(stem, source, limit, oracles.get(stem, []))] = index
    while running:
        child, status = os.wait()
        yield running.pop(child), os.waitstatus_to_exitcode(status) == 0


def main(argv: list[str] | None = None) -> int:
    """Mutate, test, and record the survivors."""
    parser = argparse.ArgumentParser(prog="tasks.py mutate", description=main.__doc__)
    files = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem != "__init__")
    parser.add_argument("--only", nargs="+", choices=files, default=files)
    parser.add_argument("--sample", type=int, help="at most so many mutants a file; nothing is recorded")
    parser.add_argument("--survivors", action="store_true", help="only the mutants that survived last time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants tested at a time")
    parser.add_argument("--limit", type=int, default=300, help="seconds of the processor that a mutant may take")
    parser.add_argument("--mark-stale", action="store_true", help="run nothing; record which files changed since")
    args = parser.parse_args(argv)
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {"files": {}, "survivors": []}
    if args.mark_stale:
        print(f"files whose mutants are to be run again: {mark_stale(record)}")
        return 0
    if not hasattr(os, "fork"):
        raise Stop("each mutant is tested in a forked process, which Windows does not have: use Linux, macOS or WSL.")
    known = {(s["file"], s["from"], s["to"]): s["why"] for s in record["survivors"]}
    if args.survivors:
        changed = stale(record)
        for name in sorted(f"{stem}.py" for stem in args.only if f"{stem}.py" in changed):
            print(f"left out: {name} ({changed[name]}): its survivors are lines of other code; run it in full")
        args.only = [stem for stem in args.only if f"{stem}.py" not in changed]
    jobs = []
    hashes = {stem: code_hash((FOLDER / f"{stem}.py").read_text(encoding="utf-8")) for stem in args.only}
    for stem in args.only:
        found = mutants(FOLDER / f"{stem}.py")
        if args.survivors:
            found = [(what, source) for what, source in found if (f"{stem}.py", *what) in known]
        if args.sample and len(found) > args.sample:
            found = random.Random(0).sample(found, args.sample)
        jobs += [(stem, what, source) for what, source in found]
    preload()
    options = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
    all_guards = dict.fromkeys(itertools.chain(*(guards(stem) for stem in args.only)))
    tests = [*(f"tests/encodings/test_{guard}.py" for guard in all_guards), "tests/encodings/test_oracles.py"]
    if subprocess.run([sys.executable, "-m", "pytest", *options, *tests], cwd=ROOT).returncode:
        print("tests are red before any mutation")
        return 1
    begun, left = time.time(), []
    open_jobs = collections.Counter(stem for stem, _, _ in jobs)
    for index, survived in study(jobs, args.limit, args.jobs):
        stem, (before, after), _ = jobs[index]
        if survived:
            left.append({"file": f"{stem}.py", "from": before, "to": after})
            print(f"  survived  {stem}.py: {before}  ->  {after}", flush=True)
        open_jobs[stem] -= 1
        if open_jobs[stem] or args.sample:
            continue
        mine = [s | {"why": known.get((s["file"], s["from"], s["to"]), "")} for s in left if s["file"] == f"{stem}.py"]
        if args.survivors:
            entry = record["files"][f"{stem}.py"]
        else:
            entry = {"mutants": sum(job[0] == stem for job in jobs), "run": time.strftime("%Y-%m-%d")}
        total = entry["mutants"]
        entry |= {"killed": total - len(mine), "code": hashes[stem], "stale": False}
        record["files"][f"{stem}.py"] = entry
        others = [s for s in record["survivors"] if s["file"] != f"{stem}.py"]
        record["survivors"] = sorted([*others, *mine], key=lambda s: (s["file"], s["from"], s["to"]))
        save(record)
        print(f"{stem}: {total - len(mine)} of {total} killed, {time.time() - begun:.0f} s", flush=True)
    print(f"{len(jobs) - len(left)} of {len(jobs)} mutants killed, {time.time() - begun:.0f} s")
    unargued = [] if args.sample else [s for s in record["survivors"] if not s["why"]]
    for s in unargued:
        print(f"without a reason in {RECORD.name}: {s['file']}: {s['from']}  ->  {s['to']}")
    return 1 if unargued else 0


if __name__ == "__main__":
    sys.exit(main())
