"""What is checked when a dataset is opened: sizes, hashes of small files, footers, schemas, and that the tables agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from am_ray.data.data_files import check_schema, open_data_file
from am_ray.data.manifest import MANIFEST_PATH, FileEntry, Manifest, file_hash, footer_hash
from am_ray.data.schema import INFO_PATH, DatasetInfo
from am_ray.data.storage import RESTORE_OR_SKIP, Storage
from am_ray.types import DatasetError

CHECKED_FOLDERS = ("data/", "meta/")
THREADS = 8  # footers on an object store are latency, not work
MIN_EPISODE_ROWS = 2


def check_meta_files(storage: Storage, manifest: Manifest) -> None:
    """Raise `DatasetError` if a file of ``meta/`` is not what was committed, or a file is there that was not."""
    present = storage.list_files()
    known = {entry.path for entry in manifest.files} | {MANIFEST_PATH}
    extra = [path for path in present if path not in known and path.startswith(CHECKED_FOLDERS)]
    if extra:
        raise DatasetError(
            f"{storage.name}/{extra[0]}: not in {MANIFEST_PATH} ({len(extra)} such files); expected only committed files. "
            "Move it out of the dataset."
        )
    for entry in manifest.files:
        if entry.row_groups is None:
            check_size(storage, entry)
            check_hash(storage, entry)


def _remedy(entry: FileEntry) -> str:
    return "Restore the file, or write the dataset again." if entry.row_groups is None else RESTORE_OR_SKIP


def check_size(storage: Storage, entry: FileEntry) -> None:
    size = storage.size(entry.path)
    if size != entry.bytes:
        found = "no such file" if size is None else f"{size} bytes"
        raise DatasetError(
            f"{storage.name}/{entry.path}: got {found}, expected {entry.bytes} bytes as {MANIFEST_PATH} says. "
            + _remedy(entry)
        )


def check_hash(storage: Storage, entry: FileEntry) -> None:
    found = file_hash(storage, entry.path)
    if found != entry.sha256:
        raise DatasetError(
            f"{storage.name}/{entry.path}: {locate_damage(storage, entry)}got sha256 {found[:16]}..., expected "
            f"{entry.sha256[:16]}...; the file has changed since it was written. {_remedy(entry)}"
        )


def locate_damage(storage: Storage, entry: FileEntry) -> str:
    """The first row group of a data file that cannot be read, as the start of a message; empty if all can."""
    if entry.row_groups is None:
        return ""
    try:
        with open_data_file(storage, entry.path) as file:
            for number in range(file.num_row_groups):
                try:
                    file.read_row_group(number)
                except OSError as error:
                    return f"row group {number} cannot be read ({str(error).strip()}); "
    except DatasetError:
        return "its footer cannot be read; "
    return ""


def check_data_file(storage: Storage, entry: FileEntry, info: DatasetInfo) -> None:
    """Size, footer and schema of one data file: a few kilobytes are read.

    Raises:
        DatasetError: If the file is missing, cut, of another dataset or place, or has other columns.
    """
    check_size(storage, entry)
    if footer_hash(storage, entry.path, entry.bytes) != entry.footer_sha256:
        raise DatasetError(
            f"{storage.name}/{entry.path}: its footer is not the one that was written (swapped with another file, or "
            "damaged); expected the file that the manifest describes. " + RESTORE_OR_SKIP
        )
    with open_data_file(storage, entry.path) as file:
        check_schema(storage, entry.path, file.schema_arrow, info)
        found = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    expected = [sum(group) for group in entry.row_groups or ()]
    if found != expected:
        raise DatasetError(
            f"{storage.name}/{entry.path}: row groups of {found[:8]} rows; expected {expected[:8]}, as the manifest says. "
            "Restore the file."
        )


def bad_data_files(
    storage: Storage, entries: Sequence[FileEntry], info: DatasetInfo, *, hashes: bool = False
) -> dict[str, DatasetError]:
    """The data files that fail `check_data_file` (and their whole hash), with the reason."""

    def problem(entry: FileEntry) -> DatasetError | None:
        try:
            check_data_file(storage, entry, info)
            if hashes:
                check_hash(storage, entry)
        except DatasetError as error:
            return error
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        problems = list(pool.map(problem, entries))
    return {entry.path: found for entry, found in zip(entries, problems, strict=True) if found is not None}


def check_tables(storage: Storage, info: DatasetInfo, manifest: Manifest, episodes: Mapping[str, list[Any]]) -> None:
    """Raise `DatasetError` unless info, manifest and the table of episodes tell the same."""
    rows = [count for entry in manifest.data_files for group in entry.row_groups or () for count in group]
    if not rows:
        raise DatasetError(f"{storage.name}: no episodes; expected at least one. Write the dataset again.")
    if episodes["episode_index"] != list(range(len(rows))):
        found = episodes["episode_index"]
        at = next((i for i, e in enumerate(found) if e != i), len(found))
        raise DatasetError(
            f"{storage.name}: the table of episodes has {len(found)} entries and a gap at {at}; expected 0 to {len(rows) - 1}. "
            "Write the dataset again."
        )
    if episodes["length"] != rows or (info.total_episodes, info.total_frames) != (len(rows), sum(rows)):
        raise DatasetError(
            f"{storage.name}: {INFO_PATH} says {info.total_episodes} episodes and {info.total_frames} frames, the table of "
            f"episodes {len(episodes['length'])} and {sum(episodes['length'])}; expected {len(rows)} and {sum(rows)}, as the "
            "manifest says. Restore meta/, or write the dataset again."
        )
    short = [index for index, count in enumerate(rows) if count < MIN_EPISODE_ROWS]
    if short:
        raise DatasetError(
            f"{storage.name}: episode {short[0]} has {rows[short[0]]} row ({len(short)} such episodes); expected at least "
            f"{MIN_EPISODE_ROWS}, one transition. Leave it out and write the dataset again."
        )
