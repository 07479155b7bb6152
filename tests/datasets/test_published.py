"""What a copy lacks is said in words, and so is a tree that is no copy at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.attributes import BASIC7
from lssl_augment.datasets.info import DatasetInfo
from lssl_augment.datasets.published import count_notes, wrong_layout
from lssl_augment.errors import DataError

counts = st.dictionaries(st.sampled_from(["subjects", "sequences", "images", "anger images"]), st.integers(0, 9))


def test_differences_are_told_in_order() -> None:
    published = {"subjects": 80, "sequences": 480, "images": 10}
    assert count_notes(published, {"images": 0, "sequences": 12, "subjects": 80}) == [
        "480 sequences are published, this copy has 12",
        "10 images are published, this copy has 0",
    ]


@given(counts, counts)
def test_one_note_for_each_difference(published: dict[str, int], found: dict[str, int]) -> None:
    notes = count_notes(published, found)
    differing = [name for name in published if name in found and found[name] != published[name]]
    assert len(notes) == len(differing)
    for note, name in zip(notes, differing, strict=True):
        assert note == f"{published[name]} {name} are published, this copy has {found[name]}"
    assert count_notes(published, published) == []


def test_wrong_layout_says_all_in_one_line() -> None:
    info = DatasetInfo(
        "oulu", "Oulu", "VL/Strong/\n    P001/ …", "the university.", "research", "paper", "10-fold", BASIC7
    )
    error = wrong_layout(info, Path("photos"), "folders P001/", "cats/, dogs/")
    assert str(error) == (
        "photos is not oulu: looked for folders P001/, found cats/, dogs/; expected VL/Strong/ P001/ …. Where to ask "
        "for a copy: the university. To try things without one, --simulated makes a stand-in"
    )
    with pytest.raises(DataError, match="is not oulu"):
        raise error
