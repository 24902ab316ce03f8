"""`tasks.py explain`: every number it prints, its edits read again by transformers, and bad files refused."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import statistics
from pathlib import Path

import pytest
import torch

from helpers.encodings import from_config
from helpers.encodings.extension import rotations
from helpers.explain import HEAD_DIM_EMPTY, TICKS, Explanation, edited, explain, in_use, kv_cache
from helpers.pictures.explained import explained
from helpers.pretrained import context
from tests.encodings.test_config import CONFIGS, ROTARY, by_transformers, published
from tools import explain as tool
from tools.common import Stop

ROOT = Path(__file__).resolve().parents[2]
TAU = 2 * math.pi


def words(name: str, target: int, trained: int | None = None) -> str:
    return tool.report(explain(CONFIGS / f"{name}.json", target, trained=trained), name)


def trained_where_unsaid(name: str) -> int | None:
    """What --trained has to say for the published files that leave it open."""
    lengths = {"command-r-v01": 131072, "falcon-7b-instruct": 2048, "vicuna-7b-v1.5-16k": 4096}
    return 16384 if name.startswith("gemma-3-27b") else lengths.get(name)


def longer(name: str, times: int = 4) -> Explanation:
    """A published file explained for a multiple of the length it is meant for."""
    declared = explain(published(name), 10**9, trained=trained_where_unsaid(name)).declared
    return explain(published(name), times * declared, trained=trained_where_unsaid(name))


# ------------------------------------------------------------------------------------ what a report should say, by hand


def plain(base: float, d: int) -> list[float]:
    return [base ** (-2 * i / d) for i in range(d // 2)]


def by_yarn(base: float, d: int, factor: float, length: int, truncate: bool = True) -> list[float]:
    low, high = (d * math.log(length / (beta * TAU)) / (2 * math.log(base)) for beta in (32, 1))
    low, high = (math.floor(low), math.ceil(high)) if truncate else (low, high)
    ramp = [min(max((i - low) / (high - low), 0), 1) for i in range(d // 2)]
    return [theta * (1 - r) + theta / factor * r for theta, r in zip(plain(base, d), ramp, strict=True)]


def by_llama3(base: float, d: int, factor: float, length: int) -> list[float]:
    out = []
    for theta in plain(base, d):
        u = min(max((length * theta / TAU - 1) / (4 - 1), 0), 1)
        out.append(u * theta + (1 - u) * theta / factor)
    return out


def mscale(factor: float) -> float:
    return 0.1 * math.log(factor) + 1


@dataclasses.dataclass
class Case:
    """One report, with the facts of the published file and what follows from them, worked out here."""

    name: str
    target: int
    head: str  # kind and so on, as the first line has them
    trained: int  # the length that the rule counts from
    declared: int
    base: float
    now: list[float]  # radians per position of every pair at the target
    layers: list[tuple[str, int, int, int | None]]  # type, how many, numbers per token, window
    after: list[float] | None = None
    factor: float | None = None  # of the rule after the edit, or of the file's without one
    attention: tuple[float, float] = (1.0, 1.0)  # now and with the edit
    scale: tuple[float, float, int] | None = None  # now, with the edit, and the head's width
    width: int = 2
    said: int | None = None  # --trained
    edit: dict | None = None
    commands: tuple[str, ...] = ()
    more: tuple[tuple, ...] = ()  # patterns of this kind alone, each with its values

    @property
    def plain(self) -> list[float]:
        return plain(self.base, 2 * len(self.now))


def vllm(target: int) -> str:
    return f'    vllm serve MODEL --max-model-len {target} --hf-overrides "$(cat edit.json)"'


def llama_cpp(flags: str) -> str:
    return f"    llama-server -m MODEL.gguf {flags}"


PHI = json.loads((CONFIGS / "phi-3.5-mini-instruct.json").read_text(encoding="utf-8"))["rope_scaling"]["long_factor"]
FULL = "full_attention"
LLAMA = ("llama-3.1-8b-instruct", "kind llama3, factor 8; 128 channels rotated, base 500,000", [(FULL, 32, 2048, None)])
CASES = [
    Case(
        "qwen2.5-7b-instruct", 131072, "kind default; 128 channels rotated, base 1,000,000", 32768, 32768, 1e6,
        plain(1e6, 128), [(FULL, 28, 2 * 4 * 128, None)],
        after=by_yarn(1e6, 128, 4, 32768), factor=4, attention=(1.0, mscale(4)),
        edit={
            "rope_parameters": {
                "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "rope_theta": 1e6,
            },
            "max_position_embeddings": 131072,
        },
        commands=(
            vllm(131072), llama_cpp("-c 131072 --rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 32768"),
        ),
    ),
    Case(LLAMA[0], 131072, LLAMA[1], 8192, 131072, 5e5, by_llama3(5e5, 128, 8, 8192), LLAMA[2], factor=8),
    Case(
        LLAMA[0], 262144, LLAMA[1], 8192, 131072, 5e5, by_llama3(5e5, 128, 8, 8192), LLAMA[2],
        after=by_llama3(5e5, 128, 16, 8192), factor=16,
        edit={
            "rope_parameters": {
                "rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192, "rope_theta": 5e5,
            },
            "max_position_embeddings": 262144,
        },
        commands=(vllm(262144),),
        more=((r"takes 8192 if it is not there",), (r"no flag for kind 'llama3'",)),
    ),
    Case(
        "deepseek-v3", 327680, "kind yarn, factor 40; 64 of 192 channels rotated, base 10,000", 4096, 163840, 1e4,
        by_yarn(1e4, 64, 40, 4096), [(FULL, 61, 512 + 64, None)],
        after=by_yarn(1e4, 64, 80, 4096), factor=80,
        scale=(mscale(40) ** 2 / 192**0.5, mscale(80) ** 2 / 192**0.5, 192),
        edit={
            "rope_parameters": {
                "rope_type": "yarn", "factor": 80.0, "original_max_position_embeddings": 4096, "rope_theta": 1e4,
                "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0,
            },
            "max_position_embeddings": 327680,
        },
        commands=(
            vllm(327680),
            llama_cpp(
                "-c 327680 --rope-scaling yarn --rope-scale 80 --yarn-orig-ctx 4096 "
                "--yarn-beta-fast 32 --yarn-beta-slow 1"
            ),
        ),
    ),
    Case(
        "gemma-3-27b-it", 262144, "kind linear, factor 8; 128 channels rotated, base 1,000,000", 16384, 131072, 1e6,
        [theta / 8 for theta in plain(1e6, 128)],
        [("sliding_attention", 52, 2 * 16 * 128, 1024), (FULL, 10, 2 * 16 * 128, None)],
        after=[theta / 16 for theta in plain(1e6, 128)], factor=16, scale=(168**-0.5, 168**-0.5, 128), said=16384,
        edit={
            "text_config": {
                "rope_parameters": {
                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                    "full_attention": {"rope_type": "linear", "factor": 16.0, "rope_theta": 1e6},
                },
                "max_position_embeddings": 262144,
            }
        },
        commands=(vllm(262144),),
        more=((r"52 layers of type sliding_attention look back # tokens", 1024),),
    ),
    Case(
        "phi-3.5-mini-instruct", 65536, "kind longrope, factor 32; 96 channels rotated, base 10,000", 4096, 131072, 1e4,
        [theta / slow for theta, slow in zip(plain(1e4, 96), PHI, strict=True)],
        [("sliding_attention", 32, 2 * 32 * 96, 262144)],
        factor=32, attention=(math.sqrt(1 + math.log(32) / math.log(4096)),) * 2,
        more=(
            (r"Beyond # tokens the long list holds: it slows pairs by # to #\.", 4096, min(PHI), max(PHI)),
            (r"vLLM serves # tokens unless", 4096),
        ),
    ),
    Case(
        "internlm2.5-7b-chat", 200000, "kind dynamic, factor 2; 128 channels rotated, base 1,000,000", 32768, 32768,
        1e6, plain(1e6 * (2 * 200000 / 32768 - 1) ** (128 / 126), 128), [(FULL, 32, 2 * 8 * 128, None)], factor=2,
        more=(
            (r"At # tokens the rule slows pairs by # to #\.", 200000, 1, 2 * 200000 / 32768 - 1),
            (r"grows with the length by itself, from # tokens on", 32768),
            (r"for # x # = # tokens", 2, 32768, 65536),
        ),
    ),
    Case(
        "ministral-3-3b-reasoning", 524288, "kind yarn, factor 16; 128 channels rotated, base 1,000,000", 16384, 262144,
        1e6, by_yarn(1e6, 128, 16, 16384), [(FULL, 26, 2 * 8 * 128, None)],
        after=by_yarn(1e6, 128, 32, 16384), factor=32,
        edit={
            "text_config": {
                "rope_parameters": {
                    "rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 16384, "rope_theta": 1e6,
                    "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
                    "llama_4_scaling_beta": 0.1,
                },
                "max_position_embeddings": 524288,
            }
        },
        commands=(
            vllm(524288),
            llama_cpp(
                "-c 524288 --rope-scaling yarn --rope-scale 32 --yarn-orig-ctx 16384 "
                "--yarn-beta-fast 32 --yarn-beta-slow 1"
            ),
        ),
        more=((r"by 1 \+ # ln\(1 \+ floor\(p / #\)\), the last by #", 0.1, 16384, 1 + 0.1 * math.log(32)),),
    ),
    Case(
        "gpt-oss-120b", 262144, "kind yarn, factor 32; 64 channels rotated, base 150,000", 4096, 131072, 1.5e5,
        by_yarn(1.5e5, 64, 32, 4096, truncate=False),
        [("sliding_attention", 18, 2 * 8 * 64, 128), (FULL, 18, 2 * 8 * 64, None)],
        after=by_yarn(1.5e5, 64, 64, 4096, truncate=False), factor=64, attention=(mscale(32), mscale(64)),
        edit={
            "rope_parameters": {
                "rope_type": "yarn", "factor": 64.0, "original_max_position_embeddings": 4096, "rope_theta": 1.5e5,
                "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
            },
            "max_position_embeddings": 262144,
        },
        commands=(
            vllm(262144),
            llama_cpp(
                "-c 262144 --rope-scaling yarn --rope-scale 64 --yarn-orig-ctx 4096 "
                "--yarn-beta-fast 32 --yarn-beta-slow 1"
            ),
        ),
        more=((r"18 layers of type sliding_attention look back # tokens", 128),),
    ),
    Case(
        "gpt-j-6b", 8192, "kind default; 64 of 256 channels rotated, base 10,000", 2048, 2048, 1e4, plain(1e4, 64),
        [(FULL, 28, 2 * 16 * 256, None)], width=4,
    ),
    Case(
        "modernbert-base", 16384, "kind default; 64 channels rotated, base 160,000", 8192, 8192, 1.6e5,
        plain(1.6e5, 64), [], after=by_yarn(1.6e5, 64, 2, 8192), factor=2, attention=(1.0, mscale(2)),
        edit={
            "rope_parameters": {
                "full_attention": {
                    "rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 8192, "rope_theta": 1.6e5,
                },
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
            "max_position_embeddings": 16384,
        },
        commands=(vllm(16384),),
    ),
    Case(
        "gemma-4-e2b-it", 262144, "kind proportional; 512 channels rotated, base 1,000,000", 131072, 131072, 1e6,
        [theta if i < 64 else 0.0 for i, theta in enumerate(plain(1e6, 512))],
        [("sliding_attention", 12, 2 * 256, 512), (FULL, 3, 2 * 512, None)], scale=(1.0, 1.0, 512),
        more=(
            (r"12 layers of type sliding_attention look back # tokens", 512),
            (r"has finished a turn by # tokens", 131072), (r"Raise max_position_embeddings to # for", 262144),
            (r" # more stand still", 192),
        ),
    ),
]  # fmt: skip


def expected(case: Case) -> list[tuple]:
    """Every statement with numbers: a pattern with # for each number, and the numbers."""
    moving = [i for i, theta in enumerate(case.now) if theta > 0]
    unfinished = sum(case.plain[i] * case.trained < TAU for i in moving)
    found = [
        (re.escape(f"{case.name}: {case.head}"),),
        (r"original length # tokens", case.trained),
        (r"; target #", case.target),
        (
            r"# of # pairs[ a-z_]* finish a turn within # tokens, # (?:do|does) not",
            len(moving) - unfinished, len(moving), case.trained, unfinished,
        ),
    ]  # fmt: skip
    if case.declared > case.trained:
        found.append((r", meant for #", case.declared))
    opened = sum(case.now[i] * case.declared < TAU for i in moving)
    rules = [("The file's rule", case.now)]
    if case.target > case.declared:
        rules = []
        if opened and "dynamic" not in case.head:
            found.append((r"# pairs (?:do|does) not finish a turn by # tokens\.", opened, case.declared))
    rules += [] if case.after is None else [("With the edit, the rule", case.after)]
    for words_, after in rules if "longrope" not in case.head else []:
        slow = [p / a for p, a in zip(case.plain, after, strict=True)]
        kept, divided = sum(s < 1.001 for s in slow), sum(s > case.factor * 0.999 for s in slow)
        if divided == len(slow):
            found.append((rf"{words_} divides all # pairs by #\.", divided, case.factor))
        else:
            between = len(slow) - kept - divided
            pattern = rf"{words_} leaves # pairs alone, divides # by #, and slows # by less"
            found.append((pattern, kept, divided, case.factor, between))
    now, then = case.attention
    if then != 1 and case.after is not None:
        found.append((r"attention factor is # \(# now\), on .* of a logit by #\.", then, now, then**2))
    elif then != 1:
        found.append((r"attention factor is #, on .* of a logit by #\.", then, then**2))
    if case.scale is not None:
        now, then, width = case.scale
        changed = r" \(# now\)" if now != then else ""
        values = (then, now) if now != then else (then,)
        found.append((rf"softmax scale is #{changed}, where 1/sqrt\(#\) would be #\.", *values, width, width**-0.5))
    if case.edit is not None:
        over = case.declared if "llama3" in case.head else case.trained
        found.append((r"factor (?:times )?# / #", case.target, over))
        found.append((r"transformers 5, in config.json",))
        if not all(isinstance(each, dict) for each in rope_parameters(case.edit).values()):
            found.append((r"transformers 4: the same dictionary",))
        found += prices("linear" if "linear" in case.head else "llama3" if "llama3" in case.head else "yarn")
    elif case.target <= case.declared:
        found.append((r"The file is meant for # tokens as it stands", case.declared))
    total = 0
    for kind, count, numbers, window in case.layers:
        tokens = min(case.target, window or case.target)
        size = count * numbers * case.width * tokens
        total += size
        line = rf"# layers of type {kind}: # numbers per token and layer \(# bytes [^)]*\), # tokens: # (?:G|M)iB per"
        found.append((line, count, numbers, numbers * case.width, tokens, size / (2**30 if size >= 2**28 else 2**20)))
    if len(case.layers) > 1:
        found.append((r"Together # GiB per sequence", total / 2**30))
    known = case.declared if case.declared < case.target else case.trained
    found.append((r"documents of # tokens, against the same model reading only the last #:", case.target, known))
    found.append((r"at every depth up to #[;.]", case.target))
    found.append((r"just below and just above # tokens", case.trained))
    return [*found, *case.more]


