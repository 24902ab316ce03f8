"""Must-fail: real mistakes from published code, each next to the check that the right version passes and it does not.

A check that a wrong implementation passes would prove nothing, so both directions are tested. Mistakes that are
sentences rather than code are claims, decided in the notebooks (tests/notebooks/test_claims.py).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from helpers.encodings import extension
from helpers.encodings.alibi import alibi_slopes
from helpers.encodings.axial import mrope_frequencies, multimodal_positions
from helpers.encodings.base import positions
from helpers.encodings.deberta import deberta_index, log_buckets
from helpers.encodings.learned import padded_positions
from helpers.encodings.pope import PoPE, pope_frequencies
from helpers.encodings.rope import RoPE, rope_angles, rope_frequencies, rotate_pairs
from helpers.encodings.shaw import clipped_index
from helpers.encodings.sinusoidal import (
    Sinusoidal,
    dot_product_by_distance,
    sinusoidal_frequencies,
    sinusoidal_table,
)
from helpers.encodings.t5 import t5_buckets
from helpers.encodings.temperature import position_temperature
from helpers.encodings.xpos import XPos
from helpers.model import CausalLM

D, T = 16, 12
SIGNS, KINDS = itertools.cycle((1, -1)), itertools.cycle(("half", "interleaved"))  # first the query, then the key
MISTAKES: list[tuple[str, Callable, Callable, Callable[[Callable], bool]]] = []


def near(a, b, tolerance: float = 1e-6) -> bool:
    return bool((torch.as_tensor(a).double() - torch.as_tensor(b).double()).abs().max() < tolerance)


def mistake(name: str, right: Callable, wrong: Callable):
    """Register a check of an implementation: the right one passes it, the wrong one does not."""

    def register(check: Callable[[Callable], bool]) -> Callable[[Callable], bool]:
        MISTAKES.append((name, right, wrong, check))
        return check

    return register


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------------- sinusoidal


def add_table(x):
    scheme, pos = Sinusoidal(D), positions(x.shape[1])
    return scheme.embed(x, scheme.prepare(pos, pos, None))


@mistake(
    "x + pe[:x.size(0)] with batch first", add_table, lambda x: x + sinusoidal_table(torch.arange(len(x)), D)[:, None]
)
def adds_another_row_to_every_position(add) -> bool:
    added = add(torch.zeros(3, T, D))
    return near(added[0], added[2]) and not near(added[0, 0], added[0, 5], 0.1)


@mistake(
    "natural denominator d/2 - 1",
    lambda d: sinusoidal_frequencies(d),
    lambda d: sinusoidal_frequencies(d, convention="tensor2tensor"),
)
def slowest_wave_is_that_of_the_paper(frequencies) -> bool:
    return math.isclose(2 * math.pi / frequencies(64)[-1].item(), 47_117, rel_tol=1e-3)


@mistake(
    "PE[0][127] = 0.71 at d = 128",
    lambda: sinusoidal_table(torch.arange(1), 128),
    lambda: torch.cat([sinusoidal_table(torch.arange(1), 128)[:, :127], torch.full((1, 1), 0.71)], 1),
)
def every_cosine_of_position_zero_is_one(row) -> bool:
    return near(row()[0, 1::2], torch.ones(64))


@mistake(
    "PE[1] at d = 4 ends in 0.999",
    lambda: sinusoidal_table(torch.tensor([1]), 4)[0],
    lambda: torch.tensor([0.841, 0.540, 0.010, 0.999]),
)
def position_one_by_hand(row) -> bool:
    return near(row(), [0.841471, 0.540302, 0.0099998, 0.99995], 1e-5)


@mistake("sine and cosine swapped", sinusoidal_table, lambda p, d: sinusoidal_table(p, d)[..., [1, 0, 3, 2]])
def sines_come_first(table) -> bool:
    return near(table(torch.tensor([0]), 4)[0], [0, 1, 0, 1])


# ---------------------------------------------------------------------------------------------------------- RoPE


def rope(x, m, sign: int = 1, layout: str = "half", freq=None, dtype=torch.int64):
    freq = rope_frequencies(x.shape[-1]) if freq is None else freq
    angle = rope_angles(torch.as_tensor(m).to(dtype), freq) * sign
    return rotate_pairs(x, angle.cos(), angle.sin(), layout)


def relative(turn_q, turn_k=None) -> bool:
    """Logits are the same when both positions move together, and are not when only one does."""
    q, k = draw(8, D), draw(8, D, seed=1)
    turn_k = turn_k or turn_q

    def logit(m, n):
        return (turn_q(q, [m]) * turn_k(k, [n])).sum(-1)

    return near(logit(3, 10), logit(503, 510)) and not near(logit(3, 10), logit(3, 11), 1e-3)


@mistake(
    "theta with a positive exponent", lambda d: rope_frequencies(d), lambda d: 10_000.0 ** (torch.arange(0, d, 2) / d)
)
def frequencies_fall_from_one(frequencies) -> bool:
    theta = frequencies(D)
    return math.isclose(theta[0].item(), 1) and bool((theta.diff() < 0).all())


def matrix(m: float, sign: int) -> torch.Tensor:
    c, s = (m * rope_frequencies(D)).cos(), sign * (m * rope_frequencies(D)).sin()
    return torch.block_diag(*torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2))


@mistake("matrix and elementwise formula turn in opposite directions", lambda m: matrix(m, 1), lambda m: matrix(m, -1))
def matrix_equals_elementwise(rotation) -> bool:
    x = draw(5, D)
    return near(x @ rotation(7).T, rope(x, [7], layout="interleaved"))


@mistake(
    "queries and keys turned in opposite directions",
    lambda x, m: rope(x, m),
    lambda x, m: rope(x, m, next(SIGNS)),
)
def one_direction_for_both(turn) -> bool:
    return relative(turn)


@mistake(
    "interleaved angles with rotate-half",
    lambda x, m: rope(x, m),
    lambda x, m: (
        x * rope_angles(torch.as_tensor(m), rope_frequencies(D)).repeat_interleave(2, -1).cos()
        + torch.cat([-x[..., D // 2 :], x[..., : D // 2]], -1)
        * rope_angles(torch.as_tensor(m), rope_frequencies(D)).repeat_interleave(2, -1).sin()
    ),
)
def rotation_keeps_the_norm(turn) -> bool:
    x = draw(5, D)
    return near(turn(x, [9]).norm(dim=-1), x.norm(dim=-1))


@mistake(
    "queries in one layout, keys in the other",
    lambda x, m: rope(x, m),
    lambda x, m: rope(x, m, layout=next(KINDS)),
)
def one_layout_for_both(turn) -> bool:
    return relative(turn)


def attend(q, k, v, shift: int, values_too: bool):
    pos = torch.arange(T) + shift
    v = rope(v, pos) if values_too else v
    return (rope(q, pos) @ rope(k, pos).T / math.sqrt(D)).softmax(-1) @ v


@mistake(
    "RoPE rotates key and value",
    lambda shift: attend(draw(T, D), draw(T, D, seed=1), draw(T, D, seed=2), shift, False),
    lambda shift: attend(draw(T, D), draw(T, D, seed=1), draw(T, D, seed=2), shift, True),
)
def output_does_not_move_with_the_sequence(output) -> bool:
    return near(output(0), output(100))


@mistake(
    "partial rotation with denominator head_dim",
    lambda: rope_frequencies(16),
    lambda: rope_frequencies(64)[:8],
)
def a_quarter_of_64_channels_spans_all_frequencies(frequencies) -> bool:
    return frequencies()[-1].item() < 1e-3


@mistake("positions made in bfloat16", lambda x, m: rope(x, m), lambda x, m: rope(x, m, dtype=torch.bfloat16))
def position_257_is_not_256(turn) -> bool:
    return not near(turn(draw(4, D), [256]), turn(draw(4, D), [257]), 1e-3)


@mistake(
    "frequencies kept in bfloat16", lambda d: rope_frequencies(d), lambda d: rope_frequencies(d).bfloat16().double()
)
def angles_at_4096_are_right(frequencies) -> bool:
    return near(4096 * frequencies(128), 4096 * 10_000.0 ** (-torch.arange(0, 128, 2).double() / 128), 1e-3)


@mistake("PoPE with the exponent that the paper prints", pope_frequencies, lambda d: 10_000.0 ** (torch.arange(d) / d))
def polar_frequencies_fall(frequencies) -> bool:
    return bool((frequencies(D).diff() < 0).all())


# --------------------------------------------------------------------------------------------- biases and buckets


@mistake("slope 2^(-8/n) for every head", alibi_slopes, lambda n: torch.full((n,), 2 ** (-8 / n)))
def every_head_has_a_slope_of_its_own(slopes) -> bool:
    return len(slopes(8).unique()) == 8 and near(slopes(8), [2.0**-h for h in range(1, 9)])


@mistake("2^(-8h/n) for any n", alibi_slopes, lambda n: 2.0 ** (-8 * torch.arange(1, n + 1) / n))
def twelve_heads_as_the_authors_have_them(slopes) -> bool:
    return near(slopes(12), [2.0**-h for h in range(1, 9)] + [2.0 ** -(h + 0.5) for h in range(4)])


def key_only(causal: bool) -> torch.Tensor:
    """Attention weights with the key-only row m j in place of -m |i - j|, minus those with the full bias."""
    i = torch.arange(T).double()
    logits, m = draw(T, T), 0.3
    mask = (i[None] > i[:, None]) if causal else torch.zeros(T, T, dtype=torch.bool)
    a, b = (
        (logits + bias).masked_fill(mask, -math.inf).softmax(-1) for bias in (m * i[None], -m * (i[:, None] - i).abs())
    )
    return a - b


@mistake("the key-only row without a causal mask", lambda: key_only(True), lambda: key_only(False))
def key_only_row_is_the_bias(difference) -> bool:
    return near(difference(), 0, 1e-12)


@mistake(
    "ALiBi divided by sqrt(d) with the logits",
    lambda q, k, bias: q @ k.T / math.sqrt(D) + bias,
    lambda q, k, bias: (q @ k.T + bias) / math.sqrt(D),
)
def bias_is_not_scaled(logits) -> bool:
    return near(logits(torch.zeros(T, D), torch.zeros(T, D), -torch.arange(T)), -torch.arange(T))


@mistake("query minus key (Shaw, T5)", lambda d: clipped_index(d, 3), lambda d: clipped_index(-d, 3))
def rows_are_key_minus_query(index) -> bool:
    return index(torch.tensor([-9, -1, 0, 2, 9])).tolist() == [0, 2, 3, 5, 6]


@mistake(
    "T5's last bucket from 128",
    lambda d: t5_buckets(d, 32, 128),
    lambda d: torch.where(-d >= 128, 31, t5_buckets(d, 32, 128).clamp(max=30)),
)
def the_last_causal_bucket_starts_at_113(buckets) -> bool:
    return buckets(torch.tensor([-112, -113])).tolist() == [30, 31]


@mistake(
    "forward and backward share T5's buckets",
    lambda d: t5_buckets(d, 32, 128, True),
    lambda d: t5_buckets(-d.abs(), 16, 128, False),
)
def direction_is_told(buckets) -> bool:
    return buckets(torch.tensor([5])).item() - buckets(torch.tensor([-5])).item() == 16


# ----------------------------------------------------------------------------------------------- context extension

LLAMA2 = {"head_dim": 128, "base": 10_000.0, "factor": 16.0, "original_max_position_embeddings": 4096}


@mistake(
    "base * scale ** (d / (d - 2)) called YaRN",
    lambda: extension.extend("yarn", **LLAMA2),
    lambda: extension.extend("ntk", **LLAMA2),
)
def yarn_keeps_fast_pairs_and_has_a_temperature(rule) -> bool:
    plain = rope_frequencies(128)
    found = rule()
    return near(found.inv_freq[:20], plain[:20], 1e-12) and math.isclose(found.attention_factor, 1.2773, abs_tol=1e-4)


@mistake(
    "the paper's ramp where released models use the code's",
    lambda: extension.extend("yarn", **LLAMA2),
    lambda: extension.extend("yarn", ramp="paper", **LLAMA2),
)
def slow_downs_of_the_released_code(rule) -> bool:
    slow = rope_frequencies(128) / rule().inv_freq
    return near(slow[[20, 28, 36, 40, 44, 46]], [1.00, 1.41, 2.36, 3.59, 7.43, 16], 0.005)


GPT_OSS = {"head_dim": 64, "base": 150_000.0, "factor": 32.0, "original_max_position_embeddings": 4096}
LLAMA3 = {"head_dim": 128, "base": 5e5, "factor": 8.0, "original_max_position_embeddings": 8192}


@mistake(
    "Llama 3.1 uses YaRN",
    lambda: extension.extend("llama3", **LLAMA3),
    lambda: extension.extend("yarn", **LLAMA3),
)
def llama3_is_the_paper_s_ramp_without_temperature(rule) -> bool:
    ramp = extension.extend("ntk_by_parts", beta_fast=4.0, beta_slow=1.0, **LLAMA3)
    found = rule()
    return near(found.inv_freq / ramp.inv_freq, 1, 1e-6) and found.attention_factor == 1


@mistake(
    "temperature after the softmax",
    lambda logits, t: (logits / t).softmax(-1),
    lambda logits, t: logits.softmax(-1) / t,
)
def weights_still_sum_to_one(attention) -> bool:
    return near(attention(draw(4, 9), 0.8).sum(-1), 1)


@mistake(
    "the temperature's factor applied once to the logits",
    lambda q, k, f: (f * q) @ (f * k).T,
    lambda q, k, f: f * (q @ k.T),
)
def logits_scale_with_the_square(logits) -> bool:
    q, k = draw(4, D), draw(4, D, seed=1)
    return near(logits(q, k, 1.2773) / (q @ k.T), 1.6315, 1e-3)


@mistake(
    "dynamic NTK with s = l / L whatever the factor",
    lambda l: extension.extend("dynamic_ntk", 128, 1e4, 2.0, 4096, l).inv_freq[-1],
    lambda l: extension.extend("ntk", 128, 1e4, l / 4096, 4096).inv_freq[-1],
)
def at_twice_the_length_factor_two_means_three(slowest) -> bool:
    return math.isclose(rope_frequencies(128)[-1] / slowest(8192), 3, rel_tol=1e-9)


@mistake(
    "PI multiplies the frequencies",
    lambda: extension.extend("pi", **LLAMA2).inv_freq,
    lambda: rope_frequencies(128) * 16,
)
def interpolation_slows_down(frequencies) -> bool:
    return near(frequencies() * 16, rope_frequencies(128), 1e-12)


@mistake(
    "the ramp's ends rounded for gpt-oss, whose configuration says truncate: false",
    lambda: extension.extend("yarn", truncate=False, **GPT_OSS),
    lambda: extension.extend("yarn", **GPT_OSS),
)
def gpt_oss_as_transformers_reads_its_configuration(rule) -> bool:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_type": "yarn", "rope_theta": 150_000.0, "factor": 32.0, "truncate": False}
    rope["original_max_position_embeddings"] = 4096
    config = LlamaConfig(hidden_size=64, num_attention_heads=1, head_dim=64, rope_parameters=rope)
    return near(rule().inv_freq / ROPE_INIT_FUNCTIONS["yarn"](config)[0].double(), 1, 1e-5)


def code_ramp_limited_to(last: int):
    """YaRN's frequencies at a length so short that the slow end of the ramp would lie beyond the pairs."""
    low, high = 0, min(math.ceil(extension.correction_dim(1.0, 16, 10.0, 4096)), last)
    interpolate = ((torch.arange(8).double() - low) / (high - low)).clamp(0, 1)
    return extension.blend(rope_frequencies(16, 10.0), 4.0, 1 - interpolate)


