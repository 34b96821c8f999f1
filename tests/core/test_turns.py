"""Turns: a hand that closes across an object from the nearer side is told from chance, with few examples."""

from __future__ import annotations

import numpy as np
import pytest

from am_ray.core.turns import Turn, find_turns, possible_sources

OWN = np.arange(8)


def hand_and_objects(
    rng: np.random.Generator, examples: int, *, fold: int, offset: float, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """States of a hand (sin, cos), a height and two objects (cos, sin), with a position; the hand's yaw becomes that of the second object."""
    hand, first, second = rng.uniform(-0.8, 0.8, examples), *rng.uniform(-np.pi, np.pi, (2, examples))
    height, position = rng.uniform(0, 0.3, (2, examples))
    step = 2 * np.pi / fold
    yaw = second + offset + noise * rng.normal(size=examples)
    yaw += step * np.round((hand - yaw) / step)
    rest = [height, np.cos(first), np.sin(first), np.cos(second), np.sin(second), position]
    x, y = np.stack([np.sin(hand), np.cos(hand), *rest], axis=1), np.stack([np.sin(yaw), np.cos(yaw), *rest], axis=1)
    return x, y


@pytest.mark.parametrize(("fold", "offset"), [(1, 0.5), (2, 0.0), (2, 1.2), (4, 0.3)])
def test_the_source_the_symmetry_and_the_offset_are_found(fold: int, offset: float) -> None:
    x, y = hand_and_objects(np.random.default_rng(0), 40, fold=fold, offset=offset, noise=0.05)
    (found,) = find_turns(x, y, OWN)
    # (sin, cos) of the hand is the direction (cos, sin) of a quarter turn less its yaw.
    assert found == Turn(entry=0, source=5, mirrored=True, fold=fold, offset_rad=found.offset_rad)
    step = 2 * np.pi / fold
    assert abs((found.offset_rad - (np.pi / 2 - offset) + step / 2) % step - step / 2) < 0.05


def test_eight_noisy_examples_are_enough_and_chance_is_taken_for_a_rule_in_one_case_of_four() -> None:
    rng = np.random.default_rng(0)
    found = [find_turns(*hand_and_objects(rng, 8, fold=2, offset=0.0, noise=0.25), OWN) for _ in range(200)]
    assert sum([(t.source, t.fold) for t in turns] == [(5, 2)] for turns in found) > 150
    chance = 0
    for _ in range(200):
        x, y = hand_and_objects(rng, 8, fold=2, offset=0.0, noise=0.0)
        yaw = rng.uniform(-1.5, 1.5, 8)
        y[:, 0], y[:, 1] = np.sin(yaw), np.cos(yaw)
        chance += bool(find_turns(x, y, OWN))
    assert chance < 60


def test_the_fewer_sources_are_possible_the_fewer_examples_do() -> None:
    rng = np.random.default_rng(0)
    second = np.zeros((8, 8), np.bool_)
    second[:2, 5:7] = True
    neither = np.zeros((8, 8), np.bool_)
    found = np.zeros(2)
    for _ in range(200):
        x, y = hand_and_objects(rng, 4, fold=2, offset=0.0, noise=0.2)
        found += [[t.source for t in find_turns(x, y, OWN, allowed)] == [5] for allowed in (None, second)]
        assert find_turns(x, y, OWN, neither) == []
    assert found[0] < 150 < 180 < found[1]


def test_a_turn_is_along_what_the_hand_comes_to() -> None:
    # A hand (position, yaw), a shelf, and two things (position, yaw): the hand takes the second's position, the first thing its own.
    thing, own = np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 1, 3, 4, 5])
    slopes = np.zeros((5, 7))
    slopes[0, 5], slopes[2, 3] = 0.9, 1.0
    allowed = possible_sources(thing, own, slopes)
    assert allowed[:2].tolist() == [[False] * 5 + [True] * 2] * 2
    assert not allowed[2:].any()
    slopes[0, 5], slopes[1, 4], slopes[4, 0] = (
        0.4,
        -1.0,
        1.0,
    )  # too little of it; away from one; and a thing that comes to the hand
    allowed = possible_sources(thing, own, slopes)
    assert not allowed[:4].any() and allowed[4].tolist() == [True] * 3 + [False] * 4


def test_states_of_one_trajectory_are_one_example() -> None:
    rng = np.random.default_rng(1)
    x, y = hand_and_objects(rng, 3, fold=2, offset=0.0, noise=0.0)
    assert find_turns(np.repeat(x, 50, axis=0), np.repeat(y, 50, axis=0), OWN) == []
    x, y = hand_and_objects(rng, 20, fold=2, offset=0.0, noise=0.1)
    later = x.copy()  # a hand that has turned already, and an object that it has moved, say nothing
    later[:, :2], later[:, 5:7] = y[:, :2], [1.0, 0.0]
    both = np.stack([x, later], axis=1).reshape(40, 8)
    assert find_turns(both, np.repeat(y, 2, axis=0), OWN) == find_turns(x, y, OWN) != []