def rope_parameters(edit: dict) -> dict:
    return edit.get("text_config", edit)["rope_parameters"]


def prices(kind: str) -> list[tuple]:
    """What a rule costs on short texts, read here from the published and the recorded numbers."""
    quoted = json.loads((ROOT / "helpers" / "data" / "published.json").read_text(encoding="utf-8"))
    measured: list[float] = []
    for method in {"yarn": ("yarn2", "yarn4"), "linear": ("pi2", "pi4")}.get(kind, ()):
        documents = [doc for doc in context.recorded()["blocks"].values() if method in doc]
        for name in ("none", method):
            blocks = [statistics.fmean(doc[name][:16]) for doc in documents]  # of 512 tokens
            measured.append(math.exp(statistics.fmean(blocks)))
        measured += [int(method[-1]), len(documents)]
    here = (
        r"SmolLM2-135M-Instruct in 4 bits within its # tokens: perplexity # becomes # at factor # \(# documents\), "
        r"# becomes # at factor # \(# documents\)"
    )
    if kind == "yarn":
        llama = quoted["peng2023.mmlu_7b"]["value"]
        values = (llama["Llama 2"], llama["YaRN 64k"], llama["YaRN 128k"])
        paper = r"Llama 2 7B on MMLU: # as trained, # at factor 16 and # at 32 .*Peng et al\. 2023, Table 3"
        return [(paper, *values), (here, 8192, *measured)]
    if kind == "linear":
        llama = quoted["chen2023.boolq"]["value"]
        values = (llama["original"], llama["PI 8192"], llama["PI 32768"])
        paper = r"LLaMA 7B on BoolQ: # as trained, # at factor 4 and # at 16 .*Chen et al\. 2023, Table 5, LLaMA-7B"
        return [(paper, *values), (here, 8192, *measured)]
    return [(r"Nothing is published or measured here for kind 'llama3'",)]


