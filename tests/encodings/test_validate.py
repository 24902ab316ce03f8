"""Bad input is refused by one shared check: a ValueError that names the argument and the value, and nothing else.

hypothesis feeds nonsense to every argument of every encoding's constructor and of the other entry points. A call may
succeed (the nonsense happened to be sensible) or raise that ValueError; any other exception is a failure.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import math
import pkgutil
from numbers import Integral, Real

import pytest
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import helpers.encodings
from helpers import exercises, race, validate
from helpers.encodings import SCHEMES, Encoding, build, positions
from helpers.encodings.base import NoEncoding
from helpers.encodings.extension import RULES, extend
from helpers.model import CausalLM
from tests.encodings.kept import experiments
from tests.encodings.test_extension import options

# Sensible values, by the name of the argument.
SENSIBLE = {
    "d_model": 32, "n_heads": 4, "head_dim": 8, "max_len": 16, "window": 4, "original_max_position_embeddings": 64,
    "factor": 2.0, "schemes": [NoEncoding()], "attn_scale": 0.1, "floor_scale": 64,
}  # fmt: skip
OF_CLASS = {"MRoPE": {"head_dim": 128}}
ALIASES = {
    "rotary_fraction": "rotary_|sections",
    "axes": "axes|head_dim",
    "mrope_interleaved": "mrope_|sections",
    "d_model": "d_model|n_heads",
    "head_dim": "head_dim|sections|rotary_dim",
}

NONSENSE = st.one_of(
    st.text(max_size=6), st.integers(-9, 0), st.booleans(), st.floats(), st.none(), st.binary(max_size=3),
    st.complex_numbers(max_magnitude=5), st.lists(st.integers(-2, 2), max_size=3), st.just(object()), st.just({}),
    st.just(torch.ones(2)), st.just(torch.tensor(math.nan)), st.just(len), st.just(10.5), st.just(1e400),
)  # fmt: skip


def modules():
    """The files of helpers/encodings, but experiments: their constructors may take what they like."""
    found = [m.name for m in pkgutil.iter_modules(helpers.encodings.__path__) if m.name not in experiments()]
    return [importlib.import_module(f"helpers.encodings.{name}") for name in found]


CLASSES = {
    name: cls
    for module in modules()
    for name, cls in vars(module).items()
    if inspect.isclass(cls) and issubclass(cls, Encoding) and cls.__module__ == module.__name__
    if cls not in (Encoding, NoEncoding)
}


def named(cls: type) -> list[inspect.Parameter]:
    """The arguments of a constructor that have a name; a class without one of its own has none."""
    listed = inspect.signature(cls).parameters.values()
    return [p for p in listed if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


ARGUMENTS = [(name, p.name) for name, cls in CLASSES.items() for p in named(cls)]


def sensible(name: str) -> dict:
    known = SENSIBLE | OF_CLASS.get(name, {})
    required = [p.name for p in named(CLASSES[name]) if p.default is p.empty]
    missing = [argument for argument in required if argument not in known]
    assert not missing, (
        f"{name} requires {missing}: add sensible values to SENSIBLE of tests/encodings/test_validate.py"
    )
    return {argument: known[argument] for argument in required}


def refused(call, argument: str, value) -> bool:
    """True if refused as it should be, False if accepted; fails on any other exception, or a message without name."""
    try:
        call()
    except ValueError as error:
        names = ALIASES.get(argument, argument).split("|")
        text = str(error)
        assert any(n in text.split(":")[0] for n in names), f"{text!r} does not name {argument}"
        assert len(text.split(": ", 1)[1]) > 10, f"{text!r} gives no remedy"
        return True
    return False


@pytest.mark.parametrize("name", CLASSES)
def test_sensible_arguments_are_accepted(name):
    assert isinstance(CLASSES[name](**sensible(name)), Encoding)


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(value=NONSENSE)
@example(value=0)
@example(value=-1)
@example(value="3")
@example(value=2.0)
@example(value=True)
@example(value=math.nan)
@example(value=math.inf)
@example(value=None)
def test_constructors_refuse_nonsense(name, argument, value):
    parameter = inspect.signature(CLASSES[name]).parameters[argument]
    kind = str(parameter.annotation)
    was_refused = refused(lambda: CLASSES[name](**(sensible(name) | {argument: value})), argument, value)
    if was_refused or kind == "bool":  # any object is true or false
        return
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if kind == "int":
        assert isinstance(value, Integral) and not isinstance(value, bool), f"{argument}={value!r} was accepted"
    elif kind == "float":
        assert number, f"{argument}={value!r} was accepted"
    elif kind == "str":
        assert isinstance(value, str) and value, f"{argument}={value!r} was accepted"
    elif value is None:
        assert "None" in kind, f"{argument}=None was accepted"
    else:
        assert "Tensor" in kind or "Sequence" in kind or number, f"{argument}={value!r} was accepted"


CHANGES = {
    "RoPE": [
        ({"head_dim": 7}, "head_dim=7: must be even.*use 6 or 8"),
        ({"rotary_fraction": 0.4}, "rotary_dim=3: must be even"),
        ({"rotary_fraction": 1.5}, "rotary_fraction=1.5"),
        ({"base": 0}, "base=0"),
        ({"layout": "split"}, "layout='split': choose one of 'half', 'interleaved'"),
        ({"inv_freq": torch.ones(3)}, r"inv_freq=\(3,\).*\(4,\)"),
        ({"attention_factor": -1.0}, "attention_factor=-1.0"),
    ],
    "Sinusoidal": [
        ({"d_model": 33}, "d_model=33: must be even"),
        ({"d_model": 2, "convention": "tensor2tensor"}, "d_model=2: must be an integer of at least 4"),
        ({"convention": "vaswani"}, "convention='vaswani': choose one of 'paper', 'halves', 'tensor2tensor'"),
        ({"gain": 0.0}, "gain=0.0"),
    ],
    "Learned": [
        ({"max_len": 0}, "max_len=0"), ({"offset": -1}, "offset=-1"), ({"std": 0.0}, "std=0.0"), ({"gain": 0}, "gain=0")
    ],
    "ALiBi": [({"n_heads": 4, "slopes": torch.ones(3)}, r"slopes=\(3,\).*\(4,\)"), ({"n_heads": 2.0}, "n_heads=2.0")],
}  # fmt: skip


def test_numbers_handed_over_are_copied():
    """Else a change of the caller's tensor reaches the encoding, and a parameter makes it impossible to copy."""
    given = torch.ones(4, dtype=torch.float64)
    kept = validate.vector("slopes", given, 4)
    given[0] = 9.0
    assert kept.tolist() == [1.0] * 4
    learned = torch.nn.Parameter(torch.ones(4))
    assert not validate.vector("slopes", learned, 4).requires_grad
    assert copy.deepcopy(CLASSES["ALiBi"](4, slopes=learned)).slopes.tolist() == [1.0] * 4


