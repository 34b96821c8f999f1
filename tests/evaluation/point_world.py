"""A small goal-conditioned world that owes nothing to am-ray: Gymnasium and NumPy alone.

A point in the plane moves 0.1 per unit of action; the goal is reached within 0.1 of it. Importing this module registers
``PointWorld-v0``. Keyword arguments bend the contract, so that one world shows all forms of it, and inject faults.
"""

from __future__ import annotations

import os
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

STEPS = 20
REACH = 0.1


class PointWorld(gymnasium.Env[Any, Any]):
    metadata = {"render_modes": ["rgb_array"]}

    def __init__(
        self,
        form: str = "dict",
        success_key: str | None = "is_success",
        only_last: bool = False,
        faults: dict[str, list[int]] | None = None,
        goal_distance: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        self.form, self.success_key, self.only_last = form, success_key, only_last
        self.faults, self.goal_distance, self.render_mode = faults or {}, goal_distance, render_mode
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float64)
        box = spaces.Box(-10.0, 10.0, (2,), np.float64)
        names = ("observation", "achieved_goal", "desired_goal")
        self.observation_space = spaces.Dict(dict.fromkeys(names, box)) if form != "box" else box

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.seed_used = seed
        self.position = self.np_random.uniform(-0.1, 0.1, size=2)
        angle = (options or {}).get("angle", self.np_random.uniform(0, 2 * np.pi))
        self.goal = self.position + self.goal_distance * np.array([np.cos(angle), np.sin(angle)])
        self.steps = 0
        return self._observe(), {"goal": self.goal} if self.form == "box" else {}

    def step(self, action: Any) -> Any:
        self._fail_if_asked()
        assert self.action_space.contains(action)
        self.position = self.position + 0.1 * action
        self.steps += 1
        truncated = self.steps >= STEPS
        near = bool(np.linalg.norm(self.position - self.goal) < REACH)
        tells = self.success_key is not None and (truncated or not self.only_last)
        return self._observe(), 0.0, False, truncated, {self.success_key: near} if tells else {}

    def render(self) -> Any:
        frame = np.full((32, 32, 3), 255, np.uint8)
        for place, color in ((self.goal, (0, 160, 0)), (self.position, (0, 0, 200))):
            row, column = np.clip(((place + 2.0) * 8).astype(int), 0, 30)
            frame[row : row + 2, column : column + 2] = color
        return frame

    def oracle(self) -> Oracle:
        return Oracle(self)

    def _observe(self) -> Any:
        if self.form == "box":
            return self.position.copy()
        if self.form == "features":
            return {"state": self.position.copy(), "desired_goal": {"state": self.goal}}
        if self.form == "nested":
            return {"observation": {"state": self.position.copy()}, "desired_goal": {"state": self.goal}}
        if self.form == "no_goal":
            return {"observation": self.position.copy()}
        return {"observation": self.position.copy(), "achieved_goal": self.position.copy(), "desired_goal": self.goal}

    def _fail_if_asked(self) -> None:
        if self.steps != 3:
            return
        if self.seed_used in self.faults.get("raise", []):
            raise RuntimeError("the simulator exploded")
        if self.seed_used in self.faults.get("hang", []):
            time.sleep(1000)
        if self.seed_used in self.faults.get("crash", []):
            os._exit(139)


class Oracle:
    """Goes straight to the goal and stays."""

    def __init__(self, world: PointWorld) -> None:
        self.world = world

    def act(self) -> np.ndarray:
        return np.clip((self.world.goal - self.world.position) / 0.1, -1.0, 1.0)


if "PointWorld-v0" not in gymnasium.registry:
    gymnasium.register("PointWorld-v0", entry_point=PointWorld)
