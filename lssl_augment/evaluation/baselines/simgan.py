"""Training of SimGAN (Shrivastava et al. 2017, arXiv 1612.07828): a refiner that makes simulated faces look real.

    L_R = −log D(real | R(x)) + λ ‖R(x) − x‖₁        each patch judged by itself
    L_D = −log D(refined | R(x)) − log D(real | y)   half of the R(x) from a history of refined faces

The refiner begins alone with the second term (500 steps), then the critic alone (200 steps), then both take turns: one
critic step, two refiner steps, as the paper does for its larger images.

The simulated faces are the package's built-in people (``simulated`` unset; all neutral), or the training faces of a
pack (``--set objective.simulated=FILE.h5``), for example rendered scans, whose labels the refined faces keep.

Deviations: losses are means over patches and pixels with λ = 10 (the paper's sums and its λ belong to its image
sizes); Adam 2e-4 with batch 16 in place of plain gradient descent with batches of hundreds; a history of 256 faces;
weights released are the engine's moving average.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.evaluation.baselines.base import BaselineObjective
from lssl_augment.evaluation.baselines.history import History
from lssl_augment.models.baselines.simgan import Refiner
from lssl_augment.training.batches import TrainingFaces, load_training_faces
from lssl_augment.training.config import TrainConfig, from_mapping
from lssl_augment.training.losses import identity_loss
from lssl_augment.training.objective import Preview
from lssl_augment.training.parts import update

__all__ = ["SimGanObjective", "SimGanOptions", "local_adversarial"]


@dataclass(frozen=True)
class SimGanOptions:
    """Numbers of the objective.

    Attributes:
        simulated: pack of simulated faces; None: built-in people, so many of them (``people``).
        lambda_reg: weight of the self-regularisation.
        first_refiner_steps, first_critic_steps: steps that each begins with alone.
        refiner_steps: for each critic step.
        history: refined faces remembered.
        lr, beta1, beta2: of Adam, for both networks.
        flip: mirror half of the real faces.
    """

    simulated: str | None = None
    people: int = 1000
    lambda_reg: float = 10.0
    first_refiner_steps: int = 500
    first_critic_steps: int = 200
    refiner_steps: int = 2
    history: int = 256
    lr: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    flip: bool = True

    def __post_init__(self) -> None:
        if min(self.people, self.refiner_steps, self.history) < 1 or not self.lr > 0:
            raise DataError(
                "people, refiner_steps and history must be at least 1 and lr positive; got "
                f"{self.people}, {self.refiner_steps}, {self.history} and {self.lr}"
            )
        if min(self.first_refiner_steps, self.first_critic_steps) < 0:
            raise DataError(
                "first_refiner_steps and first_critic_steps must not be negative; got "
                f"{self.first_refiner_steps} and {self.first_critic_steps}"
            )


def local_adversarial(logits: Tensor, real: bool) -> Tensor:
    """Cross-entropy of each patch's two logits ``(B, 2, h, w)`` (refined, real), mean over patches."""
    wanted = torch.full((len(logits), *logits.shape[2:]), int(real), device=logits.device)
    return F.cross_entropy(logits.float(), wanted)


