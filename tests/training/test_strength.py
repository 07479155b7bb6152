"""Donors go as far, and edits are shaded as strongly, as a classifier of photographs asks, and no further."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_further import joined
from tiny_faces import SIZE_PX, compact_config, training_faces

from lssl_augment.training import compact_faces, strength
from lssl_augment.training.compact_faces import CompactFaces
from lssl_augment.training.compact_objective import CompactObjective
from lssl_augment.training.shapes import stretch_of
from lssl_augment.training.strength import STRENGTHS, choose_strength, class_strengths, find_advisers

UNCLEAR = np.zeros(3)


def donor_strengths(source: CompactFaces, told: np.ndarray = UNCLEAR) -> list[float]:
    return class_strengths(source, find_advisers(source, told, 0.7, 0), source.stretch, 0.01, 0).tolist()


@pytest.fixture(scope="module")
def source() -> CompactFaces:
    return CompactFaces(training_faces(), SIZE_PX, 0, torch.device("cpu"))


@pytest.mark.parametrize(
    ("photographs", "edits", "wanted"),
    [
        (0.8, [0.8], 1.0),  # enough at once
        (0.8, [0.79, 0.81], 1.25),
        (0.8, [0.5, 0.7, 0.8], 1.5),
        (0.8, [0.5, 0.6, 0.7, 0.72, 0.74], 2.0),  # never enough, but always a gain
        (0.8, [0.5, 0.6, 0.605], 1.25),  # the last step gains too little
        (0.8, [0.5, 0.49, 0.6], 1.5),  # a step that gains nothing is passed over
        (0.8, [0.5, 0.49, 0.515], 1.0),  # a point for every step on the way
        (0.8, [0.5, 0.4], 1.0),
        (0.0, [0.0], 1.0),
    ],
)
def test_the_first_strength_that_is_enough(photographs: float, edits: list[float], wanted: float) -> None:
    assert choose_strength(photographs, edits, 0.01) == wanted


@given(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=1, max_size=len(STRENGTHS)))
def test_no_way_is_gone_that_gains_nothing(photographs: float, edits: list[float]) -> None:
    chosen = STRENGTHS.index(choose_strength(photographs, edits, 0.01))
    assert all(share < photographs for share in edits[:chosen])
    if edits[chosen] < photographs:  # none is enough
        assert max(edits) < photographs
        assert all(edits[chosen] >= share + 0.01 * (chosen - at) - 1e-9 for at, share in enumerate(edits))


def test_a_dearer_step_must_bring_more() -> None:
    assert choose_strength(0.8, [0.5, 0.515, 0.53], 0.01) == 1.5
    assert choose_strength(0.8, [0.5, 0.515, 0.53], 0.02) == 1.0


def test_what_a_class_is_stretched_by() -> None:
    donors = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 3.0], [6.0, 5.0]])
    labels = torch.tensor([0, 0, 1, 1])
    # Neutral mean (1, 1), class mean (5, 4).
    assert stretch_of(donors, labels, 0, np.array([1.0, 1.5])).tolist() == [[0, 0], [2, 1.5]]
    assert not stretch_of(donors, labels, 0, np.ones(2)).any()


def shares_of(patch: pytest.MonkeyPatch, source: CompactFaces, answers: dict[int, dict[float, float]]) -> list[int]:
    """Stand in for the adviser: class → strength (0: photographs) → share. Returns what it is asked of."""
    asked: list[int] = []

    def edits(_: CompactFaces, rows: np.ndarray, target: int, seed: int) -> Any:
        moved = source.shapes.donors - source._plain_donors
        rows_of = source.shapes.donor_labels == target
        others = moved[~rows_of]
        assert float(others.abs().max()) == 0  # one class at a time
        return "edits", target, moved[rows_of]

    def named(adviser: Any, images: Any, name: int) -> float:
        if not isinstance(images, tuple):
            asked.append(name)
            return answers[name][0]
        plain = source._plain_donors[source.shapes.donor_labels == name]
        base = source._plain_donors[source.shapes.donor_labels == source.neutral].mean(0)
        way = plain.mean(0) - base
        far = 1 + float((images[2].mean(0) @ way) / (way @ way))
        return answers[name][round(far, 2)]

    patch.setattr(strength, "_LEAST", 1)
    patch.setattr(strength, "_train", lambda *_: torch.nn.Identity())
    patch.setattr(strength, "_edits", edits)
    patch.setattr(strength, "_named", named)
    return asked


def test_each_class_is_asked_alone_and_donors_are_put_back(
    source: CompactFaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {1: {0: 0.5, 1.0: 0.6}, 2: {0: 0.8, 1.0: 0.3, 1.25: 0.5, 1.5: 0.81}}
    asked = shares_of(monkeypatch, source, answers)
    assert donor_strengths(source) == [1, 1, 1.5]
    assert asked == [1, 2]
    assert torch.equal(source.shapes.donors, source._plain_donors)


def test_clear_classes_and_small_ones_are_not_asked(source: CompactFaces, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = shares_of(monkeypatch, source, {c: {0: 0.9} | dict.fromkeys(STRENGTHS, 0.1) for c in range(3)})
    assert donor_strengths(source, np.array([0, 0.7, 0.69])) == [1] * 3
    assert asked == [2]
    monkeypatch.setattr(strength, "_LEAST", 57)
    assert donor_strengths(source) == [1] * 3
    assert asked == [2]


def test_a_real_adviser_looks_at_real_edits(source: CompactFaces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strength, "_LEAST", 1)
    monkeypatch.setattr(strength, "_ADVISER_STEPS", 2)
    monkeypatch.setattr(strength, "_SOURCES", 4)
    first, again = (donor_strengths(source) for _ in range(2))
    assert first == again
    assert set(first) <= set(STRENGTHS)
    assert first[source.neutral] == 1
    assert torch.equal(source.shapes.donors, source._plain_donors)


def test_edits_that_the_adviser_sees_show_the_strength(source: CompactFaces) -> None:
    rows = np.flatnonzero(source.faces.labels == source.neutral)[:3]
    plain = strength._edits(source, rows, 2, 0)
    assert plain.shape == (3, 3, 64, 64)
    assert torch.equal(strength._edits(source, rows, 2, 0), plain)
    source.stretch(np.array([1, 1, 2.0]))
    assert not torch.equal(strength._edits(source, rows, 2, 0), plain)
    source.stretch(np.ones(3))
    assert torch.equal(strength._edits(source, rows, 2, 0), plain)


def test_shading_is_asked_class_by_class_and_put_back(source: CompactFaces, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[list[float]] = []

    def edits(_: CompactFaces, rows: np.ndarray, target: int, seed: int) -> Any:
        held = source.textures.shading_strength
        tried.append([1.0] * 3 if held is None else held.tolist())
        return "edits", tried[-1][target]

    def named(_: Any, images: Any, name: int) -> float:
        return 0.5 if not isinstance(images, tuple) else {1.0: 0.3, 1.25: 0.4, 1.5: 0.5}[images[1]]

    monkeypatch.setattr(strength, "_LEAST", 1)
    monkeypatch.setattr(strength, "_train", lambda *_: torch.nn.Identity())
    monkeypatch.setattr(strength, "_edits", edits)
    monkeypatch.setattr(strength, "_named", named)
    advisers = find_advisers(source, UNCLEAR, 0.7, 0)
    assert class_strengths(source, advisers, source.shade, 0.01, 0).tolist() == [1, 1.5, 1.5]
    assert tried == [[1, 1, 1], [1, 1.25, 1], [1, 1.5, 1], [1, 1, 1], [1, 1, 1.25], [1, 1, 1.5]]
    only = np.array([True, False, True])
    assert class_strengths(source, advisers, source.shade, 0.01, 0, only).tolist() == [1, 1, 1.5]
    assert tried[6:] == [[1, 1, 1], [1, 1, 1.25], [1, 1, 1.5]]
    assert source.textures.shading_strength is None
    assert source.on_device[1].shading_strength is None


def test_edits_that_the_adviser_sees_are_shaded_as_strongly(source: CompactFaces) -> None:
    rows = np.flatnonzero(source.faces.labels == source.neutral)[:3]
    plain = strength._edits(source, rows, 2, 0)
    source.shade(np.array([1, 1, 2.0]))
    assert not torch.equal(strength._edits(source, rows, 2, 0), plain)
    source.shade(np.array([1, 2.0, 1]))  # another class
    assert torch.equal(strength._edits(source, rows, 2, 0), plain)
    source.shade(np.ones(3))
    assert torch.equal(strength._edits(source, rows, 2, 0), plain)


def test_mouths_are_lent_anew_and_the_card_tells(source: CompactFaces, monkeypatch: pytest.MonkeyPatch) -> None:
    assert source.strengths.tolist() == [1] * 3  # too few faces to ask
    silent = CompactObjective(compact_config(), source.faces, source)
    assert silent.release(silent.generator).training == {}

    def found(
        source: CompactFaces, _: Any, attempt: Callable[..., None], gain: float, seed: int, only: Any = None
    ) -> np.ndarray:
        assert gain == (0.02 if attempt == source.stretch else 0.01)
        if only is not None:  # donors went further: shading again, of their class alone
            assert only.tolist() == [False, False, True]
            assert source.shapes.stretch is not None
            return np.array([1, 1, 1.25])
        return np.array([1, 1, 2.0] if attempt == source.stretch else [1, 1.5, 1.75])

    monkeypatch.setattr(compact_faces, "class_strengths", found)
    strong = CompactFaces(training_faces(), SIZE_PX, 0, torch.device("cpu"))
    rows = strong.shapes.donor_labels == 2
    assert torch.equal(strong.shapes.donors[~rows], source.shapes.donors[~rows])
    base = source.shapes.donors[source.shapes.donor_labels == source.neutral].mean(0)
    near, far = (float((s.shapes.donors[rows].mean(0) - base).norm()) for s in (source, strong))
    assert far == pytest.approx(2 * near, rel=1e-4)
    assert not torch.equal(strong.textures.donor_mouths, source.textures.donor_mouths)
    loud = CompactObjective(compact_config(), strong.faces, strong)
    told = loud.release(loud.generator)
    assert told.training == {
        "donor_strengths": {"surprise": 2.0},
        "shading_strengths": {"happiness": 1.5, "surprise": 1.25},
    }
    assert told.tensors["textures.shading_strength"].tolist() == [1, 1.5, 1.25]
    assert "textures.shading_strength" not in silent.release(silent.generator).tensors


def test_borrowed_classes_are_asked_of_the_faces_that_teach_them(monkeypatch: pytest.MonkeyPatch) -> None:
    faces, seen = joined(), []

    def find(source: CompactFaces, rows: np.ndarray, asked: list[int], seed: int) -> None:
        further = np.unique(np.asarray(faces.further)[rows])
        seen.append((np.unique(faces.labels[rows]).tolist(), further.tolist(), asked))

    monkeypatch.setattr(strength, "_find", find)
    source = CompactFaces(faces, SIZE_PX, 0, torch.device("cpu"))
    seen.clear()
    assert find_advisers(source, UNCLEAR, 0.7, 0) == []
    assert seen == [([0, 2], [False], [2]), ([0, 1], [True], [1])]
