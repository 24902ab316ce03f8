"""What a model's configuration says about its positions, and what a longer context asks of it, in figures.

:func:`explain` reads a config.json and answers for one target length: which pairs finish a turn in training, what the
file's rule does to each, what the target adds, the edit to make, the memory it takes. ``helpers.pictures.explained``
draws the answer; ``python3 tasks.py explain CONFIG.json --target N`` words it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from .encodings import NoEncoding, RotaryParameters, from_config, layer_types
from .encodings.config import (
    NO_KEYS,
    T5_FAMILY,
    alike,
    language_model,
    model_family,
    read_config,
    rotary_sets,
    value,
)
from .encodings.extension import rotations, temperature_factor
from .encodings.rope import rope_frequencies
from .encodings.temperature import PositionTemperature
from .validate import positive_int, require

TICKS = (300, 100, 32, 10, 4, 1, 0.3, 0.1)
"""Turns over the trained length that tables and pictures mark."""

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# The code of these families has its own frequencies and reads no rotary key. transformers 5.23.0, models/*.
READS_NO_KEYS = ("codegen", "gptj", "roformer")
# These refuse every kind but default and longrope, and take "yarn" for longrope. models/phi3/configuration_phi3.py.
LONGROPE_ONLY = ("phi3", "phi3_v")
# Their class leaves head_dim empty, and the code of YaRN reads it. models/*/configuration_*.py, modeling_rope_utils.py.
HEAD_DIM_EMPTY = ("hunyuan_v1_dense", "hunyuan_v1_moe", "hunyuan_vl", "minimax", "ministral", "mixtral")
ENCODERS = ("modernbert", "roformer")  # they read a text at once and keep no cache
# What rope_parameters takes the place of.
OLD_KEYS = (
    "rope_scaling", "rope_theta", "rotary_emb_base", "rope_local_base_freq", "global_rope_theta", "local_rope_theta",
)  # fmt: skip


class Edit(NamedTuple):
    """A change of a configuration.

    Attributes:
        kind: of the rotation after it.
        rope_parameters: the new dictionary, or one per layer type.
        max_position_embeddings: the new value, in tokens.
        others: further keys that the model's code needs with them.
        removed: keys of the file that the dictionary takes the place of.
        nested: under which key of the file all of them stand ("text_config"), or None for the file itself.
        why: where the numbers come from, in a sentence or two.
    """

    kind: str
    rope_parameters: dict[str, Any]
    max_position_embeddings: int
    others: dict[str, Any]
    removed: tuple[str, ...]
    nested: str | None
    why: str

    def keys(self) -> dict[str, Any]:
        """What to write into config.json, in the spelling of transformers 5."""
        new = {"rope_parameters": self.rope_parameters, "max_position_embeddings": self.max_position_embeddings}
        return new | self.others if self.nested is None else {self.nested: new | self.others}

    @property
    def per_layer_type(self) -> bool:
        """Whether ``rope_parameters`` holds one dictionary per layer type."""
        return all(isinstance(each, Mapping) for each in self.rope_parameters.values())


class Cache(NamedTuple):
    """What the layers of one type keep of one sequence.

    Attributes:
        layer_type, layers: which, and how many of them hold keys of their own.
        tokens: kept at the target length.
        numbers: kept per token and layer.
    """

    layer_type: str
    layers: int
    tokens: int
    numbers: int


@dataclass(frozen=True, eq=False)
class Explanation:
    """The figures behind a report. Tensors are (pairs,), fast pairs first.

    Attributes:
        parameters: the rotation as the file has it, at the target length.
        layer_type: the layers it is about: the rotated ones that see furthest.
        trained: the length trained on, or for a scaled file the one that its rule counts from, in tokens.
        declared: the longest length that the file is meant for as it stands.
        target: the length asked for.
        reach: the longest distance between a query and a key of these layers at the target.
        turns: full turns over ``trained`` at plain frequencies.
        slowed: plain frequency over the file's; inf where a pair stands still.
        after: the rotation under ``edit``; None without one.
        edit: the change to make; None if there is nothing to set.
        reason: why there is nothing to set; "" with an edit.
        cache: keys and values of one sequence, by layer type; () for an encoder.
        dtype: number format named in the file; None if none is.
        key_heads_named: whether the file gives the number of key heads. Without it every head has its own.
    """

    parameters: RotaryParameters
    layer_type: str
    trained: int
    declared: int
    target: int
    reach: int
    turns: Tensor
    slowed: Tensor
    after: RotaryParameters | None
    edit: Edit | None
    reason: str
    cache: tuple[Cache, ...]
    dtype: str | None
    key_heads_named: bool

    @property
    def slowed_after(self) -> Tensor | None:
        """Plain frequency over the edited one; None without an edit."""
        return None if self.after is None else _slow_down(self.after)

    @property
    def moving(self) -> Tensor:
        """Pairs that turn at all: bool."""
        return self.slowed.isfinite()

    @property
    def unfinished(self) -> Tensor:
        """Pairs that turn, and do not finish a turn over the trained length: bool."""
        return (self.turns < 1) & self.moving

    @property
    def unfinished_as_declared(self) -> Tensor:
        """Pairs that turn, and do not finish a turn over the declared length at the file's frequencies: bool."""
        return (rotations(self.parameters.inv_freq, self.declared) < 1) & self.moving

    @property
    def bytes_per_number(self) -> int:
        """Of the format named in the file; 2 if it names none that a cache would use."""
        return BYTES.get(self.dtype or "", 2)

    @property
    def cache_bytes(self) -> int:
        """Memory for keys and values of one sequence of the target length."""
        return self.bytes_per_number * sum(c.layers * c.tokens * c.numbers for c in self.cache)

    def table(self) -> list[dict[str, float]]:
        """One row per pair: its turns over the trained length, its slow-down, its turns over the reach; and edited."""
        columns = {
            "turns": self.turns,
            "slowed": self.slowed,
            "turns_at_target": rotations(self.parameters.inv_freq, self.reach),
        }
        if self.after is not None:
            columns["slowed_after"] = self.slowed_after
            columns["turns_after"] = rotations(self.after.inv_freq, self.reach)
        lists = {name: column.tolist() for name, column in columns.items()}
        return [{"pair": i, **{name: column[i] for name, column in lists.items()}} for i in range(len(self.turns))]

    def marked(self) -> list[int]:
        """The first pair, the last that turns, and the nearest to each of :data:`TICKS`."""
        moving = self.moving.nonzero().flatten().tolist()
        turns = self.turns.tolist()
        inside = [t for t in TICKS if turns[moving[-1]] <= t <= turns[0]]
        nearest = [min(moving, key=lambda i, t=t: abs(math.log(turns[i] / t))) for t in inside]
        return sorted({moving[0], *nearest, moving[-1]})


