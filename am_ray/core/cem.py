"""max and argmax over continuous actions: the cross-entropy method (Rubinstein 1999; QT-Opt, Sec. 4.2).

Scores come from a function that has already encoded (s, g), so one call scores many actions cheaply.
The best action *seen* is returned, not the last mean: with narrow peaks the mean of the elites is often worse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from am_ray.arrays import Float

ScoreFn = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class BestAction:
    """The best action seen, ``(b, a)``, and its score, ``(b,)``."""

    action: Tensor
    score: Tensor


@torch.no_grad()
def best_of(score: ScoreFn, candidates: Float[Tensor, "b n a"]) -> BestAction:
    """The candidate with the highest score."""
    return _best(candidates, score(candidates))


@torch.no_grad()
def cem_argmax(
    score: ScoreFn,
    initial: Float[Tensor, "b n a"],
    *,
    num_iterations: int,
    num_elites: int,
    min_std: float,
    generator: torch.Generator,
) -> BestAction:
    """argmax_a of ``score`` over the box [-1, 1]^a.

    Args:
        score: Maps actions ``(b, n, a)`` to scores ``(b, n)``.
        initial: Samples of the first iteration, in [-1, 1]; their number is used in every iteration.
        num_iterations: Rounds of scoring, at least 1; the first scores ``initial``.
        num_elites: Best samples that the next round's Gaussian is fitted to; at most n are used.
        min_std: Floor of the Gaussian's standard deviation.
        generator: The only source of randomness.

    Returns:
        The best action over all iterations. No gradient flows.
    """
    batch, num_samples, action_dim = initial.shape
    samples, scores = initial, score(initial)
    best = _best(samples, scores)
    for _ in range(num_iterations - 1):
        elite_index = scores.topk(min(num_elites, num_samples), dim=1).indices
        elites = torch.gather(samples, 1, elite_index.unsqueeze(-1).expand(-1, -1, action_dim))
        mean, std = elites.mean(dim=1, keepdim=True), elites.std(dim=1, keepdim=True, correction=0).clamp_min(min_std)
        noise = torch.randn(batch, num_samples, action_dim, generator=generator, device=initial.device)
        samples = (mean + std * noise).clamp(-1.0, 1.0)
        scores = score(samples)
        found = _best(samples, scores)
        better = found.score > best.score
        best = BestAction(
            torch.where(better.unsqueeze(-1), found.action, best.action),
            torch.where(better, found.score, best.score),
        )
    return best


def _best(actions: Float[Tensor, "b n a"], scores: Float[Tensor, "b n"]) -> BestAction:
    best_score, index = scores.max(dim=1)
    return BestAction(actions[torch.arange(len(actions), device=actions.device), index], best_score)
