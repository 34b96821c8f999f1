"""Successive halving by hand: which trials stop, and that a study that goes on finds its rungs as they were."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from am_ray.study_settings import SchedulerSettings
from am_ray.trials import run_trials
from am_ray.trials.asha import RememberingAsha
from am_ray.types import SettingsError
from tests.trials.conftest import settings_for, trial_for

METRIC = "eval/success_rate"
NAMES = ("a", "b", "c", "d")


@dataclass
class TuneTrial:
    """What Tune hands to a scheduler: its own id, and our index."""

    index: int
    trial_id: str
    config: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.config = {"index": self.index}


def asha(histories: Any = None, *, mode: str = "max", **settings: Any) -> RememberingAsha:
    options = {"name": "asha", "grace_updates": 100, "reduction_factor": 2.0} | settings
    return RememberingAsha(
        NAMES, SchedulerSettings(**options), updates=400, metric=METRIC, mode=mode, histories=histories or {}
    )


def tell(scheduler: RememberingAsha, name: str, update: int, value: float, prefix: str = "x") -> str:
    trial = TuneTrial(NAMES.index(name), f"{prefix}_{name}")
    scheduler.on_trial_add(None, trial)
    return scheduler.on_trial_result(None, trial, {"update": update, METRIC: value})


def test_worse_trials_stop_at_the_rungs() -> None:
    scheduler = asha()
    # Rungs at 100, 200, 400. The first one at a rung has nobody to be compared with.
    assert tell(scheduler, "a", 100, 0.5) == "CONTINUE"
    assert tell(scheduler, "b", 100, 0.6) == "CONTINUE"
    # The upper half of {0.5, 0.6} begins at 0.55.
    assert tell(scheduler, "c", 100, 0.54) == "STOP"
    assert tell(scheduler, "d", 100, 0.56) == "CONTINUE"
    assert scheduler.rungs[100] == {"a": 0.5, "b": 0.6, "c": 0.54, "d": 0.56}
    assert tell(scheduler, "a", 90, 0.0) == "CONTINUE"  # before the first rung nothing is decided
    assert tell(scheduler, "b", 200, 0.9) == "CONTINUE"
    assert tell(scheduler, "a", 200, 0.8) == "STOP"
    assert tell(scheduler, "b", 400, 0.1) == "STOP"  # done


def test_less_is_better_where_asked() -> None:
    scheduler = asha(mode="min")
    assert tell(scheduler, "a", 100, 0.5) == "CONTINUE"
    assert tell(scheduler, "b", 100, 0.6) == "STOP"
    assert tell(scheduler, "c", 100, 0.4) == "CONTINUE"


@pytest.mark.parametrize(
    ("change", "rungs"),
    [
        ({}, [100, 200, 400]),
        ({"grace_updates": 200}, [200, 400]),
        ({"reduction_factor": 4.0}, [100, 400]),
        ({"reduction_factor": 20.0}, [100]),
    ],
)
def test_settings_place_the_rungs(change: dict[str, Any], rungs: list[int]) -> None:
    assert sorted(asha(**change).rungs) == rungs


def test_rungs_survive_a_restart_though_tune_gives_new_ids() -> None:
    before = asha()
    history = [("a", 100, 0.5), ("b", 100, 0.6), ("b", 200, 0.9), ("c", 100, 0.58)]
    for name, update, value in history:
        tell(before, name, update, value)
    by_name = {name: [(u, v) for n, u, v in history if n == name] for name in NAMES}
    after = asha(by_name)
    assert after.rungs == before.rungs
    # A trial that was past a rung is not judged there again, by whatever id Tune knows it now.
    assert tell(after, "a", 100, 0.5, prefix="new") == "CONTINUE"
    assert after.rungs == before.rungs
    # What comes next is judged as it would have been.
    for scheduler in (before, after):
        assert tell(scheduler, "d", 100, 0.57, prefix="new") == "STOP"
        assert tell(scheduler, "c", 200, 0.89, prefix="new") == "STOP"


def test_asha_needs_something_to_judge_by(tmp_path: Path) -> None:
    settings = settings_for("data", updates=20)
    scheduler = SchedulerSettings(name="asha", grace_updates=10)
    with pytest.raises(SettingsError, match=r"evaluation\.every is 0"):
        run_trials([trial_for("a", settings)], folder=tmp_path, scheduler=scheduler, tracked=False)
    late = SchedulerSettings(name="asha", grace_updates=21)
    with pytest.raises(SettingsError, match=r"grace_updates: got 21; expected at most the 20 updates"):
        run_trials([trial_for("a", settings, every=5)], folder=tmp_path, scheduler=late, tracked=False)


@pytest.mark.slow
def test_a_worse_trial_is_stopped_in_tune_and_stays_so(points: str, tmp_path: Path, local_ray: None) -> None:
    scheduler = SchedulerSettings(name="asha", grace_updates=10, reduction_factor=2.0)
    # Judged by a metric that is known beforehand.
    trials = [
        trial_for("learns", settings_for(points, learning_rate=1e-2, updates=40), every=10),
        trial_for("stands_still", settings_for(points, learning_rate=0.0, updates=40), every=10),
    ]
    options: dict[str, Any] = {"folder": tmp_path, "tracked": False, "max_concurrent": 1, "scheduler": scheduler}
    found = run_trials(trials, metric="train/learning_rate", **options)
    assert [(result.status, result.update) for result in found] == [("completed", 40), ("stopped", 10)]
    assert found[1].checkpoint == str(tmp_path / "trials" / "stands_still" / "checkpoint-000000010")
    assert found[1].metrics["train/learning_rate"] == 0.0
    assert found[1].evaluation is not None
    assert run_trials(trials, metric="train/learning_rate", **options) == found
