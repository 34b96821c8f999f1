"""The critic's loss (paper, Sec. 4):

    critic_loss = E[ D(Q(s, a, g), y) ]  +  negative_weight * E[ sum_j w_j D(Q(s, a~_j, g), 0) ]

D is the squared error (the paper's equation) or the cross-entropy on the sigmoid output (QT-Opt's OSS network);
the expected number of negatives, E[sum_j w_j], is ``negative_ratio``. Both terms take hindsight and random goals alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from am_ray.arrays import Float


class Divergence(StrEnum):
    """D above, on Q = sigmoid(logit)."""

    CROSS_ENTROPY = "cross_entropy"
    SQUARED_ERROR = "squared_error"


@dataclass(frozen=True)
class CriticLoss:
    """The loss and its two terms, each a scalar."""

    total: Tensor
    td_loss: Tensor
    negative_loss: Tensor


def divergence(logits: Tensor, target: Tensor, kind: Divergence) -> Tensor:
    """D(sigmoid(logits), target) for each element; target in [0, 1]."""
    if kind is Divergence.CROSS_ENTROPY:
        return binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (torch.sigmoid(logits) - target) ** 2


def critic_loss(
    logits: Float[Tensor, " b"],
    target: Float[Tensor, " b"],
    negative_logits: Float[Tensor, "b m"],
    negative_weights: Float[Tensor, "b m"],
    *,
    kind: Divergence,
    negative_weight: float,
) -> CriticLoss:
    """The equation on top of this file.

    Args:
        logits: Of Q(s, a, g); gradient flows.
        target: y, in [0, 1]; no gradient.
        negative_logits: Of Q(s, a~, g); gradient flows. m = 0 switches negatives off.
        negative_weights: Weight of each draw.
        kind: D.
        negative_weight: Weight of the second term.
    """
    td_loss = divergence(logits, target, kind).mean()
    negative = divergence(negative_logits, torch.zeros_like(negative_logits), kind)
    negative_loss = (negative_weights * negative).sum(dim=1).mean()
    return CriticLoss(td_loss + negative_weight * negative_loss, td_loss, negative_loss)
