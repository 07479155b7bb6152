"""A further pack teaches the expressions that a pack has hardly any faces of.

Photographs in the wild are fine and colourful but show hardly any fear or disgust; large sets of small grey faces show
both. What a further pack teaches is what its faces are good for: shapes, smooth shading and, in the critic's eyes,
looks of the *borrowed* expressions. Detail and colour are learned from the first pack alone.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError
from lssl_augment.training.batches import TrainingFaces, restrict_faces, take_faces

__all__ = ["FEW_FACES", "as_seen", "borrowed_classes", "join_further"]

#: A class with fewer faces in the first pack is borrowed.
FEW_FACES = 40
#: Detail that small faces have, in pixels of an aligned face's side.
_DETAIL_PX = 40


def borrowed_classes(faces: TrainingFaces) -> tuple[int, ...]:
    """Labels of the classes that a further pack teaches; none without one."""
    if faces.further is None:
        return ()
    own = np.bincount(faces.labels[~faces.further], minlength=len(faces.vocabulary))
    return tuple(int(c) for c in np.flatnonzero(own < FEW_FACES))


def join_further(faces: TrainingFaces, further: TrainingFaces, vocabulary: Vocabulary) -> TrainingFaces:
    """The faces of a pack, and those of a further one that it needs: the borrowed classes and faces at rest.

    A difference between two packs is not one between two expressions, so a further pack is always compared with its own
    neutral faces, and what the first pack teaches of the other expressions does not change. Its faces must have dense
    landmarks. Head pose and light are not kept: no preset that takes a further pack learns them.

    Args:
        faces, further: of one size. vocabulary: of the result, in this order.

    Raises:
        DataError: no class is wanting, or faces at rest are; or the further pack cannot fill one: too few faces,
            none at rest, no dense landmarks.
    """
    own = restrict_faces(faces, vocabulary, may_lack=True)
    other = restrict_faces(further, vocabulary, may_lack=True)
    wanting = [c for c, n in enumerate(own.counts().values()) if n < FEW_FACES]
    names = ", ".join(vocabulary.names[c] for c in wanting)
    if not wanting:
        raise DataError(
            f"{faces.dataset} has at least {FEW_FACES} training faces of {', '.join(vocabulary.names)} each: nothing "
            f"to learn from {further.dataset}; leave out --further, or ask for more expressions with --set classes=…"
        )
    if other.dense is None:
        raise DataError(
            f"{further.dataset} has no dense landmarks, which --further needs; prepare it with --fill-dense"
        )
    if "neutral" not in vocabulary.names:
        raise DataError(f"--further needs faces at rest to compare with; classes are {', '.join(vocabulary.names)}")
    if vocabulary.index("neutral") in wanting:
        raise DataError(
            f"{faces.dataset} has {own.counts()['neutral']} training faces of neutral; shapes are learned from at "
            f"least {FEW_FACES} of its own, whatever a further pack has"
        )
    keep = np.isin(other.labels, [*wanting, vocabulary.index("neutral")])
    other = take_faces(other, np.flatnonzero(keep))
    needed = (*wanting, vocabulary.index("neutral"))
    short = [vocabulary.names[c] for c in needed if (other.labels == c).sum() < FEW_FACES]
    if short:
        raise DataError(
            f"{further.dataset} has fewer than {FEW_FACES} training faces of {', '.join(short)}; "
            f"{faces.dataset} lacks {names}"
        )
    return TrainingFaces(
        images=np.concatenate([own.images, other.images]),
        labels=np.concatenate([own.labels, other.labels]),
        points68=np.concatenate([own.points68, other.points68]),
        dense=None if own.dense is None else np.concatenate([own.dense, other.dense]),  # type: ignore[list-item]
        subjects=np.concatenate([own.subjects, [f"{further.dataset}:{s}" for s in other.subjects.tolist()]]),
        vocabulary=vocabulary,
        dataset=f"{faces.dataset} + {further.dataset}",
        further=np.arange(len(own) + len(other)) >= len(own),
    )


def as_seen(images: Tensor, small: Tensor) -> Tensor:
    """Images as the critic sees them: where ``small``, grey and without detail, photographs and edits alike.

    Args:
        images: ``(B, 3, S, S)``. small: ``(B,)`` bool.

    Returns:
        Shape of ``images``, float32; differentiable.
    """
    images = images.float()
    if not bool(small.any()):
        return images
    size = images.shape[-1]
    detail = min(size, _DETAIL_PX)
    grey = F.interpolate(images[small].mean(1, keepdim=True), size=(detail, detail), mode="area")
    coarse = F.interpolate(grey, size=(size, size), mode="bilinear", align_corners=False)
    out = images.clone()
    out[small] = coarse.expand(-1, 3, -1, -1)
    return out
