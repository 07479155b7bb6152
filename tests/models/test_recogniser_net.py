from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from lssl_augment.models.recogniser_net import _Block


def test_the_shortcut_is_a_strided_convolution_without_its_kernel() -> None:
    """The kernel for it, with 8 channels and an odd batch, wrote beyond its memory; the numbers are the same."""
    torch.manual_seed(0)
    block = _Block(8, 8, 2).eval()
    assert isinstance(block.shortcut, nn.Sequential)
    convolution = block.shortcut[0]
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.stride == (1, 1)
    x = torch.randn(13, 8, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    expected = block.body(x) + block.shortcut[1](F.conv2d(x, convolution.weight, stride=2))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-6)
    block(x).square().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