def test_what_stays_or_is_no_direction_does_not_turn() -> None:
    x, y = hand_and_objects(np.random.default_rng(2), 40, fold=2, offset=0.0, noise=0.1)
    assert find_turns(x, x, OWN) == []
    longer = y * np.array([2.0, 2.0, 1, 1, 1, 1, 1, 1])
    assert find_turns(x, longer, OWN) == []
    # A goal of the sine and another entry that equals the cosine has no pair of neighbours.
    wide = np.concatenate([x, x[:, [1]]], axis=1)
    assert find_turns(wide, y[:, [0, 1]], np.array([0, 8])) == []
    assert find_turns(wide, y[:, [0, 1]], np.array([0, 1])) != []


def test_what_always_ends_in_one_direction_is_left_to_constants() -> None:
    found = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x, y = hand_and_objects(rng, 12, fold=2, offset=0.0, noise=0.1)
        yaw, thing = 0.9 + 0.02 * rng.normal(size=12), 0.4 * rng.normal(size=12)
        y[:, 0], y[:, 1] = np.sin(yaw), np.cos(yaw)
        # An object that lies nearly the same way each time, and two entries of which one is 1 and the other 0.
        x[:, 5], x[:, 6] = np.cos(thing), np.sin(thing)
        x[:, 3], x[:, 4] = np.arange(12) % 2, 1 - np.arange(12) % 2
        y[:, 3:7] = x[:, 3:7]
        found += bool(find_turns(x, y, OWN))
    assert found == 0
    # Up to half turns: a hand that ends along one axis whatever lies there.
    x, y = hand_and_objects(np.random.default_rng(0), 40, fold=2, offset=0.0, noise=0.1)
    yaw = np.pi * (np.arange(40) % 2) + 0.7
    y[:, 0], y[:, 1] = np.sin(yaw), np.cos(yaw)
    x[:, 5], x[:, 6] = y[:, 5], y[:, 6] = 1.0, 0.0
    assert find_turns(x, y, OWN) == []


def test_a_turn_of_which_the_rule_leaves_more_than_half_is_not_made() -> None:
    rng = np.random.default_rng(4)
    x, _ = hand_and_objects(rng, 40, fold=2, offset=0.0, noise=0.0)
    yaw = np.arctan2(x[:, 6], x[:, 5]) + 0.2 * rng.normal(size=40)
    for spread, is_made in ((0.2, False), (0.6, True)):  # of the hand around where it ends
        hand = yaw + spread * rng.normal(size=40)
        before = np.concatenate([np.stack([np.sin(hand), np.cos(hand)], axis=1), x[:, 2:]], axis=1)
        after = np.concatenate([np.stack([np.sin(yaw), np.cos(yaw)], axis=1), x[:, 2:]], axis=1)
        assert bool(find_turns(before, after, OWN)) is is_made


def test_what_is_the_same_in_all_examples_does_not_hide_what_is_not() -> None:
    # The object lies along the walls or nearly, so that a direction that never changes (a flag beside a small number) is a good guess up to quarter turns.
    found = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = hand_and_objects(rng, 16, fold=2, offset=0.0, noise=0.0)
        thing = np.pi / 2 * rng.integers(0, 4, 16) + 0.05 * rng.normal(size=16)
        hand = np.arctan2(x[:, 0], x[:, 1])
        yaw = thing + 0.2 * rng.normal(size=16)
        yaw += np.pi * np.round((hand - yaw) / np.pi)
        for values in (x, y):
            values[:, 3], values[:, 4] = 1.0, 0.05 * rng.normal(size=16)
            values[:, 5], values[:, 6] = np.cos(thing), np.sin(thing)
        y[:, 0], y[:, 1] = np.sin(yaw), np.cos(yaw)
        found += [(turn.entry, turn.source) for turn in find_turns(x, y, OWN)] == [(0, 5)]
    assert found == 20


def test_pairs_do_not_overlap() -> None:
    # (sin, cos, sin): both pairs lie on the unit circle, and the first that turns is taken.
    x, y = hand_and_objects(np.random.default_rng(3), 40, fold=1, offset=0.0, noise=0.05)
    sine, cosine = (values[:, [0]] for values in (y, np.roll(y, -1, axis=1)))
    wide_x, wide_y = np.concatenate([x[:, :2], x[:, [0]], x], axis=1), np.concatenate([sine, cosine, sine, y], axis=1)
    entries = [turn.entry for turn in find_turns(wide_x, wide_y, np.arange(11))]
    assert entries == [0, 3]
