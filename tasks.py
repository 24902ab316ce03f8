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
import errno
import hashlib
import importlib
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tools.common import Stop, child_environment, say
from tools.packages import LOCK, install, install_torch

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHONS = ((3, 10), (3, 14))
STAMP = "course.json"  # in .venv: made by this script, and what it holds
REMEDY = "Move it away (mv .venv my-venv), or run in an environment of yours: python3 tasks.py --current-env ..."
# What is installed for whom; each file contains the one before.
LEVELS = {
    "read": "requirements.txt",
    "site": "requirements-site.txt",
    "test": "requirements-test.txt",
    "mutate": "requirements-mutate.txt",
}


class Command(NamedTuple):
    """A word after tasks.py: the module whose ``main(argv)`` does it, and the environment that it runs in.

    ``early``: its options are read by the module's ``parse(argv)`` before there is an environment, so that -h and a
    mistyped option cost no set-up. Without an ``environment`` it needs Python alone.
    """

    module: str
    environment: str
    help: str
    early: bool = False


COMMANDS = {
    "setup": Command("", "read", "create or renew the environment, nothing else"),
    "lab": Command("tools.lab", "read", "open JupyterLab on notebook 01", early=True),
    "figures": Command("tools.figures", "read", "run the notebooks (papermill) and write figures/", early=True),
    "execute": Command("tools.execute", "test", "run the notebooks in place: outputs and figures/", early=True),
    "test": Command("tools.check", "test", "lint, tests, and the notebooks against their saved outputs", early=True),
    "format": Command("tools.format", "read", "save notebooks in the course's form, without running them", early=True),
    "stamp": Command("tools.stamp", "read", "regenerate what comes from project.json", early=True),
    "record": Command("tools.record", "read", "list the studies under results/, or record one again", early=True),
    "bench": Command("tools.bench", "test", "measure speed and memory"),
    "evidence": Command("tools.evidence", "test", "write tests/README.md: what the tests vouch for"),
    "mutate": Command("tools.mutate", "mutate", "mutation testing of helpers/encodings"),
    "pretrained": Command("tools.pretrained", "read", "install the opt-in pretrained models", early=True),
    "explain": Command("tools.explain", "read", "what a model's configuration says about its positions", early=True),
    "drill": Command("tools.drill", "", "questions from memory, missed ones again", early=True),
    "course": Command("tools.course", "read", "write the sets for a class and its instructor", early=True),
    "site": Command("tools.site", "site", "make web pages from the notebooks, without running them", early=True),
    "new-encoding": Command("tools.new_encoding", "read", "write the stubs of a new encoding", early=True),
}


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


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def up_to(level: str) -> list:
    """The levels that an environment of this level contains."""
    return list(LEVELS)[: list(LEVELS).index(level) + 1]


