"""The runtime around the formulas: devices without memory or without float64, compilers, half precision, odd numbers.

What holds for the registered schemes inside a model stands in test_model; here it is asked of every class of the
folder, of its parts, and of values that nobody trains with and somebody passes.
"""

from __future__ import annotations

import copy
import inspect
import math
import shutil

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers.encodings import (
    FIRE,
    SCHEMES,
    ALiBi,
    AxialRoPE,
    Combined,
    Encoding,
    Learned,
    MixedRoPE,
    MRoPE,
    PerLayer,
    PoPE,
    PositionTemperature,
    RoPE,
    Sandwich,
    Sinusoidal,
    SlidingWindow,
    XPos,
    base,
    build,
    positions,
)
from helpers.encodings.extension import DynamicNTK
from helpers.encodings.rope import rope_frequencies, rotate_pairs
from helpers.encodings.sinusoidal import sinusoidal_table
from helpers.model import CausalLM, Encoder, causal_mask
from tests.encodings.test_validate import ALIASES, CLASSES, sensible

D, HEADS, D_MODEL = 8, 4, 32
OTHERS = {
    "axial": lambda: AxialRoPE(D),
    "axial, unequal": lambda: AxialRoPE(D, (2, 6)),
    "m-rope": lambda: MRoPE(D, (2, 1, 1)),
    "m-rope, interleaved": lambda: MRoPE(D, (2, 1, 1), mrope_interleaved=True),
    "mixed": lambda: MixedRoPE(D, HEADS),
    "dynamic ntk": lambda: DynamicNTK(D, 4, 2.0),
    "interleaved": lambda: RoPE(D, layout="interleaved"),
    "last channels": lambda: RoPE(D, rotary_dim=4, rotated="last", scale=0.3),
    "temperature": lambda: PositionTemperature(0.3, 4),
    "grid": lambda: Sinusoidal(D_MODEL, axes=2),
    "rotation and window": lambda: Combined([RoPE(D), SlidingWindow(3)]),
    "layers": lambda: PerLayer([RoPE(D), build("alibi", d_model=D_MODEL, n_heads=HEADS)]),
}
EVERY = {name: lambda name=name: build(name, d_model=D_MODEL, n_heads=HEADS) for name in SCHEMES} | OTHERS


def places(axes: int, t: int = 9) -> Tensor:
    ids = positions(t)
    return ids if axes == 1 else torch.stack([ids * (a + 1) for a in range(axes)], -1)


def through_all_doors(enc: Encoding, pos: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """What an encoding makes of random queries, keys and embeddings: rotated, bias, sum; on the device of ``pos``."""
    t, device = pos.shape[1], pos.device
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, HEADS, t, D, generator=generator).to(device, dtype)
    x = torch.randn(1, t, D_MODEL, generator=generator).to(device, dtype)
    state = enc.prepare(pos, pos, causal_mask(t, t, device))
    bias = enc.bias(q, k, state, 0)
    return [*enc.rotate(q, k, state, 0), enc.embed(x, state), *([] if bias is None else [bias])]


# ------------------------------------------------------------------------------------------ devices without memory


@pytest.mark.parametrize("name", CLASSES)
def test_constants_are_on_the_cpu_whatever_the_default_device_is(name):
    with torch.device("meta"):
        enc = CLASSES[name](**sensible(name))
    for module in enc.modules():
        assert not dict(module.named_buffers(recurse=False))
        for key, value in vars(module).items():
            assert not isinstance(value, Tensor) or (value.device.type == "cpu" and value.dtype != torch.float32), key


@pytest.mark.parametrize("name", OTHERS)
def test_an_encoding_built_without_memory_is_whole_once_loaded(name):
    torch.manual_seed(0)
    enc = OTHERS[name]()
    with torch.device("meta"):
        empty = OTHERS[name]()
    empty.to_empty(device="cpu").load_state_dict(enc.state_dict())
    pos = places(enc.axes)
    for a, b in zip(through_all_doors(empty, pos), through_all_doors(enc, pos), strict=True):
        assert torch.equal(a, b)


