"""What one core does per second in each stage from Parquet to the learner: the measured numbers of docs/scaling.md.

    python -m benchmarks.stage_rates [--quick] [--out stage_rates.json]

One thread. Stages inside one process are timed by its CPU time, so that other work on the machine does not count; transfers
between processes by the clock. "states" and "images" are synthetic (`benchmarks.worlds`): 21 numbers, and 64 px frames that are
smooth, so that they compress and decode better than real ones; "rendered" are the 48 px frames of ``datasets/sample``. A
transition has s, s' and g, so three frames. Files come from the page cache: what a disk or a network adds is not in these numbers.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from am_ray.core.relabel import gather
from am_ray.data.data_files import open_data_file, read_row_group
from am_ray.data.images import decode_frames
from am_ray.data.ingest import open_ingest
from am_ray.data.pipeline_threads import join_pipeline_threads
from am_ray.data.plan import plan_windows
from am_ray.data.reader import read_dataset
from am_ray.data.shard import Shard, take_indices
from am_ray.data.slab import to_slab
from am_ray.data.window_task import ReadWindow, flat_columns
from am_ray.models.policy import build_model
from am_ray.settings import AlgorithmSettings, IngestSettings, RelabelSettings
from am_ray.types import DataStatistics
from benchmarks.worlds import image_data, state_data

BATCH = 256
FRAME = (64, 64, 3)
STORE_BYTES = 500 << 20
BLOCKS = 30
ROW_GROUPS = 100_000
SAMPLE = Path(__file__).parents[1] / "datasets" / "sample"


class Rates:
    """Prints each stage's rate as it is measured, and keeps it."""

    def __init__(self, repeats: int) -> None:
        self.repeats, self.found = repeats, {}

    def cpu(self, stage: str, work: Callable[[], float], unit: str) -> None:
        """The median rate of ``work``, which returns how many units it did, by this process' CPU time."""
        self._add(stage, work, unit, time.process_time)

    def wall(self, stage: str, work: Callable[[], float], unit: str) -> None:
        self._add(stage, work, unit, time.perf_counter)

    def fact(self, stage: str, value: float, unit: str) -> None:
        self.found[stage] = {"value": value, "unit": unit}
        print(f"{stage:58}{value:14,.4g} {unit}", flush=True)

    def _add(self, stage: str, work: Callable[[], float], unit: str, clock: Callable[[], float]) -> None:
        work()
        rates = []
        for _ in range(self.repeats):
            began = clock()
            rates.append(work() / (clock() - began))
        self.fact(stage, statistics.median(rates), unit)


def shard_of(dataset: Path, **ingest: Any) -> Shard:
    settings = IngestSettings(mode="streaming", **ingest)
    (source,) = open_ingest(dataset, None, RelabelSettings(), settings, batch_size=BATCH, seed=0)
    shard: Shard = source.shard  # type: ignore[attr-defined]
    return shard


