"""The data sets by name; the module of one is loaded when it is asked for.

Each module has a ``DATASET``.
"""

from __future__ import annotations

from importlib import import_module

from lssl_augment.datasets.info import Dataset
from lssl_augment.errors import DataError

__all__ = ["DATASET_NAMES", "find_dataset"]

#: Name → module in ``lssl_augment.datasets``.
_MODULES = {
    "oulu": "oulu",
    "mug": "mug",
    "bu3dfe": "bu3dfe",
    "rafd": "rafd",
    "ckplus": "ckplus",
    "fer2013": "fer2013",
    "rafdb": "rafdb",
    "affectnet": "affectnet",
    "lfw-expressions": "lfw_expressions",
    "folder": "folder",
    "csv": "csv_list",
}

DATASET_NAMES = tuple(_MODULES)


def find_dataset(name: str) -> Dataset:
    """The data set of a name.

    Raises:
        DataError: there is none of that name.
    """
    if name not in _MODULES:
        raise DataError(f"unknown data set {name!r}; known: {', '.join(_MODULES)}")
    dataset: Dataset = import_module(f"lssl_augment.datasets.{_MODULES[name]}").DATASET
    return dataset
