"""Transitions of a downstream task: labelled trajectories instead of relabelled goals (paper, Sec. 4, fine-tuning).

Q_task(s, a) is trained as Q(s, a, g) is, with y = 1 where the task is fulfilled in s' and a bootstrap elsewhere. So a
trajectory that goes on to fulfil the task is what a hindsight goal is to the critic, and one that does not is what a
random goal is: nothing says that it leads there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from am_ray.core.chaining import Rows
from am_ray.core.relabel import RelabelledIndices
from am_ray.types import GoalSource

Flags = NDArray[np.bool_]


def fulfilled_rows(first_row: Rows, num_transitions: Rows, label: Flags, *, every: bool) -> Flags:
    """Rows ``(r,)`` whose transition fulfils the task.

    Args:
        first_row: Row of each trajectory's first state, ``(e,)``.
        num_transitions: T of each trajectory, ``(e,)``; its last row holds no transition.
        label: ``(r,)``: the data's label of the transition that begins at a row.
        every: Every labelled transition counts; otherwise the trajectory's last one alone.
    """
    last = first_row + num_transitions - 1
    fulfilled = np.zeros(len(label), np.bool_)
    if every:
        fulfilled[:] = label
        fulfilled[last + 1] = False  # the final row's label is padding
    else:
        fulfilled[last] = label[last]
    return fulfilled


def steps_to_fulfilment(first_row: Rows, num_transitions: Rows, fulfilled: Flags) -> Rows:
    """Transitions from each row to the end of the next one that fulfils the task, ``(r,)``; 0 where none does."""
    rows = np.arange(len(fulfilled))
    # The row of the next fulfilment at or after each row, then cut off at the trajectory's end.
    following = np.where(fulfilled, rows, len(rows))
    following = np.minimum.accumulate(following[::-1])[::-1]
    last = np.repeat(first_row + num_transitions - 1, num_transitions + 1)
    steps: Rows = np.where(following <= last, following - rows + 1, 0)
    return steps


def onsets(first_row: Rows, label: Flags, fulfilled: Rows) -> Rows:
    """The first row of the unbroken run of labelled transitions that each fulfilling row ends, ``(k,)``.

    Holding an object is labelled all the while it is held: the run's start is where it was lifted, and what is done with
    it afterwards says nothing of the task.

    Args:
        first_row: Row of the first state of the trajectory of each fulfilling row, ``(k,)``.
        label: ``(r,)``: the data's label of the transition that begins at a row.
        fulfilled: Rows that fulfil the task, ``(k,)``; labelled.
    """
    rows = np.arange(len(label))
    unlabelled = np.maximum.accumulate(np.where(label, -1, rows))
    start: Rows = np.maximum(unlabelled[fulfilled] + 1, first_row)
    return start


def label_transitions(
    first_row: Rows,
    num_transitions: Rows,
    fulfilled: Flags,
    *,
    num_samples: int,
    success_share: float,
    rng: np.random.Generator,
) -> RelabelledIndices:
    """Draws transitions of a task, in the form of `am_ray.core.relabel.relabel`.

    Args:
        first_row: Row of each trajectory's first state, ``(e,)``; trajectories lie end to end in rising order.
        num_transitions: T of each trajectory, ``(e,)``, each at least 1.
        fulfilled: Output of `fulfilled_rows`.
        num_samples: Transitions to draw, with replacement.
        success_share: Share of the draws that come from transitions which lead to a fulfilment, where there are any; the
            others are uniform over all transitions.
        rng: The only source of randomness.

    Returns:
        ``source`` is ``SUCCESS`` where the trajectory fulfils the task at or after the transition, with ``num_steps`` to
        it and ``is_end`` at it, and ``FAILURE`` elsewhere. ``goal_row`` is the trajectory's last state, which the network
        replaces by its learned tensor.
    """
    steps = steps_to_fulfilment(first_row, num_transitions, fulfilled)
    last_row = np.repeat(first_row + num_transitions, num_transitions + 1)
    transitions = np.flatnonzero(np.arange(len(fulfilled)) != last_row)
    row = transitions[rng.integers(0, len(transitions), num_samples)]
    leading = np.flatnonzero(steps)
    if success_share and len(leading):
        from_success = rng.random(num_samples) < success_share
        row = np.where(from_success, leading[rng.integers(0, len(leading), num_samples)], row)
    leads = steps[row] > 0
    return RelabelledIndices(
        row=row,
        action_row=row,
        next_row=row + 1,
        goal_row=last_row[row],
        num_steps=np.where(leads, steps[row], last_row[row] - row),
        source=np.where(leads, GoalSource.SUCCESS, GoalSource.FAILURE).astype(np.int64),
        is_end=fulfilled[row],
        next_is_final=row + 1 == last_row[row],
        next_action_row=row + 1,
    )
