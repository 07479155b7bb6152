"""``check``: every fault that was built in is told, and nothing is told of a set without faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lssl_augment.attributes import Vocabulary
from lssl_augment.cli.check import check_command
from lssl_augment.datasets.check import check_dataset, check_faces, template_errors, write_sheets
from lssl_augment.errors import DataError
from lssl_augment.faces.align import template68
from lssl_augment.faces.pack import FacePack
from tests.datasets.toy_packs import smooth_faces, toy_pack

TWO = Vocabulary(("neutral", "happiness"))
PEOPLE = ["Ann", "Ann", "Bob", "Bob", "Cyd", "Cyd", "Dan", "Dan"]
WORDS = ["neutral", "happiness"] * 4
SPLIT = ["train"] * 4 + ["test"] * 4


@pytest.fixture
def sound(tmp_path: Path) -> FacePack:
    images = smooth_faces(8, 64)
    return toy_pack(tmp_path / "sound.h5", PEOPLE, WORDS, SPLIT, images=images, vocabulary=TWO)


@pytest.fixture
def faulty(tmp_path: Path) -> FacePack:
    """Copies across splits, people and labels; somebody on both sides; an empty class; a face far off."""
    images = smooth_faces(8, 64)
    images[5] = images[0]  # happiness of Cyd in test = neutral of Ann in train
    images[7] = 255 - (255 - images[6]) // 8 * 8  # the same person, nearly the same pixels
    points = np.repeat(template68(64)[None], 8, axis=0)
    points[3] += (3.0, 4.0)
    skipped = [("a.jpg", "unreadable image: the file is empty"), ("b.jpg", "face too small")]
    people = [*PEOPLE[:2], "Eve", *PEOPLE[3:6], "Eve", "Eve"]
    return toy_pack(
        tmp_path / "faulty.h5", people, WORDS, SPLIT, images=images, landmarks=points, skipped=skipped, simulated=True
    )


def test_a_sound_pack(sound: FacePack) -> None:
    report = check_faces(sound)
    assert report.problems == report.unreadable == report.in_two_splits == ()
    assert report.counts == {"train": {"neutral": 2, "happiness": 2}, "test": {"neutral": 2, "happiness": 2}}
    assert report.subjects == {"train": 2, "test": 2, "all": 4}
    assert report.most_faces == (("Ann", 2), ("Bob", 2), ("Cyd", 2), ("Dan", 2))
    assert (report.faces, report.unlabelled, report.simulated, report.skipped) == (8, 0, False, {})
    assert report.photo_sizes_px is None
    assert report.fit is not None
    assert report.fit.max_px < 1e-4
    assert report.copies is not None
    assert report.copies.pairs == {"exact": 0, "near": 0, "mirrored": 0}
    assert report.copies.named == ()
    assert check_faces(sound, duplicates=False).copies is None


def test_every_fault_is_told(faulty: FacePack) -> None:
    report = check_faces(faulty)
    assert report.simulated
    assert report.in_two_splits == ("Eve",)
    assert report.unreadable == (("a.jpg", "unreadable image: the file is empty"),)
    assert report.skipped == {"unreadable image": 1, "face too small": 1}
    copies = report.copies
    assert copies is not None
    assert copies.pairs == {"exact": 1, "near": 1, "mirrored": 0}
    assert (copies.photographs, copies.faces, copies.leaked_faces) == (2, 4, 1)
    assert (copies.across_splits, copies.across_subjects, copies.labels_differ) == (1, 1, 2)
    assert copies.named[0] == ("Ann/0.jpg", "Cyd/5.jpg", 0.0, "splits differ, subjects differ, labels differ")
    assert copies.named[1][:2] == ("Eve/6.jpg", "Eve/7.jpg")
    assert report.fit is not None
    assert report.fit.worst[0] == ("Bob/3.jpg", 5.0)
    assert (report.fit.median_px, report.fit.max_px) == (0.0, 5.0)
    assert report.problems == (
        "1 photographs cannot be used, such as a.jpg",
        "1 people are in two splits, such as 'Eve'",
        "split train has no face of surprise, anger, sadness",
        "split test has no face of surprise, anger, sadness",
        "1 faces outside train are copies of faces in it",
        "1 pairs of copies are called different people",
        "2 pairs of copies have different labels",
    )
    assert json.loads(json.dumps(report.to_json()))["copies"]["leaked_faces"] == 1


def test_distance_from_the_template(faulty: FacePack) -> None:
    assert np.allclose(template_errors(faulty), [0, 0, 0, 5, 0, 0, 0, 0], atol=1e-4)


def test_progress_and_an_unlabelled_face(tmp_path: Path) -> None:
    pack = toy_pack(tmp_path / "one.h5", ["Ann"], [""])
    told: list[tuple[str, int, int]] = []
    report = check_faces(pack, progress=lambda *at: told.append(at))
    assert (report.faces, report.unlabelled) == (1, 1)
    assert told[-1] == ("faces compared", 2, 2)


def test_sheets(faulty: FacePack, tmp_path: Path) -> None:
    files = write_sheets(faulty, check_faces(faulty), tmp_path / "new" / "sheets")
    names = ["class_neutral.png", "class_happiness.png", "worst_aligned.png", "copies.png"]
    assert [file.name for file in files] == names
    assert sorted(p.name for p in files[0].parent.iterdir()) == sorted(names)
    with Image.open(files[2]) as sheet:
        assert sheet.size == (8 * 68 + 4, 68 + 4 + 22)
        # The worst one is the first; the frame around a face is four pixels wide.
        assert np.array_equal(np.asarray(sheet)[22:86, 4:68], faulty.images[3])
        assert sheet.text["ai_generated"] == "true"  # type: ignore[attr-defined]
    with Image.open(files[3]) as sheet:
        pixels = np.asarray(sheet)
        assert np.array_equal(pixels[22:86, 4:68], pixels[22:86, 72:136])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file is a file; --out names a folder"):
        write_sheets(faulty, check_faces(faulty), tmp_path / "file")


def test_sheets_of_real_faces_bear_no_mark_of_synthesis(sound: FacePack, tmp_path: Path) -> None:
    for file in write_sheets(sound, check_faces(sound), tmp_path / "sheets"):
        with Image.open(file) as sheet:
            assert "ai_generated" not in sheet.text  # type: ignore[attr-defined]


def test_a_copy_of_a_data_set(lfw: Path, tmp_path: Path) -> None:
    files = sorted(lfw.rglob("*.png"))
    Image.open(files[1]).resize((200, 160)).save(files[1])
    files[0].write_bytes(b"")
    report = check_dataset("lfw-expressions", lfw, out=tmp_path / "sheets")
    assert report.photo_sizes_px == {"160×160": 5, "200×160": 1}
    assert (report.dataset, report.faces) == ("lfw-expressions", 6)
    name = files[0].relative_to(lfw).as_posix()
    assert report.unreadable == ((name, "unreadable image: the file is empty"),)
    assert (tmp_path / "sheets" / "class_neutral.png").is_file()
    assert check_dataset("lfw-expressions", lfw, limit=2, duplicates=False).faces <= 2


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(check_command, [str(a) for a in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.stdout


def test_command_on_a_pack(sound: FacePack, faulty: FacePack, tmp_path: Path) -> None:
    status, said = run(faulty.path, "--out", tmp_path / "sheets")
    assert status == 0
    assert "toy: 8 faces of 4 subjects, SIMULATED" in said
    assert "problem: 1 people are in two splits, such as 'Eve'" in said
    assert "copies: 2 photographs appear 4 times; pairs: 1 exact, 1 near, 0 mirrored" in said
    assert f"contact sheets in {tmp_path / 'sheets'}" in said
    assert run(faulty.path, "--strict")[0] == 1
    status, said = run(sound.path, "--strict")
    assert status == 0
    assert said.splitlines()[-1] == "no problem found"
    table = [line.split() for line in said.splitlines()[1:4]]
    assert table[0] == ["neutral", "happiness", "labelled", "subjects"]
    assert table[1] == ["train", "2", "2", "4", "2"]
    report = json.loads(run(faulty.path, "--json", "--no-duplicates", "--out", tmp_path / "more")[1])
    assert report["copies"] is None
    assert report["fit"]["worst"][0] == ["Bob/3.jpg", 5.0]


def test_command_on_a_data_set(lfw: Path) -> None:
    _, said = run("lfw-expressions", "--root", lfw, "--workers", 1)
    assert "photo sizes: 160×160 7" in said
    assert "left out: nothing" in said


def test_wrong_usage(lfw: Path, sound: FacePack) -> None:
    import click

    with pytest.raises(click.UsageError, match="give --root, where oulu is"):
        run("oulu")
    with pytest.raises(click.UsageError, match="--limit is for data sets"):
        run(sound.path, "--limit", 3)
    with pytest.raises(DataError, match="unknown data set 'lfv'"):
        run("lfv", "--root", lfw)
    with pytest.raises(FileNotFoundError, match="no face pack"):
        run("none.h5")
