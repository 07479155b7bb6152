"""Which frames of a sequence are neutral, which are its peak, and how strong it is in between."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.datasets.sequences import (
    LONE_FRAME,
    NO_NUMBER,
    NOT_A_KEY_FRAME,
    SECOND_COPY,
    FrameSequence,
    Moment,
    add_frame,
    arc,
    folders_above,
    rise,
    rise_notes,
    sequence_rows,
    still,
)
from lssl_augment.datasets.tree import FileTree

numbers = st.sets(st.integers(0, 200), min_size=1, max_size=60).map(sorted)


def sequence(numbers: Sequence[int]) -> FrameSequence:
    return FrameSequence("s", "P001", "Anger", "folder s/", {n: f"s/{n:03d}.jpg" for n in numbers}, "weak")


def test_rise() -> None:
    assert rise(range(5), first_number=0) == [
        Moment(0, 0.0, True),
        Moment(1, 0.25, False),
        Moment(2, 0.5, True),
        Moment(3, 0.75, True),
        Moment(4, 1.0, True),
    ]
    # Counted from 1 it is the same.
    assert rise(range(1, 6), first_number=1) == rise(range(5), first_number=0)
    # Frames 1 to 8 are lost: nothing is neutral, the others keep their strength.
    assert rise([9, 10, 11], first_number=1) == [Moment(8, 0.8, True), Moment(9, 0.9, True), Moment(10, 1.0, True)]
    assert rise([11], first_number=1) == [Moment(10, 1.0, True)]
    assert rise([1], first_number=1) == rise([0], first_number=0) == []


@given(numbers, st.integers(0, 1))
def test_rise_never_falls(numbers: list[int], first_number: int) -> None:
    moments = rise(numbers, first_number)
    if not moments:
        assert len(numbers) == 1
        assert numbers[0] <= 1
        return
    strengths = [moment.intensity for moment in moments]
    assert strengths == sorted(set(strengths))  # type: ignore[type-var]
    assert strengths[-1] == 1
    assert (strengths[0] == 0) == (numbers[0] <= 1)
    assert [moment.place for moment in moments] == [n - numbers[0] + moments[0].place for n in numbers]
    keys = [i for i, moment in enumerate(moments) if moment.key]
    last = range(max(0, len(numbers) - 3), len(numbers))
    assert keys == sorted({*last} | ({0} if numbers[0] <= 1 else set()))


@pytest.mark.parametrize(
    ("length", "strengths", "keys"),
    [
        (3, [0, 1, 0], [1]),
        (5, [0, 0.625, 1, 0.625, 0], [2]),
        (6, [0, 0.5, 1, 1, 0.5, 0], [2, 3]),
        (11, [0, 0.25, 0.5, 0.75, 1, 1, 1, 0.75, 0.5, 0.25, 0], [4, 5, 6]),
    ],
)
def test_arc(length: int, strengths: list[float], keys: list[int]) -> None:
    moments = arc(range(7, 7 + length))
    assert [moment.intensity for moment in moments] == strengths
    assert [i for i, moment in enumerate(moments) if moment.key] == keys
    assert [moment.place for moment in moments] == list(range(length))


@given(numbers)
def test_arc_is_symmetric_and_keys_are_at_its_top(numbers: list[int]) -> None:
    moments = arc(numbers)
    strengths = [moment.intensity for moment in moments]
    keys = [i for i, moment in enumerate(moments) if moment.key]
    quiet = still(numbers)
    assert [moment.key for moment in quiet] == [moment.key for moment in moments]
    assert {moment.intensity for moment in quiet} == {0.0}
    if len(numbers) < 3:
        assert set(strengths) == {None}
        assert keys == list(range(len(numbers)))
        return
    assert strengths == strengths[::-1]
    assert strengths[0] == 0
    assert 1 <= len(keys) <= 3
    assert min(strengths[i] for i in keys) >= max(strengths[i] for i in range(len(numbers)) if i not in keys)  # type: ignore
    if len(numbers) >= 11:
        assert len(keys) == 3
        assert {strengths[i] for i in keys} == {1.0}


def test_rows_carry_all_that_is_known() -> None:
    rows, skipped = sequence_rows(sequence(range(6)), partial(rise, first_number=0), "peak")
    assert [(row.file, row.expression, row.frame, row.intensity) for row in rows] == [
        ("s/000.jpg", "neutral", 0, 0.0),
        ("s/003.jpg", "Anger", 3, 0.6),
        ("s/004.jpg", "Anger", 4, 0.8),
        ("s/005.jpg", "Anger", 5, 1.0),
    ]
    assert {(row.subject, row.light, row.sequence, row.where, row.split) for row in rows} == {
        ("P001", "weak", "s", "folder s/", "")
    }
    assert skipped == [("s/001.jpg", NOT_A_KEY_FRAME), ("s/002.jpg", NOT_A_KEY_FRAME)]


@given(numbers, st.sampled_from(["peak", "all"]), st.sampled_from([partial(rise, first_number=1), arc, still]))
def test_no_frame_is_lost(numbers: list[int], frames: str, course: object) -> None:
    files = sorted(sequence(numbers).frames.values())
    rows, skipped = sequence_rows(sequence(numbers), course, frames)  # type: ignore[arg-type]
    assert sorted([row.file for row in rows] + [file for file, _ in skipped]) == files
    reasons = {reason for _, reason in skipped}
    assert reasons <= ({NOT_A_KEY_FRAME} if frames == "peak" and rows else {LONE_FRAME})
    assert all((row.expression == "neutral") == (row.intensity == 0) for row in rows)


def test_rise_notes() -> None:
    assert rise_notes([sequence(range(4)), sequence(range(1, 9)), sequence([0])]) == []
    lost, short = rise_notes([sequence([9, 10]), sequence([2]), sequence(range(3)), sequence([1, 2])])
    assert lost == "sequences without their first frame, which give no neutral face: 2"
    assert short.startswith("sequences of 3 frames or fewer: 2; ")


def test_numbers_of_frames() -> None:
    frames: dict[int, str] = {}
    files = ["a/img_0010.jpg", "a/2.jpg", "a/002.png", "a/thumb.jpg", "take7/cam1_003.jpg"]
    assert [add_frame(frames, file) for file in files] == [None, None, SECOND_COPY, NO_NUMBER, None]
    assert frames == {10: "a/img_0010.jpg", 2: "a/2.jpg", 3: "take7/cam1_003.jpg"}


@pytest.mark.parametrize(
    ("members", "above"),
    [
        (["VL/Strong/b.jpg", "VL/Strong/sub.jpg"], ("archive", "VL")),
        (["__MACOSX/VL/Strong/._b.jpg", "VL/Strong/xb.jpg", "VL/Strong/b.jpg"], ("archive", "VL")),
        (["NI/b.jpg", "VL/b.jpg"], ("archive",)),
        (["b.jpg"], ("archive",)),
        ([], ("archive",)),
    ],
)
def test_folders_above_an_archive(members: list[str], above: tuple[str, ...], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for member in members:
            archive.writestr(member, b"")
    assert folders_above(FileTree(tmp_path / "archive.zip")) == above
    assert folders_above(FileTree(tmp_path)) == (tmp_path.name,)
