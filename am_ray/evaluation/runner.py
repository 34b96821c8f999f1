"""Runs the episodes of one process: builds the environment and the policy once, reports failures as results."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import gymnasium

from am_ray.evaluation.environment import (
    check_action_space,
    features_of,
    find_oracle,
    goal_of,
    make_environment,
    shown_goal,
)
from am_ray.evaluation.rollout import (
    Outcome,
    Policy,
    Recording,
    Start,
    run_episode,
    start_oracle,
    start_policy,
    start_random,
)
from am_ray.evaluation.tasks import TaskSpec, episode_seed

logger = logging.getLogger(__name__)

LEARNT, RANDOM, ORACLE = "ours", "random", "oracle"


@dataclass(frozen=True)
class RunnerSetup:
    """What a process needs to run episodes.

    Attributes:
        make_policy: Builds the policy inside the process; pickled by Ray.
        env_id: Gymnasium id.
        env_kwargs: Of ``gymnasium.make``.
        max_steps: Actions of an episode; ``None`` leaves the end to the environment.
        render: Build the environment so that it draws frames.
    """

    make_policy: Callable[[], Policy]
    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    render: bool = False


@dataclass(frozen=True)
class EpisodeJob:
    """One episode to run: who acts (`LEARNT`, `RANDOM`, `ORACLE`), in which task, from which seed.

    With a ``frame_stride`` it is recorded, a frame every so many actions.
    """

    policy: str
    task: TaskSpec
    index: int
    seed: int
    frame_stride: int | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from the other jobs of an evaluation."""
        return self.policy, self.task.name, self.index


@dataclass(frozen=True)
class EpisodeResult:
    """What became of a job. ``error`` is ``None``, or says why the episode does not count (an infrastructure failure)."""

    job: EpisodeJob
    success: bool = False
    success_any_step: bool = False
    error: str | None = None
    recording: Recording | None = None


class EpisodeRunner:
    """Runs episodes in this process. Also a Ray actor's class; building one loads neither policy nor environment."""

    def __init__(self, setup: RunnerSetup) -> None:
        self._setup = setup
        self._policy: Policy | None = None
        self._env: gymnasium.Env[Any, Any] | None = None

    def prepare(self) -> None:
        """Builds policy and environment, with one torch thread: more would only compete with the other workers.

        Raises:
            AmRayError: The checkpoint or the environment is unusable.
        """
        import torch

        torch.set_num_threads(1)
        self._policy = self._setup.make_policy()
        self._open_environment()

    def check(self, tasks: Sequence[TaskSpec], seed: int) -> bool:
        """Meets every promise once before the evaluation spends its hours; returns whether there is an oracle.

        Raises:
            EnvironmentContractError: Action space, observation, goal or success is not as needed.
        """
        env, policy = self._open_environment(), self._need_policy()
        check_action_space(env, policy.spec)
        for task in tasks:
            first = episode_seed(seed, task.name, 0)
            observation, info = env.reset(seed=first, options=dict(task.reset_options) or None)
            policy.reseed(first)
            needs_goal = getattr(policy, "needs_goal", True)
            goal = goal_of(observation, info, env) if needs_goal else shown_goal(observation, info)
            policy.evaluate(features_of(observation), goal)
        self._run(EpisodeJob(RANDOM, tasks[0], 0, episode_seed(seed, tasks[0].name, 0)))
        return find_oracle(env) is not None

    def run(self, job: EpisodeJob, timeout_s: float | None = None) -> EpisodeResult:
        """Runs one episode; an exception of the environment or the policy, or a hang, becomes a failure of its own kind.

        `check` has seen to it that these are exceptions, so the evaluation goes on without the episode.
        """
        try:
            with time_limit(timeout_s):
                outcome = self._run(job)
        except Exception as error:
            logger.warning("%s, task %s, episode %d failed", job.policy, job.task.name, job.index, exc_info=True)
            self.close()  # its state is unknown: the next episode gets a new environment
            return EpisodeResult(job, error=f"{type(error).__name__}: {error}")
        return EpisodeResult(job, outcome.success, outcome.success_any_step, None, outcome.recording)

    def close(self) -> None:
        """Closes the environment."""
        env: Any = self._env
        self._env = None
        if env is not None:
            try:
                env.close()
            except Exception:
                logger.warning("the environment failed to close", exc_info=True)

    def _run(self, job: EpisodeJob) -> Outcome:
        starts: dict[str, Start] = {RANDOM: start_random, ORACLE: start_oracle}
        start = starts[job.policy] if job.policy in starts else start_policy(self._need_policy())
        return run_episode(
            self._open_environment(),
            start,
            seed=job.seed,
            reset_options=job.task.reset_options,
            max_steps=self._setup.max_steps,
            frame_stride=job.frame_stride,
        )

    def _need_policy(self) -> Policy:
        if self._policy is None:
            self.prepare()
        assert self._policy is not None
        return self._policy

    def _open_environment(self) -> gymnasium.Env[Any, Any]:
        if self._env is None:
            self._env = make_environment(self._setup.env_id, self._setup.env_kwargs, render=self._setup.render)
        return self._env


class EpisodeTimeoutError(Exception):
    """An episode ran longer than its limit."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Interrupts Python code in the main thread after some seconds; elsewhere it does nothing.

    It cannot interrupt a call that never returns from C; an evaluation with two or more workers survives that too,
    because it kills the worker.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signal_number: int, frame: FrameType | None) -> None:
        raise EpisodeTimeoutError(f"the episode took more than {seconds:g} s")

    began_s = time.monotonic()
    outer_handler = signal.signal(signal.SIGALRM, interrupt)
    outer_s, outer_interval_s = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        # a timer that ran before (a test's time limit) goes on; one that is overdue by now rings at once
        left_s = max(outer_s - (time.monotonic() - began_s), 1e-3) if outer_s else 0.0
        signal.signal(signal.SIGALRM, outer_handler)
        signal.setitimer(signal.ITIMER_REAL, left_s, outer_interval_s)
