"""CEM finds the maximum of known functions, and never returns worse than it has seen."""

from __future__ import annotations

import torch

from am_ray.core.cem import best_of, cem_argmax


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_cem_finds_the_peak_of_a_quadratic() -> None:
    peak = torch.tensor([[0.3, -0.7, 0.1], [-0.9, 0.2, 0.6]])

    def score(actions: torch.Tensor) -> torch.Tensor:
        return -((actions - peak.unsqueeze(1)) ** 2).sum(dim=2)

    initial = torch.rand(2, 64, 3, generator=generator()) * 2 - 1
    best = cem_argmax(score, initial, num_iterations=6, num_elites=6, min_std=0.01, generator=generator())
    torch.testing.assert_close(best.action, peak, atol=0.05, rtol=0.0)
    torch.testing.assert_close(best.score, score(best.action.unsqueeze(1)).squeeze(1))


def test_cem_stays_in_the_box_when_the_peak_is_outside() -> None:
    best = cem_argmax(
        lambda a: a.sum(dim=2),
        torch.zeros(1, 32, 2),
        num_iterations=10,
        num_elites=4,
        min_std=0.3,
        generator=generator(),
    )
    assert best.action.tolist() == [[1.0, 1.0]]


def test_the_best_action_seen_wins_over_the_last_mean() -> None:
    """One needle among the initial samples, which a Gaussian refit loses at once."""
    needle = torch.tensor([0.123, 0.456])

    def score(actions: torch.Tensor) -> torch.Tensor:
        return ((actions - needle).abs().sum(dim=2) < 1e-6).float() - 0.001 * actions.abs().sum(dim=2)

    initial = torch.rand(1, 64, 2, generator=generator()) * 2 - 1
    initial[0, 17] = needle
    best = cem_argmax(score, initial, num_iterations=3, num_elites=6, min_std=0.02, generator=generator())
    torch.testing.assert_close(best.action[0], needle)


def test_more_iterations_do_not_lower_the_score() -> None:
    def score(actions: torch.Tensor) -> torch.Tensor:
        return torch.sin(5 * actions).sum(dim=2)

    initial = torch.rand(8, 16, 2, generator=generator()) * 2 - 1
    few = cem_argmax(score, initial, num_iterations=1, num_elites=4, min_std=0.1, generator=generator())
    many = cem_argmax(score, initial, num_iterations=5, num_elites=4, min_std=0.1, generator=generator())
    torch.testing.assert_close(few.score, best_of(score, initial).score)
    assert (many.score >= few.score).all()
    assert (many.score > few.score).any()
