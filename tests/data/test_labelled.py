"""Labelled datasets: what a label means, small sets drawn from large ones, batches of two datasets."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from am_ray.data.ingest import check_same_shape, open_ingest
from am_ray.data.labelled import check_labelled, draw_episodes, task_labels, write_subset
from am_ray.data.mixed import MixedSource
from am_ray.data.reader import read_dataset
from am_ray.data.writer import write_dataset
from am_ray.settings import IngestSettings, RelabelSettings, TaskSettings
from am_ray.types import DatasetError, GoalSource, Trajectory

LAST, EVERY, REWARD = TaskSettings(), TaskSettings(success_at="any"), TaskSettings(label="reward")


def _trajectory(successes: list[bool], first: float) -> Trajectory:
    steps = len(successes)
    states = np.stack([np.full(steps + 1, first), np.arange(steps + 1.0)], axis=1).astype(np.float32)
    rewards = np.array([2.0 * flag for flag in successes], np.float32)
    return Trajectory({"state": states}, np.zeros((steps, 2), np.float32), rewards, np.array(successes))


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Three trajectories: successful at the end, successful on the way, never."""
    labels = ([False, True, True], [True, False], [False, False])
    trajectories = [_trajectory(flags, float(number)) for number, flags in enumerate(labels)]
    write_dataset(tmp_path / "labelled", trajectories, action_low=-1.0, action_high=1.0, row_group_rows=4)
    return tmp_path / "labelled"


@pytest.mark.parametrize(
    ("task", "fulfils", "goal"),
    [
        # The state in which the last success began: (number, step). Trajectory 0 succeeds from step 2 on.
        (LAST, [True, False, False], [0.0, 2.0]),
        (EVERY, [True, True, False], [0.5, 1.5]),
        (REWARD, [True, False, False], [0.0, 2.0]),
    ],
)
def test_labels_say_which_trajectories_fulfil_the_task_and_where(
    labelled: Path, task: TaskSettings, fulfils: list[bool], goal: list[float]
) -> None:
    labels = task_labels(read_dataset(labelled), task)
    assert labels.fulfils.tolist() == fulfils
    assert labels.goal is not None and labels.goal["state"].tolist() == goal
    # Examples end with the transition into that state: two states before it in trajectory 0, one in trajectory 1.
    assert labels.examples is not None
    steps = labels.examples.observations["state"][:, 1].tolist()
    assert steps == ([0.0, 1.0] if sum(fulfils) == 1 else [0.0, 1.0, 0.0])
    numbers = labels.examples.observations["state"][:, 0]
    assert np.array_equal(labels.examples.goals["state"][:, 0], numbers)


def test_data_without_a_success_are_refused_with_the_other_readings_named(tmp_path: Path) -> None:
    write_dataset(tmp_path / "x", [_trajectory([True, False], 0.0)], action_low=-1.0, action_high=1.0)
    assert task_labels(read_dataset(tmp_path / "x"), LAST).goal is None
    with pytest.raises(DatasetError, match=r"none of 1 trajectories.*next\.success at its last.*success_at: any"):
        check_labelled(read_dataset(tmp_path / "x"), LAST)


def test_larger_draws_hold_the_smaller_ones_and_seeds_differ() -> None:
    draws = [set(draw_episodes(50, count, seed=1)) for count in (5, 20, 50)]
    assert draws[0] < draws[1] < draws[2] == set(range(50))
    assert draw_episodes(50, 5, seed=1) != draw_episodes(50, 5, seed=2)
    with pytest.raises(DatasetError, match="got 50 episodes; expected at least 51"):
        draw_episodes(50, 51, seed=0)


def test_a_subset_holds_the_episodes_bit_for_bit_and_is_written_once(labelled: Path, tmp_path: Path) -> None:
    source = read_dataset(labelled)
    digest = write_subset(source, [0, 2], tmp_path / "two")
    subset = read_dataset(tmp_path / "two")
    assert subset.digest == digest and len(subset) == 2
    assert subset.spec == source.spec
    for mine, theirs in zip(subset, [source[0], source[2]], strict=True):
        assert mine.successes is not None and np.array_equal(mine.successes, theirs.successes)
        assert mine.rewards is not None and np.array_equal(mine.rewards, theirs.rewards)
        assert np.array_equal(mine.observations["state"], theirs.observations["state"])
    before = (tmp_path / "two" / "meta" / "manifest.json").stat().st_mtime_ns
    assert write_subset(source, [0, 2], tmp_path / "two") == digest
    assert (tmp_path / "two" / "meta" / "manifest.json").stat().st_mtime_ns == before


def _first_batches(
    path: Path, task: TaskSettings | None, count: int = 3, cache: str = ""
) -> list[dict[str, np.ndarray]]:
    ingest = IngestSettings(mode="resident", decoded_cache=cache)
    source = open_ingest(path, None, RelabelSettings(), ingest, batch_size=16, seed=0, task=task)[0]
    return list(itertools.islice(source.batches(), count))


def test_batches_of_a_task_hold_its_labels(labelled: Path) -> None:
    for batch in _first_batches(labelled, LAST):
        succeeds = batch["observation"]["state"][:, 0] == 0.0
        assert np.array_equal(batch["source"] == GoalSource.SUCCESS, succeeds)
        # y = 1 at the last of three transitions of the trajectory that succeeds, and nowhere else.
        assert np.array_equal(batch["is_end"], succeeds & (batch["observation"]["state"][:, 1] == 2.0))


def test_the_decoded_cache_keeps_labels_apart_from_unlabelled_windows(labelled: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    plain = _first_batches(labelled, LAST)
    _first_batches(labelled, None, cache=cache)  # fills the cache without labels
    for _ in range(2):
        for mine, theirs in zip(_first_batches(labelled, LAST, cache=cache), plain, strict=True):
            assert np.array_equal(mine["source"], theirs["source"])
            assert np.array_equal(mine["is_end"], theirs["is_end"])


def test_a_mixed_batch_is_the_one_followed_by_the_other(labelled: Path) -> None:
    def source(task: TaskSettings | None):  # type: ignore[no-untyped-def]
        return open_ingest(
            labelled, None, RelabelSettings(), IngestSettings(mode="resident"), batch_size=4, seed=0, task=task
        )[0]

    mixed = list(itertools.islice(MixedSource(source(LAST), source(None)).batches(2), 2))
    apart = [list(itertools.islice(source(task).batches(2), 2)) for task in (LAST, None)]
    for number, batch in enumerate(mixed):
        for part, rows in ((apart[0], slice(0, 4)), (apart[1], slice(4, 8))):
            assert np.array_equal(batch["source"][rows], part[number]["source"])
            assert np.array_equal(batch["goal"]["state"][rows], part[number]["goal"]["state"])


def test_data_of_different_worlds_are_refused(labelled: Path, tmp_path: Path) -> None:
    other = replace(_trajectory([True], 0.0), observations={"state": np.zeros((2, 5), np.float32)})
    write_dataset(tmp_path / "other", [other], action_low=-1.0, action_high=1.0)
    check_same_shape(labelled, labelled)
    with pytest.raises(DatasetError, match=r"other: got .*5.*; expected .*2.*Use data of the same world"):
        check_same_shape(labelled, tmp_path / "other")
