"""Any Gymnasium environment, seen through what evaluation needs of it: observation, goal, success."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium
import numpy as np

from am_ray.types import DataSpec, EnvironmentContractError

Observation = np.ndarray | Mapping[str, np.ndarray]

SUCCESS_KEYS = ("success", "is_success")
NO_END_STEPS = 10_000
TRAY_PREFIX = "am_ray/Tray"


class Oracle(Protocol):
    """A scripted policy that sees the simulator instead of the observation."""

    def act(self) -> np.ndarray: ...


def make_environment(env_id: str, env_kwargs: Mapping[str, Any], *, render: bool) -> gymnasium.Env[Any, Any]:
    """Builds an environment from an id (``Env-v0``, ``namespace/Env-v0`` or ``package:Env-v0``).

    Raises:
        EnvironmentContractError: The id is unknown, its package does not import, the keyword arguments do not fit,
            or frames are wanted and the environment draws none.
    """
    if env_id.startswith("am_ray/"):
        import am_ray.envs  # noqa: F401  (registers our environments)
    try:
        mode = {"render_mode": "rgb_array"} if render else {}
        with warnings.catch_warnings():
            # Gymnasium warns of an environment that draws no frames; the error below says it once, and what to do.
            warnings.filterwarnings("ignore", message=r".*render_mode='rgb_array' that is not in the possible.*")
            env: Any = gymnasium.make(env_id, disable_env_checker=True, **{**env_kwargs, **mode})
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise EnvironmentContractError(
            f"environment {env_id!r} with the keyword arguments {dict(env_kwargs)}: could not be made "
            f"({type(error).__name__}: {error}). Check the id; write package:Env-v0 when a package registers it "
            f"(installed, or on PYTHONPATH); check --env-kwargs."
        ) from error
    if render and env.render_mode != "rgb_array":
        env.close()
        raise EnvironmentContractError(
            f"environment {env_id!r}: panels need render_mode 'rgb_array', got {env.render_mode!r}. Leave out --panels."
        )
    made: gymnasium.Env[Any, Any] = env
    return made


def check_action_space(env: gymnasium.Env[Any, Any], spec: DataSpec) -> None:
    """Refuses an environment whose actions are not the ones that the policy learnt.

    Raises:
        EnvironmentContractError: The action space is not a ``Box`` of shape ``(a,)``.
    """
    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Box) or space.shape != (spec.action_dim,):
        raise EnvironmentContractError(
            f"environment {_name(env)}: its action space is {space}; the policy gives actions of shape "
            f"({spec.action_dim},) and needs a Box of that shape. Evaluate in the environment of the training data."
        )


def features_of(observation: Any) -> Observation:
    """The part of an observation that a policy reads.

    A goal environment's Dict holds it under ``observation`` (an array, or a Dict of features); another Dict holds the
    features themselves; anything else is the single feature.
    """
    if isinstance(observation, Mapping) and "observation" in observation:
        inner: Observation = observation["observation"]
        return inner
    whole: Observation = observation
    return whole


def shown_goal(observation: Any, info: Mapping[str, Any]) -> Observation | None:
    """The goal of an episode that was just reset: ``desired_goal`` of a Dict observation, else ``info["goal"]``, if any."""
    if isinstance(observation, Mapping) and "desired_goal" in observation:
        goal: Observation = observation["desired_goal"]
        return goal
    return info.get("goal")


def goal_of(observation: Any, info: Mapping[str, Any], env: gymnasium.Env[Any, Any]) -> Observation:
    """The goal of an episode that was just reset (`shown_goal`), for policies that need one.

    Raises:
        EnvironmentContractError: There is none.
    """
    goal = shown_goal(observation, info)
    if goal is not None:
        return goal
    kind = f"a Dict with the keys {sorted(observation)}" if isinstance(observation, Mapping) else "no Dict"
    raise EnvironmentContractError(
        f"environment {_name(env)}: reset gave no goal: the observation is {kind}, info has the keys {sorted(info)}. "
        f"Expected 'desired_goal' in a Dict observation, or info['goal']. Wrap the environment so that it gives one."
    )


def success_of(info: Mapping[str, Any]) -> bool | None:
    """``info["success"]`` or ``info["is_success"]``; ``None`` where the step reports neither."""
    for key in SUCCESS_KEYS:
        if key in info:
            return bool(info[key])
    return None


def no_success_error(env: gymnasium.Env[Any, Any], info: Mapping[str, Any]) -> EnvironmentContractError:
    """The error for an episode whose last step says nothing about success."""
    return EnvironmentContractError(
        f"environment {_name(env)}: the last step of an episode reports no success: info has the keys {sorted(info)}. "
        f"Expected a bool in info['success'] or info['is_success']. Wrap the environment so that it gives one."
    )


def no_end_error(env: gymnasium.Env[Any, Any]) -> EnvironmentContractError:
    """The error for an episode that neither terminates nor is truncated."""
    return EnvironmentContractError(
        f"environment {_name(env)}: an episode did not end within {NO_END_STEPS} actions. "
        f"Set a limit with --max-steps, or register the environment with max_episode_steps."
    )


def find_oracle(env: gymnasium.Env[Any, Any]) -> Oracle | None:
    """The scripted oracle of the running episode: what the unwrapped environment's method ``oracle`` returns, if any."""
    offered = getattr(env.unwrapped, "oracle", None)
    if callable(offered):
        oracle: Oracle = offered()
        return oracle
    if env.spec is not None and env.spec.id.startswith(TRAY_PREFIX):
        from am_ray.envs import make_oracle

        return make_oracle(env)
    return None


def _name(env: gymnasium.Env[Any, Any]) -> str:
    return repr(env.spec.id) if env.spec is not None else type(env.unwrapped).__name__
