"""Start a notebook, and show figures so that they can be seen on GitHub, in JupyterLab and by a screen reader."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display
from PIL import Image

from . import explore, facts, knobs
from .plotting import Picture, darken_texts
from .store import locked, write_whole
from .validate import one_of, require

STYLE = Path(__file__).with_name("style.mplstyle")
NOTEBOOKS = ("01", "02", "03", "04", "05", "06")


@dataclass
class Course:
    """What :func:`start` was told: the notebook's number and its parameters."""

    notebook: str = ""
    preset: str = "quick"
    seed: int = 0
    device: str = "cpu"
    figures_dir: Path | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


_course = Course()


def start(
    notebook: str,
    *,
    preset: str = "quick",
    seed: int = 0,
    device: str = "cpu",
    figures_dir: str | None = None,
    **parameters,
) -> Course:
    """Prepare a notebook: figure style, one thread, seeds, and where figures go.

    Args:
        notebook: its two-digit number, "01" to "06".
        preset: "quick" or "full".
        seed: of torch; NumPy's generators take theirs from ``default_rng(seed)``.
        device: "cpu" or "cuda".
        figures_dir: folder to write figures to, relative to where Python was started; None writes nothing.
        parameters: the notebook's own knobs (``helpers/knobs.py``), noted in the manifest of the figures.

    Raises:
        ValueError: on an unknown notebook or knob, on a value that does not fit its knob, on "cuda" without a GPU,
            and on a ``figures_dir`` that cannot be written to or whose manifest.json is not the course's.
    """
    global _course
    one_of("notebook", notebook, NOTEBOOKS)
    noted = {"preset": preset, "seed": seed, **parameters}
    for name, value in {**noted, "device": device, "figures_dir": figures_dir}.items():
        knobs.check(name, value)
    require(device == "cpu" or torch.cuda.is_available(), "device", device, 'no GPU is visible to PyTorch; pass "cpu".')
    folder = None if figures_dir is None else _usable(Path(figures_dir).expanduser())
    torch.set_num_threads(1)  # shared hosts report more cores than they give: two threads can be ten times slower
    torch.manual_seed(seed)
    plt.style.use(["default", STYLE])
    warnings.filterwarnings("ignore", message=".*IProgress.*")
    _course = Course(notebook, preset, seed, device, folder, noted)
    return _course


