from __future__ import annotations

import pytest
import torch

from lssl_augment.errors import DataError
from lssl_augment.models.paper_generator import PaperGenerator


def small(seed: int = 0, **numbers: int) -> PaperGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PaperGenerator(3, **{"width": 4, "blocks": 1, **numbers})


def pair(batch: int = 2, size_px: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    images = torch.rand(batch, 3, size_px, size_px, generator=random) * 2 - 1
    return images, torch.rand(batch, 1, size_px, size_px, generator=random)


def test_the_defaults_are_the_papers_numbers() -> None:
    with torch.device("meta"):
        generator = PaperGenerator(7)
        latent = generator.encode(torch.zeros(1, 3, 128, 128), torch.zeros(1, 1, 128, 128))
        image, side = generator.decode(latent, torch.zeros(1, 7))
    assert latent.shape == (1, 1024, 8, 8)  # h/16 × w/16, width 64 doubled four times
    assert image.shape == (1, 3, 128, 128)
    assert side.shape == (1, 1, 128, 128)
    convs = [m for m in generator.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(c.kernel_size[0], c.stride[0], c.out_channels) for c in convs[:5]] == [
        (7, 1, 64),
        (4, 2, 128),
        (4, 2, 256),
        (4, 2, 512),
        (4, 2, 1024),
    ]
    assert len(convs) == 5 + 2 * 6
    assert generator.image_head.kernel_size == generator.side_head.kernel_size == (7, 7)
    assert sum(isinstance(m, torch.nn.PixelShuffle) for m in generator.decoder.modules()) == 4


def test_ranges_and_one_encoding_for_all_targets() -> None:
    generator = small()
    images, sides = pair(1)
    latent = generator.encode(images, sides)
    every = torch.eye(3)
    image, side = generator.decode(latent.expand(3, -1, -1, -1), every)
    assert float(image.detach().abs().max()) <= 1
    assert float(side.detach().min()) >= 0
    assert float(side.detach().max()) <= 1
    for row in range(3):
        alone = generator(images, sides, every[row : row + 1])[0][0]
        torch.testing.assert_close(image[row], alone, atol=1e-5, rtol=0)


def test_every_input_and_every_weight_matters() -> None:
    generator = small()
    images, sides = pair()
    attributes = torch.eye(3)[:2].clone()
    inputs = [t.requires_grad_() for t in (images, sides, attributes)]
    image, side = generator(*inputs)
    # The square of a head's output, because the sum over a normalised map would have no gradient.
    (image.square().sum() + side.square().sum()).backward()
    for tensor in inputs:
        assert tensor.grad is not None
        assert bool(tensor.grad.abs().sum() > 0)
    without = [
        n for n, p in generator.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)
    ]
    # What instance norm subtracts again: the bias of the convolution before it.
    assert all(name.startswith("decoder") and name.endswith("0.bias") for name in without), without


@pytest.mark.parametrize("numbers", [{"width": 0}, {"downs": 0}, {"blocks": -1}, {"side_channels": -1}])
def test_bad_numbers(numbers: dict[str, int]) -> None:
    with pytest.raises(DataError, match="at least"):
        PaperGenerator(3, **numbers)


def test_bad_shapes() -> None:
    generator = small()
    images, sides = pair()
    with pytest.raises(DataError, match="multiples of 16"):
        generator.encode(images[..., :20], sides[..., :20])
    with pytest.raises(DataError, match="sides must have shape"):
        generator.encode(images, sides[:1])
    with pytest.raises(DataError, match="attributes must have shape"):
        generator.decode(generator.encode(images, sides), torch.zeros(2, 4))
