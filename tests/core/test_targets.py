"""Targets by hand."""

from __future__ import annotations

import pytest
import torch

from am_ray.core.targets import (
    bellman_target,
    chained_end_target,
    is_of_task,
    leads_to_goal,
    monte_carlo_lower_bound,
)
from am_ray.types import GoalSource


def test_target_is_one_where_the_goal_is_reached_and_a_discounted_bootstrap_elsewhere() -> None:
    y = bellman_target(torch.tensor([0.5, 0.5, 0.0]), reached=torch.tensor([True, False, False]), discount=0.9)
    assert y.tolist() == pytest.approx([1.0, 0.45, 0.0])


def test_a_chained_end_takes_the_value_instead_of_the_bootstrap_never_their_sum() -> None:
    y = chained_end_target(
        torch.tensor([0.45, 0.45]), torch.tensor([0.7, 0.7]), is_chained_end=torch.tensor([True, False])
    )
    assert y.tolist() == pytest.approx([0.7, 0.45])


def test_monte_carlo_bound_lifts_hindsight_targets_only() -> None:
    y = monte_carlo_lower_bound(
        torch.tensor([0.1, 0.99, 0.1, 1.0]),
        num_steps=torch.tensor([3, 3, 3, 1]),
        leads=torch.tensor([True, True, False, True]),
        discount=0.9,
    )
    assert y.tolist() == pytest.approx([0.81, 0.99, 0.1, 1.0])


def test_no_gradient_flows_into_a_target() -> None:
    value = torch.tensor([0.5], requires_grad=True)
    assert not bellman_target(value, reached=torch.tensor([False]), discount=0.9).requires_grad


def test_what_each_source_says_of_a_goal() -> None:
    every = torch.tensor([int(source) for source in GoalSource])
    leading = {source for source, leads in zip(GoalSource, leads_to_goal(every), strict=True) if leads}
    of_task = {source for source, belongs in zip(GoalSource, is_of_task(every), strict=True) if belongs}
    assert leading == {GoalSource.HINDSIGHT, GoalSource.LINKED, GoalSource.SUCCESS}
    assert of_task == {GoalSource.SUCCESS, GoalSource.FAILURE}
