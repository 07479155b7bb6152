"""Blocks → Markdown, and blocks → one self-contained HTML page. All text is escaped here and nowhere else."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from lssl_augment.evaluation.report.blocks import Block, Code, Drawing, Heading, Listing, Picture, Table, Text

__all__ = ["FIGURES", "html_page", "markdown_page"]

#: Folder of the drawings beside the Markdown page.
FIGURES = "figures"

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}
caption{text-align:left;font-size:.9rem;color:#555;padding:.3rem 0}
th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
pre{background:#f4f4f4;padding:.7rem;overflow-x:auto}
figure{margin:1rem 0}figcaption{font-size:.9rem;color:#555}img,svg{max-width:100%;height:auto}
"""


def markdown_page(blocks: Sequence[Block], folder: Path) -> str:
    """The page as Markdown; pictures and drawings are linked relative to ``folder``."""
    return "\n\n".join(_markdown(block, folder) for block in blocks) + "\n"


def html_page(blocks: Sequence[Block], title: str) -> str:
    """The page as HTML with its style, drawings and pictures inside."""
    body = "\n".join(_html(block) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _markdown(block: Block, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return "#" * level + " " + _plain(text)
        case Text(text, strong):
            return f"**{_plain(text)}**" if strong else _plain(text)
        case Listing(items):
            return "\n".join(f"- {_plain(item)}" for item in items)
        case Table(head, rows, caption):
            lines = [_line(head), "|" + "---|" * len(head), *(_line(row) for row in rows)]
            return "\n".join(lines) + (f"\n\n*{_plain(caption)}*" if caption else "")
        case Code(text):
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            return f"{fence}bash\n{text}\n{fence}"
        case Drawing(_, name, caption):
            return f"![{_plain(caption)}]({FIGURES}/{name}.svg)"
        case Picture(path, caption):
            return f"![{_plain(caption)}](<{path.relative_to(folder).as_posix()}>)"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """Text whose signs mean nothing to Markdown; one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Text(text, strong):
            return f"<p><strong>{escape(text)}</strong></p>" if strong else f"<p>{escape(text)}</p>"
        case Listing(items):
            return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
        case Table(head, rows, caption):
            top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
            rest = "\n".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
            note = f"<caption>{escape(caption)}</caption>" if caption else ""
            return f"<table>{note}<thead><tr>{top}</tr></thead><tbody>\n{rest}\n</tbody></table>"
        case Code(text):
            return f"<pre><code>{escape(text)}</code></pre>"
        case Drawing(svg, _, caption):
            return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
        case Picture(path, caption):
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            return (
                f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )
