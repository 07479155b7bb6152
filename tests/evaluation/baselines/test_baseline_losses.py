"""Losses of the baselines, against numbers worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from small_baselines import build, config_of
from torch import Tensor, nn

from lssl_augment.evaluation.baselines.cyclegan import CycleGanObjective, least_squares
from lssl_augment.evaluation.baselines.history import History, Pool
from lssl_augment.evaluation.baselines.icgan import IcGanObjective
from lssl_augment.evaluation.baselines.simgan import SimGanObjective, local_adversarial
from lssl_augment.evaluation.baselines.stargan import StarGanObjective
from lssl_augment.models.critic import CriticOutput


class Brighten(nn.Module):
    """Adds a constant, and a tenth of the target's index."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = nn.Parameter(torch.tensor(amount))

    def forward(self, images: Tensor, attributes: Tensor | None = None) -> Tensor:
        index = 0 if attributes is None else attributes.argmax(1).view(-1, 1, 1, 1)
        return images + self.amount + 0.1 * index


class Mean(nn.Module):
    """Scores are twice the mean of the face; class logits are 0, 0 and the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: Tensor, sides: Tensor | None = None) -> CriticOutput:
        seen = images if sides is None else torch.cat([images, sides], dim=1)
        mean = seen.mean((1, 2, 3))
        logits = torch.stack([0 * mean, 0 * mean, mean], dim=1)
        return CriticOutput((self.weight * mean).view(-1, 1, 1, 1), logits)


def test_stargan(tiny_pack: Path) -> None:
    objective = build(config_of("stargan", tiny_pack))
    assert isinstance(objective, StarGanObjective)
    objective.modules = {"generator": Brighten(0.2), "critic": Mean()}
    x = torch.full((2, 3, 4, 4), 0.5)
    own, target = torch.tensor([0, 0]), torch.tensor([2, 2])
    part = x, own, target, torch.tensor([0.25, 0.5])
    found = {k: float(v.detach()) for k, v in objective.critic_terms(*part).items()}
    # G(x, 2) = 0.5 + 0.2 + 0.2; D_src doubles the mean; its gradient is 2 / 48 at each of 48 pixels.
    penalty = (2 / math.sqrt(48) - 1) ** 2
    assert found["critic/penalty"] == pytest.approx(penalty, rel=1e-5)
    assert found["critic/gan"] == pytest.approx(2 * 0.5 - 2 * 0.9 - 10 * penalty, rel=1e-5)
    cls_real = math.log(2 + math.exp(0.5))
    assert found["critic/cls_real"] == pytest.approx(cls_real, rel=1e-5)
    assert found["critic/total"] == pytest.approx(-found["critic/gan"] + cls_real, rel=1e-5)
    found = {k: float(v.detach()) for k, v in objective.generator_terms(*part).items()}
    # Back to class 0 adds 0.2 again: 1.1 against 0.5.
    cls_fake = math.log(2 + math.exp(0.9)) - 0.9
    assert found["generator/reconstruction"] == pytest.approx(0.6, rel=1e-5)
    assert found["generator/cls_fake"] == pytest.approx(cls_fake, rel=1e-5)
    assert found["generator/total"] == pytest.approx(-1.8 + cls_fake + 6.0, rel=1e-5)


class Score(nn.Module):
    """The mean of the face as its score."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))


def test_cyclegan(tiny_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = build(config_of("cyclegan", tiny_pack))
    assert isinstance(objective, CycleGanObjective)
    nets = Brighten(-0.1), Brighten(0.3), Score(), Score()  # b → a, a → b, critics of a and of b
    monkeypatch.setattr(objective, "_of", lambda pair: nets)
    a, b = torch.full((1, 3, 4, 4), 0.5), torch.full((1, 3, 4, 4), 0.2)
    found = {k: float(v.detach()) for k, v in objective.generator_terms(torch.tensor(0), a, b).items()}
    # a → 0.8 → 0.7 and b → 0.1 → 0.4: both come back 0.2 off.
    assert found["generator/gan"] == pytest.approx((0.1 - 1) ** 2 + (0.8 - 1) ** 2, rel=1e-5)
    assert found["generator/cycle"] == pytest.approx(0.4, rel=1e-5)
    assert found["generator/identity"] == pytest.approx(0.1 + 0.3, rel=1e-5)
    assert found["generator/total"] == pytest.approx(0.85 + 10 * (0.4 + 0.5 * 0.4), rel=1e-5)
    pooled = torch.full_like(a, 0.6), torch.full_like(a, 0.4)
    found = {k: float(v.detach()) for k, v in objective.critic_terms(torch.tensor(0), a, b, *pooled).items()}
    assert found["critic/total"] == pytest.approx(0.5 * (0.25 + 0.64 + 0.36 + 0.16), rel=1e-5)
    assert float(least_squares(torch.tensor([0.0, 3.0]), 1.0)) == 2.5


def test_each_step_trains_one_pair_on_its_two_classes(tiny_pack: Path) -> None:
    objective = build(config_of("cyclegan", tiny_pack))
    generator = objective.generator
    before = [[p.detach().clone() for p in pair.parameters()] for pair in generator.from_hub]
    objective.step(0.0, 1)
    same = [
        all(torch.equal(a, b) for a, b in zip(old, new.parameters(), strict=True))
        for old, new in zip(before, generator.from_hub, strict=True)
    ]
    assert same == [True, False]


def test_an_edit_goes_by_way_of_neutral(tiny_pack: Path) -> None:
    generator = build(config_of("cyclegan", tiny_pack)).generator
    generator.to_hub = nn.ModuleList([Brighten(-0.1), Brighten(-0.2)])
    generator.from_hub = nn.ModuleList([Brighten(0.3), Brighten(0.5)])
    x, labels = torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, -1])
    latent = generator.encode(x, labels)
    assert latent.at_hub[:, 0, 0, 0].tolist() == pytest.approx([0.0, -0.1, -0.2, 0.0])
    targets = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0.5]])
    out = generator.decode(latent, targets)
    assert out[:, 0, 0, 0].tolist() == pytest.approx([0.3, 0.4, -0.2, 0.25])


