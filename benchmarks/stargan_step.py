"""A StarGAN training step as published, to measure against: Choi et al. 2018 (arXiv 1711.09020), tables 4 and 5.

Generator: 7×7 convolution, two stride-2 convolutions, six residual blocks, two transposed convolutions, 7×7; first
width 64. Critic: six stride-2 convolutions, first width 64. WGAN-GP, five critic steps, each with a batch of its own,
then one generator step with reconstruction; λ_gp = λ_rec = 10, λ_cls = 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["StarGan"]


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _generator(attributes: int, width: int = 64, blocks: int = 6) -> nn.Sequential:
    layers: list[nn.Module] = []

    def add(conv: nn.Module, outputs: int) -> None:
        layers.extend([conv, nn.InstanceNorm2d(outputs, affine=True), nn.ReLU(inplace=True)])

    add(nn.Conv2d(3 + attributes, width, 7, 1, 3, bias=False), width)
    for _ in range(2):
        add(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), 2 * width)
        width *= 2
    layers.extend(_Residual(width) for _ in range(blocks))
    for _ in range(2):
        add(nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False), width // 2)
        width //= 2
    return nn.Sequential(*layers, nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh())


class _Critic(nn.Module):
    def __init__(self, attributes: int, size_px: int, width: int = 64, depth: int = 6) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 4, 2, 1), nn.LeakyReLU(0.01)]
            inputs, width = width, 2 * width
        self.trunk = nn.Sequential(*layers)
        self.src = nn.Conv2d(inputs, 1, 3, 1, 1, bias=False)
        self.cls = nn.Conv2d(inputs, attributes, size_px // 2**depth, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.src(h), self.cls(h).flatten(1)


class StarGan:
    """Networks, optimisers and both kinds of step; faces ``(B, 3, S, S)`` in [-1, 1], labels ``(B,)``."""

    critic_steps = 5

    def __init__(self, attributes: int, size_px: int, device: torch.device) -> None:
        self.attributes, self.device = attributes, device
        # Not channels-last: on a CPU the penalty's gradients of gradients take half as long again that way.
        self.generator = _generator(attributes).to(device)
        self.critic = _Critic(attributes, size_px).to(device)
        self.optimizers = {
            "generator": torch.optim.Adam(self.generator.parameters(), 1e-4, (0.5, 0.999)),
            "critic": torch.optim.Adam(self.critic.parameters(), 1e-4, (0.5, 0.999)),
        }

    def edit(self, x: Tensor, labels: Tensor) -> Tensor:
        """The generator's faces of the wanted labels."""
        planes = F.one_hot(labels, self.attributes).float()[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.generator(torch.cat([x, planes], dim=1))

    def critic_step(self, x: Tensor, labels: Tensor, targets: Tensor) -> None:
        """One step of the critic, penalty included."""
        with torch.no_grad():
            fake = self.edit(x, targets)
        real_src, real_cls = self.critic(x)
        fake_src, _ = self.critic(fake)
        share = torch.rand(len(x), 1, 1, 1, device=x.device)
        between = (share * x + (1 - share) * fake).requires_grad_()
        score = self.critic(between)[0].sum()
        (gradient,) = torch.autograd.grad(score, between, create_graph=True)
        penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
        loss = fake_src.mean() - real_src.mean() + 10 * penalty + F.cross_entropy(real_cls, labels)
        self.optimizers["critic"].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers["critic"].step()

    def generator_step(self, x: Tensor, labels: Tensor, targets: Tensor) -> None:
        """One step of the generator."""
        self.critic.requires_grad_(False)  # more than the published code does, in StarGAN's favour
        fake = self.edit(x, targets)
        src, cls = self.critic(fake)
        back = self.edit(fake, labels)
        loss = -src.mean() + F.cross_entropy(cls, targets) + 10 * (back - x).abs().mean()
        self.optimizers["generator"].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers["generator"].step()
        self.critic.requires_grad_(True)