def _usable(folder: Path) -> Path:
    """The folder, made if need be, once it is known that figures can be written there: minutes before the first is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / MANIFEST):
            read_manifest(folder)
    except OSError as error:
        raise ValueError(f"figures_dir={str(folder)!r}: cannot be written to ({error}); name another folder.") from None
    return folder


def show(picture: Picture) -> None:
    """Display a picture as PNG with alternative text and caption, and close its figure.

    Raises:
        ValueError: on a name that does not start with the notebook's number.
    """
    name, alt = picture.name, picture.alt
    require(not _course.notebook or name[:2] == _course.notebook, "name", name, f"must start with {_course.notebook}_.")
    png = render(picture.fig)
    plt.close(picture.fig)
    bundle: dict[str, Any] = {"image/png": png, "text/plain": alt}
    if picture.interactive is not None:
        bundle["application/vnd.plotly.v1+json"] = plotly_json(picture.interactive)
    metadata: dict[str, Any] = {"image/png": {"alt": alt}, "figure": name}
    if picture.explorable is not None:
        metadata["explorable"] = asdict(picture.explorable)
        for have, more in zip((bundle, metadata), explore.live_view(picture.explorable), strict=True):
            have |= more
    display(bundle, raw=True, metadata=metadata)
    display(Markdown(f"*{picture.caption}*"))
    if _course.figures_dir is not None:
        write(png, name, alt)


def render(fig: plt.Figure) -> bytes:
    """PNG file of a figure, with what it shows written into it (``helpers/facts.py``).

    The same bytes each time on one machine. Texts are darkened where they would be too pale to read.
    """
    darken_texts(fig)
    pixels, shown = facts.draw(fig)
    return facts.embed(palette_image(pixels), shown)


def palette_image(pixels: np.ndarray) -> Image.Image:
    """An image of at most 256 colors, a third of the size in a file.

    The palette starts with the most frequent color and takes, again and again, the color that is worst served,
    its distance from the palette weighted by how many pixels have it. So a color map keeps its colors (what fills
    20 pixels moves by a few of 255), and what gives way are the rare mixtures at the edges of letters. Taking
    averages of similar colors instead, as Pillow's own reduction does, shows as steps in a color map.

    Args:
        pixels: uint8 (height, width, 3).
    """
    code = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)  # (height, width)
    codes = np.unique(code)
    place = np.searchsorted(codes, code.ravel())
    weight = np.log2(1 + np.bincount(place))
    colors = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)  # (colors, 3)
    distance, entry = np.full(len(colors), 256), np.zeros(len(colors), dtype=np.uint8)
    palette: list[np.ndarray] = []
    while len(palette) < 256 and distance.any():
        chosen = colors[(distance * weight).argmax()]
        new = np.abs(colors - chosen).max(axis=1)
        entry[new < distance] = len(palette)
        distance = np.minimum(distance, new)
        palette.append(chosen)
    image = Image.fromarray(entry[place].reshape(code.shape))
    image.putpalette(np.array(palette, dtype=np.uint8).tobytes())
    return image


def pixel_sha256(png: bytes) -> str:
    """Hash of the decoded pixels: what is seen, whatever compressed it."""
    return hashlib.sha256(np.ascontiguousarray(plt.imread(io.BytesIO(png), format="png")).tobytes()).hexdigest()


MANIFEST = "manifest.json"
FIELDS = ("notebook", "parameters", "alt", "matplotlib", "size", "sha256_pixels")


def write(png: bytes, name: str, alt: str) -> None:
    """Write ``figures_dir/name.png`` and its line in ``manifest.json``; several notebooks may share the folder."""
    folder = _course.figures_dir
    width, height = Image.open(io.BytesIO(png)).size
    entry = (_course.notebook, _course.parameters, alt, matplotlib.__version__, [width, height], pixel_sha256(png))
    with locked(folder / MANIFEST):
        manifest = read_manifest(folder)
        manifest[name] = dict(zip(FIELDS, entry, strict=True))
        write_whole(folder / f"{name}.png", png)
        write_whole(folder / MANIFEST, (json.dumps(dict(sorted(manifest.items())), indent=1) + "\n").encode())


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Figure name -> what made it, from a folder's ``manifest.json``; empty if there is none.

    Raises:
        ValueError: if the file is broken, or not a manifest of this course: it is somebody else's, and stays.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        ours = all(set(FIELDS) <= set(entry) for entry in manifest.values())
    except (ValueError, AttributeError, TypeError):  # not JSON, not a dictionary of dictionaries
        ours = False
    require(
        ours, "figures_dir", str(folder), f"its {MANIFEST} is not one of this course's figures; name another folder."
    )
    return manifest


def plotly_json(figure: Any, digits: int = 4) -> dict:
    """Plain plotly JSON: numbers rounded, no template, so that it is small and the same on every machine.

    What is not finite becomes null, a gap in the curve: NaN and Infinity are not JSON, and break the notebook's file.
    """
    figure.update_layout(
        template=None, font_family="DejaVu Sans, Arial, sans-serif", paper_bgcolor="white", plot_bgcolor="white"
    )

    def plain(value: Any) -> Any:
        if isinstance(value, dict) and "bdata" in value:  # how plotly packs NumPy arrays: all their bits, unreadable
            value = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"]).reshape(
                [int(n) for n in str(value.get("shape", "-1")).split(",")]
            )
        if isinstance(value, dict):
            return {key: plain(v) for key, v in value.items()}
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        if isinstance(value, float | np.floating):
            return round(float(value), digits) + 0.0 if np.isfinite(value) else None  # + 0.0 turns -0.0 into 0.0
        return value.item() if isinstance(value, np.generic) else value

    return plain(figure.to_dict())
