"""Which checkpoints are evaluated, and where the curve crosses the threshold."""

from __future__ import annotations

import pytest

from benchmarks.time_to_success import Point, _between, _coarse, _crossing, _first, _isotonic


def point(update: int, rate: float, episodes: int = 100) -> Point:
    successes = round(rate * episodes)
    return Point(update, update / 10.0, update / 20.0, successes, episodes, successes / episodes, 0.0, 1.0)


def test_coarse_checkpoints_rise_and_end_with_the_last() -> None:
    assert _coarse(12, 4) == [2, 5, 8, 11]
    assert _coarse(3, 8) == _coarse(3, 0) == [0, 1, 2]
    assert _coarse(5, 2) == [1, 4]


def test_bisection_ends_at_the_first_success() -> None:
    """A curve that rises: the neighbours of the crossing are both evaluated, with few evaluations."""
    rates = [index / 31.0 for index in range(32)]
    points = {index: point(index, rates[index]) for index in _coarse(32, 2)}
    asked = 0
    while (index := _between(points, 0.3)) is not None:
        points[index] = point(index, rates[index])
        asked += 1
    first = min(index for index, each in points.items() if each.rate >= 0.3)
    assert first - 1 in points
    assert points[first - 1].rate < 0.3
    assert asked <= 5


def test_nothing_to_bisect_below_the_threshold() -> None:
    assert _between({3: point(3, 0.1), 7: point(7, 0.2)}, 0.5) is None


def test_crossing_by_hand() -> None:
    curve = [point(1000, 0.2), point(2000, 0.6)]
    assert _first(curve, 0.5) == {"update": 2000, "seconds": 200.0, "cpu_s": 100.0}
    line = _crossing(curve, [0.2, 0.6], 0.5)
    assert line == pytest.approx({"update": 1750.0, "seconds": 175.0, "cpu_s": 87.5})
    from_nothing = _crossing(curve, [0.2, 0.6], 0.1)
    assert from_nothing is not None
    assert from_nothing["update"] == pytest.approx(500.0)
    assert _first(curve, 0.7) is None
    assert _crossing(curve, [0.2, 0.6], 0.7) is None


def test_isotonic_by_hand() -> None:
    curve = [point(1, 0.5), point(2, 0.1), point(3, 0.3), point(4, 0.9), point(5, 0.7)]
    assert list(_isotonic(curve)) == pytest.approx([0.3, 0.3, 0.3, 0.8, 0.8])
    assert list(_isotonic(curve[1:4])) == pytest.approx([0.1, 0.3, 0.9])
