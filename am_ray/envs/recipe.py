"""Recipes: what a dataset of the tray is made of, read from YAML and refused if anything in it is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from am_ray.envs.assets import Color
from am_ray.envs.behaviours import BEHAVIOURS
from am_ray.envs.objects import CONTAINERS, find_kind
from am_ray.envs.robot import ARMS
from am_ray.envs.tasks import TASKS
from am_ray.envs.tray import OBSERVATIONS
from am_ray.settings_reader import read_settings
from am_ray.strict_yaml import load_yaml
from am_ray.types import SettingsError

# Tasks that label data, and the object that each is about.
REWARD_TASKS: dict[str, str] = {name: task.target for name, task in TASKS.items() if task.target is not None}

PLAY_MIXTURE: dict[str, float] = {
    "grasp": 0.25,
    "place": 0.2,
    "rearrange": 0.15,
    "push": 0.08,
    "wander": 0.08,
    "fail": 0.08,
    "drop": 0.08,
    "regrasp": 0.08,
}


@dataclass(frozen=True)
class TrayRecipe:
    """How to make episodes of the tray. Ranges hold both ends.

    Attributes:
        arm: ``panda`` or ``gantry``.
        kinds: Object kinds with a slot in the state.
        container: ``bin``, ``plate`` or ``None``.
        observation: ``state``, ``image``, ``image_gripper`` or ``both``, see `Tray`; with ``image_gripper`` the image alone makes
            the goal.
        image_size: Height and width of the image in pixels.
        num_objects: Objects per episode, drawn from ``kinds``.
        num_actions: Actions of each behaviour; of an episode, where it holds one.
        num_behaviours: Behaviours per episode, one after the other, each about an object drawn anew (it may be the same): play that nobody
            has cut into tasks. An episode ends early with the behaviour in which something left the tray.
        mixture: Weight of each behaviour.
        target_error_m: Standard deviation of an episode's grasp error, drawn from this range.
        action_std: Standard deviation of the noise on the four motion entries, drawn from this range.
        prelude: Aimless actions before each behaviour begins, drawn from this range.
        episodes_per_scene: Episodes that begin with the same objects in the same places, one after the other, as before a
            robot whose tray nobody changes. 1: each has a scene of its own.
        colors: Colours (RGB in [0, 1]) of a kind to draw from; kinds not named keep their own.
        task: A reward task (``grasp_box``, ...) that labels every step; its object is in every episode. ``None``: steps are
            labelled by whether the behaviour's own aim holds, which is no reward.
        task_share: Share of behaviours that are about the task's object; the others draw theirs from all.

    Raises:
        SettingsError: A value is out of range or a name is unknown.
    """

    arm: str = "panda"
    kinds: tuple[str, ...] = ("box", "banana", "milk", "can", "apple")
    container: str | None = "bin"
    observation: str = "state"
    image_size: int = 64
    num_objects: tuple[int, int] = (3, 5)
    num_actions: tuple[int, int] = (26, 32)
    num_behaviours: tuple[int, int] = (1, 1)
    mixture: Mapping[str, float] = field(default_factory=lambda: dict(PLAY_MIXTURE))
    target_error_m: tuple[float, float] = (0.0, 0.01)
    action_std: tuple[float, float] = (0.02, 0.15)
    prelude: tuple[int, int] = (0, 3)
    episodes_per_scene: int = 1
    colors: Mapping[str, tuple[Color, ...]] = field(default_factory=dict)
    task: str | None = None
    task_share: float = 1.0

    def __post_init__(self) -> None:
        for name in (*self.kinds, *self.colors):
            find_kind(name)
        _require(self.arm in ARMS, "arm", self.arm, f"one of {', '.join(ARMS)}")
        _require(self.container in (None, *CONTAINERS), "container", self.container, "bin, plate or null")
        _require(self.observation in OBSERVATIONS, "observation", self.observation, f"one of {', '.join(OBSERVATIONS)}")
        _require(self.image_size >= 8, "image_size", self.image_size, "8 pixels or more")
        _require_range("num_objects", self.num_objects, 1, len(self.kinds))
        _require_range("num_actions", self.num_actions, 1, 1000)
        _require_range("num_behaviours", self.num_behaviours, 1, 100)
        _require_range("target_error_m", self.target_error_m, 0.0, 0.1)
        _require_range("action_std", self.action_std, 0.0, 1.0)
        _require_range("prelude", self.prelude, 0, 100)
        _require(self.episodes_per_scene >= 1, "episodes_per_scene", self.episodes_per_scene, "1 or more")
        for name, weight in self.mixture.items():
            known = name in BEHAVIOURS
            _require(known, "mixture", name, f"behaviours among {', '.join(BEHAVIOURS)}")
            _require(weight >= 0, f"mixture.{name}", weight, "a weight of 0 or more")
            placeable = self.container is not None or weight == 0 or not BEHAVIOURS[name].needs_container
            _require(placeable, f"mixture.{name}", weight, "0, since container is null")
            repeatable = self.num_behaviours[1] == 1 or weight == 0 or not BEHAVIOURS[name].starts_held
            wanted = "0, since it begins with the object in the hand, which of several behaviours only the first could"
            _require(repeatable, f"mixture.{name}", weight, wanted)
        _require(sum(self.mixture.values()) > 0, "mixture", dict(self.mixture), "a weight above 0")
        _require(0.0 <= self.task_share <= 1.0, "task_share", self.task_share, "a share in [0, 1]")
        if self.task is not None:
            _require(self.task in REWARD_TASKS, "task", self.task, f"one of {', '.join(REWARD_TASKS)}, or null")
            target = REWARD_TASKS[self.task]
            _require(target in self.kinds, "kinds", self.kinds, f"{target} among them, which {self.task} is about")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, where: str = "recipe") -> TrayRecipe:
        """A recipe from plain values (lists for tuples); unknown keys are refused with the nearest name."""
        return read_settings(cls, values, where)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for YAML, JSON and a dataset's manifest; `from_mapping` reads them back."""
        values = dataclasses.asdict(self)
        # What a recipe does not use is left out: the digests of recipes stay what they were before there was a choice.
        if self.task is None:
            del values["task"], values["task_share"]
        if self.episodes_per_scene == 1:
            del values["episodes_per_scene"]
        if self.num_behaviours == (1, 1):
            del values["num_behaviours"]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


@dataclass(frozen=True)
class RecipeFile:
    """A file of ``datasets/``: a recipe, how many episodes it makes and from which seed."""

    recipe: TrayRecipe
    episodes: int
    seed: int


def load_recipe(path: str | Path) -> RecipeFile:
    """Reads a recipe file.

    Raises:
        SettingsError: It is missing, not a mapping, or holds an unknown or wrong value.
    """
    file = Path(path)
    values = load_yaml(file)
    episodes, seed = values.pop("episodes", 1000), values.pop("seed", 0)
    _require(isinstance(episodes, int) and episodes > 0, "episodes", episodes, "a whole number above 0")
    _require(isinstance(seed, int) and seed >= 0, "seed", seed, "a whole number, 0 or more")
    return RecipeFile(TrayRecipe.from_mapping(values, where=str(file)), episodes, seed)


def _require(holds: bool, name: str, got: object, wanted: str) -> None:
    if not holds:
        raise SettingsError(f"recipe setting {name}: got {got!r}; expected {wanted}. Correct the value.")


def _require_range(name: str, got: tuple[float, float], low: float, high: float) -> None:
    wanted = f"two numbers, low and high, within [{low}, {high}]"
    _require(len(got) == 2 and low <= got[0] <= got[1] <= high, name, got, wanted)
