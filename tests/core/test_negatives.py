"""Negatives: the distributions they are drawn from."""

from __future__ import annotations

import math

import pytest
import torch

from am_ray.core.negatives import (
    draw_negatives,
    expected_weights,
    negative_weights,
    other_actions,
    perturbed_actions,
    uniform_actions,
)

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_draw_follows_exp_of_the_score_over_the_temperature() -> None:
    candidates = torch.tensor([[[0.0], [1.0], [2.0]]])
    scores = torch.tensor([[0.0, 1.0, 2.0]])
    for temperature in (1.0, 0.5):
        drawn = draw_negatives(candidates, scores, num=60_000, temperature=temperature, generator=generator())
        shares = torch.bincount(drawn.flatten().long(), minlength=3) / 60_000
        weights = [math.exp(k / temperature) for k in range(3)]
        assert shares.tolist() == pytest.approx([w / sum(weights) for w in weights], abs=0.01)


def test_uniform_actions_fill_the_box() -> None:
    actions = uniform_actions(1_000, 10, 2, generator=generator(), device=CPU).flatten()
    assert actions.min() < -0.99
    assert actions.max() > 0.99
    assert actions.mean().abs() < 0.02


def test_binary_entries_of_uniform_actions_are_at_both_ends_alike_often() -> None:
    box, ends = (
        uniform_actions(1_000, 10, 3, generator=generator(), device=CPU, binary=binary) for binary in ((), (-1,))
    )
    assert torch.equal(ends[..., :2], box[..., :2])
    assert set(ends[..., 2].flatten().tolist()) == {-1.0, 1.0}
    assert ends[..., 2].mean().abs() < 0.03


def test_other_actions_are_every_other_row_alike_and_never_the_own_one() -> None:
    drawn = other_actions(torch.arange(5.0).unsqueeze(1), 20_000, generator=generator())[2].flatten().long()
    shares = torch.bincount(drawn, minlength=5) / 20_000
    assert shares[2] == 0
    assert shares[[0, 1, 3, 4]].tolist() == pytest.approx([0.25] * 4, abs=0.01)


def test_perturbed_actions_have_the_asked_spread_and_flips() -> None:
    action = torch.tensor([[0.5, 0.5]])
    near = perturbed_actions(action, 20_000, std=0.1, flip_share=0.0, generator=generator())
    assert near.std().item() == pytest.approx(0.1, abs=0.01)
    assert near.mean().item() == pytest.approx(0.5, abs=0.01)
    flipped = perturbed_actions(action, 20_000, std=0.0, flip_share=0.4, generator=generator())
    assert (flipped < 0).any(dim=-1).float().mean().item() == pytest.approx(0.4, abs=0.02)
    assert (flipped < 0).all(dim=-1).sum() == 0


@pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0])
def test_more_draws_weigh_less_and_stand_for_as_many_negatives(ratio: float) -> None:
    weights = negative_weights(3, negative_ratio=ratio, generator=generator(), device=CPU, num_draws=8)
    assert weights.shape == (3, 8)
    assert weights.sum(dim=1).tolist() == pytest.approx([ratio] * 3)
    assert negative_weights(3, negative_ratio=0.0, generator=generator(), device=CPU, num_draws=8).shape == (3, 0)


@pytest.mark.parametrize(("ratio", "columns"), [(0.0, 0), (0.25, 1), (1.0, 1), (2.5, 3)])
def test_weights_sum_to_the_ratio_in_expectation(ratio: float, columns: int) -> None:
    weights = negative_weights(20_000, negative_ratio=ratio, generator=generator(), device=CPU)
    assert weights.shape == (20_000, columns)
    assert weights.sum(dim=1).mean().item() == pytest.approx(ratio, abs=0.02)


def test_the_expectation_is_what_draws_give_on_average() -> None:
    candidates, scores = torch.tensor([[[1.0], [5.0], [-3.0]]]), torch.tensor([[0.5, -1.0, 1.5]])
    weights = expected_weights(scores, negative_ratio=2.0, temperature=0.7)
    drawn = draw_negatives(candidates, scores, num=100_000, temperature=0.7, generator=generator())
    assert (weights * candidates.squeeze(2)).sum().item() == pytest.approx(2.0 * drawn.mean().item(), abs=0.05)
    assert weights.sum().item() == pytest.approx(2.0)
