"""The whole evaluation of a generator on people its training never saw: one call, one report.

Measured are label fidelity (judges), identity, distance of the distributions (KID), landmark displacement, sharpness,
and all of it by apparent skin tone. Nothing here is compared across networks that differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from lssl_augment.attributes import Vocabulary
from lssl_augment.datasets.splits import check_apart
from lssl_augment.errors import DataError
from lssl_augment.evaluation.dense_points import dense_points
from lssl_augment.evaluation.displacement import direction_table, measure
from lssl_augment.evaluation.edits import Edits, Engine, choose_sources, edit_sources, resize
from lssl_augment.evaluation.face_table import FaceTable, cut_faces
from lssl_augment.evaluation.identity import Embedder, identity_table
from lssl_augment.evaluation.judges import JUDGE_PX, Judge
from lssl_augment.evaluation.kid import kid, penultimate
from lssl_augment.evaluation.tone_table import tone_table, tones
from lssl_augment.evaluation.turned_heads import real_yaws, turn_table, turned_heads
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.faces.pack import FacePack
from lssl_augment.models.landmark_net import LandmarkNet

__all__ = ["EvaluateConfig", "evaluate", "evaluation_vocabulary", "labelled", "read_split", "share_named", "sharpness"]


@dataclass(frozen=True)
class EvaluateConfig:
    """What is drawn and how much.

    Args:
        split: of the pack, with people the training never saw.
        sources: faces to edit. per_subject: so many of a person at most (0: any number).
        source_classes: expressions the sources show; empty: all the generator knows.
        seed: of sources, donors and pairs.
        kid_size, kid_subsets: faces of a subset, and subsets.
    """

    split: str = "test"
    sources: int = 200
    per_subject: int = 2
    source_classes: tuple[str, ...] = ()
    seed: int = 0
    kid_size: int = 100
    kid_subsets: int = 50

    def __post_init__(self) -> None:
        for name, least in (("sources", 1), ("per_subject", 0), ("seed", 0), ("kid_size", 2), ("kid_subsets", 1)):
            if getattr(self, name) < least:
                raise DataError(f"{name} must be at least {least}; got {getattr(self, name)}")


def evaluation_vocabulary(engine: Engine, pack: FacePack, split: str) -> Vocabulary:
    """The generator's classes; each must have real faces in the training split and in ``split`` of the pack."""
    mapping = engine.vocabulary.mapping_from(pack.vocabulary)
    for wanted in ("train", split):
        rows = pack.select(split=wanted)
        there = {mapping.get(int(label), -1) for label in np.asarray(pack.labels)[rows]}
        missing = [name for i, name in enumerate(engine.vocabulary.names) if i not in there]
        if missing:
            raise DataError(
                f"{pack.path.name} has no face of {', '.join(missing)} in split {wanted!r}; the generator knows "
                f"{', '.join(engine.vocabulary.names)}, so judges need faces of each"
            )
    return engine.vocabulary