def opening(rates: Rates) -> None:
    """What grows with the number of episodes, whatever their size: the tables, and the plan of windows."""
    rates.cpu("opening: read and check the tables", lambda: read_dataset(state_data()).num_episodes, "episodes/s")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        rates.fact("opening: tables in memory", pool.apply(_memory_of_tables), "bytes/episode")
    shard = shard_of(state_data())
    many = replace(shard, row_groups=shard.row_groups * (ROW_GROUPS // len(shard.row_groups)))
    plans = plan_windows(many, IngestSettings())
    rates.cpu(f"planning with {ROW_GROUPS} row groups", lambda: len(list(itertools.islice(plans, 20))), "windows/s")


def _memory_of_tables() -> float:
    read_dataset(SAMPLE)  # what is imported on the way
    before = _memory()
    dataset = read_dataset(state_data())
    return (_memory() - before) / dataset.num_episodes


def reading(rates: Rates, cache: str) -> None:
    """Row groups from Parquet, with and without decoding, and from the decoded cache."""
    states = shard_of(state_data())
    window = states.row_groups[:4]
    rates.cpu("states: read and check", lambda: _rows(states.reader.read_window(window)), "rows/s")
    for name, path in (("images", image_data()), ("rendered", SAMPLE)):
        _reading_images(rates, name, path, cache)


def _reading_images(rates: Rates, name: str, path: Path, cache: str) -> None:
    dataset, plain, cached = read_dataset(path), shard_of(path), shard_of(path, decoded_cache=cache)
    window = plain.row_groups[:1]
    frames, shape = _encoded(dataset, window[0]), dataset.spec.observation_shapes["front"]
    rates.cpu(f"{name}: read PNG bytes from Parquet", lambda: len(_encoded(dataset, window[0])), "frames/s")
    rates.cpu(f"{name}: decode PNG", lambda: len(decode_frames(frames, len(frames), shape, "")), "frames/s")
    rates.cpu(f"{name}: read, decode and check", lambda: _rows(plain.reader.read_window(window)), "frames/s")
    rates.cpu(f"{name}: read from the decoded cache", lambda: _rows(cached.reader.read_window(window)), "frames/s")
    rates.fact(f"{name}: a frame decoded", math.prod(shape), "bytes")
    rates.fact(f"{name}: a frame as PNG", statistics.mean(map(len, frames)), "bytes")
    files = (Path(cache) / dataset.digest[:16]).glob("*.arrow")
    on_disk = sum(file.stat().st_size for file in files) / window[0].num_rows
    rates.fact(f"{name}: a frame in the decoded cache", on_disk, "bytes")


def _rows(block: Any) -> int:
    return int(block.num_rows)


def _encoded(dataset: Any, group: Any) -> list[bytes]:
    with open_data_file(dataset.storage, group.path) as file:
        table = read_row_group(dataset.storage, group.path, file, group.number, ["observation.images.front"])
    return [row["bytes"] for row in table.column(0).to_pylist()]


def reader_memory(rates: Rates, cache: str) -> None:
    """Of a process that makes the batches of one window of images: the most it takes, by the window's size."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        rates.fact("images: a reader's memory over its window's", pool.apply(_peak_over_window, (cache,)), "")


def _peak_over_window(cache: str) -> float:
    shard = shard_of(image_data(), decoded_cache=cache, window_rows=8000)
    (plan,) = itertools.islice(plan_windows(shard, IngestSettings(window_rows=8000)), 1)
    before = _memory()
    for block in ReadWindow(shard, (plan,), reservoir_rows=2000, batches_per_block=1).blocks(plan):
        to_slab(block)
    window = sum(shard.row_groups[group].num_rows for group in plan.groups) * math.prod(FRAME)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (peak - before) / window


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def making_batches(rates: Rates, name: str, shard: Shard, groups: int) -> None:
    """Drawing goals, gathering rows, and a block's way into the object store and out of it."""
    import ray

    block = shard.reader.read_window(shard.row_groups[:groups])
    rng = np.random.default_rng(0)
    size = BATCH if name == "images" else 16 * BATCH
    count = BLOCKS * size
    rates.cpu(f"{name}: draw goals", lambda: len(shard.relabel(block, count, 0, rng).row), "transitions/s")
    indices = shard.relabel(block, count, 0, rng)
    parts = [take_indices(indices, slice(start, start + size)) for start in range(0, count, size)]

    def gather_blocks() -> float:
        return sum(len(gather(block, part, shard.spec).action) for part in parts)

    rates.cpu(f"{name}: gather", gather_blocks, "transitions/s")
    slab = to_slab(flat_columns(gather(block, parts[0], shard.spec).to_columns()))
    # As many are alive as in a pipeline; the first ones touch memory that is new, which costs more.
    alive: deque[Any] = deque(maxlen=8)

    def put_blocks() -> float:
        alive.extend(ray.put(slab) for _ in range(BLOCKS))
        return BLOCKS * size

    put_blocks()
    rates.cpu(f"{name}: block into the object store", put_blocks, "transitions/s")
    rates.fact(f"{name}: a transition", slab.nbytes / size, "bytes")


def copying(rates: Rates) -> None:
    source, target = torch.ones(64 << 20, dtype=torch.uint8), torch.empty(64 << 20, dtype=torch.uint8)

    def copy() -> float:
        target.copy_(source)
        return source.numel() / 1e9

    rates.cpu("copy in memory", copy, "GB/s")


def blocks_through_ray_data(rates: Rates) -> None:
    """What the learner's own process pays for a block, however small: Ray Data's executor runs in it."""
    ingest = IngestSettings(mode="streaming", batches_per_block=1, num_workers=2)
    (source,) = open_ingest(state_data(), None, RelabelSettings(), ingest, batch_size=BATCH, seed=0)
    batches: Any = source.batches()

    def take() -> float:
        return len(list(itertools.islice(batches, 500)))

    rates.cpu("Ray Data in the learner's process", take, "blocks/CPU-s")
    rates.wall("Ray Data, two readers, blocks of one small batch", take, "blocks/s")
    batches.close()
    join_pipeline_threads()


def between_nodes(rates: Rates, cluster: Any) -> None:
    """An object made on another node, fetched here: over loopback, both ends on the same cores."""
    import ray

    node = cluster.add_node(num_cpus=1, resources={"there": 1.0}, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()
    make = ray.remote(resources={"there": 0.01}, num_cpus=0)(lambda size: np.ones(size, np.uint8))
    for megabytes in (9, 72):

        def fetch(size: int = megabytes << 20) -> float:
            ref = make.remote(size)
            ray.wait([ref], fetch_local=False)
            began = time.perf_counter()
            ray.get(ref)
            return size / 1e9 / (time.perf_counter() - began)

        fetch()
        rates.fact(
            f"one object of {megabytes} MB from another node",
            statistics.median(fetch() for _ in range(2 * rates.repeats)),
            "GB/s",
        )
    cluster.remove_node(node)


def networks(rates: Rates) -> None:
    """Sizes of the gradients that learners exchange."""
    for name, path in (("states", state_data()), ("images", image_data())):
        spec = read_dataset(path).spec
        zeros = {n: np.zeros(s, np.float32) for n, s in spec.observation_shapes.items() if len(s) == 1}
        ones = {key: value + 1 for key, value in zeros.items()}
        pool = np.zeros((16, spec.action_dim), np.float32)
        model = build_model(spec, DataStatistics(zeros, ones, pool), AlgorithmSettings())
        rates.fact(f"{name}: gradient", 4e-6 * sum(p.numel() for p in model.trainable_parameters()), "MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where to write the figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rates = Rates(3 if args.quick else 9)
    with tempfile.TemporaryDirectory() as cache:
        measure(rates, cache)
    if args.out is not None:
        args.out.write_text(json.dumps(rates.found, indent=2) + "\n")


def measure(rates: Rates, cache: str) -> None:
    import ray
    from ray.cluster_utils import Cluster

    opening(rates)
    reading(rates, cache)
    reader_memory(rates, cache)
    copying(rates)
    networks(rates)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": STORE_BYTES})
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    logging.getLogger("ray").setLevel(logging.ERROR)
    making_batches(rates, "states", shard_of(state_data()), groups=5)
    making_batches(rates, "images", shard_of(image_data(), decoded_cache=cache), groups=3)
    blocks_through_ray_data(rates)
    between_nodes(rates, cluster)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
