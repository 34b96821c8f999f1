"""A world with a task and no goal: be at a fixed place at the end. Importing this module registers ``PointTask-v0``."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

STEPS = 12
PLACE = np.array([0.6, 0.3])
REACH = 0.15


class PointTask(gymnasium.Env[Any, Any]):
    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float64)
        self.observation_space = spaces.Box(-10.0, 10.0, (2,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.position, self.steps = self.np_random.uniform(-0.3, 0.3, size=2), 0
        return self.position.copy(), {}

    def step(self, action: Any) -> Any:
        if self.fails:
            raise RuntimeError("the simulator exploded")
        self.position = self.position + 0.1 * action
        self.steps += 1
        success = fulfilled(self.position)
        return self.position.copy(), float(success), False, self.steps >= STEPS, {"success": success}


def fulfilled(position: np.ndarray) -> bool:
    return bool(np.linalg.norm(position - PLACE) < REACH)


if "PointTask-v0" not in gymnasium.registry:
    gymnasium.register("PointTask-v0", entry_point=PointTask)
