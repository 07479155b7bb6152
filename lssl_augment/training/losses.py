"""Losses of "Learn to synthesize and synthesize to learn" (Bozorgtabar et al. 2019), a function an equation.

Symbols are the paper's: x a face, s its side image, y the target attributes, y' the source's, (x', s') =
Dec(E(x, s), y) and (x̂, ŝ) = Dec(E(x', s'), y'). Norms ‖·‖₁ are means over batch and elements, as is usual,
so that the weights mean the same at every size. Losses are float32, whatever the networks' precision.
The parsing loss, eq. 5, needs a face parser; its place is the ``parsing`` argument of :func:`generator_loss`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "attribute_loss",
    "bidirectional_loss",
    "critic_loss",
    "generator_loss",
    "gradient_penalty",
    "identity_loss",
    "interpolate_pairs",
    "wgan_loss",
]

Pair = tuple[Tensor, Tensor]


def interpolate_pairs(real: Pair, fake: Pair, share: Tensor) -> Pair:
    """Points between real and generated pairs: one share ``(B,)`` in [0, 1] for face and side image of a row.

    Drawing two shares would compare faces with the side images of other faces.
    """
    t = share.float().view(-1, 1, 1, 1)
    image, side = (t * r.float() + (1 - t) * f.float() for r, f in zip(real, fake, strict=True))
    return image, side


def gradient_penalty(critic_src: Callable[[Tensor, Tensor], Tensor], between: Pair) -> Tensor:
    """GP of eq. 1 (Gulrajani et al. 2017): E[(‖∇ D_src(x̃, s̃)‖₂ − 1)²], the gradient over the whole pair.

    Args:
        critic_src: D_src, ``(B, 3, H, W), (B, C, H, W) → (B, …)``; patches of a row are averaged.
        between: from :func:`interpolate_pairs`; need not require gradients.

    Returns:
        Scalar, differentiable in the critic's weights; in the precision of ``between``, without autocast.
    """
    image, side = (part.detach().requires_grad_() for part in between)
    with torch.autocast(image.device.type, enabled=False):
        score = critic_src(image, side).flatten(1).mean(1).sum()
        # Rows do not mix in the critic (no batch norm), so the gradient of the sum holds each row's own.
        gradients = torch.autograd.grad(score, (image, side), create_graph=True)
        flat = torch.cat([g.flatten(1) for g in gradients], dim=1)
        penalty: Tensor = (flat.norm(dim=1) - 1).square().mean()
    return penalty


def wgan_loss(real_src: Tensor, fake_src: Tensor, penalty: Tensor, lambda_gp: float) -> Tensor:
    """L_GAN, eq. 1: E[D_src(x, s)] − E[D_src(x', s')] − λ_gp · GP; the critic maximises it."""
    return real_src.float().mean() - fake_src.float().mean() - lambda_gp * penalty


def attribute_loss(logits: Tensor, attributes: Tensor) -> Tensor:
    """L_cls, eqs. 2 and 3: binary cross-entropy summed over the attributes, mean over the batch.

    Eq. 2 (L_cls_r) puts in D_cls of real pairs and their own attributes; eq. 3 (L_cls_f) D_cls of generated
    pairs and the targets.

    Args:
        logits, attributes: ``(B, A)``; attributes in [0, 1].
    """
    each = F.binary_cross_entropy_with_logits(logits.float(), attributes.float(), reduction="none")
    return each.sum(1).mean()


def identity_loss(generated: Tensor, images: Tensor) -> Tensor:
    """L_id, eq. 4: ‖Dec(E(x, s), y) − x‖₁ over faces ``(B, 3, H, W)``."""
    return (generated.float() - images.float()).abs().mean()


def bidirectional_loss(pair: Pair, back: Pair, latent: Tensor, generated_latent: Tensor) -> Tensor:
    """L_bi, eq. 6: ‖x − x̂‖₁ + ‖s − ŝ‖₁ + ‖E(x, s) − E(x', s')‖₁.

    Args:
        pair: (x, s); back: (x̂, ŝ), the generated pair brought back to the source's attributes.
        latent: E(x, s); generated_latent: E(x', s').
    """
    terms = zip((*pair, latent), (*back, generated_latent), strict=True)
    return torch.stack([(a.float() - b.float()).abs().mean() for a, b in terms]).sum()


def critic_loss(gan: Tensor, cls_real: Tensor, lambda_cls: float) -> Tensor:
    """L_D, eq. 7: −L_GAN + λ_cls · L_cls_r; one sum, so that penalty and scores share one backward pass."""
    return -gan + lambda_cls * cls_real


def generator_loss(
    fake_src: Tensor,
    *,
    bidirectional: Tensor,
    cls_fake: Tensor,
    identity: Tensor,
    lambda_bi: float,
    lambda_cls: float,
    lambda_id: float,
    parsing: Tensor | None = None,
    lambda_p: float = 0.0,
) -> Tensor:
    """L_G, eq. 7: −E[D_src(x', s')] + λ_bi L_bi + λ_cls L_cls_f + λ_id L_id + λ_p L_p.

    Args:
        parsing: L_p, eq. 5, of a face parser; None leaves the term out.
    """
    total = (
        -fake_src.float().mean() + lambda_bi * bidirectional + lambda_cls * cls_fake + lambda_id * identity
    )
    return total if parsing is None else total + lambda_p * parsing
