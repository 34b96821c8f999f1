"""The tray: a PyBullet world, its tasks, scripted policies and the Gymnasium environment ``am_ray/Tray-v0``.

Importing this package registers the environment and imports no simulator; that happens when one is built.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import gymnasium

from am_ray.types import EnvironmentContractError

if TYPE_CHECKING:
    from am_ray.envs.collector import Collector, collect_episode, make_collector
    from am_ray.envs.goal_env import TrayEnv, make_oracle
    from am_ray.envs.recipe import TrayRecipe, load_recipe
    from am_ray.envs.tray import Tray

ENV_ID = "am_ray/Tray-v0"
_HOMES = {
    "Collector": "collector",
    "Tray": "tray",
    "TrayEnv": "goal_env",
    "TrayRecipe": "recipe",
    "collect_episode": "collector",
    "load_recipe": "recipe",
    "make_collector": "collector",
    "make_oracle": "goal_env",
}
__all__ = [
    "ENV_ID",
    "Collector",
    "Tray",
    "TrayEnv",
    "TrayRecipe",
    "collect_episode",
    "load_recipe",
    "make_collector",
    "make_oracle",
]


def check_platform(version: tuple[int, ...], *, has_pybullet: bool) -> None:
    """Refuses an interpreter for which the simulator has no wheel.

    Raises:
        EnvironmentContractError: Not Python 3.11, or PyBullet is missing.
    """
    if version[:2] != (3, 11):
        got = ".".join(map(str, version[:2]))
        raise EnvironmentContractError(
            f"am_ray.envs: got Python {got}; expected 3.11, the newest with wheels of pybullet 3.2.7. "
            "Make the environment again with Python 3.11 ('make setup'); am_ray.core and am_ray.models run here as well."
        )
    if not has_pybullet:
        raise EnvironmentContractError(
            "am_ray.envs: pybullet is not installed; expected version 3.2.7. "
            "Run 'make setup', or: pip install --only-binary :all: pybullet==3.2.7 (Linux x86-64)."
        )


check_platform(sys.version_info[:3], has_pybullet=importlib.util.find_spec("pybullet") is not None)

if ENV_ID not in gymnasium.registry:
    gymnasium.register(id=ENV_ID, entry_point="am_ray.envs.goal_env:TrayEnv")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
