"""Labelled transitions of a task: by hand, against brute force, and as a distribution."""

from __future__ import annotations

import numpy as np
import pytest

from am_ray.core.labels import fulfilled_rows, label_transitions, onsets, steps_to_fulfilment
from am_ray.types import GoalSource

# Two trajectories of 3 and 2 transitions: rows 0..3 and 4..6, the last row of each is its final state.
FIRST = np.array([0, 4])
LENGTH = np.array([3, 2])


def test_only_the_last_transition_counts_unless_told_otherwise() -> None:
    label = np.array([False, True, True, True, True, False, True])
    assert np.flatnonzero(fulfilled_rows(FIRST, LENGTH, label, every=False)).tolist() == [2]
    # Rows 3 and 6 are final states: their labels are padding.
    assert np.flatnonzero(fulfilled_rows(FIRST, LENGTH, label, every=True)).tolist() == [1, 2, 4]


def test_steps_lead_to_the_next_fulfilment_of_the_own_trajectory() -> None:
    fulfilled = np.array([False, True, False, False, False, True, False])
    assert steps_to_fulfilment(FIRST, LENGTH, fulfilled).tolist() == [2, 1, 0, 0, 2, 1, 0]


def test_steps_agree_with_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        length = rng.integers(1, 7, rng.integers(1, 6))
        first = np.cumsum(length + 1) - (length + 1)
        fulfilled = fulfilled_rows(first, length, rng.random(int((length + 1).sum())) < 0.3, every=True)
        expected = np.zeros(len(fulfilled), int)
        for start, count in zip(first, length, strict=True):
            for t in range(count):
                ahead = [i for i in range(t, count) if fulfilled[start + i]]
                expected[start + t] = ahead[0] - t + 1 if ahead else 0
        assert steps_to_fulfilment(first, length, fulfilled).tolist() == expected.tolist()


def test_the_onset_is_where_the_run_of_labels_that_ends_there_began() -> None:
    #        trajectory 0: rows 0..3           trajectory 1: rows 4..7
    label = np.array([True, False, True, False, True, True, True, False])
    found = onsets(np.array([0, 4]), label, np.array([2, 6]))
    # Row 0 belongs to an earlier run; the second run reaches back to its trajectory's first row, not beyond.
    assert found.tolist() == [2, 4]
    assert onsets(np.array([4]), np.array([True] * 8), np.array([6])).tolist() == [4]


def _draw(fulfilled: list[bool], *, num_samples: int = 20_000, success_share: float = 0.0):  # type: ignore[no-untyped-def]
    return label_transitions(
        FIRST,
        LENGTH,
        np.array(fulfilled),
        num_samples=num_samples,
        success_share=success_share,
        rng=np.random.default_rng(1),
    )


def test_a_drawn_transition_says_whether_and_when_its_trajectory_fulfils_the_task() -> None:
    drawn = _draw([False, False, True, False, False, False, False])
    expected = {  # row: source, steps, is_end, next_is_final
        0: (GoalSource.SUCCESS, 3, False, False),
        1: (GoalSource.SUCCESS, 2, False, False),
        2: (GoalSource.SUCCESS, 1, True, True),
        4: (GoalSource.FAILURE, 2, False, False),
        5: (GoalSource.FAILURE, 1, False, True),
    }
    found = {
        int(row): (int(source), int(steps), bool(end), bool(final))
        for row, source, steps, end, final in zip(
            drawn.row, drawn.source, drawn.num_steps, drawn.is_end, drawn.next_is_final, strict=True
        )
    }
    assert found == expected
    assert set(drawn.goal_row[drawn.row < 4].tolist()) == {3}
    assert set(drawn.goal_row[drawn.row >= 4].tolist()) == {6}


def test_transitions_are_drawn_alike_and_final_states_never() -> None:
    counts = np.bincount(_draw([False] * 7).row, minlength=7)
    assert counts[3] == counts[6] == 0
    # Five transitions, 4,000 draws each expected; five standard deviations.
    assert np.abs(counts[[0, 1, 2, 4, 5]] - 4000).max() < 5 * np.sqrt(20_000 * 0.2 * 0.8)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_share_of_the_draws_leads_to_success(share: float) -> None:
    drawn = _draw([False, False, True, False, False, False, False], success_share=share)
    # Uniform draws lead there three times in five.
    expected = share + (1.0 - share) * 0.6
    assert abs((drawn.source == GoalSource.SUCCESS).mean() - expected) < 0.02


def test_without_any_success_all_draws_are_failures() -> None:
    assert set(_draw([False] * 7, success_share=0.9).source.tolist()) == {GoalSource.FAILURE}