def fingerprint(level: str) -> str:
    """Hash of what the requirements of this level and the lock ask for (comments and line ends do not count)."""
    lines = []
    for name in [LOCK, *(LEVELS[one] for one in up_to(level))]:
        text = (ROOT / name).read_text(encoding="utf-8")
        lines += [line.split(" #")[0].strip() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return hashlib.sha256("\n".join(filter(None, lines)).encode()).hexdigest()[:16]


def read_stamp() -> dict:
    """Level -> fingerprint, of what was installed to the end; empty without an environment of ours."""
    try:
        return json.loads((VENV / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_stamp(levels: dict) -> None:
    (VENV / STAMP).write_text(json.dumps(levels) + "\n", encoding="utf-8")


def up_to_date(level: str) -> bool:
    return venv_python().exists() and read_stamp().get(level) == fingerprint(level)


def set_up(level: str, cuda: bool = False) -> Path:
    """Create or renew the environment of this level; return its Python."""
    python = venv_python()
    if up_to_date(level) and not cuda:
        return python
    check_python()
    started = time.perf_counter()
    current = claim()
    if not works(python):
        say("Creating the environment .venv ...")
        for part in VENV.iterdir():  # ours, made by another Python or half made; its stamp stays
            if part.name != STAMP:
                shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
        if subprocess.run([sys.executable, "-m", "venv", str(VENV)]).returncode:
            raise Stop("could not create .venv (on Debian and Ubuntu: sudo apt install python3-venv).")
    install_torch(python, ROOT, cuda)
    say("Installing the packages of the course ..." if level == "read" else f"Installing the packages ({level}) ...")
    install(python, ROOT, ["-r", str(ROOT / LEVELS[level])], "the packages")
    write_stamp({**current, **{one: fingerprint(one) for one in up_to(level)}})
    say(f"The environment is ready ({time.perf_counter() - started:.0f} s).")
    return python


def claim() -> dict:
    """Make .venv ours before anything is put into it; return the levels that are still current, and mark none as done.

    Raises:
        Stop: if something is there that this script did not make. It is neither emptied nor installed into.
    """
    if os.path.lexists(VENV) and not VENV.is_dir():
        raise Stop(f"{VENV} is a file, and the environment of the course would stand there. {REMEDY}")
    if VENV.is_dir() and any(VENV.iterdir()) and not (VENV / STAMP).exists():
        raise Stop(f"{VENV} was not made by this script, so it is left as it is. {REMEDY}")
    VENV.mkdir(exist_ok=True)
    current = {level: value for level, value in read_stamp().items() if level in LEVELS and value == fingerprint(level)}
    write_stamp({})  # an interrupted set-up must not look finished
    return current


def works(python: Path) -> bool:
    """True for an environment with pip whose Python is one of ours."""
    code = "import pip, sys; print(sys.version_info[:2])"
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    except OSError:
        return False
    return done.returncode == 0 and PYTHONS[0] <= tuple(ast.literal_eval(done.stdout.strip())) <= PYTHONS[1]


def inside() -> bool:
    return Path(sys.prefix).resolve() == VENV.resolve()


# ------------------------------------------------------------------------------------------------------ dispatch


def setup(argv: list) -> int:
    made = argparse.ArgumentParser(prog="tasks.py setup", description=COMMANDS["setup"].help)
    made.add_argument("--cuda", action="store_true", help="PyTorch with CUDA instead of the CPU build (gigabytes)")
    made.add_argument("--test", action="store_true", help="with the test tools")
    args = made.parse_args(argv)
    python = set_up("test" if args.test else "read", args.cuda)
    say(f"The environment is {VENV.name}, its Python {python.relative_to(ROOT)}.")
    return 0


def usage() -> str:
    here = {name: one for name, one in COMMANDS.items() if not one.module or importlib.util.find_spec(one.module)}
    lines = [f"  {name:<13} {command.help}" for name, command in here.items()]
    absent = [f"    python3 tasks.py {name} " for name in COMMANDS if name not in here]  # from the copy of a class
    about = "\n".join(line for line in __doc__.splitlines() if not line.startswith(tuple(absent)))
    return f"{about}\nCommands; each explains its options with -h:\n" + "\n".join(lines)


def restart(python: Path, argv: list) -> int:
    """Run this script again in the environment. One process takes the place of the other where the system can."""
    command = [str(python), str(ROOT / "tasks.py"), *argv]
    environment = child_environment(COURSE_READY="1")
    if os.name != "nt":
        sys.stdout.flush()
        os.execve(command[0], command, environment)
    process = subprocess.Popen(command, env=environment)
    while True:
        with contextlib.suppress(KeyboardInterrupt):  # the other process got it too, and ends by itself
            return process.wait()


def dispatch(argv: list) -> int:
    ready = os.environ.pop("COURSE_READY", "")  # set by restart(); not for the commands started from here
    current_env = argv[:1] == ["--current-env"]  # use this Python's packages, no .venv
    name, rest = (argv[current_env:] or ["-h"])[0], argv[current_env + 1 :]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, 1, 0.5)
        raise Stop(f"no command {name!r}.{f' Did you mean {close[0]}?' if close else ''} See: python3 tasks.py -h")
    check_python()
    command = COMMANDS[name]
    if not command.module:
        return setup(rest)
    if importlib.util.find_spec(command.module) is None:
        raise Stop(f"{command.module.replace('.', '/')}.py is not there: this copy of the course has no {name!r}.")
    if command.early:
        importlib.import_module(command.module).parse(rest)
    if command.environment and not current_env and not ready:
        python = set_up(command.environment)
        if not inside():
            return restart(python, argv)
    return importlib.import_module(command.module).main(rest) or 0


def main(argv: list | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        return dispatch(sys.argv[1:] if argv is None else argv)
    except Stop as stop:
        print(f"\ntasks.py: {stop}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("\ntasks.py: interrupted; nothing is left half written.", file=sys.stderr, flush=True)
        return 130
    except OSError as error:
        full = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
        if error.errno not in full and "temporary directory" not in str(error):
            raise
        where = error.filename or "the folder for temporary files (TMPDIR)"
        print(f"\ntasks.py: {error.strerror}: {where}. Nothing is left half written.", file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    for asked in {"SIGTERM", "SIGBREAK"} & set(dir(signal)):  # asked to end, by whatever signal: like Ctrl-C
        signal.signal(getattr(signal, asked), signal.default_int_handler)
    sys.exit(main())
