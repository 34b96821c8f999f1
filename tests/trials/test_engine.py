"""Trials as a study runs them: they end, they go on after any kill, and no one of them takes the others along."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from am_ray.evaluation import EvaluationReport, TaskResult, TaskSpec
from am_ray.evaluation.runner import EpisodeJob, EpisodeResult
from am_ray.evaluation.tasks import episode_seeds
from am_ray.models.checkpoint import read_checkpoint
from am_ray.pretraining import pretrain
from am_ray.settings import ResourceSettings
from am_ray.study_settings import EvaluationSettings
from am_ray.trials import TrialResult, run_trials
from am_ray.trials import evaluating as evaluating_module
from am_ray.trials.evaluating import UnusableEnvironmentError, evaluate_checkpoint, success_rates
from am_ray.types import DatasetError, EnvironmentContractError, SettingsError
from tests.trials.conftest import longer, settings_for, trial_for, write_points

ROOT = Path(__file__).parents[2]


def state_bytes(result: TrialResult) -> dict[str, bytes]:
    assert result.checkpoint is not None
    state = read_checkpoint(result.checkpoint).state
    return {name: value.tobytes() for part in (state.weights, state.optimizer) for name, value in part.items()}


def pids_of(folder: Path) -> Iterator[int]:
    """Processes that hold a trial's log open."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            files = [str(entry.readlink()) for entry in (process / "fd").iterdir()]
        except OSError:
            continue
        if str((folder / "trial.log").resolve()) in files:
            yield int(process.name)


def wait_for(path: Path, text: str, timeout_s: float = 120.0) -> None:
    ends = time.monotonic() + timeout_s
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < ends, f"{path} never held {text!r}"
        time.sleep(0.02)


@pytest.mark.slow
def test_trials_are_trained_evaluated_and_left_alone_afterwards(points: str, tmp_path: Path, local_ray: None) -> None:
    trials = [trial_for(name, settings_for(points, seed=seed), every=10) for seed, name in enumerate(["a", "b"])]
    seen: list[TrialResult] = []
    results = run_trials(trials, folder=tmp_path, tracked=False, on_result=seen.append)
    assert [(result.name, result.status, result.update) for result in results] == [
        ("a", "completed", 20),
        ("b", "completed", 20),
    ]
    assert sorted(result.name for result in seen) == ["a", "b"]
    evaluations = (tmp_path / "trials" / "a" / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in evaluations] == [10, 20]
    record = results[0].evaluation
    assert record is not None
    assert record["env"]["id"] == "point_world:PointWorld-v0"
    episodes = record["tasks"]["default"]
    assert len(episodes) == 2
    # Both trials met the same goals.
    assert results[1].evaluation is not None
    assert [e["seed"] for e in episodes] == [e["seed"] for e in results[1].evaluation["tasks"]["default"]]
    rate = sum(e["success"] for e in episodes) / 2
    assert results[0].metrics["eval/default/success_rate"] == results[0].metrics["eval/success_rate"] == rate
    assert results[0].metrics["critic/td_loss"] > 0.0
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"trials", ".lock"}
    # Finished trials are not touched again; nothing starts.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "trials").rglob("*") if path.name != ".lock"}
    assert run_trials(trials, folder=tmp_path, tracked=False, on_result=seen.append) == results
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "trials").rglob("*") if path.name != ".lock"}
    assert (len(seen), after) == (2, before)
    with pytest.raises(
        SettingsError, match=r"trials/a: begun with training.updates = 20, now 30; results would be mixed"
    ):
        run_trials([longer(trials[0], updates=30)], folder=tmp_path, tracked=False)
    otherwise = replace(trials[0], evaluation=replace(trials[0].evaluation, episodes=3))
    with pytest.raises(SettingsError, match=r"trials/a: begun with evaluation.episodes = 2, now 3"):
        run_trials([otherwise], folder=tmp_path, tracked=False)
    moved = replace(trials[0], settings=replace(trials[0].settings, dataset="/elsewhere"))
    assert run_trials([moved], folder=tmp_path, tracked=False) == results[:1]


