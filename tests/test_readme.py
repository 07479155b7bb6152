"""The README's promises: its Python blocks run; and what pages link to exists."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lssl_augment import BASIC5, GenerateConfig, generate
from lssl_augment.faces.pack import PackWriter
from lssl_augment.simulation.face_model import load_face_model

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_readme_starts_with_the_two_commands() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.S)
    assert blocks[0].strip() == "pip install . && lssl-augment generate --per-class 5000"
    assert blocks[1].strip() == "pip install '.[test]' && pytest"


TOP = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "results" / "README.md"]
PAGES = [*TOP, *sorted((ROOT / "docs").glob("*.md"))]


def headings(page: Path) -> set[str]:
    """Anchors that a page has, as its headings are called in links."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")) if "://" not in link]
    lost = []
    for link in links:
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in headings(there)):
            lost.append(link)
    assert lost == []


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    generate(GenerateConfig(per_class=2, batch=2))
    faces, labels = torch.rand(4, 3, 128, 128), torch.tensor([0, 1, 0, 0])
    people, _ = load_face_model().sample(np.arange(4))
    with PackWriter("my_faces.h5", BASIC5, dataset="folder") as writer:
        files, points = [f"{i}.png" for i in range(4)], np.zeros((4, 68, 2), np.float32)
        writer.append(people, labels.numpy(), ["a", "b", "c", "d"], files, points, ["train"] * 3 + ["test"])
    names = {
        "loader": [(faces, labels)],
        "model": nn.Sequential(nn.Flatten(), nn.Linear(3 * 128 * 128, 5)),
        "criterion": nn.CrossEntropyLoss(),
        "transform": None,
    }
    assert len(BLOCKS) == 2
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)
    assert names["images"].shape == faces.shape  # type: ignore[attr-defined]
    assert torch.isfinite(names["loss"])  # type: ignore[arg-type]
    assert len(names["train"]) == 3 + 10  # type: ignore[arg-type]
