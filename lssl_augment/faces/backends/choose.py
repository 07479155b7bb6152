"""Landmark source by name → backend, and words that tell which it is."""

from __future__ import annotations

import os

from lssl_augment.errors import DataError, WeightsError
from lssl_augment.faces.backends.base import PICKS, LandmarkBackend
from lssl_augment.faces.backends.bundled import BundledBackend
from lssl_augment.faces.backends.insightface_backend import InsightFaceBackend
from lssl_augment.faces.backends.insightface_pack import check_pack, find_pack, first_use_note

__all__ = ["LANDMARK_SOURCES", "describe", "first_use_notes", "open_backend"]

#: ``precomputed``: those that come with the data set, and nothing else. ``auto``: these, and for what has none
#: insightface where one of its model packs is there and whole, else the package's own network.
LANDMARK_SOURCES = ("auto", "precomputed", "insightface", "bundled")


def open_backend(
    name: str = "auto",
    *,
    pick: str = "largest",
    device: str = "cpu",
    pack: str | os.PathLike[str] | None = None,
) -> LandmarkBackend | None:
    """The backend of a landmark source; None for ``precomputed``, which needs none.

    Nothing is loaded yet (:meth:`LandmarkBackend.load` does that), but ``auto`` looks at insightface's files.

    Args:
        name: one of ``LANDMARK_SOURCES``. pick: which of several faces (``PICKS``); the landmark network sees one.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        pack: of insightface: a name (``buffalo_l``) or a folder; None: the first known one that is there.

    Raises:
        DataError: an unknown source, pick or device.
        WeightsError: insightface is asked for, by name or by ``pack``, and cannot be used.
    """
    if name not in LANDMARK_SOURCES:
        raise DataError(f"landmarks must be one of {', '.join(LANDMARK_SOURCES)}; got {name!r}")
    if pick not in PICKS:
        raise DataError(f"pick must be one of {', '.join(PICKS)}; got {pick!r}")
    if pack is not None and name not in ("auto", "insightface"):
        raise DataError(f"a model pack is for insightface; with landmarks {name!r} leave it out")
    if name == "precomputed":
        return None
    if name == "bundled":
        return _bundled(pick, device)
    if name == "insightface" or pack is not None:
        return InsightFaceBackend(find_pack(pack), pick, device)
    try:
        folder = find_pack(None)
    except WeightsError:
        return _bundled(pick, device, "insightface is not used: none of its model packs is here")
    try:
        check_pack(folder)
    except WeightsError as error:
        # Without the path: notes are kept in face packs.
        return _bundled(pick, device, f"insightface is not used: {str(error).replace(str(folder), folder.name)}")
    return InsightFaceBackend(folder, pick, device)


def describe(backend: LandmarkBackend | None) -> tuple[str, ...]:
    """What to tell of where landmarks come from; the same text at every run on the same files."""
    return ("landmarks of the data set only",) if backend is None else backend.notes


def first_use_notes(backend: LandmarkBackend | None) -> tuple[str, ...]:
    """What is told once on a machine (terms of model packs) and then remembered; to be shown, not stored."""
    note = first_use_note(backend.folder) if isinstance(backend, InsightFaceBackend) else None
    return () if note is None else (note,)


def _bundled(pick: str, device: str, *notes: str) -> BundledBackend:
    usual = BundledBackend(device=device)
    if pick != "largest":
        notes = (*notes, f"pick {pick!r} changes nothing: the landmark network sees one face a photo")
    return BundledBackend(device=device, notes=(*usual.notes, *notes))
