"""``pretrain`` with a tracker: what MLflow shows of a run that ended, was stopped, failed, was killed and went on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from am_ray import load_policy
from am_ray.data.reader import read_dataset
from am_ray.data.writer import write_dataset
from am_ray.pretraining import PretrainProgress, PretrainResult, pretrain
from am_ray.settings import (
    AlgorithmSettings,
    ModelSettings,
    OptimizationSettings,
    PretrainSettings,
    TrainingSettings,
)
from am_ray.settings_reader import settings_sha256
from am_ray.tracking import RunTracker, sending
from am_ray.tracking.spool import FOLDER
from am_ray.tracking.sync import sync
from am_ray.tracking.training_log import TrainingLog
from am_ray.types import DatasetError, Trajectory

from .conftest import Mlflow, free_port

CURVES = ("critic/td_loss", "critic/negative_loss", "train/loss", "data/chained_share", "time/updates_per_s")


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> str:
    rng = np.random.default_rng(0)
    trajectories = [
        Trajectory({"state": rng.normal(size=(6, 2)).astype(np.float32)}, rng.uniform(-1, 1, (5, 2)).astype(np.float32))
        for _ in range(20)
    ]
    path = tmp_path_factory.mktemp("training-log") / "points"
    write_dataset(path, trajectories, fps=10.0, action_low=-1.0, action_high=1.0)
    return str(path)


def settings_for(dataset: str, updates: int = 20, **training: Any) -> PretrainSettings:
    model = ModelSettings(width=8, depth=1, head_width=8, head_depth=1)
    options = {"updates_per_iteration": 5, "checkpoint_every": 10} | training
    return PretrainSettings(
        dataset=dataset,
        seed=2,
        algorithm=AlgorithmSettings(model=model, optimization=OptimizationSettings(batch_size=16)),
        training=TrainingSettings(updates=updates, **options),
    )


def tracked(settings: PretrainSettings, storage: Path, **options: Any) -> PretrainResult:
    tracker = RunTracker.open(storage / "a", name="a", stage="pretrain")
    return pretrain(settings, run_name="a", storage=storage, tracker=tracker, **options)


@pytest.mark.slow
def test_a_run_and_its_continuation_are_one_run(points: str, storage: Path, mlflow: Mlflow) -> None:
    settings = settings_for(points)
    half = replace(settings, training=replace(settings.training, updates=10))
    tracked(half, storage)
    sync(storage)
    first = mlflow.run("a")
    result = tracked(settings, storage)
    for _ in range(2):
        sync(storage)
        run = mlflow.run("a")
        assert (run.info.run_id, run.info.status) == (first.info.run_id, "FINISHED")
        counts = mlflow.counts("a")
        assert {name: counts[name] for name in CURVES} == {name: Counter([5, 10, 15, 20]) for name in CURVES}
        assert tracked(settings, storage).resumed_from == 20  # nothing is left to do: nothing is added
    digest = read_dataset(points).digest
    assert run.data.tags["dataset.digest"] == digest and run.data.tags["seed"] == "2"
    assert run.data.tags["config.sha256"] == settings_sha256(settings) != first.data.tags["config.sha256"]
    assert run.data.tags["stage"] == "pretrain"
    assert run.data.params["algorithm.model.width"] == "8" and run.data.params["training.updates"] == "10"
    assert run.data.tags["changed.training.updates"] == "20"
    assert run.data.metrics["final/critic/td_loss"] == run.data.metrics["critic/td_loss"]
    assert run.data.metrics["critic/td_loss"] == result.metrics["critic/td_loss"]
    assert run.data.metrics["final/update"] == 20
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("points", digest[:36])
    models = {model.name: model for model in mlflow.models(run)}
    assert sorted(models) == ["checkpoint-000000010", "checkpoint-000000020"]
    losses = {metric.key: metric.value for metric in models["checkpoint-000000020"].metrics}
    assert losses["critic/td_loss"] == result.metrics["critic/td_loss"]
    copied = models["checkpoint-000000020"].artifact_location
    goal, state = np.ones(2), np.zeros(2)
    np.testing.assert_array_equal(load_policy(copied).act(state, goal), load_policy(result.run_dir).act(state, goal))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "status"), [(None, "KILLED"), (ValueError("wrong"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_how_it_ended(points: str, storage: Path, mlflow: Mlflow, error: BaseException | None, status: str) -> None:
    def on_progress(progress: PretrainProgress) -> None:
        if progress.update == 10:
            if error is not None:
                raise error
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)

    if error is None:
        assert tracked(settings_for(points), storage, on_progress=on_progress).stopped_by == signal.SIGTERM
    else:
        with pytest.raises(type(error)):
            tracked(settings_for(points), storage, on_progress=on_progress)
    sync(storage)
    run = mlflow.run("a")
    assert run.info.status == status
    assert [model.name for model in mlflow.models(run)] == ["checkpoint-000000010"]
    tracked(settings_for(points), storage)
    sync(storage)
    assert mlflow.run("a").info.status == "FINISHED"
    assert mlflow.counts("a")["critic/td_loss"] == Counter([5, 10, 15, 20])


def test_a_run_that_may_not_begin_is_none(points: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        tracked(settings_for(str(tmp_path / "nothing")), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    pretrain(settings_for(points, 5), run_name="untracked", storage=tmp_path)
    assert not (tmp_path / "untracked" / FOLDER).exists()


_SCRIPT = """
import os, signal, sys
from pathlib import Path
from am_ray.pretraining import pretrain
from am_ray.settings import PretrainSettings
from am_ray.settings_reader import read_settings
from am_ray.strict_yaml import load_yaml
from am_ray.tracking import RunTracker

