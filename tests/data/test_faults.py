"""Rows 2, 3 and 4 of the reliability table: damage is injected, and must be refused before training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from am_ray.data.ingest import open_ingest
from am_ray.data.reader import read_dataset
from am_ray.data.validation import validate_dataset
from am_ray.data.writer import write_dataset
from am_ray.settings import IngestSettings, RelabelSettings
from am_ray.types import DatasetError

FILE = "data/chunk-000/file-001.parquet"


def ingest(path: Path, mode: str = "resident", *, skip_bad_files: bool = False) -> list:
    settings = IngestSettings(mode=mode, skip_bad_files=skip_bad_files)
    return open_ingest(path, None, RelabelSettings(), settings, batch_size=8, seed=0)


def flip_bit(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


def refused(path: Path, message: str) -> str:
    """Training is refused in both modes, and so is `validate`; returns the message."""
    for mode in ("resident", "streaming"):
        with pytest.raises(DatasetError, match=message) as error:
            next(iter(ingest(path, mode)[0].batches())) if mode == "resident" else ingest(path, mode)
    assert not validate_dataset(path).ok
    return str(error.value)


def test_one_flipped_bit_in_a_page_is_found_and_located(dataset):
    group = pq.ParquetFile(dataset / FILE).metadata.row_group(1)
    column = next(
        group.column(i) for i in range(group.num_columns) if "observation.state" in group.column(i).path_in_schema
    )
    flip_bit(dataset / FILE, column.data_page_offset + column.total_compressed_size - 3)

    with pytest.raises(DatasetError, match=r"file-001.parquet: row group 1 cannot be read .*CRC"):
        ingest(dataset)
    report = validate_dataset(dataset)
    assert any("row group 1" in problem for problem in report.problems)
    # Whoever reads without asking for hashes is stopped at the page itself.
    with pytest.raises(DatasetError, match="row group 1 cannot be read"):
        read_dataset(dataset).read_all()


def test_every_flipped_bit_is_found_by_a_deep_validation(dataset):
    size = (dataset / FILE).stat().st_size
    good = (dataset / FILE).read_bytes()
    for position in np.linspace(0, size - 1, 25).astype(int):
        flip_bit(dataset / FILE, int(position))
        assert any(FILE in problem for problem in validate_dataset(dataset, deep=True).problems), position
        (dataset / FILE).write_bytes(good)
    report = validate_dataset(dataset, deep=True)
    assert report.ok
    assert report.episodes == 40


@pytest.mark.parametrize("fault", ["flipped", "truncated", "empty", "missing", "swapped", "footer"])
def test_a_bad_file_is_refused_or_left_out(dataset, fault):
    file, other = dataset / FILE, dataset / FILE.replace("001", "002")
    everything = read_dataset(dataset)
    lost = sum(g.num_episodes for g in everything.row_groups if g.path.endswith("001.parquet"))
    bad = {FILE}
    match fault:
        case "flipped":
            flip_bit(file, 200)
        case "truncated":
            file.write_bytes(file.read_bytes()[:-100])
        case "empty":
            file.write_bytes(b"")
        case "missing":
            file.unlink()
        case "footer":
            flip_bit(file, file.stat().st_size - 40)
        case "swapped":
            content = file.read_bytes()
            file.write_bytes(other.read_bytes())
            other.write_bytes(content)
            bad.add(FILE.replace("001", "002"))
            lost += sum(g.num_episodes for g in everything.row_groups if g.path.endswith("002.parquet"))
    with pytest.raises(DatasetError, match=r"file-00[12]\.parquet.*'am-ray pretrain --skip-bad-files'"):
        ingest(dataset)
    found = read_dataset(dataset, skip_bad_files=True, hashes=True)
    assert set(found.dropped) == bad
    assert found.num_dropped_episodes == lost
    assert len(found) == 40 - lost
    # What is left is still right: every kept episode says its own number.
    numbers = [int(t.observations["state"][0, 0]) for t in found]
    assert numbers == sorted(numbers)
    assert [t.metadata["seed"] for t in found] == numbers
    report = validate_dataset(dataset)
    assert report.promised_episodes == 40
    assert fault == "flipped" or report.episodes == 40 - lost
    shard = ingest(dataset, skip_bad_files=True)[0].shard
    assert {g.path for g in shard.row_groups}.isdisjoint(bad)


def test_a_file_of_the_same_size_from_another_dataset_is_noticed(tmp_path, make_trajectories):
    for name, seed in (("a", 0), ("b", 1)):
        trajectories = make_trajectories(6, steps=(5, 5), seed=seed)
        for trajectory in trajectories:
            trajectory.metadata.clear()
        write_dataset(tmp_path / name, trajectories)
    shutil.copy(tmp_path / "b/data/chunk-000/file-000.parquet", tmp_path / "a/data/chunk-000/file-000.parquet")
    with pytest.raises(DatasetError, match=r"bytes as meta/manifest.json says|swapped"):
        read_dataset(tmp_path / "a")


def test_an_extra_file_is_refused(dataset):
    shutil.copy(dataset / FILE, dataset / FILE.replace("001", "009"))
    assert "not in meta/manifest.json" in refused(dataset, "file-009.parquet")


@pytest.mark.parametrize(
    "file", ["meta/info.json", "meta/stats.json", "meta/tasks.parquet", "meta/episodes/chunk-000/file-000.parquet"]
)
def test_changed_metadata_is_refused(dataset, file):
    flip_bit(dataset / file, 30)
    refused(dataset, f"{file}: got sha256")
    (dataset / file).unlink()
    assert "skip-bad-files" not in refused(dataset, f"{file}: got no such file")


def test_when_every_file_is_bad_there_is_nothing_to_skip_to(dataset):
    for file in (dataset / "data").rglob("*.parquet"):
        file.write_bytes(b"")
    with pytest.raises(DatasetError, match="every data file is bad"):
        read_dataset(dataset, skip_bad_files=True)


def drop(table: pa.Table, name: str) -> pa.Table:
    return table.drop_columns([name])


def replace(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def with_value(table: pa.Table, name: str, row: int, value: float) -> pa.Table:
    values = np.stack(table.column(name).to_numpy(zero_copy_only=False)).astype(np.float32)
    values[row, 0] = value
    flat = pa.array(values.reshape(-1))
    return replace(table, name, pa.FixedSizeListArray.from_arrays(flat, values.shape[1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: drop(t, "action"), "no column 'action'"),
        (lambda t: t.append_column("extra", t.column("index")), "an undeclared column 'extra'"),
        (
            lambda t: replace(t, "frame_index", pc.cast(t.column("frame_index"), pa.int32())),
            "'frame_index' of type int32, expected int64",
        ),
        (
            lambda t: replace(t, "action", pc.cast(t.column("action"), pa.list_(pa.float64(), 2))),
            "of type fixed_size_list<.*double>",
        ),
        (
            lambda t: replace(t, "action", pa.array([[0.0] * 3] * len(t), pa.list_(pa.float32(), 3))),
            r"'action' of type fixed_size_list",
        ),
        (lambda t: replace(t, "action", pa.array([b"pickle"] * len(t))), "'action' of type binary"),
        (
            lambda t: replace(t, "action", pa.array([[0.0]] * len(t), pa.list_(pa.float32()))),
            "'action': lists of 1 to 1 entries; expected 2",
        ),
        (
            lambda t: replace(t, "action", pa.nulls(len(t), pa.list_(pa.float32(), 2))),
            "row group 0 cannot be read|missing values",
        ),
        (lambda t: with_value(t, "observation.state", 7, np.nan), "NaN or infinity in '(observation.)?state'"),
        (lambda t: with_value(t, "action", 7, np.inf), "NaN or infinity in 'action'"),
        (
            lambda t: replace(t, "frame_index", t.column("frame_index").take(np.arange(len(t))[::-1])),
            "frame_index .* expected 0",
        ),
        (lambda t: replace(t, "episode_index", pc.add(t.column("episode_index"), 1)), "episode_index .* expected"),
    ],
)
def test_bad_tables_are_refused_in_words(dataset, rewrite, change, message):
    rewrite(dataset, change)
    text = refused(dataset, message)
    assert "file-001.parquet" in text


def change_manifest(path: Path, change) -> None:
    manifest = json.loads((path / "meta/manifest.json").read_text())
    change(manifest)
    (path / "meta/manifest.json").write_text(json.dumps(manifest))


def test_an_episode_of_one_row_is_refused(tmp_path, make_trajectories, rewrite, recommit):
    path = tmp_path / "set"
    write_dataset(path, make_trajectories(2, steps=(1, 1)))
    file = "data/chunk-000/file-000.parquet"
    rewrite(path, lambda t: t.slice(0, 3), file)
    change_manifest(path, lambda m: m["files"][-1].update(row_groups=[[2, 1]]))
    episodes = path / "meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(replace(pq.read_table(episodes), "length", pa.array([2, 1])), episodes)
    info = json.loads((path / "meta/info.json").read_text())
    (path / "meta/info.json").write_text(json.dumps(info | {"total_frames": 3}))
    recommit(path)
    assert "at least 2, one transition" in refused(path, "episode 1 has 1 row")


def test_a_gap_in_the_episodes_is_refused(dataset, recommit):
    file = dataset / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    pq.write_table(table.filter(pc.not_equal(table.column("episode_index"), 7)), file)
    recommit(dataset)
    refused(dataset, "a gap at 7")


def test_an_empty_dataset_is_refused(dataset):
    change_manifest(dataset, lambda m: m.update(files=[f for f in m["files"] if f["row_groups"] is None]))
    shutil.rmtree(dataset / "data")
    refused(dataset, "no episodes")


def test_totals_that_disagree_are_refused(dataset, recommit):
    info = json.loads((dataset / "meta/info.json").read_text())
    (dataset / "meta/info.json").write_text(json.dumps(info | {"total_episodes": 41}))
    recommit(dataset)
    refused(dataset, "says 41 episodes")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i.update(codebase_version="v2.1"), "version v2.1"),
        (lambda i: i["am_ray"].update(schema_version=9), "version v3.0/9"),
        (lambda i: i.pop("am_ray"), "am_ray"),
        (lambda i: i["features"].pop("action"), "no column 'action'"),
        (lambda i: i["features"]["action"].update(dtype="float64"), "dtype 'float64'; expected float32"),
        (
            lambda i: i["features"].update({"observation.images.x": {"dtype": "video", "shape": [4, 4, 3]}}),
            "dtype 'video'",
        ),
        (
            lambda i: i["features"].update({"observation.images.x": {"dtype": "image", "shape": [100000, 100000, 3]}}),
            r"shape \(100000, 100000, 3\)",
        ),
        (
            lambda i: i["features"].update({"observation.images.x": {"dtype": "image", "shape": [4, 4, 2]}}),
            "image shape",
        ),
        (lambda i: i.update(data_path="../../other/file.parquet"), "data_path"),
        (lambda i: i.update(fps=0), "fps 0.0"),
        (lambda i: i["am_ray"]["action_space"].update(low=[1, 1]), "expected finite and low < high"),
        (lambda i: i["am_ray"]["action_space"].update(low=[0]), "action bounds of 1 and 2 entries"),
        (lambda i: i["am_ray"].update(goal_features={"observation.dream": None}), "goal feature 'dream'"),
        (lambda i: i["am_ray"].update(final_observation="maybe"), "final_observation 'maybe'"),
    ],
)
def test_bad_info_is_refused_in_words(dataset, recommit, change, message):
    info = json.loads((dataset / "meta/info.json").read_text())
    change(info)
    (dataset / "meta/info.json").write_text(json.dumps(info))
    recommit(dataset)
    assert "meta/info.json" in refused(dataset, message)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "data/../../secret", "c:\\secret", "data//x", ""])
def test_paths_that_leave_the_folder_are_refused(dataset, path):
    change_manifest(dataset, lambda m: m["files"][0].update(path=path))
    refused(dataset, "leaves the dataset's folder")


def test_a_link_that_leaves_the_folder_is_refused(dataset, tmp_path):
    outside = tmp_path / "outside.parquet"
    (dataset / FILE).rename(outside)
    (dataset / FILE).symlink_to(outside)
    refused(dataset, "leaves the dataset's folder")


def images_of(table: pa.Table, change) -> pa.Table:
    frames = [change(i, value["bytes"]) for i, value in enumerate(table.column("observation.images.front").to_pylist())]
    arrays = [pa.array(frames, pa.binary()), pa.nulls(len(frames), pa.string())]
    return replace(table, "observation.images.front", pa.StructArray.from_arrays(arrays, ["bytes", "path"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"not an image", "cannot be decoded"),
        (lambda data: data[: len(data) // 2], "cannot be decoded"),
        (lambda data: None, "no image bytes"),
        (lambda data: LARGER, r"an image of 6x6 pixels, mode RGB; expected 4x5"),
        (lambda data: b"\x80\x04\x95pickled", "cannot be decoded"),
    ],
)
def test_bad_images_are_refused(tmp_path, make_trajectories, rewrite, change, message):
    path = tmp_path / "set"
    write_dataset(path, make_trajectories(5, cameras={"front": (4, 5, 3)}))
    file = "data/chunk-000/file-000.parquet"
    rewrite(path, lambda t: images_of(t, lambda i, data: change(data) if i == 4 else data), file)
    with pytest.raises(DatasetError, match=message) as error:
        next(iter(ingest(path)[0].batches()))
    assert "row group 0" in str(error.value)
    assert "row 4" in str(error.value)
    assert not validate_dataset(path, deep=True).ok


def test_content_that_changed_behind_valid_checksums_is_found_by_its_hash(dataset, rewrite):
    rewrite(dataset, lambda t: with_value(t, "observation.state", 7, 0.25))
    assert validate_dataset(dataset).ok
    report = validate_dataset(dataset, deep=True)
    assert len(report.problems) == 1
    assert "is not what was written" in report.problems[0]


def _png(height: int, width: int) -> bytes:
    from am_ray.data.images import encode_png

    return encode_png(np.zeros((1, height, width, 3), np.uint8))[0]


LARGER = _png(6, 6)
