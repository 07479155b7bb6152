"""Heads turned by geometry: landmarks, pixels, and what an edit may ask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_faces import SIZE_PX, as_tensors, compact_bundle, drawn_faces, posed_bundle
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.faces.align import face_transform
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.faces.pose import head_pose, yaw_deg
from lssl_augment.models.engine import EncodedFaces, ExpressionEngine
from lssl_augment.models.head_turn import (
    carry,
    facing,
    landmark_trust,
    mirror_faces,
    turn_landmarks,
    turned_flow,
    yaw_towards,
)
from lssl_augment.models.warp import shape_flow, warp_image

SOURCES = [0, 2, 4, 7]
KEEP = float("nan")


@pytest.fixture(scope="module")
def engine() -> ExpressionEngine:
    return ExpressionEngine(posed_bundle(-30, -15, 0, 15, 30), precision="fp32")


@pytest.fixture(scope="module")
def encoded(engine: ExpressionEngine) -> EncodedFaces:
    return engine.encode(*as_tensors(SOURCES))


def landmarks(rows: list[int] = SOURCES) -> Tensor:
    return torch.from_numpy(drawn_faces().dense[rows])


def asked(n: int, target: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    return torch.full((n,), target), torch.ones(n), torch.arange(n)


@settings(max_examples=20)
@given(by=st.lists(st.floats(-40, 40, width=32), min_size=4, max_size=4))
def test_landmarks_turn_by_the_angle_and_stay_aligned(by: list[float]) -> None:
    shapes = compact_bundle().shapes
    assert shapes is not None
    dense = landmarks()
    turned = turn_landmarks(shapes, dense, torch.tensor(by), SIZE_PX)
    before, after = head_pose(dense.numpy()), head_pose(turned.numpy())
    # The two files' mean heads are not the same head.
    np.testing.assert_allclose(after.yaw - before.yaw, by, atol=2.0)
    # The head is what it was: turned back it is the same, to the rounding of float32.
    again = turn_landmarks(shapes, turned, -torch.tensor(by), SIZE_PX)
    np.testing.assert_allclose(again.numpy(), dense.numpy(), atol=0.02)
    # Alignment would leave it where it is as much as it leaves the source.
    for one, other in zip(dense.double().numpy(), turned.double().numpy(), strict=True):
        own, now = (face_transform(points[SPARSE_FROM_DENSE, :2], SIZE_PX) for points in (one, other))
        np.testing.assert_allclose(now[:, :2], own[:, :2], atol=2e-3)


def test_no_turn_is_no_change() -> None:
    shapes = compact_bundle().shapes
    assert shapes is not None
    dense = landmarks()
    torch.testing.assert_close(turn_landmarks(shapes, dense, torch.zeros(4), SIZE_PX), dense, atol=1e-3, rtol=0)


def test_the_far_cheek_faces_away() -> None:
    shapes = compact_bundle().shapes
    assert shapes is not None
    dense = landmarks([0])
    straight, turned = (
        facing(shapes, turn_landmarks(shapes, dense, torch.tensor([by]) - float(yaw_deg(dense.numpy())[0]), SIZE_PX))[0]
        for by in (0.0, 40.0)
    )
    # 234 and 454 are the temples at the viewer's left and right; the head turns to the right, and hides that side.
    assert abs(float(straight[234] - straight[454])) < 0.1
    assert float(turned[454]) < float(straight[454]) < float(turned[234])


@pytest.mark.parametrize(
    ("sides", "wanted", "mirrored"),
    [(False, [20.0, 20.0], [False, False]), (True, [20.0, 20.0], [False, True]), (True, [0.0, 0.0], [False, False])],
)
def test_which_way_a_head_turns(sides: bool, wanted: list[float], mirrored: list[bool]) -> None:
    shapes = compact_bundle().shapes
    assert shapes is not None
    dense = landmarks([0, 0])
    own = float(yaw_deg(dense.numpy())[0])
    dense = turn_landmarks(shapes, dense, torch.tensor([12.0, -12.0]) - own, SIZE_PX)
    flip, by = yaw_towards(dense, torch.tensor(wanted), sides=sides)
    assert flip.tolist() == mirrored
    yaw = yaw_deg(dense.numpy())
    ends = np.where(flip.numpy(), -yaw, yaw) + by.numpy()
    np.testing.assert_allclose(ends, wanted if sides else np.sign(yaw) * wanted, atol=1e-3)


def test_a_mirrored_face_keeps_its_landmarks_on_the_pixels_they_mark() -> None:
    images, dense, _ = as_tensors([3])
    x, y = dense[0, :, 0].round().long().clamp(0, SIZE_PX - 1), dense[0, :, 1].round().long().clamp(0, SIZE_PX - 1)
    painted = torch.full_like(images, -1.0)
    painted[0, :, y, x] = 1.0
    flipped, there = mirror_faces(painted, dense)
    fx, fy = there[0, :, 0].round().long().clamp(0, SIZE_PX - 1), there[0, :, 1].round().long().clamp(0, SIZE_PX - 1)
    assert float((flipped[0, 0, fy, fx] > 0).float().mean()) > 0.97  # .5 rounds to the even pixel
    assert torch.equal(mirror_faces(*mirror_faces(images, dense))[0], images)


def test_what_a_photograph_hides_comes_from_its_mirror_image() -> None:
    """A head that looks aside, red where it shows itself and blue in the strip beyond its outline, comes to face us."""
    shapes = compact_bundle().shapes
    assert shapes is not None
    front = landmarks([0])
    side = turn_landmarks(shapes, front, torch.tensor([35.0]) - float(yaw_deg(front.numpy())[0]), SIZE_PX)
    outline = side[0, 454, 0]  # the temple on the hidden side
    face = torch.full((1, 3, SIZE_PX, SIZE_PX), -1.0)
    beyond = torch.arange(SIZE_PX) > float(outline) - 2
    face[:, 2, :, beyond] = 1.0
    face[:, 0, :, ~beyond] = 1.0
    straight = turn_landmarks(shapes, side, -torch.tensor([35.0]), SIZE_PX)
    one = torch.ones(1, dtype=torch.bool)
    _, filled = carry(shapes, face, side, straight, straight, one)
    plain = warp_image(face, turned_flow(shapes, side, straight, SIZE_PX))
    # A cheek point near the hidden temple.
    x, y = (int(v) for v in straight[0, 454, :2].round())
    cheek = (slice(None), slice(None), slice(y - 2, y + 3), slice(x - 5, x - 1))
    assert float(plain[cheek][:, 2].mean()) > 0.3  # the strip is stretched over it
    assert float(filled[cheek][:, 2].mean()) < float(plain[cheek][:, 2].mean()) - 0.5
    assert float(filled[cheek][:, 0].mean()) > float(plain[cheek][:, 0].mean()) + 0.5


def test_only_heads_that_turn_are_touched() -> None:
    shapes = compact_bundle().shapes
    assert shapes is not None
    images, dense, _ = as_tensors(SOURCES)
    by = torch.tensor([0.0, 20.0, 0.0, -20.0])
    posed = torch.where((by != 0)[:, None, None], turn_landmarks(shapes, dense, by, SIZE_PX), dense)
    flow, carried = carry(shapes, images, dense, posed, posed, by != 0)
    still = carry(shapes, images, dense, dense, dense, None)
    for row in (0, 2):
        torch.testing.assert_close(flow[row], still[0][row], atol=1e-5, rtol=0)
        torch.testing.assert_close(carried[row], still[1][row], atol=1e-5, rtol=0)
    alone = carry(shapes, images[1::2], dense[1::2], posed[1::2], posed[1::2], torch.ones(2, dtype=torch.bool))
    torch.testing.assert_close(carried[1::2], alone[1], atol=1e-5, rtol=0)
    assert float((carried[1] - still[1][1]).abs().mean()) > 1e-2


def test_gradients_reach_the_faces() -> None:
    shapes = compact_bundle().shapes
    assert shapes is not None
    images, dense, _ = as_tensors([0])
    posed = turn_landmarks(shapes, dense, torch.tensor([25.0]), SIZE_PX)
    images.requires_grad_()
    _, carried = carry(shapes, images, dense, posed, posed, torch.ones(1, dtype=torch.bool))
    carried.square().mean().backward()
    assert images.grad is not None
    assert bool(images.grad.isfinite().all())
    assert float(images.grad.abs().sum()) > 0


def test_keeping_everything_gives_the_face_back(engine: ExpressionEngine, encoded: EncodedFaces) -> None:
    """Pose and expression kept: an untrained network returns its first guess, the source itself."""
    images, _, _ = as_tensors(SOURCES)
    out = engine.edit(encoded, *asked(4, -1), yaw_deg=torch.full((4,), KEEP))
    assert float((out - images).abs().mean()) < 0.02  # read through a warp that moves nothing, and a pixel filter


def test_poses_by_code_and_by_angle_are_the_same(engine: ExpressionEngine, encoded: EncodedFaces) -> None:
    codes = torch.tensor([0, 4, -1, 2])
    degrees = torch.tensor([-30.0, 30.0, KEEP, 0.0])
    by_code = engine.edit(encoded, *asked(4), pose=codes)
    torch.testing.assert_close(by_code, engine.edit(encoded, *asked(4), yaw_deg=degrees), atol=0, rtol=0)
    plain = engine.edit(encoded, *asked(4))
    torch.testing.assert_close(by_code[2], plain[2], atol=4e-3, rtol=0)
    assert float((by_code[0] - plain[0]).abs().mean()) > 0.02
    none = engine.edit(encoded, *asked(4), pose=torch.full((4,), -1))
    torch.testing.assert_close(none, plain, atol=4e-3, rtol=0)


def test_opposite_poses_of_a_frontal_face_are_mirror_images(engine: ExpressionEngine) -> None:
    images, dense, labels = as_tensors([0])
    shapes = compact_bundle().shapes
    assert shapes is not None
    half = (images + images.flip(-1)) / 2
    straight = turn_landmarks(shapes, dense, -torch.from_numpy(yaw_deg(dense.numpy())).float(), SIZE_PX)
    straight = (straight + mirror_faces(half, straight)[1]) / 2
    face = engine.encode(half, straight, labels).select(torch.tensor([0, 0]))
    out = engine.edit(face, *asked(2, -1), yaw_deg=torch.tensor([-20.0, 20.0]))
    apart = float((out[0] - out[1]).abs().mean())
    assert apart > 0.02
    assert float((out[0] - out[1].flip(-1)).abs().mean()) < apart / 3


def test_unsigned_poses_turn_to_the_side_a_head_is_turned_to(encoded: EncodedFaces) -> None:
    unsigned = ExpressionEngine(posed_bundle(0, 15, 30), precision="fp32")
    signed = ExpressionEngine(posed_bundle(-30, -15, 0, 15, 30), precision="fp32")
    _, dense, _ = as_tensors(SOURCES)
    side = torch.from_numpy(np.sign(yaw_deg(dense.numpy()))).float()
    out = unsigned.edit(encoded, *asked(4), pose=torch.full((4,), 2))
    same = signed.edit(encoded, *asked(4), yaw_deg=30 * side)
    torch.testing.assert_close(out, same, atol=4e-3, rtol=0)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"pose": torch.tensor([5, 0, 0, 0])}, r"pose needs one code of 0 to 4 for each of 4 rows, or -1"),
        ({"pose": torch.tensor([1])}, r"for each of 4 rows"),
        ({"yaw_deg": torch.tensor([31.0, 0, 0, 0])}, r"yaw_deg needs degrees from -30 to 30 for each of 4 rows"),
        ({"yaw_deg": torch.tensor([float("inf"), 0, 0, 0])}, r"yaw_deg needs degrees from -30 to 30"),
        ({"yaw_deg": torch.zeros(2)}, r"for each of 4 rows"),
        ({"pose": torch.zeros(4, dtype=torch.int64), "yaw_deg": torch.zeros(4)}, "give pose or yaw_deg, not both"),
        ({"light": torch.tensor([0, 1, 2, 3])}, r"light needs one code of 0 to 2 for each of 4 rows, or -1"),
        ({"light": torch.tensor([0])}, r"for each of 4 rows"),
    ],
)
def test_refused_wishes(
    engine: ExpressionEngine, encoded: EncodedFaces, wanted: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        engine.edit(encoded, *asked(4), **wanted)


def test_weights_without_poses_turn_no_head(encoded: EncodedFaces) -> None:
    plain = ExpressionEngine(compact_bundle(), precision="fp32")
    with pytest.raises(DataError, match=r"change expression and light alone.*signed-pose:30"):
        plain.edit(encoded, *asked(4), yaw_deg=torch.zeros(4))


def folds(flow: Tensor) -> int:
    """Places of a flow ``(1, 2, h, w)`` at which what is read turns over."""
    step = SIZE_PX / flow.shape[-1]
    x, y = flow[0]
    dxx, dxy = x.diff(dim=1)[:-1] / step + 1, x.diff(dim=0)[:, :-1] / step
    dyx, dyy = y.diff(dim=1)[:-1] / step, y.diff(dim=0)[:, :-1] / step + 1
    return int((dxx * dyy - dxy * dyx < 0).sum())


def test_shading_does_not_fold_beside_the_nose_of_a_turned_head() -> None:
    """Fields of the frontal mean face, read by a head that looks aside: light broke into rings there."""
    bundle = compact_bundle()
    assert bundle.shapes is not None
    assert bundle.textures is not None
    frame = bundle.textures.frame.expand(len(SOURCES), -1, -1)
    aside = turn_landmarks(bundle.shapes, landmarks(), torch.full((len(SOURCES),), 60.0), SIZE_PX)
    plain = shape_flow(frame, aside, SIZE_PX)
    trusted = shape_flow(frame, aside, SIZE_PX, trust=landmark_trust(bundle.shapes, aside))
    before, after = (sum(folds(flow) for flow in flows.split(1)) for flows in (plain, trusted))
    assert before > 100
    assert after < before / 5
