"""A sweep from its plan to its files and its MLflow run."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from am_ray.data.reader import read_manifest
from am_ray.settings_reader import read_settings, settings_sha256, to_mapping
from am_ray.study_settings import EvaluationSettings, SchedulerSettings, StudySettings, SweepSettings
from am_ray.sweep import plan_sweep, run_sweep
from am_ray.sweep import running as running_module
from am_ray.sweep.plan import SweepPlan, begin
from am_ray.tracking import RunTracker
from am_ray.tracking.origin import git_commit, machine
from am_ray.trials import TrialResult
from am_ray.trials.folder_lock import FolderInUseError, HeldFolder, locked
from am_ray.trials.trial import TrialFolder
from am_ray.types import EnvironmentContractError, SettingsError
from tests.trials.conftest import settings_for, write_points

RATIO = "algorithm.relabel.chaining_ratio"


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_points(tmp_path_factory.mktemp("sweep") / "points")


def planned(points: str, seeds: list[int], every: int = 0, **sweep: Any) -> SweepPlan:
    run = settings_for(points)
    parts = {name: getattr(run, name) for name in run.__dataclass_fields__}
    search = {RATIO: {"grid_search": [0.0, 0.5]}, "seed": {"grid_search": seeds}}
    settings = StudySettings(
        **parts,
        evaluation=EvaluationSettings(episodes=2, max_steps=3, every=every),
        sweep=SweepSettings(search=search, **sweep),
    )
    return plan_sweep(settings, "f")


def test_the_engine_is_told_what_the_file_says(points: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}

    def run_trials(trials: Any, **options: Any) -> list[Any]:
        told.update(options)
        return []

    monkeypatch.setattr(running_module, "run_trials", run_trials)
    scheduler = SchedulerSettings(name="asha", grace_updates=5)
    plan = planned(
        points, [0], 5, max_concurrent_trials=3, max_failures=7, metric="a/b", mode="min", scheduler=scheduler
    )
    run_sweep(plan, run_name="s", storage=tmp_path, tracked=False)
    assert (told["max_concurrent"], told["max_failures"], told["metric"], told["mode"]) == (3, 7, "a/b", "min")
    assert (told["scheduler"], told["folder"]) == (scheduler, HeldFolder(tmp_path / "s"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_sweep_that_may_not_run_leaves_nothing_behind(points: str, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    plan = planned(points, [0])
    # A sweep that runs, and has one result.
    begin(plan, folder, "auto")
    RunTracker.open(folder, name="s", stage="sweep").params({"a": "b"})
    first = plan.trials[0]
    TrialFolder(folder, first.name).write_result(first, TrialResult(first.name, "completed", 20, 0.1, {}))
    more = planned(points, [0, 1])  # would be written to settings.yaml
    with locked(folder, wait_s=0.0):
        before = contents(folder)
        with pytest.raises(FolderInUseError):
            run_sweep(more, run_name="s", storage=tmp_path)
        assert contents(folder) == before
    other = planned(write_points(tmp_path / "other", seed=1), [0, 1])
    with pytest.raises(SettingsError, match="holds a trial of other data: dataset was"):
        run_sweep(other, run_name="s", storage=tmp_path)
    late = planned(points, [0, 1], scheduler=SchedulerSettings(name="asha"))
    with pytest.raises(SettingsError):
        run_sweep(late, run_name="s", storage=tmp_path)
    assert contents(folder) == before
    assert not list(tmp_path.glob("mlflow.db*"))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            {"algorithm.relabel.stay_share": 0.1, "algorithm.relabel.stay_entries": [7]},
            SettingsError,
            r"trial chaining_ratio=0,seed=0: relabel\.stay_entries: got \[7\]",
        ),
        (
            {"algorithm.model.entity_slots": [9, 10]},
            SettingsError,
            r"model\.entity_slots: got \[9, 10\] for a state of",
        ),
        (
            {
                "algorithm.relabel.chaining_window": 9,
                "algorithm.relabel.chaining_neighbors": 4,
                "algorithm.relabel.chaining_entries": [99],
            },
            SettingsError,
            r"trial chaining_ratio=0,seed=0: relabel\.chaining_entries: got \[99\]",
        ),
        (
            {"algorithm.critic.cloning_weight": 0.1, "algorithm.cloning.binary_entries": [7]},
            SettingsError,
            r"cloning\.binary_entries: got \[7\] for actions of 2",
        ),
        (
            {"algorithm.critic.cloning_weight": 0.1, "algorithm.cloning.binary_entries": [1, -1]},
            SettingsError,
            r"cloning\.binary_entries: got \[1, -1\] .* at most once",
        ),
        ({"evaluation.env": "Nothing-v7"}, EnvironmentContractError, "could not be made"),
    ],
)
def test_a_sweep_whose_trials_cannot_run_can_be_corrected(
    points: str, tmp_path: Path, wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    good = planned(points, [0])
    mapping = to_mapping(good.settings)
    for name, value in wrong.items():
        *parents, last = name.split(".")
        reduce(dict.__getitem__, parents, mapping)[last] = value
    bad = plan_sweep(read_settings(StudySettings, mapping, "f"), "f")
    with pytest.raises(error, match=message):
        run_sweep(bad, run_name="s", storage=tmp_path)
    assert set(contents(tmp_path)) == {"s/.lock"}
    begin(good, tmp_path / "s", "auto")  # the same name, the right settings


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy's, about how MLflow calls it
def test_a_sweep_is_tracked_once_whatever_happens(points: str, tmp_path: Path, local_ray: None) -> None:
    from mlflow import MlflowClient

    first = run_sweep(planned(points, [0]), run_name="s", storage=tmp_path)
    assert [result.status for result in first.results] == ["completed", "completed"]
    # The same again runs nothing; one more seed runs that seed alone.
    seen: list[str] = []
    run_sweep(planned(points, [0]), run_name="s", storage=tmp_path, on_result=lambda result: seen.append(result.name))
    assert seen == []
    plan = planned(points, [0, 1])
    more = run_sweep(plan, run_name="s", storage=tmp_path, on_result=lambda result: seen.append(result.name))
    assert sorted(seen) == ["chaining_ratio=0,seed=1", "chaining_ratio=0.5,seed=1"]
    content = json.loads((tmp_path / "s" / "results.json").read_text())
    assert {content["git_commit"]} == {trial["git_commit"] for trial in content["trials"]} == {git_commit() or None}
    assert content["machine"] == machine()
    assert [trial["name"] for trial in content["trials"]] == [trial.name for trial in plan.trials]
    assert [len(group["trials"]) for group in content["groups"]] == [2, 2]
    assert {path.name for path in more.folder.iterdir()} >= {
        "results.csv",
        "results.json",
        "sweep.png",
        "settings.yaml",
    }
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("am-ray")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    found = client.search_runs([experiment.experiment_id])
    assert len(found) == len(runs) == 5
    parent = runs["s"]
    digest = read_manifest(points).digest
    assert parent.data.tags["dataset.digest"] == digest
    assert parent.data.tags["config.sha256"] == settings_sha256(plan.settings)
    (data,) = parent.inputs.dataset_inputs
    # MLflow's own digests have 36 characters at most.
    assert data.dataset.name == "points" and digest.startswith(data.dataset.digest)
    trials = [run for name, run in runs.items() if name != "s"]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
    assert {run.info.status for run in found} == {"FINISHED"}
    one = runs["chaining_ratio=0.5,seed=1"]
    assert (one.data.tags["seed"], one.data.tags["chaining_ratio"], one.data.tags["stage"]) == ("1", "0.5", "sweep")
    assert one.data.metrics["eval/success_rate"] == more.results[-1].metrics["eval/success_rate"]
    points_of = client.get_metric_history(one.info.run_id, "eval/success_rate")
    assert [point.step for point in points_of] == [20]
    artifacts = {entry.path for entry in client.list_artifacts(parent.info.run_id)}
    assert {"results.csv", "results.json", "sweep.png", "settings.yaml"} <= artifacts
    assert parent.data.metrics["trials/completed"] == 4.0
    with pytest.raises(SettingsError, match="begun with evaluation"):
        changed = replace(plan.settings, evaluation=EvaluationSettings(episodes=3))
        run_sweep(plan_sweep(changed, "f"), run_name="s", storage=tmp_path, tracked=False)
