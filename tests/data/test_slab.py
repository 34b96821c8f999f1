"""Arrays in one row of a table: what goes in comes out, as views."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from am_ray.data.slab import from_slab, to_slab

FIRST = {"a/b": np.arange(6, dtype=np.int32).reshape(2, 3), "flag": np.array([True, False])}
SECOND = {"a/b": np.arange(9, dtype=np.uint8).reshape(3, 1, 3), "flag": np.zeros(0, bool)}


def equal(found, wanted):
    return list(found) == list(wanted) and all(
        np.array_equal(found[n], v) and found[n].dtype == v.dtype and found[n].shape == v.shape
        for n, v in wanted.items()
    )


def test_a_slab_gives_back_its_arrays():
    assert equal(from_slab(to_slab(FIRST)), FIRST)


def test_any_row_of_joined_and_sliced_tables():
    table = pa.concat_tables([to_slab(FIRST), to_slab(SECOND)])
    for joined in (table, table.combine_chunks()):
        assert equal(from_slab(joined, 0), FIRST)
        assert equal(from_slab(joined, 1), SECOND)
        assert equal(from_slab(joined.slice(1), 0), SECOND)


def test_no_copy_is_made():
    array = np.arange(12.0)
    found = from_slab(to_slab({"x": array}))["x"]
    assert np.shares_memory(found, array)
    assert not found.flags.writeable
