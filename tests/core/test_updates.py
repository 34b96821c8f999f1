"""Averages and guarded steps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from am_ray.core.ema import polyak_update
from am_ray.core.updates import step_if_finite


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 1.0), (0.25, 1.5), (1.0, 3.0)])
def test_polyak_by_hand(rate: float, expected: float) -> None:
    averaged = [torch.tensor([1.0])]
    polyak_update(averaged, [torch.tensor([3.0])], rate=rate)
    assert averaged[0].item() == pytest.approx(expected)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_a_non_finite_gradient_leaves_weights_and_optimizer_as_they_were(poison: float) -> None:
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 3)).sum().backward()
    assert step_if_finite(optimizer, list(layer.parameters()), max_gradient_norm=1.0).stepped
    weights, state = copy.deepcopy(layer.state_dict()), copy.deepcopy(optimizer.state_dict())

    assert layer.bias.grad is not None
    layer.bias.grad[0] = poison
    result = step_if_finite(optimizer, list(layer.parameters()), max_gradient_norm=1.0)

    assert not result.stepped
    for name, value in layer.state_dict().items():
        assert torch.equal(value, weights[name])
    for index, slots in optimizer.state_dict()["state"].items():
        for name, value in slots.items():
            assert torch.equal(value, state["state"][index][name])


def test_clipping_scales_the_step_to_the_norm() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    result = step_if_finite(torch.optim.SGD([weight], lr=1.0), [weight], max_gradient_norm=1.0)
    assert result.gradient_norm.item() == pytest.approx(5.0)
    assert weight.tolist() == pytest.approx([-0.6, -0.8], abs=1e-5)


def test_zero_switches_clipping_off() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    step_if_finite(torch.optim.SGD([weight], lr=1.0), [weight], max_gradient_norm=0.0)
    assert weight.tolist() == [-3.0, -4.0]
