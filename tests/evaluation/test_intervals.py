import math

import pytest

from am_ray.evaluation.intervals import Z_95, wilson_interval


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_by_hand_at_the_ends() -> None:
    # p = 0: centre = half = z^2 / 2n / (1 + z^2 / n), so the interval is [0, z^2 / (n + z^2)]
    assert wilson_interval(0, 10) == pytest.approx((0.0, 3.841459 / 13.841459), abs=1e-6)
    assert wilson_interval(10, 10) == pytest.approx((10 / 13.841459, 1.0), abs=1e-6)


@pytest.mark.parametrize(("successes", "n"), [(1, 3), (7, 20), (38, 64), (63, 64)])
def test_bounds_solve_the_score_equation(successes: int, n: int) -> None:
    """The interval holds exactly the rates from which the observed one lies at most z standard errors away."""
    for bound in wilson_interval(successes, n):
        assert abs(successes / n - bound) == pytest.approx(Z_95 * math.sqrt(bound * (1 - bound) / n))


def test_failures_mirror_successes() -> None:
    low, high = wilson_interval(12, 19)
    assert wilson_interval(7, 19) == pytest.approx((1 - high, 1 - low))


def test_no_episode_tells_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3), (1, 0)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(successes, n)
