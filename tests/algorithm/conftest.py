"""A small point world on disk, tiny networks, and ways to disturb a learner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.rllib.core.learner.training_data import TrainingData

from am_ray.algorithm.config import ActionableModelsConfig
from am_ray.algorithm.learner import ObjectiveLearner
from am_ray.data.writer import write_dataset
from am_ray.types import Trajectory

TINY = {"width": 8, "depth": 1, "head_width": 8, "head_depth": 1, "batch_size": 16}


def write_point_world(
    path: Path,
    *,
    episodes: int = 40,
    steps: int = 6,
    state: int = 2,
    seed: int = 0,
    camera: tuple[int, int, int] | None = None,
) -> str:
    rng = np.random.default_rng(seed)
    trajectories = []
    for _ in range(episodes):
        actions = rng.uniform(-1, 1, (steps, 2)).astype(np.float32)
        states = np.zeros((steps + 1, state), np.float32)
        states[:, :2] = np.cumsum(np.concatenate([rng.uniform(-1, 1, (1, 2)), 0.3 * actions]), axis=0)
        images = {} if camera is None else {"front": rng.integers(0, 256, (steps + 1, *camera), dtype=np.uint8)}
        trajectories.append(Trajectory({"state": states, **images}, actions))
    write_dataset(path, trajectories, fps=10.0, action_low=-1.0, action_high=1.0, env={"id": "Point-v0", "kwargs": {}})
    return str(path)


@pytest.fixture(scope="session")
def point_world(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_point_world(tmp_path_factory.mktemp("data") / "points")


def tiny_config(dataset: str, **settings: Any) -> ActionableModelsConfig:
    config = ActionableModelsConfig().training(**(TINY | settings))
    config.debugging(seed=3)
    return config.dataset(dataset)


def build_learner(dataset: str, **settings: Any) -> ObjectiveLearner:
    """A local learner, without Ray or an Algorithm around it."""
    config = tiny_config(dataset, **settings)
    learner = ObjectiveLearner(config=config, module_spec=config.get_multi_rl_module_spec())
    learner.build()
    return learner


class Disturbed:
    """A source of batches, some of them spoilt: ``spoil[update](columns)`` changes the batch of that update."""

    def __init__(self, source: Any, spoil: dict[int, Any]) -> None:
        self.source, self.spoil = source, spoil
        self.started_at: list[int] = []

    def batches(self, start_update: int) -> Iterator[dict[str, Any]]:
        self.started_at.append(start_update)
        for update, columns in enumerate(self.source.batches(start_update), start_update):
            self.spoil.get(update, lambda _: None)(columns)
            yield columns


def train(learner: ObjectiveLearner, source: Any, updates: int) -> dict[str, Any]:
    return learner.update(training_data=TrainingData(data_iterators=[source]), num_iters=updates)
