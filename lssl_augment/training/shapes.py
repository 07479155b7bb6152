"""Fit :class:`ExpressionShapes` to labelled dense landmarks: template, neutral predictor, expression space, donors."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.faces.expression_shapes import RIGID, ExpressionShapes, _procrustes

__all__ = ["CLEARLY_TOLD", "fit_expression_shapes", "stretch_of", "typicality"]

#: What a donor keeps of its difference from its class's mean; how far that mean goes, in class means; and how far
#: beyond in the direction that stands out, in the median length of these.
_OWN_SHARE, _CLEAR, _MARKED = 0.4, 1.3, 0.5
#: Mean :func:`typicality` of a class up to which it goes all of that way, and from which only a share of it.
_UNCLEAR, CLEARLY_TOLD, _TOLD_SHARE = 0.6, 0.7, 0.75


def _ridge(inputs: np.ndarray, outputs: np.ndarray, strength: float) -> np.ndarray:
    gram = inputs.T @ inputs
    penalty = strength * np.trace(gram) / len(gram) * np.eye(len(gram))
    penalty[-1, -1] = 0.0  # the constant is free
    return np.linalg.solve(gram + penalty, inputs.T @ outputs)


def _nearest_psd(matrix: np.ndarray, floor: float) -> np.ndarray:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * np.maximum(values, floor)) @ vectors.T


def typicality(coefficients: np.ndarray, labels: np.ndarray, subjects: np.ndarray, seed: int = 0) -> np.ndarray:
    """Out-of-fold probability of each face's own label, from shape alone (class-balanced logistic regression).

    Args:
        coefficients: ``(N, K)``; labels: ``(N,)``; subjects: ``(N,)``, kept apart between folds.
    """
    scaled = coefficients / coefficients.std(0)
    out = np.zeros(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    for train, test in GroupKFold(5).split(scaled[order], groups=subjects[order]):
        model = LogisticRegression(class_weight="balanced", C=0.05, max_iter=500)
        model.fit(scaled[order[train]], labels[order[train]])
        proba = model.predict_proba(scaled[order[test]])
        column = {c: i for i, c in enumerate(model.classes_)}
        own = zip(proba, labels[order[test]], strict=True)
        out[order[test]] = [p[column[c]] if c in column else 0.0 for p, c in own]
    return out


def fit_expression_shapes(
    dense: np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    num_classes: int,
    neutral: int,
    *,
    components: int = 48,
    donors_per_class: int = 400,
    max_yaw_deg: float = 25.0,
    typical_share: float = 0.6,
    ridge: float = 3e-3,
    seed: int = 0,
    further: np.ndarray | None = None,
    borrowed: tuple[int, ...] = (),
) -> tuple[ExpressionShapes, np.ndarray, np.ndarray]:
    """Fit the shape statistics and choose the donors.

    Args:
        dense: ``(N, 478, 3)`` landmarks of aligned faces; labels: ``(N,)`` in ``[0, num_classes)``; subjects: ``(N,)``.
        neutral: label of the neutral expression.
        typical_share: share of each class kept as donors, the most typical by :func:`typicality`.
        further: ``(N,)`` bool, faces of another pack: their residue counts from that of their own neutral faces, and
            only those of the ``borrowed`` classes teach, and these classes alone: space, statistics and donors of the
            other classes are what they would be without them.

    Returns:
        The model, the row of each of its donors, ``(D,)``, and the mean :func:`typicality` of each class, ``(C,)``.

    Raises:
        DataError: when a class has fewer than eight usable faces.
    """
    mirror = torch.tensor([1.0, -1.0, -1.0])
    points = torch.from_numpy(np.asarray(dense, np.float32)) * mirror
    own = np.ones(len(labels), bool) if further is None else ~further
    is_neutral = torch.from_numpy((labels == neutral) & own)
    template = points[is_neutral].mean(0)
    for _ in range(4):
        scale, rotation, shift = _procrustes(points[:, RIGID], template[RIGID])
        shapes = scale[:, None, None] * (points @ rotation) + shift[:, None]
        template = shapes[is_neutral].mean(0)
    yaw = torch.rad2deg(torch.atan2(rotation[:, 0, 2], rotation[:, 2, 2])).abs().numpy()

    flat = shapes.flatten(1).double().numpy()
    rigid = np.concatenate([shapes[:, RIGID].flatten(1).double().numpy(), np.ones((len(flat), 1))], axis=1)
    rest = (labels == neutral) & (yaw < 2 * max_yaw_deg)
    calm = rest & own
    neutral_map = _ridge(rigid[calm], flat[calm], ridge)
    residue = flat - rigid @ neutral_map
    offset = residue[calm].mean(0)
    residue = residue - offset
    if not own.all():
        residue[~own] -= residue[rest & ~own].mean(0)

    # Components of the balanced second moment: rare expressions shape the space as much as common ones. Borrowed ones
    # do not: what another pack shows of them is described in the space of the faces that are to be edited.
    lent = np.isin(labels, borrowed)
    frontal = (yaw < max_yaw_deg) & (own | lent)
    weight = np.zeros(len(labels))
    for c in range(num_classes):
        rows = (labels == c) & frontal
        if rows.sum() < 8:
            raise DataError(f"class {c} has {int(rows.sum())} usable faces; at least 8 are needed to learn its shapes")
        weight[rows] = 1.0 / rows.sum()
    shaping = frontal & ~lent
    _, _, vh = np.linalg.svd(np.sqrt(weight)[shaping, None] * residue[shaping], full_matrices=False)
    basis = vh[:components]
    components = len(basis)  # fewer where there are fewer faces
    coefficients = residue @ basis.T

    # Two covariances: identity leftovers from subjects seen neutral more than once, the rest is expression.
    rows = np.flatnonzero((labels == neutral) & frontal)
    groups = [g for g in _groups(subjects[rows], rows) if len(g) > 1]
    within = np.zeros((components, components))
    for g in groups:
        centred = coefficients[g] - coefficients[g].mean(0)
        within += centred.T @ centred
    within /= max(1, sum(len(g) - 1 for g in groups))
    neutral_cov = np.cov(coefficients[rows].T)
    floor = 1e-3 * np.trace(neutral_cov) / components
    # Half of it: a smile that is taken for identity stays on the face, which is the worse mistake.
    identity = _nearest_psd(0.5 * (neutral_cov - within), floor)
    means, gains = [], []
    own_means = _class_means(coefficients[frontal], labels[frontal], subjects[frontal], num_classes, neutral)
    for c in [*range(num_classes), -1]:
        chosen = shaping if c < 0 else (labels == c) & frontal
        mean = own_means[c] if c >= 0 else np.average(coefficients[chosen], axis=0, weights=weight[chosen])
        spread = coefficients[chosen] - mean
        w = weight[chosen] / weight[chosen].sum()
        total = (spread * w[:, None]).T @ spread
        trust = len(spread) / (len(spread) + 100.0)  # few faces: lean on the neutral covariance, doubled
        total = trust * total + (1 - trust) * 2.0 * neutral_cov
        varying = _nearest_psd(total - identity, floor)
        means.append(mean)
        gains.append(varying @ np.linalg.inv(varying + identity))

    model = ExpressionShapes(
        template=template,
        neutral_map=torch.from_numpy(neutral_map).float(),
        basis=torch.from_numpy(basis.copy()).float(),
        offset=torch.from_numpy(offset).float(),
        class_mean=torch.from_numpy(np.stack(means)).float(),
        expression_gain=torch.from_numpy(np.stack(gains)).float(),
        classifier=_classifier(coefficients[frontal], labels[frontal], num_classes),
        donors=torch.zeros(0, components),
        donor_labels=torch.zeros(0, dtype=torch.int64),
    )
    typical = typicality(coefficients, labels, subjects, seed)
    alone = own & ~lent
    if not alone.all() and len(np.unique(labels[alone])) > 1:
        typical[alone] = typicality(coefficients[alone], labels[alone], subjects[alone], seed)
    expression = model.expression(torch.from_numpy(coefficients).float(), torch.from_numpy(labels))
    chosen = []
    for c in range(num_classes):
        pool = np.flatnonzero((labels == c) & frontal)
        keep = min(donors_per_class, max(8, int(len(pool) * typical_share)))
        chosen.append(pool[np.argsort(-typical[pool], kind="stable")[: max(keep, 1)]])
    index = np.concatenate(chosen)
    told = np.array([typical[labels == c].mean() for c in range(num_classes)])
    shown = [c for c in range(num_classes) if c != neutral]
    shown = [c for c in shown if c not in borrowed] or shown
    model.donors = _clear_donors(
        expression.numpy(), labels, index, own_means, neutral_cov, told, neutral, shown
    ).float()
    model.donor_labels = torch.from_numpy(labels[index].astype(np.int64))
    return model, index, told


def _class_means(
    coefficients: np.ndarray, labels: np.ndarray, subjects: np.ndarray, classes: int, neutral: int
) -> np.ndarray:
    """Mean coefficients of each class, ``(C, K)``: the neutral mean plus what changes within people.

    Some people smile more often than others in photographs, so the plain difference of two class means is in part that
    of these people. Where people are seen at rest and with class c, the mean of their differences counts, by
    n / (n + 20) of n people.
    """
    plain = np.stack([coefficients[labels == c].mean(0) for c in range(classes)])
    out = plain.copy()
    _, person = np.unique(subjects, return_inverse=True)
    for c in range(classes):
        both = np.intersect1d(person[labels == c], person[labels == neutral])
        if c == neutral or not len(both):
            continue
        shown, calm = (
            np.stack([coefficients[(person == p) & (labels == which)].mean(0) for p in both]) for which in (c, neutral)
        )
        trust = len(both) / (len(both) + 20.0)
        out[c] += trust * (plain[neutral] + (shown - calm).mean(0) - plain[c])
    return out


def _classifier(coefficients: np.ndarray, labels: np.ndarray, num_classes: int) -> Tensor:
    """Class-balanced logistic regression on coefficients: ``(C, K + 1)``."""
    known = labels >= 0
    scale = coefficients.std(0)
    model = LogisticRegression(class_weight="balanced", C=0.05, max_iter=500)
    model.fit(coefficients[known] / scale, labels[known])
    out = np.zeros((num_classes, coefficients.shape[1] + 1))
    if len(model.classes_) == 2:  # one row for two classes
        out[model.classes_[1]] = np.append(model.coef_[0] / scale, model.intercept_[0])
    else:
        out[model.classes_] = np.concatenate([model.coef_ / scale, model.intercept_[:, None]], axis=1)
    return torch.from_numpy(out).float()


def _clear_donors(
    expression: np.ndarray,
    labels: np.ndarray,
    donors: np.ndarray,
    class_mean: np.ndarray,
    calm_cov: np.ndarray,
    told: np.ndarray,
    neutral: int,
    shown: list[int],
) -> Tensor:
    """Donors as clear as a stranger needs them: less of what is their own, more of what their class shares.

    Posed data sets are clear, photographs are not. What a donor shows beside its class's mean (a turn of the mouth, a
    wink, an error of its landmarks) is as large as the expression: ``_OWN_SHARE`` of it is kept. The mean goes
    ``_CLEAR`` times as far from the neutral one as the class does, and then by a length (``_MARKED`` of the median
    of all classes) in the direction in which the class stands out most from how faces at rest differ anyway: the same
    difference with its components divided by their standard deviation at rest, as in a caricature. Mouths move by much
    and vary by much; brows hardly move and hardly vary, and they are what tells anger and sadness. A class that
    photographs show clearly already goes only ``_TOLD_SHARE`` of that way: smiles would become wider than smiles are.

    Args:
        expression, labels: of all faces, ``(N, K)`` and ``(N,)``. donors: rows of the donors.
        class_mean: ``(C, K)``. calm_cov: covariance of the coefficients of faces at rest, ``(K, K)``.
        told: mean :func:`typicality` of each class, ``(C,)``. shown: classes whose median length counts.
    """
    out = expression[donors].copy()
    own = labels[donors]
    base = out[own == neutral].mean(0)
    step = class_mean - class_mean[neutral]
    far = np.linalg.norm(step, axis=1)
    values, vectors = np.linalg.eigh(calm_cov)
    relative = step @ vectors / np.sqrt(np.maximum(values, 1e-3 * values.mean())) @ vectors.T
    relative /= np.maximum(np.linalg.norm(relative, axis=1, keepdims=True), 1e-9)
    way = _CLEAR * step + _MARKED * np.median(far[shown]) * relative
    way *= np.interp(told, [_UNCLEAR, CLEARLY_TOLD], [1.0, _TOLD_SHARE])[:, None]
    way[neutral] = 0.0
    for c in np.unique(own):
        rows = own == c
        out[rows] = base + way[c] + _OWN_SHARE * (out[rows] - out[rows].mean(0))
    return torch.from_numpy(out).contiguous()


def stretch_of(donors: Tensor, labels: Tensor, neutral: int, strengths: np.ndarray) -> Tensor:
    """What donors of each class need for its mean to go so many times as far from the neutral one, ``(C, K)``.

    Args:
        donors: ``(D, K)``; labels: of them, ``(D,)``. strengths: ``(C,)``; what a class of 1 needs is exactly nothing.
    """
    base = donors[labels == neutral].mean(0)
    return torch.stack([(float(k) - 1) * (donors[labels == c].mean(0) - base) for c, k in enumerate(strengths)])


def _groups(keys: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(keys, kind="stable")
    _, starts = np.unique(keys[order], return_index=True)
    return np.split(rows[order], starts[1:])
