"""A small residual classifier for 64×64 faces: quick enough for two CPU cores."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lssl_augment.models.layers import Shortcut

__all__ = ["FaceClassifier"]


class _Block(nn.Module):
    """Two 3×3 convolutions with batch norm around a shortcut (He et al. 2016)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = Shortcut(before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class FaceClassifier(nn.Module):
    """ResNet-18's plan at a narrower width: 64×64 faces → 32, 32, 16, 8, 4 pixels, two blocks a stage.

    Shape:
        - input: ``(B, 3, 64, 64)`` float in [-1, 1] (other sizes divisible by 16 work too)
        - output: logits, ``(B, num_classes)``
    """

    def __init__(self, num_classes: int, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        blocks: list[nn.Module] = []
        before = width
        for stage in range(4):
            after = width * 2**stage
            blocks += [_Block(before, after, 1 if stage == 0 else 2), _Block(after, after, 1)]
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.blocks(self.stem(images)).mean(dim=(2, 3))
        return self.head(features)
