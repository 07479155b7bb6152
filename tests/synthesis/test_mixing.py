"""Real and synthetic faces together: what is joined and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from torch.utils.data import Dataset

from lssl_augment.errors import DataError, LeakageError
from lssl_augment.synthesis.dataset import SyntheticExpressionDataset
from lssl_augment.synthesis.mixing import MixedDataset, concat
from lssl_augment.synthesis.sources import PackSource


class Real(Dataset[tuple[str, int]]):
    """A user's own data set, as torchvision's look."""

    def __init__(self, classes: list[str], n: int = 6) -> None:
        self.classes = classes
        self.targets = [i % len(classes) for i in range(n)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[str, int]:
        return "real", self.targets[index]


def test_join(made: Path) -> None:
    real, synthetic = Real(["neutral", "happy", "angry"]), SyntheticExpressionDataset(made)
    for mixed in (concat(real, synthetic), MixedDataset([real]) + synthetic):
        assert len(mixed) == 66
        assert mixed.targets == real.targets + synthetic.targets
        assert mixed.synthetic.tolist() == [False] * 6 + [True] * 60
        assert mixed[0] == ("real", 0)
        assert mixed[6][1] == synthetic[0][1]
        assert mixed.class_to_idx == {"neutral": 0, "happy": 1, "angry": 2}
    assert len(synthetic + real + synthetic) == 126


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["neutral", "happiness"], "only in the first: none; only in the second: anger"),
        (["neutral", "happiness", "fear"], "only in the first: fear; only in the second: anger"),
        (["anger", "happiness", "neutral"], "another order"),
    ],
)
def test_other_classes_are_refused(classes: list[str], message: str, made: Path) -> None:
    synthetic = SyntheticExpressionDataset(made)
    with pytest.raises(DataError, match=message):
        concat(Real(classes), synthetic)
    with pytest.raises(DataError, match="different classes"):
        synthetic + Real(classes)


def test_the_advice_of_the_refusal_works(made: Path) -> None:
    real = Real(["anger", "fear", "happiness", "neutral"])
    mixed = concat(real, SyntheticExpressionDataset(made, classes=real.classes))
    assert np.bincount(mixed.targets[6:], minlength=4).tolist() == [20, 0, 20, 20]


def test_data_sets_without_classes_are_refused(made: Path) -> None:
    with pytest.raises(TypeError, match="list has no classes"):
        concat([1, 2], SyntheticExpressionDataset(made))
    with pytest.raises(DataError, match="at least one"):
        concat()


def test_synthetic_people_must_not_be_held_out(toy: ModuleType, tmp_path: Path) -> None:
    pack = toy.ToyPack(
        labels=np.array([0, 1, 2, 0]),
        subjects=np.array(list("abcd")),
        split=np.array(["train"] * 2 + ["test"] * 2),
    )
    out = tmp_path / "a.h5"
    toy.generate_run(toy.toy_run(out, PackSource(pack, toy.CLASSES)))
    synthetic = SyntheticExpressionDataset(out)
    real = Real(list(synthetic.classes))
    real.held_out_subjects = frozenset({"c", "d"})  # type: ignore[attr-defined]
    assert len(concat(real, synthetic)) == 66
    real.held_out_subjects = frozenset({"b"})  # type: ignore[attr-defined]
    with pytest.raises(LeakageError, match=r"1 people .*held out.*'b'"):
        concat(real, synthetic)


def test_a_file_that_read_test_subjects_is_never_mixed(toy: ModuleType, tmp_path: Path) -> None:
    pack = toy.ToyPack(labels=np.array([0, 1]), subjects=np.array(list("ab")), split=np.array(["train", "test"]))
    out = tmp_path / "a.h5"
    source = PackSource(pack, toy.CLASSES, split="test", allow_test_subjects=True)
    toy.generate_run(toy.toy_run(out, source, allow_test_subjects=True))
    synthetic = SyntheticExpressionDataset(out)
    assert synthetic.info.test_subjects_allowed
    assert set(synthetic.folds.tolist()) == {"test"}
    with pytest.raises(LeakageError, match="--allow-test-subjects"):
        concat(Real(list(synthetic.classes)), synthetic)
