"""What a report is made of; the two renderers turn it into Markdown and HTML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "Code", "Drawing", "Heading", "Listing", "Picture", "Table", "Text"]


@dataclass(frozen=True)
class Heading:
    """A title; level 1 is the page's."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Listing:
    """Points, one a line."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Cells of plain text; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Code:
    """Commands, one a line."""

    text: str


@dataclass(frozen=True)
class Drawing:
    """An SVG element, and the name of its file beside the Markdown page."""

    svg: str
    name: str
    caption: str


@dataclass(frozen=True)
class Picture:
    """A PNG file of the results folder."""

    path: Path
    caption: str


Block = Heading | Text | Listing | Table | Code | Drawing | Picture
