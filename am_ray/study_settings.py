"""Settings of studies: sets of runs that are compared. A config file holds one run's settings and, beside them, these.

The same file serves ``am-ray pretrain`` (which reads the run alone), ``am-ray sweep`` and ``am-ray finetune``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from am_ray.settings import Checked, OptimizationSettings, PretrainSettings, bounded
from am_ray.types import SettingsError

# Fresh weights; pre-trained ones; fresh ones with the unlabelled data beside the task's; both.
Arm = Literal["scratch", "pretrained", "auxiliary", "pretrained_auxiliary"]


@dataclass(frozen=True)
class EvaluationSettings(Checked):
    """How a run's policy is tried: starts and goals depend on ``seed`` and the task alone, so runs share them."""

    # Names of tasks; empty: the environment's own (the tray: the three zero-shot tasks).
    tasks: tuple[str, ...] = ()
    # Per task. The standard error of a rate near one half is 6 points at 64 episodes.
    episodes: int = bounded(64, 1, None)
    seed: int = bounded(1, 0, 2**31 - 1)
    # Gymnasium id; empty: the environment that made the data.
    env: str = ""
    # Keyword arguments of the environment, over the data's own.
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    # Actions per episode; 0: the environment ends it.
    max_steps: int = bounded(0, 0, None)
    # Updates between two evaluations during training (what schedulers judge by); 0: only the end.
    every: int = bounded(0, 0, None)


@dataclass(frozen=True)
class SchedulerSettings(Checked):
    """``fifo`` runs every trial to its end; ``asha`` stops the worse ones early (Li et al. 2020)."""

    name: Literal["fifo", "asha"] = "fifo"
    # Updates before a trial may be stopped; ASHA only, like the next one.
    grace_updates: int = bounded(1_000, 1, None)
    # A rung keeps one trial in so many.
    reduction_factor: float = bounded(3.0, 1.01, None)


@dataclass(frozen=True)
class SweepSettings(Checked):
    """What a sweep varies, and how it runs."""

    # Dotted setting -> {grid_search: [...]}, {choice: [...]}, {uniform: [low, high]}, {loguniform: [low, high]},
    # {randint: [low, high]}, the words of ray.tune.
    search: Mapping[str, Any] = field(default_factory=dict)
    # Draws of the random entries; a grid is repeated as often.
    num_samples: int = bounded(1, 1, None)
    # Of the draws.
    search_seed: int = bounded(0, 0, 2**31 - 1)
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    # 0: as many as fit on the cluster.
    max_concurrent_trials: int = bounded(0, 0, None)
    # Times that a trial whose process died, or that raised, is started again (from its newest checkpoint).
    max_failures: int = bounded(2, 0, None)
    # What the table is ordered by; by default the mean success rate over the tasks.
    metric: str = "eval/success_rate"
    mode: Literal["max", "min"] = "max"


@dataclass(frozen=True)
class FinetuneSettings(Checked):
    """Fine-tuning on a small labelled set: arms x numbers of episodes x seeds, everything else equal."""

    # Dataset with `next.success` (or `next.reward`) from which each cell's episodes are drawn.
    labelled: str = ""
    # Run or checkpoint of `am-ray pretrain` that the `pretrained` arms start from.
    pretrained: str = ""
    # Dataset without labels for the `auxiliary` arms; empty: the one that `pretrained` was trained on.
    unlabelled: str = ""
    arms: tuple[Arm, ...] = ("scratch", "pretrained")
    # Numbers of labelled episodes; 0: the weights as they are, with no label used (zero-shot).
    episodes: tuple[int, ...] = (25, 50, 100, 200)
    seeds: tuple[int, ...] = (0, 1, 2)
    # Cells at once; 0: as many as fit on the cluster.
    max_concurrent: int = bounded(0, 0, None)
    # Times that a cell whose process died, or that raised, is started again (from its newest checkpoint).
    max_failures: int = bounded(2, 0, None)
    # Arm -> its `optimization.learning_rate`, for weights that have to learn everything and weights that should forget nothing want different
    # ones; an arm that is left out has the run's. The comparison names the difference.
    learning_rates: Mapping[Arm, float] = field(default_factory=dict)
    # Arm -> trials that were run to choose its settings; the comparison shows them as part of the budget, and says where
    # they are not stated.
    tuning_trials: Mapping[Arm, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("arms", "episodes", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise SettingsError(f"{name}: got {list(values)}; expected at least one, each once. Correct the list.")
        if min(self.episodes) < 0 or min(self.seeds) < 0:
            raise SettingsError(
                f"episodes, seeds: got {list(self.episodes)} and {list(self.seeds)}; expected numbers of 0 or more. Correct "
                f"the lists."
            )
        for arm, rate in self.learning_rates.items():
            try:
                OptimizationSettings(learning_rate=rate)
            except SettingsError as error:
                raise SettingsError(f"learning_rates.{arm}: {error}") from error


@dataclass(frozen=True)
class StudySettings(PretrainSettings):
    """One config file: a run (the fields of `PretrainSettings`), and how it is evaluated, swept and fine-tuned."""

    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    sweep: SweepSettings = field(default_factory=SweepSettings)
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)

    @property
    def run(self) -> PretrainSettings:
        """The run alone: what is recorded beside its checkpoints."""
        names = [entry.name for entry in dataclasses.fields(PretrainSettings)]
        return PretrainSettings(**{name: getattr(self, name) for name in names})
