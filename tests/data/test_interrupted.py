"""Row 1 of the reliability table: a killed writer commits nothing, and loses no whole episode."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from am_ray.data.ingest import open_ingest
from am_ray.data.journal import JOURNAL_PATH
from am_ray.data.reader import read_dataset
from am_ray.data.validation import repair_dataset, validate_dataset
from am_ray.data.writer import DatasetWriter, write_dataset
from am_ray.settings import IngestSettings, RelabelSettings
from am_ray.types import DatasetError

# Appends episodes for ever; says how many are in after each.
WRITER = """
import sys
import numpy as np
from am_ray.data.writer import DatasetWriter
from am_ray.types import Trajectory

writer = DatasetWriter.resume(sys.argv[1], action_low=-1.0, action_high=1.0, row_group_rows=40, file_rows=100)
while True:
    i = writer.next_episode
    states = np.full((i % 7 + 2, 3), i, np.float32)
    writer.append(Trajectory({"state": states}, np.full((i % 7 + 1, 1), 0.5, np.float32), metadata={"seed": i}))
    print(writer.next_episode, flush=True)
"""
SETTINGS = {"action_low": -1.0, "action_high": 1.0, "row_group_rows": 25, "file_rows": 60}


def kill_while_writing(path: Path, delay_s: float) -> int:
    """Start a writer, SIGKILL it after its first episode and a delay; returns the episodes it said were in."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    return int(rest[-1] if rest else line)


def check_repaired(path: Path, at_least: int) -> int:
    report = repair_dataset(path)
    dataset = read_dataset(path)
    assert report.episodes == len(dataset)
    assert at_least <= len(dataset) <= at_least + 1  # one more: the kill came between the write and the message
    for i, trajectory in enumerate(dataset):
        np.testing.assert_array_equal(trajectory.observations["state"], np.full((i % 7 + 2, 3), i))
        assert trajectory.metadata == {"seed": i}
    assert validate_dataset(path, deep=True).ok
    return len(dataset)


def test_a_killed_writer_loses_no_whole_episode(tmp_path):
    path = tmp_path / "set"
    said = kill_while_writing(path, 0.15)
    with pytest.raises(DatasetError, match="am-ray dataset repair"):
        read_dataset(path)
    with pytest.raises(DatasetError, match="am-ray dataset repair"):
        open_ingest(path, None, RelabelSettings(), IngestSettings(), batch_size=4, seed=0)
    assert not validate_dataset(path).ok
    again = kill_while_writing(path, 0.1)  # goes on where the first one died
    assert again > said
    check_repaired(path, again)


@pytest.mark.slow
def test_writers_killed_at_twenty_points(tmp_path):
    rng = np.random.default_rng(0)
    for attempt in range(20):
        path = tmp_path / f"set-{attempt}"
        said = kill_while_writing(path, float(rng.uniform(0, 0.2)))
        check_repaired(path, said)


def interrupted(path: Path, trajectories: list) -> None:
    writer = DatasetWriter(path, **SETTINGS)
    for trajectory in trajectories:
        writer.append(trajectory)
    writer.abort()


@pytest.mark.parametrize("after", [1, 9, 23])
def test_resumed_equals_uninterrupted_byte_for_byte(tmp_path, make_trajectories, after):
    trajectories = make_trajectories(40)
    whole = write_dataset(tmp_path / "whole", trajectories, **SETTINGS)
    interrupted(tmp_path / "parts", trajectories[:after])
    with DatasetWriter.resume(tmp_path / "parts", **SETTINGS) as writer:
        assert writer.next_episode == after
        for trajectory in trajectories[after:]:
            writer.append(trajectory)
    assert writer.digest == whole
    for file in (tmp_path / "whole/data").rglob("*.parquet"):
        assert file.read_bytes() == (tmp_path / "parts" / file.relative_to(tmp_path / "whole")).read_bytes()
    assert not (tmp_path / "parts/pending").exists()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_torn_journal_gives_its_whole_episodes(tmp_path, make_trajectories, share):
    trajectories = make_trajectories(8)
    interrupted(tmp_path / "set", trajectories)
    journal = tmp_path / "set" / JOURNAL_PATH
    data = journal.read_bytes()
    journal.write_bytes(data[: int(share * len(data))])
    report = repair_dataset(tmp_path / "set")
    found = read_dataset(tmp_path / "set")
    assert 0 < report.episodes == len(found) < 8
    for written, kept in zip(trajectories, found, strict=False):
        np.testing.assert_array_equal(written.observations["state"], kept.observations["state"])


def test_a_kill_just_before_the_manifest_costs_nothing(tmp_path, make_trajectories):
    digest = write_dataset(tmp_path / "set", make_trajectories(20), **SETTINGS)
    (tmp_path / "set/meta/manifest.json").unlink()
    (tmp_path / "set/data/chunk-000/file-007.parquet.tmp").write_bytes(b"half a file")
    report = repair_dataset(tmp_path / "set")
    assert (report.digest, report.episodes) == (digest, 20)
    assert "data/chunk-000/file-007.parquet.tmp" in report.discarded
    assert validate_dataset(tmp_path / "set", deep=True).ok


def test_a_kill_before_the_first_episode_leaves_nothing_in_the_way(tmp_path, make_trajectories):
    (tmp_path / "set/meta").mkdir(parents=True)
    (tmp_path / "set/meta/info.json.tmp").write_bytes(b"{")
    with pytest.raises(DatasetError, match="no episodes"):
        repair_dataset(tmp_path / "set")
    with DatasetWriter.resume(tmp_path / "set") as writer:
        assert writer.next_episode == 0
        writer.append(make_trajectories(1)[0])
    assert validate_dataset(tmp_path / "set").ok


