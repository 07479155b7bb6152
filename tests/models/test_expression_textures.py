from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_faces import NAMES, SIZE_PX, as_tensors, fitted
from torch.nn import functional as F

from lssl_augment.faces.expression_shapes import mouth_gap
from lssl_augment.models.expression_textures import (
    ExpressionTextures,
    _plausible,
    _skin_under_highlights,
    flatten_mouths,
    mouth_light,
    mouth_mask,
    skin_colour,
    smooth_light,
)
from lssl_augment.models.warp import shape_flow, warp_image

CALM, OPEN = 0, 2  # rows of one person


@pytest.fixture(scope="module")
def textures() -> ExpressionTextures:
    return fitted().textures


def donor(textures: ExpressionTextures) -> torch.Tensor:
    """The donor whose mouth is open widest."""
    return textures.donor_open.argmax()[None]


def opened() -> tuple[torch.Tensor, ...]:
    """A calm face in the open-mouthed shape: its landmarks, the target's, the warped face and its skin."""
    images, dense, _ = as_tensors([CALM, OPEN])
    warped = warp_image(images[:1], shape_flow(dense[:1], dense[1:], SIZE_PX))
    return dense[:1], dense[1:], warped, skin_colour(images[:1], dense[:1])


def test_mouth_mask_covers_the_inside_of_the_lips() -> None:
    _, dense, _ = as_tensors([CALM, OPEN])
    mask = mouth_mask(dense, SIZE_PX)
    assert mask.shape == (2, 1, SIZE_PX, SIZE_PX)
    assert float(mask.min()) == 0
    assert float(mask.max()) == 1
    middle = (dense[1, 13, :2] + dense[1, 14, :2]) / 2
    x, y = middle.round().long().tolist()
    assert float(mask[1, 0, y, x]) == 1
    assert float(mask[1, 0, : SIZE_PX // 2].max()) == 0
    assert float(mask[0].sum()) < 0.6 * float(mask[1].sum())


def test_skin_colour_is_that_of_the_cheeks() -> None:
    _, dense, _ = as_tensors([CALM])
    colour = torch.tensor([0.4, -0.2, -0.6]).view(1, 3, 1, 1)
    assert torch.allclose(skin_colour(colour.expand(1, 3, 64, 64), dense), (colour + 1) / 2, atol=1e-6)


def test_no_change_and_a_closed_mouth_leave_the_warped_face(textures: ExpressionTextures) -> None:
    images, dense, _ = as_tensors([CALM])
    none = torch.zeros_like(textures.rest)[None]
    out = textures.guess(images, skin_colour(images, dense), dense, none, donor(textures), mouth_gap(dense))
    torch.testing.assert_close(out, images, atol=1e-5, rtol=0)


def test_a_mouth_that_opens_gets_the_donors_inside_and_nothing_else_changes(textures: ExpressionTextures) -> None:
    dense, target, warped, skin = opened()
    none = torch.zeros_like(textures.rest)[None]
    out = textures.guess(warped, skin, target, none, donor(textures), mouth_gap(dense))
    difference = (out - warped).abs().amax(1, keepdim=True)
    mask = mouth_mask(target, SIZE_PX)
    assert float(difference[mask == 0].max()) < 1e-5
    assert float(difference[mask == 1].mean()) > 0.1


def test_an_open_mouth_keeps_its_own_inside(textures: ExpressionTextures) -> None:
    images, dense, _ = as_tensors([OPEN])
    none = torch.zeros_like(textures.rest)[None]
    out = textures.guess(images, skin_colour(images, dense), dense, none, donor(textures), mouth_gap(dense))
    torch.testing.assert_close(out, images, atol=1e-5, rtol=0)


def test_a_donor_with_a_closed_mouth_gives_none(textures: ExpressionTextures) -> None:
    dense, target, warped, skin = opened()
    none = torch.zeros_like(textures.rest)[None]
    closed = textures.donor_open.argmin()[None]
    out = textures.guess(warped, skin, target, none, closed, mouth_gap(dense))
    torch.testing.assert_close(out, warped, atol=1e-5, rtol=0)


def test_given_mouths_are_used_instead_of_the_donors(textures: ExpressionTextures) -> None:
    dense, target, warped, skin = opened()
    none = torch.zeros_like(textures.rest)[None]
    row = donor(textures)
    by_row = textures.guess(warped, skin, target, none, row, mouth_gap(dense))
    given = textures.guess(warped, skin, target, none, row, mouth_gap(dense), mouths=textures.donor_mouths[row])
    assert torch.equal(given, by_row)
    images, own_dense, _ = as_tensors([OPEN])
    own = textures.mouths_of(images, own_dense)
    assert own.shape == (1, len(textures.mouth_basis))
    other = textures.guess(warped, skin, target, none, row, mouth_gap(dense), mouths=own)
    assert not torch.allclose(other, by_row, atol=1e-2)


def test_results_are_faces_in_range_whatever_the_change(textures: ExpressionTextures) -> None:
    images, dense, _ = as_tensors([CALM, OPEN, 4])
    change = 1e3 * torch.randn(3, *textures.rest.shape, generator=torch.Generator().manual_seed(0))
    donors = torch.tensor([0, 1, 2])
    out = textures.guess(images, skin_colour(images, dense), dense, change, donors, torch.zeros(3))
    assert out.shape == images.shape
    assert bool(out.isfinite().all())
    assert float(out.abs().max()) <= 1
    alone = textures.guess(
        images[1:2], skin_colour(images[1:2], dense[1:2]), dense[1:2], change[1:2], donors[1:2], torch.zeros(1)
    )
    torch.testing.assert_close(out[1:2], alone, atol=1e-4, rtol=0)


def test_light_is_white_and_bounded_and_shade_keeps_the_colour(textures: ExpressionTextures) -> None:
    """Brightened skin must not glow in its own colour; darkened skin keeps its saturation."""
    dense = textures.frame[None]
    faces = torch.tensor([0.2, -0.2, -0.6])[None, :, None, None].expand(1, 3, SIZE_PX, SIZE_PX).contiguous()
    bright = 1e4 * (textures.rest != 0).float()[None]
    skin, donors = skin_colour(faces, dense), torch.zeros(1, dtype=torch.int64)
    plain = (faces + 1) / 2
    for change in (bright, -bright):
        out = (textures.guess(faces, skin, dense, change, donors, mouth_gap(dense)) + 1) / 2
        added, ratio = out - plain, out / plain
        lit, dark = added.mean(1) > 1e-3, added.mean(1) < -1e-3
        assert bool(lit.any() or dark.any())
        spread = added.amax(1) - added.amin(1)
        assert float(spread[lit].max() if lit.any() else 0) < 1e-4
        between = ratio.amax(1) - ratio.amin(1)
        assert float(between[dark].max() if dark.any() else 0) < 1e-4
        assert float(ratio.min()) >= math.exp(-0.7) - 1e-4
        assert float(added.max()) <= float(plain.mean(1).max()) * (math.exp(0.25) - 1) + 1e-4


def shaded_faces(textures: ExpressionTextures, fields: torch.Tensor) -> torch.Tensor:
    """Faces in the frame's shape that look like the mean face at rest under a light from the left, times ``exp`` of
    fields ``(B, h, h)``.
    """
    side = textures.rest.shape[-1]
    light = torch.linspace(-0.6, -1.2, side).expand(side, -1)
    grey = torch.exp(light + textures.rest + fields) - 0.08
    return F.interpolate(grey[:, None].expand(-1, 3, -1, -1), size=(SIZE_PX, SIZE_PX), mode="bilinear") * 2 - 1


def test_only_what_a_photograph_shows_is_taken_off_its_light(textures: ExpressionTextures) -> None:
    """All of a field that the photograph shows, nothing of one that it does not or that it shows the other way."""
    weights = 6 * torch.randn(1, len(textures.shading), generator=torch.Generator().manual_seed(1))
    expression, classes = weights.split([weights.shape[1] - len(NAMES), len(NAMES)], dim=1)
    field = replace(textures, shading_strength=None).field(expression, classes)
    assert float(field.abs().max()) > 0.3
    shown = torch.tensor([1.0, 0.0, -1.0])
    faces = shaded_faces(textures, shown[:, None, None] * field.clamp(-0.6, 0.6))
    many = (x.expand(3, *x.shape[1:]) for x in (textures.frame[None], expression, classes))
    taken = textures.imprint(faces, *many)
    strong = field[0].abs() > 0.25
    part = (taken / field)[:, strong].median(1).values
    assert part[0] == pytest.approx(1, abs=0.2)
    assert 0 <= float(part[1]) < 0.5
    assert 0 <= float(part[2]) < 0.1
    ratio = (taken / field)[:, field[0] != 0]
    assert float(ratio.min()) >= -1e-5
    assert float(ratio.max()) <= 1.3 + 1e-5


def test_a_weak_expression_is_taken_off_as_it_should_look(textures: ExpressionTextures) -> None:
    """A field that no photograph could be told by is believed; no expression leaves nothing to take off."""
    images, dense, _ = as_tensors([CALM, OPEN])
    weak = torch.full((2, len(textures.shading) - len(NAMES)), 1e-4), torch.zeros(2, len(NAMES))
    torch.testing.assert_close(textures.imprint(images, dense, *weak), textures.field(*weak), rtol=0.05, atol=1e-7)
    nothing = torch.zeros(2, len(textures.shading) - len(NAMES)), torch.zeros(2, len(NAMES))
    assert not textures.imprint(images, dense, *nothing).any()


def test_smooth_light_is_found_whatever_lies_on_it() -> None:
    axis = torch.linspace(-1, 1, 32)
    slope = (0.3 - 0.5 * axis[None] + 0.2 * axis[:, None] ** 2)[None]
    torch.testing.assert_close(smooth_light(slope, torch.ones(32, 32)), slope)
    weight = torch.ones(32, 32)
    weight[10:20, 10:20] = 0
    spotted = slope.clone()
    spotted[:, 10:20, 10:20] = 5.0
    torch.testing.assert_close(smooth_light(spotted, weight), slope)


def test_a_shaded_highlight_is_skin_again() -> None:
    """What a flash made white must not turn into a grey patch."""
    skin = torch.tensor([0.7, 0.5, 0.4])[None, :, None, None]
    level = float(skin.mean())
    faces = torch.tensor([1.0, level, 0.3]).view(1, 1, 1, 3).expand(1, 3, 1, 3)  # white, like skin, dark
    assert torch.equal(_skin_under_highlights(faces, faces, skin), faces)
    out = _skin_under_highlights(faces, faces * level, skin)
    assert out[0, :, 0, 0].tolist() == pytest.approx(skin.flatten().tolist(), abs=1e-6)
    assert torch.equal(out[..., 1:], (faces * level)[..., 1:])  # grey for another reason than light
    torch.testing.assert_close(out.mean(1), (faces * level).mean(1))  # no brighter and no darker for it
    lit = faces.clamp(max=0.8)
    assert torch.equal(_skin_under_highlights(lit, faces, skin), faces)  # light stays white


@pytest.mark.parametrize("skin", [(0.8, 0.6, 0.5), (0.6, 0.45, 0.25), (0.5, 0.44, 0.39), (0.02, 0.02, 0.9)])
def test_the_inside_of_a_mouth_is_warm(skin: tuple[float, float, float]) -> None:
    """Red, pink, ivory or dark, whatever the components say; in yellow light yellower, never blue, grey or purple."""
    inside = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 1.2
    red, green, blue = _plausible(inside, torch.tensor(skin).view(1, 3, 1, 1).expand(2, -1, -1, -1)).unbind(1)
    assert float(blue.min()) > 0
    assert float(red.max()) <= 0.9
    assert bool((green <= red).all())
    assert bool((blue <= green).all())
    most = min(0.92, max(0.6, 1.5 * skin[2] / max(skin[0], 0.05)))
    assert bool((blue <= most * red + 1e-6).all())
    ivory = torch.tensor([0.8, 0.76, 0.6]).view(1, 3, 1, 1)
    if most > 0.8:  # plausible colours are only made a little duller
        assert float((_plausible(ivory, torch.tensor(skin).view(1, 3, 1, 1)) - ivory).abs().max()) < 0.05


@given(level=st.floats(0.1, 0.9))
def test_a_grey_face_has_a_grey_mouth(level: float) -> None:
    inside = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    grey = _plausible(inside, torch.full((2, 3, 1, 1), level))
    assert float((grey.amax(1) - grey.amin(1)).max()) < 1e-6
    torch.testing.assert_close(grey.mean(1), inside.mean(1).clamp(0.02, 0.9))


def test_teeth_stay_white_in_a_dark_face(textures: ExpressionTextures) -> None:
    """The same teeth beside skin of half the brightness: what is measured of them depends on the skin by less than it
    does, and gives the same teeth back.
    """
    _, dense, _ = as_tensors([CALM, OPEN])
    inside = F.max_pool2d(mouth_mask(dense[1:], SIZE_PX), 7, 1, 3) > 0.9
    rows, columns = textures.mouth_size.tolist()
    patches, skins = [], []
    for level in (0.7, 0.35):
        face = torch.where(inside, torch.tensor(0.6), torch.tensor(level)).expand(1, 3, -1, -1) * 2 - 1
        skin = skin_colour(face, dense[1:])
        assert float((skin - level).abs().max()) < 0.01
        patch = flatten_mouths(face, dense[1:], (rows, columns)).view(1, 3, rows, columns)
        patches.append(patch[..., rows // 2, columns // 2])
        skins.append(skin)
    ratio = float((patches[1] / patches[0]).mean())
    assert ratio == pytest.approx(2**0.6, rel=0.03)  # over the skin alone it would be 2
    for patch, skin in zip(patches, skins, strict=True):
        assert float((patch[..., None, None] * mouth_light(skin) - 0.6).abs().max()) < 0.02
