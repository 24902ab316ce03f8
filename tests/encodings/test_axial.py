"""Axial RoPE and M-RoPE against rotary-embedding-torch, DINOv3 and Qwen2-VL, and their relative property."""

from __future__ import annotations

import functools
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rotary_embedding_torch import RotaryEmbedding, apply_rotary_emb
from transformers.models.dinov3_vit import modeling_dinov3_vit
from transformers.models.qwen2_vl import modeling_qwen2_vl
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLConfig, Qwen2VLTextConfig
from transformers.models.qwen3_5 import modeling_qwen3_5
from transformers.models.qwen3_vl import modeling_qwen3_vl

from helpers.encodings import AxialRoPE, MixedRoPE, MRoPE, RoPE, positions
from helpers.encodings.axial import grid_positions, multimodal_positions
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


@pytest.mark.oracle("axial.AxialRoPE", "axial.axial_frequencies", against="rotary-embedding-torch")
@pytest.mark.parametrize("widths", [(16, 56, 56), (4, 8), (4, 8, 12)])
def test_axes_of_unequal_width_are_one_rotation_each(widths):
    q, k = draw(1, 2, 7, sum(widths), dtype=torch.float32)
    ids = torch.randint(0, 40, (1, 7, len(widths)), generator=torch.Generator().manual_seed(3))
    angles = [RotaryEmbedding(dim=w, cache_if_possible=False).forward(ids[0, :, a]) for a, w in enumerate(widths)]
    for x, got in zip((q, k), rotated(AxialRoPE(sum(widths), widths), q, k, ids), strict=True):
        torch.testing.assert_close(got, apply_rotary_emb(torch.cat(angles, -1), x), atol=1e-4, rtol=1e-4)
    if len(set(widths)) > 1 and sum(widths) % (2 * len(widths)) == 0:
        equal = rotated(AxialRoPE(sum(widths), len(widths)), q, k, ids)[0]
        assert (equal - rotated(AxialRoPE(sum(widths), widths), q, k, ids)[0]).abs().max() > 1


