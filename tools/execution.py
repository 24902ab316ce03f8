"""Running notebooks through papermill: progress while they run, and one readable sentence when they fail."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .common import Stop, plain, say
from .project import code_cells, cores, load, tags

TIMEOUT = 900  # seconds for one cell
MEMORY = 1024**3  # bytes that one notebook may need


def jobs(wanted: int | None, notebooks: int) -> int:
    """How many notebooks run at a time: ``wanted``, or as many as cores and free memory allow."""
    import psutil

    limit = wanted or max(1, min(cores(), psutil.virtual_memory().available // MEMORY))
    return max(1, min(limit, notebooks))


class Progress:
    """Cells done and seconds of one notebook, its number in front of every line; several run side by side."""

    lock = threading.Lock()
    running: list[Progress] = []  # those that share the status line of a terminal

    def __init__(self, path: Path, cells: int) -> None:
        self.number, self.name = path.name[:2], path.name
        self.cells, self.done = cells, 0
        self.started = time.perf_counter()
        self.live = sys.stdout.isatty()
        with self.lock:
            self.running.append(self)
            self.show(f"{self.number}  {self.name}: {cells} code cells")

    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def show(self, line: str = "") -> None:
        """Print a line of its own, and in a terminal the status of all that run below it, rewritten in place."""
        if line:
            say(f"\r\033[K{line}" if self.live else line)
        if self.live:
            status = "  ".join(f"{one.number} cell {one.done}/{one.cells}" for one in self.running)
            print(f"\r\033[K{status}", end="", flush=True)

    def cell(self) -> None:
        with self.lock:
            self.done += 1
            often = not self.live and self.done % 20 == 0
            self.show(f"{self.number}  cell {self.done} of {self.cells}, {self.seconds():.0f} s" if often else "")

    def end(self, word: str = "done") -> None:
        with self.lock:
            self.running.remove(self)
            self.show(f"{self.number}  {word}: {self.done} of {self.cells} cells, {self.seconds():.1f} s")


@contextlib.contextmanager
def progress_of(path: Path) -> Iterator[Progress]:
    progress = Progress(path, len(code_cells(load(path))))
    try:
        yield progress
    except BaseException:
        progress.end("stopped")
        raise
    progress.end()


def run(path: Path, parameters: dict[str, Any], progress: Progress) -> Any:
    """Execute a notebook through papermill and return it as executed, without papermill's own cell.

    Nothing is written. The working folder of the kernel is the notebook's, as in JupyterLab. Runs in any thread.

    Raises:
        Stop: which cell failed, and how.
    """
    import logging

    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.engines import NBClientEngine, papermill_engines

    current: dict[str, Any] = {}

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **kwargs):
            start, complete = nb_man.cell_start, nb_man.cell_complete

            def cell_start(cell, *args, **more):
                current.update(cell=cell)
                return start(cell, *args, **more)

            def cell_complete(cell, *args, **more):
                counted = cell.cell_type == "code" and cell.source.strip() and "injected-parameters" not in tags(cell)
                failed = cell.metadata.papermill.get("exception") or sys.exc_info()[0]
                if counted and not failed:
                    progress.cell()
                return complete(cell, *args, **more)

            nb_man.cell_start, nb_man.cell_complete = cell_start, cell_complete
            return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)

    engine = f"course-{progress.number}"  # one for each notebook: each reports to its own progress
    papermill_engines.register(engine, Engine)
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        executed = papermill.execute_notebook(
            str(path),
            None,
            parameters=parameters,
            engine_name=engine,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            autosave_cell_every=0,
            execution_timeout=TIMEOUT,
            extra_arguments=["--log-level=50"],  # no warning about local sockets at every start
            resources={"metadata": {"path": str(path.parent)}},  # not papermill's cwd, which is the whole process's
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=True,
        )
    except papermill.PapermillExecutionError as error:
        raise failure(path, error.source, error.ename, error.evalue, "\n".join(error.traceback)) from None
    except DeadKernelError:
        remedy = "Most likely memory ran out: close other programs, or run fewer notebooks at a time (--jobs 1)."
        raise failure(path, current.get("cell", {}).get("source", ""), "the kernel died", remedy) from None
    except CellTimeoutError:
        late = f"no answer within {TIMEOUT} s"
        raise failure(path, current["cell"]["source"], "the cell took too long", late) from None
    return without_injection(executed)


def without_injection(notebook: Any) -> Any:
    """The notebook as if nothing had been injected: that cell gone, counts 1..N."""
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in tags(cell)]
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.execution_count is not None:
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count
    return notebook


def failure(path: Path, source: str, name: str, value: str, traceback: str = "") -> Stop:
    """Which notebook, which cell, which of its lines, which error."""
    cells = code_cells(load(path))
    number, cell = next(((i, c) for i, c in enumerate(cells, 1) if c["source"] == source), ("?", {}))
    arrows = re.findall(r"(?m)^-+> *\d+ (.*)$", plain(traceback))
    lines = [line for line in source.splitlines() if line.strip()]
    guilty = next((a.strip() for a in arrows if any(a.strip() == line.strip() for line in lines)), "")
    return Stop(
        f"{path.name} failed in code cell {number} (id {cell.get('id', '?')}), at\n"
        f"    {(guilty or (lines or [''])[0]).strip()}\n{name}: {plain(value)}"
    )
