"""Training faces in memory and the deterministic sampler that draws batches of them.

Only the training split is ever read. A face and its landmarks are flipped together, with left and right
landmarks trading names. What epoch e holds, in which order and which way round, depends on (seed, e) alone,
so a sampler's whole state is two integers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lssl_augment.attributes import BASIC8, Vocabulary
from lssl_augment.errors import DataError
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE, flip_points68
from lssl_augment.faces.resize import resize_images, scale_dense

__all__ = [
    "FaceBatch",
    "FaceSampler",
    "TrainingFaces",
    "load_training_faces",
    "read_further",
    "resize_faces",
    "restrict_faces",
    "take_faces",
]


@dataclass(frozen=True, eq=False)
class TrainingFaces:
    """The labelled faces of one training split.

    Attributes:
        images: ``(N, S, S, 3)`` uint8 RGB; labels: ``(N,)`` int64.
        points68: ``(N, 68, 2)`` float32 in pixels of the images.
        dense: ``(N, 478, 3)`` float32, or None.
        subjects: ``(N,)`` text.
        vocabulary: names of the labels.
        dataset: name of the data set.
        yaw_deg: ``(N,)`` float32 degrees, NaN where unknown, or None.
        lights: ``(N,)`` text, empty where unknown, or None.
        further: ``(N,)`` bool, faces of a further pack (:mod:`.further`), or None: there are none.
    """

    images: np.ndarray
    labels: np.ndarray
    points68: np.ndarray
    dense: np.ndarray | None
    subjects: np.ndarray
    vocabulary: Vocabulary
    dataset: str
    yaw_deg: np.ndarray | None = None
    lights: np.ndarray | None = None
    further: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def face_size_px(self) -> int:
        """Size S of the faces."""
        return int(self.images.shape[1])

    def counts(self) -> dict[str, int]:
        """Faces of each class."""
        found = np.bincount(self.labels, minlength=len(self.vocabulary))
        return {name: int(n) for name, n in zip(self.vocabulary.names, found, strict=True)}

    def fingerprint(self) -> str:
        """Hash by which a resumed run knows that its data are the same, head pose and light included where known."""
        digest = hashlib.sha256(repr((self.images.shape, self.vocabulary.names)).encode())
        for part in (self.images, self.labels, self.points68):
            digest.update(np.ascontiguousarray(part).data)
        if self.further is not None:
            digest.update(self.further.tobytes())
        if self.yaw_deg is not None and not np.isnan(self.yaw_deg).all():
            digest.update(b"yaw_deg" + np.where(np.isnan(self.yaw_deg), np.inf, self.yaw_deg).astype("<f4").tobytes())
        if self.lights is not None and (self.lights != "").any():
            digest.update(b"lights" + "\0".join(self.lights.tolist()).encode())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class FaceBatch:
    """A batch of faces.

    Attributes:
        images: ``(B, 3, S, S)`` float32 in [-1, 1]; labels: ``(B,)`` int64.
        points68: ``(B, 68, 2)`` float32 in pixels.
        rows: which training faces they are, ``(B,)`` int64; flipped: which are mirrored, ``(B,)`` bool.
    """

    images: Tensor
    points68: Tensor
    labels: Tensor
    rows: Tensor
    flipped: Tensor

    def to(self, device: str | torch.device) -> FaceBatch:
        """A copy on a device."""
        return replace(self, **{k: v.to(device, non_blocking=True) for k, v in vars(self).items()})


def load_training_faces(
    path: str | Path,
    face_size_px: int,
    classes: tuple[str, ...] = (),
    *,
    splits: str | Path | None = None,
    fold: int | None = None,
    further: str | Path | None = None,
) -> TrainingFaces:
    """Read the labelled faces of a pack's ``train`` split, or of a fold's, into memory.

    Args:
        path: a face pack (HDF5), or an ``.npz`` with ``images``, ``labels``, ``subjects``, ``split``,
            ``dense`` or ``landmarks``, and optionally ``class_names`` (default: the eight basic expressions).
        face_size_px: faces of another size are resized, landmarks with them.
        classes: the expressions to keep, which become the vocabulary, in this order; default: all.
        splits: a split file, whose people take the place of the pack's own splits. fold: of it, from 0.
        further: a second pack, whose training faces teach what this one lacks (:mod:`.further`).

    Raises:
        DataError: no such file, unknown classes, a class without a training face, or splits that do not fit.
        LeakageError: the split file has a subject on both sides.
        SchemaError: not a face pack.
    """
    path = Path(path)
    faces = _read(path, splits, fold)
    if further:
        from lssl_augment.training.further import join_further

        wanted = Vocabulary(classes or faces.vocabulary.names)
        faces = join_further(resize_faces(faces, face_size_px), read_further(further, face_size_px), wanted)
    elif classes:
        faces = restrict_faces(faces, Vocabulary(tuple(classes)))
    empty = [name for name, n in faces.counts().items() if n == 0]
    if empty:
        there = ",".join(name for name, n in faces.counts().items() if n)
        raise DataError(
            f"{path} has no training faces of {', '.join(empty)}; choose the classes to learn, for example "
            f"--set classes={there or 'neutral,happiness'}"
        )
    return resize_faces(faces, face_size_px)


class FaceSampler:
    """Batches without end, epoch after epoch; a batch may span the end of one and the start of the next.

    Args:
        faces: where from.
        batch: faces a batch.
        seed: decides everything.
        flip: mirror half of the faces.
        balanced: each class has the same share of an epoch (to within one face); rare faces are repeated.

    Raises:
        DataError: batch below 1, or no faces.
    """

    def __init__(
        self, faces: TrainingFaces, batch: int, seed: int, *, flip: bool = True, balanced: bool = False
    ) -> None:
        if batch < 1 or not len(faces):
            raise DataError(f"a sampler needs faces and a batch of at least 1; got {len(faces)} and {batch}")
        self.faces = faces
        self.batch = batch
        self.seed = seed
        self.flip = flip
        self.balanced = balanced
        self.epoch = 0
        self.position = 0
        self._order, self._flips = self._draw(0)

    def next(self) -> FaceBatch:
        """The next batch, on the CPU."""
        return self.take(*self.draw())

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows ``(B,)`` int64 of the next batch and which of them are mirrored ``(B,)`` bool, for :meth:`take`."""
        rows, flips = [], []
        missing = self.batch
        while missing:
            if self.position == len(self._order):
                self.epoch, self.position = self.epoch + 1, 0
                self._order, self._flips = self._draw(self.epoch)
            part = slice(self.position, self.position + missing)
            rows.append(self._order[part])
            flips.append(self._flips[part])
            self.position += len(rows[-1])
            missing -= len(rows[-1])
        return np.concatenate(rows), np.concatenate(flips)

    def take(self, rows: np.ndarray, flipped: np.ndarray | None = None) -> FaceBatch:
        """The batch of given rows ``(B,)``, mirrored where ``flipped`` ``(B,)`` says so."""
        flipped = np.zeros(len(rows), bool) if flipped is None else flipped
        images = self.faces.images[rows]
        points = self.faces.points68[rows]
        images[flipped] = images[flipped, :, ::-1]
        points[flipped] = flip_points68(points[flipped], self.faces.face_size_px)
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32)
        return FaceBatch(
            images=pixels.div_(127.5).sub_(1.0),
            points68=torch.from_numpy(points),
            labels=torch.from_numpy(self.faces.labels[rows]),
            rows=torch.from_numpy(rows.astype(np.int64)),
            flipped=torch.from_numpy(flipped),
        )

    def state_dict(self) -> dict[str, int]:
        """Where the sampler stands."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
        self._order, self._flips = self._draw(self.epoch)

    def _draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.seed, epoch])
        count = len(self.faces)
        if self.balanced:
            present = np.unique(self.faces.labels)
            # Which classes get the odd faces changes from epoch to epoch.
            labels = rng.permutation(np.resize(rng.permutation(present), count))
            order = np.empty(count, np.int64)
            for label in present:
                places = np.flatnonzero(labels == label)
                pool = np.flatnonzero(self.faces.labels == label)
                rounds = -(-len(places) // len(pool))
                drawn = np.concatenate([rng.permutation(pool) for _ in range(max(1, rounds))])
                order[places] = drawn[: len(places)]
        else:
            order = rng.permutation(count)
        return order, rng.random(count) < 0.5 if self.flip else np.zeros(count, bool)


def read_further(path: str | Path, face_size_px: int) -> TrainingFaces:
    """Training faces of a further pack, whichever expressions it has; errors as of :func:`load_training_faces`."""
    return resize_faces(_read(Path(path), None, None), face_size_px)


def _read(path: Path, splits: str | Path | None, fold: int | None) -> TrainingFaces:
    if not path.is_file():
        raise DataError(f"no such face pack: {path}; write one with `lssl-augment prepare`")
    if path.suffix == ".npz" and (splits is not None or fold is not None):
        raise DataError(f"{path.name} has its own split; a split file and a fold go with a face pack (HDF5)")
    return _read_npz(path) if path.suffix == ".npz" else _read_pack(path, splits, fold)


def _read_npz(path: Path) -> TrainingFaces:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        train = arrays["split"] == "train"
        dense = arrays["dense"][train].astype(np.float32) if "dense" in arrays else None
        points = arrays["landmarks"][train] if dense is None else dense[:, SPARSE_FROM_DENSE, :2]
        names = arrays.get("class_names")
        return TrainingFaces(
            images=arrays["images"][train],
            labels=arrays["labels"][train].astype(np.int64),
            points68=points.astype(np.float32),
            dense=dense,
            subjects=arrays["subjects"][train],
            vocabulary=BASIC8 if names is None else Vocabulary(tuple(names.tolist())),
            dataset=path.stem,
            yaw_deg=arrays["yaw_deg"][train].astype(np.float32) if "yaw_deg" in arrays else None,
            lights=arrays["lights"][train] if "lights" in arrays else None,
        )
    except (KeyError, ValueError, OSError) as error:
        raise DataError(f"{path} cannot be used as training faces: {error}") from error


def _read_pack(path: Path, splits: str | Path | None, fold: int | None) -> TrainingFaces:
    from lssl_augment.datasets.split_file import open_fold

    with open_fold(path, splits, fold) as pack:
        rows = pack.select(split="train")
        rows = rows[pack.labels[rows] >= 0]
        images = np.empty((len(rows), pack.face_size_px, pack.face_size_px, 3), np.uint8)
        # Slices: HDF5 is slow at long lists of rows.
        for start in range(0, len(pack), 2048):
            inside = (rows >= start) & (rows < start + 2048)
            if inside.any():
                images[inside] = pack.images[start : start + 2048][rows[inside] - start]
        dense = pack.landmarks_dense
        return TrainingFaces(
            images=images,
            labels=pack.labels[rows].astype(np.int64),
            points68=pack.landmarks[rows].astype(np.float32),
            dense=None if dense is None else dense[:][rows].astype(np.float32),
            subjects=pack.subjects[rows],
            vocabulary=pack.vocabulary,
            dataset=pack.dataset,
            yaw_deg=pack.yaw_deg[rows],
            lights=pack.lights[rows],
        )


def restrict_faces(faces: TrainingFaces, vocabulary: Vocabulary, *, may_lack: bool = False) -> TrainingFaces:
    """Faces of some expressions, labelled anew.

    Raises:
        DataError: an expression that the faces' vocabulary lacks, unless ``may_lack``.
    """
    if not may_lack:
        for name in vocabulary.names:
            faces.vocabulary.index(name)
    mapping = vocabulary.mapping_from(faces.vocabulary)
    table = np.array([mapping.get(i, -1) for i in range(len(faces.vocabulary))], np.int64)
    labels = table[faces.labels]
    keep = labels >= 0
    return replace(take_faces(faces, np.flatnonzero(keep)), labels=labels[keep], vocabulary=vocabulary)


def take_faces(faces: TrainingFaces, rows: np.ndarray) -> TrainingFaces:
    """Some faces, in the order of ``rows``."""
    parts: dict[str, Any] = {
        name: None if (part := getattr(faces, name)) is None else part[rows]
        for name in ("images", "labels", "points68", "dense", "subjects", "yaw_deg", "lights", "further")
    }
    return replace(faces, **parts)


def resize_faces(faces: TrainingFaces, size_px: int) -> TrainingFaces:
    """Faces of another size, landmarks with them."""
    if faces.face_size_px == size_px:
        return faces
    factor = size_px / faces.face_size_px
    images = resize_images(faces.images, size_px)
    dense = None if faces.dense is None else scale_dense(faces.dense, factor)
    points = (faces.points68 + np.float32(0.5)) * np.float32(factor) - np.float32(0.5)
    return replace(faces, images=images, points68=points, dense=dense)
