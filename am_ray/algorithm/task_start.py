"""Where fine-tuning begins: fresh or pre-trained weights, the scale of the data, and the first value of the learned goal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from am_ray.algorithm.offline_data import dataset_facts
from am_ray.data.labelled import task_labels
from am_ray.data.manifest import Manifest
from am_ray.data.reader import read_dataset, read_manifest
from am_ray.models.actionable_model import ActionableModel
from am_ray.models.checkpoint import find_checkpoint, read_checkpoint
from am_ray.models.task_goal import start_task_at
from am_ray.models.weights import load_weights
from am_ray.settings import AlgorithmSettings, CloningSettings, ModelSettings, TaskSettings
from am_ray.settings_reader import to_mapping
from am_ray.types import CheckpointError, DataSpec, DataStatistics, TaskExamples

# Parameters of `TaskGoal`, which a pre-trained network does not have.
_TASK_PARTS = ".task."
# So many successes lower the cost of a weight of the goal. More would buy several small weights in place of the one that means something: a hand that goes
# nine tenths of the way to the object predicts better where successes ended, and grasps worse.
_COUNTED_SUCCESSES = 10


@dataclass(frozen=True)
class TaskStart:
    """The start of a fine-tuned network; picklable, so that learners anywhere begin alike.

    Attributes:
        statistics: Scale of the data that the network is built for: that of the pre-training data, where there are some.
        weights: Pre-trained ``state_dict``, or ``None`` for fresh weights.
        goal: Where the learned goal begins; ``None``: the mean of the data.
        examples: What an affine goal is fitted to, with ``weight_cost``; ``None``: nothing.
        origin: Plain data on where the weights came from, or ``None``.
    """

    statistics: DataStatistics
    weights: Mapping[str, np.ndarray] | None
    goal: Mapping[str, np.ndarray] | None
    examples: TaskExamples | None
    weight_cost: float
    origin: Mapping[str, Any] | None

    @torch.no_grad()
    def apply(self, model: ActionableModel) -> None:
        """Puts the network into this state.

        Raises:
            CheckpointError: The weights are those of another network.
        """
        if self.weights is not None:
            own = {name: value.numpy() for name, value in model.state_dict().items() if _TASK_PARTS in name}
            load_weights(model, {**own, **self.weights}, where="pre-trained weights")
        if self.goal is not None:
            start_task_at(model, self.goal, self.examples, weight_cost=self.weight_cost)


@dataclass(frozen=True)
class _Head:
    """The head of an auxiliary cloning loss, and whether it acts."""

    settings: CloningSettings
    acts: bool

    @classmethod
    def of(cls, settings: AlgorithmSettings) -> _Head | None:
        if not settings.critic.cloning_weight:
            return None
        # `act` is of behaviour cloning alone
        return cls(replace(settings.cloning, act=CloningSettings().act), settings.critic.acting != "cem")


def task_start(path: str, task: TaskSettings, settings: AlgorithmSettings, skip_bad_files: bool = False) -> TaskStart:
    """The start that the settings describe.

    Raises:
        CheckpointError: There is no checkpoint at ``task.initial``, or it is of other data or another network.
        DatasetError: The labelled or the auxiliary data cannot be read.
    """
    initial = str(find_checkpoint(task.initial)) if task.initial else ""
    return _task_start(path, task, initial, settings.model, _Head.of(settings), skip_bad_files, read_manifest(path))


@lru_cache(maxsize=4)
def _task_start(
    path: str,
    task: TaskSettings,
    initial: str,
    model: ModelSettings,
    head: _Head | None,
    skip_bad_files: bool,
    manifest: Manifest,
) -> TaskStart:
    facts = dataset_facts(path, skip_bad_files)
    goal, examples, weight_cost = None, None, task.goal_weight_cost
    if task.goal_start == "success":
        labels = task_labels(read_dataset(path, skip_bad_files=skip_bad_files), task)
        goal, examples = labels.goal, labels.examples
        weight_cost /= min(max(1, int(labels.fulfils.sum())), _COUNTED_SUCCESSES)
    if not initial:
        statistics = dataset_facts(task.auxiliary, skip_bad_files).statistics if task.auxiliary else facts.statistics
        return TaskStart(statistics, None, goal, examples, weight_cost, None)
    checkpoint = read_checkpoint(initial)
    _check_fits(initial, checkpoint.spec, facts.spec, checkpoint.settings, model)
    if head is not None:
        _check_head(initial, checkpoint.settings, head)
    origin = {
        "path": str(Path(initial)),
        "update": checkpoint.state.update,
        "dataset_digest": checkpoint.origin.get("dataset", {}).get("digest"),
    }
    return TaskStart(checkpoint.statistics, checkpoint.state.weights, goal, examples, weight_cost, origin)


def _check_fits(
    where: str, spec: DataSpec, wanted: DataSpec, settings: AlgorithmSettings, model: ModelSettings
) -> None:
    if settings.method != "actionable_models":
        raise CheckpointError(
            f"{where}: holds {settings.method}; expected actionable_models. Fine-tune a run of 'am-ray pretrain'."
        )
    if spec != wanted:
        raise CheckpointError(
            f"{where}: trained on data of {spec.to_json()}; the labelled data are {wanted.to_json()}. Collect labelled "
            f"data with the features, goals and action bounds of the pre-training data."
        )
    before, now = to_mapping(settings.model), to_mapping(model)
    now.pop("task_goal")  # a pre-trained network has none
    wrong = [f"model.{name} = {before[name]!r}, here {now[name]!r}" for name in now if before[name] != now[name]]
    if wrong:
        raise CheckpointError(
            f"{where}: trained with {'; '.join(wrong)}; arms need one network. Set algorithm.model as in the pre-training."
        )


def _check_head(where: str, settings: AlgorithmSettings, head: _Head) -> None:
    """The average of a head is kept only where it acted in pre-training, too; and the two are one network."""
    before = _Head.of(settings)
    if head.acts and (before is None or not before.acts):
        raise CheckpointError(
            f"{where}: trained with critic.acting: cem, so it has no cloning head that acts; fine-tuning is to act by one. Set "
            f"algorithm.critic.acting: cem, or pre-train with likely, drawn or cloned."
        )
    if before is None:
        return
    was, now = to_mapping(before.settings), to_mapping(head.settings)
    wrong = [f"cloning.{name} = {was[name]!r}, here {now[name]!r}" for name in now if was[name] != now[name]]
    if wrong:
        raise CheckpointError(
            f"{where}: trained with {'; '.join(wrong)}; the auxiliary head needs the same. Set algorithm.cloning as in the "
            f"pre-training, or critic.cloning_weight: 0."
        )
