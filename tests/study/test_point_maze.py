"""The second world: what the play in PointMaze is, and that evaluation finds that world and understands it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import am_ray
from am_ray.data.reader import TrajectoryDataset
from am_ray.data.scale import data_statistics
from am_ray.evaluation import evaluate
from am_ray.evaluation.tasks import FIRST_EVALUATION_SEED, episode_seeds
from am_ray.models.checkpoint import Checkpoint, TrainingState, save_checkpoint
from am_ray.models.policy import build_model
from am_ray.settings import AlgorithmSettings
from study import maze_distances
from study.outcomes import Cell
from study.point_maze import ENV_ID, Navigator, collect_point_maze, reach

EPISODES, STEPS = 120, 12
GOAL_RADIUS_M = 0.45  # the package's


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> TrajectoryDataset:
    path = tmp_path_factory.mktemp("data") / "point_maze"
    collect_point_maze(path, episodes=EPISODES, steps=STEPS, seed=3)
    return am_ray.read_dataset(path)


@pytest.fixture(scope="module")
def env() -> gymnasium.Env[Any, Any]:
    return gymnasium.make(ENV_ID, disable_env_checker=True)


def test_the_goal_is_the_position_and_no_reward_is_told(dataset: TrajectoryDataset) -> None:
    block = dataset.read_all()
    assert dataset.spec.goal_shapes == {"state": (2,)}
    assert dataset.info.env == {"id": ENV_ID, "kwargs": {}}
    assert set(block.num_transitions) == {STEPS}
    assert not block.rewards.any()
    assert not block.successes.any()
    assert {"aimless", "navigate"} == {trajectory.metadata["behaviour"] for trajectory in dataset}


def test_recorded_actions_lead_through_the_recorded_states(
    dataset: TrajectoryDataset, env: gymnasium.Env[Any, Any]
) -> None:
    for trajectory in dataset[:20]:
        assert trajectory.metadata["seed"] < FIRST_EVALUATION_SEED
        observation, _ = env.reset(seed=trajectory.metadata["seed"])
        states = [observation["observation"], *(env.step(action)[0]["observation"] for action in trajectory.actions)]
        np.testing.assert_array_equal(trajectory.observations["state"], np.array(states, np.float32))


def test_an_action_is_held_for_ten_steps_of_the_package(env: gymnasium.Env[Any, Any]) -> None:
    theirs = gymnasium.make("gymnasium_robotics:PointMaze_Medium-v3", disable_env_checker=True)
    first, of_theirs = env.reset(seed=7)[0], theirs.reset(seed=7)[0]
    for key in ("observation", "desired_goal"):
        np.testing.assert_array_equal(first[key], of_theirs[key])
    action = np.array([0.4, -0.7], np.float32)
    after, _, _, _, info = env.step(action)
    for _ in range(10):
        of_theirs, _, _, _, their_info = theirs.step(action)
    np.testing.assert_array_equal(after["observation"], of_theirs["observation"])
    assert info["success"] == their_info["success"]
    limits = [e.spec.max_episode_steps for e in (env, theirs) if e.spec is not None]
    assert limits == [60, 600]
    theirs.close()


def test_the_same_seed_gives_the_same_data_and_a_longer_collection_begins_with_it(
    dataset: TrajectoryDataset, tmp_path: Path
) -> None:
    collect_point_maze(tmp_path / "longer", episodes=EPISODES + 1, steps=STEPS, seed=3)
    longer = am_ray.read_dataset(tmp_path / "longer")
    for one, other in zip(dataset, longer, strict=False):
        np.testing.assert_array_equal(one.actions, other.actions)
    other_seed = collect_point_maze(tmp_path / "other", episodes=EPISODES, steps=STEPS, seed=4)
    assert other_seed != dataset.digest


def test_the_play_visits_the_whole_maze(dataset: TrajectoryDataset, env: gymnasium.Env[Any, Any]) -> None:
    navigator = Navigator(env.unwrapped.maze)  # type: ignore[attr-defined]
    visited = {navigator.cell_of(state[:2]) for t in dataset for state in t.observations["state"].astype(float)}
    assert visited == set(navigator.steps_to((1, 1)))
    assert len(visited) == 26


def test_one_episode_joins_few_starts_and_goals() -> None:
    assert reach(steps=60, episodes=40) == 1.0
    assert reach(steps=STEPS, episodes=40) < 0.4


def test_an_evaluation_finds_the_world_that_the_data_tell_of(dataset: TrajectoryDataset, tmp_path: Path) -> None:
    settings = AlgorithmSettings(method="behavior_cloning")
    torch.manual_seed(0)
    statistics = data_statistics(dataset)
    model = build_model(dataset.spec, statistics, settings)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    origin = {"dataset": {"environment": dataset.info.env}}
    checkpoint = Checkpoint(dataset.spec, statistics, settings, TrainingState(weights, {}), origin)
    save_checkpoint(tmp_path / "run", checkpoint, keep=1)
    report = evaluate(tmp_path / "run", episodes=5)
    assert report.env_id == ENV_ID
    assert report.oracle is not None
    assert report.random is not None
    # The oracle stays where it was told to go; a ball pushed at random may pass by.
    assert report.oracle["default"].successes == report.oracle["default"].n == 5
    assert report.random["default"].successes < 5
    assert report.tasks["default"].infrastructure_failures == 0


def test_success_is_the_packages_own(env: gymnasium.Env[Any, Any]) -> None:
    observation, _ = env.reset(seed=0)
    oracle = env.unwrapped.oracle()  # type: ignore[attr-defined]
    seen = set()
    for _ in range(60):
        observation, reward, terminated, truncated, info = env.step(oracle.act())
        is_near = np.linalg.norm(observation["achieved_goal"] - observation["desired_goal"]) <= GOAL_RADIUS_M
        assert info["success"] == bool(reward) == is_near
        assert not terminated  # it has to stay there until the time is up
        seen.add(is_near)
    assert truncated
    assert len(seen) == 2


def test_the_table_by_distance_counts_each_goal_once() -> None:
    starts = episode_seeds(100, "default", 40)
    distances = maze_distances.goal_distances(starts)
    near, far = distances <= 3, distances >= 7
    cells = {
        "reaches what is near": Cell(
            (0, 1), {"default": tuple(starts)}, {"default": np.tile(1.0 * near, (2, 1))}, 1, 1.0
        ),
        "reaches what is far": Cell(
            (0, 1), {"default": tuple(starts)}, {"default": np.tile(1.0 * far, (2, 1))}, 1, 1.0
        ),
    }
    table = [
        [entry.split(" [")[0].strip() for entry in line.split("|")[2:-1]]
        for line in maze_distances.distance_lines(cells, distances)
    ]
    assert table[0] == [
        f"1 to 3 cells ({near.sum()})",
        f"4 to 6 cells ({40 - near.sum() - far.sum()})",
        f"7 or more cells ({far.sum()})",
    ]
    assert table[2:] == [["100", "0", "0"], ["0", "0", "100"], ["+100", "0", "-100"]]
    assert distances.min() >= 1
    assert distances.max() <= 11
