"""Sparse changes: by hand, from fewer examples than entries, and in their limits."""

from __future__ import annotations

import numpy as np

from am_ray.core.sparse_map import AffineMap, sparse_change


def change(x: np.ndarray, y: np.ndarray, own: np.ndarray, *, cost: float) -> AffineMap:
    """Of data whose units are the standardised ones."""
    return sparse_change(x, y, own, np.zeros(x.shape[1]), np.ones(x.shape[1]), cost=cost)


def test_a_weight_is_kept_if_it_is_worth_its_cost() -> None:
    # Entry 0 goes to 5 + 2 x_1 whatever it was; noise of the weight's variance is beside it.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2))
    y = 5.0 + 2.0 * x[:, 1:] + 2.0 * rng.normal(size=(4000, 1))
    kept, dropped = (change(x, y, np.array([0]), cost=cost) for cost in (0.002, 0.5))
    assert np.allclose(kept.weight, [[0.0, 2.0]], atol=0.1) and np.allclose(kept.offset, 5.0, atol=0.1)
    assert np.allclose(dropped.weight, 0.0, atol=0.01)
    assert 4.0 < dropped.offset < 5.0  # what is kept is made smaller, too


def test_a_change_of_which_less_than_half_is_explained_is_not_made() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3))
    noise = rng.normal(size=4000)
    y = np.stack([x[:, 0] + 1.2 * x[:, 1] + noise, x[:, 2] + 0.8 * x[:, 1] + noise], axis=1)
    found = change(x, y, np.array([0, 2]), cost=0.001)
    assert np.allclose(found.weight, [[1.0, 1.2, 0.0], [0.0, 0.0, 1.0]], atol=0.1)
    assert found.weight[1].tolist() == [0.0, 0.0, 1.0] and found.offset[1] == 0.0


def test_it_finds_the_few_entries_that_matter_among_more_than_there_are_examples() -> None:
    # As a hand that goes to an object (0), an object that is lifted (1), a thing that is put down (2), and others that stay.
    rng = np.random.default_rng(0)
    weight, offset = np.eye(40, 60), np.zeros(40)
    weight[0, 0], weight[0, 7], offset[1], weight[2, 2], offset[2] = 0.0, 1.0, 2.0, 0.0, -1.0
    x, unseen = rng.normal(size=(40, 60)), rng.normal(size=(500, 60))
    y = x @ weight.T + offset + 0.1 * rng.normal(size=(40, 40))
    found = change(x, y, np.arange(40), cost=0.1)
    assert ((np.abs(found.weight) > 0.5) == (weight == 1.0)).all()

    def error(o: np.ndarray, w: np.ndarray) -> float:
        return float(np.sqrt(((o + unseen @ w.T - offset - unseen @ weight.T) ** 2).mean()))

    # Ridge regression, which spreads over all entries what few of them explain, at the best of its strengths.
    dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
    ridges = [np.linalg.solve(dx.T @ dx / 40 + s * np.eye(60), dx.T @ dy / 40).T for s in (0.003, 0.03, 0.1, 0.3, 1.0)]
    best = min(error(y.mean(axis=0) - w @ x.mean(axis=0), w) for w in ridges)
    assert error(found.offset, found.weight) < 0.1 < 0.3 < best


def test_where_nothing_changes_the_map_is_the_identity_and_one_row_is_enough() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=(200, 4)), np.full((200, 1), 2.0)], axis=1)
    same = change(x, x[:, 1:3], np.array([1, 2]), cost=0.01)
    assert np.allclose(same.weight, np.eye(2, 5, k=1)) and np.allclose(same.offset, 0.0)
    single = change(x[:1], x[:1, :2] + 1.0, np.array([0, 1]), cost=0.1)
    assert np.allclose(single.offset + single.weight @ x[0], x[0, :2] + 1.0, atol=0.1)


def test_an_entry_that_takes_the_value_of_another_is_found_in_five_examples_of_sixty_entries() -> None:
    # In metres: the hand (0) comes to 3 mm of where the object (7) is, whose spread and mean differ; nothing else changes much.
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=60) / 10.0, rng.uniform(0.03, 0.1, 60)
    state = mean + std * rng.normal(size=(5, 60))
    after = state + 0.05 * std * rng.normal(size=(5, 60))
    after[:, 0] = state[:, 7] + 0.003 * rng.normal(size=5)
    found = sparse_change((state - mean) / std, (after - mean) / std, np.arange(60), mean, std, cost=0.2)
    expected = np.eye(60)
    expected[0, 0], expected[0, 7] = 0.0, std[7] / std[0]
    assert np.allclose(found.weight, expected) and np.allclose(found.offset[1:], 0.0)
    assert np.isclose(found.offset[0], (mean[7] - mean[0]) / std[0])


def test_the_value_of_another_entry_is_not_taken_where_most_of_the_change_is_left() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 2))
    for noise, expected in ((0.1, [0.0, 1.0]), (1.8, [1.0, 0.0])):
        y = x[:, 1:] + noise * rng.permutation(np.repeat([-1.0, 1.0], 6))[:, None]
        assert change(x, y, np.array([0]), cost=0.08).weight.tolist() == [expected]


