"""The Algorithm: iterations, our checkpoints through RLlib's methods, learners in other processes, Tune."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.rllib.algorithms.algorithm import Algorithm

from am_ray.algorithm.algorithm import ActionableModels
from am_ray.models.checkpoint import TrainingState, load_policy, read_checkpoint
from am_ray.settings import IngestSettings
from am_ray.types import CheckpointError

from .conftest import tiny_config, write_point_world


def build(
    dataset: str, *, learners: int = 0, ingest: IngestSettings | None = None, **settings: Any
) -> ActionableModels:
    config = tiny_config(dataset, **({"updates_per_iteration": 4} | settings)).learners(num_learners=learners)
    algorithm = config.dataset(dataset, ingest).build_algo()
    assert isinstance(algorithm, ActionableModels)
    return algorithm


def assert_same(one: TrainingState, other: TrainingState) -> None:
    assert one.update == other.update
    for mine, theirs in ((one.weights, other.weights), (one.optimizer, other.optimizer)):
        assert mine.keys() == theirs.keys()
        assert [name for name in mine if mine[name].tobytes() != theirs[name].tobytes()] == []


def test_an_iteration_is_so_many_updates(point_world: str) -> None:
    algorithm = build(point_world, max_updates=10)
    results = [algorithm.train() for _ in range(3)]
    assert [result["train"]["updates"] for result in results] == [4, 8, 10]
    assert algorithm.checkpoint().state.update == 10
    assert algorithm.ingest_mode == "resident"
    algorithm.stop()
    assert not Path(algorithm.logdir).exists()


def test_slices_change_neither_weights_nor_metrics(point_world: str) -> None:
    whole, sliced = build(point_world, updates_per_iteration=45), build(point_world, updates_per_iteration=45)
    whole._updates_per_s = 1e6
    results = [whole.train()]
    update, counts = sliced._update, []

    def slow(sources: list[Any], count: int, *, log: bool) -> None:
        counts.append(count)
        update(sources, count, log=log)
        time.sleep(2.0 if len(counts) == 1 else 0.0)

    sliced._update = slow  # type: ignore[method-assign]
    results.append(sliced.train())
    assert counts[0] == 10
    assert sum(counts) == 45
    assert len(counts) > 2
    assert_same(whole.checkpoint().state, sliced.checkpoint().state)
    for group in ("critic", "data"):
        assert results[0][group] == results[1][group]
    assert results[0]["train"]["loss"] == results[1]["train"]["loss"]
    whole.stop(), sliced.stop()


def test_a_stop_request_ends_the_iteration(point_world: str) -> None:
    algorithm = build(point_world, updates_per_iteration=10_000)
    slices = iter([10])
    update = algorithm._update

    def counted(sources: list[Any], count: int, *, log: bool) -> None:
        assert next(slices) == count
        update(sources, count, log=log)
        algorithm.request_stop()

    algorithm._update = counted  # type: ignore[method-assign]
    algorithm.train()
    assert algorithm.num_updates == 10
    algorithm.stop()


def test_restore_works_where_rllibs_own_crashes(point_world: str, tmp_path: Path) -> None:
    """restore_from_path, set_state, from_checkpoint and Tune's save and restore, all bit for bit."""
    algorithm = build(point_world)
    algorithm.train()
    saved = algorithm.checkpoint().state
    path = algorithm.save_to_path(tmp_path / "ours")
    tune_dir = algorithm.save(str(tmp_path / "tune")).checkpoint.path
    in_memory = algorithm.get_state()
    assert [p.name for p in tmp_path.rglob("*.pkl")] == []
    algorithm.train()
    expected = algorithm.checkpoint().state

    def check(restored: ActionableModels) -> None:
        assert_same(saved, restored.checkpoint().state)
        restored.train()
        assert_same(expected, restored.checkpoint().state)

    algorithm.restore_from_path(path)
    check(algorithm)
    algorithm.restore(tune_dir)
    check(algorithm)
    algorithm.set_state(in_memory)
    check(algorithm)
    algorithm.stop()
    fresh = ActionableModels.from_checkpoint(path)
    fresh.config._is_frozen = False
    fresh.config.updates_per_iteration = 4
    check(fresh)
    fresh.stop()
    assert load_policy(path).metadata["origin"]["dataset"]["environment"] == {"id": "Point-v0", "kwargs": {}}


def test_rllib_still_has_the_bug_that_set_state_works_around(point_world: str) -> None:
    """When this fails, `_NoEnvRunners` may go."""
    algorithm = build(point_world)
    state = algorithm.get_state()
    with pytest.raises(AttributeError, match="sync_weights"):
        Algorithm.set_state(algorithm, state)
    algorithm.set_state(state)
    algorithm.stop()


def test_a_checkpoint_of_other_data_is_refused(point_world: str, tmp_path: Path) -> None:
    algorithm = build(write_point_world(tmp_path / "wide", state=3))
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.stop()
    other = build(point_world)
    with pytest.raises(CheckpointError, match="Continue on the dataset it was trained on"):
        other.restore_from_path(path)
    other.stop()


