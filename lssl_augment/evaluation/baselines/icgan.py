"""Training of IcGAN (Perarnau et al. 2016, arXiv 1611.06355): a conditional DCGAN first, then its encoders.

    conditional GAN: max_D  E[log D(x, y)] + E[log(1 − D(G(z, y'), y'))],  max_G  E[log D(G(z, y'), y')]
    E_z: ‖z − E_z(G(z, y'))‖²  on generated faces;  E_y: ‖y − E_y(x)‖²  on real faces

z is normal, y' are attributes of real faces, drawn anew (the paper's choice). Adam 2e-4 (β 0.5 and 0.999), batch 64,
first weights N(0, 0.02). The GAN is fixed once its share of the run is over, and both encoders are trained apart.

Deviations: both trainings are shares of one run (``gan_share``, half); one class at a time, so y' is one-hot; the
encoders' faces are drawn afresh at each step instead of stored once; weights released are the engine's moving
average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.evaluation.baselines.base import BaselineObjective, neutral_class
from lssl_augment.models.baselines.face_only import normal_weights
from lssl_augment.models.baselines.icgan import SIZE_PX, IcGanGenerator, at_size
from lssl_augment.training.batches import TrainingFaces
from lssl_augment.training.config import TrainConfig, from_mapping
from lssl_augment.training.parts import update

__all__ = ["IcGanObjective", "IcGanOptions"]


@dataclass(frozen=True)
class IcGanOptions:
    """Numbers of the objective; the defaults are the paper's but for ``gan_share``.

    Attributes:
        gan_share: share of the run that trains the conditional GAN; the rest trains the encoders.
        lr, beta1, beta2: of Adam, for all networks.
        flip: mirror half of the faces.
    """

    gan_share: float = 0.5
    lr: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    flip: bool = True

    def __post_init__(self) -> None:
        if not self.lr > 0 or not 0 < self.gan_share < 1:
            raise DataError(f"lr must be positive and gan_share inside (0, 1); got {self.lr} and {self.gan_share}")


class IcGanObjective(BaselineObjective):
    """IcGAN; arguments and errors as of :class:`BaselineObjective`, and at least two faces a batch."""

    def __init__(self, config: TrainConfig, faces: TrainingFaces) -> None:
        self.options = options = from_mapping(IcGanOptions, config.objective)
        if config.batch < 2:
            raise DataError(f"IcGAN has batch norm and needs a batch of at least 2; got {config.batch}")
        super().__init__(
            config,
            faces,
            numbers={"hub": neutral_class(faces), "output_px": faces.face_size_px},
            flip=options.flip,
            one_part=True,
            first_weights=normal_weights,
        )
        net = self.modules["generator"]
        assert isinstance(net, IcGanGenerator)
        self.net = net
        encoders = chain(net.encoder_z.parameters(), net.encoder_y.parameters())
        named = {
            "generator": net.decoder.parameters(),
            "encoders": encoders,
            "critic": self.modules["critic"].parameters(),
        }
        self.optimizers = {
            name: torch.optim.Adam(parameters, lr=options.lr, betas=(options.beta1, options.beta2))
            for name, parameters in named.items()
        }

    @classmethod
    def faces_per_step(cls, config: TrainConfig) -> int:
        """Critic and generator, or the encoders, share a batch."""
        return config.batch

    def step(self, progress: float, step_index: int) -> dict[str, float | Tensor]:
        """One critic and one generator step, or later one step of the encoders."""
        images, labels = self.images_of(self.sampler.next())
        order = torch.randperm(len(labels), generator=self.random)
        code = torch.randn(len(labels), self.net.code, generator=self.random).to(self.device)
        y = self.one_hot(labels)
        part = at_size(images, SIZE_PX), y, code, y[order.to(self.device)]
        adversarial = progress < self.options.gan_share
        self.net.decoder.train(adversarial)
        if not adversarial:
            return {**update("encoders", self.net, self.optimizers["encoders"], [part], self.encoder_terms)}
        critic = self.modules["critic"]
        values = update("critic", critic, self.optimizers["critic"], [part], self.critic_terms)
        values |= update("generator", self.net, self.optimizers["generator"], [part], self.generator_terms)
        return {**values}

    def critic_terms(self, x: Tensor, y: Tensor, code: Tensor, drawn: Tensor) -> Mapping[str, Tensor]:
        """−log D(x, y) − log(1 − D(G(z, y'), y')) for real faces at 64×64, their attributes, codes and y'."""
        critic = self.modules["critic"]
        with self.autocast():
            with torch.no_grad():
                fake = self.net.draw(code, drawn)
            real_out, fake_out = critic(x, y), critic(fake, drawn)
        real, generated = _says(real_out, 1.0), _says(fake_out, 0.0)
        return {"critic/total": real + generated, "critic/real": real, "critic/fake": generated}

    def generator_terms(self, x: Tensor, y: Tensor, code: Tensor, drawn: Tensor) -> Mapping[str, Tensor]:
        """−log D(G(z, y'), y'); arguments as of :meth:`critic_terms`."""
        critic = self.modules["critic"].requires_grad_(False)
        with self.autocast():
            loss = _says(critic(self.net.draw(code, drawn), drawn), 1.0)
        critic.requires_grad_(True)
        return {"generator/total": loss}

    def encoder_terms(self, x: Tensor, y: Tensor, code: Tensor, drawn: Tensor) -> Mapping[str, Tensor]:
        """Squared errors of E_z on generated faces and of E_y on real ones; arguments as of :meth:`critic_terms`."""
        with self.autocast():
            with torch.no_grad():
                fake = self.net.draw(code, drawn)
            found_code, found_y = self.net.encoder_z(fake), self.net.encoder_y(x)
        of_code, of_y = F.mse_loss(found_code.float(), code), F.mse_loss(found_y.float(), y)
        return {"encoders/total": of_code + of_y, "encoders/code": of_code, "encoders/attributes": of_y}


def _says(logits: Tensor, wanted: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, wanted, dtype=torch.float32))
