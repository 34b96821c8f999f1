"""Turns: a hand that closes across an object from the nearer side is told from chance, with few examples."""

from __future__ import annotations

import numpy as np
import pytest

from am_ray.core.turns import Turn, find_turns

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


def test_eight_noisy_examples_are_enough_and_chance_is_rarely_taken_for_a_rule() -> None:
    rng = np.random.default_rng(0)
    found = [find_turns(*hand_and_objects(rng, 8, fold=2, offset=0.0, noise=0.25), OWN) for _ in range(200)]
    assert sum([(t.source, t.fold) for t in turns] == [(5, 2)] for turns in found) > 150
    chance = 0
    for _ in range(200):
        x, y = hand_and_objects(rng, 8, fold=2, offset=0.0, noise=0.0)
        yaw = rng.uniform(-1.5, 1.5, 8)
        y[:, 0], y[:, 1] = np.sin(yaw), np.cos(yaw)
        chance += bool(find_turns(x, y, OWN))
    assert chance < 20


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
    # The goal has these entries in another order, which is no pair.
    assert find_turns(x, y[:, [1, 0]], np.array([1, 0])) == []


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


def test_pairs_do_not_overlap() -> None:
    # Three entries that are 0, +-1, 0 or so: both pairs lie on the unit circle; the first that turns is taken.
    x, y = hand_and_objects(np.random.default_rng(3), 40, fold=1, offset=0.0, noise=0.05)
    sine, cosine = (values[:, [0]] for values in (y, np.roll(y, -1, axis=1)))
    wide_x, wide_y = np.concatenate([x[:, :2], x[:, [0]], x], axis=1), np.concatenate([sine, cosine, sine, y], axis=1)
    entries = [turn.entry for turn in find_turns(wide_x, wide_y, np.arange(11))]
    assert entries == [0, 3]
