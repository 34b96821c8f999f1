"""The cells of a study: what differs between them, and that nothing else does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from am_ray.settings import PretrainSettings, TaskSettings
from am_ray.study_settings import Arm, StudySettings
from am_ray.types import SettingsError

STARTS_PRETRAINED = ("pretrained", "pretrained_auxiliary")
LEARNS_BESIDE = ("auxiliary", "pretrained_auxiliary")


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        arm: ``scratch``, ``pretrained``, ``auxiliary`` or ``pretrained_auxiliary``.
        episodes: Labelled episodes; 0: none, the weights are evaluated as they are.
        seed: Of the draw of these episodes, of fresh weights and of the batches.
        settings: Of the run.
    """

    arm: Arm
    episodes: int
    seed: int
    settings: PretrainSettings

    @property
    def name(self) -> str:
        return f"{self.arm}-n{self.episodes}-s{self.seed}"


def subset_size(episodes: int) -> int:
    """Episodes that are written for a cell: even one that uses no label needs one, for the shapes of the data."""
    return max(1, episodes)


def subset_path(folder: Path, episodes: int, seed: int) -> Path:
    """Where a study keeps the labelled episodes of a size and seed."""
    return folder / "labelled" / f"n{subset_size(episodes)}-s{seed}"


def plan_cells(settings: StudySettings, folder: Path) -> list[Cell]:
    """Every cell, arms side by side: a study that is stopped has whole comparisons.

    Args:
        settings: The study's.
        folder: Of the study.

    Raises:
        SettingsError: An arm lacks what it starts from or learns beside, or the method is not fine-tuning's.
    """
    finetune = settings.finetune
    for option, arms in (("pretrained", STARTS_PRETRAINED), ("unlabelled", LEARNS_BESIDE)):
        needing = [arm for arm in finetune.arms if arm in arms]
        if needing and not getattr(finetune, option):
            raise SettingsError(
                f"finetune.{option}: not given; the arm {needing[0]} needs it. Set it (--{option}), or leave the arm out of "
                f"finetune.arms."
            )
    if settings.task.initial or settings.task.auxiliary:
        raise SettingsError(
            f"task.initial, task.auxiliary: got {settings.task.initial!r} and {settings.task.auxiliary!r}; a study sets "
            f"them for each arm. Use finetune.pretrained and finetune.unlabelled."
        )
    return [
        _cell(settings, arm, episodes, seed, subset_path(folder, episodes, seed))
        for seed in finetune.seeds
        for episodes in finetune.episodes
        for arm in finetune.arms
    ]


def _cell(settings: StudySettings, arm: Arm, episodes: int, seed: int, data: Path) -> Cell:
    run = settings.run
    task: TaskSettings = run.task
    if arm in STARTS_PRETRAINED:
        task = replace(task, initial=settings.finetune.pretrained)
    if arm in LEARNS_BESIDE:
        task = replace(task, auxiliary=settings.finetune.unlabelled)
    optimization = run.algorithm.optimization
    rate = settings.finetune.learning_rates.get(arm, optimization.learning_rate)
    algorithm = replace(run.algorithm, method="task_critic", optimization=replace(optimization, learning_rate=rate))
    run = replace(run, dataset=str(data), seed=seed, algorithm=algorithm, task=task)
    return Cell(arm, episodes, seed, run if episodes else _untrained(run))


def _untrained(run: PretrainSettings) -> PretrainSettings:
    """A run that leaves the weights as they are, and its goal at the mean of the data: nothing of the labels is used."""
    # The target's copy may move: nothing is learnt from it. (Equal rates would make the two copies one.)
    rates = replace(run.algorithm.optimization, learning_rate=0.0, acting_average_rate=0.0)
    return replace(
        run,
        algorithm=replace(run.algorithm, optimization=rates),
        task=replace(run.task, goal_start="mean"),
        training=replace(run.training, updates=1),
    )