NUMBER = r"(\d{1,3}(?:,\d{3})+(?!\d)|\d+(?:\.\d+)?(?:e-\d+)?)"


def printed(text: str, number: float) -> bool:
    """Whether ``text`` is ``number`` as far as its decimals go."""
    shown = text.replace(",", "")
    decimals = len(shown.partition(".")[2])
    if "e-" in shown:
        return float(shown) == pytest.approx(number, rel=5e-3)
    return abs(float(shown) - number) <= 0.5000001 * 10**-decimals


def the_table(text: str, case: Case) -> str:
    """Check the table of pairs, and return the text without it."""
    (table,) = re.findall(r"\n  pair .*\n(?:  +\d.*\n)+", text)
    rows = [line.split() for line in table.splitlines()[2:]]
    moving = [i for i, theta in enumerate(case.now) if theta > 0]
    turned = [theta * case.trained / TAU for theta in case.plain]
    near = {min(moving, key=lambda i, t=t: abs(math.log(turned[i] / t))) for t in TICKS if turned[moving[-1]] <= t}
    assert [int(row[0]) for row in rows] == sorted({0, moving[-1], *near})
    reach = min([case.target, *(w for kind, _, _, w in case.layers if w and len(case.layers) == 1)])
    for pair, *cells in rows:
        i = int(pair)
        values = [turned[i], case.plain[i] / case.now[i], case.now[i] * reach / TAU]
        if case.after is not None:
            values += [case.plain[i] / case.after[i], case.after[i] * reach / TAU]
        shown = [float(cell.replace(",", "")) for cell in cells]
        assert shown == pytest.approx(values, rel=5.1e-3), pair
    assert re.findall(r"turns in ([\d,]+)", table) == [f"{case.trained:,}", f"{reach:,}"]
    return text.replace(table, "\n")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.target}")
