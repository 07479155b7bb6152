"""The synthetic file: names, types and how to open one. docs/synthetic_file.md describes it for readers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError, SchemaError

__all__ = [
    "AI_EDITED",
    "AI_MADE",
    "BUILT_IN_FOLD",
    "COLUMNS",
    "FORMAT",
    "LATER_COLUMNS",
    "SCHEMA_VERSION",
    "TEXT_COLUMNS",
    "SyntheticInfo",
    "journal_path",
    "open_synthetic",
    "partial_path",
    "read_info",
    "read_texts",
]

FORMAT = "lssl-augment/synthetic"
SCHEMA_VERSION = 1

#: IPTC digital source types: made by a trained model alone, and a photograph edited by one.
AI_MADE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
AI_EDITED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"

#: The fold of built-in people, who belong to no data set's split.
BUILT_IN_FOLD = "built-in"

#: Numeric datasets of shape ``(N,)``; ``images`` is ``(N, face_size_px, face_size_px, 3)`` uint8.
COLUMNS: dict[str, np.dtype[Any]] = {
    "labels": np.dtype(np.int64),
    "source_labels": np.dtype(np.int64),
    "source_ids": np.dtype(np.int64),
    "intensities": np.dtype(np.float32),
    "seeds": np.dtype(np.int64),
    "scores": np.dtype(np.float32),
    "accepted": np.dtype(np.bool_),
}
#: Numeric datasets that files of earlier versions lack.
LATER_COLUMNS: dict[str, np.dtype[Any]] = {"yaws": np.dtype(np.float32)}
#: UTF-8 datasets of shape ``(N,)``.
TEXT_COLUMNS = ("subjects", "folds")

_ATTRIBUTES = (
    "schema_version",
    "class_names",
    "face_size_px",
    "config",
    "counts",
    "source",
    "weights_sha256",
    "weights_card",
    "licence",
    "ai_generated",
    "digital_source_type",
    "complete",
)


def partial_path(out: Path) -> Path:
    """Where an unfinished run of ``out`` is kept."""
    return out.with_name(out.name + ".partial")


def journal_path(out: Path) -> Path:
    """The small file beside an unfinished run that says how many rows are safely written."""
    return out.with_name(out.name + ".journal")


@dataclass(frozen=True)
class SyntheticInfo:
    """The attributes of a synthetic file.

    Attributes:
        vocabulary: class names; index = label. face_size_px: side of the images.
        config: what was asked for. counts: images made for each class.
        source: what the faces were made from (kind, data set, split …).
        weights_sha256, weights_card: the generator. licence: of the images.
        digital_source_type: IPTC URI. test_subjects_allowed: whether other splits than train were let in.
    """

    vocabulary: Vocabulary
    face_size_px: int
    config: dict[str, Any]
    counts: dict[str, int]
    source: dict[str, Any]
    weights_sha256: str
    weights_card: dict[str, Any]
    licence: str
    digital_source_type: str
    test_subjects_allowed: bool


def open_synthetic(path: str | Path, *, unfinished: bool = False) -> h5py.File:
    """Open for reading and validate.

    Args:
        path: the file. unfinished: also accept one whose ``complete`` flag is not set.

    Raises:
        FileNotFoundError: there is no such file.
        SchemaError: not a synthetic file, damaged, of another schema version, or not finished.
    """
    path = Path(path)
    if not path.exists():
        if partial_path(path).exists():
            raise SchemaError(
                f"{path.name} is not finished: its run stopped part way ({partial_path(path).name} is "
                "there); "
                "run the same `lssl-augment generate` command again with --resume"
            )
        raise FileNotFoundError(f"there is no file {path}")
    try:
        file = h5py.File(path, "r")
    except BlockingIOError as error:
        raise SchemaError(f"{path.name} is being written by another process") from error
    except OSError as error:
        raise SchemaError(f"{path.name} is no readable HDF5 file, perhaps truncated ({error})") from error
    try:
        _validate(file, path.name, unfinished)
    except BaseException:
        file.close()
        raise
    return file


def _validate(file: h5py.File, name: str, unfinished: bool) -> None:
    kind = file.attrs.get("format")
    if kind != FORMAT:
        raise SchemaError(f"{name} is not a synthetic file: its format is {kind!r}, expected {FORMAT!r}")
    version = file.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        raise SchemaError(f"{name} has schema version {version}; this package reads version {SCHEMA_VERSION}")
    missing = [a for a in _ATTRIBUTES if a not in file.attrs]
    missing += [d for d in ("images", *COLUMNS, *TEXT_COLUMNS) if d not in file]
    if missing:
        raise SchemaError(f"{name} lacks {', '.join(missing)}; it is damaged or was made by something else")
    if not unfinished and not bool(file.attrs["complete"]):
        raise SchemaError(
            f"{name} is not finished: its run stopped part way; run the same `lssl-augment generate` command "
            "again with --resume"
        )
    rows, size = len(file["labels"]), int(file.attrs["face_size_px"])
    images = file["images"]
    if images.shape != (rows, size, size, 3) or images.dtype != np.uint8:
        raise SchemaError(f"{name}: images must be {(rows, size, size, 3)} uint8; found {images.shape} {images.dtype}")
    for column, dtype in COLUMNS.items():
        if file[column].shape != (rows,) or file[column].dtype != dtype:
            found = f"{file[column].shape} {file[column].dtype}"
            raise SchemaError(f"{name}: {column} must be {(rows,)} {dtype}; found {found}")
    for column in TEXT_COLUMNS:
        if file[column].shape != (rows,) or h5py.check_string_dtype(file[column].dtype) is None:
            raise SchemaError(f"{name}: {column} must be {(rows,)} UTF-8 texts; found {file[column].dtype}")


def read_info(file: h5py.File) -> SyntheticInfo:
    """The attributes of an open synthetic file; ``SchemaError`` when one cannot be read."""
    attrs = file.attrs
    try:
        return SyntheticInfo(
            vocabulary=Vocabulary(tuple(json.loads(attrs["class_names"]))),
            face_size_px=int(attrs["face_size_px"]),
            config=json.loads(attrs["config"]),
            counts=json.loads(attrs["counts"]),
            source=json.loads(attrs["source"]),
            weights_sha256=str(attrs["weights_sha256"]),
            weights_card=json.loads(attrs["weights_card"]),
            licence=str(attrs["licence"]),
            digital_source_type=str(attrs["digital_source_type"]),
            test_subjects_allowed=bool(attrs.get("test_subjects_allowed", False)),
        )
    except (json.JSONDecodeError, TypeError, DataError) as error:
        raise SchemaError(f"{Path(file.filename).name}: an attribute cannot be read ({error})") from error


def read_texts(dataset: h5py.Dataset) -> np.ndarray:
    """A UTF-8 dataset as an array of ``str``, shape ``(N,)``."""
    return np.array(dataset.asstr()[:], dtype=np.str_) if len(dataset) else np.zeros(0, np.str_)
