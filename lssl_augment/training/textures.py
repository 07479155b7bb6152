"""Fit :class:`ExpressionTextures` to training faces whose shapes are fitted."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.faces.dense_flip import DENSE_FLIP
from lssl_augment.faces.expression_shapes import ExpressionShapes, mouth_gap
from lssl_augment.faces.landmarks import FACE_OVAL, INNER_LIPS
from lssl_augment.models.expression_textures import (
    ExpressionTextures,
    flatten_mouths,
    light_terms,
    log_luminance,
    smooth_light,
)
from lssl_augment.models.mouth_strip import strip_size

__all__ = ["fit_expression_textures", "near_frontal"]

_OPEN = 0.12
#: Largest difference between the logarithms of two openings that fit.
_FITS = 0.25
#: So many faces of a class are believed half.
_FEW = 40
_EYE_WEIGHT = 0.15
#: Pixels whose shading is fitted at once.
_PIXELS = 1024
_EYES = (
    [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246],
    [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466],
)


def fit_expression_textures(
    shapes: ExpressionShapes,
    images: np.ndarray,
    dense: np.ndarray,
    labels: np.ndarray,
    expression: Tensor,
    donor_rows: np.ndarray,
    neutral: int = 0,
    *,
    mouth_components: int = 150,
    shading_px: int = 128,
    faces_per_class: int = 900,
    ridge: float = 0.1,
    seed: int = 0,
    subjects: np.ndarray | None = None,
    further: np.ndarray | None = None,
    borrowed: tuple[int, ...] = (),
) -> ExpressionTextures:
    """Learn shading and mouth interiors.

    Shading is learned from what changes between photographs of one person where ``subjects`` are given: in photographs
    as they come some people smile more often than others, and a mean of smiling faces minus a mean of faces at rest is
    in part the difference between these people.

    Args:
        mouth_components: of the insides of mouths, at most; fewer where fewer mouths teach.
        images: ``(N, S, S, 3)`` uint8; dense: ``(N, 478, 3)``; labels: ``(N,)``; expression: ``(N, K)`` coefficients.
        donor_rows: training row of each of the shape model's donors, ``(D,)``. neutral: label of faces at rest.
        faces_per_class: at most so many faces of a class teach; of people seen with several expressions, all.
        subjects: ``(N,)``; None, or nobody seen with two expressions: faces are compared as they come.
        further: ``(N,)`` bool, small grey faces of another pack. They teach the shading of the ``borrowed`` classes,
            compared with their own faces at rest, and nothing about mouths or about other classes.

    Raises:
        DataError: fewer than 50 open mouths.
    """
    size = images.shape[1]
    rng = np.random.default_rng(seed)
    points = torch.from_numpy(np.asarray(dense, np.float32))
    frontal = near_frontal(points, size)
    own = np.ones(len(labels), bool) if further is None else ~further & ~np.isin(labels, borrowed)
    open_rows = np.flatnonzero((frontal & (mouth_gap(points) > _OPEN)).numpy() & own)
    if len(open_rows) < 50:
        raise DataError(f"{len(open_rows)} open mouths among the training faces; 50 are needed to learn their inside")
    frame = points[open_rows].mean(0)
    chosen = []
    for part in (own, ~own):
        for c in range(shapes.num_classes) if part.any() else ():
            pool = np.flatnonzero((labels == c) & frontal.numpy() & part)
            chosen.append(rng.permutation(pool)[:faces_per_class])
        if part is own:  # what is drawn for it does not hang on a further pack
            open_few = rng.permutation(open_rows)[:1500]
    if subjects is not None:
        chosen.append(_compared(subjects, labels, frontal.numpy() & own, shapes.num_classes))
    rows = np.unique(np.concatenate([*chosen, donor_rows]))
    rows = np.concatenate([rows, np.setdiff1d(open_few, rows)])

    strip = strip_size(size)
    logs, mouths = [], []
    for part in np.array_split(rows, max(1, len(rows) // 64)):
        faces = torch.from_numpy(images[part]).permute(0, 3, 1, 2).float() / 127.5 - 1
        logs.append(log_luminance(faces, points[part], frame, shading_px))
        mouths.append(flatten_mouths(faces, points[part], strip))
    mouth = torch.cat(mouths)
    # A face and its mirror image teach the same: twice the faces of rare classes.
    mirrored = points[rows][:, torch.from_numpy(DENSE_FLIP.copy())].clone()
    mirrored[..., 0] = (size - 1) - mirrored[..., 0]
    told = [expression[torch.from_numpy(rows)]]
    for at in np.array_split(np.arange(len(rows)), max(1, len(rows) // 64)):
        faces = torch.from_numpy(images[rows[at]]).permute(0, 3, 1, 2).flip(-1).float() / 127.5 - 1
        logs.append(log_luminance(faces, mirrored[at], frame, shading_px))
        coefficients = shapes.coefficients(shapes.canonical(mirrored[at])[0])
        told.append(shapes.expression(coefficients, torch.from_numpy(labels[rows[at]])))

    skin = _skin_mask(frame, size, shading_px)
    twice = np.concatenate([labels[rows], labels[rows]])
    people = None if subjects is None else np.concatenate([subjects[rows], subjects[rows]])
    others = np.zeros(len(labels), bool) if further is None else further
    # A pack's own few faces of a borrowed class are of neither part: at rest they have nothing to be compared with.
    use = np.tile((own | others)[rows], 2)
    log = torch.cat(logs)
    change = _shading(
        log[use], torch.cat(told)[use], twice[use], skin, shapes.num_classes, neutral, ridge,
        None if people is None else people[use], np.tile(others[rows], 2)[use],
    )

    at_rest = log[torch.from_numpy((twice == neutral) & np.tile(own[rows], 2))].mean(0)
    face = (skin > 0).float()
    rest = (at_rest - smooth_light(at_rest[None], face)[0]) * face

    opening = mouth_gap(points[torch.from_numpy(rows)])
    teach = mouth[(opening > _OPEN) & torch.from_numpy(own[rows])]
    mean = teach.mean(0)
    # Not torch.pca_lowrank: it draws from the global generator, and a resumed run would fit other components.
    centred = (teach - mean).double()
    # No more components than mouths vary by.
    components = min(mouth_components, len(teach) - 1)
    basis = torch.linalg.eigh(centred.T @ centred)[1][:, -components:].flip(1).T.float().contiguous()
    spread = ((teach - mean) @ basis.T).std(0)
    where = {int(r): i for i, r in enumerate(rows)}
    index = torch.tensor([where[int(r)] for r in donor_rows])
    coefficients = ((mouth[index] - mean) @ basis.T).clamp(-2 * spread, 2 * spread)
    lent = _lend_mouths(
        coefficients / spread,
        mouth[index].mean(1),
        opening[index],
        # As of a face whose lips are apart at rest.
        shapes.opening(shapes.donors, torch.full((len(index),), torch.inf)),
        torch.from_numpy(labels[donor_rows]),
        torch.from_numpy(own[donor_rows]),
    )
    return ExpressionTextures(
        frame=frame,
        shading=change,
        rest=rest,
        mouth_mean=mean,
        mouth_basis=basis,
        mouth_size=torch.tensor(strip),
        donor_mouths=coefficients[lent],
        donor_open=opening[index][lent],
    )


def near_frontal(dense: Tensor, size_px: int) -> Tensor:
    """Faces ``(B, 478, 3)`` whose nose is near the middle between their temples, ``(B,)`` bool."""
    return (dense[:, 1, 0] - (dense[:, 234, 0] + dense[:, 454, 0]) / 2).abs() < 0.09 * size_px


def _lend_mouths(
    mouths: Tensor, brightness: Tensor, opening: Tensor, asked: Tensor, labels: Tensor, seen: Tensor
) -> Tensor:
    """Whose mouth each donor lends, ``(D,)`` int64: its own, or that of another donor that fits better.

    Donors are made clearer, and their mouths open further than in their photographs. Clenched teeth that are stretched
    over a wide opening are one grey patch, so the mouth comes from a donor whose photograph is open about as far as the
    expression asks: of the same class where there are any, else of any class. Gum shields, microphones and hands are
    not what the inside of a mouth looks like: odd ones, the sixth of a class farthest from the mean mouth and its
    brightest tenth, are lent to nobody. Where several fit they take turns.

    Args:
        mouths: coefficients in standard deviations, ``(D, M)``; brightness, labels: ``(D,)``.
        opening, asked: :func:`mouth_gap` of the donor's photograph, and of its expression, ``(D,)``.
        seen: ``(D,)`` bool, photographs that are large enough to show a mouth; the others lend none, open or closed.
    """
    distance, fine = mouths.norm(dim=1), seen & (opening > _OPEN)
    for c in labels.unique():
        rows = torch.nonzero((labels == c) & fine).flatten()
        if len(rows) < 10:
            continue
        far, bright = distance[rows].quantile(5 / 6), brightness[rows].quantile(0.9)
        fine[rows[(distance[rows] > far) | (brightness[rows] > bright)]] = False
    out = torch.arange(len(labels))
    away = (opening.clamp_min(1e-3).log()[None] - asked.clamp_min(1e-3).log()[:, None]).abs()
    near = fine[None] & (away < _FITS)
    near_own_class = near & (labels[None] == labels[:, None])
    for row in torch.nonzero((asked > _OPEN) | ~seen).flatten().tolist():
        if near_own_class[row, row]:
            continue
        pool = near_own_class[row] if near_own_class[row].any() else near[row]
        fitting = torch.nonzero(pool).flatten()
        any_of = fine if asked[row] > _OPEN and fine.any() else seen
        if len(fitting):
            out[row] = fitting[row % len(fitting)]
        elif any_of.any():
            out[row] = torch.where(any_of, away[row], torch.inf).argmin()
    return out


def _skin_mask(frame: Tensor, size: int, out: int) -> Tensor:
    """Face without the inside of the mouth and most of its eyes (they glint, and close), soft: ``(out, out)``."""
    mask: np.ndarray = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [np.round(frame[FACE_OVAL, :2].numpy() * 16).astype(np.int32)], 1.0, shift=4)
    mask = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=max(1, size // 32))
    outline = cv2.GaussianBlur(mask, (0, 0), size / 32)
    outline = np.clip(2 * outline - 1, 0, 1)  # nothing beyond the edge
    cv2.fillPoly(mask, [np.round(frame[INNER_LIPS, :2].numpy() * 16).astype(np.int32)], 0.0, shift=4)
    for ring in _EYES:
        points = frame[list(ring), :2].numpy()
        centre, reach = points.mean(0), np.ptp(points, axis=0) * np.array([0.6, 0.8]) + size / 64
        cv2.ellipse(mask, (tuple(centre.tolist()), tuple((2 * reach).tolist()), 0.0), _EYE_WEIGHT, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), size / 100) * outline
    return F.interpolate(torch.from_numpy(mask)[None, None], size=(out, out), mode="area")[0, 0]


def _compared(subjects: np.ndarray, labels: np.ndarray, usable: np.ndarray, classes: int) -> np.ndarray:
    """Rows of usable faces of the people who are seen with more than one expression."""
    rows = np.flatnonzero(usable & (labels >= 0) & (labels < classes))
    _, person = np.unique(subjects[rows], return_inverse=True)
    shown = np.zeros((person.max(initial=-1) + 1, classes), bool)
    shown[person, labels[rows]] = True
    return rows[shown.sum(1)[person] > 1]


def _within(values: Tensor, person: Tensor, weight: Tensor) -> Tensor:
    """Rows of ``values`` less the weighted mean of their person; a person's only row becomes 0."""
    people = int(person.max()) + 1
    total = torch.zeros(people, values.shape[1], dtype=values.dtype).index_add_(0, person, values * weight[:, None])
    mass = torch.zeros(people, dtype=values.dtype).index_add_(0, person, weight)
    return values - (total / mass[:, None])[person]


