"""Actionable Models (Chebotar et al., ICML 2021): unsupervised offline RL of robotic skills, on Ray.

The public names are imported when they are first used, so that ``import am_ray`` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from am_ray.types import (
    AmRayError,
    CheckpointError,
    DatasetError,
    EnvironmentContractError,
    SettingsError,
    Trajectory,
)

if TYPE_CHECKING:
    from am_ray.data.reader import read_dataset
    from am_ray.data.writer import write_dataset
    from am_ray.models.checkpoint import load_policy

__version__ = "0.1.0"

_LAZY = {
    "read_dataset": "am_ray.data.reader",
    "write_dataset": "am_ray.data.writer",
    "load_policy": "am_ray.models.checkpoint",
}

__all__ = [
    "AmRayError",
    "CheckpointError",
    "DatasetError",
    "EnvironmentContractError",
    "SettingsError",
    "Trajectory",
    "__version__",
    "load_policy",
    "read_dataset",
    "write_dataset",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
