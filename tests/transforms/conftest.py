"""A small real engine, so that the transform is tested without released weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from lssl_augment.attributes import Vocabulary

MAKES = Vocabulary(("happiness", "neutral", "anger", "surprise"))


@dataclass(frozen=True)
class Encoded:
    images: Tensor
    middle: Tensor

    def select(self, rows: Tensor) -> Encoded:
        return replace(self, images=self.images[rows], middle=self.middle[rows])


class SmallEngine(nn.Module):
    """Paints a bar whose colour says the target, whose height says the intensity and whose x says the
    landmarks.
    """

    def __init__(self, face_size_px: int = 32) -> None:
        super().__init__()
        self.vocabulary = MAKES
        self.face_size_px = face_size_px
        self.colours = nn.Parameter(torch.linspace(-1, 1, 3 * len(MAKES)).reshape(len(MAKES), 3))
        self.dropout = nn.Dropout(0.5)
        self.faces_seen = 0
        self.source_labels: list[int] = []

    def encode(self, images: Tensor, dense: Tensor | None = None, labels: Tensor | None = None) -> Encoded:
        assert images.shape[1:] == (3, self.face_size_px, self.face_size_px)
        assert images.dtype == torch.float32
        self.faces_seen += len(images)
        self.source_labels += [] if labels is None else labels.tolist()
        middle = (
            torch.full((len(images),), self.face_size_px / 2) if dense is None else dense[:, :, 0].mean(1)
        )
        return Encoded(images, middle)

    def edit(
        self,
        faces: Encoded,
        targets: Tensor,
        intensity: Tensor,
        seeds: Tensor,
        *,
        yaw_deg: Tensor | None = None,
    ) -> Tensor:
        assert not torch.is_grad_enabled()
        out = faces.images.clone()
        colour = self.dropout(self.colours[targets]) * 0.9
        shade = (seeds % 1000).float() / 5000
        for row in range(len(out)):
            x = int(faces.middle[row].round().clamp(1, self.face_size_px - 2))
            top = self.face_size_px - max(1, round(float(intensity[row]) * self.face_size_px / 2))
            out[row, :, top:, x - 1 : x + 1] = (colour[row] - shade[row])[:, None, None]
            if yaw_deg is not None and not bool(yaw_deg[row].isnan()):  # a second bar, of the pose
                out[row, :, :2, int(16 + yaw_deg[row] / 6)] = 1.0
        return out


@pytest.fixture
def engine() -> SmallEngine:
    return SmallEngine()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Sixteen uint8 faces of the engine's size and labels in its own order."""
    own = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (16, 3, 32, 32), generator=own, dtype=torch.uint8)
    return images, torch.arange(16) % len(MAKES)
