from __future__ import annotations

import copy
import shutil

import pytest
import torch
from torch import nn

from lssl_augment.errors import TrainingError
from lssl_augment.models.paper_generator import PaperGenerator
from lssl_augment.training.modes import compile_generator, deterministic


def test_deterministic_holds_inside_the_block_alone() -> None:
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


def test_an_operation_without_a_deterministic_algorithm_is_named() -> None:
    with pytest.raises(TrainingError, match=r"deterministic=true: .*kthvalue"), deterministic(True):
        raise RuntimeError("kthvalue CUDA does not have a deterministic implementation")
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="sizes"), deterministic(True):
        raise RuntimeError("sizes do not fit")


def test_no_compiler_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(TrainingError, match=r"compile=true needs a C\+\+ compiler \(no-such-compiler\) on cpu"):
        compile_generator(nn.Identity(), torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_generator_is_the_same_function_with_the_same_names() -> None:
    generator = PaperGenerator(3, width=4, downs=2, blocks=1)
    x, s, y = torch.rand(2, 3, 16, 16), torch.rand(2, 1, 16, 16), torch.eye(3)[:2]
    before = copy.deepcopy(generator)
    names = list(generator.state_dict())
    compile_generator(generator, torch.device("cpu"))
    assert list(generator.state_dict()) == names
    torch.testing.assert_close(generator(x, s, y)[0], before(x, s, y)[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(generator.encode(x, s), before.encode(x, s), rtol=1e-4, atol=1e-5)
    generator(x, s, y)[0].sum().backward()
    assert all(p.grad is not None for p in generator.encoder.parameters())
