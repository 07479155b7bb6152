"""Controls: synthetic faces that say nothing, and places that nobody fills."""

from __future__ import annotations

import pytest
import torch

from lssl_augment.errors import DataError
from lssl_augment.evaluation.batches import BatchSource
from lssl_augment.evaluation.benchmark.arms import find_arm
from lssl_augment.evaluation.controls import is_control, shuffle_labels
from lssl_augment.evaluation.face_table import FaceTable


def test_shuffled_labels_say_nothing_of_the_faces(train: FaceTable) -> None:
    shuffled = shuffle_labels(train, 3)
    assert shuffled.counts == train.counts
    assert torch.equal(shuffled.images, train.images)
    assert shuffled.subjects is train.subjects
    kept = float((shuffled.labels == train.labels).float().mean())
    by_chance = sum((n / len(train)) ** 2 for n in train.counts.values())
    assert kept == pytest.approx(by_chance, abs=0.12)
    assert torch.equal(shuffle_labels(train, 3).labels, shuffled.labels)
    assert not torch.equal(shuffle_labels(train, 4).labels, shuffled.labels)


def test_emptied_places_go_to_all_classes(train: FaceTable) -> None:
    own = torch.Generator().manual_seed(0)
    _, labels = BatchSource(train, 20_000, balanced=True, emptied={2: 0.5, 4: 0.75})(own)
    chances = torch.tensor([1, 1, 0.5, 1, 0.25])
    found = torch.bincount(labels, minlength=5) / len(labels)
    torch.testing.assert_close(found, chances / chances.sum(), atol=0.02, rtol=0)


@pytest.mark.parametrize(("emptied", "balanced"), [({2: 0.5}, False), ({5: 0.5}, True), ({2: 1.0}, True)])
def test_what_cannot_be_emptied(train: FaceTable, emptied: dict[int, float], balanced: bool) -> None:
    with pytest.raises(DataError, match="empt"):
        BatchSource(train, 8, balanced=balanced, emptied=emptied)


def test_names_of_controls() -> None:
    arm = find_arm("stargan-shuffled")
    assert (arm.generator, arm.extra, arm.shuffled) == ("stargan", "stored", True)
    assert find_arm("lssl:plain-shuffled").generator == "lssl:plain"
    assert find_arm("lssl-shuffled-prior").of == "lssl-shuffled"
    assert find_arm("lssl-shuffled-prior").shuffled
    assert is_control("lssl-shuffled, 1000")
    assert is_control("stargan-shuffled-prior-cv, 1000")
    assert not is_control("lssl-prior, 1000")
    assert not is_control("lssl:un-shuffled-deck, 1000")
    for name in ("balanced-shuffled", "lssl-loop-shuffled", "lssl-shuffled-shuffled", "lssl-prior-shuffled"):
        with pytest.raises(DataError, match=name):
            find_arm(name)
