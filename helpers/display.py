"""Start a notebook, and show figures so that they can be seen on GitHub, in JupyterLab and by a screen reader."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display
from PIL import Image

from . import facts
from .race import PRESETS
from .store import write_whole
from .validate import one_of, positive_int, require

STYLE = Path(__file__).with_name("style.mplstyle")


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
        parameters: the notebook's own knobs, noted in the manifest of the figures.

    Raises:
        ValueError: on an unknown notebook, preset or device, a negative seed, or "cuda" without a GPU.
    """
    global _course
    require(bool(re.fullmatch(r"0[1-6]", str(notebook))), "notebook", notebook, 'pass "01" to "06".')
    one_of("preset", preset, PRESETS)
    one_of("device", device, ("cpu", "cuda"))
    require(device == "cpu" or torch.cuda.is_available(), "device", device, 'no GPU is visible to PyTorch; pass "cpu".')
    positive_int("seed", seed, at_least=0)
    torch.set_num_threads(1)  # shared hosts report more cores than they give: two threads can be ten times slower
    torch.manual_seed(seed)
    plt.style.use(["default", STYLE])
    warnings.filterwarnings("ignore", message=".*IProgress.*")
    folder = None if figures_dir is None else Path(figures_dir).expanduser()
    noted = {"preset": preset, "seed": seed, **parameters}
    _course = Course(notebook, preset, seed, device, folder, noted)
    return _course


def show(fig: plt.Figure, name: str, alt: str, caption: str, interactive: Any = None) -> None:
    """Display a figure as PNG with alt text and caption, and close it.

    Args:
        fig: a matplotlib figure. It must carry the message alone: it is what GitHub shows.
        name: "NN_slug", which is also the file name under ``figures_dir``.
        alt: what is to be seen, in eight words or more, for whoever cannot see it.
        caption: one visible sentence.
        interactive: a plotly figure to go with it. JupyterLab shows it when the mouse enters the picture.

    Raises:
        ValueError: on a name that does not start with the notebook's number, a short alt text, or no caption.
    """
    require(
        bool(re.fullmatch(r"0[1-6]_[a-z0-9_]+", name)), "name", name, 'use "NN_slug" in lower case, as in "01_hero".'
    )
    require(not _course.notebook or name[:2] == _course.notebook, "name", name, f"must start with {_course.notebook}_.")
    require(len(alt.split()) >= 8, "alt", alt, "say in eight words or more what is to be seen.")
    require(bool(caption.strip()), "caption", caption, "write one sentence.")
    png = render(fig)
    plt.close(fig)
    bundle: dict[str, Any] = {"image/png": png, "text/plain": alt}
    if interactive is not None:
        bundle["application/vnd.plotly.v1+json"] = plotly_json(interactive)
    display(bundle, raw=True, metadata={"image/png": {"alt": alt}, "figure": name})
    display(Markdown(f"*{caption}*"))
    if _course.figures_dir is not None:
        write(png, name, alt)


def render(fig: plt.Figure) -> bytes:
    """PNG file of a figure, with what it shows written into it (``helpers/facts.py``).

    The same bytes each time on one machine. Lines and bars are reduced to the 256 colors that fit them best, a third
    of the size and no difference that an eye could see; a color map keeps all of its colors, or it would show steps.
    """
    pixels, shown = facts.draw(fig)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if not facts.has_color_map(shown):
        image = image.quantize(256, dither=Image.Dither.NONE)
    return facts.embed(image, shown)


def pixel_sha256(png: bytes) -> str:
    """Hash of the decoded pixels: what is seen, whatever compressed it."""
    return hashlib.sha256(np.ascontiguousarray(plt.imread(io.BytesIO(png), format="png")).tobytes()).hexdigest()


def write(png: bytes, name: str, alt: str) -> None:
    """Write ``figures_dir/name.png`` and its line in ``manifest.json``."""
    folder = _course.figures_dir
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{name}.png", png)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    height, width = plt.imread(io.BytesIO(png), format="png").shape[:2]
    manifest[name] = {
        "notebook": _course.notebook,
        "parameters": _course.parameters,
        "alt": alt,
        "matplotlib": matplotlib.__version__,
        "size": [width, height],
        "sha256_pixels": pixel_sha256(png),
    }
    write_whole(path, (json.dumps(dict(sorted(manifest.items())), indent=1) + "\n").encode())


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
