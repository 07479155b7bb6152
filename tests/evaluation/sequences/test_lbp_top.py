"""LBP-TOP: tiny videos worked out by hand, and what turning a video does."""

from __future__ import annotations

import numpy as np
import pytest

from lssl_augment.errors import DataError
from lssl_augment.evaluation.sequences.lbp_top import LbpTopConfig, lbp_top, plane_codes

WHOLE = LbpTopConfig(points=4, rows=1, columns=1)


def groups(codes: np.ndarray, keys: np.ndarray) -> bool:
    """Whether two arrays divide the places alike."""
    pairs = set(zip(codes.ravel().tolist(), keys.ravel().tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def patterns(video: np.ndarray, plane: str) -> np.ndarray:
    """The four bits of each inner pixel on a plane as one number, non-uniform ones all alike."""
    steps = {"t": (1, 0, 0), "y": (0, 1, 0), "x": (0, 0, 1)}
    one, other = (np.array(steps[axis]) for axis in plane)
    t, h, w = video.shape
    out = np.zeros((t - 2, h - 2, w - 2), int)
    for place in np.ndindex(out.shape):
        centre = np.array(place) + 1
        bits = [int(video[tuple(centre + s)] >= video[tuple(centre)]) for s in (one, other, -one, -other)]
        changes = sum(bits[i] != bits[i - 1] for i in range(4))
        out[place] = 99 if changes > 2 else int("".join(map(str, bits)), 2)
    return out


def test_one_grey_is_the_pattern_of_all_ones() -> None:
    histograms = lbp_top(np.full((1, 5, 6, 6), 77, np.uint8), LbpTopConfig(rows=1, columns=1))
    assert histograms.shape == (1, 1, 3, 59)
    # 8 · 7 + 1: after the null pattern and the 56 with some ones.
    assert (histograms.argmax(axis=-1) == 57).all()
    assert (histograms.max(axis=-1) == 1).all()


def test_a_flash_is_the_null_pattern_on_every_plane() -> None:
    video = np.zeros((3, 3, 3), np.uint8)
    video[1, 1, 1] = 200
    assert [int(codes[0, 0, 0]) for codes in plane_codes(video, WHOLE)] == [0, 0, 0]


def test_a_bright_line_through_time_looks_different_on_each_plane() -> None:
    video = np.zeros((3, 3, 3), np.uint8)
    video[:, 1, 1] = 200  # a spot that does not move
    xy, xt, yt = (int(codes[0, 0, 0]) for codes in plane_codes(video, WHOLE))
    # In a frame it is a spot (no ones); along time two opposite neighbours are as bright: four changes.
    assert (xy, xt, yt) == (0, 14, 14)


def test_an_edge_that_brightens_everywhere_at_once_is_seen_along_time_only() -> None:
    video = np.repeat(np.arange(0, 250, 50, dtype=np.uint8), 25).reshape(5, 5, 5)
    xy, xt, yt = plane_codes(video, WHOLE)
    assert (xy == 13).all()  # all ones
    assert len(np.unique(xt)) == len(np.unique(yt)) == 1
    assert 9 <= xt[0, 0, 0] <= 12  # three ones


@pytest.mark.parametrize("seed", range(3))
def test_codes_are_those_of_a_plain_loop(seed: int) -> None:
    video = np.random.default_rng(seed).integers(0, 6, (6, 7, 8)).astype(np.uint8)
    for codes, plane in zip(plane_codes(video, WHOLE), ("xy", "xt", "yt"), strict=True):
        assert codes.shape == (4, 5, 6)
        assert groups(codes, patterns(video, plane))


def test_exchanging_the_axes_of_a_frame_exchanges_the_planes_along_time() -> None:
    video = np.random.default_rng(4).integers(0, 256, (1, 7, 9, 9)).astype(np.uint8)
    config = LbpTopConfig(rows=3, columns=3)
    before = lbp_top(video, config).reshape(3, 3, 3, -1)
    after = lbp_top(video.transpose(0, 1, 3, 2), config).reshape(3, 3, 3, -1)
    np.testing.assert_allclose(after[:, :, 1], before.transpose(1, 0, 2, 3)[:, :, 2], atol=1e-6)


def test_brightness_does_not_matter_and_blocks_sum_to_one() -> None:
    video = np.random.default_rng(5).integers(0, 200, (2, 6, 20, 18)).astype(np.uint8)
    found = lbp_top(video)
    assert found.shape == (2, 72, 3, 59)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(lbp_top(video + 55), found)


def test_blocks_without_overlap_add_up_to_the_whole_face() -> None:
    video = np.random.default_rng(6).integers(0, 256, (1, 5, 14, 10)).astype(np.uint8)
    parts = lbp_top(video, LbpTopConfig(points=4, rows=3, columns=2, overlap=0.0))  # 12 × 8 inner pixels
    np.testing.assert_allclose(parts.mean(axis=1), lbp_top(video, WHOLE)[:, 0], atol=1e-6)


def test_too_small_videos_and_bad_values_are_refused() -> None:
    with pytest.raises(DataError, match="need 3 frames"):
        lbp_top(np.zeros((1, 2, 20, 20), np.uint8))
    with pytest.raises(DataError, match=r"overlap must be from 0 to 0\.9"):
        LbpTopConfig(overlap=1.0)
