"""Where source faces come from: built-in people, a face pack, or a folder of photographs.

A source says what it holds (:class:`~lssl_augment.synthesis.plan.SourceTable`), what it is (``describe``,
stored in the file) and gives faces by id. Faces of one id are always the same.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.synthesis.keyed import Stream, row_seeds
from lssl_augment.synthesis.plan import SourceTable
from lssl_augment.synthesis.schema import AI_EDITED, AI_MADE, BUILT_IN_FOLD

if TYPE_CHECKING:
    from lssl_augment.faces.pack import FacePack

__all__ = ["TRAIN", "BuiltinSource", "FaceSource", "PackSource", "PersonSampler", "check_generator"]

#: The one split that synthesis reads unless told otherwise.
TRAIN = "train"


class FaceSource(Protocol):
    """What :func:`~lssl_augment.synthesis.generate.generate` asks of a source."""

    @property
    def table(self) -> SourceTable: ...

    @property
    def digital_source_type(self) -> str:
        """IPTC URI of what is made from these faces."""

    @property
    def held_out_subjects(self) -> frozenset[str]:
        """Subjects nothing may be learned from; empty when unknown."""

    def describe(self) -> dict[str, Any]:
        """Plain JSON values that tell these faces from any others; no paths."""

    def load(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Faces ``(B, S, S, 3)`` uint8 and dense landmarks ``(B, 478, 3)`` float32 (None: to be found)."""


class PersonSampler(Protocol):
    """A statistical face model; ``simulation.face_model`` has the package's own."""

    def sample(self, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Seeds ``(B,)`` int64 → faces ``(B, S, S, 3)`` uint8 and dense landmarks ``(B, 478, 3)`` float32."""


class BuiltinSource:
    """Synthetic people from the statistical face model; person i of a seed is always the same person.

    Args:
        model: the face model. identity: what tells it from another one, such as the sha256 of its weights.
        people: how many. seed: whose people. vocabulary: the generator's; built-in people are neutral.
    """

    digital_source_type = AI_MADE
    held_out_subjects: frozenset[str] = frozenset()

    def __init__(self, model: PersonSampler, identity: str, people: int, seed: int, vocabulary: Vocabulary) -> None:
        if people < 1:
            raise DataError(f"people must be at least 1; got {people}")
        self._model, self._identity, self._seed = model, identity, seed
        ids = np.arange(people, dtype=np.int64)
        label = vocabulary.index("neutral") if "neutral" in vocabulary else -1
        self.table = SourceTable(
            ids=ids,
            labels=np.full(people, label, np.int64),
            subjects=np.array([f"built-in-{seed}-{i:06d}" for i in ids], np.str_),
            folds=np.full(people, BUILT_IN_FOLD),
        )

    def describe(self) -> dict[str, Any]:
        """See :class:`FaceSource`."""
        return {"kind": "built-in", "people": len(self.table), "face_model": self._identity}

    def load(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """See :class:`FaceSource`."""
        return self._model.sample(row_seeds(self._seed, Stream.PERSON, ids))


class PackSource:
    """The faces of one split of a face pack; an id is the row of the pack.

    Args:
        pack: an open face pack. vocabulary: the generator's; labels it does not know count as unlabelled.
        split: the split to read. allow_test_subjects: read other splits than ``train``, or a split whose
            subjects are in others too.

    Raises:
        LeakageError: another split than ``train``, or subjects shared between splits, and not allowed.
        DataError: the pack has no face of that split.
    """

    digital_source_type = AI_EDITED

    def __init__(
        self,
        pack: FacePack,
        vocabulary: Vocabulary,
        *,
        split: str = TRAIN,
        allow_test_subjects: bool = False,
    ) -> None:
        self._pack, self._split = pack, split
        self._splits = np.asarray(pack.split).astype(np.str_)
        subjects = np.asarray(pack.subjects).astype(np.str_)
        if split != TRAIN and not allow_test_subjects:
            raise LeakageError(
                f"synthesis reads the split {TRAIN!r} only; {split!r} was asked for. Images made from test "
                "subjects "
                "make every later test worthless; to make them all the same, add --allow-test-subjects "
                "(the file will say so)"
            )
        chosen = self._splits == split
        if not chosen.any():
            found = ", ".join(sorted(set(self._splits.tolist()))) or "none"
            raise DataError(f"the pack has no face of split {split!r}; it has: {found}")
        self.held_out_subjects = frozenset(subjects[~chosen].tolist()) - {""}
        shared = self.held_out_subjects & set(subjects[chosen].tolist())
        if shared and not allow_test_subjects:
            raise LeakageError(
                f"{len(shared)} subjects of split {split!r} are in other splits too, such as "
                f"{min(shared)!r}: the "
                "pack is not split by subject. Prepare it with a split by subject, or add "
                "--allow-test-subjects "
                "(the file will say so)"
            )
        rows = np.flatnonzero(chosen)
        mapping = np.full(len(pack.vocabulary) + 1, -1, np.int64)  # the last entry is label −1's
        for theirs, ours in vocabulary.mapping_from(pack.vocabulary).items():
            mapping[theirs] = ours
        self.table = SourceTable(
            ids=rows.astype(np.int64),
            labels=mapping[np.asarray(pack.labels)[rows]],
            subjects=subjects[rows],
            folds=self._splits[rows],
        )

    def describe(self) -> dict[str, Any]:
        """See :class:`FaceSource`."""
        return {
            "kind": "pack",
            "dataset": self._pack.dataset,
            "split": self._split,
            "faces": len(self.table),
            "fingerprint": self._fingerprint(),
        }

    def load(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """See :class:`FaceSource`."""
        dense = self._pack.landmarks_dense
        images = _rows(self._pack.images, ids)
        return images, None if dense is None else _rows(dense, ids).astype(np.float32)

    def _fingerprint(self) -> str:
        # Landmarks stand in for the pixels: they were found in them, and hashing gigabytes would take a
        # while.
        digest = hashlib.sha256("\0".join(self._pack.vocabulary.names).encode())
        digest.update(np.asarray(self._pack.labels).astype("<i8").tobytes())
        for texts in (self._pack.subjects, self._pack.files, self._splits):
            digest.update("\0".join(np.asarray(texts).astype(np.str_).tolist()).encode())
        digest.update(np.asarray(self._pack.landmarks[:]).astype("<f4").tobytes())
        return digest.hexdigest()


def _rows(dataset: Any, ids: np.ndarray) -> np.ndarray:
    """Rows in the order of ``ids``; HDF5 itself takes increasing lists only."""
    increasing, back = np.unique(ids, return_inverse=True)
    return np.asarray(dataset[increasing])[back]


def check_generator(card: dict[str, Any], source: FaceSource, *, allow_test_subjects: bool) -> None:
    """Refuse a generator that learned from the source's test subjects, where its card names its subjects.

    Raises:
        LeakageError: ``training.subjects`` of the card lists people that the source's pack holds out.
    """
    training = card.get("training")
    subjects = training.get("subjects") if isinstance(training, dict) else None
    if not isinstance(subjects, list) or allow_test_subjects:
        return
    seen = source.held_out_subjects & {str(s) for s in subjects}
    if seen:
        raise LeakageError(
            f"the generator was trained on {len(seen)} subjects that this pack holds out, such as "
            f"{min(seen)!r}; "
            "what it makes carries them into training. Train one on this pack's split, or add "
            "--allow-test-subjects (the file will say so)"
        )
