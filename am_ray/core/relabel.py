"""Goal relabeling: every sub-sequence, ended by the state that becomes its goal (paper, Sec. 4; talk, "all sub-sequences").

An episode of T transitions has states s_0 .. s_T. For a transition t drawn uniformly from all transitions
of the block, the kernel draws the end i of the sub-sequence (t, i], and a goal:

- ``HINDSIGHT``: g = s_i. The transition reaches its goal iff i = t + 1.
- ``RANDOM`` (goal chaining): g = any state of another episode (``chaining_window``: of one recorded shortly before or
  after), or of the reservoir of states from other windows, or (``past_share``) a state of the same episode up to s_t.
  Such a goal is never marked as reached.
- ``LINKED`` (ours, in place of ``RANDOM``): the sub-sequence goes on in another episode, from a state like s_i, and ends there
  (`am_ray.core.chaining`). i - t counts the steps of both pieces; such a goal is never marked as reached either. With
  ``junction_share`` some of these sub-sequences begin where the episodes meet: s is the episode's last state, a and s' are what the other one
  did and saw from there. One of a single step is not marked either: its target is 1 by the Monte-Carlo bound.

Indices in, indices out: `relabel` touches no observation, `gather` does nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from am_ray.core.chaining import Links, Rows
from am_ray.types import DataSpec, EpisodeBlock, GoalSource, TransitionBatch

GoalSampling = Literal["uniform", "geometric"]


@dataclass(frozen=True)
class RelabelledIndices:
    """Row numbers of relabelled transitions, all ``(b,)``.

    Attributes:
        row: Row of s.
        action_row: Row of the action: of s, or of the state that stands for it.
        next_row: Row of s', the one after ``action_row``.
        goal_row: Row of g in the goal table: the block's rows, then the reservoir's.
        num_steps: i - t, at least 1.
        source: Values of `GoalSource`.
        is_end: i == t + 1, and the sub-sequence is of one episode.
        next_is_final: s' is its episode's last state, and nothing is known to have been done there.
        next_action_row: Row of the action that was done in s', or in the state that stands for it.
    """

    row: Rows
    action_row: Rows
    next_row: Rows
    goal_row: Rows
    num_steps: Rows
    source: Rows
    is_end: NDArray[np.bool_]
    next_is_final: NDArray[np.bool_]
    next_action_row: Rows


def relabel(
    first_row: Rows,
    num_transitions: Rows,
    *,
    num_samples: int,
    num_goal_rows: int,
    chaining_ratio: float,
    chaining_window: int,
    past_share: float,
    goal_sampling: GoalSampling,
    discount: float,
    last_state_share: float,
    next_state_share: float,
    rng: np.random.Generator,
    links: Links | None = None,
    junction_share: float = 0.0,
) -> RelabelledIndices:
    """Draws transitions and a goal for each.

    Args:
        first_row: Row of each episode's first state, ``(e,)``; episodes lie end to end in rising order.
        num_transitions: T of each episode, ``(e,)``, each at least 1; an episode has T + 1 rows.
        num_samples: Transitions to draw, with replacement, uniform over all transitions of the block.
        num_goal_rows: Rows of the block plus rows of the reservoir that random goals may come from.
        chaining_ratio: Share of transitions that get a random goal, in [0, 1].
        chaining_window: Random goals come from the episodes at most this many before or after the transition's own, and not
            from the reservoir; 0: from all. Ours.
        past_share: Share of the random goals (of linked ones, those of no junction) that are s_0 .. s_t of the transition's own
            episode, in [0, 1]. Ours.
        goal_sampling: ``uniform``: i uniform on t+1 .. T, both ends included (every sub-sequence alike).
            ``geometric``: i - t geometric with success probability 1 - discount, truncated at T.
        discount: Only used by ``geometric``, in (0, 1).
        last_state_share: Share of ends put on T (evaluation goals are last states). Ours.
        next_state_share: Share of ends put on t + 1, a floor for positives in long episodes. Ours.
        rng: The only source of randomness.
        links: Where set, goals of other episodes are linked ones: those that come after one of the near rows of s_i, each drawn
            alike, in ``last_state_share`` of the cases the last of them. What was done in the nearest row of a last state then
            stands for what would be done there. Ours.
        junction_share: Share of the transitions that are to have a linked goal which begin at their episode's last state, where that has
            a near row; so more goals are linked where few ends have one. Ours.

    Returns:
        The drawn rows. Where there is no other episode (and no reservoir, and no near row) to draw from, goals are hindsight.
    """
    transitions_before = np.cumsum(num_transitions)
    draw = rng.integers(0, transitions_before[-1], num_samples)
    episode = np.searchsorted(transitions_before, draw, side="right")
    length = num_transitions[episode]
    start = first_row[episode]
    t = draw - (transitions_before[episode] - length)
    end = _draw_ends(t, length, goal_sampling, discount, last_state_share, next_state_share, rng)

    # Rows of the transition's own episode are cut out of the range, so that "another episode" needs no rejection.
    own_rows = length + 1
    low, high = _goal_range(episode, first_row, num_transitions, chaining_window, num_goal_rows)
    others = high - low - own_rows
    is_random = (rng.random(num_samples) < chaining_ratio) & (others > 0)
    other = low + (rng.random(num_samples) * others).astype(np.int64)
    random_row = np.where(other < start, other, other + own_rows)
    row = start + t
    action_row, next_row, is_junction = row, row + 1, np.zeros(num_samples, np.bool_)
    source, is_end, num_steps = np.where(is_random, GoalSource.RANDOM, GoalSource.HINDSIGHT), end == t + 1, end - t
    next_is_final, next_action_row = next_row == start + length, next_row
    if links is not None:
        last_row = first_row + num_transitions
        is_junction = is_random & _is_junction(links, start + length, junction_share, rng)
        end = np.where(is_junction, length, end)
        other, steps, is_near = _linked_goals(links, start + end, last_row, last_state_share, rng)
        is_random &= is_near
        random_row = other + steps
        source, is_end = np.where(is_random, GoalSource.LINKED, GoalSource.HINDSIGHT), is_end & ~is_random
        num_steps = (end - t) * ~is_junction + steps * is_random
        row, action_row = np.where(is_junction, start + length, row), np.where(is_junction, other, row)
        next_row = action_row + 1
        next_is_final, next_action_row = _stand_in(links, next_row, last_row)
    if past_share:
        is_past = is_random & ~is_junction & (rng.random(num_samples) < past_share)
        random_row = np.where(is_past, start + (rng.random(num_samples) * (t + 1)).astype(np.int64), random_row)
        source = np.where(is_past, GoalSource.RANDOM, source)

    return RelabelledIndices(
        row=row,
        action_row=action_row,
        next_row=next_row,
        goal_row=np.where(is_random, random_row, start + end),
        num_steps=num_steps,
        source=source.astype(np.int64),
        is_end=is_end,
        next_is_final=next_is_final,
        next_action_row=next_action_row,
    )


def _linked_goals(
    links: Links, row: Rows, last_row: Rows, last_state_share: float, rng: np.random.Generator
) -> tuple[Rows, Rows, NDArray[np.bool_]]:
    """For each row a row of another episode that is like it, how many steps after that the goal comes, and whether there is one."""
    num_near = links.is_near[row].sum(axis=1)  # the nearest come first
    choice = (rng.random(len(row)) * np.maximum(num_near, 1)).astype(np.int64)
    other = links.row[row, choice]
    remaining = last_row[np.searchsorted(last_row, other)] - other  # never 0: links are not to last rows
    steps = 1 + (rng.random(len(row)) * remaining).astype(np.int64)
    steps = np.where(rng.random(len(row)) < last_state_share, remaining, steps)
    return other, steps, num_near > 0


def _is_junction(links: Links, last: Rows, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whether a sub-sequence is to begin at its episode's last state, ``last``: in this share, where that has a near row."""
    if not share:
        return np.zeros(len(last), np.bool_)
    drawn: NDArray[np.bool_] = (rng.random(len(last)) < share) & links.is_near[last, 0]
    return drawn


