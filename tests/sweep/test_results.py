"""Tables and files of a sweep, against means and intervals worked out by hand."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from am_ray.cli.report import table_text
from am_ray.evaluation import wilson_interval
from am_ray.study_settings import StudySettings, SweepSettings
from am_ray.sweep.figures import write_figure
from am_ray.sweep.plan import SweepPlan, plan_sweep
from am_ray.sweep.results import best_trial, groups, table, to_csv, to_json
from am_ray.trials import TrialResult

RATIO, NEGATIVES, RATE = (
    "algorithm.relabel.chaining_ratio",
    "algorithm.critic.negative_ratio",
    "algorithm.optimization.learning_rate",
)


def planned(search: dict[str, Any], **sweep: Any) -> SweepPlan:
    return plan_sweep(StudySettings(dataset="data", sweep=SweepSettings(search=search, **sweep)), "f")


def result(name: str, successes: int, n: int = 10, *, status: Any = "completed", **metrics: float) -> TrialResult:
    episodes = [{"seed": i, "success": i < successes, "success_any_step": True, "error": None} for i in range(n)]
    lost = {"seed": n, "success": False, "success_any_step": False, "error": "hang"}
    record = {"env": {"id": "E", "kwargs": {}}, "seed": 1, "episodes": n, "max_steps": None}
    rates = {"eval/a/success_rate": successes / n, "eval/success_rate": successes / n}
    return TrialResult(
        name, status, 100, 1.5, rates | metrics, record | {"tasks": {"a": [*episodes, lost]}}, f"runs/{name}/c", None
    )


FAILED = TrialResult("chaining_ratio=0.5,seed=1", "failed", 20, 0.1, {"critic/td_loss": 1.0}, error="ValueError: no")


@pytest.fixture
def plan() -> SweepPlan:
    return planned({RATIO: {"grid_search": [0.0, 0.5]}, "seed": {"grid_search": [0, 1]}})


@pytest.fixture
def results() -> list[TrialResult]:
    return [
        result("chaining_ratio=0,seed=0", 2, loss=3.0),
        result("chaining_ratio=0.5,seed=0", 7, loss=4.0),
        result("chaining_ratio=0,seed=1", 6, loss=5.0),
        FAILED,
    ]


def test_seeds_are_averaged_and_settings_ranked(plan: SweepPlan, results: list[TrialResult]) -> None:
    ranked = groups(plan, results)
    assert [(dict(group.values), group.mean) for group in ranked] == [({RATIO: 0.5}, 0.7), ({RATIO: 0.0}, 0.4)]
    assert [(len(group.results), len(group.failed)) for group in ranked] == [(1, 1), (2, 0)]
    best = best_trial(plan, results)
    assert best is not None
    assert best.name == "chaining_ratio=0.5,seed=0"
    lowest = planned(dict(plan.settings.sweep.search), metric="loss", mode="min")
    assert groups(lowest, results)[0].values == {RATIO: 0.0}
    best = best_trial(lowest, results)
    assert best is not None
    assert best.metrics["loss"] == 3.0
    # A trial that was stopped early is not the best one, and neither is one that failed.
    stopped = result("chaining_ratio=0.5,seed=0", 10, status="stopped")
    best = best_trial(plan, [stopped, FAILED])
    assert best is None


def test_what_a_failed_trial_measured_before_does_not_count(
    plan: SweepPlan, results: list[TrialResult], tmp_path: Path
) -> None:
    evaluated = result(FAILED.name, 0, status="failed")  # on the way, before it failed
    best = groups(plan, [*results[:3], evaluated])[0]
    assert (dict(best.values), best.mean, [r.name for r in best.results]) == (
        {RATIO: 0.5},
        0.7,
        ["chaining_ratio=0.5,seed=0"],
    )
    entry = to_json(plan, [*results[:3], evaluated], name="x")["groups"][0]
    assert (entry["mean"], entry["n"], entry["failed"]) == (0.7, 10, ["chaining_ratio=0.5,seed=1"])
    lines = table_text(table(plan, [*results[:3], evaluated], title="t")).splitlines()
    assert "70 [40, 89]" in next(line for line in lines if "1 failed" in line)
    # The picture is the same whatever it measured, and says that one failed.
    for name, found in {"a": [*results[:3], evaluated], "b": results, "c": results[:3]}.items():
        assert write_figure(plan, found, tmp_path / f"{name}.png")
    assert (shown(tmp_path / "a.png") == shown(tmp_path / "b.png")).all()
    assert (shown(tmp_path / "a.png") != shown(tmp_path / "c.png")).any()
    # A setting of which all failed stays in the table.
    (alone,) = groups(plan, [FAILED])
    assert (alone.mean, alone.results) == (None, ())
    assert "1 failed" in table_text(table(plan, [FAILED], title="t"))


def test_the_table_shows_means_with_intervals_over_episodes(plan: SweepPlan, results: list[TrialResult]) -> None:
    lines = table_text(table(plan, results, title="t")).splitlines()
    rows = [line for line in lines if line.startswith("│")]
    low, high = (100 * bound for bound in wilson_interval(8, 20))
    assert [cell.strip() for cell in rows[1].strip("│").split("│")] == [
        "0", "2", "20", "100", f"40 [{low:.0f}, {high:.0f}]", ""
    ]  # fmt: skip
    # The seed that failed has no episodes, and says so.
    assert [cell.strip() for cell in rows[0].strip("│").split("│")] == [
        "0.5", "1", "10", "100", "70 [40, 89]", "1 failed"
    ]  # fmt: skip


def test_files_hold_every_trial(plan: SweepPlan, results: list[TrialResult]) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(plan, results))))
    assert [row["status"] for row in rows] == ["completed", "completed", "completed", "failed"]
    assert [row["eval/success_rate"] for row in rows] == ["0.2", "0.7", "0.6", ""]
    assert (rows[0][RATIO], rows[0]["seed"], rows[0]["episodes"], rows[0]["loss"]) == ("0", "0", "10", "3.0")
    assert (rows[0]["low"], rows[3]["error"]) == (str(round(wilson_interval(2, 10)[0], 4)), "ValueError: no")
    content = to_json(plan, results, name="x")
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert (content["kind"], content["best"], content["trials_planned"]) == ("sweep", "chaining_ratio=0.5,seed=0", 4)
    assert content["trials"][1]["values"] == {RATIO: 0.5, "seed": 0}
    assert content["groups"][1]["successes"] == 8
    assert content["groups"][1]["interval"] == list(wilson_interval(8, 20))


def shown(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_pictures_for_one_and_for_two_settings(plan: SweepPlan, results: list[TrialResult], tmp_path: Path) -> None:
    assert write_figure(plan, results, tmp_path / "line.png")
    assert write_figure(plan, results[:1], tmp_path / "dot.png")
    assert (shown(tmp_path / "line.png") != shown(tmp_path / "dot.png")).any()
    two = planned({RATIO: {"grid_search": [0.0, 0.5]}, NEGATIVES: {"grid_search": [0.0, 1.0]}})
    low = [result(trial.name, 0) for trial in two.trials]
    high = [result(trial.name, 10) for trial in two.trials]
    assert write_figure(two, low, tmp_path / "low.png")
    assert write_figure(two, high, tmp_path / "high.png")
    # The colours of 0 % and 100 %: dark violet, and yellow.
    for name, colour in (("low", (68, 1, 84)), ("high", (253, 231, 36))):
        pixels = shown(tmp_path / f"{name}.png")
        assert (np.abs(pixels - colour).max(axis=2) <= 2).mean() > 0.3
    assert not write_figure(plan, [FAILED], tmp_path / "none.png")
    three = planned({RATIO: {"grid_search": [0.0]}, NEGATIVES: {"grid_search": [0.0]}, RATE: {"grid_search": [1e-3]}})
    assert not write_figure(three, [result(three.trials[0].name, 1)], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_a_drawn_setting_has_a_picture_and_a_place_on_a_logarithmic_axis(tmp_path: Path) -> None:
    drawn = planned({RATE: {"loguniform": [1e-5, 1e-1]}}, num_samples=3)
    found = [result(trial.name, index) for index, trial in enumerate(drawn.trials)]
    assert write_figure(drawn, found, tmp_path / "drawn.png")
    named = planned({"algorithm.critic.loss": {"grid_search": ["cross_entropy", "squared_error"]}}, metric="loss")
    assert write_figure(named, [result(t.name, 1, loss=2.0) for t in named.trials], tmp_path / "named.png")
