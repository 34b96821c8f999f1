"""Learning curves of the study: points from evaluations on the way, the end from the sweep, pairs by number of updates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from am_ray.evaluation.tasks import episode_seeds
from am_ray.settings_reader import read_settings
from am_ray.strict_yaml import load_yaml
from am_ray.study_settings import StudySettings
from study.curves import CURVE_GOALS, CURVE_UPDATES, CURVES_TABLE, CurveRow, curve_rows, curves_of
from study.plan import EVALUATION_SEED, Folders, state_steps
from study.report import write_report
from study.tables import TABLES, curve_points
from tests.study.runs import TASK, write_evaluation, write_sweep

ROOT = Path(__file__).parents[2]
ROWS = [row for table in TABLES for row in table.rows if isinstance(row, CurveRow)]
OURS, CLONING = "tray_play_10k_recipe", "tray_play_10k_cloning"


@pytest.mark.parametrize("sweep", sorted({row.sweep for row in ROWS}))
def test_the_runs_keep_the_checkpoints_that_a_curve_shows(sweep: str) -> None:
    path = ROOT / "tune_configs" / "study" / f"{sweep}.yaml"
    training = read_settings(StudySettings, load_yaml(path), str(path)).training
    assert all(updates % training.checkpoint_every == 0 for updates in CURVE_UPDATES)
    assert training.keep_checkpoints >= training.updates // training.checkpoint_every
    assert max(row.updates for row in ROWS if row.sweep == sweep) == training.updates


def test_every_point_on_the_way_is_evaluated_by_a_step() -> None:
    commands = [step.command for step in state_steps(Folders(Path("data"), Path("runs")))]
    for sweep in (OURS, CLONING):
        points = curve_points(sweep)
        assert [row.updates for row in points] == list(CURVE_UPDATES)
        for row in points:
            for seed in row.seeds:
                checkpoint = f"runs/{sweep}/trials/seed={seed}/checkpoint-{row.updates:09d}"
                (command,) = [command for command in commands if command[2] == checkpoint]
                assert command[command.index("--episodes") + 1] == str(CURVE_GOALS)
                assert command[-1] == f"runs/{row.evaluation(seed)}"


def write_runs(runs: Path) -> None:
    """Two trainings of 30,000 updates, and one that no curve shows: 130 goals at the end, of which the last 30 fail; two points of one and one of the other."""
    seeds = episode_seeds(EVALUATION_SEED, TASK, CURVE_GOALS + 30)
    for sweep in (OURS, CLONING):
        trained = {(0.0, seed): "1" * CURVE_GOALS + "0" * 30 for seed in (0, 1)}
        more = {(0.0, 5): "0" * (CURVE_GOALS + 30)}  # a seed that the curve is not of
        write_sweep(runs / sweep, trained | more, seeds=seeds)
        results: dict[str, Any] = json.loads((runs / sweep / "results.json").read_text())
        for trial in results["trials"]:
            trial["update"] = 30_000
        (runs / sweep / "results.json").write_text(json.dumps(results))
    for sweep, updates, outcomes in ((OURS, 5_000, "1000"), (OURS, 20_000, "1110"), (CLONING, 20_000, "1000")):
        for seed in (0, 1):
            row = CurveRow("a curve", sweep, updates)
            write_evaluation(runs / row.evaluation(seed), outcomes * (CURVE_GOALS // 4))


def test_a_curve_ends_with_what_its_sweep_says_of_the_same_goals(tmp_path: Path) -> None:
    write_runs(tmp_path)
    rows = curve_rows(("ours", OURS), end=30_000)
    cells = {row.label: found for row in rows if (found := row.cell(tmp_path)) is not None}
    points = curves_of(cells)["ours"]
    assert {updates: found.rate(TASK) for updates, found in points.items()} == {5_000: 0.25, 20_000: 0.75, 30_000: 1.0}
    assert points[5_000].starts == points[30_000].starts
    assert points[20_000].minutes == round(2.0 * 20 / 30, 2)


def test_the_report_has_the_points_and_the_differences_of_those_that_both_have(tmp_path: Path) -> None:
    write_runs(tmp_path)
    page, results = tmp_path / "page.md", tmp_path / "results"
    page.write_text(f"<!-- table {CURVES_TABLE} --><!-- end {CURVES_TABLE} -->")
    write_report(tmp_path, results=results, pages=[page])
    lines = page.read_text().splitlines()
    starts = [line.split(" [")[0] for line in lines if line.startswith("|")][2:]
    assert starts == [
        "| 5,000 | Actionable Models | 25",
        "| 20,000 | Actionable Models | 75",
        "| 20,000 | behaviour cloning (GCBC) | 25",
        "| | *Actionable Models - behaviour cloning (GCBC)* | +50",
        "| 30,000 | Actionable Models | 100",
        "| 30,000 | behaviour cloning (GCBC) | 100",
        "| | *Actionable Models - behaviour cloning (GCBC)* | 0",
    ]
    assert (results / f"{CURVES_TABLE}.png").stat().st_size > 10_000
    again = page.read_text()
    write_report(tmp_path, results=results, pages=[page])  # what is published reads as it was written
    assert page.read_text() == again
