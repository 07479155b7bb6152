"""What an expression does to the shape of a face, learned from labelled dense landmarks.

Every face is brought to one head pose by similarity Procrustes on points that expressions hardly move; from
those points alone its neutral shape is predicted by ridge regression; what remains is the residue. A residue is
modelled as identity leftover + expression (a two-covariance model, as in probabilistic LDA, Ioffe 2006), so that
the expression part of a face can be estimated, taken off, and replaced by that of a *donor* of the target class.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from lssl_augment.faces.landmarks import FACE_OVAL

__all__ = ["RIGID", "WARP_POINTS", "ExpressionShapes", "mouth_gap", "settle_mouth"]

#: Dense points that expressions hardly move: eye corners, bridge, forehead, temples, upper face oval.
RIGID = (
    [33, 133, 362, 263, 168, 6, 197, 195, 10, 151, 9, 8, 127, 356, 234, 454, 21, 251, 54, 284, 103, 332]
    + [67, 297, 109, 338, 162, 389, 193, 417, 122, 351, 196, 419, 116, 345]
)

_LIPS = (
    [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409]
    + [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415]
)
_EYES = (
    [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246]
    + [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466]
)
_BROWS = [70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 336, 296, 334, 293, 300, 276, 283, 282, 295, 285]
_NOSE = [168, 6, 197, 195, 5, 4, 1, 2, 98, 97, 326, 327, 48, 278, 115, 344, 129, 358, 64, 294, 220, 440]
_CHEEKS = (
    [50, 280, 101, 330, 118, 347, 205, 425, 207, 427, 187, 411, 206, 426, 216, 436, 212, 432, 202, 422]
    + [204, 424, 194, 418, 200, 199, 175, 18, 83, 313, 43, 273, 57, 287, 192, 416, 213, 433, 214, 434, 36, 266]
    + [151, 9, 8, 108, 337, 69, 299, 104, 333, 68, 298, 164, 167, 393, 165, 391, 116, 345, 123, 352, 147, 376]
)

#: Dense points that steer the warp.
WARP_POINTS = sorted(set(FACE_OVAL + _LIPS + _EYES + _BROWS + _NOSE + _CHEEKS))

#: Upper and lower points of lids and inner lips that must not pass each other.
_UPPER = [159, 158, 160, 161, 157, 173, 246, 386, 385, 387, 388, 384, 398, 466, 13, 82, 312, 81, 311, 80, 310, 191, 415]
_LOWER = [145, 153, 144, 163, 154, 155, 7, 374, 380, 373, 390, 381, 382, 249, 14, 87, 317, 178, 402, 88, 318, 95, 324]

#: Where the opening of a mouth is measured.
_GAP_UPPER, _GAP_LOWER = [13, 82, 312], [14, 87, 317]

#: What follows the lips when a mouth opens or closes, and the share of the way that it goes.
_LOWER_LIP = [14, 87, 317, 178, 402, 88, 318, 95, 324, 17, 84, 314, 181, 405, 91, 321, 146, 375]
_UPPER_LIP = [13, 82, 312, 81, 311, 80, 310, 191, 415, 0, 37, 267, 39, 269, 40, 270, 185, 409]
_CHIN = [18, 83, 313, 200, 201, 421, 199, 175, 152, 148, 377, 176, 400, 149, 378, 150, 379, 194, 418, 204, 424]
_LIP_SHARE = {"lower": 0.75, "upper": 0.25, "chin": 0.55}

#: A mouth may be open by so much more or less than it should before it is closed or opened.
_SLACK = 0.02
#: Up to this opening mouths are opened.
_PLAINLY_OPEN = 0.2
#: What is left of the difference of two faces at rest once both open their mouths (photographs of people at rest and
#: in the same expression: slope 0.15 in smiles, 0.27 in surprise, 0.09 in anger), and the opening beyond that at
#: rest from which so little is left, in openings at rest.
_REST_SHARE, _REST_REACH = 0.2, 0.5
_MIRROR_YZ = (1.0, -1.0, -1.0)
#: What an edit takes off a face beyond the expression that its landmarks tell, in means of the class it shows.
_BEYOND = 0.5


def _procrustes(points: Tensor, template: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Similarity from ``points`` (B, K, 3) to ``template`` (K, 3): scale (B,), rotation (B, 3, 3), shift (B, 3)."""
    mean_p, mean_t = points.mean(1, keepdim=True), template.mean(0)
    p, t = points - mean_p, template - mean_t
    u, s, vh = torch.linalg.svd(p.transpose(1, 2) @ t)
    sign = torch.sign(torch.linalg.det(u @ vh))
    fix = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], dim=1)
    rotation = (u * fix[:, None, :]) @ vh
    scale = (s * fix).sum(1) / p.square().sum((1, 2)).clamp_min(1e-9)
    shift = mean_t - scale[:, None] * (mean_p @ rotation)[:, 0]
    return scale, rotation, shift


