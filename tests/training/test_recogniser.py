"""Training the recogniser on people who look plainly different."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from lssl_augment.attributes import BASIC5
from lssl_augment.cli.train_recogniser import train_recogniser_command
from lssl_augment.errors import DataError, WeightsError
from lssl_augment.faces.align import template68
from lssl_augment.faces.pack import FacePack, PackWriter
from lssl_augment.models.recogniser_net import RecogniserConfig, RecogniserNet, embed, load_recogniser
from lssl_augment.models.weights import read_card
from lssl_augment.training.metrics_log import read_stats
from lssl_augment.training.recogniser import RecogniserTraining, margin_softmax, save_recogniser, train_recogniser

NETWORK = RecogniserConfig(widths=(8, 8, 16, 16), blocks=(1, 1, 1), embedding=16, input_size_px=32)
QUICK = RecogniserTraining(steps=12, batch_size=12, learning_rate=5e-3, ema_decay=0.5)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> FacePack:
    """Everybody has a pattern of their own; 14 training and 8 test people with three photos, one with a single one."""
    path = tmp_path_factory.mktemp("pack") / "people.h5"
    rng = np.random.default_rng(0)
    with PackWriter(path, BASIC5, dataset="patterns") as writer:
        for split, people in (("train", 14), ("test", 8)):
            for person in range(people):
                pattern = rng.uniform(40, 210, (8, 8, 1)).repeat(16, 0).repeat(16, 1)
                count = 1 if person == 0 else 3
                faces = pattern + rng.normal(0, 8, (count, 128, 128, 3))
                names = [f"{split}{person}"] * count
                points = np.broadcast_to(template68(), (count, 68, 2)).astype(np.float32)
                files = [f"{split}{person}_{i}.jpg" for i in range(count)]
                images = faces.clip(0, 255).astype(np.uint8)
                writer.append(images, np.zeros(count, np.int64), names, files, points, [split] * count)
    return FacePack.open(path)


def test_trains_saves_and_loads(pack: FacePack, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    result = train_recogniser(pack, QUICK, network=NETWORK)
    assert torch.equal(state, torch.random.get_rng_state())
    assert result.metrics["auroc"] > 0.6
    assert result.training["subjects"] == 14
    assert result.training["subjects_with_two_photos"] == 13
    path = save_recogniser(tmp_path / "r.safetensors", result, licence="none", command="a test")
    assert "substitute" in read_card(path)["intended_use"]
    loaded = load_recogniser(path)
    images = torch.randint(0, 256, (3, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(embed(loaded, images), embed(result.net, images), rtol=0, atol=2e-2)
    assert embed(loaded, images).norm(dim=1).tolist() == pytest.approx([1, 1, 1])


def test_the_same_seed_gives_the_same_network(pack: FacePack) -> None:
    def weights(seed: int) -> torch.Tensor:
        net = train_recogniser(pack, replace(QUICK, steps=2, seed=seed), network=NETWORK).net
        return torch.cat([p.flatten() for p in net.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_margin_softmax_by_hand() -> None:
    cosines = torch.tensor([[0.5, 0.1]], dtype=torch.float64)
    logits = torch.tensor([2 * (0.5 - 0.2), 2 * 0.1], dtype=torch.float64)
    expected = -(logits[0] - logits.logsumexp(0))
    torch.testing.assert_close(margin_softmax(cosines, torch.tensor([0]), 0.2, 2.0), expected)


def test_brightness_contrast_and_colour_are_not_looked_at() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = RecogniserNet(NETWORK).eval()
        face = torch.rand(1, 3, 128, 128) - 0.5
    grey = (0.299 * face[:, :1] + 0.587 * face[:, 1:2] + 0.114 * face[:, 2:]).expand(-1, 3, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(net(face), net(0.5 * grey + 0.2), rtol=0, atol=2e-2)


def test_bad_input_and_bad_numbers() -> None:
    with pytest.raises(DataError, match="float in"):
        RecogniserNet(NETWORK)(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    for bad in ({"steps": 0}, {"batch_size": 1}, {"margin": 1.0}, {"single_share": 1.0}, {"learning_rate": 0.0}):
        with pytest.raises(DataError, match=next(iter(bad))):
            RecogniserTraining(**bad)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="architecture"):
        RecogniserConfig.from_card({"widths": [1]})


def test_command_refuses_a_name_before_the_work(tmp_path: Path) -> None:
    result = CliRunner().invoke(train_recogniser_command, ["none.h5", "--out", str(tmp_path / "r.pt")])
    assert isinstance(result.exception, WeightsError)


def test_command_trains_and_leaves_its_log(pack: FacePack, tmp_path: Path) -> None:
    out = tmp_path / "r.safetensors"
    arguments = [str(pack.path), "--steps", "1", "--batch-size", "2", "--out", str(out)]
    result = CliRunner().invoke(train_recogniser_command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "AUROC" in result.stdout
    log = tmp_path / "r.log"
    assert (log / "command.txt").read_text().strip() == read_card(out)["training"]["command"]
    assert [row["step"] for row in read_stats(log / "stats.jsonl")] == [1]
