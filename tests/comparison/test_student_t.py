import math

import pytest

from am_ray.comparison.student_t import critical_value, two_sided_p


@pytest.mark.parametrize(
    ("df", "table"),
    # Any printed table of the t distribution, 97.5 % column.
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042), (120, 1.980), (1e9, 1.960)],
)
def test_critical_values_of_the_tables(df: float, table: float) -> None:
    assert critical_value(df) == pytest.approx(table, abs=6e-4)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 5.0, 60.0])
def test_closed_forms(t: float) -> None:
    # one degree of freedom is Cauchy's distribution; two have P(|T| > t) = 1 - t / sqrt(2 + t^2)
    assert two_sided_p(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t), rel=1e-9)
    assert two_sided_p(-t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-9)


def test_an_infinite_t_has_no_tail() -> None:
    assert two_sided_p(math.inf, 3) == pytest.approx(0.0, abs=1e-12)


def test_fractions_of_a_degree_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for df in (1.5, 2.7, 17.3, 4_000.5):
        assert critical_value(df) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-5)
        assert two_sided_p(2.5, df) == pytest.approx(2 * stats.t.sf(2.5, df), rel=1e-5)
