"""How a critic acts, once (s, g) is encoded: by a search over the box (the paper), or by help of the cloning head (ours)."""

from __future__ import annotations

import torch
from torch import Tensor

from am_ray.core.cem import BestAction, cem_argmax
from am_ray.core.likely import mean_of_best
from am_ray.core.negatives import uniform_actions
from am_ray.models.action_density import ActionDensityHead
from am_ray.models.critic import Critic
from am_ray.settings import AlgorithmSettings

# Of the value with the majority of the best; a draw below it is not taken.
_LEAST_WORTH = 0.5


@torch.no_grad()
def searched(
    critic: Critic,
    features: Tensor,
    action_pool: Tensor,
    proposed: list[Tensor],
    settings: AlgorithmSettings,
    *,
    generator: torch.Generator,
) -> BestAction:
    """argmax_a Q(s, a, g) by CEM.

    Args:
        critic: Scores.
        features: Of (s, g), ``critic.project``'s ``(b, width)``.
        action_pool: Actions of the data, ``(n, a)`` in [-1, 1], of which a share of the first candidates is drawn.
        proposed: More of them, each ``(b, m, a)``.
        settings: Of the search (``cem``), and which entries are two-valued.
        generator: Its random numbers.
    """
    device, (size, action_dim) = features.device, (len(features), action_pool.shape[1])
    cem, binary = settings.cem, settings.binary_uniform_entries
    from_data = round(cem.num_samples * cem.data_share)
    row = torch.randint(0, len(action_pool), (size, from_data), generator=generator, device=device)
    num_uniform = cem.num_samples - from_data
    uniform = uniform_actions(size, num_uniform, action_dim, generator=generator, device=device, binary=binary)
    best = cem_argmax(
        lambda actions: critic.score(features, actions),
        torch.cat([action_pool[row], uniform, *proposed], dim=1),
        num_iterations=cem.num_iterations,
        num_elites=cem.num_elites,
        min_std=cem.min_std,
        generator=generator,
    )
    return BestAction(best.action, torch.sigmoid(best.score))


@torch.no_grad()
def likely(
    critic: Critic,
    features: Tensor,
    head: ActionDensityHead,
    encoded: Tensor,
    num_samples: int,
    *,
    draws_binary: bool,
    generator: torch.Generator,
) -> BestAction:
    """The mean of the best quarter, by Q, of actions that the head draws (`am_ray.core.likely`); ours.

    Negatives make Q(a) about y(a) b(a) / (b(a) + w n(a)), with b the density of the data's actions at (s, g), n that of the negatives and w their ratio
    and weight: Q repeats what the data do more often than the negatives' candidates. Where they close the gripper in one step of three, Q is higher for
    not yet, in that step and in all that follow; a draw closes it in one of three. Q was 0.36 to 0.46 there, and 0.05 to 0.5 or less for letting go in
    mid-air (docs/experiments_log.md): half, below which a draw is not taken, is between them.

    Args:
        critic: Scores.
        features: Of (s, g), ``critic.project``'s ``(b, width)``.
        head: Of the auxiliary cloning loss.
        encoded: Of (s, g), ``critic.encoder``'s ``(b, width)``, which the head takes.
        num_samples: Actions drawn for each that is taken, at least 4.
        draws_binary: Whether two-valued entries are as the head draws them (``critic.acting: drawn``), unless Q is then less than half of Q with the
            majority of the best quarter's.
        generator: Of the draws.
    """
    continuous, binary = head.density(encoded).sample(num_samples, generator=generator)
    ranked = _best_mean(critic, features, head, continuous, binary)
    if not draws_binary:
        return ranked
    drawn = _best_mean(critic, features, head, continuous, binary[:, :1].expand_as(binary))
    is_worth = drawn.score >= _LEAST_WORTH * ranked.score
    return BestAction(
        torch.where(is_worth.unsqueeze(1), drawn.action, ranked.action),
        torch.where(is_worth, drawn.score, ranked.score),
    )


@torch.no_grad()
def cloned(
    critic: Critic,
    features: Tensor,
    head: ActionDensityHead,
    encoded: Tensor,
    *,
    draws_binary: bool,
    generator: torch.Generator,
) -> BestAction:
    """The mean of the head's density: what Q has no part in, to tell what it adds; ours. Arguments as `likely`'s; no draw is left out."""
    density = head.density(encoded)
    entries = density.expected_and_drawn(generator=generator) if draws_binary else density.expected()
    return _valued(critic, features, head.join(*entries))


def _best_mean(
    critic: Critic, features: Tensor, head: ActionDensityHead, continuous: Tensor, binary: Tensor
) -> BestAction:
    scores = critic.score(features, head.join(continuous, binary))
    num_best = continuous.shape[1] // 4
    return _valued(critic, features, head.join(*mean_of_best(scores, continuous, binary, num_best=num_best)))


def _valued(critic: Critic, features: Tensor, action: Tensor) -> BestAction:
    return BestAction(action, torch.sigmoid(critic.score(features, action.unsqueeze(1)).squeeze(1)))
