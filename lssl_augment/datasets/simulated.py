"""Stand-ins: simulated copies of data sets that must be asked for, to try loaders, protocols and commands without one.

A stand-in has the layout, the classes and the attributes of the real thing, and the package's synthetic people for
faces, turned to the wanted expression by the released generator. What is measured on it says nothing about real
faces, and the packs made of it are marked.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from lssl_augment.datasets.info import Dataset, StandInFace, StandInFile
from lssl_augment.datasets.prepare import PrepareConfig, PrepareReport, Progress, Tell, prepare
from lssl_augment.datasets.prepare_journal import parts_folder
from lssl_augment.datasets.records import ReadOptions
from lssl_augment.datasets.registry import DATASET_NAMES, find_dataset
from lssl_augment.datasets.stand_in import mark_stand_in
from lssl_augment.errors import DataError
from lssl_augment.faces.backends.bundled import dense_of_faces
from lssl_augment.faces.pack_writer import check_out
from lssl_augment.faces.pose import yaw_deg

if TYPE_CHECKING:
    from lssl_augment.models.engine import ExpressionEngine

__all__ = ["GENERATOR", "LIGHT_GAINS", "NEAREST", "prepare_simulated", "write_stand_in"]

GENERATOR = "lfw-128"
#: Expressions the generator does not know → the one shown instead and its intensity against the wanted one.
NEAREST = {"fear": ("surprise", 0.55), "disgust": ("anger", 0.6), "contempt": ("happiness", 0.35)}
#: Light → what pixel values are multiplied by.
LIGHT_GAINS = {"normal": 1.0, "weak": 0.38, "dark": 0.16}

#: People of a stand-in, where it is not ten: BU-3DFE renders 175 views of each.
_SUBJECTS = {"bu3dfe": 5}
#: Yaw that a warp of the picture can show, and the most it is turned by; beyond, the far half would fold over.
_MOST_YAW_DEG, _MOST_TURN_DEG = 20.0, 24.0
_BATCH = 16
_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}


def prepare_simulated(
    name: str,
    root: Path | None,
    config: PrepareConfig,
    options: ReadOptions | None = None,
    subjects: int | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> PrepareReport:
    """Make a stand-in for a data set and turn it into a face pack, which is marked as simulated.

    Args:
        name: of the registry. root: a folder that does not exist yet, where the stand-in is kept; None: it is made in
            a temporary folder and removed. subjects: people in it; None: 10, or 5 where each has hundreds of views.

    Raises:
        DataError: the data set has no stand-in, ``root`` exists, and as of :func:`~.prepare.prepare`.
        WeightsError: the generator, the face model or the landmark network is not there.
    """
    dataset = find_dataset(name)
    check_out(config.out, config.overwrite)
    subjects = _SUBJECTS.get(name, 10) if subjects is None else subjects
    if root is not None:
        write_stand_in(dataset, root, subjects)
        if tell is not None:
            tell(f"a stand-in for {name} was written to {root}")
        return prepare(name, root, config, options, progress, tell)
    with tempfile.TemporaryDirectory(prefix="lssl-augment-") as folder:
        kept = Path(folder) / name
        write_stand_in(dataset, kept, subjects)
        try:
            return prepare(name, kept, config, options, progress, tell)
        except BaseException:
            # Nothing can go on from these: the next stand-in lies elsewhere.
            shutil.rmtree(parts_folder(config.out), ignore_errors=True)
            raise


def write_stand_in(dataset: Dataset, root: Path, subjects: int) -> tuple[str, ...]:
    """Write the stand-in for a data set; the same one for the same number of subjects.

    Args:
        root: a folder that does not exist yet; it appears when it is complete. subjects: people in it.

    Returns:
        What should be known about it; stored in its mark and in the packs made of it.

    Raises:
        DataError: the data set has no stand-in, ``root`` exists, or no subjects.
        WeightsError: the generator, the face model or the landmark network is not there.
    """
    if dataset.stand_in is None:
        others = ", ".join(name for name in DATASET_NAMES if name not in ("folder", "csv"))
        raise DataError(
            f"{dataset.info.name} has no stand-in, as its files are your own; those that have one: {others}"
        )
    if subjects < 1:
        raise DataError(f"subjects must be at least 1; got {subjects}")
    if root.exists():
        raise DataError(
            f"{root} exists; with --simulated, --root is a folder to be written: name one that does not exist yet, or "
            "leave --root out"
        )
    files = list(dataset.stand_in(subjects))
    faces = [file.face for file in files if file.face is not None]
    notes = _notes(faces)
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = root.with_name(f".{root.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)  # what a killed run left
    unfinished.mkdir()
    try:
        pictures = _Pictures(dataset.info.name, faces)
        for file in files:
            path = unfinished / file.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_content(file, pictures))
        mark_stand_in(unfinished, notes)
        os.replace(unfinished, root)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return notes


def _notes(faces: Sequence[StandInFace]) -> tuple[str, ...]:
    notes = [
        f"simulated: the faces are synthetic people, their expressions made by the generator {GENERATOR}; results on "
        "them say nothing about real faces"
    ]
    shown = {face.expression for face in faces}
    for word, (other, share) in NEAREST.items():
        if word in shown:
            notes.append(
                f"simulated: the generator does not know {word}; shown as {other} at {share:g} of the intensity"
            )
    turn = max((abs(face.yaw_deg) for face in faces), default=0.0)
    if turn > _MOST_YAW_DEG:
        notes.append(f"simulated: heads are turned by about {_MOST_YAW_DEG:g} degrees where up to {turn:g} are stated")
    return tuple(notes)


def _content(file: StandInFile, pictures: _Pictures) -> bytes:
    if file.face is None:
        if file.content is None:
            raise DataError(f"the stand-in's file {file.file} has neither a face nor content")
        return file.content
    picture, dense = pictures.of(file.face, file.size_px)
    if file.encode is not None:
        return file.encode(picture, dense)
    suffix = Path(file.file).suffix.lower()
    if suffix not in _FORMATS:
        raise DataError(f"the stand-in's file {file.file} has a picture, but no suffix of one: {', '.join(_FORMATS)}")
    data = io.BytesIO()
    Image.fromarray(picture).save(data, _FORMATS[suffix], **({"quality": 95} if suffix in (".jpg", ".jpeg") else {}))
    return data.getvalue()


class _Pictures:
    """Pictures of the people of a stand-in; each expression of a person is made once."""

    def __init__(self, name: str, faces: Sequence[StandInFace]) -> None:
        wanted = sorted({_plain(face) for face in faces}, key=lambda f: (f.subject, f.expression, f.intensity))
        self._made = dict(zip(wanted, _faces(name, wanted), strict=True))

    def of(self, face: StandInFace, size_px: int) -> tuple[np.ndarray, np.ndarray]:
        """The picture ``(size_px, size_px, 3)`` uint8 and its dense points ``(478, 3)`` float64, its pixels."""
        picture, dense = self._made[_plain(face)]
        if face.yaw_deg:
            wanted = np.clip(face.yaw_deg, -_MOST_YAW_DEG, _MOST_YAW_DEG)
            turn = np.clip(wanted - yaw_deg(dense), -_MOST_TURN_DEG, _MOST_TURN_DEG)  # nobody looks straight ahead
            picture, dense = _turned(picture, dense, float(turn))
        scale = size_px / len(picture)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        picture = cv2.resize(picture, (size_px, size_px), interpolation=how)
        dense = np.concatenate([(dense[:, :2] + 0.5) * scale - 0.5, dense[:, 2:] * scale], axis=1)
        dimmed = np.rint(picture * LIGHT_GAINS[face.light]).astype(np.uint8)
        return dimmed, dense


def _plain(face: StandInFace) -> StandInFace:
    """The face in normal light and not turned; at rest where it shows nothing."""
    rest = face.expression == "neutral" or face.intensity == 0
    plain = replace(face, light="normal", yaw_deg=0.0)
    return replace(plain, expression="neutral", intensity=1.0) if rest else plain


def _faces(name: str, wanted: Sequence[StandInFace]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures and dense points of plain faces."""
    import torch

    from lssl_augment.models.bundle import load_model
    from lssl_augment.models.engine import ExpressionEngine
    from lssl_augment.simulation.face_model import load_face_model

    if not wanted:
        return []
    engine = ExpressionEngine(load_model(GENERATOR), device="cpu")
    people = max(face.subject for face in wanted) + 1
    images, dense = load_face_model().sample(np.array([_seed(name, i) for i in range(people)]))
    made = [(images[face.subject], dense[face.subject].astype(np.float64)) for face in wanted]
    edited = [i for i, face in enumerate(wanted) if _target(face, engine) is not None]
    with torch.inference_mode():
        for start in range(0, len(edited), _BATCH):
            rows = edited[start : start + _BATCH]
            pictures = _edited([wanted[i] for i in rows], images, dense, name, engine)
            for row, picture, points in zip(rows, pictures, dense_of_faces(pictures), strict=True):
                made[row] = picture, points
    return made


