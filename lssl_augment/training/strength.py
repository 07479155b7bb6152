"""How far donors must go for a stranger to name them: asked of a classifier that knows photographs only.

Landmarks of small or poor photographs show less of an expression than the photograph does: a network that cannot see
the lids of a face of 48 pixels draws those of the mean face, and donors made of such landmarks widen eyes too little
for surprise. A small classifier (the *adviser*) learns the training photographs of three quarters of the people, and
looks at those of the others. Where it names edits of a class less often than photographs of it, the donors of that
class go further, until it does. The adviser is used here and nowhere else; it is no judge, no critic and no gate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.model_selection import GroupShuffleSplit
from torch import Tensor

if TYPE_CHECKING:
    from lssl_augment.training.compact_faces import CompactFaces

__all__ = ["STRENGTHS", "choose_strength", "class_strengths"]

#: How many times as far as :func:`~lssl_augment.training.shapes.fit_expression_shapes` put them donors may go.
STRENGTHS = (1.0, 1.25, 1.5, 1.75, 2.0)
#: What a step further must gain in the share of edits that are named.
_GAIN = 0.01
#: People set aside, and how many faces of a class are needed among them: with 60 a share is known to six points.
_ASIDE, _LEAST = 0.25, 60
_SOURCES, _PHOTOGRAPHS, _BATCH = 160, 400, 32
_ADVISER_PX, _ADVISER_STEPS, _ADVISER_BATCH = 64, 400, 64


def choose_strength(photographs: float, edits: list[float]) -> float:
    """The strength of a class, from the share of photographs and of edits at each strength that are named rightly.

    The first of :data:`STRENGTHS` that is enough, as long as each step on the way gains something; ``edits`` may end
    where the search did.
    """
    best = 0
    for step, share in enumerate(edits):
        if step and share < edits[best] + _GAIN:
            break
        best = step
        if share >= photographs:
            break
    return STRENGTHS[best]


def class_strengths(source: CompactFaces, told: np.ndarray, clear: float, seed: int) -> np.ndarray:
    """How many times as far the donors of each class should go, ``(C,)``; 1 where that cannot or need not be asked.

    Borrowed classes are asked of the further pack's own faces, the others of the first pack's: photographs and edits
    are of one kind then. Not asked for: faces at rest, classes that shape tells clearly, and classes with fewer than 60
    faces among the people set aside.

    Args:
        source: with shapes and textures fitted; its donors are as before when this returns.
        told: how well shape tells each class, ``(C,)``. clear: from where on it does so clearly.
    """
    faces, out = source.faces, np.ones(source.num_classes)
    further = np.zeros(len(faces), bool) if faces.further is None else faces.further
    borrowed = np.isin(np.arange(len(out)), source.borrowed)
    for rows, able in (
        (np.flatnonzero(~further & ~borrowed[faces.labels]), ~borrowed),
        (np.flatnonzero(further), borrowed),
    ):
        asked = np.flatnonzero(able & (told < clear))
        _ask(source, rows, [c for c in asked.tolist() if c != source.neutral], out, seed)
    source.stretch(np.ones(len(out)))
    return out


def _ask(source: CompactFaces, rows: np.ndarray, asked: list[int], out: np.ndarray, seed: int) -> None:
    """Find the strengths of some classes on some faces, and put them into ``out``."""
    faces, labels = source.faces, source.faces.labels
    subjects = np.asarray(faces.subjects)[rows]
    if not asked or len(np.unique(subjects)) < 2:
        return
    splits = GroupShuffleSplit(1, test_size=_ASIDE, random_state=seed)
    known, aside = (rows[part] for part in next(splits.split(rows, groups=subjects)))
    present = np.unique(labels[known])
    asked = [c for c in asked if c in present and _LEAST <= (labels[aside] == c).sum() < len(aside)]
    if not asked:
        return
    rng = np.random.default_rng(seed)
    adviser = _adviser(source, known, present, seed)
    for c in asked:
        photographs = rng.permutation(aside[labels[aside] == c])[:_PHOTOGRAPHS]
        others = rng.permutation(aside[labels[aside] != c])[:_SOURCES]
        name = int(np.searchsorted(present, c))
        real = _named(adviser, _cut(faces.images[photographs]), name)
        shares: list[float] = []
        for strength in STRENGTHS:
            tried = np.ones(len(out))
            tried[c] = strength
            source.stretch(tried)
            shares.append(_named(adviser, _edits(source, others, c, seed), name))
            if shares[-1] >= real or choose_strength(real, shares) != strength:
                break
        out[c] = choose_strength(real, shares)


def _adviser(source: CompactFaces, rows: np.ndarray, present: np.ndarray, seed: int) -> torch.nn.Module:
    """A classifier of the ``present`` classes, trained on some faces."""
    from lssl_augment.evaluation.batches import BatchSource
    from lssl_augment.evaluation.classifiers import ClassifierConfig, train_classifier
    from lssl_augment.evaluation.face_table import FaceTable

    faces = source.faces
    images = torch.cat([_cut(faces.images[part]) for part in np.array_split(rows, -(-len(rows) // 512))])
    labels = torch.from_numpy(np.searchsorted(present, faces.labels[rows]))
    names = tuple(faces.vocabulary.names[c] for c in present)
    table = FaceTable(images, labels, np.asarray(faces.subjects)[rows], names)
    config = ClassifierConfig(name="resnet18", steps=_ADVISER_STEPS, seed=seed, face_size_px=_ADVISER_PX)
    batches = BatchSource(table, _ADVISER_BATCH, balanced=True, augmented=True)
    # On the processor: a run that is resumed, and every process of one, must find the same strengths.
    return train_classifier(batches, len(names), config, "cpu")


def _cut(images: np.ndarray) -> Tensor:
    """Whole faces ``(N, S, S, 3)`` uint8 as the adviser sees them."""
    from lssl_augment.evaluation.face_table import cut_faces

    return cut_faces(torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2), _ADVISER_PX)


def _named(adviser: torch.nn.Module, images: Tensor, label: int) -> float:
    from lssl_augment.evaluation.classifiers import predict

    return float((predict(adviser, images).argmax(1) == label).float().mean())


@torch.no_grad()
def _edits(source: CompactFaces, rows: np.ndarray, target: int, seed: int) -> Tensor:
    """First guesses of faces turned into a class, as the adviser sees them; the same donors at every strength."""
    from lssl_augment.synthesis.making import to_uint8

    rng, out = np.random.default_rng(seed), []
    for part in np.array_split(rows, -(-len(rows) // _BATCH)):
        faces = source.load(part, np.zeros(len(part), bool))
        moved, change, donors = source.move(faces, np.full(len(part), target), np.ones(len(part)), rng)
        carried = source.carry(faces.images, faces.dense, moved)[1]
        guess = source.dress(faces, carried, moved, change, donors, None)
        out.append(_cut(to_uint8(guess)))
    return torch.cat(out)
