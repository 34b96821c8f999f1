"""Acting: a NumPy observation and a NumPy goal in, an action out. Runs without Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from am_ray.models.actionable_model import ActionableModel
from am_ray.models.behavior_cloning import BehaviorCloning
from am_ray.models.task_goal import with_task
from am_ray.settings import Acting, AlgorithmSettings, CloningAct
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
    """argmax_a Q(s, a, g) for Actionable Models (or what ``critic.acting`` says); for behaviour cloning what ``cloning.act`` says.

    A policy fine-tuned on a downstream task needs no goal (`needs_goal`) and does not look at one.
    """

    def __init__(self, model: Model, *, seed: int = 0) -> None:
        self.model = model.eval()
        self.spec = model.spec
        self._generator = torch.Generator().manual_seed(seed)

    def act_by(self, acting: Acting | CloningAct) -> None:
        """Acts in another way than the settings it was trained with say, with the same weights (`critic.acting`, `cloning.act`).

        Raises:
            SettingsError: The method has no such way, or the policy has not kept what it takes.
        """
        self.model.act_by(acting)

    @property
    def needs_goal(self) -> bool:
        """Whether a goal has to be shown; a downstream task is its own."""
        return isinstance(self.model, BehaviorCloning) or not self.model.has_task

    def reseed(self, seed: int) -> None:
        """Restarts the search's random numbers, so that an episode does not depend on those before it."""
        self._generator.manual_seed(seed)

    def act(self, observation: NumpyObservation, goal: NumpyObservation | None = None) -> np.ndarray:
        """The action for one observation ``(a,)`` or for a batch ``(b, a)``, float32, in the dataset's units.

        Args:
            observation: A mapping from feature to array, or the bare array where the data has a single feature.
            goal: The same for the goal: either of the observation's shapes, or already reduced to the goal's entries.
                A single goal is for all observations of a batch. Not used, and may be left out, unless `needs_goal`.

        Raises:
            EnvironmentContractError: A feature is missing, has another shape than in the training data, or is not
                finite; an image is not uint8; the batches differ in size; there is no goal and one is needed.
        """
        return self.evaluate(observation, goal).action

    def evaluate(self, observation: NumpyObservation, goal: NumpyObservation | None = None) -> ActionValue:
        """The same action, with Q(s, a, g): the policy's own estimate of the probability that g will be reached."""
        shapes, goal_shapes = self.spec.observation_shapes, self.spec.goal_shapes
        s, single = _tensors(_as_mapping(observation, shapes, "observation"), shapes, "observation")
        if not self.needs_goal:
            size = len(next(iter(s.values())))
            g = with_task({n: torch.zeros(size, *shape) for n, shape in goal_shapes.items()}, torch.ones(size) > 0)
        elif goal is None:
            raise EnvironmentContractError("goal: got none; expected one, for this policy reaches goals. Pass a goal.")
        else:
            g, single_goal = _tensors(self._reduce_goal(_as_mapping(goal, goal_shapes, "goal")), goal_shapes, "goal")
            s, g, single = _paired(s, g, single, single_goal)
        if isinstance(self.model, BehaviorCloning):
            unit = self.model.best_action(s, g, generator=self._generator)
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
    tensors, singles = {}, {}
    for name, shape in shapes.items():
        if name not in values:
            raise EnvironmentContractError(
                f"{what}: got the features {sorted(values)}; the policy needs {name!r} of shape {shape}. "
                f"Use the environment and observation mode of the training data."
            )
        array = _checked(np.asarray(values[name]), shape, f"{what}: {name!r}")
        singles[name] = array.ndim == len(shape)
        tensors[name] = torch.from_numpy(np.ascontiguousarray(array[None] if singles[name] else array))
    sizes = {name: "no batch axis" if singles[name] else f"a batch of {len(x)}" for name, x in tensors.items()}
    if len(set(sizes.values())) > 1:
        raise EnvironmentContractError(
            f"{what}: got {', '.join(f'{name!r} with {size}' for name, size in sizes.items())}; expected the same of "
            f"all features. Stack them alike."
        )
    return tensors, all(singles.values())


def _checked(array: np.ndarray, shape: tuple[int, ...], where: str) -> np.ndarray:
    """The array as the network takes it: bytes for images, finite float32 for vectors."""
    if array.shape != shape and array.shape[1:] != shape:
        raise EnvironmentContractError(
            f"{where} has shape {array.shape}; the policy was trained with {shape} (a batch axis may "
            f"lead). Use the environment and observation mode of the training data."
        )
    if len(shape) == 3:
        if array.dtype != np.uint8:
            raise EnvironmentContractError(
                f"{where} has dtype {array.dtype}; expected images of uint8, 0 to 255. Convert them; if they are "
                f"floats in [0, 1], by (255 * image).round().astype(np.uint8)."
            )
        return array
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32, copy=False) if array.dtype.kind in "biuf" else np.array(np.nan)
    if not np.isfinite(numbers).all():
        raise EnvironmentContractError(
            f"{where} holds values that are not finite numbers (dtype {array.dtype}); expected finite float32. "
            f"Mend the environment that gave them."
        )
    return numbers


def _paired(
    s: dict[str, Tensor], g: dict[str, Tensor], single: bool, single_goal: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor], bool]:
    """States and goals in batches of one size (what stands alone is for all of the other), and whether both were single."""
    states, goals = (len(next(iter(x.values()))) for x in (s, g))
    if states != goals and not single and not single_goal:
        raise EnvironmentContractError(
            f"observation, goal: got batches of {states} and {goals}; expected equal sizes, or one of them without a "
            f"batch axis. Pass a goal for each observation, or a single goal for all."
        )
    size = goals if single else states
    s, g = ({name: x.expand(size, *x.shape[1:]) for name, x in part.items()} for part in (s, g))
    return s, g, single and single_goal
