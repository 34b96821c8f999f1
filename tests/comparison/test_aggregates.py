import math

import numpy as np
import pytest

from am_ray.comparison.aggregates import (
    area_weights,
    episodes_to,
    improvement_interval,
    interquartile_mean,
    probability_of_improvement,
)
from am_ray.evaluation.intervals import Z_95


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.0, 0.2, 0.4, 1.0], 0.3),  # one of four is cut at either end
        ([1.0, 0.0, 0.5], 0.5),  # a quarter of three is less than one: the mean
        ([0.0, 0.1, 0.2, 0.6, 0.9], 0.3),  # five: one at either end
        ([0, 0, 3, 4, 5, 6, 100, 100], 4.5),
    ],
)
def test_interquartile_mean_by_hand(scores: list[float], expected: float) -> None:
    assert float(interquartile_mean(np.array(scores))) == pytest.approx(expected)


def test_interquartile_mean_is_what_rliable_calls() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for seeds in range(1, 14):
        scores = rng.random((3, seeds))
        np.testing.assert_allclose(interquartile_mean(scores), stats.trim_mean(scores, 0.25, axis=1))


def test_probability_of_improvement_of_rliables_own_test() -> None:
    # rliable's metrics_test.py: 1/3 for these runs of one task
    assert probability_of_improvement([1, 2, 1, 2], [1, 2, 3]) == pytest.approx(1 / 3)


def test_probability_of_improvement_by_hand_with_ties() -> None:
    # pairs: .4>.2, .4=.4, .4<.6; .8 wins all three
    assert probability_of_improvement([0.4, 0.8], [0.2, 0.4, 0.6]) == pytest.approx(4.5 / 6)
    assert probability_of_improvement([0.5, 0.5], [0.5, 0.5]) == 0.5
    assert probability_of_improvement([1.0], [0.0]) == 1.0


def test_probability_of_improvement_is_the_mann_whitney_statistic() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 6, 7) / 5, rng.integers(0, 6, 5) / 5
    assert probability_of_improvement(x.tolist(), y.tolist()) == pytest.approx(stats.mannwhitneyu(x, y).statistic / 35)


@pytest.mark.parametrize(("probability", "m", "n"), [(0.7, 5, 5), (0.5, 3, 4), (0.95, 10, 10)])
def test_bounds_of_improvement_solve_newcombes_equation(probability: float, m: int, n: int) -> None:
    for theta in improvement_interval(probability, m, n):
        spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) / (m * n) * (1 + ((m + n) / 2 - 1) * spread)
        assert abs(probability - theta) == pytest.approx(Z_95 * math.sqrt(variance), rel=1e-6)


def test_three_runs_above_three_are_little_evidence() -> None:
    low, high = improvement_interval(1.0, 3, 3)
    # 1 - theta = 1.96^2 theta / 9 * (1 + 2 * spread); near one half the spread is 2/3: theta = 1 / (1 + 1.96^2 * 7 / 27)
    assert (low, high) == (pytest.approx(1 / (1 + Z_95**2 * 7 / 27), abs=1e-4), 1.0)
    assert improvement_interval(0.0, 3, 3) == pytest.approx((0.0, 1 - low), abs=1e-9)


def test_more_runs_narrow_the_improvement() -> None:
    widths = [np.ptp(improvement_interval(0.8, runs, runs)) for runs in (1, 3, 10, 100)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.15


def test_area_is_the_mean_over_the_axis() -> None:
    # trapezoids by hand: 25 * (0 + .2)/2 + 75 * (.2 + .8)/2 over 100
    weights = area_weights([0, 25, 100])
    assert float(weights @ [0.0, 0.2, 0.8]) == pytest.approx((25 * 0.1 + 75 * 0.5) / 100)
    assert weights.sum() == pytest.approx(1.0)


def test_area_is_numpys_trapezoid() -> None:
    sizes, rates = [25, 50, 100, 200], np.array([0.1, 0.7, 0.3, 0.9])
    assert float(area_weights(sizes) @ rates) == pytest.approx(np.trapezoid(rates, sizes) / 175)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([0.1, 0.3, 0.7], 75.0),  # half way between 50 and 100
        ([0.6, 0.2, 0.9], 25.0),  # above it at its first size
        ([0.1, 0.5, 0.2], 50.0),  # the first time, even if it falls again
        ([0.1, 0.2, 0.49], None),
    ],
)
def test_episodes_to_one_half(rates: list[float], expected: float | None) -> None:
    assert episodes_to(0.5, [25, 50, 100], rates) == (None if expected is None else pytest.approx(expected))
