"""Sweeps: one run's settings, varied; every trial trained and evaluated alike, one table at the end.

The names are imported when they are first used: reading a plan needs no Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from am_ray.sweep.plan import SweepPlan, plan_sweep
    from am_ray.sweep.running import SweepOutcome, run_sweep

_HOMES = {"SweepOutcome": "running", "SweepPlan": "plan", "plan_sweep": "plan", "run_sweep": "running"}
__all__ = ["SweepOutcome", "SweepPlan", "plan_sweep", "run_sweep"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
