"""An evaluation by apparent skin tone: of edits by the tone of their source, and of real faces by their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from lssl_augment.evaluation.dense_points import dense_points
from lssl_augment.evaluation.skin_tone import GROUPS, ita_deg, tone_group
from lssl_augment.faces.pack import FacePack
from lssl_augment.models.landmark_net import LandmarkNet

__all__ = ["tone_table", "tones"]


def tones(images: Tensor, pack: FacePack, rows: np.ndarray, landmarks: LandmarkNet) -> np.ndarray:
    """Group of each face, ``(N,)`` of ``str``.

    Args:
        images: ``(N, 3, S, S)`` uint8, the faces of these rows ``(N,)`` of the pack. landmarks: for packs without.
    """
    size = images.shape[-1]
    if pack.landmarks_dense is not None:
        dense = np.stack([pack.landmarks_dense[int(r)] for r in rows]) * (size / pack.face_size_px)
    else:
        dense = dense_points(landmarks, images)
    faces = images.permute(0, 2, 3, 1).numpy()
    return np.array([tone_group(angle) for angle in ita_deg(faces, dense)])


def tone_table(
    names: Sequence[str],
    sources: np.ndarray,
    origin: np.ndarray,
    targets: np.ndarray,
    correct: np.ndarray,
    passes: np.ndarray | None,
    sharpness_ratio: np.ndarray,
    real: np.ndarray,
    labels: np.ndarray,
    real_correct: np.ndarray,
) -> dict[str, Any]:
    """One row for each group that has sources.

    Args:
        names: the classes. sources: group of each source, ``(S,)``.
        origin, targets, correct, passes, sharpness_ratio: of the edits, ``(N,)`` each: row of their source, class asked
            for, share of judges that named it, whether the recogniser says that it is the same person (None: not
            measured), and sharpness over that of the source.
        real, labels, real_correct: group, class and share of judges that named it, of the real faces, ``(M,)`` each.
    """
    table: dict[str, Any] = {"measure": "ITA of the median skin pixel of the photograph, in uncontrolled light"}
    for group in (*GROUPS, "unknown"):
        mine, theirs = sources[origin] == group, real == group
        if not mine.any():
            continue
        by_class = {}
        for c, name in enumerate(names):
            edits, faces = mine & (targets == c), theirs & (labels == c)
            if edits.any():
                by_class[name] = {
                    "edits": _share(correct[edits]),
                    "edited": int(edits.sum()),
                    "real": _share(real_correct[faces]),
                    "real_faces": int(faces.sum()),
                }
        table[group] = {
            "sources": int((sources == group).sum()),
            "label_fidelity": round(float(np.mean([row["edits"] for row in by_class.values()])), 4),
            "identity_above_threshold": None if passes is None else _share(passes[mine]),
            "sharpness_ratio_median": round(float(np.median(sharpness_ratio[mine])), 4),
            "by_class": by_class,
        }
    return table


def _share(values: np.ndarray) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None
