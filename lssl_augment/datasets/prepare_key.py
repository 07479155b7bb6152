"""What the faces of a pack follow from, in one number: unfinished work is only used where that is the same."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

import lssl_augment
from lssl_augment._version import __version__
from lssl_augment.datasets.cut import FaceCutter
from lssl_augment.datasets.prepare_journal import CHUNK
from lssl_augment.datasets.records import Record
from lssl_augment.datasets.tree import FileTree
from lssl_augment.faces.align import FACE_SIZE_PX
from lssl_augment.faces.backends.bundled import BundledBackend
from lssl_augment.faces.backends.choose import describe
from lssl_augment.faces.backends.insightface_backend import InsightFaceBackend

__all__ = ["parts_key"]


def parts_key(tree: FileTree, records: Sequence[Record], cutter: FaceCutter) -> str:
    """SHA-256, in hexadecimal, over the photographs, the way they are cut, the weights and the package's version.

    Of a file, name, size and time of change count, as reading all photographs would take as long as preparing them.
    Labels, subjects and splits do not count: the pack takes them from the records, not from unfinished work.
    """
    digest = hashlib.sha256()

    def add(*values: object) -> None:
        digest.update(json.dumps([str(value) for value in values]).encode() + b"\n")

    add(__version__, CHUNK, FACE_SIZE_PX, tree.root.absolute())
    add(cutter.use_file, cutter.keep_dense, cutter.fill_dense, *_weights(cutter))
    made = any(record.photo is not None for record in records)
    for stamp in _stamps(tree, tree.names if made else sorted({record.file for record in records})):
        add(*stamp)
    for record in records:
        add(record.file, record.photo is not None)
        for array in (record.image, record.points68, record.dense):
            add(None if array is None else (array.shape, array.dtype))
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _stamps(tree: FileTree, names: Iterable[str]) -> list[tuple[object, ...]]:
    if not tree.root.is_dir():
        status = os.stat(tree.root)
        return [(*names, status.st_size, status.st_mtime_ns)]
    stamps: list[tuple[object, ...]] = []
    for name in names:
        try:
            status = os.stat(tree.root / name)
        except OSError:
            stamps.append((name, "missing"))
        else:
            stamps.append((name, status.st_size, status.st_mtime_ns))
    return stamps


def _weights(cutter: FaceCutter) -> list[object]:
    """What tells the backend's networks from others."""
    backend = cutter.backend
    words: list[object] = [repr(backend), *describe(backend)]
    if isinstance(backend, InsightFaceBackend):
        words += [
            (path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(backend.folder.glob("*.onnx"))
        ]
    if isinstance(backend, BundledBackend) or cutter.fill_dense:
        words.append(_card(backend.weights if isinstance(backend, BundledBackend) else "landmarks"))
    return words


def _card(weights: str | os.PathLike[str]) -> str:
    """Text of the card beside some weights, which has their sha256; read without torch, which takes long to load."""
    path = Path(weights)
    if path.suffix != ".safetensors":
        path = Path(lssl_augment.__file__).with_name("weights") / path.name
    try:
        return path.with_suffix(".json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # perhaps they are not needed; if they are, it is said then
        return "missing"
