"""Row groups kept decoded on a local disk, so that images are decoded once and not once per epoch.

One Arrow file per row group, lz4, with the checksum of its content; a file that does not fit or is damaged is made anew.
A PNG costs 150 us of a core, a frame from here 15 us.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from am_ray.data.blocks import PER_STEP, RowGroup, Window, join_blocks, read_observations, read_window
from am_ray.data.schema import DatasetInfo
from am_ray.data.slab import array_of, binary_value
from am_ray.data.storage import Storage
from am_ray.types import EpisodeBlock

logger = logging.getLogger(__name__)

ARRAYS_KEY = b"am_ray.arrays"
PER_EPISODE = ("first_row", "num_transitions", "episode_index")


class DecodedCache:
    """Reads windows through a folder of decoded row groups; without a folder it only reads. Picklable.

    Args:
        folder: Where decoded row groups are kept; empty: nowhere.
        storage: The dataset's folder.
        info: Its ``meta/info.json``.
        digest: Of its data: what a cached row group belongs to.
        per_step: Whether rewards and successes are read too; they are zeros otherwise.
    """

    def __init__(
        self, folder: str, storage: Storage, info: DatasetInfo, digest: str, *, per_step: bool = False
    ) -> None:
        self._folder = Path(folder).expanduser() / digest[:16] if folder else None
        self._storage, self._info, self._per_step = storage, info, per_step

    def read_window(self, window: Window, *, threads: bool = False) -> EpisodeBlock:
        """As `am_ray.data.blocks.read_window`."""
        if self._folder is None:
            return read_window(self._storage, self._info, window, threads=threads, per_step=self._per_step)
        return join_blocks([self._read_group(self._folder, group, threads) for group in window])

    def read_observations(self, group: RowGroup, rows: np.ndarray) -> dict[str, np.ndarray]:
        """As `am_ray.data.blocks.read_observations`."""
        if self._folder is None:
            return read_observations(self._storage, self._info, group, rows)
        observations = self._read_group(self._folder, group, threads=False).observations
        return {name: value[rows] for name, value in observations.items()}

    def _read_group(self, folder: Path, group: RowGroup, threads: bool) -> EpisodeBlock:
        # The digest knows the data, not its files: the same data may lie in other row groups.
        layout = json.dumps([group.path, group.number, group.first_episode, group.episode_rows, self._per_step])
        path = folder / f"{hashlib.sha256(layout.encode()).hexdigest()[:32]}.arrow"
        try:
            return load_block(path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, pa.ArrowInvalid) as error:
            logger.warning("%s: made anew (%s)", path, error)
        block = read_window(self._storage, self._info, (group,), threads=threads, per_step=self._per_step)
        save_block(path, block)
        return block


def save_block(path: Path, block: EpisodeBlock) -> None:
    """Write a block atomically; several processes may write the same one."""
    arrays = {f"observations/{name}": value for name, value in block.observations.items()}
    arrays |= {name: getattr(block, name) for name in ("actions", *PER_STEP, *PER_EPISODE)}
    described = {n: [v.dtype.str, list(v.shape), zlib.crc32(np.ascontiguousarray(v).data)] for n, v in arrays.items()}
    blobs = [binary_value(value) for value in arrays.values()]
    schema = pa.schema([(name, pa.large_binary()) for name in arrays], metadata={ARRAYS_KEY: json.dumps(described)})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
        writer.write_batch(pa.record_batch(blobs, schema=schema))
    temporary.rename(path)


def load_block(path: Path) -> EpisodeBlock:
    """Read what `save_block` wrote.

    Raises:
        ValueError: If an array is not what was written (pyarrow's own errors for a file that is cut).
    """
    with pa.OSFile(str(path), "rb") as source:
        table = pa.ipc.open_file(source).read_all()
    arrays = {}
    for name, (dtype, shape, checksum) in json.loads(table.schema.metadata[ARRAYS_KEY]).items():
        arrays[name] = array_of(table.column(name), 0, dtype, shape)
        if zlib.crc32(arrays[name].data) != checksum:
            raise ValueError(f"checksum of {name}")
    observations = {n.removeprefix("observations/"): v for n, v in arrays.items() if n.startswith("observations/")}
    return EpisodeBlock(observations, **{name: arrays[name] for name in ("actions", *PER_STEP, *PER_EPISODE)})