def test_every_printed_number(case, monkeypatch):
    """Each stands where it should, and none is printed that no statement here accounts for."""
    monkeypatch.setattr(tool, "WIDTH", 100_000)
    text = words(case.name, case.target, case.said).partition("\nRead from\n")[0]
    text = the_table(text, case)
    blocks = re.findall(r"(?m)^    \{\n(?:     +.*\n)+    \}$", text)
    assert [json.loads(block) for block in blocks] == ([] if case.edit is None else [case.edit])
    for part in (*blocks, *case.commands):
        assert text.count(part) == 1, part
        text = text.replace(part, "")
    assert "MODEL" not in text
    for pattern, *values in expected(case):
        found = re.search(pattern.replace("#", NUMBER), text)
        assert found, pattern
        assert all(map(printed, found.groups(), values)), (pattern, found.groups(), values)
        assert len(found.groups()) == len(values), pattern
        text = text[: found.start()] + text[found.end() :]
    assert not re.findall(r".*\d.*", text), re.findall(r".*\d.*", text)


def test_the_report_is_narrow_and_says_where_everything_was_read():
    used = set()
    for name in ROTARY:
        for target in (3000, 200_000, 10_000_000):
            try:
                text = words(name, target, trained_where_unsaid(name))
            except ValueError:
                continue
            body, _, sources = text.partition("\nRead from\n")
            for line in body.splitlines():
                assert len(line) <= tool.WIDTH or line.startswith(("    vllm ", "    llama-server ")), line
            used |= {line.strip() for line in sources.splitlines()}
            for engine in ("vLLM", "llama.cpp", "transformers 4"):
                assert (engine in body) == any(line.startswith(engine) for line in used_here(sources)), (name, engine)
    assert used == set(tool.READ_FROM.values())
    for source in tool.READ_FROM.values():
        version = r"(transformers 5\.\d+\.\d+: \S+|\S+: https://\S+/blob/[0-9a-f]{40}/\S+|.*: .*https://(docs|hugg)\S+)"
        assert re.fullmatch(version, source), source


