"""The critic's target y, from its averaged copy, in the reading that the settings name (`am_ray.core.targets`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from am_ray.core.cem import best_of, cem_argmax
from am_ray.core.targets import (
    ChainedEnd,
    bellman_target,
    chained_end_target,
    leads_to_goal,
    monte_carlo_lower_bound,
)
from am_ray.models.candidates import target_candidates
from am_ray.models.critic import Critic
from am_ray.settings import AlgorithmSettings, CriticLossSettings
from am_ray.types import GoalSource, TransitionBatch


@dataclass(frozen=True)
class CriticTarget:
    """y, ``(b,)``, and max_a' Q_target(s', a', g), ``(b,)``, which it was made from; ``None``: y does not bootstrap."""

    value: Tensor
    next_value: Tensor | None


@torch.no_grad()
def achieved_target(batch: TransitionBatch[Tensor], config: CriticLossSettings) -> CriticTarget:
    """y = discount^(i - t - 1) where the data reached g in i - t steps, and 0 elsewhere; ours, a control."""
    leads = leads_to_goal(batch.source)
    nothing = torch.zeros(len(leads), device=leads.device)
    y = monte_carlo_lower_bound(nothing, num_steps=batch.num_steps, leads=leads, discount=config.discount)
    return CriticTarget(y, None)


@torch.no_grad()
def bootstrapped_target(
    critic: Critic,
    batch: TransitionBatch[Tensor],
    proposed: Sequence[Tensor],
    settings: AlgorithmSettings,
    *,
    generator: torch.Generator,
) -> CriticTarget:
    """y = 1 at the goal, discount * max_a' Q_target(s', a', g) elsewhere, and what the settings make of it.

    Args:
        critic: Q_target.
        batch: Its actions in [-1, 1]^a.
        proposed: Candidates for a' besides those of the settings, each ``(b, n, a)``.
        settings: Of the targets (``critic``), and of the search among the candidates (``cem``).
        generator: Of the candidates.
    """
    config, leads = settings.critic, leads_to_goal(batch.source)
    features = critic.encode(batch.next_observation, batch.goal)
    next_value = torch.sigmoid(_max_logit(critic, features, batch, proposed, settings, generator))
    y = bellman_target(next_value, reached=leads & batch.is_end, discount=config.discount)
    kind = ChainedEnd(config.chained_end)
    if kind is not ChainedEnd.BOOTSTRAP:
        if kind is ChainedEnd.END_VALUE:
            end_logit = critic.score(features, batch.next_action.unsqueeze(1))
        else:
            end_logit = critic.score(critic.encode(batch.observation, batch.goal), batch.action.unsqueeze(1))
        # An episode's last transition has no next action: it always bootstraps.
        is_chained_end = (batch.source == GoalSource.RANDOM) & batch.is_end & ~batch.next_is_final
        y = chained_end_target(y, torch.sigmoid(end_logit).squeeze(1), is_chained_end=is_chained_end)
    if config.monte_carlo_bound:
        y = monte_carlo_lower_bound(y, num_steps=batch.num_steps, leads=leads, discount=config.discount)
    return CriticTarget(y, next_value)


def _max_logit(
    critic: Critic,
    features: Tensor,
    batch: TransitionBatch[Tensor],
    proposed: Sequence[Tensor],
    settings: AlgorithmSettings,
    generator: torch.Generator,
) -> Tensor:
    """max_a' of the logit over the candidates, ``(b,)``."""
    config, cem = settings.critic, settings.cem
    candidates = target_candidates(
        config,
        batch.action,
        batch.next_action,
        batch.next_is_final,
        proposed,
        binary=settings.binary_uniform_entries,
        generator=generator,
    )

    def score(actions: Tensor) -> Tensor:
        return critic.score(features, actions)

    if config.target_cem_iterations == 0:
        return best_of(score, candidates).score
    return cem_argmax(
        score,
        candidates,
        num_iterations=1 + config.target_cem_iterations,
        num_elites=cem.num_elites,
        min_std=cem.min_std,
        generator=generator,
    ).score
