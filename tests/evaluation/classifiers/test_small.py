from __future__ import annotations

import torch

from lssl_augment.evaluation.classifiers.small import FaceClassifier


def test_a_narrow_network_learns_from_odd_batches() -> None:
    """A strided 1×1 kernel wrote beyond its memory here, with two threads and AVX-512."""
    torch.manual_seed(0)
    network = FaceClassifier(5, width=8).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for batch in (7, 13, 5):
        faces = torch.randn(batch, 3, 64, 64).contiguous(memory_format=torch.channels_last)
        network(faces).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
