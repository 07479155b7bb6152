"""Three kinds of drawing: curves with intervals, plain lines, and confusion matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np

__all__ = ["confusion_svg", "curve_svg", "line_svg"]

_COLOURS = ("#0b6fb8", "#d1495b", "#2a9d5c", "#8a5fbf", "#c77d0a", "#4d4d4d")
_WIDTH, _HEIGHT = 640, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 170, 20, 50

#: Number of synthetic faces, value, lower and upper end.
Point = tuple[float, float, float, float]


def curve_svg(curves: Mapping[str, Sequence[Point]], across: str, up: str) -> str:
    """Values over numbers of synthetic faces (evenly spaced, as given), with intervals, as in the paper's Fig. 8.

    Args:
        curves: name → points with values in percent.
        across, up: titles of the axes.
    """
    numbers = sorted({p[0] for points in curves.values() for p in points})
    ends = [v for points in curves.values() for p in points for v in p[1:]]
    parts, y = _frame(ends, across, up)
    wide = _WIDTH - _LEFT - _RIGHT

    def x(value: float) -> float:
        return _LEFT + wide * (numbers.index(value) + 0.5) / len(numbers)

    parts += [_text(x(number), _HEIGHT - _BOTTOM + 18, f"{number:,.0f}") for number in numbers]
    for row, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[row % len(_COLOURS)]
        ordered = sorted(points)
        parts.append(_line([(x(p[0]), y(p[1])) for p in ordered], colour))
        for number, value, lower, upper in ordered:
            parts.append(_rule(x(number), y(lower), x(number), y(upper), colour))
            parts.append(f'<circle cx="{x(number):.1f}" cy="{y(value):.1f}" r="3.5" fill="{colour}"/>')
        parts += _key(row, name)
    return _svg(_WIDTH, _HEIGHT, f"{up} over {across}", parts)


def line_svg(lines: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str) -> str:
    """Lines through points (x, y) in the order given.

    Args:
        lines: name → its points.
        across, up: titles of the axes.
    """
    parts, y = _frame([p[1] for points in lines.values() for p in points], across, up)
    ticks = _ticks([p[0] for points in lines.values() for p in points])
    wide, left, right = _WIDTH - _LEFT - _RIGHT, float(ticks[0]), float(ticks[-1])

    def x(value: float) -> float:
        return _LEFT + wide * (value - left) / (right - left)

    parts += [_text(x(tick), _HEIGHT - _BOTTOM + 18, f"{tick:.0f}") for tick in ticks]
    for row, (name, points) in enumerate(lines.items()):
        parts.append(_line([(x(a), y(b)) for a, b in points], _COLOURS[row % len(_COLOURS)]))
        parts += _key(row, name)
    return _svg(_WIDTH, _HEIGHT, f"{up} over {across}", parts)


def confusion_svg(counts: np.ndarray, classes: Sequence[str], title: str) -> str:
    """Share of each class (row) that was named as each class (column), in percent; darker is more.

    Args:
        counts: shape ``(C, C)``, row = label.
    """
    side, left, top = 52, 110, 60
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    parts = [_text(left, 18, title, "start")]
    for i, name in enumerate(classes):
        parts.append(_text(left - 8, top + side * (i + 0.5) + 4, name, "end"))
        parts.append(_text(left + side * (i + 0.5), top - 8, name[:8]))
        for j in range(len(classes)):
            share = float(shares[i, j])
            tone = round(255 - 200 * share)
            place = left + side * j, top + side * i
            parts.append(
                f'<rect x="{place[0]}" y="{place[1]}" width="{side}" height="{side}" '
                f'fill="rgb({tone},{round(255 - 110 * share)},255)" stroke="#fff"/>'
            )
            parts.append(_text(place[0] + side / 2, place[1] + side / 2 + 4, f"{100 * share:.0f}"))
    size = side * len(classes)
    return _svg(left + size + 10, top + size + 10, f"{title}: confusion matrix", parts)


def _ticks(values: Sequence[float]) -> np.ndarray:
    """At most seven whole numbers, evenly spaced, that hold the values between them."""
    low, high = np.floor(min(values)), np.ceil(max(values))
    step = max(1.0, float(np.ceil((high - low) / 6)))
    ticks: np.ndarray = low + step * np.arange(np.ceil(max(high - low, 1) / step) + 1)
    return ticks


def _frame(values: Sequence[float], across: str, up: str) -> tuple[list[str], Callable[[float], float]]:
    """Rules and titles of a drawing, and where a value lies up its axis."""
    ticks = _ticks(values)
    wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    low, high = float(ticks[0]), float(ticks[-1])

    def y(value: float) -> float:
        return _TOP + tall * (high - value) / (high - low)

    parts = []
    for tick in ticks.tolist():
        parts.append(_rule(_LEFT, y(tick), _LEFT + wide, y(tick), "#ddd"))
        parts.append(_text(_LEFT - 8, y(tick) + 4, f"{tick:.0f}", "end"))
    parts.append(_text(_LEFT + wide / 2, _HEIGHT - 8, across))
    parts.append(f'<g transform="rotate(-90 14 {_TOP + tall / 2:.1f})">{_text(14, _TOP + tall / 2, up)}</g>')
    return parts, y


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _key(row: int, name: str) -> list[str]:
    spot, colour = _TOP + 14 + 20 * row, _COLOURS[row % len(_COLOURS)]
    square = f'<rect x="{_WIDTH - _RIGHT + 12}" y="{spot - 9}" width="10" height="10" fill="{colour}"/>'
    return [square, _text(_WIDTH - _RIGHT + 28, spot, name, "start")]


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" font-family="sans-serif" font-size="12"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#222">{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'
