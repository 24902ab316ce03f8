"""What a caller may do with any scheme: copy it, pickle it, send it elsewhere, and hand it odd input.

Input that means nothing is refused by the name of the argument; it never gives another number without a word.
"""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from helpers.encodings import SCHEMES, AxialRoPE, Kerple, PoPE, RoPE, XPos, build, positions
from helpers.encodings.deberta import disentangled_terms
from helpers.encodings.rope import rotate_pairs
from helpers.encodings.sinusoidal import dot_product_by_distance, sinusoidal_frequencies, sinusoidal_table
from helpers.model import CausalLM
from tests.encodings.kept import KEPT

TABLES = ("learned", "shaw", "deberta", "t5")  # a position, or a distance, is the number of a row


def model(name: str, seed: int = 0) -> CausalLM:
    torch.manual_seed(seed)
    return CausalLM(11, 32, 4, 2, build(name, d_model=32, n_heads=4, max_len=64)).eval()


def ids(t: int = 9) -> torch.Tensor:
    return torch.randint(11, (2, t), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SCHEMES)
def test_copies_pickles_and_saved_weights_give_the_same(name):
    one, other = model(name), model(name, seed=1)
    assert (one(ids()) - other(ids())).abs().max() > 1e-3
    other.load_state_dict(one.state_dict())
    for again in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), other):
        assert torch.equal(again(ids()), one(ids()))


@pytest.mark.parametrize("name", KEPT)
def test_shapes_can_be_asked_for_without_numbers(name):
    """On the meta device, where tensors have a shape and no content."""
    assert model(name).to("meta")(ids().to("meta")).shape == (2, 9, 11)


@pytest.mark.parametrize("name", SCHEMES)
def test_positions_may_be_short_integers(name):
    one = model(name)
    assert torch.equal(one(ids(), position_ids=torch.arange(9, dtype=torch.int32)[None]), one(ids()))


@pytest.mark.parametrize("name", KEPT)
def test_positions_that_are_no_integers_count_exactly_or_are_refused(name):
    one, places = model(name), torch.arange(9.0)[None]
    if name in TABLES:
        with pytest.raises(ValueError, match="position_ids=torch.float32: .*use integers"):
            one(ids(), position_ids=places)
    else:
        torch.testing.assert_close(one(ids(), position_ids=places), one(ids()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("variant", ["log", "power"])
def test_half_precision_does_not_round_the_distances_of_kerple(variant):
    """Its parameters may be rounded, distances may not: from 257 on bfloat16 would give neighbors one number."""
    for dtype in (torch.bfloat16, torch.float16):
        rounded = Kerple(4, variant).to(dtype)
        pos, exact = positions(1500), Kerple(4, variant)
        exact.raw_r1.data, exact.raw_r2.data = rounded.r1.detach().double(), rounded.r2.detach().double()
        expected = kerple_of(exact.raw_r1, exact.raw_r2, variant)
        got = rounded.prepare(pos[:, -1:], pos, None)[0, :, 0].detach().double()
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def kerple_of(r1: torch.Tensor, r2: torch.Tensor, variant: str) -> torch.Tensor:
    """The two equations for the last of 1,500 queries, (heads, 1500)."""
    distance = torch.arange(1499, -1, -1, dtype=torch.float64)
    r1, r2 = r1.detach()[:, None], r2.detach()[:, None]
    return -r1 * (1 + r2 * distance).log() if variant == "log" else -r1 * distance**r2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rotate_pairs(torch.ones(2, 8), torch.ones(4), torch.zeros(4), "Half"), "^layout='Half': choose"),
        (lambda: sinusoidal_table(torch.arange(3), 8, convention="t2t"), "^convention='t2t': choose one of"),
        (lambda: sinusoidal_frequencies(8, convention="fairseq"), "^convention='fairseq'"),
        (
            lambda: disentangled_terms(*torch.ones(2, 1, 1, 2, 4), *torch.ones(2, 1, 2, 4), ONE, "Paper"),
            "^convention='Paper': choose one of 'code', 'paper'",
        ),
        (lambda: RoPE(8, rotary_fraction=0.4), "^rotary_fraction=0.4: leaves rotary_dim=3: must be even"),
        (lambda: RoPE(8, rotary_fraction=0.1), "^rotary_fraction=0.1: leaves rotary_dim=0"),
        (lambda: CausalLM(11, 32, 4, 1, PoPE(8, 1))(ids()), "^n_heads=1: the keys have 4 heads"),
        (lambda: CausalLM(11, 32, 4, 1, PoPE(8, 4), n_kv_heads=2)(ids()), "^n_heads=4: the keys have 2 heads"),
        (lambda: PoPE(8, 4, bounded=1), "^bounded=1: must be True or False"),
        (lambda: CausalLM(11, 32, 4, 1, AxialRoPE(8))(ids()), r"^position_ids=\(1, 9\): .*axes=2"),
    ],
)
def test_what_would_give_other_numbers_in_silence_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


ONE = torch.zeros(1, 2, 2, dtype=torch.long)


def test_functions_of_positions_work_where_the_positions_are():
    far = torch.arange(4, device="meta")
    assert dot_product_by_distance(far, 8).device.type == sinusoidal_table(far, 8).device.type == "meta"


def test_xpos_holds_out_as_far_as_its_docstring_says():
    def finite(position: int, dtype: torch.dtype) -> bool:
        encoding, pos = XPos(64), torch.tensor([[position]])
        turned = encoding.rotate(*torch.ones(2, 1, 1, 1, 64, dtype=dtype), encoding.prepare(pos, pos, None), 0)
        return all(bool(x.isfinite().all()) for x in turned)

    assert finite(35_600, torch.float32)
    with pytest.raises(ValueError, match="position_ids=36500: must lie within 35694 positions"):
        finite(36_500, torch.float32)  # its tables would overflow
    assert finite(4_200, torch.float16) and not finite(4_700, torch.float16)
    assert "35,000" in XPos.__doc__ and "4,500" in XPos.__doc__