class Buffered(torch.nn.Module):
    """Frequencies as many repositories keep them: a buffer that no checkpoint holds."""

    def __init__(self):
        super().__init__()
        self.register_buffer("inv_freq", rope_frequencies(D).float(), persistent=False)


def test_a_buffer_that_no_checkpoint_holds_is_lost_without_a_word():
    """Fresh memory is filled with NaN here, so that what nobody wrote shows."""
    whole = Buffered()
    with torch.device("meta"):
        empty = Buffered()
    torch.use_deterministic_algorithms(True)
    try:
        missed = empty.to_empty(device="cpu").load_state_dict(whole.state_dict(), strict=True)
    finally:
        torch.use_deterministic_algorithms(False)
    assert missed.missing_keys == missed.unexpected_keys == []
    assert empty.inv_freq.isnan().all() and whole.inv_freq.isfinite().all()
    empty.inv_freq.copy_(rope_frequencies(D))  # the cure
    assert torch.equal(empty.inv_freq, whole.inv_freq)


# ------------------------------------------------------------------------------------------ devices without float64


class NoFloat64(TorchDispatchMode):
    """Plays a device without float64 on "meta": such a number there is an error, a copy to the CPU gives zeros."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        to_cpu = func is torch.ops.aten._to_copy.default and args[0].is_meta
        if to_cpu and torch.device(kwargs.get("device") or "meta").type == "cpu":
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        out = func(*args, **kwargs)
        for value in tree_leaves((args, kwargs, out)):
            assert not (isinstance(value, Tensor) and value.is_meta and value.dtype == torch.float64), func
        return out


@pytest.mark.parametrize("name", EVERY)
def test_no_float64_number_is_made_on_a_device_without_it(name, monkeypatch):
    monkeypatch.setattr(base, "FLOAT64_DEVICES", ("cpu",))
    enc = EVERY[name]().to("meta")
    with NoFloat64():
        out = through_all_doors(enc, places(enc.axes).to("meta"))
    assert {x.device.type for x in out} == {"meta"}


def test_that_test_would_notice():
    with NoFloat64(), pytest.raises(AssertionError, match="aten"):  # "meta" counts as a device with float64
        through_all_doors(RoPE(D), positions(9).to("meta"))


def test_the_way_through_the_cpu_gives_the_same_numbers(monkeypatch):
    for name, make in EVERY.items():
        torch.manual_seed(0)
        enc = make()
        pos = places(enc.axes)
        direct = through_all_doors(enc, pos)
        with monkeypatch.context() as patch:
            patch.setattr(base, "FLOAT64_DEVICES", ())
            for a, b in zip(direct, through_all_doors(enc, pos), strict=True):
                assert torch.equal(a, b), name


# ------------------------------------------------------------------------------------------------------- compilers


@pytest.mark.parametrize("name", OTHERS)
@torch.no_grad()
def test_an_encoding_compiles_to_one_graph(name):
    """``fullgraph`` raises on whatever Python a graph would have to stop for."""
    torch.manual_seed(0)
    torch.compiler.reset()
    enc = OTHERS[name]()
    model = Encoder(11, D_MODEL, HEADS, 2, enc).eval()
    ids, pos = torch.randint(11, (2, 9)), places(enc.axes)
    found = torch.compile(model, backend="eager", fullgraph=True)(ids, position_ids=pos)
    torch.testing.assert_close(found, model(ids, position_ids=pos), rtol=0, atol=1e-5)


@torch.no_grad()
def test_one_graph_of_dynamic_ntk_serves_every_length():
    torch.manual_seed(0)
    torch.compiler.reset()
    model = CausalLM(11, D_MODEL, HEADS, 2, DynamicNTK(D, 4, 2.0)).eval()
    ids = torch.randint(11, (2, 30))
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=True)
    for t in (3, 4, 5, 30, 9):
        torch.testing.assert_close(compiled(ids[:, :t]), model(ids[:, :t]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_a_compiled_rotation_has_no_complex_numbers(layout):
    """The compiler makes no code for them and warns. Outside of it the product of complex numbers is the faster way."""
    seen = set()

    def backend(graph, inputs):
        for node in graph.graph.nodes:
            value = node.meta.get("example_value")
            seen.update(x.dtype for x in tree_leaves(value) if isinstance(x, Tensor))
        return graph.forward

    torch.compiler.reset()
    x, angle = torch.randn(2, HEADS, 5, D), torch.rand(5, D // 2)
    compiled = torch.compile(rotate_pairs, backend=backend, fullgraph=True)
    for dtype in (torch.float32, torch.bfloat16):
        found = compiled(x.to(dtype), angle.cos(), angle.sin(), layout)
        expected = rotate_pairs(x.to(dtype), angle.cos(), angle.sin(), layout)
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert seen and not any(dtype.is_complex for dtype in seen)


def by_complex_numbers(x: Tensor, angle: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)


@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch's compiler needs one of C++")
@pytest.mark.filterwarnings("ignore")
def test_the_compiler_says_that_it_writes_no_code_for_complex_numbers():
    torch.compiler.reset()
    x, angle = torch.randn(2, 5, D), torch.rand(5, D // 2)
    import torch._inductor.config as inductor  # a graph from its cache on disk is not compiled, and warns of nothing

    with inductor.patch(force_disable_caches=True), pytest.warns(UserWarning, match="code generation for complex"):
        found = torch.compile(by_complex_numbers)(x, angle)
    torch.testing.assert_close(found, by_complex_numbers(x, angle))


def test_a_length_read_as_a_python_number_fits_in_no_graph():
    """What ours compute with tensors (test_one_graph_of_dynamic_ntk_serves_every_length) many read by ``int()``."""

    def by_number(x, position_ids):
        longest = int(position_ids.max()) + 1
        return x / 2 if longest > 4 else x

    torch.compiler.reset()
    x, ids = torch.ones(2), torch.arange(6)
    with pytest.raises(torch._dynamo.exc.TorchDynamoException, match="data-dependent"):
        torch.compile(by_number, backend="eager", fullgraph=True)(x, ids)
    torch.compiler.reset()
    assert torch.equal(torch.compile(by_number, backend="eager")(x, ids), by_number(x, ids))  # in two graphs


@torch.no_grad()
def test_a_compiled_table_still_stops_at_its_end():
    """The message is PyTorch's there: reading a number would break the graph."""
    torch.compiler.reset()
    model = CausalLM(11, D_MODEL, HEADS, 1, Learned(D_MODEL, 4)).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with pytest.raises((IndexError, RuntimeError), match="index out of range"):
        compiled(torch.zeros(1, 6, dtype=torch.long))