@pytest.mark.parametrize(("name", "change", "words"), [(n, *c) for n, cases in CHANGES.items() for c in cases])
def test_messages_name_argument_value_and_remedy(name, change, words):
    with pytest.raises(ValueError, match=words):
        CLASSES[name](**(sensible(name) | change))


# --------------------------------------------------------------------------------------------------- entry points


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    scheme=st.sampled_from(sorted(SCHEMES)),
    argument=st.sampled_from(["d_model", "n_heads", "train_len", "max_len"]),
    value=NONSENSE,
)
@example(scheme="rope", argument="n_heads", value=0)
@example(scheme="none", argument="n_heads", value=0)
@example(scheme="rope", argument="n_heads", value=7)
@example(scheme="none", argument="train_len", value="64")
def test_build_refuses_nonsense(scheme, argument, value):
    if not refused(lambda: build(scheme, **{argument: value}), argument, value):
        assert isinstance(value, Integral) and not isinstance(value, bool) and value > 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(value=NONSENSE)
def test_unknown_schemes_are_refused_with_the_choices(value):
    assume(not (isinstance(value, str) and value in SCHEMES))  # hypothesis also tries strings it finds in our sources
    with pytest.raises(ValueError, match="(?s)name=.*choose one of '"):
        build(value)
    with pytest.raises(ValueError, match="(?s)contender=.*choose one of '"):
        race.run(value)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="n_heads=7: must divide d_model=64"):
        build("rope", n_heads=7)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    rule=st.sampled_from(sorted(RULES)),
    value=NONSENSE,
    argument=st.sampled_from(["head_dim", "base", "factor", "original_max_position_embeddings", "seq_len"]),
)
def test_extension_rules_refuse_nonsense(rule, argument, value):
    kwargs = {"head_dim": 16, "base": 1e4, "factor": 4.0, "original_max_position_embeddings": 64} | {argument: value}
    if refused(lambda: extend(rule, **kwargs, **options(rule, 8)), argument, value):
        return
    if value is None:  # not given: fine where the rule does not use it
        return
    assert isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def test_the_ends_of_a_range_are_accepted():
    assert extend("p_rope", 16, 1e4, keep=0.0).inv_freq.count_nonzero() == 0
    assert extend("p_rope", 16, 1e4, keep=1.0).inv_freq.count_nonzero() == 8
    assert extend("pi", 16, 1e4, 1.0).inv_freq[0] == 1
    assert CLASSES["RoPE"](8, rotary_fraction=1.0).rotary_dim == 8
    assert positions(0).shape == (1, 0)


