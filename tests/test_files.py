from __future__ import annotations

import os
from pathlib import Path

import pytest

from lssl_augment.files import write_json, write_text


def test_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_text(path, "first")
    write_text(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "b.json"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["b.json"]


def test_json_is_indented_and_keeps_its_letters(tmp_path: Path) -> None:
    write_json(tmp_path / "b.json", {"zwölf": [12]})
    assert (tmp_path / "b.json").read_text(encoding="utf-8") == '{\n "zwölf": [\n  12\n ]\n}\n'