def mouth_gap(dense: Tensor) -> Tensor:
    """Opening between the inner lips over the mouth's width, ``(B,)``."""
    upper, lower = dense[:, _GAP_UPPER, 1], dense[:, _GAP_LOWER, 1]
    width = (dense[:, 78, :2] - dense[:, 308, :2]).norm(dim=1)
    return (lower - upper).clamp_min(0).mean(1) / width.clamp_min(1e-3)


def settle_mouth(dense: Tensor, wanted: Tensor) -> Tensor:
    """Open and close mouths as far as their expression asks.

    What a face keeps of its own smile would hold the lips apart, and teeth in a face at rest make it a smile. Lips that
    touch at rest would open less than lips that do not, and people's do not.

    Args:
        dense: target shapes, ``(B, 478, 3)``; wanted: :func:`mouth_gap` each should have, nearly, ``(B,)``.
    """
    width = (dense[:, 78, :2] - dense[:, 308, :2]).norm(dim=1)
    gap = mouth_gap(dense)
    # Wide mouths come with the shape, which donors show more clearly than people do; it is smiles that would stay shut.
    off = (gap - wanted).clamp_min(0) + (gap - wanted.clamp_max(_PLAINLY_OPEN)).clamp_max(0)
    excess = ((off.abs() - _SLACK).clamp_min(0) * off.sign() * width)[:, None]
    # Lips move most in the middle and not in the corners.
    middle = (dense[:, 78, 0] + dense[:, 308, 0])[:, None] / 2
    aside = (dense[:, :, 0] - middle) / (width[:, None] / 2).clamp_min(1e-3)
    arch = (1 - aside.square()).clamp_min(0)
    arch = arch / arch[:, _GAP_UPPER + _GAP_LOWER].mean(1, keepdim=True).clamp_min(0.1)
    out = dense.clone()
    out[:, _LOWER_LIP, 1] -= _LIP_SHARE["lower"] * excess * arch[:, _LOWER_LIP]
    out[:, _UPPER_LIP, 1] += _LIP_SHARE["upper"] * excess * arch[:, _UPPER_LIP]
    out[:, _CHIN, 1] -= _LIP_SHARE["chin"] * excess
    return out