@mistake(
    "the ramp's upper end limited to head_dim / 2 - 1",
    lambda: code_ramp_limited_to(15),
    lambda: code_ramp_limited_to(7),
)
def upper_end_as_released(frequencies) -> bool:
    released = extension.extend("yarn", 16, 10.0, 4.0, 4096, beta_fast=600.0).inv_freq
    return near(frequencies(), released, 1e-12)


def logits_with_temperature(on_tables: bool, on_scale: bool):
    """Logits with YaRN's temperature on cos and sin (most models) or squared in the softmax scale (DeepSeek)."""
    factor = extension.temperature_factor(16.0)
    q, k = draw(4, D), draw(4, D, seed=1)
    q, k = (rope(x, [5]) * (factor if on_tables else 1) for x in (q, k))
    return (q @ k.T) / math.sqrt(D) * (factor**2 if on_scale else 1)


@mistake(
    "the temperature applied twice: on cos and sin, and in the softmax scale",
    lambda: logits_with_temperature(False, True),
    lambda: logits_with_temperature(True, True),
)
def one_temperature_wherever_it_stands(logits) -> bool:
    return near(logits(), logits_with_temperature(True, False), 1e-9)


# ------------------------------------------------------------------------------------- what a cache must not change


def faded_keys(center_of) -> Callable:
    """Keys as xPos leaves them when a call of ``length`` tokens centers its exponents at center_of(length)."""

    def keys(length: int):
        enc, pos = XPos(D, center=center_of(length)), positions(length)
        k = draw(1, 1, 12, D)[:, :, :length]
        return enc.rotate(k, k, enc.prepare(pos, pos, None), 0)[1]

    return keys


