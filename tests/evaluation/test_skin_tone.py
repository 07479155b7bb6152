"""ITA of colours whose L*a*b* is known, and the groups' limits."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_faces import mean_face

from lssl_augment.evaluation.skin_tone import ita_deg, tone_group


def test_angle_of_one_colour() -> None:
    # sRGB (200, 150, 120) is L* 66.1, a* 14.9, b* 23.4 (D65): arctan(16.1 / 23.4) = 34.6 degrees.
    face = np.full((1, 128, 128, 3), (200, 150, 120), np.uint8)
    assert ita_deg(face, mean_face()[None])[0] == pytest.approx(34.6, abs=1.0)


def test_darker_skin_has_a_smaller_angle_and_background_counts_for_nothing() -> None:
    faces = np.stack([np.full((128, 128, 3), c, np.uint8) for c in ((220, 180, 150), (120, 80, 60), (60, 40, 30))])
    dense = np.stack([mean_face()] * 3)
    light, brown, dark = ita_deg(faces, dense)
    assert light > brown > dark
    faces[:, :8] = 255
    np.testing.assert_allclose(ita_deg(faces, dense), [light, brown, dark])


def test_skin_is_found_in_faces_of_any_size() -> None:
    """Landmarks count in pixels of the face they come with; once they were taken for those of a face of 128."""
    face = np.zeros((1, 64, 64, 3), np.uint8)
    face[:, 24:] = (200, 150, 120)  # all skin below the brows; above them, and where no face is, black
    face[:, :12] = face[:, :, :8] = face[:, :, -8:] = 0
    assert ita_deg(face, mean_face()[None] / 2)[0] == pytest.approx(34.6, abs=1.0)


@pytest.mark.parametrize(
    ("angle", "group"),
    [(60, "very light"), (55, "light"), (41, "intermediate"), (28, "tan"), (10, "brown"), (-30, "dark"), (-80, "dark")],
)
def test_groups(angle: float, group: str) -> None:
    assert tone_group(angle) == group


def test_a_grey_photograph_has_no_tone() -> None:
    assert np.isnan(ita_deg(np.full((1, 128, 128, 3), 200, np.uint8), mean_face()[None])[0])


def test_no_skin_is_unknown() -> None:
    outside = mean_face()[None] + 1000
    assert tone_group(ita_deg(np.zeros((1, 128, 128, 3), np.uint8), outside)[0]) == "unknown"
