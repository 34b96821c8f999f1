"""The scale of a dataset, computed by hand, and a pool that holds the data's actions and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from am_ray.data import scale
from am_ray.data.reader import read_dataset
from am_ray.data.scale import POOL_SIZE, data_statistics
from am_ray.data.writer import write_dataset
from am_ray.types import Trajectory


def write(path: Path, episodes: int = 6, steps: int = 4, row_group_rows: int | None = None) -> list[Trajectory]:
    rng = np.random.default_rng(1)
    trajectories = []
    for _ in range(episodes):
        states = rng.normal(3.0, 2.0, (steps + 1, 3)).astype(np.float32)
        states[:, 1] = 7.0
        images = rng.integers(0, 256, (steps + 1, 8, 8, 3), dtype=np.uint8)
        trajectories.append(
            Trajectory({"state": states, "front": images}, rng.uniform(-1, 1, (steps, 2)).astype(np.float32))
        )
    write_dataset(path, trajectories, fps=10.0, action_low=-1.0, action_high=1.0)
    return trajectories


def test_mean_and_deviation_are_those_of_all_states(tmp_path: Path) -> None:
    trajectories = write(tmp_path / "d")
    found = data_statistics(read_dataset(tmp_path / "d"))
    states = np.concatenate([t.observations["state"] for t in trajectories])
    assert found.mean.keys() == found.std.keys() == {"state"}
    np.testing.assert_allclose(found.mean["state"], states.mean(0), rtol=1e-5)
    expected = states.std(0)
    # An entry that never changes would divide by zero.
    expected[1] = 1.0
    np.testing.assert_allclose(found.std["state"], expected, rtol=1e-5)
    assert found.mean["state"].dtype == found.std["state"].dtype == np.float32


def test_the_pool_holds_actions_of_transitions_only(tmp_path: Path) -> None:
    trajectories = write(tmp_path / "d")
    dataset = read_dataset(tmp_path / "d")
    pool = data_statistics(dataset).action_pool
    assert pool.shape == (POOL_SIZE, 2)
    actions = {a.tobytes() for t in trajectories for a in t.actions}
    # 24 actions, 1024 draws: every one of them is there, and the padding of last rows is not.
    assert {a.tobytes() for a in pool} == actions
    assert np.array_equal(pool, data_statistics(dataset).action_pool)
    assert not np.array_equal(pool, data_statistics(dataset, seed=1).action_pool)


def test_a_large_dataset_is_sampled_by_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "d", episodes=12)
    dataset = read_dataset(tmp_path / "d")
    dataset.row_groups = dataset.row_groups * 100
    read = []
    actions = scale._actions
    monkeypatch.setattr(scale, "_actions", lambda d, group: read.append(group) or actions(d, group))
    assert data_statistics(dataset).action_pool.shape == (POOL_SIZE, 2)
    assert len(read) == scale.POOL_ROW_GROUPS
