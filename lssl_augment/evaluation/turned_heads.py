"""Do heads turn as far as they are asked to, and are they still the same people with the same expression?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lssl_augment.attributes import POSE_STEP_DEG
from lssl_augment.evaluation.dense_points import dense_points
from lssl_augment.evaluation.edits import Edits, Engine, resize, scale_dense
from lssl_augment.evaluation.judges import Judge
from lssl_augment.faces.pack import FacePack
from lssl_augment.faces.pose import yaw_deg
from lssl_augment.models.landmark_net import LandmarkNet

__all__ = ["real_yaws", "turn_table", "turned_heads"]

_BATCH = 16
#: A mean needs no more real faces of a pose.
_MOST_REAL = 300


def turned_heads(engine: Engine, pack: FacePack, edits: Edits, poses: int) -> Tensor:
    """The sources of ``edits`` in every pose, expressions kept: ``(poses, N, 3, S, S)`` uint8."""
    dense, made = pack.landmarks_dense, []
    for start in range(0, len(edits.rows), _BATCH):
        part = edits.rows[start : start + _BATCH]
        photos, labels = edits.sources[start : start + _BATCH], edits.labels[start : start + _BATCH]
        points = None
        if dense is not None:
            factor = engine.face_size_px / pack.face_size_px
            points = scale_dense(np.stack([dense[int(r)] for r in part]), factor)
        faces = engine.encode(resize(photos, engine.face_size_px).float() / 127.5 - 1, points, labels)
        n = len(part)
        kept, whole = torch.full((n,), -1), torch.ones(n)
        nobody = torch.zeros(n, dtype=torch.int64)  # no donor is asked
        out = [
            engine.edit(faces, kept, whole, nobody, pose=torch.full((n,), pose))  # type: ignore[call-arg]
            for pose in range(poses)
        ]
        made.append(((torch.stack(out).float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(made, dim=1)


def turn_table(
    poses_deg: Sequence[int],
    heads: Tensor,
    edits: Edits,
    judges: Sequence[Judge],
    landmarks: LandmarkNet,
    same: Sequence[float | None],
    sharp: Sequence[float],
    real: Sequence[tuple[int, float | None]],
) -> dict[str, dict[str, Any]]:
    """Pose → what became of the heads that were turned to it.

    Args:
        poses_deg: poses, ``P`` of them; without a negative one sides do not matter. heads: ``(P, N, 3, S, S)`` uint8,
            from :func:`turned_heads`. edits: whose sources they are.
        same: share of each pose's heads above the recogniser's threshold with their source; None: not measured.
        sharp: median sharpness of each pose's heads over that of their sources.
        real: from :func:`real_yaws`.

    Returns:
        Yaw as the landmark network reads it (mean and standard deviation, and mean distance from what was asked), the
        share that judges name as the source is labelled, and the two others; first, under ``"sources"``, the same of
        the sources themselves.
    """
    known = edits.labels >= 0
    own = _named([judge.says(edits.sources) == edits.labels for judge in judges], known)
    before = yaw_deg(dense_points(landmarks, edits.sources))
    table: dict[str, dict[str, Any]] = {
        "sources": {"heads": len(edits.rows), "yaw_deg": _rounded(before), "named_as_labelled": own}
    }
    for pose, images, alike, sharpness, (faces, read) in zip(poses_deg, heads, same, sharp, real, strict=True):
        yaw = yaw_deg(dense_points(landmarks, images))
        asked = np.full(len(yaw), float(pose))
        if min(poses_deg) >= 0:
            asked = np.where(before < 0, -asked, asked)
        table[str(pose)] = {
            "yaw_deg": _rounded(yaw if min(poses_deg) < 0 else np.abs(yaw)),
            "mean_distance_deg": round(float(np.abs(yaw - asked).mean()), 2),
            "real_faces": faces,
            "real_yaw_deg": read,
            "named_as_labelled": _named([judge.says(images) == edits.labels for judge in judges], known),
            "same_person": alike,
            "sharpness_ratio": sharpness,
        }
    return table


def real_yaws(
    poses_deg: Sequence[int], images: Tensor, yaw: np.ndarray, landmarks: LandmarkNet
) -> list[tuple[int, float | None]]:
    """How the landmark network reads real heads that are turned so: of each pose, how many there are and the mean yaw.

    Args:
        images: real faces, ``(M, 3, S, S)`` uint8. yaw: what their pack says, ``(M,)`` degrees, NaN: nothing. Faces
            within 7.5 degrees of a pose count; without negative poses sides do not matter.
    """
    sides = min(poses_deg) < 0
    told, out = yaw if sides else np.abs(yaw), []
    for pose in poses_deg:
        rows = np.flatnonzero(np.abs(told - pose) < POSE_STEP_DEG / 2)[:_MOST_REAL]
        read = yaw_deg(dense_points(landmarks, images[torch.from_numpy(rows)])) if len(rows) else np.zeros(0)
        mean = float((read if sides else np.abs(read)).mean()) if len(rows) else None
        out.append((len(rows), None if mean is None else round(mean, 2)))
    return out


def _named(hits: Sequence[Tensor], known: Tensor) -> float | None:
    if not bool(known.any()):
        return None
    return round(float(torch.stack([hit[known].float().mean() for hit in hits]).mean()), 4)


def _rounded(values: np.ndarray) -> dict[str, float]:
    return {"mean": round(float(values.mean()), 2), "sd": round(float(values.std()), 2)}
