"""`tasks.py explain CONFIG.json --target N`: what a model's configuration says about its positions.

The figures are those of helpers.explain; here they are put in words. What engines do is quoted from their own files and
pages, listed in READ_FROM with version and address.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import statistics
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .common import Stop, many, say

if TYPE_CHECKING:
    from torch import Tensor

    from helpers.encodings import RotaryParameters
    from helpers.explain import Explanation

VLLM, LLAMA_CPP = "https://github.com/vllm-project/vllm/blob", "https://github.com/ggml-org/llama.cpp/blob"
READ_FROM = {
    "transformers": "transformers 5.23.0: src/transformers/modeling_rope_utils.py",
    "model card": "transformers 4: model card of QwQ-32B, https://huggingface.co/Qwen/QwQ-32B/discussions/32/files",
    "yarn in 4": "transformers 4: https://huggingface.co/Qwen/Qwen2.5-32B-Instruct/discussions/5",
    "vllm": f"vLLM: {VLLM}/01ed47b4166b26251895a9c298352fcdb2385149/docs/features/context_extension.md",
    "vllm lengths": f"vLLM: {VLLM}/0052a5b818980ce8a0477706aaf9f75bd5af72cd/vllm/config/model.py",
    "vllm longrope": f"vLLM: {VLLM}/17d618b0f944610b73e79e6726983fbe7679f613/vllm/model_executor/layers/"
    "rotary_embedding/phi3_long_rope_scaled_rope.py",
    "vllm dynamic": f"vLLM: {VLLM}/50feac95f9e53a97d6ed27fee6bfe3b163d18594/vllm/model_executor/layers/"
    "rotary_embedding/dynamic_ntk_scaling_rope.py",
    "vllm prefixes": "vLLM: https://docs.vllm.ai/en/latest/design/prefix_caching/",
    "llama.cpp": f"llama.cpp: {LLAMA_CPP}/00dc8057ab28c9cb4c79a6dd6dfce07fe779f63b/tools/server/README.md",
    "llama.cpp converter": f"llama.cpp: {LLAMA_CPP}/0274f0fc7d7fbab69c33ccf757cf7f3d036c17aa/conversion/llama.py",
}
"""Where each statement about an engine was read."""

WIDTH = 100
"""Characters of a printed line; addresses and commands may be longer."""
STATIC = ("linear", "yarn", "llama3", "proportional")


def parse(argv: list[str]) -> argparse.Namespace:
    text = (
        "Read a model's config.json and say what a longer context asks of it: which pairs of channels finish a turn in "
        "training, the edit to make, the memory it takes, the tests to run."
    )
    parser = argparse.ArgumentParser(prog="tasks.py explain", description=text)
    parser.add_argument("config", metavar="CONFIG.json", help="a file; names on a hub are not looked up")
    parser.add_argument("--target", type=int, required=True, help="length wanted, in tokens")
    parser.add_argument("--trained", type=int, help="length trained on, where the file does not say it")
    parser.add_argument("--picture", metavar="FILE.png", help="draw the slow-down of every pair into this file")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Print the report. Stop with the remedy on a file that cannot be explained."""
    args = parse(argv)
    picture = None if args.picture is None else Path(args.picture)
    if picture is not None and (picture.suffix != ".png" or not picture.parent.is_dir()):
        raise Stop(f"--picture {args.picture}: pass the name of a .png file in a folder that exists.")
    from helpers.explain import explain  # imports torch: only after the arguments are known to be good

    try:
        found = explain(args.config, args.target, trained=args.trained)
    except ValueError as error:
        named = "" if str(error).startswith("config=") else f"{args.config}: "
        raise Stop(f"{named}{error}") from None
    path = Path(args.config)
    say(report(found, path.stem if path.stem != "config" else path.resolve().parent.name))
    if picture is not None:
        _draw(found, picture)
        say(f"\nPicture: {picture}")
    return 0