def used_here(sources: str) -> list[str]:
    """The sources of one report, but for the page on prefix caches, which every report ends on."""
    return [line.strip() for line in sources.splitlines() if "prefix_caching" not in line]


# ------------------------------------------------------------------------------------------------------------ the edits

EDITED = [name for name in ROTARY if longer(name).edit is not None]


def test_most_files_can_be_edited_and_the_others_say_why_not():
    others = {name: longer(name).reason for name in ROTARY if name not in EDITED}
    assert len(EDITED) >= 25 and all(reason.endswith(".") for reason in others.values())
    for name, reason in (
        ("gpt-j-6b", "reads no key"), ("roformer-chinese-base", "reads no key"), ("internlm2.5-7b-chat", "by itself"),
        ("phi-3.5-mini-instruct", "new search"), ("phi-4", "plain frequencies or longrope"),
        ("exaone-4.0-32b", "4,096 tokens back at most"),
        ("gemma-4-e2b-it", "no angle is new"),
    ):  # fmt: skip
        assert reason in others[name]


@pytest.mark.parametrize("name", EDITED)
def test_an_edited_file_means_the_same_to_transformers(name):
    found = longer(name)
    content = edited(published(name), found.edit)
    types = list(found.edit.rope_parameters) if found.edit.per_layer_type else [None]
    for layer_type in types:
        ours = from_config(content, layer_type=layer_type)
        freq, factor = by_transformers(content, layer_type)
        assert torch.allclose(ours.inv_freq, freq.double(), rtol=3e-6, atol=1e-12)
        assert ours.attention_factor == factor and ours.max_position_embeddings == found.target
        if layer_type in (None, found.layer_type):
            assert torch.equal(ours.inv_freq, found.after.inv_freq)
        else:
            assert torch.equal(ours.inv_freq, from_config(published(name), layer_type=layer_type).inv_freq)


@pytest.mark.parametrize("name", EDITED)
def test_an_edit_brings_no_pair_to_an_angle_that_it_has_not_met(name):
    found = longer(name)
    met = torch.maximum(found.turns, rotations(found.parameters.inv_freq, found.declared))
    reached = rotations(found.after.inv_freq, found.reach)
    short = met < 1
    assert short.any() and (reached[short] <= met[short] * (1 + 1e-9)).all()
    assert (rotations(found.parameters.inv_freq, found.reach)[short] > met[short]).any()  # without the edit they do


def test_an_edit_leaves_everything_else_in_the_file_alone():
    for name in EDITED:
        before, edit = published(name), longer(name).edit
        after = edited(before, edit)
        assert before == published(name)
        if edit.nested is not None:
            assert {k: v for k, v in after.items() if k != edit.nested} == {
                k: v for k, v in before.items() if k != edit.nested
            }
            before, after = before[edit.nested], after[edit.nested]
        written = {"rope_parameters", "max_position_embeddings"} | ({"head_dim"} if name == "mixtral-8x7b" else set())
        assert set(before) - set(after) == set(edit.removed) and set(after) - set(before) <= written
        assert all(after[key] == before[key] for key in set(after) - written)


