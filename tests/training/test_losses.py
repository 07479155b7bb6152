from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lssl_augment.models.critic import Critic
from lssl_augment.training import losses


def test_eq1_wgan() -> None:
    real, fake = torch.tensor([[3.0], [1.0]]), torch.tensor([[0.5], [-0.5]])
    assert losses.wgan_loss(real, fake, torch.tensor(0.25), 10.0).item() == pytest.approx(2 - 0 - 2.5)


def test_eqs2_and_3_attributes_are_summed_over_attributes_and_averaged_over_the_batch() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [math.log(3), 0.0, -math.log(3)]])
    attributes = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    # Row 1: three coins. Row 2: p = 3/4 for a yes, 1/2 for a no, 1/4 for a no.
    first, second = 3 * math.log(2), -math.log(3 / 4) + math.log(2) - math.log(3 / 4)
    assert losses.attribute_loss(logits, attributes).item() == pytest.approx((first + second) / 2)


def test_unknown_attributes_do_not_count() -> None:
    logits = torch.tensor([[0.0, 5.0, 0.0], [math.log(3), 0.0, -math.log(3)]])
    attributes = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    known = torch.tensor([[True, False, False], [True, False, True]])
    found = losses.attribute_loss(logits, attributes, known).item()
    assert found == pytest.approx((math.log(2) - 2 * math.log(3 / 4)) / 2)
    logits.requires_grad_()
    losses.attribute_loss(logits, attributes, known).backward()
    assert logits.grad is not None
    assert (logits.grad != 0).tolist() == known.tolist()


def test_softmax_over_each_group() -> None:
    logits = torch.tensor([[math.log(2), 0.0, 0.0, 0.0, math.log(3)], [0.0, 0.0, 0.0, 9.0, 9.0]])
    attributes = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]])
    groups = [slice(0, 3), slice(3, 5)]
    known = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    # Row 1: 2 of 4, and 1 of 4. Row 2: 1 of 3, the other group unknown.
    expected = (math.log(2) + math.log(4) + math.log(3)) / 2
    assert losses.softmax_attribute_loss(logits, attributes, groups, known).item() == pytest.approx(expected)
    assert losses.softmax_attribute_loss(logits[:1], attributes[:1], groups).item() == pytest.approx(math.log(8))


def test_eq4_identity() -> None:
    images = torch.zeros(1, 3, 2, 2)
    generated = images.clone()
    generated[0, 0, 0, 0] = -0.6
    generated[0, 2, 1, 1] = 0.6
    assert losses.identity_loss(generated, images).item() == pytest.approx(1.2 / 12)


def test_eq5_parsing_by_hand() -> None:
    # One pixel, two classes. P(x) is (1/2, 1/2), P(x') is (3/4, 1/4): −½ log ¾ − ½ log ¼.
    real, fake = torch.zeros(1, 2, 1, 1), torch.tensor([math.log(3), 0.0]).view(1, 2, 1, 1).requires_grad_()
    loss = losses.parsing_loss(real, fake)
    assert loss.item() == pytest.approx(-0.5 * math.log(3 / 4) - 0.5 * math.log(1 / 4))
    loss.backward()
    assert fake.grad is not None
    # The gradient of a softmax loss: P(x') − P(x).
    assert fake.grad.flatten().tolist() == pytest.approx([0.25, -0.25])
    # With a region map: the class of the map alone, mean over two pixels.
    maps, logits = torch.tensor([[[0, 1]]]), torch.tensor([[[[0.0, math.log(3)]], [[0.0, 0.0]]]])
    assert losses.parsing_loss(maps, logits).item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_image_cycle_is_the_first_term_of_eq6() -> None:
    image = torch.zeros(2, 3, 4, 4)
    assert losses.image_cycle_loss(image, image + 0.5).item() == pytest.approx(0.5)
    none = torch.zeros(2, 0, 4, 4)
    latent = torch.zeros(2, 8, 1, 1)
    whole = losses.bidirectional_loss((image, none), (image + 0.5, none), latent, latent)
    assert whole.item() == pytest.approx(0.5)


def test_eq6_bidirectional_is_the_sum_of_three_norms() -> None:
    image, side, latent = torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4), torch.zeros(2, 8, 1, 1)
    loss = losses.bidirectional_loss((image, side), (image + 0.5, side - 0.25), latent, latent + 2)
    assert loss.item() == pytest.approx(0.5 + 0.25 + 2)


