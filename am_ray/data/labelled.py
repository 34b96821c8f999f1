"""Labelled datasets: which trajectories fulfil the task, and small sets drawn from a larger one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from am_ray.core.labels import onsets
from am_ray.data.manifest import MANIFEST_PATH
from am_ray.data.reader import TrajectoryDataset, read_dataset
from am_ray.data.shard import task_fulfilled, task_label
from am_ray.data.writer import DatasetWriter
from am_ray.settings import TaskSettings
from am_ray.types import DatasetError, EpisodeBlock, TaskExamples

# Examples are read until there are so many: a map of a few hundred entries needs no more.
MAX_EXAMPLES = 50_000


@dataclass(frozen=True)
class TaskLabels:
    """What a dataset says of a task.

    Attributes:
        fulfils: ``(e,)`` bool, by trajectory: it fulfils the task at a labelled transition that counts.
        goal: Mean, by goal feature, of the state with which their last success begins (`am_ray.core.labels.onsets`); ``None``
            without any.
        examples: States of these trajectories before that one, with that one as their goal; ``None`` without any.
    """

    fulfils: np.ndarray
    goal: dict[str, np.ndarray] | None
    examples: TaskExamples | None


def task_labels(dataset: TrajectoryDataset, task: TaskSettings) -> TaskLabels:
    """Reads the labels of every trajectory, row group by row group."""
    fulfils: list[np.ndarray] = []
    sums: dict[str, np.ndarray] = {}
    examples: list[TaskExamples] = []
    num_examples = 0
    for window in dataset.windows():
        block = dataset.read_window(window)
        fulfilled = np.flatnonzero(task_fulfilled(block, task))
        episode = np.searchsorted(block.first_row, fulfilled, side="right") - 1
        # The last fulfilment of each trajectory: rows rise, so a later one replaces an earlier one.
        last = dict(zip(episode.tolist(), fulfilled.tolist(), strict=True))
        chosen = np.array(list(last), np.int64)
        mask = np.zeros(block.num_episodes, np.bool_)
        mask[chosen] = True
        fulfils.append(mask)
        if last:
            first = block.first_row[chosen]
            begin = onsets(first, task_label(block, task), np.array(list(last.values())))
            goals = dataset.spec.goal_of({name: values[begin + 1] for name, values in block.observations.items()})
            for name, values in goals.items():
                sums[name] = sums.get(name, 0.0) + values.sum(axis=0, dtype=np.float64)
            if num_examples < MAX_EXAMPLES:
                examples.append(_examples(block, first, begin, goals))
                num_examples += sum(len(values) for values in list(examples[-1].goals.values())[:1])
    mask = np.concatenate(fulfils)
    if not mask.any():
        return TaskLabels(mask, None, None)
    goal = {name: (total / mask.sum()).astype(np.float32) for name, total in sums.items()}
    return TaskLabels(mask, goal, _joined(examples))


def _examples(
    block: EpisodeBlock, first: np.ndarray, begin: np.ndarray, goals: Mapping[str, np.ndarray]
) -> TaskExamples:
    """Every state from row ``first`` to row ``begin`` of some trajectories, with the goal (one for each) behind it."""
    counts = begin - first + 1
    rows = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    return TaskExamples(
        {name: values[rows] for name, values in block.observations.items() if values.ndim == 2},
        {name: np.repeat(values, counts, axis=0) for name, values in goals.items() if values.ndim == 2},
    )


def _joined(parts: Sequence[TaskExamples]) -> TaskExamples:
    return TaskExamples(
        {name: np.concatenate([part.observations[name] for part in parts]) for name in parts[0].observations},
        {name: np.concatenate([part.goals[name] for part in parts]) for name in parts[0].goals},
    )


def check_labelled(dataset: TrajectoryDataset, task: TaskSettings) -> TaskLabels:
    """The labels of a dataset that a task is to be learnt from.

    Raises:
        DatasetError: No trajectory fulfils the task, so there is nothing to learn from.
    """
    labels = task_labels(dataset, task)
    if labels.fulfils.any():
        return labels
    other = "reward" if task.label == "success" else "success"
    where = "at its last transition" if task.success_at == "last" else "at any transition"
    raise DatasetError(
        f"{dataset.storage.name}: none of {dataset.num_episodes} trajectories is labelled as a success by next."
        f"{task.label} {where}; expected some. Label the data, or try task.label: {other} or task.success_at: any."
    )


def draw_episodes(num_episodes: int, count: int, seed: int) -> list[int]:
    """``count`` episodes of a dataset, in rising order; the draw of a larger count holds that of a smaller one.

    Raises:
        DatasetError: There are not so many.
    """
    if count > num_episodes:
        raise DatasetError(f"labelled data: got {num_episodes} episodes; expected at least {count}. Collect more.")
    return sorted(np.random.default_rng([seed, 0x1ABE1]).permutation(num_episodes)[:count].tolist())


def write_subset(dataset: TrajectoryDataset, episodes: Sequence[int], out: str | os.PathLike[str]) -> str:
    """Writes some trajectories as a dataset of their own, unless it is there already; returns its digest.

    Raises:
        DatasetError: There are other trajectories there, or those of another dataset.
    """
    generator = {"command": "am-ray finetune", "source_digest": dataset.digest, "episodes": list(map(int, episodes))}
    if (Path(out) / MANIFEST_PATH).exists():
        return _same_subset(out, generator)
    info = dataset.info
    settings = {
        "fps": info.fps,
        "action_low": info.action_low,
        "action_high": info.action_high,
        "goal_features": {n: i if i is None else list(i) for n, i in info.goal_indices.items()},
        "env": info.env,
        "license": info.license,
        "robot_type": info.robot_type,
    }
    with DatasetWriter.resume(out, **settings, generator=generator) as writer:
        for episode in episodes[writer.next_episode :]:
            writer.append(dataset[episode])
    return read_dataset(out).digest


def _same_subset(out: str | os.PathLike[str], generator: dict[str, Any]) -> str:
    found = read_dataset(out)
    if found.info.generator != generator:
        raise DatasetError(
            f"{os.fspath(out)}: drawn from data of digest {str(found.info.generator.get('source_digest'))[:12]}; this study "
            f"draws from {generator['source_digest'][:12]}. Give the data that the study began with, or another --run-name."
        )
    return found.digest
