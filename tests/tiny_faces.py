"""Drawn faces with dense landmarks, and the statistics and networks fitted to them: tests need no data set.

The 478 points are put together from the 68 of the alignment template: rings around lips, eyes and outline go through
the points that both layouts have; what is left is spread over the face, mirrored like the real layout.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import nn

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.attributes import Vocabulary
from lssl_augment.faces.align import template68
from lssl_augment.faces.dense_flip import DENSE_FLIP, MIDLINE
from lssl_augment.faces.landmarks import DENSE_COUNT, FACE_OVAL, INNER_LIPS, OUTER_LIPS, SPARSE_FROM_DENSE
from lssl_augment.models.bundle import ModelBundle
from lssl_augment.models.compact_generator import CompactGenerator
from lssl_augment.training.batches import TrainingFaces
from lssl_augment.training.compact_objective import CompactObjective
from lssl_augment.training.config import TrainConfig, make_config

NAMES = ("neutral", "happiness", "surprise")
SIZE_PX = 64

_EYE = [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246]
#: Inner edges of the lips, partners one over the other.
_LIP_OVER = [13, 82, 312, 81, 311, 80, 310, 191, 415]
_LIP_UNDER = [14, 87, 317, 178, 402, 88, 318, 95, 324]
#: Midline from the forehead to the chin.
_DOWN = (
    [10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 164, 0, 11, 12]
    + [13, 14, 15, 16, 17, 18, 200, 199, 175, 152]
)  # fmt: skip
#: Lower edge of a brow beneath its upper one; cheeks and chin in the left half, px of a 128-pixel face.
_BELOW = {46: 70, 53: 63, 52: 105, 65: 66, 55: 107}
_CHEEK = {50: (38, 68), 205: (40, 78), 117: (37, 63), 187: (36, 84), 202: (47, 98), 116: (30, 60), 64: (56, 70)}


@cache
def mean_face() -> np.ndarray:
    """A frontal face with closed lips, ``(478, 3)`` float64 in pixels of a 128-pixel face; not to be changed."""
    xy = np.full((DENSE_COUNT, 2), np.nan)
    xy[SPARSE_FROM_DENSE] = template68()
    middle = float(xy[168, 0])
    arc = [127, 162, 21, 54, 103, 67, 109, 10, 338, 297, 332, 284, 251, 389, 356][1:-1]
    for point, angle in zip(arc, np.linspace(np.pi, 0, 15)[1:-1], strict=True):
        xy[point] = middle + 40 * np.cos(angle), 50 - 31 * np.sin(angle)
    xy[10] = middle, 19
    for point, above in _BELOW.items():
        xy[point] = xy[above] + (0.0, 2.5)
    for point, place in _CHEEK.items():
        xy[point] = place
    for ring in (OUTER_LIPS, INNER_LIPS, _EYE, FACE_OVAL):
        _fill(xy, ring, closed=True)
    _fill(xy, _DOWN, closed=False)
    rng = np.random.default_rng(0)
    for point in range(248):
        if np.isnan(xy[point, 0]):
            angle, reach = rng.uniform(0.5 * np.pi, 1.5 * np.pi), np.sqrt(rng.uniform(0.02, 0.85))
            xy[point] = middle + 38 * reach * np.cos(angle), 62 + 40 * reach * np.sin(angle)
            if abs(xy[point, 1] - 88) < 10:  # keep out of the mouth
                xy[point, 0] = min(xy[point, 0], middle - 20)
    xy[468:473] = xy[[33, 133]].mean(0) + 2.0 * np.array([[0, 0], [1, 0], [0, -1], [-1, 0], [0, 1]])
    # The left half decides.
    mirrored = xy[DENSE_FLIP] * (-1, 1) + (2 * middle, 0)
    left = (np.arange(DENSE_COUNT) < 248) | ((np.arange(DENSE_COUNT) >= 468) & (np.arange(DENSE_COUNT) < 473))
    xy = np.where(left[:, None], xy, mirrored)
    xy[MIDLINE, 0] = middle
    across, down = (xy[:, 0] - middle) / 46, (xy[:, 1] - 66) / 60
    z = 40 - 44 * np.sqrt(np.clip(1 - across**2 - 0.6 * down**2, 0.05, 1))
    z -= 14 * np.exp(-((xy[:, 0] - middle) ** 2 / 50 + (xy[:, 1] - 66) ** 2 / 120))  # the nose stands out
    face = np.concatenate([xy, z[:, None]], axis=1)
    seam = (face[_LIP_OVER, 1] + face[_LIP_UNDER, 1]) / 2
    face[_LIP_OVER, 1], face[_LIP_UNDER, 1] = seam - 0.1, seam + 0.1
    face.setflags(write=False)
    return face


def _fill(xy: np.ndarray, line: list[int], *, closed: bool) -> None:
    """Put the unknown points of a line between its known ones."""
    known = [i for i, point in enumerate(line) if not np.isnan(xy[point, 0])]
    knots = [*known, known[0] + len(line)] if closed else known
    values = xy[[line[i % len(line)] for i in knots]]
    for i, point in enumerate(line):
        if np.isnan(xy[point, 0]):
            at = i if i >= known[0] else i + len(line)
            xy[point] = [np.interp(at, knots, values[:, axis]) for axis in range(2)]


def expression_field(name: str) -> np.ndarray:
    """Displacement of the mean face's points that makes an expression, ``(478, 3)`` px of a 128-pixel face."""
    face = mean_face()
    x, y = face[:, 0] - face[168, 0], face[:, 1]
    field = np.zeros_like(face)
    mouth = np.exp(-((x / 22) ** 2 + ((y - 88) / 12) ** 2))
    if name == "happiness":
        field[:, 0] += 0.3 * x * mouth
        field[:, 1] -= 4 * mouth * (np.abs(x) / 14)
    elif name == "surprise":
        jaw = y > 88
        jaw[_LIP_OVER], jaw[_LIP_UNDER] = False, True
        field[:, 1] += 8 * jaw * np.exp(-((x / 12) ** 2))
        field[:, 1] -= 4 * np.exp(-(((y - 37) / 6) ** 2))
    return field


