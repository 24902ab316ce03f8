"""Mutation testing of helpers/encodings: change one operator or number at a time; some test must turn red.

    python tests/mutate.py --only rope alibi          every mutant of two files
    python tests/mutate.py --sample 20                at most 20 mutants a file, drawn with a fixed seed

The mutants are cosmic-ray's (`pip install cosmic-ray`). Each is tested in a forked process that has PyTorch and the
oracles loaded but no module of the course, so that a mutant costs seconds; nothing is written to the sources. Mutants
that change no computed value (annotations, docstrings, messages of errors) are left out. Linux and macOS only.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "helpers" / "encodings"

# The tests that guard a file, the most specific first. All of them run before a mutant counts as a survivor.
GUARDS = {
    "alibi": ["alibi", "biases"], "axial": ["axial"], "base": [], "cope": ["biases", "alibi"], "deberta": ["relative"],
    "extension": ["extension"], "fire": ["biases", "alibi"], "kerple": ["biases", "alibi"], "learned": ["learned"],
    "pope": ["pope"], "rope": ["rope"], "sandwich": ["biases", "alibi"], "shaw": ["relative"],
    "sinusoidal": ["sinusoidal"], "t5": ["relative"], "window": ["biases", "alibi"], "xpos": ["axial", "rope", "pope"],
}  # fmt: skip
COMMON = ["contract", "validate", "model"]
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


def mutants(path: Path) -> list[tuple[str, str]]:
    """(what was changed, mutated source) of every mutant that changes something computed."""
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
            where = next(((i, a, b) for i, (a, b) in enumerate(lines, 1) if a != b), (0, "", name))
            out.append((f"{path.stem}.py:{where[0]}: {where[1].strip()}  ->  {where[2].strip()}", mutated))
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
    ):  # fmt: skip
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def survives(stem: str, source: str, limit: int) -> bool:
    """True if every guarding test stays green. A test run that does not end within ``limit`` seconds counts as red."""
    import pytest

    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        signal.alarm(limit)
        sys.dont_write_bytecode = True
        os.chdir(ROOT)
        sys.path.insert(0, str(ROOT))
        name = f"helpers.encodings.{stem}"
        sys.meta_path.insert(0, Mutant(name, FOLDER / f"{stem}.py", source))
        code = 0
        for guard in dict.fromkeys([*FIRST, *GUARDS.get(stem, []), *COMMON]):
            file = ROOT / "tests" / f"test_{guard}.py"
            if code == 0 and file.exists():
                arguments = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
                # A mutant of one scheme cannot show in the tests of another.
                arguments += ["-k", stem] if guard in ("model", *FIRST) and stem != "base" else []
                code = int(pytest.main([*arguments, str(file)]))
                code = 0 if code == 5 else code  # 5: no test selected
        os._exit(1 if code else 0)
    _, status = os.waitpid(child, 0)
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0


def main() -> int:
    """Mutate, test, and list the survivors."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    files = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem != "__init__")
    parser.add_argument("--only", nargs="+", choices=files, default=files)
    parser.add_argument("--sample", type=int, help="at most so many mutants a file")
    parser.add_argument("--limit", type=int, default=300, help="seconds a mutant may take")
    args = parser.parse_args()
    jobs = {stem: mutants(FOLDER / f"{stem}.py") for stem in args.only}
    preload()
    killed = total = 0
    left: list[str] = []
    for stem, found in jobs.items():
        chosen = found
        if args.sample and len(found) > args.sample:
            chosen = random.Random(0).sample(found, args.sample)
        start, dead = time.time(), 0
        if not survives(stem, (FOLDER / f"{stem}.py").read_text(encoding="utf-8"), args.limit):
            print(f"{stem}: its tests are red before any mutation; left out", flush=True)
            continue
        for what, source in chosen:
            if survives(stem, source, args.limit):
                left.append(what)
                print(f"  survived  {what}", flush=True)
            else:
                dead += 1
        killed, total = killed + dead, total + len(chosen)
        seconds = time.time() - start
        print(f"{stem}: {dead} of {len(chosen)} killed ({len(found)} possible), {seconds:.0f} s", flush=True)
    print(f"\n{killed} of {total} mutants killed ({100 * killed / max(1, total):.0f}%); {len(left)} survived")
    return 0


if __name__ == "__main__":
    sys.exit(main())
