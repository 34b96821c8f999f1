"""Shares of episodes that complete their task, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from am_ray.data.completion import completion
from am_ray.data.reader import read_dataset
from am_ray.data.validation import dataset_info
from am_ray.data.writer import write_dataset
from am_ray.types import Trajectory


def episode(task: str, successes: list[bool], **metadata: object) -> Trajectory:
    steps = len(successes)
    return Trajectory(
        {"state": np.zeros((steps + 1, 1))},
        np.full((steps, 1), 0.5),
        successes=np.array(successes),
        task=task,
        metadata=metadata,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    episodes = [
        episode("grasp", [False, True], grasped=True, seed=1, mixed=True),
        episode("place", [True, False], grasped=True, placed=False, seed=0, mixed=1),  # succeeded, then lost it
        episode("grasp", [False], grasped=False, seed=1, mixed=False),
        episode("grasp", [True], grasped=True, seed=0, mixed=False),
        episode("place", [False, False, True], grasped=False, placed=True, seed=1, mixed=False),
    ]
    write_dataset(tmp_path / "set", episodes, row_group_rows=4, file_rows=8)
    return tmp_path / "set"


def test_shares_by_hand(path):
    dataset = read_dataset(path)
    assert len({group.path for group in dataset.row_groups}) > 1
    found = completion(dataset)
    assert list(found) == ["grasp", "place", "all"]
    assert found["grasp"] == {"episodes": 3, "shares": {"ended_in_success": 2 / 3, "grasped": 2 / 3}}
    assert found["place"] == {"episodes": 2, "shares": {"ended_in_success": 1 / 2, "grasped": 1 / 2, "placed": 1 / 2}}
    # Numbers are no flags, nor are columns of mixed types; episodes without a value do not count.
    assert found["all"] == {"episodes": 5, "shares": {"ended_in_success": 3 / 5, "grasped": 3 / 5, "placed": 1 / 2}}


def test_info_has_them_beside_what_it_had(path):
    info = dataset_info(path)
    assert info["completion"] == completion(read_dataset(path))
    assert (info["episodes"], info["transitions"], info["successful_episodes"]) == (5, 9, 4)
    assert info["tasks"] == {"grasp": 3, "place": 2}


def test_episodes_of_files_that_were_left_out_do_not_count(path):
    last = sorted((path / "data").rglob("*.parquet"))[-1]
    last.unlink()
    dataset = read_dataset(path, skip_bad_files=True)
    assert completion(dataset)["all"]["episodes"] == len(dataset) < 5