@pytest.mark.slow
def test_a_killed_trial_ends_with_the_same_bits(points: str, tmp_path: Path, local_ray: None) -> None:
    base = settings_for(points, updates=400, updates_per_iteration=20, checkpoint_every=60, keep_checkpoints=9)
    whole = trial_for("whole", base, every=100)
    killed = replace(whole, name="killed")
    (expected,) = run_trials([whole], folder=tmp_path / "one", tracked=False)
    assert expected.update == 400
    folder = tmp_path / "two" / "trials" / "killed"
    code = (
        "import os, signal, sys, time; from pathlib import Path\n"
        "from tests.trials.test_engine import pids_of, wait_for\n"
        "folder = Path(sys.argv[1]); wait_for(folder / 'metrics.jsonl', '\"update\": 140')\n"
        "[os.kill(pid, signal.SIGKILL) for pid in pids_of(folder)]; print('killed')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE) as killer:
        (result,) = run_trials([killed], folder=tmp_path / "two", tracked=False, max_failures=1)
        assert killer.communicate()[0] == b"killed\n"
    assert (result.status, result.update, result.error) == ("completed", 400, None)
    assert "resumed at update" in (folder / "trial.log").read_text()
    assert state_bytes(result) == state_bytes(expected)
    assert result.evaluation == expected.evaluation
    evaluated = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    assert [entry["update"] for entry in evaluated] == [100, 200, 300, 400]


@pytest.mark.slow
def test_trials_that_fail_do_not_stop_the_rest(points: str, tmp_path: Path, local_ray: None) -> None:
    # Its simulator fails after a few steps of the first episode, always.
    broken = {"faults": {"raise": episode_seeds(1, "default", 1)}}
    # Its run was begun with other settings: a second attempt would meet that again.
    pretrain(settings_for(points, seed=1), run_name="mixed", storage=tmp_path / "trials")
    trials = [
        trial_for("broken", settings_for(points), max_steps=0, env_kwargs=broken),
        trial_for("mixed", settings_for(points, seed=2)),
        trial_for("good", settings_for(points)),
    ]
    found = run_trials(trials, folder=tmp_path, tracked=False, max_failures=1)
    assert [result.status for result in found] == ["failed", "failed", "completed"]
    errors = [result.error or "" for result in found]
    assert "RuntimeError" in errors[0] and "the simulator exploded" in errors[0]
    assert "begun with seed = 1, now 2" in errors[1]
    assert (found[0].update, found[0].evaluation, found[0].checkpoint) == (20, None, None)
    logs = [(tmp_path / "trials" / trial.name / "trial.log").read_text() for trial in trials]
    assert [log.count("this attempt failed") for log in logs] == [2, 1, 0]
    # Asked again, failed trials are tried again; what they trained is still there.
    again = run_trials(trials[:1], folder=tmp_path, tracked=False, max_failures=0)
    assert [result.status for result in again] == ["failed"]
    log = (tmp_path / "trials" / "broken" / "trial.log").read_text()
    assert log.count("this attempt failed") == 3
    assert log.count("updates 0 to 20") == 1


@pytest.mark.slow
def test_an_environment_that_crashes_costs_its_episode_alone(points: str, tmp_path: Path, local_ray: None) -> None:
    # Its process exits in the middle of the second episode.
    crashing = {"faults": {"crash": episode_seeds(1, "default", 3)[1:2]}}
    trial = trial_for("a", settings_for(points), episodes=3, max_steps=0, env_kwargs=crashing)
    (result,) = run_trials([trial], folder=tmp_path, tracked=False, max_failures=0)
    assert (result.status, result.update, result.error) == ("completed", 20, None)
    assert result.evaluation is not None
    episodes = result.evaluation["tasks"]["default"]
    assert [episode["error"] is None for episode in episodes] == [True, False, True]
    counted = [episode["success"] for episode in episodes if episode["error"] is None]
    assert result.metrics["eval/success_rate"] == sum(counted) / 2
    assert "this attempt failed" not in (tmp_path / "trials" / "a" / "trial.log").read_text()


@pytest.mark.slow
def test_an_environment_that_hangs_costs_its_episode_alone(
    points: str, tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluating_module, "EPISODE_TIMEOUT_S", 2.0)
    run = pretrain(settings_for(points), run_name="a", storage=tmp_path)
    hanging = {"faults": {"hang": episode_seeds(1, "default", 3)[1:2]}}
    settings = EvaluationSettings(episodes=3, env_kwargs=hanging)
    record, rates = evaluate_checkpoint(run.checkpoint, settings, isolated=True)
    assert [episode["error"] is None for episode in record["tasks"]["default"]] == [True, False, True]
    assert 0.0 <= rates["eval/success_rate"] <= 1.0


def test_what_cannot_be_evaluated_is_not_trained(points: str, tmp_path: Path) -> None:
    good = trial_for("good", settings_for(points))
    for wrong, message in [
        ({"env_kwargs": {"success_key": None}}, "reports no success"),
        ({"env": "Nothing-v7"}, "could not be made"),
    ]:
        with pytest.raises(EnvironmentContractError, match=message):
            run_trials([good, trial_for("a", settings_for(points), **wrong)], folder=tmp_path, tracked=False)
    with pytest.raises(DatasetError):
        run_trials([good, trial_for("a", settings_for(str(tmp_path / "none")))], folder=tmp_path, tracked=False)
    nameless = write_points(tmp_path / "nameless", env=None)
    with pytest.raises(EnvironmentContractError, match=r"evaluation\.env is empty"):
        run_trials([trial_for("a", settings_for(nameless))], folder=tmp_path, tracked=False)
    with pytest.raises(SettingsError, match=r"\.\./a.*each name once"):
        run_trials([trial_for("../a", settings_for(points))], folder=tmp_path, tracked=False)
    with pytest.raises(SettingsError, match="names good;"):
        run_trials([good, good], folder=tmp_path, tracked=False)
    assert not (tmp_path / "trials").exists()


@pytest.mark.slow
def test_an_error_of_the_callers_arrives_as_it_is(points: str, tmp_path: Path, local_ray: None) -> None:
    def refuse(result: TrialResult) -> None:
        raise ZeroDivisionError(result.name)

    trials = [trial_for(name, settings_for(points)) for name in ("a", "b", "c")]
    with pytest.raises(ZeroDivisionError, match="a"):
        run_trials(trials, folder=tmp_path, tracked=False, max_concurrent=1, on_result=refuse)
    assert not (tmp_path / "trials" / "c").exists()
    assert [result.status for result in run_trials(trials[:1], folder=tmp_path, tracked=False)] == ["completed"]


def test_an_evaluation_without_episodes_that_count_is_no_result() -> None:
    task = TaskResult(n=0, successes=0, successes_any_step=0, infrastructure_failures=1)
    spec = TaskSpec("default")
    lost = EpisodeResult(EpisodeJob("ours", spec, 0, 5), error="RuntimeError: gone")
    report = EvaluationReport({"default": task}, None, None, 1, "c", "E-v0", {}, 1, None, results=(lost,))
    with pytest.raises(UnusableEnvironmentError, match=r"no episode of default counts.*RuntimeError: gone"):
        success_rates(report)
    half = TaskResult(n=4, successes=2, successes_any_step=3, infrastructure_failures=0)
    none = TaskResult(n=2, successes=0, successes_any_step=0, infrastructure_failures=9)
    rates = success_rates(EvaluationReport({"a": half, "b": none}, None, None, 1, "c", "E-v0", {}, 4, None))
    assert rates == {"eval/a/success_rate": 0.5, "eval/b/success_rate": 0.0, "eval/success_rate": 0.25}


@pytest.mark.slow
def test_learners_run_inside_the_trials_share(points: str, tmp_path: Path, local_ray: None) -> None:
    settings = replace(settings_for(points), resources=ResourceSettings(num_learners=1))
    (result,) = run_trials([trial_for("a", settings)], folder=tmp_path, tracked=False, max_failures=0)
    assert (result.status, result.update) == ("completed", 20)
    # The process and its learner hold both CPUs; on one CPU learner the bits are those of training in the process.
    alone = pretrain(settings_for(points), run_name="alone", storage=tmp_path)
    assert state_bytes(result) == state_bytes(replace(result, checkpoint=str(alone.checkpoint)))
