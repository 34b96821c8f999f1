"""The study: its steps exist and load, and each row of a table is one of their products."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import am_ray
from am_ray.envs.goal_env import TrayEnv
from am_ray.envs.recipe import load_recipe
from am_ray.models.checkpoint import read_checkpoint
from am_ray.settings_reader import read_settings
from am_ray.strict_yaml import apply_overrides, load_yaml
from am_ray.study_settings import StudySettings
from am_ray.sweep import plan_sweep
from study import __main__ as study_main
from study.conditions import CONDITIONS, NEW_KINDS, Conditions
from study.downstream import AUXILIARY_TABLE, DOWNSTREAM_TABLE, DOWNSTREAM_TABLES, FEW_TABLE
from study.gpu_training import read_config
from study.images import IMAGE_ROWS
from study.pictures import write_pictures
from study.plan import BASELINES, EVALUATION_SEED, UNSEEN_SEED, Step, image_steps, state_steps
from study.report import EVALUATIONS
from study.ship import ship
from study.sweeps import SweepRow
from study.tables import TABLES
from tests.study.steps import FOLDERS, STEPS, arguments

ROOT = Path(__file__).parents[2]
SWEEPS = [step for step in STEPS if step.command[1] == "sweep"]
SWEEP_ROWS = [row for table in TABLES for row in table.rows if isinstance(row, SweepRow)]


def settings_of(step: Step) -> StudySettings:
    path = ROOT / step.command[2]
    changes = [value for word, value in pairwise(step.command) if word == "--set"]
    return read_settings(StudySettings, apply_overrides(load_yaml(path), changes), str(path))


@pytest.mark.parametrize("step", SWEEPS, ids=lambda step: step.name)
def test_a_sweep_has_three_seeds_and_200_goals_not_looked_at_before(step: Step) -> None:
    settings = settings_of(step)
    plan = plan_sweep(settings, step.name)
    assert {trial.settings.seed for trial in plan.trials} >= {0, 1, 2}
    assert (settings.evaluation.episodes, settings.evaluation.seed) == (200, EVALUATION_SEED)


def test_few_labelled_episodes_are_of_data_that_nothing_was_chosen_on() -> None:
    by_name = {step.name: step.command for step in STEPS}
    for task in ("box", "banana", "milk"):
        collect = by_name[f"collect downstream_{task}_unseen"]
        recipe, folder = ROOT / collect[2], collect[collect.index("--out") + 1]
        assert collect[collect.index("--seed") + 1] == str(UNSEEN_SEED) != str(load_recipe(recipe).seed)
        for table in DOWNSTREAM_TABLES:
            finetune = by_name[f"finetune {table}_{task}"]
            assert finetune[finetune.index("--dataset") + 1] == folder != f"data/{recipe.stem}"


def test_fewer_episodes_are_all_that_is_changed_of_the_main_table() -> None:
    by_name = {step.name: settings_of(step) for step in STEPS if step.command[1] == "finetune"}
    main, few = (by_name[f"finetune {table}_milk"] for table in (DOWNSTREAM_TABLE, FEW_TABLE))
    assert max(few.finetune.episodes) < min(main.finetune.episodes)
    assert replace(few, finetune=replace(few.finetune, episodes=main.finetune.episodes)) == main


def test_the_auxiliary_arms_are_beside_cells_of_the_same_settings() -> None:
    by_name = {step.name: settings_of(step) for step in STEPS if step.command[1] == "finetune"}
    main, auxiliary = (by_name[f"finetune {table}_box"] for table in (DOWNSTREAM_TABLE, AUXILIARY_TABLE))
    assert set(main.finetune.arms) < set(auxiliary.finetune.arms)
    assert set(auxiliary.finetune.episodes) < set(main.finetune.episodes)
    varied = {name: getattr(main.finetune, name) for name in ("arms", "episodes", "seeds")}
    assert replace(auxiliary, finetune=replace(auxiliary.finetune, **varied)) == main


def test_cloning_has_the_networks_and_the_budget_of_what_it_is_compared_with() -> None:
    by_name = {step.name: settings_of(step) for step in SWEEPS}
    for name, cloning in by_name.items():
        if name.endswith("_cloning"):
            ours = by_name[name.removesuffix("_cloning")]
            assert cloning.algorithm.method == "behavior_cloning"
            assert cloning.algorithm.model == ours.algorithm.model
            if cloning.algorithm.relabel.chaining_neighbors:
                assert cloning.algorithm.relabel == ours.algorithm.relabel
            assert cloning.algorithm.optimization == ours.algorithm.optimization
            assert (cloning.dataset, cloning.evaluation) == (ours.dataset, ours.evaluation)
            kept = ours.training.keep_checkpoints
            assert replace(cloning.training, keep_checkpoints=kept) == ours.training


def test_the_recipe_of_the_image_study_is_that_of_the_reference_data() -> None:
    one, other = (load_yaml(ROOT / "datasets" / f"{name}.yaml") for name in ("tray_play", "tray_play_image64"))
    assert one | {"observation": "image_gripper", "episodes": 15_000} == other


def test_image_rows_differ_in_what_their_names_say_alone() -> None:
    ours, by_cem, by_head, plain, cloning, images_only = (
        read_config(ROOT / "tune_configs/study" / f"{row.config}.yaml", list(row.changes)) for row in IMAGE_ROWS
    )
    assert len({updates for _, updates in (ours, by_cem, by_head, plain, cloning, images_only)}) == 1
    assert ours[0].method == "actionable_models" and ours[0].critic.acting == "likely"
    assert by_cem == by_head == ours
    assert [row.acting for row in IMAGE_ROWS] == [None, "cem", "cloned", None, None, None]
    assert plain[0] == replace(ours[0], critic=replace(ours[0].critic, acting="cem", cloning_weight=0.0))
    assert images_only[0] == replace(ours[0], model=replace(ours[0].model, mirror_state=()))
    assert cloning[0].method == "behavior_cloning"
    assert (cloning[0].model, cloning[0].optimization) == (ours[0].model, ours[0].optimization)
    assert (ours[0].relabel.last_state_share, ours[0].relabel.next_state_share) == (
        cloning[0].relabel.last_state_share,
        cloning[0].relabel.next_state_share,
    )
    assert [row.images_only for row in IMAGE_ROWS] == [False] * 5 + [True]


def test_a_network_is_trained_once_and_evaluated_for_each_row_that_shows_it() -> None:
    names = [step.name for step in image_steps(FOLDERS)]
    assert len(names) == len(set(names))
    assert names.count("train images actionable_models, seed 0") == 1
    assert {f"evaluate images actionable_models{way}, seed 2" for way in ("", "_cem", "_cloned")} <= set(names)


def test_only_the_baselines_have_random_actions_and_the_oracle_beside_them() -> None:
    names = [step.name for step in STEPS]
    with_them = [s for s in STEPS if s.command[1] == "evaluate" and "--no-baselines" not in s.command]
    assert [step.name for step in with_them] == ["baselines of point_maze", "baselines of tray"]
    assert {str(step.product) for step in with_them} == {str(FOLDERS.runs / file) for file in BASELINES.values()}
    maze = arguments(with_them[0]).checkpoint.removeprefix(f"{FOLDERS.runs}/")
    assert maze in {row.folder(seed) for row in SWEEP_ROWS for seed in row.seeds if row.sweep == "point_maze_cloning"}
    assert names.index("sweep point_maze_cloning") < names.index("baselines of point_maze")


def test_every_recipe_and_table_of_the_study_exists() -> None:
    for step in STEPS:
        if step.command[:2] == ("am-ray", "collect"):
            load_recipe(ROOT / step.command[2])
    names = {step.name.removeprefix("sweep ") for step in SWEEPS}
    assert {row.sweep for row in SWEEP_ROWS} == names
    page = (ROOT / "docs" / "RESULTS.md").read_text()
    for name in [*(table.name for table in TABLES), *EVALUATIONS, *DOWNSTREAM_TABLES]:
        assert len(re.findall(rf"<!-- table {name} -->.*?<!-- end {name} -->", page, re.DOTALL)) == 1


@pytest.mark.parametrize("step", [s for s in STEPS if s.command[0] == "am-ray"], ids=lambda step: step.name)
def test_the_command_line_knows_every_step(step: Step) -> None:
    assert arguments(step).run


def test_each_row_of_a_table_is_a_cell_of_its_sweep() -> None:
    for row in SWEEP_ROWS:
        (step,) = [step for step in SWEEPS if step.name == f"sweep {row.sweep}"]
        plan = plan_sweep(settings_of(step), step.name)
        values = [plan.values[trial.name] for trial in plan.trials]
        assert any(all(v.get(key) == value for key, value in row.where.items()) for v in values), row
        if row.acting is not None:
            assert {row.folder(seed).split("/")[-1] for seed in row.seeds} <= {trial.name for trial in plan.trials}
            assert len(row.seeds) >= 3


@pytest.mark.parametrize("conditions", CONDITIONS, ids=lambda conditions: conditions.table)
def test_every_condition_is_a_world_that_the_policy_can_act_in(conditions: Conditions) -> None:
    policy = am_ray.load_policy(ROOT / "checkpoints" / conditions.checkpoint)
    environment = read_checkpoint(ROOT / "checkpoints" / conditions.checkpoint).origin["dataset"]["environment"]
    assert not set(NEW_KINDS) & set(environment["kwargs"]["kinds"])
    for condition in conditions.conditions:
        env = TrayEnv(**{**environment["kwargs"], **json.loads(json.dumps(condition.env_kwargs))})
        start, info = env.reset(seed=0)
        assert policy.act(start["observation"], start["desired_goal"]).shape == (5,)
        if condition.name == "new_kinds":
            assert info["target"] in NEW_KINDS
        env.close()


def test_a_step_that_is_done_is_left_alone_and_one_that_fails_ends_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def step(name: str, status: int) -> Step:
        code = f"import sys; open(sys.argv[1], 'a').write('x'); sys.exit({status})"
        return Step(name, (sys.executable, "-c", code, str(tmp_path / name)), tmp_path / "made" / name)

    steps = [step("first", 0), step("done", 0), step("bad", 3), step("never", 0)]
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "done").touch()
    monkeypatch.setattr(study_main, "state_steps", lambda folders: steps)
    monkeypatch.setattr(sys, "argv", ["study", "--runs", str(tmp_path / "runs")])
    assert study_main.main() == 3
    assert [name for name in ("first", "done", "bad", "never") if (tmp_path / name).exists()] == ["first", "bad"]
    assert "step 'bad' ended with status 3" in capsys.readouterr().out


def test_the_list_of_steps_is_shown_without_running_any(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "study", "--list", "--data", str(tmp_path / "d"), "--runs", str(tmp_path / "r")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(shown.stdout.splitlines()) == len(state_steps(FOLDERS))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_pictures_show_episodes_of_each_task(tmp_path: Path) -> None:
    paths = write_pictures(ROOT / "checkpoints" / "tray_play_state", tmp_path / "a" / "policy", seed=3, episodes=2)
    assert paths[0].name == "policy_panels.png"
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in paths)
    assert len([name for name in names if name.endswith(".gif")]) == 6
    assert max(path.stat().st_size for path in paths[1:]) < 400_000


def test_a_shipped_checkpoint_is_the_policy_without_the_optimizer(tmp_path: Path) -> None:
    source = ROOT / "checkpoints" / "tray_play_state"
    ship(source, tmp_path / "shipped", dataset="data/elsewhere")
    shipped, original = read_checkpoint(tmp_path / "shipped"), read_checkpoint(source)
    assert shipped.state.optimizer == {}
    assert shipped.origin["dataset"] == {**original.origin["dataset"], "path": "data/elsewhere"}
    assert shipped.state.weights.keys() == original.state.weights.keys()
    for name, weights in original.state.weights.items():
        averaged = name.replace("target_critic.", "critic.").replace("acting_critic.", "critic.")
        acts = original.state.weights.get(averaged.replace("critic.", "acting_critic.", 1), weights)
        np.testing.assert_array_equal(shipped.state.weights[name], acts)
