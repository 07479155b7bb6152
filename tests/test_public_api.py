"""The package root: what is public, that it is light, and that its version is told once."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lssl_augment

SOURCE = Path(lssl_augment.__file__)
CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
HEAVY = ("torch", "torchvision", "insightface", "kornia", "sklearn", "pandas", "cv2", "h5py", "scipy")


def fresh(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_is_light() -> None:
    code = f"import sys, lssl_augment; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert fresh(code) == "[]"


def test_public_names_pull_in_no_heavy_library() -> None:
    late = ("insightface", "kornia", "sklearn", "pandas")
    code = (
        "import sys, lssl_augment as l; [getattr(l, n) for n in l.__all__]; "
        f"print([m for m in {late!r} if m in sys.modules], sys.modules['torch'].cuda.is_initialized())"
    )
    assert fresh(code) == "[] False"


@pytest.mark.parametrize("name", lssl_augment.__all__)
def test_every_name_loads_and_is_documented(name: str) -> None:
    value = getattr(lssl_augment, name)
    assert name == "__version__" or value.__doc__


def test_all_is_exactly_what_is_public() -> None:
    assert dir(lssl_augment) == sorted(lssl_augment.__all__)
    assert len(set(lssl_augment.__all__)) == len(lssl_augment.__all__)
    # What type checkers see is what is loaded at run time.
    typed = {
        alias.name
        for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lssl_augment")
        for alias in node.names
    }
    assert typed == set(lssl_augment.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lssl_augment.nothing


def test_changelog_top_equals_version() -> None:
    found = re.search(r"^## (\S+)", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    assert found[1] == lssl_augment.__version__


def test_every_folder_of_code_is_a_package() -> None:
    # setup.py installs packages only: a folder without __init__.py would be missing once installed.
    folders = {path.parent for path in SOURCE.parent.rglob("*.py")}
    assert [folder.name for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
