"""``bu3dfe``: BU-3DFE, textured 3D scans of 100 people with six expressions at four intensities.

Yin, Wei, Sun, Wang, Rosato, "A 3D Facial Expression Database For Facial Behavior Research", 2006. The scans are
rendered from several sides, each view a photograph of its own; see ``scan_view.py``. ``yaw_deg`` is measured
from the pose in which the scan is stored, which is taken for frontal. Intensity level k of 4 is k/4; neutral is 0.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from lssl_augment.attributes import BASIC7
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.info import Dataset, DatasetInfo, StandInFace, StandInFile
from lssl_augment.datasets.published import count_notes, wrong_layout
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.scan_view import ScanView
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError
from lssl_augment.faces.images import IMAGE_SUFFIXES

__all__ = ["BAD_LEVEL", "DATASET", "LAYOUT", "NOT_A_SCAN", "VIEWS_DEG", "bu3dfe_stand_in", "read_bu3dfe"]

LAYOUT = (
    "SUBJECT/SUBJECT_EXPRESSIONLEVELETHNICITY_F3D.wrl and its texture ….bmp, as in F0001/F0001_AN01WH_F3D.wrl: "
    "subjects F0001 to F0056 and M0001 to M0044; AN, DI, FE, HA, SA, SU with levels 01 to 04, and NE00"
)
#: Yaw of the views that are rendered unless others are asked for.
VIEWS_DEG = (-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0)
NOT_A_SCAN = "not named as BU-3DFE names its files"
BAD_LEVEL = "level is not 01 to 04 (00 for neutral)"

_WORDS = MappingProxyType(
    {
        "AN": "anger",
        "DI": "disgust",
        "FE": "fear",
        "HA": "happiness",
        "NE": "neutral",
        "SA": "sadness",
        "SU": "surprise",
    }
)
_LEVELS = 4
_NAME = re.compile(
    r"(?P<subject>[FM]\d{4})_(?P<code>[A-Z]{2})(?P<level>\d{2})(?P<ethnicity>[A-Z]{2})_(?P<kind>[A-Z0-9]+)",
    re.IGNORECASE | re.ASCII,
)
_SUBJECT = re.compile(r"[FM]\d{4}", re.IGNORECASE | re.ASCII)
_ETHNICITIES = ("WH", "AE", "AM", "BL", "IN", "LA")


@dataclass(frozen=True)
class _Scan:
    file: str
    subject: str
    expression: str
    level: int


def read_bu3dfe(root: Path, options: ReadOptions) -> RecordTable:
    """List the views of the scans in a folder or zip archive, in folders of any depth; nothing is rendered yet.

    A view is called ``SCAN@YAW``, as in ``F0001/F0001_AN01WH_F3D.wrl@+30``. The views are split by subject.

    Raises:
        DataError: no scans, an unknown expression, a scan in the folder of another subject, or views that cannot
            be rendered.
    """
    views = _views(VIEWS_DEG if options.views_deg is None else options.views_deg)
    tree = FileTree(root)
    scans, pictures, skipped, others = _sort(tree)
    if not scans:
        raise wrong_layout(DATASET.info, root, "scans called F0001_AN01WH_F3D.wrl", tree.found())
    found = {"scans": len(scans), "subjects": len({scan.subject for scan in scans})}
    notes = count_notes(DATASET.info.published, found)
    if others:
        listed = ", ".join(f"{count} …_{kind}" for kind, count in sorted(others.items()))
        notes.append(f"not used: {listed}; all photographs are rendered from the scans …_F3D.wrl")
    rows = [_row(scan, pictures.get(_key(scan.file)), yaw) for scan in scans for yaw in views]
    return assemble("bu3dfe", tree, rows, BASIC7, options, skipped, notes)


def _sort(tree: FileTree) -> tuple[list[_Scan], dict[str, str], list[tuple[str, str]], Counter[str]]:
    """Scans; pictures by name; pairs (file, reason) of strange files; files of the layout that are not needed."""
    scans: list[_Scan] = []
    pictures: dict[str, str] = {}
    skipped: list[tuple[str, str]] = []
    others: Counter[str] = Counter()
    for file in tree.names:
        path = PurePosixPath(file)
        name, suffix = _NAME.fullmatch(path.stem), path.suffix.lower()
        if name is None:
            skipped.append((file, NOT_A_SCAN))
        elif name["kind"].upper() != "F3D" or suffix not in (".wrl", *IMAGE_SUFFIXES):
            others[f"{name['kind'].upper()}{suffix}"] += 1
        elif suffix != ".wrl":
            pictures[_key(file)] = file
        else:
            code, level = name["code"].upper(), int(name["level"])
            if code in _WORDS and not (level == 0 if code == "NE" else 1 <= level <= _LEVELS):
                skipped.append((file, BAD_LEVEL))
                continue
            scans.append(_Scan(file, _subject(path, name["subject"]), _WORDS.get(code, code), level))
    return scans, pictures, skipped, others


def _subject(path: PurePosixPath, named: str) -> str:
    """The subject of a scan: its folder's name, which must agree with its own."""
    folder = path.parent.name
    if _SUBJECT.fullmatch(folder) and folder.upper() != named.upper():
        raise DataError(
            f"{path}: the file is named for subject {named.upper()}, its folder for {folder.upper()}; move it to "
            "the right one, or its faces could be trained and tested on"
        )
    return named.upper()


