"""Sources: who is read, what is told about them, what is refused."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.synthesis.sources import BuiltinSource, PackSource, check_generator


def pack(toy: ModuleType, **columns: list[object]) -> object:
    full = {
        "labels": [0, 1, 2, -1, 0],
        "subjects": ["a", "b", "b", "c", "d"],
        "split": ["train", "train", "train", "train", "test"],
    }
    return toy.ToyPack(**{k: np.array(v) for k, v in (full | columns).items()})


def test_built_in_people_are_keyed_on_seed_and_number(toy: ModuleType) -> None:
    def people(n: int, seed: int) -> BuiltinSource:
        return BuiltinSource(toy.ToyPeople(), "x", n, seed, toy.CLASSES)

    images, dense = people(5, 0).load(np.array([4, 1]))
    again, _ = people(50, 0).load(np.array([1, 4]))
    assert np.array_equal(images, again[::-1])
    assert dense is not None
    assert dense.shape == (2, 478, 3)
    other, _ = people(5, 1).load(np.array([4, 1]))
    assert not np.array_equal(images, other)
    assert set(people(3, 7).table.labels.tolist()) == {0}
    assert people(2, 7).table.subjects.tolist() == ["built-in-7-000000", "built-in-7-000001"]
    without = BuiltinSource(toy.ToyPeople(), "x", 2, 0, Vocabulary(("anger", "fear")))
    assert set(without.table.labels.tolist()) == {-1}
    with pytest.raises(DataError, match="at least 1"):
        people(0, 0)


def test_only_the_training_split_is_read(toy: ModuleType) -> None:
    source = PackSource(pack(toy), toy.CLASSES)
    assert source.table.ids.tolist() == [0, 1, 2, 3]
    assert set(source.table.folds.tolist()) == {"train"}
    assert source.held_out_subjects == {"d"}
    with pytest.raises(LeakageError, match=r"'train' only; 'test' was asked for.*--allow-test-subjects"):
        PackSource(pack(toy), toy.CLASSES, split="test")
    test = PackSource(pack(toy), toy.CLASSES, split="test", allow_test_subjects=True)
    assert test.table.ids.tolist() == [4]
    with pytest.raises(DataError, match="no face of split 'dev'; it has: test, train"):
        PackSource(pack(toy), toy.CLASSES, split="dev", allow_test_subjects=True)


def test_a_pack_not_split_by_subject_is_refused(toy: ModuleType) -> None:
    mixed = pack(toy, subjects=["a", "b", "b", "c", "a"])
    with pytest.raises(LeakageError, match=r"1 subjects of split 'train' are in other splits too, such as 'a'"):
        PackSource(mixed, toy.CLASSES)
    PackSource(mixed, toy.CLASSES, allow_test_subjects=True)
    # Unknown people are no reason to refuse.
    PackSource(pack(toy, subjects=["", "", "", "", ""]), toy.CLASSES)


def test_labels_are_translated_by_name(toy: ModuleType) -> None:
    generator = Vocabulary(("anger", "neutral"))
    assert PackSource(pack(toy), generator).table.labels.tolist() == [1, -1, 0, -1]


def test_rows_come_in_the_order_asked_for(toy: ModuleType) -> None:
    faces = pack(toy)
    images, dense = PackSource(faces, toy.CLASSES).load(np.array([3, 0, 2]))
    assert dense is None
    assert np.array_equal(images, faces.images[[3, 0, 2]])  # type: ignore[attr-defined]


def test_fingerprint_tells_packs_apart(toy: ModuleType) -> None:
    first = PackSource(pack(toy), toy.CLASSES).describe()
    assert first == PackSource(pack(toy), toy.CLASSES).describe()
    other = PackSource(pack(toy, labels=[0, 1, 1, -1, 0]), toy.CLASSES).describe()
    assert first["fingerprint"] != other["fingerprint"]


def test_a_generator_that_knows_the_test_subjects_is_refused(toy: ModuleType) -> None:
    source = PackSource(pack(toy), toy.CLASSES)
    check_generator(toy.card(subjects=["a", "b"]), source, allow_test_subjects=False)
    check_generator(toy.card(subjects=4200), source, allow_test_subjects=False)
    check_generator({"sha256": ""}, source, allow_test_subjects=False)
    with pytest.raises(LeakageError, match="trained on 1 subjects that this pack holds out, such as 'd'"):
        check_generator(toy.card(subjects=["a", "d"]), source, allow_test_subjects=False)
    check_generator(toy.card(subjects=["a", "d"]), source, allow_test_subjects=True)
