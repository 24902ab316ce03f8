"""From a model's config.json to its positions: frequencies, width, layout, scale, or the bias scheme built.

:func:`from_config` reads what published files say, in the spelling of transformers 4 (``rope_scaling``, ``rope_theta``)
and of transformers 5 (``rope_parameters``), and hands the numbers to the rules of :mod:`~helpers.encodings.extension`.
What a file does not say is never replaced by a plausible number: either the model's code fixes it (the tables below,
one line per family) or the file is refused by naming key, value and remedy.

Paths in comments are those of transformers 5.23.0, ``src/transformers``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..validate import even_int, one_of, positive_int, positive_number, require
from .alibi import ALiBi, alibi_slopes
from .axial import MRoPE
from .base import Encoding, NoEncoding
from .combine import Combined, PerLayer
from .extension import (
    Extension,
    dynamic_ntk,
    llama3,
    longrope,
    p_rope,
    position_interpolation,
    temperature_factor,
    yarn,
)
from .rope import RoPE, rope_frequencies
from .t5 import T5
from .temperature import PositionTemperature

# ------------------------------------------------------------------ what a model's code fixes and its file leaves out

# Layout of the rotated channels, by model type ("_text" taken off). models/*/modeling_*.py, rotate_half and its kin.
HALF = """
    apertus exaone4 falcon gemma gemma2 gemma3 gemma4 glm4_moe gpt_neox gpt_oss granite llama minimax_m2 ministral3
    mistral mixtral modernbert nemotron olmo olmo2 olmo3 persimmon phi phi3 qwen2 qwen2_5_vl qwen2_moe qwen2_vl qwen3
    qwen3_5 qwen3_moe qwen3_next qwen3_vl smollm3 stablelm starcoder2
