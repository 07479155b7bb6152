"""Memories of generated faces that critics are shown again, so that they do not forget earlier mistakes.

Faces are kept as half precision, which halves the checkpoints and is finer than the 256 levels of a photograph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["History", "Pool"]


class _Memory:
    """At most ``size`` faces ``(n, 3, H, W)`` float16 on the CPU."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.faces = torch.empty(0)

    def state_dict(self) -> dict[str, Any]:
        """What is remembered."""
        return {"faces": self.faces}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.faces = state["faces"]

    def _add(self, faces: Tensor) -> None:
        self.faces = torch.cat([self.faces, faces]) if len(self.faces) else faces.clone()


class Pool(_Memory):
    """CycleGAN's (Shrivastava's idea, image by image): one in two faces is exchanged for an older one."""

    def exchange(self, faces: Tensor, random: torch.Generator) -> Tensor:
        """Faces for the critic, ``(B, 3, H, W)``: new ones until the pool is full."""
        out = faces.detach().clone()
        for row, face in enumerate(faces.detach().to("cpu", torch.float16)):
            if len(self.faces) < self.size:
                self._add(face[None])
            elif bool(torch.rand((), generator=random) < 0.5):
                place = int(torch.randint(len(self.faces), (), generator=random))
                out[row] = self.faces[place].to(out)
                self.faces[place] = face
        return out


class History(_Memory):
    """SimGAN's: half of what the critic sees are older faces, and half of the new ones take places in the memory."""

    def mix(self, faces: Tensor, random: torch.Generator) -> Tensor:
        """Refined faces for the critic, ``(B, 3, H, W)``: the second half from the memory, as far as it has so many."""
        half, fresh = len(faces) // 2, faces.detach().to("cpu", torch.float16)
        out = faces.detach().clone()
        old = min(half, len(self.faces))
        if old:
            places = torch.randperm(len(self.faces), generator=random)[:old]
            out[len(out) - old :] = self.faces[places].to(out)
        for face in fresh[: max(1, half)]:
            if len(self.faces) < self.size:
                self._add(face[None])
            else:
                self.faces[int(torch.randint(len(self.faces), (), generator=random))] = face
        return out
