"""The whole path in a world that is not ours: trajectories, dataset, training, checkpoint, evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import am_ray
from am_ray.data.scale import data_statistics
from am_ray.evaluation import evaluate
from am_ray.models.checkpoint import Checkpoint, TrainingState, save_checkpoint
from am_ray.models.policy import build_model
from am_ray.settings import AlgorithmSettings, ModelSettings, OptimizationSettings
from am_ray.types import EpisodeBlock
from tests.models.conftest import sample

ID = "point_world:PointWorld-v0"


def wander(episodes: int) -> Iterator[am_ray.Trajectory]:
    """Noisy walks from near the origin to places that nobody names."""
    rng = np.random.default_rng(0)
    for _ in range(episodes):
        target = rng.uniform(-1.3, 1.3, size=2)
        states, actions = [rng.uniform(-0.1, 0.1, size=2)], []
        for _ in range(20):
            actions.append(np.clip((target - states[-1]) / 0.1 + rng.normal(0, 0.2, 2), -1, 1))
            states.append(states[-1] + 0.1 * actions[-1])
        yield am_ray.Trajectory({"state": np.array(states, np.float32)}, np.array(actions, np.float32))


def train(dataset_path: Path, run_dir: Path, updates: int) -> None:
    dataset = am_ray.read_dataset(dataset_path)
    settings = AlgorithmSettings(
        method="behavior_cloning",
        model=ModelSettings(width=64, head_width=64),
        optimization=OptimizationSettings(acting_average_rate=0.02),
    )
    statistics = data_statistics(dataset)
    torch.manual_seed(0)
    model = build_model(dataset.spec, statistics, settings)
    block: EpisodeBlock = dataset.read_all()
    optimizer = torch.optim.Adam(model.trainable_parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for update in range(updates):
        batch = sample(block, dataset.spec, size=256, chaining_ratio=0.0, seed=update)
        optimizer.zero_grad()
        model.loss(batch, generator=generator).loss.backward()
        optimizer.step()
        model.update_averages()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    origin = {"dataset": {"environment": dataset.info.env}}
    checkpoint = Checkpoint(dataset.spec, statistics, settings, TrainingState(weights, {}, updates), origin)
    save_checkpoint(run_dir, checkpoint, keep=2)


def test_goals_of_another_world_are_reached(tmp_path: Path) -> None:
    env = {"id": ID, "kwargs": {"form": "box", "success_key": "success"}}
    am_ray.write_dataset(tmp_path / "data", wander(80), fps=10.0, action_low=-1.0, action_high=1.0, env=env)
    train(tmp_path / "data", tmp_path / "run", updates=0)
    train(tmp_path / "data", tmp_path / "run", updates=300)
    untrained = evaluate(tmp_path / "run" / "checkpoint-000000000", episodes=20)
    trained = evaluate(tmp_path / "run", episodes=20)
    assert trained.env_id == ID
    assert trained.tasks["default"].successes >= 16
    assert untrained.tasks["default"].successes <= 2
    assert trained.random is not None
    assert trained.random["default"].successes <= 2
    assert trained.random == untrained.random
