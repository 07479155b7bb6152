"""Face, landmarks and signed attributes stay in register under everything that training does to them.

The faces tell by themselves what happened: red is x, green is y, blue is the row, so that what lies under a landmark
says where it came from. ``test_critic_augment.py``, ``test_landmarks.py`` and ``test_parser.py`` do the same for the
critic's views, the landmark network's crops and the parser's region maps, ``test_dtagn.py`` for videos.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_faces import NAMES, SIZE_PX, fitted, mean_face, turned
from torch import Tensor

from lssl_augment.attributes import Vocabulary
from lssl_augment.faces.dense_flip import DENSE_FLIP, flip_dense
from lssl_augment.faces.landmarks import FACE_OVAL, FLIP68, SPARSE_FROM_DENSE, flip_points68
from lssl_augment.faces.pose import yaw_deg
from lssl_augment.faces.side_image import side_image
from lssl_augment.models.warp import shape_flow, warp_image
from lssl_augment.training.attribute_table import AttributeTable
from lssl_augment.training.batches import FaceSampler, TrainingFaces
from lssl_augment.training.config import make_config
from lssl_augment.training.further import as_seen
from lssl_augment.training.landmark_crops import augment_crop
from lssl_augment.training.pairs import pseudo_source
from lssl_augment.training.paper_objective import PaperObjective
from lssl_augment.transforms import LSSLAugment

YAWS_DEG = (-30.0, -14.0, 0.0, 16.0, 31.0)
_GREY = 3  # grey levels of one pixel
_ROW = 40  # grey levels of one row


def coded_images(rows: int, size_px: int = SIZE_PX) -> np.ndarray:
    """``(rows, S, S, 3)`` uint8: x, y and row as colours."""
    ys, xs = np.mgrid[:size_px, :size_px]
    return np.stack([np.stack([_GREY * xs, _GREY * ys, np.full_like(xs, _ROW * r)], -1) for r in range(rows)]).astype(
        np.uint8
    )


def coded_faces() -> TrainingFaces:
    """Faces turned by :data:`YAWS_DEG`, a little off the middle, with a lopsided mouth, at 64 pixels."""
    dense = np.stack([turned(mean_face(), yaw) for yaw in YAWS_DEG])
    dense[:, [61, 40, 146, 78], 1] -= 3.0
    dense[..., :2] = (dense[..., :2] + 0.5) / 2 - 0.5 + (1.0, 0.0)
    dense = dense.astype(np.float32)
    n = len(dense)
    return TrainingFaces(
        images=coded_images(n),
        labels=np.arange(n) % len(NAMES),
        points68=dense[:, SPARSE_FROM_DENSE, :2],
        dense=dense,
        subjects=np.arange(n).astype(np.str_),
        vocabulary=Vocabulary(NAMES),
        dataset="coded",
        yaw_deg=yaw_deg(dense[:, SPARSE_FROM_DENSE, :2]).astype(np.float32),
        lights=np.array(["normal", "weak", "dark", "weak", "normal"]),
    )


def told(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What coded faces ``(B, 3, S, S)`` in [-1, 1] say of themselves: row ``(B,)`` and mirrored ``(B,)`` bool."""
    pixels = (images.float() + 1) * 127.5
    rows = (pixels[:, 2].mean((1, 2)) / _ROW).round().long().numpy()
    return rows, (pixels[:, 0, :, -1] < pixels[:, 0, :, 0]).all(1).numpy()


def places(images: Tensor, points: Tensor) -> np.ndarray:
    """Where what lies under landmarks ``(B, K, 2)`` px came from, ``(B, K, 2)`` px."""
    grid = ((points[..., None, :2].float() + 0.5) * (2 / images.shape[-1])) - 1
    seen = torch.nn.functional.grid_sample(images.float(), grid, align_corners=False)[:, :2, :, 0]
    return ((seen.transpose(1, 2) + 1) * 127.5 / _GREY).numpy()


def off_px(images: Tensor, points: Tensor, truth: np.ndarray, partner: np.ndarray) -> float:
    """How far, at worst, a face's pixels are from their landmarks' own ``truth`` ``(R, K, 2)``."""
    rows, mirrored = told(images)
    expected = np.where(mirrored[:, None, None], truth[rows][:, partner], truth[rows])
    inside = ((points[..., :2] > 1) & (points[..., :2] < images.shape[-1] - 2)).all(-1).numpy()
    assert inside.mean() > 0.9
    return float(np.abs(places(images, points) - expected[..., :2])[inside].max())


