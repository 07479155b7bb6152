"""A textured 3D scan as a photograph of any pose, with dense points that are right where no network would find them.

Landmarks are found on the frontal rendering, lifted to the scan by its depth, and projected into the view. Scan and
lifted points are kept for the next view of the same scan.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from lssl_augment.datasets.records import Locate
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError, ImageError
from lssl_augment.faces.images import read_image
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE, eye_distance_px
from lssl_augment.simulation.camera import Camera
from lssl_augment.simulation.mesh import Mesh, merge
from lssl_augment.simulation.render import Rendering, render
from lssl_augment.simulation.vrml import VrmlShape, read_vrml

__all__ = ["ScanView", "SolidPoints", "lift_points"]

#: Scans that are remembered: neighbouring views are worked on in several threads.
_REMEMBERED = 4
#: Points whose surface is further than this from where the landmarks expect it, in eye distances, are not on the face:
#: they look past its border, through a hole, or at a spike.
_FAR_OFF = 0.5
#: Fewer points than this share over a surface, and what was found is not the face of the scan.
_LEAST_LIFTED = 0.25


@dataclass(frozen=True)
class ScanView:
    """Takes the photograph of a scan (a ``PhotoSource``).

    Args:
        scan: VRML file. texture: its picture, unless the scan names another file beside it; None: only that one.
        yaw_deg: positive turns the face to the viewer's right. size_px: side of the photograph.
    """

    scan: str
    texture: str | None
    yaw_deg: float
    size_px: int = 256

    def __call__(self, tree: FileTree, locate: Locate | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Photograph ``(S, S, 3)`` uint8 RGB and dense points ``(478, 3)`` float64 in it; None without ``locate``, or
        when that sees no face on the frontal rendering.

        Depth of the points is measured from where ``locate`` has its zero: the middle of the frontal points, at
        their depth 0.

        Raises:
            FileNotFoundError: no such scan.
            ImageError: scan or texture is missing, damaged, or not of the kind that is read.
        """
        scan = _recent.get(tree, self)
        frontal = scan.frontal
        view = frontal if self.yaw_deg == 0 else render(scan.mesh, camera=frontal.camera.turned(self.yaw_deg))
        points = None if locate is None else scan.points(locate)
        return view.image.copy(), None if points is None else points.seen_by(view.camera)


@dataclass(frozen=True, eq=False)
class SolidPoints:
    """Dense points in space. Args: places: ``(478, 3)``. origin: ``(3,)``, from which their depth is measured."""

    places: np.ndarray
    origin: np.ndarray

    def seen_by(self, camera: Camera) -> np.ndarray:
        """Points in the pixels of a camera, ``(478, 3)`` float64."""
        points = camera.project(self.places)
        points[:, 2] -= camera.project(self.origin)[2]
        return points


def lift_points(frontal: Rendering, dense: np.ndarray) -> SolidPoints | None:
    """Give dense points the depth of the surface they are seen on.

    Points over no surface, or over one that cannot be the face, get the depth that ``dense`` has for them, moved
    by the median difference of the other points.

    Args:
        frontal: the rendering they were found on. dense: ``(478, 3)``, its pixels; z smaller is nearer.

    Returns:
        The points in space; None when hardly any is over the surface, or all are in one place.
    """
    depth = frontal.depth_at(dense[:, :2])
    lifted = np.isfinite(depth)
    eyes = float(eye_distance_px(dense[SPARSE_FROM_DENSE, :2]))
    if lifted.mean() < _LEAST_LIFTED or not eyes > 0:
        return None
    behind = float(np.median(depth[lifted] - dense[lifted, 2]))
    expected = dense[:, 2] + behind
    lifted[lifted] = np.abs(depth[lifted] - expected[lifted]) < _FAR_OFF * eyes
    pixels = np.concatenate([dense[:, :2], np.where(lifted, depth, expected)[:, None]], axis=1)
    middle = np.append(dense[:, :2].mean(axis=0), behind)
    return SolidPoints(frontal.camera.unproject(pixels), frontal.camera.unproject(middle))


class _Scan:
    """A scan that was read, its frontal rendering and the points last found on it."""

    def __init__(self, mesh: Mesh, size_px: int) -> None:
        self.mesh = mesh
        self.frontal = render(mesh, size_px=size_px)
        self._lock = threading.Lock()
        self._found: tuple[Locate, SolidPoints | None] | None = None

    def points(self, locate: Locate) -> SolidPoints | None:
        """Dense points of the scan, located once."""
        with self._lock:
            # Equal, not identical: a bound method is a new object each time.
            if self._found is None or self._found[0] != locate:
                dense = locate(self.frontal.image.copy())
                self._found = locate, None if dense is None else lift_points(self.frontal, dense)
            return self._found[1]


class _Slot:
    """A scan that one thread reads while others wait for it. tree: kept, so that its id is not given again."""

    def __init__(self, tree: FileTree) -> None:
        self.tree = tree
        self._lock = threading.Lock()
        self._scan: _Scan | None = None

    def scan(self, view: ScanView) -> _Scan:
        with self._lock:
            if self._scan is None:
                self._scan = _read_scan(self.tree, view)
            return self._scan


class _RecentScans:
    """The scans seen last; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: OrderedDict[tuple[int, ScanView], _Slot] = OrderedDict()

    def get(self, tree: FileTree, view: ScanView) -> _Scan:
        key = id(tree), replace(view, yaw_deg=0.0)
        with self._lock:
            slot = self._slots.setdefault(key, _Slot(tree))
            self._slots.move_to_end(key)
            while len(self._slots) > _REMEMBERED:
                self._slots.popitem(last=False)
        return slot.scan(view)


_recent = _RecentScans()


def _read_scan(tree: FileTree, view: ScanView) -> _Scan:
    data = tree.read(view.scan)
    try:
        shapes = read_vrml(data)
        texture = _texture(tree, view, shapes)
        return _Scan(merge([shape.mesh for shape in shapes], texture), view.size_px)
    except DataError as error:
        raise ImageError(f"{view.scan}: {error}") from error


def _texture(tree: FileTree, view: ScanView, shapes: list[VrmlShape]) -> np.ndarray:
    name = _texture_file(tree, view, shapes)
    try:
        return read_image(tree.read(name))
    except (FileNotFoundError, ImageError) as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be used ({error})"
        raise DataError(f"its texture {name} {what}") from error


def _texture_file(tree: FileTree, view: ScanView, shapes: list[VrmlShape]) -> str:
    """The file of the texture: the one named in the scan if it is there, else the one that goes with its name."""
    urls = sorted({shape.texture for shape in shapes if shape.texture is not None})
    if len(urls) > 1:
        raise DataError(f"{len(urls)} textures ({', '.join(urls[:3])}); scans with one are read")
    # Addresses of the machine that wrote the file mean nothing here: only the name counts.
    for name in [PurePosixPath(url.replace("\\", "/")).name for url in urls]:
        beside = str(PurePosixPath(view.scan).parent / name)
        if name and beside in tree:
            return beside
    if view.texture is None:
        raise DataError(f"its texture {urls[0] if urls else '(it names none)'} is not beside it")
    return view.texture