def test_eq7_weights_and_signs() -> None:
    assert losses.critic_loss(torch.tensor(2.0), torch.tensor(3.0), 0.5).item() == pytest.approx(-2 + 1.5)
    terms = {"bidirectional": 1.0, "cls_fake": 2.0, "identity": 3.0}
    weights = {"lambda_bi": 10.0, "lambda_cls": 1.0, "lambda_id": 100.0}
    given = {k: torch.tensor(v) for k, v in terms.items()}
    fake = torch.tensor([1.0, 3.0])
    without = losses.generator_loss(fake, **given, **weights)
    assert without.item() == pytest.approx(-2 + 10 + 2 + 300)
    with_parsing = losses.generator_loss(fake, **given, **weights, parsing=torch.tensor(4.0), lambda_p=10.0)
    assert with_parsing.item() == pytest.approx(310 + 40)
    alone = losses.generator_loss(fake, **{**given, "bidirectional": None}, **weights)
    assert alone.item() == pytest.approx(300)


def test_pairs_are_interpolated_jointly() -> None:
    real = (torch.ones(3, 3, 4, 4), torch.ones(3, 1, 4, 4))
    fake = (torch.zeros(3, 3, 4, 4), torch.zeros(3, 1, 4, 4))
    image, side = losses.interpolate_pairs(real, fake, torch.tensor([0.0, 0.25, 1.0]))
    assert image.flatten(1).amax(1).tolist() == image.flatten(1).amin(1).tolist() == [0.0, 0.25, 1.0]
    assert side.flatten(1).amax(1).tolist() == side.flatten(1).amin(1).tolist() == [0.0, 0.25, 1.0]


def test_penalty_of_a_linear_critic_by_hand() -> None:
    # Score = 3·(first face pixel) + 4·(first side pixel): a gradient of length 5 for each row.
    def src(image: Tensor, side: Tensor) -> Tensor:
        return 3 * image[:, :1, 0, 0] + 4 * side[:, :1, 0, 0]

    between = (torch.randn(4, 3, 8, 8), torch.rand(4, 1, 8, 8))
    assert losses.gradient_penalty(src, between).item() == pytest.approx((5 - 1) ** 2)


def double_critic() -> tuple[Critic, tuple[Tensor, Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        critic = Critic(2, 8, width=3, depth=2, slope=0.2).double()
        between = (torch.randn(2, 3, 8, 8).double(), torch.rand(2, 1, 8, 8).double())
    return critic, between


def test_penalty_against_finite_differences() -> None:
    critic, (image, side) = double_critic()
    found = losses.gradient_penalty(lambda x, s: critic(x, s).src, (image, side)).item()
    step = 1e-6
    expected = 0.0
    with torch.no_grad():
        for row in range(2):
            joined = torch.cat([image[row], side[row]])
            square = 0.0
            for index in range(joined.numel()):
                score = []
                for sign in (step, -step):
                    moved = joined.clone()
                    moved.view(-1)[index] += sign
                    score.append(critic(moved[None, :3], moved[None, 3:]).src.mean().item())
                square += ((score[0] - score[1]) / (2 * step)) ** 2
            expected += (math.sqrt(square) - 1) ** 2 / 2
    assert found == pytest.approx(expected, rel=1e-6)


def test_gradients_of_the_penalty_in_the_weights() -> None:
    critic, between = double_critic()

    def penalty() -> Tensor:
        return losses.gradient_penalty(lambda x, s: critic(x, s).src, between)

    penalty().backward()
    checked = 0
    for name, weight in critic.named_parameters():
        if name.startswith(("trunk.0.weight", "trunk.2.weight", "src_head")):
            assert weight.grad is not None
            index = int(weight.grad.abs().argmax())
            values = []
            for sign in (1e-6, -1e-6):
                with torch.no_grad():
                    weight.view(-1)[index] += sign
                values.append(penalty().item())
                with torch.no_grad():
                    weight.view(-1)[index] -= sign
            assert weight.grad.view(-1)[index].item() == pytest.approx(
                (values[0] - values[1]) / 2e-6, rel=1e-5
            )
            checked += 1
    assert checked == 3


def test_penalty_is_float32_inside_autocast() -> None:
    critic, between = double_critic()
    critic = critic.float()
    single = (between[0].float(), between[1].float())
    outside = losses.gradient_penalty(lambda x, s: critic(x, s).src, single)
    with torch.autocast("cpu", torch.bfloat16):
        assert critic(*single).src.dtype == torch.bfloat16
        inside = losses.gradient_penalty(lambda x, s: critic(x, s).src, single)
    assert inside.dtype == torch.float32
    assert inside.item() == outside.item()


def test_losses_are_float32_for_half_precision_inputs() -> None:
    half = torch.full((1, 1), 0.3, dtype=torch.bfloat16)
    assert losses.attribute_loss(half, torch.ones(1, 1)).dtype == torch.float32
    assert losses.identity_loss(half, half).dtype == torch.float32
    assert losses.wgan_loss(half, half, torch.tensor(0.0), 1.0).dtype == torch.float32