def test_icgan(tiny_pack: Path) -> None:
    objective = build(config_of("icgan", tiny_pack))
    assert isinstance(objective, IcGanObjective)

    class Logit(nn.Module):
        def forward(self, images: Tensor, attributes: Tensor) -> Tensor:
            return images.mean((1, 2, 3)) + attributes.argmax(1)

    objective.modules["critic"] = Logit()
    objective.net.draw = lambda code, y: torch.full((2, 3, 64, 64), 0.5)  # type: ignore[method-assign]
    objective.net.encoder_z = nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(8))
    objective.net.encoder_y = nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(3))
    x, y, drawn = torch.zeros(2, 3, 64, 64), torch.eye(3)[[1, 1]], torch.eye(3)[[0, 0]]
    part = x, y, torch.zeros(2, 8), drawn
    found = {k: float(v.detach()) for k, v in objective.critic_terms(*part).items()}
    assert found["critic/real"] == pytest.approx(math.log(1 + math.exp(-1.0)), rel=1e-5)
    assert found["critic/fake"] == pytest.approx(math.log(1 + math.exp(0.5)), rel=1e-5)
    generator = float(objective.generator_terms(*part)["generator/total"].detach())
    assert generator == pytest.approx(math.log(1 + math.exp(-0.5)), rel=1e-5)
    found = {k: float(v.detach()) for k, v in objective.encoder_terms(*part).items()}
    assert found["encoders/code"] == pytest.approx(0.25)  # 0.5 against 0
    assert found["encoders/attributes"] == pytest.approx(1 / 3)  # (0, 0, 0) against one-hot


def test_icgan_trains_the_gan_and_then_its_encoders(tiny_pack: Path) -> None:
    objective = build(config_of("icgan", tiny_pack))
    assert isinstance(objective, IcGanObjective)
    assert {"critic/total", "generator/total"} <= set(objective.step(0.49, 0))
    fixed = {k: v.clone() for k, v in objective.net.decoder.state_dict().items()}
    assert set(objective.step(0.5, 1)) == {"encoders/total", "encoders/code", "encoders/attributes"}
    assert all(torch.equal(v, fixed[k]) for k, v in objective.net.decoder.state_dict().items())


def test_simgan(tiny_pack: Path) -> None:
    logits = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    assert float(local_adversarial(logits, True)) == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)
    assert float(local_adversarial(logits, False)) == pytest.approx(math.log(1 + math.exp(2)), rel=1e-5)
    objective = build(config_of("simgan", tiny_pack))
    assert isinstance(objective, SimGanObjective)
    assert set(objective.step(0.0, 0)) == {"generator/total", "generator/regularisation"}
    assert set(objective.step(0.0, 1)) == {"critic/total", "critic/real", "critic/refined"}
    found = {k: float(v) for k, v in objective.step(0.0, 2).items()}
    total = found["generator/gan"] + 10 * found["generator/regularisation"]
    assert found["generator/total"] == pytest.approx(total, rel=1e-5)
    with pytest.raises(ValueError, match="simulated faces are others"):
        objective.load_state_dict({**objective.state_dict(), "simulated": "x"})


def test_simgan_refines_the_built_in_people(tiny_pack: Path) -> None:
    config = config_of("simgan", tiny_pack, objective={"people": 3})
    objective = build(config)
    assert isinstance(objective, SimGanObjective)
    assert objective.simulated.shape == (3, 32, 32, 3)
    assert len({face.tobytes() for face in objective.simulated}) == 3
    preview = objective.preview(objective.generator)
    assert preview.edits.shape == (3, 1, 3, 32, 32)
    assert preview.targets == ("refined",)


def test_a_pool_gives_new_faces_until_it_is_full_and_then_old_ones_too() -> None:
    pool, random = Pool(2), torch.Generator().manual_seed(0)
    faces = torch.arange(40.0).view(40, 1, 1, 1).expand(40, 3, 2, 2)
    assert torch.equal(pool.exchange(faces[:2], random), faces[:2])
    given = [int(pool.exchange(faces[i : i + 1], random)[0, 0, 0, 0]) for i in range(2, 40)]
    new = sum(a == b for a, b in zip(given, range(2, 40), strict=True))
    assert 8 < new < 30
    assert len(set(given)) == len(given)  # an old face leaves the pool when it is shown
    assert len(pool.faces) == 2


def test_half_of_what_the_critic_sees_comes_from_the_history() -> None:
    history, random = History(4), torch.Generator().manual_seed(0)
    faces = torch.arange(40.0).view(10, 4, 1, 1, 1).expand(10, 4, 3, 2, 2)
    assert torch.equal(history.mix(faces[0], random), faces[0])  # nothing to remember yet
    for batch in faces[1:]:
        before = set(history.faces[:, 0, 0, 0].tolist())
        out = history.mix(batch, random)
        assert torch.equal(out[:2], batch[:2])
        assert set(out[2:, 0, 0, 0].tolist()) <= before
        assert len(history.faces) <= 4
