"""Whether an engine can turn heads as far as is asked for, known before any face is read."""

from __future__ import annotations

from typing import Any

from lssl_augment.errors import DataError

__all__ = ["check_yaw_range"]


def check_yaw_range(engine: Any, low: float, high: float) -> None:
    """``engine`` can make any yaw from ``low`` to ``high`` degrees, or ``DataError`` says why not.

    An engine of the user's own without ``attributes`` is taken at its word.
    """
    spec = getattr(engine, "attributes", None)
    if spec is None:
        return
    if not getattr(engine, "turns_heads", False):
        raise DataError(
            f"yaw {low:g}:{high:g} was asked for, but these weights, which know {' and '.join(spec.groups)}, turn no "
            "heads to any angle; lfw-128 does, and what is trained with --preset compact --set "
            "attributes=expression,signed-pose:30; or leave yaw away"
        )
    least, most = min(spec.poses_deg), max(spec.poses_deg)
    if low < least or high > most:
        raise DataError(f"these weights turn heads from {least} to {most} degrees; got yaw {low:g}:{high:g}")
