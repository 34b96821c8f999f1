"""The number y that Q(s, a, g) is regressed to (paper, Sec. 4; QT-Opt's max over actions).

y = 1                                          if s' is the goal
  = discount * max_a' Q_target(s', a', g)      otherwise

For a random goal g the second line *is* goal chaining: where another episode goes on from s' to g, its
value flows in. ``chained_end`` switches to the two other readings of the paper's chained reward.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor

from am_ray.arrays import Bool, Float, Int
from am_ray.types import GoalSource


class ChainedEnd(StrEnum):
    """What the last transition of a chained sub-sequence is regressed to.

    ``BOOTSTRAP``: discount * max_a' Q_target(s', a', g), like any other transition.
    ``END_VALUE``: Q_target(s', a_{t+1}, g) with the data's next action, undiscounted; a SARSA-style backup.
    ``SELF``: Q_target(s, a, g), the transition's own value: a fixed point that carries no information.
    """

    BOOTSTRAP = "bootstrap"
    END_VALUE = "end_value"
    SELF = "self"


def leads_to_goal(source: Tensor) -> Tensor:
    """``(b,)`` bool: the transition's trajectory went on to reach its goal, or to fulfil its task; or one that it met did."""
    return (source == GoalSource.HINDSIGHT) | (source == GoalSource.LINKED) | (source == GoalSource.SUCCESS)


def is_of_task(source: Tensor) -> Tensor:
    """``(b,)`` bool: the transition's goal is the downstream task."""
    return source >= GoalSource.SUCCESS


@torch.no_grad()
def bellman_target(
    next_value: Float[Tensor, " b"],
    *,
    reached: Bool[Tensor, " b"],
    discount: float,
) -> Float[Tensor, " b"]:
    """y as above.

    Args:
        next_value: max_a' Q_target(s', a', g), in [0, 1].
        reached: s' is the goal (hindsight goal and i == t + 1), or fulfils the downstream task.
        discount: In [0, 1).
    """
    return torch.where(reached, torch.ones_like(next_value), discount * next_value)


@torch.no_grad()
def chained_end_target(
    target: Float[Tensor, " b"],
    end_value: Float[Tensor, " b"],
    *,
    is_chained_end: Bool[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """Replaces the target at a chained sub-sequence's end by a value; never value plus bootstrap, which counts twice.

    Args:
        target: Output of `bellman_target`.
        end_value: Q_target(s', a_{t+1}, g) for ``END_VALUE``, Q_target(s, a, g) for ``SELF``.
        is_chained_end: Random goal, i == t + 1, and s' is not the last state of its episode.
    """
    return torch.where(is_chained_end, end_value, target)


@torch.no_grad()
def monte_carlo_lower_bound(
    target: Float[Tensor, " b"],
    *,
    num_steps: Int[Tensor, " b"],
    leads: Bool[Tensor, " b"],
    discount: float,
) -> Float[Tensor, " b"]:
    """max(y, discount^(i - t - 1)) where `leads_to_goal`: the data did reach g in i - t steps (Q-Transformer, Sec. 4.2)."""
    achieved = discount ** (num_steps.to(target.dtype) - 1.0)
    return torch.where(leads, torch.maximum(target, achieved), target)
