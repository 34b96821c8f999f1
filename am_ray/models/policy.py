"""Acting: a NumPy observation and a NumPy goal in, an action out. Runs without Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from am_ray.models.actionable_model import ActionableModel
from am_ray.models.behavior_cloning import BehaviorCloning
from am_ray.settings import AlgorithmSettings
from am_ray.types import DataSpec, DataStatistics, EnvironmentContractError

NumpyObservation = np.ndarray | Mapping[str, np.ndarray]
Model = ActionableModel | BehaviorCloning


def build_model(spec: DataSpec, statistics: DataStatistics, settings: AlgorithmSettings) -> Model:
    """The objective that ``settings.method`` names, with fresh weights."""
    if settings.method == "behavior_cloning":
        return BehaviorCloning(spec, statistics, settings)
    return ActionableModel(spec, statistics, settings)


@dataclass(frozen=True)
class ActionValue:
    """An action in the dataset's units, ``(a,)`` or ``(b, a)``, and its Q in [0, 1]; NaN where the policy has no Q."""

    action: np.ndarray
    value: np.ndarray


class GoalConditionedPolicy:
    """argmax_a Q(s, a, g) for Actionable Models; the mode of p(a | s, g) for behaviour cloning."""

    def __init__(self, model: Model, *, seed: int = 0) -> None:
        self.model = model.eval()
        self.spec = model.spec
        self._generator = torch.Generator().manual_seed(seed)

    def reseed(self, seed: int) -> None:
        """Restarts the search's random numbers, so that an episode does not depend on those before it."""
        self._generator.manual_seed(seed)

    def act(self, observation: NumpyObservation, goal: NumpyObservation) -> np.ndarray:
        """The action for one observation ``(a,)`` or for a batch ``(b, a)``, float32, in the dataset's units.

        Args:
            observation: A mapping from feature to array, or the bare array where the data has a single feature.
            goal: The same for the goal: either of the observation's shapes, or already reduced to the goal's entries.

        Raises:
            EnvironmentContractError: A feature is missing or has another shape than in the training data.
        """
        return self.evaluate(observation, goal).action

    def evaluate(self, observation: NumpyObservation, goal: NumpyObservation) -> ActionValue:
        """The same action, with Q(s, a, g): the policy's own estimate of the probability that g will be reached."""
        shapes, goal_shapes = self.spec.observation_shapes, self.spec.goal_shapes
        s, single = _tensors(_as_mapping(observation, shapes, "observation"), shapes, "observation")
        g, _ = _tensors(self._reduce_goal(_as_mapping(goal, goal_shapes, "goal")), goal_shapes, "goal")
        if isinstance(self.model, BehaviorCloning):
            unit = self.model.best_action(s, g)
            value = torch.full((len(unit),), torch.nan)
        else:
            best = self.model.best_action(s, g, generator=self._generator)
            unit, value = best.action, best.score
        action = self.model.action_scale.from_unit(unit).numpy()
        return ActionValue(action[0], value.numpy()[0]) if single else ActionValue(action, value.numpy())

    def _reduce_goal(self, goal: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        reduced = {}
        for name, indices in self.spec.goal_indices.items():
            if name in goal:
                value = np.asarray(goal[name])
                is_whole = value.shape[-1:] == self.spec.observation_shapes[name][-1:]
                reduced[name] = value if indices is None or not is_whole else value[..., list(indices)]
        return reduced


def _as_mapping(value: NumpyObservation, shapes: Mapping[str, tuple[int, ...]], what: str) -> Mapping[str, np.ndarray]:
    if isinstance(value, Mapping):
        return value
    if len(shapes) == 1:
        return {next(iter(shapes)): np.asarray(value)}
    raise EnvironmentContractError(
        f"{what}: got one array of shape {np.shape(value)}; the policy was trained on the features "
        f"{sorted(shapes)}. Pass a mapping with these keys."
    )


def _tensors(
    values: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], what: str
) -> tuple[dict[str, Tensor], bool]:
    """Tensors with a batch axis, and whether it was added."""
    tensors, single = {}, False
    for name, shape in shapes.items():
        if name not in values:
            raise EnvironmentContractError(
                f"{what}: got the features {sorted(values)}; the policy needs {name!r} of shape {shape}. "
                f"Use the environment and observation mode of the training data."
            )
        array = np.asarray(values[name], dtype=np.uint8 if len(shape) == 3 else np.float32)
        single = array.ndim == len(shape)
        if array.shape[0 if single else 1 :] != shape:
            raise EnvironmentContractError(
                f"{what}: {name!r} has shape {array.shape}; the policy was trained with {shape} (a batch axis may "
                f"lead). Use the environment and observation mode of the training data."
            )
        tensors[name] = torch.from_numpy(np.ascontiguousarray(array[None] if single else array))
    return tensors, single
