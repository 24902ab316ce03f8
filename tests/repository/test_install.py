"""What a run puts into figures/: what changed, and nothing of others."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository.miniature import contents, fresh_folder, picture
from tools import execute, figures
from tools.common import Stop

ROOT = Path(__file__).resolve().parents[2]


def test_a_picture_that_is_the_same_leaves_file_and_manifest_alone(tmp_path):
    target = tmp_path / "figures"
    figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture()})], target, ["02"])
    before = contents(target)
    elsewhere = picture(noise=1e-3)
    assert elsewhere != picture()
    done = figures.install([fresh_folder(tmp_path / "b", **{"02_loss": elsewhere})], target, ["02"])
    assert done == (1, []) and contents(target) == before


@pytest.mark.parametrize("title", ["loss +0.13", "lost +0.12"])
def test_one_digit_or_one_word_replaces_the_picture(tmp_path, title):
    target = tmp_path / "figures"
    figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture()})], target, ["02"])
    number, changed = figures.install([fresh_folder(tmp_path / "b", **{"02_loss": picture(title)})], target, ["02"])
    assert number == 1 and "'loss +0.12' became" in changed[0] and title in changed[0]
    assert (target / "02_loss.png").read_bytes() == picture(title)
    assert json.loads((target / "manifest.json").read_text())["02_loss"]["sha256_pixels"] == str(hash(picture(title)))


def test_another_alternative_text_changes_the_manifest_and_not_the_file(tmp_path):
    target = tmp_path / "figures"
    figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture()})], target, ["02"])
    folder = fresh_folder(tmp_path / "b", **{"02_loss": picture(noise=1e-3)})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["02_loss"]["alt"] = "another"
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert figures.install([folder], target, ["02"]) == (1, ["02_loss: its line in the manifest"])
    saved = json.loads((target / "manifest.json").read_text())["02_loss"]
    assert saved["alt"] == "another" and saved["sha256_pixels"] == str(hash(picture()))
    assert (target / "02_loss.png").read_bytes() == picture()


def test_a_run_leaves_nothing_that_git_would_see(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture()})], tmp_path / "figures", ["02"])
    status = ["git", "-C", str(tmp_path), "status", "--short", "--untracked-files=all", "figures"]
    seen = subprocess.run(status, capture_output=True, text=True, check=True).stdout.split()[1::2]
    assert seen == ["figures/02_loss.png", "figures/manifest.json"]


def test_pictures_that_no_manifest_names_stay(tmp_path):
    target = tmp_path / "figures"
    target.mkdir()
    (target / "02_holiday.png").write_bytes(b"mine")
    figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture()})], target, ["02"])
    figures.install([fresh_folder(tmp_path / "b", **{"02_other": picture()})], target, ["02"])
    assert set(contents(target)) - {".manifest.json.lock"} == {"02_holiday.png", "02_other.png", "manifest.json"}
    assert (target / "02_holiday.png").read_bytes() == b"mine"


def test_a_picture_of_the_same_name_that_is_not_ours_stays(tmp_path):
    target = tmp_path / "figures"
    target.mkdir()
    (target / "02_loss.png").write_bytes(b"mine")
    with pytest.raises(Stop, match="02_loss.png is there already and is not a figure of this course"):
        figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture()})], target, ["02"])
    assert (target / "02_loss.png").read_bytes() == b"mine" and not (target / "manifest.json").exists()


@pytest.mark.parametrize("foreign", ['{"name": "my web app"}', '{"02_loss": {"notebook": "03"}}', "[]"])
def test_a_foreign_manifest_is_refused_before_anything_runs(course, foreign):
    out = course.root / "out"
    out.mkdir()
    (out / "manifest.json").write_text(foreign, encoding="utf-8")
    with pytest.raises(Stop, match="was not written by this course"):
        figures.main(["--out", str(out)], course)
    assert {path.name: path.read_text() for path in out.iterdir()} == {"manifest.json": foreign}


def test_a_damaged_manifest_is_named_with_the_way_back(course):
    (course.figures / "manifest.json").write_text('{"02_gone": {', encoding="utf-8")
    with pytest.raises(Stop, match=r"manifest.json is damaged .*git -C .*figures checkout -- manifest.json"):
        figures.main([], course)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(course, monkeypatch):
    (course.root / "file").write_text("")
    with pytest.raises(Stop, match="cannot be written to"):
        figures.main(["--out", str(course.root / "file" / "out")], course)

    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(figures.tempfile, "TemporaryFile", read_only)
    for tool in (figures, execute):
        with pytest.raises(Stop, match=r"figures cannot be written to \(Read-only file system\)"):
            tool.main([], course)


def test_a_full_disk_changes_nothing(tmp_path, monkeypatch):
    target = tmp_path / "figures"
    figures.install([fresh_folder(tmp_path / "a", **{"02_loss": picture(), "02_old": picture()})], target, ["02"])
    before = contents(target)
    fresh = fresh_folder(tmp_path / "b", **{"02_loss": picture("a"), "02_new": picture("b")})
    write, written = Path.write_bytes, []

    def full(path, data):
        written.append(path)
        if len(written) == 3:
            write(path, data[:10])
            raise OSError(28, "No space left on device")
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError):
            figures.install([fresh], target, ["02"])
    assert len(written) == 3 and contents(target) == before


@pytest.mark.slow
def test_many_runs_into_one_folder_lose_nothing(tmp_path):
    """Ten processes, each with a picture of its own."""
    code = "import sys, pathlib; from tools import figures; p = pathlib.Path;" + (
        "figures.install([p(sys.argv[1])], p(sys.argv[2]), [sys.argv[3]], lambda a, b: a != b)"
    )
    names = [f"{number:02}_loss" for number in range(10)]
    folders = [fresh_folder(tmp_path / name, **{name: b"png"}) for name in names]
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), str(tmp_path / "out"), folder.name[:2]], cwd=ROOT)
        for folder in folders
    ]
    assert [process.wait() for process in running] == [0] * len(names)
    assert list(json.loads((tmp_path / "out" / "manifest.json").read_text())) == names