def test_what_comes_to_a_thing_along_one_axis_comes_to_it_along_the_next() -> None:
    # A hand (0, 1, 2) over a thing (5, 6, 7), in metres. Along the first axis it travels far, along the second it was near already, and the third ends at one height.
    rng = np.random.default_rng(0)
    mean, std = np.zeros(9), np.full(9, 0.1)
    state = 0.1 * rng.normal(size=(8, 9))
    state[:, 1] = state[:, 6] + 0.02 * rng.normal(size=8)
    after = state.copy()
    after[:, 0] = state[:, 5] + 0.02 * rng.normal(size=8)
    after[:, 1] = state[:, 6] + 0.03 * rng.normal(size=8)
    after[:, 2] = 0.08 + 0.005 * rng.normal(size=8)

    def weight(order: list[int], own: list[int]) -> np.ndarray:
        x, y = state[:, order] / std, after[:, order][:, own] / std[own]
        return sparse_change(x, y, np.array(own), mean, std, cost=1.0 / 8).weight

    order = list(range(9))
    alone, beside = weight(order, [1]), weight(order, [0, 1, 2])
    assert alone[0, 6] == 0.0
    assert beside[0, 5] == beside[1, 6] == 1.0 and np.count_nonzero(beside[:2]) == 2
    assert beside[2, 7] < 0.3  # half of what one height leaves is not explained
    # Entries that are no neighbours in x say nothing of one another.
    assert weight([0, 2, 1, *order[3:]], [0, 2])[1].tolist() == np.eye(9)[2].tolist()


def test_a_neighbours_way_is_not_taken_against_what_the_examples_say() -> None:
    # A hand (0, 1, 2), of which the outer entries take the values ``left`` and ``right``; the middle one was near the value 5 before.
    rng = np.random.default_rng(0)
    state = rng.normal(size=(12, 12))
    state[:, 1] = state[:, 5] + 0.15 * rng.normal(size=12)
    state[:, 9] = state[:, 5] + 0.15 * rng.normal(size=12)
    state[:, 7] = 0.05 * rng.normal(size=12)
    state[:, 10] = state[:, 11] + 0.05 * rng.normal(size=12)
    noisy = state[:, 5] + 0.2 * rng.normal(size=12)  # not enough of the change to be found alone
    cases = {
        "a constant, exactly": (4, 11, state[:, 1] + 0.3, [1]),
        "no change": (4, 11, state[:, 1], [1]),
        "one value, near which another one is": (6, 11, 0.1 * rng.normal(size=12), []),
        "another value, to which the neighbour's is near": (9, 3, state[:, 11] + 0.1 * rng.normal(size=12), [11]),
        "from the left": (4, 11, noisy, [5]),
        "from the right": (3, 6, noisy, [5]),
        "the nearer of two, left": (4, 10, noisy, [5]),
        "the nearer of two, right": (8, 6, noisy, [5]),
    }
    for name, (left, right, middle, taken) in cases.items():
        y = np.stack([state[:, left], middle, state[:, right]], axis=1)
        weight = change(state, y, np.arange(3), cost=1.0 / 12).weight
        assert weight[0, left] == weight[2, right] == 1.0, name
        assert np.flatnonzero(np.abs(weight[1]) > 0.1).tolist() == taken, name


def test_what_goes_to_one_value_does_not_follow_things_that_happen_to_be_near_it() -> None:
    # A hand goes to 3 cm, the height of five objects at rest; six examples, 2 mm of noise, no link between them.
    rng = np.random.default_rng(0)
    mean, std = np.array([0.25, *[0.03] * 5]), np.array([0.05, *[0.03] * 5])
    for examples, most in ((1, 0), (6, 20)):  # of 200
        followed = 0
        for _ in range(200):
            hand, things = 0.25 + 0.05 * rng.normal(size=(examples, 1)), 0.03 + 0.002 * rng.normal(size=(examples, 5))
            after = 0.03 + 0.002 * rng.normal(size=(examples, 1))
            x, y = (np.concatenate([hand, things], axis=1) - mean) / std, (after - mean[0]) / std[0]
            found = sparse_change(x, y, np.array([0]), mean, std, cost=1.0 / examples)
            followed += bool(np.abs(found.weight[0, 1:]).max() > 0.1)
        assert followed <= most


def test_a_change_of_less_than_a_tenth_of_the_spread_is_not_made() -> None:
    x = np.random.default_rng(0).normal(size=(100, 3))
    small, large = (change(x, x[:, :1] + by, np.array([0]), cost=0.01) for by in (0.095, 0.105))
    assert small.offset == 0.0 and small.weight.tolist() == [[1.0, 0.0, 0.0]]
    assert np.allclose(large.offset, 0.105, atol=0.01) and np.allclose(large.weight, [[1.0, 0.0, 0.0]], atol=0.01)