def _draw(found: Explanation, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from helpers.display import STYLE
    from helpers.pictures.explained import explained

    with plt.style.context(["default", STYLE]):
        explained(found).fig.savefig(path)


# ----------------------------------------------------------------------------------------------------------- the report


def report(found: Explanation, name: str) -> str:
    """An explanation in words.

    Args:
        found: what ``helpers.explain.explain`` returned.
        name: of the model, for the first line.
    """
    sections = {
        "Pairs": _pairs(found),
        "At the target": _at_target(found),
        "Edit": _edit(found),
        "Short texts": _short_texts(found),
        "Memory": _memory(found),
        "Test": _tests(found),
        "Serving": _serving(found),
    }
    p = found.parameters
    part = f"{p.rotary_dim} of {p.head_dim}" if p.rotary_dim < p.head_dim else f"{p.head_dim}"
    kind = p.kind if p.factor is None else f"{p.kind}, factor {p.factor:g}"
    axes = "" if p.sections is None else f"; M-RoPE with {' + '.join(map(str, p.sections))} pairs"
    meant = f", meant for {found.declared:,}" if found.declared > found.trained else ""
    lines = [
        f"{name}: kind {kind}; {part} channels rotated, base {p.base:,.0f}",
        f"original length {found.trained:,} tokens{meant}; target {found.target:,}{axes}",
    ]
    for title, body in sections.items():
        wrapped = [[f"  {line[1:]}"] if line.startswith("|") else _wrapped(line) for line in body]
        lines += ["", title, *itertools.chain(*wrapped)] if wrapped else []
    return "\n".join([*lines, "", "Read from", *(f"  {READ_FROM[key]}" for key in _sources(found))])


def _wrapped(text: str) -> list[str]:
    hang = {"initial_indent": "  ", "subsequent_indent": "    "}
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False, break_long_words=False, **hang)


def _n(number: float) -> str:
    """A number as a table prints it: whole with commas, else three figures."""
    if not math.isfinite(number):
        return "stopped"
    return f"{number:,.0f}" if number >= 999.5 or number == round(number) else f"{number:.3g}"


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB"


def _pairs(found: Explanation) -> Iterator[str]:
    moving, unfinished = int(found.moving.sum()), int(found.unfinished.sum())
    still = len(found.slowed) - moving
    where = "" if found.parameters.layer_type is None else f" in layers of type {found.layer_type}"
    do = "does" if unfinished == 1 else "do"
    yield (
        f"{moving - unfinished} of {many(moving, 'pair')}{where} finish a turn within {found.trained:,} tokens, "
        f"{unfinished} {do} not." + (f" {still} more stand still." if still else "")
    )
    yield "(turns: at plain frequencies; slowed: plain frequency over the file's; then turns as slowed)"
    columns = {
        "pair": "pair", "turns": f"turns in {found.trained:,}", "slowed": "slowed",
        "turns_at_target": f"turns in {found.reach:,}",
    }  # fmt: skip
    if found.after is not None:
        columns |= {"slowed_after": "slowed, edited", "turns_after": "turns, edited"}
    yield "|" + "  ".join(columns.values())
    rows = found.table()
    for i in found.marked():
        yield "|" + "  ".join(_n(rows[i][key]).rjust(len(title)) for key, title in columns.items())


def _at_target(found: Explanation) -> Iterator[str]:
    p, beyond = found.parameters, found.reach > found.declared
    if beyond and p.kind == "dynamic":
        low, high = _n(found.slowed.min().item()), _n(found.slowed.max().item())
        yield f"At {found.target:,} tokens the rule slows pairs by {low} to {high}."
    elif beyond and (count := int(found.unfinished_as_declared.sum())):
        do = "does" if count == 1 else "do"
        yield (
            f"As the file stands, {many(count, 'pair')} {do} not finish a turn by {found.declared:,} tokens. Beyond "
            "that come angles that the model has not met."
        )
    elif p.kind == "longrope":
        low, high = _n(found.slowed.min().item()), _n(found.slowed.max().item())
        yield f"Beyond {found.trained:,} tokens the long list holds: it slows pairs by {low} to {high}."
    elif p.factor not in (None, 1) and p.kind in STATIC:
        yield f"The file's rule {_kept(found.slowed, p.factor)}."
    if found.after is not None:
        yield f"With the edit, the rule {_kept(found.slowed_after, found.after.factor)}."
    yield from _temperatures(p, found.after)
    for c in found.cache:
        if c.tokens < found.target and c.layer_type != found.layer_type:
            yield (
                f"{many(c.layers, 'layer')} of type {c.layer_type} look back {c.tokens:,} tokens at any length: no "
                "distance is new to them."
            )


def _kept(slowed: Tensor, factor: float) -> str:
    kept, divided = int((slowed < 1.001).sum()), int((slowed > 0.999 * factor).sum())
    if divided == len(slowed):
        return f"divides all {divided} pairs by {factor:g}"
    between = len(slowed) - kept - divided
    return f"leaves {many(kept, 'pair')} alone, divides {divided} by {factor:g}, and slows {between} by less"


def _temperatures(p: RotaryParameters, after: RotaryParameters | None) -> Iterator[str]:
    edited = p if after is None else after
    if edited.attention_factor != 1:
        now = "" if after is None else f" ({p.attention_factor:.5g} now)"
        yield (
            f"The attention factor is {edited.attention_factor:.4f}{now}, on cos and sin: it multiplies the rotated "
            f"part of a logit by {edited.attention_factor**2:.4f}."
        )
    if edited.scale is not None:
        now = "" if edited.scale == p.scale else f" ({p.scale:.5f} now)"
        usual = f"1/sqrt({p.head_dim}) would be {p.head_dim**-0.5:.5f}"
        yield f"The softmax scale is {edited.scale:.5f}{now}, where {usual}."


