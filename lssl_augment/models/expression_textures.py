"""What an expression does to the look of a face beyond its shape: shading of the skin, inside of the mouth.

Shading is an expression ratio image (Liu, Shan and Zhang 2001) in the shape of the mean face with an open mouth, here
a linear function of the shape model's expression coefficients and of the class. Mouth interiors are principal
components of open mouths, as strips from lip to lip (:mod:`.mouth_strip`), relative to the light that the skin around
tells of; each donor brings coefficients. Together they turn the warped source into the generator's first guess, which
the generator then only has to correct.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.faces.expression_shapes import mouth_gap
from lssl_augment.faces.landmarks import INNER_LIPS
from lssl_augment.models.mouth_strip import draw_strips, strip_of
from lssl_augment.models.warp import shape_flow, warp_image

__all__ = ["ExpressionTextures", "mouth_mask", "polygon_mask", "skin_colour"]

#: Cheeks and chin, whose colour stands for the skin's.
_SKIN = [50, 280, 205, 425, 117, 346, 187, 411, 199, 202, 422]


#: Opening over width from which the inside of a donor's mouth has been seen, and not a stretched seam.
_OPEN_DONOR = 0.12
#: Largest change of log luminance, and what the fitted change is multiplied by: faces that do not lie quite on
#: each other average folds away.
_MOST_LIGHT, _MOST_SHADE, _SHADING_GAIN = 0.25, 0.7, 1.3
#: What a photograph shows of its own expression is told from neighbourhoods with this standard deviation, as a part of
#: the frame's side, in log luminance that is smoothed over so much of it; nothing changes where the expression should
#: show less than about this in log luminance; and no more is taken off than so many times what it should show.
_NEAR, _FINE, _SURELY, _MOST_SHOWN = 5 / 128, 1 / 128, 0.1, 1.3
#: Added to luminance before its logarithm is taken: black is noise.
_BLACK = 0.08
#: Slope of the logarithm of a mouth's inside over that of the skin (1,000 smiles: 0.56 of teeth, 0.94 of the dark).
_SKIN_POWER = 0.6
#: Difference of the skin's strongest and weakest channel over their mean, above which a photograph has all its colour
#: (of 1,250 photographs one in fifty has less).
_COLOURFUL = 0.2
#: Blue over red of the inside of a mouth: at most so much, and at most so many times that of the skin around.
_BLUEST, _TEETH_OVER_SKIN = 0.92, 1.5


def polygon_mask(dense: Tensor, ring: list[int], size_px: int, border_px: int = 0) -> Tensor:
    """Inside of a ring of landmarks, ``(B, 1, size_px, size_px)``, 0 or 1.

    Args:
        dense: ``(B, 478, 2 or 3)`` px. ring: their indices, in order around it. border_px: width of a line drawn along
            it, half of which lies outside.
    """
    out = np.zeros((len(dense), size_px, size_px), np.float32)
    points = dense[:, ring, :2].detach().cpu().numpy()
    for mask, outline in zip(out, points, strict=True):
        fixed = [np.round(outline * 16).astype(np.int32)]
        cv2.fillPoly(mask, fixed, 1.0, shift=4)
        if border_px:
            cv2.polylines(mask, fixed, True, 1.0, border_px, shift=4)
    return torch.from_numpy(out)[:, None].to(dense.device)


def mouth_mask(dense: Tensor, size_px: int) -> Tensor:
    """Inside of the lips, ``(B, 1, size_px, size_px)`` in [0, 1], edges softened over about a pixel."""
    return F.avg_pool2d(polygon_mask(dense, INNER_LIPS, size_px), 3, 1, 1)


def skin_colour(images: Tensor, dense: Tensor) -> Tensor:
    """Mean colour of cheeks and chin, ``(B, 3, 1, 1)`` in [0, 1], of faces in [-1, 1]."""
    size = images.shape[-1]
    grid = (dense[:, _SKIN, :2] + 0.5).mul(2.0 / size).sub(1.0)[:, :, None]
    smooth = F.avg_pool2d(images.float(), 5, 1, 2)
    samples = F.grid_sample(smooth, grid, padding_mode="border", align_corners=False)
    return (samples.mean(2, keepdim=True) + 1) / 2


def log_luminance(images: Tensor, dense: Tensor, frame: Tensor, side_px: int) -> Tensor:
    """Log luminance of faces in the shape of the frame, ``(B, side_px, side_px)``.

    Args:
        images: ``(B, 3, S, S)`` in [-1, 1]. dense: ``(B, 478, 3)`` px. frame: ``(478, 3)`` px of the same faces.
    """
    flow = shape_flow(dense, frame.expand(len(dense), -1, -1), images.shape[-1])
    grey = (warp_image(images.float(), flow).mean(1, keepdim=True) + 1) / 2
    return torch.log(F.interpolate(grey, size=(side_px, side_px), mode="area") + _BLACK)[:, 0]


def light_terms(side_px: int, device: str | torch.device = "cpu") -> Tensor:
    """The quadratic terms of a place in the frame, ``(6, side_px²)`` float64: what smooth lighting is made of."""
    axis = torch.linspace(-1, 1, side_px, device=device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y]).flatten(1).double()


def smooth_light(log: Tensor, weight: Tensor) -> Tensor:
    """The part of log luminance ``(B, h, h)`` that light from one side explains, the same shape: a quadratic in the
    place, fitted where ``weight`` ``(h, h)`` says.
    """
    terms = light_terms(log.shape[-1], log.device)
    weighted = terms * weight.flatten().double()
    fit = torch.linalg.solve(weighted @ terms.T, weighted @ log.flatten(1).double().T)
    return (fit.T @ terms).view_as(log).to(log.dtype)


def mouth_light(skin: Tensor) -> Tensor:
    """What the inside of a mouth is measured by: the colour of the skin to the power :data:`_SKIN_POWER`.

    Skin is dark in weak light or of itself, and teeth know only of the light. Measured by the skin alone, teeth would
    come out grey in dark faces.
    """
    return skin.clamp_min(0.05) ** _SKIN_POWER


def flatten_mouths(images: Tensor, dense: Tensor, size: tuple[int, int]) -> Tensor:
    """Insides of mouths as strips of ``size`` rows and columns over :func:`mouth_light`, ``(B, 3·rows·columns)``."""
    inside = (strip_of(images, dense, size) + 1) / 2
    return (inside / mouth_light(skin_colour(images, dense))).clamp(0, 2.5).flatten(1)


@dataclass
class ExpressionTextures:
    """Fitted texture statistics, float32 tensors; sizes in pixels of the face they were fitted at.

    Attributes:
        frame: the open-mouthed mean face, ``(478, 3)``.
        shading: log-luminance change per expression coefficient, then per class, ``(K + C, h, h)``, zero outside
            the face.
        rest: what faces at rest show of it on average, freed of :func:`smooth_light`, ``(h, h)``, zero outside the
            face.
        mouth_mean, mouth_basis: interior over :func:`mouth_light`, ``(3·mh·mw,)`` and ``(M, 3·mh·mw)``.
        mouth_size: rows mh and columns mw of the strips that interiors are, ``(2,)`` int64.
        donor_mouths: coefficients of each donor's mouth, ``(D, M)``; donor_open: how open it is, ``(D,)``.
        shading_strength: how many times as strong as fitted edits to each class are shaded, ``(C,)``; None: as fitted.
    """

    frame: Tensor
    shading: Tensor
    rest: Tensor
    mouth_mean: Tensor
    mouth_basis: Tensor
    mouth_size: Tensor
    donor_mouths: Tensor
    donor_open: Tensor
    shading_strength: Tensor | None = None

    def to(self, device: str | torch.device) -> ExpressionTextures:
        """A copy on a device."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return type(self)(**{name: value.to(device) for name, value in held.items() if value is not None})

    def field(self, expression: Tensor, classes: Tensor) -> Tensor:
        """What an expression does to the light of a face, ``(B, h, h)`` in log luminance, in the shape of the frame.

        Args:
            expression: coefficients, ``(B, K)``. classes: how much of each class it is, ``(B, C)``; what is asked for
                is as strong as :attr:`shading_strength` says.
        """
        weights = torch.cat([expression, classes], dim=1)
        if self.shading_strength is not None:
            weights = weights * (1 + classes @ (self.shading_strength - 1))[:, None]
        return self._field(weights)

    def _field(self, weights: Tensor) -> Tensor:
        return torch.einsum("bk,khw->bhw", weights, self.shading) * _SHADING_GAIN

    def imprint(self, images: Tensor, dense: Tensor, expression: Tensor, classes: Tensor) -> Tensor:
        """What the own expression of faces does to their light, as far as the photographs show it, ``(B, h, h)``.

        A smile should draw folds, but not every face has them: taken off unseen they would leave bright strips. So the
        field of the expression is compared with the photograph, place by place: what it differs by from faces at
        rest, regressed on the field over a neighbourhood, says how much of it is there.

        Args:
            images: ``(B, 3, H, W)`` in [-1, 1]. dense: ``(B, 478, 3)`` px.
            expression, classes: what the faces show, ``(B, K)`` and ``(B, C)``.
        """
        side = self.rest.shape[-1]
        field = self._field(torch.cat([expression, classes], dim=1))
        log = log_luminance(images, dense, self.frame, side)
        seen = blurred(log - smooth_light(log, (self.rest != 0).float()) - self.rest, _FINE * side)
        both = blurred(torch.cat([seen * field, field * field]), _NEAR * side)
        common, own = both.chunk(2)
        # Where the field is too weak to tell it is taken at its word.
        return field * ((common + _SURELY**2) / (own + _SURELY**2)).clamp(0, _MOST_SHOWN)

    def mouths_of(self, images: Tensor, dense: Tensor) -> Tensor:
        """Coefficients ``(B, M)`` of the mouth interiors of faces ``(B, 3, H, W)`` with landmarks ``(B, 478, 3)``."""
        rows, columns = self.mouth_size.tolist()
        return (flatten_mouths(images, dense, (rows, columns)) - self.mouth_mean) @ self.mouth_basis.T

    def guess(
        self,
        warped: Tensor,
        skin: Tensor,
        dense: Tensor,
        field: Tensor,
        donors: Tensor,
        own_gap: Tensor,
        *,
        mouths: Tensor | None = None,
        trust: Tensor | None = None,
    ) -> Tensor:
        """Dress warped faces for their expression.

        Args:
            warped: faces in the target's shape, ``(B, 3, H, W)`` in [-1, 1].
            skin: colour of their skin, from :func:`skin_colour` of the source.
            dense: target shape, ``(B, 478, 3)``.
            field: log luminance that is added, ``(B, h, h)``: :meth:`field` of what is asked for less :meth:`imprint`.
            donors: rows of the donors whose mouths are used, ``(B,)``.
            own_gap: :func:`mouth_gap` of the source; a mouth that was open enough keeps its own inside.
            mouths: mouth coefficients ``(B, M)`` instead of the donors'.
            trust: how much landmarks count for where shading lies, ``(B, K)``, from
                :func:`~lssl_augment.models.head_turn.landmark_trust`; None: fully. Those that a turned head hides would
                fold the field beside its nose.

        Returns:
            ``(B, 3, H, W)`` in [-1, 1].
        """
        size, count = warped.shape[-1], len(warped)
        flow = shape_flow(self.frame.expand(count, -1, -1), dense, size, trust=trust)
        field = field[:, None]
        field = torch.where(
            field > 0, _MOST_LIGHT * torch.tanh(field / _MOST_LIGHT), _MOST_SHADE * torch.tanh(field / _MOST_SHADE)
        )
        field = F.interpolate(field, size=(size, size), mode="bilinear", align_corners=False)
        ratio = torch.exp(warp_image(field, flow))
        plain = (warped.float() + 1) / 2
        # Shade keeps the colour's saturation; light is white, or bright skin would glow orange.
        shaded = plain * ratio.clamp(max=1) + plain.mean(1, keepdim=True) * (ratio - 1).clamp(min=0)
        shaded = _skin_under_highlights(plain, shaded, skin)

        coefficients = self.donor_mouths[donors] if mouths is None else mouths
        strips = (self.mouth_mean + coefficients @ self.mouth_basis).view(count, 3, *self.mouth_size.tolist())
        inside = _plausible(draw_strips(strips, dense, size) * mouth_light(skin), skin)
        gap = mouth_gap(dense)
        need = ((gap - own_gap) / gap.clamp_min(0.05)).mul(2.0).clamp(0, 1)
        if mouths is None:
            need = need * (self.donor_open[donors] > _OPEN_DONOR).float()
        mask = mouth_mask(dense, size) * need[:, None, None, None]
        dressed = shaded + mask * (inside - shaded)
        return (dressed.clamp(0, 1) * 2 - 1).contiguous(memory_format=torch.channels_last)


