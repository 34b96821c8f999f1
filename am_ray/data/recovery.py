"""What an interrupted write left behind: whole data files, then whole episodes of the journal, nothing else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from am_ray.data.blocks import block_of
from am_ray.data.data_files import check_schema, data_file_path, open_data_file, read_records, read_row_group
from am_ray.data.frames import EpisodeRecord
from am_ray.data.journal import JOURNAL_FOLDER, JOURNAL_PATH, LOCK_PATH, Row, read_journal
from am_ray.data.manifest import MANIFEST_PATH, WRITTEN, FileEntry, describe_file, nothing_committed, was_begun
from am_ray.data.schema import INFO_PATH, DatasetInfo
from am_ray.data.storage import TEMPORARY_SUFFIX, Storage
from am_ray.types import DatasetError

logger = logging.getLogger(__name__)

OUR_FOLDERS = ("data/", "meta/", f"{JOURNAL_FOLDER}/")
DISCARDED = "discarded/"


@dataclass
class Recovered:
    """The state of an interrupted write.

    Attributes:
        info: As it was when the write began.
        files: Whole data files.
        records: The episodes in them.
        pending: Whole episodes of the journal, with their actions (without padding).
        low: Smallest action in ``files``, by entry; ``None`` if there are none.
        high: Largest action, likewise.
        torn: Files that hold no whole episodes, or none that can follow those before; see `set_aside`.
    """

    info: DatasetInfo
    files: list[FileEntry]
    records: list[EpisodeRecord]
    pending: list[tuple[Row, np.ndarray]]
    low: np.ndarray | None
    high: np.ndarray | None
    torn: list[str]


def recover(storage: Storage, generator: Mapping[str, Any] | None = None) -> Recovered | None:
    """Collect what an interrupted write left; nothing is changed. ``None`` where nothing was begun.

    Raises:
        DatasetError: If the dataset is committed, was begun by another generator, or is no dataset at all.
    """
    present = storage.list_files()
    if MANIFEST_PATH in present:
        raise DatasetError(
            f"{storage.name}: the dataset is complete; expected an interrupted write. There is nothing to go on with."
        )
    if INFO_PATH not in present:
        strange = [path for path in present if not (WRITTEN.fullmatch(path) or path.startswith(DISCARDED))]
        if strange:
            raise DatasetError(
                f"{storage.name}: no {INFO_PATH} but {strange[:3]}; expected an interrupted write. Give another folder."
            )
        return None
    info = DatasetInfo.from_json(storage.read_bytes(INFO_PATH), f"{storage.name}/{INFO_PATH}")
    if generator is not None and dict(generator) != info.generator:
        raise DatasetError(
            f"{storage.name}: begun with {info.generator}, expected {dict(generator)}; episodes of two kinds must not mix. "
            "Repeat the command that began it, or write somewhere else."
        )
    found = Recovered(info, [], [], [], None, None, [])
    while data_file_path(len(found.files)) in present and _take_file(storage, found):
        pass
    kept = {entry.path for entry in found.files} | {INFO_PATH, LOCK_PATH}
    if _take_journal(storage, found):
        kept.add(JOURNAL_PATH)
    found.torn = [path for path in present if path not in kept and path.startswith(OUR_FOLDERS)]
    return found


def set_aside(storage: Storage, torn: list[str]) -> None:
    """Move data files and journals that could not be used to ``discarded/``; what a commit writes anew is deleted.

    To be called with the folder locked: the files of a writer that lives look torn too.
    """
    for path in torn:
        if path.startswith("meta/") or path.endswith(TEMPORARY_SUFFIX):
            storage.delete_file(path)
        else:
            target = DISCARDED + path
            while storage.exists(target):  # from an earlier repair
                target += "~"
            storage.move_file(path, target)


def check_recoverable(storage: Storage) -> None:
    """Raise `DatasetError` unless an interrupted write left at least one whole episode; nothing is changed."""
    present = storage.list_files()
    if not was_begun(present):
        raise nothing_committed(storage)
    if INFO_PATH in present:
        info = DatasetInfo.from_json(storage.read_bytes(INFO_PATH), f"{storage.name}/{INFO_PATH}")
        found = Recovered(info, [], [], [], None, None, [])
        if data_file_path(0) in present and _take_file(storage, found):
            return
        _take_journal(storage, found)
        if found.pending:
            return
    raise DatasetError(
        f"{storage.name}: an interrupted write with no episodes that are whole, in {len(present)} files; expected at least "
        "one. Nothing was changed: restore its files, or go on writing with DatasetWriter.resume."
    )


def make_room(storage: Storage, overwrite: bool) -> None:
    """Raise `DatasetError` unless the folder is empty, or holds a dataset that may be overwritten: that is deleted."""
    files = storage.list_files()
    if not files:
        return
    is_dataset = INFO_PATH in files or MANIFEST_PATH in files
    if not (overwrite and is_dataset):
        found = "a dataset" if is_dataset else f"{len(files)} other files"
        remedy = "Give another folder" + (", or overwrite=True, or DatasetWriter.resume." if is_dataset else ".")
        raise DatasetError(f"{storage.name}: got a folder with {found} in it; expected an empty one. {remedy}")
    clear_dataset(storage)


def clear_dataset(storage: Storage) -> None:
    """Delete a dataset's files, the manifest first: a kill on the way leaves no manifest without its files."""
    if storage.exists(MANIFEST_PATH):
        storage.delete_file(MANIFEST_PATH)
    for folder in ("data", JOURNAL_FOLDER, "meta"):
        storage.delete_folder(folder)