""".split()
INTERLEAVED = "codegen cohere cohere2 deepseek_v2 deepseek_v3 ernie4_5 glm glm4 glm4v gptj llama4 roformer".split()
# A name of its own for the code of another family.
SAME_CODE = {"kimi_k2": "deepseek_v3", "RefinedWeb": "falcon", "RefinedWebModel": "falcon"}
# The base stands in the code, because the family is older than the key ``rope_theta``.
BASE_IN_CODE = {"codegen": 10_000.0, "falcon": 10_000.0, "gptj": 10_000.0, "llama": 10_000.0, "roformer": 10_000.0}
# Softmax scale that no key gives.
SCALE_IN_CODE = {"gemma4": 1.0}
# Layers of this type are not rotated.
NOT_ROTATED = {"cohere2": "full_attention", "exaone4": "full_attention"}
# Every other layer has a window, and no key says which.
ALTERNATING = ("gemma2", "gpt_oss")
# In files with one ``rope_scaling``, it is meant for these layers; the others keep the plain frequencies.
SCALED_LAYERS = {"olmo3": "full_attention"}
# The base of the layers with a window is a key of its own, in files without one set per layer type.
LOCAL_BASE = {"gemma3": "rope_local_base_freq", "modernbert": "local_rope_theta"}
# Sections of M-RoPE are dealt out in turn, whether or not the file says ``mrope_interleaved``.
SECTIONS_IN_TURN = ("qwen3_5", "qwen3_vl")
# Families with a table or a bias instead of rotation, and what to build by hand.
LEARNED = "bert bart deberta deberta-v2 distilbert electra gpt2 gpt_bigcode gpt_neo opt roberta vit".split()
ALIBI = ("bloom", "mpt", "mosaic_gpt", "replit_lm")
T5_FAMILY = ("mt5", "switch_transformers", "t5", "umt5")

KINDS = {"su": "longrope", "mrope": "default"}
"""Old names of kinds: Phi-3's first files, and Qwen2-VL's, where the sections say the rest."""

ANY_KIND = ("rope_type", "type", "rope_theta", "partial_rotary_factor", "mrope_section", "mrope_interleaved")
KEYS = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor", "original_max_position_embeddings"),
    "yarn": (
        "factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "mscale",
        "mscale_all_dim", "truncate", "finetuned", "llama_4_scaling_beta",
    ),
    "longrope": (
        "factor", "original_max_position_embeddings", "attention_factor", "short_factor", "long_factor",
    ),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "proportional": ("factor",),
}  # fmt: skip
"""Every kind, and the keys it reads beyond those of :data:`ANY_KIND`. Any other key in its dictionary is refused."""

NAMES = {
    "hidden_size": ("hidden_size", "n_embd", "n_embed", "d_model"),
    "num_attention_heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "num_key_value_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "max_position_embeddings": ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"),
    "rope_theta": ("rope_theta", "rotary_emb_base"),
    "partial_rotary_factor": ("partial_rotary_factor", "rotary_pct"),
    "original_max_position_embeddings": ("original_max_position_embeddings", "initial_context_length"),
    "dtype": ("dtype", "torch_dtype"),
}
"""One name per thing, and the spellings that files use for it."""

_NESTED = ("text_config", "llm_config", "language_config")
_LOCAL, _GLOBAL = "sliding_attention", "full_attention"
NO_KEYS = ("linear_attention", "conv", "mamba")  # layers of these types form no logits: positions do not enter


@dataclass(frozen=True, eq=False)
class RotaryParameters:
    """What a configuration says of one kind of rotated layer; :meth:`build` makes the rotation.

    Attributes:
        kind: a key of :data:`KEYS`.
        inv_freq: radians per position: (rotary_dim / 2,) float64.
        attention_factor: multiplies cos and sin. Logits of the rotated channels grow by its square.
        head_dim: width of a query or key.
        rotary_dim: number of channels that are rotated.
        rotated: which ones, "first" or "last" of the head.
        layout: how they form pairs, "half" or "interleaved"; None if the model type does not decide it.
        base: of the frequencies before the rule.
        scale: softmax scale; None means 1/sqrt(head_dim).
        sections: pairs per axis of M-RoPE; None for one axis.
        mrope_interleaved: whether the sections are dealt out in turn.
        factor: of the rule; None for the default kind.
        original_max_position_embeddings: trained length in tokens, from which the rule counts; None if no key says it.
        max_position_embeddings: longest length that the file declares; None if it names none.
        temperature: (beta, length) multiplies queries at position p by 1 + beta ln(1 + floor(p / length)); or None.
        layer_type: the layers it holds for; None means all.
    """

    kind: str
    inv_freq: Tensor
    attention_factor: float
    head_dim: int
    rotary_dim: int
    rotated: str
    layout: str | None
    base: float
    scale: float | None = None
    sections: tuple[int, ...] | None = None
    mrope_interleaved: bool = False
    factor: float | None = None
    original_max_position_embeddings: int | None = None
    max_position_embeddings: int | None = None
    temperature: tuple[float, int] | None = None
    layer_type: str | None = None

    @property
    def axes(self) -> int:
        """Coordinates of a position."""
        return 1 if self.sections is None else len(self.sections)

    def build(self, layout: str | None = None) -> Encoding:
        """The rotation, with all that the file says of it: ``RoPE``, or ``MRoPE`` with sections.

        With a temperature by position it is a ``Combined`` of the two.

        Args:
            layout: how channels form pairs, where the model type does not decide it, and only there.

        Raises:
            ValueError: if the layout is missing, or contradicts the model type.
        """
        remedy = "this model type does not decide it; pass the layout that its code has: 'half' or 'interleaved'."
        require(layout is not None or self.layout is not None, "layout", None, remedy)
        remedy = f"the model's code has {self.layout!r}; leave it out."
        require(layout is None or self.layout in (None, layout), "layout", layout, remedy)
        common = {
            "head_dim": self.head_dim, "base": self.base, "layout": layout or self.layout, "inv_freq": self.inv_freq,
            "attention_factor": self.attention_factor, "rotary_dim": self.rotary_dim, "rotated": self.rotated,
            "scale": self.scale,
        }  # fmt: skip
        if self.sections is None:
            rotation = RoPE(**common)
        else:
            rotation = MRoPE(**common, sections=self.sections, mrope_interleaved=self.mrope_interleaved)
        return rotation if self.temperature is None else Combined([rotation, PositionTemperature(*self.temperature)])


def from_config(
    config: Mapping[str, Any] | str | os.PathLike, *, seq_len: int | None = None, layer_type: str | None = None
) -> RotaryParameters | Encoding:
    """Read a model's configuration.

    Args:
        config: the content of a config.json, or the path of one.
        seq_len: current length in tokens, for the two kinds that depend on it (dynamic, longrope). None means as at
            load time. Every other kind, and every bias, gives the same answer at any length.
        layer_type: which layers, where they differ: a name of :func:`layer_types`, or "encoder" and "decoder" for T5.

    Returns:
        :class:`RotaryParameters`, for models that rotate. The scheme built, for the others: ``ALiBi`` (BLOOM, MPT, some
        Falcons), ``T5`` (for UMT5 ``PerLayer``, a table in each), and for layers without rotation ``NoEncoding``, or
        ``PositionTemperature`` (Llama 4).

    Raises:
        ValueError: naming key, value and remedy, if the file lacks what its kind needs, contradicts itself, names an
            unknown kind, or describes layers that differ and no ``layer_type`` was given.
    """
    text = language_model(read_config(config))
    if seq_len is not None:
        positive_int("seq_len", seq_len)
    family = model_family(text)
    if family in T5_FAMILY:
        return _t5(text, layer_type)
    if family in ALIBI or text.get("alibi") is True:
        return _alibi(text, family, layer_type)
    remedy = "has no rotation: its positions are learned. Build Learned(d_model, max_len), or DeBERTa, by hand."
    require(family not in LEARNED, "model_type", text.get("model_type"), remedy)
    sets = rotary_sets(text)
    if layer_type is None:
        remedy = f"the layers differ; choose one of {', '.join(map(repr, sets))}."
        require(alike(sets), "layer_type", None, remedy)
        chosen = next(iter(sets.values()))
    else:
        chosen = sets[one_of("layer_type", layer_type, sets)]
    if chosen is None:
        return _without_rotation(text)
    return _rotary(text, family, chosen, seq_len, layer_type)


def read_config(config: Mapping[str, Any] | str | os.PathLike) -> dict[str, Any]:
    """The content of a configuration: a copy of a mapping, or what a config.json holds (else ValueError)."""
    if isinstance(config, Mapping):
        return dict(config)
    remedy = "pass the content of a config.json as a mapping (of a transformers object: config.to_dict()), or its path."
    require(isinstance(config, str | os.PathLike), "config", type(config).__name__, remedy)
    path = Path(config)
    remedy = "is no file. Names on a hub are not looked up: download the model's config.json and pass its path."
    require(not path.is_dir(), "config", str(config), f"is a folder; pass {path / 'config.json'}.")
    require(path.is_file(), "config", str(config), remedy)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not UTF-8, or not JSON
        raise ValueError(f"config={str(config)!r}: is not JSON ({error}); pass the model's config.json.") from None
    require(isinstance(content, dict), "config", str(config), "must hold one JSON object: a model's config.json.")
    return content


def language_model(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part that describes the language model: the whole, or what is nested under "text_config" and its kin.

    Of the outer part, only the number format is taken over where the inner part has none. ValueError if a position key
    stands in both with different values.
    """
    for name in _NESTED:
        inner = config.get(name)
        if isinstance(inner, Mapping):
            for key in ("rope_scaling", "rope_parameters", *NAMES["rope_theta"], *NAMES["max_position_embeddings"]):
                outer, own = config.get(key), inner.get(key)
                remedy = f"{name} has {own!r}; keep the one that the model was trained with."
                require(outer is None or own is None or outer == own, key, outer, remedy)
            shared = {key: config[key] for key in ("dtype", "torch_dtype", "architectures") if key in config}
            return {**shared, **inner}
    return dict(config)


