"""Real and synthetic faces together: what is joined and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from lssl_augment.errors import DataError, LeakageError
from lssl_augment.evaluation.batches import BatchSource, StoredFaces
from lssl_augment.evaluation.face_table import FaceTable
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


class _Labels(Dataset[tuple[int, int]]):
    """Items that are their own number, real ones or not."""

    classes = ("neutral", "anger", "sadness")

    def __init__(self, targets: list[int], *, synthetic: bool) -> None:
        self.targets, self.is_synthetic = targets, synthetic

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[int, int]:
        return index, self.targets[index]


def _mixed(real: list[int], made: list[int]) -> MixedDataset:
    def labels(counts: list[int]) -> list[int]:
        return [label for label, count in enumerate(counts) for _ in range(count)]

    return concat(_Labels(labels(real), synthetic=False), _Labels(labels(made), synthetic=True))


COUNTS = st.lists(st.integers(0, 30), min_size=3, max_size=3)


@given(COUNTS, COUNTS, st.floats(0, 2), st.floats(0, 500))
def test_classes_and_synthetic_images_get_the_chances_they_should(
    real: list[int], made: list[int], power: float, worth: float
) -> None:
    assume(sum(real) + sum(made))
    mixed = _mixed(real, made)
    chances = mixed.chances(power=power, worth=worth).numpy()
    assert chances.shape == (len(mixed),)
    assert chances.sum() == pytest.approx(1)
    assert (chances >= 0).all()
    labels = np.array(mixed.targets)
    weights = np.array([max(n, 1) ** power if n + m else 0.0 for n, m in zip(real, made, strict=True)])
    for label, (n, m) in enumerate(zip(real, made, strict=True)):
        own = labels == label
        assert chances[own].sum() == pytest.approx(weights[label] / weights.sum())
        share = 1.0 if not n else worth / (worth + n) if m else 0.0
        assert chances[own & mixed.synthetic].sum() == pytest.approx(share * weights[label] / weights.sum())
        for kind in (own & mixed.synthetic, own & ~mixed.synthetic):
            assert np.ptp(chances[kind]) < 1e-12 if kind.any() else True


def test_a_sampler_fills_batches_as_the_benchmarks_arm_does() -> None:
    real, made = [400, 25, 25], [0, 100, 100]
    mixed = _mixed(real, made)
    sampler = mixed.sampler(40000, generator=torch.Generator().manual_seed(0))
    drawn = np.array(list(sampler))
    labels, synthetic = np.array(mixed.targets)[drawn], mixed.synthetic[drawn]

    def table(counts: list[int]) -> FaceTable:
        targets = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
        subjects = np.array(["s"] * len(targets))
        return FaceTable(torch.zeros(len(targets), 3, 8, 8, dtype=torch.uint8), targets, subjects, _Labels.classes)

    white = table(made)
    white.images.fill_(255)
    shares = {1: 100 / 125, 2: 100 / 125}
    arm = BatchSource(table(real), 20000, power=0.2, synthetic=StoredFaces(white, (1, 2)), shares=shares)
    images, theirs = arm(torch.Generator().manual_seed(1))
    for label in range(3):
        assert np.mean(labels == label) == pytest.approx(float((theirs == label).float().mean()), abs=0.015)
        bright = float((images[theirs == label].amax((1, 2, 3)) > 0).float().mean())
        assert np.mean(synthetic[labels == label]) == pytest.approx(bright, abs=0.015)
    loader = DataLoader(mixed, batch_size=16, sampler=mixed.sampler())
    assert sum(len(batch[0]) for batch in loader) == sum(real)  # an epoch is as long as the real data


@pytest.mark.parametrize("name", ["power", "worth"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_numbers_out_of_range_are_refused(name: str, value: float) -> None:
    mixed = _mixed([3, 1, 1], [0, 2, 2])
    with pytest.raises(DataError, match=f"{name} must be a finite number of at least 0; got"):
        mixed.sampler(**{name: value})
    with pytest.raises(DataError, match="num_samples must be at least 1; got 0"):
        mixed.sampler(0)
