"""Protocols: numbers of the papers, parts that are apart, official splits, and what is said when they do not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.datasets.protocols import (
    KINDS,
    PROTOCOLS,
    Division,
    Fold,
    Protocol,
    divide,
    find_protocol,
    protocol_of,
)
from lssl_augment.datasets.registry import DATASET_NAMES
from lssl_augment.errors import DataError, LeakageError

PEOPLE = [f"P{i:02d}" for i in range(20) for _ in range(3)]
WORDS = ["neutral", "happiness", "anger"] * 20


def people(division: Division, parts: tuple[str, ...]) -> set[str]:
    return {subject for subject, part in division.part_of.items() if part in parts}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_complete(name: str) -> None:
    protocol = PROTOCOLS[name]
    assert protocol.name == name
    assert protocol.kind in KINDS
    assert protocol.source
    assert find_protocol(name) is protocol


def test_every_data_set_has_its_protocol_but_those_of_the_user() -> None:
    assert set(DATASET_NAMES) - set(PROTOCOLS) == {"folder", "csv"}
    assert {name: PROTOCOLS[name].folds for name in ("oulu", "ckplus", "bu3dfe", "lfw-expressions")} == {
        "oulu": 10,
        "ckplus": 10,
        "bu3dfe": 5,
        "lfw-expressions": 5,
    }
    assert PROTOCOLS["mug"].test_fraction == PROTOCOLS["rafd"].test_fraction == 0.1
    assert protocol_of("oulu (simulated)") is PROTOCOLS["oulu"]
    with pytest.raises(DataError, match=r"folder has no usual protocol; choose one with --protocol"):
        protocol_of("folder")


def test_protocols_by_number() -> None:
    assert (find_protocol("kfold:7").kind, find_protocol("kfold:7").folds) == ("kfold", 7)
    assert find_protocol("holdout:0.25").test_fraction == 0.25
    assert find_protocol("official").fold == Fold(("train",), ("test",), ("val",))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("oulo", "unknown protocol 'oulo'; known: oulu, "),
        ("kfold", "invalid literal"),
        ("kfold:1", "at least 2 folds"),
        ("holdout:1.5", "between 0 and 1; got 1.5"),
        ("holdout:half", "could not convert"),
    ],
)
def test_unknown_protocols(name: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        find_protocol(name)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "loso"}, "must be one of kfold, holdout, official; got 'loso'"),
        ({"kind": "kfold"}, "at least 2 folds"),
        ({"kind": "official"}, "names its fold"),
        ({"kind": "holdout", "test_fraction": 0.0}, "between 0 and 1; got 0"),
        ({"kind": "kfold", "folds": 3, "test_fraction": 0.1}, "belongs to holdout only"),
    ],
)
def test_protocols_that_make_no_sense(values: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Protocol("x", source="nobody", **values)  # type: ignore[arg-type]


def test_a_part_has_one_use() -> None:
    with pytest.raises(LeakageError, match="part a of a fold is used for two things"):
        Fold(("a", "b"), ("a",))
    with pytest.raises(LeakageError, match="part c"):
        Fold(("a",), ("c",), ("c",))
    with pytest.raises(DataError, match="one to test on"):
        Fold(("a",), ())


@given(st.sampled_from(["kfold:2", "kfold:5", "holdout:0.1", "holdout:0.5", "oulu", "mug"]), st.integers(0, 9))
def test_nobody_is_on_both_sides_and_all_are_tested_once(name: str, seed: int) -> None:
    protocol = find_protocol(name)
    division = divide(protocol, PEOPLE, WORDS, ["train"] * len(PEOPLE), seed)
    assert set(division.part_of) == set(PEOPLE)
    assert len(division.folds) == protocol.folds
    tested: list[str] = []
    for fold in division.folds:
        train, test = people(division, fold.train), people(division, fold.test)
        assert not train & test
        assert train | test == set(PEOPLE)
        tested += sorted(test)
    assert len(tested) == len(set(tested))
    if protocol.test_fraction is None:
        assert sorted(tested) == sorted(set(PEOPLE))
    else:
        assert len(tested) == round(20 * protocol.test_fraction)
    assert division.notes == ()


def test_classes_with_too_few_subjects_are_told() -> None:
    words = ["fear" if i in (0, 3) else word for i, word in enumerate(WORDS)]
    division = divide(find_protocol("kfold:4"), PEOPLE, words, [""] * 60)
    assert len(division.notes) == 1
    assert division.notes[0].startswith("fear has 2 subjects for 4 parts: none in fold")
    # Unlabelled faces are no class.
    blank = ["" if word == "fear" else word for word in words]
    assert divide(find_protocol("kfold:4"), PEOPLE, blank, [""] * 60).notes == ()


def test_official_splits() -> None:
    files = ["a", "b", "c", "d"]
    splits = ["train", "private_test", "public_test", "train"]
    division = divide(PROTOCOLS["fer2013"], files, ["fear"] * 4, splits, seed=5)
    assert dict(division.part_of) == dict(zip(files, splits, strict=True))
    assert division.folds == (Fold(("train",), ("private_test",), ("public_test",)),)
    assert "every face is its own subject" in division.notes[0]
    # Validation may be missing, what is tested on may not; the message names a protocol that fits.
    rest = divide(PROTOCOLS["fer2013"], files[:2], ["fear"] * 2, splits[:2])
    assert rest.folds == (Fold(("train",), ("private_test",)),)
    with pytest.raises(DataError, match=r"no face of split private_test .*What fits: fer2013-public, a split by"):
        divide(PROTOCOLS["fer2013"], files[2:], ["fear"] * 2, splits[2:])
    with pytest.raises(DataError, match=r"faces of split private_test, which the protocol does not know"):
        divide(PROTOCOLS["fer2013-public"], files, ["fear"] * 4, splits)


def test_official_splits_that_share_somebody_are_refused() -> None:
    with pytest.raises(LeakageError, match="such as 'a'"):
        divide(PROTOCOLS["rafdb"], ["a", "b", "a"], ["fear"] * 3, ["train", "test", "test"])


def test_faces_that_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="no face to divide"):
        divide(PROTOCOLS["oulu"], [], [], [])
    with pytest.raises(DataError, match="1 faces have no subject"):
        divide(PROTOCOLS["oulu"], ["a", ""], ["fear"] * 2, ["train"] * 2)
    with pytest.raises(DataError, match="no subject can be held out of 1"):
        divide(PROTOCOLS["mug"], ["a", "a"], ["fear"] * 2, ["train"] * 2)
    with pytest.raises(DataError, match="10 folds need at least as many subjects; got 2"):
        divide(PROTOCOLS["oulu"], ["a", "b"], ["fear"] * 2, ["train"] * 2)
