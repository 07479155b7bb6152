"""``oulu``: Oulu-CASIA NIR&VIS, videos from the neutral face to the peak of six expressions.

Zhao, Huang, Taini, Li, Pietikäinen, "Facial expression recognition from near-infrared videos", 2011: 80 subjects ×
6 expressions × 3 lights × 2 cameras. Papers mostly report on the 480 sequences of the visible-light camera in
strong light, with the last three frames of a sequence as its expression and the first one as the neutral face.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
from PIL import Image

from lssl_augment.attributes import BASIC7
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.class_names import ClassNames
from lssl_augment.datasets.folder import NOT_AN_IMAGE
from lssl_augment.datasets.info import Dataset, DatasetInfo, StandInFace, StandInFile
from lssl_augment.datasets.published import count_notes, wrong_layout
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.sequences import (
    FrameSequence,
    add_frame,
    folders_above,
    rise,
    rise_notes,
    sequence_rows,
    still,
)
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError
from lssl_augment.faces.images import IMAGE_SUFFIXES

__all__ = [
    "CAMERAS",
    "DATASET",
    "LIGHTS",
    "NOT_IN_A_SEQUENCE",
    "OTHER_CAMERA",
    "OTHER_COPY",
    "OTHER_LIGHT",
    "oulu_stand_in",
    "read_oulu",
]

NOT_IN_A_SEQUENCE = "not in a folder P001/EXPRESSION/"
OTHER_CAMERA = "camera is not --modality"
OTHER_LIGHT = "light not in --lights"
OTHER_COPY = "sequence is also in another folder"

#: Visible light and near infrared.
CAMERAS = ("VL", "NI")
#: Word of a record → folder of the data set.
LIGHTS = MappingProxyType({"normal": "Strong", "weak": "Weak", "dark": "Dark"})

_EXPRESSIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
_LIGHT_FOLDERS = {"strong": "normal", "normal": "normal", "weak": "weak", "dark": "dark"}
# Also VL_Acropped and NI_Acropped, the publishers' cut-out faces.
_CAMERA_FOLDER = re.compile(r"(VL|VIS|NI|NIR)(_.*)?", re.IGNORECASE)
_SUBJECT_FOLDER = re.compile(r"P\d{1,3}", re.IGNORECASE)
_FIRST_NUMBER = 0
_STAND_IN_FRAMES = 6

INFO = DatasetInfo(
    name="oulu",
    title="Oulu-CASIA NIR&VIS facial expression database (Zhao et al., 2011)",
    layout="{VL,NI}/{Strong,Weak,Dark}/P001…P080/{Anger,Disgust,Fear,Happiness,Sadness,Surprise}/000.jpeg …, under "
    "OriginalImg/ or the like, or cut out in VL_Acropped/ and NI_Acropped/",
    ask="Center for Machine Vision and Signal Analysis, University of Oulu, Finland (www.oulu.fi), with a signed "
    "licence agreement",
    licence="non-commercial research under a signed agreement with the University of Oulu; not to be passed on",
    citation="G. Zhao, X. Huang, M. Taini, S. Z. Li, M. Pietikäinen: Facial expression recognition from near-infrared "
    "videos. Image and Vision Computing 29(9), 607–619, 2011",
    protocol="10-fold, subject-independent, on the 480 sequences of VL in Strong light: the last three frames of "
    "each for the six expressions, the first one where a neutral class is wanted",
    classes=BASIC7,
    options=("frames", "lights", "modality"),
    published=MappingProxyType(
        {"subjects": 80} | {f"{camera}/{light} sequences": 480 for camera in CAMERAS for light in LIGHTS.values()}
    ),
)


@dataclass(frozen=True, order=True)
class _Key:
    """Names a sequence. copy: folder above the camera, light and subject, since a copy may hold frames twice."""

    camera: str
    light: str
    subject: str
    expression: str
    copy: str = ""

    @property
    def name(self) -> str:
        return f"{self.camera}/{LIGHTS[self.light]}/{self.subject}/{self.expression}"


def read_oulu(root: Path, options: ReadOptions) -> RecordTable:
    """Read a folder or zip archive; ``modality`` is VL and ``lights`` are normal unless asked otherwise.

    Without a folder that names the camera (or the light), the files are taken for VL (or Strong), and a note says
    so. Of original and cut-out frames of one sequence the original ones are taken.

    Raises:
        DataError: another layout, an unknown expression, camera or light, or nothing of what was asked for.
    """
    camera, lights = _camera(options), _lights(options)
    tree = FileTree(root)
    found, skipped, assumed = _sequences(tree)
    if not found:
        raise wrong_layout(INFO, root, "folders P001/Anger/ with numbered images", tree.found())
    taken: list[FrameSequence] = []
    for key, frames in _first_copies(found, skipped):
        if key.camera != camera or key.light not in lights:
            reason = OTHER_CAMERA if key.camera != camera else OTHER_LIGHT
            skipped += [(file, reason) for file in frames.values()]
            continue
        where = f"folder {PurePosixPath(next(iter(frames.values()))).parent}/"
        taken.append(FrameSequence(key.name, key.subject, key.expression, where, frames, key.light))
    if not taken:
        has = sorted({f"{key.camera}/{LIGHTS[key.light]}" for key in found})
        raise DataError(
            f"{root} has no {camera} sequences in {' or '.join(lights)} light; it has {', '.join(has)} "
            "(Strong is normal light). Choose with --modality and --lights"
        )
    names = ClassNames(BASIC7, options)
    rows: list[Row] = []
    for sequence in taken:
        # An alias may make a folder neutral.
        neutral = names.word(sequence.expression, sequence.where) == "neutral"
        course = still if neutral else partial(rise, first_number=_FIRST_NUMBER)
        new, left_out = sequence_rows(sequence, course, options.frames)
        rows += new
        skipped += left_out
    notes = assumed + _missing_lights(taken, lights) + count_notes(INFO.published, _counts(taken, camera))
    return assemble("oulu", tree, rows, BASIC7, options, skipped, notes + rise_notes(taken))


def oulu_stand_in(subjects: int) -> Iterator[StandInFile]:
    """Both cameras, all lights and expressions, and six frames a sequence for each of so many subjects.

    Near-infrared pictures are grey ones.
    """
    last = _STAND_IN_FRAMES - 1
    for subject in range(subjects):
        for camera in CAMERAS:
            for light, folder in LIGHTS.items():
                for expression in _EXPRESSIONS:
                    for i in range(_STAND_IN_FRAMES):
                        word = expression if i else "neutral"
                        yield StandInFile(
                            f"{camera}/{folder}/P{subject + 1:03d}/{expression.capitalize()}/{i:03d}.jpeg",
                            StandInFace(subject, word, light=light, intensity=i / last),
                            _encode_grey if camera == "NI" else None,
                        )


DATASET = Dataset(INFO, read_oulu, oulu_stand_in)


def _camera(options: ReadOptions) -> str:
    camera = (options.modality or CAMERAS[0]).strip().upper()
    if camera not in CAMERAS:
        raise DataError(f"modality must be VL (visible light) or NI (near infrared) for oulu; got {options.modality!r}")
    return camera


def _lights(options: ReadOptions) -> tuple[str, ...]:
    if options.lights is None:
        return ("normal",)
    lights = tuple(dict.fromkeys(light.strip().lower() for light in options.lights))
    if not lights or not set(lights) <= set(LIGHTS):
        raise DataError(f"lights must be among {', '.join(LIGHTS)} for oulu; got {', '.join(options.lights) or 'none'}")
    return lights


def _sequences(tree: FileTree) -> tuple[dict[_Key, dict[int, str]], list[tuple[str, str]], list[str]]:
    """Frames of all sequences, pairs (file, reason) of other files, and notes on what had to be assumed."""
    above = folders_above(tree)
    found: dict[_Key, dict[int, str]] = defaultdict(dict)
    skipped = []
    cameras, lights = set(), set()
    for file in tree.names:
        path = PurePosixPath(file)
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            skipped.append((file, NOT_AN_IMAGE))
            continue
        *outer, subject, expression = ("", *above, *path.parts[:-1])
        if not _SUBJECT_FOLDER.fullmatch(subject):
            skipped.append((file, NOT_IN_A_SEQUENCE))
            continue
        camera, light = _camera_of(outer), _light_of(outer)
        cameras.add(camera)
        lights.add(light)
        key = _Key(
            camera or CAMERAS[0],
            light or "normal",
            f"P{int(subject[1:]):03d}",
            expression.capitalize(),
            str(path.parent),
        )
        reason = add_frame(found[key], file)
        if reason is not None:
            skipped.append((file, reason))
    assumed = [
        f"no folder {names} above some or all subjects: their frames are taken for {usual}"
        for names, usual, seen in (("VL or NI", "VL", cameras), ("Strong, Weak or Dark", "Strong", lights))
        if "" in seen
    ]
    return {key: frames for key, frames in found.items() if frames}, skipped, assumed


def _camera_of(folders: list[str]) -> str:
    """Camera of the nearest folder that names one, or the empty string."""
    for name in reversed(folders):
        match = _CAMERA_FOLDER.fullmatch(name)
        if match:
            return "VL" if match[1].upper().startswith("V") else "NI"
    return ""


def _light_of(folders: list[str]) -> str:
    """Word for the light of the nearest folder that names one, or the empty string."""
    return next((_LIGHT_FOLDERS[name.lower()] for name in reversed(folders) if name.lower() in _LIGHT_FOLDERS), "")


def _first_copies(
    found: dict[_Key, dict[int, str]], skipped: list[tuple[str, str]]
) -> Iterator[tuple[_Key, dict[int, str]]]:
    """Each sequence once, original frames before cut-out ones; the other copies go to ``skipped``."""
    seen = set()
    for key in sorted(found, key=lambda key: ("crop" in key.copy.lower() or "preprocess" in key.copy.lower(), key)):
        if key.name in seen:
            skipped += [(file, OTHER_COPY) for file in found[key].values()]
        else:
            seen.add(key.name)
            yield key, found[key]


def _counts(taken: list[FrameSequence], camera: str) -> dict[str, int]:
    counts = {"subjects": len({sequence.subject for sequence in taken})}
    for light in {sequence.light for sequence in taken}:
        counts[f"{camera}/{LIGHTS[light]} sequences"] = sum(sequence.light == light for sequence in taken)
    return counts


def _missing_lights(taken: list[FrameSequence], lights: tuple[str, ...]) -> list[str]:
    here = {sequence.light for sequence in taken}
    return [f"{light} light was asked for, but this copy has none" for light in lights if light not in here]


def _encode_grey(picture: np.ndarray, points: np.ndarray) -> bytes:
    """JPEG of the luminance of a picture ``(S, S, 3)`` uint8."""
    buffer = io.BytesIO()
    Image.fromarray(picture).convert("L").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
