"""Data of the point's world, labelled and not, and a study of it that takes seconds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from am_ray import Trajectory, write_dataset
from am_ray.pretraining import pretrain
from am_ray.settings import PretrainSettings
from am_ray.settings_reader import read_settings
from am_ray.study_settings import StudySettings

# The world has to be importable by name, here and (Ray hands the path on) in trials.
sys.path.insert(0, str(Path(__file__).parent))

from point_task import PLACE, STEPS, fulfilled

from tests.cli.conftest import am_ray

__all__ = ["am_ray"]  # a fixture of the command line's tests

ENV = "point_task:PointTask-v0"
MODEL = {"width": 32, "depth": 1, "head_width": 32, "head_depth": 1}


def walks(episodes: int, *, to_place: float, seed: int) -> list[Trajectory]:
    """Noisy walks to places of their own; a share of them to the task's."""
    rng, trajectories = np.random.default_rng(seed), []
    for _ in range(episodes):
        aim = PLACE if rng.random() < to_place else rng.uniform(-1.0, 1.0, 2)
        states, actions = [rng.uniform(-0.3, 0.3, 2)], []
        for _ in range(STEPS):
            actions.append(np.clip((aim - states[-1]) / 0.1 + rng.normal(0.0, 0.4, 2), -1.0, 1.0))
            states.append(states[-1] + 0.1 * actions[-1])
        successes = np.array([fulfilled(state) for state in states[1:]])
        trajectories.append(
            Trajectory(
                {"state": np.array(states, np.float32)},
                np.array(actions, np.float32),
                successes.astype(np.float32),
                successes,
                task="be there",
            )
        )
    return trajectories


def write_walks(path: Path, episodes: int, *, to_place: float, seed: int) -> str:
    trajectories = walks(episodes, to_place=to_place, seed=seed)
    env: dict[str, Any] = {"id": ENV, "kwargs": {}}
    write_dataset(path, trajectories, fps=10.0, action_low=-1.0, action_high=1.0, env=env)
    return str(path)


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_walks(tmp_path_factory.mktemp("walks") / "labelled", 60, to_place=0.3, seed=1)


@pytest.fixture(scope="session")
def play(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_walks(tmp_path_factory.mktemp("walks") / "play", 300, to_place=0.0, seed=2)


def pretrained_run(play: str, storage: Path, updates: int) -> str:
    settings = read_settings(
        PretrainSettings,
        {
            "dataset": play,
            "algorithm": {"model": MODEL, "critic": {"discount": 0.9}},
            "training": {"updates": updates, "updates_per_iteration": 500},
        },
        "test",
    )
    return str(pretrain(settings, run_name="play", storage=storage).run_dir)


@pytest.fixture(scope="session")
def pretrained(play: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return pretrained_run(play, tmp_path_factory.mktemp("pretrained"), 20)


def study_mapping(labelled: str, pretrained: str, /, **finetune: Any) -> dict[str, Any]:
    return {
        "algorithm": {
            "model": MODEL,
            "critic": {"discount": 0.9},
            "cem": {"num_samples": 16},
            "optimization": {"batch_size": 32},
        },
        "training": {"updates": 10, "updates_per_iteration": 5},
        "evaluation": {"episodes": 4},
        "finetune": {
            "labelled": labelled,
            "pretrained": pretrained,
            "arms": ["scratch", "pretrained"],
            "episodes": [10],
            "seeds": [0],
            **finetune,
        },
    }


def study_settings(labelled: str, pretrained: str, /, **finetune: Any) -> StudySettings:
    return read_settings(StudySettings, study_mapping(labelled, pretrained, **finetune), "test")
