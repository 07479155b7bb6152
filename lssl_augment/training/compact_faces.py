"""Training faces of the `compact` recipe, with what the geometry knows of them: read, mirrored, moved, guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.faces.dense_flip import DENSE_FLIP
from lssl_augment.faces.expression_shapes import mouth_gap, settle_mouth
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.faces.pose import yaw_deg as head_yaw
from lssl_augment.faces.side_image import side_image
from lssl_augment.models.expression_textures import skin_colour
from lssl_augment.models.head_turn import carry, landmark_trust, turn_landmarks, turned_flow, yaw_towards
from lssl_augment.models.warp import shape_flow
from lssl_augment.training.batches import TrainingFaces
from lssl_augment.training.further import as_seen, borrowed_classes
from lssl_augment.training.shapes import CLEARLY_TOLD, fit_expression_shapes, stretch_of
from lssl_augment.training.strength import DONOR_STEP, SHADING_STEP, class_strengths, find_advisers
from lssl_augment.training.textures import fit_expression_textures

__all__ = ["CompactFaces", "KnownFaces", "Turned"]

#: Share of the heads that training turns, where the generator is to know poses.
_TURNED = 0.5


@dataclass
class KnownFaces:
    """Some training faces with what the geometry knows of them.

    Args:
        images: ``(B, 3, S, S)`` float in [-1, 1]. dense: ``(B, 478, 3)`` float, face pixels. labels: ``(B,)`` int64.
        back: from the shape model's pose to the face's. expression: what an edit takes off, ``(B, K)``, in the shape
            model's terms. classes: ``(B, C)`` float, one-hot.
        imprint: what an edit takes off their light, ``(B, h, h)``.
    """

    images: Tensor
    dense: Tensor
    labels: Tensor
    back: Tensor
    expression: Tensor
    classes: Tensor
    imprint: Tensor


class Turned(NamedTuple):
    """Landmarks ``(B, 478, 3)`` of a batch, heads turned by so many degrees, ``(B,)``; 0: it keeps its pose."""

    dense: Tensor
    angle: Tensor


class CompactFaces:
    """Training faces with the shapes and textures of expressions fitted to them.

    Faces of a further pack (:mod:`.further`) teach these and the critic alone: :meth:`draw` never gives them.

    Args:
        faces: with dense landmarks and neutral faces. size_px: their side. seed: of the fit. device: where batches go.
        poses_deg: head poses the generator is to make; :meth:`turn` turns heads as far. Empty: none.

    Raises:
        DataError: a pack without dense landmarks or without neutral faces.
    """

    def __init__(
        self, faces: TrainingFaces, size_px: int, seed: int, device: torch.device, poses_deg: tuple[int, ...] = ()
    ) -> None:
        if faces.dense is None:
            raise DataError(
                "the compact preset needs dense landmarks, which this pack does not hold; "
                "prepare it with `--landmarks bundled` or `--fill-dense`, or train the paper preset"
            )
        if "neutral" not in faces.vocabulary.names:
            raise DataError(f"the compact preset needs neutral faces; classes are {', '.join(faces.vocabulary.names)}")
        self.faces, self.dense, self.size, self.device = faces, np.asarray(faces.dense), size_px, device
        self.num_classes = len(faces.vocabulary)
        neutral, subjects = faces.vocabulary.index("neutral"), np.asarray(faces.subjects)
        self.borrowed = borrowed_classes(faces)
        self.shapes, donor_rows, told = fit_expression_shapes(
            faces.dense,
            faces.labels,
            subjects,
            self.num_classes,
            neutral,
            seed=seed,
            further=faces.further,
            borrowed=self.borrowed,
        )
        self._plain_donors, self.neutral = self.shapes.donors, neutral
        self._fit_rows()
        self._fit_textures(donor_rows, seed)
        advisers = find_advisers(self, told, CLEARLY_TOLD, seed)
        #: How many times as strong as fitted edits to each class are shaded, ``(C,)``.
        self.shading_strengths = class_strengths(self, advisers, self.shade, SHADING_STEP, seed)
        self.shade(self.shading_strengths)
        #: How many times as far as their photographs say the donors of each class go, ``(C,)``.
        self.strengths = class_strengths(self, advisers, self.stretch, DONOR_STEP, seed)
        further = self.strengths != 1
        if further.any():
            self.stretch(self.strengths)
            self._fit_textures(donor_rows, seed)  # mouths are lent by how far donors open
            again = class_strengths(self, advisers, self.shade, SHADING_STEP, seed, further)
            self.shading_strengths = np.where(further, again, self.shading_strengths)
            self.shade(self.shading_strengths)
        # How far photographs turn their heads, as far as the generator shall.
        yaw = head_yaw(self.dense) if poses_deg else np.zeros(0)
        self._yaws = yaw[np.abs(yaw) <= max(poses_deg, default=0)]

    def stretch(self, strengths: np.ndarray) -> None:
        """Let the donors of each class go so many times as far as they were fitted, ``(C,)``."""
        stretch = stretch_of(self._plain_donors, self.shapes.donor_labels, self.neutral, strengths)
        donors = self._plain_donors + stretch[self.shapes.donor_labels]
        for shapes, device in ((self.shapes, "cpu"), (self.on_device[0], self.device)):
            shapes.donors = donors.to(device)
            shapes.stretch = stretch.to(device) if bool(stretch.any()) else None

    def shade(self, strengths: np.ndarray) -> None:
        """Shade edits to each class so many times as strong as fitted, ``(C,)``."""
        held = None if (strengths == 1).all() else torch.from_numpy(strengths).float()
        self.textures.shading_strength = held
        self.on_device[1].shading_strength = None if held is None else held.to(self.device)

    def _fit_textures(self, donor_rows: np.ndarray, seed: int) -> None:
        faces = self.faces
        self.textures = fit_expression_textures(
            self.shapes,
            faces.images,
            self.dense,
            faces.labels,
            self.expression,
            donor_rows,
            self.neutral,
            seed=seed,
            subjects=np.asarray(faces.subjects),
            further=faces.further,
            borrowed=self.borrowed,
        )
        self.on_device = self.shapes.to(self.device), self.textures.to(self.device)

    def _fit_rows(self) -> None:
        """Expression and pose of every training face and of its mirror image, in the shape model's terms."""
        plain = torch.from_numpy(np.asarray(self.dense, np.float32))
        labels = torch.from_numpy(self.faces.labels)
        back, expression = [], []
        for dense in (plain, self._mirror(plain)):
            for chunk, some in zip(dense.split(2048), labels.split(2048), strict=True):
                shape, b = self.shapes.canonical(chunk)
                back.append(b)
                expression.append(self.shapes.expression(self.shapes.coefficients(shape), some))
        self._back, self.expression = torch.cat(back), torch.cat(expression)
        labels_np, further = self.faces.labels, self.faces.further
        own = np.ones(len(labels_np), bool) if further is None else ~further
        self._own = np.flatnonzero(own)
        self.by_class = [np.flatnonzero((labels_np == c) & own) for c in range(self.num_classes)]
        # A handful of faces drawn over and over would teach the critic these people.
        self.common = [c for c in range(self.num_classes) if c not in self.borrowed]
        self._further = [np.flatnonzero((labels_np == c) & ~own) for c in self.borrowed]

    def _mirror(self, dense: Tensor) -> Tensor:
        out = dense[:, torch.from_numpy(DENSE_FLIP.copy())].clone()
        out[..., 0] = (self.size - 1) - out[..., 0]
        return out

    def load(self, rows: np.ndarray, flipped: np.ndarray) -> KnownFaces:
        """Rows ``(B,)`` int64 on the device, those with ``flipped`` ``(B,)`` bool mirrored."""
        images = torch.from_numpy(self.faces.images[rows]).permute(0, 3, 1, 2).float() / 127.5 - 1
        dense = torch.from_numpy(np.asarray(self.dense[rows], np.float32))
        flip = torch.from_numpy(flipped)
        images = torch.where(flip[:, None, None, None], images.flip(-1), images)
        dense = torch.where(flip[:, None, None], self._mirror(dense), dense)
        index = torch.from_numpy(rows + flipped * len(self.faces))
        classes = F.one_hot(torch.from_numpy(self.faces.labels[rows]), self.num_classes).float()
        images = images.to(self.device, memory_format=torch.channels_last)
        dense, expression = dense.to(self.device), self.shapes.taken_off(self.expression[index], classes)
        shown = expression.to(self.device), classes.to(self.device)
        return KnownFaces(
            images,
            dense,
            torch.from_numpy(self.faces.labels[rows]).to(self.device),
            self._back[index].to(self.device),
            *shown,
            self.on_device[1].imprint(images, dense, *shown),
        )

    def draw(self, n: int, uniform_share: float, rng: np.random.Generator) -> KnownFaces:
        """``n`` faces, a share of them drawn uniformly over classes and the rest as they occur; half are mirrored."""
        rows = self._own[rng.integers(len(self._own), size=n)]
        for i in np.flatnonzero(rng.random(n) < uniform_share):
            rows[i] = rng.choice(self.by_class[self.common[int(rng.integers(len(self.common)))]])
        return self.load(rows, rng.random(n) < 0.5)

    def draw_further(self, n: int, rng: np.random.Generator) -> KnownFaces | None:
        """Photographs of the borrowed classes for the critic, as many as it sees edits towards them among ``n``."""
        if not self._further:
            return None
        count = max(1, round(n * len(self._further) / self.num_classes))
        rows = np.array([rng.choice(self._further[int(rng.integers(len(self._further)))]) for _ in range(count)])
        return self.load(rows, rng.random(count) < 0.5)

    def as_seen(self, images: Tensor, y: Tensor) -> Tensor:
        """What the critic sees of faces ``(B, 3, S, S)`` asked for as ``y`` ``(B, C)``."""
        if not self.borrowed:
            return images.float()
        return as_seen(images, torch.isin(y.argmax(1).cpu(), torch.tensor(self.borrowed)))

    def turn(self, faces: KnownFaces, rng: np.random.Generator) -> Turned | None:
        """Half of the heads turned as another photograph's is, to the side they are turned to; None without poses."""
        if not len(self._yaws):
            return None
        rows = rng.random(len(faces.dense)) < _TURNED
        wanted = np.abs(rng.choice(self._yaws, size=len(rows))).astype(np.float32)
        _, angle = yaw_towards(faces.dense, torch.from_numpy(wanted), sides=False)
        angle = angle * torch.from_numpy(rows).to(angle)
        return Turned(turn_landmarks(self.on_device[0], faces.dense, angle, self.size), angle)

    def move(
        self,
        faces: KnownFaces,
        targets: np.ndarray,
        intensity: np.ndarray,
        rng: np.random.Generator,
        turned: Turned | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Faces with a donor's expression: landmarks, the field that they are shaded by, rows of the donors.

        ``turned``: the heads after :meth:`turn`; None: they keep their pose.
        """
        drawn, donors = self.shapes.draw_donors(targets, rng.integers(1 << 62, size=len(targets)))
        amount = torch.from_numpy(intensity.astype(np.float32)).to(self.device)[:, None]
        wanted = torch.from_numpy(drawn).to(self.device) * amount
        rows = torch.from_numpy(donors).to(self.device)
        shapes = self.on_device[0]
        posed, back = (faces.dense, faces.back) if turned is None else (turned.dense, shapes.canonical(turned.dense)[1])
        moved = shapes.displace(posed, back, wanted - faces.expression)
        moved = settle_mouth(moved, shapes.opening(wanted, mouth_gap(posed)))
        shown = F.one_hot(torch.from_numpy(targets).to(self.device), self.num_classes).float() * amount
        field = self.on_device[1].field(shapes.photographed(wanted, shown), shown) - faces.imprint
        return moved, field, rows

    def carry(
        self, images: Tensor, dense: Tensor, moved: Tensor, turned: Turned | None = None, *, back: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The flow from faces with landmarks ``dense`` to ``moved``, and the faces carried by it.

        ``turned``: how their heads turn on the way; ``back``: it is the way back, ``dense`` are the turned ones.
        """
        rows = None if turned is None else turned.angle != 0
        posed = self.unturned(dense, turned) if back or turned is None else turned.dense
        return carry(self.on_device[0], images, dense, posed, moved, rows)

    def unturned(self, dense: Tensor, turned: Turned | None) -> Tensor:
        """Landmarks of heads that were turned, turned back."""
        return dense if turned is None else turn_landmarks(self.on_device[0], dense, -turned.angle, self.size)

    def flow(self, dense: Tensor, moved: Tensor, turned: Turned | None) -> Tensor:
        """The flow of :meth:`carry` alone."""
        flow = shape_flow(dense, moved, self.size)
        rows = None if turned is None else turned.angle != 0
        if rows is not None and bool(rows.any()):
            some = turned_flow(self.on_device[0], dense[rows], moved[rows], self.size)
            flow = flow.index_put((rows,), some)
        return flow

    def dress(
        self, faces: KnownFaces, carried: Tensor, moved: Tensor, field: Tensor, donors: Tensor, turned: Turned | None
    ) -> Tensor:
        """First guesses of the edits that :meth:`move` began, of faces that :meth:`carry` has brought there."""
        posed = faces.dense if turned is None else turned.dense
        skin = skin_colour(faces.images, faces.dense)
        shapes, textures = self.on_device
        trust = landmark_trust(shapes, moved)
        return textures.guess(carried, skin, moved, field, donors, mouth_gap(posed), trust=trust)

    def side(self, dense: Tensor) -> Tensor:
        """Side images of dense landmarks, ``(B, S, size, size)``."""
        channels_last = torch.channels_last
        points = dense[:, torch.from_numpy(SPARSE_FROM_DENSE), :2]
        drawn = side_image(points, self.size, self.size, groups=True)
        return drawn.contiguous(memory_format=channels_last)
