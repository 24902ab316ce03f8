"""The workshop around the course: the public host's workflow, the hooks before a commit, line ends, the changelog."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import tasks
from tools.project import Project

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PRE_COMMIT = ROOT / ".pre-commit-config.yaml"


def commands(markdown: str) -> list[str]:
    """The lines of tasks.py in a page's blocks of shell commands, without their comments."""
    blocks = "\n".join(re.findall(r"(?ms)^```sh\n(.*?)^```", markdown))
    return [" ".join(line.split()) for line in re.findall(r"(?m)^python3 (tasks\.py [^#\n]*)", blocks)]


def steps(path: Path) -> list[dict]:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_a_workflow_is_one_that_the_host_accepts(path):
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_a_workflow_may_only_read_and_names_versions_of_actions(path):
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used and all(re.fullmatch(r"[\w-]+/[\w.-]+@(v\d[\w.]*|[0-9a-f]{40})", name) for name in used), used


def test_the_workflow_runs_the_readme_s_commands_on_every_system_and_the_oldest_and_newest_python():
    readme = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert readme == ["tasks.py figures", "tasks.py test"]
    path = ROOT / ".github" / "workflows" / "tests.yml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    ran = [re.sub(r" *\$\{\{.*\}\}", "", step["run"]).removeprefix("python ") for step in steps(path) if "run" in step]
    assert [command for command in ran if command.startswith("tasks.py")] == readme
    (job,) = content["jobs"].values()
    assert {os.split("-")[0] for os in job["strategy"]["matrix"]["os"]} == {"ubuntu", "macos", "windows"}
    assert job["strategy"]["matrix"]["python"] == [f"{major}.{minor}" for major, minor in tasks.PYTHONS]
    # YAML 1.1 reads "on" as True
    assert {"push", "pull_request", "schedule"} <= set(content.get("on", content.get(True)))


@pytest.mark.parametrize(
    "page",
    [
        "README.md", "CONTRIBUTING.md", "results/README.md", "tests/README.md", "teaching/README.md",
        "teaching/projects.md", "teaching/classroom.md",
    ],
)  # fmt: skip
def test_commands_named_on_a_page_are_there_and_take_these_options(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`python3 tasks\.py ([^`\n]+)`", text) + [c.removeprefix("tasks.py ") for c in commands(text)]
    assert named
    for name, *rest in map(str.split, named):
        command = tasks.COMMANDS[name]
        module = importlib.import_module(command.module)
        try:
            module.parse(rest) if command.early else None
        except SystemExit as done:  # a list or a help was asked for
            assert not done.code, (name, rest)


def test_ci_runs_the_readme_s_test_command():
    assert "\npython3 tasks.py test " in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------- hooks


def hooks() -> dict[str, dict]:
    repositories = yaml.safe_load(PRE_COMMIT.read_text(encoding="utf-8"))["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    return {hook["id"]: hook for hook in repositories[0]["hooks"]}


def test_hooks_use_the_versions_of_the_tests():
    text = (ROOT / "requirements-test.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"(?m)^([\w-]+)==([\w.]+)", text))
    for name, hook in hooks().items():
        for requirement in hook.get("additional_dependencies", []):
            package, version = re.fullmatch(r"([\w-]+)(?:\[\w+\])?==([\w.]+)", requirement).groups()
            assert pins[package] == version, f"{name}: {requirement}, but the tests use {pins[package]}"


def test_hooks_call_what_is_there():
    hook = hooks()["notebooks"]
    assert hook["entry"].split()[1:] == ["tasks.py", "format"] and "format" in tasks.COMMANDS
    for entry in Project(ROOT).table["notebooks"]:
        assert re.search(hook["files"], f"notebooks/{entry['file']}")


# --------------------------------------------------------------------------------------------------- stored as it is


def git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        pytest.skip("not a checkout of git")
    return done.stdout


def test_text_is_stored_with_one_line_end_and_pictures_as_they_are():
    """.gitattributes would change a file stored otherwise, at the first commit that touches it."""
    wrong, files = [], git("ls-files", "--eol").splitlines()
    for line in files:
        fields, name = line.split("\t")
        stored, _, attributes = fields.split(maxsplit=2)
        binary = Path(name).suffix in (".png", ".npz", ".safetensors")
        if stored not in ("i/-text" if binary else "i/lf", "i/none") or ("-text" in attributes.split("/")[1]) != binary:
            wrong.append(line)
    assert len(files) > 100 and not wrong, wrong


def test_the_changelog_begins_with_what_is_not_released_and_is_in_order():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^## (.*)$", text)[0] == "Unreleased"
    dates = re.findall(r"(?m)^## .* - (\d{4}-\d\d-\d\d)$", text)
    assert dates == sorted(dates, reverse=True)
