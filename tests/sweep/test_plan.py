"""Plans: every trial is checked before anything starts, and a sweep that goes on is the sweep that was begun."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from am_ray.study_settings import EvaluationSettings, StudySettings, SweepSettings
from am_ray.sweep.plan import SweepPlan, begin, plan_sweep
from am_ray.types import CheckpointError, SettingsError

RATIO, RATE = "algorithm.relabel.chaining_ratio", "algorithm.optimization.learning_rate"


def planned(search: dict[str, Any], *, dataset: str = "data", evaluation: Any = None, **sweep: Any) -> SweepPlan:
    settings = StudySettings(
        dataset=dataset, evaluation=evaluation or EvaluationSettings(), sweep=SweepSettings(search=search, **sweep)
    )
    return plan_sweep(settings, "file.yaml")


def test_trials_have_their_values_and_speaking_names() -> None:
    plan = planned({RATIO: {"grid_search": ["0.25"]}, "seed": {"grid_search": [7]}})
    (trial,) = plan.trials
    assert trial.name == "chaining_ratio=0.25,seed=7"
    assert (trial.settings.algorithm.relabel.chaining_ratio, trial.settings.seed) == (0.25, 7)
    assert trial.settings.dataset == "data"
    assert dict(trial.tags) == {"chaining_ratio": "0.25", "seed": "7"}
    assert plan.values[trial.name] == {RATIO: 0.25, "seed": 7}
    assert plan.factors == (RATIO,)
    sizes = planned({"algorithm.model.image_channels": {"grid_search": [[8, 8], [16, 32]]}})
    assert [trial.name for trial in sizes.trials] == ["image_channels=8x8", "image_channels=16x32"]
    assert sizes.trials[1].settings.algorithm.model.image_channels == (16, 32)
    drawn = planned({RATE: {"loguniform": [1e-5, 1e-2]}}, num_samples=2)
    assert [trial.name[:18] for trial in drawn.trials] == ["000,learning_rate=", "001,learning_rate="]
    shared = planned(
        {"algorithm.cem.min_std": {"grid_search": [0.1]}, "algorithm.cloning.min_std": {"grid_search": [0.2]}}
    )
    assert shared.trials[0].name == "algorithm.cem.min_std=0.1,algorithm.cloning.min_std=0.2"


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({RATIO: {"grid_search": [0.5, 1.5]}}, r"trial chaining_ratio=1\.5.*RelabelSettings\.chaining_ratio: got 1\.5"),
        ({"seed": {"grid_search": [0, -1]}}, r"trial seed=-1.*seed: got -1"),
        ({"ingest.mode": {"grid_search": ["stream"]}}, r"ingest\.mode: got 'stream'.*Did you mean streaming"),
        ({"algorithm.model.layer_norm": {"grid_search": [1]}}, "expected true or false"),
        ({"training.updates": {"uniform": [1, 2]}}, r"trial updates=.*expected a whole number"),
    ],
)
def test_a_trial_that_cannot_be_names_itself_and_the_setting(search: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        planned(search)


def test_a_sweep_goes_on_as_it_was_begun(tmp_path: Path) -> None:
    search = {RATIO: {"grid_search": [0.0, 0.5]}, "seed": {"grid_search": [0]}}
    plan = planned(search)
    folder = tmp_path / "sweep"
    with pytest.raises(CheckpointError, match="no sweep to resume"):
        begin(plan, folder, "must")
    assert not folder.exists()
    begin(plan, folder, "never")
    begin(plan, folder, "must")
    with pytest.raises(SettingsError, match="already holds a sweep"):
        begin(plan, folder, "never")
    changes: list[tuple[SweepPlan, str]] = [
        (planned(search, metric="critic/td_loss"), r"begun with sweep\.metric = 'eval/success_rate'"),
        (planned(search, mode="min"), r"sweep\.mode"),
        (planned(search, evaluation=EvaluationSettings(episodes=3)), r"evaluation\.episodes = 64, now 3"),
        (planned({RATIO: {"grid_search": [0.5]}, "seed": {"grid_search": [0]}}), r"lacks 'chaining_ratio=0,seed=0'"),
        (planned({RATIO: {"grid_search": [0.0, 0.5]}}), "lacks"),
        (
            plan_sweep(replace(plan.settings, seed=3, sweep=replace(plan.settings.sweep)), "f"),
            r"begun with seed = 0, now 3",
        ),
    ]
    for changed, message in changes:
        with pytest.raises(SettingsError, match=message):
            begin(changed, folder, "auto")
    # More seeds and values may be added, and then belong to it; the data may move, and more may run at once.
    more = {RATIO: {"grid_search": [0.0, 0.1, 0.5]}, "seed": {"grid_search": [0, 1]}}
    begin(planned(more, dataset="moved", max_concurrent_trials=3, max_failures=0), folder, "auto")
    with pytest.raises(SettingsError, match="begun with 6 trials"):
        begin(plan, folder, "auto")


def test_draws_can_be_added(tmp_path: Path) -> None:
    begin(planned({RATE: {"loguniform": [1e-5, 1e-2]}}, num_samples=2), tmp_path, "auto")
    begin(planned({RATE: {"loguniform": [1e-5, 1e-2]}}, num_samples=4), tmp_path, "auto")
    with pytest.raises(SettingsError, match="lacks"):
        begin(planned({RATE: {"loguniform": [1e-5, 1e-3]}}, num_samples=4), tmp_path, "auto")
    with pytest.raises(SettingsError, match="search_seed = 0, now 1"):
        begin(planned({RATE: {"loguniform": [1e-5, 1e-2]}}, num_samples=4, search_seed=1), tmp_path, "auto")
