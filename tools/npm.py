"""Packages of npm that the web pages need: fetched once with `npm pack`, and known by their hash. Nothing is installed.

Standard library only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from .common import Stop, say

# Package -> SHA-512 of its archive, as npm writes it in a lock file. MathJax draws the formulas, with its fonts in the
# second package; axe looks for what shuts people out, and only the tests use it.
HASHES = {
    "mathjax@4.1.3": "BN/8Pkgn7G1pIDYJqd9md+JHsE/jydSYbyOZnSdSA0WziuVO8mRxdYiWFumkVVly/8U+hm9DpIIoWuvySverzw==",
    "@mathjax/mathjax-newcm-font@4.1.3": (
        "gzAB3dFHilHX1l5x2xUqRL+1jDQt3Fyza1DkEMVXWC4E8SvsGdlgEza47HYi2WhVcgfkvf4zgUGzuhbq3Pjlew=="
    ),
    "axe-core@4.14.1": "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
}


def archive(package: str, cache: Path) -> Path:
    """The package's archive in the cache, fetched if it is not there.

    Raises:
        Stop: if npm is missing or cannot fetch it, or what came has another hash than this file says.
    """
    kept = cache / (package.replace("/", "-").lstrip("@") + ".tgz")
    if not kept.is_file() or digest(kept) != HASHES[package]:
        cache.mkdir(parents=True, exist_ok=True)
        fetch(package, kept)
    return kept


def digest(path: Path) -> str:
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def fetch(package: str, to: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise Stop(
            f"{package} comes with npm, which is not here: install Node.js (nodejs.org). It is fetched only once."
        )
    say(f"Fetching {package} with npm ...")
    with tempfile.TemporaryDirectory(dir=to.parent) as folder:
        command = [npm, "pack", "--json", package]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")
        if done.returncode:
            raise Stop(f"npm could not fetch {package}:\n{done.stderr.strip()[-400:]}")
        packed = Path(folder) / json.loads(done.stdout)[0]["filename"]
        if digest(packed) != HASHES[package]:
            raise Stop(f"{package} arrived with another hash than tools/npm.py says, so it is not used.")
        packed.replace(to)


def unpack(package: str, cache: Path, wanted: dict[str, Path]) -> None:
    """Write files of a package: a file or folder in it ("a/b.js", "a/") -> where it goes."""
    left = set(wanted)
    with tarfile.open(archive(package, cache)) as content:
        for member in content:
            name = member.name.partition("/")[2]
            for start, target in wanted.items():
                if member.isfile() and (name == start or (start.endswith("/") and name.startswith(start))):
                    to = target / name[len(start) :] if start.endswith("/") else target
                    to.parent.mkdir(parents=True, exist_ok=True)
                    to.write_bytes(content.extractfile(member).read())
                    left.discard(start)
    if left:
        raise Stop(f"{package} does not contain {', '.join(sorted(left))}.")
