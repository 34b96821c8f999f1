"""Trials: runs that are trained, evaluated and compared, as many at once as fit, on Ray Tune.

The names are imported when they are first used: reading results needs no Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from am_ray.trials.engine import check_trials, run_trials
    from am_ray.trials.folder_lock import study_folder
    from am_ray.trials.trial import Trial, TrialResult

_HOMES = {
    "Trial": "trial",
    "TrialResult": "trial",
    "check_trials": "engine",
    "run_trials": "engine",
    "study_folder": "folder_lock",
}
__all__ = ["Trial", "TrialResult", "check_trials", "run_trials", "study_folder"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
