"""Sequences out of packs: which, in what order, resampled how, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lssl_augment.errors import DataError
from lssl_augment.evaluation.sequences.table import OTHER_CLASS, load_sequences, resample
from tests.datasets.toy_packs import toy_pack
from tests.evaluation.sequences.toy import sequence_pack


def test_sequences_come_with_labels_and_subjects(tmp_path: Path) -> None:
    pack = sequence_pack(tmp_path / "p.h5", subjects=2)
    table = load_sequences(pack, np.arange(len(pack)), frames=4, size_px=32, classes=["surprise", "anger", "happiness"])
    assert table.videos.shape == (6, 4, 32, 32)
    assert table.names.tolist() == sorted(set(pack.sequences.tolist()) - {""})
    assert table.subjects.tolist() == ["P0"] * 3 + ["P1"] * 3
    assert [table.classes[label] for label in table.labels] == ["anger", "happiness", "surprise"] * 2
    # Four frames at even times asked for as four: nothing is blended.
    rows = np.flatnonzero(pack.sequences == "P0/happiness")
    np.testing.assert_array_equal(table.videos[1], np.stack([pack.images[int(row)][..., 0] for row in rows]))
    np.testing.assert_allclose(table.landmarks[1], pack.landmarks[rows], atol=1e-4)


def test_order_of_rows_does_not_matter_and_size_scales_landmarks(tmp_path: Path) -> None:
    pack = sequence_pack(tmp_path / "p.h5", subjects=2)
    rows = np.random.default_rng(0).permutation(len(pack))
    one, other = (load_sequences(pack, r, frames=7, size_px=16) for r in (np.arange(len(pack)), rows))
    np.testing.assert_array_equal(one.videos, other.videos)
    large = load_sequences(pack, rows, frames=7, size_px=32)
    np.testing.assert_allclose((one.landmarks + 0.5) * 2, large.landmarks + 0.5, atol=1e-3)


def test_resampling_is_linear_in_time() -> None:
    values = np.array([[0.0], [10.0], [30.0]])
    found = resample(values, np.array([0, 1, 4]), 5)
    np.testing.assert_allclose(found[:, 0], [0, 10, 10 + 20 / 3, 10 + 40 / 3, 30])


def test_default_classes_are_the_vocabulary_without_neutral(tmp_path: Path) -> None:
    pack = sequence_pack(tmp_path / "p.h5", subjects=1)
    table = load_sequences(pack, np.arange(len(pack)), frames=3, size_px=16)
    assert table.classes == ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    two = load_sequences(pack, np.arange(len(pack)), frames=3, size_px=16, classes=("anger", "surprise"))
    assert (len(two), two.left_out) == (2, {OTHER_CLASS: 1})


def test_packs_without_sequences_and_rows_without_are_refused(tmp_path: Path) -> None:
    stills = toy_pack(tmp_path / "s.h5", ["a", "b"], ["anger", "anger"])
    with pytest.raises(DataError, match=r"s\.h5 \(toy\) has no sequences.*oulu, mug and ckplus.*--frames all"):
        load_sequences(stills, [0, 1])
    pack = sequence_pack(tmp_path / "p.h5", subjects=1)
    with pytest.raises(DataError, match="none of the 0 sequences"):
        load_sequences(pack, [len(pack) - 1])
    with pytest.raises(DataError, match=r"none of the 1 sequences.*fewer than two frames"):
        load_sequences(pack, [1])
    with pytest.raises(DataError, match="rows must be in"):
        load_sequences(pack, [len(pack)])
    with pytest.raises(DataError, match="frames must be at least 2"):
        load_sequences(pack, [0], frames=1)


@pytest.mark.parametrize(("column", "value", "said"), [
    ("subjects", "P9", "several subjects: P0, P9"),
    ("frames", 0, "has a frame twice"),
    ("labels", 3, "several expressions: anger, happiness"),
])  # fmt: skip
def test_sequences_that_contradict_themselves_are_refused(
    tmp_path: Path, column: str, value: object, said: str
) -> None:
    pack = sequence_pack(tmp_path / "p.h5", subjects=1)
    values = getattr(pack, column).copy()
    values[1] = value  # second frame of P0/anger
    setattr(pack, column, values)
    with pytest.raises(DataError, match=said):
        load_sequences(pack, np.arange(4), frames=3, size_px=16)