class SimGanObjective(BaselineObjective):
    """SimGAN; arguments and errors as of :class:`BaselineObjective`."""

    def __init__(self, config: TrainConfig, faces: TrainingFaces) -> None:
        self.options = options = from_mapping(SimGanOptions, config.objective)
        super().__init__(config, faces, numbers={}, flip=options.flip, one_part=True)
        refiner = self.modules["generator"]
        assert isinstance(refiner, Refiner)
        self.refiner = refiner
        self.optimizers = {
            name: torch.optim.Adam(module.parameters(), lr=options.lr, betas=(options.beta1, options.beta2))
            for name, module in self.modules.items()
        }
        self.simulated = _simulated(options, config, faces.face_size_px)
        self.history = History(options.history)

    @classmethod
    def faces_per_step(cls, config: TrainConfig) -> int:
        """Real faces of a critic step."""
        return config.batch

    def step(self, progress: float, step_index: int) -> dict[str, float | Tensor]:
        """A step of the refiner alone, of the critic alone, or one of the critic and some of the refiner."""
        options = self.options
        alone = step_index - options.first_refiner_steps
        refine = alone < 0 or alone >= options.first_critic_steps
        values: dict[str, float | Tensor] = {}
        if alone >= 0:
            real, _ = self.images_of(self.sampler.next())
            with torch.no_grad(), self.autocast():
                refined = self.refiner.refine(self._draw()).float()
            part = real, self.history.mix(refined, self.random)
            values |= update("critic", self.modules["critic"], self.optimizers["critic"], [part], self.critic_terms)
        terms = self.regularisation_terms if alone < 0 else self.refiner_terms
        for _ in range(options.refiner_steps * refine if alone >= 0 else 1):
            values |= update("generator", self.refiner, self.optimizers["generator"], [(self._draw(),)], terms)
        return values

    def regularisation_terms(self, x: Tensor) -> Mapping[str, Tensor]:
        """‖R(x) − x‖₁ of simulated faces ``(B, 3, H, W)``, with its weight."""
        with self.autocast():
            refined = self.refiner.refine(x)
        regularisation = identity_loss(refined, x)
        return {
            "generator/total": self.options.lambda_reg * regularisation,
            "generator/regularisation": regularisation,
        }

    def refiner_terms(self, x: Tensor) -> Mapping[str, Tensor]:
        """L_R and its terms for simulated faces ``(B, 3, H, W)``."""
        critic = self.modules["critic"].requires_grad_(False)
        with self.autocast():
            refined = self.refiner.refine(x)
            logits = critic(refined)
        critic.requires_grad_(True)
        gan, regularisation = local_adversarial(logits, True), identity_loss(refined, x)
        return {
            "generator/total": gan + self.options.lambda_reg * regularisation,
            "generator/gan": gan,
            "generator/regularisation": regularisation,
        }

    def critic_terms(self, real: Tensor, refined: Tensor) -> Mapping[str, Tensor]:
        """L_D and its terms for real and refined faces ``(B, 3, H, W)``."""
        with self.autocast():
            real_out, refined_out = self.modules["critic"](real), self.modules["critic"](refined)
        of_real, of_refined = local_adversarial(real_out, True), local_adversarial(refined_out, False)
        return {"critic/total": of_real + of_refined, "critic/real": of_real, "critic/refined": of_refined}

    def preview(self, generator: torch.nn.Module) -> Preview:
        """The first simulated faces, refined; one column."""
        assert isinstance(generator, Refiner)
        faces = self._faces(np.arange(min(self.config.sheet_sources, len(self.simulated))))
        with torch.inference_mode(), self.autocast():
            refined = generator.refine(faces).float()
        return Preview(faces.cpu(), refined[:, None].cpu(), ("refined",))

    def state_dict(self) -> dict[str, Any]:
        """Sampler, random generator, history, and what the simulated faces are known by."""
        mark = hashlib.sha256(np.ascontiguousarray(self.simulated).data).hexdigest()
        return {**super().state_dict(), "history": self.history.state_dict(), "simulated": mark}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`; ``ValueError`` on other simulated faces."""
        if state["simulated"] != self.state_dict()["simulated"]:
            raise ValueError("the simulated faces are others than those the run began with")
        super().load_state_dict(state)
        self.history.load_state_dict(state["history"])

    def _draw(self) -> Tensor:
        return self._faces(torch.randint(len(self.simulated), (self.config.batch,), generator=self.random).numpy())

    def _faces(self, rows: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(self.simulated[rows]).permute(0, 3, 1, 2).to(self.device, torch.float32)
        return pixels.div(127.5).sub(1.0).contiguous(memory_format=self._memory)


def _simulated(options: SimGanOptions, config: TrainConfig, size_px: int) -> np.ndarray:
    """Simulated faces, ``(N, S, S, 3)`` uint8."""
    if options.simulated is not None:
        return load_training_faces(options.simulated, size_px).images
    from lssl_augment.simulation.face_model import load_face_model

    seeds = np.random.default_rng([config.seed, 0x51]).integers(2**62, size=options.people)
    images, _ = load_face_model().sample(seeds)
    if images.shape[1] == size_px:
        return images
    how = cv2.INTER_AREA if size_px < images.shape[1] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image, (size_px, size_px), interpolation=how) for image in images])
