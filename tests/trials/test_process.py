"""One trial's process, run in this one: what it reports, and where it goes on after it died."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from point_world import PointWorld

from am_ray.pretraining import pretrain
from am_ray.study_settings import EvaluationSettings
from am_ray.tracking.origin import machine
from am_ray.trials import Trial
from am_ray.trials import process as process_module
from am_ray.trials.evaluating import evaluate_checkpoint
from am_ray.trials.process import STOP_FILE, TrialJob, run_trial
from am_ray.trials.trial import TrialFolder, TrialResult
from tests.trials.conftest import settings_for, trial_for
from tests.trials.test_engine import state_bytes, wait_for

if "FarPoint-v0" not in gymnasium.registry:
    gymnasium.register("FarPoint-v0", entry_point=PointWorld, kwargs={"form": "box", "goal_distance": 9.0})


class KilledError(Exception):
    """Stands for the end of the process."""


def job_for(trial: Trial, folder: Path) -> TrialJob:
    return TrialJob(trial, folder, "sweep", tracked=False, path=tuple(sys.path), cwd=str(Path.cwd()))


def run(trial: Trial, folder: Path, die_at: int | None = None) -> list[dict[str, float]]:
    reports: list[dict[str, float]] = []

    def report(values: dict[str, float]) -> None:
        reports.append(values)
        if values["update"] == die_at:
            raise KilledError

    run_trial(job_for(trial, folder), report)
    return reports


def result_of(trial: Trial, folder: Path) -> TrialResult:
    result = TrialFolder(folder, trial.name).result(trial)
    assert result is not None
    return result


@pytest.mark.parametrize(("every", "updates"), [(0, [20]), (3, [5, 10, 15, 20]), (10, [10, 20])])
def test_trials_are_evaluated_on_the_way(points: str, tmp_path: Path, every: int, updates: list[int]) -> None:
    trial = trial_for("a", settings_for(points), every=every)
    reports = run(trial, tmp_path)
    assert [report["update"] for report in reports] == updates
    assert all(report.keys() >= {"eval/success_rate", "critic/td_loss"} for report in reports)
    # Looking at a run does not change it.
    alone = pretrain(settings_for(points), run_name="alone", storage=tmp_path)
    result = result_of(trial, tmp_path)
    assert state_bytes(result) == state_bytes(replace(result, checkpoint=str(alone.checkpoint)))


def test_a_trial_keeps_the_commit_that_it_began_with_or_its_drivers(
    points: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = iter(["aaa", "later", ""])
    monkeypatch.setattr("am_ray.trials.process.git_commit", lambda: next(commits))
    for name, expected in (("a", "aaa"), ("b", "later"), ("copy", "driver's")):
        trial = trial_for(name, settings_for(points, updates=5))
        run_trial(replace(job_for(trial, tmp_path), git_commit="driver's"), lambda values: None)
        found = result_of(trial, tmp_path)
        assert (found.git_commit, found.machine) == (expected, machine())


@pytest.mark.parametrize("changed", ["tasks", "episodes", "seed", "env", "env_kwargs", "max_steps"])
def test_every_setting_of_evaluation_changes_what_is_tried(points: str, tmp_path: Path, changed: str) -> None:
    base = EvaluationSettings(episodes=2, max_steps=3)
    other: dict[str, Any] = {
        "tasks": ("one", "two"),
        "episodes": 3,
        "seed": 2,
        "env": "FarPoint-v0",
        "env_kwargs": {"goal_distance": 0.0},
        "max_steps": 4,
    }
    checkpoint = pretrain(settings_for(points, updates=5), run_name="a", storage=tmp_path).checkpoint
    before, rates = evaluate_checkpoint(checkpoint, base)
    assert before["env"] == {"id": "point_world:PointWorld-v0", "kwargs": {"form": "box", "success_key": "success"}}
    assert rates == {"eval/default/success_rate": 0.0, "eval/success_rate": 0.0}
    after, other_rates = evaluate_checkpoint(checkpoint, replace(base, **{changed: other[changed]}))
    assert after != before
    assert evaluate_checkpoint(checkpoint, base) == (before, rates)
    seeds = [episode["seed"] for episode in after["tasks"].get("default", [])]
    first = [episode["seed"] for episode in before["tasks"]["default"]]
    expected = {
        "tasks": list(after["tasks"]) == ["one", "two"] and "eval/two/success_rate" in other_rates,
        "episodes": len(seeds) == 3 and seeds[:2] == first,
        "seed": not set(seeds) & set(first),
        "env": after["env"]["id"] == "FarPoint-v0" and seeds == first,
        "env_kwargs": after["env"]["kwargs"].get("goal_distance") == 0.0 and seeds == first,
        "max_steps": after["max_steps"] == 4,
    }
    assert expected[changed]


def test_a_trial_that_died_at_a_report_goes_on_with_the_same_bits(points: str, tmp_path: Path) -> None:
    whole = trial_for("whole", settings_for(points), every=5)
    run(whole, tmp_path)
    died = replace(whole, name="died")
    with pytest.raises(KilledError):
        run(died, tmp_path, die_at=15)
    folder = TrialFolder(tmp_path, "died")
    assert (folder.path / "error.txt").read_text() == "KilledError: "
    assert folder.result(died) is None
    # The evaluation at 15 was written before the process died; it is not run again.
    assert [report["update"] for report in run(died, tmp_path)] == [20]
    assert not (folder.path / "error.txt").exists()
    ended, expected = result_of(died, tmp_path), result_of(whole, tmp_path)
    assert state_bytes(ended) == state_bytes(expected)
    assert ended.evaluation == expected.evaluation
    assert [entry.update for entry in folder.evaluations()] == [5, 10, 15, 20]
    # A trial that has ended says so again, and does nothing.
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*.safetensors")}
    assert run(died, tmp_path) == [{"update": 20, **ended.metrics}]
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*.safetensors")} == before


def test_a_trial_that_died_while_it_was_evaluated_is_evaluated_first(
    points: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = trial_for("a", settings_for(points), every=5)

    def die(checkpoint: Path, settings: EvaluationSettings, **kwargs: Any) -> Any:
        if checkpoint.name.endswith("10"):
            raise KilledError
        return evaluate_checkpoint(checkpoint, settings)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(process_module, "evaluate_checkpoint", die)
        run(trial, tmp_path)
    run(trial, tmp_path)
    assert [entry.update for entry in TrialFolder(tmp_path, "a").evaluations()] == [5, 10, 15, 20]


def test_a_torn_checkpoint_costs_only_its_updates(points: str, tmp_path: Path) -> None:
    trial = trial_for("a", settings_for(points, updates=40), every=5)
    with pytest.raises(KilledError):
        run(trial, tmp_path, die_at=15)
    weights = tmp_path / "trials" / "a" / "checkpoint-000000015" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    assert [report["update"] for report in run(trial, tmp_path)] == [15, 20, 25, 30, 35, 40]
    assert "checkpoint-000000015" in (tmp_path / "trials" / "a" / "trial.log").read_text()


def test_a_stop_file_stops_a_trial_within_seconds(points: str, tmp_path: Path) -> None:
    trial = trial_for("a", settings_for(points, updates=10**6, updates_per_iteration=10**6))
    asked: list[float] = []

    def ask() -> None:
        wait_for(tmp_path / "trials" / "a" / "trial.log", "updates 0 to")
        time.sleep(1.0)
        (tmp_path / STOP_FILE).write_text("15")
        asked.append(time.monotonic())

    threading.Thread(target=ask, daemon=True).start()
    assert run(trial, tmp_path) == []
    assert time.monotonic() - asked[0] < 15.0
    folder = TrialFolder(tmp_path, "a")
    assert folder.result(trial) is None
    update = folder.training()[0]
    assert 0 < update < 10**6
    assert (folder.path / f"checkpoint-{update:09d}").is_dir()
    # Its minutes are counted over both parts.
    first = folder.training()[1]
    (tmp_path / STOP_FILE).unlink()
    rest = replace(
        trial, settings=replace(trial.settings, training=replace(trial.settings.training, updates=update + 5))
    )
    run(rest, tmp_path)
    assert result_of(rest, tmp_path).minutes > first


def test_only_whole_lines_count(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path, "a")
    folder.path.mkdir(parents=True)
    lines = ['{"update": 5, "seconds": 60.0, "a/b": 1.0}', '{"update": 10, "seconds": 90.0, "a/b": 2.0}']
    lines += ['{"update": 15, "seconds": 30.0, "a/b": null}', '{"update": 20, "sec']
    (folder.path / "metrics.jsonl").write_text("\n".join(lines))
    assert folder.training() == (15, 2.0, {})
    assert folder.training(up_to=10) == (10, 1.5, {"a/b": 2.0})
