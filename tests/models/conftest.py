"""Small synthetic data for the models: no files, no Ray."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from am_ray.core.relabel import gather, relabel
from am_ray.types import DataSpec, DataStatistics, EpisodeBlock, TransitionBatch

IMAGE = (12, 12, 3)


def as_tensors(batch: TransitionBatch[np.ndarray]) -> TransitionBatch[Tensor]:
    columns = {
        name: {k: torch.from_numpy(v) for k, v in value.items()}
        if isinstance(value, dict)
        else torch.from_numpy(np.asarray(value))
        for name, value in batch.to_columns().items()
    }
    return TransitionBatch.from_columns(columns)


def make_block(spec: DataSpec, *, episodes: int = 12, length: int = 6, seed: int = 0) -> EpisodeBlock:
    rng = np.random.default_rng(seed)
    rows = episodes * (length + 1)
    observations = {
        name: rng.normal(size=(rows, *shape)).astype(np.float32)
        if len(shape) == 1
        else rng.integers(0, 256, (rows, *shape), dtype=np.uint8)
        for name, shape in spec.observation_shapes.items()
    }
    return EpisodeBlock(
        observations=observations,
        actions=rng.uniform(-1, 1, (rows, spec.action_dim)).astype(np.float32),
        rewards=np.zeros(rows, np.float32),
        successes=np.zeros(rows, bool),
        first_row=np.arange(episodes) * (length + 1),
        num_transitions=np.full(episodes, length),
        episode_index=np.arange(episodes),
    )


def statistics_of(block: EpisodeBlock) -> DataStatistics:
    vectors = {name: x for name, x in block.observations.items() if x.ndim == 2}
    return DataStatistics(
        mean={name: x.mean(0) for name, x in vectors.items()},
        std={name: np.where(x.std(0) < 1e-6, 1.0, x.std(0)).astype(np.float32) for name, x in vectors.items()},
        action_pool=block.actions[:64],
    )


def sample(
    block: EpisodeBlock, spec: DataSpec, *, size: int = 64, chaining_ratio: float = 0.5, seed: int = 0
) -> TransitionBatch[Tensor]:
    indices = relabel(
        block.first_row,
        block.num_transitions,
        num_samples=size,
        num_goal_rows=block.num_rows,
        chaining_ratio=chaining_ratio,
        goal_sampling="uniform",
        discount=0.9,
        chaining_window=0,
        past_share=0.0,
        last_state_share=0.0,
        next_state_share=0.0,
        rng=np.random.default_rng(seed),
    )
    return as_tensors(gather(block, indices, spec))


@pytest.fixture
def state_spec() -> DataSpec:
    return DataSpec({"state": (4,)}, {"state": None}, (-2.0, -2.0), (2.0, 2.0))


@pytest.fixture
def vector_spec() -> DataSpec:
    return DataSpec({"state": (7,)}, {"state": None}, (-1.0, -1.0), (1.0, 1.0))


@pytest.fixture
def image_spec() -> DataSpec:
    return DataSpec({"state": (4,), "front": IMAGE}, {"front": None}, (-1.0, -1.0), (1.0, 1.0))
