"""Networks of IcGAN (Perarnau et al. 2016, "Invertible conditional GANs for image editing", arXiv 1611.06355): a
conditional DCGAN at 64×64, an encoder E_z to its code and an encoder E_y to the attributes.

The attribute vector joins the code before the generator's first layer, and the critic's features after its first
convolution, where the paper found it to work best. Encoders: four 5×5 stride-2 convolutions, 32 to 256 channels, a
hidden layer of 4096 (E_z) or 512 (E_y), batch norm and ReLU.

Deviations: faces of another size are resized to 64×64 and results back to it (bilinear); the target vector is given
whole, so E_y counts only where intensity is below 1 and no class is called neutral: the rest of the vector is then
what E_y reads in the source."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lssl_augment.errors import DataError
from lssl_augment.models.baselines.face_only import FaceOnlyGenerator
from lssl_augment.models.layers import replicate

__all__ = ["SIZE_PX", "IcGanCritic", "IcGanGenerator", "IcLatent", "at_size"]

#: The published size.
SIZE_PX = 64


class IcLatent(NamedTuple):
    """What the encoders made of B faces."""

    #: E_z(x), ``(B, code)``.
    code: Tensor
    #: E_y(x) in [0, 1], ``(B, A)``, each row of sum 1.
    own: Tensor


def at_size(images: Tensor, size_px: int) -> Tensor:
    """Faces ``(B, 3, H, W)`` resized, bilinear with antialiasing; as they are where they have the size."""
    if images.shape[-1] == size_px:
        return images
    return F.interpolate(images, size=(size_px, size_px), mode="bilinear", align_corners=False, antialias=True)


class IcGanGenerator(FaceOnlyGenerator):
    """Generator of codes and attributes, with the two encoders that invert it.

    Args:
        num_attributes: classes.
        width: channels before the last layer of the generator. code: length of z.
        encoder_width: channels of the encoders' first convolution.
        output_px: size of results; None: 64.
        hub: class of a face at rest.
    """

    def __init__(
        self,
        num_attributes: int,
        *,
        width: int = 64,
        code: int = 100,
        encoder_width: int = 32,
        output_px: int | None = None,
        hub: int | None = None,
    ) -> None:
        super().__init__(num_attributes, hub)
        output_px = SIZE_PX if output_px is None else output_px
        if min(width, code, encoder_width, output_px) < 1:
            raise DataError(
                "width, code, encoder_width and output_px must be at least 1; got "
                f"{width}, {code}, {encoder_width} and {output_px}"
            )
        self.code = code
        self.output_px = output_px
        self.decoder = nn.Sequential(
            *_up(code + num_attributes, 8 * width, stride=1, padding=0),
            *_up(8 * width, 4 * width),
            *_up(4 * width, 2 * width),
            *_up(2 * width, width),
            nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        self.encoder_z = _encoder(encoder_width, 128 * encoder_width, code)
        self.encoder_y = _encoder(encoder_width, 16 * encoder_width, num_attributes)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> IcLatent:
        """E_z and E_y of the faces; labels are not used."""
        self.check_images(images, 1)
        small = at_size(images, SIZE_PX)
        own = self.encoder_y(small).clamp_min(0)
        # Nothing above zero: equally likely.
        own = torch.where(own.sum(1, keepdim=True) > 0, own, torch.ones_like(own))
        return IcLatent(self.encoder_z(small), own / own.sum(1, keepdim=True))

    def decode(self, latent: IcLatent, attributes: Tensor) -> Tensor:
        """Faces ``(B, 3, output_px, output_px)`` of attribute vectors ``(B, A)``."""
        y = self.full_attributes(attributes)
        y = y + (1 - y.sum(1, keepdim=True)).clamp_min(0) * latent.own.to(y.dtype)
        return at_size(self.draw(latent.code, y), self.output_px)

    def draw(self, code: Tensor, attributes: Tensor) -> Tensor:
        """The conditional GAN's generator: ``(B, code)`` and ``(B, A)`` → faces ``(B, 3, 64, 64)``."""
        faces: Tensor = self.decoder(torch.cat([code, attributes.to(code.dtype)], dim=1)[:, :, None, None])
        return faces


class IcGanCritic(nn.Module):
    """DCGAN's critic of faces ``(B, 3, 64, 64)`` that also sees their attributes; one logit a face.

    Args:
        num_attributes: classes. width: channels of the first convolution.
    """

    def __init__(self, num_attributes: int, *, width: int = 64) -> None:
        super().__init__()
        if min(num_attributes, width) < 1:
            raise DataError(f"num_attributes and width must be at least 1; got {num_attributes} and {width}")
        self.first = nn.Sequential(nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2))
        self.rest = nn.Sequential(
            *_down(width + num_attributes, 2 * width),
            *_down(2 * width, 4 * width),
            *_down(4 * width, 8 * width),
            nn.Conv2d(8 * width, 1, 4),
        )

    def forward(self, images: Tensor, attributes: Tensor) -> Tensor:
        """Logits ``(B,)`` of being real faces of these attributes ``(B, A)``."""
        logits: Tensor = self.rest(replicate(attributes, self.first(images)))
        return logits.flatten()


def _up(inputs: int, outputs: int, stride: int = 2, padding: int = 1) -> tuple[nn.Module, ...]:
    conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=stride, padding=padding, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU()


def _down(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)


def _encoder(width: int, hidden: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for i in range(4):
        channels = width * 2**i
        conv = nn.Conv2d(inputs, channels, 5, stride=2, padding=2, bias=False)
        layers += [conv, nn.BatchNorm2d(channels), nn.ReLU()]
        inputs = channels
    side = SIZE_PX // 16
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(inputs * side * side, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )
