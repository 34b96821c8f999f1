import math

import numpy as np
import pytest

from am_ray.comparison.intervals import (
    counted,
    crossed_variance,
    independent_variance,
    method_difference,
    policies_difference,
    rate_interval,
    score_interval,
)
from am_ray.comparison.student_t import critical_value, two_sided_p
from am_ray.evaluation.intervals import Z_95, wilson_interval

NAN = math.nan


def test_crossed_variance_by_hand() -> None:
    # rows' means 1/4, 3/4; columns' means 1, 1, 0, 0; grand mean 1/2
    # MS_seeds = 4 * 1/8 = 1/2; MS_starts = 2 * 1/3 = 2/3; rest: (1,1,0,0 | 1,1,1,0) below
    outcomes = np.array([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    # columns' means: 1, 1/2, 1/2, 0: their variance is (1/4 + 0 + 0 + 1/4) / 3 = 1/6, so MS_starts = 1/3
    # rest: 1/4, -1/4, -1/4, 1/4 and the negatives: sum of squares 8/16 over 3 degrees: MS_rest = 1/6
    # variance = (1/2 + 1/3 - 1/6) / 8 = 1/12; df = (2/3)^2 / ((1/2)^2 / 1) = 16/9
    found = crossed_variance(outcomes)
    assert found.variance == pytest.approx(1 / 12)
    assert found.df == pytest.approx(16 / 9)


def test_seeds_that_agree_by_chance_do_not_count_as_certain() -> None:
    # both rows have mean 1/2, but they disagree on every start: the seeds' mean square is raised to the rest's
    outcomes = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    # rest +-1/2 eight times: 2 / 3 degrees; columns are all 1/2
    assert crossed_variance(outcomes).variance == pytest.approx(2 / 3 / 8)


def test_easy_and_hard_starts_do_not_average_out_over_seeds() -> None:
    """Every seed does the same: ten seeds know as much as one, and the variance is that of the starts alone."""
    one = np.array([1.0] * 15 + [0.0] * 5)
    outcomes = np.tile(one, (10, 1))
    assert crossed_variance(outcomes).variance == pytest.approx(0.75 * 0.25 * 20 / 19 / 20)


def test_one_seed_is_wilsons_interval() -> None:
    outcomes = np.array([[1.0] * 7 + [0.0] * 13])
    assert rate_interval(outcomes) == wilson_interval(7, 20)
    assert rate_interval(np.append(outcomes, [[NAN, NAN]], axis=1)) == wilson_interval(7, 20)


def test_score_interval_is_wilsons_where_n_is_whole() -> None:
    for successes, n in [(0, 9), (4, 9), (9, 9)]:
        assert score_interval(successes / n, n, Z_95) == pytest.approx(wilson_interval(successes, n), abs=1e-12)


def test_interval_of_several_seeds_by_hand() -> None:
    outcomes = np.array([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    # from test_crossed_variance_by_hand: variance 1/12, df 16/9; n_effective = (1/4) / (1/12) = 3
    t = critical_value(16 / 9)
    half = t / (1 + t * t / 3) * math.sqrt(0.25 / 3 + t * t / 36)
    assert rate_interval(outcomes) == pytest.approx((0.5 - half, 0.5 + half))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_successes_or_none_still_leave_a_width(value: float) -> None:
    low, high = rate_interval(np.full((3, 50), value))
    # Wilson's interval of 150 episodes, with the t of two degrees of freedom instead of 1.96
    t = critical_value(2)
    width = t * t / (150 + t * t)
    assert high - low == pytest.approx(width)
    assert (low if value == 0 else high) == value
    assert high - low > wilson_interval(150, 150)[1] - wilson_interval(150, 150)[0]


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (2, 4)])
def test_without_an_episode_nothing_is_known(shape: tuple[int, int]) -> None:
    nothing = np.full(shape, NAN)
    assert rate_interval(nothing) == (0.0, 1.0)
    for estimate in (method_difference(nothing), policies_difference(nothing)):
        assert (estimate.mean, estimate.interval, estimate.p) == (None, (-1.0, 1.0), None)


@pytest.mark.parametrize("outcomes", [[[1.0]], [[0.0]], [[1.0], [0.0]], [[0.25]], [[0.5, 0.5], [0.5, 0.5]]])
def test_the_smallest_studies_have_intervals(outcomes: list[list[float]]) -> None:
    low, high = rate_interval(np.array(outcomes))
    assert 0 <= low <= np.mean(outcomes) <= high <= 1
    assert low < high


def test_counted_drops_empty_seeds_and_starts() -> None:
    outcomes = np.array([[NAN, NAN, NAN], [1.0, NAN, 0.0], [NAN, NAN, 1.0]])
    np.testing.assert_array_equal(counted(outcomes), [[1.0, 0.0], [NAN, 1.0]])


def test_variance_with_agresti_and_mins_pseudo_pairs_by_hand() -> None:
    # 5 wins, 1 loss, 4 ties of 10, half a pair in each of the four cells: b = 5.5, c = 1.5, n = 12
    wins = np.array([1.0] * 5 + [-1.0] + [0.0] * 4)
    assert independent_variance(wins) == pytest.approx(((5.5 + 1.5) - (5.5 - 1.5) ** 2 / 12) / 12**2)
    assert independent_variance(np.zeros(10)) == pytest.approx(1 / 12**2)


def test_one_seed_tells_of_policies_only() -> None:
    differences = np.array([[1.0] * 20 + [0.0] * 10])
    method, policies = method_difference(differences), policies_difference(differences)
    assert method.mean == policies.mean == pytest.approx(2 / 3)
    assert (method.interval, method.p) == ((-1.0, 1.0), None)
    assert policies.interval[0] > 0.4


def test_difference_of_the_method_by_hand() -> None:
    # seeds' means 0.2, 0.5, 0.8, no start harder than another beyond chance: the variance of seeds dominates
    starts = 200
    rng = np.random.default_rng(0)
    differences = np.stack(
        [rng.permutation([1.0] * round(starts * p) + [0.0] * round(starts * (1 - p))) for p in (0.2, 0.5, 0.8)]
    )
    found = method_difference(differences)
    half = critical_value(2) * 0.3 / math.sqrt(3)
    assert found.mean == pytest.approx(0.5)
    # starts add little: the plain t interval over three seeds, within a few percent
    assert found.interval[0] == pytest.approx(max(-1.0, 0.5 - half), abs=0.03)
    assert found.interval[1] == 1.0  # 0.5 + half is above: a difference cannot be
    assert found.p == pytest.approx(two_sided_p(0.5 / (0.3 / math.sqrt(3)), 2), rel=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_one_is_never_surer_of_the_method_than_of_its_policies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    differences = rng.integers(-1, 2, size=(int(rng.integers(2, 6)), int(rng.integers(8, 40)))).astype(float)
    method, policies = method_difference(differences), policies_difference(differences)
    assert method.interval[0] <= policies.interval[0] + 1e-12
    assert method.interval[1] >= policies.interval[1] - 1e-12


def test_arms_that_do_the_same_differ_by_an_interval_around_zero() -> None:
    found = method_difference(np.zeros((3, 50)))
    assert found.mean == 0
    assert found.interval[0] == -found.interval[1]
    assert 0 < found.interval[1] < 0.1
    assert found.p == 1


def test_swapping_the_arms_mirrors_the_estimate() -> None:
    rng = np.random.default_rng(1)
    differences = rng.integers(-1, 2, size=(4, 30)).astype(float)
    differences[0, 3] = NAN
    one, other = method_difference(differences), method_difference(-differences)
    assert one.mean is not None and other.mean is not None
    assert one.mean == pytest.approx(-other.mean)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert one.p == pytest.approx(other.p)