def model_family(text: Mapping[str, Any]) -> str:
    """Name of the code that the model runs: the model type without "_text", or the type whose code it shares."""
    name = str(text.get("model_type", "")).removesuffix("_text")
    return SAME_CODE.get(name, name)


def value(text: Mapping[str, Any], name: str, why: str = "") -> Any:
    """The value of a key under any of its :data:`NAMES`.

    Args:
        text: a configuration.
        name: a key of :data:`NAMES`, or any other key.
        why: what needs it; "" makes the key optional.

    Returns:
        The value, or None if the key is absent (null counts as absent) and optional.

    Raises:
        ValueError: if two spellings disagree, or the key is absent and needed.
    """
    found = {key: text[key] for key in NAMES.get(name, (name,)) if text.get(key) is not None}
    first = next(iter(found.values()), None)
    for key, other in found.items():
        remedy = f"{next(iter(found))} says {first!r}; keep one of the two."
        require(other == first, key, other, remedy)
    require(first is not None or not why, name, None, f"{why}; add the key as the model's authors published it.")
    return first


# --------------------------------------------------------------------------------------------------------- the layers


def layer_types(config: Mapping[str, Any] | str | os.PathLike) -> tuple[str, ...]:
    """The type of every layer, as the file or the model's code names it, first layer first.

    "full_attention", "sliding_attention", "chunked_attention", "linear_attention", and "no_rope" for full attention
    without rotation. ValueError if the file does not give the number of layers, or gives two.
    """
    text = language_model(read_config(config))
    family = model_family(text)
    n = positive_int("num_hidden_layers", value(text, "num_hidden_layers", "counts the layers"))
    named = text.get("layer_types")
    flags = _rotated_flags(text, family, n)
    if named is not None:
        remedy = f"must have num_hidden_layers={n} entries."
        require(len(named) == n, "layer_types", f"{len(named)} entries", remedy)
    elif family == "llama4":
        named = ["chunked_attention" if flag else _GLOBAL for flag in flags]
    else:
        named = [_GLOBAL if _sees_everything(text, family, i) else _LOCAL for i in range(n)]
    if flags is not None and family != "llama4":
        named = [kind if flag else "no_rope" for kind, flag in zip(named, flags, strict=True)]
    return tuple(named)


