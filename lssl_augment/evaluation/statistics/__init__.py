"""What the results of a benchmark mean: means, intervals, paired tests."""

from lssl_augment.evaluation.statistics.bootstrap import paired_bootstrap
from lssl_augment.evaluation.statistics.cell_metrics import CELL_METRICS, measure
from lssl_augment.evaluation.statistics.cross_fitting import cross_fitted
from lssl_augment.evaluation.statistics.paired_tests import McNemar, Wilcoxon, holm, mcnemar, wilcoxon
from lssl_augment.evaluation.statistics.results import Cell, read_cells
from lssl_augment.evaluation.statistics.summary import ArmSummary, Gap, Regime, summarise_cells

__all__ = [
    "CELL_METRICS",
    "ArmSummary",
    "Cell",
    "Gap",
    "McNemar",
    "Regime",
    "Wilcoxon",
    "cross_fitted",
    "holm",
    "mcnemar",
    "measure",
    "paired_bootstrap",
    "read_cells",
    "summarise_cells",
    "wilcoxon",
]
