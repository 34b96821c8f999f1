from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import am_ray
from am_ray.data.reader import read_dataset
from am_ray.data.writer import DatasetWriter, write_dataset
from am_ray.types import DatasetError, Trajectory


def assert_same(first: Trajectory, second: Trajectory) -> None:
    assert first.observations.keys() == second.observations.keys()
    for name, value in first.observations.items():
        np.testing.assert_array_equal(value, second.observations[name])
        assert value.dtype == second.observations[name].dtype
    for name in ("actions", "rewards", "successes"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (first.terminated, first.task, first.metadata) == (second.terminated, second.task, second.metadata)


@pytest.mark.parametrize(
    ("state", "actions", "cameras"),
    [
        (3, 2, {}),
        (1, 1, {}),  # one entry: a plain column, as LeRobot has it
        (17, 5, {"front": (7, 9, 3)}),
        (2, 1, {"a": (1, 1, 1), "b": (5, 3, 4), "c": (2, 8, 3)}),
    ],
)
def test_what_is_written_is_what_is_read(tmp_path, make_trajectories, state, actions, cameras):
    trajectories = make_trajectories(12, state=state, actions=actions, cameras=cameras)
    digest = write_dataset(tmp_path / "set", trajectories, row_group_rows=20, file_rows=40)
    dataset = read_dataset(tmp_path / "set")

    assert len(dataset) == 12
    assert dataset.digest == digest
    assert dataset.num_transitions == sum(len(t.actions) for t in trajectories)
    assert dataset.spec.observation_shapes == {"state": (state,), **cameras}
    for written, found in zip(trajectories, dataset, strict=True):
        assert_same(written, found)
    assert_same(trajectories[-1], dataset[-1])
    assert_same(trajectories[5], pickle.loads(pickle.dumps(dataset))[5])
    assert [t.metadata["seed"] for t in dataset[2:5]] == [2, 3, 4]
    with pytest.raises(IndexError):
        dataset[12]


def test_the_package_offers_reader_and_writer(tmp_path, make_trajectories):
    am_ray.write_dataset(tmp_path / "set", make_trajectories(2))
    assert len(am_ray.read_dataset(tmp_path / "set")) == 2


def test_digest_depends_on_the_data_alone(tmp_path, make_trajectories):
    trajectories = make_trajectories(10)
    settings = {"action_low": -1.0, "action_high": 1.0}
    first = write_dataset(tmp_path / "a", trajectories, **settings)
    assert first == write_dataset(
        tmp_path / "b",
        trajectories,
        row_group_rows=5,
        file_rows=10,
        generator={"command": "other"},
        license="MIT",
        **settings,
    )
    changed = make_trajectories(10)
    changed[4].observations["state"][1, 2] += 1e-3
    assert first != write_dataset(tmp_path / "c", changed, **settings)
    assert first != write_dataset(tmp_path / "d", trajectories[::-1], **settings)
    assert first != write_dataset(tmp_path / "e", trajectories, action_low=-2.0, action_high=1.0)
    assert first != write_dataset(tmp_path / "f", trajectories, goal_features={"state": [0]}, **settings)


def test_layout_is_lerobots(dataset):
    info = json.loads((dataset / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    files = sorted((dataset / "data").rglob("*.parquet"))
    assert len(files) > 2
    index = 0
    for file in files:
        table = pq.read_table(file)
        assert set(table.column_names) == set(info["features"])  # LeRobot refuses undeclared columns
        assert table.column("index").to_pylist() == list(range(index, index + len(table)))
        index += len(table)
        metadata = pq.ParquetFile(file).metadata
        for group in range(
            metadata.num_row_groups
        ):  # whole episodes: each group begins at frame 0 and ends at a last row
            part = pq.ParquetFile(file).read_row_group(group)
            assert part.column("frame_index")[0].as_py() == 0
            assert part.column("is_last")[-1].as_py()
    assert index == info["total_frames"]
    episodes = pq.read_table(dataset / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert episodes["dataset_to_index"] == list(np.cumsum(episodes["length"]))
    assert sorted(set(episodes["data/file_index"])) == list(range(len(files)))


def test_tasks_are_indexed_by_their_text_as_lerobot_reads_them(dataset):
    tasks = pd.read_parquet(dataset / "meta/tasks.parquet")
    assert tasks.index.name == "task"
    assert tasks["task_index"].to_dict() == {"task 0": 0, "task 1": 1, "task 2": 2}
    rows = pd.read_parquet(dataset / "data/chunk-000/file-000.parquet")
    assert (rows["task_index"] == rows["episode_index"] % 3).all()


def test_rows_by_hand(tmp_path):
    states = np.array([[0.0], [1.0], [2.0]], np.float32)
    trajectory = Trajectory(
        {"state": states},
        np.array([[0.5], [-0.5]], np.float32),
        rewards=np.array([0.0, 1.0], np.float32),
        successes=np.array([False, True]),
        terminated=True,
    )
    write_dataset(tmp_path / "set", [trajectory], fps=4)
    table = pq.read_table(tmp_path / "set/data/chunk-000/file-000.parquet").to_pydict()
    assert table["observation.state"] == [0.0, 1.0, 2.0]
    assert table["action"] == [0.5, -0.5, 0.0]
    assert table["next.reward"] == [0.0, 1.0, 0.0]
    assert table["next.success"] == [False, True, False]
    assert table["next.done"] == [False, True, True]
    assert table["next.truncated"] == [False, False, False]
    assert table["is_last"] == [False, False, True]
    assert table["timestamp"] == [0.0, 0.25, 0.5]
    assert table["frame_index"] == [0, 1, 2]


def test_last_action_is_not_used_when_the_final_observation_was_not_recorded(dataset, recommit):
    info = json.loads((dataset / "meta/info.json").read_text())
    info["am_ray"]["final_observation"] = "none"
    (dataset / "meta/info.json").write_text(json.dumps(info))
    recommit(dataset)
    found = read_dataset(dataset)
    assert found.info.final_observation == "none"
    assert len(found[0].actions) == len(found[0].observations["state"]) - 1


def test_goal_features_pick_entries(tmp_path, make_trajectories):
    trajectories = make_trajectories(3, cameras={"front": (4, 4, 3)})
    write_dataset(tmp_path / "a", trajectories, goal_features={"state": [0, 2]})
    assert read_dataset(tmp_path / "a").spec.goal_indices == {"state": (0, 2)}
    write_dataset(tmp_path / "b", trajectories, goal_features=["front"])
    assert read_dataset(tmp_path / "b").spec.goal_indices == {"front": None}
    for bad in (["back"], {"state": [3]}, {"front": [0]}, []):
        with pytest.raises(DatasetError, match="goal feature"):
            write_dataset(tmp_path / "c", trajectories, goal_features=bad, overwrite=True)


def test_bounds_come_from_the_data_unless_given(tmp_path, make_trajectories):
    trajectories = make_trajectories(20)
    actions = np.concatenate([t.actions for t in trajectories])
    write_dataset(tmp_path / "a", trajectories)
    spec = read_dataset(tmp_path / "a").spec
    np.testing.assert_allclose(spec.action_low, actions.min(axis=0))
    np.testing.assert_allclose(spec.action_high, actions.max(axis=0))
    write_dataset(tmp_path / "b", trajectories, action_low=[-1, -2], action_high=3.0)
    assert read_dataset(tmp_path / "b").spec.action_low == (-1.0, -2.0)
    with pytest.raises(DatasetError, match="Clip them, or give wider bounds"):
        write_dataset(tmp_path / "c", trajectories, action_low=-0.1, action_high=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": np.zeros((0, 2), np.float32)}, "no actions"),
        ({"actions": np.zeros((5, 2), np.float32)}, "5 actions for 5 observations 'state'; expected one action fewer"),
        ({"actions": np.full((4, 2), np.nan, np.float32)}, "actions with a NaN or infinity in row 0"),
        ({"actions": np.zeros(4, np.float32)}, r"actions of shape \(4,\)"),
        ({"observations": {"state": np.full((5, 3), np.inf)}}, "'state' with a NaN or infinity"),
        (
            {"observations": {"state": np.zeros((5, 4), np.float32)}},
            r"observation.state: float32\[4\], expected float32\[3\]",
        ),
        ({"observations": {"front": np.zeros((5, 4, 4, 3), np.float32)}}, "expected uint8"),
        ({"observations": {"front": np.zeros((5, 4, 4, 2), np.uint8)}}, "channels last"),
        ({"observations": {}}, "no observations"),
        ({"observations": {"state": np.array([[object()] * 3] * 5)}}, "dtype object"),
        ({"rewards": np.zeros(3)}, r"rewards of shape \(3,\)"),
        ({"rewards": np.full(4, np.nan)}, "not finite"),
        ({"metadata": {"a": np.zeros(3)}}, "metadata 'a' of type ndarray"),
        ({"observations": {"a/b.c": np.zeros((5, 3))}}, "observations 'a/b.c'; expected a name of letters"),
        ({"observations": {"": np.zeros((5, 3))}}, "observations ''; expected a name of letters"),
        ({"observations": np.zeros((5, 3))}, "observations of type ndarray; expected a dict"),
    ],
)
def test_trajectories_that_cannot_be_stored_are_refused(tmp_path, change, message):
    good = {"observations": {"state": np.zeros((5, 3), np.float32)}, "actions": np.zeros((4, 2), np.float32)}
    writer = DatasetWriter(tmp_path / "set")
    writer.append(Trajectory(**good))
    with pytest.raises(DatasetError, match=message) as error:
        writer.append(Trajectory(**{**good, **change}))
    assert "episode 1" in str(error.value)
    writer.append(Trajectory(**good))  # a refused episode leaves no trace
    writer.close()
    assert len(read_dataset(tmp_path / "set")) == 2


def test_something_else_than_a_trajectory_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"episode 0 is a dict; expected an am_ray\.Trajectory"):
        write_dataset(tmp_path / "set", [{"state": np.zeros((5, 3))}])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fps": 0}, "fps 0; expected a positive number"),
        ({"fps": -10.0}, "fps -10.0; expected a positive number"),
        ({"fps": float("nan")}, "fps nan; expected a positive number"),
        ({"action_low": 1.0, "action_high": -1.0}, "action_low 1.0 is above action_high -1.0"),
        ({"action_low": [0, 2], "action_high": 1}, r"action_low \[0, 2\] is above action_high 1"),
        ({"action_low": 0.0}, "one action bound"),
    ],
)
def test_settings_that_no_dataset_can_have_are_refused_before_anything_is_written(tmp_path, settings, message):
    with pytest.raises(DatasetError, match=message):
        DatasetWriter(tmp_path / "set", **settings)
    assert not (tmp_path / "set").exists()