@mistake(
    "xPos centered on the middle of each call, with a cache of rotated keys",
    faded_keys(lambda length: 0),
    faded_keys(lambda length: length / 2),
)
def cached_keys_stay_what_they_were(keys) -> bool:
    return near(keys(6), keys(12)[:, :, :6], 1e-6)


def last_key_turned(cached: bool) -> torch.Tensor:
    """The key of position 0 under dynamic NTK after the text has grown to four times the trained length."""
    enc, k = extension.DynamicNTK(D, 16, 1.0), draw(1, 1, 64, D)

    def turned(length: int):
        pos = positions(length)
        return enc.rotate(k[:, :, :length], k[:, :, :length], enc.prepare(pos, pos, None), 0)[1]

    early, late = turned(16), turned(64)
    return torch.cat([early, late[:, :, 16:]], 2) if cached else late


@mistake(
    "keys cached after a rotation that changes with length",
    lambda: last_key_turned(False),
    lambda: last_key_turned(True),
)
def all_keys_have_the_frequencies_of_now(keys) -> bool:
    return near(keys(), rope(draw(1, 1, 64, D), range(64), freq=extension.extend("ntk", D, 1e4, 4.0).inv_freq), 1e-6)


# ------------------------------------------------------------------------------------------------- beyond the tables


