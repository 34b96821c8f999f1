"""The relabel kernel: by hand, against brute force, and by distribution (end points included)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from am_ray.core.chaining import Links
from am_ray.core.relabel import RelabelledIndices, gather, relabel
from am_ray.types import DataSpec, EpisodeBlock, GoalSource

LENGTHS = np.array([3, 1, 5])
FIRST_ROW = np.array([0, 4, 6])
NUM_ROWS = 12


def draw(num_samples: int = 60_000, *, seed: int = 0, **overrides: Any) -> RelabelledIndices:
    arguments: dict[str, Any] = {
        "num_goal_rows": NUM_ROWS,
        "chaining_ratio": 0.0,
        "goal_sampling": "uniform",
        "discount": 0.9,
        "chaining_window": 0,
        "past_share": 0.0,
        "last_state_share": 0.0,
        "next_state_share": 0.0,
    }
    return relabel(
        FIRST_ROW, LENGTHS, num_samples=num_samples, rng=np.random.default_rng(seed), **(arguments | overrides)
    )


def episode_of(rows: np.ndarray) -> np.ndarray:
    return np.searchsorted(FIRST_ROW, rows, side="right") - 1


def block() -> EpisodeBlock:
    rows = np.arange(NUM_ROWS, dtype=np.float32)
    return EpisodeBlock(
        observations={"state": np.stack([rows, 100 + rows], axis=1)},
        actions=rows[:, None] * 10,
        rewards=np.zeros(NUM_ROWS, np.float32),
        successes=np.zeros(NUM_ROWS, bool),
        first_row=FIRST_ROW,
        num_transitions=LENGTHS,
        episode_index=np.arange(3),
    )


def test_transitions_are_uniform_and_never_start_at_a_last_state() -> None:
    rows, counts = np.unique(draw().row, return_counts=True)
    assert rows.tolist() == [0, 1, 2, 4, 6, 7, 8, 9, 10]
    np.testing.assert_allclose(counts / counts.sum(), 1 / 9, atol=0.01)


def test_uniform_ends_cover_every_sub_sequence_alike_both_ends_included() -> None:
    indices = draw()
    from_the_start = indices.goal_row[indices.row == 6]
    goals, counts = np.unique(from_the_start, return_counts=True)
    assert goals.tolist() == [7, 8, 9, 10, 11]
    np.testing.assert_allclose(counts / counts.sum(), 0.2, atol=0.02)


def test_hindsight_goal_is_the_end_of_the_sub_sequence() -> None:
    indices = draw()
    assert (indices.goal_row == indices.row + indices.num_steps).all()
    assert (episode_of(indices.goal_row) == episode_of(indices.row)).all()
    assert (indices.is_end == (indices.num_steps == 1)).all()
    assert set(indices.row[indices.next_is_final]) == {2, 4, 10}


def test_geometric_ends_follow_the_truncated_distribution() -> None:
    indices = draw(200_000, goal_sampling="geometric", discount=0.6)
    steps = indices.num_steps[indices.row == 6]
    expected = 0.4 * 0.6 ** np.arange(5)
    observed = np.bincount(steps, minlength=6)[1:] / len(steps)
    np.testing.assert_allclose(observed, expected / expected.sum(), atol=0.01)


@pytest.mark.parametrize(("share", "row", "expected"), [(0.3, 11, 0.3 + 0.7 / 5), (0.0, 11, 0.2)])
def test_last_state_share(share: float, row: int, expected: float) -> None:
    indices = draw(last_state_share=share)
    assert np.mean(indices.goal_row[indices.row == 6] == row) == pytest.approx(expected, abs=0.02)


def test_next_state_share_is_a_floor_for_positives() -> None:
    indices = draw(next_state_share=0.5)
    assert np.mean(indices.is_end[indices.row == 6]) == pytest.approx(0.5 + 0.5 / 5, abs=0.02)


def test_random_goals_are_uniform_over_all_other_episodes_and_the_reservoir() -> None:
    indices = draw(200_000, chaining_ratio=1.0, num_goal_rows=NUM_ROWS + 4)
    assert (indices.source == GoalSource.RANDOM).all()
    goals, counts = np.unique(indices.goal_row[indices.row == 1], return_counts=True)
    assert goals.tolist() == list(range(4, 16))
    np.testing.assert_allclose(counts / counts.sum(), 1 / 12, atol=0.01)
    assert (episode_of(indices.goal_row) != episode_of(indices.row))[indices.goal_row < NUM_ROWS].all()


@pytest.mark.parametrize(("row", "expected"), [(1, [4, 5]), (4, [0, 1, 2, 3, *range(6, 12)]), (8, [4, 5])])
def test_a_window_holds_random_goals_to_the_neighbours_uniformly_and_off_the_reservoir(
    row: int, expected: list[int]
) -> None:
    indices = draw(200_000, chaining_ratio=1.0, chaining_window=1, num_goal_rows=NUM_ROWS + 4)
    goals, counts = np.unique(indices.goal_row[indices.row == row], return_counts=True)
    assert goals.tolist() == expected
    np.testing.assert_allclose(counts / counts.sum(), 1 / len(expected), atol=0.02)


def test_a_window_wider_than_the_block_is_none() -> None:
    np.testing.assert_array_equal(
        draw(chaining_ratio=1.0, chaining_window=9).goal_row, draw(chaining_ratio=1.0).goal_row
    )


def test_past_goals_are_uniform_over_the_own_episode_up_to_now_and_never_reached() -> None:
    indices = draw(200_000, chaining_ratio=0.5, past_share=0.4)
    is_random = indices.source == GoalSource.RANDOM
    own = episode_of(indices.goal_row) == episode_of(indices.row)
    assert np.mean(own[is_random]) == pytest.approx(0.4, abs=0.01)
    assert (indices.goal_row <= indices.row)[is_random & own].all()
    goals, counts = np.unique(indices.goal_row[is_random & own & (indices.row == 9)], return_counts=True)
    assert goals.tolist() == [6, 7, 8, 9]
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.03)
    assert (indices.goal_row > indices.row)[~is_random].all()


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_chaining_ratio_is_the_share_of_random_goals(ratio: float) -> None:
    assert np.mean(draw(chaining_ratio=ratio).source == GoalSource.RANDOM) == pytest.approx(ratio, abs=0.01)


def test_a_single_episode_has_no_random_goals() -> None:
    indices = relabel(
        np.array([0]),
        np.array([4]),
        num_samples=100,
        num_goal_rows=5,
        chaining_ratio=1.0,
        goal_sampling="uniform",
        discount=0.9,
        chaining_window=0,
        past_share=0.0,
        last_state_share=0.0,
        next_state_share=0.0,
        rng=np.random.default_rng(0),
    )
    assert (indices.source == GoalSource.HINDSIGHT).all()


def test_same_generator_same_draw() -> None:
    np.testing.assert_array_equal(draw(seed=3).goal_row, draw(seed=3).goal_row)
    assert (draw(seed=3).goal_row != draw(seed=4).goal_row).any()


def test_gather_by_hand() -> None:
    indices = RelabelledIndices(
        row=np.array([1, 11]),
        action_row=np.array([1, 4]),
        next_row=np.array([2, 5]),
        goal_row=np.array([3, 13]),
        num_steps=np.array([2, 1]),
        source=np.array([0, 1]),
        is_end=np.array([False, True]),
        next_is_final=np.array([False, True]),
        next_action_row=np.array([2, 7]),
    )
    spec = DataSpec({"state": (2,)}, {"state": (1,)}, (-1.0,), (1.0,))
    reservoir = {"state": np.array([[-1.0, -2.0], [-3.0, -4.0]], np.float32)}
    batch = gather(block(), indices, spec, reservoir)
    assert batch.observation["state"].tolist() == [[1, 101], [11, 111]]
    assert batch.next_observation["state"].tolist() == [[2, 102], [5, 105]]
    assert batch.goal["state"].tolist() == [[103], [-4]]
    assert batch.action.tolist() == [[10], [40]]
    assert batch.next_action.tolist() == [[20], [70]]


def test_every_row_matches_a_brute_force_reading() -> None:
    indices = draw(2_000, chaining_ratio=0.5)
    batch = gather(block(), indices, DataSpec({"state": (2,)}, {"state": None}, (-1.0,), (1.0,)))
    for k in range(2_000):
        s, s_next, g = (x["state"][k, 0] for x in (batch.observation, batch.next_observation, batch.goal))
        episode = next(e for e in range(3) if FIRST_ROW[e] <= s <= FIRST_ROW[e] + LENGTHS[e] - 1)
        first, last = FIRST_ROW[episode], FIRST_ROW[episode] + LENGTHS[episode]
        assert s_next == s + 1
        assert batch.action[k, 0] == 10 * s
        assert batch.next_is_final[k] == (s_next == last)
        if batch.source[k] == GoalSource.HINDSIGHT:
            assert s < g <= last
            assert batch.is_end[k] == (g == s_next)
        else:
            assert not first <= g <= last


def linked(near: Sequence[bool] = (True, False, False), **overrides: Any) -> tuple[RelabelledIndices, Links]:
    row = np.where(np.arange(NUM_ROWS)[:, None] < 6, [[7, 9, 6]], [[1, 4, 0]])
    links = Links(row, np.tile(near, (NUM_ROWS, 1)))
    return draw(chaining_ratio=0.5, links=links, **overrides), links


def test_linked_goals_are_what_came_after_the_like_row() -> None:
    indices, _ = linked()
    is_linked = indices.source == GoalSource.LINKED
    assert np.mean(is_linked) == pytest.approx(0.5, abs=0.01)  # though most rows are not near
    early = indices.row < 6
    goals, counts = np.unique(indices.goal_row[is_linked & early], return_counts=True)
    assert goals.tolist() == [8, 9, 10, 11]
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.02)
    assert set(indices.goal_row[is_linked & ~early].tolist()) == {2, 3}
    assert (episode_of(indices.goal_row) == episode_of(indices.row))[~is_linked].all()
    assert set(np.unique(indices.source)) == {GoalSource.HINDSIGHT, GoalSource.LINKED}


def test_all_near_rows_are_drawn_from_alike() -> None:
    indices, _ = linked(near=(True, True, False), next_state_share=0.0, last_state_share=0.0)
    late = (indices.source == GoalSource.LINKED) & (indices.row >= 6)
    goals, counts = np.unique(indices.goal_row[late], return_counts=True)
    assert goals.tolist() == [
        2,
        3,
        5,
    ]  # what comes after row 1, and after row 4; never row 1 itself, which comes after row 0
    np.testing.assert_allclose(counts / counts.sum(), [0.25, 0.25, 0.5], atol=0.02)


def test_a_linked_sub_sequence_counts_the_steps_of_both_pieces_and_has_no_end_of_its_own() -> None:
    indices, links = linked(next_state_share=1.0)
    is_linked = indices.source == GoalSource.LINKED
    np.testing.assert_array_equal(
        indices.num_steps[is_linked], 1 + (indices.goal_row - links.row[indices.row + 1, 0])[is_linked]
    )
    np.testing.assert_array_equal(indices.is_end, ~is_linked)


def test_goals_of_the_own_past_are_no_linked_ones() -> None:
    indices, _ = linked(past_share=1.0)
    is_random = indices.source == GoalSource.RANDOM
    assert np.mean(is_random) == pytest.approx(0.5, abs=0.01)
    assert (indices.goal_row <= indices.row)[is_random].all()


def test_the_share_of_last_states_holds_for_linked_goals() -> None:
    indices, _ = linked(last_state_share=0.6)
    chosen = (indices.source == GoalSource.LINKED) & (indices.row < 6)
    assert np.mean(indices.goal_row[chosen] == 11) == pytest.approx(0.6 + 0.4 / 4, abs=0.02)


def test_what_was_done_in_the_like_row_stands_for_what_would_be_done_in_a_last_state() -> None:
    indices, links = linked()
    last = np.isin(indices.row, FIRST_ROW + LENGTHS - 1)
    assert not indices.next_is_final.any()
    np.testing.assert_array_equal(indices.next_action_row[last], links.row[indices.row[last] + 1, 0])
    np.testing.assert_array_equal(indices.next_action_row[~last], indices.row[~last] + 1)


def test_without_a_near_row_a_last_state_stays_final() -> None:
    far = Links(np.zeros((NUM_ROWS, 1), np.int64), np.zeros((NUM_ROWS, 1), bool))
    indices = draw(chaining_ratio=1.0, links=far)
    assert set(indices.row[indices.next_is_final]) == {2, 4, 10}
    assert (indices.source == GoalSource.HINDSIGHT).all()
    np.testing.assert_array_equal(indices.next_action_row, indices.row + 1)


def test_at_a_junction_the_last_state_goes_on_as_the_other_episode_did() -> None:
    indices, _ = linked(near=(True, True, False), junction_share=0.3)
    last_rows = FIRST_ROW + LENGTHS
    is_linked, is_junction = indices.source == GoalSource.LINKED, np.isin(indices.row, last_rows)
    assert np.mean(is_linked) == pytest.approx(0.5, abs=0.01)
    assert np.mean(is_junction[is_linked]) == pytest.approx(0.3, abs=0.01) and is_linked[is_junction].all()
    for last, like in ((3, {7, 9}), (5, {7, 9}), (11, {1, 4})):
        assert set(indices.action_row[indices.row == last].tolist()) == like
    np.testing.assert_array_equal(indices.next_row, indices.action_row + 1)
    np.testing.assert_array_equal(indices.num_steps[is_junction], (indices.goal_row - indices.action_row)[is_junction])
    assert (indices.num_steps > 0).all() and not indices.is_end[is_junction].any()
    assert (episode_of(indices.goal_row) == episode_of(indices.action_row))[is_junction].all()
    # The rest is drawn as it would be without.
    np.testing.assert_array_equal(indices.action_row[~is_junction], indices.row[~is_junction])
    # s' after row 4 is the last state of its episode, in whose stead row 7 goes on; after row 7 it is row 8, where row 8's action was done.
    for action_row, following in ((4, 7), (7, 8)):
        assert set(indices.next_action_row[is_junction & (indices.action_row == action_row)]) == {following}
    assert not indices.next_is_final.any()


def test_without_a_near_row_nothing_begins_in_a_last_state() -> None:
    row = np.zeros((NUM_ROWS, 1), np.int64)
    is_near = np.ones((NUM_ROWS, 1), bool)
    is_near[FIRST_ROW + LENGTHS] = False
    without, with_share = (
        draw(chaining_ratio=1.0, links=Links(row, is_near), junction_share=share) for share in (0.0, 0.9)
    )
    for indices in (without, with_share):
        assert not np.isin(indices.row, FIRST_ROW + LENGTHS).any()
        np.testing.assert_array_equal(indices.next_is_final, np.isin(indices.next_row, FIRST_ROW + LENGTHS))
    assert (with_share.source == GoalSource.LINKED).mean() == pytest.approx(
        (without.source == GoalSource.LINKED).mean(), abs=0.01
    )


def test_a_sub_sequence_from_the_own_past_is_no_junction() -> None:
    indices, _ = linked(near=(True, True, False), junction_share=0.5, past_share=0.5)
    is_junction = np.isin(indices.row, FIRST_ROW + LENGTHS)
    assert (indices.source[is_junction] == GoalSource.LINKED).all()
    is_past = indices.source == GoalSource.RANDOM
    assert (indices.goal_row <= indices.row)[is_past].all() and (indices.action_row == indices.row)[is_past].all()


def test_a_junction_is_with_a_row_like_the_last_state_and_leaves_hindsight_alone() -> None:
    row = np.array([6, 7, 8, 10, 9, 6, 0, 1, 2, 0, 1, 4])[:, None]  # another one for each row
    links = Links(row, np.ones((NUM_ROWS, 1), bool))
    indices = draw(chaining_ratio=0.5, links=links, junction_share=0.3)
    is_junction = np.isin(indices.row, FIRST_ROW + LENGTHS)
    np.testing.assert_array_equal(indices.action_row[is_junction], row[indices.row[is_junction], 0])
    is_hindsight = indices.source == GoalSource.HINDSIGHT
    np.testing.assert_array_equal(indices.num_steps[is_hindsight], (indices.goal_row - indices.row)[is_hindsight])
    assert np.mean(indices.goal_row[is_hindsight & (indices.row == 6)] == 11) == pytest.approx(1 / 5, abs=0.02)


def test_without_junctions_the_draws_are_those_of_before_there_were_any() -> None:
    indices, _ = linked(junction_share=0.0)
    assert indices.row[:6].tolist() == [9, 7, 6, 2, 2, 0]
    assert indices.goal_row[:6].tolist() == [2, 10, 3, 9, 3, 11]
