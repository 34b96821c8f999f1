"""Rates of policies of known quality; the same results however the work is spread."""

from __future__ import annotations

import json

import numpy as np
import pytest
from policies import MakeTowards, Still, Towards

from am_ray.evaluation import TaskSpec, evaluate
from am_ray.evaluation.runner import EpisodeJob, EpisodeRunner, RunnerSetup
from am_ray.evaluation.tasks import episode_seeds
from am_ray.models.policy import ActionValue
from am_ray.types import SettingsError

ID = "point_world:PointWorld-v0"


class Through(Towards):
    """Walks at full speed in the goal's first direction and never stops: it meets the goal, and leaves it."""

    def reseed(self, seed: int) -> None:
        self.direction: np.ndarray | None = None

    def evaluate(self, observation: object, goal: object) -> ActionValue:
        if self.direction is None:
            self.direction = np.asarray(goal) - np.asarray(observation)
        return ActionValue(0.9 * self.direction.astype(np.float32), np.asarray(0.5))


def test_a_perfect_and_a_useless_policy() -> None:
    perfect = evaluate(MakeTowards(), env_id=ID, episodes=10)
    assert perfect.tasks["default"].to_json() == {
        "success_rate": 1.0,
        "n": 10,
        "interval": [0.7225, 1.0],  # 10 / 13.8415
        "success_any_step": 1.0,
        "infrastructure_failures": 0,
        "outcomes": "1111111111",
    }
    assert perfect.oracle is not None
    assert perfect.oracle["default"].success_rate == 1.0
    assert perfect.random is not None
    assert perfect.random["default"].success_rate == 0.0
    assert evaluate(Still, env_id=ID, episodes=10).tasks["default"].successes == 0


def test_the_last_step_counts_and_any_step_is_told_beside_it() -> None:
    result = evaluate(Through, env_id=ID, episodes=8, baselines=False).tasks["default"]
    assert (result.successes, result.successes_any_step) == (0, 8)


def test_max_steps_ends_an_episode() -> None:
    # the goal is 1.0 away, so its reach of 0.1 begins after 0.9: eleven actions arrive, five cannot,
    # not even along the diagonal with 0.14 each
    rates = [evaluate(MakeTowards(), env_id=ID, episodes=5, max_steps=n).tasks["default"].success_rate for n in (5, 11)]
    assert rates == [0.0, 1.0]


def test_every_policy_meets_the_same_goals() -> None:
    report = evaluate(MakeTowards(), env_id=ID, episodes=6, seed=4)
    seeds = {
        name: [r.job.seed for r in report.results if r.job.policy == name] for name in ("ours", "random", "oracle")
    }
    assert seeds["ours"] == seeds["random"] == seeds["oracle"] == episode_seeds(4, "default", 6)


def test_reset_options_reach_the_environment() -> None:
    """East of the start the goal is at angle 0: a policy that only walks east reaches that task alone."""
    east = TaskSpec("east", {"angle": 0.0}), TaskSpec("west", {"angle": np.pi})
    report = evaluate(East, env_id=ID, tasks=east, episodes=4, baselines=False)
    assert {name: result.success_rate for name, result in report.tasks.items()} == {"east": 1.0, "west": 0.0}
    assert report.random is None


class East(Towards):
    def evaluate(self, observation: object, goal: object) -> ActionValue:
        return super().evaluate(observation, np.asarray(goal) * np.array([np.sign(np.asarray(goal)[0]), 1.0]))


def test_the_number_of_workers_changes_nothing(local_ray: None) -> None:
    """Noise of 0.9 makes some episodes fail, and which ones depends on every random number of an episode."""
    reports = [evaluate(MakeTowards(0.9), env_id=ID, episodes=20, workers=workers) for workers in (0, 1, 2)]
    outcomes = [[(r.success, r.success_any_step) for r in report.results] for report in reports]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert len(set(outcomes[0])) == 3
    assert reports[0].to_json() == reports[2].to_json()


def test_an_episode_does_not_depend_on_those_before_it() -> None:
    runner = EpisodeRunner(RunnerSetup(MakeTowards(0.9), ID))
    task = TaskSpec("default")
    jobs = [EpisodeJob(policy, task, i, i) for policy in ("ours", "random") for i in range(12)]
    forwards = {job.key: runner.run(job) for job in jobs}
    assert all(runner.run(job) == forwards[job.key] for job in reversed(jobs))


def test_the_seed_changes_the_goals() -> None:
    first, second = (evaluate(MakeTowards(0.9), env_id=ID, episodes=20, seed=seed, baselines=False) for seed in (0, 1))
    assert [r.success for r in first.results] != [r.success for r in second.results]


def test_the_report_is_plain_json() -> None:
    report = evaluate(MakeTowards(), env_id=ID, env_kwargs={"goal_distance": 0.5}, episodes=2, seed=7)
    value = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert value["seed"] == 7
    assert value["env"] == {"id": ID, "kwargs": {"goal_distance": 0.5}}
    assert value["checkpoint"] == "MakeTowards"
    assert value["failures"] == []
    assert set(value["random"]) == set(value["oracle"]) == {"default"}


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(SettingsError, match="seed: got -1; expected at least 0"):
        evaluate(MakeTowards(), env_id=ID, seed=-1)


def test_only_a_checkpoint_can_be_told_how_to_act() -> None:
    with pytest.raises(SettingsError, match="acting: got cem for a function that builds the policy"):
        evaluate(MakeTowards(), env_id=ID, acting="cem")


@pytest.mark.parametrize("wrong", [{"episodes": 0}, {"max_steps": 0}, {"panels_per_task": 0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(wrong))}: got 0; expected at least 1"):
        evaluate(MakeTowards(), env_id=ID, **wrong)  # type: ignore[arg-type]
