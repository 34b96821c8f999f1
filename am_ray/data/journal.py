"""Episodes that are not in a finished Parquet file yet, kept so that a killed writer loses none of them.

An Arrow IPC stream, one episode per record batch, its record in the batch's metadata. A stream that was cut in the
middle of a batch reads up to the last whole one. Only on local storage: object stores cannot append, so there a killed
writer loses the episodes after its last whole data file.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

from am_ray.data.frames import EpisodeRecord
from am_ray.data.storage import TEMPORARY_SUFFIX, Storage
from am_ray.types import DatasetError

JOURNAL_FOLDER = "pending"
JOURNAL_PATH = f"{JOURNAL_FOLDER}/journal.arrows"
LOCK_PATH = f"{JOURNAL_FOLDER}/lock"

Row = tuple[EpisodeRecord, int, pa.RecordBatch]  # record, episode index, rows


class Journal:
    """Appends episodes to the journal file; a lock refuses a second writer in the same folder."""

    def __init__(self, storage: Storage, schema: pa.Schema) -> None:
        self._path = Path(storage.path(JOURNAL_PATH))
        self._schema = schema
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(Path(storage.path(LOCK_PATH)), storage)
        self._file: IO[bytes] | None = None
        self._stream: pa.RecordBatchStreamWriter | None = None

    def restart(self, episodes: list[Row]) -> None:
        """Replace the journal by one that holds only ``episodes``."""
        self._close_stream()
        fresh = self._path.with_name(self._path.name + TEMPORARY_SUFFIX)
        self._file = fresh.open("wb")
        self._stream = pa.ipc.new_stream(self._file, self._schema)
        for record, episode, rows in episodes:
            self.append(record, episode, rows)
        self._file.flush()
        fresh.rename(self._path)

    def append(self, record: EpisodeRecord, episode: int, rows: pa.RecordBatch) -> None:
        assert self._stream is not None and self._file is not None
        self._stream.write_batch(rows, custom_metadata={"record": record.to_json(), "episode": str(episode)})
        self._file.flush()

    def close(self) -> None:
        self._close_stream()
        self._lock.close()

    def _close_stream(self) -> None:
        if self._stream is not None and self._file is not None:
            self._stream.close()
            self._file.close()


def read_journal(storage: Storage) -> Iterator[Row]:
    """The whole episodes of an interrupted writer's journal, in order; none where there is no journal."""
    if not storage.is_local or not storage.exists(JOURNAL_PATH):
        return
    data = storage.read_bytes(JOURNAL_PATH)
    try:
        stream = pa.ipc.open_stream(data)
        while True:
            item = stream.read_next_batch_with_custom_metadata()
            item.batch.validate(full=True)
            yield (
                EpisodeRecord.from_json(item.custom_metadata[b"record"]),
                int(item.custom_metadata[b"episode"]),
                item.batch,
            )
    except (pa.ArrowInvalid, OSError, StopIteration, TypeError, KeyError, ValueError):
        return  # the end, or the episode that was being written when the writer died


def _locked(path: Path, storage: Storage) -> IO[bytes]:
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise DatasetError(
            f"{storage.name}: another process (this one is {os.getpid()}) is writing here; expected one writer. "
            "Wait for it, or write somewhere else."
        ) from error
    return handle
