"""Expression synthesis as data augmentation: any face in, the same person with another expression out.

The public names are loaded on first use, so that ``import lssl_augment`` alone is quick and light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lssl_augment._version import __version__

if TYPE_CHECKING:
    from lssl_augment.attributes import BASIC5, BASIC7, BASIC8, Vocabulary
    from lssl_augment.errors import (
        DataError,
        ImageError,
        LeakageError,
        LSSLError,
        SchemaError,
        TrainingError,
        WeightsError,
    )
    from lssl_augment.faces.pack import FacePack
    from lssl_augment.models.bundle import load_model
    from lssl_augment.models.engine import ExpressionEngine
    from lssl_augment.synthesis.config import GenerateConfig
    from lssl_augment.synthesis.dataset import FacePackDataset, SyntheticExpressionDataset
    from lssl_augment.synthesis.generate import generate
    from lssl_augment.synthesis.mixing import concat
    from lssl_augment.transforms.augment import LSSLAugment

__all__ = [
    # what most people need
    "LSSLAugment",
    "SyntheticExpressionDataset",
    "FacePackDataset",
    "concat",
    "FacePack",
    "load_model",
    "ExpressionEngine",
    "generate",
    "GenerateConfig",
    # expressions
    "Vocabulary",
    "BASIC5",
    "BASIC7",
    "BASIC8",
    # errors
    "LSSLError",
    "DataError",
    "ImageError",
    "LeakageError",
    "SchemaError",
    "TrainingError",
    "WeightsError",
    "__version__",
]

_HOME = {
    "LSSLAugment": "transforms.augment",
    "SyntheticExpressionDataset": "synthesis.dataset",
    "FacePackDataset": "synthesis.dataset",
    "concat": "synthesis.mixing",
    "GenerateConfig": "synthesis.config",
    "FacePack": "faces.pack",
    "load_model": "models.bundle",
    "ExpressionEngine": "models.engine",
    "generate": "synthesis.generate",
    "Vocabulary": "attributes",
    "BASIC5": "attributes",
    "BASIC7": "attributes",
    "BASIC8": "attributes",
    "LSSLError": "errors",
    "DataError": "errors",
    "ImageError": "errors",
    "LeakageError": "errors",
    "SchemaError": "errors",
    "TrainingError": "errors",
    "WeightsError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lssl_augment' has no attribute {name!r}")
    value = getattr(import_module(f"lssl_augment.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