def _stand_in(links: Links, next_row: Rows, last_row: Rows) -> tuple[NDArray[np.bool_], Rows]:
    """Whether nothing is known to have been done in s', and the row of what was, which for a last state is the nearest's."""
    is_last = next_row == last_row[np.searchsorted(last_row, next_row)]
    stands_in = is_last & links.is_near[next_row, 0]
    return is_last & ~stands_in, np.where(stands_in, links.row[next_row, 0], next_row)


def _goal_range(
    episode: Rows, first_row: Rows, num_transitions: Rows, window: int, num_goal_rows: int
) -> tuple[Rows, Rows]:
    """Goal rows low .. high - 1 that the random goals of each episode come from, the episode's own among them."""
    if window == 0:
        return np.zeros_like(episode), np.full_like(episode, num_goal_rows)
    last = np.minimum(episode + window, len(first_row) - 1)
    return first_row[np.maximum(episode - window, 0)], first_row[last] + num_transitions[last] + 1


def _draw_ends(
    t: Rows,
    length: Rows,
    goal_sampling: GoalSampling,
    discount: float,
    last_state_share: float,
    next_state_share: float,
    rng: np.random.Generator,
) -> Rows:
    """The end i in t+1 .. T of each sub-sequence, ``(b,)``."""
    remaining = length - t
    u = rng.random(len(t))
    if goal_sampling == "geometric":
        # Inverse CDF of the geometric distribution truncated at `remaining`: exact, without rejection.
        mass = 1.0 - discount**remaining
        steps = np.ceil(np.log1p(-u * mass) / np.log(discount)).astype(np.int64)
    else:
        steps = 1 + (u * remaining).astype(np.int64)
    steps = np.clip(steps, 1, remaining)
    if last_state_share or next_state_share:
        v = rng.random(len(t))
        steps = np.where(v < last_state_share, remaining, steps)
        steps = np.where(v >= 1.0 - next_state_share, 1, steps)
    ends: Rows = t + steps
    return ends