def test_a_factor_covers_a_length_that_is_no_multiple():
    found = explain(published("qwen2.5-7b-instruct"), 100_000)
    assert found.edit.rope_parameters["factor"] == 3.0518 and 3.0517 < 100_000 / 32_768 < 3.0518
    assert explain(published("qwen2.5-7b-instruct"), 98_304).edit.rope_parameters["factor"] == 3.0


def test_attention_factor_of_the_old_factor_goes_and_any_other_stays():
    stale = longer("olmo-3.1-32b-instruct").edit.rope_parameters["full_attention"]
    assert stale["attention_factor"] is None
    own = published("yarn-llama-2-7b-64k")
    own["rope_scaling"]["attention_factor"] = 1.5
    assert explain(own, 10**6).edit.rope_parameters["attention_factor"] == 1.5


def test_model_types_whose_code_stands_in_the_way_of_an_edit():
    transformers = pytest.importorskip("transformers")
    for kind in HEAD_DIM_EMPTY:  # the code of YaRN multiplies it
        name = f"{kind}_text" if f"{kind}_text" in transformers.CONFIG_MAPPING else kind
        assert transformers.CONFIG_MAPPING[name]().head_dim is None
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096, "rope_theta": 1e4}
    with pytest.raises(KeyError, match="longrope"):
        transformers.CONFIG_MAPPING["phi3"](rope_parameters=yarn)


def test_flags_of_llama_cpp():
    def flags(config: dict, target: int, trained: int | None = None) -> str:
        return tool._llama_cpp(explain(config, target, trained=trained))

    assert flags(published("vicuna-7b-v1.5-16k"), 32768, 4096) == "--rope-scaling linear --rope-scale 8"
    assert flags(published("qwen3-0.6b"), 65536, 32768) == ("--rope-scaling yarn --rope-scale 2 --yarn-orig-ctx 32768")
    assert flags(published("llama-3.1-8b-instruct"), 262144) == ""
    assert flags(published("gemma-3-27b-it"), 262144, 16384) == ""  # the flags know one rule for all layers


# -------------------------------------------------------------------------------------------------- lengths and memory


def test_lengths_that_a_file_means():
    def lengths(config: dict, target: int = 10**7, trained: int | None = None) -> tuple[int, int]:
        found = explain(config, target, trained=trained)
        return found.trained, found.declared

    assert lengths(published("llama-3.1-8b-instruct")) == (8192, 131072)
    assert lengths(published("vicuna-7b-v1.5-16k"), trained=4096) == (4096, 16384)
    assert lengths(published("qwen3-0.6b")) == (40960, 40960)
    assert lengths(published("qwen3-0.6b"), trained=32768) == (32768, 32768)
    yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    qwen = {
        **published("qwen2.5-7b-instruct"),
        "rope_scaling": yarn,
    }  # as its model card says: the declared length stays
    assert lengths(qwen) == (32768, 131072)
    phi = published("phi-3.5-mini-instruct")
    del phi["max_position_embeddings"]
    phi["rope_scaling"]["factor"] = 32.0
    assert lengths(phi) == (4096, 131072)


def test_layers_with_a_window_decide_how_far_a_rotation_is_used():
    assert longer("exaone-4.0-32b").reach == 4096  # only they are rotated
    assert longer("gemma-3-27b-it").reach == longer("gemma-3-27b-it").target  # the others see everything
    llama4 = {
        "model_type": "llama4_text", "hidden_size": 5120, "num_attention_heads": 40, "num_key_value_heads": 8,
        "head_dim": 128, "num_hidden_layers": 48, "attention_chunk_size": 8192, "rope_theta": 500000.0,
        "max_position_embeddings": 262144, "attn_temperature_tuning": False,
    }  # fmt: skip
    found = explain(llama4, 10**6)
    assert (found.layer_type, found.reach) == ("chunked_attention", 8192) and found.edit is None
    rows = {c.layer_type: (c.layers, c.tokens, c.numbers) for c in found.cache}
    assert rows == {"chunked_attention": (36, 8192, 2048), "full_attention": (12, 10**6, 2048)}


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("llama-2-7b-chat", {"full_attention": (32, 10**5, 2 * 32 * 128)}),  # every head its own keys
        ("llama-3.1-8b-instruct", {"full_attention": (32, 10**5, 2 * 8 * 128)}),  # 8 key heads for 32 heads
        ("falcon-7b-instruct", {"full_attention": (32, 10**5, 2 * 1 * 64)}),  # one for 71
        ("qwen3-0.6b", {"full_attention": (28, 10**5, 2 * 8 * 128)}),  # head_dim is not hidden_size / heads
        ("deepseek-v3", {"full_attention": (61, 10**5, 512 + 64)}),  # a latent for all heads, and one rotated key
        ("deepseek-v2-lite", {"full_attention": (27, 10**5, 512 + 64)}),
        ("qwen3.5-9b", {"full_attention": (8, 10**5, 2 * 4 * 256)}),  # 24 linear layers keep no keys
        ("gemma-3-27b-it", {"sliding_attention": (52, 1024, 4096), "full_attention": (10, 10**5, 4096)}),
        ("gemma-2-2b", {"sliding_attention": (13, 4096, 2048), "full_attention": (13, 10**5, 2048)}),
        ("gemma-4-e2b-it", {"sliding_attention": (12, 512, 512), "full_attention": (3, 10**5, 1024)}),  # 20 share
        ("gpt-j-6b", {"full_attention": (28, 10**5, 2 * 16 * 256)}),
        ("modernbert-base", {}),
    ],
)
def test_keys_and_values_that_a_sequence_leaves(name, rows):
    assert {c.layer_type: (c.layers, c.tokens, c.numbers) for c in kv_cache(published(name), 10**5)} == rows


