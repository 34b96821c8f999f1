"""Streaming ingest: Ray Data reads and relabels windows ahead of the learner, with bounded memory, for ever."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from am_ray.data.plan import WindowPlan, plan_windows
from am_ray.data.shard import Columns, Shard
from am_ray.data.slab import from_slab
from am_ray.data.window_task import ReadWindow, StoredTask, nested_columns
from am_ray.settings import IngestSettings
from am_ray.types import DatasetError

logger = logging.getLogger(__name__)

# A block costs some milliseconds however large it is, but several are under way for each reader: a share of the object store.
SMALLEST_BLOCK_BYTES, LARGEST_BLOCK_BYTES = 8 << 20, 40 << 20
BLOCK_SHARE = 1 / 32
# Blocks that wait may fill this share of the object store, divided among the shards; above a half, blocks spill to disk.
STORE_SHARE = 0.25
READER_CPUS = 0.25  # readers run outside a trial's placement group: they must fit beside it


@dataclass(frozen=True)
class StreamingShard:
    """One learner's source of batches; small and picklable, starts its pipeline where `batches` is called."""

    shard: Shard
    ingest: IngestSettings

    @property
    def mode(self) -> str:
        return "streaming"

    def describe(self) -> str:
        shard = self.shard
        return (
            f"streaming: shard {shard.index + 1} of {shard.count} of {shard.name}, windows of "
            f"{self.ingest.window_rows} rows, {self.ingest.num_workers} readers"
        )

    def batches(self, start_update: int = 0) -> Iterator[Columns]:
        """Endless batches; that of update u depends on (seed, shard, u) alone, whatever the number of readers.

        Raises:
            DatasetError: If a page is damaged or holds something else than the tables promise.
        """
        plans = plan_windows(self.shard, self.ingest, start_update)
        while True:
            part = list(itertools.islice(plans, self.ingest.windows_per_pipeline))
            yield from self._pipeline(part)

    def _pipeline(self, plans: Sequence[WindowPlan]) -> Iterator[Columns]:
        size = self.shard.batch_size
        blocks = run_pipeline(self.shard, self.ingest, plans)
        with closing(blocks):
            for block in blocks:
                for start in range(0, len(block["source"]), size):
                    # Views, read-only: the block stays in the object store until the last batch of it is let go of.
                    yield nested_columns({name: value[start : start + size] for name, value in block.items()})


def run_pipeline(shard: Shard, ingest: IngestSettings, plans: Sequence[WindowPlan]) -> Generator[dict[str, np.ndarray]]:
    """The blocks of these windows, in order, read by Ray Data tasks."""
    import pyarrow as pa
    import ray

    from am_ray.data.pipeline_pace import PacedExecution, waiting

    store = ray.cluster_resources().get("object_store_memory", 0.0)
    batches_per_block = min(ingest.batches_per_block, max(1, int(block_bytes(store) / batch_bytes(shard))))
    task = StoredTask(ray.put(ReadWindow(shard, tuple(plans), ingest.reservoir_rows, batches_per_block)))
    windows = ray.data.from_blocks([pa.table({"window": [i]}) for i in range(len(plans))])
    dataset = windows.map_batches(
        task, batch_size=None, num_cpus=_reader_cpus(), compute=ray.data.TaskPoolStrategy(size=ingest.num_workers)
    )
    options = dataset.context.execution_options
    options.preserve_order = True
    options.resource_limits = options.resource_limits.copy(object_store_memory=store * STORE_SHARE / shard.count)
    # Every slab is a block of its own: none is joined with the next, which would copy it.
    dataset.context.target_max_block_size = batches_per_block * batch_bytes(shard)
    dataset.context.custom_execution_callback_classes = [PacedExecution]
    dataset.context.enable_progress_bars = False
    # Ray Data sets up its own logging when a dataset is made; it would print four lines for each pipeline.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    tables: Any = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2))
    try:
        while True:
            with waiting():
                table = next(tables, None)
            if table is None:
                return
            for row in range(len(table)):
                yield from_slab(table, row)
    except Exception as error:
        raise _cause(error) from error


def block_bytes(store_bytes: float) -> float:
    """Size of a block for an object store of ``store_bytes``."""
    return min(LARGEST_BLOCK_BYTES, max(SMALLEST_BLOCK_BYTES, store_bytes * BLOCK_SHARE))


def batch_bytes(shard: Shard) -> int:
    """Size of one batch: s, s' and g, two actions, and the flags."""

    def size(shapes: Mapping[str, tuple[int, ...]]) -> int:
        return sum(math.prod(shape) * (1 if len(shape) > 1 else 4) for shape in shapes.values())

    spec = shard.spec
    flags = 2 + 2 * 8
    return shard.batch_size * (2 * size(spec.observation_shapes) + size(spec.goal_shapes) + 8 * spec.action_dim + flags)


def _reader_cpus() -> float:
    """A quarter of a CPU for each reader, or none where learners hold them all and readers would wait for ever."""
    import ray

    return READER_CPUS if ray.available_resources().get("CPU", 0.0) >= READER_CPUS else 0.0


def _cause(error: BaseException) -> BaseException:
    """The `DatasetError` behind what Ray wraps around it, or the error itself."""
    found: BaseException | None = error
    while found is not None:
        inner = getattr(found, "cause", None)
        for candidate in (found, inner):
            if isinstance(candidate, DatasetError):
                return DatasetError(str(candidate.args[0]) if candidate.args else str(candidate))
        found = found.__cause__
    return error
