"""Which actions are candidates, ``(b, n, a)`` in [-1, 1]: for the target's max, and for negatives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from am_ray.arrays import Bool, Float
from am_ray.core.behavior_cloning import ActionDensity
from am_ray.core.negatives import other_actions, perturbed_actions, uniform_actions
from am_ray.models.action_density import ActionDensityHead
from am_ray.settings import CriticLossSettings


def target_candidates(
    config: CriticLossSettings,
    action: Float[Tensor, "b a"],
    next_action: Float[Tensor, "b a"],
    next_is_final: Bool[Tensor, " b"],
    proposed: Sequence[Tensor],
    *,
    binary: Sequence[int],
    generator: torch.Generator,
) -> Float[Tensor, "b n a"]:
    """For max_a' Q_target(s', a', g): ``target_*`` of the settings, and what else is proposed."""
    size, action_dim = action.shape
    candidates = [
        uniform_actions(
            size, config.target_uniform, action_dim, generator=generator, device=action.device, binary=binary
        ),
        other_actions(next_action, config.target_data, generator=generator),
        *proposed,
    ]
    if config.target_next_action:
        # An episode's last state has no data action; the one before it stands in, as any candidate may.
        own = torch.where(next_is_final.unsqueeze(1), action, next_action)
        candidates.append(own.unsqueeze(1))
    return torch.cat(candidates, dim=1)


def negative_candidates(
    config: CriticLossSettings,
    action: Float[Tensor, "b a"],
    proposed: Sequence[Tensor],
    *,
    binary: Sequence[int],
    generator: torch.Generator,
) -> Float[Tensor, "b n a"]:
    """For a~ ~ exp(Q(s, a~, g)): ``negative_*`` of the settings but the behaviour's, and what else is proposed."""
    size, action_dim = action.shape
    return torch.cat(
        [
            uniform_actions(
                size, config.negative_uniform, action_dim, generator=generator, device=action.device, binary=binary
            ),
            other_actions(action, config.negative_data, generator=generator),
            perturbed_actions(
                action,
                config.negative_perturbed,
                std=config.perturbation_std,
                flip_share=config.perturbation_flip,
                generator=generator,
            ),
            *proposed,
        ],
        dim=1,
    )


def drawn_actions(
    head: ActionDensityHead, density: ActionDensity, num: int, *, generator: torch.Generator
) -> Float[Tensor, "b n a"]:
    """``num`` draws from a head's density."""
    return head.join(*density.sample(num, generator=generator))
