"""Like states of other episodes: against brute force, and what cannot be near."""

from __future__ import annotations

import numpy as np
import pytest

from am_ray.core.chaining import find_links

LENGTHS = np.array([3, 1, 5, 2])
FIRST_ROW = np.array([0, 4, 6, 12])
NUM_ROWS = 15
ROWS = np.arange(NUM_ROWS)
EPISODE = np.repeat(np.arange(4), LENGTHS + 1)
LAST_ROW = FIRST_ROW + LENGTHS


def states(dim: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(NUM_ROWS, dim)).astype(np.float32)


def distances(values: np.ndarray) -> np.ndarray:
    scaled = (values / values.std(axis=0)).astype(np.float64)
    return np.sqrt(np.mean((scaled[:, None] - scaled[None]) ** 2, axis=2))


def nearest_by_brute_force(distance: np.ndarray, row: int, window: int) -> tuple[list[int], list[float]]:
    """The nearest row of each other episode of the window but its last one, the nearest episodes first."""
    apart = np.abs(EPISODE - EPISODE[row])
    found = []
    for episode in range(len(LENGTHS)):
        allowed = np.flatnonzero((episode == EPISODE) & (apart > 0) & (apart <= window) & ~np.isin(ROWS, LAST_ROW))
        if len(allowed):
            found.append(min((float(distance[row, other]), int(other)) for other in allowed))
    return [other for _, other in sorted(found)], [d for d, _ in sorted(found)]


@pytest.mark.parametrize("window", [1, 2, 9])
def test_the_nearest_row_of_each_other_episode_against_brute_force(window: int) -> None:
    links = find_links(states(), FIRST_ROW, LENGTHS, window=window, num=2, max_distance=1.0)
    distance = distances(states())
    for row in range(NUM_ROWS):
        expected, apart = nearest_by_brute_force(distance, row, window)
        found = links.row[row][: len(expected)]
        assert found.tolist() == expected[:2]
        assert links.is_near[row][: len(expected)].tolist() == [d <= 1.0 for d in apart[:2]]


def test_distances_over_some_entries_are_in_their_own_units() -> None:
    links = find_links(states(), FIRST_ROW, LENGTHS, window=9, num=3, max_distance=1.5, entries=[0, 2])
    chosen = states()[:, [0, 2]].astype(np.float64)
    distance = np.linalg.norm(chosen[:, None] - chosen[None], axis=2)
    for row in range(NUM_ROWS):
        expected, apart = nearest_by_brute_force(distance, row, 9)
        assert links.row[row].tolist() == expected
        assert links.is_near[row].tolist() == [d <= 1.5 for d in apart]
    further = find_links(states() * 2.0, FIRST_ROW, LENGTHS, window=9, num=3, max_distance=3.0, entries=[0, 2])
    np.testing.assert_array_equal(further.is_near, links.is_near)


def test_units_and_entries_that_never_vary_change_nothing() -> None:
    plain = find_links(states(), FIRST_ROW, LENGTHS, window=9, num=4, max_distance=1.0)
    rescaled = states() * [1000.0, 1.0, 0.01] + [0.0, 5.0, 0.0]
    constant = np.concatenate([rescaled, np.full((NUM_ROWS, 2), [[0.0, 7.0]])], axis=1)
    other = find_links(constant, FIRST_ROW, LENGTHS, window=9, num=4, max_distance=1.0)
    np.testing.assert_array_equal(other.row, plain.row)
    np.testing.assert_array_equal(other.is_near, plain.is_near)


def test_where_there_are_too_few_episodes_the_nearest_are_listed_again() -> None:
    links = find_links(states(), FIRST_ROW[:2], LENGTHS[:2], window=1, num=5, max_distance=9.0)
    assert (links.row[:4] == 4).all()  # the second episode has one row where something was done
    assert set(links.row[4].tolist()) == {int(distances(states())[4, :3].argmin())}


def test_near_rows_come_first_and_count_once() -> None:
    links = find_links(states(), FIRST_ROW, LENGTHS, window=1, num=5, max_distance=1.0)
    assert (np.diff(links.is_near.astype(int), axis=1) <= 0).all()
    assert links.is_near.sum(axis=1).max() == 2


def test_a_single_episode_has_none() -> None:
    assert not find_links(states(), FIRST_ROW[:1], LENGTHS[:1], window=1, num=2, max_distance=9.0).is_near.any()
