"""Tiny runs with the stand-ins of ``toy.py``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOY = Path(__file__).with_name("toy.py")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lssl_toy", TOY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    return sys.modules.get("lssl_toy") or _load()


@pytest.fixture(scope="session")
def made(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished synthetic file of 60 images; not to be changed."""
    out = tmp_path_factory.mktemp("made") / "synthetic.h5"
    toy.generate_run(toy.toy_run(out))
    return out
