"""Every switch of the paper's ablation changes what it says, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_config, tiny_faces
from torch import Tensor, nn

from lssl_augment.errors import DataError, WeightsError
from lssl_augment.models.paper_generator import PaperGenerator
from lssl_augment.models.parser_net import load_parser
from lssl_augment.training.config import parse_settings
from lssl_augment.training.paper_objective import PaperObjective

Logged = dict[str, float]


def build(pack: Path, *settings: str, **values: Any) -> PaperObjective:
    """As the command line would, with one critic step."""
    given = parse_settings([f"objective.{s}" for s in settings]).get("objective", {})
    config = tiny_config(pack, objective={"critic_steps": 1, **given}, **values)
    return PaperObjective(config, tiny_faces(config))


def first_step(objective: PaperObjective) -> tuple[Logged, dict[str, Tensor]]:
    """What the first step logs, and the generator's gradients."""
    logged = {k: float(v) for k, v in objective.step(0.0, 0).items()}
    return logged, {k: p.grad.clone() for k, p in objective.generator.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module")
def papers(tiny_pack: Path) -> tuple[Logged, dict[str, Tensor]]:
    return first_step(build(tiny_pack))


SWITCHES = {
    "parser=none": {"generator/parsing"},
    "bidirectional=none": {"generator/bidirectional"},
    "bidirectional=image": set(),
    "attribute_loss=softmax": set(),
    "side_sigma_px=1.5": set(),
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_changes_its_own_term(
    switch: str, papers: tuple[Logged, dict[str, Tensor]], tiny_pack: Path
) -> None:
    logged, gradients = first_step(build(tiny_pack, switch))
    before, gradients_before = papers
    assert set(before) - set(logged) == SWITCHES[switch]
    # Same faces, targets and first weights: the critic's step is the same to the last digit where it is not meant.
    critic = [name for name in before if name.startswith("critic/")]
    same = {name for name in critic if logged[name] == before[name]}
    if switch.startswith("attribute_loss"):
        assert set(critic) - same == {"critic/total", "critic/cls_real"}
    elif switch.startswith("side_sigma"):
        assert {"critic/total", "critic/gan", "critic/penalty"} <= set(critic) - same
    else:
        assert same == set(critic)
    if switch.startswith(("parser", "bidirectional")):
        others = ["generator/gan", "generator/cls_fake", "generator/identity"]
        others += ["generator/parsing"] if switch.startswith("bi") else ["generator/bidirectional"]
        assert [logged[name] for name in others] == [before[name] for name in others]
    assert set(gradients) == set(gradients_before)
    assert any(not torch.equal(gradients[name], gradients_before[name]) for name in gradients)


def test_totals_follow_the_switches(tiny_pack: Path) -> None:
    v, _ = first_step(build(tiny_pack, "parser=none", "bidirectional=none"))
    total = v["generator/gan"] + v["generator/cls_fake"] + 10 * v["generator/identity"]
    assert v["generator/total"] == pytest.approx(total, rel=1e-5)
    v, _ = first_step(build(tiny_pack, "parser=none", "bidirectional=image"))
    total = v["generator/gan"] + v["generator/cls_fake"] + 10 * v["generator/identity"]
    assert v["generator/total"] == pytest.approx(total + 10 * v["generator/bidirectional"], rel=1e-5)


def test_the_way_back_is_gone_only_where_something_asks_for_it(
    tiny_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"encode": 0, "decode": 0}

    def counted(name: str) -> Any:
        plain = getattr(PaperGenerator, name)

        def call(*arguments: Any) -> Any:
            calls[name] += 1
            return plain(*arguments)

        return call

    for name in calls:
        monkeypatch.setattr(PaperGenerator, name, counted(name))
    for switch, encodings in (("full", 3), ("image", 3), ("none", 2)):  # one of them in the critic's step
        calls.update(encode=0, decode=0)
        first_step(build(tiny_pack, f"bidirectional={switch}"))
        assert calls == {"encode": encodings, "decode": encodings}


def test_no_side_image_means_the_face_alone(tiny_pack: Path) -> None:
    objective = build(tiny_pack, "side_image=false")
    generator, critic = objective.generator, objective.modules["critic"]
    assert not any(name.startswith("side_head") for name, _ in generator.named_parameters())
    for network in (generator, critic):
        first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
        assert first.in_channels == 3
    logged, gradients = first_step(objective)
    assert all(np.isfinite(value) for value in logged.values())
    assert set(gradients) == {name for name, _ in generator.named_parameters()}
    # Other landmarks, the same step: nothing looks at them.
    config = objective.config
    faces = tiny_faces(config)
    faces.points68[:] += 7.0
    again, _ = first_step(PaperObjective(config, faces))
    assert again == logged
    config = tiny_config(tiny_pack, objective={"critic_steps": 1})
    with_side, _ = first_step(PaperObjective(config, tiny_faces(config)))
    moved, _ = first_step(PaperObjective(config, faces))
    assert moved != with_side
    release = objective.release(generator)
    assert release.architecture["generator"]["side_channels"] == 0
    assert objective.preview(generator).edits.shape == (3, 3, 3, 32, 32)


def test_the_parsers_gradient_goes_to_the_generator_and_nowhere_else(tiny_pack: Path) -> None:
    objective = build(tiny_pack)
    parser = objective._parser
    assert parser is not None
    assert not parser.training
    assert "parser" not in objective.modules
    before = {k: v.clone() for k, v in parser.state_dict().items()}
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    fake = images.clone().requires_grad_()
    source = images.clone().requires_grad_()
    loss = objective._parsing(source, fake)
    assert loss is not None
    loss.backward()
    assert fake.grad is not None
    assert float(fake.grad.abs().sum()) > 0
    assert source.grad is None
    assert all(p.grad is None for p in parser.parameters())
    objective.step(0.0, 0)
    assert all(torch.equal(before[k], v) for k, v in parser.state_dict().items())
    # By default the released parser, so that `paper` is the paper.
    for key, value in load_parser("parser").state_dict().items():
        assert torch.equal(value, before[key])


def test_switches_say_what_is_wrong(tiny_pack: Path) -> None:
    with pytest.raises(WeightsError, match="no weights are called 'helen'"):
        build(tiny_pack, "parser=helen")
    small = {"generator": {"width": 4, "blocks": 1, "downs": 2}, "critic": {"width": 4, "depth": 2}}
    with pytest.raises(DataError, match=r"multiple of 16; got 24; objective\.parser=none"):
        build(tiny_pack, face_size_px=24, **small)
    with pytest.raises(DataError, match=r"objective\.side_image=false"):
        build(tiny_pack, generator={"width": 4, "blocks": 1, "side_channels": 0})
