"""Pre-training as a user runs it: a run directory that survives kills and signals, and refuses to be mixed up."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import am_ray
from am_ray.algorithm.algorithm import ActionableModels
from am_ray.algorithm.learner import NonFiniteTrainingError, ObjectiveLearner
from am_ray.data.writer import write_dataset
from am_ray.models.checkpoint import TrainingState, read_checkpoint
from am_ray.pretraining import PretrainProgress, PretrainResult, describe_progress, pretrain, smoke_test
from am_ray.settings import (
    AlgorithmSettings,
    IngestSettings,
    ModelSettings,
    OptimizationSettings,
    PretrainSettings,
    RelabelSettings,
    ResourceSettings,
    TrainingSettings,
)
from am_ray.settings_reader import read_settings
from am_ray.strict_yaml import load_yaml
from am_ray.types import CheckpointError, DatasetError, SettingsError, Trajectory

MODEL = ModelSettings(width=8, depth=1, head_width=8, head_depth=1)


def write_points(path: Path, *, episodes: int = 20, seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    trajectories = [
        Trajectory({"state": rng.normal(size=(6, 2)).astype(np.float32)}, rng.uniform(-1, 1, (5, 2)).astype(np.float32))
        for _ in range(episodes)
    ]
    write_dataset(path, trajectories, fps=10.0, action_low=-1.0, action_high=1.0)
    return str(path)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_points(tmp_path_factory.mktemp("pretraining") / "points")


def settings_for(dataset: str, updates: int = 20, **training: Any) -> PretrainSettings:
    options = {"updates_per_iteration": 5, "checkpoint_every": 10} | training
    return PretrainSettings(
        dataset=dataset,
        seed=2,
        algorithm=AlgorithmSettings(model=MODEL, optimization=OptimizationSettings(batch_size=16)),
        training=TrainingSettings(updates=updates, **options),
    )


def state_of(result: PretrainResult) -> TrainingState:
    return read_checkpoint(result.checkpoint).state


def assert_same(one: TrainingState, other: TrainingState) -> None:
    assert one.update == other.update
    for mine, theirs in ((one.weights, other.weights), (one.optimizer, other.optimizer)):
        assert mine.keys() == theirs.keys()
        assert [name for name in mine if mine[name].tobytes() != theirs[name].tobytes()] == []


def metrics_of(result: PretrainResult) -> list[dict[str, float]]:
    return [json.loads(line) for line in (result.run_dir / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_settings_metrics_and_a_policy(points: str, tmp_path: Path) -> None:
    seen: list[PretrainProgress] = []
    settings = settings_for(points)
    result = pretrain(settings, run_name="a", storage=tmp_path, on_progress=seen.append)
    assert (result.update, result.resumed_from, result.stopped_by, result.ingest_mode) == (20, 0, None, "resident")
    assert [progress.update for progress in seen] == [5, 10, 15, 20]
    assert [line["update"] for line in metrics_of(result)] == [5, 10, 15, 20]
    assert metrics_of(result)[-1]["critic/td_loss"] == result.metrics["critic/td_loss"]
    assert "update 20/20" in describe_progress(seen[-1])
    found = sorted(path.name for path in result.run_dir.iterdir())
    assert found == ["checkpoint-000000010", "checkpoint-000000020", "metrics.jsonl", "settings.yaml"]
    assert read_settings(PretrainSettings, load_yaml(result.run_dir / "settings.yaml"), "x") == settings
    policy = am_ray.load_policy(result.run_dir)
    assert policy.metadata["origin"]["dataset"]["digest"] == am_ray.read_dataset(points).digest
    assert np.all(np.abs(policy.act(np.zeros(2), np.ones(2))) <= 1.0)


@pytest.mark.parametrize("method", ["actionable_models", "behavior_cloning"])
def test_two_halves_make_a_whole(points: str, tmp_path: Path, method: Any) -> None:
    settings = settings_for(points)
    settings = replace(settings, algorithm=replace(settings.algorithm, method=method))
    whole = pretrain(settings, run_name="whole", storage=tmp_path)
    half = replace(settings, training=replace(settings.training, updates=10))
    pretrain(half, run_name="halves", storage=tmp_path)
    resumed = pretrain(settings, run_name="halves", storage=tmp_path, resume="must")
    assert resumed.resumed_from == 10
    assert_same(state_of(whole), state_of(resumed))
    timings = {"seconds", "train/updates_per_s"}
    plain = [[{k: v for k, v in line.items() if k not in timings} for line in metrics_of(r)] for r in (whole, resumed)]
    assert plain[0] == plain[1]
    # A finished run is left as it is, at once.
    again = pretrain(settings, run_name="halves", storage=tmp_path)
    assert (again.update, again.resumed_from, again.metrics) == (20, 20, {})


_SCRIPT = """
import os, signal, sys
from dataclasses import replace
from am_ray.pretraining import pretrain
from am_ray.settings import PretrainSettings
from am_ray.settings_reader import read_settings
from am_ray.strict_yaml import load_yaml

