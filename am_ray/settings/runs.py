"""A run: a downstream task, the way of its data, hardware, length."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from am_ray.settings.algorithm import AlgorithmSettings
from am_ray.settings.checked import Checked, bounded


@dataclass(frozen=True)
class TaskSettings(Checked):
    """A downstream task, given by a dataset with labels; read by ``method: task_critic`` alone.

    The paper's fine-tuning: the goal input is replaced by a learned tensor, and the same conservative Q-learning goes on
    with the task's success as the reward.
    """

    # What labels a transition: its `next.success`, or its `next.reward` where that is above 0.
    label: Literal["success", "reward"] = "success"
    # Which labelled transitions have y = 1: a trajectory's last one alone (the state after the last action is what
    # counts), or every one.
    success_at: Literal["last", "any"] = "last"
    # Share of the draws put on trajectories that succeed, at least; ours: few do, and they say most. 0: all alike.
    success_share: float = bounded(0.0, 0.0, 1.0)
    # Where the learned goal starts, in every arm alike; ours. `success`: at the states in which trajectories succeed (their
    # mean; for an affine map, a sparse fit of what changes until then, and directions that turn along others: `am_ray.core.sparse_map`,
    # `am_ray.core.turns`). `mean`: at the mean of the data.
    goal_start: Literal["success", "mean"] = "success"
    # The share of the squared error that a weight of that fit, or another entry's value, must take off to be kept, times the number of trajectories
    # that succeed, or 10 if more do.
    goal_weight_cost: float = bounded(1.0, 1e-6, None)
    # Run or checkpoint whose weights are the start; empty: fresh weights.
    initial: str = ""
    # Dataset whose transitions train the goal-conditioned critic beside the task (the paper's auxiliary objective); empty: none.
    auxiliary: str = ""
    # Transitions of it for each labelled one in a batch.
    auxiliary_ratio: float = bounded(1.0, 0.0, 64.0)


@dataclass(frozen=True)
class IngestSettings(Checked):
    """How transitions travel from Parquet to the learners."""

    # `resident` keeps a learner's shard in its memory, `streaming` reads windows through Ray Data for ever.
    mode: Literal["auto", "streaming", "resident"] = "auto"
    # `auto` is resident up to this much decoded data per learner.
    memory_budget_gb: float = bounded(4.0, 0.0, None)
    # Rows of a window: the unit of reading, relabeling and shuffling.
    window_rows: int = bounded(20_000, 1, None)
    # Transitions drawn from a window, as a multiple of its transitions.
    samples_per_transition: float = bounded(1.0, 0.01, 1000.0)
    # Batches in one block that crosses process borders, as long as it stays below 8 to 40 MB (by the object store's size): a block
    # costs some milliseconds, however large.
    batches_per_block: int = bounded(128, 1, 4096)
    # Rows of other windows that join the random goals, so that chaining crosses files.
    reservoir_rows: int = bounded(2_000, 0, None)
    # Reader tasks at once (each asks for a quarter of a CPU). One more than the cores they have: a task is sent some
    # milliseconds after another has ended (3 on 2 cores: 0.6 M transitions/s; 2: 0.5 M).
    num_workers: int = bounded(3, 1, 1024)
    # Windows planned ahead in one Ray Data pipeline; the next pipeline starts when it ends.
    windows_per_pipeline: int = bounded(512, 1, None)
    # Local folder that keeps decoded row groups, so that images are decoded once; empty: none. Worth it for images.
    decoded_cache: str = ""
    # Go on without data files that are damaged, instead of refusing the dataset; the episodes lost are counted.
    skip_bad_files: bool = False


@dataclass(frozen=True)
class ResourceSettings(Checked):
    """Learner processes. 0 learners: the update runs in the driver."""

    num_learners: int = bounded(0, 0, 4096)
    num_cpus_per_learner: float = bounded(1.0, 0.0, None)
    num_gpus_per_learner: float = bounded(0.0, 0.0, None)


@dataclass(frozen=True)
class TrainingSettings(Checked):
    """How long, and what is written on the way."""

    updates: int = bounded(20_000, 1, None)
    # Training also ends after this many minutes of one call, at the end of an iteration; 0: no such limit.
    max_minutes: float = bounded(0.0, 0.0, None)
    # Updates of one RLlib iteration: its fixed cost is about 10 ms, so hundreds.
    updates_per_iteration: int = bounded(500, 1, None)
    # Updates between two checkpoints, rounded to whole iterations; the last iteration always writes one.
    checkpoint_every: int = bounded(5_000, 1, None)
    # Checkpoints kept, the newest ones.
    keep_checkpoints: int = bounded(3, 1, None)


@dataclass(frozen=True)
class PretrainSettings(Checked):
    """One ``am-ray pretrain`` config file."""

    dataset: str = ""
    # Of initial weights, batches and draws.
    seed: int = bounded(0, 0, 2**31 - 1)
    algorithm: AlgorithmSettings = field(default_factory=AlgorithmSettings)
    task: TaskSettings = field(default_factory=TaskSettings)
    ingest: IngestSettings = field(default_factory=IngestSettings)
    resources: ResourceSettings = field(default_factory=ResourceSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
