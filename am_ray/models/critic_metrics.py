"""Numbers that tell how the critic is doing, by kind of goal."""

from __future__ import annotations

import torch
from torch import Tensor

from am_ray.core.targets import leads_to_goal
from am_ray.models.critic_target import CriticTarget
from am_ray.types import GoalSource, TransitionBatch


@torch.no_grad()
def critic_metrics(
    batch: TransitionBatch[Tensor],
    logits: Tensor,
    negative_logits: Tensor,
    negative_weights: Tensor,
    target: CriticTarget,
    *,
    has_task: bool = False,
) -> dict[str, Tensor]:
    """Means that diagnose the algorithm; an empty group counts as 0."""
    q = torch.sigmoid(logits)
    hindsight = (batch.source == GoalSource.HINDSIGHT).float()
    chained = ((batch.source == GoalSource.RANDOM) | (batch.source == GoalSource.LINKED)).float()
    reached = leads_to_goal(batch.source).float() * batch.is_end.float()

    def mean_over(values: Tensor, group: Tensor) -> Tensor:
        return (values * group).sum() / group.sum().clamp_min(1.0)

    def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
        return (values * weights).sum() / weights.sum().clamp_min(1e-6)

    metrics = {
        "critic/q_hindsight_mean": mean_over(q, hindsight),
        "critic/q_reached_mean": mean_over(q, reached),
        "critic/q_chained_mean": mean_over(q, chained),
        "critic/q_negative_mean": weighted_mean(torch.sigmoid(negative_logits), negative_weights),
        "critic/target_chained_mean": mean_over(target.value, chained),
        "critic/target_hindsight_mean": mean_over(target.value, hindsight),
        "data/chained_share": chained.mean(),
        "data/reached_share": reached.mean(),
    }
    if target.next_value is not None:
        metrics["critic/next_value_mean"] = target.next_value.mean()
    if has_task:
        success, failure = ((batch.source == source).float() for source in (GoalSource.SUCCESS, GoalSource.FAILURE))
        metrics |= {
            "critic/q_success_mean": mean_over(q, success),
            "critic/q_failure_mean": mean_over(q, failure),
            "data/success_share": success.mean(),
        }
    return metrics