def _shading(
    log: Tensor, expression: Tensor, labels: np.ndarray, weight: Tensor, classes: int, neutral: int, ridge: float,
    subjects: np.ndarray | None = None, further: np.ndarray | None = None,
) -> Tensor:
    """Regression of log luminance, its smooth lighting removed, on expression: ``(K + C, h, h)``.

    A ridge on the coefficients; what they leave of each class is its own field, drawn towards nothing where few faces
    tell of it. Landmarks say little of a frown's folds, the class says more. With ``subjects`` both are fitted within
    people (fixed effects): only differences between photographs of one person count. Faces of a
    ``further`` pack are compared with each other and teach the fields of the classes that the others do not show.
    """
    n, side, _ = log.shape
    smooth = light_terms(side)
    w = weight.flatten().double()
    gram = (smooth * w) @ smooth.T
    flat = log.flatten(1)
    light = torch.cat([torch.linalg.solve(gram, (smooth * w) @ some.double().T).T for some in flat.split(1024)])
    e = expression.double()
    own = np.ones(n, bool) if further is None else ~further
    person = torch.zeros(n, dtype=torch.int64)
    if subjects is not None and len(_compared(subjects[own], labels[own], np.ones(own.sum(), bool), classes)):
        person[own] = torch.from_numpy(np.unique(subjects[own], return_inverse=True)[1])
    rows = torch.from_numpy(own)
    balance = _balance(labels[own], classes)
    told = _within(e[rows], person[rows], balance)
    moment = (told * balance[:, None]).T @ told
    # A share of what the coefficients vary by in the faces that teach, so that fewer of them are believed less.
    penalty = ridge * moment.diagonal().mean() * torch.eye(len(moment), dtype=torch.float64)
    known = torch.from_numpy(np.isin(np.arange(classes), labels[own]))
    out = []
    # Pixels have nothing to do with each other; all at once would take several times the memory of the faces.
    for some, lit in zip(flat.split(_PIXELS, dim=1), smooth.split(_PIXELS, dim=1), strict=True):
        part = some.double() - light @ lit
        seen = _within(part[rows], person[rows], balance)
        solved = torch.linalg.solve(moment + penalty, (told * balance[:, None]).T @ seen)
        fields = _class_fields(seen - told @ solved, labels[own], person[rows], classes, neutral)
        if not own.all():
            left = part[~rows] - e[~rows] @ solved
            more = _class_fields(left, labels[~own], person[~rows], classes, neutral)
            fields = torch.where(known[:, None], fields, more)
        out.append(torch.cat([solved, fields]))
    return (torch.cat(out, dim=1).view(-1, side, side) * weight.double()).float()


