"""A search in YAML, against trials counted by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from am_ray.study_settings import SweepSettings
from am_ray.sweep.search import expand, setting_names
from am_ray.types import SettingsError

RATIO, NEGATIVES, RATE = (
    "algorithm.relabel.chaining_ratio",
    "algorithm.critic.negative_ratio",
    "algorithm.optimization.learning_rate",
)


def expanded(search: dict[str, Any], **settings: Any) -> list[dict[str, Any]]:
    return expand(SweepSettings(search=search, **settings), "file.yaml")


def test_grids_are_multiplied() -> None:
    found = expanded({RATIO: {"grid_search": [0.0, 0.5]}, "seed": {"grid_search": [0, 1, 2]}})
    assert sorted((entry[RATIO], entry["seed"]) for entry in found) == [(r, s) for r in (0.0, 0.5) for s in (0, 1, 2)]


def test_draws_repeat_the_grid_and_depend_on_the_seed_alone() -> None:
    search = {RATE: {"loguniform": ["1e-5", "1e-1"]}, RATIO: {"grid_search": [0.0, 0.5]}}
    found = expanded(search, num_samples=20)
    assert [sum(entry[RATIO] == value for entry in found) for value in (0.0, 0.5)] == [20, 20]
    rates = [entry[RATE] for entry in found]
    assert len(set(rates)) == 40
    assert all(1e-5 <= rate < 1e-1 for rate in rates)
    # Uniform in the logarithm: half of the draws lie below 1e-3, where a uniform draw has 1 %.
    assert 10 <= sum(rate < 1e-3 for rate in rates) <= 30
    assert expanded(search, num_samples=20) == found
    assert expanded(search, num_samples=30)[:40] == found
    assert expanded(search, num_samples=20, search_seed=1) != found


def test_each_word_draws_what_ray_tune_says() -> None:
    whole = expanded({"seed": {"randint": [3, 6]}}, num_samples=60)
    assert sorted(entry["seed"] for entry in whole) == [3, 4, 5]  # 6 is left out; the same draw again is no new trial
    assert all(type(entry["seed"]) is int for entry in whole)
    chosen = expanded({"algorithm.critic.loss": {"choice": ["cross_entropy", "squared_error"]}}, num_samples=30)
    assert {entry["algorithm.critic.loss"] for entry in chosen} == {"cross_entropy", "squared_error"}
    drawn = [entry[RATIO] for entry in expanded({RATIO: {"uniform": [0, 1]}}, num_samples=200)]
    assert math.isclose(sum(drawn) / 200, 0.5, abs_tol=0.1)
    assert 0.0 <= min(drawn) < 0.05
    assert 0.95 < max(drawn) < 1.0


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({}, "sweep.search is empty"),
        (
            {"algorithm.relabel.chaning_ratio": {"grid_search": [0]}},
            r"Did you mean algorithm\.relabel\.chaining_ratio\?",
        ),
        ({"chaining_ratio": {"grid_search": [0]}}, r"Did you mean algorithm\.relabel\.chaining_ratio\?"),
        ({"algorithm.relabel": {"grid_search": [0]}}, "holds settings and is none"),
        ({"evaluation.seed": {"grid_search": [0]}}, "unknown setting evaluation.seed"),
        ({RATIO: [0.0, 0.5]}, r"got \[0\.0, 0\.5\] \(a list\); expected one of grid_search"),
        ({RATIO: {"grid_serch": [0.0]}}, "Did you mean grid_search"),
        ({RATIO: {"grid_search": [0.0], "choice": [1.0]}}, "expected one of"),
        ({RATIO: {"grid_search": []}}, "expected a list of values"),
        ({RATIO: {"grid_search": 0.5}}, "expected a list of values"),
        ({RATIO: {"grid_search": [0.5, 0.0, 0.5]}}, "0.5 stands twice"),
        ({RATIO: {"grid_search": [{"eval": "1/0"}]}}, "no mappings"),
        ({RATIO: {"uniform": [0.5]}}, r"expected \[low, high\]"),
        ({RATIO: {"uniform": [0.5, 0.5]}}, "low < high"),
        ({RATIO: {"uniform": ["a", "b"]}}, "both numbers"),
        ({RATE: {"loguniform": [0, 1]}}, "low above 0"),
        ({"seed": {"randint": [0, 1.5]}}, "whole numbers"),
    ],
)
def test_bad_searches_are_refused(search: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        expanded(search)
    assert str(caught.value).startswith("file.yaml")


def test_a_grid_is_not_repeated_for_nothing() -> None:
    with pytest.raises(SettingsError, match="Search over 'seed' instead"):
        expanded({RATIO: {"grid_search": [0.0, 0.5]}}, num_samples=2)


def test_every_setting_of_a_run_can_be_searched() -> None:
    names = setting_names()
    assert {"seed", RATIO, NEGATIVES, RATE, "training.updates", "ingest.mode", "task.label"} <= set(names)
    assert not any(name.startswith(("sweep", "evaluation", "finetune")) for name in names)
