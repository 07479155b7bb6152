"""What faces are turned into: every form of ``targets=``, and how even ``'balance'`` gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lssl_augment.errors import DataError
from lssl_augment.transforms import LSSLAugment
from lssl_augment.transforms.targets import water_fill

ORDER = ["sad", "happy", "neutral", "angry", "surprised"]


def frequencies(augment: LSSLAugment, labels: torch.Tensor) -> np.ndarray:
    record = augment.draw(labels)
    return np.bincount(record.targets.numpy(), minlength=len(augment.classes)) / len(labels)


def test_uniform_covers_what_the_generator_makes(engine: Any) -> None:
    augment = LSSLAugment(p=1, engine=engine, classes=ORDER, seed=0)
    shares = frequencies(augment, torch.zeros(4000, dtype=torch.int64))
    assert shares[0] == 0
    assert np.allclose(shares[1:], 0.25, atol=0.03)


def test_p_is_the_share_of_edited_rows(engine: Any) -> None:
    record = LSSLAugment(p=0.3, engine=engine, seed=0).draw(torch.zeros(4000, dtype=torch.int64))
    assert abs(float(record.chosen.float().mean()) - 0.3) < 0.03


def test_intensity_is_drawn_from_its_range(engine: Any) -> None:
    labels = torch.zeros(2000, dtype=torch.int64)
    record = LSSLAugment(p=1, engine=engine, seed=0, intensity=(0.2, 0.4)).draw(labels)
    assert 0.2 <= float(record.intensity.min()) < 0.21
    assert 0.39 < float(record.intensity.max()) <= 0.4
    record = LSSLAugment(p=1, engine=engine, seed=0, intensity=0.7).draw(labels)
    assert record.intensity.unique().tolist() == pytest.approx([0.7])


@pytest.mark.parametrize(
    "targets", [["happy", "anger"], [1, 3], ("happiness", 3), {"happy": 2, 3: 2.0, 0: 0}]
)
def test_lists_and_weights(engine: Any, targets: Any) -> None:
    augment = LSSLAugment(p=1, engine=engine, classes=ORDER, seed=0, targets=targets)
    shares = frequencies(augment, torch.zeros(3000, dtype=torch.int64))
    assert np.allclose(shares, [0, 0.5, 0, 0.5, 0], atol=0.03)
    assert augment.target_probabilities() == {
        "sad": 0.0,
        "happy": 0.5,
        "neutral": 0.0,
        "angry": 0.5,
        "surprised": 0.0,
    }


def test_keep_edits_without_changing_a_label(engine: Any, batch: Any) -> None:
    images, _ = batch
    labels = torch.arange(16) % 5
    augment = LSSLAugment(p=1, engine=engine, classes=ORDER, targets="keep", return_record=True)
    out, new, record = augment(images, labels)
    assert torch.equal(new, labels)
    assert torch.equal(record.chosen, labels != 0)  # sadness cannot be made, so it is left alone
    assert torch.equal(out[labels == 0], images[labels == 0])
    assert all(not torch.equal(out[i], images[i]) for i in record.rows)
    assert augment.target_probabilities() is None


def test_a_callable_gets_labels_and_a_generator(engine: Any) -> None:
    def next_one(labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        noise = torch.rand(len(labels), generator=generator)
        labels += 1  # the function's own copy
        return torch.where(noise < 0.5, 2, -1)

    labels = torch.ones(400, dtype=torch.int64)
    augment = LSSLAugment(p=1, engine=engine, classes=ORDER, targets=next_one, seed=0)
    record = augment.draw(labels)
    assert (labels == 1).all()
    assert set(record.targets.tolist()) == {1, 2}
    assert torch.equal(record.chosen, record.targets == 2)
    again = LSSLAugment(p=1, engine=engine, classes=ORDER, targets=next_one, seed=0).draw(labels)
    assert again.to_dict() == record.to_dict()
    assert augment.draw(labels).to_dict() != record.to_dict()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda labels, own: labels * 0, "can make happy"),  # sadness
        (lambda labels, own: labels * 0 + 9, "label 9"),
        (lambda labels, own: labels * 0 - 2, "label -2"),
        (lambda labels, own: labels[:2], "shape"),
        (lambda labels, own: labels.float(), "integer"),
    ],
)
def test_a_callable_is_checked(engine: Any, answer: Any, message: str) -> None:
    augment = LSSLAugment(engine=engine, classes=ORDER, targets=answer)
    with pytest.raises(DataError, match=message):
        augment.draw(torch.ones(5, dtype=torch.int64))


@settings(deadline=None)
@given(
    levels=st.lists(st.floats(0, 1), min_size=1, max_size=8),
    mass=st.floats(1e-3, 2),
)
def test_water_filling_raises_the_lowest(levels: list[float], mass: float) -> None:
    before = np.array(levels)
    added = water_fill(before, mass)
    assert added.min() >= 0
    assert added.sum() == pytest.approx(mass)
    after = before + added
    # Whoever was given something ends at the same height, and nobody ends below it.
    assert np.allclose(after[added > 0], after.min())


def test_balance_makes_the_outcome_even_when_p_allows(engine: Any) -> None:
    counts = {"happy": 500, "neutral": 400, "angry": 70, "surprised": 30}
    classes = ["happy", "neutral", "angry", "surprised"]
    labels = torch.from_numpy(np.repeat(np.arange(4), [counts[c] for c in classes])).repeat(10)
    augment = LSSLAugment(
        p=0.7, engine=engine, classes=classes, targets="balance", class_counts=counts, seed=1
    )
    assert np.allclose(frequencies(augment, labels), 0.25, atol=0.02)
    # With a smaller p it goes as far as it can: nothing into the common classes.
    small = LSSLAugment(p=0.3, engine=engine, classes=classes, targets="balance", class_counts=counts, seed=1)
    chances = small.target_probabilities()
    assert chances is not None
    assert chances["happy"] == chances["neutral"] == 0
    assert 0.7 * 0.07 + 0.3 * chances["angry"] == pytest.approx(0.7 * 0.03 + 0.3 * chances["surprised"])


def test_balance_counts_the_labels_it_sees(engine: Any) -> None:
    classes = ["happy", "neutral", "angry", "surprised", "sad"]
    augment = LSSLAugment(p=0.5, engine=engine, classes=classes, targets="balance")
    assert augment.target_probabilities() == {**dict.fromkeys(classes[:4], 0.25), "sad": 0.0}
    augment.draw(torch.tensor([0] * 90 + [1] * 10 + [-1] * 50))
    chances = augment.target_probabilities()
    assert chances is not None
    assert chances["happy"] == chances["sad"] == 0
    assert chances["angry"] == chances["surprised"] > chances["neutral"] > 0
    fixed = LSSLAugment(engine=engine, classes=classes, targets="balance", class_counts=[5, 1, 1, 1, 0])
    before = fixed.target_probabilities()
    fixed.draw(torch.tensor([3] * 100))
    assert fixed.target_probabilities() == before