def _rotated_flags(text: Mapping[str, Any], family: str, n: int) -> list[int] | None:
    """1 for a layer with rotation, 0 without (in ``no_rope_layers`` 1 means *with*); None if all layers are alike."""
    flags, every = text.get("no_rope_layers"), text.get("no_rope_layer_interval")
    if family == "llama4" and not flags and every is None:
        every = 4  # models/llama4/configuration_llama4.py
    if not flags and every is not None:
        flags = [int((i + 1) % positive_int("no_rope_layer_interval", every) != 0) for i in range(n)]
    require(not flags or len(flags) == n, "no_rope_layers", flags, f"must have num_hidden_layers={n} entries.")
    return flags or None


def _sees_everything(text: Mapping[str, Any], family: str, layer: int) -> bool:
    """Whether a layer attends to the whole context, in files that do not list ``layer_types``."""
    every = text.get("sliding_window_pattern", text.get("_sliding_window_pattern"))
    if isinstance(every, str) and every:  # "LLLG"
        return every[layer % len(every)] == "G"
    if every:
        return (layer + 1) % every == 0
    if text.get("global_attn_every_n_layers"):
        return layer % text["global_attn_every_n_layers"] == 0
    if family in ALTERNATING:
        return layer % 2 == 1
    if text.get("sliding_window") is None or text.get("use_sliding_window") is False:
        return True
    if text.get("use_sliding_window") is True:  # Qwen: windows only from layer max_window_layers on
        return layer < value(text, "max_window_layers", "use_sliding_window=True needs it")
    return False  # Mistral, Phi-3: a window in every layer


def rotary_sets(text: Mapping[str, Any]) -> dict[str, dict[str, Any] | None]:
    """The rotary dictionary of every layer type that has keys; None for layers that are not rotated.

    ValueError if two spellings disagree, or a layer type has no set of its own.
    """
    family = model_family(text)
    rope = _dictionary(text)
    counted = value(text, "num_hidden_layers") is not None
    present = dict.fromkeys(t for t in layer_types(text) if t not in NO_KEYS) if counted else {_GLOBAL: None}
    nested = {key: each for key, each in rope.items() if key not in ANY_KIND and _is_set(key, each)}
    if nested:
        loose = sorted(set(rope) - set(nested))
        require(not loose, "rope_parameters", loose, f"put these keys into the sets of {', '.join(nested)}.")
        lacking = [t for t in present if t not in nested]
        remedy = f"rope_parameters has sets for {', '.join(nested)} only; add theirs."
        require(not lacking, "layer_types", lacking, remedy)
        return {t: None if nested[t] is None else dict(nested[t]) for t in present or nested}
    sets: dict[str, dict[str, Any] | None] = {t: dict(rope) for t in present}
    local = _local_base(text, family)
    if local is not None and _LOCAL in sets:
        sets[_LOCAL] = {"rope_type": "default", "rope_theta": local}
        if text.get("global_rope_theta") is not None and _GLOBAL in sets:
            sets[_GLOBAL] = {**rope, "rope_theta": text["global_rope_theta"]}
    elif family in SCALED_LAYERS:
        sets = {t: dict(rope) if t == SCALED_LAYERS[family] else {"rope_type": "default"} for t in present}
    for bare in ("no_rope", NOT_ROTATED.get(family) if text.get("sliding_window") is not None else None):
        if bare in sets:
            sets[bare] = None
    if family == "llama4" and _GLOBAL in sets:
        sets[_GLOBAL] = None
    return sets


