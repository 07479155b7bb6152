"""The report of a benchmark: Markdown and one HTML page that needs nothing else."""

from lssl_augment.evaluation.report.write import write_report

__all__ = ["write_report"]
