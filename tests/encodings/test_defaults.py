"""Default numbers, written down a second time: those from papers and released code, and our own, named as such.

A default is a number that nobody passes, so no other test needs to notice when it changes; the mutation run
(tools/mutate.py) tells which new ones belong here. Names and None are choices that any test of the default makes.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import helpers.encodings

BASE = {"base": 10_000.0}  # Vaswani et al. section 3.5; Su et al. section 3.3; PoPE's packages
RAMP = {"beta_fast": 32.0, "beta_slow": 1.0}  # YaRN, for the Llama family (alpha is beta_slow)
BUCKETS = {"num_buckets": 32, "max_distance": 128, "bidirectional": False}
PART = {"rotary_fraction": 1.0, "attention_factor": 1.0}
DEFAULTS = {
    "alibi.alibi_slopes": {"max_bias": 8.0},
    "alibi.ALiBi": {"max_bias": 8.0},
    "axial.axial_frequencies": {"axes": 2} | BASE,
    "axial.mrope_frequencies": BASE | {"mrope_interleaved": False},
    "axial.multimodal_positions": {"start": 0, "time_step": 1},
    "axial.AxialRoPE": {"axes": 2} | BASE | PART,
    "axial.MRoPE": {"sections": (16, 24, 24), "base": 1e6, "mrope_interleaved": False} | PART,  # Qwen2-VL
    "base.positions": {"offset": 0},
    "cope.CoPE": {"max_pos": 64, "std": 0.0},
    "deberta.DeBERTa": {"max_distance": 512, "n_layers": 1},  # n_layers: ours
    "extension.Extension": {"attention_factor": 1.0},
    "extension.ntk_by_parts": RAMP,
    "extension.temperature_factor": {"mscale": 1.0},
    "extension.yarn": RAMP | {"truncate": True},
    "extension.llama3": {"low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "extension.p_rope": {"interpolate": False},
    "extension.DynamicNTK": BASE | {"rotary_fraction": 1.0},
    "fire.FIRE": {"threshold": 32.0, "width": 32, "c": 0.1},
    "learned.Learned": {"std": 1.0, "offset": 0, "gain": 1.0},  # ours: that of nn.Embedding
    "mixed.mixed_frequencies": {"base": 10.0},  # Heo et al.
    "mixed.MixedRoPE": {"base": 10.0, "n_layers": 1},  # n_layers: ours
    "pope.pope_frequencies": BASE,
    "pope.PoPE": BASE | {"bounded": True},
    "rope.rope_frequencies": BASE,
    "rope.rotary_width": {"rotary_fraction": 1.0},
    "rope.RoPE": BASE | PART,
    "sandwich.sandwich_rows": BASE,
    "sandwich.Sandwich": {"dim": 128, "gain": 1.0} | BASE,  # the authors' code; gain: ours
    "shaw.Shaw": {"max_distance": 16, "n_layers": 1, "values": True, "std": 0.02},  # k of the base model
    "sinusoidal.sinusoidal_frequencies": BASE,
    "sinusoidal.sinusoidal_table": BASE,
    "sinusoidal.sinusoidal_grid": BASE,
    "sinusoidal.shift_matrix": BASE,
    "sinusoidal.dot_product_by_distance": BASE,
    "sinusoidal.Sinusoidal": BASE | {"gain": 1.0, "axes": 1},
    "t5.t5_buckets": BUCKETS,
    "t5.T5": BUCKETS | {"std": 0.0, "gain": 1.0},  # gain: ours
    "temperature.position_temperature": {"shift": 0},
    "temperature.PositionTemperature": {"shift": 0},
    "transformer_xl.TransformerXL": {"n_layers": 1, "std": 0.02},  # the authors' code; n_layers: ours
    "xpos.xpos_decay": {"gamma": 0.4},
    "xpos.XPos": BASE | {"gamma": 0.4, "scale_base": 512.0, "center": 0.0},
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
