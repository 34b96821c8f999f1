"""Every file of tune_configs/ loads, says what it is for, and says no more than what differs from the defaults."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from am_ray.envs.tray import Tray
from am_ray.settings import PretrainSettings
from am_ray.settings_reader import read_settings, to_mapping
from am_ray.strict_yaml import load_yaml
from am_ray.study_settings import StudySettings
from am_ray.sweep import plan_sweep
from am_ray.sweep.search import flat

FOLDER = Path(__file__).parents[1] / "tune_configs"
FILES = sorted(FOLDER.rglob("*.yaml"))
# They say what they stand for, whatever the defaults become.
REFERENCES = ("paper", "tray_play")
STAYING = ("stay_share", "stay_entries", "goal_jitter", "goal_jitter_entries")
SWEEPS = {"smoke": 2, "chaining_ratio": 15, "negative_ratio": 15, "chaining_x_negatives": 27}


def name_of(path: Path) -> str:
    return str(path.relative_to(FOLDER).with_suffix(""))


def loaded(path: Path) -> StudySettings:
    return read_settings(StudySettings, load_yaml(path), str(path))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_it_opens_with_question_time_and_result(path: Path) -> None:
    loaded(path)
    comment = "".join(line for line in path.read_text().splitlines(True) if line.startswith("#"))
    assert path.read_text().startswith("# Question: ")
    assert "?" in comment
    assert "Time: " in comment
    assert "Result: " in comment


@pytest.mark.parametrize("path", [path for path in FILES if name_of(path) not in REFERENCES], ids=name_of)
def test_it_states_what_differs_from_the_defaults(path: Path) -> None:
    defaults = flat(to_mapping(StudySettings()))
    stated = flat(load_yaml(path))
    resolved: dict[str, Any] = flat(to_mapping(loaded(path)))
    assert [key for key in stated if key in defaults and resolved.get(key) == defaults[key]] == []


@pytest.mark.parametrize(("name", "trials"), SWEEPS.items())
def test_its_sweep_has_the_trials_that_its_comment_counts(name: str, trials: int) -> None:
    path = FOLDER / f"{name}.yaml"
    plan = plan_sweep(loaded(path), str(path))
    assert len(plan.trials) == trials
    if name != "smoke":
        assert f"{trials} trials" in path.read_text()
        # Three seeds in each cell, and the networks and the data of the reference run.
        assert {trial.settings.seed for trial in plan.trials} == {0, 1, 2}
        reference = loaded(FOLDER / "tray_play.yaml")
        for trial in plan.trials:
            assert trial.settings.algorithm.model == reference.algorithm.model
            critic = trial.settings.algorithm.critic
            # What is asked is what Q is worth by itself: by CEM, without the auxiliary loss.
            q_alone = replace(reference.algorithm.critic, acting="cem", cloning_weight=0.0)
            varied = replace(q_alone, negative_ratio=critic.negative_ratio)
            assert critic == varied
            assert (trial.settings.dataset, trial.settings.training) == (reference.dataset, reference.training)


def test_the_main_result_is_of_the_reference_run() -> None:
    recipe, staying, reference = (
        loaded(FOLDER / f"{name}.yaml")
        for name in ("study/tray_play_10k_recipe", "study/tray_play_10k_stay", "tray_play")
    )
    assert staying.algorithm == reference.algorithm
    without = {name: getattr(recipe.algorithm.relabel, name) for name in STAYING}
    assert without["stay_share"] == without["goal_jitter"] == 0.0
    assert recipe.algorithm == replace(staying.algorithm, relabel=replace(staying.algorithm.relabel, **without))
    assert recipe.training.updates == staying.training.updates == reference.training.updates


@pytest.mark.parametrize(
    ("without", "staying"),
    [
        ("tray_play_10k_recipe", "tray_play_10k_stay"),
        ("tray_play_10k_cloning", "tray_play_10k_stay_cloning"),
        ("tray_stitch_recipe", "tray_stitch_stay"),
        ("tray_stitch_recipe_cloning", "tray_stitch_stay_cloning"),
    ],
)
def test_staying_is_all_that_differs_and_the_same_for_both_methods(without: str, staying: str) -> None:
    one, other = (loaded(FOLDER / "study" / f"{name}.yaml") for name in (without, staying))
    before, after = flat(to_mapping(one.algorithm)), flat(to_mapping(other.algorithm))
    shown = {f"relabel.{name}" for name in STAYING}
    assert {key for key in before if before[key] != after[key]} == shown
    reference = flat(to_mapping(loaded(FOLDER / "tray_play.yaml").algorithm))
    assert all(after[key] == reference[key] for key in shown)
    assert (one.dataset, one.evaluation, one.training.updates) == (
        other.dataset,
        other.evaluation,
        other.training.updates,
    )


def test_the_papers_row_has_its_objective_and_the_other_rows_networks() -> None:
    row, paper, ours = (
        loaded(FOLDER / f"{name}.yaml") for name in ("study/tray_play_paper", "paper", "study/tray_play")
    )
    for part in ("critic", "relabel", "cem"):
        assert getattr(row.algorithm, part) == getattr(paper.algorithm, part)
    for part in ("model", "optimization"):
        assert getattr(row.algorithm, part) == getattr(ours.algorithm, part)
    assert row.evaluation == ours.evaluation and row.training.updates == ours.training.updates


@pytest.mark.parametrize(
    ("name", "control", "section", "settings"),
    [
        ("tray_stitch_no_junctions", "tray_stitch_no_bootstrap", "critic", {"bootstrap"}),
        ("tray_play_10k_recipe", "tray_play_10k_no_bootstrap", "critic", {"bootstrap"}),
        ("tray_stitch_recipe", "tray_stitch_no_junctions", "relabel", {"junction_share"}),
        (
            "tray_stitch_recipe_cloning",
            "tray_stitch_no_links_cloning",
            "relabel",
            {
                "chaining_ratio",
                "chaining_window",
                "chaining_neighbors",
                "chaining_distance",
                "chaining_entries",
                "junction_share",
            },
        ),
        (
            "tray_stitch_recipe",
            "tray_stitch_no_links",
            "relabel",
            {"chaining_ratio", "chaining_neighbors", "chaining_distance", "chaining_entries", "junction_share"},
        ),
    ],
)
def test_a_control_differs_in_what_it_is_the_control_of(
    name: str, control: str, section: str, settings: set[str]
) -> None:
    ours, other = (loaded(FOLDER / "study" / f"{one}.yaml") for one in (name, control))
    one, two = flat(to_mapping(ours.algorithm)), flat(to_mapping(other.algorithm))
    differing = {key for key in one if one[key] != two[key]}
    assert differing and differing <= {f"{section}.{setting}" for setting in settings}
    assert ours.evaluation == other.evaluation and ours.training.updates == other.training.updates


def test_links_are_over_positions_alone() -> None:
    tray = Tray(arm="panda", kinds=["box", "banana", "milk", "can", "apple"], container="bin", observation="state")
    names = [
        tray.state_names()[i]
        for i in loaded(FOLDER / "study" / "tray_stitch_recipe.yaml").algorithm.relabel.chaining_entries
    ]
    assert names == [f"{thing}_{axis}" for thing in ("gripper", *tray.kinds) for axis in "xyz"]


def test_trials_of_the_grids_differ_in_what_is_varied_alone() -> None:
    for name in SWEEPS:
        plan = plan_sweep(loaded(FOLDER / f"{name}.yaml"), name)
        runs = [flat(to_mapping(trial.settings)) for trial in plan.trials]
        differing = {key for key in runs[0] if len({str(run[key]) for run in runs}) > 1}
        assert differing == set(plan.varied)


def test_smoke_serves_both_commands() -> None:
    settings = loaded(FOLDER / "smoke.yaml")
    assert settings.ingest.mode == "streaming"
    run = settings.run
    assert type(run) is PretrainSettings
    assert replace(run, dataset="") != PretrainSettings()
