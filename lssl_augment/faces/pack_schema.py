"""What a face pack holds: its columns and attributes, and the check that a file holds just that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from lssl_augment import attributes
from lssl_augment.errors import DataError, SchemaError
from lssl_augment.faces.landmarks import DENSE_COUNT

__all__ = [
    "FORMAT",
    "LIGHTS",
    "LIGHT_FROM",
    "NUMBER_COLUMNS",
    "SCHEMA_VERSION",
    "TEXT_COLUMNS",
    "YAW_FROM",
    "check_faces",
    "check_numbers",
    "check_pack",
    "check_texts",
]

FORMAT = "lssl-augment/face-pack"
SCHEMA_VERSION = 2
#: Columns of texts, ``(N,)``.
TEXT_COLUMNS = ("subjects", "files", "split", "lights", "sequences")
#: Columns of numbers beside the labels, ``(N,)``: name → type and what stands for "unknown".
NUMBER_COLUMNS: Mapping[str, tuple[type[np.generic], float]] = {
    "yaw_deg": (np.float32, np.nan),
    "intensities": (np.float32, np.nan),
    "frames": (np.int32, 0),
}
#: Light conditions; empty is unknown.
LIGHTS = (*attributes.LIGHTS, "")
#: Where the yaw angles and the light conditions of a pack come from; empty: it has none.
YAW_FROM = ("", "data set", "landmarks")
LIGHT_FROM = ("", "data set", "photometric rule")

_RANGES = {"yaw_deg": (-180.0, 180.0), "intensities": (0.0, 1.0)}
_ATTRIBUTES = (
    *("schema_version", "class_names", "dataset", "template68", "face_size_px", "counts", "skipped"),
    *("simulated", "landmarks", "notes", "yaw_from", "light_from"),
)


def check_texts(column: str, values: Sequence[str], rows: int) -> list[str]:
    """Texts of a column.

    Raises:
        DataError: not one for each of ``rows`` faces, or a light that is none.
    """
    if len(values) != rows:
        raise DataError(f"{column}: {rows} faces need as many texts; got {len(values)}")
    texts = [str(value) for value in values]
    wrong = sorted(set(texts) - set(LIGHTS)) if column == "lights" else []
    if wrong:
        allowed = ", ".join(LIGHTS[:-1])
        raise DataError(f"lights must be {allowed}, or empty where unknown; got {', '.join(wrong)}")
    return texts


def check_numbers(column: str, values: Any, rows: int) -> np.ndarray:
    """Numbers of a column, ``(rows,)`` in its type; None gives those that stand for "unknown".

    Raises:
        DataError: another shape or kind of number, or one out of its range.
    """
    dtype, unknown = NUMBER_COLUMNS[column]
    if values is None:
        return np.full(rows, unknown, dtype)
    array = np.asarray(values)
    kinds = "fiu" if column in _RANGES else "iu"
    if array.shape != (rows,) or array.dtype.kind not in kinds:
        kind = "numbers" if column in _RANGES else "integers"
        raise DataError(f"{column} must be ({rows},) {kind}; got {array.shape} {array.dtype}")
    if column in _RANGES:
        low, high = _RANGES[column]
        known = array[~np.isnan(array)]
        if known.size and not (low <= known.min() and known.max() <= high):
            raise DataError(
                f"{column} must be {low:g} to {high:g}, or NaN where unknown; got {known.min():g} to {known.max():g}"
            )
    elif array.size and not (-(2**31) <= array.min() and array.max() < 2**31):
        raise DataError(f"{column} must be 32-bit integers; got {array.min()} to {array.max()}")
    return array.astype(dtype)


def check_faces(
    images: np.ndarray, labels: np.ndarray, landmarks: np.ndarray, dense: np.ndarray | None, size_px: int, classes: int
) -> None:
    """Check the faces of a block: images ``(B, S, S, 3)`` uint8, a label each, landmarks.

    Raises:
        DataError: another shape or type, a label that is none of the ``classes``, or landmarks not finite.
    """
    rows = len(images)
    if images.shape != (rows, size_px, size_px, 3) or images.dtype != np.uint8:
        raise DataError(f"images must be (B, {size_px}, {size_px}, 3) uint8; got {images.shape} {images.dtype}")
    if labels.shape != (rows,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels must be ({rows},) integers; got {labels.shape} {labels.dtype}")
    if rows and not (-1 <= labels.min() and labels.max() < classes):
        raise DataError(f"labels must be -1 to {classes - 1}; got {labels.min()} to {labels.max()}")
    if landmarks.shape != (rows, 68, 2) or not np.isfinite(landmarks).all():
        raise DataError(f"landmarks must be finite, ({rows}, 68, 2); got {landmarks.shape}")
    if dense is not None and (dense.shape != (rows, DENSE_COUNT, 3) or not np.isfinite(dense).all()):
        raise DataError(f"dense must be finite, ({rows}, {DENSE_COUNT}, 3); got {dense.shape}")


def check_pack(file: h5py.File, name: str) -> None:
    """Check kind, version, attributes, and the shape and type of every column.

    Raises:
        SchemaError: what is wrong, with the ``name`` of the file first.
    """
    kind = file.attrs.get("format")
    if kind != FORMAT:
        raise SchemaError(f"{name} is not a face pack: its format is {kind!r}, expected {FORMAT!r}")
    version = file.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        raise SchemaError(
            f"{name} has schema version {version}; this package reads version {SCHEMA_VERSION}: {_remedy(version)}"
        )
    if not file.attrs.get("complete", False):
        raise SchemaError(f"{name} is not finished; write it again with `lssl-augment prepare`")
    missing = [a for a in _ATTRIBUTES if a not in file.attrs]
    columns = ("images", "labels", "landmarks", *TEXT_COLUMNS, *NUMBER_COLUMNS)
    missing += [d for d in columns if not isinstance(file.get(d), h5py.Dataset)]
    if missing:
        raise SchemaError(f"{name} lacks {', '.join(missing)}; it is damaged or was made by something else")
    size = int(file.attrs["face_size_px"])
    rows = file["labels"].shape[0] if file["labels"].ndim else 0
    expected: dict[str, tuple[tuple[int, ...], type]] = {
        "images": ((rows, size, size, 3), np.uint8),
        "labels": ((rows,), np.int64),
        "landmarks": ((rows, 68, 2), np.float32),
        **{column: ((rows,), dtype) for column, (dtype, _) in NUMBER_COLUMNS.items()},
    }
    if "landmarks_dense" in file:
        expected["landmarks_dense"] = ((rows, DENSE_COUNT, 3), np.float32)
    for column, (shape, dtype) in expected.items():
        found = file[column]
        if found.shape != shape or found.dtype != dtype:
            raise SchemaError(f"{name}: {column} must be {shape} {np.dtype(dtype)}; found {found.shape} {found.dtype}")
    for column in TEXT_COLUMNS:
        if file[column].shape != (rows,) or h5py.check_string_dtype(file[column].dtype) is None:
            raise SchemaError(f"{name}: {column} must be {rows} UTF-8 texts; found {file[column].dtype}")
    if np.shape(file.attrs["template68"]) != (68, 2):
        raise SchemaError(f"{name}: template68 must have shape (68, 2)")


def _remedy(version: object) -> str:
    if isinstance(version, int | np.integer) and version > SCHEMA_VERSION:
        return "a newer version of the package wrote it; install that, or prepare the pack again with this one"
    return "prepare it again (`lssl-augment prepare NAME --root … --out … --overwrite`)"