@mistake("self-attention is permutation-invariant", lambda y, order: y[order], lambda y, order: y)
def what_shuffling_does_to_the_outputs(predicted) -> bool:
    x, order = draw(6, D), torch.tensor([3, 1, 5, 0, 2, 4])

    def attention(x):
        return (x @ x.T / math.sqrt(D)).softmax(-1) @ x

    return near(attention(x[order]), predicted(attention(x), order), 1e-12)


@mistake(
    "the dot product of sinusoids decreases with distance (six sampled distances)",
    lambda: torch.arange(101),
    lambda: torch.tensor([0, 1, 2, 5, 10, 20]),
)
def rises_are_seen(distances) -> bool:
    return bool((dot_product_by_distance(distances(), 64).diff() > 0).any())


@mistake(
    "a larger base compresses the frequencies",
    lambda base: rope_frequencies(128, base),
    lambda base: rope_frequencies(128, 1e8 / base),
)
def a_larger_base_widens_the_range(frequencies) -> bool:
    def decades(f):
        return math.log10(f[0] / f[-1])

    return decades(frequencies(5e5)) > decades(frequencies(1e4)) + 1


def causal_mean(x: torch.Tensor) -> torch.Tensor:
    """What a head that attends to all visible tokens alike gives for each position."""
    return x.cumsum(0) / torch.arange(1, len(x) + 1)[:, None]


