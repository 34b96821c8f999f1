"""`evaluate`: how often a checkpoint reaches the goals that it is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.evaluation.environment import TRAY_PREFIX
from am_ray.evaluation.panels import choose_animations, choose_episodes, write_panels
from am_ray.evaluation.report import EvaluationReport, TaskResult
from am_ray.evaluation.rollout import ENDS_ONLY
from am_ray.evaluation.runner import LEARNT, ORACLE, RANDOM, EpisodeJob, EpisodeResult, RunnerSetup
from am_ray.evaluation.tasks import TaskSpec, episode_seeds, tasks_from_reset_options, tray_tasks
from am_ray.evaluation.workers import open_workers
from am_ray.progress import progress_bar
from am_ray.settings import Acting, CloningAct
from am_ray.types import EnvironmentContractError, SettingsError

if TYPE_CHECKING:
    from am_ray.evaluation.rollout import Policy


def evaluate(
    checkpoint: str | Path | Callable[[], Policy],
    *,
    env_id: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    tasks: Sequence[str | TaskSpec] | None = None,
    episodes: int = 64,
    seed: int = 0,
    workers: int = 1,
    baselines: bool = True,
    max_steps: int | None = None,
    acting: Acting | CloningAct | None = None,
    panels_dir: str | Path | None = None,
    panels_per_task: int = 4,
    animations: int = 0,
    episode_timeout_s: float = 300.0,
    isolated: bool = False,
) -> EvaluationReport:
    """Runs a policy, a random policy and the environment's oracle on the same goals.

    Args:
        checkpoint: A checkpoint or run directory, or a function that builds a policy (pickled when there are workers).
        env_id: Gymnasium id, ``package:Env-v0`` included; by default the environment that made the checkpoint's data.
        env_kwargs: Of ``gymnasium.make``; by default those of that environment, if ``env_id`` is left out, and
            otherwise laid over them.
        tasks: Names of the tray's tasks, or `TaskSpec` for any environment. By default the tray's three zero-shot tasks;
            elsewhere one task without reset options.
        episodes: Per task.
        seed: Of starts, goals and the policy's search. The goals of a task depend on it and on the task's name alone.
        workers: Processes; up to 1 runs here, without Ray. The results are the same for any number.
        baselines: Whether to run the random policy and the oracle too.
        max_steps: Actions per episode; by default the environment ends its episodes.
        acting: How a checkpoint acts (``critic.acting``, or ``cloning.act``); by default as it was trained to.
        panels_dir: Folder for pictures of some episodes.
        panels_per_task: How many, successes and failures mixed.
        animations: How many of these episodes become a GIF too, successes first, tasks by turns; it costs a frame of
            ``env.render()`` per action.
        episode_timeout_s: An episode that takes longer is an infrastructure failure: counted apart, no failure of the policy.
        isolated: Run episodes in another process even with one worker, so that a crash or a hang in C costs one episode.

    Raises:
        CheckpointError: The checkpoint is unusable.
        EnvironmentContractError: The environment lacks a goal, a success flag, or the policy's observations or actions.
        SettingsError: A number is out of range, a task is unknown, or the policy cannot act as asked.
    """
    _check_numbers(1, episodes=episodes, panels_per_task=panels_per_task, max_steps=max_steps)
    _check_numbers(0, seed=seed)
    source = _policy_source(checkpoint, acting)
    env_id, kwargs = _choose_environment(source.origin, env_id, env_kwargs)
    specs = _choose_tasks(env_id, kwargs, tasks)
    setup = RunnerSetup(source.make_policy, env_id, kwargs, max_steps, render=panels_dir is not None)
    with open_workers(setup, workers=workers, timeout_s=episode_timeout_s, isolated=isolated) as pool:
        has_oracle = pool.check(specs, seed)
        policies = [LEARNT, *([RANDOM] if baselines else []), *([ORACLE] if baselines and has_oracle else [])]
        jobs = plan_jobs(policies, specs, episodes=episodes, seed=seed)
        with progress_bar("episodes", len(jobs)) as advance:
            results = pool.run(jobs, lambda result: advance(1))
        recordings: list[EpisodeResult] = []
        if panels_dir is not None:
            # Episodes follow from their seeds, so those worth a picture are known only now and simply run again.
            own = [result for result in results if result.job.policy == LEARNT]
            chosen = choose_episodes(own, panels_per_task)
            filmed = choose_animations(chosen, animations)
            again = [replace(r.job, frame_stride=1 if r in filmed else ENDS_ONLY) for r in chosen]
            with progress_bar("panels", len(again)) as advance:
                recordings = [r for r in pool.run(again, lambda result: advance(1)) if r.recording is not None]
            write_panels(recordings, panels_dir)
    by_policy = {policy: _task_results(results, policy, specs) for policy in policies}
    return EvaluationReport(
        tasks=by_policy[LEARNT],
        random=by_policy.get(RANDOM),
        oracle=by_policy.get(ORACLE),
        seed=seed,
        checkpoint=source.name,
        env_id=env_id,
        env_kwargs=kwargs,
        episodes=episodes,
        max_steps=max_steps,
        acting=source.acting,
        results=tuple(results),
        recordings=tuple(recordings),
    )


def plan_jobs(policies: Sequence[str], tasks: Sequence[TaskSpec], *, episodes: int, seed: int) -> list[EpisodeJob]:
    """Every episode of an evaluation: each policy meets the same seeds."""
    seeds = {task.name: episode_seeds(seed, task.name, episodes) for task in tasks}
    return [
        EpisodeJob(policy, task, index, episode)
        for policy in policies
        for task in tasks
        for index, episode in enumerate(seeds[task.name])
    ]


def _task_results(results: Sequence[EpisodeResult], policy: str, tasks: Sequence[TaskSpec]) -> dict[str, TaskResult]:
    return {
        task.name: TaskResult.of(r for r in results if r.job.policy == policy and r.job.task == task) for task in tasks
    }


def _check_numbers(low: int, **numbers: int | None) -> None:
    for name, value in numbers.items():
        if value is not None and value < low:
            raise SettingsError(f"{name}: got {value}; expected at least {low}. Change the value.")


@dataclass(frozen=True)
class _PolicySource:
    """How a worker builds the policy, what the report calls it, where its data came from, and how it acts."""

    make_policy: Callable[[], Policy]
    name: str
    origin: Mapping[str, Any]
    acting: Acting | CloningAct | None


def _policy_source(checkpoint: str | Path | Callable[[], Policy], acting: Acting | CloningAct | None) -> _PolicySource:
    if callable(checkpoint):
        if acting is not None:
            raise SettingsError(
                f"acting: got {acting} for a function that builds the policy; expected a checkpoint. Leave it out."
            )
        return _PolicySource(checkpoint, getattr(checkpoint, "__qualname__", type(checkpoint).__name__), {}, None)
    from am_ray.models.checkpoint import find_checkpoint, load_policy, read_checkpoint

    # found once, so that all workers take the same one although training may go on meanwhile
    directory = find_checkpoint(checkpoint)
    if acting is not None:
        load_policy(directory, acting=acting)  # refused here, before there are workers
    found = read_checkpoint(directory)
    if acting is None:
        acting = (
            found.settings.cloning.act if found.settings.method == "behavior_cloning" else found.settings.critic.acting
        )
    make_policy = partial(load_policy, directory.resolve(), acting=acting)
    return _PolicySource(make_policy, str(directory), found.origin, acting)


def _choose_environment(
    origin: Mapping[str, Any], env_id: str | None, env_kwargs: Mapping[str, Any] | None
) -> tuple[str, dict[str, Any]]:
    recorded = (origin.get("dataset") or {}).get("environment") or {}
    given = dict(env_kwargs or {})
    if env_id is not None and env_id != recorded.get("id"):
        return env_id, given
    if not recorded:
        raise EnvironmentContractError(
            "environment: none was given, and the checkpoint's dataset does not say which one made it. "
            "Name one with --env (any Gymnasium id, package:Env-v0 included)."
        )
    return str(recorded["id"]), {**recorded.get("kwargs", {}), **given}


def _choose_tasks(env_id: str, env_kwargs: Mapping[str, Any], tasks: Sequence[str | TaskSpec] | None) -> list[TaskSpec]:
    specs = [task for task in tasks or [] if isinstance(task, TaskSpec)]
    names = [task for task in tasks or [] if isinstance(task, str)]
    if specs and names:
        raise SettingsError(f"tasks: got names {names} and TaskSpec {specs}; expected one kind. Use one kind.")
    if specs:
        return specs
    if env_id.startswith(TRAY_PREFIX):
        has_container = env_kwargs.get("container", "bin") is not None
        return tray_tasks(None if tasks is None else names, has_container=has_container)
    return tasks_from_reset_options([{"task": name} for name in names])