class DrawnFaces(NamedTuple):
    """Aligned faces of several people."""

    images: np.ndarray
    dense: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray


def turned(points: np.ndarray, yaw_deg: float, roll_deg: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Points ``(478, 3)`` turned about the head's middle."""
    yaw, roll = np.deg2rad([yaw_deg, roll_deg])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    centre = points.mean(0)
    return scale * (points - centre) @ (about_z @ about_y).T + centre


@cache
def drawn_faces(per_class: int = 56, size_px: int = SIZE_PX, seed: int = 0) -> DrawnFaces:
    """``per_class`` faces of each of :data:`NAMES`, every person once with each expression; not to be changed."""
    rng = np.random.default_rng(seed)
    base, labels, subjects, points = mean_face(), [], [], []
    waves = np.stack([np.sin(base @ rng.normal(0, 0.05, 3) + rng.uniform(0, 6)) for _ in range(18)]).reshape(6, 3, -1)
    for person in range(per_class):
        own = base + np.einsum("k,kcp->pc", rng.normal(0, 0.7, 6), waves)
        for label, name in enumerate(NAMES):
            strength = rng.uniform(0.7, 1.3)
            shape = own + strength * expression_field(name) + rng.normal(0, 0.05, base.shape)
            points.append(turned(shape, rng.uniform(-12, 12), rng.uniform(-4, 4), rng.uniform(0.95, 1.05)))
            labels.append(label)
            subjects.append(f"person {person}")
    dense = np.stack(points)
    dense[..., :2] = (dense[..., :2] + 0.5) * (size_px / 128) - 0.5
    dense[..., 2] *= size_px / 128
    images = np.stack([_draw(shape, size_px, rng) for shape in dense])
    return DrawnFaces(images, dense.astype(np.float32), np.array(labels, np.int64), np.array(subjects))


def _draw(dense: np.ndarray, size_px: int, rng: np.random.Generator) -> np.ndarray:
    """Blurred noise, a head of one colour, a mouth of dark and bright stripes."""
    noise = cv2.resize(rng.uniform(40, 200, (6, 6, 3)), (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    skin = rng.uniform(90, 200, 3)
    fixed = np.round(dense[:, :2] * 16).astype(np.int32)
    cv2.fillPoly(noise, [fixed[FACE_OVAL]], skin.tolist(), cv2.LINE_8, 4)
    inside = np.where(np.arange(size_px)[:, None, None] % 4 < 2, 230.0, 30.0) + rng.normal(0, 5, noise.shape)
    mask = np.zeros(noise.shape[:2], np.uint8)
    cv2.fillPoly(mask, [fixed[INNER_LIPS]], 1, cv2.LINE_8, 4)
    return np.where(mask[..., None] > 0, inside, noise + rng.normal(0, 4, noise.shape)).clip(0, 255).astype(np.uint8)


def training_faces(**changes: Any) -> TrainingFaces:
    """:func:`drawn_faces` as the trainer takes them."""
    faces = drawn_faces()
    values = {
        "images": faces.images,
        "labels": faces.labels,
        "points68": faces.dense[:, SPARSE_FROM_DENSE, :2],
        "dense": faces.dense,
        "subjects": faces.subjects,
        "vocabulary": Vocabulary(NAMES),
        "dataset": "drawn",
    }
    return TrainingFaces(**{**values, **changes})


#: Of the `compact` objective: every loss takes part, and the critic is never alone.
ALL_LOSSES = {"critic_first_steps": 0, "lambda_cls": 0.2, "lambda_bi": 5.0, "critic_views": True}


def compact_config(**values: Any) -> TrainConfig:
    """Narrow networks at 64 pixels, and every loss."""
    defaults: dict[str, Any] = {
        "pack": "drawn.h5",
        "face_size_px": SIZE_PX,
        "steps": 4,
        "batch": 3,
        "sheet_sources": 2,
        "tensorboard": False,
        "generator": {"width": 8, "blocks": 1},
        "critic": {"width": 8, "depth": 3},
        "objective": ALL_LOSSES,
    }
    return make_config("compact", {**defaults, **values})


@cache
def fitted() -> CompactObjective:
    """An objective whose statistics are fitted to the drawn faces; not to be stepped."""
    return CompactObjective(compact_config(), training_faces())


def loosen(module: nn.Module, seed: int = 0, amount: float = 0.05) -> nn.Module:
    """Shake all weights a little, so that what begins at zero takes part too."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.empty(parameter.shape).normal_(0, amount, generator=rng))
    return module


def compact_bundle() -> ModelBundle:
    """A compact generator with shaken weights and the fitted statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = loosen(CompactGenerator(len(NAMES), width=8, blocks=1)).eval().requires_grad_(False)
    objective = fitted()
    card = {"kind": "generator"}
    return ModelBundle(generator, objective.shapes, objective.textures, Vocabulary(NAMES), SIZE_PX, card)


def as_tensors(rows: np.ndarray | list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Some drawn faces: images ``(R, 3, S, S)`` in [-1, 1], dense landmarks and labels."""
    faces = drawn_faces()
    images = torch.from_numpy(faces.images[rows]).permute(0, 3, 1, 2).float() / 127.5 - 1
    return images, torch.from_numpy(faces.dense[rows]), torch.from_numpy(faces.labels[rows])


def posed_bundle(*poses_deg: int) -> ModelBundle:
    """:func:`compact_bundle` that turns heads to these poses."""
    bundle = compact_bundle()
    card = {**bundle.card, "attributes": AttributeSpec(bundle.vocabulary, poses_deg).to_card()}
    return replace(bundle, generator=copy.deepcopy(bundle.generator), card=card)