def test_bytes_of_a_cache():
    found = explain(published("llama-3.1-8b-instruct"), 131072)
    assert found.cache_bytes == 16 * 2**30 and found.bytes_per_number == 2  # 32 layers, 8 heads, 128, keys and values
    assert explain({**published("llama-3.1-8b-instruct"), "torch_dtype": "float32"}, 131072).cache_bytes == 32 * 2**30
    assert explain(published("gpt-oss-120b"), 262144).dtype is None  # 2 bytes then, and the report says so


# ------------------------------------------------------------------------------------------------------------ bad input


LLAMA3 = "llama-3.1-8b-instruct"
BAD = {
    "hub name": (["meta-llama/Llama-3.1-8B"], "^config='meta-llama/Llama-3.1-8B': is no file.*download"),
    "no JSON": (["README.md"], "^config='README.md': is not JSON .*pass the model's config.json"),
    "folder": (["helpers"], "is a folder; pass"),
    "target of training": ([LLAMA3, "--target", "8192"], "target=8192: is not above the 8,192 tokens .* Ask for more"),
    "target 0": ([LLAMA3, "--target", "0"], "target=0: must be an integer of at least 1"),
    "no length": (["falcon-7b-instruct"], "max_position_embeddings=None: names no length; .*--trained"),
    "two lengths": (["command-r-v01"], "model_max_length=131072: max_position_embeddings=8192 says another.*--trained"),
    "which length": (["vicuna-7b-v1.5-16k"], "trained=None: the file has factor=4 .*--trained"),
    "two originals": ([LLAMA3, "--trained", "4096"], "trained=4096: the file counts from 8192 tokens; leave it out"),
    "too long a training": (["phi-1", "--trained", "9000"], "trained=9000: is more than the 2048 tokens"),
    "trained 0": (["falcon-7b-instruct", "--trained", "0"], "trained=0: must be an integer of at least 1"),
    "ALiBi": (["bloom-3b"], "model_type='bloom': positions come from ALiBi, not from a rotation: .*loss by position"),
    "ALiBi in a Falcon": (["walter-falcon-1b"], "model_type='falcon': positions come from ALiBi"),
    "T5": (["flan-t5-base"], "model_type='t5': positions come from T5, not from a rotation: there is no length to set"),
    "UMT5": (["umt5-small"], "model_type='umt5': positions come from T5, not from a rotation"),
    "picture": ([LLAMA3, "--picture", "no/folder.png"], "--picture no/folder.png: pass the name of a .png file"),
    "picture of another kind": ([LLAMA3, "--picture", "x.pdf"], "--picture x.pdf: pass the name of a .png file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_the_remedy(case, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (name, *rest), message = BAD[case]
    file = f"helpers/data/configs/{name}.json" if (CONFIGS / f"{name}.json").exists() else name
    with pytest.raises(Stop, match=message) as stopped:
        tool.main([file, *rest] if "--target" in rest else [file, "--target", "200000", *rest])
    assert str(stopped.value).count(file) == 1 or case in ("picture", "picture of another kind", "folder")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_position_embeddings": None}, "max_position_embeddings=None: says how far the rule is meant to reach"),
        ({"num_hidden_layers": None}, "num_hidden_layers=None: counts the layers; add the key"),
        ({"rope_scaling": {"type": "magic"}}, "rope_type='magic': choose one of"),
        ({"model_type": "gpt2"}, "model_type='gpt2': has no rotation"),
    ],
)
def test_a_file_that_does_not_say_what_is_needed(change, message):
    with pytest.raises(ValueError, match=message):
        explain({**published(LLAMA3), **change}, 200_000)


def test_layers_without_any_rotation_are_not_explained():
    flags = {"model_type": "smollm3", "no_rope_layers": [0] * 32}
    with pytest.raises(ValueError, match="positions come from NoEncoding, not from a rotation"):
        explain({**published(LLAMA3), **flags}, 200_000)


# --------------------------------------------------------------------------------------------- table, picture, command


