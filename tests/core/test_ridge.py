"""Ridge regression: by hand, against the normal equations of a larger problem, and in its limits."""

from __future__ import annotations

import numpy as np

from am_ray.core.ridge import ridge_regression


def test_by_hand() -> None:
    # x has variance 2/3 about its mean 0, its covariance with y is 4/3: weight (4/3) / (2/3 + 1/3) = 4/3.
    found = ridge_regression(np.array([[-1.0], [0.0], [1.0]]), np.array([[1.0], [3.0], [5.0]]), strength=1 / 3)
    assert np.allclose(found.weight, 4 / 3) and np.allclose(found.offset, 3.0)


def test_it_finds_an_affine_map_and_leaves_constant_entries_alone() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(200, 4)), np.full((200, 1), 2.0)], axis=1)
    weight, offset = np.concatenate([rng.normal(size=(3, 4)), np.zeros((3, 1))], axis=1), rng.normal(size=3)
    found = ridge_regression(x, x @ weight.T + offset, strength=1e-9)
    assert np.allclose(found.weight, weight, atol=1e-6) and np.allclose(found.offset, offset, atol=1e-6)


def test_it_minimises_its_objective() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 5)), rng.normal(size=(30, 2))

    def objective(offset: np.ndarray, weight: np.ndarray) -> float:
        return float(((y - offset - x @ weight.T) ** 2).sum(axis=1).mean() + 0.3 * (weight**2).sum())

    found = ridge_regression(x, y, strength=0.3)
    best = objective(found.offset, found.weight)
    for _ in range(50):
        step = 0.05 * rng.normal(size=found.weight.shape)
        assert objective(found.offset + 0.05 * rng.normal(size=2), found.weight) > best
        assert objective(found.offset, found.weight + step) > best


def test_a_strong_ridge_gives_the_mean_and_one_row_is_enough() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    assert np.allclose(ridge_regression(x, y, strength=1e12).offset, y.mean(axis=0))
    single = ridge_regression(x[:1], y[:1], strength=0.01)
    assert np.allclose(single.weight, 0.0) and np.allclose(single.offset, y[0])
