"""`memory_ratio`: peak memory of streaming images that are ten times the object store, over images that fit it.

Both datasets hold episodes of the same kind (64 px PNG frames) in row groups of the same size, and differ in their number alone:
75 MB and 1,033 MB once decoded, beside an object store of 100 MB (Ray asks for 75 MB at least). Each is streamed in a process of
its own with its own Ray of two CPUs and two readers: 1,600 batches of 64 from each, more than one pass over the large one. The
consumer takes a quarter of them as fast as they come, so that both readers are at work; then 80 per second, fewer than the
readers make, so that blocks pile up as far as they may. Windows are of 25 MB and blocks of 2.4 MB, as a store this small asks for:
with our largest blocks (8 MB) it is now and then so full that Ray starts processes that spill, and they are the larger part then.

Memory is the private memory (resident less shared) of the process and of all its children, which are Ray's processes and workers,
plus what the object store occupies (blocks of its file in shared memory, which are never given back, so that nothing is missed);
sampled every 0.25 s from outside. The peak has Ray's and Python's own memory in it: the note says how much that is at rest.
"""

from __future__ import annotations

import importlib
import multiprocessing
import statistics
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.measurement import Measurement, main, median_of
from benchmarks.worlds import small_group_image_data

STORE_BYTES = 100 << 20
FITS, TEN_TIMES = 198, 2706  # episodes
BATCH, NUM_BATCHES, WINDOW_ROWS = 64, 1600, 2000
SAMPLE_S, TAKE_S = 0.25, 0.0125
TIMEOUT_S = 240.0


def stream(dataset: Path, pipe: Connection) -> None:
    """What the measured process does; it says when Ray stands and waits for an answer, and says when it has ended."""
    import ray

    from am_ray.data.ingest import open_ingest
    from am_ray.data.pipeline_threads import join_pipeline_threads
    from am_ray.settings import IngestSettings, RelabelSettings

    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    pipe.send("ready")
    pipe.recv()
    ingest = IngestSettings(mode="streaming", window_rows=WINDOW_ROWS, batches_per_block=1, num_workers=2)
    (source,) = open_ingest(dataset, None, RelabelSettings(), ingest, batch_size=BATCH, seed=0)
    batches = source.batches()
    for number in range(NUM_BATCHES):
        began = time.perf_counter()
        next(batches)
        if number >= NUM_BATCHES // 4:
            time.sleep(max(0.0, TAKE_S - (time.perf_counter() - began)))
    batches.close()  # type: ignore[attr-defined]
    join_pipeline_threads()
    pipe.send("done")
    ray.shutdown()


def peak_bytes(dataset: Path) -> tuple[int, int]:
    """Peak memory while the dataset is streamed, and memory before it."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=stream, args=(dataset, theirs))
    process.start()
    theirs.close()
    try:
        pipe.recv()
        at_rest = peak = memory_bytes(process.pid)
        pipe.send("go")
        ends = time.monotonic() + TIMEOUT_S
        while not pipe.poll(SAMPLE_S):
            peak = max(peak, memory_bytes(process.pid))
            if time.monotonic() > ends:
                raise TimeoutError(f"{dataset}: {NUM_BATCHES} batches took more than {TIMEOUT_S:.0f} s")
        pipe.recv()
        return peak, at_rest
    finally:
        process.join(30.0)
        process.kill()


def memory_bytes(pid: int | None) -> int:
    """Private memory of a process and its descendants, and the object store's."""
    psutil = _psutil()
    root = psutil.Process(pid)
    total, stores = 0, {}
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            memory = process.memory_info()
            total += memory.rss - memory.shared
            if process.name() == "raylet":
                stores |= _store_files(process.pid)
    return total + sum(stores.values())


def _psutil() -> Any:
    import ray  # noqa: F401  psutil is among its own packages

    return importlib.import_module("psutil")


def _store_files(pid: int) -> dict[tuple[int, int], int]:
    """Bytes that the object store's files occupy; they have no name any more and are found where a raylet holds them."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if "plasma" in entry.readlink().name:
                status = entry.stat()
                found[status.st_dev, status.st_ino] = 512 * status.st_blocks
    return found


def measure(quick: bool) -> dict[str, Measurement]:
    small, large = small_group_image_data(FITS), small_group_image_data(TEN_TIMES)
    rounds = [(peak_bytes(large), peak_bytes(small)) for _ in range(1 if quick else 3)]
    peaks = [1e-6 * statistics.median(run[side][0] for run in rounds) for side in (0, 1)]
    rest = 1e-6 * statistics.median(run[0][1] for run in rounds)
    note = f"{peaks[0]:.0f} MB over {peaks[1]:.0f} MB, {rest:.0f} MB of which before streaming"
    return {"memory_ratio": median_of([large[0] / small[0] for large, small in rounds], note)}


if __name__ == "__main__":
    main(measure, __doc__)