def test_what_was_refused_can_be_corrected_and_written_to_the_same_place(tmp_path, make_trajectories):
    bad = make_trajectories(30)
    bad[25].actions[0, 0] = np.nan
    path = tmp_path / "set"
    with pytest.raises(DatasetError, match="episode 25 has actions with a NaN"):
        write_dataset(path, bad, file_rows=40)  # files are full by then
    assert not path.exists()
    write_dataset(path, make_trajectories(30))
    digest = read_dataset(path).digest
    with pytest.raises(DatasetError, match="a folder with a dataset in it"):
        write_dataset(path, bad)
    assert read_dataset(path).digest == digest  # what others wrote stays


def test_a_refused_episode_leaves_a_folder_that_was_there_and_another_writers_episodes(tmp_path, make_trajectories):
    path = tmp_path / "set"
    path.mkdir()
    other = DatasetWriter(path)
    late = DatasetWriter(path)
    other.append(make_trajectories(1)[0])
    with pytest.raises(DatasetError, match="another process"):
        late.append(make_trajectories(1)[0])
    late.discard()
    other.close()
    assert len(read_dataset(path)) == 1

    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="NaN"):
        write_dataset(
            tmp_path / "empty", [*make_trajectories(1), Trajectory({"state": np.full((2, 3), np.nan)}, np.ones((1, 2)))]
        )
    assert list((tmp_path / "empty").iterdir()) == []


