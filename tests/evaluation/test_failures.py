"""Faults injected into single episodes: they are counted apart, and the evaluation completes."""

from __future__ import annotations

import os
import signal
import time

import pytest
from policies import MakeTowards, Towards

from am_ray.evaluation import evaluate
from am_ray.evaluation.report import EvaluationReport
from am_ray.evaluation.runner import EpisodeTimeoutError, time_limit
from am_ray.evaluation.tasks import episode_seeds
from am_ray.types import EnvironmentContractError

ID = "point_world:PointWorld-v0"
SEEDS = episode_seeds(0, "default", 10)


def check_only_the_faulty_are_missing(report: EvaluationReport, faulty: list[int]) -> None:
    result = report.tasks["default"]
    assert (result.n, result.successes, result.infrastructure_failures) == (
        10 - len(faulty),
        10 - len(faulty),
        len(faulty),
    )
    assert [failure["seed"] for failure in report.to_json()["failures"]] == faulty


def test_an_exception_costs_one_episode() -> None:
    kwargs = {"faults": {"raise": [SEEDS[2], SEEDS[5]]}}
    report = evaluate(MakeTowards(), env_id=ID, env_kwargs=kwargs, episodes=10, baselines=False)
    check_only_the_faulty_are_missing(report, [SEEDS[2], SEEDS[5]])
    assert report.to_json()["failures"][0]["error"] == "RuntimeError: the simulator exploded"


def test_a_hang_costs_one_episode() -> None:
    kwargs = {"faults": {"hang": [SEEDS[3]]}}
    report = evaluate(MakeTowards(), env_id=ID, env_kwargs=kwargs, episodes=10, baselines=False, episode_timeout_s=0.5)
    check_only_the_faulty_are_missing(report, [SEEDS[3]])


def test_a_dead_or_hung_worker_costs_one_episode(local_ray: None) -> None:
    kwargs = {"faults": {"crash": [SEEDS[1]], "hang": [SEEDS[4]], "raise": [SEEDS[6]]}}
    report = evaluate(
        MakeTowards(), env_id=ID, env_kwargs=kwargs, episodes=10, workers=2, baselines=False, episode_timeout_s=6.0
    )
    check_only_the_faulty_are_missing(report, [SEEDS[1], SEEDS[4], SEEDS[6]])
    errors = [failure["error"] for failure in report.to_json()["failures"]]
    assert [error.split(":")[0].split(" ")[0] for error in errors] == ["crash", "hang", "RuntimeError"]


@pytest.mark.slow
def test_one_worker_of_its_own_survives_a_crash_and_a_hang_too(local_ray: None) -> None:
    kwargs = {"faults": {"crash": [SEEDS[1]], "hang": [SEEDS[4]]}}
    report = evaluate(
        MakeTowards(), env_id=ID, env_kwargs=kwargs, episodes=10, isolated=True, baselines=False, episode_timeout_s=6.0
    )
    check_only_the_faulty_are_missing(report, [SEEDS[1], SEEDS[4]])


def test_nothing_counts_when_everything_fails() -> None:
    kwargs = {"faults": {"raise": SEEDS[1:3]}}
    report = evaluate(MakeTowards(), env_id=ID, env_kwargs=kwargs, episodes=3, baselines=False)
    assert report.tasks["default"].to_json()["infrastructure_failures"] == 2
    assert report.tasks["default"].n == 1


def test_errors_of_ours_come_out_of_workers_as_they_are(local_ray: None) -> None:
    with pytest.raises(EnvironmentContractError, match="desired_goal"):
        evaluate(MakeTowards(), env_id=ID, env_kwargs={"form": "no_goal"}, workers=2)


def test_a_worker_that_dies_before_the_first_episode_is_a_clear_error(local_ray: None) -> None:
    with pytest.raises(EnvironmentContractError, match="--workers 1"):
        evaluate(die, env_id=ID, workers=2)


def die() -> Towards:
    os._exit(139)


def test_a_limit_gives_the_timer_back() -> None:
    """Other code may run a timer of its own: a test's time limit, for one."""
    rung: list[float] = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic()))
    began = time.monotonic()
    outer = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(EpisodeTimeoutError), time_limit(0.1):
            time.sleep(5)
        time.sleep(0.5)
        assert len(rung) == 1
        assert rung[0] - began == pytest.approx(0.3, abs=0.15)
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *outer)
