"""What putting class chances back costs and brings: every exponent, so that none has to be chosen on the test faces."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lssl_augment.evaluation.prior import PRIOR_SUFFIX, with_prior
from lssl_augment.evaluation.report.blocks import Table
from lssl_augment.evaluation.statistics import ArmSummary, Cell
from lssl_augment.evaluation.statistics.cell_metrics import measure

__all__ = ["EXPONENTS", "chances_table"]

EXPONENTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
_METRICS = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1", "accuracy": "accuracy"}


def chances_table(arms: Mapping[str, ArmSummary]) -> Table | None:
    """A row for each arm that has a ``-prior`` arm beside it and each exponent; None where there is no such arm."""
    derived = {str(cell.record["arm"]) for arm in arms.values() for cell in arm.cells}
    shown = [arm for arm in arms.values() if f"{arm.cells[0].record['arm']}{PRIOR_SUFFIX}" in derived]
    if not shown:
        return None
    rows = []
    for arm in shown:
        for exponent in EXPONENTS:
            found = np.array([_measured(cell, exponent) for cell in arm.cells])
            mean, sd = found.mean(0), found.std(0, ddof=1) if len(found) > 1 else np.zeros(found.shape[1])
            values = (f"{100 * m:.1f} ± {100 * s:.1f}" for m, s in zip(mean, sd, strict=True))
            rows.append((arm.name, f"{exponent:g}", *values))
    return Table(
        ("arm", "exponent", *_METRICS.values()),
        tuple(rows),
        "The same classifiers, class chances of the training faces put back to a power. In %, mean ± standard "
        "deviation over cells.",
    )


def _measured(cell: Cell, exponent: float) -> list[float]:
    counts = [int(cell.record["n_train"][name]) for name in cell.classes]
    probabilities = with_prior(cell.probabilities, counts, exponent)
    metrics = measure(cell.labels, probabilities, cell.classes)["metrics"]
    return [float(metrics[name]) for name in _METRICS]
