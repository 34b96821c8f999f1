"""The action density against torch's own distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as D

from am_ray.core.behavior_cloning import ActionDensity, cloning_loss


def density() -> ActionDensity:
    generator = torch.Generator().manual_seed(0)
    return ActionDensity(
        mixture_logits=torch.randn(4, 3, generator=generator),
        mean=torch.rand(4, 3, 2, generator=generator) - 0.5,
        std=torch.rand(4, 3, 2, generator=generator) * 0.1 + 0.05,
        binary_logits=torch.randn(4, 1, generator=generator),
    )


def test_log_prob_matches_torch_distributions() -> None:
    p = density()
    continuous, binary = torch.zeros(4, 2), torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    mixture = D.MixtureSameFamily(D.Categorical(logits=p.mixture_logits), D.Independent(D.Normal(p.mean, p.std), 1))
    expected = mixture.log_prob(continuous) + D.Bernoulli(logits=p.binary_logits).log_prob((binary > 0).float())[:, 0]
    torch.testing.assert_close(p.log_prob(continuous, binary), expected)


def test_samples_have_the_densitys_moments() -> None:
    p = density()
    continuous, binary = p.sample(40_000, generator=torch.Generator().manual_seed(1))
    mean = (p.mixture_logits.softmax(1).unsqueeze(-1) * p.mean).sum(1)
    torch.testing.assert_close(continuous.mean(1), mean, atol=0.01, rtol=0.0)
    torch.testing.assert_close((binary > 0).float().mean(1), torch.sigmoid(p.binary_logits), atol=0.01, rtol=0.0)


def test_mode_is_the_mean_of_the_densest_component_and_the_expected_action_that_of_all() -> None:
    p = ActionDensity(
        mixture_logits=torch.tensor([[0.0, 0.5]]),
        mean=torch.tensor([[[0.1], [0.9]]]),
        std=torch.tensor([[[0.1], [0.5]]]),
        binary_logits=torch.tensor([[-0.2]]),
    )
    continuous, binary = p.mode()
    assert continuous.item() == pytest.approx(0.1)
    assert binary.item() == -1.0
    continuous, binary = p.expected()
    heavier = 1.0 / (1.0 + math.exp(-0.5))
    assert continuous.item() == pytest.approx(0.1 * (1.0 - heavier) + 0.9 * heavier)
    assert binary.item() == -1.0


def test_weight_zero_leaves_a_transition_out() -> None:
    p = density()
    continuous, binary = torch.zeros(4, 2), torch.ones(4, 1)
    weight = torch.tensor([1.0, 0.0, 1.0, 0.0])
    expected = -p.log_prob(continuous, binary)[[0, 2]].mean()
    torch.testing.assert_close(cloning_loss(p, continuous, binary, weight), expected)