def test_a_sampler_flips_faces_with_their_landmarks() -> None:
    faces = coded_faces()
    sampler = FaceSampler(faces, 8, seed=1)
    seen = set()
    for _ in range(6):
        batch = sampler.next()
        rows, mirrored = told(batch.images)
        assert np.array_equal(rows, batch.rows.numpy())
        assert np.array_equal(mirrored, batch.flipped.numpy())
        assert off_px(batch.images, batch.points68, faces.points68, FLIP68) < 0.05
        # Either alone is far off, so this would be seen.
        assert off_px(batch.images.flip(-1), batch.points68, faces.points68, FLIP68) > 1.5
        alone = torch.from_numpy(flip_points68(batch.points68.numpy(), SIZE_PX))
        assert off_px(batch.images, alone, faces.points68, FLIP68) > 1.5
        unnamed = batch.points68 * torch.tensor([-1.0, 1.0]) + torch.tensor([SIZE_PX - 1.0, 0.0])
        assert off_px(batch.images.flip(-1), unnamed, faces.points68, FLIP68) > 1.5  # left and right keep their names
        seen |= set(mirrored.tolist())
    assert seen == {False, True}


def paper_objective(pack: Path) -> PaperObjective:
    faces = coded_faces()
    config = make_config(
        "paper",
        {
            "pack": str(pack),
            "face_size_px": SIZE_PX,
            "steps": 2,
            "batch": 8,
            "sheet_sources": 2,
            "tensorboard": False,
            "generator": {"width": 4, "blocks": 1},
            "critic": {"width": 4},
            "objective": {"critic_steps": 1, "parser": None},
            "attributes": ["expression", "signed-pose:15", "light"],
        },
    )
    return PaperObjective(config, faces)


def test_the_papers_batches_have_side_images_and_signs_to_match(tiny_pack: Path) -> None:
    objective, faces = paper_objective(tiny_pack), coded_faces()
    both = np.stack([faces.points68, flip_points68(faces.points68, SIZE_PX)])
    seen = set()
    for _ in range(4):
        for images, sides, own, *_ in objective._draw():
            rows, mirrored = told(images)
            points = both[mirrored.astype(int), rows]
            drawn = side_image(torch.from_numpy(points), SIZE_PX, SIZE_PX)
            torch.testing.assert_close(sides.contiguous(), drawn, atol=1e-5, rtol=0)
            assert bool(((sides.flip(-1) - drawn).abs().amax((1, 2, 3)) > 0.3).all())
            # The pose is the one that the landmarks show, sides included; light and expression know no side.
            wanted = objective.spec.codes(faces.labels[rows], yaw_deg(points), faces.lights[rows])
            assert np.array_equal(objective.spec.decode(own.numpy()), wanted)
            seen |= {(int(r), bool(m)) for r, m in zip(rows, mirrored, strict=True)}
    assert {row for row, m in seen if m} & {row for row, m in seen if not m} >= {0, 4}


def test_flipping_the_attributes_alone_changes_signed_poses_only() -> None:
    faces = replace(coded_faces(), yaw_deg=np.array(YAWS_DEG, np.float32))
    rows, no, yes = torch.arange(len(faces)), torch.zeros(5, dtype=torch.bool), torch.ones(5, dtype=torch.bool)
    signed = AttributeTable(faces, ("expression", "signed-pose:30", "light"))
    straight, mirrored = (signed.spec.decode(signed.own(rows, flip).numpy()) for flip in (no, yes))
    poses = np.array(signed.spec.poses_deg)
    assert np.array_equal(poses[straight[:, 1]], [-30, -15, 0, 15, 30])
    assert np.array_equal(poses[mirrored[:, 1]], -poses[straight[:, 1]])
    assert np.array_equal(mirrored[:, [0, 2]], straight[:, [0, 2]])
    plain = AttributeTable(faces, ("expression", "pose:30", "light"))
    assert torch.equal(plain.own(rows, no), plain.own(rows, yes))


def test_compact_batches_flip_faces_with_landmarks_and_side_images() -> None:
    faces = coded_faces()
    assert faces.dense is not None
    source = copy.copy(fitted().source)
    source.faces, source.dense = faces, faces.dense
    # Of other faces; what they hold for mirrored ones is tested beside the objective.
    source._back, source.expression = source._back[:10], source.expression[:10]
    for flipped in (np.zeros(5, bool), np.ones(5, bool), np.array([True, False, True, False, True])):
        drawn = source.load(np.array([4, 2, 0, 1, 3]), flipped)
        rows, mirrored = told(drawn.images)
        assert np.array_equal(mirrored, flipped)
        assert off_px(drawn.images, drawn.dense, faces.dense, DENSE_FLIP) < 0.05
        assert off_px(drawn.images.flip(-1), drawn.dense, faces.dense, DENSE_FLIP) > 1.5
        alone = torch.from_numpy(flip_dense(drawn.dense.numpy(), SIZE_PX))
        assert off_px(drawn.images, alone, faces.dense, DENSE_FLIP) > 1.5
        assert drawn.labels.tolist() == faces.labels[rows].tolist()
        torch.testing.assert_close(source.side(alone), source.side(drawn.dense).flip(-1), atol=1e-4, rtol=0)


