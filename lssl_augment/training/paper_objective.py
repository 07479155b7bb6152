"""The paper's training step: several critic steps, then one generator step (eqs. 1 to 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lssl_augment.errors import DataError
from lssl_augment.faces.side_image import side_image
from lssl_augment.models.critic import Critic
from lssl_augment.models.paper_generator import PaperGenerator
from lssl_augment.models.parser_net import ParserNet, load_parser
from lssl_augment.models.presets import build_critic, build_generator
from lssl_augment.training import losses
from lssl_augment.training.attribute_table import AttributeTable
from lssl_augment.training.batches import FaceBatch, FaceSampler, TrainingFaces
from lssl_augment.training.config import TrainConfig, from_mapping
from lssl_augment.training.objective import Preview, Release
from lssl_augment.training.parts import Parts, update

_BIDIRECTIONAL = ("full", "image", "none")
_ATTRIBUTE_LOSSES = ("binary", "softmax")

__all__ = ["PaperObjective", "PaperOptions", "learning_rate_factor", "preview_rows"]


@dataclass(frozen=True)
class PaperOptions:
    """Numbers and switches of the paper's objective; the defaults are the paper's.

    Attributes:
        lambda_bi, lambda_id, lambda_p, lambda_gp, lambda_cls: weights of the losses.
        critic_steps: critic steps before each generator step.
        lr, beta1, beta2: of Adam, for both networks.
        constant_share: share of the run at full learning rate; then it falls linearly to 0.
        flip: mirror half of the faces.
        parser: face parser of L_p (eq. 5), a released name or a path; None leaves the term out.
        side_image: False: generator and critic see and make the face alone.
        side_sigma_px: standard deviation of the side image's dots in pixels of the face; None: 1/64 of its size.
        bidirectional: ``full`` (eq. 6), ``image`` (its first term, the image-level cycle) or ``none``.
        attribute_loss: ``binary`` (eqs. 2 and 3) or ``softmax``, for values of a group that exclude each other.
    """

    lambda_bi: float = 10.0
    lambda_id: float = 10.0
    lambda_p: float = 10.0
    lambda_gp: float = 10.0
    lambda_cls: float = 1.0
    critic_steps: int = 5
    lr: float = 1e-4
    beta1: float = 0.5
    beta2: float = 0.999
    constant_share: float = 0.5
    flip: bool = True
    parser: str | None = "parser"
    side_image: bool = True
    side_sigma_px: float | None = None
    bidirectional: str | None = "full"
    attribute_loss: str = "binary"

    def __post_init__(self) -> None:
        if self.bidirectional is None:  # what --set makes of the word none
            object.__setattr__(self, "bidirectional", "none")
        for name, allowed in (("bidirectional", _BIDIRECTIONAL), ("attribute_loss", _ATTRIBUTE_LOSSES)):
            if getattr(self, name) not in allowed:
                raise DataError(f"objective.{name} must be {' or '.join(allowed)}; got {getattr(self, name)!r}")
        if self.side_sigma_px is not None and not 0 < self.side_sigma_px < math.inf:
            raise DataError(f"objective.side_sigma_px must be a positive number of pixels; got {self.side_sigma_px}")
        if self.side_sigma_px is not None and not self.side_image:
            raise DataError("objective.side_sigma_px means nothing with objective.side_image=false; leave one out")
        if self.critic_steps < 1 or not self.lr > 0:
            raise DataError(
                f"critic_steps must be at least 1 and lr positive; got {self.critic_steps} and {self.lr}"
            )
        if not 0 <= self.constant_share <= 1:
            raise DataError(f"constant_share must be in [0, 1]; got {self.constant_share}")


def learning_rate_factor(progress: float, constant_share: float) -> float:
    """1 for the first ``constant_share`` of the run, then linearly down to 0."""
    if progress < constant_share:
        return 1.0
    return (1.0 - progress) / max(1e-12, 1.0 - constant_share)


def preview_rows(labels: np.ndarray, count: int) -> np.ndarray:
    """Rows of a preview: classes take turns, each giving its first faces."""
    seen: dict[int, int] = {}
    turn = np.empty(len(labels), np.int64)
    for row, label in enumerate(labels.tolist()):
        turn[row] = seen[label] = seen.get(label, -1) + 1
    return np.lexsort((labels, turn))[:count]


class PaperObjective:
    """LSSL as published; see :class:`lssl_augment.training.objective.Objective`.

    Args:
        config: ``config.objective`` holds what differs from :class:`PaperOptions`.
        faces: what to train on.

    Raises:
        DataError: unknown numbers, or a face size that the networks cannot work at.
    """

    def __init__(self, config: TrainConfig, faces: TrainingFaces) -> None:
        self.options = from_mapping(PaperOptions, config.objective)
        self.config = config
        self.faces = faces
        self.device = torch.device(config.device)
        self.table = AttributeTable(faces, config.attributes)
        self.spec = self.table.spec
        preset = config.networks
        allowed = {1, int(self.options.side_image)}
        if not {part.get("side_channels", 1) for part in (preset.generator, preset.critic)} <= allowed:
            raise DataError(
                "the paper's side image has one channel; leave side_channels at 1, or switch the side image off with "
                "objective.side_image=false"
            )
        channels = {"side_channels": int(self.options.side_image)}
        self._preset = preset = preset.with_numbers(channels, channels)
        self._parser = self._load_parser()
        # First weights come from the seed, and the caller's global generator stays as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            generator = build_generator(preset, len(self.spec), faces.face_size_px)
            critic = build_critic(preset, len(self.spec), faces.face_size_px)
        assert isinstance(generator, PaperGenerator)
        assert isinstance(critic, Critic)
        self._memory = torch.channels_last if config.channels_last else torch.contiguous_format
        self._generator = generator.to(self.device, memory_format=self._memory)  # type: ignore[call-overload]
        self._critic = critic.to(self.device, memory_format=self._memory)  # type: ignore[call-overload]
        self.modules: dict[str, nn.Module] = {"generator": self._generator, "critic": self._critic}
        betas = (self.options.beta1, self.options.beta2)
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(module.parameters(), lr=self.options.lr, betas=betas)
            for name, module in self.modules.items()
        }
        self.parts = Parts.of(config)
        self.sampler = FaceSampler(
            faces, config.batch * self.parts.total, config.seed, flip=self.options.flip, balanced=config.balanced
        )
        self.random = torch.Generator().manual_seed(config.seed)
        self._preview = self.sampler.take(preview_rows(faces.labels, config.sheet_sources))

    @classmethod
    def faces_per_step(cls, config: TrainConfig) -> int:
        """Each critic step takes a batch of its own; the generator step uses the last one again."""
        return config.batch * from_mapping(PaperOptions, config.objective).critic_steps

    @property
    def generator(self) -> nn.Module:
        """The generator in training."""
        return self._generator

    def step(self, progress: float, step_index: int) -> dict[str, float | Tensor]:
        """``critic_steps`` critic steps and one generator step; returns every term of eq. 7."""
        options = self.options
        lr = options.lr * learning_rate_factor(progress, options.constant_share)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = lr
        values: dict[str, Tensor] = {}
        for _ in range(options.critic_steps):
            parts = self._draw()
            values.update(update("critic", self._critic, self.optimizers["critic"], parts, self._critic_terms))
        values.update(
            update("generator", self._generator, self.optimizers["generator"], parts, self._generator_terms)
        )
        return {**values, "lr": lr}

    def preview(self, generator: nn.Module) -> Preview:
        """Every value of every attribute as target, the others kept, for faces of each class in turn."""
        assert isinstance(generator, PaperGenerator)
        images, sides, own = self._pairs(self._preview)
        with torch.inference_mode(), self._autocast():
            latent = generator.encode(images, sides)
            edits = [generator.decode(latent, target)[0].float() for target in self.table.each_value(own)]
        return Preview(images.cpu(), torch.stack(edits, dim=1).cpu(), self.spec.names)

    def release(self, generator: nn.Module) -> Release:
        """Weights of the generator and the numbers to build it from."""
        preset = self._preset
        tensors = {f"generator.{name}": tensor for name, tensor in generator.state_dict().items()}
        architecture = {
            "preset": preset.name,
            "kind": preset.kind,
            "generator": dict(preset.generator),
            "num_attributes": len(self.spec),
        }
        if self.options.side_sigma_px is not None:
            architecture["side_sigma_px"] = self.options.side_sigma_px
        return Release(tensors, architecture)

    def state_dict(self) -> dict[str, Any]:
        """Sampler and random generator."""
        return {"sampler": self.sampler.state_dict(), "random": self.random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.sampler.load_state_dict(state["sampler"])
        self.random.set_state(state["random"])

    def _draw(self) -> list[tuple[Tensor, ...]]:
        """This process's parts of the next batch: faces, side images, own and target attributes, shares."""
        rows, flipped = self.sampler.draw()
        own = self.table.own(torch.from_numpy(rows), torch.from_numpy(flipped))
        targets = self.table.draw(own, self.random).to(self.device)
        shares = torch.rand(len(rows), generator=self.random).to(self.device)
        return [
            (*self._pairs(self.sampler.take(rows[part], flipped[part])), targets[part], shares[part])
            for part in self.parts.slices(len(rows))
        ]

    def _critic_terms(
        self, x: Tensor, s: Tensor, own: Tensor, target: Tensor, share: Tensor
    ) -> Mapping[str, Tensor]:
        options = self.options
        with torch.no_grad(), self._autocast():
            fake = self._generator(x, s, target)
        with self._autocast():
            real_out = self._critic(x, s)
            fake_out = self._critic(*fake)
        between = losses.interpolate_pairs((x, s), fake, share)
        penalty = losses.gradient_penalty(lambda image, side: self._critic(image, side).src, between)
        gan = losses.wgan_loss(real_out.src, fake_out.src, penalty, options.lambda_gp)
        cls_real = self._attribute_loss(real_out.cls, own)
        return {
            "critic/total": losses.critic_loss(gan, cls_real, options.lambda_cls),
            "critic/gan": gan,
            "critic/penalty": penalty,
            "critic/cls_real": cls_real,
            "critic/accuracy_real": self._accuracy(real_out.cls, own),
        }

    def _generator_terms(
        self, x: Tensor, s: Tensor, own: Tensor, target: Tensor, share: Tensor
    ) -> Mapping[str, Tensor]:
        options = self.options
        self._critic.requires_grad_(False)  # its gradients would be thrown away
        with self._autocast():
            latent = self._generator.encode(x, s)
            fake = self._generator.decode(latent, target)
            bidirectional = self._bidirectional(x, s, own, latent, fake)
            judged = self._critic(*fake)
            parsing = self._parsing(x, fake[0])
        self._critic.requires_grad_(True)
        identity = losses.identity_loss(fake[0], x)
        cls_fake = self._attribute_loss(judged.cls, target)
        loss = losses.generator_loss(
            judged.src,
            bidirectional=bidirectional,
            cls_fake=cls_fake,
            identity=identity,
            lambda_bi=options.lambda_bi,
            lambda_cls=options.lambda_cls,
            lambda_id=options.lambda_id,
            parsing=parsing,
            lambda_p=options.lambda_p,
        )
        switched = {"generator/bidirectional": bidirectional, "generator/parsing": parsing}
        return {
            "generator/total": loss,
            "generator/gan": -judged.src.float().mean(),
            **{name: value for name, value in switched.items() if value is not None},
            "generator/cls_fake": cls_fake,
            "generator/identity": identity,
            "generator/accuracy_fake": self._accuracy(judged.cls, target),
        }

    def _bidirectional(
        self, x: Tensor, s: Tensor, own: Tensor, latent: Tensor, fake: tuple[Tensor, Tensor]
    ) -> Tensor | None:
        """Eq. 6, or what the switch leaves of it; the way back is not even gone where nothing asks for it."""
        if self.options.bidirectional == "none":
            return None
        fake_latent = self._generator.encode(*fake)
        back = self._generator.decode(fake_latent, own)
        if self.options.bidirectional == "image":
            return losses.image_cycle_loss(x, back[0])
        return losses.bidirectional_loss((x, s), back, latent, fake_latent)

    def _parsing(self, x: Tensor, fake: Tensor) -> Tensor | None:
        """Eq. 5; the parser is frozen, its gradient goes on to the generator."""
        if self._parser is None:
            return None
        with torch.no_grad():
            real = self._parser(x)
        return losses.parsing_loss(real, self._parser(fake))

    def _attribute_loss(self, logits: Tensor, attributes: Tensor) -> Tensor:
        """Eqs. 2 and 3; attributes that nobody knows do not count."""
        known = self.table.known(attributes)
        if self.options.attribute_loss == "binary":
            return losses.attribute_loss(logits, attributes, known)
        return losses.softmax_attribute_loss(logits, attributes, self.spec.groups.values(), known)

    def _load_parser(self) -> ParserNet | None:
        if self.options.parser is None:
            return None
        parser, size = load_parser(self.options.parser, self.device), self.faces.face_size_px
        if size % parser.config.stride:
            raise DataError(
                f"the face parser of eq. 5 takes faces whose size is a multiple of {parser.config.stride}; got {size}; "
                "objective.parser=none leaves the term out"
            )
        return parser

    def _pairs(self, batch: FaceBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Faces, side images and own attributes of a batch, on the device."""
        own = self.table.own(batch.rows, batch.flipped).to(self.device)
        batch = batch.to(self.device)
        images, size = batch.images.contiguous(memory_format=self._memory), self.faces.face_size_px
        if not self.options.side_image:
            return images, images.new_empty(len(images), 0, size, size), own
        sides = side_image(batch.points68, size, size, sigma_px=self.options.side_sigma_px)
        return images, sides.contiguous(memory_format=self._memory), own

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _accuracy(self, logits: Tensor, attributes: Tensor) -> Tensor:
        """Share of expressions, the one group that is always known, that the critic names rightly."""
        place = self.spec.groups["expression"]
        return (logits.detach()[:, place].argmax(1) == attributes[:, place].argmax(1)).float().mean()
