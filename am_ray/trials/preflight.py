"""Whether trials fit their data and can be evaluated at all, found out before they train for hours."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from am_ray.algorithm.fitting import check_fits
from am_ray.algorithm.offline_data import dataset_facts
from am_ray.evaluation import evaluate
from am_ray.models.policy import ActionValue
from am_ray.settings_reader import to_mapping
from am_ray.trials.trial import Trial
from am_ray.types import DataSpec, EnvironmentContractError, SettingsError

logger = logging.getLogger(__name__)


def check_beforehand(trials: Sequence[Trial]) -> None:
    """Opens each environment and dataset that the trials name, builds each trial's networks, and takes one step of each task.

    Raises:
        DatasetError: A dataset cannot be read.
        EnvironmentContractError: An environment cannot be made, or lacks a goal, a success flag or the data's actions.
        SettingsError: A task is unknown, or a trial's settings do not fit its data; names the trial.
    """
    seen = set()
    for trial in trials:
        facts = dataset_facts(trial.settings.dataset, trial.settings.ingest.skip_bad_files)
        try:
            check_fits(facts, trial.settings.algorithm)
        except SettingsError as error:
            raise SettingsError(f"trial {trial.name}: {error}") from error
        settings = trial.evaluation
        needs_goal = trial.settings.algorithm.method != "task_critic"
        key = json.dumps([trial.settings.dataset, needs_goal, to_mapping(settings)], sort_keys=True)
        if key in seen:
            continue
        seen.add(key)
        recorded = facts.environment or {}
        own = not settings.env or settings.env == recorded.get("id")
        env_id = settings.env or recorded.get("id")
        if env_id is None:
            raise EnvironmentContractError(
                f"{trial.settings.dataset}: does not say which environment made it, and evaluation.env is empty; trials could "
                f"not be evaluated. Set evaluation.env to a Gymnasium id."
            )
        evaluate(
            _MakeIdle(facts.spec, needs_goal),
            env_id=env_id,
            env_kwargs={**(recorded.get("kwargs", {}) if own else {}), **settings.env_kwargs},
            tasks=list(settings.tasks) or None,
            episodes=1,
            seed=settings.seed,
            baselines=False,
            max_steps=1,
        )


class _MakeIdle:
    """Builds a policy that knows the data's shapes and does nothing."""

    def __init__(self, spec: DataSpec, needs_goal: bool) -> None:
        self._spec, self._needs_goal = spec, needs_goal

    def __call__(self) -> Any:
        return _Idle(self._spec, self._needs_goal)


class _Idle:
    def __init__(self, spec: DataSpec, needs_goal: bool) -> None:
        self.spec, self.needs_goal = spec, needs_goal

    def reseed(self, seed: int) -> None:
        """It draws nothing."""

    def evaluate(self, observation: Any, goal: Any) -> ActionValue:
        low, high = np.array(self.spec.action_low), np.array(self.spec.action_high)
        return ActionValue(((low + high) / 2).astype(np.float32), np.asarray(np.nan))
