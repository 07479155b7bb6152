"""RaFD: everything is in the names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lssl_augment.attributes import BASIC8
from lssl_augment.datasets.rafd import NOT_A_RAFD_NAME, OTHER_VIEW, read_rafd
from lssl_augment.datasets.records import ReadOptions
from lssl_augment.errors import DataError
from tests.datasets.stand_ins import blank_tree, shown

Draw = Callable[..., None]

CAMERAS = ("000", "045", "090", "135", "180")
WORDS = ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")


@pytest.fixture
def rafd(tmp_path: Path, draw: Draw) -> Path:
    """Three models, eight expressions, five cameras, in a folder in a folder."""
    root = tmp_path / "rafd"
    for who in ("01_Caucasian_female", "30_Moroccan_male", "63_Kid_female"):
        for word in WORDS:
            for camera in CAMERAS:
                path = root / "RaFD" / f"Rafd{camera}_{who}_{word}_frontal.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"")
    for gaze in ("left", "right"):
        draw(root / "RaFD" / f"Rafd090_01_Caucasian_female_angry_{gaze}.jpg", size_px=24)
    return root


def test_names(rafd: Path, zipped: Callable[..., Path]) -> None:
    for given in (rafd, zipped(rafd)):
        table = read_rafd(given, ReadOptions())
        assert table.vocabulary == BASIC8
        assert len(table.records) == 3 * 8 * 3 + 2
        assert {r.subject for r in table.records} == {"01", "30", "63"}
        assert {reason for _, reason in table.skipped} == {OTHER_VIEW}
        assert len(table.skipped) == 3 * 8 * 2
        for record in table.records:
            name = Path(record.file).name
            assert record.yaw_deg == {"045": 45, "090": 0, "135": -45}[name[4:7]]
            assert record.label == BASIC8.index(name.split("_")[4])
            assert (record.light, record.intensity, record.sequence) == ("", None, "")
        assert table.notes[:2] == (
            "8040 images are published, this copy has 122",
            "67 subjects are published, this copy has 3",
        )
        assert "by assumption" in table.notes[2]


def test_split_by_subject(rafd: Path) -> None:
    homes: dict[str, set[str]] = {}
    for record in read_rafd(rafd, ReadOptions()).records:
        homes.setdefault(record.subject, set()).add(record.split)
    assert all(len(splits) == 1 for splits in homes.values())
    assert set().union(*homes.values()) == {"train", "test"}


def test_views(rafd: Path) -> None:
    table = read_rafd(rafd, ReadOptions(views_deg=(0.0,)))
    assert {r.yaw_deg for r in table.records} == {0.0}
    # Nothing is assumed of frontal views.
    assert len(table.notes) == 2
    table = read_rafd(rafd, ReadOptions(views_deg=(-90, 90)))
    assert {Path(r.file).name[4:7] for r in table.records} == {"000", "180"}
    with pytest.raises(DataError, match=r"RaFD has no view of 30°; it has -90, -45, 0, 45, 90"):
        read_rafd(rafd, ReadOptions(views_deg=(0, 30)))


def test_spellings_and_other_files(tmp_path: Path) -> None:
    for name in (
        "a/RAFD090_1_caucasian_Male_Happy_Frontal.JPG",
        "b/Rafd090_01_Caucasian_male_sad_frontal.png",
        "b/Rafd090_01_Caucasian_male_sad_frontal_cropped.png",
        "b/readme.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    table = read_rafd(tmp_path, ReadOptions())
    assert sorted(shown(table).values()) == ["happiness", "sadness"]
    # 1 and 01 are the same person.
    assert {r.subject for r in table.records} == {"01"}
    assert sorted(table.skipped) == [
        ("b/Rafd090_01_Caucasian_male_sad_frontal_cropped.png", NOT_A_RAFD_NAME),
        ("b/readme.txt", "not an image file"),
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Rafd060_01_Kid_male_sad_frontal.jpg", "unknown camera '060'; RaFD has 000, 045"),
        ("Rafd090_01_Kid_male_bored_frontal.jpg", "unknown expression 'bored'; allowed: neutral"),
        (
            "IMG_0001.jpg",
            r"not rafd: looked for .*Rafd090_01_.*, found IMG_0001\.jpg; expected .*www\.rafd\.nl.*--simul",
        ),
    ],
)
def test_what_cannot_be_read(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=message) as caught:
        read_rafd(tmp_path, ReadOptions())
    assert "\n" not in str(caught.value)


def test_stand_in_is_read_back(tmp_path: Path) -> None:
    declared = blank_tree("rafd", 3, tmp_path)
    table = read_rafd(tmp_path, ReadOptions())
    assert shown(table) == {file: face.expression for file, face in declared.items()}
    assert {r.file: r.yaw_deg for r in table.records} == {file: face.yaw_deg for file, face in declared.items()}
    subjects = {(declared[r.file].subject, r.subject) for r in table.records}
    assert sorted(subjects) == [(0, "01"), (1, "02"), (2, "03")]
    assert not table.skipped
