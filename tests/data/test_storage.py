"""The same code on a local path, a file:// URI and an S3 server."""

from __future__ import annotations

import numpy as np
import pytest

from am_ray.data.ingest import open_ingest
from am_ray.data.reader import read_dataset
from am_ray.data.storage import open_storage
from am_ray.data.validation import repair_dataset, validate_dataset
from am_ray.data.writer import DatasetWriter, write_dataset
from am_ray.settings import IngestSettings, RelabelSettings
from am_ray.types import DatasetError

SETTINGS = {"row_group_rows": 25, "file_rows": 60}


@pytest.fixture
def bucket(s3_endpoint, request):
    boto3 = pytest.importorskip("boto3")
    name = request.node.name.replace("_", "-").replace("[", "-").replace("]", "")[:60]
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{s3_endpoint}",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=name)
    return lambda path: f"s3://key:secret@{name}/{path}?scheme=http&endpoint_override={s3_endpoint}&region=us-east-1"


@pytest.fixture(params=["path", "file", "s3"])
def place(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("bucket")
    return lambda name: str(tmp_path / name) if request.param == "path" else f"file://{tmp_path / name}"


def test_every_place_holds_the_same_data(place, make_trajectories, tmp_path):
    trajectories = make_trajectories(20, cameras={"front": (4, 5, 3)})
    digest = write_dataset(place("set"), trajectories, **SETTINGS)
    assert digest == write_dataset(tmp_path / "reference", trajectories, **SETTINGS)
    dataset = read_dataset(place("set"))
    for written, found in zip(trajectories, dataset, strict=True):
        np.testing.assert_array_equal(written.observations["front"], found.observations["front"])
    assert validate_dataset(place("set"), deep=True).ok
    with pytest.raises(DatasetError, match="overwrite=True"):
        DatasetWriter(place("set"))
    write_dataset(place("set"), trajectories[:5], overwrite=True)
    assert len(read_dataset(place("set"))) == 5


def test_every_place_gives_the_same_batches(place, make_trajectories, tmp_path):
    batches = []
    for path in (place("set"), tmp_path / "reference"):
        write_dataset(path, make_trajectories(20), **SETTINGS)
        source = open_ingest(path, None, RelabelSettings(), IngestSettings(mode="resident"), batch_size=16, seed=0)[0]
        batches.append(next(source.batches(3)))
    np.testing.assert_array_equal(batches[0]["goal"]["state"], batches[1]["goal"]["state"])


def test_an_interrupted_upload_keeps_its_whole_files(bucket, make_trajectories):
    trajectories = make_trajectories(40)
    writer = DatasetWriter(bucket("set"), **SETTINGS)
    for trajectory in trajectories:
        writer.append(trajectory)
    writer.abort()
    with pytest.raises(DatasetError, match="am-ray dataset repair"):
        read_dataset(bucket("set"))
    report = repair_dataset(bucket("set"))
    assert 0 < report.episodes < 40
    found = read_dataset(bucket("set"))
    for written, kept in zip(trajectories, found, strict=False):
        np.testing.assert_array_equal(written.actions, kept.actions)


def test_a_damaged_object_is_refused(bucket, make_trajectories):
    write_dataset(bucket("set"), make_trajectories(20), **SETTINGS)
    storage = open_storage(bucket("set"))
    data = bytearray(storage.read_bytes("data/chunk-000/file-000.parquet"))
    data[100] ^= 1
    storage.write_bytes("data/chunk-000/file-000.parquet", bytes(data))
    with pytest.raises(DatasetError, match=r"file-000.parquet"):
        open_ingest(bucket("set"), None, RelabelSettings(), IngestSettings(), batch_size=16, seed=0)


def test_messages_never_show_credentials(bucket):
    with pytest.raises(DatasetError) as error:
        read_dataset(bucket("nothing"))
    assert "secret" not in str(error.value)


def test_unknown_schemes_are_refused():
    with pytest.raises(DatasetError, match="expected a local path or a URI"):
        read_dataset("carrier-pigeon://coop/set")


def test_endpoint_and_credentials_may_come_from_the_environment(bucket, s3_endpoint, make_trajectories, monkeypatch):
    digest = write_dataset(bucket("set"), make_trajectories(3))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3_endpoint}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = open_storage(bucket("set")).root
    assert read_dataset(f"s3://{name}").digest == digest
