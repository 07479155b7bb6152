"""The text of a VRML 2.0 file → its tree of nodes, whatever the nodes are.

Values are kept as text until somebody asks: a list of a hundred thousand numbers is one piece. There is no
recursion, so that no file can be nested too deeply for Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from lssl_augment.errors import DataError

__all__ = ["MAX_BYTES", "Node", "parse_nodes"]

#: Larger files are refused.
MAX_BYTES = 256 << 20
#: Files with more words, brackets and lists than this outside of their lists of numbers are refused.
_MAX_TOKENS = 1_000_000
_MAX_DEPTH = 200

_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_STRING_OR_COMMENT = re.compile(rf"{_STRING}|#[^\r\n]*", re.DOTALL)
#: A string, a list without strings and nodes (of numbers, mostly), a bracket, a word, or a quote that nothing closes.
_TOKEN = re.compile(rf'{_STRING}|\[[^\[\]{{}}"]*\]|[\[\]{{}}]|[^\s,\[\]{{}}"]+|"', re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][^\s]*")
_NO_FIELDS = frozenset({"TRUE", "FALSE", "NULL"})


@dataclass(eq=False)
class Node:
    """A node. Args: kind: ``Shape`` … (empty: the whole file). line: where it begins, from 1. fields: name →
    values: nodes, and other values as they are written: words, ``"strings"`` and whole ``[lists]``.
    """

    kind: str
    line: int
    fields: dict[str, list[Node | str]] = field(default_factory=dict)

    def nodes(self, name: str) -> list[Node]:
        """The nodes in a field."""
        return [value for value in self.fields.get(name, []) if isinstance(value, Node)]

    def node(self, name: str) -> Node | None:
        """The first node in a field."""
        return next(iter(self.nodes(name)), None)

    def strings(self, name: str) -> list[str]:
        """The strings in a field, without quotes."""
        quoted = [v for v in self.fields.get(name, []) if isinstance(v, str) and v.startswith('"')]
        return [re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) for text in quoted]

    def flag(self, name: str, default: bool) -> bool:
        """A field that is TRUE or FALSE."""
        if name not in self.fields:
            return default
        values = self.fields[name]
        if values not in (["TRUE"], ["FALSE"]):
            raise self.error(f"{name} must be TRUE or FALSE")
        return values == ["TRUE"]

    def floats(self, name: str, width: int) -> np.ndarray:
        """Numbers in a field, ``(N, width)`` float64; no rows when the field is not there.

        Raises:
            DataError: something else, a number too many, or numbers that are not finite.
        """
        numbers = self._numbers(name, np.float64)
        if len(numbers) % width:
            raise self.error(f"{name} holds {len(numbers)} numbers, which is no multiple of {width}")
        # Beyond that, products of coordinates would no longer be finite.
        if numbers.size and not np.abs(numbers).max() < 1e30:
            raise self.error(f"{name} holds numbers that are not finite, or beyond 1e30")
        return numbers.reshape(-1, width)

    def integers(self, name: str) -> np.ndarray:
        """Whole numbers in a field, ``(N,)`` int64; none when the field is not there.

        Raises:
            DataError: something else.
        """
        return self._numbers(name, np.int64)

    def error(self, what: str) -> DataError:
        """An error that says where the node is."""
        return DataError(f"{self.kind or 'file'} in line {self.line}: {what}")

    def _numbers(self, name: str, dtype: type) -> np.ndarray:
        words: list[str] = []
        for value in self.fields.get(name, []):
            if isinstance(value, Node) or value.startswith('"'):
                raise self.error(f"{name} must hold numbers")
            words += value.strip("[]").replace(",", " ").split()
        try:
            return np.array(words, dtype)
        except (ValueError, OverflowError) as error:
            kind = "numbers" if dtype is np.float64 else "whole numbers"
            raise self.error(f"{name} must hold {kind} ({error})") from error


def parse_nodes(data: bytes) -> Node:
    """The nodes of a file: a node without a kind whose field ``children`` holds those at the top.

    ``DEF`` and ``USE`` are followed, so a node may be met several times. ``PROTO`` is not read.

    Raises:
        DataError: not VRML 2.0, too large, or damaged; the message gives the line.
    """
    if len(data) > MAX_BYTES:
        raise DataError(f"a file of more than {MAX_BYTES >> 20} MB")
    text = _decode(data)
    if not text.startswith("#VRML V2.0"):
        raise DataError(f"not VRML 2.0: the file must begin with '#VRML V2.0'; it begins with {text[:16]!r}")
    text = _STRING_OR_COMMENT.sub(lambda match: match[0] if match[0][0] == '"' else "", text)
    return _Reader(text).read()


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")  # older programs wrote names in it; there is no byte that it does not know


@dataclass(eq=False)
class _Frame:
    """What is open: a node, or a list of nodes in one of its fields. name: of DEF, or empty."""

    node: Node
    list_field: str | None = None
    name: str = ""


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted = (0, 1)  # a place up to which lines were counted, and the line there
        self._named: dict[str, Node] = {}
        self._words: list[str] = []  # since the last bracket
        self._open = [_Frame(Node("", 1), "children")]

    def read(self) -> Node:
        for token in self._tokens():
            if token == "{":
                self._begin_node()
            elif token == "}":
                self._end_node()
            elif token == "[":
                self._begin_list()
            elif token == "]":
                self._end_list()
            elif token == '"':
                raise self._error("a string that is not closed")
            else:
                self._words.append(token)
        self._flush()
        if len(self._open) > 1:
            node = self._open[-1].node
            raise self._error(f"the file ends inside of {node.kind} of line {node.line}; it may be cut short")
        return self._open[0].node

    def _tokens(self) -> Iterator[str]:
        for count, match in enumerate(_TOKEN.finditer(self._text)):
            self._at = match.start()
            if count == _MAX_TOKENS:
                raise self._error(f"more than {_MAX_TOKENS:,} words; this is no mesh")
            yield match[0]
        self._at = len(self._text)

    def _begin_node(self) -> None:
        frame, words = self._open[-1], self._words
        if "PROTO" in words or "EXTERNPROTO" in words:
            raise self._error("PROTO is not read; save the mesh without it")
        kind = words.pop() if words else ""
        if not _NAME.fullmatch(kind):
            raise self._error("'{' without the name of a node before it")
        name = ""
        if len(words) >= 2 and words[-2] == "DEF":
            name = words.pop()
            words.pop()
        into = frame.list_field
        if into is None:
            into = words.pop() if words else ""
            if not _NAME.fullmatch(into):
                raise self._error(f"{kind} is in no field of {frame.node.kind}")
        self._flush()
        if len(self._open) > _MAX_DEPTH:
            raise self._error(f"nodes and lists more than {_MAX_DEPTH} levels deep")
        node = Node(kind, self._line())
        frame.node.fields.setdefault(into, []).append(node)
        self._open.append(_Frame(node, name=name))

    def _end_node(self) -> None:
        frame = self._open[-1]
        if frame.list_field is not None:
            raise self._error("'}' where nothing is open, or where a list is")
        self._flush()
        self._open.pop()
        if frame.name:  # only now: a node cannot be used inside of itself
            self._named[frame.name] = frame.node

    def _begin_list(self) -> None:
        frame = self._open[-1]
        name = self._words.pop() if self._words else ""
        if frame.list_field is not None or not _NAME.fullmatch(name):
            raise self._error("'[' without the name of a field before it")
        self._flush()
        self._open.append(_Frame(frame.node, name))

    def _end_list(self) -> None:
        if self._open[-1].list_field is None or len(self._open) == 1:
            raise self._error("']' where no list is open")
        self._flush()
        self._open.pop()

    def _flush(self) -> None:
        """Put the words since the last bracket into the fields they belong to."""
        frame = self._open[-1]
        into = frame.list_field
        words, self._words = iter(self._words), []
        for word in words:
            value: Node | str = word
            if word == "USE":
                value = self._used(next(words, ""))
            elif frame.list_field is None and _NAME.fullmatch(word) and word not in _NO_FIELDS:
                into = word
                frame.node.fields.setdefault(into, [])
                continue
            if into is None:
                raise self._error(f"{word[:20]!r} is in no field of {frame.node.kind}")
            values = frame.node.fields.setdefault(into, [])
            # A list of nothing but names of nodes.
            values += self._names_in(word) if word.startswith("[") and "USE" in word else [value]

    def _names_in(self, block: str) -> list[Node]:
        words = block.strip("[]").replace(",", " ").split()
        if any(word != "USE" for word in words[::2]):
            raise self._error(f"cannot read the list {block[:40]!r}")
        return [self._used(name) for name in words[1::2]]

    def _used(self, name: str) -> Node:
        if name not in self._named:
            raise self._error(f"USE {name}: no node of that name before")
        return self._named[name]

    def _line(self) -> int:
        at, line = self._counted
        self._counted = self._at, line + self._text.count("\n", at, self._at)
        return self._counted[1]

    def _error(self, what: str) -> DataError:
        return DataError(f"line {self._line()}: {what}")