def test_positions_of_a_negative_number_of_tokens_are_refused():
    assert positions(0).shape == (1, 0)
    with pytest.raises(ValueError, match="seq_len=-1"):
        positions(-1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(value=NONSENSE)
def test_positions_refuse_nonsense(value):
    for argument in ("seq_len", "offset"):
        kwargs = {"seq_len": 3} | {argument: value}
        if not refused(lambda kwargs=kwargs: positions(**kwargs), argument, value):
            assert isinstance(value, Integral) and not isinstance(value, bool)
            expected = list(range(kwargs.get("offset", 0), kwargs.get("offset", 0) + kwargs["seq_len"]))
            assert positions(**kwargs).tolist() == [expected]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    argument=st.sampled_from(["vocab_size", "d_model", "n_heads", "n_layers", "n_kv_heads", "out_dim", "encoding"]),
    value=NONSENSE,
)
def test_models_refuse_nonsense(argument, value):
    kwargs = {"vocab_size": 5, "d_model": 8, "n_heads": 2, "n_layers": 1} | {argument: value}
    ALIASES["n_heads"] = "n_heads|n_kv_heads"
    if not refused(lambda: CausalLM(**kwargs), argument, value):
        assert value is None or (isinstance(value, Integral) and not isinstance(value, bool))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(0, 4), min_size=0, max_size=4),
    dtype=st.sampled_from([torch.int64, torch.int32, torch.float32, torch.bfloat16, torch.bool]),
)
def test_models_refuse_ids_of_any_other_form(shape, dtype):
    model = CausalLM(5, 8, 2, 1)
    ids = torch.ones(shape, dtype=dtype)
    if not refused(lambda: model(ids), "ids", shape):
        assert ids.ndim == 2 and ids.numel() and dtype in (torch.int64, torch.int32)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(0, 4), min_size=0, max_size=4), what=st.sampled_from(["position_ids", "attention_mask"])
)
def test_models_refuse_positions_and_masks_of_any_other_form(shape, what):
    model = CausalLM(5, 8, 2, 1, build("alibi", d_model=8, n_heads=2))
    ids = torch.ones(2, 3, dtype=torch.int64)
    value = torch.ones(shape, dtype=torch.int64)
    if not refused(lambda: model(ids, **{what: value}), what, shape):
        fits = {"position_ids": [[1, 3], [2, 3]], "attention_mask": [[2, 3], [1, 1, 3, 3], [2, 1, 3, 3]]}
        assert list(shape) in fits[what]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(value=NONSENSE)
def test_exercise_feedback_never_raises(value):
    for path in sorted(exercises.__path__):
        for module in pkgutil.iter_modules([path]):
            checks = importlib.import_module(f"helpers.exercises.{module.name}").CHECKS
            for number in checks:
                text = exercises.feedback(number, value)
                assert text.startswith(f"{number} ") and "\n" not in text


# ------------------------------------------------------------------------------------------------ the checks proper


def test_the_shared_checks():
    assert validate.positive_int("n", 3) == 3 and validate.positive_int("n", 0, at_least=0) == 0
    assert validate.positive_number("x", 2) == 2.0 and validate.positive_number("x", 0, at_least=0) == 0.0
    assert validate.even_int("d", 4, "of pairs") == 4
    assert validate.one_of("k", "a", ("a", "b")) == "a"
    validate.require(True, "x", 1, "no")
    for call, words in (
        (lambda: validate.require(False, "x", 1, "use 2."), "x=1: use 2."),
        (lambda: validate.positive_int("n", 0), "n=0: must be an integer of at least 1."),
        (lambda: validate.positive_int("n", 4, at_least=5), "n=4: must be an integer of at least 5."),
        (lambda: validate.positive_number("x", 0), "x=0: must be a finite number above 0."),
        (lambda: validate.positive_number("x", 0.5, at_least=1), "x=0.5: must be a finite number of at least 1."),
        (lambda: validate.even_int("d", 5, "of pairs"), "d=5: must be even, because of pairs; use 4 or 6."),
        (lambda: validate.even_int("d", 0, "of pairs"), "d=0: must be an integer of at least 2."),
        (lambda: validate.one_of("k", "c", ("a", "b")), "k='c': choose one of 'a', 'b'."),
    ):  # fmt: skip
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value) == words


@given(value=NONSENSE)
def test_the_shared_checks_never_raise_anything_else(value):
    for check in (
        lambda: validate.positive_int("x", value),
        lambda: validate.positive_number("x", value),
        lambda: validate.even_int("x", value, "of pairs"),
        lambda: validate.one_of("x", value, ("a", 1)),
    ):
        refused(check, "x", value)