# -------------------------------------------------------------------------------------------------- half precision

FAR = torch.cat([torch.arange(0, 40), torch.arange(4000, 4040), torch.arange(99_960, 100_000)])[None]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["alibi", "kerple", "fire", "sandwich", "t5", "window"])
@torch.no_grad()
def test_biases_at_long_distance_are_as_exact_as_float32(name, dtype):
    """The weights are rounded, the distances are not: the same weights in float64 give the same biases."""
    torch.manual_seed(0)
    half = build(name, d_model=D_MODEL, n_heads=HEADS).to(dtype)
    wide = copy.deepcopy(half).double()
    q = torch.zeros(1, HEADS, FAR.shape[1], D)
    biases = [enc.bias(q, q, enc.prepare(FAR, FAR, None), 0) for enc in (half, wide)]
    torch.testing.assert_close(biases[0].double(), biases[1].double(), rtol=1e-5, atol=1e-4)


def test_a_bias_added_in_bfloat16_gives_sixteen_neighbors_one_number():
    """Slope 1/256 at a distance of 4,000: -15.6, where bfloat16 has steps of 1/16. In float32 all differ."""
    near = ALiBi(8, [2.0**-8] * 8)
    q_pos, k_pos = torch.tensor([[4100]]), 100 + torch.arange(64)[None]  # distances 4,000 down to 3,937
    q = torch.zeros(1, 8, 1, D)
    bias = near.bias(q, q, near.prepare(q_pos, k_pos, None), 0)[0, 0, 0]
    assert bias.dtype == torch.float32 and abs(bias[0].item() + 15.6) < 0.05
    assert bias.unique().numel() == 64 and 4 <= bias.bfloat16().unique().numel() <= 5
    logits = torch.zeros(64)
    exact, rounded = (logits + bias).softmax(-1), (logits.bfloat16() + bias.bfloat16()).float().softmax(-1)
    assert 0.02 < ((rounded - exact) / exact).abs().max() < 0.04  # up to exp(1/32) - 1, before the sum


