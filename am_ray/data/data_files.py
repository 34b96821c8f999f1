"""Parquet files of frames: written with page checksums, read with every page verified."""

from __future__ import annotations

import base64
import contextlib
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from am_ray.data.frames import EpisodeRecord
from am_ray.data.images import decode_frames
from am_ray.data.journal import Row
from am_ray.data.manifest import FileEntry, describe_file
from am_ray.data.schema import DATA_PATH, FILES_PER_CHUNK, INDEX_COLUMNS, DatasetInfo, Feature
from am_ray.data.storage import RESTORE_OR_SKIP, Storage
from am_ray.types import DatasetError

RECORDS_KEY = b"am_ray.episodes"
READ_ERRORS = (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError, KeyError, IndexError)


def data_file_path(index: int) -> str:
    return DATA_PATH.format(chunk_index=index // FILES_PER_CHUNK, file_index=index % FILES_PER_CHUNK)


def grouped(rows: Sequence[int], row_group_rows: int) -> list[list[int]]:
    """Whole episodes (their row counts) put into row groups of at least ``row_group_rows`` rows, but for the last."""
    groups: list[list[int]] = [[]]
    for count in rows:
        if sum(groups[-1]) >= row_group_rows:
            groups.append([])
        groups[-1].append(count)
    return groups


def write_data_file(
    storage: Storage, path: str, info: DatasetInfo, episodes: list[Row], row_group_rows: int
) -> FileEntry:
    """Write whole episodes as one Parquet file, atomically, and describe it for the manifest."""
    groups = grouped([record.rows for record, _, _ in episodes], row_group_rows)
    schema = info.arrow_schema
    images = [name for name, feature in info.features.items() if feature.dtype == "image"]
    compression = {leaf: "NONE" if leaf.split(".bytes")[0] in images else "ZSTD" for leaf in _leaves(schema)}
    with storage.write_atomically(path) as stream:
        writer = pq.ParquetWriter(
            stream,
            schema,
            compression=compression,
            compression_level={leaf: 1 for leaf, codec in compression.items() if codec == "ZSTD"},
            use_dictionary=False,
            write_statistics=[name for name in INDEX_COLUMNS if name in info.features],
            write_page_checksum=True,
            store_schema=True,
        )
        start = 0
        for group in groups:
            batches = [rows for _, _, rows in episodes[start : start + len(group)]]
            start += len(group)
            writer.write_table(pa.Table.from_batches(batches, schema), row_group_size=sum(group))
        writer.add_key_value_metadata({RECORDS_KEY: packed_records([record for record, _, _ in episodes])})
        writer.close()
    return describe_file(storage, path, groups)


def _leaves(schema: pa.Schema) -> list[str]:
    leaves = []
    for column in schema:
        if pa.types.is_struct(column.type):
            leaves += [f"{column.name}.bytes", f"{column.name}.path"]
        else:
            leaves.append(f"{column.name}.list.element" if pa.types.is_fixed_size_list(column.type) else column.name)
    return leaves


@contextlib.contextmanager
def open_data_file(storage: Storage, path: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file whose pages are verified as they are read.

    Raises:
        DatasetError: If the footer cannot be read.
    """
    with storage.open_input(path) as stream:
        try:
            file = pq.ParquetFile(stream, page_checksum_verification=True)
        except READ_ERRORS as error:
            raise unreadable(storage, path, "its footer", error) from error
        yield file


def unreadable(storage: Storage, path: str, part: str, error: Exception, remedy: str = RESTORE_OR_SKIP) -> DatasetError:
    return DatasetError(
        f"{storage.name}/{path}: {part} cannot be read ({str(error).strip() or type(error).__name__}); expected an intact "
        f"file. {remedy}"
    )


def packed_records(records: Sequence[EpisodeRecord]) -> bytes:
    """Episode records as text for a footer: compressed, because readers parse footers often."""
    text = "[" + ",".join(record.to_json() for record in records) + "]"
    return base64.b64encode(zlib.compress(text.encode()))


def read_records(file: pq.ParquetFile) -> list[EpisodeRecord] | None:
    """The episode records that a data file carries; ``None`` if it carries none (written by other software)."""
    packed = (file.metadata.metadata or {}).get(RECORDS_KEY)
    if packed is None:
        return None
    return [EpisodeRecord(**value) for value in json.loads(zlib.decompress(base64.b64decode(packed)))]


def check_schema(storage: Storage, path: str, found: pa.Schema, info: DatasetInfo) -> None:
    """Raise `DatasetError` unless the file has exactly the declared columns with the declared types."""
    problems = [f"no column {name!r}" for name in info.features if name not in found.names]
    problems += [f"an undeclared column {name!r}" for name in found.names if name not in info.features]
    problems += [f"column {name!r} twice" for name in set(found.names) if found.names.count(name) > 1]
    for name, feature in info.features.items():
        if found.names.count(name) == 1 and not feature.accepts(found.field(name).type):
            problems.append(f"column {name!r} of type {found.field(name).type}, expected {feature.arrow_type}")
    if problems:
        raise DatasetError(
            f"{storage.name}/{path}: {'; '.join(problems)}; expected the columns that meta/info.json declares. "
            "Restore the file, or write the dataset again."
        )


def read_row_group(
    storage: Storage, path: str, file: pq.ParquetFile, group: int, columns: Sequence[str], *, threads: bool = False
) -> pa.Table:
    """One row group with its pages verified.

    Raises:
        DatasetError: If a page is damaged; the message names file and row group.
    """
    try:
        return file.read_row_group(group, columns=list(columns), use_threads=threads)
    except READ_ERRORS as error:
        raise unreadable(storage, path, f"row group {group}", error) from error


def column_array(table: pa.Table, name: str, feature: Feature, where: str) -> np.ndarray:
    """A column as an array of ``(rows, *feature.shape)``; scalars as ``(rows,)``.

    Raises:
        DatasetError: If a value is missing or a list has another length.
    """
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # an empty or single-chunk column, depending on pyarrow's version
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if column.null_count:
        raise DatasetError(
            f"{where}, column {name!r}: {column.null_count} missing values; expected none. Write the dataset again."
        )
    if feature.dtype == "image":
        encoded = column.field("bytes").to_pylist()
        return decode_frames(encoded, len(encoded), feature.shape, f"{where}, column {name!r}")
    if not pa.types.is_nested(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if not pa.types.is_fixed_size_list(column.type):
        lengths = pc.list_value_length(column)
        if len(column) and pc.min_max(lengths).as_py() != {"min": feature.shape[0], "max": feature.shape[0]}:
            found = pc.min_max(lengths).as_py()
            raise DatasetError(
                f"{where}, column {name!r}: lists of {found['min']} to {found['max']} entries; expected "
                f"{feature.shape[0]}. Write the dataset again."
            )
    flat: Any = column.flatten()
    if flat.null_count:
        raise DatasetError(
            f"{where}, column {name!r}: {flat.null_count} missing entries; expected none. Write the dataset again."
        )
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(column), feature.shape[0])