@mistake(
    "the number of visible tokens identifies the position",
    lambda token: torch.cat([-token, token.expand(7, -1)]),  # a first token that differs does
    lambda token: token.expand(8, -1),
)
def positions_can_be_told_apart(text) -> bool:
    rows = causal_mean(text(draw(1, D)))
    return all(not near(rows[i], rows[i + 1], 1e-3) for i in range(7))


@mistake(
    "PoPE scaled by the width after rotation",
    lambda: 1 / math.sqrt(D),
    lambda: 1 / math.sqrt(2 * D),
)
def pope_s_scale_is_that_of_the_package(scale) -> bool:
    from PoPE_pytorch import PoPE as Package

    torch.manual_seed(0)
    model = CausalLM(7, D, 1, 1, PoPE(D, 1))
    ids = torch.randint(7, (1, 6))
    block = model.blocks[0]
    q, k, v = block.attention.qkv(block.norm1(model.token_embedding(ids))).split(D, -1)
    package = Package(D, heads=1)
    a, b = package.apply_pope_to_qk(package(6), q[:, None], k[:, None])
    weights = (a @ b.mT)[0, 0] * scale()
    weights = weights.masked_fill(torch.ones(6, 6).triu(1).bool(), -math.inf).softmax(-1)
    return near(weights.detach(), model.attention_weights(ids)[0, 0, 0], 1e-5)


