from itertools import product
from math import comb

import numpy as np
import pytest

from am_ray.comparison.resampling import (
    bootstrap_interval,
    bootstrap_rates,
    holm,
    sign_flip_p,
    smallest_sign_flip_p,
)

# Differences in height of 15 pairs of cross- and self-fertilised plants, eighths of an inch (Darwin 1876).
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def by_enumeration(values: list[float]) -> float:
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in product((1, -1), repeat=len(values))
    ]
    return float(np.mean(np.array(sums) >= abs(sum(values)) - 1e-9))


def test_fishers_exact_test_of_darwins_plants() -> None:
    # Fisher (1935), The Design of Experiments, section 21: 1,726 of 32,768 choices of signs
    assert sign_flip_p(DARWIN) == pytest.approx(1726 / 32768, abs=1e-12)


def test_sign_flips_by_hand() -> None:
    # all three point the same way: 2 of 8
    assert sign_flip_p([0.1, 0.2, 0.4]) == pytest.approx(0.25)
    # sums of +-1 +-2 +-4 at least 3 in size: 7, 5, 3 and their negatives
    assert sign_flip_p([-1, 4, 0.0, 0]) == pytest.approx(1.0)
    assert sign_flip_p([-1, 2, 4]) == pytest.approx(4 / 8)


def test_with_outcomes_it_is_mcnemars_exact_test() -> None:
    # 8 wins, 1 loss, 30 ties: 2 * (1 + 9) / 2^9
    assert sign_flip_p([1.0] * 8 + [-1.0] + [0.0] * 30) == pytest.approx(20 / 512)


@pytest.mark.parametrize("seed", range(5))
def test_merging_equal_sums_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for values in (rng.normal(size=9).tolist(), rng.integers(-3, 4, size=9).astype(float).tolist()):
        assert sign_flip_p(values) == pytest.approx(by_enumeration(values))


def test_many_units_stay_exact_and_fast() -> None:
    # 200 wins, 100 losses: McNemar's, a binomial tail
    tail = 2 * sum(comb(300, k) for k in range(101)) / 2**300
    assert sign_flip_p([1.0] * 200 + [-1.0] * 100) == pytest.approx(tail, rel=1e-6)
    fractions = np.random.default_rng(0).normal(0.3, 1.0, size=60)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=(200_000, 60))
    drawn = float(np.mean(np.abs(signs @ fractions) >= abs(fractions.sum())))
    assert sign_flip_p(fractions) == pytest.approx(drawn, rel=0.15)


def test_no_value_no_test_and_ties_only_no_evidence() -> None:
    assert sign_flip_p([]) is None
    assert sign_flip_p([0.0, 0.0]) == 1.0


@pytest.mark.parametrize(("units", "smallest"), [(1, 1.0), (2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_smallest_p_is_what_unanimous_units_give(units: int, smallest: float) -> None:
    assert smallest_sign_flip_p(units) == smallest
    assert sign_flip_p(list(np.linspace(0.1, 0.3, units))) == pytest.approx(smallest)


def test_holms_adjustment_of_a_published_example() -> None:
    # the worked example of R's and Wikipedia's pages on Holm's method
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_skips_what_was_not_tested_and_stays_below_one() -> None:
    assert holm([None, 0.6, 0.7]) == [None, 1.0, 1.0]
    assert holm([]) == []


def test_bootstrap_draws_starts_once_for_all_seeds() -> None:
    """Seeds that do the same on every start do the same on every draw of the starts."""
    outcomes = np.tile(np.array([1.0] * 5 + [0.0] * 5), (4, 1))
    rates = bootstrap_rates(outcomes, np.random.default_rng(0))
    assert np.ptp(rates, axis=1).max() == 0
    assert rates.std() == pytest.approx((0.25 / 10) ** 0.5, rel=0.05)


def test_bootstrap_draws_seeds() -> None:
    outcomes = np.repeat([[0.0], [1.0]], 10, axis=1)
    means = bootstrap_rates(outcomes, np.random.default_rng(0)).mean(axis=1)
    shares = [float(np.mean(means == mean)) for mean in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_lost_episodes_do_not_count_as_failures() -> None:
    outcomes = np.array([[1.0, np.nan, 1.0], [np.nan, 1.0, 1.0]])
    assert np.all(bootstrap_rates(outcomes, np.random.default_rng(0)) == 1.0)


def test_bootstrap_is_reproducible_and_needs_two_seeds() -> None:
    outcomes = (np.random.default_rng(3).random((3, 20)) < 0.5).astype(float)

    def mean(drawn: np.ndarray) -> np.ndarray:
        return drawn.mean(axis=-1)

    interval = bootstrap_interval(outcomes, mean, seed=1)
    assert interval == bootstrap_interval(outcomes, mean, seed=1)
    assert interval is not None and interval[0] < outcomes.mean() < interval[1]
    assert bootstrap_interval(outcomes[:1], mean, seed=1) is None
