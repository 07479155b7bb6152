"""Landmark measures on drawn moves of the template face."""

from __future__ import annotations

import numpy as np
import pytest

from lssl_augment.evaluation.displacement import DIRECTIONS, MEASURES, direction_table, measure
from lssl_augment.faces.align import template68

NAMES = ("neutral", "happiness", "surprise")


def turned(points: np.ndarray, angle: float, scale: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return scale * points @ np.array([[c, s], [-s, c]]) + 5.0


def smiling(points: np.ndarray) -> np.ndarray:
    out = points.copy()
    out[[48, 54], 1] -= 4
    out[48, 0] -= 3
    out[54, 0] += 3
    return out


def test_head_roll_and_size_change_no_measure() -> None:
    face = template68()
    plain, moved = measure(face[None]), measure(turned(face, 0.3, 1.7)[None])
    for name in MEASURES:
        assert moved[name] == pytest.approx(plain[name], abs=1e-6)


def test_a_smile_moves_as_happiness_does() -> None:
    face = template68()
    before, after = measure(face[None]), measure(smiling(face)[None])
    for name, sign in DIRECTIONS["happiness"].items():
        assert sign * (after[name] - before[name]) > 0
    raised = face.copy()
    raised[17:27, 1] -= 3
    assert measure(raised[None])["brow height"] > before["brow height"]
    assert measure(raised[None])["inner over outer brows"] == pytest.approx(before["inner over outer brows"])


def test_every_direction_names_a_measure() -> None:
    assert all(name in MEASURES for measures in DIRECTIONS.values() for name in measures)


def test_table_counts_the_right_way() -> None:
    face = template68()
    sources = measure(np.stack([face, face]))
    frown = face.copy()
    frown[[48, 54], 1] += 4
    results = measure(np.stack([smiling(face), frown]))
    real = measure(np.stack([face, smiling(face)]))
    ones = np.array([1, 1])
    table = direction_table(
        NAMES, sources, np.array([0, 0]), results, ones, np.array([0, 1]), real, np.array([0, 1])
    )
    row = table["happiness"]["mouth corners over mid-lips"]
    assert row["right_way"] == 0.5
    assert row["mean_move"] == pytest.approx(0, abs=1e-9)
    assert row["real_move"] > 0
    assert set(table) == {"happiness"}