def _dictionary(text: Mapping[str, Any]) -> dict[str, Any]:
    """``rope_parameters``, or ``rope_scaling`` as it was called: {} if neither is there."""
    new, old = (text.get(key) or None for key in ("rope_parameters", "rope_scaling"))
    require(new is None or old is None or new == old, "rope_scaling", old, f"rope_parameters says {new!r}; keep one.")
    found = new or old or {}
    require(isinstance(found, Mapping), "rope_parameters", found, "must be a dictionary, or null.")
    return dict(found)


def _is_set(key: str, each: Any) -> bool:
    """Whether an entry of a rotary dictionary is the set of a layer type and not a key of a kind."""
    known = any(key in keys for keys in KEYS.values())
    return isinstance(each, Mapping) or (each is None and not known and key.endswith("attention"))


def _local_base(text: Mapping[str, Any], family: str) -> float | None:
    """Base of the layers with a window where it is a key of its own (Gemma 3, ModernBERT), or None."""
    key = LOCAL_BASE.get(family)
    if key is None:
        return None
    remedy = "gives the base of the layers with a window; add the key as the model's authors published it."
    require(text.get(key) is not None, key, None, remedy)
    return positive_number(key, text[key])


def alike(sets: Mapping[str, Mapping[str, Any] | None]) -> bool:
    """Whether all sets of :func:`rotary_sets` say the same."""
    return len({json.dumps(each, sort_keys=True, default=str) for each in sets.values()}) == 1


# ------------------------------------------------------------------------------------------------------- the rotation