def test_half_precision_matters_to_a_bias_far_away_only():
    """By distance the nearest keys are exact; by the key's own position, which a softmax cannot tell apart, not."""
    query, keys = 4000, torch.arange(3985, 4001)
    assert torch.equal((keys - query).bfloat16().long(), keys - query)
    assert keys.bfloat16().unique().numel() <= 2


@torch.no_grad()
def test_a_short_row_of_a_batch_changes_under_a_rule_that_follows_the_longest():
    torch.manual_seed(0)
    ids, real = torch.randint(11, (2, 24)), torch.ones(2, 24, dtype=torch.bool)
    real[1, :17] = False  # on the left; mask and positions are right
    pos = (real.long().cumsum(1) - 1).clamp(min=0)
    change = {}
    rules = {"follows": DynamicNTK(D, 8, 8.0), "not yet": DynamicNTK(D, 24, 8.0), "fixed": RoPE(D)}
    for name, rule in rules.items():
        model = CausalLM(11, D_MODEL, HEADS, 2, rule).eval()
        for p in model.parameters():
            torch.nn.init.normal_(p, std=0.5)
        beside = model(ids, attention_mask=real, position_ids=pos)[1, 17:]
        change[name] = (beside - model(ids[1:, 17:])[0]).abs().max().item()
    assert change["follows"] > 0.1 > 1e-3 > max(change["not yet"], change["fixed"])


@torch.no_grad()
def test_fire_in_bfloat16_tells_far_distances_apart():
    torch.manual_seed(0)
    enc = FIRE(HEADS, threshold=5000.0).bfloat16()
    near, far = enc.prepare(torch.tensor([[4500]]), torch.tensor([[490, 500]]), None)[0, :, 0].unbind(-1)
    assert (near != far).all()  # shares of 0.9838 and 0.9834: one number of 8 bits


# ----------------------------------------------------------------------------------------------- numbers out of range

ODD = {
    "below 0": [-5, -4, -3, -2],
    "one place": [0, 0, 0, 0],
    "far": [10**6, 10**6 + 1, 10**6 + 5, 10**6 + 9],
    "beyond 32 bits": [2**31, 2**31 + 3, 2**33, 2**33 + 1],
    "beyond float64": [2**53, 2**53 + 2, 2**53 + 4, 2**53 + 6],
    "apart": [-7, 0, 100_000, 10**9],
}
EXTREME = (1e-300, 1e-30, 1e-6, 0.5, 1e6, 1e30, 1e300, 1.7e308, math.nan, math.inf)


def extremes(name: str) -> list[tuple[str, object]]:
    """(argument, value) pairs of a class: every number it takes, tiny, huge and not a number."""
    heads = sensible(name).get("n_heads", HEADS)
    found = []
    for p in inspect.signature(CLASSES[name]).parameters.values():
        kind = str(p.annotation)
        if "Sequence[float]" in kind:
            found += [(p.name, [value] * heads) for value in EXTREME]
        elif "float" in kind:
            found += [(p.name, value) for value in EXTREME]
    return found


