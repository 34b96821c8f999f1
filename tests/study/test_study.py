"""The study: its steps exist and load, its tables say what the episodes say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import am_ray
from am_ray.cli.main import _parser
from am_ray.envs.goal_env import TrayEnv
from am_ray.envs.recipe import load_recipe
from am_ray.evaluation.tasks import episode_seeds
from am_ray.models.checkpoint import read_checkpoint
from am_ray.settings_reader import read_settings
from am_ray.strict_yaml import load_yaml
from am_ray.study_settings import StudySettings
from am_ray.sweep import plan_sweep
from study import __main__ as study_main
from study.conditions import CONDITIONS, NEW_KINDS, STATE, Conditions
from study.downstream import DOWNSTREAM_TABLE
from study.figures import bar_colors
from study.gpu_training import read_config
from study.images import IMAGE_ROWS
from study.outcomes import cell, difference, read_sweep
from study.pictures import write_pictures
from study.plan import EVALUATION_SEED, Folders, Step, image_steps, state_steps
from study.report import EVALUATIONS, markdown, write_report
from study.ship import ship
from study.sweeps import SweepRow
from study.tables import TABLES

ROOT = Path(__file__).parents[2]
FOLDERS = Folders(Path("data"), Path("runs/study"))
STEPS = [*state_steps(FOLDERS), *image_steps(FOLDERS)]
SWEEPS = [step for step in STEPS if step.command[1] == "sweep"]
SWEEP_ROWS = [row for table in TABLES for row in table.rows if isinstance(row, SweepRow)]
TASK = "instance_grasping"


def settings_of(step: Step) -> StudySettings:
    path = ROOT / step.command[2]
    return read_settings(StudySettings, load_yaml(path), str(path))


def write_sweep(
    folder: Path,
    episodes: dict[tuple[float, int], str],
    key: str = "algorithm.relabel.chaining_ratio",
    seeds: Sequence[int] = range(7, 1000),
) -> None:
    """A finished sweep; of each trial one character an episode, as docs/results/*.json has them."""
    trials: list[dict[str, Any]] = []
    for (value, seed), outcomes in episodes.items():
        listed = [
            {
                "seed": seeds[n],
                "success": c == "1",
                "success_any_step": c == "1",
                "error": "crash" if c == "-" else None,
            }
            for n, c in enumerate(outcomes)
        ]
        trials.append(
            {
                "status": "completed",
                "values": {"seed": seed, key: value},
                "update": 100,
                "minutes": 2.0,
                "evaluation": {"seed": 100, "max_steps": None, "tasks": {TASK: listed}},
            }
        )
    folder.mkdir(parents=True)
    content = {"trials": trials, "git_commit": "abc", "machine": "x86_64"}
    (folder / "results.json").write_text(json.dumps(content))


@pytest.mark.parametrize("step", SWEEPS, ids=lambda step: step.name)
def test_a_sweep_has_three_seeds_and_200_goals_not_looked_at_before(step: Step) -> None:
    settings = settings_of(step)
    plan = plan_sweep(settings, step.name)
    assert {trial.settings.seed for trial in plan.trials} >= {0, 1, 2}
    assert (settings.evaluation.episodes, settings.evaluation.seed) == (200, EVALUATION_SEED)


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
            assert (cloning.dataset, cloning.training, cloning.evaluation) == (
                ours.dataset,
                ours.training,
                ours.evaluation,
            )


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


def test_every_recipe_and_table_of_the_study_exists() -> None:
    for step in STEPS:
        if step.command[:2] == ("am-ray", "collect"):
            load_recipe(ROOT / step.command[2])
    names = {step.name.removeprefix("sweep ") for step in SWEEPS}
    assert {row.sweep for row in SWEEP_ROWS} == names
    page = (ROOT / "docs" / "RESULTS.md").read_text()
    for name in [*(table.name for table in TABLES), *EVALUATIONS, DOWNSTREAM_TABLE]:
        assert len(re.findall(rf"<!-- table {name} -->.*?<!-- end {name} -->", page, re.DOTALL)) == 1


@pytest.mark.parametrize("step", [s for s in STEPS if s.command[0] == "am-ray"], ids=lambda step: step.name)
def test_the_command_line_knows_every_step(step: Step) -> None:
    assert _parser().parse_args(step.command[1:]).run


def test_each_row_of_a_table_is_a_cell_of_its_sweep() -> None:
    for row in SWEEP_ROWS:
        (step,) = [step for step in SWEEPS if step.name == f"sweep {row.sweep}"]
        plan = plan_sweep(settings_of(step), step.name)
        values = [plan.values[trial.name] for trial in plan.trials]
        assert any(all(v.get(key) == value for key, value in row.where.items()) for v in values), row
        if row.acting is not None:
            assert {row.folder(seed).split("/")[-1] for seed in row.seeds} == {trial.name for trial in plan.trials}


def test_a_cell_is_the_matrix_of_its_seeds_and_starts(tmp_path: Path) -> None:
    write_sweep(tmp_path / "s", {(0.1, 1): "10-1", (0.1, 0): "1110", (0.0, 0): "0000"})
    found = cell(read_sweep(tmp_path / "s"), {"algorithm.relabel.chaining_ratio": 0.1})
    assert found is not None
    assert found.seeds == (0, 1)
    np.testing.assert_array_equal(found.outcomes[TASK], [[1, 1, 1, 0], [1, 0, np.nan, 1]])
    assert found.rate(TASK) == pytest.approx((3 / 4 + 2 / 3) / 2)
    low, high = found.interval(TASK)
    assert low < found.rate(TASK) < high
    assert cell(read_sweep(tmp_path / "s"), {"algorithm.relabel.chaining_ratio": 0.5}) is None
    assert read_sweep(tmp_path / "nothing") == []


def test_a_difference_is_paired_by_seed_and_start(tmp_path: Path) -> None:
    write_sweep(tmp_path / "s", {(0.1, s): "1" * 30 + "0" * 10 for s in (0, 1, 2)})
    write_sweep(tmp_path / "t", {(0.0, s): "1" * 10 + "0" * 30 for s in (0, 1, 2)})
    one, other = (cell(read_sweep(tmp_path / name), {}) for name in "st")
    assert one is not None and other is not None
    found = difference(one, other, TASK)
    assert found.mean == pytest.approx(0.5)
    assert found.interval[0] > 0.0
    backwards = difference(other, one, TASK)
    assert backwards.mean == pytest.approx(-0.5)


def test_the_report_fills_its_place_in_the_page_and_nothing_else(tmp_path: Path) -> None:
    write_sweep(tmp_path / "tray_stitch", {(0.7, s): "1101" * 5 for s in (0, 1, 2)} | {(0.0, 0): "0100" * 5})
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table tray_stitch -->\nold\n<!-- end tray_stitch -->\nafter\n")
    written = write_report(tmp_path, results=tmp_path / "results", page=page)
    text = page.read_text()
    assert text.startswith("before\n<!-- table tray_stitch -->\n| | instance grasping |")
    assert text.endswith("<!-- end tray_stitch -->\nafter\n")
    assert "old" not in text
    assert "| acting by CEM | 75 [" in text
    assert "| by CEM, without chaining | 25 [" in text
    assert "*acting by CEM - by CEM, without chaining* | +50 [" in text
    assert [path.name for path in written] == ["tray_stitch.json", "tray_stitch.png", "page.md"]
    row = json.loads(written[0].read_text())["rows"]["acting by CEM"]
    assert row["tasks"][TASK]["episodes"] == ["1101" * 5] * 3


def test_downstream_studies_have_a_line_for_each_number_of_episodes(tmp_path: Path) -> None:
    def row(arm: str, episodes: int, rate: float | None) -> dict[str, Any]:
        return {"arm": arm, "episodes": episodes, "seeds": 3, "rate": rate, "interval": [0.0, 0.5]}

    rows = [row("scratch", 50, 0.02), row("pretrained", 50, 0.2), row("scratch", 25, 0.0), row("pretrained", 25, None)]
    estimate = {"mean": 0.18, "interval": [0.05, 0.31], "p": 0.01}
    content = {"success": rows, "differences": [{"arm": "pretrained", "episodes": 50, "method": estimate}]}
    folder = tmp_path / "downstream_banana" / "comparison"
    folder.mkdir(parents=True)
    (folder / "comparison.json").write_text(json.dumps(content))
    page = tmp_path / "page.md"
    page.write_text("<!-- table downstream -->\n<!-- end downstream -->\n")
    written = write_report(tmp_path, results=tmp_path / "results", page=page)
    assert [path.name for path in written] == ["downstream.json", "page.md"]
    assert page.read_text().splitlines()[1:-1] == [
        "| task | labelled episodes | seeds | scratch | pretrained | *pretrained - scratch* |",
        "|---|---|---|---|---|---|",
        "| grasp banana | 25 | 3 | 0 [0, 50] |  |  |",
        "| grasp banana | 50 | 3 | 2 [0, 50] | 20 [0, 50] | +18 [+5, +31] |",
    ]


def test_evaluations_under_other_conditions_have_a_table_of_their_own(tmp_path: Path) -> None:
    rates = {TASK: {"success_rate": 0.5, "n": 2, "interval": [0.1, 0.9]}}
    (tmp_path / "conditions").mkdir()
    for condition in STATE.conditions[:2]:
        (tmp_path / STATE.file(condition)).write_text(json.dumps({"tasks": rates}))
    page = tmp_path / "page.md"
    page.write_text("<!-- table generalisation_state -->\n<!-- end generalisation_state -->\n")
    written = write_report(tmp_path, results=tmp_path / "results", page=page)
    assert [path.name for path in written] == ["generalisation_state.json", "page.md"]
    assert "| as in the data, five objects | 50 [10, 90] |\n| 4 objects | 50 [10, 90] |" in page.read_text()
    assert json.loads(written[0].read_text())["4 objects"]["tasks"] == rates


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


def test_pictures_are_copied_from_the_runs(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "policy_panels.png").write_bytes(b"png")
    written = write_report(tmp_path, results=tmp_path / "results", page=tmp_path / "none.md")
    assert written == [tmp_path / "results" / "policy_panels.png"]
    assert written[0].read_bytes() == b"png"


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


def test_a_table_of_one_cell_has_no_difference(tmp_path: Path) -> None:
    write_sweep(tmp_path / "s", {(0.1, 0): "10"})
    found = cell(read_sweep(tmp_path / "s"), {})
    assert found is not None
    assert "- " not in markdown({"Actionable Models": found})


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


def test_a_row_that_was_not_run_here_stays_as_published(tmp_path: Path) -> None:
    seeds = episode_seeds(EVALUATION_SEED, TASK, 4)
    write_sweep(tmp_path / "both" / "tray_play_10k", {(0.0, 0): "10-1", (0.0, 1): "1110"}, seeds=seeds)
    write_sweep(tmp_path / "both" / "tray_play_10k_cloning", {(0.0, 0): "1000", (0.0, 1): "0010"}, seeds=seeds)
    page, results = tmp_path / "page.md", tmp_path / "results"
    page.write_text("<!-- table tray_play_10k --><!-- end tray_play_10k -->")
    write_report(tmp_path / "both", results=results, page=page)
    both, text = (results / "tray_play_10k.json").read_text(), page.read_text()

    (tmp_path / "here").mkdir()
    shutil.copytree(tmp_path / "both" / "tray_play_10k", tmp_path / "here" / "tray_play_10k")
    write_report(tmp_path / "here", results=results, page=page)
    assert ((results / "tray_play_10k.json").read_text(), page.read_text()) == (both, text)


def test_of_a_row_run_here_and_published_the_one_with_more_seeds_stays(tmp_path: Path) -> None:
    seeds = episode_seeds(EVALUATION_SEED, TASK, 4)
    write_sweep(tmp_path / "long" / "tray_play_10k", {(0.0, 0): "1111", (0.0, 1): "1111"}, seeds=seeds)
    write_sweep(tmp_path / "short" / "tray_play_10k", {(0.0, 0): "0000"}, seeds=seeds)
    page, results = tmp_path / "page.md", tmp_path / "results"
    other = tmp_path / "short" / "tray_play_10k" / "results.json"
    other.write_text(other.read_text().replace('"abc"', '"def"'))
    for runs in ("long", "short"):
        write_report(tmp_path / runs, results=results, page=page)
    content = json.loads((results / "tray_play_10k.json").read_text())
    assert content["sweeps"]["tray_play_10k"]["git_commit"] == "abc"
    (row,) = content["rows"].values()
    assert (row["seeds"], row["tasks"][TASK]["episodes"]) == ([0, 1], ["1111", "1111"])


def write_evaluation(
    path: Path, outcomes: str, *, seed: int = EVALUATION_SEED, acting: str | None = None, max_steps: int | None = None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"seed": seed, "max_steps": max_steps, "acting": acting, "tasks": {TASK: {"outcomes": outcomes}}}
    path.write_text(json.dumps(content))


def test_image_policies_are_compared_by_seed_and_start_and_stay_as_published(tmp_path: Path) -> None:
    ours, by_cem, _, _, cloning, _ = IMAGE_ROWS
    for row, outcomes in ((ours, "1111" * 10), (by_cem, "1100" * 10), (cloning, "1000" * 10)):
        for seed in (0, 2) if row is cloning else (0, 1):
            write_evaluation(tmp_path / "a" / row.evaluation(seed), outcomes, acting=row.acting)
            log = tmp_path / "a" / row.folder(seed) / "log.jsonl"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.with_name("manifest.json").touch()
            log.write_text(f'{{"update": 1, "seconds": 1}}\n{{"update": {100 + seed}, "seconds": 90.0}}\n')
    page, results = tmp_path / "page.md", tmp_path / "results"
    page.write_text("<!-- table tray_play_images --><!-- end tray_play_images -->")
    write_report(tmp_path / "a", results=results, page=page)
    text = page.read_text()
    assert re.search(r"\| Actionable Models \| 100 \[.*\| 2 \| 40 \| 100 \| 1.5 min \|", text)
    assert "| *Actionable Models - acting by CEM* | +50 [" in text
    assert "| *Actionable Models - behaviour cloning (GCBC)* | +75 [" in text  # over seed 0, which both have

    shutil.copytree(tmp_path / "a" / ours.folder(0), tmp_path / "b" / ours.folder(0))
    write_evaluation(tmp_path / "b" / ours.evaluation(0), "0000" * 10)  # fewer seeds than published
    write_report(tmp_path / "b", results=results, page=page)
    assert page.read_text() == text
    assert (
        json.loads((results / "tray_play_images.json").read_text())["sweeps"]["actionable_models_cem"]["acting"]
        == "cem"
    )
    others: list[dict[str, Any]] = [{"seed": 1}, {"acting": "cem"}, {"max_steps": 60}]
    for other in others:
        write_evaluation(tmp_path / "a" / ours.evaluation(1), "1111" * 10, **other)
        with pytest.raises(ValueError, match="expected the same starts"):
            ours.cell(tmp_path / "a")
    write_evaluation(tmp_path / "a" / ours.evaluation(1), "1111")
    with pytest.raises(ValueError, match="expected the same starts"):
        ours.cell(tmp_path / "a")
    (tmp_path / "a" / ours.folder(1) / "manifest.json").unlink()  # its training was begun anew
    found = ours.cell(tmp_path / "a")
    assert found is not None and found.seeds == (0,)


def test_a_sweeps_networks_acting_otherwise_are_a_row_beside_it(tmp_path: Path) -> None:
    seeds = episode_seeds(EVALUATION_SEED, TASK, 4)
    write_sweep(tmp_path / "tray_stitch_likely", {(0.7, 0): "1111", (0.7, 1): "1110"}, seeds=seeds)
    page, results = tmp_path / "page.md", tmp_path / "results"
    page.write_text("<!-- table tray_stitch --><!-- end tray_stitch -->")
    write_report(tmp_path, results=results, page=page)
    assert "without Q" not in page.read_text()
    (row,) = [row for row in SWEEP_ROWS if row.key == "tray_stitch_likely_cloned"]
    write_evaluation(tmp_path / row.evaluation(1), "1000", acting="cloned")
    write_report(tmp_path, results=results, page=page)
    assert "| acting by the cloning head, without Q | 25 [" in page.read_text()
    assert "*Actionable Models, linked goals - acting by the cloning head, without Q* | +50 [" in page.read_text()
    assert json.loads((results / "tray_stitch.json").read_text())["sweeps"][row.key]["acting"] == "cloned"


def test_methods_are_told_apart_by_colour_and_cloning_by_its_family() -> None:
    labels = [row.label for table in TABLES for row in table.rows if table.name == "tray_stitch"]
    colors = dict(zip(labels, bar_colors(labels), strict=True))
    assert len(set(colors.values())) == len(labels) == 7
    (auxiliary,) = bar_colors(["with the auxiliary cloning loss"])
    assert auxiliary not in {color for label, color in colors.items() if label.startswith("behaviour cloning")}
