"""Axial RoPE and M-RoPE against rotary-embedding-torch, DINOv3 and Qwen2-VL, and their relative property."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rotary_embedding_torch import RotaryEmbedding, apply_rotary_emb
from transformers.models.dinov3_vit import modeling_dinov3_vit
from transformers.models.qwen2_vl import modeling_qwen2_vl
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLTextConfig

from helpers.encodings import AxialRoPE, MRoPE, RoPE, positions
from helpers.encodings.axial import grid_positions
from helpers.encodings.rope import LAYOUTS
from helpers.model import Encoder


def draw(*shape, seed: int = 0, dtype=torch.float64):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def rotated(enc, q, k, ids):
    return enc.rotate(q, k, enc.prepare(ids, ids, None), 0)


@pytest.mark.oracle("axial.AxialRoPE", "axial.axial_frequencies", "axial.axis_angles", against="rotary-embedding-torch")
@pytest.mark.parametrize("head_dim", [8, 16, 64])
@pytest.mark.parametrize("height, width", [(3, 5), (1, 7), (6, 6)])
@pytest.mark.parametrize("dtype, margin", [(torch.float64, 1e-5), (torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_axial_is_rotary_embedding_torch(head_dim, height, width, dtype, margin):
    q, k = draw(1, 2, height * width, head_dim, dtype=dtype)
    reference = RotaryEmbedding(dim=head_dim // 2, cache_if_possible=False)
    # its own axial helper is for pixels or whole numbers; given the latter, it concatenates row and column angles
    rows = reference.forward(torch.arange(height), seq_len=height)[:, None].expand(-1, width, -1)
    columns = reference.forward(torch.arange(width), seq_len=width)[None].expand(height, -1, -1)
    freqs = torch.cat([rows, columns], -1).flatten(0, 1)
    ids = grid_positions(height, width)
    for x, got in zip((q, k), rotated(AxialRoPE(head_dim), q, k, ids), strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(got, apply_rotary_emb(freqs.to(dtype), x), atol=margin, rtol=margin)


@pytest.mark.oracle("axial.AxialRoPE", "axial.axial_frequencies", against="transformers: DINOv3")
@pytest.mark.parametrize("height, width", [(4, 4), (2, 6)])
def test_half_layout_is_dinov3(height, width):
    """DINOv3 turns by 2 pi c / 100^(4j/d) with c in [-1, 1]: our angles with its coordinates as positions."""
    d, heads = 16, 2
    config = modeling_dinov3_vit.DINOv3ViTConfig(
        hidden_size=d * heads, num_attention_heads=heads, patch_size=8, image_size=8 * height, num_hidden_layers=1
    )
    pixels = torch.zeros(1, 3, 8 * height, 8 * width)
    module = modeling_dinov3_vit.DINOv3ViTRopePositionEmbedding(config).eval()
    cos, sin = module(pixels)
    q, k = draw(1, heads, height * width, d, dtype=torch.float32)
    expected = modeling_dinov3_vit.apply_rotary_pos_emb(q, k, cos, sin)
    y = (torch.arange(height) + 0.5) / height * 2 - 1
    x = (torch.arange(width) + 0.5) / width * 2 - 1
    ids = 2 * torch.pi * torch.cartesian_prod(y, x)[None]
    for got, want in zip(rotated(AxialRoPE(d, base=100.0, layout="half"), q, k, ids), expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


@pytest.mark.oracle("axial.MRoPE", "axial.mrope_frequencies", against="transformers: Qwen2-VL")
@pytest.mark.parametrize("sections", [(16, 24, 24), (4, 2, 2), (1, 1, 6)])
def test_mrope_is_qwen2_vl(sections):
    d = 2 * sum(sections)
    config = Qwen2VLTextConfig(
        hidden_size=d,
        num_attention_heads=1,
        num_key_value_heads=1,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": list(sections)},
    )
    ids = torch.randint(0, 40, (1, 11, 3), generator=torch.Generator().manual_seed(3))
    q, k = draw(1, 1, 11, d, dtype=torch.float32)
    module = modeling_qwen2_vl.Qwen2VLRotaryEmbedding(config)
    cos, sin = module(q, ids.permute(2, 0, 1))
    if cos.ndim == 4:  # not yet recomposed into sections
        cos, sin = (modeling_qwen2_vl.recomposition_frequencies(t, list(sections)) for t in (cos, sin))
    expected = modeling_qwen2_vl.apply_rotary_pos_emb(q, k, cos, sin)
    for got, want in zip(rotated(MRoPE(d, sections), q, k, ids), expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mrope_on_text_is_rope(layout):
    q, k = draw(1, 2, 9, 16)
    text = rotated(MRoPE(16, (2, 3, 3), base=1e4, layout=layout), q, k, positions(9, 5))
    plain = rotated(RoPE(16, layout=layout), q, k, positions(9, 5))
    for a, b in zip(text, plain, strict=True):
        torch.testing.assert_close(a, b)


def test_one_row_is_one_dimensional_rope_on_half_of_the_channels():
    q, k = draw(1, 2, 9, 32)
    got = rotated(AxialRoPE(32), q, k, grid_positions(1, 9))
    column = rotated(RoPE(16, layout="interleaved"), q[..., 16:], k[..., 16:], positions(9))
    for x, a, b in zip((q, k), got, column, strict=True):
        torch.testing.assert_close(a[..., :16], x[..., :16])
        torch.testing.assert_close(a[..., 16:], b)
    whole = rotated(RoPE(32, layout="interleaved"), q, k, positions(9))
    assert (got[0] - whole[0]).abs().max() > 0.1


@settings(max_examples=40, deadline=None)
@given(
    axes=st.integers(1, 3),
    quarter=st.integers(1, 6),
    layout=st.sampled_from(LAYOUTS),
    shift=st.lists(st.integers(0, 500), min_size=3, max_size=3),
    seed=st.integers(0, 1000),
)
def test_relative_in_every_axis(axes, quarter, layout, shift, seed):
    enc, d = AxialRoPE(2 * axes * quarter, axes, layout=layout), 2 * axes * quarter
    q, k = draw(1, 1, 8, d, seed=seed)
    ids = torch.randint(0, 30, (1, 8, axes), generator=torch.Generator().manual_seed(seed))
    a, b = rotated(enc, q, k, ids)
    c, e = rotated(enc, q, k, ids + torch.tensor(shift[:axes]))
    torch.testing.assert_close(a @ b.mT, c @ e.mT, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(a.norm(dim=-1), q.norm(dim=-1), atol=1e-5, rtol=1e-5)


def test_wrong_versions_differ():
    q, k = draw(1, 1, 12, 16)
    ids = grid_positions(3, 4)
    right, right_k = rotated(AxialRoPE(16), q, k, ids)
    swapped = rotated(AxialRoPE(16), q, k, ids.flip(-1))[0]  # columns for rows
    flattened = rotated(RoPE(16, layout="interleaved"), q, k, positions(12))[0]  # the raster index as a position
    mixed = rotated(AxialRoPE(16, layout="half"), q, k, ids)[0]
    for wrong in (swapped, flattened, mixed):
        assert (wrong - right).abs().max() > 0.1


def test_runs_in_a_model():
    torch.manual_seed(0)
    model = Encoder(10, 32, 4, 1, AxialRoPE(8)).double()
    ids, grid = torch.randint(10, (2, 12)), grid_positions(3, 4)
    moved = model(ids, position_ids=grid + torch.tensor([5, 9]))
    torch.testing.assert_close(model(ids, position_ids=grid), moved, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: AxialRoPE(10), "head_dim=10"),
        (lambda: AxialRoPE(16, axes=3), "head_dim=16"),
        (lambda: MRoPE(16, (1, 2, 3)), "sections=(1, 2, 3)"),
        (lambda: MRoPE(16, (0, 4, 4)), "sections=0"),
        (lambda: MRoPE(16, ()), "pass the pairs of each axis"),
        (lambda: AxialRoPE(16).prepare(torch.zeros(1, 5, 3), torch.zeros(1, 5, 3), None), "position_ids=(1, 5, 3)"),
        (lambda: AxialRoPE(16).prepare(torch.zeros(5, 2), torch.zeros(5, 2), None), "position_ids=(5, 2)"),
        (lambda: AxialRoPE(16).prepare(positions(5), positions(5), None), "position_ids=(1, 5)"),
        (lambda: grid_positions(0, 3), "height=0"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(ValueError, match="=") as error:
        make()
    assert words in str(error.value)
