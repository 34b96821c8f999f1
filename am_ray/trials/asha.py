"""Tune's ASHA with a memory: trials are known by their names, so that a study that goes on finds its rungs as they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler

from am_ray.study_settings import SchedulerSettings


@dataclass(frozen=True)
class _Named:
    """What ASHA looks at of a trial."""

    trial_id: str


class RememberingAsha(AsyncHyperBandScheduler):
    """ASHA over updates.

    Args:
        names: Of the trials, by Tune's ``config["index"]``.
        settings: When a trial may be stopped.
        updates: Of a trial that is not stopped.
        metric: What trials are compared by.
        mode: ``max`` or ``min``.
        histories: Of trials that began in an earlier call: (update, metric) of each evaluation.
    """

    def __init__(
        self,
        names: Sequence[str],
        settings: SchedulerSettings,
        *,
        updates: int,
        metric: str,
        mode: str,
        histories: Mapping[str, Sequence[tuple[int, float]]],
    ) -> None:
        super().__init__(
            time_attr="update",
            metric=metric,
            mode=mode,
            max_t=updates,
            grace_period=settings.grace_updates,
            reduction_factor=settings.reduction_factor,
        )
        self._names = list(names)
        sign = 1.0 if mode == "max" else -1.0
        for update, name, value in sorted((u, n, v) for n, history in histories.items() for u, v in history):
            bracket: Any = self._brackets[0]
            bracket.on_result(_Named(name), update, sign * value)

    @property
    def rungs(self) -> dict[float, dict[str, float]]:
        """Updates of each rung to the names of the trials that reached it, with the metric (its sign turned for ``min``)."""
        return {milestone: dict(recorded) for milestone, recorded in self._brackets[0]._rungs}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, self._named(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return super().on_trial_result(tune_controller, self._named(trial), result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, self._named(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, self._named(trial))

    def _named(self, trial: Any) -> Any:
        return _Named(self._names[trial.config["index"]])
