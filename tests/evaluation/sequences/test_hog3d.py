"""HOG3D: ramps whose bins are known, mirrors, and light that must not matter."""

from __future__ import annotations

import numpy as np
import pytest

from lssl_augment.errors import DataError
from lssl_augment.evaluation.sequences.hog3d import Hog3dConfig, hog3d, integral_video
from lssl_augment.evaluation.sequences.hog3d_svm import Hog3dSvm
from lssl_augment.evaluation.sequences.polyhedra import polyhedron_axes
from tests.evaluation.sequences.toy import moving_spots

ONE = Hog3dConfig(blocks=(1, 1, 1), cells=(1, 1, 1), clip=1.0)
SMALL = Hog3dConfig(blocks=(1, 3, 3), cells=(2, 2, 2), parts=2)


def ramp(slope_t: int, slope_y: int, slope_x: int, size: int = 6) -> np.ndarray:
    t, y, x = np.mgrid[:size, :size, :size]
    return (128 + slope_t * (t - 3) + slope_y * (y - 3) + slope_x * (x - 3)).astype(np.uint8)[None]


@pytest.mark.parametrize("axis", range(20))
def test_an_edge_that_moves_along_an_axis_fills_its_bin_alone(axis: int) -> None:
    axes, _ = polyhedron_axes("icosahedron")
    direction = axes[axis] / np.abs(axes[axis]).max()
    # Whole numbers near the axis: 13 : 5 is φ : 1/φ to one in a hundred.
    x, y, t = np.rint(13 * direction).astype(int)
    shares = hog3d(ramp(t, y, x), ONE)[0]
    assert shares.argmax() == axis
    assert shares[axis] > 0.999


def test_a_still_vertical_edge_has_no_time_in_it() -> None:
    shares = hog3d(ramp(0, 0, 10), ONE)[0]
    np.testing.assert_allclose(shares[[8, 9]], 0.5**0.5, rtol=1e-6)
    assert np.count_nonzero(shares) == 2


def test_integral_video_gives_sums_of_boxes() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 5, 3))
    total = integral_video(values)
    box = total[3, 4, 4] - total[1, 4, 4] - total[3, 2, 4] - total[3, 4, 1]
    box += total[1, 2, 4] + total[1, 4, 1] + total[3, 2, 1] - total[1, 2, 1]
    np.testing.assert_allclose(box, values[1:3, 2:4, 1:4].sum(axis=(0, 1, 2)))


def cells_of(features: np.ndarray, config: Hog3dConfig) -> np.ndarray:
    return features.reshape(*config.blocks, *config.cells, config.bins)


@pytest.mark.parametrize("mirror", ["x", "y", "t"])
@pytest.mark.parametrize("size", [(8, 32, 32), (10, 30, 26)])
def test_a_mirrored_video_has_mirrored_blocks_cells_and_bins(mirror: str, size: tuple[int, int, int]) -> None:
    video = np.random.default_rng(1).integers(0, 256, (1, *size)).astype(np.uint8)
    place = {"t": 0, "y": 1, "x": 2}[mirror]
    axes, _ = polyhedron_axes("icosahedron")
    sign = np.where(np.arange(3) == {"x": 0, "y": 1, "t": 2}[mirror], -1, 1)
    bins = [int((axes @ (axis * sign)).argmax()) for axis in axes]
    expected = np.flip(cells_of(hog3d(video, SMALL)[0], SMALL), (place, place + 3))[..., bins]
    np.testing.assert_allclose(cells_of(hog3d(np.flip(video, place + 1), SMALL)[0], SMALL), expected, atol=1e-6)


def test_brightness_and_contrast_do_not_matter() -> None:
    video = np.random.default_rng(2).integers(20, 80, (1, 8, 32, 32)).astype(np.uint8)
    np.testing.assert_allclose(hog3d(video, SMALL), hog3d(3 * video + 10, SMALL), atol=1e-5)


def test_a_video_of_one_grey_is_zero_and_rows_do_not_touch_each_other() -> None:
    videos = np.random.default_rng(3).integers(0, 256, (3, 8, 32, 32)).astype(np.uint8)
    videos[1] = 90
    features = hog3d(videos, SMALL)
    assert features.shape == (3, SMALL.length)
    assert not features[1].any()
    np.testing.assert_array_equal(hog3d(videos[2:], SMALL)[0], features[2])
    np.testing.assert_allclose(np.linalg.norm(features[0].reshape(9, -1), axis=1), 1, rtol=1e-5)


def test_default_layout_fits_default_videos() -> None:
    assert hog3d(np.zeros((1, 16, 64, 64), np.uint8)).shape == (1, 3 * 7 * 7 * 8 * 20)


def test_too_few_frames_and_bad_values_are_refused() -> None:
    with pytest.raises(DataError, match="4 along t are too few for 3 blocks"):
        hog3d(np.zeros((1, 4, 64, 64), np.uint8))
    with pytest.raises(DataError, match="blocks must be three whole numbers"):
        Hog3dConfig(blocks=(1, 0, 1))
    with pytest.raises(DataError, match="clip must be from"):
        Hog3dConfig(clip=0.0)
    with pytest.raises(DataError, match="uint8"):
        hog3d(np.zeros((1, 8, 32, 32)))


def test_machines_agree_with_scikit_learn_on_the_descriptors() -> None:
    from sklearn.svm import SVC

    videos, points, labels = moving_spots(6)
    model = Hog3dSvm(3, config=SMALL)
    model.fit(videos, points, labels)
    found = model.predict_proba(videos, points)
    features = hog3d(videos, SMALL).astype(np.float64) / 3
    scores = [SVC(kernel="linear", C=10.0).fit(features, labels == c).decision_function(features) for c in range(3)]
    np.testing.assert_allclose(np.log(found[:, 1] / found[:, 0]), scores[1] - scores[0], atol=1e-2)
