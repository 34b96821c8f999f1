"""What both ingest modes share: the part of a dataset that one learner trains on, and how it draws transitions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from am_ray.core.chaining import Links, find_links
from am_ray.core.labels import fulfilled_rows, label_transitions
from am_ray.core.relabel import RelabelledIndices, relabel
from am_ray.data.blocks import RowGroup
from am_ray.data.decoded_cache import DecodedCache
from am_ray.settings import RelabelSettings, TaskSettings
from am_ray.types import DataSpec, EpisodeBlock

Columns = dict[str, Any]  # TransitionBatch.to_columns(): arrays, and mappings of arrays


@dataclass(frozen=True)
class Shard:
    """A learner's share of a dataset, and everything its batches depend on.

    Attributes:
        name: The dataset, for messages.
        reader: Reads its windows.
        spec: Shapes and bounds.
        row_groups: All row groups of the dataset that may be read.
        relabeling: How goals are drawn.
        discount: For geometric goal sampling.
        batch_size: Transitions of a batch.
        seed: Root of all randomness.
        index: This shard's number.
        count: Number of shards.
        task: Where set, the data are labelled: transitions of this task are drawn, and no goals.
    """

    name: str
    reader: DecodedCache
    spec: DataSpec
    row_groups: tuple[RowGroup, ...]
    relabeling: RelabelSettings
    discount: float
    batch_size: int
    seed: int
    index: int
    count: int
    task: TaskSettings | None = None

    def numbered(self, index: int) -> Shard:
        return replace(self, index=index)

    def rng(self, *position: int) -> np.random.Generator:
        """A generator that depends on the seed, the shard and a position in the data, and on nothing else."""
        return np.random.default_rng([self.seed, self.count, self.index, *position])

    def links(self, block: EpisodeBlock) -> Links | None:
        """Where the block's episodes meet, if goals are to be chained there: what `relabel` is given. Takes about 1 ms an episode."""
        relabeling = self.relabeling
        if self.task is not None or not (relabeling.chaining_neighbors and relabeling.chaining_ratio):
            return None
        return find_links(
            np.concatenate([block.observations[name] for name in sorted(self.spec.observation_shapes)], axis=1),
            block.first_row,
            block.num_transitions,
            window=relabeling.chaining_window,
            num=relabeling.chaining_neighbors,
            max_distance=relabeling.chaining_distance,
            entries=relabeling.chaining_entries,
        )

    def relabel(
        self,
        block: EpisodeBlock,
        num_samples: int,
        reservoir_rows: int,
        rng: np.random.Generator,
        links: Links | None = None,
    ) -> RelabelledIndices:
        """Draw transitions and goals from a block; see `am_ray.core.relabel`, and for a task `am_ray.core.labels`."""
        if self.task is not None:
            return label_transitions(
                block.first_row,
                block.num_transitions,
                task_fulfilled(block, self.task),
                num_samples=num_samples,
                success_share=self.task.success_share,
                rng=rng,
            )
        return relabel(
            block.first_row,
            block.num_transitions,
            num_samples=num_samples,
            num_goal_rows=block.num_rows + reservoir_rows,
            chaining_ratio=self.relabeling.chaining_ratio,
            chaining_window=self.relabeling.chaining_window,
            goal_sampling=self.relabeling.goal_sampling,
            discount=self.discount,
            past_share=self.relabeling.past_share,
            last_state_share=self.relabeling.last_state_share,
            next_state_share=self.relabeling.next_state_share,
            rng=rng,
            links=links,
            junction_share=self.relabeling.junction_share,
        )


def task_fulfilled(block: EpisodeBlock, task: TaskSettings) -> np.ndarray:
    """Rows ``(r,)`` of a block whose transition fulfils the task, by the label that the settings name."""
    every = task.success_at == "any"
    return fulfilled_rows(block.first_row, block.num_transitions, task_label(block, task), every=every)


def task_label(block: EpisodeBlock, task: TaskSettings) -> np.ndarray:
    """The label of each row ``(r,)`` of a block, that its transition ends in a state of success."""
    return block.successes if task.label == "success" else block.rewards > 0.0


def take_indices(indices: RelabelledIndices, chosen: slice) -> RelabelledIndices:
    return RelabelledIndices(**{name: value[chosen] for name, value in vars(indices).items()})
