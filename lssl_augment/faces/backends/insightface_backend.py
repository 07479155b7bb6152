"""insightface as a backend: a face detector and 68 landmarks, for photos that show more than one face."""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lssl_augment.errors import DataError, WeightsError
from lssl_augment.faces.backends.base import PICKS, TURNS_DEG, FoundFace, check_photo, turn_back, turned
from lssl_augment.faces.backends.insightface_pack import check_pack, remember_pack

__all__ = ["InsightFaceBackend"]

_MODULES = ("detection", "landmark_3d_68")

_apps: dict[tuple[Path, str], Any] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class InsightFaceBackend:
    """Finds faces with a model pack of insightface (Guo et al., SCRFD; its 3D landmark network, seen from the front).

    Its 68 points follow the iBUG order. A photo in which no upright face is found is turned by quarters.

    Args:
        folder: of the pack, see :func:`~lssl_augment.faces.backends.insightface_pack.find_pack`.
        pick: which of several faces: ``largest`` box, or ``central``, nearest to the middle of the photo.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``; CUDA needs onnxruntime-gpu.

    Raises:
        DataError: an unknown pick.
    """

    folder: Path
    pick: str = "largest"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.pick not in PICKS:
            raise DataError(f"pick must be one of {', '.join(PICKS)}; got {self.pick!r}")

    @property
    def name(self) -> str:
        """See :class:`LandmarkBackend`."""
        return "insightface"

    @property
    def gives_dense(self) -> bool:
        """See :class:`LandmarkBackend`."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """See :class:`LandmarkBackend`."""
        several = {"largest": "largest one", "central": "one nearest to the middle"}[self.pick]
        note = f"landmarks by insightface, model pack {self.folder.name} (non-commercial research only)"
        return (f"{note}; of several faces the {several}",)

    def load(self) -> None:
        """See :class:`LandmarkBackend`."""
        self._app()

    def __call__(self, photo: np.ndarray) -> FoundFace | None:
        """See :class:`LandmarkBackend`; the score is the detector's."""
        check_photo(photo)
        app = self._app()
        height, width = photo.shape[:2]
        for turn_deg in TURNS_DEG:
            image = turned(photo, turn_deg)
            faces = app.get(np.ascontiguousarray(image[..., ::-1]))  # it expects BGR
            if faces:
                face = faces[self._picked(np.stack([f["bbox"] for f in faces]), image.shape[1], image.shape[0])]
                points = turn_back(face[_MODULES[1]][:, :2], turn_deg, width, height)
                return FoundFace(points, None, float(face["det_score"]), turn_deg, len(faces))
        return None

    def _picked(self, boxes: np.ndarray, width: int, height: int) -> int:
        """Index of the face to take; boxes are ``(N, 4)``: left, top, right, bottom, the surest first."""
        corner, other = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
        if self.pick == "largest":
            return int(np.argmax((other - corner).prod(axis=1)))
        middle = np.array([width - 1, height - 1]) / 2
        return int(np.argmin(np.linalg.norm((corner + other) / 2 - middle, axis=1)))

    def _app(self) -> Any:
        """The loaded pack, shared by the threads of a process."""
        with _lock:
            key = self.folder, self.device
            if key not in _apps:
                checked = check_pack(self.folder)
                _apps[key] = _load(self.folder, self.device)
                remember_pack(checked)
            return _apps[key]


def _load(folder: Path, device: str) -> Any:
    try:
        import onnxruntime  # type: ignore[import-untyped]
        from insightface.app import FaceAnalysis
    except ImportError as error:
        raise WeightsError(f"insightface cannot be loaded ({error}); pip install insightface onnxruntime") from error
    providers = _providers(device, onnxruntime.get_available_providers())
    options = onnxruntime.SessionOptions()
    # Whoever calls decides how many threads or processes work; the answers are then the same with any number.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        with contextlib.redirect_stdout(sys.stderr):  # some of its versions print
            app = FaceAnalysis(str(folder), allowed_modules=list(_MODULES), providers=providers, sess_options=options)
            app.prepare(ctx_id=0)
    except Exception as error:
        # An assertion for a pack without detector, and whatever onnx and onnxruntime raise on damaged files.
        why = str(error) or "it has no face detector"
        raise WeightsError(
            f"{folder} is no model pack that insightface can use: {why}; copy the whole pack again"
        ) from error
    used = app.det_model.session.get_providers()[0]
    if device.startswith("cuda") and used == "CPUExecutionProvider":
        raise DataError(f"device {device!r}: onnxruntime could not start CUDA (its message is above); use cpu")
    missing = [module for module in _MODULES if module not in app.models]
    if missing:
        raise WeightsError(
            f"{folder} has no model for {', '.join(missing)}; buffalo_l, buffalo_s and antelopev2 have one"
        )
    return app


def _providers(device: str, available: list[str]) -> list[Any]:
    """Providers of onnxruntime for a device; nothing but CUDA and the CPU is used."""
    kind, _, index = device.partition(":")
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    if kind not in ("auto", "cpu", "cuda") or (index and (kind != "cuda" or not index.isdigit())):
        raise DataError(f"unknown device {device!r}; give auto, cpu, cuda or cuda:N")
    if kind == "cuda" and cuda not in available:
        raise DataError(
            f"device {device!r} is not there for insightface: onnxruntime has {', '.join(available)}; install "
            "onnxruntime-gpu in the place of onnxruntime, or use cpu"
        )
    if kind == "cpu" or cuda not in available:
        return [cpu]
    return [(cuda, {"device_id": int(index or 0)}), cpu]