def evaluate(
    engine: Engine,
    pack: FacePack,
    judges: Sequence[Judge],
    embedder: Embedder | None,
    landmarks: LandmarkNet,
    config: EvaluateConfig,
    *,
    without: Mapping[str, Engine] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """All measures, as plain numbers.

    Args:
        engine: the generator. without: what is left out → the same generator without it, measured for comparison.
        judges: trained on the training split of real faces, in the engine's vocabulary.
        embedder: None: identity is left out, as it is where nobody has two photos.
        landmarks: finds the landmarks of results, sources and real faces alike.

    Raises:
        DataError, LeakageError: the pack does not fit, or a person is in the training split too.
    """
    names = evaluation_vocabulary(engine, pack, config.split).names
    for judge in judges:
        if judge.vocabulary.names != names:
            raise DataError(f"a judge knows {', '.join(judge.vocabulary.names)}; the generator {', '.join(names)}")
    if config.split != "train":
        _check_apart(pack, config.split)
    progress(f"reading split {config.split}")
    everyone = read_split(pack, config.split, engine.face_size_px)
    test, real_rows = labelled(everyone, pack, pack.select(split=config.split), engine.vocabulary)
    rows = choose_sources(
        pack,
        engine.vocabulary,
        split=config.split,
        count=config.sources,
        classes=config.source_classes,
        per_subject=config.per_subject,
        seed=config.seed,
    )
    progress(f"editing {len(rows)} faces")
    edits = edit_sources(engine, pack, rows, config.seed)
    progress("judging")
    hits = [judge.says(edits.images) == edits.targets for judge in judges]
    real_hits = [judge.says(test.images) == test.labels for judge in judges]
    report: dict[str, Any] = {
        "classes": list(names),
        "split": config.split,
        "sources": len(rows),
        "source_subjects": len(set(edits.subjects.tolist())),
        "sources_by_class": {n: int((edits.labels == c).sum()) for c, n in enumerate(names)},
        "real_faces": test.counts,
        "settings": {**asdict(config), "source_classes": list(config.source_classes)},
        "label_fidelity": fidelity_table(hits, real_hits, edits.targets, test),
    }
    passes = None
    people = np.asarray(pack.subjects)[pack.select(split=config.split)]
    if embedder is not None and len(set(people.tolist())) == len(people):
        # FER2013, for one, does not say who is who.
        progress(f"identity is left out: nobody in split {config.split!r} has two photos to compare with")
    elif embedder is not None:
        progress("identity")
        known = embedder(everyone)
        report["identity"], passes = _identity(embedder, known, pack, config, edits, names)
    real_features = penultimate(judges[0].network, cut_faces(test.images, JUDGE_PX))
    for words, other in (without or {}).items():
        progress(f"the same without {words}")
        plain = edit_sources(other, pack, rows, config.seed)
        plain_hits = [judge.says(plain.images) == plain.targets for judge in judges]
        row = {
            "label_fidelity": share_named(plain_hits, plain.targets, names),
            "sharpness_ratio": _quartiles(_sharpness_ratio(plain)),
            "kid": kid_table(judges[0], plain, test, config, real_features),
        }
        if "identity" in report:
            assert embedder is not None
            row["identity"] = _identity(embedder, known, pack, config, plain, names)[0]["above_threshold"]
        report.setdefault("without", {})[words] = row
    progress("KID")
    report["kid"] = kid_table(judges[0], edits, test, config, real_features)
    progress("landmarks")
    report["displacement"] = _displacement(landmarks, edits, test, names)
    ratio = _sharpness_ratio(edits)
    report["sharpness_ratio"] = _quartiles(ratio)
    if getattr(getattr(engine, "attributes", None), "poses_deg", ()):
        progress("poses")
        real = test.images, np.asarray(pack.yaw_deg)[real_rows]
        vectors = None if passes is None else known
        _add_poses(report, engine, pack, edits, judges, landmarks, embedder, vectors, real)
    report["skin_tone"] = tone_table(
        names,
        tones(edits.sources, pack, edits.rows, landmarks),
        edits.origin.numpy(),
        edits.targets.numpy(),
        np.mean([hit.numpy() for hit in hits], axis=0),
        passes,
        ratio,
        tones(test.images, pack, real_rows, landmarks),
        test.labels.numpy(),
        np.mean([hit.numpy() for hit in real_hits], axis=0),
    )
    report["sex_and_age"] = "no label in the pack: not measured"
    return report


def _add_poses(
    report: dict[str, Any],
    engine: Any,
    pack: FacePack,
    edits: Edits,
    judges: Sequence[Judge],
    landmarks: LandmarkNet,
    embedder: Embedder | None,
    known: np.ndarray | None,
    real: tuple[Tensor, np.ndarray],
) -> None:
    """``report["pose"]`` of a generator of poses.

    Args:
        known: vectors of all faces of the split, where identity is told. real: test faces and their yaw.
    """
    poses = engine.attributes.poses_deg
    heads = turned_heads(engine, pack, edits, len(poses))
    same: list[float | None] = [None] * len(poses)
    if known is not None and embedder is not None:
        threshold = report["identity"]["threshold"]
        source = known[np.searchsorted(pack.select(split=report["split"]), edits.rows)]
        same = [round(float(((embedder(images) * source).sum(1) > threshold).mean()), 4) for images in heads]
    before = np.maximum(sharpness(edits.sources), 1e-6)
    sharp = [round(float(np.median(sharpness(images) / before)), 3) for images in heads]
    read = real_yaws(poses, *real, landmarks)
    report["pose"] = turn_table(poses, heads, edits, judges, landmarks, same, sharp, read)


def fidelity_table(
    hits: Sequence[Tensor], real_hits: Sequence[Tensor], targets: Tensor, test: FaceTable
) -> dict[str, Any]:
    """Share named as the target, of edits and of real faces of the class; mean and sd over judges.

    Args:
        hits, real_hits: what each judge named rightly, of edits with these targets ``(N,)`` and of the test faces.
    """
    made, real = share_named(hits, targets, test.classes), share_named(real_hits, test.labels, test.classes)
    share = made["balanced"]["mean"] / real["balanced"]["mean"] if real["balanced"]["mean"] else float("nan")
    return {"edits": made, "real": real, "edits_over_real": round(share, 4), "judges": len(hits)}


def share_named(hits: Sequence[Tensor], labels: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """Share of each class that is named rightly and, as ``balanced``, their mean; mean and sd over judges.

    Args:
        hits: what each judge named rightly, of faces with these labels ``(N,)``; classes without a face are left out.
    """
    table = np.array([[_mean(hit[labels == c]) for c in range(len(names))] for hit in hits])
    balanced = np.nanmean(table, axis=1)
    each = {n: _spread(table[:, c]) for c, n in enumerate(names) if not np.isnan(table[:, c]).any()}
    return {**each, "balanced": _spread(balanced)}


def _mean(values: Tensor) -> float:
    return float(values.float().mean()) if len(values) else float("nan")


def _spread(values: np.ndarray) -> dict[str, float | None]:
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return {"mean": round(float(values.mean()), 4), "sd": None if sd is None else round(sd, 4)}


def kid_table(
    judge: Judge, edits: Edits, test: FaceTable, config: EvaluateConfig, real: np.ndarray
) -> dict[str, Any]:
    """KID of edits to real faces of the target class, beside real to real: halves of the class, split by person.

    Args:
        real: features of the test faces, ``(M, D)``, of the judge's penultimate layer.
    """
    made = penultimate(judge.network, cut_faces(edits.images, JUDGE_PX))
    labels, targets = test.labels.numpy(), edits.targets.numpy()
    rng = np.random.default_rng([config.seed, 11])
    people = np.unique(test.subjects)
    half = dict(zip(people.tolist(), (rng.permutation(len(people)) % 2).tolist(), strict=True))
    side = np.array([half[s] for s in test.subjects.tolist()])
    table: dict[str, Any] = {
        "features": "penultimate layer of the first judge (a classifier of expressions); not comparable with "
        "published KID, which takes Inception features",
    }
    for c, name in enumerate(test.classes):
        mine, first, second = real[labels == c], real[(labels == c) & (side == 0)], real[(labels == c) & (side == 1)]
        if min(len(mine), int((targets == c).sum())) < 2:
            continue
        options = {"size": config.kid_size, "subsets": config.kid_subsets, "seed": config.seed}
        row: dict[str, Any] = {"edits_to_real": _rounded(asdict(kid(made[targets == c], mine, **options)))}
        if min(len(first), len(second)) >= 2:
            row["real_to_real"] = _rounded(asdict(kid(first, second, **options)))
        table[name] = row
    return table


def sharpness(images: Tensor) -> np.ndarray:
    """Variance of the Laplacian of the grey face within its middle three quarters, ``(N,)``; faces are uint8."""
    edge = images.shape[-1] // 8
    inner = slice(edge, images.shape[-1] - edge)
    grey = images.float().mean(1).numpy()
    return np.array([cv2.Laplacian(g, cv2.CV_32F)[inner, inner].var() for g in grey])


def _sharpness_ratio(edits: Edits) -> np.ndarray:
    source = np.maximum(sharpness(edits.sources), 1e-6)
    return np.asarray(sharpness(edits.images) / source[edits.origin.numpy()])


def read_split(pack: FacePack, split: str, size_px: int) -> Tensor:
    """All faces of a split, labelled or not, ``(M, 3, S, S)`` uint8; identity needs people, not labels."""
    rows = pack.select(split=split)
    parts = [
        resize(torch.from_numpy(np.asarray(pack.images[rows[i : i + 256]])).permute(0, 3, 1, 2), size_px)
        for i in range(0, len(rows), 256)
    ]
    return torch.cat(parts).contiguous()


def labelled(faces: Tensor, pack: FacePack, rows: np.ndarray, vocabulary: Vocabulary) -> tuple[FaceTable, np.ndarray]:
    """Those of the faces, rows ``(M,)`` of the pack, that show a class of the vocabulary, and their rows."""
    mapping = vocabulary.mapping_from(pack.vocabulary)
    labels = torch.tensor([mapping.get(int(label), -1) for label in np.asarray(pack.labels)[rows]])
    keep = labels >= 0
    rows = rows[keep.numpy()]
    return FaceTable(faces[keep], labels[keep], np.asarray(pack.subjects)[rows], vocabulary.names), rows


def _check_apart(pack: FacePack, split: str) -> None:
    subjects = np.asarray(pack.subjects)
    train, unseen = pack.select(split="train"), pack.select(split=split)
    check_apart(subjects[train].tolist(), subjects[unseen].tolist(), "in the training split")


def _identity(
    embedder: Embedder,
    vectors: np.ndarray,
    pack: FacePack,
    config: EvaluateConfig,
    edits: Edits,
    names: tuple[str, ...],
) -> tuple[dict[str, Any], np.ndarray]:
    rows = pack.select(split=config.split)
    local = replace(edits, rows=np.searchsorted(rows, edits.rows))
    return identity_table(embedder, vectors, np.asarray(pack.subjects)[rows], local, names, config.seed)


def _points68(landmarks: LandmarkNet, images: Tensor) -> np.ndarray:
    return dense_points(landmarks, images)[:, SPARSE_FROM_DENSE, :2]


def _displacement(landmarks: LandmarkNet, edits: Edits, test: FaceTable, names: tuple[str, ...]) -> dict[str, Any]:
    # At most so many real faces of a class: a mean needs no more.
    keep = torch.cat([torch.nonzero(test.labels == c).flatten()[:300] for c in range(len(names))])
    table = direction_table(
        names,
        measure(_points68(landmarks, edits.sources)),
        edits.labels.numpy(),
        measure(_points68(landmarks, edits.images)),
        edits.targets.numpy(),
        edits.origin.numpy(),
        measure(_points68(landmarks, test.images[keep])),
        test.labels[keep].numpy(),
    )
    return {target: {name: _rounded(row) for name, row in rows.items()} for target, rows in table.items()}


def _quartiles(values: np.ndarray) -> list[float]:
    return [round(float(v), 3) for v in np.percentile(values, [25, 50, 75])]


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}
