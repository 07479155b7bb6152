"""Training step of StarGAN (Choi et al. 2018, arXiv 1711.09020): five critic steps, then one generator step.

    L_D = −E[D_src(x)] + E[D_src(G(x, c))] + λ_gp · GP + λ_cls · CE(D_cls(x), c')
    L_G = −E[D_src(G(x, c))] + λ_cls · CE(D_cls(G(x, c)), c) + λ_rec · ‖x − G(G(x, c), c')‖₁

CE is softmax cross-entropy, as the paper uses for the exclusive expressions of RaFD. Adam 1e-4 (β 0.5 and 0.999), batch
16, constant and then linearly down over the second half, flips, λ_cls 1, λ_rec 10, λ_gp 10.

Deviations: targets are drawn uniformly over the classes; D_src is the mean over patches in the penalty, too (the
authors' code differentiates the sum); instance norm goes by the face at hand in training and use alike; weights
released are the engine's moving average (``ema_decay=0`` gives the last ones).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.evaluation.baselines.base import BaselineObjective, neutral_class
from lssl_augment.training import losses
from lssl_augment.training.batches import TrainingFaces
from lssl_augment.training.config import TrainConfig, from_mapping
from lssl_augment.training.parts import update
from lssl_augment.training.replay import ReplayedStep

__all__ = ["StarGanObjective", "StarGanOptions"]


@dataclass(frozen=True)
class StarGanOptions:
    """Numbers of the objective; the defaults are the paper's.

    Attributes:
        lambda_gp, lambda_cls, lambda_rec: weights of the losses.
        critic_steps: critic steps before each generator step.
        lr, beta1, beta2: of Adam, for both networks.
        constant_share: share of the run at full learning rate; then it falls linearly to 0.
        flip: mirror half of the faces.
    """

    lambda_gp: float = 10.0
    lambda_cls: float = 1.0
    lambda_rec: float = 10.0
    critic_steps: int = 5
    lr: float = 1e-4
    beta1: float = 0.5
    beta2: float = 0.999
    constant_share: float = 0.5
    flip: bool = True

    def __post_init__(self) -> None:
        if self.critic_steps < 1 or not self.lr > 0 or not 0 <= self.constant_share <= 1:
            raise DataError(
                "critic_steps must be at least 1, lr positive and constant_share in [0, 1]; got "
                f"{self.critic_steps}, {self.lr} and {self.constant_share}"
            )


class StarGanObjective(BaselineObjective):
    """StarGAN; arguments and errors as of :class:`BaselineObjective`."""

    def __init__(self, config: TrainConfig, faces: TrainingFaces) -> None:
        self.options = options = from_mapping(StarGanOptions, config.objective)
        super().__init__(config, faces, numbers={"hub": neutral_class(faces)}, flip=options.flip)
        self._last: list[tuple[Tensor, ...]] = []
        recorded = config.record_steps
        self.optimizers = {
            name: torch.optim.Adam(
                module.parameters(),
                lr=torch.tensor(options.lr, device=self.device) if recorded else options.lr,
                betas=(options.beta1, options.beta2),
                capturable=recorded,
            )
            for name, module in self.modules.items()
        }
        self._terms = {"critic": self.critic_terms, "generator": self.generator_terms}
        #: Of both networks, where their steps are recorded.
        self._replayed = {
            name: ReplayedStep(partial(self._step_with, name), self.device, self._memory)
            for name in (self.modules if recorded else ())
        }

    @classmethod
    def faces_per_step(cls, config: TrainConfig) -> int:
        """Each critic step takes a batch of its own; the generator step uses the last one again."""
        return config.batch * from_mapping(StarGanOptions, config.objective).critic_steps

    def step(self, progress: float, step_index: int) -> dict[str, float | Tensor]:
        """``critic_steps`` critic steps and one generator step."""
        lr = self.set_rate(self.options.lr, progress, self.options.constant_share)
        values: dict[str, float | Tensor] = {"lr": lr}
        for _ in range(self.options.critic_steps):
            values.update(self.critic_step())
        values.update(self.generator_step())
        return values

    def critic_step(self) -> dict[str, Tensor]:
        """One step of the critic, with a batch of its own."""
        self._last = self._draw()
        return self._update("critic")

    def generator_step(self) -> dict[str, Tensor]:
        """One step of the generator, with the batch of the critic's last step, which must have been."""
        return self._update("generator")

    def critic_terms(self, x: Tensor, own: Tensor, target: Tensor, share: Tensor) -> Mapping[str, Tensor]:
        """L_D and its terms for faces ``(B, 3, H, W)``, labels ``(B,)`` and shares of the penalty's points ``(B,)``."""
        options, critic = self.options, self.modules["critic"]
        with torch.no_grad(), self.autocast():
            fake = self.generator(x, self.one_hot(target))
        with self.autocast():
            real_out, fake_out = critic(x), critic(fake)
        # The pair's losses, with a side image of no channels.
        between = losses.interpolate_pairs((x, x[:, :0]), (fake, fake[:, :0]), share)
        penalty = losses.gradient_penalty(lambda image, side: critic(image, side).src, between)
        gan = losses.wgan_loss(real_out.src, fake_out.src, penalty, options.lambda_gp)
        cls_real = F.cross_entropy(real_out.cls.float(), own)
        return {
            "critic/total": losses.critic_loss(gan, cls_real, options.lambda_cls),
            "critic/gan": gan,
            "critic/penalty": penalty,
            "critic/cls_real": cls_real,
            "critic/accuracy_real": _accuracy(real_out.cls, own),
        }

    def generator_terms(self, x: Tensor, own: Tensor, target: Tensor, share: Tensor) -> Mapping[str, Tensor]:
        """L_G and its terms; arguments as of :meth:`critic_terms`."""
        options, critic = self.options, self.modules["critic"]
        critic.requires_grad_(False)  # its gradients would be thrown away
        with self.autocast():
            fake = self.generator(x, self.one_hot(target))
            back = self.generator(fake, self.one_hot(own))
            judged = critic(fake)
        critic.requires_grad_(True)
        gan = -judged.src.float().mean()
        cls_fake = F.cross_entropy(judged.cls.float(), target)
        reconstruction = losses.identity_loss(back, x)
        return {
            "generator/total": gan + options.lambda_cls * cls_fake + options.lambda_rec * reconstruction,
            "generator/gan": gan,
            "generator/cls_fake": cls_fake,
            "generator/reconstruction": reconstruction,
            "generator/accuracy_fake": _accuracy(judged.cls, target),
        }

    def _update(self, name: str) -> dict[str, Tensor]:
        if self._replayed:
            (part,) = self._last
            return self._replayed[name](*part)
        return update(name, self.modules[name], self.optimizers[name], self._last, self._terms[name])

    def _step_with(self, name: str, *part: Tensor) -> dict[str, Tensor]:
        return update(name, self.modules[name], self.optimizers[name], [part], self._terms[name])

    def _draw(self) -> list[tuple[Tensor, ...]]:
        """This process's parts of the next batch: faces, own and target labels, shares."""
        rows, flipped = self.sampler.draw()
        targets = torch.randint(self.classes, (len(rows),), generator=self.random).to(self.device)
        shares = torch.rand(len(rows), generator=self.random).to(self.device)
        return [
            (*self.images_of(self.sampler.take(rows[part], flipped[part])), targets[part], shares[part])
            for part in self.parts.slices(len(rows))
        ]


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.detach().argmax(1) == labels).float().mean()
