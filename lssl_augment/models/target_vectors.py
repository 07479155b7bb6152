"""From what a source shows and what an edit is to show to attribute vectors, for generators that take only these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.errors import DataError
from lssl_augment.faces.light import light_names
from lssl_augment.faces.pose import yaw_deg as yaw_of

__all__ = ["Mixture", "check_codes", "check_mixture", "source_codes", "target_vectors"]


class Mixture(NamedTuple):
    """A second expression for each row, and how much of it: 0 is the target alone, 1 the second alone."""

    #: ``(R,)`` int64.
    targets: Tensor
    #: ``(R,)`` float in [0, 1].
    share: Tensor


def check_mixture(mixture: Mixture | None, rows: int, classes: int) -> None:
    """Refuse a mixture that does not fit ``rows`` rows and ``classes`` expressions (``DataError``)."""
    if mixture is None:
        return
    if not len(mixture.targets) == len(mixture.share) == rows:
        raise DataError(
            f"a mixture needs a second target and a share for each of {rows} rows; "
            f"got {len(mixture.targets)} and {len(mixture.share)}"
        )
    if rows and not (0 <= int(mixture.targets.min()) and int(mixture.targets.max()) < classes):
        raise DataError(f"second targets must be in [0, {classes - 1}]; got {mixture.targets.tolist()}")
    if rows and not (float(mixture.share.min()) >= 0 and float(mixture.share.max()) <= 1):
        raise DataError(f"shares must be in [0, 1]; got {float(mixture.share.min())} to {float(mixture.share.max())}")


def check_codes(name: str, codes: Tensor | None, rows: int, size: int) -> None:
    """Refuse codes of a group ``name`` that are none of ``size``, or not one for each of ``rows`` (``DataError``)."""
    if codes is None:
        return
    if codes.shape != (rows,) or (rows and not (-1 <= int(codes.min()) <= int(codes.max()) < size)):
        raise DataError(
            f"{name} needs one code of 0 to {size - 1} for each of {rows} rows, or -1 to keep it; got {codes.tolist()}"
        )


def source_codes(
    spec: AttributeSpec,
    images: Tensor,
    dense: Tensor,
    labels: Tensor | None,
    yaw_deg: np.ndarray | None,
    lights: Sequence[str] | np.ndarray | None,
) -> Tensor | None:
    """What sources show: given where it is given, else the pose of the landmarks and the light by rule of thumb.

    Args:
        images: ``(B, 3, S, S)`` in [-1, 1]. dense: ``(B, 478, 3)``. The others: as of the engine's ``encode``.

    Returns:
        Codes ``(B, G)`` int64 of ``spec``, on the device of ``dense``; None where that has the expression alone.

    Raises:
        DataError: lengths that differ, or a word that is no light.
    """
    if len(spec.groups) == 1:
        return None
    count = len(images)
    if spec.poses_deg:
        told = np.full(count, np.nan) if yaw_deg is None else np.array(yaw_deg, np.float64)
        if told.shape != (count,):
            raise DataError(f"yaw_deg must have shape ({count},); got {told.shape}")
        if np.isnan(told).any():
            told = np.where(np.isnan(told), yaw_of(dense.cpu().numpy()), told)
        yaw_deg = told
    if spec.lights:
        words = np.full(count, "") if lights is None else np.asarray(lights, np.str_)
        if words.shape != (count,):
            raise DataError(f"lights must have shape ({count},); got {words.shape}")
        if (words == "").any():
            pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
            words = np.where(words == "", light_names(pixels.cpu().contiguous().numpy()), words)
        lights = words
    own = np.full(count, -1) if labels is None else labels.cpu().numpy().astype(np.int64)
    return torch.from_numpy(spec.codes(own, yaw_deg, lights)).to(dense.device)


def target_vectors(
    spec: AttributeSpec, expression: Tensor, codes: Tensor | None, *, pose: Tensor | None, light: Tensor | None
) -> Tensor:
    """Attribute vectors of an edit: the wanted expression, and pose and light as wanted or as the source has them.

    Args:
        spec: groups of the generator. expression: ``(R, E)``, one-hot, scaled or mixed.
        codes: of the sources, from :func:`source_codes`. pose, light: ``(R,)`` codes; −1 and None keep the source's.

    Returns:
        ``(R, D)``; a group of which nobody knows anything is all zeros.

    Raises:
        DataError: a group that the generator lacks, or codes out of range.
    """
    out = torch.zeros(len(expression), len(spec), device=expression.device)
    out[:, spec.groups["expression"]] = expression
    for name, wanted in (("pose", pose), ("light", light)):
        if name not in spec.groups:
            if wanted is not None:
                raise DataError(
                    f"these weights know {', '.join(spec.groups)} only, no {name}; "
                    f"train with --preset paper --set attributes=expression,{name}"
                )
            continue
        place = spec.groups[name]
        size = place.stop - place.start
        own = torch.full((len(out),), -1) if codes is None else codes[:, list(spec.groups).index(name)]
        own = own.to(out.device)
        if wanted is not None:
            check_codes(name, wanted, len(out), size)
            wanted = wanted.to(out.device, torch.int64)
            own = torch.where(wanted >= 0, wanted, own)
        rows = torch.nonzero(own >= 0)[:, 0]
        out[rows, place.start + own[rows]] = 1.0
    return out
