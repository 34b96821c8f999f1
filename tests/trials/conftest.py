"""A point world on disk, tiny networks, and trials of seconds."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from am_ray import Trajectory, write_dataset
from am_ray.settings import (
    AlgorithmSettings,
    CemSettings,
    ModelSettings,
    OptimizationSettings,
    PretrainSettings,
    TrainingSettings,
)
from am_ray.study_settings import EvaluationSettings
from am_ray.trials import Trial

WORLD = Path(__file__).parents[1] / "evaluation"
ENV = {"id": "point_world:PointWorld-v0", "kwargs": {"form": "box", "success_key": "success"}}
sys.path.insert(0, str(WORLD))


def write_points(path: Path, *, episodes: int = 20, seed: int = 0, env: dict[str, Any] | None = ENV) -> str:
    rng = np.random.default_rng(seed)
    trajectories = []
    for _ in range(episodes):
        actions = rng.uniform(-1, 1, (10, 2)).astype(np.float32)
        states = 0.1 * np.cumsum(np.concatenate([np.zeros((1, 2), np.float32), actions]), axis=0)
        trajectories.append(Trajectory({"state": states.astype(np.float32)}, actions))
    write_dataset(path, trajectories, fps=10.0, action_low=-1.0, action_high=1.0, env=env)
    return str(path)


@pytest.fixture(scope="session")
def points(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_points(tmp_path_factory.mktemp("trials") / "points")


def settings_for(dataset: str, *, seed: int = 0, learning_rate: float = 5e-4, **training: Any) -> PretrainSettings:
    options = {"updates": 20, "updates_per_iteration": 5, "checkpoint_every": 10} | training
    return PretrainSettings(
        dataset=dataset,
        seed=seed,
        algorithm=AlgorithmSettings(
            model=ModelSettings(width=8, depth=1, head_width=8, head_depth=1),
            optimization=OptimizationSettings(batch_size=16, learning_rate=learning_rate),
            cem=CemSettings(num_samples=8, num_iterations=1, num_elites=2),
        ),
        training=TrainingSettings(**options),
    )


def trial_for(name: str, settings: PretrainSettings, **evaluation: Any) -> Trial:
    return Trial(name, settings, EvaluationSettings(**({"episodes": 2, "max_steps": 5} | evaluation)), {"seed": "0"})


def longer(trial: Trial, **training: Any) -> Trial:
    settings = replace(trial.settings, training=replace(trial.settings.training, **training))
    return replace(trial, settings=settings)
