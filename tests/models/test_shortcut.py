from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lssl_augment.models.layers import Shortcut


@pytest.mark.parametrize(("after", "stride"), [(8, 2), (16, 2), (12, 1)])
def test_it_is_a_strided_convolution_without_its_kernel(after: int, stride: int) -> None:
    torch.manual_seed(0)
    shortcut = Shortcut(8, after, stride).eval()
    convolution, norm = shortcut
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.stride == (1, 1)
    assert set(shortcut.state_dict()) >= {"0.weight", "1.weight"}  # the names of released weights
    x = torch.randn(13, 8, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    expected = norm(F.conv2d(x, convolution.weight, stride=stride))
    torch.testing.assert_close(shortcut(x), expected, rtol=0, atol=1e-6)
    shortcut(x).square().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
