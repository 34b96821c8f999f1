"""The second world: what the play in PointMaze is, and that evaluation finds and understands the world."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("gymnasium_robotics", reason="pip install -e '.[study]'")

import gymnasium
import numpy as np

import am_ray
from study.point_maze import ENV_ID, collect_point_maze, reach

EPISODES, STEPS = 20, 12


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "point_maze"
    collect_point_maze(path, episodes=EPISODES, steps=STEPS, seed=3)
    return path


def test_actions_played_again_lead_through_the_recorded_states(dataset: Path) -> None:
    env = gymnasium.make(ENV_ID, disable_env_checker=True)
    for trajectory in list(am_ray.read_dataset(dataset))[:5]:
        observation, _ = env.reset(seed=int(trajectory.metadata["seed"]))
        states = [observation["observation"]]
        states += [env.step(action)[0]["observation"] for action in trajectory.actions]
        np.testing.assert_allclose(np.stack(states), trajectory.observations["state"], atol=1e-4)
    env.close()


def test_episodes_are_short_without_rewards_and_their_goal_is_a_position(dataset: Path) -> None:
    data = am_ray.read_dataset(dataset)
    assert [len(trajectory.actions) for trajectory in data] == [STEPS] * EPISODES
    assert not any(trajectory.rewards.any() for trajectory in data)
    assert data.spec.goal_shapes == {"state": (2,)}


def test_one_episode_hardly_ever_joins_what_the_world_asks_for() -> None:
    assert reach(steps=STEPS, episodes=20) < 0.5
    assert reach(steps=60, episodes=20) > 0.9
