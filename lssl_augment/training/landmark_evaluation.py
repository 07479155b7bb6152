"""How far the points of the landmark network are off."""

from __future__ import annotations

from typing import Any

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.faces.align import FACE_SIZE_PX
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE, eye_distance_px
from lssl_augment.faces.pose import yaw_deg
from lssl_augment.models.landmark_net import LandmarkNet, predict_landmarks
from lssl_augment.training.landmark_crops import (
    Photos,
    aligned_matrix,
    crops_to_tensor,
    cut,
    loose_matrix,
)

__all__ = ["YAW_BINS_DEG", "evaluate_landmarks"]

YAW_BINS_DEG = ((0, 15), (15, 30), (30, 90))


def evaluate_landmarks(net: LandmarkNet, photos: Photos, rows: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Errors on aligned 128-pixel faces (one look) and on loose 128-pixel crops (two looks) of these rows.

    Returns:
        For ``aligned`` and ``loose``: mean, median and 90th percentile over faces of the mean distance of the
        68 points (and the mean over the 478), as a fraction of the distance between the eyes in the image;
        means by bins of |yaw|; ``n``.

    Raises:
        DataError: no rows.
    """
    if not len(rows):
        raise DataError("no photo of a test subject: nothing to evaluate on")
    rng = np.random.default_rng((seed, 1))
    found: dict[str, Any] = {"unit": "fraction of the distance between the eyes", "seed": seed}
    turned = np.abs(yaw_deg(photos.dense[rows]))
    for name in ("aligned", "loose"):
        errors: list[np.ndarray] = []
        for some in np.array_split(rows, max(1, len(rows) // 128)):
            cuts = []
            for row in some:
                dense = photos.dense[row]
                matrix = (
                    aligned_matrix(dense, FACE_SIZE_PX, None)
                    if name == "aligned"
                    else loose_matrix(dense, FACE_SIZE_PX, rng)
                )
                cuts.append(cut(photos, int(row), matrix, FACE_SIZE_PX))
            images = crops_to_tensor(np.stack([crop for crop, _ in cuts]))
            predicted = net.aligned(images) if name == "aligned" else predict_landmarks(net, images)
            errors.append(_errors(predicted.numpy(), np.stack([points for _, points in cuts])))
        found[name] = _summary(np.concatenate(errors), turned)
    return found


def _errors(predicted: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 2): mean distance over the 68 and over the 478 points as fractions of the distance of the eyes."""
    distance = np.linalg.norm(predicted[..., :2] - points[..., :2], axis=-1)
    eyes = eye_distance_px(points[:, SPARSE_FROM_DENSE])
    return np.stack([distance[:, SPARSE_FROM_DENSE].mean(1) / eyes, distance.mean(1) / eyes], axis=1)


def _summary(errors: np.ndarray, turned_deg: np.ndarray) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "n": len(errors),
        "mean_68": round(float(errors[:, 0].mean()), 5),
        "median_68": round(float(np.median(errors[:, 0])), 5),
        "p90_68": round(float(np.percentile(errors[:, 0], 90)), 5),
        "mean_478": round(float(errors[:, 1].mean()), 5),
    }
    for low, high in YAW_BINS_DEG:
        inside = (turned_deg >= low) & (turned_deg < high)
        if inside.any():
            mean = round(float(errors[inside, 0].mean()), 5)
            summary[f"mean_68_yaw_{low}_{high}_deg"] = {"n": int(inside.sum()), "mean": mean}
    return summary