@pytest.mark.oracle("axial.MRoPE", "axial.mrope_frequencies", against="transformers: Qwen3-VL")
@pytest.mark.parametrize("sections", [(24, 20, 20), (3, 3, 2)])
def test_interleaved_sections_are_qwen3_vl(sections):
    d = 2 * sum(sections)
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": list(sections), "mrope_interleaved": True}
    config = modeling_qwen3_vl.Qwen3VLTextConfig(
        hidden_size=d, num_attention_heads=1, num_key_value_heads=1, head_dim=d, rope_parameters=rope
    )
    ids = torch.randint(0, 40, (1, 11, 3), generator=torch.Generator().manual_seed(3))
    q, k = draw(1, 1, 11, d, dtype=torch.float32)
    cos, sin = modeling_qwen3_vl.Qwen3VLTextRotaryEmbedding(config)(q, ids.permute(2, 0, 1))
    expected = modeling_qwen3_vl.apply_rotary_pos_emb(q, k, cos, sin)
    for got, want in zip(rotated(MRoPE(d, sections, 5e6, mrope_interleaved=True), q, k, ids), expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    in_blocks = rotated(MRoPE(d, sections, 5e6), q, k, ids)[0]
    assert (in_blocks - expected[0]).abs().max() > 1


@pytest.mark.oracle("axial.MRoPE", "axial.mrope_frequencies", "rope.rotary_width", against="transformers: Qwen3.5")
def test_sections_on_part_of_a_head_are_qwen3_5():
    sections = (11, 11, 10)
    rope = {"rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25, "mrope_section": list(sections)}
    config = modeling_qwen3_5.Qwen3_5TextConfig(
        hidden_size=256, num_attention_heads=1, num_key_value_heads=1, head_dim=256, rope_parameters=rope
    )
    ids = torch.randint(0, 40, (1, 11, 3), generator=torch.Generator().manual_seed(3))
    q, k = draw(1, 1, 11, 256, dtype=torch.float32)
    cos, sin = modeling_qwen3_5.Qwen3_5TextRotaryEmbedding(config)(q, ids.permute(2, 0, 1))
    expected = modeling_qwen3_5.apply_rotary_pos_emb(q, k, cos, sin)
    for part in ({"rotary_fraction": 0.25}, {"rotary_dim": 64}):
        enc = MRoPE(256, sections, 1e7, **part, mrope_interleaved=True)
        for got, want in zip(rotated(enc, q, k, ids), expected, strict=True):
            torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def qwen2_vl_positions(segments, merge: int = 2) -> torch.Tensor:
    """get_rope_index of transformers, (1, T, 3), for texts and pictures; its grids count patches before merging."""
    kinds, grids = [], []
    for segment in segments:
        if isinstance(segment, int):
            kinds += [0] * segment
        else:
            frames, rows, columns = segment
            kinds += [1] * (frames * rows * columns)
            grids.append((frames, merge * rows, merge * columns))
    config = Qwen2VLConfig(vision_config={"spatial_merge_size": merge})
    model = types.SimpleNamespace(config=config)
    model.get_vision_position_ids = functools.partial(modeling_qwen2_vl.Qwen2VLModel.get_vision_position_ids, model)
    types_of_tokens = torch.tensor([kinds])
    ids, deltas = modeling_qwen2_vl.Qwen2VLModel.get_rope_index(
        model, torch.ones_like(types_of_tokens), types_of_tokens, torch.tensor(grids)
    )
    assert deltas.item() == ids.max().item() + 1 - len(kinds)
    return ids.permute(1, 2, 0)


@pytest.mark.oracle("axial.multimodal_positions", against="transformers: Qwen2-VL")
@pytest.mark.parametrize("segments", [[(1, 4, 4), 4], [5, (1, 3, 4), 2, (1, 2, 2), 1], [2, (2, 3, 3), 3]], ids=str)
def test_positions_of_text_and_pictures_are_qwen2_vl(segments):
    assert torch.equal(multimodal_positions(segments), qwen2_vl_positions(segments))


def test_after_a_picture_the_next_position_is_not_the_number_of_tokens():
    """A 4 x 4 grid and four words: 20 tokens, and the largest id is 7."""
    ids = multimodal_positions([(1, 4, 4), 4])
    assert ids.shape == (1, 20, 3) and ids.max() == 7
    assert torch.equal(multimodal_positions([2], start=8), torch.tensor([[[8] * 3, [9] * 3]]))
    assert multimodal_positions([(3, 1, 1)], time_step=25)[0].tolist() == [[0, 0, 0], [25, 0, 0], [50, 0, 0]]


def test_a_video_longer_than_its_sides_is_left_behind_by_the_largest_id():
    """The paper's rule. transformers 5.23 continues after the rows or columns, inside the ids of the video."""
    segments = [(7, 2, 3), 1]
    assert multimodal_positions(segments)[0, -1].tolist() == [7, 7, 7]
    assert qwen2_vl_positions(segments)[0, -1].tolist() == [3, 3, 3]


@pytest.mark.parametrize("kind", ["axial", "mrope"])
def test_factor_and_part_reach_rotations_by_several_coordinates(kind):
    q, k = draw(1, 2, 7, 16)
    ids = torch.randint(0, 40, (1, 7, 3), generator=torch.Generator().manual_seed(3))
    make = (lambda d, **kw: AxialRoPE(d, 3, **kw)) if kind == "axial" else (lambda d, **kw: MRoPE(d, (3, 2, 1), **kw))
    for part in ({"rotary_dim": 12}, {"rotary_fraction": 0.75}):
        whole = rotated(make(12), q[..., 4:], k[..., 4:], ids)
        last = rotated(make(16, rotated="last", attention_factor=1.5, **part), q, k, ids)
        for x, a, b in zip((q, k), whole, last, strict=True):
            torch.testing.assert_close(b, torch.cat([x[..., :4], 1.5 * a], -1))
    assert make(12, scale=0.3).scale == 0.3 and make(12).scale is None


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


# ------------------------------------------------------------------------------------------------ learned directions


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mixed_is_relative_and_keeps_the_norm(layout):
    torch.manual_seed(0)
    enc = MixedRoPE(16, 2, layout=layout)
    torch.nn.init.normal_(enc.inv_freq)
    q, k = draw(1, 2, 12, 16)
    a, b = rotated(enc, q, k, grid_positions(3, 4))
    c, d = rotated(enc, q, k, grid_positions(3, 4) + torch.tensor([7, -3]))
    torch.testing.assert_close(a @ b.mT, c @ d.mT, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(a.norm(dim=-1), q.norm(dim=-1), atol=1e-5, rtol=1e-5)


def test_mixed_sees_diagonals_where_axial_sees_rows_and_columns():
    """At the start a head of 45 degrees does not notice a step across its first direction; axial notices every step."""
    enc, axial = MixedRoPE(4, 1, base=1e9), AxialRoPE(4)
    q = k = torch.ones(1, 1, 1, 4, dtype=torch.float64)
    here, across = torch.zeros(1, 1, 2), torch.tensor([[[1.0, -1.0]]])
    first = enc.rotate(q, k, enc.prepare(here, across, None), 0)[1][..., :2]  # the pair along the direction
    torch.testing.assert_close(first, k[..., :2], atol=1e-6, rtol=0)
    assert (axial.rotate(q, k, axial.prepare(here, across, None), 0)[1] - k).abs().min() > 0.3


def test_mixed_frequencies_are_trained_per_head_and_per_layer():
    torch.manual_seed(0)
    model = Encoder(10, 32, 4, 2, MixedRoPE(8, 4, n_layers=2))
    ids, grid = torch.randint(10, (2, 12)), grid_positions(3, 4)
    model(ids, position_ids=grid).square().sum().backward()
    assert model.encoding.inv_freq.grad.abs().flatten(1).amax(1).min() > 0
    assert model.encoding.inv_freq.shape == (2, 2, 4, 4)
    before = model(ids, position_ids=grid)
    with torch.no_grad():
        model.encoding.inv_freq[1, :, 2] += 1  # one head of the second layer
    assert (model(ids, position_ids=grid) - before).abs().max() > 1e-4
    shared = Encoder(10, 32, 4, 2, MixedRoPE(8, 4), n_kv_heads=2)
    with pytest.raises(ValueError, match="n_heads=4: the keys have 2 heads"):
        shared(ids, position_ids=grid)


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
        (lambda: AxialRoPE(16).set_frequencies(torch.ones(8)), "encoding='AxialRoPE'"),
        (lambda: MixedRoPE(6, 2), "head_dim=6"),
        (lambda: MixedRoPE(8, 2, n_layers=0), "n_layers=0"),
        (lambda: MixedRoPE(8, 2).prepare(positions(5), positions(5), None), "position_ids=(1, 5)"),
        (lambda: MixedRoPE(8, 2).prepare(torch.zeros(1, 5, 3), torch.zeros(1, 5, 3), None), "position_ids=(1, 5, 3)"),
        (lambda: MixedRoPE(8, 2).prepare(torch.zeros(5, 2), torch.zeros(5, 2), None), "position_ids=(5, 2)"),
        (lambda: AxialRoPE(16, (3, 13)), "axes=3: must be even"),
        (lambda: AxialRoPE(16, (4, 8)), "axes=(4, 8): must sum to the 16"),
        (lambda: MRoPE(256, (11, 11, 10)), "sections=(11, 11, 10)"),  # a part of the head has to be asked for
        (lambda: MRoPE(16, (2, 3, 3), mrope_interleaved=True), "sections=(2, 3, 3)"),
        (lambda: multimodal_positions([]), "segments=[]"),
        (lambda: multimodal_positions([3, 0]), "segments=0"),
        (lambda: multimodal_positions([(4, 4)]), "segments=(4, 4)"),
        (lambda: multimodal_positions([(1, 0, 4)]), "segments=0"),
        (lambda: multimodal_positions([3], start=-1), "start=-1"),
        (lambda: multimodal_positions([3], time_step=0), "time_step=0"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(ValueError, match="=") as error:
        make()
    assert words in str(error.value)
