"""``rafd``: the Radboud Faces Database, posed photographs of 67 people from five sides.

Langner, Dotsch, Bijlstra, Wigboldus, Hawk, van Knippenberg, "Presentation and validation of the Radboud Faces
Database", 2010. All is in the file names: camera, model, group, sex, expression and gaze. The model's number is
the subject, whatever else the name says.

Camera 090 is frontal, 045 and 135 show half profiles, 000 and 180 full ones. Which of the two sides each of
them shows is **assumed** here: angles are taken to be counted in the picture plane from the viewer's right, so
that ``yaw_deg = 90 − camera`` (045: nose to the viewer's right, +45). The names alone do not settle it; a look at
two photographs, or the yaw measured from landmarks, does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from lssl_augment.attributes import BASIC8
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.folder import NOT_AN_IMAGE
from lssl_augment.datasets.info import Dataset, DatasetInfo, StandInFace, StandInFile
from lssl_augment.datasets.published import count_notes, wrong_layout
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError
from lssl_augment.faces.images import IMAGE_SUFFIXES

__all__ = ["DATASET", "LAYOUT", "NOT_A_RAFD_NAME", "OTHER_VIEW", "YAW_OF_CAMERA", "rafd_stand_in", "read_rafd"]

LAYOUT = (
    "RafdCAMERA_MODEL_GROUP_SEX_EXPRESSION_GAZE.jpg in one folder or several, as in "
    "Rafd090_01_Caucasian_female_angry_frontal.jpg"
)
NOT_A_RAFD_NAME = "not named as RaFD names its photographs"
OTHER_VIEW = "camera view not asked for"

#: Camera → yaw of the head, degrees, positive when the nose points to the viewer's right (by assumption).
YAW_OF_CAMERA = MappingProxyType({"000": 90.0, "045": 45.0, "090": 0.0, "135": -45.0, "180": -90.0})
_USUAL_VIEWS_DEG = (-45.0, 0.0, 45.0)

_NAME = re.compile(
    r"rafd(?P<camera>\d+)_(?P<model>\d+)_(?P<group>[a-z]+)_(?P<sex>male|female)_(?P<expression>[a-z]+)_"
    r"(?P<gaze>frontal|left|right)",
    re.IGNORECASE | re.ASCII,
)
_ASSUMED_SIGN = (
    "the sign of the yaw is by assumption: camera 045 is taken to show the nose on the viewer's right (+45°)"
)
_SPELLINGS = ("neutral", "happy", "surprised", "angry", "sad", "fearful", "disgusted", "contemptuous")


def read_rafd(root: Path, options: ReadOptions) -> RecordTable:
    """Read the photographs of a folder or zip archive, wherever in it they are.

    Without ``views_deg`` the frontal view and the half profiles are taken. All directions of gaze are. The faces
    are split by subject.

    Raises:
        DataError: no such photographs, an unknown camera or expression, or views that RaFD does not have.
    """
    views = _views(options)
    tree = FileTree(root)
    rows: list[Row] = []
    skipped: list[tuple[str, str]] = []
    models: set[str] = set()
    for file in tree.names:
        path = PurePosixPath(file)
        name = _NAME.fullmatch(path.stem)
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            skipped.append((file, NOT_AN_IMAGE))
        elif name is None:
            skipped.append((file, NOT_A_RAFD_NAME))
        else:
            row = _row(file, name)
            rows.append(row)
            models.add(row.subject)
    if not rows:
        raise wrong_layout(DATASET.info, root, "photographs called Rafd090_01_….jpg", tree.found())
    notes = count_notes(DATASET.info.published, {"images": len(rows), "subjects": len(models)})
    skipped += [(row.file, OTHER_VIEW) for row in rows if row.yaw_deg not in views]
    rows = [row for row in rows if row.yaw_deg in views]
    if any(row.yaw_deg for row in rows):
        notes.append(_ASSUMED_SIGN)
    return assemble("rafd", tree, rows, BASIC8, options, skipped, notes)


def _views(options: ReadOptions) -> tuple[float, ...]:
    views = _USUAL_VIEWS_DEG if options.views_deg is None else options.views_deg
    known = sorted(YAW_OF_CAMERA.values())
    for view in views:
        if view not in known:
            raise DataError(f"RaFD has no view of {view:g}°; it has {', '.join(f'{yaw:g}' for yaw in known)}")
    return views


def _row(file: str, name: re.Match[str]) -> Row:
    camera = name["camera"]
    if camera not in YAW_OF_CAMERA:
        raise DataError(f"{file}: unknown camera {camera!r}; RaFD has {', '.join(YAW_OF_CAMERA)}")
    # Copies with 1 and 01 for one model must not give two subjects.
    return Row(file, name["expression"], f"{int(name['model']):02d}", file, yaw_deg=YAW_OF_CAMERA[camera])


def rafd_stand_in(subjects: int) -> Iterator[StandInFile]:
    """A simulated copy: everyone with eight expressions from the three usual sides, looking ahead."""
    cameras = [camera for camera, yaw in YAW_OF_CAMERA.items() if yaw in _USUAL_VIEWS_DEG]
    for i in range(subjects):
        who = f"{i + 1:02d}_Caucasian_{'female' if i % 2 else 'male'}"
        for word, spelling in zip(BASIC8.names, _SPELLINGS, strict=True):
            for camera in cameras:
                face = StandInFace(i, word, yaw_deg=YAW_OF_CAMERA[camera])
                yield StandInFile(f"Rafd{camera}_{who}_{spelling}_frontal.jpg", face)


DATASET = Dataset(
    info=DatasetInfo(
        name="rafd",
        title="Radboud Faces Database (Langner, Dotsch, Bijlstra, Wigboldus, Hawk, van Knippenberg, 2010)",
        layout=LAYOUT,
        ask="the Behavioural Science Institute of Radboud University Nijmegen, by the form at www.rafd.nl; for "
        "members of accredited universities",
        licence="Non-commercial scientific research only, by the terms accepted when access is asked for; not to be "
        "passed on.",
        citation="O. Langner, R. Dotsch, G. Bijlstra, D. H. J. Wigboldus, S. T. Hawk, A. van Knippenberg. Presentation "
        "and Validation of the Radboud Faces Database. Cognition & Emotion 24(8), 1377–1388, 2010.",
        protocol="None is official. Papers on expression synthesis train on 90 % and test on 10 %: by subject here, on "
        "the views from −45° to 45°.",
        classes=BASIC8,
        options=("views_deg",),
        published=MappingProxyType({"images": 8_040, "subjects": 67}),
    ),
    read=read_rafd,
    stand_in=rafd_stand_in,
)