def test_a_kill_between_a_file_and_its_journal_duplicates_nothing(tmp_path, make_trajectories):
    trajectories = make_trajectories(20)
    interrupted(tmp_path / "set", trajectories[:3])
    journal = (tmp_path / "set" / JOURNAL_PATH).read_bytes()
    writer = DatasetWriter.resume(tmp_path / "set", **SETTINGS)
    for trajectory in trajectories[3:]:
        writer.append(trajectory)
    writer.abort()
    (tmp_path / "set" / JOURNAL_PATH).write_bytes(journal)  # as if the first file had been renamed and nothing else
    resumed = DatasetWriter.resume(tmp_path / "set")
    files = list((tmp_path / "set/data").rglob("*.parquet"))
    assert files
    assert resumed.next_episode == len({i for i in range(20) if i < resumed.next_episode})
    resumed.close()
    seeds = [t.metadata["seed"] for t in read_dataset(tmp_path / "set")]
    assert seeds == list(range(len(seeds)))


def test_a_complete_dataset_needs_no_repair(dataset):
    report = repair_dataset(dataset)
    assert report.was_complete
    assert report.digest == read_dataset(dataset).digest
    with pytest.raises(DatasetError, match="the dataset is complete"):
        DatasetWriter.resume(dataset)


def test_another_generator_may_not_go_on(tmp_path, make_trajectories):
    writer = DatasetWriter(tmp_path / "set", generator={"seed": 1})
    writer.append(make_trajectories(1)[0])
    writer.abort()
    with pytest.raises(DatasetError, match="episodes of two kinds must not mix"):
        DatasetWriter.resume(tmp_path / "set", generator={"seed": 2})
    assert DatasetWriter.resume(tmp_path / "set", generator={"seed": 1}).next_episode == 1


def test_two_writers_may_not_share_a_folder(tmp_path, make_trajectories):
    first = DatasetWriter.resume(tmp_path / "set")
    first.append(make_trajectories(1)[0])
    with pytest.raises(DatasetError, match="another process"):
        DatasetWriter.resume(tmp_path / "set")
    first.close()


def test_an_exception_in_the_block_commits_nothing(tmp_path, make_trajectories):
    with pytest.raises(RuntimeError, match="robot fell over"), DatasetWriter(tmp_path / "set") as writer:
        writer.append(make_trajectories(1)[0])
        raise RuntimeError("robot fell over")
    with pytest.raises(DatasetError, match="am-ray dataset repair"):
        read_dataset(tmp_path / "set")
    assert repair_dataset(tmp_path / "set").episodes == 1


@pytest.mark.parametrize("look", [read_dataset, repair_dataset])
def test_nothing_there_is_said_plainly(tmp_path, dataset, look):
    with pytest.raises(DatasetError, match="there is no dataset here: got nothing"):
        look(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("data")
    with pytest.raises(DatasetError, match=r"there is no dataset here.*Datasets below it: set"):
        look(tmp_path)
    assert not (tmp_path / "nowhere").exists()


def test_resuming_above_a_folder_of_datasets_deletes_none_of_them(tmp_path, make_trajectories):
    digest = write_dataset(tmp_path / "data/mine", make_trajectories(2))
    with pytest.raises(DatasetError, match="expected an interrupted write"):
        DatasetWriter.resume(tmp_path)
    assert read_dataset(tmp_path / "data/mine").digest == digest


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_where_nothing_can_be_recovered_everything_stays(tmp_path, make_trajectories):
    path = tmp_path / "set"
    write_dataset(path, make_trajectories(5))
    (path / "meta/manifest.json").unlink()
    file = path / "data/chunk-000/file-000.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    before = contents(path)
    with pytest.raises(DatasetError, match=r"no episodes that are whole.*Nothing was changed"):
        repair_dataset(path)
    assert contents(path) == before


def test_data_that_repair_cannot_use_is_moved_not_deleted(dataset):
    (dataset / "meta/manifest.json").unlink()
    names = [f"data/chunk-000/file-00{i}.parquet" for i in range(4)]
    torn = dataset / names[1]
    torn.write_bytes(torn.read_bytes()[:-100])
    before = contents(dataset)
    report = repair_dataset(dataset)
    after = contents(dataset)
    assert after[names[0]] == before[names[0]]
    for name in names[1:]:  # whole ones too: their episodes' numbers cannot follow
        assert name in report.discarded
        assert name not in after
        assert after[f"discarded/{name}"] == before[name]
    found = read_dataset(dataset)
    assert [t.metadata["seed"] for t in found] == list(range(report.episodes))
    assert validate_dataset(dataset, deep=True).ok


def test_a_journal_that_cannot_follow_is_kept(tmp_path, make_trajectories):
    path = tmp_path / "set"
    interrupted(path, make_trajectories(32))
    files = sorted((path / "data").rglob("*.parquet"))
    assert len(files) > 1
    files[-1].write_bytes(b"PAR1")
    earlier = path / "discarded" / files[-1].relative_to(path)
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"of an earlier repair")
    journal = (path / JOURNAL_PATH).read_bytes()
    assert JOURNAL_PATH in repair_dataset(path).discarded
    assert (path / "discarded" / JOURNAL_PATH).read_bytes() == journal
    assert earlier.read_bytes() == b"of an earlier repair"
    assert earlier.with_name(earlier.name + "~").read_bytes() == b"PAR1"


def test_repair_beside_a_writer_that_lives_touches_none_of_its_files(tmp_path, make_trajectories):
    path = tmp_path / "set"
    writer = DatasetWriter(path)
    writer.append(make_trajectories(1)[0])
    half = path / "data/chunk-000/file-000.parquet.tmp"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half a file")
    with pytest.raises(DatasetError, match="another process"):
        repair_dataset(path)
    assert half.exists()
    writer.close()
