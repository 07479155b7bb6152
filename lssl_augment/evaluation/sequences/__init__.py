"""Classifiers of whole sequences, as of the paper's Table 1: HOG3D with an SVM, AdaLBP and DTAGN."""

from lssl_augment.evaluation.sequences.arguments import SequenceClassifier
from lssl_augment.evaluation.sequences.evaluate import (
    SEQUENCE_CLASSIFIERS,
    build_sequence_classifier,
    evaluate_sequences,
    fold_sequences,
    sequence_scores,
)
from lssl_augment.evaluation.sequences.settings import SequenceSettings, parse_sequence_settings
from lssl_augment.evaluation.sequences.table import SequenceTable, load_sequences

__all__ = [
    "SEQUENCE_CLASSIFIERS",
    "SequenceClassifier",
    "SequenceSettings",
    "SequenceTable",
    "build_sequence_classifier",
    "evaluate_sequences",
    "fold_sequences",
    "load_sequences",
    "parse_sequence_settings",
    "sequence_scores",
]
