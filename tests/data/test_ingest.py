"""Both ways from a dataset to batches: the same distribution, exact resume, the same batches for any number of readers."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from am_ray.data.ingest import open_ingest, resolved_mode
from am_ray.data.plan import plan_windows
from am_ray.data.reader import read_dataset
from am_ray.data.streaming import block_bytes
from am_ray.data.window_task import ReadWindow, nested_columns
from am_ray.data.writer import write_dataset
from am_ray.settings import IngestSettings, RelabelSettings
from am_ray.types import DatasetError, DataSpec, GoalSource, TransitionBatch

UNIFORM = RelabelSettings(chaining_ratio=0.5, next_state_share=0.0)
SMALL = {"window_rows": 60, "reservoir_rows": 20, "batches_per_block": 2}


def sources(
    path: Path, mode: str = "streaming", *, relabeling: RelabelSettings = UNIFORM, shards: int = 1, **settings: Any
) -> list:
    ingest = IngestSettings(mode=mode, **{**SMALL, **settings})
    return open_ingest(path, None, relabeling, ingest, batch_size=16, seed=7, num_shards=shards)


def without_ray(source: Any, start: int = 0) -> Iterator[dict[str, Any]]:
    """The batches of a streaming source, its tasks called one after the other in this process."""
    shard, ingest = source.shard, source.ingest
    for plan in plan_windows(shard, ingest, start):
        for block in ReadWindow(shard, (plan,), ingest.reservoir_rows, ingest.batches_per_block).blocks(plan):
            for first in range(0, len(block["source"]), shard.batch_size):
                yield nested_columns({k: v[first : first + shard.batch_size] for k, v in block.items()})


def take(batches: Iterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    taken = list(itertools.islice(batches, count))
    if hasattr(batches, "close"):
        batches.close()
    return taken


def assert_same_batches(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_equal(a[name], b[name])


def drawn(path: Path, mode: str, count: int) -> dict[str, np.ndarray]:
    """Episode and step of s and g, and the flags, over many batches."""
    source = sources(path, mode)[0]
    batches = take(source.batches() if mode == "resident" else without_ray(source), count)
    state = np.concatenate([b["observation"]["state"] for b in batches])
    goal = np.concatenate([b["goal"]["state"] for b in batches])
    flags = {
        name: np.concatenate([b[name] for b in batches]) for name in ("source", "is_end", "num_steps", "next_is_final")
    }
    return {
        "episode": state[:, 0].astype(int),
        "step": state[:, 1].astype(int),
        "goal": goal[:, 0].astype(int),
        **flags,
    }


@pytest.mark.parametrize("mode", ["resident", "streaming"])
def test_transitions_are_those_of_the_data(dataset, mode):
    trajectories = list(read_dataset(dataset))
    source = sources(dataset, mode)[0]
    for columns in take(source.batches() if mode == "resident" else without_ray(source), 40):
        batch = TransitionBatch.from_columns(columns)
        for i in range(16):
            episode, step = batch.observation["state"][i, :2].astype(int)
            trajectory = trajectories[episode]
            np.testing.assert_array_equal(batch.observation["state"][i], trajectory.observations["state"][step])
            np.testing.assert_array_equal(
                batch.next_observation["state"][i], trajectory.observations["state"][step + 1]
            )
            np.testing.assert_array_equal(batch.action[i], trajectory.actions[step])
            assert batch.next_is_final[i] == (step + 1 == len(trajectory.actions))
            if not batch.next_is_final[i]:
                np.testing.assert_array_equal(batch.next_action[i], trajectory.actions[step + 1])
            goal_episode, goal_step = batch.goal["state"][i, :2].astype(int)
            np.testing.assert_array_equal(
                batch.goal["state"][i], trajectories[goal_episode].observations["state"][goal_step]
            )
            if batch.source[i] == GoalSource.HINDSIGHT:
                assert (goal_episode, goal_step) == (episode, step + batch.num_steps[i])
            else:
                assert goal_episode != episode


@pytest.mark.parametrize("mode", ["resident", "streaming"])
def test_both_modes_draw_from_the_same_distribution(dataset, mode):
    lengths = np.array([len(t.actions) for t in read_dataset(dataset)])
    found = drawn(dataset, mode, 2500)
    n = len(found["episode"])

    # Every transition alike, first and last ones included.
    number = np.cumsum(lengths) - lengths
    counts = np.bincount(number[found["episode"]] + found["step"], minlength=lengths.sum())
    expected = n / lengths.sum()
    chi_square = ((counts - expected) ** 2 / expected).sum() / (lengths.sum() - 1)
    assert 0.7 < chi_square < 1.35, chi_square
    # Half of the goals are chained; of these every other episode's every state is alike.
    chained = found["source"] == GoalSource.RANDOM
    assert abs(chained.mean() - 0.5) < 4 * 0.5 / np.sqrt(n)
    rows = lengths + 1
    goals = np.bincount(found["goal"][chained], minlength=40) / chained.sum()
    chance = np.array([(rows * (np.arange(40) != e) / (rows.sum() - rows[e])) for e in range(40)])
    wanted = (chance * (lengths / lengths.sum())[:, None]).sum(axis=0)
    assert np.abs(goals - wanted).sum() / 2 < 0.03
    # Hindsight ends are uniform over the rest of the trajectory: steps - 1 over remaining - 1 has mean 1/2.
    remaining = lengths[found["episode"]] - found["step"]
    long = remaining > 1
    share = (found["num_steps"][long] - 1) / (remaining[long] - 1)
    assert abs(share.mean() - 0.5) < 0.01
    at_end = (found["num_steps"] == remaining)[remaining == 4].mean()
    assert abs(at_end - 0.25) < 0.03


def test_settings_reach_the_kernel(dataset):
    for mode in ("resident", "streaming"):
        for relabeling, check in (
            (RelabelSettings(chaining_ratio=0.0), lambda b: (b["source"] == GoalSource.HINDSIGHT).all()),
            (RelabelSettings(chaining_ratio=1.0), lambda b: (b["source"] == GoalSource.RANDOM).all()),
            (RelabelSettings(next_state_share=1.0), lambda b: b["is_end"].all()),
            (
                RelabelSettings(last_state_share=1.0, next_state_share=0.0),
                lambda b: not b["is_end"][~b["next_is_final"]].any(),
            ),
        ):
            source = sources(dataset, mode, relabeling=relabeling)[0]
            batches = take(source.batches() if mode == "resident" else without_ray(source), 5)
            assert all(check(batch) for batch in batches)


@pytest.mark.parametrize("mode", ["resident", "streaming"])
def test_a_run_that_starts_later_sees_the_same_batches(dataset, mode):
    source = sources(dataset, mode)[0]
    start_at = source.batches if mode == "resident" else (lambda start: without_ray(source, start))
    whole = take(start_at(0), 60)
    for start in (1, 13, 16, 37):
        assert_same_batches(take(start_at(start), 60 - start), whole[start:])
    other = open_ingest(dataset, None, UNIFORM, IngestSettings(mode=mode, **SMALL), batch_size=16, seed=8)[0]
    changed = next(other.batches() if mode == "resident" else without_ray(other))
    assert not np.array_equal(changed["action"], whole[0]["action"])


def test_streaming_gives_the_same_batches_for_any_number_of_readers(dataset, local_ray):
    expected = take(without_ray(sources(dataset)[0]), 60)
    for workers, windows in ((1, 512), (2, 3)):  # three windows: several pipelines, end to end
        source = sources(dataset, num_workers=workers, windows_per_pipeline=windows)[0]
        assert_same_batches(take(pickle.loads(pickle.dumps(source)).batches(), 60), expected)
    resumed = sources(dataset, num_workers=2)[0].batches(37)
    assert_same_batches(take(resumed, 23), expected[37:])


def test_batches_are_read_only_and_outlive_their_block(dataset, local_ray):
    stream = sources(dataset)[0].batches()
    first = next(stream)["observation"]["state"]
    copy = first.copy()
    take(stream, 30)
    assert not first.flags.writeable
    assert np.array_equal(first, copy)


@pytest.mark.slow
def test_streaming_runs_inside_actors_that_hold_every_cpu(dataset, local_ray):
    import ray

    @ray.remote(num_cpus=1)
    class Learner:
        def episodes(self, source: Any) -> list[int]:
            batches = take(source.batches(), 10)
            return sorted({int(e) for b in batches for e in b["observation"]["state"][:, 0]})

    shards = sources(dataset, shards=2, num_workers=1)
    learners = [Learner.remote() for _ in shards]
    found = ray.get(
        [learner.episodes.remote(shard) for learner, shard in zip(learners, shards, strict=True)], timeout=180
    )
    expected = [
        sorted({int(e) for b in take(without_ray(s), 10) for e in b["observation"]["state"][:, 0]}) for s in shards
    ]
    assert found == expected


def test_a_page_that_goes_bad_during_training_stops_it_by_name(dataset, local_ray):
    source = sources(dataset)[0]
    file = dataset / "data/chunk-000/file-001.parquet"
    data = bytearray(file.read_bytes())
    for position in range(4, 2000, 50):
        data[position] ^= 0xFF
    file.write_bytes(bytes(data))
    with pytest.raises(DatasetError, match=r"file-001.parquet: row group \d cannot be read"):
        take(source.batches(), 200)


def test_chained_goals_cross_files(dataset):
    groups = read_dataset(dataset).row_groups
    file_of = {e: g.path for g in groups for e in range(g.first_episode, g.first_episode + g.num_episodes)}
    # Windows of one row group: goals of other files can only come through the reservoir.
    for rows, crosses in ((0, False), (20, True)):
        source = sources(dataset, window_rows=1, reservoir_rows=rows)[0]
        pairs = [
            (file_of[int(s)], file_of[int(g)])
            for b in take(without_ray(source), 60)
            for s, g in zip(b["observation"]["state"][:, 0], b["goal"]["state"][:, 0], strict=True)
        ]
        assert any(s != g for s, g in pairs) == crosses
    found = drawn(dataset, "streaming", 2000)
    chained = found["source"] == GoalSource.RANDOM
    links = {(file_of[s], file_of[g]) for s, g in zip(found["episode"][chained], found["goal"][chained], strict=True)}
    files = {g.path for g in groups}
    assert links >= {(a, b) for a in files for b in files if a != b}


def test_an_epoch_reads_every_row_group_once_whatever_the_shards(dataset):
    count = len(read_dataset(dataset).row_groups)
    for shards in (1, 2, 3):
        read: dict[int, list[int]] = {0: [], 1: []}
        for source in sources(dataset, shards=shards, samples_per_transition=20.0):
            for plan in plan_windows(source.shard, source.ingest):
                if plan.epoch > 1:
                    break
                read[plan.epoch].extend(plan.groups)
                assert plan.reservoir_group not in plan.groups
        assert sorted(read[0]) == sorted(read[1]) == list(range(count))
        assert read[0] != read[1]


def test_a_window_gives_its_share_of_batches_on_average(dataset):
    source = sources(dataset, window_rows=1)[0]
    groups = source.shard.row_groups
    given = np.zeros(len(groups))
    epochs = 400
    for plan in itertools.takewhile(lambda p: p.epoch < epochs, plan_windows(source.shard, source.ingest)):
        given[plan.groups[0]] += plan.num_batches
    wanted = np.array([g.num_transitions / 16 for g in groups])
    np.testing.assert_allclose(given / epochs, wanted, atol=4 * 0.5 / np.sqrt(epochs))


@pytest.mark.parametrize("shards", [2, 3])
def test_resident_shards_are_disjoint_and_complete(dataset, shards):
    blocks = [source.load() for source in sources(dataset, "resident", shards=shards)]
    episodes = np.concatenate([block.episode_index for block in blocks])
    assert sorted(episodes) == list(range(40))
    assert max(b.num_episodes for b in blocks) - min(b.num_episodes for b in blocks) <= 1
    for block in blocks:
        np.testing.assert_array_equal(block.observations["state"][block.first_row, 0], block.episode_index)
        np.testing.assert_array_equal(
            block.observations["state"][block.first_row + block.num_transitions, 1], block.num_transitions
        )


def test_many_row_groups_are_divided_without_reading_those_of_others(tmp_path, make_trajectories):
    write_dataset(tmp_path / "set", make_trajectories(40), row_group_rows=1)
    first, second = sources(tmp_path / "set", "resident", shards=2)
    np.testing.assert_array_equal(first.load().episode_index, np.arange(0, 40, 2))
    np.testing.assert_array_equal(second.load().episode_index, np.arange(1, 40, 2))


def test_two_learners_see_different_batches(dataset):
    for mode in ("resident", "streaming"):
        first, second = (
            next(s.batches() if mode == "resident" else without_ray(s)) for s in sources(dataset, mode, shards=2)
        )
        assert not np.array_equal(first["action"], second["action"])


def test_too_little_data_for_the_learners_is_refused(tmp_path, make_trajectories):
    write_dataset(tmp_path / "set", make_trajectories(3))
    with pytest.raises(DatasetError, match="3 episodes for 4 learners"):
        sources(tmp_path / "set", "resident", shards=4)
    with pytest.raises(DatasetError, match="1 row groups for 2 learners"):
        sources(tmp_path / "set", shards=2)


def test_auto_is_resident_while_the_shard_fits(dataset):
    found = read_dataset(dataset)
    needed = found.num_rows * (3 * 4 + 2 * 4 + 5) / 1e9
    for share, shards, mode in (
        (1.01, 1, "resident"),
        (0.99, 1, "streaming"),
        (0.51, 2, "resident"),
        (0.49, 2, "streaming"),
    ):
        assert resolved_mode(found, IngestSettings(memory_budget_gb=share * needed), shards) == mode
    assert resolved_mode(found, IngestSettings(mode="streaming"), 1) == "streaming"
    assert sources(dataset, "auto")[0].mode == "resident"
    assert "windows of 60 rows" in sources(dataset)[0].describe()


def test_another_shape_than_the_networks_is_refused(dataset):
    spec = DataSpec({"state": (4,)}, {"state": None}, (-1.0, -1.0), (1.0, 1.0))
    with pytest.raises(DatasetError, match="Use a dataset of the same shape"):
        open_ingest(dataset, spec, UNIFORM, IngestSettings(), batch_size=4, seed=0)


def test_images_and_picked_goals_arrive(tmp_path, make_trajectories):
    trajectories = make_trajectories(12, cameras={"front": (4, 5, 3)})
    write_dataset(tmp_path / "set", trajectories, goal_features=["front"], row_group_rows=20)
    for mode in ("resident", "streaming"):
        source = sources(tmp_path / "set", mode)[0]
        for batch in take(source.batches() if mode == "resident" else without_ray(source), 10):
            assert batch["goal"].keys() == {"front"}
            assert batch["goal"]["front"].dtype == np.uint8
            for i in range(16):
                episode, step = batch["observation"]["state"][i, :2].astype(int)
                np.testing.assert_array_equal(
                    batch["observation"]["front"][i], trajectories[episode].observations["front"][step]
                )
                if batch["source"][i] == GoalSource.HINDSIGHT:
                    end = step + batch["num_steps"][i]
                    np.testing.assert_array_equal(
                        batch["goal"]["front"][i], trajectories[episode].observations["front"][end]
                    )


def test_the_decoded_cache_changes_nothing_but_speed(tmp_path, make_trajectories):
    write_dataset(tmp_path / "set", make_trajectories(12, cameras={"front": (4, 5, 3)}), row_group_rows=20)
    for mode in ("resident", "streaming"):
        taken = []
        for folder in ("", str(tmp_path / "cache"), str(tmp_path / "cache")):
            source = sources(tmp_path / "set", mode, decoded_cache=folder)[0]
            taken.append(take(source.batches() if mode == "resident" else without_ray(source), 10))
        assert_same_batches(taken[0], taken[1])
        assert_same_batches(taken[0], taken[2])


@pytest.mark.slow
def test_killed_readers_change_nothing(dataset, local_ray):
    import psutil  # comes with ray, which local_ray has imported

    expected = take(without_ray(sources(dataset)[0]), 150)
    batches = sources(dataset)[0].batches()
    found, killed = [], 0
    for batch in itertools.islice(batches, 150):
        found.append(batch)
        if len(found) in (5, 40):
            for process in psutil.Process().children(recursive=True):
                try:
                    name = (process.cmdline() or [""])[0]
                except psutil.Error:  # it ended meanwhile
                    continue
                if name.startswith(("ray::IDLE", "ray::MapBatches")):  # workers; Ray's agents take the node with them
                    process.kill()
                    killed += 1
    batches.close()
    assert killed
    assert_same_batches(found, expected)


def test_blocks_grow_with_the_object_store_between_8_and_40_mib():
    assert [block_bytes(mib << 20) / (1 << 20) for mib in (100, 256, 512, 1024, 4096)] == [8, 8, 16, 32, 40]
