"""Stand-ins without their pictures: the names and lists of a simulated copy, to be read back by its loader."""

from __future__ import annotations

from pathlib import Path

from lssl_augment.datasets.info import StandInFace
from lssl_augment.datasets.records import RecordTable
from lssl_augment.datasets.registry import find_dataset

__all__ = ["blank_tree", "shown"]


def blank_tree(name: str, subjects: int, root: Path) -> dict[str, StandInFace]:
    """Write the stand-in of a data set with empty pictures; file → the face it would show."""
    stand_in = find_dataset(name).stand_in
    assert stand_in is not None
    faces = {}
    for file in stand_in(subjects):
        path = root / file.file
        assert not path.exists(), f"{file.file} comes twice"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content or b"")
        # A file has a picture or bytes, never both and never neither.
        assert (file.face is None) == (file.content is not None)
        if file.face is not None:
            faces[file.file] = file.face
    return faces


def shown(table: RecordTable) -> dict[str, str]:
    """File → expression."""
    return {r.file: table.vocabulary.names[r.label] if r.label >= 0 else "" for r in table.records}