def _edited(
    faces: Sequence[StandInFace], images: np.ndarray, dense: np.ndarray, name: str, engine: ExpressionEngine
) -> np.ndarray:
    """One batch, ``(B, S, S, 3)`` uint8."""
    import torch

    who = [face.subject for face in faces]
    targets, strengths = zip(*(_known(_target(face, engine)) for face in faces), strict=True)
    sources = torch.from_numpy(images[who]).permute(0, 3, 1, 2).float() / 127.5 - 1
    rest = torch.full((len(faces),), engine.vocabulary.index("neutral"))
    encoded = engine.encode(sources, torch.from_numpy(dense[who]), rest)
    seeds = torch.tensor([_seed(name, face.subject, face.expression) for face in faces])
    out = engine.edit(encoded, torch.tensor(targets), torch.tensor(strengths, dtype=torch.float32), seeds)
    return out.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _target(face: StandInFace, engine: ExpressionEngine) -> tuple[int, float] | None:
    """Label of the generator and intensity; None: the face as it is."""
    word, share = face.expression, 1.0
    if word not in engine.vocabulary:
        word, share = NEAREST.get(word, ("neutral", 1.0))
    if word == "neutral" or word not in engine.vocabulary:
        return None
    return engine.vocabulary.index(word), share * face.intensity


def _known(target: tuple[int, float] | None) -> tuple[int, float]:
    assert target is not None  # only such faces are edited
    return target


def _turned(picture: np.ndarray, dense: np.ndarray, turn_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture warped as if the head were turned, and its points; positive turns to the viewer's right."""
    import torch

    from lssl_augment.models.warp import shape_flow, warp_image

    angle = np.deg2rad(turn_deg)
    middle = dense.mean(axis=0)
    x, z = dense[:, 0] - middle[0], dense[:, 2] - middle[2]
    turned = dense.copy()
    turned[:, 0] = middle[0] + np.cos(angle) * x - np.sin(angle) * z
    turned[:, 2] = middle[2] + np.sin(angle) * x + np.cos(angle) * z
    with torch.inference_mode():
        before, after = (torch.from_numpy(points[None]).float() for points in (dense, turned))
        pixels = torch.from_numpy(np.ascontiguousarray(picture))[None].permute(0, 3, 1, 2).float()
        warped = warp_image(pixels, shape_flow(before, after, len(picture)))
    return warped[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy(), turned


def _seed(*words: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(words).encode()).digest()[:8], "big") >> 1
