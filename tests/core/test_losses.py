"""The critic's loss by hand, with its gradients."""

from __future__ import annotations

import math

import pytest
import torch

from am_ray.core.losses import Divergence, critic_loss, divergence


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_squared_error_by_hand() -> None:
    loss = critic_loss(
        torch.tensor([logit(0.8), logit(0.4)]),
        torch.tensor([1.0, 0.5]),
        torch.tensor([[logit(0.3), logit(0.5)], [logit(0.1), logit(0.2)]]),
        torch.tensor([[1.0, 0.0], [1.0, 1.0]]),
        kind=Divergence.SQUARED_ERROR,
        negative_weight=2.0,
    )
    td, negative = (0.04 + 0.01) / 2, (0.09 + 0.01 + 0.04) / 2
    assert loss.td_loss.item() == pytest.approx(td, rel=1e-5)
    assert loss.negative_loss.item() == pytest.approx(negative, rel=1e-5)
    assert loss.total.item() == pytest.approx(td + 2.0 * negative, rel=1e-5)


def test_cross_entropy_by_hand() -> None:
    loss = critic_loss(
        torch.tensor([logit(0.8)]),
        torch.tensor([0.6]),
        torch.tensor([[logit(0.3)]]),
        torch.tensor([[1.0]]),
        kind=Divergence.CROSS_ENTROPY,
        negative_weight=1.0,
    )
    assert loss.td_loss.item() == pytest.approx(-0.6 * math.log(0.8) - 0.4 * math.log(0.2), rel=1e-5)
    assert loss.negative_loss.item() == pytest.approx(-math.log(0.7), rel=1e-5)


def test_gradient_of_cross_entropy_is_q_minus_y() -> None:
    logits = torch.tensor([logit(0.8)], requires_grad=True)
    divergence(logits, torch.tensor([0.6]), Divergence.CROSS_ENTROPY).sum().backward()
    assert logits.grad is not None
    assert logits.grad.item() == pytest.approx(0.2, rel=1e-5)


def test_no_negatives_no_negative_loss() -> None:
    loss = critic_loss(
        torch.zeros(3),
        torch.ones(3),
        torch.zeros(3, 0),
        torch.zeros(3, 0),
        kind=Divergence.CROSS_ENTROPY,
        negative_weight=1.0,
    )
    assert loss.negative_loss.item() == 0.0
    assert loss.total.item() == loss.td_loss.item()
