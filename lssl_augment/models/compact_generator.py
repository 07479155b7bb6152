"""The `compact` generator: LSSL's encoder and sub-pixel decoder, narrow, with the geometry given.

Deviations from the paper, each for a reason measured in trials:

- The target's shape comes from a donor as landmarks, not from the attribute vector alone. The decoder gets both
  ends of the paper's side image: the source's through the encoder, the target's directly.
- Encoder features and the source face are carried to the target's shape by a dense flow, so that nothing has to
  squeeze through the bottleneck; the result is the warped source plus a predicted change. (A mask that blends new
  pixels over the warped source shuts in the first steps, when new pixels are poor, and does not open again.)
- The attribute vector modulates every decoder norm (FiLM, Perez et al. 2018). Concatenated before an instance
  norm, as in the paper, a spatially constant map is subtracted again and the condition is nearly lost.
- Group norm instead of instance norm: skin tone and light are constant maps too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lssl_augment.models.warp import warp_image

__all__ = ["CompactGenerator", "CompactOutput", "Latent"]


class Latent(NamedTuple):
    """E(x, s): the face and its features at 1/2, 1/4 and 1/8 of its size."""

    face: Tensor
    fine: Tensor
    middle: Tensor
    coarse: Tensor


class CompactOutput(NamedTuple):
    """What the decoder makes."""

    #: x', ``(B, 3, H, W)`` in [-1, 1].
    image: Tensor
    #: s', the side image of the result, ``(B, S, H, W)`` in [0, 1].
    side: Tensor
    #: the source carried to the target's shape (and dressed, where a guess was given), ``(B, 3, H, W)``.
    warped: Tensor


class _Conv(nn.Sequential):
    """Convolution and leaky ReLU; norms only where maps are small, since they cost memory traffic, not arithmetic."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2)
        super().__init__(conv, nn.LeakyReLU(0.1, inplace=True))


class _FilmBlock(nn.Module):
    """Residual block whose norms are scaled and shifted by the condition."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        groups = max(1, channels // 16)
        self.norm1 = nn.GroupNorm(groups, channels)
        self.norm2 = nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(condition, 4 * channels)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale1, shift1, scale2, shift2 = self.film(condition)[:, :, None, None].to(x.dtype).chunk(4, dim=1)
        h = self.conv1(F.leaky_relu(torch.addcmul(shift1, self.norm1(x), 1 + scale1), 0.1, inplace=True))
        return x + self.conv2(F.leaky_relu(torch.addcmul(shift2, self.norm2(h), 1 + scale2), 0.1, inplace=True))


class _Film(nn.Module):
    """Group norm scaled and shifted by the condition, then leaky ReLU."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(max(1, channels // 16), channels)
        self.film = nn.Linear(condition, 2 * channels)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition)[:, :, None, None].to(x.dtype).chunk(2, dim=1)
        return F.leaky_relu(torch.addcmul(shift, self.norm(x), 1 + scale), 0.1, inplace=True)


