from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_faces import NAMES, SIZE_PX, compact_config, fitted, loosen, training_faces

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import WeightsError
from lssl_augment.models.compact_generator import CompactGenerator
from lssl_augment.models.weights import write_weights
from lssl_augment.training.compact_objective import CompactObjective
from lssl_augment.training.start import start_from


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompactGenerator]:
    """Weights as a run leaves them, their network shaken so that nothing is as at the start."""
    torch.manual_seed(1)
    network = CompactGenerator(len(NAMES), width=8, blocks=1)
    loosen(network)
    release = fitted().release(network)
    path = tmp_path_factory.mktemp("weights") / "trained.safetensors"
    card = {
        "kind": "generator", "architecture": dict(release.architecture), "class_names": list(NAMES),
        "face_size_px": SIZE_PX, "training": {}, "metrics": {}, "licence": "test", "intended_use": "test",
    }  # fmt: skip
    return write_weights(path, release.tensors, card, dtypes=release.dtypes), network


def test_a_run_goes_on_from_the_network_and_fits_its_own_statistics(trained: tuple[Path, CompactGenerator]) -> None:
    path, network = trained
    begun = CompactObjective(compact_config(init=str(path)), training_faces())
    for name, value in begun.generator.state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[name], rtol=2e-3, atol=1e-3)
    torch.testing.assert_close(begun.shapes.donors, fitted().shapes.donors)


def test_expressions_are_matched_by_name_and_new_ones_start_silent(trained: tuple[Path, CompactGenerator]) -> None:
    path, network = trained
    other = CompactGenerator(4, width=8, blocks=1)
    start_from(other, str(path), Vocabulary(("surprise", "fear", "neutral", "happiness")), SIZE_PX)
    before, now = network.embed[0].weight, other.embed[0].weight
    torch.testing.assert_close(now[:, [2, 3, 0]], before, rtol=2e-3, atol=1e-3)
    assert not now[:, 1].any()


@pytest.mark.parametrize(("width", "blocks", "size"), [(12, 1, SIZE_PX), (8, 2, SIZE_PX), (8, 1, 128)])
def test_other_networks_are_refused(
    trained: tuple[Path, CompactGenerator], width: int, blocks: int, size: int
) -> None:
    network = CompactGenerator(3, width=width, blocks=blocks)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(WeightsError, match=r"numbers|px"):
        start_from(network, str(trained[0]), Vocabulary(NAMES), size)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_init_and_further_belong_to_compact() -> None:
    from lssl_augment.errors import DataError

    config = compact_config()
    for name in ("init", "further"):
        with pytest.raises(DataError, match=f"takes no {name}"):
            replace(config, preset="paper", generator={}, critic={}, objective={}, **{name: "x"})
