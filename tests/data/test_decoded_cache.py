from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from am_ray.data.decoded_cache import DecodedCache, load_block, save_block
from am_ray.data.images import decode_frames
from am_ray.data.reader import read_dataset
from am_ray.data.writer import write_dataset


@pytest.fixture
def opened(tmp_path, make_trajectories):
    write_dataset(
        tmp_path / "set", make_trajectories(20, cameras={"front": (4, 5, 3)}), row_group_rows=30, file_rows=60
    )
    return read_dataset(tmp_path / "set")


def reader(opened, folder) -> DecodedCache:
    return DecodedCache(str(folder), opened.storage, opened.info, opened.digest)


def assert_same(first, second) -> None:
    for name in ("observations", "actions", "first_row", "num_transitions", "episode_index"):
        np.testing.assert_equal(getattr(first, name), getattr(second, name))


def test_cached_windows_are_the_datasets(opened, tmp_path, monkeypatch):
    window = tuple(opened.row_groups)
    cached = reader(opened, tmp_path / "cache")
    assert_same(cached.read_window(window), opened.read_window(window))
    assert len(list((tmp_path / "cache").rglob("*.arrow"))) == len(window)
    assert not list((tmp_path / "cache").rglob("*.tmp"))

    def no_decoding(*_: object) -> np.ndarray:
        raise AssertionError("decoded again")

    monkeypatch.setattr("am_ray.data.data_files.decode_frames", no_decoding)
    assert decode_frames is not no_decoding
    again = cached.read_window(window)
    monkeypatch.undo()
    assert_same(again, opened.read_window(window))
    rows = np.array([0, 3, 7])
    plain = reader(opened, "").read_observations(window[1], rows)
    np.testing.assert_equal(cached.read_observations(window[1], rows), plain)


def test_a_damaged_cache_is_made_anew(opened, tmp_path, caplog):
    window = (opened.row_groups[0],)
    cached = reader(opened, tmp_path / "cache")
    cached.read_window(window)
    (file,) = (tmp_path / "cache").rglob("*.arrow")
    good = file.read_bytes()
    for bad in (good[:-30], b"", good.replace(b"ARROW1", b"ARROW2")):
        file.write_bytes(bad)
        assert_same(cached.read_window(window), opened.read_window(window))
        assert "made anew" in caplog.text
        assert len(file.read_bytes()) == len(good)
        caplog.clear()


def test_a_block_whose_bytes_changed_is_noticed(opened, tmp_path):
    file = tmp_path / "block.arrow"
    save_block(file, opened.read_window(opened.windows()[0]))
    with pa.OSFile(str(file), "rb") as source:
        batch = pa.ipc.open_file(source).get_batch(0)
    content = bytearray(batch.column("actions")[0].as_py())
    content[9] ^= 1
    column = pa.array([bytes(content)], pa.large_binary())
    batch = batch.set_column(batch.schema.names.index("actions"), "actions", column)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(ValueError, match="checksum of actions"):
        load_block(file)


def test_other_data_do_not_share_a_cache(opened, tmp_path, make_trajectories):
    cached = reader(opened, tmp_path / "cache")
    cached.read_window(tuple(opened.row_groups))
    trajectories = make_trajectories(20, cameras={"front": (4, 5, 3)}, seed=1)
    write_dataset(tmp_path / "other", trajectories, row_group_rows=30, file_rows=60)
    other = read_dataset(tmp_path / "other")
    window = tuple(other.row_groups)
    assert_same(reader(other, tmp_path / "cache").read_window(window), other.read_window(window))
    # The same data in other row groups: the digest is the same, the cached files are not.
    write_dataset(tmp_path / "regrouped", list(opened), row_group_rows=1)
    regrouped = read_dataset(tmp_path / "regrouped")
    assert regrouped.digest == opened.digest
    window = tuple(regrouped.row_groups)
    assert_same(reader(regrouped, tmp_path / "cache").read_window(window), regrouped.read_window(window))
