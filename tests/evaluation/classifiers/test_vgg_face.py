"""Published weights: hash checked, pickles refused, pixels handed over as they were trained on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lssl_augment.errors import WeightsError
from lssl_augment.evaluation.classifiers.networks import initialise
from lssl_augment.evaluation.classifiers.vgg_face import VggFace, load_into, read_vgg_face


def thin(**changes: Any) -> VggFace:
    model = VggFace(5, width=1, **changes)
    initialise(model, 0)
    return model.eval()


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "vgg.safetensors"
    tensors = {k: v + 1 for k, v in thin().state_dict().items() if not k.startswith("head.")}
    save_file(tensors, path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_are_read_and_copied(stored: tuple[Path, str], tmp_path: Path) -> None:
    path, digest = stored
    model = thin(published=True)
    load_into(model, read_vgg_face(path, digest.upper()), path)
    plain = thin()
    assert torch.equal(model.fc7.weight, plain.fc7.weight + 1)
    assert torch.equal(model.head.weight, plain.head.weight)
    # The card beside it can say the hash; npz works too.
    path.with_suffix(".json").write_text(json.dumps({"sha256": digest}))
    tensors = read_vgg_face(path)
    npz = tmp_path / "faces.npz"
    np.savez(npz, **{k: v.numpy() for k, v in tensors.items()})
    again = read_vgg_face(npz, hashlib.sha256(npz.read_bytes()).hexdigest())
    assert all(torch.equal(again[k], v) for k, v in tensors.items())


def test_pixels_as_the_published_network_wants_them() -> None:
    model = thin(published=True)
    seen: list[torch.Tensor] = []
    model.get_submodule("conv1_1").register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    image = torch.tensor([1.0, 0.0, -1.0])[None, :, None, None].expand(1, 3, 32, 32)
    assert model(image).shape == (1, 5)
    assert seen[0].shape == (1, 3, 224, 224)
    blue, green, red = seen[0][0, :, 100, 100].tolist()
    assert (red, green, blue) == pytest.approx((255 - 129.1863, 127.5 - 104.7624, 0 - 93.5940), abs=1e-3)


def test_refusals(stored: tuple[Path, str], tmp_path: Path) -> None:
    path, _ = stored
    with pytest.raises(WeightsError, match="its sha256 is"):
        read_vgg_face(path, "0" * 64)
    with pytest.raises(WeightsError, match=r"vgg\.json beside it"):
        read_vgg_face(path)
    with pytest.raises(WeightsError, match="cannot read"):
        read_vgg_face(tmp_path / "none.safetensors")
    for suffix in (".pth", ".safetensors"):
        pickled = tmp_path / f"pickled{suffix}"
        torch.save(thin().state_dict(), pickled)
        with pytest.raises(WeightsError, match="pickles"):
            read_vgg_face(pickled, "0" * 64)
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"junk" * 20)
    with pytest.raises(WeightsError, match="neither"):
        read_vgg_face(junk, hashlib.sha256(junk.read_bytes()).hexdigest())
    objects = tmp_path / "objects.npz"
    np.savez(objects, a=np.array([{}], object))
    with pytest.raises(WeightsError, match="neither"):
        read_vgg_face(objects, hashlib.sha256(objects.read_bytes()).hexdigest())
    with pytest.raises(WeightsError, match="no such tensor"):
        load_into(thin(), {}, path)
    with pytest.raises(WeightsError, match=r"shape \(3,\)"):
        load_into(thin(), {"conv1_1.weight": torch.zeros(3)}, path)
