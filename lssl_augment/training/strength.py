"""How strongly edits are shaded, and how far donors go, for a stranger to name them: asked of a classifier.

Landmarks of small or poor photographs show less of an expression than the photograph does: a network that cannot see
the lids of a face of 48 pixels draws those of the mean face, and donors made of such landmarks widen eyes too little
for surprise. Where landmarks are rough, folds do not lie on each other either, and their mean is pale. A small
classifier (the *adviser*) learns the training photographs of three quarters of the people, and looks at those of the
others. Where it names edits of a class less often than photographs of it, they are shaded more strongly until it names
them as often. Where that is not enough, the donors of the class go further, and its shading is chosen again, as they
may need less of it. Shading first: it deforms nobody. The adviser is used here and nowhere else; it is no judge, no
critic and no gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.model_selection import GroupShuffleSplit
from torch import Tensor

if TYPE_CHECKING:
    from lssl_augment.training.compact_faces import CompactFaces

__all__ = ["DONOR_STEP", "SHADING_STEP", "STRENGTHS", "Adviser", "choose_strength", "class_strengths", "find_advisers"]

#: How many times as far as :func:`~lssl_augment.training.shapes.fit_expression_shapes` put them donors may go, and how
#: many times as strong as :func:`~lssl_augment.training.textures.fit_expression_textures` says edits may be shaded.
STRENGTHS = (1.0, 1.25, 1.5, 1.75, 2.0)
#: What a step further must gain in the share of edits that are named; donors that go too far shout, whatever their
#: expression is.
SHADING_STEP, DONOR_STEP = 0.01, 0.02
#: People set aside, and how many faces of a class are needed among them: with 60 a share is known to six points.
_ASIDE, _LEAST = 0.25, 60
_SOURCES, _PHOTOGRAPHS, _BATCH = 240, 400, 32
_ADVISER_PX, _ADVISER_STEPS, _ADVISER_BATCH = 64, 400, 64


@dataclass(frozen=True, eq=False)
class Adviser:
    """A classifier of photographs, and what it can be asked.

    Args:
        network: trained on some people. present: the classes it tells apart, ``(P,)`` increasing.
        aside: rows of the people it has not seen. photographs: class that it can be asked of → the share of its
            photographs that are named rightly.
    """

    network: torch.nn.Module
    present: np.ndarray
    aside: np.ndarray
    photographs: dict[int, float]


def choose_strength(photographs: float, edits: Sequence[float], step_gain: float) -> float:
    """The strength of a class, from the share of photographs and of edits at each strength that are named rightly.

    The first of :data:`STRENGTHS` at which edits are named as often; where none is enough, the one that is best once
    ``step_gain`` is taken off for every step. ``edits`` may end where one is enough.
    """
    enough = [step for step, share in enumerate(edits) if share >= photographs]
    worth = [share - step_gain * step for step, share in enumerate(edits)]
    return STRENGTHS[enough[0] if enough else int(np.argmax(worth))]


def find_advisers(source: CompactFaces, told: np.ndarray, clear: float, seed: int) -> list[Adviser]:
    """Who can be asked about ``source``, and of which classes; empty where nothing can or need be asked.

    Borrowed classes are asked of the further pack's own faces, the others of the first pack's: photographs and edits
    are of one kind then. Not asked for: faces at rest, classes that shape tells clearly, and classes with fewer than 60
    faces among the people set aside.

    Args:
        source: with shapes fitted. told: how well shape tells each class, ``(C,)``. clear: from where on it does so
            clearly.
    """
    faces = source.faces
    further = np.zeros(len(faces), bool) if faces.further is None else faces.further
    borrowed = np.isin(np.arange(source.num_classes), source.borrowed)
    out = []
    for rows, able in (
        (np.flatnonzero(~further & ~borrowed[faces.labels]), ~borrowed),
        (np.flatnonzero(further), borrowed),
    ):
        asked = np.flatnonzero(able & (told < clear))
        adviser = _find(source, rows, [c for c in asked.tolist() if c != source.neutral], seed)
        if adviser is not None:
            out.append(adviser)
    return out


def class_strengths(
    source: CompactFaces,
    advisers: Sequence[Adviser],
    attempt: Callable[[np.ndarray], None],
    step_gain: float,
    seed: int,
    only: np.ndarray | None = None,
) -> np.ndarray:
    """How strong the edits to each class should be, ``(C,)`` of :data:`STRENGTHS`; 1 where nobody can be asked.

    Args:
        source: with shapes and textures fitted.
        attempt: makes the edits of ``source`` so strong, ``(C,)``; called with ones at the end.
        step_gain: what a step must gain, as of :func:`choose_strength`.
        only: the classes that are asked about, ``(C,)`` bool; 1 for the others. None: all.
    """
    out = np.ones(source.num_classes)
    for adviser in advisers:
        rng = np.random.default_rng(seed)
        for c, real in adviser.photographs.items():
            if only is not None and not only[c]:
                continue
            others = rng.permutation(adviser.aside[source.faces.labels[adviser.aside] != c])[:_SOURCES]
            shares: list[float] = []
            for strength in STRENGTHS:
                tried = np.ones(len(out))
                tried[c] = strength
                attempt(tried)
                shares.append(_named(adviser.network, _edits(source, others, c, seed), _place(adviser.present, c)))
                if shares[-1] >= real:
                    break
            out[c] = choose_strength(real, shares, step_gain)
    attempt(np.ones(len(out)))
    return out


def _find(source: CompactFaces, rows: np.ndarray, asked: list[int], seed: int) -> Adviser | None:
    """An adviser on some faces, for some classes; None where it could be asked of none."""
    faces, labels = source.faces, source.faces.labels
    subjects = np.asarray(faces.subjects)[rows]
    if not asked or len(np.unique(subjects)) < 2:
        return None
    splits = GroupShuffleSplit(1, test_size=_ASIDE, random_state=seed)
    known, aside = (rows[part] for part in next(splits.split(rows, groups=subjects)))
    present = np.unique(labels[known])
    asked = [c for c in asked if c in present and _LEAST <= (labels[aside] == c).sum() < len(aside)]
    if not asked:
        return None
    network, rng = _train(source, known, present, seed), np.random.default_rng(seed)
    photographs = {}
    for c in asked:
        some = rng.permutation(aside[labels[aside] == c])[:_PHOTOGRAPHS]
        photographs[c] = _named(network, _cut(faces.images[some]), _place(present, c))
    return Adviser(network, present, aside, photographs)


def _place(present: np.ndarray, label: int) -> int:
    return int(np.searchsorted(present, label))


def _train(source: CompactFaces, rows: np.ndarray, present: np.ndarray, seed: int) -> torch.nn.Module:
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
        moved, field, donors = source.move(faces, np.full(len(part), target), np.ones(len(part)), rng)
        carried = source.carry(faces.images, faces.dense, moved)[1]
        guess = source.dress(faces, carried, moved, field, donors, None)
        out.append(_cut(to_uint8(guess)))
    return torch.cat(out)
