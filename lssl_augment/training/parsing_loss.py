"""The parsing loss of Bozorgtabar et al. 2019, eq. 5."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["parsing_loss"]


def parsing_loss(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """L_p, eq. 5: pixel-wise softmax loss between the parses P(x) and P(x').

    The parse of the source is the answer and gets no gradient. The paper leaves open whether it is the distribution or
    the likeliest class; here it is the distribution, so that unsure pixels pull less. Its least value is the entropy of
    P(x), not 0. Where an edit is meant to move lips and lids, the region map of the *target's* shape is the better
    answer and may be given instead.

    Args:
        logits_real: P(x), ``(B, C, H, W)``; or a region map ``(B, H, W)`` of integers in [0, C).
        logits_fake: P(x'), ``(B, C, H, W)``; the parser frozen, the gradient goes through it to x'.

    Returns:
        Scalar float32, mean over batch and pixels.
    """
    if logits_real.is_floating_point():
        answer = logits_real.detach().float().softmax(1)
    else:
        answer = logits_real.long()
    loss: Tensor = F.cross_entropy(logits_fake.float(), answer)
    return loss