def on_progress(progress):
    if progress.update == 15:
        os.kill(os.getpid(), signal.SIGKILL)

storage = Path(sys.argv[2])
tracker = RunTracker.open(storage / "a", name="a", stage="pretrain")
settings = read_settings(PretrainSettings, load_yaml(sys.argv[1]), "test")
pretrain(settings, run_name="a", storage=storage, on_progress=on_progress, tracker=tracker)
"""


@pytest.mark.slow
def test_after_sigkill_no_point_is_doubled(points: str, storage: Path, mlflow: Mlflow, tmp_path: Path) -> None:
    import yaml

    from am_ray.settings_reader import to_mapping

    settings = settings_for(points)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(to_mapping(settings)))
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path / "settings.yaml"), str(storage)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run(command, env=environment, timeout=200).returncode == -signal.SIGKILL
    sync(storage)
    run_id = mlflow.run("a").info.run_id
    assert mlflow.counts("a")["critic/td_loss"] == Counter([5, 10, 15])
    assert tracked(settings, storage).resumed_from == 10
    sync(storage)
    counts = mlflow.counts("a")
    assert {name: counts[name] for name in CURVES} == {name: Counter([5, 10, 15, 20]) for name in CURVES}
    assert mlflow.run("a").info.run_id == run_id


@pytest.mark.slow
def test_training_does_not_feel_a_dead_server(points: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than a hundredth of training is spent on tracking, with an iteration as short as 100 small updates."""
    spent: list[float] = []
    plain = TrainingLog.iteration

    def timed(self: TrainingLog, *args: Any) -> None:
        started = time.perf_counter()
        plain(self, *args)
        spent.append(time.perf_counter() - started)

    monkeypatch.setattr(TrainingLog, "iteration", timed)
    with sending(tmp_path / "a", uri=f"http://127.0.0.1:{free_port()}", patience_s=1):
        started = time.perf_counter()
        tracked(settings_for(points, 2_000, updates_per_iteration=100, checkpoint_every=1_000), tmp_path)
        total = time.perf_counter() - started
    assert len(spent) == 20
    assert sum(spent) < 0.01 * total
