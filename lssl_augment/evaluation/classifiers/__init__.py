"""Classifiers of a comparison: networks by name, one way to train them, prediction."""

from lssl_augment.evaluation.classifiers.config import ClassifierConfig
from lssl_augment.evaluation.classifiers.loop import NextBatch, predict, train_classifier
from lssl_augment.evaluation.classifiers.networks import NETWORKS, build_network
from lssl_augment.evaluation.classifiers.small import FaceClassifier

__all__ = [
    "NETWORKS",
    "ClassifierConfig",
    "FaceClassifier",
    "NextBatch",
    "build_network",
    "predict",
    "train_classifier",
]
