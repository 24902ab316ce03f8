"""What pytest does on top: notebooks checked by nbval also have their pictures compared with the saved ones.

One execution serves both. nbval compares what a cell prints and the alternative texts; it skips pictures. Here
``tools/sameness.py`` compares them with the committed output: texts exactly, values within a tolerance, pixels last.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported here or in a kernel

_seen: Counter = Counter()


def pytest_addoption(parser):
    parser.addoption("--nightly", action="store_true", help="also run the tests marked nightly")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--nightly"):
        left_out = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]


def pytest_configure(config):
    import hypothesis

    # The same examples on every run, and no deadline on a machine that others use too.
    hypothesis.settings.register_profile("course", derandomize=True, deadline=None)
    hypothesis.settings.load_profile("course")


@pytest.fixture
def course(tmp_path):
    """A miniature of the course with one notebook, 02, and figures of an earlier run (tests of the tools)."""
    from tests.repository import miniature

    return miniature.course(tmp_path)


def pytest_collectstart(collector):
    if type(collector).__name__ != "IPyNbFile":
        return
    from tools import sameness

    collector.skip_compare += (sameness.PLOTLY,)  # dictionaries of floats: compared below instead
    values = collector.path.parents[1] / "tests" / "notebooks" / f"values_{collector.path.name[:2]}.py"
    if values.exists():
        collect = collector.collect
        collector.collect = lambda: [*collect(), Values.from_parent(collector, name=values.stem, file=values)]


class Values(pytest.Item):
    """Runs a file of assertions in the notebook's kernel after its last cell: tests on the notebook's own values."""

    def __init__(self, file, **kwargs):
        super().__init__(**kwargs)
        self.file = file

    def runtest(self):
        kernel = self.parent.kernel
        kernel.execute_cell_input(f"exec(compile(open({str(self.file)!r}).read(), {str(self.file)!r}, 'exec'))")
        while True:
            message = kernel.get_message("iopub", timeout=60)
            if message["msg_type"] == "error":
                raise ValuesError("\n".join(message["content"]["traceback"]))
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return

    def repr_failure(self, excinfo, style=None):
        return str(excinfo.value) if isinstance(excinfo.value, ValuesError) else super().repr_failure(excinfo, style)

    def reportinfo(self):
        return self.file, 0, f"{self.parent.path.name}: values after the last cell"


class ValuesError(Exception):
    """An assertion of a values file failed in the kernel."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    result = yield
    if type(item).__name__ == "IPyNbCell" and item.test_outputs is not None and not item.options["skip"]:
        from tools import sameness

        contents = item.options["check"]
        what = "compared" if contents else "not compared: output ignored by its tag"
        _seen[what] += len(sameness.pictures(item.test_outputs))
        found = sameness.output_difference(item.cell.outputs, item.test_outputs, contents)
        if found:
            remedy = f"python3 tasks.py execute --only {item.parent.path.name[:2]}"
            item.raise_cell_error(f"{found}; if that is meant, run: {remedy}")
    return result


def pytest_terminal_summary(terminalreporter):
    for what, number in sorted(_seen.items()):
        terminalreporter.write_line(f"figures {what}: {number}")
