"""Whole studies in a world that is not ours, on Ray Tune: what is recorded, resumed, extended, and what it shows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from am_ray.comparison import compare, read_study
from am_ray.data.reader import read_dataset
from am_ray.finetuning import finetune, prepare
from am_ray.models.checkpoint import read_checkpoint
from am_ray.types import DatasetError, EnvironmentContractError, SettingsError
from tests.cli.conftest import AmRay

from .conftest import pretrained_run, study_mapping, study_settings

pytestmark = pytest.mark.slow  # half a minute for a study of three cells: Tune starts a process for each


@pytest.fixture(scope="module")
def finished(
    local_ray: None, labelled: str, pretrained: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    storage = tmp_path_factory.mktemp("studies")
    settings = study_settings(labelled, pretrained, arms=["scratch", "pretrained", "auxiliary"])
    result = finetune(prepare(settings, run_name="a", storage=storage), tracked=False)
    assert result.failed == () and result.stopped_by is None
    return result.folder, json.loads(result.results.read_text())["cells"]


def test_every_arm_had_the_same_data_updates_and_starts(finished: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, cells = finished
    assert [cell["name"] for cell in cells] == ["scratch-n10-s0", "pretrained-n10-s0", "auxiliary-n10-s0"]
    digest = read_dataset(folder / "labelled" / "n10-s0").digest
    assert {cell["labelled_digest"] for cell in cells} == {digest}
    for name, value in (
        ("updates", 10),
        ("updates_planned", 10),
        ("batch_size", 32),
        ("learning_rate", 5e-4),
        ("status", "completed"),
    ):
        assert {cell[name] for cell in cells} == {value}, name
    starts = [[episode["seed"] for episode in cell["evaluation"]["tasks"]["default"]] for cell in cells]
    assert starts[0] == starts[1] == starts[2] and len(set(starts[0])) == 4
    assert len({cell["parameters"] for cell in cells}) == 1
    assert [cell["scale_from"] for cell in cells] == ["labelled", "pretraining", "unlabelled"]
    assert [cell["transitions_per_update"] for cell in cells] == [32, 32, 64]
    assert {cell["tuning_trials"] for cell in cells} == {None}


def test_what_each_arm_started_from_is_recorded(
    finished: tuple[Path, list[dict[str, Any]]], pretrained: str, play: str
) -> None:
    scratch, tuned, auxiliary = finished[1]
    assert scratch["pretrained_from"] is None and scratch["unlabelled_digest"] is None
    assert tuned["pretrained_from"]["update"] == 20
    assert tuned["pretrained_from"]["dataset_digest"] == read_dataset(play).digest
    assert auxiliary["pretrained_from"] is None and auxiliary["unlabelled_digest"] == read_dataset(play).digest


def test_the_number_of_successes_in_the_labelled_data_is_that_of_the_data(
    finished: tuple[Path, list[dict[str, Any]]],
) -> None:
    folder, cells = finished
    trajectories = read_dataset(folder / "labelled" / "n10-s0")
    successes = sum(bool(t.successes is not None and t.successes[-1]) for t in trajectories)
    assert {cell["successful_labelled_episodes"] for cell in cells} == {successes}


def test_parameters_are_those_that_are_trained(finished: tuple[Path, list[dict[str, Any]]]) -> None:
    weights = read_checkpoint(finished[1][0]["checkpoint"]).state.weights
    critic = [value for name, value in weights.items() if name.startswith("critic.")]
    # Scales of the data, the entries that are compared with the goal, and its turns are no parameters.
    fixed = [
        value
        for name, value in weights.items()
        if name.startswith("critic.") and (name.split(".")[-1] in _BUFFERS or "_turn_" in name)
    ]
    assert finished[1][0]["parameters"] == sum(v.size for v in critic) - sum(v.size for v in fixed)


_BUFFERS = ("picked", "mean", "std", "state_mean", "state_std", "state_input_mean", "state_input_std")


def test_a_finished_study_is_extended_and_nothing_is_run_twice(
    finished: tuple[Path, list[dict[str, Any]]], labelled: str, pretrained: str
) -> None:
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/trial.json")}
    settings = study_settings(
        labelled, pretrained, arms=["scratch", "pretrained", "auxiliary"], episodes=[5, 10], max_concurrent=1
    )
    ran: list[str] = []
    study = prepare(settings, run_name=folder.name, storage=folder.parent)
    result = finetune(study, resume="must", tracked=False, on_result=lambda done: ran.append(done.name))
    assert sorted(ran) == ["auxiliary-n5-s0", "pretrained-n5-s0", "scratch-n5-s0"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    comparison = compare(read_study(result.folder))
    assert sorted({(row.arm, row.episodes) for row in comparison.rates}) == [
        (arm, size) for arm in ("auxiliary", "pretrained", "scratch") for size in (5, 10)
    ]


def test_other_labelled_data_under_the_same_name_are_refused(
    finished: tuple[Path, list[dict[str, Any]]], play: str, pretrained: str
) -> None:
    settings = study_settings(play, pretrained, arms=["scratch", "pretrained", "auxiliary"])
    study = prepare(
        replace(settings, task=replace(settings.task, success_at="any")), run_name="a", storage=finished[0].parent
    )
    with pytest.raises(DatasetError, match=r"n10-s0: drawn from data of digest .*; this study draws from"):
        finetune(study, tracked=False)


def test_without_labels_the_pretrained_weights_are_evaluated_unchanged(
    local_ray: None, labelled: str, pretrained: str, tmp_path: Path
) -> None:
    settings = study_settings(labelled, pretrained, episodes=[0, 10])
    result = finetune(prepare(settings, run_name="a", storage=tmp_path), tracked=False)
    content = json.loads(result.results.read_text())
    cells = {cell["name"]: cell for cell in content["cells"]}
    assert content["cells_planned"] == list(cells)
    zero = cells["pretrained-n0-s0"]
    assert (zero["episodes"], zero["successful_labelled_episodes"]) == (0, 0)
    before = read_checkpoint(next(iter(Path(pretrained).glob("checkpoint-*")))).state.weights
    after = read_checkpoint(zero["checkpoint"]).state.weights
    for name, value in before.items():
        assert name.startswith("target_") or after[name].tobytes() == value.tobytes(), name
    assert (after["acting_critic.encoder.task.weight.state"] == 0).all()
    assert {row.episodes for row in compare(read_study(result.folder)).rates} == {0, 10}


def test_a_study_is_not_gone_on_with_under_other_settings(
    finished: tuple[Path, list[dict[str, Any]]], labelled: str, pretrained: str
) -> None:
    settings = study_settings(labelled, pretrained)
    settings = replace(settings, task=replace(settings.task, success_share=0.7))
    study = prepare(settings, run_name=finished[0].name, storage=finished[0].parent)
    with pytest.raises(SettingsError, match=r"begun with task.success_share = 0.0, now 0.7; results would"):
        finetune(study, tracked=False)
    with pytest.raises(SettingsError, match="already holds a study"):
        finetune(study, resume="never", tracked=False)


def test_a_study_that_cannot_be_evaluated_is_not_begun(labelled: str, pretrained: str, tmp_path: Path) -> None:
    settings = study_settings(labelled, pretrained)
    wrong = replace(settings, evaluation=replace(settings.evaluation, env_kwargs={"no_such": 1}))
    with pytest.raises(EnvironmentContractError, match="could not be made"):
        finetune(prepare(wrong, run_name="a", storage=tmp_path), tracked=False)
    assert not (tmp_path / "a" / "settings.yaml").exists()


def test_must_insists_on_a_study(labelled: str, pretrained: str, tmp_path: Path) -> None:
    study = prepare(study_settings(labelled, pretrained), run_name="new", storage=tmp_path)
    with pytest.raises(SettingsError, match="no study to resume"):
        finetune(study, resume="must", tracked=False)


def test_a_cell_that_fails_leaves_the_others_and_the_comparison(
    local_ray: None, labelled: str, pretrained: str, tmp_path: Path
) -> None:
    mapping = study_mapping(labelled, pretrained, max_failures=0)
    study = prepare(study_settings(labelled, pretrained, max_failures=0), run_name="a", storage=tmp_path)
    # Where the run of one cell should be lies a file.
    (tmp_path / "a" / "trials" / "scratch-n10-s0").mkdir(parents=True)
    (tmp_path / "a" / "trials" / "scratch-n10-s0" / "settings.yaml").mkdir()
    result = finetune(study, tracked=False)
    assert mapping["finetune"]["max_failures"] == 0 and result.failed == ("scratch-n10-s0",)
    cells = {cell["name"]: cell for cell in json.loads(result.results.read_text())["cells"]}
    assert cells["pretrained-n10-s0"]["status"] == "completed"
    assert cells["scratch-n10-s0"]["status"] == "failed" and cells["scratch-n10-s0"]["error"]


def test_the_command_checks_runs_and_compares(
    local_ray: None,
    am_ray: AmRay,
    labelled: str,
    pretrained: str,
    tmp_path: Path,
) -> None:
    mapping = study_mapping(labelled, "")
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(mapping))
    arguments = ("finetune", path, "--pretrained", pretrained, "--storage", tmp_path / "runs", "--no-tracking")
    plan = am_ray(*arguments, "--dry-run")
    assert plan.code == 0 and "scratch-n10-s0" in plan.stdout and not (tmp_path / "runs").exists()
    done = am_ray(*arguments)
    assert done.code == 0, done.stderr
    assert "difference not established" in done.stdout and "2 of 2" in done.stderr
    assert (tmp_path / "runs" / "study" / "comparison" / "comparison.html").exists()
    assert am_ray("compare", tmp_path / "runs" / "study", "--no-tracking").code == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy's, about how MLflow calls it
def test_a_study_is_one_run_of_mlflow_with_a_child_for_each_cell(
    local_ray: None, am_ray: AmRay, labelled: str, pretrained: str, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study_mapping(labelled, pretrained)))
    for _ in range(2):  # the second time nothing is run, and no run is made
        assert am_ray("finetune", path, "--storage", tmp_path / "runs").code == 0
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [run.data.tags["stage"] for run in parents] == ["finetune"]
    children = {run.info.run_name: run for run in runs if run not in parents}
    assert sorted(children) == ["pretrained-n10-s0", "scratch-n10-s0"]
    digest = read_dataset(tmp_path / "runs" / "study" / "labelled" / "n10-s0").digest
    for name, run in children.items():
        tags = run.data.tags
        assert tags["mlflow.parentRunId"] == parents[0].info.run_id and run.info.status == "FINISHED"
        assert (tags["arm"], tags["episodes"], tags["seed"]) == (name.split("-")[0], "10", "0")
        assert tags["dataset.digest"] == digest
        assert "eval/success_rate" in run.data.metrics
    assert children["pretrained-n10-s0"].data.tags["pretrained_from"] == pretrained
    files = {entry.path for entry in client.list_artifacts(parents[0].info.run_id, "comparison")}
    assert {"comparison/comparison.html", "comparison/comparison.json", "comparison/comparison.png"} <= files
    assert "comparison/default/scratch/n10/success_rate" in parents[0].data.metrics


def test_pretraining_helps_where_labels_are_few(local_ray: None, labelled: str, play: str, tmp_path: Path) -> None:
    """What fine-tuning is for: the same little labelled data, and a better policy after pre-training."""
    run = pretrained_run(play, tmp_path, 3000)
    mapping = study_mapping(labelled, run, episodes=[5], seeds=[0, 1, 2])
    mapping |= {"training": {"updates": 300}, "evaluation": {"episodes": 40}}
    mapping["algorithm"]["cem"] = {"num_samples": 64}
    from am_ray.settings_reader import read_settings
    from am_ray.study_settings import StudySettings

    study = prepare(read_settings(StudySettings, mapping, "test"), run_name="a", storage=tmp_path)
    comparison = compare(read_study(finetune(study, tracked=False).folder))
    rates = {row.arm: row.rate for row in comparison.rates}
    assert rates["pretrained"] is not None and rates["scratch"] is not None
    assert rates["pretrained"] > rates["scratch"] + 0.1, rates
