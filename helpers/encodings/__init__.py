"""Every positional encoding of the series behind one contract, and the registry the race draws from.

Adding a scheme is one file in this folder and one line in :data:`SCHEMES`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..validate import one_of, positive_int, require
from .alibi import ALiBi
from .axial import AxialRoPE, MRoPE
from .base import Encoding, NoEncoding, positions
from .combine import Combined, PerLayer
from .config import RotaryParameters, from_config, layer_types
from .cope import CoPE
from .deberta import DeBERTa
from .fire import FIRE
from .kerple import Kerple
from .learned import Learned
from .mixed import MixedRoPE
from .pope import PoPE
from .rope import RoPE
from .sandwich import Sandwich
from .shaw import Shaw
from .sinusoidal import Sinusoidal
from .t5 import T5
from .temperature import PositionTemperature
from .transformer_xl import TransformerXL
from .window import SlidingWindow
from .xpos import XPos

# name -> builder from the shape of the model: d_model, n_heads, head_dim, train_len (the length trained on) and
# max_len (the longest length asked for). Extra keyword arguments reach the scheme.
SCHEMES: dict[str, Callable[..., Encoding]] = {
    "none": lambda s, **kw: NoEncoding(**kw),
    "sinusoidal": lambda s, **kw: Sinusoidal(s["d_model"], **kw),
    "learned": lambda s, **kw: Learned(s["d_model"], **{"max_len": s["max_len"], **kw}),
    "shaw": lambda s, **kw: Shaw(s["n_heads"], s["head_dim"], **kw),
    "deberta": lambda s, **kw: DeBERTa(
        s["d_model"], s["n_heads"], **{"max_distance": max(1, s["train_len"] * 3 // 4), **kw}
    ),
    "t5": lambda s, **kw: T5(
        s["n_heads"], **{"max_distance": max(17, s["train_len"] * 3 // 4), "std": s["d_model"] ** -0.5, **kw}
    ),
    "transformer_xl": lambda s, **kw: TransformerXL(s["d_model"], s["n_heads"], **kw),
    "rope": lambda s, **kw: RoPE(s["head_dim"], **kw),
    "pope": lambda s, **kw: PoPE(s["head_dim"], s["n_heads"], **kw),
    "xpos": lambda s, **kw: XPos(s["head_dim"], **kw),
    "alibi": lambda s, **kw: ALiBi(s["n_heads"], **kw),
    "kerple": lambda s, **kw: Kerple(s["n_heads"], **kw),
    "fire": lambda s, **kw: FIRE(s["n_heads"], **{"threshold": s["train_len"] / 2, **kw}),
    "sandwich": lambda s, **kw: Sandwich(s["n_heads"], **kw),
    "cope": lambda s, **kw: CoPE(s["head_dim"], **{"max_pos": s["train_len"], **kw}),
    "window": lambda s, **kw: SlidingWindow(**{"window": s["train_len"] // 2, **kw}),
}


def build(
    name: str, *, d_model: int = 64, n_heads: int = 4, train_len: int = 64, max_len: int = 512, **kwargs
) -> Encoding:
    """Build the scheme ``name`` for a model of this shape.

    Args:
        name: a key of :data:`SCHEMES`.
        d_model, n_heads: shape of the model; head_dim is d_model // n_heads.
        train_len: tokens in a training window (T5 sets its last bucket from it).
        max_len: longest input that will be asked for (size of a learned table).
        kwargs: passed to the scheme's constructor.

    Raises:
        ValueError: if the name is unknown, or an argument does not fit the scheme.
    """
    one_of("name", name, SCHEMES)
    shape = {"d_model": d_model, "n_heads": n_heads, "train_len": train_len, "max_len": max_len}
    for argument, value in shape.items():
        positive_int(argument, value)
    require(d_model % n_heads == 0, "n_heads", n_heads, f"must divide d_model={d_model}.")
    shape["head_dim"] = d_model // n_heads
    return SCHEMES[name](shape, **kwargs)


__all__ = [
    "SCHEMES",
    "build",
    "Encoding",
    "NoEncoding",
    "positions",
    "Sinusoidal",
    "Learned",
    "T5",
    "Shaw",
    "DeBERTa",
    "TransformerXL",
    "RoPE",
    "AxialRoPE",
    "MRoPE",
    "MixedRoPE",
    "XPos",
    "PoPE",
    "ALiBi",
    "Kerple",
    "FIRE",
    "Sandwich",
    "CoPE",
    "SlidingWindow",
    "PositionTemperature",
    "PerLayer",
    "Combined",
    "from_config",
    "layer_types",
    "RotaryParameters",
]
