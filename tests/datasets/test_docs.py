"""docs/datasets.md says what the package says."""

from __future__ import annotations

from pathlib import Path

import pytest

from lssl_augment.datasets.registry import DATASET_NAMES, find_dataset

PAGE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DATASET_NAMES)
def test_the_page_tells_what_is_known_of_each_data_set(name: str) -> None:
    info = find_dataset(name).info
    assert info.name == name
    section = PAGE[PAGE.index(f"### `{name}`") :].split("\n### ", 1)[0]
    for told in (info.title, info.layout, info.ask.rstrip("."), info.licence.rstrip("."), info.citation):
        assert told in section
    assert info.protocol.rstrip(".") in section
    for option in info.options:
        flag = {"views_deg": "--views"}.get(option, f"--{option.replace('_', '-')}")
        assert flag in section
