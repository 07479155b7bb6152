"""The `compact` recipe: the paper's unpaired losses plus restoration of real faces from pseudo-sources.

A step draws one batch of real faces. Each is (a) restored from its own pseudo-source (:mod:`.pairs`), where the
photograph is the answer, and (b) edited towards another expression whose shape comes from a donor, where the critic,
the attribute loss (eqs. 2, 3), the identity loss (eq. 4) and, every other step, the bidirectional loss (eq. 6) judge.

Of a batch in parts (:mod:`.parts`), each part is drawn by itself, and is the batch of one process or one that is
accumulated; the gradients are those of all parts as one batch.

The critic starts alone, on first guesses, until it has seen enough faces to have an opinion.

Deviations from eqs. 1–7, beside those of the networks: hinge loss and differentiable augmentation (Zhao et al. 2020)
instead of WGAN with gradient penalty and five critic steps; softmax attribute loss, as expressions exclude each other;
the identity loss compares with the first guess, since the shape is meant to change; of eq. 6 only the
image term, since the side image is an input here and latents of two shapes do not lie over each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lssl_augment.attribute_vector import attribute_words
from lssl_augment.errors import DataError
from lssl_augment.faces.expression_shapes import mouth_gap
from lssl_augment.models.compact_generator import CompactOutput, Latent
from lssl_augment.models.conditional_critic import ConditionalCritic
from lssl_augment.models.expression_textures import mouth_mask
from lssl_augment.models.presets import build_generator
from lssl_augment.training.batches import TrainingFaces
from lssl_augment.training.compact_faces import CompactFaces
from lssl_augment.training.compact_parts import Part, pair_weight, prepare_part
from lssl_augment.training.config import TrainConfig, from_mapping
from lssl_augment.training.critic_augment import critic_augment
from lssl_augment.training.distributed import mean_over_all
from lssl_augment.training.objective import Preview, Release
from lssl_augment.training.parts import Parts, part_generator, update
from lssl_augment.training.start import start_from

__all__ = ["CompactNumbers", "CompactObjective"]


@dataclass(frozen=True)
class CompactNumbers:
    """Numbers of the objective (``--set objective.NAME=VALUE``).

    Attributes:
        lambda_pair, lambda_features, lambda_side: restoration from pseudo-sources: L1, critic features, side image.
        lambda_gan, lambda_cls, lambda_id, lambda_bi: weights of eqs. 1, 3, 4 and 6; eqs. 3 and 6 did not earn their
            place (docs/method.md) and are off.
        bidirectional_every: steps between two that have the bidirectional loss.
        critic_first_steps: steps at the start in which only the critic learns.
        critic_views: the critic sees random views (:mod:`.critic_augment`) instead of faces as they are.
        uniform_share: share of each batch drawn uniformly over classes; the rest as they occur.
        lr_generator, lr_critic, beta1, beta2: Adam; the rates fall linearly over the last 40 % of a run.
    """

    lambda_pair: float = 10.0
    lambda_features: float = 15.0
    lambda_side: float = 2.0
    lambda_gan: float = 1.0
    lambda_cls: float = 0.0
    lambda_id: float = 1.0
    lambda_bi: float = 0.0
    bidirectional_every: int = 2
    critic_first_steps: int = 300
    critic_views: bool = False
    uniform_share: float = 0.5
    lr_generator: float = 3e-4
    lr_critic: float = 4e-4
    beta1: float = 0.5
    beta2: float = 0.99

    @property
    def critic(self) -> bool:
        """Whether any loss asks the critic; without one it is neither trained nor run."""
        return any((self.lambda_gan, self.lambda_features, self.lambda_cls))


class CompactObjective:
    """See the module's text; the protocol is :class:`lssl_augment.training.objective.Objective`.

    Args:
        config, faces: as of every objective. source: the statistics of these faces, where they are fitted already.

    Raises:
        DataError: a pack without dense landmarks or without neutral faces, or an unknown number.
    """

    def __init__(self, config: TrainConfig, faces: TrainingFaces, source: CompactFaces | None = None) -> None:
        self.config = config
        self.numbers = from_mapping(CompactNumbers, config.objective)
        self.faces = faces
        self.device = torch.device(config.device)
        self.size = config.face_size_px
        self.num_classes = len(faces.vocabulary)
        poses, _ = attribute_words(config.attributes)
        self.source = CompactFaces(faces, self.size, config.seed, self.device, poses) if source is None else source
        self.shapes, self.textures = self.source.shapes, self.source.textures
        torch_rng = torch.random.get_rng_state()
        torch.manual_seed(config.seed)  # first weights; the global state is put back
        generator = build_generator(config.networks, self.num_classes, self.size)
        critic = ConditionalCritic(self.num_classes, **config.networks.critic)  # type: ignore[arg-type]
        torch.random.set_rng_state(torch_rng)
        if config.init:
            start_from(generator, config.init, faces.vocabulary, self.size)
        self.modules: dict[str, nn.Module] = {"generator": generator.to(self.device), "critic": critic.to(self.device)}
        if config.channels_last:
            for module in self.modules.values():
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        betas = (self.numbers.beta1, self.numbers.beta2)
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "generator": torch.optim.Adam(generator.parameters(), self.numbers.lr_generator, betas),
            "critic": torch.optim.Adam(critic.parameters(), self.numbers.lr_critic, betas),
        }

    @staticmethod
    def faces_per_step(config: TrainConfig) -> int:
        """Real faces a step draws."""
        return config.batch

    @property
    def generator(self) -> nn.Module:
        """The network whose average is released."""
        return self.modules["generator"]

    # ---- one step -------------------------------------------------------------------------------------------

    def step(self, progress: float, step_index: int) -> Mapping[str, float | Tensor]:
        """Critic and generator once each; everything drawn depends on (seed, step, part) alone."""
        nums = self.numbers
        for name, base in (("generator", nums.lr_generator), ("critic", nums.lr_critic)):
            for group in self.optimizers[name].param_groups:
                group["lr"] = base * min(1.0, (1.0 - progress) / 0.4)
        parts = [self._prepare(step_index, number) for number in Parts.of(self.config).mine]
        if nums.critic and step_index < nums.critic_first_steps:
            return self._update("critic", [(part, part.guess_pair, part.guess_edit) for part in parts])
        # Several parts are made twice, first for the critic alone: to keep the graphs of all of them until it has moved
        # would take the memory of the whole batch.
        with torch.set_grad_enabled(len(parts) == 1):
            made = [self._make(part) for part in parts]
        fakes = [(part, restored.image, edited.image) for part, (restored, edited) in zip(parts, made, strict=True)]
        log = self._update("critic", fakes) if nums.critic else {}
        weights = [pair_weight(part) for part in parts]
        mean_weight = mean_over_all(torch.stack([weight.mean() for weight in weights]).mean())
        both_ways = bool(nums.lambda_bi) and step_index % nums.bidirectional_every == 0
        again = made if len(parts) == 1 else [None] * len(parts)
        rows = [
            (part, own, weight, mean_weight, both_ways) for part, own, weight in zip(parts, again, weights, strict=True)
        ]
        critic = self.modules["critic"]
        critic.requires_grad_(False)  # its gradients would be thrown away
        log |= self._update("generator", rows, max_norm=5.0)
        critic.requires_grad_(True)
        return log

    def _update(self, name: str, rows: Sequence[Sequence[Any]], max_norm: float | None = None) -> dict[str, Any]:
        terms = self._critic_terms if name == "critic" else self._generator_terms
        found = update(name, self.modules[name], self.optimizers[name], rows, terms, max_norm=max_norm)
        return {key.removeprefix("generator/"): value for key, value in found.items() if key != f"{name}/total"}

    def _prepare(self, step_index: int, number: int) -> Part:
        rng = part_generator(self.config.seed, step_index, number)
        return prepare_part(self.source, self.config.batch, self.numbers.uniform_share, rng)

    def _make(self, part: Part) -> tuple[CompactOutput, CompactOutput]:
        """The photographs restored, and their edits."""
        net: Any = self.generator
        with self._autocast():
            latent = net.encode(part.real.images, part.side_real)
            restored: CompactOutput = net.decode(
                net.encode(part.source, part.side_other), part.y_real, part.side_real, part.flow_pair, part.guess_pair
            )
            edited: CompactOutput = net.decode(
                latent, part.y_target * part.amount, part.side_moved, part.flow_edit, part.guess_edit
            )
        return restored, edited

    def _critic_terms(self, part: Part, restored: Tensor, edited: Tensor) -> dict[str, Tensor]:
        n = len(part.targets)
        with self._autocast():
            shown = self.source.as_seen(edited.detach(), part.y_target)
            seen = self._views(
                torch.cat([part.real.images, restored.detach().float(), shown]),
                torch.cat([part.side_real, part.side_real, part.side_moved]), part.random, n,
            )
            real, asked = part.y_real, torch.cat([part.y_real, part.y_real, part.y_target])
            more = part.borrowed
            if more is not None:
                further = self._views(
                    self.source.as_seen(more.images, more.classes), self.source.side(more.dense), part.random,
                    len(more.labels),
                )
                seen = torch.cat([further[0], seen[0]]), torch.cat([further[1], seen[1]])
                real, asked = torch.cat([more.classes, real]), torch.cat([more.classes, asked])
            judged = self.modules["critic"](*seen, asked)
        n = len(real)
        hinge_real = F.relu(1 - judged.src[:n]).mean()
        hinge_fake = F.relu(1 + judged.src[n:]).mean()
        cls_real = F.cross_entropy(judged.cls[:n], real)
        loss = hinge_real + hinge_fake + self.numbers.lambda_cls * cls_real
        return {"critic/total": loss, "critic_real": hinge_real, "critic_fake": hinge_fake, "cls_real": cls_real}

    def _generator_terms(
        self,
        part: Part,
        made: tuple[CompactOutput, CompactOutput] | None,
        weight: Tensor,
        mean_weight: Tensor,
        both_ways: bool,
    ) -> dict[str, Tensor]:
        """Args: made: None: make it here. mean_weight: of the whole step, so that parts add up to one large batch."""
        nums, n = self.numbers, len(part.targets)
        restored, edited = self._make(part) if made is None else made
        images = part.real.images
        log, loss = {}, torch.zeros((), device=self.device)
        if nums.critic:
            with self._autocast():
                shown = self.source.as_seen(edited.image, part.y_target)
                seen = self._views(
                    torch.cat([restored.image.float(), shown, images]),
                    torch.cat([part.side_real, part.side_moved, part.side_real]), part.random, n,
                )
                judged = self.modules["critic"](*seen, torch.cat([part.y_real, part.y_target, part.y_real]))
            log["gan"] = -judged.src[: 2 * n].mean()
            gaps = [F.l1_loss(f[:n].float(), f[2 * n :].detach().float()) for f in judged.features]
            log["features"] = torch.stack(gaps).mean()
            log["cls_fake"] = F.cross_entropy(judged.cls[n : 2 * n], part.targets)
            loss = nums.lambda_features * log["features"] + nums.lambda_gan * log["gan"]
            loss = loss + nums.lambda_cls * log["cls_fake"]
        pair = (weight * (restored.image - images).abs()).mean() / mean_weight
        side = F.mse_loss(restored.side, part.side_real) + F.mse_loss(edited.side, part.side_moved)
        # Most of all inside the mouth, where the guess is good and a small critic has strange wishes.
        held = 1 + 20 * mouth_mask(part.moved, self.size)
        change = edited.image - edited.warped.float()
        identity = (held * change.abs()).mean()
        loss = loss + nums.lambda_pair * pair + nums.lambda_side * side + nums.lambda_id * identity
        log |= {"pair": pair, "side": side, "identity": identity, "change": change.detach().abs().mean()}
        if both_ways:
            log["bidirectional"] = F.l1_loss(self._way_back(part, edited.image), images)
            loss = loss + nums.lambda_bi * log["bidirectional"]
        return {"generator/total": loss, **log}

    def _views(self, images: Tensor, sides: Tensor, rng: torch.Generator, shared: int) -> tuple[Tensor, Tensor]:
        """Faces and side images as the critic sees them."""
        if not self.numbers.critic_views:
            return images.float(), sides.float()
        return critic_augment(images, sides, rng, shared=shared)

    def _way_back(self, part: Part, edited: Tensor) -> Tensor:
        """The edits turned into the photographs again."""
        net: Any = self.generator
        dense = part.real.dense
        # Landmarks in bfloat16 would be off by half a pixel.
        flow_back, carried = self.source.carry(edited, part.moved, dense, part.turned, back=True)
        before = self.source.unturned(part.moved, part.turned)
        with self._autocast():
            again: Latent = net.encode(edited.contiguous(memory_format=torch.channels_last), part.side_moved)
            guess_back = self.source.on_device[1].guess(
                carried, part.skin, dense, -part.field, part.donors, mouth_gap(before),
                mouths=part.mouths,
            )
            back: CompactOutput = net.decode(again, part.y_real, part.side_real, flow_back, guess_back)
        return back.image

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    # ---- what comes of it -----------------------------------------------------------------------------------

    @torch.no_grad()
    def preview(self, generator: nn.Module) -> Preview:
        """Fixed sources, one donor a target."""
        rng = np.random.Generator(np.random.Philox(key=[self.config.seed, (1 << 63) + 1]))
        count = self.config.sheet_sources
        shown = self.source.common[:2]
        rows = np.array([rng.choice(self.source.by_class[shown[i % len(shown)]]) for i in range(count)])
        faces = self.source.load(rows, np.zeros(count, bool))
        edits = []
        with self._autocast():
            latent = generator.encode(faces.images, self.source.side(faces.dense))  # type: ignore[operator]
            for target in range(self.num_classes):
                moved, field, donors = self.source.move(faces, np.full(count, target), np.ones(count), rng)
                y = F.one_hot(torch.full((count,), target, device=self.device), self.num_classes).float()
                flow, carried = self.source.carry(faces.images, faces.dense, moved)
                guess = self.source.dress(faces, carried, moved, field, donors, None)
                out = generator.decode(latent, y, self.source.side(moved), flow, guess)  # type: ignore[operator]
                edits.append(out.image)
        return Preview(faces.images, torch.stack(edits, dim=1), self.faces.vocabulary.names)

    def release(self, generator: nn.Module) -> Release:
        """Generator and shape statistics in one file."""
        tensors = {f"generator.{k}": v for k, v in generator.state_dict().items()}
        shapes = {f"shapes.{k}": v for k, v in vars(self.shapes).items() if v is not None}
        shapes |= {f"textures.{k}": v for k, v in vars(self.textures).items() if v is not None}
        networks = self.config.networks
        architecture = {
            "preset": networks.name, "kind": networks.kind, "generator": dict(networks.generator),
            "num_attributes": self.num_classes,
        }
        rough = ("shapes.donors", "textures.donor_mouths", "textures.donor_open", "textures.shading")  # half is enough
        exact = {name: v.dtype for name, v in shapes.items() if name not in rough}
        told = {
            "donor_strengths": self._unlike_one(self.source.strengths),
            "shading_strengths": self._unlike_one(self.source.shading_strengths),
        }
        return Release({**tensors, **shapes}, architecture, exact, {name: told[name] for name in told if told[name]})

    def _unlike_one(self, strengths: np.ndarray) -> dict[str, float]:
        """Classes whose strength is not 1."""
        named = zip(self.faces.vocabulary.names, strengths.tolist(), strict=True)
        return {name: strength for name, strength in named if strength != 1}

    def state_dict(self) -> dict[str, Any]:
        """Nothing: all that a step draws depends on (seed, step)."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :meth:`state_dict`."""
        if state:
            raise DataError(f"a compact run keeps no sampler state; got {', '.join(state)}")