def weights(enc: Encoding, ids: list[int]) -> Tensor:
    """Attention weights (1, H, 4, 4) and what door 1 adds, flattened: NaN anywhere shows."""
    d, heads = getattr(enc, "head_dim", D), getattr(enc, "n_heads", HEADS)
    pos = torch.tensor([ids])
    pos = pos if enc.axes == 1 else pos[..., None].expand(1, 4, enc.axes)
    generator, allowed = torch.Generator().manual_seed(0), causal_mask(4, 4)
    q, k = torch.randn(2, 1, heads, 4, d, generator=generator)
    state = enc.prepare(pos, pos, allowed)
    a, b = enc.rotate(q, k, state, 0)
    logits = a @ b.mT * (d**-0.5 if enc.scale is None else enc.scale)
    bias = enc.bias(q, k, state, 0)
    logits = (logits if bias is None else logits + bias).masked_fill(~allowed, -math.inf)
    x = enc.embed(torch.zeros(1, 4, getattr(enc, "d_model", D_MODEL)), state)
    return torch.cat([logits.softmax(-1).flatten(), x.flatten()])


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"PerLayer", "Combined", "_Parts"}))
@torch.no_grad()
def test_a_number_out_of_range_is_refused_by_name_or_gives_numbers(name):
    for argument, value in [(None, None), *extremes(name)]:
        given = sensible(name) | ({} if argument is None else {argument: value})
        try:
            enc = CLASSES[name](**given)
        except ValueError as error:
            names = ALIASES.get(argument, argument).split("|")
            assert any(each in str(error).split(":")[0] for each in names), (argument, value, str(error))
            continue
        for where, ids in ODD.items():
            try:
                found = weights(enc, ids)
            except ValueError as error:
                assert str(error).startswith("position"), (argument, value, where, str(error))
                continue
            assert found.isfinite().all(), (argument, value, where)


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_no_positions_at_all_give_tensors_of_no_positions(name):
    enc = EVERY[name]()
    out = through_all_doors(enc, places(enc.axes, 0))
    assert [x.numel() for x in out] == [0] * len(out)


def test_xpos_says_how_far_float32_reaches():
    enc = XPos(D)
    assert 35_000 < enc.reach < 36_000
    last = int(enc.reach)
    assert weights(enc, [last - 3, last - 2, last - 1, last]).isfinite().all()
    with pytest.raises(
        ValueError, match=f"position_ids={last + 1}: must lie within {enc.reach:.0f} positions of center=0"
    ):
        weights(enc, [0, 1, 2, last + 1])
    moved = XPos(D, center=1e6)
    torch.testing.assert_close(weights(moved, [10**6 + n for n in range(4)]), weights(enc, [0, 1, 2, 3]))
    with pytest.raises(ValueError, match=r"position_ids=0: must lie within .* of center=1e\+06; move the center"):
        weights(moved, [0, 1, 2, 3])


def test_a_learned_threshold_of_zero_gives_no_nan():
    enc = FIRE(HEADS)
    enc.multiplier.data.zero_()
    assert weights(enc, [0, 1, 2, 3]).isfinite().all()
    enc.c.data.zero_()
    assert weights(enc, [0, 1, 2, 3]).isfinite().all()


def test_bases_below_one_are_refused():
    """Their frequencies rise with the channel, past what a position can count."""
    for make in (lambda b: RoPE(8, b), lambda b: MRoPE(8, (2, 1, 1), b), lambda b: AxialRoPE(8, 2, b),
                 lambda b: Sinusoidal(8, b), lambda b: MixedRoPE(8, 2, b), lambda b: XPos(8, b),
                 lambda b: Sandwich(4, base=b), lambda b: PoPE(8, 4, b)):  # fmt: skip
        with pytest.raises(ValueError, match="base=0.5: must be a finite number of at least 1.0"):
            make(0.5)
        make(1)
    assert sinusoidal_table(positions(3), 4, base=1.0).isfinite().all()


def test_factors_end_at_a_thousand():
    assert RoPE(D, attention_factor=1000.0).attention_factor == 1000.0
    with pytest.raises(ValueError, match="attention_factor=1000.5"):
        RoPE(D, attention_factor=1000.5)


def test_what_may_be_zero_may_be_tiny():
    assert XPos(D, center=1e-131).center == 1e-131
    with pytest.raises(ValueError, match="center=1e.39: is outside the range of float32"):
        XPos(D, center=1e39)
    with pytest.raises(ValueError, match="gamma=1e-131: is outside the range of float32"):
        XPos(D, gamma=1e-131)
