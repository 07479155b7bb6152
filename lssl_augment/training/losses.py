"""Losses of "Learn to synthesize and synthesize to learn" (Bozorgtabar et al. 2019), a function an equation.

Symbols are the paper's: x a face, s its side image, y the target attributes, y' the source's, (x', s') =
Dec(E(x, s), y) and (x̂, ŝ) = Dec(E(x', s'), y'). Norms ‖·‖₁ are means over batch and elements, as is usual,
so that the weights mean the same at every size. Losses are float32, whatever the networks' precision.
Eq. 5, the parsing loss, has a file of its own (``parsing_loss.py``) and is named here with the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.training.parsing_loss import parsing_loss

__all__ = [
    "attribute_loss",
    "bidirectional_loss",
    "critic_loss",
    "generator_loss",
    "gradient_penalty",
    "identity_loss",
    "image_cycle_loss",
    "interpolate_pairs",
    "parsing_loss",
    "softmax_attribute_loss",
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


def attribute_loss(logits: Tensor, attributes: Tensor, known: Tensor | None = None) -> Tensor:
    """L_cls, eqs. 2 and 3: binary cross-entropy summed over the attributes, mean over the batch.

    Eq. 2 (L_cls_r) puts in D_cls of real pairs and their own attributes; eq. 3 (L_cls_f) D_cls of generated
    pairs and the targets.

    Args:
        logits, attributes: ``(B, A)``; attributes in [0, 1].
        known: ``(B, A)`` bool, the attributes that count; None: all. What nobody knows adds nothing to the sum.
    """
    each = F.binary_cross_entropy_with_logits(logits.float(), attributes.float(), reduction="none")
    return (each if known is None else each * known).sum(1).mean()


def softmax_attribute_loss(
    logits: Tensor, attributes: Tensor, groups: Iterable[slice], known: Tensor | None = None
) -> Tensor:
    """L_cls for attributes that exclude each other: softmax cross-entropy, summed over the groups, mean over the batch.

    Not the paper's (eqs. 2 and 3 are :func:`attribute_loss`); what the choice is worth is a switch of the ablation.

    Args:
        logits, attributes: ``(B, A)``; each group one-hot. groups: columns of each group.
        known: as of :func:`attribute_loss`; all columns of a group or none.
    """
    weights = attributes.float() if known is None else attributes.float() * known
    each = [-(weights[:, g] * logits[:, g].float().log_softmax(1)).sum(1) for g in groups]
    return torch.stack(each).sum(0).mean()


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
    # Networks without a side image have one of no channels, the mean of which is not a number.
    return torch.stack([(a.float() - b.float()).abs().mean() for a, b in terms if a.numel()]).sum()


def image_cycle_loss(images: Tensor, back: Tensor) -> Tensor:
    """The first term of eq. 6 alone, ‖x − x̂‖₁: the image-level cycle of the paper's ablation."""
    return (images.float() - back.float()).abs().mean()


def critic_loss(gan: Tensor, cls_real: Tensor, lambda_cls: float) -> Tensor:
    """L_D, eq. 7: −L_GAN + λ_cls · L_cls_r; one sum, so that penalty and scores share one backward pass."""
    return -gan + lambda_cls * cls_real


def generator_loss(
    fake_src: Tensor,
    *,
    bidirectional: Tensor | None,
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
        bidirectional: L_bi, eq. 6. parsing: L_p, eq. 5. None leaves the term out, as the paper's ablation does.
    """
    total = -fake_src.float().mean() + lambda_cls * cls_fake + lambda_id * identity
    if bidirectional is not None:
        total = total + lambda_bi * bidirectional
    return total if parsing is None else total + lambda_p * parsing
