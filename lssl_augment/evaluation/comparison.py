"""Several ways to train the same classifier on the same faces, with the same number of optimiser steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.evaluation.classifiers import ClassifierConfig, NextBatch, predict, train_classifier
from lssl_augment.evaluation.face_table import FaceTable
from lssl_augment.evaluation.metrics import METRICS, Scores, score, subject_interval

__all__ = ["ArmResult", "compare", "markdown_table", "summarise"]

_TITLES = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "macro_auroc": "macro AUROC",
    "accuracy": "accuracy",
}


@dataclass(frozen=True)
class ArmResult:
    """One arm over all seeds.

    Args:
        name: of the arm.
        scores: one for each seed. seconds: training time for each seed.
        correct: for each test face, the share of seeds that got it right, shape ``(N,)`` float64.
    """

    name: str
    scores: tuple[Scores, ...]
    seconds: tuple[float, ...]
    correct: np.ndarray


def compare(
    arms: Mapping[str, NextBatch],
    test: FaceTable,
    config: ClassifierConfig,
    seeds: Sequence[int],
    *,
    device: str = "cpu",
    on_step: Callable[[str, int, int, float], None] | None = None,
) -> list[ArmResult]:
    """Train every arm with every seed and score it on the test faces.

    Args:
        arms: name → where its batches come from.
        config: the same for all; its seed is replaced by each of ``seeds``.
        on_step: called with (arm, seed, steps done, loss).

    Raises:
        DataError: without arms or with repeated seeds.
    """
    if not arms or not seeds or len(set(seeds)) != len(seeds):
        raise DataError(f"a comparison needs arms and distinct seeds; got {list(arms)} and {list(seeds)}")
    labels = test.labels.numpy()
    results = []
    for name, batches in arms.items():
        scores, seconds, right = [], [], []
        for seed in seeds:
            begin = time.perf_counter()

            def tell(step: int, loss: float, name: str = name, seed: int = seed) -> None:
                if on_step is not None:
                    on_step(name, seed, step, loss)

            model = train_classifier(batches, len(test.classes), replace(config, seed=seed), device, tell)
            seconds.append(time.perf_counter() - begin)
            probabilities = predict(model, test.images).numpy()
            scores.append(score(labels, probabilities, test.classes))
            right.append(probabilities.argmax(axis=1) == labels)
        results.append(ArmResult(name, tuple(scores), tuple(seconds), np.mean(right, axis=0)))
    return results


def summarise(results: Sequence[ArmResult], test: FaceTable, baseline: str) -> dict[str, Any]:
    """Means, standard deviations and differences from the ``baseline`` arm, ready for JSON.

    A difference is paired by seed. Its ``subject_interval`` (balanced accuracy only) is a 95 % bootstrap over
    test
    subjects of the difference averaged over seeds: seeds alone do not show how few rare faces the test set
        has.
    """
    named = {result.name: result for result in results}
    if baseline not in named:
        raise DataError(f"the baseline must be one of {', '.join(named)}; got {baseline!r}")
    base = named[baseline]
    arms = {}
    for result in results:
        values = {m: np.array([getattr(s, m) for s in result.scores]) for m in METRICS}
        entry: dict[str, Any] = {
            "mean": {m: float(v.mean()) for m, v in values.items()},
            "sd": {m: _sd(v) for m, v in values.items()},
            "recall": {c: float(np.mean([s.recall[c] for s in result.scores])) for c in test.classes},
            "runs": [asdict(s) for s in result.scores],
            "seconds": [round(s, 2) for s in result.seconds],
        }
        if result.name != baseline:
            gaps = {m: v - np.array([getattr(s, m) for s in base.scores]) for m, v in values.items()}
            gain = result.correct - base.correct
            entry["difference"] = {
                "from": baseline,
                "mean": {m: float(g.mean()) for m, g in gaps.items()},
                "sd": {m: _sd(g) for m, g in gaps.items()},
                "by_seed": {m: g.tolist() for m, g in gaps.items()},
                "subject_interval": subject_interval(gain, test.labels.numpy(), test.subjects),
            }
        arms[result.name] = entry
    return arms


def markdown_table(summary: Mapping[str, Any]) -> str:
    """The summary as two Markdown tables, in percent: metrics of each arm, and differences from the
    baseline.
    """
    titles = [_TITLES[m] for m in METRICS]
    classes = list(next(iter(summary.values()))["recall"])
    lines = [_row(["arm", *titles, *(f"recall {c}" for c in classes)])]
    lines.append("|---" * (1 + len(titles) + len(classes)) + "|")
    for name, arm in summary.items():
        cells = [_spread(arm["mean"][m], arm["sd"][m]) for m in METRICS]
        lines.append(_row([name, *cells, *(f"{100 * arm['recall'][c]:.1f}" for c in classes)]))
    different = {name: arm["difference"] for name, arm in summary.items() if "difference" in arm}
    if different:
        origin = next(iter(different.values()))["from"]
        lines += [
            "",
            _row([f"difference from {origin}", *titles, "95 % over test subjects (balanced accuracy)"]),
        ]
        lines.append("|---" * (2 + len(titles)) + "|")
        for name, gap in different.items():
            cells = [_spread(gap["mean"][m], gap["sd"][m], "+") for m in METRICS]
            low, high = gap["subject_interval"]
            lines.append(_row([name, *cells, f"{100 * low:+.1f} to {100 * high:+.1f}"]))
    return "\n".join(lines)


def _sd(values: np.ndarray) -> float:
    """Standard deviation over seeds (n − 1); 0 for a single seed."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _spread(mean: float, sd: float, sign: str = "") -> str:
    return f"{100 * mean:{sign}.1f} ± {100 * sd:.1f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
