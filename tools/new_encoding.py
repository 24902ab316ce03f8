"""`tasks.py new-encoding NAME`: the stubs of a scheme that is to stay, and what is left to do by hand.

A scheme to play with needs none of this: one file and one line of the registry (see the README).
"""

from __future__ import annotations

import argparse
import keyword
import re
from pathlib import Path

from .common import Stop, say
from .project import Project

SCHEME = '''r"""TITLE (AUTHORS YEAR, arXiv NUMBER). Door 3: the attention logits.

.. math:: b_{{ij}} = -\\sqrt{{|i - j|}}

What goes through the door, and why one would want it, in a sentence or two.
"""

from __future__ import annotations

from torch import Tensor

from .base import Encoding


def {name}_bias(distance: Tensor) -> Tensor:
    """-sqrt(|distance|), in logits: the shape of ``distance``, which is in positions. Source: section, equation."""
    return -distance.abs().sqrt()


class {cls}(Encoding):
    """What it does, in one sentence. Parameters it trains; lengths it takes."""

    def prepare(self, q_pos: Tensor, k_pos: Tensor, allowed: Tensor) -> Tensor:
        return {name}_bias(self.distance(q_pos, k_pos))[:, None]  # (B or 1, 1, T, S)

    def bias(self, q: Tensor, k: Tensor, state: Tensor, layer: int) -> Tensor:
        return state
'''

TEST = '''"""helpers/encodings/{name}.py against its paper, and against an implementation that is not ours."""

from __future__ import annotations

import pytest
import torch

from helpers.encodings import build
from helpers.model import CausalLM
from tests import direct
from tests.encodings.test_contract import pairwise


@pytest.mark.oracle("{name}.{cls}", "{name}.{name}_bias", against="closed form of the paper")
@torch.no_grad()
def test_in_a_model_it_is_its_formula():
    """Write ``term`` from the paper, without looking at helpers: the finished logit of one query and one key."""
    torch.manual_seed(0)
    model = CausalLM(11, 32, 4, 2, build("{name}", d_model=32, n_heads=4)).double()

    def term(q, k, i, j):  # vectors (B, H, head_dim) and positions; returns (B, H)
        raise NotImplementedError("{name}: write the logit of query i and key j from the paper, and delete this line")

    ids = torch.randint(11, (2, 9))
    expected = direct.forward(model, ids, logits=lambda q, k, layer: pairwise(q, k, term))
    torch.testing.assert_close(model.hidden(ids)[0], expected, rtol=0, atol=1e-5)


def test_it_equals_an_implementation_that_is_not_ours():
    """Mark it @pytest.mark.oracle("{name}.{cls}", against="PACKAGE: NAME") once it does."""
    pytest.fail(
        "{name}: compare with a package that is pinned in requirements-test.txt. If there is none, delete this test "
        "and name {name} in no_package of tests/repository/test_evidence.py"
    )
'''

NEXT = """
written:
  helpers/encodings/{name}.py              a scheme that runs: put yours in its place
  helpers/encodings/__init__.py            its import, its name, its line of SCHEMES
  tests/encodings/test_{name}.py           two tests that fail until they are written
  tests/encodings/kept.py, test_closed_forms.py   its name

It runs at once: python3 tasks.py record race --only {name}

left to do, each asked for by a test that names it:
  1. the equation, the code and the words of helpers/encodings/{name}.py; arguments checked by helpers.validate
  2. both tests of tests/encodings/test_{name}.py
  3. a color, a line style and a label of its own: _SCHEMES of helpers/plotting.py
  4. defaults that are numbers: DEFAULTS of tests/encodings/test_defaults.py (step 5 names those that are missing)
  5. python3 tasks.py mutate --only {name}, and a reason for each survivor in tests/mutants.json
  6. python3 tasks.py evidence, which lists all that in tests/README.md
  7. python3 tasks.py test
"""


def parse(argv: list[str], project: Project | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tasks.py new-encoding", description=__doc__.split(":", 1)[1].strip())
    parser.add_argument("name", metavar="NAME", help="of the file and the scheme, in lower case, as in my_bias")
    args = parser.parse_args(argv)
    args.project = project or Project()
    return args


def class_name(name: str) -> str:
    """my_bias -> MyBias."""
    return "".join(part.capitalize() for part in name.split("_"))


def insert(text: str, before: str, line: str, file: Path) -> str:
    """``text`` with ``line`` in front of the only occurrence of ``before``."""
    if text.count(before) != 1:
        raise Stop(
            f"{file.name} has no single {before.strip()!r}: its form changed, and tools/new_encoding.py did not."
        )
    return text.replace(before, line + before)


def registered(text: str, name: str, file: Path) -> str:
    """helpers/encodings/__init__.py with the scheme in its three places, the import in its alphabetical one."""
    cls = class_name(name)
    imports = re.findall(r"(?m)^from \.(\w+) import .*$", text)
    after = next((module for module in imports if module > name), None)
    end = "\n# name -> builder" if after is None else re.search(rf"(?m)^from \.{after} import .*\n", text)[0]
    text = insert(text, end, f"from .{name} import {cls}\n", file)
    head, rest = text.split("SCHEMES: dict", 1)
    schemes, tail = rest.split("\n}\n", 1)
    text = f'{head}SCHEMES: dict{schemes}\n    "{name}": lambda s, **kw: {cls}(**kw),\n}}\n{tail}'
    start, listed = text.split("__all__ = [", 1)
    names, tail = listed.split("\n]", 1)
    return f'{start}__all__ = [{names}\n    "{cls}",\n]{tail}'


def main(argv: list[str], project: Project | None = None) -> int:
    args = parse(argv, project)
    name, cls, root = args.name, class_name(args.name), args.project.root
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise Stop(f"NAME={name!r}: use lower-case letters, digits and single underscores, as in my_bias.")
    folder, tests = root / "helpers" / "encodings", root / "tests" / "encodings"
    scheme, test = folder / f"{name}.py", tests / f"test_{name}.py"
    registry, kept, forms = folder / "__init__.py", tests / "kept.py", tests / "test_closed_forms.py"
    known = registry.read_text(encoding="utf-8")
    taken = [str(path.relative_to(root)) for path in (scheme, test) if path.exists()]
    taken += [f"{word} in {registry.relative_to(root)}" for word in (f'"{name}"', f'"{cls}"') if word in known]
    if taken:
        raise Stop(f"NAME={name!r}: {', '.join(taken)} is there already; choose another name, nothing was written.")
    names = {"name": name, "cls": cls}
    fresh = {
        registry: registered(known, name, registry),
        kept: insert(kept.read_text(encoding="utf-8"), ")\n\n\ndef files(", f'    "{name}",\n', kept),
        forms: insert(forms.read_text(encoding="utf-8"), '    "sinusoidal",\n    "learned"', f'    "{name}",\n', forms),
        scheme: SCHEME.format(**names),
        test: TEST.format(**names),
    }
    for path, text in fresh.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    say(NEXT.format(**names).strip())
    return 0
