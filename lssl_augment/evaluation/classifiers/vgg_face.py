"""VGG-Face: the VGG-16 layout, with the published weights where the user has them.

Parkhi, Vedaldi, Zisserman, "Deep face recognition", BMVC 2015. Their weights may be used for research only and are not
shipped; a user converts them once to safetensors (or npz) with the names of the Caffe model: ``conv1_1.weight`` …
``conv5_3.bias``, ``fc6.weight`` … ``fc7.bias`` (``fc8`` is left out: it names celebrities).
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lssl_augment.errors import WeightsError

__all__ = ["VggFace", "read_vgg_face"]

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
#: Mean of the training faces in RGB, 0 to 255, as published with the weights.
_MEAN_RGB = (129.1863, 104.7624, 93.5940)
_PUBLISHED_PX = 224
_ZIP = b"PK\x03\x04"
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class VggFace(nn.Module):
    """VGG-16 without batch norm, layers named as in the Caffe model.

    Args:
        num_classes: outputs.
        published: inputs as the published weights want them: 224×224, BGR, 0 to 255 less the mean face colour.
            False (from scratch): as they come.
        width: divides the number of channels by 64 / ``width``; 64 is VGG-16.

    Shape:
        - input: ``(B, 3, S, S)`` float in [-1, 1]; S ≥ 32
        - output: logits, ``(B, num_classes)``
    """

    def __init__(self, num_classes: int, *, published: bool = False, width: int = 64) -> None:
        super().__init__()
        self.published = published
        before = 3
        self.stages: list[list[str]] = []
        for stage, (channels, count) in enumerate(_STAGES, 1):
            names = [f"conv{stage}_{i}" for i in range(1, count + 1)]
            for name in names:
                after = channels * width // 64
                self.add_module(name, nn.Conv2d(before, after, 3, 1, 1))
                before = after
            self.stages.append(names)
        hidden = 4096 * width // 64
        self.fc6 = nn.Linear(before * 49, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, num_classes)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        if self.published:
            x = F.interpolate(x, size=(_PUBLISHED_PX, _PUBLISHED_PX), mode="bilinear", align_corners=False)
            x = ((x + 1) * 127.5 - x.new_tensor(_MEAN_RGB)[:, None, None]).flip(1)
        for names in self.stages:
            for name in names:
                x = F.relu(self.get_submodule(name)(x))
            x = F.max_pool2d(x, 2)
        # 7×7 at 224 px; smaller faces are spread over the same grid.
        x = F.adaptive_avg_pool2d(x, 7).flatten(1)
        x = self.dropout(F.relu(self.fc6(x)))
        x = self.dropout(F.relu(self.fc7(x)))
        return self.head(x)


def read_vgg_face(path: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Tensors of a ``.safetensors`` or ``.npz`` file, its hash checked.

    Args:
        path: the file.
        sha256: what it must hash to; None: ``sha256`` in the card ``FILE.json`` beside it (``vgg.json`` for
            ``vgg.safetensors``).

    Raises:
        WeightsError: no such file, a pickle (``.pt``, ``.pth``), no hash to check against, another hash, or no such
            format.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    npz = path.suffix == ".npz"
    # A safetensors file may begin with 80 02 too, but its ninth byte opens a JSON object.
    if (content[:4] == _ZIP and not npz) or (content[:2] in _PICKLES and content[8:9] != b"{"):
        raise WeightsError(
            f"{path} is refused: pickles (.pt, .pth, .ckpt) can run any code when they are read; "
            "convert it to safetensors"
        )
    found = hashlib.sha256(content).hexdigest()
    wanted = sha256 if sha256 is not None else _card_hash(path, found)
    if found != wanted.lower():
        raise WeightsError(f"{path} is not the file that was named: its sha256 is {found}, not {wanted}")
    try:
        if npz:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return {name: torch.from_numpy(np.asarray(arrays[name], np.float32)) for name in arrays.files}
        from safetensors.torch import load

        return {name: tensor.float() for name, tensor in load(content).items()}
    except Exception as error:  # safetensors and numpy each raise several kinds
        raise WeightsError(f"{path} is neither a safetensors nor an npz file: {error}") from error


def load_into(model: VggFace, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Copy all layers but the head.

    Raises:
        WeightsError: when one is missing or has another shape.
    """
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("head.")}
    for name, value in own.items():
        if name not in tensors or tensors[name].shape != value.shape:
            came = "no such tensor" if name not in tensors else f"shape {tuple(tensors[name].shape)}"
            raise WeightsError(f"{path} needs {name} of shape {tuple(value.shape)}; it has {came}")
        value.copy_(tensors[name])


def _card_hash(path: Path, found: str) -> str:
    card = path.with_suffix(".json")
    try:
        return str(json.loads(card.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path} cannot be checked: give weights_sha256, or {card.name} beside it with a sha256 "
            f"(this file's is {found}; compare it with what its publisher states)"
        ) from error