def blurred(values: Tensor, sigma_px: float) -> Tensor:
    """Fields ``(B, h, h)`` smoothed by a Gaussian; beyond their edges they go on as at the edge."""
    reach = max(1, round(3 * sigma_px))
    at = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (at / sigma_px) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    padded = F.pad(values[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[..., None, :]), kernel[..., None])[:, 0]


def _skin_under_highlights(plain: Tensor, shaded: Tensor, skin: Tensor) -> Tensor:
    """Give shaded highlights the skin's colour; what was white from a flash would turn into grey patches.

    A pixel brighter than the skin is skin with white light on it. Where shade takes some of that light away, as much
    of the skin's colour comes back. All in [0, 1], ``(B, 3, H, W)`` and the skin ``(B, 3, 1, 1)``.
    """
    level = skin.mean(1, keepdim=True).clamp(0.05, 0.95)
    before, after = (((x.mean(1, keepdim=True) - level) / (1 - level)).clamp(0, 1) for x in (plain, shaded))
    hue = skin / level - 1
    return shaded + (before - after).clamp_min(0) * shaded.mean(1, keepdim=True) * hue


def _plausible(inside: Tensor, skin: Tensor) -> Tensor:
    """Mouth colours ``(B, 3, H, W)`` in [0, 1], kept dull, and warm whatever the components say.

    Teeth are a little yellower than grey in white light, and yellower still where the light is: grey teeth in a face
    that is lit warmly look blue. The skin ``(B, 3, 1, 1)`` tells of the light.
    """
    grey = inside.mean(1, keepdim=True)
    red, green, blue = (grey + 0.75 * (inside - grey)).clamp(0.02, 0.9).split(1, dim=1)
    tint = (_TEETH_OVER_SKIN * skin[:, 2:] / skin[:, :1].clamp_min(0.05)).clamp(0.6, _BLUEST)
    green = torch.minimum(green, red)
    # Tongue and gums are pink at most, not purple.
    blue = torch.minimum(torch.minimum(blue, tint * red), green)
    warm = torch.cat([red, green, blue], dim=1)
    # A grey photograph has a grey mouth.
    chroma = (skin.amax(1, keepdim=True) - skin.amin(1, keepdim=True)) / skin.mean(1, keepdim=True).clamp_min(0.05)
    return grey.clamp(0.02, 0.9).lerp(warm, (chroma / _COLOURFUL).clamp(0, 1))