def _rotary(
    text: Mapping[str, Any], family: str, rope: Mapping[str, Any], seq_len: int | None, layer_type: str | None
) -> RotaryParameters:
    kind = _kind(rope)
    for key in rope:
        known = (*ANY_KIND, *KEYS[kind])
        remedy = f"no key of kind {kind!r}, which reads {', '.join(sorted(set(known) - {'type'}))}."
        require(key in known or rope[key] is None, key, rope[key], remedy)
    head_dim, part, rotated = _head(text, family, layer_type)
    width = _width(text, rope, kind, head_dim, part)
    base = _base(text, family, rope)
    declared = value(text, "max_position_embeddings")
    if declared is not None:
        positive_int("max_position_embeddings", declared)
    original = _original(text, rope, kind, declared)
    extension = _KIND_RULES[kind](_Asked(rope, width, base, original, declared, seq_len))
    sections = rope.get("mrope_section")
    if sections is not None:
        total = sum(positive_int("mrope_section", pairs) for pairs in sections)
        remedy = f"must sum to the {width // 2} rotated pairs."
        require(total == width // 2, "mrope_section", list(sections), remedy)
        require(kind != "proportional", "mrope_section", list(sections), "the proportional kind has one axis.")
    factor = rope.get("factor")
    beta = rope.get("llama_4_scaling_beta") or 0.0
    return RotaryParameters(
        kind=kind,
        inv_freq=extension.inv_freq,
        attention_factor=extension.attention_factor,
        head_dim=head_dim,
        rotary_dim=width,
        rotated=rotated,
        layout=_layout(text, family),
        base=base,
        scale=_scale(text, family, rope, kind, head_dim, factor),
        sections=None if sections is None else tuple(sections),
        mrope_interleaved=sections is not None and (bool(rope.get("mrope_interleaved")) or family in SECTIONS_IN_TURN),
        factor=_longrope_factor(rope, original, declared) if kind == "longrope" else factor,
        original_max_position_embeddings=original,
        max_position_embeddings=declared,
        temperature=(positive_number("llama_4_scaling_beta", beta), original) if beta else None,
        layer_type=layer_type,
    )


def _kind(rope: Mapping[str, Any]) -> str:
    """The kind of a rotary dictionary; "default" if it names none, because plain frequencies need no dictionary."""
    names = [rope[key] for key in ("rope_type", "type") if rope.get(key) is not None]
    kinds = {KINDS.get(name, name) for name in names} or {"default"}
    remedy = f"type says {names[-1:]!r}; keep the kind that the model was trained with."
    require(len(kinds) == 1, "rope_type", names[:1], remedy)
    known = f"choose one of {', '.join(map(repr, [*KEYS, *KINDS]))}."
    kind = kinds.pop()
    require(kind in KEYS, "rope_type", kind, known)
    return kind


def _head(text: Mapping[str, Any], family: str, layer_type: str | None) -> tuple[int, int, str]:
    """Width of a head, of the part that can be rotated, and which end of the head that part is."""
    part = text.get("qk_rope_head_dim")
    if part is not None:  # latent attention: the rotated channels are the last ones of a query or key
        bare = value(text, "qk_nope_head_dim", "qk_rope_head_dim alone does not give the width of a head")
        return positive_int("qk_nope_head_dim", bare) + positive_int("qk_rope_head_dim", part), part, "last"
    width = text.get("head_dim")
    if family == "gemma4" and layer_type == _GLOBAL and text.get("global_head_dim") is not None:
        width = text["global_head_dim"]
    if width is None:
        hidden = positive_int("hidden_size", value(text, "hidden_size", "gives the width of a head, as head_dim would"))
        why = "hidden_size / heads is the width of a head"
        heads = positive_int("num_attention_heads", value(text, "num_attention_heads", why))
        remedy = f"must be a multiple of the {heads} heads; or give head_dim."
        require(hidden % heads == 0, "hidden_size", hidden, remedy)
        width = hidden // heads
    return positive_int("head_dim", width), width, "first"


def _width(text: Mapping[str, Any], rope: Mapping[str, Any], kind: str, head_dim: int, part: int) -> int:
    """Number of rotated channels. The proportional kind rotates all of them, most by the angle 0."""
    share, own = value(text, "partial_rotary_factor"), rope.get("partial_rotary_factor")
    if share is not None and own is not None:
        require(share == own, "partial_rotary_factor", share, f"the rotary dictionary says {own!r}; keep one.")
    share = share if own is None else own
    channels = text.get("rotary_dim")
    if share is not None:
        positive_number("partial_rotary_factor", share)
        require(share <= 1, "partial_rotary_factor", share, "is a share of the head: at most 1.")
    if kind == "proportional":
        return head_dim
    width = part if share is None else int(part * share)
    if channels is not None:
        remedy = f"partial_rotary_factor={share} of {head_dim} channels gives {width}; keep one."
        require(share is None or channels == width, "rotary_dim", channels, remedy)
        width = positive_int("rotary_dim", channels)
    require(width <= part, "rotary_dim", width, f"is more than the {part} channels of the head.")
    return even_int("rotary_dim", width, "channels are rotated in pairs", at_least=4)


def _base(text: Mapping[str, Any], family: str, rope: Mapping[str, Any]) -> float:
    outer, inner = value(text, "rope_theta"), rope.get("rope_theta")
    if outer is not None and inner is not None and _dictionary(text).get("rope_theta") is not None:
        require(outer == inner, "rope_theta", outer, f"the rotary dictionary says {inner!r}; keep one.")
    base = outer if inner is None else inner
    if base is None:
        base = BASE_IN_CODE.get(family)
    remedy = "is the base of the frequencies, and this model type has none in its code; add the key as published."
    require(base is not None, "rope_theta", None, remedy)
    require(positive_number("rope_theta", base) > 1, "rope_theta", base, "must be above 1, or frequencies do not fall.")
    return float(base)


def _original(text: Mapping[str, Any], rope: Mapping[str, Any], kind: str, declared: int | None) -> int | None:
    """The trained length that the kind counts from, in tokens."""
    key = "original_max_position_embeddings"
    outer, inner = value(text, key), rope.get(key)
    if outer is not None and inner is not None:
        require(outer == inner, key, outer, f"the rotary dictionary says {inner!r}; keep one.")
    original = outer if inner is None else inner
    if kind in ("yarn", "longrope", "llama3"):
        remedy = f"kind {kind!r} counts turns over the trained length; add it to the rotary dictionary."
        require(original is not None, key, None, remedy)
        whole = isinstance(original, float) and original.is_integer()  # 8192.0 is written, and meant, as a whole number
        original = positive_int(key, int(original) if whole else original)
        fits = declared is None or original <= declared
        require(fits, key, original, f"is more than max_position_embeddings={declared}; correct one of the two.")
        return original
    if kind == "dynamic":
        remedy = "kind 'dynamic' grows from it; add the length that the model was trained on."
        require(declared is not None, "max_position_embeddings", None, remedy)
        remedy = f"kind 'dynamic' counts from max_position_embeddings={declared}; make them equal or leave it out."
        require(original is None or original == declared, key, original, remedy)
    return declared


def _layout(text: Mapping[str, Any], family: str) -> str | None:
    if text.get("rope_interleave") is False and family == "deepseek_v3":
        return "half"
    if family in INTERLEAVED:
        return "interleaved"
    return "half" if family in HALF else None


def _scale(
    text: Mapping[str, Any], family: str, rope: Mapping[str, Any], kind: str, head_dim: int, factor: float | None
) -> float | None:
    """Softmax scale, where it is not 1/sqrt(head_dim)."""
    if text.get("query_pre_attn_scalar") is not None:
        return positive_number("query_pre_attn_scalar", text["query_pre_attn_scalar"]) ** -0.5
    if text.get("attention_multiplier") is not None and family.startswith("granite"):
        return positive_number("attention_multiplier", text["attention_multiplier"])
    if text.get("qk_rope_head_dim") is not None and kind == "yarn" and rope.get("mscale_all_dim"):
        # Only the last channels are rotated, but the temperature is meant for the whole logit: it goes here instead.
        return head_dim**-0.5 * temperature_factor(factor, rope["mscale_all_dim"]) ** 2
    return SCALE_IN_CODE.get(family)


def _without_rotation(text: Mapping[str, Any]) -> Encoding:
    if model_family(text) != "llama4" or not text.get("attn_temperature_tuning", True):
        return NoEncoding()
    why = "queries of these layers are scaled by position, unless attn_temperature_tuning is false"
    return PositionTemperature(value(text, "attn_scale", why), value(text, "floor_scale", why), shift=1)


@dataclass(frozen=True)
class _Asked:
    """What a kind's reader is given: the dictionary, and what was worked out before."""

    rope: Mapping[str, Any]
    width: int
    base: float
    original: int | None
    declared: int | None
    seq_len: int | None

    def need(self, key: str) -> Any:
        remedy = f"kind {_kind(self.rope)!r} needs it; add the number that the model's authors published."
        require(self.rope.get(key) is not None, key, None, remedy)
        return self.rope[key]

    def given(self, **keys: str) -> dict[str, Any]:
        """{argument: value} of the keys that are there; a key that is absent or null leaves the rule's own constant."""
        return {argument: self.rope[key] for argument, key in keys.items() if self.rope.get(key) is not None}


def _default(asked: _Asked) -> Extension:
    return Extension(rope_frequencies(asked.width, asked.base))


def _linear(asked: _Asked) -> Extension:
    return position_interpolation(asked.width, asked.base, asked.need("factor"), 1)  # the rule reads no length


def _dynamic(asked: _Asked) -> Extension:
    return dynamic_ntk(asked.width, asked.base, asked.need("factor"), asked.declared, asked.seq_len)


def _yarn(asked: _Asked) -> Extension:
    options = asked.given(beta_fast="beta_fast", beta_slow="beta_slow", truncate="truncate")
    factor = asked.need("factor")
    attention_factor = _yarn_attention_factor(asked.rope, factor)
    return yarn(asked.width, asked.base, factor, asked.original, attention_factor=attention_factor, **options)


def _yarn_attention_factor(rope: Mapping[str, Any], factor: float) -> float:
    """The file's own number; or the quotient of the two mscale; or YaRN's 0.1 ln s + 1 (modeling_rope_utils.py)."""
    if rope.get("attention_factor") is not None:
        return positive_number("attention_factor", rope["attention_factor"])
    over, under = (positive_number(key, rope.get(key) or 0.0, at_least=0.0) for key in ("mscale", "mscale_all_dim"))
    if over and under:
        return temperature_factor(factor, over) / temperature_factor(factor, under)
    return temperature_factor(factor)


def _longrope(asked: _Asked) -> Extension:
    lists = {key: asked.need(key) for key in ("short_factor", "long_factor")}
    for key, numbers in lists.items():
        real = isinstance(numbers, Sequence) and all(isinstance(v, int | float) for v in numbers)
        require(real, key, numbers, "must be a list of numbers, one per rotated pair.")
    factor = _longrope_factor(asked.rope, asked.original, asked.declared)
    extension = longrope(asked.width, asked.base, factor, asked.original, asked.seq_len, **lists)
    own = asked.rope.get("attention_factor")
    if own is None:
        return extension
    return Extension(extension.inv_freq, positive_number("attention_factor", own))


def _longrope_factor(rope: Mapping[str, Any], original: int, declared: int | None) -> float:
    """LongRoPE's factor: given, or declared length over trained length, as Phi-3 means it."""
    if rope.get("factor") is not None:
        return rope["factor"]
    remedy = "kind 'longrope' needs factor, or max_position_embeddings to divide by the original length; add one."
    require(declared is not None, "factor", None, remedy)
    return declared / original


def _llama3(asked: _Asked) -> Extension:
    bands = {key: asked.need(key) for key in ("low_freq_factor", "high_freq_factor")}
    return llama3(asked.width, asked.base, asked.need("factor"), asked.original, **bands)


def _proportional(asked: _Asked) -> Extension:
    share = asked.need("partial_rotary_factor")
    factor = asked.rope.get("factor")
    return p_rope(asked.width, asked.base, 1.0 if factor is None else factor, 1, keep=share, interpolate=True)


_KIND_RULES: dict[str, Callable[[_Asked], Extension]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "yarn": _yarn,
    "longrope": _longrope,
    "llama3": _llama3,
    "proportional": _proportional,
}


# --------------------------------------------------------------------------------------------------------- the biases


def _all_layers(layer_type: str | None, choices: Iterable[str]) -> None:
    if layer_type is not None:
        one_of("layer_type", layer_type, choices)


def _alibi(text: Mapping[str, Any], family: str, layer_type: str | None) -> ALiBi:
    """The slopes of BLOOM, MPT (and Replit, its ancestor) and of the Falcons that have ``alibi``."""
    _all_layers(layer_type, (_GLOBAL,))
    heads = positive_int("num_attention_heads", value(text, "num_attention_heads", "ALiBi has one slope per head"))
    if family == "bloom":
        return ALiBi(heads)
    if family == "falcon":  # its code adds the bias before dividing by sqrt(head_dim)
        head_dim = _head(text, family, None)[0]
        return ALiBi(heads, slopes=alibi_slopes(heads) / math.sqrt(head_dim))
    settings = text.get("attn_config", text)
    remedy = "this model has learned positions: build Learned(d_model, max_seq_len) and load the table."
    require(settings.get("alibi") is True, "alibi", settings.get("alibi"), remedy)
    why = "ALiBi's steepest slopes follow from it"
    largest = positive_number("alibi_bias_max", value(settings, "alibi_bias_max", why))
    scheme = ALiBi(heads, max_bias=largest)
    if settings.get("softmax_scale") is not None:
        scheme.scale = positive_number("softmax_scale", settings["softmax_scale"])
    return scheme


def _t5(text: Mapping[str, Any], layer_type: str | None) -> Encoding:
    """T5's buckets. The encoder looks both ways, the decoder back: two schemes in one file."""
    stacks = ("encoder",) if "Encoder" in str(text.get("architectures")) else ("encoder", "decoder")
    remedy = f"encoder and decoder differ in direction; choose one of {', '.join(map(repr, stacks))}."
    require(layer_type is not None or len(stacks) == 1, "layer_type", None, remedy)
    stack = one_of("layer_type", layer_type or stacks[0], stacks)
    heads = positive_int("num_heads", value(text, "num_attention_heads", "there is one bias per head and bucket"))
    numbers = {
        argument: value(text, key, f"T5's {what}")
        for argument, key, what in (
            ("num_buckets", "relative_attention_num_buckets", "table has one row per bucket"),
            ("max_distance", "relative_attention_max_distance", "buckets grow towards it"),
        )
    }
    if model_family(text) != "umt5":
        return T5(heads, bidirectional=stack == "encoder", **numbers)
    layers = value(text, "num_hidden_layers", "UMT5 has a table in each layer")
    if stack == "decoder" and text.get("num_decoder_layers") is not None:
        layers = text["num_decoder_layers"]  # without the key, as many as the encoder
    count = range(positive_int("num_layers", layers))
    return PerLayer([T5(heads, bidirectional=stack == "encoder", **numbers) for _ in count])
