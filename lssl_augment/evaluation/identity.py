"""Is the edited face still the same person? Similarities beside those of real pairs of people never trained on.

insightface's recogniser is used where its model pack is on this machine (never fetched here); else the package's own,
a stated substitute learned from a few thousand people.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from lssl_augment.errors import WeightsError
from lssl_augment.evaluation.edits import Edits
from lssl_augment.faces.align import template68
from lssl_augment.faces.backends.insightface_pack import check_pack, find_pack, remember_pack
from lssl_augment.models.recogniser_net import RecogniserNet, embed, load_recogniser
from lssl_augment.models.verification import pair_scores, threshold_at, verify

__all__ = ["Embedder", "InsightFaceEmbedder", "OwnEmbedder", "choose_embedder", "identity_table"]

#: Eye centres, nose tip and corners of the mouth of ArcFace's 112-pixel crops (insightface, ``face_align.py``).
_ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)


class Embedder(Protocol):
    """Turns faces into unit vectors."""

    @property
    def name(self) -> str: ...
    @property
    def is_substitute(self) -> bool: ...
    def __call__(self, images: Tensor) -> np.ndarray:
        """uint8 aligned faces ``(N, 3, S, S)`` → ``(N, D)`` float32 of length 1."""
        ...


@dataclass(frozen=True)
class OwnEmbedder:
    """The package's recogniser, or one trained by ``train-recogniser``."""

    net: RecogniserNet
    told: str = "recogniser"

    @property
    def name(self) -> str:
        return f"{self.told} (the package's substitute of a face recogniser)"

    @property
    def is_substitute(self) -> bool:
        return True

    def __call__(self, images: Tensor) -> np.ndarray:
        return embed(self.net, images).numpy()


class InsightFaceEmbedder:
    """The ArcFace recogniser of a model pack of insightface (Deng et al. 2019).

    Raises:
        WeightsError: the pack is not whole, has no recogniser, or insightface is not installed.
    """

    is_substitute = False

    def __init__(self, folder: Path) -> None:
        checked = check_pack(folder)
        files = [path for path in sorted(folder.glob("*.onnx")) if path.name.startswith(("w600k", "glintr"))]
        if not files:
            raise WeightsError(f"{folder} has no recogniser (w600k_*.onnx or glintr*.onnx); buffalo_l has one")
        try:
            from insightface.model_zoo import get_model
        except ImportError as error:
            raise WeightsError(
                f"insightface cannot be loaded ({error}); pip install insightface onnxruntime"
            ) from error
        self._model: Any = get_model(str(files[0]), providers=["CPUExecutionProvider"])
        remember_pack(checked)
        self.name = f"insightface {folder.name}/{files[0].name}"

    def __call__(self, images: Tensor) -> np.ndarray:
        size = images.shape[-1]
        points = template68(size)
        five = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]]).astype(
            np.float32
        )
        # Faces are aligned already, so one similarity serves all.
        matrix, _ = cv2.estimateAffinePartial2D(five, _ARCFACE, method=cv2.LMEDS)
        out = []
        for face in images.permute(0, 2, 3, 1).numpy():
            crop = cv2.warpAffine(np.ascontiguousarray(face[..., ::-1]), matrix, (112, 112))
            out.append(np.asarray(self._model.get_feat(crop), np.float32).ravel())
        vectors = np.stack(out)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def choose_embedder(wish: str = "auto", device: str | torch.device = "cpu") -> Embedder:
    """``auto``: insightface's recogniser when its pack is there, else the package's; or ``insightface``; or weights.

    Raises:
        WeightsError: what was asked for is not there, or insightface's pack is there and cannot be used.
    """
    if wish in ("auto", "insightface"):
        try:
            folder = find_pack(None)
        except WeightsError:
            if wish == "insightface":
                raise
        else:
            # A pack that is there and cannot be used is an error: numbers of two recognisers must not be mixed up.
            return InsightFaceEmbedder(folder)
        wish = "recogniser"
    return OwnEmbedder(load_recogniser(wish, device), Path(wish).stem)


def identity_table(
    embedder: Embedder, vectors: np.ndarray, subjects: np.ndarray, edits: Edits, names: tuple[str, ...], seed: int = 0
) -> tuple[dict[str, Any], np.ndarray]:
    """Similarities of (source, result) beside those of real pairs, and which results pass.

    Args:
        vectors, subjects: what ``embedder`` makes of all real faces of unseen people, ``(M, D)``, and who they are,
            ``(M,)``; ``edits.rows`` are places among them.

    Returns:
        The table, and ``(R,)`` bool: the result is above the threshold at 0.1 % false accepts. Result and source share
        the photograph (light, background, pose), which a recogniser likes; so results are also compared with *another*
        photo of the person, where there is one, beside the same comparison of the source itself.
    """
    same, different = pair_scores(vectors, subjects, seed=seed)
    threshold = threshold_at(different, 1e-3)
    made = embedder(edits.images)
    source = vectors[edits.rows][edits.origin.numpy()]
    alike = (made * source).sum(1)
    passes = alike > threshold
    other, kept = _other_photo(subjects, edits.rows, seed)
    table: dict[str, Any] = {
        "recogniser": embedder.name,
        "substitute": embedder.is_substitute,
        "verification": {k: round(v, 4) for k, v in asdict(verify(same, different)).items()},
        "threshold": round(threshold, 4),
        "source_to_result": _quartiles(alike),
        "same_person": _quartiles(same),
        "two_people": _quartiles(different),
        "above_threshold": round(float(passes.mean()), 4),
        "above_threshold_by_target": {
            name: round(float(passes[edits.targets.numpy() == c].mean()), 4)
            for c, name in enumerate(names)
            if (edits.targets.numpy() == c).any()
        },
    }
    rows = np.flatnonzero(kept[edits.origin.numpy()])
    if len(rows):
        partner = vectors[other[edits.origin.numpy()[rows]]]
        result, original = (made[rows] * partner).sum(1), (source[rows] * partner).sum(1)
        table["another_photo"] = {
            "results": len(rows),
            "result": _quartiles(result),
            "source": _quartiles(original),
            "result_above_threshold": round(float((result > threshold).mean()), 4),
            "source_above_threshold": round(float((original > threshold).mean()), 4),
        }
    return table, passes


def _other_photo(subjects: np.ndarray, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Place of another photo of each source's person ``(N,)``, and whether there is one."""
    rng = np.random.default_rng([seed, 3])
    other, kept = np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
    for i, row in enumerate(rows):
        places = np.flatnonzero(subjects == subjects[row])
        places = places[places != row]
        if len(places):
            other[i], kept[i] = rng.choice(places), True
    return other, kept


def _quartiles(values: np.ndarray) -> list[float]:
    return [round(float(v), 4) for v in np.percentile(values, [25, 50, 75])]