def _balance(labels: np.ndarray, classes: int) -> Tensor:
    """Weight of each face, ``(N,)``: a class counts as the root of its faces; nothing where the class is unknown."""
    known = (labels >= 0) & (labels < classes)
    counts = np.bincount(labels[known], minlength=classes)
    return torch.tensor([1.0 / max(1, counts[c]) ** 0.5 if c < classes else 0.0 for c in labels]).double()


def _class_fields(left: Tensor, labels: np.ndarray, person: Tensor, classes: int, neutral: int) -> Tensor:
    """What is ``left`` of each class within people, beside what is left at rest: ``(C, h * h)``; 0 where no face is."""
    known = (labels >= 0) & (labels < classes)
    counts = np.bincount(labels[known], minlength=classes)
    balance = _balance(labels, classes)
    shown = F.one_hot(torch.from_numpy(np.where(known, labels, 0)), classes).double()
    left, shown = (_within(part, person, balance) for part in (left, shown))
    moment = (shown * balance[:, None]).T @ shown
    trust = torch.tensor([_FEW / max(1, counts[c]) ** 0.5 for c in range(classes)]).double()
    own = torch.linalg.solve(moment + torch.diag(trust), (shown * balance[:, None]).T @ left)
    return torch.where(torch.from_numpy(counts > 0)[:, None], own - own[neutral], 0.0)