class _Up(nn.Sequential):
    """Twice the size by sub-pixel convolution (Shi et al. 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2), nn.LeakyReLU(0.1, inplace=True)
        )


class CompactGenerator(nn.Module):
    """Encoder and decoder; see the module's text.

    Args:
        num_attributes: length A of the attribute vector.
        width: channels at half the face size; doubled at each of the two further levels.
        blocks: residual blocks at the coarsest level of the decoder.
        side_channels: channels of the side image.
    """

    #: Faces must be a multiple of this many pixels.
    reduction = 8
    #: The decoder needs a target shape (flow and side image).
    uses_geometry = True

    def __init__(self, num_attributes: int, *, width: int = 32, blocks: int = 3, side_channels: int = 5) -> None:
        super().__init__()
        w1, w2, w3 = width, 2 * width, 4 * width
        condition = 64
        self.num_attributes = num_attributes
        self.side_channels = side_channels
        self.enc_fine = _Conv(4 * (3 + side_channels), w1)
        self.enc_middle = _Conv(w1, w2, 4, 2)
        self.enc_coarse = _Conv(w2, w3, 4, 2)
        self.enc_body = nn.ModuleList(_FilmBlock(w3, condition) for _ in range(2))
        self.enc_condition = nn.Parameter(torch.zeros(1, condition))

        self.embed = nn.Sequential(
            nn.Linear(num_attributes, condition), nn.SiLU(), nn.Linear(condition, condition)
        )
        # What the target looks like: its side image, the warped source, how far each place moves.
        self.tgt_fine = _Conv(4 * (side_channels + 3) + 2, w1)
        self.tgt_middle = _Conv(w1, w1, 4, 2)
        self.tgt_coarse = _Conv(w1, w2, 4, 2)
        self.mix_coarse = nn.Conv2d(w3 + w2, w3, 3, padding=1)
        self.body = nn.ModuleList(_FilmBlock(w3, condition) for _ in range(blocks))
        self.up_middle = _Up(w3, w2)
        self.mix_middle = nn.Conv2d(2 * w2 + w1, w2, 3, padding=1)
        self.body_middle = _FilmBlock(w2, condition)
        self.up_fine = _Up(w2, w1)
        self.mix_fine = nn.Conv2d(3 * w1, w1, 3, padding=1)
        self.film_fine = _Film(w1, condition)
        self.last = _Conv(w1, w1)
        # Both heads at half size, brought to full size by pixel shuffle: no convolution runs at full size.
        self.heads = nn.Conv2d(w1, 4 * (3 + side_channels), 3, padding=1)
        # The first result is the warped source itself.
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)

    def encode(self, x: Tensor, s: Tensor) -> Latent:
        """Pair (face ``(B, 3, H, W)`` in [-1, 1], side image ``(B, S, H, W)`` in [0, 1]) → latent."""
        fine = self.enc_fine(F.pixel_unshuffle(torch.cat([x, s.to(x.dtype)], dim=1), 2))
        middle = self.enc_middle(fine)
        coarse = self.enc_coarse(middle)
        condition = self.enc_condition.expand(len(x), -1)
        for block in self.enc_body:
            coarse = block(coarse, condition)
        return Latent(x, fine, middle, coarse)

    def decode(
        self, latent: Latent, y: Tensor, side: Tensor, flow: Tensor, guess: Tensor | None = None
    ) -> CompactOutput:
        """Latent, attribute vector, target shape → the target face.

        Args:
            latent: from :meth:`encode`.
            y: attribute vector, ``(B, A)``; a one-hot row times the intensity.
            side: side image of the target shape, ``(B, S, H, W)``.
            flow: where each place of the target lies in the source, ``(B, 2, h, w)`` in pixels of the face.
            guess: the warped source already dressed for the expression, ``(B, 3, H, W)``; None: as warped.
        """
        size = latent.face.shape[-1]
        warped = warp_image(latent.face, flow, cubic=True).clamp(-1, 1) if guess is None else guess
        half = F.interpolate(flow, size=(size // 2, size // 2), mode="bilinear", align_corners=False)
        condition = self.embed(y)
        shape = F.pixel_unshuffle(torch.cat([side.to(warped.dtype), warped], dim=1), 2)
        t1 = self.tgt_fine(torch.cat([shape, (half * (8.0 / size)).to(shape.dtype)], dim=1))
        t2 = self.tgt_middle(t1)
        t3 = self.tgt_coarse(t2)

        h = self.mix_coarse(torch.cat([_carry(latent.coarse, half, size), t3], dim=1))
        for block in self.body:
            h = block(h, condition)
        h = self.up_middle(h)
        h = self.mix_middle(torch.cat([h, _carry(latent.middle, half, size), t2], dim=1))
        h = self.body_middle(h, condition)
        h = self.up_fine(h)
        h = self.mix_fine(torch.cat([h, _carry(latent.fine, half, size), t1], dim=1))
        h = self.last(self.film_fine(h, condition))
        out = F.pixel_shuffle(self.heads(h), 2).float()
        # Adam moves all weights of the head alike; the small factor keeps its steps far below the edits to learn.
        change, drawn = 2 * (0.1 * out[:, :3]).tanh(), out[:, 3:].sigmoid()
        # Light, not hue: a critic that sees few faces is pleased by green teeth, a person is not.
        return CompactOutput(warped.float() + _smooth(change.mean(1, keepdim=True)), drawn, warped)


def _smooth(change: Tensor) -> Tensor:
    """A binomial filter of 5×5, ``(B, 1, H, W)``.

    Each pixel of a pixel shuffle comes from weights of its own, and a network that wants detail draws it with their
    differences: rows of dots along lips (Odena et al. 2016). The filter takes what alternates from pixel to pixel, and
    three quarters of what alternates between pairs of pixels, which look like stitches.
    """
    # Four means of 2×2 are the filter; unlike a convolution they stay float32 under autocast.
    change = F.pad(change, [2, 2, 2, 2], mode="replicate")
    for _ in range(4):
        change = F.avg_pool2d(change, 2, 1)
    return change


def _carry(features: Tensor, flow: Tensor, face_px: int) -> Tensor:
    scale = features.shape[-1] / face_px
    small = flow if scale == 0.5 else F.interpolate(flow, size=features.shape[-2:], mode="area")
    return warp_image(features, small * scale)