# ------------------------------------------------------------------------------------------------------- the tests


# ----------------------------------------------------------------------------------- published models, ported by hand

DEEPSEEK = {"rotary_dim": 64, "rotated": "last"}


def logit_of_ones(**how) -> float:
    """The logit of two heads of 192 ones at one position, over its value without a temperature."""
    enc, ones, at = RoPE(192, **how), torch.ones(1, 1, 1, 192, dtype=torch.float64), torch.tensor([[0]])
    q, k = enc.rotate(ones, ones, enc.prepare(at, at, None), 0)
    return (q * k).sum().item() * (enc.scale or 192**-0.5) / 192**0.5


@mistake(
    "DeepSeek's temperature on cos and sin",
    lambda f: logit_of_ones(**DEEPSEEK, scale=192**-0.5 * f**2),
    lambda f: logit_of_ones(**DEEPSEEK, attention_factor=f),
)
def a_temperature_reaches_the_whole_logit(grown) -> bool:
    return math.isclose(grown(0.1 * math.log(40) + 1), 1.8739, abs_tol=1e-4)


def first_channel_turns(**how) -> bool:
    enc, x = RoPE(8, rotary_dim=4, **how), torch.ones(1, 1, 1, 8)
    return not near(enc.rotate(x, x, enc.prepare(torch.tensor([[3]]), torch.tensor([[3]]), None), 0)[0][..., 0], 1, 0.1)


@mistake(
    "DeepSeek's rotation on the first channels",
    lambda: first_channel_turns(rotated="last"),
    lambda: first_channel_turns(rotated="first"),
)
def content_channels_come_first(turns) -> bool:
    return not turns()


@mistake(
    "Qwen3-VL's sections in blocks",
    lambda: mrope_frequencies(128, (24, 20, 20), 5e6, True)[1],
    lambda: mrope_frequencies(128, (24, 20, 20), 5e6)[1],
)
def every_axis_has_a_fast_pair(axis) -> bool:
    return axis()[:4].tolist() == [0, 1, 2, 0]


@mistake(
    "the position after a picture is the number of tokens",
    lambda grid: int(multimodal_positions([grid, 1])[0, -1, 0]),
    lambda grid: math.prod(grid),
)
def text_goes_on_after_the_largest_id(following) -> bool:
    return following((1, 4, 4)) == 4


@mistake(
    "DeBERTa-v3 without log buckets",
    lambda d: deberta_index(log_buckets(-d, 256, 512), 256),
    lambda d: deberta_index(-d, 256),
)
def far_distances_share_rows(rows) -> bool:
    return rows(torch.tensor([200, 300])).tolist() == [425, 463]


