"""The switches of the paper's ablation, and several attributes in one generator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import NAMES, tiny_config, tiny_faces
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.models.bundle import load_model
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.models.target_vectors import Mixture
from lssl_augment.models.weights import write_weights
from lssl_augment.training import losses
from lssl_augment.training.paper_objective import PaperObjective


def objective(pack: Path, **settings: Any) -> PaperObjective:
    attributes = settings.pop("attributes", None)
    more = {"attributes": attributes} if attributes else {}
    config = tiny_config(pack, objective={"critic_steps": 1, **settings}, **more)
    faces = tiny_faces(config)
    if attributes:
        n = len(faces)
        lights = np.array(["normal", "weak", "dark", ""])[np.arange(n) % 4]
        faces = replace(faces, lights=lights, yaw_deg=np.linspace(-50, 50, n).astype(np.float32))
    return PaperObjective(config, faces)


def values(pack: Path, **settings: Any) -> dict[str, float]:
    return {k: float(v) for k, v in objective(pack, **settings).step(0.0, 0).items()}


def test_without_switches_every_term_of_eq7_is_there(tiny_pack: Path) -> None:
    found = values(tiny_pack)
    names = ("gan", "bidirectional", "parsing", "cls_fake", "identity")
    assert all(np.isfinite(found[f"generator/{name}"]) for name in names)
    total = (
        found["generator/gan"] + 10 * found["generator/bidirectional"] + 10 * found["generator/parsing"]
        + found["generator/cls_fake"] + 10 * found["generator/identity"]
    )
    assert found["generator/total"] == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize(
    ("switch", "gone"),
    [({"bidirectional": "none"}, "generator/bidirectional"), ({"parser": None}, "generator/parsing")],
)
def test_a_switched_off_term_is_gone_and_no_other(tiny_pack: Path, switch: dict[str, Any], gone: str) -> None:
    whole, found = values(tiny_pack), values(tiny_pack, **switch)
    assert set(whole) - set(found) == {gone}
    # The critic's step comes first and does not know of it.
    assert found["critic/total"] == whole["critic/total"]
    assert found["generator/identity"] == whole["generator/identity"]


def test_the_image_level_cycle_is_the_first_term_of_eq6(tiny_pack: Path) -> None:
    whole, image = values(tiny_pack), values(tiny_pack, bidirectional="image")
    assert 0 < image["generator/bidirectional"] < whole["generator/bidirectional"]
    assert image["generator/gan"] == whole["generator/gan"]


def test_without_side_image_both_networks_see_the_face_alone(tiny_pack: Path) -> None:
    made = objective(tiny_pack, side_image=False)
    release = made.release(made.generator)
    assert release.architecture["generator"]["side_channels"] == 0
    first = next(p for p in made.modules["critic"].parameters())
    assert first.shape[1] == 3
    assert not any("side" in name for name in release.tensors)
    with pytest.raises(DataError, match="means nothing with"):
        objective(tiny_pack, side_image=False, side_sigma_px=2.0)


def test_the_parser_is_frozen_and_its_loss_reaches_the_generator(tiny_pack: Path) -> None:
    made = objective(tiny_pack)
    assert made._parser is not None
    before = {k: v.clone() for k, v in made._parser.state_dict().items()}
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    fake = x.flip(-1).clone().requires_grad_()
    loss = made._parsing(x, fake)
    assert loss is not None
    (gradient,) = torch.autograd.grad(loss, fake)
    assert float(gradient.abs().sum()) > 0
    made.step(0.0, 0)
    assert all(torch.equal(v, before[k]) for k, v in made._parser.state_dict().items())
    assert not any(p.requires_grad for p in made._parser.parameters())


def test_softmax_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, 1.0, 1.0, 1.0], [0.0, np.log(3.0), 0.0, 0.0, 0.0]])
    attributes = torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0, 0.0]])
    groups = (slice(0, 2), slice(2, 5))  # the second row's second group is unknown: all zeros
    wanted = (np.log(2) + np.log(3) - np.log(3 / 4)) / 2
    assert losses.softmax_attribute_loss(logits, attributes, groups).item() == pytest.approx(wanted)


def test_the_attribute_loss_is_a_switch(tiny_pack: Path) -> None:
    binary, softmax = values(tiny_pack), values(tiny_pack, attribute_loss="softmax")
    assert binary["critic/gan"] == softmax["critic/gan"]
    assert binary["critic/cls_real"] != softmax["critic/cls_real"]
    with pytest.raises(DataError, match="attribute_loss must be binary or softmax; got 'hinge'"):
        objective(tiny_pack, attribute_loss="hinge")


def test_the_penalty_agrees_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)

    def penalty(w: Tensor) -> Tensor:
        def src(image: Tensor, side: Tensor) -> Tensor:
            return torch.tanh(w[0] * image[:, :1]) * w[1] + torch.sin(w[2] * side) * w[3]

        gradients = []
        image = torch.linspace(-1, 1, 24, dtype=torch.float64).view(2, 3, 2, 2).requires_grad_()
        side = torch.linspace(0, 1, 8, dtype=torch.float64).view(2, 1, 2, 2).requires_grad_()
        score = src(image, side).flatten(1).mean(1).sum()
        gradients = torch.autograd.grad(score, (image, side), create_graph=True)
        flat = torch.cat([g.flatten(1) for g in gradients], dim=1)
        by_hand = (flat.norm(dim=1) - 1).square().mean()
        assert losses.gradient_penalty(src, (image, side)).item() == pytest.approx(by_hand.item())
        return losses.gradient_penalty(src, (image, side))

    assert torch.autograd.gradcheck(penalty, (weight,), eps=1e-6, atol=1e-6)


def test_pose_and_light_in_one_generator(tiny_pack: Path, tmp_path: Path) -> None:
    made = objective(tiny_pack, attributes=["expression", "pose", "light"], attribute_loss="softmax")
    assert made.spec.groups.keys() == {"expression", "pose", "light"}
    logged = made.step(0.0, 0)
    assert all(np.isfinite(float(v)) for v in logged.values())
    preview = made.preview(made.generator)
    assert preview.edits.shape[1] == len(preview.targets) == 3 + 4 + 3
    release = made.release(made.generator)
    card = {
        "kind": "generator", "architecture": dict(release.architecture), "class_names": list(NAMES),
        "attributes": made.spec.to_card(), "face_size_px": 32, "training": {}, "metrics": {}, "licence": "",
        "intended_use": "",
    }
    path = write_weights(tmp_path / "many.safetensors", release.tensors, card)
    engine = ExpressionEngine(load_model(path))
    images, dense = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 478, 3) * 31
    faces = engine.encode(images, dense, torch.tensor([0, 1]), yaw_deg=np.array([0.0, 30.0]), lights=["dark", ""])
    plain = torch.tensor([2, 2]), torch.ones(2), torch.zeros(2, dtype=torch.int64)
    kept = engine.edit(faces, *plain)
    same = engine.edit(faces, *plain, pose=torch.tensor([-1, 2]), light=torch.tensor([2, -1]))
    torch.testing.assert_close(kept, same)
    assert not torch.equal(kept, engine.edit(faces, *plain, pose=torch.tensor([3, 0])))
    # Between two expressions: the ends are the expressions themselves.
    second = torch.tensor([0, 1])
    for share, targets in ((0.0, plain[0]), (1.0, second)):
        mixed = engine.edit(faces, *plain, mixture=Mixture(second, torch.full((2,), share)))
        torch.testing.assert_close(mixed, engine.edit(faces, targets, *plain[1:]))
    with pytest.raises(DataError, match="shares must be in"):
        engine.edit(faces, *plain, mixture=Mixture(second, torch.full((2,), 1.5)))
