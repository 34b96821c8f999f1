"""One episode: reset to a goal, act until the end, see whether the goal was reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np

from am_ray.evaluation.environment import (
    NO_END_STEPS,
    Observation,
    features_of,
    find_oracle,
    no_end_error,
    no_success_error,
    shown_goal,
    success_of,
)
from am_ray.types import DataSpec, EnvironmentContractError

ENDS_ONLY = NO_END_STEPS  # as a frame stride: the first and the last frame

# From an observation and the goal, if the environment shows one, to an action and its Q.
Choose = Callable[[Observation, Observation | None], tuple[np.ndarray, float]]
Start = Callable[["gymnasium.Env[Any, Any]", int], Choose]


class ActionAndValue(Protocol):
    """What a policy's ``evaluate`` returns: an action ``(a,)`` and its Q (NaN where the policy has none)."""

    @property
    def action(self) -> np.ndarray: ...
    @property
    def value(self) -> np.ndarray: ...


class Policy(Protocol):
    """What evaluation needs of a policy; `am_ray.load_policy` returns one.

    One with an attribute ``needs_goal`` that is false acts in environments that show no goal too.
    """

    @property
    def spec(self) -> DataSpec: ...
    def reseed(self, seed: int) -> None: ...
    def evaluate(self, observation: Observation, goal: Any) -> ActionAndValue: ...


@dataclass(frozen=True)
class Recording:
    """An episode to look at.

    Attributes:
        frames: ``(k, h, w, 3)`` uint8: the first one, more of them if it was filmed whole, the last one.
        goal_frame: ``(h, w, 3)`` uint8, or ``None`` where the environment shows no goal.
        values: Q of each action taken, ``(t,)``; NaN where the policy has no Q.
    """

    frames: np.ndarray
    goal_frame: np.ndarray | None
    values: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """What an episode gave: success at the last step and at any step."""

    success: bool
    success_any_step: bool
    recording: Recording | None = None


def start_policy(policy: Policy) -> Start:
    """Episodes of a learnt policy, its random numbers restarted from each episode's seed."""

    def start(env: gymnasium.Env[Any, Any], seed: int) -> Choose:
        policy.reseed(seed)

        def choose(observation: Observation, goal: Observation | None) -> tuple[np.ndarray, float]:
            result = policy.evaluate(observation, goal)
            return result.action, float(result.value)

        return choose

    return start


def start_random(env: gymnasium.Env[Any, Any], seed: int) -> Choose:
    """Actions from the action space, independent of the numbers that the environment drew from the same seed."""
    env.action_space.seed(int(np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1)[0]))
    return lambda observation, goal: (env.action_space.sample(), float("nan"))


def start_oracle(env: gymnasium.Env[Any, Any], seed: int) -> Choose:
    """The environment's own scripted policy, which sees the simulator's state."""
    oracle = find_oracle(env)
    if oracle is None:
        raise EnvironmentContractError(f"environment {env}: got no oracle; expected a method oracle(). Leave it out.")
    return lambda observation, goal: (oracle.act(), float("nan"))


def run_episode(
    env: gymnasium.Env[Any, Any],
    start: Start,
    *,
    seed: int,
    reset_options: Mapping[str, Any],
    max_steps: int | None = None,
    frame_stride: int | None = None,
) -> Outcome:
    """Runs one episode to its end, or to ``max_steps`` actions.

    With a ``frame_stride`` it records a frame before each action whose number it divides, and the last one.

    Raises:
        EnvironmentContractError: No success at the last step, or no end.
    """
    picture = None if frame_stride is None else _goal_frame(env, seed, reset_options, max_steps)
    observation, info = env.reset(seed=seed, options=dict(reset_options) or None)
    goal = shown_goal(observation, info)
    choose = start(env, seed)
    frames, values, any_step, done, steps = [], [], False, False, 0
    while not done:
        if frame_stride is not None and steps % frame_stride == 0:
            frames.append(_frame(env))
        action, value = choose(features_of(observation), goal)
        observation, _, terminated, truncated, info = env.step(fit_action(env, action))
        steps += 1
        values.append(value)
        any_step = any_step or bool(success_of(info))
        done = terminated or truncated or steps == max_steps
        if steps == NO_END_STEPS and not done:
            raise no_end_error(env)
    success = success_of(info)
    if success is None:
        raise no_success_error(env, info)
    if frame_stride is None:
        return Outcome(success, any_step)
    frames.append(_frame(env))
    return Outcome(success, any_step, Recording(np.stack(frames), picture, np.asarray(values)))


def fit_action(env: gymnasium.Env[Any, Any], action: np.ndarray) -> np.ndarray:
    """The action in the environment's dtype; clipped, since bounds that were stored as float32 may round outwards."""
    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Box):
        return action
    fitted: np.ndarray = np.clip(action, space.low, space.high).astype(space.dtype)
    return fitted


def _frame(env: gymnasium.Env[Any, Any]) -> np.ndarray:
    return np.array(env.render(), dtype=np.uint8)


def _goal_frame(
    env: gymnasium.Env[Any, Any], seed: int, reset_options: Mapping[str, Any], max_steps: int | None
) -> np.ndarray | None:
    """The goal as a frame: drawn by the environment, given by it, the oracle's end, or the goal's own image."""
    observation, info = env.reset(seed=seed, options=dict(reset_options) or None)
    goal = shown_goal(observation, info)
    render_goal = getattr(env.unwrapped, "render_goal", None)
    if callable(render_goal):
        return np.array(render_goal(), dtype=np.uint8)
    if "goal_frame" in info:
        return np.array(info["goal_frame"], dtype=np.uint8)
    if find_oracle(env) is not None:
        end = run_episode(env, start_oracle, seed=seed, reset_options=reset_options, max_steps=max_steps)
        if end.success:
            return _frame(env)
    values = goal.values() if isinstance(goal, Mapping) else [] if goal is None else [goal]
    images = [np.asarray(value) for value in values if np.ndim(value) == 3]
    return images[0].astype(np.uint8) if images else None
