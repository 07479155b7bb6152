"""What the objectives of all baselines share: networks from the seed, sampler, previews, releases, state."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lssl_augment.errors import DataError
from lssl_augment.models.baselines.face_only import FaceOnlyGenerator
from lssl_augment.models.presets import Number, build_critic, build_generator
from lssl_augment.training.batches import FaceBatch, FaceSampler, TrainingFaces
from lssl_augment.training.config import TrainConfig
from lssl_augment.training.objective import Preview, Release
from lssl_augment.training.paper_objective import learning_rate_factor, preview_rows
from lssl_augment.training.parts import Parts

__all__ = ["BaselineObjective", "neutral_class"]


def neutral_class(faces: TrainingFaces) -> int | None:
    """Index of ``neutral`` in the vocabulary; None without it."""
    names = faces.vocabulary.names
    return names.index("neutral") if "neutral" in names else None


class BaselineObjective:
    """Base of the baselines; see :class:`lssl_augment.training.objective.Objective`.

    Args:
        config, faces: as of every objective.
        numbers: of the generator, known from the faces only; those of the configuration go first.
        flip: mirror half of the faces.
        one_part: a step cannot be shared out (batch norm, history of images).
        first_weights: applied to every layer of both networks; None: torch's own.

    Raises:
        DataError: a face size the networks cannot work at, or several parts where there can be one only.
    """

    def __init__(
        self,
        config: TrainConfig,
        faces: TrainingFaces,
        *,
        numbers: Mapping[str, Number],
        flip: bool,
        one_part: bool = False,
        first_weights: Any = None,
    ) -> None:
        self.config = config
        self.faces = faces
        self.device = torch.device(config.device)
        self.classes = len(faces.vocabulary)
        chosen = {k: v for k, v in config.networks.generator.items() if v is not None}
        self.preset = config.networks.with_numbers(generator={**numbers, **chosen})
        self.parts = Parts.of(config)
        if one_part and self.parts.total > 1:
            raise DataError(
                f"{config.preset} trains in one process without accumulation (its batch norm or its history of images "
                f"cannot be shared out); got {self.parts.total} parts"
            )
        # First weights come from the seed, and the caller's global generator stays as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            generator = build_generator(self.preset, self.classes, faces.face_size_px)
            critic = build_critic(self.preset, self.classes, faces.face_size_px)
            if first_weights is not None:
                generator.apply(first_weights)
                critic.apply(first_weights)
        self._memory = torch.channels_last if config.channels_last else torch.contiguous_format
        generator = generator.to(self.device, memory_format=self._memory)  # type: ignore[call-overload]
        critic = critic.to(self.device, memory_format=self._memory)  # type: ignore[call-overload]
        assert isinstance(generator, FaceOnlyGenerator)
        self.modules: dict[str, nn.Module] = {"generator": generator, "critic": critic}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.sampler = FaceSampler(
            faces, config.batch * self.parts.total, config.seed, flip=flip, balanced=config.balanced
        )
        self.random = torch.Generator().manual_seed(config.seed)
        self._preview = self.sampler.take(preview_rows(faces.labels, config.sheet_sources))

    @property
    def generator(self) -> nn.Module:
        """The generator in training."""
        return self.modules["generator"]

    def preview(self, generator: nn.Module) -> Preview:
        """Every class as target, for faces of each class in turn."""
        assert isinstance(generator, FaceOnlyGenerator)
        images, labels = self.images_of(self._preview)
        edits = []
        with torch.inference_mode(), self.autocast():
            latent = generator.encode(images, labels)
            for label in range(self.classes):
                edits.append(generator.decode(latent, self.one_hot(torch.full_like(labels, label))).float())
        return Preview(images.cpu(), torch.stack(edits, dim=1).cpu(), self.faces.vocabulary.names)

    def release(self, generator: nn.Module) -> Release:
        """Weights of the generator and the numbers to build it from."""
        tensors = {f"generator.{name}": tensor for name, tensor in generator.state_dict().items()}
        architecture = {
            "preset": self.preset.name,
            "kind": self.preset.kind,
            "generator": dict(self.preset.generator),
            "num_attributes": self.classes,
        }
        return Release(tensors, architecture)

    def state_dict(self) -> dict[str, Any]:
        """Sampler and random generator."""
        return {"sampler": self.sampler.state_dict(), "random": self.random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.sampler.load_state_dict(state["sampler"])
        self.random.set_state(state["random"])

    def set_rate(self, lr: float, progress: float, constant_share: float) -> float:
        """The learning rate of this step, given to all optimisers."""
        lr *= learning_rate_factor(progress, constant_share)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                rate = group["lr"]
                if not self.config.record_steps:
                    group["lr"] = lr
                elif isinstance(rate, Tensor) and rate.device.type == self.device.type:
                    rate.fill_(lr)  # a recorded step reads it where it lies
                else:
                    group["lr"] = torch.tensor(lr, device=self.device)
        return lr

    def images_of(self, batch: FaceBatch) -> tuple[Tensor, Tensor]:
        """Faces and labels of a batch, on the device."""
        batch = batch.to(self.device)
        return batch.images.contiguous(memory_format=self._memory), batch.labels

    def one_hot(self, labels: Tensor) -> Tensor:
        """``(B,)`` → ``(B, A)`` float32."""
        return F.one_hot(labels, self.classes).float()

    def autocast(self) -> AbstractContextManager[None]:
        """bfloat16 for the networks, where the configuration says so."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")