def _slow_down(parameters: RotaryParameters) -> Tensor:
    return rope_frequencies(parameters.rotary_dim, parameters.base) / parameters.inv_freq


def explain(config: Mapping[str, Any] | str | os.PathLike, target: int, *, trained: int | None = None) -> Explanation:
    """Work out what a configuration means for a context of ``target`` tokens.

    Args:
        config: the content of a config.json, or the path of one.
        target: length wanted, in tokens.
        trained: length trained on, where the file does not say it, or declares more (Qwen3's files declare 40,960 and
            the models were trained on 32,768).

    Raises:
        ValueError: as :func:`~helpers.encodings.from_config`; if there is no rotation to explain; if the file names no
            length; or if the target is not above the trained length.
    """
    content = read_config(config)
    text = language_model(content)
    positive_int("target", target)
    if trained is not None:
        positive_int("trained", trained)
    layer_type, same = _rotating_layers(text, target)
    chosen = None if same else layer_type
    parameters = from_config(text, seq_len=target, layer_type=chosen)
    trained, declared = _lengths(text, parameters, trained)
    remedy = f"is not above the {trained:,} tokens that the model was trained on: no position is new. Ask for more."
    require(target > trained, "target", target, remedy)
    reach = min(target, _window(text, layer_type) or target)
    reason = _nothing_to_set(text, parameters, trained, declared, target, reach)
    edit = None if reason else _edit(content, text, parameters, chosen, trained, declared, target)
    after = None if edit is None else from_config(edited(content, edit), layer_type=chosen)
    return Explanation(
        parameters=parameters,
        layer_type=layer_type,
        trained=trained,
        declared=declared,
        target=target,
        reach=reach,
        turns=rotations(rope_frequencies(parameters.rotary_dim, parameters.base), trained),
        slowed=_slow_down(parameters),
        after=after,
        edit=edit,
        reason=reason,
        cache=kv_cache(text, target),
        dtype=value(text, "dtype"),
        key_heads_named=_key_heads(text) is not None or text.get("kv_lora_rank") is not None,
    )


def edited(content: Mapping[str, Any], edit: Edit) -> dict[str, Any]:
    """The configuration after the edit: new keys in, the old spelling of the same things out."""
    part = content if edit.nested is None else content[edit.nested]
    part = {key: each for key, each in part.items() if key not in edit.removed}
    new = edit.keys()
    return part | new if edit.nested is None else {**content, edit.nested: part | new[edit.nested]}


