"""Do the landmarks of an edited face move the way the expression moves real faces?

What each expression does follows the action units of its prototype (Ekman & Friesen 1978, EMFACS): AU12 lifts and
draws out the corners of the mouth in happiness, AU1+2 and AU26 raise the brows and open the mouth in surprise, AU4
lowers the brows in anger, AU15 and AU1 lower the corners and raise the inner brows in sadness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lssl_augment.faces.landmarks import eye_distance_px

__all__ = ["DIRECTIONS", "MEASURES", "direction_table", "measure"]


def _upright(points: np.ndarray) -> np.ndarray:
    """68 points with the eye centres level, in eye distances, origin between the eyes; y is down."""
    left, right = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    across = (right - left) / eye_distance_px(points)[:, None]
    down = np.stack([-across[:, 1], across[:, 0]], 1)
    centred = (points - ((left + right) / 2)[:, None]) / eye_distance_px(points)[:, None, None]
    return np.stack([(centred * across[:, None]).sum(2), (centred * down[:, None]).sum(2)], 2)


#: Name → a number of each upright face, in eye distances.
MEASURES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "mouth corners over mid-lips": lambda p: p[:, [51, 57], 1].mean(1) - p[:, [48, 54], 1].mean(1),
    "mouth width": lambda p: p[:, 54, 0] - p[:, 48, 0],
    "mouth opening": lambda p: p[:, 66, 1] - p[:, 62, 1],
    "brow height": lambda p: -p[:, 17:27, 1].mean(1),
    "inner brow height": lambda p: -p[:, 20:24, 1].mean(1),
    "inner over outer brows": lambda p: p[:, [17, 18, 25, 26], 1].mean(1) - p[:, 20:24, 1].mean(1),
}

#: Expression → the measures it moves, +1 up, −1 down. Neutral and contempt have no direction of their own.
DIRECTIONS: Mapping[str, Mapping[str, int]] = {
    "happiness": {"mouth corners over mid-lips": 1, "mouth width": 1},
    "surprise": {"brow height": 1, "mouth opening": 1},
    "anger": {"brow height": -1, "inner brow height": -1},
    "sadness": {"mouth corners over mid-lips": -1, "inner over outer brows": 1},
    "fear": {"brow height": 1, "inner over outer brows": 1},
    "disgust": {"inner brow height": -1},
}


def measure(points68: np.ndarray) -> dict[str, np.ndarray]:
    """All of :data:`MEASURES` of faces with 68 points ``(N, 68, 2)`` px, each ``(N,)`` in eye distances."""
    upright = _upright(np.asarray(points68, np.float64)[..., :2])
    return {name: function(upright) for name, function in MEASURES.items()}


def direction_table(
    names: tuple[str, ...],
    sources: Mapping[str, np.ndarray],
    labels: np.ndarray,
    results: Mapping[str, np.ndarray],
    targets: np.ndarray,
    origin: np.ndarray,
    real: Mapping[str, np.ndarray],
    real_labels: np.ndarray,
) -> dict[str, dict[str, dict[str, float]]]:
    """Target → measure → share of edits that move the right way, mean move, and the move between real class means.

    Args:
        sources, results, real: from :func:`measure` with the same landmark network.
        labels, targets, real_labels: indices into ``names``. origin: source of each result.

    Returns:
        Displacements in eye distances. The real one is the mean of the class less the mean of the sources' class, in
        the mixture of classes the sources have; NaN where the class has no real face.
    """
    table: dict[str, dict[str, dict[str, float]]] = {}
    for index, target in enumerate(names):
        rows = np.flatnonzero(targets == index)
        if target not in DIRECTIONS or not len(rows):
            continue
        table[target] = {}
        for name, sign in DIRECTIONS[target].items():
            moved = results[name][rows] - sources[name][origin[rows]]
            means = np.array(
                [real[name][real_labels == c].mean() if (real_labels == c).any() else np.nan for c in range(len(names))]
            )
            table[target][name] = {
                "expected": sign,
                "right_way": float((sign * moved > 0).mean()),
                "mean_move": float(moved.mean()),
                "real_move": float((means[index] - means[labels[origin[rows]]]).mean()),
            }
    return table
