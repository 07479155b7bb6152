"""What arms find at the same plain accuracy: a table and a drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lssl_augment.evaluation.report.blocks import Block, Drawing, Table
from lssl_augment.evaluation.report.svg import line_svg
from lssl_augment.evaluation.statistics.trade_off import COSTS, EXPONENTS, TradeOff

__all__ = ["trade_off_blocks"]

#: Curves are drawn down to so much below the baseline's plain accuracy.
_SHOWN = 0.08
_NOTE = (
    "The highest balanced accuracy that an arm reaches while its plain accuracy is below that of {baseline} by at most "
    "so many points, in %; in brackets the difference from {baseline} at the same cost with its 95 % interval. For "
    "each place class chances are put back, or taken away further, to the one power from -1 to 1, the same in all "
    "cells, that serves best on the test faces. It does so for every arm alike: this compares what arms know, not how "
    "bold they are, and is no result that anybody would have had."
)


def trade_off_blocks(curves: Mapping[str, TradeOff], baseline: str | None, number: int) -> list[Block]:
    """Empty unless there is something to compare.

    Args:
        curves: of the arms of a regime. number: of the regime, for the name of the drawing.
    """
    if baseline is None or baseline not in curves or len(curves) < 2:
        return []
    head = ("arm, at a cost in accuracy of", *(f"{100 * cost:g}" for cost in COSTS))
    rows = tuple((name, *_places(curve, name == baseline)) for name, curve in curves.items())
    level = float(curves[baseline].accuracy[EXPONENTS.index(0.0)])
    drawn = {name: _points(curve, level - _SHOWN) for name, curve in curves.items()}
    svg = line_svg({n: p for n, p in drawn.items() if p}, "plain accuracy, %", "balanced accuracy, %")
    return [
        Table(head, rows, _NOTE.format(baseline=baseline)),
        Drawing(svg, f"trade-off-{number}", "Balanced over plain accuracy, class chances moved; mean over cells"),
    ]


def _places(curve: TradeOff, alone: bool) -> list[str]:
    out = []
    for best, gain, (low, high) in zip(curve.best, curve.gain, curve.interval, strict=True):
        if math.isnan(best):
            out.append("–")
        elif alone:
            out.append(f"{100 * best:.1f}")
        else:
            out.append(f"{100 * best:.1f} ({100 * gain:+.1f}; {100 * low:+.1f} to {100 * high:+.1f})")
    return out


def _points(curve: TradeOff, least: float) -> Sequence[tuple[float, float]]:
    keep = np.flatnonzero(curve.accuracy >= least)
    return [(100 * float(curve.accuracy[i]), 100 * float(curve.balanced[i])) for i in keep]