def _rotating_layers(text: Mapping[str, Any], target: int) -> tuple[str, bool]:
    """The type of the rotated layers that see furthest, and whether all layers are alike (ValueError if none turns)."""
    t5 = model_family(text) in T5_FAMILY
    sets = {} if t5 else rotary_sets(text)
    same = t5 or alike(sets)
    if same:
        found = from_config(text, layer_type="encoder" if t5 else None)
        remedy = (
            f"positions come from {'T5' if t5 else type(found).__name__}, not from a rotation: there is no length to "
            "set. Whether the model works at the target only a measurement says: its loss by position on texts as long "
            "as that."
        )
        require(isinstance(found, RotaryParameters), "model_type", text.get("model_type"), remedy)
    turning = [layer_type for layer_type, each in sets.items() if each is not None]
    return max(turning, key=lambda layer_type: _window(text, layer_type) or target), same


def _window(text: Mapping[str, Any], layer_type: str) -> int | None:
    """How far back a layer of this type sees, in tokens; None for everything."""
    if layer_type == "chunked_attention":
        return text.get("attention_chunk_size")
    if layer_type == "sliding_attention":
        return text.get("sliding_window") or text.get("local_attention")
    return None


def _lengths(text: Mapping[str, Any], parameters: RotaryParameters, said: int | None) -> tuple[int, int]:
    """The original length, and the longest that the file is meant for as it stands."""
    original, declared = parameters.original_max_position_embeddings, parameters.max_position_embeddings
    kind, factor = parameters.kind, parameters.factor
    where = "(trained=..., on the command line --trained ...)"
    if kind in ("yarn", "longrope", "llama3", "dynamic"):
        remedy = f"the file counts from {original} tokens; leave it out."
        require(said in (None, original), "trained", said, remedy)
        remedy = "says how far the rule is meant to reach; add the number that the model's authors published."
        require(declared is not None or kind != "llama3", "max_position_embeddings", None, remedy)
        covered = int(original * factor) if kind == "yarn" or declared is None else declared
        return original, max(covered, declared or 0)
    if kind in ("linear", "proportional") and factor not in (None, 1):
        remedy = (
            f"the file has factor={factor:g} and does not say from which length it counts; say the length that the "
            f"model was trained on before that {where}."
        )
        require(said is not None, "trained", None, remedy)
        return said, int(said * factor)
    named = {value(text, key) for key in ("max_position_embeddings", "model_max_length")} - {None}
    if said is not None:
        remedy = f"is more than the {max(named, default=said)} tokens that the file declares; correct one of the two."
        require(said <= max(named, default=said), "trained", said, remedy)
        return said, said
    remedy = f"names no length; say the length that the model was trained on {where}. Its paper or card has it."
    require(bool(named), "max_position_embeddings", None, remedy)
    remedy = (
        f"max_position_embeddings={declared} says another length; say the one that the model was trained on {where}."
    )
    require(len(named) == 1, "model_max_length", text.get("model_max_length"), remedy)
    (only,) = named
    return only, only


# ------------------------------------------------------------------------------------------------------------- the edit


def _nothing_to_set(
    text: Mapping[str, Any], parameters: RotaryParameters, trained: int, declared: int, target: int, reach: int
) -> str:
    """Why the target asks for no change of the rotation; "" if it does."""
    kind = parameters.kind
    if target <= declared:
        return f"The file is meant for {declared:,} tokens as it stands."
    if model_family(text) in READS_NO_KEYS:
        return "The model's code in transformers has its frequencies built in and reads no key: change the code."
    if kind == "dynamic":
        return f"The rule grows with the length by itself, from {trained:,} tokens on."
    if kind == "longrope":
        return (
            f"The lists were found by search for {declared:,} tokens, and no formula gives longer ones: a longer "
            "context needs a new search, and training."
        )
    if kind == "default" and model_family(text) in LONGROPE_ONLY:
        return (
            "For this model type transformers takes plain frequencies or longrope, whose lists are found by search: no "
            "formula gives them."
        )
    raised = f"Raise max_position_embeddings to {target:,} for engines that refuse more than it says, as vLLM does."
    if reach <= declared:
        return f"The rotated layers see {reach:,} tokens back at most: no distance is new to them. {raised}"
    if not (rotations(parameters.inv_freq, declared)[parameters.inv_freq > 0] < 1).any():
        return f"Every pair that turns has finished a turn by {declared:,} tokens: no angle is new. {raised}"
    return ""


