from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from lssl_augment.evaluation.classifiers.small import FaceClassifier, _Block


def test_the_shortcut_is_a_strided_convolution_without_its_kernel() -> None:
    torch.manual_seed(0)
    block = _Block(8, 16, 2).eval()
    assert isinstance(block.shortcut, nn.Sequential)
    convolution = block.shortcut[0]
    assert isinstance(convolution, nn.Conv2d)
    x = torch.randn(7, 8, 16, 16).contiguous(memory_format=torch.channels_last)
    y = F.relu(block.norm1(block.conv1(x)))
    expected = F.relu(block.norm2(block.conv2(y)) + block.shortcut[1](F.conv2d(x, convolution.weight, stride=2)))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-6)


def test_a_narrow_network_learns_from_odd_batches() -> None:
    """A strided 1×1 kernel wrote beyond its memory here, with two threads and AVX-512."""
    torch.manual_seed(0)
    network = FaceClassifier(5, width=8).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for batch in (7, 13, 5):
        faces = torch.randn(batch, 3, 64, 64).contiguous(memory_format=torch.channels_last)
        network(faces).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
