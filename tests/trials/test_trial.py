"""A trial's result is of its settings and of its data, wherever the data lie."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from am_ray.pretraining import pretrain
from am_ray.settings import PretrainSettings, TaskSettings
from am_ray.trials import Trial, TrialResult, run_trials
from am_ray.trials.data_identity import data_identity
from am_ray.trials.trial import TrialFolder, origin_of
from am_ray.types import SettingsError
from tests.trials.conftest import settings_for, trial_for, write_points

RESULT = TrialResult("a", "completed", 20, 0.1, {})


def test_a_study_comes_from_where_its_trials_ended_whoever_writes_it_down_later() -> None:
    first, again = (replace(RESULT, git_commit=commit, machine="x, 2 CPUs") for commit in ("aaa", "bbb-dirty"))
    assert origin_of([first, again, first]) == {"git_commit": "aaa; bbb-dirty", "machine": "x, 2 CPUs"}
    assert origin_of([RESULT, RESULT]) == {"git_commit": None, "machine": None}
    assert origin_of([RESULT, first]) == {"git_commit": "unknown; aaa", "machine": "unknown; x, 2 CPUs"}


def test_a_result_of_before_is_read_without_what_it_does_not_tell() -> None:
    written = RESULT.to_json()
    assert TrialResult.from_json({**written, "git_commit": "aaa"}).git_commit == "aaa"
    for name in ("git_commit", "machine"):
        del written[name]
    assert TrialResult.from_json(written) == RESULT


def test_a_trial_that_was_moved_has_its_checkpoint_where_it_lies_now(
    points: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = trial_for("a", settings_for(points))
    before = TrialFolder(tmp_path / "before", "a")
    before.write_result(trial, replace(RESULT, checkpoint=str(before.path / "checkpoint-000000020")))
    shutil.move(tmp_path / "before", tmp_path / "after")
    found = TrialFolder(tmp_path / "after", "a").result(trial)
    assert found is not None
    assert found.checkpoint == str(tmp_path / "after" / "trials" / "a" / "checkpoint-000000020")
    monkeypatch.chdir(tmp_path)
    assert TrialFolder(Path("after"), "a").result(trial) == found


def on(trial: Trial, dataset: str) -> Trial:
    return replace(trial, settings=replace(trial.settings, dataset=dataset))


def test_a_result_on_other_data_is_refused_and_moved_data_are_not(points: str, tmp_path: Path) -> None:
    trial = trial_for("a", settings_for(points))
    # Its folder was never made: its process did not get that far.
    TrialFolder(tmp_path, "a").write_result(trial, RESULT)
    moved = shutil.copytree(points, tmp_path / "moved")
    for dataset in (points, str(moved), "/gone"):
        assert run_trials([on(trial, dataset)], folder=tmp_path, tracked=False) == [RESULT]
    other = write_points(tmp_path / "other", seed=1)
    before, now = (data_identity(settings_for(path))["dataset"] for path in (points, other))
    assert before != now
    with pytest.raises(SettingsError, match=f"other data: dataset was {before}, now it is {now}"):
        run_trials([on(trial, other)], folder=tmp_path, tracked=False)
    # Data that were written anew in the same place are other data too.
    place = tmp_path / "place"
    shutil.copytree(points, place)
    assert run_trials([on(trial, str(place))], folder=tmp_path, tracked=False) == [RESULT]
    shutil.rmtree(place)
    shutil.copytree(other, place)
    with pytest.raises(SettingsError, match="other data"):
        run_trials([on(trial, str(place))], folder=tmp_path, tracked=False)


def test_the_start_and_the_auxiliary_data_of_a_task_belong_to_it(points: str, tmp_path: Path) -> None:
    other = write_points(tmp_path / "other", seed=1)
    run = pretrain(settings_for(points), run_name="run", storage=tmp_path)

    def of(initial: str, auxiliary: str, method: str = "task_critic") -> PretrainSettings:
        base = settings_for(points)
        task = TaskSettings(initial=initial, auxiliary=auxiliary)
        return replace(base, algorithm=replace(base.algorithm, method=method), task=task)

    digests = [data_identity(settings_for(path))["dataset"] for path in (points, other)]
    found = data_identity(of(str(run.run_dir), other))
    assert found == {
        "dataset": digests[0],
        "task.initial": f"update 20 of a run on {digests[0]}",
        "task.auxiliary": digests[1],
    }
    assert data_identity(of(str(run.run_dir), other, "actionable_models")).keys() == {"dataset"}
    # The same path, trained further: another start.
    TrialFolder(tmp_path, "a").write_result(trial_for("a", of(str(run.run_dir), other)), RESULT)
    again = replace(settings_for(points), training=replace(settings_for(points).training, updates=30))
    pretrain(again, run_name="run", storage=tmp_path)
    with pytest.raises(SettingsError, match=r"task\.initial was update 20 of a run on .*, now it is update 30"):
        TrialFolder(tmp_path, "a").result(trial_for("a", of(str(run.run_dir), other)))