@pytest.mark.slow
def test_one_learner_process_does_what_a_local_learner_does(local_ray: None, point_world: str, tmp_path: Path) -> None:
    local, remote = build(point_world), build(point_world, learners=1)
    for algorithm in (local, remote):
        algorithm.train()
    assert_same(local.checkpoint().state, remote.checkpoint().state)
    path = local.save_to_path(tmp_path)
    local.train()
    remote.train()
    remote.restore_from_path(path)
    remote.train()
    assert_same(local.checkpoint().state, remote.checkpoint().state)
    local.stop(), remote.stop()


@pytest.mark.slow
def test_two_learners_hold_equal_weights_and_see_different_data(
    local_ray: None, point_world: str, tmp_path: Path
) -> None:
    algorithm = build(point_world, learners=2, proposal="learned")
    sources = algorithm.offline_data.sample(16)
    first = [next(source.batches(0)) for source in sources]
    assert not np.array_equal(first[0]["observation"]["state"], first[1]["observation"]["state"])
    episodes = [source.load().episode_index for source in sources]
    assert not set(episodes[0]) & set(episodes[1])
    assert len(set(episodes[0]) | set(episodes[1])) == 40
    algorithm.train()
    states = algorithm._foreach_learner(lambda learner: learner.training_state())
    assert_same(*states)
    path = algorithm.save_to_path(tmp_path)
    algorithm.train()
    expected = algorithm.checkpoint().state
    algorithm.restore_from_path(path)
    algorithm.train()
    assert_same(expected, algorithm.checkpoint().state)
    assert_same(*algorithm._foreach_learner(lambda learner: learner.training_state()))
    algorithm.stop()


@pytest.mark.slow
def test_two_learners_skip_together(local_ray: None, point_world: str) -> None:
    """A NaN on one learner: both skip, and stay equal; a lone decision would leave the other waiting in all-reduce."""
    algorithm = build(point_world, learners=2)
    algorithm.train()
    before = algorithm._foreach_learner(lambda learner: learner.training_state())

    def spoil(learner: Any) -> None:
        if learner._learner_index == 1:
            batches = learner._batches

            def spoilt() -> Any:
                columns = next(batches)
                columns["action"][0] = np.nan
                yield columns
                yield from batches

            learner._batches = spoilt()

    algorithm._foreach_learner(spoil)
    algorithm._update(algorithm.offline_data.sample(16), 1, log=True)
    after = algorithm._foreach_learner(lambda learner: learner.training_state())
    assert [state.skipped_updates for state in after] == [1, 1]
    for one, other in zip(before, after, strict=True):
        assert all(one.weights[name].tobytes() == other.weights[name].tobytes() for name in one.weights)
        assert all(one.optimizer[name].tobytes() == other.optimizer[name].tobytes() for name in one.optimizer)
    algorithm.train()
    assert_same(*algorithm._foreach_learner(lambda learner: learner.training_state()))
    algorithm.stop()


@pytest.mark.slow
def test_streaming_trains_and_resumes_exactly(local_ray: None, point_world: str, tmp_path: Path) -> None:
    ingest = IngestSettings(mode="streaming", window_rows=70, num_workers=1)
    algorithm = build(point_world, ingest=ingest)
    assert algorithm.ingest_mode == "streaming"
    algorithm.train()
    path = algorithm.save_to_path(tmp_path)
    algorithm.train()
    expected = algorithm.checkpoint().state
    algorithm.restore_from_path(path)
    algorithm.train()
    assert_same(expected, algorithm.checkpoint().state)
    algorithm.stop()


_TUNE_SCRIPT = """
import sys, os, signal, pathlib, logging
import ray
from ray import tune
ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=150 * 1024**2, log_to_driver=False)
from am_ray.algorithm.algorithm import ActionableModels
from tests.algorithm.conftest import tiny_config

class DiesOnce(ActionableModels):
    def training_step(self):
        marker = pathlib.Path(sys_argv_marker)
        if self.num_updates >= 8 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        super().training_step()

sys_argv_marker = sys.argv[2]
config = tiny_config(sys.argv[1], updates_per_iteration=4)
config.algo_class = DiesOnce
results = tune.Tuner(
    DiesOnce,
    param_space=config,
    run_config=tune.RunConfig(
        storage_path=sys.argv[3], name="t", stop={"train/updates": 16}, verbose=0,
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
        failure_config=tune.FailureConfig(max_failures=1),
    ),
).fit()
assert not results.errors, results.errors
print("CHECKPOINT", results[0].checkpoint.path, results[0].metrics["train"]["updates"], results[0].metrics["iterations_since_restore"])
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_tune_trial_that_is_killed_goes_on_bit_for_bit(point_world: str, tmp_path: Path) -> None:
    """RLlib's own offline algorithms end in ERROR here."""
    marker = tmp_path / "died"
    result = subprocess.run(
        [sys.executable, "-c", _TUNE_SCRIPT, point_world, str(marker), str(tmp_path / "results")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        timeout=280,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert marker.exists()
    line = next(line for line in result.stdout.splitlines() if line.startswith("CHECKPOINT"))
    _, path, updates, since_restore = line.split()
    assert (float(updates), int(since_restore)) == (16.0, 2)
    uninterrupted = build(point_world)
    for _ in range(4):
        uninterrupted.train()
    assert_same(uninterrupted.checkpoint().state, read_checkpoint(path).state)
    uninterrupted.stop()