@mistake(
    "rows of OPT's table given for positions",
    lambda real: padded_positions(real) + 2,
    lambda real: padded_positions(real) + 2 + 2,
)
def the_first_real_token_reads_row_two(rows) -> bool:
    return rows(torch.tensor([[False, True, True]])).tolist() == [[1, 2, 3]]


@mistake("MPT's slopes with 8 where the file says 16", lambda: alibi_slopes(2, 16), lambda: alibi_slopes(2))
def the_flattest_slope_is_two_to_the_minus_maximum(slopes) -> bool:
    return slopes()[-1].item() == 2.0**-16


@mistake(
    "Llama 4's temperature as a logarithm of the position",
    lambda p: position_temperature(p, 0.1, 8192, 1),
    lambda p: 1 + 0.1 * torch.log1p((p + 1) / 8192),
)
def a_temperature_in_steps(factor) -> bool:
    return near(factor(torch.tensor([0, 8190, 100_000])), [1.0, 1.0, 1.2565], 1e-4)


PHI3 = {"short_factor": [1.0] * 48, "long_factor": [2.0] * 48}


@mistake(
    "LongRoPE with factor 1 where the file has none",
    lambda: extension.extend("longrope", 96, 1e4, 131_072 / 4096, 4096, **PHI3).attention_factor,
    lambda: extension.extend("longrope", 96, 1e4, 1.0, 4096, **PHI3).attention_factor,
)
def phi3_has_an_attention_factor(factor) -> bool:
    return math.isclose(factor(), 1.1902, abs_tol=1e-4)


@pytest.mark.parametrize(("name", "right", "wrong", "check"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_real_mistake_fails_where_the_right_version_passes(name, right, wrong, check):
    assert check(right), f"{check.__name__}: the right version fails"
    assert not check(wrong), f"{check.__name__}: {name!r} passes unnoticed"


def test_who_uses_what():
    """GPT-Neo has a learned table, and DeBERTa vectors in place of T5's scalars: read from transformers itself."""
    from transformers import (
        DebertaConfig,
        DebertaModel,
        GPTNeoConfig,
        GPTNeoModel,
        Llama4TextConfig,
        T5Config,
        T5EncoderModel,
    )

    small = {"vocab_size": 9, "hidden_size": 8, "num_layers": 1, "num_heads": 2}
    neo = GPTNeoModel(GPTNeoConfig(attention_types=[[["global"], 1]], **small))
    assert neo.wpe.weight.shape == (2048, 8) and not any("rotary" in name for name, _ in neo.named_modules())
    deberta = DebertaModel(
        DebertaConfig(
            vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
            relative_attention=True, pos_att_type=["c2p", "p2c"],
        )
    )  # fmt: skip
    names = [name for name, _ in deberta.named_parameters()]
    assert any("rel_embeddings" in name for name in names) and not any("relative_attention_bias" in n for n in names)
    # In Llama 4's configuration 1 means "this layer rotates", whatever the name of the list says.
    llama4 = Llama4TextConfig(num_hidden_layers=4, no_rope_layer_interval=4)
    assert llama4.no_rope_layers == [1, 1, 1, 0]
    t5 = T5EncoderModel(T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    (bias,) = [p for name, p in t5.named_parameters() if "relative_attention_bias" in name]
    assert bias.shape == (32, 2)  # one scalar a bucket and head


def test_a_bug_of_today_positions_in_the_dtype_of_the_input():
    """rotary-embedding-torch 0.9.1 counts positions in the dtype of its input: right to 255, wrong from 256 on."""
    from rotary_embedding_torch import RotaryEmbedding

    x = draw(1, 1, 600, 64)
    right = rope(x, range(600), layout="interleaved")
    theirs = RotaryEmbedding(dim=64, cache_if_possible=False).rotate_queries_or_keys(x.bfloat16()).double()
    enc, pos = RoPE(64, layout="interleaved"), positions(600)
    ours = enc.rotate(x.bfloat16(), x.bfloat16(), enc.prepare(pos, pos, None), 0)[0].double()
    assert near(ours, right, 0.05) and near(theirs[:, :, :256], right[:, :, :256], 0.05)
    assert not near(theirs, right, 1.0)
