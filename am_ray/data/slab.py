"""Named arrays as one row of an Arrow table: each is one binary value, taken and given back without a copy.

Arrow and Ray Data handle such a row as a whole: no type is inferred, no tensor built, nothing joined, sliced or batched anew.
Building Ray's tensor columns from the same arrays costs as much CPU time as reading and relabelling them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

LAYOUT = "layout"


def to_slab(arrays: Mapping[str, np.ndarray]) -> pa.Table:
    """One row: a column of bytes for each array, and ``layout``, which says what they are."""
    layout = {name: [value.dtype.str, list(value.shape)] for name, value in arrays.items()}
    columns = {name: binary_value(value) for name, value in arrays.items()}
    return pa.table({**columns, LAYOUT: pa.array([json.dumps(layout)])})


def from_slab(table: pa.Table, row: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a row, read-only views of the table's memory."""
    layout = json.loads(table.column(LAYOUT)[row].as_py())
    return {name: array_of(table.column(name), row, *entry) for name, entry in layout.items()}


def binary_value(value: np.ndarray) -> pa.Array:
    """One binary value without a copy of the bytes."""
    offsets = pa.py_buffer(np.array([0, value.nbytes], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(np.ascontiguousarray(value))])


def array_of(column: pa.ChunkedArray, row: int, dtype: str, shape: list[int]) -> np.ndarray:
    """The inverse of `binary_value`, for a row of a column: a read-only view (a scalar of Arrow's would be a copy)."""
    value = column.slice(row, 1).chunk(0)
    _, offsets, data = value.buffers()
    start, end = np.frombuffer(offsets, np.int64)[value.offset : value.offset + 2]
    return np.frombuffer(data[start:end], np.dtype(dtype)).reshape(shape)
