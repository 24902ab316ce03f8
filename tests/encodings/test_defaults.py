"""Default values, written down a second time: those from papers and released code, and our own, named as such.

A default is a number that nobody passes, so no other test needs to notice when it changes.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import helpers.encodings

BASE = {"base": 10_000.0}  # Vaswani et al. section 3.5; Su et al. section 3.3; PoPE's packages
CONVENTIONS = BASE | {"convention": "paper"}
RAMP = {"beta_fast": 32.0, "beta_slow": 1.0}  # YaRN, for the Llama family (alpha is beta_slow)
DEFAULTS = {
    "alibi.ALiBi": {"slopes": None, "future_slopes": None},
    "axial.axial_frequencies": {"axes": 2} | BASE,
    "axial.mrope_frequencies": BASE,
    "axial.AxialRoPE": {"axes": 2, "layout": "interleaved"} | BASE,
    "axial.MRoPE": {"sections": (16, 24, 24), "base": 1e6, "layout": "half"},  # Qwen2-VL
    "base.positions": {"offset": 0, "device": None},
    "cope.CoPE": {"max_pos": 64, "std": 0.0},
    "deberta.disentangled_terms": {"convention": "code"},
    "deberta.DeBERTa": {"max_distance": 512, "n_layers": 1, "convention": "code"},  # n_layers: ours
    "extension.Extension": {"attention_factor": 1.0},
    "extension.ntk_by_parts": RAMP,
    "extension.yarn": RAMP | {"ramp": "code", "truncate": True, "temperature": True},
    "extension.llama3": {"low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "extension.p_rope": {"keep": 0.75, "interpolate": False},
    "extension.extend": BASE | {"factor": 1.0, "original_max_position_embeddings": 2048},
    "extension.DynamicNTK": BASE | {"factor": 1.0},
    "fire.FIRE": {"threshold": 32.0, "width": 32, "c": 0.1},
    "kerple.Kerple": {"variant": "log"},
    "learned.Learned": {"std": 1.0, "offset": 0},  # ours: that of nn.Embedding
    "learned.table_rows": {"padding_idx": 1},  # RoBERTa
    "pope.pope_frequencies": BASE,
    "pope.PoPE": BASE | {"delta": "zero", "bounded": True},
    "rope.rope_frequencies": BASE,
    "rope.rotate_pairs": {"layout": "half"},
    "rope.RoPE": BASE | {"layout": "half", "rotary_fraction": 1.0, "inv_freq": None, "attention_factor": 1.0},
    "sandwich.sandwich_kernel": BASE,
    "sandwich.Sandwich": {"dim": 64, "strengths": None} | BASE,  # dim: ours
    "shaw.Shaw": {"max_distance": 16, "n_layers": 1, "values": True, "std": 0.02},  # k of the base model
    "sinusoidal.sinusoidal_frequencies": CONVENTIONS,
    "sinusoidal.sinusoidal_table": CONVENTIONS,
    "sinusoidal.shift_matrix": BASE,
    "sinusoidal.dot_product_by_distance": BASE,
    "sinusoidal.longest_wavelength": CONVENTIONS,
    "sinusoidal.Sinusoidal": CONVENTIONS,
    "t5.t5_buckets": {"num_buckets": 32, "max_distance": 128, "bidirectional": False},
    "t5.T5": {"num_buckets": 32, "max_distance": 128, "bidirectional": False, "std": 0.0, "gain": 1.0},  # gain: ours
    "xpos.xpos_decay": {"gamma": 0.4},
    "xpos.XPos": BASE | {"layout": "half", "gamma": 0.4, "scale_base": 512.0, "center": 0.0},
}


def public() -> dict:
    out = {}
    for info in pkgutil.iter_modules(helpers.encodings.__path__):
        module = importlib.import_module(f"helpers.encodings.{info.name}")
        for name, thing in vars(module).items():
            if getattr(thing, "__module__", "") == module.__name__ and not name.startswith("_") and callable(thing):
                out[f"{info.name}.{name}"] = thing
    return out


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_those_of_the_sources(name):
    parameters = inspect.signature(public()[name]).parameters
    assert {key: parameters[key].default for key in DEFAULTS[name]} == DEFAULTS[name]


def test_no_number_is_a_default_without_being_listed():
    for name, thing in public().items():
        for key, parameter in inspect.signature(thing).parameters.items():
            if isinstance(parameter.default, int | float | tuple | str):
                assert key in DEFAULTS.get(name, {}), f"{name}({key}={parameter.default!r}) is not in DEFAULTS"
