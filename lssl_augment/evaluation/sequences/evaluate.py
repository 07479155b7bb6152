"""One fold of a data set with sequences: train a sequence classifier by its name and score it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lssl_augment.datasets.split_file import SplitFile
from lssl_augment.datasets.splits import check_apart
from lssl_augment.errors import DataError
from lssl_augment.evaluation.sequences.adalbp import AdaLbp
from lssl_augment.evaluation.sequences.arguments import SequenceClassifier
from lssl_augment.evaluation.sequences.dtagn import Dtagn
from lssl_augment.evaluation.sequences.hog3d_svm import Hog3dSvm
from lssl_augment.evaluation.sequences.table import SequenceTable, load_sequences
from lssl_augment.faces.pack import FacePack

__all__ = [
    "SEQUENCE_CLASSIFIERS",
    "build_sequence_classifier",
    "evaluate_sequences",
    "fold_sequences",
    "sequence_scores",
]

_BUILDERS: dict[str, Callable[..., Any]] = {"hog3d": Hog3dSvm, "adalbp": AdaLbp, "dtagn": Dtagn}
#: Names that :func:`build_sequence_classifier` knows.
SEQUENCE_CLASSIFIERS = tuple(_BUILDERS)


def build_sequence_classifier(
    name: str, num_classes: int, *, seed: int = 0, device: str = "cpu", **settings: Any
) -> SequenceClassifier:
    """A sequence classifier that has learned nothing yet.

    Args:
        name: of :data:`SEQUENCE_CLASSIFIERS`. num_classes: C, at least 2. seed: of whatever it draws.
        device: where ``dtagn`` runs; the others run on the CPU. settings: further arguments of its class, such as
            ``config=DtagnConfig(steps=100)``.

    Raises:
        DataError: an unknown name or fewer than two classes.
    """
    if name not in _BUILDERS:
        raise DataError(f"unknown sequence classifier {name!r}; allowed: {', '.join(SEQUENCE_CLASSIFIERS)}")
    if num_classes < 2:
        raise DataError(f"a classifier needs at least 2 classes; got {num_classes}")
    if name == "dtagn":
        settings["device"] = device
    built: SequenceClassifier = _BUILDERS[name](num_classes, seed=seed, **settings)
    return built


def fold_sequences(
    pack: FacePack,
    splits: SplitFile,
    fold: int,
    *,
    frames: int = 16,
    size_px: int = 64,
    classes: Sequence[str] | None = None,
    same_faces: bool = True,
) -> tuple[SequenceTable, SequenceTable]:
    """Training and test sequences of a fold; arguments and errors as of :func:`evaluate_sequences`."""
    train, test = (
        load_sequences(pack, splits.rows(pack, fold, use, same_faces=same_faces), frames, size_px, classes)
        for use in ("train", "test")
    )
    check_apart(train.subjects.tolist(), test.subjects.tolist())
    empty = [word for i, word in enumerate(train.classes) if not (train.labels == i).any()]
    if empty:
        raise DataError(
            f"fold {fold} of {pack.path.name} has no training sequence of {', '.join(empty)}; name the other "
            "expressions as classes"
        )
    return train, test


def evaluate_sequences(
    pack: FacePack,
    splits: SplitFile,
    fold: int,
    name: str,
    seed: int = 0,
    *,
    frames: int = 16,
    size_px: int = 64,
    classes: Sequence[str] | None = None,
    device: str = "cpu",
    same_faces: bool = True,
    **settings: Any,
) -> dict[str, Any]:
    """Train on the training subjects of a fold, test on its test subjects.

    Args:
        splits: of this pack. fold: from 0. name: of :data:`SEQUENCE_CLASSIFIERS`. seed: of the classifier.
        frames, size_px, classes: as of :func:`~.table.load_sequences`. device, settings: as of
            :func:`build_sequence_classifier`. same_faces: as of ``SplitFile.train_rows``.

    Returns:
        What :func:`sequence_scores` gives, and ``probabilities`` ``(N, C)``, ``labels`` ``(N,)``, ``subjects`` ``(N,)``
        and ``sequences`` ``(N,)`` of the test sequences as arrays; ``classes``, ``train_sequences``, ``left_out``
        (use → reason → sequences), ``classifier``, ``settings``, ``frames``, ``size_px``, ``fold``, ``seed``.

    Raises:
        DataError: a pack without sequences, splits of another pack, no such fold, or a class without training video.
        LeakageError: somebody is trained and tested on.
    """
    train, test = fold_sequences(
        pack, splits, fold, frames=frames, size_px=size_px, classes=classes, same_faces=same_faces
    )
    model = build_sequence_classifier(name, len(train.classes), seed=seed, device=device, **settings)
    model.fit(train.videos, train.landmarks, train.labels)
    probabilities = model.predict_proba(test.videos, test.landmarks)
    return {
        **sequence_scores(test.labels, probabilities, test.classes),
        "probabilities": probabilities,
        "labels": test.labels,
        "subjects": test.subjects,
        "sequences": test.names,
        "classes": test.classes,
        "train_sequences": len(train),
        "left_out": {"train": train.left_out, "test": test.left_out},
        "classifier": name,
        "settings": getattr(model, "settings", {}),
        "frames": frames,
        "size_px": size_px,
        "fold": fold,
        "seed": seed,
    }


def sequence_scores(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Metrics of test sequences, means over the classes that occur in ``labels``.

    Returns:
        ``accuracy``, ``balanced_accuracy`` (mean recall), ``macro_f1``, ``macro_auroc`` (one against the rest; NaN when
        only one class occurs), all in [0, 1]; ``recall``: class → recall; ``confusion``: ``(C, C)`` int64, truth by
        prediction; ``absent``: classes without test sequence, which no mean counts.

    Raises:
        DataError: no sequence at all, or arrays that do not fit.
    """
    from sklearn import metrics

    count = len(classes)
    if not len(labels) or probabilities.shape != (len(labels), count) or not np.isfinite(probabilities).all():
        raise DataError(
            f"scores need test sequences with finite probabilities ({len(labels)}, {count}); got {probabilities.shape}"
        )
    predicted = probabilities.argmax(axis=1)
    confusion = metrics.confusion_matrix(labels, predicted, labels=range(count)).astype(np.int64)
    present = [c for c in range(count) if (labels == c).any()]
    hits = np.diag(confusion).astype(np.float64)
    recall = {c: hits[c] / confusion[c].sum() for c in present}
    f1 = [2 * hits[c] / (confusion[c].sum() + confusion[:, c].sum()) for c in present]
    aurocs = [metrics.roc_auc_score(labels == c, probabilities[:, c]) for c in present] if len(present) > 1 else []
    return {
        "accuracy": float(hits.sum() / len(labels)),
        "balanced_accuracy": float(np.mean(list(recall.values()))),
        "macro_f1": float(np.mean(f1)),
        "macro_auroc": float(np.mean(aurocs)) if aurocs else float("nan"),
        "recall": {classes[c]: float(value) for c, value in recall.items()},
        "confusion": confusion,
        "absent": [classes[c] for c in range(count) if c not in present],
    }