# ------------------------------------------------------------------------------------------------------------- the edit


def _edit(found: Explanation) -> Iterator[str]:
    edit = found.edit
    if edit is None:
        yield f"None. {found.reason}"
        return
    yield edit.why
    inside = "" if edit.nested is None else f' inside "{edit.nested}"'
    yield f"transformers 5, in config.json{inside}{_take_out(edit.removed)}:"
    yield from (f"|  {line}" for line in _json(edit.keys()))
    if not edit.per_layer_type:
        outside = [key for key in ("rope_theta", "partial_rotary_factor") if key in edit.rope_parameters]
        yield f"transformers 4: the same dictionary under rope_scaling, with {' and '.join(outside)} beside it."
        if edit.kind == "yarn":
            yield "Some versions of it count YaRN's turns from max_position_embeddings: leave that key as it is there."
    yield "vLLM, without touching the file (edit.json holds the lines above):"
    yield f'|  vllm serve MODEL --max-model-len {found.target} --hf-overrides "$(cat edit.json)"'
    flags = _llama_cpp(found)
    if flags:
        yield "llama.cpp:"
        yield f"|  llama-server -m MODEL.gguf -c {found.target} {flags}"
        return
    why = "its flags name no layer type" if edit.per_layer_type else f"it has no flag for kind {edit.kind!r}"
    yield f"llama.cpp: {why}. Change config.json and convert the model again."
    if edit.kind == "llama3":
        yield (
            "Its converter reads original_max_position_embeddings beside the dictionary, and takes 8192 if it is not "
            "there."
        )


def _json(keys: dict) -> list[str]:
    """JSON on indented lines, lists of numbers on one."""
    text = json.dumps(keys, indent=2)
    return re.sub(r"\[[^][{}]*\]", lambda found: json.dumps(json.loads(found[0])), text).splitlines()


def _take_out(keys: tuple[str, ...]) -> str:
    if not keys:
        return ""
    first = ": an old rope_scaling wins over the new dictionary" if "rope_scaling" in keys else ""
    return f" (take out {', '.join(keys)}{first})"


def _llama_cpp(found: Explanation) -> str:
    """Flags of llama-server; "" if it has none for the edit."""
    edit = found.edit
    if edit.per_layer_type or edit.kind not in ("linear", "yarn"):
        return ""
    rope = edit.rope_parameters
    flags = f"--rope-scaling {edit.kind} --rope-scale {rope['factor']:g}"
    for key, flag in (
        ("original_max_position_embeddings", "--yarn-orig-ctx"),
        ("beta_fast", "--yarn-beta-fast"),
        ("beta_slow", "--yarn-beta-slow"),
    ):
        if rope.get(key) is not None:
            flags += f" {flag} {rope[key]:g}" if key != "original_max_position_embeddings" else f" {flag} {rope[key]}"
    return flags


def measured_cost(method: str) -> tuple[float, float, int]:
    """SmolLM2-135M-Instruct in 4 bits, within the 8,192 tokens it was trained on: perplexity as it is, with a method,
    and documents.

    From the recorded measurements of helpers.pretrained.context, over the documents that have both.
    """
    from helpers.pretrained import context

    blocks = SMOLLM2_LENGTH // context.SETTINGS.block
    both = [doc for doc in context.recorded()["blocks"].values() if method in doc]
    found = [math.exp(statistics.fmean(statistics.fmean(doc[m][:blocks]) for doc in both)) for m in ("none", method)]
    return found[0], found[1], len(both)


SMOLLM2_LENGTH = 8192


def _short_texts(found: Explanation) -> Iterator[str]:
    if found.edit is None:
        return
    from helpers.sources import published, source

    kind = found.edit.kind
    if kind == "yarn":
        mmlu = published("peng2023.mmlu_7b")
        yield (
            f"Published, Llama 2 7B on MMLU: {mmlu['Llama 2']} as trained, {mmlu['YaRN 64k']} at factor 16 and "
            f"{mmlu['YaRN 128k']} at 32 after fine-tuning ({source('peng2023.mmlu_7b').removesuffix(', MMLU')})."
        )
    if kind == "linear":
        boolq = published("chen2023.boolq")
        yield (
            f"Published, LLaMA 7B on BoolQ: {boolq['original']} as trained, {boolq['PI 8192']} at factor 4 and "
            f"{boolq['PI 32768']} at 16 after fine-tuning ({source('chen2023.boolq')})."
        )
    method = {"yarn": "yarn", "linear": "pi"}.get(kind)
    if method is None:
        yield f"Nothing is published or measured here for kind {kind!r}."
    else:
        two, four = (measured_cost(f"{method}{factor}") for factor in (2, 4))
        yield (
            f"Measured here without training, SmolLM2-135M-Instruct in 4 bits within its {SMOLLM2_LENGTH:,} tokens: "
            f"perplexity {two[0]:.2f} becomes {two[1]:.2f} at factor 2 ({many(two[2], 'document')}), {four[0]:.2f} "
            f"becomes {four[1]:.2f} at factor 4 ({many(four[2], 'document')})."
        )
        if found.parameters.kind == kind:
            yield (
                "Both start from plain frequencies. For a model that was trained with the rule, and gets a larger "
                "factor, nothing is published or measured here."
            )
    yield "Your model: run the short tests that you have, with the edit and without."