@dataclass
class ExpressionShapes:
    """Fitted shape statistics and the donors of each class; arrays are float32 torch tensors.

    Attributes:
        template: mean neutral shape in the common pose, ``(478, 3)``.
        neutral_map: ridge weights from flattened rigid points (and 1) to the shape, ``(3·R + 1, 478·3)``.
        basis: orthonormal residue components, ``(K, 478·3)``; offset: mean residue of neutral faces, ``(478·3,)``.
        class_mean: mean coefficients of each class, ``(C, K)``; class C (last row) pools all classes.
        expression_gain: posterior maps ``(C + 1, K, K)``: expression = mean + gain @ (coefficients − mean).
        classifier: weights ``(C, K + 1)`` of a class-balanced logistic regression on coefficients (and 1).
        donors: expression coefficients of donor faces, ``(D, K)``; donor_labels: ``(D,)`` int64.
        stretch: how much further donors of each class go than landmarks of photographs show, ``(C, K)``; None: no
            further.
    """

    template: Tensor
    neutral_map: Tensor
    basis: Tensor
    offset: Tensor
    class_mean: Tensor
    expression_gain: Tensor
    classifier: Tensor
    donors: Tensor
    donor_labels: Tensor
    stretch: Tensor | None = None

    def to(self, device: str | torch.device) -> ExpressionShapes:
        """A copy on a device."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return ExpressionShapes(**{name: value.to(device) for name, value in held.items() if value is not None})

    @property
    def num_classes(self) -> int:
        """How many expressions the model knows."""
        return len(self.class_mean) - 1

    def canonical(self, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Dense points ``(B, 478, 3)`` → shapes in the common pose and the maps ``(B, 3, 3)`` back to pixel offsets."""
        mirror = torch.tensor(_MIRROR_YZ, device=dense.device)
        points = dense.float() * mirror
        scale, rotation, shift = _procrustes(points[:, RIGID], self.template[RIGID])
        shape = scale[:, None, None] * (points @ rotation) + shift[:, None]
        back = rotation.transpose(1, 2) / scale[:, None, None] * mirror
        return shape, back

    def coefficients(self, shape: Tensor) -> Tensor:
        """Residue coefficients ``(B, K)`` of shapes in the common pose."""
        rigid = shape[:, RIGID].flatten(1)
        rigid = torch.cat([rigid, torch.ones(len(rigid), 1, device=rigid.device)], dim=1)
        residue = shape.flatten(1) - rigid @ self.neutral_map - self.offset
        return residue @ self.basis.T

    def expression(self, coefficients: Tensor, labels: Tensor) -> Tensor:
        """Posterior mean of the expression part, ``(B, K)``; label −1 (or unknown) uses the pooled class."""
        row = torch.where((labels < 0) | (labels >= self.num_classes), self.num_classes, labels)
        mean = self.class_mean[row]
        return mean + torch.einsum("bij,bj->bi", self.expression_gain[row], coefficients - mean)

    def taken_off(self, expression: Tensor, classes: Tensor) -> Tensor:
        """What an edit takes off faces with these expression parts ``(B, K)`` and class weights ``(B, C)``, ``(B, K)``.

        The landmarks of a photograph lie between those of the face at rest and what it shows, as those that find them
        err towards the mean face, and the posterior mean leaves what may be the person. So faces that were freed of the
        posterior mean alone went on smiling a little, and more of what their class is goes with it.
        """
        return expression + _BEYOND * classes @ self.class_mean[: self.num_classes]

    def class_weights(self, coefficients: Tensor, labels: Tensor) -> Tensor:
        """How much a face shows each class, ``(B, C)``: its label, or where it has none what its shape says."""
        told = coefficients @ self.classifier[:, :-1].T + self.classifier[:, -1]
        known = (labels >= 0) & (labels < self.num_classes)
        one_hot = torch.nn.functional.one_hot(labels.clamp(0, self.num_classes - 1), self.num_classes).float()
        return torch.where(known[:, None], one_hot, told.softmax(1))

    def displace(self, dense: Tensor, back: Tensor, change: Tensor) -> Tensor:
        """Dense points moved by a change of expression coefficients ``(B, K)``, in the face's own pose.

        Lids and lips close but do not pass each other, as the sum of two shapes could make them.
        """
        delta = (change @ self.basis).view(len(change), len(self.template), 3)
        moved = dense + delta @ back
        overlap = (moved[:, _UPPER, 1] - moved[:, _LOWER, 1]).clamp_min(0) / 2
        moved[:, _UPPER, 1] -= overlap
        moved[:, _LOWER, 1] += overlap
        return moved

    def photographed(self, change: Tensor, shown: Tensor) -> Tensor:
        """The change of coefficients ``(B, K)`` that landmarks of photographs of such faces would show.

        ``shown``: how much of each class donors give to them, ``(B, C)``. What was learned from photographs beside
        their landmarks, such as shading, belongs to it: donors that are stretched because landmarks show less than
        photographs are no darker and no brighter for it.
        """
        return change if self.stretch is None else change - shown @ self.stretch

    def opening(self, expression: Tensor, own: Tensor) -> Tensor:
        """How far a mouth should open, ``(B,)``, as :func:`mouth_gap`.

        As far as that of the mean face with these expression coefficients ``(B, K)``. Where the mean face at rest has
        its lips apart and the face itself, with :func:`mouth_gap` ``own`` ``(B,)``, has not, by so much less; but by
        little where the expression opens the mouth.
        """
        at_rest = torch.zeros_like(expression[:1])
        shape = self.template + (torch.cat([expression, at_rest]) @ self.basis).view(len(expression) + 1, -1, 3)
        gap = mouth_gap(shape * torch.tensor(_MIRROR_YZ, device=shape.device))
        gap, rest = gap[:-1], gap[-1]
        reached = (gap - rest) / (_REST_REACH * rest).clamp_min(1e-3)
        kept = (1 - (1 - _REST_SHARE) * reached).clamp(_REST_SHARE, 1)
        return gap - (rest - own).clamp_min(0) * kept

    def draw_donors(self, targets: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One donor mixture per row, which depends on the row's target and seed alone.

        A row mixes two donors of the target class with a random share, which fills the space between the few
        donors that a rare class has; the mixture is rescaled so that averaging does not weaken the expression.

        Returns:
            Expression coefficients ``(B, K)`` float32, and the row of the main donor ``(B,)`` int64.
        """
        donors = self.donors.cpu().numpy()
        labels = self.donor_labels.cpu().numpy()
        out = np.empty((len(targets), donors.shape[1]), np.float32)
        main = np.empty(len(targets), np.int64)
        pools = {c: np.flatnonzero(labels == c) for c in np.unique(labels).tolist()}
        for row, (target, seed) in enumerate(zip(targets.tolist(), seeds.tolist(), strict=True)):
            # uint64: a list with a number beyond int64, as negative seeds give, would pass through float64.
            key = np.array([seed & 0xFFFFFFFFFFFFFFFF, 0xD0], np.uint64)
            rng = np.random.Generator(np.random.Philox(key=key))
            main[row], second = pools[target][rng.integers(len(pools[target]), size=2)]
            a, b = donors[main[row]], donors[second]
            share = rng.uniform(0.0, 0.35)
            mixed = (1 - share) * a + share * b
            norm = np.linalg.norm(mixed)
            wanted = (1 - share) * np.linalg.norm(a) + share * np.linalg.norm(b)
            out[row] = mixed * (min(wanted / norm, 1.25) if norm > 1e-6 else 1.0)
        return out, main
