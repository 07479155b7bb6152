"""Training step of CycleGAN (Zhu et al. 2017, arXiv 1703.10593): least-squares GAN, cycle and identity losses, a pool
of 50 generated faces for each critic.

    L_G = ‖D_B(G(a)) − 1‖² + ‖D_A(F(b)) − 1‖² + λ (‖F(G(a)) − a‖₁ + ‖G(F(b)) − b‖₁) + ½ λ (‖F(a) − a‖₁ + ‖G(b) − b‖₁)
    L_D = ½ (‖D(real) − 1‖² + ‖D(pooled)‖²) for each critic

Adam 2e-4 (β 0.5 and 0.999), constant and then linearly down over the second half, batch 1, λ 10, first weights N(0,
0.02).

Deviations: K classes are K − 1 pairs with neutral (`models/baselines/cyclegan.py`), which take turns, one a step, so
each gets 1 / (K − 1) of the budget; the faces of a step are drawn from the two classes with replacement; no enlarged
random crops (faces are aligned); weights released are the engine's moving average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lssl_augment.errors import DataError
from lssl_augment.evaluation.baselines.base import BaselineObjective, neutral_class
from lssl_augment.evaluation.baselines.history import Pool
from lssl_augment.models.baselines.cyclegan import CycleGanCritics, CycleGanGenerators
from lssl_augment.models.baselines.face_only import normal_weights
from lssl_augment.training.batches import TrainingFaces
from lssl_augment.training.config import TrainConfig, from_mapping
from lssl_augment.training.losses import identity_loss
from lssl_augment.training.parts import part_generator, update

__all__ = ["CycleGanObjective", "CycleGanOptions", "least_squares"]


@dataclass(frozen=True)
class CycleGanOptions:
    """Numbers of the objective; the defaults are the paper's.

    Attributes:
        lambda_cycle: weight of the cycle. identity_share: weight of the identity loss as a share of it.
        pool: generated faces that each critic's pool holds; 0: none.
        lr, beta1, beta2: of Adam. constant_share: share of the run at full learning rate.
        flip: mirror half of the faces.
    """

    lambda_cycle: float = 10.0
    identity_share: float = 0.5
    pool: int = 50
    lr: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    constant_share: float = 0.5
    flip: bool = True

    def __post_init__(self) -> None:
        if self.pool < 0 or not self.lr > 0 or not 0 <= self.constant_share <= 1:
            raise DataError(
                "pool must be at least 0, lr positive and constant_share in [0, 1]; got "
                f"{self.pool}, {self.lr} and {self.constant_share}"
            )


def least_squares(scores: Tensor, wanted: float) -> Tensor:
    """LSGAN (Mao et al. 2017): mean squared distance of scores from 1 (real) or 0 (generated)."""
    return (scores.float() - wanted).square().mean()


class CycleGanObjective(BaselineObjective):
    """CycleGAN; arguments and errors as of :class:`BaselineObjective`, and at least two classes."""

    def __init__(self, config: TrainConfig, faces: TrainingFaces) -> None:
        self.options = options = from_mapping(CycleGanOptions, config.objective)
        if len(faces.vocabulary) < 2:
            raise DataError("CycleGAN needs at least two classes; the pack has one")
        numbers = {"hub": neutral_class(faces) or 0}
        super().__init__(config, faces, numbers=numbers, flip=options.flip, one_part=True, first_weights=normal_weights)
        self.optimizers = {
            name: torch.optim.Adam(module.parameters(), lr=options.lr, betas=(options.beta1, options.beta2))
            for name, module in self.modules.items()
        }
        self.nets = self.modules["generator"]
        self.critics = self.modules["critic"]
        assert isinstance(self.nets, CycleGanGenerators)
        assert isinstance(self.critics, CycleGanCritics)
        self.rows = [np.flatnonzero(faces.labels == label) for label in range(self.classes)]
        self.pools = [(Pool(options.pool), Pool(options.pool)) for _ in self.nets.classes]
        self._fakes: tuple[Tensor, Tensor] | None = None

    @classmethod
    def faces_per_step(cls, config: TrainConfig) -> int:
        """A batch of each of the two classes."""
        return 2 * config.batch

    def step(self, progress: float, step_index: int) -> dict[str, float | Tensor]:
        """One step of the generators and critics of one pair."""
        options = self.options
        lr = self.set_rate(options.lr, progress, options.constant_share)
        assert isinstance(self.nets, CycleGanGenerators)
        pair = step_index % len(self.nets.classes)
        rng = part_generator(self.config.seed, step_index, 0)
        a, b = self._draw(int(self.nets.hub or 0), rng), self._draw(self.nets.classes[pair], rng)
        number = torch.tensor(pair)
        values = update("generator", self.nets, self.optimizers["generator"], [(number, a, b)], self.generator_terms)
        assert self._fakes is not None
        pooled = [self._pooled(p, fake) for p, fake in zip(self.pools[pair], self._fakes, strict=True)]
        self._fakes = None
        values |= update(
            "critic", self.critics, self.optimizers["critic"], [(number, a, b, *pooled)], self.critic_terms
        )
        return {**values, "lr": lr}

    def generator_terms(self, pair: Tensor, a: Tensor, b: Tensor) -> Mapping[str, Tensor]:
        """L_G and its terms: neutral faces a and faces b of the pair's class, each ``(B, 3, H, W)``."""
        options = self.options
        to_hub, from_hub, at_hub, at_class = self._of(int(pair))
        self.critics.requires_grad_(False)  # their gradients would be thrown away
        with self.autocast():
            fake_b, fake_a = from_hub(a), to_hub(b)
            back_a, back_b = to_hub(fake_b), from_hub(fake_a)
            score_a, score_b = at_hub(fake_a), at_class(fake_b)
            same_a, same_b = to_hub(a), from_hub(b)
        self.critics.requires_grad_(True)
        self._fakes = fake_a.detach().float(), fake_b.detach().float()
        gan = least_squares(score_a, 1.0) + least_squares(score_b, 1.0)
        cycle = identity_loss(back_a, a) + identity_loss(back_b, b)
        same = identity_loss(same_a, a) + identity_loss(same_b, b)
        return {
            "generator/total": gan + options.lambda_cycle * (cycle + options.identity_share * same),
            "generator/gan": gan,
            "generator/cycle": cycle,
            "generator/identity": same,
        }

    def critic_terms(self, pair: Tensor, a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor) -> Mapping[str, Tensor]:
        """L_D of the pair's two critics, for real faces and pooled ones."""
        _, _, at_hub, at_class = self._of(int(pair))
        with self.autocast():
            scores = at_hub(a), at_class(b), at_hub(fake_a), at_class(fake_b)
        real = least_squares(scores[0], 1.0) + least_squares(scores[1], 1.0)
        fake = least_squares(scores[2], 0.0) + least_squares(scores[3], 0.0)
        return {"critic/total": 0.5 * (real + fake), "critic/real": real, "critic/fake": fake}

    def state_dict(self) -> dict[str, Any]:
        """Sampler, random generator and pools."""
        return {**super().state_dict(), "pools": [[p.state_dict() for p in both] for both in self.pools]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        super().load_state_dict(state)
        for pools, stored in zip(self.pools, state["pools"], strict=True):
            for pool, faces in zip(pools, stored, strict=True):
                pool.load_state_dict(faces)

    def _of(self, pair: int) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
        assert isinstance(self.nets, CycleGanGenerators)
        assert isinstance(self.critics, CycleGanCritics)
        return self.nets.to_hub[pair], self.nets.from_hub[pair], self.critics.at_hub[pair], self.critics.at_class[pair]

    def _pooled(self, pool: Pool, fakes: Tensor) -> Tensor:
        return pool.exchange(fakes, self.random) if self.options.pool else fakes

    def _draw(self, label: int, rng: np.random.Generator) -> Tensor:
        rows = rng.choice(self.rows[label], self.config.batch)
        flipped = (rng.random(len(rows)) < 0.5) & self.options.flip
        return self.images_of(self.sampler.take(rows, flipped))[0]
