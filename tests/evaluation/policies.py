"""Policies of known quality for `point_world`, with the methods that evaluation needs of a policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from am_ray.models.policy import ActionValue
from am_ray.types import DataSpec

SPEC = DataSpec({"state": (2,)}, {"state": None}, (-1.0, -1.0), (1.0, 1.0))


class Towards:
    """Walks to the goal, with noise from its own generator; Q is exp(-distance).

    Args:
        noise: Standard deviation of each action entry: 0 always arrives, large values sometimes do not.
    """

    def __init__(self, noise: float = 0.0, spec: DataSpec = SPEC) -> None:
        self.noise, self.spec, self.rng = noise, spec, np.random.default_rng()

    def reseed(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def evaluate(self, observation: object, goal: object) -> ActionValue:
        state, wanted = _array(observation), _array(goal)
        action = np.clip((wanted - state) / 0.1, -1.0, 1.0) + self.rng.normal(0.0, self.noise, size=2)
        return ActionValue(action.astype(np.float32), np.exp(-np.linalg.norm(wanted - state)))


class Still(Towards):
    """Never moves."""

    def evaluate(self, observation: object, goal: object) -> ActionValue:
        return ActionValue(np.zeros(2, np.float32), np.asarray(np.nan))


def _array(value: object) -> np.ndarray:
    return np.asarray(value["state"] if isinstance(value, dict) else value)


@dataclass(frozen=True)
class MakeTowards:
    """A picklable factory."""

    noise: float = 0.0

    def __call__(self) -> Towards:
        return Towards(self.noise)
