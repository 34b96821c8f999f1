"""Contrastive artificial negatives: a~ drawn ~ exp(Q(s, a~, g)), whose Q is pushed to 0 (paper, Sec. 4).

The paper does not say how exp(Q) is sampled. Here: a finite set of candidates per transition, from several sources, then an
exact draw from the softmax over their scores. With candidates uniform in the action box and scores Q / 1 this is
self-normalised importance sampling of the paper's density.

What Q becomes depends on where candidates come from. At a pair (s, g), with b(a | s, g) the density of the data's actions among
transitions that led to g, n(a) that of w negatives each, and targets y, the loss is least at

    Q = y b / (b + w n)

so Q ranks actions of like y by b / n. Negatives are drawn ~ m(a) exp(score / temperature) from candidates of density m, so n grows
with Q itself: at temperature 1 the odds of Q go with the square root of b / m, at a high one with b / m; the ranking is the same.

Far candidates (uniform ones, actions of other transitions) have an m that is nearly flat where the data's actions lie: Q ranks them by
b(a | s, g), by how common they are. Candidates from b(a | s), what the data do in s whatever came of it (ours: `negative_behavior`, by
a head of the models), rank them by b(a | s, g) / b(a | s) = P(g | s, a) / P(g | s), by Bayes' rule: by which of them lead to g. C-learning
and contrastive RL (Eysenbach et al. 2021, 2022) get to this ranking, by P(g | s, a) / P(g), from goals that are negatives in place of actions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from am_ray.arrays import Float


@torch.no_grad()
def uniform_actions(
    batch: int,
    num: int,
    action_dim: int,
    *,
    generator: torch.Generator,
    device: torch.device,
    binary: Sequence[int] = (),
) -> Float[Tensor, "b n a"]:
    """Uniform draws from the box [-1, 1]^a, in the ``binary`` entries from its two ends.

    Over the whole box, the values of a two-valued entry are drawn with probability 0: as negatives such draws say nothing about them.
    """
    actions = torch.rand(batch, num, action_dim, generator=generator, device=device) * 2.0 - 1.0
    for entry in binary:
        actions[..., entry] = torch.where(actions[..., entry] < 0.0, -1.0, 1.0)
    return actions


@torch.no_grad()
def other_actions(actions: Float[Tensor, "b a"], num: int, *, generator: torch.Generator) -> Float[Tensor, "b n a"]:
    """Actions of other transitions of the batch, uniformly, never the transition's own row (with b = 1: its own)."""
    batch = len(actions)
    offset = torch.randint(1, max(batch, 2), (batch, num), generator=generator, device=actions.device)
    row = (torch.arange(batch, device=actions.device).unsqueeze(1) + offset) % batch
    return actions[row]


@torch.no_grad()
def perturbed_actions(
    actions: Float[Tensor, "b a"], num: int, *, std: float, flip_share: float, generator: torch.Generator
) -> Float[Tensor, "b n a"]:
    """The transition's own action plus Gaussian noise, clipped to [-1, 1].

    Args:
        actions: The data's actions, in [-1, 1].
        num: Perturbations per action.
        std: Standard deviation of the noise.
        flip_share: Share of draws in which one random entry changes its sign first (a gripper that opens where
            it closed; a motion the other way).
        generator: The only source of randomness.
    """
    batch, action_dim = actions.shape
    shape, device = (batch, num, action_dim), actions.device
    entry = torch.randint(0, action_dim, (batch, num, 1), generator=generator, device=device)
    flipped = torch.rand(batch, num, 1, generator=generator, device=device) < flip_share
    sign = torch.ones(shape, device=device).scatter_(2, entry, 1.0 - 2.0 * flipped.float())
    noise = torch.randn(shape, generator=generator, device=device) * std
    return (actions.unsqueeze(1) * sign + noise).clamp(-1.0, 1.0)


@torch.no_grad()
def draw_negatives(
    candidates: Float[Tensor, "b n a"],
    scores: Float[Tensor, "b n"],
    *,
    num: int,
    temperature: float,
    generator: torch.Generator,
) -> Float[Tensor, "b m a"]:
    """``num`` draws with replacement from the candidates, with probability ~ exp(score / temperature).

    No gradient flows through the draw (decided: the sampling distribution is not trained).
    """
    # Scores that overflowed would make the draw itself raise; the loss they lead to is not finite and is skipped.
    probabilities = torch.softmax((scores / temperature).nan_to_num(), dim=1)
    index = torch.multinomial(probabilities, num, replacement=True, generator=generator)
    return torch.gather(candidates, 1, index.unsqueeze(-1).expand(-1, -1, candidates.shape[-1]))


@torch.no_grad()
def negative_weights(
    batch: int, *, negative_ratio: float, generator: torch.Generator, device: torch.device, num_draws: int = 0
) -> Float[Tensor, "b m"]:
    """Weights of the draws per transition, whose sum has the expectation ``negative_ratio``.

    ceil(negative_ratio) draws: whole ones weigh 1; of the fractional last one a share of the transitions gets 1, the others 0.
    With ``num_draws`` there are so many, all alike: the same expectation with less noise. Ours.
    """
    if num_draws and negative_ratio:
        return torch.full((batch, num_draws), negative_ratio / num_draws, device=device)
    num = math.ceil(negative_ratio)
    weights = torch.ones(batch, num, device=device)
    share = negative_ratio - math.floor(negative_ratio)
    if share:
        weights[:, -1] = (torch.rand(batch, generator=generator, device=device) < share).float()
    return weights


@torch.no_grad()
def expected_weights(
    scores: Float[Tensor, "b n"], *, negative_ratio: float, temperature: float
) -> Float[Tensor, "b n"]:
    """The weight of each candidate in the expectation over ``negative_ratio`` draws: ratio * softmax(score / temperature).

    With these weights the negatives' loss is the mean of what draws give, so training sees the same objective with less
    noise. No gradient flows through the weights, as none flows through a draw.
    """
    return negative_ratio * torch.softmax((scores / temperature).nan_to_num(), dim=1)