def gather(
    block: EpisodeBlock,
    indices: RelabelledIndices,
    spec: DataSpec,
    reservoir: Mapping[str, np.ndarray] | None = None,
) -> TransitionBatch[np.ndarray]:
    """The transitions behind the indices.

    Args:
        block: The episodes that ``indices`` were drawn from.
        indices: Output of `relabel`.
        spec: Says which features make up a goal.
        reservoir: Observations of other windows, each ``(rows, ...)``, numbered after the block's rows.

    Returns:
        A batch of arrays; images stay uint8.
    """
    # `take` copies rows three (states) to eight (actions) times faster than indexing does.
    # The action of a final row is padding, which `next_is_final` marks.
    return TransitionBatch(
        observation={name: values.take(indices.row, axis=0) for name, values in block.observations.items()},
        next_observation={name: values.take(indices.next_row, axis=0) for name, values in block.observations.items()},
        goal=spec.goal_of(_goal_rows(block, indices.goal_row, reservoir, spec)),
        action=block.actions.take(indices.action_row, axis=0),
        next_action=block.actions.take(indices.next_action_row, axis=0),
        next_is_final=indices.next_is_final,
        is_end=indices.is_end,
        num_steps=indices.num_steps,
        source=indices.source,
    )


def _goal_rows(
    block: EpisodeBlock, rows: Rows, reservoir: Mapping[str, np.ndarray] | None, spec: DataSpec
) -> dict[str, np.ndarray]:
    if not reservoir:
        return {name: block.observations[name].take(rows, axis=0) for name in spec.goal_indices}
    inside = rows < block.num_rows
    goals = {}
    for name in spec.goal_indices:
        goals[name] = block.observations[name].take(np.where(inside, rows, 0), axis=0)
        goals[name][~inside] = reservoir[name][rows[~inside] - block.num_rows]
    return goals
