"""The `compact` recipe: the paper's unpaired losses plus restoration of real faces from pseudo-sources.

A step draws one batch of real faces. Each is (a) restored from its own pseudo-source (:mod:`.pairs`), where the
photograph is the answer, and (b) edited towards another expression whose shape comes from a donor, where the critic,
the attribute loss (eqs. 2, 3), the identity loss (eq. 4) and, every other step, the bidirectional loss (eq. 6) judge.

The critic starts alone, on first guesses, until it has seen enough faces to have an opinion.

Deviations from eqs. 1–7, beside those of the networks: hinge loss and differentiable augmentation (Zhao et al. 2020)
instead of WGAN with gradient penalty and five critic steps; softmax attribute loss, as expressions exclude each other;
the identity loss compares with the first guess, since the shape is meant to change; of eq. 6 only the
image term, since the side image is an input here and latents of two shapes do not lie over each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lssl_augment.errors import DataError
from lssl_augment.faces.dense_flip import DENSE_FLIP
from lssl_augment.faces.expression_shapes import mouth_gap, settle_mouth
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.faces.side_image import side_image
from lssl_augment.models.compact_generator import CompactOutput, Latent
from lssl_augment.models.conditional_critic import ConditionalCritic
from lssl_augment.models.expression_textures import mouth_mask, skin_colour
from lssl_augment.models.presets import build_generator
from lssl_augment.models.warp import shape_flow, warp_image
from lssl_augment.training.batches import TrainingFaces
from lssl_augment.training.config import TrainConfig, from_mapping
from lssl_augment.training.critic_augment import critic_augment
from lssl_augment.training.distributed import average_gradients, process_rank
from lssl_augment.training.further import as_seen, borrowed_classes
from lssl_augment.training.objective import Preview, Release
from lssl_augment.training.pairs import expression_zone, gaussian_blur, pseudo_source
from lssl_augment.training.parts import part_generator
from lssl_augment.training.shapes import fit_expression_shapes
from lssl_augment.training.start import start_from
from lssl_augment.training.textures import fit_expression_textures

__all__ = ["CompactNumbers", "CompactObjective"]


@dataclass(frozen=True)
class CompactNumbers:
    """Numbers of the objective (``--set objective.NAME=VALUE``).

    Attributes:
        lambda_pair, lambda_features, lambda_side: restoration from pseudo-sources: L1, critic features, side image.
        lambda_gan, lambda_cls, lambda_id, lambda_bi: weights of eqs. 1, 3, 4 and 6.
        bidirectional_every: steps between two that have the bidirectional loss.
        critic_first_steps: steps at the start in which only the critic learns.
        uniform_share: share of each batch drawn uniformly over classes; the rest as they occur.
        lr_generator, lr_critic, beta1, beta2: Adam; the rates fall linearly over the last 40 % of a run.
    """

    lambda_pair: float = 10.0
    lambda_features: float = 15.0
    lambda_side: float = 2.0
    lambda_gan: float = 1.0
    lambda_cls: float = 0.2
    lambda_id: float = 1.0
    lambda_bi: float = 5.0
    bidirectional_every: int = 2
    critic_first_steps: int = 300
    uniform_share: float = 0.5
    lr_generator: float = 3e-4
    lr_critic: float = 4e-4
    beta1: float = 0.5
    beta2: float = 0.99


@dataclass
class _Faces:
    """Some training faces with what the geometry knows of them."""

    images: Tensor
    dense: Tensor
    labels: Tensor
    back: Tensor
    expression: Tensor
    classes: Tensor

    def take(self, rows: Tensor) -> _Faces:
        return _Faces(*(part[rows] for part in vars(self).values()))


class CompactObjective:
    """See the module's text; the protocol is :class:`lssl_augment.training.objective.Objective`.

    Raises:
        DataError: a pack without dense landmarks or without neutral faces, or an unknown number.
    """

    def __init__(self, config: TrainConfig, faces: TrainingFaces) -> None:
        if faces.dense is None:
            raise DataError(
                "the compact preset needs dense landmarks, which this pack does not hold; "
                "prepare it with `--landmarks bundled` or `--fill-dense`, or train the paper preset"
            )
        if "neutral" not in faces.vocabulary.names:
            raise DataError(f"the compact preset needs neutral faces; classes are {', '.join(faces.vocabulary.names)}")
        if config.accumulate != 1:
            raise DataError(
                f"the compact preset does not accumulate gradients; got accumulate={config.accumulate}; "
                "train in several processes, or with a smaller batch"
            )
        self.config = config
        self.numbers = from_mapping(CompactNumbers, config.objective)
        self.faces = faces
        self.device = torch.device(config.device)
        self.size = config.face_size_px
        self.num_classes = len(faces.vocabulary)
        self._borrowed = borrowed_classes(faces)
        self.shapes, donor_rows = fit_expression_shapes(
            faces.dense,
            faces.labels,
            np.asarray(faces.subjects),
            self.num_classes,
            faces.vocabulary.index("neutral"),
            seed=config.seed,
            further=faces.further,
            borrowed=self._borrowed,
        )
        self._fit_rows()
        self.textures = fit_expression_textures(
            self.shapes, faces.images, faces.dense, faces.labels, self._expression, donor_rows,
            faces.vocabulary.index("neutral"), seed=config.seed, subjects=np.asarray(faces.subjects),
            further=faces.further, borrowed=self._borrowed,
        )
        self._on_device = self.shapes.to(self.device), self.textures.to(self.device)
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

    # ---- faces ----------------------------------------------------------------------------------------------

    def _fit_rows(self) -> None:
        """Expression and pose of every training face and of its mirror image, in the shape model's terms."""
        assert self.faces.dense is not None
        plain = torch.from_numpy(np.asarray(self.faces.dense, np.float32))
        labels = torch.from_numpy(self.faces.labels)
        back, expression = [], []
        for dense in (plain, self._mirror(plain)):
            for chunk, some in zip(dense.split(2048), labels.split(2048), strict=True):
                shape, b = self.shapes.canonical(chunk)
                back.append(b)
                expression.append(self.shapes.expression(self.shapes.coefficients(shape), some))
        self._back, self._expression = torch.cat(back), torch.cat(expression)
        labels_np, further = self.faces.labels, self.faces.further
        own = np.ones(len(labels_np), bool) if further is None else ~further
        self._own = np.flatnonzero(own)
        self._by_class = [np.flatnonzero((labels_np == c) & own) for c in range(self.num_classes)]
        # A handful of faces drawn over and over would teach the critic these people.
        self._common = [c for c in range(self.num_classes) if c not in self._borrowed]
        self._further = [np.flatnonzero((labels_np == c) & ~own) for c in self._borrowed]

    def _mirror(self, dense: Tensor) -> Tensor:
        out = dense[:, torch.from_numpy(DENSE_FLIP.copy())].clone()
        out[..., 0] = (self.size - 1) - out[..., 0]
        return out

    def _load(self, rows: np.ndarray, flipped: np.ndarray) -> _Faces:
        assert self.faces.dense is not None
        images = torch.from_numpy(self.faces.images[rows]).permute(0, 3, 1, 2).float() / 127.5 - 1
        dense = torch.from_numpy(np.asarray(self.faces.dense[rows], np.float32))
        flip = torch.from_numpy(flipped)
        images = torch.where(flip[:, None, None, None], images.flip(-1), images)
        dense = torch.where(flip[:, None, None], self._mirror(dense), dense)
        index = torch.from_numpy(rows + flipped * len(self.faces))
        return _Faces(
            images.to(self.device, memory_format=torch.channels_last),
            dense.to(self.device),
            torch.from_numpy(self.faces.labels[rows]).to(self.device),
            self._back[index].to(self.device),
            self._expression[index].to(self.device),
            F.one_hot(torch.from_numpy(self.faces.labels[rows]), self.num_classes).float().to(self.device),
        )

    def _draw(self, rng: np.random.Generator) -> _Faces:
        n = self.config.batch
        rows = self._own[rng.integers(len(self._own), size=n)]
        for i in np.flatnonzero(rng.random(n) < self.numbers.uniform_share):
            rows[i] = rng.choice(self._by_class[self._common[int(rng.integers(len(self._common)))]])
        return self._load(rows, rng.random(n) < 0.5)

    def _draw_further(self, rng: np.random.Generator) -> _Faces | None:
        """Photographs of the borrowed classes for the critic, as many as it sees edits towards them."""
        if not self._further:
            return None
        count = max(1, round(self.config.batch * len(self._further) / self.num_classes))
        rows = np.array([rng.choice(self._further[int(rng.integers(len(self._further)))]) for _ in range(count)])
        return self._load(rows, rng.random(count) < 0.5)

    def _move(
        self, faces: _Faces, targets: np.ndarray, intensity: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Faces with a donor's expression: landmarks, change of coefficients and class weights, rows of the donors."""
        drawn, donors = self.shapes.draw_donors(targets, rng.integers(1 << 62, size=len(targets)))
        wanted = torch.from_numpy(drawn) * torch.from_numpy(intensity.astype(np.float32))[:, None]
        change = wanted.to(self.device) - faces.expression
        rows = torch.from_numpy(donors).to(self.device)
        amount = torch.from_numpy(intensity.astype(np.float32)).to(self.device)
        shapes, textures = self._on_device
        moved = settle_mouth(shapes.displace(faces.dense, faces.back, change), textures.widest(rows, amount))
        shown = F.one_hot(torch.from_numpy(targets).to(self.device), self.num_classes).float() * amount[:, None]
        return moved, torch.cat([change, shown - faces.classes], dim=1), rows

    def _edit_guess(
        self, faces: _Faces, moved: Tensor, change: Tensor, donors: Tensor, flow: Tensor
    ) -> Tensor:
        return self._on_device[1].guess(
            warp_image(faces.images, flow), skin_colour(faces.images, faces.dense), moved, change, donors,
            mouth_gap(faces.dense),
        )

    def _side(self, dense: Tensor) -> Tensor:
        channels_last = torch.channels_last
        points = dense[:, torch.from_numpy(SPARSE_FROM_DENSE), :2]
        drawn = side_image(points, self.size, self.size, groups=True)
        return drawn.contiguous(memory_format=channels_last)

    # ---- one step -------------------------------------------------------------------------------------------

    def step(self, progress: float, step_index: int) -> Mapping[str, float | Tensor]:
        """Critic and generator once each; everything drawn depends on (seed, step) alone."""
        nums, net = self.numbers, self.generator
        rng = part_generator(self.config.seed, step_index, process_rank())
        torch_rng = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        for name, base in (("generator", nums.lr_generator), ("critic", nums.lr_critic)):
            for group in self.optimizers[name].param_groups:
                group["lr"] = base * min(1.0, (1.0 - progress) / 0.4)
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

        real = self._draw(rng)
        n = len(real.labels)
        labels = real.labels.cpu().numpy()
        # (a) pseudo-sources: another shape, another face's mouth, its shading taken off.
        other, away, _ = self._move(real, rng.integers(self.num_classes, size=n), rng.uniform(0.3, 1.1, n), rng)
        partner = torch.from_numpy(np.roll(np.arange(n), 1))
        borrowed = warp_image(real.images[partner], shape_flow(real.dense[partner], other, self.size))
        source = pseudo_source(real.images, real.dense, other, borrowed, torch_rng)
        # (b) edits of the real faces towards another class.
        targets = (labels + rng.integers(1, self.num_classes, size=n)) % self.num_classes
        intensity = rng.uniform(0.7, 1.0, n)
        moved, change, donors = self._move(real, targets, intensity, rng)
        borrowed = self._draw_further(rng)

        side_real, side_other, side_moved = self._side(real.dense), self._side(other), self._side(moved)
        y_real = F.one_hot(real.labels, self.num_classes).float()
        y_target = F.one_hot(torch.from_numpy(targets).to(self.device), self.num_classes).float()
        amount = torch.from_numpy(intensity.astype(np.float32)).to(self.device)[:, None]
        flow_pair, flow_edit = shape_flow(other, real.dense, self.size), shape_flow(real.dense, moved, self.size)
        # The first guess for (a): the face's own mouth as components tell it, a little off. With another donor's the
        # network would learn that guesses are worth nothing and paint the mean of all mouths, grey teeth.
        skin, closed = skin_colour(real.images, real.dense), torch.zeros(n, device=self.device)
        textures = self._on_device[1]
        mouths = textures.mouths_of(real.images, real.dense)
        mouths = mouths * (1 + 0.15 * torch.randn(mouths.shape, generator=torch_rng).to(self.device))
        own_donors = torch.zeros(n, dtype=torch.int64, device=self.device)
        guess_pair = textures.guess(
            warp_image(source, flow_pair), skin, real.dense, torch.zeros_like(away), own_donors, closed, mouths=mouths
        )
        guess_edit = self._edit_guess(real, moved, change, donors, flow_edit)
        source = source.contiguous(memory_format=torch.channels_last)

        if step_index < nums.critic_first_steps:
            return self._critic_step(
                real.images, side_real, y_real, guess_pair, guess_edit, side_moved, y_target, torch_rng, autocast,
                borrowed,
            )
        with autocast:
            latent = net.encode(real.images, side_real)  # type: ignore[operator]
            restored: CompactOutput = net.decode(  # type: ignore[operator]
                net.encode(source, side_other), y_real, side_real, flow_pair, guess_pair  # type: ignore[operator]
            )
            edited: CompactOutput = net.decode(  # type: ignore[operator]
                latent, y_target * amount, side_moved, flow_edit, guess_edit
            )

        log = self._critic_step(
            real.images, side_real, y_real, restored.image, edited.image, side_moved, y_target, torch_rng, autocast,
            borrowed,
        )

        for p in self.modules["critic"].parameters():
            p.requires_grad_(False)
        critic = self.modules["critic"]
        with autocast:
            shown = self._as_seen(edited.image, y_target)
            seen = critic_augment(
                torch.cat([restored.image.float(), shown, real.images]),
                torch.cat([side_real, side_moved, side_real]), torch_rng, shared=n,
            )
            judged = critic(*seen, torch.cat([y_real, y_target, y_real]))
        gan = -judged.src[: 2 * n].mean()
        gaps = [F.l1_loss(f[:n].float(), f[2 * n :].detach().float()) for f in judged.features]
        features = torch.stack(gaps).mean()
        cls = F.cross_entropy(judged.cls[n : 2 * n], torch.from_numpy(targets).to(self.device))
        # Where expressions show counts most; plain L1 is mostly the blur that a warp leaves in hair and background.
        zone = expression_zone(real.dense, torch.ones(n, 9, device=self.device), self.size)
        zone = F.interpolate(zone, size=real.images.shape[-2:], mode="bilinear", align_corners=False)
        weight = 0.3 + 1.5 * zone + 5.0 * gaussian_blur(mouth_mask(real.dense, self.size), self.size / 50)
        pair = (weight * (restored.image - real.images).abs()).mean() / weight.mean()
        side = F.mse_loss(restored.side, side_real) + F.mse_loss(edited.side, side_moved)
        # Most of all inside the mouth, where the guess is good and a small critic has strange wishes.
        held = 1 + 20 * mouth_mask(moved, self.size)
        identity = (held * (edited.image - edited.warped.float()).abs()).mean()
        loss = (
            nums.lambda_pair * pair + nums.lambda_features * features + nums.lambda_side * side
            + nums.lambda_gan * gan + nums.lambda_cls * cls + nums.lambda_id * identity
        )
        if step_index % nums.bidirectional_every == 0:
            with autocast:
                again: Latent = net.encode(edited.image.contiguous(memory_format=torch.channels_last), side_moved)  # type: ignore[operator]
                flow_back = shape_flow(moved, real.dense, self.size)
                guess_back = textures.guess(
                    warp_image(edited.image, flow_back), skin, real.dense, -change, own_donors, mouth_gap(moved),
                    mouths=mouths,
                )
                back = net.decode(again, y_real, side_real, flow_back, guess_back)  # type: ignore[operator]
            bi = F.l1_loss(back.image, real.images)
            loss = loss + nums.lambda_bi * bi
            log["bidirectional"] = bi.detach()
        self.optimizers["generator"].zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(net)
        grad = nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        self.optimizers["generator"].step()
        for p in critic.parameters():
            p.requires_grad_(True)
        log.update(
            pair=pair.detach(), features=features.detach(), side=side.detach(), gan=gan.detach(), cls_fake=cls.detach(),
            identity=identity.detach(), change=(edited.image - edited.warped.float()).detach().abs().mean(),
            grad_norm=grad.detach(),
        )
        return log

    def _critic_step(
        self, faces: Tensor, side: Tensor, y: Tensor, restored: Tensor, edited: Tensor,
        side_moved: Tensor, y_target: Tensor, rng: torch.Generator, autocast: torch.autocast,
        borrowed: _Faces | None = None,
    ) -> dict[str, float | Tensor]:
        n = len(faces)
        critic = self.modules["critic"]
        with autocast:
            pairs = critic_augment(
                torch.cat([faces, restored.detach().float(), self._as_seen(edited.detach(), y_target)]),
                torch.cat([side, side, side_moved]), rng, shared=n,
            )
            asked = torch.cat([y, y, y_target])
            if borrowed is not None:
                more = critic_augment(
                    self._as_seen(borrowed.images, borrowed.classes), self._side(borrowed.dense), rng,
                    shared=len(borrowed.labels),
                )
                pairs = torch.cat([more[0], pairs[0]]), torch.cat([more[1], pairs[1]])
                asked, y = torch.cat([borrowed.classes, asked]), torch.cat([borrowed.classes, y])
                n = len(y)
            judged = critic(*pairs, asked)
        hinge_real = F.relu(1 - judged.src[:n]).mean()
        hinge_fake = F.relu(1 + judged.src[n:]).mean()
        cls_real = F.cross_entropy(judged.cls[:n], y)
        loss = hinge_real + hinge_fake + self.numbers.lambda_cls * cls_real
        self.optimizers["critic"].zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(critic)
        self.optimizers["critic"].step()
        return {
            "critic_real": hinge_real.detach(), "critic_fake": hinge_fake.detach(), "cls_real": cls_real.detach(),
        }

    def _as_seen(self, images: Tensor, y: Tensor) -> Tensor:
        """What the critic sees of faces ``(B, 3, H, W)`` asked for as ``y`` ``(B, C)``."""
        if not self._borrowed:
            return images.float()
        return as_seen(images, torch.isin(y.argmax(1).cpu(), torch.tensor(self._borrowed)))

    # ---- what comes of it -----------------------------------------------------------------------------------

    @torch.no_grad()
    def preview(self, generator: nn.Module) -> Preview:
        """Fixed sources, one donor a target."""
        rng = np.random.Generator(np.random.Philox(key=[self.config.seed, (1 << 63) + 1]))
        count = self.config.sheet_sources
        shown = self._common[:2]
        rows = np.array([rng.choice(self._by_class[shown[i % len(shown)]]) for i in range(count)])
        faces = self._load(rows, np.zeros(count, bool))
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")
        edits = []
        with autocast:
            latent = generator.encode(faces.images, self._side(faces.dense))  # type: ignore[operator]
            for target in range(self.num_classes):
                moved, change, donors = self._move(faces, np.full(count, target), np.ones(count), rng)
                y = F.one_hot(torch.full((count,), target, device=self.device), self.num_classes).float()
                flow = shape_flow(faces.dense, moved, self.size)
                guess = self._edit_guess(faces, moved, change, donors, flow)
                out = generator.decode(latent, y, self._side(moved), flow, guess)  # type: ignore[operator]
                edits.append(out.image)
        return Preview(faces.images, torch.stack(edits, dim=1), self.faces.vocabulary.names)

    def release(self, generator: nn.Module) -> Release:
        """Generator and shape statistics in one file."""
        tensors = {f"generator.{k}": v for k, v in generator.state_dict().items()}
        shapes = {f"shapes.{k}": v for k, v in vars(self.shapes).items()}
        shapes |= {f"textures.{k}": v for k, v in vars(self.textures).items()}
        networks = self.config.networks
        architecture = {
            "preset": networks.name, "kind": networks.kind, "generator": dict(networks.generator),
            "num_attributes": self.num_classes,
        }
        rough = ("shapes.donors", "textures.donor_mouths", "textures.donor_open", "textures.shading")  # half is enough
        exact = {name: v.dtype for name, v in shapes.items() if name not in rough}
        return Release({**tensors, **shapes}, architecture, exact)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: all that a step draws depends on (seed, step)."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :meth:`state_dict`."""
        if state:
            raise DataError(f"a compact run keeps no sampler state; got {', '.join(state)}")
