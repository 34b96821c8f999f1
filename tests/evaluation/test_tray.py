"""The tray, from a checkpoint that says where its data came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from am_ray.evaluation import evaluate
from am_ray.models.checkpoint import Checkpoint, TrainingState, save_checkpoint
from am_ray.models.policy import build_model
from am_ray.settings import AlgorithmSettings, CemSettings, ModelSettings
from am_ray.types import DataSpec, DataStatistics, EnvironmentContractError, SettingsError

STATE_DIM = 9 + 10  # one kind


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained checkpoint of data from a tray with one cube and no container."""
    spec = DataSpec({"state": (STATE_DIM,)}, {"state": None}, (-1.0,) * 5, (1.0,) * 5)
    pool = np.random.default_rng(0).uniform(-1, 1, (32, 5)).astype(np.float32)
    statistics = DataStatistics(
        {"state": np.zeros(STATE_DIM, np.float32)}, {"state": np.ones(STATE_DIM, np.float32)}, pool
    )
    settings = AlgorithmSettings(
        model=ModelSettings(width=16, depth=1, head_width=16, head_depth=1), cem=CemSettings(8, 1, 2)
    )
    torch.manual_seed(0)
    weights = {name: value.numpy() for name, value in build_model(spec, statistics, settings).state_dict().items()}
    environment = {"id": "am_ray/Tray-v0", "kwargs": {"arm": "gantry", "kinds": ["cube"], "container": None}}
    origin = {"seed": 0, "dataset": {"path": "d", "digest": "x", "environment": environment}}
    path = tmp_path_factory.mktemp("run")
    save_checkpoint(path, Checkpoint(spec, statistics, settings, TrainingState(weights, {}), origin), keep=1)
    return path


def test_the_checkpoint_names_its_tray_and_the_tray_its_tasks(run_dir: Path) -> None:
    report = evaluate(run_dir, episodes=2)
    assert list(report.tasks) == ["instance_grasping", "rearrangement"]  # no container to place into
    assert report.env_id == "am_ray/Tray-v0"
    assert report.env_kwargs["kinds"] == ["cube"]
    assert report.checkpoint == str(run_dir / "checkpoint-000000000")
    assert report.random is not None
    assert report.oracle is not None
    assert [result.success_rate for result in report.random.values()] == [0.0, 0.0]
    assert [result.success_rate for result in report.oracle.values()] == [1.0, 1.0]


def test_keywords_given_are_laid_over_the_recorded_ones(run_dir: Path) -> None:
    kwargs = {"container": "bin", "max_episode_steps": 3}
    report = evaluate(run_dir, env_kwargs=kwargs, tasks=["container_placing"], episodes=1, baselines=False)
    assert list(report.tasks) == ["container_placing"]
    assert report.env_kwargs == {"arm": "gantry", "kinds": ["cube"], **kwargs}


def test_other_features_than_those_of_the_data_are_refused(run_dir: Path) -> None:
    with pytest.raises(EnvironmentContractError, match=r"\(29,\).*\(19,\)"):
        evaluate(run_dir, env_kwargs={"kinds": ["cube", "can"]})


def test_unknown_tasks_are_refused(run_dir: Path) -> None:
    with pytest.raises(SettingsError, match="juggling"):
        evaluate(run_dir, tasks=["juggling"])
