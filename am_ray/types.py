"""The nouns that every layer shares: trajectories, blocks of episodes, batches of transitions.

Axis letters, used in every shape of the package:
``b`` batch, ``t`` time, ``r`` rows of a block, ``e`` episodes, ``n`` sampled actions, ``k`` elites,
``s`` state, ``a`` action, ``g`` goal, ``h w c`` image (uint8, channels last), ``f`` encoder features.

An observation is a mapping from feature name to array. The state is called ``state``; a camera image
is called by its camera (``front``). On disk the same features are ``observation.state`` and
``observation.images.front``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

STATE = "state"
# Entry of a goal mapping, ``(b,)`` bool: rows whose goal is the downstream task; networks put their learned tensor there.
TASK = "task"

ArrayT = TypeVar("ArrayT", np.ndarray, "torch.Tensor")


class AmRayError(Exception):
    """Base of every error that am-ray raises on purpose; its message says what, where, got, wanted, remedy."""


class DatasetError(AmRayError):
    """A dataset that cannot be read, written or trusted."""


class SettingsError(AmRayError):
    """A setting that is unknown, of the wrong type, or out of range."""


class CheckpointError(AmRayError):
    """A checkpoint that is missing, torn, or of another shape."""


class EnvironmentContractError(AmRayError):
    """A Gymnasium environment that does not offer what evaluation needs (a goal, a success flag, ...)."""


class GoalSource(enum.IntEnum):
    """Where a transition's goal comes from.

    ``HINDSIGHT``: the last state of a sub-sequence that starts at the transition (the paper's positives).
    ``RANDOM``: any state of another episode (the paper's goal chaining).
    ``LINKED``: what another episode came to from a state like the last one of the sub-sequence (ours); at a junction s is that last
        state itself, with the other episode's action and next state.
    ``SUCCESS``, ``FAILURE``: the goal is a downstream task, and the trajectory went on to fulfil it, or did not.
    """

    HINDSIGHT = 0
    RANDOM = 1
    LINKED = 2
    SUCCESS = 3
    FAILURE = 4


@dataclass(frozen=True)
class DataSpec:
    """What a dataset's transitions look like; all that a network needs to be built.

    Attributes:
        observation_shapes: Shape of each observation feature without time, e.g. ``{"state": (21,), "front": (48, 48, 3)}``.
            One-dimensional features are float32; three-dimensional ones are uint8 images, channels last.
        goal_indices: Which features make up a goal. ``None`` means the whole feature, a tuple picks entries of a
            one-dimensional feature (PointMaze's goal is the position alone: ``{"state": (0, 1)}``).
        action_low: Lower bound of each action entry, ``(a,)``.
        action_high: Upper bound of each action entry, ``(a,)``.
    """

    observation_shapes: dict[str, tuple[int, ...]]
    goal_indices: dict[str, tuple[int, ...] | None]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]

    @property
    def action_dim(self) -> int:
        return len(self.action_low)

    @property
    def goal_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each goal feature, after ``goal_indices``."""
        return {
            name: self.observation_shapes[name] if indices is None else (len(indices),)
            for name, indices in self.goal_indices.items()
        }

    def goal_of(self, observation: Mapping[str, ArrayT]) -> dict[str, ArrayT]:
        """The goal that an observation of the same shapes achieves (any leading axes)."""
        return {
            name: observation[name] if indices is None else observation[name][..., list(indices)]
            for name, indices in self.goal_indices.items()
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "observation_shapes": {k: list(v) for k, v in self.observation_shapes.items()},
            "goal_indices": {k: None if v is None else list(v) for k, v in self.goal_indices.items()},
            "action_low": list(self.action_low),
            "action_high": list(self.action_high),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DataSpec:
        return cls(
            observation_shapes={k: tuple(v) for k, v in value["observation_shapes"].items()},
            goal_indices={k: None if v is None else tuple(v) for k, v in value["goal_indices"].items()},
            action_low=tuple(map(float, value["action_low"])),
            action_high=tuple(map(float, value["action_high"])),
        )


@dataclass(frozen=True)
class DataStatistics:
    """What a network needs to know of the data's scale; kept in every checkpoint.

    Attributes:
        mean: Of each one-dimensional observation feature, ``(s,)`` float32.
        std: Likewise; entries that never change are 1.
        action_pool: ``(p, a)`` float32, actions drawn from the data; they seed the search for the best action.
    """

    mean: dict[str, np.ndarray]
    std: dict[str, np.ndarray]
    action_pool: np.ndarray


@dataclass(frozen=True)
class TaskExamples:
    """Pairs of a state and the goal that its trajectory led to when it fulfilled a downstream task; those of a trajectory in a row, from its start on.

    Attributes:
        observations: One-dimensional observation features, each ``(n, s)`` float32.
        goals: One-dimensional goal features, each ``(n, g)`` float32.
    """

    observations: dict[str, np.ndarray]
    goals: dict[str, np.ndarray]


@dataclass(frozen=True)
class Trajectory:
    """One recorded episode of T transitions.

    Attributes:
        observations: Each ``(T + 1, ...)``: the final observation is part of the data.
        actions: ``(T, a)`` float32.
        rewards: ``(T,)`` float32, or ``None`` for unlabelled data (stored as zeros).
        successes: ``(T,)`` bool, or ``None``.
        terminated: Whether the world ended the episode (otherwise it was cut).
        task: Free text, stored in ``meta/tasks.parquet``.
        metadata: Plain values stored per episode (``seed``, ``behaviour``, noise levels); never a network input.
    """

    observations: dict[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray | None = None
    successes: np.ndarray | None = None
    terminated: bool = False
    task: str = "play"
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EpisodeBlock:
    """Whole episodes, their rows end to end: the input of the relabel kernel.

    Episode ``e`` covers rows ``first_row[e] .. first_row[e] + num_transitions[e]``, both ends included.
    The last of these rows carries the final observation; its action is padding.

    Attributes:
        observations: Each ``(r, ...)``.
        actions: ``(r, a)`` float32.
        rewards: ``(r,)`` float32.
        successes: ``(r,)`` bool.
        first_row: ``(e,)`` int64.
        num_transitions: ``(e,)`` int64, each at least 1.
        episode_index: ``(e,)`` int64, the episodes' numbers in the dataset.
    """

    observations: dict[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    successes: np.ndarray
    first_row: np.ndarray
    num_transitions: np.ndarray
    episode_index: np.ndarray

    @property
    def num_rows(self) -> int:
        return len(self.actions)

    @property
    def num_episodes(self) -> int:
        return len(self.first_row)


@dataclass(frozen=True)
class TransitionBatch(Generic[ArrayT]):
    """Relabelled transitions (s, a, s', g), as NumPy arrays on their way in and torch tensors in the learner.

    Attributes:
        observation: s, each ``(b, ...)``.
        next_observation: s', each ``(b, ...)``.
        goal: g, each ``(b, ...)``, already reduced to ``DataSpec.goal_shapes``.
        action: a, ``(b, a)``.
        next_action: The action that the data took in s', ``(b, a)``, or, where s' is its episode's last state, in a state of another
            episode that was found to be like it; padding where ``next_is_final``.
        next_is_final: ``(b,)`` bool: s' is the last state of its episode and stands for no other, so no data action exists there.
        is_end: ``(b,)`` bool: the drawn sub-sequence ends at s' (i == t + 1); never one of two episodes. With a hindsight goal this is
            "the goal was reached", with a task "it is fulfilled in s'"; with a random goal it marks the transition that
            ``chained_end`` is about.
        num_steps: ``(b,)`` int64: i - t, transitions from s to the sub-sequence's end, at least 1.
        source: ``(b,)`` int64, values of `GoalSource`.
    """

    observation: dict[str, ArrayT]
    next_observation: dict[str, ArrayT]
    goal: dict[str, ArrayT]
    action: ArrayT
    next_action: ArrayT
    next_is_final: ArrayT
    is_end: ArrayT
    num_steps: ArrayT
    source: ArrayT

    def to_columns(self) -> dict[str, Any]:
        """A nested dict of arrays, the form in which batches cross process borders."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> TransitionBatch[Any]:
        """The inverse of `to_columns`; columns of other names are ignored."""
        return cls(**{name: columns[name] for name in cls.__dataclass_fields__})
