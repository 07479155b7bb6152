"""What synthetic and real faces have in common as data sets: images in HDF5, labels, classes, transforms."""

from __future__ import annotations

import os
import weakref
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import h5py
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from lssl_augment.attributes import BASIC8, Vocabulary, canonical_expression
from lssl_augment.errors import DataError

__all__ = ["LabelledFaces", "choose_classes"]

Transform = Callable[[Any], Any]


def choose_classes(stored: Vocabulary, wanted: Sequence[str] | None) -> tuple[list[str], np.ndarray]:
    """Labels as a user counts them.

    Args:
        stored: the file's vocabulary. wanted: class names in the order of the labels to give out, in the
            user's own words (``happy`` is ``happiness``); None: as stored.

    Returns:
        The names, and for each stored label the label to give out, −1 where it is not wanted; shape
        ``(stored,)``.

    Raises:
        DataError: names that are unknown or repeated, or none of which the file has.
    """
    if wanted is None:
        return list(stored.names), np.arange(len(stored))
    if isinstance(wanted, str):
        raise TypeError(f"classes must be a list of names; got the text {wanted!r}")
    words = [canonical_expression(name) for name in wanted]
    unknown = [n for n, w in zip(wanted, words, strict=True) if w not in stored and w not in BASIC8]
    if unknown:
        allowed = ", ".join(dict.fromkeys((*stored.names, *BASIC8.names)))
        raise DataError(f"unknown classes {unknown}; allowed: {allowed}")
    if len(set(words)) != len(words):
        raise DataError(f"classes must be distinct; got {list(wanted)}")
    mapping = np.array([words.index(n) if n in words else -1 for n in stored.names])
    if (mapping < 0).all():
        raise DataError(f"none of the classes {list(wanted)} is in this file; it has: {', '.join(stored.names)}")
    return list(wanted), mapping


class LabelledFaces(Dataset[tuple[Any, Any]]):
    """Faces in the dataset ``images`` of an HDF5 file, torchvision-style; the base of two data sets.

    The file is opened when the first image is asked for, once in each process, and never travels: instances
    pickle, and work with any number of ``DataLoader`` workers under fork, spawn and forkserver.

    Attributes:
        classes: names, index = label. class_to_idx: the other way round. targets: label of every item (list
            of int). subjects: who each item shows, shape ``(N,)`` str. folds: the split each item comes from,
            shape ``(N,)`` str. rows: the file's row of every item, shape ``(N,)`` int64.
        held_out_subjects: people known to be kept for testing.
        is_synthetic: whether the faces are generated.
    """

    is_synthetic: bool
    held_out_subjects: frozenset[str] = frozenset()

    def __init__(
        self,
        path: str | os.PathLike[str],
        transform: Transform | None,
        target_transform: Transform | None,
        as_tensor: bool,
    ) -> None:
        self.path = os.path.abspath(os.fspath(path))  # workers may start in another folder
        self.transform = transform
        self.target_transform = target_transform
        self.as_tensor = as_tensor
        self.classes: list[str] = []
        self.targets: list[int] = []
        self.subjects = np.zeros(0, np.str_)
        self.folds = np.zeros(0, np.str_)
        self.rows = np.zeros(0, np.int64)
        self._handle: h5py.File | None = None
        self._process = -1

    @abstractmethod
    def _open(self) -> h5py.File:
        """Open and check the file."""

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Class name → label."""
        return {name: i for i, name in enumerate(self.classes)}

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes in the package's own words."""
        return Vocabulary(tuple(canonical_expression(name) for name in self.classes))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Item ``index``: (image, label).

        Returns:
            The image as a PIL image, or with ``as_tensor`` as a uint8 tensor ``(3, H, W)``, after
            ``transform``; the label as an int, after ``target_transform``.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range: there are {len(self)} items")
        pixels = self._images()[int(self.rows[index])]
        image: Any
        if self.as_tensor:
            image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        else:
            image = Image.fromarray(pixels)
        label: Any = self.targets[index]
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label

    def __add__(self, other: Dataset[tuple[Any, Any]]) -> Any:
        from lssl_augment.synthesis.mixing import concat

        return concat(self, other)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_process": -1}

    def _images(self) -> Any:
        if self._handle is None or self._process != os.getpid():
            if self._handle is not None:
                # Inherited through fork: it shares its file position with the parent. Closing it here leaves
                # the parent's open; without closing it, HDF5 would hand out the same one again.
                self._handle.close()
            self._handle = self._open()
            self._process = os.getpid()
            weakref.finalize(self, self._handle.close)
        return self._handle["images"]