settings = read_settings(PretrainSettings, load_yaml(sys.argv[1]), "test")
victim, at = sys.argv[3], int(sys.argv[4])

def on_progress(progress):
    print("update", progress.update, flush=True)
    if victim == "driver" and progress.update == at:
        os.kill(os.getpid(), signal.SIGKILL)

if victim == "learner":
    # SIGKILLs the learner process in the middle of an iteration.
    from am_ray.algorithm.algorithm import ActionableModels
    plain = ActionableModels._update
    def kill(self, sources, count, *, log):
        if self.num_updates == at:
            pid = self._foreach_learner(lambda learner: os.getpid())[-1]
            os.kill(pid, signal.SIGKILL)
        plain(self, sources, count, log=log)
    ActionableModels._update = kill
pretrain(settings, run_name="killed", storage=sys.argv[2], on_progress=on_progress)
"""


def run_and_kill(settings: PretrainSettings, tmp_path: Path, victim: str, at: int) -> subprocess.CompletedProcess[str]:
    import yaml

    from am_ray.settings_reader import to_mapping

    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(to_mapping(settings)))
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(path), str(tmp_path), victim, str(at)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        timeout=250,
    )


@pytest.mark.slow
def test_after_sigkill_the_run_ends_with_the_same_bits(points: str, tmp_path: Path) -> None:
    settings = settings_for(points)
    whole = pretrain(settings, run_name="whole", storage=tmp_path)
    killed = run_and_kill(settings, tmp_path, "driver", 15)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    lines = [json.loads(line) for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [5, 10, 15]
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as stream:
        stream.write('{"update": 20, "train/lo')
    resumed = pretrain(settings, run_name="killed", storage=tmp_path)
    assert resumed.resumed_from == 10
    assert [line["update"] for line in metrics_of(resumed)] == [5, 10, 15, 20]
    assert_same(state_of(whole), state_of(resumed))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("learners", [1, 2])
def test_after_a_learner_was_killed_the_run_can_go_on(
    points: str, tmp_path: Path, learners: int, local_ray: None
) -> None:
    settings = replace(settings_for(points), resources=ResourceSettings(num_learners=learners))
    killed = run_and_kill(settings, tmp_path, "learner", 15)
    assert killed.returncode == 1, killed.stderr[-2000:]
    assert "update 15" in killed.stdout
    resumed = pretrain(settings, run_name="killed", storage=tmp_path)
    assert resumed.resumed_from == 10
    if learners == 1:
        whole = pretrain(settings_for(points), run_name="whole", storage=tmp_path)
        assert_same(state_of(whole), state_of(resumed))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_checkpoint_and_stops(points: str, tmp_path: Path, number: signal.Signals) -> None:
    settings = settings_for(points, checkpoint_every=1000)
    before = signal.getsignal(number)

    def on_progress(progress: PretrainProgress) -> None:
        if progress.update == 5:
            os.kill(os.getpid(), number)
            time.sleep(0.05)

    stopped = pretrain(settings, run_name="stopped", storage=tmp_path, on_progress=on_progress)
    assert (stopped.stopped_by, stopped.update) == (number, 5)
    assert signal.getsignal(number) == before
    resumed = pretrain(settings, run_name="stopped", storage=tmp_path)
    assert (resumed.stopped_by, resumed.resumed_from, resumed.update) == (None, 5, 20)
    assert_same(state_of(pretrain(settings, run_name="whole", storage=tmp_path)), state_of(resumed))


def test_what_was_not_measured_before_a_stop_is_left_out(
    points: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    update = ActionableModels._update

    def stopped_after_ten(self: ActionableModels, *args: Any, **kwargs: Any) -> None:
        update(self, *args, **kwargs)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ActionableModels, "_update", stopped_after_ten)
    settings = settings_for(points, updates_per_iteration=20)
    stopped = pretrain(
        settings,
        run_name="stopped",
        storage=tmp_path,
        on_progress=lambda progress: lines.append(describe_progress(progress)),
    )
    assert (stopped.update, set(stopped.metrics)) == (10, {"train/updates", "train/updates_per_s"})
    assert len(lines) == 1 and "NaN" not in lines[0]


def test_a_torn_newest_checkpoint_costs_only_its_updates(
    points: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(points)
    whole = pretrain(settings, run_name="a", storage=tmp_path)
    expected = state_of(whole)
    weights = whole.checkpoint / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with caplog.at_level(logging.WARNING):
        resumed = pretrain(settings, run_name="a", storage=tmp_path)
    assert "weights.safetensors" in caplog.text
    assert resumed.resumed_from == 10
    assert_same(expected, state_of(resumed))


def test_a_kill_while_settings_are_written_leaves_the_old_ones(
    points: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(points, updates=5)
    run_dir = pretrain(settings, run_name="a", storage=tmp_path).run_dir
    before = (run_dir / "settings.yaml").read_bytes()

    def killed(path: Path, text: str, **kwargs: Any) -> int:
        path.write_bytes(text.encode()[:20])
        raise KeyboardInterrupt

    longer = replace(settings, training=replace(settings.training, updates=10))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_text", killed)
        pretrain(longer, run_name="a", storage=tmp_path)
    assert (run_dir / "settings.yaml").read_bytes() == before
    assert pretrain(longer, run_name="a", storage=tmp_path).resumed_from == 5


def test_resume_must_and_never(points: str, tmp_path: Path) -> None:
    settings = settings_for(points, updates=5)
    with pytest.raises(CheckpointError, match="no valid checkpoint to resume"):
        pretrain(settings, run_name="a", storage=tmp_path, resume="must")
    assert not (tmp_path / "a").exists()
    pretrain(settings, run_name="a", storage=tmp_path, resume="never")
    with pytest.raises(SettingsError, match="already holds checkpoint-000000005"):
        pretrain(settings, run_name="a", storage=tmp_path, resume="never")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seed": 3}, "seed = 2, now 3"),
        ({"ingest": IngestSettings(reservoir_rows=1)}, "ingest.reservoir_rows"),
        ({"resources": ResourceSettings(num_learners=1)}, "resources.num_learners"),
        (
            {"algorithm": AlgorithmSettings(model=MODEL, relabel=RelabelSettings(chaining_ratio=0.0))},
            "algorithm.optimization.batch_size|algorithm.relabel.chaining_ratio",
        ),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(
    points: str, tmp_path: Path, change: dict[str, Any], key: str
) -> None:
    settings = settings_for(points, updates=5)
    before = state_of(pretrain(settings, run_name="a", storage=tmp_path))
    with pytest.raises(SettingsError, match=key):
        pretrain(replace(settings, **change), run_name="a", storage=tmp_path)
    longer = replace(settings, training=TrainingSettings(updates=10, updates_per_iteration=3, checkpoint_every=3))
    assert pretrain(longer, run_name="a", storage=tmp_path).resumed_from == before.update


def test_the_data_may_move_but_not_change(points: str, tmp_path: Path) -> None:
    settings = settings_for(points, updates=5)
    pretrain(settings, run_name="a", storage=tmp_path)
    other = write_points(tmp_path / "other", seed=1)
    longer = replace(settings, training=replace(settings.training, updates=10))
    with pytest.raises(DatasetError, match="its digest is"):
        pretrain(replace(longer, dataset=other), run_name="a", storage=tmp_path)
    moved = tmp_path / "moved"
    moved.symlink_to(points)
    assert pretrain(replace(longer, dataset=str(moved)), run_name="a", storage=tmp_path).resumed_from == 5


def test_data_written_anew_at_the_same_path_are_other_data(tmp_path: Path) -> None:
    settings = settings_for(write_points(tmp_path / "data"), updates=5)
    first = read_checkpoint(pretrain(settings, run_name="a", storage=tmp_path).checkpoint)
    shutil.rmtree(tmp_path / "data")
    write_points(tmp_path / "data", seed=1, episodes=12)
    longer = replace(settings, training=replace(settings.training, updates=10))
    with pytest.raises(DatasetError, match="its digest is"):
        pretrain(longer, run_name="a", storage=tmp_path)
    second = read_checkpoint(pretrain(settings, run_name="b", storage=tmp_path).checkpoint)
    found = am_ray.read_dataset(tmp_path / "data")
    assert second.origin["dataset"]["digest"] == found.digest != first.origin["dataset"]["digest"]
    states = np.concatenate([trajectory.observations["state"] for trajectory in found])
    np.testing.assert_allclose(second.statistics.mean["state"], states.mean(0), atol=1e-5)
    assert (second.statistics.mean["state"] != first.statistics.mean["state"]).all()


def test_a_checkpoint_names_the_data_it_was_trained_on_though_they_changed(tmp_path: Path) -> None:
    settings = settings_for(write_points(tmp_path / "data"), updates=10)
    digest = am_ray.read_dataset(tmp_path / "data").digest

    def on_progress(progress: PretrainProgress) -> None:
        if progress.update == 5:
            shutil.rmtree(tmp_path / "data")
            write_points(tmp_path / "data", seed=1)

    result = pretrain(settings, run_name="a", storage=tmp_path, on_progress=on_progress)
    assert read_checkpoint(result.checkpoint).origin["dataset"]["digest"] == digest


def test_bad_data_are_refused_before_anything_is_written(points: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        pretrain(settings_for(str(tmp_path / "nothing")), run_name="a", storage=tmp_path)
    with pytest.raises(SettingsError, match="dataset: empty"):
        pretrain(settings_for(""), run_name="a", storage=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_entries_that_the_data_do_not_have_are_refused_before_anything_is_written(points: str, tmp_path: Path) -> None:
    settings = settings_for(points)
    relabel = replace(settings.algorithm.relabel, stay_share=0.1, stay_entries=(7,))
    with pytest.raises(
        SettingsError, match=r"stay_entries: got \[7\] for an action of \d+ entries; expected indices 0 to"
    ):
        pretrain(
            replace(settings, algorithm=replace(settings.algorithm, relabel=relabel)), run_name="a", storage=tmp_path
        )
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_not_finite_stop_the_run_and_name_the_last_good_checkpoint(
    points: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ObjectiveLearner._uncompiled_update

    def spoilt(self: ObjectiveLearner, batch: Any, **kwargs: Any) -> Any:
        if self._num_updates >= 12:
            batch["action"][0] = np.nan
        return plain(self, batch, **kwargs)

    monkeypatch.setattr(ObjectiveLearner, "_uncompiled_update", spoilt)
    settings = settings_for(points, updates=40)
    with pytest.raises(NonFiniteTrainingError, match=r"10 updates in a row.*checkpoint-000000020") as caught:
        pretrain(settings, run_name="a", storage=tmp_path)
    assert "Lower optimization.learning_rate" in str(caught.value)
    assert read_checkpoint(tmp_path / "a" / "checkpoint-000000020").state.skipped_updates == 8


def test_the_smoke_test_is_short_and_otherwise_the_same(points: str) -> None:
    settings = settings_for(points, updates=10_000)
    short = smoke_test(settings)
    assert short.training.updates == 20
    assert replace(short, training=settings.training) == settings


def test_importing_costs_nothing() -> None:
    code = "import am_ray.pretraining, sys; print({'torch', 'ray', 'pyarrow'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_damaged_files_are_left_out_only_when_asked(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    trajectories = [
        Trajectory({"state": rng.normal(size=(6, 2)).astype(np.float32)}, rng.uniform(-1, 1, (5, 2)).astype(np.float32))
        for _ in range(20)
    ]
    write_dataset(
        tmp_path / "data", trajectories, fps=10.0, action_low=-1.0, action_high=1.0, row_group_rows=30, file_rows=60
    )
    files = sorted((tmp_path / "data" / "data").rglob("*.parquet"))
    assert len(files) > 1
    files[0].write_bytes(files[0].read_bytes()[:100])
    settings = settings_for(str(tmp_path / "data"))
    with pytest.raises(DatasetError, match=files[0].name):
        pretrain(settings, run_name="refused", storage=tmp_path)
    leaving_out = replace(settings, ingest=IngestSettings(skip_bad_files=True))
    assert pretrain(leaving_out, run_name="without", storage=tmp_path).update == 20
