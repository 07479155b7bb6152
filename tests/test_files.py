"""Files appear whole or not at all, whatever stops the writer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lssl_augment.files import whole_file, write_json, write_text


@pytest.mark.parametrize("alone", [False, True])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, alone: bool) -> None:
    path = tmp_path / "made" / "a.txt"
    write_text(path, "old\n", alone=alone)

    def fail() -> None:
        with whole_file(path, alone=alone) as file:
            file.write_text("half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert path.read_bytes() == b"old\n"
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_not_there_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "b.bin"
    with whole_file(path) as file:
        file.write_bytes(b"\0\1")
        assert not path.exists()
        assert file.parent == path.parent  # a rename stays on one file system
    assert path.read_bytes() == b"\0\1"


def test_a_lone_writer_writes_over_what_a_kill_left(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with whole_file(path, alone=True) as file:
        left = file
        file.write_bytes(b"x")
    left.write_bytes(b"half of an earlier run, longer than the new one")
    write_text(path, "[]", alone=True)
    assert path.read_text() == "[]"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_text(path, "first")
    write_text(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]


def test_a_rename_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
