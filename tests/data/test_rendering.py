from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from am_ray.data.reader import read_dataset
from am_ray.data.rendering import animation_frames, contact_sheet, render_dataset
from am_ray.data.validation import dataset_info
from am_ray.data.writer import write_dataset
from am_ray.types import DatasetError


@pytest.fixture
def filmed(tmp_path, make_trajectories):
    trajectories = make_trajectories(4, cameras={"front": (40, 50, 3), "wrist": (64, 64, 1)}, steps=(3, 20))
    write_dataset(tmp_path / "film", trajectories, fps=20)
    return tmp_path / "film"


def test_pictures_of_chosen_episodes(filmed, tmp_path):
    written = render_dataset(filmed, tmp_path / "out", [1, 3])
    assert [path.name for path in written] == ["episode-1.png", "episode-1.gif", "episode-3.png", "episode-3.gif"]
    trajectory = read_dataset(filmed)[3]
    with Image.open(tmp_path / "out/episode-3.gif") as animation:
        assert animation.n_frames == len(trajectory.actions) + 1
        assert animation.info["duration"] == 50


def test_the_sheet_shows_first_and_last_frame_of_every_camera(filmed):
    trajectory = read_dataset(filmed)[3]
    sheet = contact_sheet(trajectory, ["front", "wrist"])
    # 40 px are enlarged 4 times, 64 px twice; 2 px between the frames.
    front, wrist = trajectory.observations["front"], trajectory.observations["wrist"]
    np.testing.assert_array_equal(sheet[:160:4, :200:4], front[0])
    width = 8 * 202 - 2
    np.testing.assert_array_equal(sheet[:160:4, width - 200 : width : 4], front[-1])
    np.testing.assert_array_equal(sheet[162 : 162 + 128 : 2, :128:2], np.repeat(wrist[0], 3, axis=-1))
    assert animation_frames(trajectory, ["front", "wrist"])[0].shape == (160, 200 + 2 + 128, 3)


def test_what_cannot_be_shown_is_said(filmed, dataset, tmp_path):
    with pytest.raises(DatasetError, match="no episode 9; expected 0 to 3"):
        render_dataset(filmed, tmp_path / "out", [9])
    with pytest.raises(DatasetError, match="none of them images"):
        render_dataset(dataset, tmp_path / "out")


def test_info_by_hand(filmed, make_trajectories):
    trajectories = make_trajectories(4, cameras={"front": (40, 50, 3), "wrist": (64, 64, 1)}, steps=(3, 20))
    lengths = [len(t.actions) for t in trajectories]
    info = dataset_info(filmed)
    assert info["episodes"] == 4
    assert info["transitions"] == sum(lengths)
    assert info["episode_length"] == {"min": min(lengths), "mean": np.mean(lengths), "max": max(lengths)}
    assert info["tasks"] == {"task 0": 2, "task 1": 1, "task 2": 1}
    assert info["successful_episodes"] == sum(bool(t.successes.any()) for t in trajectories)
    assert info["digest"] == read_dataset(filmed).digest
    assert info["observation_shapes"]["front"] == [40, 50, 3]
