"""Evaluation: success rates with intervals, beside a random policy and an oracle on the same goals.

The names are imported when they are first used: reading a report needs neither torch nor Gymnasium.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from am_ray.evaluation.intervals import wilson_interval
    from am_ray.evaluation.panels import write_figure, write_gif, write_panels
    from am_ray.evaluation.report import EvaluationReport, TaskResult, results_table
    from am_ray.evaluation.success import evaluate
    from am_ray.evaluation.tasks import TaskSpec, tasks_from_reset_options

_HOMES = {
    "EvaluationReport": "report",
    "TaskResult": "report",
    "TaskSpec": "tasks",
    "evaluate": "success",
    "results_table": "report",
    "tasks_from_reset_options": "tasks",
    "wilson_interval": "intervals",
    "write_figure": "panels",
    "write_gif": "panels",
    "write_panels": "panels",
}
__all__ = [
    "EvaluationReport",
    "TaskResult",
    "TaskSpec",
    "evaluate",
    "results_table",
    "tasks_from_reset_options",
    "wilson_interval",
    "write_figure",
    "write_gif",
    "write_panels",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