def _take_file(storage: Storage, found: Recovered) -> bool:
    """Add the next data file if it is whole; a torn one ends the data that can be trusted."""
    path = data_file_path(len(found.files))
    try:
        with open_data_file(storage, path) as file:
            check_schema(storage, path, file.schema_arrow, found.info)
            records = read_records(file)
            if records is None:
                raise DatasetError(
                    f"{storage.name}/{path}: carries no episode records; expected a file that am-ray wrote."
                )
            groups = _row_groups(file.metadata, records)
            for number, rows in enumerate(groups):
                table = read_row_group(storage, path, file, number, list(found.info.features))
                first = len(found.records) + sum(len(group) for group in groups[:number])
                _widen(
                    found, _real_actions(table, found.info, rows, first, f"{storage.name}/{path}: row group {number}")
                )
    except DatasetError as error:
        logger.warning("not whole: %s", error)
        return False
    found.files.append(describe_file(storage, path, groups))
    found.records.extend(records)
    return True


def _row_groups(metadata: Any, records: list[EpisodeRecord]) -> list[list[int]]:
    rows = [record.rows for record in records]
    groups, start = [], 0
    for number in range(metadata.num_row_groups):
        wanted, end = metadata.row_group(number).num_rows, start
        while end < len(rows) and sum(rows[start:end]) < wanted:
            end += 1
        groups.append(rows[start:end])
        start = end
    return groups


def _take_journal(storage: Storage, found: Recovered) -> bool:
    """Add the journal's whole episodes; false if they do not follow those of the data files."""
    for record, episode, rows in read_journal(storage):
        expected = len(found.records) + len(found.pending)
        if episode < len(found.records):
            continue  # already in a whole data file: the writer died before it cut the journal
        if episode != expected:
            logger.warning("%s: the journal goes on with episode %d, expected %d", storage.name, episode, expected)
            return False
        where = f"{storage.name}/{JOURNAL_PATH}: episode {episode}"
        actions = _real_actions(pa.Table.from_batches([rows]), found.info, [record.rows], episode, where)
        found.pending.append(((record, episode, rows), actions))
    return True


def _real_actions(table: pa.Table, info: DatasetInfo, rows: list[int], first: int, where: str) -> np.ndarray:
    block = block_of(table, info, np.asarray(rows, np.int64), first, where)
    real = np.ones(block.num_rows, bool)
    real[block.first_row + block.num_transitions] = False
    return block.actions[real]


def _widen(found: Recovered, actions: np.ndarray) -> None:
    low, high = actions.min(axis=0), actions.max(axis=0)
    found.low = low if found.low is None else np.minimum(found.low, low)
    found.high = high if found.high is None else np.maximum(found.high, high)
