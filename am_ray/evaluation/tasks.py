"""What is evaluated: tasks as options of ``env.reset``, and the seeds of their episodes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from am_ray.types import SettingsError

# Data is collected from seeds below this; evaluation draws its own from [2**31, 2**32), the upper half of what
# environments that seed a 32-bit generator accept. So no evaluation episode starts like one in the data.
FIRST_EVALUATION_SEED = 2**31
ZERO_SHOT_TASKS = ("instance_grasping", "rearrangement", "container_placing")


@dataclass(frozen=True)
class TaskSpec:
    """A task: a name for the report, and the options that make ``env.reset`` set it."""

    name: str
    reset_options: dict[str, Any] = field(default_factory=dict)


def tasks_from_reset_options(options: Sequence[dict[str, Any]]) -> list[TaskSpec]:
    """One task per mapping of reset options, named by its ``task`` entry, else by its index.

    Raises:
        SettingsError: Two tasks have the same name.
    """
    tasks = [TaskSpec(str(option.get("task", index)), dict(option)) for index, option in enumerate(options)]
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise SettingsError(f"reset options: got the task names {names}; expected each name once. Rename one.")
    return tasks or [TaskSpec("default")]


def episode_seed(seed: int, task: str, index: int) -> int:
    """The seed of an episode, in [2**31, 2**32).

    It depends on the task's name, not on its place, so that one task evaluated alone meets the same goals.
    """
    words = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(task.encode()), index)).generate_state(1, np.uint32)
    return FIRST_EVALUATION_SEED + int(words[0]) % FIRST_EVALUATION_SEED


def episode_seeds(seed: int, task: str, episodes: int) -> list[int]:
    """Distinct seeds of a task's episodes; a longer list begins with the shorter one."""
    seeds: dict[int, None] = {}
    index = 0
    while len(seeds) < episodes:  # a collision costs one more draw: about episodes**2 / 2**32 of them
        seeds[episode_seed(seed, task, index)] = None
        index += 1
    return list(seeds)


def tray_tasks(names: Sequence[str] | None, *, has_container: bool = True) -> list[TaskSpec]:
    """Tasks of the tray by name; without names the three zero-shot tasks of the paper.

    Raises:
        SettingsError: A task stands there twice, or none.
    """
    if names is None:
        names = [name for name in ZERO_SHOT_TASKS if has_container or name != "container_placing"]
    if not names or len(set(names)) < len(names):
        raise SettingsError(f"tasks: got {list(names)}; expected at least one, each once. Correct the list.")
    return [TaskSpec(name, {"task": name}) for name in names]