def test_folders_that_hold_something_are_not_overwritten(tmp_path, make_trajectories):
    path = tmp_path / "set"
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(DatasetError, match="expected an empty one"):
            DatasetWriter(path, overwrite=overwrite)
    (path / "thesis.tex").unlink()
    write_dataset(path, make_trajectories(3))
    with pytest.raises(DatasetError, match="overwrite=True"):
        DatasetWriter(path)
    write_dataset(path, make_trajectories(2), overwrite=True)
    assert len(read_dataset(path)) == 2


def test_a_dataset_without_episodes_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no episodes"):
        write_dataset(tmp_path / "set", [])


def test_windows_cover_every_episode_once(dataset):
    found = read_dataset(dataset)
    for rows in (1, 60, 10**6):
        windows = found.windows(rows)
        assert all(sum(g.num_rows for g in w) >= rows for w in windows[:-1])
        episodes = np.concatenate([found.read_window(w).episode_index for w in windows])
        np.testing.assert_array_equal(episodes, np.arange(40))
    block = found.read_all()
    np.testing.assert_array_equal(block.observations["state"][block.first_row, 0], np.arange(40))
    np.testing.assert_array_equal(
        block.observations["state"][block.first_row + block.num_transitions, 1], block.num_transitions
    )


def test_statistics_by_hand(tmp_path):
    trajectories = [
        Trajectory(
            {"state": np.array([[0.0, 1], [2, 1], [4, 1]]), "front": np.full((3, 2, 2, 1), 51, np.uint8)},
            np.array([[1.0], [3]]),
        ),
        Trajectory(
            {"state": np.array([[6.0, 1], [8, 1]]), "front": np.full((2, 2, 2, 1), 51, np.uint8)}, np.array([[-1.0]])
        ),
    ]
    write_dataset(tmp_path / "set", trajectories, row_group_rows=1)
    found = read_dataset(tmp_path / "set").statistics
    state = found["observation.state"]
    assert state["mean"] == [4.0, 1.0]
    np.testing.assert_allclose(state["std"], [np.std([0, 2, 4, 6, 8]), 0.0])
    assert (state["min"], state["max"], state["count"]) == ([0.0, 1.0], [8.0, 1.0], [5])
    assert state["q50"] == [4.0, 1.0]
    assert found["action"]["mean"] == [1.0]  # the padding action of the last row does not count
    assert found["action"]["count"] == [3]
    np.testing.assert_allclose(found["observation.images.front"]["mean"], [[[0.2]]])


def test_the_writers_settings_are_kept(tmp_path, make_trajectories):
    env = {"id": "Point-v0", "kwargs": {"size": 3}}
    generator = {"command": "record", "seed": 3}
    write_dataset(
        tmp_path / "set",
        make_trajectories(2),
        fps=12.5,
        env=env,
        generator=generator,
        license="CC-BY-4.0",
        robot_type="arm",
    )
    info = read_dataset(tmp_path / "set").info
    assert (info.fps, info.env, info.generator, info.license, info.robot_type) == (
        12.5,
        env,
        generator,
        "CC-BY-4.0",
        "arm",
    )
    assert "license: CC-BY-4.0" in (Path(tmp_path) / "set/README.md").read_text()