def test_the_table_has_one_row_per_pair():
    found = explain(published("qwen2.5-7b-instruct"), 131072)
    rows = found.table()
    assert [row["pair"] for row in rows] == list(range(64))
    assert rows[40] == {
        "pair": 40, "turns": found.turns[40].item(), "slowed": 1.0, "turns_at_target": 4 * rows[40]["turns"],
        "slowed_after": 4.0, "turns_after": rows[40]["turns"],
    }  # fmt: skip
    assert set(explain(published(LLAMA3), 131072).table()[0]) == {"pair", "turns", "slowed", "turns_at_target"}
    still = explain(published("gemma-4-e2b-it"), 262144)
    assert math.isinf(still.table()[64]["slowed"]) and still.marked() == [0, 63]


@pytest.mark.parametrize("name", ["deepseek-v3", "gemma-4-e2b-it", "phi-3.5-mini-instruct"])
def test_the_picture_shows_the_figures(name):
    import matplotlib.pyplot as plt

    found = longer(name)
    picture = explained(found)
    (ax,) = picture.fig.axes
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    moving = found.moving.numpy()
    assert (lines["as the file has it"][moving] == found.slowed.numpy()[moving]).all()
    assert ("with the edit" in lines) == (found.after is not None)
    if found.after is not None:
        assert (lines["with the edit"] == found.slowed_after.numpy()).all()
        assert list(lines["keeps 655,360 tokens within the angles of 4,096"]) == [160, 160]
    where = dict(zip([tick.get_text() for tick in ax.get_xticklabels()], ax.get_xticks(), strict=True))
    for turns, x in where.items():
        assert abs(found.turns[round(x)].item() / float(turns) - 1) < 0.5
    assert ("stopped" in [text.get_text() for text in ax.texts]) == (not moving.all())
    assert str(int(found.unfinished.sum())) in picture.caption and picture.caption in picture.alt
    plt.close(picture.fig)


def test_the_command_prints_the_report_and_draws(tmp_path, capsys):
    file = tmp_path / "some-model" / "config.json"
    file.parent.mkdir()
    file.write_text(json.dumps(published("qwen2.5-7b-instruct")), encoding="utf-8")
    picture = tmp_path / "picture.png"
    assert tool.main([str(file), "--target", "131072", "--picture", str(picture)]) == 0
    printed_ = capsys.readouterr().out
    assert printed_.startswith("some-model: kind default;") and printed_.endswith(f"Picture: {picture}\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="2"):
        tool.main([str(file)])
    assert "--target" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------- a row a model

ROWS = {  # by hand, from the files
    "llama-3.1-8b-instruct": ("500,000", "Llama 3 x8", "128 of 128", "", "", "", "131,072"),
    "deepseek-v3": ("10,000", "YaRN x40", "64 of 192", "", "", "softmax x1.87", "163,840"),
    "gemma-3-27b-it": ("10,000 / 1,000,000", "plain / PI x8", "128 of 128", "", "52 of 62: 1,024", "", "131,072"),
    "gemma-4-e2b-it": (
        "10,000 / 1,000,000", "plain / p-RoPE", "256 of 256 / 128 of 512", "", "28 of 35: 512", "", "131,072",
    ),
    "exaone-4.0-32b": ("1,000,000", "Llama 3 x16", "128 of 128", "16 of 64", "48 of 64: 4,096", "", "131,072"),
    "qwen3.5-9b": ("10,000,000", "plain", "64 of 256", "24 linear", "", "", "262,144"),
    "gpt-oss-120b": ("150,000", "YaRN x32", "64 of 64", "", "18 of 36: 128", "cos, sin x1.35", "131,072"),
    "ministral-3-3b-reasoning": ("1,000,000", "YaRN x16", "128 of 128", "", "", "by position", "262,144"),
    "phi-3.5-mini-instruct": ("10,000", "LongRoPE x32", "96 of 96", "", "", "cos, sin x1.19", "131,072"),
    "mpt-7b-storywriter": ("", "ALiBi", "", "", "", "", "65,536"),
    "umt5-small": ("", "T5, per layer", "", "", "", "", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_table_of_models_is_what_the_file_says(name):
    assert tuple(in_use(CONFIGS / f"{name}.json").values()) == ROWS[name]


def test_a_row_reads_every_published_file():
    for path in CONFIGS.glob("*.json"):
        if path.stem != "sources":
            row = in_use(path)
            assert len(row) == 7 and row["rule"]


def test_llama_4_has_layers_without_rotation_and_a_temperature():
    config = {
        "model_type": "llama4_text", "num_hidden_layers": 8, "hidden_size": 64, "num_attention_heads": 4,
        "rope_theta": 500_000.0, "max_position_embeddings": 1000, "attention_chunk_size": 100, "attn_scale": 0.1,
        "floor_scale": 50,
    }  # fmt: skip
    row = in_use(config)
    assert (row["no positions"], row["window"], row["temperature"]) == ("2 of 8", "6 of 8: 100", "by position")
