"""All sequence classifiers: one battery, folds by subject, and a simulated stand-in end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lssl_augment.datasets.info import StandInFile
from lssl_augment.datasets.oulu import DATASET as OULU
from lssl_augment.datasets.prepare import PrepareConfig, prepare
from lssl_augment.datasets.protocols import Fold
from lssl_augment.datasets.records import ReadOptions
from lssl_augment.datasets.simulated import write_stand_in
from lssl_augment.datasets.split_file import SplitFile, pack_fingerprint
from lssl_augment.errors import DataError
from lssl_augment.evaluation.sequences import (
    SEQUENCE_CLASSIFIERS,
    build_sequence_classifier,
    evaluate_sequences,
    sequence_scores,
)
from lssl_augment.evaluation.sequences.adalbp import AdaLbpConfig
from lssl_augment.evaluation.sequences.dtagn import DtagnConfig
from lssl_augment.evaluation.sequences.hog3d import Hog3dConfig
from lssl_augment.evaluation.sequences.lbp_top import LbpTopConfig
from lssl_augment.faces.pack import FacePack
from tests.datasets.toy_packs import toy_pack
from tests.evaluation.sequences.toy import moving_spots, sequence_pack

WORDS = ("anger", "happiness", "surprise")
SMALL: dict[str, dict[str, Any]] = {
    "hog3d": {"config": Hog3dConfig(blocks=(1, 3, 3), parts=1)},
    "adalbp": {"config": AdaLbpConfig(rounds=8, pairs=200), "layout": LbpTopConfig(rows=3, columns=3)},
    "dtagn": {
        "config": DtagnConfig(
            width=8, hidden=32, first_units=32, second_units=32, steps=60, joint_steps=20, batch=12, dropout=0.2,
            learning_rate=3e-3, turn_deg=5.0, flip=False,
        )
    },
}  # fmt: skip


def halves(pack: FacePack) -> SplitFile:
    people = sorted(set(pack.subjects.tolist()))
    part_of = {person: "ab"[i % 2] for i, person in enumerate(people)}
    return SplitFile(
        pack.dataset, "halves", "k-fold", "tests", 0, pack.vocabulary.names, len(pack), pack_fingerprint(pack),
        (Fold(("a",), ("b",)), Fold(("b",), ("a",))), part_of, {},
    )  # fmt: skip


@pytest.mark.parametrize("name", SEQUENCE_CLASSIFIERS)
def test_it_learns_how_a_spot_moves_and_a_seed_decides_all(name: str) -> None:
    videos, points, labels = moving_spots(10)
    others, their_points, truth = moving_spots(5, seed=1)
    model = build_sequence_classifier(name, 3, seed=4, **SMALL[name])
    model.fit(videos, points, labels)
    found = model.predict_proba(others, their_points)
    assert found.shape == (15, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-9)
    assert (found.argmax(axis=1) == truth).mean() >= 0.9
    again = build_sequence_classifier(name, 3, seed=4, **SMALL[name])
    again.fit(videos, points, labels)
    np.testing.assert_array_equal(again.predict_proba(others, their_points), found)
    assert model.predict_proba(others[:0], their_points[:0]).shape == (0, 3)


@pytest.mark.parametrize("name", SEQUENCE_CLASSIFIERS)
def test_bad_arrays_are_refused(name: str) -> None:
    videos, points, labels = moving_spots(2)
    model = build_sequence_classifier(name, 4, **SMALL[name])
    with pytest.raises(DataError, match="no training video of class 3"):
        model.fit(videos, points, labels)
    with pytest.raises(DataError, match="labels must be in"):
        model.fit(videos, points, labels + 3)
    with pytest.raises(DataError, match="as many integer labels"):
        model.fit(videos, points, labels[1:])
    with pytest.raises(DataError, match="nothing yet"):
        model.predict_proba(videos, points)
    with pytest.raises(DataError, match="uint8, grey"):
        model.fit(videos.astype(float), points, labels)


def test_names_and_classes_are_checked() -> None:
    with pytest.raises(DataError, match="unknown sequence classifier 'lbp'; allowed: hog3d, adalbp, dtagn"):
        build_sequence_classifier("lbp", 3)
    with pytest.raises(DataError, match="at least 2 classes; got 1"):
        build_sequence_classifier("hog3d", 1)


@pytest.mark.parametrize("name", SEQUENCE_CLASSIFIERS)
def test_a_fold_is_trained_and_tested_by_subject(tmp_path: Path, name: str) -> None:
    pack = sequence_pack(tmp_path / "p.h5", subjects=4)
    quick = {"config": replace(SMALL[name]["config"], steps=3)} if name == "dtagn" else SMALL[name]
    out = evaluate_sequences(pack, halves(pack), 0, name, 1, frames=6, size_px=32, classes=WORDS, **quick)
    assert set(out["subjects"].tolist()) == {"P1", "P3"}
    assert out["train_sequences"] == 6
    assert out["confusion"].sum() == len(out["labels"]) == 6
    assert out["accuracy"] == (out["probabilities"].argmax(axis=1) == out["labels"]).mean()
    assert (out["classifier"], out["seed"], out["classes"]) == (name, 1, WORDS)
    assert out["settings"]


def test_packs_without_sequences_or_without_a_class_say_so(tmp_path: Path) -> None:
    stills = toy_pack(tmp_path / "s.h5", ["a", "b"], ["anger", "anger"])
    with pytest.raises(DataError, match="has no sequences"):
        evaluate_sequences(stills, halves(stills), 0, "hog3d")
    pack = sequence_pack(tmp_path / "p.h5", subjects=2)
    with pytest.raises(DataError, match="no training sequence of disgust, fear, sadness; name the other"):
        evaluate_sequences(pack, halves(pack), 0, "hog3d", frames=6, size_px=32)


def test_scores_by_hand() -> None:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.1, 0.8, 0.1], [0.2, 0.6, 0.2]])
    out = sequence_scores(labels, probabilities, ("a", "b", "c"))
    assert (out["accuracy"], out["balanced_accuracy"], out["macro_auroc"]) == (0.75, 0.75, 1.0)
    assert out["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert out["confusion"].tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert out["absent"] == ["c"]
    with pytest.raises(DataError, match="finite probabilities"):
        sequence_scores(labels, probabilities[:, :2], ("a", "b", "c"))


def oulu_of_two(subjects: int) -> Any:
    """Visible light and strong light of Oulu's stand-in only, two expressions: quick to make."""
    assert OULU.stand_in is not None
    for file in OULU.stand_in(subjects):
        if isinstance(file, StandInFile) and file.file.startswith("VL/Strong") and (
            "Happiness" in file.file or "Surprise" in file.file
        ):
            yield file


@pytest.mark.slow
def test_simulated_oulu_end_to_end(tmp_path: Path) -> None:
    write_stand_in(replace(OULU, stand_in=oulu_of_two), tmp_path / "oulu", 4)
    prepare("oulu", tmp_path / "oulu", PrepareConfig(tmp_path / "oulu.h5"), ReadOptions(frames="all"))
    with FacePack.open(tmp_path / "oulu.h5") as pack:
        assert pack.simulated
        words = ("happiness", "surprise")
        for name in SEQUENCE_CLASSIFIERS:
            quick = {"config": replace(SMALL[name]["config"], steps=40)} if name == "dtagn" else SMALL[name]
            out = evaluate_sequences(pack, halves(pack), 1, name, frames=8, size_px=32, classes=words, **quick)
            assert out["probabilities"].shape == (4, 2)
            assert out["left_out"] == {"train": {}, "test": {}}
            assert out["absent"] == []