def _edit(
    content: Mapping[str, Any],
    text: Mapping[str, Any],
    parameters: RotaryParameters,
    layer_type: str | None,
    trained: int,
    declared: int,
    target: int,
) -> Edit:
    """The change that covers the target. ``layer_type`` names the layers to change; None means all."""
    sets = {name: each for name, each in rotary_sets(text).items() if each is not None}
    ours = next(iter(sets.values())) if layer_type is None else sets[layer_type]
    new, why = _changed(dict(ours), parameters, trained, declared, target)
    if layer_type is None:
        written = _complete(new, parameters, text)
    else:
        others = {name: from_config(text, layer_type=name) for name in sets}
        written = {n: _complete(new if n == layer_type else each, others[n], text) for n, each in sets.items()}
    nested = next((key for key, each in content.items() if _holds(each, text) and key not in text), None)
    part = content if nested is None else content[nested]
    others: dict[str, Any] = {}
    if new["rope_type"] == "yarn" and model_family(text) in HEAD_DIM_EMPTY and text.get("head_dim") is None:
        others["head_dim"] = parameters.head_dim
        why += " The code of YaRN needs head_dim, which this model type leaves empty."
    removed = tuple(key for key in OLD_KEYS if key in part)
    return Edit(new["rope_type"], written, target, others, removed, nested, why)


def _holds(inner: Any, text: Mapping[str, Any]) -> bool:
    """Whether a value of the file is the language model's part."""
    return isinstance(inner, Mapping) and "num_hidden_layers" in inner and inner.items() <= text.items()


def _complete(rope: Mapping[str, Any], parameters: RotaryParameters, text: Mapping[str, Any]) -> dict[str, Any]:
    """A rotary dictionary with everything that transformers 5 keeps in it. null in place of a stale number stays."""
    own = {"rope_type": "default", **{key: each for key, each in rope.items() if key != "type" and each is not None}}
    if "attention_factor" in rope:
        own["attention_factor"] = rope["attention_factor"]
    share = value(text, "partial_rotary_factor") or parameters.rotary_dim / parameters.head_dim
    if share < 1 and parameters.rotated == "first":
        own.setdefault("partial_rotary_factor", share)
    return {**own, "rope_theta": parameters.base}


def _up(number: float) -> float:
    """Rounded up to four decimals, so that a factor always covers the length it is for."""
    return math.ceil(round(number * 1e4, 6)) / 1e4


def _changed(
    rope: dict[str, Any], parameters: RotaryParameters, trained: int, declared: int, target: int
) -> tuple[dict[str, Any], str]:
    """The rotary dictionary for the target, and where its numbers come from."""
    kind = parameters.kind
    if kind == "default":
        yarn = {"rope_type": "yarn", "factor": _up(target / trained), "original_max_position_embeddings": trained}
        return {**rope, **yarn}, f"YaRN with factor {target:,} / {trained:,}."
    rope = {**rope, "rope_type": kind}
    if kind in ("linear", "yarn"):
        why = f"The file's rule with factor {target:,} / {trained:,}."
        own = rope.get("attention_factor")
        if own is not None and math.isclose(own, temperature_factor(parameters.factor), rel_tol=1e-6):
            rope["attention_factor"] = None
            why += f" attention_factor={own:.4g} belonged to the old factor; with null the new one follows."
        return {**rope, "factor": _up(target / trained)}, why
    why = (
        f"The file's rule with its factor times {target:,} / {declared:,}, so that the slowed pairs turn no further "
        "than they do now. No published result is known for it."
    )
    return {**rope, "factor": _up((parameters.factor or 1.0) * target / declared)}, why


# -------------------------------------------------------------------------------------------------------------- memory


def _key_heads(text: Mapping[str, Any]) -> int | None:
    """Number of key heads, where the file says it."""
    if text.get("multi_query") is True and not text.get("new_decoder_architecture"):
        return 1  # Falcon
    return value(text, "num_key_value_heads")


def kv_cache(config: Mapping[str, Any], target: int) -> tuple[Cache, ...]:
    """Keys and values that one sequence of ``target`` tokens leaves behind, by layer type.

    Layers with a window keep the window. Latent attention keeps the latent and the rotated key. Layers that share keys
    with an earlier one, and linear ones, keep none. () for an encoder. ValueError if the file has no shape.
    """
    text = language_model(config)
    family = model_family(text)
    if family in ENCODERS:
        return ()
    types = layer_types(text)
    own = [t for t in types[: len(types) - (text.get("num_kv_shared_layers") or 0)] if t not in NO_KEYS]
    return tuple(
        Cache(
            layer_type,
            own.count(layer_type),
            min(target, _window(text, layer_type) or target),
            _numbers(text, family, layer_type),
        )
        for layer_type in dict.fromkeys(own)
    )


