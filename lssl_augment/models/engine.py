"""Inference: a face batch and a plan in, faces out. What the transform and offline synthesis share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.attributes import LIGHTS, Vocabulary
from lssl_augment.errors import DataError
from lssl_augment.faces.expression_shapes import mouth_gap, settle_mouth
from lssl_augment.faces.landmarks import DENSE_COUNT, SPARSE_FROM_DENSE
from lssl_augment.faces.light import light_names
from lssl_augment.faces.side_image import side_image
from lssl_augment.models.bundle import ModelBundle
from lssl_augment.models.expression_textures import skin_colour
from lssl_augment.models.head_turn import carry, landmark_trust, mirror_faces, turn_landmarks, yaw_towards
from lssl_augment.models.landmark_net import LandmarkNet, load_landmark_net
from lssl_augment.models.relight import LEVELS, relight
from lssl_augment.models.target_vectors import Mixture, check_codes, check_mixture, source_codes, target_vectors

__all__ = ["EncodedFaces", "ExpressionEngine"]

_SPARSE = torch.from_numpy(SPARSE_FROM_DENSE.copy())


@dataclass(frozen=True, eq=False)
class EncodedFaces:
    """Encoded sources; :meth:`select` repeats and reorders them, so one encoding serves all targets of its source.

    Attributes:
        latent: what the encoder made of the faces.
        dense: landmarks, ``(B, 478, 3)`` px.
        back, expression, classes: pose, the expression that an edit takes off, and class weights in the shape model's
            terms; None without one.
        faces, skin: the faces themselves and the colour of their skin; None without a shape model.
        imprint: what an edit takes off their light, ``(B, h, h)``; None without a shape model.
        labels: their expressions, ``(B,)`` int64, −1 for unknown; None without a shape model.
        codes: expression, pose and light of the faces, ``(B, G)``, −1 unknown; None where the generator takes the
            expression alone, and with a shape model.
    """

    latent: Any
    dense: Tensor
    back: Tensor | None = None
    expression: Tensor | None = None
    classes: Tensor | None = None
    faces: Tensor | None = None
    skin: Tensor | None = None
    imprint: Tensor | None = None
    labels: Tensor | None = None
    codes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.dense)

    def select(self, rows: Tensor) -> EncodedFaces:
        """Rows ``(R,)`` int64 of the batch, in this order."""
        rows = torch.as_tensor(rows, device=self.dense.device)
        taken: dict[str, Any] = {}
        for name in (f.name for f in fields(self)):
            held = getattr(self, name)
            taken[name] = None if held is None else _take(held, rows)
        return EncodedFaces(**taken)

    def put(self, rows: Tensor, other: EncodedFaces) -> EncodedFaces:
        """A copy with ``rows (R,)`` int64 replaced by those of ``other``, which are so many."""
        put: dict[str, Any] = {}
        for name in (f.name for f in fields(self)):
            here, there = getattr(self, name), getattr(other, name)
            put[name] = None if here is None else _put(here, rows, there)
        return EncodedFaces(**put)


class ExpressionEngine:
    """Runs a generator.

    Args:
        bundle: from :func:`lssl_augment.models.bundle.load_model`.
        device: where to run; the bundle's networks are moved there.
        precision: ``"bf16"``, ``"fp32"`` or ``"auto"``: bfloat16 where the processor has instructions for it.
        landmarks: landmark network for faces that come without landmarks; loaded on first need when None.

    Row r of a result depends only on its source, target, intensity and seed (up to floating-point rounding, which may
    differ with the size of the batch).
    """

    def __init__(
        self,
        bundle: ModelBundle,
        device: str | torch.device = "cpu",
        *,
        precision: str = "auto",
        landmarks: LandmarkNet | None = None,
    ) -> None:
        if precision not in ("auto", "bf16", "fp32"):
            raise DataError(f"precision must be auto, bf16 or fp32; got {precision!r}")
        self.device = torch.device(device)
        self.card = bundle.card
        self._generator = bundle.generator.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._shapes = None if bundle.shapes is None else bundle.shapes.to(self.device)
        self._textures = None if bundle.textures is None else bundle.textures.to(self.device)
        self._vocabulary = bundle.vocabulary
        self._size = bundle.face_size_px
        self._spec, self._sigma_px = bundle.attributes, bundle.side_sigma_px
        if bundle.shapes is not None:  # light is photometry, which no weights need to know
            self._spec = AttributeSpec(bundle.vocabulary, bundle.attributes.poses_deg, LIGHTS)
        self._landmarks = landmarks
        # A generator that sees faces alone (models/baselines) is not made to wait for landmarks.
        self._needs_landmarks = not getattr(bundle.generator, "face_only", False)
        self._bf16 = precision == "bf16" or (precision == "auto" and _fast_bf16(self.device))

    @property
    def vocabulary(self) -> Vocabulary:
        """The expressions the generator can make; targets are indices into it."""
        return self._vocabulary

    @property
    def attributes(self) -> AttributeSpec:
        """What it can change: the expressions; pose and light where it was trained with them, or knows them anyway.

        A `compact` generator turns heads by geometry, as far as its training did, and changes the light by photometry
        (:mod:`.relight`).
        """
        return self._spec

    @property
    def turns_heads(self) -> bool:
        """Whether :meth:`edit` takes ``yaw_deg``, any angle between its outermost poses."""
        return self._shapes is not None and bool(self._spec.poses_deg)

    @property
    def face_size_px(self) -> int:
        """Size of the faces it takes and makes."""
        return self._size

    @property
    def max_intensity(self) -> float:
        """Largest intensity that :meth:`edit` makes with ``exaggerate``."""
        # The other methods' generators (models/baselines) mix whole classes: 1 is all of one.
        return 1.5 if self._needs_landmarks else 1.0

    @torch.no_grad()
    def encode(
        self,
        images: Tensor,
        dense: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        yaw_deg: np.ndarray | None = None,
        lights: Sequence[str] | np.ndarray | None = None,
    ) -> EncodedFaces:
        """Encode sources once for all of their targets.

        Args:
            images: aligned faces, ``(B, 3, S, S)`` float in [-1, 1].
            dense: their landmarks, ``(B, 478, 3)`` px; None: the package's landmark network finds them.
            labels: their expressions, ``(B,)`` int64 in the engine's vocabulary, −1 for unknown; None: all unknown.
            yaw_deg, lights: ``(B,)``, what is known of head pose and light, NaN and empty where it is not; a generator
                of poses measures the others from the landmarks, one of lights judges them by the rule of
                ``faces/light.py``. A `compact` generator measures all of them.

        Raises:
            DataError: shapes that do not fit.
        """
        size = self._size
        if images.ndim != 4 or images.shape[1:] != (3, size, size) or not images.is_floating_point():
            raise DataError(
                f"images must be float with shape (B, 3, {size}, {size}); got {images.dtype} {tuple(images.shape)}"
            )
        images = images.to(self.device, torch.float32).contiguous(memory_format=torch.channels_last)
        if dense is None and not self._needs_landmarks:
            dense = images.new_zeros(len(images), DENSE_COUNT, 3)
        elif dense is None:
            dense = self._find_landmarks(images)
        elif dense.shape != (len(images), DENSE_COUNT, 3):
            raise DataError(f"dense must have shape ({len(images)}, {DENSE_COUNT}, 3); got {tuple(dense.shape)}")
        elif not bool(dense.isfinite().all()):
            raise DataError("dense must be finite; got NaN or infinite landmarks")
        if labels is not None and labels.shape != (len(images),):
            raise DataError(f"labels must have shape ({len(images)},); got {tuple(labels.shape)}")
        dense = dense.to(self.device, torch.float32)
        with self._autocast():
            if self._needs_landmarks:
                latent = self._generator.encode(images, self._side(dense))  # type: ignore[operator]
            else:
                known = None if labels is None else labels.to(self.device, torch.int64)
                latent = self._generator.encode(images, known)  # type: ignore[operator]
        if self._shapes is None or self._textures is None:
            codes = source_codes(self._spec, images, dense, labels, yaw_deg, lights)
            return EncodedFaces(latent, dense, codes=codes)
        if labels is None:
            labels = torch.full((len(images),), -1)
        shape, back = self._shapes.canonical(dense)
        labels = labels.to(self.device, torch.int64)
        coefficients = self._shapes.coefficients(shape)
        expression = self._shapes.expression(coefficients, labels)
        shown = self._shapes.class_weights(coefficients, labels)
        expression = self._shapes.taken_off(expression, shown)
        imprint = self._textures.imprint(images, dense, expression, shown)
        skin = skin_colour(images, dense)
        return EncodedFaces(latent, dense, back, expression, shown, images, skin, imprint, labels)

    @torch.no_grad()
    def edit(
        self,
        faces: EncodedFaces,
        targets: Tensor,
        intensity: Tensor,
        seeds: Tensor,
        *,
        mixture: Mixture | None = None,
        pose: Tensor | None = None,
        light: Tensor | None = None,
        yaw_deg: Tensor | None = None,
        exaggerate: bool = False,
    ) -> Tensor:
        """Give encoded faces another expression, and where the generator can, another pose or light.

        Args:
            faces: R encoded rows.
            targets: ``(R,)`` int64 in the engine's vocabulary; −1 keeps the source's own expression, which only a
                generator of poses or lights takes.
            intensity: ``(R,)`` float in [0, 1]; 1 is a donor's full expression, 0 the face at rest.
            seeds: ``(R,)`` int64; choose the donors.
            mixture: a second expression and its share, for what lies between two; None: the targets alone.
            pose, light: ``(R,)`` int64, index into ``attributes.poses_deg`` and ``attributes.lights``; −1 and None keep
                the source's.
            yaw_deg: ``(R,)`` float instead of ``pose``, for a `compact` generator, whose poses are not steps: degrees
                between its outermost poses, NaN keeps the source's.
            exaggerate: allow intensities up to :attr:`max_intensity`, to look at: more than any donor shows, and more
                than training asked for.

        Returns:
            ``(R, 3, S, S)`` float32 in [-1, 1].

        Raises:
            DataError: lengths that differ, values out of range, or a pose or light for a generator without them.
        """
        count, classes = len(faces), len(self._vocabulary)
        if not len(targets) == len(intensity) == len(seeds) == count:
            raise DataError(
                f"targets, intensity and seeds need one value for each of {count} rows; "
                f"got {len(targets)}, {len(intensity)} and {len(seeds)}"
            )
        least = -1 if len(self._spec.groups) > 1 else 0
        if count and (int(targets.min()) < least or int(targets.max()) >= classes):
            came = f"{int(targets.min())} to {int(targets.max())}"
            raise DataError(f"targets must be in [{least}, {classes - 1}]; got {came}")
        most = self.max_intensity if exaggerate else 1.0
        if count and not (float(intensity.min()) >= 0 and float(intensity.max()) <= most):
            came = f"{float(intensity.min())} to {float(intensity.max())}"
            raise DataError(f"intensity must be in [0, {most:g}]; got {came}")
        check_mixture(mixture, count, classes)
        if mixture is not None and bool(((targets.cpu() < 0) & (mixture.share.cpu() > 0)).any()):
            raise DataError("a mixture needs a first expression; got a share of a second with target -1")
        yaw = self._wanted_yaw(count, pose, yaw_deg)
        if self._shapes is not None:
            check_codes("light", light, count, len(self._spec.lights))
        if not count:  # torch's pixel_unshuffle takes no empty batch
            return torch.empty(0, 3, self._size, self._size, device=self.device)
        targets = targets.to(self.device, torch.int64)
        amount = intensity.to(self.device, torch.float32)[:, None]
        kept = (targets < 0)[:, None]
        y = F.one_hot(targets.clamp_min(0), classes).float()
        if mixture is not None:
            second, share = mixture.targets.to(targets), mixture.share.to(amount)[:, None]
            y = torch.lerp(y, F.one_hot(second, classes).float(), share)
        y = y * amount
        if self._shapes is None:
            if bool(kept.any()):
                assert faces.codes is not None
                own = faces.codes[:, :1].to(kept.device)
                shown = F.one_hot(own[:, 0].clamp_min(0), classes).float() * (own >= 0)
                y = torch.where(kept, shown, y)
            y = target_vectors(self._spec, y, faces.codes, pose=pose, light=light)
            with self._autocast():
                out = self._generator.decode(faces.latent, y)  # type: ignore[operator]
            image = out if isinstance(out, Tensor) else out[0]  # face and side image, or the face alone
            return image.float().clamp(-1, 1).contiguous()
        posed, turned = faces.dense, None
        if yaw is not None:
            faces, posed, turned = self._turn(faces, yaw)
        assert self._textures is not None
        assert faces.back is not None
        assert faces.expression is not None
        assert faces.classes is not None
        assert faces.faces is not None
        assert faces.skin is not None
        assert faces.imprint is not None
        names = targets.clamp_min(0).cpu().numpy()
        drawn, donors = self._shapes.draw_donors(names, np.asarray(seeds.cpu()))
        shape, rows = torch.from_numpy(drawn).to(self.device), torch.from_numpy(donors).to(self.device)
        if mixture is not None:
            other, others = self._shapes.draw_donors(second.cpu().numpy(), np.asarray(seeds.cpu()))
            shape = torch.lerp(shape, torch.from_numpy(other).to(self.device), share)
            ends, opened = torch.from_numpy(others).to(self.device), self._textures.donor_open
            # Between two mouths the inside is that of the more open one all the way, so that it does not jump.
            wider = (opened[ends] > opened[rows]) & (share[:, 0] > 0)
            rows = torch.where(wider | (share[:, 0] == 1), ends, rows)
        # Faces that keep their expression are not stretched, nor shaded.
        asked = torch.where(kept, 0.0, y)
        shape, y = torch.where(kept, faces.expression, shape * amount), torch.where(kept, faces.classes, y)
        own_gap = mouth_gap(posed)
        back = faces.back if yaw is None else self._shapes.canonical(posed)[1]
        moved = self._shapes.displace(posed, back, shape - faces.expression)
        moved = settle_mouth(moved, self._shapes.opening(shape, own_gap))
        moved = torch.where(kept[..., None], posed, moved)
        flow, warped = carry(self._shapes, faces.faces, faces.dense, posed, moved, turned)
        field = self._textures.field(self._shapes.photographed(shape, asked), asked) - faces.imprint
        field = torch.where(kept[..., None], 0.0, field)
        trust = landmark_trust(self._shapes, moved)
        guess = self._textures.guess(warped, faces.skin, moved, field, rows, own_gap, trust=trust)
        with self._autocast():
            out = self._generator.decode(faces.latent, y, self._side(moved), flow, guess)  # type: ignore[operator]
        image = out.image.clamp(-1, 1).contiguous()
        return image if light is None else relight(image, self._levels(faces, light), seeds)

    def _levels(self, faces: EncodedFaces, light: Tensor) -> Tensor:
        """Brightness wanted, ``(R,)``, NaN where a face keeps its light or has the one that is asked for."""
        assert faces.faces is not None
        lights = self._spec.lights
        pixels = ((faces.faces + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        own = light_names(pixels.cpu().contiguous().numpy()).tolist()
        wanted = [lights[code] if code >= 0 else name for code, name in zip(light.tolist(), own, strict=True)]
        levels = [float("nan") if a == b else LEVELS[a] for a, b in zip(wanted, own, strict=True)]
        return torch.tensor(levels, device=self.device)

    def _wanted_yaw(self, count: int, pose: Tensor | None, yaw_deg: Tensor | None) -> Tensor | None:
        """Degrees ``(R,)``, NaN where a head keeps its pose; None: all do, or the attribute vector says it."""
        poses = self._spec.poses_deg
        if self._shapes is None:
            if yaw_deg is not None:
                raise DataError("these weights know poses as steps; give pose, an index into attributes.poses_deg")
            return None
        if (pose is not None or yaw_deg is not None) and not poses:
            raise DataError(
                f"these weights change {' and '.join(self._spec.groups)} alone; a `compact` generator turns heads "
                "where it was trained with --set attributes=expression,signed-pose:30"
            )
        if pose is not None and yaw_deg is not None:
            raise DataError("give pose or yaw_deg, not both")
        if yaw_deg is not None:
            known, (least, most) = yaw_deg[~yaw_deg.isnan()], (min(poses), max(poses))
            if yaw_deg.shape != (count,) or (len(known) and not (least <= known.min() and known.max() <= most)):
                raise DataError(
                    f"yaw_deg needs degrees from {least} to {most} for each of {count} rows, or NaN to keep "
                    f"it; got {yaw_deg.tolist()}"
                )
            return yaw_deg.to(self.device, torch.float32)
        if pose is None:
            return None
        check_codes("pose", pose, count, len(poses))
        degrees = torch.tensor([*poses, float("nan")], device=self.device)
        return degrees[pose.to(self.device, torch.int64)]

    def _turn(self, faces: EncodedFaces, yaw: Tensor) -> tuple[EncodedFaces, Tensor, Tensor]:
        """Faces, those that look the other way mirrored; landmarks of the turned heads; which heads turn."""
        assert self._shapes is not None
        assert faces.faces is not None
        turned = ~yaw.isnan()
        sides = min(self._spec.poses_deg) < 0
        mirrored, angle = yaw_towards(faces.dense, yaw, sides=sides)
        rows = torch.nonzero(mirrored & turned).flatten()
        if len(rows):
            images, dense = mirror_faces(faces.faces[rows], faces.dense[rows])
            labels = None if faces.labels is None else faces.labels[rows]
            faces = faces.put(rows, self.encode(images, dense, labels))
        posed = faces.dense.clone()
        posed[turned] = turn_landmarks(self._shapes, faces.dense[turned], angle[turned], self._size)
        return faces, posed, turned

    def _side(self, dense: Tensor) -> Tensor:
        channels = getattr(self._generator, "side_channels", 1)
        if not channels:  # a generator that sees the face alone
            return dense.new_empty(len(dense), 0, self._size, self._size)
        points = dense[:, _SPARSE.to(dense.device), :2]
        drawn = side_image(points, self._size, self._size, sigma_px=self._sigma_px, groups=channels > 1)
        return drawn.contiguous(memory_format=torch.channels_last)

    def _find_landmarks(self, images: Tensor) -> Tensor:
        if self._landmarks is None:
            self._landmarks = load_landmark_net(device=self.device)
        return self._landmarks.aligned(images)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16)


def _take(latent: Any, rows: Tensor) -> Any:
    if isinstance(latent, Tensor):
        return latent[rows]
    return type(latent)(*(part[rows] for part in latent))


def _put(latent: Any, rows: Tensor, other: Any) -> Any:
    if isinstance(latent, Tensor):
        return latent.index_put((rows,), other)
    return type(latent)(*(a.index_put((rows,), b) for a, b in zip(latent, other, strict=True)))


def _fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 here: matrix units on the CPU (AMX), or a GPU that supports it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    check = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(check()) if device.type == "cpu" and check is not None else False
