"""``Helen`` with the region labels of Smith et al. 2013: what the face parser of the paper is trained on.

It has no expressions and makes no face pack: its table lists photographs with eleven soft label images each, and
:func:`cut_helen` turns one into an aligned face and its region map. Not every photograph has one face only: the labels
tell which one is meant, and the landmarks that align it are looked for around them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from lssl_augment.datasets.published import count_notes
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError, ImageError, LeakageError
from lssl_augment.faces.align import FACE_SIZE_PX, align_face
from lssl_augment.faces.backends.base import FoundFace
from lssl_augment.faces.images import IMAGE_SUFFIXES, read_image
from lssl_augment.faces.region_map import HELEN_LABELS, HELEN_REGIONS, Region

__all__ = [
    "ASK",
    "CITATION",
    "Find",
    "LAYOUT",
    "LICENCE",
    "PARTS",
    "PROTOCOL",
    "PUBLISHED",
    "HelenFace",
    "HelenPhoto",
    "HelenTable",
    "cut_helen",
    "read_helen",
]

LAYOUT = (
    "images/NAME.jpg, labels/NAME/NAME_lbl00.png to NAME_lbl10.png, and the lists exemplars.txt, tuning.txt and "
    "testing.txt (lines `NUMBER , NAME`)"
)
ASK = (
    "the authors of the labels (Brandon M. Smith, Li Zhang, University of Wisconsin–Madison), who published the "
    "resized photographs and labels as SmithCVPR2013_dataset_resized with their paper"
)
LICENCE = "photographs from Flickr, rights with their owners; photographs and labels were published for research"
CITATION = (
    "B. M. Smith, L. Zhang, J. Brandt, Z. Lin, J. Yang: Exemplar-based face parsing. CVPR 2013. Photographs: V. Le, "
    "J. Brandt, Z. Lin, L. Bourdev, T. S. Huang: Interactive facial feature localization. ECCV 2012"
)
PROTOCOL = "2,000 exemplars to learn from, 230 photographs to tune on, 100 to test on; F-score of each region"
PUBLISHED: Mapping[str, int] = MappingProxyType(
    {"exemplar photographs": 2000, "tuning photographs": 230, "testing photographs": 100}
)

#: Picture ``(H, W, 3)`` uint8 RGB → the face in it, or None: what landmark backends do.
Find = Callable[[np.ndarray], FoundFace | None]

#: The list of each part, and the part.
PARTS = {"exemplars.txt": "exemplar", "tuning.txt": "tuning", "testing.txt": "testing"}

NOT_LISTED = "in none of the lists"
NO_PHOTO = "photo missing"
NO_LABELS = "label file missing"
FILE_MISSING = "file missing"
UNREADABLE = "unreadable image"
OTHER_SIZE = "labels and photo differ in size"
EMPTY_LABELS = "labels show no face"
NO_FACE = "no face found"

#: Labels that lie inside of a face: brows, eyes, nose, lips and the inside of the mouth.
_INNER = tuple(range(2, 10))
#: Side of the square in which landmarks are looked for, as a multiple of the extent of those labels. The face
#: is about 1.4 times as long as they are.
_SQUARE = 2.2


@dataclass(frozen=True)
class HelenPhoto:
    """One photograph.

    Args:
        name: without folder and suffix. photo: its file. labels: the files of the eleven labels, in the order of
            ``HELEN_LABELS``. part: ``exemplar``, ``tuning`` or ``testing``.
    """

    name: str
    photo: str
    labels: tuple[str, ...]
    part: str


@dataclass(frozen=True)
class HelenTable:
    """The photographs of a copy.

    Args:
        tree: where the files are. photos: in the order of the lists. skipped: pairs (file or name, reason).
        notes: what the user should know about this copy.
    """

    tree: FileTree
    photos: tuple[HelenPhoto, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class HelenFace:
    """An aligned face ``(128, 128, 3)`` uint8 RGB and its region map ``(128, 128)`` uint8."""

    image: np.ndarray
    regions: np.ndarray


def read_helen(root: Path) -> HelenTable:
    """List the photographs of a folder or zip archive; further folders around the layout do not matter.

    Raises:
        DataError: another layout, or a list that is no list of names.
        LeakageError: a photograph in two of the lists.
    """
    tree = FileTree(root)
    files = {name.lower(): name for name in tree.names}
    lists = sorted((n for n in files if PurePosixPath(n).name in PARTS), key=lambda n: (n.count("/"), n))
    if not lists:
        raise DataError(
            f"{root} is not Helen with the labels of Smith et al.: looked for {', '.join(PARTS)}, found "
            f"{tree.found()}; expected {LAYOUT}. Where to ask for a copy: {ASK}"
        )
    base = lists[0].rpartition("/")[0]
    base = f"{base}/" if base else ""
    photos: list[HelenPhoto] = []
    skipped: list[tuple[str, str]] = []
    home: dict[str, str] = {}
    for file, part in PARTS.items():
        for name in _names(tree, files.get(base + file)):
            if home.setdefault(name.lower(), part) != part:
                raise LeakageError(f"{name} is listed as {home[name.lower()]} and as {part}; keep one of the two")
            found = _photo(files, base, name, part)
            if isinstance(found, HelenPhoto):
                photos.append(found)
            else:
                skipped.append((name, found))
    for low, name in sorted(files.items()):
        path = PurePosixPath(low)
        inside = low.startswith(f"{base}images/") and path.suffix in IMAGE_SUFFIXES
        if inside and path.stem not in home:
            skipped.append((name, NOT_LISTED))
    if not photos:
        first = f"; {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise DataError(f"{root}: no photograph of the lists has its labels{first}; expected {LAYOUT}")
    counts = {f"{part} photographs": sum(p.part == part for p in photos) for part in PARTS.values()}
    return HelenTable(tree, tuple(photos), tuple(skipped), tuple(count_notes(PUBLISHED, counts)))


def cut_helen(tree: FileTree, photo: HelenPhoto, find: Find) -> HelenFace | str:
    """The aligned face of a photograph and its region map, or the reason why it is left out.

    The labels are grouped to regions, warped as the photograph is, and every pixel gets the strongest one.

    Args:
        find: a landmark backend, or what answers as one.
    """
    try:
        picture = read_image(tree.read(photo.photo))
        labels = np.stack([read_image(tree.read(file))[..., 0] for file in photo.labels], axis=-1)
    except FileNotFoundError as error:
        return f"{FILE_MISSING}: {error.filename}"
    except ImageError as error:
        return f"{UNREADABLE}: {error}"
    except ValueError:  # labels of several sizes
        return OTHER_SIZE
    if labels.shape[:2] != picture.shape[:2]:
        return OTHER_SIZE
    box = _square(labels)
    if box is None:
        return EMPTY_LABELS
    found = find(np.ascontiguousarray(picture[box]))
    if found is None or not np.isfinite(found.points68).all():
        return NO_FACE
    points = found.points68 + [box[1].start, box[0].start]
    try:
        image, _ = align_face(picture, points, FACE_SIZE_PX)
    except DataError:  # all points in one place
        return NO_FACE
    regions = np.zeros((*labels.shape[:2], len(Region)), np.uint16)
    for label, region in enumerate(HELEN_REGIONS):
        regions[..., region] += labels[..., label]
    soft, _ = align_face(np.minimum(regions, 255).astype(np.uint8), points, FACE_SIZE_PX)
    return HelenFace(image, soft.argmax(axis=-1).astype(np.uint8))


def _names(tree: FileTree, file: str | None) -> list[str]:
    """Names of a list; none for a list that is not there."""
    if file is None:
        return []
    try:
        text = tree.read(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text: {error}") from error
    names = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        cells = [cell for cell in re.split(r"[,;\s]+", line) if cell]
        if len(cells) not in (1, 2) or "/" in cells[-1]:
            raise DataError(f"{file} line {number}: expected `NUMBER , NAME`; got {line.strip()!r}")
        names.append(re.sub(r"(?i)\.jpe?g$", "", cells[-1]))
    return names


def _photo(files: Mapping[str, str], base: str, name: str, part: str) -> HelenPhoto | str:
    low = name.lower()
    found = [files[key] for suffix in sorted(IMAGE_SUFFIXES) if (key := f"{base}images/{low}{suffix}") in files]
    if not found:
        return NO_PHOTO
    labels = [f"{base}labels/{low}/{low}_lbl{i:02d}.png" for i in range(len(HELEN_LABELS))]
    missing = [PurePosixPath(label).name for label in labels if label not in files]
    if missing:
        return f"{NO_LABELS}: {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
    return HelenPhoto(name, found[0], tuple(files[label] for label in labels), part)


def _square(labels: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of a square around the inner parts of the face, cut off at the border of the photo."""
    inner = labels[..., _INNER].max(axis=-1) > 127
    if not inner.any():
        return None
    out = []
    spans = [np.flatnonzero(inner.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    side = _SQUARE * (1 + max(int(last) - int(first) for first, last in spans))
    for (first, last), length in zip(spans, labels.shape[:2], strict=True):
        middle = (int(first) + int(last) + 1) / 2
        start = max(0, round(middle - side / 2))
        out.append(slice(start, max(start + 1, min(length, round(middle + side / 2)))))
    return out[0], out[1]