def _numbers(text: Mapping[str, Any], family: str, layer_type: str) -> int:
    """Numbers kept per token in one layer."""
    if text.get("kv_lora_rank") is not None:
        return text["kv_lora_rank"] + value(text, "qk_rope_head_dim", "the cache holds the rotated key")
    heads = value(text, "num_attention_heads", "the cache has as many heads")
    width = text.get("head_dim")
    if width is None:
        width = value(text, "hidden_size", "gives the width of a head") // heads
    keys = _key_heads(text) or heads
    if family == "gemma4" and layer_type == "full_attention":
        width = text.get("global_head_dim") or width
        if text.get("attention_k_eq_v"):
            keys = text.get("num_global_key_value_heads") or keys
    return 2 * keys * width


# ------------------------------------------------------------------------------------------------------ a row per model

NAMES = {
    "default": "plain", "linear": "PI", "dynamic": "dynamic NTK", "yarn": "YaRN", "longrope": "LongRoPE",
    "llama3": "Llama 3", "proportional": "p-RoPE",
}  # fmt: skip
"""Kinds of rotation, as a table prints them."""


def in_use(config: Mapping[str, Any] | str | os.PathLike) -> dict[str, str]:
    """What one configuration says of its positions: a row of a table, in words.

    Columns: base; rule, with its factor; channels of a head that turn; layers without positions; layers with a window,
    and its tokens; temperature; the longest length that the file is meant for. Where rotated layers differ, " / "
    stands between them, in the order of the first layer of each type. ValueError as
    :func:`~helpers.encodings.from_config`.
    """
    text = language_model(read_config(config))
    types = layer_types(text)
    first = "encoder" if model_family(text) in T5_FAMILY else None
    found = {t: from_config(text, layer_type=first or t) for t in dict.fromkeys(types) if t not in NO_KEYS}
    turning = {t: each for t, each in found.items() if isinstance(each, RotaryParameters)}
    still = {t for t, each in found.items() if isinstance(each, NoEncoding | PositionTemperature)}
    kinds = [type(each).__name__ for t, each in found.items() if t not in turning and t not in still]
    other = ["T5, per layer" if kind == "PerLayer" else kind for kind in kinds]  # UMT5's
    lengths = [_meant_for(p) for p in turning.values()] + [value(text, "max_position_embeddings")]
    longest = max((n for n in lengths if n), default=None)
    windows = [(t, _window(text, t)) for t in found if (_window(text, t) or math.inf) < (longest or math.inf)]
    linear = sum(t in NO_KEYS for t in types)
    without = sum(t in still for t in types)
    part = [f"{without} of {len(types)}"] * bool(without) + [f"{linear} linear"] * bool(linear)
    return {
        "base": _each(f"{p.base:,.0f}" for p in turning.values()),
        "rule": _each([*map(_rule, turning.values()), *other]),
        "turning": _each(f"{2 * int((p.inv_freq > 0).sum())} of {p.head_dim}" for p in turning.values()),
        "no positions": _each(part),
        "window": _each(f"{types.count(t)} of {len(types)}: {n:,}" for t, n in windows),
        "temperature": _each(map(_temperature, found.values())),
        "length": "" if longest is None else f"{longest:,}",
    }


def _each(words: Iterable[str]) -> str:
    """Different words, once each."""
    return " / ".join(dict.fromkeys(word for word in words if word))


def _rule(p: RotaryParameters) -> str:
    return NAMES[p.kind] + (f" x{p.factor:g}" if p.factor not in (None, 1) else "")


def _meant_for(p: RotaryParameters) -> int | None:
    """The declared length, or what YaRN's factor covers, if that is more."""
    covered = int(p.original_max_position_embeddings * p.factor) if p.kind == "yarn" else 0
    return max(covered, p.max_position_embeddings or 0) or None


def _temperature(each: Any) -> str:
    """What multiplies cos and sin, or the logits, beyond 1/sqrt(head_dim): of a rule, or by position."""
    if isinstance(each, PositionTemperature):
        return "by position"
    if not isinstance(each, RotaryParameters):
        return ""
    if each.temperature is not None:
        return "by position"
    if each.attention_factor != 1:
        return f"cos, sin x{each.attention_factor:.2f}"
    return f"softmax x{each.scale * math.sqrt(each.head_dim):.2f}" if each.kind == "yarn" and each.scale else ""
