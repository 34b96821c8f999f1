"""``am_ray/Tray-v0``: the tray as a goal-conditioned Gymnasium environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from am_ray.envs.assets import Color
from am_ray.envs.goals import Episode, make_episode
from am_ray.envs.objects import find_kind
from am_ray.envs.render import portrait
from am_ray.envs.scripted import Action, ScriptedPolicy
from am_ray.envs.sim import Light
from am_ray.envs.tasks import TASKS, Task, distance_xy_m
from am_ray.envs.tray import ACTION_DIM, DAYLIGHT, FRONT, STATE_BOUND, Observation, Tray, TrayState
from am_ray.types import STATE, SettingsError

MAX_EPISODE_STEPS = 40  # about twice the oracle's time
_OPTIONS = ("task", "target")


class TrayEnv(gym.Env[dict[str, Any], npt.NDArray[np.float32]]):
    """A tray of objects, a goal to reach, and the paper's success rules.

    Observations are ``{"observation": X, "achieved_goal": X, "desired_goal": X}``, X as ``observation`` says.
    The desired goal of a reward task (``grasp_box``, ...) is all zeros: no goal is shown. The reward is 1 at each step
    at which the task's rule holds. Episodes are cut after ``max_episode_steps`` and never end on success:
    ``info["success"]`` after the last action is what counts. What the target is stands in ``info`` alone.

    Args:
        task: A key of `am_ray.envs.tasks.TASKS`; ``reset(options={"task": ...})`` asks for another one in an episode.
        arm: ``panda`` or ``gantry``.
        kinds: Object kinds with a slot in the state.
        container: ``bin``, ``plate`` or ``None``.
        observation: ``state``, ``image``, ``image_gripper`` or ``both``, see `Tray`. With ``image_gripper`` the goal, too, has the
            gripper's pose, which policies trained on such data do not look at.
        image_size: Height and width of image observations in pixels.
        max_episode_steps: Actions per episode.
        num_objects: Objects per episode; ``None`` means one of each kind.
        colors: RGB in [0, 1] that replaces the first colour of a kind.
        targets: Kinds that a goal may be about; ``None``: each of ``kinds``.
        goal_light: Fields of `am_ray.envs.sim.Light` that are different in the goal's image (``ambient``, ``diffuse``, ...).
        goal_noise: Standard deviation of the noise on the goal's image, in grey levels (of 255).
        render_mode: ``rgb_array`` or ``None``.

    Raises:
        SettingsError: A setting is unknown or cannot be combined.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012

    def __init__(
        self,
        task: str = "instance_grasping",
        arm: str = "panda",
        kinds: Sequence[str] = ("box", "banana", "milk"),
        container: str | None = "bin",
        observation: str = "state",
        image_size: int = 64,
        max_episode_steps: int = MAX_EPISODE_STEPS,
        num_objects: int | None = None,
        colors: Mapping[str, Color] | None = None,
        targets: Sequence[str] | None = None,
        goal_light: Mapping[str, Any] | None = None,
        goal_noise: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        self.tray = Tray(arm=arm, kinds=kinds, container=container, observation=observation, image_size=image_size)
        self.task = self._find_task(task)
        self.max_episode_steps = max_episode_steps
        self.render_mode = render_mode
        self._num_objects = num_objects
        self._colors = {find_kind(name).name: _as_color(name, rgb) for name, rgb in (colors or {}).items()}
        self._targets = self._find_targets(targets)
        self._goal_light, self._goal_noise = self._find_light(goal_light), self._find_noise(goal_noise)
        features: dict[str, spaces.Space[Any]] = {
            STATE: spaces.Box(-STATE_BOUND, STATE_BOUND, (len(self.tray.state_names()),), np.float32),
            FRONT: spaces.Box(0, 255, (image_size, image_size, 3), np.uint8),
        }
        one = {"state": features[STATE], "image": features[FRONT]}
        x = one.get(observation) or spaces.Dict(features)
        self.observation_space = spaces.Dict({"observation": x, "achieved_goal": x, "desired_goal": x})
        self.action_space = spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32)
        self.episode: Episode | None = None
        self._steps, self._any_success = 0, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode that follows from ``seed`` alone.

        Args:
            seed: Of the start and the goal; never meets a start of the data.
            options: ``task`` and ``target`` (an object kind) for this episode only.
        """
        super().reset(seed=seed)
        asked = options or {}
        unknown = [name for name in asked if name not in _OPTIONS]
        if unknown:
            raise SettingsError(f"reset options: got {unknown}; expected {', '.join(_OPTIONS)}. Remove the others.")
        self._task = self._find_task(asked["task"]) if "task" in asked else self.task
        self.episode = make_episode(
            self.tray,
            self._task,
            int(self.np_random.integers(2**62)),
            num_objects=self._num_objects,
            colors=self._colors,
            target=asked.get("target") or self._draw_target(),
            light=self._goal_light,
        )
        self._steps, self._any_success = 0, False
        observed = self.tray.observe()
        goal = self.episode.goal
        if goal is None:
            goal = {name: np.zeros_like(value) for name, value in observed.items()}
        self._goal = self._pack(self._with_noise(goal))
        return self._observation(observed), self._info(self.tray.truth())

    def step(self, action: npt.NDArray[np.float32]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One action ``(5,)``: xyz in units of 5 cm, yaw of 0.6 rad, gripper (> 0 closes)."""
        self.tray.step(action)
        self._steps += 1
        info = self._info(self.tray.truth())
        truncated = self._steps >= self.max_episode_steps
        return self._observation(self.tray.observe()), float(info["success"]), False, truncated, info

    def render(self) -> npt.NDArray[np.uint8] | None:  # type: ignore[override]
        """A shadowed, anti-aliased frame ``(480, 480, 3)``; ``None`` without ``render_mode="rgb_array"``."""
        return portrait(self.tray.sim) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        self.tray.close()

    def _find_task(self, name: str) -> Task:
        if name not in TASKS:
            raise SettingsError(f"task: got {name!r}; expected one of {', '.join(TASKS)}. Correct the name.")
        task = TASKS[name]
        if task.needs_container and self.tray.container is None:
            raise SettingsError(f"task {name}: got container None; expected one. Add container='bin' or 'plate'.")
        if task.target is not None and task.target not in self.tray.kinds:
            kinds = ", ".join(self.tray.kinds)
            raise SettingsError(f"task {name}: got kinds {kinds}; expected {task.target} among them. Add it to kinds.")
        return task

    def _find_targets(self, names: Sequence[str] | None) -> tuple[str, ...]:
        targets = tuple(names or ())
        if set(targets) - set(self.tray.kinds) or (names is not None and not targets):
            raise SettingsError(
                f"targets: got {list(targets)}; expected one or more of {', '.join(self.tray.kinds)}. "
                "Name kinds that are in the tray."
            )
        return targets

    def _find_light(self, fields: Mapping[str, Any] | None) -> Light:
        known = {field.name for field in dataclasses.fields(Light)}
        if set(fields or {}) - known:
            raise SettingsError(
                f"goal_light: got {dict(fields or {})}; expected some of {', '.join(sorted(known))}. Correct the names."
            )
        self._refuse_without_image("goal_light", fields)
        return dataclasses.replace(DAYLIGHT, **dict(fields or {}))

    def _find_noise(self, std: float) -> float:
        if std < 0:
            raise SettingsError(f"goal_noise: got {std}; expected grey levels, 0 or more. Correct the value.")
        self._refuse_without_image("goal_noise", std)
        return std

    def _refuse_without_image(self, name: str, value: object) -> None:
        if value and self.tray.observation == "state":
            raise SettingsError(
                f"{name}: got {value} with observation: state; expected an observation with an image, for this is about the goal's "
                f"image. Remove it, or choose another observation."
            )

    def _draw_target(self) -> str | None:
        return str(self.np_random.choice(self._targets)) if self._targets and self._task.target is None else None

    def _with_noise(self, goal: Observation) -> Observation:
        if not self._goal_noise or FRONT not in goal:
            return goal
        image = goal[FRONT] + self.np_random.normal(0.0, self._goal_noise, goal[FRONT].shape)
        return {**goal, FRONT: np.clip(image.round(), 0, 255).astype(np.uint8)}

    def _pack(self, observed: Observation) -> Any:
        return next(iter(observed.values())) if len(observed) == 1 else observed

    def _observation(self, observed: Observation) -> dict[str, Any]:
        now = self._pack(observed)
        return {"observation": now, "achieved_goal": now, "desired_goal": self._goal}

    def _info(self, truth: TrayState) -> dict[str, Any]:
        assert self.episode is not None
        assignment = self.episode.assignment
        target = truth.objects[assignment.target]
        success = self._task.rule(truth, assignment)
        self._any_success |= success
        goal = assignment.goal
        return {
            "success": success,
            "success_any_step": self._any_success,
            "task": self._task.name,
            "target": assignment.target,
            "goal": self._goal,
            "target_lift_m": float(target.position[2]) - target.rest_height_m,
            "target_to_gripper_m": float(np.linalg.norm(target.position - truth.gripper.position)),
            "target_to_goal_m": 0.0 if goal is None else distance_xy_m(truth, goal, assignment.target),
            "left_tray": self.tray.left_tray(),
        }


def _as_color(kind: str, rgb: Sequence[float]) -> Color:
    if len(rgb) != 3 or not all(0.0 <= part <= 1.0 for part in rgb):
        raise SettingsError(f"colors: got {list(rgb)} for {kind}; expected red, green and blue in [0, 1].")
    return float(rgb[0]), float(rgb[1]), float(rgb[2])


class Oracle:
    """The noise-free scripted policy of the running episode; reads the simulator, not the observation."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self._env: TrayEnv = env.unwrapped  # type: ignore[assignment]
        self._episode: Episode | None = None

    def act(self, observation: object = None, goal: object = None) -> Action:
        """The next action ``(5,)``; starts over when the environment was reset."""
        if self._env.episode is not self._episode or self._episode is None:
            if self._env.episode is None:
                raise SettingsError(
                    "oracle: got an environment before its first reset; expected one after it. Reset it."
                )
            self._episode = self._env.episode
            self._policy = ScriptedPolicy(self._episode.skill)
        return self._policy.act(self._env.tray, self._env.np_random)


def make_oracle(env: gym.Env[Any, Any]) -> Oracle:
    """The oracle of a `TrayEnv`, wrapped or not: ``make_oracle(env).act(observation)`` -> action."""
    return Oracle(env)