def _key(file: str) -> str:
    return file.rpartition(".")[0].lower()


def _row(scan: _Scan, picture: str | None, yaw_deg: float) -> Row:
    return Row(
        f"{scan.file}@{yaw_deg:+g}",
        scan.expression,
        scan.subject,
        scan.file,
        yaw_deg=yaw_deg,
        intensity=min(scan.level / _LEVELS, 1.0),
        photo=ScanView(scan.file, picture, yaw_deg),
    )


def _views(views_deg: Sequence[float]) -> tuple[float, ...]:
    # Zero added, so that −0 is 0 in names.
    views = tuple(float(view) + 0.0 for view in views_deg)
    if not views:
        raise DataError("views_deg is empty; name at least one yaw angle, 0 for the frontal view")
    for view in views:
        if not math.isfinite(view) or abs(view) > 90:
            raise DataError(f"views_deg must be angles from -90 to 90; got {view:g}")
    if len({f"{view:+g}" for view in views}) < len(views):
        raise DataError(f"views_deg must be different angles; got {', '.join(f'{view:g}' for view in views)}")
    return views


def bu3dfe_stand_in(subjects: int) -> Iterator[StandInFile]:
    """A simulated copy: everyone with all 25 scans, height fields of face pictures, and their textures."""
    for i in range(subjects):
        subject = f"{'FM'[i % 2]}{i // 2 + 1:04d}"
        ethnicity = _ETHNICITIES[i % len(_ETHNICITIES)]
        for code, word in _WORDS.items():
            for level in [0] if code == "NE" else range(1, _LEVELS + 1):
                face = StandInFace(i, word, intensity=level / _LEVELS)
                name = f"{subject}_{code}{level:02d}{ethnicity}_F3D"
                yield StandInFile(f"{subject}/{name}.wrl", face, _Encode(f"{name}.bmp"))
                yield StandInFile(f"{subject}/{name}.bmp", face)


@dataclass(frozen=True)
class _Encode:
    """Face picture and its dense points → bytes of a scan with the texture of that name."""

    texture: str

    def __call__(self, picture: np.ndarray, dense: np.ndarray) -> bytes:
        # Late: listing a data set needs neither.
        from lssl_augment.simulation.height_field import height_field
        from lssl_augment.simulation.vrml import write_vrml

        return write_vrml(height_field(dense, len(picture)), self.texture)


DATASET = Dataset(
    info=DatasetInfo(
        name="bu3dfe",
        title="BU-3DFE (Binghamton University 3D Facial Expression) Database (Yin, Wei, Sun, Wang, Rosato, 2006)",
        layout=LAYOUT,
        ask="Prof. Lijun Yin, Department of Computer Science, Binghamton University (State University of New York), "
        "www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html; a licence agreement is to be signed",
        licence="Non-commercial research only, by the licence agreement with Binghamton University; not to be passed "
        "on.",
        citation="L. Yin, X. Wei, Y. Sun, J. Wang, M. J. Rosato. A 3D Facial Expression Database For Facial Behavior "
        "Research. 7th International Conference on Automatic Face and Gesture Recognition (FGR06), 211–216, 2006.",
        protocol="None is official. Papers cross-validate by subject, here in 5 folds, on views rendered at ±15°, ±30° "
        "and ±45°. Many use only the two highest of the four intensity levels (intensity 0.75 and 1); all four are "
        "kept here, and each record has its own.",
        classes=BASIC7,
        options=("views_deg",),
        published=MappingProxyType({"scans": 2_500, "subjects": 100}),
    ),
    read=read_bu3dfe,
    stand_in=bu3dfe_stand_in,
)
