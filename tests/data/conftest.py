"""Small synthetic trajectories, and a way to write bad data that looks committed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from am_ray.data.manifest import Manifest, describe_file
from am_ray.data.storage import open_storage
from am_ray.data.writer import write_dataset
from am_ray.types import Trajectory

MakeTrajectories = Callable[..., list[Trajectory]]


@pytest.fixture
def make_trajectories() -> MakeTrajectories:
    """Trajectories whose state says where it is: ``state[:, 0]`` the episode, ``state[:, 1]`` the step."""

    def make(
        count: int,
        *,
        state: int = 3,
        actions: int = 2,
        cameras: dict[str, tuple[int, int, int]] | None = None,
        steps: tuple[int, int] = (1, 9),
        seed: int = 0,
    ) -> list[Trajectory]:
        rng = np.random.default_rng(seed)
        trajectories = []
        for episode in range(count):
            length = int(rng.integers(steps[0], steps[1] + 1))
            states = rng.normal(size=(length + 1, state)).astype(np.float32)
            states[:, 0] = episode
            if state > 1:
                states[:, 1] = np.arange(length + 1)
            observations: dict[str, np.ndarray] = {"state": states}
            for camera, shape in (cameras or {}).items():
                observations[camera] = rng.integers(0, 256, (length + 1, *shape), dtype=np.uint8)
            trajectories.append(
                Trajectory(
                    observations,
                    rng.uniform(-1, 1, (length, actions)).astype(np.float32),
                    rewards=rng.normal(size=length).astype(np.float32),
                    successes=rng.random(length) < 0.3,
                    terminated=bool(episode % 2),
                    task=f"task {episode % 3}",
                    metadata={"seed": episode, "behaviour": "noisy", "noise": 0.5 * episode},
                )
            )
        return trajectories

    return make


@pytest.fixture
def dataset(tmp_path: Path, make_trajectories: MakeTrajectories) -> Path:
    """40 episodes in 4 files of 2 or 3 row groups, 3-d state."""
    path = tmp_path / "set"
    write_dataset(path, make_trajectories(40), action_low=-1.0, action_high=1.0, row_group_rows=25, file_rows=60)
    return path


@pytest.fixture
def rewrite() -> Callable[..., None]:
    """Change a data file's table and commit the result, as other software with bad data would."""

    def apply(
        path: Path, change: Callable[[pa.Table], pa.Table], file: str = "data/chunk-000/file-001.parquet"
    ) -> None:
        storage = open_storage(path)
        manifest = Manifest.read(storage)
        entry = next(e for e in manifest.files if e.path == file)
        table = change(pq.read_table(path / file))
        with pq.ParquetWriter(path / file, table.schema, write_page_checksum=True, use_dictionary=False) as writer:
            start = 0
            for rows in entry.row_groups or ():
                writer.write_table(table.slice(start, sum(rows)))
                start += sum(rows)
        fresh = describe_file(storage, file, entry.row_groups)
        files = tuple(fresh if e.path == file else e for e in manifest.files)
        dataclasses.replace(manifest, files=files).write(storage)

    return apply


@pytest.fixture
def recommit() -> Callable[[Path], None]:
    """Describe the files of ``meta/`` anew, after a test has changed them."""

    def apply(path: Path) -> None:
        storage = open_storage(path)
        manifest = Manifest.read(storage)
        files = tuple(describe_file(storage, e.path) if e.row_groups is None else e for e in manifest.files)
        dataclasses.replace(manifest, files=files).write(storage)

    return apply


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server in this process."""
    moto_server: Any = pytest.importorskip("moto.server")
    server = moto_server.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()