def test_what_the_critic_sees_of_small_faces_lies_where_it_lay() -> None:
    images = torch.from_numpy(coded_images(2)).permute(0, 3, 1, 2).float() / 127.5 - 1
    for channel in (0, 1):  # x, then y
        ramp = images[:, channel : channel + 1].expand(-1, 3, -1, -1)
        seen = as_seen(ramp, torch.tensor([True, True]))
        inside = slice(4, -4)  # the outermost places of a coarser picture are spread outwards
        off = (seen - ramp)[..., inside, inside] * (127.5 / _GREY)
        assert float(off.abs().max()) < 0.7
        assert float(off.mean().abs()) < 0.05


@pytest.mark.parametrize("mirrored", [False, True])
def test_pseudo_sources_lie_on_the_landmarks_they_are_given(mirrored: bool) -> None:
    faces = coded_faces()
    assert faces.dense is not None
    images = torch.from_numpy(faces.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    dense, other = faces.dense, faces.dense.copy()
    other[:, :, 0] += 3 * np.sin(other[:, :, 1] / 9)  # another shape
    if mirrored:
        images, dense, other = images.flip(-1), flip_dense(dense, SIZE_PX), flip_dense(other, SIZE_PX)
    here, there = torch.from_numpy(dense), torch.from_numpy(other)
    borrowed = warp_image(images, shape_flow(here, there, SIZE_PX))
    made = pseudo_source(images, here, there, borrowed, torch.Generator().manual_seed(0))
    outline = [p for p in FACE_OVAL if p not in (152, 10)]
    truth = faces.dense[:, DENSE_FLIP][:, outline, :2] if mirrored else faces.dense[:, outline, :2]

    def typical_px(points: Tensor) -> float:
        # Blur and light of the zones disturb some of the colours: what is typical counts.
        return float(np.median(np.abs(places(made, points[:, outline])[..., 0] - truth[..., 0])))

    assert typical_px(there) < 1
    assert typical_px(here) > 1.5
    assert typical_px(torch.from_numpy(flip_dense(other, SIZE_PX))) > 1.5


def test_what_is_done_to_crops_moves_nothing() -> None:
    """Colour, blur and occlusion: the bright side of a crop stays where it was."""
    ramp = np.repeat(np.linspace(40, 210, 48)[None, :, None], 48, axis=0).repeat(3, axis=2).astype(np.uint8)
    both = np.stack([ramp, ramp.transpose(1, 0, 2)])
    for seed in range(60):
        for axis, crop in enumerate(both):
            out = augment_crop(crop, np.random.default_rng(seed)).astype(float).mean(2)
            across = out.mean(axis)  # along the ramp
            assert np.corrcoef(across, np.arange(48))[0, 1] > 0, (seed, axis)


class _Recorder(torch.nn.Module):
    """Keeps what it is asked to encode; edits nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.vocabulary, self.face_size_px = Vocabulary(NAMES), SIZE_PX
        self.images = self.dense = torch.zeros(0)

    def encode(self, images: Tensor, dense: Tensor | None = None, labels: Tensor | None = None) -> Any:
        assert dense is not None
        self.images, self.dense = images, dense
        return self

    def select(self, rows: Tensor) -> Any:
        return self.images[rows]

    def edit(self, faces: Any, targets: Tensor, intensity: Tensor, seeds: Tensor) -> Tensor:
        return faces if isinstance(faces, Tensor) else self.images


@pytest.mark.parametrize("size_px", [SIZE_PX, 48, 85])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_transform_hands_over_faces_and_landmarks_in_register(size_px: int, mirrored: bool) -> None:
    faces = coded_faces()
    assert faces.dense is not None
    images = torch.from_numpy(coded_images(5, size_px)).permute(0, 3, 1, 2).contiguous()
    dense = (faces.dense + np.float32(0.5)) * np.float32(size_px / SIZE_PX) - np.float32(0.5)
    if mirrored:
        images, dense = images.flip(-1), flip_dense(dense, size_px)
    recorder = _Recorder()
    augment = LSSLAugment(p=1, engine=recorder, seed=0)
    augment(images, torch.from_numpy(faces.labels), landmarks=torch.from_numpy(np.ascontiguousarray(dense)))
    assert len(recorder.images) == 5
    scale = size_px / SIZE_PX
    truth = (faces.dense + 0.5) * scale - 0.5  # the code counts pixels of the larger or smaller face
    assert off_px(recorder.images, recorder.dense, truth, DENSE_FLIP) < 1.0
    assert off_px(recorder.images.flip(-1), recorder.dense, truth, DENSE_FLIP) > 1.5
