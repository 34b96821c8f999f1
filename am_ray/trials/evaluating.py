"""Evaluating a trial's checkpoint in its own process, without disturbing its training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.trials.trial import SUCCESS_RATE
from am_ray.types import AmRayError

if TYPE_CHECKING:
    from am_ray.evaluation import EvaluationReport
    from am_ray.study_settings import EvaluationSettings


EPISODE_TIMEOUT_S = 300.0


class UnusableEnvironmentError(AmRayError):
    """Not one episode of a task counts: the environment failed in all of them. Another attempt may do better."""


def evaluate_checkpoint(
    checkpoint: Path, settings: EvaluationSettings, *, isolated: bool = False
) -> tuple[dict[str, Any], dict[str, float]]:
    """Runs the policy's episodes here, or (``isolated``) in a Ray actor: an episode that crashes or hangs costs itself alone.

    Returns:
        Every episode (`TrialResult.evaluation`), and the success rates: ``eval/<task>/success_rate`` and their mean.

    Raises:
        UnusableEnvironmentError: The environment failed in all episodes of a task.
        EnvironmentContractError: The environment lacks what evaluation needs.
    """
    import torch

    from am_ray.evaluation import evaluate

    # Evaluation sets the number of torch threads, and results of training depend on it to the last bit.
    threads = torch.get_num_threads()
    try:
        report = evaluate(
            checkpoint,
            env_id=settings.env or None,
            env_kwargs=dict(settings.env_kwargs) or None,
            tasks=list(settings.tasks) or None,
            episodes=settings.episodes,
            seed=settings.seed,
            workers=1,
            baselines=False,
            max_steps=settings.max_steps or None,
            episode_timeout_s=EPISODE_TIMEOUT_S,
            isolated=isolated,
        )
    finally:
        torch.set_num_threads(threads)
    return _record(report), success_rates(report)


def success_rates(report: EvaluationReport) -> dict[str, float]:
    """``eval/<task>/success_rate``, and their mean.

    Raises:
        UnusableEnvironmentError: A task has no episode that counts.
    """
    rates = {name: result.success_rate for name, result in report.tasks.items()}
    counted = {name: rate for name, rate in rates.items() if rate is not None}
    if len(counted) < len(rates):
        errors = sorted({str(result.error) for result in report.results if result.error is not None})
        raise UnusableEnvironmentError(
            f"environment {report.env_id}: no episode of {', '.join(sorted(rates.keys() - counted.keys()))} counts, all "
            f"failed ({errors[0]}); expected some that do not. Try 'am-ray evaluate' on {report.checkpoint}."
        )
    named = {f"eval/{name}/success_rate": rate for name, rate in counted.items()}
    return {**named, SUCCESS_RATE: sum(counted.values()) / len(counted)}


def _record(report: EvaluationReport) -> dict[str, Any]:
    tasks: dict[str, list[dict[str, Any]]] = {name: [] for name in report.tasks}
    for result in report.results:
        tasks[result.job.task.name].append(
            {
                "seed": result.job.seed,
                "success": bool(result.success),
                "success_any_step": bool(result.success_any_step),
                "error": result.error,
            }
        )
    return {
        "env": {"id": report.env_id, "kwargs": report.env_kwargs},
        "seed": report.seed,
        "episodes": report.episodes,
        "max_steps": report.max_steps,
        "tasks": tasks,
    }
