"""Every error this package raises on purpose.

    LSSLError
    ├── DataError        (also ValueError)   an image, label, data set or argument value cannot be used
    │   ├── ImageError                       one image file cannot be read as a face photograph
    │   └── LeakageError                     the request would mix training and test subjects
    ├── SchemaError      (also ValueError)   an HDF5 file is truncated, of another kind or of another version
    ├── WeightsError     (also ValueError)   a weights file or its card is missing, damaged or refused
    └── TrainingError    (also RuntimeError) training cannot go on (NaN, a run folder of another config, …)

Wrong argument *types* raise the built-in ``TypeError``. The command line turns an ``LSSLError`` or an
``OSError`` into one line on stderr and exit status 1.
"""

from __future__ import annotations

__all__ = [
    "DataError",
    "ImageError",
    "LSSLError",
    "LeakageError",
    "SchemaError",
    "TrainingError",
    "WeightsError",
]


class LSSLError(Exception):
    """Base of the package's own errors."""


class DataError(LSSLError, ValueError):
    """An image, label, data set or argument value cannot be used."""


class ImageError(DataError):
    """One image file cannot be read as a face photograph."""


class LeakageError(DataError):
    """The request would mix training and test subjects."""


class SchemaError(LSSLError, ValueError):
    """An HDF5 file is truncated, of another kind or of another schema version."""


class WeightsError(LSSLError, ValueError):
    """A weights file or its card is missing, damaged or refused."""


class TrainingError(LSSLError, RuntimeError):
    """Training cannot go on."""
