"""What differs between the cells of a study, and that nothing else does; refusals before anything is written."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from am_ray.finetuning import plan_cells, prepare
from am_ray.settings_reader import read_settings, to_mapping
from am_ray.study_settings import EvaluationSettings, FinetuneSettings, StudySettings
from am_ray.types import AmRayError, SettingsError

from .conftest import study_mapping, study_settings


def test_cells_are_arms_times_sizes_times_seeds_with_arms_side_by_side(labelled: str, pretrained: str) -> None:
    settings = study_settings(labelled, pretrained, episodes=[10, 20], seeds=[0, 3])
    names = [cell.name for cell in plan_cells(settings, Path("x"))]
    assert names == [
        f"{arm}-n{episodes}-s{seed}" for seed in (0, 3) for episodes in (10, 20) for arm in ("scratch", "pretrained")
    ]


def test_the_arms_of_a_cell_differ_in_their_start_alone(labelled: str, pretrained: str, play: str) -> None:
    settings = study_settings(
        labelled,
        pretrained,
        arms=["scratch", "pretrained", "auxiliary", "pretrained_auxiliary"],
        unlabelled=play,
        seeds=[5],
    )
    scratch, tuned, auxiliary, both = (to_mapping(cell.settings) for cell in plan_cells(settings, Path("x")))
    assert both["task"] == {**tuned["task"], "auxiliary": play} == {**auxiliary["task"], "initial": pretrained}
    assert scratch["seed"] == 5 and scratch["dataset"] == "x/labelled/n10-s5"
    assert scratch["algorithm"]["method"] == "task_critic"
    assert tuned["task"].pop("initial") == pretrained and scratch["task"].pop("initial") == ""
    assert auxiliary["task"].pop("auxiliary") == play and scratch["task"].pop("auxiliary") == ""
    tuned["task"].pop("auxiliary"), auxiliary["task"].pop("initial")
    assert tuned == scratch == auxiliary


@pytest.mark.parametrize(
    ("finetune", "message"),
    [
        ({"labelled": ""}, "finetune.labelled: not given"),
        ({"pretrained": ""}, "finetune.pretrained: not given; the arm pretrained needs it"),
        ({"arms": ["auxiliary"], "pretrained": ""}, "finetune.unlabelled: not given; the arm auxiliary needs it"),
        ({"episodes": [61]}, "got 61; expected at most 60"),
        ({"episodes": [10, 10]}, "each once"),
        ({"seeds": []}, "expected at least one"),
        ({"episodes": [-1]}, "expected numbers of 0 or more"),
        ({"arms": ["pretrainde"]}, "Did you mean pretrained"),
        ({"learning_rates": {"pretrainde": 0.1}}, "learning_rates: got 'pretrainde'"),
        ({"tuning_trials": {"pretrainde": 1}}, "Did you mean pretrained"),
        ({"learning_rates": {"scratch": -0.1}}, "learning_rates.scratch: OptimizationSettings.learning_rate: got -0.1"),
        ({"learning_rates": {"scratch": 11.0}}, "got 11"),
        ({"max_concurrent": -1}, "expected a value in"),
        ({"max_failures": -1}, "expected a value in"),
        ({"pretrained": "nowhere"}, "nowhere: no such directory"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    labelled: str, pretrained: str, tmp_path: Path, finetune: dict[str, Any], message: str
) -> None:
    with pytest.raises(AmRayError, match=re.escape(message)):
        prepare(study_settings(labelled, pretrained, **finetune), run_name="a", storage=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_entries_that_the_labelled_data_do_not_have_are_refused_before_anything_is_written(
    labelled: str, pretrained: str, tmp_path: Path
) -> None:
    mapping = study_mapping(labelled, pretrained)
    mapping["algorithm"]["relabel"] = {"stay_share": 0.1, "stay_entries": [7]}
    with pytest.raises(AmRayError, match=r"stay_entries: got \[7\] for an action of \d+ entries"):
        prepare(read_settings(StudySettings, mapping, "test"), run_name="a", storage=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_network_unlike_the_pretrained_one_is_refused_with_the_arm(
    labelled: str, pretrained: str, tmp_path: Path
) -> None:
    mapping = study_mapping(labelled, pretrained)
    mapping["algorithm"]["model"] = {**mapping["algorithm"]["model"], "width": 33}
    with pytest.raises(AmRayError, match=r"arm pretrained: .*model\.width = 32, here 33"):
        prepare(read_settings(StudySettings, mapping, "test"), run_name="a", storage=tmp_path)


def test_an_arm_may_have_a_learning_rate_of_its_own(labelled: str, pretrained: str) -> None:
    settings = study_settings(labelled, pretrained, learning_rates={"scratch": 0.002})
    scratch, tuned = (cell.settings.algorithm.optimization for cell in plan_cells(settings, Path("x")))
    assert scratch.learning_rate == 0.002
    assert tuned == settings.algorithm.optimization == replace(scratch, learning_rate=tuned.learning_rate)


def test_starts_of_arms_are_not_set_by_hand(labelled: str, pretrained: str) -> None:
    settings = study_settings(labelled, pretrained)
    settings = replace(settings, task=replace(settings.task, initial=pretrained))
    with pytest.raises(SettingsError, match="a study sets them for each arm"):
        plan_cells(settings, Path("x"))


def test_the_auxiliary_arm_learns_beside_the_data_of_pretraining_unless_told_otherwise(
    labelled: str, pretrained: str, play: str, tmp_path: Path
) -> None:
    arms = ["scratch", "auxiliary"]
    study = prepare(study_settings(labelled, pretrained, arms=arms), run_name="a", storage=tmp_path)
    assert study.cells[1].settings.task.auxiliary == play
    study = prepare(
        study_settings(labelled, pretrained, arms=arms, unlabelled=labelled), run_name="a", storage=tmp_path
    )
    assert study.cells[1].settings.task.auxiliary == labelled


def test_more_than_one_task_is_refused(labelled: str, pretrained: str, tmp_path: Path) -> None:
    settings = replace(study_settings(labelled, pretrained), evaluation=EvaluationSettings(tasks=("a", "b")))
    with pytest.raises(SettingsError, match="expected one, the task that the labels are of"):
        prepare(settings, run_name="a", storage=tmp_path)


def test_a_cell_without_labels_evaluates_the_weights_as_they_are(labelled: str, pretrained: str) -> None:
    settings = study_settings(labelled, pretrained, episodes=[0], arms=["pretrained"])
    (cell,) = plan_cells(settings, Path("x"))
    assert (cell.name, cell.settings.dataset) == ("pretrained-n0-s0", "x/labelled/n1-s0")
    optimization = cell.settings.algorithm.optimization
    assert (optimization.learning_rate, optimization.acting_average_rate) == (0.0, 0.0)
    assert cell.settings.training.updates == 1
    assert cell.settings.task.goal_start == "mean" and cell.settings.task.initial == pretrained


def test_tuning_trials_are_an_arms_own() -> None:
    settings = read_settings(FinetuneSettings, {"tuning_trials": {"pretrained": 7}}, "test")
    assert settings.tuning_trials == {"pretrained": 7}
