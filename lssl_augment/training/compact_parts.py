"""One part of a `compact` step: real faces, their pseudo-sources and the edits asked for, before any network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.models.expression_textures import mouth_mask, skin_colour
from lssl_augment.models.warp import shape_flow, warp_image
from lssl_augment.training.compact_faces import CompactFaces, KnownFaces, Turned
from lssl_augment.training.pairs import expression_zone, gaussian_blur, pseudo_source

__all__ = ["Part", "pair_weight", "prepare_part"]


@dataclass
class Part:
    """What one part of a step is about, before any network has seen it.

    Args:
        real: photographs. targets: labels of the edits, ``(B,)`` int64. random: for what is still to be drawn.
        side_real, side_other, side_moved: side images of the photographs, their pseudo-sources and the edits.
        y_real, y_target: one-hot classes, ``(B, C)`` float. amount: intensity of the edits, ``(B, 1)``.
        source: pseudo-sources, ``(B, 3, S, S)`` in [-1, 1].
        flow_pair, guess_pair: warp to, and first guess of, the restored photographs. flow_edit, guess_edit: the same of
            the edits.
        moved, turned, change: landmarks of the edits, how their heads turned, and the change of coefficients and
            classes that leads to them.
        skin, mouths, donors: what first guesses of the photographs are made of. borrowed: further photographs for the
            critic, of classes that the pack lacks; None: there are none.
    """

    real: KnownFaces
    targets: Tensor
    random: torch.Generator
    side_real: Tensor
    side_other: Tensor
    side_moved: Tensor
    y_real: Tensor
    y_target: Tensor
    amount: Tensor
    source: Tensor
    flow_pair: Tensor
    flow_edit: Tensor
    guess_pair: Tensor
    guess_edit: Tensor
    moved: Tensor
    turned: Turned | None
    field: Tensor
    skin: Tensor
    mouths: Tensor
    donors: Tensor
    borrowed: KnownFaces | None


def prepare_part(source: CompactFaces, count: int, uniform_share: float, rng: np.random.Generator) -> Part:
    """Draw a part of a step and all that geometry and first guesses say of it.

    Args:
        source: of the faces. count: of this part. uniform_share: as of :meth:`~.compact_faces.CompactFaces.draw`.
        rng: all that is drawn for this part comes from it, also later.
    """
    torch_rng = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
    real = source.draw(count, uniform_share, rng)
    n = len(real.labels)
    labels = real.labels.cpu().numpy()
    # (a) pseudo-sources: another shape, another face's mouth, its shading taken off.
    turned = source.turn(real, rng)
    other, away, _ = source.move(
        real, rng.integers(source.num_classes, size=n), rng.uniform(0.3, 1.1, n), rng, turned
    )
    partner = torch.from_numpy(np.roll(np.arange(n), 1))
    lent = warp_image(real.images[partner], shape_flow(real.dense[partner], other, source.size), cubic=True)
    pseudo = pseudo_source(
        real.images, real.dense, other, lent, torch_rng, flow=source.flow(real.dense, other, turned)
    )
    # (b) edits of the real faces towards another class.
    targets = (labels + rng.integers(1, source.num_classes, size=n)) % source.num_classes
    intensity = rng.uniform(0.7, 1.0, n)
    turned_edit = source.turn(real, rng)
    moved, field, donors = source.move(real, targets, intensity, rng, turned_edit)
    borrowed = source.draw_further(count, rng)

    wanted = torch.from_numpy(targets).to(source.device)
    # The first guess for (a): the face's own mouth as components tell it, a little off. With another donor's the
    # network would learn that guesses are worth nothing and paint the mean of all mouths, grey teeth.
    skin, closed = skin_colour(real.images, real.dense), torch.zeros(n, device=source.device)
    textures = source.on_device[1]
    mouths = textures.mouths_of(real.images, real.dense)
    mouths = mouths * (1 + 0.15 * torch.randn(mouths.shape, generator=torch_rng).to(source.device))
    own_donors = torch.zeros(n, dtype=torch.int64, device=source.device)
    flow_pair, carried = source.carry(pseudo, other, real.dense, turned, back=True)
    flow_edit, carried_edit = source.carry(real.images, real.dense, moved, turned_edit)
    guess_pair = textures.guess(
        carried, skin, real.dense, torch.zeros_like(away), own_donors, closed, mouths=mouths
    )
    return Part(
        real=real,
        targets=wanted,
        random=torch_rng,
        side_real=source.side(real.dense),
        side_other=source.side(other),
        side_moved=source.side(moved),
        y_real=F.one_hot(real.labels, source.num_classes).float(),
        y_target=F.one_hot(wanted, source.num_classes).float(),
        amount=torch.from_numpy(intensity.astype(np.float32)).to(source.device)[:, None],
        source=pseudo.contiguous(memory_format=torch.channels_last),
        flow_pair=flow_pair,
        flow_edit=flow_edit,
        guess_pair=guess_pair,
        guess_edit=source.dress(real, carried_edit, moved, field, donors, turned_edit),
        moved=moved,
        turned=turned_edit,
        field=field,
        skin=skin,
        mouths=mouths,
        donors=own_donors,
        borrowed=borrowed,
    )


def pair_weight(part: Part) -> Tensor:
    """How much each pixel of a restored photograph counts, ``(B, 1, S, S)``.

    Where expressions show counts most; plain L1 is mostly the blur that a warp leaves in hair and background.
    """
    dense, size = part.real.dense, part.real.images.shape[-1]
    zone = expression_zone(dense, torch.ones(len(dense), 9, device=dense.device), size)
    zone = F.interpolate(zone, size=(size, size), mode="bilinear", align_corners=False)
    return 0.3 + 1.5 * zone + 5.0 * gaussian_blur(mouth_mask(dense, size), size / 50)
