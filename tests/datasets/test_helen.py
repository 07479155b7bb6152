"""Helen with the labels of Smith et al.: its layout, its broken copies, and the faces cut from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lssl_augment.datasets.helen import PARTS, HelenFace, cut_helen, read_helen
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.faces.align import template68
from lssl_augment.faces.backends.base import FoundFace
from lssl_augment.faces.region_map import HELEN_LABELS, Region

SIZE = (200, 260)  # height, width
#: Boxes of the labels in pixels of the aligned face: left, top, right, bottom.
BOXES = {
    "face skin": (25, 25, 103, 115),
    "left eyebrow": (32, 34, 55, 38),
    "right eyebrow": (73, 34, 96, 38),
    "left eye": (38, 44, 54, 52),
    "right eye": (74, 44, 90, 52),
    "nose": (56, 50, 72, 76),
    "upper lip": (48, 82, 80, 86),
    "inner mouth": (52, 87, 76, 90),
    "lower lip": (48, 91, 80, 96),
    "hair": (20, 5, 108, 24),
}
#: Where the aligned face lies in the photograph.
SHIFT = np.array([70, 40])


def write_helen(root: Path, names: dict[str, list[str]] | None = None) -> Path:
    names = names or {"exemplars.txt": ["100_1", "200_1", "300_2"], "tuning.txt": ["400_1"], "testing.txt": ["500_1"]}
    for file, some in names.items():
        root.mkdir(parents=True, exist_ok=True)
        lines = [f"{number} , {name}" for number, name in enumerate(some, start=1)]
        (root / file).write_text("\n".join(lines) + "\n")
        for name in some:
            write_photo(root, name)
    return root


def write_photo(root: Path, name: str) -> None:
    labels = np.zeros((len(HELEN_LABELS), *SIZE), np.uint8)
    for label, (left, top, right, bottom) in BOXES.items():
        rows = slice(top + SHIFT[1], bottom + SHIFT[1])
        labels[:, rows, left + SHIFT[0] : right + SHIFT[0]] = 0
        labels[HELEN_LABELS.index(label), rows, left + SHIFT[0] : right + SHIFT[0]] = 255
    labels[0] = 255 - labels[1:].max(0)
    (root / "images").mkdir(exist_ok=True)
    (root / "labels" / name).mkdir(parents=True)
    # The photograph shows the number of its strongest label, so that it can be compared with the map.
    grey = (labels.argmax(0) * 20).astype(np.uint8)
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(root / "images" / f"{name}.jpg", quality=100)
    for i, label in enumerate(labels):
        Image.fromarray(label).save(root / "labels" / name / f"{name}_lbl{i:02d}.png")


def find(picture: np.ndarray) -> FoundFace | None:
    """Knows where the face is: the darkest of all is the background, the brightest the hair above it."""
    hair = np.argwhere(picture[..., 0] > 190)
    brow = np.argwhere((picture[..., 0] > 30) & (picture[..., 0] < 50))
    if not len(hair) and not len(brow):
        return None
    top, left = brow.min(0) - [BOXES["left eyebrow"][1], BOXES["left eyebrow"][0]]
    return FoundFace(template68() + [left, top], None, 1.0)


@pytest.fixture
def helen(tmp_path: Path) -> Path:
    return write_helen(tmp_path / "SmithCVPR2013")


def test_reads_a_folder_a_zip_and_a_folder_around_it(helen: Path, zipped: Callable[..., Path]) -> None:
    wanted = [
        ("100_1", "exemplar"),
        ("200_1", "exemplar"),
        ("300_2", "exemplar"),
        ("400_1", "tuning"),
        ("500_1", "testing"),
    ]
    for root in (helen, helen.parent, zipped(helen), zipped(helen, "outer/inner")):
        table = read_helen(root)
        assert [(photo.name, photo.part) for photo in table.photos] == wanted
        assert table.photos[0].photo.endswith("images/100_1.jpg")
        assert [label[-9:] for label in table.photos[0].labels[::5]] == ["lbl00.png", "lbl05.png", "lbl10.png"]
        assert table.skipped == ()
        assert table.notes == (
            "2000 exemplar photographs are published, this copy has 3",
            "230 tuning photographs are published, this copy has 1",
            "100 testing photographs are published, this copy has 1",
        )


def test_spelling_of_folders_and_suffixes_does_not_matter(helen: Path) -> None:
    (helen / "images").rename(helen / "Images")
    (helen / "Images/100_1.jpg").rename(helen / "Images/100_1.JPG")
    (helen / "testing.txt").write_text("500_1.jpg\n")
    table = read_helen(helen)
    assert len(table.photos) == 5
    assert table.photos[0].photo == "Images/100_1.JPG"


def test_what_is_left_out_is_told(helen: Path) -> None:
    write_photo(helen, "900_1")
    (helen / "images/100_1.jpg").unlink()
    (helen / "labels/200_1/200_1_lbl07.png").unlink()
    (helen / "labels/200_1/200_1_lbl08.png").unlink()
    (helen / "images/notes.md").write_text("hello")
    table = read_helen(helen)
    assert dict(table.skipped) == {
        "100_1": "photo missing",
        "200_1": "label file missing: 200_1_lbl07.png and 1 more",
        "images/900_1.jpg": "in none of the lists",
    }
    assert len(table.photos) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: [(root / name).unlink() for name in PARTS],
            r"looked for exemplars\.txt, .*found images/, labels/",
        ),
        (lambda root: shutil.rmtree(root / "labels"), "no photograph of the lists has its labels; 100_1: label file"),
        (lambda root: (root / "tuning.txt").write_bytes(b"\xff\xfe\x00"), r"tuning\.txt is not UTF-8"),
        (lambda root: (root / "tuning.txt").write_text("1 , a b c\n"), r"tuning\.txt line 1: expected"),
        (lambda root: (root / "tuning.txt").write_text("1 , ../a\n"), r"tuning\.txt line 1: expected"),
    ],
)
def test_broken_copies_are_refused(helen: Path, change: Callable[[Path], object], message: str) -> None:
    change(helen)
    with pytest.raises(DataError, match=message):
        read_helen(helen)


def test_a_photograph_to_learn_from_and_to_test_on_is_refused(helen: Path) -> None:
    (helen / "testing.txt").write_text("1 , 100_1\n")
    with pytest.raises(LeakageError, match="100_1 is listed as exemplar and as testing"):
        read_helen(helen)


def test_labels_are_warped_as_the_photograph_is(helen: Path) -> None:
    table = read_helen(helen)
    face = cut_helen(table.tree, table.photos[0], find)
    assert isinstance(face, HelenFace)
    assert face.image.shape == (128, 128, 3)
    assert face.regions.shape == (128, 128)
    assert face.regions.dtype == np.uint8
    wanted = np.zeros((128, 128), np.uint8)
    for label, region in [("face skin", Region.SKIN), ("left eye", Region.EYES), ("right eye", Region.EYES)] + [
        ("upper lip", Region.LIPS),
        ("lower lip", Region.LIPS),
        ("inner mouth", Region.BACKGROUND),
    ]:
        left, top, right, bottom = BOXES[label]
        wanted[top:bottom, left:right] = region
    assert np.array_equal(face.regions, wanted)
    # The photograph itself says the same: label times 20.
    label = np.round(face.image[..., 0] / 20).astype(int)
    assert (np.isin(label, [4, 5]) == (face.regions == Region.EYES)).mean() > 0.995


def test_faces_that_cannot_be_cut_have_a_reason(helen: Path) -> None:
    table = read_helen(helen)
    one, two, three, four, _ = table.photos
    assert cut_helen(table.tree, one, lambda picture: None) == "no face found"
    nowhere = FoundFace(np.full((68, 2), np.nan), None, 1.0)
    assert cut_helen(table.tree, one, lambda picture: nowhere) == "no face found"
    assert cut_helen(table.tree, one, lambda picture: FoundFace(np.zeros((68, 2)), None, 1.0)) == "no face found"
    (helen / two.photo).write_bytes(b"no photo")
    assert str(cut_helen(table.tree, two, find)).startswith("unreadable image: ")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(helen / three.labels[4])
    assert cut_helen(table.tree, three, find) == "labels and photo differ in size"
    for label in four.labels:
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(helen / label)
    assert cut_helen(table.tree, four, find) == "labels show no face"
    (helen / one.labels[3]).unlink()
    assert str(cut_helen(table.tree, one, find)).startswith("file missing: ")


def test_landmarks_are_looked_for_around_the_labelled_face(helen: Path) -> None:
    seen = []

    def look(picture: np.ndarray) -> FoundFace | None:
        seen.append(picture.shape)
        return find(picture)

    table = read_helen(helen)
    cut_helen(table.tree, table.photos[0], look)
    # 2.2 times the extent of brows to lips (64 × 62 pixels), cut off where the photograph ends.
    assert seen[0][1] == pytest.approx(2.2 * 64, abs=2)
    assert seen[0][0] <= SIZE[0]
    assert seen[0][2] == 3