# -------------------------------------------------------------------------------------------- memory, tests, serving


def _memory(found: Explanation) -> Iterator[str]:
    if not found.cache:
        yield "An encoder reads the text at once and keeps nothing. Attention grows with the square of the length."
        return
    form = f"as {found.dtype}" if found.dtype else f"at {found.bytes_per_number} each, since the file names no format"
    for c in found.cache:
        each = found.bytes_per_number * c.numbers
        yield (
            f"{many(c.layers, 'layer')} of type {c.layer_type}: {c.numbers:,} numbers per token and layer ({each:,} "
            f"bytes {form}), {c.tokens:,} tokens: {_gib(each * c.layers * c.tokens)} per sequence."
        )
    if len(found.cache) > 1:
        yield f"Together {_gib(found.cache_bytes)} per sequence."
    if not found.key_heads_named:
        yield "The file names no number of key heads, so every head has its own."
    if found.parameters.rotated == "last":
        yield "That is the latent and the rotated key. An engine that unpacks them keeps more."


def _tests(found: Explanation) -> Iterator[str]:
    known = found.declared if found.declared < found.target else found.trained
    yield (
        f"Loss by position on whole documents of {found.target:,} tokens, against the same model reading only the last "
        f"{known:,}: a mean over the text hides where it breaks."
    )
    if found.cache:
        yield (
            f"Copying, and several needles at every depth up to {found.target:,}; then several hops, as in RULER. A "
            "good loss does not show that far text is used."
        )
    else:
        yield f"The model's own task, with what decides it at every depth up to {found.target:,}."
    yield f"The short tests, and prompts just below and just above {found.trained:,} tokens."
    cached = ", with the cache and without" if found.cache else ""
    yield f"One prompt alone and in a batch with a longer one{cached}: the same answer each time."


def _serving(found: Explanation) -> Iterator[str]:
    p = found.after or found.parameters
    if p.factor not in (None, 1) and p.kind in STATIC:
        yield (
            "The rule is static: frequencies are made once, at load, and short prompts get them too. If the short "
            "tests suffer, serve short prompts from an instance without it."
        )
    if p.kind in ("dynamic", "longrope"):
        yield (
            "transformers chooses the frequencies by the longest position in the batch. An answer then depends on its "
            "neighbors, and keys rotated before a change stay in the cache as they were."
        )
    if p.kind == "longrope":
        yield (
            f"vLLM serves {found.trained:,} tokens unless --max-model-len says more. Above that it takes the long list "
            "for every request: no stale keys, but short prompts pay."
        )
    if p.kind == "dynamic":
        yield (
            f"vLLM makes one table at load, for {p.factor:g} x {found.declared:,} = {int(p.factor * found.declared):,} "
            "tokens: short prompts get it too, and there is none beyond."
        )
    if p.temperature is not None:
        beta, length = p.temperature
        last = 1 + beta * math.log(1 + (found.target - 1) // length)
        yield (
            f"The model multiplies the query at position p by 1 + {beta:g} ln(1 + floor(p / {length:,})), the last by "
            f"{last:.4f}. An engine that leaves it out gives other logits."
        )
    if found.cache:
        yield (
            "Cached keys are rotated, and a prefix cache finds them by their tokens: empty a stored one when rotary "
            "keys change."
        )


def _sources(found: Explanation) -> list[str]:
    kind = (found.after or found.parameters).kind
    used = ["transformers"]
    if found.edit is not None:
        used += [] if found.edit.per_layer_type else ["model card"]
        used += ["yarn in 4"] if kind == "yarn" and not found.edit.per_layer_type else []
        used += ["vllm", "vllm lengths", "llama.cpp"]
        used += ["llama.cpp converter"] if kind == "llama3" else []
    elif "vLLM" in found.reason:
        used += ["vllm lengths"]
    used += {"longrope": ["vllm lengths", "vllm longrope"], "dynamic": ["vllm lengths", "vllm dynamic"]}.get(kind, [])
    used += ["vllm prefixes"] if found.cache else []
    return [*dict.fromkeys(used)]
