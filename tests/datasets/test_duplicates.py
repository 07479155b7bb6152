"""Near-duplicates: what happens to photographs on the web is seen through, and other photographs are left alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.datasets import duplicates
from lssl_augment.datasets.duplicates import DuplicatePair, duplicate_groups, find_duplicates
from lssl_augment.errors import DataError
from tests.datasets.toy_packs import smooth_faces

FACES = smooth_faces(40)


def jpeg(face: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def shifted(face: np.ndarray, x: float, y: float) -> np.ndarray:
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float64)
    return cv2.warpAffine(face, matrix, (128, 128), borderMode=cv2.BORDER_REFLECT_101)


def grey(face: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "jpeg": lambda face: jpeg(face, 40),
    "brighter": lambda face: cv2.convertScaleAbs(face, alpha=0.9, beta=15),
    "grey": grey,
    "shift": lambda face: shifted(face, 1.5, -2),
    "smaller": lambda face: cv2.resize(cv2.resize(face, (48, 48), interpolation=cv2.INTER_AREA), (128, 128)),
    "all": lambda face: cv2.convertScaleAbs(jpeg(shifted(face, 1, 1), 60), alpha=1, beta=10),
}


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_photographs_are_found(change: str, mirror: bool) -> None:
    changed = np.stack([CHANGES[change](np.ascontiguousarray(f[:, ::-1] if mirror else f)) for f in FACES])
    pairs = find_duplicates(np.concatenate([FACES, changed]))
    kind = "mirrored" if mirror else "near"
    assert [(p.i, p.j, p.kind) for p in pairs] == [(i, i + 40, kind) for i in range(40)]
    assert all(0 <= p.distance <= 0.1 for p in pairs)


def test_different_photographs_are_no_pairs() -> None:
    assert find_duplicates(FACES) == []
    assert find_duplicates(FACES[:1]) == find_duplicates(FACES[:0]) == []


def test_equal_pixels() -> None:
    faces = FACES[[0, 1, 0, 2, 0]]
    expected = [DuplicatePair(i, j, 0.0, "exact") for i, j in ((0, 2), (0, 4), (2, 4))]
    assert find_duplicates(faces) == expected
    assert find_duplicates(faces, max_distance=0) == expected
    # A changed copy is near all of the equal ones, and a pair's order is that of the rows.
    changed = np.concatenate([CHANGES["jpeg"](FACES[0])[None], faces])
    near = [pair[:2] for pair in find_duplicates(changed) if pair.kind == "near"]
    assert near == [(0, 1), (0, 3), (0, 5)]


def test_faces_without_contrast() -> None:
    flat = np.stack([np.full((128, 128, 3), value, np.uint8) for value in (0, 90, 90, 255)])
    assert find_duplicates(flat) == [DuplicatePair(1, 2, 0.0, "exact")]


def test_a_symmetric_face_is_near_not_mirrored() -> None:
    half = FACES[0][:, :64]
    face = np.concatenate([half, half[:, ::-1]], axis=1)
    (pair,) = find_duplicates(np.stack([face, jpeg(face, 50)]))
    assert pair.kind == "near"


@given(st.sets(st.integers(0, 79), min_size=2, max_size=20), st.integers(0, 3))
def test_a_pair_depends_on_its_two_faces_only(rows: set[int], seed: int) -> None:
    both = np.concatenate([FACES, np.stack([CHANGES["all"](face) for face in FACES])])
    order = np.random.default_rng(seed).permutation(sorted(rows))
    pairs = {frozenset((int(order[p.i]), int(order[p.j]))) for p in find_duplicates(both[order])}
    assert pairs == {frozenset((i, i + 40)) for i in range(40) if {i, i + 40} <= rows}


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = np.concatenate([FACES[:20], FACES[:3], np.stack([CHANGES["all"](face) for face in FACES[:20]])])
    whole = find_duplicates(faces)
    assert len(whole) == 20 + 3 + 3
    steps: list[tuple[int, int]] = []
    for name, size in (("_READ", 7), ("_BLOCK", 6), ("_PAIRS", 2)):
        monkeypatch.setattr(duplicates, name, size)
    assert find_duplicates(faces, progress=lambda *at: steps.append(at)) == whole
    done = [at for at, _ in steps]
    assert done == sorted(done)
    assert steps[-1] == (2 * len(faces), 2 * len(faces))


def test_grey_faces_and_files(tmp_path: object) -> None:
    grey_faces = np.stack([grey(face)[..., 0] for face in FACES[:3]])
    assert [p[:2] for p in find_duplicates(np.concatenate([grey_faces, grey_faces]))] == [(0, 3), (1, 4), (2, 5)]
    with h5py.File("any", "w", driver="core", backing_store=False) as file:
        file["images"] = FACES[[0, 1, 0]]
        assert find_duplicates(file["images"]) == [DuplicatePair(0, 2, 0.0, "exact")]


@pytest.mark.parametrize(
    ("images", "distance", "said"),
    [
        (FACES.astype(np.float32), 0.1, "uint8; got .* float32"),
        (FACES[..., :2], 0.1, "must be"),
        (FACES[:, :64], 0.1, "must be"),
        (FACES[:, :16, :16], 0.1, "at least 32 px"),
        (FACES, 0.2, r"between 0 and 0\.15; got 0\.2"),
        (FACES, -0.1, "between 0"),
    ],
)
def test_bad_arguments(images: np.ndarray, distance: float, said: str) -> None:
    with pytest.raises(DataError, match=said):
        find_duplicates(images, distance)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda p: p[0] < p[1]), max_size=15))
def test_groups_join_what_pairs_join(pairs: list[tuple[int, int]]) -> None:
    groups = duplicate_groups(DuplicatePair(i, j, 0.0, "exact") for i, j in pairs)
    rows = [row for group in groups for row in group]
    assert sorted(rows) == sorted(set(itertools.chain(*pairs)))
    home = {row: n for n, group in enumerate(groups) for row in group}
    assert all(home[i] == home[j] for i, j in pairs)
    # No more than that: a group of n rows is held together by n − 1 pairs at least.
    inside = [len({p for p in pairs if home[p[0]] == n}) for n in range(len(groups))]
    assert all(len(group) <= joins + 1 for group, joins in zip(groups, inside, strict=True))
    assert groups == sorted(groups)
