"""Files appear whole or not at all, whatever stops the writer."""

from __future__ import annotations

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


def test_json_keeps_letters(tmp_path: Path) -> None:
    write_json(tmp_path / "d.json", {"name": "é"})
    assert (tmp_path / "d.json").read_text(encoding="utf-8") == '{\n "name": "é"\n}\n'
